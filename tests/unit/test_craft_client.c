/* The model of the Craft client: what it makes of a server's lines, and what it holds against a server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "node/world/cell.h"
#include "node/world/terrain.h"
#include "proto/base/rng.h"
#include "tests/lib/craft_client.h"

enum { AIR = 200 };

static char out[CRAFT_OUT_MAX];
static char why[256];

static struct craft_client *joined(const char *you)
{
    struct craft_client *c = craft_client_new(NULL, NULL);
    craft_client_hello(c, "", "", out);
    craft_client_feed(c, you, strlen(you));
    return c;
}

static void hear(struct craft_client *c, const char *lines)
{
    craft_client_feed(c, lines, strlen(lines));
}

static uint64_t offences(const struct craft_client *c, enum client_offence o)
{
    return craft_client_stats(c)->offences[o];
}

static void no_offence(const struct craft_client *c)
{
    assert_string_equal(craft_client_stats(c)->first_offence, "");
    assert_int_equal(craft_client_stats(c)->offences_all, 0);
}

static void it_says_hello_as_the_client_does(void **state)
{
    (void)state;
    struct craft_client *c = craft_client_new(NULL, NULL);
    size_t len = craft_client_hello(c, "", "", out);
    assert_int_equal(len, 8);
    assert_memory_equal(out, "V,1\nA,,\n", 8);
    craft_client_free(c);
}

static void lines_may_come_split_anywhere(void **state)
{
    (void)state;
    static const char lines[] = "U,7,1.50,80.00,-2.25,0.10,0.20\nE,1000.5,600\nT,hello, you\r\n\n"
                                "P,8,1.00,2.00,3.00,0.00,0.00\nN,8,anna\nB,0,0,5,200,6,3\nR,0,0\nC,0,0\n";
    for (size_t cut = 0; cut < sizeof lines - 1; cut++) {
        struct craft_client *c = joined("");
        craft_client_feed(c, lines, cut);
        craft_client_feed(c, lines + cut, sizeof lines - 1 - cut);
        no_offence(c);
        assert_int_equal(craft_client_id(c), 7);
        assert_true(craft_client_place(c).x == 1.5f && craft_client_place(c).z == -2.25f);
        int32_t day;
        assert_true(craft_client_clock(c, &day) == 400.5 && day == 600);
        assert_string_equal(craft_client_chat(c, 0), "hello, you\r");
        assert_null(craft_client_chat(c, 1));
        assert_string_equal(craft_client_player(c, 8)->name, "anna");
        assert_int_equal(craft_client_block_at(c, (struct block_pos){5, 200, 6}), 3);
        assert_int_equal(craft_client_stats(c)->lines, 8);
        craft_client_free(c);
    }
}

static void it_loads_the_nearest_chunks_and_asks_with_the_cached_key(void **state)
{
    (void)state;
    struct craft_client *c = joined("U,1,0.00,100.00,0.00,0.00,0.00\nK,0,0,17\n");
    assert_true(craft_client_next_chunk(c, 2, out) > 0);
    assert_string_equal(out, "C,0,0,17\n");
    for (unsigned k = 1; k < 25; k++)
        assert_true(craft_client_next_chunk(c, 2, out) > 0);
    assert_int_equal(craft_client_next_chunk(c, 2, out), 0);
    assert_int_equal(craft_client_chunks(c), 25);
    craft_client_move(c, &(struct place){32 * 3, 100, 0, 0, 0}); /* 3 away: those at -2, 5 away, stay till 6 */
    while (craft_client_next_chunk(c, 2, out))
        ;
    assert_true(craft_client_holds(c, (struct chunk_pos){-2, 0}));
    craft_client_move(c, &(struct place){32 * 4, 100, 0, 0, 0});
    while (craft_client_next_chunk(c, 2, out))
        ;
    assert_false(craft_client_holds(c, (struct chunk_pos){-2, 0}));
    assert_true(craft_client_holds(c, (struct chunk_pos){-1, 0}));
    assert_true(craft_client_holds(c, (struct chunk_pos){6, -2}));
    craft_client_free(c);
}

