#include "ops/imds/control.h"

#include <ctype.h>
#include <event2/buffer.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"

enum { PAIRS_MAX = 16, VALUE_MAX = 95, DAY_MS = 86400000, FOR_MS = 7200000 };

/* ---- the query: name=value&name=value ---- */

struct pair {
    char name[32], value[VALUE_MAX + 1];
    bool used;
};

struct words {
    struct pair pair[PAIRS_MAX];
    unsigned n;
    char *why;
    bool bad;
};

__attribute__((format(printf, 2, 3))) static void refuse(struct words *w, const char *fmt, ...)
{
    va_list args;
    if (w->bad)
        return;
    w->bad = true;
    va_start(args, fmt);
    vsnprintf(w->why, CONTROL_WHY_BYTES, fmt, args);
    va_end(args);
}

static bool in_value(char c)
{
    return isalnum((unsigned char)c) || strchr("-_.:/", c);
}

static bool copy_part(char *out, size_t bytes, const char *from, size_t len)
{
    if (len >= bytes)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!in_value(from[i]))
            return false;
    }
    memcpy(out, from, len);
    out[len] = '\0';
    return true;
}

static void split(struct words *w, const char *query)
{
    while (*query && !w->bad) {
        size_t len = strcspn(query, "&"), name = strcspn(query, "=&");
        const char *value = query + name + (name < len);
        if (w->n == PAIRS_MAX) {
            refuse(w, "more than %d settings", PAIRS_MAX);
            return;
        }
        struct pair *p = &w->pair[w->n++];
        if (name == 0 || !copy_part(p->name, sizeof p->name, query, name) ||
            !copy_part(p->value, sizeof p->value, value, len - (size_t)(value - query)))
            refuse(w, "want name=value&name=value, of letters, digits and -_.:/ (at most %d)", VALUE_MAX);
        query += len + (query[len] == '&');
    }
}

/* NULL: it is not said. */
static const char *text(struct words *w, const char *name)
{
    for (unsigned i = 0; i < w->n; i++) {
        if (strcmp(w->pair[i].name, name) == 0) {
            w->pair[i].used = true;
            return w->pair[i].value;
        }
    }
    return NULL;
}

static uint32_t number(struct words *w, const char *name, uint32_t min, uint32_t max, uint32_t otherwise)
{
    const char *v = text(w, name);
    if (!v)
        return otherwise;
    size_t digits = strspn(v, "0123456789");
    unsigned long long n = digits && digits <= 10 && !v[digits] ? strtoull(v, NULL, 10) : ~0ull;
    if (n < min || n > max) {
        refuse(w, "%s must be a whole number from %u to %u", name, min, max);
        return otherwise;
    }
    return (uint32_t)n;
}

/* One of a list "a|b|c": its place, or that of `otherwise` when it is not said. */
static unsigned choice(struct words *w, const char *name, const char *list, unsigned otherwise)
{
    const char *v = text(w, name);
    if (!v)
        return otherwise;
    size_t len = strlen(v);
    unsigned at = 0;
    for (const char *word = list; word; word = strchr(word, '|'), at++) {
        word += *word == '|';
        if (strcspn(word, "|") == len && memcmp(word, v, len) == 0)
            return at;
    }
    refuse(w, "%s must be one of %s", name, list);
    return otherwise;
}

/* A short name, for a field of FLEET_WORD_MAX. */
static void word(struct words *w, const char *name, char *field)
{
    const char *v = text(w, name);
    if (!v)
        return;
    if (!*v || strlen(v) > FLEET_WORD_MAX || strchr(v, '/'))
        refuse(w, "%s must have 1 to %d letters, digits or -_.:", name, FLEET_WORD_MAX);
    else
        snprintf(field, FLEET_WORD_MAX + 1, "%s", v);
}

static bool all_used(struct words *w)
{
    for (unsigned i = 0; i < w->n && !w->bad; i++) {
        if (!w->pair[i].used)
            refuse(w, "this command knows no %s", w->pair[i].name);
    }
    return !w->bad;
}

/* ---- commands: each reads all of its words, then changes a copy, that is kept if they were good ---- */

static void do_instance(struct instance *i, struct words *w)
{
    static const char *const lifecycles[] = {"spot", "on-demand"};
    word(w, "type", i->type);
    word(w, "zone", i->zone);
    word(w, "id", i->id);
    if (text(w, "lifecycle"))
        snprintf(i->lifecycle, sizeof i->lifecycle, "%s", lifecycles[choice(w, "lifecycle", "spot|on-demand", 0)]);
    i->tokens_optional = choice(w, "tokens", "required|optional", i->tokens_optional);
    i->off = choice(w, "imds", "on|off", i->off);
    i->closes = choice(w, "connection", "keep-alive|close", i->closes);
    i->slides = choice(w, "slide", "0|1", i->slides);
    i->ttl_max_s = number(w, "ttl_s", 1, 21600, i->ttl_max_s);
}

static void do_rebalance(struct instance *i, struct words *w)
{
    (void)w;
    notice_set(&i->rebalance);
}

