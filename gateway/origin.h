/* origin.h - where players come from: the address behind the proxies in front of us, and how many share one.
 *
 * Each proxy that is told to puts a header (proto/base/proxy.h) in front of what it passes on, so the one nearest to us
 * stands first and the one nearest to the player last: with n proxies of ours the n-th header has the player's address.
 * A header behind that would be the player's own invention: it is refused, or everybody could choose his address. A
 * header that says LOCAL ends the chain: the proxy before it speaks for itself, mostly to check our health.
 *
 * Whether that is so shows only with the first byte that is no header; until then a connection is nobody. Pure. */
#ifndef GATEWAY_ORIGIN_H
#define GATEWAY_ORIGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "proto/base/err.h"

enum { ORIGIN_TEXT_MAX = 128, ORIGIN_KEY_BYTES = 16, ORIGIN_ENDPOINT_MAX = 64 };

struct origin {
    struct sockaddr_storage from; /* the player, as far as is known; AF_UNSPEC: the proxies do not say */
    struct sockaddr_storage peer; /* whoever is connected to us */
    unsigned headers;
    bool local;                         /* a proxy speaks for itself */
    char endpoint[ORIGIN_ENDPOINT_MAX]; /* id of the VPC endpoint that it came through, quoted; "": not said */
};

void origin_begin(struct origin *o, const struct sockaddr *peer, size_t peer_bytes);
/* The next bytes of a connection; *used of them were headers. headers_max: how many proxies of ours there are. ERR_OK:
 * the rest is the player's. ERR_AGAIN: more bytes, please. ERR_BAD: it is to be closed, *why is a constant. */
enum err origin_take(struct origin *o, unsigned headers_max, const uint8_t *data, size_t len, size_t *used,
                     const char **why);
/* "192.0.2.1:5000", "[2001:db8::1]:5000", "unix:\"/path\"", "unknown". Returns out. */
const char *origin_text(const struct sockaddr_storage *at, char out[ORIGIN_TEXT_MAX]);

/* How many players there are from each address. An IPv6 address counts by its first half, which is what a household or
 * a host has. Not counted: this machine's own, and what is unknown. */
struct origins;
struct origins *origins_new(unsigned max); /* 0: as many as there are */
void origins_free(struct origins *c);
/* One more; false: there are max already. key says whose place it is to give back. */
bool origins_take(struct origins *c, const struct origin *o, uint8_t key[ORIGIN_KEY_BYTES]);
void origins_give_back(struct origins *c, const uint8_t key[ORIGIN_KEY_BYTES]);

#endif
