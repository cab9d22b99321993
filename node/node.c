/* The node's public face: brings messages, replies and ticks to its parts (parts.h), and holds what they share. */
#include "node/node.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/own/handoff.h"
#include "node/own/targets.h"
#include "node/parts.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/base/metrics.h"

enum {
    JOIN_RETRY_MS = 500,
    STORE_FIRST_MS = 2000 /* a store that has not answered by then is not waited for */
};

struct node_metrics node_metrics;

static void metrics_open(void)
{
    static const char *const reasons[REFUSALS] = {
        "reason=\"not_said\"", "reason=\"coords\"",   "reason=\"item\"",  "reason=\"occupied\"", "reason=\"empty\"",
        "reason=\"cloud\"",    "reason=\"no_block\"", "reason=\"light\"", "reason=\"sign\"",
    };
    struct node_metrics *m = &node_metrics;
    char label[40];
    m->edits = metrics_counter("spotcraft_node_edits_total", "Edits received from gateways.", NULL);
    m->accepted = metrics_counter("spotcraft_node_edits_acknowledged_total", "Edits that the journal took.", NULL);
    for (unsigned k = 0; k < REFUSALS; k++)
        m->refused[k] = metrics_counter("spotcraft_node_edits_refused_total", "Edits refused.", reasons[k]);
    m->known = metrics_counter("spotcraft_node_edits_known_total", "Edits that came again and had been judged.", NULL);
    m->wanted = metrics_counter("spotcraft_node_edits_wanted_total",
                                "Times that a gateway was told where to go on sending.", NULL);
    m->ack_seconds = metrics_seconds("spotcraft_node_edit_to_acknowledged_seconds",
                                     "From an edit's arrival at its owner to the journal's answer.", NULL);
    m->chunk_seconds =
        metrics_seconds("spotcraft_node_chunk_answer_seconds", "Making one part of a chunk's answer.", NULL);
    m->claim_seconds = metrics_seconds("spotcraft_node_claim_seconds", "From wanting a cell to serving it.", NULL);
    m->freeze_seconds = metrics_seconds("spotcraft_node_freeze_seconds",
                                        "From a cell's freeze to its owner's change, or to its being served on.", NULL);
    m->handoff_seconds =
        metrics_seconds("spotcraft_node_handoff_seconds", "From the offer of a cell to its move.", NULL);
    m->handoff_bytes =
        metrics_counter("spotcraft_node_handoff_bytes_total", "Rows and batches sent to other nodes.", NULL);
    m->handed_back = metrics_counter("spotcraft_node_edits_handed_back_total",
                                     "Edits that came to a frozen cell, and went to its next owner.", NULL);
    m->flush_seconds = metrics_seconds("spotcraft_node_flush_seconds", "One cell's flush to the store.", NULL);
    m->flushes = metrics_counter("spotcraft_node_flushes_total", "Flushes that the store took.", NULL);
    m->flush_errors =
        metrics_counter("spotcraft_node_flush_errors_total", "Flushes that were not answered or failed.", NULL);
    m->flush_rows = metrics_counter("spotcraft_node_flushed_rows_total", "Rows that the store took.", NULL);
    m->append_retries = metrics_counter("spotcraft_node_append_retries_total", "Batches sent to Redis again.", NULL);
    m->quarantined = metrics_counter("spotcraft_node_quarantined_rows_total", "Rows that the store refuses.", NULL);
    m->promotions =
        metrics_counter("spotcraft_node_promotions_total", "Copies that were claimed, as their source was gone.", NULL);
    m->restores =
        metrics_counter("spotcraft_node_cells_restored_total", "Cells written back to a Redis that lost them.", NULL);
    m->drops = metrics_counter("spotcraft_node_cells_dropped_total", "Cells given up, for whatever reason.", NULL);
    m->buried =
        metrics_counter("spotcraft_node_nodes_buried_total", "Peers declared dead before their lease ran out.", NULL);
    for (unsigned k = 0; k < NOTICES; k++) {
        snprintf(label, sizeof label, "kind=\"%s\"", notice_name((enum notice_kind)k));
        m->notices[k] =
            metrics_counter("spotcraft_node_notices_total", "Notices of the metadata that were news.", label);
    }
    m->checks = metrics_counter("spotcraft_node_ownership_checks_total",
                                "Times that all epochs were compared with Redis.", NULL);
}

void node_settings_default(struct node_settings *s)
{
    *s = (struct node_settings){
        .lease_ms = 3000,
        .flush_ms = 1000,
        .tick_ms = 50,
        .idle_cell_ms = 60000,
        .places_ms = 5000,
        .cell_pending_max = 4096,
        .at_risk_quiet_ms = 1800000,
        .maintenance_ms = 600000,
    };
}

