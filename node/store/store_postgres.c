/* The store on PostgreSQL: requests are pipelined over one asynchronous connection, each its own transaction.
 *
 * A request waits in the queue until the connection is ready, is sent with the
 * others that wait, and is answered when its Sync is. When the connection goes,
 * whatever was sent is answered ERR_IO, as nobody knows; what was not sent yet
 * stays for the next one. Every request has a deadline, in the queue and sent. */
#include <assert.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "node/store/engine.h"
#include "node/store/pg_conn.h"
#include "node/store/pg_request.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/base/rng.h"

enum {
    SENT_MAX = 64,         /* requests in the pipeline */
    SENT_ROWS_MAX = 32768, /* and their rows: libpq holds a copy */
    DEADLINE_MS = 6000,    /* in the queue; and again in the pipeline. Above the server's statement_timeout */
    TICK_MS = 100,
    RESULTS_PER_WAKE = 512,
    BACKOFF_MIN_MS = 100,
    BACKOFF_MAX_MS = 5000
};

struct job {
    struct job *prev, *next;
    struct store_req *req;
    bool one_by_one;
    unsigned n_rows; /* to be written */
    uint64_t submitted_us, deadline_ms;
    struct pg_answer answer;
};

struct pg_store {
    struct store base;
    struct pg_conn *conn;
    struct store_later *later;
    struct event *tick, *wake; /* wake: there is something to do, outside of whoever found it */
    struct rng rng;
    struct job *queue, *sent;
    unsigned n_queue, n_sent, n_sent_rows;
    uint64_t backoff_ms, connect_at_ms;
    bool good, closing;
    enum store_fit fit;
    char trouble[192]; /* the last one that was logged: not said twice */
};

static void answer(struct job *job, enum err e)
{
    store_answer(job->req, e, e == ERR_OK ? job->answer.rows.broken : 0, job->submitted_us);
    free(job);
}

static void answer_all(struct job *jobs, enum err first, enum err others)
{
    struct job *job, *tmp;
    enum err e = first;
    DL_FOREACH_SAFE (jobs, job, tmp) {
        pg_drop(&job->answer);
        answer(job, e);
        e = others;
    }
}

/* ---- losing the connection ---- */

static void connect_later(struct pg_store *s)
{
    s->connect_at_ms = clock_mono_ms() + rng_jitter(&s->rng, s->backoff_ms);
    s->backoff_ms = s->backoff_ms * 2 < BACKOFF_MAX_MS ? s->backoff_ms * 2 : BACKOFF_MAX_MS;
}

/* The oldest that was sent is told e, the others ERR_IO. */
static void give_up_sent(struct pg_store *s, enum err e)
{
    struct job *sent = s->sent;
    s->sent = NULL;
    s->n_sent = s->n_sent_rows = 0;
    answer_all(sent, e, ERR_IO);
}

static void give_up_queue(struct pg_store *s, enum err e)
{
    struct job *queue = s->queue;
    s->queue = NULL;
    s->n_queue = 0;
    answer_all(queue, e, e);
}

static void on_lost(void *owner, enum err e, const char *why)
{
    struct pg_store *s = owner;
    s->good = false;
    s->fit = e != ERR_MISMATCH ? STORE_FITS : pg_conn_other_cells(s->conn) ? STORE_OTHER_CELLS : STORE_OTHER_SCHEMA;
    if (strncmp(s->trouble, why, sizeof(s->trouble) - 1) != 0) {
        strncpy(s->trouble, why, sizeof(s->trouble) - 1);
        char quoted[384];
        log_error("store_trouble store=postgres server=%s why=%s", pg_conn_name(s->conn),
                  log_quote(quoted, sizeof(quoted), why, strlen(why)));
    }
    connect_later(s);
    give_up_sent(s, e == ERR_TIMEOUT ? ERR_TIMEOUT : ERR_IO);
    if (s->fit != STORE_FITS)
        give_up_queue(s, ERR_MISMATCH);
}

static void drop_connection(struct pg_store *s, enum err e, const char *why)
{
    pg_conn_close(s->conn);
    on_lost(s, e, why);
}

static void broken(struct pg_store *s)
{
    char why[128] = "";
    strncpy(why, PQerrorMessage(pg_conn_handle(s->conn)), sizeof(why) - 1);
    why[strcspn(why, "\n")] = '\0';
    drop_connection(s, ERR_IO, why);
}

/* ---- sending ---- */

static bool send_one(struct pg_store *s, struct job *job, struct arena *scratch)
{
    DL_DELETE(s->queue, job);
    s->n_queue--;
    DL_APPEND(s->sent, job);
    s->n_sent++;
    s->n_sent_rows += job->n_rows;
    job->deadline_ms = clock_mono_ms() + DEADLINE_MS;
    return pg_send(pg_conn_handle(s->conn), &job->answer, job->req, job->one_by_one, scratch);
}

static bool room_for(const struct pg_store *s, const struct job *job)
{
    return s->n_sent < SENT_MAX && (s->n_sent == 0 || s->n_sent_rows + job->n_rows <= SENT_ROWS_MAX);
}

static void send_queued(struct pg_store *s)
{
    if (!pg_conn_ready(s->conn) || !s->queue || !room_for(s, s->queue))
        return;
    struct arena *scratch = arena_new();
    bool good = true;
    while (good && s->queue && room_for(s, s->queue))
        good = send_one(s, s->queue, scratch);
    arena_free(scratch);
    if (!good || !pg_conn_flush(s->conn))
        broken(s);
}

