/* The target's end of a handoff, and what it does with its copy when the source is gone: see handoff.h. */
#include <stdlib.h>

#include "node/own/balance.h"
#include "node/own/handoff.h"
#include "proto/base/fault.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/base/metrics.h"

enum {
    SILENT_MS = 10000,      /* a source that says nothing for so long has forgotten us */
    ASK_MS = 300,           /* ready, and no word: is it ours? */
    KEEP_MS = 15000,        /* a copy without source: longer than any lease lasts */
    COPIES_MAX = 4096,      /* cells that a node holds, owned or followed */
    FOLLOWED_ROWS = 1 << 20 /* of copies for others */
};

static void say(struct node *n, const struct owned *o, enum msg_kind kind, uint64_t value)
{
    struct msg m = {.kind = kind};
    m.handoff.no = o->in->no;
    if (kind == MSG_GOT)
        m.handoff.pieces = value;
    else
        m.handoff.n = value;
    node_send(n, o->in->link, &m);
}

static void give_up(struct node *n, struct owned *o, const char *why)
{
    log_info("copy_dropped cell=%d,%d source=%016llx reason=\"%s\"", o->at.i, o->at.j,
             (unsigned long long)o->in->source, why);
    claim_drop(n, o, 0, 0, 0, why);
}

void handoff_cell_gone(struct node *n, struct owned *o, const char *why)
{
    uint64_t no = o->out ? o->out->no : o->in ? o->in->no : 0;
    uint64_t link = o->out ? o->out->link : o->in ? o->in->link : 0;
    if (no) {
        struct msg m = {.kind = MSG_ABORT};
        m.handoff.no = no;
        m.handoff.reason = why;
        node_send(n, link, &m);
    }
    if (o->out)
        control_ended(n, no, why);
    handoff_out_free(n, o);
    free(o->in);
    o->in = NULL;
}

/* ---- taking the copy ---- */

/* An older node does not say it. */
static uint32_t offer_load(const struct msg_offer *offer)
{
    return offer->load ? offer->load : load_weight(offer->players, 0, 0);
}

/* Rows that are kept here for others alone. */
static uint64_t followed_rows(const struct node *n)
{
    uint64_t rows = 0;
    for (const struct owned *o = n->cells; o; o = o->hh.next)
        rows += o->in && o->in->follow_only ? cell_rows(o->cell) : 0;
    return rows;
}

static enum offer_answer judge(struct node *n, const struct msg_offer *offer)
{
    const struct owned *o = node_owned(n, offer->cell);
    if (n->spot.phase != SPOT_RUNNING || n->held)
        return OFFER_NOT_RUNNING;
    if (o && o->state != OWN_FOLLOWING)
        return OFFER_HELD;
    if (HASH_COUNT(n->cells) >= COPIES_MAX)
        return OFFER_FULL;
    if (offer->follow_only)
        return followed_rows(n) + offer->rows <= FOLLOWED_ROWS ? OFFER_ACCEPTED : OFFER_FULL;
    uint32_t more = load_scaled(offer_load(offer), n->cpu_milli);
    return balance_has_room(n->members, n->n_members, load_node(n).told, more) ? OFFER_ACCEPTED : OFFER_FULL;
}

static void on_offer(struct node *n, struct gate_link *l, const struct msg *m)
{
    const struct msg_offer *offer = &m->handoff.offer;
    struct msg answer = {.kind = MSG_OFFER_ANSWER};
    answer.handoff.no = m->handoff.no;
    answer.handoff.answer = judge(n, offer);
    if (answer.handoff.answer == OFFER_ACCEPTED) {
        struct owned *o = node_owned(n, offer->cell);
        if (o) /* of another handoff: this one is the source's last word */
            give_up(n, o, "offered anew");
        o = node_owned_add(n, offer->cell);
        o->state = OWN_FOLLOWING;
        o->cell = cell_new(o->at);
        o->players = players_new();
        o->in = mem_zalloc(sizeof *o->in);
        *o->in = (struct incoming){.no = m->handoff.no,
                                   .source = l->peer,
                                   .link = l->link,
                                   .follow_only = offer->follow_only,
                                   .epoch = offer->epoch,
                                   .heard_ms = node_now(n)};
        load_said(n, o, offer_load(offer));
    }
    node_send(n, l->link, &answer);
}

