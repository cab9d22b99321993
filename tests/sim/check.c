#include "tests/sim/check.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "proto/base/mem.h"
#include "proto/wire/record.h"
#include "tests/sim/redis.h"
#include "tests/sim/store.h"
#include "tests/sim/tell.h"

enum { EPOCHS_KEPT = 64 };

/* Hash keys have no padding: their bytes are compared. */
struct change_key {
    int32_t x, y, z;
    uint16_t kind, face;
    uint64_t rev;
};
struct change {
    struct change_key key;
    struct cell_pos cell;
    int16_t w;
    uint32_t chunk_key;
    char *text;
    uint64_t epoch, n;
    bool told; /* some gateway was, or its author */
    UT_hash_handle hh;
    struct change *next; /* of the same edit */
};

struct edit_key {
    uint64_t cell, gate, count, seq;
};
struct edit_taken {
    struct edit_key key;
    struct change *changes;
    UT_hash_handle hh;
};

struct author_key {
    uint64_t cell, gate, count;
};
struct author {
    struct author_key key;
    uint64_t seq; /* the last one taken */
    UT_hash_handle hh;
};

struct cell_ledger {
    uint64_t id;
    struct cell_pos at;
    uint64_t epoch, n, rev;
    uint64_t owners[EPOCHS_KEPT]; /* who appended under an epoch; by epoch, a ring */
    uint64_t owner_epoch[EPOCHS_KEPT];
    uint32_t chunk_keys[CELL_CHUNKS * CELL_CHUNKS];
    bool reread; /* Redis went back: what it had is to be read anew */
    UT_hash_handle hh;
};

struct place_key {
    int32_t x, y, z;
    uint16_t kind, face;
};
struct place_now {
    struct place_key key;
    struct row row;
    struct place_now *next; /* in its chunk */
    UT_hash_handle hh;
};
struct chunk_now {
    uint64_t id;
    struct place_now *places;
    UT_hash_handle hh;
};

/* A journal as it was before a request that may shorten it. */
struct before {
    struct cell_pos cell;
    struct coord_batch *batches;
    unsigned n;
};

struct check {
    struct sim *sim;
    struct change *changes;
    struct edit_taken *edits;
    struct author *authors;
    struct cell_ledger *cells;
    struct place_now *world;
    struct chunk_now *chunks;
    struct arena *world_arena, *arena;
    struct before before[COORD_CELLS_MAX];
    unsigned n_before;
    struct check_stats stats;
};

void check_init(struct sim *s)
{
    struct check *c = mem_zalloc(sizeof *c);
    c->sim = s;
    c->arena = arena_new();
    c->world_arena = arena_new();
    s->check = c;
}

static void world_clear(struct check *c)
{
    struct place_now *p, *next;
    HASH_ITER (hh, c->world, p, next) {
        HASH_DEL(c->world, p);
        free(p);
    }
    struct chunk_now *k, *after;
    HASH_ITER (hh, c->chunks, k, after) {
        HASH_DEL(c->chunks, k);
        free(k);
    }
    arena_reset(c->world_arena);
}

void check_free(struct sim *s)
{
    struct check *c = s->check;
    struct change *ch, *next_ch;
    HASH_ITER (hh, c->changes, ch, next_ch) {
        HASH_DEL(c->changes, ch);
        free(ch->text);
        free(ch);
    }
    struct edit_taken *e, *next_e;
    HASH_ITER (hh, c->edits, e, next_e) {
        HASH_DEL(c->edits, e);
        free(e);
    }
    struct author *a, *next_a;
    HASH_ITER (hh, c->authors, a, next_a) {
        HASH_DEL(c->authors, a);
        free(a);
    }
    struct cell_ledger *l, *next_l;
    HASH_ITER (hh, c->cells, l, next_l) {
        HASH_DEL(c->cells, l);
        free(l);
    }
    world_clear(c);
    arena_free(c->arena);
    arena_free(c->world_arena);
    free(c);
}

struct check_stats check_stats(const struct sim *s)
{
    return s->check->stats;
}

/* ---- the ledger ---- */

static struct change_key change_key(const struct row *r)
{
    return (struct change_key){
        .x = r->at.x, .y = r->at.y, .z = r->at.z, .kind = r->kind, .face = r->face, .rev = r->rev};
}

