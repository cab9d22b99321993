/* What cells weigh, and when a cell that moves counts where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <unistd.h>

#include "proto/base/log.h"
#include "tests/lib/node_rig.h"

static const struct cell_pos home = {0, 0};

static void a_cell_weighs_what_happens_in_it(void **state)
{
    (void)state;
    assert_int_equal(load_weight(0, 0, 0), LOAD_CELL);
    assert_int_equal(load_weight(3, 0, 0), LOAD_CELL + 3 * LOAD_PLAYER);
    assert_int_equal(load_weight(0, 5000, 0), LOAD_CELL + 5);
    assert_int_equal(load_weight(0, 0, 2048), LOAD_CELL + 2);
}

/* A burst of a second is not a reason to move a cell; what lasts is. */
static void rates_are_smoothed_and_forgotten(void **state)
{
    (void)state;
    struct cell_load l = {.edits = 100, .presence_bytes = 102400};
    load_sample(&l, 1000);
    assert_int_equal(l.edits_milli, 25000);
    assert_int_equal(l.presence_bps, 25600);
    for (unsigned k = 0; k < 30; k++) {
        l.edits = 100;
        load_sample(&l, 1000);
    }
    assert_in_range(l.edits_milli, 99000, 100000);
    for (unsigned k = 0; k < 60; k++)
        load_sample(&l, 1000);
    assert_int_equal(l.edits_milli, 0);
    assert_int_equal(l.presence_bps, 0);
    l.edits = 50;
    load_sample(&l, 2000); /* a late look is no burst */
    assert_int_equal(l.edits_milli, 25000 / 4);
}

static void a_busy_processor_makes_the_load_heavier(void **state)
{
    (void)state;
    assert_int_equal(load_scaled(100, 0), 100);
    assert_int_equal(load_scaled(100, 500), 100);
    assert_int_equal(load_scaled(100, 750), 150);
    assert_int_equal(load_scaled(100, 1000), 200);
    assert_int_equal(load_scaled(100, 5000), 200);
}

static void edits_weigh(void **state)
{
    struct node_rig *r = *state = node_rig_new();
    assert_true(node_rig_enter(r, home, 0));
    uint32_t idle = load_node(r->node[0].node).told;
    r->flow_ms = 20; /* 50 a second */
    node_rig_pass(r, 15000);
    struct node_load l = load_node(r->node[0].node);
    assert_in_range(l.edits_milli, 45000, 55000);
    assert_in_range(l.told, idle + 45, idle + 55);
    assert_int_equal(l.cpu_milli, 0); /* nobody measures it here */
}

/* From its acceptance on a cell counts with its target alone, and weighs there what its source said. */
static void an_accepted_offer_counts_with_the_target(void **state)
{
    struct node_rig *r = *state = node_rig_new();
    assert_true(node_rig_enter(r, home, 0));
    r->flow_ms = 20;
    node_rig_pass(r, 15000);
    uint32_t told = load_node(r->node[0].node).told;
    assert_true(node_rig_offer(r, 0, 1, home, false));
    assert_int_equal(load_node(r->node[0].node).told, told);
    assert_true(node_rig_until_kept(r, MSG_GOT));
    assert_int_equal(load_node(r->node[0].node).told, 0);
    assert_in_range(load_node(r->node[1].node).told, told - 2, told + 2);
    assert_in_range(load_node(r->node[1].node).coming, told - 2, told + 2);
    r->kept = 0;
    assert_true(node_rig_until_serving(r, 1, home));
    assert_in_range(load_node(r->node[1].node).told, told - 2, told + 2);
    assert_int_equal(load_node(r->node[1].node).coming, 0);
}

/* A copy for others costs memory, and little else. */
static void a_copy_weighs_little(void **state)
{
    struct node_rig *r = *state = node_rig_new();
    assert_true(node_rig_enter(r, home, 0));
    uint32_t told = load_node(r->node[0].node).told;
    assert_true(node_rig_offer(r, 0, 1, home, true));
    assert_true(node_rig_until_phase(r, 0, home, OUT_FOLLOWED));
    assert_int_equal(load_node(r->node[0].node).told, told);
    assert_int_equal(load_node(r->node[1].node).told, LOAD_COPY);
}

static int teardown(void **state)
{
    node_rig_free(*state);
    return 0;
}

int main(void)
{
    alarm(60);
    log_set_level(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cell_weighs_what_happens_in_it),
        cmocka_unit_test(rates_are_smoothed_and_forgotten),
        cmocka_unit_test(a_busy_processor_makes_the_load_heavier),
        cmocka_unit_test_teardown(edits_weigh, teardown),
        cmocka_unit_test_teardown(an_accepted_offer_counts_with_the_target, teardown),
        cmocka_unit_test_teardown(a_copy_weighs_little, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
