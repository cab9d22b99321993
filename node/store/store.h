/* store.h - the world at rest: fast reads when a cell is loaded, lazy batched writes.
 *
 * One interface, several engines. A request is made by the caller, handed to
 * store_submit(), and comes back in its done() exactly once, on the loop thread,
 * never from inside store_submit(). The caller then frees it.
 *
 * The cell's row is the fence: a flush under a lower epoch than the row's changes
 * nothing and answers ERR_STALE. A flush that answered ERR_OK is what the store
 * still knows after power loss. ERR_IO and ERR_TIMEOUT: it may or may not have
 * happened; every request can be sent again as it is. */
#ifndef NODE_STORE_STORE_H
#define NODE_STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/arena.h"
#include "proto/base/blob.h"
#include "proto/base/err.h"
#include "proto/wire/msg.h"

enum store_op {
    STORE_CLAIM, /* raise the cell's epoch, then read its row and all its rows, in one transaction */
    STORE_RAISE, /* raise the cell's epoch and no more (after a transfer or a restore) */
    STORE_FLUSH, /* write rows under the fence, in one transaction */
    STORE_VISIT, /* a player joins: count the visit up, read the place */
    STORE_SAVE_PLACES
};

/* The cell's row. */
struct store_cell {
    uint64_t epoch;
    uint64_t generation; /* of the world when it was last flushed */
    uint64_t rev;        /* of the newest row written */
    uint32_t key_floor;  /* chunk keys of this cell start above it */
    bool clean;          /* released: the journal holds nothing that is not here */
    struct blob *seen;   /* record_encode_seen(); NULL when empty */
};

struct store_place {
    char account[ACCOUNT_MAX + 1];
    uint64_t visit, count; /* saved only over a lower (visit, count) */
    struct place place;
};

struct store_req;
typedef void store_done(struct store_req *req, void *arg);

struct store_req {
    enum store_op op;
    /* ERR_OK. ERR_STALE: the row's epoch is higher (claim, raise: not lower; cell.epoch says it).
     * ERR_IO, ERR_TIMEOUT: not known. ERR_REFUSED: flush only: the store refuses some row for good; row_refused says
     * which. The others of that flush are not written either: the caller sends them again without it. */
    enum err err;
    store_done *done;
    void *arg;
    struct arena *arena; /* the request's own: rows, texts; freed with it */
    struct cell_pos cell;
    /* claim, raise: in epoch; out: the row as it was before (epoch: ours or, when stale, the store's), found.
     * flush: in, all of it. */
    struct store_cell row;
    bool found;
    /* claim: out. flush: in; one row at most per block, light and (sign, face). author and seq do not count. */
    struct row *rows;
    unsigned n_rows;
    unsigned row_refused; /* index into rows */
    /* visit: places[0], in: account; out: visit, place, found. save: in. */
    struct store_place *places;
    unsigned n_places;
};

struct store_req *store_req_new(enum store_op op, store_done *done, void *arg);
void store_req_free(struct store_req *r);

/* Is what was found there what this version works with? */
enum store_fit {
    STORE_FITS,         /* or nobody knows: it does not answer */
    STORE_OTHER_SCHEMA, /* a migration, or another version, mends it */
    STORE_OTHER_CELLS   /* a world with another cell size: it never will be ours */
};

struct store;
struct store_ops {
    void (*submit)(struct store *s, struct store_req *r);
    void (*close)(struct store *s);         /* waits for what is in flight, at most 5 s; their done() are called */
    bool (*healthy)(struct store *s);       /* did the last thing that we tried work? for /readyz */
    enum store_fit (*fit)(struct store *s); /* NULL: it always does */
};
struct store {
    const struct store_ops *ops;
};
static inline enum store_fit store_fit(struct store *s)
{
    return s->ops->fit ? s->ops->fit(s) : STORE_FITS;
}
static inline void store_submit(struct store *s, struct store_req *r)
{
    s->ops->submit(s, r);
}

struct event_base;
struct evdns_base;
/* Opens by URL: "sqlite:PATH", "postgres://user:password@host:port/db?..." (also postgresql://).
 * SQLite applies its migrations by itself. PostgreSQL connects in the background; an unreachable
 * server is not an error here (healthy() says no), a bad URL is ERR_BAD, and *why says what is wrong.
 * A schema older or newer than ours, or another cell size: ERR_MISMATCH from every request until it is mended,
 * one log line, never a write. world_cells is CELL_CHUNKS, stored with the world. */
enum err store_open(const char *url, struct event_base *base, struct evdns_base *dns, uint32_t cell_chunks,
                    struct store **out, char *why, size_t why_bytes);
void store_close(struct store *s); /* NULL is fine */

#endif
