/* Redis goes away, and comes back: as it was, or empty. Players wait a little and lose nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/lib/party.h"

/* The store is written late, so that what Redis forgets exists in the nodes' memory alone. */
static int up(void **state)
{
    struct cluster_conf conf = {
        .nodes = 2, .gateways = 2, .node_args = {"--lease-ms", "2000", "--flush-ms", "600000", NULL}};
    *state = party_new("redis", &conf);
    return *state ? 0 : -1;
}

static int down(void **state)
{
    party_free(*state);
    return 0;
}

static bool build(struct party *p, struct bot *a, int32_t y)
{
    for (int i = 0; i < 60; i++)
        bot_block(a, 30 + i, y, 60, 1 + i % 15);
    return party_acknowledged(p);
}

static void check(struct party *p, struct bot *b, int32_t y)
{
    for (int i = 0; i < 60; i++)
        assert_true(party_block(p, b, 30 + i, y, 60, 1 + i % 15));
}

static void two_players(struct party *p, struct bot **a, struct bot **b)
{
    *a = party_join(p, "", 1);
    *b = party_join(p, "", 1);
    assert_non_null(*a);
    assert_non_null(*b);
    assert_true(party_move(p, *a, 64, 130, 64) && party_move(p, *b, 66, 130, 64));
}

static void edits_wait_while_redis_is_away_and_go_through_when_it_is_back(void **state)
{
    struct party *p = *state;
    struct bot *a, *b;
    two_players(p, &a, &b);
    assert_true(build(p, a, 150));
    proc_kill(p->cluster->redis.proc);
    for (int i = 0; i < 60; i++)
        bot_block(a, 30 + i, 151, 60, 1 + i % 15);
    assert_true(party_move(p, a, 60, 131, 64)); /* moving and seeing need no Redis */
    assert_true(party_sees(p, b, a));
    assert_true(redis_start(&p->cluster->redis));
    check(p, b, 151);
    assert_true(build(p, a, 152));
    check(p, b, 150);
    check(p, b, 152);
    assert_false(bot_heard(a, "non-empty"));
    assert_true(party_passed(p));
}

/* It hangs instead of dying: nothing tells the nodes but their deadlines. */
static void edits_wait_while_redis_hangs(void **state)
{
    struct party *p = *state;
    struct bot *a, *b;
    two_players(p, &a, &b);
    assert_true(build(p, a, 150));
    proc_signal(p->cluster->redis.proc, SIGSTOP);
    for (int i = 0; i < 60; i++)
        bot_block(a, 30 + i, 151, 60, 1 + i % 15);
    loop_for(p->base, 5000); /* well over the leases: this is the fault, not a wait */
    proc_signal(p->cluster->redis.proc, SIGCONT);
    check(p, b, 151);
    assert_true(build(p, a, 152));
    check(p, b, 152);
    assert_false(bot_heard(a, "non-empty"));
    assert_true(party_passed(p));
}

/* It forgot who owns what, and every edit that the store does not have. The owners restore it. */
static void an_empty_redis_is_given_back_what_its_owners_hold(void **state)
{
    struct party *p = *state;
    struct bot *a, *b;
    two_players(p, &a, &b);
    assert_true(build(p, a, 150));
    proc_kill(p->cluster->redis.proc);
    assert_true(redis_wipe(&p->cluster->redis));
    assert_true(redis_start(&p->cluster->redis));
    assert_true(build(p, a, 151));
    check(p, b, 151);

    /* And once restored it is as good as ever: everything dies, the journal has all of it. */
    cluster_kill(p->cluster);
    party_forget(p, a);
    party_forget(p, b);
    assert_true(cluster_restart(p->cluster));
    struct bot *c = party_join(p, "", 1);
    assert_non_null(c);
    assert_true(party_move(p, c, 64, 130, 64));
    check(p, c, 150);
    check(p, c, 151);
    assert_true(party_passed(p));
}

int main(void)
{
    alarm(180);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(edits_wait_while_redis_is_away_and_go_through_when_it_is_back, up, down),
        cmocka_unit_test_setup_teardown(edits_wait_while_redis_hangs, up, down),
        cmocka_unit_test_setup_teardown(an_empty_redis_is_given_back_what_its_owners_hold, up, down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
