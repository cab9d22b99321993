/* socket.h - a player's TCP connection to a gateway, as player_ops sees it.
 *
 * Bytes travel in order, late, and in pieces cut anywhere. A gateway that does
 * not read gets nothing more; what it left is offered again. One player holds
 * one end and learns of the end of the connection by a call. */
#ifndef TESTS_SIM_SOCKET_H
#define TESTS_SIM_SOCKET_H

#include <stddef.h>

#include "tests/sim/hosts.h"

struct sim_socket;
struct socket_ears {
    void (*bytes)(void *player, const char *data, size_t len);
    /* by_gateway: of its own accord; else it died */
    void (*closed)(void *player, struct sim_socket *k, const char *why, bool by_gateway);
};

extern const struct player_ops sim_player_ops; /* ctx: struct host * */

/* The socket stays valid until sockets_free(), closed or not. */
struct sim_socket *socket_open(struct host *gateway, const struct socket_ears *ears, void *player);
void socket_write(struct sim_socket *k, const char *data, size_t len);
void socket_close(struct sim_socket *k);      /* by the player; no closed() for it */
bool socket_idle(const struct sim_socket *k); /* nothing on its way, either way */
struct host *socket_gateway(const struct sim_socket *k);
void sockets_gateway_gone(struct host *gateway);
void sockets_init(struct sim *s);
void sockets_free(struct sim *s);

#endif
