/* What changes something: one cell by hand, or a whole node. */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "ops/ctl/ctl.h"
#include "proto/base/clock.h"
#include "proto/redis/keys.h"

enum { POLL_MS = 200, LINE_MS = 1000, BAR = 30 };

/* ---- one cell ---- */

/* The owner learns of a node that came up just now with its next renewal: until then it is asked again. */
static enum ctl_exit hand_over(struct ctl *c, struct ctl_node *from, struct msg *m)
{
    uint64_t until = clock_mono_ms() + c->conf.answer_ms;
    for (;;) {
        enum ctl_exit e = ctl_command(c, from, m, c->conf.wait_ms);
        if (e == CTL_OK || c->result != DONE_NO_TARGET || c->stopped || clock_mono_ms() >= until)
            return e;
        c->code = CTL_OK;
        ctl_pause(c, POLL_MS);
    }
}

enum ctl_exit act_move(struct ctl *c, const char *cell, const char *node)
{
    struct cell_pos at;
    struct ctl_node *from, *to;
    enum ctl_exit e;
    const struct cell_pos min = cell_of_block(-COORD_MAX, -COORD_MAX), max = cell_of_block(COORD_MAX, COORD_MAX);
    if (!cell_parse(cell, strlen(cell), &at) || at.i < min.i || at.i > max.i || at.j < min.j || at.j > max.j)
        return ctl_fail(c, CTL_USAGE, "\"%.40s\" is not a cell: I,J", cell);
    if ((e = ctl_find(c)) != CTL_OK || (e = ctl_node_named(c, node, &to)) != CTL_OK ||
        (e = ctl_owner(c, at, &from)) != CTL_OK)
        return e;
    uint64_t began_ms = clock_mono_ms();
    struct msg m = {.kind = MSG_MOVE_CELL};
    m.control.move.cell = at;
    m.control.move.node = to->id;
    if ((e = ctl_reach(c, from)) != CTL_OK || (e = hand_over(c, from, &m)) != CTL_OK)
        return e;
    unsigned long long ms = clock_mono_ms() - began_ms;
    if (c->conf.json)
        printf("{\"ok\":true,\"i\":%d,\"j\":%d,\"from\":\"%016" PRIx64 "\",\"to\":\"%016" PRIx64 "\",\"ms\":%llu}\n",
               at.i, at.j, from->id, to->id, ms);
    else if (from == to)
        printf("cell %d,%d: %s\n", at.i, at.j, c->result_text);
    else
        printf("cell %d,%d moved from %016" PRIx64 " to %016" PRIx64 " in %llu ms\n", at.i, at.j, from->id, to->id, ms);
    return CTL_OK;
}

/* ---- draining ---- */

struct drain {
    struct ctl_node *node;
    int64_t cells, left, shown;
    uint64_t began_ms, shown_ms;
    bool bar; /* on a terminal */
};

static void show_progress(struct drain *d, bool last)
{
    uint64_t now = clock_mono_ms();
    int64_t gone = d->cells - d->left;
    if (d->bar) {
        int full = d->cells ? (int)(BAR * gone / d->cells) : BAR;
        printf("\r%016" PRIx64 " [", d->node->id);
        for (int k = 0; k < BAR; k++)
            putchar(k < full ? '#' : '-');
        printf("] %" PRId64 "/%" PRId64 " cells %s", gone, d->cells, last ? "\n" : "");
    } else if (d->left != d->shown && (last || now - d->shown_ms >= LINE_MS)) {
        printf("%016" PRIx64 " %" PRId64 "/%" PRId64 " cells\n", d->node->id, gone, d->cells);
        d->shown = d->left;
        d->shown_ms = now;
    }
    fflush(stdout);
}

static int64_t sum(const struct drain *d, const char *name)
{
    int64_t v = json_int(json_get(json_get(d->node->status, "drain"), name), 0);
    return v > 0 ? v : 0;
}

