/* sched.h - virtual time: what is to happen, in the order in which it happens.
 *
 * A heap of events, by time and then by the order of their making, so that one
 * seed gives one course of the world, always. Time stands still while an event
 * runs and jumps to the next one after it. One thread. */
#ifndef TESTS_SIM_SCHED_H
#define TESTS_SIM_SCHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* arg is given to run() or, when the world ends first, to drop(); either disposes of it. drop may be NULL. */
typedef void sched_fn(void *arg);

struct sched_event {
    uint64_t at_us, seq;
    sched_fn *run, *drop;
    void *arg;
};

struct sched {
    uint64_t now_us;
    uint64_t steps; /* events run so far */
    uint64_t made;
    struct sched_event *heap;
    size_t n, room;
};

void sched_init(struct sched *s);
void sched_free(struct sched *s); /* drops what was still to happen */
/* A time in the past means now: after everything else that was planned for now. */
void sched_at(struct sched *s, uint64_t at_us, sched_fn *run, sched_fn *drop, void *arg);
/* Runs the next event if it is due by until_us; else moves time there and returns false. */
bool sched_step(struct sched *s, uint64_t until_us);

#endif
