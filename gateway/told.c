#include "gateway/told.h"

#include "gateway/session.h"

enum { LOG_BLOCKS = 128 };

static bool is_recent(const struct gateway *g, uint64_t ms)
{
    return ms && g->now_ms - ms < TOLD_MS;
}

void told_note(struct gateway *g, struct shown_chunk *c, struct block_pos at)
{
    if (!c)
        return;
    if (!c->told)
        c->told = mem_array(LOG_BLOCKS, sizeof *c->told);
    struct told_block *t = &c->told[c->told_next++ % LOG_BLOCKS];
    if (is_recent(g, t->ms)) /* more than the log holds: any block of the chunk may be meant */
        c->flooded_ms = g->now_ms;
    *t = (struct told_block){at, g->now_ms};
}

void told_answer(struct gateway *g, struct session *s, struct chunk_pos at)
{
    struct hold *h = interest_find(s, at);
    if (h)
        h->told_ms = g->now_ms;
}

static bool in_log(const struct gateway *g, const struct shown_chunk *c, struct block_pos at)
{
    for (unsigned k = 0; c->told && k < LOG_BLOCKS; k++) {
        const struct told_block *t = &c->told[k];
        if (t->at.x == at.x && t->at.y == at.y && t->at.z == at.z && is_recent(g, t->ms))
            return true;
    }
    return false;
}

bool told_lately(struct gateway *g, struct session *s, struct block_pos at)
{
    struct chunk_pos chunks[1 + MIRRORS_MAX] = {chunk_of_block(at.x, at.z)};
    unsigned n = 1 + chunk_mirrors(at.x, at.z, chunks + 1);
    for (unsigned k = 0; k < n; k++) {
        const struct shown_chunk *c = interest_chunk(g, chunks[k]);
        const struct hold *h = c ? interest_find(s, chunks[k]) : NULL;
        if (c && (is_recent(g, c->flooded_ms) || in_log(g, c, at)))
            return true;
        if (h && is_recent(g, h->told_ms))
            return true;
    }
    return false;
}
