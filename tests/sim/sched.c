#include "tests/sim/sched.h"

#include <stdlib.h>

#include "proto/base/mem.h"

enum { START_US = 1000000 }; /* not 0: a time of 0 often means "never" */

void sched_init(struct sched *s)
{
    *s = (struct sched){.now_us = START_US};
}

static bool before(const struct sched_event *a, const struct sched_event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->seq < b->seq;
}

void sched_at(struct sched *s, uint64_t at_us, sched_fn *run, sched_fn *drop, void *arg)
{
    if (s->n == s->room) {
        s->room = s->room ? s->room * 2 : 256;
        s->heap = mem_resize(s->heap, s->room * sizeof *s->heap);
    }
    struct sched_event e = {
        .at_us = at_us > s->now_us ? at_us : s->now_us, .seq = ++s->made, .run = run, .drop = drop, .arg = arg};
    size_t i = s->n++;
    for (; i > 0 && before(&e, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = e;
}

static struct sched_event take_first(struct sched *s)
{
    struct sched_event first = s->heap[0], last = s->heap[--s->n];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < s->n; i = child) {
        if (child + 1 < s->n && before(&s->heap[child + 1], &s->heap[child]))
            child++;
        if (before(&last, &s->heap[child]))
            break;
        s->heap[i] = s->heap[child];
    }
    s->heap[i] = last;
    return first;
}

bool sched_step(struct sched *s, uint64_t until_us)
{
    if (s->n == 0 || s->heap[0].at_us > until_us) {
        if (s->now_us < until_us)
            s->now_us = until_us;
        return false;
    }
    struct sched_event e = take_first(s);
    s->now_us = e.at_us;
    s->steps++;
    e.run(e.arg);
    return true;
}

void sched_free(struct sched *s)
{
    for (size_t i = 0; i < s->n; i++) {
        if (s->heap[i].drop)
            s->heap[i].drop(s->heap[i].arg);
    }
    free(s->heap);
    *s = (struct sched){0};
}
