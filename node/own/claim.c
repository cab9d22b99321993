/* A cell from nobody's to served, in this order, and no other:
 *
 *   owners   who owns it, and its neighbours?       somebody alive: not mine; better elsewhere: redirect
 *   claim    Redis: (me, max(Redis, floor) + 1, 0)  refused: not mine
 *   load     store: raise the row to my epoch,      not lower: claim again above it
 *            then read the rows
 *   replay   Redis: the journal, above each row's rev
 *
 * Only then is anybody answered. Each step that was not answered is tried again as it is. */
#include <stdlib.h>

#include "node/own/handoff.h"
#include "node/own/placement.h"
#include "node/parts.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/base/metrics.h"

enum {
    RETRY_MS = 60,
    RETRY_STORE_MS = 250,
    CLOSED_RETRY_MS = 200,
    GENERATION_JUMP = 1 << 20 /* more changes than a cell or chunk sees between a flush and a crash */
};

/* The cells that one request is about. */
struct round {
    struct node *node;
    unsigned n;
    struct {
        struct cell_pos at;
        uint64_t serial;
    } of[COORD_CELLS_MAX];
};

static struct owned *round_cell(const struct round *r, unsigned k)
{
    return node_owned_serial(r->node, r->of[k].at, r->of[k].serial);
}

/* Collects the cells whose step in this state is due; NULL when there are none. */
static struct round *round_due(struct node *n, enum own_state state)
{
    uint64_t now = node_now(n);
    struct round *r = NULL;
    for (struct owned *o = n->cells; o; o = o->hh.next) {
        if (o->state != state || !o->retry_ms || o->retry_ms > now)
            continue;
        if (!r) {
            r = mem_zalloc(sizeof *r);
            r->node = n;
        }
        r->of[r->n].at = o->at;
        r->of[r->n].serial = o->serial;
        o->retry_ms = 0;
        if (++r->n == COORD_CELLS_MAX)
            break;
    }
    return r;
}

static void due(struct node *n, struct owned *o, enum own_state state)
{
    owned_move(n, o, state);
    o->retry_ms = node_now(n);
}

void claim_want(struct node *n, uint64_t link, const struct msg_want *want)
{
    struct owned *o = node_owned(n, want->cell);
    if (o && o->state == OWN_FOLLOWING && !o->in->ready) { /* not ours, and not about to be */
        serve_not_mine(n, link, want->cell, o->in->source, o->in->epoch, 0);
        return;
    }
    if (!o && !node_takes_part(n)) {
        serve_not_mine(n, link, want->cell, 0, 0, 0);
        return;
    }
    if (!o) {
        o = node_owned_add(n, want->cell);
        o->retry_ms = o->wanted_ms = node_now(n);
    }
    o->checked = o->checked || want->redirected;
    if (!link)
        return;
    for (unsigned k = 0; k < o->n_waiting; k++) {
        if (o->waiting[k].link == link) {
            o->waiting[k].want = *want;
            return;
        }
    }
    if (o->n_waiting == o->waiting_cap) {
        o->waiting_cap = o->waiting_cap ? 2 * o->waiting_cap : 2;
        o->waiting = mem_resize(o->waiting, o->waiting_cap * sizeof *o->waiting);
    }
    o->waiting[o->n_waiting++] = (struct waiting){link, *want};
}

void claim_drop(struct node *n, struct owned *o, uint64_t owner, uint64_t epoch, uint64_t redirect, const char *why)
{
    if (o->state >= OWN_SERVING) {
        log_info("cell_dropped cell=%d,%d epoch=%llu reason=%s owner=%016llx owner_epoch=%llu pending=%u", o->at.i,
                 o->at.j, (unsigned long long)o->epoch, why, (unsigned long long)owner, (unsigned long long)epoch,
                 o->n_pending);
        metric_add(node_metrics.drops, 1);
    }
    for (unsigned k = 0; k < o->n_subs; k++)
        serve_not_mine(n, o->subs[k].link, o->at, owner, epoch, redirect);
    for (unsigned k = 0; k < o->n_waiting; k++)
        serve_not_mine(n, o->waiting[k].link, o->at, owner, epoch, redirect);
    handoff_cell_gone(n, o, why);
    presence_cell_gone(n, o);
    node_owned_free(n, o);
}

/* What was loaded is of no use: as if it had never been here. */
static void forget_copy(struct owned *o)
{
    if (!o->warm)
        return;
    log_info("copy_useless cell=%d,%d epoch=%llu n=%llu: loading from the store", o->at.i, o->at.j,
             (unsigned long long)o->replay_epoch, (unsigned long long)o->replay_n);
    journal_free(o);
    cell_free(o->cell);
    players_free(o->players);
    o->cell = NULL;
    o->players = NULL;
    o->warm = o->lost = false;
    o->replay_epoch = o->replay_n = 0;
}

