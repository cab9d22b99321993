/* blob.h - bytes that were encoded once and are shared by reference.
 *
 * Immutable after blob_new; the last unref frees. One thread (the loop's). */
#ifndef PROTO_BASE_BLOB_H
#define PROTO_BASE_BLOB_H

#include <stddef.h>
#include <stdint.h>

struct evbuffer;
struct blob {
    unsigned refs;
    size_t len;
    uint8_t data[];
};

struct blob *blob_new(const void *data,
                      size_t len); /* one reference, the caller's; data NULL: zeroed bytes to fill in */
struct blob *blob_ref(struct blob *b);
void blob_unref(struct blob *b); /* NULL is fine */
/* Append to out by reference, without a copy (libevent's evbuffer_add_reference). */
void blob_add_to(struct blob *b, struct evbuffer *out);

#endif