static void print_summary(struct ctl *c, const struct drain *d)
{
    uint64_t ms = clock_mono_ms() - d->began_ms;
    if (c->conf.json) {
        printf("{\"ok\":true,\"node\":\"%016" PRIx64 "\",\"ms\":%" PRIu64, d->node->id, ms);
        static const char *const names[] = {"moved",         "released",      "bytes",        "handed_back",
                                            "freeze_p50_us", "freeze_p99_us", "freeze_max_us"};
        for (size_t k = 0; k < sizeof names / sizeof *names; k++)
            printf(",\"%s\":%" PRId64, names[k], sum(d, names[k]));
        printf("}\n");
        return;
    }
    printf("drained in %.1f s: %" PRId64 " cells moved, %" PRId64 " released, %" PRId64 " bytes sent\n",
           (double)ms / 1e3, sum(d, "moved"), sum(d, "released"), sum(d, "bytes"));
    printf("freeze of a cell: p50 %.1f ms, p99 %.1f ms, max %.1f ms; %" PRId64 " edits handed back\n",
           (double)sum(d, "freeze_p50_us") / 1e3, (double)sum(d, "freeze_p99_us") / 1e3,
           (double)sum(d, "freeze_max_us") / 1e3, sum(d, "handed_back"));
}

static bool others_run(const struct ctl *c, const struct ctl_node *but)
{
    for (unsigned k = 0; k < c->n_nodes; k++) {
        if (c->nodes[k] != but && c->nodes[k]->self.state == NODE_RUNNING)
            return true;
    }
    return false;
}

/* CTL_OK: nothing is left on it. */
static enum ctl_exit watch(struct ctl *c, struct drain *d)
{
    uint64_t until = d->began_ms + c->conf.wait_ms;
    for (;;) {
        char state[16];
        enum ctl_exit e = ctl_ask(c, d->node, false);
        if (e != CTL_OK)
            return e;
        d->left = json_int(json_get(d->node->status, "cells"), 0);
        if (d->left > d->cells) /* some were on their way here */
            d->cells = d->left;
        if (!c->conf.json)
            show_progress(d, d->left == 0);
        if (d->left == 0)
            return CTL_OK;
        ctl_state_text(d->node, state, sizeof state);
        if (strcmp(state, "running") == 0)
            return ctl_fail(c, CTL_FAILED, "the drain was called off: the node is running again");
        if (c->stopped || clock_mono_ms() >= until)
            return ctl_fail(c, CTL_FAILED,
                            "%" PRId64 " cells are left on the node%s. It goes on draining; `undrain` calls it back",
                            d->left, c->stopped ? "" : ": nobody takes them");
        ctl_pause(c, POLL_MS);
    }
}

enum ctl_exit act_drain(struct ctl *c, const char *node)
{
    struct drain d = {.shown = -1, .began_ms = clock_mono_ms(), .bar = isatty(STDOUT_FILENO)};
    struct msg m = {.kind = MSG_DRAIN};
    enum ctl_exit e;
    if ((e = ctl_find(c)) != CTL_OK || (e = ctl_node_named(c, node, &d.node)) != CTL_OK ||
        (e = ctl_ask(c, d.node, false)) != CTL_OK)
        return e;
    d.cells = json_int(json_get(d.node->status, "cells"), 0);
    if (!others_run(c, d.node))
        fprintf(stderr, "spotctl: no other node is running: cells with players stay where they are\n");
    if ((e = ctl_command(c, d.node, &m, c->conf.answer_ms)) != CTL_OK)
        return e;
    e = watch(c, &d);
    if (e != CTL_OK && d.bar && !c->conf.json)
        putchar('\n');
    if (e == CTL_OK)
        print_summary(c, &d);
    return e;
}

enum ctl_exit act_undrain(struct ctl *c, const char *node)
{
    struct msg m = {.kind = MSG_UNDRAIN};
    struct ctl_node *n;
    enum ctl_exit e;
    if ((e = ctl_find(c)) != CTL_OK || (e = ctl_node_named(c, node, &n)) != CTL_OK || (e = ctl_reach(c, n)) != CTL_OK ||
        (e = ctl_command(c, n, &m, c->conf.answer_ms)) != CTL_OK)
        return e;
    if (c->conf.json)
        printf("{\"ok\":true,\"node\":\"%016" PRIx64 "\",\"state\":\"running\"}\n", n->id);
    else
        printf("%016" PRIx64 " is running\n", n->id);
    return CTL_OK;
}
