/* The rows of one chunk: compared with a plain array that holds the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "node/world/chunk.h"
#include "proto/base/rng.h"

static const struct chunk_pos here = {-3, 7};

static struct row block(int32_t dx, int32_t y, int32_t dz, int w, uint64_t rev)
{
    return (struct row){.at = {here.p * CHUNK_SIZE + dx, y, here.q * CHUNK_SIZE + dz},
                        .kind = ROW_BLOCK,
                        .w = (int16_t)w,
                        .key = (uint32_t)rev,
                        .rev = rev};
}

static struct row sign(int32_t dx, uint8_t face, const char *text, uint64_t rev)
{
    struct row r = block(dx, 20, 0, 0, rev);
    r.kind = ROW_SIGN;
    r.face = face;
    r.key = 0;
    r.text = text;
    return r;
}

static void count(const struct row *r, void *arg)
{
    (void)r;
    ++*(unsigned *)arg;
}

static void every_block_of_a_chunk_can_have_a_row(void **state)
{
    (void)state;
    struct chunk *c = chunk_new(here);
    uint64_t rev = 0;
    for (int32_t dx = 0; dx < CHUNK_SIZE; dx++) {
        for (int32_t y = 1; y <= BLOCK_Y_MAX; y++) {
            for (int32_t dz = 0; dz < CHUNK_SIZE; dz++) {
                rev++;
                struct row r = block(dx, y, dz, (int)(rev % 64), rev);
                assert_true(chunk_put(c, &r, false));
            }
        }
    }
    assert_int_equal(chunk_count(c), CHUNK_SIZE * CHUNK_SIZE * BLOCK_Y_MAX);
    rev = 0;
    for (int32_t dx = 0; dx < CHUNK_SIZE; dx++) {
        for (int32_t y = 1; y <= BLOCK_Y_MAX; y++) {
            for (int32_t dz = 0; dz < CHUNK_SIZE; dz++) {
                rev++;
                struct row want = block(dx, y, dz, (int)(rev % 64), rev), got;
                assert_true(chunk_get(c, ROW_BLOCK, want.at, 0, &got));
                assert_memory_equal(&got.at, &want.at, sizeof got.at);
                assert_int_equal(got.w, want.w);
                assert_int_equal(got.rev, rev);
            }
        }
    }
    assert_true(chunk_bytes(c) / chunk_count(c) < 32);
    chunk_free(c);
}

/* Replay and snapshots bring rows twice and late: the newest stays. */
static void an_older_row_never_replaces_a_newer_one(void **state)
{
    (void)state;
    struct chunk *c = chunk_new(here);
    struct row got, newer = block(1, 2, 3, 5, 10), same = block(1, 2, 3, 6, 10), older = block(1, 2, 3, 7, 9);
    assert_true(chunk_put(c, &newer, false));
    assert_false(chunk_put(c, &same, true));
    assert_false(chunk_put(c, &older, true));
    assert_true(chunk_get(c, ROW_BLOCK, newer.at, 0, &got));
    assert_int_equal(got.w, 5);
    assert_int_equal(chunk_dirty(c), 0);
    assert_int_equal(chunk_count(c), 1);
    chunk_free(c);
}

static void kinds_and_faces_do_not_mix(void **state)
{
    (void)state;
    struct chunk *c = chunk_new(here);
    struct row got, b = block(4, 20, 0, 9, 1), l = block(4, 20, 0, 15, 2), s1 = sign(4, 1, "one", 3),
                    s7 = sign(4, 7, "seven", 4);
    l.kind = ROW_LIGHT;
    l.key = 0;
    assert_false(chunk_has_signs(c));
    assert_true(chunk_put(c, &b, false) && chunk_put(c, &l, false) && chunk_put(c, &s1, false) &&
                chunk_put(c, &s7, false));
    assert_true(chunk_has_signs(c));
    assert_true(chunk_get(c, ROW_BLOCK, b.at, 0, &got) && got.w == 9 && got.key == 1 && !got.text);
    assert_true(chunk_get(c, ROW_LIGHT, b.at, 0, &got) && got.w == 15);
    assert_true(chunk_get(c, ROW_SIGN, b.at, 1, &got));
    assert_string_equal(got.text, "one");
    assert_true(chunk_get(c, ROW_SIGN, b.at, 7, &got) && got.face == 7);
    assert_string_equal(got.text, "seven");
    assert_false(chunk_get(c, ROW_SIGN, b.at, 2, &got));
    struct row gone = sign(4, 1, "", 5);
    assert_true(chunk_put(c, &gone, false));
    assert_true(chunk_get(c, ROW_SIGN, b.at, 1, &got));
    assert_string_equal(got.text, "");
    assert_int_equal(chunk_key(c), 1);
    assert_int_equal(chunk_rev(c), 5);
    chunk_free(c);
}

/* Each neighbour is shown exactly the rows whose column the client would mirror into it. */
static void a_border_is_what_the_neighbour_mirrors(void **state)
{
    (void)state;
    struct chunk *c = chunk_new(here);
    unsigned want[3][3] = {{0}};
    uint64_t rev = 0;
    for (int32_t dx = 0; dx < CHUNK_SIZE; dx++) {
        for (int32_t dz = 0; dz < CHUNK_SIZE; dz++) {
            struct row r = block(dx, 30, dz, 1, ++rev);
            assert_true(chunk_put(c, &r, false));
            r = block(dx, 30, dz, 0, ++rev); /* a change of the same block is not a second row */
            assert_true(chunk_put(c, &r, false));
            struct chunk_pos to[MIRRORS_MAX];
            unsigned n = chunk_mirrors(r.at.x, r.at.z, to);
            for (unsigned k = 0; k < n; k++)
                want[to[k].p - here.p + 1][to[k].q - here.q + 1]++;
        }
    }
    for (int32_t dp = -1; dp <= 1; dp++) {
        for (int32_t dq = -1; dq <= 1; dq++) {
            unsigned got = 0;
            if (dp || dq)
                chunk_border_rows(c, (struct chunk_pos){here.p + dp, here.q + dq}, count, &got);
            assert_int_equal(got, want[dp + 1][dq + 1]);
            assert_int_equal(got, dp && dq ? 1 : dp || dq ? CHUNK_SIZE : 0);
        }
    }
    chunk_free(c);
}