static void load_rows(struct owned *o, const struct row *rows, unsigned count, bool dirty)
{
    for (unsigned k = 0; k < count; k++) {
        if (cell_load_row(o->cell, &rows[k], dirty) != ERR_OK)
            log_error("row_unreadable cell=%d,%d from=handoff", o->at.i, o->at.j);
    }
}

static bool on_follow(struct node *n, struct owned *o, const struct msg_follow *f)
{
    struct row *rows;
    unsigned count;
    arena_reset(n->scratch);
    if (record_decode_batch(f->batch, f->batch_bytes, n->scratch, &rows, &count) != ERR_OK)
        return false;
    if (o->in->whole && (f->epoch != o->in->epoch || f->n != o->in->n + 1))
        return false; /* one is missing */
    uint64_t now_s = node_unix_s(n);
    load_rows(o, rows, count, true);
    for (unsigned k = 0; k < count; k++) {
        if (rows[k].author.gate)
            journal_see(o, rows[k].author, rows[k].seq, now_s);
    }
    if (f->epoch == o->in->epoch)
        o->in->n = f->n;
    journal_keep(o, f->epoch, f->n, blob_new(f->batch, f->batch_bytes));
    return true;
}

static bool on_copy_end(struct node *n, struct owned *o, const struct msg_copy_end *e)
{
    struct seen *seen;
    unsigned count = 0;
    arena_reset(n->scratch);
    if (record_decode_seen(e->seen, e->seen_bytes, n->scratch, &seen, &count) != ERR_OK)
        return false;
    for (unsigned k = 0; k < count; k++)
        journal_see(o, seen[k].session, seen[k].seq, seen[k].at_s);
    cell_raise(o->cell, e->rev, e->key_floor);
    o->in->n = e->n;
    o->in->generation = e->generation;
    o->in->whole = true;
    journal_stored(o, e->stored_epoch, e->stored_n);
    return true;
}

/* The source wrote rows up to rev to the store: they are not ours to write. */
static void on_stored(struct node *n, struct owned *o, uint64_t epoch, uint64_t nr, uint64_t rev)
{
    unsigned dirty = cell_dirty(o->cell);
    struct row *rows = mem_array(dirty + 1, sizeof *rows);
    arena_reset(n->scratch);
    dirty = cell_dirty_rows(o->cell, n->scratch, rows, dirty);
    for (unsigned k = 0; k < dirty; k++) {
        if (rows[k].rev <= rev)
            cell_flushed(o->cell, &rows[k], 1);
    }
    free(rows);
    journal_stored(o, epoch, nr);
}

static void on_commit(struct node *n, struct owned *o, const struct msg_commit *c)
{
    struct incoming *in = o->in;
    uint64_t now = node_now(n);
    if (!in->ready || c->epoch != in->epoch + 1)
        return;
    FAULT("handoff.committed");
    o->epoch = c->epoch;
    o->n = 0;
    o->generation = in->generation;
    for (unsigned k = 0; k < c->n_players; k++) {
        if (cell_eq(c->players[k].cell, o->at))
            players_enter(o->players, &c->players[k], 0);
    }
    players_orphan(o->players, 0, now); /* their gateways enter them again over links of their own */
    o->settled_ms = now;
    o->came_from = in->source;
    free(in);
    o->in = NULL;
    o->row_dirty = true; /* the store's row is raised with the first flush */
    o->dirty_from_ms = o->idle_from_ms = now;
    owned_move(n, o, OWN_SERVING);
    log_info("cell_received cell=%d,%d epoch=%llu rev=%llu rows=%zu players=%u", o->at.i, o->at.j,
             (unsigned long long)o->epoch, (unsigned long long)cell_rev(o->cell), cell_rows(o->cell),
             players_count(o->players));
    serve_grant(n, o);
}

static struct owned *incoming(struct node *n, uint64_t link, uint64_t no)
{
    for (struct owned *o = n->cells; o; o = o->hh.next) {
        if (o->in && o->in->no == no && o->in->link == link)
            return o;
    }
    return NULL;
}