/* Does the journal lead on from the copy, as far as Redis says that there is any? */
static void judge_copy(struct node *n, struct owned *o, const struct coord_cell *c)
{
    bool transferred = c->owner == n->id && c->owner_epoch == o->replay_epoch + 1;
    o->lost = c->owner_epoch < o->replay_epoch || (c->owner_epoch == o->replay_epoch && c->owner_n < o->replay_n);
    o->expect_n = c->owner_epoch == o->replay_epoch && !o->lost ? c->owner_n : o->replay_n;
    if (c->owner_epoch > o->replay_epoch && !transferred)
        forget_copy(o);
    else if (o->lost && o->floor <= o->replay_epoch)
        o->floor = o->replay_epoch + 1; /* above whatever was, so that its batches go back below ours */
}

/* ---- owners ---- */

static void decide(struct node *n, struct owned *o, const struct coord_cell *c)
{
    bool mine = c->owner == n->id;
    if (o->warm && c->owner_alive && !mine && c->owner_epoch == o->replay_epoch && node_now(n) < o->warm_until_ms) {
        o->retry_ms = node_later(n, RETRY_MS); /* our source may be dead, and its lease not yet */
        return;
    }
    if (c->owner && c->owner_alive && !mine) {
        claim_drop(n, o, c->owner, c->owner_epoch, 0, "owned_elsewhere");
        return;
    }
    bool ours = mine || o->warm; /* Redis names us; or what others would have to load is here */
    if (!ours && !node_takes_part(n)) {
        claim_drop(n, o, 0, 0, keep_choose(n, o->at, NULL), "leaving");
        return;
    }
    if (!lease_may_claim(&n->lease, node_now(n)) || n->closed) {
        o->retry_ms = node_later(n, CLOSED_RETRY_MS);
        return;
    }
    bool settled = o->checked && n->spot.phase == SPOT_RUNNING; /* at risk: only what nobody else could take */
    if (!settled && !ours && o->n_waiting > 0) {
        uint64_t owners[NEIGHBOURS];
        for (unsigned k = 0; k < NEIGHBOURS; k++)
            owners[k] = c[1 + k].owner_alive ? c[1 + k].owner : 0;
        uint64_t target = keep_choose(n, o->at, owners);
        if (target && target != n->id) {
            claim_drop(n, o, 0, 0, target, "placed_elsewhere");
            return;
        }
    }
    if (o->warm)
        judge_copy(n, o, c);
    o->believed = c->owner;
    due(n, o, OWN_CLAIMING);
}

static void on_owners(struct coord_req *req, void *arg)
{
    struct round *r = arg;
    struct node *n = r->node;
    for (unsigned k = 0; k < r->n; k++) {
        struct owned *o = round_cell(r, k);
        if (!o || o->state != OWN_WANTED)
            continue;
        if (req->err == ERR_OK)
            decide(n, o, &req->cells.cells[k * (1 + NEIGHBOURS)]);
        else
            o->retry_ms = node_later(n, RETRY_MS);
    }
    free(r);
    coord_req_free(req);
    claim_pump(n);
}

static void ask_owners(struct round *r)
{
    struct coord_req *req = coord_req_new(COORD_OWNERS, r->node->id, on_owners, r);
    struct coord_cell *c = coord_req_cells(req, r->n * (1 + NEIGHBOURS));
    for (unsigned k = 0; k < r->n; k++) {
        struct cell_pos around[NEIGHBOURS];
        placement_neighbours(r->of[k].at, around);
        (c++)->cell = r->of[k].at;
        for (unsigned m = 0; m < NEIGHBOURS; m++)
            (c++)->cell = around[m];
    }
    coord_submit(r->node->env.coord, req);
}

/* ---- claim ---- */

static void load(struct node *n, struct owned *o);

static void claimed(struct node *n, struct owned *o, const struct coord_cell *c)
{
    switch (c->answer) {
    case CELL_TAKEN:
        o->epoch = c->owner_epoch;
        o->n = 0;
        due(n, o, OWN_LOADING);
        load(n, o);
        return;
    case CELL_CLOSED:
        owned_move(n, o, OWN_WANTED);
        o->retry_ms = node_later(n, CLOSED_RETRY_MS);
        return;
    default:
        if (c->owner != n->id && c->owner) {
            claim_drop(n, o, c->owner, c->owner_epoch, 0, "claimed_elsewhere");
            return;
        }
        /* Our own claim that we never heard of, or nobody any more: read it again. */
        owned_move(n, o, OWN_WANTED);
        o->retry_ms = node_later(n, RETRY_MS);
    }
}

