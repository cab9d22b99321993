/* players.h - who stands in one cell, and what the gateways must hear of them.
 *
 * Positions are not journalled: the newest one wins, by the count that the player's gateway gave it. Whoever changed
 * since the last frame is in the next one; everybody is in every whole frame. A player whose link went down is kept for
 * a while, for his gateway to come back and enter him again; it may do so over a new link before the old one is noticed
 * to be down. Pure; owned by the cell's directory entry. */
#ifndef NODE_WORLD_PLAYERS_H
#define NODE_WORLD_PLAYERS_H

#include <stdbool.h>
#include <stdint.h>

#include <uthash.h>

#include "proto/wire/msg.h"

struct player {
    struct session_id session;
    uint32_t id;
    char nick[NICK_MAX + 1];
    char account[ACCOUNT_MAX + 1];
    uint64_t visit, count;
    uint64_t saved_count; /* the newest that the store has */
    struct place place;
    bool moved;         /* since the last frame */
    bool fresh;         /* in no frame yet, or with another nick: the nick is said */
    uint64_t link;      /* that he was entered over last */
    uint64_t orphan_ms; /* when it went down; 0: it is up */
    UT_hash_handle hh;
};

struct players {
    struct player *by_session;
    uint32_t left[MSG_ITEMS_MAX]; /* explicit leaves since the last frame */
    unsigned n_left;
};

struct players *players_new(void);
void players_free(struct players *p); /* NULL is fine */
unsigned players_count(const struct players *p);
/* Adds him, or brings him up to date (a higher count wins his place). */
void players_enter(struct players *p, const struct msg_enter *e, uint64_t link);
bool players_move(struct players *p, const struct msg_move *m); /* false: not here, or older than what we have */
struct player *players_find(struct players *p, struct session_id s);
/* Takes him out; gone: tell the gateways (not when he moved on to another cell). */
void players_leave(struct players *p, struct player *who, bool gone);
void players_orphan(struct players *p, uint64_t link, uint64_t now_ms);

/* Fills in a frame: those who changed, or everybody. out has room for MSG_ITEMS_MAX. Nicks point into p. */
unsigned players_frame(const struct players *p, bool all, struct msg_player *out);
void players_framed(struct players *p); /* the frame went out */

#endif