static void do_itn(struct instance *i, struct words *w)
{
    static const char *const actions[] = {"terminate", "stop", "hibernate"};
    uint32_t in_ms = number(w, "in_ms", 0, DAY_MS, 120000), ago_ms = number(w, "ago_ms", 0, DAY_MS, 0);
    snprintf(i->action, sizeof i->action, "%s", actions[choice(w, "action", "terminate|stop|hibernate", 0)]);
    notice_set(&i->itn);
    i->itn_at_ms = i->itn.set_ms + (ago_ms ? 0 : in_ms) - ago_ms;
}

static void do_asg(struct instance *i, struct words *w)
{
    snprintf(i->asg_state, sizeof i->asg_state, "Terminated");
    word(w, "state", i->asg_state);
    notice_set(&i->asg);
}

static void do_maintenance(struct instance *i, struct words *w)
{
    struct maintenance_event *e = instance_event_new(i);
    if (!e) {
        refuse(w, "there are already %d active events", FLEET_EVENTS_MAX);
        return;
    }
    snprintf(e->code, sizeof e->code, "instance-retirement");
    snprintf(e->id, sizeof e->id, "instance-event-%08x%04x", (unsigned)(clock_unix_ms() & 0xffffffff), i->n_events);
    word(w, "code", e->code);
    word(w, "id", e->id);
    notice_set(&e->story);
    uint32_t in_ms = number(w, "in_ms", 0, 30u * DAY_MS, 3600000), ago_ms = number(w, "ago_ms", 0, DAY_MS, 0);
    e->from_ms = e->story.set_ms + (ago_ms ? 0 : in_ms) - ago_ms;
    e->until_ms = e->from_ms + number(w, "for_ms", 0, 30u * DAY_MS, FOR_MS);
}

static void do_withdraw(struct instance *i, struct words *w)
{
    enum { REBALANCE, ITN, ASG, MAINTENANCE, ALL };
    unsigned what = choice(w, "what", "rebalance|itn|asg|maintenance|all", ALL);
    const char *state = choice(w, "how", "canceled|completed", 0) ? "completed" : "canceled";
    if (what == REBALANCE || what == ALL)
        i->rebalance = (struct notice_story){0};
    if (what == ITN || what == ALL)
        i->itn = (struct notice_story){0};
    if (what == ASG || what == ALL) /* a group that changed its mind says so, it does not fall silent */
        snprintf(i->asg_state, sizeof i->asg_state, "InService");
    for (unsigned n = 0; (what == MAINTENANCE || what == ALL) && n < i->n_events; n++) {
        if (strcmp(i->events[n].state, "active") == 0)
            i->events[n].state = state;
    }
}

static void do_fault(struct instance *i, struct words *w)
{
    static const uint32_t most[FAULT_KINDS] = {
        [FAULT_STATUS] = 599, [FAULT_DELAY] = 600000, [FAULT_THROTTLE] = 100000, [FAULT_HOP_LIMIT] = 64};
    struct fault f = {.kind = FAULT_KINDS};
    const char *path = text(w, "path");
    f.left = number(w, "count", 0, 1000000, 0);
    f.endless = f.left == 0;
    snprintf(f.path, sizeof f.path, "%s", path ? path : "");
    bool clear = text(w, "clear") != NULL, expire = text(w, "expire-tokens") != NULL;
    for (unsigned k = 0; k < FAULT_KINDS; k++) {
        if (!text(w, fault_name(k)))
            continue;
        if (f.kind != FAULT_KINDS)
            refuse(w, "one fault a command: %s or %s", fault_name(f.kind), fault_name(k));
        f.kind = k;
        if (most[k])
            f.value = number(w, fault_name(k), k == FAULT_STATUS ? 300 : 0, most[k], 0);
    }
    if (f.kind == FAULT_KINDS && !clear && !expire)
        refuse(w, "which fault? status delay_ms silence reset garbage broken endless flood throttle hop-limit "
                  "expire-tokens clear");
    if (clear)
        instance_faults_clear(i);
    if (expire)
        instance_tokens_expire(i);
    if (f.kind == FAULT_HOP_LIMIT && f.value > 1) /* enough for a pod: the answer arrives, and again if it did not */
        instance_faults_end(i, FAULT_HOP_LIMIT);
    else if (f.kind != FAULT_KINDS && !w->bad && !instance_fault_add(i, &f))
        refuse(w, "there are already %d faults", FLEET_FAULTS_MAX);
}

static const struct command {
    const char *name;
    void (*run)(struct instance *i, struct words *w);
    bool makes; /* the instance, if there is none of that name */
} commands[] = {
    {"", do_instance, true},    {"rebalance", do_rebalance, false},     {"itn", do_itn, false},
    {"asg", do_asg, false},     {"maintenance", do_maintenance, false}, {"withdraw", do_withdraw, false},
    {"fault", do_fault, false},
};

