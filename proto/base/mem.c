#include "proto/base/mem.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/log.h"

/* malloc(0) may answer NULL without having failed. */
static size_t at_least_one(size_t bytes)
{
    return bytes ? bytes : 1;
}

static void *or_abort(void *p, size_t bytes)
{
    if (!p) {
        log_error("out_of_memory bytes=%zu", bytes);
        abort();
    }
    return p;
}

void *mem_alloc(size_t bytes)
{
    return or_abort(malloc(at_least_one(bytes)), bytes);
}

void *mem_zalloc(size_t bytes)
{
    return or_abort(calloc(1, at_least_one(bytes)), bytes);
}

void *mem_resize(void *p, size_t bytes)
{
    return or_abort(realloc(p, at_least_one(bytes)), bytes);
}

void *mem_array(size_t n, size_t size)
{
    /* calloc checks the product. */
    return or_abort(calloc(at_least_one(n), at_least_one(size)), n);
}

char *mem_strdup(const char *s)
{
    return mem_dup(s, strlen(s) + 1);
}

char *mem_strndup(const char *s, size_t len)
{
    len = strnlen(s, len);
    char *copy = mem_alloc(len + 1);
    memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}

void *mem_dup(const void *p, size_t bytes)
{
    void *copy = mem_alloc(bytes);
    if (bytes)
        memcpy(copy, p, bytes);
    return copy;
}
