/* Which cells go where: all of them when the node leaves, some when it has more than its share.
 *
 * Leaving: the most visited first, so many at a time; a cell that nobody takes is served on while there is time, then
 * flushed and released. Balancing: cells at the edge of what this node owns, next to what the target was given before;
 * a cell that moved lately stays where it is. */
#include <stdlib.h>

#include "node/own/balance.h"
#include "node/own/handoff.h"
#include "node/own/placement.h"
#include "proto/base/mem.h"

enum {
    LEAVING_AT_ONCE = 64,   /* handoffs of a node that leaves */
    LEAVING_ROWS = 1 << 18, /* no more while those on their way have so many rows */
    BALANCE_AT_ONCE = 8,
    BALANCE_MS = 1000,
    SETTLE_MS = 60000, /* a cell that moved stays for so long */
    TRIES_MAX = 3,     /* then it is released; or, while draining, served on */
    REST_MS = 1000,    /* draining: before it is offered again */
    NOBODY_MS = 100,   /* draining: before somebody is looked for again */
    SENT_MAX = 16384,  /* cells that we remember to have sent somewhere; then all are forgotten */
    RELEASE_MS = 3000  /* before the deadline: no more handoffs */
};

static uint32_t weight(const struct owned *o)
{
    return placement_load(1, players_count(o->players));
}

static unsigned on_their_way(const struct node *n)
{
    unsigned count = 0;
    for (const struct owned *o = n->cells; o; o = o->hh.next)
        count += o->out && !o->out->follow_only;
    return count;
}

/* May one more leave? Copies take turns on a link: with fewer rows on their way none waits long for its own. */
static bool may_leave(const struct node *n)
{
    size_t rows = 0;
    unsigned count = 0;
    for (const struct owned *o = n->cells; o; o = o->hh.next) {
        if (!o->out || o->out->follow_only)
            continue;
        count++;
        rows += cell_rows(o->cell);
    }
    return count < LEAVING_AT_ONCE && rows < LEAVING_ROWS;
}

/* ---- where ---- */

/* What we know of the neighbours: here, on their way, or gone where we sent them. */
static void neighbour_owners(struct node *n, struct cell_pos at, uint64_t owners[NEIGHBOURS])
{
    struct cell_pos around[NEIGHBOURS];
    placement_neighbours(at, around);
    for (unsigned k = 0; k < NEIGHBOURS; k++) {
        struct owned *o = node_owned(n, around[k]);
        struct sent_to *s;
        uint64_t id = cell_id(around[k]);
        HASH_FIND(hh, n->sent, &id, sizeof id, s);
        owners[k] = o && o->out ? o->out->target : s ? s->node : 0;
    }
}

static void remember(struct node *n, const struct owned *o, uint64_t node)
{
    struct sent_to *s;
    HASH_FIND(hh, n->sent, &o->id, sizeof o->id, s);
    if (!s) {
        if (HASH_COUNT(n->sent) >= SENT_MAX)
            moves_forget(n);
        s = mem_zalloc(sizeof *s);
        s->id = o->id;
        HASH_ADD(hh, n->sent, id, sizeof s->id, s);
    }
    s->node = node;
    for (unsigned k = 0; k < n->n_members; k++) {
        if (n->members[k].id == node)
            n->members[k].self.load += weight(o);
    }
}

void moves_forget(struct node *n)
{
    struct sent_to *s, *next;
    HASH_ITER (hh, n->sent, s, next) {
        HASH_DEL(n->sent, s);
        free(s);
    }
}

/* Running nodes that are linked, without me, and without the one that refused last if there is another. */
static uint64_t choose(struct node *n, const struct owned *o)
{
    struct coord_member *others = mem_array(n->n_members, sizeof *others);
    unsigned count = 0, willing = 0;
    for (unsigned k = 0; k < n->n_members; k++) {
        const struct coord_member *m = &n->members[k];
        if (m->id == n->id || m->self.state != NODE_RUNNING || !keep_link_to(n, m->id))
            continue;
        willing += m->id != o->avoid;
        others[count++] = *m;
    }
    for (unsigned k = 0; willing && k < count; k++) {
        if (others[k].id == o->avoid)
            others[k--] = others[--count];
    }
    uint64_t owners[NEIGHBOURS];
    neighbour_owners(n, o->at, owners);
    uint64_t target = placement_choose(o->at, others, count, owners);
    free(others);
    return target;
}