void handoff_target_msg(struct node *n, struct gate_link *l, const struct msg *m)
{
    if (m->kind == MSG_OFFER) {
        on_offer(n, l, m);
        return;
    }
    struct owned *o = incoming(n, l->link, m->handoff.no);
    if (!o)
        return;
    const struct msg_handoff *h = &m->handoff;
    bool good = true;
    o->in->heard_ms = node_now(n);
    switch (m->kind) {
    case MSG_COPY:
        load_rows(o, h->copy.rows, h->copy.n, false);
        say(n, o, MSG_GOT, ++o->in->pieces);
        break;
    case MSG_FOLLOW:
        good = on_follow(n, o, &h->follow);
        if (good)
            say(n, o, MSG_GOT, ++o->in->pieces);
        break;
    case MSG_COPY_END:
        good = on_copy_end(n, o, &h->copy_end);
        break;
    case MSG_STORED:
        on_stored(n, o, h->stored.epoch, h->stored.n, h->stored.rev);
        break;
    case MSG_FINAL:
        good = o->in->whole && o->in->n == h->n;
        if (good) {
            o->in->ready = true;
            o->in->ask_ms = node_now(n) + ASK_MS;
            say(n, o, MSG_READY, h->n);
        }
        break;
    case MSG_COMMIT:
        on_commit(n, o, &h->commit);
        break;
    case MSG_ABORT:
        give_up(n, o, "the source gave up");
        break;
    default:
        break;
    }
    if (!good)
        give_up(n, o, "a batch is missing or broken");
}

/* ---- when the source is gone ---- */

/* The link to the source broke, or Redis says that the cell is ours. The claim reads the owner first: a source that
 * lives after all keeps its cell. */
static void promote(struct node *n, struct owned *o)
{
    struct incoming *in = o->in;
    if (!in->whole) {
        give_up(n, o, "the copy is not whole");
        return;
    }
    log_info("promoting cell=%d,%d source=%016llx epoch=%llu n=%llu", o->at.i, o->at.j, (unsigned long long)in->source,
             (unsigned long long)in->epoch, (unsigned long long)in->n);
    o->warm = true;
    o->warm_until_ms = node_now(n) + KEEP_MS;
    o->replay_epoch = in->epoch;
    o->replay_n = in->n;
    o->generation = in->generation;
    o->checked = true;
    o->wanted_ms = node_now(n);
    free(in);
    o->in = NULL;
    owned_move(n, o, OWN_WANTED);
    o->retry_ms = node_now(n);
}

static void on_whose(struct coord_req *req, void *arg)
{
    struct about *a = arg;
    struct node *n = a->node;
    struct owned *o = about_take(a);
    if (o && o->in && req->err == ERR_OK) {
        const struct coord_cell *c = &req->cells.cells[0];
        if (c->owner == n->id)
            promote(n, o);
        else if (c->owner_epoch > o->in->epoch)
            give_up(n, o, "owned elsewhere");
    }
    coord_req_free(req);
}

static void ask_whose(struct node *n, struct owned *o)
{
    struct coord_req *req = coord_req_new(COORD_OWNERS, n->id, on_whose, about_new(n, o));
    coord_req_cells(req, 1)->cell = o->at;
    o->in->ask_ms = node_later(n, ASK_MS);
    coord_submit(n->env.coord, req);
}

void handoff_target_tick(struct node *n, struct owned *o)
{
    struct incoming *in = o->in;
    uint64_t now = node_now(n);
    if (!in)
        return;
    if (in->ready && now >= in->ask_ms)
        ask_whose(n, o);
    else if (!in->ready && !in->follow_only && now - in->heard_ms >= SILENT_MS)
        give_up(n, o, "the source is silent");
}

void handoff_link_down(struct node *n, uint64_t link)
{
    struct owned *o, *next;
    HASH_ITER (hh, n->cells, o, next) {
        if (o->out && o->out->link == link && o->out->phase < OUT_TRANSFERRING)
            handoff_abort(n, o, "the link broke");
        else if (o->in && o->in->link == link)
            promote(n, o);
    }
}
