/* parts.h - what the files of a node share: its struct, and one owned cell.
 *
 *   node.c              the public face: messages, replies and ticks to the parts
 *   stay.c              notices, SIGTERM and drains; what follows from them
 *   own/claim.c         a cell from nobody's to served: owners, claim, store, journal
 *   own/keep.c          what is still mine: renewals, checks, restores, burials
 *   own/handoff_*.c     a cell moves to another node, or is followed by one
 *   own/moves.c         which cells go: leaving, at risk, balancing
 *   own/targets.c       where they go
 *   own/follow.c        copies elsewhere of the most visited cells
 *   own/load.c          what cells weigh, measured
 *   persist/journal.c   edits into batches, batches to Redis, answers in order
 *   persist/flush.c     committed rows to the store, then the journal is trimmed; release
 *   serve.c             the gateways' end: subscriptions, edits, chunk answers
 *   presence.c          players: frames each tick, places to the store
 *   control.c           the operator's end: status, moves by hand, draining
 *
 * Requests to Redis and the store outlive what they were about: they carry the serial number of the owned cell, and an
 * answer whose cell is gone is dropped. */
#ifndef NODE_PARTS_H
#define NODE_PARTS_H

#include <uthash.h>

#include "node/node.h"
#include "node/own/lease.h"
#include "node/own/load.h"
#include "node/own/spot.h"
#include "node/world/cell.h"
#include "node/world/players.h"
#include "proto/base/rng.h"
#include "proto/wire/record.h"

enum { ROWS_PER_MSG = 2048 }; /* rows and chunk parts go in pieces */

/* ---- one cell that this node owns or wants ---- */

enum own_state {
    OWN_WANTED,    /* somebody asked: who owns it? */
    OWN_CLAIMING,  /* nobody: the claim is with Redis */
    OWN_LOADING,   /* mine; the store's row is being raised, its rows read */
    OWN_REPLAYING, /* the journal's rows above them */
    OWN_FOLLOWING, /* another node's; a warm copy of it is here */
    OWN_SERVING,
    OWN_RELEASING, /* frozen: the last append, the last flush, then it is nobody's */
    OWN_STATES
};

struct subscriber {
    uint64_t link;
    bool presence;
    bool all_due; /* send it everybody at the next tick */
};

/* A subscription that waits for the cell to be served. */
struct waiting {
    uint64_t link;
    struct msg_want want;
};

struct session_seen {
    struct session_id session;
    uint64_t judged;    /* the last seq that was judged, pending ones included */
    uint64_t committed; /* the last one that was answered */
    uint64_t at_s;
    bool overrun; /* sent more than the pending bound: to be told where to go on */
    uint64_t link;
    UT_hash_handle hh;
};

/* A result that leaves once everything that it was judged on is acknowledged. */
struct answer {
    uint64_t link;
    struct session_id session;
    uint64_t seq;
    enum outcome outcome;
    enum refusal reason;
    struct block_pos at;
    uint64_t rev;         /* accepted */
    uint64_t received_us; /* for the histogram */
};

/* A batch: first open (edits join it), then with Redis, then kept until the store has it. */
struct batch {
    uint64_t epoch, n;
    struct blob *bytes;  /* once it left */
    struct arena *arena; /* rows and texts; NULL once it was committed */
    struct row *rows;
    unsigned n_rows, rows_cap;
    struct answer *answers;
    unsigned n_answers, answers_cap;
    struct batch *next;
};

struct owned {
    struct cell_pos at;
    uint64_t id;     /* cell_id(at): the hash key */
    uint64_t serial; /* never used twice in a node */
    enum own_state state;
    uint64_t since_ms;  /* in this state */
    uint64_t retry_ms;  /* when to try the step of this state again; 0: it is under way, or there is none */
    uint64_t epoch, n;  /* mine; the last batch that Redis took */
    uint64_t floor;     /* claim above it */
    uint64_t believed;  /* the owner that was read */
    uint64_t wanted_ms; /* when it was first asked for: claim seconds */
    bool checked;       /* claimed on a redirect: do not send it on again */
    bool warm;          /* promoted: the cell is loaded up to (replay_epoch, replay_n) */
    uint64_t warm_until_ms;
    uint64_t expect_n; /* ... and the journal must lead from there to this batch */
    bool lost;         /* Redis went back behind the copy: it is the best that there is */

