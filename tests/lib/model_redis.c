#include "tests/lib/model_redis.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/mem.h"

struct model_redis *model_redis_new(void)
{
    struct model_redis *m = mem_zalloc(sizeof *m);
    m->run = 1;
    rng_seed(&m->rng, 1);
    return m;
}

void model_batches_drop(struct model_cell *c, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++)
        blob_unref(c->batches[i].bytes);
    if (to > from)
        memmove(c->batches + from, c->batches + to, (c->n_batches - to) * sizeof *c->batches);
    c->n_batches -= to - from;
}

void model_batch_add(struct model_cell *c, uint64_t epoch, uint64_t n, struct blob *bytes)
{
    c->batches = mem_resize(c->batches, (c->n_batches + 1) * sizeof *c->batches);
    c->batches[c->n_batches++] = (struct coord_batch){epoch, n, blob_ref(bytes)};
}

void model_cell_drop(struct model_redis *m, struct model_cell *c)
{
    model_batches_drop(c, 0, c->n_batches);
    free(c->batches);
    HASH_DEL(m->cells, c);
    free(c);
}

void model_redis_flush(struct model_redis *m)
{
    struct lease *l, *l2;
    HASH_ITER (hh, m->leases, l, l2) {
        HASH_DEL(m->leases, l);
        free(l);
    }
    struct grave *g, *g2;
    HASH_ITER (hh, m->graves, g, g2) {
        HASH_DEL(m->graves, g);
        free(g);
    }
    struct model_cell *c, *c2;
    HASH_ITER (hh, m->cells, c, c2)
        model_cell_drop(m, c);
    struct holder *h, *h2;
    HASH_ITER (hh, m->names, h, h2) {
        HASH_DEL(m->names, h);
        free(h);
    }
    m->cell_chunks = m->newest_schema = 0;
    m->run_id = m->generation = m->closed_until = m->fresh_until = m->next_id = 0;
    m->quarantined = 0;
}

void model_redis_free(struct model_redis *m)
{
    if (!m)
        return;
    model_redis_flush(m);
    free(m);
}

struct model_redis *model_redis_copy(const struct model_redis *m)
{
    struct model_redis *to = mem_dup(m, sizeof *m);
    to->leases = NULL;
    to->graves = NULL;
    to->cells = NULL;
    to->names = NULL;
    for (const struct lease *l = m->leases; l; l = l->hh.next) {
        struct lease *copy = mem_dup(l, sizeof *l);
        HASH_ADD(hh, to->leases, key, sizeof copy->key, copy);
    }
    for (const struct grave *g = m->graves; g; g = g->hh.next) {
        struct grave *copy = mem_dup(g, sizeof *g);
        HASH_ADD(hh, to->graves, node, sizeof copy->node, copy);
    }
    for (const struct model_cell *c = m->cells; c; c = c->hh.next) {
        struct model_cell *copy = mem_dup(c, sizeof *c);
        copy->batches = NULL;
        copy->n_batches = 0;
        for (unsigned i = 0; i < c->n_batches; i++)
            model_batch_add(copy, c->batches[i].epoch, c->batches[i].n, c->batches[i].bytes);
        HASH_ADD(hh, to->cells, id, sizeof copy->id, copy);
    }
    for (const struct holder *h = m->names; h; h = h->hh.next) {
        struct holder *copy = mem_dup(h, sizeof *h);
        HASH_ADD_STR(to->names, nick, copy);
    }
    return to;
}

void model_redis_new_run(struct model_redis *m)
{
    m->run++;
}

void model_redis_restart_empty(struct model_redis *m)
{
    model_redis_flush(m);
    m->run++;
}

void model_redis_set_time(struct model_redis *m, uint64_t now_ms)
{
    if (now_ms > m->now_ms)
        m->now_ms = now_ms;
    struct lease *l, *l2;
    HASH_ITER (hh, m->leases, l, l2) {
        if (l->until_ms > m->now_ms)
            continue;
        HASH_DEL(m->leases, l);
        free(l);
    }
    struct grave *g, *g2;
    HASH_ITER (hh, m->graves, g, g2) {
        if (g->until_ms > m->now_ms)
            continue;
        HASH_DEL(m->graves, g);
        free(g);
    }
}

struct lease *model_lease_find(const struct model_redis *m, enum role role, uint64_t id)
{
    struct lease *l, want = {.key = {id, role}};
    HASH_FIND(hh, m->leases, &want.key, sizeof want.key, l);
    return l;
}

bool model_redis_lives(const struct model_redis *m, enum role role, uint64_t id)
{
    return model_lease_find(m, role, id) != NULL;
}

void model_redis_expire(struct model_redis *m, enum role role, uint64_t id)
{
    struct lease *l = model_lease_find(m, role, id);
    if (!l)
        return;
    HASH_DEL(m->leases, l);
    free(l);
}

void model_redis_reopen(struct model_redis *m)
{
    m->closed_until = m->fresh_until = 0;
}

void model_redis_evicts(struct model_redis *m, bool evicts)
{
    m->evicts = evicts;
}

struct model_cell *model_cell_find(const struct model_redis *m, struct cell_pos at)
{
    uint64_t id = cell_id(at);
    struct model_cell *c;
    HASH_FIND(hh, m->cells, &id, sizeof id, c);
    return c;
}

/* The cell to write to, made if it is not there. */
struct model_cell *model_cell_make(struct model_redis *m, struct cell_pos at)
{
    struct model_cell *c = model_cell_find(m, at);
    if (c)
        return c;
    c = mem_zalloc(sizeof *c);
    c->id = cell_id(at);
    c->at = at;
    HASH_ADD(hh, m->cells, id, sizeof c->id, c);
    return c;
}

/* ---- looking ---- */

bool model_redis_cell(const struct model_redis *m, struct cell_pos at, uint64_t *owner, uint64_t *epoch, uint64_t *n)
{
    const struct model_cell *c = model_cell_find(m, at);
    if (!c)
        return false;
    *owner = c->owner;
    *epoch = c->epoch;
    *n = c->n;
    return true;
}

unsigned model_redis_journal(const struct model_redis *m, struct cell_pos at, const struct coord_batch **batches)
{
    const struct model_cell *c = model_cell_find(m, at);
    *batches = c ? c->batches : NULL;
    return c ? c->n_batches : 0;
}

bool model_redis_dirty(const struct model_redis *m, struct cell_pos at)
{
    const struct model_cell *c = model_cell_find(m, at);
    return c && c->n_batches > 0;
}

unsigned model_redis_quarantined(const struct model_redis *m)
{
    return m->quarantined;
}

void model_redis_cells(const struct model_redis *m, model_redis_each *each, void *arg)
{
    for (const struct model_cell *c = m->cells; c; c = c->hh.next)
        each(c->at, arg);
}
