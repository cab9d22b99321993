/* Joining, talking and leaving: what one player and his neighbours are told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/log.h"
#include "proto/base/metrics.h"
#include "tests/lib/gateway_rig.h"

static int setup(void **state)
{
    *state = rig_new(NULL);
    return 0;
}

static int teardown(void **state)
{
    rig_free(*state);
    return 0;
}

static bool starts_in_order(const char *out, const char *const *starts, unsigned n)
{
    const char *at = out;
    for (unsigned k = 0; k < n; k++) {
        if (strncmp(at, starts[k], strlen(starts[k])) != 0)
            return false;
        at = strchr(at, '\n') + 1;
    }
    return true;
}

static void a_guest_is_greeted_in_the_seeds_order(void **state)
{
    struct rig *r = *state;
    static const char *const lines[] = {"U,1,0.00,0.00,0.00,", "E,", "T,Welcome to Craft!",
                                        "T,Type \"/help\" for a list of commands.", "T,guest1 has joined the game."};
    rig_connect(r, 1);
    rig_say(r, 1, "V,1\nA,,\n");
    rig_pass(r, 100);
    assert_true(starts_in_order(rig_out(r, 1), lines, 5));
}

/* The client sends its first C lines without waiting for anything. */
static void lines_before_the_welcome_are_kept_and_done_after_it(void **state)
{
    struct rig *r = *state;
    rig_connect(r, 1);
    rig_say(r, 1, "V,1\nA,,\nC,2,2,0\nT,hello\n");
    assert_true(r->players[1].paused);
    rig_pass(r, 200);
    assert_false(r->players[1].paused);
    const struct msg *get = rig_sent(r, MSG_CHUNK_GET, NULL);
    assert_non_null(get);
    assert_int_equal(get->chunk_get.chunk.p, 2);
    assert_non_null(strstr(rig_out(r, 1), "T,guest1> hello\n"));
}

static void without_an_auth_line_one_is_a_guest(void **state)
{
    struct rig *r = *state;
    rig_connect(r, 1);
    rig_say(r, 1, "V,1\n");
    rig_pass(r, 500);
    assert_string_equal(rig_out(r, 1), "");
    rig_pass(r, 800);
    assert_non_null(strstr(rig_out(r, 1), "guest1 has joined"));
}

static void another_version_is_closed(void **state)
{
    struct rig *r = *state;
    rig_connect(r, 1);
    rig_say(r, 1, "V,2\n");
    assert_string_equal(r->players[1].closed, "another version");
    rig_connect(r, 2);
    rig_say(r, 2, "GET / HTTP/1.1\r\n");
    assert_string_equal(r->players[2].closed, "no version");
}

static void who_says_nothing_is_closed_and_who_joined_is_not(void **state)
{
    struct rig *r = *state;
    rig_connect(r, 1);
    rig_join(r, 2, "");
    rig_pass(r, 11000);
    assert_string_equal(r->players[1].closed, "said nothing");
    rig_pass(r, 60000);
    assert_null(r->players[2].closed);
}

/* A load balancer resets what is silent for minutes. */
static void a_silent_session_is_sent_a_line_that_clients_ignore(void **state)
{
    struct rig *r = *state;
    rig_join(r, 1, "");
    rig_pass(r, 29000);
    assert_string_equal(rig_out(r, 1), "");
    rig_pass(r, 1500);
    assert_string_equal(rig_out(r, 1), "C,0,0\n");
}

static void a_place_comes_back_by_name(void **state)
{
    struct rig *r = *state;
    r->place_found = true;
    r->place = (struct place){100.5F, 33, -7, 1, 0};
    rig_connect(r, 1);
    rig_say(r, 1, "V,1\nA,ann,secret\n");
    rig_pass(r, 200);
    const char *out = rig_out(r, 1);
    assert_memory_equal(out, "U,1,100.50,33.00,-7.00,1.00,0.00\n", 33);
    assert_non_null(strstr(out, "T,ann has joined the game."));
    const struct msg *enter = rig_sent(r, MSG_ENTER, NULL);
    assert_non_null(enter);
    assert_string_equal(enter->enter.account, "ann");
    assert_int_equal(enter->enter.visit, 1);
}

