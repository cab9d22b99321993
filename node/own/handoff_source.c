/* The source's end of a handoff: see handoff.h. */
#include "node/own/handoff.h"

#include "node/own/targets.h"

#include <assert.h>
#include <stdlib.h>

#include "proto/base/clock.h"
#include "proto/base/fault.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/base/metrics.h"

enum {
    OFFER_MS = 1000,  /* for an answer to the offer */
    FULL_MS = 1000,   /* before another copy is offered, where there was no memory for it */
    SILENT_MS = 3000, /* for a sign of life while copying */
    FREEZE_MS = 1000, /* for the last append; then the cell is served on */
    READY_MS = 500,   /* for ready after final */
    RETRY_MS = 30,    /* of a transfer that was not answered */
    PIECES_MAX = 16,  /* on their way to one node, of all cells: what a frozen cell's messages may stand behind */
    PIECE_ROWS = 256,
    /* Cells of a node between freeze and moved. Each waits for what is done for the others: a freeze lasts as long as
     * it takes to move so many cells, and fewer would not keep both ends and Redis busy. */
    FROZEN_MAX = 4
};

static const char *const phase_name[OUT_PHASES] = {"offered",  "copying", "followed",
                                                   "freezing", "final",   "transferring"};
/* Row: where we are. Bits: where we may go. Any phase may also end. */
static const unsigned may_go[OUT_PHASES] = {
    [OUT_OFFERED] = 1u << OUT_COPYING, [OUT_COPYING] = 1u << OUT_FOLLOWED,   [OUT_FOLLOWED] = 1u << OUT_FREEZING,
    [OUT_FREEZING] = 1u << OUT_FINAL,  [OUT_FINAL] = 1u << OUT_TRANSFERRING,
};

const char *handoff_phase_text(const struct owned *o)
{
    return o->out ? phase_name[o->out->phase] : o->in ? o->in->ready ? "ready" : "following" : "";
}

static void move(struct node *n, struct owned *o, enum out_phase to)
{
    assert(may_go[o->out->phase] & 1u << to);
    log_debug("handoff cell=%d,%d no=%llu from=%s to=%s", o->at.i, o->at.j, (unsigned long long)o->out->no,
              phase_name[o->out->phase], phase_name[to]);
    o->out->phase = to;
    o->out->since_ms = node_now(n);
}

static struct msg message(const struct owned *o, enum msg_kind kind)
{
    struct msg m = {.kind = kind};
    m.handoff.no = o->out->no;
    return m;
}

bool handoff_offer(struct node *n, struct owned *o, uint64_t target, bool follow_only)
{
    uint64_t link = keep_link_to(n, target);
    if (o->out || o->state != OWN_SERVING || !link || o->restoring)
        return false;
    o->out = mem_zalloc(sizeof *o->out);
    *o->out = (struct outgoing){.no = ++n->last_handoff,
                                .target = target,
                                .link = link,
                                .follow_only = follow_only,
                                .since_ms = node_now(n),
                                .begun_ms = node_now(n)};
    struct msg m = message(o, MSG_OFFER);
    m.handoff.offer = (struct msg_offer){.cell = o->at,
                                         .epoch = o->epoch,
                                         .rows = cell_rows(o->cell),
                                         .players = players_count(o->players),
                                         .load = load_plain(n, o),
                                         .follow_only = follow_only};
    node_send(n, link, &m);
    return true;
}

/* ---- room on the link ---- */

static void on_its_way(struct outgoing *out, struct gate_link *l)
{
    l->pieces++;
    out->on_way++;
}

/* Is there room for a piece more? If not, handoff_pump() goes on once there is. */
static bool take_room(struct node *n, struct outgoing *out)
{
    struct gate_link *l;
    HASH_FIND(hh, n->links, &out->link, sizeof out->link, l);
    if (l && l->pieces < PIECES_MAX) {
        on_its_way(out, l);
        return true;
    }
    n->handoffs_wait = true;
    return false;
}

