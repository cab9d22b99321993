/* faults.h - what goes wrong, how often, and that it ends.
 *
 * A profile is a mix of troubles. Each run of a profile draws its own times and
 * victims from its seed. Mixes that can truly lose an acknowledged edit (Redis
 * emptied in the moment in which an owner dies) are left out: DESIGN admits
 * that loss, and a check that sometimes looks away is none. */
#ifndef TESTS_SIM_FAULTS_H
#define TESTS_SIM_FAULTS_H

#include "tests/sim/sim.h"

enum trouble {
    TROUBLE_KILL_NODE,
    TROUBLE_FREEZE_NODE,
    TROUBLE_STOP_NODE,
    TROUBLE_START_NODE,
    TROUBLE_DRAIN_NODE,
    TROUBLE_NOTICE, /* notices.h */
    TROUBLE_HINT,
    TROUBLE_STORM,
    TROUBLE_INFANT,
    TROUBLE_KILL_GATEWAY,
    TROUBLE_FREEZE_GATEWAY,
    TROUBLE_RESET_LINK,
    TROUBLE_MUTE_LINK,
    TROUBLE_PART,
    TROUBLE_REDIS_CUT,
    TROUBLE_REDIS_AWAY,
    TROUBLE_REDIS_STALL,
    TROUBLE_REDIS_EMPTY,
    TROUBLE_REDIS_OLDER,
    TROUBLE_EVENTS_CUT,
    TROUBLE_STORE_CUT,
    TROUBLE_STORE_AWAY,
    TROUBLE_STORE_STALL,
    TROUBLE_STORE_FAIL,
    TROUBLES
};

struct sim_profile {
    const char *name;
    unsigned nodes, gateways, players;
    uint32_t trouble_ms; /* how long it lasts */
    uint32_t every_ms;   /* a trouble so often, about */
    bool notices_kept;   /* nothing else goes wrong: whoever is told in time must be empty in time */
    unsigned times;      /* so many times the seeds of other mixes; 0: once */
    unsigned weight[TROUBLES];
};

void faults_init(struct sim *s);
void faults_free(struct sim *s);
/* No new trouble; what hangs wakes, what is away comes back by itself. */
void faults_end(struct sim *s);
bool faults_over(const struct sim *s);

#endif
