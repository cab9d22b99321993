/* bench_players - builders against a cluster of their own or one that runs; what came of it as one line of JSON. The
 * exit code says whether anything was lost, doubled, out of order or disconnected.
 *
 * With --timeline a line is appended to a file each second, and the verdict at the end, for who draws what happened
 * meanwhile. SIGTERM and SIGINT end the play, not the check that follows it. */
#include <event2/event.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/mem.h"
#include "tests/lib/bench.h"
#include "tests/lib/bot.h"
#include "tests/lib/builders.h"
#include "tests/lib/cluster.h"
#include "tests/lib/probe.h"

enum { DISTURB_MS = 20, TELL_S = 1 };

struct options {
    unsigned bots, seconds, edits_per_s, gateways, nodes, view, cells;
    int kill_node_at, start_node_at;
    double border_fraction;
    enum cluster_store store;
    const char *host, *timeline;
    uint16_t port;
    int32_t origin_x, origin_z;
    bool placed; /* the origin was given */
    bool json, nagle;
};

struct bench {
    struct options o;
    struct event_base *base;
    struct cluster *cluster; /* NULL: one that ran before */
    struct builders *crowd;
    struct border *borders;
    size_t n_borders;
    uint64_t start_ms, played_ms;
    struct builders_times all; /* the crowd has those of the second that runs */
    int timeline;              /* its descriptor, -1: none */
};

static void note(const struct bench *b, const char *text)
{
    if (!b->o.json)
        fprintf(stderr, "%s\n", text);
}

static uint64_t owner_of(const struct bench *b, struct cell_pos c)
{
    char *text = redis_ask(b->cluster->redis.port, "HGET spotcraft:{test}:cell:%d,%d owner", c.i, c.j);
    uint64_t id = text ? strtoull(text, NULL, 16) : 0;
    free(text);
    return id;
}

/* The borders inside the area between cells of different nodes; all, where that is not known or there are none. */
static void find_borders(struct bench *b)
{
    struct cell_pos first = cell_of_block(b->o.origin_x, b->o.origin_z);
    int32_t n = (int32_t)b->o.cells;
    uint64_t *owner = mem_array((size_t)(n + 1) * (size_t)(n + 1), sizeof *owner);
    b->borders = mem_array((size_t)(2 * n * n), sizeof *b->borders);
    for (int32_t i = 0; i < n && b->cluster; i++)
        for (int32_t j = 0; j < n; j++)
            owner[i * n + j] = owner_of(b, (struct cell_pos){first.i + i, first.j + j});
    for (int any = 0; any < 2 && !b->n_borders; any++)
        for (int32_t i = 0; i < n; i++)
            for (int32_t j = 0; j < n; j++) {
                struct cell_pos at = {first.i + i, first.j + j};
                if (i + 1 < n && (any || owner[i * n + j] != owner[(i + 1) * n + j]))
                    b->borders[b->n_borders++] = (struct border){at, true};
                if (j + 1 < n && (any || owner[i * n + j] != owner[i * n + j + 1]))
                    b->borders[b->n_borders++] = (struct border){at, false};
            }
    free(owner);
    char text[80];
    snprintf(text, sizeof text, "%zu borders between nodes", b->n_borders);
    note(b, text);
}

/* The one whose loss hurts most. */
static struct member *busiest_node(struct cluster *c)
{
    struct member *most = &c->node[0];
    for (unsigned k = 1; k < c->n_nodes; k++) {
        if (member_metric_or(&c->node[k], "spotcraft_node_cells", 0) >
            member_metric_or(most, "spotcraft_node_cells", 0))
            most = &c->node[k];
    }
    return most;
}

static void disturb(evutil_socket_t fd, short what, void *arg)
{
    struct bench *b = arg;
    struct cluster *c = b->cluster;
    uint64_t ms = clock_mono_ms() - b->start_ms;
    (void)fd, (void)what;
    if (b->o.kill_node_at >= 0 && ms >= (uint64_t)b->o.kill_node_at * 1000) {
        note(b, "killing the node with the most cells");
        proc_signal(busiest_node(c)->proc, SIGKILL);
        b->o.kill_node_at = -1;
    }
    if (b->o.start_node_at >= 0 && ms >= (uint64_t)b->o.start_node_at * 1000) {
        note(b, "starting one more node");
        member_start(cluster_new_node(c));
        b->o.start_node_at = -1;
    }
}

