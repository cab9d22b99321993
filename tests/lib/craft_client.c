#include "tests/lib/craft_client.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/world/terrain.h"
#include "tests/lib/craft_client_state.h"

enum { DROP_MARGIN = 4, POSITION_MS = 100 };

struct craft_client *craft_client_new(const struct client_ears *ears, void *arg)
{
    static const struct client_ears deaf;
    struct craft_client *c = mem_zalloc(sizeof *c);
    c->ears = ears ? ears : &deaf;
    c->arg = arg;
    c->full_radius = -1;
    return c;
}

void craft_client_free(struct craft_client *c)
{
    if (!c)
        return;
    struct held *h, *next;
    HASH_ITER (hh, c->chunks, h, next) {
        HASH_DEL(c->chunks, h);
        craft_map_free(h->map);
        free(h);
    }
    for (unsigned k = 0; k < CLIENT_CHAT_LINES; k++)
        free(c->chat[k]);
    free(c->players);
    free(c);
}

/* ---- chunks ---- */

struct held *client_chunk(const struct craft_client *c, struct chunk_pos at)
{
    uint64_t id = chunk_id(at);
    struct held *h;
    HASH_FIND(hh, c->chunks, &id, sizeof id, h);
    return h;
}

struct held *client_chunk_made(struct craft_client *c, struct chunk_pos at)
{
    struct held *h = client_chunk(c, at);
    if (h)
        return h;
    h = mem_zalloc(sizeof *h);
    h->id = chunk_id(at);
    h->at = at;
    h->map = craft_map_new(at);
    HASH_ADD(hh, c->chunks, id, sizeof h->id, h);
    return h;
}

void client_set_block(struct craft_client *c, struct chunk_pos at, struct block_pos b, int w, bool draws)
{
    struct held *h = client_chunk_made(c, at);
    if (craft_map_set_block(h->map, b, w) && !draws)
        h->undrawn = true;
    if (w == 0 && craft_map_own(at, b)) {
        craft_map_drop_signs(h->map, &b);
        if (craft_map_set_light(h->map, b, 0))
            h->undrawn = false; /* a light that changes draws its chunk */
    }
}

int craft_client_block_at(const struct craft_client *c, struct block_pos at)
{
    const struct held *h = client_chunk(c, chunk_of_block(at.x, at.z));
    if (h)
        return craft_map_block(h->map, at);
    return terrain_block(at.x, at.y, at.z);
}

/* ---- what it says ---- */

