/* One suite over every store: the model, SQLite and PostgreSQL must be one and the same to their callers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "node/store/engine.h"
#include "proto/base/log.h"
#include "proto/base/metrics.h"
#include "proto/base/rng.h"
#include "tests/lib/store_rig.h"

static struct rig rig;
static struct rig *const r = &rig;

/* Each test has cells of its own, on both sides of the origin. */
static struct cell_pos fresh_cell(void)
{
    static int32_t n;
    n++;
    return (struct cell_pos){n % 2 ? n : -n, n % 3 ? -n : n};
}

/* A block of the cell: dx, dz from its corner. */
static int32_t x_in(struct cell_pos c, int32_t dx)
{
    return c.i * CELL_SIZE + dx;
}
static int32_t z_in(struct cell_pos c, int32_t dz)
{
    return c.j * CELL_SIZE + dz;
}

static enum err ask_free(struct store_req *req)
{
    enum err e = rig_ask(r, r->store, req);
    store_req_free(req);
    return e;
}

static void claim_as(struct cell_pos c, uint64_t epoch)
{
    store_req_free(rig_claimed(r, c, epoch));
}

static void a_claim_of_a_new_cell_finds_nothing(void **state)
{
    (void)state;
    struct store_req *req = rig_claimed(r, fresh_cell(), 7);
    assert_false(req->found);
    assert_int_equal(req->row.epoch, 7);
    assert_int_equal(req->row.rev, 0);
    assert_int_equal(req->n_rows, 0);
    assert_null(req->row.seen);
    store_req_free(req);
}

static void what_was_flushed_comes_back_with_the_next_claim(void **state)
{
    (void)state;
    struct cell_pos c = fresh_cell();
    claim_as(c, 1);
    const struct row rows[] = {
        block_row(x_in(c, 0), 1, z_in(c, 0), 3, 1, 5),
        block_row(x_in(c, 127), 255, z_in(c, 127), 63, KEY_MAX, 6),
        block_row(x_in(c, 64), 20, z_in(c, 31), 0, 3, INT64_MAX),
        light_row(x_in(c, 64), 20, z_in(c, 31), 15, 8),
        sign_row(x_in(c, 1), 20, z_in(c, 2), 0, "{\"a\",'b'\\, NULL} $1;--%s", 9),
        sign_row(x_in(c, 1), 20, z_in(c, 2), 7, "", 10),
    };
    struct store_req *flush = req_flush(r, c, 1, 10, rows, 6);
    flush->row.generation = 4;
    flush->row.key_floor = KEY_MAX;
    flush->row.clean = true;
    flush->row.seen = blob_new("\0seen\xff", 6);
    assert_int_equal(ask_free(flush), ERR_OK);

    struct store_req *again = rig_claimed(r, c, 2);
    assert_true(again->found);
    assert_int_equal(again->row.epoch, 2);
    assert_int_equal(again->row.generation, 4);
    assert_int_equal(again->row.rev, 10);
    assert_int_equal(again->row.key_floor, KEY_MAX);
    assert_true(again->row.clean);
    assert_int_equal(again->row.seen->len, 6);
    assert_memory_equal(again->row.seen->data, "\0seen\xff", 6);
    assert_int_equal(again->n_rows, 6);
    for (unsigned k = 0; k < 6; k++)
        assert_non_null(rows_find(again, &rows[k]));
    store_req_free(again);
}

/* From the claim on the journal may hold what the store lacks, so the row may not say otherwise. */
static void a_claim_or_raise_makes_the_cell_unclean(void **state)
{
    (void)state;
    struct cell_pos c = fresh_cell();
    claim_as(c, 1);
    for (uint64_t epoch = 1; epoch < 5; epoch += 2) {
        struct store_req *flush = req_flush(r, c, epoch, epoch, NULL, 0);
        flush->row.clean = true;
        assert_int_equal(ask_free(flush), ERR_OK);
        struct store_req *first = epoch == 1 ? req_claim(r, c, 2) : req_raise(r, c, 4);
        assert_int_equal(rig_ask(r, r->store, first), ERR_OK);
        assert_true(first->row.clean);
        store_req_free(first);
        struct store_req *second = rig_claimed(r, c, epoch + 2);
        assert_false(second->row.clean);
        store_req_free(second);
    }
}

