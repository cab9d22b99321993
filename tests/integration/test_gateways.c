/* Several gateways on one port, one world: players do not know which of them they are on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/party.h"

enum { CROWD = 12 };

static int up(void **state)
{
    *state = party_new("gateways", &(struct cluster_conf){.nodes = 2, .gateways = 2});
    return *state ? 0 : -1;
}

static int down(void **state)
{
    party_free(*state);
    return 0;
}

static double players_on(struct party *p, unsigned gateway)
{
    return member_status_number(&p->cluster->gateway[gateway], "players", -1);
}

/* The kernel deals connections by a hash of their ports: a few, and both gateways have some. */
static void crowd(struct party *p)
{
    while (p->n < CROWD || ((players_on(p, 0) < 1 || players_on(p, 1) < 1) && p->n < PARTY_MAX)) {
        struct bot *b = party_join(p, "", -1);
        assert_non_null(b);
        bot_set_view(b, 1);
        assert_true(party_move(p, b, (float)(60 + p->n), 130, 64));
    }
    assert_true(players_on(p, 0) >= 1);
    assert_true(players_on(p, 1) >= 1);
}

static void everybody_sees_hears_and_builds_with_everybody(void **state)
{
    struct party *p = *state;
    crowd(p);
    for (unsigned i = 0; i < p->n; i++) {
        char text[32];
        bot_block(p->bots[i], (int)(40 + i), 150, 64, (int)(1 + i % 15));
        if (i < 4) {
            snprintf(text, sizeof text, "this is %u of them", i);
            bot_send(p->bots[i], "T,%s", text);
        }
    }
    for (unsigned i = 0; i < p->n; i++)
        for (unsigned k = 0; k < p->n; k++) {
            char text[32];
            assert_true(party_block(p, p->bots[k], (int)(40 + i), 150, 64, (int)(1 + i % 15)));
            if (i < 4) {
                snprintf(text, sizeof text, "this is %u of them", i);
                assert_true(party_hears(p, p->bots[k], text));
            }
            if (i == k)
                continue;
            assert_true(party_sees(p, p->bots[k], p->bots[i]));
            assert_int_not_equal(bot_id(p->bots[i]), bot_id(p->bots[k]));
        }
    assert_true(party_passed(p));
}

/* Everybody wants the same one. */
static void a_nick_is_one_players_over_all_gateways(void **state)
{
    struct party *p = *state;
    unsigned named = 0;
    crowd(p);
    for (unsigned i = 0; i < p->n; i++)
        bot_send(p->bots[i], "T,/nick zoe");
    for (unsigned i = 0; i < p->n; i++)
        assert_true(party_hears(p, p->bots[i], "zoe"));
    for (unsigned i = 0; i < 4; i++) {
        char text[32];
        snprintf(text, sizeof text, "who is it %u", i);
        bot_send(p->bots[i], "T,%s", text);
        assert_true(party_hears(p, p->bots[p->n - 1], text));
    }
    bot_send(p->bots[0], "T,/list");
    assert_true(party_hears(p, p->bots[0], "Players:"));
    for (unsigned i = 1; i < p->n; i++) {
        const char *name = bot_name_of(p->bots[0], bot_id(p->bots[i]));
        named += name && !strcmp(name, "zoe");
    }
    assert_true(named <= 1);
    assert_true(party_passed(p));
}

/* Its players' connections end with it. Everybody else plays on, and those come back through the other. */
static void a_killed_gateway_takes_only_its_own_players(void **state)
{
    struct party *p = *state;
    crowd(p);
    struct bot *stays = NULL;
    double here = players_on(p, 1);
    proc_kill(p->cluster->gateway[0].proc);
    for (int i = 0; i < 1000; i++) {
        unsigned left = 0;
        for (unsigned k = 0; k < p->n; k++)
            if (!bot_gone(p->bots[k])) {
                left++;
                stays = p->bots[k];
            }
        if (left == (unsigned)here)
            break;
        loop_for(p->base, 10);
    }
    assert_non_null(stays);
    for (unsigned k = 0; k < p->n; k++)
        if (bot_gone(p->bots[k])) {
            bot_rejoin(p->bots[k]);
            assert_true(party_answered(p, p->bots[k]));
            assert_true(party_move(p, p->bots[k], (float)(60 + k), 131, 66));
            assert_true(party_sees(p, stays, p->bots[k]));
        }
    bot_block(stays, 50, 170, 64, 7);
    for (unsigned k = 0; k < p->n; k++)
        assert_true(party_block(p, p->bots[k], 50, 170, 64, 7));
    assert_true(party_passed(p));
}

int main(void)
{
    alarm(180);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(everybody_sees_hears_and_builds_with_everybody, up, down),
        cmocka_unit_test_setup_teardown(a_nick_is_one_players_over_all_gateways, up, down),
        cmocka_unit_test_setup_teardown(a_killed_gateway_takes_only_its_own_players, up, down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
