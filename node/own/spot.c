#include "node/own/spot.h"

#include <assert.h>

enum { DEFAULT_MS = 120000 /* what EC2 gives when it gives anything */ };

static const char *const phase_name[SPOT_PHASES] = {"starting", "running", "at_risk", "leaving", "empty"};

const char *spot_phase_text(enum spot_phase p)
{
    return phase_name[p];
}

/* ---- what follows from what was told ---- */

static bool means_leaving(const struct spot *s, enum notice_kind k, uint64_t now_ms)
{
    const struct spot_notice *t = &s->notices[k];
    if (!t->stands || k == NOTICE_REBALANCE)
        return false;
    return k != NOTICE_MAINTENANCE || t->deadline_ms <= now_ms + s->maintenance_ms;
}

static void leave_by(struct spot *s, const char *why, uint64_t deadline_ms)
{
    if (s->deadline_ms && s->deadline_ms <= deadline_ms)
        return;
    s->deadline_ms = deadline_ms;
    s->why = why;
}

static void follow(struct spot *s, uint64_t now_ms)
{
    enum spot_phase was = s->phase;
    if (was == SPOT_EMPTY)
        return;
    struct spot_notice *risk = &s->notices[NOTICE_REBALANCE];
    s->deadline_ms = 0;
    s->why = "";
    if (s->stopping)
        leave_by(s, "stop", s->stop_ms);
    for (unsigned k = 0; k < NOTICES; k++) {
        if (means_leaving(s, (enum notice_kind)k, now_ms))
            leave_by(s, notice_name((enum notice_kind)k), s->notices[k].deadline_ms);
    }
    risk->spent = risk->spent || (risk->stands && now_ms - risk->from_ms >= s->quiet_ms);
    if (s->emptied) {
        s->phase = SPOT_EMPTY;
    } else if (s->deadline_ms) {
        s->phase = SPOT_LEAVING;
    } else if (s->draining) {
        s->phase = SPOT_LEAVING;
        s->why = "drain";
    } else if (!s->started) {
        s->phase = SPOT_STARTING;
    } else if (risk->stands && !risk->spent) {
        s->phase = SPOT_AT_RISK;
        s->why = notice_name(NOTICE_REBALANCE);
    } else {
        s->phase = SPOT_RUNNING;
    }
    if (s->phase != was)
        s->since_ms = now_ms;
}

/* ---- what is told ---- */

void spot_init(struct spot *s, uint32_t quiet_ms, uint32_t maintenance_ms, uint64_t now_ms)
{
    *s = (struct spot){.quiet_ms = quiet_ms, .maintenance_ms = maintenance_ms, .why = "", .since_ms = now_ms};
}

void spot_started(struct spot *s, uint64_t now_ms)
{
    s->started = true;
    follow(s, now_ms);
}

bool spot_told(struct spot *s, enum notice_kind kind, uint64_t told_unix_ms, uint64_t unix_ms, uint64_t now_ms)
{
    struct spot_notice *t = &s->notices[kind];
    bool first = !t->stands;
    bool binding = !first && means_leaving(s, kind, now_ms);
    uint64_t left = told_unix_ms > unix_ms ? told_unix_ms - unix_ms : DEFAULT_MS;
    bool news = first || kind == NOTICE_REBALANCE;
    if (!first && t->told_ms == told_unix_ms)
        return false;
    t->stands = true;
    t->told_ms = told_unix_ms;
    if (news) {
        t->from_ms = now_ms;
        t->spent = false;
    }
    bool movable = kind == NOTICE_MAINTENANCE && !binding;
    if (kind != NOTICE_REBALANCE && (first || movable || now_ms + left < t->deadline_ms)) {
        t->deadline_ms = now_ms + left;
        news = true;
    }
    follow(s, now_ms);
    return news;
}

bool spot_withdrawn(struct spot *s, enum notice_kind kind, uint64_t now_ms)
{
    bool stood = s->notices[kind].stands;
    s->notices[kind] = (struct spot_notice){0};
    follow(s, now_ms);
    return stood;
}

void spot_stop(struct spot *s, uint64_t deadline_ms, uint64_t now_ms)
{
    if (!s->stopping || deadline_ms < s->stop_ms)
        s->stop_ms = deadline_ms;
    s->stopping = true;
    follow(s, now_ms);
}

void spot_drain(struct spot *s, bool on, uint64_t now_ms)
{
    s->draining = on;
    follow(s, now_ms);
}

void spot_emptied(struct spot *s, uint64_t now_ms)
{
    assert(s->phase == SPOT_LEAVING && s->deadline_ms);
    s->emptied = true;
    follow(s, now_ms);
}

void spot_tick(struct spot *s, uint64_t now_ms)
{
    follow(s, now_ms);
}

bool spot_only_drained(const struct spot *s)
{
    return s->phase == SPOT_LEAVING && !s->deadline_ms;
}
