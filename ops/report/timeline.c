#include "ops/report/timeline.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/json.h"
#include "proto/base/mem.h"

static const char *const state_name[TL_STATES] = {"starting", "running", "at_risk", "leaving", "silent"};

const char *tl_state_text(enum tl_state s)
{
    return state_name[s];
}

/* What a node calls itself. A drain is a way of leaving, and empty its end. */
static enum tl_state state_of(const char *text)
{
    for (enum tl_state s = TL_STARTING; s < TL_STATES; s++)
        if (strcmp(text, state_name[s]) == 0)
            return s;
    return strcmp(text, "joining") == 0 ? TL_STARTING : TL_LEAVING;
}

/* ---- reading a line ---- */

struct reader {
    struct timeline *out;
    struct json line;
    uint64_t t;
};

static uint64_t whole(const struct json o, const char *name)
{
    int64_t v = json_int(json_get(o, name), 0);
    return v > 0 ? (uint64_t)v : 0;
}

static uint32_t count(const struct json o, const char *name)
{
    uint64_t v = whole(o, name);
    return v < UINT32_MAX ? (uint32_t)v : UINT32_MAX;
}

/* The line is one string, checked as a whole: a number in it is a number, and ends before the line does. */
static double decimal(struct json o, const char *name)
{
    struct json v = json_get(o, name);
    double d = v.at && *v.at != '"' ? strtod(v.at, NULL) : 0;
    return d > 0 && d < 1e12 ? d : 0;
}

static bool is_true(struct json v)
{
    return v.at && *v.at == 't';
}

/* Grows an array by one, zeroed. */
static void *grow(void **array, size_t *n, size_t size)
{
    if ((*n & (*n - 1)) == 0)
        *array = mem_resize(*array, (*n ? 2 * *n : 1) * size);
    void *item = (char *)*array + (*n)++ * size;
    memset(item, 0, size);
    return item;
}
#define GROW(array, n) grow((void **)&(array), &(n), sizeof *(array))

/* -1: it has no name. */
static int node_named(struct timeline *l, const char *name, uint64_t t)
{
    for (size_t k = 0; k < l->n_nodes; k++)
        if (strcmp(l->nodes[k].name, name) == 0)
            return (int)k;
    if (!*name)
        return -1;
    struct tl_node *n = GROW(l->nodes, l->n_nodes);
    snprintf(n->name, sizeof n->name, "%s", name);
    n->first_t = t;
    return (int)l->n_nodes - 1;
}

static int node_of(struct reader *r)
{
    char name[TL_NAME_MAX];
    return node_named(r->out, json_text(json_get(r->line, "name"), name, sizeof name), r->t);
}

static bool on_start(struct reader *r)
{
    struct timeline *l = r->out;
    l->start_t = r->t;
    l->bots = count(r->line, "bots");
    l->speed = count(r->line, "speed");
    l->seed = json_int(json_get(r->line, "seed"), -1);
    json_text(json_get(r->line, "title"), l->title, sizeof l->title);
    json_text(json_get(r->line, "command"), l->command, sizeof l->command);
    return true;
}

static bool sample(struct reader *r, enum tl_state state, bool silent)
{
    int k = node_of(r);
    if (k < 0)
        return false;
    struct tl_node *n = &r->out->nodes[k];
    const struct tl_sample *last = n->n_samples ? &n->samples[n->n_samples - 1] : NULL;
    uint32_t cells = silent ? (last ? last->cells : 0) : count(r->line, "cells");
    struct tl_sample *s = GROW(n->samples, n->n_samples);
    *s = (struct tl_sample){.t = r->t, .state = state, .cells = cells, .players = count(r->line, "players")};
    if (!n->pool[0])
        json_text(json_get(r->line, "pool"), n->pool, sizeof n->pool);
    return true;
}

static bool on_node(struct reader *r)
{
    char state[16];
    return sample(r, state_of(json_text(json_get(r->line, "state"), state, sizeof state)), false);
}

static bool on_silent(struct reader *r)
{
    char name[TL_NAME_MAX];
    json_text(json_get(r->line, "name"), name, sizeof name);
    return strncmp(name, "node", 4) != 0 || sample(r, TL_SILENT, true); /* gateways have no lane */
}

