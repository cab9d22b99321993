#include "ops/report/outcome.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/mem.h"

enum { AFTER_MS = 10000, BACK_MS = 5000, US = 1000, PERCENT = 100, MINUTE_S = 60 };

/* ---- times ---- */

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double rank(const uint32_t *us, size_t n, unsigned percent)
{
    size_t nth = (n * percent + PERCENT - 1) / PERCENT;
    return (double)us[nth ? nth - 1 : 0] / US;
}

struct spread spread_of(uint32_t *us, size_t n)
{
    if (!n)
        return (struct spread){0};
    qsort(us, n, sizeof *us, by_size);
    return (struct spread){(uint32_t)n, rank(us, n, 50), rank(us, n, 99), rank(us, n, 100)};
}

/* Of all marks of a kind between two times: of one node, or of all but one, or of all. */
enum whose { OF_NODE, OF_OTHERS, OF_ALL };
static struct spread marks_between(const struct timeline *l, enum tl_mark_kind kind, enum whose whose, unsigned node,
                                   uint64_t from, uint64_t to)
{
    uint32_t *us = mem_array(l->n_marks + 1, sizeof *us);
    size_t n = 0;
    for (size_t k = 0; k < l->n_marks; k++) {
        const struct tl_mark *m = &l->marks[k];
        if (m->kind == kind && m->t >= from && m->t <= to &&
            (whose == OF_ALL || (m->node == node) == (whose == OF_NODE)))
            us[n++] = m->us;
    }
    struct spread s = spread_of(us, n);
    free(us);
    return s;
}

/* When the node first said so from then on; 0: it did not. */
static uint64_t said(const struct timeline *l, unsigned node, enum tl_state to, uint64_t from, uint64_t until)
{
    for (size_t k = 0; k < l->n_marks; k++) {
        const struct tl_mark *m = &l->marks[k];
        if (m->kind == TL_MARK_STATE && m->node == node && m->to == to && m->t >= from && m->t <= until)
            return m->t;
    }
    return 0;
}

static int64_t since(uint64_t t, uint64_t from)
{
    return t ? (int64_t)(t - from) : -1;
}

static double slowest_edit(const struct timeline *l, uint64_t from, uint64_t to)
{
    double most = 0;
    for (size_t k = 0; k < l->n_seconds; k++)
        if (l->seconds[k].t >= from && l->seconds[k].t <= to && l->seconds[k].max_ms > most)
            most = l->seconds[k].max_ms;
    return most;
}

/* ---- one event, one node ---- */

static enum outcome_kind kind_of(const char *what)
{
    static const struct {
        const char *what;
        enum outcome_kind kind;
    } kinds[] = {{"itn", OUTCOME_NOTICE},         {"storm", OUTCOME_NOTICE},   {"asg", OUTCOME_NOTICE},
                 {"maintenance", OUTCOME_NOTICE}, {"rebalance", OUTCOME_HINT}, {"flap", OUTCOME_HINT},
                 {"kill", OUTCOME_KILL},          {"freeze", OUTCOME_FREEZE}};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        if (strcmp(what, kinds[k].what) == 0)
            return kinds[k].kind;
    return OUTCOME_OTHER;
}

/* When something was next done to the node, behind that event and not before t; UINT64_MAX: never. */
static uint64_t next_event(const struct timeline *l, const struct tl_event *e, unsigned node, uint64_t t, bool others)
{
    for (const struct tl_event *f = e + 1; f < l->events + l->n_events; f++)
        for (unsigned k = 0; k < f->n_nodes; k++)
            if (f->nodes[k] == node && f->t >= t && (others || kind_of(f->what) != OUTCOME_OTHER))
                return f->t;
    return UINT64_MAX;
}

