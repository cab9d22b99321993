#include "proto/imds/trouble.h"

static bool is_long(uint64_t since_ms, uint64_t now_ms)
{
    return since_ms && now_ms - since_ms >= TROUBLE_QUIET_MS;
}

bool trouble_begins(struct trouble *t, unsigned kind, uint64_t now_ms)
{
    uint32_t bit = UINT32_C(1) << kind;
    if (is_long(t->good_ms, now_ms))
        t->said = 0;
    if (!t->bad_ms)
        t->bad_ms = now_ms ? now_ms : 1;
    t->good_ms = 0;
    bool say = !(t->said & bit) || (!t->open && is_long(t->bad_ms, now_ms));
    t->said |= bit;
    t->open |= say;
    return say;
}

bool trouble_ends(struct trouble *t, uint64_t now_ms)
{
    bool say = t->open;
    t->open = false;
    t->bad_ms = 0;
    if (!t->good_ms)
        t->good_ms = now_ms ? now_ms : 1;
    return say;
}
