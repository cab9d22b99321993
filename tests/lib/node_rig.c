#include "tests/lib/node_rig.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "proto/base/mem.h"

enum { TICK_MS = 10, UNIX_S = 1700000000, READY_MS = 20000, PHASE_MS = 20000 };

/* ---- requests to Redis and the store ---- */

struct nrig_asked {
    struct nrig_asked *prev, *next;
    struct coord_req *coord; /* or */
    struct store_req *store;
    bool carried_out;
};

static void ask(struct nrig_node *h, struct coord_req *coord, struct store_req *store)
{
    struct nrig_asked *a = mem_zalloc(sizeof *a);
    a->coord = coord;
    a->store = store;
    DL_APPEND(h->asked, a);
}

static void coord_asked(struct coord *c, struct coord_req *req)
{
    ask((struct nrig_node *)((char *)c - offsetof(struct nrig_node, coord)), req, NULL);
}

static void store_asked(struct store *s, struct store_req *req)
{
    ask((struct nrig_node *)((char *)s - offsetof(struct nrig_node, store)), NULL, req);
}

static bool store_is_healthy(struct store *s)
{
    (void)s;
    return true;
}

static const struct coord_ops coord_ops = {.submit = coord_asked};
static const struct store_ops store_ops = {.submit = store_asked, .healthy = store_is_healthy};

static enum fate fate_of(const struct nrig_node *h, const struct nrig_asked *a)
{
    return a->coord ? h->redis[a->coord->op] : h->rows[a->store->op];
}

static void carry_out(struct nrig_node *h, struct nrig_asked *a)
{
    if (a->carried_out)
        return;
    a->carried_out = true;
    if (a->coord)
        model_redis_apply(h->rig->redis, a->coord);
    else
        model_store_apply(h->rig->store, a->store);
}

static void answer(struct nrig_node *h, struct nrig_asked *a, bool heard)
{
    DL_DELETE(h->asked, a);
    if (a->coord) {
        a->coord->err = heard ? a->coord->err : ERR_IO;
        a->coord->done(a->coord, a->coord->arg);
    } else {
        a->store->err = heard ? a->store->err : ERR_IO;
        a->store->done(a->store, a->store->arg);
    }
    free(a);
}

/* Answers what was asked before this step. What leaves a paused process was sent before the pause. */
static void serve(struct nrig_node *h)
{
    struct nrig_asked *a, *next, *last = h->asked ? h->asked->prev : NULL;
    for (a = h->asked; a; a = next) {
        enum fate f = fate_of(h, a);
        next = a == last ? NULL : a->next;
        if (f == FATE_KEPT)
            continue;
        if (f != FATE_LOST)
            carry_out(h, a);
        if (f != FATE_KEPT_ANSWER && !h->paused)
            answer(h, a, f == FATE_DONE);
    }
}

/* ---- wires ---- */

struct packet {
    struct packet *prev, *next;
    struct blob *bytes;
    uint64_t sent_ms;
};

struct nrig_wire {
    struct nrig_wire *prev, *next;
    unsigned end[2];
    uint64_t number[2];  /* as each end knows it */
    bool up[2], down[2]; /* told */
    bool broken;
    struct packet *to[2]; /* what that end will hear */
};

static void packets_free(struct packet **list)
{
    struct packet *p, *next;
    DL_FOREACH_SAFE (*list, p, next) {
        DL_DELETE(*list, p);
        blob_unref(p->bytes);
        free(p);
    }
}

static void wire_break(struct nrig_wire *w)
{
    w->broken = true;
    packets_free(&w->to[0]);
    packets_free(&w->to[1]);
}

static struct nrig_wire *wire_between(const struct node_rig *r, unsigned a, unsigned b)
{
    struct nrig_wire *w;
    DL_FOREACH (r->wires, w) {
        if (!w->broken && ((w->end[0] == a && w->end[1] == b) || (w->end[0] == b && w->end[1] == a)))
            return w;
    }
    return NULL;
}

bool node_rig_linked(const struct node_rig *r, unsigned a, unsigned b)
{
    return wire_between(r, a, b) != NULL;
}

