#include "gateway/edits.h"

#include <inttypes.h>
#include <stdio.h>

#include "gateway/fanout.h"
#include "gateway/node_links.h"
#include "gateway/router.h"
#include "gateway/session.h"
#include "gateway/told.h"

enum { WANTED_AGAIN_MS = 500 /* the same number is wanted by every edit behind a gap: answered once in so long */ };

/* ---- blocks with unanswered edits ---- */

static struct touched *touched_find(struct session *s, struct block_pos at)
{
    struct touched *t;
    HASH_FIND(hh, s->touched, &at, sizeof at, t);
    return t;
}

static void touched_add(struct gateway *g, struct session *s, const struct edit *e)
{
    struct block_pos at = e->at;
    struct touched *t = touched_find(s, at);
    if (!t) {
        t = mem_zalloc(sizeof *t);
        t->at = at;
        t->session = s;
        HASH_ADD(hh, s->touched, at, sizeof t->at, t);
    }
    t->unanswered++;
    t->unanswered_blocks += e->kind == ROW_BLOCK;
    t->echo = t->echo || told_lately(g, s, at);
}

static bool same_thing(const struct row *a, const struct row *b)
{
    return a->kind == b->kind && (a->kind != ROW_SIGN || a->face == b->face);
}

/* The latest row of each kind and face is kept; in the order in which those came. */
static struct held *hold_row(struct touched *t, const struct row *r)
{
    unsigned n = 0;
    for (unsigned k = 0; k < t->n_rows; k++) {
        if (same_thing(&t->rows[k].row, r))
            continue;
        if (n != k)
            t->rows[n] = t->rows[k];
        n++;
    }
    struct held *h = &t->rows[n++];
    h->row = *r;
    h->own = false;
    snprintf(h->text, sizeof h->text, "%s", r->text ? r->text : "");
    t->n_rows = n;
    return h;
}

/* A block has EDIT_ROWS_MAX things: itself, its light, a sign on each face. */
static unsigned thing_of(const struct row *r)
{
    return r->kind == ROW_SIGN ? 2u + r->face : r->kind;
}

static bool holds_block(const struct touched *t)
{
    for (unsigned k = 0; k < t->n_rows; k++) {
        if (t->rows[k].row.kind == ROW_BLOCK)
            return true;
    }
    return false;
}

bool edits_hold_back(struct gateway *g, struct session *s, struct chunk_pos c, const struct row *r)
{
    struct touched *t = s->touched ? touched_find(s, r->at) : NULL;
    if (!t)
        return false;
    if (r->rev <= t->overwrote[thing_of(r)])
        return true;
    /* Lights and signs have no mirrors. And a mirror that was held would be told to the block's own chunk too, where a
     * broken block takes the signs of others with it. */
    bool mirror = !chunk_eq(c, chunk_of_block(r->at.x, r->at.z));
    if (t->unanswered == 0 || (mirror && t->unanswered_blocks == 0 && !holds_block(t)))
        return false;
    hold_row(t, r);
    metric_add(g->metrics.held, 1);
    return true;
}

static bool writes(const struct edit *e, unsigned thing)
{
    if (e->kind == ROW_BLOCK && e->w == 0)
        return true;
    return thing == (e->kind == ROW_SIGN ? 2u + e->face : e->kind);
}

/* The edit was accepted at rev: what it wrote over is not news any more. */
static void overwrite(struct touched *t, const struct edit *e, uint64_t rev)
{
    unsigned n = 0;
    for (unsigned k = 0; k < EDIT_ROWS_MAX; k++) {
        if (writes(e, k))
            t->overwrote[k] = rev;
    }
    t->settle_rev = rev;
    for (unsigned k = 0; k < t->n_rows; k++) {
        if (writes(e, thing_of(&t->rows[k].row)) && t->rows[k].row.rev <= rev)
            continue;
        if (n != k)
            t->rows[n] = t->rows[k];
        n++;
    }
    t->n_rows = n;
}

/* The accepted edit as a row for its author, unless a later row of that thing is held. */
static void hold_own(struct touched *t, const struct edit *e, uint64_t rev)
{
    struct row row = {.at = e->at, .kind = e->kind, .rev = rev};
    t->broke = t->broke || (e->kind == ROW_BLOCK && e->w == 0);
    if (e->kind == ROW_SIGN) {
        row.face = e->face;
        row.text = e->text;
    } else {
        row.w = (int16_t)e->w;
    }
    for (unsigned k = 0; k < t->n_rows; k++) {
        if (same_thing(&t->rows[k].row, &row))
            return;
    }
    hold_row(t, &row)->own = true;
}

