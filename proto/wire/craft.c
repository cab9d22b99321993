#include "proto/wire/craft.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- reading: a cursor that takes one field after another ---- */

struct view {
    const char *at;
    size_t len;
};

struct cursor {
    const char *at, *end; /* at the ',' before the next field, or at the end */
};

static bool take_rest(struct cursor *c, struct view *out)
{
    if (c->at == c->end)
        return false;
    *out = (struct view){c->at + 1, (size_t)(c->end - c->at - 1)};
    c->at = c->end;
    return true;
}

static bool take_field(struct cursor *c, struct view *out)
{
    if (c->at == c->end)
        return false;
    const char *start = c->at + 1;
    const char *comma = memchr(start, ',', (size_t)(c->end - start));
    c->at = comma ? comma : c->end;
    *out = (struct view){start, (size_t)(c->at - start)};
    return true;
}

static bool is_digit(char ch)
{
    return ch >= '0' && ch <= '9';
}

/* Takes a sign off the front; true for minus. */
static bool take_sign(struct view *f)
{
    bool minus = f->len > 0 && f->at[0] == '-';
    if (minus || (f->len > 0 && f->at[0] == '+')) {
        f->at++;
        f->len--;
    }
    return minus;
}

static bool take_int(struct cursor *c, int32_t *out)
{
    struct view f;
    if (!take_field(c, &f))
        return false;
    bool minus = take_sign(&f);
    int64_t v = 0;
    for (size_t k = 0; k < f.len; k++) {
        if (!is_digit(f.at[k]))
            return false;
        v = v * 10 + (f.at[k] - '0');
        if (v > (int64_t)INT32_MAX + 1)
            return false;
    }
    v = minus ? -v : v;
    if (f.len == 0 || v > INT32_MAX)
        return false;
    *out = (int32_t)v;
    return true;
}

/* What "%.2f" writes, whatever the locale: digits with at most one point, no exponent, no "nan" or "inf". */
static bool take_float(struct cursor *c, float *out)
{
    struct view f;
    if (!take_field(c, &f))
        return false;
    bool minus = take_sign(&f), point = false;
    unsigned digits = 0;
    double v = 0, scale = 1;
    for (size_t k = 0; k < f.len; k++) {
        if (f.at[k] == '.' && !point) {
            point = true;
            continue;
        }
        if (!is_digit(f.at[k]))
            return false;
        digits++;
        if (scale >= 1e15) /* more decimals than a float could show */
            continue;
        v = v * 10 + (f.at[k] - '0');
        scale = point ? scale * 10 : scale;
    }
    v /= scale;
    if (digits == 0 || !(v <= (double)FLT_MAX))
        return false;
    *out = (float)(minus ? -v : v);
    return true;
}

static bool take_block(struct cursor *c, struct block_pos *out)
{
    return take_int(c, &out->x) && take_int(c, &out->y) && take_int(c, &out->z);
}

static bool take_place(struct cursor *c, struct place *out)
{
    return take_float(c, &out->x) && take_float(c, &out->y) && take_float(c, &out->z) && take_float(c, &out->rx) &&
           take_float(c, &out->ry);
}

static bool is_showable(const struct view *text)
{
    for (size_t k = 0; k < text->len; k++)
        if (text->at[k] < 32 || text->at[k] > 126)
            return false;
    return true;
}

static enum err bad(const char **why, const char *reason)
{
    *why = reason;
    return ERR_BAD;
}

static enum err read_sign(struct cursor *c, struct craft_line *l, const char **why)
{
    struct view text;
    if (!take_block(c, &l->sign.at) || !take_int(c, &l->sign.face) || !take_rest(c, &text))
        return bad(why, "sign fields");
    if (text.len > CRAFT_TEXT_MAX)
        return bad(why, "sign text too long");
    if (!is_showable(&text))
        return bad(why, "sign text not printable");
    l->kind = CRAFT_SIGN;
    l->sign.text = text.at;
    l->sign.len = text.len;
    return ERR_OK;
}

