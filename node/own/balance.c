#include "node/own/balance.h"

#include "node/own/load.h"

/* Above the mean by less than a tenth, or by less than two cells with a player each, is even enough. */
enum { TENTHS = 1, SMALL = 2 * (LOAD_CELL + LOAD_PLAYER) };
enum { SHARES_MAX = 2, ROOM_SLACK = 512 };

static bool takes_part(const struct coord_member *m)
{
    return m->self.state == NODE_RUNNING;
}

static uint32_t least_of(uint64_t a, uint64_t b)
{
    return (uint32_t)(a < b ? a : b);
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
    uint64_t share = (mean - least->self.load) * (mine - mean) / excess;
    return (struct balance){least->id, least_of(share, mine - mean), (uint32_t)((mine - least->self.load) / 2)};
}

bool balance_has_room(const struct coord_member *members, unsigned n, uint64_t load, uint64_t more)
{
    uint64_t sum = 0, running = 0;
    for (unsigned k = 0; k < n; k++) {
        sum += members[k].self.load;
        running += takes_part(&members[k]);
    }
    return !running || (load + more) * running <= SHARES_MAX * sum + ROOM_SLACK * running;
}