static struct change *find_change(struct check *c, const struct row *r)
{
    struct change_key key = change_key(r);
    struct change *found;
    HASH_FIND(hh, c->changes, &key, sizeof key, found);
    return found;
}

static bool same(const struct change *ch, const struct row *r)
{
    return ch->w == r->w && ch->chunk_key == r->key && strcmp(ch->text, r->text ? r->text : "") == 0;
}

static struct cell_ledger *cell_ledger(struct check *c, struct cell_pos at)
{
    uint64_t id = cell_id(at);
    struct cell_ledger *l;
    HASH_FIND(hh, c->cells, &id, sizeof id, l);
    if (!l) {
        l = mem_zalloc(sizeof *l);
        l->id = id;
        l->at = at;
        HASH_ADD(hh, c->cells, id, sizeof l->id, l);
    }
    return l;
}

static struct author *author_of(struct check *c, const struct cell_ledger *l, struct session_id session)
{
    struct author_key key = {l->id, session.gate, session.count};
    struct author *a;
    HASH_FIND(hh, c->authors, &key, sizeof key, a);
    if (!a) {
        a = mem_zalloc(sizeof *a);
        a->key = key;
        HASH_ADD(hh, c->authors, key, sizeof a->key, a);
    }
    return a;
}

static struct edit_taken *find_edit(struct check *c, uint64_t cell, struct session_id session, uint64_t seq)
{
    struct edit_key key = {cell, session.gate, session.count, seq};
    struct edit_taken *e;
    HASH_FIND(hh, c->edits, &key, sizeof key, e);
    return e;
}

static uint32_t *chunk_key_of(struct cell_ledger *l, const struct row *r)
{
    struct chunk_pos at = chunk_of_block(r->at.x, r->at.z);
    unsigned p = (unsigned)(at.p - l->at.i * CELL_CHUNKS), q = (unsigned)(at.q - l->at.j * CELL_CHUNKS);
    return &l->chunk_keys[(p * CELL_CHUNKS + q) % (CELL_CHUNKS * CELL_CHUNKS)];
}

static void enter(struct check *c, struct cell_ledger *l, const struct row *r, uint64_t epoch, uint64_t n)
{
    struct change *ch = find_change(c, r);
    if (!ch) {
        ch = mem_zalloc(sizeof *ch);
        ch->key = change_key(r);
        HASH_ADD(hh, c->changes, key, sizeof ch->key, ch);
        struct edit_taken *e = find_edit(c, l->id, r->author, r->seq);
        if (!e) {
            e = mem_zalloc(sizeof *e);
            e->key = (struct edit_key){l->id, r->author.gate, r->author.count, r->seq};
            HASH_ADD(hh, c->edits, key, sizeof e->key, e);
        }
        ch->next = e->changes;
        e->changes = ch;
        c->stats.taken++;
    }
    ch->cell = l->at;
    ch->w = r->w;
    ch->chunk_key = r->key;
    free(ch->text);
    ch->text = mem_strdup(r->text ? r->text : "");
    ch->epoch = epoch;
    ch->n = n;
}

static enum err read_batch(struct check *c, const struct blob *b, struct row **rows, unsigned *n)
{
    enum err e = record_decode_batch(b->data, b->len, c->arena, rows, n);
    if (e != ERR_OK)
        sim_fail(c->sim, "a journal holds a batch that cannot be read: %s", err_text(e));
    return e;
}

/* ---- appends ---- */

static void reread_row(const struct row *r, void *arg)
{
    struct cell_ledger *l = arg;
    uint32_t *key = chunk_key_of(l, r);
    *key = r->key > *key ? r->key : *key;
    l->rev = r->rev > l->rev ? r->rev : l->rev;
}

