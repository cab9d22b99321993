/* craft_map.h - one chunk as a Craft client has it: memory and cache file in one.
 *
 * The client's map is its generated terrain with the cached rows over it, and
 * every row that it hears or makes goes into both. So only rows are kept here;
 * the terrain is implied, its neighbours' border columns negated. Pure. */
#ifndef TESTS_LIB_CRAFT_MAP_H
#define TESTS_LIB_CRAFT_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/wire/row.h"

struct craft_map;
struct craft_map *craft_map_new(struct chunk_pos at);
void craft_map_free(struct craft_map *m); /* NULL is fine */
size_t craft_map_bytes(const struct craft_map *m);

/* Is the column the chunk's own, or of the one-column border around it? Everything below wants one of these. */
bool craft_map_own(struct chunk_pos c, struct block_pos at);
bool craft_map_border(struct chunk_pos c, struct block_pos at);

int craft_map_block(const struct craft_map *m, struct block_pos at); /* negative: a neighbour's block */
int craft_map_light(const struct craft_map *m, struct block_pos at);
const char *craft_map_sign(const struct craft_map *m, struct block_pos at, int face); /* "": none */

/* True when it changed something. */
bool craft_map_set_block(struct craft_map *m, struct block_pos at, int w);
bool craft_map_set_light(struct craft_map *m, struct block_pos at, int w);
bool craft_map_set_sign(struct craft_map *m, struct block_pos at, int face, const char *text);
void craft_map_drop_signs(struct craft_map *m, const struct block_pos *at); /* of one block; NULL: all */

/* The world as it is: gives the rows of chunk c's own blocks, lights and signs. */
typedef void craft_map_each(const struct row *r, void *arg);
typedef void craft_map_world(void *world, struct chunk_pos c, craft_map_each *each, void *arg);
/* How many blocks, mirrors, lights and signs are not as they are in the world; why: the first of them, when there is
 * one. */
unsigned craft_map_differs(const struct craft_map *m, craft_map_world *rows, void *world, char *why, size_t why_bytes);

#endif
