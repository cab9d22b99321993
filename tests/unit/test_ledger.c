/* The load generator's account: it must notice what it is there to notice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <unistd.h>

#include "tests/lib/latency.h"
#include "tests/lib/ledger.h"

enum { AUTHOR = 1, WATCHER = 2 };

static const struct block_pos inside = {5, 120, 5}, edge = {31, 120, 5};
static const struct chunk_pos own = {0, 0}, next = {1, 0};

static int up(void **state)
{
    *state = ledger_new();
    return 0;
}

static int down(void **state)
{
    ledger_free(*state);
    return 0;
}

static bool told(struct ledger *l, unsigned bot, struct chunk_pos c, struct block_pos at, int w)
{
    uint64_t took;
    return ledger_told(l, bot, c, at, w, 2000, &took);
}

static void place(struct ledger *l, struct block_pos at)
{
    ledger_edit(l, AUTHOR, at, STEP_PLACED, 40, 1000);
    ledger_expect(l, at, own, WATCHER, true);
}

/* The world at the end: the block and, negative, its mirror. */
struct world {
    bool known;
    int w, mirror;
};

static bool final(void *arg, struct chunk_pos c, struct block_pos at, int *w)
{
    const struct world *world = arg;
    (void)at;
    *w = chunk_eq(c, own) ? world->w : world->mirror;
    return world->known;
}

static struct ledger_result check(struct ledger *l, struct world world)
{
    struct ledger_result r;
    ledger_check(l, final, &world, &r);
    return r;
}

static void a_good_run_has_nothing_to_report(void **state)
{
    struct ledger *l = *state;
    uint64_t took;
    place(l, edge);
    assert_int_equal(ledger_open(l), 1);
    assert_true(ledger_told(l, WATCHER, own, edge, 40, 1700, &took));
    assert_int_equal(took, 700);
    assert_int_equal(ledger_open(l), 0);
    ledger_edit(l, AUTHOR, edge, STEP_BROKEN, 0, 3000);
    ledger_expect(l, edge, own, WATCHER, true);
    ledger_expect(l, edge, next, WATCHER, true);
    assert_true(told(l, WATCHER, own, edge, 0));
    assert_true(told(l, WATCHER, next, edge, 0));
    struct ledger_result r = check(l, (struct world){true, 0, 0});
    assert_int_equal(r.edits, 2);
    assert_int_equal(r.lost + r.unseen + r.doubled + r.refused + r.wrong_mirrors, 0);
}

static void an_edit_that_is_not_in_the_world_is_lost(void **state)
{
    place(*state, inside);
    told(*state, WATCHER, own, inside, 40);
    assert_int_equal(check(*state, (struct world){.known = false}).lost, 1);
}

static void an_edit_that_a_holder_was_not_told_is_unseen(void **state)
{
    place(*state, inside);
    struct ledger_result r = check(*state, (struct world){true, 40, 0});
    assert_int_equal(r.unseen, 1);
    assert_int_equal(r.lost, 0);
}

static void a_step_back_is_doubled(void **state)
{
    place(*state, inside);
    told(*state, WATCHER, own, inside, 40);
    ledger_edit(*state, AUTHOR, inside, STEP_BROKEN, 0, 3000);
    ledger_expect(*state, inside, own, WATCHER, true);
    told(*state, WATCHER, own, inside, 0);
    told(*state, WATCHER, own, inside, 40); /* placed once more */
    assert_int_equal(check(*state, (struct world){true, 0, 0}).doubled, 1);
}

/* Its author is told that the block is air: it is not expected anywhere, and may not be in the world either. */
static void a_refused_edit_is_not_lost_but_must_not_be_there(void **state)
{
    place(*state, inside);
    told(*state, AUTHOR, own, inside, 0);
    assert_int_equal(ledger_open(*state), 0);
    struct ledger_result r = check(*state, (struct world){.known = false});
    assert_int_equal(r.refused, 1);
    assert_int_equal(r.lost + r.unseen + r.doubled, 0);
    assert_int_equal(check(*state, (struct world){true, 40, 0}).doubled, 1);
}

