/* One owner for each cell, and no acknowledged edit lost: thousands of seeds, each a course of the whole cluster.
 *
 *   SIM_SEEDS=n    so many seeds of each mix
 *   SEED=n         that one seed alone, of MIX=name (or of all mixes), with its whole story in SIM_LOG (sim-SEED.log)
 *   SIM_EXPECT=bug some seed must fail: a test build has a bug built in */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/log.h"
#include "proto/base/metrics.h"
#include "tests/sim/check.h"
#include "tests/sim/faults.h"

#if defined(__SANITIZE_ADDRESS__)
enum { SEEDS_DEFAULT = 25 }; /* half a minute all the same */
#else
enum { SEEDS_DEFAULT = 100 };
#endif
enum { TIME_LIMIT_S = 600 };

static const struct sim_profile mixes[] = {
    {.name = "calm", .nodes = 3, .gateways = 2, .players = 6, .trouble_ms = 8000, .every_ms = 1000},
    {.name = "nodes_die",
     .nodes = 3,
     .gateways = 2,
     .players = 6,
     .trouble_ms = 20000,
     .every_ms = 2000,
     .weight = {[TROUBLE_KILL_NODE] = 4, [TROUBLE_STOP_NODE] = 2, [TROUBLE_START_NODE] = 2}},
    {.name = "zombies",
     .nodes = 3,
     .gateways = 2,
     .players = 6,
     .trouble_ms = 25000,
     .every_ms = 2000,
     .weight =
         {[TROUBLE_FREEZE_NODE] = 6, [TROUBLE_FREEZE_GATEWAY] = 1, [TROUBLE_REDIS_CUT] = 2, [TROUBLE_KILL_NODE] = 1}},
    {.name = "wires",
     .nodes = 3,
     .gateways = 2,
     .players = 6,
     .trouble_ms = 20000,
     .every_ms = 700,
     .weight = {[TROUBLE_RESET_LINK] = 6,
                [TROUBLE_MUTE_LINK] = 2,
                [TROUBLE_PART] = 3,
                [TROUBLE_REDIS_CUT] = 4,
                [TROUBLE_EVENTS_CUT] = 2,
                [TROUBLE_STORE_CUT] = 2}},
    {.name = "redis_away",
     .nodes = 3,
     .gateways = 2,
     .players = 6,
     .trouble_ms = 25000,
     .every_ms = 3000,
     .weight = {[TROUBLE_REDIS_AWAY] = 4,
                [TROUBLE_REDIS_STALL] = 4,
                [TROUBLE_REDIS_CUT] = 3,
                [TROUBLE_KILL_NODE] = 1,
                [TROUBLE_STOP_NODE] = 1}},
    {.name = "redis_went_back",
     .nodes = 3,
     .gateways = 2,
     .players = 6,
     .trouble_ms = 25000,
     .every_ms = 5000,
     .weight = {[TROUBLE_REDIS_EMPTY] = 3,
                [TROUBLE_REDIS_OLDER] = 4,
                [TROUBLE_REDIS_CUT] = 2,
                [TROUBLE_RESET_LINK] = 2,
                [TROUBLE_START_NODE] = 1}},
    {.name = "store",
     .nodes = 3,
     .gateways = 2,
     .players = 6,
     .trouble_ms = 20000,
     .every_ms = 2000,
     .weight = {[TROUBLE_STORE_AWAY] = 3,
                [TROUBLE_STORE_STALL] = 3,
                [TROUBLE_STORE_FAIL] = 3,
                [TROUBLE_STORE_CUT] = 3,
                [TROUBLE_KILL_NODE] = 2,
                [TROUBLE_STOP_NODE] = 2}},
    {.name = "gateways_die",
     .nodes = 2,
     .gateways = 3,
     .players = 8,
     .trouble_ms = 20000,
     .every_ms = 2500,
     .weight = {[TROUBLE_KILL_GATEWAY] = 3, [TROUBLE_FREEZE_GATEWAY] = 2, [TROUBLE_RESET_LINK] = 2}},
    {.name = "handoffs",
     .nodes = 4,
     .gateways = 2,
     .players = 6,
     .trouble_ms = 20000,
     .every_ms = 600,
     .times = 2,
     .weight = {[TROUBLE_STOP_NODE] = 4,
                [TROUBLE_DRAIN_NODE] = 6,
                [TROUBLE_START_NODE] = 4,
                [TROUBLE_KILL_NODE] = 1,
                [TROUBLE_FREEZE_NODE] = 1,
                [TROUBLE_RESET_LINK] = 3,
                [TROUBLE_MUTE_LINK] = 1,
                [TROUBLE_PART] = 3,
                [TROUBLE_REDIS_CUT] = 3,
                [TROUBLE_REDIS_AWAY] = 1}},
    {.name = "notices",
     .nodes = 4,
     .gateways = 2,
     .players = 6,
     .trouble_ms = 25000,
     .every_ms = 2500,
     .notices_kept = true,
     .weight = {[TROUBLE_NOTICE] = 5, [TROUBLE_HINT] = 4, [TROUBLE_INFANT] = 2, [TROUBLE_STORM] = 2}},
    {.name = "storms",
     .nodes = 5,
     .gateways = 2,
     .players = 6,
     .trouble_ms = 25000,
     .every_ms = 1500,
     .weight = {[TROUBLE_STORM] = 5,
                [TROUBLE_NOTICE] = 3,
                [TROUBLE_HINT] = 3,
                [TROUBLE_INFANT] = 2,
                [TROUBLE_DRAIN_NODE] = 1,
                [TROUBLE_KILL_NODE] = 1,
                [TROUBLE_FREEZE_NODE] = 1,
                [TROUBLE_RESET_LINK] = 2,
                [TROUBLE_PART] = 2,
                [TROUBLE_REDIS_CUT] = 2,
                [TROUBLE_REDIS_AWAY] = 1,
                [TROUBLE_STORE_STALL] = 1}},
    {.name = "everything",
     .nodes = 4,
     .gateways = 2,
     .players = 8,
     .trouble_ms = 30000,
     .every_ms = 1500,
     .weight = {[TROUBLE_KILL_NODE] = 3,
                [TROUBLE_FREEZE_NODE] = 3,
                [TROUBLE_STOP_NODE] = 2,
                [TROUBLE_START_NODE] = 2,
                [TROUBLE_KILL_GATEWAY] = 1,
                [TROUBLE_FREEZE_GATEWAY] = 1,
                [TROUBLE_RESET_LINK] = 3,
                [TROUBLE_MUTE_LINK] = 2,
                [TROUBLE_PART] = 2,
                [TROUBLE_REDIS_CUT] = 2,
                [TROUBLE_REDIS_AWAY] = 1,
                [TROUBLE_REDIS_STALL] = 1,
                [TROUBLE_EVENTS_CUT] = 1,
                [TROUBLE_STORE_CUT] = 1,
                [TROUBLE_STORE_AWAY] = 1,
                [TROUBLE_STORE_STALL] = 1,
                [TROUBLE_STORE_FAIL] = 1}},
};
enum { MIXES = sizeof mixes / sizeof *mixes };

