#include "tests/sim/hosts.h"

#include <stdlib.h>
#include <utlist.h>

#include "proto/base/mem.h"
#include "tests/sim/crowd.h"
#include "tests/sim/net.h"
#include "tests/sim/redis.h"
#include "tests/sim/rpc.h"
#include "tests/sim/socket.h"
#include "tests/sim/store.h"

enum { TICK_US = 10000, STOP_MS = 20000, WALL_S = 1700000000, FOLLOWERS_ROWS = 2000 };

/* Something that came in while the host was frozen. */
struct host_pending {
    host_input_fn *run;
    host_drop_fn *drop;
    void *arg;
    struct host_pending *prev, *next;
};

void hosts_init(struct sim *s)
{
    s->hosts = mem_zalloc(sizeof *s->hosts);
}

/* ---- what comes in ---- */

void host_input(struct host *h, host_input_fn *run, host_drop_fn *drop, void *arg)
{
    if (h->alive && h->frozen) {
        struct host_pending *p = mem_zalloc(sizeof *p);
        *p = (struct host_pending){.run = run, .drop = drop, .arg = arg};
        DL_APPEND(h->backlog, p);
    } else if (h->alive) {
        run(h, arg);
    } else if (drop) {
        drop(arg);
    }
}

static void backlog_clear(struct host *h, bool run)
{
    /* Taken one by one: an input may kill or freeze its host. */
    for (struct host_pending *p; (p = h->backlog) && !(run && h->frozen);) {
        DL_DELETE(h->backlog, p);
        if (run && h->alive)
            p->run(h, p->arg);
        else if (p->drop)
            p->drop(p->arg);
        free(p);
    }
}

/* ---- the clock, as each host has it ---- */

static uint64_t host_now_ms(void *arg)
{
    const struct host *h = arg;
    return sim_ms(h->sim) + h->clock_offset_ms;
}

uint64_t host_unix_ms(void *arg)
{
    const struct host *h = arg;
    return WALL_S * 1000ull + sim_ms(h->sim);
}

static void host_end(struct host *h, enum host_death death);

static void tick(struct host *h)
{
    if (h->node) {
        node_tick(h->node);
        if (node_stopped(h->node)) {
            sim_note(h->sim, "%s has stopped", h->name);
            host_end(h, DEATH_PROCESS);
        }
    } else {
        gateway_tick(h->gateway);
    }
}

static void on_tick(void *arg)
{
    struct host *h = arg;
    if (!h->alive)
        return;
    if (!h->frozen)
        tick(h);
    if (h->alive)
        sched_at(&h->sim->sched, h->sim->sched.now_us + TICK_US, on_tick, NULL, h);
}

/* ---- life and death ---- */

static struct host *host_new(struct sim *s, enum role role)
{
    struct host *h = mem_zalloc(sizeof *h);
    h->sim = s;
    h->role = role;
    h->index = s->hosts->n;
    h->id = rng_u64(&s->rng) | 1;
    /* A monotonic clock means nothing elsewhere: a time that leaks into a message shows. */
    h->clock_offset_ms = sim_between(s, 1, 1000000);
    h->born_us = s->sched.now_us;
    h->alive = true;
    snprintf(h->name, sizeof h->name, "%c%u", role == ROLE_NODE ? 'n' : 'g', h->index);
    snprintf(h->address, sizeof h->address, "10.0.0.%u:4100", h->index);
    s->hosts->all[s->hosts->n++] = h;
    redis_attach(h);
    return h;
}

static void host_run(struct host *h)
{
    sim_note(h->sim, "%s starts id=%016llx", h->name, (unsigned long long)h->id);
    sched_at(&h->sim->sched, h->sim->sched.now_us + sim_between(h->sim, 0, TICK_US), on_tick, NULL, h);
}

static void on_checked(void *arg)
{
    struct host *h = arg;
    if (h->alive)
        node_checked(h->node);
}

struct host *host_start_node(struct sim *s)
{
    if (s->hosts->n == HOSTS_MAX)
        return NULL;
    struct host *h = host_new(s, ROLE_NODE);
    store_attach(h);
    struct node_settings settings;
    node_settings_default(&settings);
    /* Short, so that a run of a minute sees cells come and go. */
    settings.idle_cell_ms = 5000;
    settings.at_risk_quiet_ms = 5000;
    settings.followers_rows = h->index % 3 == 0 ? FOLLOWERS_ROWS : 0;
    settings.wait_for_checked = h->index % 4 == 1;
    snprintf(settings.address, sizeof settings.address, "%s", h->address);
    snprintf(settings.pool, sizeof settings.pool, "pool-%u", h->index % 2);
    struct node_env env = {.net = &sim_net_ops,
                           .net_ctx = h,
                           .coord = &h->coord,
                           .store = &h->store,
                           .now_ms = host_now_ms,
                           .unix_ms = host_unix_ms,
                           .clock = h,
                           .seed = rng_u64(&s->rng)};
    h->node = node_new(h->id, &settings, &env);
    if (settings.wait_for_checked)
        sched_at(&s->sched, s->sched.now_us + sim_between(s, 0, 1000) * 1000, on_checked, NULL, h);
    host_run(h);
    return h;
}

