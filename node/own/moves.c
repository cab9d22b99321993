/* Which cells go, and when: all of them when the node leaves, a few at a time while it is at risk, some when it has
 * more than its share.
 *
 * Leaving: the most visited first, so many at a time, each copied while it is served and flipped as soon as its copy is
 * whole: a cell that is gone is safe, and waiting for the other copies would not make it safer. What others follow
 * already is only flipped. A cell that nobody watched for two seconds and that the store has whole is released instead:
 * nobody waits for it, and its copy would be a burden elsewhere. What must wait for its turn waits; what nobody takes
 * is served on. The deadline's second half is reserve: rows go to the store without waiting, and a moment before its
 * end the rest is released, what was half copied, too.
 *
 * At risk: the coldest first, since the hottest have followers (follow.c), and the hint may come to nothing.
 *
 * Balancing: cells at the edge of what this node owns, next to what the target was given before. A cell that came here
 * for balance stays for a minute. */
#include <stdlib.h>

#include "node/own/balance.h"
#include "node/own/handoff.h"
#include "node/own/targets.h"
#include "proto/base/mem.h"

enum {
    LEAVING_AT_ONCE = 64,   /* handoffs of a node that leaves */
    LEAVING_ROWS = 1 << 18, /* no more while those on their way have so many rows */
    RELEASES_AT_ONCE = 64,  /* the store has flushes to do, too */
    BALANCE_AT_ONCE = 16,
    BALANCE_ROWS = 1 << 16,
    BALANCE_MS = 500,
    PATIENCE = 5,      /* rounds in which there was too much before any of it goes: crowds pass through */
    SHED_MS = 500,     /* at risk: one cell so often */
    SETTLE_MS = 60000, /* a cell that moved for balance stays for so long */
    TRIES_MAX = 3,     /* then it rests */
    REST_MS = 1000,
    RELEASE_MS = 2000, /* before the deadline, and for each cell: no more handoffs, but releases */
    RELEASE_CELL_MS = 5,
    UNWATCHED_MS = 2000, /* a cell that just came is nobody's for a moment: its gateways follow it */
    HOLDS_MS = 3000      /* without any progress for so long the deadline is in danger */
};

/* ---- one round ---- */

struct round {
    struct node *node;
    struct coord_member *list; /* who may be given cells: the first n_list; then the others */
    unsigned n_list;
    unsigned going, releasing; /* cells on their way */
    size_t rows;               /* ... and how many these have: copies take turns on a link */
};

static struct round round_begin(struct node *n)
{
    struct round r = {.node = n};
    r.list = targets_list(n, &r.n_list);
    for (const struct owned *o = n->cells; o; o = o->hh.next) {
        r.releasing += o->state == OWN_RELEASING;
        if (!o->out || o->out->follow_only)
            continue;
        r.going++;
        r.rows += cell_rows(o->cell);
    }
    return r;
}

static struct coord_member *listed(const struct round *r, uint64_t id)
{
    for (unsigned k = 0; k < r->n_list; k++) {
        if (r->list[k].id == id)
            return &r->list[k];
    }
    return NULL;
}

static bool anybody(const struct round *r)
{
    return r->n_list > (listed(r, r->node->id) ? 1u : 0u);
}

static bool offer(struct round *r, struct owned *o, uint64_t target)
{
    struct node *n = r->node;
    struct coord_member *m = listed(r, target);
    if (!m || !handoff_offer(n, o, target, false))
        return false;
    m->self.load += load_cell(n, o);
    targets_remember(n, o, target);
    r->going++;
    r->rows += cell_rows(o->cell);
    return true;
}

/* Its follower becomes its owner. */
static void flip(struct round *r, struct owned *o, struct coord_member *m)
{
    m->self.load += load_cell(r->node, o);
    targets_remember(r->node, o, m->id);
    r->going++;
    r->rows += cell_rows(o->cell);
    handoff_promote_to(r->node, o);
}

