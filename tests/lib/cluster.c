#include "tests/lib/cluster.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "proto/base/mem.h"
#include "tests/lib/probe.h"

#define WORLD  "test"
#define SECRET "a secret of this test"

enum { FLAGS_MAX = 48, TEXT_MAX = LAB_PATH_MAX + 64 };

bool member_start(struct member *m)
{
    struct cluster *c = m->cluster;
    char program[TEXT_MAX], listen[32], admin[32];
    const char *const *more = m->gateway ? c->conf.gateway_args : c->conf.node_args;
    const char *what = m->gateway ? "gateway" : "node";
    const char *argv[FLAGS_MAX];
    unsigned n = 0;
    snprintf(program, sizeof program, "%s/%s/%s", m->older ? m->older : build_dir(), what, what);
    snprintf(listen, sizeof listen, "127.0.0.1:%u", m->listen_port);
    snprintf(admin, sizeof admin, "127.0.0.1:%u", m->admin_port);
    const char *always[] = {program, "--world", WORLD, "--redis",  c->redis.url, "--listen",
                            listen,  "--admin", admin, "--secret", SECRET,       NULL};
    const char *imds[] = {"--imds", m->imds[0] ? m->imds : "none", NULL};
    const char *node_only[] = {"--store", c->store_url, "--advertise", listen, NULL};
    for (const char **a = always; *a; a++)
        argv[n++] = *a;
    for (const char **a = node_only; *a && !m->gateway; a++)
        argv[n++] = *a;
    for (const char **a = imds; *a && !m->older; a++) /* the older ones know nothing of it */
        argv[n++] = *a;
    for (unsigned i = 0; i < CLUSTER_ARGS_MAX && more[i]; i++)
        argv[n++] = more[i];
    argv[n] = NULL;
    m->proc = proc_start(c->lab, &(struct proc_conf){.name = m->name, .argv = argv, .env = c->conf.env});
    return m->proc != NULL;
}

bool member_is_ready(struct member *m)
{
    return m->proc && proc_alive(m->proc) && http_get(m->admin_port, "/readyz", NULL) == 200;
}

static bool ready_or_dead(void *arg)
{
    struct member *m = arg;
    return !m->proc || !proc_alive(m->proc) || member_is_ready(m);
}

bool member_wait_ready(struct member *m, unsigned ms)
{
    char what[64];
    snprintf(what, sizeof what, "%s to be ready", m->name);
    bool came = until(ready_or_dead, m, ms, what);
    if (came && m->proc && proc_alive(m->proc))
        return true;
    fprintf(stderr, "%s is not ready\n", m->name);
    return false;
}

