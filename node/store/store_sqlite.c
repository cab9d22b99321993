/* The store on SQLite: requests go to a worker thread, which commits all that wait together, and come back. */
#include <assert.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "node/persist/worker.h"
#include "node/store/engine.h"
#include "node/store/sqlite_db.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"

enum {
    BATCH_MAX = 256,      /* requests in one transaction */
    PROBE_EVERY_MS = 1000 /* while nothing works: is it good again? */
};

/* The thread works on its own copy of the request; both share the arena, which the caller leaves alone meanwhile. */
struct job {
    struct worker_job worker;
    struct job *prev, *next; /* in sqlite_store.inside */
    struct store_req *req;   /* NULL: a probe */
    struct store_req copy;
    struct sqlite_work work;
    uint64_t submitted_us;
};

struct sqlite_store {
    struct store base;
    struct worker *worker;
    struct sqlite_db *db; /* the worker's */
    struct store_later *later;
    struct event *probe;
    struct job *inside;
    bool good, closing;
    enum store_fit fit;
};

static void on_run(void *ctx, struct worker_job **jobs, unsigned n)
{
    struct sqlite_store *s = ctx;
    struct sqlite_work *works[BATCH_MAX];
    for (unsigned k = 0; k < n; k++)
        works[k] = &((struct job *)jobs[k])->work;
    sqlite_db_run(s->db, works, n);
}

/* The answer goes into the caller's request only when there is one: after ERR_IO it can be sent again as it is. */
static void give_answer(struct job *job)
{
    struct store_req *r = job->req;
    enum err e = job->work.err;
    if (e == ERR_OK || e == ERR_STALE) {
        r->found = job->copy.found;
        if (job->work.has_row && r->op != STORE_FLUSH)
            store_req_set_row(r, &job->work.row);
        else if (job->work.has_row)
            r->row.epoch = job->work.row.epoch;
    }
    if (r->op == STORE_FLUSH)
        blob_unref(job->work.row.seen);
    if (e == ERR_OK && r->op == STORE_CLAIM) {
        r->rows = job->copy.rows;
        r->n_rows = job->copy.n_rows;
    }
    r->row_refused = job->copy.row_refused;
    store_answer(r, e, job->work.broken, job->submitted_us);
}

static void on_done(void *ctx, struct worker_job *worker_job)
{
    struct sqlite_store *s = ctx;
    struct job *job = (struct job *)worker_job;
    enum err e = job->work.err;
    DL_DELETE(s->inside, job);
    s->fit = e != ERR_MISMATCH ? STORE_FITS : job->work.other_cells ? STORE_OTHER_CELLS : STORE_OTHER_SCHEMA;
    s->good = e != ERR_IO && s->fit == STORE_FITS;
    if (job->req)
        give_answer(job);
    free(job);
}

static enum err enter(struct sqlite_store *s, struct store_req *r)
{
    struct job *job = mem_zalloc(sizeof(*job));
    job->req = r;
    job->submitted_us = clock_mono_us();
    if (r) {
        job->copy = *r;
        job->work.req = &job->copy;
    }
    enum err e = worker_submit(s->worker, &job->worker);
    if (e == ERR_OK)
        DL_APPEND(s->inside, job);
    else
        free(job);
    return e;
}

static void sqlite_submit(struct store *store, struct store_req *r)
{
    struct sqlite_store *s = (struct sqlite_store *)store;
    enum err e = s->closing ? ERR_CLOSED : store_check(r, &r->row_refused);
    if (e == ERR_OK)
        e = enter(s, r);
    if (e != ERR_OK)
        store_later_answer(s->later, r, e);
}

/* A node that is not ready gets no cells, and would never ask again: so we do. */
static void on_probe(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct sqlite_store *s = arg;
    if (!s->good && !s->inside)
        enter(s, NULL);
}

static bool sqlite_healthy(struct store *store)
{
    return ((struct sqlite_store *)store)->good;
}

static enum store_fit sqlite_fit(struct store *store)
{
    return ((struct sqlite_store *)store)->fit;
}

/* The thread hangs in a system call. Its caller gets the request back without what the thread still reads: the arena
 * with the rows, and seen, stay with the thread. */
static void abandon(struct sqlite_store *s)
{
    struct job *job, *tmp;
    DL_FOREACH_SAFE (s->inside, job, tmp) {
        struct store_req *r = job->req;
        if (!r)
            continue;
        r->arena = arena_new();
        r->row.seen = NULL;
        r->rows = NULL;
        r->places = NULL;
        r->n_rows = r->n_places = 0;
        store_answer(r, ERR_TIMEOUT, 0, job->submitted_us);
    }
}

static void sqlite_close(struct store *store)
{
    struct sqlite_store *s = (struct sqlite_store *)store;
    s->closing = true;
    event_free(s->probe);
    bool stopped = worker_free(s->worker, STORE_CLOSE_MS);
    if (!stopped) {
        log_error("store_stuck store=sqlite ms=%d what=\"left behind\"", STORE_CLOSE_MS);
        abandon(s);
    }
    store_later_free(s->later);
    if (!stopped)
        return; /* s and its database belong to the thread now */
    sqlite_db_free(s->db);
    free(s);
}

static const struct store_ops sqlite_ops = {sqlite_submit, sqlite_close, sqlite_healthy, sqlite_fit};
static const struct worker_ops worker_ops = {on_run, on_done};

enum err store_sqlite_open(const char *path, struct event_base *base, uint32_t cell_chunks, struct store **out,
                           char *why, size_t why_bytes)
{
    if (!path[0] || strcmp(path, ":memory:") == 0 || strncmp(path, "file:", 5) == 0) {
        snprintf(why, why_bytes, "sqlite: needs the path of a file");
        return ERR_BAD;
    }
    struct sqlite_store *s = mem_zalloc(sizeof(*s));
    s->base.ops = &sqlite_ops;
    s->db = sqlite_db_new(path, cell_chunks);
    s->worker = worker_new(base, &worker_ops, s, STORE_QUEUE_MAX, BATCH_MAX);
    if (!s->worker) {
        snprintf(why, why_bytes, "no thread for it");
        sqlite_db_free(s->db);
        free(s);
        return ERR_IO;
    }
    s->later = store_later_new(base);
    s->probe = event_new(base, -1, EV_PERSIST, on_probe, s);
    assert(s->probe);
    event_add(s->probe, &(struct timeval){PROBE_EVERY_MS / 1000, PROBE_EVERY_MS % 1000 * 1000});
    enter(s, NULL);
    *out = &s->base;
    return ERR_OK;
}