struct host *host_start_gateway(struct sim *s)
{
    if (s->hosts->n == HOSTS_MAX)
        return NULL;
    struct host *h = host_new(s, ROLE_GATEWAY);
    struct gateway_settings settings;
    gateway_settings_default(&settings);
    settings.presence_chunks = CROWD_PRESENCE_CHUNKS;
    settings.session_edits_max = 64; /* low, so that bursts reach it */
    snprintf(settings.address, sizeof settings.address, "%s", h->address);
    struct gateway_env env = {.net = &sim_net_ops,
                              .net_ctx = h,
                              .players = &sim_player_ops,
                              .players_ctx = h,
                              .coord = &h->coord,
                              .now_ms = host_now_ms,
                              .unix_ms = host_unix_ms,
                              .clock = h,
                              .seed = rng_u64(&s->rng)};
    h->gateway = gateway_new(h->id, &settings, &env);
    host_run(h);
    return h;
}

static void host_end(struct host *h, enum host_death death)
{
    h->alive = false;
    h->frozen = false;
    h->silent = death == DEATH_MACHINE;
    rpc_abandon(h->leases);
    rpc_abandon(h->commands);
    if (h->rows)
        rpc_abandon(h->rows);
    backlog_clear(h, false);
    net_host_gone(h, death);
    node_free(h->node);
    h->node = NULL;
    if (h->gateway) {
        gateway_free(h->gateway);
        h->gateway = NULL;
        sockets_gateway_gone(h);
    }
}

void host_kill(struct host *h, enum host_death death)
{
    if (!h->alive)
        return;
    sim_note(h->sim, "%s is killed%s", h->name, death == DEATH_MACHINE ? ", with its machine" : "");
    host_end(h, death);
}

void host_freeze(struct host *h)
{
    sim_note(h->sim, "%s freezes", h->name);
    h->frozen = true;
}

void host_wake(struct host *h)
{
    if (!h->alive || !h->frozen)
        return;
    sim_note(h->sim, "%s wakes", h->name);
    h->frozen = false;
    /* What a loop does first after a stop, its timers or its sockets, is not promised by anybody. */
    if (sim_chance(h->sim, 2))
        tick(h);
    backlog_clear(h, true);
}

void host_stop(struct host *h)
{
    sim_note(h->sim, "%s is told to stop", h->name);
    h->stopping = true;
    node_stop(h->node, STOP_MS);
}

/* ---- finding ---- */

unsigned hosts_count(const struct sim *s, enum role role)
{
    unsigned n = 0;
    for (unsigned i = 0; i < s->hosts->n; i++)
        n += s->hosts->all[i]->alive && s->hosts->all[i]->role == role;
    return n;
}

struct host *hosts_pick(struct sim *s, enum role role, bool awake)
{
    struct host *found[HOSTS_MAX];
    unsigned n = 0;
    for (unsigned i = 0; i < s->hosts->n; i++) {
        struct host *h = s->hosts->all[i];
        if (h->alive && h->role == role && !(awake && (h->frozen || h->stopping || h->told)))
            found[n++] = h;
    }
    return n ? found[rng_below(&s->rng, n)] : NULL;
}

struct host *hosts_find(struct sim *s, uint64_t id)
{
    for (unsigned i = 0; i < s->hosts->n; i++) {
        if (s->hosts->all[i]->id == id)
            return s->hosts->all[i];
    }
    return NULL;
}

void hosts_end_all(struct sim *s)
{
    for (unsigned i = 0; i < s->hosts->n; i++) {
        if (s->hosts->all[i]->alive)
            host_end(s->hosts->all[i], DEATH_PROCESS);
    }
}

void hosts_free(struct sim *s)
{
    for (unsigned i = 0; i < s->hosts->n; i++) {
        struct host *h = s->hosts->all[i];
        rpc_free(h->leases);
        rpc_free(h->commands);
        rpc_free(h->rows);
        free(h);
    }
    free(s->hosts);
}
