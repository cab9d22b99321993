#include "node/world/terrain.h"

#include <math.h>
#include <stdbool.h>

#include "proto/wire/coords.h"

/* How a chunk comes about: for each column, x outer and z inner, the client writes ground, then a plant, then a tree
 * (leaves that reach over neighbouring columns, trunk), then clouds. Later writes win. So a block is decided by the
 * last column that wrote to it:
 *
 *     trees of later columns  >  own trunk, own leaves  >  own plant or ground  >  trees of earlier columns
 *
 * terrain_block() asks in that order and stops at the first that answers. A tree never leaves its chunk. */
enum {
    GRASS = 1,
    SAND = 2,
    WOOD = 5,
    LEAVES = 15,
    CLOUD = 16,
    TALL_GRASS = 17,
    FLOWER = 18,
    SEA_LEVEL = 12,  /* no column is lower; sand up to here, grass above */
    GROUND_MAX = 48, /* no column is higher: trunc(f * trunc(32g + 16)), f and g at most a rounding above 1 */
    CROWN_RADIUS = 3,
    CROWN_BOTTOM = 3, /* above the ground */
    CROWN_TOP = 7,
    CROWN_MIDDLE = 4,
    CROWN_SQUARED = 11,
    TRUNK_TOP = 6,
    TREE_MARGIN = 4, /* from the chunk's edges */
    CLOUD_BOTTOM = 64,
    CLOUD_TOP = 71
};

static const uint8_t perm[256] = {
    151, 160, 137, 91,  90,  15,  131, 13,  201, 95,  96,  53,  194, 233, 7,   225, 140, 36,  103, 30,  69,  142,
    8,   99,  37,  240, 21,  10,  23,  190, 6,   148, 247, 120, 234, 75,  0,   26,  197, 62,  94,  252, 219, 203,
    117, 35,  11,  32,  57,  177, 33,  88,  237, 149, 56,  87,  174, 20,  125, 136, 171, 168, 68,  175, 74,  165,
    71,  134, 139, 48,  27,  166, 77,  146, 158, 231, 83,  111, 229, 122, 60,  211, 133, 230, 220, 105, 92,  41,
    55,  46,  245, 40,  244, 102, 143, 54,  65,  25,  63,  161, 1,   216, 80,  73,  209, 76,  132, 187, 208, 89,
    18,  169, 200, 196, 135, 130, 116, 188, 159, 86,  164, 100, 109, 198, 173, 186, 3,   64,  52,  217, 226, 250,
    124, 123, 5,   202, 38,  147, 118, 126, 255, 82,  85,  212, 207, 206, 59,  227, 47,  16,  58,  17,  182, 189,
    28,  42,  223, 183, 170, 213, 119, 248, 152, 2,   44,  154, 163, 70,  221, 153, 101, 155, 167, 43,  172, 9,
    129, 22,  39,  253, 19,  98,  108, 110, 79,  113, 224, 232, 178, 185, 112, 104, 218, 246, 97,  228, 251, 34,
    242, 193, 238, 210, 144, 12,  191, 179, 162, 241, 81,  51,  145, 235, 249, 14,  239, 107, 49,  192, 214, 31,
    181, 199, 106, 157, 184, 84,  204, 176, 115, 121, 50,  45,  127, 4,   150, 254, 138, 236, 205, 93,  222, 114,
    67,  29,  24,  72,  243, 141, 128, 195, 78,  66,  215, 61,  156, 180};

static const float gradient[12][3] = {{1, 1, 0},  {-1, 1, 0},  {1, -1, 0}, {-1, -1, 0}, {1, 0, 1},  {-1, 0, 1},
                                      {1, 0, -1}, {-1, 0, -1}, {0, 1, 1},  {0, -1, 1},  {0, 1, -1}, {0, -1, -1}};

/* The table repeats for ever: the index is taken modulo 256. */
static int hash(int k)
{
    return perm[k & 255];
}