/* A batch goes at once, room or not; but while rows follow it, it stands before them and is answered before them. */
static void take_more_room(struct node *n, struct outgoing *out)
{
    struct gate_link *l;
    HASH_FIND(hh, n->links, &out->link, sizeof out->link, l);
    if (l)
        on_its_way(out, l);
}

static void give_room(struct node *n, struct outgoing *out, uint64_t count)
{
    struct gate_link *l;
    unsigned less = count < out->on_way ? (unsigned)count : out->on_way;
    HASH_FIND(hh, n->links, &out->link, sizeof out->link, l);
    out->on_way -= less;
    if (l)
        l->pieces -= less;
}

static double froze_us(const struct outgoing *out)
{
    return (double)(clock_mono_us() - out->froze_us);
}

void handoff_out_free(struct node *n, struct owned *o)
{
    if (!o->out)
        return;
    give_room(n, o->out, o->out->on_way);
    if (o->out->phase >= OUT_FREEZING) { /* whether it moved or not: players waited for so long */
        double us = froze_us(o->out);
        n->n_frozen--;
        metric_seconds(node_metrics.freeze_seconds, us / 1e6);
        control_froze(n, us < UINT32_MAX ? (uint32_t)us : UINT32_MAX);
    }
    free(o->out);
    o->out = NULL;
}

/* ---- ending ---- */

static void thaw(struct node *n, struct owned *o)
{
    if (!o->frozen)
        return;
    o->frozen = false;
    journal_invite(n, o);
}

/* why: NULL when it moved. */
static void end(struct node *n, struct owned *o, const char *result, const char *why)
{
    if (!o->out->follow_only)
        metric_add(metrics_counter("spotcraft_node_handoffs_total", "Handoffs of cells that ended, by result.", result),
                   1);
    control_ended(n, o->out->no, why);
    handoff_out_free(n, o);
    thaw(n, o);
}

void handoff_cancel(struct node *n, struct owned *o, const char *why)
{
    struct msg m = message(o, MSG_ABORT);
    m.handoff.reason = why;
    log_info("handoff_aborted cell=%d,%d target=%016llx phase=%s reason=\"%s\"", o->at.i, o->at.j,
             (unsigned long long)o->out->target, phase_name[o->out->phase], why);
    node_send(n, o->out->link, &m);
    end(n, o, "result=\"aborted\"", why);
}

void handoff_abort(struct node *n, struct owned *o, const char *why)
{
    o->avoid = o->out->target;
    o->handoff_retry_ms = node_later(n, OFFER_MS);
    o->handoff_tries++;
    handoff_cancel(n, o, why);
}

/* ---- copying ---- */

struct piece {
    struct row *rows;
    unsigned n;
};

static void take_row(const struct row *r, void *arg)
{
    struct piece *p = arg;
    p->rows[p->n++] = *r;
}

static void send_batch(struct node *n, struct owned *o, const struct batch *b)
{
    struct msg m = message(o, MSG_FOLLOW);
    m.handoff.follow = (struct msg_follow){b->epoch, b->n, b->bytes->data, b->bytes->len};
    node_send(n, o->out->link, &m);
    o->out->sent++;
    o->out->sent_epoch = b->epoch;
    o->out->sent_n = b->n;
    n->gone.bytes += b->bytes->len;
    metric_add(node_metrics.handoff_bytes, (double)b->bytes->len);
}

/* Batches before rows: a row that the store does not have is so known as one there, too. */
static bool send_kept(struct node *n, struct owned *o)
{
    struct outgoing *out = o->out;
    for (const struct batch *b = o->kept; b; b = b->next) {
        if (b->epoch < out->sent_epoch || (b->epoch == out->sent_epoch && b->n <= out->sent_n))
            continue;
        if (!take_room(n, out))
            return false;
        send_batch(n, o, b);
    }
    return out->caught_up = true;
}

static void advance(struct node *n, struct owned *o);

static void send_end(struct node *n, struct owned *o)
{
    struct blob *seen = journal_seen(n, o);
    struct msg m = message(o, MSG_COPY_END);
    m.handoff.copy_end = (struct msg_copy_end){.n = o->n,
                                               .rev = cell_rev(o->cell),
                                               .generation = n->generation,
                                               .stored_epoch = o->stored_epoch,
                                               .stored_n = o->stored_n,
                                               .key_floor = cell_key_floor(o->cell),
                                               .seen = seen ? seen->data : NULL,
                                               .seen_bytes = seen ? seen->len : 0};
    node_send(n, o->out->link, &m);
    blob_unref(seen);
    move(n, o, OUT_FOLLOWED);
}

