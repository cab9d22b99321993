#include "gateway/interest.h"

#include "gateway/chunks.h"
#include "gateway/router.h"
#include "gateway/session.h"

unsigned chunk_distance(struct chunk_pos a, struct chunk_pos b)
{
    int64_t dp = (int64_t)a.p - b.p, dq = (int64_t)a.q - b.q;
    dp = dp < 0 ? -dp : dp;
    dq = dq < 0 ? -dq : dq;
    return (unsigned)(dp > dq ? dp : dq);
}

static unsigned away(const struct session *s, struct chunk_pos at)
{
    return chunk_distance(chunk_of_place(s->place.x, s->place.z), at);
}

struct shown_chunk *interest_chunk(struct gateway *g, struct chunk_pos at)
{
    struct shown_chunk *c;
    uint64_t id = chunk_id(at);
    HASH_FIND(hh, g->chunks, &id, sizeof id, c);
    return c;
}

struct hold *interest_find(struct session *s, struct chunk_pos at)
{
    struct hold *h;
    uint64_t id = chunk_id(at);
    HASH_FIND(hh, s->holds, &id, sizeof id, h);
    return h;
}

static struct shown_chunk *chunk_get(struct gateway *g, struct chunk_pos at)
{
    struct shown_chunk *c = interest_chunk(g, at);
    if (c)
        return c;
    struct cell_pos cells[CHUNK_CELLS_MAX];
    c = mem_zalloc(sizeof *c);
    c->id = chunk_id(at);
    c->at = at;
    c->n_areas = chunk_cells(at, cells);
    for (unsigned k = 0; k < c->n_areas; k++)
        c->areas[k] = router_hold(g, cells[k]);
    HASH_ADD(hh, g->chunks, id, sizeof c->id, c);
    return c;
}

struct hold *interest_add(struct gateway *g, struct session *s, struct chunk_pos at)
{
    struct hold *h = interest_find(s, at);
    bool far = away(s, at) >= DROP_CHUNKS;
    if (h) { /* the client dropped the chunk and loads it again */
        h->asked_ms = g->now_ms;
        return h;
    }
    if (s->n_holds >= HOLDS_MAX || (far && s->n_far_holds >= FAR_HOLDS_MAX))
        return NULL;
    h = mem_zalloc(sizeof *h);
    h->id = chunk_id(at);
    h->session = s;
    h->chunk = chunk_get(g, at);
    h->asked_ms = g->now_ms;
    h->far = far;
    s->n_holds++;
    s->n_far_holds += far ? 1 : 0;
    DL_APPEND(h->chunk->holds, h);
    HASH_ADD(hh, s->holds, id, sizeof h->id, h);
    return h;
}

static void drop(struct gateway *g, struct session *s, struct hold *h)
{
    struct shown_chunk *c = h->chunk;
    chunks_cancel(g, h);
    s->n_holds--;
    s->n_far_holds -= h->far ? 1 : 0;
    HASH_DEL(s->holds, h);
    DL_DELETE(c->holds, h);
    free(h);
    if (c->holds)
        return;
    for (unsigned k = 0; k < c->n_areas; k++)
        router_drop(g, c->areas[k]);
    HASH_DEL(g->chunks, c);
    free(c->rows);
    free(c->told);
    free(c);
}

void interest_sweep(struct gateway *g, struct session *s)
{
    struct hold *h, *next;
    s->swept_ms = g->now_ms;
    HASH_ITER (hh, s->holds, h, next) {
        bool far = away(s, h->chunk->at) >= DROP_CHUNKS;
        s->n_far_holds += (far ? 1u : 0u) - (h->far ? 1u : 0u);
        h->far = far;
        if (far && g->now_ms - h->asked_ms >= HOLD_GRACE_MS)
            drop(g, s, h);
    }
}

void interest_drop_all(struct gateway *g, struct session *s)
{
    struct hold *h, *next;
    HASH_ITER (hh, s->holds, h, next)
        drop(g, s, h);
}
