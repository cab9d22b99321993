/* told.h - which blocks clients were lately told of.
 *
 * A line about a block and the client's own edit of it can pass each other on the wire: the client edits, then reads
 * the older line, and shows that for ever, as accepted edits are not echoed. So an edit of a block that its author was
 * told of a moment ago is echoed after all. The log is kept per chunk, for all who hold it; of chunk answers only the
 * time is kept. */
#ifndef GATEWAY_TOLD_H
#define GATEWAY_TOLD_H

#include "gateway/interest.h"

enum { TOLD_MS = 5000 /* a line has surely been read after this */ };

struct told_block {
    struct block_pos at;
    uint64_t ms;
};

/* Holders of chunk c are told of the block now, of its mirror perhaps. c may be NULL: nobody holds it. */
void told_note(struct gateway *g, struct shown_chunk *c, struct block_pos at);
/* The session is told rows of this chunk now, in answer to its question. */
void told_answer(struct gateway *g, struct session *s, struct chunk_pos at);
/* May a line about the block still be on its way to the session? */
bool told_lately(struct gateway *g, struct session *s, struct block_pos at);

#endif
