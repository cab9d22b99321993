/* links.h - a process's framed TCP links to nodes and gateways: the real net_ops.
 *
 * Listens (a node), dials, and proves: each side opens with Hello, answers the other's nonce with an HMAC-SHA256 over
 * both nonces under the world's secret, and is up() only when world, cell size, schema and proof are right. Until then
 * a link gets 5 s and 1 KiB, and there are at most 256 such. Afterwards pings find the dead within a few seconds;
 * queues are bounded; a bad frame closes the link with a reason. Frames are peer.h's. Names resolve by evdns, never
 * blocking. One thread.
 *
 * failed() says refused also when another incarnation answered at a node's address and proved itself: the one that was
 * dialled has lost its port, and with it its process. hold() lets links go on that are still proving themselves. */
#ifndef PROTO_WIRE_LINKS_H
#define PROTO_WIRE_LINKS_H

#include <stdint.h>

#include "proto/wire/net.h"

struct event_base;
struct evdns_base;

struct links_conf {
    struct event_base *base;
    struct evdns_base *dns; /* NULL: numeric addresses only */
    enum role role;
    uint64_t incarnation;
    const char *world;
    const char *secret;       /* "" : no secret set; both sides must agree all the same */
    const char *listen;       /* "host:port", port 0: any; NULL: dials only */
    uint32_t queue_bytes_max; /* 64 MiB: a link with more unsent is closed */
    uint32_t ping_ms;         /* 1000; dead after four without a sign of life */
    uint32_t dial_ms;         /* 2000: deadline of connect and proof together */
    uint32_t proof_ms;        /* 5000: deadline of the proof of one who dialled us */
};
void links_conf_default(struct links_conf *c);

struct links;
/* ERR_BAD: the listen address; ERR_IO: cannot bind (*why says which and why). events is called with owner. */
enum err links_new(const struct links_conf *c, const struct net_events *events, void *owner, struct links **out,
                   char *why, size_t why_bytes);
/* For an owner that can only be made once the links are: before the loop runs. */
void links_set_owner(struct links *l, void *owner);
void links_free(struct links *l);          /* closes all; no down() is called any more */
extern const struct net_ops links_net_ops; /* ctx: struct links * */
int links_port(const struct links *l);     /* the port that it listens on; 0: none */
/* Inside failed(): what came of the dial, for a person. */
const char *links_failure(const struct links *l);
/* All links flushed? For a clean exit. */
size_t links_queued_bytes(const struct links *l);

#endif