    struct cell *cell; /* from OWN_LOADING on */
    struct players *players;
    struct session_seen *seen;
    struct subscriber *subs;
    unsigned n_subs, subs_cap;
    struct waiting *waiting;
    unsigned n_waiting, waiting_cap;
    uint64_t idle_from_ms; /* without subscribers since */
    unsigned frame;        /* counts ticks: every so often a frame has everybody */
    unsigned n_empty;      /* whole frames that had nobody, since there was somebody */

    /* journal.c */
    struct batch *open; /* the next to leave; NULL: no pending edit beyond the one in flight */
    struct batch *in_flight;
    bool append_ready; /* is in node.ready */
    uint64_t append_retry_ms;
    unsigned n_pending;             /* edits pending in open and in_flight */
    struct batch *kept, *kept_last; /* acknowledged, not in the store; oldest first */
    unsigned n_kept;
    uint64_t replay_epoch, replay_n; /* how far the journal has been read */

    /* flush.c */
    bool flushing, trimming, release_sent;
    bool row_dirty;   /* the cell's row itself (rev, floor, seen) must be written */
    bool clean;       /* releasing: the store has everything, and says so */
    bool flush_whole; /* the flush in flight holds all that was dirty, so that the journal may be trimmed */
    uint64_t flush_n; /* ... up to this batch */
    uint64_t flush_from_ms;
    uint64_t stored_epoch, stored_n;   /* the store has everything up to this batch */
    uint64_t trimmed_epoch, trimmed_n; /* so far the journal was trimmed */
    uint64_t dirty_from_ms;            /* when the oldest unflushed change came; 0: none */
    uint64_t flush_retry_ms;
    uint64_t generation;     /* of the world at its last flush */
    struct blob *quarantine; /* rows that the store refused: the next trim writes them */

    /* keep.c */
    bool restoring;
    uint64_t restore_retry_ms;

    /* handoff */
    struct outgoing *out;      /* on its way, or followed */
    struct incoming *in;       /* while following */
    bool frozen;               /* takes no edit */
    unsigned n_handed_back;    /* edits that came since it was frozen */
    uint64_t handoff_retry_ms; /* not offered again before */
    unsigned handoff_tries;
    uint64_t avoid;      /* the node that did not take it */
    uint64_t settled_ms; /* when it came here; 0: it may move on */
    uint64_t came_from;  /* the node that it came from then */
    struct cell_load load;

    UT_hash_handle hh;
};

struct gate_link {
    uint64_t link;
    enum role role;
    uint64_t peer;             /* incarnation */
    unsigned pieces;           /* of copies of cells, on their way */
    struct msg_in_cell *frame; /* presence.c: this tick's cells */
    unsigned n_frame, frame_cap;
    UT_hash_handle hh;
};

enum { GIVEN_SLOTS = 3 };

/* Another node: linked to notice its death before its lease runs out. */
struct neighbour {
    uint64_t id;
    char address[COORD_ADDRESS_MAX + 1];
    bool member;   /* in the last list of the living */
    bool proven;   /* was linked: a refusal is its death */
    uint64_t link; /* 0: none */
    uint64_t retry_ms;
    uint32_t dial_ms; /* the wait before the next dial: doubles */
    struct {
        uint64_t second;
        uint32_t load;
    } given[GIVEN_SLOTS];   /* load that went there lately: the list may not have it yet */
    uint64_t full_until_ms; /* it had no room */
    UT_hash_handle hh;
};

/* Where a cell went: so that its neighbours go there, too. */
struct sent_to {
    uint64_t id; /* cell_id() */
    uint64_t node;
    UT_hash_handle hh;
};

/* What left this node, since it started. */
struct left {
    uint64_t moved, released; /* cells */
    uint64_t bytes;           /* of rows and batches that were sent for it */
    uint64_t handed_back;     /* edits that came to a frozen cell */
    uint64_t freezes;         /* how many were measured */
};

/* A move that an operator asked for, and that goes on. */
struct asked_move {
    uint64_t link, request_id;
    uint64_t no; /* of the handoff */
};

enum { FREEZES_KEPT = 4096, ASKED_MOVES_MAX = 64 };

struct node {
    uint64_t id;
    struct node_settings set;
    struct node_env env;
    struct rng rng;
    struct spot spot;
    bool ended;         /* node_stopped() */
    bool checked;       /* node_checked() */
    const char *failed; /* why it can never run: another cell size */
    uint64_t join_retry_ms;
    uint64_t store_waited_ms;  /* it joins then, even if the store has not answered */
    bool joining_sent, joined; /* the world's constants are being compared; are right */

