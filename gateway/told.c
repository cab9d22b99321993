#include "gateway/told.h"

#include "gateway/session.h"

enum { LOG_BLOCKS = 128 };

/* A line that is read now may have been written at this time. */
static uint64_t written_ms(const struct gateway *g, const struct session *s)
{
    uint64_t at = g->now_ms;
    if (s->behind_ms && s->behind_ms < at)
        at = s->behind_ms;
    return g->stall_ms && g->stall_ms < at ? g->stall_ms : at;
}

static bool is_recent(uint64_t written, uint64_t told)
{
    return told && told + TOLD_MS > written;
}

void told_note(struct gateway *g, struct shown_chunk *c, struct block_pos at)
{
    if (!c)
        return;
    if (!c->told)
        c->told = mem_array(LOG_BLOCKS, sizeof *c->told);
    struct told_block *t = &c->told[c->told_next++ % LOG_BLOCKS];
    c->forgotten_ms = t->ms; /* the log is full: of that time and before, any block of the chunk may be meant */
    *t = (struct told_block){at, g->now_ms};
}

void told_answer(struct gateway *g, struct session *s, struct chunk_pos at)
{
    struct hold *h = interest_find(s, at);
    if (h)
        h->told_ms = g->now_ms;
}

static bool in_log(const struct shown_chunk *c, struct block_pos at, uint64_t written)
{
    for (unsigned k = 0; c->told && k < LOG_BLOCKS; k++) {
        const struct told_block *t = &c->told[k];
        if (t->at.x == at.x && t->at.y == at.y && t->at.z == at.z && is_recent(written, t->ms))
            return true;
    }
    return false;
}

bool told_lately(struct gateway *g, struct session *s, struct block_pos at)
{
    struct chunk_pos chunks[1 + MIRRORS_MAX] = {chunk_of_block(at.x, at.z)};
    unsigned n = 1 + chunk_mirrors(at.x, at.z, chunks + 1);
    uint64_t written = written_ms(g, s);
    for (unsigned k = 0; k < n; k++) {
        const struct shown_chunk *c = interest_chunk(g, chunks[k]);
        const struct hold *h = c ? interest_find(s, chunks[k]) : NULL;
        if (c && (is_recent(written, c->forgotten_ms) || in_log(c, at, written)))
            return true;
        if (h && is_recent(written, h->told_ms))
            return true;
    }
    return false;
}
