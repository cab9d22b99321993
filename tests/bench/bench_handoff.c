/* bench_handoff - cells that change hands under players: one line of JSON for each thing that is promised.
 *
 *   drains    every node in turn is told to stop and replaced, round after round: what players lost, or noticed
 *   freeze    in the same run: how long one cell takes no edit, and what that adds to an edit's way to other players
 *   bulk      a thousand active cells with a million rows leave a node; beside it Redis, moving as many bytes
 *   balance   a node joins a loaded cluster of two: how long until each has its third, and that nothing moves then
 *
 * The exit code says whether a promise was broken: something lost, doubled, unseen, out of order or disconnected; a
 * freeze, an edit's way or a gap between positions too long; a node too slow to leave, or a load that stays uneven.
 * Each broken one is said on stderr. A busy machine breaks those about time, too: how late the bench's own timer was is
 * printed beside them. */
#include <event2/event.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/store/store.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"
#include "tests/lib/bench.h"
#include "tests/lib/bot.h"
#include "tests/lib/builders.h"
#include "tests/lib/cluster.h"
#include "tests/lib/moves_log.h"
#include "tests/lib/probe.h"
#include "tests/lib/redis_haul.h"

enum {
    NODE_MS = 40000,  /* for a node to stop, or to be ready */
    TICK_MS = 50,     /* of presence, as nodes have it by default */
    BULK_SIDE = 32,   /* cells: 32 x 32 */
    BULK_ROWS = 977,  /* of each: a million in all */
    FILLING_MAX = 64, /* store requests in flight */
    FILL_MS = 120000,
    BALANCE_MS = 30000,
    SETTLE_MS = 10000, /* even enough, and not done yet */
    STEADY_MS = 10000,
    POLL_MS = 100
};

/* What is promised. */
enum { FREEZE_P50_MS = 2, FREEZE_P99_MS = 10, FREEZE_MAX_MS = 50, EDIT_ABOVE_QUIET_MS = 50 };
enum { GAP_TICKS = 2, BULK_MS = 5000, UNEVEN_PERCENT = 20 };

struct options {
    unsigned rounds, bots, edits_per_s, quiet_s, pause_ms, only;
    uint64_t seed;
};

struct bench {
    struct options o;
    struct event_base *base;
    struct cluster *cluster;
    struct builders *crowd;
};

