#include "tests/sim/redis.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/mem.h"
#include "tests/sim/check.h"
#include "tests/sim/rpc.h"
#include "tests/sim/tell.h"

enum { DEADLINE_MS = 2000, EVENTS_GAP_MS_MAX = 2000 };

struct sim_redis {
    struct model_redis *model;
    struct model_redis *replica; /* an earlier state of it; NULL: none kept */
    struct rpc_server server;
    enum redis_return back;
    unsigned absence; /* counts; a return of an older absence is none */
    uint64_t events_cut_until_us;
    uint64_t events_last_us;
};

static struct sim_redis *of(struct coord *c, struct host **h)
{
    *h = (struct host *)(void *)((char *)c - offsetof(struct host, coord));
    return (*h)->sim->redis;
}

/* ---- requests: what the server sees is a copy ---- */

static struct coord_batch *clone_batches(const struct coord_batch *batches, unsigned n)
{
    if (n == 0)
        return NULL;
    struct coord_batch *copy = mem_dup(batches, n * sizeof *batches);
    for (unsigned i = 0; i < n; i++)
        blob_ref(copy[i].bytes);
    return copy;
}

static void *clone(const void *arg)
{
    const struct coord_req *r = arg;
    struct coord_req *copy = coord_req_new(r->op, r->me, NULL, NULL);
    *copy = *r;
    switch (r->op) {
    case COORD_OWNERS:
    case COORD_CLAIM:
    case COORD_APPEND:
    case COORD_TRIM:
    case COORD_RELEASE:
    case COORD_TRANSFER:
        copy->cells.cells = mem_dup(r->cells.cells, r->cells.n * sizeof *r->cells.cells);
        for (unsigned i = 0; i < r->cells.n; i++) {
            if (r->cells.cells[i].batch)
                blob_ref(r->cells.cells[i].batch);
        }
        break;
    case COORD_RESTORE:
        copy->restore.batches = clone_batches(r->restore.batches, r->restore.n_batches);
        break;
    case COORD_NAME_PLACES:
        copy->names.names = r->names.n ? mem_dup(r->names.names, r->names.n * sizeof *r->names.names) : NULL;
        break;
    case COORD_PUBLISH:
        blob_ref(r->publish.event);
        break;
    default:
        break;
    }
    return copy;
}

struct event_copy {
    struct host *to;
    struct blob *bytes; /* NULL: the subscription is good again */
};

static void event_drop(void *arg)
{
    struct event_copy *e = arg;
    blob_unref(e->bytes);
    free(e);
}

static void event_read(struct host *h, void *arg)
{
    struct event_copy *e = arg;
    if (e->bytes)
        gateway_on_event(h->gateway, e->bytes->data, e->bytes->len);
    else
        gateway_on_events_interrupted(h->gateway);
    event_drop(e);
}

static void on_event(void *arg)
{
    struct event_copy *e = arg;
    host_input(e->to, event_read, event_drop, e);
}

/* Events keep their order: one clock for all. */
static void tell_gateways(struct sim *s, struct blob *bytes, uint64_t at_us)
{
    for (unsigned i = 0; i < s->hosts->n; i++) {
        struct host *h = s->hosts->all[i];
        if (h->role != ROLE_GATEWAY || !h->alive)
            continue;
        struct event_copy *e = mem_zalloc(sizeof *e);
        e->to = h;
        e->bytes = bytes ? blob_ref(bytes) : NULL;
        s->redis->events_last_us = at_us > s->redis->events_last_us ? at_us : s->redis->events_last_us;
        sched_at(&s->sched, s->redis->events_last_us, on_event, event_drop, e);
    }
}

static void apply(struct host *from, void *arg)
{
    struct coord_req *r = arg;
    struct sim *s = from->sim;
    model_redis_set_time(s->redis->model, sim_ms(s));
    check_redis_before(s, r);
    model_redis_apply(s->redis->model, r);
    check_redis_after(s, r);
    if (s->telling)
        tell_request(from, r);
    if (r->op == COORD_PUBLISH && s->redis->events_cut_until_us <= s->sched.now_us)
        tell_gateways(s, r->publish.event, s->sched.now_us + sim_latency(s));
}

/* The two change places; only whom to tell stays. */
static void answer(void *req, void *copy)
{
    struct coord_req *r = req, *c = copy, was = *r;
    *r = *c;
    *c = was;
    c->done = NULL;
    r->done = was.done;
    r->arg = was.arg;
}

static void done(void *req, enum err e)
{
    struct coord_req *r = req;
    if (e != ERR_OK)
        r->err = e;
    r->done(r, r->arg);
}

