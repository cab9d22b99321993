#include "tests/sim/store.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/mem.h"
#include "tests/sim/check.h"
#include "tests/sim/rpc.h"

enum { DEADLINE_MS = 3000 };

struct sim_store {
    struct model_store *model;
    struct rpc_server server;
};

/* ---- requests: what the server sees is a copy ---- */

static struct row *clone_rows(struct arena *a, const struct row *rows, unsigned n)
{
    struct row *copy = arena_alloc(a, (n + 1) * sizeof *copy);
    for (unsigned i = 0; i < n; i++) {
        copy[i] = rows[i];
        copy[i].text = rows[i].text ? arena_strndup(a, rows[i].text, strlen(rows[i].text)) : NULL;
    }
    return copy;
}

static void *clone(const void *arg)
{
    const struct store_req *r = arg;
    struct store_req *copy = store_req_new(r->op, NULL, NULL);
    copy->cell = r->cell;
    copy->row = r->row;
    if (copy->row.seen)
        blob_ref(copy->row.seen);
    copy->rows = clone_rows(copy->arena, r->rows, r->n_rows);
    copy->n_rows = r->n_rows;
    copy->n_places = r->n_places;
    copy->places = arena_alloc(copy->arena, (r->n_places + 1) * sizeof *copy->places);
    if (r->n_places)
        memcpy(copy->places, r->places, r->n_places * sizeof *copy->places);
    return copy;
}

static void apply(struct host *from, void *arg)
{
    struct store_req *r = arg;
    model_store_apply(from->sim->store->model, r);
    check_store_after(from->sim, r);
    sim_note(from->sim, "store op=%d from %s cell=%d,%d epoch=%llu: %s", (int)r->op, from->name, r->cell.i, r->cell.j,
             (unsigned long long)r->row.epoch, err_text(r->err));
}

static void answer(void *req, void *copy)
{
    struct store_req *r = req, *c = copy, was = *r;
    *r = *c;
    *c = was;
    r->done = was.done;
    r->arg = was.arg;
}

static void done(void *req, enum err e)
{
    struct store_req *r = req;
    if (e != ERR_OK)
        r->err = e;
    r->done(r, r->arg);
}

static void free_req(void *req)
{
    store_req_free(req);
}

static const char *name(const void *req)
{
    static const char *const names[] = {
        [STORE_CLAIM] = "claim", [STORE_RAISE] = "raise",        [STORE_FLUSH] = "flush",
        [STORE_VISIT] = "visit", [STORE_SAVE_PLACES] = "places",
    };
    return names[((const struct store_req *)req)->op];
}

static const struct rpc_ops ops = {
    .clone = clone, .apply = apply, .answer = answer, .done = done, .free_req = free_req, .name = name};

/* ---- a node's store ---- */

static struct host *of(struct store *st)
{
    return (struct host *)(void *)((char *)st - offsetof(struct host, store));
}

static void submit(struct store *st, struct store_req *r)
{
    rpc_submit(of(st)->rows, r);
}

static void close_nothing(struct store *st)
{
    (void)st; /* the host's connection is abandoned with it */
}

static bool healthy(struct store *st)
{
    const struct host *h = of(st);
    return h->sim->store->server.away_until_us <= h->sim->sched.now_us;
}

void store_attach(struct host *h)
{
    static const struct store_ops store_ops = {.submit = submit, .close = close_nothing, .healthy = healthy};
    h->store.ops = &store_ops;
    h->rows = rpc_open(h, &h->sim->store->server, "store");
}

/* ---- the server ---- */

void store_init(struct sim *s)
{
    struct sim_store *st = mem_zalloc(sizeof *st);
    st->model = model_store_new();
    st->server = (struct rpc_server){.name = "store", .ops = &ops, .deadline_ms = DEADLINE_MS};
    s->store = st;
}

void store_free(struct sim *s)
{
    model_store_free(s->store->model);
    free(s->store);
}

struct model_store *store_model(struct sim *s)
{
    return s->store->model;
}

void store_cut(struct host *h)
{
    rpc_cut(h->rows);
}

void store_stall(struct sim *s, uint64_t ms)
{
    sim_note(s, "the store stalls for %llu ms", (unsigned long long)ms);
    s->store->server.stall_until_us = s->sched.now_us + ms * 1000;
}

void store_away(struct sim *s, uint64_t ms)
{
    sim_note(s, "the store goes away for %llu ms", (unsigned long long)ms);
    s->store->server.away_until_us = s->sched.now_us + ms * 1000;
    for (unsigned i = 0; i < s->hosts->n; i++) {
        struct host *h = s->hosts->all[i];
        if (h->alive && h->rows)
            rpc_cut(h->rows);
    }
}

void store_fail(struct sim *s, uint64_t ms)
{
    sim_note(s, "the store loses answers for %llu ms", (unsigned long long)ms);
    s->store->server.fail_until_us = s->sched.now_us + ms * 1000;
}
