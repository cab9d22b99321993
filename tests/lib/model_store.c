#include "tests/lib/model_store.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "node/store/engine.h"
#include "proto/base/mem.h"

/* Keys are hashed byte by byte, so they have no padding. */
struct row_key {
    struct block_pos at;
    uint32_t kind, face;
};
_Static_assert(sizeof(struct row_key) == 5 * sizeof(int32_t), "no padding in a hash key");
struct stored_row {
    struct row_key key;
    struct row row; /* text is ours */
    UT_hash_handle hh;
};
struct stored_cell {
    uint64_t id;
    struct cell_pos at;
    struct store_cell cell;
    struct stored_row *rows;
    UT_hash_handle hh;
};
struct stored_player {
    struct store_place place;
    bool saved; /* else it was only counted as a visit */
    UT_hash_handle hh;
};
struct model_store {
    struct stored_cell *cells;
    struct stored_player *players;
    model_refuses *refuses;
    void *refuses_arg;
};

static struct row_key key_of(enum row_kind kind, struct block_pos at, uint8_t face)
{
    return (struct row_key){at, kind, face};
}

static struct stored_cell *find_cell(const struct model_store *m, struct cell_pos at)
{
    uint64_t id = cell_id(at);
    struct stored_cell *c;
    HASH_FIND(hh, m->cells, &id, sizeof(id), c);
    return c;
}

static struct stored_cell *make_cell(struct model_store *m, struct cell_pos at)
{
    struct stored_cell *c = find_cell(m, at);
    if (!c) {
        c = mem_zalloc(sizeof(*c));
        c->id = cell_id(at);
        c->at = at;
        HASH_ADD(hh, m->cells, id, sizeof(c->id), c);
    }
    return c;
}

static struct stored_row *find_row(const struct stored_cell *c, const struct row_key *key)
{
    struct stored_row *r;
    HASH_FIND(hh, c->rows, key, sizeof(*key), r);
    return r;
}

static struct stored_player *find_player(const struct model_store *m, const char *account)
{
    struct stored_player *p;
    HASH_FIND_STR(m->players, account, p);
    return p;
}

static struct stored_player *make_player(struct model_store *m, const char *account)
{
    struct stored_player *p = find_player(m, account);
    if (!p) {
        p = mem_zalloc(sizeof(*p));
        memcpy(p->place.account, account, strlen(account) + 1);
        HASH_ADD_STR(m->players, place.account, p);
    }
    return p;
}

/* A row that is there with the same or a higher rev stays. */
static void put_row(struct stored_cell *c, const struct row *row)
{
    struct row_key key = key_of(row->kind, row->at, row->face);
    struct stored_row *r = find_row(c, &key);
    if (r && r->row.rev >= row->rev)
        return;
    if (!r) {
        r = mem_zalloc(sizeof(*r));
        r->key = key;
        HASH_ADD(hh, c->rows, key, sizeof(r->key), r);
    }
    free((char *)r->row.text);
    r->row = *row;
    r->row.text = row->text ? mem_strdup(row->text) : NULL;
    r->row.author = (struct session_id){0};
    r->row.seq = 0;
}

/* ---- requests ---- */

static struct store_cell cell_copy(const struct store_cell *c)
{
    struct store_cell copy = *c;
    copy.seen = c->seen ? blob_new(c->seen->data, c->seen->len) : NULL;
    return copy;
}

static int by_place(const void *a, const void *b)
{
    const struct row *r = a, *s = b;
    const int64_t mine[] = {r->kind, r->at.x, r->at.z, r->at.y, r->face};
    const int64_t theirs[] = {s->kind, s->at.x, s->at.z, s->at.y, s->face};
    for (unsigned k = 0; k < sizeof(mine) / sizeof(*mine); k++)
        if (mine[k] != theirs[k])
            return mine[k] < theirs[k] ? -1 : 1;
    return 0;
}

static void read_rows(const struct stored_cell *c, struct store_req *r)
{
    r->n_rows = 0;
    r->rows = arena_alloc(r->arena, HASH_COUNT(c->rows) * sizeof(struct row));
    struct stored_row *s, *tmp;
    HASH_ITER (hh, c->rows, s, tmp) {
        struct row *out = &r->rows[r->n_rows++];
        *out = s->row;
        if (s->row.text)
            out->text = arena_strndup(r->arena, s->row.text, strlen(s->row.text));
    }
    if (r->n_rows)
        qsort(r->rows, r->n_rows, sizeof(struct row), by_place);
}

