#include "node/own/balance.h"

#include <stdbool.h>

#include "node/own/placement.h"

/* Above the mean by less than a tenth, or by less than two cells with a player each, is even enough. */
enum { TENTHS = 1, SMALL = 2 * (LOAD_CELL + LOAD_PLAYER) };

static bool takes_part(const struct coord_member *m)
{
    return m->self.state == NODE_RUNNING;
}

struct balance balance_choose(const struct coord_member *members, unsigned n, uint64_t me)
{
    uint64_t sum = 0, mine = 0, running = 0;
    bool here = false;
    for (unsigned k = 0; k < n; k++) {
        if (!takes_part(&members[k]))
            continue;
        sum += members[k].self.load;
        running++;
        if (members[k].id == me) {
            mine = members[k].self.load;
            here = true;
        }
    }
    if (!here || running < 2)
        return (struct balance){0};
    uint64_t mean = sum / running;
    if (mine <= mean + mean * TENTHS / 10 || mine <= mean + SMALL)
        return (struct balance){0};
    uint64_t excess = 0, lack = 0;
    const struct coord_member *least = NULL;
    for (unsigned k = 0; k < n; k++) {
        const struct coord_member *m = &members[k];
        if (!takes_part(m))
            continue;
        if (m->self.load > mean)
            excess += m->self.load - mean;
        else
            lack += mean - m->self.load;
        if (m->id != me &&
            (!least || m->self.load < least->self.load || (m->self.load == least->self.load && m->id < least->id)))
            least = m;
    }
    if (!least || least->self.load >= mean || !excess || !lack)
        return (struct balance){0};
    uint64_t share = (mean - least->self.load) * (mine - mean) / excess, own = mine - mean;
    return (struct balance){least->id, (uint32_t)(share < own ? share : own)};
}