static void a_claim_must_be_higher_and_is_told_what_is(void **state)
{
    (void)state;
    struct cell_pos c = fresh_cell();
    claim_as(c, 9);
    for (uint64_t epoch = 8; epoch <= 9; epoch++) {
        struct store_req *req = req_claim(r, c, epoch);
        assert_int_equal(rig_ask(r, r->store, req), ERR_STALE);
        assert_int_equal(req->row.epoch, 9);
        assert_int_equal(req->n_rows, 0);
        req->row.epoch++;
        if (epoch == 9) { /* the same request, claimed again above it */
            assert_int_equal(rig_ask(r, r->store, req), ERR_OK);
            assert_int_equal(req->row.epoch, 10);
        }
        store_req_free(req);
    }
}

static void a_raise_may_be_equal_and_reads_no_rows(void **state)
{
    (void)state;
    struct cell_pos c = fresh_cell();
    struct row row = block_row(x_in(c, 5), 5, z_in(c, 5), 5, 1, 1);
    struct store_req *first = req_raise(r, c, 3); /* of a cell that the store has not met */
    assert_int_equal(rig_ask(r, r->store, first), ERR_OK);
    assert_false(first->found);
    store_req_free(first);
    assert_int_equal(ask_free(req_flush(r, c, 3, 1, &row, 1)), ERR_OK);
    struct store_req *equal = req_raise(r, c, 3);
    assert_int_equal(rig_ask(r, r->store, equal), ERR_OK);
    assert_true(equal->found);
    assert_int_equal(equal->row.rev, 1);
    assert_int_equal(equal->n_rows, 0);
    store_req_free(equal);
    struct store_req *lower = req_raise(r, c, 2);
    assert_int_equal(rig_ask(r, r->store, lower), ERR_STALE);
    assert_int_equal(lower->row.epoch, 3);
    store_req_free(lower);
}

/* The zombie: it was declared dead, and wakes up with rows to write. */
static void a_flush_under_a_lower_epoch_changes_nothing(void **state)
{
    (void)state;
    struct cell_pos c = fresh_cell();
    struct row old = block_row(x_in(c, 1), 1, z_in(c, 1), 1, 1, 1);
    struct row late = block_row(x_in(c, 2), 2, z_in(c, 2), 2, 2, 2);
    claim_as(c, 1);
    assert_int_equal(ask_free(req_flush(r, c, 1, 1, &old, 1)), ERR_OK);
    claim_as(c, 5);
    struct store_req *zombie = req_flush(r, c, 4, 2, &late, 1);
    assert_int_equal(rig_ask(r, r->store, zombie), ERR_STALE);
    assert_int_equal(zombie->row.epoch, 5);
    store_req_free(zombie);
    struct store_req *now = rig_claimed(r, c, 6);
    assert_int_equal(now->row.rev, 1);
    assert_int_equal(now->n_rows, 1);
    assert_non_null(rows_find(now, &old));
    store_req_free(now);
}

static void a_flush_of_a_cell_that_nobody_claimed_is_stale(void **state)
{
    (void)state;
    struct cell_pos c = fresh_cell();
    struct row row = block_row(x_in(c, 1), 1, z_in(c, 1), 1, 1, 1);
    struct store_req *flush = req_flush(r, c, 4, 1, &row, 1);
    assert_int_equal(rig_ask(r, r->store, flush), ERR_STALE);
    assert_false(flush->found);
    assert_int_equal(flush->row.epoch, 0);
    store_req_free(flush);
    struct store_req *claim = rig_claimed(r, c, 1);
    assert_false(claim->found);
    assert_int_equal(claim->n_rows, 0);
    store_req_free(claim);
}

/* After a handoff the first flush is what raises the row. */
static void a_flush_under_a_higher_epoch_raises_the_fence(void **state)
{
    (void)state;
    struct cell_pos c = fresh_cell();
    claim_as(c, 1);
    assert_int_equal(ask_free(req_flush(r, c, 6, 1, NULL, 0)), ERR_OK);
    assert_int_equal(ask_free(req_flush(r, c, 5, 2, NULL, 0)), ERR_STALE);
    assert_int_equal(ask_free(req_claim(r, c, 6)), ERR_STALE);
}

