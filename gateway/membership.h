/* membership.h - this gateway's standing with Redis: the world's constants, its lease, player ids, where its players
 * are. */
#ifndef GATEWAY_MEMBERSHIP_H
#define GATEWAY_MEMBERSHIP_H

#include "gateway/state.h"

void membership_tick(struct gateway *g);
uint32_t membership_id(struct gateway *g);     /* a player id that nobody has; 0: none at hand, try again */
bool membership_good(const struct gateway *g); /* the lease was renewed in time */
/* Somebody named a node that is not in the list: the list is read again, now or within 50 ms of the last time. */
void membership_look_again(struct gateway *g);
void membership_leave(struct gateway *g);

#endif