/* ---- what the parts share ---- */

uint64_t node_now(const struct node *n)
{
    return n->env.now_ms(n->env.clock);
}

uint64_t node_unix_s(const struct node *n)
{
    return n->env.unix_ms(n->env.clock) / 1000;
}

bool node_takes_part(const struct node *n)
{
    return n->spot.phase == SPOT_RUNNING || n->spot.phase == SPOT_AT_RISK;
}

enum node_state node_told_state(const struct node *n)
{
    static const enum node_state told[SPOT_PHASES] = {[SPOT_STARTING] = NODE_STARTING,
                                                      [SPOT_RUNNING] = NODE_RUNNING,
                                                      [SPOT_AT_RISK] = NODE_AT_RISK,
                                                      [SPOT_LEAVING] = NODE_LEAVING,
                                                      [SPOT_EMPTY] = NODE_LEAVING};
    return told[n->spot.phase];
}

bool node_runs(const struct node *n, uint64_t id)
{
    for (unsigned k = 0; k < n->n_members; k++) {
        if (n->members[k].id == id)
            return n->members[k].self.state == NODE_RUNNING;
    }
    return false;
}

bool node_others_run(const struct node *n)
{
    for (unsigned k = 0; k < n->n_members; k++) {
        if (n->members[k].id != n->id && n->members[k].self.state == NODE_RUNNING)
            return true;
    }
    return false;
}

uint64_t node_later(struct node *n, uint32_t ms)
{
    return node_now(n) + rng_jitter(&n->rng, ms);
}

void node_send(struct node *n, uint64_t link, const struct msg *m)
{
    struct blob *b = msg_encode(m);
    n->env.net->send(n->env.net_ctx, link, b);
    blob_unref(b);
}

struct owned *node_owned(struct node *n, struct cell_pos at)
{
    uint64_t id = cell_id(at);
    struct owned *o;
    HASH_FIND(hh, n->cells, &id, sizeof id, o);
    return o;
}

struct owned *node_owned_serial(struct node *n, struct cell_pos at, uint64_t serial)
{
    struct owned *o = node_owned(n, at);
    return o && o->serial == serial ? o : NULL;
}

struct owned *node_owned_add(struct node *n, struct cell_pos at)
{
    struct owned *o = mem_zalloc(sizeof *o);
    o->at = at;
    o->id = cell_id(at);
    o->serial = ++n->last_serial;
    o->frame = (unsigned)o->serial; /* whole frames of different cells fall on different ticks */
    o->since_ms = node_now(n);
    HASH_ADD(hh, n->cells, id, sizeof o->id, o);
    return o;
}

void node_owned_free(struct node *n, struct owned *o)
{
    for (unsigned k = 0; o->append_ready && k < n->n_ready; k++) {
        if (n->ready[k] == o)
            n->ready[k--] = n->ready[--n->n_ready];
    }
    HASH_DEL(n->cells, o);
    free(o->out);
    free(o->in);
    journal_free(o);
    blob_unref(o->quarantine);
    cell_free(o->cell);
    players_free(o->players);
    free(o->subs);
    free(o->waiting);
    free(o);
}

static const char *const state_name[OWN_STATES] = {"wanted",    "claiming", "loading",  "replaying",
                                                   "following", "serving",  "releasing"};
/* Row: where we are. Bits: where we may go. Any state may also end by dropping the cell. */
static const unsigned may_go[OWN_STATES] = {
    [OWN_WANTED] = 1u << OWN_CLAIMING,
    [OWN_CLAIMING] = 1u << OWN_LOADING | 1u << OWN_WANTED,
    [OWN_LOADING] = 1u << OWN_REPLAYING | 1u << OWN_CLAIMING,
    [OWN_REPLAYING] = 1u << OWN_SERVING | 1u << OWN_LOADING,
    [OWN_FOLLOWING] = 1u << OWN_SERVING | 1u << OWN_WANTED,
    [OWN_SERVING] = 1u << OWN_RELEASING,
};

void owned_move(struct node *n, struct owned *o, enum own_state to)
{
    assert(may_go[o->state] & 1u << to);
    log_debug("cell_state cell=%d,%d from=%s to=%s epoch=%llu", o->at.i, o->at.j, state_name[o->state], state_name[to],
              (unsigned long long)o->epoch);
    o->state = to;
    o->since_ms = node_now(n);
}

