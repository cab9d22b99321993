/* Who shows whom: P, N and D, and where the owners are told that players stand. */
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

static const struct cell_pos home = {0, 0}, east = {1, 0};

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

/* A player in the middle of the home cell; the node that has the cell. */
static uint64_t one_player(struct rig *r)
{
    uint64_t node = 0;
    rig_join(r, 1, "");
    rig_say(r, 1, "P,64.00,30.00,64.00,0.00,0.00\n");
    rig_pass(r, 200);
    assert_non_null(rig_sent(r, MSG_ENTER, &node));
    rig_out(r, 1);
    rig_forget_sent(r);
    return node;
}

static struct msg_player other(uint32_t id, float x, uint64_t count, const char *nick)
{
    return (struct msg_player){
        .player = id, .session = {99, id}, .count = count, .place = {.x = x, .y = 30, .z = 64}, .nick = nick};
}

static void frame(struct rig *r, uint64_t node, struct cell_pos at, struct msg_player *players, unsigned n,
                  uint32_t *left, unsigned n_left)
{
    struct msg_in_cell c = {.cell = at,
                            .epoch = rig_cell(r, at)->epoch,
                            .all = true,
                            .players = players,
                            .n_players = n,
                            .left = left,
                            .n_left = n_left};
    struct msg m = {.kind = MSG_PRESENCE};
    m.presence.cells = &c;
    m.presence.n = 1;
    rig_hear(r, node, &m);
}

static unsigned lines(const char *out, const char *start)
{
    unsigned n = 0;
    for (const char *at = out; *at; at = strchr(at, '\n') + 1)
        n += strncmp(at, start, strlen(start)) == 0;
    return n;
}

static void a_name_follows_the_first_position_once(void **state)
{
    struct rig *r = *state;
    uint64_t node = one_player(r);
    struct msg_player p = other(500, 60, 1, "bob");
    frame(r, node, home, &p, 1, NULL, 0);
    rig_pass(r, 400);
    assert_string_equal(rig_out(r, 1), "P,500,60.00,30.00,64.00,0.00,0.00\nN,500,bob\n");
    p = other(500, 61, 2, "");
    frame(r, node, home, &p, 1, NULL, 0);
    rig_pass(r, 60);
    assert_string_equal(rig_out(r, 1), "P,500,61.00,30.00,64.00,0.00,0.00\n");
    p = other(500, 10, 1, ""); /* late: from the owner that it came from */
    frame(r, node, home, &p, 1, NULL, 0);
    rig_pass(r, 60);
    assert_string_equal(rig_out(r, 1), "");
}

static void one_is_never_shown_to_oneself(void **state)
{
    struct rig *r = *state;
    uint64_t node = one_player(r);
    struct msg_player me = other(1, 64, 3, "guest1");
    uint32_t left = 1;
    me.session = (struct session_id){RIG_GATE, 1};
    frame(r, node, home, &me, 1, NULL, 0);
    rig_pass(r, 400);
    frame(r, node, home, NULL, 0, &left, 1);
    rig_pass(r, 3000);
    assert_string_equal(rig_out(r, 1), "");
}

static void the_nearest_127_are_shown(void **state)
{
    enum { CROWD = 200 };
    struct rig *r = *state;
    uint64_t node = one_player(r);
    struct msg_player crowd[CROWD];
    for (unsigned k = 0; k < CROWD; k++)
        crowd[k] = other(1000 + k, 64 + 0.25F * (float)k, 1, "x");
    frame(r, node, home, crowd, CROWD, NULL, 0);
    rig_pass(r, 300);
    const char *out = rig_out(r, 1);
    assert_int_equal(lines(out, "P,"), 127);
    assert_non_null(strstr(out, "P,1126,"));
    assert_null(strstr(out, "P,1127,"));
    crowd[199] = other(1199, 64, 2, "x"); /* comes near: the furthest makes room first */
    frame(r, node, home, crowd, CROWD, NULL, 0);
    rig_pass(r, 300);
    out = rig_out(r, 1);
    assert_int_equal(lines(out, "D,"), 1);
    assert_non_null(strstr(out, "D,1126\n"));
    assert_true(strstr(out, "D,1126\n") < strstr(out, "P,1199,"));
}

