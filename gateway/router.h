/* router.h - which node owns which cell, as this gateway knows it.
 *
 * An area is one cell that somebody here is interested in. It is
 *
 *   WAITING      for its next try             -> ASKING
 *   ASKING       Redis who owns it            -> DIALING, SUBSCRIBING or WAITING
 *   DIALING      a link to that node          -> SUBSCRIBING, or another node
 *   SUBSCRIBING  at a node                    -> OWNED, or wherever it sends us
 *   OWNED        under (epoch, rev)           -> any of them, when the link breaks or the node says so
 *
 * All but OWNED are parked: edits, chunk requests and players wait, and go to the owner in order once there is one.
 * Every state but OWNED has a deadline. On a new grant the parts that keep something for the area are called: edits.c,
 * chunks.c, positions.c. */
#ifndef GATEWAY_ROUTER_H
#define GATEWAY_ROUTER_H

#include "gateway/state.h"

enum area_state { AREA_WAITING, AREA_ASKING, AREA_DIALING, AREA_SUBSCRIBING, AREA_OWNED, AREA_STATES };

struct area {
    uint64_t id; /* cell_id(cell): the hash key */
    struct cell_pos cell;
    enum area_state state;
    struct node_link *node; /* where we dial, subscribe or are */
    bool redirected;        /* a node sent us to this one */
    bool known;             /* it was ours before: resume from (epoch, rev) */
    uint64_t epoch, rev;
    uint64_t due_ms; /* waiting: when to go on; the others: the deadline */
    unsigned tries;  /* since it was last owned */
    uint64_t avoid;  /* a node that could not be reached */
    uint64_t parked_ms;

    unsigned refs;     /* chunks, watchers, players, lanes */
    unsigned watchers; /* sessions that are shown its players */
    bool presence;     /* subscribed to */
    uint64_t idle_ms, unwatched_ms;

    struct part *parts;       /* chunks.c */
    struct lane *lanes;       /* edits.c */
    struct touched *settling; /* edits.c */
    struct session *standing; /* positions.c */
    uint64_t grants;          /* counted: who was entered under an earlier one is to be entered again */
    struct other *others;     /* sights.c */
    UT_hash_handle hh;
    struct area *prev, *next; /* loose */
};

struct area *router_find(struct gateway *g, struct cell_pos cell); /* NULL: nobody is interested */
/* Interest: the area is made if need be, and lives while it is held and some seconds longer. */
struct area *router_hold(struct gateway *g, struct cell_pos cell);
void router_drop(struct gateway *g, struct area *a);
void router_watch(struct gateway *g, struct area *a);
void router_unwatch(struct gateway *g, struct area *a);

static inline bool area_owned(const struct area *a)
{
    return a->state == AREA_OWNED;
}

/* A message about a cell came over link: its area if the message counts, NULL if it is to be dropped. A higher epoch
 * than known makes the area subscribe again. */
struct area *router_heard(struct gateway *g, uint64_t link, struct cell_pos cell, uint64_t epoch);
/* The same for resumed rows, which come before the grant. */
struct area *router_resumed(struct gateway *g, uint64_t link, struct cell_pos cell, uint64_t epoch);

void router_subscribed(struct gateway *g, uint64_t link, const struct msg_grant *grant);
void router_not_mine(struct gateway *g, uint64_t link, const struct msg_where *w);
void router_node_up(struct gateway *g, struct node_link *n);
void router_node_lost(struct gateway *g, struct node_link *n); /* its link broke, or it cannot be reached */
void router_recheck(struct gateway *g);                        /* read the owners of all areas again */
void router_turn(struct gateway *g);
void router_tick(struct gateway *g);
void router_sweep(struct gateway *g); /* once a second: what nobody is interested in any more */
void router_free_all(struct gateway *g);
unsigned router_parked(const struct gateway *g);
const char *area_state_text(enum area_state s);

#endif
