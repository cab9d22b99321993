#include "node/world/cell.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "node/world/chunk.h"
#include "node/world/edit.h"
#include "node/world/terrain.h"
#include "proto/base/mem.h"

#define uthash_malloc(bytes) mem_alloc(bytes)
#include <uthash.h>
#include <utlist.h>

enum { CHUNKS = CELL_CHUNKS * CELL_CHUNKS };

/* A row of an edit that is in no answered append yet. */
struct pending {
    uint64_t id;    /* which block, light or sign: place_id() */
    struct row row; /* its text is behind it */
    struct pending *prev, *next;
    UT_hash_handle hh;
    char text[];
};

struct cell {
    struct cell_pos at;
    struct chunk *chunks[CHUNKS]; /* NULL: no rows */
    uint64_t rev;                 /* of the newest committed change */
    uint64_t rev_given;           /* of the newest change, pending ones included */
    uint32_t key_floor;
    uint32_t key_given[CHUNKS]; /* per chunk, pending ones included; the floor is not */
    struct pending *queue;      /* oldest first */
    struct pending *newest;     /* hash by id: of the rows of one place, the last */
    unsigned n_pending;
    unsigned dirty_from; /* the chunk whose dirty rows are given first: all get their turn */
};

struct cell *cell_new(struct cell_pos at)
{
    struct cell *c = mem_zalloc(sizeof *c);
    c->at = at;
    return c;
}

void cell_free(struct cell *c)
{
    if (!c)
        return;
    HASH_CLEAR(hh, c->newest);
    struct pending *p, *next;
    DL_FOREACH_SAFE (c->queue, p, next) {
        free(p);
    }
    for (unsigned k = 0; k < CHUNKS; k++)
        chunk_free(c->chunks[k]);
    free(c);
}

static struct chunk_pos nth_chunk(const struct cell *c, unsigned k)
{
    return (struct chunk_pos){c->at.i * CELL_CHUNKS + (int32_t)(k % CELL_CHUNKS),
                              c->at.j * CELL_CHUNKS + (int32_t)(k / CELL_CHUNKS)};
}

/* Which of the cell's chunks; CHUNKS when it is none of them. */
static unsigned chunk_number(const struct cell *c, struct chunk_pos at)
{
    if (!cell_eq(cell_of_chunk(at), c->at))
        return CHUNKS;
    return (unsigned)(at.p - c->at.i * CELL_CHUNKS) + (unsigned)(at.q - c->at.j * CELL_CHUNKS) * CELL_CHUNKS;
}

static const struct chunk *chunk_at(const struct cell *c, struct chunk_pos at)
{
    unsigned k = chunk_number(c, at);
    return k < CHUNKS ? c->chunks[k] : NULL;
}

static struct chunk *chunk_made(struct cell *c, unsigned k)
{
    if (!c->chunks[k])
        c->chunks[k] = chunk_new(nth_chunk(c, k));
    return c->chunks[k];
}

/* ---- loading ---- */

enum err cell_load_row(struct cell *c, const struct row *r, bool mark_dirty)
{
    if (!row_valid(r))
        return ERR_BAD;
    unsigned k = chunk_number(c, chunk_of_block(r->at.x, r->at.z));
    if (k == CHUNKS)
        return ERR_BAD;
    chunk_put(chunk_made(c, k), r, mark_dirty);
    cell_raise(c, r->rev, 0);
    if (r->key > c->key_given[k])
        c->key_given[k] = r->key;
    return ERR_OK;
}

void cell_raise(struct cell *c, uint64_t rev, uint32_t key_floor)
{
    if (rev > c->rev)
        c->rev = rev;
    if (rev > c->rev_given)
        c->rev_given = rev;
    if (key_floor > c->key_floor)
        c->key_floor = key_floor < KEY_MAX ? key_floor : KEY_MAX;
}

uint64_t cell_rev(const struct cell *c)
{
    return c->rev;
}

uint32_t cell_key_floor(const struct cell *c)
{
    return c->key_floor;
}

uint32_t cell_key_max(const struct cell *c)
{
    uint32_t max = c->key_floor;
    for (unsigned k = 0; k < CHUNKS; k++) {
        if (c->chunks[k] && chunk_key(c->chunks[k]) > max)
            max = chunk_key(c->chunks[k]);
    }
    return max;
}

/* ---- editing ---- */

