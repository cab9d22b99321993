/* check.h - the promises, watched at every step.
 *
 * The check sees what Redis's model takes, what leaves the nodes, and what the
 * store holds, and keeps a ledger of every change that a journal ever took:
 *
 *   at an append      one owner per epoch, epochs and batches only forward, revisions and keys only up; each
 *                     author's edits in his order, each once
 *   at a node's word  an acceptance, or a row, is told only after its journal took it, and as it took it
 *   at a trim         what leaves the journal is in the store
 *   at the end        the newest of every told change is in journal or store; see sim.c for what clients see
 *
 * Where Redis itself went back, what it forgot and nobody was told of may be forgotten: the ledger of a cell is then
 * read anew from journal and store. */
#ifndef TESTS_SIM_CHECK_H
#define TESTS_SIM_CHECK_H

#include "node/store/store.h"
#include "proto/redis/coord.h"
#include "tests/lib/craft_map.h"
#include "tests/sim/hosts.h"

void check_init(struct sim *s);
void check_free(struct sim *s);

/* Around each request that Redis's model carries out. */
void check_redis_before(struct sim *s, const struct coord_req *r);
void check_redis_after(struct sim *s, const struct coord_req *r);
void check_redis_went_back(struct sim *s);
void check_store_after(struct sim *s, const struct store_req *r);
/* A message left a node. */
void check_node_says(struct host *node, const struct blob *bytes);

/* The world as check_quiet() read it: a craft_map_world (tests/lib/craft_map.h); world: struct sim *. */
void check_chunk_rows(void *world, struct chunk_pos at, craft_map_each *each, void *arg);
/* Does some journal hold what the store may lack? Living nodes see to it in time. at: which. */
bool check_journal_left(struct sim *s, struct cell_pos *at);
/* All is quiet: reads the world anew for check_chunk_rows(), and compares it with the ledger. */
void check_quiet(struct sim *s);
/* All nodes have stopped in order: the store alone has the world, the journals are empty. */
void check_stopped(struct sim *s);

struct check_stats {
    uint64_t taken, told, batches; /* changes in journals, told to gateways; batches */
};
struct check_stats check_stats(const struct sim *s);

#endif
