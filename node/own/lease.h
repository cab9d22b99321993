/* lease.h - this node's lease, as the node itself sees it.
 *
 * Redis grants a lease for ttl_ms. The lease says who lives; it does not say who may write: that is the epoch of each
 * cell, compared at every append. So a node whose lease ran out goes on serving, but
 *   - one that finds its lease gone checks the epochs of all its cells before it answers anything more, and
 *   - one that could not renew in time claims nothing for one ttl after it can again: others may be restoring.
 *
 * Pure logic: no socket, no clock; the caller passes in replies and the time. Owned by its node. */
#ifndef NODE_OWN_LEASE_H
#define NODE_OWN_LEASE_H

#include <stdbool.h>
#include <stdint.h>

enum lease_state {
    LEASE_NONE, /* never granted */
    LEASE_HELD,
    LEASE_OVERDUE, /* the last grant ran out and no renewal was answered since */
    LEASE_STATES
};

struct lease {
    enum lease_state state;
    uint32_t ttl_ms;
    bool asking;          /* a renewal is on its way */
    uint64_t asked_ms;    /* when it left */
    uint64_t deadline_ms; /* the last grant counts from its request, so never longer than Redis's */
    uint64_t next_ms;     /* when to ask again */
    bool soon;            /* there is news since the last request: the next one does not wait for its time */
    uint64_t claim_from_ms;
};

void lease_init(struct lease *l, uint32_t ttl_ms);
/* What the renewal tells has changed: the next one goes at once, or as soon as the one on its way is answered. */
void lease_soon(struct lease *l);
/* Is it time to send a renewal? */
bool lease_due(const struct lease *l, uint64_t now_ms);
void lease_asked(struct lease *l, uint64_t now_ms);
/* The answer: it is held. existed: it had not run out at Redis. Returns true when all cells must be checked before
 * anything more is answered. */
bool lease_granted(struct lease *l, bool existed, uint64_t now_ms);
/* No answer, or an error: ask again after retry_ms. */
void lease_failed(struct lease *l, uint64_t now_ms, uint32_t retry_ms);
/* Notices that it ran out. */
void lease_tick(struct lease *l, uint64_t now_ms);
bool lease_may_claim(const struct lease *l, uint64_t now_ms);
const char *lease_state_text(const struct lease *l);

#endif