static void a_nick_is_taken_once(void **state)
{
    struct rig *r = *state;
    rig_join(r, 1, "ann");
    rig_connect(r, 2);
    rig_say(r, 2, "V,1\nA,ann,\n");
    rig_pass(r, 200);
    assert_non_null(strstr(rig_out(r, 2), "That nick is taken; you are guest2."));
    rig_say(r, 2, "T,/nick ann\n");
    rig_pass(r, 50);
    assert_string_equal(rig_out(r, 2), "T,The nick ann is taken.\n");
    rig_say(r, 2, "T,/nick bob\n");
    rig_pass(r, 50);
    assert_string_equal(rig_out(r, 2), "T,guest2 is now known as bob\n");
    rig_say(r, 2, "T,/nick guest9\n");
    assert_string_equal(rig_out(r, 2), "T,The nick guest9 is taken.\n");
}

static void names_that_would_break_the_protocol_make_guests(void **state)
{
    struct rig *r = *state;
    char line[400] = "V,1\nA,";
    memset(line + 6, 'x', 300);
    strcpy(line + 306, ",\n");
    rig_connect(r, 1);
    rig_say(r, 1, line);
    rig_pass(r, 200);
    assert_non_null(strstr(rig_out(r, 1), "T,guest1 has joined"));
    rig_connect(r, 2);
    rig_say(r, 2, "V,1\nA,a\x01 b,\n");
    rig_pass(r, 200);
    assert_non_null(strstr(rig_out(r, 2), "T,guest2 has joined"));
    rig_say(r, 2, "T,/nick two words\n");
    assert_non_null(strstr(rig_out(r, 2), "no commas or blanks"));
}

static void all_hear_what_is_said_and_one_hears_what_is_for_him(void **state)
{
    struct rig *r = *state;
    rig_join(r, 1, "ann");
    rig_join(r, 2, "bob");
    rig_join(r, 3, "eve");
    rig_out(r, 1);
    rig_out(r, 2);
    rig_say(r, 1, "T,hi, all\n");
    assert_string_equal(rig_out(r, 1), "T,ann> hi, all\n");
    assert_string_equal(rig_out(r, 2), "T,ann> hi, all\n");
    rig_out(r, 3);
    rig_say(r, 1, "T,@bob psst\n");
    assert_string_equal(rig_out(r, 1), "T,ann> @bob psst\n");
    assert_string_equal(rig_out(r, 2), "T,ann> @bob psst\n");
    assert_string_equal(rig_out(r, 3), "");
    rig_say(r, 1, "T,@nobody psst\n");
    rig_pass(r, 50);
    assert_string_equal(rig_out(r, 1), "T,Unrecognized nick: \"nobody\"\n");
}

static void a_flood_of_chat_is_cut_with_one_notice(void **state)
{
    struct rig *r = *state;
    unsigned lines = 0;
    rig_join(r, 1, "");
    for (unsigned k = 0; k < 100; k++)
        rig_say(r, 1, "T,spam\n");
    for (const char *at = rig_out(r, 1); (at = strchr(at, '\n')); at++)
        lines++;
    assert_int_equal(lines, 21);
    rig_pass(r, 5000);
    rig_out(r, 1);
    rig_say(r, 1, "T,again\n");
    assert_string_equal(rig_out(r, 1), "T,guest1> again\n");
}

static void commands_answer_as_the_seed_does(void **state)
{
    struct rig *r = *state;
    rig_join(r, 1, "");
    rig_join(r, 2, "bob");
    rig_out(r, 1);
    rig_say(r, 1, "T,/spawn\n");
    assert_string_equal(rig_out(r, 1), "U,1,0.00,0.00,0.00,0.00,0.00\n");
    rig_say(r, 1, "T,/pq 3 -2\n");
    assert_string_equal(rig_out(r, 1), "U,1,96.00,0.00,-64.00,0.00,0.00\n");
    rig_say(r, 1, "T,/pq 9 x\n");
    assert_string_equal(rig_out(r, 1), "T,Help: /pq P Q\n");
    rig_say(r, 1, "T,/fly\n");
    assert_string_equal(rig_out(r, 1), "T,Unrecognized command: \"/fly\"\n");
    rig_say(r, 1, "T,/help view\n");
    assert_string_equal(rig_out(r, 1), "T,Help: /view N\nT,Set viewing distance, 1 - 24.\n");
    rig_say(r, 2, "P,5.00,20.00,6.00,0.00,0.00\n");
    rig_say(r, 1, "T,/goto bob\n");
    assert_string_equal(rig_out(r, 1), "U,1,5.00,20.00,6.00,0.00,0.00\n");
    rig_say(r, 1, "T,/list\n");
    rig_pass(r, 50);
    const char *out = rig_out(r, 1);
    assert_non_null(strstr(out, "Players: "));
    assert_non_null(strstr(out, "bob"));
    assert_non_null(strstr(out, "guest1"));
}

