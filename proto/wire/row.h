/* row.h - one stored fact about the world: a block, a light or a sign.
 *
 * Rows travel unchanged from the owner's memory to the journal, the store, the
 * followers and the gateways. A missing row means generated terrain (block), no
 * light, no sign. A row with w = 0 (or an empty text) is a tombstone, and stays. */
#ifndef PROTO_WIRE_ROW_H
#define PROTO_WIRE_ROW_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/wire/coords.h"

enum {
    SIGN_TEXT_MAX = 48, /* characters that a player may write */
    SIGN_FACES = 8,
    KEY_MAX = INT32_MAX,           /* a chunk whose key reached this is always answered in full */
    EDIT_ROWS_MAX = 2 + SIGN_FACES /* a break writes the block, its light and its signs */
};

enum row_kind { ROW_BLOCK = 0, ROW_LIGHT = 1, ROW_SIGN = 2 };

/* A player's session, for ever unique: the gateway's incarnation and a count. gate 0: nobody. */
struct session_id {
    uint64_t gate;
    uint64_t count;
};

struct row {
    struct block_pos at;
    uint8_t kind;             /* enum row_kind */
    uint8_t face;             /* signs only */
    int16_t w;                /* block: item; light: 0..15; signs: 0 */
    uint32_t key;             /* blocks: the chunk's key at this change; else 0 */
    uint64_t rev;             /* the cell's revision at this change */
    const char *text;         /* signs: never NULL, "" when removed; else NULL. Owned by whoever the row came from. */
    struct session_id author; /* who made the change, when it is told live or journalled; else gate 0 */
    uint64_t seq;             /* the author's number of the edit */
};

static inline bool session_eq(struct session_id a, struct session_id b)
{
    return a.gate == b.gate && a.count == b.count;
}

/* Is this a row that may exist: kind, w, face, y, text (length and characters 32..126), position? */
bool row_valid(const struct row *r);

#endif
