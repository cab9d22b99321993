/* Committed rows to the store, late and in batches; then the journal is trimmed; and the way out of a cell.
 *
 *   dirty rows --flush_ms--> one fenced transaction --> what the store has, the journal need not keep --> trim
 *
 * A flush holds every row that was committed when it was built, so the journal may be trimmed up to the batch that was
 * last then. Releasing a cell is: no new edit, the last append, a flush that says "clean", trim, and only then release.
 */
#include <stdlib.h>
#include <string.h>

#include "node/own/handoff.h"
#include "node/parts.h"
#include "proto/base/fault.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/base/metrics.h"

enum {
    FLUSH_ROWS_MAX = 16384,
    RETRY_MS = 200,
    STALL_MS = 50 /* between the steps of a release that have to wait */
};

/* ---- trim ---- */

static void on_trimmed(struct coord_req *req, void *arg)
{
    struct about *a = arg;
    struct node *n = a->node;
    struct owned *o = about_take(a);
    if (o) {
        o->trimming = false;
        const struct coord_cell *c = &req->cells.cells[0];
        if (req->err != ERR_OK) {
            o->flush_retry_ms = node_later(n, RETRY_MS);
        } else if (c->answer == CELL_TAKEN) {
            o->trimmed_epoch = c->epoch;
            o->trimmed_n = c->n;
            if (c->batch) {
                blob_unref(o->quarantine);
                o->quarantine = NULL;
            }
        } else if (c->answer == CELL_BEHIND) {
            o->flush_retry_ms = node_later(n, RETRY_MS);
            keep_behind(n, o);
        } else {
            claim_drop(n, o, c->owner, c->owner_epoch, 0, "trim_refused");
        }
    }
    coord_req_free(req);
}

static bool trim_due(const struct owned *o)
{
    return o->trimmed_epoch != o->stored_epoch || o->trimmed_n != o->stored_n;
}

static void trim(struct node *n, struct owned *o)
{
    struct coord_req *req = coord_req_new(COORD_TRIM, n->id, on_trimmed, about_new(n, o));
    struct coord_cell *c = coord_req_cells(req, 1);
    c->cell = o->at;
    c->epoch = o->stored_epoch;
    c->n = o->stored_n;
    c->batch = o->quarantine ? blob_ref(o->quarantine) : NULL;
    o->trimming = true;
    coord_submit(n->env.coord, req);
}

/* ---- flush ---- */

/* The store will never take this row: it goes to the quarantine stream when the journal is trimmed past it. */
static void quarantine(struct node *n, struct owned *o, const struct row *r)
{
    struct row *rows = NULL;
    unsigned count = 0;
    arena_reset(n->scratch);
    if (o->quarantine &&
        record_decode_batch(o->quarantine->data, o->quarantine->len, n->scratch, &rows, &count) != ERR_OK)
        count = 0;
    struct row *all = mem_array(count + 1, sizeof *all);
    if (count)
        memcpy(all, rows, count * sizeof *all);
    all[count] = *r;
    struct blob *b = record_encode_batch(all, count + 1);
    free(all);
    blob_unref(o->quarantine);
    o->quarantine = b;
    metric_add(node_metrics.quarantined, 1);
    log_error("row_quarantined cell=%d,%d kind=%d x=%d y=%d z=%d w=%d rev=%llu: the store refuses it", o->at.i, o->at.j,
              r->kind, r->at.x, r->at.y, r->at.z, r->w, (unsigned long long)r->rev);
    cell_flushed(o->cell, r, 1);
}

static void flushed(struct node *n, struct owned *o, struct store_req *req)
{
    cell_flushed(o->cell, req->rows, req->n_rows);
    metric_add(node_metrics.flushes, 1);
    metric_add(node_metrics.flush_rows, req->n_rows);
    metric_seconds(node_metrics.flush_seconds, (double)(node_now(n) - o->flush_from_ms) / 1e3);
    o->generation = req->row.generation;
    o->dirty_from_ms = cell_dirty(o->cell) ? o->flush_from_ms : 0;
    o->clean = req->row.clean;
    if (o->flush_whole) {
        o->stored_epoch = o->epoch;
        o->stored_n = o->flush_n;
        journal_stored(o, o->stored_epoch, o->stored_n);
        handoff_stored(n, o, req->row.rev);
    }
}

