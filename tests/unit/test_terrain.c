/* The ground must be the client's, bit for bit: the check values come from the client's own source. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "node/world/terrain.h"
#include "proto/base/clock.h"
#include "proto/base/rng.h"
#include "proto/wire/coords.h"

static void noise_has_the_clients_values(void **state)
{
    (void)state;
    char text[32];
    snprintf(text, sizeof text, "%.9f", (double)terrain_simplex2(0.5f, 0.25f, 4, 0.5f, 2));
    assert_string_equal(text, "0.293860197");
    snprintf(text, sizeof text, "%.9f", (double)terrain_simplex2(-3.7f, 12.01f, 2, 0.9f, 2));
    assert_string_equal(text, "0.736852825");
    snprintf(text, sizeof text, "%.9f", (double)terrain_simplex3(0.1f, 6.4f, 0.3f, 8, 0.5f, 2));
    assert_string_equal(text, "0.399024755");
}

/* FNV-1a, but the sums were made with a start one digit short of the usual 14695981039346656037. */
static const uint64_t SUM_START = 1469598103934665603u;

struct sum {
    uint64_t fnv;
    unsigned writes;
};

static void add_to_sum(int32_t x, int32_t y, int32_t z, int w, void *arg)
{
    struct sum *s = arg;
    const int32_t fields[4] = {x, y, z, w};
    for (unsigned k = 0; k < 4; k++) {
        for (unsigned byte = 0; byte < 4; byte++) {
            s->fnv ^= (uint32_t)fields[k] >> 8 * byte & 255;
            s->fnv *= 1099511628211u;
        }
    }
    s->writes++;
}

static void whole_chunks_are_written_as_the_client_writes_them(void **state)
{
    (void)state;
    static const struct {
        int32_t p, q;
        uint64_t fnv;
        unsigned writes;
    } known[] = {
        {0, 0, 0xbf4dd26e0a80bfe2, 15486},     {1, 0, 0x657084dadba7df69, 14654},
        {0, 1, 0x7ddb326330e4ea39, 17737},     {-1, -1, 0xf0ce92e769179d82, 17758},
        {5, -7, 0xd40c5dce7f16d7d5, 19479},    {100, 100, 0xb215ca4191e9a25c, 20200},
        {-31, 250, 0x8b33c04e8abd7857, 18032},
    };
    for (unsigned k = 0; k < sizeof known / sizeof *known; k++) {
        struct sum s = {SUM_START, 0};
        terrain_chunk(known[k].p, known[k].q, add_to_sum, &s);
        assert_int_equal(s.writes, known[k].writes);
        assert_true(s.fnv == known[k].fnv);
    }
}

struct whole {
    int32_t x0, z0;
    uint8_t item[CHUNK_SIZE][256][CHUNK_SIZE];
};

static void keep_last(int32_t x, int32_t y, int32_t z, int w, void *arg)
{
    struct whole *c = arg;
    int32_t dx = x - c->x0, dz = z - c->z0;
    if (dx >= 0 && dz >= 0 && dx < CHUNK_SIZE && dz < CHUNK_SIZE) /* the padding shows the neighbours */
        c->item[dx][y][dz] = (uint8_t)w;
}

static void generate(struct whole *c, int32_t p, int32_t q)
{
    memset(c, 0, sizeof *c);
    c->x0 = p * CHUNK_SIZE;
    c->z0 = q * CHUNK_SIZE;
    terrain_chunk(p, q, keep_last, c);
}

static void same_block(const struct whole *c, int32_t dx, int32_t y, int32_t dz)
{
    int got = terrain_block(c->x0 + dx, y, c->z0 + dz), want = c->item[dx][y][dz];
    if (got != want)
        fail_msg("block %d,%d,%d: %d, in its chunk %d", c->x0 + dx, y, c->z0 + dz, got, want);
}

/* A client that hits a block and a node that judges it must mean the same block: trees on slopes, plants, clouds and
 * all. */
static void one_block_is_the_same_as_in_its_whole_chunk(void **state)
{
    (void)state;
    static struct whole c;
    static const int32_t chunks[][2] = {{0, 0}, {-1, -1}, {100, 100}};
    for (unsigned k = 0; k < 3; k++) {
        generate(&c, chunks[k][0], chunks[k][1]);
        for (int32_t dx = 0; dx < CHUNK_SIZE; dx++) {
            for (int32_t y = 1; y < 256; y++) {
                for (int32_t dz = 0; dz < CHUNK_SIZE; dz++)
                    same_block(&c, dx, y, dz);
            }
        }
    }
}

