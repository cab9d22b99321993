#include "gateway/gateway.h"

#include <event2/buffer.h>
#include <inttypes.h>
#include <stdio.h>

#include "gateway/chat.h"
#include "gateway/chunks.h"
#include "gateway/edits.h"
#include "gateway/fanout.h"
#include "gateway/joining.h"
#include "gateway/membership.h"
#include "gateway/node_links.h"
#include "gateway/positions.h"
#include "gateway/router.h"
#include "gateway/session.h"
#include "gateway/sights.h"

enum {
    TELL_AGAIN_MS = 5000 /* not twice within so long */,
    SWEEP_MS = 1000,
    LEAVE_MS = 1000,
    STALL_MS = 500,
    STOP_SLACK_MS = 2000, /* two notices of one end say it so differently */
    CAUGHT_UP_MS = 1000
};

void gateway_settings_default(struct gateway_settings *s)
{
    *s = (struct gateway_settings){.lease_ms = 3000,
                                   .presence_chunks = 8,
                                   .visible_max = 127,
                                   .session_edits_max = 4096,
                                   .out_soft_bytes = 256 << 10,
                                   .out_hard_bytes = 8 << 20,
                                   .sessions_max = 10000,
                                   .silence_ms = 30000,
                                   .day_length_s = 600,
                                   .park_notice_ms = 3000};
}

static void make_metrics(struct gateway_metrics *m)
{
    const char *outcomes = "spotcraft_edits_answered_total", *help = "Edits that their owner answered.";
    m->players = metrics_gauge("spotcraft_players", "Players with a socket here.", NULL);
    m->parked = metrics_gauge("spotcraft_cells_parked", "Cells that wait for an owner.", NULL);
    m->unanswered = metrics_gauge("spotcraft_edits_unanswered", "Edits that no owner has answered yet.", NULL);
    m->edits = metrics_counter("spotcraft_edits_received_total", "Edits from players.", NULL);
    m->accepted = metrics_counter(outcomes, help, "outcome=\"accepted\"");
    m->refused = metrics_counter(outcomes, help, "outcome=\"refused\"");
    m->known = metrics_counter(outcomes, help, "outcome=\"known\"");
    m->wanted = metrics_counter("spotcraft_edits_wanted_total", "Answers that ask for an earlier edit.", NULL);
    m->resent =
        metrics_counter("spotcraft_edits_redelivered_total", "Edits sent to an owner after the first time.", NULL);
    m->held = metrics_counter("spotcraft_rows_held_total", "Rows held back from players who edit that block.", NULL);
    m->edit_seconds = metrics_seconds("spotcraft_edit_seconds", "From an edit's line to its answer.", NULL);
    m->chunk_seconds =
        metrics_seconds("spotcraft_chunk_seconds", "From a chunk's request to the end of its answer.", NULL);
    m->bytes_out = metrics_counter("spotcraft_player_bytes_out_total", "Bytes for players.", NULL);
    m->positions_left_out =
        metrics_counter("spotcraft_positions_left_out_total", "Position ticks that slow clients were spared.", NULL);
    m->chat_dropped = metrics_counter("spotcraft_chat_dropped_total", "Chat lines over the limit.", NULL);
}

struct gateway *gateway_new(uint64_t id, const struct gateway_settings *s, const struct gateway_env *env)
{
    struct gateway *g = mem_zalloc(sizeof *g);
    g->id = id;
    g->set = *s;
    g->env = *env;
    g->arena = arena_new();
    g->now_ms = env->now_ms(env->clock);
    rng_seed(&g->rng, env->seed);
    make_metrics(&g->metrics);
    return g;
}

void gateway_free(struct gateway *g)
{
    if (!g)
        return;
    session_free_all(g);
    sights_free_all(g);
    router_free_all(g);
    node_links_free_all(g);
    text_free(&g->out);
    text_free(&g->late);
    arena_free(g->arena);
    free(g);
}

/* ---- turns ---- */

