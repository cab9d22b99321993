/* bench_regulars - players who come again: what those see whose gateway is replaced, as JSON.
 *
 * Regulars have an account and a home where they build, a block a second. Told that their server goes away they stop
 * building; closed, they join again at once, as people do. Meanwhile newcomers look in, ten a second: somebody must
 * always be there for them. SIGTERM and SIGINT end it; then the world is read. The exit code says whether all went
 * well: nobody was closed without a word, was not let in or lost his place, and every block is there. */
#include <event2/event.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/mem.h"
#include "proto/base/rng.h"
#include "tests/lib/bench.h"
#include "tests/lib/bot.h"
#include "tests/lib/latency.h"

enum {
    REGULARS_MAX = 2000,
    TICK_MS = 100, /* a newcomer each */
    REJOIN_MS = 100,
    BUILD_MS = 1000,
    PATIENCE_MS = 10000, /* for a join, and for all that is to be seen at the end */
    NEWCOMERS_MAX = 256,
    HOME_BLOCKS = 40, /* from home to home */
    HOMES_A_ROW = 16,
    ITEM = 3,
    BUILT_MAX = 8 * 100
};

struct crowd;
struct regular {
    struct crowd *crowd;
    struct bot *bot;
    struct event *rejoin;
    char account[32];
    struct place home;
    unsigned built;
    bool warned;
    uint64_t gone_ms; /* 0: he is in, or was never */
    uint64_t build_ms;
};

struct newcomer {
    struct bot *bot; /* NULL: a free place */
    uint64_t since_us, done_us;
    bool failed;
};

struct crowd {
    struct event_base *base;
    const char *host;
    uint16_t port;
    unsigned n;
    struct regular *regulars;
    struct newcomer newcomers[NEWCOMERS_MAX];
    struct latency *away, *join;
    unsigned closed, unwarned, refused, misplaced, joins, joins_failed;
    bool over;
};

/* ---- those who come again ---- */

static struct block_pos block_of(const struct regular *r, unsigned nth)
{
    return (struct block_pos){(int32_t)r->home.x + (int32_t)(nth % 8), 110 + (int32_t)(nth / 8), (int32_t)r->home.z};
}

static struct chunk_pos chunk_of_home(const struct regular *r)
{
    return chunk_of_block((int32_t)r->home.x, (int32_t)r->home.z);
}

static void on_joined(struct bot *b, void *arg)
{
    struct regular *r = arg;
    if (r->gone_ms) {
        struct place at = bot_place(b);
        latency_add(r->crowd->away, (clock_mono_ms() - r->gone_ms) * 1000);
        r->crowd->misplaced += fabsf(at.x - r->home.x) > 1 || fabsf(at.z - r->home.z) > 1;
    }
    r->gone_ms = 0;
    r->warned = false;
    bot_move(b, &r->home);
}

static void on_talk(struct bot *b, const char *text, void *arg)
{
    struct regular *r = arg;
    (void)b;
    r->warned |= strstr(text, "This server goes away in") != NULL;
}

static void on_gone(struct bot *b, const char *why, void *arg)
{
    static const struct timeval soon = {.tv_usec = REJOIN_MS * 1000};
    struct regular *r = arg;
    (void)b;
    if (r->gone_ms) {
        r->crowd->refused++;
        fprintf(stderr, "a player who came again was not let in: %s\n", why);
    } else {
        r->crowd->closed++;
        r->crowd->unwarned += !r->warned;
        r->gone_ms = clock_mono_ms();
    }
    event_add(r->rejoin, &soon);
}

static const struct bot_hooks regular_hooks = {.joined = on_joined, .talk = on_talk, .gone = on_gone};

static void on_rejoin(evutil_socket_t fd, short what, void *arg)
{
    struct regular *r = arg;
    (void)fd, (void)what;
    bot_rejoin(r->bot);
}

static void build(struct regular *r, uint64_t now_ms)
{
    if (r->warned || now_ms < r->build_ms || r->built == BUILT_MAX || !bot_joined(r->bot) ||
        !bot_holds(r->bot, chunk_of_home(r)))
        return;
    struct block_pos at = block_of(r, r->built++);
    bot_block(r->bot, at.x, at.y, at.z, ITEM);
    r->build_ms = now_ms + BUILD_MS;
}

/* ---- those who look in ---- */

static void on_newcomer_gone(struct bot *b, const char *why, void *arg)
{
    struct newcomer *n = arg;
    (void)b;
    if (!n->done_us) {
        n->failed = true;
        fprintf(stderr, "a newcomer was not served: %s\n", why);
    }
}

static void on_newcomer_served(struct bot *b, struct chunk_pos c, void *arg)
{
    struct newcomer *n = arg;
    (void)b, (void)c;
    n->done_us = clock_mono_us();
}

