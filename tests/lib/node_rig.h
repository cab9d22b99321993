/* node_rig.h - three struct node between model Redis and model store, linked with each other and with a fake gateway.
 *
 *   gateway --- node 0, 1, 2 --- Redis, store       1 ms a step; what is sent is heard in the next step
 *
 * Time passes only in node_rig_pass() and the waits, which have deadlines in fake time. A message of one kind can be
 * kept on its wire, an operation of Redis or the store kept, lost, or carried out with its answer lost: so a test stops
 * the world in any phase of a handoff and breaks what it wants. Messages go through the real encoder and decoder.
 *
 * The gateway subscribes, follows its cells to where they go, and sends edits of one session, again where it must. At
 * every step the rig watches that no two nodes serve a cell under one epoch, and that no row is told twice;
 * node_rig_check() heals everything and then wants one owner, and every edit applied exactly once. */
#ifndef TESTS_LIB_NODE_RIG_H
#define TESTS_LIB_NODE_RIG_H

#include "node/own/handoff.h"
#include "tests/lib/model_coord.h"
#include "tests/lib/model_store.h"

enum { NRIG_NODES = 3, NRIG_GATE = NRIG_NODES, NRIG_GATE_ID = 77, NRIG_CELLS = 128, NRIG_EDITS = 8192 };

enum fate {
    FATE_DONE,
    FATE_LOST,    /* not carried out: ERR_IO */
    FATE_UNHEARD, /* carried out: ERR_IO */
    FATE_KEPT,    /* on its way until another fate is said */
    FATE_KEPT_ANSWER
};

struct nrig_asked;
struct nrig_wire;
struct node_rig;

struct nrig_node {
    struct node_rig *rig;
    unsigned index;
    uint64_t id; /* another at each start */
    struct node *node;
    bool paused, held, ending;
    struct coord coord;
    struct store store;
    struct nrig_asked *asked;
    uint64_t dialing; /* to this id; 0: none */
    enum fate redis[COORD_OPS], rows[STORE_SAVE_PLACES + 1];
};

/* A cell, as the gateway knows it. */
struct nrig_cell {
    struct cell_pos at;
    unsigned node; /* where it was asked for, or granted */
    bool granted;
    uint64_t epoch, rev, retry_ms;
    uint64_t last_seq;
};

struct nrig_edit {
    struct edit edit;
    struct nrig_cell *cell;
    bool answered;
    enum outcome outcome;
};

struct node_rig {
    uint64_t now_ms;
    struct model_redis *redis;
    struct model_store *store;
    struct nrig_node node[NRIG_NODES];
    struct nrig_wire *wires;
    uint64_t last_id, last_link;
    enum msg_kind kept; /* such messages between nodes stay on their wire, and what is behind them; 0: none */
    bool silent;        /* all messages between nodes do */
    uint64_t parted_until[NRIG_NODES + 1][NRIG_NODES + 1];
    struct nrig_cell cells[NRIG_CELLS];
    unsigned n_cells;
    struct nrig_edit edits[NRIG_EDITS];
    unsigned n_edits;
    unsigned flow_ms;           /* an edit into each cell so often; 0: none */
    unsigned sent[MSG_GOT + 1]; /* messages between nodes, by kind */
    /* what a node sends over a link that the test made itself, by node_net_events.up(); may be NULL */
    void (*stranger)(void *arg, uint64_t link, struct blob *b);
    void *stranger_arg;
};

struct node_rig *node_rig_new(void); /* linked and ready when it returns */
struct node_rig *node_rig_new_with(const struct node_settings *s, unsigned nodes);
void node_rig_free(struct node_rig *r);
void node_rig_pass(struct node_rig *r, unsigned ms);

typedef bool node_rig_cond(struct node_rig *r, void *arg);
/* False after ms, and says what did not come. */
bool node_rig_until(struct node_rig *r, node_rig_cond *cond, void *arg, unsigned ms, const char *what);
bool node_rig_until_phase(struct node_rig *r, unsigned node, struct cell_pos at, enum out_phase phase);
/* Until such a message between nodes is on its wire; it stays there until r->kept is something else. */
bool node_rig_until_kept(struct node_rig *r, enum msg_kind kind);
bool node_rig_until_serving(struct node_rig *r, unsigned node, struct cell_pos at);
/* Until node k has an operation with Redis that is kept. */
bool node_rig_until_asked(struct node_rig *r, unsigned k, enum coord_op op);

struct owned *node_rig_owned(struct node_rig *r, unsigned k, struct cell_pos at); /* NULL: not there */
unsigned node_rig_serving(struct node_rig *r, unsigned k);                        /* cells; 0 where it is dead */
unsigned node_rig_serving_row(struct node_rig *r, unsigned k, unsigned cells);    /* of (0,0), (1,0) ... */
unsigned node_rig_followed(struct node_rig *r, unsigned k); /* cells of which others keep copies */
/* Its machine's metadata tell it; in_ms 0: without a time. */
void node_rig_notice(struct node_rig *r, unsigned k, enum notice_kind kind, uint64_t in_ms);
/* The gateway wants the cell of node k, which claims it if nobody has it. Served when it returns. */
bool node_rig_enter(struct node_rig *r, struct cell_pos at, unsigned k);
bool node_rig_offer(struct node_rig *r, unsigned from, unsigned to, struct cell_pos at, bool follow_only);
void node_rig_edit(struct node_rig *r, struct cell_pos at);
void node_rig_say(struct node_rig *r, unsigned k, const struct msg *m); /* the gateway to node k */
unsigned node_rig_accepted(const struct node_rig *r);

/* ---- breaking things ---- */
void node_rig_redis(struct node_rig *r, unsigned k, enum fate f); /* all its operations */
void node_rig_kill(struct node_rig *r, unsigned k);               /* its machine lives: dials are refused */
void node_rig_start(struct node_rig *r, unsigned k);
void node_rig_pause(struct node_rig *r, unsigned k);
void node_rig_wake(struct node_rig *r, unsigned k);
void node_rig_cut(struct node_rig *r, unsigned a, unsigned b); /* what is on the wire is lost; they dial again */
void node_rig_part(struct node_rig *r, unsigned a, unsigned b, unsigned ms); /* cut, and no dial gets through */

/* Mends everything, waits, and sees that every promise was kept. False: said why. */
bool node_rig_check(struct node_rig *r);

/* Redis is another from now on: as it was when the copy was made. Takes the copy. */
void node_rig_redis_went_back(struct node_rig *r, struct model_redis *older);

/* ---- for node_rig.c and node_rig_gate.c ---- */
void node_rig_gate_step(struct node_rig *r);
void node_rig_gate_hear(struct node_rig *r, unsigned k, const struct msg *m);
void node_rig_gate_lost(struct node_rig *r, unsigned k);
bool node_rig_linked(const struct node_rig *r, unsigned a, unsigned b);

#endif
