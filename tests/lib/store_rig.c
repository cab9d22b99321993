#include "tests/lib/store_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <event2/event.h>
#include <libpq-fe.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "node/store/engine.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"

enum { ANSWER_MS = 20000, TURN_MS = 20 };

/* ---- the model as a store ---- */

struct model_engine {
    struct store base;
    struct model_store *model;
    struct store_later *later;
};

static void model_submit(struct store *s, struct store_req *r)
{
    struct model_engine *e = (struct model_engine *)s;
    model_store_apply(e->model, r);
    store_later_answer(e->later, r, r->err);
}

static void model_close(struct store *s)
{
    store_later_free(((struct model_engine *)s)->later);
    free(s);
}

static bool model_healthy(struct store *s)
{
    (void)s;
    return true;
}

static const struct store_ops model_ops = {model_submit, model_close, model_healthy, NULL};

static struct store *model_open(struct rig *r)
{
    struct model_engine *e = mem_zalloc(sizeof(*e));
    e->base.ops = &model_ops;
    e->model = r->model;
    e->later = store_later_new(r->base);
    return &e->base;
}

/* ---- start and stop ---- */

struct store *rig_open(struct rig *r)
{
    struct store *s = NULL;
    char why[256] = "";
    if (r->kind == RIG_MODEL)
        return model_open(r);
    if (store_open(r->url, r->base, NULL, CELL_CHUNKS, &s, why, sizeof(why)) != ERR_OK)
        fail_msg("store_open %s: %s", r->url, why);
    return s;
}

void rig_start_bare(struct rig *r, enum rig_kind kind)
{
    static const char *const names[] = {"store-model", "store-sqlite", "store-postgres"};
    *r = (struct rig){.kind = kind, .lab = lab_new(names[kind]), .base = event_base_new(), .fsync = r->fsync};
    assert_non_null(r->lab);
    if (kind == RIG_MODEL) {
        r->model = model_store_new();
    } else if (kind == RIG_SQLITE) {
        snprintf(r->url, sizeof(r->url), "sqlite:%s/world.db", lab_dir(r->lab));
    } else {
        assert_true(postgres_init(&r->postgres, r->lab));
        r->postgres.fsync = r->fsync;
        assert_true(postgres_start(&r->postgres));
        snprintf(r->url, sizeof(r->url), "%s", r->postgres.url);
    }
}

void rig_start(struct rig *r, enum rig_kind kind)
{
    rig_start_bare(r, kind);
    if (kind == RIG_POSTGRES)
        rig_migrate(r);
    r->store = rig_open(r);
    assert_true(rig_wait_healthy(r, r->store, true, ANSWER_MS));
}

void rig_stop(struct rig *r)
{
    store_close(r->store);
    model_store_free(r->model);
    event_base_free(r->base);
    lab_passed(r->lab);
    lab_free(r->lab);
}

void rig_migrate(struct rig *r)
{
    const char *argv[] = {"sh", "ops/migrate.sh", r->url, NULL};
    assert_true(proc_run(r->lab, &(struct proc_conf){.name = "migrate", .argv = argv}, ANSWER_MS));
}

void rig_sql(struct rig *r, const char *sql)
{
    if (r->kind == RIG_SQLITE) {
        sqlite3 *db = NULL;
        char *error = NULL;
        assert_int_equal(sqlite3_open(r->url + strlen("sqlite:"), &db), SQLITE_OK);
        sqlite3_busy_timeout(db, ANSWER_MS);
        if (sqlite3_exec(db, sql, NULL, NULL, &error) != SQLITE_OK)
            fail_msg("%s: %s", sql, error);
        sqlite3_close(db);
    } else if (r->kind == RIG_POSTGRES) {
        PGconn *c = PQconnectdb(r->url);
        PGresult *res = PQexec(c, sql);
        if (PQresultStatus(res) != PGRES_COMMAND_OK && PQresultStatus(res) != PGRES_TUPLES_OK)
            fail_msg("%s: %s", sql, PQerrorMessage(c));
        PQclear(res);
        PQfinish(c);
    }
}

static void on_turn_over(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
}

void rig_turn(struct rig *r)
{
    struct event *over = event_new(r->base, -1, 0, on_turn_over, NULL);
    event_add(over, &(struct timeval){.tv_usec = TURN_MS * 1000});
    event_base_loop(r->base, EVLOOP_ONCE);
    event_free(over);
}

bool rig_wait_healthy(struct rig *r, struct store *s, bool healthy, unsigned ms)
{
    uint64_t deadline_ms = clock_mono_ms() + ms;
    while (s->ops->healthy(s) != healthy && clock_mono_ms() < deadline_ms)
        rig_turn(r);
    return s->ops->healthy(s) == healthy;
}

