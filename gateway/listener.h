/* listener.h - the players' sockets: accepts them, reads and writes for a struct gateway, closes them when it says so.
 *
 * Opened before the gateway, which is given listener_player_ops with the listener as context; listener_start() then
 * begins to accept. Several processes may share a port (SO_REUSEPORT). What the gateway writes in one turn of the loop
 * leaves in one write; what it leaves unread stays here until it reads on. A player is refused with a reason while
 * descriptors are short: some stay in reserve for nodes, Redis and the admin page. Closing is a request: what is queued
 * is still sent, for a moment. One thread.
 *
 * Behind load balancers (proxy_headers above 0) a connection says first, in PROXY protocol headers, whom it is passed
 * on for: see origin.h. The gateway hears of it when that is settled; a health check, which ends before, is no player.
 * Who says it wrongly, not at all or too late is closed. So is one player more than may come from an address. */
#ifndef GATEWAY_LISTENER_H
#define GATEWAY_LISTENER_H

#include "gateway/gateway.h"

enum { LISTENER_RESERVE = 64 /* descriptors that players never get */ };

struct event_base;
struct listener;

struct listener_conf {
    struct event_base *base;
    const char *address;    /* numeric host:port, port 0: any */
    uint64_t files;         /* descriptors that this process may have; 0: ask the system */
    unsigned proxy_headers; /* that our proxies put in front of each connection; 0: players connect directly */
    uint32_t header_ms;     /* they must have come by then; 0: 5000 */
    uint32_t address_max;   /* players from one address; 0: any number */
};
/* ERR_BAD: not an address; ERR_IO: cannot bind; *why says which and why. */
enum err listener_open(const struct listener_conf *conf, struct listener **out, char *why, size_t why_bytes);
void listener_start(struct listener *l, struct gateway *g);
extern const struct player_ops listener_player_ops; /* ctx: struct listener * */
int listener_port(const struct listener *l);
/* Accepts who waits already, then nobody: who comes now is for another process on that port. Its players stay. Again:
 * nothing. */
void listener_leave_port(struct listener *l);
/* Stops accepting and closes every socket; the gateway hears of none. */
void listener_close(struct listener *l);

#endif