/* Redis went back, and a cell goes on: what it goes on from is what journal and store still have. */
static void reread(struct check *c, struct cell_ledger *l, uint64_t epoch, uint64_t n)
{
    l->reread = false;
    l->rev = 0;
    memset(l->chunk_keys, 0, sizeof l->chunk_keys);
    struct author *a, *next;
    HASH_ITER (hh, c->authors, a, next) {
        if (a->key.cell == l->id)
            a->seq = 0;
    }
    model_store_each(store_model(c->sim), l->at, reread_row, l);
    const struct store_cell *cell = model_store_cell(store_model(c->sim), l->at);
    struct seen *seen = NULL;
    unsigned n_seen = 0;
    if (cell && cell->seen)
        record_decode_seen(cell->seen->data, cell->seen->len, c->arena, &seen, &n_seen);
    for (unsigned i = 0; i < n_seen; i++)
        author_of(c, l, seen[i].session)->seq = seen[i].seq;
    const struct coord_batch *batches;
    unsigned n_batches = model_redis_journal(redis_model(c->sim), l->at, &batches);
    for (unsigned i = 0; i < n_batches && (batches[i].epoch != epoch || batches[i].n < n); i++) {
        struct row *of;
        unsigned count;
        if (read_batch(c, batches[i].bytes, &of, &count) != ERR_OK)
            return;
        for (unsigned k = 0; k < count; k++) {
            struct author *by = author_of(c, l, of[k].author);
            by->seq = of[k].seq > by->seq ? of[k].seq : by->seq;
            reread_row(&of[k], l);
        }
    }
}

static bool owner_fits(struct check *c, struct cell_ledger *l, uint64_t epoch, uint64_t me)
{
    unsigned at = (unsigned)(epoch % EPOCHS_KEPT);
    if (l->owner_epoch[at] == epoch && l->owners[at] != me) {
        sim_fail(c->sim, "cell %d,%d: two owners under epoch %" PRIu64 ": %016" PRIx64 " and %016" PRIx64, l->at.i,
                 l->at.j, epoch, l->owners[at], me);
        return false;
    }
    l->owner_epoch[at] = epoch;
    l->owners[at] = me;
    return true;
}

static void take_row(struct check *c, struct cell_ledger *l, const struct row *r, uint64_t epoch, uint64_t n,
                     uint64_t rev_before)
{
    char text[TELL_ROW_BYTES];
    struct author *a = author_of(c, l, r->author);
    const struct edit_taken *e = find_edit(c, l->id, r->author, r->seq);
    if (!cell_eq(cell_of_block(r->at.x, r->at.z), l->at) || !row_valid(r))
        sim_fail(c->sim, "cell %d,%d: a row that cannot be: %s", l->at.i, l->at.j, tell_row(r, text));
    else if (r->rev <= rev_before)
        sim_fail(c->sim, "cell %d,%d: revision went back to %" PRIu64 " from %" PRIu64, l->at.i, l->at.j, r->rev,
                 rev_before);
    else if (r->seq < a->seq || (r->seq == a->seq && !(e && e->changes->epoch == epoch && e->changes->n == n)))
        sim_fail(c->sim,
                 "cell %d,%d: edit %" PRIu64 " of session %016" PRIx64 ".%" PRIu64 " %s (batch %" PRIu64 "-%" PRIu64
                 "): %s",
                 l->at.i, l->at.j, r->seq, r->author.gate, r->author.count,
                 r->seq == a->seq ? "is taken twice" : "is taken after a later one", epoch, n, tell_row(r, text));
    if (r->kind == ROW_BLOCK) {
        uint32_t *key = chunk_key_of(l, r);
        if (r->key <= *key && *key < KEY_MAX)
            sim_fail(c->sim, "cell %d,%d: chunk key went back to %u from %u: %s", l->at.i, l->at.j, r->key, *key,
                     tell_row(r, text));
        *key = r->key;
    }
    a->seq = r->seq;
    l->rev = r->rev > l->rev ? r->rev : l->rev;
}

static void taken(struct check *c, uint64_t me, const struct coord_cell *cc)
{
    struct cell_ledger *l = cell_ledger(c, cc->cell);
    struct row *rows;
    unsigned n;
    arena_reset(c->arena);
    if (read_batch(c, cc->batch, &rows, &n) != ERR_OK || !owner_fits(c, l, cc->epoch, me))
        return;
    c->stats.batches++;
    /* A retry of what Redis took, told nobody of, and forgot. */
    bool again = l->reread && cc->epoch == l->epoch && cc->n <= l->n;
    if (cc->epoch < l->epoch) {
        sim_fail(c->sim, "cell %d,%d: epoch %" PRIu64 " appends after epoch %" PRIu64, cc->cell.i, cc->cell.j,
                 cc->epoch, l->epoch);
        return;
    }
    if (!again && cc->n != (cc->epoch == l->epoch ? l->n + 1 : 1) && !l->reread) {
        sim_fail(c->sim, "cell %d,%d: batch %" PRIu64 "-%" PRIu64 " follows %" PRIu64 "-%" PRIu64, cc->cell.i,
                 cc->cell.j, cc->epoch, cc->n, l->epoch, l->n);
        return;
    }
    if (l->reread)
        reread(c, l, cc->epoch, cc->n);
    uint64_t rev_before = l->rev;
    for (unsigned i = 0; i < n && !c->sim->failed; i++) {
        take_row(c, l, &rows[i], cc->epoch, cc->n, rev_before);
        enter(c, l, &rows[i], cc->epoch, cc->n);
    }
    l->epoch = cc->epoch;
    l->n = cc->n;
}