static void copy(struct node *n, struct owned *o)
{
    struct outgoing *out = o->out;
    if (!out->caught_up && !send_kept(n, o))
        return;
    bool more = true;
    while (more && take_room(n, out)) {
        struct piece p = {.rows = mem_array(PIECE_ROWS, sizeof *p.rows)};
        more = cell_scan(o->cell, &out->cursor, PIECE_ROWS, take_row, &p);
        struct msg m = message(o, MSG_COPY);
        m.handoff.copy.rows = p.rows;
        m.handoff.copy.n = p.n;
        struct blob *b = msg_encode(&m);
        n->env.net->send(n->env.net_ctx, out->link, b);
        n->gone.bytes += b->len;
        metric_add(node_metrics.handoff_bytes, (double)b->len);
        blob_unref(b);
        free(p.rows);
        out->sent++;
    }
    if (!more)
        send_end(n, o);
}

void handoff_committed(struct node *n, struct owned *o, const struct batch *b)
{
    if (!o->out || !o->out->caught_up || o->out->phase >= OUT_FINAL)
        return;
    if (o->out->phase < OUT_FOLLOWED)
        take_more_room(n, o->out);
    send_batch(n, o, b);
    advance(n, o);
}

void handoff_stored(struct node *n, struct owned *o, uint64_t rev)
{
    if (!o->out || o->out->phase < OUT_FOLLOWED)
        return;
    struct msg m = message(o, MSG_STORED);
    m.handoff.stored.epoch = o->stored_epoch;
    m.handoff.stored.n = o->stored_n;
    m.handoff.stored.rev = rev;
    node_send(n, o->out->link, &m);
}

/* ---- freeze, final, transfer ---- */

static void freeze(struct node *n, struct owned *o)
{
    o->frozen = true;
    o->n_handed_back = 0;
    n->n_frozen++;
    o->out->froze_us = clock_mono_us();
    FAULT("handoff.frozen");
    move(n, o, OUT_FREEZING);
}

static void finish(struct node *n, struct owned *o)
{
    struct msg m = message(o, MSG_FINAL);
    m.handoff.n = o->n;
    node_send(n, o->out->link, &m);
    move(n, o, OUT_FINAL);
}

/* Goes on as far as it can without an answer: a frozen cell must not wait for a tick. */
static void advance(struct node *n, struct owned *o)
{
    if (o->out->phase == OUT_FOLLOWED && !o->out->follow_only) {
        if (n->n_frozen < FROZEN_MAX)
            freeze(n, o);
        else
            n->handoffs_wait = true;
    }
    if (o->out->phase == OUT_FREEZING && !o->in_flight && !o->open)
        finish(n, o);
}

void handoff_promote_to(struct node *n, struct owned *o)
{
    o->out->follow_only = false;
    advance(n, o);
}

static unsigned players_along(struct owned *o, struct msg_enter *out)
{
    unsigned count = 0;
    for (struct player *who = o->players->by_session; who; who = who->hh.next)
        out[count++] = (struct msg_enter){.session = who->session,
                                          .player = who->id,
                                          .nick = who->nick,
                                          .account = who->account,
                                          .visit = who->visit,
                                          .count = who->count,
                                          .place = who->place,
                                          .cell = o->at};
    return count;
}

