/* commands.h - /nick /spawn /goto /pq /help /list and @nick, with the texts of the server that Craft came with. */
#ifndef GATEWAY_COMMANDS_H
#define GATEWAY_COMMANDS_H

#include "gateway/state.h"

/* text begins with '/' or '@'. */
void commands_line(struct gateway *g, struct session *s, const char *text);

#endif
