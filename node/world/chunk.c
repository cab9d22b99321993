#include "node/world/chunk.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/mem.h"

/* A row as it is kept. bits, from the low end:
 *     x 5 | z 5 | y 8 | face 3     the place within the chunk, which is also the key of the index
 *     w 8
 *     dirty 1                      the store does not have it
 *     queued 1                     its number is in the dirty list */
struct packed {
    uint64_t rev;
    uint32_t key;
    uint32_t bits;
};
enum {
    KINDS = 3,
    PLACE_BITS = 21,
    PLACE_MASK = (1 << PLACE_BITS) - 1,
    W_SHIFT = PLACE_BITS,
    DIRTY = 1 << 29,
    QUEUED = 1 << 30,
    NUMBER_BITS = 30, /* in the dirty list: kind above, row number below */
    ROWS_FIRST = 8,
    ROWS_GENTLE = 1024 /* from here on tables grow by a quarter, not to the double */
};

/* Open addressing; a slot holds a row's number + 1, 0 when free. */
struct table {
    struct packed *rows;
    uint32_t n, cap;
    uint32_t *slots;
    uint32_t n_slots; /* a power of two, or 0 */
};

struct list {
    uint32_t *v;
    uint32_t n, cap;
};

enum side { WEST, EAST, NORTH, SOUTH, SIDES }; /* x = 0, x = 31, z = 0, z = 31 */

struct chunk {
    struct chunk_pos at;
    struct table tables[KINDS];
    char **texts; /* of the signs, by number */
    size_t texts_bytes;
    struct list sides[SIDES]; /* numbers of block rows; one in a corner is in two */
    struct list dirty;        /* oldest first; may hold rows that are clean by now */
    unsigned n_dirty;
    uint64_t rev;
    uint32_t key;
};

struct chunk *chunk_new(struct chunk_pos at)
{
    struct chunk *c = mem_zalloc(sizeof *c);
    c->at = at;
    return c;
}

void chunk_free(struct chunk *c)
{
    if (!c)
        return;
    for (uint32_t k = 0; k < c->tables[ROW_SIGN].n; k++)
        free(c->texts[k]);
    free(c->texts);
    for (unsigned k = 0; k < KINDS; k++) {
        free(c->tables[k].rows);
        free(c->tables[k].slots);
    }
    for (unsigned k = 0; k < SIDES; k++)
        free(c->sides[k].v);
    free(c->dirty.v);
    free(c);
}

/* ---- lists and tables ---- */

static uint32_t grown(uint32_t cap)
{
    return cap < ROWS_FIRST ? ROWS_FIRST : cap < ROWS_GENTLE ? cap * 2 : cap + cap / 4;
}

static void list_add(struct list *l, uint32_t number)
{
    if (l->n == l->cap) {
        l->cap = grown(l->cap);
        l->v = mem_resize(l->v, l->cap * sizeof *l->v);
    }
    l->v[l->n++] = number;
}

/* The slot of place: its row's, or the free one where it belongs. */
static uint32_t table_slot(const struct table *t, uint32_t place)
{
    uint32_t k = place * 2654435761u;
    for (k = (k ^ k >> 15) & (t->n_slots - 1);; k = (k + 1) & (t->n_slots - 1)) {
        if (!t->slots[k] || (t->rows[t->slots[k] - 1].bits & PLACE_MASK) == place)
            return k;
    }
}

static struct packed *table_find(const struct table *t, uint32_t place)
{
    uint32_t slot = t->n_slots ? t->slots[table_slot(t, place)] : 0;
    return slot ? &t->rows[slot - 1] : NULL;
}

/* At most 4 of 5 slots are taken. */
static void table_widen(struct table *t)
{
    if ((uint64_t)(t->n + 1) * 5 <= (uint64_t)t->n_slots * 4)
        return;
    t->n_slots = t->n_slots ? t->n_slots * 2 : ROWS_FIRST * 2;
    free(t->slots);
    t->slots = mem_array(t->n_slots, sizeof *t->slots);
    for (uint32_t k = 0; k < t->n; k++)
        t->slots[table_slot(t, t->rows[k].bits & PLACE_MASK)] = k + 1;
}

static struct packed *table_add(struct table *t, uint32_t place)
{
    table_widen(t);
    if (t->n == t->cap) {
        t->cap = grown(t->cap);
        t->rows = mem_resize(t->rows, t->cap * sizeof *t->rows);
    }
    t->slots[table_slot(t, place)] = t->n + 1;
    t->rows[t->n] = (struct packed){.bits = place};
    return &t->rows[t->n++];
}