/* ---- what leaves a journal ---- */

static void keep_before(struct check *c, struct cell_pos at)
{
    const struct coord_batch *batches;
    struct before *b = &c->before[c->n_before++];
    b->cell = at;
    b->n = model_redis_journal(redis_model(c->sim), at, &batches);
    b->batches = b->n ? mem_dup(batches, b->n * sizeof *batches) : NULL;
    for (unsigned i = 0; i < b->n; i++)
        blob_ref(b->batches[i].bytes);
}

static bool journal_has(struct check *c, struct cell_pos at, uint64_t epoch, uint64_t n)
{
    const struct coord_batch *batches;
    unsigned count = model_redis_journal(redis_model(c->sim), at, &batches);
    for (unsigned i = 0; i < count; i++) {
        if (batches[i].epoch == epoch && batches[i].n == n)
            return true;
    }
    return false;
}

static void check_in_store(struct check *c, const struct before *b, const struct coord_batch *batch)
{
    struct row *rows;
    unsigned n;
    arena_reset(c->arena);
    if (read_batch(c, batch->bytes, &rows, &n) != ERR_OK)
        return;
    for (unsigned i = 0; i < n; i++) {
        const struct row *has =
            model_store_row(store_model(c->sim), (enum row_kind)rows[i].kind, rows[i].at, rows[i].face);
        char text[TELL_ROW_BYTES];
        if (!has || has->rev < rows[i].rev)
            sim_fail(c->sim, "cell %d,%d: batch %" PRIu64 "-%" PRIu64 " leaves the journal, and the store lacks %s",
                     b->cell.i, b->cell.j, batch->epoch, batch->n, tell_row(&rows[i], text));
    }
}

static void compare_after(struct check *c)
{
    for (unsigned k = 0; k < c->n_before; k++) {
        struct before *b = &c->before[k];
        for (unsigned i = 0; i < b->n; i++) {
            if (!c->sim->failed && !journal_has(c, b->cell, b->batches[i].epoch, b->batches[i].n))
                check_in_store(c, b, &b->batches[i]);
            blob_unref(b->batches[i].bytes);
        }
        free(b->batches);
    }
    c->n_before = 0;
}

void check_redis_before(struct sim *s, const struct coord_req *r)
{
    struct check *c = s->check;
    if (r->op == COORD_TRIM || r->op == COORD_RELEASE) {
        for (unsigned i = 0; i < r->cells.n; i++)
            keep_before(c, r->cells.cells[i].cell);
    } else if (r->op == COORD_RESTORE) {
        keep_before(c, r->restore.cell);
    }
}

/* The batches of a restore are told ones, or were on their way: all must be as they were taken, if they were. */
static void restored(struct check *c, const struct coord_req *r)
{
    struct cell_ledger *l = cell_ledger(c, r->restore.cell);
    if (!owner_fits(c, l, r->restore.epoch, r->me))
        return;
    for (unsigned i = 0; i < r->restore.n_batches && !c->sim->failed; i++) {
        const struct coord_batch *b = &r->restore.batches[i];
        struct row *rows;
        unsigned n;
        arena_reset(c->arena);
        if (read_batch(c, b->bytes, &rows, &n) != ERR_OK)
            return;
        for (unsigned k = 0; k < n; k++) {
            const struct change *ch = find_change(c, &rows[k]);
            char text[TELL_ROW_BYTES];
            if (!ch || !same(ch, &rows[k]))
                sim_fail(c->sim, "cell %d,%d: restored batch %" PRIu64 "-%" PRIu64 " has what no journal took: %s",
                         l->at.i, l->at.j, b->epoch, b->n, tell_row(&rows[k], text));
        }
    }
    l->reread = true;
}

