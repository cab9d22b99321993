#include "tests/lib/coord_pair.h"

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

#include "proto/base/clock.h"
#include "proto/base/mem.h"
#include "proto/redis/coord_redis.h"
#include "tests/lib/probe.h"
#include "tests/lib/services.h"

enum { NEAR_MS = 5000 }; /* the two tell the time a little apart */

static struct lab *lab;
static struct redis server;

/* ---- asking both ---- */

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
    uint64_t end = clock_mono_ms() + PAIR_WAIT_MS;
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
void ask_real(struct pair *p, struct coord_req *r)
{
    uint64_t end = clock_mono_ms() + PAIR_WAIT_MS;
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
    if (a->op == COORD_JOIN_WORLD) {
        assert_int_equal(a->world.has_chunks, b->world.has_chunks);
        assert_int_equal(a->world.newest, b->world.newest);
    }
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
        assert_true(a->journal.owner == b->journal.owner && a->journal.owner_epoch == b->journal.owner_epoch);
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
void ask(struct pair *p, struct coord_req *r)
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
long long raw(const char *fmt, ...)
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

void turn_until(struct pair *p, const unsigned *count, unsigned want)
{
    uint64_t end = clock_mono_ms() + PAIR_WAIT_MS;
    while (*count < want) {
        struct timeval tick = {0, 20000};
        assert_true(clock_mono_ms() < end);
        event_base_loopexit(p->base, &tick);
        event_base_loop(p->base, EVLOOP_ONCE);
    }
}

/* ---- steps ---- */

struct coord_req *new_req(enum coord_op op, uint64_t me)
{
    return coord_req_new(op, me, on_done, NULL);
}

void ask_and_free(struct pair *p, struct coord_req *r)
{
    ask(p, r);
    coord_req_free(r);
}

struct renewal renew_knowing(struct pair *p, enum role role, uint64_t me, uint64_t generation, uint32_t id_high)
{
    struct coord_req *r = new_req(COORD_RENEW, me);
    r->renew.role = role;
    r->renew.ttl_ms = PAIR_TTL_MS;
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

struct renewal renew(struct pair *p, uint64_t me)
{
    return renew_knowing(p, ROLE_NODE, me, 0, 0);
}

/* That lease is over. */
void expire(struct pair *p, enum role role, uint64_t id)
{
    raw("DEL spotcraft:{%s}:%s:%016" PRIx64, p->world, role == ROLE_NODE ? "node" : "gate", id);
    model_redis_expire(p->model, role, id);
}

void reopen(struct pair *p)
{
    raw("HSET spotcraft:{%s}:world closed_until 0 fresh_until 0", p->world);
    model_redis_reopen(p->model);
}

void flush(struct pair *p)
{
    raw("FLUSHALL");
    model_redis_flush(p->model);
}

/* A Redis that was emptied knows no run at all, whichever it is. */
void new_run(struct pair *p)
{
    if (raw("HEXISTS spotcraft:{%s}:world run_id", p->world))
        raw("HSET spotcraft:{%s}:world run_id of-another", p->world);
    model_redis_new_run(p->model);
}

/* A world with three living nodes and two gateways, and claims open. */
void populate(struct pair *p)
{
    for (uint64_t id = A; id <= C; id++)
        renew(p, id);
    renew_knowing(p, ROLE_GATEWAY, G, 0, 0);
    renew_knowing(p, ROLE_GATEWAY, H, 0, 0);
    reopen(p);
}

unsigned dirty(struct pair *p)
{
    struct coord_req *r = new_req(COORD_DIRTY, A);
    ask(p, r);
    unsigned n = r->dirty.n;
    coord_req_free(r);
    return n;
}

struct coord_name named(const char *nick, uint64_t session, float x)
{
    struct coord_name n = {.session = session, .place = {x, 12.25f, -x / 3, 0.1f, -1.5f}};
    snprintf(n.nick, sizeof n.nick, "%s", nick);
    return n;
}

/* ---- running ---- */

bool pair_server_start(const char *name)
{
    lab = lab_new(name);
    redis_init(&server, lab);
    return redis_start(&server);
}

void pair_server_stop(bool passed)
{
    if (passed)
        lab_passed(lab);
    lab_free(lab);
}

int pair_setup(void **state)
{
    struct pair *p = mem_zalloc(sizeof *p);
    char why[128];
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

int pair_teardown(void **state)
{
    struct pair *p = *state;
    coord_redis_close(p->real);
    model_coord_free(p->model_coord);
    model_redis_free(p->model);
    event_base_free(p->base);
    free(p);
    return 0;
}
