/* An edit from its line to its answer, and what everybody else is told of it. */
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

static const struct cell_pos home = {0, 0};

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

static struct row block(int32_t x, int32_t y, int32_t z, int w, uint64_t rev)
{
    return (struct row){.at = {x, y, z}, .kind = ROW_BLOCK, .w = (int16_t)w, .rev = rev, .key = (uint32_t)rev};
}

static struct row by(struct row r, uint64_t author)
{
    r.author = (struct session_id){RIG_GATE, author};
    return r;
}

/* The node that has the cell, as the gateway believes. */
static uint64_t owner(struct rig *r)
{
    uint64_t node = 0;
    rig_say(r, 1, "C,2,2,0\n");
    rig_pass(r, 100);
    assert_non_null(rig_sent(r, MSG_CHUNK_GET, &node));
    rig_forget_sent(r);
    return node;
}

/* A player who holds chunk p,q: the question is answered with nothing. */
static void hold(struct rig *r, uint64_t player, int p, int q)
{
    char line[64];
    const struct msg *get;
    uint64_t node;
    snprintf(line, sizeof line, "C,%d,%d,0\n", p, q);
    rig_say(r, player, line);
    rig_pass(r, 100);
    while ((get = rig_sent(r, MSG_CHUNK_GET, &node)))
        rig_part(r, node, get, NULL, 0, 0);
    rig_out(r, player);
}

/* Two players, far from any block that the tests touch, both holding chunks 0,0 and 1,0. Returns the node. */
static uint64_t two_players(struct rig *r)
{
    for (uint64_t p = 1; p <= 2; p++) {
        rig_join(r, p, "");
        rig_say(r, p, "P,16.00,80.00,16.00,0.00,0.00\n");
        hold(r, p, 0, 0);
        hold(r, p, 1, 0);
    }
    uint64_t node = owner(r);
    rig_pass(r, 10000); /* whatever was told is read by now */
    rig_out(r, 1);
    rig_out(r, 2);
    rig_forget_sent(r);
    return node;
}

static struct edit next_edit(struct rig *r)
{
    const struct msg *m = rig_sent(r, MSG_EDITS, NULL);
    assert_non_null(m);
    assert_int_equal(m->edits.n, 1);
    return m->edits.edits[0];
}

static void answer(struct rig *r, uint64_t node, const struct edit *e, enum outcome o, uint64_t rev, struct row *rows,
                   unsigned n)
{
    struct edit_result res = {.session = e->session, .seq = e->seq, .outcome = o, .cell = home, .rev = rev};
    res.reason = o == EDIT_REFUSED ? REFUSED_OCCUPIED : REFUSED_NOT_SAID;
    res.rows = rows;
    res.n_rows = n;
    rig_result(r, node, &res);
}

static void an_edit_is_numbered_and_sent_at_once(void **state)
{
    struct rig *r = *state;
    two_players(r);
    rig_say(r, 1, "B,5,20,6,3\nL,5,20,6,15\nS,5,20,6,2,a, sign\n");
    const struct msg *m = rig_sent(r, MSG_EDITS, NULL);
    assert_non_null(m);
    assert_int_equal(m->edits.n, 3);
    for (unsigned k = 0; k < 3; k++) {
        assert_int_equal(m->edits.edits[k].seq, k + 1);
        assert_int_equal(m->edits.edits[k].floor, 1);
        assert_int_equal(m->edits.edits[k].kind, k);
    }
    assert_string_equal(m->edits.edits[2].text, "a, sign");
}

static void an_accepted_edit_goes_to_the_others_and_not_to_its_author(void **state)
{
    struct rig *r = *state;
    uint64_t node = two_players(r);
    rig_say(r, 1, "B,31,20,6,3\n");
    struct edit e = next_edit(r);
    struct row row = by(block(31, 20, 6, 3, 9), 1);
    rig_rows(r, node, home, &row, 1);
    answer(r, node, &e, EDIT_ACCEPTED, 9, NULL, 0);
    assert_string_equal(rig_out(r, 1), "");
    const char *out = rig_out(r, 2); /* the block lies on the edge of its chunk */
    assert_non_null(strstr(out, "B,0,0,31,20,6,3\nR,0,0\n"));
    assert_non_null(strstr(out, "B,1,0,31,20,6,-3\nR,1,0\n"));
}

