#include "tests/lib/craft_client.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/world/terrain.h"
#include "proto/base/mem.h"

#define uthash_malloc(bytes) mem_alloc(bytes)
#include <uthash.h>

enum { DROP_MARGIN = 4, POSITION_MS = 100, SIGN_SHOWN = 63, ITEM_CLOUD = 16, ITEM_PLANT_MIN = 17, ITEM_PLANT_MAX = 23 };

struct held {
    uint64_t id; /* chunk_id() */
    struct chunk_pos at;
    struct craft_map *map; /* the cache; in memory while loaded */
    int32_t key;
    bool loaded;
    bool answered;
    bool undrawn; /* changed since it was last drawn */
    UT_hash_handle hh;
};

struct craft_client {
    const struct client_ears *ears;
    void *arg;
    struct held *chunks;
    unsigned n_loaded;
    struct chunk_pos full_at;      /* round here nothing more was to load, */
    int32_t full_radius;           /* within this radius; -1: not known */
    struct client_player *players; /* in no order: D moves the last into the gap */
    unsigned n_players, players_cap;
    int32_t id;
    struct place place;
    struct place told; /* as last sent; survives a reconnect, as the client's static does */
    uint64_t told_ms;  /* when it last looked whether to send */
    bool may_ground;   /* a U with y = 0 is expected */
    double elapsed_s;
    int32_t day_length_s;
    char *chat[CLIENT_CHAT_LINES];
    struct client_stats stats;
    size_t line_len; /* of the half line held */
    bool skipping;   /* the rest of a line that was too long */
    char line[CRAFT_LINE_MAX + 1];
};

const char *client_offence_text(enum client_offence o)
{
    static const char *const text[OFFENCES] = {
        [OFFENCE_OWN_D] = "D of its own id",
        [OFFENCE_N_FIRST] = "N before P",
        [OFFENCE_CROWD] = "more than 127 others",
        [OFFENCE_SIGN_BYTE] = "a byte above 127 in a sign",
        [OFFENCE_NUL] = "a NUL byte",
        [OFFENCE_LONG_LINE] = "a line too long",
        [OFFENCE_KEY_BACK] = "a key that went back",
        [OFFENCE_MISPLACED] = "a row in the wrong chunk",
        [OFFENCE_GROUNDED] = "U with y = 0 unasked",
        [OFFENCE_CLOCK] = "a clock that stands",
        [OFFENCE_MALFORMED] = "a line not understood",
    };
    return text[o];
}

static void offend(struct craft_client *c, enum client_offence o)
{
    c->stats.offences[o]++;
    if (c->stats.offences_all++ == 0)
        snprintf(c->stats.first_offence, sizeof c->stats.first_offence, "%s: %.90s", client_offence_text(o), c->line);
}

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

static struct held *find_chunk(const struct craft_client *c, struct chunk_pos at)
{
    uint64_t id = chunk_id(at);
    struct held *h;
    HASH_FIND(hh, c->chunks, &id, sizeof id, h);
    return h;
}

static struct held *make_chunk(struct craft_client *c, struct chunk_pos at)
{
    struct held *h = find_chunk(c, at);
    if (h)
        return h;
    h = mem_zalloc(sizeof *h);
    h->id = chunk_id(at);
    h->at = at;
    h->map = craft_map_new(at);
    HASH_ADD(hh, c->chunks, id, sizeof h->id, h);
    return h;
}

static void set_block(struct craft_client *c, struct chunk_pos at, struct block_pos b, int w, bool draws)
{
    struct held *h = make_chunk(c, at);
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
    const struct held *h = find_chunk(c, chunk_of_block(at.x, at.z));
    if (h)
        return craft_map_block(h->map, at);
    return terrain_block(at.x, at.y, at.z);
}

static bool is_plant(int w)
{
    return w >= ITEM_PLANT_MIN && w <= ITEM_PLANT_MAX;
}