static void the_cache_outlives_the_connection_but_not_its_signs(void **state)
{
    (void)state;
    struct craft_client *c = joined("U,1,0.00,100.00,0.00,0.00,0.00\n");
    hear(c, "B,0,0,5,200,6,3\nL,0,0,5,200,6,15\nS,0,0,5,200,6,2,hi, you\nK,0,0,4\nP,9,1,1,1,0,0\n");
    const struct client_player *others;
    assert_int_equal(craft_client_players(c, &others), 1);
    hear(c, "B,0,0,1");
    craft_client_hello(c, "", "", out);
    hear(c, "B,0,0,9,200,9,3\n"); /* the half line before is gone */
    assert_int_equal(craft_client_players(c, &others), 0);
    assert_int_equal(craft_client_id(c), 0);
    assert_int_equal(craft_client_chunks(c), 0);
    assert_int_equal(craft_client_key(c, (struct chunk_pos){0, 0}), 4);
    assert_int_equal(craft_client_block_at(c, (struct block_pos){5, 200, 6}), 3);
    no_offence(c);
    craft_client_free(c);
}

static void a_block_line_for_head_or_foot_lifts_the_player(void **state)
{
    (void)state;
    struct craft_client *c = joined("U,1,5.20,101.00,6.40,0.00,0.00\n");
    hear(c, "B,0,0,5,102,6,3\nB,0,0,5,99,6,3\nB,0,0,6,101,6,3\n");
    assert_true(craft_client_place(c).y == 101);
    hear(c, "B,0,0,5,100,6,0\n"); /* even a needless 0, at the foot: up to the top of the column, the block at 102 */
    assert_true(craft_client_place(c).y == 104);
    assert_int_equal(craft_client_stats(c)->lifts, 1);
    hear(c, "B,0,0,5,104,6,0\n");
    assert_int_equal(craft_client_stats(c)->lifts, 2);
    hear(c, "B,0,0,5,102,6,17\n"); /* tall grass is no obstacle; the block at 99 is */
    hear(c, "B,0,0,5,103,6,0\n");
    assert_true(craft_client_place(c).y == 101);
    assert_int_equal(craft_client_stats(c)->lifts, 3);
    craft_client_free(c);
}

static void y_of_zero_means_the_ground(void **state)
{
    (void)state;
    struct craft_client *c = joined("U,1,5.00,0.00,6.00,0.00,0.00\n");
    int32_t top = BLOCK_Y_MAX;
    while (terrain_block(5, top, 6) == 0 || terrain_block(5, top, 6) >= 16)
        top--;
    assert_true(craft_client_place(c).y == (float)top + 2);
    no_offence(c);
    craft_client_talk(c, "/pq 3 4", out);
    hear(c, "U,1,5.00,0.00,6.00,0.00,0.00\n");
    no_offence(c);
    hear(c, "U,1,5.00,0.00,6.00,0.00,0.00\n");
    assert_int_equal(offences(c, OFFENCE_GROUNDED), 1);
    craft_client_free(c);
}

static void positions_are_told_when_moved_and_not_too_often(void **state)
{
    (void)state;
    struct craft_client *c = joined("U,1,1.00,80.00,2.00,0.00,0.00\n");
    assert_true(craft_client_position(c, 1000, out) > 0);
    assert_string_equal(out, "P,1.00,80.00,2.00,0.00,0.00\n");
    craft_client_move(c, &(struct place){1.5f, 80, 2, 0.25f, -1});
    assert_int_equal(craft_client_position(c, 1100, out), 0);
    assert_true(craft_client_position(c, 1101, out) > 0);
    assert_string_equal(out, "P,1.50,80.00,2.00,0.25,-1.00\n");
    assert_int_equal(craft_client_position(c, 1300, out), 0); /* stands still */
    craft_client_move(c, &(struct place){1.505f, 80, 2, 0.25f, -1});
    assert_int_equal(craft_client_position(c, 1500, out), 0); /* as good as still */
    craft_client_free(c);
}