static void who_left_is_removed(void **state)
{
    struct rig *r = *state;
    uint64_t node = one_player(r);
    struct msg_player p = other(500, 60, 1, "bob");
    uint32_t left = 500;
    frame(r, node, home, &p, 1, NULL, 0);
    rig_pass(r, 400);
    rig_out(r, 1);
    frame(r, node, home, NULL, 0, &left, 1);
    rig_pass(r, 400);
    assert_string_equal(rig_out(r, 1), "D,500\n");
}

/* A second in no frame, while frames come. */
static void who_is_in_no_frame_for_a_second_is_removed(void **state)
{
    struct rig *r = *state;
    uint64_t node = one_player(r);
    struct msg_player both[] = {other(500, 60, 1, "bob"), other(501, 61, 1, "eve")};
    for (unsigned k = 0; k < 9; k++) {
        frame(r, node, home, k ? &both[1] : both, k ? 1 : 2, NULL, 0);
        rig_pass(r, 100);
    }
    assert_int_equal(lines(rig_out(r, 1), "D,"), 0);
    for (unsigned k = 0; k < 8; k++) {
        frame(r, node, home, &both[1], 1, NULL, 0);
        rig_pass(r, 100);
    }
    const char *out = rig_out(r, 1);
    assert_int_equal(lines(out, "D,500"), 1);
    assert_int_equal(lines(out, "D,501"), 0);
}

/* While a cell changes hands its players stand still; they do not vanish. */
static void nobody_is_removed_because_a_cell_has_no_owner(void **state)
{
    struct rig *r = *state;
    uint64_t node = one_player(r);
    struct msg_player p = other(500, 60, 1, "bob");
    frame(r, node, home, &p, 1, NULL, 0);
    rig_pass(r, 400);
    rig_out(r, 1);
    rig_cell(r, home)->parked = true;
    rig_cut(r, node);
    rig_pass(r, 8000);
    assert_int_equal(lines(rig_out(r, 1), "D,"), 0);
}

static void who_walks_out_of_view_is_removed(void **state)
{
    struct rig *r = *state;
    uint64_t node = one_player(r);
    struct msg_player p = other(500, 60, 1, "bob");
    frame(r, node, home, &p, 1, NULL, 0);
    rig_pass(r, 400);
    rig_out(r, 1);
    rig_say(r, 1, "P,500.00,30.00,64.00,0.00,0.00\n");
    rig_pass(r, 400);
    assert_int_equal(lines(rig_out(r, 1), "D,500"), 1);
}

static void a_slow_client_is_spared_positions(void **state)
{
    struct rig *r = *state;
    uint64_t node = one_player(r);
    struct msg_player p = other(500, 60, 1, "bob");
    r->players[1].queued = r->set.out_soft_bytes + 1;
    frame(r, node, home, &p, 1, NULL, 0);
    rig_pass(r, 400);
    p = other(500, 62, 2, "bob");
    frame(r, node, home, &p, 1, NULL, 0);
    rig_pass(r, 200);
    assert_string_equal(rig_out(r, 1), "");
    r->players[1].queued = 0;
    rig_pass(r, 400);
    assert_string_equal(rig_out(r, 1), "P,500,62.00,30.00,64.00,0.00,0.00\nN,500,bob\n");
}

static void steps_go_to_the_owner_with_rising_counts(void **state)
{
    struct rig *r = *state;
    uint64_t node = one_player(r), at, count = 0;
    for (unsigned k = 0; k < 3; k++) {
        char line[64];
        snprintf(line, sizeof line, "P,%u.00,30.00,64.00,0.00,0.00\n", 65 + k);
        rig_say(r, 1, line);
        rig_pass(r, 100);
        const struct msg *m = rig_sent(r, MSG_MOVES, &at);
        assert_non_null(m);
        assert_int_equal(at, node);
        assert_true(m->moves.moves[0].count > count);
        count = m->moves.moves[0].count;
    }
}