const char *owned_state_text(enum own_state s)
{
    return state_name[s];
}

struct about *about_new(struct node *n, const struct owned *o)
{
    struct about *a = mem_alloc(sizeof *a);
    *a = (struct about){n, o->at, o->serial};
    return a;
}

struct owned *about_take(struct about *a)
{
    struct owned *o = node_owned_serial(a->node, a->at, a->serial);
    free(a);
    return o;
}

/* ---- making and freeing ---- */

struct node *node_new(uint64_t id, const struct node_settings *s, const struct node_env *env)
{
    struct node *n = mem_zalloc(sizeof *n);
    metrics_open();
    n->id = id;
    n->set = *s;
    n->env = *env;
    rng_seed(&n->rng, env->seed);
    n->scratch = arena_new();
    n->rows = mem_array(ROWS_PER_MSG, sizeof *n->rows);
    lease_init(&n->lease, s->lease_ms);
    n->store_waited_ms = node_later(n, STORE_FIRST_MS);
    spot_init(&n->spot, s->at_risk_quiet_ms, s->maintenance_ms, node_now(n));
    return n;
}

void node_free(struct node *n)
{
    if (!n)
        return;
    struct owned *o, *next_o;
    struct gate_link *l, *next_l;
    struct neighbour *b, *next_b;
    HASH_ITER (hh, n->cells, o, next_o)
        node_owned_free(n, o);
    HASH_ITER (hh, n->links, l, next_l) {
        HASH_DEL(n->links, l);
        free(l->frame);
        free(l);
    }
    HASH_ITER (hh, n->neighbours, b, next_b) {
        HASH_DEL(n->neighbours, b);
        free(b);
    }
    targets_forget(n);
    free(n->members);
    free(n->ready);
    free(n->places);
    arena_free(n->scratch);
    free(n->rows);
    free(n);
}

/* ---- links ---- */

static void on_up(void *owner, uint64_t link, enum role role, uint64_t peer)
{
    struct node *n = owner;
    struct gate_link *l = mem_zalloc(sizeof *l);
    l->link = link;
    l->role = role;
    l->peer = peer;
    HASH_ADD(hh, n->links, link, sizeof l->link, l);
    if (role == ROLE_NODE)
        keep_link_up(n, link, peer);
}

static void on_down(void *owner, uint64_t link, const char *why)
{
    static const char *const roles[] = {[ROLE_GATEWAY] = "gateway", [ROLE_NODE] = "node", [ROLE_CONTROL] = "control"};
    struct node *n = owner;
    struct gate_link *l;
    HASH_FIND(hh, n->links, &link, sizeof link, l);
    if (!l)
        return;
    log_info("link_down role=%s peer=%016llx reason=\"%s\"", roles[l->role], (unsigned long long)l->peer, why);
    HASH_DEL(n->links, l);
    if (l->role == ROLE_GATEWAY) {
        serve_link_down(n, l);
        presence_link_gone(n, link);
    } else if (l->role == ROLE_NODE) {
        handoff_link_down(n, link);
        keep_link_down(n, link);
    } else {
        control_link_down(n, link);
    }
    free(l->frame);
    free(l);
}

static void on_failed(void *owner, uint64_t node, bool refused)
{
    keep_dial_failed(owner, node, refused);
}

/* Only a node may offer, or answer an offer. */
static void peer_msg(struct node *n, struct gate_link *l, const struct msg *m)
{
    switch (m->kind) {
    case MSG_OFFER:
    case MSG_COPY:
    case MSG_COPY_END:
    case MSG_FOLLOW:
    case MSG_STORED:
    case MSG_FINAL:
    case MSG_COMMIT:
        handoff_target_msg(n, l, m);
        break;
    case MSG_OFFER_ANSWER:
    case MSG_GOT:
    case MSG_READY:
        handoff_source_msg(n, l, m);
        break;
    case MSG_ABORT: /* either side's */
        handoff_source_msg(n, l, m);
        handoff_target_msg(n, l, m);
        break;
    default:
        break;
    }
    handoff_pump(n);
}

static void on_msg(void *owner, uint64_t link, const struct msg *m)
{
    struct node *n = owner;
    struct gate_link *l;
    HASH_FIND(hh, n->links, &link, sizeof link, l);
    if (!l)
        return;
    if (l->role == ROLE_GATEWAY)
        serve_msg(n, l, m);
    else if (l->role == ROLE_NODE)
        peer_msg(n, l, m);
    else
        control_msg(n, l, m);
}

const struct net_events node_net_events = {.up = on_up, .down = on_down, .failed = on_failed, .msg = on_msg};

