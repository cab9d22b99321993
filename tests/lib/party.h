/* party.h - a few players in a cluster of their own: what most integration tests are made of.
 *
 * Players remember everything and are watched by a model of the client. A party's waits run the loop that all players
 * live on, have deadlines, and say what did not come. Functions that fail return false or NULL: assert on them. */
#ifndef TESTS_LIB_PARTY_H
#define TESTS_LIB_PARTY_H

#include <stdbool.h>

#include "tests/lib/bot.h"
#include "tests/lib/cluster.h"

enum { PARTY_MAX = 32, PARTY_MS = 20000 };

struct party {
    struct cluster *cluster;
    struct event_base *base;
    struct bot *bots[PARTY_MAX];
    unsigned n;
};

struct party *party_new(const char *name, const struct cluster_conf *conf); /* NULL: the cluster did not come up */
void party_free(struct party *p);                                           /* NULL is fine */
/* The test is through: no player may have been disconnected or sent what would break a real client. */
bool party_passed(struct party *p);

/* A player with that account ("" : nobody), who has the chunks around it. view -1: none. */
struct bot *party_join(struct party *p, const char *user, int view);
/* Moves a player, and waits until it has what came into its view. */
bool party_move(struct party *p, struct bot *b, float x, float y, float z);
void party_forget(struct party *p, struct bot *b); /* frees it: whether it was disconnected no longer matters */

bool party_until(struct party *p, until_cond *cond, void *arg, const char *what);
bool party_answered(struct party *p, struct bot *b); /* no chunk that it asked for is outstanding */
/* Player b is told that the block, in its own chunk, is w. */
bool party_block(struct party *p, struct bot *b, int32_t x, int32_t y, int32_t z, int w);
bool party_block_within(struct party *p, struct bot *b, int32_t x, int32_t y, int32_t z, int w, unsigned ms);
bool party_light(struct party *p, struct bot *b, int32_t x, int32_t y, int32_t z, int w);
bool party_sign(struct party *p, struct bot *b, int32_t x, int32_t y, int32_t z, int face, const char *text);
bool party_hears(struct party *p, struct bot *b, const char *text);
bool party_sees(struct party *p, struct bot *b, const struct bot *other);
/* No gateway has an edit that is not answered. */
bool party_acknowledged(struct party *p);
/* No node has a batch that the store lacks. */
bool party_flushed(struct party *p);
/* The node that owns the block's cell, by Redis; NULL: none of ours. */
struct member *party_owner(struct party *p, int32_t x, int32_t z);

#endif