static bool gather(struct bench *b)
{
    if (!builders_gather(b->crowd))
        return false;
    find_borders(b);
    unsigned n = b->n_borders ? (unsigned)(b->o.border_fraction * b->o.bots) : 0;
    for (unsigned i = 0; i < n; i++)
        builders_to_border(b->crowd, i, &b->borders[rng_below(&b->crowd->rng, (uint32_t)b->n_borders)]);
    return builders_wait_here(b->crowd, "all bots to see where they moved");
}

static void print_latency(FILE *f, const char *name, const struct latency *l)
{
    fprintf(f, "\"%s_n\":%llu,\"%s_p50_ms\":%.2f,\"%s_p99_ms\":%.2f,\"%s_max_ms\":%.2f,", name,
            (unsigned long long)latency_count(l), name, latency_ms(l, 0.5), name, latency_ms(l, 0.99), name,
            latency_ms(l, 1));
}

/* A line in one write: others append to the same file. */
static void append(const struct bench *b, const char *line, size_t len)
{
    if (b->timeline >= 0 && write(b->timeline, line, len) != (ssize_t)len)
        perror(b->o.timeline);
}

static void tell(struct bench *b, const char *kind)
{
    const struct builders_times *t = &b->crowd->times;
    char *line;
    size_t len;
    FILE *f = open_memstream(&line, &len);
    fprintf(f, "{\"t\":%llu,\"kind\":\"%s\",\"bots\":%u,", (unsigned long long)clock_unix_ms(), kind, b->o.bots);
    print_latency(f, "edit_seen", t->edit);
    print_latency(f, "position", t->position);
    fprintf(f, "\"bench_late_ms\":%.2f,\"waiting\":%llu,\"disconnects\":%u}\n", latency_ms(t->late, 1),
            (unsigned long long)ledger_open(b->crowd->ledger), b->crowd->disconnects);
    fclose(f);
    append(b, line, len);
    free(line);
}

/* What was timed since the last call joins the rest. */
static void close_second(struct bench *b)
{
    struct latency *const now[] = {b->crowd->times.edit, b->crowd->times.position, b->crowd->times.gap,
                                   b->crowd->times.late};
    struct latency *const all[] = {b->all.edit, b->all.position, b->all.gap, b->all.late};
    for (size_t k = 0; k < sizeof now / sizeof *now; k++) {
        latency_merge(all[k], now[k]);
        latency_clear(now[k]);
    }
}

static void on_second(evutil_socket_t fd, short what, void *arg)
{
    struct bench *b = arg;
    (void)fd, (void)what;
    if (b->timeline >= 0)
        tell(b, "bots");
    close_second(b);
}

static void on_signal(evutil_socket_t fd, short what, void *arg)
{
    struct bench *b = arg;
    (void)fd, (void)what;
    event_base_loopbreak(b->base);
}

static void play(struct bench *b)
{
    const struct timeval often = {.tv_usec = DISTURB_MS * 1000}, second = {.tv_sec = TELL_S};
    const struct timeval end = {.tv_sec = b->o.seconds};
    struct event *disturbing = event_new(b->base, -1, EV_PERSIST, disturb, b);
    struct event *seconds = event_new(b->base, -1, EV_PERSIST, on_second, b);
    struct event *term = evsignal_new(b->base, SIGTERM, on_signal, b),
                 *intr = evsignal_new(b->base, SIGINT, on_signal, b);
    b->start_ms = clock_mono_ms();
    builders_start(b->crowd);
    if (b->cluster)
        event_add(disturbing, &often);
    event_add(seconds, &second);
    event_add(term, NULL);
    event_add(intr, NULL);
    event_base_loopexit(b->base, &end);
    event_base_dispatch(b->base);
    b->played_ms = clock_mono_ms() - b->start_ms;
    event_free(disturbing);
    event_free(seconds);
    event_free(term);
    event_free(intr);
    builders_stop(b->crowd);
}

static void print_result(const struct bench *b, const struct ledger_result *r, FILE *f)
{
    const struct options *o = &b->o;
    const char *store = !b->cluster ? "" : o->store == CLUSTER_POSTGRES ? "postgres" : "sqlite";
    fprintf(f, "\"bots\":%u,\"seconds\":%llu,\"gateways\":%u,\"nodes\":%u,\"store\":\"%s\",\"edits\":%u,", o->bots,
            (unsigned long long)((b->played_ms + 500) / 1000), b->cluster ? o->gateways : 0, b->cluster ? o->nodes : 0,
            store, r->edits);
    print_latency(f, "edit_seen", b->all.edit);
    print_latency(f, "position", b->all.position);
    print_latency(f, "first_screen", b->crowd->join);
    fprintf(f, "\"bench_late_p99_ms\":%.2f,\"position_lines\":%llu,\"chats\":%u,\"chats_heard\":%u,",
            latency_ms(b->all.late, 0.99), (unsigned long long)b->crowd->position_lines, b->crowd->chats,
            b->crowd->chats_heard);
    fprintf(f,
            "\"disconnects\":%u,\"refused\":%u,\"lost\":%u,\"unseen\":%u,\"doubled\":%u,\"disordered\":%u,"
            "\"wrong_mirrors\":%u}\n",
            b->crowd->disconnects, r->refused, r->lost, r->unseen, r->doubled, r->disordered, r->wrong_mirrors);
}

