/* store.h - the store as the simulated nodes reach it: one model (tests/lib/model_store.h) behind connections that
 * fail. */
#ifndef TESTS_SIM_STORE_H
#define TESTS_SIM_STORE_H

#include "tests/lib/model_store.h"
#include "tests/sim/hosts.h"

void store_init(struct sim *s);
void store_free(struct sim *s);
void store_attach(struct host *h); /* makes a node's store */
struct model_store *store_model(struct sim *s);

void store_cut(struct host *h);
void store_stall(struct sim *s, uint64_t ms);
void store_away(struct sim *s, uint64_t ms);
/* Every other answer is lost, with or without its transaction. */
void store_fail(struct sim *s, uint64_t ms);

#endif
