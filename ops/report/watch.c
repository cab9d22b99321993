#include "ops/report/watch.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ops/report/fetch.h"
#include "ops/report/tail.h"
#include "proto/base/clock.h"
#include "proto/base/json.h"
#include "proto/base/mem.h"

enum { MEMBERS_MAX = 4096, NAME_MAX_BYTES = 32, LOOK_MS = 50, ANSWER_MS = 500 };

struct member {
    char name[NAME_MAX_BYTES];
    uint16_t port;
    unsigned long pid;
    unsigned long long start; /* the process's start time: a pid may be used again */
    bool ended, stopped;
    struct tail log;
};

struct watch {
    const struct watch_conf *conf;
    int out;
    struct member *members; /* in the order of their names */
    size_t n;
    bool first; /* the first look at the run directory */
    bool full;  /* said: there are more than can be followed */
};

static volatile sig_atomic_t told_to_end;

static void on_signal(int sig)
{
    (void)sig;
    told_to_end = 1;
}

/* ---- lines ---- */

struct line {
    FILE *f;
    char *text;
    size_t len;
};

static FILE *line_begin(struct line *l, uint64_t t, const char *kind, const char *name)
{
    l->f = open_memstream(&l->text, &l->len);
    if (!l->f)
        abort();
    fprintf(l->f, "{\"t\":%" PRIu64 ",\"kind\":\"%s\",\"name\":\"%s\"", t, kind, name);
    return l->f;
}

static void line_end(struct watch *w, struct line *l)
{
    fputs("}\n", l->f);
    fclose(l->f);
    if (write(w->out, l->text, l->len) != (ssize_t)l->len)
        perror(w->conf->out);
    free(l->text);
}

static void put_text(FILE *f, const char *name, const char *text)
{
    fprintf(f, ",\"%s\":\"", name);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', f);
        fputc((unsigned char)*text < ' ' ? '?' : *text, f);
    }
    fputc('"', f);
}

/* ---- who there is ---- */

static bool read_file(const struct watch *w, const char *name, const char *ending, char *out, size_t bytes)
{
    char path[512];
    snprintf(path, sizeof path, "%s/run/%s.%s", w->conf->dir, name, ending);
    FILE *f = fopen(path, "r");
    if (!f)
        return false;
    bool any = fgets(out, (int)bytes, f) != NULL;
    fclose(f);
    return any;
}

/* Its pid and when that started, as the script that launched it wrote them down. */
static bool read_pid(const struct watch *w, struct member *m)
{
    char text[64];
    return read_file(w, m->name, "pid", text, sizeof text) && sscanf(text, "%lu %llu", &m->pid, &m->start) == 2;
}

static bool alive(const struct member *m)
{
    char path[64], text[1024];
    unsigned long long start = 0;
    char state = 'X';
    snprintf(path, sizeof path, "/proc/%lu/stat", m->pid);
    FILE *f = fopen(path, "r");
    if (!f)
        return false;
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    const char *after = strrchr(text, ')'); /* the name before it may hold anything */
    if (!after || sscanf(after + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
                         &state, &start) != 2)
        return false;
    return start == m->start && state != 'Z';
}