static void on_newcomer_joined(struct bot *b, void *arg)
{
    struct place at = bot_place(b);
    (void)arg;
    bot_ask_chunk(b, chunk_of_place(at.x, at.z));
}

static const struct bot_hooks newcomer_hooks = {
    .joined = on_newcomer_joined, .chunk_end = on_newcomer_served, .gone = on_newcomer_gone};

static void newcomer_comes(struct crowd *c)
{
    for (unsigned k = 0; k < NEWCOMERS_MAX; k++) {
        struct newcomer *n = &c->newcomers[k];
        if (n->bot)
            continue;
        struct bot_conf conf = {
            .base = c->base, .host = c->host, .port = c->port, .view = -1, .hooks = &newcomer_hooks, .arg = n};
        *n = (struct newcomer){.since_us = clock_mono_us()};
        n->bot = bot_new(&conf);
        c->joins++;
        return;
    }
    c->joins_failed++; /* so many wait already */
}

static void newcomers_go(struct crowd *c, bool all)
{
    uint64_t now_us = clock_mono_us();
    for (unsigned k = 0; k < NEWCOMERS_MAX; k++) {
        struct newcomer *n = &c->newcomers[k];
        if (!n->bot)
            continue;
        bool late = now_us - n->since_us > PATIENCE_MS * 1000ull;
        if (n->done_us)
            latency_add(c->join, n->done_us - n->since_us);
        else if (n->failed || late)
            c->joins_failed++;
        else if (!all)
            continue;
        else
            c->joins--; /* it is over while he waits */
        bot_free(n->bot);
        n->bot = NULL;
    }
}

/* ---- the whole ---- */

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct crowd *c = arg;
    uint64_t now_ms = clock_mono_ms();
    (void)fd, (void)what;
    newcomers_go(c, false);
    if (c->over)
        return;
    newcomer_comes(c);
    for (unsigned k = 0; k < c->n; k++)
        build(&c->regulars[k], now_ms);
}

static bool all_are_in(void *arg)
{
    struct crowd *c = arg;
    for (unsigned k = 0; k < c->n; k++)
        if (!bot_joined(c->regulars[k].bot) || bot_unanswered(c->regulars[k].bot))
            return false;
    return true;
}

static void crowd_new(struct crowd *c)
{
    struct rng os;
    rng_seed_os(&os);
    float x = (float)(((int32_t)rng_below(&os, 1 << 12) - (1 << 11)) * CELL_SIZE);
    float z = (float)(((int32_t)rng_below(&os, 1 << 12) - (1 << 11)) * CELL_SIZE);
    c->regulars = mem_array(c->n, sizeof *c->regulars);
    for (unsigned k = 0; k < c->n; k++) {
        struct regular *r = &c->regulars[k];
        struct bot_conf conf = {
            .base = c->base, .host = c->host, .port = c->port, .user = r->account, .hooks = &regular_hooks, .arg = r};
        *r = (struct regular){.crowd = c,
                              .home = {x + (float)(k % HOMES_A_ROW * HOME_BLOCKS), 100,
                                       z + (float)(k / HOMES_A_ROW * HOME_BLOCKS), 0, 0}};
        snprintf(r->account, sizeof r->account, "regular%u", k);
        r->rejoin = event_new(c->base, -1, 0, on_rejoin, r);
        r->bot = bot_new(&conf);
    }
}

static void crowd_free(struct crowd *c)
{
    newcomers_go(c, true);
    for (unsigned k = 0; k < c->n; k++) {
        bot_free(c->regulars[k].bot);
        event_free(c->regulars[k].rejoin);
    }
    free(c->regulars);
    latency_free(c->away);
    latency_free(c->join);
}

struct reader {
    struct crowd *crowd;
    struct bot *bot;
};

static unsigned missing(const struct reader *r)
{
    unsigned n = 0;
    for (unsigned k = 0; k < r->crowd->n; k++) {
        const struct regular *g = &r->crowd->regulars[k];
        for (unsigned b = 0; b < g->built; b++) {
            struct block_pos at = block_of(g, b);
            n += bot_sees_block(r->bot, chunk_of_block(at.x, at.z), at.x, at.y, at.z) != ITEM;
        }
    }
    return n;
}

static bool all_is_there(void *arg)
{
    return missing(arg) == 0;
}

static bool reader_joined(void *arg)
{
    return bot_joined(arg);
}

