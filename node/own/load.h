/* load.h - what a cell weighs, and so a node.
 *
 * One unit is about what a player costs who stands still. A cell weighs LOAD_CELL by being served at all, and one more
 * for each player in it, for each LOAD_EDITS_MILLI thousandths of an edit a second, and for each LOAD_PRESENCE_BYTES of
 * positions that leave it a second (a walking player, told to two gateways, is about one). Rates are smoothed over some
 * seconds: a burst is not a reason to move a cell. A cell that just came weighs at least what its source said, until it
 * was measured here.
 *
 * A node tells the sum. Where its processor is busier than the weights say (more than CPU_FAIR thousandths of a core in
 * a thread that can use one), what it tells and what its cells weigh grow with that: a node on a slow or shared core
 * then looks as full as it is. Cells on their way out count no more once the target accepted, and count there from then
 * on.
 *
 * struct cell_load lies in each owned cell. Pure but for load_tick(), load_node() and load_cell(), which look at a
 * node.
 */
#ifndef NODE_OWN_LOAD_H
#define NODE_OWN_LOAD_H

#include <stdint.h>

enum { LOAD_CELL = 4, LOAD_PLAYER = 1, LOAD_COPY = 1, LOAD_EDITS_MILLI = 1000, LOAD_PRESENCE_BYTES = 1024 };

struct cell_load {
    uint32_t edits, presence_bytes; /* since the last sample */
    uint32_t edits_milli;           /* a second, in thousandths, smoothed */
    uint32_t presence_bps;          /* bytes a second, smoothed */
    uint32_t said;                  /* by its source; 0: measured, or not said */
    uint64_t said_until_ms;
};

/* Of all cells: for /status and /metrics. */
struct node_load {
    uint32_t told;    /* what the others hear */
    uint32_t weights; /* the sum, before the processor counts */
    uint32_t edits_milli, presence_bps;
    uint32_t cpu_milli; /* thousandths of a core; 0: not measured */
    uint32_t coming;    /* part of weights: cells that were accepted and are not here yet */
};

uint32_t load_weight(unsigned players, uint32_t edits_milli, uint32_t presence_bps);
/* A second passed. */
void load_sample(struct cell_load *l, uint64_t ms);
/* What becomes of a weight where the processor is so busy. */
uint32_t load_scaled(uint32_t weight, uint32_t cpu_milli);

struct node;
struct owned;
void load_tick(struct node *n);
void load_said(struct node *n, struct owned *o, uint32_t said);   /* by the source of a cell that comes */
uint32_t load_plain(const struct node *n, const struct owned *o); /* a cell's weight: what an offer says */
uint32_t load_cell(const struct node *n, const struct owned *o);  /* ... as it counts in what is told */
struct node_load load_node(const struct node *n);

#endif