static size_t print(char *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static size_t print(char *out, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(out, CRAFT_OUT_MAX, fmt, args);
    va_end(args);
    return n < CRAFT_OUT_MAX ? (size_t)n : CRAFT_OUT_MAX - 1;
}

size_t craft_client_hello(struct craft_client *c, const char *user, const char *token, char *out)
{
    for (struct held *h = c->chunks; h; h = h->hh.next) {
        h->loaded = h->answered = h->undrawn = false;
        craft_map_drop_signs(h->map, NULL);
    }
    c->n_loaded = 0;
    c->full_radius = -1;
    c->n_players = 0;
    c->id = 0;
    c->may_ground = true;
    c->line_len = 0;
    c->skipping = false;
    return print(out, "V,1\nA,%s,%s\n", user, token);
}

static int32_t chunks_away(struct chunk_pos a, struct chunk_pos b)
{
    int32_t dp = abs(a.p - b.p), dq = abs(a.q - b.q);
    return dp > dq ? dp : dq;
}

size_t craft_client_next_chunk(struct craft_client *c, int32_t radius, char *out)
{
    struct chunk_pos mine = chunk_of_block((int32_t)roundf(c->place.x), (int32_t)roundf(c->place.z));
    if (c->full_radius == radius && chunk_eq(mine, c->full_at))
        return 0;
    for (struct held *h = c->chunks; h; h = h->hh.next) {
        if (h->loaded && chunks_away(h->at, mine) >= radius + DROP_MARGIN) {
            h->loaded = false;
            c->n_loaded--;
        }
    }
    for (int32_t ring = 0; ring <= radius; ring++) {
        for (int32_t dp = -ring; dp <= ring; dp++) {
            int32_t step = abs(dp) == ring ? 1 : 2 * ring;
            for (int32_t dq = -ring; dq <= ring; dq += step) {
                struct chunk_pos at = {mine.p + dp, mine.q + dq};
                struct held *h = client_chunk(c, at);
                if (h && h->loaded)
                    continue;
                h = client_chunk_made(c, at);
                h->loaded = true;
                h->answered = h->undrawn = false;
                c->n_loaded++;
                return print(out, "C,%d,%d,%d\n", at.p, at.q, h->key);
            }
        }
    }
    c->full_at = mine;
    c->full_radius = radius;
    return 0;
}

void craft_client_move(struct craft_client *c, const struct place *to)
{
    c->place = *to;
}

size_t craft_client_position(struct craft_client *c, uint64_t now_ms, char *out)
{
    if (now_ms - c->told_ms <= POSITION_MS && c->told_ms != 0)
        return 0;
    c->told_ms = now_ms;
    const struct place *p = &c->place, *t = &c->told;
    float moved = (p->x - t->x) * (p->x - t->x) + (p->y - t->y) * (p->y - t->y) + (p->z - t->z) * (p->z - t->z) +
                  (p->rx - t->rx) * (p->rx - t->rx) + (p->ry - t->ry) * (p->ry - t->ry);
    if (moved < 0.0001f)
        return 0;
    c->told = *p;
    return print(out, "P,%.2f,%.2f,%.2f,%.2f,%.2f\n", (double)p->x, (double)p->y, (double)p->z, (double)p->rx,
                 (double)p->ry);
}

/* Elsewhere the client keeps nothing that it could show. */
static bool has_room(struct block_pos at)
{
    return at.y >= 0 && at.y <= BLOCK_Y_MAX && block_in_world(at.x, at.z);
}

size_t craft_client_block(struct craft_client *c, struct block_pos at, int w, char *out)
{
    if (has_room(at)) {
        struct chunk_pos mirrors[MIRRORS_MAX];
        unsigned n = chunk_mirrors(at.x, at.z, mirrors);
        client_set_block(c, chunk_of_block(at.x, at.z), at, w, true);
        for (unsigned k = 0; k < n; k++)
            client_set_block(c, mirrors[k], at, -w, true);
    }
    return print(out, "B,%d,%d,%d,%d\n", at.x, at.y, at.z, w);
}

size_t craft_client_hit(struct craft_client *c, struct block_pos at, char *out)
{
    size_t len = craft_client_block(c, at, 0, out);
    struct block_pos above = {at.x, at.y < BLOCK_Y_MAX ? at.y + 1 : -1, at.z};
    if (has_room(above) && client_is_plant(craft_client_block_at(c, above)))
        len += craft_client_block(c, above, 0, out + len);
    return len;
}

size_t craft_client_light(struct craft_client *c, struct block_pos at, char *out)
{
    int w = 15;
    if (has_room(at)) {
        struct held *h = client_chunk_made(c, chunk_of_block(at.x, at.z));
        w = craft_map_light(h->map, at) ? 0 : 15;
        craft_map_set_light(h->map, at, w);
    }
    return print(out, "L,%d,%d,%d,%d\n", at.x, at.y, at.z, w);
}

size_t craft_client_sign(struct craft_client *c, struct block_pos at, int face, const char *text, char *out)
{
    if (has_room(at) && face >= 0 && face < SIGN_FACES) {
        char shown[SIGN_SHOWN + 1];
        snprintf(shown, sizeof shown, "%s", text);
        craft_map_set_sign(client_chunk_made(c, chunk_of_block(at.x, at.z))->map, at, face, shown);
    }
    return print(out, "S,%d,%d,%d,%d,%s\n", at.x, at.y, at.z, face, text);
}

size_t craft_client_talk(struct craft_client *c, const char *text, char *out)
{
    static const char *const grounding[] = {"/pq", "/spawn", "/goto"};
    for (unsigned k = 0; k < 3; k++) {
        if (strncmp(text, grounding[k], strlen(grounding[k])) == 0)
            c->may_ground = true;
    }
    return *text ? print(out, "T,%.*s\n", CRAFT_TEXT_MAX, text) : 0;
}

/* ---- what it knows ---- */

int32_t craft_client_id(const struct craft_client *c)
{
    return c->id;
}

struct place craft_client_place(const struct craft_client *c)
{
    return c->place;
}

const struct client_stats *craft_client_stats(const struct craft_client *c)
{
    return &c->stats;
}

unsigned craft_client_players(const struct craft_client *c, const struct client_player **players)
{
    *players = c->players;
    return c->n_players;
}

struct client_player *client_find_player(const struct craft_client *c, int32_t id)
{
    for (unsigned k = 0; k < c->n_players; k++) {
        if (c->players[k].id == id)
            return &c->players[k];
    }
    return NULL;
}

const struct client_player *craft_client_player(const struct craft_client *c, int32_t id)
{
    return client_find_player(c, id);
}

const char *craft_client_chat(const struct craft_client *c, unsigned back)
{
    return back < CLIENT_CHAT_LINES ? c->chat[back] : NULL;
}

double craft_client_clock(const struct craft_client *c, int32_t *day_length_s)
{
    *day_length_s = c->day_length_s;
    return c->elapsed_s;
}

unsigned craft_client_chunks(const struct craft_client *c)
{
    return c->n_loaded;
}

bool craft_client_holds(const struct craft_client *c, struct chunk_pos at)
{
    const struct held *h = client_chunk(c, at);
    return h && h->loaded;
}

bool craft_client_answered(const struct craft_client *c, struct chunk_pos at)
{
    const struct held *h = client_chunk(c, at);
    return h && h->loaded && h->answered;
}

int32_t craft_client_key(const struct craft_client *c, struct chunk_pos at)
{
    const struct held *h = client_chunk(c, at);
    return h ? h->key : 0;
}

size_t craft_client_bytes(const struct craft_client *c)
{
    size_t bytes = sizeof *c + c->players_cap * sizeof *c->players;
    for (const struct held *h = c->chunks; h; h = h->hh.next)
        bytes += sizeof *h + craft_map_bytes(h->map);
    return bytes;
}

unsigned craft_client_check(const struct craft_client *c, craft_map_world *rows, void *world, char *why,
                            size_t why_bytes)
{
    unsigned n = 0;
    for (const struct held *h = c->chunks; h; h = h->hh.next) {
        if (!h->loaded)
            continue;
        char text[256];
        unsigned here = craft_map_differs(h->map, rows, world, text, sizeof text);
        if (here == 0 && h->undrawn) {
            snprintf(text, sizeof text, "chunk %d,%d: changed and not drawn", h->at.p, h->at.q);
            here = 1;
        }
        if (here && n == 0)
            snprintf(why, why_bytes, "%s", text);
        n += here;
    }
    return n;
}
