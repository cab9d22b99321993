/* worker.h - one thread for work that blocks, so that the loop does not.
 *
 * Jobs go in on the loop thread and come back on it, in order, exactly once.
 * The thread takes everything that is queued (up to batch_max) at once, so
 * that a database can commit it together. A job belongs to the thread from
 * worker_submit() until done(): nobody else may touch it. */
#ifndef NODE_PERSIST_WORKER_H
#define NODE_PERSIST_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/err.h"

/* The first member of whatever the caller queues. */
struct worker_job {
    struct worker_job *prev, *next;
};

struct worker_ops {
    void (*run)(void *ctx, struct worker_job **jobs, unsigned n); /* on the thread; may block */
    void (*done)(void *ctx, struct worker_job *job);              /* on the loop thread; may free the job */
};

struct event_base;
struct worker;
/* NULL when the system gives us no thread. */
struct worker *worker_new(struct event_base *base, const struct worker_ops *ops, void *ctx, unsigned queue_max,
                          unsigned batch_max);
/* ERR_FULL: queue_max jobs are inside already; the job is still the caller's. */
enum err worker_submit(struct worker *w, struct worker_job *job);
/* Waits until all jobs ran, calls their done(), frees the worker. False when that takes longer than wait_ms: some call
 * does not return (a dead disk). Then done() was called for what came back in time, and the thread is left behind with
 * the worker, ctx and the other jobs, which must stay good for ever: only a process that is about to exit gets here. */
bool worker_free(struct worker *w, uint32_t wait_ms);

#endif