static void free_req(void *req)
{
    coord_req_free(req);
}

static const char *name(const void *req)
{
    return coord_op_name(((const struct coord_req *)req)->op);
}

static const struct rpc_ops ops = {
    .clone = clone, .apply = apply, .answer = answer, .done = done, .free_req = free_req, .name = name};

static void submit(struct coord *c, struct coord_req *r)
{
    struct host *h;
    of(c, &h);
    switch (r->op) {
    case COORD_JOIN_WORLD:
    case COORD_RENEW:
    case COORD_LEAVE:
    case COORD_BURY:
    case COORD_CLAIM:
        rpc_submit(h->leases, r);
        break;
    default:
        rpc_submit(h->commands, r);
        break;
    }
}

void redis_attach(struct host *h)
{
    static const struct coord_ops coord_ops = {.submit = submit};
    h->coord.ops = &coord_ops;
    h->leases = rpc_open(h, &h->sim->redis->server, "redis/leases");
    h->commands = rpc_open(h, &h->sim->redis->server, "redis/commands");
}

/* ---- the server ---- */

void redis_init(struct sim *s)
{
    struct sim_redis *r = mem_zalloc(sizeof *r);
    r->model = model_redis_new();
    r->server = (struct rpc_server){.name = "redis", .ops = &ops, .deadline_ms = DEADLINE_MS};
    s->redis = r;
}

void redis_free(struct sim *s)
{
    model_redis_free(s->redis->model);
    model_redis_free(s->redis->replica);
    free(s->redis);
}

struct model_redis *redis_model(struct sim *s)
{
    return s->redis->model;
}

void redis_cut(struct host *h)
{
    rpc_cut(h->leases);
    rpc_cut(h->commands);
}

static void cut_all(struct sim *s)
{
    for (unsigned i = 0; i < s->hosts->n; i++) {
        if (s->hosts->all[i]->alive)
            redis_cut(s->hosts->all[i]);
    }
}

static void on_events_again(void *arg)
{
    struct sim *s = arg;
    if (s->redis->events_cut_until_us <= s->sched.now_us)
        tell_gateways(s, NULL, s->sched.now_us);
}

static void cut_events(struct sim *s, uint64_t ms)
{
    uint64_t until = s->sched.now_us + ms * 1000;
    if (until > s->redis->events_cut_until_us)
        s->redis->events_cut_until_us = until;
    sched_at(&s->sched, until, on_events_again, NULL, s);
}

void redis_cut_events(struct sim *s)
{
    sim_note(s, "the events channel is interrupted");
    cut_events(s, sim_between(s, 1, EVENTS_GAP_MS_MAX));
}

void redis_stall(struct sim *s, uint64_t ms)
{
    sim_note(s, "redis stalls for %llu ms", (unsigned long long)ms);
    s->redis->server.stall_until_us = s->sched.now_us + ms * 1000;
}

void redis_keep_snapshot(struct sim *s)
{
    model_redis_free(s->redis->replica);
    s->redis->replica = model_redis_copy(s->redis->model);
}

struct redis_back {
    struct sim *sim;
    unsigned absence;
};

static void on_back(void *arg)
{
    struct redis_back *b = arg;
    struct sim_redis *r = b->sim->redis;
    if (b->absence == r->absence) {
        static const char *const how[] = {"as it was", "empty", "older"};
        sim_note(b->sim, "redis is back, %s", how[r->back]);
        model_redis_set_time(r->model, sim_ms(b->sim));
        if (r->back == REDIS_EMPTY) {
            model_redis_restart_empty(r->model);
        } else if (r->back == REDIS_OLDER && r->replica) {
            struct model_redis *was = r->model;
            r->model = r->replica;
            r->replica = NULL;
            model_redis_free(was);
            model_redis_set_time(r->model, sim_ms(b->sim));
            model_redis_new_run(r->model);
        }
        if (r->back != REDIS_INTACT)
            check_redis_went_back(b->sim);
        r->back = REDIS_INTACT;
    }
    free(b);
}

void redis_away(struct sim *s, uint64_t ms, enum redis_return back)
{
    struct sim_redis *r = s->redis;
    sim_note(s, "redis goes away for %llu ms", (unsigned long long)ms);
    /* What it lost once does not come back with a later absence. */
    if (back > r->back)
        r->back = back;
    r->server.away_until_us = s->sched.now_us + ms * 1000;
    cut_all(s);
    cut_events(s, ms);
    struct redis_back *b = mem_zalloc(sizeof *b);
    *b = (struct redis_back){.sim = s, .absence = ++r->absence};
    sched_at(&s->sched, r->server.away_until_us, on_back, free, b);
}