/* Where a member of that name is, or would be. */
static size_t place(const struct watch *w, const char *name)
{
    size_t from = 0, to = w->n;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (strcmp(w->members[mid].name, name) < 0)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

static bool plain(const char *name)
{
    for (; *name; name++)
        if (!isalnum((unsigned char)*name) && *name != '-' && *name != '_')
            return false;
    return true;
}

static void add(struct watch *w, const char *name)
{
    struct member m = {0};
    char text[64];
    size_t at = place(w, name);
    if (!plain(name) || (at < w->n && strcmp(w->members[at].name, name) == 0))
        return;
    snprintf(m.name, sizeof m.name, "%s", name);
    if (!read_file(w, name, "admin", text, sizeof text) || !read_pid(w, &m) || !alive(&m))
        return;
    if (w->n == MEMBERS_MAX) {
        if (!w->full)
            fprintf(stderr, "spotcraft-report: %s and what comes later is not followed: more than %d programs\n", name,
                    MEMBERS_MAX);
        w->full = true;
        return;
    }
    m.port = (uint16_t)strtoul(text, NULL, 10);
    snprintf(m.log.path, sizeof m.log.path, "%s/log/%s.log", w->conf->dir, name);
    if (w->first && !w->conf->from_start)
        tail_from_here(&m.log);
    w->members = mem_resize(w->members, (w->n + 1) * sizeof *w->members);
    memmove(&w->members[at + 1], &w->members[at], (w->n - at) * sizeof *w->members);
    w->members[at] = m;
    w->n++;
}

static bool look_around(struct watch *w)
{
    char path[512];
    snprintf(path, sizeof path, "%s/run", w->conf->dir);
    DIR *d = opendir(path);
    struct dirent *e;
    if (!d)
        return false;
    while ((e = readdir(d))) {
        size_t len = strlen(e->d_name);
        char name[NAME_MAX_BYTES];
        if (len < 7 || len - 6 >= sizeof name || strcmp(e->d_name + len - 6, ".admin") != 0)
            continue;
        memcpy(name, e->d_name, len - 6);
        name[len - 6] = '\0';
        add(w, name);
    }
    closedir(d);
    w->first = false;
    return true;
}

/* ---- what becomes of them ---- */

struct reading {
    struct watch *watch;
    struct member *member;
};

static void on_line(void *arg, const struct tail_line *l)
{
    struct reading *r = arg;
    struct line out;
    switch (l->what) {
    case TAIL_FREEZE:
        fprintf(line_begin(&out, l->t, "freeze", r->member->name), ",\"us\":%u", l->us);
        line_end(r->watch, &out);
        break;
    case TAIL_CLAIM:
        fprintf(line_begin(&out, l->t, "claim", r->member->name), ",\"us\":%u", l->us);
        line_end(r->watch, &out);
        break;
    case TAIL_STATE:
        fprintf(line_begin(&out, l->t, "state", r->member->name),
                ",\"from\":\"%s\",\"to\":\"%s\",\"why\":\"%s\",\"cells\":%u", l->from, l->to, l->why, l->cells);
        line_end(r->watch, &out);
        break;
    case TAIL_STOPPED:
        r->member->stopped = true;
        break;
    }
}

static void read_log(struct watch *w, struct member *m)
{
    tail_read(&m->log, on_line, &(struct reading){w, m});
}

static void look(struct watch *w, struct member *m)
{
    struct line l;
    bool gone = !alive(m);
    uint64_t t = clock_unix_ms();
    read_log(w, m); /* after the look at the process: an end that is seen has its last line read */
    if (!gone)
        return;
    m->ended = true;
    fprintf(line_begin(&l, t, "ended", m->name), ",\"stopped\":%s", m->stopped ? "true" : "false");
    line_end(w, &l);
}

static void look_at_all(struct watch *w)
{
    for (size_t k = 0; k < w->n; k++)
        if (!w->members[k].ended)
            look(w, &w->members[k]);
}

static int64_t number(struct json object, const char *name)
{
    return json_int(json_get(object, name), 0);
}

static void tell_node(struct watch *w, const struct member *m, struct json s)
{
    struct line l;
    char text[128];
    struct json leaving = json_get(s, "leaving");
    FILE *f = line_begin(&l, clock_unix_ms(), "node", m->name);
    put_text(f, "state", json_text(json_get(s, "state"), text, sizeof text));
    put_text(f, "pool", json_text(json_get(s, "pool"), text, sizeof text));
    fprintf(f, ",\"cells\":%" PRId64 ",\"players\":%" PRId64 ",\"load\":%" PRId64, number(s, "cells"),
            number(s, "players"), number(s, "load"));
    if (leaving.at) {
        struct json holds = json_get(leaving, "will_hold");
        fprintf(f, ",\"cells_left\":%" PRId64 ",\"deadline_ms\":%" PRId64 ",\"will_hold\":%s",
                number(leaving, "cells_left"), number(leaving, "deadline_ms"),
                holds.at && *holds.at == 't' ? "true" : "false");
    }
    line_end(w, &l);
}

static void tell_gateway(struct watch *w, const struct member *m, struct json s)
{
    struct line l;
    fprintf(line_begin(&l, clock_unix_ms(), "gateway", m->name), ",\"players\":%" PRId64 ",\"parked\":%" PRId64,
            number(s, "players"), number(s, "cells_parked"));
    line_end(w, &l);
}

static void tell_silent(struct watch *w, const struct member *m)
{
    struct line l;
    line_begin(&l, clock_unix_ms(), "silent", m->name);
    line_end(w, &l);
}

static void sample(struct watch *w)
{
    struct fetch *asked = mem_array(w->n + 1, sizeof *asked);
    size_t *who = mem_array(w->n + 1, sizeof *who), n = 0;
    for (size_t k = 0; k < w->n; k++)
        if (!w->members[k].ended) {
            asked[n].port = w->members[k].port;
            who[n++] = k;
        }
    fetch_all(asked, n, "/status", ANSWER_MS);
    for (size_t k = 0; k < n; k++) {
        struct member *m = &w->members[who[k]];
        struct json s;
        if (!asked[k].body || !json_check(asked[k].body, asked[k].bytes, &s))
            tell_silent(w, m);
        else if (strncmp(m->name, "node", 4) == 0)
            tell_node(w, m, s);
        else
            tell_gateway(w, m, s);
        free(asked[k].body);
    }
    free(asked);
    free(who);
}

int watch_run(const struct watch_conf *conf)
{
    struct watch w = {.conf = conf, .first = true};
    struct sigaction end = {.sa_handler = on_signal};
    w.out = open(conf->out, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (w.out < 0) {
        fprintf(stderr, "spotcraft-report: %s: %s\n", conf->out, strerror(errno));
        return 1;
    }
    sigaction(SIGTERM, &end, NULL);
    sigaction(SIGINT, &end, NULL);
    uint64_t next_ms = clock_mono_ms();
    bool there = true;
    while (there && !told_to_end) {
        const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
        there = look_around(&w);
        look_at_all(&w);
        if (clock_mono_ms() >= next_ms) {
            sample(&w);
            next_ms += conf->every_ms;
        }
        nanosleep(&pause, NULL);
    }
    if (there) {
        sample(&w);
        look_at_all(&w); /* what the sample tells stands in the logs, too */
    } else {
        fprintf(stderr, "spotcraft-report: there is no world in %s\n", conf->dir);
    }
    free(w.members);
    close(w.out);
    return there ? 0 : 1;
}
