/* redis.h - Redis as the simulated processes reach it.
 *
 * One model server (tests/lib/model_coord.h). Each process has two connections,
 * as coord_redis.c has: leases and claims on one, everything else on the other;
 * gateways a third, for events. The server can be slow, away, and come back
 * emptied or older than it was. */
#ifndef TESTS_SIM_REDIS_H
#define TESTS_SIM_REDIS_H

#include "tests/lib/model_coord.h"
#include "tests/sim/hosts.h"

enum redis_return {
    REDIS_INTACT,
    REDIS_EMPTY, /* restarted without data */
    REDIS_OLDER  /* a replica that lagged took over */
};

void redis_init(struct sim *s);
void redis_free(struct sim *s);
void redis_attach(struct host *h); /* makes its coord and connections */
struct model_redis *redis_model(struct sim *s);

void redis_cut(struct host *h);       /* its connections break */
void redis_cut_events(struct sim *s); /* all subscriptions, for a while */
void redis_stall(struct sim *s, uint64_t ms);
/* Gone for ms, then back in that state. */
void redis_away(struct sim *s, uint64_t ms, enum redis_return back);
/* What a lagging replica has from now on. */
void redis_keep_snapshot(struct sim *s);

#endif
