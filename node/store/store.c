#include "node/store/store.h"

#include <assert.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "node/store/engine.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/base/metrics.h"

static const char *const op_name[] = {
    [STORE_CLAIM] = "claim", [STORE_RAISE] = "raise",        [STORE_FLUSH] = "flush",
    [STORE_VISIT] = "visit", [STORE_SAVE_PLACES] = "places",
};
static const char *const op_label[] = {
    [STORE_CLAIM] = "op=\"claim\"", [STORE_RAISE] = "op=\"raise\"",        [STORE_FLUSH] = "op=\"flush\"",
    [STORE_VISIT] = "op=\"visit\"", [STORE_SAVE_PLACES] = "op=\"places\"",
};

struct store_req *store_req_new(enum store_op op, store_done *done, void *arg)
{
    struct store_req *r = mem_zalloc(sizeof(*r));
    r->op = op;
    r->done = done;
    r->arg = arg;
    r->arena = arena_new();
    return r;
}

void store_req_free(struct store_req *r)
{
    if (!r)
        return;
    blob_unref(r->row.seen);
    arena_free(r->arena);
    free(r);
}

void store_req_set_row(struct store_req *r, const struct store_cell *row)
{
    blob_unref(r->row.seen);
    r->row = *row;
}

enum err store_open(const char *url, struct event_base *base, struct evdns_base *dns, uint32_t cell_chunks,
                    struct store **out, char *why, size_t why_bytes)
{
    if (strncmp(url, "sqlite:", 7) == 0)
        return store_sqlite_open(url + 7, base, cell_chunks, out, why, why_bytes);
    if (strncmp(url, "postgres://", 11) == 0 || strncmp(url, "postgresql://", 13) == 0)
        return store_postgres_open(url, base, dns, cell_chunks, out, why, why_bytes);
    snprintf(why, why_bytes, "a store is sqlite:PATH or postgres://user:password@host:port/db");
    return ERR_BAD;
}

void store_close(struct store *s)
{
    if (s)
        s->ops->close(s);
}

/* ---- judging requests ---- */

static bool fits(uint64_t v)
{
    return v <= INT64_MAX; /* databases count in signed numbers */
}

static bool cell_ok(const struct store_req *r)
{
    const int32_t max = CHUNK_MAX / CELL_CHUNKS;
    const struct store_cell *c = &r->row;
    return r->cell.i >= -max - 1 && r->cell.i <= max && r->cell.j >= -max - 1 && r->cell.j <= max && c->epoch > 0 &&
           fits(c->epoch);
}

static bool row_ok(const struct store_req *r, const struct row *row)
{
    return row_valid(row) && fits(row->rev) && row->key <= KEY_MAX &&
           cell_eq(cell_of_block(row->at.x, row->at.z), r->cell);
}

static bool account_ok(const char *account)
{
    size_t len = strnlen(account, ACCOUNT_MAX + 1);
    for (size_t k = 0; k < len; k++)
        if (account[k] < 32 || account[k] > 126)
            return false;
    return len > 0 && len <= ACCOUNT_MAX;
}

static enum err check_flush(const struct store_req *r, unsigned *refused)
{
    if (!cell_ok(r) || !fits(r->row.generation) || !fits(r->row.rev) || r->row.key_floor > KEY_MAX)
        return ERR_BAD;
    if (r->n_rows > STORE_ROWS_MAX)
        return ERR_TOO_BIG;
    for (unsigned k = 0; k < r->n_rows; k++) {
        if (!row_ok(r, &r->rows[k])) {
            *refused = k;
            return ERR_REFUSED;
        }
    }
    return ERR_OK;
}

static enum err check_places(const struct store_req *r, unsigned *refused)
{
    if (r->n_places > STORE_ROWS_MAX)
        return ERR_TOO_BIG;
    for (unsigned k = 0; k < r->n_places; k++) {
        const struct store_place *p = &r->places[k];
        if (!account_ok(p->account) ||
            (r->op == STORE_SAVE_PLACES && (!place_valid(&p->place) || !fits(p->visit) || !fits(p->count)))) {
            *refused = k;
            return ERR_REFUSED;
        }
    }
    return ERR_OK;
}

enum err store_check(const struct store_req *r, unsigned *refused)
{
    switch (r->op) {
    case STORE_CLAIM:
    case STORE_RAISE:
        return cell_ok(r) ? ERR_OK : ERR_BAD;
    case STORE_FLUSH:
        return check_flush(r, refused);
    case STORE_VISIT:
        return r->n_places == 1 ? check_places(r, refused) : ERR_BAD;
    case STORE_SAVE_PLACES:
        return check_places(r, refused);
    }
    return ERR_BAD;
}

/* ---- judging rows ---- */

void store_rows_start(struct store_rows *s, const struct store_req *r)
{
    *s = (struct store_rows){.arena = r->arena, .cell = r->cell};
}

