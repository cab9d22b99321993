/* coord.h - what a process asks of Redis, and what it hears.
 *
 * Every operation is one atomic step: a script that compares what its caller
 * believes, changes nothing if it is not so, and answers what is. So a request
 * that arrives late, twice or from a dead connection does no harm, and one that
 * was not answered (ERR_IO, ERR_TIMEOUT: it may or may not have happened) can be
 * sent again as it is.
 *
 * A request is made by the caller, handed to coord_submit(), and comes back in
 * its done() with err and the answer filled in, exactly once, never from inside
 * coord_submit(). The caller then frees it. Requests of one coord are carried
 * out in order while its link holds.
 *
 * Two things implement this: coord_redis.c (the real one) and the simulator's model.
 * tests/unit/test_coord.c runs the same cases over both. */
#ifndef PROTO_REDIS_COORD_H
#define PROTO_REDIS_COORD_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/arena.h"
#include "proto/base/blob.h"
#include "proto/base/err.h"
#include "proto/wire/msg.h"

enum coord_op {
    COORD_JOIN_WORLD, /* compare or set the world's constants, raise its schema */
    COORD_RENEW,      /* my lease, and who else lives */
    COORD_LEAVE,      /* drop my lease */
    COORD_BURY,       /* drop the lease of a node that refused a connection */
    COORD_OWNERS,     /* read who owns cells */
    COORD_CLAIM,
    COORD_APPEND,
    COORD_TRIM,
    COORD_RELEASE,
    COORD_RESTORE,
    COORD_TRANSFER,
    COORD_JOURNAL, /* read a page of a cell's journal */
    COORD_DIRTY,   /* some cells whose journal holds what the store lacks */
    COORD_IDS,     /* a block of player ids */
    COORD_NAME_TAKE,
    COORD_NAME_DROP,
    COORD_NAME_PLACES, /* where my players are, for /goto */
    COORD_NAME_FIND,
    COORD_NAME_LIST,
    COORD_PUBLISH,
    COORD_OPS
};

enum {
    COORD_CELLS_MAX = 64, /* cells in one claim, append, trim, release or transfer */
    COORD_MEMBERS_MAX = 1024,
    COORD_JOURNAL_PAGE = 128, /* batches in one page */
    COORD_POOL_MAX = 63,
    COORD_INSTANCE_MAX = 63,
    COORD_ADDRESS_MAX = 127,
    COORD_NAMES_MAX = 1000
};

enum node_state { NODE_RUNNING = 0, NODE_AT_RISK = 1, NODE_LEAVING = 2, NODE_STARTING = 3, NODE_STATES };

/* What a node tells about itself at each renewal. A gateway fills in address only. */
struct coord_self {
    char address[COORD_ADDRESS_MAX + 1]; /* host:port of its peer listener */
    enum node_state state;
    uint32_t load; /* of all its cells: see node/own/load.h */
    char pool[COORD_POOL_MAX + 1];
    char instance[COORD_INSTANCE_MAX + 1]; /* its machine, for operators: not told to the other members */
};
struct coord_member {
    uint64_t id;
    struct coord_self self;
};

/* One cell in a request, and what Redis says of it. */
enum cell_answer {
    CELL_TAKEN = 1,  /* done */
    CELL_BEFORE = 2, /* append: Redis has my epoch and this n or more: it was taken earlier */
    CELL_STALE = 3,  /* a higher epoch, or another owner under mine; claim: its owner lives */
    CELL_BEHIND = 4, /* Redis has a lower epoch or n, or none: it went back */
    CELL_CLOSED = 5, /* claims are closed after a restart of Redis */
    CELL_BUSY = 6    /* release: its journal is not empty */
};
struct coord_cell {
    struct cell_pos cell;
    /* in */
    uint64_t epoch; /* mine; claim: the floor (the store's epoch, 0 if not known) */
    uint64_t n;     /* append: the batch being added; release, transfer: the last; trim: the last that the store has */
    uint64_t believed;  /* claim: the owner that I read (0: none). Another one, alive or not: STALE */
    struct blob *batch; /* append: the batch. trim: rows for quarantine, or NULL. The request holds a reference */
    /* out */
    enum cell_answer answer;
    uint64_t owner, owner_epoch, owner_n; /* what Redis has now; 0 when there is none */
    bool owner_alive;                     /* owners: its lease exists */
};