/* Far out the lattice leaves the int range; the client's x86 conversion gives INT_MIN there, so 0 after the mask. */
static int lattice(float v)
{
    return v >= -2147483648.0f && v < 2147483648.0f ? (int)v & 255 : 0;
}

static float noise2(float x, float y)
{
    const float F = 0.3660254037844386f, G = 0.21132486540518713f;
    float s = (x + y) * F;
    float i = floorf(x + s), j = floorf(y + s);
    float t = (i + j) * G;
    float cx[3], cy[3];
    cx[0] = x - (i - t);
    cy[0] = y - (j - t);
    int i1 = cx[0] > cy[0], j1 = !i1;
    cx[1] = cx[0] - (float)i1 + G;
    cy[1] = cy[0] - (float)j1 + G;
    cx[2] = cx[0] + G * 2.0f - 1.0f;
    cy[2] = cy[0] + G * 2.0f - 1.0f;
    int I = lattice(i), J = lattice(j);
    const int g[3] = {hash(I + hash(J)) % 12, hash(I + i1 + hash(J + j1)) % 12, hash(I + 1 + hash(J + 1)) % 12};
    float part[3];
    for (int c = 0; c < 3; c++) {
        float f = 0.5f - cx[c] * cx[c] - cy[c] * cy[c];
        part[c] = f > 0 ? f * f * f * f * (gradient[g[c]][0] * cx[c] + gradient[g[c]][1] * cy[c]) : 0.0f;
    }
    return (part[0] + part[1] + part[2]) * 70.0f;
}

static float noise3(float x, float y, float z)
{
    static const uint8_t order[6][6] = {{1, 0, 0, 1, 1, 0}, {1, 0, 0, 1, 0, 1}, {0, 0, 1, 1, 0, 1},
                                        {0, 0, 1, 0, 1, 1}, {0, 1, 0, 0, 1, 1}, {0, 1, 0, 1, 1, 0}};
    const float F = 1.0f / 3.0f, G = 1.0f / 6.0f;
    float s = (x + y + z) * F;
    float i = floorf(x + s), j = floorf(y + s), k = floorf(z + s);
    float t = (i + j + k) * G;
    float at[4][3] = {{x - (i - t), y - (j - t), z - (k - t)}};
    float u = at[0][0], v = at[0][1], w = at[0][2];
    const uint8_t *o = u >= v ? (v >= w   ? order[0]
                                 : u >= w ? order[1]
                                          : order[2])
                              : (v < w   ? order[3]
                                 : u < w ? order[4]
                                         : order[5]);
    for (int c = 0; c < 3; c++) {
        at[1][c] = at[0][c] - (float)o[c] + G;
        at[2][c] = at[0][c] - (float)o[3 + c] + 2.0f * G;
        at[3][c] = at[0][c] - 1.0f + 3.0f * G;
    }
    int I = lattice(i), J = lattice(j), K = lattice(k);
    const int g[4] = {hash(I + hash(J + hash(K))) % 12, hash(I + o[0] + hash(J + o[1] + hash(K + o[2]))) % 12,
                      hash(I + o[3] + hash(J + o[4] + hash(K + o[5]))) % 12,
                      hash(I + 1 + hash(J + 1 + hash(K + 1))) % 12};
    float part[4];
    for (int c = 0; c < 4; c++) {
        const float *a = at[c], *d = gradient[g[c]];
        float f = 0.6f - a[0] * a[0] - a[1] * a[1] - a[2] * a[2];
        part[c] = f > 0 ? f * f * f * f * (a[0] * d[0] + a[1] * d[1] + a[2] * d[2]) : 0.0f;
    }
    return (part[0] + part[1] + part[2] + part[3]) * 32.0f;
}

float terrain_simplex2(float x, float y, int octaves, float persistence, float lacunarity)
{
    float freq = 1.0f, amp = 1.0f, max = 1.0f;
    float total = noise2(x, y);
    for (int k = 1; k < octaves; k++) {
        freq *= lacunarity;
        amp *= persistence;
        max += amp;
        total += noise2(x * freq, y * freq) * amp;
    }
    return (1 + total / max) / 2;
}

