#include "tests/sim/rpc.h"

#include <stdlib.h>
#include <utlist.h>

#include "proto/base/mem.h"

enum { AGAIN_MS_MAX = 300, LATE_US_MAX = 40000 };

/* One request under way. Three things end it: the server is through with the copy, the caller was answered, the
 * deadline has passed; it is freed after the last of them. */
struct call {
    struct rpc_conn *conn;
    void *req;  /* the caller's; NULL once answered or abandoned */
    void *copy; /* NULL: not at the server any more, and no answer under way */
    bool lost;  /* will not be applied */
    bool applied;
    bool mute; /* the answer is lost */
    bool listed;
    unsigned refs;
    enum err err; /* of the answer on its way to the caller */
    struct call *prev, *next;
};

struct rpc_conn {
    struct host *host;
    struct rpc_server *server;
    const char *name;
    uint64_t refused_until_us;
    uint64_t last_arrival_us, last_reply_us;
    struct call *calls; /* unanswered, oldest first */
};

struct rpc_conn *rpc_open(struct host *h, struct rpc_server *server, const char *name)
{
    struct rpc_conn *c = mem_zalloc(sizeof *c);
    *c = (struct rpc_conn){.host = h, .server = server, .name = name};
    return c;
}

static void call_unref(struct call *k)
{
    if (--k->refs > 0)
        return;
    if (k->listed)
        DL_DELETE(k->conn->calls, k);
    k->conn->server->ops->free_req(k->copy);
    k->conn->server->ops->free_req(k->req);
    free(k);
}

static void call_drop(void *arg)
{
    call_unref(arg);
}

/* At the caller: the answer, or that there is none. */
static void hear(struct host *h, void *arg)
{
    struct call *k = arg;
    const struct rpc_ops *ops = k->conn->server->ops;
    if (k->req) {
        void *req = k->req;
        k->req = NULL;
        if (k->listed)
            DL_DELETE(k->conn->calls, k);
        k->listed = false;
        if (k->err == ERR_OK)
            ops->answer(req, k->copy);
        else
            sim_note(h->sim, "%s %s %s: %s", h->name, k->conn->name, ops->name(req), err_text(k->err));
        ops->done(req, k->err);
    }
    call_unref(k);
}

static void on_answer(void *arg)
{
    struct call *k = arg;
    host_input(k->conn->host, hear, call_drop, k);
}

static void hear_deadline(struct host *h, void *arg)
{
    struct call *k = arg;
    if (k->req)
        k->err = ERR_TIMEOUT;
    hear(h, k);
}

static void on_deadline(void *arg)
{
    struct call *k = arg;
    host_input(k->conn->host, hear_deadline, call_drop, k);
}

static void on_arrival(void *arg)
{
    struct call *k = arg;
    struct rpc_conn *c = k->conn;
    struct sim *s = c->host->sim;
    const struct rpc_server *server = c->server;
    if (!k->lost && server->stall_until_us > s->sched.now_us) {
        sched_at(&s->sched, server->stall_until_us, on_arrival, call_drop, k);
        return;
    }
    if (k->lost || server->away_until_us > s->sched.now_us) {
        call_unref(k);
        return;
    }
    server->ops->apply(c->host, k->copy);
    k->applied = true;
    if (!k->req || k->mute || k->err != ERR_OK) {
        call_unref(k);
        return;
    }
    uint64_t at = s->sched.now_us + sim_latency(s);
    c->last_reply_us = at = at > c->last_reply_us ? at : c->last_reply_us;
    sched_at(&s->sched, at, on_answer, call_drop, k);
}

/* The caller hears soon that there will be no answer. */
static void fail_soon(struct call *k, enum err e)
{
    struct sim *s = k->conn->host->sim;
    k->err = e;
    k->mute = true;
    k->refs++;
    sched_at(&s->sched, s->sched.now_us + sim_latency(s), on_answer, call_drop, k);
}

void rpc_submit(struct rpc_conn *c, void *req)
{
    struct sim *s = c->host->sim;
    const struct rpc_server *server = c->server;
    if (!c->host->alive) { /* its last gasp */
        server->ops->done(req, ERR_IO);
        return;
    }
    struct call *k = mem_zalloc(sizeof *k);
    *k = (struct call){.conn = c, .req = req, .refs = 1, .listed = true};
    DL_APPEND(c->calls, k);
    sched_at(&s->sched, s->sched.now_us + server->deadline_ms * 1000ull, on_deadline, call_drop, k);
    if (c->refused_until_us > s->sched.now_us || server->away_until_us > s->sched.now_us) {
        fail_soon(k, ERR_IO);
        return;
    }
    k->copy = server->ops->clone(req);
    k->refs++;
    if (server->fail_until_us > s->sched.now_us && sim_chance(s, 2)) {
        k->lost = sim_chance(s, 2);
        fail_soon(k, ERR_IO);
    }
    uint64_t at = s->sched.now_us + sim_latency(s);
    c->last_arrival_us = at = at > c->last_arrival_us ? at : c->last_arrival_us;
    sched_at(&s->sched, at, on_arrival, call_drop, k);
}

/* Of what had left, the first few get there all the same. */
static void lose_tail(struct rpc_conn *c)
{
    struct call *k;
    unsigned n = 0;
    DL_FOREACH (c->calls, k)
        n++;
    unsigned keep = rng_below(&c->host->sim->rng, n + 1);
    DL_FOREACH (c->calls, k) {
        if (keep > 0)
            keep--;
        else if (!k->applied)
            k->lost = true;
    }
}

void rpc_cut(struct rpc_conn *c)
{
    struct sim *s = c->host->sim;
    sim_note(s, "%s loses its connection %s", c->host->name, c->name);
    lose_tail(c);
    struct call *k;
    DL_FOREACH (c->calls, k) {
        if (k->err == ERR_OK)
            fail_soon(k, ERR_IO);
    }
    c->refused_until_us = s->sched.now_us + sim_between(s, 0, AGAIN_MS_MAX) * 1000;
    /* The next connection does not wait for this one: what is still under way may be overtaken. */
    c->last_arrival_us = c->last_reply_us = 0;
}

/* The dying state machine gets its requests back, so that nothing leaks; it has no way left to say anything. */
void rpc_abandon(struct rpc_conn *c)
{
    struct call *k;
    lose_tail(c);
    while ((k = c->calls)) {
        void *req = k->req;
        DL_DELETE(c->calls, k);
        k->listed = false;
        k->req = NULL;
        c->server->ops->done(req, ERR_IO);
    }
}

void rpc_free(struct rpc_conn *c)
{
    free(c);
}
