/* What is still mine: this node's lease, the epochs of its cells when there is doubt, and the neighbours that it
 * watches.
 *
 * Redis is told, not obeyed: where it has less than we know (it was restarted empty, or a replica that lagged took
 * over), the cell is restored from what we hold; where it has a higher epoch, or another owner under ours, the cell is
 * dropped. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/own/placement.h"
#include "node/parts.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/base/metrics.h"

enum {
    RENEW_RETRY_MS = 200,
    CHECK_RETRY_MS = 100,
    RESTORE_RETRY_MS = 100,
    CHECK_CELLS = 512,
    DIRTY_WALK_MS = 5000,
    DIAL_FIRST_MS = 20, /* a process that is being killed may still accept for a moment */
    DIAL_MAX_MS = 500,
    DIALING_MS = 5000 /* a dial that was never answered */
};

uint64_t keep_choose(struct node *n, struct cell_pos at, const uint64_t *owners)
{
    static const uint64_t nobody[NEIGHBOURS];
    uint32_t mine = load_node(n).told;
    /* Redis's list is up to a second old; what we took since then we know better. */
    for (unsigned k = 0; k < n->n_members; k++) {
        struct coord_self *self = &n->members[k].self;
        if (n->members[k].id != n->id)
            continue;
        self->state = node_told_state(n);
        if (self->load < mine)
            self->load = mine;
    }
    return placement_choose(at, n->members, n->n_members, owners ? owners : nobody);
}

/* ---- checking who owns what we hold ---- */

static void check_done(struct node *n, enum err e)
{
    n->checks--;
    if (e != ERR_OK)
        n->check_retry_ms = node_later(n, CHECK_RETRY_MS);
    if (n->checks || n->check_retry_ms || !n->held)
        return;
    n->held = false;
    n->env.net->hold(n->env.net_ctx, false);
    log_info("cells_checked: serving goes on");
}

static void check_cell(struct node *n, const struct coord_cell *c)
{
    struct owned *o = node_owned(n, c->cell);
    if (!o || o->state < OWN_SERVING)
        return;
    if (c->owner_epoch > o->epoch || (c->owner_epoch == o->epoch && c->owner != n->id))
        claim_drop(n, o, c->owner_alive ? c->owner : 0, c->owner_epoch, 0, "stale");
    else if (c->owner_epoch < o->epoch || c->owner_n < o->n)
        keep_behind(n, o);
    o = node_owned(n, c->cell);
    if (o) /* a Redis that went back may have again what was trimmed */
        o->trimmed_epoch = o->trimmed_n = 0;
}

static void on_checked(struct coord_req *req, void *arg)
{
    struct node *n = arg;
    for (unsigned k = 0; req->err == ERR_OK && k < req->cells.n; k++)
        check_cell(n, &req->cells.cells[k]);
    check_done(n, req->err);
    coord_req_free(req);
}

void keep_check_all(struct node *n, bool hold)
{
    metric_add(node_metrics.checks, 1);
    if (hold && !n->held) {
        n->held = true;
        n->env.net->hold(n->env.net_ctx, true);
    }
    n->check_retry_ms = 0;
    n->checks++; /* ours, so that it is not done before all are asked */
    struct owned *o = n->cells;
    while (o) {
        struct cell_pos at[CHECK_CELLS];
        unsigned count = 0;
        for (; o && count < CHECK_CELLS; o = o->hh.next) {
            if (o->state >= OWN_SERVING)
                at[count++] = o->at;
        }
        if (!count)
            break;
        struct coord_req *req = coord_req_new(COORD_OWNERS, n->id, on_checked, n);
        struct coord_cell *c = coord_req_cells(req, count);
        for (unsigned k = 0; k < count; k++)
            c[k].cell = at[k];
        n->checks++;
        coord_submit(n->env.coord, req);
    }
    check_done(n, ERR_OK);
}

/* ---- restoring ---- */

static void restore_again(struct node *n, struct owned *o)
{
    o->restore_retry_ms = node_later(n, RESTORE_RETRY_MS);
}

static void on_restored(struct coord_req *req, void *arg)
{
    struct about *a = arg;
    struct node *n = a->node;
    struct owned *o = about_take(a);
    if (o && o->restoring) {
        if (req->err != ERR_OK) {
            restore_again(n, o);
        } else if (req->restore.answer != CELL_TAKEN) {
            claim_drop(n, o, 0, 0, 0, "stale_at_restore");
        } else {
            o->restoring = false;
            log_info("cell_restored cell=%d,%d epoch=%llu n=%llu batches=%u", o->at.i, o->at.j,
                     (unsigned long long)o->epoch, (unsigned long long)o->n, req->restore.n_batches);
            metric_add(node_metrics.restores, 1);
            o->append_retry_ms = o->in_flight ? node_now(n) : 0;
        }
    }
    coord_req_free(req);
}

