/* A cell from nobody's to served: who gets it, under which epoch, with what in it. */
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

static int setup(void **state)
{
    *state = node_rig_new();
    return 0;
}

static void build(struct node_rig *r, unsigned edits)
{
    for (unsigned k = 0; k < edits; k++) {
        node_rig_edit(r, home);
        node_rig_pass(r, 3);
    }
}

static void a_cell_that_nobody_owns_is_claimed(void **state)
{
    struct node_rig *r = *state;
    assert_true(node_rig_enter(r, home, 1));
    uint64_t owner, epoch, nr;
    assert_true(model_redis_cell(r->redis, home, &owner, &epoch, &nr));
    assert_true(owner == r->node[1].id && epoch == 1);
    build(r, 20);
    assert_true(node_rig_check(r));
}

static void a_living_owner_keeps_its_cell(void **state)
{
    struct node_rig *r = *state;
    assert_true(node_rig_enter(r, home, 1));
    assert_true(node_rig_enter(r, home, 2)); /* it says whose it is */
    assert_null(node_rig_owned(r, 2, home));
    assert_int_equal(node_rig_owned(r, 1, home)->epoch, 1);
    assert_true(node_rig_check(r));
}

/* Nothing was flushed: what is there comes from the journal alone. */
static void a_dead_nodes_cell_is_replayed(void **state)
{
    struct node_rig *r = *state;
    assert_true(node_rig_enter(r, home, 1));
    r->node[1].rows[STORE_FLUSH] = FATE_KEPT;
    build(r, 40);
    node_rig_kill(r, 1);
    assert_true(node_rig_check(r));
}

static void a_store_that_knows_a_higher_epoch_is_claimed_above(void **state)
{
    struct node_rig *r = *state;
    struct store_req *req = store_req_new(STORE_RAISE, NULL, NULL);
    req->cell = home;
    req->row.epoch = 41;
    model_store_apply(r->store, req);
    assert_int_equal(req->err, ERR_OK);
    store_req_free(req);
    assert_true(node_rig_enter(r, home, 0));
    assert_int_equal(node_rig_owned(r, 0, home)->epoch, 42);
    build(r, 5);
    assert_true(node_rig_check(r));
}

static void each_step_that_is_not_answered_is_tried_again(void **state)
{
    static const enum coord_op ops[] = {COORD_OWNERS, COORD_CLAIM, COORD_JOURNAL};
    struct node_rig *r = *state;
    for (unsigned k = 0; k < 3; k++) {
        struct cell_pos at = {(int32_t)k * 9, 0};
        r->node[0].redis[ops[k]] = k == 1 ? FATE_UNHEARD : FATE_LOST;
        r->node[0].rows[STORE_CLAIM] = k == 2 ? FATE_UNHEARD : FATE_DONE;
        struct msg_want want = {.cell = at, .redirected = true};
        claim_want(r->node[0].node, 0, &want);
        node_rig_pass(r, 600);
        assert_true(node_rig_owned(r, 0, at)->state < OWN_SERVING);
        node_rig_redis(r, 0, FATE_DONE);
        r->node[0].rows[STORE_CLAIM] = FATE_DONE;
        assert_true(node_rig_until_serving(r, 0, at));
    }
}

/* Owners restore what they hold first. */
static void claims_wait_while_they_are_closed(void **state)
{
    struct node_rig *r = *state;
    assert_true(node_rig_enter(r, home, 0));
    build(r, 10);
    model_redis_restart_empty(r->redis);
    node_rig_pass(r, 1500); /* all have heard of it */
    struct msg_want want = {.cell = {9, 9}, .redirected = true};
    claim_want(r->node[1].node, 0, &want);
    node_rig_pass(r, 1000);
    assert_true(node_rig_owned(r, 1, want.cell)->state < OWN_LOADING);
    assert_true(node_rig_until_serving(r, 1, want.cell));
    assert_true(node_rig_check(r));
}

static void a_node_that_leaves_claims_nothing(void **state)
{
    struct node_rig *r = *state;
    assert_true(node_drain(r->node[0].node));
    node_rig_pass(r, 100);
    assert_true(node_rig_enter(r, home, 0)); /* by way of another */
    assert_null(node_rig_owned(r, 0, home));
    assert_true(node_rig_check(r));
}

int main(void)
{
    alarm(60);
    log_set_fd(-1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_cell_that_nobody_owns_is_claimed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_living_owner_keeps_its_cell, setup, teardown),
        cmocka_unit_test_setup_teardown(a_dead_nodes_cell_is_replayed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_store_that_knows_a_higher_epoch_is_claimed_above, setup, teardown),
        cmocka_unit_test_setup_teardown(each_step_that_is_not_answered_is_tried_again, setup, teardown),
        cmocka_unit_test_setup_teardown(claims_wait_while_they_are_closed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_node_that_leaves_claims_nothing, setup, teardown),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    metrics_free();
    return failed;
}
