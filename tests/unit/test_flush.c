/* Committed rows to the store, the journal behind them, and the way out of a cell. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <unistd.h>

#include "proto/base/log.h"
#include "proto/base/metrics.h"
#include "tests/lib/node_rig.h"

static const struct cell_pos home = {0, 0};

static int teardown(void **state)
{
    node_rig_free(*state);
    return 0;
}

/* One node; flushes come every 300 ms. */
static int setup(void **state)
{
    struct node_settings s;
    node_settings_default(&s);
    s.flush_ms = 300;
    s.idle_cell_ms = 1000;
    struct node_rig *r = *state = node_rig_new_with(&s, 1);
    return node_rig_enter(r, home, 0) ? 0 : -1;
}

static void build(struct node_rig *r, unsigned edits)
{
    for (unsigned k = 0; k < edits; k++) {
        node_rig_edit(r, home);
        node_rig_pass(r, 3);
    }
}

static unsigned journal(struct node_rig *r)
{
    const struct coord_batch *b;
    return model_redis_journal(r->redis, home, &b);
}

static void rows_go_to_the_store_and_the_journal_is_trimmed(void **state)
{
    struct node_rig *r = *state;
    node_rig_pass(r, 1000);
    r->node[0].rows[STORE_FLUSH] = FATE_KEPT;
    build(r, 10);
    assert_int_equal(journal(r), 10);
    assert_true(model_redis_dirty(r->redis, home));
    r->node[0].rows[STORE_FLUSH] = FATE_DONE;
    node_rig_pass(r, 1000);
    assert_int_equal(journal(r), 0);
    assert_false(model_redis_dirty(r->redis, home));
    assert_int_equal(model_store_cell(r->store, home)->rev, 10);
    assert_true(node_rig_check(r));
}

static void a_flush_that_is_not_heard_goes_again(void **state)
{
    struct node_rig *r = *state;
    r->node[0].rows[STORE_FLUSH] = FATE_UNHEARD;
    build(r, 10);
    node_rig_pass(r, 1000);
    assert_int_equal(journal(r), 10); /* nobody knows that the store has them */
    r->node[0].rows[STORE_FLUSH] = FATE_LOST;
    build(r, 10);
    node_rig_pass(r, 1000);
    assert_int_equal(journal(r), 20);
    assert_true(node_rig_check(r));
    node_rig_pass(r, 500);
    assert_int_equal(journal(r), 0);
}

/* The fence: whoever has a higher epoch in the store has the cell. */
static void a_stale_flush_changes_nothing_and_drops_the_cell(void **state)
{
    struct node_rig *r = *state;
    node_rig_pass(r, 1000);
    r->node[0].rows[STORE_FLUSH] = FATE_KEPT;
    build(r, 3);
    node_rig_pass(r, 400);
    struct store_req *req = store_req_new(STORE_RAISE, NULL, NULL);
    req->cell = home;
    req->row.epoch = 9;
    model_store_apply(r->store, req);
    store_req_free(req);
    r->node[0].rows[STORE_FLUSH] = FATE_DONE;
    node_rig_pass(r, 2);
    assert_null(node_rig_owned(r, 0, home));
    assert_int_equal(model_store_cell(r->store, home)->rev, 0);
    assert_true(node_rig_check(r)); /* claimed above it, and replayed */
    assert_true(node_rig_owned(r, 0, home)->epoch > 9);
}

static bool is_bedrock(const struct row *row, void *arg)
{
    (void)arg;
    return row->w == 5;
}

static void a_row_that_the_store_refuses_goes_to_quarantine_and_the_others_to_the_store(void **state)
{
    struct node_rig *r = *state;
    model_store_refuse(r->store, is_bedrock, NULL);
    build(r, 10);
    node_rig_pass(r, 3000);
    assert_int_equal(model_redis_quarantined(r->redis), 1);
    assert_int_equal(journal(r), 0);
    for (unsigned k = 0; k < r->n_edits; k++) {
        const struct row *row = model_store_row(r->store, ROW_BLOCK, r->edits[k].edit.at, 0);
        assert_int_equal(row != NULL, r->edits[k].edit.w != 5);
    }
}

static void a_cell_that_nobody_watches_is_released_clean(void **state)
{
    struct node_rig *r = *state;
    build(r, 10);
    struct cell_pos cells[] = {home};
    struct msg m = {.kind = MSG_UNSUBSCRIBE};
    m.unsubscribe.cells = cells;
    m.unsubscribe.n = 1;
    node_rig_say(r, 0, &m);
    node_rig_pass(r, 500);
    assert_non_null(node_rig_owned(r, 0, home));
    node_rig_pass(r, 2000);
    assert_null(node_rig_owned(r, 0, home));
    uint64_t owner, epoch, nr;
    assert_false(model_redis_cell(r->redis, home, &owner, &epoch, &nr));
    assert_int_equal(journal(r), 0);
    const struct store_cell *c = model_store_cell(r->store, home);
    assert_true(c->clean && c->rev == 10);
    assert_true(node_rig_enter(r, home, 0));
    build(r, 5);
    assert_true(node_rig_check(r));
}

static void a_release_waits_for_the_store_and_redis(void **state)
{
    struct node_rig *r = *state;
    build(r, 10);
    r->node[0].rows[STORE_FLUSH] = FATE_LOST;
    flush_release(r->node[0].node, node_rig_owned(r, 0, home));
    node_rig_pass(r, 1000);
    assert_int_equal(node_rig_owned(r, 0, home)->state, OWN_RELEASING);
    r->node[0].rows[STORE_FLUSH] = FATE_DONE;
    r->node[0].redis[COORD_RELEASE] = FATE_UNHEARD;
    node_rig_pass(r, 1000);
    assert_true(node_rig_check(r));
}

int main(void)
{
    alarm(60);
    log_set_fd(-1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rows_go_to_the_store_and_the_journal_is_trimmed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_flush_that_is_not_heard_goes_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stale_flush_changes_nothing_and_drops_the_cell, setup, teardown),
        cmocka_unit_test_setup_teardown(a_row_that_the_store_refuses_goes_to_quarantine_and_the_others_to_the_store,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_cell_that_nobody_watches_is_released_clean, setup, teardown),
        cmocka_unit_test_setup_teardown(a_release_waits_for_the_store_and_redis, setup, teardown),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    metrics_free();
    return failed;
}
