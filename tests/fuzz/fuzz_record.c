/* fuzz_record.c - what a store or Redis gives back: each kind of record, refused or good enough to be stored again. */
#include <assert.h>

#include "proto/wire/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct arena *a = arena_new();
    struct row *rows;
    struct seen *seen;
    struct event_record event;
    unsigned n;
    if (record_decode_batch(data, len, a, &rows, &n) == ERR_OK)
        blob_unref(record_encode_batch(rows, n));
    if (record_decode_seen(data, len, a, &seen, &n) == ERR_OK)
        blob_unref(record_encode_seen(seen, n));
    if (record_decode_event(data, len, a, &event) == ERR_OK)
        blob_unref(record_encode_event(&event));
    arena_free(a);
    return 0;
}
