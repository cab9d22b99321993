/* handoff.h - a cell moves to another node while it is played in; or is followed by one, as a warm copy.
 *
 *   source                      target                        Redis              gateways
 *   offer ------------------->  answer: accepted, or not
 *   kept batches, rows, end --> loads them; says how far (got)
 *   each batch once taken ----> follows
 *   freeze: no new edit; the last append is answered
 *   final(n) ---------------->  ready(n): I have everything
 *   transfer(S, e, n) ------------------------------------->  (T, e+1, 0)
 *   commit(e+1, players) ---->  serves
 *   not mine: T, e+1 ------------------------------------------------------->  resume at T from their rev, and send
 *                                                                              again what was not answered
 *
 * The freeze stops edits only: they stay with their gateways, and the source goes on answering from committed rows and
 * telling positions until the target serves. Until the transfer is sent, either side may give up, and the source is
 * what it was. From then on Redis alone says who owns the cell: the source stays frozen until it answers, and a target
 * that is ready and hears nothing more asks, too, and claims from itself what it was given.
 *
 * A follower that loses its source keeps its copy for a while. Promoting it is a claim like any other that reads the
 * journal after its last batch, but not the store: if a batch between is missing, it loads from the store after all.
 *
 * The two ends are handoff_source.c and handoff_target.c; moves.c and targets.h say which cells go where. A handoff has
 * a number, given by its source; messages of another are ignored. */
#ifndef NODE_OWN_HANDOFF_H
#define NODE_OWN_HANDOFF_H

#include "node/parts.h"

enum out_phase {
    OUT_OFFERED,      /* waits for the answer */
    OUT_COPYING,      /* rows and batches on their way */
    OUT_FOLLOWED,     /* the target has all of it, and gets each batch */
    OUT_FREEZING,     /* no new edit; waits for the appends */
    OUT_FINAL,        /* waits for ready */
    OUT_TRANSFERRING, /* waits for Redis, however long */
    OUT_PHASES
};

/* The source's side of one handoff. */
struct outgoing {
    uint64_t no, target, link;
    enum out_phase phase;
    bool follow_only;
    bool transfer_sent;
    uint64_t since_ms; /* in this phase, or since the target last said something */
    uint64_t begun_ms;
    uint64_t froze_us;           /* monotonic */
    uint64_t sent_epoch, sent_n; /* the last kept batch that was sent */
    bool caught_up;              /* all kept ones were: new ones go at once */
    uint64_t cursor;             /* cell_scan() */
    uint64_t sent, got;          /* pieces */
    unsigned on_way;             /* until the copy is whole: they take room on the link */
    uint64_t retry_ms;           /* of the transfer */
};

/* The target's side. */
struct incoming {
    uint64_t no, source, link;
    bool follow_only;
    bool whole;        /* the copy's end came */
    bool ready;        /* said so: it may be ours any time */
    uint64_t epoch, n; /* the source's epoch; the last batch that we have */
    uint64_t generation;
    uint64_t pieces;
    uint64_t heard_ms;
    uint64_t ask_ms; /* ready: when to ask Redis whether it is ours */
};

/* ---- the source ---- */
/* Offers a served cell to a node that is linked. False: not now (it is on its way already, or no link). */
bool handoff_offer(struct node *n, struct owned *o, uint64_t target, bool follow_only);
/* A follower becomes the owner: freeze and go on. */
void handoff_promote_to(struct node *n, struct owned *o);
void handoff_committed(struct node *n, struct owned *o, const struct batch *b); /* tell the follower */
void handoff_stored(struct node *n, struct owned *o, uint64_t rev);
/* The target failed: for a moment the cell is not offered, and then elsewhere. */
void handoff_abort(struct node *n, struct owned *o, const char *why);
/* It ends for our own reasons: nothing speaks against the target. */
void handoff_cancel(struct node *n, struct owned *o, const char *why);
void handoff_source_msg(struct node *n, struct gate_link *l, const struct msg *m);
void handoff_source_tick(struct node *n, struct owned *o);
void handoff_pump(struct node *n);                      /* sends the transfers that are ready, and what waited */
void handoff_out_free(struct node *n, struct owned *o); /* NULL is fine */
const char *handoff_phase_text(const struct owned *o);  /* "" when there is none */

/* ---- the target ---- */
void handoff_target_msg(struct node *n, struct gate_link *l, const struct msg *m);
void handoff_target_tick(struct node *n, struct owned *o);

/* ---- both ---- */
void handoff_link_down(struct node *n, uint64_t link);
void handoff_cell_gone(struct node *n, struct owned *o, const char *why); /* before it is freed */

#endif