void check_redis_after(struct sim *s, const struct coord_req *r)
{
    struct check *c = s->check;
    compare_after(c);
    if (r->err != ERR_OK || s->failed)
        return;
    if (r->op == COORD_APPEND) {
        for (unsigned i = 0; i < r->cells.n && !s->failed; i++) {
            if (r->cells.cells[i].answer == CELL_TAKEN)
                taken(c, r->me, &r->cells.cells[i]);
        }
    } else if (r->op == COORD_RESTORE && r->restore.answer == CELL_TAKEN) {
        restored(c, r);
    }
}

void check_redis_went_back(struct sim *s)
{
    for (struct cell_ledger *l = s->check->cells; l; l = l->hh.next)
        l->reread = true;
}

void check_store_after(struct sim *s, const struct store_req *r)
{
    if (r->op != STORE_FLUSH || r->err != ERR_OK)
        return;
    for (unsigned i = 0; i < r->n_rows && !s->failed; i++) {
        const struct change *ch = find_change(s->check, &r->rows[i]);
        char text[TELL_ROW_BYTES];
        if (!ch || !same(ch, &r->rows[i]))
            sim_fail(s, "cell %d,%d: the store is given what no journal took: %s", r->cell.i, r->cell.j,
                     tell_row(&r->rows[i], text));
    }
}

/* ---- what nodes say ---- */

static void told_row(struct host *h, struct cell_pos cell, const struct row *r, const char *in)
{
    struct check *c = h->sim->check;
    struct change *ch = r->rev ? find_change(c, r) : NULL;
    char text[TELL_ROW_BYTES];
    if (r->rev == 0)
        return; /* terrain */
    if (!ch || !same(ch, r)) {
        sim_fail(h->sim, "%s tells in %s of cell %d,%d what no journal took: %s", h->name, in, cell.i, cell.j,
                 tell_row(r, text));
        return;
    }
    c->stats.told += !ch->told;
    ch->told = true;
}

static void told_result(struct host *h, const struct edit_result *r)
{
    for (unsigned i = 0; i < r->n_rows; i++)
        told_row(h, r->cell, &r->rows[i], "a result");
    if (r->outcome != EDIT_ACCEPTED)
        return;
    struct edit_taken *e = find_edit(h->sim->check, cell_id(r->cell), r->session, r->seq);
    if (!e) {
        sim_fail(h->sim,
                 "%s acknowledges edit %" PRIu64 " of session %016" PRIx64 ".%" PRIu64
                 " in cell %d,%d, which no journal took",
                 h->name, r->seq, r->session.gate, r->session.count, r->cell.i, r->cell.j);
        return;
    }
    for (struct change *ch = e->changes; ch; ch = ch->next) {
        h->sim->check->stats.told += !ch->told;
        ch->told = true;
    }
}

void check_node_says(struct host *h, const struct blob *bytes)
{
    struct check *c = h->sim->check;
    struct msg m;
    const char *why = "";
    arena_reset(c->arena);
    enum err e = msg_decode(bytes->data, bytes->len, c->arena, &m, &why);
    if (e != ERR_OK) {
        sim_fail(h->sim, "%s sends what cannot be read: %s (%s)", h->name, err_text(e), why);
        return;
    }
    switch (m.kind) {
    case MSG_RESULTS:
        for (unsigned i = 0; i < m.results.n && !h->sim->failed; i++)
            told_result(h, &m.results.results[i]);
        break;
    case MSG_ROWS:
        for (unsigned i = 0; i < m.rows.n && !h->sim->failed; i++)
            told_row(h, m.rows.cell, &m.rows.rows[i], "rows");
        break;
    case MSG_CHUNK_PART:
        for (unsigned i = 0; i < m.chunk_part.n && !h->sim->failed; i++)
            told_row(h, m.chunk_part.part.cell, &m.chunk_part.rows[i], "a chunk part");
        break;
    default:
        break;
    }
}

/* ---- the world as it is ---- */

static struct place_now *find_place(struct check *c, enum row_kind kind, struct block_pos at, uint8_t face)
{
    struct place_key key = {.x = at.x, .y = at.y, .z = at.z, .kind = (uint16_t)kind, .face = face};
    struct place_now *p;
    HASH_FIND(hh, c->world, &key, sizeof key, p);
    return p;
}

