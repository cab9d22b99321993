/* test_coords.c - where a block is, on both sides of zero; and what may be a row or a place at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <unistd.h>

#include "proto/base/rng.h"
#include "proto/wire/place.h"
#include "proto/wire/row.h"

static void divisions_round_down_on_both_sides_of_zero(void **state)
{
    (void)state;
    static const struct {
        int32_t x, p, i;
    } want[] = {{0, 0, 0},    {31, 0, 0},    {32, 1, 0},    {127, 3, 0},    {128, 4, 1},
                {-1, -1, -1}, {-32, -1, -1}, {-33, -2, -1}, {-128, -4, -1}, {-129, -5, -2}};
    for (unsigned k = 0; k < sizeof(want) / sizeof(want[0]); k++) {
        struct chunk_pos c = chunk_of_block(want[k].x, -want[k].x);
        assert_int_equal(c.p, want[k].p);
        assert_int_equal(c.q, chunk_of_block(0, -want[k].x).q);
        assert_int_equal(cell_of_block(want[k].x, 0).i, want[k].i);
        assert_int_equal(cell_of_block(0, want[k].x).j, want[k].i);
    }
}

static void the_edge_of_the_world_has_a_chunk_and_a_cell(void **state)
{
    (void)state;
    assert_true(block_in_world(COORD_MAX, -COORD_MAX));
    assert_false(block_in_world(COORD_MAX + 1, 0));
    assert_false(block_in_world(0, INT32_MIN));
    assert_int_equal(chunk_of_block(-COORD_MAX, 0).p, -CHUNK_MAX - 1);
    assert_int_equal(cell_of_block(COORD_MAX, 0).i, CHUNK_MAX / CELL_CHUNKS);
    assert_false(chunk_in_world((struct chunk_pos){INT32_MIN, 0}));
    assert_false(chunk_in_world((struct chunk_pos){0, CHUNK_MAX - 1}));
    assert_true(chunk_in_world((struct chunk_pos){CHUNK_MAX - 2, 2 - CHUNK_MAX}));
}

/* Columns are centred on whole numbers: the client rounds. */
static void a_place_is_in_the_chunk_of_its_nearest_column(void **state)
{
    (void)state;
    assert_int_equal(chunk_of_place(31.4f, -0.4f).p, 0);
    assert_int_equal(chunk_of_place(31.6f, -0.4f).p, 1);
    assert_int_equal(chunk_of_place(31.6f, -0.4f).q, 0);
    assert_int_equal(chunk_of_place(0, -0.6f).q, -1);
}

/* The seed's rule, word for word, against ours. */
static void mirrors_are_those_of_the_seed_server(void **state)
{
    (void)state;
    for (int32_t x = -70; x < 70; x++) {
        for (int32_t z = -70; z < 70; z++) {
            struct chunk_pos own = chunk_of_block(x, z), got[MIRRORS_MAX];
            unsigned n = chunk_mirrors(x, z, got), want = 0;
            for (int32_t dx = -1; dx <= 1; dx++)
                for (int32_t dz = -1; dz <= 1; dz++) {
                    if ((dx == 0 && dz == 0) || (dx != 0 && chunk_of_block(x + dx, z).p == own.p) ||
                        (dz != 0 && chunk_of_block(x, z + dz).q == own.q))
                        continue;
                    assert_true(want < n);
                    assert_true(chunk_eq(got[want], (struct chunk_pos){own.p + dx, own.q + dz}));
                    want++;
                }
            assert_int_equal(n, want);
        }
    }
    struct chunk_pos out[MIRRORS_MAX];
    assert_int_equal(chunk_mirrors(5, 5, out), 0);
    assert_int_equal(chunk_mirrors(0, 5, out), 1);
    assert_int_equal(chunk_mirrors(-32, -1, out), 3);
}

static void a_chunk_touches_one_two_or_four_cells(void **state)
{
    (void)state;
    struct cell_pos out[CHUNK_CELLS_MAX];
    assert_int_equal(chunk_cells((struct chunk_pos){1, 2}, out), 1);
    assert_int_equal(chunk_cells((struct chunk_pos){0, 2}, out), 2);
    assert_true(cell_eq(out[0], (struct cell_pos){0, 0}) && cell_eq(out[1], (struct cell_pos){-1, 0}));
    assert_int_equal(chunk_cells((struct chunk_pos){-1, 3}, out), 4);
    assert_true(cell_eq(out[0], (struct cell_pos){-1, 0}));
}