static void wire_new(struct node_rig *r, unsigned a, unsigned b)
{
    struct nrig_wire *w = mem_zalloc(sizeof *w);
    *w = (struct nrig_wire){.end = {a, b}, .number = {r->last_link + 1, r->last_link + 2}};
    r->last_link += 2;
    DL_APPEND(r->wires, w);
}

static void send_on(struct node_rig *r, struct nrig_wire *w, unsigned to, struct blob *b)
{
    struct packet *p = mem_zalloc(sizeof *p);
    p->bytes = blob_ref(b);
    p->sent_ms = r->now_ms;
    DL_APPEND(w->to[to], p);
}

void node_rig_say(struct node_rig *r, unsigned k, const struct msg *m)
{
    struct nrig_wire *w = wire_between(r, NRIG_GATE, k);
    struct blob *b = msg_encode(m);
    if (w)
        send_on(r, w, w->end[1] == k, b);
    blob_unref(b);
}

static enum msg_kind decode(const struct blob *b, struct arena *a, struct msg *out)
{
    const char *why = NULL;
    if (msg_decode(b->data, b->len, a, out, &why) != ERR_OK) {
        fprintf(stderr, "a node sent what nobody takes: %s\n", why ? why : "?");
        abort();
    }
    return out->kind;
}

static enum msg_kind kind_of(const struct blob *b)
{
    struct msg m;
    struct arena *a = arena_new();
    enum msg_kind kind = decode(b, a, &m);
    arena_free(a);
    return kind;
}

static void net_send(void *ctx, uint64_t link, struct blob *b)
{
    struct nrig_node *h = ctx;
    struct nrig_wire *w;
    DL_FOREACH (h->rig->wires, w) {
        for (unsigned side = 0; side < 2; side++) {
            if (w->end[side] != h->index || w->number[side] != link || w->broken || h->ending)
                continue;
            send_on(h->rig, w, !side, b);
            if (w->end[!side] != NRIG_GATE)
                h->rig->sent[kind_of(b)]++;
            return;
        }
    }
    if (h->rig->stranger)
        h->rig->stranger(h->rig->stranger_arg, link, b);
}

static void net_dial(void *ctx, uint64_t node, const char *address)
{
    struct nrig_node *h = ctx;
    assert(address[0]);
    h->dialing = node;
}

static void net_hangup(void *ctx, uint64_t link, const char *why)
{
    struct nrig_node *h = ctx;
    struct nrig_wire *w;
    (void)why;
    DL_FOREACH (h->rig->wires, w) {
        if ((w->end[0] == h->index && w->number[0] == link) || (w->end[1] == h->index && w->number[1] == link))
            wire_break(w);
    }
}

static void net_hold(void *ctx, bool on)
{
    ((struct nrig_node *)ctx)->held = on;
}

static const struct net_ops net_ops = {net_dial, net_send, net_hangup, net_hold};

static bool listens(const struct node_rig *r, unsigned end)
{
    return end == NRIG_GATE || (r->node[end].node && !r->node[end].paused);
}

static void tell_up(struct node_rig *r, struct nrig_wire *w, unsigned side)
{
    unsigned me = w->end[side], other = w->end[!side];
    if (w->up[side] || w->broken || !listens(r, me))
        return;
    w->up[side] = true;
    if (me != NRIG_GATE)
        node_net_events.up(r->node[me].node, w->number[side], other == NRIG_GATE ? ROLE_GATEWAY : ROLE_NODE,
                           other == NRIG_GATE ? NRIG_GATE_ID : r->node[other].id);
}

static void tell_down(struct node_rig *r, struct nrig_wire *w, unsigned side)
{
    unsigned me = w->end[side];
    if (w->down[side] || !w->broken || (me != NRIG_GATE && r->node[me].node && r->node[me].paused))
        return;
    w->down[side] = true;
    if (me == NRIG_GATE)
        node_rig_gate_lost(r, w->end[!side]);
    else if (w->up[side] && r->node[me].node)
        node_net_events.down(r->node[me].node, w->number[side], "cut by the test");
}