static void turn_begin(struct gateway *g)
{
    uint64_t now_ms = g->env.now_ms(g->env.clock);
    if (now_ms - g->now_ms >= STALL_MS) { /* ticks come far more often */
        g->stall_ms = g->stall_ms ? g->stall_ms : g->now_ms;
        g->woken_ms = now_ms;
    } else if (now_ms - g->woken_ms >= CAUGHT_UP_MS) {
        g->stall_ms = 0;
    }
    g->now_ms = now_ms;
}

static void turn_end(struct gateway *g)
{
    session_reap(g);
    router_turn(g);
    node_links_flush(g);
    arena_reset(g->arena);
}

uint64_t gateway_request(struct gateway *g)
{
    return ++g->requests;
}

uint64_t gateway_later(struct gateway *g, uint64_t ms)
{
    return g->now_ms + rng_jitter(&g->rng, ms);
}

void gateway_count(const char *name, const char *help, const char *label, const char *value)
{
    char pair[96];
    snprintf(pair, sizeof pair, "%s=\"%s\"", label, value);
    metric_add(metrics_counter(name, help, pair), 1);
}

static void on_answer(struct coord_req *r, void *arg)
{
    struct ask *a = arg;
    struct gateway *g = a->g;
    turn_begin(g);
    if (r->err == ERR_REFUSED)
        log_warn("redis_refused op=%s", coord_op_name(r->op));
    if (a->answer)
        a->answer(g, r, a);
    coord_req_free(r);
    free(a);
    turn_end(g);
}

struct coord_req *ask_new(struct gateway *g, enum coord_op op, uint64_t session, ask_answer *answer)
{
    struct ask *a = mem_zalloc(sizeof *a);
    a->g = g;
    a->answer = answer;
    a->session = session;
    return coord_req_new(op, g->id, on_answer, a);
}

struct ask *ask_of(struct coord_req *r)
{
    return r->arg;
}

/* ---- from the nodes ---- */

static void on_rows(struct gateway *g, uint64_t link, const struct msg *m)
{
    struct area *a;
    if (m->rows.resumed) { /* told before the grant, which then says the revision */
        a = router_resumed(g, link, m->rows.cell, m->rows.epoch);
        if (a)
            fanout_rows(g, m->rows.rows, m->rows.n);
        return;
    }
    a = router_heard(g, link, m->rows.cell, m->rows.epoch);
    if (!a || m->rows.rev < a->rev)
        return;
    a->rev = m->rows.rev;
    fanout_rows(g, m->rows.rows, m->rows.n);
    edits_settle(g, a);
}

static void on_results(struct gateway *g, uint64_t link, const struct msg *m)
{
    for (unsigned k = 0; k < m->results.n; k++) {
        const struct edit_result *r = &m->results.results[k];
        struct area *a = router_heard(g, link, r->cell, r->epoch);
        if (a)
            edits_result(g, a, r);
    }
}

static void on_up(void *owner, uint64_t link, enum role role, uint64_t peer)
{
    struct gateway *g = owner;
    turn_begin(g);
    if (role == ROLE_NODE)
        node_links_up(g, link, peer);
    else
        g->env.net->hangup(g->env.net_ctx, link, "not a node");
    turn_end(g);
}

static void on_down(void *owner, uint64_t link, const char *why)
{
    struct gateway *g = owner;
    turn_begin(g);
    node_links_down(g, link, why);
    turn_end(g);
}

static void on_failed(void *owner, uint64_t node, bool refused)
{
    struct gateway *g = owner;
    turn_begin(g);
    node_links_failed(g, node, refused);
    turn_end(g);
}

