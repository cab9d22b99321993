/* bench_players - bots that walk, build and chat, against a cluster of its own or one that runs; what came of it as one
 * line of JSON.
 *
 * Every edit is told apart from every other by its block: no block is used twice but to break what was placed there. So
 * each line that any bot reads can be traced to the edit, and its author, that it tells of; a walking bot hides a count
 * in the direction that it looks, and so its positions can be timed too. At the end a fresh client reads every chunk
 * that was touched. The exit code says whether anything was lost, doubled or disconnected. */
#include <event2/event.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "proto/base/clock.h"
#include "proto/base/mem.h"
#include "proto/base/rng.h"
#include "tests/lib/bot.h"
#include "tests/lib/cluster.h"
#include "tests/lib/latency.h"
#include "tests/lib/ledger.h"
#include "tests/lib/probe.h"

enum {
    TICK_MS = 5,
    MOVE_MS = 100, /* the client's pace */
    CHAT_MS = 3000,
    COUNTS = 600, /* directions 0.00 to 5.99: a minute of positions before one comes again */
    IDS_MAX = 1 << 20,
    WALK_BLOCKS = 12, /* around its home: over chunks' and cells' borders, and never so far that chunks are forgotten */
    EDIT_BLOCKS = 8,
    EDIT_Y_MIN = 100, /* high in the air, over every tree and cloud: nothing is in the way */
    EDIT_Y_MAX = 220,
    BREAK_AFTER_US = 1500000,
    JOIN_MS = 60000,
    SPREAD_MS = 4000, /* nodes tell their load each second: who comes at once is all put on one */
    SETTLE_MS = 20000
};

struct options {
    unsigned bots, seconds, edits_per_s, gateways, nodes, view, cells;
    int kill_node_at, start_node_at;
    double border_fraction;
    enum cluster_store store;
    const char *host;
    uint16_t port;
    int32_t origin_x, origin_z;
    bool placed; /* the origin was given */
    bool json, nagle;
};

/* A line between two cells, by the cell west or north of it. */
struct border {
    struct cell_pos cell;
    bool east; /* its other side is the cell to the east; else to the south */
};

struct own_edit {
    struct block_pos at;
    uint64_t sent_us;
};

struct player {
    struct bench *bench;
    struct bot *bot;
    unsigned index;
    float home_x, home_z, angle;
    bool on_border;
    struct border border;
    uint64_t join_us, next_move_ms;
    unsigned count;
    uint64_t moved_us[COUNTS];
    struct own_edit *placed; /* not broken yet, oldest first */
    size_t n_placed, first_placed;
};

struct bench {
    struct options o;
    struct event_base *base;
    struct cluster *cluster; /* NULL: one that ran before */
    struct rng rng;
    struct player *players;
    int32_t *by_id;      /* player id to index + 1 */
    uint16_t *last_seen; /* [observer][author]: the count that was seen last */
    struct ledger *ledger;
    struct latency *edit, *position, *join, *tick_late;
    struct border *borders;
    size_t n_borders;
    bool measuring;
    unsigned joined, disconnects, chats, chats_heard;
    uint64_t position_lines;
};

static void note(const struct bench *b, const char *text)
{
    if (!b->o.json)
        fprintf(stderr, "%s\n", text);
}

/* ---- what bots hear ---- */

static void on_joined(struct bot *bot, void *arg)
{
    struct player *p = arg;
    struct bench *b = p->bench;
    int32_t id = bot_id(bot);
    b->joined++;
    if (id > 0 && id < IDS_MAX)
        b->by_id[id] = (int32_t)p->index + 1;
}

static void on_block(struct bot *bot, struct chunk_pos c, struct block_pos at, int w, void *arg)
{
    struct player *p = arg;
    uint64_t took_us;
    (void)bot;
    if (ledger_told(p->bench->ledger, p->index, c, at, w, clock_mono_us(), &took_us))
        latency_add(p->bench->edit, took_us);
}

static void on_player(struct bot *bot, int32_t id, const struct place *at, void *arg)
{
    struct player *p = arg;
    struct bench *b = p->bench;
    (void)bot;
    b->position_lines++;
    if (!b->measuring || id <= 0 || id >= IDS_MAX || !b->by_id[id])
        return;
    struct player *author = &b->players[b->by_id[id] - 1];
    long count = lroundf(at->rx * 100);
    uint16_t *last = &b->last_seen[(size_t)p->index * b->o.bots + author->index];
    if (author == p || count < 0 || count >= COUNTS || *last == count + 1 || !author->moved_us[count])
        return;
    *last = (uint16_t)(count + 1);
    latency_add(b->position, clock_mono_us() - author->moved_us[count]);
}