/* Redis says that it is the target's. */
static void moved(struct node *n, struct owned *o)
{
    struct outgoing *out = o->out;
    struct msg m = message(o, MSG_COMMIT);
    FAULT("handoff.transferred");
    m.handoff.commit.epoch = o->epoch + 1;
    m.handoff.commit.players = mem_array(players_count(o->players), sizeof *m.handoff.commit.players);
    m.handoff.commit.n_players = players_along(o, m.handoff.commit.players);
    node_send(n, out->link, &m);
    free(m.handoff.commit.players);
    metric_seconds(node_metrics.handoff_seconds, (double)(node_now(n) - out->begun_ms) / 1e3);
    metric_add(node_metrics.handed_back, o->n_handed_back);
    uint64_t target = out->target, epoch = o->epoch + 1;
    log_info("cell_moved cell=%d,%d to=%016llx epoch=%llu rows=%zu players=%u freeze_us=%.0f ms=%llu", o->at.i, o->at.j,
             (unsigned long long)target, (unsigned long long)epoch, cell_rows(o->cell), players_count(o->players),
             froze_us(out), (unsigned long long)(node_now(n) - out->begun_ms));
    o->frozen = false; /* there is nobody to invite: they go to the target */
    control_moved(n, o);
    end(n, o, "result=\"moved\"", NULL);
    players_free(o->players); /* they went along: their places are the target's to save */
    o->players = players_new();
    claim_drop(n, o, target, epoch, 0, "moved");
}

struct transfers {
    struct node *node;
    unsigned n;
    struct {
        struct cell_pos at;
        uint64_t serial;
    } of[COORD_CELLS_MAX];
};

static void answered(struct node *n, struct owned *o, const struct coord_cell *c)
{
    bool theirs = c->owner == o->out->target && c->owner_epoch == o->epoch + 1; /* taken before: the answer got lost */
    if (c->answer == CELL_TAKEN || theirs) {
        moved(n, o);
    } else if (c->answer == CELL_BEHIND) {
        handoff_cancel(n, o, "redis went back");
        keep_behind(n, o);
    } else {
        claim_drop(n, o, c->owner, c->owner_epoch, 0, "transfer_refused");
    }
}

static void on_transferred(struct coord_req *req, void *arg)
{
    struct transfers *t = arg;
    struct node *n = t->node;
    for (unsigned k = 0; k < t->n; k++) {
        struct owned *o = node_owned_serial(n, t->of[k].at, t->of[k].serial);
        if (!o || !o->out || o->out->phase != OUT_TRANSFERRING)
            continue;
        if (req->err == ERR_OK) {
            answered(n, o, &req->cells.cells[k]);
        } else {
            o->out->transfer_sent = false;
            o->out->retry_ms = node_later(n, RETRY_MS);
        }
    }
    free(t);
    coord_req_free(req);
    handoff_pump(n);
}

static bool transfer_due(const struct node *n, const struct owned *o)
{
    return o->out && o->out->phase == OUT_TRANSFERRING && !o->out->transfer_sent && o->out->retry_ms <= node_now(n);
}

/* One request moves all cells that are ready to go to one target. */
static void transfer_with(struct node *n, struct owned *first)
{
    struct transfers *t = mem_zalloc(sizeof *t);
    struct owned *list[COORD_CELLS_MAX];
    t->node = n;
    for (struct owned *o = first; o && t->n < COORD_CELLS_MAX; o = o->hh.next) {
        if (!transfer_due(n, o) || o->out->target != first->out->target)
            continue;
        o->out->transfer_sent = true;
        t->of[t->n].at = o->at;
        t->of[t->n].serial = o->serial;
        list[t->n++] = o;
    }
    struct coord_req *req = coord_req_new(COORD_TRANSFER, n->id, on_transferred, t);
    struct coord_cell *c = coord_req_cells(req, t->n);
    req->cells.target = first->out->target;
    for (unsigned k = 0; k < t->n; k++) {
        c[k].cell = list[k]->at;
        c[k].epoch = list[k]->epoch;
        c[k].n = list[k]->n;
    }
    coord_submit(n->env.coord, req);
}

/* Cells that waited for others: for room on the link, or to be frozen. */
static void go_on(struct node *n)
{
    n->handoffs_wait = false;
    for (struct owned *o = n->cells; o; o = o->hh.next) {
        if (o->out && o->out->phase == OUT_COPYING)
            copy(n, o);
        if (o->out)
            advance(n, o);
    }
}

