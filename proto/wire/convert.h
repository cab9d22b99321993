/* convert.h - what msg.c and record.c share: protobuf's structs checked and made plain, and back.
 *
 * Inside proto/wire only. Reading functions return false for what may not be;
 * strings that they give live in the arena that the protobuf was unpacked into. */
#ifndef PROTO_WIRE_CONVERT_H
#define PROTO_WIRE_CONVERT_H

#include <protobuf-c/protobuf-c.h>

#include "cluster.pb-c.h"
#include "proto/base/arena.h"
#include "proto/base/blob.h"
#include "proto/wire/msg.h"
#include "proto/wire/place.h"
#include "proto/wire/row.h"

/* protobuf-c's allocator over an arena, with a budget: two bytes on the wire can ask for a hundred in memory. */
struct unpack_memory {
    struct arena *arena;
    size_t left;
};
enum { UNPACK_BYTES_MAX = 32 << 20 };
ProtobufCAllocator unpack_allocator(struct unpack_memory *m);

/* At most max bytes, all of them 32..126. */
bool text_valid(const char *text, size_t max);
/* text itself when it is valid, else a cut copy with '?' for what clients cannot show. */
const char *text_showable(struct arena *a, const char *text, size_t max);

bool cell_from_pb(const Spotcraft__Cell *in, struct cell_pos *out);
bool session_from_pb(const Spotcraft__Session *in, struct session_id *out); /* somebody: gate is not 0 */
bool place_from_pb(const Spotcraft__Pos *in, struct place *out);
bool row_from_pb(const Spotcraft__Row *in, struct row *out);
/* All of them, at most max, into a new array; *why says what is wrong. */
bool rows_from_pb(struct arena *a, Spotcraft__Row *const *in, size_t n, size_t max, struct row **out, unsigned *n_out,
                  const char **why);

Spotcraft__Cell *cell_to_pb(struct arena *a, struct cell_pos c);
Spotcraft__Session *session_to_pb(struct arena *a, struct session_id s);
Spotcraft__Pos *place_to_pb(struct arena *a, const struct place *p);
Spotcraft__Row **rows_to_pb(struct arena *a, const struct row *rows, unsigned n);

/* A player who enters, by himself (msg.c) or with his cell (msg_handoff.c). NULL, or what is wrong. */
const char *enter_from_pb(const Spotcraft__Enter *in, struct msg_enter *out);
Spotcraft__Enter *enter_to_pb(struct arena *a, const struct msg_enter *in);

/* The bodies from Offer to Got. NULL, or what is wrong. */
const char *handoff_from_pb(const Spotcraft__Envelope *e, struct arena *a, struct msg *out);
void handoff_to_pb(struct arena *a, const struct msg *m, Spotcraft__Envelope *e);

/* The bodies from StatusGet to Done, likewise. */
const char *control_from_pb(const Spotcraft__Envelope *e, struct msg *out);
void control_to_pb(struct arena *a, const struct msg *m, Spotcraft__Envelope *e);

struct blob *blob_of_pb(const ProtobufCMessage *m);

#endif