/* A flush whose answer was lost is sent again; it may land after a later one. */
static void a_late_or_doubled_flush_takes_nothing_back(void **state)
{
    (void)state;
    struct cell_pos c = fresh_cell();
    int32_t x = x_in(c, 9), z = z_in(c, 9);
    const struct row old[] = {block_row(x, 9, z, 1, 1, 1), light_row(x, 9, z, 1, 2), sign_row(x, 9, z, 1, "old", 3)};
    const struct row new[] = {block_row(x, 9, z, 2, 2, 4), light_row(x, 9, z, 0, 5), sign_row(x, 9, z, 1, "new", 6)};
    claim_as(c, 1);
    struct store_req *first = req_flush(r, c, 1, 3, old, 3);
    first->row.clean = true;
    first->row.seen = blob_new("old", 3);
    struct store_req *second = req_flush(r, c, 1, 6, new, 3);
    second->row.key_floor = 2;
    second->row.seen = blob_new("newer", 5);
    assert_int_equal(rig_ask(r, r->store, second), ERR_OK);
    assert_int_equal(rig_ask(r, r->store, first), ERR_OK);
    assert_int_equal(rig_ask(r, r->store, second), ERR_OK);
    assert_int_equal(rig_ask(r, r->store, first), ERR_OK);
    store_req_free(first);
    store_req_free(second);
    struct store_req *now = rig_claimed(r, c, 2);
    assert_int_equal(now->n_rows, 3);
    for (unsigned k = 0; k < 3; k++)
        assert_non_null(rows_find(now, &new[k]));
    assert_int_equal(now->row.rev, 6);
    assert_int_equal(now->row.key_floor, 2);
    assert_false(now->row.clean);
    assert_int_equal(now->row.seen->len, 5);
    store_req_free(now);
}

static void a_cell_is_read_to_its_edges_and_no_further(void **state)
{
    (void)state;
    const struct cell_pos cells[] = {
        {-90001, -90001}, {-90000, -90001}, {-90001, -90000}, {-90000, -90000}, {-90000, -90002}};
    for (unsigned k = 0; k < 5; k++) {
        const struct row corners[] = {
            block_row(x_in(cells[k], 0), 1, z_in(cells[k], 0), 1, 1, 1),
            block_row(x_in(cells[k], 127), 1, z_in(cells[k], 0), 1, 1, 2),
            light_row(x_in(cells[k], 0), 1, z_in(cells[k], 127), 1, 3),
            sign_row(x_in(cells[k], 127), 1, z_in(cells[k], 127), 2, "corner", 4),
        };
        claim_as(cells[k], 1);
        assert_int_equal(ask_free(req_flush(r, cells[k], 1, 4, corners, 4)), ERR_OK);
    }
    for (unsigned k = 0; k < 5; k++) {
        struct store_req *req = rig_claimed(r, cells[k], 2);
        assert_int_equal(req->n_rows, 4);
        for (unsigned n = 0; n < req->n_rows; n++)
            assert_true(cell_eq(cell_of_block(req->rows[n].at.x, req->rows[n].at.z), cells[k]));
        store_req_free(req);
    }
}

static void a_row_that_cannot_be_is_refused_and_named(void **state)
{
    (void)state;
    struct cell_pos c = fresh_cell();
    struct row rows[] = {
        block_row(x_in(c, 0), 1, z_in(c, 0), 1, 1, 1),
        block_row(x_in(c, 1), 1, z_in(c, 0), 1, 1, 2),
    };
    claim_as(c, 1);
    const struct row bad[] = {
        block_row(x_in(c, 1), 256, z_in(c, 0), 1, 1, 2),   block_row(x_in(c, -1), 1, z_in(c, 0), 1, 1, 2),
        light_row(x_in(c, 1), 1, z_in(c, 0), 16, 2),       sign_row(x_in(c, 1), 1, z_in(c, 0), 8, "", 2),
        sign_row(x_in(c, 1), 1, z_in(c, 0), 0, "\xff", 2), block_row(x_in(c, 1), 1, z_in(c, 0), 1, 1, UINT64_MAX),
    };
    for (unsigned k = 0; k < sizeof(bad) / sizeof(*bad); k++) {
        rows[1] = bad[k];
        struct store_req *flush = req_flush(r, c, 1, 2, rows, 2);
        assert_int_equal(rig_ask(r, r->store, flush), ERR_REFUSED);
        assert_int_equal(flush->row_refused, 1);
        store_req_free(flush);
    }
    struct store_req *now = rig_claimed(r, c, 2);
    assert_int_equal(now->n_rows, 0);
    store_req_free(now);
}

