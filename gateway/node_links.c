#include "gateway/node_links.h"

#include <inttypes.h>
#include <stdio.h>

#include "gateway/router.h"

enum {
    DIAL_MS = 4000, /* the links give up earlier; this is for an answer that never comes */
    BACKOFF_MIN_MS = 50,
    BACKOFF_MAX_MS = 2000,
    EDITS_PER_MSG = 2048,
    ITEMS_PER_MSG = 1024
};

/* Room for one more; the array doubles. */
static void *room(void *items, unsigned n, unsigned *cap, size_t size)
{
    if (n < *cap)
        return items;
    *cap = *cap ? 2 * *cap : 16;
    return mem_resize(items, *cap * size);
}

struct node_link *node_links_find(struct gateway *g, uint64_t node)
{
    struct node_link *n;
    HASH_FIND(hh, g->nodes, &node, sizeof node, n);
    return n;
}

struct node_link *node_links_by_link(struct gateway *g, uint64_t link)
{
    struct node_link *n;
    HASH_FIND(hh_link, g->nodes_by_link, &link, sizeof link, n);
    return n;
}

struct node_link *node_links_any(struct gateway *g)
{
    for (struct node_link *n = g->nodes; n; n = n->hh.next) {
        if (n->state == LINK_UP)
            return n;
    }
    return NULL;
}

unsigned node_links_count(const struct gateway *g)
{
    return HASH_CNT(hh_link, g->nodes_by_link);
}

static void node_free(struct gateway *g, struct node_link *n)
{
    HASH_DEL(g->nodes, n);
    free(n->edits);
    free(n->wants);
    free(n->unwanted);
    free(n->moves);
    free(n);
}

/* The link did not come up, or broke. */
static void lost(struct gateway *g, struct node_link *n)
{
    if (n->state == LINK_UP)
        HASH_DELETE(hh_link, g->nodes_by_link, n);
    n->state = LINK_AWAY;
    n->link = 0;
    n->n_edits = n->n_wants = n->n_unwanted = n->n_moves = 0;
    n->backoff_ms = n->backoff_ms ? 2 * n->backoff_ms : BACKOFF_MIN_MS;
    if (n->backoff_ms > BACKOFF_MAX_MS)
        n->backoff_ms = BACKOFF_MAX_MS;
    n->retry_ms = gateway_later(g, n->backoff_ms);
    router_node_lost(g, n);
}

void node_links_up(struct gateway *g, uint64_t link, uint64_t node)
{
    struct node_link *n = node_links_find(g, node);
    if (!n) { /* it left the list while it was dialed */
        g->env.net->hangup(g->env.net_ctx, link, "node not known");
        return;
    }
    if (n->state == LINK_UP) {
        g->env.net->hangup(g->env.net_ctx, link, "second link");
        return;
    }
    n->state = LINK_UP;
    n->link = link;
    n->backoff_ms = 0;
    n->frame_ms = n->frames_from_ms = g->now_ms;
    HASH_ADD(hh_link, g->nodes_by_link, link, sizeof n->link, n);
    log_info("node_up node=%016" PRIx64 " address=%s", n->id, n->address);
    router_node_up(g, n);
}

void node_links_down(struct gateway *g, uint64_t link, const char *why)
{
    struct node_link *n = node_links_by_link(g, link);
    if (!n)
        return;
    log_info("node_down node=%016" PRIx64 " address=%s why=\"%s\" cells=%u", n->id, n->address, why, n->n_areas);
    lost(g, n);
}

void node_links_failed(struct gateway *g, uint64_t node, bool refused)
{
    struct node_link *n = node_links_find(g, node);
    if (!n || n->state != LINK_DIALING)
        return;
    log_debug("dial_failed node=%016" PRIx64 " refused=%d", n->id, (int)refused);
    lost(g, n);
}

void node_links_members(struct gateway *g, const struct coord_member *members, unsigned count)
{
    struct node_link *n, *next;
    HASH_ITER (hh, g->nodes, n, next)
        n->living = false;
    for (unsigned k = 0; k < count; k++) {
        n = node_links_find(g, members[k].id);
        if (!n) {
            n = mem_zalloc(sizeof *n);
            n->id = members[k].id;
            HASH_ADD(hh, g->nodes, id, sizeof n->id, n);
        }
        snprintf(n->address, sizeof n->address, "%s", members[k].self.address);
        n->living = true;
        n->running = members[k].self.state == NODE_RUNNING;
        n->load = members[k].self.load;
    }
    HASH_ITER (hh, g->nodes, n, next) {
        if (!n->living && n->state == LINK_AWAY && n->n_areas == 0)
            node_free(g, n);
    }
}

