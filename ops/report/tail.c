#include "ops/report/tail.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LINE_MAX_BYTES = 4096, CLAIM_US_MAX = 2000000000 };

/* 2026-11-21T12:07:59.123Z */
static bool when(const char *line, uint64_t *t)
{
    struct tm tm = {0};
    unsigned ms;
    int end = 0;
    if (sscanf(line, "%4d-%2d-%2dT%2d:%2d:%2d.%3uZ%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min,
               &tm.tm_sec, &ms, &end) != 7 ||
        line[end] != ' ')
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon--;
    time_t s = timegm(&tm);
    *t = (uint64_t)s * 1000 + ms;
    return s > 0;
}

/* The value after " name=": letters, digits and what numbers and words are made of. */
static void word(const char *line, const char *name, char *out, size_t bytes)
{
    char key[24];
    snprintf(key, sizeof key, " %s=", name);
    const char *at = strstr(line, key);
    size_t n = 0;
    if (at)
        for (at += strlen(key); n + 1 < bytes && ((*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9') ||
                                                  *at == '_' || *at == '-' || *at == '.');)
            out[n++] = *at++;
    out[n] = '\0';
}

static uint32_t number(const char *line, const char *name, double unit)
{
    char text[24];
    word(line, name, text, sizeof text);
    double v = strtod(text, NULL) * unit;
    return v > 0 && v < CLAIM_US_MAX ? (uint32_t)v : 0;
}

bool tail_parse(const char *line, struct tail_line *out)
{
    const char *event;
    memset(out, 0, sizeof *out);
    if (!when(line, &out->t))
        return false;
    if ((event = strstr(line, " cell_moved "))) {
        out->what = TAIL_FREEZE;
        out->us = number(event, "freeze_us", 1);
        return true;
    }
    if ((event = strstr(line, " cell_serving "))) {
        out->what = TAIL_CLAIM;
        out->us = number(event, "ms", 1000);
        return true;
    }
    if ((event = strstr(line, " node_state "))) {
        out->what = TAIL_STATE;
        word(event, "from", out->from, sizeof out->from);
        word(event, "to", out->to, sizeof out->to);
        word(event, "why", out->why, sizeof out->why);
        out->cells = number(event, "cells", 1);
        return out->to[0] != '\0';
    }
    size_t len = strlen(line);
    out->what = TAIL_STOPPED;
    return len > 8 && strcmp(line + len - 8, " stopped") == 0;
}

void tail_from_here(struct tail *t)
{
    FILE *f = fopen(t->path, "r");
    t->at = 0;
    if (f && fseek(f, 0, SEEK_END) == 0)
        t->at = ftell(f);
    if (f)
        fclose(f);
}

void tail_read(struct tail *t, tail_each *each, void *arg)
{
    char line[LINE_MAX_BYTES];
    struct tail_line l;
    FILE *f = fopen(t->path, "r");
    if (!f)
        return;
    if (fseek(f, 0, SEEK_END) == 0 && ftell(f) < t->at)
        t->at = 0; /* another file under the same name */
    fseek(f, t->at, SEEK_SET);
    while (fgets(line, sizeof line, f)) {
        long end = ftell(f);
        size_t len = (size_t)(end - t->at); /* not strlen(): a NUL may be anywhere in it */
        if (line[len - 1] != '\n' && len + 1 < sizeof line)
            break; /* the rest is not written yet */
        t->at = end;
        if (line[len - 1] == '\n')
            line[len - 1] = '\0';
        if (tail_parse(line, &l))
            each(arg, &l);
    }
    fclose(f);
}