int member_stop(struct member *m, unsigned ms)
{
    int status;
    proc_signal(m->proc, SIGTERM);
    if (!proc_wait(m->proc, ms, &status)) {
        fprintf(stderr, "%s did not stop within %u ms\n", m->name, ms);
        return -1;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool member_metric(struct member *m, const char *name, const char *label, double *value)
{
    char *text = NULL;
    bool found = http_get(m->admin_port, "/metrics", &text) == 200 && metric_find(text, name, label, value);
    free(text);
    return found;
}

double member_metric_or(struct member *m, const char *name, double otherwise)
{
    double v;
    return m->proc && proc_alive(m->proc) && member_metric(m, name, "", &v) ? v : otherwise;
}

struct metric_wait {
    struct member *m;
    const char *name;
    double least;
};

static bool metric_reached(void *arg)
{
    struct metric_wait *w = arg;
    return member_metric_or(w->m, w->name, w->least - 1) >= w->least;
}

bool member_wait_metric(struct member *m, const char *name, double least, unsigned ms)
{
    char what[160];
    struct metric_wait w = {m, name, least};
    snprintf(what, sizeof what, "%s of %s to reach %g", name, m->name, least);
    return until(metric_reached, &w, ms, what);
}

char *member_status(struct member *m)
{
    char *text = NULL;
    if (http_get(m->admin_port, "/status", &text) == 200)
        return text;
    free(text);
    return NULL;
}

double member_status_number(struct member *m, const char *name, double otherwise)
{
    double v;
    char *text = m->proc && proc_alive(m->proc) ? member_status(m) : NULL;
    if (!text || !json_number(text, name, &v))
        v = otherwise;
    free(text);
    return v;
}

static struct member *add_member(struct cluster *c, bool gateway)
{
    unsigned i = gateway ? c->n_gateways++ : c->n_nodes++;
    struct member *m = gateway ? &c->gateway[i] : &c->node[i];
    *m = (struct member){.cluster = c, .gateway = gateway, .admin_port = port_pick()};
    m->listen_port = gateway ? c->port : port_pick();
    snprintf(m->name, sizeof m->name, "%s%u", gateway ? "gateway" : "node", i);
    if (c->conf.imds && imds_say(&c->imds, "%s", m->name))
        imds_endpoint(&c->imds, m->imds, m->name);
    return m;
}

struct member *cluster_new_node(struct cluster *c)
{
    if (c->n_nodes == CLUSTER_MEMBERS_MAX)
        abort(); /* the caller's mistake */
    return add_member(c, false);
}

struct member *cluster_new_gateway(struct cluster *c)
{
    if (c->n_gateways == CLUSTER_MEMBERS_MAX)
        abort(); /* the caller's mistake */
    return add_member(c, true);
}

bool cluster_add_node(struct cluster *c)
{
    struct member *m = cluster_new_node(c);
    return member_start(m) && member_wait_ready(m, CLUSTER_READY_MS);
}

static bool knows_the_others(void *arg)
{
    struct member *m = arg;
    unsigned alive = 0;
    for (unsigned i = 0; i < m->cluster->n_nodes; i++)
        alive += m->cluster->node[i].proc && proc_alive(m->cluster->node[i].proc);
    return member_status_number(m, "members", 0) >= alive;
}

bool cluster_ready(struct cluster *c, unsigned ms)
{
    for (unsigned i = 0; i < c->n_nodes; i++)
        if (!member_wait_ready(&c->node[i], ms))
            return false;
    for (unsigned i = 0; i < c->n_gateways; i++)
        if (!member_wait_ready(&c->gateway[i], ms))
            return false;
    for (unsigned i = 0; i < c->n_nodes; i++) /* before: it is alone, and takes every cell that is asked for */
        if (!until(knows_the_others, &c->node[i], ms, "a node knows the others"))
            return false;
    return true;
}

static bool start_members(struct cluster *c)
{
    for (unsigned i = 0; i < c->n_nodes; i++)
        if (!member_start(&c->node[i]))
            return false;
    for (unsigned i = 0; i < c->n_gateways; i++)
        if (!member_start(&c->gateway[i]))
            return false;
    return cluster_ready(c, CLUSTER_READY_MS);
}

bool postgres_migrate(struct postgres *p)
{
    const char *argv[] = {"sh", "ops/migrate.sh", p->url, NULL};
    return proc_run(p->lab, &(struct proc_conf){.name = "migrate", .argv = argv}, SERVICE_START_MS);
}

static bool start_store(struct cluster *c)
{
    if (c->conf.store == CLUSTER_SQLITE) {
        char path[LAB_PATH_MAX];
        snprintf(c->store_url, sizeof c->store_url, "sqlite:%s", lab_path(c->lab, path, "world.db"));
        return true;
    }
    if (!postgres_init(&c->postgres, c->lab))
        return false;
    c->postgres.fsync = c->conf.store_fsync;
    snprintf(c->store_url, sizeof c->store_url, "%s", c->postgres.url);
    return postgres_start(&c->postgres) && postgres_migrate(&c->postgres);
}

struct cluster *cluster_new(const char *name, const struct cluster_conf *conf)
{
    struct cluster *c = mem_zalloc(sizeof *c);
    c->lab = lab_new(name);
    c->conf = *conf;
    c->port = port_pick();
    redis_init(&c->redis, c->lab);
    if (conf->imds && !imds_mock_start(&c->imds, c->lab, NULL)) {
        cluster_free(c);
        return NULL;
    }
    for (unsigned i = 0; i < conf->nodes && i < CLUSTER_MEMBERS_MAX; i++)
        add_member(c, false);
    for (unsigned i = 0; i < conf->gateways && i < CLUSTER_MEMBERS_MAX; i++)
        add_member(c, true);
    if (redis_start(&c->redis) && start_store(c) && start_members(c))
        return c;
    cluster_free(c);
    return NULL;
}

void cluster_kill(struct cluster *c)
{
    for (unsigned i = 0; i < c->n_nodes; i++)
        proc_signal(c->node[i].proc, SIGKILL);
    for (unsigned i = 0; i < c->n_gateways; i++)
        proc_signal(c->gateway[i].proc, SIGKILL);
    proc_signal(c->redis.proc, SIGKILL);
    if (c->conf.store == CLUSTER_POSTGRES)
        proc_kill(c->postgres.proc);
    for (unsigned i = 0; i < c->n_nodes; i++)
        proc_kill(c->node[i].proc);
    for (unsigned i = 0; i < c->n_gateways; i++)
        proc_kill(c->gateway[i].proc);
    proc_kill(c->redis.proc);
}

bool cluster_restart(struct cluster *c)
{
    return redis_start(&c->redis) && (c->conf.store != CLUSTER_POSTGRES || postgres_start(&c->postgres)) &&
           start_members(c);
}

void cluster_passed(struct cluster *c)
{
    lab_passed(c->lab);
}

void cluster_free(struct cluster *c)
{
    if (!c)
        return;
    lab_free(c->lab);
    free(c);
}
