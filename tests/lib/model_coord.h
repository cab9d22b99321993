/* model_coord.h - what Redis and our scripts do, in plain C: for the simulator and for comparing.
 *
 * A model_redis is one server's state, shared by all its clients. Requests are
 * applied at once; who delays and loses them is the caller's affair. Time is the
 * caller's too: it only goes forward, and leases end by it. Everything it does
 * is determined by what it was asked, in which order. tests/unit/test_coord.c holds it
 * against the real server, case by case and at random. One thread. */
#ifndef TESTS_LIB_MODEL_COORD_H
#define TESTS_LIB_MODEL_COORD_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/redis/coord.h"

struct model_redis;
struct model_redis *model_redis_new(void);
void model_redis_free(struct model_redis *m); /* NULL is fine */
/* A deep copy: what a replica that lags from now on has. To fail over to it, use it instead and say
 * model_redis_new_run(). */
struct model_redis *model_redis_copy(const struct model_redis *m);

void model_redis_set_time(struct model_redis *m, uint64_t now_ms);
/* Fills in r's answer and err; done() is not called. */
void model_redis_apply(struct model_redis *m, struct coord_req *r);

/* ---- faults ---- */
void model_redis_new_run(struct model_redis *m);       /* another server, or the same restarted: all data kept */
void model_redis_restart_empty(struct model_redis *m); /* restarted without data */
void model_redis_flush(struct model_redis *m);         /* FLUSHALL: without data, and no restart */
void model_redis_expire(struct model_redis *m, enum role role, uint64_t id); /* that lease is over */
void model_redis_reopen(struct model_redis *m); /* as if the time in which claims are closed were over */
void model_redis_evicts(struct model_redis *m, bool evicts);

/* ---- looking, for checkers ---- */
/* False: Redis knows no such cell. */
bool model_redis_cell(const struct model_redis *m, struct cell_pos c, uint64_t *owner, uint64_t *epoch, uint64_t *n);
/* The batches in a cell's journal, oldest first; good until the next change. */
unsigned model_redis_journal(const struct model_redis *m, struct cell_pos c, const struct coord_batch **batches);
bool model_redis_lives(const struct model_redis *m, enum role role, uint64_t id);
bool model_redis_dirty(const struct model_redis *m, struct cell_pos c);
unsigned model_redis_quarantined(const struct model_redis *m); /* how often rows went there */
typedef void model_redis_each(struct cell_pos c, void *arg);
void model_redis_cells(const struct model_redis *m, model_redis_each *each,
                       void *arg); /* in the order of their first use */

/* ---- as a struct coord: applied at once, answered by model_coord_run() ---- */
struct coord *model_coord_direct(struct model_redis *m, const struct coord_listener *listener); /* NULL: no events */
void model_coord_run(struct coord *c);
void model_coord_free(struct coord *c); /* what was not answered comes back with ERR_IO */

#endif
