/* terrain.h - the generated ground, identical to the client's.
 *
 * Simplex noise in IEEE single precision (Gustavson's algorithm with Perlin's
 * permutation, which Craft never reseeds): every Craft world has the same
 * terrain. Needs -ffp-contract=off and no fast-math. Pure. */
#ifndef NODE_WORLD_TERRAIN_H
#define NODE_WORLD_TERRAIN_H

#include <stdint.h>

float terrain_simplex2(float x, float y, int octaves, float persistence, float lacunarity);
float terrain_simplex3(float x, float y, float z, int octaves, float persistence, float lacunarity);

/* The item at a block where nobody ever changed anything: 0 is air. 0 < y < 256. A few microseconds. */
int terrain_block(int32_t x, int32_t y, int32_t z);

/* Generates a whole chunk, padding included, in the client's order of writes. For tests and bots. */
typedef void terrain_write(int32_t x, int32_t y, int32_t z, int w, void *arg);
void terrain_chunk(int32_t p, int32_t q, terrain_write *write, void *arg);

#endif
