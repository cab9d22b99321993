/* Where a cell goes that leaves: to a node that runs and is linked, in another pool if there is one, since a pool is
 * taken away together; next to the cell's neighbours; not to one that has no room, or did not take it before.
 *
 * The list of the living is up to two renewals old: what was given to a node since then is added to what it told. */
#include <stdlib.h>
#include <string.h>

#include "node/own/handoff.h"
#include "node/own/placement.h"
#include "node/own/targets.h"
#include "proto/base/mem.h"

enum {
    SENT_MAX = 16384, /* cells that we remember to have sent somewhere; then all are forgotten */
    FULL_MS = 1000    /* before a node that had no room is offered a cell again */
};

/* ---- what was given lately ---- */

static struct neighbour *neighbour_of(const struct node *n, uint64_t id)
{
    struct neighbour *b;
    HASH_FIND(hh, n->neighbours, &id, sizeof id, b);
    return b;
}

static void give(struct neighbour *b, uint64_t second, uint32_t load)
{
    unsigned k = (unsigned)(second % GIVEN_SLOTS);
    b->given[k].load = b->given[k].second == second ? b->given[k].load + load : load;
    b->given[k].second = second;
}

static uint32_t given_to(const struct neighbour *b, uint64_t second)
{
    uint32_t sum = 0;
    for (unsigned k = 0; k < GIVEN_SLOTS; k++)
        sum += second - b->given[k].second < GIVEN_SLOTS ? b->given[k].load : 0;
    return sum;
}

struct coord_member *targets_list(const struct node *n, unsigned *count)
{
    struct coord_member *list = mem_array(n->n_members + 1, sizeof *list);
    uint64_t now = node_now(n);
    unsigned n_others = 0;
    *count = 0;
    for (unsigned k = 0; k < n->n_members; k++) {
        struct coord_member m = n->members[k];
        const struct neighbour *b = neighbour_of(n, m.id);
        bool fit = m.id == n->id || (m.self.state == NODE_RUNNING && b && b->link && b->full_until_ms <= now);
        if (m.id == n->id) {
            m.self.load = load_node(n).told;
            m.self.state = node_told_state(n);
        } else {
            m.self.load += b ? given_to(b, now / 1000) : 0;
        }
        list[fit ? (*count)++ : n->n_members - ++n_others] = m;
    }
    return list;
}

bool targets_runs(const struct node *n, uint64_t id)
{
    const struct neighbour *b = neighbour_of(n, id);
    return b && b->link && node_runs(n, id);
}

void targets_full(struct node *n, uint64_t id)
{
    struct neighbour *b = neighbour_of(n, id);
    if (b)
        b->full_until_ms = node_now(n) + FULL_MS;
}

/* ---- contiguity ---- */

void targets_neighbours(struct node *n, struct cell_pos at, uint64_t owners[NEIGHBOURS])
{
    struct cell_pos around[NEIGHBOURS];
    placement_neighbours(at, around);
    for (unsigned k = 0; k < NEIGHBOURS; k++) {
        struct owned *o = node_owned(n, around[k]);
        struct sent_to *s;
        uint64_t id = cell_id(around[k]);
        HASH_FIND(hh, n->sent, &id, sizeof id, s);
        if (o) /* it may have been sent away, and come back */
            owners[k] = o->out ? o->out->target : o->in && o->in->follow_only ? o->in->source : 0;
        else
            owners[k] = s ? s->node : 0;
    }
}

void targets_remember(struct node *n, const struct owned *o, uint64_t node)
{
    struct sent_to *s;
    struct neighbour *b = neighbour_of(n, node);
    HASH_FIND(hh, n->sent, &o->id, sizeof o->id, s);
    if (!s) {
        if (HASH_COUNT(n->sent) >= SENT_MAX)
            targets_forget(n);
        s = mem_zalloc(sizeof *s);
        s->id = o->id;
        HASH_ADD(hh, n->sent, id, sizeof s->id, s);
    }
    s->node = node;
    if (b)
        give(b, node_now(n) / 1000, load_cell(n, o));
}

void targets_forget(struct node *n)
{
    struct sent_to *s, *next;
    HASH_ITER (hh, n->sent, s, next) {
        HASH_DEL(n->sent, s);
        free(s);
    }
}

/* ---- choosing ---- */

static bool same_pool(const struct node *n, const struct coord_member *m)
{
    return n->set.pool[0] && strcmp(m->self.pool, n->set.pool) == 0;
}

static unsigned rank(const struct node *n, const struct owned *o, const struct coord_member *m)
{
    return (m->id != o->avoid ? 2u : 0u) + (same_pool(n, m) ? 0u : 1u);
}

uint64_t targets_choose(struct node *n, const struct owned *o, const struct coord_member *list, unsigned count)
{
    struct coord_member *best = mem_array(count + 1, sizeof *best);
    unsigned n_best = 0, best_rank = 0;
    for (unsigned k = 0; k < count; k++) {
        unsigned r = rank(n, o, &list[k]);
        if (list[k].id == n->id || (n_best && r < best_rank))
            continue;
        n_best = r > best_rank ? 0 : n_best;
        best_rank = r;
        best[n_best++] = list[k];
    }
    uint64_t owners[NEIGHBOURS];
    targets_neighbours(n, o->at, owners);
    uint64_t target = placement_choose(o->at, best, n_best, owners);
    free(best);
    return target;
}
