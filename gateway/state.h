/* state.h - what the parts of a gateway share: the gateway itself and the turn that it is in.
 *
 *                    bytes                               messages
 *   listener.c ---> session.c ---> edits.c  ---> router.c ---> node_links.c ---> nodes
 *                      |  \------> chunks.c ---/    |
 *                      |  \------> positions.c-/    v
 *                      |                         coord (Redis)
 *   listener.c <--- fanout.c, sights.c, chat.c <--- node_links.c <--- nodes
 *
 * Everything happens in turns: an entry point of gateway.h begins one, which fixes the time, and ends it, which sends
 * what was gathered (edits and subscriptions, one message a node) and frees the sessions that were closed meanwhile.
 * Within a turn nothing that another part may hold is freed.
 *
 * Owned by gateway.c; each part keeps its own records in its own fields. One thread. */
#ifndef GATEWAY_STATE_H
#define GATEWAY_STATE_H

#include <uthash.h>
#include <utlist.h>

#include "gateway/gateway.h"
#include "gateway/text.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/base/metrics.h"
#include "proto/base/rng.h"

enum { CHUNK_WINDOW = 64 /* parts of chunks that a session is being answered at a time */ };

struct area;
struct node_link;
struct other;
struct part;
struct session;
struct shown_chunk;

struct gateway_metrics {
    struct metric *players, *parked, *unanswered;
    struct metric *edits, *accepted, *refused, *known, *wanted, *resent, *held;
    struct metric *edit_seconds, *chunk_seconds;
    struct metric *bytes_out, *positions_left_out, *chat_dropped;
};

struct gateway {
    uint64_t id;
    struct gateway_settings set;
    struct gateway_env env;
    struct rng rng;
    uint64_t now_ms;             /* of this turn */
    uint64_t stall_ms, woken_ms; /* this process did not run from then to then: lines may be as old as that; 0: fresh */
    struct arena *arena;         /* for what one turn decodes */
    struct gateway_metrics metrics;
    uint64_t requests; /* the last number given to a request to a node */

    /* session.c */
    struct session *by_player; /* with a socket */
    struct session *by_count;  /* all, those included whose last edits are being answered */
    struct session *closing;   /* freed when the turn ends */
    uint64_t sessions;         /* made so far: the second half of a session's id */

    /* membership.c */
    bool world_joined, asking_world, renewing, was_renewed;
    const char *failed; /* why this gateway can never serve */
    uint64_t renew_due_ms, renew_asked_ms, renewed_ms, places_due_ms;
    uint32_t id_next, id_end, id_spare, id_high; /* ids to give out; a second block follows */
    bool asking_ids;

    /* node_links.c, router.c, interest.c, chunks.c */
    struct node_link *nodes, *nodes_by_link;
    struct area *areas, *loose; /* all; those without an owner */
    bool router_due;            /* some loose area can go on in this turn */
    unsigned owner_requests;    /* in flight */
    struct shown_chunk *chunks;
    struct part *parts; /* by request */
    unsigned unanswered;

    /* sights.c */
    struct other *others;
    uint64_t stamp;
    uint64_t presence_due_ms;
    unsigned presence_turn;
    struct other **nearby;
    unsigned nearby_cap;

    /* fanout.c: scratch */
    struct text out, late;

    /* gateway.c */
    uint64_t sweep_due_ms;
    bool stopping, stopped, leave_sent, left;
    uint64_t stop_ms, stop_tell_ms;
};

uint64_t gateway_request(struct gateway *g); /* a number that no other request to a node has */
/* A moment about ms from now, with jitter. */
uint64_t gateway_later(struct gateway *g, uint64_t ms);
/* Tells a player, NULL: all, when this gateway that was told to stop will be gone. */
void gateway_tell_end(struct gateway *g, struct session *s);
/* Counts one more of name{label="value"}; value is a constant of ours. */
void gateway_count(const char *name, const char *help, const char *label, const char *value);

/* What a request to Redis was about. Its answer is a turn of its own; request and ask are freed after it. The session
 * may be gone by then: it is looked up again. */
struct ask;
typedef void ask_answer(struct gateway *g, const struct coord_req *r, const struct ask *a);
struct ask {
    struct gateway *g;
    ask_answer *answer;
    uint64_t session; /* its count; 0: none */
    char text[CHAT_MAX + 1];
};
struct coord_req *ask_new(struct gateway *g, enum coord_op op, uint64_t session, ask_answer *answer);
struct ask *ask_of(struct coord_req *r); /* to note a text */

#endif
