#include "ops/imds/fleet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <utlist.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"

const char *fault_name(enum fault_kind k)
{
    static const char *const names[FAULT_KINDS] = {"status", "delay_ms", "silence", "reset",    "garbage",
                                                   "broken", "endless",  "flood",   "throttle", "hop-limit"};
    return names[k];
}

static void random_hex(char *out, size_t bytes)
{
    unsigned char raw[FLEET_TOKEN_BYTES];
    if (getrandom(raw, bytes, 0) != (ssize_t)bytes) {
        log_error("no_random_bytes");
        abort();
    }
    for (size_t i = 0; i < bytes; i++)
        snprintf(out + 2 * i, 3, "%02x", raw[i]);
}

struct instance *fleet_find(struct fleet *f, const char *name)
{
    struct instance *i;
    DL_FOREACH (f->instances, i) {
        if (strcmp(i->name, name) == 0)
            return i;
    }
    return NULL;
}

struct instance *fleet_add(struct fleet *f, const char *name)
{
    char hex[2 * FLEET_TOKEN_BYTES + 1];
    if (f->n == FLEET_MAX)
        return NULL;
    struct instance *i = mem_zalloc(sizeof *i);
    random_hex(hex, 9);
    snprintf(i->name, sizeof i->name, "%s", name);
    snprintf(i->id, sizeof i->id, "i-0%.16s", hex);
    snprintf(i->type, sizeof i->type, "m6i.large");
    snprintf(i->zone, sizeof i->zone, "us-east-1a");
    snprintf(i->lifecycle, sizeof i->lifecycle, "spot");
    i->ttl_max_s = 21600;
    DL_APPEND(f->instances, i);
    f->n++;
    return i;
}

void fleet_free(struct fleet *f)
{
    struct instance *i, *next;
    DL_FOREACH_SAFE (f->instances, i, next)
        free(i);
    *f = (struct fleet){NULL, 0};
}

/* ---- tokens: the oldest make room, as no client needs more than its last ---- */

const char *instance_token_new(struct instance *i, uint32_t ttl_s)
{
    struct token *t = &i->tokens[i->next_token];
    i->next_token = (i->next_token + 1) % FLEET_TOKENS_MAX;
    random_hex(t->text, FLEET_TOKEN_BYTES);
    t->end_ms = clock_mono_ms() + ttl_s * 1000ull;
    i->tokens_given++;
    return t->text;
}

bool instance_token_valid(const struct instance *i, const char *text)
{
    for (unsigned t = 0; t < FLEET_TOKENS_MAX; t++) {
        if (i->tokens[t].text[0] && strcmp(i->tokens[t].text, text) == 0)
            return clock_mono_ms() < i->tokens[t].end_ms;
    }
    return false;
}

void instance_tokens_expire(struct instance *i)
{
    memset(i->tokens, 0, sizeof i->tokens);
}

/* ---- faults ---- */

static void fault_drop(struct instance *i, unsigned at)
{
    memmove(&i->faults[at], &i->faults[at + 1], (i->n_faults - at - 1) * sizeof *i->faults);
    i->n_faults--;
}

/* Those whose count is used up stay for the reader of /control until there is no room. */
struct fault *instance_fault(struct instance *i, enum fault_kind k, const char *path)
{
    for (unsigned n = 0; n < i->n_faults; n++) {
        struct fault *f = &i->faults[n];
        if (f->kind != k || (!f->endless && f->left == 0) || !strstr(path, f->path))
            continue;
        if (k == FAULT_THROTTLE) {
            uint64_t second = clock_mono_ms() / 1000;
            if (second != f->second)
                f->answered = 0;
            f->second = second;
            if (f->answered < f->value) {
                f->answered++;
                continue;
            }
        }
        f->hits++;
        f->left -= !f->endless;
        return f;
    }
    return NULL;
}

bool instance_fault_add(struct instance *i, const struct fault *f)
{
    for (unsigned n = 0; i->n_faults == FLEET_FAULTS_MAX && n < i->n_faults; n++) {
        if (!i->faults[n].endless && i->faults[n].left == 0)
            fault_drop(i, n);
    }
    if (i->n_faults == FLEET_FAULTS_MAX)
        return false;
    i->faults[i->n_faults++] = *f;
    return true;
}

void instance_faults_end(struct instance *i, enum fault_kind k)
{
    for (unsigned n = i->n_faults; n-- > 0;) {
        if (i->faults[n].kind == k)
            fault_drop(i, n);
    }
}

void instance_faults_clear(struct instance *i)
{
    i->n_faults = 0;
}

/* ---- notices ---- */

struct maintenance_event *instance_event_new(struct instance *i)
{
    for (unsigned n = 0; i->n_events == FLEET_EVENTS_MAX && n < i->n_events; n++) {
        if (strcmp(i->events[n].state, "active") != 0) {
            memmove(&i->events[n], &i->events[n + 1], (i->n_events - n - 1) * sizeof *i->events);
            i->n_events--;
        }
    }
    if (i->n_events == FLEET_EVENTS_MAX)
        return NULL;
    struct maintenance_event *e = &i->events[i->n_events++];
    *e = (struct maintenance_event){.state = "active"};
    return e;
}

void notice_set(struct notice_story *n)
{
    *n = (struct notice_story){.set_ms = clock_unix_ms()};
}

void notice_read(struct notice_story *n, uint64_t then_ms)
{
    if (n->set_ms > then_ms)
        return;
    if (!n->first_ms)
        n->first_ms = clock_unix_ms();
    n->reads++;
}