    struct owned *cells; /* by id */
    struct gate_link *links;
    struct neighbour *neighbours;
    uint64_t last_serial;
    struct arena *scratch; /* for one call */
    struct row *rows;      /* serve.c: the rows of one message */

    /* keep.c */
    struct lease lease;
    struct coord_member *members;
    unsigned n_members;
    uint64_t generation, generation_met;
    bool evicts;
    bool closed;     /* Redis came back and claims are closed */
    bool held;       /* links are held: the lease was gone and the cells are being checked */
    unsigned checks; /* owner reads in flight for that */
    uint64_t check_retry_ms;
    uint64_t dirty_ms; /* when to walk the dirty set */
    bool dirty_sent;

    /* journal.c */
    struct owned **ready;
    unsigned n_ready, ready_cap;

    /* presence.c */
    uint64_t tick_ms_next, places_ms_next, places_collect_ms;
    struct store_place *places; /* of those who left, to be saved */
    unsigned n_places, places_cap;
    bool saving;

    /* handoff, moves.c */
    uint64_t last_handoff;
    bool transfers_due, handoffs_wait;
    unsigned n_frozen; /* cells of ours between freeze and moved */
    struct sent_to *sent;
    uint64_t balance_ms, follow_ms;
    unsigned uneven_rounds; /* of balancing, in a row */

    /* load.c */
    uint64_t load_ms, cpu_us; /* at the last sample */
    uint32_t cpu_milli;

    /* control.c */
    struct left gone, gone_before;     /* until now; until the last drain began */
    uint32_t freezes_us[FREEZES_KEPT]; /* a ring: the last ones */
    uint64_t drain_ms;                 /* when it began, 0: never */
    unsigned drain_cells;              /* how many there were */
    struct asked_move asked[ASKED_MOVES_MAX];
    unsigned n_asked;

    uint64_t leave_ms;    /* when it began to leave for good */
    unsigned leave_cells; /* how many there were then */
    size_t leave_rows;    /* ... with so many rows */
    bool left;            /* our lease is dropped */
    bool leaving_sent;
};

/* ---- node.c ---- */
uint64_t node_now(const struct node *n);
uint64_t node_unix_s(const struct node *n);
bool node_takes_part(const struct node *n); /* running or at risk: it may hold what it did not hold before */
enum node_state node_told_state(const struct node *n);
bool node_runs(const struct node *n, uint64_t id);            /* as far as the list of the living tells */
bool node_others_run(const struct node *n);                   /* other nodes to which cells may go */
struct owned *node_owned(struct node *n, struct cell_pos at); /* NULL: not here */
struct owned *node_owned_serial(struct node *n, struct cell_pos at, uint64_t serial);
struct owned *node_owned_add(struct node *n, struct cell_pos at);
void node_owned_free(struct node *n, struct owned *o);
void owned_move(struct node *n, struct owned *o, enum own_state to);
const char *owned_state_text(enum own_state s);
void node_send(struct node *n, uint64_t link, const struct msg *m);
/* Backoff with jitter for the next try of something. */
uint64_t node_later(struct node *n, uint32_t ms);

/* What a request to Redis or the store was about. */
struct about {
    struct node *node;
    struct cell_pos at;
    uint64_t serial;
};
struct about *about_new(struct node *n, const struct owned *o);
struct owned *about_take(struct about *a); /* frees a; NULL when the cell is gone */

/* ---- stay.c ---- */
void stay_try_start(struct node *n); /* it joined, and the metadata was looked at */
void stay_tick(struct node *n);
void stay_moves(struct node *n); /* what follows from the phase: cells go */

/* ---- own/claim.c ---- */
/* A subscription for a cell that is not served here. link 0: nobody waits (the dirty walk). */
void claim_want(struct node *n, uint64_t link, const struct msg_want *want);
void claim_pump(struct node *n); /* sends what waits to be sent */
void claim_tick(struct node *n, struct owned *o);
/* The cell is not ours: tells those who wait and those who subscribed, and forgets it. */
void claim_drop(struct node *n, struct owned *o, uint64_t owner, uint64_t epoch, uint64_t redirect, const char *why);