static bool int32_ok(int64_t v)
{
    return v >= INT32_MIN && v <= INT32_MAX;
}

/* Narrows raw into out; false when it is not a row that we could have written. */
static bool row_from_raw(const struct store_raw *raw, struct cell_pos cell, struct row *out)
{
    if (!int32_ok(raw->x) || !int32_ok(raw->y) || !int32_ok(raw->z) || raw->w < INT16_MIN || raw->w > INT16_MAX ||
        raw->face < 0 || raw->face >= SIGN_FACES || raw->key < 0 || raw->key > KEY_MAX || raw->rev < 0)
        return false;
    *out = (struct row){.at = {(int32_t)raw->x, (int32_t)raw->y, (int32_t)raw->z},
                        .kind = (uint8_t)raw->kind,
                        .face = (uint8_t)raw->face,
                        .w = (int16_t)raw->w,
                        .key = (uint32_t)raw->key,
                        .rev = (uint64_t)raw->rev};
    if (!block_in_world(out->at.x, out->at.z))
        return false;
    struct chunk_pos chunk = chunk_of_block(out->at.x, out->at.z);
    return chunk.p == raw->p && chunk.q == raw->q && cell_eq(cell_of_chunk(chunk), cell);
}

void store_rows_add(struct store_rows *s, const struct store_raw *raw)
{
    struct row r;
    bool good = row_from_raw(raw, s->cell, &r);
    if (good && raw->kind == ROW_SIGN) {
        good = raw->text_len <= SIGN_TEXT_MAX && !memchr(raw->text, 0, raw->text_len);
        r.text = good ? arena_strndup(s->arena, raw->text, raw->text_len) : NULL;
    }
    if (!good || !row_valid(&r)) {
        s->broken++;
        return;
    }
    if (s->n == s->room) {
        unsigned room = s->room ? s->room * 2 : 64;
        struct row *bigger = arena_alloc(s->arena, room * sizeof(*bigger));
        if (s->n)
            memcpy(bigger, s->rows, s->n * sizeof(*bigger));
        s->rows = bigger;
        s->room = room;
    }
    s->rows[s->n++] = r;
}

/* ---- answering ---- */

void store_answer(struct store_req *r, enum err e, unsigned broken, uint64_t submitted_us)
{
    double seconds = (double)(clock_mono_us() - submitted_us) / 1e6;
    metric_seconds(metrics_seconds("spotcraft_store_seconds", "From asking the store to its answer.", op_label[r->op]),
                   seconds);
    if (e != ERR_OK)
        metric_add(metrics_counter("spotcraft_store_errors_total", "Requests that the store did not carry out.",
                                   op_label[r->op]),
                   1);
    if (broken) {
        metric_add(
            metrics_counter("spotcraft_store_broken_rows_total", "Stored rows that made no sense, left out.", NULL),
            broken);
        log_error("store_broken_rows cell=%" PRId32 ",%" PRId32 " rows=%u", r->cell.i, r->cell.j, broken);
    }
    if (e == ERR_BAD || e == ERR_TOO_BIG || e == ERR_REFUSED)
        log_error("store_refused op=%s cell=%" PRId32 ",%" PRId32 " row=%u why=\"%s\"", op_name[r->op], r->cell.i,
                  r->cell.j, r->row_refused, err_text(e));
    r->err = e;
    r->done(r, r->arg);
}

struct later_answer {
    struct later_answer *prev, *next;
    struct store_req *req;
    enum err err;
    uint64_t submitted_us;
};
struct store_later {
    struct event *wake;
    struct later_answer *head;
};

/* Only what waits now: a done() that asks again is answered in the next turn. */
static void later_turn(struct store_later *l)
{
    struct later_answer *head = l->head, *a, *tmp;
    l->head = NULL;
    DL_FOREACH_SAFE (head, a, tmp) {
        store_answer(a->req, a->err, 0, a->submitted_us);
        free(a);
    }
}

static void on_later(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    later_turn(arg);
}

struct store_later *store_later_new(struct event_base *base)
{
    struct store_later *l = mem_zalloc(sizeof(*l));
    l->wake = event_new(base, -1, 0, on_later, l);
    assert(l->wake);
    return l;
}

void store_later_free(struct store_later *l)
{
    /* A done() may ask once more, and is told again; one that never stops asking is a bug. */
    for (unsigned n = 0; l->head && n < STORE_QUEUE_MAX; n++)
        later_turn(l);
    assert(!l->head);
    event_free(l->wake);
    free(l);
}

void store_later_answer(struct store_later *l, struct store_req *r, enum err e)
{
    struct later_answer *a = mem_zalloc(sizeof(*a));
    a->req = r;
    a->err = e;
    a->submitted_us = clock_mono_us();
    DL_APPEND(l->head, a);
    event_active(l->wake, EV_TIMEOUT, 0);
}
