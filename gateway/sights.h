/* sights.h - who is where, and which of them each client shows.
 *
 * The owners' frames fill one table of the players that this gateway's sessions may see. Four times a second each
 * session's view is compared with it: the nearest visible_max others within presence_chunks; whoever left the view or
 * the table gets a D first, whoever came a P and then an N. In between, each frame's tick sends P to those who show a
 * player that moved.
 *
 * A player is given up when its owner says that it left, or when it was in no frame of an owned cell for a second.
 * While its cell has no owner, it stays where it is. A session is never shown, nor sent a D for, itself. */
#ifndef GATEWAY_SIGHTS_H
#define GATEWAY_SIGHTS_H

#include "gateway/state.h"

void sights_frame(struct gateway *g, uint64_t link, const struct msg_in_cell *c);
void sights_granted(struct gateway *g, struct area *a);
void sights_forget(struct gateway *g, struct area *a); /* nobody watches it any more */
/* The session's chunk changed: watch the cells around it. */
void sights_moved(struct gateway *g, struct session *s);
void sights_tick(struct gateway *g);
void sights_drop(struct gateway *g, struct session *s); /* the session leaves */
void sights_free_all(struct gateway *g);

#endif
