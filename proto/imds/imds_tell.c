#include "proto/imds/imds_tell.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/metrics.h"
#include "proto/imds/imds_parse.h"

enum {
    SKEW_MS = 3000, /* clocks this close agree: Date has seconds only */
    SKEW_STEP_MS = 2000,
};

/* ---- clocks ---- */

/* Deadlines are told by this machine's clock, so a clock that is wrong must not make two minutes none. The Date was
 * written between asking and now, and its second may be nearly over: the most that its clock can be ahead makes the
 * earliest deadline. */
void tell_date(struct imds_tell *t, const char *date, uint64_t asked_unix_ms)
{
    uint64_t theirs;
    if (!imds_parse_date(date, strlen(date), &theirs))
        return;
    int64_t least = (int64_t)theirs - (int64_t)clock_unix_ms();
    int64_t most = (int64_t)theirs + 999 - (int64_t)asked_unix_ms;
    int64_t ahead = least < SKEW_MS && most > -SKEW_MS ? 0 : most;
    if (llabs(ahead - t->ahead_ms) >= SKEW_STEP_MS) {
        t->ahead_ms = ahead;
        metric_set(t->metrics->skew, (double)ahead / 1e3);
    }
    uint64_t now = clock_mono_ms();
    if (t->ahead_ms && trouble_begins(&t->skewed, 0, now))
        log_warn("metadata_clock_differs ahead_s=%lld used=theirs", (long long)t->ahead_ms / 1000);
    else if (!t->ahead_ms && trouble_ends(&t->skewed, now))
        log_info("metadata_clock_agrees");
}

/* ---- notices ---- */

/* What the callback is told: the deadline, of a recommendation when it was made. */
static uint64_t time_of(const struct imds_tell *t, enum notice_kind k)
{
    const struct seen *s = &t->seen[k];
    int64_t made = (int64_t)s->made_ms - t->ahead_ms;
    return k != NOTICE_REBALANCE ? s->deadline_ms : made > 0 ? (uint64_t)made : 0;
}

static void tell_news(struct imds_tell *t, enum notice_kind k, const struct reading *r, uint64_t now)
{
    struct seen *s = &t->seen[k];
    unsigned news = seen_reading(s, k, r, now, t->ahead_ms, t->maintenance_ms);
    char shown[2 * READING_DETAIL_MAX];
    log_quote(shown, sizeof shown, r->detail, strlen(r->detail));
    const char *name = notice_name(k);
    long long left_ms = s->deadline_ms ? (long long)s->deadline_ms - (long long)now : 0;
    if (news & SEEN_AHEAD)
        log_info("metadata_maintenance_planned in_s=%llu detail=%s", (unsigned long long)(s->ahead_ms - now) / 1000,
                 shown);
    if (news & SEEN_SLIDES)
        log_warn("metadata_notice_slides kind=%s kept_deadline_ms=%llu", name, (unsigned long long)s->deadline_ms);
    if (news & SEEN_PAST)
        log_warn("metadata_notice_past kind=%s detail=%s", name, shown);
    metric_add(t->metrics->ignored_slides, s->slides);
    metric_add(t->metrics->ignored_past, s->past);
    metric_set(t->metrics->now[k], s->told);
    if (news & SEEN_WITHDRAWN) {
        log_info("metadata_notice_withdrawn kind=%s", name);
        metric_add(t->metrics->withdrawn[k], 1);
        if (t->ops->withdrawn)
            t->ops->withdrawn(t->arg, k);
    }
    if (news & SEEN_NOTICE) {
        log_info("metadata_notice kind=%s detail=%s deadline_ms=%llu left_ms=%lld", name, shown,
                 (unsigned long long)s->deadline_ms, left_ms);
        metric_add(t->metrics->notices[k], 1);
        if (t->ops->notice)
            t->ops->notice(t->arg, k, time_of(t, k), r->detail);
    }
}

bool tell_notice(struct imds_tell *t, enum notice_kind k, const struct imds_answer *a)
{
    struct reading r = {.there = false};
    uint64_t now = clock_unix_ms();
    int64_t over = (int64_t)now + t->ahead_ms - SEEN_PAST_MS;
    if (a->status != 404 && a->status != 200)
        return false;
    if (a->status == 200 && imds_parse_notice(k, a->body, a->len, over > 0 ? (uint64_t)over : 0, &r) != ERR_OK)
        return false;
    if (r.vague && t->seen[k].first_ms) /* a notice that was read stands until it is clear that it does not */
        return false;
    tell_news(t, k, &r, now);
    return true;
}

/* ---- the identity ---- */

static char *field_of(struct imds_identity *id, enum id_field f)
{
    return f == ID_INSTANCE ? id->instance_id : f == ID_TYPE ? id->type : f == ID_ZONE ? id->zone : id->lifecycle;
}

/* So that a dashboard can tell which machine a process was on. */
static void publish_id(const char *id)
{
    char label[IMDS_WORD_MAX + 24];
    if (!id[0])
        return;
    snprintf(label, sizeof label, "instance_id=\"%s\"", id);
    metric_set(metrics_gauge("spotcraft_instance", "1: the machine that this process runs on.", label), 1);
}

static void tell_all(struct imds_tell *t)
{
    struct imds_identity *id = &t->identity;
    for (unsigned f = 0; f < ID_FIELDS; f++) {
        if (!t->known[f])
            return;
    }
    if (t->identified)
        return;
    t->identified = true;
    if (!id->lifecycle[0])
        snprintf(id->lifecycle, sizeof id->lifecycle, "on-demand");
    char pool[3 * IMDS_WORD_MAX + 3];
    int n = snprintf(pool, sizeof pool, "%s/%s/%s", id->type, id->zone, id->lifecycle);
    if (id->type[0] && id->zone[0] && n <= IMDS_WORD_MAX)
        memcpy(id->pool, pool, (size_t)n + 1);
    log_info("metadata_instance id=%s type=%s zone=%s lifecycle=%s", id->instance_id, id->type, id->zone,
             id->lifecycle);
    publish_id(id->instance_id);
    if (t->ops->identity)
        t->ops->identity(t->arg, id);
}

/* A service that is just starting may not know yet, and this is told once: what is not there is asked for twice. */
bool tell_identity(struct imds_tell *t, enum id_field f, const struct imds_answer *a)
{
    bool missing = a->status == 404;
    if (!missing && (a->status != 200 || !imds_parse_word(a->body, a->len, field_of(&t->identity, f), IMDS_WORD_MAX)))
        return false;
    t->known[f] = !missing || t->missing[f];
    t->missing[f] = missing;
    if (t->known[f])
        tell_all(t);
    return true;
}

void tell_instance_id(struct imds_tell *t, const char *id)
{
    snprintf(t->identity.instance_id, sizeof t->identity.instance_id, "%s", id);
    t->known[ID_INSTANCE] = id[0] != '\0';
    publish_id(id);
}
