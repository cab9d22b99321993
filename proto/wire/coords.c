#include "proto/wire/coords.h"

#include <math.h>

static int32_t floor_div(int32_t a, int32_t b)
{
    int32_t d = a / b;
    return a % b < 0 ? d - 1 : d;
}

struct chunk_pos chunk_of_block(int32_t x, int32_t z)
{
    return (struct chunk_pos){floor_div(x, CHUNK_SIZE), floor_div(z, CHUNK_SIZE)};
}

struct cell_pos cell_of_chunk(struct chunk_pos c)
{
    return (struct cell_pos){floor_div(c.p, CELL_CHUNKS), floor_div(c.q, CELL_CHUNKS)};
}

struct cell_pos cell_of_block(int32_t x, int32_t z)
{
    return cell_of_chunk(chunk_of_block(x, z));
}

struct chunk_pos chunk_of_place(float x, float z)
{
    return chunk_of_block((int32_t)lrintf(x), (int32_t)lrintf(z));
}

bool chunk_eq(struct chunk_pos a, struct chunk_pos b)
{
    return a.p == b.p && a.q == b.q;
}

bool cell_eq(struct cell_pos a, struct cell_pos b)
{
    return a.i == b.i && a.j == b.j;
}

uint64_t chunk_id(struct chunk_pos c)
{
    return (uint64_t)(uint32_t)c.p << 32 | (uint32_t)c.q;
}

uint64_t cell_id(struct cell_pos c)
{
    return (uint64_t)(uint32_t)c.i << 32 | (uint32_t)c.j;
}

bool block_in_world(int32_t x, int32_t z)
{
    return x >= -COORD_MAX && x <= COORD_MAX && z >= -COORD_MAX && z <= COORD_MAX;
}

bool chunk_in_world(struct chunk_pos c)
{
    const int32_t max = CHUNK_MAX - 2;
    return c.p >= -max && c.p <= max && c.q >= -max && c.q <= max;
}

unsigned chunk_mirrors(int32_t x, int32_t z, struct chunk_pos *out)
{
    struct chunk_pos own = chunk_of_block(x, z);
    unsigned n = 0;
    for (int32_t dx = -1; dx <= 1; dx++) {
        for (int32_t dz = -1; dz <= 1; dz++) {
            struct chunk_pos c = {own.p + dx, own.q + dz};
            if (dx == 0 && dz == 0)
                continue;
            if (dx != 0 && chunk_of_block(x + dx, z).p == own.p)
                continue;
            if (dz != 0 && chunk_of_block(x, z + dz).q == own.q)
                continue;
            out[n++] = c;
        }
    }
    return n;
}

unsigned chunk_cells(struct chunk_pos c, struct cell_pos *out)
{
    unsigned n = 0;
    out[n++] = cell_of_chunk(c);
    for (int32_t dp = -1; dp <= 1; dp++) {
        for (int32_t dq = -1; dq <= 1; dq++) {
            struct cell_pos cell = cell_of_chunk((struct chunk_pos){c.p + dp, c.q + dq});
            bool known = false;
            for (unsigned k = 0; k < n; k++)
                known = known || cell_eq(out[k], cell);
            if (!known)
                out[n++] = cell;
        }
    }
    return n;
}
