/* Edits into batches, batches to Redis, answers in order.
 *
 *   judge --> open batch --> in flight --> Redis took it --> committed: rows to the subscribers, results to the authors
 *                 ^              |
 *                 '-- the next --'   a batch leaves when the one before it is answered: group commit without a timer
 *
 * A refusal was judged on rows that may still be pending, so it waits for them like everything else: a session's
 * answers for a cell leave in the order of its edits. A batch that was not answered goes again under the same id until
 * it is. */
#include <stdlib.h>
#include <string.h>

#include "node/own/handoff.h"
#include "node/parts.h"
#include "proto/base/clock.h"
#include "proto/base/fault.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/base/metrics.h"

enum {
    RETRY_MS = 40,
    RESULTS_PER_MSG = 256,
    SEEN_S = 3600,
    SEEN_KEPT = 16384,      /* sessions of a cell: all of them fit into one message of a handoff */
    ANSWERS_PER_PENDING = 4 /* refusals that may wait, per pending row allowed */
};

/* ---- batches ---- */

static void batch_free(struct batch *b)
{
    if (!b)
        return;
    blob_unref(b->bytes);
    arena_free(b->arena);
    free(b->rows);
    free(b->answers);
    free(b);
}

/* What is kept of a committed batch is its bytes. */
static void batch_strip(struct batch *b)
{
    arena_free(b->arena);
    free(b->rows);
    free(b->answers);
    b->arena = NULL;
    b->rows = NULL;
    b->answers = NULL;
    b->n_rows = b->n_answers = 0;
}

static struct batch *batch_open(struct owned *o)
{
    if (!o->open) {
        o->open = mem_zalloc(sizeof *o->open);
        o->open->arena = arena_new();
    }
    return o->open;
}

static void batch_add_rows(struct batch *b, const struct row *rows, unsigned n)
{
    if (b->n_rows + n > b->rows_cap) {
        b->rows_cap = b->rows_cap ? 2 * b->rows_cap : 16;
        b->rows = mem_resize(b->rows, b->rows_cap * sizeof *b->rows);
    }
    for (unsigned k = 0; k < n; k++) {
        struct row *r = &b->rows[b->n_rows++];
        *r = rows[k];
        if (r->text)
            r->text = arena_strndup(b->arena, r->text, strlen(r->text));
    }
}

static void batch_add_answer(struct batch *b, const struct answer *a)
{
    if (b->n_answers == b->answers_cap) {
        b->answers_cap = b->answers_cap ? 2 * b->answers_cap : 16;
        b->answers = mem_resize(b->answers, b->answers_cap * sizeof *b->answers);
    }
    b->answers[b->n_answers++] = *a;
}

static void append_link(struct owned *o, struct batch *b)
{
    b->next = NULL;
    if (o->kept_last)
        o->kept_last->next = b;
    else
        o->kept = b;
    o->kept_last = b;
    o->n_kept++;
}

void journal_keep(struct owned *o, uint64_t epoch, uint64_t nr, struct blob *bytes)
{
    struct batch *b = mem_zalloc(sizeof *b);
    b->epoch = epoch;
    b->n = nr;
    b->bytes = bytes;
    append_link(o, b);
}

void journal_stored(struct owned *o, uint64_t epoch, uint64_t nr)
{
    while (o->kept && (o->kept->epoch < epoch || (o->kept->epoch == epoch && o->kept->n <= nr))) {
        struct batch *b = o->kept;
        o->kept = b->next;
        o->n_kept--;
        batch_free(b);
    }
    if (!o->kept)
        o->kept_last = NULL;
}

void journal_free(struct owned *o)
{
    journal_stored(o, UINT64_MAX, UINT64_MAX);
    batch_free(o->open);
    batch_free(o->in_flight);
    struct session_seen *s, *next;
    HASH_ITER (hh, o->seen, s, next) {
        HASH_DEL(o->seen, s);
        free(s);
    }
}

/* ---- sessions ---- */

