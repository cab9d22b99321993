/* gateway.h - a gateway: holds the players' sockets, and nothing that cannot be rebuilt.
 *
 * The whole of a gateway but for its sockets: sessions, the edits that are not
 * yet answered, who holds which chunk, which node owns which cell. A pure state
 * machine, like node.h: the players' bytes, the nodes' messages, Redis's replies
 * and the time come in; bytes, messages and requests go out. main.c gives it
 * real sockets, tests/sim gives it models.
 *
 * Used on one thread. now_ms is monotonic; unix_ms the wall clock (the day's hour). */
#ifndef GATEWAY_GATEWAY_H
#define GATEWAY_GATEWAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/redis/coord.h"
#include "proto/wire/net.h"

struct gateway_settings {
    uint32_t lease_ms;          /* 3000 */
    uint32_t presence_chunks;   /* players further away are not shown: 8 */
    uint32_t visible_max;       /* other players that a client is shown: 127 */
    uint32_t session_edits_max; /* unanswered edits of a session, then its socket is not read: 4096 */
    uint32_t out_soft_bytes;    /* queued for a client: above it positions are left out */
    uint32_t out_hard_bytes;    /* above it the client is closed */
    uint32_t sessions_max;
    uint32_t silence_ms;     /* a session that was sent nothing for so long is sent a line that clients ignore: 30000 */
    uint32_t day_length_s;   /* 600 */
    uint32_t park_notice_ms; /* edits or chunks that wait for an owner this long: one line of chat */
    char address[COORD_ADDRESS_MAX + 1]; /* told in its lease */
};
void gateway_settings_default(struct gateway_settings *s);

/* Players' sockets. player: a number that is never used twice in a process. Nothing is called back from inside these.
 */
struct player_ops {
    void (*send)(void *ctx, uint64_t player, struct blob *b);                /* by reference */
    void (*write)(void *ctx, uint64_t player, const void *data, size_t len); /* copies */
    size_t (*queued)(void *ctx, uint64_t player);                            /* bytes that its socket has not taken */
    void (*close)(void *ctx, uint64_t player, const char *why); /* gateway_player_gone() is not called for it */
    void (*read)(void *ctx, uint64_t player, bool on);          /* stop or go on reading its socket */
};

struct gateway_env {
    const struct net_ops *net;
    void *net_ctx;
    const struct player_ops *players;
    void *players_ctx;
    struct coord *coord;
    uint64_t (*now_ms)(void *clock);
    uint64_t (*unix_ms)(void *clock);
    void *clock;
    uint64_t seed;
};

struct gateway;
/* id: this start's incarnation, random and not 0: the first half of its session ids. */
struct gateway *gateway_new(uint64_t id, const struct gateway_settings *s, const struct gateway_env *env);
void gateway_free(struct gateway *g); /* drops everything as a crash would: nobody is told */

extern const struct net_events gateway_net_events; /* owner: struct gateway * */
/* The events channel: arg is the struct gateway *. */
void gateway_on_event(void *gateway, const void *data, size_t len);
void gateway_on_events_interrupted(void *gateway);

/* A socket was accepted; from: its address, for the log. */
void gateway_player_new(struct gateway *g, uint64_t player, const char *from);
/* Bytes from it. Takes all of them, but while the session is not read it may leave some:
 * returns how many were used; the rest is offered again once read(on) was called. */
size_t gateway_player_bytes(struct gateway *g, uint64_t player, const char *data, size_t len);
void gateway_player_gone(struct gateway *g, uint64_t player, const char *why);

void gateway_tick(struct gateway *g); /* every ~10 ms */

/* Told to stop: not ready any more, still accepts; warns the players in chat; at the deadline, or when nobody is left,
 * closes all and gateway_stopped() says true. Told again: the earlier deadline counts. */
void gateway_stop(struct gateway *g, uint32_t deadline_ms);
bool gateway_stopped(const struct gateway *g);
/* Why it can never serve (the world's constants differ), or NULL. */
const char *gateway_failed(const struct gateway *g);
const char *gateway_not_ready(const struct gateway *g); /* NULL when ready */

struct gateway_stats {
    unsigned players, cells, cells_parked, links;
    unsigned unanswered_edits;
};
void gateway_stats(const struct gateway *g, struct gateway_stats *out);

struct evbuffer;
void gateway_status_json(const struct gateway *g, struct evbuffer *out);

#endif