/* The last mark of that kind on a node in that time; NULL: there is none. */
static const struct tl_mark *last_mark(const struct timeline *l, enum tl_mark_kind kind, unsigned node, uint64_t from,
                                       uint64_t until)
{
    const struct tl_mark *last = NULL;
    for (size_t k = 0; k < l->n_marks; k++) {
        const struct tl_mark *m = &l->marks[k];
        if (m->kind == kind && m->node == node && m->t >= from && m->t <= until)
            last = m;
    }
    return last;
}

static uint64_t emptied(const struct tl_node *n, uint64_t from)
{
    for (size_t k = 0; k < n->n_samples; k++)
        if (n->samples[k].t >= from && n->samples[k].state == TL_LEAVING && n->samples[k].cells == 0)
            return n->samples[k].t;
    return n->stopped ? n->ended_t : 0;
}

static void judge_notice(const struct timeline *l, struct outcome *o)
{
    const struct tl_event *e = o->event;
    const struct tl_node *n = &l->nodes[o->node];
    uint64_t until = n->ended_t ? n->ended_t : UINT64_MAX;
    o->noticed_ms = since(said(l, o->node, TL_LEAVING, e->t, until), e->t);
    o->empty_ms = since(emptied(n, e->t), e->t);
    o->ended_ms = since(n->ended_t, e->t);
    if (n->ended_t && e->deadline && n->ended_t <= e->deadline)
        o->spare_ms = (int64_t)(e->deadline - n->ended_t);
    else if (n->ended_t && e->deadline)
        o->late_ms = (int64_t)(n->ended_t - e->deadline);
    o->freeze = marks_between(l, TL_MARK_FREEZE, OF_NODE, o->node, e->t, until);
    o->good = n->ended_t && n->stopped && !n->killed_t && (!e->deadline || n->ended_t <= e->deadline);
}

/* After its last withdrawal the node runs again, if there was time for that. What comes next is none of its business: a
 * metadata service that breaks down cannot tell it either. */
static void judge_back(const struct timeline *l, struct outcome *o, uint64_t until)
{
    const struct tl_mark *w = last_mark(l, TL_MARK_WITHDRAWN, o->node, o->event->t, until);
    if (!w)
        return;
    uint64_t end = next_event(l, o->event, o->node, w->t, true);
    end = end < until ? end : until;
    const struct tl_mark *is = last_mark(l, TL_MARK_STATE, o->node, o->event->t, end);
    if (is && is->to == TL_RUNNING)
        o->back_ms = is->t > w->t ? (int64_t)(is->t - w->t) : 0;
    o->withdrawn = end - w->t >= BACK_MS;
}

/* A hint is good when it was heeded, if there was time for that; and its withdrawal, too. */
static void judge_hint(const struct timeline *l, struct outcome *o)
{
    const struct tl_node *n = &l->nodes[o->node];
    uint64_t until = next_event(l, o->event, o->node, o->event->t, false);
    if (n->ended_t && n->ended_t < until)
        until = n->ended_t;
    o->noticed_ms = since(said(l, o->node, TL_AT_RISK, o->event->t, until), o->event->t);
    o->freeze = marks_between(l, TL_MARK_FREEZE, OF_NODE, o->node, o->event->t, until);
    judge_back(l, o, until < l->end_t ? until : l->end_t);
    o->good = (o->noticed_ms >= 0 || until - o->event->t < AFTER_MS) &&
              (!o->withdrawn || o->noticed_ms < 0 || o->back_ms >= 0);
}

/* Did it answer again, once it was thawed? A node that ended is judged for its end. */
static bool serves_again(const struct timeline *l, const struct outcome *o)
{
    const struct tl_node *n = &l->nodes[o->node];
    const struct tl_mark *thawed =
        last_mark(l, TL_MARK_THAWED, o->node, o->event->t, next_event(l, o->event, o->node, o->event->t, false));
    for (size_t k = 0; thawed && k < n->n_samples; k++)
        if (n->samples[k].t >= thawed->t && n->samples[k].state != TL_SILENT)
            return true;
    return n->ended_t != 0;
}

