/* net.h - the simulated network between processes: net_ops as proto/wire/net.h promises them, and what can go wrong.
 *
 * Messages travel as the bytes that msg_encode() made and are read by
 * msg_decode(), so the codec is under test too. Each direction of a link keeps
 * its order. A link that breaks loses what is under way, or only what comes
 * after it; a mute one carries nothing until somebody notices. */
#ifndef TESTS_SIM_NET_H
#define TESTS_SIM_NET_H

#include "proto/wire/net.h"
#include "tests/sim/hosts.h"

void net_init(struct sim *s);
void net_free(struct sim *s);
extern const struct net_ops sim_net_ops; /* ctx: struct host * */

/* All links of a host that died. */
void net_host_gone(struct host *h, enum host_death death);
/* Reset: both ends hear soon. Else one direction goes mute, and the ends hear when they miss the pings. */
void net_break_some_link(struct sim *s, bool reset);
/* From now on, for ms, nothing gets from a to b or back, and dials come to nothing. Links that stand break silently. */
void net_part(struct sim *s, struct host *a, struct host *b, uint64_t ms);
unsigned net_links(const struct sim *s);

#endif
