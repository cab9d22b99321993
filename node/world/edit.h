/* edit.h - the rules of the world: may this edit be made?
 *
 * In two steps, so that the ground is generated only for edits that could be
 * good: what the edit says by itself, then what it says to the block that is
 * there. Reach, speed and rate are not judged. Pure. */
#ifndef NODE_WORLD_EDIT_H
#define NODE_WORLD_EDIT_H

#include <stdbool.h>

#include "proto/wire/msg.h"

/* Items that a player may put somewhere, 0 (a break) included. */
bool edit_item_allowed(int32_t w);

/* REFUSED_NOT_SAID: nothing is wrong with it so far. */
enum refusal edit_judge_alone(const struct edit *e);
/* there: the item at e->at, 0 for air. Call it after edit_judge_alone() found nothing. Signs need no block: never
 * refused here. */
enum refusal edit_judge_block(const struct edit *e, int there);

#endif
