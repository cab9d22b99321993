#include "tests/lib/craft_map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/world/terrain.h"
#include "proto/base/mem.h"

/* A place, from the low end: x + 1 in 6 bits, z + 1 in 6 (0 and 33 are the border), y in 8, face in 3, kind in 2. */
enum { FREE = -1, CELLS_FIRST = 8, FACE_SHIFT = 20, KIND_SHIFT = 23 };

struct entry {
    int32_t place; /* FREE: none */
    int32_t w;     /* of a sign: the number of its text */
};

/* Open addressing; nothing is ever removed. */
struct table {
    struct entry *entries;
    uint32_t n, cap;
};

struct craft_map {
    struct chunk_pos at;
    struct table table;
    char **texts; /* NULL: removed */
    uint32_t n_texts;
};

struct craft_map *craft_map_new(struct chunk_pos at)
{
    struct craft_map *m = mem_zalloc(sizeof *m);
    m->at = at;
    return m;
}

void craft_map_free(struct craft_map *m)
{
    if (!m)
        return;
    for (uint32_t k = 0; k < m->n_texts; k++)
        free(m->texts[k]);
    free(m->texts);
    free(m->table.entries);
    free(m);
}

size_t craft_map_bytes(const struct craft_map *m)
{
    size_t bytes = sizeof *m + m->table.cap * sizeof(struct entry) + m->n_texts * sizeof *m->texts;
    for (uint32_t k = 0; k < m->n_texts; k++)
        bytes += m->texts[k] ? strlen(m->texts[k]) + 1 : 0;
    return bytes;
}

/* ---- the table ---- */

static struct entry *slot_of(const struct table *t, int32_t place)
{
    uint32_t k = (uint32_t)place * 2654435761u;
    for (k = (k ^ k >> 15) & (t->cap - 1);; k = (k + 1) & (t->cap - 1)) {
        if (t->entries[k].place == place || t->entries[k].place == FREE)
            return &t->entries[k];
    }
}

static const struct entry *table_find(const struct table *t, int32_t place)
{
    const struct entry *e = t->cap ? slot_of(t, place) : NULL;
    return e && e->place == place ? e : NULL;
}

static void table_put(struct table *t, int32_t place, int32_t w)
{
    if ((t->n + 1) * 4 > t->cap * 3) {
        struct table wider = {.cap = t->cap ? t->cap * 2 : CELLS_FIRST};
        wider.entries = mem_alloc(wider.cap * sizeof *wider.entries);
        for (uint32_t k = 0; k < wider.cap; k++)
            wider.entries[k].place = FREE;
        for (uint32_t k = 0; k < t->cap; k++) {
            if (t->entries[k].place != FREE)
                table_put(&wider, t->entries[k].place, t->entries[k].w);
        }
        free(t->entries);
        *t = wider;
    }
    struct entry *e = slot_of(t, place);
    t->n += e->place == FREE;
    *e = (struct entry){place, w};
}

/* ---- places ---- */

static bool within(struct chunk_pos c, struct block_pos at, int64_t margin)
{
    int64_t dx = (int64_t)at.x - (int64_t)c.p * CHUNK_SIZE, dz = (int64_t)at.z - (int64_t)c.q * CHUNK_SIZE;
    return at.y >= 0 && at.y <= BLOCK_Y_MAX && dx >= -margin && dz >= -margin && dx < CHUNK_SIZE + margin &&
           dz < CHUNK_SIZE + margin;
}

bool craft_map_own(struct chunk_pos c, struct block_pos at)
{
    return within(c, at, 0);
}

bool craft_map_border(struct chunk_pos c, struct block_pos at)
{
    return within(c, at, 1) && !within(c, at, 0);
}

static int32_t place_of(const struct craft_map *m, enum row_kind kind, struct block_pos at, int face)
{
    int32_t dx = at.x - m->at.p * CHUNK_SIZE + 1, dz = at.z - m->at.q * CHUNK_SIZE + 1;
    return dx | dz << 6 | at.y << 12 | face << FACE_SHIFT | (int32_t)kind << KIND_SHIFT;
}

static struct block_pos block_of(const struct craft_map *m, int32_t place)
{
    return (struct block_pos){m->at.p * CHUNK_SIZE + (place & 63) - 1, place >> 12 & 255,
                              m->at.q * CHUNK_SIZE + (place >> 6 & 63) - 1};
}

static int generated(const struct craft_map *m, struct block_pos at)
{
    int w = terrain_block(at.x, at.y, at.z);
    return craft_map_own(m->at, at) ? w : -w;
}

/* ---- reading and writing ---- */

int craft_map_block(const struct craft_map *m, struct block_pos at)
{
    const struct entry *e = table_find(&m->table, place_of(m, ROW_BLOCK, at, 0));
    return e ? e->w : generated(m, at);
}

int craft_map_light(const struct craft_map *m, struct block_pos at)
{
    const struct entry *e = table_find(&m->table, place_of(m, ROW_LIGHT, at, 0));
    return e ? e->w : 0;
}