/* One number for a block, light or sign of this cell. */
static uint64_t place_id(enum row_kind kind, struct block_pos at, uint8_t face)
{
    uint32_t x = (uint32_t)at.x & (CELL_SIZE - 1), z = (uint32_t)at.z & (CELL_SIZE - 1);
    return x | z << 7 | (uint32_t)at.y << 14 | (uint32_t)face << 22 | (uint32_t)kind << 25;
}

/* The row as it will be once everything pending is committed. The text lives as long as nothing is judged or committed.
 */
static bool newest_row(const struct cell *c, enum row_kind kind, struct block_pos at, uint8_t face, struct row *out)
{
    uint64_t id = place_id(kind, at, face);
    struct pending *p;
    HASH_FIND(hh, c->newest, &id, sizeof id, p);
    if (p) {
        *out = p->row;
        return true;
    }
    const struct chunk *chunk = chunk_at(c, chunk_of_block(at.x, at.z));
    return chunk && chunk_get(chunk, kind, at, face, out);
}

static int newest_item(const struct cell *c, struct block_pos at)
{
    struct row r;
    return newest_row(c, ROW_BLOCK, at, 0, &r) ? r.w : terrain_block(at.x, at.y, at.z);
}

static uint32_t next_key(struct cell *c, unsigned chunk)
{
    uint32_t last = c->key_given[chunk] > c->key_floor ? c->key_given[chunk] : c->key_floor;
    return c->key_given[chunk] = last < KEY_MAX ? last + 1 : KEY_MAX;
}

static void add_pending(struct cell *c, const struct row *r)
{
    size_t text_bytes = r->text ? strlen(r->text) + 1 : 0;
    struct pending *p = mem_zalloc(sizeof *p + text_bytes), *older;
    p->id = place_id((enum row_kind)r->kind, r->at, r->face);
    p->row = *r;
    if (r->text)
        p->row.text = memcpy(p->text, r->text, text_bytes);
    DL_APPEND(c->queue, p);
    HASH_REPLACE(hh, c->newest, id, sizeof p->id, p, older);
    c->n_pending++;
}

/* Writes one row of edit e: the next rev, and for a block the next key of its chunk. */
static struct row write_row(struct cell *c, const struct edit *e, enum row_kind kind, uint8_t face, int32_t w,
                            const char *text)
{
    struct row r = {
        .at = e->at,
        .kind = (uint8_t)kind,
        .face = face,
        .w = (int16_t)w,
        .rev = ++c->rev_given,
        .text = text,
        .author = e->session,
        .seq = e->seq,
    };
    if (kind == ROW_BLOCK)
        r.key = next_key(c, chunk_number(c, chunk_of_block(e->at.x, e->at.z)));
    add_pending(c, &r);
    return r;
}

/* A break takes the block's light and signs with it: those that are there get a tombstone too. */
static unsigned write_break(struct cell *c, const struct edit *e, struct row *rows)
{
    unsigned n = 0;
    struct row r;
    if (newest_row(c, ROW_LIGHT, e->at, 0, &r) && r.w != 0)
        rows[n++] = write_row(c, e, ROW_LIGHT, 0, 0, NULL);
    const struct chunk *chunk = chunk_at(c, chunk_of_block(e->at.x, e->at.z));
    if (!c->queue && !(chunk && chunk_has_signs(chunk)))
        return n;
    for (uint8_t face = 0; face < SIGN_FACES; face++) {
        if (newest_row(c, ROW_SIGN, e->at, face, &r) && *r.text)
            rows[n++] = write_row(c, e, ROW_SIGN, face, 0, "");
    }
    return n;
}

bool cell_judge(struct cell *c, const struct edit *e, struct arena *a, struct row rows[EDIT_ROWS_MAX], unsigned *n,
                enum refusal *why)
{
    enum refusal r = edit_judge_alone(e);
    if (r == REFUSED_NOT_SAID && !cell_eq(cell_of_block(e->at.x, e->at.z), c->at))
        r = REFUSED_COORDS; /* not ours to judge: whoever sent it here meant another cell */
    if (r == REFUSED_NOT_SAID && e->kind != ROW_SIGN)
        r = edit_judge_block(e, newest_item(c, e->at));
    if (r != REFUSED_NOT_SAID) {
        *why = r;
        return false;
    }
    if (e->kind == ROW_SIGN) {
        rows[0] = write_row(c, e, ROW_SIGN, e->face, 0, arena_strndup(a, e->text, strlen(e->text)));
        *n = 1;
        return true;
    }
    rows[0] = write_row(c, e, (enum row_kind)e->kind, 0, e->w, NULL);
    *n = 1;
    if (e->kind == ROW_BLOCK && e->w == 0)
        *n += write_break(c, e, rows + 1);
    return true;
}