static void report(const struct bench *b, const struct ledger_result *r)
{
    char *line;
    size_t len;
    FILE *f = open_memstream(&line, &len);
    fprintf(f, "{\"t\":%llu,\"kind\":\"verdict\",", (unsigned long long)clock_unix_ms());
    print_result(b, r, f);
    fclose(f);
    append(b, line, len);
    free(line);
    printf("{");
    print_result(b, r, stdout);
    fflush(stdout);
}

static bool run(struct bench *b)
{
    struct ledger_result r = {0};
    if (!gather(b))
        return false;
    tell(b, "bots_ready");
    play(b);
    bool read = builders_check(b->crowd, &r);
    close_second(b);
    if (!read) {
        fprintf(stderr, "the world could not be read at the end\n");
        return false;
    }
    report(b, &r);
    return !b->crowd->disconnects && !r.lost && !r.unseen && !r.doubled && !r.disordered && !r.wrong_mirrors;
}

/* ---- options ---- */

static const char usage[] =
    "usage: bench_players [options]        bots against a cluster of its own, or with --connect against one that runs\n"
    "  --bots N (200)  --seconds N (60)  --edits-per-s N (50: of all together)  --view N (3: chunks to each side)\n"
    "  --cells N (6: they live in N x N cells)  --border-fraction F (0.5: of the bots, who build within a block of a\n"
    "  border between nodes)  --gateways N (2)  --nodes N (3)  --store sqlite|postgres\n"
    "  --kill-node-at S  --start-node-at S (seconds from the start)\n"
    "  --connect HOST:PORT (numeric)  --origin X,Z (where the area begins, a multiple of 128; with --connect: "
    "anywhere)\n"
    "  --timeline FILE (appends a line of JSON each second, and the result)\n"
    "  --nagle (small writes wait, as the real client's do)  --seed N  --json (nothing but the line of JSON)\n";

static void refuse(const char *option, const char *value)
{
    fprintf(stderr, "--%s: cannot make sense of '%s'\n", option, value);
    exit(2);
}

static double fraction(const char *text, const char *option)
{
    char *end;
    double v = strtod(text, &end);
    if (*end || end == text || !(v >= 0 && v <= 1))
        refuse(option, text);
    return v;
}

static void set_option(struct options *o, const char *name, char *value, uint64_t *seed)
{
    if (!strcmp(name, "bots"))
        o->bots = bench_number(value, name, 2, 10000);
    else if (!strcmp(name, "seconds"))
        o->seconds = bench_number(value, name, 1, 86400);
    else if (!strcmp(name, "edits-per-s"))
        o->edits_per_s = bench_number(value, name, 0, 100000);
    else if (!strcmp(name, "view"))
        o->view = bench_number(value, name, 1, 24);
    else if (!strcmp(name, "cells"))
        o->cells = bench_number(value, name, 2, 64);
    else if (!strcmp(name, "gateways"))
        o->gateways = bench_number(value, name, 1, CLUSTER_MEMBERS_MAX);
    else if (!strcmp(name, "nodes"))
        o->nodes = bench_number(value, name, 1, CLUSTER_MEMBERS_MAX - 1);
    else if (!strcmp(name, "border-fraction"))
        o->border_fraction = fraction(value, name);
    else if (!strcmp(name, "kill-node-at"))
        o->kill_node_at = (int)bench_number(value, name, 0, 86400);
    else if (!strcmp(name, "start-node-at"))
        o->start_node_at = (int)bench_number(value, name, 0, 86400);
    else if (!strcmp(name, "seed"))
        *seed = bench_number(value, name, 0, UINT32_MAX);
    else if (!strcmp(name, "origin") && !(o->placed = sscanf(value, "%d,%d", &o->origin_x, &o->origin_z) == 2))
        refuse(name, value);
    else if (!strcmp(name, "store") && strcmp(value, "sqlite") && strcmp(value, "postgres"))
        refuse(name, value);
    else if (!strcmp(name, "store"))
        o->store = strcmp(value, "postgres") ? CLUSTER_SQLITE : CLUSTER_POSTGRES;
    else if (!strcmp(name, "timeline"))
        o->timeline = value;
    else if (!strcmp(name, "connect")) {
        char *colon = strrchr(value, ':');
        if (!colon)
            refuse(name, value);
        *colon = '\0';
        o->host = value;
        o->port = (uint16_t)bench_number(colon + 1, name, 1, 65535);
    }
}

