#include "tests/lib/ledger.h"

#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>

#include "proto/base/mem.h"

enum { TELL_AT_MOST = 5 };

/* One holder of one chunk that shows the block. */
struct watcher {
    struct chunk_pos c;
    uint32_t bot;
    uint8_t expected, told; /* enum ledger_step */
    bool measured[3];       /* by step */
};

/* What one observer was told of one author's edits in one cell. No padding: its bytes are a hash key. */
struct pair_key {
    int32_t i, j;
    uint32_t observer, author;
};
struct pair {
    struct pair_key key;
    uint64_t last; /* the latest edit that he was told of */
    UT_hash_handle hh;
};

struct entry {
    struct block_pos at;
    int w;
    uint32_t author;
    enum ledger_step made, refused; /* refused: the lowest step refused, STEP_NONE: none */
    uint64_t sent_us[3];            /* by step */
    uint64_t nth[3];                /* by step: its place among all edits */
    bool back;                      /* somebody was told a step back */
    bool late;                      /* somebody was told of a later edit first */
    unsigned n_watchers, room;
    struct watcher *watchers;
    UT_hash_handle hh;
};

struct ledger {
    struct entry *entries;
    struct pair *pairs;
    uint64_t open, edits;
};

struct ledger *ledger_new(void)
{
    return mem_zalloc(sizeof(struct ledger));
}

void ledger_free(struct ledger *l)
{
    struct entry *e, *tmp;
    if (!l)
        return;
    HASH_ITER (hh, l->entries, e, tmp) {
        HASH_DEL(l->entries, e);
        free(e->watchers);
        free(e);
    }
    struct pair *p, *next;
    HASH_ITER (hh, l->pairs, p, next) {
        HASH_DEL(l->pairs, p);
        free(p);
    }
    free(l);
}

static struct entry *find(const struct ledger *l, struct block_pos at)
{
    struct entry *e;
    HASH_FIND(hh, l->entries, &at, sizeof at, e);
    return e;
}

bool ledger_has(const struct ledger *l, struct block_pos at)
{
    return find(l, at) != NULL;
}

void ledger_edit(struct ledger *l, unsigned author, struct block_pos at, enum ledger_step step, int w, uint64_t now_us)
{
    struct entry *e = find(l, at);
    if (!e) {
        e = mem_zalloc(sizeof *e);
        e->at = at;
        e->w = w;
        e->author = author;
        HASH_ADD(hh, l->entries, at, sizeof e->at, e);
    }
    e->made = step;
    e->sent_us[step] = now_us;
    e->nth[step] = ++l->edits;
}

void ledger_expect(struct ledger *l, struct block_pos at, struct chunk_pos c, unsigned observer, bool measured)
{
    struct entry *e = find(l, at);
    struct watcher *w = NULL;
    for (unsigned i = 0; i < e->n_watchers && !w; i++)
        if (e->watchers[i].bot == observer && chunk_eq(e->watchers[i].c, c))
            w = &e->watchers[i];
    if (!w) {
        if (e->n_watchers == e->room) {
            e->room = e->room ? 2 * e->room : 8;
            e->watchers = mem_resize(e->watchers, e->room * sizeof *e->watchers);
        }
        w = &e->watchers[e->n_watchers++];
        *w = (struct watcher){.c = c, .bot = observer};
    }
    if (w->expected == w->told) /* a watcher counts once, however many steps it is behind */
        l->open++;
    w->expected = (uint8_t)e->made;
    w->measured[e->made] = measured;
}

unsigned ledger_chunks(struct block_pos at, struct chunk_pos out[1 + MIRRORS_MAX])
{
    out[0] = chunk_of_block(at.x, at.z);
    return 1 + chunk_mirrors(at.x, at.z, out + 1);
}

/* Which step a told w means: items are PLACED, air is BROKEN once that was asked for, else a refusal of the placing. */
static enum ledger_step step_of(const struct entry *e, int w)
{
    return abs(w) == e->w ? STEP_PLACED : e->made == STEP_BROKEN ? STEP_BROKEN : STEP_NONE;
}