static bool refuses_42(const struct row *row, void *arg)
{
    (void)arg;
    return row->kind == ROW_BLOCK && row->w == 42;
}

static void refuse_42(bool on)
{
    if (r->kind == RIG_MODEL)
        model_store_refuse(r->model, on ? refuses_42 : NULL, NULL);
    else if (r->kind == RIG_POSTGRES)
        rig_sql(r, on ? "ALTER TABLE block ADD CONSTRAINT no_42 CHECK (w <> 42)"
                      : "ALTER TABLE block DROP CONSTRAINT no_42");
    else
        rig_sql(r, on ? "CREATE TRIGGER no_42 BEFORE INSERT ON block WHEN NEW.w = 42 "
                        "BEGIN SELECT RAISE(ABORT, 'no 42'); END"
                      : "DROP TRIGGER no_42");
}

/* One poisoned row must not hold up the others for ever: the caller takes it out and goes on. */
static void the_row_that_the_database_refuses_is_named(void **state)
{
    (void)state;
    struct cell_pos c = fresh_cell(), other = fresh_cell();
    struct row rows[200];
    for (int32_t k = 0; k < 200; k++)
        rows[k] = k % 3 == 1 ? light_row(x_in(c, k % 100), 1, z_in(c, k), 3, (uint64_t)k + 1)
                             : block_row(x_in(c, k % 100), 2, z_in(c, k % 128), 3, 1, (uint64_t)k + 1);
    for (unsigned k = 128; k < 200; k++)
        rows[k].at.z = z_in(c, 5);
    rows[141].kind = ROW_BLOCK;
    rows[141].w = 42;
    claim_as(c, 1);
    claim_as(other, 1);
    refuse_42(true);
    struct store_req *poisoned = req_flush(r, c, 1, 200, rows, 200);
    struct row fine = block_row(x_in(other, 1), 1, z_in(other, 1), 1, 1, 1);
    struct store_req *healthy = req_flush(r, other, 1, 1, &fine, 1);
    rig_submit(r, r->store, poisoned);
    rig_submit(r, r->store, healthy);
    rig_finish(r);
    assert_int_equal(poisoned->err, ERR_REFUSED);
    assert_int_equal(poisoned->row_refused, 141);
    assert_int_equal(healthy->err, ERR_OK);
    assert_true(r->store->ops->healthy(r->store));
    poisoned->rows[141].w = 41;
    assert_int_equal(rig_ask(r, r->store, poisoned), ERR_OK);
    refuse_42(false);
    store_req_free(poisoned);
    store_req_free(healthy);
}

static void requests_that_make_no_sense_are_answered_bad(void **state)
{
    (void)state;
    struct cell_pos c = fresh_cell();
    assert_int_equal(ask_free(req_claim(r, c, 0)), ERR_BAD);
    assert_int_equal(ask_free(req_claim(r, c, UINT64_MAX)), ERR_BAD);
    assert_int_equal(ask_free(req_claim(r, (struct cell_pos){INT32_MAX, 0}, 1)), ERR_BAD);
    assert_int_equal(ask_free(req_flush(r, c, 1, UINT64_MAX, NULL, 0)), ERR_BAD);
    struct store_req *floor = req_flush(r, c, 1, 1, NULL, 0);
    floor->row.key_floor = (uint32_t)KEY_MAX + 1;
    assert_int_equal(ask_free(floor), ERR_BAD);
    struct store_req *huge = req_flush(r, c, 1, 1, NULL, 0);
    huge->n_rows = STORE_ROWS_MAX + 1;
    assert_int_equal(ask_free(huge), ERR_TOO_BIG);
    struct store_req *nobody = req_visit(r, "x");
    nobody->n_places = 0;
    assert_int_equal(ask_free(nobody), ERR_BAD);
    assert_int_equal(ask_free(req_visit(r, "")), ERR_REFUSED);
    assert_int_equal(ask_free(req_visit(r, "a\nb")), ERR_REFUSED);
    assert_int_equal(ask_free(req_place(r, "nan", 1, 1, 0.0f / 0.0f)), ERR_REFUSED);
}

