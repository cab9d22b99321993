#include "tests/lib/gateway_rig.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/mem.h"

enum { STEP_MS = 10, UNIX_MS = 1700000000 };

/* ---- the fake wire to nodes ---- */

static void net_dial(void *ctx, uint64_t node, const char *address)
{
    struct rig *r = ctx;
    assert(node <= RIG_NODES && address[0]);
    r->dialed[node] = true;
}

static uint64_t node_of(const struct rig *r, uint64_t link)
{
    for (uint64_t n = 1; n <= RIG_NODES; n++) {
        if (link && r->link[n] == link)
            return n;
    }
    return 0;
}

static void net_send(void *ctx, uint64_t link, struct blob *b)
{
    struct rig *r = ctx;
    uint64_t node = node_of(r, link);
    const char *why = NULL;
    if (!node)
        return;
    assert(r->n_sent < RIG_SENT);
    struct rig_sent *s = &r->sent[r->n_sent++];
    *s = (struct rig_sent){.node = node, .arena = arena_new()};
    enum err e = msg_decode(b->data, b->len, s->arena, &s->msg, &why);
    if (e != ERR_OK) {
        fprintf(stderr, "the gateway sent what no node takes: %s\n", why ? why : err_text(e));
        abort();
    }
}

static void net_hangup(void *ctx, uint64_t link, const char *why)
{
    struct rig *r = ctx;
    (void)why;
    if (node_of(r, link))
        r->link[node_of(r, link)] = 0;
}

static void net_hold(void *ctx, bool on)
{
    (void)ctx;
    (void)on;
}

static const struct net_ops rig_net = {net_dial, net_send, net_hangup, net_hold};

/* ---- players ---- */

static void player_write(void *ctx, uint64_t player, const void *data, size_t len)
{
    struct rig_player *p = &((struct rig *)ctx)->players[player];
    assert(p->open);
    if (p->len + len + 1 > p->cap) {
        p->cap = 2 * (p->len + len + 1);
        p->out = mem_resize(p->out, p->cap);
    }
    memcpy(p->out + p->len, data, len);
    p->len += len;
    p->out[p->len] = '\0';
}

static void player_send(void *ctx, uint64_t player, struct blob *b)
{
    player_write(ctx, player, b->data, b->len);
}

static size_t player_queued(void *ctx, uint64_t player)
{
    return ((struct rig *)ctx)->players[player].queued;
}

static void player_close(void *ctx, uint64_t player, const char *why)
{
    struct rig_player *p = &((struct rig *)ctx)->players[player];
    assert(p->open);
    p->open = false;
    p->closed = why;
}

static void player_read(void *ctx, uint64_t player, bool on)
{
    struct rig_player *p = &((struct rig *)ctx)->players[player];
    assert(p->open && p->paused == on);
    p->paused = !on;
}

static const struct player_ops rig_players = {player_send, player_write, player_queued, player_close, player_read};

/* ---- time ---- */

static uint64_t rig_now(void *clock)
{
    return ((struct rig *)clock)->now_ms;
}

static uint64_t rig_unix(void *clock)
{
    return UNIX_MS + ((struct rig *)clock)->now_ms;
}

static void offer_unread(struct rig *r, uint64_t player)
{
    struct rig_player *p = &r->players[player];
    if (!p->open || p->paused || p->n_unread == 0)
        return;
    size_t used = gateway_player_bytes(r->gateway, player, p->unread, p->n_unread);
    p->n_unread -= used;
    memmove(p->unread, p->unread + used, p->n_unread);
}

static void link_up(struct rig *r)
{
    for (uint64_t n = 1; n <= RIG_NODES; n++) {
        if (!r->dialed[n])
            continue;
        r->dialed[n] = false;
        if (r->unreachable[n]) {
            gateway_net_events.failed(r->gateway, n, true);
            continue;
        }
        r->link[n] = ++r->links;
        gateway_net_events.up(r->gateway, r->link[n], ROLE_NODE, n);
    }
}

