/* spot.h - whether this node stays, and how long it has.
 *
 *   starting --> running <--> at_risk       a rebalance recommendation: right about one time in three
 *                   |  ^         |
 *                   v  |         v
 *                  leaving <-----'          an interruption, SIGTERM, an operator's drain
 *                     |
 *                     v
 *                   empty                   nothing is left to hand over, or no time: the lease goes, the process ends
 *
 * In go the notices of the metadata watcher as it finds them (again and again, with times that slide, in the past, or
 * not said at all), their withdrawals, SIGTERM, drains and the time; out come the phase, why, and the deadline.
 *
 * - Of several deadlines the earliest counts. One that is read later than before changes nothing; an earlier one does.
 * A deadline in the past or none means: two minutes from when it was first read.
 * - A rebalance recommendation is over after quiet_ms in which nothing followed; the same one does not count again,
 * another one, made at another time, does, and the quiet time begins anew.
 * - A scheduled maintenance means leaving once it is nearer than maintenance_ms; until then it may be moved.
 * - A withdrawn notice is forgotten: a node that is leaving for nothing else runs again with the cells that it still
 * has. What is irrevocable is SIGTERM, and being empty: the lease may be gone already.
 *
 * Pure: no clock, no socket. Owned by its node. now_ms is monotonic and so are the deadlines here; unix_ms is the wall
 * clock, in which the notices tell theirs. */
#ifndef NODE_OWN_SPOT_H
#define NODE_OWN_SPOT_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/imds/notice.h"

enum spot_phase { SPOT_STARTING, SPOT_RUNNING, SPOT_AT_RISK, SPOT_LEAVING, SPOT_EMPTY, SPOT_PHASES };

struct spot_notice {
    bool stands;          /* told, and not withdrawn */
    bool spent;           /* rebalance: its quiet time passed */
    uint64_t told_ms;     /* wall clock, as read last; 0: not said */
    uint64_t from_ms;     /* rebalance: when this one was read first */
    uint64_t deadline_ms; /* 0: none (rebalance) */
};

struct spot {
    uint32_t quiet_ms, maintenance_ms;
    bool started, stopping, draining, emptied;
    uint64_t stop_ms; /* SIGTERM's deadline */
    struct spot_notice notices[NOTICES];
    /* what follows from it */
    enum spot_phase phase;
    const char *why;      /* at_risk, leaving: "" otherwise */
    uint64_t deadline_ms; /* leaving: when it must be over; 0: no deadline (a drain) */
    uint64_t since_ms;    /* in this phase */
};

void spot_init(struct spot *s, uint32_t quiet_ms, uint32_t maintenance_ms, uint64_t now_ms);
void spot_started(struct spot *s, uint64_t now_ms);
/* told_unix_ms: its deadline, of a recommendation when it was made; 0: not said. True when this is news: a notice that
 * did not stand, a nearer deadline, another recommendation. */
bool spot_told(struct spot *s, enum notice_kind kind, uint64_t told_unix_ms, uint64_t unix_ms, uint64_t now_ms);
bool spot_withdrawn(struct spot *s, enum notice_kind kind, uint64_t now_ms); /* false: it did not stand */
void spot_stop(struct spot *s, uint64_t deadline_ms, uint64_t now_ms);
void spot_drain(struct spot *s, bool on, uint64_t now_ms);
void spot_emptied(struct spot *s, uint64_t now_ms); /* leaving, with a deadline, and nothing is left, or no time */
/* Time passed. */
void spot_tick(struct spot *s, uint64_t now_ms);
/* Leaving only because an operator said so: without deadline, and without end. */
bool spot_only_drained(const struct spot *s);

const char *spot_phase_text(enum spot_phase p);

#endif