static void judge_loss(const struct timeline *l, struct outcome *o)
{
    const struct tl_node *n = &l->nodes[o->node];
    uint64_t t = o->event->t;
    struct spread claims = marks_between(l, TL_MARK_CLAIM, OF_OTHERS, o->node, t, t + AFTER_MS);
    o->taken_over = claims.n;
    o->claim_max_ms = claims.max_ms;
    o->ended_ms = since(n->ended_t, t);
    o->good = o->kind == OUTCOME_KILL ? n->ended_t != 0 : serves_again(l, o);
}

static void judge(const struct timeline *l, struct outcome *o)
{
    const struct tl_node *n = &l->nodes[o->node];
    const struct tl_event *e = o->event;
    const struct tl_sample *then = timeline_at(n, e->t, AFTER_MS);
    o->kind = kind_of(e->what);
    o->noticed_ms = o->read_ms = o->back_ms = o->empty_ms = o->ended_ms = o->spare_ms = o->late_ms = -1;
    o->cells = then ? then->cells : 0;
    o->edit_max_ms = slowest_edit(l, e->t, e->t + AFTER_MS);
    o->good = true;
    if (o->kind == OUTCOME_NOTICE)
        judge_notice(l, o);
    else if (o->kind == OUTCOME_HINT)
        judge_hint(l, o);
    else if (o->kind == OUTCOME_KILL || o->kind == OUTCOME_FREEZE)
        judge_loss(l, o);
    for (size_t k = 0; k < l->n_readings && o->noticed_ms >= 0; k++) {
        const struct tl_reading *r = &l->readings[k];
        uint64_t noticed = e->t + (uint64_t)o->noticed_ms;
        if (strcmp(r->name, n->name) == 0 && r->read_t >= e->t && r->read_t <= noticed)
            o->read_ms = (int64_t)(noticed - r->read_t);
    }
}

/* ---- all of them ---- */

/* Was the node told to end, or made to? */
static bool meant_to_end(const struct outcomes *o, unsigned node)
{
    for (size_t k = 0; k < o->n; k++)
        if (o->all[k].node == node && (o->all[k].kind == OUTCOME_NOTICE || o->all[k].kind == OUTCOME_KILL))
            return true;
    return false;
}

static void count(const struct timeline *l, struct outcomes *out)
{
    for (size_t k = 0; k < out->n; k++) {
        const struct outcome *o = &out->all[k];
        out->noticed += o->kind == OUTCOME_NOTICE;
        out->late += o->kind == OUTCOME_NOTICE && !o->good;
        out->killed += o->kind == OUTCOME_KILL;
        out->hung += o->kind == OUTCOME_FREEZE;
        out->hints += o->kind == OUTCOME_HINT;
        out->alive += o->kind == OUTCOME_KILL && !o->good;
        out->gone += o->kind == OUTCOME_FREEZE && !o->good;
        out->unheeded += o->kind == OUTCOME_HINT && !o->good && o->noticed_ms < 0;
        out->at_risk += o->kind == OUTCOME_HINT && !o->good && o->noticed_ms >= 0;
        out->good = out->good && o->good;
    }
    for (unsigned k = 0; k < l->n_nodes; k++)
        out->by_itself += l->nodes[k].ended_t && l->nodes[k].ended_t <= l->end_t && !meant_to_end(out, k);
}

__attribute__((format(printf, 2, 3))) static void add(char *to, const char *fmt, ...)
{
    size_t len = strlen(to);
    va_list args;
    va_start(args, fmt);
    vsnprintf(to + len, OUTCOME_SENTENCE_MAX - len, fmt, args);
    va_end(args);
}

static const char *plural(unsigned n)
{
    return n == 1 ? "" : "s";
}

const char *outcome_grouped(uint32_t v, char out[16])
{
    char digits[16];
    size_t len = (size_t)snprintf(digits, sizeof digits, "%u", v), n = 0;
    for (size_t k = 0; k < len; k++) {
        if (k && (len - k) % 3 == 0)
            out[n++] = ',';
        out[n++] = digits[k];
    }
    out[n] = '\0';
    return out;
}

