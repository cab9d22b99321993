#include "tests/sim/net.h"

#include <assert.h>
#include <stdlib.h>
#include <uthash.h>
#include <utlist.h>

#include "proto/base/arena.h"
#include "proto/base/mem.h"
#include "tests/sim/check.h"
#include "tests/sim/tell.h"

enum {
    DIAL_US = 2000000, /* a dial that nobody answers */
    DIAL_AGAIN_US = 150000,
    NOTICE_US = 4000000 /* four pings without an answer */
};

struct packet;

struct link {
    struct host *end[2]; /* 0 dialled */
    uint64_t number[2];  /* as each end knows the link */
    bool up[2];          /* that end heard up(), and not down() yet */
    bool quiet[2];       /* that end hung up: it wants no more messages */
    bool open;           /* takes messages */
    bool lost;           /* and what is under way will not arrive */
    bool mute[2];        /* what that end sends vanishes */
    uint64_t last_us[2]; /* nothing arrives at that end before this */
    struct packet *held[2];
    struct link *prev, *next;
};

/* One end's number of a link. */
struct link_end {
    uint64_t number;
    struct link *link;
    unsigned side;
    UT_hash_handle hh;
};

enum packet_kind { PACKET_UP, PACKET_MSG, PACKET_DOWN };
struct packet {
    enum packet_kind kind;
    struct link *link;
    unsigned to; /* side */
    struct blob *bytes;
    const char *why;
    struct packet *prev, *next;
};

struct dial {
    struct host *from;
    uint64_t node;
    uint64_t until_us;
    bool refused;
};

struct parting {
    struct host *a, *b;
    uint64_t until_us;
};

enum { PARTINGS_MAX = 16 };
struct sim_net {
    struct link *links;
    struct link_end *ends;
    uint64_t last_number;
    struct arena *arena;
    struct parting partings[PARTINGS_MAX];
    unsigned n_partings; /* a ring */
};

void net_init(struct sim *s)
{
    s->net = mem_zalloc(sizeof *s->net);
    s->net->arena = arena_new();
}

static void packet_free(void *arg)
{
    struct packet *p = arg;
    blob_unref(p->bytes);
    free(p);
}

void net_free(struct sim *s)
{
    struct link *l, *next;
    DL_FOREACH_SAFE (s->net->links, l, next) {
        for (unsigned side = 0; side < 2; side++) {
            for (struct packet *p; (p = l->held[side]);) {
                DL_DELETE(l->held[side], p);
                packet_free(p);
            }
        }
        free(l);
    }
    struct link_end *e, *after;
    HASH_ITER (hh, s->net->ends, e, after) {
        HASH_DEL(s->net->ends, e);
        free(e);
    }
    arena_free(s->net->arena);
    free(s->net);
}

/* ---- packets ---- */

static void packet_hear(struct host *h, struct packet *p)
{
    struct link *l = p->link;
    const struct net_events *ev = host_events(h);
    uint64_t number = l->number[p->to];
    switch (p->kind) {
    case PACKET_UP: {
        const struct host *peer = l->end[!p->to];
        l->up[p->to] = true;
        sim_note(h->sim, "%s up link=%llu to %s", h->name, (unsigned long long)number, peer->name);
        ev->up(host_owner(h), number, peer->role, peer->id);
        break;
    }
    case PACKET_MSG:
        if (l->up[p->to] && !l->quiet[p->to]) {
            struct msg m;
            const char *why = "";
            arena_reset(h->sim->net->arena);
            enum err e = msg_decode(p->bytes->data, p->bytes->len, h->sim->net->arena, &m, &why);
            if (e != ERR_OK) {
                sim_fail(h->sim, "%s cannot read what %s sent: %s (%s)", h->name, l->end[!p->to]->name, err_text(e),
                         why);
                break;
            }
            if (h->sim->telling)
                tell_message(h, l->end[!p->to], &m);
            ev->msg(host_owner(h), number, &m);
        }
        break;
    case PACKET_DOWN:
        if (l->up[p->to]) {
            l->up[p->to] = false;
            sim_note(h->sim, "%s down link=%llu to %s: %s", h->name, (unsigned long long)number, l->end[!p->to]->name,
                     p->why);
            ev->down(host_owner(h), number, p->why);
        }
        break;
    }
    packet_free(p);
}

/* The packet reached a process that runs; while that holds its links, all but the news of a link stays in the socket.
 */