/* What the client calls highest_block(): of the obstacles in the player's column; -1: none. */
static int column_top(const struct craft_client *c)
{
    struct block_pos at = {(int32_t)roundf(c->place.x), BLOCK_Y_MAX, (int32_t)roundf(c->place.z)};
    for (; at.y >= 0; at.y--) {
        int w = craft_client_block_at(c, at);
        if (w != 0 && w != ITEM_CLOUD && !is_plant(w))
            return at.y;
    }
    return -1;
}

static bool in_my_body(const struct craft_client *c, struct block_pos at)
{
    float above = roundf(c->place.y) - (float)at.y;
    return (int32_t)roundf(c->place.x) == at.x && (int32_t)roundf(c->place.z) == at.z && (above == 0 || above == 1);
}

/* ---- the server's lines ---- */

/* n whole numbers separated by commas, as sscanf's %d takes them. rest: what follows the last; NULL: it does not
 * matter. */
static bool take_ints(const char *s, unsigned n, int32_t *out, const char **rest)
{
    for (unsigned k = 0; k < n; k++) {
        if (*s++ != ',')
            return false;
        char *end;
        long v = strtol(s, &end, 10);
        if (end == s || v < INT32_MIN || v > INT32_MAX)
            return false;
        out[k] = (int32_t)v;
        s = end;
    }
    if (rest)
        *rest = s;
    return true;
}

static bool take_place(const char *s, struct place *out)
{
    float v[5];
    for (unsigned k = 0; k < 5; k++) {
        if (*s++ != ',')
            return false;
        char *end;
        v[k] = strtof(s, &end);
        if (end == s)
            return false;
        s = end;
    }
    *out = (struct place){v[0], v[1], v[2], v[3], v[4]};
    return place_valid(out);
}

static struct client_player *find_player(const struct craft_client *c, int32_t id)
{
    for (unsigned k = 0; k < c->n_players; k++) {
        if (c->players[k].id == id)
            return &c->players[k];
    }
    return NULL;
}

static bool on_you(struct craft_client *c, const char *s)
{
    struct place p;
    int32_t id;
    if (!take_ints(s, 1, &id, &s) || !take_place(s, &p))
        return false;
    bool first = c->id == 0;
    c->id = id;
    c->place = p;
    if (p.y == 0) {
        if (!c->may_ground)
            offend(c, OFFENCE_GROUNDED);
        c->place.y = (float)column_top(c) + 2;
    }
    if (first || p.y == 0)
        c->may_ground = false;
    return true;
}

static bool on_block(struct craft_client *c, const char *s)
{
    int32_t v[6];
    if (!take_ints(s, 6, v, NULL))
        return false;
    struct chunk_pos at = {v[0], v[1]};
    struct block_pos b = {v[2], v[3], v[4]};
    c->stats.blocks++;
    /* A neighbour's block is negative. */
    bool fits = craft_map_own(at, b) ? v[5] >= 0 && v[5] <= INT8_MAX
                                     : craft_map_border(at, b) && v[5] <= 0 && v[5] >= -INT8_MAX;
    if (!fits || !chunk_in_world(at)) {
        offend(c, OFFENCE_MISPLACED);
        return true;
    }
    set_block(c, at, b, v[5], false);
    if (in_my_body(c, b)) {
        c->place.y = (float)column_top(c) + 2;
        c->stats.lifts++;
    }
    if (c->ears->block)
        c->ears->block(c->arg, at, b, v[5]);
    return true;
}

static bool on_light(struct craft_client *c, const char *s)
{
    int32_t v[6];
    if (!take_ints(s, 6, v, NULL))
        return false;
    struct chunk_pos at = {v[0], v[1]};
    struct block_pos b = {v[2], v[3], v[4]};
    if (!chunk_in_world(at) || !craft_map_own(at, b) || v[5] < 0 || v[5] > 15) {
        offend(c, OFFENCE_MISPLACED);
        return true;
    }
    struct held *h = make_chunk(c, at);
    if (craft_map_set_light(h->map, b, v[5]))
        h->undrawn = false;
    return true;
}