void cell_commit(struct cell *c, const struct row *rows, unsigned n)
{
    for (unsigned k = 0; k < n; k++) {
        struct pending *p = c->queue;
        assert(p && p->row.rev == rows[k].rev && p->id == place_id(rows[k].kind, rows[k].at, rows[k].face));
        chunk_put(chunk_made(c, chunk_number(c, chunk_of_block(p->row.at.x, p->row.at.z))), &p->row, true);
        if (p->row.rev > c->rev)
            c->rev = p->row.rev;
        struct pending *last;
        HASH_FIND(hh, c->newest, &p->id, sizeof p->id, last);
        if (last == p)
            HASH_DELETE(hh, c->newest, p);
        DL_DELETE(c->queue, p);
        free(p);
        c->n_pending--;
    }
}

unsigned cell_pending(const struct cell *c)
{
    return c->n_pending;
}

/* ---- reading ---- */

static void give(const struct chunk *chunk, enum row_kind kind, uint32_t number, cell_each *each, void *arg)
{
    struct row r = chunk_row(chunk, kind, number);
    each(&r, arg);
}

uint32_t cell_chunk_rows(const struct cell *c, struct chunk_pos at, uint32_t key, cell_each *each, void *arg)
{
    const struct chunk *chunk = chunk_at(c, at);
    if (!chunk)
        return 0;
    uint32_t newest = chunk_key(chunk);
    if (key > newest || newest == KEY_MAX)
        key = 0;
    bool all = key == 0;
    uint32_t end = chunk_rows(chunk, ROW_BLOCK);
    for (uint32_t k = 0; k < end; k++) {
        if (!all)
            k = chunk_next_above_key(chunk, k, key);
        if (k < end)
            give(chunk, ROW_BLOCK, k, each, arg);
    }
    for (unsigned kind = ROW_LIGHT; kind <= ROW_SIGN; kind++) {
        for (uint32_t k = 0; k < chunk_rows(chunk, kind); k++)
            give(chunk, kind, k, each, arg);
    }
    return newest;
}

void cell_mirror_rows(const struct cell *c, struct chunk_pos at, cell_each *each, void *arg)
{
    for (int32_t dp = -1; dp <= 1; dp++) {
        for (int32_t dq = -1; dq <= 1; dq++) {
            const struct chunk *chunk = chunk_at(c, (struct chunk_pos){at.p + dp, at.q + dq});
            if (chunk && (dp || dq))
                chunk_border_rows(chunk, at, each, arg);
        }
    }
}

/* Where a row is, for putting rows of all chunks into one order. */
struct ref {
    uint64_t rev;
    uint32_t number;
    uint16_t chunk, kind;
};

/* Radix sort, as a gap may be the whole of a large cell: all revs are within (above, newest], so few rounds are needed.
 */
static struct ref *sort_by_rev(struct ref *refs, size_t n, uint64_t above, uint64_t newest)
{
    enum { DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS };
    struct ref *other = mem_array(n, sizeof *other);
    for (unsigned shift = 0; shift < 64 && (newest - above) >> shift; shift += DIGIT_BITS) {
        size_t from[DIGITS + 1] = {0};
        for (size_t k = 0; k < n; k++)
            from[((refs[k].rev - above) >> shift & (DIGITS - 1)) + 1]++;
        for (unsigned d = 1; d < DIGITS; d++)
            from[d] += from[d - 1];
        for (size_t k = 0; k < n; k++)
            other[from[(refs[k].rev - above) >> shift & (DIGITS - 1)]++] = refs[k];
        struct ref *swap = refs;
        refs = other;
        other = swap;
    }
    free(other);
    return refs;
}

