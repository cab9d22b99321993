/* Copies of this node's most visited cells on other nodes: a handoff of such a cell is a flip, and after a crash its
 * takeover is a promotion, which reads no store.
 *
 * Always where a setting pays for it in rows of memory elsewhere (followers_rows), and while the node is at risk. In
 * other pools if there are any, since a copy that dies with its source is worth nothing. The most visited cells that
 * fit into the bound are followed; one that grew cold makes room. Few copies are made at a time, in the small pieces in
 * which handoffs go, so that players notice nothing. */
#include <stdlib.h>

#include "node/own/handoff.h"
#include "node/own/targets.h"
#include "proto/base/mem.h"

enum {
    FOLLOW_MS = 250,
    AT_ONCE = 8,            /* copies on their way */
    AT_RISK_ROWS = 1 << 18, /* at risk, whatever the setting */
    CELL_ROWS = 64,         /* what a cell counts for besides its rows */
    SLACK = 8               /* one that is followed already may be colder by an eighth of the bound */
};

static uint64_t bound(const struct node *n)
{
    uint64_t rows = n->set.followers_rows;
    if (n->spot.phase == SPOT_AT_RISK && rows < AT_RISK_ROWS)
        rows = AT_RISK_ROWS;
    return node_takes_part(n) ? rows : 0;
}

static bool is_follower(const struct owned *o)
{
    return o->out && o->out->follow_only;
}

void follow_count(const struct node *n, unsigned *cells, uint64_t *rows)
{
    *cells = 0;
    *rows = 0;
    for (const struct owned *o = n->cells; o; o = o->hh.next) {
        if (!is_follower(o))
            continue;
        ++*cells;
        *rows += cell_rows(o->cell) + CELL_ROWS;
    }
}

void follow_tick(struct node *n)
{
    uint64_t now = node_now(n), rows = 0, most = bound(n);
    if (now < n->follow_ms || n->spot.phase >= SPOT_LEAVING) /* moves.c: each copy is there until its cell's turn */
        return;
    n->follow_ms = node_later(n, FOLLOW_MS);
    unsigned followed, count, n_list, copying = 0;
    uint64_t followed_rows;
    follow_count(n, &followed, &followed_rows);
    if (!most && !followed)
        return;
    struct owned **cells = moves_by_visitors(n, &count);
    struct coord_member *list = targets_list(n, &n_list);
    for (unsigned k = 0; k < count; k++)
        copying += is_follower(cells[k]) && cells[k]->out->phase < OUT_FOLLOWED;
    for (unsigned k = 0; k < count; k++) {
        struct owned *o = cells[k];
        rows += cell_rows(o->cell) + CELL_ROWS;
        bool wanted = rows <= (is_follower(o) ? most + most / SLACK : most) && o->n_subs;
        if (is_follower(o) && (!wanted || !targets_runs(n, o->out->target))) {
            handoff_cancel(n, o, wanted ? "the follower does not run" : "followed no more");
        } else if (wanted && !o->out && copying < AT_ONCE && o->handoff_retry_ms <= now) {
            uint64_t target = targets_choose(n, o, list, n_list);
            copying += target && handoff_offer(n, o, target, true);
        }
        if (!wanted)
            rows -= cell_rows(o->cell) + CELL_ROWS; /* a smaller one may still fit */
    }
    free(cells);
    free(list);
}
