/* The gateways' end: who subscribed to which cell, edits in, rows and chunk answers out.
 *
 * Everything about a cell leaves over one link in the order in which it became so: a chunk's answer is at least as new
 * as every row sent before it, and every later row is sent after it. A subscriber that resumes gets all rows above the
 * revision it had, and only then the grant, so that a link that breaks between the two loses nothing. */
#include <stdlib.h>
#include <string.h>

#include "node/parts.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"
#include "proto/base/metrics.h"

void serve_not_mine(struct node *n, uint64_t link, struct cell_pos at, uint64_t owner, uint64_t epoch,
                    uint64_t redirect)
{
    struct msg_where where = {at, owner, epoch, redirect};
    struct msg m = {.kind = MSG_NOT_MINE};
    if (!link)
        return;
    m.not_mine.where = &where;
    m.not_mine.n = 1;
    node_send(n, link, &m);
}

/* ---- rows, gathered and sent in pieces ---- */

struct gather {
    struct node *node;
    struct row *rows;
    unsigned n;
    void (*full)(struct gather *g); /* sends what is there */
    struct msg msg;
    uint64_t link;
};

static void gather_row(const struct row *r, void *arg)
{
    struct gather *g = arg;
    if (g->n == ROWS_PER_MSG) {
        g->full(g);
        g->n = 0;
    }
    g->rows[g->n++] = *r;
}

static struct gather gather_new(struct node *n, uint64_t link, void (*send)(struct gather *g))
{
    return (struct gather){.node = n, .link = link, .full = send, .rows = n->rows};
}

static void send_resumed(struct gather *g)
{
    g->msg.rows.rows = g->rows;
    g->msg.rows.n = g->n;
    node_send(g->node, g->link, &g->msg);
}

static void send_part(struct gather *g)
{
    g->msg.chunk_part.rows = g->rows;
    g->msg.chunk_part.n = g->n;
    node_send(g->node, g->link, &g->msg);
}

void serve_rows(struct node *n, struct owned *o, const struct row *rows, unsigned count)
{
    for (unsigned from = 0; from < count && o->n_subs;) {
        unsigned to = from + ROWS_PER_MSG < count ? from + ROWS_PER_MSG : count;
        struct row *copy = mem_dup(rows + from, (to - from) * sizeof *rows);
        struct msg m = {.kind = MSG_ROWS};
        m.rows.cell = o->at;
        m.rows.epoch = o->epoch;
        m.rows.rev = rows[to - 1].rev;
        m.rows.rows = copy;
        m.rows.n = to - from;
        struct blob *b = msg_encode(&m);
        for (unsigned k = 0; k < o->n_subs; k++)
            n->env.net->send(n->env.net_ctx, o->subs[k].link, b);
        blob_unref(b);
        free(copy);
        from = to;
    }
}

/* ---- subscriptions ---- */

static void subscribe(struct node *n, struct owned *o, uint64_t link, const struct msg_want *w)
{
    struct subscriber *s = NULL;
    for (unsigned k = 0; k < o->n_subs && !s; k++)
        s = o->subs[k].link == link ? &o->subs[k] : NULL;
    if (!s) {
        if (o->n_subs == o->subs_cap) {
            o->subs_cap = o->subs_cap ? 2 * o->subs_cap : 4;
            o->subs = mem_resize(o->subs, o->subs_cap * sizeof *o->subs);
        }
        s = &o->subs[o->n_subs++];
        *s = (struct subscriber){.link = link};
    }
    s->all_due = w->presence;
    s->presence = w->presence;
    if (w->resume && w->rev < cell_rev(o->cell)) {
        struct gather g = gather_new(n, link, send_resumed);
        g.msg.kind = MSG_ROWS;
        g.msg.rows.cell = o->at;
        g.msg.rows.epoch = o->epoch;
        g.msg.rows.rev = cell_rev(o->cell);
        g.msg.rows.resumed = true;
        cell_rows_above(o->cell, w->rev, gather_row, &g);
        if (g.n)
            send_resumed(&g);
    }
}

static void unsubscribe(struct node *n, struct owned *o, uint64_t link)
{
    for (unsigned k = 0; k < o->n_subs; k++) {
        if (o->subs[k].link == link)
            o->subs[k--] = o->subs[--o->n_subs];
    }
    for (unsigned k = 0; k < o->n_waiting; k++) {
        if (o->waiting[k].link == link)
            o->waiting[k--] = o->waiting[--o->n_waiting];
    }
    o->idle_from_ms = node_now(n);
}

