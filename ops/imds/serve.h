/* serve.h - a small HTTP/1.1 server that can also misbehave, on purpose.
 *
 * Connections are kept; one request is answered at a time. Besides whole answers it gives late ones, none, a reset,
 * bytes that are no HTTP, and bodies that never end: what a client must survive. Bounded where that is not the purpose:
 * 2,048 connections, 8 KiB of headers, bodies of requests up to 64 KiB (read and dropped), 10 s from a request's first
 * byte to its last, body included, ten minutes of idleness. One loop, one thread. */
#ifndef OPS_IMDS_SERVE_H
#define OPS_IMDS_SERVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct serve;
struct serve_conn;
struct event_base;
struct evbuffer;

enum { SERVE_METHOD_MAX = 15, SERVE_TARGET_MAX = 2047, SERVE_HEADER_MAX = 511 };

/* Views that live until the callback returns. */
struct serve_request {
    const char *method;
    char *path;                                    /* without the query; may be written into */
    char *query;                                   /* behind the '?', "" : none */
    const char *token, *token_ttl, *forwarded_for; /* headers; NULL: none */
};

enum serve_how {
    SERVE_WHOLE,
    SERVE_SILENCE, /* nothing, on a connection that stays */
    SERVE_RESET,
    SERVE_BROKEN,  /* bytes that are no HTTP */
    SERVE_TRICKLE, /* a body that never ends, byte by byte */
    SERVE_FLOOD    /* one that never ends, as fast as it is read */
};

struct serve_answer {
    int status;
    const char *type;      /* of the body */
    const char *headers;   /* more of them, each with its \r\n; NULL: none */
    struct evbuffer *body; /* taken */
    uint32_t delay_ms;     /* before the first byte; who ends the connection before that gets nothing */
    enum serve_how how;
    bool close; /* the connection, after it */
    /* Called as a whole answer goes out, with the time (Unix ms) of serve_reply(); NULL: nobody wants to know. */
    void (*sent)(void *arg, const void *what, uint64_t asked_ms);
    void *sent_arg;
    const void *sent_what;
};

/* Each request is answered once: inside the callback, by serve_reply(). */
typedef void serve_cb(void *arg, struct serve_conn *c, const struct serve_request *r);

/* port 0: any. NULL: why says why not. */
struct serve *serve_open(struct event_base *base, const char *address, uint16_t port, serve_cb *cb, void *arg,
                         char *why, size_t why_bytes);
uint16_t serve_port(const struct serve *s);
void serve_close(struct serve *s); /* NULL is fine; with its connections */

void serve_reply(struct serve_conn *c, const struct serve_answer *a);
/* Kept for the caller as long as the connection lives; starts as NULL. */
void **serve_tag(struct serve_conn *c);
const char *serve_reason(int status); /* "Not Found" */

#endif
