/* Told to stop: a node flushes, releases and ends with 0 while its players play on; so does a gateway whose players
 * left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/party.h"
#include "tests/lib/probe.h"

static int down(void **state)
{
    party_free(*state);
    return 0;
}

static bool has_ended(void *arg)
{
    return !proc_alive(((struct member *)arg)->proc);
}

static void a_stopped_node_loses_no_edit_and_no_player(void **state)
{
    struct party *p = *state = party_new("drain", &(struct cluster_conf){.nodes = 2, .gateways = 1});
    assert_non_null(p);
    struct bot *a = party_join(p, "", 1), *b = party_join(p, "", 1);
    assert_true(party_move(p, a, 64, 130, 64) && party_move(p, b, 66, 130, 64));
    bot_block(a, 64, 140, 64, 3);
    assert_true(party_block(p, b, 64, 140, 64, 3));
    struct member *owner = party_owner(p, 64, 64);
    assert_non_null(owner);
    for (int i = 0; i < 50; i++)
        bot_block(a, 40 + i, 150, 60, 1 + i % 15);
    proc_signal(owner->proc, SIGTERM);
    for (int i = 0; i < 50; i++)
        bot_block(a, 40 + i, 151, 60, 1 + i % 15);
    assert_true(loop_until(p->base, has_ended, owner, 30000, "the node to end"));
    assert_int_equal(member_stop(owner, 1000), 0);
    for (int i = 0; i < 50; i++) {
        assert_true(party_block(p, b, 40 + i, 150, 60, 1 + i % 15));
        assert_true(party_block(p, b, 40 + i, 151, 60, 1 + i % 15));
    }
    assert_false(bot_heard(a, "non-empty"));
    assert_true(party_passed(p));
}

/* The last node too: all is in the store, nothing is owned, nothing is left to replay. */
static void the_last_node_leaves_nothing_behind(void **state)
{
    struct party *p = *state = party_new("last", &(struct cluster_conf){.nodes = 1, .gateways = 1});
    assert_non_null(p);
    struct bot *a = party_join(p, "", 1);
    assert_non_null(a);
    for (int i = 0; i < 50; i++)
        bot_block(a, i, 150, 60, 1 + i % 15);
    assert_true(party_acknowledged(p));
    proc_signal(p->cluster->node[0].proc, SIGTERM);
    assert_true(loop_until(p->base, has_ended, &p->cluster->node[0], 30000, "the node to end"));
    assert_int_equal(member_stop(&p->cluster->node[0], 1000), 0);
    uint16_t port = p->cluster->redis.port;
    char *cells = redis_ask(port, "KEYS spotcraft:{test}:cell:*");
    char *journals = redis_ask(port, "KEYS spotcraft:{test}:journal:*");
    char *dirty = redis_ask(port, "SMEMBERS spotcraft:{test}:dirty");
    assert_string_equal(cells, "");
    assert_string_equal(journals, "");
    assert_string_equal(dirty, "");
    free(cells);
    free(journals);
    free(dirty);
    assert_true(bot_connected(a)); /* it waits for a node */
    bot_block(a, 3, 160, 3, 5);
    assert_true(member_start(&p->cluster->node[0]));
    assert_true(member_wait_ready(&p->cluster->node[0], 20000));
    assert_true(party_acknowledged(p));
    struct bot *b = party_join(p, "", 1);
    assert_non_null(b);
    assert_true(party_block(p, b, 3, 160, 3, 5));
    assert_true(party_block(p, b, 49, 150, 60, 1 + 49 % 15));
    assert_true(party_passed(p));
}

static void a_stopped_gateway_warns_its_players_and_ends_when_they_left(void **state)
{
    struct cluster_conf conf = {.nodes = 1, .gateways = 1, .gateway_args = {"--stop-ms", "20000", NULL}};
    struct party *p = *state = party_new("gateway", &conf);
    assert_non_null(p);
    struct bot *a = party_join(p, "", -1);
    assert_non_null(a);
    struct member *g = &p->cluster->gateway[0];
    unsigned said = bot_lines(a, 'T');
    proc_signal(g->proc, SIGTERM);
    for (int i = 0; i < 500 && bot_lines(a, 'T') == said; i++)
        loop_for(p->base, 10);
    assert_true(bot_lines(a, 'T') > said);
    assert_true(bot_connected(a));
    assert_false(member_is_ready(g));
    party_forget(p, a);
    assert_int_equal(member_stop(g, 10000), 0);
    assert_true(party_passed(p));
}

int main(void)
{
    alarm(180);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_stopped_node_loses_no_edit_and_no_player, down),
        cmocka_unit_test_teardown(the_last_node_leaves_nothing_behind, down),
        cmocka_unit_test_teardown(a_stopped_gateway_warns_its_players_and_ends_when_they_left, down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
