#include "node/store/pg_params.h"

#include <assert.h>
#include <limits.h>
#include <string.h>

static uint8_t *put(uint8_t *to, uint64_t v, unsigned bytes)
{
    for (unsigned k = 0; k < bytes; k++)
        to[k] = (uint8_t)(v >> 8 * (bytes - 1 - k));
    return to + bytes;
}

static uint64_t get(const uint8_t *from, unsigned bytes)
{
    uint64_t v = 0;
    for (unsigned k = 0; k < bytes; k++)
        v = v << 8 | from[k];
    return v;
}

uint16_t pg_get16(const void *from)
{
    return (uint16_t)get(from, 2);
}

uint32_t pg_get32(const void *from)
{
    return (uint32_t)get(from, 4);
}

uint64_t pg_get64(const void *from)
{
    return get(from, 8);
}

void pg_params_start(struct pg_params *p, struct arena *a)
{
    *p = (struct pg_params){.arena = a};
}

static int add(struct pg_params *p, const void *value, size_t len)
{
    assert(p->n < PG_PARAMS_MAX && len <= INT_MAX);
    p->values[p->n] = value;
    p->lengths[p->n] = (int)len;
    p->formats[p->n] = 1;
    return p->n++;
}

static void add_number(struct pg_params *p, uint64_t v, unsigned bytes)
{
    uint8_t *value = arena_alloc(p->arena, bytes);
    put(value, v, bytes);
    add(p, value, bytes);
}

void pg_add_bool(struct pg_params *p, bool v)
{
    add_number(p, v, 1);
}

void pg_add_int4(struct pg_params *p, int32_t v)
{
    add_number(p, (uint32_t)v, 4);
}

void pg_add_int8(struct pg_params *p, uint64_t v)
{
    add_number(p, v, 8);
}

void pg_add_bytes(struct pg_params *p, const void *data, size_t len)
{
    add(p, len ? data : "", len); /* NULL would be SQL's NULL */
}

/* dimensions, has-nulls flag, element type, then of the one dimension: length, first index; then length and bytes of
 * each element. */
enum { ARRAY_HEADER_BYTES = 20, ARRAY_LENGTH_AT = 12, ELEMENT_BYTES_MAX = 4 + 8 };

struct pg_array pg_add_array(struct pg_params *p, enum pg_type element, unsigned max, size_t text_bytes)
{
    struct pg_array a = {0};
    a.start = arena_alloc(p->arena, ARRAY_HEADER_BYTES + (size_t)max * ELEMENT_BYTES_MAX + text_bytes);
    a.at = put(a.start, 1, 4);
    a.at = put(a.at, 0, 4);
    a.at = put(a.at, element, 4);
    a.at = put(a.at, 0, 4);
    a.at = put(a.at, 1, 4);
    a.slot = add(p, a.start, 0);
    return a;
}

static void append(struct pg_array *a, uint64_t v, unsigned bytes)
{
    a->at = put(a->at, bytes, 4);
    a->at = put(a->at, v, bytes);
    a->n++;
}

void pg_array_int2(struct pg_array *a, int16_t v)
{
    append(a, (uint16_t)v, 2);
}

void pg_array_int4(struct pg_array *a, int32_t v)
{
    append(a, (uint32_t)v, 4);
}

void pg_array_int8(struct pg_array *a, uint64_t v)
{
    append(a, v, 8);
}

void pg_array_float4(struct pg_array *a, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof(bits));
    append(a, bits, 4);
}

void pg_array_text(struct pg_array *a, const char *text)
{
    size_t len = strlen(text);
    a->at = put(a->at, len, 4);
    memcpy(a->at, text, len);
    a->at += len;
    a->n++;
}

void pg_array_end(struct pg_params *p, struct pg_array *a)
{
    put(a->start + ARRAY_LENGTH_AT, a->n, 4);
    p->lengths[a->slot] = (int)(a->at - a->start);
}
