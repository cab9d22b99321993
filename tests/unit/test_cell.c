/* A cell: what is pending is seen by judging alone, revs and keys only grow, and what is answered is what was
 * committed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "node/world/cell.h"
#include "node/world/terrain.h"
#include "proto/base/rng.h"

/* Cell (-1,0): x from -128 to -1, z from 0 to 127. The air 200 above it is empty. */
static const struct cell_pos here = {-1, 0};
enum { AIR = 200, GATHER_MAX = 4096 };

struct fixture {
    struct cell *cell;
    struct arena *arena;
    struct row rows[EDIT_ROWS_MAX];
    unsigned n;
    enum refusal why;
    uint64_t seq;
};

static int make(void **state)
{
    struct fixture *f = test_calloc(1, sizeof *f);
    f->cell = cell_new(here);
    f->arena = arena_new();
    *state = f;
    return 0;
}

static int drop(void **state)
{
    struct fixture *f = *state;
    cell_free(f->cell);
    arena_free(f->arena);
    test_free(f);
    return 0;
}

static bool edit(struct fixture *f, uint8_t kind, int32_t x, int32_t y, int32_t z, int32_t w)
{
    struct edit e = {.session = {1, 2}, .seq = ++f->seq, .kind = kind, .w = w, .at = {x, y, z}};
    return cell_judge(f->cell, &e, f->arena, f->rows, &f->n, &f->why);
}

static bool put(struct fixture *f, int32_t x, int32_t y, int32_t z, int32_t w)
{
    return edit(f, ROW_BLOCK, x, y, z, w);
}

static bool write_sign(struct fixture *f, int32_t x, int32_t y, int32_t z, uint8_t face, const char *text)
{
    struct edit e = {.session = {1, 2}, .seq = ++f->seq, .kind = ROW_SIGN, .face = face, .text = text, .at = {x, y, z}};
    return cell_judge(f->cell, &e, f->arena, f->rows, &f->n, &f->why);
}

static void commit(struct fixture *f)
{
    cell_commit(f->cell, f->rows, f->n);
}

struct gathered {
    struct row rows[GATHER_MAX];
    unsigned n;
};

static void gather(const struct row *r, void *arg)
{
    struct gathered *g = arg;
    assert_true(g->n < GATHER_MAX);
    g->rows[g->n++] = *r;
}

static struct gathered *above(const struct fixture *f, uint64_t rev)
{
    static struct gathered g;
    g.n = 0;
    cell_rows_above(f->cell, rev, gather, &g);
    return &g;
}

static struct gathered *chunk_of(const struct fixture *f, int32_t p, int32_t q, uint32_t key, uint32_t *newest)
{
    static struct gathered g;
    g.n = 0;
    uint32_t k = cell_chunk_rows(f->cell, (struct chunk_pos){p, q}, key, gather, &g);
    if (newest)
        *newest = k;
    return &g;
}

static void pending_rows_are_seen_by_judging_alone(void **state)
{
    struct fixture *f = *state;
    assert_true(put(f, -5, AIR, 5, 3));
    assert_int_equal(f->n, 1);
    assert_int_equal(f->rows[0].rev, 1);
    assert_int_equal(f->rows[0].key, 1);
    assert_int_equal(f->rows[0].author.count, 2);
    assert_int_equal(f->rows[0].seq, 1);
    assert_int_equal(cell_pending(f->cell), 1);
    assert_int_equal(cell_rev(f->cell), 0);
    assert_int_equal(above(f, 0)->n, 0);
    assert_int_equal(chunk_of(f, -1, 0, 0, NULL)->n, 0);
    assert_int_equal(cell_dirty(f->cell), 0);
    struct row now[EDIT_ROWS_MAX];
    assert_int_equal(cell_block_now(f->cell, (struct block_pos){-5, AIR, 5}, f->arena, now), 1);
    assert_int_equal(now[0].w, 0);
    struct row first = f->rows[0];
    assert_false(put(f, -5, AIR, 5, 4)); /* but a second one is judged on the first */
    assert_int_equal(f->why, REFUSED_OCCUPIED);
    cell_commit(f->cell, &first, 1);
    assert_int_equal(cell_pending(f->cell), 0);
    assert_int_equal(cell_rev(f->cell), 1);
    assert_int_equal(above(f, 0)->n, 1);
    assert_int_equal(cell_dirty(f->cell), 1);
    assert_int_equal(cell_block_now(f->cell, (struct block_pos){-5, AIR, 5}, f->arena, now), 1);
    assert_int_equal(now[0].w, 3);
}