/* Of the held rows only those stay that take back what the client set and no row tells of. */
static void keep_unset(struct touched *t)
{
    unsigned n = 0;
    for (unsigned k = 0; k < t->n_rows; k++) {
        if (t->rows[k].row.kind == ROW_BLOCK || t->rows[k].row.rev)
            continue;
        if (n != k)
            t->rows[n] = t->rows[k];
        n++;
    }
    t->n_rows = n;
}

/* The owner did not take the edit: the block as it is replaces what was held. The client set a light or a sign that may
 * never have been there: then no row says so, and we do. */
static void correct(struct touched *t, const struct edit *e, const struct edit_result *r)
{
    struct row none = {.at = e->at, .kind = e->kind, .face = e->face, .text = e->kind == ROW_SIGN ? "" : NULL};
    bool told = e->kind == ROW_BLOCK || e->at.y <= 0 || e->at.y > BLOCK_Y_MAX || e->face >= SIGN_FACES;
    keep_unset(t);
    t->broke = false;
    t->corrected = true;
    for (unsigned k = 0; k < r->n_rows; k++) {
        const struct row *row = &r->rows[k];
        if (row->at.x != e->at.x || row->at.y != e->at.y || row->at.z != e->at.z)
            continue;
        told = told || same_thing(row, &none);
        hold_row(t, row);
    }
    if (!told)
        hold_row(t, &none);
}

static void touched_free(struct gateway *g, struct touched *t)
{
    if (t->settling) {
        DL_DELETE(t->settling->settling, t);
        router_drop(g, t->settling);
    }
    HASH_DEL(t->session->touched, t);
    free(t);
}

/* The rows to tell, the block's first: at a break's line a client drops light and signs, whatever it heard before or
 * set itself. So where one is told, the session's own light and signs follow it. */
static unsigned held_rows(const struct touched *t, struct row rows[EDIT_ROWS_MAX + 1])
{
    unsigned n = 0;
    bool own = t->echo;
    if (t->echo && t->broke) /* something may have been placed since */
        rows[n++] = (struct row){.at = t->at, .kind = ROW_BLOCK};
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned k = 0; k < t->n_rows; k++) {
            const struct held *h = &t->rows[k];
            if ((h->row.kind == ROW_BLOCK) != (pass == 0) || (h->own && !own))
                continue;
            rows[n] = h->row;
            rows[n++].text = h->row.kind == ROW_SIGN ? h->text : NULL;
            own = own || (pass == 0 && h->row.w == 0);
        }
    }
    return n;
}

/* One of its edits was answered. */
static void touched_release(struct gateway *g, struct session *s, struct touched *t, struct area *a)
{
    struct row rows[EDIT_ROWS_MAX + 1];
    if (--t->unanswered > 0)
        return;
    fanout_block(g, s, rows, held_rows(t, rows), t->corrected);
    t->n_rows = 0;
    t->corrected = t->echo = t->broke = false;
    if (t->settle_rev <= a->rev) {
        touched_free(g, t);
    } else if (!t->settling) {
        t->settling = router_hold(g, a->cell);
        DL_APPEND(a->settling, t);
    }
}

void edits_settle(struct gateway *g, struct area *a)
{
    struct touched *t, *next;
    DL_FOREACH_SAFE (a->settling, t, next) {
        if (t->unanswered == 0 && t->settle_rev <= a->rev)
            touched_free(g, t);
    }
}

/* ---- lanes ---- */

static struct lane *lane_find(struct session *s, struct cell_pos cell)
{
    struct lane *l;
    uint64_t id = cell_id(cell);
    HASH_FIND(hh, s->lanes, &id, sizeof id, l);
    return l;
}

/* A lane stays as long as its session: its numbers must never start again. */
static struct lane *lane_get(struct session *s, struct cell_pos cell)
{
    struct lane *l = lane_find(s, cell);
    if (l)
        return l;
    l = mem_zalloc(sizeof *l);
    l->id = cell_id(cell);
    l->cell = cell;
    l->session = s;
    HASH_ADD(hh, s->lanes, id, sizeof l->id, l);
    return l;
}

static void send_kept(struct gateway *g, struct lane *l, struct kept *k)
{
    k->edit.floor = l->kept->edit.seq;
    k->edit.text = k->edit.kind == ROW_SIGN ? k->text : NULL;
    node_links_edit(g, l->area->node, &k->edit);
}

static void send_again(struct gateway *g, struct lane *l, uint64_t from)
{
    struct kept *k;
    DL_FOREACH (l->kept, k) {
        if (k->edit.seq < from)
            continue;
        send_kept(g, l, k);
        metric_add(g->metrics.resent, 1);
    }
}