static void on_talk(struct bot *bot, const char *text, void *arg)
{
    struct player *p = arg;
    (void)bot;
    p->bench->chats_heard += strstr(text, "bench says") != NULL;
}

static void on_gone(struct bot *bot, const char *why, void *arg)
{
    struct player *p = arg;
    (void)bot;
    if (p->bench->disconnects++ < 5)
        fprintf(stderr, "bot %u was disconnected: %s\n", p->index, why);
}

/* The first screen: it has all that it asked for. */
static void on_chunk_end(struct bot *bot, struct chunk_pos c, void *arg)
{
    struct player *p = arg;
    (void)c;
    if (p->join_us && bot_unanswered(bot) == 0) {
        latency_add(p->bench->join, clock_mono_us() - p->join_us);
        p->join_us = 0;
    }
}

static const struct bot_hooks hooks = {.joined = on_joined,
                                       .block = on_block,
                                       .player = on_player,
                                       .chunk_end = on_chunk_end,
                                       .talk = on_talk,
                                       .gone = on_gone};

/* ---- what they do ---- */

static float between(struct bench *b, float from, float to)
{
    return from + (float)rng_unit(&b->rng) * (to - from);
}

static void choose_home(struct player *p)
{
    struct bench *b = p->bench;
    float size = (float)(b->o.cells * CELL_SIZE);
    if (!p->on_border) {
        p->home_x = (float)b->o.origin_x + between(b, 0, size);
        p->home_z = (float)b->o.origin_z + between(b, 0, size);
        return;
    }
    p->border = b->borders[rng_below(&b->rng, (uint32_t)b->n_borders)];
    float x = (float)(p->border.cell.i * CELL_SIZE), z = (float)(p->border.cell.j * CELL_SIZE);
    float along = between(b, WALK_BLOCKS, CELL_SIZE - WALK_BLOCKS);
    p->home_x = p->border.east ? x + CELL_SIZE : x + along;
    p->home_z = p->border.east ? z + along : z + CELL_SIZE;
}

/* Walks in a circle around its home, and looks where its count says. */
static void move(struct player *p, uint64_t now_us)
{
    struct place at = {.y = 60};
    p->angle += 0.05f;
    at.x = p->home_x + WALK_BLOCKS * cosf(p->angle);
    at.z = p->home_z + WALK_BLOCKS * sinf(p->angle);
    p->count = (p->count + 1) % COUNTS;
    at.rx = (float)p->count / 100;
    p->moved_us[p->count] = now_us;
    bot_move(p->bot, &at);
}

/* All who hold a chunk that shows the block must be told. */
static void expect_all(struct bench *b, const struct player *author, struct block_pos at)
{
    struct chunk_pos chunks[1 + MIRRORS_MAX];
    unsigned n = ledger_chunks(at, chunks);
    for (unsigned i = 0; i < b->o.bots; i++)
        for (unsigned k = 0; k < n; k++)
            if (&b->players[i] != author && bot_asked(b->players[i].bot, chunks[k]))
                ledger_expect(b->ledger, at, chunks[k], i, bot_holds(b->players[i].bot, chunks[k]));
}

static bool choose_block(struct player *p, struct block_pos *at)
{
    struct bench *b = p->bench;
    for (int tries = 0; tries < 100; tries++) {
        int32_t across =
            (int32_t)rng_below(&b->rng, 2) - 1; /* the last column of one cell, or the first of the other */
        int32_t dx = (int32_t)rng_below(&b->rng, 2 * EDIT_BLOCKS) - EDIT_BLOCKS;
        int32_t dz = (int32_t)rng_below(&b->rng, 2 * EDIT_BLOCKS) - EDIT_BLOCKS;
        int32_t x = (int32_t)floorf(p->home_x), z = (int32_t)floorf(p->home_z);
        at->x = x + (p->on_border && p->border.east ? across : dx);
        at->z = z + (p->on_border && !p->border.east ? across : dz);
        at->y = EDIT_Y_MIN + (int32_t)rng_below(&b->rng, EDIT_Y_MAX - EDIT_Y_MIN);
        if (!ledger_has(b->ledger, *at))
            return true;
    }
    return false;
}