static void a_row_that_changed_while_it_was_flushed_stays_dirty(void **state)
{
    (void)state;
    struct chunk *c = chunk_new(here);
    struct arena *a = arena_new();
    struct row out[4], r1 = block(1, 1, 1, 1, 1), r2 = sign(2, 0, "two", 2), again = block(1, 1, 1, 0, 3);
    chunk_put(c, &r1, true);
    chunk_put(c, &r2, true);
    assert_int_equal(chunk_dirty_rows(c, a, out, 4), 2);
    assert_int_equal(chunk_dirty_rows(c, a, out, 4), 2); /* the same again, until the store has them */
    chunk_put(c, &again, true);
    struct row newer = sign(2, 0, "changed", 4);
    chunk_flushed(c, &out[0]);
    chunk_flushed(c, &out[1]);
    assert_int_equal(chunk_dirty(c), 1);
    assert_int_equal(chunk_dirty_rows(c, a, out, 4), 1);
    assert_int_equal(out[0].rev, 3);
    chunk_put(c, &newer, true);
    assert_string_equal(out[1].text, "two"); /* the arena's, not the chunk's */
    chunk_flushed(c, &out[0]);
    assert_int_equal(chunk_dirty_rows(c, a, out, 4), 1);
    assert_string_equal(out[0].text, "changed");
    chunk_flushed(c, &out[0]);
    assert_int_equal(chunk_dirty(c), 0);
    assert_int_equal(chunk_dirty_rows(c, a, out, 4), 0);
    arena_free(a);
    chunk_free(c);
}

enum { PLACES = 500 };

/* Random changes and flushes in any order: exactly the rows that the store lacks are given, none twice. */
static void dirty_rows_are_those_that_the_store_lacks(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 7);
    struct chunk *c = chunk_new(here);
    struct arena *a = arena_new();
    uint64_t held[PLACES] = {0}, stored[PLACES] = {0};
    struct row out[PLACES];
    uint64_t rev = 0;
    for (unsigned round = 0; round < 3000; round++) {
        for (unsigned k = rng_below(&r, 40); k > 0; k--) {
            uint32_t at = rng_below(&r, PLACES);
            struct row row = block((int32_t)(at % 32), 1 + (int32_t)(at / 32), 0, 1, ++rev);
            assert_true(chunk_put(c, &row, true));
            held[at] = rev;
        }
        unsigned lacking = 0;
        for (unsigned k = 0; k < PLACES; k++)
            lacking += held[k] != stored[k];
        assert_int_equal(chunk_dirty(c), lacking);
        unsigned max = rng_below(&r, PLACES + 1), n = chunk_dirty_rows(c, a, out, max);
        assert_int_equal(n, lacking < max ? lacking : max);
        for (unsigned k = 0; k < n; k++) {
            unsigned at = (unsigned)(out[k].at.x - here.p * CHUNK_SIZE) + 32 * (unsigned)(out[k].at.y - 1);
            assert_true(out[k].rev == held[at] && held[at] != stored[at]);
            if (rng_below(&r, 4) == 0) /* the store took some of them, in whatever order */
                continue;
            stored[at] = out[k].rev;
            chunk_flushed(c, &out[k]);
        }
    }
    arena_free(a);
    chunk_free(c);
}

static void walking_above_a_rev_or_key_skips_the_rest(void **state)
{
    (void)state;
    struct chunk *c = chunk_new(here);
    for (unsigned k = 1; k <= 100; k++) {
        struct row r = block((int32_t)k % 32, 1 + (int32_t)k / 32, 5, 1, 101 - k); /* the newest first */
        chunk_put(c, &r, false);
    }
    for (unsigned above = 0; above <= 101; above++) {
        unsigned by_rev = 0, by_key = 0;
        for (uint32_t k = 0; (k = chunk_next_above_rev(c, ROW_BLOCK, k, above)) < chunk_rows(c, ROW_BLOCK); k++)
            by_rev += chunk_row(c, ROW_BLOCK, k).rev > above;
        for (uint32_t k = 0; (k = chunk_next_above_key(c, k, above)) < chunk_rows(c, ROW_BLOCK); k++)
            by_key += chunk_row(c, ROW_BLOCK, k).key > above;
        assert_int_equal(by_rev, above < 100 ? 100 - above : 0);
        assert_int_equal(by_key, by_rev);
    }
    chunk_free(c);
}

int main(void)
{
    alarm(60);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_block_of_a_chunk_can_have_a_row),
        cmocka_unit_test(an_older_row_never_replaces_a_newer_one),
        cmocka_unit_test(kinds_and_faces_do_not_mix),
        cmocka_unit_test(a_border_is_what_the_neighbour_mirrors),
        cmocka_unit_test(a_row_that_changed_while_it_was_flushed_stays_dirty),
        cmocka_unit_test(dirty_rows_are_those_that_the_store_lacks),
        cmocka_unit_test(walking_above_a_rev_or_key_skips_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