static void check_visit(const char *account, uint64_t visit, bool found, float x)
{
    struct store_req *req = req_visit(r, account);
    assert_int_equal(rig_ask(r, r->store, req), ERR_OK);
    assert_int_equal(req->places[0].visit, visit);
    assert_int_equal(req->found, found);
    if (found) {
        assert_float_equal(req->places[0].place.x, x, 0);
        assert_float_equal(req->places[0].place.y, 40.5, 0);
        assert_float_equal(req->places[0].place.ry, -0.125, 0);
    }
    store_req_free(req);
}

static void a_visit_resumes_at_the_last_place(void **state)
{
    (void)state;
    check_visit("ann", 1, false, 0);
    check_visit("ann", 2, false, 0);
    assert_int_equal(ask_free(req_place(r, "ann", 2, 1, 17.25f)), ERR_OK);
    check_visit("ann", 3, true, 17.25f);
    check_visit("Ann", 1, false, 0); /* somebody else */
    check_visit("o'ann \"{}\\,", 1, false, 0);
}

/* Saves are lazy: the one of an earlier visit, from another node, may come after the later one's. */
static void a_late_save_does_not_win(void **state)
{
    (void)state;
    check_visit("bob", 1, false, 0);
    assert_int_equal(ask_free(req_place(r, "bob", 1, 50, 1)), ERR_OK);
    check_visit("bob", 2, true, 1);
    assert_int_equal(ask_free(req_place(r, "bob", 2, 1, 2)), ERR_OK);  /* counts start anew with the visit */
    assert_int_equal(ask_free(req_place(r, "bob", 1, 99, 3)), ERR_OK); /* an earlier visit */
    assert_int_equal(ask_free(req_place(r, "bob", 2, 1, 4)), ERR_OK);  /* not higher */
    check_visit("bob", 3, true, 2);
    assert_int_equal(ask_free(req_place(r, "new", 8, 1, 5)), ERR_OK); /* a store that was restored has not met it */
    check_visit("new", 9, true, 5);
}

static void places_of_many_are_saved_at_once(void **state)
{
    (void)state;
    struct store_req *save = store_req_new(STORE_SAVE_PLACES, NULL, NULL);
    struct store_req *shape = req_place(r, "p", 1, 1, 1);
    save->done = shape->done;
    save->n_places = 300;
    save->places = arena_zalloc(save->arena, 300 * sizeof(*save->places));
    for (unsigned k = 0; k < 300; k++) {
        save->places[k] = shape->places[0];
        save->places[k].count = k;
        save->places[k].place.x = (float)k;
        snprintf(save->places[k].account, sizeof(save->places[k].account), "many%u", k / 2); /* each one twice */
    }
    store_req_free(shape);
    assert_int_equal(ask_free(save), ERR_OK);
    check_visit("many0", 2, true, 1);
    check_visit("many149", 2, true, 299);
}

/* Whatever is committed together, or sent without waiting: each request stands alone. */
static void requests_in_flight_together_fail_alone(void **state)
{
    (void)state;
    enum { N = 300 };
    struct store_req *reqs[N];
    struct cell_pos cells[N];
    for (unsigned k = 0; k < N; k++) {
        cells[k] = fresh_cell();
        rig_submit(r, r->store, reqs[k] = req_claim(r, cells[k], 5));
    }
    rig_finish(r);
    for (unsigned k = 0; k < N; k++) {
        assert_int_equal(reqs[k]->err, ERR_OK);
        store_req_free(reqs[k]);
        struct row row = block_row(x_in(cells[k], 3), 3, z_in(cells[k], 3), 3, 1, 1);
        rig_submit(r, r->store, reqs[k] = req_flush(r, cells[k], k % 3 == 1 ? 4 : 5, 1, &row, 1));
    }
    rig_finish(r);
    for (unsigned k = 0; k < N; k++) {
        assert_int_equal(reqs[k]->err, k % 3 == 1 ? ERR_STALE : ERR_OK);
        store_req_free(reqs[k]);
        struct store_req *now = rig_claimed(r, cells[k], 6);
        assert_int_equal(now->n_rows, k % 3 != 1);
        store_req_free(now);
    }
}

