/* fanout.h - the one place that writes B, L, S and R lines.
 *
 * Rows become lines once per chunk that shows them; most sessions are sent the same bytes by reference. A session gets
 * lines of its own when it wrote one of the rows, has unanswered edits, or stands close to one: the lift.
 *
 * The lift: a B line for the cell of a client's head or feet, whatever it says, throws the client to the surface. Rows
 * within LIFT_BLOCKS of the last position therefore go last, and the same write ends with U and that position. */
#ifndef GATEWAY_FANOUT_H
#define GATEWAY_FANOUT_H

#include "gateway/state.h"

/* Rows of an owner, live or resumed: to every session that holds a chunk that shows them, but their author. */
void fanout_rows(struct gateway *g, const struct row *rows, unsigned n);
/* Rows of one block to one session: own chunk (always: even if it is not held) and the mirrors that it holds. */
void fanout_block(struct gateway *g, struct session *s, const struct row *rows, unsigned n, bool always);
/* A piece of a chunk's answer, to the session that asked for it. True when a row of it was held back. */
struct chunk_piece {
    struct chunk_pos chunk;
    const struct row *rows;
    unsigned n;
};
bool fanout_piece(struct gateway *g, struct session *s, const struct chunk_piece *piece);

#endif