float terrain_simplex3(float x, float y, float z, int octaves, float persistence, float lacunarity)
{
    float freq = 1.0f, amp = 1.0f, max = 1.0f;
    float total = noise3(x, y, z);
    for (int k = 1; k < octaves; k++) {
        freq *= lacunarity;
        amp *= persistence;
        max += amp;
        total += noise3(x * freq, y * freq, z * freq) * amp;
    }
    return (1 + total / max) / 2;
}

/* simplex2(x, z; 6, 0.5, 2) > 0.84, given up as soon as the octaves to come cannot reach it: noise2 stays below 1, a
 * tenth more leaves room for rounding. Most columns are told by their first octave. */
static bool grows_tree(int32_t x, int32_t z)
{
    const float noise_max = 1.1f, sum_max = 1.96875f; /* 1 + 1/2 + ... + 1/32 */
    float freq = 1.0f, amp = 1.0f, max = 1.0f;
    float fx = (float)x, fz = (float)z;
    float total = noise2(fx, fz);
    for (int k = 1; k < 6; k++) {
        if (total + (sum_max - max) * noise_max < 0.68f * sum_max)
            return false;
        freq *= 2.0f;
        amp *= 0.5f;
        max += amp;
        total += noise2(fx * freq, fz * freq) * amp;
    }
    return (double)((1 + total / max) / 2) > 0.84;
}

static bool is_cloud(int32_t x, int32_t y, int32_t z)
{
    return (double)terrain_simplex3((float)(x * 0.01), (float)(y * 0.1), (float)(z * 0.01), 8, 0.5f, 2) > 0.75;
}

struct column {
    int height; /* the first y above the ground */
    int item;   /* of the ground */
};

static struct column column_at(int32_t x, int32_t z)
{
    float f = terrain_simplex2((float)(x * 0.01), (float)(z * 0.01), 4, 0.5f, 2);
    float g = terrain_simplex2((float)(-x * 0.01), (float)(-z * 0.01), 2, 0.9f, 2);
    int mh = (int)(g * 32 + 16);
    int h = (int)(f * (float)mh);
    return h <= SEA_LEVEL ? (struct column){SEA_LEVEL, SAND} : (struct column){h, GRASS};
}

/* The flower that stands on grass at (x,z), 0: none. */
static int flower_at(int32_t x, int32_t z)
{
    if ((double)terrain_simplex2((float)(x * 0.05), (float)(-z * 0.05), 4, 0.8f, 2) <= 0.7)
        return 0;
    return (int)(FLOWER + terrain_simplex2((float)(x * 0.1), (float)(z * 0.1), 4, 0.8f, 2) * 7);
}

static bool is_tall_grass(int32_t x, int32_t z)
{
    return (double)terrain_simplex2((float)(-x * 0.1), (float)(z * 0.1), 4, 0.8f, 2) > 0.6;
}

/* Is (ox,oz) off the trunk and dy above the tree's ground within the crown? */
static bool in_crown(int ox, int oz, int dy)
{
    int up = dy - CROWN_MIDDLE;
    return dy >= CROWN_BOTTOM && dy <= CROWN_TOP && ox * ox + oz * oz + up * up < CROWN_SQUARED;
}

/* Local coordinates of a column in its chunk: does a tree fit there? */
static bool tree_fits(int dx, int dz)
{
    const int last = CHUNK_SIZE - 1 - TREE_MARGIN;
    return dx >= TREE_MARGIN && dz >= TREE_MARGIN && dx <= last && dz <= last;
}