static void a_refused_edit_is_corrected_mirrors_included(void **state)
{
    struct rig *r = *state;
    uint64_t node = two_players(r);
    rig_say(r, 1, "B,31,20,6,3\n");
    struct edit e = next_edit(r);
    struct row was = block(31, 20, 6, 7, 4);
    answer(r, node, &e, EDIT_REFUSED, 4, &was, 1);
    const char *out = rig_out(r, 1);
    assert_non_null(strstr(out, "B,0,0,31,20,6,7\n"));
    assert_non_null(strstr(out, "B,1,0,31,20,6,-7\n"));
    assert_non_null(strstr(out, "R,0,0\n"));
    assert_non_null(strstr(out, "R,1,0\n"));
    assert_non_null(strstr(out, refusal_text(REFUSED_OCCUPIED)));
    assert_string_equal(rig_out(r, 2), "");
}

/* The client shows a light that the block never had: no row says so. */
static void a_refused_light_and_sign_are_taken_back(void **state)
{
    struct rig *r = *state;
    uint64_t node = two_players(r);
    struct row was = block(5, 20, 6, 0, 0);
    rig_say(r, 1, "L,5,20,6,15\n");
    struct edit e = next_edit(r);
    answer(r, node, &e, EDIT_REFUSED, 0, &was, 1);
    assert_non_null(strstr(rig_out(r, 1), "L,0,0,5,20,6,0\n"));
    rig_say(r, 1, "S,5,20,6,3,boo\n");
    e = next_edit(r);
    answer(r, node, &e, EDIT_REFUSED, 0, &was, 1);
    assert_non_null(strstr(rig_out(r, 1), "S,0,0,5,20,6,3,\n"));
}

static void rows_of_a_block_wait_for_the_answer_and_go_if_overwritten(void **state)
{
    struct rig *r = *state;
    uint64_t node = two_players(r);
    rig_say(r, 1, "B,5,20,6,0\n");
    struct edit e = next_edit(r);
    struct row rows[] = {by(block(5, 20, 6, 8, 10), 2), by(block(6, 20, 6, 8, 11), 2)};
    rig_rows(r, node, home, rows, 2);
    assert_string_equal(rig_out(r, 1), "B,0,0,6,20,6,8\nR,0,0\n");
    struct row mine = by(block(5, 20, 6, 0, 12), 1);
    rig_rows(r, node, home, &mine, 1);
    answer(r, node, &e, EDIT_ACCEPTED, 12, NULL, 0);
    assert_string_equal(rig_out(r, 1), ""); /* its client shows the break already */
    assert_null(strstr(rig_out(r, 2), "5,20,6,8"));
}

static void a_row_newer_than_the_edit_follows_it(void **state)
{
    struct rig *r = *state;
    uint64_t node = two_players(r);
    rig_say(r, 1, "B,5,20,6,0\n");
    struct edit e = next_edit(r);
    struct row rows[] = {by(block(5, 20, 6, 0, 12), 1), by(block(5, 20, 6, 9, 13), 2)};
    rig_rows(r, node, home, rows, 2);
    assert_string_equal(rig_out(r, 1), "");
    answer(r, node, &e, EDIT_ACCEPTED, 12, NULL, 0);
    assert_string_equal(rig_out(r, 1), "B,0,0,5,20,6,9\nR,0,0\n");
}

/* Place, refused; break, accepted: the first's correction must not bring the block back. */
static void a_correction_waits_for_the_later_edits_of_its_block(void **state)
{
    struct rig *r = *state;
    uint64_t node = two_players(r);
    rig_say(r, 1, "B,5,20,6,3\n");
    struct edit place = next_edit(r);
    rig_say(r, 1, "B,5,20,6,0\n");
    struct edit broke = next_edit(r);
    struct row was = block(5, 20, 6, 7, 4);
    answer(r, node, &place, EDIT_REFUSED, 4, &was, 1);
    assert_null(strstr(rig_out(r, 1), "5,20,6"));
    struct row mine = by(block(5, 20, 6, 0, 5), 1);
    rig_rows(r, node, home, &mine, 1);
    answer(r, node, &broke, EDIT_ACCEPTED, 5, NULL, 0);
    assert_string_equal(rig_out(r, 1), "");
}

