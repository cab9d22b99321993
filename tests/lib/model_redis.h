/* model_redis.h - what is in a model_redis: the keys of keys.h as C structs. For model_redis.c, which keeps
 * them, and model_coord.c, which carries the operations out; all others use model_coord.h. */
#ifndef TESTS_LIB_MODEL_REDIS_H
#define TESTS_LIB_MODEL_REDIS_H

#include <uthash.h>

#include "proto/base/rng.h"
#include "tests/lib/model_coord.h"

struct lease {
    struct {
        uint64_t id;
        uint64_t role; /* as wide as the id: no padding in a hash key */
    } key;
    uint64_t until_ms;
    struct coord_self self;
    UT_hash_handle hh;
};

struct grave {
    uint64_t node;
    uint64_t until_ms;
    UT_hash_handle hh;
};

/* A cell's hash and its journal. Here while somebody owns it. */
struct model_cell {
    uint64_t id;
    struct cell_pos at;
    uint64_t owner, epoch, n;
    uint64_t quarantined_epoch, quarantined_n;
    struct coord_batch *batches;
    unsigned n_batches;
    UT_hash_handle hh;
};

struct holder {
    char nick[NICK_MAX + 1];
    uint64_t gate;
    struct coord_name name;
    UT_hash_handle hh;
};

struct model_redis {
    uint64_t now_ms;
    uint64_t run; /* this server's */
    bool evicts;
    struct rng rng;
    /* the world's hash; 0 is what the real one does not have */
    uint32_t cell_chunks, newest_schema;
    uint64_t run_id, generation, closed_until, fresh_until, next_id;
    struct lease *leases;
    struct grave *graves;
    struct model_cell *cells;
    struct holder *names;
    unsigned quarantined;
};

struct lease *model_lease_find(const struct model_redis *m, enum role role, uint64_t id);
struct model_cell *model_cell_find(const struct model_redis *m, struct cell_pos at);
struct model_cell *model_cell_make(struct model_redis *m, struct cell_pos at); /* found, or made */
void model_cell_drop(struct model_redis *m, struct model_cell *c);
void model_batch_add(struct model_cell *c, uint64_t epoch, uint64_t n, struct blob *bytes);
void model_batches_drop(struct model_cell *c, unsigned from, unsigned to); /* from, not to */

#endif
