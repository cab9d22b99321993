#include "tests/sim/crowd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/mem.h"
#include "tests/lib/craft_client.h"
#include "tests/sim/check.h"
#include "tests/sim/faults.h"
#include "tests/sim/socket.h"
#include "tests/sim/tell.h"

enum {
    ACT_US = 100000, /* a client's frames do not matter; its positions come ten a second */
    RADIUS = 1,      /* chunks that a player sees: few, so that many seeds can run */
    ASKED_MAX = 512,
    CHUNKS_PER_ACT = 9,
    RANGE = 44, /* blocks from the corner of four cells that a player walks */
    BURST_MAX = 150
};

struct player {
    struct sim *sim;
    unsigned index;
    struct craft_client *client;
    struct sim_socket *socket; /* NULL: not connected */
    uint64_t join_us;          /* when to connect next */
    struct chunk_pos asked[ASKED_MAX];
    unsigned n_asked;
    bool placed; /* walked from where the server put him to where he lives */
    float dx, dz;
};

struct sim_crowd {
    struct player all[CROWD_MAX];
    unsigned n;
    bool calm;
};

/* ---- connecting ---- */

static void tell(struct player *p, const char *does, const char *data, size_t len)
{
    char who[32];
    snprintf(who, sizeof who, "player %u %s", p->index, does);
    if (p->sim->telling)
        tell_lines(p->sim, who, data, len);
}

static void on_bytes(void *arg, const char *data, size_t len)
{
    struct player *p = arg;
    tell(p, "hears", data, len);
    craft_client_feed(p->client, data, len);
    const struct client_stats *st = craft_client_stats(p->client);
    if (st->offences_all)
        sim_fail(p->sim, "player %u is told what would break a client: %s", p->index, st->first_offence);
}

/* Was every edit answered, and the answer heard? */
static bool all_settled(const struct player *p)
{
    struct gateway_stats st;
    const struct host *g = socket_gateway(p->socket);
    if (!g->alive)
        return false;
    gateway_stats(g->gateway, &st);
    return st.unanswered_edits == 0 && socket_idle(p->socket);
}

/* A client keeps what it did itself in its cache file for ever, though a server that it left before the answer may have
 * refused it, or never have read it. That is how clients are: such a player comes back from another machine. */
static void forget_cache(struct player *p)
{
    craft_client_free(p->client);
    p->client = craft_client_new(NULL, NULL);
}

static void on_closed(void *arg, struct sim_socket *socket, const char *why, bool by_gateway)
{
    struct player *p = arg;
    if (p->socket != socket)
        return; /* he had left */
    sim_note(p->sim, "player %u is disconnected: %s", p->index, why);
    if (by_gateway)
        sim_fail(p->sim, "player %u is disconnected by his gateway: %s", p->index, why);
    p->socket = NULL;
    forget_cache(p);
    p->join_us = p->sim->sched.now_us + sim_between(p->sim, 100, 2000) * 1000;
}

static const struct socket_ears ears = {.bytes = on_bytes, .closed = on_closed};

static void say(struct player *p, const char *line, size_t len)
{
    if (!len)
        return;
    tell(p, "says", line, len);
    socket_write(p->socket, line, len);
}

static void join(struct player *p)
{
    char line[CRAFT_OUT_MAX], user[24] = "";
    struct host *g = hosts_pick(p->sim, ROLE_GATEWAY, false);
    if (!g || p->join_us > p->sim->sched.now_us)
        return;
    if (p->index % 2)
        snprintf(user, sizeof user, "player%u", p->index);
    sim_note(p->sim, "player %u connects to %s", p->index, g->name);
    p->socket = socket_open(g, &ears, p);
    p->n_asked = 0;
    p->placed = false;
    say(p, line, craft_client_hello(p->client, user, "", line));
}

static void leave(struct player *p)
{
    bool settled = all_settled(p);
    sim_note(p->sim, "player %u leaves%s", p->index, settled ? "" : ", not all settled");
    socket_close(p->socket);
    p->socket = NULL;
    if (!settled)
        forget_cache(p);
    p->join_us = p->sim->sched.now_us + sim_between(p->sim, 50, 5000) * 1000;
}

/* ---- seeing and walking ---- */

static void ask_chunks(struct player *p)
{
    char line[CRAFT_OUT_MAX + 1];
    for (unsigned i = 0; i < CHUNKS_PER_ACT && p->n_asked < ASKED_MAX; i++) {
        size_t len = craft_client_next_chunk(p->client, RADIUS, line);
        if (!len)
            return;
        line[len] = '\0';
        struct chunk_pos *at = &p->asked[p->n_asked++];
        if (sscanf(line, "C,%d,%d", &at->p, &at->q) != 2)
            sim_fail(p->sim, "player %u asks for no chunk: %s", p->index, line);
        say(p, line, len);
    }
}