/* The older line reaches the client after its own edit: without an echo it would show it for ever. */
static void an_edit_that_crossed_a_line_about_its_block_is_echoed(void **state)
{
    struct rig *r = *state;
    uint64_t node = two_players(r);
    struct row theirs = by(block(5, 20, 6, 8, 10), 2);
    rig_rows(r, node, home, &theirs, 1);
    assert_string_equal(rig_out(r, 1), "B,0,0,5,20,6,8\nR,0,0\n");
    rig_say(r, 1, "B,5,20,6,0\n");
    struct edit e = next_edit(r);
    struct row mine = by(block(5, 20, 6, 0, 12), 1);
    rig_rows(r, node, home, &mine, 1);
    answer(r, node, &e, EDIT_ACCEPTED, 12, NULL, 0);
    assert_non_null(strstr(rig_out(r, 1), "B,0,0,5,20,6,0\n"));
}

/* A line of a break clears the client's signs, one that it set itself just now too. */
static void an_own_sign_is_told_again_after_an_older_break(void **state)
{
    struct rig *r = *state;
    uint64_t node = two_players(r);
    rig_say(r, 1, "S,5,20,6,1,mine\n");
    struct edit e = next_edit(r);
    struct row gone = by(block(5, 20, 6, 0, 10), 2);
    rig_rows(r, node, home, &gone, 1);
    answer(r, node, &e, EDIT_ACCEPTED, 11, NULL, 0);
    assert_string_equal(rig_out(r, 1), "B,0,0,5,20,6,0\nS,0,0,5,20,6,1,mine\nR,0,0\n");
}

/* A cell was handed to a node that joined since the list of nodes was read. */
static void a_new_owner_that_is_not_in_the_list_is_looked_for_at_once(void **state)
{
    enum { STEP_MS = 10, SOON_MS = 200 };
    struct rig *r = *state;
    uint64_t node = two_players(r), other = 3 - node, at = 0;
    r->dead[other] = r->unreachable[other] = true;
    rig_cut(r, other);
    rig_pass(r, 2000); /* renewed twice */
    rig_forget_sent(r);
    r->dead[other] = r->unreachable[other] = false;
    rig_cell(r, home)->parked = true; /* the old owner grants it no more */
    struct msg_where moved = {.cell = home, .owner = other, .epoch = 2};
    struct msg m = {.kind = MSG_NOT_MINE};
    m.not_mine.where = &moved;
    m.not_mine.n = 1;
    rig_hear(r, node, &m);
    for (unsigned ms = 0; ms < SOON_MS && at != other; ms += STEP_MS) {
        rig_pass(r, STEP_MS);
        if (rig_sent(r, MSG_SUBSCRIBE, &at) && at == node)
            rig_hear(r, node, &m);
    }
    assert_int_equal(at, other);
}

