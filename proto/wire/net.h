/* net.h - links to other processes, as the state machines see them.
 *
 * A link carries whole messages in order until it goes down; what was sent and
 * not yet read is then lost. Two things implement this: links.c (framed TCP with
 * the proof of the world's secret) and the simulator's network.
 *
 * A process dials nodes by id and address; each side hears up() once the other
 * has proved who it is, then msg() for each message, then down() once. A dial
 * that comes to nothing is told by failed(): refused means that the machine
 * answered and nobody listens there, anything else is silence. Nothing is
 * called from inside dial, send or hangup. */
#ifndef PROTO_WIRE_NET_H
#define PROTO_WIRE_NET_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/wire/msg.h"

struct net_ops {
    void (*dial)(void *ctx, uint64_t node, const char *address);
    /* Sends by reference. A link whose queue is over its bound is closed with that reason. No link: nothing happens. */
    void (*send)(void *ctx, uint64_t link, struct blob *b);
    void (*hangup)(void *ctx, uint64_t link, const char *why);
    /* While held, no message is delivered (the sockets are not read): for a node that must check its cells first. */
    void (*hold)(void *ctx, bool on);
};

/* What the owner of the links hears. link: a number that is never used twice in a process. */
struct net_events {
    void (*up)(void *owner, uint64_t link, enum role role,
               uint64_t peer); /* peer: incarnation, a node's or gateway's id */
    void (*down)(void *owner, uint64_t link, const char *why);
    void (*failed)(void *owner, uint64_t node, bool refused);
    void (*msg)(void *owner, uint64_t link, const struct msg *m);
};

#endif