static bool promised(bool kept, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool promised(bool kept, const char *fmt, ...)
{
    va_list ap;
    if (kept)
        return true;
    va_start(ap, fmt);
    fputs("NOT KEPT: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    return false;
}

static bool promised_ms(double ms, double limit_ms, const char *what)
{
    return promised(ms < limit_ms, "%s: %.2f ms, not under %.0f", what, ms, limit_ms);
}

/* ---- a cluster and its crowd ---- */

static bool set_up(struct bench *b, const char *name, const struct cluster_conf *conf)
{
    b->base = event_base_new();
    b->cluster = cluster_new(name, conf);
    return b->cluster != NULL;
}

static bool gather(struct bench *b, struct builders_conf *conf)
{
    conf->base = b->base;
    conf->port = b->cluster->port;
    conf->edits_per_s = b->o.edits_per_s;
    conf->seed = b->o.seed;
    b->crowd = builders_new(conf);
    return builders_gather(b->crowd);
}

/* The logs stay where something was lost or did not end; times that were not kept are in the output. */
static void tear_down(struct bench *b, bool sound)
{
    builders_free(b->crowd);
    if (sound && b->cluster)
        cluster_passed(b->cluster);
    cluster_free(b->cluster);
    event_base_free(b->base);
    b->crowd = NULL;
    b->cluster = NULL;
}

/* Each is said, not only the first that was broken. */
static bool all_kept(const bool *kept, size_t n)
{
    bool all = true;
    for (size_t k = 0; k < n; k++)
        all = all && kept[k];
    return all;
}

static bool lost_nothing(const struct bench *b, const struct ledger_result *r)
{
    const bool kept[] = {
        promised(!b->crowd->disconnects, "players were disconnected"),
        promised(!r->refused, "edits were refused"),
        promised(!r->lost, "edits were lost"),
        promised(!r->unseen, "edits were not seen"),
        promised(!r->doubled, "edits were doubled"),
        promised(!r->disordered, "an author's order was not kept"),
        promised(!r->wrong_mirrors, "mirrors were wrong"),
    };
    return all_kept(kept, sizeof kept / sizeof *kept);
}

static void print_ledger(const struct bench *b, const struct ledger_result *r)
{
    printf("\"edits\":%u,\"disconnects\":%u,\"refused\":%u,\"lost\":%u,\"unseen\":%u,\"doubled\":%u,"
           "\"disordered\":%u,\"wrong_mirrors\":%u}\n",
           r->edits, b->crowd->disconnects, r->refused, r->lost, r->unseen, r->doubled, r->disordered,
           r->wrong_mirrors);
    fflush(stdout);
}

static void print_latency(const char *name, const struct latency *l)
{
    printf("\"%s_p50_ms\":%.2f,\"%s_p99_ms\":%.2f,\"%s_max_ms\":%.2f,", name, latency_ms(l, 0.5), name,
           latency_ms(l, 0.99), name, latency_ms(l, 1));
}

static bool has_ended(void *arg)
{
    return !proc_alive(((struct member *)arg)->proc);
}

static bool is_ready(void *arg)
{
    return member_is_ready(arg);
}

/* The players play on meanwhile. */
static bool drain(struct bench *b, struct member *m)
{
    proc_signal(m->proc, SIGTERM);
    return loop_until(b->base, has_ended, m, NODE_MS, "the node to leave") && member_stop(m, 1000) == 0;
}

static bool start(struct bench *b, struct member *m)
{
    return member_start(m) && loop_until(b->base, is_ready, m, NODE_MS, "the node to be ready");
}

/* ---- every node in turn, round after round ---- */

static bool drain_all(struct bench *b, struct latency *took, unsigned *drains)
{
    struct cluster *c = b->cluster;
    for (unsigned round = 0; round < b->o.rounds; round++) {
        for (unsigned k = 0; k < c->n_nodes; k++) {
            uint64_t from = clock_mono_us();
            if (!drain(b, &c->node[k]))
                return false;
            latency_add(took, clock_mono_us() - from);
            ++*drains;
            if (!start(b, &c->node[k]))
                return false;
            loop_for(b->base, b->o.pause_ms);
        }
        fprintf(stderr, "round %u of %u\n", round + 1, b->o.rounds);
    }
    return true;
}

/* The bench reads late what came in time: a gap may be longer by that. */
static bool freeze_is_short(const struct builders_times *quiet, const struct builders_times *busy,
                            const struct moves *m)
{
    double late = latency_ms(busy->late, 1), above = latency_ms(busy->edit, 0.99) - latency_ms(quiet->edit, 0.99);
    const bool kept[] = {
        promised_ms(latency_ms(m->freeze, 0.5), FREEZE_P50_MS, "freeze p50"),
        promised_ms(latency_ms(m->freeze, 0.99), FREEZE_P99_MS, "freeze p99"),
        promised_ms(latency_ms(m->freeze, 1), FREEZE_MAX_MS, "the longest freeze"),
        promised_ms(above, EDIT_ABOVE_QUIET_MS, "edit-to-seen p99 above the quiet one"),
        promised_ms(latency_ms(busy->gap, 1), GAP_TICKS * TICK_MS + late, "the longest position gap"),
    };
    return all_kept(kept, sizeof kept / sizeof *kept);
}

static void print_gaps(const struct builders_times *times)
{
    printf("\"position_gap_p99_ticks\":%.1f,\"position_gap_max_ticks\":%.1f,\"position_gaps\":%llu,"
           "\"position_gaps_over_1_tick\":%llu,\"position_gaps_over_2_ticks\":%llu,\"bench_late_p99_ms\":%.2f,"
           "\"bench_late_max_ms\":%.2f,\"bench_late_max_ticks\":%.1f",
           latency_ms(times->gap, 0.99) / TICK_MS, latency_ms(times->gap, 1) / TICK_MS,
           (unsigned long long)latency_count(times->gap), (unsigned long long)latency_above(times->gap, TICK_MS),
           (unsigned long long)latency_above(times->gap, 2 * TICK_MS), latency_ms(times->late, 0.99),
           latency_ms(times->late, 1), latency_ms(times->late, 1) / TICK_MS);
}

static void print_freeze(const struct bench *b, const struct builders_times *quiet, const struct moves *m)
{
    const struct builders_times *busy = &b->crowd->times;
    printf("{\"bench\":\"freeze\",\"cells_moved\":%llu,\"aborted\":%llu,", (unsigned long long)m->moved,
           (unsigned long long)m->aborted);
    print_latency("freeze", m->freeze);
    print_latency("handoff", m->handoff);
    print_latency("quiet_edit_seen", quiet->edit);
    print_latency("edit_seen", busy->edit);
    print_latency("quiet_position_gap", quiet->gap);
    print_latency("position_gap", busy->gap);
    printf("\"edit_seen_p99_above_quiet_ms\":%.2f,", latency_ms(busy->edit, 0.99) - latency_ms(quiet->edit, 0.99));
    print_gaps(busy);
    printf("}\n");
    fflush(stdout);
}

static bool bench_drains(struct bench *b)
{
    struct ledger_result r = {0};
    struct latency *took = latency_new();
    struct builders_times quiet = {0};
    unsigned drains = 0;
    uint64_t from = clock_mono_ms();
    struct cluster_conf conf = {.nodes = 3, .gateways = 2};
    struct builders_conf crowd = {.bots = b->o.bots, .view = 3, .cells = 6};
    bool in_time = false, good = set_up(b, "drains", &conf) && gather(b, &crowd);
    if (good) {
        builders_start(b->crowd);
        loop_for(b->base, b->o.quiet_s * 1000);
        quiet = b->crowd->times;
        b->crowd->times = builders_times_new();
        good = drain_all(b, took, &drains);
        builders_stop(b->crowd);
        good = builders_check(b->crowd, &r) && lost_nothing(b, &r) && good;
        printf("{\"bench\":\"drains\",\"bots\":%u,\"edits_per_s\":%u,\"drains\":%u,\"seconds\":%.0f,", b->o.bots,
               b->o.edits_per_s, drains, (double)(clock_mono_ms() - from) / 1e3);
        print_latency("drain", took);
        print_ledger(b, &r);
        struct moves m = moves_read(b->cluster);
        print_freeze(b, &quiet, &m);
        in_time = freeze_is_short(&quiet, &b->crowd->times, &m);
        moves_free(&m);
        builders_times_free(&quiet);
    }
    latency_free(took);
    tear_down(b, good);
    return good && in_time;
}

/* ---- a thousand cells at once ---- */

struct fill {
    unsigned open, done, failed;
};

static void on_filled(struct store_req *req, void *arg)
{
    struct fill *f = arg;
    f->open--;
    f->done++;
    f->failed += req->err != ERR_OK;
    store_req_free(req);
}

/* As a node leaves it that released the cell in order. Far below where the crowd builds, evenly over the chunks. */
static struct store_req *filled_cell(struct cell_pos at, struct fill *f)
{
    struct store_req *req = store_req_new(STORE_FLUSH, on_filled, f);
    req->cell = at;
    req->row = (struct store_cell){.epoch = 1, .rev = BULK_ROWS, .clean = true};
    req->rows = arena_alloc(req->arena, BULK_ROWS * sizeof *req->rows);
    req->n_rows = BULK_ROWS;
    for (unsigned k = 0; k < BULK_ROWS; k++) {
        int32_t column = (int32_t)k % CELL_SIZE, stripe = (int32_t)k / CELL_SIZE;
        req->rows[k] = (struct row){.at = {.x = at.i * CELL_SIZE + column,
                                           .y = 1 + (int32_t)k % 60,
                                           .z = at.j * CELL_SIZE + stripe * 16 + column % 16},
                                    .kind = ROW_BLOCK,
                                    .w = (int16_t)(1 + k % 15),
                                    .key = k + 1,
                                    .rev = k + 1};
    }
    return req;
}

static bool fill_room(void *arg)
{
    return ((struct fill *)arg)->open < FILLING_MAX;
}

static bool fill_over(void *arg)
{
    return ((struct fill *)arg)->open == 0;
}

static bool fill(struct bench *b)
{
    char why[256];
    struct store *s;
    struct fill f = {0};
    if (store_open(b->cluster->store_url, b->base, NULL, CELL_CHUNKS, &s, why, sizeof why) != ERR_OK) {
        fprintf(stderr, "cannot fill the store: %s\n", why);
        return false;
    }
    bool good = true;
    for (int32_t k = 0; good && k < BULK_SIDE * BULK_SIDE; k++) {
        struct cell_pos at = {k % BULK_SIDE, k / BULK_SIDE};
        struct store_req *claim = store_req_new(STORE_CLAIM, on_filled, &f);
        claim->cell = at;
        claim->row.epoch = 1;
        f.open += 2;
        store_submit(s, claim);
        store_submit(s, filled_cell(at, &f));
        good = loop_until(b->base, fill_room, &f, FILL_MS, "the store to take rows");
    }
    good = good && loop_until(b->base, fill_over, &f, FILL_MS, "the store to take all rows") && !f.failed;
    store_close(s);
    return good;
}

struct leaving {
    struct member *node;
    double bytes; /* as far as it told */
    uint64_t next_ms;
};

static bool has_left(void *arg)
{
    struct leaving *l = arg;
    if (has_ended(l->node))
        return true;
    if (clock_mono_ms() < l->next_ms)
        return false;
    l->bytes = member_metric_or(l->node, "spotcraft_node_handoff_bytes_total", l->bytes);
    l->next_ms = clock_mono_ms() + POLL_MS;
    return false;
}

static bool linked(void *arg)
{
    struct cluster *c = arg;
    return member_metric_or(&c->node[0], "spotcraft_node_links", 0) >= 2;
}

static bool bench_bulk(struct bench *b)
{
    struct ledger_result r = {0};
    struct cluster_conf conf = {.nodes = 1, .gateways = 1};
    struct builders_conf crowd = {
        .bots = 2 * (BULK_SIDE / 2) * (BULK_SIDE / 2), .view = 2, .cells = BULK_SIDE, .on_corners = true};
    bool in_time = false, good = set_up(b, "bulk", &conf);
    fprintf(stderr, "filling %d cells\n", BULK_SIDE * BULK_SIDE);
    good = good && fill(b) && gather(b, &crowd);
    if (good) {
        struct member *old = &b->cluster->node[0];
        builders_start(b->crowd);
        loop_for(b->base, b->o.quiet_s * 1000);
        struct builders_times quiet = b->crowd->times;
        b->crowd->times = builders_times_new();
        struct member *other = cluster_new_node(b->cluster);
        good = start(b, other) && loop_until(b->base, linked, b->cluster, NODE_MS, "the nodes to be linked");
        double cells = member_metric_or(old, "spotcraft_node_cells", 0);
        builders_times_free(&b->crowd->times);
        b->crowd->times = builders_times_new();
        uint64_t from = clock_mono_us();
        struct leaving leaving = {.node = old};
        proc_signal(old->proc, SIGTERM);
        good = good && loop_until(b->base, has_left, &leaving, NODE_MS, "the node to leave") &&
               member_stop(old, 1000) == 0;
        double seconds = (double)(clock_mono_us() - from) / 1e6, redis_seconds = 0;
        struct builders_times busy = b->crowd->times;
        b->crowd->times = builders_times_new();
        builders_stop(b->crowd);
        good = builders_check(b->crowd, &r) && lost_nothing(b, &r) && good;
        in_time = promised_ms(seconds * 1e3, BULK_MS, "a thousand cells leave");
        struct moves m = moves_read(b->cluster);
        uint64_t redis_bytes = 0;
        bool moved =
            cells >= BULK_SIDE * BULK_SIDE && redis_haul(b->cluster->lab, BULK_SIDE * BULK_SIDE, BULK_ROWS,
                                                         (uint64_t)leaving.bytes, &redis_bytes, &redis_seconds);
        printf(
            "{\"bench\":\"bulk\",\"cells\":%.0f,\"rows\":%llu,\"seconds\":%.2f,\"cells_moved\":%llu,\"aborted\":%llu,"
            "\"bytes\":%llu,\"redis_bytes\":%llu,\"redis_seconds\":%.2f,\"ratio\":%.2f,",
            cells, (unsigned long long)m.rows, seconds, (unsigned long long)m.moved, (unsigned long long)m.aborted,
            (unsigned long long)leaving.bytes, (unsigned long long)redis_bytes, redis_seconds,
            redis_seconds > 0 ? seconds / redis_seconds : 0);
        print_latency("freeze", m.freeze);
        print_latency("quiet_edit_seen", quiet.edit);
        print_latency("edit_seen", busy.edit);
        print_ledger(b, &r);
        good = promised(moved, "not a thousand cells were active: %.0f", cells) && good;
        moves_free(&m);
        builders_times_free(&quiet);
        builders_times_free(&busy);
    }
    tear_down(b, good);
    return good && in_time;
}

/* ---- one more node ---- */

struct loads {
    struct cluster *cluster;
    double of[CLUSTER_MEMBERS_MAX], off; /* off: the furthest from the mean, as a share of it */
    uint64_t next_ms;
};

static bool is_even(void *arg)
{
    struct loads *l = arg;
    unsigned n = l->cluster->n_nodes;
    double sum = 0;
    uint64_t now = clock_mono_ms();
    if (now < l->next_ms)
        return false;
    l->next_ms = now + POLL_MS;
    for (unsigned k = 0; k < n; k++)
        sum += l->of[k] = member_metric_or(&l->cluster->node[k], "spotcraft_node_load", 0);
    l->off = 0;
    for (unsigned k = 0; k < n; k++) {
        double off = sum > 0 ? l->of[k] * n / sum - 1 : 1;
        off = off < 0 ? -off : off;
        l->off = off > l->off ? off : l->off;
    }
    return l->off * 100 <= UNEVEN_PERCENT;
}

static bool bench_balance(struct bench *b)
{
    struct ledger_result r = {0};
    struct cluster_conf conf = {.nodes = 2, .gateways = 2};
    struct builders_conf crowd = {.bots = b->o.bots, .view = 3, .cells = 8};
    bool in_time = false, good = set_up(b, "balance", &conf) && gather(b, &crowd);
    if (good) {
        struct loads l = {.cluster = b->cluster};
        builders_start(b->crowd);
        loop_for(b->base, b->o.quiet_s * 1000);
        is_even(&l);
        fprintf(stderr, "two nodes with a load of %.0f and %.0f\n", l.of[0], l.of[1]);
        uint64_t from = clock_mono_us();
        member_start(cluster_new_node(b->cluster));
        bool even = loop_until(b->base, is_even, &l, BALANCE_MS, "the load to be even");
        double seconds = (double)(clock_mono_us() - from) / 1e6;
        loop_for(b->base, SETTLE_MS);
        uint64_t before = moves_count(b->cluster);
        loop_for(b->base, STEADY_MS);
        uint64_t after = moves_count(b->cluster) - before;
        l.next_ms = 0;
        is_even(&l);
        builders_stop(b->crowd);
        good = builders_check(b->crowd, &r) && lost_nothing(b, &r);
        in_time = promised(even, "the load is not even within %d s", BALANCE_MS / 1000);
        in_time = promised(after == 0, "cells moved in a steady cluster: %llu", (unsigned long long)after) && in_time;
        printf("{\"bench\":\"balance\",\"even\":%s,\"seconds\":%.2f,\"cells_moved\":%llu,\"moved_after\":%llu,"
               "\"load\":[%.0f,%.0f,%.0f],\"off_percent\":%.0f,",
               even ? "true" : "false", seconds, (unsigned long long)before, (unsigned long long)after, l.of[0],
               l.of[1], l.of[2], l.off * 100);
        print_ledger(b, &r);
    }
    tear_down(b, good);
    return good && in_time;
}

/* ---- options ---- */

static const char usage[] =
    "usage: bench_handoff [options]        cells that change hands under players, in clusters of its own\n"
    "  --rounds N (20: each of 3 nodes is drained so often)  --bots N (300)  --edits-per-s N (100: of all together)\n"
    "  --quiet-s N (10: measured before)  --pause-ms N (1500: after a node was replaced)\n"
    "  --only drains|bulk|balance  --seed N\n";

static bool (*const benches[])(struct bench *) = {bench_drains, bench_bulk, bench_balance};
static const char *const bench_names[] = {"drains", "bulk", "balance"};
enum { BENCHES = sizeof benches / sizeof *benches };

static void set_option(struct options *o, const char *name, const char *value)
{
    if (!strcmp(name, "rounds"))
        o->rounds = bench_number(value, name, 1, 1000);
    else if (!strcmp(name, "bots"))
        o->bots = bench_number(value, name, 2, 10000);
    else if (!strcmp(name, "edits-per-s"))
        o->edits_per_s = bench_number(value, name, 0, 100000);
    else if (!strcmp(name, "quiet-s"))
        o->quiet_s = bench_number(value, name, 1, 3600);
    else if (!strcmp(name, "pause-ms"))
        o->pause_ms = bench_number(value, name, 0, 600000);
    else if (!strcmp(name, "seed"))
        o->seed = bench_number(value, name, 0, UINT32_MAX);
    else if (!strcmp(name, "only")) {
        for (o->only = 0; o->only < BENCHES && strcmp(value, bench_names[o->only]) != 0; o->only++)
            ;
        if (o->only == BENCHES) {
            fprintf(stderr, "--only: drains, bulk or balance, not '%s'\n", value);
            exit(2);
        }
    }
}

static struct options read_options(int argc, char **argv)
{
    struct options o = {
        .rounds = 20, .bots = 300, .edits_per_s = 100, .quiet_s = 10, .pause_ms = 1500, .only = BENCHES, .seed = 1};
    static const struct option longs[] = {
        {"rounds", 1, NULL, 0},  {"bots", 1, NULL, 0},     {"edits-per-s", 1, NULL, 0},
        {"quiet-s", 1, NULL, 0}, {"pause-ms", 1, NULL, 0}, {"only", 1, NULL, 0},
        {"seed", 1, NULL, 0},    {"help", 0, NULL, 'h'},   {NULL, 0, NULL, 0}};
    int c, at = 0;
    while ((c = getopt_long(argc, argv, "", longs, &at)) != -1) {
        if (c == 0)
            set_option(&o, longs[at].name, optarg);
        else
            fputs(usage, c == 'h' ? stdout : stderr);
        if (c != 0)
            exit(c == 'h' ? 0 : 2);
    }
    if (optind < argc) {
        fputs(usage, stderr);
        exit(2);
    }
    return o;
}

int main(int argc, char **argv)
{
    struct bench b = {.o = read_options(argc, argv)};
    bool good = true;
    bench_begin();
    for (unsigned k = 0; k < BENCHES; k++)
        good = (b.o.only != BENCHES && b.o.only != k) || benches[k](&b) ? good : false;
    return good ? 0 : 1;
}
