#include "tests/sim/faults.h"

#include <stdlib.h>

#include "proto/base/mem.h"
#include "tests/sim/hosts.h"
#include "tests/sim/net.h"
#include "tests/sim/notices.h"
#include "tests/sim/redis.h"
#include "tests/sim/store.h"

enum { NODES_MAX = 5, SNAPSHOT_MS_MAX = 1500 };

struct sim_faults {
    bool over;
};

/* ---- hosts ---- */

/* Somebody starts what is missing, after a while. */
static void on_replace_node(void *arg)
{
    struct sim *s = arg;
    if (!s->faults->over && hosts_count(s, ROLE_NODE) < s->profile->nodes)
        host_start_node(s);
}

static void replace_node(struct sim *s)
{
    sched_at(&s->sched, s->sched.now_us + sim_between(s, 100, 4000) * 1000, on_replace_node, NULL, s);
}

static void on_replace_gateway(void *arg)
{
    struct sim *s = arg;
    if (!s->faults->over && hosts_count(s, ROLE_GATEWAY) < s->profile->gateways)
        host_start_gateway(s);
}

static void kill_node(struct sim *s)
{
    struct host *h = hosts_pick(s, ROLE_NODE, false);
    if (!h)
        return;
    host_kill(h, sim_chance(s, 3) ? DEATH_MACHINE : DEATH_PROCESS);
    replace_node(s);
}

static void stop_node(struct sim *s)
{
    struct host *h = hosts_pick(s, ROLE_NODE, true);
    if (!h || hosts_count(s, ROLE_NODE) < 2)
        return;
    host_stop(h);
    host_start_node(s);
}

static void on_undrain(void *arg)
{
    struct host *h = arg;
    if (h->alive && !h->frozen)
        node_undrain(h->node);
}

/* An operator empties a node, and takes it back. */
static void drain_node(struct sim *s)
{
    struct host *h = hosts_pick(s, ROLE_NODE, true);
    if (!h)
        return;
    sim_note(s, "%s is drained", h->name);
    node_drain(h->node);
    sched_at(&s->sched, s->sched.now_us + sim_between(s, 200, 5000) * 1000, on_undrain, NULL, h);
}

static void kill_gateway(struct sim *s)
{
    struct host *h = hosts_pick(s, ROLE_GATEWAY, false);
    if (!h)
        return;
    host_kill(h, sim_chance(s, 3) ? DEATH_MACHINE : DEATH_PROCESS);
    sched_at(&s->sched, s->sched.now_us + sim_between(s, 100, 3000) * 1000, on_replace_gateway, NULL, s);
}

static void on_wake(void *arg)
{
    host_wake(arg);
}

static void freeze(struct sim *s, enum role role)
{
    struct host *h = hosts_pick(s, role, true);
    if (!h)
        return;
    host_freeze(h);
    sched_at(&s->sched, s->sched.now_us + sim_between(s, 50, 10000) * 1000, on_wake, NULL, h);
    /* A machine that hangs is often cut off too. */
    if (sim_chance(s, 3))
        redis_cut(h);
}

/* ---- the mix ---- */