static void a_new_owner_is_sent_the_unanswered_from_the_oldest(void **state)
{
    struct rig *r = *state;
    uint64_t node = two_players(r), other = 3 - node;
    for (unsigned k = 0; k < 3; k++) {
        char line[64];
        snprintf(line, sizeof line, "B,%u,20,6,3\n", 5 + k);
        rig_say(r, 1, line);
    }
    struct edit first = next_edit(r);
    answer(r, node, &first, EDIT_ACCEPTED, 7, NULL, 0);
    rig_forget_sent(r);
    struct msg_where moved = {.cell = home, .owner = other, .epoch = 2};
    struct msg m = {.kind = MSG_NOT_MINE};
    m.not_mine.where = &moved;
    m.not_mine.n = 1;
    rig_cell(r, home)->epoch = 2;
    rig_cell(r, home)->rev = 8;
    rig_hear(r, node, &m);
    rig_say(r, 1, "B,9,20,6,3\n"); /* parked: it must not overtake the others */
    rig_pass(r, 50);
    uint64_t at = 0;
    const struct msg *sub = rig_sent(r, MSG_SUBSCRIBE, &at);
    assert_non_null(sub);
    assert_int_equal(at, other);
    assert_true(sub->subscribe.wants[0].resume);
    assert_int_equal(sub->subscribe.wants[0].epoch, 1);
    const struct msg *again = rig_sent(r, MSG_EDITS, &at);
    assert_non_null(again);
    assert_int_equal(at, other);
    assert_int_equal(again->edits.n, 3);
    for (unsigned k = 0; k < 3; k++) {
        assert_int_equal(again->edits.edits[k].seq, k + 2);
        assert_int_equal(again->edits.edits[k].floor, 2);
    }
}

/* One message tells of several chunks: what a builder placed last is not seen before what it was built upon. */
static void rows_of_several_chunks_are_told_in_their_order(void **state)
{
    struct rig *r = *state;
    uint64_t node = two_players(r);
    const struct row rows[] = {by(block(5, 100, 6, 1, 1), 1),  by(block(40, 100, 6, 2, 2), 1),
                               by(block(6, 100, 6, 3, 3), 1),  by(block(31, 100, 6, 4, 4), 1),
                               by(block(41, 100, 6, 5, 5), 1), by(block(7, 100, 6, 6, 6), 1)};
    rig_rows(r, node, home, rows, 6);
    const char *said = rig_out(r, 2), *at = said;
    static const char *const lines[] = {
        "B,0,0,5,100,6,1\n",   "B,1,0,40,100,6,2\n", "B,0,0,6,100,6,3\n", "B,0,0,31,100,6,4\n",
        "B,1,0,31,100,6,-4\n", "B,1,0,41,100,6,5\n", "B,0,0,7,100,6,6\n", "R,0,0\n"};
    for (unsigned k = 0; k < sizeof lines / sizeof *lines; k++) {
        at = strstr(at, lines[k]);
        if (!at)
            fail_msg("%s is missing, or too early, in:\n%s", lines[k], said);
    }
}

static void what_an_old_epoch_says_is_dropped(void **state)
{
    struct rig *r = *state;
    uint64_t node = two_players(r);
    rig_cut(r, node);
    rig_cell(r, home)->epoch = 5;
    rig_pass(r, 1000);
    rig_out(r, 2);
    struct row row = by(block(5, 20, 6, 8, 10), 1);
    struct msg m = {.kind = MSG_ROWS};
    m.rows.cell = home;
    m.rows.epoch = 4;
    m.rows.rev = 10;
    m.rows.rows = &row;
    m.rows.n = 1;
    rig_hear(r, 1, &m);
    rig_hear(r, 2, &m);
    assert_string_equal(rig_out(r, 2), "");
}

static void a_wanted_edit_is_sent_again_once(void **state)
{
    struct rig *r = *state;
    uint64_t node = two_players(r);
    rig_say(r, 1, "B,5,20,6,3\nB,6,20,6,3\nB,7,20,6,3\n");
    const struct msg *m = rig_sent(r, MSG_EDITS, NULL);
    struct edit e = m->edits.edits[1];
    answer(r, node, &e, EDIT_WANTED, 0, NULL, 0);
    answer(r, node, &e, EDIT_WANTED, 0, NULL, 0);
    m = rig_sent(r, MSG_EDITS, NULL);
    assert_non_null(m);
    assert_int_equal(m->edits.n, 2);
    assert_int_equal(m->edits.edits[0].seq, 2);
    assert_null(rig_sent(r, MSG_EDITS, NULL));
}