/* Into the new cell first, out of the old one then: nobody sees a gap. */
static void a_border_is_crossed_by_entering_then_leaving(void **state)
{
    struct rig *r = *state;
    one_player(r);
    rig_say(r, 1, "P,127.90,30.00,64.00,0.00,0.00\n");
    rig_pass(r, 100);
    const struct msg *enter = rig_sent(r, MSG_ENTER, NULL), *leave = rig_sent(r, MSG_LEAVE, NULL);
    assert_non_null(enter);
    assert_true(cell_eq(enter->enter.cell, east));
    assert_non_null(leave);
    assert_true(cell_eq(leave->leave.cell, home));
    assert_true(leave->leave.moved_on);
    assert_true(enter < leave);
}

static void a_player_stays_where_it_was_while_the_next_cell_is_parked(void **state)
{
    struct rig *r = *state;
    rig_cell(r, east)->parked = true;
    one_player(r);
    rig_say(r, 1, "P,130.00,30.00,64.00,0.00,0.00\n");
    rig_pass(r, 300);
    assert_null(rig_sent(r, MSG_LEAVE, NULL));
    rig_cell(r, east)->parked = false;
    rig_pass(r, 4000);
    const struct msg *enter = rig_sent(r, MSG_ENTER, NULL);
    assert_non_null(enter);
    assert_true(enter->enter.place.x == 130);
    assert_non_null(rig_sent(r, MSG_LEAVE, NULL));
}

static void players_are_entered_again_at_a_new_owner(void **state)
{
    struct rig *r = *state;
    uint64_t node = one_player(r);
    rig_cut(r, node);
    rig_cell(r, home)->epoch = 2;
    rig_pass(r, 2000);
    const struct msg *enter = rig_sent(r, MSG_ENTER, NULL);
    assert_non_null(enter);
    assert_string_equal(enter->enter.nick, "guest1");
    assert_true(enter->enter.place.x == 64);
}

static void interest_that_is_gone_is_unsubscribed(void **state)
{
    struct rig *r = *state;
    one_player(r);
    gateway_player_gone(r->gateway, 1, "left");
    rig_pass(r, 30000);
    struct gateway_stats stats;
    gateway_stats(r->gateway, &stats);
    assert_int_equal(stats.cells, 0);
    assert_non_null(rig_sent(r, MSG_UNSUBSCRIBE, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_name_follows_the_first_position_once, setup, teardown),
        cmocka_unit_test_setup_teardown(one_is_never_shown_to_oneself, setup, teardown),
        cmocka_unit_test_setup_teardown(the_nearest_127_are_shown, setup, teardown),
        cmocka_unit_test_setup_teardown(who_left_is_removed, setup, teardown),
        cmocka_unit_test_setup_teardown(who_is_in_no_frame_for_a_second_is_removed, setup, teardown),
        cmocka_unit_test_setup_teardown(nobody_is_removed_because_a_cell_has_no_owner, setup, teardown),
        cmocka_unit_test_setup_teardown(who_walks_out_of_view_is_removed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_slow_client_is_spared_positions, setup, teardown),
        cmocka_unit_test_setup_teardown(steps_go_to_the_owner_with_rising_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(a_border_is_crossed_by_entering_then_leaving, setup, teardown),
        cmocka_unit_test_setup_teardown(a_player_stays_where_it_was_while_the_next_cell_is_parked, setup, teardown),
        cmocka_unit_test_setup_teardown(players_are_entered_again_at_a_new_owner, setup, teardown),
        cmocka_unit_test_setup_teardown(interest_that_is_gone_is_unsubscribed, setup, teardown),
    };
    alarm(60);
    log_set_fd(-1);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    metrics_free();
    return failed;
}