static void on_msg(void *owner, uint64_t link, const struct msg *m)
{
    struct gateway *g = owner;
    turn_begin(g);
    switch (m->kind) {
    case MSG_SUBSCRIBED:
        for (unsigned k = 0; k < m->subscribed.n; k++)
            router_subscribed(g, link, &m->subscribed.grants[k]);
        break;
    case MSG_NOT_MINE:
        for (unsigned k = 0; k < m->not_mine.n; k++)
            router_not_mine(g, link, &m->not_mine.where[k]);
        break;
    case MSG_RESULTS:
        on_results(g, link, m);
        break;
    case MSG_ROWS:
        on_rows(g, link, m);
        break;
    case MSG_CHUNK_PART:
        chunks_part(g, link, m->request_id, &m->chunk_part.part, m->chunk_part.rows, m->chunk_part.n);
        break;
    case MSG_PRESENCE:
        for (unsigned k = 0; k < m->presence.n; k++)
            sights_frame(g, link, &m->presence.cells[k]);
        break;
    case MSG_PLACE_IS:
        joining_place_is(g, m->request_id, m);
        break;
    case MSG_CHAT:
        chat_relayed(g, m);
        break;
    default: /* a newer node may say more than we know */
        gateway_count("spotcraft_messages_ignored_total", "Messages that mean nothing here.", "kind",
                      msg_name(m->kind));
        break;
    }
    turn_end(g);
}

const struct net_events gateway_net_events = {on_up, on_down, on_failed, on_msg};

/* ---- from the events channel ---- */

void gateway_on_event(void *gateway, const void *data, size_t len)
{
    struct gateway *g = gateway;
    turn_begin(g);
    chat_event(g, data, len);
    turn_end(g);
}

void gateway_on_events_interrupted(void *gateway)
{
    struct gateway *g = gateway;
    turn_begin(g);
    log_warn("events_interrupted: reading the owners of %u cells again", HASH_COUNT(g->areas));
    router_recheck(g);
    turn_end(g);
}

/* ---- from the players ---- */

void gateway_player_new(struct gateway *g, uint64_t player, const char *from)
{
    turn_begin(g);
    session_new(g, player, from);
    turn_end(g);
}

size_t gateway_player_bytes(struct gateway *g, uint64_t player, const char *data, size_t len)
{
    turn_begin(g);
    struct session *s = session_by_player(g, player);
    size_t used = s ? session_bytes(g, s, data, len) : len;
    turn_end(g);
    return used;
}

void gateway_player_gone(struct gateway *g, uint64_t player, const char *why)
{
    turn_begin(g);
    struct session *s = session_by_player(g, player);
    if (s)
        session_gone(g, s, why);
    turn_end(g);
}

/* ---- time ---- */

static void close_all(struct gateway *g, const char *why)
{
    for (struct session *s = g->by_player; s; s = s->hh.next)
        session_close(g, s, why);
    session_reap(g);
}

/* The players are told of the end when the gateway is, then so many seconds before it. */
static uint64_t next_telling(const struct gateway *g)
{
    static const unsigned before_s[] = {300, 120, 60, 30, 10};
    const uint64_t left_ms = g->stop_ms > g->now_ms ? g->stop_ms - g->now_ms : 0;
    for (unsigned k = 0; k < sizeof before_s / sizeof *before_s; k++) {
        if (left_ms >= before_s[k] * 1000 + TELL_AGAIN_MS)
            return g->stop_ms - before_s[k] * 1000;
    }
    return UINT64_MAX;
}

void gateway_tell_end(struct gateway *g, struct session *s)
{
    char text[CHAT_MAX + 1];
    const uint64_t left_ms = g->stop_ms > g->now_ms ? g->stop_ms - g->now_ms : 0;
    snprintf(text, sizeof text,
             "This server goes away in %" PRIu64
             " seconds. Your world is safe: join again, and you are where you were.",
             (left_ms + 500) / 1000);
    if (s)
        session_talk(g, s, "%s", text);
    else
        session_talk_all(g, text);
}

