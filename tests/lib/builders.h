/* builders.h - a crowd of bots that walk, build and chat, and what they saw of each other: what benchmarks are made of.
 *
 * Every edit is told apart from every other by its block: no block is used twice but to break what was placed there. So
 * each line that any bot reads can be traced to the edit, and its author, that it tells of; a walking bot hides a count
 * in the direction that it looks, and so its positions can be timed too. At the end a fresh client reads every chunk
 * that was touched, and the ledger says whether anything was lost or doubled.
 *
 * Owned by whoever made it; used on the loop's thread. The counters and times are its owner's to read. */
#ifndef TESTS_LIB_BUILDERS_H
#define TESTS_LIB_BUILDERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/rng.h"
#include "tests/lib/latency.h"
#include "tests/lib/ledger.h"

struct event_base;

struct builders_conf {
    struct event_base *base;
    const char *host; /* numeric IPv4; NULL: 127.0.0.1 */
    uint16_t port;
    unsigned bots;
    unsigned edits_per_s; /* of all together */
    unsigned view;        /* chunks to each side */
    unsigned cells;       /* they live in cells x cells cells, from the origin on */
    int32_t origin_x, origin_z;
    bool on_corners; /* homes where four cells meet: (cells / 2)^2 bots have all of them in sight. Else anywhere */
    bool nagle;      /* small writes wait, as the real client's do */
    bool silent;     /* nothing on stderr but what went wrong */
    uint64_t seed;
};

struct builders_times {
    struct latency *edit;     /* from an edit to each who sees it */
    struct latency *position; /* the same of a position */
    struct latency *gap;      /* between positions of somebody near, beyond the pace that he walked at */
    struct latency *late;     /* of the bots' own timer: what the machine adds */
};
struct builders_times builders_times_new(void);
void builders_times_free(struct builders_times *t);

/* A line between two cells, by the cell west or north of it. */
struct border {
    struct cell_pos cell;
    bool east; /* its other side is the cell to the east; else to the south */
};

struct builder;
struct builders {
    struct builders_conf conf;
    struct rng rng;
    struct ledger *ledger;
    struct builders_times times; /* may be exchanged for others at any time */
    struct latency *join;        /* until all of the first screen is there */
    unsigned joined, disconnects, chats, chats_heard;
    uint64_t position_lines;
    /* its own */
    struct builder *all;
    int32_t *by_id;      /* player id to index + 1 */
    uint16_t *last_seen; /* [observer][author]: the count that was seen last, + 1 */
    uint32_t *seen_us;   /* ... and when, without the upper half */
    struct event *tick;
    uint64_t last_ms, next_chat_ms;
    double owed_edits;
};

struct builders *builders_new(const struct builders_conf *conf);
void builders_free(struct builders *b); /* NULL is fine */

/* They join, go home and look around. False: some could not; said on stderr. */
bool builders_gather(struct builders *b);
/* One of them moves to that border, and builds within a block of it. */
void builders_to_border(struct builders *b, unsigned index, const struct border *border);
bool builders_wait_here(struct builders *b, const char *what); /* until nothing that they asked for is outstanding */

void builders_start(struct builders *b); /* play, as long as the loop runs */
void builders_stop(struct builders *b);
/* Stopped: waits until everybody was told of everything, then reads the world. False: it could not be read. */
bool builders_check(struct builders *b, struct ledger_result *r);

#endif