static unsigned seeds = SEEDS_DEFAULT;
static uint64_t only_seed;
static bool one_seed, expect_bug;

/* For the line that a crash prints. */
static char running[100];

static void on_crash(int sig)
{
    ssize_t written = write(2, running, strlen(running));
    (void)written;
    signal(sig, SIG_DFL);
    raise(sig);
}

/* What became of the handoffs of all seeds of a mix so far: does it exercise them? */
struct handoffs {
    double moved, aborted, refused, promoted;
};

static double ended(const char *result)
{
    return metric_value(
        metrics_counter("spotcraft_node_handoffs_total", "Handoffs of cells that ended, by result.", result));
}

static struct handoffs handoffs(void)
{
    return (struct handoffs){
        ended("result=\"moved\""), ended("result=\"aborted\""), ended("result=\"refused\""),
        metric_value(metrics_counter("spotcraft_node_promotions_total",
                                     "Copies that were claimed, as their source was gone.", NULL))};
}

static struct check_stats total;
static uint64_t total_steps;

/* True: every promise was kept. */
static bool run_one(const struct sim_profile *mix, uint64_t seed, bool telling, FILE *log)
{
    snprintf(running, sizeof running, "\ncrashed in: MIX=%s SEED=%llu make sim\n", mix->name, (unsigned long long)seed);
    struct sim *s = sim_new(seed, mix, telling, log);
    bool ok = sim_run(s);
    struct check_stats st = check_stats(s);
    total.taken += st.taken;
    total.told += st.told;
    total.batches += st.batches;
    total_steps += s->sched.steps;
    if (telling && !ok) {
        sim_print_tail(s, stderr);
        fprintf(stderr, "MIX=%s SEED=%llu step %llu, %.3f ms: %s\nreplay: MIX=%s SEED=%llu make sim\n", mix->name,
                (unsigned long long)seed, (unsigned long long)s->sched.steps, (double)s->sched.now_us / 1e3, s->failure,
                mix->name, (unsigned long long)seed);
    }
    if (expect_bug && !ok)
        fprintf(stderr, "  found: MIX=%s SEED=%llu %s\n", mix->name, (unsigned long long)seed, s->failure);
    sim_free(s);
    return ok;
}

