#include "node/own/lease.h"

#include <assert.h>

#include "proto/base/log.h"

static const char *const state_name[LEASE_STATES] = {"none", "held", "overdue"};
/* Row: where we are. Bits: where we may go. */
static const unsigned may_go[LEASE_STATES] = {
    [LEASE_NONE] = 1u << LEASE_HELD,
    [LEASE_HELD] = 1u << LEASE_HELD | 1u << LEASE_OVERDUE,
    [LEASE_OVERDUE] = 1u << LEASE_HELD,
};

static void move(struct lease *l, enum lease_state to)
{
    assert(may_go[l->state] & 1u << to);
    if (l->state != to)
        log_info("lease from=%s to=%s", state_name[l->state], state_name[to]);
    l->state = to;
}

void lease_init(struct lease *l, uint32_t ttl_ms)
{
    *l = (struct lease){.state = LEASE_NONE, .ttl_ms = ttl_ms};
}

void lease_soon(struct lease *l)
{
    l->soon = true;
}

bool lease_due(const struct lease *l, uint64_t now_ms)
{
    return !l->asking && (l->soon || now_ms >= l->next_ms);
}

void lease_asked(struct lease *l, uint64_t now_ms)
{
    l->asking = true;
    l->soon = false;
    l->asked_ms = now_ms;
}

bool lease_granted(struct lease *l, bool existed, uint64_t now_ms)
{
    bool was_late = l->state == LEASE_OVERDUE || (l->state == LEASE_HELD && now_ms >= l->deadline_ms);
    bool check = l->state != LEASE_NONE && !existed;
    l->asking = false;
    l->deadline_ms = l->asked_ms + l->ttl_ms;
    l->next_ms = l->asked_ms + l->ttl_ms / 3;
    if (was_late)
        l->claim_from_ms = now_ms + l->ttl_ms;
    move(l, LEASE_HELD);
    return check;
}

void lease_failed(struct lease *l, uint64_t now_ms, uint32_t retry_ms)
{
    l->asking = l->soon = false; /* the next one tells everything */
    l->next_ms = now_ms + retry_ms;
}

void lease_tick(struct lease *l, uint64_t now_ms)
{
    if (l->state == LEASE_HELD && now_ms >= l->deadline_ms)
        move(l, LEASE_OVERDUE);
}

bool lease_may_claim(const struct lease *l, uint64_t now_ms)
{
    return l->state == LEASE_HELD && now_ms < l->deadline_ms && now_ms >= l->claim_from_ms;
}

const char *lease_state_text(const struct lease *l)
{
    return state_name[l->state];
}
