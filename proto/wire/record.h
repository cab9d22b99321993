/* record.h - what is stored in protobuf: journal batches, the seen column, events.
 *
 * Same rules as msg.h: checked on decoding, pointers live in the arena. Pure. */
#ifndef PROTO_WIRE_RECORD_H
#define PROTO_WIRE_RECORD_H

#include "proto/wire/msg.h"

/* The last edit of a session in a cell. */
struct seen {
    struct session_id session;
    uint64_t seq;
    uint64_t at_s; /* Unix time */
};

enum { BATCH_ROWS_MAX = 16384, SEEN_MAX = 65536 };

struct blob *record_encode_batch(const struct row *rows, unsigned n);
enum err record_decode_batch(const void *data, size_t len, struct arena *a, struct row **rows, unsigned *n);

struct blob *record_encode_seen(const struct seen *seen, unsigned n);
enum err record_decode_seen(const void *data, size_t len, struct arena *a, struct seen **seen, unsigned *n);

enum event_kind { EVENT_CHAT = 1, EVENT_JOINED = 2, EVENT_LEFT = 3, EVENT_PRIVATE = 4 };
struct event_record {
    uint64_t gate;
    enum event_kind kind;
    const char *from, *to, *text; /* never NULL */
};
struct blob *record_encode_event(const struct event_record *e);
enum err record_decode_event(const void *data, size_t len, struct arena *a, struct event_record *out);

#endif