static bool run_told(const struct sim_profile *mix, uint64_t seed)
{
    char path[200];
    const char *named = getenv("SIM_LOG");
    snprintf(path, sizeof path, "%s", named ? named : "");
    if (!named)
        snprintf(path, sizeof path, "sim-%s-%llu.log", mix->name, (unsigned long long)seed);
    FILE *log = fopen(path, "w");
    assert_non_null(log);
    setvbuf(log, NULL, _IOLBF, 0);
    log_set_fd(fileno(log));
    log_set_level(LOG_DEBUG);
    bool ok = run_one(mix, seed, true, log);
    log_set_fd(-1);
    log_set_level(LOG_ERROR);
    fclose(log);
    fprintf(stderr, "the whole story: %s\n", path);
    return ok;
}

static void run_mix(void **state)
{
    const struct sim_profile *mix = *state;
    signal(SIGABRT, on_crash); /* here, for cmocka sets its own */
    signal(SIGSEGV, on_crash);
    if (one_seed) {
        assert_true(run_told(mix, only_seed));
        return;
    }
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    total = (struct check_stats){0};
    total_steps = 0;
    struct handoffs before = handoffs();
    unsigned failed = 0, count = seeds * (mix->times ? mix->times : 1);
    for (uint64_t seed = 1; seed <= count && !failed; seed++) {
        if (!run_one(mix, seed, false, NULL)) {
            failed++;
            /* Again, with its story: the same seed takes the same course. */
            if (!expect_bug && run_one(mix, seed, true, NULL))
                fail_msg("MIX=%s SEED=%llu failed, and not the second time", mix->name, (unsigned long long)seed);
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    double s = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
    fprintf(stderr, "  %-16s %u seeds, %llu steps, %llu changes, %llu told, %.1f s\n", mix->name, count,
            (unsigned long long)total_steps, (unsigned long long)total.taken, (unsigned long long)total.told, s);
    struct handoffs after = handoffs();
    fprintf(stderr, "  %-16s handoffs: %.0f moved, %.0f aborted, %.0f refused; %.0f copies promoted\n", "",
            after.moved - before.moved, after.aborted - before.aborted, after.refused - before.refused,
            after.promoted - before.promoted);
    assert_int_equal(failed, 0);
    assert_true(total.told > 0);
}

static unsigned number(const char *name, unsigned otherwise)
{
    const char *text = getenv(name);
    return text && *text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

int main(void)
{
    alarm(TIME_LIMIT_S);
    log_set_fd(-1);
    log_set_level(LOG_ERROR);
    seeds = number("SIM_SEEDS", SEEDS_DEFAULT);
    one_seed = getenv("SEED") && *getenv("SEED");
    only_seed = one_seed ? strtoull(getenv("SEED"), NULL, 10) : 0;
    expect_bug = getenv("SIM_EXPECT") && strcmp(getenv("SIM_EXPECT"), "bug") == 0;
    const char *mix = getenv("MIX");
    struct CMUnitTest tests[MIXES];
    size_t n = 0;
    for (unsigned i = 0; i < MIXES; i++) {
        if (!mix || !*mix || strcmp(mix, mixes[i].name) == 0)
            tests[n++] = (struct CMUnitTest){
                .name = mixes[i].name, .test_func = run_mix, .initial_state = (void *)(uintptr_t)&mixes[i]};
    }
    int failed = _cmocka_run_group_tests("sim", tests, n, NULL, NULL);
    metrics_free();
    if (expect_bug)
        return failed ? 0 : 1;
    return failed;
}
