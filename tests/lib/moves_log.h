/* moves_log.h - the handoffs of a cluster, as the logs of its nodes tell of them: also of nodes that have ended. */
#ifndef TESTS_LIB_MOVES_LOG_H
#define TESTS_LIB_MOVES_LOG_H

#include <stdint.h>

#include "tests/lib/cluster.h"
#include "tests/lib/latency.h"

struct moves {
    struct latency *freeze, *handoff;
    uint64_t moved, aborted, rows;
};

struct moves moves_read(const struct cluster *c); /* of all its nodes, since they were first started */
void moves_free(struct moves *m);
uint64_t moves_count(const struct cluster *c);

#endif