static void requests_of_one_cell_are_carried_out_in_order(void **state)
{
    (void)state;
    struct cell_pos c = fresh_cell();
    struct row first = block_row(x_in(c, 3), 3, z_in(c, 3), 3, 1, 1),
               second = block_row(x_in(c, 3), 3, z_in(c, 3), 4, 2, 2);
    struct store_req *reqs[] = {req_claim(r, c, 1), req_flush(r, c, 1, 1, &first, 1), req_claim(r, c, 2),
                                req_flush(r, c, 1, 2, &second, 1)};
    for (unsigned k = 0; k < 4; k++)
        rig_submit(r, r->store, reqs[k]);
    rig_finish(r);
    assert_int_equal(reqs[0]->n_rows, 0);
    assert_int_equal(reqs[1]->err, ERR_OK);
    assert_int_equal(reqs[2]->n_rows, 1);
    assert_int_equal(reqs[3]->err, ERR_STALE);
    for (unsigned k = 0; k < 4; k++)
        store_req_free(reqs[k]);
}

/* A node that floods its store is told, and loses nothing that was taken. */
static void too_many_requests_are_told_full(void **state)
{
    (void)state;
    if (r->kind == RIG_MODEL)
        return;
    enum { N = STORE_QUEUE_MAX + 100 };
    struct cell_pos c = fresh_cell();
    static struct store_req *reqs[N];
    for (unsigned k = 0; k < N; k++)
        rig_submit(r, r->store, reqs[k] = req_raise(r, c, k + 1));
    rig_finish(r);
    unsigned n_full = 0;
    for (unsigned k = 0; k < N; k++) {
        assert_true(reqs[k]->err == ERR_OK || reqs[k]->err == ERR_FULL);
        n_full += reqs[k]->err == ERR_FULL;
        store_req_free(reqs[k]);
    }
    assert_true(n_full >= 100);
}

/* Somebody edited the database by hand: the rows that make no sense are left out, counted, and harm nobody. */
static void broken_rows_are_left_out(void **state)
{
    (void)state;
    if (r->kind == RIG_MODEL)
        return;
    struct cell_pos c = fresh_cell();
    struct row good = block_row(x_in(c, 3), 3, z_in(c, 3), 3, 1, 1);
    claim_as(c, 1);
    assert_int_equal(ask_free(req_flush(r, c, 1, 1, &good, 1)), ERR_OK);
    int32_t p = c.i * 4, q = c.j * 4, x = x_in(c, 0), z = z_in(c, 0);
    const char *tables[] = {"block (p, q, x, y, z, w, key, rev)", "light (p, q, x, y, z, w, rev)",
                            "sign (p, q, x, y, z, face, text, rev)"};
    const char *values[] = {"999, 1, 1", "16, 1", "0, 'caf\xc3\xa9', 1"};
    const char *wrong_chunk[] = {"3, 1, 1", "3, 1", "0, 'here', 1"};
    const char *no_such_y[] = {"3, 1, 1", "3, 1", "9, 'face', 1"};
    char sql[256];
    for (unsigned k = 0; k < 3; k++) {
        snprintf(sql, sizeof(sql), "INSERT INTO %s VALUES (%d, %d, %d, 5, %d, %s)", tables[k], p, q, x, z, values[k]);
        rig_sql(r, sql);
        snprintf(sql, sizeof(sql), "INSERT INTO %s VALUES (%d, %d, %d, 5, %d, %s)", tables[k], p + 1, q, x, z,
                 wrong_chunk[k]);
        rig_sql(r, sql);
        snprintf(sql, sizeof(sql), "INSERT INTO %s VALUES (%d, %d, %d, -5, %d, %s)", tables[k], p, q, x, z,
                 no_such_y[k]);
        rig_sql(r, sql);
    }
    const struct metric *count =
        metrics_counter("spotcraft_store_broken_rows_total", "Stored rows that made no sense, left out.", NULL);
    double before = metric_value(count);
    struct store_req *now = rig_claimed(r, c, 2);
    assert_int_equal(now->n_rows, 1);
    assert_non_null(rows_find(now, &good));
    assert_true(metric_value(count) == before + 9);
    store_req_free(now);
}

/* ---- against the model ---- */