static struct options read_options(int argc, char **argv, uint64_t *seed)
{
    struct options o = {.bots = 200,
                        .seconds = 60,
                        .edits_per_s = 50,
                        .gateways = 2,
                        .nodes = 3,
                        .view = 3,
                        .cells = 6,
                        .kill_node_at = -1,
                        .start_node_at = -1,
                        .border_fraction = 0.5};
    static const struct option longs[] = {{"bots", 1, NULL, 0},
                                          {"seconds", 1, NULL, 0},
                                          {"edits-per-s", 1, NULL, 0},
                                          {"view", 1, NULL, 0},
                                          {"cells", 1, NULL, 0},
                                          {"border-fraction", 1, NULL, 0},
                                          {"gateways", 1, NULL, 0},
                                          {"nodes", 1, NULL, 0},
                                          {"store", 1, NULL, 0},
                                          {"kill-node-at", 1, NULL, 0},
                                          {"start-node-at", 1, NULL, 0},
                                          {"connect", 1, NULL, 0},
                                          {"timeline", 1, NULL, 0},
                                          {"origin", 1, NULL, 0},
                                          {"seed", 1, NULL, 0},
                                          {"nagle", 0, NULL, 'n'},
                                          {"json", 0, NULL, 'j'},
                                          {"help", 0, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    int c, at;
    while ((c = getopt_long(argc, argv, "", longs, &at)) != -1) {
        if (c == 'h') {
            fputs(usage, stdout);
            exit(0);
        }
        if (c == '?') {
            fputs(usage, stderr);
            exit(2);
        }
        o.nagle |= c == 'n';
        o.json |= c == 'j';
        if (c == 0)
            set_option(&o, longs[at].name, optarg, seed);
    }
    if (optind < argc)
        refuse("help", argv[optind]);
    if (o.host && (o.kill_node_at >= 0 || o.start_node_at >= 0))
        refuse("connect", "no node of it is ours to kill or start");
    return o;
}

int main(int argc, char **argv)
{
    uint64_t seed = 1;
    struct bench b = {.o = read_options(argc, argv, &seed)};
    bench_begin();
    b.timeline = -1;
    if (b.o.timeline && (b.timeline = open(b.o.timeline, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) < 0) {
        perror(b.o.timeline);
        return 2;
    }
    b.all = builders_times_new();
    if (b.o.host && !b.o.placed) { /* no block may be used twice, not by an earlier run either */
        struct rng os;
        rng_seed_os(&os);
        b.o.origin_x = ((int32_t)rng_below(&os, 1 << 14) - (1 << 13)) * CELL_SIZE;
        b.o.origin_z = ((int32_t)rng_below(&os, 1 << 14) - (1 << 13)) * CELL_SIZE;
    }
    if (!b.o.host) {
        struct cluster_conf cluster = {
            .nodes = b.o.nodes, .gateways = b.o.gateways, .store = b.o.store, .store_fsync = true};
        if (!(b.cluster = cluster_new("bench", &cluster)))
            return 1;
        b.o.port = b.cluster->port;
    }
    b.base = event_base_new();
    struct builders_conf conf = {.base = b.base,
                                 .host = b.o.host,
                                 .port = b.o.port,
                                 .bots = b.o.bots,
                                 .edits_per_s = b.o.edits_per_s,
                                 .view = b.o.view,
                                 .cells = b.o.cells,
                                 .origin_x = b.o.origin_x,
                                 .origin_z = b.o.origin_z,
                                 .nagle = b.o.nagle,
                                 .silent = b.o.json,
                                 .seed = seed};
    b.crowd = builders_new(&conf);

    bool good = run(&b);

    builders_free(b.crowd);
    if (good && b.cluster)
        cluster_passed(b.cluster);
    cluster_free(b.cluster);
    builders_times_free(&b.all);
    free(b.borders);
    if (b.timeline >= 0)
        close(b.timeline);
    event_base_free(b.base);
    return good ? 0 : 1;
}