/* /fsphere and /paste: thousands of lines in one frame. */
static void a_builders_burst_is_bounded_and_loses_nothing(void **state)
{
    enum { BURST = 5000, WIDTH = 50 };
    struct gateway_settings set;
    gateway_settings_default(&set);
    set.session_edits_max = 1024;
    rig_free(*state);
    struct rig *r = *state = rig_new(&set);
    uint64_t node = two_players(r), next = 1;
    char *text = malloc(BURST * 24);
    size_t len = 0;
    for (unsigned k = 0; k < BURST; k++)
        len += (size_t)sprintf(text + len, "B,%u,%u,%u,1\n", k % WIDTH % 30, 20 + k / 900, k / WIDTH % 30);
    rig_say(r, 1, text);
    free(text);
    assert_true(r->players[1].paused);
    for (unsigned turns = 0; next <= BURST && turns < 100; turns++) {
        const struct msg *m;
        while ((m = rig_sent(r, MSG_EDITS, NULL))) {
            for (unsigned k = 0; k < m->edits.n; k++) {
                assert_int_equal(m->edits.edits[k].seq, next);
                answer(r, node, &m->edits.edits[k], EDIT_ACCEPTED, next++, NULL, 0);
            }
        }
        struct gateway_stats stats;
        gateway_stats(r->gateway, &stats);
        assert_true(stats.unanswered_edits <= set.session_edits_max);
        rig_pass(r, 10);
    }
    assert_int_equal(next, BURST + 1);
    assert_int_equal(r->players[1].n_unread, 0);
    assert_false(r->players[1].paused);
}

static void who_waits_for_an_owner_is_told_once(void **state)
{
    struct rig *r = *state;
    uint64_t node = two_players(r);
    rig_cell(r, home)->parked = true;
    struct msg_where nobody = {.cell = home};
    struct msg m = {.kind = MSG_NOT_MINE};
    m.not_mine.where = &nobody;
    m.not_mine.n = 1;
    rig_hear(r, node, &m);
    rig_say(r, 1, "B,5,20,6,3\n");
    rig_pass(r, 8000);
    const char *out = rig_out(r, 1), *told = strstr(out, "T,Your edits are safe");
    told = told ? told : strstr(out, "T,The world here");
    assert_non_null(told);
    assert_null(strstr(told + 1, "moving house. One moment.\nT,"));
    assert_null(rig_sent(r, MSG_EDITS, NULL));
    rig_cell(r, home)->parked = false;
    rig_cell(r, home)->epoch = 2;
    rig_pass(r, 4000);
    assert_int_equal(next_edit(r).seq, 1);
}

/* The player is gone; what it built before is not. */
static void edits_outlive_their_players_socket(void **state)
{
    struct rig *r = *state;
    uint64_t node = two_players(r);
    rig_cut(r, node);
    rig_cell(r, home)->epoch = 2;
    rig_say(r, 1, "B,5,20,6,3\n");
    gateway_player_gone(r->gateway, 1, "left");
    rig_pass(r, 1000);
    struct edit e = next_edit(r);
    struct gateway_stats stats;
    assert_int_equal(e.session.count, 1);
    for (uint64_t n = 1; n <= RIG_NODES; n++)
        answer(r, n, &e, EDIT_ACCEPTED, 1, NULL, 0);
    rig_pass(r, 20);
    gateway_stats(r->gateway, &stats);
    assert_int_equal(stats.unanswered_edits, 0);
}

/* ---- chunks ---- */

static void a_corner_chunk_is_answered_part_by_part(void **state)
{
    struct rig *r = *state;
    struct rig_cell *late = rig_cell(r, (struct cell_pos){-1, -1});
    const struct msg *get;
    uint64_t node;
    unsigned n = 0;
    late->parked = true;
    rig_join(r, 1, "");
    rig_say(r, 1, "P,40.00,80.00,40.00,0.00,0.00\n");
    rig_say(r, 1, "C,0,0,17\n");
    rig_pass(r, 200);
    rig_out(r, 1);
    while ((get = rig_sent(r, MSG_CHUNK_GET, &node))) {
        bool own = cell_eq(get->chunk_get.cell, home);
        struct row row = own ? block(3, 20, 3, 5, 30)
                             : block(get->chunk_get.cell.i ? -1 : 3, 20, get->chunk_get.cell.j ? -1 : 3, 6, 40);
        assert_int_equal(get->chunk_get.key, own ? 17 : 0);
        rig_part(r, node, get, &row, 1, own ? 30 : 0);
        const char *out = rig_out(r, 1);
        assert_non_null(strstr(out, own ? "B,0,0,3,20,3,5\nR,0,0\nK,0,0,30\n" : ",20,"));
        assert_null(strstr(out, "C,0,0\n"));
        n++;
    }
    assert_int_equal(n, 3); /* the fourth waits for an owner */
    late->parked = false;
    rig_pass(r, 8000);
    get = rig_sent(r, MSG_CHUNK_GET, &node);
    assert_non_null(get);
    rig_out(r, 1);
    rig_part(r, node, get, NULL, 0, 0);
    assert_string_equal(rig_out(r, 1), "C,0,0\n");
}

