#include "ops/report/print.h"

#include <inttypes.h>
#include <string.h>

enum { US = 1000 };

void print_json_text(const char *text, FILE *out)
{
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fprintf(out, "\\%c", *text);
        else if ((unsigned char)*text < ' ')
            fprintf(out, "\\u%04x", (unsigned)(unsigned char)*text);
        else
            fputc(*text, out);
    }
}

void print_html_text(const char *text, FILE *out)
{
    for (; *text; text++) {
        if (*text == '&')
            fputs("&amp;", out);
        else if (*text == '<')
            fputs("&lt;", out);
        else if (*text == '>')
            fputs("&gt;", out);
        else if (*text == '"')
            fputs("&quot;", out);
        else if (*text == '\'')
            fputs("&#39;", out);
        else
            fputc((unsigned char)*text < ' ' ? ' ' : *text, out);
    }
}

/* ---- text ---- */

static void print_outcome(const struct timeline *l, const struct outcome *o, FILE *out)
{
    char text[256];
    const struct tl_node *n = &l->nodes[o->node];
    fprintf(out, "%-12s %-8s %s %s\n", o->event->what, n->name, o->good ? " " : "!",
            outcome_text(l, o, text, sizeof text));
    if (o->kind != OUTCOME_NOTICE && o->kind != OUTCOME_HINT)
        return;
    if (o->noticed_ms >= 0) {
        fprintf(out, "%24snoticed after %.2f s", "", (double)o->noticed_ms / US);
        if (o->read_ms >= 0)
            fprintf(out, ", %" PRId64 " ms after its metadata told it", o->read_ms);
        fprintf(out, "\n");
    }
    if (o->freeze.n)
        fprintf(out, "%24scells frozen: %u, p50 %.1f ms, p99 %.1f ms, max %.1f ms\n", "", o->freeze.n, o->freeze.p50_ms,
                o->freeze.p99_ms, o->freeze.max_ms);
}

void print_text(const struct timeline *l, const struct outcomes *o, FILE *out)
{
    const struct tl_verdict *v = &l->verdict;
    fprintf(out, "\n");
    for (size_t k = 0; k < o->n; k++)
        print_outcome(l, &o->all[k], out);
    fprintf(out, "\n%-20s %u, freeze p50 %.1f ms, p99 %.1f ms, max %.1f ms\n", "cells moved", o->freeze.n,
            o->freeze.p50_ms, o->freeze.p99_ms, o->freeze.max_ms);
    if (o->measured) {
        fprintf(out, "%-20s %u; edits %u, seen by others after p50 %.1f ms, p99 %.1f ms, max %.1f ms\n", "players",
                v->bots, v->edits, v->p50_ms, v->p99_ms, v->max_ms);
        fprintf(out, "%-20s %u disconnected, %u lost, %u doubled, %u out of order, %u unseen, %u refused\n", "",
                v->disconnects, v->lost, v->doubled, v->disordered, v->unseen, v->refused);
    } else {
        fprintf(out, "%-20s not measured: --bots N brings players who measure\n", "players");
    }
    fprintf(out, "\n%s\n", o->sentence);
}

/* ---- JSON ---- */

static void json_time(const char *name, int64_t ms, FILE *out)
{
    if (ms >= 0)
        fprintf(out, ",\"%s\":%" PRId64, name, ms);
}

static void json_spread(const char *name, const struct spread *s, FILE *out)
{
    fprintf(out, ",\"%s\":{\"n\":%u,\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"max_ms\":%.2f}", name, s->n, s->p50_ms, s->p99_ms,
            s->max_ms);
}

static void json_outcome(const struct timeline *l, const struct outcome *o, FILE *out)
{
    char text[256];
    fprintf(out, "{\"what\":\"%s\",\"node\":\"%s\",\"good\":%s,\"cells\":%u", o->event->what, l->nodes[o->node].name,
            o->good ? "true" : "false", o->cells);
    json_time("noticed_ms", o->noticed_ms, out);
    json_time("read_to_noticed_ms", o->read_ms, out);
    json_time("empty_ms", o->empty_ms, out);
    json_time("ended_ms", o->ended_ms, out);
    json_time("spare_ms", o->spare_ms, out);
    json_time("late_ms", o->late_ms, out);
    json_time("back_ms", o->back_ms, out);
    json_spread("freeze", &o->freeze, out);
    fprintf(out, ",\"text\":\"");
    print_json_text(outcome_text(l, o, text, sizeof text), out);
    fprintf(out, "\"}");
}

void print_json(const struct timeline *l, const struct outcomes *o, FILE *out)
{
    const struct tl_verdict *v = &l->verdict;
    fprintf(out, "{\"good\":%s,\"verdict\":\"", o->good ? "true" : "false");
    print_json_text(o->sentence, out);
    fprintf(out, "\",\"seconds\":%.1f", (double)(l->end_t - l->start_t) / US);
    json_spread("freeze", &o->freeze, out);
    json_spread("claim", &o->claim, out);
    if (o->measured)
        fprintf(
            out,
            ",\"players\":{\"bots\":%u,\"edits\":%u,\"edit_seen_p50_ms\":%.2f,\"edit_seen_p99_ms\":%.2f,"
            "\"edit_seen_max_ms\":%.2f,\"disconnects\":%u,\"lost\":%u,\"unseen\":%u,\"doubled\":%u,\"disordered\":%u,"
            "\"refused\":%u,\"wrong_mirrors\":%u}",
            v->bots, v->edits, v->p50_ms, v->p99_ms, v->max_ms, v->disconnects, v->lost, v->unseen, v->doubled,
            v->disordered, v->refused, v->wrong_mirrors);
    fprintf(out, ",\"events\":[");
    for (size_t k = 0; k < o->n; k++) {
        fputs(k ? "," : "", out);
        json_outcome(l, &o->all[k], out);
    }
    fprintf(out, "]}\n");
}
