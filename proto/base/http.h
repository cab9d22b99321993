/* http.h - the admin pages of a process, for operators, probes and Prometheus.
 *
 *   /healthz  200 while the loop turns          /metrics  Prometheus's text format
 *   /readyz   200, or 503 with what is missing  /status   JSON        /  what is here
 *
 * GET and HEAD, one request a connection, answered and closed. A connection
 * lives 10 seconds at most, whatever it does; its headers may have 8 KiB; there
 * are 64 at most, and when one more comes the oldest goes, so that a probe gets
 * through however many others hang. A PROXY header (version 2) in front of the
 * request is skipped: a load balancer that sends them to players sends them with
 * its health checks, too, and nothing here depends on who asks. Anything else is
 * told why not. One thread, the loop's. */
#ifndef PROTO_BASE_HTTP_H
#define PROTO_BASE_HTTP_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"

struct admin_http;
struct event_base;
struct evbuffer;

/* Each may be NULL. None may close the admin_http. */
struct admin_ops {
    const char *(*not_ready)(void *arg); /* NULL: ready */
    void (*refresh)(void *arg);          /* before /metrics: set what is a gauge */
    void (*status)(void *arg, struct evbuffer *json);
};

/* Listens on "127.0.0.1:9100", "[::1]:9100", "localhost:0" (port 0: any free one) or ":9100" (all addresses).
 * ERR_BAD: not an address; ERR_IO: cannot listen there; why says which and why. */
enum err admin_http_open(struct event_base *base, const char *host_port, const struct admin_ops *ops, void *arg,
                         struct admin_http **out, char *why, size_t why_bytes);
/* How long the connections that come from now on may live, if not 10 seconds. */
void admin_http_set_life(struct admin_http *h, uint32_t ms);
uint16_t admin_http_port(const struct admin_http *h);
void admin_http_close(struct admin_http *h); /* NULL is fine; with the connections that it has */

#endif