bool edits_take(struct gateway *g, struct session *s, const struct edit *e)
{
    if (!block_in_world(e->at.x, e->at.z) || !chunk_in_world(chunk_of_block(e->at.x, e->at.z)))
        return false;
    struct lane *l = lane_get(s, cell_of_block(e->at.x, e->at.z));
    if (!l->kept) {
        l->area = router_hold(g, l->cell);
        DL_APPEND(l->area->lanes, l);
        DL_APPEND2(s->busy, l, busy_prev, busy_next);
    }
    struct kept *k = mem_zalloc(sizeof *k);
    k->edit = *e;
    k->edit.session = session_id(g, s);
    k->edit.seq = ++l->last_seq;
    k->received_ms = g->now_ms;
    snprintf(k->text, sizeof k->text, "%s", e->text ? e->text : "");
    DL_APPEND(l->kept, k);
    touched_add(g, s, e);
    s->unanswered++;
    g->unanswered++;
    metric_add(g->metrics.edits, 1);
    if (area_owned(l->area))
        send_kept(g, l, k);
    if (s->unanswered >= g->set.session_edits_max)
        session_unread(g, s, UNREAD_EDITS, true);
    return true;
}

static void forget(struct gateway *g, struct lane *l, struct kept *k)
{
    struct session *s = l->session;
    DL_DELETE(l->kept, k);
    free(k);
    s->unanswered--;
    g->unanswered--;
    if (!l->kept) {
        DL_DELETE(l->area->lanes, l);
        router_drop(g, l->area);
        l->area = NULL;
        DL_DELETE2(s->busy, l, busy_prev, busy_next);
    }
}

static void on_wanted(struct gateway *g, struct lane *l, uint64_t seq)
{
    metric_add(g->metrics.wanted, 1);
    if (l->wanted_seq == seq && g->now_ms - l->wanted_ms < WANTED_AGAIN_MS)
        return;
    l->wanted_seq = seq;
    l->wanted_ms = g->now_ms;
    send_again(g, l, seq);
}

static void count_answer(struct gateway *g, const struct kept *k, enum outcome outcome)
{
    struct metric *m = outcome == EDIT_ACCEPTED  ? g->metrics.accepted
                       : outcome == EDIT_REFUSED ? g->metrics.refused
                                                 : g->metrics.known;
    metric_add(m, 1);
    metric_seconds(g->metrics.edit_seconds, (double)(g->now_ms - k->received_ms) / 1000);
}

void edits_result(struct gateway *g, struct area *a, const struct edit_result *r)
{
    struct session *s = r->session.gate == g->id ? session_by_count(g, r->session.count) : NULL;
    struct lane *l = s ? lane_find(s, r->cell) : NULL;
    struct kept *k = NULL;
    if (!l || l->area != a)
        return;
    if (r->outcome == EDIT_WANTED) {
        on_wanted(g, l, r->seq);
        return;
    }
    DL_FOREACH (l->kept, k) /* the oldest, as a rule */
        if (k->edit.seq >= r->seq)
            break;
    if (!k || k->edit.seq != r->seq)
        return;
    count_answer(g, k, r->outcome);
    struct touched *t = touched_find(s, k->edit.at);
    if (r->outcome == EDIT_ACCEPTED) {
        overwrite(t, &k->edit, r->rev);
        hold_own(t, &k->edit, r->rev);
    } else {
        correct(t, &k->edit, r);
    }
    t->unanswered_blocks -= k->edit.kind == ROW_BLOCK;
    touched_release(g, s, t, a);
    if (r->outcome == EDIT_REFUSED && refusal_text(r->reason)[0])
        session_talk(g, s, "%s", refusal_text(r->reason));
    forget(g, l, k);
    if (s->unanswered < g->set.session_edits_max - g->set.session_edits_max / 4)
        session_unread(g, s, UNREAD_EDITS, false);
}

void edits_granted(struct gateway *g, struct area *a)
{
    struct lane *l;
    edits_settle(g, a);
    DL_FOREACH (a->lanes, l) {
        l->wanted_seq = 0;
        send_again(g, l, 0);
    }
}

bool edits_waiting(const struct gateway *g, const struct session *s)
{
    const struct lane *l;
    DL_FOREACH2(s->busy, l, busy_next)
    {
        if (g->now_ms - l->kept->received_ms >= g->set.park_notice_ms)
            return true;
    }
    return false;
}

void edits_drop(struct gateway *g, struct session *s)
{
    struct lane *l, *next_lane;
    struct touched *t, *next;
    if (s->unanswered)
        log_warn("edits_dropped session=%" PRIu64 " count=%u", s->count, s->unanswered);
    HASH_ITER (hh, s->lanes, l, next_lane) {
        while (l->kept)
            forget(g, l, l->kept);
        HASH_DEL(s->lanes, l);
        free(l);
    }
    HASH_ITER (hh, s->touched, t, next)
        touched_free(g, t);
}