static void hear(struct node_rig *r, struct nrig_wire *w, unsigned side)
{
    unsigned me = w->end[side], other = w->end[!side];
    struct arena *a = arena_new();
    for (struct packet *p; (p = w->to[side]) && p->sent_ms < r->now_ms;) {
        struct msg m;
        bool between_nodes = me != NRIG_GATE && other != NRIG_GATE;
        if (!w->up[side] || !listens(r, me) || (me != NRIG_GATE && r->node[me].held))
            break;
        arena_reset(a);
        enum msg_kind kind = decode(p->bytes, a, &m);
        if (between_nodes && (r->silent || kind == r->kept))
            break;
        DL_DELETE(w->to[side], p);
        if (me == NRIG_GATE)
            node_rig_gate_hear(r, other, &m);
        else
            node_net_events.msg(r->node[me].node, w->number[side], &m);
        blob_unref(p->bytes);
        free(p);
    }
    arena_free(a);
}

static void wires_step(struct node_rig *r)
{
    struct nrig_wire *w, *next;
    DL_FOREACH (r->wires, w) {
        for (unsigned side = 0; side < 2; side++) {
            tell_up(r, w, side);
            hear(r, w, side);
            tell_down(r, w, side);
        }
    }
    DL_FOREACH_SAFE (r->wires, w, next) {
        if (w->down[0] && w->down[1]) {
            DL_DELETE(r->wires, w);
            free(w);
        }
    }
}

static int node_of(const struct node_rig *r, uint64_t id)
{
    for (unsigned k = 0; k < NRIG_NODES; k++) {
        if (r->node[k].node && r->node[k].id == id)
            return (int)k;
    }
    return -1;
}

static bool parted(const struct node_rig *r, unsigned a, unsigned b)
{
    return r->parted_until[a][b] > r->now_ms || r->parted_until[b][a] > r->now_ms;
}

/* A dial that nobody answers is forgotten: the node tries again by itself. */
static void dial_step(struct nrig_node *h)
{
    struct node_rig *r = h->rig;
    uint64_t id = h->dialing;
    if (!id || h->paused)
        return;
    int to = node_of(r, id);
    h->dialing = 0;
    if (to < 0)
        node_net_events.failed(h->node, id, true);
    else if (parted(r, h->index, (unsigned)to) || r->node[to].paused)
        node_net_events.failed(h->node, id, false);
    else if (!wire_between(r, h->index, (unsigned)to))
        wire_new(r, h->index, (unsigned)to);
}

/* ---- time ---- */

static uint64_t rig_now(void *clock)
{
    return ((struct node_rig *)clock)->now_ms;
}

static uint64_t rig_unix(void *clock)
{
    return UNIX_S * 1000ull + ((struct node_rig *)clock)->now_ms;
}

/* One owner for each epoch, whatever happens. */
static void watch(struct node_rig *r)
{
    for (unsigned c = 0; c < r->n_cells; c++) {
        for (unsigned a = 0; a < NRIG_NODES; a++) {
            struct owned *x = node_rig_owned(r, a, r->cells[c].at);
            for (unsigned b = a + 1; x && x->state >= OWN_SERVING && b < NRIG_NODES; b++) {
                struct owned *y = node_rig_owned(r, b, r->cells[c].at);
                if (y && y->state >= OWN_SERVING && x->epoch == y->epoch) {
                    fprintf(stderr, "nodes %u and %u serve a cell under epoch %llu\n", a, b,
                            (unsigned long long)x->epoch);
                    abort();
                }
            }
        }
    }
}

static void step(struct node_rig *r)
{
    r->now_ms++;
    model_redis_set_time(r->redis, r->now_ms);
    for (unsigned k = 0; k < NRIG_NODES; k++) {
        struct nrig_node *h = &r->node[k];
        if (h->node && !wire_between(r, NRIG_GATE, k) && !parted(r, NRIG_GATE, k) && !h->paused)
            wire_new(r, NRIG_GATE, k);
        if (h->node && !h->paused && (r->now_ms + k) % TICK_MS == 0)
            node_tick(h->node);
        if (h->node)
            serve(h);
        if (h->node)
            dial_step(h);
        if (h->node && node_stopped(h->node))
            node_rig_kill(r, k);
    }
    wires_step(r);
    node_rig_gate_step(r);
    watch(r);
}

void node_rig_pass(struct node_rig *r, unsigned ms)
{
    for (unsigned k = 0; k < ms; k++)
        step(r);
}