static enum err read_talk(struct cursor *c, struct craft_line *l, const char **why)
{
    struct view text;
    if (!take_rest(c, &text) || text.len == 0)
        return bad(why, "nothing said");
    l->kind = CRAFT_TALK;
    l->talk.text = text.at;
    l->talk.len = text.len;
    return ERR_OK;
}

static enum err read_auth(struct cursor *c, struct craft_line *l, const char **why)
{
    struct view user, token;
    if (!take_field(c, &user) || !take_field(c, &token))
        return bad(why, "auth fields");
    l->kind = CRAFT_AUTH;
    l->auth.user = user.at;
    l->auth.user_len = user.len;
    l->auth.token = token.at;
    l->auth.token_len = token.len;
    return ERR_OK;
}

static enum err read_line(const char *line, size_t len, struct craft_line *l, const char **why)
{
    struct cursor c = {line + 1, line + len};
    switch (line[0]) {
    case 'V':
        l->kind = CRAFT_VERSION;
        return take_int(&c, &l->version) && c.at == c.end ? ERR_OK : bad(why, "version fields");
    case 'A':
        if (read_auth(&c, l, why) != ERR_OK)
            return ERR_BAD;
        return c.at == c.end ? ERR_OK : bad(why, "auth fields");
    case 'C':
        l->kind = CRAFT_CHUNK;
        if (!take_int(&c, &l->chunk.at.p) || !take_int(&c, &l->chunk.at.q) || !take_int(&c, &l->chunk.key))
            return bad(why, "chunk fields");
        return c.at == c.end ? ERR_OK : bad(why, "chunk fields");
    case 'P':
        l->kind = CRAFT_PLACE;
        return take_place(&c, &l->place) && c.at == c.end ? ERR_OK : bad(why, "position fields");
    case 'B':
    case 'L':
        l->kind = line[0] == 'B' ? CRAFT_BLOCK : CRAFT_LIGHT;
        if (!take_block(&c, &l->block.at) || !take_int(&c, &l->block.w) || c.at != c.end)
            return bad(why, line[0] == 'B' ? "block fields" : "light fields");
        return ERR_OK;
    case 'S':
        return read_sign(&c, l, why);
    case 'T':
        return read_talk(&c, l, why);
    default:
        return bad(why, "unknown letter");
    }
}

enum err craft_next(const char *data, size_t len, bool *skipping, size_t *used, struct craft_line *out,
                    const char **why)
{
    size_t at = 0;
    for (;;) {
        const char *line = data + at;
        const char *end = at < len ? memchr(line, '\n', len - at) : NULL;
        if (!end) {
            if (*skipping || len - at >= CRAFT_LINE_MAX) {
                *skipping = true;
                at = len;
            }
            *used = at;
            return ERR_AGAIN;
        }
        size_t n = (size_t)(end - line);
        at += n + 1;
        if (*skipping || n >= CRAFT_LINE_MAX) {
            *skipping = false;
            continue;
        }
        if (n > 0 && line[n - 1] == '\r')
            n--;
        if (n == 0)
            continue;
        *used = at;
        if (memchr(line, '\0', n))
            return bad(why, "a NUL byte");
        if (n > 1 && line[1] != ',')
            return bad(why, "unknown letter");
        struct craft_line l;
        enum err e = read_line(line, n, &l, why);
        if (e == ERR_OK)
            *out = l;
        return e;
    }
}

/* ---- writing: every put_ returns the end of what it wrote ---- */