static void own_edits_are_applied_at_once_with_their_mirrors(void **state)
{
    (void)state;
    struct craft_client *c = joined("U,1,1.00,80.00,2.00,0.00,0.00\n");
    while (craft_client_next_chunk(c, 1, out))
        ;
    assert_true(craft_client_block(c, (struct block_pos){31, AIR, 31}, 4, out) > 0);
    assert_string_equal(out, "B,31,200,31,4\n");
    assert_int_equal(craft_client_block_at(c, (struct block_pos){31, AIR, 31}), 4);
    craft_client_block(c, (struct block_pos){3, AIR, 3}, 4, out);
    craft_client_block(c, (struct block_pos){3, AIR + 1, 3}, 17, out);
    assert_true(craft_client_hit(c, (struct block_pos){3, AIR, 3}, out) > 0);
    assert_string_equal(out, "B,3,200,3,0\nB,3,201,3,0\n"); /* the plant falls with it */
    craft_client_light(c, (struct block_pos){3, AIR, 3}, out);
    assert_string_equal(out, "L,3,200,3,15\n");
    craft_client_light(c, (struct block_pos){3, AIR, 3}, out);
    assert_string_equal(out, "L,3,200,3,0\n");
    craft_client_sign(c, (struct block_pos){3, AIR, 3}, 5, "a,b", out);
    assert_string_equal(out, "S,3,200,3,5,a,b\n");
    assert_int_equal(craft_client_talk(c, "", out), 0);
    craft_client_talk(c, "hello", out);
    assert_string_equal(out, "T,hello\n");
    craft_client_free(c);
}

/* Builder commands reach anywhere: nothing is kept, nothing breaks. */
static void edits_outside_the_world_are_said_but_not_held(void **state)
{
    (void)state;
    struct craft_client *c = joined("");
    assert_true(craft_client_block(c, (struct block_pos){INT32_MAX, 300, INT32_MIN}, 4, out) > 0);
    assert_true(craft_client_hit(c, (struct block_pos){0, INT32_MAX, 0}, out) > 0);
    assert_true(craft_client_light(c, (struct block_pos){0, -5, 0}, out) > 0);
    assert_true(craft_client_sign(c, (struct block_pos){0, 5, 0}, 9, "x", out) > 0);
    craft_client_free(c);
}

static void at_most_127_others_are_shown(void **state)
{
    (void)state;
    struct craft_client *c = joined("U,1,1.00,80.00,2.00,0.00,0.00\n");
    char line[80];
    for (int k = 1; k <= 129; k++) { /* the first is itself, which is harmless */
        snprintf(line, sizeof line, "P,%d,1.00,2.00,3.00,0.00,0.00\n", k);
        hear(c, line);
        assert_int_equal(offences(c, OFFENCE_CROWD), k > 128);
    }
    hear(c, "D,50\nP,129,1.00,2.00,3.00,0.00,0.00\nN,129,late\n");
    assert_int_equal(offences(c, OFFENCE_CROWD), 1);
    assert_null(craft_client_player(c, 50));
    assert_string_equal(craft_client_player(c, 129)->name, "late");
    assert_string_equal(craft_client_player(c, 100)->name, "player100");
    craft_client_free(c);
}