void cell_rows_above(const struct cell *c, uint64_t rev, cell_each *each, void *arg)
{
    struct ref *refs = NULL;
    size_t n = 0, cap = 0;
    for (unsigned at = 0; at < CHUNKS; at++) {
        const struct chunk *chunk = c->chunks[at];
        for (unsigned kind = ROW_BLOCK; chunk && kind <= ROW_SIGN; kind++) {
            uint32_t end = chunk_rows(chunk, kind);
            for (uint32_t k = 0; (k = chunk_next_above_rev(chunk, kind, k, rev)) < end; k++) {
                if (n == cap) {
                    cap = cap ? cap * 2 : 64;
                    refs = mem_resize(refs, cap * sizeof *refs);
                }
                refs[n++] = (struct ref){chunk_row(chunk, kind, k).rev, k, (uint16_t)at, (uint16_t)kind};
            }
        }
    }
    if (n)
        refs = sort_by_rev(refs, n, rev, c->rev);
    for (size_t k = 0; k < n; k++)
        give(c->chunks[refs[k].chunk], refs[k].kind, refs[k].number, each, arg);
    free(refs);
}

/* The cursor is chunk, kind and row number: rows are numbered for ever. */
bool cell_scan(const struct cell *c, uint64_t *cursor, unsigned max, cell_each *each, void *arg)
{
    unsigned at = (unsigned)(*cursor >> 40), kind = (unsigned)(*cursor >> 32) & 0xff;
    uint32_t number = (uint32_t)*cursor;
    for (unsigned given = 0; at < CHUNKS; at++, kind = ROW_BLOCK) {
        for (; c->chunks[at] && kind <= ROW_SIGN; kind++, number = 0) {
            for (; number < chunk_rows(c->chunks[at], kind); number++) {
                if (given++ == max) {
                    *cursor = (uint64_t)at << 40 | (uint64_t)kind << 32 | number;
                    return true;
                }
                give(c->chunks[at], kind, number, each, arg);
            }
        }
    }
    *cursor = (uint64_t)CHUNKS << 40;
    return false;
}

unsigned cell_block_now(const struct cell *c, struct block_pos at, struct arena *a, struct row rows[EDIT_ROWS_MAX])
{
    /* A refused edit may name a place where no block can be; the client draws the ground down to y = 0. */
    bool ground = block_in_world(at.x, at.z) && at.y >= 0 && at.y <= BLOCK_Y_MAX;
    const struct chunk *chunk = ground ? chunk_at(c, chunk_of_block(at.x, at.z)) : NULL;
    unsigned n = 1;
    if (!chunk || !chunk_get(chunk, ROW_BLOCK, at, 0, &rows[0]))
        rows[0] = (struct row){.at = at, .w = ground ? (int16_t)terrain_block(at.x, at.y, at.z) : 0};
    if (!chunk)
        return n;
    if (chunk_get(chunk, ROW_LIGHT, at, 0, &rows[n]))
        n++;
    for (uint8_t face = 0; face < SIGN_FACES; face++) {
        if (chunk_get(chunk, ROW_SIGN, at, face, &rows[n])) {
            rows[n].text = arena_strndup(a, rows[n].text, strlen(rows[n].text));
            n++;
        }
    }
    return n;
}

size_t cell_rows(const struct cell *c)
{
    size_t n = 0;
    for (unsigned k = 0; k < CHUNKS; k++)
        n += c->chunks[k] ? chunk_count(c->chunks[k]) : 0;
    return n;
}

size_t cell_bytes(const struct cell *c)
{
    size_t bytes = sizeof *c + c->n_pending * sizeof(struct pending);
    for (unsigned k = 0; k < CHUNKS; k++)
        bytes += c->chunks[k] ? chunk_bytes(c->chunks[k]) : 0;
    return bytes;
}

/* ---- flushing ---- */

unsigned cell_dirty_rows(const struct cell *c, struct arena *a, struct row *rows, unsigned max)
{
    unsigned n = 0;
    for (unsigned k = 0; k < CHUNKS && n < max; k++) {
        const struct chunk *chunk = c->chunks[(c->dirty_from + k) % CHUNKS];
        if (chunk)
            n += chunk_dirty_rows(chunk, a, rows + n, max - n);
    }
    return n;
}

unsigned cell_dirty(const struct cell *c)
{
    unsigned n = 0;
    for (unsigned k = 0; k < CHUNKS; k++)
        n += c->chunks[k] ? chunk_dirty(c->chunks[k]) : 0;
    return n;
}

void cell_flushed(struct cell *c, const struct row *rows, unsigned n)
{
    for (unsigned k = 0; k < n; k++) {
        unsigned at = chunk_number(c, chunk_of_block(rows[k].at.x, rows[k].at.z));
        if (at < CHUNKS && c->chunks[at])
            chunk_flushed(c->chunks[at], &rows[k]);
        c->dirty_from = (at + 1) % CHUNKS;
    }
}
