/* cluster.h - a whole cluster of real programs: Redis, a store, nodes, and gateways on one port.
 *
 * Every member can be killed, paused, told to stop and started again by itself; the data stays in the lab. Gateways
 * share the players' port (SO_REUSEPORT): the kernel spreads the players over them. Waits have deadlines and say what
 * did not come. */
#ifndef TESTS_LIB_CLUSTER_H
#define TESTS_LIB_CLUSTER_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/lib/imds_mock.h"
#include "tests/lib/services.h"

enum { CLUSTER_MEMBERS_MAX = 16, CLUSTER_ARGS_MAX = 16, CLUSTER_READY_MS = 20000 };

enum cluster_store { CLUSTER_SQLITE, CLUSTER_POSTGRES };

struct cluster_conf {
    unsigned nodes, gateways;
    enum cluster_store store;
    bool store_fsync;                        /* PostgreSQL only; SQLite always does */
    const char *node_args[CLUSTER_ARGS_MAX]; /* more flags for every node, NULL-terminated */
    const char *gateway_args[CLUSTER_ARGS_MAX];
    const char *const *env; /* for every program: "FAULTS=..." */
    bool imds;              /* each member watches a metadata service of its own name, played by spotcraft-imds */
};

struct cluster;
struct member {
    struct cluster *cluster;
    char name[32]; /* "node0", "gateway1" */
    bool gateway;
    struct proc *proc;    /* NULL: not started yet */
    uint16_t admin_port;  /* stays over restarts, as do the others */
    uint16_t listen_port; /* node: for peers. gateway: the shared players' port */
    char imds[128];       /* its metadata endpoint, for member_start(); empty: none */
    const char *older; /* the build directory of an older version, to start it from there; NULL: the one under test */
};

struct cluster {
    struct lab *lab;
    struct cluster_conf conf;
    struct redis redis;
    struct imds_mock imds; /* if conf.imds */
    struct postgres postgres;
    uint16_t port; /* of the players */
    char store_url[LAB_PATH_MAX + 16];
    struct member node[CLUSTER_MEMBERS_MAX], gateway[CLUSTER_MEMBERS_MAX];
    unsigned n_nodes, n_gateways;
};

/* Starts everything and waits until all are ready. NULL: it did not come up; what is known is on stderr. */
struct cluster *cluster_new(const char *name, const struct cluster_conf *conf);
void cluster_free(struct cluster *c); /* kills all; NULL is fine */
void cluster_passed(struct cluster *c);

struct member *cluster_new_node(struct cluster *c); /* one more, not started; at most CLUSTER_MEMBERS_MAX */
struct member *cluster_new_gateway(struct cluster *c);
bool cluster_add_node(struct cluster *c); /* one more, started, waits until it is ready */
bool cluster_ready(struct cluster *c, unsigned ms);
void cluster_kill(struct cluster *c);    /* everything, SIGKILL */
bool cluster_restart(struct cluster *c); /* after cluster_kill(): everything, over the same data */

/* Starts it without waiting for more than the fork. */
bool member_start(struct member *m);
bool member_wait_ready(struct member *m, unsigned ms);
bool member_is_ready(struct member *m);
/* SIGTERM, and its end within ms: its exit code, -1 if it was a signal's or did not come. */
int member_stop(struct member *m, unsigned ms);
bool member_metric(struct member *m, const char *name, const char *label, double *value);
double member_metric_or(struct member *m, const char *name, double otherwise);
/* Waits until a metric is at least `least`. */
bool member_wait_metric(struct member *m, const char *name, double least, unsigned ms);
double member_status_number(struct member *m, const char *name,
                            double otherwise); /* the first of that name in /status */
char *member_status(struct member *m);         /* /status; NULL: none. The caller frees */

/* Applies the SQL migrations to a PostgreSQL, as an operator would. */
bool postgres_migrate(struct postgres *p);

#endif