/* ---- own/keep.c ---- */
void keep_tick(struct node *n);
void keep_check_all(struct node *n, bool hold);
void keep_behind(struct node *n, struct owned *o); /* Redis has less than we know */
void keep_tick_cell(struct node *n, struct owned *o);
uint64_t keep_choose(struct node *n, struct cell_pos at, const uint64_t *owners); /* placement among the living */
uint64_t keep_link_to(struct node *n, uint64_t peer);                             /* 0: none */
void keep_link_up(struct node *n, uint64_t link, uint64_t peer);
void keep_link_down(struct node *n, uint64_t link);
void keep_dial_failed(struct node *n, uint64_t peer, bool refused);

/* ---- persist/journal.c ---- */
void journal_take_edit(struct node *n, struct owned *o, uint64_t link, const struct edit *e);
void journal_pump(struct node *n); /* sends the batches that are ready */
void journal_tick(struct node *n, struct owned *o);
void journal_keep(struct owned *o, uint64_t epoch, uint64_t nr, struct blob *bytes); /* takes the reference */
void journal_stored(struct owned *o, uint64_t epoch, uint64_t nr); /* the store has these: forget them */
void journal_free(struct owned *o);
void journal_invite(struct node *n, struct owned *o);       /* those who were not heard are told where to go on */
struct blob *journal_seen(struct node *n, struct owned *o); /* for the store or a target; NULL when empty */
void journal_see(struct owned *o, struct session_id s, uint64_t seq, uint64_t at_s);

/* ---- persist/flush.c ---- */
void flush_tick(struct node *n, struct owned *o);
void flush_release(struct node *n, struct owned *o); /* begin to give it up */

/* ---- own/moves.c ---- */
void moves_leave_begins(struct node *n);
void moves_leave(struct node *n);
bool moves_is_late(const struct node *n);    /* leaving: no time is left but to release the rest */
bool moves_in_reserve(const struct node *n); /* half of the time to leave is over: rows go to the store at once */
bool moves_will_hold(const struct node *n);  /* at the rate so far, and if anybody takes the cells */
void moves_shed(struct node *n);             /* at risk */
void moves_balance(struct node *n);
struct owned **moves_by_visitors(struct node *n, unsigned *count); /* the served cells; the caller frees the list */

/* ---- own/follow.c ---- */
void follow_tick(struct node *n);
void follow_count(const struct node *n, unsigned *cells, uint64_t *rows); /* that others keep copies of */

/* ---- serve.c ---- */
void serve_msg(struct node *n, struct gate_link *l, const struct msg *m);
void serve_grant(struct node *n, struct owned *o); /* it is served now: answers those who wait */
void serve_link_down(struct node *n, struct gate_link *l);
void serve_rows(struct node *n, struct owned *o, const struct row *rows, unsigned count);
void serve_not_mine(struct node *n, uint64_t link, struct cell_pos at, uint64_t owner, uint64_t epoch,
                    uint64_t redirect);

/* ---- presence.c ---- */
void presence_msg(struct node *n, struct gate_link *l, const struct msg *m);
void presence_tick(struct node *n);
void presence_link_gone(struct node *n, uint64_t link);
void presence_cell_gone(struct node *n, struct owned *o); /* saves the places of those who stand in it */
void presence_visit(struct node *n, uint64_t link, uint64_t request_id, const char *account);
bool presence_saved(const struct node *n); /* nothing waits to be saved */

/* ---- control.c ---- */
void control_msg(struct node *n, struct gate_link *l, const struct msg *m);
void control_link_down(struct node *n, uint64_t link);
void control_froze(struct node *n, uint32_t us); /* a freeze ended */
void control_moved(struct node *n, const struct owned *o);
/* A handoff ended: whoever asked for it is told. why: NULL when the cell moved. */
void control_ended(struct node *n, uint64_t no, const char *why);
const char *node_phase_text(const struct node *n);

/* ---- counters shared by the parts (node.c) ---- */
struct node_metrics {
    struct metric *edits, *accepted, *refused[REFUSALS], *known, *wanted;
    struct metric *ack_seconds, *chunk_seconds, *claim_seconds, *flush_seconds;
    struct metric *notices[NOTICES];
    struct metric *freeze_seconds, *handoff_seconds, *handoff_bytes, *handed_back;
    struct metric *flushes, *flush_errors, *flush_rows, *append_retries, *quarantined, *restores, *drops, *buried,
        *checks, *promotions;
};
extern struct node_metrics node_metrics;

#endif
