/* Every case runs over the real server and over the model, step by step, and each step must be answered alike. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/base/metrics.h"
#include "proto/base/rng.h"
#include "proto/redis/coord_codec.h"
#include "proto/redis/coord_redis.h"
#include "tests/lib/model_coord.h"
#include "tests/lib/probe.h"
#include "tests/lib/services.h"

/* Long, so that nothing ends by itself during a test: leases are ended on purpose. */
enum { TTL_MS = 60000, WAIT_MS = 10000, NEAR_MS = 5000 };
enum { A = 0xa, B = 0xb, C = 0xc, G = 0x61, H = 0x62 };
static const uint64_t EPOCH_LAST = (UINT64_C(1) << 53) - 1;

static struct lab *lab;
static struct redis server;

/* ---- both of them ---- */

struct pair {
    struct event_base *base;
    struct coord *real, *model_coord;
    struct model_redis *model;
    struct coord_listener listener;
    unsigned n_events, n_interrupted;
    char event[64];
    char world[16];
};

static void on_event(void *arg, const void *data, size_t len)
{
    struct pair *p = arg;
    p->n_events++;
    snprintf(p->event, sizeof p->event, "%.*s", (int)len, (const char *)data);
}

static void on_interrupted(void *arg)
{
    struct pair *p = arg;
    p->n_interrupted++;
}

static void turn_until_bool(struct pair *p, const bool *done)
{
    uint64_t end = clock_mono_ms() + WAIT_MS;
    while (!*done) {
        struct timeval tick = {0, 20000};
        assert_true(clock_mono_ms() < end);
        event_base_loopexit(p->base, &tick);
        event_base_loop(p->base, EVLOOP_ONCE);
    }
}

static void on_done(struct coord_req *r, void *arg)
{
    (void)r;
    *(bool *)arg = true;
}

/* Over the real server alone. Waits for its answer; while the link is still coming up it asks again. */
static void ask_real(struct pair *p, struct coord_req *r)
{
    uint64_t end = clock_mono_ms() + WAIT_MS;
    do {
        bool done = false;
        r->done = on_done;
        r->arg = &done;
        assert_true(clock_mono_ms() < end);
        coord_submit(p->real, r);
        assert_false(done);
        turn_until_bool(p, &done);
    } while (r->err == ERR_IO);
}

static int by_cell(const void *a, const void *b)
{
    const struct cell_pos *x = a, *y = b;
    return x->i != y->i ? (x->i > y->i) - (x->i < y->i) : (x->j > y->j) - (x->j < y->j);
}

static void assert_same_names(const struct coord_name *a, const struct coord_name *b)
{
    assert_string_equal(a->nick, b->nick);
    assert_true(a->session == b->session);
    assert_memory_equal(&a->place, &b->place, sizeof a->place);
}

static void assert_same_batches(const struct coord_batch *a, unsigned n_a, const struct coord_batch *b, unsigned n_b)
{
    assert_int_equal(n_a, n_b);
    for (unsigned i = 0; i < n_a; i++) {
        assert_true(a[i].epoch == b[i].epoch && a[i].n == b[i].n);
        assert_int_equal(a[i].bytes->len, b[i].bytes->len);
        assert_memory_equal(a[i].bytes->data, b[i].bytes->data, a[i].bytes->len);
    }
}

static void assert_same_renewals(const struct coord_req *a, const struct coord_req *b)
{
    assert_int_equal(a->renew.existed, b->renew.existed);
    assert_int_equal(a->renew.evicts, b->renew.evicts);
    assert_true(a->renew.generation == b->renew.generation);
    assert_in_range((int64_t)a->renew.closed_ms - b->renew.closed_ms + NEAR_MS, 0, 2 * NEAR_MS);
    assert_int_equal(a->renew.n_members, b->renew.n_members);
    for (unsigned i = 0; i < a->renew.n_members; i++) {
        const struct coord_member *x = &a->renew.members[i], *y = &b->renew.members[i];
        assert_true(x->id == y->id);
        assert_string_equal(x->self.address, y->self.address);
        assert_string_equal(x->self.pool, y->self.pool);
        assert_int_equal(x->self.state, y->self.state);
        assert_int_equal(x->self.load, y->self.load);
    }
}

static void assert_same_answers(struct coord_req *a, struct coord_req *b)
{
    assert_int_equal(a->err, b->err);
    if (a->err != ERR_OK)
        return;
    switch (a->op) {
    case COORD_RENEW:
        assert_same_renewals(a, b);
        break;
    case COORD_BURY:
        assert_int_equal(a->bury.buried, b->bury.buried);
        break;
    case COORD_OWNERS:
    case COORD_CLAIM:
    case COORD_APPEND:
    case COORD_TRIM:
    case COORD_RELEASE:
    case COORD_TRANSFER:
        for (unsigned i = 0; i < a->cells.n; i++) {
            const struct coord_cell *x = &a->cells.cells[i], *y = &b->cells.cells[i];
            assert_int_equal(x->answer, y->answer);
            assert_true(x->owner == y->owner && x->owner_epoch == y->owner_epoch && x->owner_n == y->owner_n);
            assert_int_equal(x->owner_alive, y->owner_alive);
        }
        break;
    case COORD_RESTORE:
        assert_int_equal(a->restore.answer, b->restore.answer);
        break;
    case COORD_JOURNAL:
        assert_int_equal(a->journal.more, b->journal.more);
        assert_same_batches(a->journal.batches, a->journal.n_batches, b->journal.batches, b->journal.n_batches);
        break;
    case COORD_DIRTY:
        assert_int_equal(a->dirty.n, b->dirty.n);
        qsort(a->dirty.cells, a->dirty.n, sizeof *a->dirty.cells, by_cell);
        qsort(b->dirty.cells, b->dirty.n, sizeof *b->dirty.cells, by_cell);
        if (a->dirty.n < COORD_CELLS_MAX && a->dirty.n) /* all there are; else a random choice */
            assert_memory_equal(a->dirty.cells, b->dirty.cells, a->dirty.n * sizeof *a->dirty.cells);
        break;
    case COORD_IDS:
        assert_int_equal(a->ids.first, b->ids.first);
        break;
    case COORD_NAME_TAKE:
        assert_int_equal(a->name.taken, b->name.taken);
        break;
    case COORD_NAME_FIND:
        assert_int_equal(a->find.found, b->find.found);
        if (a->find.found && a->find.nick[0]) {
            assert_true(a->find.gate == b->find.gate);
            assert_same_names(&a->find.name, &b->find.name);
        }
        break;
    case COORD_NAME_LIST:
        assert_int_equal(a->names.total, b->names.total);
        assert_int_equal(a->names.n, b->names.n);
        for (unsigned i = 0; i < a->names.n; i++)
            assert_same_names(&a->names.names[i], &b->names.names[i]);
        break;
    default:
        break;
    }
}

/* The same question for the other of the two. */
static struct coord_req *clone(const struct coord_req *r)
{
    struct coord_req *c = mem_dup(r, sizeof *r);
    switch (r->op) {
    case COORD_OWNERS:
    case COORD_CLAIM:
    case COORD_APPEND:
    case COORD_TRIM:
    case COORD_RELEASE:
    case COORD_TRANSFER:
        c->cells.cells = mem_dup(r->cells.cells, r->cells.n * sizeof *r->cells.cells);
        for (unsigned i = 0; i < r->cells.n; i++)
            if (r->cells.cells[i].batch)
                blob_ref(r->cells.cells[i].batch);
        break;
    case COORD_RESTORE:
        c->restore.batches = mem_dup(r->restore.batches, r->restore.n_batches * sizeof *r->restore.batches);
        for (unsigned i = 0; i < r->restore.n_batches; i++)
            blob_ref(r->restore.batches[i].bytes);
        break;
    case COORD_NAME_PLACES:
        c->names.names = mem_dup(r->names.names, r->names.n * sizeof *r->names.names);
        break;
    case COORD_PUBLISH:
        blob_ref(r->publish.event);
        break;
    default:
        break;
    }
    return c;
}