static void walk(struct player *p)
{
    struct sim *s = p->sim;
    struct place at = craft_client_place(p->client);
    char line[CRAFT_OUT_MAX];
    if (!s->crowd->calm) {
        if (!p->placed) {
            at.x = (float)sim_between(s, 0, 2 * RANGE) - RANGE;
            at.z = (float)sim_between(s, 0, 2 * RANGE) - RANGE;
            p->placed = true;
        }
        if (sim_chance(s, 10)) { /* another way; at times he stands */
            p->dx = (float)sim_between(s, 0, 4) - 2;
            p->dz = (float)sim_between(s, 0, 4) - 2;
        }
        at.x = fminf(fmaxf(at.x + p->dx, -RANGE), RANGE);
        at.z = fminf(fmaxf(at.z + p->dz, -RANGE), RANGE);
        at.rx = (float)rng_below(&s->rng, 628) / 100;
        craft_client_move(p->client, &at);
    }
    say(p, line, craft_client_position(p->client, sim_ms(s), line));
}

/* ---- editing ---- */

/* Few places, so that they are fought over; about half of them on borders of cells and chunks. */
static struct block_pos some_block(struct sim *s)
{
    static const int32_t edges[] = {-33, -32, -1, 0, 31, 32};
    int32_t y = (int32_t)sim_between(s, 40, 42);
    if (sim_chance(s, 2))
        return (struct block_pos){(int32_t)rng_below(&s->rng, 4) - 2, y, (int32_t)rng_below(&s->rng, 4) - 2};
    if (sim_chance(s, 2))
        return (struct block_pos){edges[rng_below(&s->rng, 6)], y, (int32_t)rng_below(&s->rng, 8) - 4};
    return (struct block_pos){(int32_t)rng_below(&s->rng, 80) - 40, (int32_t)sim_between(s, 10, 30),
                              (int32_t)rng_below(&s->rng, 80) - 40};
}

static void edit_block(struct player *p, struct block_pos at)
{
    struct sim *s = p->sim;
    char line[CRAFT_OUT_MAX * 2];
    int now = craft_client_block_at(p->client, at);
    bool there = now > 0;
    if (sim_chance(s, 12)) /* something that is refused, mostly */
        there = !there;
    if (there && sim_chance(s, 2))
        say(p, line, craft_client_hit(p->client, at, line));
    else
        say(p, line, craft_client_block(p->client, at, there ? 0 : (int)sim_between(s, 1, 11), line));
}

static void edit(struct player *p)
{
    static const char *const words[] = {"", "here", "beware, of the dog", "x=1,y=2"};
    struct sim *s = p->sim;
    char line[CRAFT_OUT_MAX];
    struct block_pos at = some_block(s);
    unsigned what = rng_below(&s->rng, 100);
    if (what < 70) {
        edit_block(p, at);
    } else if (what < 80) {
        say(p, line, craft_client_light(p->client, at, line));
    } else if (what < 96) {
        say(p, line, craft_client_sign(p->client, at, (int)rng_below(&s->rng, 8), words[rng_below(&s->rng, 4)], line));
    } else {
        for (uint64_t n = sim_between(s, 2, BURST_MAX); n > 0; n--)
            edit_block(p, some_block(s));
    }
}

static void act(struct player *p)
{
    struct sim *s = p->sim;
    char line[CRAFT_OUT_MAX];
    if (!p->socket) {
        join(p);
        return;
    }
    ask_chunks(p);
    if (craft_client_id(p->client) == 0)
        return;
    walk(p);
    if (s->crowd->calm)
        return;
    if (sim_chance(s, 4))
        edit(p);
    if (sim_chance(s, 60))
        say(p, line, craft_client_talk(p->client, "hello, world", line));
    if (sim_chance(s, 250))
        leave(p);
}

static void on_act(void *arg)
{
    struct player *p = arg;
    act(p);
    sched_at(&p->sim->sched, p->sim->sched.now_us + ACT_US + rng_below(&p->sim->rng, 5000), on_act, NULL, p);
}

/* ---- the whole ---- */

void crowd_init(struct sim *s)
{
    s->crowd = mem_zalloc(sizeof *s->crowd);
    s->crowd->n = s->profile->players;
    for (unsigned i = 0; i < s->crowd->n; i++) {
        struct player *p = &s->crowd->all[i];
        *p = (struct player){.sim = s, .index = i, .client = craft_client_new(NULL, NULL)};
        sched_at(&s->sched, s->sched.now_us + sim_between(s, 0, 2000) * 1000, on_act, NULL, p);
    }
}

