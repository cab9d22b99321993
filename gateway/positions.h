/* positions.h - where this gateway's players are, told to the owners of their cells.
 *
 * A player enters at the owner of the cell that it stands in; crossing a border it enters the new owner first and
 * leaves the old one then, so others see no gap. Between, positions go in one message per node and tick. While the new
 * cell is parked the player stays where it was entered, and its last position waits. */
#ifndef GATEWAY_POSITIONS_H
#define GATEWAY_POSITIONS_H

#include "gateway/state.h"

void positions_set(struct gateway *g, struct session *s, const struct place *p);
void positions_renamed(struct gateway *g, struct session *s); /* its nick changed */
void positions_granted(struct gateway *g, struct area *a);
void positions_tick(struct gateway *g);
void positions_leave(struct gateway *g, struct session *s);
void positions_forget(struct gateway *g, struct session *s); /* tells nobody: this gateway ends as in a crash */

#endif