static void what_breaks_a_real_client_is_counted(void **state)
{
    (void)state;
    static const struct {
        enum client_offence offence;
        const char *line;
    } bad[] = {
        {OFFENCE_OWN_D, "D,1\n"},
        {OFFENCE_N_FIRST, "N,44,anna\n"},
        {OFFENCE_SIGN_BYTE, "S,0,0,1,20,1,0,gr\xc3\xbc\xc3\x9f\n"},
        {OFFENCE_KEY_BACK, "K,3,3,9\nK,3,3,8\n"},
        {OFFENCE_KEY_BACK, "K,4,4,-2147483648\n"},
        {OFFENCE_MISPLACED, "B,0,0,33,20,1,3\n"},
        {OFFENCE_MISPLACED, "B,0,0,32,20,1,3\n"}, /* a border row is a mirror */
        {OFFENCE_MISPLACED, "B,0,0,5,20,1,-3\n"}, /* an own one is not */
        {OFFENCE_MISPLACED, "B,0,0,5,256,1,3\n"},
        {OFFENCE_MISPLACED, "B,2147483647,-2147483648,5,20,1,3\n"},
        {OFFENCE_MISPLACED, "B,0,0,32,20,1,-2147483648\n"},
        {OFFENCE_MISPLACED, "L,0,0,32,20,1,15\n"},
        {OFFENCE_MISPLACED, "S,0,0,5,20,1,8,text\n"},
        {OFFENCE_GROUNDED, "U,1,5.00,0.00,5.00,0.00,0.00\n"},
        {OFFENCE_CLOCK, "E,nan,600\n"},
        {OFFENCE_CLOCK, "E,10.0,0\n"},
        {OFFENCE_MALFORMED, "P,5,nan,1,1,0,0\n"},
        {OFFENCE_MALFORMED, "B,0,0,1,2\n"},
        {OFFENCE_MALFORMED, "B,0,0,1,2,3,99999999999\n"},
        {OFFENCE_MALFORMED, "X,1\n"},
    };
    for (unsigned k = 0; k < sizeof bad / sizeof *bad; k++) {
        struct craft_client *c = joined("U,1,1.00,80.00,2.00,0.00,0.00\n");
        hear(c, bad[k].line);
        if (offences(c, bad[k].offence) != 1 || craft_client_stats(c)->offences_all != 1)
            fail_msg("%s: %s", bad[k].line, craft_client_stats(c)->first_offence);
        assert_memory_equal(craft_client_stats(c)->first_offence, client_offence_text(bad[k].offence), 4);
        craft_client_free(c);
    }
}

static void a_nul_or_an_endless_line_is_counted_and_passes(void **state)
{
    (void)state;
    struct craft_client *c = joined("U,1,1.00,80.00,2.00,0.00,0.00\n");
    craft_client_feed(c, "T,a\0b\n", 6);
    assert_int_equal(offences(c, OFFENCE_NUL), 1);
    for (unsigned k = 0; k < 5000; k++)
        craft_client_feed(c, "xyz", 3);
    assert_int_equal(offences(c, OFFENCE_LONG_LINE), 1);
    hear(c, "\nT,after\n");
    assert_string_equal(craft_client_chat(c, 0), "after");
    assert_int_equal(craft_client_stats(c)->offences_all, 2);
    craft_client_free(c);
}

static void random_bytes_do_no_harm(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 3);
    struct craft_client *c = joined("");
    static const char alphabet[] = "UBLSPNDKRCET,,,,,,0123456789-.\n\n";
    for (unsigned k = 0; k < 200000; k++) {
        char b = rng_below(&r, 50) ? alphabet[rng_below(&r, sizeof alphabet - 1)] : (char)rng_below(&r, 256);
        craft_client_feed(c, &b, 1);
    }
    assert_true(craft_client_stats(c)->offences_all > 0);
    craft_client_free(c);
}

/* ---- against a world ---- */

/* A server in few lines: one cell, two clients; what one does the other hears. */
struct table {
    struct cell *cell;
    struct arena *arena;
    struct craft_client *clients[2];
};

static void cell_as_world(void *world, struct chunk_pos at, craft_map_each *each, void *arg)
{
    cell_chunk_rows(world, at, 0, each, arg);
}

