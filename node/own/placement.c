#include "node/own/placement.h"

#include <stdbool.h>
#include <string.h>

enum { SIDES = 4, SIDE_WEIGHT = 2, CORNER_WEIGHT = 1 };

void placement_neighbours(struct cell_pos at, struct cell_pos out[NEIGHBOURS])
{
    static const int8_t step[NEIGHBOURS][2] = {{-1, 0}, {1, 0}, {0, -1}, {0, 1}, {-1, -1}, {-1, 1}, {1, -1}, {1, 1}};
    for (unsigned k = 0; k < NEIGHBOURS; k++)
        out[k] = (struct cell_pos){at.i + step[k][0], at.j + step[k][1]};
}

/* splitmix64's finaliser: a good mixer of one word (Steele, Lea and Flood). */
static uint64_t mix(uint64_t v)
{
    v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9u;
    v = (v ^ v >> 27) * 0x94d049bb133111ebu;
    return v ^ v >> 31;
}

static int32_t region(int32_t v)
{
    return v >= 0 ? v / REGION_CELLS : -((-v + REGION_CELLS - 1) / REGION_CELLS);
}

static unsigned contiguity(uint64_t node, const uint64_t owners[NEIGHBOURS])
{
    unsigned score = 0;
    for (unsigned k = 0; k < NEIGHBOURS; k++) {
        if (owners[k] == node)
            score += k < SIDES ? SIDE_WEIGHT : CORNER_WEIGHT;
    }
    return score;
}

/* Well above the mean: a quarter more, and by more than a few cells. */
enum { SLACK = 3 * LOAD_CELL };

static bool overloaded(uint32_t load, uint64_t sum, unsigned n)
{
    return (uint64_t)load * n * 4 > sum * 5 + (uint64_t)SLACK * n * 4;
}

uint64_t placement_choose(struct cell_pos at, const struct coord_member *members, unsigned n_members,
                          const uint64_t owners[NEIGHBOURS])
{
    uint64_t sum = 0;
    unsigned running = 0;
    for (unsigned k = 0; k < n_members; k++) {
        if (members[k].self.state == NODE_RUNNING) {
            sum += members[k].self.load;
            running++;
        }
    }
    uint64_t where = cell_id((struct cell_pos){region(at.i), region(at.j)});
    const struct coord_member *best = NULL;
    unsigned best_score = 0;
    uint64_t best_hash = 0;
    bool best_over = false;
    for (unsigned k = 0; k < n_members; k++) {
        const struct coord_member *m = &members[k];
        if (m->self.state != NODE_RUNNING)
            continue;
        bool over = overloaded(m->self.load, sum, running);
        unsigned score = over ? 0 : contiguity(m->id, owners);
        uint64_t hash = mix(mix(where) ^ m->id);
        bool better = !best || (best_over && !over) ||
                      (best_over == over && (score > best_score || (score == best_score && hash > best_hash)));
        if (better) {
            best = m;
            best_score = score;
            best_hash = hash;
            best_over = over;
        }
    }
    return best ? best->id : 0;
}
