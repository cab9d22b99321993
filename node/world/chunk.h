/* chunk.h - the committed rows of one chunk, kept small.
 *
 * A row takes 16 bytes, in an array in the order of first change, and 4 more in
 * an index keyed by where it lies. Rows are never removed (a broken block is a
 * row too), so their numbers are good for ever: the lists of what is dirty and
 * of what lies on a border hold numbers, not pointers.
 *
 * Pure; owned by its cell; one thread. */
#ifndef NODE_WORLD_CHUNK_H
#define NODE_WORLD_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/arena.h"
#include "proto/wire/row.h"

struct chunk;
struct chunk *chunk_new(struct chunk_pos at);
void chunk_free(struct chunk *c); /* NULL is fine */

/* Puts r, a valid row of this chunk, unless the one held is as new: then false. dirty: the store does not have r. */
bool chunk_put(struct chunk *c, const struct row *r, bool dirty);
/* The row of a block, light or sign (face: 0 but for signs). False: there is none. */
bool chunk_get(const struct chunk *c, enum row_kind kind, struct block_pos at, uint8_t face, struct row *out);
bool chunk_has_signs(const struct chunk *c);

uint64_t chunk_rev(const struct chunk *c); /* of its newest row */
uint32_t chunk_key(const struct chunk *c); /* its newest; 0: it has no block rows */
size_t chunk_count(const struct chunk *c);
size_t chunk_bytes(const struct chunk *c);

/* Rows are numbered from 0 to below chunk_rows(kind), for ever. */
uint32_t chunk_rows(const struct chunk *c, enum row_kind kind);
struct row chunk_row(const struct chunk *c, enum row_kind kind, uint32_t number);
/* The next row of that kind, from number on, with rev above rev or (blocks) key above key. Returns chunk_rows() at the
 * end. */
uint32_t chunk_next_above_rev(const struct chunk *c, enum row_kind kind, uint32_t number, uint64_t rev);
uint32_t chunk_next_above_key(const struct chunk *c, uint32_t number, uint32_t key);

/* The block rows that neighbour n, one of the eight, shows as mirrors. Touches only rows on that border. */
typedef void chunk_each(const struct row *r, void *arg);
void chunk_border_rows(const struct chunk *c, struct chunk_pos n, chunk_each *each, void *arg);

unsigned chunk_dirty(const struct chunk *c);
/* The oldest dirty rows, at most max, texts in a. */
unsigned chunk_dirty_rows(const struct chunk *c, struct arena *a, struct row *rows, unsigned max);
/* The store has r: clean, unless it changed since. */
void chunk_flushed(struct chunk *c, const struct row *r);

#endif
