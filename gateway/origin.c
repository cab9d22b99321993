#include "gateway/origin.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <uthash.h>

#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/base/proxy.h"

enum { IPV6_NET_BYTES = 8 };

void origin_begin(struct origin *o, const struct sockaddr *peer, size_t peer_bytes)
{
    memset(o, 0, sizeof *o);
    assert(peer_bytes <= sizeof o->peer);
    memcpy(&o->peer, peer, peer_bytes);
    o->from = o->peer;
}

static void take_header(struct origin *o, const struct proxy_header *h)
{
    o->headers++;
    o->local = h->local;
    if (!h->local)
        o->from = h->from;
    if (h->endpoint)
        log_quote(o->endpoint, sizeof o->endpoint, h->endpoint, h->endpoint_len);
}

enum err origin_take(struct origin *o, unsigned headers_max, const uint8_t *data, size_t len, size_t *used,
                     const char **why)
{
    *used = 0;
    while (*used < len) {
        struct proxy_header h;
        size_t n;
        enum err e = proxy_parse(data + *used, len - *used, &h, &n, why);
        if (e == ERR_NOT_FOUND && o->headers)
            return ERR_OK;
        if (e == ERR_AGAIN)
            return e;
        if (e != ERR_OK)
            return ERR_BAD;
        if (o->headers == headers_max || o->local) {
            *why = "more PROXY headers than proxy_headers allows";
            return ERR_BAD;
        }
        take_header(o, &h);
        *used += n;
    }
    return ERR_AGAIN;
}

const char *origin_text(const struct sockaddr_storage *at, char out[ORIGIN_TEXT_MAX])
{
    char host[INET6_ADDRSTRLEN];
    if (at->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)at;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        snprintf(out, ORIGIN_TEXT_MAX, "%s:%u", host, ntohs(in->sin_port));
    } else if (at->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)at;
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
        snprintf(out, ORIGIN_TEXT_MAX, "[%s]:%u", host, ntohs(in6->sin6_port));
    } else if (at->ss_family == AF_UNIX) {
        const struct sockaddr_un *un = (const void *)at;
        char path[ORIGIN_TEXT_MAX - 8];
        log_quote(path, sizeof path, un->sun_path, strnlen(un->sun_path, sizeof un->sun_path));
        snprintf(out, ORIGIN_TEXT_MAX, "unix:%s", path);
    } else {
        snprintf(out, ORIGIN_TEXT_MAX, "unknown");
    }
    return out;
}

/* ---- how many from each ---- */

struct place_of_origin {
    uint8_t key[ORIGIN_KEY_BYTES];
    unsigned n;
    UT_hash_handle hh;
};

struct origins {
    unsigned max;
    struct place_of_origin *all;
};

static const uint8_t nobody[ORIGIN_KEY_BYTES];

struct origins *origins_new(unsigned max)
{
    struct origins *c = mem_zalloc(sizeof *c);
    c->max = max;
    return c;
}

void origins_free(struct origins *c)
{
    struct place_of_origin *p, *next;
    if (!c)
        return;
    HASH_ITER (hh, c->all, p, next) {
        HASH_DEL(c->all, p);
        free(p);
    }
    free(c);
}

/* IPv4 as IPv6 maps it. False: it is not counted. */
static bool key_of(const struct sockaddr_storage *at, uint8_t key[ORIGIN_KEY_BYTES])
{
    struct in6_addr a = {0};
    if (at->ss_family == AF_INET) {
        a.s6_addr[10] = a.s6_addr[11] = 0xff;
        memcpy(a.s6_addr + 12, &((const struct sockaddr_in *)(const void *)at)->sin_addr, 4);
    } else if (at->ss_family == AF_INET6) {
        a = ((const struct sockaddr_in6 *)(const void *)at)->sin6_addr;
    } else {
        return false;
    }
    const bool v4 = IN6_IS_ADDR_V4MAPPED(&a);
    if (IN6_IS_ADDR_LOOPBACK(&a) || (v4 && a.s6_addr[12] == IN_LOOPBACKNET))
        return false;
    memset(key, 0, ORIGIN_KEY_BYTES);
    memcpy(key, a.s6_addr, v4 ? ORIGIN_KEY_BYTES : IPV6_NET_BYTES);
    return memcmp(key, nobody, ORIGIN_KEY_BYTES) != 0;
}

bool origins_take(struct origins *c, const struct origin *o, uint8_t key[ORIGIN_KEY_BYTES])
{
    struct place_of_origin *p;
    memcpy(key, nobody, ORIGIN_KEY_BYTES);
    if (c->max == 0 || !key_of(&o->from, key))
        return true;
    HASH_FIND(hh, c->all, key, ORIGIN_KEY_BYTES, p);
    if (!p) {
        p = mem_zalloc(sizeof *p);
        memcpy(p->key, key, ORIGIN_KEY_BYTES);
        HASH_ADD(hh, c->all, key, ORIGIN_KEY_BYTES, p);
    }
    if (p->n == c->max) {
        memcpy(key, nobody, ORIGIN_KEY_BYTES);
        return false;
    }
    p->n++;
    return true;
}

void origins_give_back(struct origins *c, const uint8_t key[ORIGIN_KEY_BYTES])
{
    struct place_of_origin *p;
    HASH_FIND(hh, c->all, key, ORIGIN_KEY_BYTES, p);
    if (p && --p->n == 0) {
        HASH_DEL(c->all, p);
        free(p);
    }
}