static void tell(struct craft_client *c, const struct row *r)
{
    char line[CRAFT_OUT_MAX];
    struct chunk_pos own = chunk_of_block(r->at.x, r->at.z), mirrors[MIRRORS_MAX];
    if (r->kind == ROW_LIGHT)
        craft_client_feed(c, line, craft_light(line, own, r->at, r->w));
    if (r->kind == ROW_SIGN)
        craft_client_feed(c, line, craft_sign(line, own, r->at, r->face, r->text));
    if (r->kind == ROW_BLOCK)
        craft_client_feed(c, line, craft_block(line, own, r->at, r->w));
    craft_client_feed(c, line, craft_redraw(line, own));
    unsigned n = r->kind == ROW_BLOCK ? chunk_mirrors(r->at.x, r->at.z, mirrors) : 0;
    for (unsigned k = 0; k < n; k++) {
        craft_client_feed(c, line, craft_block(line, mirrors[k], r->at, -r->w));
        craft_client_feed(c, line, craft_redraw(line, mirrors[k]));
    }
}

static void serve(struct table *t, unsigned author, const struct edit *e)
{
    struct row rows[EDIT_ROWS_MAX];
    unsigned n;
    enum refusal reason;
    if (cell_judge(t->cell, e, t->arena, rows, &n, &reason)) {
        cell_commit(t->cell, rows, n);
        for (unsigned k = 0; k < n; k++)
            tell(t->clients[!author], &rows[k]);
        return;
    }
    n = cell_block_now(t->cell, e->at, t->arena, rows);
    for (unsigned k = 0; k < n; k++)
        tell(t->clients[author], &rows[k]);
    if (n == 1 && e->kind == ROW_LIGHT) /* there is no light row yet: the author's is taken back */
        tell(t->clients[author], &(struct row){.at = e->at, .kind = ROW_LIGHT});
}

static unsigned check(const struct table *t, unsigned k)
{
    return craft_client_check(t->clients[k], cell_as_world, t->cell, why, sizeof why);
}

static int lay(void **state)
{
    struct table *t = test_calloc(1, sizeof *t);
    t->cell = cell_new((struct cell_pos){0, 0});
    t->arena = arena_new();
    for (unsigned k = 0; k < 2; k++) {
        t->clients[k] = joined("U,1,40.00,250.00,40.00,0.00,0.00\n");
        while (craft_client_next_chunk(t->clients[k], 1, out))
            ;
    }
    *state = t;
    return 0;
}

static int clear(void **state)
{
    struct table *t = *state;
    cell_free(t->cell);
    arena_free(t->arena);
    craft_client_free(t->clients[0]);
    craft_client_free(t->clients[1]);
    test_free(t);
    return 0;
}

static void a_difference_is_found_and_named(void **state)
{
    struct table *t = *state;
    struct craft_client *c = t->clients[0];
    assert_int_equal(check(t, 0), 0);
    craft_client_block(c, (struct block_pos){32, AIR, 40}, 5, out); /* on a border: the world never heard of it */
    assert_int_equal(check(t, 0), 2);
    assert_non_null(strstr(why, "in the world 0"));
    craft_client_block(c, (struct block_pos){32, AIR, 40}, 0, out);
    assert_int_equal(check(t, 0), 0);
    struct row r = {.at = {63, AIR, 63}, .w = 3, .rev = 1, .key = 1};
    assert_int_equal(cell_load_row(t->cell, &r, false),
                     ERR_OK); /* the client never heard of it: a corner, in 4 chunks */
    assert_int_equal(check(t, 0), 4);
    tell(c, &r);
    assert_int_equal(check(t, 0), 0);
    craft_client_sign(c, (struct block_pos){40, AIR, 40}, 1, "mine", out);
    assert_int_equal(check(t, 0), 1);
    assert_string_equal(why, "chunk 1,1: sign at 40,200,40 face 1 is \"mine\", in the world \"\"");
    craft_client_sign(c, (struct block_pos){40, AIR, 40}, 1, "", out);
    craft_client_light(c, (struct block_pos){40, AIR, 40}, out);
    assert_int_equal(check(t, 0), 1);
    craft_client_light(c, (struct block_pos){40, AIR, 40}, out);
    craft_client_block(c, (struct block_pos){40, 1, 40}, 0, out); /* a broken piece of ground */
    assert_int_equal(check(t, 0), 1);
    hear(c, "B,1,1,40,1,40,");
    char ground[32];
    snprintf(ground, sizeof ground, "%d\nR,1,1\n", terrain_block(40, 1, 40));
    hear(c, ground);
    assert_int_equal(check(t, 0), 0);
}