static struct store_req *random_request(struct rng *rng, const struct cell_pos *cells)
{
    static const char *const texts[] = {"", "a", "it's \"{,}\\\""};
    static const char *const accounts[] = {"d1", "d2", "d3"};
    struct cell_pos c = cells[rng_below(rng, 3)];
    uint64_t epoch = 1 + rng_below(rng, 12);
    struct row rows[8];
    unsigned n = 0;
    switch (rng_below(rng, 6)) {
    case 0:
        return req_claim(r, c, epoch);
    case 1:
        return req_raise(r, c, epoch);
    case 2:
        return req_visit(r, accounts[rng_below(rng, 3)]);
    case 3:
        return req_place(r, accounts[rng_below(rng, 3)], rng_below(rng, 6), rng_below(rng, 4),
                         (float)rng_below(rng, 9));
    default:
        break;
    }
    for (int32_t k = 0; k < 8; k++) {
        int32_t x = x_in(c, k * 18), z = z_in(c, (int32_t)rng_below(rng, 2) * 100);
        uint64_t rev = 1 + rng_below(rng, 30);
        uint32_t kind = rng_below(rng, 4);
        if (kind == ROW_BLOCK)
            rows[n++] = block_row(x, 7, z, (int16_t)rng_below(rng, 64), rng_below(rng, 9), rev);
        else if (kind == ROW_LIGHT)
            rows[n++] = light_row(x, 7, z, (int16_t)rng_below(rng, 16), rev);
        else if (kind == ROW_SIGN)
            rows[n++] = sign_row(x, 7, z, (uint8_t)rng_below(rng, 8), texts[rng_below(rng, 3)], rev);
    }
    struct store_req *flush = req_flush(r, c, epoch, 1 + rng_below(rng, 30), rows, n);
    flush->row.generation = rng_below(rng, 4);
    flush->row.key_floor = rng_below(rng, 4);
    flush->row.clean = rng_below(rng, 2);
    flush->row.seen = rng_below(rng, 2) ? blob_new("seen", 1 + rng_below(rng, 4)) : NULL;
    return flush;
}

static struct store_req *copy_request(const struct store_req *req)
{
    struct store_req *copy = store_req_new(req->op, req->done, req->arg);
    copy->cell = req->cell;
    copy->row = req->row;
    copy->row.seen = req->row.seen ? blob_ref(req->row.seen) : NULL;
    copy->n_rows = req->n_rows;
    copy->rows = arena_alloc(copy->arena, req->n_rows * sizeof(struct row));
    if (req->n_rows)
        memcpy(copy->rows, req->rows, req->n_rows * sizeof(struct row));
    copy->n_places = req->n_places;
    copy->places = arena_alloc(copy->arena, req->n_places * sizeof(struct store_place));
    if (req->n_places)
        memcpy(copy->places, req->places, req->n_places * sizeof(struct store_place));
    return copy;
}

/* By value: SQLite keeps no sign of a zero. */
static bool same_place(const struct place *a, const struct place *b)
{
    return a->x == b->x && a->y == b->y && a->z == b->z && a->rx == b->rx && a->ry == b->ry;
}

static void check_same_answer(const struct store_req *a, const struct store_req *b)
{
    assert_int_equal(a->err, b->err);
    assert_int_equal(a->found, b->found);
    assert_int_equal(a->row.epoch, b->row.epoch);
    assert_int_equal(a->row.generation, b->row.generation);
    assert_int_equal(a->row.rev, b->row.rev);
    assert_int_equal(a->row.key_floor, b->row.key_floor);
    assert_int_equal(a->row.clean, b->row.clean);
    assert_int_equal(a->row.seen != NULL, b->row.seen != NULL);
    if (a->row.seen) {
        assert_int_equal(a->row.seen->len, b->row.seen->len);
        assert_memory_equal(a->row.seen->data, b->row.seen->data, a->row.seen->len);
    }
    assert_int_equal(a->n_rows, b->n_rows);
    for (unsigned k = 0; k < a->n_rows; k++)
        assert_non_null(rows_find(b, &a->rows[k]));
    for (unsigned k = 0; k < a->n_places && a->op == STORE_VISIT; k++) {
        assert_int_equal(a->places[k].visit, b->places[k].visit);
        if (a->found)
            assert_true(same_place(&a->places[k].place, &b->places[k].place));
    }
}

static void any_requests_are_answered_as_the_model_does(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 20260131);
    for (unsigned round = 0; round < 40; round++) {
        struct model_store *model = model_store_new();
        struct cell_pos cells[] = {fresh_cell(), fresh_cell(), fresh_cell()};
        if (r->kind == RIG_MODEL)
            model_store_restore(r->model, model); /* so that the players begin anew, as below */
        else
            rig_sql(r, "DELETE FROM player");
        for (unsigned k = 0; k < 60; k++) {
            struct store_req *req = random_request(&rng, cells), *copy = copy_request(req);
            rig_ask(r, r->store, req);
            model_store_apply(model, copy);
            check_same_answer(req, copy);
            store_req_free(req);
            store_req_free(copy);
        }
        model_store_free(model);
    }
}

