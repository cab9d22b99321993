#include "proto/imds/imds.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/base/metrics.h"
#include "proto/base/rng.h"
#include "proto/imds/imds_endpoint.h"
#include "proto/imds/imds_http.h"
#include "proto/imds/imds_metrics.h"
#include "proto/imds/imds_parse.h"
#include "proto/imds/imds_tell.h"
#include "proto/imds/trouble.h"

/*   look:  [token] -> path -> path -> ... -> judged, and the next one planned
 *
 * A look reads, one after the other, every path that is due. A path that fails while others answer is left out for a
 * while of its own; a look that brings nothing at all puts off the next look instead. Both grow to ten seconds at most
 * (half a minute where there seems to be no metadata at all), and one good answer ends them. A token that is refused is
 * replaced within the look, once. */

enum {
    SLOWEST_MS = 8000,      /* +- 25 %: the longest that trouble puts anything off */
    NO_METADATA_MS = 30000, /* the same where there seems to be none */
    V1_MS = 300000,         /* version 1 is believed in for so long, then version 2 is tried again */
    BLIND_MS = 15000,       /* no answer of a path for so long (or five polls) is told as blindness */
    TOKEN_MAX = 512,
    TOKEN_S = 21600, /* asked for; how long it lasts, the answer says */
    TOKEN_S_MAX = 21600,
};

/* The notices' paths, in the order of enum notice_kind, then those of the identity. */
enum { PATHS = NOTICES + ID_FIELDS };
static const char *const paths[PATHS] = {
    [NOTICE_REBALANCE] = "events/recommendations/rebalance",
    [NOTICE_INTERRUPTION] = "spot/instance-action",
    [NOTICE_TERMINATION] = "spot/termination-time",
    [NOTICE_LIFECYCLE] = "autoscaling/target-lifecycle-state",
    [NOTICE_MAINTENANCE] = "events/maintenance/scheduled",
    [NOTICES + ID_INSTANCE] = "instance-id",
    [NOTICES + ID_TYPE] = "instance-type",
    [NOTICES + ID_ZONE] = "placement/availability-zone",
    [NOTICES + ID_LIFECYCLE] = "instance-life-cycle",
};

struct path {
    unsigned fails;      /* in a row, while other paths were answered */
    uint64_t due_ms;     /* not before */
    uint64_t good_ms;    /* last good answer; at first, when the watching began */
    bool read;           /* or being read, in this look */
    bool failed;         /* in this look, ... */
    enum imds_error why; /* ... for this reason */
    struct trouble trouble;
};

struct imds {
    struct imds_conf conf;
    struct imds_endpoint at;
    struct imds_http *http; /* NULL: there is no metadata */
    struct event *next_look, *check;
    struct rng rng;
    struct imds_metrics metrics;
    bool checked;
    struct imds_tell tell;
    struct path path[PATHS];

    char token[TOKEN_MAX + 1]; /* "": none */
    uint64_t renew_ms, token_end_ms;
    uint64_t v1_until_ms; /* no tokens are to be had until then */

    uint64_t look_ms;    /* when this look began */
    unsigned turn;       /* the path that is being read */
    bool asking_token;   /* what is on its way */
    bool token_tried;    /* in this look */
    bool token_replaced; /* in this look: once is enough */
    bool any_good;       /* in this look */
    bool any_reached;    /* ever: there is a metadata service */
    unsigned empty_looks;
    enum imds_error why; /* the first failure of this look */
    bool why_set;
    struct trouble blind, token_trouble, v1;
    uint64_t asked_unix_ms; /* when the last request left */
};

/* ---- what went wrong ---- */

static enum imds_error error_of(const struct imds_answer *a)
{
    switch (a->result) {
    case IMDS_UNREACHABLE:
        return IMDS_ERR_UNREACHABLE;
    case IMDS_UNANSWERED:
        return IMDS_ERR_UNANSWERED;
    case IMDS_CLOSED:
        return IMDS_ERR_CLOSED;
    case IMDS_BROKEN:
        return IMDS_ERR_BROKEN;
    case IMDS_ANSWERED:
        break;
    }
    switch (a->status) {
    case 200:
        return IMDS_ERR_GARBAGE;
    case 400:
        return IMDS_ERR_BAD_REQUEST;
    case 401:
        return IMDS_ERR_UNAUTHORIZED;
    case 403:
        return IMDS_ERR_FORBIDDEN;
    case 429:
    case 503:
        return IMDS_ERR_THROTTLED;
    default:
        return a->status >= 500 ? IMDS_ERR_SERVER : IMDS_ERR_OTHER_STATUS;
    }
}