static void a_burst_on_one_block_commits_in_order(void **state)
{
    struct fixture *f = *state;
    struct row burst[6];
    for (unsigned k = 0; k < 6; k++) {
        assert_true(put(f, -5, AIR, 5, k % 2 ? 0 : (int32_t)k + 1));
        burst[k] = f->rows[0];
        assert_int_equal(burst[k].rev, k + 1);
        assert_int_equal(burst[k].key, k + 1);
    }
    for (unsigned k = 0; k < 6; k++) {
        cell_commit(f->cell, &burst[k], 1);
        struct row now[EDIT_ROWS_MAX];
        cell_block_now(f->cell, burst[k].at, f->arena, now);
        assert_int_equal(now[0].w, burst[k].w);
        assert_int_equal(now[0].key, k + 1);
        assert_int_equal(cell_rev(f->cell), k + 1);
    }
    assert_true(put(f, -5, AIR, 5, 1)); /* judged on the last, an empty block */
}

static void the_ground_is_judged_where_nobody_built(void **state)
{
    struct fixture *f = *state;
    assert_true(terrain_block(-5, 1, 5) != 0);
    assert_false(put(f, -5, 1, 5, 3));
    assert_int_equal(f->why, REFUSED_OCCUPIED);
    assert_true(put(f, -5, 1, 5, 0));
    assert_int_equal(f->rows[0].w, 0);
    commit(f);
    assert_false(put(f, -5, 1, 5, 0));
    assert_int_equal(f->why, REFUSED_EMPTY);
    assert_true(put(f, -5, 1, 5, 3));
    assert_false(put(f, -5, AIR, 5, 0));
    assert_int_equal(f->why, REFUSED_EMPTY);
}

static void a_block_of_another_cell_is_refused(void **state)
{
    struct fixture *f = *state;
    assert_false(put(f, 0, AIR, 5, 3));
    assert_int_equal(f->why, REFUSED_COORDS);
    assert_false(put(f, INT32_MIN, AIR, INT32_MAX, 3));
    assert_int_equal(cell_pending(f->cell), 0);
    struct row foreign = {.at = {0, AIR, 5}, .w = 1, .rev = 1, .key = 1};
    assert_int_equal(cell_load_row(f->cell, &foreign, false), ERR_BAD);
    struct row bad = {.at = {-1, 0, 5}, .w = 1, .rev = 1, .key = 1};
    assert_int_equal(cell_load_row(f->cell, &bad, false), ERR_BAD);
    assert_int_equal(cell_rows(f->cell), 0);
}

/* A break takes light and signs with it, as the clients do by themselves; what is not there gets no row. */
static void a_break_buries_light_and_signs(void **state)
{
    struct fixture *f = *state;
    assert_true(put(f, -5, AIR, 5, 3));
    commit(f);
    assert_true(put(f, -5, AIR, 5, 0));
    assert_int_equal(f->n, 1);
    commit(f);
    assert_true(put(f, -5, AIR, 5, 3));
    commit(f);
    assert_true(edit(f, ROW_LIGHT, -5, AIR, 5, 15));
    assert_int_equal(f->rows[0].key, 0);
    commit(f);
    assert_true(write_sign(f, -5, AIR, 5, 2, "committed"));
    commit(f);
    assert_true(write_sign(f, -5, AIR, 5, 6, "pending"));
    struct row pending = f->rows[0];
    assert_true(put(f, -5, AIR, 5, 0));
    assert_int_equal(f->n, 4);
    for (unsigned k = 0; k < 4; k++) {
        assert_int_equal(f->rows[k].rev, pending.rev + 1 + k); /* each row has its own */
        assert_int_equal(f->rows[k].w, 0);
        assert_int_equal(f->rows[k].seq, f->seq);
    }
    assert_int_equal(f->rows[0].kind, ROW_BLOCK);
    assert_int_equal(f->rows[1].kind, ROW_LIGHT);
    assert_true(f->rows[2].kind == ROW_SIGN && f->rows[2].face == 2 && !*f->rows[2].text);
    assert_true(f->rows[3].kind == ROW_SIGN && f->rows[3].face == 6 && !*f->rows[3].text);
    cell_commit(f->cell, &pending, 1);
    commit(f);
    struct row now[EDIT_ROWS_MAX];
    assert_int_equal(cell_block_now(f->cell, (struct block_pos){-5, AIR, 5}, f->arena, now), 4);
    for (unsigned k = 0; k < 4; k++)
        assert_true(now[k].w == 0 && (!now[k].text || !*now[k].text));
    assert_true(put(f, -5, AIR, 5, 3)); /* all buried: a second break has nothing to bury */
    commit(f);
    assert_true(put(f, -5, AIR, 5, 0));
    assert_int_equal(f->n, 1);
}

