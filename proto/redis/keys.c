#include "proto/redis/keys.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool world_name_valid(const char *name)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
    size_t len = strlen(name);
    return len > 0 && len <= KEY_WORLD_MAX && strspn(name, allowed) == len;
}

/* "spotcraft:{w}:" and then the rest. */
static struct key __attribute__((format(printf, 2, 3))) key_of(const char *world, const char *fmt, ...)
{
    assert(world_name_valid(world));
    struct key k;
    int used = snprintf(k.text, sizeof k.text, "spotcraft:{%s}:", world);
    va_list ap;
    va_start(ap, fmt);
    int rest = vsnprintf(k.text + used, sizeof k.text - (size_t)used, fmt, ap);
    va_end(ap);
    assert((size_t)(used + rest) < sizeof k.text);
    (void)rest;
    return k;
}

static const char *lease_kind(enum role role)
{
    return role == ROLE_NODE ? "node" : "gate";
}

struct key key_world(const char *world)
{
    return key_of(world, "world");
}

struct key key_nodes(const char *world)
{
    return key_of(world, "nodes");
}

struct key key_lease(const char *world, enum role role, uint64_t id)
{
    return key_of(world, "%s:%016" PRIx64, lease_kind(role), id);
}

struct key key_lease_prefix(const char *world, enum role role)
{
    return key_of(world, "%s:", lease_kind(role));
}

struct key key_buried(const char *world, uint64_t node)
{
    return key_of(world, "buried:%016" PRIx64, node);
}

struct key key_cell(const char *world, struct cell_pos c)
{
    return key_of(world, "cell:%" PRId32 ",%" PRId32, c.i, c.j);
}

struct key key_journal(const char *world, struct cell_pos c)
{
    return key_of(world, "journal:%" PRId32 ",%" PRId32, c.i, c.j);
}

struct key key_dirty(const char *world)
{
    return key_of(world, "dirty");
}

struct key key_names(const char *world)
{
    return key_of(world, "names");
}

struct key key_quarantine(const char *world)
{
    return key_of(world, "quarantine");
}

struct key key_events(const char *world)
{
    return key_of(world, "events");
}

void id_text(uint64_t id, char out[ID_TEXT_LEN + 1])
{
    snprintf(out, ID_TEXT_LEN + 1, "%016" PRIx64, id);
}

bool id_parse(const char *text, size_t len, uint64_t *id)
{
    if (len != ID_TEXT_LEN)
        return false;
    uint64_t v = 0;
    for (size_t i = 0; i < len; i++) {
        static const char digits[] = "0123456789abcdef";
        const char *d = memchr(digits, text[i], 16);
        if (!d)
            return false;
        v = v << 4 | (uint64_t)(d - digits);
    }
    *id = v;
    return true;
}

void cell_text(struct cell_pos c, char out[CELL_TEXT_MAX + 1])
{
    snprintf(out, CELL_TEXT_MAX + 1, "%" PRId32 ",%" PRId32, c.i, c.j);
}

bool cell_parse(const char *text, size_t len, struct cell_pos *c)
{
    if (len > CELL_TEXT_MAX)
        return false;
    char copy[CELL_TEXT_MAX + 1], again[CELL_TEXT_MAX + 1];
    memcpy(copy, text, len);
    copy[len] = '\0';
    int64_t i, j;
    if (sscanf(copy, "%11" SCNd64 ",%11" SCNd64, &i, &j) != 2 || i < INT32_MIN || i > INT32_MAX || j < INT32_MIN ||
        j > INT32_MAX)
        return false;
    struct cell_pos got = {(int32_t)i, (int32_t)j};
    /* Exactly what cell_text() writes: no spaces, signs or zeros that scanf forgives, nothing behind it. */
    cell_text(got, again);
    if (strlen(again) != len || memcmp(copy, again, len) != 0)
        return false;
    *c = got;
    return true;
}
