#include "proto/base/blob.h"

#include <assert.h>
#include <event2/buffer.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/log.h"
#include "proto/base/mem.h"

struct blob *blob_new(const void *data, size_t len)
{
    struct blob *b = data ? mem_alloc(sizeof *b + len) : mem_zalloc(sizeof *b + len);
    b->refs = 1;
    b->len = len;
    if (data)
        memcpy(b->data, data, len);
    return b;
}

struct blob *blob_ref(struct blob *b)
{
    assert(b->refs > 0 && b->refs < UINT_MAX);
    b->refs++;
    return b;
}

void blob_unref(struct blob *b)
{
    if (!b)
        return;
    assert(b->refs > 0);
    if (--b->refs == 0)
        free(b);
}

static void on_sent(const void *data, size_t len, void *blob)
{
    (void)data, (void)len;
    blob_unref(blob);
}

void blob_add_to(struct blob *b, struct evbuffer *out)
{
    if (b->len == 0)
        return;
    if (evbuffer_add_reference(out, b->data, b->len, on_sent, blob_ref(b)) != 0) {
        log_error("out_of_memory bytes=%zu", b->len); /* as in mem.h: nothing sensible is left to do */
        abort();
    }
}
