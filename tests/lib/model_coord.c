#include "tests/lib/model_coord.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "proto/base/mem.h"
#include "tests/lib/model_redis.h"

enum { BURIED_MS = 60000, JOURNAL_PAGE_BYTES = 1 << 20 };

/* ---- membership ---- */

static bool schemas_far_apart(uint32_t a, uint32_t b)
{
    return a && b && (a > b ? a - b : b - a) > SCHEMA_DISTANCE_MAX;
}

static void apply_join(struct model_redis *m, struct coord_req *r)
{
    uint32_t chunks = r->world.cell_chunks, schema = r->world.schema;
    if ((m->cell_chunks && chunks && m->cell_chunks != chunks) || schemas_far_apart(schema, m->newest_schema)) {
        r->err = ERR_MISMATCH;
    } else {
        m->cell_chunks = m->cell_chunks ? m->cell_chunks : chunks;
        m->newest_schema = schema > m->newest_schema ? schema : m->newest_schema;
    }
    r->world.has_chunks = m->cell_chunks;
    r->world.newest = m->newest_schema;
}

static int by_member_id(const void *a, const void *b)
{
    const struct coord_member *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

/* See renew.lua for the why. */
static void judge_run(struct model_redis *m, uint64_t known, uint32_t ttl_ms, bool existed)
{
    bool changed = m->run_id != m->run;
    bool fresh = m->run_id == 0 && m->generation == 0 && known == 0;
    bool back = !existed && known > 0 && (known > m->generation || m->fresh_until > m->now_ms);
    if ((changed && !fresh) || back) {
        m->generation = (m->generation > known ? m->generation : known) + 1;
        m->closed_until = m->now_ms + 2 * (uint64_t)ttl_ms;
        m->fresh_until = 0;
        m->run_id = m->run;
    } else if (changed) {
        m->generation = 1;
        m->fresh_until = m->now_ms + 2 * (uint64_t)ttl_ms;
        m->run_id = m->run;
    } else if (known > m->generation) {
        m->generation = known + 1;
    }
}

static void apply_renew(struct model_redis *m, struct coord_req *r)
{
    struct lease *l = model_lease_find(m, r->renew.role, r->me);
    r->renew.existed = l != NULL;
    judge_run(m, r->renew.generation_known, r->renew.ttl_ms, l != NULL);
    if (r->renew.id_high >= (m->next_id ? m->next_id : 1))
        m->next_id = (uint64_t)r->renew.id_high + 1;
    if (!l) {
        l = mem_zalloc(sizeof *l);
        l->key.id = r->me;
        l->key.role = r->renew.role;
        HASH_ADD(hh, m->leases, key, sizeof l->key, l);
    }
    l->until_ms = m->now_ms + r->renew.ttl_ms;
    l->self = r->renew.self;

    r->renew.evicts = m->evicts;
    r->renew.generation = m->generation;
    r->renew.closed_ms = m->closed_until > m->now_ms ? (uint32_t)(m->closed_until - m->now_ms) : 0;
    r->renew.members = mem_array(COORD_MEMBERS_MAX, sizeof *r->renew.members);
    r->renew.n_members = 0;
    for (l = m->leases; l && r->renew.n_members < COORD_MEMBERS_MAX; l = l->hh.next)
        if (l->key.role == ROLE_NODE)
            r->renew.members[r->renew.n_members++] = (struct coord_member){l->key.id, l->self};
    qsort(r->renew.members, r->renew.n_members, sizeof *r->renew.members, by_member_id);
}

static void apply_bury(struct model_redis *m, struct coord_req *r)
{
    struct grave *g;
    HASH_FIND(hh, m->graves, &r->bury.node, sizeof r->bury.node, g);
    r->bury.buried = !g && model_redis_lives(m, ROLE_NODE, r->bury.node);
    if (!r->bury.buried)
        return;
    g = mem_zalloc(sizeof *g);
    g->node = r->bury.node;
    g->until_ms = m->now_ms + BURIED_MS;
    HASH_ADD(hh, m->graves, node, sizeof g->node, g);
    model_redis_expire(m, ROLE_NODE, r->bury.node);
}

/* ---- cells ---- */

static void cell_own(struct model_cell *c, uint64_t owner, uint64_t epoch, uint64_t n)
{
    c->owner = owner;
    c->epoch = epoch;
    c->n = n;
}

/* 0: it is mine under my epoch. */
static enum cell_answer not_mine(const struct model_cell *c, uint64_t me, uint64_t epoch)
{
    if (!c || c->epoch < epoch)
        return CELL_BEHIND;
    return c->epoch > epoch || c->owner != me ? CELL_STALE : 0;
}

static enum cell_answer claim_one(struct model_redis *m, const struct coord_req *r, const struct coord_cell *want)
{
    struct model_cell *c = model_cell_find(m, want->cell);
    uint64_t owner = c ? c->owner : 0, epoch = c ? c->epoch : 0;
    if (!model_redis_lives(m, ROLE_NODE, r->me) || owner != want->believed ||
        (owner != 0 && owner != r->me && model_redis_lives(m, ROLE_NODE, owner)))
        return CELL_STALE;
    cell_own(model_cell_make(m, want->cell), r->me, (epoch > want->epoch ? epoch : want->epoch) + 1, 0);
    return CELL_TAKEN;
}

static enum cell_answer append_one(struct model_cell *c, const struct coord_req *r, const struct coord_cell *want)
{
    enum cell_answer no = not_mine(c, r->me, want->epoch);
#ifdef BUG_skip_epoch_check /* on purpose, in a test build: make sim-bugs */
    no = c ? (enum cell_answer)0 : no;
#endif
    if (no)
        return no;
    if (c->n >= want->n)
        return CELL_BEFORE;
    if (c->n + 1 < want->n)
        return CELL_BEHIND;
    model_batch_add(c, want->epoch, want->n, want->batch);
    c->n = want->n;
    return CELL_TAKEN;
}

static enum cell_answer trim_one(struct model_redis *m, struct model_cell *c, const struct coord_req *r,
                                 const struct coord_cell *want)
{
    enum cell_answer no = not_mine(c, r->me, want->epoch);
    if (no)
        return no;
    if (c->n < want->n)
        return CELL_BEHIND;
    if (want->batch && want->batch->len && (c->quarantined_epoch != want->epoch || c->quarantined_n != want->n)) {
        m->quarantined++;
        c->quarantined_epoch = want->epoch;
        c->quarantined_n = want->n;
    }
    unsigned done = 0;
    while (done < c->n_batches && (c->batches[done].epoch < want->epoch ||
                                   (c->batches[done].epoch == want->epoch && c->batches[done].n <= want->n)))
        done++;
    model_batches_drop(c, 0, done);
    return CELL_TAKEN;
}

static enum cell_answer release_one(struct model_redis *m, struct model_cell *c, const struct coord_req *r,
                                    const struct coord_cell *want)
{
    if (!c)
        return CELL_TAKEN;
    enum cell_answer no = not_mine(c, r->me, want->epoch);
    if (no)
        return no;
    if (c->n != want->n)
        return c->n < want->n ? CELL_BEHIND : CELL_STALE;
    if (c->n_batches)
        return CELL_BUSY;
    model_cell_drop(m, c);
    return CELL_TAKEN;
}

static enum cell_answer transfer_one(struct model_cell *c, const struct coord_req *r, const struct coord_cell *want)
{
    enum cell_answer no = not_mine(c, r->me, want->epoch);
    if (no)
        return no;
    if (c->n != want->n)
        return c->n < want->n ? CELL_BEHIND : CELL_STALE;
    cell_own(c, r->cells.target, want->epoch + 1, 0);
    return CELL_TAKEN;
}

/* See claim.lua: a floor in a fresh world proves that it is none. */
static bool claims_closed(struct model_redis *m, const struct coord_req *r)
{
    if (m->run_id != m->run || m->closed_until > m->now_ms)
        return true;
    for (unsigned i = 0; i < r->cells.n; i++) {
        if (m->fresh_until > m->now_ms && r->cells.cells[i].epoch > 0) {
            m->generation++;
            m->closed_until = m->fresh_until;
            m->fresh_until = 0;
            return true;
        }
    }
    return false;
}

static void apply_cells(struct model_redis *m, struct coord_req *r)
{
    bool closed = r->op == COORD_CLAIM && claims_closed(m, r);
    for (unsigned i = 0; i < r->cells.n; i++) {
        struct coord_cell *want = &r->cells.cells[i];
        struct model_cell *c = model_cell_find(m, want->cell);
        switch (r->op) {
        case COORD_CLAIM:
            want->answer = closed ? CELL_CLOSED : claim_one(m, r, want);
            break;
        case COORD_APPEND:
            want->answer = append_one(c, r, want);
            break;
        case COORD_TRIM:
            want->answer = trim_one(m, c, r, want);
            break;
        case COORD_RELEASE:
            want->answer = release_one(m, c, r, want);
            break;
        case COORD_TRANSFER:
            want->answer = transfer_one(c, r, want);
            break;
        default: /* COORD_OWNERS */
            want->answer = CELL_TAKEN;
            break;
        }
        if (!model_redis_cell(m, want->cell, &want->owner, &want->owner_epoch, &want->owner_n))
            want->owner = want->owner_epoch = want->owner_n = 0;
        want->owner_alive = r->op == COORD_OWNERS && want->owner != 0 && model_redis_lives(m, ROLE_NODE, want->owner);
    }
}

static int by_batch_id(const void *a, const void *b)
{
    const struct coord_batch *x = a, *y = b;
    if (x->epoch != y->epoch)
        return x->epoch < y->epoch ? -1 : 1;
    return (x->n > y->n) - (x->n < y->n);
}

static void apply_restore(struct model_redis *m, struct coord_req *r)
{
    struct model_cell *c = model_cell_find(m, r->restore.cell);
    uint64_t e = r->restore.epoch, n = r->restore.n;
    if (c && (c->epoch > e || (c->epoch == e && (c->owner != r->me || c->n > n)))) {
        r->restore.answer = CELL_STALE;
        return;
    }
    for (unsigned i = 0; i < r->restore.n_batches; i++) {
        const struct coord_batch *b = &r->restore.batches[i];
        if (b->epoch > e || (b->epoch == e && b->n > n)) {
            r->err = ERR_REFUSED;
            return;
        }
    }
    c = model_cell_make(m, r->restore.cell);
    unsigned older = 0;
    while (older < c->n_batches && c->batches[older].epoch < e)
        older++;
    model_batches_drop(c, older, c->n_batches);
    for (unsigned i = 0; i < r->restore.n_batches; i++) {
        const struct coord_batch *b = &r->restore.batches[i];
        unsigned at = 0;
        while (at < c->n_batches && by_batch_id(&c->batches[at], b) != 0)
            at++;
        if (at < c->n_batches)
            model_batches_drop(c, at, at + 1); /* mine replaces the one that is there */
        model_batch_add(c, b->epoch, b->n, b->bytes);
    }
    if (c->n_batches)
        qsort(c->batches, c->n_batches, sizeof *c->batches, by_batch_id);
    cell_own(c, r->me, e, n);
    r->restore.answer = CELL_TAKEN;
}

static void apply_journal(struct model_redis *m, struct coord_req *r)
{
    struct model_cell *c = model_cell_find(m, r->journal.cell);
    struct coord_batch after = {r->journal.after_epoch, r->journal.after_n, NULL};
    size_t bytes = 0;
    r->journal.batches = mem_array(COORD_JOURNAL_PAGE, sizeof *r->journal.batches);
    r->journal.n_batches = 0;
    r->journal.more = false;
    r->journal.owner = c ? c->owner : 0;
    r->journal.owner_epoch = c ? c->epoch : 0;
    for (unsigned i = 0; c && i < c->n_batches; i++) {
        if (by_batch_id(&c->batches[i], &after) <= 0)
            continue;
        if (r->journal.n_batches == COORD_JOURNAL_PAGE || bytes >= JOURNAL_PAGE_BYTES) {
            r->journal.more = true;
            return;
        }
        bytes += c->batches[i].bytes->len;
        r->journal.batches[r->journal.n_batches++] = c->batches[i];
        blob_ref(c->batches[i].bytes);
    }
}

/* A random choice, as every cell must get its turn: reservoir sampling. */
static void apply_dirty(struct model_redis *m, struct coord_req *r)
{
    unsigned seen = 0;
    r->dirty.n = 0;
    for (struct model_cell *c = m->cells; c; c = c->hh.next) {
        if (!c->n_batches)
            continue;
        unsigned at = seen < COORD_CELLS_MAX ? seen : rng_below(&m->rng, seen + 1);
        if (at < COORD_CELLS_MAX)
            r->dirty.cells[at] = c->at;
        seen++;
    }
    r->dirty.n = seen < COORD_CELLS_MAX ? seen : COORD_CELLS_MAX;
}

static void apply_ids(struct model_redis *m, struct coord_req *r)
{
    uint64_t first = m->next_id ? m->next_id : 1;
    if (first + r->ids.want - 1 > INT32_MAX)
        first = 1;
    m->next_id = first + r->ids.want;
    r->ids.first = (uint32_t)first;
}

/* ---- names ---- */

static struct holder *name_find(const struct model_redis *m, const char *nick)
{
    struct holder *h;
    HASH_FIND_STR(m->names, nick, h);
    return h;
}

static bool is_held_by(const struct holder *h, uint64_t gate, uint64_t session)
{
    return h && h->gate == gate && h->name.session == session;
}

static void name_drop(struct model_redis *m, struct holder *h)
{
    HASH_DEL(m->names, h);
    free(h);
}

static void apply_take(struct model_redis *m, struct coord_req *r)
{
    const struct coord_name *want = &r->name.name;
    struct holder *h = name_find(m, want->nick), *old = r->name.old[0] ? name_find(m, r->name.old) : NULL;
    r->name.taken = h && !is_held_by(h, r->me, want->session) && model_redis_lives(m, ROLE_GATEWAY, h->gate);
    if (r->name.taken)
        return;
    if (old != h && is_held_by(old, r->me, want->session))
        name_drop(m, old);
    if (!h) {
        h = mem_zalloc(sizeof *h);
        strcpy(h->nick, want->nick);
        HASH_ADD_STR(m->names, nick, h);
    }
    h->gate = r->me;
    h->name = *want;
}

static void apply_places(struct model_redis *m, struct coord_req *r)
{
    for (unsigned i = 0; i < r->names.n; i++) {
        struct holder *h = name_find(m, r->names.names[i].nick);
        if (is_held_by(h, r->me, r->names.names[i].session))
            h->name.place = r->names.names[i].place;
    }
}

static void apply_find(struct model_redis *m, struct coord_req *r)
{
    struct holder *h = NULL;
    if (r->find.nick[0]) {
        h = name_find(m, r->find.nick);
        if (h && !model_redis_lives(m, ROLE_GATEWAY, h->gate))
            h = NULL;
    } else {
        unsigned fits = 0;
        for (struct holder *x = m->names; x; x = x->hh.next)
            if (strcmp(x->nick, r->find.not_nick) != 0 && model_redis_lives(m, ROLE_GATEWAY, x->gate) &&
                rng_below(&m->rng, ++fits) == 0)
                h = x;
    }
    r->find.found = h != NULL;
    if (!h)
        return;
    r->find.gate = h->gate;
    r->find.name = h->name;
}

static int by_nick(const void *a, const void *b)
{
    const struct coord_name *x = a, *y = b;
    return strcmp(x->nick, y->nick);
}

/* Past the bound the real one tells a random choice; nobody simulates a thousand players. */
static void apply_list(struct model_redis *m, struct coord_req *r)
{
    r->names.names = mem_array(COORD_NAMES_MAX, sizeof *r->names.names);
    r->names.n = 0;
    struct holder *h, *h2;
    HASH_ITER (hh, m->names, h, h2) {
        if (r->names.n == COORD_NAMES_MAX)
            break;
        if (model_redis_lives(m, ROLE_GATEWAY, h->gate))
            r->names.names[r->names.n++] = h->name;
        else
            name_drop(m, h);
    }
    r->names.total = HASH_COUNT(m->names);
    qsort(r->names.names, r->names.n, sizeof *r->names.names, by_nick);
}

void model_redis_apply(struct model_redis *m, struct coord_req *r)
{
    r->err = ERR_OK;
    switch (r->op) {
    case COORD_JOIN_WORLD:
        apply_join(m, r);
        break;
    case COORD_RENEW:
        apply_renew(m, r);
        break;
    case COORD_LEAVE:
        model_redis_expire(m, ROLE_NODE, r->me);
        model_redis_expire(m, ROLE_GATEWAY, r->me);
        break;
    case COORD_BURY:
        apply_bury(m, r);
        break;
    case COORD_OWNERS:
    case COORD_CLAIM:
    case COORD_APPEND:
    case COORD_TRIM:
    case COORD_RELEASE:
    case COORD_TRANSFER:
        apply_cells(m, r);
        break;
    case COORD_RESTORE:
        apply_restore(m, r);
        break;
    case COORD_JOURNAL:
        apply_journal(m, r);
        break;
    case COORD_DIRTY:
        apply_dirty(m, r);
        break;
    case COORD_IDS:
        apply_ids(m, r);
        break;
    case COORD_NAME_TAKE:
        apply_take(m, r);
        break;
    case COORD_NAME_DROP: {
        struct holder *h = name_find(m, r->name.name.nick);
        if (is_held_by(h, r->me, r->name.name.session))
            name_drop(m, h);
        break;
    }
    case COORD_NAME_PLACES:
        apply_places(m, r);
        break;
    case COORD_NAME_FIND:
        apply_find(m, r);
        break;
    case COORD_NAME_LIST:
        apply_list(m, r);
        break;
    case COORD_PUBLISH: /* who hears it is the caller's affair */
    case COORD_OPS:
        break;
    }
}

/* ---- as a struct coord ---- */

struct answered {
    struct answered *prev, *next;
    struct coord_req *r;
};

struct model_coord {
    struct coord coord;
    struct model_redis *m;
    const struct coord_listener *listener;
    struct answered *answered;
};

static void submit(struct coord *coord, struct coord_req *r)
{
    struct model_coord *c = (struct model_coord *)coord;
    struct answered *a = mem_zalloc(sizeof *a);
    model_redis_apply(c->m, r);
    a->r = r;
    DL_APPEND(c->answered, a);
}

struct coord *model_coord_direct(struct model_redis *m, const struct coord_listener *listener)
{
    static const struct coord_ops ops = {submit};
    struct model_coord *c = mem_zalloc(sizeof *c);
    c->coord.ops = &ops;
    c->m = m;
    c->listener = listener;
    return &c->coord;
}

void model_coord_run(struct coord *coord)
{
    struct model_coord *c = (struct model_coord *)coord;
    while (c->answered) {
        struct answered *a = c->answered;
        DL_DELETE(c->answered, a);
        if (a->r->op == COORD_PUBLISH && c->listener)
            c->listener->event(c->listener->arg, a->r->publish.event->data, a->r->publish.event->len);
        a->r->done(a->r, a->r->arg);
        free(a);
    }
}

void model_coord_free(struct coord *coord)
{
    struct model_coord *c = (struct model_coord *)coord;
    while (c->answered) {
        struct answered *a = c->answered;
        DL_DELETE(c->answered, a);
        a->r->err = ERR_IO;
        a->r->done(a->r, a->r->arg);
        free(a);
    }
    free(c);
}