/* Does the tree of column (x-ox, z-oz), if there is one, have leaves here? */
static bool leaves_from(int32_t x, int32_t y, int32_t z, int ox, int oz)
{
    int32_t tx = x - ox, tz = z - oz;
    if (ox * ox + oz * oz >= CROWN_SQUARED || !tree_fits(tx & (CHUNK_SIZE - 1), tz & (CHUNK_SIZE - 1)))
        return false;
    struct chunk_pos own = chunk_of_block(x, z);
    if (!chunk_eq(own, chunk_of_block(tx, tz)) || !grows_tree(tx, tz))
        return false;
    struct column c = column_at(tx, tz);
    return c.item == GRASS && in_crown(ox, oz, y - c.height);
}

/* What the column itself has at y: ground, plant, its own tree. */
static int own_item(int32_t x, int32_t y, int32_t z)
{
    struct column c = column_at(x, z);
    if (c.item == GRASS && y >= c.height && y <= c.height + CROWN_TOP &&
        tree_fits(x & (CHUNK_SIZE - 1), z & (CHUNK_SIZE - 1)) && grows_tree(x, z))
        return y <= c.height + TRUNK_TOP ? WOOD : LEAVES;
    if (y < c.height)
        return c.item;
    if (y > c.height || c.item != GRASS)
        return 0;
    int flower = flower_at(x, z);
    return flower ? flower : is_tall_grass(x, z) ? TALL_GRASS : 0;
}

int terrain_block(int32_t x, int32_t y, int32_t z)
{
    if (y >= CLOUD_BOTTOM && y <= CLOUD_TOP)
        return is_cloud(x, y, z) ? CLOUD : 0;
    if (y > GROUND_MAX + CROWN_TOP)
        return 0;
    if (y <= SEA_LEVEL + CROWN_BOTTOM) /* trees stand on grass, above the sea: no leaves down here */
        return own_item(x, y, z);
    /* From the last column that may reach here to the first. */
    for (int k = CROWN_RADIUS; k >= -CROWN_RADIUS; k--) {
        for (int m = CROWN_RADIUS; m >= -CROWN_RADIUS; m--) {
            if (k == 0 && m == 0) {
                int item = own_item(x, y, z);
                if (item)
                    return item;
            } else if (leaves_from(x, y, z, -k, -m)) {
                return LEAVES;
            }
        }
    }
    return 0;
}

static void write_tree(int32_t x, int h, int32_t z, terrain_write *write, void *arg)
{
    for (int y = h + CROWN_BOTTOM; y <= h + CROWN_TOP; y++) {
        for (int ox = -CROWN_RADIUS; ox <= CROWN_RADIUS; ox++) {
            for (int oz = -CROWN_RADIUS; oz <= CROWN_RADIUS; oz++) {
                if (in_crown(ox, oz, y - h))
                    write(x + ox, y, z + oz, LEAVES, arg);
            }
        }
    }
    for (int y = h; y <= h + TRUNK_TOP; y++)
        write(x, y, z, WOOD, arg);
}

void terrain_chunk(int32_t p, int32_t q, terrain_write *write, void *arg)
{
    for (int dx = -1; dx <= CHUNK_SIZE; dx++) {
        for (int dz = -1; dz <= CHUNK_SIZE; dz++) {
            bool padding = dx < 0 || dz < 0 || dx >= CHUNK_SIZE || dz >= CHUNK_SIZE;
            int sign = padding ? -1 : 1;
            int32_t x = p * CHUNK_SIZE + dx, z = q * CHUNK_SIZE + dz;
            struct column c = column_at(x, z);
            for (int y = 0; y < c.height; y++)
                write(x, y, z, c.item * sign, arg);
            if (c.item == GRASS) {
                int flower = flower_at(x, z);
                if (is_tall_grass(x, z))
                    write(x, c.height, z, TALL_GRASS * sign, arg);
                if (flower)
                    write(x, c.height, z, flower * sign, arg);
                if (tree_fits(dx, dz) && grows_tree(x, z))
                    write_tree(x, c.height, z, write, arg);
            }
            for (int y = CLOUD_BOTTOM; y <= CLOUD_TOP; y++) {
                if (is_cloud(x, y, z))
                    write(x, y, z, CLOUD * sign, arg);
            }
        }
    }
}
