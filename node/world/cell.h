/* cell.h - the blocks, lights and signs of one owned cell.
 *
 * Two layers. Committed rows are acknowledged: they are what is answered,
 * snapshotted and flushed. Pending rows belong to edits that are in no answered
 * append yet; only judging sees them, laid over the committed ones. rev counts
 * the cell's changes; each change of a block takes the next key of its chunk.
 * Neither ever goes back.
 *
 * Pure; owned by the node's directory entry of the cell; one thread. */
#ifndef NODE_WORLD_CELL_H
#define NODE_WORLD_CELL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/arena.h"
#include "proto/wire/msg.h"

struct cell;
struct cell *cell_new(struct cell_pos at);
void cell_free(struct cell *c); /* NULL is fine */

/* ---- loading ---- */
/* A row from the store or the journal: kept if its rev is above the one that we have for that block, light or sign.
 * ERR_BAD: not of this cell, or not valid. mark_dirty: the store does not have it. */
enum err cell_load_row(struct cell *c, const struct row *r, bool mark_dirty);
/* At least so much from now on (the store's cell row; a world whose generation went on). */
void cell_raise(struct cell *c, uint64_t rev, uint32_t key_floor);
uint64_t cell_rev(const struct cell *c); /* committed */
uint32_t cell_key_floor(const struct cell *c);
uint32_t cell_key_max(const struct cell *c); /* the highest key of any of its chunks, the floor included */

/* ---- editing ---- */
/* Judges e against committed rows with pending ones over them, else terrain. Returns true when accepted: the rows that
 * it writes (block, and for a break also its light and signs) are now pending, and rows[0..*n) are they, with rev, key,
 * author and seq; their texts live in a. False: *why says why; nothing changed. */
bool cell_judge(struct cell *c, const struct edit *e, struct arena *a, struct row rows[EDIT_ROWS_MAX], unsigned *n,
                enum refusal *why);
/* The oldest n pending rows became acknowledged, in order. */
void cell_commit(struct cell *c, const struct row *rows, unsigned n);
unsigned cell_pending(const struct cell *c); /* rows */

/* ---- reading: committed rows only ---- */
/* The caller's function gets rows that are good until it returns. */
typedef void cell_each(const struct row *r, void *arg);
/* What chunk at holds of its own: blocks with key above key (all, when key is above the chunk's newest, or the chunk
 * reached KEY_MAX), all lights, all signs, tombstones too. Returns the chunk's newest key (0: it has no block rows). */
uint32_t cell_chunk_rows(const struct cell *c, struct chunk_pos at, uint32_t key, cell_each *each, void *arg);
/* Block rows of this cell that chunk at shows as mirrors. at may be in this cell or a neighbour of it. */
void cell_mirror_rows(const struct cell *c, struct chunk_pos at, cell_each *each, void *arg);
/* Every row with rev above rev, in the order of their revs: what was got before a link broke is a good place to go on.
 */
void cell_rows_above(const struct cell *c, uint64_t rev, cell_each *each, void *arg);
/* Gives about max rows, any rev, from where *cursor is (0 to begin), and moves it on; false: there are no more. Rows
 * that change or come meanwhile may be given or not: whoever copies a cell is told of those as they are committed. */
bool cell_scan(const struct cell *c, uint64_t *cursor, unsigned max, cell_each *each, void *arg);
/* The block at a place as it is: its block row (a synthetic one with rev 0, key 0 and the terrain's item when there is
 * no row), then its light row and sign rows if there are any. Returns how many, at most EDIT_ROWS_MAX; texts live in a.
 */
unsigned cell_block_now(const struct cell *c, struct block_pos at, struct arena *a, struct row rows[EDIT_ROWS_MAX]);
size_t cell_rows(const struct cell *c);  /* how many rows are held */
size_t cell_bytes(const struct cell *c); /* memory, roughly */

/* ---- flushing ---- */
/* Rows that changed since the store had them: at most max are given (texts in a); returns how many. The same rows are
 * given again until cell_flushed(). A row that changes again meanwhile stays dirty. */
unsigned cell_dirty_rows(const struct cell *c, struct arena *a, struct row *rows, unsigned max);
unsigned cell_dirty(const struct cell *c);                             /* how many */
void cell_flushed(struct cell *c, const struct row *rows, unsigned n); /* the store has these */

#endif
