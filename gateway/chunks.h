/* chunks.h - answers to C lines.
 *
 * A chunk is answered in parts, one by the owner of each cell that it shows; each piece is passed on as it comes, and
 * C,p,q ends the whole. Parts of cells without an owner wait for one. A session has a bounded number of parts asked for
 * at a time, and none more while its socket is slow, so that a built-up world cannot flood it. */
#ifndef GATEWAY_CHUNKS_H
#define GATEWAY_CHUNKS_H

#include "gateway/state.h"

enum part_state { PART_PARKED, PART_READY, PART_ASKED };

struct part {
    uint64_t request; /* the hash key; a new one each time it is asked */
    enum part_state state;
    struct hold *hold;
    struct area *area;
    unsigned slot;   /* in hold->parts */
    uint32_t key;    /* what the client has */
    uint32_t newest; /* the chunk's key, once told */
    bool own;        /* the part of the chunk's own cell */
    bool held_back;  /* a row of it was: its key may not be told */
    uint64_t asked_ms;
    UT_hash_handle hh;
    struct part *prev, *next;             /* of the area */
    struct part *ready_prev, *ready_next; /* of the session */
};

void chunks_ask(struct gateway *g, struct session *s, struct chunk_pos at, int32_t key);
void chunks_part(struct gateway *g, uint64_t link, uint64_t request, const struct msg_chunk_part *p,
                 const struct row *rows, unsigned n);
void chunks_granted(struct gateway *g, struct area *a);
void chunks_lost(struct area *a);
void chunks_cancel(struct gateway *g, struct hold *h); /* the hold goes away */
void chunks_tick(struct gateway *g, struct session *s);
void chunks_sweep(struct gateway *g, struct area *a); /* asks again what got no answer */

#endif
