#include "gateway/chunks.h"

#include "gateway/fanout.h"
#include "gateway/interest.h"
#include "gateway/node_links.h"
#include "gateway/router.h"
#include "gateway/session.h"

enum { ANSWER_MS = 10000 /* an owner that says nothing for so long is asked again */ };

static void set_state(struct part *p, enum part_state to)
{
    struct session *s = p->hold->session;
    if (p->state == PART_READY)
        DL_DELETE2(s->ready, p, ready_prev, ready_next);
    if (p->state == PART_ASKED)
        s->n_asked--;
    p->state = to;
    if (to == PART_READY)
        DL_APPEND2(s->ready, p, ready_prev, ready_next);
    if (to == PART_ASKED)
        s->n_asked++;
}

static void renumber(struct gateway *g, struct part *p)
{
    if (p->request)
        HASH_DEL(g->parts, p);
    p->request = gateway_request(g);
    HASH_ADD(hh, g->parts, request, sizeof p->request, p);
}

static void part_free(struct gateway *g, struct part *p)
{
    set_state(p, PART_PARKED);
    p->hold->parts[p->slot] = NULL;
    if (p->request)
        HASH_DEL(g->parts, p);
    DL_DELETE(p->area->parts, p);
    free(p);
}

/* A new request number each time: pieces of an answer that was given up say nothing any more. */
static void ask(struct gateway *g, struct part *p)
{
    renumber(g, p);
    p->newest = 0;
    p->held_back = false;
    p->asked_ms = g->now_ms;
    set_state(p, PART_ASKED);
    struct msg m = {.kind = MSG_CHUNK_GET, .request_id = p->request};
    m.chunk_get.cell = p->area->cell;
    m.chunk_get.chunk = p->hold->chunk->at;
    m.chunk_get.key = p->key;
    node_links_send(g, p->area->node, &m);
}

static void pump(struct gateway *g, struct session *s)
{
    while (s->ready && s->n_asked < CHUNK_WINDOW && !session_slow(g, s)) {
        struct part *p = s->ready;
        if (area_owned(p->area))
            ask(g, p);
        else
            set_state(p, PART_PARKED);
    }
}

static void say_end(struct gateway *g, struct session *s, struct chunk_pos at)
{
    char line[CRAFT_OUT_MAX];
    session_write(g, s, line, craft_chunk_end(line, at));
}

void chunks_ask(struct gateway *g, struct session *s, struct chunk_pos at, int32_t key)
{
    struct hold *h = chunk_in_world(at) ? interest_add(g, s, at) : NULL;
    if (!h) { /* nothing will ever change there for this client */
        gateway_count("spotcraft_bad_lines_total", "Lines that were ignored.", "reason",
                      chunk_in_world(at) ? "too many chunks" : "chunk out of the world");
        say_end(g, s, at);
        return;
    }
    chunks_cancel(g, h); /* asked again before the answer was complete */
    h->n_parts = h->chunk->n_areas;
    for (unsigned k = 0; k < h->n_parts; k++) {
        struct part *p = mem_zalloc(sizeof *p);
        p->hold = h;
        p->area = h->chunk->areas[k];
        p->slot = k;
        p->own = k == 0;
        p->key = p->own && key > 0 ? (uint32_t)key : 0;
        h->parts[k] = p;
        DL_APPEND(p->area->parts, p);
        if (area_owned(p->area))
            set_state(p, PART_READY);
    }
    pump(g, s);
}

static void finish(struct gateway *g, struct part *p)
{
    struct hold *h = p->hold;
    struct session *s = h->session;
    char end[2 * CRAFT_OUT_MAX];
    size_t len = 0;
    /* A key stands for every row up to it: not one of them may have been kept back. */
    if (p->own && p->newest && !p->held_back)
        len += craft_key(end, h->chunk->at, p->newest);
    part_free(g, p);
    if (--h->n_parts == 0) {
        len += craft_chunk_end(end + len, h->chunk->at);
        metric_seconds(g->metrics.chunk_seconds, (double)(g->now_ms - h->asked_ms) / 1000);
    }
    if (len)
        session_write(g, s, end, len);
    pump(g, s);
}

void chunks_part(struct gateway *g, uint64_t link, uint64_t request, const struct msg_chunk_part *m,
                 const struct row *rows, unsigned n)
{
    struct part *p;
    struct area *a = router_heard(g, link, m->cell, m->epoch);
    HASH_FIND(hh, g->parts, &request, sizeof request, p);
    if (!a || !p || p->area != a || p->state != PART_ASKED || !chunk_eq(p->hold->chunk->at, m->chunk))
        return;
    struct chunk_piece piece = {p->hold->chunk->at, rows, n};
    if (fanout_piece(g, p->hold->session, &piece))
        p->held_back = true;
    if (m->key > p->newest)
        p->newest = m->key;
    p->asked_ms = g->now_ms;
    if (m->last)
        finish(g, p);
}

void chunks_granted(struct gateway *g, struct area *a)
{
    struct part *p, *next;
    DL_FOREACH (a->parts, p)
        set_state(p, PART_READY);
    DL_FOREACH_SAFE (a->parts, p, next) /* asking frees no part */
        pump(g, p->hold->session);
}

void chunks_lost(struct area *a)
{
    struct part *p;
    DL_FOREACH (a->parts, p)
        set_state(p, PART_PARKED);
}

void chunks_cancel(struct gateway *g, struct hold *h)
{
    for (unsigned k = 0; k < CHUNK_CELLS_MAX; k++) {
        if (h->parts[k])
            part_free(g, h->parts[k]);
    }
    h->n_parts = 0;
}

void chunks_tick(struct gateway *g, struct session *s)
{
    if (s->ready)
        pump(g, s);
}

void chunks_sweep(struct gateway *g, struct area *a)
{
    struct part *p;
    DL_FOREACH (a->parts, p) {
        if (p->state == PART_ASKED && g->now_ms - p->asked_ms >= ANSWER_MS)
            ask(g, p);
    }
}