static void packet_read(struct host *h, void *arg)
{
    struct packet *p = arg;
    if (p->kind != PACKET_UP && (h->held || p->link->held[p->to]))
        DL_APPEND(p->link->held[p->to], p);
    else
        packet_hear(h, p);
}

static void on_packet(void *arg)
{
    struct packet *p = arg;
    if (p->kind == PACKET_MSG && p->link->lost)
        packet_free(p);
    else
        host_input(p->link->end[p->to], packet_read, packet_free, p);
}

static void packet_send(struct link *l, unsigned to, enum packet_kind kind, struct blob *bytes, const char *why,
                        uint64_t after_us)
{
    struct sched *sched = &l->end[0]->sim->sched;
    struct packet *p = mem_zalloc(sizeof *p);
    *p = (struct packet){.kind = kind, .link = l, .to = to, .why = why};
    p->bytes = bytes ? blob_ref(bytes) : NULL;
    uint64_t at = sched->now_us + after_us;
    if (at < l->last_us[to])
        at = l->last_us[to];
    l->last_us[to] = at;
    sched_at(sched, at, on_packet, packet_free, p);
}

/* ---- links that break ---- */

static void link_break(struct link *l, bool lose, uint64_t notice_us, const char *why)
{
    if (!l->open)
        return;
    struct sim *s = l->end[0]->sim;
    l->open = false;
    l->lost = lose;
    for (unsigned side = 0; side < 2; side++)
        packet_send(l, side, PACKET_DOWN, NULL, why, notice_us + sim_latency(s));
}

static bool parted(struct sim *s, const struct host *a, const struct host *b)
{
    for (unsigned i = 0; i < PARTINGS_MAX; i++) {
        const struct parting *p = &s->net->partings[i];
        if (p->until_us > s->sched.now_us && ((p->a == a && p->b == b) || (p->a == b && p->b == a)))
            return true;
    }
    return false;
}

void net_part(struct sim *s, struct host *a, struct host *b, uint64_t ms)
{
    sim_note(s, "%s and %s are parted for %llu ms", a->name, b->name, (unsigned long long)ms);
    s->net->partings[s->net->n_partings++ % PARTINGS_MAX] =
        (struct parting){.a = a, .b = b, .until_us = s->sched.now_us + ms * 1000};
    struct link *l;
    DL_FOREACH (s->net->links, l) {
        if ((l->end[0] == a && l->end[1] == b) || (l->end[0] == b && l->end[1] == a))
            link_break(l, true, NOTICE_US, "silence");
    }
}

void net_host_gone(struct host *h, enum host_death death)
{
    struct sim *s = h->sim;
    struct link *l;
    DL_FOREACH (s->net->links, l) {
        if (l->end[0] == h || l->end[1] == h) {
            bool silent = death == DEATH_MACHINE;
            link_break(l, silent || sim_chance(s, 2), silent ? NOTICE_US : 0, silent ? "silence" : "reset");
        }
    }
}

/* A mute direction is noticed by the end that hears nothing; it closes, and the other end hears that. */
static void on_mute_noticed(void *arg)
{
    link_break(arg, true, 0, "silence");
}

void net_break_some_link(struct sim *s, bool reset)
{
    struct link *l;
    unsigned n = 0;
    DL_FOREACH (s->net->links, l)
        n += l->open;
    if (n == 0)
        return;
    unsigned pick = rng_below(&s->rng, n);
    DL_FOREACH (s->net->links, l) {
        if (l->open && pick-- == 0)
            break;
    }
    sim_note(s, "link %s-%s %s", l->end[0]->name, l->end[1]->name, reset ? "is reset" : "goes mute");
    if (reset) {
        link_break(l, true, 0, "reset");
    } else {
        l->mute[rng_below(&s->rng, 2)] = true;
        sched_at(&s->sched, s->sched.now_us + NOTICE_US, on_mute_noticed, NULL, l);
    }
}

unsigned net_links(const struct sim *s)
{
    struct link *l;
    unsigned n = 0;
    DL_FOREACH (s->net->links, l)
        n += l->open;
    return n;
}

/* ---- net_ops ---- */

static struct link *link_new(struct sim *s, struct host *from, struct host *to)
{
    struct link *l = mem_zalloc(sizeof *l);
    l->end[0] = from;
    l->end[1] = to;
    l->open = true;
    DL_APPEND(s->net->links, l);
    for (unsigned side = 0; side < 2; side++) {
        struct link_end *e = mem_zalloc(sizeof *e);
        e->number = l->number[side] = ++s->net->last_number;
        e->link = l;
        e->side = side;
        HASH_ADD(hh, s->net->ends, number, sizeof e->number, e);
    }
    return l;
}

