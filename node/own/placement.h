/* placement.h - which node should own a cell that nobody owns.
 *
 * Contiguous: the node that owns its neighbours, unless that one is loaded well above the mean. A cell without owned
 * neighbours goes by rendezvous hashing (Thaler and Ravishankar) of the region of REGION_CELLS x REGION_CELLS cells
 * that it lies in, so that a world that is entered for the first time is cut into blocks and not into a chequerboard.
 * Only nodes that are running are chosen. Every node can compute it from the same facts; the claim decides. Pure. */
#ifndef NODE_OWN_PLACEMENT_H
#define NODE_OWN_PLACEMENT_H

#include <stdint.h>

#include "node/own/load.h"
#include "proto/redis/coord.h"

enum { REGION_CELLS = 4, NEIGHBOURS = 8 };

/* The neighbours of a cell in the order that placement_choose() wants their owners: sides first, then corners. */
void placement_neighbours(struct cell_pos at, struct cell_pos out[NEIGHBOURS]);

/* owners[k]: the living owner of neighbour k, 0 for none. Returns 0 when no node is running. */
uint64_t placement_choose(struct cell_pos at, const struct coord_member *members, unsigned n_members,
                          const uint64_t owners[NEIGHBOURS]);

#endif