static void on_ready(void *owner)
{
    struct pg_store *s = owner;
    s->good = true;
    s->fit = STORE_FITS;
    s->backoff_ms = BACKOFF_MIN_MS;
    s->trouble[0] = '\0';
    event_active(s->wake, EV_TIMEOUT, 0);
}

static void pg_submit(struct store *store, struct store_req *r)
{
    struct pg_store *s = (struct pg_store *)store;
    enum err e = s->closing ? ERR_CLOSED : s->fit != STORE_FITS ? ERR_MISMATCH : store_check(r, &r->row_refused);
    if (e == ERR_OK && s->n_queue >= STORE_QUEUE_MAX)
        e = ERR_FULL;
    if (e != ERR_OK) {
        store_later_answer(s->later, r, e);
        return;
    }
    struct job *job = mem_zalloc(sizeof(*job));
    job->req = r;
    job->n_rows = r->op == STORE_FLUSH ? r->n_rows : 0;
    job->submitted_us = clock_mono_us();
    job->deadline_ms = clock_mono_ms() + DEADLINE_MS;
    DL_APPEND(s->queue, job);
    s->n_queue++;
    event_active(s->wake, EV_TIMEOUT, 0);
}

/* ---- receiving ---- */

/* The Sync of the oldest was answered. */
static void finish(struct pg_store *s)
{
    struct job *job = s->sent;
    enum err e = pg_finish(&job->answer);
    bool look_again = job->answer.reconnect;
    DL_DELETE(s->sent, job);
    s->n_sent--;
    s->n_sent_rows -= job->n_rows;
    if (e == ERR_AGAIN) {
        job->one_by_one = true;
        DL_PREPEND(s->queue, job);
        s->n_queue++;
    } else {
        s->good = e != ERR_IO && e != ERR_TIMEOUT && e != ERR_MISMATCH;
        answer(job, e);
    }
    if (look_again)
        drop_connection(s, ERR_IO, "another server or schema than before");
}

static void on_readable(void *owner)
{
    struct pg_store *s = owner;
    for (unsigned n = 0; s->sent && pg_conn_ready(s->conn); n++) {
        PGconn *pg = pg_conn_handle(s->conn);
        if (PQisBusy(pg))
            break;
        if (n == RESULTS_PER_WAKE) {
            event_active(s->wake, EV_TIMEOUT, 0);
            return;
        }
        PGresult *res = PQgetResult(pg);
        ExecStatusType status = PQresultStatus(res);
        if (!res)
            s->sent->answer.statement++;
        else if (status != PGRES_PIPELINE_SYNC)
            pg_take(&s->sent->answer, res);
        PQclear(res);
        if (PQstatus(pg) != CONNECTION_OK)
            broken(s);
        else if (res && status == PGRES_PIPELINE_SYNC)
            finish(s);
    }
    send_queued(s);
}

/* ---- time ---- */

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    on_readable(arg);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct pg_store *s = arg;
    uint64_t now_ms = clock_mono_ms();
    if (s->sent && s->sent->deadline_ms <= now_ms)
        drop_connection(s, ERR_TIMEOUT, "no answer in time");
    while (s->queue && s->queue->deadline_ms <= now_ms) {
        struct job *job = s->queue;
        DL_DELETE(s->queue, job);
        s->n_queue--;
        answer(job, ERR_TIMEOUT);
    }
    if (pg_conn_idle(s->conn) && s->connect_at_ms <= now_ms)
        pg_conn_start(s->conn);
}

static bool pg_healthy(struct store *store)
{
    struct pg_store *s = (struct pg_store *)store;
    return s->good && pg_conn_ready(s->conn);
}

static enum store_fit pg_fit(struct store *store)
{
    return ((struct pg_store *)store)->fit;
}

/* The loop may be what called us, and cannot run inside itself: waits on the one socket instead. */
static void pg_close(struct store *store)
{
    struct pg_store *s = (struct pg_store *)store;
    uint64_t deadline_ms = clock_mono_ms() + STORE_CLOSE_MS;
    s->closing = true;
    send_queued(s);
    while ((s->sent || s->queue) && pg_conn_ready(s->conn) && clock_mono_ms() < deadline_ms) {
        if (pg_conn_wait(s->conn, TICK_MS))
            on_readable(s);
        else
            broken(s);
    }
    give_up_sent(s, ERR_TIMEOUT);
    give_up_queue(s, ERR_CLOSED);
    pg_conn_free(s->conn);
    event_free(s->tick);
    event_free(s->wake);
    store_later_free(s->later);
    free(s);
}

static const struct store_ops pg_ops = {pg_submit, pg_close, pg_healthy, pg_fit};
static const struct pg_conn_ops conn_ops = {on_ready, on_readable, on_lost};

enum err store_postgres_open(const char *url, struct event_base *base, struct evdns_base *dns, uint32_t cell_chunks,
                             struct store **out, char *why, size_t why_bytes)
{
    struct pg_store *s = mem_zalloc(sizeof(*s));
    s->base.ops = &pg_ops;
    s->conn = pg_conn_new(url, base, dns, cell_chunks, &conn_ops, s, why, why_bytes);
    if (!s->conn) {
        free(s);
        return ERR_BAD;
    }
    s->backoff_ms = BACKOFF_MIN_MS;
    rng_seed_os(&s->rng);
    s->later = store_later_new(base);
    s->tick = event_new(base, -1, EV_PERSIST, on_tick, s);
    s->wake = event_new(base, -1, 0, on_wake, s);
    assert(s->tick && s->wake);
    event_add(s->tick, &(struct timeval){.tv_usec = TICK_MS * 1000});
    event_active(s->tick, EV_TIMEOUT, 0); /* connect at the first turn, not a tick later */
    *out = &s->base;
    return ERR_OK;
}
