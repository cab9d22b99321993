/* bench_store - how long a store takes for what a node asks of it, with everything written through to the disk.
 *
 *   bench_store [sqlite|postgres]     one JSON line per engine on stdout
 *
 * claim: a cell of 50,000 rows. flush: 1,000 rows, one after the other. small: flushes of 1 row in 64 cells, all in
 * flight at once, as a node with many half-idle cells makes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/store/engine.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/metrics.h"
#include "tests/lib/store_rig.h"

enum { CLAIM_ROWS = 50000, CLAIMS = 20, FLUSH_ROWS = 1000, FLUSHES = CLAIM_ROWS / FLUSH_ROWS, CELLS = 64, ROUNDS = 50 };

struct timing {
    double ms[ROUNDS * CELLS];
    unsigned n;
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(struct timing *t, unsigned percent)
{
    qsort(t->ms, t->n, sizeof(double), by_value);
    return t->ms[(t->n - 1) * percent / 100];
}

static void timed(struct rig *r, struct timing *t, struct store_req *req)
{
    uint64_t start_us = clock_mono_us();
    if (rig_ask(r, r->store, req) != ERR_OK)
        fail_msg("the store answered: %s", err_text(req->err));
    t->ms[t->n++] = (double)(clock_mono_us() - start_us) / 1000;
    store_req_free(req);
}

static void flush_big(struct rig *r, struct timing *t, uint64_t *rev)
{
    static struct row rows[FLUSH_ROWS];
    for (unsigned k = 0; k < FLUSH_ROWS; k++) {
        uint64_t n = (*rev)++ % CLAIM_ROWS;
        rows[k] = block_row((int32_t)(n % 128), 1 + (int32_t)(n / 16384), (int32_t)(n / 128 % 128), 3, 1, *rev);
    }
    timed(r, t, req_flush(r, (struct cell_pos){0, 0}, 1, *rev, rows, FLUSH_ROWS));
}

/* Returns how many flushes a second. */
static double flush_small(struct rig *r)
{
    struct store_req *reqs[CELLS];
    uint64_t start_us = clock_mono_us();
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        for (int32_t k = 0; k < CELLS; k++) {
            struct cell_pos at = {k + 1, 0};
            struct row row = block_row(at.i * CELL_SIZE, 5, 5, 3, 1, round);
            reqs[k] = round == 1 ? req_claim(r, at, 1) : req_flush(r, at, 1, round, &row, 1);
            rig_submit(r, r->store, reqs[k]);
        }
        rig_finish(r);
        for (unsigned k = 0; k < CELLS; k++)
            store_req_free(reqs[k]);
    }
    return (double)ROUNDS * CELLS * 1e6 / (double)(clock_mono_us() - start_us);
}

static void bench(enum rig_kind kind)
{
    static struct rig rig;
    static struct timing insert, update, claim;
    insert.n = update.n = claim.n = 0;
    rig.fsync = true;
    rig_start(&rig, kind);
    store_req_free(rig_claimed(&rig, (struct cell_pos){0, 0}, 1));
    uint64_t rev = 0;
    for (unsigned k = 0; k < FLUSHES; k++)
        flush_big(&rig, &insert, &rev);
    for (unsigned k = 0; k < FLUSHES; k++)
        flush_big(&rig, &update, &rev);
    for (uint64_t k = 0; k < CLAIMS; k++)
        timed(&rig, &claim, req_claim(&rig, (struct cell_pos){0, 0}, k + 2));
    double small = flush_small(&rig);
    printf("{\"bench\":\"store\",\"engine\":\"%s\",\"claim_rows\":%d,\"claim_ms_p50\":%.1f,\"claim_ms_p99\":%.1f,"
           "\"flush_rows\":%d,\"insert_ms_p50\":%.1f,\"insert_ms_p99\":%.1f,\"update_ms_p50\":%.1f,"
           "\"update_ms_p99\":%.1f,\"small_flushes_per_s\":%.0f}\n",
           kind == RIG_SQLITE ? "sqlite" : "postgres", CLAIM_ROWS, percentile(&claim, 50), percentile(&claim, 99),
           FLUSH_ROWS, percentile(&insert, 50), percentile(&insert, 99), percentile(&update, 50),
           percentile(&update, 99), small);
    fflush(stdout);
    rig_stop(&rig);
}

int main(int argc, char **argv)
{
    const char *only = argc > 1 ? argv[1] : "";
    log_set_level(LOG_ERROR);
    if (strcmp(only, "postgres") != 0)
        bench(RIG_SQLITE);
    if (strcmp(only, "sqlite") != 0 && postgres_installed())
        bench(RIG_POSTGRES);
    metrics_free();
    return 0;
}
