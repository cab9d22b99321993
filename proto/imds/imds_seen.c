#include "proto/imds/imds_seen.h"

/* By the local clock. */
static uint64_t local(uint64_t ms, int64_t ahead_by_ms)
{
    return ahead_by_ms > 0 && ms < (uint64_t)ahead_by_ms ? 1 : ms - (uint64_t)ahead_by_ms;
}

static unsigned gone(struct seen *s)
{
    unsigned what = s->told ? SEEN_WITHDRAWN : 0;
    *s = (struct seen){.told = false};
    return what;
}

static unsigned long_past(struct seen *s)
{
    unsigned what = (s->told ? SEEN_WITHDRAWN : 0) | (s->past ? 0 : SEEN_PAST);
    s->told = s->slides = false;
    s->past = true;
    return what;
}

static unsigned there(struct seen *s, uint64_t deadline, uint64_t now)
{
    bool had = s->told && s->deadline_ms != 0;
    bool nearer = had && deadline && deadline + SEEN_TOLERANCE_MS < s->deadline_ms;
    bool later = had && deadline > s->deadline_ms + SEEN_TOLERANCE_MS;
    if (!s->told || nearer || (later && s->deadline_ms < now) || (!had && deadline)) {
        s->told = true;
        s->past = s->slides = false;
        s->deadline_ms = deadline;
        return SEEN_NOTICE;
    }
    if (!later || s->slides)
        return 0;
    s->slides = true;
    return SEEN_SLIDES;
}

/* made: by the service's clock, as only its own times are compared. */
static unsigned recommended(struct seen *s, uint64_t made, uint64_t now)
{
    if (!s->told || (made == s->other_ms && made != s->made_ms && now >= s->since_ms + SEEN_STEADY_MS)) {
        *s = (struct seen){.told = true, .first_ms = s->first_ms, .made_ms = made, .other_ms = made, .since_ms = now};
        return SEEN_NOTICE;
    }
    if (made == s->other_ms)
        return 0;
    bool slides = !s->slides && s->other_ms != s->made_ms && made != s->made_ms; /* on and on, never steady */
    s->slides = s->slides || slides;
    s->other_ms = made;
    s->since_ms = now;
    return slides ? SEEN_SLIDES : 0;
}

/* Until its time it is planned; between NotBefore and NotAfter it may come at any moment. */
static unsigned maintenance(struct seen *s, uint64_t at, uint64_t until, uint64_t now, uint32_t near_ms)
{
    if (at <= now)
        return now > (until > at ? until : at) + SEEN_PAST_MS ? long_past(s) : there(s, 0, now);
    if (at - now <= near_ms)
        return there(s, at, now);
    unsigned what = (s->told ? SEEN_WITHDRAWN : 0) | (s->ahead_ms == at ? 0 : SEEN_AHEAD);
    *s = (struct seen){.ahead_ms = at};
    return what;
}

unsigned seen_reading(struct seen *s, enum notice_kind kind, const struct reading *r, uint64_t now_ms,
                      int64_t ahead_by_ms, uint32_t maintenance_ms)
{
    if (!r->there)
        return gone(s);
    if (!s->first_ms)
        s->first_ms = now_ms;
    if (kind == NOTICE_REBALANCE)
        return recommended(s, r->at_ms, now_ms);
    uint64_t at = r->at_ms ? local(r->at_ms, ahead_by_ms) : 0;
    if (kind == NOTICE_MAINTENANCE)
        return maintenance(s, at, r->until_ms ? local(r->until_ms, ahead_by_ms) : 0, now_ms, maintenance_ms);
    if (at && now_ms > at + SEEN_PAST_MS)
        return long_past(s);
    if (r->at_once && s->first_ms + SEEN_HIBERNATE_MS < at)
        at = s->first_ms + SEEN_HIBERNATE_MS;
    return there(s, at, now_ms);
}