/* The one that came first, in an hour of so many, and has nothing pending. */
static void forget_oldest(struct owned *o)
{
    for (struct session_seen *s = o->seen; s; s = s->hh.next) {
        if (s->judged != s->committed || s->overrun)
            continue;
        HASH_DEL(o->seen, s);
        free(s);
        return;
    }
}

static struct session_seen *seen_of(struct owned *o, struct session_id session)
{
    struct session_seen *s;
    HASH_FIND(hh, o->seen, &session, sizeof session, s);
    if (s)
        return s;
    if (HASH_COUNT(o->seen) >= SEEN_KEPT)
        forget_oldest(o);
    s = mem_zalloc(sizeof *s);
    s->session = session;
    HASH_ADD(hh, o->seen, session, sizeof s->session, s);
    return s;
}

void journal_see(struct owned *o, struct session_id session, uint64_t seq, uint64_t at_s)
{
    struct session_seen *s = seen_of(o, session);
    if (seq > s->committed)
        s->committed = seq;
    if (seq > s->judged)
        s->judged = seq;
    if (at_s > s->at_s)
        s->at_s = at_s;
}

struct blob *journal_seen(struct node *n, struct owned *o)
{
    uint64_t now_s = node_unix_s(n);
    struct seen *list = mem_array(HASH_COUNT(o->seen), sizeof *list);
    unsigned count = 0;
    struct session_seen *s, *next;
    HASH_ITER (hh, o->seen, s, next) {
        if (s->committed && s->at_s + SEEN_S >= now_s) {
            list[count++] = (struct seen){s->session, s->committed, s->at_s};
        } else if (s->committed == s->judged && !s->overrun) {
            HASH_DEL(o->seen, s);
            free(s);
        }
    }
    struct blob *b = count ? record_encode_seen(list, count) : NULL;
    free(list);
    return b;
}

/* ---- answers ---- */

static void send_results(struct node *n, uint64_t link, struct edit_result *results, unsigned count)
{
    struct msg m = {.kind = MSG_RESULTS};
    m.results.results = results;
    m.results.n = count;
    node_send(n, link, &m);
}

static void fill_result(struct node *n, struct owned *o, const struct answer *a, struct edit_result *r)
{
    *r = (struct edit_result){.session = a->session,
                              .seq = a->seq,
                              .outcome = a->outcome,
                              .reason = a->reason,
                              .cell = o->at,
                              .epoch = o->epoch,
                              .rev = a->outcome == EDIT_ACCEPTED ? a->rev : cell_rev(o->cell)};
    if (a->outcome == EDIT_REFUSED || a->outcome == EDIT_KNOWN) {
        r->rows = arena_alloc(n->scratch, EDIT_ROWS_MAX * sizeof *r->rows);
        r->n_rows = cell_block_now(o->cell, a->at, n->scratch, r->rows);
    }
}

static void count_answer(const struct answer *a)
{
    switch (a->outcome) {
    case EDIT_ACCEPTED:
        metric_add(node_metrics.accepted, 1);
        metric_seconds(node_metrics.ack_seconds, (double)(clock_mono_us() - a->received_us) / 1e6);
        break;
    case EDIT_REFUSED:
        metric_add(node_metrics.refused[a->reason], 1);
        break;
    case EDIT_KNOWN:
        metric_add(node_metrics.known, 1);
        break;
    case EDIT_WANTED:
        metric_add(node_metrics.wanted, 1);
        break;
    }
}

static void answer_now(struct node *n, struct owned *o, const struct answer *a)
{
    struct edit_result r;
    arena_reset(n->scratch);
    fill_result(n, o, a, &r);
    count_answer(a);
    send_results(n, a->link, &r, 1);
}

/* In the order of the session's edits: behind whatever is pending. */
static void answer(struct node *n, struct owned *o, const struct answer *a)
{
    struct batch *last = o->open ? o->open : o->in_flight;
    if (last)
        batch_add_answer(last, a);
    else
        answer_now(n, o, a);
}

