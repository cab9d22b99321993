/* gateway_rig.h - a struct gateway between model Redis, two fake nodes and players made of strings.
 *
 * Time passes only in rig_pass(). Node 1 and 2 live in Redis; the rig grants what the gateway subscribes to (but for
 * cells that were parked), under the epoch that it holds for the cell, and leaves everything else to the test: it takes
 * what the gateway sent with rig_sent() and answers with rig_hear(). Messages go through the real encoder and decoder.
 */
#ifndef TESTS_LIB_GATEWAY_RIG_H
#define TESTS_LIB_GATEWAY_RIG_H

#include "gateway/gateway.h"
#include "tests/lib/model_coord.h"

enum { RIG_GATE = 77, RIG_NODES = 2, RIG_PLAYERS = 256, RIG_CELLS = 64, RIG_SENT = 8192 };

struct rig_player {
    char *out;
    size_t len, cap, queued; /* queued: what the test says its socket has not taken */
    bool open, paused;
    const char *closed; /* why */
    char *unread;       /* bytes that the gateway left */
    size_t n_unread;
};

struct rig_cell {
    struct cell_pos at;
    uint64_t epoch, rev;
    bool parked;
};

struct rig_sent {
    uint64_t node;
    bool taken;
    struct msg msg;
    struct arena *arena;
};

struct rig {
    struct gateway *gateway;
    struct gateway_settings set;
    struct model_redis *redis;
    struct coord *coord;
    uint64_t now_ms;
    uint64_t link[RIG_NODES + 1], links; /* by node: 0 when down */
    bool dialed[RIG_NODES + 1], unreachable[RIG_NODES + 1];
    bool dead[RIG_NODES + 1]; /* it has no lease in Redis */
    struct rig_sent *sent;
    unsigned n_sent, granted;
    struct rig_cell cells[RIG_CELLS];
    unsigned n_cells;
    bool place_found; /* what a node answers to PLACE_GET */
    struct place place;
    struct rig_player players[RIG_PLAYERS];
};

struct rig *rig_new(const struct gateway_settings *set); /* NULL: the defaults. Linked and ready when it returns. */
void rig_free(struct rig *r);
void rig_pass(struct rig *r, unsigned ms);

/* The oldest message of that kind that was not taken yet; NULL: none. node: where it went, may be NULL. */
const struct msg *rig_sent(struct rig *r, enum msg_kind kind, uint64_t *node);
void rig_forget_sent(struct rig *r);
void rig_hear(struct rig *r, uint64_t node, const struct msg *m);
void rig_cut(struct rig *r, uint64_t node); /* its link breaks */
struct rig_cell *rig_cell(struct rig *r, struct cell_pos at);

void rig_connect(struct rig *r, uint64_t player);
void rig_say(struct rig *r, uint64_t player, const char *text);
void rig_join(struct rig *r, uint64_t player, const char *account); /* "": a guest; its output is forgotten */
/* What it was sent since it was last asked; good until the next call for it. */
const char *rig_out(struct rig *r, uint64_t player);

/* Answers, as the owner of the cell. */
void rig_rows(struct rig *r, uint64_t node, struct cell_pos at, const struct row *rows, unsigned n);
void rig_result(struct rig *r, uint64_t node, const struct edit_result *result);
void rig_part(struct rig *r, uint64_t node, const struct msg *get, const struct row *rows, unsigned n, uint32_t key);

#endif