static void write_back(struct node *n, struct owned *o)
{
    struct coord_req *req = coord_req_new(COORD_RESTORE, n->id, on_restored, about_new(n, o));
    req->restore.cell = o->at;
    req->restore.epoch = o->epoch;
    req->restore.n = o->n;
    req->restore.batches = mem_array(o->n_kept, sizeof *req->restore.batches);
    for (const struct batch *b = o->kept; b; b = b->next)
        req->restore.batches[req->restore.n_batches++] = (struct coord_batch){b->epoch, b->n, blob_ref(b->bytes)};
    coord_submit(n->env.coord, req);
}

static void on_raised(struct store_req *req, void *arg)
{
    struct about *a = arg;
    struct node *n = a->node;
    struct owned *o = about_take(a);
    if (o && o->restoring) {
        if (req->err == ERR_STALE)
            claim_drop(n, o, 0, req->row.epoch, 0, "stale_in_store");
        else if (req->err != ERR_OK)
            restore_again(n, o);
        else
            write_back(n, o);
    }
    store_req_free(req);
}

static void raise_first(struct node *n, struct owned *o)
{
    struct store_req *req = store_req_new(STORE_RAISE, on_raised, about_new(n, o));
    req->cell = o->at;
    req->row.epoch = o->epoch;
    o->restore_retry_ms = 0;
    store_submit(n->env.store, req);
}

void keep_behind(struct node *n, struct owned *o)
{
    if (o->restoring)
        return;
    log_warn("redis_behind cell=%d,%d epoch=%llu n=%llu: restoring", o->at.i, o->at.j, (unsigned long long)o->epoch,
             (unsigned long long)o->n);
    o->restoring = true;
    raise_first(n, o);
}

void keep_tick_cell(struct node *n, struct owned *o)
{
    if (o->restoring && o->restore_retry_ms && o->restore_retry_ms <= node_now(n))
        raise_first(n, o);
}

/* ---- the neighbours ---- */

static struct neighbour *neighbour(struct node *n, uint64_t id)
{
    struct neighbour *b;
    HASH_FIND(hh, n->neighbours, &id, sizeof id, b);
    return b;
}

static void forget(struct node *n, struct neighbour *b)
{
    HASH_DEL(n->neighbours, b);
    free(b);
}

/* Whatever Redis says: nobody listens there, so it gets no cells until a renewal names it again. */
static void on_buried(struct coord_req *req, void *arg)
{
    struct node *n = arg;
    for (unsigned k = 0; req->err == ERR_OK && k < n->n_members; k++) {
        if (n->members[k].id == req->bury.node)
            n->members[k--] = n->members[--n->n_members];
    }
    if (req->err == ERR_OK && req->bury.buried) {
        log_warn("node_buried node=%016llx: it refused a connection", (unsigned long long)req->bury.node);
        metric_add(node_metrics.buried, 1);
        n->dirty_ms = node_now(n);
    }
    coord_req_free(req);
}

static void bury(struct node *n, uint64_t id)
{
    struct coord_req *req = coord_req_new(COORD_BURY, n->id, on_buried, n);
    req->bury.node = id;
    coord_submit(n->env.coord, req);
}

static void neighbours_update(struct node *n)
{
    struct neighbour *b, *next;
    for (b = n->neighbours; b; b = b->hh.next)
        b->member = false;
    for (unsigned k = 0; k < n->n_members; k++) {
        const struct coord_member *m = &n->members[k];
        if (m->id == n->id)
            continue;
        b = neighbour(n, m->id);
        if (!b) {
            b = mem_zalloc(sizeof *b);
            b->id = m->id;
            HASH_ADD(hh, n->neighbours, id, sizeof b->id, b);
        }
        b->member = true;
        snprintf(b->address, sizeof b->address, "%s", m->self.address);
    }
    HASH_ITER (hh, n->neighbours, b, next) {
        if (!b->member && !b->link)
            forget(n, b);
    }
}

/* The smaller id dials; whoever was linked dials again to learn whether the other is dead. */
static void neighbours_tick(struct node *n)
{
    uint64_t now = node_now(n);
    for (struct neighbour *b = n->neighbours; b; b = b->hh.next) {
        if (b->link || !b->member || (!b->proven && n->id > b->id) || b->retry_ms > now)
            continue;
        b->retry_ms = now + DIALING_MS;
        n->env.net->dial(n->env.net_ctx, b->id, b->address);
    }
}

