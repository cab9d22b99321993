/* text.h - a growing piece of text for lines on their way to a client. Never fails: see mem.h. */
#ifndef GATEWAY_TEXT_H
#define GATEWAY_TEXT_H

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/mem.h"
#include "proto/wire/craft.h"

struct text {
    char *data;
    size_t len, cap;
};

static inline void text_reserve(struct text *t, size_t bytes)
{
    if (t->cap - t->len >= bytes)
        return;
    t->cap = 2 * t->cap > t->len + bytes ? 2 * t->cap : t->len + bytes;
    t->data = mem_resize(t->data, t->cap);
}

/* Where the next line goes: room for the longest. The writer's result is then added to len. */
static inline char *text_line(struct text *t)
{
    text_reserve(t, CRAFT_OUT_MAX);
    return t->data + t->len;
}

static inline void text_add(struct text *t, const void *data, size_t len)
{
    if (len == 0)
        return;
    text_reserve(t, len);
    memcpy(t->data + t->len, data, len);
    t->len += len;
}

static inline void text_free(struct text *t)
{
    free(t->data);
    *t = (struct text){0};
}

#endif