static void grant(struct rig *r, const struct rig_sent *s)
{
    struct msg m = {.kind = MSG_SUBSCRIBED};
    struct msg_grant *grants = mem_array(s->msg.subscribe.n, sizeof *grants);
    for (unsigned k = 0; k < s->msg.subscribe.n; k++) {
        struct rig_cell *c = rig_cell(r, s->msg.subscribe.wants[k].cell);
        if (!c->parked)
            grants[m.subscribed.n++] = (struct msg_grant){c->at, c->epoch, c->rev};
    }
    m.subscribed.grants = grants;
    if (m.subscribed.n)
        rig_hear(r, s->node, &m);
    free(grants);
}

static void serve(struct rig *r)
{
    for (; r->granted < r->n_sent; r->granted++) {
        const struct rig_sent *s = &r->sent[r->granted];
        if (s->msg.kind == MSG_SUBSCRIBE && r->link[s->node]) {
            grant(r, s);
        } else if (s->msg.kind == MSG_PLACE_GET) {
            struct msg m = {.kind = MSG_PLACE_IS, .request_id = s->msg.request_id};
            m.place_is.found = r->place_found;
            m.place_is.visit = 1;
            m.place_is.place = r->place;
            rig_hear(r, s->node, &m);
        }
    }
}

static void lease_nodes(struct rig *r)
{
    for (uint64_t n = 1; n <= RIG_NODES; n++) {
        if (r->dead[n]) {
            model_redis_expire(r->redis, ROLE_NODE, n);
            continue;
        }
        struct coord_req *q = coord_req_new(COORD_RENEW, n, NULL, NULL);
        q->renew.role = ROLE_NODE;
        q->renew.ttl_ms = 3000;
        snprintf(q->renew.self.address, sizeof q->renew.self.address, "node%u:1", (unsigned)n);
        model_redis_apply(r->redis, q);
        coord_req_free(q);
    }
}

void rig_pass(struct rig *r, unsigned ms)
{
    for (unsigned at = 0; at <= ms; at += STEP_MS) {
        model_redis_set_time(r->redis, r->now_ms);
        lease_nodes(r);
        gateway_tick(r->gateway);
        model_coord_run(r->coord);
        link_up(r);
        serve(r);
        for (uint64_t p = 0; p < RIG_PLAYERS; p++)
            offer_unread(r, p);
        serve(r);
        if (at < ms)
            r->now_ms += STEP_MS;
    }
}

/* ---- life ---- */

struct rig *rig_new(const struct gateway_settings *set)
{
    struct rig *r = mem_zalloc(sizeof *r);
    r->now_ms = 100000;
    r->sent = mem_array(RIG_SENT, sizeof *r->sent);
    r->redis = model_redis_new();
    model_redis_set_time(r->redis, r->now_ms);
    if (set)
        r->set = *set;
    else
        gateway_settings_default(&r->set);
    const struct gateway_env env = {.net = &rig_net,
                                    .net_ctx = r,
                                    .players = &rig_players,
                                    .players_ctx = r,
                                    .now_ms = rig_now,
                                    .unix_ms = rig_unix,
                                    .clock = r,
                                    .seed = 1};
    struct gateway_env with_coord = env;
    r->coord = with_coord.coord = model_coord_direct(r->redis, NULL);
    r->gateway = gateway_new(RIG_GATE, &r->set, &with_coord);
    for (unsigned k = 0; k < 100 && gateway_not_ready(r->gateway); k++)
        rig_pass(r, STEP_MS);
    assert(!gateway_not_ready(r->gateway));
    return r;
}

void rig_free(struct rig *r)
{
    model_coord_free(r->coord);
    gateway_free(r->gateway);
    rig_forget_sent(r);
    model_redis_free(r->redis);
    for (unsigned p = 0; p < RIG_PLAYERS; p++) {
        free(r->players[p].out);
        free(r->players[p].unread);
    }
    free(r->sent);
    free(r);
}

/* ---- nodes ---- */

struct rig_cell *rig_cell(struct rig *r, struct cell_pos at)
{
    for (unsigned k = 0; k < r->n_cells; k++) {
        if (cell_eq(r->cells[k].at, at))
            return &r->cells[k];
    }
    assert(r->n_cells < RIG_CELLS);
    r->cells[r->n_cells] = (struct rig_cell){.at = at, .epoch = 1};
    return &r->cells[r->n_cells++];
}

