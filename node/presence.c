/* Players: who stands where, one frame per tick to each gateway that watches a cell, and their places to the store.
 *
 * A frame is made of what changed since the last tick; every WHOLE_FRAME ticks, and at once for a new watcher, it has
 * everybody. Places are saved late, under (visit, count), so that no late save wins over a newer one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/parts.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"

enum {
    EMPTY_FRAMES = 4, /* whole ones that a cell sends after its last player went: gateways see that nobody is left */
    WHOLE_FRAME = 8,  /* ticks; well within the second after which gateways give a player up */
    ORPHAN_MS = 3000, /* a player whose link went down waits so long for his gateway to come back */
    PLACES_PER_SAVE = 256,
    PLACES_MAX = 65536, /* waiting to be saved; more: the oldest places are the store's */
    FRAME_PLAYERS_MAX = MSG_ITEMS_MAX
};

/* ---- places to the store ---- */

static void place_add(struct node *n, struct player *who)
{
    if (!who->account[0] || who->count <= who->saved_count || n->n_places >= PLACES_MAX)
        return;
    if (n->n_places == n->places_cap) {
        n->places_cap = n->places_cap ? 2 * n->places_cap : 64;
        n->places = mem_resize(n->places, n->places_cap * sizeof *n->places);
    }
    struct store_place *p = &n->places[n->n_places++];
    memset(p, 0, sizeof *p);
    snprintf(p->account, sizeof p->account, "%s", who->account);
    p->visit = who->visit;
    p->count = who->count;
    p->place = who->place;
    who->saved_count = who->count;
}

static void on_saved(struct store_req *req, void *arg)
{
    struct node *n = arg;
    n->saving = false;
    if (req->err == ERR_OK) {
        n->n_places -= req->n_places;
        memmove(n->places, n->places + req->n_places, n->n_places * sizeof *n->places);
    } else {
        n->places_ms_next = node_later(n, n->set.places_ms);
    }
    store_req_free(req);
}

static void places_save(struct node *n)
{
    if (n->saving || !n->n_places || n->places_ms_next > node_now(n))
        return;
    struct store_req *req = store_req_new(STORE_SAVE_PLACES, on_saved, n);
    req->n_places = n->n_places < PLACES_PER_SAVE ? n->n_places : PLACES_PER_SAVE;
    req->places = arena_alloc(req->arena, req->n_places * sizeof *req->places);
    memcpy(req->places, n->places, req->n_places * sizeof *req->places);
    n->saving = true;
    store_submit(n->env.store, req);
}

bool presence_saved(const struct node *n)
{
    return n->n_places == 0;
}

static void places_collect(struct node *n)
{
    for (struct owned *o = n->cells; o; o = o->hh.next) {
        for (struct player *who = o->players ? o->players->by_session : NULL; who; who = who->hh.next)
            place_add(n, who);
    }
}

void presence_cell_gone(struct node *n, struct owned *o)
{
    for (struct player *who = o->players ? o->players->by_session : NULL; who; who = who->hh.next)
        place_add(n, who);
}

struct visit {
    struct node *node;
    uint64_t link, request_id;
};

static void on_visit(struct store_req *req, void *arg)
{
    struct visit *v = arg;
    struct msg m = {.kind = MSG_PLACE_IS, .request_id = v->request_id};
    if (req->err == ERR_OK) {
        m.place_is.visit = req->places[0].visit;
        m.place_is.found = req->found && place_valid(&req->places[0].place);
        if (m.place_is.found)
            m.place_is.place = req->places[0].place;
    }
    node_send(v->node, v->link, &m);
    free(v);
    store_req_free(req);
}

void presence_visit(struct node *n, uint64_t link, uint64_t request_id, const char *account)
{
    struct visit *v = mem_zalloc(sizeof *v);
    *v = (struct visit){n, link, request_id};
    struct store_req *req = store_req_new(STORE_VISIT, on_visit, v);
    req->places = arena_zalloc(req->arena, sizeof *req->places);
    req->n_places = 1;
    snprintf(req->places[0].account, sizeof req->places[0].account, "%s", account);
    store_submit(n->env.store, req);
}

/* ---- what gateways say of their players ---- */

static struct owned *served(struct node *n, struct cell_pos at)
{
    struct owned *o = node_owned(n, at);
    return o && o->state >= OWN_SERVING ? o : NULL;
}

static void leave(struct node *n, const struct msg_leave *m)
{
    struct owned *o = served(n, m->cell);
    struct player *who = o ? players_find(o->players, m->session) : NULL;
    if (!who)
        return;
    if (!m->moved_on)
        place_add(n, who);
    players_leave(o->players, who, !m->moved_on);
}

static void chat(struct node *n, struct gate_link *from, const struct msg *m)
{
    struct owned *o = served(n, m->chat.cell);
    if (!o)
        return;
    struct msg copy = *m;
    struct blob *b = msg_encode(&copy);
    for (unsigned k = 0; k < o->n_subs; k++) {
        if (o->subs[k].link != from->link)
            n->env.net->send(n->env.net_ctx, o->subs[k].link, b);
    }
    blob_unref(b);
}

