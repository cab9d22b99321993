/* joining.h - who a player is: its id, its nick, the place that it left.
 *
 * Nobody checks the token of an A line: a name is what the player says it is, and the first to have it keeps it. A nick
 * is taken in Redis, unique in the world; guest<id> is what everybody gets who has none, or not the one that was asked
 * for. A second A (the client's /login and /logout) changes the nick; the place stays with the account of the first. */
#ifndef GATEWAY_JOINING_H
#define GATEWAY_JOINING_H

#include "gateway/state.h"

void joining_begin(struct gateway *g, struct session *s, const char *user, size_t len);
void joining_again(struct gateway *g, struct session *s, const char *user, size_t len);
void joining_step(struct gateway *g, struct session *s); /* each tick: asks for what is missing */
void joining_place_is(struct gateway *g, uint64_t request, const struct msg *m);
/* Asks for another nick; tells the player how it went. */
void joining_rename(struct gateway *g, struct session *s, const char *nick);
/* Our lease was gone for a while: the nick may be somebody else's by now. */
void joining_reclaim(struct gateway *g, struct session *s);
void joining_leave(struct gateway *g, struct session *s);
bool nick_valid(const char *nick, size_t len);

#endif
