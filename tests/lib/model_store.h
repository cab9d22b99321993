/* model_store.h - the store as plain C, for the simulator and as the measure of the real ones.
 *
 * One model is the database that all simulated nodes share. It answers at once
 * and never fails by itself: the simulator delays, loses and repeats. Same
 * checks and same answers as the engines; tests/unit/test_store.c runs one suite
 * over all of them. Deterministic: rows come out sorted. One thread. */
#ifndef TESTS_LIB_MODEL_STORE_H
#define TESTS_LIB_MODEL_STORE_H

#include "node/store/store.h"

struct model_store;
struct model_store *model_store_new(void);
void model_store_free(struct model_store *m); /* NULL is fine */
/* A backup, for ever as it is now. */
struct model_store *model_store_copy(const struct model_store *m);
/* The database goes back to the backup, which stays the caller's. */
void model_store_restore(struct model_store *m, const struct model_store *backup);

/* Carries r out and fills in its answer; does not call done(). */
void model_store_apply(struct model_store *m, struct store_req *r);

/* Rows that the store refuses for good: the function says which. NULL: none. */
typedef bool model_refuses(const struct row *r, void *arg);
void model_store_refuse(struct model_store *m, model_refuses *refuses, void *arg);

/* ---- for checkers; pointers are good until the next apply or restore ---- */
const struct store_cell *model_store_cell(const struct model_store *m, struct cell_pos at); /* NULL: there is none */
const struct row *model_store_row(const struct model_store *m, enum row_kind kind, struct block_pos at, uint8_t face);
const struct store_place *model_store_place(const struct model_store *m, const char *account, bool *saved);
typedef void model_each_row(const struct row *r, void *arg);
void model_store_each(const struct model_store *m, struct cell_pos cell, model_each_row *each, void *arg);

#endif