/* To that node, which may follow it already. */
static bool give(struct round *r, struct owned *o, uint64_t target)
{
    struct coord_member *m = listed(r, target);
    if (m && o->out && o->out->target == target) {
        flip(r, o, m);
        return true;
    }
    if (o->out)
        handoff_cancel(r->node, o, "the cell goes to another node");
    return offer(r, o, target);
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

struct owned **moves_by_visitors(struct node *n, unsigned *count)
{
    struct owned **list = mem_array(HASH_COUNT(n->cells) + 1, sizeof *list);
    *count = 0;
    for (struct owned *o = n->cells; o; o = o->hh.next) {
        if (o->state == OWN_SERVING)
            list[(*count)++] = o;
    }
    qsort(list, *count, sizeof *list, by_visitors);
    return list;
}

static bool watched(const struct owned *o)
{
    return o->n_subs || o->n_waiting || players_count(o->players);
}

static bool unwatched_long(const struct node *n, const struct owned *o)
{
    return !watched(o) && node_now(n) - o->idle_from_ms >= UNWATCHED_MS;
}

static bool store_has_all(const struct owned *o)
{
    return !o->n_kept && !o->open && !o->in_flight && !cell_dirty(o->cell);
}

/* What releasing all that is here takes, about. */
static uint64_t release_ms(const struct node *n)
{
    uint64_t need = RELEASE_MS + (uint64_t)HASH_COUNT(n->cells) * RELEASE_CELL_MS;
    uint64_t most = (n->spot.deadline_ms - n->leave_ms) / 2;
    return need < most ? need : most;
}

bool moves_is_late(const struct node *n)
{
    return n->spot.deadline_ms && node_now(n) + release_ms(n) >= n->spot.deadline_ms;
}

bool moves_in_reserve(const struct node *n)
{
    uint64_t deadline = n->spot.deadline_ms;
    return n->spot.phase == SPOT_LEAVING && deadline && node_now(n) >= n->leave_ms + (deadline - n->leave_ms) / 2;
}

static void release(struct round *r, struct owned *o, const char *why)
{
    if (o->out)
        handoff_cancel(r->node, o, why);
    flush_release(r->node, o);
    r->releasing++;
}

/* A follower has it already, if that one still takes part, and has room: it took the copy for its memory alone. False:
 * the cell is to be offered. */
static bool promote(struct round *r, struct owned *o)
{
    struct node *n = r->node;
    struct coord_member *m = listed(r, o->out->target);
    if (m && balance_has_room(r->list, n->n_members, m->self.load, load_cell(n, o))) {
        flip(r, o, m);
        return true;
    }
    if (!m && targets_runs(n, o->out->target)) /* it had no room a moment ago: the copy is worth the wait */
        return true;
    handoff_cancel(n, o, m ? "the follower has no room" : "the follower does not run");
    return false;
}

static void send_away(struct round *r, struct owned *o)
{
    struct node *n = r->node;
    bool room = r->going < LEAVING_AT_ONCE && r->rows < LEAVING_ROWS;
    if (unwatched_long(n, o) && store_has_all(o)) {
        if (r->releasing < RELEASES_AT_ONCE)
            release(r, o, "nobody watches it");
    } else if (!room || o->handoff_retry_ms > node_now(n) || (o->out && promote(r, o))) {
        return;
    } else if (o->handoff_tries >= TRIES_MAX) {
        o->handoff_tries = 0;
        o->handoff_retry_ms = node_later(n, REST_MS);
    } else {
        uint64_t target = targets_choose(n, o, r->list, r->n_list);
        if (target)
            offer(r, o, target);
    }
}

void moves_leave(struct node *n)
{
    struct round r = round_begin(n);
    bool late = moves_is_late(n);
    unsigned count;
    struct owned **list = moves_by_visitors(n, &count);
    for (unsigned k = 0; k < count; k++) {
        struct owned *o = list[k];
        if (o->out && !o->out->follow_only && (!late || o->out->phase >= OUT_FREEZING))
            continue;
        if (late)
            release(&r, o, "no time left");
        else
            send_away(&r, o);
    }
    free(list);
    free(r.list);
}

static size_t rows_here(const struct node *n)
{
    size_t rows = 0;
    for (const struct owned *o = n->cells; o; o = o->hh.next)
        rows += o->cell ? cell_rows(o->cell) : 0;
    return rows;
}

void moves_leave_begins(struct node *n)
{
    n->leave_ms = node_now(n);
    n->leave_cells = HASH_COUNT(n->cells);
    n->leave_rows = rows_here(n);
}

/* How long the rest takes at the rate so far. */
static uint64_t projected(uint64_t elapsed, uint64_t then, uint64_t left)
{
    return then > left ? elapsed * left / (then - left) : left ? UINT64_MAX : 0;
}

bool moves_will_hold(const struct node *n)
{
    uint64_t now = node_now(n), elapsed = now - n->leave_ms, deadline = n->spot.deadline_ms;
    uint64_t left = HASH_COUNT(n->cells), time_left = deadline > now ? deadline - now : 0;
    if (!left)
        return true;
    if (!node_others_run(n))
        return false;
    if (elapsed < HOLDS_MS && elapsed < (deadline - n->leave_ms) / 4)
        return true;
    return projected(elapsed, n->leave_cells, left) <= time_left &&
           (n->leave_rows == 0 || projected(elapsed, n->leave_rows, rows_here(n)) <= time_left);
}

/* ---- at risk ---- */

void moves_shed(struct node *n)
{
    uint64_t now = node_now(n);
    if (now < n->balance_ms)
        return;
    n->balance_ms = node_later(n, SHED_MS);
    struct round r = round_begin(n);
    unsigned count;
    struct owned **list = moves_by_visitors(n, &count);
    for (unsigned k = count; k > 0 && !r.going && anybody(&r); k--) {
        struct owned *o = list[k - 1];
        if (!watched(o) || o->handoff_retry_ms > now) /* unwatched: it is released when it was idle for long enough */
            continue;
        if (o->out && promote(&r, o))
            continue;
        uint64_t target = targets_choose(n, o, r.list, r.n_list);
        if (target)
            offer(&r, o, target);
    }
    free(list);
    free(r.list);
}

/* ---- balancing ---- */

/* Few of its neighbours here, more of them there. */
static int edge_score(struct node *n, const struct owned *o, uint64_t target)
{
    struct cell_pos around[NEIGHBOURS];
    uint64_t owners[NEIGHBOURS];
    int score = 0;
    placement_neighbours(o->at, around);
    targets_neighbours(n, o->at, owners);
    for (unsigned k = 0; k < NEIGHBOURS; k++) {
        score += owners[k] == target ? 3 : 0;
        score -= node_owned(n, around[k]) ? 1 : 0;
    }
    return score;
}

/* Cells settle for the sake of balance alone. Whether a node gave them because it leaves, or may have to, the list of
 * the living tells when they are here. */
static void let_go_of_what_was_left_here(struct node *n)
{
    for (struct owned *o = n->cells; o; o = o->hh.next) {
        if (o->settled_ms && !node_runs(n, o->came_from))
            o->settled_ms = 0;
    }
}

static struct owned *edge_cell(struct node *n, uint64_t target, uint32_t at_most)
{
    struct owned *best = NULL;
    int best_score = 0;
    uint64_t now = node_now(n);
    for (struct owned *o = n->cells; o; o = o->hh.next) {
        if (o->state != OWN_SERVING || (o->out && !o->out->follow_only) || load_cell(n, o) > at_most ||
            o->handoff_retry_ms > now || (o->settled_ms && now - o->settled_ms < SETTLE_MS))
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
    if (node_now(n) < n->balance_ms)
        return;
    n->balance_ms = node_later(n, BALANCE_MS);
    let_go_of_what_was_left_here(n);
    struct round r = round_begin(n);
    struct balance b = balance_choose(r.list, r.n_list, n->id);
    bool any = false;
    n->uneven_rounds = b.target ? n->uneven_rounds + 1 : 0;
    while (b.target && n->uneven_rounds > PATIENCE && r.going < BALANCE_AT_ONCE && r.rows < BALANCE_ROWS) {
        struct owned *o = edge_cell(n, b.target, b.load);
        if (!o && !any)
            o = edge_cell(n, b.target, b.one_max);
        if (!o || !give(&r, o, b.target))
            break;
        uint32_t weight = load_cell(n, o);
        b.load -= weight < b.load ? weight : b.load;
        any = true;
    }
    free(r.list);
}
