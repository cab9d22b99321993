/* redis_url.h - where a Redis is and how to log in.
 *
 *   redis://[user[:password]@]host[:port][/db]    plain TCP; "redis://:password@host" has a password and no user
 *   rediss://...                                  the same over TLS; the certificate must be valid for host
 *   unix:/path                                    a local socket
 *
 * User and password may be percent-encoded; an IPv6 address stands in brackets. Pure. */
#ifndef PROTO_REDIS_REDIS_URL_H
#define PROTO_REDIS_REDIS_URL_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/err.h"

struct redis_url {
    bool tls;
    char host[256]; /* "" for a unix socket */
    uint16_t port;
    char path[108]; /* of a unix socket, else "" */
    char user[128], password[256];
    unsigned db;
};

/* ERR_BAD: *why says what is wrong (a constant; the URL itself holds a password and belongs in no log). */
enum err redis_url_parse(const char *url, struct redis_url *out, const char **why);

#endif