/* Asks both, compares, and leaves the real one's answer in r. */
static void ask(struct pair *p, struct coord_req *r)
{
    struct coord_req *m = clone(r);
    bool done = false;
    m->done = on_done;
    m->arg = &done;
    ask_real(p, r);
    model_redis_set_time(p->model, clock_unix_ms());
    coord_submit(p->model_coord, m);
    assert_false(done);
    model_coord_run(p->model_coord);
    assert_true(done);
    assert_same_answers(r, m);
    coord_req_free(m);
}

/* One raw command, its answer as a number. */
static long long __attribute__((format(printf, 1, 2))) raw(const char *fmt, ...)
{
    char command[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(command, sizeof command, fmt, ap);
    va_end(ap);
    char *answer = redis_ask(server.port, command);
    assert_non_null(answer);
    long long v = atoll(answer);
    free(answer);
    return v;
}

/* ---- the steps that cases are made of ---- */

static struct coord_req *new_req(enum coord_op op, uint64_t me)
{
    return coord_req_new(op, me, on_done, NULL);
}

static void ask_and_free(struct pair *p, struct coord_req *r)
{
    ask(p, r);
    coord_req_free(r);
}

struct renewal {
    bool existed, evicts;
    uint64_t generation;
    uint32_t closed_ms;
    unsigned n_members;
    struct coord_member first;
};

static struct renewal renew_knowing(struct pair *p, enum role role, uint64_t me, uint64_t generation, uint32_t id_high)
{
    struct coord_req *r = new_req(COORD_RENEW, me);
    r->renew.role = role;
    r->renew.ttl_ms = TTL_MS;
    r->renew.generation_known = generation;
    r->renew.id_high = id_high;
    r->renew.self.state = NODE_AT_RISK;
    r->renew.self.load = (uint32_t)me * 10;
    snprintf(r->renew.self.address, sizeof r->renew.self.address, "10.0.0.%" PRIu64 ":7000", me);
    snprintf(r->renew.self.pool, sizeof r->renew.self.pool, "c7g.large/eu-1%c/spot", 'a' + (int)(me % 3));
    ask(p, r);
    assert_int_equal(r->err, ERR_OK);
    struct renewal out = {r->renew.existed,   r->renew.evicts,    r->renew.generation,
                          r->renew.closed_ms, r->renew.n_members, {0}};
    if (out.n_members)
        out.first = r->renew.members[0];
    coord_req_free(r);
    return out;
}

static struct renewal renew(struct pair *p, uint64_t me)
{
    return renew_knowing(p, ROLE_NODE, me, 0, 0);
}

/* That lease is over. */
static void expire(struct pair *p, enum role role, uint64_t id)
{
    raw("DEL spotcraft:{%s}:%s:%016" PRIx64, p->world, role == ROLE_NODE ? "node" : "gate", id);
    model_redis_expire(p->model, role, id);
}

static void reopen(struct pair *p)
{
    raw("HSET spotcraft:{%s}:world closed_until 0 fresh_until 0", p->world);
    model_redis_reopen(p->model);
}

static void flush(struct pair *p)
{
    raw("FLUSHALL");
    model_redis_flush(p->model);
}

static void new_run(struct pair *p)
{
    raw("HSET spotcraft:{%s}:world run_id of-another", p->world);
    model_redis_new_run(p->model);
}

/* A world with three living nodes and two gateways, and claims open. */
static void populate(struct pair *p)
{
    for (uint64_t id = A; id <= C; id++)
        renew(p, id);
    renew_knowing(p, ROLE_GATEWAY, G, 0, 0);
    renew_knowing(p, ROLE_GATEWAY, H, 0, 0);
    reopen(p);
}

/* One cell in an operation: what is asked, and after it what was answered. */
static struct coord_cell one(struct pair *p, enum coord_op op, uint64_t me, struct coord_cell cell, uint64_t target)
{
    struct coord_req *r = new_req(op, me);
    *coord_req_cells(r, 1) = cell;
    r->cells.target = target;
    ask(p, r);
    assert_int_equal(r->err, ERR_OK);
    struct coord_cell out = r->cells.cells[0];
    coord_req_free(r);
    out.batch = NULL;
    return out;
}

static const struct cell_pos HERE = {-3, 7};

static struct coord_cell claim(struct pair *p, uint64_t me, uint64_t believed, uint64_t floor)
{
    return one(p, COORD_CLAIM, me, (struct coord_cell){.cell = HERE, .epoch = floor, .believed = believed}, 0);
}

static struct blob *bytes(const char *text)
{
    return blob_new(text, strlen(text));
}

static struct coord_cell append(struct pair *p, uint64_t me, uint64_t epoch, uint64_t n)
{
    char text[64];
    snprintf(text, sizeof text, "batch %" PRIu64 "-%" PRIu64, epoch, n);
    return one(p, COORD_APPEND, me, (struct coord_cell){.cell = HERE, .epoch = epoch, .n = n, .batch = bytes(text)}, 0);
}

static struct coord_cell trim(struct pair *p, uint64_t me, uint64_t epoch, uint64_t n, const char *rows)
{
    return one(p, COORD_TRIM, me,
               (struct coord_cell){.cell = HERE, .epoch = epoch, .n = n, .batch = rows ? bytes(rows) : NULL}, 0);
}

static struct coord_cell release(struct pair *p, uint64_t me, uint64_t epoch, uint64_t n)
{
    return one(p, COORD_RELEASE, me, (struct coord_cell){.cell = HERE, .epoch = epoch, .n = n}, 0);
}

static struct coord_cell transfer(struct pair *p, uint64_t me, uint64_t epoch, uint64_t n, uint64_t target)
{
    return one(p, COORD_TRANSFER, me, (struct coord_cell){.cell = HERE, .epoch = epoch, .n = n}, target);
}

static struct coord_cell owner(struct pair *p)
{
    return one(p, COORD_OWNERS, A, (struct coord_cell){.cell = HERE}, 0);
}

#define assert_owned(c, who, e, last)                                                                                  \
    do {                                                                                                               \
        struct coord_cell got = (c);                                                                                   \
        assert_true(got.owner == (who) && got.owner_epoch == (e) && got.owner_n == (last));                            \
    } while (0)

/* "7-1 7-2": the ids in the journal of HERE. */
static const char *journal(struct pair *p, char out[256])
{
    struct coord_req *r = new_req(COORD_JOURNAL, A);
    r->journal.cell = HERE;
    ask(p, r);
    assert_int_equal(r->err, ERR_OK);
    size_t used = 0;
    out[0] = '\0';
    for (unsigned i = 0; i < r->journal.n_batches; i++)
        used += (size_t)snprintf(out + used, 256 - used, "%s%" PRIu64 "-%" PRIu64, i ? " " : "",
                                 r->journal.batches[i].epoch, r->journal.batches[i].n);
    coord_req_free(r);
    return out;
}

static unsigned dirty(struct pair *p)
{
    struct coord_req *r = new_req(COORD_DIRTY, A);
    ask(p, r);
    unsigned n = r->dirty.n;
    coord_req_free(r);
    return n;
}

struct id {
    uint64_t epoch, n;
};
static enum cell_answer restore(struct pair *p, uint64_t me, struct id at, unsigned n, const struct id *ids)
{
    struct coord_req *r = new_req(COORD_RESTORE, me);
    r->restore.cell = HERE;
    r->restore.epoch = at.epoch;
    r->restore.n = at.n;
    r->restore.batches = mem_array(n, sizeof *r->restore.batches);
    r->restore.n_batches = n;
    for (unsigned i = 0; i < n; i++)
        r->restore.batches[i] = (struct coord_batch){ids[i].epoch, ids[i].n, bytes("mine")};
    ask(p, r);
    assert_int_equal(r->err, ERR_OK);
    enum cell_answer answer = r->restore.answer;
    coord_req_free(r);
    return answer;
}

/* ---- the world, and who lives ---- */

static enum err join(struct pair *p, uint32_t chunks, uint32_t schema)
{
    struct coord_req *r = new_req(COORD_JOIN_WORLD, A);
    r->world.cell_chunks = chunks;
    r->world.schema = schema;
    ask(p, r);
    enum err e = r->err;
    coord_req_free(r);
    return e;
}

static void a_world_keeps_its_constants(void **state)
{
    assert_int_equal(join(*state, 0, 0), ERR_OK);
    assert_int_equal(join(*state, 4, 0), ERR_OK);
    assert_int_equal(join(*state, 8, 1), ERR_MISMATCH);
    assert_int_equal(join(*state, 4, 2), ERR_OK);
    assert_int_equal(join(*state, 4, 1), ERR_MISMATCH);
    assert_int_equal(join(*state, 0, 0), ERR_OK);
}

static void a_fresh_world_is_open_at_once(void **state)
{
    struct renewal r = renew(*state, A);
    assert_false(r.existed);
    assert_false(r.evicts);
    assert_int_equal(r.generation, 1);
    assert_int_equal(r.closed_ms, 0);
    assert_int_equal(claim(*state, A, 0, 0).answer, CELL_TAKEN);
    assert_true(renew(*state, A).existed);
}

/* Redis was emptied under living owners; a gateway that knows nothing renews before they do. */
static void a_stranger_does_not_open_an_emptied_redis(void **state)
{
    struct pair *p = *state;
    populate(p);
    flush(p);
    assert_int_equal(renew_knowing(p, ROLE_GATEWAY, G, 0, 0).closed_ms, 0);
    renew(p, C);
    struct renewal r = renew_knowing(p, ROLE_NODE, A, 1, 0);
    assert_int_equal(r.generation, 2);
    assert_true(r.closed_ms > TTL_MS);
    assert_int_equal(claim(p, C, 0, 0).answer, CELL_CLOSED);
    assert_int_equal(renew_knowing(p, ROLE_NODE, B, 1, 0).generation, 2);
}

/* Nobody of before lives, but the store knows the cell: the claim's floor says so. */
static void a_floor_in_a_fresh_world_closes_it(void **state)
{
    struct pair *p = *state;
    renew(p, A);
    assert_int_equal(claim(p, A, 0, 5).answer, CELL_CLOSED);
    struct renewal r = renew(p, A);
    assert_int_equal(r.generation, 2);
    assert_true(r.closed_ms > TTL_MS);
    reopen(p);
    assert_owned(claim(p, A, 0, 5), A, 6, 0);
}

static void an_emptied_redis_closes_for_an_owner_that_renews_first(void **state)
{
    struct pair *p = *state;
    renew_knowing(p, ROLE_NODE, A, 4, 0);
    struct renewal r = renew_knowing(p, ROLE_NODE, B, 4, 0);
    assert_int_equal(r.generation, 5);
    assert_in_range(r.closed_ms, TTL_MS, 2 * TTL_MS);
}

static void a_restart_closes_claims_but_not_appends(void **state)
{
    struct pair *p = *state;
    populate(p);
    claim(p, A, 0, 0);
    new_run(p);
    /* nobody has renewed since: closed all the same */
    assert_int_equal(one(p, COORD_CLAIM, B, (struct coord_cell){.cell = {1, 1}}, 0).answer, CELL_CLOSED);
    struct renewal r = renew(p, A);
    assert_true(r.existed);
    assert_int_equal(r.generation, 2);
    assert_int_equal(claim(p, B, A, 0).answer, CELL_CLOSED);
    assert_int_equal(append(p, A, 1, 1).answer, CELL_TAKEN);
    assert_int_equal(renew(p, A).generation, 2);
    reopen(p);
    assert_int_equal(renew(p, B).closed_ms, 0);
}

/* The store was met at a later generation: the world goes above it, and as nobody is missing, stays open. */
static void who_lives_and_knows_more_raises_the_generation(void **state)
{
    struct pair *p = *state;
    populate(p);
    struct renewal r = renew_knowing(p, ROLE_NODE, A, 7, 0);
    assert_int_equal(r.generation, 8);
    assert_int_equal(r.closed_ms, 0);
}

static void a_renewal_lists_the_living_nodes(void **state)
{
    struct pair *p = *state;
    populate(p);
    struct renewal r = renew(p, B);
    assert_int_equal(r.n_members, 3);
    assert_true(r.first.id == A);
    assert_string_equal(r.first.self.address, "10.0.0.10:7000");
    assert_string_equal(r.first.self.pool, "c7g.large/eu-1b/spot");
    assert_int_equal(r.first.self.state, NODE_AT_RISK);
    assert_int_equal(r.first.self.load, 100);
    expire(p, ROLE_NODE, A);
    assert_int_equal(renew_knowing(p, ROLE_GATEWAY, G, 0, 0).n_members, 2);
    ask_and_free(p, new_req(COORD_LEAVE, B));
    assert_int_equal(renew(p, C).n_members, 1);
    assert_int_equal(raw("SCARD spotcraft:{%s}:nodes", p->world), 1);
}

static void a_lease_ends_by_itself(void **state)
{
    struct pair *p = *state;
    struct coord_req *r = new_req(COORD_RENEW, A);
    r->renew.role = ROLE_NODE;
    r->renew.ttl_ms = 1234;
    ask_and_free(p, r);
    assert_in_range(raw("PTTL spotcraft:{%s}:node:000000000000000a", p->world), 1, 1234);
}

static bool bury(struct pair *p, uint64_t node)
{
    struct coord_req *r = new_req(COORD_BURY, A);
    r->bury.node = node;
    ask(p, r);
    bool buried = r->bury.buried;
    coord_req_free(r);
    return buried;
}

/* Who was buried alive must not be buried again and again by the one peer that cannot reach him. */
static void a_node_is_buried_once_a_minute(void **state)
{
    struct pair *p = *state;
    populate(p);
    assert_true(bury(p, B));
    assert_int_equal(renew(p, A).n_members, 2);
    assert_false(renew(p, B).existed);
    assert_false(bury(p, B));
    assert_true(renew(p, B).existed);
    assert_in_range(raw("TTL spotcraft:{%s}:buried:000000000000000b", p->world), 50, 60);
}

static void a_redis_that_evicts_is_told(void **state)
{
    struct pair *p = *state;
    raw("CONFIG SET maxmemory-policy allkeys-lru");
    model_redis_evicts(p->model, true);
    assert_true(renew(p, A).evicts);
    raw("CONFIG SET maxmemory-policy noeviction");
    model_redis_evicts(p->model, false);
    assert_false(renew(p, A).evicts);
}

/* ---- cells ---- */

static void a_free_cell_is_claimed_above_the_store(void **state)
{
    struct pair *p = *state;
    populate(p);
    assert_owned(owner(p), 0, 0, 0);
    struct coord_cell c = claim(p, A, 0, 41);
    assert_int_equal(c.answer, CELL_TAKEN);
    assert_owned(c, A, 42, 0);
    assert_owned(owner(p), A, 42, 0);
    assert_true(owner(p).owner_alive);
    assert_owned(claim(p, A, A, 7), A, 43, 0);
}

static void a_living_owner_keeps_his_cell(void **state)
{
    struct pair *p = *state;
    populate(p);
    claim(p, A, 0, 0);
    struct coord_cell c = claim(p, B, A, 0);
    assert_int_equal(c.answer, CELL_STALE);
    assert_owned(c, A, 1, 0);
    expire(p, ROLE_NODE, A);
    assert_false(owner(p).owner_alive);
    assert_owned(claim(p, B, A, 0), B, 2, 0);
}

/* A claim that comes late, or twice, believes in an owner of before. */
static void a_claim_that_believes_another_owner_changes_nothing(void **state)
{
    struct pair *p = *state;
    populate(p);
    claim(p, A, 0, 0);
    assert_int_equal(claim(p, A, 0, 0).answer, CELL_STALE);
    expire(p, ROLE_NODE, A);
    assert_int_equal(claim(p, B, 0, 0).answer, CELL_STALE);
    assert_int_equal(claim(p, B, C, 0).answer, CELL_STALE);
    assert_owned(owner(p), A, 1, 0);
}

static void without_a_lease_nothing_is_claimed(void **state)
{
    struct pair *p = *state;
    populate(p);
    expire(p, ROLE_NODE, A);
    assert_int_equal(claim(p, A, 0, 0).answer, CELL_STALE);
    assert_int_equal(claim(p, G, 0, 0).answer, CELL_STALE);
    assert_owned(owner(p), 0, 0, 0);
}

static void an_append_has_one_of_four_answers(void **state)
{
    struct pair *p = *state;
    char ids[256];
    populate(p);
    assert_int_equal(append(p, A, 1, 1).answer, CELL_BEHIND); /* no such cell */
    claim(p, A, 0, 6);
    assert_int_equal(append(p, A, 7, 1).answer, CELL_TAKEN);
    assert_int_equal(append(p, A, 7, 1).answer, CELL_BEFORE);
    struct coord_cell c = append(p, A, 7, 2);
    assert_int_equal(c.answer, CELL_TAKEN);
    assert_owned(c, A, 7, 2);
    assert_int_equal(append(p, A, 7, 1).answer, CELL_BEFORE);
    assert_int_equal(append(p, A, 7, 4).answer, CELL_BEHIND); /* it lost one of mine */
    assert_int_equal(append(p, A, 8, 1).answer, CELL_BEHIND);
    assert_int_equal(append(p, A, 6, 3).answer, CELL_STALE);
    assert_int_equal(append(p, B, 7, 3).answer, CELL_STALE);
    assert_string_equal(journal(p, ids), "7-1 7-2");
    assert_int_equal(dirty(p), 1);
}

/* As text, 9 is above 10; and a double is exact only so far. */
static void epochs_are_compared_as_numbers(void **state)
{
    struct pair *p = *state;
    char ids[256];
    populate(p);
    claim(p, A, 0, 9);
    assert_int_equal(append(p, A, 9, 1).answer, CELL_STALE);
    assert_int_equal(append(p, A, 10, 1).answer, CELL_TAKEN);
    expire(p, ROLE_NODE, A);
    assert_owned(claim(p, B, A, EPOCH_LAST - 1), B, EPOCH_LAST, 0);
    assert_int_equal(append(p, B, EPOCH_LAST - 1, 1).answer, CELL_STALE);
    assert_int_equal(append(p, B, EPOCH_LAST, 1).answer, CELL_TAKEN);
    assert_string_equal(journal(p, ids), "10-1 9007199254740991-1");
}

static void an_epoch_that_is_not_exact_is_refused(void **state)
{
    struct pair *p = *state;
    populate(p);
    raw("HSET spotcraft:{%s}:cell:-3,7 owner 000000000000000a epoch 9007199254740992 n 0", p->world);
    struct coord_req *r = new_req(COORD_OWNERS, A);
    coord_req_cells(r, 1)->cell = HERE;
    ask_real(p, r);
    assert_int_equal(r->err, ERR_REFUSED);
    coord_req_free(r);
}

/* One stale cell must not hold up the others of its call. */
static void each_of_64_cells_is_judged_by_itself(void **state)
{
    struct pair *p = *state;
    populate(p);
    struct coord_req *r = new_req(COORD_CLAIM, A);
    coord_req_cells(r, COORD_CELLS_MAX);
    for (int i = 0; i < COORD_CELLS_MAX; i++)
        r->cells.cells[i].cell = (struct cell_pos){i, -i};
    ask_and_free(p, r);
    r = new_req(COORD_APPEND, A);
    coord_req_cells(r, COORD_CELLS_MAX);
    for (int i = 0; i < COORD_CELLS_MAX; i++)
        r->cells.cells[i] =
            (struct coord_cell){.cell = {i, -i}, .epoch = (uint64_t)(i % 3), .n = 1, .batch = blob_new("\0\r\n*$x", 6)};
    ask(p, r);
    for (int i = 0; i < COORD_CELLS_MAX; i++)
        assert_int_equal(r->cells.cells[i].answer, i % 3 == 1 ? CELL_TAKEN : i % 3 ? CELL_BEHIND : CELL_STALE);
    coord_req_free(r);
    assert_int_equal(dirty(p), 21);
    r = new_req(COORD_OWNERS, A);
    coord_req_cells(r, 1024);
    for (int i = 0; i < 1024; i++)
        r->cells.cells[i].cell = (struct cell_pos){i, -i};
    ask_and_free(p, r);
}

static void a_trim_forgets_up_to_its_batch_and_no_further(void **state)
{
    struct pair *p = *state;
    char ids[256];
    populate(p);
    claim(p, A, 0, 0);
    append(p, A, 1, 1);
    expire(p, ROLE_NODE, A);
    claim(p, B, A, 0);
    for (uint64_t n = 1; n <= 3; n++)
        append(p, B, 2, n);
    assert_int_equal(trim(p, A, 1, 1, NULL).answer, CELL_STALE);
    assert_int_equal(trim(p, B, 2, 4, NULL).answer, CELL_BEHIND);
    assert_int_equal(trim(p, B, 3, 1, NULL).answer, CELL_BEHIND);
    assert_string_equal(journal(p, ids), "1-1 2-1 2-2 2-3");
    assert_int_equal(trim(p, B, 2, 0, NULL).answer, CELL_TAKEN); /* what the one before me left */
    assert_string_equal(journal(p, ids), "2-1 2-2 2-3");
    assert_int_equal(trim(p, B, 2, 2, NULL).answer, CELL_TAKEN);
    assert_string_equal(journal(p, ids), "2-3");
    assert_int_equal(dirty(p), 1);
    assert_int_equal(trim(p, B, 2, 3, NULL).answer, CELL_TAKEN);
    assert_int_equal(dirty(p), 0);
    assert_int_equal(append(p, B, 2, 4).answer, CELL_TAKEN);
    assert_string_equal(journal(p, ids), "2-4");
}

static void refused_rows_are_quarantined_once(void **state)
{
    struct pair *p = *state;
    populate(p);
    claim(p, A, 0, 0);
    append(p, A, 1, 1);
    append(p, A, 1, 2);
    assert_int_equal(trim(p, B, 1, 1, "rows").answer, CELL_STALE);
    assert_int_equal(raw("XLEN spotcraft:{%s}:quarantine", p->world), 0);
    trim(p, A, 1, 1, "rows");
    assert_int_equal(trim(p, A, 1, 1, "rows").answer, CELL_TAKEN);
    assert_int_equal(raw("XLEN spotcraft:{%s}:quarantine", p->world), 1);
    trim(p, A, 1, 2, "more");
    assert_int_equal(raw("XLEN spotcraft:{%s}:quarantine", p->world), 2);
    assert_int_equal(model_redis_quarantined(p->model), 2);
}

static void only_an_empty_journal_is_released(void **state)
{
    struct pair *p = *state;
    populate(p);
    claim(p, A, 0, 0);
    append(p, A, 1, 1);
    assert_int_equal(release(p, A, 1, 1).answer, CELL_BUSY);
    trim(p, A, 1, 1, NULL);
    assert_int_equal(release(p, B, 1, 1).answer, CELL_STALE);
    assert_int_equal(release(p, A, 1, 0).answer, CELL_STALE);
    assert_int_equal(release(p, A, 1, 2).answer, CELL_BEHIND);
    struct coord_cell c = release(p, A, 1, 1);
    assert_int_equal(c.answer, CELL_TAKEN);
    assert_owned(c, 0, 0, 0);
    assert_int_equal(release(p, A, 1, 1).answer, CELL_TAKEN); /* a retry */
    assert_int_equal(raw("EXISTS spotcraft:{%s}:cell:-3,7 spotcraft:{%s}:journal:-3,7", p->world, p->world), 0);
    assert_owned(claim(p, B, 0, 1), B, 2, 0);
}

static void a_transfer_flips_the_owner_once(void **state)
{
    struct pair *p = *state;
    char ids[256];
    populate(p);
    assert_int_equal(transfer(p, A, 1, 0, B).answer, CELL_BEHIND);
    claim(p, A, 0, 0);
    append(p, A, 1, 1);
    assert_int_equal(transfer(p, A, 1, 0, B).answer, CELL_STALE);
    assert_int_equal(transfer(p, A, 1, 2, B).answer, CELL_BEHIND);
    assert_owned(transfer(p, A, 1, 1, B), B, 2, 0);
    struct coord_cell c = transfer(p, A, 1, 1, B); /* a retry learns whose it is */
    assert_int_equal(c.answer, CELL_STALE);
    assert_owned(c, B, 2, 0);
    assert_int_equal(append(p, A, 1, 2).answer, CELL_STALE);
    assert_int_equal(append(p, B, 2, 1).answer, CELL_TAKEN);
    assert_string_equal(journal(p, ids), "1-1 2-1");
}

static void an_owner_restores_what_an_emptied_redis_lost(void **state)
{
    struct pair *p = *state;
    char ids[256];
    populate(p);
    assert_int_equal(restore(p, A, (struct id){5, 9}, 2, (struct id[]){{5, 8}, {5, 9}}), CELL_TAKEN);
    assert_string_equal(journal(p, ids), "5-8 5-9");
    assert_int_equal(dirty(p), 1);
    assert_int_equal(append(p, A, 5, 10).answer, CELL_TAKEN);
    assert_int_equal(restore(p, A, (struct id){5, 9}, 0, NULL), CELL_STALE); /* a late copy */
    assert_int_equal(restore(p, B, (struct id){5, 10}, 0, NULL), CELL_STALE);
    assert_int_equal(restore(p, B, (struct id){4, 99}, 0, NULL), CELL_STALE);
    assert_string_equal(journal(p, ids), "5-8 5-9 5-10");
}

/* A replica that lagged: it has what the store may lack of those before me, and some of mine that I flushed since. */
static void a_restore_keeps_older_batches_and_replaces_its_own(void **state)
{
    struct pair *p = *state;
    char ids[256];
    populate(p);
    claim(p, A, 0, 0);
    append(p, A, 1, 1);
    append(p, A, 1, 2);
    transfer(p, A, 1, 2, B);
    append(p, B, 2, 1);
    append(p, B, 2, 2);
    assert_int_equal(restore(p, B, (struct id){2, 5}, 3, (struct id[]){{1, 2}, {2, 4}, {2, 5}}), CELL_TAKEN);
    assert_string_equal(journal(p, ids), "1-1 1-2 2-4 2-5");
    assert_int_equal(restore(p, C, (struct id){3, 0}, 0, NULL), CELL_TAKEN);
    assert_owned(owner(p), C, 3, 0);
    assert_string_equal(journal(p, ids), "1-1 1-2 2-4 2-5");
    assert_int_equal(restore(p, C, (struct id){3, 1}, 1, (struct id[]){{3, 1}}), CELL_TAKEN);
    trim(p, C, 3, 1, NULL);
    assert_int_equal(restore(p, C, (struct id){3, 1}, 0, NULL), CELL_TAKEN);
    assert_int_equal(dirty(p), 0);
}

static void a_restore_of_batches_above_its_cell_is_refused(void **state)
{
    struct pair *p = *state;
    populate(p);
    struct coord_req *r = new_req(COORD_RESTORE, A);
    r->restore.cell = HERE;
    r->restore.epoch = 2;
    r->restore.n = 1;
    r->restore.batches = mem_array(1, sizeof *r->restore.batches);
    r->restore.n_batches = 1;
    r->restore.batches[0] = (struct coord_batch){2, 2, bytes("x")};
    ask(p, r);
    assert_int_equal(r->err, ERR_REFUSED);
    coord_req_free(r);
    assert_owned(owner(p), 0, 0, 0);
}

/* A page is bounded in batches and in bytes; the next one starts behind the last. */
static void a_long_journal_is_read_in_pages(void **state)
{
    struct pair *p = *state;
    populate(p);
    claim(p, A, 0, 0);
    for (uint64_t n = 1; n <= COORD_JOURNAL_PAGE + 2; n++)
        append(p, A, 1, n);
    for (uint64_t n = 1; n <= 3; n++) /* of 600 KB */
        one(p, COORD_APPEND, A,
            (struct coord_cell){
                .cell = HERE, .epoch = 1, .n = COORD_JOURNAL_PAGE + 2 + n, .batch = blob_new(NULL, 600000)},
            0);
    static const unsigned want[] = {COORD_JOURNAL_PAGE, 4, 1};
    uint64_t after = 0;
    for (unsigned page = 0; page < 3; page++) {
        struct coord_req *r = new_req(COORD_JOURNAL, A);
        r->journal.cell = HERE;
        r->journal.after_epoch = after ? 1 : 0;
        r->journal.after_n = after;
        ask(p, r);
        assert_int_equal(r->journal.n_batches, want[page]);
        assert_int_equal(r->journal.more, page < 2);
        assert_true(r->journal.batches[0].n == after + 1);
        after += want[page];
        coord_req_free(r);
    }
}

static void ids_never_come_twice(void **state)
{
    struct pair *p = *state;
    static const struct {
        uint32_t want, first;
    } takes[] = {{10, 1}, {1, 11}, {5, 12}, {1, 501}, {4, 502}};
    for (unsigned i = 0; i < 5; i++) {
        if (i == 3) /* Redis was emptied, or is older than who took them */
            renew_knowing(p, ROLE_GATEWAY, G, 0, 500);
        struct coord_req *r = new_req(COORD_IDS, G);
        r->ids.want = takes[i].want;
        ask(p, r);
        assert_int_equal(r->ids.first, takes[i].first);
        coord_req_free(r);
    }
    renew_knowing(p, ROLE_GATEWAY, G, 0, 499);
    renew_knowing(p, ROLE_GATEWAY, G, 0, INT32_MAX - 1);
    struct coord_req *r = new_req(COORD_IDS, G);
    r->ids.want = 2;
    ask(p, r);
    assert_int_equal(r->ids.first, 1);
    coord_req_free(r);
}

/* ---- names ---- */

static struct coord_name named(const char *nick, uint64_t session, float x)
{
    struct coord_name n = {.session = session, .place = {x, 12.25f, -x / 3, 0.1f, -1.5f}};
    snprintf(n.nick, sizeof n.nick, "%s", nick);
    return n;
}

static bool take(struct pair *p, uint64_t gate, const char *nick, uint64_t session, const char *old)
{
    struct coord_req *r = new_req(COORD_NAME_TAKE, gate);
    r->name.name = named(nick, session, 1.1f);
    snprintf(r->name.old, sizeof r->name.old, "%s", old);
    ask(p, r);
    bool mine = !r->name.taken;
    coord_req_free(r);
    return mine;
}

static void drop(struct pair *p, uint64_t gate, const char *nick, uint64_t session)
{
    struct coord_req *r = new_req(COORD_NAME_DROP, gate);
    r->name.name = named(nick, session, 0);
    ask_and_free(p, r);
}

static bool find(struct pair *p, const char *nick, const char *not_nick, struct coord_name *out, uint64_t *gate)
{
    struct coord_req *r = new_req(COORD_NAME_FIND, G);
    snprintf(r->find.nick, sizeof r->find.nick, "%s", nick);
    snprintf(r->find.not_nick, sizeof r->find.not_nick, "%s", not_nick);
    ask(p, r);
    bool found = r->find.found;
    *out = r->find.name;
    *gate = r->find.gate;
    coord_req_free(r);
    return found;
}

static void a_nick_is_held_by_one_session(void **state)
{
    struct pair *p = *state;
    struct coord_name n;
    uint64_t gate;
    populate(p);
    assert_true(take(p, G, "ann", UINT64_MAX, ""));
    assert_true(take(p, G, "ann", UINT64_MAX, ""));
    assert_false(take(p, G, "ann", 2, ""));
    assert_false(take(p, H, "ann", UINT64_MAX, ""));
    drop(p, H, "ann", UINT64_MAX);
    assert_true(find(p, "ann", "", &n, &gate));
    assert_true(gate == G && n.session == UINT64_MAX);
    drop(p, G, "ann", UINT64_MAX);
    assert_false(find(p, "ann", "", &n, &gate));
    assert_true(take(p, H, "ann", 1, ""));
}

static void a_new_nick_gives_the_old_one_up(void **state)
{
    struct pair *p = *state;
    struct coord_name n;
    uint64_t gate;
    populate(p);
    take(p, G, "ann", 1, "");
    take(p, H, "bob", 1, "");
    assert_false(take(p, G, "bob", 1, "ann"));
    assert_true(find(p, "ann", "", &n, &gate)); /* refused: nothing is given up */
    assert_true(take(p, G, "eve", 1, "ann"));
    assert_false(find(p, "ann", "", &n, &gate));
    assert_true(take(p, G, "eve", 1, "eve"));
    assert_true(find(p, "eve", "", &n, &gate));
    assert_true(take(p, G, "joe", 1, "bob")); /* not his to give */
    assert_true(find(p, "bob", "", &n, &gate));
}

static void a_dead_gateways_nicks_are_free(void **state)
{
    struct pair *p = *state;
    struct coord_name n;
    uint64_t gate;
    populate(p);
    take(p, G, "ann", 1, "");
    take(p, G, "amy", 2, "");
    expire(p, ROLE_GATEWAY, G);
    assert_false(find(p, "ann", "", &n, &gate));
    assert_false(find(p, "", "", &n, &gate));
    assert_true(take(p, H, "ann", 1, ""));
    struct coord_req *r = new_req(COORD_NAME_LIST, H);
    ask(p, r);
    assert_int_equal(r->names.total, 1);
    assert_string_equal(r->names.names[0].nick, "ann");
    coord_req_free(r);
    assert_int_equal(raw("HLEN spotcraft:{%s}:names", p->world), 1);
}

static void a_nick_may_be_any_text(void **state)
{
    struct pair *p = *state;
    struct coord_name n;
    uint64_t gate;
    populate(p);
    assert_true(take(p, G, "%s \"x\" 7 {a}:\\", 7, ""));
    assert_true(find(p, "%s \"x\" 7 {a}:\\", "", &n, &gate));
    assert_true(take(p, G, "0123456789012345678901234567890", 8, ""));
    assert_true(find(p, "", "%s \"x\" 7 {a}:\\", &n, &gate));
    assert_string_equal(n.nick, "0123456789012345678901234567890");
}

static void places_come_back_to_the_bit(void **state)
{
    struct pair *p = *state;
    struct coord_name n;
    uint64_t gate;
    populate(p);
    take(p, G, "ann", 1, "");
    take(p, H, "bob", 1, "");
    struct coord_req *r = new_req(COORD_NAME_PLACES, G);
    r->names.names = mem_array(3, sizeof *r->names.names);
    r->names.n = 3;
    r->names.names[0] = named("ann", 1, 123456.789f);
    r->names.names[1] = named("bob", 1, 5); /* another gateway's */
    r->names.names[2] = named("nobody", 1, 5);
    ask_and_free(p, r);
    assert_true(find(p, "ann", "", &n, &gate));
    struct coord_name want = named("ann", 1, 123456.789f);
    assert_memory_equal(&n.place, &want.place, sizeof want.place);
    assert_true(find(p, "bob", "", &n, &gate));
    assert_true(n.place.x < 2);
    assert_false(find(p, "nobody", "", &n, &gate));
}

/* ---- events ---- */

static void turn_until(struct pair *p, const unsigned *count, unsigned want)
{
    uint64_t end = clock_mono_ms() + WAIT_MS;
    while (*count < want) {
        struct timeval tick = {0, 20000};
        assert_true(clock_mono_ms() < end);
        event_base_loopexit(p->base, &tick);
        event_base_loop(p->base, EVLOOP_ONCE);
    }
}

static void events_are_heard_and_gaps_are_told(void **state)
{
    struct pair *p = *state;
    turn_until(p, &p->n_interrupted, 1);
    struct coord_req *r = new_req(COORD_PUBLISH, G);
    r->publish.event = bytes("hello");
    ask(p, r);
    assert_int_equal(r->err, ERR_OK);
    coord_req_free(r);
    turn_until(p, &p->n_events, 2); /* the model's too */
    assert_string_equal(p->event, "hello");
    raw("CLIENT KILL TYPE pubsub");
    turn_until(p, &p->n_interrupted, 2);
    r = new_req(COORD_PUBLISH, G);
    r->publish.event = bytes("again");
    ask_and_free(p, r);
    turn_until(p, &p->n_events, 4);
}

/* What is in flight when the coord is closed comes back; what is asked from there is not answered by anybody. */
static void on_closed(struct coord_req *r, void *arg)
{
    struct pair *p = arg;
    p->n_events++;
    assert_int_equal(r->err, ERR_IO);
    coord_submit(p->real, new_req(COORD_DIRTY, A));
    coord_req_free(r);
}

static void closing_answers_what_is_in_flight(void **state)
{
    struct pair *p = *state;
    renew(p, A);
    for (unsigned i = 0; i < 3; i++)
        coord_submit(p->real, coord_req_new(i == 1 ? COORD_LEAVE : COORD_DIRTY, A, on_closed, p));
    coord_redis_close(p->real);
    p->real = NULL;
    assert_int_equal(p->n_events, 3);
}

/* ---- hostile replies ---- */

static void replies_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    static const char *const wires[] = {
        "$-1\r\n",
        "*-1\r\n",
        "*0\r\n",
        "+OK\r\n",
        ":-1\r\n",
        ":2\r\n",
        ":9223372036854775807\r\n",
        "$3\r\nfoo\r\n",
        "*1\r\n$-1\r\n",
        "*1\r\n:7\r\n",
        "*2\r\n:1\r\n:1\r\n",
        "*3\r\n:0\r\n$1\r\nx\r\n$1\r\ny\r\n",
        "*3\r\n:0\r\n$4\r\n1-1x\r\n$1\r\ny\r\n",
        "*3\r\n:0\r\n$3\r\n1-1\r\n:4\r\n",
        "*3\r\n:0\r\n$3\r\nann\r\n$20\r\n000000000000000a 1 x\r\n",
        "*3\r\n:0\r\n$3\r\nann\r\n$34\r\n000000000000000a 1 nan 1 1 1 1 1 1\r\n",
        "*5\r\n:7\r\n$0\r\n\r\n:0\r\n:0\r\n:0\r\n",
        "*5\r\n:1\r\n$3\r\nabc\r\n:0\r\n:0\r\n:0\r\n",
        "*5\r\n:1\r\n$0\r\n\r\n:-4\r\n:0\r\n:0\r\n",
        "*5\r\n:1\r\n$0\r\n\r\n:9007199254740992\r\n:0\r\n:0\r\n",
        "*5\r\n:1\r\n$0\r\n\r\n$1\r\n0\r\n:0\r\n:0\r\n",
        "*4\r\n:1\r\n:0\r\n:1\r\n:-1\r\n",
        "*4\r\n:3\r\n:0\r\n:1\r\n:0\r\n",
        "*9\r\n:1\r\n:0\r\n:1\r\n:0\r\n$2\r\nab\r\n$1\r\na\r\n$1\r\n0\r\n$1\r\n0\r\n$1\r\np\r\n",
        "*9\r\n:1\r\n:0\r\n:1\r\n:0\r\n$16\r\n000000000000000a\r\n$1\r\na\r\n$1\r\n9\r\n$1\r\n0\r\n$1\r\np\r\n",
        "*9\r\n:1\r\n:0\r\n:1\r\n:0\r\n$16\r\n000000000000000a\r\n$1\r\na\r\n$-1\r\n$1\r\n0\r\n$1\r\np\r\n",
        "*2\r\n*1\r\n:1\r\n*0\r\n",
    };
    /* Replies that some operation takes; of the others nothing may. */
    for (unsigned op = 0; op < COORD_OPS; op++) {
        unsigned refused = 0;
        for (size_t i = 0; i < sizeof wires / sizeof *wires; i++) {
            struct coord_req *r = new_req((enum coord_op)op, A);
            switch (op) {
            case COORD_OWNERS:
            case COORD_CLAIM:
            case COORD_APPEND:
            case COORD_TRIM:
            case COORD_RELEASE:
            case COORD_TRANSFER:
                coord_req_cells(r, 1);
                break;
            default:
                break;
            }
            redisReader *reader = redisReaderCreate();
            void *reply = NULL;
            assert_int_equal(redisReaderFeed(reader, wires[i], strlen(wires[i])), REDIS_OK);
            assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
            assert_non_null(reply);
            refused += coord_decode(r, reply) == ERR_REFUSED;
            freeReplyObject(reply);
            redisReaderFree(reader);
            coord_req_free(r);
        }
        /* only DIRTY and FIND take an empty array; a few numbers are answers of others */
        assert_in_range(refused, sizeof wires / sizeof *wires - 3, sizeof wires / sizeof *wires);
    }
}

