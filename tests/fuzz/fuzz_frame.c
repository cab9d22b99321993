/* fuzz_frame.c - a peer's bytes, a few at a time: every frame that comes out lies within them and within the limit. */
#include <assert.h>

#include "proto/wire/frame.h"

enum { LIMIT = 300 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct evbuffer *in = evbuffer_new();
    const size_t piece = len > 0 ? data[0] % 16 + 1u : 1;
    enum err e = ERR_AGAIN;
    for (size_t at = 0; at < len && e == ERR_AGAIN; at += piece) {
        evbuffer_add(in, data + at, len - at < piece ? len - at : piece);
        struct frame f;
        while ((e = frame_peek(in, LIMIT, &f)) == ERR_OK) {
            assert(f.len > 0 && f.len <= LIMIT && f.wire_len == f.len + FRAME_HEADER_BYTES);
            struct blob *b = blob_new(f.data, f.len); /* reads all of it */
            struct evbuffer *again = evbuffer_new();
            frame_add(again, b);
            assert(evbuffer_get_length(again) == f.wire_len);
            evbuffer_free(again);
            blob_unref(b);
            evbuffer_drain(in, f.wire_len);
        }
        assert(e == ERR_AGAIN || e == ERR_TOO_BIG || e == ERR_BAD);
        assert(e != ERR_AGAIN || evbuffer_get_length(in) < LIMIT + FRAME_HEADER_BYTES);
    }
    evbuffer_free(in);
    return 0;
}
