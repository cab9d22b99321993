/* engine.h - what the store's engines have in common; for node/store and the model in tests/lib only.
 *
 * Every request is judged here first, so that all engines refuse the same
 * things, and every row that a database gives back is judged here too: a file
 * that somebody edited by hand costs us its broken rows and nothing else. */
#ifndef NODE_STORE_ENGINE_H
#define NODE_STORE_ENGINE_H

#include <stddef.h>

#include "node/store/store.h"

enum {
    STORE_SCHEMA = 1,       /* the newest of ops/migrations: older and newer ones are not touched */
    STORE_QUEUE_MAX = 4096, /* requests that wait; more are answered ERR_FULL */
    STORE_ROWS_MAX = 65536, /* rows or places in one request: more is ERR_TOO_BIG */
    STORE_CLOSE_MS = 5000
};

struct event_base;
struct evdns_base;
enum err store_sqlite_open(const char *path, struct event_base *base, uint32_t cell_chunks, struct store **out,
                           char *why, size_t why_bytes);
enum err store_postgres_open(const char *url, struct event_base *base, struct evdns_base *dns, uint32_t cell_chunks,
                             struct store **out, char *why, size_t why_bytes);

/* May this be asked of a database? ERR_REFUSED: *refused is the index of the row or place that no database should see.
 * ERR_BAD, ERR_TOO_BIG: the request itself. */
enum err store_check(const struct store_req *r, unsigned *refused);

/* ---- rows on their way out of a database ---- */
/* Wide numbers: they are narrowed only after they were checked. */
struct store_raw {
    enum row_kind kind;
    int64_t p, q, x, y, z, w, face, key, rev;
    const char *text; /* signs; not NUL-terminated */
    size_t text_len;
};
struct store_rows {
    struct arena *arena;
    struct cell_pos cell;
    struct row *rows;
    unsigned n, room;
    unsigned broken; /* left out: see store_rows_add() */
};
void store_rows_start(struct store_rows *s, const struct store_req *r);
/* Keeps a copy; counts it as broken, and keeps it not, unless it is a valid row of the cell, filed under its own chunk.
 */
void store_rows_add(struct store_rows *s, const struct store_raw *raw);

/* The first chunk of a cell: the others are the CELL_CHUNKS x CELL_CHUNKS from here on. */
static inline struct chunk_pos store_first_chunk(struct cell_pos c)
{
    return (struct chunk_pos){c.i * CELL_CHUNKS, c.j * CELL_CHUNKS};
}

/* ---- answering ---- */
/* Sets err, counts, logs broken rows, calls done(). submitted_us is when the request came in (clock_mono_us()). */
void store_answer(struct store_req *r, enum err e, unsigned broken, uint64_t submitted_us);
/* Gives the request the store's row; takes over the reference to row->seen. */
void store_req_set_row(struct store_req *r, const struct store_cell *row);

/* Answers that are known inside submit(), and must leave from the loop. */
struct store_later;
struct store_later *store_later_new(struct event_base *base);
void store_later_free(struct store_later *l); /* answers what is left first */
void store_later_answer(struct store_later *l, struct store_req *r, enum err e);

#endif