static void add_time(char *to, uint64_t ms)
{
    unsigned s = (unsigned)((ms + US / 2) / US);
    if (s < 2 * MINUTE_S)
        add(to, "%u second%s", s, plural(s));
    else
        add(to, "%u minutes", (s + MINUTE_S / 2) / MINUTE_S);
}

static void add_taken(const struct outcomes *o, char *to)
{
    unsigned n = o->noticed + o->killed;
    if (n == 0 && o->hung == 0) {
        add(to, "no machine was taken away");
        return;
    }
    if (n)
        add(to, "%u machine%s %s taken away", n, plural(n), n == 1 ? "was" : "were");
    if (o->noticed && o->killed)
        add(to, " (%u with notice, %u without)", o->noticed, o->killed);
    if (n && o->hung)
        add(to, " and %u hung", o->hung);
    else if (o->hung)
        add(to, "%u machine%s hung", o->hung, plural(o->hung));
}

static void add_troubles(const struct timeline *l, const struct outcomes *o, char *to)
{
    const struct tl_verdict *v = &l->verdict;
    const struct {
        uint32_t n;
        const char *one, *many;
    } all[] = {
        {v->disconnects, "player was disconnected", "players were disconnected"},
        {v->lost, "edit was lost", "edits were lost"},
        {v->doubled, "edit was doubled", "edits were doubled"},
        {v->disordered, "edit was seen out of order", "edits were seen out of order"},
        {v->unseen, "edit was not seen by everybody", "edits were not seen by everybody"},
        {v->wrong_mirrors, "edit looked different from the next chunk", "edits looked different from the next chunk"},
        {o->late, "machine did not leave in time", "machines did not leave in time"},
        {o->by_itself, "machine ended without being told to", "machines ended without being told to"},
        {o->alive, "machine was killed and still ran", "machines were killed and still ran"},
        {o->gone, "machine that hung did not serve again", "machines that hung did not serve again"},
        {o->unheeded, "recommendation was not heeded", "recommendations were not heeded"},
        {o->at_risk, "machine stayed at risk for nothing", "machines stayed at risk for nothing"}};
    const char *comma = "";
    for (size_t k = 0; k < sizeof all / sizeof *all; k++)
        if (all[k].n) {
            add(to, "%s%u %s", comma, all[k].n, all[k].n == 1 ? all[k].one : all[k].many);
            comma = ", ";
        }
    if (l->bots && !v->there)
        add(to, "%sthe players could not say what became of their edits", comma);
}

static void say(const struct timeline *l, struct outcomes *o)
{
    const struct tl_verdict *v = &l->verdict;
    char *to = o->sentence;
    add(to, o->good ? "All good: in " : "Not good: in ");
    add_time(to, l->end_t - l->start_t);
    add(to, " ");
    add_taken(o, to);
    if (!o->good) {
        add(to, ", and ");
        add_troubles(l, o, to);
        add(to, ".");
    } else if (o->measured) {
        char edits[16];
        add(to, ", and of %u players none was disconnected; of %s edits none was lost, doubled or out of order",
            v->bots, outcome_grouped(v->edits, edits));
        add(to,
            v->max_ms < 2 * US ? ". The slowest was seen by others after %.0f ms."
                               : ". The slowest was seen by others after %.1f s.",
            v->max_ms < 2 * US ? v->max_ms : v->max_ms / US);
    } else {
        add(to, ". No players were there to say what they noticed.");
    }
}

