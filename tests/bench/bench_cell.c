/* How fast and how large a cell is with a million rows: one JSON line for each thing measured.
 *
 *     bench_cell [rows]
 */
#include <stdio.h>
#include <stdlib.h>

#include "node/world/cell.h"
#include "node/world/terrain.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"
#include "proto/base/rng.h"

static void count(const struct row *r, void *arg)
{
    (void)r;
    ++*(uint64_t *)arg;
}

static void report(const char *what, uint64_t calls, uint64_t rows, uint64_t us)
{
    printf("{\"bench\":\"cell\",\"what\":\"%s\",\"calls\":%llu,\"rows\":%llu,\"us_per_call\":%.3f}\n", what,
           (unsigned long long)calls, (unsigned long long)rows, (double)us / (double)calls);
}

static struct edit random_edit(struct rng *r)
{
    return (struct edit){
        .session = {1, 1},
        .kind = ROW_BLOCK,
        .w = rng_below(r, 4) ? 1 + (int32_t)rng_below(r, 15) : 0,
        .at = {(int32_t)rng_below(r, CELL_SIZE), 1 + (int32_t)rng_below(r, BLOCK_Y_MAX),
               (int32_t)rng_below(r, CELL_SIZE)},
    };
}

/* Judges and commits in batches of 64, as group commit does, until the cell holds so many rows. */
static void bench_edits(struct cell *c, struct rng *r, size_t want)
{
    struct arena *a = arena_new();
    uint64_t judged = 0, commits = 0, from = clock_mono_us(), commit_us = 0;
    while (cell_rows(c) < want) {
        struct row rows[64 + EDIT_ROWS_MAX];
        unsigned n = 0;
        while (n < 64) {
            struct edit e = random_edit(r);
            unsigned got;
            enum refusal why;
            judged++;
            if (cell_judge(c, &e, a, rows + n, &got, &why))
                n += got;
        }
        uint64_t before = clock_mono_us();
        cell_commit(c, rows, n);
        commit_us += clock_mono_us() - before;
        commits += n;
        arena_reset(a);
    }
    report("judge", judged, cell_rows(c), clock_mono_us() - from - commit_us);
    report("commit", commits, cell_rows(c), commit_us);
    arena_free(a);
}

static void bench_flush(struct cell *c)
{
    enum { PAGE = 4096 };
    struct arena *a = arena_new();
    struct row *rows = mem_array(PAGE, sizeof *rows);
    uint64_t pages = 0, flushed = 0, from = clock_mono_us();
    for (unsigned n; (n = cell_dirty_rows(c, a, rows, PAGE)) > 0; pages++) {
        cell_flushed(c, rows, n);
        flushed += n;
        arena_reset(a);
    }
    report("flush_page", pages, flushed, clock_mono_us() - from);
    free(rows);
    arena_free(a);
}

/* What a player asks who has nothing, who has all but the last hundred changes, and who has all. */
static void bench_answers(const struct cell *c)
{
    static const struct {
        const char *what;
        uint32_t behind;
    } player[] = {{"chunk_full", KEY_MAX}, {"chunk_last_100", 100}, {"chunk_nothing_new", 0}};
    uint32_t newest[16];
    uint64_t ignored = 0;
    for (unsigned k = 0; k < 16; k++)
        newest[k] = cell_chunk_rows(c, (struct chunk_pos){(int32_t)(k % 4), (int32_t)(k / 4)}, 0, count, &ignored);
    for (unsigned kind = 0; kind < 3; kind++) {
        uint64_t rows = 0, calls = 0, from = clock_mono_us();
        for (; calls < 16 * 10; calls++) {
            unsigned k = calls % 16;
            uint32_t key = newest[k] > player[kind].behind ? newest[k] - player[kind].behind : 0;
            cell_chunk_rows(c, (struct chunk_pos){(int32_t)(k % 4), (int32_t)(k / 4)}, key, count, &rows);
        }
        report(player[kind].what, calls, rows / calls, clock_mono_us() - from);
    }
}

static void bench_mirrors(const struct cell *c)
{
    uint64_t rows = 0, calls = 0, from = clock_mono_us();
    for (unsigned round = 0; round < 50; round++) {
        for (int32_t p = -1; p <= CELL_CHUNKS; p++) {
            for (int32_t q = -1; q <= CELL_CHUNKS; q++, calls++)
                cell_mirror_rows(c, (struct chunk_pos){p, q}, count, &rows);
        }
    }
    report("mirrors_of_a_chunk", calls, rows / calls, clock_mono_us() - from);
}

static void bench_above(const struct cell *c)
{
    const uint64_t gap[] = {0, 1000, cell_rev(c)};
    for (unsigned k = 0; k < 3; k++) {
        uint64_t rows = 0, from = clock_mono_us();
        cell_rows_above(c, cell_rev(c) - gap[k], count, &rows);
        report("rows_above", 1, rows, clock_mono_us() - from);
    }
}

static void bench_terrain(struct rng *r)
{
    uint64_t calls = 200000, solid = 0, from = clock_mono_us();
    for (uint64_t k = 0; k < calls; k++) {
        struct edit e = random_edit(r);
        solid += terrain_block(e.at.x, e.at.y, e.at.z) != 0;
    }
    report("terrain_block", calls, solid, clock_mono_us() - from);
}

int main(int argc, char **argv)
{
    unsigned long want = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000000;
    if (want == 0 || want > 2000000) {
        fprintf(stderr, "usage: bench_cell [rows, 1 to 2000000]\n");
        return 2;
    }
    struct rng r;
    rng_seed(&r, 1);
    struct cell *c = cell_new((struct cell_pos){0, 0});
    bench_edits(c, &r, want);
    bench_flush(c);
    printf("{\"bench\":\"cell\",\"what\":\"memory\",\"rows\":%zu,\"bytes_per_row\":%.1f}\n", cell_rows(c),
           (double)cell_bytes(c) / (double)cell_rows(c));
    bench_answers(c);
    bench_mirrors(c);
    bench_above(c);
    bench_terrain(&r);
    cell_free(c);
    return 0;
}
