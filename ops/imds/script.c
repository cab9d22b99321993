#include "ops/imds/script.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/imds/control.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"

enum { LINES_MAX = 100000, LINE_BYTES = 512, LATEST_MS = 86400000 };

struct step {
    uint64_t at_ms;
    unsigned line;
    char name[FLEET_WORD_MAX + 1];
    char command[32];
    char query[LINE_BYTES];
};

struct script {
    struct fleet *fleet;
    struct event *timer;
    uint64_t start_ms; /* monotonic */
    struct step *steps;
    size_t n, next;
};

static int by_time(const void *a, const void *b)
{
    const struct step *x = a, *y = b;
    if (x->at_ms != y->at_ms)
        return x->at_ms < y->at_ms ? -1 : 1;
    return x->line < y->line ? -1 : 1;
}

/* NULL: it is good, and *out filled in. */
static const char *parse(char *line, struct step *out, char why[CONTROL_WHY_BYTES])
{
    char *rest = NULL, *end;
    char *at = strtok_r(line, " \t\r\n", &rest), *ms = strtok_r(NULL, " \t\r\n", &rest);
    char *name = strtok_r(NULL, " \t\r\n", &rest), *what = strtok_r(NULL, " \t\r\n", &rest);
    if (strcmp(at, "at") != 0 || !what || strtok_r(NULL, " \t\r\n", &rest))
        return "want: at MS NAME COMMAND?query";
    errno = 0;
    out->at_ms = strtoull(ms, &end, 10);
    if (errno || *end || *ms < '0' || *ms > '9' || out->at_ms > LATEST_MS)
        return "the time must be a whole number of ms, at most a day";
    char *query = strchr(what, '?');
    if (query)
        *query++ = '\0';
    if (strlen(name) >= sizeof out->name || strlen(what) >= sizeof out->command)
        return "a name is too long";
    strcpy(out->name, name);
    strcpy(out->command, what);
    snprintf(out->query, sizeof out->query, "%s", query ? query : "");
    struct fleet nobody = {NULL, 0};
    return control_apply(&nobody, out->name, out->command, out->query, true, why) ? why : NULL;
}

static bool read_all(struct script *s, FILE *in, const char *path, char *why, size_t why_bytes)
{
    char line[LINE_BYTES], reason[CONTROL_WHY_BYTES];
    for (unsigned number = 1; fgets(line, sizeof line, in); number++) {
        const char *wrong;
        struct step step = {.line = number};
        const char *first = line + strspn(line, " \t\r\n");
        if (*first == '#' || !*first)
            continue;
        if (number > LINES_MAX)
            wrong = "too many lines";
        else if (!strchr(line, '\n') && !feof(in))
            wrong = "the line is too long";
        else
            wrong = parse(line, &step, reason);
        if (wrong) {
            snprintf(why, why_bytes, "%.200s:%u: %s", path, number, wrong);
            return false;
        }
        s->steps = mem_resize(s->steps, (s->n + 1) * sizeof *s->steps);
        s->steps[s->n++] = step;
    }
    if (ferror(in))
        snprintf(why, why_bytes, "cannot read %.200s: %s", path, strerror(errno));
    return !ferror(in);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct script *s = arg;
    uint64_t now = clock_mono_ms() - s->start_ms;
    char why[CONTROL_WHY_BYTES];
    for (; s->next < s->n && s->steps[s->next].at_ms <= now; s->next++) {
        const struct step *step = &s->steps[s->next];
        if (control_apply(s->fleet, step->name, step->command, step->query, false, why) != 0)
            log_warn("script line=%u refused=\"%s\"", step->line, why);
    }
    if (s->next == s->n)
        return;
    uint64_t wait = s->steps[s->next].at_ms - now;
    event_add(s->timer,
              &(struct timeval){.tv_sec = (time_t)(wait / 1000), .tv_usec = (suseconds_t)(wait % 1000) * 1000});
}

struct script *script_open(struct event_base *base, struct fleet *f, const char *path, char *why, size_t why_bytes)
{
    FILE *in = fopen(path, "re");
    if (!in) {
        snprintf(why, why_bytes, "cannot read %.200s: %s", path, strerror(errno));
        return NULL;
    }
    struct script *s = mem_zalloc(sizeof *s);
    s->fleet = f;
    bool good = read_all(s, in, path, why, why_bytes);
    fclose(in);
    if (!good) {
        script_free(s);
        return NULL;
    }
    if (s->n)
        qsort(s->steps, s->n, sizeof *s->steps, by_time);
    s->start_ms = clock_mono_ms();
    s->timer = evtimer_new(base, on_timer, s);
    event_active(s->timer, EV_TIMEOUT, 0);
    return s;
}

void script_free(struct script *s)
{
    if (!s)
        return;
    if (s->timer)
        event_free(s->timer);
    free(s->steps);
    free(s);
}
