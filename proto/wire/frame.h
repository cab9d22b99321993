/* frame.h - messages on a byte stream: a length of 4 bytes, big-endian, then so many bytes.
 *
 * The length is judged before anything waits or is allocated for it. Pure but for libevent's buffers. */
#ifndef PROTO_WIRE_FRAME_H
#define PROTO_WIRE_FRAME_H

#include <event2/buffer.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/blob.h"
#include "proto/base/err.h"

enum { FRAME_HEADER_BYTES = 4 };

struct frame {
    const uint8_t *data; /* a view, good until the buffer changes */
    size_t len;
    size_t wire_len; /* to be drained when done with it */
};

/* The first frame in the buffer. ERR_AGAIN: not all there yet; ERR_TOO_BIG: over max_bytes; ERR_BAD: empty. */
enum err frame_peek(struct evbuffer *in, size_t max_bytes, struct frame *out);
/* Appends b as a frame: a small one by copy, a large one by reference. */
void frame_add(struct evbuffer *out, struct blob *b);

#endif