struct coord_batch {
    uint64_t epoch, n;
    struct blob *bytes;
};

struct coord_name {
    char nick[NICK_MAX + 1];
    uint64_t session; /* count within the gateway */
    struct place place;
};

struct coord_req;
typedef void coord_done(struct coord_req *req, void *arg);

struct coord_req {
    enum coord_op op;
    enum err err; /* ERR_OK: answered. ERR_IO, ERR_TIMEOUT: not known. ERR_REFUSED: Redis answered an error (log it) */
    coord_done *done;
    void *arg;
    uint64_t me; /* the caller's id */
    union {
        struct { /* 0: not compared. ERR_MISMATCH: another cell size, or a schema more than SCHEMA_DISTANCE_MAX away */
            uint32_t cell_chunks;
            uint32_t schema;
            uint32_t has_chunks, newest; /* out, also of a mismatch: the world's, and the highest schema that joined */
        } world;
        struct {
            enum role role;
            uint32_t ttl_ms;
            struct coord_self self;
            uint64_t generation_known; /* the highest that I met in the store; Redis is raised to it */
            uint32_t id_high;          /* the highest player id given out by me; next_id is raised above it */
            /* out */
            bool existed; /* my lease was still there */
            bool evicts;  /* maxmemory-policy is not noeviction: not ready */
            uint64_t generation;
            uint32_t closed_ms;           /* claims are closed for so long; 0: open */
            struct coord_member *members; /* the living nodes, me included; freed with the request */
            unsigned n_members;
        } renew;
        struct {
            uint64_t node;
            bool buried; /* out: false if it had no lease, or was buried within the last minute */
        } bury;
        struct {                      /* owners, claim, append, trim, release, transfer */
            struct coord_cell *cells; /* owned by the request: coord_req_cells() */
            unsigned n;
            uint64_t target; /* transfer: to which node */
        } cells;
        struct {
            struct cell_pos cell;
            uint64_t epoch, n;
            struct coord_batch *batches; /* owned by the request; references held */
            unsigned n_batches;
            enum cell_answer answer; /* TAKEN or STALE */
        } restore;
        struct {
            struct cell_pos cell;
            uint64_t after_epoch, after_n; /* 0, 0: from the start */
            struct coord_batch *batches;   /* out, oldest first */
            unsigned n_batches;
            bool more;
            uint64_t owner, owner_epoch; /* out: of the cell, in the same step; 0: none */
        } journal;
        struct {
            struct cell_pos cells[COORD_CELLS_MAX]; /* out: a random choice */
            unsigned n;
        } dirty;
        struct {
            uint32_t want;
            uint32_t first; /* out: first..first+want-1 are mine */
        } ids;
        struct {
            struct coord_name name;
            char old[NICK_MAX + 1]; /* take: the nick to give up in the same step, or "" */
            bool taken;             /* out: somebody else has it */
        } name;
        struct {
            struct coord_name *names; /* places: in. list: out. Owned by the request */
            unsigned n;
            uint32_t total; /* list: out, of all players in the world */
        } names;
        struct {
            char nick[NICK_MAX + 1]; /* "": any but not_nick */
            char not_nick[NICK_MAX + 1];
            bool found;
            uint64_t gate;
            struct coord_name name;
        } find;
        struct {
            struct blob *event;
        } publish;
    };
};

struct coord_req *coord_req_new(enum coord_op op, uint64_t me, coord_done *done, void *arg);
/* Room for n cells, zeroed. n <= COORD_CELLS_MAX but for owners, where it is at most 1024. */
struct coord_cell *coord_req_cells(struct coord_req *r, unsigned n);
void coord_req_free(struct coord_req *r); /* with everything that it owns; NULL is fine */
const char *coord_op_name(enum coord_op op);

struct coord; /* the service as one process sees it */
struct coord_ops {
    void (*submit)(struct coord *c, struct coord_req *r);
};
/* Implementations put this first in their struct. */
struct coord {
    const struct coord_ops *ops;
};
static inline void coord_submit(struct coord *c, struct coord_req *r)
{
    c->ops->submit(c, r);
}

/* What comes without being asked for: the events channel, for those who subscribed when they made their coord. */
struct coord_listener {
    void (*event)(void *arg, const void *data, size_t len);
    void (*interrupted)(void *arg); /* events may have been missed; called once the subscription is good again */
    void *arg;
};

#endif