/* Gathers a batch's answers by link, each link's in order. */
static void answer_batch(struct node *n, struct owned *o, const struct batch *b)
{
    struct edit_result results[RESULTS_PER_MSG];
    for (struct gate_link *l = n->links; l && b->n_answers; l = l->hh.next) {
        unsigned count = 0;
        arena_reset(n->scratch);
        for (unsigned k = 0; k < b->n_answers; k++) {
            if (b->answers[k].link != l->link)
                continue;
            fill_result(n, o, &b->answers[k], &results[count++]);
            if (count == RESULTS_PER_MSG) {
                send_results(n, l->link, results, count);
                arena_reset(n->scratch);
                count = 0;
            }
        }
        if (count)
            send_results(n, l->link, results, count);
    }
}

/* ---- one edit ---- */

static void make_ready(struct node *n, struct owned *o)
{
    if (o->append_ready)
        return;
    if (n->n_ready == n->ready_cap) {
        n->ready_cap = n->ready_cap ? 2 * n->ready_cap : 16;
        n->ready = mem_resize(n->ready, n->ready_cap * sizeof *n->ready);
    }
    n->ready[n->n_ready++] = o;
    o->append_ready = true;
}

static bool full(const struct node *n, const struct owned *o)
{
    const struct batch *last = o->open ? o->open : o->in_flight;
    return cell_pending(o->cell) >= n->set.cell_pending_max ||
           (last && last->n_answers >= ANSWERS_PER_PENDING * n->set.cell_pending_max);
}

void journal_take_edit(struct node *n, struct owned *o, uint64_t link, const struct edit *e)
{
    metric_add(node_metrics.edits, 1);
    if (e->floor > e->seq || !e->seq)
        return; /* no gateway sends that */
    struct session_seen *s = seen_of(o, e->session);
    uint64_t expected = s->judged + 1 > e->floor ? s->judged + 1 : e->floor;
    struct answer a = {.link = link, .session = e->session, .seq = e->seq, .at = e->at, .received_us = clock_mono_us()};
    s->link = link;
    o->n_handed_back += o->frozen;
    if (s->overrun)
        return; /* he is told where to go on once there is room */
    if (o->frozen || full(n, o)) {
        s->overrun = true;
        return;
    }
    if (e->seq <= s->judged) {
        a.outcome = EDIT_KNOWN;
        answer(n, o, &a);
        return;
    }
    if (e->seq > expected) {
        a.outcome = EDIT_WANTED;
        a.seq = expected;
        answer_now(n, o, &a);
        return;
    }
    struct row rows[EDIT_ROWS_MAX];
    unsigned count;
    s->judged = e->seq;
    arena_reset(n->scratch);
    if (cell_judge(o->cell, e, n->scratch, rows, &count, &a.reason)) {
        a.outcome = EDIT_ACCEPTED;
        a.rev = rows[0].rev;
        batch_add_rows(batch_open(o), rows, count);
        o->n_pending++;
        o->load.edits++;
        if (!o->in_flight)
            make_ready(n, o);
    } else {
        a.outcome = EDIT_REFUSED;
        if (!o->open && !o->in_flight)
            s->committed = e->seq;
    }
    answer(n, o, &a);
}

/* ---- batches to Redis and back ---- */

static void announce(struct node *n, struct owned *o, const struct batch *b)
{
    serve_rows(n, o, b->rows, b->n_rows);
    answer_batch(n, o, b);
}

/* There is room again: those who sent too much are told where to go on. */
void journal_invite(struct node *n, struct owned *o)
{
    for (struct session_seen *s = o->seen; s; s = s->hh.next) {
        if (!s->overrun)
            continue;
        s->overrun = false;
        struct answer a = {.link = s->link, .session = s->session, .seq = s->judged + 1, .outcome = EDIT_WANTED};
        answer_now(n, o, &a);
    }
}