/* Bytes are nobody's friend: none of it ends a session, let alone the process. */
static void bad_lines_are_ignored(void **state)
{
    struct rig *r = *state;
    char junk[5000];
    rig_join(r, 1, "");
    rig_say(r, 1, "Q,1\nP,nan,1,1,1,1\nP,1e30,0,0,0,0\nB,1,2,3\nC,99999999999,0,0\nS,1,2,3\nT\n\n\r\n");
    rig_say(r, 1, "P,600000000.00,1.00,0.00,0.00,0.00\nB,2147483647,5,0,1\nV,1\n");
    memset(junk, 'B', sizeof junk - 1);
    junk[sizeof junk - 1] = '\0';
    rig_say(r, 1, junk);
    rig_say(r, 1, "\nT,still here\n");
    assert_string_equal(rig_out(r, 1), "T,guest1> still here\n");
    rig_say(r, 1, "C,2147483647,-2147483648,0\n");
    assert_string_equal(rig_out(r, 1), "C,2147483647,-2147483648\n");
    rig_pass(r, 100);
    assert_null(rig_sent(r, MSG_EDITS, NULL));
}

static void lines_may_come_in_any_pieces(void **state)
{
    struct rig *r = *state;
    static const char text[] = "T,one\r\nT,two\n";
    rig_join(r, 1, "");
    for (const char *at = text; *at; at++)
        rig_say(r, 1, (char[]){*at, '\0'});
    assert_int_equal(r->players[1].n_unread, 0);
    assert_string_equal(rig_out(r, 1), "T,guest1> one\nT,guest1> two\n");
}

static void the_others_hear_who_left(void **state)
{
    struct rig *r = *state;
    rig_join(r, 1, "ann");
    rig_join(r, 2, "bob");
    rig_out(r, 1);
    gateway_player_gone(r->gateway, 2, "left");
    assert_string_equal(rig_out(r, 1), "T,bob has disconnected from the server.\n");
    const struct msg *leave = rig_sent(r, MSG_LEAVE, NULL);
    assert_non_null(leave);
    assert_false(leave->leave.moved_on);
    rig_pass(r, 50); /* the nick is free again */
    rig_say(r, 1, "T,/nick bob\n");
    rig_pass(r, 50);
    assert_string_equal(rig_out(r, 1), "T,ann is now known as bob\n");
}

static void a_full_gateway_says_so(void **state)
{
    struct gateway_settings set;
    gateway_settings_default(&set);
    set.sessions_max = 1;
    rig_free(*state);
    struct rig *r = *state = rig_new(&set);
    rig_join(r, 1, "");
    rig_connect(r, 2);
    assert_string_equal(r->players[2].closed, "full");
    assert_non_null(strstr(rig_out(r, 2), "full"));
    assert_null(r->players[1].closed);
}

static void stopping_warns_then_closes_and_leaves(void **state)
{
    struct rig *r = *state;
    rig_join(r, 1, "");
    gateway_stop(r->gateway, 2000);
    rig_pass(r, 50);
    assert_non_null(strstr(rig_out(r, 1), "goes away in"));
    assert_string_equal(gateway_not_ready(r->gateway), "stopping");
    assert_false(gateway_stopped(r->gateway));
    rig_pass(r, 2200);
    assert_string_equal(r->players[1].closed, "gateway stopped");
    assert_true(gateway_stopped(r->gateway));
    assert_false(model_redis_lives(r->redis, ROLE_GATEWAY, RIG_GATE));
}

/* A reclaimed machine's two minutes: often enough to be seen, seldom enough to play on. */
static void the_end_is_told_as_it_comes_nearer(void **state)
{
    static const unsigned at_s[] = {120, 60, 30, 10};
    struct rig *r = *state;
    char want[64];
    rig_join(r, 1, "");
    gateway_stop(r->gateway, 120000);
    for (unsigned left_s = 120, told = 0; left_s > 0; left_s--) {
        rig_pass(r, 500); /* the middle of that second */
        const char *out = rig_out(r, 1);
        snprintf(want, sizeof want, "goes away in %u seconds", left_s);
        if (told < sizeof at_s / sizeof *at_s && at_s[told] == left_s) {
            assert_non_null(strstr(out, want));
            told++;
        } else {
            assert_null(strstr(out, "goes away"));
        }
        assert_null(r->players[1].closed);
        rig_pass(r, 500);
    }
    rig_pass(r, 100);
    assert_string_equal(r->players[1].closed, "gateway stopped");
}