static const struct command *find(const char *name)
{
    for (unsigned i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}

static bool is_name(const char *name)
{
    size_t len = strlen(name);
    if (!len || len > FLEET_WORD_MAX || strcmp(name, "control") == 0 || strcmp(name, "latest") == 0)
        return false;
    for (const char *c = name; *c; c++) {
        if (!isalnum((unsigned char)*c) && *c != '-' && *c != '_')
            return false;
    }
    return true;
}

int control_apply(struct fleet *f, const char *name, const char *command, const char *query, bool dry,
                  char why[CONTROL_WHY_BYTES])
{
    struct instance scratch;
    struct words w = {.why = why};
    const struct command *c = find(command);
    struct instance *i = fleet_find(f, name);
    if (!is_name(name)) {
        snprintf(why, CONTROL_WHY_BYTES, "an instance's name has 1 to %d letters, digits, - and _", FLEET_WORD_MAX);
        return 400;
    }
    if (!c) {
        snprintf(why, CONTROL_WHY_BYTES, "no such command; there are: rebalance itn asg maintenance withdraw fault");
        return 404;
    }
    if (!i && !c->makes && !dry) {
        snprintf(why, CONTROL_WHY_BYTES, "there is no instance %s: POST /control/%s makes it", name, name);
        return 404;
    }
    if (i)
        scratch = *i;
    else
        scratch = (struct instance){.ttl_max_s = 21600};
    split(&w, query);
    if (!w.bad)
        c->run(&scratch, &w);
    if (w.bad || !all_used(&w))
        return 400;
    if (dry)
        return 0;
    if (!i && !(i = fleet_add(f, name))) {
        snprintf(why, CONTROL_WHY_BYTES, "there are already %d instances", FLEET_MAX);
        return 400;
    }
    c->run(i, &w); /* it was good on the copy */
    log_info("control name=%s command=%s query=%s", name, *command ? command : "instance", *query ? query : "-");
    return 0;
}

/* ---- what there is, as JSON ---- */

struct writer {
    struct evbuffer *out;
    const char *between;
};

static void put_story(struct writer *w, const char *what, const char *detail, const struct notice_story *n,
                      uint64_t at_ms)
{
    if (!n->set_ms)
        return;
    evbuffer_add_printf(w->out, "%s{\"what\":\"%s\",\"detail\":\"%s\",\"at_ms\":%llu,\"set_ms\":%llu,", w->between,
                        what, detail, (unsigned long long)at_ms, (unsigned long long)n->set_ms);
    if (n->first_ms)
        evbuffer_add_printf(w->out, "\"first_read_ms\":%llu,", (unsigned long long)n->first_ms);
    else
        evbuffer_add_printf(w->out, "\"first_read_ms\":null,");
    evbuffer_add_printf(w->out, "\"reads\":%u}", n->reads);
    w->between = ",";
}

static void put_instance(struct instance *i, struct evbuffer *out)
{
    struct writer w = {out, ""};
    evbuffer_add_printf(out,
                        "{\"name\":\"%s\",\"id\":\"%s\",\"type\":\"%s\",\"zone\":\"%s\",\"lifecycle\":\"%s\","
                        "\"requests\":%u,\"connections\":%u,\"tokens\":%u,\"unauthorized\":%u,\"notices\":[",
                        i->name, i->id, i->type, i->zone, i->lifecycle, i->requests, i->connections, i->tokens_given,
                        i->unauthorized);
    put_story(&w, "rebalance", "", &i->rebalance, 0);
    put_story(&w, "itn", i->action, &i->itn, i->itn_at_ms);
    put_story(&w, "asg", i->asg_state, &i->asg, 0);
    for (unsigned n = 0; n < i->n_events; n++) {
        if (strcmp(i->events[n].state, "active") == 0)
            put_story(&w, "maintenance", i->events[n].id, &i->events[n].story, i->events[n].from_ms);
    }
    evbuffer_add_printf(out, "],\"faults\":[");
    for (unsigned n = 0; n < i->n_faults; n++) {
        const struct fault *f = &i->faults[n];
        evbuffer_add_printf(out, "%s{\"what\":\"%s\",\"value\":%u,\"path\":\"%s\",\"hits\":%u,\"left\":", n ? "," : "",
                            fault_name(f->kind), f->value, f->path, f->hits);
        if (f->endless)
            evbuffer_add_printf(out, "null}");
        else
            evbuffer_add_printf(out, "%u}", f->left);
    }
    evbuffer_add_printf(out, "]}");
}

bool control_json(struct fleet *f, const char *name, struct evbuffer *out)
{
    const char *between = "";
    if (name) {
        struct instance *i = fleet_find(f, name);
        if (i)
            put_instance(i, out);
        return i != NULL;
    }
    struct instance *i;
    evbuffer_add_printf(out, "{\"now_ms\":%llu,\"instances\":[", (unsigned long long)clock_unix_ms());
    DL_FOREACH (f->instances, i) {
        evbuffer_add_printf(out, "%s\n", between);
        put_instance(i, out);
        between = ",";
    }
    evbuffer_add_printf(out, "]}");
    return true;
}
