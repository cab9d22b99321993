/* What the client does with each of the server's lines. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/craft_client_state.h"

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

/* What the client calls highest_block(): of the obstacles in the player's column; -1: none. */
static int column_top(const struct craft_client *c)
{
    struct block_pos at = {(int32_t)roundf(c->place.x), BLOCK_Y_MAX, (int32_t)roundf(c->place.z)};
    for (; at.y >= 0; at.y--) {
        int w = craft_client_block_at(c, at);
        if (w != 0 && w != ITEM_CLOUD && !client_is_plant(w))
            return at.y;
    }
    return -1;
}

static bool in_my_body(const struct craft_client *c, struct block_pos at)
{
    float above = roundf(c->place.y) - (float)at.y;
    return (int32_t)roundf(c->place.x) == at.x && (int32_t)roundf(c->place.z) == at.z && (above == 0 || above == 1);
}

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
    client_set_block(c, at, b, v[5], false);
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
    struct held *h = client_chunk_made(c, at);
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
    struct held *h = client_chunk_made(c, at);
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
    struct client_player *known = client_find_player(c, id);
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
    struct client_player *p = client_find_player(c, id);
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
    struct client_player *p = client_find_player(c, id);
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
    struct held *h = client_chunk_made(c, (struct chunk_pos){v[0], v[1]});
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
    struct held *h = client_chunk(c, (struct chunk_pos){v[0], v[1]});
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
