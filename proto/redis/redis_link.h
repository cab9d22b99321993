/* redis_link.h - one connection to Redis, kept up.
 *
 * hiredis formats commands and parses replies; a bufferevent of our own carries
 * the bytes, so TCP, TLS and unix sockets are one path and nothing blocks: names
 * resolve on the loop. Commands are pipelined and answered in order, each one
 * exactly once and never from inside the call that made it:
 *
 *   ERR_OK       answered, reply is good until the callback returns
 *   ERR_REFUSED  Redis answered an error; reply is that error
 *   ERR_IO       the link broke, was down, or Redis could not serve (loading, a replica): the outcome is not known
 *   ERR_TIMEOUT  no answer within the deadline: the same, and the link is made anew, as its replies are late
 *   ERR_FULL     too much is in flight; it was not sent
 *
 * Nothing is sent again by itself. After a break the link comes back with
 * backoff and jitter; until then a command fails on the next turn of the loop.
 *
 * Scripts go by SHA. All are loaded when the link comes up; should Redis forget
 * them (SCRIPT FLUSH), those that it did not run go again with their source, in
 * their order, before anything newer.
 *
 * Used on the loop's thread; owned by whoever made it. */
#ifndef PROTO_REDIS_REDIS_LINK_H
#define PROTO_REDIS_REDIS_LINK_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"

enum {
    REDIS_REPLY_BYTES_MAX = 16 << 20,   /* of one reply; a longer one breaks the link */
    REDIS_REPLY_ELEMENTS_MAX = 1 << 17, /* of one array */
    REDIS_REPLY_DEPTH_MAX = 6,          /* of arrays in arrays */
    REDIS_IN_FLIGHT_BYTES_MAX = 64 << 20,
    REDIS_CONNECT_MS = 3000, /* from resolving the name to being logged in */
    REDIS_BACKOFF_MIN_MS = 50,
    REDIS_BACKOFF_MAX_MS = 2000,
    REDIS_SHA_LEN = 40
};

struct redis_script {
    const char *source;
    char sha[REDIS_SHA_LEN + 1];
};
/* source must outlive the script. */
void redis_script_init(struct redis_script *s, const char *source);

struct event_base;
struct evdns_base;
struct redis_link_conf {
    struct event_base *base;
    struct evdns_base *dns; /* NULL is fine for unix sockets and numeric addresses */
    const char *url;        /* see redis_url.h */
    const char *name;       /* for logs and metrics: "commands"; must outlive the link */
    uint32_t deadline_ms;   /* of each command */
    unsigned in_flight_max;
    const struct redis_script *scripts; /* loaded when the link comes up; must outlive it */
    unsigned n_scripts;
    /* A link that subscribes carries no commands. NULL: it does not. */
    const char *channel;
    void (*message)(void *arg, const void *data, size_t len);
    void (*subscribed)(void *arg); /* the subscription is good, for the first time or again */
    void *arg;
};

struct redis_link;
/* Starts connecting. ERR_BAD: the URL, *why says what of it. ERR_IO: TLS cannot be set up. */
enum err redis_link_open(const struct redis_link_conf *conf, struct redis_link **out, const char **why);
/* Everything in flight comes back with ERR_IO first. Not from inside a callback of this link. NULL is fine. */
void redis_link_close(struct redis_link *l);
bool redis_link_up(const struct redis_link *l);
const char *redis_link_why(const struct redis_link *l); /* it last broke or did not come up; "": it never did */

/* reply: NULL but for ERR_OK and ERR_REFUSED. */
typedef void redis_link_done(void *arg, enum err e, const redisReply *reply);
void redis_link_command(struct redis_link *l, unsigned argc, const char **argv, const size_t *lens,
                        redis_link_done *done, void *arg);
/* argv: the keys, then the arguments. */
void redis_link_script(struct redis_link *l, const struct redis_script *s, unsigned n_keys, unsigned argc,
                       const char **argv, const size_t *lens, redis_link_done *done, void *arg);

#endif