static void keys_count_per_chunk_and_revs_per_cell(void **state)
{
    struct fixture *f = *state;
    assert_true(put(f, -5, AIR, 5, 3));
    commit(f);
    assert_true(put(f, -40, AIR, 5, 3));
    commit(f);
    assert_true(put(f, -6, AIR, 5, 3));
    assert_int_equal(f->rows[0].rev, 3);
    assert_int_equal(f->rows[0].key, 2);
    commit(f);
    uint32_t newest;
    assert_int_equal(chunk_of(f, -1, 0, 0, &newest)->n, 2);
    assert_int_equal(newest, 2);
    assert_int_equal(chunk_of(f, -2, 0, 0, &newest)->n, 1);
    assert_int_equal(newest, 1);
    assert_int_equal(chunk_of(f, -3, 0, 0, &newest)->n, 0);
    assert_int_equal(newest, 0);
    assert_int_equal(cell_key_max(f->cell), 2);
}

static void a_chunk_is_answered_above_the_clients_key(void **state)
{
    struct fixture *f = *state;
    for (int32_t k = 0; k < 5; k++) {
        assert_true(put(f, -5 - k, AIR, 5, 3));
        commit(f);
    }
    assert_true(edit(f, ROW_LIGHT, -5, AIR, 5, 15));
    commit(f);
    assert_true(write_sign(f, -5, AIR, 5, 0, "hi"));
    commit(f);
    assert_int_equal(chunk_of(f, -1, 0, 0, NULL)->n, 7);
    assert_int_equal(chunk_of(f, -1, 0, 3, NULL)->n, 4); /* keys do not apply to lights and signs */
    assert_int_equal(chunk_of(f, -1, 0, 5, NULL)->n, 2);
    assert_int_equal(chunk_of(f, -1, 0, 6, NULL)->n, 7); /* a key that we never gave: a client from elsewhere */
    assert_int_equal(chunk_of(f, 0, 0, 0, NULL)->n, 0);  /* not ours */
}

static void keys_saturate_and_are_then_answered_in_full(void **state)
{
    struct fixture *f = *state;
    cell_raise(f->cell, 0, KEY_MAX - 1);
    assert_true(put(f, -5, AIR, 5, 3));
    assert_int_equal(f->rows[0].key, KEY_MAX);
    commit(f);
    assert_true(put(f, -6, AIR, 5, 3));
    assert_int_equal(f->rows[0].key, KEY_MAX);
    commit(f);
    uint32_t newest;
    assert_int_equal(chunk_of(f, -1, 0, KEY_MAX, &newest)->n, 2);
    assert_int_equal(newest, KEY_MAX);
    cell_raise(f->cell, 0, UINT32_MAX);
    assert_int_equal(cell_key_floor(f->cell), KEY_MAX);
}

static void keys_and_revs_go_on_above_what_was_loaded(void **state)
{
    struct fixture *f = *state;
    struct row r = {.at = {-5, AIR, 5}, .w = 3, .rev = 70, .key = 9};
    assert_int_equal(cell_load_row(f->cell, &r, false), ERR_OK);
    assert_int_equal(cell_rev(f->cell), 70);
    assert_int_equal(cell_dirty(f->cell), 0);
    assert_true(put(f, -6, AIR, 5, 3));
    assert_int_equal(f->rows[0].rev, 71);
    assert_int_equal(f->rows[0].key, 10);
    commit(f);
    cell_raise(f->cell, 1000, 500);
    assert_int_equal(cell_rev(f->cell), 1000);
    cell_raise(f->cell, 10, 5); /* never back */
    assert_int_equal(cell_rev(f->cell), 1000);
    assert_int_equal(cell_key_floor(f->cell), 500);
    assert_int_equal(cell_key_max(f->cell), 500);
    assert_true(put(f, -7, AIR, 5, 3));
    assert_int_equal(f->rows[0].rev, 1001);
    assert_int_equal(f->rows[0].key, 501);
    commit(f);
    struct row late = {.at = {-5, AIR, 5}, .w = 4, .rev = 69, .key = 8};
    assert_int_equal(cell_load_row(f->cell, &late, true), ERR_OK);
    struct row now[EDIT_ROWS_MAX];
    cell_block_now(f->cell, late.at, f->arena, now);
    assert_int_equal(now[0].w, 3);
    assert_int_equal(cell_dirty(f->cell), 2);
}

