#include "proto/base/metrics.h"

#include <assert.h>
#include <event2/buffer.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "proto/base/mem.h"

enum type { COUNTER, GAUGE, HISTOGRAM };
static const char *const type_name[] = {"counter", "gauge", "histogram"};

static const double bucket_s[] = {0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30};
enum { BUCKETS = sizeof bucket_s / sizeof *bucket_s };

struct metric {
    struct metric *next;
    enum type type;
    char *label;  /* escaped: reason="full"; empty when there is none */
    double value; /* of a histogram: the sum of what was seen */
    uint64_t count;
    uint64_t seen[BUCKETS + 1]; /* each bucket by itself, the last one is for what is above all */
};

/* All metrics of one name; the hash keeps them in the order of their making. */
struct family {
    char *name;
    char *help;
    enum type type;
    struct metric *metrics, **end;
    UT_hash_handle hh;
};
static struct family *families;

/* Backslash, newline and, in label values, the quote: what the text format cannot hold as it is. */
static char *escape(const char *text, size_t len, bool quotes)
{
    char *out = mem_alloc(2 * len + 1), *o = out;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '\\' || c == '\n' || (quotes && c == '"'))
            *o++ = '\\';
        *o++ = c == '\n' ? 'n' : c;
    }
    *o = '\0';
    return out;
}

/* key="value" with anything in the value, to what may be printed. */
static char *escape_label(const char *label)
{
    if (!label)
        return mem_strdup("");
    const char *value = strstr(label, "=\"");
    size_t len = strlen(label);
    assert(value && label[len - 1] == '"' && len >= (size_t)(value - label) + 3);
    value += 2;
    char *escaped = escape(value, (size_t)(label + len - 1 - value), true);
    size_t bytes = (size_t)(value - label) + strlen(escaped) + 2;
    char *out = mem_alloc(bytes);
    snprintf(out, bytes, "%.*s%s\"", (int)(value - label), label, escaped);
    free(escaped);
    return out;
}

static struct metric *get(enum type type, const char *name, const char *help, const char *label)
{
    struct family *f;
    HASH_FIND_STR(families, name, f);
    if (!f) {
        f = mem_zalloc(sizeof *f);
        f->name = mem_strdup(name);
        f->help = escape(help, strlen(help), false);
        f->type = type;
        f->end = &f->metrics;
        HASH_ADD_KEYPTR(hh, families, f->name, strlen(f->name), f);
    }
    assert(f->type == type);
    char *escaped = escape_label(label);
    for (struct metric *m = f->metrics; m; m = m->next) {
        if (strcmp(m->label, escaped) == 0) {
            free(escaped);
            return m;
        }
    }
    struct metric *m = mem_zalloc(sizeof *m);
    m->type = type;
    m->label = escaped;
    *f->end = m;
    f->end = &m->next;
    return m;
}

struct metric *metrics_counter(const char *name, const char *help, const char *label)
{
    return get(COUNTER, name, help, label);
}

struct metric *metrics_gauge(const char *name, const char *help, const char *label)
{
    return get(GAUGE, name, help, label);
}

struct metric *metrics_seconds(const char *name, const char *help, const char *label)
{
    return get(HISTOGRAM, name, help, label);
}

void metric_add(struct metric *m, double by)
{
    assert(m->type == GAUGE || (m->type == COUNTER && by >= 0));
    m->value += by;
}

void metric_set(struct metric *m, double value)
{
    assert(m->type == GAUGE);
    m->value = value;
}

void metric_seconds(struct metric *m, double s)
{
    assert(m->type == HISTOGRAM);
    unsigned i = 0;
    while (i < BUCKETS && s > bucket_s[i])
        i++;
    m->seen[i]++;
    m->count++;
    m->value += s;
}

double metric_value(const struct metric *m)
{
    return m->type == HISTOGRAM ? (double)m->count : m->value;
}

static void add_number(struct evbuffer *out, double v)
{
    if (isnan(v))
        evbuffer_add_printf(out, "NaN\n");
    else if (isinf(v))
        evbuffer_add_printf(out, v > 0 ? "+Inf\n" : "-Inf\n");
    else
        evbuffer_add_printf(out, "%.15g\n", v);
}

static void write_plain(struct evbuffer *out, const char *name, const char *suffix, const char *label, double v)
{
    evbuffer_add_printf(out, label[0] ? "%s%s{%s} " : "%s%s%s ", name, suffix, label);
    add_number(out, v);
}

static void write_histogram(struct evbuffer *out, const char *name, const struct metric *m)
{
    const char *comma = m->label[0] ? "," : "";
    uint64_t below = 0;
    for (unsigned i = 0; i < BUCKETS; i++) {
        below += m->seen[i];
        evbuffer_add_printf(out, "%s_bucket{%s%sle=\"%g\"} ", name, m->label, comma, bucket_s[i]);
        add_number(out, (double)below);
    }
    evbuffer_add_printf(out, "%s_bucket{%s%sle=\"+Inf\"} ", name, m->label, comma);
    add_number(out, (double)m->count);
    write_plain(out, name, "_sum", m->label, m->value);
    write_plain(out, name, "_count", m->label, (double)m->count);
}

void metrics_write(struct evbuffer *out)
{
    for (const struct family *f = families; f; f = f->hh.next) {
        evbuffer_add_printf(out, "# HELP %s %s\n# TYPE %s %s\n", f->name, f->help, f->name, type_name[f->type]);
        for (const struct metric *m = f->metrics; m; m = m->next) {
            if (m->type == HISTOGRAM)
                write_histogram(out, f->name, m);
            else
                write_plain(out, f->name, "", m->label, m->value);
        }
    }
}

void metrics_free(void)
{
    struct family *f, *next_family;
    HASH_ITER (hh, families, f, next_family) {
        HASH_DEL(families, f);
        while (f->metrics) {
            struct metric *m = f->metrics;
            f->metrics = m->next;
            free(m->label);
            free(m);
        }
        free(f->name);
        free(f->help);
        free(f);
    }
}