/* ---- leaving ---- */

static int by_visitors(const void *a, const void *b)
{
    const struct owned *x = *(struct owned *const *)a, *y = *(struct owned *const *)b;
    unsigned px = players_count(x->players), py = players_count(y->players);
    if (px != py)
        return px < py ? 1 : -1;
    if (x->n_subs != y->n_subs)
        return x->n_subs < y->n_subs ? 1 : -1;
    return (x->serial > y->serial) - (x->serial < y->serial);
}

static bool hand_off(struct node *n, struct owned *o)
{
    uint64_t target = choose(n, o);
    if (!target || !handoff_offer(n, o, target, false))
        return false;
    remember(n, o, target);
    return true;
}

void moves_leave(struct node *n)
{
    uint64_t now = node_now(n);
    bool stopping = n->spot.deadline_ms, late = stopping && now + RELEASE_MS >= n->spot.deadline_ms;
    bool room = may_leave(n);
    unsigned count = 0;
    struct owned **list = mem_array(HASH_COUNT(n->cells), sizeof *list);
    for (struct owned *o = n->cells; o; o = o->hh.next) {
        if (o->state == OWN_SERVING && (!o->out || o->out->follow_only) && o->handoff_retry_ms <= now)
            list[count++] = o;
    }
    qsort(list, count, sizeof *list, by_visitors);
    for (unsigned k = 0; k < count; k++) {
        struct owned *o = list[k];
        if (o->out && !late) {
            handoff_promote_to(n, o); /* a follower has it already */
            continue;
        }
        if (o->out)
            handoff_abort(n, o, "no time left");
        if (!stopping && o->n_subs && o->handoff_tries >= TRIES_MAX) { /* served on: a drain has no deadline */
            o->handoff_tries = 0;
            o->handoff_retry_ms = node_later(n, REST_MS);
            continue;
        }
        bool wait = o->n_subs && !late && o->handoff_tries < TRIES_MAX;
        if (!late && o->handoff_tries < TRIES_MAX && room && hand_off(n, o))
            room = may_leave(n);
        else if (!wait)
            flush_release(n, o);
        else if (!stopping && room)
            o->handoff_retry_ms = node_later(n, NOBODY_MS);
    }
    free(list);
}

/* ---- balancing ---- */

/* Few of its neighbours here, more of them there. */
static int edge_score(struct node *n, const struct owned *o, uint64_t target)
{
    struct cell_pos around[NEIGHBOURS];
    uint64_t owners[NEIGHBOURS];
    int score = 0;
    placement_neighbours(o->at, around);
    neighbour_owners(n, o->at, owners);
    for (unsigned k = 0; k < NEIGHBOURS; k++) {
        score += owners[k] == target ? 3 : 0;
        score -= node_owned(n, around[k]) ? 1 : 0;
    }
    return score;
}

static struct owned *edge_cell(struct node *n, uint64_t target, uint32_t at_most)
{
    struct owned *best = NULL;
    int best_score = 0;
    uint64_t now = node_now(n);
    for (struct owned *o = n->cells; o; o = o->hh.next) {
        if (o->state != OWN_SERVING || o->out || weight(o) > at_most || o->handoff_retry_ms > now ||
            (o->moved_ms && now - o->moved_ms < SETTLE_MS))
            continue;
        int score = edge_score(n, o, target);
        if (!best || score > best_score) {
            best = o;
            best_score = score;
        }
    }
    return best;
}

void moves_balance(struct node *n)
{
    uint64_t now = node_now(n);
    if (now < n->balance_ms)
        return;
    n->balance_ms = node_later(n, BALANCE_MS);
    unsigned busy = on_their_way(n);
    for (struct balance b = balance_choose(n->members, n->n_members, n->id); b.target && busy < BALANCE_AT_ONCE;
         busy++) {
        struct owned *o = edge_cell(n, b.target, b.load);
        if (!o || !handoff_offer(n, o, b.target, false))
            return;
        b.load -= weight(o);
        remember(n, o, b.target);
    }
}