static const char *text_at(const struct craft_map *m, int32_t place)
{
    const struct entry *e = m->n_texts ? table_find(&m->table, place) : NULL;
    return e && m->texts[e->w] ? m->texts[e->w] : "";
}

const char *craft_map_sign(const struct craft_map *m, struct block_pos at, int face)
{
    return text_at(m, place_of(m, ROW_SIGN, at, face));
}

bool craft_map_set_block(struct craft_map *m, struct block_pos at, int w)
{
    bool changed = craft_map_block(m, at) != w;
    if (changed)
        table_put(&m->table, place_of(m, ROW_BLOCK, at, 0), w);
    return changed;
}

bool craft_map_set_light(struct craft_map *m, struct block_pos at, int w)
{
    bool changed = craft_map_light(m, at) != w;
    if (changed)
        table_put(&m->table, place_of(m, ROW_LIGHT, at, 0), w);
    return changed;
}

bool craft_map_set_sign(struct craft_map *m, struct block_pos at, int face, const char *text)
{
    int32_t place = place_of(m, ROW_SIGN, at, face);
    if (strcmp(text_at(m, place), text) == 0)
        return false;
    const struct entry *e = table_find(&m->table, place);
    uint32_t number = e ? (uint32_t)e->w : m->n_texts;
    if (!e) {
        m->texts = mem_resize(m->texts, ++m->n_texts * sizeof *m->texts);
        m->texts[number] = NULL;
        table_put(&m->table, place, (int32_t)number);
    }
    free(m->texts[number]);
    m->texts[number] = *text ? mem_strdup(text) : NULL;
    return true;
}

void craft_map_drop_signs(struct craft_map *m, const struct block_pos *at)
{
    for (int face = 0; at && m->n_texts && face < SIGN_FACES; face++)
        craft_map_set_sign(m, *at, face, "");
    for (uint32_t k = 0; !at && k < m->n_texts; k++) {
        free(m->texts[k]);
        m->texts[k] = NULL;
    }
}

/* ---- against the world as it is ---- */

struct comparison {
    const struct craft_map *map;
    struct table world; /* what the world has a row for */
    unsigned n;
    char *why;
    size_t why_bytes;
};

static void differs(struct comparison *c, const char *what, struct block_pos at, int mine, int theirs)
{
    if (c->n++ == 0)
        snprintf(c->why, c->why_bytes, "chunk %d,%d: %s at %d,%d,%d is %d, in the world %d", c->map->at.p, c->map->at.q,
                 what, at.x, at.y, at.z, mine, theirs);
}

static void compare_number(struct comparison *c, enum row_kind kind, struct block_pos at, int theirs)
{
    int mine = kind == ROW_BLOCK ? craft_map_block(c->map, at) : craft_map_light(c->map, at);
    if (mine != theirs)
        differs(c, kind == ROW_LIGHT ? "light" : craft_map_own(c->map->at, at) ? "block" : "mirror", at, mine, theirs);
}

static void compare_sign(struct comparison *c, struct block_pos at, int face, const char *theirs)
{
    const char *mine = craft_map_sign(c->map, at, face);
    if (strcmp(mine, theirs) != 0 && c->n++ == 0)
        snprintf(c->why, c->why_bytes, "chunk %d,%d: sign at %d,%d,%d face %d is \"%s\", in the world \"%s\"",
                 c->map->at.p, c->map->at.q, at.x, at.y, at.z, face, mine, theirs);
}

static void on_world_row(const struct row *r, void *arg)
{
    struct comparison *c = arg;
    bool own = craft_map_own(c->map->at, r->at);
    if (!own && (r->kind != ROW_BLOCK || !craft_map_border(c->map->at, r->at)))
        return;
    table_put(&c->world, place_of(c->map, r->kind, r->at, r->face), 0);
    if (r->kind == ROW_SIGN)
        compare_sign(c, r->at, r->face, r->text);
    else
        compare_number(c, r->kind, r->at, own ? r->w : -r->w);
}

unsigned craft_map_differs(const struct craft_map *m, craft_map_world *rows, void *world, char *why, size_t why_bytes)
{
    struct comparison c = {.map = m, .why = why, .why_bytes = why_bytes};
    for (int32_t dp = -1; dp <= 1; dp++) {
        for (int32_t dq = -1; dq <= 1; dq++)
            rows(world, (struct chunk_pos){m->at.p + dp, m->at.q + dq}, on_world_row, &c);
    }
    for (uint32_t k = 0; k < m->table.cap; k++) { /* what the client has beyond that must be as generated */
        int32_t place = m->table.entries[k].place;
        if (place == FREE || table_find(&c.world, place))
            continue;
        struct block_pos at = block_of(m, place);
        enum row_kind kind = (enum row_kind)(place >> KIND_SHIFT);
        if (kind == ROW_SIGN)
            compare_sign(&c, at, place >> FACE_SHIFT & 7, "");
        else
            compare_number(&c, kind, at, kind == ROW_BLOCK ? generated(m, at) : 0);
    }
    free(c.world.entries);
    return c.n;
}
