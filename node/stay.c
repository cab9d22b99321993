/* Whether the node stays: brings notices, SIGTERM, drains and the time to own/spot.h, and does what follows from a
 * change of its phase. What leaves, and when, is decided in own/moves.c. */
#include <stdio.h>

#include "node/own/handoff.h"
#include "node/parts.h"
#include "proto/base/log.h"
#include "proto/base/metrics.h"

enum {
    LEAVE_RETRY_MS = 100,
    LAST_WORDS_MS = 200, /* of the deadline, or a part of a short one: for Redis to drop the lease */
    LAST_WORDS_PART = 8
};

/* Copies that cannot be ours yet: their sources ask another at once. All else that is on its way here goes on, is
 * served and leaves like the rest: Redis names us as its owner already, or may do so any time, and whoever asks for it
 * elsewhere is sent to us. */
static void drop_what_is_not_ours(struct node *n, const char *why)
{
    struct owned *o, *next;
    HASH_ITER (hh, n->cells, o, next) {
        if (o->state == OWN_FOLLOWING && !o->in->ready)
            claim_drop(n, o, 0, 0, 0, why);
    }
}

/* What follows at once from another phase, or from a deadline where there was none. */
static void phase_changed(struct node *n, enum spot_phase was, uint64_t deadline_was)
{
    const struct spot *s = &n->spot;
    bool changed = s->phase != was;
    bool leaves = s->phase == SPOT_LEAVING && s->deadline_ms && (changed || !deadline_was);
    if (!changed && !leaves)
        return;
    log_info("node_state from=%s to=%s why=%s cells=%u deadline_ms=%lld", spot_phase_text(was),
             spot_phase_text(s->phase), *s->why ? s->why : "-", HASH_COUNT(n->cells),
             s->deadline_ms ? (long long)s->deadline_ms - (long long)node_now(n) : -1);
    lease_soon(&n->lease); /* the others are told at once */
    for (struct owned *o = n->cells; o; o = o->hh.next) {
        o->handoff_tries = 0;
        o->avoid = 0;
    }
    if (changed && (s->phase == SPOT_AT_RISK || s->phase == SPOT_LEAVING))
        drop_what_is_not_ours(n, spot_phase_text(s->phase));
    if (leaves)
        moves_leave_begins(n);
}

void stay_try_start(struct node *n)
{
    enum spot_phase was = n->spot.phase;
    if (n->spot.started || !n->joined || (n->set.wait_for_checked && !n->checked))
        return;
    spot_started(&n->spot, node_now(n));
    phase_changed(n, was, n->spot.deadline_ms);
}

void node_checked(struct node *n)
{
    n->checked = true;
    stay_try_start(n);
}

void node_set_pool(struct node *n, const char *pool)
{
    snprintf(n->set.pool, sizeof n->set.pool, "%s", pool);
    lease_soon(&n->lease);
}

void node_set_instance(struct node *n, const char *instance_id)
{
    snprintf(n->set.instance, sizeof n->set.instance, "%s", instance_id);
    lease_soon(&n->lease);
}

void node_notice(struct node *n, enum notice_kind kind, uint64_t told_unix_ms)
{
    enum spot_phase was = n->spot.phase;
    uint64_t deadline_was = n->spot.deadline_ms;
    bool news = spot_told(&n->spot, kind, told_unix_ms, n->env.unix_ms(n->env.clock), node_now(n));
    metric_add(node_metrics.notices[kind], news);
    if (news)
        log_info("notice kind=%s told_unix_ms=%llu phase=%s", notice_name(kind), (unsigned long long)told_unix_ms,
                 spot_phase_text(n->spot.phase));
    phase_changed(n, was, deadline_was);
}

void node_notice_withdrawn(struct node *n, enum notice_kind kind)
{
    enum spot_phase was = n->spot.phase;
    uint64_t deadline_was = n->spot.deadline_ms;
    if (spot_withdrawn(&n->spot, kind, node_now(n)))
        log_info("notice_withdrawn kind=%s phase=%s", notice_name(kind), spot_phase_text(n->spot.phase));
    phase_changed(n, was, deadline_was);
}