static char *put_uint(char *o, uint64_t v)
{
    char digits[20];
    unsigned n = 0;
    do {
        digits[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    while (n > 0)
        *o++ = digits[--n];
    return o;
}

static char *put_int(char *o, int64_t v)
{
    if (v < 0)
        *o++ = '-';
    return put_uint(o, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

/* Like printf("%.2f"), to the digit, for whatever was a float: 24 bits times 100 is exact in a double, so llrint sees
 * the same halves as printf, and rounds them to even likewise. Positions are most of what a gateway writes: snprintf
 * here would be most of what it does. */
static char *put_real(char *o, double v)
{
    if (!(fabs(v) < 9e14)) /* no float this large has decimals; "%.0f" has no point that a locale could change */
        return o + sprintf(o, "%.0f.00", isfinite(v) && fabs(v) < 1e40 ? v : 0.0);
    uint64_t hundredths = (uint64_t)llrint(fabs(v) * 100);
    if (signbit(v))
        *o++ = '-';
    o = put_uint(o, hundredths / 100);
    *o++ = '.';
    *o++ = (char)('0' + hundredths / 10 % 10);
    *o++ = (char)('0' + hundredths % 10);
    return o;
}

/* Text that every client can show: bytes >= 128 would make it read beyond its width table. */
static char *put_text(char *o, const char *text)
{
    for (size_t n = 0; text[n] && n < CRAFT_TEXT_MAX; n++)
        *o++ = text[n] >= 32 && text[n] <= 126 ? text[n] : '?';
    return o;
}

static char *put_field(char *o, int64_t v)
{
    *o++ = ',';
    return put_int(o, v);
}

static char *put_chunk(char *o, char letter, struct chunk_pos c)
{
    *o++ = letter;
    o = put_field(o, c.p);
    return put_field(o, c.q);
}

static char *put_block(char *o, char letter, struct chunk_pos c, struct block_pos at)
{
    o = put_chunk(o, letter, c);
    o = put_field(o, at.x);
    o = put_field(o, at.y);
    return put_field(o, at.z);
}

static char *put_place(char *o, const struct place *p)
{
    const float v[] = {p->x, p->y, p->z, p->rx, p->ry};
    for (unsigned k = 0; k < sizeof(v) / sizeof(v[0]); k++) {
        *o++ = ',';
        o = put_real(o, (double)v[k]);
    }
    return o;
}

static size_t end_line(const char *out, char *o)
{
    *o++ = '\n';
    return (size_t)(o - out);
}

static size_t write_player(char *out, char letter, uint32_t id, const struct place *p)
{
    out[0] = letter;
    return end_line(out, put_place(put_field(out + 1, id), p));
}

size_t craft_you(char *out, uint32_t id, const struct place *p)
{
    return write_player(out, 'U', id, p);
}

size_t craft_player(char *out, uint32_t id, const struct place *p)
{
    return write_player(out, 'P', id, p);
}

size_t craft_time(char *out, double elapsed_s, uint32_t day_length_s)
{
    out[0] = 'E';
    out[1] = ',';
    return end_line(out, put_field(put_real(out + 2, elapsed_s), day_length_s));
}

size_t craft_talk(char *out, const char *text)
{
    out[0] = 'T';
    out[1] = ',';
    return end_line(out, put_text(out + 2, text));
}

size_t craft_nick(char *out, uint32_t id, const char *nick)
{
    out[0] = 'N';
    char *o = put_field(out + 1, id);
    *o++ = ',';
    return end_line(out, put_text(o, nick));
}

size_t craft_gone(char *out, uint32_t id)
{
    out[0] = 'D';
    return end_line(out, put_field(out + 1, id));
}

size_t craft_block(char *out, struct chunk_pos c, struct block_pos at, int w)
{
    return end_line(out, put_field(put_block(out, 'B', c, at), w));
}

size_t craft_light(char *out, struct chunk_pos c, struct block_pos at, int w)
{
    return end_line(out, put_field(put_block(out, 'L', c, at), w));
}

size_t craft_sign(char *out, struct chunk_pos c, struct block_pos at, int face, const char *text)
{
    char *o = put_field(put_block(out, 'S', c, at), face);
    *o++ = ',';
    return end_line(out, put_text(o, text));
}

size_t craft_key(char *out, struct chunk_pos c, uint32_t key)
{
    return end_line(out, put_field(put_chunk(out, 'K', c), key));
}

size_t craft_redraw(char *out, struct chunk_pos c)
{
    return end_line(out, put_chunk(out, 'R', c));
}

size_t craft_chunk_end(char *out, struct chunk_pos c)
{
    return end_line(out, put_chunk(out, 'C', c));
}