static void failed(struct imds *w, enum imds_error e)
{
    metric_add(w->metrics.errors[e], 1);
    if (!w->why_set)
        w->why = e;
    w->why_set = true;
}

/* What to do about it, where there is something to be done. */
static const char *hint(enum imds_error e)
{
    switch (e) {
    case IMDS_ERR_HOP_LIMIT:
        return " hint=\"the token's request is swallowed: set HttpPutResponseHopLimit to 2, or run with hostNetwork\"";
    case IMDS_ERR_FORBIDDEN:
    case IMDS_ERR_NO_TOKENS:
        return " hint=\"no token is given: switch the metadata service on, or allow version 1 with imds_v1\"";
    case IMDS_ERR_UNREACHABLE:
        return " hint=\"is the address right, is it blocked by a network policy?\"";
    default:
        return "";
    }
}

/* Put off, doubling with each failure, never much beyond the slowest pace and never below the usual one. */
static uint64_t put_off_ms(struct imds *w, unsigned fails, uint64_t slowest_ms)
{
    uint64_t ms = w->conf.poll_ms;
    while (fails-- && ms < slowest_ms)
        ms *= 2;
    if (ms > slowest_ms)
        ms = slowest_ms;
    ms = rng_jitter(&w->rng, ms);
    return ms > w->conf.poll_ms ? ms : w->conf.poll_ms;
}

/* ---- looks ---- */

static void after_ms(struct event *e, uint64_t ms)
{
    event_add(e, &(struct timeval){.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000) * 1000});
}

static void tell_checked(struct imds *w)
{
    if (w->checked)
        return;
    w->checked = true;
    evtimer_del(w->check);
    if (w->conf.ops->checked)
        w->conf.ops->checked(w->conf.arg);
}

/* A machine that never answered at the usual address, where nobody said that it should, has no metadata: nothing is
 * wrong then. */
static bool seems_absent(const struct imds *w)
{
    return !w->any_reached && !w->at.chosen;
}

static void tell_empty_look(struct imds *w, uint64_t now)
{
    if (!trouble_begins(&w->blind, w->why, now))
        return;
    if (seems_absent(w)) {
        log_info("no_metadata host=%s reason=%s", w->at.host, imds_error_name(w->why));
    } else {
        log_warn("metadata_blind host=%s port=%u reason=%s%s", w->at.host, w->at.port, imds_error_name(w->why),
                 hint(w->why));
    }
}

static void judge_paths(struct imds *w, uint64_t now)
{
    for (unsigned i = 0; i < PATHS; i++) {
        struct path *p = &w->path[i];
        if (!p->failed)
            continue;
        p->due_ms = w->look_ms + put_off_ms(w, ++p->fails, SLOWEST_MS);
        if (trouble_begins(&p->trouble, p->why, now))
            log_warn("metadata_path_fails path=%s reason=%s", paths[i], imds_error_name(p->why));
    }
    if (trouble_ends(&w->blind, now))
        log_info("metadata_seen host=%s", w->at.host);
}

static void look_end(struct imds *w)
{
    uint64_t now = clock_mono_ms(), wait;
    if (w->any_good || !w->why_set) { /* or nothing was due */
        w->empty_looks = 0;
        judge_paths(w, now);
        wait = w->conf.poll_ms;
    } else {
        tell_empty_look(w, now);
        wait = put_off_ms(w, w->empty_looks, seems_absent(w) ? NO_METADATA_MS : SLOWEST_MS);
        w->empty_looks++;
    }
    uint64_t due = w->look_ms + wait;
    after_ms(w->next_look, due > now ? due - now : 0);
    tell_checked(w);
}

static void ask(struct imds *w, bool put, const char *path, const char *header, const char *value)
{
    w->asked_unix_ms = clock_unix_ms();
    imds_http_ask(w->http, put, path, header, value);
}

static void ask_token(struct imds *w)
{
    char path[sizeof w->at.prefix + 32], ttl[16];
    w->token_tried = w->asking_token = true;
    snprintf(path, sizeof path, "%s/latest/api/token", w->at.prefix);
    snprintf(ttl, sizeof ttl, "%d", TOKEN_S);
    ask(w, true, path, "X-aws-ec2-metadata-token-ttl-seconds", ttl);
}