static void a_mirror_that_differs_is_wrong(void **state)
{
    place(*state, edge);
    told(*state, WATCHER, own, edge, 40);
    assert_int_equal(check(*state, (struct world){true, 40, -40}).wrong_mirrors, 0);
    assert_int_equal(check(*state, (struct world){true, 40, 0}).wrong_mirrors, 1);
}

/* The promise is per session and cell: whoever builds a bridge block by block sees it seen that way. */
static void an_author_s_edits_of_a_cell_must_come_in_their_order(void **state)
{
    static const struct block_pos second = {6, 130, 7}, other_cell = {CELL_SIZE + 5, 120, 5};
    static const struct chunk_pos there = {CELL_CHUNKS, 0};
    place(*state, inside);
    ledger_edit(*state, AUTHOR, other_cell, STEP_PLACED, 40, 1100);
    ledger_expect(*state, other_cell, there, WATCHER, true);
    place(*state, second);
    told(*state, WATCHER, own, second, 40);
    told(*state, WATCHER, there, other_cell, 40); /* of another cell: in any order */
    assert_int_equal(check(*state, (struct world){true, 40, 0}).disordered, 0);
    told(*state, WATCHER, own, inside, 40);
    struct ledger_result r = check(*state, (struct world){true, 40, 0});
    assert_int_equal(r.disordered, 1);
    assert_int_equal(r.unseen + r.doubled, 0);
}

static void an_overtaken_step_and_a_first_answer_are_no_disorder(void **state)
{
    static const struct block_pos second = {6, 130, 7}, third = {7, 130, 7};
    place(*state, inside);
    place(*state, second);
    ledger_edit(*state, AUTHOR, inside, STEP_BROKEN, 0, 3000);
    ledger_expect(*state, inside, own, WATCHER, true);
    told(*state, WATCHER, own, second, 40);
    told(*state, WATCHER, own, inside, 0); /* never told of the placing: fine */
    ledger_edit(*state, AUTHOR, third, STEP_PLACED, 40, 4000);
    ledger_expect(*state, third, own, WATCHER, false); /* he was still waiting for the chunk */
    place(*state, edge);
    told(*state, WATCHER, own, edge, 40);
    told(*state, WATCHER, own, third, 40);
    assert_int_equal(check(*state, (struct world){true, 40, -40}).disordered, 0);
}

static void percentiles_count_every_sample(void **state)
{
    struct latency *l = latency_new();
    (void)state;
    for (unsigned i = 1; i <= 1000; i++)
        latency_add(l, i * 1000);
    latency_add(l, 60000000); /* a minute: over what has buckets of its own */
    assert_int_equal(latency_count(l), 1001);
    assert_true(latency_ms(l, 0.5) == 501);
    assert_true(latency_ms(l, 0.99) == 991);
    assert_true(latency_ms(l, 1) == 60000);

    struct latency *all = latency_new();
    latency_add(all, 2000000);
    latency_merge(all, l);
    assert_int_equal(latency_count(all), 1002);
    assert_true(latency_ms(all, 0.5) == 502);
    assert_true(latency_ms(all, 1) == 60000);
    latency_clear(l);
    assert_int_equal(latency_count(l), 0);
    assert_true(latency_ms(l, 1) == 0);
    latency_merge(all, l);
    assert_int_equal(latency_count(all), 1002);
    latency_add(l, 70);
    assert_true(latency_ms(l, 0.5) == 0.07);
    latency_free(all);
    latency_free(l);
}

int main(void)
{
    alarm(60);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_good_run_has_nothing_to_report, up, down),
        cmocka_unit_test_setup_teardown(an_edit_that_is_not_in_the_world_is_lost, up, down),
        cmocka_unit_test_setup_teardown(an_edit_that_a_holder_was_not_told_is_unseen, up, down),
        cmocka_unit_test_setup_teardown(a_step_back_is_doubled, up, down),
        cmocka_unit_test_setup_teardown(a_refused_edit_is_not_lost_but_must_not_be_there, up, down),
        cmocka_unit_test_setup_teardown(a_mirror_that_differs_is_wrong, up, down),
        cmocka_unit_test_setup_teardown(an_author_s_edits_of_a_cell_must_come_in_their_order, up, down),
        cmocka_unit_test_setup_teardown(an_overtaken_step_and_a_first_answer_are_no_disorder, up, down),
        cmocka_unit_test(percentiles_count_every_sample),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
