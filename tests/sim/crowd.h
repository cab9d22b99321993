/* crowd.h - the players: models of the unmodified client (tests/lib/craft_client.h) who do what players do.
 *
 * They live where four cells meet, walk across the borders, edit the same few
 * blocks, now and then in bursts, set lights and signs, chat, leave and come
 * back. Whoever loses his gateway joins at another; a gateway that closes on a
 * player of its own accord has broken a promise. */
#ifndef TESTS_SIM_CROWD_H
#define TESTS_SIM_CROWD_H

#include "tests/sim/sim.h"

enum { CROWD_PRESENCE_CHUNKS = 3, CROWD_MAX = 16 };

void crowd_init(struct sim *s);
void crowd_free(struct sim *s);
/* From now on they stand still and only watch. */
void crowd_calm(struct sim *s);
/* Have all joined, and was everything that they asked for answered? why: "" or what is missing. */
void crowd_quiet(struct sim *s, char *why, size_t why_bytes);
/* Each sees the world as it is, and the others who are near, once. */
void crowd_check(struct sim *s);

#endif
