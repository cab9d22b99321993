/* fuzz_msg.c - an envelope from anywhere: refused with a reason, or good enough to be sent on. */
#include <assert.h>

#include "proto/wire/msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct arena *a = arena_new();
    struct msg m, again;
    const char *why = NULL;
    enum err e = msg_decode(data, len, a, &m, &why);
    assert(e == ERR_OK || why);
    if (e == ERR_OK) {
        struct blob *b = msg_encode(&m); /* asserts every limit that decoding promised */
        assert(msg_decode(b->data, b->len, a, &again, &why) == ERR_OK && again.kind == m.kind);
        blob_unref(b);
    }
    arena_free(a);
    return 0;
}
