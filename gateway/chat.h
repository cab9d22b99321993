/* chat.h - what players say, here and through the events channel to the other gateways.
 *
 * The own players hear it at once. An event that cannot be published goes through the owner of the speaker's cell to
 * the gateways that see it. */
#ifndef GATEWAY_CHAT_H
#define GATEWAY_CHAT_H

#include "gateway/state.h"
#include "proto/wire/record.h"

enum { TALK_LINES_MAX = 20, TALK_WINDOW_MS = 5000 };

void chat_line(struct gateway *g, struct session *s, const char *text, size_t len); /* a T line */
void chat_publish(struct gateway *g, struct session *s, enum event_kind kind, const char *to, const char *text);
void chat_event(struct gateway *g, const void *data, size_t len);
void chat_relayed(struct gateway *g, const struct msg *m);

#endif