static void ask_path(struct imds *w, unsigned i)
{
    char path[sizeof w->at.prefix + 80];
    w->turn = i;
    w->path[i].read = true;
    snprintf(path, sizeof path, "%s/latest/meta-data/%s", w->at.prefix, paths[i]);
    ask(w, false, path, w->token[0] ? "X-aws-ec2-metadata-token" : NULL, w->token);
}

static bool is_due(const struct imds *w, unsigned i)
{
    bool done = i >= NOTICES && w->tell.known[i - NOTICES];
    return !done && !w->path[i].read && w->look_ms >= w->path[i].due_ms;
}

/* The path whose answer is oldest, so that where only some requests are answered each has its turn; but one that was
 * silent last time comes last, as it may cost the others its whole time. PATHS: none is due. */
static unsigned next_path(const struct imds *w)
{
    unsigned best = PATHS;
    for (unsigned i = 0; i < PATHS; i++) {
        const struct path *p = &w->path[i], *b = &w->path[best < PATHS ? best : i];
        bool silent = p->fails && p->why == IMDS_ERR_UNANSWERED, b_silent = b->fails && b->why == IMDS_ERR_UNANSWERED;
        if (is_due(w, i) && (best == PATHS || silent < b_silent || (silent == b_silent && p->good_ms < b->good_ms)))
            best = i;
    }
    return best;
}

/* The next request of this look. */
static void go_on(struct imds *w)
{
    uint64_t now = clock_mono_ms();
    if (w->token[0] && now >= w->token_end_ms)
        w->token[0] = '\0';
    bool want_token = (!w->token[0] || now >= w->renew_ms) && now >= w->v1_until_ms;
    unsigned i = next_path(w);
    if (want_token && !w->token_tried)
        ask_token(w);
    else if (i < PATHS && (w->token[0] || now < w->v1_until_ms))
        ask_path(w, i);
    else
        look_end(w);
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct imds *w = arg;
    w->look_ms = clock_mono_ms();
    w->any_good = w->why_set = w->token_tried = w->token_replaced = false;
    for (unsigned i = 0; i < PATHS; i++)
        w->path[i].failed = w->path[i].read = false;
    go_on(w);
}

/* ---- the token ---- */

/* Renewed with a fifth of its time left, so that a service which fails for a while finds us with a good one. */
static bool take_token(struct imds *w, const struct imds_answer *a)
{
    uint32_t ttl_s;
    char token[TOKEN_MAX + 1];
    if (a->result != IMDS_ANSWERED || a->status != 200 || !imds_parse_token(a->body, a->len, token, TOKEN_MAX) ||
        !imds_parse_number(a->token_ttl, 1, TOKEN_S_MAX, &ttl_s))
        return false;
    uint64_t now = clock_mono_ms();
    memcpy(w->token, token, sizeof w->token);
    w->token_end_ms = now + ttl_s * 1000ull;
    w->renew_ms = now + ttl_s * 800ull;
    w->v1_until_ms = 0;
    metric_add(w->metrics.tokens, 1);
    if (trouble_ends(&w->token_trouble, now))
        log_info("metadata_token_renewed");
    if (trouble_ends(&w->v1, now))
        log_info("metadata_v1_over");
    return true;
}

static void on_token(struct imds *w, const struct imds_answer *a)
{
    w->asking_token = false;
    if (take_token(w, a)) {
        go_on(w);
        return;
    }
    enum imds_error e = error_of(a);
    bool refused = a->result == IMDS_ANSWERED && (a->status == 403 || a->status == 404);
    if (a->result == IMDS_ANSWERED && a->status == 404)
        e = IMDS_ERR_NO_TOKENS;
    if (a->result == IMDS_UNANSWERED && !w->token[0])
        e = IMDS_ERR_HOP_LIMIT;
    uint64_t now = clock_mono_ms();
    if (refused && w->conf.v1 && !w->token[0]) {
        w->v1_until_ms = now + V1_MS;
        if (trouble_begins(&w->v1, e, now))
            log_info("metadata_v1 reason=%s", imds_error_name(e));
    } else {
        failed(w, e);
    }
    if (w->token[0]) { /* it lasts a while yet: the looks must not wait for a new one each time */
        w->renew_ms = w->look_ms + put_off_ms(w, 2, SLOWEST_MS);
        if (trouble_begins(&w->token_trouble, e, now))
            log_warn("metadata_token_fails reason=%s", imds_error_name(e));
    }
    go_on(w);
}