static void stop_tick(struct gateway *g)
{
    if (g->now_ms >= g->stop_ms)
        close_all(g, "gateway stopped");
    if (!g->by_player && !g->leave_sent && (!g->by_count || g->now_ms >= g->stop_ms)) {
        g->leave_sent = true;
        g->stop_ms = g->now_ms;
        membership_leave(g);
    }
    if (g->leave_sent && !g->stopped && (g->left || g->now_ms - g->stop_ms >= LEAVE_MS)) {
        g->stopped = true;
        log_info("gateway_stopped");
    }
    if (g->now_ms >= g->stop_tell_ms) {
        gateway_tell_end(g, NULL);
        g->stop_tell_ms = next_telling(g);
    }
}

void gateway_tick(struct gateway *g)
{
    turn_begin(g);
    membership_tick(g);
    node_links_tick(g);
    router_tick(g);
    session_tick(g);
    positions_tick(g);
    sights_tick(g);
    if (g->now_ms >= g->sweep_due_ms) {
        g->sweep_due_ms = g->now_ms + SWEEP_MS;
        router_sweep(g);
        metric_set(g->metrics.players, HASH_CNT(hh, g->by_player));
        metric_set(g->metrics.parked, router_parked(g));
        metric_set(g->metrics.unanswered, g->unanswered);
    }
    if (g->stopping)
        stop_tick(g);
    turn_end(g);
}

void gateway_stop(struct gateway *g, uint32_t deadline_ms)
{
    turn_begin(g);
    if (!g->stopping) {
        g->stopping = true;
        g->stop_ms = g->now_ms + deadline_ms;
        g->stop_tell_ms = g->now_ms;
        log_info("gateway_stopping players=%u deadline_ms=%" PRIu32, HASH_CNT(hh, g->by_player), deadline_ms);
    } else if (g->now_ms + deadline_ms + STOP_SLACK_MS < g->stop_ms) {
        g->stop_ms = g->now_ms + deadline_ms;
        g->stop_tell_ms = g->now_ms;
        log_info("gateway_stops_sooner players=%u deadline_ms=%" PRIu32, HASH_CNT(hh, g->by_player), deadline_ms);
    }
    turn_end(g);
}

bool gateway_stopped(const struct gateway *g)
{
    return g->stopped;
}

/* ---- for operators ---- */

const char *gateway_failed(const struct gateway *g)
{
    return g->failed;
}

const char *gateway_not_ready(const struct gateway *g)
{
    if (g->failed)
        return g->failed;
    if (g->stopping)
        return "stopping";
    if (!membership_good(g))
        return g->world_joined ? "redis: the lease is not held" : "redis: not joined yet";
    if (node_links_count(g) == 0)
        return "no node is linked";
    return NULL;
}

void gateway_stats(const struct gateway *g, struct gateway_stats *out)
{
    *out = (struct gateway_stats){.players = HASH_CNT(hh, g->by_player),
                                  .cells = HASH_COUNT(g->areas),
                                  .cells_parked = router_parked(g),
                                  .links = node_links_count(g),
                                  .unanswered_edits = g->unanswered};
}

void gateway_status_json(const struct gateway *g, struct evbuffer *out)
{
    struct gateway_stats stats;
    const char *not_ready = gateway_not_ready(g), *comma = "";
    gateway_stats(g, &stats);
    evbuffer_add_printf(out, "{\"gateway\":\"%016" PRIx64 "\",\"ready\":%s,\"missing\":\"%s\",\"players\":%u,", g->id,
                        not_ready ? "false" : "true", not_ready ? not_ready : "", stats.players);
    evbuffer_add_printf(out, "\"cells\":%u,\"cells_parked\":%u,\"unanswered_edits\":%u,\"nodes\":[", stats.cells,
                        stats.cells_parked, stats.unanswered_edits);
    for (const struct node_link *n = g->nodes; n; n = n->hh.next) {
        static const char *const text[] = {[LINK_AWAY] = "away", [LINK_DIALING] = "dialing", [LINK_UP] = "up"};
        evbuffer_add_printf(out, "%s{\"id\":\"%016" PRIx64 "\",\"link\":\"%s\",\"cells\":%u}", comma, n->id,
                            text[n->state], n->n_areas);
        comma = ",";
    }
    evbuffer_add_printf(out, "]}");
}
