#include "tests/sim/notices.h"

#include <stdlib.h>

#include "proto/base/mem.h"
#include "tests/sim/faults.h"
#include "tests/sim/hosts.h"

enum {
    LEAST_MS = 6000, /* told so long before, with somebody to take them, all cells are gone after half of it */
    AGE_MS = 4000,   /* who runs for so long is linked with everybody */
    NODES_MAX = 6,
    FLAPS_MAX = 6
};

enum manner { ONCE, AGAIN, SLIDES_LATER, SLIDES_EARLIER, WITHDRAWN, NOT_SAID, PAST, MANNERS };

/* One notice for one node, until it is withdrawn or the machine is gone. */
struct notice {
    struct sim *sim;
    struct host *host;
    enum notice_kind kind;
    enum manner manner;
    uint64_t told_ms, deadline_ms; /* simulated time */
    uint64_t heir;                 /* who could take the cells when it was told: a host's id; 0: nobody */
    unsigned looks;
    bool checked;
};

static struct host *living(struct host *h)
{
    return h->alive && h->node ? h : NULL;
}

/* ---- capacity comes back ---- */

static void on_replace(void *arg)
{
    struct sim *s = arg;
    if (!faults_over(s) && hosts_count(s, ROLE_NODE) < NODES_MAX)
        host_start_node(s);
}

static void replace_after(struct sim *s, uint64_t ms)
{
    sched_at(&s->sched, s->sched.now_us + ms * 1000, on_replace, NULL, s);
}

/* ---- one notice ---- */

static bool is_kept(const struct notice *t)
{
    return t->manner != WITHDRAWN && t->manner != NOT_SAID && t->manner != PAST && t->manner != SLIDES_EARLIER;
}

/* Half of the time is over: what is left now would need the reserve. */
static void check_half(struct notice *t)
{
    struct host *h = living(t->host), *heir = t->heir ? hosts_find(t->sim, t->heir) : NULL;
    struct node_stats st;
    t->checked = true;
    if (!h || h->frozen || !heir || !living(heir) || heir->told || heir->hinted)
        return;
    node_stats(h->node, &st);
    if (t->sim->profile->notices_kept && is_kept(t) && t->deadline_ms - t->told_ms >= LEAST_MS && st.cells)
        sim_fail(t->sim,
                 "%s was told %llu ms before its end, %s could take its cells, and after half of it %u are left",
                 h->name, (unsigned long long)(t->deadline_ms - t->told_ms), heir->name, st.cells);
}

/* The machine goes. */
static void on_deadline(void *arg)
{
    struct notice *t = arg;
    struct host *h = living(t->host);
    if (h) {
        host_kill(h, sim_chance(t->sim, 3) ? DEATH_PROCESS : DEATH_MACHINE);
    }
    free(t);
}

static uint64_t told_deadline(struct notice *t)
{
    struct sim *s = t->sim;
    uint64_t unix_ms = host_unix_ms(t->host), left = t->deadline_ms - sim_ms(s);
    switch (t->manner) {
    case NOT_SAID:
        return 0;
    case PAST:
        return unix_ms - sim_between(s, 1, 100000);
    case SLIDES_LATER:
        return unix_ms + (t->deadline_ms - t->told_ms);
    case SLIDES_EARLIER:
        return unix_ms + left + (t->looks < 4 ? 4 - t->looks : 0) * 1000;
    default:
        return unix_ms + left;
    }
}

static void on_look(void *arg)
{
    struct notice *t = arg;
    struct host *h = living(t->host);
    bool ends = sim_ms(t->sim) >= t->deadline_ms;
    if (!t->checked && sim_ms(t->sim) >= t->told_ms + (t->deadline_ms - t->told_ms) / 2)
        check_half(t);
    if (ends && t->manner != WITHDRAWN) {
        on_deadline(t);
        return;
    }
    bool withdraw = t->manner == WITHDRAWN && (ends || faults_over(t->sim) || sim_chance(t->sim, 8));
    if (!h || withdraw) {
        if (h && !h->frozen) {
            sim_note(t->sim, "%s: its notice is withdrawn", h->name);
            node_notice_withdrawn(h->node, t->kind);
        }
        t->host->told = false;
        free(t);
        return;
    }
    if (!h->frozen && (t->looks == 0 || t->manner != ONCE))
        node_notice(h->node, t->kind, told_deadline(t));
    t->looks++;
    uint64_t next = sim_ms(t->sim) + 200;
    if (next > t->deadline_ms)
        next = t->deadline_ms;
    sched_at(&t->sim->sched, next * 1000 > t->sim->sched.now_us ? next * 1000 : t->sim->sched.now_us, on_look, NULL, t);
}

static struct host *heir_of(struct sim *s, const struct host *h)
{
    for (unsigned i = 0; i < s->hosts->n; i++) {
        struct host *o = s->hosts->all[i];
        if (o != h && o->alive && o->node && !o->frozen && !o->stopping && !o->told && !o->hinted &&
            s->sched.now_us - o->born_us >= AGE_MS * 1000ull && !node_not_ready(o->node))
            return o;
    }
    return NULL;
}