static void a_key_is_not_told_when_a_row_was_held_back(void **state)
{
    struct rig *r = *state;
    uint64_t node = two_players(r);
    rig_say(r, 1, "B,70,20,70,3\nC,2,2,0\n");
    struct edit e = next_edit(r);
    const struct msg *get = rig_sent(r, MSG_CHUNK_GET, NULL);
    assert_non_null(get);
    struct row rows[] = {block(70, 20, 70, 4, 3), block(71, 20, 70, 4, 4)};
    rig_part(r, node, get, rows, 2, 4);
    assert_string_equal(rig_out(r, 1), "B,2,2,71,20,70,4\nR,2,2\nC,2,2\n");
    answer(r, node, &e, EDIT_REFUSED, 4, rows, 1);
    assert_non_null(strstr(rig_out(r, 1), "B,2,2,70,20,70,4\n"));
}

static void a_broken_link_asks_for_the_chunk_again(void **state)
{
    struct rig *r = *state;
    uint64_t node = two_players(r);
    rig_say(r, 1, "C,2,2,0\n");
    const struct msg *get = rig_sent(r, MSG_CHUNK_GET, NULL), copy = *get;
    rig_cut(r, node);
    rig_cell(r, home)->epoch = 2;
    rig_pass(r, 2000);
    get = rig_sent(r, MSG_CHUNK_GET, &node);
    assert_non_null(get);
    assert_int_not_equal(get->request_id, copy.request_id);
    rig_out(r, 1);
    rig_part(r, node, &copy, NULL, 0, 0); /* an answer to the question that was given up */
    assert_string_equal(rig_out(r, 1), "");
    rig_part(r, node, get, NULL, 0, 0);
    assert_string_equal(rig_out(r, 1), "C,2,2\n");
}

static void chunks_far_behind_are_let_go(void **state)
{
    struct rig *r = *state;
    uint64_t node = two_players(r);
    rig_say(r, 1, "P,1200.00,80.00,16.00,0.00,0.00\n");
    rig_pass(r, 11000);
    rig_say(r, 1, "P,1201.00,80.00,16.00,0.00,0.00\n");
    rig_out(r, 1);
    struct row row = by(block(5, 20, 6, 8, 10), 2);
    rig_rows(r, node, home, &row, 1);
    assert_string_equal(rig_out(r, 1), "");
    row = by(block(5, 20, 6, 0, 11), 0);
    rig_rows(r, node, home, &row, 1);
    assert_non_null(strstr(rig_out(r, 2), "B,0,0,5,20,6,0\n"));
}

/* ---- the lift ---- */

/* Any B line for the cell of head or feet throws the client to the surface: he is put back in the same write. */
static void a_row_at_the_body_comes_last_and_ends_with_the_place(void **state)
{
    struct rig *r = *state;
    uint64_t node = two_players(r);
    rig_say(r, 1, "P,10.00,21.00,10.00,1.00,0.50\n");
    struct row rows[] = {by(block(10, 20, 10, 0, 10), 2), by(block(20, 20, 20, 3, 11), 2)};
    rig_rows(r, node, home, rows, 2);
    assert_string_equal(rig_out(r, 1), "B,0,0,20,20,20,3\nB,0,0,10,20,10,0\nR,0,0\nU,1,10.00,21.00,10.00,1.00,0.50\n");
    struct row far_away = by(block(10, 30, 10, 3, 12), 2);
    rig_rows(r, node, home, &far_away, 1);
    assert_string_equal(rig_out(r, 1), "B,0,0,10,30,10,3\nR,0,0\n");
}

