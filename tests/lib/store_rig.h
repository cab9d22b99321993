/* store_rig.h - a store of each kind under test, and requests made short.
 *
 * A rig has a lab, an event loop and one open store. rig_ask() hands a request
 * in and turns the loop until it is answered, with a deadline. Databases can be
 * spoken to behind the store's back. */
#ifndef TESTS_LIB_STORE_RIG_H
#define TESTS_LIB_STORE_RIG_H

#include "node/store/store.h"
#include "tests/lib/model_store.h"
#include "tests/lib/services.h"

enum rig_kind { RIG_MODEL, RIG_SQLITE, RIG_POSTGRES };

struct rig {
    enum rig_kind kind;
    struct lab *lab;
    struct event_base *base;
    struct store *store;
    struct model_store *model;
    struct postgres postgres;
    bool fsync; /* PostgreSQL too writes through to the disk: set it before the start, for measuring */
    char url[LAB_PATH_MAX + 16];
};
/* Asserts that it came up: schema applied, store healthy. The rig is all zero, but for what the caller chose. */
void rig_start(struct rig *r, enum rig_kind kind);
/* The same without opening a store, and PostgreSQL without its schema. */
void rig_start_bare(struct rig *r, enum rig_kind kind);
void rig_stop(struct rig *r);
struct store *rig_open(struct rig *r); /* one more store on the same database */
void rig_migrate(struct rig *r);       /* PostgreSQL, with ops/migrate.sh */
void rig_sql(struct rig *r, const char *sql);
bool rig_wait_healthy(struct rig *r, struct store *s, bool healthy, unsigned ms);
void rig_turn(struct rig *r); /* the loop, once, for at most some milliseconds */

/* Several in flight: rig_submit() all, then rig_finish(). */
void rig_submit(struct rig *r, struct store *s, struct store_req *req);
void rig_finish(struct rig *r);
enum err rig_ask(struct rig *r, struct store *s, struct store_req *req); /* req stays the caller's */

/* Requests. They are freed by the caller. */
struct store_req *req_claim(struct rig *r, struct cell_pos at, uint64_t epoch);
struct store_req *req_raise(struct rig *r, struct cell_pos at, uint64_t epoch);
struct store_req *req_flush(struct rig *r, struct cell_pos at, uint64_t epoch, uint64_t rev, const struct row *rows,
                            unsigned n);
struct store_req *req_visit(struct rig *r, const char *account);
struct store_req *req_place(struct rig *r, const char *account, uint64_t visit, uint64_t count, float x);
/* Claims under epoch, asserts that it went well. */
struct store_req *rig_claimed(struct rig *r, struct cell_pos at, uint64_t epoch);

struct row block_row(int32_t x, int32_t y, int32_t z, int16_t w, uint32_t key, uint64_t rev);
struct row light_row(int32_t x, int32_t y, int32_t z, int16_t w, uint64_t rev);
struct row sign_row(int32_t x, int32_t y, int32_t z, uint8_t face, const char *text, uint64_t rev);
const struct row *rows_find(const struct store_req *req, const struct row *like); /* NULL: it is not among them */

#endif
