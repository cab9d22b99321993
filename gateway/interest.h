/* interest.h - which session holds which chunks.
 *
 * A client that asked for a chunk is sent every later change of it, until it has surely dropped it: DROP_CHUNKS away
 * from where its player is. A chunk that anybody holds keeps the cells that it shows, its own and those that it
 * borders. */
#ifndef GATEWAY_INTEREST_H
#define GATEWAY_INTEREST_H

#include "gateway/state.h"

enum {
    HOLDS_MAX = 8192,    /* chunks that a client can have */
    FAR_HOLDS_MAX = 512, /* of which so many may be nowhere near its player */
    DROP_CHUNKS = 28,
    HOLD_GRACE_MS = 10000 /* a chunk just asked for stays, wherever the player is */
};

/* One session's interest in one chunk, and the answer that it waits for. */
struct hold {
    uint64_t id; /* chunk_id: the hash key within the session */
    struct session *session;
    struct shown_chunk *chunk;
    uint64_t asked_ms, told_ms; /* told.c: when rows of its answer last were sent */
    bool far;
    unsigned n_parts; /* not answered yet */
    struct part *parts[CHUNK_CELLS_MAX];
    UT_hash_handle hh;
    struct hold *prev, *next; /* of the chunk */
};

struct shown_chunk {
    uint64_t id;
    struct chunk_pos at;
    struct hold *holds;
    struct area *areas[CHUNK_CELLS_MAX];
    unsigned n_areas;
    /* fanout.c: the rows of the message at hand that this chunk shows */
    unsigned *rows, n_rows, rows_cap;
    struct shown_chunk *touched_next;
    /* told.c */
    struct told_block *told;
    unsigned told_next;
    uint64_t forgotten_ms;
    UT_hash_handle hh;
};

/* NULL: the session holds as many as it may. */
struct hold *interest_add(struct gateway *g, struct session *s, struct chunk_pos at);
struct hold *interest_find(struct session *s, struct chunk_pos at);
struct shown_chunk *interest_chunk(struct gateway *g, struct chunk_pos at); /* NULL: nobody holds it */
void interest_sweep(struct gateway *g, struct session *s);                  /* drops what is far away */
void interest_drop_all(struct gateway *g, struct session *s);
unsigned chunk_distance(struct chunk_pos a, struct chunk_pos b);

#endif