static void who_was_sent_to_the_ground_is_never_sent_there_again(void **state)
{
    struct rig *r = *state;
    uint64_t node = two_players(r);
    rig_say(r, 1, "T,/spawn\n");
    rig_out(r, 1);
    struct row row = by(block(0, 1, 0, 0, 10), 2);
    rig_rows(r, node, home, &row, 1);
    assert_null(strstr(rig_out(r, 1), "U,"));
}

static void the_first_chunk_of_a_tunnel_leaves_its_player_there(void **state)
{
    struct rig *r = *state;
    const struct msg *get;
    uint64_t node;
    r->place_found = true;
    r->place = (struct place){70, 5, 70, 0, 0};
    rig_join(r, 1, "mole");
    rig_say(r, 1, "C,2,2,0\n");
    rig_pass(r, 100);
    get = rig_sent(r, MSG_CHUNK_GET, &node);
    assert_non_null(get);
    struct row rows[] = {block(70, 5, 70, 0, 1), block(70, 4, 70, 0, 2), block(80, 5, 70, 0, 3)};
    rig_part(r, node, get, rows, 3, 3);
    assert_string_equal(rig_out(r, 1), "B,2,2,80,5,70,0\nB,2,2,70,5,70,0\nB,2,2,70,4,70,0\nR,2,2\n"
                                       "U,1,70.00,5.00,70.00,0.00,0.00\nK,2,2,3\nC,2,2\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_edit_is_numbered_and_sent_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(an_accepted_edit_goes_to_the_others_and_not_to_its_author, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refused_edit_is_corrected_mirrors_included, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refused_light_and_sign_are_taken_back, setup, teardown),
        cmocka_unit_test_setup_teardown(rows_of_a_block_wait_for_the_answer_and_go_if_overwritten, setup, teardown),
        cmocka_unit_test_setup_teardown(a_row_newer_than_the_edit_follows_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_correction_waits_for_the_later_edits_of_its_block, setup, teardown),
        cmocka_unit_test_setup_teardown(an_edit_that_crossed_a_line_about_its_block_is_echoed, setup, teardown),
        cmocka_unit_test_setup_teardown(an_own_sign_is_told_again_after_an_older_break, setup, teardown),
        cmocka_unit_test_setup_teardown(a_new_owner_that_is_not_in_the_list_is_looked_for_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_new_owner_is_sent_the_unanswered_from_the_oldest, setup, teardown),
        cmocka_unit_test_setup_teardown(rows_of_several_chunks_are_told_in_their_order, setup, teardown),
        cmocka_unit_test_setup_teardown(what_an_old_epoch_says_is_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(a_wanted_edit_is_sent_again_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_builders_burst_is_bounded_and_loses_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(who_waits_for_an_owner_is_told_once, setup, teardown),
        cmocka_unit_test_setup_teardown(edits_outlive_their_players_socket, setup, teardown),
        cmocka_unit_test_setup_teardown(a_corner_chunk_is_answered_part_by_part, setup, teardown),
        cmocka_unit_test_setup_teardown(a_key_is_not_told_when_a_row_was_held_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_broken_link_asks_for_the_chunk_again, setup, teardown),
        cmocka_unit_test_setup_teardown(chunks_far_behind_are_let_go, setup, teardown),
        cmocka_unit_test_setup_teardown(a_row_at_the_body_comes_last_and_ends_with_the_place, setup, teardown),
        cmocka_unit_test_setup_teardown(who_was_sent_to_the_ground_is_never_sent_there_again, setup, teardown),
        cmocka_unit_test_setup_teardown(the_first_chunk_of_a_tunnel_leaves_its_player_there, setup, teardown),
    };
    alarm(60);
    log_set_fd(-1);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    metrics_free();
    return failed;
}