static void edit(struct player *p)
{
    struct bench *b = p->bench;
    uint64_t now = clock_mono_us();
    struct own_edit *oldest = &p->placed[p->first_placed];
    bool may_break = p->first_placed < p->n_placed && now - oldest->sent_us > BREAK_AFTER_US;
    struct block_pos at;
    if (may_break && rng_below(&b->rng, 3) == 0) {
        at = oldest->at;
        p->first_placed++;
        ledger_edit(b->ledger, p->index, at, STEP_BROKEN, 0, now);
        bot_block(p->bot, at.x, at.y, at.z, 0);
    } else if (choose_block(p, &at)) {
        int w = 32 + (int)rng_below(&b->rng, 32); /* a colour */
        if ((p->n_placed & (p->n_placed - 1)) == 0)
            p->placed = mem_resize(p->placed, (p->n_placed ? 2 * p->n_placed : 1) * sizeof *p->placed);
        p->placed[p->n_placed++] = (struct own_edit){at, now};
        ledger_edit(b->ledger, p->index, at, STEP_PLACED, w, now);
        bot_block(p->bot, at.x, at.y, at.z, w);
    } else {
        return;
    }
    expect_all(b, p, at);
}

/* ---- the course of a run ---- */

static bool all_here(void *arg)
{
    const struct bench *b = arg;
    bool all = true;
    for (unsigned i = 0; i < b->o.bots && all; i++)
        all = bot_joined(b->players[i].bot) && bot_unanswered(b->players[i].bot) == 0;
    return all || b->disconnects;
}

