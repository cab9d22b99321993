/* imds_http.h - one request at a time to one HTTP server, over one kept connection.
 *
 * libevent's HTTP client, with what it leaves open: one deadline from the connecting to the last byte, a name for each
 * way to fail, and a connection that broke is thrown away whole, never repaired. (Its own cancelling has asserted in
 * the past when the name was still being looked up.) A kept connection that turns out to be closed when it is used is
 * replaced, and the request repeated once, without anybody hearing of it. Headers have 8 KiB, bodies 16 KiB. */
#ifndef PROTO_IMDS_IMDS_HTTP_H
#define PROTO_IMDS_IMDS_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct imds_http;
struct event_base;
struct evdns_base;

enum imds_result {
    IMDS_ANSWERED,    /* whole; status says what */
    IMDS_UNREACHABLE, /* refused, no route, no such name, or not connected in time */
    IMDS_UNANSWERED,  /* connected, and no whole answer in time */
    IMDS_CLOSED,      /* reset or ended in the middle */
    IMDS_BROKEN,      /* not HTTP, or more than there is room for */
};

struct imds_answer {
    enum imds_result result;
    /* Of a whole answer, else 0 and "". Live until the callback returns. */
    int status;
    const char *body; /* NUL behind it */
    size_t len;
    const char *token_ttl; /* headers; "" : none */
    const char *date;
};

/* Comes from the loop, never from inside imds_http_ask(); may ask again. */
typedef void imds_http_cb(void *arg, const struct imds_answer *a);

/* host: without brackets. dns may be NULL for a numeric one. */
struct imds_http *imds_http_new(struct event_base *base, struct evdns_base *dns, const char *host, uint16_t port,
                                uint32_t timeout_ms, imds_http_cb *cb, void *arg);
void imds_http_free(struct imds_http *h); /* NULL is fine; what is asked is forgotten */
/* put: PUT with no body, else GET. header: one more of that name, or NULL. None may be on its way. */
void imds_http_ask(struct imds_http *h, bool put, const char *path, const char *header, const char *value);

#endif