static void chunk_add(struct check *c, struct place_now *p)
{
    struct block_pos at = {p->key.x, p->key.y, p->key.z};
    uint64_t id = chunk_id(chunk_of_block(at.x, at.z));
    struct chunk_now *k;
    HASH_FIND(hh, c->chunks, &id, sizeof id, k);
    if (!k) {
        k = mem_zalloc(sizeof *k);
        k->id = id;
        HASH_ADD(hh, c->chunks, id, sizeof k->id, k);
    }
    p->next = k->places;
    k->places = p;
}

static void world_add(const struct row *r, void *arg)
{
    struct check *c = arg;
    struct place_now *p = find_place(c, (enum row_kind)r->kind, r->at, r->face);
    if (!p) {
        p = mem_zalloc(sizeof *p);
        p->key = (struct place_key){.x = r->at.x, .y = r->at.y, .z = r->at.z, .kind = r->kind, .face = r->face};
        HASH_ADD(hh, c->world, key, sizeof p->key, p);
        chunk_add(c, p);
    } else if (p->row.rev >= r->rev) {
        return;
    }
    p->row = *r;
    p->row.text = r->text ? arena_strndup(c->world_arena, r->text, strlen(r->text)) : NULL;
}

static void world_read(struct check *c)
{
    world_clear(c);
    for (struct cell_ledger *l = c->cells; l; l = l->hh.next) {
        model_store_each(store_model(c->sim), l->at, world_add, c);
        const struct coord_batch *batches;
        unsigned n_batches = model_redis_journal(redis_model(c->sim), l->at, &batches);
        for (unsigned i = 0; i < n_batches; i++) {
            struct row *of;
            unsigned count;
            arena_reset(c->arena);
            if (read_batch(c, batches[i].bytes, &of, &count) != ERR_OK)
                return;
            for (unsigned k = 0; k < count; k++)
                world_add(&of[k], c);
        }
    }
}

void check_chunk_rows(void *world, struct chunk_pos at, craft_map_each *each, void *arg)
{
    struct check *c = ((struct sim *)world)->check;
    uint64_t id = chunk_id(at);
    struct chunk_now *k;
    HASH_FIND(hh, c->chunks, &id, sizeof id, k);
    for (struct place_now *p = k ? k->places : NULL; p; p = p->next)
        each(&p->row, arg);
}

static void compare_world(struct check *c)
{
    for (struct change *ch = c->changes; ch && !c->sim->failed; ch = ch->hh.next) {
        struct block_pos at = {ch->key.x, ch->key.y, ch->key.z};
        const struct place_now *p = find_place(c, (enum row_kind)ch->key.kind, at, (uint8_t)ch->key.face);
        const struct row *now = p ? &p->row : NULL;
        if (ch->told && (!now || now->rev < ch->key.rev))
            sim_fail(c->sim,
                     "cell %d,%d: an acknowledged change is lost: kind %u (%d,%d,%d) face %u w %d rev %" PRIu64
                     " of batch %" PRIu64 "-%" PRIu64 "; there is rev %" PRIu64,
                     ch->cell.i, ch->cell.j, ch->key.kind, at.x, at.y, at.z, ch->key.face, ch->w, ch->key.rev,
                     ch->epoch, ch->n, now ? now->rev : 0);
    }
    for (struct place_now *p = c->world; p && !c->sim->failed; p = p->hh.next) {
        const struct change *ch = find_change(c, &p->row);
        char text[TELL_ROW_BYTES];
        if (!ch || !same(ch, &p->row))
            sim_fail(c->sim, "the world holds what no journal took: %s", tell_row(&p->row, text));
    }
}

void check_quiet(struct sim *s)
{
    world_read(s->check);
    compare_world(s->check);
}

bool check_journal_left(struct sim *s, struct cell_pos *at)
{
    for (struct cell_ledger *l = s->check->cells; l; l = l->hh.next) {
        const struct coord_batch *batches;
        if (model_redis_journal(redis_model(s), l->at, &batches) > 0) {
            *at = l->at;
            return true;
        }
    }
    return false;
}

void check_stopped(struct sim *s)
{
    struct cell_pos at;
    if (check_journal_left(s, &at))
        sim_fail(s, "cell %d,%d: all nodes stopped in order, and its journal is not empty", at.i, at.j);
    check_quiet(s);
}