static void told_author(struct ledger *l, struct entry *e, enum ledger_step step)
{
    if (step >= e->made || (e->refused && e->refused <= step + 1))
        return;
    e->refused = step + 1;
    for (unsigned i = 0; i < e->n_watchers; i++) { /* nobody will be told of it */
        struct watcher *w = &e->watchers[i];
        l->open -= w->expected > w->told && w->told >= step;
        if (w->expected > step)
            w->expected = w->told > step ? w->told : (uint8_t)step;
    }
}

/* Was bot told of a later edit of that author in that cell before? A block's mirrors tell the same edit once more. */
static bool overtaken(struct ledger *l, unsigned bot, const struct entry *e, enum ledger_step step)
{
    struct cell_pos cell = cell_of_block(e->at.x, e->at.z);
    struct pair_key key = {cell.i, cell.j, bot, e->author};
    struct pair *p;
    HASH_FIND(hh, l->pairs, &key, sizeof key, p);
    if (!p) {
        p = mem_zalloc(sizeof *p);
        p->key = key;
        HASH_ADD(hh, l->pairs, key, sizeof p->key, p);
    }
    if (e->nth[step] < p->last)
        return true;
    p->last = e->nth[step];
    return false;
}

bool ledger_told(struct ledger *l, unsigned bot, struct chunk_pos c, struct block_pos at, int w, uint64_t now_us,
                 uint64_t *took_us)
{
    struct entry *e = find(l, at);
    if (!e)
        return false;
    enum ledger_step step = step_of(e, w);
    if (bot == e->author) {
        if (chunk_eq(c, chunk_of_block(at.x, at.z)))
            told_author(l, e, step);
        return false;
    }
    for (unsigned i = 0; i < e->n_watchers; i++) {
        struct watcher *v = &e->watchers[i];
        if (v->bot != bot || !chunk_eq(v->c, c))
            continue;
        if (step < v->told)
            e->back = true;
        if (step <= v->told)
            return false;
        bool was_open = v->told < v->expected;
        v->told = (uint8_t)step;
        l->open -= was_open && v->told >= v->expected;
        *took_us = now_us - e->sent_us[step];
        if (v->measured[step] && overtaken(l, bot, e, step))
            e->late = true;
        return v->measured[step] && step == v->expected;
    }
    return false;
}

uint64_t ledger_open(const struct ledger *l)
{
    return l->open;
}

static void complain(unsigned nth, const char *what, const struct entry *e)
{
    if (nth <= TELL_AT_MOST)
        fprintf(stderr, "%s: block %d,%d,%d item %d by bot %u, step %d, refused %d\n", what, e->at.x, e->at.y, e->at.z,
                e->w, e->author, (int)e->made, (int)e->refused);
}

void ledger_check(struct ledger *l, ledger_final *final, void *arg, struct ledger_result *out)
{
    struct entry *e, *tmp;
    *out = (struct ledger_result){0};
    HASH_ITER (hh, l->entries, e, tmp) {
        struct chunk_pos chunks[1 + MIRRORS_MAX];
        unsigned n = ledger_chunks(e->at, chunks);
        enum ledger_step want = e->refused ? e->refused - 1 : e->made;
        int w = 0;
        bool known = final(arg, chunks[0], e->at, &w);
        enum ledger_step has = !known ? STEP_NONE : step_of(e, w);
        out->edits += e->made;
        out->refused += e->made - want;
        if (has < want)
            complain(++out->lost, "lost", e);
        if (has > want || e->back)
            complain(++out->doubled, e->back ? "a step back was told" : "refused and in the world", e);
        for (unsigned i = 1; i < n; i++) {
            int m = 0;
            final(arg, chunks[i], e->at, &m);
            if (m != -w)
                complain(++out->wrong_mirrors, "wrong mirror", e);
        }
        if (e->late)
            complain(++out->disordered, "told after a later edit of its author", e);
        for (unsigned i = 0; i < e->n_watchers; i++)
            if (e->watchers[i].told < e->watchers[i].expected) {
                complain(++out->unseen, "unseen", e);
                break;
            }
    }
}

void ledger_each_chunk(const struct ledger *l, void (*each)(void *arg, struct chunk_pos c), void *arg)
{
    const struct entry *e;
    for (e = l->entries; e; e = e->hh.next) {
        struct chunk_pos chunks[1 + MIRRORS_MAX];
        for (unsigned i = 0, n = ledger_chunks(e->at, chunks); i < n; i++)
            each(arg, chunks[i]);
    }
}
