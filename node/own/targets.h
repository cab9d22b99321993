/* targets.h - the nodes to which cells of this one may go, and which of them for a given cell.
 *
 * A list is made once for many choices; what is given meanwhile must be added to it by its user, so that one target is
 * not flooded. Owned by the node. */
#ifndef NODE_OWN_TARGETS_H
#define NODE_OWN_TARGETS_H

#include "node/own/placement.h"
#include "node/parts.h"

/* Who runs, is linked and has room, with its load as far as we know; and this node itself, whatever its state. Behind
 * those, up to n->n_members, come all others: what they hold counts when it is asked how much one may hold. The caller
 * frees it. */
struct coord_member *targets_list(const struct node *n, unsigned *count);
bool targets_runs(const struct node *n, uint64_t id); /* and is linked; it may have no room */
/* The best of the list for this cell, without this node; 0: there is none. */
uint64_t targets_choose(struct node *n, const struct owned *o, const struct coord_member *list, unsigned count);
/* What we know of a cell's neighbours: here and on their way, or gone where we sent them. */
void targets_neighbours(struct node *n, struct cell_pos at, uint64_t owners[NEIGHBOURS]);
/* The cell was offered to that node. */
void targets_remember(struct node *n, const struct owned *o, uint64_t node);
void targets_full(struct node *n, uint64_t id); /* it refused for want of room */
void targets_forget(struct node *n);            /* where cells went */

#endif