static void on_flushed(struct store_req *req, void *arg)
{
    struct about *a = arg;
    struct node *n = a->node;
    struct owned *o = about_take(a);
    if (o) {
        o->flushing = false;
        switch (req->err) {
        case ERR_OK:
            FAULT("flush.before_trim");
            flushed(n, o, req);
            break;
        case ERR_STALE:
            claim_drop(n, o, 0, req->row.epoch, 0, "flush_refused");
            break;
        case ERR_REFUSED:
            o->row_dirty = true;
            if (req->row_refused < req->n_rows)
                quarantine(n, o, &req->rows[req->row_refused]);
            break;
        default:
            o->row_dirty = true;
            o->flush_retry_ms = node_later(n, RETRY_MS);
            metric_add(node_metrics.flush_errors, 1);
        }
    }
    store_req_free(req);
}

static void flush(struct node *n, struct owned *o)
{
    struct store_req *req = store_req_new(STORE_FLUSH, on_flushed, about_new(n, o));
    unsigned dirty = cell_dirty(o->cell), max = dirty < FLUSH_ROWS_MAX ? dirty : FLUSH_ROWS_MAX;
    req->cell = o->at;
    req->rows = arena_alloc(req->arena, (max + 1) * sizeof *req->rows);
    req->n_rows = cell_dirty_rows(o->cell, req->arena, req->rows, max);
    o->flush_whole = req->n_rows == dirty;
    o->flush_n = o->n;
    o->flush_from_ms = node_now(n);
    req->row = (struct store_cell){.epoch = o->epoch,
                                   .generation = n->generation,
                                   .rev = cell_rev(o->cell),
                                   .key_floor = cell_key_floor(o->cell),
                                   .clean = o->state == OWN_RELEASING && o->flush_whole && !o->in_flight && !o->open,
                                   .seen = journal_seen(n, o)};
    o->row_dirty = false;
    o->flushing = true;
    store_submit(n->env.store, req);
}

/* ---- release ---- */

static void on_released(struct coord_req *req, void *arg)
{
    struct about *a = arg;
    struct node *n = a->node;
    struct owned *o = about_take(a);
    if (o) {
        const struct coord_cell *c = &req->cells.cells[0];
        o->release_sent = false;
        if (req->err != ERR_OK) {
            o->flush_retry_ms = node_later(n, RETRY_MS);
        } else if (c->answer == CELL_BUSY) {
            o->trimmed_n = o->trimmed_epoch = 0; /* trim again */
        } else {
            bool taken =
                c->answer == CELL_TAKEN || c->answer == CELL_BEHIND; /* behind: Redis lost it, and it is clean */
            n->gone.released += taken;
            claim_drop(n, o, taken ? 0 : c->owner, taken ? 0 : c->owner_epoch, taken ? keep_choose(n, o->at, NULL) : 0,
                       taken ? "released" : "release_refused");
        }
    }
    coord_req_free(req);
}

static void release(struct node *n, struct owned *o)
{
    struct coord_req *req = coord_req_new(COORD_RELEASE, n->id, on_released, about_new(n, o));
    struct coord_cell *c = coord_req_cells(req, 1);
    c->cell = o->at;
    c->epoch = o->epoch;
    c->n = o->n;
    o->release_sent = true;
    coord_submit(n->env.coord, req);
}

void flush_release(struct node *n, struct owned *o)
{
    o->clean = false;
    owned_move(n, o, OWN_RELEASING);
}

/* ---- when ---- */

static bool flush_due(const struct node *n, const struct owned *o)
{
    bool something = o->row_dirty || cell_dirty(o->cell) > 0;
    if (o->flushing || o->restoring)
        return false;
    if (o->state == OWN_RELEASING)
        return !o->clean && !o->in_flight && !o->open;
    bool now = n->lease.state == LEASE_OVERDUE || moves_in_reserve(n);
    return something && (now || node_now(n) - o->dirty_from_ms >= n->set.flush_ms);
}

static bool idle(const struct node *n, const struct owned *o)
{
    return o->state == OWN_SERVING && !o->n_subs && !o->n_waiting && !players_count(o->players) && !o->in_flight &&
           !o->restoring && node_now(n) - o->idle_from_ms >= n->set.idle_cell_ms;
}

void flush_tick(struct node *n, struct owned *o)
{
    if (o->flush_retry_ms > node_now(n))
        return;
    o->flush_retry_ms = 0;
    if (idle(n, o))
        flush_release(n, o);
    if (flush_due(n, o))
        flush(n, o);
    else if (trim_due(o) && !o->trimming && !o->flushing)
        trim(n, o);
    else if (o->state == OWN_RELEASING && o->clean && !o->trimming && !o->flushing && !o->release_sent)
        release(n, o);
}