/* The load balancer needs time to notice; whom it sends until then is served, and told. */
static void who_comes_while_it_stops_is_served_and_told(void **state)
{
    struct rig *r = *state;
    rig_join(r, 1, "");
    gateway_stop(r->gateway, 60000);
    rig_pass(r, 8000);
    rig_connect(r, 2);
    rig_say(r, 2, "V,1\nA,,\n");
    rig_pass(r, 1000);
    const char *out = rig_out(r, 2);
    assert_non_null(strstr(out, "Welcome"));
    assert_non_null(strstr(out, "goes away in 5"));
    const char *told = strstr(rig_out(r, 1), "goes away");
    assert_non_null(told);
    assert_null(strstr(told + 1, "goes away")); /* nobody else hears it again */
    assert_null(r->players[2].closed);
}

/* Two paths of the metadata tell of one interruption; each is reckoned from the clock anew. */
static void the_same_end_reckoned_again_is_not_told_again(void **state)
{
    struct rig *r = *state;
    rig_join(r, 1, "");
    gateway_stop(r->gateway, 115000);
    gateway_stop(r->gateway, 114000);
    rig_pass(r, 1000);
    const char *told = strstr(rig_out(r, 1), "goes away in");
    assert_non_null(told);
    assert_null(strstr(told + 1, "goes away in"));
}

static void a_nearer_end_is_told_at_once(void **state)
{
    struct rig *r = *state;
    rig_join(r, 1, "");
    gateway_stop(r->gateway, 120000);
    rig_pass(r, 1000);
    assert_non_null(strstr(rig_out(r, 1), "goes away in 120 seconds"));
    gateway_stop(r->gateway, 20000);
    gateway_stop(r->gateway, 120000); /* a later one changes nothing */
    rig_pass(r, 1000);
    assert_non_null(strstr(rig_out(r, 1), "goes away in 20 seconds"));
    rig_pass(r, 20000);
    assert_true(gateway_stopped(r->gateway));
}

static void a_client_too_slow_for_its_lines_is_closed(void **state)
{
    struct rig *r = *state;
    rig_join(r, 1, "");
    r->players[1].queued = r->set.out_hard_bytes;
    rig_say(r, 1, "T,hello\n");
    assert_string_equal(r->players[1].closed, "too slow");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_guest_is_greeted_in_the_seeds_order, setup, teardown),
        cmocka_unit_test_setup_teardown(lines_before_the_welcome_are_kept_and_done_after_it, setup, teardown),
        cmocka_unit_test_setup_teardown(without_an_auth_line_one_is_a_guest, setup, teardown),
        cmocka_unit_test_setup_teardown(another_version_is_closed, setup, teardown),
        cmocka_unit_test_setup_teardown(who_says_nothing_is_closed_and_who_joined_is_not, setup, teardown),
        cmocka_unit_test_setup_teardown(a_silent_session_is_sent_a_line_that_clients_ignore, setup, teardown),
        cmocka_unit_test_setup_teardown(a_place_comes_back_by_name, setup, teardown),
        cmocka_unit_test_setup_teardown(a_nick_is_taken_once, setup, teardown),
        cmocka_unit_test_setup_teardown(names_that_would_break_the_protocol_make_guests, setup, teardown),
        cmocka_unit_test_setup_teardown(all_hear_what_is_said_and_one_hears_what_is_for_him, setup, teardown),
        cmocka_unit_test_setup_teardown(a_flood_of_chat_is_cut_with_one_notice, setup, teardown),
        cmocka_unit_test_setup_teardown(commands_answer_as_the_seed_does, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_lines_are_ignored, setup, teardown),
        cmocka_unit_test_setup_teardown(lines_may_come_in_any_pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(the_others_hear_who_left, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_gateway_says_so, setup, teardown),
        cmocka_unit_test_setup_teardown(stopping_warns_then_closes_and_leaves, setup, teardown),
        cmocka_unit_test_setup_teardown(the_end_is_told_as_it_comes_nearer, setup, teardown),
        cmocka_unit_test_setup_teardown(who_comes_while_it_stops_is_served_and_told, setup, teardown),
        cmocka_unit_test_setup_teardown(the_same_end_reckoned_again_is_not_told_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_nearer_end_is_told_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_client_too_slow_for_its_lines_is_closed, setup, teardown),
    };
    alarm(60);
    log_set_fd(-1);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    metrics_free();
    return failed;
}