static void tell(struct sim *s, struct host *h, uint64_t in_ms)
{
    static const enum notice_kind kinds[] = {NOTICE_INTERRUPTION, NOTICE_TERMINATION, NOTICE_LIFECYCLE,
                                             NOTICE_MAINTENANCE};
    struct notice *t = mem_zalloc(sizeof *t);
    h->told = true;
    struct host *heir = heir_of(s, h);
    *t = (struct notice){.sim = s,
                         .host = h,
                         .kind = kinds[rng_below(&s->rng, 4)],
                         .manner = (enum manner)rng_below(&s->rng, MANNERS),
                         .told_ms = sim_ms(s),
                         .deadline_ms = sim_ms(s) + in_ms,
                         .heir = heir ? heir->id : 0};
    sim_note(s, "%s is told to go in %llu ms", h->name, (unsigned long long)in_ms);
    on_look(t);
}

static struct host *pick(struct sim *s)
{
    struct host *found[HOSTS_MAX];
    unsigned n = 0;
    for (unsigned i = 0; i < s->hosts->n; i++) {
        struct host *h = s->hosts->all[i];
        if (h->alive && h->node && !h->frozen && !h->stopping && !h->told)
            found[n++] = h;
    }
    return n ? found[rng_below(&s->rng, n)] : NULL;
}

static uint64_t some_ms(struct sim *s)
{
    return sim_chance(s, 4) ? sim_between(s, 200, 3000) : sim_between(s, 3000, 12000);
}

static void on_next(void *arg)
{
    struct sim *s = arg;
    struct host *h = faults_over(s) ? NULL : pick(s);
    if (h)
        tell(s, h, some_ms(s));
}

void notice_one(struct sim *s)
{
    struct host *h = pick(s);
    if (!h)
        return;
    tell(s, h, some_ms(s));
    replace_after(s, sim_between(s, 100, 5000));
    if (sim_chance(s, 3)) /* and then, quite likely, one that is just receiving */
        sched_at(&s->sched, s->sched.now_us + sim_between(s, 1, 60) * 1000, on_next, NULL, s);
}

/* ---- hints ---- */

struct hint {
    struct sim *sim;
    struct host *host;
    unsigned flaps;
    bool on;
};

static void on_flap(void *arg)
{
    struct hint *t = arg;
    struct sim *s = t->sim;
    struct host *h = living(t->host);
    if (h && h->frozen) {
        sched_at(&s->sched, s->sched.now_us + 100000, on_flap, NULL, t);
        return;
    }
    if (h && t->on)
        node_notice_withdrawn(h->node, NOTICE_REBALANCE);
    if (!h || (t->on && !t->flaps) || faults_over(s)) {
        t->host->hinted = false;
        free(t);
        return;
    }
    t->on = !t->on;
    if (t->on) {
        t->flaps--;
        node_notice(h->node, NOTICE_REBALANCE, 0);
    }
    sched_at(&s->sched, s->sched.now_us + sim_between(s, 20, 4000) * 1000, on_flap, NULL, t);
}

void notice_hint(struct sim *s)
{
    struct host *h = pick(s);
    if (!h || h->hinted)
        return;
    sim_note(s, "%s is at risk", h->name);
    h->hinted = true;
    if (sim_chance(s, 3)) { /* it stands; the node runs again when nothing followed */
        node_notice(h->node, NOTICE_REBALANCE, host_unix_ms(h));
        if (sim_chance(s, 2)) {
            tell(s, h, some_ms(s));
            replace_after(s, sim_between(s, 100, 5000));
        }
        return;
    }
    struct hint *t = mem_zalloc(sizeof *t);
    *t = (struct hint){.sim = s, .host = h, .flaps = (unsigned)sim_between(s, 1, FLAPS_MAX)};
    on_flap(t);
}

/* ---- storms ---- */

void notice_storm(struct sim *s)
{
    uint64_t in_ms = some_ms(s);
    unsigned pool = rng_below(&s->rng, 2), many = (unsigned)sim_between(s, 2, 3), told = 0;
    unsigned kind = rng_below(&s->rng, 3); /* several, a pool, all but one */
    struct host *spared = pick(s);
    for (unsigned i = 0; i < s->hosts->n; i++) {
        struct host *h = s->hosts->all[i];
        if (!h->alive || !h->node || h->frozen || h->stopping || h->told)
            continue;
        if (kind == 0 ? told >= many : kind == 1 ? h->index % 2 != pool : h == spared)
            continue;
        tell(s, h, in_ms + sim_between(s, 0, 50));
        told++;
    }
    bool late = sim_chance(s, 3); /* nothing to be had before they are gone */
    for (unsigned k = 0; k < told; k++)
        replace_after(s, late ? in_ms + sim_between(s, 0, 3000) : sim_between(s, 100, 4000));
}

void notice_infant(struct sim *s)
{
    struct host *h = hosts_count(s, ROLE_NODE) < NODES_MAX ? host_start_node(s) : NULL;
    if (!h)
        return;
    if (sim_chance(s, 2)) {
        tell(s, h, some_ms(s));
        return;
    }
    h->hinted = true;
    node_notice(h->node, NOTICE_REBALANCE, 0);
}
