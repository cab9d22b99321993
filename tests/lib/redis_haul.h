/* redis_haul.h - Redis as a measure: how long two of them take to move so many bytes between each other.
 *
 * Hashes with a field for each row, told by DUMP and taken by RESTORE over loopback, nothing written to disk: what a
 * handoff of as many cells with as many rows is compared with. Both servers are the call's own. */
#ifndef TESTS_LIB_REDIS_HAUL_H
#define TESTS_LIB_REDIS_HAUL_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/lib/proc.h"

/* As near to want_bytes as whole values come. False: a server failed. */
bool redis_haul(struct lab *l, unsigned cells, unsigned rows, uint64_t want_bytes, uint64_t *bytes, double *seconds);

#endif
