/* Where a cell belongs: next to its neighbours, on a node that runs and is not loaded well above the others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <unistd.h>

#include "node/own/placement.h"

static const struct cell_pos home = {0, 0};
static const uint64_t nobody[NEIGHBOURS];

static struct coord_member node(uint64_t id, uint32_t load, enum node_state s)
{
    return (struct coord_member){.id = id, .self = {.load = load, .state = s}};
}

static void neighbours_are_the_eight_around_sides_first(void **state)
{
    (void)state;
    struct cell_pos out[NEIGHBOURS];
    placement_neighbours((struct cell_pos){-1, 5}, out);
    for (unsigned k = 0; k < NEIGHBOURS; k++) {
        int32_t di = out[k].i + 1, dj = out[k].j - 5;
        assert_in_range(di * di + dj * dj, k < 4 ? 1 : 2, k < 4 ? 1 : 2);
    }
}

static void a_cell_goes_to_the_owner_of_its_neighbours(void **state)
{
    (void)state;
    const struct coord_member m[] = {node(1, 10, NODE_RUNNING), node(2, 10, NODE_RUNNING), node(3, 10, NODE_RUNNING)};
    for (uint64_t id = 1; id <= 3; id++) {
        const uint64_t owners[NEIGHBOURS] = {id, id};
        assert_int_equal(placement_choose(home, m, 3, owners), id);
    }
}

static void a_side_counts_more_than_a_corner(void **state)
{
    (void)state;
    const struct coord_member m[] = {node(1, 10, NODE_RUNNING), node(2, 10, NODE_RUNNING)};
    const uint64_t owners[NEIGHBOURS] = {[0] = 2, [4] = 1};
    assert_int_equal(placement_choose(home, m, 2, owners), 2);
}

static void who_leaves_gets_nothing_not_even_alone(void **state)
{
    (void)state;
    const struct coord_member m[] = {node(1, 10, NODE_LEAVING), node(2, 10, NODE_RUNNING)};
    const uint64_t owners[NEIGHBOURS] = {1, 1, 1, 1, 1, 1, 1, 1};
    assert_int_equal(placement_choose(home, m, 2, owners), 2);
    assert_int_equal(placement_choose(home, m, 1, owners), 0);
    assert_int_equal(placement_choose(home, m, 0, nobody), 0);
}

static void who_is_loaded_well_above_the_mean_gets_no_more(void **state)
{
    (void)state;
    const struct coord_member m[] = {node(1, 400, NODE_RUNNING), node(2, 100, NODE_RUNNING)};
    const uint64_t owners[NEIGHBOURS] = {1, 1, 1, 1, 1, 1, 1, 1};
    assert_int_equal(placement_choose(home, m, 2, owners), 2);
    const struct coord_member few[] = {node(1, 3 * LOAD_CELL, NODE_RUNNING), node(2, 0, NODE_RUNNING)};
    assert_int_equal(placement_choose(home, few, 2, owners), 1); /* by a few cells: never mind */
}

/* Every node must come to the same answer, in whatever order Redis lists them; and when one goes, only its own move. */
static void an_untouched_region_is_hashed_as_one_and_stays_when_others_go(void **state)
{
    (void)state;
    const struct coord_member abc[] = {node(7, 0, NODE_RUNNING), node(8, 0, NODE_RUNNING), node(9, 0, NODE_RUNNING)};
    const struct coord_member cba[] = {node(9, 0, NODE_RUNNING), node(8, 0, NODE_RUNNING), node(7, 0, NODE_RUNNING)};
    const struct coord_member ab[] = {node(7, 0, NODE_RUNNING), node(8, 0, NODE_RUNNING)};
    unsigned got[10] = {0};
    for (int32_t i = -40; i < 40; i++) {
        struct cell_pos at = {i * REGION_CELLS, i};
        uint64_t id = placement_choose(at, abc, 3, nobody);
        got[id]++;
        assert_int_equal(placement_choose(at, cba, 3, nobody), id);
        assert_int_equal(placement_choose((struct cell_pos){at.i + REGION_CELLS - 1, i}, abc, 3, nobody), id);
        if (id != 9)
            assert_int_equal(placement_choose(at, ab, 2, nobody), id);
    }
    assert_true(got[7] > 10 && got[8] > 10 && got[9] > 10);
}

int main(void)
{
    alarm(60);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neighbours_are_the_eight_around_sides_first),
        cmocka_unit_test(a_cell_goes_to_the_owner_of_its_neighbours),
        cmocka_unit_test(a_side_counts_more_than_a_corner),
        cmocka_unit_test(who_leaves_gets_nothing_not_even_alone),
        cmocka_unit_test(who_is_loaded_well_above_the_mean_gets_no_more),
        cmocka_unit_test(an_untouched_region_is_hashed_as_one_and_stays_when_others_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