/* ---- joining ---- */

static void on_joined(struct coord_req *req, void *arg)
{
    struct node *n = arg;
    n->joining_sent = false;
    if (req->err == ERR_OK) {
        n->joined = true;
        log_info("world_joined node=%016llx", (unsigned long long)n->id);
        stay_try_start(n);
    } else if (req->err == ERR_MISMATCH) {
        n->failed = "the world in Redis has another cell size or schema";
    } else {
        n->join_retry_ms = node_later(n, JOIN_RETRY_MS);
    }
    coord_req_free(req);
}

/* The store speaks first, if it speaks: who has another world's store shall not write his cell size into an empty
 * Redis. */
static void join(struct node *n)
{
    struct store *store = n->env.store;
    bool heard = store->ops->healthy(store) || node_now(n) >= n->store_waited_ms;
    if (n->joining_sent || n->failed || !heard || n->join_retry_ms > node_now(n))
        return;
    struct coord_req *req = coord_req_new(COORD_JOIN_WORLD, n->id, on_joined, n);
    req->world.cell_chunks = CELL_CHUNKS;
    req->world.schema = SCHEMA_VERSION;
    n->joining_sent = true;
    coord_submit(n->env.coord, req);
}

static void cells_tick(struct node *n)
{
    struct owned *o, *next;
    HASH_ITER (hh, n->cells, o, next) {
        if (o->state >= OWN_SERVING) {
            keep_tick_cell(n, o);
            handoff_source_tick(n, o);
            journal_tick(n, o);
            flush_tick(n, o);
        } else if (o->state == OWN_FOLLOWING) {
            handoff_target_tick(n, o);
        } else {
            claim_tick(n, o);
        }
    }
}

void node_tick(struct node *n)
{
    if (n->ended)
        return;
    /* Who owns cells goes on: it is more likely that a failover led to a wrong server than that all of this is wrong.
     */
    if (!n->cells && store_fit(n->env.store) == STORE_OTHER_CELLS)
        n->failed = "the world in the store has another cell size";
    if (!n->joined) {
        join(n);
        n->ended = n->spot.phase == SPOT_LEAVING;
        return;
    }
    stay_tick(n);
    keep_tick(n);
    cells_tick(n);
    claim_pump(n);
    journal_pump(n);
    handoff_pump(n);
    presence_tick(n);
    load_tick(n);
    stay_moves(n);
}

/* ---- what others ask ---- */

const char *node_failed(const struct node *n)
{
    return n->failed;
}

const char *node_not_ready(const struct node *n)
{
    if (n->failed)
        return n->failed;
    if (n->spot.phase >= SPOT_LEAVING)
        return spot_only_drained(&n->spot) ? "draining" : "stopping";
    if (!n->joined)
        return "redis: not joined yet";
    if (n->spot.phase == SPOT_STARTING)
        return "the instance's metadata was not looked at yet";
    if (n->lease.state != LEASE_HELD)
        return "redis: the lease is not held";
    if (n->closed)
        return "redis: it restarted, and claims are closed for a moment";
    if (n->evicts)
        return "redis: maxmemory-policy must be noeviction";
    if (!n->env.store->ops->healthy(n->env.store))
        return store_fit(n->env.store) != STORE_FITS
                   ? "store: another schema or cell size than ours, see store_trouble in the log"
                   : "the store is not answering, see store_trouble in the log";
    return NULL;
}

void node_stats(const struct node *n, struct node_stats *out)
{
    uint64_t now = node_now(n);
    *out = (struct node_stats){.load = load_node(n).told, .cells = HASH_COUNT(n->cells), .links = HASH_COUNT(n->links)};
    out->state = node_told_state(n);
    follow_count(n, &out->followed, &out->followed_rows);
    if (n->spot.phase >= SPOT_LEAVING && n->spot.deadline_ms) {
        out->cells_left = out->cells;
        out->seconds_left = n->spot.deadline_ms > now ? (double)(n->spot.deadline_ms - now) / 1e3 : 0;
        out->in_danger = !moves_will_hold(n);
    }
    for (const struct owned *o = n->cells; o; o = o->hh.next) {
        out->cells_serving += o->state == OWN_SERVING;
        out->players += o->players ? players_count(o->players) : 0;
        out->journal_batches += o->n_kept;
        out->pending_edits += o->n_pending;
        if (o->cell && cell_dirty(o->cell) && o->dirty_from_ms && now - o->dirty_from_ms > out->oldest_dirty_ms)
            out->oldest_dirty_ms = now - o->dirty_from_ms;
    }
}