uint64_t keep_link_to(struct node *n, uint64_t peer)
{
    struct neighbour *b = neighbour(n, peer);
    return b ? b->link : 0;
}

void keep_link_up(struct node *n, uint64_t link, uint64_t peer)
{
    struct neighbour *b = neighbour(n, peer);
    if (!b) {
        b = mem_zalloc(sizeof *b);
        b->id = peer;
        HASH_ADD(hh, n->neighbours, id, sizeof b->id, b);
    }
    b->dial_ms = 0;
    b->proven = true;
    b->link = link;
}

void keep_link_down(struct node *n, uint64_t link)
{
    for (struct neighbour *b = n->neighbours; b; b = b->hh.next) {
        if (b->link == link) {
            b->link = 0;
            b->retry_ms = 0;
            neighbours_tick(n);
            return;
        }
    }
}

void keep_dial_failed(struct node *n, uint64_t peer, bool refused)
{
    struct neighbour *b = neighbour(n, peer);
    if (!b || b->link)
        return;
    b->dial_ms = b->dial_ms ? 2 * b->dial_ms : DIAL_FIRST_MS;
    if (b->dial_ms > DIAL_MAX_MS)
        b->dial_ms = DIAL_MAX_MS;
    b->retry_ms = node_later(n, b->dial_ms);
    if (refused && b->proven && b->member)
        bury(n, peer);
}

/* ---- cells that nobody holds but whose journal has what the store lacks ---- */

static void on_dirty(struct coord_req *req, void *arg)
{
    struct node *n = arg;
    n->dirty_sent = false;
    for (unsigned k = 0; req->err == ERR_OK && node_takes_part(n) && k < req->dirty.n; k++) {
        struct msg_want want = {.cell = req->dirty.cells[k], .redirected = true};
        if (!node_owned(n, want.cell))
            claim_want(n, 0, &want);
    }
    coord_req_free(req);
    claim_pump(n);
}

static void dirty_walk(struct node *n)
{
    n->dirty_sent = true;
    n->dirty_ms = node_later(n, DIRTY_WALK_MS);
    coord_submit(n->env.coord, coord_req_new(COORD_DIRTY, n->id, on_dirty, n));
}

/* ---- the lease ---- */

static void on_renewed(struct coord_req *req, void *arg)
{
    struct node *n = arg;
    uint64_t now = node_now(n);
    if (req->err != ERR_OK) {
        lease_failed(&n->lease, now, RENEW_RETRY_MS);
        coord_req_free(req);
        return;
    }
    bool gone = lease_granted(&n->lease, req->renew.existed, now);
    bool new_run = n->generation && req->renew.generation != n->generation;
    if (gone || new_run)
        log_warn("lease_doubt existed=%d generation=%llu was=%llu: checking all cells", req->renew.existed,
                 (unsigned long long)req->renew.generation, (unsigned long long)n->generation);
    n->generation = req->renew.generation;
    n->closed = req->renew.closed_ms > 0;
    n->evicts = req->renew.evicts;
    free(n->members);
    n->members = req->renew.members;
    n->n_members = req->renew.n_members;
    req->renew.members = NULL;
    req->renew.n_members = 0;
    coord_req_free(req);
    neighbours_update(n);
    if (gone || new_run)
        keep_check_all(n, gone);
}

static void renew(struct node *n)
{
    struct coord_req *req = coord_req_new(COORD_RENEW, n->id, on_renewed, n);
    req->renew.role = ROLE_NODE;
    req->renew.ttl_ms = n->set.lease_ms;
    req->renew.generation_known = n->generation_met > n->generation ? n->generation_met : n->generation;
    struct coord_self *self = &req->renew.self;
    memcpy(self->address, n->set.address, sizeof self->address);
    memcpy(self->pool, n->set.pool, sizeof self->pool);
    memcpy(self->instance, n->set.instance, sizeof self->instance);
    self->state = node_told_state(n);
    self->load = load_node(n).told;
    lease_asked(&n->lease, node_now(n));
    coord_submit(n->env.coord, req);
}

void keep_tick(struct node *n)
{
    uint64_t now = node_now(n);
    lease_tick(&n->lease, now);
    if (lease_due(&n->lease, now) && !n->leaving_sent)
        renew(n);
    if (n->check_retry_ms && n->check_retry_ms <= now)
        keep_check_all(n, n->held);
    neighbours_tick(n);
    bool may_walk = n->spot.phase == SPOT_RUNNING || (n->spot.phase == SPOT_AT_RISK && !node_others_run(n));
    if (may_walk && lease_may_claim(&n->lease, now) && !n->dirty_sent && now >= n->dirty_ms)
        dirty_walk(n);
}