/* What somebody sees who was not there before. */
static unsigned lost(struct crowd *c)
{
    struct bot_conf conf = {.base = c->base, .host = c->host, .port = c->port, .view = -1, .remember = true};
    struct reader r = {.crowd = c, .bot = bot_new(&conf)};
    loop_until(c->base, reader_joined, r.bot, PATIENCE_MS, "the reader's join");
    for (unsigned k = 0; k < c->n; k++)
        for (unsigned b = 0; b < 8; b++) { /* a row of blocks may lie in two chunks */
            struct block_pos at = block_of(&c->regulars[k], b);
            if (!bot_asked(r.bot, chunk_of_block(at.x, at.z)))
                bot_ask_chunk(r.bot, chunk_of_block(at.x, at.z));
        }
    loop_until(c->base, all_is_there, &r, PATIENCE_MS, "every block");
    unsigned n = missing(&r);
    bot_free(r.bot);
    return n;
}

static void on_signal(evutil_socket_t fd, short what, void *arg)
{
    struct crowd *c = arg;
    (void)fd, (void)what;
    c->over = true;
    event_base_loopbreak(c->base);
}

static bool report(struct crowd *c)
{
    unsigned built = 0, outside = 0, gone;
    for (unsigned k = 0; k < c->n; k++) {
        built += c->regulars[k].built;
        outside += !bot_joined(c->regulars[k].bot);
    }
    gone = lost(c);
    newcomers_go(c, true);
    printf("{\"kind\":\"verdict\",\"bots\":%u,\"closed\":%u,\"unwarned\":%u,\"refused\":%u,\"outside\":%u,"
           "\"misplaced\":%u,\"away_p50_ms\":%.0f,\"away_max_ms\":%.0f,\"newcomers\":%u,\"unserved\":%u,"
           "\"served_p99_ms\":%.1f,\"served_max_ms\":%.1f,\"built\":%u,\"lost\":%u}\n",
           c->n, c->closed, c->unwarned, c->refused, outside, c->misplaced, latency_ms(c->away, 0.5),
           latency_ms(c->away, 1), c->joins, c->joins_failed, latency_ms(c->join, 0.99), latency_ms(c->join, 1), built,
           gone);
    return !c->unwarned && !c->refused && !outside && !c->misplaced && !c->joins_failed && !gone && built;
}

static bool run(struct crowd *c, unsigned seconds)
{
    const struct timeval often = {.tv_usec = TICK_MS * 1000}, end = {.tv_sec = seconds};
    if (!loop_until(c->base, all_are_in, c, 6 * PATIENCE_MS, "all players"))
        return false;
    printf("{\"kind\":\"bots_ready\",\"bots\":%u}\n", c->n);
    fflush(stdout);
    struct event *tick = event_new(c->base, -1, EV_PERSIST, on_tick, c);
    struct event *term = evsignal_new(c->base, SIGTERM, on_signal, c);
    struct event *intr = evsignal_new(c->base, SIGINT, on_signal, c);
    event_add(tick, &often);
    event_add(term, NULL);
    event_add(intr, NULL);
    event_base_loopexit(c->base, &end);
    event_base_dispatch(c->base);
    c->over = true;
    loop_until(c->base, all_are_in, c, PATIENCE_MS, "those who were sent away");
    bool good = report(c);
    event_free(tick);
    event_free(term);
    event_free(intr);
    return good;
}

static const char usage[] =
    "usage: bench_regulars --connect HOST:PORT [options]     players who come again when their gateway is replaced\n"
    "  --connect HOST:PORT (numeric)  --bots N (50)  --seconds N (60)\n";

int main(int argc, char **argv)
{
    static const struct option longs[] = {{"connect", 1, NULL, 'c'},
                                          {"bots", 1, NULL, 'b'},
                                          {"seconds", 1, NULL, 's'},
                                          {"help", 0, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    struct crowd c = {.n = 50};
    unsigned seconds = 60;
    int o;
    while ((o = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        char *colon = optarg ? strrchr(optarg, ':') : NULL;
        if (o == 'c' && colon) {
            *colon = '\0';
            c.host = optarg;
            c.port = (uint16_t)bench_number(colon + 1, "connect", 1, 65535);
        } else if (o == 'b') {
            c.n = bench_number(optarg, "bots", 1, REGULARS_MAX);
        } else if (o == 's') {
            seconds = bench_number(optarg, "seconds", 1, 86400);
        } else {
            fputs(usage, o == 'h' ? stdout : stderr);
            return o == 'h' ? 0 : 2;
        }
    }
    if (!c.host || optind < argc) {
        fputs(usage, stderr);
        return 2;
    }
    bench_begin();
    c.base = event_base_new();
    c.away = latency_new();
    c.join = latency_new();
    crowd_new(&c);
    bool good = run(&c, seconds);
    crowd_free(&c);
    event_base_free(c.base);
    return good ? 0 : 1;
}
