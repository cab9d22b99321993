/* Who gives how much to whom: until it is even, and then nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <unistd.h>

#include "node/own/balance.h"

static struct coord_member node(uint64_t id, uint32_t load, enum node_state s)
{
    return (struct coord_member){.id = id, .self = {.load = load, .state = s}};
}

static void a_steady_cluster_moves_nothing(void **state)
{
    (void)state;
    const struct coord_member m[] = {node(1, 1000, NODE_RUNNING), node(2, 1060, NODE_RUNNING),
                                     node(3, 940, NODE_RUNNING)};
    for (uint64_t me = 1; me <= 3; me++)
        assert_int_equal(balance_choose(m, 3, me).target, 0);
}

static void a_cell_or_two_are_no_reason(void **state)
{
    (void)state;
    const struct coord_member m[] = {node(1, 16, NODE_RUNNING), node(2, 4, NODE_RUNNING)};
    assert_int_equal(balance_choose(m, 2, 1).target, 0);
}

static void who_joins_is_given_its_share_by_all(void **state)
{
    (void)state;
    const struct coord_member m[] = {node(1, 900, NODE_RUNNING), node(2, 900, NODE_RUNNING), node(3, 0, NODE_RUNNING)};
    struct balance a = balance_choose(m, 3, 1), b = balance_choose(m, 3, 2);
    assert_int_equal(a.target, 3);
    assert_int_equal(b.target, 3);
    assert_in_range(a.load + b.load, 550, 600); /* together what it lacks, and no more */
    assert_int_equal(balance_choose(m, 3, 3).target, 0);
}

static void nobody_gives_more_than_its_own_excess(void **state)
{
    (void)state;
    const struct coord_member m[] = {node(1, 600, NODE_RUNNING), node(2, 0, NODE_RUNNING), node(3, 0, NODE_RUNNING)};
    struct balance b = balance_choose(m, 3, 1);
    assert_true(b.target == 2);
    assert_in_range(b.load, 1, 400);
}

static void who_leaves_neither_takes_nor_counts(void **state)
{
    (void)state;
    const struct coord_member m[] = {node(1, 900, NODE_RUNNING), node(2, 900, NODE_RUNNING), node(3, 0, NODE_LEAVING)};
    assert_int_equal(balance_choose(m, 3, 1).target, 0);
    const struct coord_member two[] = {node(1, 900, NODE_RUNNING), node(3, 0, NODE_LEAVING)};
    assert_int_equal(balance_choose(two, 2, 1).target, 0);
    assert_int_equal(balance_choose(two, 2, 3).target, 0);
    assert_int_equal(balance_choose(NULL, 0, 1).target, 0);
}

/* Whatever the start, giving step by step comes to rest, and even. */
static void it_comes_to_rest(void **state)
{
    (void)state;
    struct coord_member m[] = {node(1, 5000, NODE_RUNNING), node(2, 10, NODE_RUNNING), node(3, 700, NODE_RUNNING),
                               node(4, 0, NODE_RUNNING)};
    unsigned steps = 0;
    for (bool moved = true; moved; steps++) {
        moved = false;
        assert_true(steps < 100);
        for (unsigned k = 0; k < 4; k++) {
            struct balance b = balance_choose(m, 4, m[k].id);
            if (!b.target || !b.load)
                continue;
            m[k].self.load -= b.load;
            m[b.target - 1].self.load += b.load;
            moved = true;
        }
    }
    for (unsigned k = 0; k < 4; k++)
        assert_in_range(m[k].self.load, 1100, 1600);
}

/* All that a node has too much is in cells that are each heavier than what one taker lacks: one goes all the same. */
static void a_hot_spot_is_split_cell_by_cell(void **state)
{
    (void)state;
    const struct coord_member m[] = {node(1, 120, NODE_RUNNING), node(2, 0, NODE_RUNNING), node(3, 0, NODE_RUNNING)};
    struct balance b = balance_choose(m, 3, 1);
    assert_int_equal(b.target, 2);
    assert_int_equal(b.load, 40);
    assert_int_equal(b.one_max, 60);
    const struct coord_member after[] = {node(1, 60, NODE_RUNNING), node(2, 60, NODE_RUNNING),
                                         node(3, 0, NODE_RUNNING)};
    assert_true(balance_choose(after, 3, 1).one_max < 60); /* and not to and fro */
}

static void a_node_takes_twice_its_share_and_no_more(void **state)
{
    (void)state;
    const struct coord_member m[] = {node(1, 9000, NODE_RUNNING), node(2, 6000, NODE_RUNNING),
                                     node(3, 3000, NODE_LEAVING)};
    assert_true(balance_has_room(m, 3, 9000, 3000)); /* of 18,000 a share is 9,000, as those who leave do not count */
    assert_true(balance_has_room(m, 3, 18000, 500));
    assert_false(balance_has_room(m, 3, 18000, 600));
    const struct coord_member last[] = {node(1, 100, NODE_LEAVING), node(2, 0, NODE_RUNNING)};
    assert_true(balance_has_room(last, 2, 0, 100));
    assert_true(balance_has_room(NULL, 0, 0, 100));
}

int main(void)
{
    alarm(60);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_steady_cluster_moves_nothing),
        cmocka_unit_test(a_cell_or_two_are_no_reason),
        cmocka_unit_test(who_joins_is_given_its_share_by_all),
        cmocka_unit_test(nobody_gives_more_than_its_own_excess),
        cmocka_unit_test(who_leaves_neither_takes_nor_counts),
        cmocka_unit_test(it_comes_to_rest),
        cmocka_unit_test(a_hot_spot_is_split_cell_by_cell),
        cmocka_unit_test(a_node_takes_twice_its_share_and_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
