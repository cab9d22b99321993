/* peer.h - one framed link, either end: messages in and out over a bufferevent.
 *
 * Hands each message to its owner, in order, a bounded number a wake, so that a busy link waits its turn like everyone
 * else. Bounded both ways: what waits to be sent, and what is read ahead. Until peer_proved() it takes no more than 1
 * KiB. Afterwards it pings, and closes when the other side gives no sign of life. Closing is a request, safe from
 * anywhere; the owner hears closed() exactly once, from the loop, and the peer is gone when that returns. One thread.
 */
#ifndef PROTO_WIRE_PEER_H
#define PROTO_WIRE_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/wire/msg.h"

struct bufferevent;
struct event_base;

enum { UNPROVED_BYTES_MAX = 1024, PINGS_UNANSWERED_MAX = 4 };

/* Why a peer was closed whose other side ended the connection in order. */
#define PEER_ENDED "closed by the other side"

struct peer_conf {
    struct event_base *base;
    struct arena *arena; /* for decoding; may be shared by all peers of a loop */
    size_t queue_bytes_max;
    uint32_t ping_ms;
};

struct peer_ops {
    void (*msg)(void *owner, const struct msg *m); /* pings and the like are not told */
    /* refused: the machine answered the dial, and nobody listens there. */
    void (*closed)(void *owner, const char *why, bool refused);
};

struct peer;
/* Takes over bev: connected, or about to be (the caller connects it after this). who is for the log; copied. */
struct peer *peer_new(const struct peer_conf *c, struct bufferevent *bev, const char *who, const struct peer_ops *ops,
                      void *owner);
void peer_free(
    struct peer *p); /* at once, and closed() is not called. Not from inside its own callbacks. NULL is fine */

void peer_set_who(struct peer *p, const char *who);
void peer_proved(struct peer *p); /* it is one of us: larger messages, and pings */
/* By reference. Over the bound the peer is closed instead. */
void peer_send(struct peer *p, struct blob *b);
void peer_send_msg(struct peer *p, const struct msg *m);
void peer_hold(struct peer *p, bool on); /* while on, nothing is read or told, an end of the stream neither */
/* Any number of times; the first reason wins. why is copied. */
void peer_close(struct peer *p, const char *why);
size_t peer_queued_bytes(const struct peer *p);
struct bufferevent *peer_bufferevent(struct peer *p); /* to connect it */

#endif