/* An outsider wrote nonsense where a cell should be. */
static void a_spoilt_key_is_refused_and_the_rest_goes_on(void **state)
{
    struct pair *p = *state;
    populate(p);
    raw("SET spotcraft:{%s}:cell:-3,7 junk", p->world);
    struct coord_req *r = new_req(COORD_CLAIM, A);
    coord_req_cells(r, 1)->cell = HERE;
    ask_real(p, r);
    assert_int_equal(r->err, ERR_REFUSED);
    coord_req_free(r);
    raw("DEL spotcraft:{%s}:cell:-3,7", p->world);
    assert_int_equal(claim(p, A, 0, 0).answer, CELL_TAKEN);
}

/* ---- at random ---- */

static struct cell_pos random_cell(struct rng *g)
{
    return (struct cell_pos){(int)rng_below(g, 3) - 1, (int)rng_below(g, 2)};
}

static uint64_t random_node(struct rng *g)
{
    return A + rng_below(g, 3);
}

static struct blob *random_bytes(struct rng *g)
{
    uint8_t data[24];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)rng_below(g, 256);
    return blob_new(data, 1 + rng_below(g, sizeof data - 1));
}

/* Mostly what is so, as a caller would believe it; now and then not. */
static void random_belief(struct pair *p, struct rng *g, uint64_t *me, struct coord_cell *c, enum coord_op op)
{
    uint64_t owned, epoch = 0, n = 0;
    c->cell = random_cell(g);
    if (!model_redis_cell(p->model, c->cell, &owned, &epoch, &n))
        owned = 0;
    if (owned && op != COORD_CLAIM && rng_below(g, 8))
        *me = owned;
    c->believed = rng_below(g, 8) ? owned : random_node(g);
    c->epoch = op == COORD_CLAIM  ? (rng_below(g, 4) ? 0 : rng_below(g, 20))
               : rng_below(g, 10) ? epoch
                                  : rng_below(g, 20);
    c->n = op == COORD_APPEND ? n + 1 : n;
    if (rng_below(g, 8) == 0)
        c->n = rng_below(g, 6);
    if (op == COORD_TRIM && c->n && rng_below(g, 2))
        c->n--;
}