static void committed(struct node *n, struct owned *o)
{
    FAULT("journal.committed");
    struct batch *b = o->in_flight;
    bool was_full = full(n, o);
    uint64_t now_s = node_unix_s(n);
    cell_commit(o->cell, b->rows, b->n_rows);
    o->n = b->n;
    o->in_flight = NULL;
    for (unsigned k = 0; k < b->n_answers; k++) {
        const struct answer *a = &b->answers[k];
        count_answer(a);
        if (a->outcome == EDIT_ACCEPTED)
            o->n_pending--;
        if (a->outcome != EDIT_WANTED)
            journal_see(o, a->session, a->seq, now_s);
    }
    if (!o->dirty_from_ms)
        o->dirty_from_ms = node_now(n);
#ifndef BUG_ack_before_append
    announce(n, o, b);
#endif
    batch_strip(b);
    append_link(o, b);
    handoff_committed(n, o, b);
    if (o->open)
        make_ready(n, o);
    if (!o->frozen && (was_full || (!o->open && !o->in_flight)))
        journal_invite(n, o);
}

static void taken_or_not(struct node *n, struct owned *o, const struct coord_cell *c)
{
    switch (c->answer) {
    case CELL_TAKEN:
    case CELL_BEFORE:
        committed(n, o);
        return;
    case CELL_BEHIND:
        keep_behind(n, o);
        return;
    default:
        claim_drop(n, o, c->owner, c->owner_epoch, 0, "append_refused");
        return;
    }
}

struct append {
    struct node *node;
    unsigned n;
    struct {
        struct cell_pos at;
        uint64_t serial;
    } of[COORD_CELLS_MAX];
};

static void on_append(struct coord_req *req, void *arg)
{
    struct append *ap = arg;
    struct node *n = ap->node;
    for (unsigned k = 0; k < ap->n; k++) {
        struct owned *o = node_owned_serial(n, ap->of[k].at, ap->of[k].serial);
        /* A restore sends a batch again while its first append may still be answered: the later answer is of the past.
         */
        if (!o || !o->in_flight || o->in_flight->n != req->cells.cells[k].n)
            continue;
        if (req->err == ERR_OK) {
            taken_or_not(n, o, &req->cells.cells[k]);
        } else {
            metric_add(node_metrics.append_retries, 1);
            o->append_retry_ms = node_later(n, RETRY_MS);
        }
    }
    free(ap);
    coord_req_free(req);
    journal_pump(n);
}

static void load_batch(struct owned *o, struct coord_cell *c)
{
    struct batch *b = o->in_flight;
    if (!b) {
        b = o->in_flight = o->open;
        o->open = NULL;
        b->epoch = o->epoch;
        b->n = o->n + 1;
        b->bytes = record_encode_batch(b->rows, b->n_rows);
    }
    *c = (struct coord_cell){.cell = o->at, .epoch = b->epoch, .n = b->n, .batch = blob_ref(b->bytes)};
}

static void send_appends(struct node *n)
{
    struct append *ap = mem_zalloc(sizeof *ap);
    ap->node = n;
    unsigned first = n->n_ready > COORD_CELLS_MAX ? n->n_ready - COORD_CELLS_MAX : 0;
    struct coord_req *req = coord_req_new(COORD_APPEND, n->id, on_append, ap);
    struct coord_cell *cells = coord_req_cells(req, n->n_ready - first);
    for (unsigned k = first; k < n->n_ready; k++) {
        struct owned *o = n->ready[k];
        o->append_ready = false;
        load_batch(o, &cells[ap->n]);
        ap->of[ap->n].at = o->at;
        ap->of[ap->n++].serial = o->serial;
#ifdef BUG_ack_before_append
        announce(n, o, o->in_flight);
#endif
    }
    n->n_ready = first;
    coord_submit(n->env.coord, req);
}

void journal_pump(struct node *n)
{
    while (n->n_ready)
        send_appends(n);
}

void journal_tick(struct node *n, struct owned *o)
{
    if (!o->in_flight || !o->append_retry_ms || o->append_retry_ms > node_now(n) || o->restoring)
        return;
    o->append_retry_ms = 0;
    make_ready(n, o);
}
