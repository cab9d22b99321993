#include "proto/base/arena.h"

#include <assert.h>
#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/mem.h"

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
enum { GUARD_BYTES = 16 };
#else
#define ASAN_POISON_MEMORY_REGION(p, bytes)   ((void)(p), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(p, bytes) ((void)(p), (void)(bytes))
enum { GUARD_BYTES = 0 };
#endif

enum {
    SLAB_BYTES = 16 << 10,
    KEEP_BYTES = 1 << 20,
    ALIGN = alignof(max_align_t),
};

struct slab {
    struct slab *next;
    size_t cap, used;
    alignas(max_align_t) uint8_t data[];
};

struct arena {
    struct slab *used;  /* the first is the one being filled */
    struct slab *spare; /* empty, kept from before the last reset */
};

struct arena *arena_new(void)
{
    return mem_zalloc(sizeof(struct arena));
}

static void free_slabs(struct slab *s)
{
    while (s) {
        struct slab *next = s->next;
        ASAN_UNPOISON_MEMORY_REGION(s->data, s->cap);
        free(s);
        s = next;
    }
}

void arena_free(struct arena *a)
{
    if (!a)
        return;
    free_slabs(a->used);
    free_slabs(a->spare);
    free(a);
}

void arena_reset(struct arena *a)
{
    size_t kept = 0;
    for (struct slab *s = a->spare; s; s = s->next)
        kept += s->cap;
    while (a->used) {
        struct slab *s = a->used;
        a->used = s->next;
        s->next = NULL;
        if (kept + s->cap > KEEP_BYTES) {
            free_slabs(s);
            continue;
        }
        kept += s->cap;
        s->used = 0;
        ASAN_POISON_MEMORY_REGION(s->data, s->cap);
        s->next = a->spare;
        a->spare = s;
    }
}

/* A slab with room for so much, put first: a spare one that is big enough, or a new one. */
static struct slab *next_slab(struct arena *a, size_t bytes)
{
    struct slab **link = &a->spare;
    while (*link && (*link)->cap < bytes)
        link = &(*link)->next;
    struct slab *s = *link;
    if (s) {
        *link = s->next;
    } else {
        size_t cap = bytes > SLAB_BYTES ? bytes : SLAB_BYTES;
        s = mem_alloc(sizeof *s + cap);
        s->cap = cap;
        s->used = 0;
        ASAN_POISON_MEMORY_REGION(s->data, s->cap);
    }
    s->next = a->used;
    a->used = s;
    return s;
}

void *arena_alloc(struct arena *a, size_t bytes)
{
    assert(bytes < SIZE_MAX / 2);
    size_t room = ((bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1)) + GUARD_BYTES;
    struct slab *s = a->used;
    if (!s || s->cap - s->used < room)
        s = next_slab(a, room);
    void *p = s->data + s->used;
    s->used += room;
    ASAN_UNPOISON_MEMORY_REGION(p, bytes);
    return p;
}

void *arena_zalloc(struct arena *a, size_t bytes)
{
    return memset(arena_alloc(a, bytes), 0, bytes);
}

char *arena_strndup(struct arena *a, const char *s, size_t len)
{
    len = strnlen(s, len);
    char *copy = arena_alloc(a, len + 1);
    memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}
