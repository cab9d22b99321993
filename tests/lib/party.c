#include "tests/lib/party.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/mem.h"
#include "tests/lib/craft_client.h"
#include "tests/lib/probe.h"

struct party *party_new(const char *name, const struct cluster_conf *conf)
{
    struct cluster *c = cluster_new(name, conf);
    if (!c)
        return NULL;
    struct party *p = mem_zalloc(sizeof *p);
    p->cluster = c;
    p->base = event_base_new();
    return p;
}

void party_free(struct party *p)
{
    if (!p)
        return;
    for (unsigned i = 0; i < p->n; i++)
        bot_free(p->bots[i]);
    event_base_free(p->base);
    cluster_free(p->cluster);
    free(p);
}

bool party_passed(struct party *p)
{
    bool good = true;
    for (unsigned i = 0; i < p->n; i++) {
        const struct client_stats *s = craft_client_stats(bot_model(p->bots[i]));
        const char *gone = bot_gone(p->bots[i]);
        if (gone)
            fprintf(stderr, "player %u was disconnected: %s\n", i, gone);
        if (s->offences_all)
            fprintf(stderr, "player %u would be broken by: %s\n", i, s->first_offence);
        good = good && !gone && !s->offences_all;
    }
    if (good)
        cluster_passed(p->cluster);
    return good;
}

static bool joined_and_answered(void *arg)
{
    return (bot_joined(arg) && bot_unanswered(arg) == 0) || bot_gone(arg);
}

bool party_until(struct party *p, until_cond *cond, void *arg, const char *what)
{
    return loop_until(p->base, cond, arg, PARTY_MS, what);
}

bool party_answered(struct party *p, struct bot *b)
{
    return party_until(p, joined_and_answered, b, "the player's chunks") && !bot_gone(b);
}

struct bot *party_join(struct party *p, const char *user, int view)
{
    struct bot_conf conf = {.base = p->base, .port = p->cluster->port, .user = user, .view = view, .remember = true};
    if (p->n == PARTY_MAX)
        abort(); /* the test's mistake */
    struct bot *b = p->bots[p->n++] = bot_new(&conf);
    return party_answered(p, b) ? b : NULL;
}

void party_forget(struct party *p, struct bot *b)
{
    for (unsigned i = 0; i < p->n; i++)
        if (p->bots[i] == b)
            p->bots[i] = p->bots[--p->n];
    bot_free(b);
}

bool party_move(struct party *p, struct bot *b, float x, float y, float z)
{
    bot_move(b, &(struct place){.x = x, .y = y, .z = z});
    return party_answered(p, b);
}

/* ---- waiting for what a player is told ---- */

struct wanted {
    struct bot *bot;
    const struct bot *other;
    struct party *party;
    int32_t x, y, z;
    int w, face;
    const char *text;
};

static bool block_told(void *arg)
{
    struct wanted *w = arg;
    return bot_sees_block(w->bot, chunk_of_block(w->x, w->z), w->x, w->y, w->z) == w->w;
}

bool party_block_within(struct party *p, struct bot *b, int32_t x, int32_t y, int32_t z, int w, unsigned ms)
{
    char what[96];
    struct wanted wanted = {.bot = b, .x = x, .y = y, .z = z, .w = w};
    snprintf(what, sizeof what, "block %d,%d,%d to be %d", x, y, z, w);
    if (loop_until(p->base, block_told, &wanted, ms, what))
        return true;
    fprintf(stderr, "it is %d\n", bot_sees_block(b, chunk_of_block(x, z), x, y, z));
    return false;
}

bool party_block(struct party *p, struct bot *b, int32_t x, int32_t y, int32_t z, int w)
{
    return party_block_within(p, b, x, y, z, w, PARTY_MS);
}

static bool light_told(void *arg)
{
    struct wanted *w = arg;
    return bot_sees_light(w->bot, w->x, w->y, w->z) == w->w;
}

bool party_light(struct party *p, struct bot *b, int32_t x, int32_t y, int32_t z, int w)
{
    struct wanted wanted = {.bot = b, .x = x, .y = y, .z = z, .w = w};
    return party_until(p, light_told, &wanted, "a light");
}

static bool sign_told(void *arg)
{
    struct wanted *w = arg;
    const char *text = bot_sees_sign(w->bot, w->x, w->y, w->z, w->face);
    return text && !strcmp(text, w->text);
}

bool party_sign(struct party *p, struct bot *b, int32_t x, int32_t y, int32_t z, int face, const char *text)
{
    struct wanted wanted = {.bot = b, .x = x, .y = y, .z = z, .face = face, .text = text};
    return party_until(p, sign_told, &wanted, text);
}

static bool heard(void *arg)
{
    struct wanted *w = arg;
    return bot_heard(w->bot, w->text);
}

bool party_hears(struct party *p, struct bot *b, const char *text)
{
    struct wanted wanted = {.bot = b, .text = text};
    return party_until(p, heard, &wanted, text);
}

/* By position too: not where it once was. Two decimals are what the wire carries. */
static bool seen_there(void *arg)
{
    struct wanted *w = arg;
    struct place at, is = bot_place(w->other);
    if (!bot_sees_player(w->bot, bot_id(w->other), &at))
        return false;
    float dx = at.x - is.x, dy = at.y - is.y, dz = at.z - is.z;
    return dx * dx + dy * dy + dz * dz < 0.001f;
}

bool party_sees(struct party *p, struct bot *b, const struct bot *other)
{
    struct wanted wanted = {.bot = b, .other = other};
    return party_until(p, seen_there, &wanted, "a player to be seen where it is");
}

/* ---- waiting for the cluster ---- */

static bool all_acknowledged(void *arg)
{
    struct party *p = arg;
    for (unsigned i = 0; i < p->cluster->n_gateways; i++)
        if (member_status_number(&p->cluster->gateway[i], "unanswered_edits", 0) > 0)
            return false;
    return true;
}

bool party_acknowledged(struct party *p)
{
    for (unsigned i = 0; i < p->n;
         i++) { /* lines are taken in order: an answer to this one shows that the edits before are in */
        struct place at = bot_place(p->bots[i]);
        if (bot_gone(p->bots[i]))
            continue;
        bot_ask_chunk(p->bots[i], chunk_of_place(at.x, at.z));
        if (!party_answered(p, p->bots[i]))
            return false;
    }
    return party_until(p, all_acknowledged, p, "all edits to be answered");
}

static bool all_flushed(void *arg)
{
    struct party *p = arg;
    for (unsigned i = 0; i < p->cluster->n_nodes; i++)
        if (member_status_number(&p->cluster->node[i], "journal_batches", 0) > 0)
            return false;
    return true;
}

bool party_flushed(struct party *p)
{
    return party_until(p, all_flushed, p, "all batches to be in the store");
}

struct member *party_owner(struct party *p, int32_t x, int32_t z)
{
    struct cell_pos c = cell_of_block(x, z);
    struct member *owner = NULL;
    char *id = redis_ask(p->cluster->redis.port, "HGET spotcraft:{test}:cell:%d,%d owner", c.i, c.j);
    for (unsigned i = 0; id && *id && i < p->cluster->n_nodes; i++) {
        struct member *m = &p->cluster->node[i];
        char *status = m->proc && proc_alive(m->proc) ? member_status(m) : NULL;
        if (status && strstr(status, id))
            owner = m;
        free(status);
    }
    free(id);
    return owner;
}