static struct coord_req *random_cells_req(struct pair *p, struct rng *g, enum coord_op op)
{
    uint64_t me = random_node(g);
    struct coord_req *r = new_req(op, me);
    unsigned n = 1 + rng_below(g, 3);
    coord_req_cells(r, n);
    for (unsigned i = 0; i < n; i++) {
        struct coord_cell *c = &r->cells.cells[i];
        random_belief(p, g, &r->me, c, op);
        if (op == COORD_APPEND || (op == COORD_TRIM && rng_below(g, 4) == 0))
            c->batch = random_bytes(g);
    }
    r->cells.target = random_node(g);
    return r;
}

static struct coord_req *random_restore(struct pair *p, struct rng *g)
{
    uint64_t owned = 0, epoch = 0, n = 0;
    struct coord_req *r = new_req(COORD_RESTORE, random_node(g));
    r->restore.cell = random_cell(g);
    if (model_redis_cell(p->model, r->restore.cell, &owned, &epoch, &n) && rng_below(g, 2))
        r->me = owned;
    r->restore.epoch = 1 + epoch + rng_below(g, 3) - (epoch ? 1 : 0);
    r->restore.n = n + rng_below(g, 3);
    unsigned count = rng_below(g, 4);
    r->restore.batches = mem_array(count, sizeof *r->restore.batches);
    for (unsigned i = 0; i < count && r->restore.n > i; i++)
        r->restore.batches[r->restore.n_batches++] =
            (struct coord_batch){r->restore.epoch, r->restore.n - i, random_bytes(g)};
    return r;
}