static uint32_t place_of(struct block_pos at, uint8_t face)
{
    return ((uint32_t)at.x & 31) | ((uint32_t)at.z & 31) << 5 | (uint32_t)at.y << 10 | (uint32_t)face << 18;
}

static struct row unpack(const struct chunk *c, enum row_kind kind, uint32_t number)
{
    const struct packed *p = &c->tables[kind].rows[number];
    return (struct row){
        .at = {c->at.p * CHUNK_SIZE + (int32_t)(p->bits & 31), (int32_t)(p->bits >> 10 & 255),
               c->at.q * CHUNK_SIZE + (int32_t)(p->bits >> 5 & 31)},
        .kind = (uint8_t)kind,
        .face = (uint8_t)(p->bits >> 18 & 7),
        .w = (int16_t)(p->bits >> W_SHIFT & 255),
        .key = p->key,
        .rev = p->rev,
        .text = kind == ROW_SIGN ? c->texts[number] : NULL,
    };
}

/* ---- writing ---- */

static void note_border(struct chunk *c, uint32_t place, uint32_t number)
{
    uint32_t x = place & 31, z = place >> 5 & 31;
    if (x == 0 || x == CHUNK_SIZE - 1)
        list_add(&c->sides[x ? EAST : WEST], number);
    if (z == 0 || z == CHUNK_SIZE - 1)
        list_add(&c->sides[z ? SOUTH : NORTH], number);
}

static void put_text(struct chunk *c, uint32_t number, bool is_new, const char *text)
{
    if (is_new) {
        c->texts = mem_resize(c->texts, c->tables[ROW_SIGN].cap * sizeof *c->texts);
    } else {
        c->texts_bytes -= strlen(c->texts[number]) + 1;
        free(c->texts[number]);
    }
    c->texts[number] = mem_strdup(text);
    c->texts_bytes += strlen(text) + 1;
}

static void set_dirty(struct chunk *c, struct packed *p, uint32_t tagged, bool dirty)
{
    if (dirty && !(p->bits & QUEUED)) {
        list_add(&c->dirty, tagged);
        p->bits |= QUEUED;
    }
    if (dirty && !(p->bits & DIRTY))
        c->n_dirty++;
    if (!dirty && (p->bits & DIRTY))
        c->n_dirty--;
    p->bits = dirty ? p->bits | DIRTY : p->bits & ~(uint32_t)DIRTY;
}

bool chunk_put(struct chunk *c, const struct row *r, bool dirty)
{
    assert(r->kind < KINDS && chunk_eq(chunk_of_block(r->at.x, r->at.z), c->at));
    struct table *t = &c->tables[r->kind];
    uint32_t place = place_of(r->at, r->face);
    struct packed *p = table_find(t, place);
    if (p && p->rev >= r->rev)
        return false;
    bool is_new = !p;
    if (is_new)
        p = table_add(t, place);
    uint32_t number = (uint32_t)(p - t->rows);
    if (is_new && r->kind == ROW_BLOCK)
        note_border(c, place, number);
    if (r->kind == ROW_SIGN)
        put_text(c, number, is_new, r->text);
    p->rev = r->rev;
    p->key = r->key;
    p->bits = (p->bits & ~(255u << W_SHIFT)) | ((uint32_t)r->w & 255) << W_SHIFT;
    set_dirty(c, p, (uint32_t)r->kind << NUMBER_BITS | number, dirty);
    if (r->rev > c->rev)
        c->rev = r->rev;
    if (r->kind == ROW_BLOCK && r->key > c->key)
        c->key = r->key;
    return true;
}

/* ---- reading ---- */

bool chunk_get(const struct chunk *c, enum row_kind kind, struct block_pos at, uint8_t face, struct row *out)
{
    const struct packed *p = table_find(&c->tables[kind], place_of(at, face));
    if (!p)
        return false;
    *out = unpack(c, kind, (uint32_t)(p - c->tables[kind].rows));
    return true;
}

bool chunk_has_signs(const struct chunk *c)
{
    return c->tables[ROW_SIGN].n > 0;
}

uint64_t chunk_rev(const struct chunk *c)
{
    return c->rev;
}

uint32_t chunk_key(const struct chunk *c)
{
    return c->key;
}

size_t chunk_count(const struct chunk *c)
{
    return (size_t)c->tables[ROW_BLOCK].n + c->tables[ROW_LIGHT].n + c->tables[ROW_SIGN].n;
}