static void strike(struct sim *s, enum trouble t)
{
    uint64_t ms = sim_chance(s, 4) ? sim_between(s, 1000, 8000) : sim_between(s, 20, 1000);
    struct host *h = hosts_pick(s, sim_chance(s, 3) ? ROLE_GATEWAY : ROLE_NODE, false);
    struct host *node = hosts_pick(s, ROLE_NODE, false);
    switch (t) {
    case TROUBLE_KILL_NODE:
        kill_node(s);
        break;
    case TROUBLE_FREEZE_NODE:
        freeze(s, ROLE_NODE);
        break;
    case TROUBLE_STOP_NODE:
        stop_node(s);
        break;
    case TROUBLE_START_NODE:
        if (hosts_count(s, ROLE_NODE) < NODES_MAX)
            host_start_node(s);
        break;
    case TROUBLE_DRAIN_NODE:
        drain_node(s);
        break;
    case TROUBLE_NOTICE:
        notice_one(s);
        break;
    case TROUBLE_HINT:
        notice_hint(s);
        break;
    case TROUBLE_STORM:
        notice_storm(s);
        break;
    case TROUBLE_INFANT:
        notice_infant(s);
        break;
    case TROUBLE_KILL_GATEWAY:
        kill_gateway(s);
        break;
    case TROUBLE_FREEZE_GATEWAY:
        freeze(s, ROLE_GATEWAY);
        break;
    case TROUBLE_RESET_LINK:
        net_break_some_link(s, true);
        break;
    case TROUBLE_MUTE_LINK:
        net_break_some_link(s, false);
        break;
    case TROUBLE_PART:
        if (h && node && h != node)
            net_part(s, h, node, ms);
        break;
    case TROUBLE_REDIS_CUT:
        if (h)
            redis_cut(h);
        break;
    case TROUBLE_REDIS_AWAY:
        redis_away(s, ms, REDIS_INTACT);
        break;
    case TROUBLE_REDIS_STALL:
        redis_stall(s, ms);
        break;
    case TROUBLE_REDIS_EMPTY:
        redis_away(s, ms, REDIS_EMPTY);
        break;
    case TROUBLE_REDIS_OLDER:
        redis_away(s, ms, REDIS_OLDER);
        break;
    case TROUBLE_EVENTS_CUT:
        redis_cut_events(s);
        break;
    case TROUBLE_STORE_CUT:
        if (node)
            store_cut(node);
        break;
    case TROUBLE_STORE_AWAY:
        store_away(s, ms);
        break;
    case TROUBLE_STORE_STALL:
        store_stall(s, ms);
        break;
    case TROUBLE_STORE_FAIL:
        store_fail(s, ms);
        break;
    case TROUBLES:
        break;
    }
}

static enum trouble draw(struct sim *s)
{
    unsigned total = 0;
    for (unsigned t = 0; t < TROUBLES; t++)
        total += s->profile->weight[t];
    if (total == 0)
        return TROUBLES;
    unsigned at = rng_below(&s->rng, total);
    unsigned t = 0;
    while (at >= s->profile->weight[t])
        at -= s->profile->weight[t++];
    return (enum trouble)t;
}

static void on_trouble(void *arg)
{
    struct sim *s = arg;
    if (s->faults->over)
        return;
    strike(s, draw(s));
    /* Troubles seldom come alone: half of them follow at once. */
    uint64_t wait_ms = sim_chance(s, 2) ? sim_between(s, 0, 200) : sim_between(s, 0, 2ull * s->profile->every_ms);
    sched_at(&s->sched, s->sched.now_us + wait_ms * 1000, on_trouble, NULL, s);
}

static void on_snapshot(void *arg)
{
    struct sim *s = arg;
    redis_keep_snapshot(s);
    if (!s->faults->over)
        sched_at(&s->sched, s->sched.now_us + sim_between(s, 50, SNAPSHOT_MS_MAX) * 1000, on_snapshot, NULL, s);
}

void faults_init(struct sim *s)
{
    s->faults = mem_zalloc(sizeof *s->faults);
    /* The first seconds are quiet: the world comes up. */
    sched_at(&s->sched, s->sched.now_us + sim_between(s, 500, 3000) * 1000, on_trouble, NULL, s);
    if (s->profile->weight[TROUBLE_REDIS_OLDER])
        sched_at(&s->sched, s->sched.now_us, on_snapshot, NULL, s);
}

/* One that is told to go is none, nor one that went too far to be called back: its notice may have been withdrawn. */
static bool a_node_stays(struct sim *s)
{
    for (unsigned i = 0; i < s->hosts->n; i++) {
        const struct host *h = s->hosts->all[i];
        struct node_stats st;
        if (!h->alive || !h->node || h->stopping || h->told)
            continue;
        node_stats(h->node, &st);
        if (st.state != NODE_LEAVING)
            return true;
    }
    return false;
}

void faults_end(struct sim *s)
{
    s->faults->over = true;
    for (unsigned i = 0; i < s->hosts->n; i++) {
        struct host *h = s->hosts->all[i];
        host_wake(h);
        if (h->alive && h->node)
            node_undrain(h->node);
    }
    if (!a_node_stays(s))
        host_start_node(s);
    if (hosts_count(s, ROLE_GATEWAY) == 0)
        host_start_gateway(s);
}

bool faults_over(const struct sim *s)
{
    return s->faults->over;
}

void faults_free(struct sim *s)
{
    free(s->faults);
}
