/* hosts.h - the simulated processes: nodes and gateways that start, stop, freeze and die.
 *
 * A host is one incarnation of one program. Whatever comes in from outside goes
 * through host_input(): a dead host never sees it, a frozen one (a paused
 * virtual machine, a SIGSTOP) sees all of it at once, in order, when it wakes.
 * Hosts are kept to the end, so that what still travels may point to them. */
#ifndef TESTS_SIM_HOSTS_H
#define TESTS_SIM_HOSTS_H

#include <stdbool.h>
#include <stdint.h>

#include "gateway/gateway.h"
#include "node/node.h"
#include "tests/sim/sim.h"

enum { HOSTS_MAX = 96 };

enum host_death {
    DEATH_PROCESS, /* the machine lives on: its kernel says what happened */
    DEATH_MACHINE  /* silence */
};

struct host_pending;
struct host {
    struct sim *sim;
    enum role role;
    unsigned index;
    uint64_t id; /* the incarnation */
    char name[8];
    char address[COORD_ADDRESS_MAX + 1];
    uint64_t born_us, clock_offset_ms;
    bool alive, frozen, silent; /* silent: the machine is gone, or cut off: nothing answers a dial */
    bool stopping, held;
    bool told, hinted; /* that it must go, or may have to: notices.h */
    struct node *node;
    struct gateway *gateway;
    struct coord coord;
    struct store store;
    struct rpc_conn *leases, *commands, *rows; /* its connections to Redis (two) and to the store */
    struct host_pending *backlog;
};

struct sim_hosts {
    struct host *all[HOSTS_MAX];
    unsigned n;
};

void hosts_init(struct sim *s);
void hosts_end_all(struct sim *s); /* before time is freed: what the living still wait for comes to nothing */
void hosts_free(struct sim *s);

struct host *host_start_node(struct sim *s);
struct host *host_start_gateway(struct sim *s);
void host_kill(struct host *h, enum host_death death);
void host_freeze(struct host *h);
void host_wake(struct host *h);
void host_stop(struct host *h); /* SIGTERM; the host ends by itself */

uint64_t host_unix_ms(void *host);
unsigned hosts_count(const struct sim *s, enum role role); /* the living */
/* One of the living, at random; NULL when there is none. awake: not frozen and not stopping. */
struct host *hosts_pick(struct sim *s, enum role role, bool awake);
struct host *hosts_find(struct sim *s, uint64_t id); /* dead ones too; NULL */

typedef void host_input_fn(struct host *h, void *arg);
typedef void host_drop_fn(void *arg);
/* run() owns arg from then on; drop() when it never runs. */
void host_input(struct host *h, host_input_fn *run, host_drop_fn *drop, void *arg);

static inline const struct net_events *host_events(const struct host *h)
{
    return h->role == ROLE_NODE ? &node_net_events : &gateway_net_events;
}
static inline void *host_owner(const struct host *h)
{
    return h->role == ROLE_NODE ? (void *)h->node : (void *)h->gateway;
}

#endif