static void on_claimed(struct coord_req *req, void *arg)
{
    struct round *r = arg;
    struct node *n = r->node;
    for (unsigned k = 0; k < r->n; k++) {
        struct owned *o = round_cell(r, k);
        if (!o || o->state != OWN_CLAIMING)
            continue;
        if (req->err == ERR_OK)
            claimed(n, o, &req->cells.cells[k]);
        else
            o->retry_ms = node_later(n, RETRY_MS);
    }
    free(r);
    coord_req_free(req);
}

static void send_claims(struct round *r)
{
    struct coord_req *req = coord_req_new(COORD_CLAIM, r->node->id, on_claimed, r);
    struct coord_cell *c = coord_req_cells(req, r->n);
    for (unsigned k = 0; k < r->n; k++) {
        const struct owned *o = round_cell(r, k);
        c[k].cell = o->at;
        c[k].believed = o->believed;
        c[k].epoch = o->floor;
    }
    coord_submit(r->node->env.coord, req);
}

void claim_pump(struct node *n)
{
    struct round *r;
    while ((r = round_due(n, OWN_WANTED)))
        ask_owners(r);
    while ((r = round_due(n, OWN_CLAIMING)))
        send_claims(r);
}

/* ---- load ---- */

static void replay(struct node *n, struct owned *o);

static void load_seen(struct node *n, struct owned *o, const struct blob *bytes)
{
    struct seen *seen;
    unsigned count;
    if (!bytes)
        return;
    enum err e = record_decode_seen(bytes->data, bytes->len, n->scratch, &seen, &count);
    if (e != ERR_OK) {
        log_error("seen_unreadable cell=%d,%d reason=\"%s\"", o->at.i, o->at.j, err_text(e));
        return;
    }
    for (unsigned k = 0; k < count; k++)
        journal_see(o, seen[k].session, seen[k].seq, seen[k].at_s);
}

/* What the store has, above what is here: of a copy whose batches Redis does not know, the store may know more. */
static void load_above(struct node *n, struct owned *o, const struct store_req *req)
{
    if (req->op != STORE_CLAIM)
        return;
    for (unsigned k = 0; k < req->n_rows; k++) {
        if (cell_load_row(o->cell, &req->rows[k], false) != ERR_OK)
            log_error("row_unreadable cell=%d,%d from=store", o->at.i, o->at.j);
    }
    cell_raise(o->cell, req->row.rev, req->row.key_floor);
    arena_reset(n->scratch);
    load_seen(n, o, req->row.seen);
}

static void on_loaded(struct store_req *req, void *arg)
{
    struct about *a = arg;
    struct node *n = a->node;
    struct owned *o = about_take(a);
    if (!o || o->state != OWN_LOADING) {
        store_req_free(req);
        return;
    }
    if (req->err == ERR_STALE) {
        /* Redis went back, and the store is where the copy's source was: nobody came between. */
        bool known = o->lost && (req->row.epoch <= o->replay_epoch || req->row.epoch == o->epoch);
        if (!known)
            forget_copy(o);
        o->floor = req->row.epoch;
        o->believed = n->id;
        due(n, o, OWN_CLAIMING);
        store_req_free(req);
        claim_pump(n);
        return;
    }
    if (req->err != ERR_OK) {
        o->retry_ms = node_later(n, RETRY_STORE_MS);
        store_req_free(req);
        return;
    }
    if (o->warm) {
        load_above(n, o, req);
        o->generation = o->lost ? o->generation : n->generation;
        o->row_dirty = true;
        store_req_free(req);
        due(n, o, OWN_REPLAYING);
        replay(n, o);
        return;
    }
    o->cell = cell_new(o->at);
    o->players = players_new();
    load_above(n, o, req);
    o->generation = req->found && !req->row.clean ? req->row.generation : n->generation;
    if (!req->found && n->generation > 1)
        o->generation = 0; /* a store that lost the row, perhaps */
    if (req->row.generation > n->generation_met)
        n->generation_met = req->row.generation;
    o->row_dirty = true;
    store_req_free(req);
    due(n, o, OWN_REPLAYING);
    replay(n, o);
}

static void load(struct node *n, struct owned *o)
{
    /* A copy that Redis does not know of: it went back, or the cell was released since. */
    bool all = !o->warm || o->lost;
    struct store_req *req = store_req_new(all ? STORE_CLAIM : STORE_RAISE, on_loaded, about_new(n, o));
    req->cell = o->at;
    req->row.epoch = o->epoch;
    o->retry_ms = 0;
    store_submit(n->env.store, req);
}

/* ---- replay ---- */

/* The world lost something since this cell was last flushed: whatever clients and gateways may have seen of it lies
 * below. */
static void jump(struct node *n, struct owned *o)
{
    if (o->generation >= n->generation)
        return;
    uint64_t floor = (uint64_t)cell_key_max(o->cell) + GENERATION_JUMP;
    cell_raise(o->cell, cell_rev(o->cell) + GENERATION_JUMP, floor > KEY_MAX ? KEY_MAX : (uint32_t)floor);
    log_info("cell_generation cell=%d,%d from=%llu to=%llu", o->at.i, o->at.j, (unsigned long long)o->generation,
             (unsigned long long)n->generation);
    o->generation = n->generation;
}

