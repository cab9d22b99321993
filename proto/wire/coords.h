/* coords.h - block, chunk and cell: where a thing is and who owns it.
 *
 * A chunk is 32x32 columns, all heights. A cell is CELL_CHUNKS x CELL_CHUNKS
 * chunks: the unit of ownership and handoff. All divisions round down, so the
 * negative side of the world works like the positive one. */
#ifndef PROTO_WIRE_COORDS_H
#define PROTO_WIRE_COORDS_H

#include <stdbool.h>
#include <stdint.h>

enum {
    CHUNK_SIZE = 32,
    CELL_CHUNKS = 4, /* a constant of a world, stored with it */
    CELL_SIZE = CHUNK_SIZE * CELL_CHUNKS,
    BLOCK_Y_MAX = 255,         /* blocks have 0 < y <= BLOCK_Y_MAX */
    COORD_MAX = (1 << 30) - 1, /* largest |x|, |z| of a block: every derived number fits an int32 */
    CHUNK_MAX = COORD_MAX / CHUNK_SIZE,
    MIRRORS_MAX = 3,
    CHUNK_CELLS_MAX = 4 /* a chunk touches at most this many cells, its own included */
};

struct block_pos {
    int32_t x, y, z;
};
struct chunk_pos {
    int32_t p, q;
};
struct cell_pos {
    int32_t i, j;
};

struct chunk_pos chunk_of_block(int32_t x, int32_t z);
struct cell_pos cell_of_chunk(struct chunk_pos c);
struct cell_pos cell_of_block(int32_t x, int32_t z);
/* The chunk of a position in the air: columns are centred on whole numbers. v must be within COORD_MAX. */
struct chunk_pos chunk_of_place(float x, float z);

bool chunk_eq(struct chunk_pos a, struct chunk_pos b);
bool cell_eq(struct cell_pos a, struct cell_pos b);
/* One 64-bit number for a chunk or cell, for hash keys. */
uint64_t chunk_id(struct chunk_pos c);
uint64_t cell_id(struct cell_pos c);

bool block_in_world(int32_t x, int32_t z); /* |x|, |z| <= COORD_MAX */
bool chunk_in_world(struct chunk_pos c);   /* every block of it and of its neighbours is in the world */

/* The neighbouring chunks that draw a border of block (x,z)'s column: none inside a
 * chunk, one on an edge, three in a corner. out has room for MIRRORS_MAX. */
unsigned chunk_mirrors(int32_t x, int32_t z, struct chunk_pos *out);

/* The cells whose blocks chunk c shows: its own first, then those that it
 * borders. out has room for CHUNK_CELLS_MAX; returns 1, 2 or 4. */
unsigned chunk_cells(struct chunk_pos c, struct cell_pos *out);

#endif