static struct coord_req *random_names_req(struct rng *g, enum coord_op op)
{
    static const char *const nicks[] = {"ann", "bob", "eve", "joe"};
    struct coord_req *r = new_req(op, rng_below(g, 2) ? G : H);
    struct coord_name n = named(nicks[rng_below(g, 4)], rng_below(g, 3), (float)rng_below(g, 1000) / 7);
    if (op == COORD_NAME_PLACES) {
        r->names.names = mem_dup(&n, sizeof n);
        r->names.n = 1;
    } else if (op == COORD_NAME_FIND) {
        snprintf(r->find.nick, sizeof r->find.nick, "%s", rng_below(g, 3) ? n.nick : "");
    } else if (op != COORD_NAME_LIST) {
        r->name.name = n;
        snprintf(r->name.old, sizeof r->name.old, "%s", rng_below(g, 2) ? nicks[rng_below(g, 4)] : "");
    }
    return r;
}

static struct coord_req *random_req(struct pair *p, struct rng *g)
{
    static const enum coord_op often[] = {COORD_CLAIM, COORD_APPEND,  COORD_APPEND,   COORD_APPEND, COORD_TRIM,
                                          COORD_TRIM,  COORD_RELEASE, COORD_TRANSFER, COORD_JOURNAL};
    enum coord_op op = rng_below(g, 2) ? often[rng_below(g, sizeof often / sizeof *often)] : rng_below(g, COORD_OPS);
    struct coord_req *r;
    switch (op) {
    case COORD_OWNERS:
    case COORD_CLAIM:
    case COORD_APPEND:
    case COORD_TRIM:
    case COORD_RELEASE:
    case COORD_TRANSFER:
        return random_cells_req(p, g, op);
    case COORD_RESTORE:
        return random_restore(p, g);
    case COORD_NAME_TAKE:
    case COORD_NAME_DROP:
    case COORD_NAME_PLACES:
    case COORD_NAME_FIND:
    case COORD_NAME_LIST:
        return random_names_req(g, op);
    default:
        r = new_req(op, rng_below(g, 4) ? random_node(g) : G);
        break;
    }
    if (op == COORD_JOIN_WORLD) {
        r->world.cell_chunks = rng_below(g, 3);
        r->world.schema = rng_below(g, 3);
    } else if (op == COORD_RENEW) {
        r->renew.role = r->me == G ? ROLE_GATEWAY : ROLE_NODE;
        r->renew.ttl_ms = TTL_MS;
        r->renew.generation_known = rng_below(g, 4) ? 0 : rng_below(g, 6);
        r->renew.id_high = rng_below(g, 3) ? 0 : rng_below(g, 1000);
        r->renew.self.load = rng_below(g, 100);
    } else if (op == COORD_BURY) {
        r->bury.node = random_node(g);
    } else if (op == COORD_JOURNAL) {
        r->journal.cell = random_cell(g);
        r->journal.after_epoch = rng_below(g, 3) ? 0 : rng_below(g, 20);
        r->journal.after_n = rng_below(g, 4);
    } else if (op == COORD_IDS) {
        r->ids.want = 1 + rng_below(g, 20);
    } else if (op == COORD_PUBLISH) {
        r->publish.event = random_bytes(g);
    }
    return r;
}

