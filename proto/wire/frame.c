#include "proto/wire/frame.h"

enum { COPY_BYTES_MAX = 1024 }; /* below, a copy is cheaper than a chain of its own in the buffer */

enum err frame_peek(struct evbuffer *in, size_t max_bytes, struct frame *out)
{
    uint8_t header[FRAME_HEADER_BYTES];
    if (evbuffer_copyout(in, header, sizeof(header)) < (ev_ssize_t)sizeof(header))
        return ERR_AGAIN;
    const size_t len = (size_t)header[0] << 24 | (size_t)header[1] << 16 | (size_t)header[2] << 8 | header[3];
    if (len == 0)
        return ERR_BAD;
    if (len > max_bytes)
        return ERR_TOO_BIG;
    if (evbuffer_get_length(in) < sizeof(header) + len)
        return ERR_AGAIN;
    const uint8_t *bytes = evbuffer_pullup(in, (ev_ssize_t)(sizeof(header) + len));
    *out = (struct frame){bytes + sizeof(header), len, sizeof(header) + len};
    return ERR_OK;
}

void frame_add(struct evbuffer *out, struct blob *b)
{
    const uint8_t header[FRAME_HEADER_BYTES] = {(uint8_t)(b->len >> 24), (uint8_t)(b->len >> 16),
                                                (uint8_t)(b->len >> 8), (uint8_t)b->len};
    evbuffer_add(out, header, sizeof(header));
    if (b->len <= COPY_BYTES_MAX)
        evbuffer_add(out, b->data, b->len);
    else
        blob_add_to(b, out);
}