/* Whoever draws a block must be subscribed to the cell that owns it. */
static void every_mirror_is_shown_by_a_chunk_that_touches_the_cell(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 1);
    for (unsigned k = 0; k < 20000; k++) {
        const int32_t x = (int32_t)rng_below(&r, 1024) - 512, z = (int32_t)rng_below(&r, 1024) - 512;
        struct chunk_pos mirrors[MIRRORS_MAX];
        const unsigned n = chunk_mirrors(x, z, mirrors);
        for (unsigned m = 0; m < n; m++) {
            struct cell_pos cells[CHUNK_CELLS_MAX];
            const unsigned n_cells = chunk_cells(mirrors[m], cells);
            bool found = false;
            for (unsigned c = 0; c < n_cells; c++)
                found = found || cell_eq(cells[c], cell_of_block(x, z));
            assert_true(found);
        }
    }
}

static void ids_of_different_chunks_differ(void **state)
{
    (void)state;
    assert_true(chunk_id((struct chunk_pos){-1, 0}) != chunk_id((struct chunk_pos){0, -1}));
    assert_true(chunk_id((struct chunk_pos){0, -1}) != chunk_id((struct chunk_pos){-1, -1}));
    assert_true(cell_id((struct cell_pos){1, 2}) != cell_id((struct cell_pos){2, 1}));
}

static void only_finite_places_in_the_world_are_valid(void **state)
{
    (void)state;
    const struct place good = {1, 2, 3, 4, 5};
    assert_true(place_valid(&good));
    for (unsigned field = 0; field < 5; field++) {
        const float bad[] = {NAN, INFINITY, -INFINITY};
        for (unsigned k = 0; k < 3; k++) {
            float v[5] = {1, 2, 3, 4, 5};
            v[field] = bad[k];
            assert_false(place_valid(&(struct place){v[0], v[1], v[2], v[3], v[4]}));
        }
    }
    assert_false(place_valid(&(struct place){6e8f, 0, 0, 0, 0}));
    assert_false(place_valid(&(struct place){0, 0, -6e8f, 0, 0}));
}

static void only_rows_that_may_exist_are_valid(void **state)
{
    (void)state;
    const struct block_pos at = {1, 2, 3};
    assert_true(row_valid(&(struct row){.at = at, .kind = ROW_BLOCK, .w = 63, .key = KEY_MAX}));
    assert_true(row_valid(&(struct row){.at = at, .kind = ROW_LIGHT, .w = 15}));
    assert_true(row_valid(&(struct row){.at = at, .kind = ROW_SIGN, .face = 7, .text = "x"}));
    assert_false(row_valid(&(struct row){.at = at, .kind = ROW_BLOCK, .w = 64}));
    assert_false(row_valid(&(struct row){.at = at, .kind = ROW_BLOCK, .w = -1}));
    assert_false(row_valid(&(struct row){.at = at, .kind = ROW_BLOCK, .face = 1}));
    assert_false(row_valid(&(struct row){.at = at, .kind = ROW_BLOCK, .text = ""}));
    assert_false(row_valid(&(struct row){.at = at, .kind = ROW_BLOCK, .key = (uint32_t)KEY_MAX + 1}));
    assert_false(row_valid(&(struct row){.at = at, .kind = ROW_LIGHT, .w = 16}));
    assert_false(row_valid(&(struct row){.at = at, .kind = ROW_LIGHT, .key = 1}));
    assert_false(row_valid(&(struct row){.at = at, .kind = ROW_SIGN, .face = 8, .text = "x"}));
    assert_false(row_valid(&(struct row){.at = at, .kind = ROW_SIGN}));
    assert_false(row_valid(&(struct row){.at = at, .kind = ROW_SIGN, .w = 1, .text = "x"}));
    assert_false(row_valid(&(struct row){.at = at, .kind = ROW_SIGN, .text = "\x7f"}));
    assert_false(row_valid(&(struct row){.at = at, .kind = 3}));
    assert_false(row_valid(&(struct row){.at = {1, 0, 3}, .kind = ROW_BLOCK}));
    assert_false(row_valid(&(struct row){.at = {1, 256, 3}, .kind = ROW_BLOCK}));
    assert_false(row_valid(&(struct row){.at = {INT32_MIN, 2, 3}, .kind = ROW_BLOCK}));
}

int main(void)
{
    alarm(60);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(divisions_round_down_on_both_sides_of_zero),
        cmocka_unit_test(the_edge_of_the_world_has_a_chunk_and_a_cell),
        cmocka_unit_test(a_place_is_in_the_chunk_of_its_nearest_column),
        cmocka_unit_test(mirrors_are_those_of_the_seed_server),
        cmocka_unit_test(a_chunk_touches_one_two_or_four_cells),
        cmocka_unit_test(every_mirror_is_shown_by_a_chunk_that_touches_the_cell),
        cmocka_unit_test(ids_of_different_chunks_differ),
        cmocka_unit_test(only_finite_places_in_the_world_are_valid),
        cmocka_unit_test(only_rows_that_may_exist_are_valid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