void serve_grant(struct node *n, struct owned *o)
{
    for (unsigned k = 0; k < o->n_waiting; k++) {
        struct msg_grant grant = {o->at, o->epoch, cell_rev(o->cell)};
        struct msg m = {.kind = MSG_SUBSCRIBED};
        m.subscribed.grants = &grant;
        m.subscribed.n = 1;
        subscribe(n, o, o->waiting[k].link, &o->waiting[k].want);
        node_send(n, o->waiting[k].link, &m);
    }
    o->n_waiting = 0;
}

static void on_subscribe(struct node *n, struct gate_link *l, const struct msg *m)
{
    struct msg_grant *grants = mem_array(m->subscribe.n, sizeof *grants);
    struct msg answer = {.kind = MSG_SUBSCRIBED};
    answer.subscribed.grants = grants;
    for (unsigned k = 0; k < m->subscribe.n; k++) {
        const struct msg_want *w = &m->subscribe.wants[k];
        struct owned *o = node_owned(n, w->cell);
        if (o && o->state == OWN_SERVING) {
            subscribe(n, o, l->link, w);
            grants[answer.subscribed.n++] = (struct msg_grant){o->at, o->epoch, cell_rev(o->cell)};
        } else {
            claim_want(n, l->link, w);
        }
    }
    if (answer.subscribed.n)
        node_send(n, l->link, &answer);
    free(grants);
    claim_pump(n);
}

void serve_link_down(struct node *n, struct gate_link *l)
{
    for (struct owned *o = n->cells; o; o = o->hh.next)
        unsubscribe(n, o, l->link);
}

/* ---- edits and chunks ---- */

static void on_edits(struct node *n, struct gate_link *l, const struct msg *m)
{
    for (unsigned k = 0; k < m->edits.n; k++) {
        const struct edit *e = &m->edits.edits[k];
        struct cell_pos at = cell_of_block(e->at.x, e->at.z);
        struct owned *o = node_owned(n, at);
        if (e->session.gate != l->peer)
            continue; /* only a gateway speaks for its own sessions */
        if (o && o->state == OWN_SERVING)
            journal_take_edit(n, o, l->link, e);
        else if (!o)
            serve_not_mine(n, l->link, at, 0, 0, 0);
        /* being claimed or released: the gateway sends it again with the grant, or elsewhere */
    }
    journal_pump(n);
}

static void on_chunk_get(struct node *n, struct gate_link *l, const struct msg *m)
{
    uint64_t from_us = clock_mono_us();
    struct owned *o = node_owned(n, m->chunk_get.cell);
    struct chunk_pos at = m->chunk_get.chunk;
    if (!o || o->state < OWN_SERVING) {
        if (!o)
            serve_not_mine(n, l->link, m->chunk_get.cell, 0, 0, 0);
        return;
    }
    struct gather g = gather_new(n, l->link, send_part);
    g.msg.kind = MSG_CHUNK_PART;
    g.msg.request_id = m->request_id;
    g.msg.chunk_part.part =
        (struct msg_chunk_part){.cell = o->at, .epoch = o->epoch, .rev = cell_rev(o->cell), .chunk = at};
    uint32_t key = 0;
    if (cell_eq(cell_of_chunk(at), o->at))
        key = cell_chunk_rows(o->cell, at, m->chunk_get.key, gather_row, &g);
    cell_mirror_rows(o->cell, at, gather_row, &g);
    /* The key goes with the last piece: it must not reach a client before the rows that it stands for. */
    g.msg.chunk_part.part.key = key;
    g.msg.chunk_part.part.last = true;
    send_part(&g);
    metric_seconds(node_metrics.chunk_seconds, (double)(clock_mono_us() - from_us) / 1e6);
}

void serve_msg(struct node *n, struct gate_link *l, const struct msg *m)
{
    if (l->role != ROLE_GATEWAY)
        return; /* nodes have nothing to ask of each other here */
    switch (m->kind) {
    case MSG_SUBSCRIBE:
        on_subscribe(n, l, m);
        break;
    case MSG_UNSUBSCRIBE:
        for (unsigned k = 0; k < m->unsubscribe.n; k++) {
            struct owned *o = node_owned(n, m->unsubscribe.cells[k]);
            if (o)
                unsubscribe(n, o, l->link);
        }
        break;
    case MSG_EDITS:
        on_edits(n, l, m);
        break;
    case MSG_CHUNK_GET:
        on_chunk_get(n, l, m);
        break;
    case MSG_PLACE_GET:
        presence_visit(n, l->link, m->request_id, m->place_get.account);
        break;
    default:
        presence_msg(n, l, m);
        break;
    }
}
