/* A cell that moved to make the load even stays for a minute; one that came because its node left may move on. */
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

enum { CELLS = 30, BALANCED_MS = 20000 };

/* Node 0 has all cells; so many nodes run. */
static struct node_rig *world_of(unsigned nodes)
{
    struct node_settings s;
    node_settings_default(&s);
    struct node_rig *r = node_rig_new_with(&s, nodes);
    for (int k = 0; k < CELLS; k++)
        assert_true(node_rig_enter(r, (struct cell_pos){k % 6, k / 6}, 0));
    return r;
}

static int teardown(void **state)
{
    node_rig_free(*state);
    return 0;
}

struct share {
    unsigned node, cells;
};

static bool has_share(struct node_rig *r, void *arg)
{
    const struct share *s = arg;
    return node_rig_serving(r, s->node) >= s->cells;
}

static bool is_gone(struct node_rig *r, void *arg)
{
    return !r->node[*(unsigned *)arg].node;
}

/* A node is replaced: the new one shall not stay empty for a minute because the others just took what was there. */
static void what_came_from_a_node_that_left_moves_on(void **state)
{
    struct node_rig *r = *state = world_of(3);
    unsigned gone = 0;
    node_notice(r->node[0].node, NOTICE_LIFECYCLE, 0);
    assert_true(node_rig_until(r, is_gone, &gone, 5000, "node 0 to leave"));
    node_rig_pass(r, 50);
    assert_int_equal(node_rig_serving(r, 1) + node_rig_serving(r, 2), CELLS);
    node_rig_start(r, 0);
    struct share fair = {0, CELLS / 6};
    assert_true(node_rig_until(r, has_share, &fair, BALANCED_MS, "the new one to get its share"));
    assert_true(node_rig_check(r));
}

/* Drained for a moment, and back: nothing that left it is held back. */
static void what_came_from_a_node_that_was_drained_goes_back(void **state)
{
    struct node_rig *r = *state = world_of(3);
    assert_true(node_drain(r->node[0].node));
    node_rig_pass(r, 3000);
    assert_int_equal(node_rig_serving(r, 0), 0);
    node_undrain(r->node[0].node);
    struct share fair = {0, CELLS / 6};
    assert_true(node_rig_until(r, has_share, &fair, BALANCED_MS, "the drained one to get its share"));
    assert_true(node_rig_check(r));
}

static void what_came_for_balance_stays(void **state)
{
    struct node_rig *r = *state = world_of(2);
    struct share some = {1, CELLS / 4};
    assert_true(node_rig_until(r, has_share, &some, BALANCED_MS, "node 1 to get its share"));
    node_rig_pass(r, 2000);
    unsigned settled = node_rig_serving(r, 1);
    node_rig_start(r, 2); /* it is given cells, but not these */
    node_rig_pass(r, BALANCED_MS);
    assert_true(node_rig_serving(r, 2) > 0);
    assert_int_equal(node_rig_serving(r, 1), settled);
    assert_true(node_rig_check(r));
}

int main(void)
{
    alarm(120);
    log_set_fd(getenv("LOG") ? 2 : -1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(what_came_from_a_node_that_left_moves_on, teardown),
        cmocka_unit_test_teardown(what_came_from_a_node_that_was_drained_goes_back, teardown),
        cmocka_unit_test_teardown(what_came_for_balance_stays, teardown),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    metrics_free();
    return failed;
}