static void random_fault(struct pair *p, struct rng *g)
{
    switch (rng_below(g, 8)) {
    case 0:
        flush(p);
        break;
    case 1:
        new_run(p);
        break;
    case 2:
    case 3:
        expire(p, ROLE_NODE, random_node(g));
        break;
    case 4:
        expire(p, ROLE_GATEWAY, G);
        break;
    default: /* claims are mostly open, and everybody lives again */
        for (uint64_t id = A; id <= C; id++)
            renew(p, id);
        renew_knowing(p, ROLE_GATEWAY, G, 0, 0);
        reopen(p);
        break;
    }
}

/* The simulator's verdicts are worth what the model is worth. */
static void the_model_answers_as_redis_does(void **state)
{
    struct pair *p = *state;
    const char *text = getenv("SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : 20260131;
    struct rng g;
    rng_seed(&g, seed);
    print_message("SEED=%" PRIu64 "\n", seed);
    unsigned taken = 0;
    for (unsigned i = 0; i < 6000; i++) {
        if (rng_below(&g, 40) == 0)
            random_fault(p, &g);
        struct coord_req *r = random_req(p, &g);
        ask(p, r);
        if (r->op == COORD_APPEND && r->err == ERR_OK)
            taken += r->cells.cells[0].answer == CELL_TAKEN;
        coord_req_free(r);
        dirty(p);
    }
    assert_true(taken > 300); /* the run went somewhere */
    assert_int_equal(raw("XLEN spotcraft:{%s}:quarantine", p->world), model_redis_quarantined(p->model));
}

/* ---- running ---- */

static int setup(void **state)
{
    struct pair *p = mem_zalloc(sizeof *p);
    char why[128];
    if (!server.proc && !redis_start(&server))
        return -1;
    free(redis_ask(server.port, "FLUSHALL"));
    strcpy(p->world, "test-world");
    p->base = event_base_new();
    p->listener = (struct coord_listener){on_event, on_interrupted, p};
    struct coord_redis_conf conf = {
        .base = p->base, .url = server.url, .world = p->world, .listener = &p->listener, .deadline_ms = 5000};
    if (coord_redis_open(&conf, &p->real, why, sizeof why) != ERR_OK)
        return -1;
    p->model = model_redis_new();
    p->model_coord = model_coord_direct(p->model, &p->listener);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct pair *p = *state;
    coord_redis_close(p->real);
    model_coord_free(p->model_coord);
    model_redis_free(p->model);
    event_base_free(p->base);
    free(p);
    return 0;
}

int main(void)
{
    alarm(60);
    log_set_level(LOG_ERROR);
    lab = lab_new("coord");
    redis_init(&server, lab);
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_world_keeps_its_constants),
        CASE(a_fresh_world_is_open_at_once),
        CASE(a_stranger_does_not_open_an_emptied_redis),
        CASE(a_floor_in_a_fresh_world_closes_it),
        CASE(an_emptied_redis_closes_for_an_owner_that_renews_first),
        CASE(a_restart_closes_claims_but_not_appends),
        CASE(who_lives_and_knows_more_raises_the_generation),
        CASE(a_renewal_lists_the_living_nodes),
        CASE(a_lease_ends_by_itself),
        CASE(a_node_is_buried_once_a_minute),
        CASE(a_redis_that_evicts_is_told),
        CASE(a_free_cell_is_claimed_above_the_store),
        CASE(a_living_owner_keeps_his_cell),
        CASE(a_claim_that_believes_another_owner_changes_nothing),
        CASE(without_a_lease_nothing_is_claimed),
        CASE(an_append_has_one_of_four_answers),
        CASE(epochs_are_compared_as_numbers),
        CASE(an_epoch_that_is_not_exact_is_refused),
        CASE(each_of_64_cells_is_judged_by_itself),
        CASE(a_trim_forgets_up_to_its_batch_and_no_further),
        CASE(refused_rows_are_quarantined_once),
        CASE(only_an_empty_journal_is_released),
        CASE(a_transfer_flips_the_owner_once),
        CASE(an_owner_restores_what_an_emptied_redis_lost),
        CASE(a_restore_keeps_older_batches_and_replaces_its_own),
        CASE(a_restore_of_batches_above_its_cell_is_refused),
        CASE(a_long_journal_is_read_in_pages),
        CASE(ids_never_come_twice),
        CASE(a_nick_is_held_by_one_session),
        CASE(a_new_nick_gives_the_old_one_up),
        CASE(a_dead_gateways_nicks_are_free),
        CASE(a_nick_may_be_any_text),
        CASE(places_come_back_to_the_bit),
        CASE(events_are_heard_and_gaps_are_told),
        CASE(closing_answers_what_is_in_flight),
        cmocka_unit_test(replies_that_do_not_fit_are_refused),
        CASE(a_spoilt_key_is_refused_and_the_rest_goes_on),
        CASE(the_model_answers_as_redis_does),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (!failed)
        lab_passed(lab);
    lab_free(lab);
    metrics_free();
    return failed;
}