static bool on_sign(struct craft_client *c, const char *s)
{
    int32_t v[6];
    if (!take_ints(s, 6, v, &s))
        return false;
    struct chunk_pos at = {v[0], v[1]};
    struct block_pos b = {v[2], v[3], v[4]};
    if (!chunk_in_world(at) || !craft_map_own(at, b) || v[5] < 0 || v[5] >= SIGN_FACES) {
        offend(c, OFFENCE_MISPLACED);
        return true;
    }
    char text[SIGN_SHOWN + 1];
    snprintf(text, sizeof text, "%s", *s == ',' ? s + 1 : "");
    for (const char *t = text; *t; t++) {
        if ((unsigned char)*t >= 128) {
            offend(c, OFFENCE_SIGN_BYTE);
            return true;
        }
    }
    struct held *h = make_chunk(c, at);
    if (craft_map_set_sign(h->map, b, v[5], text))
        h->undrawn = *text != '\0'; /* removing one draws the chunk */
    return true;
}

static bool on_player(struct craft_client *c, const char *s)
{
    struct place p;
    int32_t id;
    if (!take_ints(s, 1, &id, &s) || !take_place(s, &p))
        return false;
    c->stats.positions++;
    if (id == c->id)
        return true;
    struct client_player *known = find_player(c, id);
    if (!known && c->n_players == CLIENT_OTHERS_MAX) {
        offend(c, OFFENCE_CROWD);
        return true;
    }
    if (!known) {
        if (c->n_players == c->players_cap) {
            c->players_cap = c->players_cap ? c->players_cap * 2 : 4;
            c->players = mem_resize(c->players, c->players_cap * sizeof *c->players);
        }
        known = &c->players[c->n_players++];
        known->id = id;
        snprintf(known->name, sizeof known->name, "player%d", id);
    }
    known->place = p;
    if (c->ears->player)
        c->ears->player(c->arg, id, &p);
    return true;
}

static bool on_name(struct craft_client *c, const char *s)
{
    int32_t id;
    if (!take_ints(s, 1, &id, &s) || *s++ != ',' || !*s || *s == ' ')
        return false;
    struct client_player *p = find_player(c, id);
    if (p)
        snprintf(p->name, sizeof p->name, "%.*s", (int)strcspn(s, " \t\r"), s);
    else if (id != c->id)
        offend(c, OFFENCE_N_FIRST);
    return true;
}

static bool on_gone(struct craft_client *c, const char *s)
{
    int32_t id;
    if (!take_ints(s, 1, &id, NULL))
        return false;
    struct client_player *p = find_player(c, id);
    if (id == c->id)
        offend(c, OFFENCE_OWN_D);
    else if (p)
        *p = c->players[--c->n_players];
    return true;
}

static bool on_key(struct craft_client *c, const char *s)
{
    int32_t v[3];
    if (!take_ints(s, 3, v, NULL))
        return false;
    struct held *h = make_chunk(c, (struct chunk_pos){v[0], v[1]});
    if (v[2] < h->key)
        offend(c, OFFENCE_KEY_BACK);
    h->key = v[2];
    return true;
}

static bool on_chunk(struct craft_client *c, const char *s, bool end)
{
    int32_t v[2];
    if (!take_ints(s, 2, v, NULL))
        return false;
    struct held *h = find_chunk(c, (struct chunk_pos){v[0], v[1]});
    if (h && end)
        h->answered = true;
    else if (h)
        h->undrawn = false;
    if (end && c->ears->chunk_end)
        c->ears->chunk_end(c->arg, (struct chunk_pos){v[0], v[1]});
    return true;
}

static bool on_clock(struct craft_client *c, const char *s)
{
    if (*s++ != ',')
        return false;
    char *end;
    double elapsed = strtod(s, &end);
    int32_t day;
    if (end == s || !take_ints(end, 1, &day, NULL))
        return false;
    if (!isfinite(elapsed) || elapsed < 0 || day <= 0) {
        offend(c, OFFENCE_CLOCK);
        return true;
    }
    c->elapsed_s = fmod(elapsed, day);
    c->day_length_s = day;
    return true;
}