static bool mark(struct reader *r, enum tl_mark_kind kind)
{
    char to[16];
    int k = node_of(r);
    if (k < 0)
        return false;
    struct tl_mark *m = GROW(r->out->marks, r->out->n_marks);
    *m = (struct tl_mark){.t = r->t, .kind = kind, .node = (unsigned)k, .us = count(r->line, "us")};
    if (kind == TL_MARK_STATE)
        m->to = state_of(json_text(json_get(r->line, "to"), to, sizeof to));
    json_text(json_get(r->line, "why"), m->why, sizeof m->why);
    return true;
}

static bool on_state(struct reader *r)
{
    return mark(r, TL_MARK_STATE);
}

static bool on_freeze(struct reader *r)
{
    return mark(r, TL_MARK_FREEZE);
}

static bool on_claim(struct reader *r)
{
    return mark(r, TL_MARK_CLAIM);
}

static bool on_thawed(struct reader *r)
{
    return mark(r, TL_MARK_THAWED);
}

static bool on_withdrawn(struct reader *r)
{
    return mark(r, TL_MARK_WITHDRAWN);
}

static bool on_ended(struct reader *r)
{
    char name[TL_NAME_MAX];
    if (strncmp(json_text(json_get(r->line, "name"), name, sizeof name), "node", 4) != 0)
        return true;
    int k = node_of(r);
    if (k < 0)
        return false;
    r->out->nodes[k].ended_t = r->t;
    r->out->nodes[k].stopped = is_true(json_get(r->line, "stopped"));
    return true;
}

static bool on_killed(struct reader *r)
{
    int k = node_of(r);
    if (k < 0)
        return false;
    r->out->nodes[k].killed_t = r->t;
    return true;
}

static bool on_event(struct reader *r)
{
    struct json nodes = json_get(r->line, "nodes"), item = {0};
    struct tl_event *e = GROW(r->out->events, r->out->n_events);
    e->t = r->t;
    e->id = count(r->line, "id");
    e->deadline = whole(r->line, "deadline_ms");
    json_text(json_get(r->line, "what"), e->what, sizeof e->what);
    json_text(json_get(r->line, "text"), e->text, sizeof e->text);
    while (json_next(nodes, &item)) {
        char name[TL_NAME_MAX];
        int k = node_named(r->out, json_text(item, name, sizeof name), r->t);
        if (k < 0 || e->n_nodes == TL_EVENT_NODES_MAX)
            return false;
        e->nodes[e->n_nodes++] = (unsigned)k;
    }
    return e->what[0] != '\0';
}

static bool on_bots(struct reader *r)
{
    struct tl_second *s = GROW(r->out->seconds, r->out->n_seconds);
    *s = (struct tl_second){.t = r->t,
                            .edits = count(r->line, "edit_seen_n"),
                            .p50_ms = decimal(r->line, "edit_seen_p50_ms"),
                            .p99_ms = decimal(r->line, "edit_seen_p99_ms"),
                            .max_ms = decimal(r->line, "edit_seen_max_ms")};
    return true;
}

static bool on_verdict(struct reader *r)
{
    r->out->verdict = (struct tl_verdict){.there = true,
                                          .bots = count(r->line, "bots"),
                                          .edits = count(r->line, "edits"),
                                          .disconnects = count(r->line, "disconnects"),
                                          .refused = count(r->line, "refused"),
                                          .lost = count(r->line, "lost"),
                                          .unseen = count(r->line, "unseen"),
                                          .doubled = count(r->line, "doubled"),
                                          .disordered = count(r->line, "disordered"),
                                          .wrong_mirrors = count(r->line, "wrong_mirrors"),
                                          .p50_ms = decimal(r->line, "edit_seen_p50_ms"),
                                          .p99_ms = decimal(r->line, "edit_seen_p99_ms"),
                                          .max_ms = decimal(r->line, "edit_seen_max_ms")};
    return true;
}

/* As the metadata service tells it: instances, each with what it was told and when it first read that. */
static bool on_imds(struct reader *r)
{
    struct json all = json_get(json_get(r->line, "control"), "instances"), instance = {0};
    while (json_next(all, &instance)) {
        struct json notices = json_get(instance, "notices"), notice = {0};
        while (json_next(notices, &notice)) {
            struct tl_reading *n = GROW(r->out->readings, r->out->n_readings);
            json_text(json_get(instance, "name"), n->name, sizeof n->name);
            n->read_t = whole(notice, "first_read_ms");
        }
    }
    return true;
}