static enum err claim_or_raise(struct model_store *m, struct store_req *r)
{
    struct stored_cell *c = find_cell(m, r->cell);
    uint64_t mine = r->row.epoch, theirs = c ? c->cell.epoch : 0;
    r->found = c != NULL;
    if (theirs > mine || (r->op == STORE_CLAIM && theirs == mine)) {
        struct store_cell row = cell_copy(&c->cell);
        store_req_set_row(r, &row);
        return ERR_STALE;
    }
    c = make_cell(m, r->cell);
    c->cell.epoch = mine;
    struct store_cell row = cell_copy(&c->cell);
    store_req_set_row(r, &row);
    c->cell.clean = false;
    if (r->op == STORE_CLAIM)
        read_rows(c, r);
    return ERR_OK;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static enum err flush(struct model_store *m, struct store_req *r)
{
    struct stored_cell *c = find_cell(m, r->cell);
    r->found = c != NULL;
    if (!c || c->cell.epoch > r->row.epoch) {
        r->row.epoch = c ? c->cell.epoch : 0;
        return ERR_STALE;
    }
    for (unsigned k = 0; k < r->n_rows && m->refuses; k++) {
        if (m->refuses(&r->rows[k], m->refuses_arg)) {
            r->row_refused = k;
            return ERR_REFUSED;
        }
    }
    bool newest = r->row.rev >= c->cell.rev;
    c->cell.epoch = r->row.epoch;
    c->cell.generation = larger(c->cell.generation, r->row.generation);
    c->cell.key_floor = (uint32_t)larger(c->cell.key_floor, r->row.key_floor);
    c->cell.rev = larger(c->cell.rev, r->row.rev);
    c->cell.clean = r->row.clean && newest;
    if (newest) {
        blob_unref(c->cell.seen);
        c->cell.seen = r->row.seen && r->row.seen->len ? blob_new(r->row.seen->data, r->row.seen->len) : NULL;
    }
    for (unsigned k = 0; k < r->n_rows; k++)
        put_row(c, &r->rows[k]);
    return ERR_OK;
}

static enum err visit(struct model_store *m, struct store_place *out, bool *found)
{
    struct stored_player *p = make_player(m, out->account);
    p->place.visit++;
    p->place.count = 0;
    *out = p->place;
    *found = p->saved;
    return ERR_OK;
}

static enum err save_places(struct model_store *m, const struct store_req *r)
{
    for (unsigned k = 0; k < r->n_places; k++) {
        const struct store_place *in = &r->places[k];
        struct stored_player *p = find_player(m, in->account);
        if (p && (p->place.visit > in->visit || (p->place.visit == in->visit && p->place.count >= in->count)))
            continue;
        p = make_player(m, in->account);
        p->place.visit = in->visit;
        p->place.count = in->count;
        p->place.place = in->place;
        p->saved = true;
    }
    return ERR_OK;
}

static enum err carry_out(struct model_store *m, struct store_req *r)
{
    switch (r->op) {
    case STORE_CLAIM:
    case STORE_RAISE:
        return claim_or_raise(m, r);
    case STORE_FLUSH:
        return flush(m, r);
    case STORE_VISIT:
        return visit(m, &r->places[0], &r->found);
    case STORE_SAVE_PLACES:
        return save_places(m, r);
    }
    return ERR_BAD;
}

void model_store_apply(struct model_store *m, struct store_req *r)
{
    r->err = store_check(r, &r->row_refused);
    if (r->err == ERR_OK)
        r->err = carry_out(m, r);
}

void model_store_refuse(struct model_store *m, model_refuses *refuses, void *arg)
{
    m->refuses = refuses;
    m->refuses_arg = arg;
}

/* ---- a whole database ---- */

struct model_store *model_store_new(void)
{
    return mem_zalloc(sizeof(struct model_store));
}

static void clear(struct model_store *m)
{
    struct stored_cell *c, *next_cell;
    HASH_ITER (hh, m->cells, c, next_cell) {
        struct stored_row *r, *next_row;
        HASH_ITER (hh, c->rows, r, next_row) {
            HASH_DEL(c->rows, r);
            free((char *)r->row.text);
            free(r);
        }
        HASH_DEL(m->cells, c);
        blob_unref(c->cell.seen);
        free(c);
    }
    struct stored_player *p, *next_player;
    HASH_ITER (hh, m->players, p, next_player) {
        HASH_DEL(m->players, p);
        free(p);
    }
}

void model_store_free(struct model_store *m)
{
    if (!m)
        return;
    clear(m);
    free(m);
}

void model_store_restore(struct model_store *m, const struct model_store *backup)
{
    clear(m);
    struct stored_cell *c, *next_cell;
    HASH_ITER (hh, backup->cells, c, next_cell) {
        struct stored_cell *copy = make_cell(m, c->at);
        copy->cell = cell_copy(&c->cell);
        struct stored_row *r, *next_row;
        HASH_ITER (hh, c->rows, r, next_row)
            put_row(copy, &r->row);
    }
    struct stored_player *p, *next_player;
    HASH_ITER (hh, backup->players, p, next_player) {
        struct stored_player *copy = make_player(m, p->place.account);
        copy->place = p->place;
        copy->saved = p->saved;
    }
}

struct model_store *model_store_copy(const struct model_store *m)
{
    struct model_store *copy = model_store_new();
    model_store_restore(copy, m);
    model_store_refuse(copy, m->refuses, m->refuses_arg);
    return copy;
}

/* ---- for checkers ---- */

const struct store_cell *model_store_cell(const struct model_store *m, struct cell_pos at)
{
    const struct stored_cell *c = find_cell(m, at);
    return c ? &c->cell : NULL;
}

const struct row *model_store_row(const struct model_store *m, enum row_kind kind, struct block_pos at, uint8_t face)
{
    const struct stored_cell *c = find_cell(m, cell_of_block(at.x, at.z));
    struct row_key key = key_of(kind, at, face);
    const struct stored_row *r = c ? find_row(c, &key) : NULL;
    return r ? &r->row : NULL;
}

const struct store_place *model_store_place(const struct model_store *m, const char *account, bool *saved)
{
    const struct stored_player *p = find_player(m, account);
    *saved = p && p->saved;
    return p ? &p->place : NULL;
}

void model_store_each(const struct model_store *m, struct cell_pos cell, model_each_row *each, void *arg)
{
    const struct stored_cell *c = find_cell(m, cell);
    struct stored_row *r, *tmp;
    if (!c)
        return;
    HASH_ITER (hh, c->rows, r, tmp)
        each(&r->row, arg);
}