bool node_rig_until(struct node_rig *r, node_rig_cond *cond, void *arg, unsigned ms, const char *what)
{
    for (unsigned k = 0; k <= ms; k++) {
        if (cond(r, arg))
            return true;
        step(r);
    }
    fprintf(stderr, "did not come within %u ms: %s\n", ms, what);
    return false;
}

/* ---- waits ---- */

struct owned *node_rig_owned(struct node_rig *r, unsigned k, struct cell_pos at)
{
    return r->node[k].node ? node_owned(r->node[k].node, at) : NULL;
}

unsigned node_rig_serving(struct node_rig *r, unsigned k)
{
    unsigned count = 0;
    for (const struct owned *o = r->node[k].node ? r->node[k].node->cells : NULL; o; o = o->hh.next)
        count += o->state == OWN_SERVING;
    return count;
}

unsigned node_rig_serving_row(struct node_rig *r, unsigned k, unsigned cells)
{
    unsigned count = 0;
    for (unsigned i = 0; i < cells; i++) {
        const struct owned *o = node_rig_owned(r, k, (struct cell_pos){(int32_t)i, 0});
        count += o && o->state == OWN_SERVING;
    }
    return count;
}

unsigned node_rig_followed(struct node_rig *r, unsigned k)
{
    unsigned cells;
    uint64_t rows;
    follow_count(r->node[k].node, &cells, &rows);
    return cells;
}

void node_rig_notice(struct node_rig *r, unsigned k, enum notice_kind kind, uint64_t in_ms)
{
    struct node *n = r->node[k].node;
    node_notice(n, kind, in_ms ? n->env.unix_ms(n->env.clock) + in_ms : 0);
}

struct where {
    unsigned node;
    struct cell_pos at;
    unsigned what;
};

static bool is_in_phase(struct node_rig *r, void *arg)
{
    const struct where *w = arg;
    struct owned *o = node_rig_owned(r, w->node, w->at);
    return o && o->out && o->out->phase == (enum out_phase)w->what;
}

bool node_rig_until_phase(struct node_rig *r, unsigned node, struct cell_pos at, enum out_phase phase)
{
    struct where w = {node, at, phase};
    return node_rig_until(r, is_in_phase, &w, PHASE_MS, "a phase of a handoff");
}

static bool is_kept(struct node_rig *r, void *arg)
{
    (void)arg;
    struct nrig_wire *w;
    DL_FOREACH (r->wires, w) {
        for (unsigned side = 0; side < 2; side++) {
            if (w->end[0] != NRIG_GATE && w->end[1] != NRIG_GATE && w->to[side] &&
                kind_of(w->to[side]->bytes) == r->kept)
                return true;
        }
    }
    return false;
}

bool node_rig_until_kept(struct node_rig *r, enum msg_kind kind)
{
    r->kept = kind;
    return node_rig_until(r, is_kept, NULL, PHASE_MS, msg_name(kind));
}

static bool is_serving(struct node_rig *r, void *arg)
{
    const struct where *w = arg;
    struct owned *o = node_rig_owned(r, w->node, w->at);
    return o && o->state == OWN_SERVING;
}

bool node_rig_until_serving(struct node_rig *r, unsigned node, struct cell_pos at)
{
    struct where w = {node, at, 0};
    return node_rig_until(r, is_serving, &w, PHASE_MS, "a cell that is served");
}

static bool is_asked(struct node_rig *r, void *arg)
{
    const struct where *w = arg;
    struct nrig_asked *a;
    DL_FOREACH (r->node[w->node].asked, a) {
        if (a->coord && a->coord->op == (enum coord_op)w->what)
            return true;
    }
    return false;
}

bool node_rig_until_asked(struct node_rig *r, unsigned k, enum coord_op op)
{
    struct where w = {.node = k, .what = op};
    return node_rig_until(r, is_asked, &w, PHASE_MS, coord_op_name(op));
}

bool node_rig_offer(struct node_rig *r, unsigned from, unsigned to, struct cell_pos at, bool follow_only)
{
    struct owned *o = node_rig_owned(r, from, at);
    return o && handoff_offer(r->node[from].node, o, r->node[to].id, follow_only);
}

/* ---- breaking things ---- */

