/* ledger.h - every edit that a crowd of bots made, and who has seen it: what was lost, what was done twice.
 *
 * The crowd never uses a block twice: it is placed once and may be broken once. So a block's history is air, item, air;
 * each line that tells of it names its step, and a step back means that something was applied twice or out of order. A
 * block on the border of a chunk is entered once for each chunk that shows it (mirrors negative): those must go the
 * same way.
 *
 * Across blocks each author's edits of one cell must be told to each observer in the order in which they were made:
 * that is what the next edit was built upon. Only what is told live is held to that: a chunk's first answer is a
 * picture, in no order. A step that was overtaken by the next one may be left out.
 *
 * An edit counts as refused when its author is told an older step than the one that he made. Pure; time comes in. */
#ifndef TESTS_LIB_LEDGER_H
#define TESTS_LIB_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/wire/coords.h"

enum ledger_step { STEP_NONE, STEP_PLACED, STEP_BROKEN };

struct ledger;
struct ledger *ledger_new(void);
void ledger_free(struct ledger *l); /* NULL is fine */

bool ledger_has(const struct ledger *l, struct block_pos at);
/* author made this step (PLACED with item w, then BROKEN). Who shall see it is told right after, by ledger_expect(). */
void ledger_edit(struct ledger *l, unsigned author, struct block_pos at, enum ledger_step step, int w, uint64_t now_us);
/* observer holds chunk c and must be told of the step made last at that block. measured: he held it, answered, when the
 * edit was sent, so the time until he is told is the cluster's and not that of his asking, and so is the order. */
void ledger_expect(struct ledger *l, struct block_pos at, struct chunk_pos c, unsigned observer, bool measured);
/* The chunks that show a block: its own first. Returns how many. */
unsigned ledger_chunks(struct block_pos at, struct chunk_pos out[1 + MIRRORS_MAX]);

/* A B line came to a bot. Returns true, and how long ago the edit was made, when it tells an expected, measured step
 * for the first time. */
bool ledger_told(struct ledger *l, unsigned bot, struct chunk_pos c, struct block_pos at, int w, uint64_t now_us,
                 uint64_t *took_us);

uint64_t ledger_open(const struct ledger *l); /* expected and not told yet, but for what was refused */

/* What a fresh client was told of the block in chunk c at the end; told false: nothing. */
typedef bool ledger_final(void *arg, struct chunk_pos c, struct block_pos at, int *w);
struct ledger_result {
    unsigned edits, refused;
    unsigned lost;          /* neither refused nor in the world at the end */
    unsigned unseen;        /* in the world, and some holder was never told */
    unsigned doubled;       /* a step back was told, or the world has what was refused */
    unsigned wrong_mirrors; /* shown otherwise in a neighbouring chunk */
    unsigned disordered;    /* told to somebody after a later edit of the same author in the same cell */
};
/* Prints the first few of each kind on stderr. */
void ledger_check(struct ledger *l, ledger_final *final, void *arg, struct ledger_result *out);
/* Each chunk that shows an edit, once per edit. */
void ledger_each_chunk(const struct ledger *l, void (*each)(void *arg, struct chunk_pos c), void *arg);

#endif