size_t chunk_bytes(const struct chunk *c)
{
    size_t bytes = sizeof *c + c->texts_bytes + c->tables[ROW_SIGN].cap * sizeof *c->texts;
    for (unsigned k = 0; k < KINDS; k++)
        bytes += c->tables[k].cap * sizeof(struct packed) + c->tables[k].n_slots * sizeof(uint32_t);
    for (unsigned k = 0; k < SIDES; k++)
        bytes += c->sides[k].cap * sizeof(uint32_t);
    return bytes + c->dirty.cap * sizeof(uint32_t);
}

uint32_t chunk_rows(const struct chunk *c, enum row_kind kind)
{
    return c->tables[kind].n;
}

struct row chunk_row(const struct chunk *c, enum row_kind kind, uint32_t number)
{
    assert(number < c->tables[kind].n);
    return unpack(c, kind, number);
}

uint32_t chunk_next_above_rev(const struct chunk *c, enum row_kind kind, uint32_t number, uint64_t rev)
{
    const struct table *t = &c->tables[kind];
    if (c->rev <= rev)
        return t->n;
    while (number < t->n && t->rows[number].rev <= rev)
        number++;
    return number;
}

uint32_t chunk_next_above_key(const struct chunk *c, uint32_t number, uint32_t key)
{
    const struct table *t = &c->tables[ROW_BLOCK];
    if (c->key <= key)
        return t->n;
    while (number < t->n && t->rows[number].key <= key)
        number++;
    return number;
}

void chunk_border_rows(const struct chunk *c, struct chunk_pos n, chunk_each *each, void *arg)
{
    int32_t dp = n.p - c->at.p, dq = n.q - c->at.q;
    assert((dp || dq) && dp >= -1 && dp <= 1 && dq >= -1 && dq <= 1);
    const struct list *side = &c->sides[dp ? (dp < 0 ? WEST : EAST) : (dq < 0 ? NORTH : SOUTH)];
    uint32_t corner_z = dq < 0 ? 0 : CHUNK_SIZE - 1;
    for (uint32_t k = 0; k < side->n; k++) {
        uint32_t z = c->tables[ROW_BLOCK].rows[side->v[k]].bits >> 5 & 31;
        if (dp && dq && z != corner_z) /* a diagonal neighbour shows one column */
            continue;
        struct row r = unpack(c, ROW_BLOCK, side->v[k]);
        each(&r, arg);
    }
}

/* ---- what the store does not have ---- */

unsigned chunk_dirty(const struct chunk *c)
{
    return c->n_dirty;
}

static struct packed *queued_row(const struct chunk *c, uint32_t tagged)
{
    return &c->tables[tagged >> NUMBER_BITS].rows[tagged & ((1u << NUMBER_BITS) - 1)];
}

unsigned chunk_dirty_rows(const struct chunk *c, struct arena *a, struct row *rows, unsigned max)
{
    unsigned n = 0;
    for (uint32_t k = 0; k < c->dirty.n && n < max && n < c->n_dirty; k++) {
        uint32_t tagged = c->dirty.v[k];
        if (!(queued_row(c, tagged)->bits & DIRTY))
            continue;
        rows[n] = unpack(c, (enum row_kind)(tagged >> NUMBER_BITS), tagged & ((1u << NUMBER_BITS) - 1));
        if (rows[n].text)
            rows[n].text = arena_strndup(a, rows[n].text, strlen(rows[n].text));
        n++;
    }
    return n;
}

/* Drops the clean from the dirty list once they are the larger part of it: constant cost per row on average. */
static void tidy_dirty(struct chunk *c)
{
    if (c->n_dirty > c->dirty.n / 2)
        return;
    uint32_t kept = 0;
    for (uint32_t k = 0; k < c->dirty.n; k++) {
        struct packed *p = queued_row(c, c->dirty.v[k]);
        if (p->bits & DIRTY)
            c->dirty.v[kept++] = c->dirty.v[k];
        else
            p->bits &= ~(uint32_t)QUEUED;
    }
    c->dirty.n = kept;
    if (kept == 0) { /* a quiet chunk keeps no memory for it */
        free(c->dirty.v);
        c->dirty = (struct list){0};
    }
}

void chunk_flushed(struct chunk *c, const struct row *r)
{
    struct packed *p = table_find(&c->tables[r->kind], place_of(r->at, r->face));
    if (!p || !(p->bits & DIRTY) || p->rev > r->rev)
        return;
    set_dirty(c, p, 0, false);
    tidy_dirty(c);
}