const struct msg *rig_sent(struct rig *r, enum msg_kind kind, uint64_t *node)
{
    for (unsigned k = 0; k < r->n_sent; k++) {
        if (r->sent[k].taken || r->sent[k].msg.kind != kind)
            continue;
        r->sent[k].taken = true;
        if (node)
            *node = r->sent[k].node;
        return &r->sent[k].msg;
    }
    return NULL;
}

void rig_forget_sent(struct rig *r)
{
    for (unsigned k = 0; k < r->n_sent; k++)
        arena_free(r->sent[k].arena);
    r->n_sent = r->granted = 0;
}

void rig_hear(struct rig *r, uint64_t node, const struct msg *m)
{
    struct msg out;
    const char *why = NULL;
    struct arena *a = arena_new();
    struct blob *b = msg_encode(m);
    enum err e = msg_decode(b->data, b->len, a, &out, &why);
    assert(e == ERR_OK);
    (void)e;
    gateway_net_events.msg(r->gateway, r->link[node], &out);
    blob_unref(b);
    arena_free(a);
}

void rig_cut(struct rig *r, uint64_t node)
{
    uint64_t link = r->link[node];
    r->link[node] = 0;
    gateway_net_events.down(r->gateway, link, "cut by the test");
}

void rig_rows(struct rig *r, uint64_t node, struct cell_pos at, const struct row *rows, unsigned n)
{
    struct msg m = {.kind = MSG_ROWS};
    struct row *copy = mem_dup(rows, n * sizeof *rows);
    m.rows.cell = at;
    m.rows.epoch = rig_cell(r, at)->epoch;
    m.rows.rev = rows[n - 1].rev;
    m.rows.rows = copy;
    m.rows.n = n;
    rig_hear(r, node, &m);
    free(copy);
}

void rig_result(struct rig *r, uint64_t node, const struct edit_result *result)
{
    struct edit_result copy = *result;
    struct msg m = {.kind = MSG_RESULTS};
    copy.epoch = copy.epoch ? copy.epoch : rig_cell(r, copy.cell)->epoch;
    m.results.results = &copy;
    m.results.n = 1;
    rig_hear(r, node, &m);
}

void rig_part(struct rig *r, uint64_t node, const struct msg *get, const struct row *rows, unsigned n, uint32_t key)
{
    struct msg m = {.kind = MSG_CHUNK_PART, .request_id = get->request_id};
    struct row *copy = n ? mem_dup(rows, n * sizeof *rows) : NULL;
    m.chunk_part.part = (struct msg_chunk_part){.cell = get->chunk_get.cell,
                                                .epoch = rig_cell(r, get->chunk_get.cell)->epoch,
                                                .chunk = get->chunk_get.chunk,
                                                .key = key,
                                                .last = true};
    m.chunk_part.rows = copy;
    m.chunk_part.n = n;
    rig_hear(r, node, &m);
    free(copy);
}

/* ---- players ---- */

void rig_connect(struct rig *r, uint64_t player)
{
    r->players[player].open = true;
    gateway_player_new(r->gateway, player, "test");
}

void rig_say(struct rig *r, uint64_t player, const char *text)
{
    struct rig_player *p = &r->players[player];
    size_t len = strlen(text);
    p->unread = mem_resize(p->unread, p->n_unread + len + 1);
    memcpy(p->unread + p->n_unread, text, len);
    p->n_unread += len;
    offer_unread(r, player);
}

void rig_join(struct rig *r, uint64_t player, const char *account)
{
    char hello[128];
    rig_connect(r, player);
    snprintf(hello, sizeof hello, "V,1\nA,%s,\n", account);
    rig_say(r, player, hello);
    for (unsigned k = 0; k < 20 && !(r->players[player].out && strstr(r->players[player].out, "Welcome")); k++)
        rig_pass(r, STEP_MS);
    rig_pass(r, 100);
    rig_out(r, player);
}

const char *rig_out(struct rig *r, uint64_t player)
{
    struct rig_player *p = &r->players[player];
    if (!p->out) {
        p->cap = 1;
        p->out = mem_zalloc(1);
    }
    p->out[p->len] = '\0';
    p->len = 0;
    return p->out;
}
