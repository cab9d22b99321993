/* balance.h - how much of a node's load should go elsewhere, where to, and how much a node may hold.
 *
 * Every node that is running computes it from the same list, twice a second. A node well above the mean gives to the
 * ones below it, in proportion to what each lacks and to its own share of what is too much, so that several givers do
 * not flood one taker. Small differences are left alone: a steady cluster moves nothing. The caller brings the list up
 * to date first: what it holds itself, and what it gave lately to others, the list does not know yet. Pure. */
#ifndef NODE_OWN_BALANCE_H
#define NODE_OWN_BALANCE_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/redis/coord.h"

struct balance {
    uint64_t target;  /* 0: nothing to do */
    uint32_t load;    /* how much to give, about */
    uint32_t one_max; /* a single cell may weigh so much, if no lighter one does: the target stays below the giver */
};

struct balance balance_choose(const struct coord_member *members, unsigned n, uint64_t me);

/* May a node with so much load take so much more? Up to twice its share of all that there is, whoever holds it: what
 * those hold who leave counts. A cluster that is too small for its load so fills evenly, and no node alone. */
bool balance_has_room(const struct coord_member *members, unsigned n, uint64_t load, uint64_t more);

#endif