static bool wait_all_here(struct bench *b, const char *what)
{
    return loop_until(b->base, all_here, b, JOIN_MS, what) && !b->disconnects;
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

static bool gather(struct bench *b)
{
    note(b, "joining");
    for (unsigned i = 0; i < b->o.bots; i++) {
        struct player *p = &b->players[i];
        struct bot_conf conf = {.base = b->base,
                                .host = b->o.host,
                                .port = b->o.port,
                                .view = -1,
                                .hooks = &hooks,
                                .arg = p,
                                .nagle = b->o.nagle};
        *p = (struct player){.bench = b, .index = i};
        p->bot = bot_new(&conf);
    }
    if (!wait_all_here(b, "all bots to join"))
        return false;
    for (unsigned i = 0; i < b->o.bots; i++) {
        struct player *p = &b->players[i];
        choose_home(p);
        p->join_us = clock_mono_us();
        bot_set_view(p->bot, (int)b->o.view);
        move(p, clock_mono_us());
        loop_for(b->base, SPREAD_MS / b->o.bots);
    }
    if (!wait_all_here(b, "all bots to see their surroundings"))
        return false;
    find_borders(b);
    for (unsigned i = 0; i < b->o.bots && b->n_borders; i++) {
        struct player *p = &b->players[i];
        p->on_border = i < (unsigned)(b->o.border_fraction * b->o.bots);
        if (p->on_border) {
            choose_home(p);
            move(p, clock_mono_us());
        }
    }
    return wait_all_here(b, "all bots to see where they moved");
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

static void disturb(struct bench *b, uint64_t ms)
{
    struct cluster *c = b->cluster;
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

struct pace {
    struct bench *bench;
    uint64_t start_ms, last_ms, next_chat_ms;
    double owed_edits;
};

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct pace *t = arg;
    struct bench *b = t->bench;
    uint64_t now = clock_mono_ms();
    (void)fd, (void)what;
    if (t->last_ms)
        latency_add(b->tick_late, (now - t->last_ms > TICK_MS ? now - t->last_ms - TICK_MS : 0) * 1000);
    for (unsigned i = 0; i < b->o.bots; i++) {
        struct player *p = &b->players[i];
        if (now >= p->next_move_ms) {
            move(p, clock_mono_us());
            p->next_move_ms = now + MOVE_MS;
        }
    }
    t->owed_edits += (double)(now - (t->last_ms ? t->last_ms : now)) * b->o.edits_per_s / 1e3;
    for (; t->owed_edits >= 1; t->owed_edits--)
        edit(&b->players[rng_below(&b->rng, b->o.bots)]);
    if (now >= t->next_chat_ms) {
        bot_send(b->players[rng_below(&b->rng, b->o.bots)].bot, "T,bench says %u", b->chats++);
        t->next_chat_ms = now + CHAT_MS;
    }
    t->last_ms = now;
    if (b->cluster)
        disturb(b, now - t->start_ms);
}

static void play(struct bench *b)
{
    struct pace t = {.bench = b, .start_ms = clock_mono_ms()};
    struct timeval every = {.tv_usec = TICK_MS * 1000};
    struct event *tick = event_new(b->base, -1, EV_PERSIST, on_tick, &t);
    note(b, "playing");
    for (unsigned i = 0; i < b->o.bots; i++) {
        b->players[i].next_move_ms = t.start_ms + i % MOVE_MS; /* spread over the tenth of a second */
        memset(b->players[i].moved_us, 0,
               sizeof b->players[i].moved_us); /* where they came to stand was told long ago */
    }
    b->measuring = true;
    event_add(tick, &every);
    loop_for(b->base, b->o.seconds * 1000);
    event_free(tick);
    b->measuring = false;
}

static bool all_told(void *arg)
{
    struct bench *b = arg;
    return ledger_open(b->ledger) == 0;
}

/* ---- the world at the end ---- */

static bool reader_done(void *arg)
{
    return (bot_joined(arg) && bot_unanswered(arg) == 0) || bot_gone(arg);
}

static void ask_once(void *arg, struct chunk_pos c)
{
    if (!bot_asked(arg, c))
        bot_ask_chunk(arg, c);
}

static bool final_block(void *arg, struct chunk_pos c, struct block_pos at, int *w)
{
    int seen = bot_sees_block(arg, c, at.x, at.y, at.z);
    if (seen != INT32_MIN)
        *w = seen;
    return seen != INT32_MIN;
}

static bool read_back(struct bench *b, struct ledger_result *r)
{
    struct bot_conf conf = {.base = b->base, .host = b->o.host, .port = b->o.port, .view = -1, .remember = true};
    struct bot *reader = bot_new(&conf);
    note(b, "reading the world");
    bool good = loop_until(b->base, reader_done, reader, JOIN_MS, "the reader to join");
    ledger_each_chunk(b->ledger, ask_once, reader);
    good = good && loop_until(b->base, reader_done, reader, JOIN_MS, "the touched chunks") && !bot_gone(reader);
    if (good)
        ledger_check(b->ledger, final_block, reader, r);
    bot_free(reader);
    return good;
}

static void print_latency(const char *name, const struct latency *l)
{
    printf("\"%s_n\":%llu,\"%s_p50_ms\":%.2f,\"%s_p99_ms\":%.2f,\"%s_max_ms\":%.2f,", name,
           (unsigned long long)latency_count(l), name, latency_ms(l, 0.5), name, latency_ms(l, 0.99), name,
           latency_ms(l, 1));
}

static void report(const struct bench *b, const struct ledger_result *r)
{
    const struct options *o = &b->o;
    printf("{\"bots\":%u,\"seconds\":%u,\"gateways\":%u,\"nodes\":%u,\"store\":\"%s\",\"edits\":%u,", o->bots,
           o->seconds, b->cluster ? o->gateways : 0, b->cluster ? o->nodes : 0,
           !b->cluster                    ? ""
           : o->store == CLUSTER_POSTGRES ? "postgres"
                                          : "sqlite",
           r->edits);
    print_latency("edit_seen", b->edit);
    print_latency("position", b->position);
    print_latency("first_screen", b->join);
    printf("\"bench_late_p99_ms\":%.2f,\"position_lines\":%llu,\"chats\":%u,\"chats_heard\":%u,",
           latency_ms(b->tick_late, 0.99), (unsigned long long)b->position_lines, b->chats, b->chats_heard);
    printf("\"disconnects\":%u,\"refused\":%u,\"lost\":%u,\"unseen\":%u,\"doubled\":%u,\"wrong_mirrors\":%u}\n",
           b->disconnects, r->refused, r->lost, r->unseen, r->doubled, r->wrong_mirrors);
    fflush(stdout);
}

static bool run(struct bench *b)
{
    struct ledger_result r = {0};
    if (!gather(b)) {
        fprintf(stderr, "the bots could not be gathered: %u of %u joined, %u disconnected\n", b->joined, b->o.bots,
                b->disconnects);
        return false;
    }
    play(b);
    loop_until(b->base, all_told, b, SETTLE_MS, "everybody to be told of everything");
    bool read = read_back(b, &r);
    report(b, &r);
    return read && !b->disconnects && !r.lost && !r.unseen && !r.doubled && !r.wrong_mirrors;
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

static unsigned number(const char *text, const char *option, unsigned long min, unsigned long max)
{
    char *end;
    unsigned long v = strtoul(text, &end, 10);
    if (*end || end == text || v < min || v > max) {
        fprintf(stderr, "--%s takes a number from %lu to %lu, not '%s'\n", option, min, max, text);
        exit(2);
    }
    return (unsigned)v;
}

static void set_option(struct options *o, const char *name, char *value, uint64_t *seed)
{
    if (!strcmp(name, "bots"))
        o->bots = number(value, name, 2, 10000);
    else if (!strcmp(name, "seconds"))
        o->seconds = number(value, name, 1, 86400);
    else if (!strcmp(name, "edits-per-s"))
        o->edits_per_s = number(value, name, 0, 100000);
    else if (!strcmp(name, "view"))
        o->view = number(value, name, 1, 24);
    else if (!strcmp(name, "cells"))
        o->cells = number(value, name, 2, 64);
    else if (!strcmp(name, "gateways"))
        o->gateways = number(value, name, 1, CLUSTER_MEMBERS_MAX);
    else if (!strcmp(name, "nodes"))
        o->nodes = number(value, name, 1, CLUSTER_MEMBERS_MAX - 1);
    else if (!strcmp(name, "border-fraction"))
        o->border_fraction = fraction(value, name);
    else if (!strcmp(name, "kill-node-at"))
        o->kill_node_at = (int)number(value, name, 0, 86400);
    else if (!strcmp(name, "start-node-at"))
        o->start_node_at = (int)number(value, name, 0, 86400);
    else if (!strcmp(name, "seed"))
        *seed = number(value, name, 0, UINT32_MAX);
    else if (!strcmp(name, "origin") && !(o->placed = sscanf(value, "%d,%d", &o->origin_x, &o->origin_z) == 2))
        refuse(name, value);
    else if (!strcmp(name, "store") && strcmp(value, "sqlite") && strcmp(value, "postgres"))
        refuse(name, value);
    else if (!strcmp(name, "store"))
        o->store = strcmp(value, "postgres") ? CLUSTER_SQLITE : CLUSTER_POSTGRES;
    else if (!strcmp(name, "connect")) {
        char *colon = strrchr(value, ':');
        if (!colon)
            refuse(name, value);
        *colon = '\0';
        o->host = value;
        o->port = (uint16_t)number(colon + 1, name, 1, 65535);
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
    static const struct option longs[] = {
        {"bots", 1, NULL, 0},         {"seconds", 1, NULL, 0},       {"edits-per-s", 1, NULL, 0},
        {"view", 1, NULL, 0},         {"cells", 1, NULL, 0},         {"border-fraction", 1, NULL, 0},
        {"gateways", 1, NULL, 0},     {"nodes", 1, NULL, 0},         {"store", 1, NULL, 0},
        {"kill-node-at", 1, NULL, 0}, {"start-node-at", 1, NULL, 0}, {"connect", 1, NULL, 0},
        {"origin", 1, NULL, 0},       {"seed", 1, NULL, 0},          {"nagle", 0, NULL, 'n'},
        {"json", 0, NULL, 'j'},       {"help", 0, NULL, 'h'},        {NULL, 0, NULL, 0}};
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
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    signal(SIGPIPE, SIG_IGN);
    rng_seed(&b.rng, seed);
    if (b.o.host && !b.o.placed) { /* no block may be used twice, not by an earlier run either */
        struct rng os;
        rng_seed_os(&os);
        b.o.origin_x = ((int32_t)rng_below(&os, 1 << 14) - (1 << 13)) * CELL_SIZE;
        b.o.origin_z = ((int32_t)rng_below(&os, 1 << 14) - (1 << 13)) * CELL_SIZE;
    }
    if (!b.o.host) {
        struct cluster_conf conf = {
            .nodes = b.o.nodes, .gateways = b.o.gateways, .store = b.o.store, .store_fsync = true};
        if (!(b.cluster = cluster_new("bench", &conf)))
            return 1;
        b.o.port = b.cluster->port;
    }
    b.base = event_base_new();
    b.players = mem_array(b.o.bots, sizeof *b.players);
    b.by_id = mem_array(IDS_MAX, sizeof *b.by_id);
    b.last_seen = mem_array((size_t)b.o.bots * b.o.bots, sizeof *b.last_seen);
    b.ledger = ledger_new();
    b.edit = latency_new();
    b.position = latency_new();
    b.join = latency_new();
    b.tick_late = latency_new();

    bool good = run(&b);

    for (unsigned i = 0; i < b.o.bots; i++) {
        bot_free(b.players[i].bot);
        free(b.players[i].placed);
    }
    if (good && b.cluster)
        cluster_passed(b.cluster);
    cluster_free(b.cluster);
    latency_free(b.edit);
    latency_free(b.position);
    latency_free(b.join);
    latency_free(b.tick_late);
    ledger_free(b.ledger);
    free(b.players);
    free(b.by_id);
    free(b.last_seen);
    free(b.borders);
    event_base_free(b.base);
    return good ? 0 : 1;
}
