/* A node dies, hangs, or joins: no player is disconnected, nothing acknowledged is lost, nothing is done twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/lib/party.h"

static int up(void **state)
{
    struct cluster_conf conf = {.nodes = 3, .gateways = 1, .node_args = {"--lease-ms", "2000", NULL}};
    *state = party_new("killed", &conf);
    return *state ? 0 : -1;
}

static int down(void **state)
{
    party_free(*state);
    return 0;
}

/* Two players in the same cell, and the node that owns it. */
static struct member *settle(struct party *p, struct bot **a, struct bot **b)
{
    *a = party_join(p, "", 1);
    *b = party_join(p, "", 1);
    if (!*a || !*b || !party_move(p, *a, 64, 130, 64) || !party_move(p, *b, 66, 130, 64))
        return NULL;
    bot_block(*a, 64, 140, 64, 3);
    return party_block(p, *b, 64, 140, 64, 3) ? party_owner(p, 64, 64) : NULL;
}

/* Edits made before, while and after nobody owns the cell. Each seen once, in order, within seconds. */
static void a_killed_nodes_cells_go_on_elsewhere_within_seconds(void **state)
{
    struct party *p = *state;
    struct bot *a, *b;
    struct member *owner = settle(p, &a, &b);
    assert_non_null(owner);
    for (int i = 0; i < 50; i++)
        bot_block(a, 40 + i, 150, 60, 1 + i % 15);
    proc_signal(owner->proc, SIGKILL);
    for (int i = 0; i < 50; i++)
        bot_block(a, 40 + i, 151, 60, 1 + i % 15);
    assert_true(party_block_within(p, b, 89, 151, 60, 1 + 49 % 15, 5000));
    for (int i = 0; i < 50; i++) {
        assert_true(party_block(p, b, 40 + i, 150, 60, 1 + i % 15));
        assert_true(party_block(p, b, 40 + i, 151, 60, 1 + i % 15));
    }
    bot_block(b, 64, 140, 64, 0); /* what was acknowledged before is there: it can be broken */
    assert_true(party_block(p, a, 64, 140, 64, 0));
    assert_false(bot_heard(b, "already empty"));
    assert_false(bot_heard(a, "non-empty")); /* nothing was judged twice */
    assert_true(party_move(p, a, 63, 131, 64));
    assert_true(party_sees(p, b, a));
    assert_true(party_passed(p));
}

/* A zombie: it wakes up after its cells went to others, with edits in hand. */
static void a_node_that_hangs_and_wakes_does_no_harm(void **state)
{
    struct party *p = *state;
    struct bot *a, *b;
    struct member *owner = settle(p, &a, &b);
    assert_non_null(owner);
    proc_signal(owner->proc, SIGSTOP);
    for (int i = 0; i < 50; i++)
        bot_block(a, 40 + i, 150, 60, 1 + i % 15);
    assert_true(party_block_within(p, b, 89, 150, 60, 1 + 49 % 15, 15000));
    proc_signal(owner->proc, SIGCONT);
    assert_true(member_wait_ready(owner, 15000));
    for (int i = 0; i < 50; i++)
        bot_block(a, 40 + i, 150, 60, 0);
    for (int i = 0; i < 50; i++)
        assert_true(party_block(p, b, 40 + i, 150, 60, 0));
    assert_true(party_acknowledged(p));
    struct bot *later = party_join(p, "", 1);
    assert_true(party_move(p, later, 64, 130, 64));
    for (int i = 0; i < 50; i++)
        assert_int_equal(bot_sees_block(later, chunk_of_block(40 + i, 60), 40 + i, 150, 60), 0);
    assert_false(bot_heard(a, "empty"));
    assert_true(party_passed(p));
}

static void a_node_that_joins_gets_cells(void **state)
{
    struct party *p = *state;
    struct bot *a = party_join(p, "", 1);
    assert_non_null(a);
    assert_true(cluster_add_node(p->cluster));
    struct member *joined = &p->cluster->node[3];
    for (int i = 0; i < 200 && member_status_number(joined, "cells_serving", 0) < 1; i++) {
        assert_true(party_move(p, a, (float)(i * 16 * CELL_SIZE), 130, 5000)); /* into ground that nobody owns */
        loop_for(p->base, 50);
    }
    assert_true(member_status_number(joined, "cells_serving", 0) >= 1);
    assert_true(party_passed(p));
}

/* Each new cell goes to the node that has the one before, until that has more than its share; and cells behind the
 * walker move to the others. The x of a border between two nodes, on the line z = 64; 0: none. */
static int32_t find_border(struct party *p, struct bot *a)
{
    enum { CELLS = 48, BEHIND = 8 };
    for (int32_t i = 1; i < CELLS; i++) {
        for (int32_t step = -CELL_SIZE / 2; step <= 0; step += CELL_SIZE / 2)
            if (!party_move(p, a, (float)(i * CELL_SIZE + step), 130, 64))
                return 0;
        struct member *east = party_owner(p, i * CELL_SIZE, 64);
        for (int32_t k = i; k > 0 && k > i - BEHIND; k--) {
            struct member *west = party_owner(p, (k - 1) * CELL_SIZE, 64);
            if (west && east && west != east)
                return k * CELL_SIZE;
            east = west;
        }
    }
    return 0;
}

/* Walking over the border between two nodes: seen all the way, by one who stands still. */
static void a_walker_is_seen_across_the_border_between_nodes(void **state)
{
    struct party *p = *state;
    struct bot *a = party_join(p, "", 1), *b = party_join(p, "", 1);
    assert_non_null(a);
    assert_non_null(b);
    int32_t border = find_border(p, a);
    assert_int_not_equal(border, 0);
    assert_true(party_move(p, b, (float)border - 30, 130, 64));
    assert_true(party_move(p, a, (float)border - 10, 130, 60));
    assert_true(party_sees(p, b, a));
    unsigned gone = bot_lines(b, 'D');
    for (int step = -10; step <= 10; step++) {
        assert_true(party_move(p, a, (float)(border + step), 130, 60));
        assert_true(party_sees(p, b, a));
    }
    for (int step = 10; step >= -10; step--) {
        assert_true(party_move(p, a, (float)(border + step), 130, 61));
        assert_true(party_sees(p, b, a));
    }
    assert_int_equal(bot_lines(b, 'D'), gone);
    assert_true(party_passed(p));
}

int main(void)
{
    alarm(180);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_killed_nodes_cells_go_on_elsewhere_within_seconds, up, down),
        cmocka_unit_test_setup_teardown(a_node_that_hangs_and_wakes_does_no_harm, up, down),
        cmocka_unit_test_setup_teardown(a_node_that_joins_gets_cells, up, down),
        cmocka_unit_test_setup_teardown(a_walker_is_seen_across_the_border_between_nodes, up, down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
