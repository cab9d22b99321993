/* edits.h - the edits that no owner has answered yet.
 *
 * A session numbers its edits per cell, from 1: a lane is that sequence. An edit is kept until its owner answers it; on
 * a new owner or link the lane is sent again from its oldest. While a block has an unanswered edit of a session, rows
 * for it are held back from that session: its client already shows the edit.
 *
 *   accepted at rev R   held rows that the edit overwrote (below R, of its kind; a break: of all kinds) are dropped
 *   refused, known      all held rows are dropped; the block as it is takes their place
 *
 * What is held is sent once the block has no unanswered edit left. Per block only the last row of each kind and face is
 * kept: it is all that a client could show. */
#ifndef GATEWAY_EDITS_H
#define GATEWAY_EDITS_H

#include "gateway/state.h"

/* An edit that waits for its answer. */
struct kept {
    struct edit edit; /* floor is filled in when it is sent */
    char text[EDIT_TEXT_MAX + 1];
    uint64_t received_ms;
    struct kept *prev, *next;
};

struct lane {
    uint64_t id; /* cell_id: the hash key */
    struct cell_pos cell;
    struct session *session;
    struct area *area; /* held while something is unanswered */
    uint64_t last_seq;
    struct kept *kept; /* oldest first */
    uint64_t wanted_seq, wanted_ms;
    UT_hash_handle hh;
    struct lane *prev, *next;           /* of the area */
    struct lane *busy_prev, *busy_next; /* of the session */
};

struct held {
    struct row row;
    char text[SIGN_TEXT_MAX + 1];
    bool own; /* an accepted edit of the session itself: told only if an older line may come, or is sent, after it */
};

/* A block with unanswered edits of one session, or with accepted ones whose revision the cell's rows have not reached
 * yet: an answer may overtake the rows of its batch, and those that the edit overwrote must not reach its author then
 * either. */
struct touched {
    struct block_pos at;
    unsigned unanswered, unanswered_blocks; /* all; those of the block itself */
    uint64_t overwrote[EDIT_ROWS_MAX];      /* by thing: the rev of the last accepted edit that wrote it */
    uint64_t settle_rev;                    /* the highest of them */
    struct area *settling;                  /* held until its rev is there; NULL: nothing to wait for */
    struct session *session;
    struct touched *prev, *next; /* of the area */
    struct held rows[EDIT_ROWS_MAX];
    unsigned n_rows;
    bool corrected; /* the rows correct the author: own chunk in any case */
    bool broke;     /* an own break cleared light and signs, even if something was placed since */
    bool echo;      /* an older line may reach the author after its edit: see told.h */
    UT_hash_handle hh;
};

/* A B, L or S line: false if its block is nowhere in the world. */
bool edits_take(struct gateway *g, struct session *s, const struct edit *e);
void edits_result(struct gateway *g, struct area *a, const struct edit_result *r);
void edits_granted(struct gateway *g, struct area *a);
void edits_settle(struct gateway *g, struct area *a); /* the area's rev went on */
/* Is what chunk c shows of the row's block being edited by s? Then the row is kept here, or was overwritten, and is not
 * to be sent. */
bool edits_hold_back(struct gateway *g, struct session *s, struct chunk_pos c, const struct row *r);
bool edits_waiting(const struct gateway *g, const struct session *s); /* park_notice_ms and longer */
void edits_drop(struct gateway *g, struct session *s);                /* the session is freed */

#endif