/* Only a gateway speaks for its own sessions. */
void presence_msg(struct node *n, struct gate_link *l, const struct msg *m)
{
    struct owned *o;
    switch (m->kind) {
    case MSG_ENTER:
        o = served(n, m->enter.cell);
        if (o && m->enter.session.gate == l->peer)
            players_enter(o->players, &m->enter, l->link);
        break;
    case MSG_MOVES:
        for (unsigned k = 0; k < m->moves.n; k++) {
            o = served(n, m->moves.moves[k].cell);
            if (o && m->moves.moves[k].session.gate == l->peer)
                players_move(o->players, &m->moves.moves[k]);
        }
        break;
    case MSG_LEAVE:
        if (m->leave.session.gate == l->peer)
            leave(n, &m->leave);
        break;
    case MSG_CHAT:
        chat(n, l, m);
        break;
    default:
        break;
    }
}

void presence_link_gone(struct node *n, uint64_t link)
{
    for (struct owned *o = n->cells; o; o = o->hh.next) {
        if (o->players)
            players_orphan(o->players, link, node_now(n));
    }
}

static void orphans_tick(struct node *n, struct owned *o)
{
    struct player *who, *next;
    HASH_ITER (hh, o->players->by_session, who, next) {
        if (who->orphan_ms && node_now(n) - who->orphan_ms >= ORPHAN_MS) {
            place_add(n, who);
            players_leave(o->players, who, false); /* he may well stand elsewhere */
        }
    }
}

/* ---- frames ---- */

static void frame_add(struct gate_link *l, const struct msg_in_cell *c)
{
    if (l->n_frame == l->frame_cap) {
        l->frame_cap = l->frame_cap ? 2 * l->frame_cap : 16;
        l->frame = mem_resize(l->frame, l->frame_cap * sizeof *l->frame);
    }
    l->frame[l->n_frame++] = *c;
}

static struct msg_in_cell frame_of(struct node *n, struct owned *o, bool all)
{
    unsigned count = players_count(o->players);
    struct msg_in_cell c = {.cell = o->at, .epoch = o->epoch, .all = all};
    c.players = arena_alloc(n->scratch, (count + 1) * sizeof *c.players);
    c.n_players = players_frame(o->players, all, c.players);
    c.n_left = o->players->n_left;
    c.left = arena_alloc(n->scratch, (c.n_left + 1) * sizeof *c.left);
    memcpy(c.left, o->players->left, c.n_left * sizeof *c.left);
    return c;
}

static void cell_tick(struct node *n, struct owned *o)
{
    bool whole = o->frame++ % WHOLE_FRAME == 0;
    struct msg_in_cell changed = frame_of(n, o, whole), all = changed;
    bool have_all = whole;
    bool told_empty = whole && !players_count(o->players) && o->n_empty < EMPTY_FRAMES;
    o->n_empty = players_count(o->players) ? 0 : o->n_empty + told_empty;
    for (unsigned k = 0; k < o->n_subs; k++) {
        struct subscriber *s = &o->subs[k];
        struct gate_link *l;
        if (!s->presence)
            continue;
        HASH_FIND(hh, n->links, &s->link, sizeof s->link, l);
        if (!l)
            continue;
        if (s->all_due && !have_all) {
            all = frame_of(n, o, true);
            have_all = true;
        }
        const struct msg_in_cell *c = s->all_due ? &all : &changed;
        s->all_due = false;
        if (c->n_players || c->n_left || told_empty)
            frame_add(l, c);
    }
    players_framed(o->players);
}

/* A message's bytes are its cells', by the players whom each told of. */
static void count_bytes(struct node *n, const struct msg_in_cell *cells, unsigned count, unsigned players, size_t bytes)
{
    for (unsigned k = 0; k < count; k++) {
        struct owned *o = node_owned(n, cells[k].cell);
        if (o)
            o->load.presence_bytes +=
                (uint32_t)(bytes * (cells[k].n_players + cells[k].n_left + 1) / (players + count));
    }
}

/* Frames of many cells share messages, each within the limits of one. */
static void frames_send(struct node *n, struct gate_link *l)
{
    unsigned from = 0;
    while (from < l->n_frame) {
        unsigned to = from, players = 0;
        while (to < l->n_frame && to - from < MSG_ITEMS_MAX / 4 &&
               (to == from || players + l->frame[to].n_players + l->frame[to].n_left <= FRAME_PLAYERS_MAX)) {
            players += l->frame[to].n_players + l->frame[to].n_left;
            to++;
        }
        struct msg m = {.kind = MSG_PRESENCE};
        m.presence.cells = l->frame + from;
        m.presence.n = to - from;
        struct blob *b = msg_encode(&m);
        count_bytes(n, l->frame + from, to - from, players, b->len);
        n->env.net->send(n->env.net_ctx, l->link, b);
        blob_unref(b);
        from = to;
    }
    l->n_frame = 0;
}

void presence_tick(struct node *n)
{
    uint64_t now = node_now(n);
    if (now < n->tick_ms_next)
        return;
    n->tick_ms_next = now + n->set.tick_ms;
    arena_reset(n->scratch);
    for (struct owned *o = n->cells; o; o = o->hh.next) {
        if (o->state < OWN_SERVING)
            continue;
        orphans_tick(n, o);
        cell_tick(n, o);
    }
    for (struct gate_link *l = n->links; l; l = l->hh.next)
        frames_send(n, l);
    if (now >= n->places_collect_ms) {
        n->places_collect_ms = now + n->set.places_ms;
        places_collect(n);
    }
    places_save(n);
}
