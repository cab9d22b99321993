#include "proto/wire/record.h"

#include <assert.h>
#include <string.h>

#include "proto/wire/convert.h"
#include "records.pb-c.h"

/* ---- batches ---- */

struct blob *record_encode_batch(const struct row *rows, unsigned n)
{
    assert(n <= BATCH_ROWS_MAX);
    struct arena *a = arena_new();
    Spotcraft__Batch batch;
    spotcraft__batch__init(&batch);
    batch.rows = rows_to_pb(a, rows, n);
    batch.n_rows = n;
    struct blob *b = blob_of_pb(&batch.base);
    arena_free(a);
    return b;
}

enum err record_decode_batch(const void *data, size_t len, struct arena *a, struct row **rows, unsigned *n)
{
    struct unpack_memory memory = {a, UNPACK_BYTES_MAX};
    ProtobufCAllocator allocator = unpack_allocator(&memory);
    const Spotcraft__Batch *batch = spotcraft__batch__unpack(&allocator, len, data);
    const char *why;
    return batch && rows_from_pb(a, batch->rows, batch->n_rows, BATCH_ROWS_MAX, rows, n, &why) ? ERR_OK : ERR_BAD;
}

/* ---- the seen column ---- */

struct blob *record_encode_seen(const struct seen *seen, unsigned n)
{
    assert(n <= SEEN_MAX);
    struct arena *a = arena_new();
    Spotcraft__Seen record;
    spotcraft__seen__init(&record);
    record.last = arena_alloc(a, n * sizeof(Spotcraft__Seen__Last *));
    record.n_last = n;
    Spotcraft__Seen__Last *last = arena_alloc(a, n * sizeof(*last));
    for (unsigned k = 0; k < n; k++) {
        spotcraft__seen__last__init(&last[k]);
        last[k].session = session_to_pb(a, seen[k].session);
        last[k].seq = seen[k].seq;
        last[k].at_s = seen[k].at_s;
        record.last[k] = &last[k];
    }
    struct blob *b = blob_of_pb(&record.base);
    arena_free(a);
    return b;
}

enum err record_decode_seen(const void *data, size_t len, struct arena *a, struct seen **seen, unsigned *n)
{
    struct unpack_memory memory = {a, UNPACK_BYTES_MAX};
    ProtobufCAllocator allocator = unpack_allocator(&memory);
    const Spotcraft__Seen *record = spotcraft__seen__unpack(&allocator, len, data);
    if (!record || record->n_last > SEEN_MAX)
        return ERR_BAD;
    struct seen *out = arena_alloc(a, record->n_last * sizeof(*out));
    for (size_t k = 0; k < record->n_last; k++) {
        const Spotcraft__Seen__Last *last = record->last[k];
        out[k] = (struct seen){.seq = last->seq, .at_s = last->at_s};
        if (!session_from_pb(last->session, &out[k].session))
            return ERR_BAD;
    }
    *seen = out;
    *n = (unsigned)record->n_last;
    return ERR_OK;
}

/* ---- events ---- */

struct blob *record_encode_event(const struct event_record *e)
{
    struct arena *a = arena_new();
    Spotcraft__Event event;
    spotcraft__event__init(&event);
    event.gate = e->gate;
    event.kind = e->kind;
    event.from = (char *)text_showable(a, e->from, NICK_MAX);
    event.to = (char *)text_showable(a, e->to, NICK_MAX);
    event.text = (char *)text_showable(a, e->text, CHAT_MAX);
    struct blob *b = blob_of_pb(&event.base);
    arena_free(a);
    return b;
}

enum err record_decode_event(const void *data, size_t len, struct arena *a, struct event_record *out)
{
    struct unpack_memory memory = {a, UNPACK_BYTES_MAX};
    ProtobufCAllocator allocator = unpack_allocator(&memory);
    const Spotcraft__Event *event = spotcraft__event__unpack(&allocator, len, data);
    if (!event || event->kind < EVENT_CHAT || event->kind > EVENT_PRIVATE || !text_valid(event->from, NICK_MAX) ||
        !text_valid(event->to, NICK_MAX) || !text_valid(event->text, CHAT_MAX))
        return ERR_BAD;
    *out = (struct event_record){event->gate, event->kind, event->from, event->to, event->text};
    return ERR_OK;
}