/* ---- asking ---- */

static unsigned n_in_flight;
static bool inside_submit;

static void on_answer(struct store_req *req, void *arg)
{
    (void)req;
    (void)arg;
    assert_false(inside_submit);
    n_in_flight--;
}

void rig_submit(struct rig *r, struct store *s, struct store_req *req)
{
    (void)r;
    n_in_flight++;
    inside_submit = true;
    store_submit(s, req);
    inside_submit = false;
}

void rig_finish(struct rig *r)
{
    uint64_t deadline_ms = clock_mono_ms() + ANSWER_MS;
    while (n_in_flight > 0 && clock_mono_ms() < deadline_ms)
        rig_turn(r);
    assert_int_equal(n_in_flight, 0);
}

enum err rig_ask(struct rig *r, struct store *s, struct store_req *req)
{
    rig_submit(r, s, req);
    rig_finish(r);
    return req->err;
}

static struct store_req *req_cell(struct rig *r, enum store_op op, struct cell_pos at, uint64_t epoch)
{
    struct store_req *req = store_req_new(op, on_answer, r);
    req->cell = at;
    req->row.epoch = epoch;
    return req;
}

struct store_req *req_claim(struct rig *r, struct cell_pos at, uint64_t epoch)
{
    return req_cell(r, STORE_CLAIM, at, epoch);
}

struct store_req *req_raise(struct rig *r, struct cell_pos at, uint64_t epoch)
{
    return req_cell(r, STORE_RAISE, at, epoch);
}

struct store_req *req_flush(struct rig *r, struct cell_pos at, uint64_t epoch, uint64_t rev, const struct row *rows,
                            unsigned n)
{
    struct store_req *req = req_cell(r, STORE_FLUSH, at, epoch);
    req->row.rev = rev;
    req->rows = arena_alloc(req->arena, n * sizeof(*rows));
    if (n)
        memcpy(req->rows, rows, n * sizeof(*rows));
    req->n_rows = n;
    return req;
}

static struct store_req *req_player(struct rig *r, enum store_op op, const char *account)
{
    struct store_req *req = store_req_new(op, on_answer, r);
    req->places = arena_zalloc(req->arena, sizeof(*req->places));
    req->n_places = 1;
    snprintf(req->places[0].account, sizeof(req->places[0].account), "%s", account);
    return req;
}

struct store_req *req_visit(struct rig *r, const char *account)
{
    return req_player(r, STORE_VISIT, account);
}

struct store_req *req_place(struct rig *r, const char *account, uint64_t visit, uint64_t count, float x)
{
    struct store_req *req = req_player(r, STORE_SAVE_PLACES, account);
    req->places[0].visit = visit;
    req->places[0].count = count;
    req->places[0].place = (struct place){x, 40.5f, -x, 0.25f, -0.125f};
    return req;
}

struct store_req *rig_claimed(struct rig *r, struct cell_pos at, uint64_t epoch)
{
    struct store_req *req = req_claim(r, at, epoch);
    assert_int_equal(rig_ask(r, r->store, req), ERR_OK);
    return req;
}

/* ---- rows ---- */

struct row block_row(int32_t x, int32_t y, int32_t z, int16_t w, uint32_t key, uint64_t rev)
{
    return (struct row){.at = {x, y, z}, .kind = ROW_BLOCK, .w = w, .key = key, .rev = rev};
}

struct row light_row(int32_t x, int32_t y, int32_t z, int16_t w, uint64_t rev)
{
    return (struct row){.at = {x, y, z}, .kind = ROW_LIGHT, .w = w, .rev = rev};
}

struct row sign_row(int32_t x, int32_t y, int32_t z, uint8_t face, const char *text, uint64_t rev)
{
    return (struct row){.at = {x, y, z}, .kind = ROW_SIGN, .face = face, .text = text, .rev = rev};
}

static bool same_row(const struct row *a, const struct row *b)
{
    bool same_text = (!a->text && !b->text) || (a->text && b->text && strcmp(a->text, b->text) == 0);
    return a->kind == b->kind && a->at.x == b->at.x && a->at.y == b->at.y && a->at.z == b->at.z && a->face == b->face &&
           a->w == b->w && a->key == b->key && a->rev == b->rev && same_text;
}

const struct row *rows_find(const struct store_req *req, const struct row *like)
{
    for (unsigned k = 0; k < req->n_rows; k++)
        if (same_row(&req->rows[k], like))
            return &req->rows[k];
    return NULL;
}
