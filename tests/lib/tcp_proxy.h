/* tcp_proxy.h - a wire that misbehaves: it lags, tears writes into pieces, goes silent, and cuts.
 *
 * Listens on a port of 127.0.0.1 and passes bytes on to another, both ways, in order and without loss for as long as a
 * connection lives. Settings take effect for bytes that come in from then on. One loop, one thread. */
#ifndef TESTS_LIB_TCP_PROXY_H
#define TESTS_LIB_TCP_PROXY_H

#include <stdbool.h>
#include <stdint.h>

struct event_base;
struct tcp_proxy;

struct tcp_proxy *tcp_proxy_new(struct event_base *base, uint16_t to_port);
void tcp_proxy_free(struct tcp_proxy *p); /* cuts; NULL is fine */
uint16_t tcp_proxy_port(const struct tcp_proxy *p);
void tcp_proxy_lag(struct tcp_proxy *p, unsigned ms);     /* bytes are passed on this much later */
void tcp_proxy_tear(struct tcp_proxy *p, unsigned bytes); /* at most so many bytes a turn of the loop; 0: no limit */
void tcp_proxy_silence(struct tcp_proxy *p,
                       bool on);         /* nothing passes, connections stay: what a lost cable looks like */
void tcp_proxy_cut(struct tcp_proxy *p); /* resets all connections; new ones are welcome */
unsigned tcp_proxy_connections(const struct tcp_proxy *p);

#endif