/* ---- the model alone ---- */

static void a_restored_model_is_what_it_was(void **state)
{
    (void)state;
    if (r->kind != RIG_MODEL)
        return;
    struct cell_pos c = fresh_cell();
    struct row sign = sign_row(x_in(c, 1), 1, z_in(c, 1), 1, "kept", 1);
    struct row later = sign_row(x_in(c, 1), 1, z_in(c, 1), 1, "lost", 2);
    claim_as(c, 1);
    assert_int_equal(ask_free(req_flush(r, c, 1, 1, &sign, 1)), ERR_OK);
    assert_int_equal(ask_free(req_place(r, "kept", 1, 1, 1)), ERR_OK);
    struct model_store *backup = model_store_copy(r->model);
    assert_int_equal(ask_free(req_flush(r, c, 1, 2, &later, 1)), ERR_OK);
    assert_int_equal(ask_free(req_place(r, "lost", 1, 1, 1)), ERR_OK);
    model_store_restore(r->model, backup);
    model_store_free(backup);
    assert_string_equal(model_store_row(r->model, ROW_SIGN, sign.at, 1)->text, "kept");
    assert_int_equal(model_store_cell(r->model, c)->rev, 1);
    bool saved;
    assert_non_null(model_store_place(r->model, "kept", &saved));
    assert_true(saved);
    assert_null(model_store_place(r->model, "lost", &saved));
}

static int start_model(void **state)
{
    (void)state;
    rig_start(r, RIG_MODEL);
    return 0;
}

static int start_sqlite(void **state)
{
    (void)state;
    rig_start(r, RIG_SQLITE);
    return 0;
}

static int start_postgres(void **state)
{
    (void)state;
    rig_start(r, RIG_POSTGRES);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    rig_stop(r);
    return 0;
}

int main(void)
{
    alarm(60);
    log_set_level(LOG_ERROR);
    log_set_fd(-1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_claim_of_a_new_cell_finds_nothing),
        cmocka_unit_test(what_was_flushed_comes_back_with_the_next_claim),
        cmocka_unit_test(a_claim_or_raise_makes_the_cell_unclean),
        cmocka_unit_test(a_claim_must_be_higher_and_is_told_what_is),
        cmocka_unit_test(a_raise_may_be_equal_and_reads_no_rows),
        cmocka_unit_test(a_flush_under_a_lower_epoch_changes_nothing),
        cmocka_unit_test(a_flush_of_a_cell_that_nobody_claimed_is_stale),
        cmocka_unit_test(a_flush_under_a_higher_epoch_raises_the_fence),
        cmocka_unit_test(a_late_or_doubled_flush_takes_nothing_back),
        cmocka_unit_test(a_cell_is_read_to_its_edges_and_no_further),
        cmocka_unit_test(a_row_that_cannot_be_is_refused_and_named),
        cmocka_unit_test(the_row_that_the_database_refuses_is_named),
        cmocka_unit_test(requests_that_make_no_sense_are_answered_bad),
        cmocka_unit_test(a_visit_resumes_at_the_last_place),
        cmocka_unit_test(a_late_save_does_not_win),
        cmocka_unit_test(places_of_many_are_saved_at_once),
        cmocka_unit_test(requests_in_flight_together_fail_alone),
        cmocka_unit_test(requests_of_one_cell_are_carried_out_in_order),
        cmocka_unit_test(too_many_requests_are_told_full),
        cmocka_unit_test(broken_rows_are_left_out),
        cmocka_unit_test(a_restored_model_is_what_it_was),
        cmocka_unit_test(any_requests_are_answered_as_the_model_does),
    };
    int failed = cmocka_run_group_tests_name("store: model", tests, start_model, stop);
    failed += cmocka_run_group_tests_name("store: sqlite", tests, start_sqlite, stop);
    if (postgres_installed())
        failed += cmocka_run_group_tests_name("store: postgres", tests, start_postgres, stop);
    else
        puts("SKIPPED: the store on PostgreSQL, as there is no server installed");
    metrics_free();
    return failed;
}