void crowd_free(struct sim *s)
{
    for (unsigned i = 0; i < s->crowd->n; i++)
        craft_client_free(s->crowd->all[i].client);
    free(s->crowd);
}

void crowd_calm(struct sim *s)
{
    s->crowd->calm = true;
}

/* ---- when all is quiet ---- */

static int32_t chunks_apart(const struct place *a, const struct place *b)
{
    struct chunk_pos p = chunk_of_place(a->x, a->z), q = chunk_of_place(b->x, b->z);
    int32_t dp = abs(p.p - q.p), dq = abs(p.q - q.q);
    return dp > dq ? dp : dq;
}

static bool player_with_id(const struct sim *s, int32_t id)
{
    for (unsigned i = 0; i < s->crowd->n; i++) {
        if (craft_client_id(s->crowd->all[i].client) == id)
            return true;
    }
    return false;
}

/* Does he see all who are near, where they are, and nobody who is gone? */
static bool sees_others(struct player *p, char *why, size_t why_bytes)
{
    struct sim *s = p->sim;
    struct place mine = craft_client_place(p->client);
    const struct client_player *seen;
    unsigned n_seen = craft_client_players(p->client, &seen);
    for (unsigned i = 0; i < s->crowd->n; i++) {
        struct player *other = &s->crowd->all[i];
        int32_t id = craft_client_id(other->client);
        if (other == p)
            continue;
        struct place his = craft_client_place(other->client);
        const struct client_player *as = craft_client_player(p->client, id);
        if (!as && chunks_apart(&mine, &his) < CROWD_PRESENCE_CHUNKS) {
            snprintf(why, why_bytes, "player %u does not see player %u (id %d), who stands %d chunks away", p->index, i,
                     id, chunks_apart(&mine, &his));
            return false;
        }
        if (as && (fabsf(as->place.x - his.x) > 0.02F || fabsf(as->place.z - his.z) > 0.02F)) {
            snprintf(why, why_bytes, "player %u sees player %u at %.2f,%.2f; he is at %.2f,%.2f", p->index, i,
                     (double)as->place.x, (double)as->place.z, (double)his.x, (double)his.z);
            return false;
        }
    }
    for (unsigned k = 0; k < n_seen; k++) {
        if (!player_with_id(s, seen[k].id)) {
            snprintf(why, why_bytes, "player %u still sees id %d, %s, at %.2f,%.2f, who is gone", p->index, seen[k].id,
                     seen[k].name, (double)seen[k].place.x, (double)seen[k].place.z);
            return false;
        }
    }
    return true;
}

void crowd_quiet(struct sim *s, char *why, size_t why_bytes)
{
    for (unsigned i = 0; i < s->crowd->n; i++) {
        struct player *p = &s->crowd->all[i];
        if (!p->socket || craft_client_id(p->client) == 0) {
            snprintf(why, why_bytes, "player %u has not joined", i);
            return;
        }
        if (!socket_idle(p->socket)) {
            snprintf(why, why_bytes, "player %u has bytes on their way", i);
            return;
        }
        for (unsigned k = 0; k < p->n_asked; k++) {
            if (craft_client_holds(p->client, p->asked[k]) && !craft_client_answered(p->client, p->asked[k])) {
                snprintf(why, why_bytes, "player %u has no answer for chunk %d,%d", i, p->asked[k].p, p->asked[k].q);
                return;
            }
        }
        if (!sees_others(p, why, why_bytes)) /* who died with his gateway is shown for some seconds more */
            return;
    }
}

static void check_ids(struct sim *s)
{
    for (unsigned i = 0; i < s->crowd->n; i++) {
        for (unsigned k = 0; k < i; k++) {
            int32_t id = craft_client_id(s->crowd->all[i].client);
            if (id == craft_client_id(s->crowd->all[k].client))
                sim_fail(s, "players %u and %u have the same id %d", k, i, id);
        }
    }
}

void crowd_check(struct sim *s)
{
    check_ids(s);
    for (unsigned i = 0; i < s->crowd->n && !s->failed; i++) {
        struct player *p = &s->crowd->all[i];
        char why[200] = "";
        unsigned differs = craft_client_check(p->client, check_chunk_rows, s, why, sizeof why);
        if (differs)
            sim_fail(s, "player %u sees %u things that are not so: %s", i, differs, why);
        if (!s->failed && !sees_others(p, why, sizeof why))
            sim_fail(s, "%s", why);
    }
}