/* ---- answers ---- */

static void path_good(struct imds *w, unsigned i)
{
    struct path *p = &w->path[i];
    w->any_good = true;
    p->fails = 0;
    p->due_ms = 0;
    p->good_ms = clock_mono_ms();
    if (trouble_ends(&p->trouble, p->good_ms))
        log_info("metadata_path_answers path=%s", paths[i]);
}

static void on_path(struct imds *w, const struct imds_answer *a)
{
    unsigned i = w->turn;
    struct path *p = &w->path[i];
    if (a->result == IMDS_ANSWERED)
        tell_date(&w->tell, a->date, w->asked_unix_ms);
    if (a->result == IMDS_ANSWERED && a->status == 401 && !w->token_replaced) {
        w->token[0] = '\0';
        w->v1_until_ms = 0; /* version 1 is not good enough any more */
        w->token_tried = false;
        w->token_replaced = true;
        p->read = false; /* once more, with a new token */
        go_on(w);
        return;
    }
    if (a->result == IMDS_ANSWERED &&
        (i < NOTICES ? tell_notice(&w->tell, i, a) : tell_identity(&w->tell, i - NOTICES, a))) {
        path_good(w, i);
    } else {
        p->failed = true;
        p->why = error_of(a);
        failed(w, p->why);
        if (a->result == IMDS_UNREACHABLE) { /* so are the others */
            look_end(w);
            return;
        }
    }
    go_on(w);
}

static void on_answer(void *arg, const struct imds_answer *a)
{
    struct imds *w = arg;
    if (a->result == IMDS_ANSWERED)
        metric_add(imds_metrics_answer(&w->metrics, a->status), 1);
    if (a->result != IMDS_UNREACHABLE)
        w->any_reached = true;
    if (w->asking_token)
        on_token(w, a);
    else
        on_path(w, a);
}

/* ---- open, free ---- */

static void on_check(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    tell_checked(arg);
}

enum err imds_open(const struct imds_conf *c, struct imds **out, char *why, size_t why_bytes)
{
    struct imds_endpoint at;
    if (imds_endpoint_parse(c->endpoint, getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT"), &at, why, why_bytes) != ERR_OK)
        return ERR_BAD;
    struct imds *w = mem_zalloc(sizeof *w);
    w->conf = *c;
    w->conf.endpoint = w->conf.instance_id = NULL; /* the caller's */
    w->at = at;
    imds_metrics_open(&w->metrics);
    rng_seed_os(&w->rng);
    w->next_look = evtimer_new(c->base, on_look, w);
    w->check = evtimer_new(c->base, on_check, w);
    if (!w->next_look || !w->check) {
        log_error("out_of_memory what=metadata_watcher");
        abort();
    }
    for (unsigned i = 0; i < PATHS; i++)
        w->path[i].good_ms = clock_mono_ms();
    w->tell =
        (struct imds_tell){.ops = c->ops, .arg = c->arg, .metrics = &w->metrics, .maintenance_ms = c->maintenance_ms};
    tell_instance_id(&w->tell, c->instance_id);
    if (!at.none) {
        w->http = imds_http_new(c->base, c->dns, at.host, at.port, c->timeout_ms, on_answer, w);
        after_ms(w->next_look, 0);
    }
    after_ms(w->check, at.none ? 0 : c->timeout_ms);
    *out = w;
    return ERR_OK;
}

void imds_free(struct imds *w)
{
    if (!w)
        return;
    imds_http_free(w->http);
    event_free(w->next_look);
    event_free(w->check);
    free(w);
}

void imds_refresh(struct imds *w)
{
    uint64_t now = clock_mono_ms(), oldest = now;
    if (w->http && !seems_absent(w)) {
        for (unsigned k = 0; k < NOTICES; k++) {
            if (w->path[k].good_ms < oldest)
                oldest = w->path[k].good_ms;
        }
    }
    uint64_t most = w->conf.poll_ms * 5ull > BLIND_MS ? w->conf.poll_ms * 5ull : BLIND_MS;
    metric_set(w->metrics.age, (double)(now - oldest) / 1e3);
    metric_set(w->metrics.blind, now - oldest > most);
}