static bool on_end(struct reader *r)
{
    r->out->end_t = r->t;
    return true;
}

static bool read_line(struct reader *r)
{
    static const struct {
        const char *kind;
        bool (*on)(struct reader *r);
    } kinds[] = {{"start", on_start},   {"node", on_node},     {"silent", on_silent},      {"state", on_state},
                 {"freeze", on_freeze}, {"claim", on_claim},   {"ended", on_ended},        {"killed", on_killed},
                 {"event", on_event},   {"bots", on_bots},     {"verdict", on_verdict},    {"end", on_end},
                 {"imds", on_imds},     {"thawed", on_thawed}, {"withdrawn", on_withdrawn}};
    char kind[16];
    json_text(json_get(r->line, "kind"), kind, sizeof kind);
    r->t = whole(r->line, "t");
    if (!r->t || !kind[0])
        return false;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        if (strcmp(kind, kinds[k].kind) == 0)
            return kinds[k].on(r);
    return true;
}

/* ---- order ---- */

/* Every array's items begin with their time. */
static int by_time(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

static void sort(void *array, size_t n, size_t size)
{
    if (n)
        qsort(array, n, size, by_time);
}

static void choose_lanes(struct timeline *l)
{
    uint64_t *free_from = mem_array(l->n_nodes + 1, sizeof *free_from);
    for (size_t k = 0; k < l->n_nodes; k++) { /* they were met in the order of their coming */
        struct tl_node *n = &l->nodes[k];
        unsigned lane = 0;
        while (lane < l->n_lanes && free_from[lane] > n->first_t)
            lane++;
        l->n_lanes += lane == l->n_lanes;
        n->lane = lane;
        free_from[lane] = n->ended_t ? n->ended_t : UINT64_MAX;
    }
    free(free_from);
}

static void order(struct timeline *l)
{
    sort(l->marks, l->n_marks, sizeof *l->marks);
    sort(l->events, l->n_events, sizeof *l->events);
    sort(l->seconds, l->n_seconds, sizeof *l->seconds);
    for (size_t k = 0; k < l->n_nodes; k++)
        sort(l->nodes[k].samples, l->nodes[k].n_samples, sizeof *l->nodes[k].samples);
    choose_lanes(l);
}

bool timeline_read(const char *path, struct timeline *out, char *why, size_t why_bytes)
{
    char *line = NULL;
    size_t room = 0, nth = 0;
    uint64_t last_t = 0;
    ssize_t len;
    bool good = true;
    memset(out, 0, sizeof *out);
    out->seed = -1;
    FILE *f = fopen(path, "r");
    if (!f) {
        snprintf(why, why_bytes, "%s: %s", path, strerror(errno));
        return false;
    }
    while (good && (len = getline(&line, &room, f)) > 0) {
        struct reader r = {.out = out};
        nth++;
        good = json_check(line, (size_t)len, &r.line) && read_line(&r);
        last_t = good && r.t > last_t ? r.t : last_t;
    }
    free(line);
    fclose(f);
    if (!good) {
        snprintf(why, why_bytes, "%s: line %zu is not a line of a timeline", path, nth);
        return false;
    }
    if (!out->start_t) {
        snprintf(why, why_bytes, "%s: it does not say when it starts", path);
        return false;
    }
    if (!out->end_t) /* it was broken off */
        out->end_t = last_t;
    order(out);
    return true;
}

void timeline_free(struct timeline *l)
{
    for (size_t k = 0; k < l->n_nodes; k++)
        free(l->nodes[k].samples);
    free(l->nodes);
    free(l->marks);
    free(l->events);
    free(l->seconds);
    free(l->readings);
    memset(l, 0, sizeof *l);
}

const struct tl_sample *timeline_at(const struct tl_node *n, uint64_t t, uint64_t max_age_ms)
{
    size_t from = 0, to = n->n_samples; /* the first one after t lies in between */
    if (n->ended_t && t >= n->ended_t)
        return NULL;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (n->samples[mid].t <= t)
            from = mid + 1;
        else
            to = mid;
    }
    return from && t - n->samples[from - 1].t <= max_age_ms ? &n->samples[from - 1] : NULL;
}
