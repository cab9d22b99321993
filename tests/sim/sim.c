#include "tests/sim/sim.h"

#include <stdarg.h>
#include <stdlib.h>

#include "proto/base/mem.h"
#include "tests/sim/check.h"
#include "tests/sim/crowd.h"
#include "tests/sim/faults.h"
#include "tests/sim/hosts.h"
#include "tests/sim/net.h"
#include "tests/sim/redis.h"
#include "tests/sim/socket.h"
#include "tests/sim/store.h"

enum {
    QUIET_MS_MAX = 120000, /* after the last trouble, everything is in order by then */
    QUIET_STEP_MS = 250,
    SETTLE_MS = 3000, /* for what was answered but is still on its way */
    STOP_MS_MAX = 30000
};

struct sim *sim_new(uint64_t seed, const struct sim_profile *profile, bool telling, FILE *log)
{
    struct sim *s = mem_zalloc(sizeof *s);
    s->seed = seed;
    s->profile = profile;
    s->telling = telling;
    s->log = log;
    rng_seed(&s->rng, seed);
    sched_init(&s->sched);
    check_init(s);
    redis_init(s);
    store_init(s);
    net_init(s);
    hosts_init(s);
    for (unsigned i = 0; i < profile->nodes; i++)
        host_start_node(s);
    for (unsigned i = 0; i < profile->gateways; i++)
        host_start_gateway(s);
    sockets_init(s);
    crowd_init(s);
    faults_init(s);
    return s;
}

void sim_free(struct sim *s)
{
    if (!s)
        return;
    hosts_end_all(s);
    sched_free(&s->sched);
    hosts_free(s);
    faults_free(s);
    crowd_free(s);
    sockets_free(s);
    net_free(s);
    store_free(s);
    redis_free(s);
    check_free(s);
    free(s);
}

/* ---- chance ---- */

bool sim_chance(struct sim *s, uint32_t once_in)
{
    return rng_below(&s->rng, once_in) == 0;
}

uint64_t sim_between(struct sim *s, uint64_t low, uint64_t high)
{
    return low + rng_below(&s->rng, (uint32_t)(high - low + 1));
}

uint64_t sim_latency(struct sim *s)
{
    uint32_t kind = rng_below(&s->rng, 1000);
    if (kind < 2)
        return sim_between(s, 100000, 600000);
    if (kind < 20)
        return sim_between(s, 5000, 80000);
    return sim_between(s, 100, 3000);
}

/* ---- the story ---- */

void sim_note_write(struct sim *s, const char *fmt, ...)
{
    char *line = s->tail[s->n_notes++ % SIM_TAIL];
    int at = snprintf(line, SIM_NOTE_BYTES, "%8llu %10.3f ms ", (unsigned long long)s->sched.steps,
                      (double)s->sched.now_us / 1e3);
    va_list args;
    va_start(args, fmt);
    vsnprintf(line + at, SIM_NOTE_BYTES - (size_t)at, fmt, args);
    va_end(args);
    if (s->log)
        fprintf(s->log, "%s\n", line);
}

void sim_print_tail(const struct sim *s, FILE *out)
{
    unsigned from = s->n_notes > SIM_TAIL ? s->n_notes - SIM_TAIL : 0;
    for (unsigned i = from; i < s->n_notes; i++)
        fprintf(out, "%s\n", s->tail[i % SIM_TAIL]);
}

void sim_fail(struct sim *s, const char *fmt, ...)
{
    if (s->failed)
        return;
    s->failed = true;
    va_list args;
    va_start(args, fmt);
    vsnprintf(s->failure, sizeof s->failure, fmt, args);
    va_end(args);
    sim_note(s, "FAILED: %s", s->failure);
}

/* ---- one course of the world ---- */

bool sim_run_ms(struct sim *s, uint64_t ms)
{
    uint64_t until = s->sched.now_us + ms * 1000;
    while (!s->failed && sched_step(&s->sched, until))
        ;
    return !s->failed;
}

/* What keeps the world from being quiet, or "". */
static void restless(struct sim *s, char *why, size_t why_bytes)
{
    why[0] = '\0';
    for (unsigned i = 0; i < s->hosts->n && !why[0]; i++) {
        struct host *h = s->hosts->all[i];
        if (!h->alive)
            continue;
        const char *not_ready = h->node ? node_not_ready(h->node) : gateway_not_ready(h->gateway);
        struct gateway_stats g = {0};
        struct node_stats n = {0};
        if (h->gateway)
            gateway_stats(h->gateway, &g);
        else
            node_stats(h->node, &n);
        if (h->stopping || not_ready)
            snprintf(why, why_bytes, "%s: %s", h->name, h->stopping ? "stopping" : not_ready);
        else if (g.unanswered_edits || g.cells_parked)
            snprintf(why, why_bytes, "%s: %u edits unanswered, %u cells parked", h->name, g.unanswered_edits,
                     g.cells_parked);
        else if (n.pending_edits || n.journal_batches)
            snprintf(why, why_bytes, "%s: %u edits pending, %u batches not stored", h->name, n.pending_edits,
                     n.journal_batches);
    }
    struct cell_pos at;
    if (!why[0] && check_journal_left(s, &at))
        snprintf(why, why_bytes, "the journal of cell %d,%d is not empty", at.i, at.j);
    if (!why[0])
        crowd_quiet(s, why, why_bytes);
}

static bool become_quiet(struct sim *s)
{
    char why[200] = "";
    uint64_t until = sim_ms(s) + QUIET_MS_MAX;
    do {
        if (!sim_run_ms(s, QUIET_STEP_MS))
            return false;
        restless(s, why, sizeof why);
    } while (why[0] && sim_ms(s) < until);
    if (why[0])
        sim_fail(s, "the world does not come to rest: %s", why);
    return !s->failed && sim_run_ms(s, SETTLE_MS);
}

/* Told to stop, the nodes leave everything in the store. */
static void stop_all(struct sim *s)
{
    for (unsigned i = 0; i < s->hosts->n; i++) {
        struct host *h = s->hosts->all[i];
        if (h->alive && h->role == ROLE_GATEWAY)
            host_kill(h, DEATH_PROCESS);
    }
    for (unsigned i = 0; i < s->hosts->n; i++) {
        struct host *h = s->hosts->all[i];
        if (h->alive && h->node)
            host_stop(h);
    }
    uint64_t until = sim_ms(s) + STOP_MS_MAX;
    while (hosts_count(s, ROLE_NODE) > 0 && sim_ms(s) < until && sim_run_ms(s, QUIET_STEP_MS))
        ;
    if (hosts_count(s, ROLE_NODE) > 0)
        sim_fail(s, "a node that was told to stop does not");
}

bool sim_run(struct sim *s)
{
    if (!sim_run_ms(s, s->profile->trouble_ms))
        return false;
    sim_note(s, "---- no more trouble ----");
    faults_end(s);
    crowd_calm(s);
    if (!become_quiet(s))
        return false;
    sim_note(s, "---- quiet ----");
    check_quiet(s);
    if (!s->failed)
        crowd_check(s);
    if (!s->failed)
        stop_all(s);
    if (!s->failed)
        check_stopped(s);
    return !s->failed;
}
