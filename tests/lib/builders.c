#include "tests/lib/builders.h"

#include <event2/event.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/mem.h"
#include "tests/lib/bot.h"

enum {
    TICK_MS = 5,
    MOVE_MS = 100, /* the client's pace */
    CHAT_MS = 3000,
    COUNTS = 600, /* directions 0.00 to 5.99: a minute of positions before one comes again */
    IDS_MAX = 1 << 20,
    WALK_BLOCKS = 12, /* around its home: over chunks' and cells' borders, and never so far that chunks are forgotten */
    NEAR_BLOCKS = 96, /* between homes: always in each other's sight, whatever the crowd */
    EDIT_BLOCKS = 8,
    EDIT_Y_MIN = 100, /* high in the air, over every tree and cloud: nothing is in the way */
    EDIT_Y_MAX = 220,
    BREAK_AFTER_US = 1500000,
    JOIN_MS = 60000,
    SPREAD_MS = 4000, /* nodes tell their load each second: who comes at once is all put on one */
    SETTLE_MS = 20000,
    READER_CHUNKS = 400
};

struct own_edit {
    struct block_pos at;
    uint64_t sent_us;
};

struct builder {
    struct builders *crowd;
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

struct builders_times builders_times_new(void)
{
    return (struct builders_times){latency_new(), latency_new(), latency_new(), latency_new()};
}

void builders_times_free(struct builders_times *t)
{
    latency_free(t->edit);
    latency_free(t->position);
    latency_free(t->gap);
    latency_free(t->late);
}

struct builders *builders_new(const struct builders_conf *conf)
{
    struct builders *b = mem_zalloc(sizeof *b);
    size_t pairs = (size_t)conf->bots * conf->bots;
    b->conf = *conf;
    rng_seed(&b->rng, conf->seed);
    b->all = mem_array(conf->bots, sizeof *b->all);
    b->by_id = mem_array(IDS_MAX, sizeof *b->by_id);
    b->last_seen = mem_array(pairs, sizeof *b->last_seen);
    b->seen_us = mem_array(pairs, sizeof *b->seen_us);
    b->ledger = ledger_new();
    b->times = builders_times_new();
    b->join = latency_new();
    return b;
}

void builders_free(struct builders *b)
{
    if (!b)
        return;
    builders_stop(b);
    for (unsigned i = 0; i < b->conf.bots; i++) {
        bot_free(b->all[i].bot);
        free(b->all[i].placed);
    }
    builders_times_free(&b->times);
    latency_free(b->join);
    ledger_free(b->ledger);
    free(b->all);
    free(b->by_id);
    free(b->last_seen);
    free(b->seen_us);
    free(b);
}

static void note(const struct builders *b, const char *text)
{
    if (!b->conf.silent)
        fprintf(stderr, "%s\n", text);
}

/* ---- what bots hear ---- */

static void on_joined(struct bot *bot, void *arg)
{
    struct builder *p = arg;
    struct builders *b = p->crowd;
    int32_t id = bot_id(bot);
    b->joined++;
    if (id > 0 && id < IDS_MAX)
        b->by_id[id] = (int32_t)p->index + 1;
}

static void on_block(struct bot *bot, struct chunk_pos c, struct block_pos at, int w, void *arg)
{
    struct builder *p = arg;
    uint64_t took_us;
    (void)bot;
    if (ledger_told(p->crowd->ledger, p->index, c, at, w, clock_mono_us(), &took_us))
        latency_add(p->crowd->times.edit, took_us);
}

static bool near(const struct builder *a, const struct builder *b)
{
    return fabsf(a->home_x - b->home_x) <= NEAR_BLOCKS && fabsf(a->home_z - b->home_z) <= NEAR_BLOCKS;
}

/* How much longer this position took to follow the one seen before than the author took to send the next. */
static void add_gap(struct builders *b, const struct builder *author, unsigned before, uint32_t us)
{
    uint64_t sent = author->moved_us[before], next = author->moved_us[(before + 1) % COUNTS];
    if (sent && next > sent)
        latency_add(b->times.gap, us > next - sent ? us - (next - sent) : 0);
}

static void on_player(struct bot *bot, int32_t id, const struct place *at, void *arg)
{
    struct builder *p = arg;
    struct builders *b = p->crowd;
    (void)bot;
    b->position_lines++;
    if (!b->tick || id <= 0 || id >= IDS_MAX || !b->by_id[id])
        return;
    struct builder *author = &b->all[b->by_id[id] - 1];
    long count = lroundf(at->rx * 100);
    size_t pair = (size_t)p->index * b->conf.bots + author->index;
    unsigned last = b->last_seen[pair];
    if (author == p || count < 0 || count >= COUNTS || last == count + 1 || !author->moved_us[count])
        return;
    uint64_t now = clock_mono_us();
    if (last && near(p, author))
        add_gap(b, author, last - 1, (uint32_t)now - b->seen_us[pair]);
    b->last_seen[pair] = (uint16_t)(count + 1);
    b->seen_us[pair] = (uint32_t)now;
    latency_add(b->times.position, now - author->moved_us[count]);
}

static void on_talk(struct bot *bot, const char *text, void *arg)
{
    struct builder *p = arg;
    (void)bot;
    p->crowd->chats_heard += strstr(text, "bench says") != NULL;
}

static void on_gone(struct bot *bot, const char *why, void *arg)
{
    struct builder *p = arg;
    (void)bot;
    if (p->crowd->disconnects++ < 5)
        fprintf(stderr, "bot %u was disconnected: %s\n", p->index, why);
}

/* The first screen: it has all that it asked for. */
static void on_chunk_end(struct bot *bot, struct chunk_pos c, void *arg)
{
    struct builder *p = arg;
    (void)c;
    if (p->join_us && bot_unanswered(bot) == 0) {
        latency_add(p->crowd->join, clock_mono_us() - p->join_us);
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

static float between(struct builders *b, float from, float to)
{
    return from + (float)rng_unit(&b->rng) * (to - from);
}

static void choose_home(struct builder *p)
{
    struct builders *b = p->crowd;
    float x = (float)b->conf.origin_x, z = (float)b->conf.origin_z, size = (float)(b->conf.cells * CELL_SIZE);
    unsigned corners = b->conf.cells / 2;
    if (b->conf.on_corners) {
        p->home_x = x + (float)((2 * (p->index % corners) + 1) * CELL_SIZE);
        p->home_z = z + (float)((2 * (p->index / corners % corners) + 1) * CELL_SIZE);
    } else {
        p->home_x = x + between(b, 0, size);
        p->home_z = z + between(b, 0, size);
    }
}

/* Walks in a circle around its home, and looks where its count says. */
static void move(struct builder *p, uint64_t now_us)
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
static void expect_all(struct builders *b, const struct builder *author, struct block_pos at)
{
    struct chunk_pos chunks[1 + MIRRORS_MAX];
    unsigned n = ledger_chunks(at, chunks);
    for (unsigned i = 0; i < b->conf.bots; i++)
        for (unsigned k = 0; k < n; k++)
            if (&b->all[i] != author && bot_asked(b->all[i].bot, chunks[k]))
                ledger_expect(b->ledger, at, chunks[k], i, bot_holds(b->all[i].bot, chunks[k]));
}

static bool choose_block(struct builder *p, struct block_pos *at)
{
    struct builders *b = p->crowd;
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

static void edit(struct builder *p)
{
    struct builders *b = p->crowd;
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
    const struct builders *b = arg;
    bool all = true;
    for (unsigned i = 0; i < b->conf.bots && all; i++)
        all = bot_joined(b->all[i].bot) && bot_unanswered(b->all[i].bot) == 0;
    return all || b->disconnects;
}

bool builders_wait_here(struct builders *b, const char *what)
{
    return loop_until(b->conf.base, all_here, b, JOIN_MS, what) && !b->disconnects;
}

static bool gather(struct builders *b)
{
    note(b, "joining");
    for (unsigned i = 0; i < b->conf.bots; i++) {
        struct builder *p = &b->all[i];
        struct bot_conf conf = {.base = b->conf.base,
                                .host = b->conf.host,
                                .port = b->conf.port,
                                .view = -1,
                                .hooks = &hooks,
                                .arg = p,
                                .nagle = b->conf.nagle};
        *p = (struct builder){.crowd = b, .index = i};
        p->bot = bot_new(&conf);
    }
    if (!builders_wait_here(b, "all bots to join"))
        return false;
    for (unsigned i = 0; i < b->conf.bots; i++) {
        struct builder *p = &b->all[i];
        choose_home(p);
        p->join_us = clock_mono_us();
        bot_set_view(p->bot, (int)b->conf.view);
        move(p, clock_mono_us());
        loop_for(b->conf.base, SPREAD_MS / b->conf.bots);
    }
    return builders_wait_here(b, "all bots to see their surroundings");
}

bool builders_gather(struct builders *b)
{
    if (gather(b))
        return true;
    fprintf(stderr, "the bots could not be gathered: %u of %u joined, %u disconnected\n", b->joined, b->conf.bots,
            b->disconnects);
    return false;
}

void builders_to_border(struct builders *b, unsigned index, const struct border *border)
{
    struct builder *p = &b->all[index];
    float x = (float)(border->cell.i * CELL_SIZE), z = (float)(border->cell.j * CELL_SIZE);
    float along = between(b, WALK_BLOCKS, CELL_SIZE - WALK_BLOCKS);
    p->on_border = true;
    p->border = *border;
    p->home_x = border->east ? x + CELL_SIZE : x + along;
    p->home_z = border->east ? z + along : z + CELL_SIZE;
    move(p, clock_mono_us());
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct builders *b = arg;
    uint64_t now = clock_mono_ms();
    (void)fd, (void)what;
    if (b->last_ms)
        latency_add(b->times.late, (now - b->last_ms > TICK_MS ? now - b->last_ms - TICK_MS : 0) * 1000);
    for (unsigned i = 0; i < b->conf.bots; i++) {
        struct builder *p = &b->all[i];
        if (now >= p->next_move_ms) {
            move(p, clock_mono_us());
            p->next_move_ms = now + MOVE_MS;
        }
    }
    b->owed_edits += (double)(now - (b->last_ms ? b->last_ms : now)) * b->conf.edits_per_s / 1e3;
    for (; b->owed_edits >= 1; b->owed_edits--)
        edit(&b->all[rng_below(&b->rng, b->conf.bots)]);
    if (now >= b->next_chat_ms) {
        bot_send(b->all[rng_below(&b->rng, b->conf.bots)].bot, "T,bench says %u", b->chats++);
        b->next_chat_ms = now + CHAT_MS;
    }
    b->last_ms = now;
}

void builders_start(struct builders *b)
{
    struct timeval every = {.tv_usec = TICK_MS * 1000};
    uint64_t now = clock_mono_ms();
    note(b, "playing");
    for (unsigned i = 0; i < b->conf.bots; i++) {
        b->all[i].next_move_ms = now + i % MOVE_MS;               /* spread over the tenth of a second */
        memset(b->all[i].moved_us, 0, sizeof b->all[i].moved_us); /* where they came to stand was told long ago */
    }
    b->tick = event_new(b->conf.base, -1, EV_PERSIST, on_tick, b);
    event_add(b->tick, &every);
}

void builders_stop(struct builders *b)
{
    if (b->tick)
        event_free(b->tick);
    b->tick = NULL;
    b->last_ms = 0;
}

static bool all_told(void *arg)
{
    struct builders *b = arg;
    return ledger_open(b->ledger) == 0;
}

/* ---- the world at the end ---- */

static bool reader_done(void *arg)
{
    return (bot_joined(arg) && bot_unanswered(arg) == 0) || bot_gone(arg);
}

/* Far from where it stands a client is given so many chunks at most: a world needs several readers. */
struct readers {
    struct builders *crowd;
    struct bot **bots;
    unsigned n, n_chunks;
    bool good;
};

static struct bot *reader_of(const struct readers *r, struct chunk_pos c)
{
    for (unsigned k = 0; k < r->n; k++)
        if (bot_asked(r->bots[k], c))
            return r->bots[k];
    return NULL;
}

static struct bot *one_more(struct readers *r)
{
    const struct builders_conf *o = &r->crowd->conf;
    struct bot_conf conf = {.base = o->base, .host = o->host, .port = o->port, .view = -1, .remember = true};
    r->bots = mem_resize(r->bots, (r->n + 1) * sizeof(struct bot *));
    r->bots[r->n] = bot_new(&conf);
    r->good = r->good && loop_until(o->base, reader_done, r->bots[r->n], JOIN_MS, "a reader to join");
    return r->bots[r->n++];
}

static void ask_once(void *arg, struct chunk_pos c)
{
    struct readers *r = arg;
    if (!r->good || reader_of(r, c))
        return;
    struct bot *bot = r->n_chunks++ % READER_CHUNKS ? r->bots[r->n - 1] : one_more(r);
    bot_ask_chunk(bot, c);
}

static bool final_block(void *arg, struct chunk_pos c, struct block_pos at, int *w)
{
    const struct bot *bot = reader_of(arg, c);
    int seen = bot ? bot_sees_block(bot, c, at.x, at.y, at.z) : INT32_MIN;
    if (seen != INT32_MIN)
        *w = seen;
    return seen != INT32_MIN;
}

bool builders_check(struct builders *b, struct ledger_result *result)
{
    struct readers r = {.crowd = b, .good = true};
    loop_until(b->conf.base, all_told, b, SETTLE_MS, "everybody to be told of everything");
    note(b, "reading the world");
    ledger_each_chunk(b->ledger, ask_once, &r);
    for (unsigned k = 0; k < r.n; k++)
        r.good = r.good && loop_until(b->conf.base, reader_done, r.bots[k], JOIN_MS, "the touched chunks") &&
                 !bot_gone(r.bots[k]);
    if (r.good)
        ledger_check(b->ledger, final_block, &r, result);
    for (unsigned k = 0; k < r.n; k++)
        bot_free(r.bots[k]);
    free(r.bots);
    return r.good;
}
