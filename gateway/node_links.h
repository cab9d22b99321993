/* node_links.h - the nodes that live, and this gateway's link to each.
 *
 * Redis's list of living nodes says whom to dial; a dial that fails is tried again after a growing time with jitter, as
 * long as the node is in the list. What goes to a node in one turn is gathered here: its edits and subscriptions leave
 * in one message each when the turn ends. */
#ifndef GATEWAY_NODE_LINKS_H
#define GATEWAY_NODE_LINKS_H

#include "gateway/state.h"

enum link_state { LINK_AWAY, LINK_DIALING, LINK_UP };

struct node_link {
    uint64_t id;
    char address[COORD_ADDRESS_MAX + 1];
    enum link_state state;
    uint64_t link; /* when up */
    bool living;   /* is in the last list */
    bool running;  /* takes new cells */
    uint32_t load;
    uint64_t retry_ms; /* away: dial again then; dialing: give up then */
    uint32_t backoff_ms;
    unsigned n_areas;        /* subscribed there, or about to be */
    uint64_t frame_ms;       /* its last presence frame */
    uint64_t frames_from_ms; /* since when they came without a gap */

    struct edit *edits;
    unsigned n_edits, edits_cap;
    struct msg_want *wants;
    unsigned n_wants, wants_cap;
    struct cell_pos *unwanted;
    unsigned n_unwanted, unwanted_cap;
    struct msg_move *moves;
    unsigned n_moves, moves_cap;
    UT_hash_handle hh, hh_link;
};

void node_links_members(struct gateway *g, const struct coord_member *members, unsigned n);
void node_links_up(struct gateway *g, uint64_t link, uint64_t node);
void node_links_down(struct gateway *g, uint64_t link, const char *why);
void node_links_failed(struct gateway *g, uint64_t node, bool refused);
void node_links_tick(struct gateway *g);
void node_links_flush(struct gateway *g); /* at a turn's end */
void node_links_free_all(struct gateway *g);

struct node_link *node_links_find(struct gateway *g, uint64_t node);
struct node_link *node_links_by_link(struct gateway *g, uint64_t link);
struct node_link *node_links_any(struct gateway *g); /* one that is up, or NULL */
unsigned node_links_count(const struct gateway *g);  /* up */

/* Gathered until the turn ends. */
void node_links_edit(struct gateway *g, struct node_link *n, const struct edit *e);
void node_links_want(struct node_link *n, const struct msg_want *w);
void node_links_unwant(struct node_link *n, struct cell_pos cell);
void node_links_move(struct node_link *n, const struct msg_move *m);
/* At once. */
void node_links_send(struct gateway *g, const struct node_link *n, const struct msg *m);

#endif
