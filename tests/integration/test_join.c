/* Joining: what a client is told first, what it finds, and what it finds again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/craft_client.h"
#include "tests/lib/party.h"

static int up(void **state)
{
    *state = party_new("join", &(struct cluster_conf){.nodes = 2, .gateways = 1});
    return *state ? 0 : -1;
}

static int down(void **state)
{
    party_free(*state);
    return 0;
}

struct letters {
    char seen[64];
};

static void on_line(struct bot *b, const char *line, void *arg)
{
    struct letters *l = arg;
    size_t n = strlen(l->seen);
    (void)b;
    if (n + 1 < sizeof l->seen)
        l->seen[n] = line[0];
}

static bool first_chunk_ended(void *arg)
{
    return bot_lines(arg, 'C') > 0;
}

/* The three lines that every client begins with, and nothing else. */
static void a_raw_client_gets_its_place_the_time_a_greeting_and_its_chunk(void **state)
{
    struct party *p = *state;
    struct letters l = {0};
    const struct bot_hooks hooks = {.line = on_line};
    struct bot *b =
        bot_new(&(struct bot_conf){.base = p->base, .port = p->cluster->port, .view = -1, .hooks = &hooks, .arg = &l});
    bot_ask_chunk(b, (struct chunk_pos){0, 0});
    assert_true(party_until(p, first_chunk_ended, b, "C,0,0"));
    assert_true(bot_joined(b));
    assert_true(strncmp(l.seen, "UET", 3) == 0);
    bot_free(b);
    assert_true(party_passed(p));
}

static void players_see_each_other_come_move_and_leave(void **state)
{
    struct party *p = *state;
    struct bot *a = party_join(p, "", 1), *b = party_join(p, "", 1);
    assert_non_null(a);
    assert_non_null(b);
    assert_int_not_equal(bot_id(a), bot_id(b));
    assert_true(party_move(p, a, 10, 40, 10));
    assert_true(party_move(p, b, 20, 40, 12));
    assert_true(party_sees(p, a, b));
    assert_true(party_sees(p, b, a));
    assert_non_null(bot_name_of(a, bot_id(b)));
    assert_true(party_move(p, b, 21, 41, -5));
    assert_true(party_sees(p, a, b));
    unsigned leavings = bot_lines(a, 'D');
    party_forget(p, b);
    for (int i = 0; i < 500 && bot_lines(a, 'D') == leavings; i++)
        loop_for(p->base, 10);
    assert_int_equal(bot_lines(a, 'D'), leavings + 1);
    assert_true(party_passed(p));
}

static void an_edit_a_light_and_a_sign_reach_those_who_hold_the_chunk(void **state)
{
    struct party *p = *state;
    struct bot *a = party_join(p, "", 1), *b = party_join(p, "", 1);
    assert_true(party_move(p, a, 0, 40, 0) && party_move(p, b, 0, 40, 0));
    bot_block(a, 31, 120, 5, 3); /* on the edge of chunk 0,0: chunk 1,0 shows it too */
    bot_light(a, 31, 120, 5, 15);
    bot_sign(a, 31, 120, 5, 1, "hello, you");
    assert_true(party_sign(p, b, 31, 120, 5, 1, "hello, you"));
    assert_true(party_light(p, b, 31, 120, 5, 15));
    assert_int_equal(bot_sees_block(b, (struct chunk_pos){0, 0}, 31, 120, 5), 3);
    assert_int_equal(bot_sees_block(b, (struct chunk_pos){1, 0}, 31, 120, 5), -3);
    bot_block(a, 31, 120, 5, 0);
    assert_true(party_block(p, b, 31, 120, 5, 0));
    assert_int_equal(bot_sees_block(b, (struct chunk_pos){1, 0}, 31, 120, 5), 0);
    struct bot *later = party_join(p, "", -1);
    bot_ask_chunk(later, (struct chunk_pos){0, 0});
    assert_true(party_answered(p, later));
    assert_int_equal(bot_sees_block(later, (struct chunk_pos){0, 0}, 31, 120, 5), 0);
    assert_true(party_passed(p));
}

/* Its author has it on the screen already: block, mirror and all must go back. */
static void a_refused_edit_is_taken_back_from_its_author(void **state)
{
    struct party *p = *state;
    struct bot *a = party_join(p, "", 1), *b = party_join(p, "", 1);
    assert_true(party_move(p, a, 0, 40, 0) && party_move(p, b, 0, 40, 0));
    bot_block(a, 31, 130, 7, 5);
    assert_true(party_block(p, b, 31, 130, 7, 5));
    bot_block(b, 31, 130, 7, 9);
    assert_true(party_block(p, b, 31, 130, 7, 5));
    assert_true(party_hears(p, b, "Cannot create blocks in a non-empty space."));
    assert_int_equal(bot_sees_block(b, (struct chunk_pos){1, 0}, 31, 130, 7), -5);
    assert_true(party_passed(p));
}