static bool on_talk(struct craft_client *c, const char *s)
{
    if (*s++ != ',')
        return false;
    c->stats.chats++;
    free(c->chat[CLIENT_CHAT_LINES - 1]);
    memmove(c->chat + 1, c->chat, (CLIENT_CHAT_LINES - 1) * sizeof *c->chat);
    c->chat[0] = mem_strndup(s, strnlen(s, CRAFT_TEXT_MAX));
    if (c->ears->chat)
        c->ears->chat(c->arg, c->chat[0]);
    return true;
}

static bool take_line(struct craft_client *c)
{
    const char *s = c->line + 1;
    switch (c->line[0]) {
    case 'U':
        return on_you(c, s);
    case 'B':
        return on_block(c, s);
    case 'L':
        return on_light(c, s);
    case 'S':
        return on_sign(c, s);
    case 'P':
        return on_player(c, s);
    case 'N':
        return on_name(c, s);
    case 'D':
        return on_gone(c, s);
    case 'K':
        return on_key(c, s);
    case 'R':
        return on_chunk(c, s, false);
    case 'C':
        return on_chunk(c, s, true);
    case 'E':
        return on_clock(c, s);
    case 'T':
        return on_talk(c, s);
    default:
        return false;
    }
}

static void end_line(struct craft_client *c)
{
    size_t len = c->line_len;
    c->line_len = 0;
    c->line[len] = '\0';
    if (c->skipping) {
        c->skipping = false;
        return;
    }
    if (len == 0)
        return;
    c->stats.lines++;
    if (memchr(c->line, '\0', len))
        offend(c, OFFENCE_NUL);
    else if (!take_line(c))
        offend(c, OFFENCE_MALFORMED);
}

void craft_client_feed(struct craft_client *c, const char *data, size_t len)
{
    while (len > 0) {
        const char *nl = memchr(data, '\n', len);
        size_t part = nl ? (size_t)(nl - data) : len;
        if (!c->skipping && part >= CRAFT_LINE_MAX - c->line_len) {
            c->line[c->line_len] = '\0';
            offend(c, OFFENCE_LONG_LINE);
            c->line_len = 0;
            c->skipping = true;
        }
        if (!c->skipping) {
            memcpy(c->line + c->line_len, data, part);
            c->line_len += part;
        }
        if (nl)
            end_line(c);
        data += part + (nl != NULL);
        len -= part + (nl != NULL);
    }
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
                struct held *h = find_chunk(c, at);
                if (h && h->loaded)
                    continue;
                h = make_chunk(c, at);
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
        set_block(c, chunk_of_block(at.x, at.z), at, w, true);
        for (unsigned k = 0; k < n; k++)
            set_block(c, mirrors[k], at, -w, true);
    }
    return print(out, "B,%d,%d,%d,%d\n", at.x, at.y, at.z, w);
}

size_t craft_client_hit(struct craft_client *c, struct block_pos at, char *out)
{
    size_t len = craft_client_block(c, at, 0, out);
    struct block_pos above = {at.x, at.y < BLOCK_Y_MAX ? at.y + 1 : -1, at.z};
    if (has_room(above) && is_plant(craft_client_block_at(c, above)))
        len += craft_client_block(c, above, 0, out + len);
    return len;
}

size_t craft_client_light(struct craft_client *c, struct block_pos at, char *out)
{
    int w = 15;
    if (has_room(at)) {
        struct held *h = make_chunk(c, chunk_of_block(at.x, at.z));
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
        craft_map_set_sign(make_chunk(c, chunk_of_block(at.x, at.z))->map, at, face, shown);
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

const struct client_player *craft_client_player(const struct craft_client *c, int32_t id)
{
    return find_player(c, id);
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
    const struct held *h = find_chunk(c, at);
    return h && h->loaded;
}

bool craft_client_answered(const struct craft_client *c, struct chunk_pos at)
{
    const struct held *h = find_chunk(c, at);
    return h && h->loaded && h->answered;
}

int32_t craft_client_key(const struct craft_client *c, struct chunk_pos at)
{
    const struct held *h = find_chunk(c, at);
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