void node_links_tick(struct gateway *g)
{
    struct node_link *n, *next;
    HASH_ITER (hh, g->nodes, n, next) {
        if (n->state == LINK_UP || n->retry_ms > g->now_ms)
            continue;
        if (n->state == LINK_DIALING) {
            lost(g, n);
        } else if (n->living && !g->left) {
            n->state = LINK_DIALING;
            n->retry_ms = g->now_ms + DIAL_MS;
            g->env.net->dial(g->env.net_ctx, n->id, n->address);
        }
    }
}

/* ---- what goes out ---- */

void node_links_send(struct gateway *g, const struct node_link *n, const struct msg *m)
{
    if (n->state != LINK_UP)
        return;
    struct blob *b = msg_encode(m);
    g->env.net->send(g->env.net_ctx, n->link, b);
    blob_unref(b);
}

static void flush_unwanted(struct gateway *g, struct node_link *n)
{
    for (unsigned from = 0; from < n->n_unwanted; from += ITEMS_PER_MSG) {
        unsigned left = n->n_unwanted - from;
        struct msg m = {.kind = MSG_UNSUBSCRIBE};
        m.unsubscribe.cells = n->unwanted + from;
        m.unsubscribe.n = left < ITEMS_PER_MSG ? left : ITEMS_PER_MSG;
        node_links_send(g, n, &m);
    }
    n->n_unwanted = 0;
}

static void flush_wants(struct gateway *g, struct node_link *n)
{
    for (unsigned from = 0; from < n->n_wants; from += ITEMS_PER_MSG) {
        unsigned left = n->n_wants - from;
        struct msg m = {.kind = MSG_SUBSCRIBE};
        m.subscribe.wants = n->wants + from;
        m.subscribe.n = left < ITEMS_PER_MSG ? left : ITEMS_PER_MSG;
        node_links_send(g, n, &m);
    }
    n->n_wants = 0;
}

static void flush_edits(struct gateway *g, struct node_link *n)
{
    for (unsigned from = 0; from < n->n_edits; from += EDITS_PER_MSG) {
        unsigned left = n->n_edits - from;
        struct msg m = {.kind = MSG_EDITS};
        m.edits.edits = n->edits + from;
        m.edits.n = left < EDITS_PER_MSG ? left : EDITS_PER_MSG;
        node_links_send(g, n, &m);
    }
    n->n_edits = 0;
}

static void flush_moves(struct gateway *g, struct node_link *n)
{
    for (unsigned from = 0; from < n->n_moves; from += ITEMS_PER_MSG) {
        unsigned left = n->n_moves - from;
        struct msg m = {.kind = MSG_MOVES};
        m.moves.moves = n->moves + from;
        m.moves.n = left < ITEMS_PER_MSG ? left : ITEMS_PER_MSG;
        node_links_send(g, n, &m);
    }
    n->n_moves = 0;
}

void node_links_flush(struct gateway *g)
{
    for (struct node_link *n = g->nodes_by_link; n; n = n->hh_link.next) {
        flush_unwanted(g, n);
        flush_wants(g, n);
        flush_edits(g, n);
        flush_moves(g, n);
    }
}

/* The text is copied: the edit may be answered, and its record freed, before the turn ends. */
void node_links_edit(struct gateway *g, struct node_link *n, const struct edit *e)
{
    n->edits = room(n->edits, n->n_edits, &n->edits_cap, sizeof *n->edits);
    n->edits[n->n_edits] = *e;
    if (e->text)
        n->edits[n->n_edits].text = arena_strndup(g->arena, e->text, strlen(e->text));
    n->n_edits++;
}

void node_links_want(struct node_link *n, const struct msg_want *w)
{
    n->wants = room(n->wants, n->n_wants, &n->wants_cap, sizeof *n->wants);
    n->wants[n->n_wants++] = *w;
}

void node_links_unwant(struct node_link *n, struct cell_pos cell)
{
    n->unwanted = room(n->unwanted, n->n_unwanted, &n->unwanted_cap, sizeof *n->unwanted);
    n->unwanted[n->n_unwanted++] = cell;
}

void node_links_move(struct node_link *n, const struct msg_move *m)
{
    n->moves = room(n->moves, n->n_moves, &n->moves_cap, sizeof *n->moves);
    n->moves[n->n_moves++] = *m;
}

void node_links_free_all(struct gateway *g)
{
    struct node_link *n, *next;
    HASH_CLEAR(hh_link, g->nodes_by_link);
    HASH_ITER (hh, g->nodes, n, next)
        node_free(g, n);
}
