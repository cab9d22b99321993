/* balance.h - how much of a node's load should go elsewhere, and where to.
 *
 * Every node that is running computes it from the same list, once a second. A node well above the mean gives to the
 * ones below it, in proportion to what each lacks and to its own share of what is too much, so that several givers do
 * not flood one taker. Small differences are left alone: a steady cluster moves nothing. Pure. */
#ifndef NODE_OWN_BALANCE_H
#define NODE_OWN_BALANCE_H

#include <stdint.h>

#include "proto/redis/coord.h"

struct balance {
    uint64_t target; /* 0: nothing to do */
    uint32_t load;   /* how much to give, about */
};

struct balance balance_choose(const struct coord_member *members, unsigned n, uint64_t me);

#endif