/* ---- leaving ---- */

static void on_left(struct coord_req *req, void *arg)
{
    struct node *n = arg;
    n->left = req->err == ERR_OK;
    n->leaving_sent = n->left;
    n->join_retry_ms = node_later(n, LEAVE_RETRY_MS);
    coord_req_free(req);
}

void node_stop(struct node *n, uint32_t deadline_ms)
{
    enum spot_phase was = n->spot.phase;
    uint64_t deadline_was = n->spot.deadline_ms, now = node_now(n);
    if (n->spot.stopping)
        return;
    log_info("stopping cells=%u deadline_ms=%u", HASH_COUNT(n->cells), deadline_ms);
    spot_stop(&n->spot, now + deadline_ms, now);
    phase_changed(n, was, deadline_was);
}

bool node_drain(struct node *n)
{
    enum spot_phase was = n->spot.phase;
    if (n->spot.draining)
        return true;
    if (!node_takes_part(n))
        return false;
    n->gone_before = n->gone;
    n->drain_ms = node_now(n);
    spot_drain(&n->spot, true, node_now(n));
    phase_changed(n, was, 0);
    n->drain_cells = HASH_COUNT(n->cells);
    return true;
}

bool node_undrain(struct node *n)
{
    enum spot_phase was = n->spot.phase;
    uint64_t deadline_was = n->spot.deadline_ms;
    spot_drain(&n->spot, false, node_now(n));
    phase_changed(n, was, deadline_was);
    return node_takes_part(n);
}

/* It is late, and nothing is served any more: what is still being claimed would only keep the lease, and with it others
 * from claiming it. */
static void give_up_claims(struct node *n)
{
    struct owned *o, *next;
    for (o = n->cells; o; o = o->hh.next) {
        if (o->state >= OWN_SERVING)
            return;
    }
    HASH_ITER (hh, n->cells, o, next)
        claim_drop(n, o, 0, 0, keep_choose(n, o->at, NULL), "no time left");
}

/* From then on the lease goes, whatever is left: others need not wait for its end. */
static uint64_t last_words_ms(const struct node *n)
{
    uint64_t some = (n->spot.deadline_ms - n->leave_ms) / LAST_WORDS_PART;
    return n->spot.deadline_ms - (some < LAST_WORDS_MS ? some : LAST_WORDS_MS);
}

static void leave_tick(struct node *n)
{
    uint64_t now = node_now(n);
    if (moves_is_late(n))
        give_up_claims(n);
    bool done = !HASH_COUNT(n->cells) && presence_saved(n);
    if (!done && now < last_words_ms(n))
        return;
    if (n->left || now >= n->spot.deadline_ms) {
        n->ended = true;
        if (done && n->left)
            log_info("stopped");
        else
            log_warn("stop_deadline cells=%u left=%d", HASH_COUNT(n->cells), n->left);
    } else if (!n->leaving_sent && n->join_retry_ms <= now) {
        if (n->spot.phase != SPOT_EMPTY)
            spot_emptied(&n->spot, now); /* from here on no withdrawal calls it back */
        n->leaving_sent = true;
        coord_submit(n->env.coord, coord_req_new(COORD_LEAVE, n->id, on_left, n));
    }
}

bool node_stopped(const struct node *n)
{
    return n->ended;
}

void stay_tick(struct node *n)
{
    enum spot_phase was = n->spot.phase;
    uint64_t deadline_was = n->spot.deadline_ms;
    spot_tick(&n->spot, node_now(n));
    phase_changed(n, was, deadline_was);
}

void stay_moves(struct node *n)
{
    follow_tick(n);
    if (n->spot.phase == SPOT_RUNNING)
        moves_balance(n);
    if (n->spot.phase == SPOT_AT_RISK)
        moves_shed(n);
    if (n->spot.phase == SPOT_LEAVING)
        moves_leave(n);
    if (n->spot.phase >= SPOT_LEAVING && n->spot.deadline_ms)
        leave_tick(n);
}