static void a_rev_raised_meanwhile_is_not_lowered_by_a_commit(void **state)
{
    struct fixture *f = *state;
    assert_true(put(f, -5, AIR, 5, 3));
    cell_raise(f->cell, 100, 0);
    commit(f);
    assert_int_equal(cell_rev(f->cell), 100);
    assert_true(put(f, -6, AIR, 5, 3));
    assert_int_equal(f->rows[0].rev, 101);
}

static void rows_above_a_rev_come_in_order(void **state)
{
    struct fixture *f = *state;
    for (int32_t k = 0; k < 60; k++) {
        assert_true(put(f, -1 - (k * 37) % 128, AIR, (k * 53) % 128, 3));
        commit(f);
    }
    for (uint64_t rev = 0; rev <= 60; rev++) {
        struct gathered *g = above(f, rev);
        assert_int_equal(g->n, 60 - rev);
        for (unsigned k = 0; k < g->n; k++)
            assert_int_equal(g->rows[k].rev, rev + 1 + k);
    }
}

static void dirty_rows_are_given_until_flushed_and_every_chunk_has_its_turn(void **state)
{
    struct fixture *f = *state;
    for (int32_t k = 0; k < 16; k++) {
        for (int32_t m = 0; m < 3; m++) {
            assert_true(put(f, -1 - 32 * (k % 4) - m, AIR, 32 * (k / 4), 3));
            commit(f);
        }
    }
    assert_int_equal(cell_dirty(f->cell), 48);
    struct row rows[48];
    unsigned turns[16] = {0};
    for (unsigned round = 0; round < 16; round++) {
        assert_int_equal(cell_dirty_rows(f->cell, f->arena, rows, 2), 2);
        struct chunk_pos c = chunk_of_block(rows[0].at.x, rows[0].at.z);
        turns[-1 - c.p + 4 * c.q]++;
        cell_flushed(f->cell, rows, 2);
    }
    for (unsigned k = 0; k < 16; k++)
        assert_int_equal(turns[k], 1);
    assert_int_equal(cell_dirty_rows(f->cell, f->arena, rows, 48), 16);
    assert_int_equal(cell_dirty(f->cell), 16);
    cell_flushed(f->cell, rows, 16);
    assert_int_equal(cell_dirty(f->cell), 0);
}

static void a_place_where_no_block_can_be_has_the_ground_or_air(void **state)
{
    struct fixture *f = *state;
    struct row now[EDIT_ROWS_MAX];
    assert_true(put(f, -5, 44, 5, 3)); /* 300 & 255: must not be taken for it */
    commit(f);
    assert_int_equal(cell_block_now(f->cell, (struct block_pos){-5, 300, 5}, f->arena, now), 1);
    assert_int_equal(now[0].w, 0);
    assert_int_equal(cell_block_now(f->cell, (struct block_pos){-5, -1, 5}, f->arena, now), 1);
    assert_int_equal(now[0].w, 0);
    assert_int_equal(cell_block_now(f->cell, (struct block_pos){-5, 0, 5}, f->arena, now), 1);
    assert_true(now[0].w != 0);
    assert_int_equal(cell_block_now(f->cell, (struct block_pos){INT32_MAX, 5, INT32_MIN}, f->arena, now), 1);
    assert_int_equal(now[0].w, 0);
}

/* Thousands of random edits, committed late and in groups, beside a plain model: the same verdicts, the same world,
 * mirrors included, whatever is asked in between. */
enum { SPAN = 6, MODEL = SPAN * SPAN * 2 };

static int32_t model_x(unsigned k)
{
    static const int32_t xs[SPAN] = {-128, -127, -97, -96, -33, -1}; /* the cell's and the chunks' borders */
    return xs[k % SPAN];
}

static int32_t model_z(unsigned k)
{
    static const int32_t zs[SPAN] = {0, 31, 32, 63, 64, 127};
    return zs[k / SPAN % SPAN];
}

