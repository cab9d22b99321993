/* node.h - a node: the owner of some of the world's cells.
 *
 * The whole of a node but for its sockets: who owns what (own/), what is in it
 * (world/), where it is kept (persist/), and the gateways' end (serve.c). A pure
 * state machine: messages, replies and the time come in through the functions
 * below; what it wants done goes out through net_ops, coord and store. main.c
 * gives it the real ones, tests/sim gives it models of them.
 *
 * Used on one thread. now_ms is monotonic, unix_ms the wall clock. */
#ifndef NODE_NODE_H
#define NODE_NODE_H

#include <stdbool.h>
#include <stdint.h>

#include "node/store/store.h"
#include "proto/imds/notice.h"
#include "proto/redis/coord.h"
#include "proto/wire/net.h"

struct node_settings {
    uint32_t lease_ms;         /* 3000; renewed every third of it */
    uint32_t flush_ms;         /* oldest that a dirty row may get in memory */
    uint32_t tick_ms;          /* presence frames */
    uint32_t idle_cell_ms;     /* a cell without subscriber is released after this */
    uint32_t places_ms;        /* players' places are saved this often */
    uint32_t cell_pending_max; /* edits of one cell that wait for Redis; more stay with their gateways */
    uint32_t at_risk_quiet_ms; /* a rebalance recommendation is over when nothing followed it for so long */
    uint32_t maintenance_ms;   /* a scheduled maintenance that is nearer means leaving */
    uint32_t followers_rows;   /* of copies elsewhere of the most visited cells, while running; 0: none */
    bool wait_for_checked;     /* claims nothing before node_checked(): somebody watches the instance's metadata */
    char address[COORD_ADDRESS_MAX + 1];
    char pool[COORD_POOL_MAX + 1];
    char instance[COORD_INSTANCE_MAX + 1]; /* the machine's name */
};
void node_settings_default(struct node_settings *s);

struct node_env {
    const struct net_ops *net;
    void *net_ctx;
    struct coord *coord;
    struct store *store;
    uint64_t (*now_ms)(void *clock);
    uint64_t (*unix_ms)(void *clock);
    uint64_t (*cpu_us)(void *clock); /* that this thread used; NULL: not measured */
    void *clock;
    uint64_t seed; /* of its random choices */
};

struct node;
/* id: this start's incarnation, random and not 0. */
struct node *node_new(uint64_t id, const struct node_settings *s, const struct node_env *env);
void node_free(struct node *n); /* drops everything as a crash would; no request may come back after it but to
                                   coord/store of its own */

extern const struct net_events node_net_events; /* owner: struct node * */

/* Every ~10 ms: leases, ticks, flushes, retries. The hot path (edits) does not wait for it. */
void node_tick(struct node *n);

/* ---- whether it stays: node/own/spot.h ---- */
/* What the instance's metadata says. As often as it is found: only news are acted on. told_unix_ms: the deadline,
 * of a rebalance recommendation when it was made; 0: not said. */
void node_notice(struct node *n, enum notice_kind kind, uint64_t told_unix_ms);
void node_notice_withdrawn(struct node *n, enum notice_kind kind);
/* "type/zone/spot": what is taken away together. Told in the lease at once, as is the machine's name. */
void node_set_pool(struct node *n, const char *pool);
void node_set_instance(struct node *n, const char *instance_id);
/* The metadata was looked at for the first time, or there is none (see wait_for_checked). */
void node_checked(struct node *n);

/* Told to stop: claims nothing more, hands everything over, then node_stopped() says true.
 * After deadline_ms it is true whatever is left. */
void node_stop(struct node *n, uint32_t deadline_ms);
bool node_stopped(const struct node *n);

/* Gives every cell to other nodes, claims nothing, and stays: a cell that nobody takes is served on. False: not now
 * (it has not joined yet, or is stopping). */
bool node_drain(struct node *n);
/* Takes part again; what is on its way goes on. False: it is stopping. */
bool node_undrain(struct node *n);

/* Why it can never run (the world's constants differ), or NULL. */
const char *node_failed(const struct node *n);
/* NULL when ready; else what is missing, in a few words. */
const char *node_not_ready(const struct node *n);

/* For /metrics, /status and the simulator's checks. */
struct node_stats {
    unsigned cells, cells_serving, players, links;
    uint32_t load; /* what it tells */
    enum node_state state;
    unsigned cells_left; /* leaving, with a deadline: those that must go yet */
    double seconds_left; /* ... until then */
    bool in_danger;      /* ... and it looks as if that were not enough */
    unsigned followed;   /* cells of which others keep copies */
    uint64_t followed_rows;
    unsigned journal_batches; /* kept, as the store does not have them */
    uint64_t oldest_dirty_ms; /* age of the oldest row that the store does not have */
    unsigned pending_edits;
};
void node_stats(const struct node *n, struct node_stats *out);

struct evbuffer;
void node_status_json(const struct node *n, struct evbuffer *out);

#endif