void node_rig_redis(struct node_rig *r, unsigned k, enum fate f)
{
    for (unsigned op = 0; op < COORD_OPS; op++)
        r->node[k].redis[op] = f;
}

void node_rig_redis_went_back(struct node_rig *r, struct model_redis *older)
{
    model_redis_free(r->redis);
    r->redis = older;
    model_redis_set_time(r->redis, r->now_ms);
    model_redis_new_run(r->redis);
}

void node_rig_kill(struct node_rig *r, unsigned k)
{
    struct nrig_node *h = &r->node[k];
    struct nrig_wire *w;
    if (!h->node)
        return;
    h->ending = true; /* what it waits for comes to nothing, and what it says then nobody hears */
    while (h->asked)
        answer(h, h->asked, false);
    node_free(h->node);
    h->node = NULL;
    h->ending = h->paused = h->held = false;
    h->dialing = 0;
    DL_FOREACH (r->wires, w) {
        if (w->end[0] == k || w->end[1] == k)
            wire_break(w);
        for (unsigned side = 0; side < 2; side++)
            w->down[side] = w->down[side] || w->end[side] == k;
    }
}

void node_rig_pause(struct node_rig *r, unsigned k)
{
    r->node[k].paused = true;
}

void node_rig_wake(struct node_rig *r, unsigned k)
{
    r->node[k].paused = false;
}

void node_rig_cut(struct node_rig *r, unsigned a, unsigned b)
{
    struct nrig_wire *w = wire_between(r, a, b);
    if (w)
        wire_break(w);
}

void node_rig_part(struct node_rig *r, unsigned a, unsigned b, unsigned ms)
{
    node_rig_cut(r, a, b);
    r->parted_until[a][b] = r->now_ms + ms;
}

/* ---- life ---- */

static struct node_settings settings;

void node_rig_start(struct node_rig *r, unsigned k)
{
    struct nrig_node *h = &r->node[k];
    assert(!h->node);
    *h = (struct nrig_node){.rig = r, .index = k, .id = ++r->last_id};
    h->coord.ops = &coord_ops;
    h->store.ops = &store_ops;
    struct node_settings s = settings;
    snprintf(s.address, sizeof s.address, "node%u:1", (unsigned)h->id);
    const struct node_env env = {.net = &net_ops,
                                 .net_ctx = h,
                                 .coord = &h->coord,
                                 .store = &h->store,
                                 .now_ms = rig_now,
                                 .unix_ms = rig_unix,
                                 .clock = r,
                                 .seed = h->id};
    h->node = node_new(h->id, &s, &env);
}

static bool are_ready(struct node_rig *r, void *arg)
{
    (void)arg;
    for (unsigned a = 0; a < NRIG_NODES; a++) {
        if (!r->node[a].node)
            continue;
        if (node_not_ready(r->node[a].node))
            return false;
        for (unsigned b = 0; b <= NRIG_NODES; b++) {
            bool there = b == NRIG_GATE || r->node[b].node;
            if (a != b && there && !wire_between(r, a, b))
                return false;
        }
    }
    return true;
}

struct node_rig *node_rig_new_with(const struct node_settings *s, unsigned nodes)
{
    struct node_rig *r = mem_zalloc(sizeof *r);
    settings = *s;
    r->now_ms = 100000;
    r->redis = model_redis_new();
    r->store = model_store_new();
    model_redis_set_time(r->redis, r->now_ms);
    for (unsigned k = 0; k < nodes; k++)
        node_rig_start(r, k);
    bool ready = node_rig_until(r, are_ready, NULL, READY_MS, "all nodes ready");
    assert(ready);
    (void)ready;
    node_rig_pass(r, 1100); /* each has read who lives */
    return r;
}

struct node_rig *node_rig_new(void)
{
    struct node_settings s;
    node_settings_default(&s);
    return node_rig_new_with(&s, NRIG_NODES);
}

void node_rig_free(struct node_rig *r)
{
    struct nrig_wire *w, *next;
    for (unsigned k = 0; k < NRIG_NODES; k++)
        node_rig_kill(r, k);
    DL_FOREACH_SAFE (r->wires, w, next) {
        wire_break(w);
        DL_DELETE(r->wires, w);
        free(w);
    }
    model_redis_free(r->redis);
    model_store_free(r->store);
    free(r);
}