static void dial_failed(struct host *h, void *arg)
{
    struct dial *d = arg;
    sim_note(h->sim, "%s dial fails: %s", h->name, d->refused ? "refused" : "silence");
    host_events(h)->failed(host_owner(h), d->node, d->refused);
    free(d);
}

static void on_dial_failed(void *arg)
{
    struct dial *d = arg;
    host_input(d->from, dial_failed, free, d);
}

/* The packets of a dial got through, or not. */
static void on_dial(void *arg)
{
    struct dial *d = arg;
    struct host *from = d->from;
    struct sim *s = from->sim;
    struct host *to = hosts_find(s, d->node);
    uint64_t now = s->sched.now_us;
    if (to && to->alive && !to->frozen && !from->frozen && from->alive && !parted(s, from, to)) {
        struct link *l = link_new(s, from, to);
        packet_send(l, 1, PACKET_UP, NULL, NULL, sim_latency(s));
        packet_send(l, 0, PACKET_UP, NULL, NULL, sim_latency(s) + sim_latency(s));
        free(d);
    } else if (!to || (!to->alive && !to->silent && !parted(s, from, to))) {
        d->refused = true;
        sched_at(&s->sched, now + sim_latency(s), on_dial_failed, free, d);
    } else if (now >= d->until_us || !from->alive) {
        on_dial_failed(d);
    } else {
        sched_at(&s->sched, now + DIAL_AGAIN_US, on_dial, free, d);
    }
}

static void net_dial(void *ctx, uint64_t node, const char *address)
{
    struct host *h = ctx;
    struct sim *s = h->sim;
    const struct host *to = hosts_find(s, node);
    if (!h->alive)
        return;
    if (to && strcmp(to->address, address) != 0)
        sim_fail(s, "%s dials %s at %s, which is elsewhere", h->name, to->name, address);
    struct dial *d = mem_zalloc(sizeof *d);
    *d = (struct dial){.from = h, .node = node, .until_us = s->sched.now_us + DIAL_US};
    sched_at(&s->sched, s->sched.now_us + sim_latency(s), on_dial, free, d);
}

static struct link_end *find_end(struct host *h, uint64_t number)
{
    struct link_end *e;
    HASH_FIND(hh, h->sim->net->ends, &number, sizeof number, e);
    return e && e->link->end[e->side] == h ? e : NULL;
}

static void net_send(void *ctx, uint64_t number, struct blob *b)
{
    struct host *h = ctx;
    struct link_end *e = find_end(h, number);
    if (!h->alive)
        return;
    /* A node's word is out once it left the node, whoever gets to hear it. */
    if (h->role == ROLE_NODE)
        check_node_says(h, b);
    if (e && e->link->open && e->link->up[e->side] && !e->link->quiet[e->side] && !e->link->mute[e->side])
        packet_send(e->link, !e->side, PACKET_MSG, b, NULL, sim_latency(h->sim));
}

static void net_hangup(void *ctx, uint64_t number, const char *why)
{
    struct link_end *e = find_end(ctx, number);
    if (!e || !e->link->end[e->side]->alive || e->link->quiet[e->side])
        return;
    e->link->quiet[e->side] = true;
    sim_note(e->link->end[0]->sim, "%s hangs up: %s", e->link->end[e->side]->name, why);
    link_break(e->link, false, 0, "hung up");
}

/* What waited is read in its order, before anything newer of the same link. */
static void read_held(struct host *h, void *arg)
{
    (void)arg;
    struct link *l;
    DL_FOREACH (h->sim->net->links, l) {
        for (unsigned side = 0; side < 2; side++) {
            for (struct packet *p; l->end[side] == h && !h->held && h->alive && (p = l->held[side]);) {
                DL_DELETE(l->held[side], p);
                packet_hear(h, p);
            }
        }
    }
}

static void on_release(void *arg)
{
    host_input(arg, read_held, NULL, NULL);
}

static void net_hold(void *ctx, bool on)
{
    struct host *h = ctx;
    if (h->held == on || !h->alive)
        return;
    h->held = on;
    sim_note(h->sim, "%s %s", h->name, on ? "reads no messages for now" : "reads messages again");
    if (on)
        return;
    /* Nothing is called back from inside net_ops. */
    sched_at(&h->sim->sched, h->sim->sched.now_us, on_release, NULL, h);
}

const struct net_ops sim_net_ops = {.dial = net_dial, .send = net_send, .hangup = net_hangup, .hold = net_hold};