static void a_change_without_redraw_is_found(void **state)
{
    struct table *t = *state;
    struct row r = {.at = {40, AIR, 40}, .w = 3, .rev = 1, .key = 1};
    assert_int_equal(cell_load_row(t->cell, &r, false), ERR_OK);
    hear(t->clients[0], "B,1,1,40,200,40,3\n");
    assert_int_equal(check(t, 0), 1);
    assert_string_equal(why, "chunk 1,1: changed and not drawn");
    hear(t->clients[0], "R,1,1\n");
    assert_int_equal(check(t, 0), 0);
}

/* Thousands of edits of all kinds, good and refused, on inner, edge and corner columns, by turns: both see the world.
 */
static void two_clients_and_a_cell_agree_after_random_edits(void **state)
{
    struct table *t = *state;
    struct rng r;
    rng_seed(&r, 12);
    static const int32_t spots[] = {31, 32, 33, 40, 62, 63, 64};
    for (unsigned step = 0; step < 20000; step++) {
        unsigned author = rng_below(&r, 2);
        struct craft_client *c = t->clients[author];
        struct edit e = {.session = {1, author + 1}, .seq = step + 1};
        e.at = (struct block_pos){spots[rng_below(&r, 7)], rng_below(&r, 2) ? AIR : 5, spots[rng_below(&r, 7)]};
        switch (rng_below(&r, 8)) {
        case 0:
            e.kind = ROW_LIGHT;
            craft_client_light(c, e.at, out);
            assert_int_equal(sscanf(out, "L,%*d,%*d,%*d,%d", &e.w), 1);
            break;
        case 1:
            e.kind = ROW_SIGN;
            e.face = (uint8_t)rng_below(&r, SIGN_FACES);
            e.text = rng_below(&r, 3) ? "some, text" : "";
            craft_client_sign(c, e.at, e.face, e.text, out);
            break;
        default:
            e.w = rng_below(&r, 2) ? (int32_t)rng_below(&r, 24) : 0;
            craft_client_block(c, e.at, e.w, out);
        }
        serve(t, author, &e);
        arena_reset(t->arena);
        if (step % 500 == 499) {
            for (unsigned k = 0; k < 2; k++) {
                if (check(t, k))
                    fail_msg("client %u after step %u: %s", k, step, why);
                no_offence(t->clients[k]);
            }
        }
    }
    assert_int_equal(craft_client_stats(t->clients[0])->lifts, 0);
    print_message("a client of 9 chunks holds %zu bytes\n", craft_client_bytes(t->clients[0]));
}

int main(void)
{
    alarm(60);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_says_hello_as_the_client_does),
        cmocka_unit_test(lines_may_come_split_anywhere),
        cmocka_unit_test(it_loads_the_nearest_chunks_and_asks_with_the_cached_key),
        cmocka_unit_test(the_cache_outlives_the_connection_but_not_its_signs),
        cmocka_unit_test(a_block_line_for_head_or_foot_lifts_the_player),
        cmocka_unit_test(y_of_zero_means_the_ground),
        cmocka_unit_test(positions_are_told_when_moved_and_not_too_often),
        cmocka_unit_test(own_edits_are_applied_at_once_with_their_mirrors),
        cmocka_unit_test(edits_outside_the_world_are_said_but_not_held),
        cmocka_unit_test(at_most_127_others_are_shown),
        cmocka_unit_test(what_breaks_a_real_client_is_counted),
        cmocka_unit_test(a_nul_or_an_endless_line_is_counted_and_passes),
        cmocka_unit_test(random_bytes_do_no_harm),
        cmocka_unit_test_setup_teardown(a_difference_is_found_and_named, lay, clear),
        cmocka_unit_test_setup_teardown(a_change_without_redraw_is_found, lay, clear),
        cmocka_unit_test_setup_teardown(two_clients_and_a_cell_agree_after_random_edits, lay, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