static void serving(struct node *n, struct owned *o)
{
    jump(n, o);
    o->retry_ms = 0;
    bool lost = o->lost;
    if (o->warm)
        metric_add(node_metrics.promotions, 1);
    o->warm = o->lost = false;
    uint64_t now = node_now(n);
    o->dirty_from_ms = o->idle_from_ms = now;
    owned_move(n, o, OWN_SERVING);
    metric_seconds(node_metrics.claim_seconds, (double)(now - o->wanted_ms) / 1e3);
    log_info("cell_serving cell=%d,%d epoch=%llu rev=%llu rows=%zu replayed=%u ms=%llu", o->at.i, o->at.j,
             (unsigned long long)o->epoch, (unsigned long long)cell_rev(o->cell), cell_rows(o->cell), o->n_kept,
             (unsigned long long)(now - o->wanted_ms));
    if (lost)
        keep_behind(n, o); /* what the copy holds and the store lacks is acknowledged: back into the journal */
    serve_grant(n, o);
}

/* A copy goes on where it was; a first batch that is not the next one shows that the journal was trimmed meanwhile. */
static bool follows(const struct owned *o, const struct coord_batch *b)
{
    return !o->warm || (b->epoch == o->replay_epoch && b->n == o->replay_n + 1);
}

static void replay_batch(struct node *n, struct owned *o, struct coord_batch *b)
{
    struct row *rows;
    unsigned count;
    arena_reset(n->scratch);
    enum err e = record_decode_batch(b->bytes->data, b->bytes->len, n->scratch, &rows, &count);
    if (e != ERR_OK) {
        log_error("batch_unreadable cell=%d,%d batch=%llu-%llu bytes=%zu reason=\"%s\"", o->at.i, o->at.j,
                  (unsigned long long)b->epoch, (unsigned long long)b->n, b->bytes->len, err_text(e));
        return;
    }
    uint64_t now_s = node_unix_s(n);
    for (unsigned k = 0; k < count; k++) {
        if (cell_load_row(o->cell, &rows[k], true) != ERR_OK)
            log_error("row_unreadable cell=%d,%d from=journal", o->at.i, o->at.j);
        if (rows[k].author.gate)
            journal_see(o, rows[k].author, rows[k].seq, now_s);
    }
    journal_keep(o, b->epoch, b->n, blob_ref(b->bytes));
}

static void load_cold(struct node *n, struct owned *o)
{
    forget_copy(o);
    due(n, o, OWN_LOADING);
    load(n, o);
}

static void replayed(struct node *n, struct owned *o, struct coord_req *req)
{
    /* Whoever came after us may have flushed and trimmed what we did not read: we were asleep, or Redis went back. */
    if (req->journal.owner != n->id || req->journal.owner_epoch != o->epoch) {
        uint64_t owner = req->journal.owner == n->id ? 0 : req->journal.owner;
        claim_drop(n, o, owner, owner ? req->journal.owner_epoch : 0, 0, "overtaken");
        return;
    }
    for (unsigned k = 0; k < req->journal.n_batches; k++) {
        struct coord_batch *b = &req->journal.batches[k];
        if (!follows(o, b)) {
            load_cold(n, o);
            return;
        }
        replay_batch(n, o, b);
        o->replay_epoch = b->epoch;
        o->replay_n = b->n;
    }
    if (req->journal.more && req->journal.n_batches)
        replay(n, o);
    else if (o->warm && o->replay_n != o->expect_n)
        load_cold(n, o);
    else
        serving(n, o);
}

static void on_journal(struct coord_req *req, void *arg)
{
    struct about *a = arg;
    struct node *n = a->node;
    struct owned *o = about_take(a);
    if (o && o->state == OWN_REPLAYING) {
        if (req->err == ERR_OK)
            replayed(n, o, req);
        else
            o->retry_ms = node_later(n, RETRY_MS);
    }
    coord_req_free(req);
}

static void replay(struct node *n, struct owned *o)
{
    struct coord_req *req = coord_req_new(COORD_JOURNAL, n->id, on_journal, about_new(n, o));
    req->journal.cell = o->at;
    req->journal.after_epoch = o->replay_epoch;
    req->journal.after_n = o->replay_n;
    o->retry_ms = 0;
    coord_submit(n->env.coord, req);
}

void claim_tick(struct node *n, struct owned *o)
{
    if (!o->retry_ms || o->retry_ms > node_now(n))
        return;
    if (o->state == OWN_LOADING)
        load(n, o);
    else if (o->state == OWN_REPLAYING)
        replay(n, o);
}
