#include "proto/imds/trouble.h"

bool trouble_begins(struct trouble *t, unsigned kind)
{
    uint32_t bit = UINT32_C(1) << kind;
    bool say = !(t->said & bit);
    t->said |= bit;
    t->open |= say;
    t->good_ms = 0;
    return say;
}

bool trouble_ends(struct trouble *t, uint64_t now_ms)
{
    bool say = t->open;
    t->open = false;
    if (!t->good_ms)
        t->good_ms = now_ms ? now_ms : 1;
    else if (now_ms - t->good_ms >= TROUBLE_QUIET_MS)
        t->said = 0;
    return say;
}
