/* Who stands in a cell, and what a frame says of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <unistd.h>

#include "node/world/players.h"

static struct msg_player frame[MSG_ITEMS_MAX];

static int setup(void **state)
{
    *state = players_new();
    return 0;
}

static int teardown(void **state)
{
    players_free(*state);
    return 0;
}

static struct msg_enter enters(uint64_t session, uint64_t count, float x)
{
    return (struct msg_enter){.session = {1, session},
                              .player = (uint32_t)session,
                              .nick = "ann",
                              .account = "",
                              .visit = 1,
                              .count = count,
                              .place = {.x = x}};
}

static void enter(struct players *p, uint64_t session, uint64_t count, float x, uint64_t link)
{
    struct msg_enter e = enters(session, count, x);
    players_enter(p, &e, link);
}

static void the_highest_count_has_the_place(void **state)
{
    struct players *p = *state;
    enter(p, 1, 5, 10, 3);
    struct msg_move m = {.session = {1, 1}, .count = 7, .place = {.x = 20}};
    assert_true(players_move(p, &m));
    m.count = 6;
    m.place.x = 30;
    assert_false(players_move(p, &m));
    enter(p, 1, 4, 40, 3); /* late, of an older link */
    struct player *who = players_find(p, (struct session_id){1, 1});
    assert_true(who->place.x == 20 && who->count == 7);
    m.session.count = 2;
    assert_false(players_move(p, &m));
}

static void a_frame_has_who_changed_and_a_whole_one_everybody(void **state)
{
    struct players *p = *state;
    enter(p, 1, 1, 0, 3);
    enter(p, 2, 1, 0, 3);
    assert_int_equal(players_frame(p, false, frame), 2);
    assert_string_equal(frame[0].nick, "ann");
    players_framed(p);
    assert_int_equal(players_frame(p, false, frame), 0);
    assert_int_equal(players_frame(p, true, frame), 2);
    assert_string_equal(frame[0].nick, "ann");
    struct msg_move m = {.session = {1, 2}, .count = 2, .place = {.x = 1}};
    players_move(p, &m);
    assert_int_equal(players_frame(p, false, frame), 1);
    assert_int_equal(frame[0].player, 2);
    assert_string_equal(frame[0].nick, ""); /* it was said */
    struct msg_enter e = enters(1, 1, 0);
    e.nick = "bob";
    players_framed(p);
    players_enter(p, &e, 3);
    assert_int_equal(players_frame(p, false, frame), 1);
    assert_string_equal(frame[0].nick, "bob");
}

static void who_leaves_is_told_of_and_who_moves_on_is_not(void **state)
{
    struct players *p = *state;
    enter(p, 1, 1, 0, 3);
    enter(p, 2, 1, 0, 3);
    players_leave(p, players_find(p, (struct session_id){1, 1}), false);
    assert_int_equal(p->n_left, 0);
    players_leave(p, players_find(p, (struct session_id){1, 2}), true);
    assert_int_equal(p->n_left, 1);
    assert_int_equal(p->left[0], 2);
    assert_int_equal(players_count(p), 0);
    players_framed(p);
    assert_int_equal(p->n_left, 0);
}

/* The new link may come before the old one is noticed to be down. */
static void a_link_that_goes_down_orphans_only_its_own(void **state)
{
    struct players *p = *state;
    enter(p, 1, 1, 0, 3);
    enter(p, 2, 1, 0, 3);
    enter(p, 2, 1, 0, 4);
    players_orphan(p, 3, 1000);
    assert_true(players_find(p, (struct session_id){1, 1})->orphan_ms == 1000);
    assert_true(players_find(p, (struct session_id){1, 2})->orphan_ms == 0);
    enter(p, 1, 1, 0, 4);
    assert_true(players_find(p, (struct session_id){1, 1})->orphan_ms == 0);
}

static void a_cell_shows_no_more_than_a_frame_holds(void **state)
{
    struct players *p = *state;
    for (uint64_t k = 1; k <= MSG_ITEMS_MAX + 5; k++)
        enter(p, k, 1, 0, 3);
    assert_int_equal(players_count(p), MSG_ITEMS_MAX);
    assert_int_equal(players_frame(p, true, frame), MSG_ITEMS_MAX);
}

int main(void)
{
    alarm(60);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_highest_count_has_the_place, setup, teardown),
        cmocka_unit_test_setup_teardown(a_frame_has_who_changed_and_a_whole_one_everybody, setup, teardown),
        cmocka_unit_test_setup_teardown(who_leaves_is_told_of_and_who_moves_on_is_not, setup, teardown),
        cmocka_unit_test_setup_teardown(a_link_that_goes_down_orphans_only_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cell_shows_no_more_than_a_frame_holds, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