static void who_comes_back_by_name_stands_where_he_stood(void **state)
{
    struct party *p = *state;
    struct bot *a = party_join(p, "ann", 1), *b = party_join(p, "", 1);
    assert_true(party_move(p, a, 300, 77, -210.5f));
    assert_true(party_move(p, b, 301, 77, -210));
    assert_true(party_sees(p, b, a)); /* the node has it */
    bot_leave(a);
    unsigned gone = bot_lines(b, 'D');
    for (int i = 0; i < 500 && bot_lines(b, 'D') == gone; i++)
        loop_for(p->base, 10);
    bot_rejoin(a);
    assert_true(party_answered(p, a));
    struct place is = bot_place(a);
    assert_true(is.x == 300 && is.y == 77 && is.z == -210.5f);
    assert_true(party_passed(p));
}

static bool nobody_is_here(void *arg)
{
    struct party *p = arg;
    return member_status_number(&p->cluster->gateway[0], "players", -1) == 0;
}

/* B lines for a player's own head and foot throw him to the surface. */
static void who_fell_asleep_in_a_tunnel_wakes_up_in_it(void **state)
{
    struct party *p = *state;
    struct bot *a = party_join(p, "mole", 1);
    for (int y = 8; y <= 9; y++)
        bot_block(a, 40, y, 40, 0); /* dug: the ground is at 12 at least */
    assert_true(party_move(p, a, 40, 9, 40));
    assert_true(party_acknowledged(p));
    party_forget(p, a);
    assert_true(party_until(p, nobody_is_here, p, "the gateway to notice that he left"));
    loop_for(p->base, 500); /* places are written behind his back: nobody is back sooner than this */
    struct bot *again = party_join(p, "mole", 1); /* with an empty cache: every row comes */
    struct place is = craft_client_place(bot_model(again));
    assert_int_equal(bot_sees_block(again, (struct chunk_pos){1, 1}, 40, 9, 40), 0);
    assert_true(is.x == 40 && is.y == 9 && is.z == 40);
    assert_true(party_passed(p));
}

static void a_nick_belongs_to_one_player(void **state)
{
    struct party *p = *state;
    struct bot *a = party_join(p, "", 1), *b = party_join(p, "", 1);
    assert_true(party_move(p, a, 0, 40, 0) && party_move(p, b, 1, 40, 0));
    bot_send(a, "T,/nick zoe");
    assert_true(party_hears(p, b, "zoe"));
    bot_send(b, "T,/nick zoe");
    bot_send(b, "T,still here");
    assert_true(party_hears(p, a, "still here"));
    assert_false(bot_heard(a, "zoe> still here"));
    assert_true(party_passed(p));
}

static void chat_reaches_everybody_and_a_private_line_only_two(void **state)
{
    struct party *p = *state;
    struct bot *a = party_join(p, "", -1), *b = party_join(p, "", -1), *c = party_join(p, "", -1);
    bot_send(b, "T,/nick bea");
    assert_true(party_hears(p, c, "bea"));
    bot_send(a, "T,@bea psst");
    assert_true(party_hears(p, b, "psst"));
    assert_true(party_hears(p, a, "psst"));
    bot_send(a, "T,hello all, commas too");
    assert_true(party_hears(p, c, "hello all, commas too"));
    assert_true(party_hears(p, a, "hello all, commas too"));
    assert_false(bot_heard(c, "psst"));
    assert_true(party_passed(p));
}

int main(void)
{
    alarm(120);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_raw_client_gets_its_place_the_time_a_greeting_and_its_chunk, up, down),
        cmocka_unit_test_setup_teardown(players_see_each_other_come_move_and_leave, up, down),
        cmocka_unit_test_setup_teardown(an_edit_a_light_and_a_sign_reach_those_who_hold_the_chunk, up, down),
        cmocka_unit_test_setup_teardown(a_refused_edit_is_taken_back_from_its_author, up, down),
        cmocka_unit_test_setup_teardown(who_comes_back_by_name_stands_where_he_stood, up, down),
        cmocka_unit_test_setup_teardown(who_fell_asleep_in_a_tunnel_wakes_up_in_it, up, down),
        cmocka_unit_test_setup_teardown(a_nick_belongs_to_one_player, up, down),
        cmocka_unit_test_setup_teardown(chat_reaches_everybody_and_a_private_line_only_two, up, down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