/* Two trees that grow into each other are rare: the later one's leaves take the earlier one's trunk. */
static void trees_that_overlap_are_the_same(void **state)
{
    (void)state;
    static struct whole c;
    static const int32_t chunks[][2] = {{6, 34}, {13, 73}, {21, 65}, {22, 18}, {30, 10}, {37, 49}};
    for (unsigned k = 0; k < sizeof chunks / sizeof *chunks; k++) {
        generate(&c, chunks[k][0], chunks[k][1]);
        for (int32_t dx = 16; dx < CHUNK_SIZE; dx++) {
            for (int32_t y = 12; y < 40; y++) {
                for (int32_t dz = 12; dz < CHUNK_SIZE; dz++)
                    same_block(&c, dx, y, dz);
            }
        }
    }
}

static void random_blocks_of_many_chunks_are_the_same(void **state)
{
    (void)state;
    static struct whole c;
    struct rng r;
    rng_seed(&r, 4080);
    unsigned leaves = 0, plants = 0, clouds = 0;
    for (unsigned k = 0; k < 60; k++) {
        generate(&c, (int32_t)rng_below(&r, 4000) - 2000, (int32_t)rng_below(&r, 4000) - 2000);
        for (unsigned m = 0; m < 5000; m++) {
            int32_t dx = (int32_t)rng_below(&r, CHUNK_SIZE), dz = (int32_t)rng_below(&r, CHUNK_SIZE);
            int32_t y = 1 + (int32_t)rng_below(&r, 75);
            same_block(&c, dx, y, dz);
            leaves += c.item[dx][y][dz] == 15;
            plants += c.item[dx][y][dz] >= 17;
            clouds += c.item[dx][y][dz] == 16;
        }
    }
    assert_true(leaves > 100 && plants > 100 && clouds > 100); /* or the sample proves little */
}

/* The edge of the world is where an int conversion would overflow. */
static void the_edge_of_the_world_has_ground(void **state)
{
    (void)state;
    static const int32_t edge[] = {-COORD_MAX, COORD_MAX};
    for (unsigned k = 0; k < 4; k++) {
        assert_in_range(terrain_block(edge[k & 1], 1, edge[k >> 1]), 1, 2);
        for (int32_t y = 2; y < 256; y++)
            assert_in_range(terrain_block(edge[k & 1], y, edge[k >> 1]), 0, 24);
    }
}

/* Judging an edit must stay far below the cost of a whole chunk (about 6 ms). The limit leaves room for sanitizers. */
static void a_block_costs_microseconds(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 1);
    static const struct {
        const char *where;
        int32_t from, to;
    } band[] = {{"ground", 1, 16}, {"trees", 16, 55}, {"clouds", 64, 71}, {"sky", 72, 255}};
    for (unsigned b = 0; b < sizeof band / sizeof *band; b++) {
        const unsigned calls = 20000;
        uint64_t from = clock_mono_us();
        unsigned solid = 0;
        for (unsigned k = 0; k < calls; k++) {
            int32_t x = (int32_t)rng_below(&r, 20000), z = (int32_t)rng_below(&r, 20000);
            int32_t y = band[b].from + (int32_t)rng_below(&r, (uint32_t)(band[b].to - band[b].from + 1));
            solid += terrain_block(x, y, z) != 0;
        }
        double us = (double)(clock_mono_us() - from) / calls;
        print_message("terrain_block %s: %.3f us (%u of %u solid)\n", band[b].where, us, solid, calls);
        assert_true(us < 500);
    }
}

int main(void)
{
    alarm(60);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(noise_has_the_clients_values),
        cmocka_unit_test(whole_chunks_are_written_as_the_client_writes_them),
        cmocka_unit_test(one_block_is_the_same_as_in_its_whole_chunk),
        cmocka_unit_test(trees_that_overlap_are_the_same),
        cmocka_unit_test(random_blocks_of_many_chunks_are_the_same),
        cmocka_unit_test(the_edge_of_the_world_has_ground),
        cmocka_unit_test(a_block_costs_microseconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
