/* sim.h - a whole cluster in one process, on a fake clock, from one seed.
 *
 *     players ~~bytes~~ gateways ~~messages~~ nodes        the real state machines (gateway.h, node.h)
 *                          |                   |   \
 *                          `---- Redis --------'    store   models of them (tests/lib/model_*.h)
 *
 * Everything between the parts takes a seeded while, and may be lost with what
 * carried it. faults.h decides what breaks and when; check.h looks at every
 * step that could break a promise. The same seed gives the same course, to the
 * last byte: a failing seed is run again to tell its story.
 *
 * One struct holds it all; the parts below it are made and freed by sim_new() and sim_free(). One thread. */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "proto/base/rng.h"
#include "tests/sim/sched.h"

struct sim_profile;
struct sim_hosts;
struct sim_net;
struct sim_redis;
struct sim_store;
struct sim_sockets;
struct sim_crowd;
struct sim_faults;
struct check;

enum { SIM_TAIL = 60, SIM_NOTE_BYTES = 240, SIM_FAILURE_BYTES = 600 };

struct sim {
    uint64_t seed;
    struct rng rng;
    struct sched sched;
    const struct sim_profile *profile;
    struct sim_hosts *hosts;
    struct sim_net *net;
    struct sim_redis *redis;
    struct sim_store *store;
    struct sim_sockets *sockets;
    struct sim_crowd *crowd;
    struct sim_faults *faults;
    struct check *check;
    /* the story; kept only when asked for: most runs are never told */
    bool telling;
    FILE *log;                           /* all of it; may be NULL */
    char tail[SIM_TAIL][SIM_NOTE_BYTES]; /* the last of it, a ring */
    unsigned n_notes;
    /* the first broken promise; nothing runs after it */
    bool failed;
    char failure[SIM_FAILURE_BYTES];
};

struct sim *sim_new(uint64_t seed, const struct sim_profile *profile, bool telling, FILE *log);
void sim_free(struct sim *s);
/* Trouble for a while, then calm until all is quiet, then the last checks. False: failure says what broke. */
bool sim_run(struct sim *s);
/* Runs events for ms of virtual time. False: something failed. */
bool sim_run_ms(struct sim *s, uint64_t ms);

static inline uint64_t sim_ms(const struct sim *s)
{
    return s->sched.now_us / 1000;
}

/* A seeded yes: once in n. */
bool sim_chance(struct sim *s, uint32_t once_in);
uint64_t sim_between(struct sim *s, uint64_t low, uint64_t high); /* both included */
/* What a packet takes: mostly a millisecond or two, now and then some tens, seldom hundreds of milliseconds. In us. */
uint64_t sim_latency(struct sim *s);

void sim_note_write(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define sim_note(s, ...)                                                                                               \
    do {                                                                                                               \
        if ((s)->telling)                                                                                              \
            sim_note_write(s, __VA_ARGS__);                                                                            \
    } while (0)
void sim_print_tail(const struct sim *s, FILE *out);
/* A promise was broken. The first one is kept. */
void sim_fail(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
