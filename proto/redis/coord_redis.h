/* coord_redis.h - coord.h over a real Redis.
 *
 * Three links: leases and claims on one of their own, so that a burst of
 * appends never delays a renewal; everything else on a second; the events
 * channel, for those who listen, on a third. Requests of one link are carried
 * out in order while it holds. What was not answered comes back with ERR_IO or
 * ERR_TIMEOUT and is not sent again by itself; what Redis answered that makes no
 * sense comes back with ERR_REFUSED and a line in the log.
 *
 * Used on the loop's thread. */
#ifndef PROTO_REDIS_COORD_REDIS_H
#define PROTO_REDIS_COORD_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/redis/coord.h"

struct event_base;
struct evdns_base;
struct coord_redis_conf {
    struct event_base *base;
    struct evdns_base *dns; /* NULL is fine for unix sockets and numeric addresses */
    const char *url;        /* see redis_url.h */
    const char *world;
    const struct coord_listener *listener; /* NULL: no events wanted. Must outlive the coord */
    uint32_t deadline_ms;                  /* of each request */
};

/* Connects in the background: an unreachable Redis is no error here. ERR_BAD: world or URL; ERR_IO: TLS; why says what.
 */
enum err coord_redis_open(const struct coord_redis_conf *conf, struct coord **out, char *why, size_t why_bytes);
/* What is in flight comes back with ERR_IO first; what those done() ask for anew is freed unasked. Not from inside a
 * done() of another time, nor the listener. NULL is fine. */
void coord_redis_close(struct coord *c);
bool coord_redis_up(const struct coord *c); /* are all of its links good? for /readyz */
/* What is not ready, for /readyz: followed by why there is no link, if it is about Redis ("redis: ...") and there is
 * none. NULL stays NULL. Good until the next call. */
const char *coord_redis_explain(struct coord *c, const char *what);

#endif