struct model {
    int now[MODEL], done[MODEL];
    bool has_row[MODEL];
};

static void check_mirrors(const struct fixture *f, const struct model *m)
{
    static struct gathered g;
    for (int32_t p = -5; p <= 0; p++) {
        for (int32_t q = -1; q <= 4; q++) {
            g.n = 0;
            cell_mirror_rows(f->cell, (struct chunk_pos){p, q}, gather, &g);
            unsigned want = 0;
            for (unsigned k = 0; k < MODEL; k++) {
                struct chunk_pos to[MIRRORS_MAX];
                unsigned n = m->has_row[k] ? chunk_mirrors(model_x(k), model_z(k), to) : 0;
                for (unsigned t = 0; t < n; t++)
                    want += chunk_eq(to[t], (struct chunk_pos){p, q});
            }
            assert_int_equal(g.n, want);
        }
    }
}

static void check_world(const struct fixture *f, const struct model *m)
{
    struct row now[EDIT_ROWS_MAX];
    unsigned rows = 0;
    for (unsigned k = 0; k < MODEL; k++) {
        struct block_pos at = {model_x(k), AIR + (int32_t)(k / (SPAN * SPAN)), model_z(k)};
        cell_block_now(f->cell, at, f->arena, now);
        assert_int_equal(now[0].w, m->done[k]);
        assert_int_equal(now[0].rev != 0, m->has_row[k]);
        rows += m->has_row[k];
    }
    assert_int_equal(cell_rows(f->cell), rows);
}

static void random_edits_agree_with_a_plain_model(void **state)
{
    struct fixture *f = *state;
    struct rng r;
    rng_seed(&r, 99);
    static struct model m;
    static struct row waiting[64];
    static unsigned at_model[64];
    unsigned n_waiting = 0;
    for (unsigned step = 0; step < 20000; step++) {
        unsigned k = rng_below(&r, MODEL);
        int32_t w = rng_below(&r, 2) ? 0 : 1 + (int32_t)rng_below(&r, 15);
        bool good = w ? m.now[k] == 0 : m.now[k] != 0;
        assert_int_equal(put(f, model_x(k), AIR + (int32_t)(k / (SPAN * SPAN)), model_z(k), w), good);
        if (good) {
            m.now[k] = w;
            assert_int_equal(f->n, 1);
            at_model[n_waiting] = k;
            waiting[n_waiting++] = f->rows[0];
        }
        if (n_waiting < 64 && rng_below(&r, 20))
            continue;
        unsigned n = rng_below(&r, n_waiting + 1);
        if (n_waiting == 64)
            n = 64;
        cell_commit(f->cell, waiting, n);
        for (unsigned j = 0; j < n; j++) {
            m.done[at_model[j]] = waiting[j].w;
            m.has_row[at_model[j]] = true;
        }
        n_waiting -= n;
        memmove(waiting, waiting + n, n_waiting * sizeof *waiting);
        memmove(at_model, at_model + n, n_waiting * sizeof *at_model);
        assert_int_equal(cell_pending(f->cell), n_waiting);
        check_world(f, &m);
        if (step % 50 == 0)
            check_mirrors(f, &m);
        arena_reset(f->arena);
    }
}

#define WORLD_TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    alarm(60);
    const struct CMUnitTest tests[] = {
        WORLD_TEST(pending_rows_are_seen_by_judging_alone),
        WORLD_TEST(a_burst_on_one_block_commits_in_order),
        WORLD_TEST(the_ground_is_judged_where_nobody_built),
        WORLD_TEST(a_block_of_another_cell_is_refused),
        WORLD_TEST(a_break_buries_light_and_signs),
        WORLD_TEST(keys_count_per_chunk_and_revs_per_cell),
        WORLD_TEST(a_chunk_is_answered_above_the_clients_key),
        WORLD_TEST(keys_saturate_and_are_then_answered_in_full),
        WORLD_TEST(keys_and_revs_go_on_above_what_was_loaded),
        WORLD_TEST(a_rev_raised_meanwhile_is_not_lowered_by_a_commit),
        WORLD_TEST(rows_above_a_rev_come_in_order),
        WORLD_TEST(dirty_rows_are_given_until_flushed_and_every_chunk_has_its_turn),
        WORLD_TEST(a_place_where_no_block_can_be_has_the_ground_or_air),
        WORLD_TEST(random_edits_agree_with_a_plain_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