void outcomes_of(const struct timeline *l, struct outcomes *out)
{
    const struct tl_verdict *v = &l->verdict;
    size_t most = 0;
    memset(out, 0, sizeof *out);
    for (size_t k = 0; k < l->n_events; k++)
        most += l->events[k].n_nodes;
    out->all = mem_array(most + 1, sizeof *out->all);
    for (size_t k = 0; k < l->n_events; k++)
        for (unsigned i = 0; i < l->events[k].n_nodes; i++) {
            struct outcome *o = &out->all[out->n++];
            o->event = &l->events[k];
            o->node = l->events[k].nodes[i];
            judge(l, o);
        }
    out->measured = v->there;
    out->good = true;
    count(l, out);
    out->good = out->good && !out->by_itself && !(l->bots && !v->there) && !v->disconnects && !v->lost && !v->unseen &&
                !v->doubled && !v->disordered && !v->wrong_mirrors;
    out->freeze = marks_between(l, TL_MARK_FREEZE, OF_ALL, 0, 0, UINT64_MAX);
    out->claim = marks_between(l, TL_MARK_CLAIM, OF_ALL, 0, l->start_t, l->end_t);
    say(l, out);
}

void outcomes_free(struct outcomes *o)
{
    free(o->all);
    memset(o, 0, sizeof *o);
}

static void describe_notice(const struct timeline *l, const struct outcome *o, char *out, size_t bytes)
{
    const struct tl_node *n = &l->nodes[o->node];
    if (n->killed_t && !n->stopped)
        snprintf(out, bytes, "still ran at its deadline and was killed; %u of %u cells had left", o->freeze.n,
                 o->cells);
    else if (!n->ended_t)
        snprintf(out, bytes, "was still there at the end; %u of %u cells had left", o->freeze.n, o->cells);
    else if (!n->stopped)
        snprintf(out, bytes, "ended after %.1f s, but not in order", (double)o->ended_ms / US);
    else if (o->late_ms >= 0)
        snprintf(out, bytes, "gave %u of %u cells away and left in order, but %.1f s after its deadline", o->freeze.n,
                 o->cells, (double)o->late_ms / US);
    else if (o->freeze.n)
        snprintf(out, bytes,
                 "gave %u cells away and left after %.1f s, %.1f s before its deadline; longest freeze %.1f ms",
                 o->freeze.n, (double)o->ended_ms / US, (double)o->spare_ms / US, o->freeze.max_ms);
    else
        snprintf(out, bytes, "had nothing to give away and left after %.1f s, %.1f s before its deadline",
                 (double)o->ended_ms / US, (double)o->spare_ms / US);
}

static void describe_hint(const struct outcome *o, char *out, size_t bytes)
{
    char then[96] = "";
    if (o->noticed_ms < 0) {
        snprintf(out, bytes, "%s", o->good ? "was overtaken by what came next" : "was not heeded");
        return;
    }
    if (o->back_ms >= 0)
        snprintf(then, sizeof then, ", and ran again %.1f s after it was withdrawn", (double)o->back_ms / US);
    else if (o->withdrawn)
        snprintf(then, sizeof then, ", but did not run again after it was withdrawn");
    snprintf(out, bytes, "was at risk after %.1f s%s; %u cells went elsewhere", (double)o->noticed_ms / US, then,
             o->freeze.n);
}

static void describe_loss(const struct outcome *o, char *out, size_t bytes)
{
    const char *but = "";
    if (!o->good)
        but = o->kind == OUTCOME_KILL ? "was killed and still ran: " : "was not seen to serve again: ";
    snprintf(out, bytes, "%s%u cells were claimed by others, each within %.0f ms; the slowest edit took %.0f ms", but,
             o->taken_over, o->claim_max_ms, o->edit_max_ms);
}

const char *outcome_text(const struct timeline *l, const struct outcome *o, char *out, size_t bytes)
{
    switch (o->kind) {
    case OUTCOME_NOTICE:
        describe_notice(l, o, out, bytes);
        break;
    case OUTCOME_HINT:
        describe_hint(o, out, bytes);
        break;
    case OUTCOME_KILL:
    case OUTCOME_FREEZE:
        describe_loss(o, out, bytes);
        break;
    case OUTCOME_OTHER:
        snprintf(out, bytes, "%s", o->event->text);
        break;
    }
    return out;
}