void handoff_pump(struct node *n)
{
    if (n->handoffs_wait)
        go_on(n);
    if (!n->transfers_due)
        return;
    n->transfers_due = false;
    for (struct owned *o = n->cells; o; o = o->hh.next) {
        if (transfer_due(n, o))
            transfer_with(n, o);
    }
}

/* ---- what the target says ---- */

static const char *refused(enum offer_answer a)
{
    return a == OFFER_FULL          ? "the target has no room"
           : a == OFFER_NOT_RUNNING ? "the target is not running"
           : a == OFFER_HELD        ? "the target has or wants the cell itself"
                                    : "the target refused it";
}

static void on_offer_answer(struct node *n, struct owned *o, enum offer_answer a)
{
    if (o->out->phase != OUT_OFFERED)
        return;
    if (a != OFFER_ACCEPTED) {
        bool no_copies = a == OFFER_FULL && o->out->follow_only; /* it may have room for cells all the same */
        if (a != OFFER_FULL)
            o->handoff_tries++;
        else if (!no_copies)
            targets_full(n, o->out->target);
        o->avoid = o->out->target;
        o->handoff_retry_ms = node_later(n, no_copies ? FULL_MS : RETRY_MS);
        end(n, o, "result=\"refused\"", refused(a));
        return;
    }
    move(n, o, OUT_COPYING);
    copy(n, o);
    advance(n, o);
}

static void on_ready(struct node *n, struct owned *o, uint64_t nr)
{
    if (o->out->phase != OUT_FINAL)
        return;
    if (nr != o->n) {
        handoff_abort(n, o, "ready for another batch");
        return;
    }
    FAULT("handoff.before_transfer");
    move(n, o, OUT_TRANSFERRING);
    n->transfers_due = true;
}

static struct owned *outgoing(struct node *n, uint64_t link, uint64_t no)
{
    for (struct owned *o = n->cells; o; o = o->hh.next) {
        if (o->out && o->out->no == no && o->out->link == link)
            return o;
    }
    return NULL;
}

void handoff_source_msg(struct node *n, struct gate_link *l, const struct msg *m)
{
    struct owned *o = outgoing(n, l->link, m->handoff.no);
    if (!o)
        return;
    struct outgoing *out = o->out;
    switch (m->kind) {
    case MSG_OFFER_ANSWER:
        on_offer_answer(n, o, m->handoff.answer);
        break;
    case MSG_GOT:
        if (m->handoff.pieces > out->got && m->handoff.pieces <= out->sent) {
            give_room(n, out, m->handoff.pieces - out->got);
            out->got = m->handoff.pieces;
        }
        if (out->phase == OUT_COPYING) {
            out->since_ms = node_now(n);
            copy(n, o);
            advance(n, o);
        }
        break;
    case MSG_READY:
        on_ready(n, o, m->handoff.n);
        break;
    case MSG_ABORT:
        if (out->phase < OUT_TRANSFERRING)
            handoff_abort(n, o, "the target gave up");
        break;
    default:
        break;
    }
}

/* ---- time ---- */

void handoff_source_tick(struct node *n, struct owned *o)
{
    static const uint32_t limit_ms[OUT_PHASES] = {
        [OUT_OFFERED] = OFFER_MS, [OUT_COPYING] = SILENT_MS, [OUT_FREEZING] = FREEZE_MS, [OUT_FINAL] = READY_MS};
    struct outgoing *out = o->out;
    if (!out)
        return;
    if (out->phase == OUT_TRANSFERRING) {
        n->transfers_due = n->transfers_due || transfer_due(n, o);
        return;
    }
    if (o->restoring) {
        handoff_cancel(n, o, "redis went back");
        return;
    }
    if (out->phase == OUT_COPYING && !out->on_way) /* it waits for room: the target owes nothing */
        out->since_ms = node_now(n);
    if (limit_ms[out->phase] && node_now(n) - out->since_ms >= limit_ms[out->phase]) {
        if (out->phase == OUT_FREEZING) { /* Redis owes it */
            o->handoff_retry_ms = node_later(n, OFFER_MS);
            handoff_cancel(n, o, "the last append is not answered");
        } else {
            handoff_abort(n, o, "no answer");
        }
        return;
    }
    advance(n, o);
}
