/* What only looks: the nodes as a table, the cells as a list and a map. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ops/ctl/ctl.h"
#include "proto/base/mem.h"

enum { WATCH_MS = 1000, MAP_WIDE = 100, MAP_HIGH = 50 };

/* ---- status ---- */

/* The worst that any node has to say. */
static enum ctl_exit verdict(struct ctl *c)
{
    enum ctl_exit e = CTL_OK;
    for (unsigned k = 0; k < c->n_nodes; k++) {
        const struct ctl_node *n = c->nodes[k];
        if (n->trouble[0])
            e = ctl_fail(c, n->wrong_secret ? CTL_FAILED : CTL_UNREACHABLE,
                         "node %016" PRIx64 " at %s cannot be asked: %s", n->id, n->self.address, n->trouble);
    }
    return e;
}

static int64_t fact(const struct ctl_node *n, const char *name)
{
    return json_int(json_get(n->status, name), 0);
}

static void status_row(const struct ctl_node *n)
{
    char state[16];
    ctl_state_text(n, state, sizeof state);
    printf("%016" PRIx64 "  %-9s %-28s %-19s ", n->id, state, n->self.pool[0] ? n->self.pool : "-",
           n->self.instance[0] ? n->self.instance : "-");
    if (n->status.at)
        printf("%6" PRId64 " %6" PRId64 " %7" PRId64 " %6.1fs %7" PRId64 "  %s\n", fact(n, "load"), fact(n, "cells"),
               fact(n, "players"), (double)fact(n, "oldest_dirty_ms") / 1e3, fact(n, "journal_batches"),
               n->self.address);
    else
        printf("%6" PRIu32 " %6s %7s %7s %7s  %s: %s\n", n->self.load, "?", "?", "?", "?", n->self.address, n->trouble);
}

static void status_table(const struct ctl *c)
{
    int64_t cells = 0, players = 0;
    printf("%-16s  %-9s %-28s %-19s %6s %6s %7s %7s %7s  %s\n", "NODE", "STATE", "POOL", "INSTANCE", "LOAD", "CELLS",
           "PLAYERS", "LAG", "JOURNAL", "ADDRESS");
    for (unsigned k = 0; k < c->n_nodes; k++) {
        status_row(c->nodes[k]);
        cells += fact(c->nodes[k], "cells");
        players += fact(c->nodes[k], "players");
    }
    printf("%u nodes, %" PRId64 " cells, %" PRId64 " players\n", c->n_nodes, cells, players);
}

static void print_facts(const struct ctl_node *n)
{
    static const char *const numbers[] = {"load",  "cells",           "cells_serving", "players",
                                          "links", "journal_batches", "pending_edits", "oldest_dirty_ms"};
    static const char *const left[] = {"moved",         "released",      "bytes",        "handed_back",
                                       "freeze_p50_us", "freeze_p99_us", "freeze_max_us"};
    struct json gone = json_get(n->status, "left");
    for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++)
        printf(",\"%s\":%" PRId64, numbers[k], fact(n, numbers[k]));
    printf(",\"left\":{");
    for (size_t k = 0; k < sizeof left / sizeof *left; k++)
        printf("%s\"%s\":%" PRId64, k ? "," : "", left[k], json_int(json_get(gone, left[k]), 0));
    printf("}");
}

static void status_json(const struct ctl *c)
{
    printf("{\"world\":\"%s\",\"nodes\":[", c->conf.world);
    for (unsigned k = 0; k < c->n_nodes; k++) {
        const struct ctl_node *n = c->nodes[k];
        char state[16];
        printf("%s{\"id\":\"%016" PRIx64 "\",\"address\":", k ? "," : "", n->id);
        ctl_print_json_text(n->self.address);
        printf(",\"pool\":");
        ctl_print_json_text(n->self.pool);
        printf(",\"instance\":");
        ctl_print_json_text(n->self.instance);
        printf(",\"state\":");
        ctl_print_json_text(ctl_state_text(n, state, sizeof state));
        printf(",\"reachable\":%s", n->status.at ? "true" : "false");
        if (n->status.at) {
            print_facts(n);
        } else {
            printf(",\"trouble\":");
            ctl_print_json_text(n->trouble);
        }
        putchar('}');
    }
    printf("]}\n");
}

static enum ctl_exit status_once(struct ctl *c)
{
    enum ctl_exit e = ctl_find(c);
    if (e != CTL_OK)
        return e;
    ctl_ask_all(c, false);
    if (c->conf.watch && !c->conf.json && isatty(STDOUT_FILENO))
        printf("\033[H\033[J"); /* home, and clear what is below */
    if (c->conf.json)
        status_json(c);
    else
        status_table(c);
    return verdict(c);
}

enum ctl_exit show_status(struct ctl *c)
{
    if (!c->conf.watch)
        return status_once(c);
    while (!c->stopped && !ferror(stdout)) {
        if (status_once(c) != CTL_OK && !c->stopped) /* it may get better: said, and tried again */
            fprintf(stderr, "spotctl: %s\n", c->error);
        c->code = CTL_OK;
        fflush(stdout);
        ctl_pause(c, WATCH_MS);
    }
    return CTL_OK;
}

/* ---- cells ---- */

struct owned_cell {
    int32_t i, j;
    unsigned node; /* index */
    char state[16], handoff[16];
    int64_t epoch, rev, rows, players, subscribers;
};

struct cells {
    struct owned_cell *list;
    size_t n, cap;
};

/* A copy of another's cell, or one that it only wants, is not its own. */
static bool owns(const char *state)
{
    return strcmp(state, "following") != 0 && strcmp(state, "wanted") != 0 && strcmp(state, "claiming") != 0;
}

static void take_cells(struct cells *all, const struct ctl_node *n, unsigned index)
{
    struct json list = json_get(n->status, "cell"), item = {NULL, NULL};
    while (json_next(list, &item)) {
        struct owned_cell o = {.i = (int32_t)json_int(json_get(item, "i"), 0),
                               .j = (int32_t)json_int(json_get(item, "j"), 0),
                               .node = index,
                               .epoch = json_int(json_get(item, "epoch"), 0),
                               .rev = json_int(json_get(item, "rev"), 0),
                               .rows = json_int(json_get(item, "rows"), 0),
                               .players = json_int(json_get(item, "players"), 0),
                               .subscribers = json_int(json_get(item, "subscribers"), 0)};
        json_text(json_get(item, "state"), o.state, sizeof o.state);
        json_text(json_get(item, "handoff"), o.handoff, sizeof o.handoff);
        if (!owns(o.state))
            continue;
        if (all->n == all->cap) {
            all->cap = all->cap ? 2 * all->cap : 64;
            all->list = mem_resize(all->list, all->cap * sizeof *all->list);
        }
        all->list[all->n++] = o;
    }
}

static int by_place(const void *a, const void *b)
{
    const struct owned_cell *x = a, *y = b;
    if (x->j != y->j)
        return x->j < y->j ? -1 : 1;
    return (x->i > y->i) - (x->i < y->i);
}

static char letter(unsigned node)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    return node < sizeof letters - 1 ? letters[node] : '#';
}

static int by_number(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* Where a map of that length starts: everything if it fits, else around the middle one. */
static int32_t map_start(int32_t *v, size_t n, int32_t max, int32_t *length)
{
    qsort(v, n, sizeof *v, by_number);
    int64_t span = (int64_t)v[n - 1] - v[0] + 1;
    *length = span <= max ? (int32_t)span : max;
    int64_t start = span <= max ? v[0] : (int64_t)v[n / 2] - max / 2;
    return (int32_t)(start < INT32_MIN ? INT32_MIN : start);
}

static void print_map(const struct ctl *c, const struct cells *all)
{
    static char map[MAP_HIGH][MAP_WIDE];
    int32_t *v = mem_array(all->n, sizeof *v), wide, high;
    size_t outside = 0;
    memset(map, '.', sizeof map);
    for (size_t k = 0; k < all->n; k++)
        v[k] = all->list[k].i;
    int32_t left = map_start(v, all->n, MAP_WIDE, &wide);
    for (size_t k = 0; k < all->n; k++)
        v[k] = all->list[k].j;
    int32_t top = map_start(v, all->n, MAP_HIGH, &high);
    free(v);
    for (size_t k = 0; k < all->n; k++) {
        int64_t x = (int64_t)all->list[k].i - left, y = (int64_t)all->list[k].j - top;
        if (x >= 0 && x < wide && y >= 0 && y < high)
            map[y][x] = letter(all->list[k].node);
        else
            outside++;
    }
    printf("\ncells %d,%d to %d,%d: i to the right, j downwards\n", left, top, (int32_t)(left + wide - 1),
           (int32_t)(top + high - 1));
    for (int32_t y = 0; y < high; y++)
        printf("  %.*s\n", (int)wide, map[y]);
    for (unsigned k = 0; k < c->n_nodes; k++)
        printf("%c %016" PRIx64 " %s\n", letter(k), c->nodes[k]->id, c->nodes[k]->self.address);
    printf(". nobody\n");
    if (outside)
        printf("%zu cells lie outside of this map\n", outside);
}

static void print_list(const struct ctl *c, const struct cells *all)
{
    printf("%-16s %-16s  %-10s %7s %9s %8s %7s %5s  %s\n", "CELL", "NODE", "STATE", "EPOCH", "REV", "ROWS", "PLAYERS",
           "SUBS", "HANDOFF");
    for (size_t k = 0; k < all->n; k++) {
        const struct owned_cell *o = &all->list[k];
        char at[32];
        snprintf(at, sizeof at, "%d,%d", o->i, o->j);
        printf("%-16s %016" PRIx64 "  %-10s %7" PRId64 " %9" PRId64 " %8" PRId64 " %7" PRId64 " %5" PRId64 "  %s\n", at,
               c->nodes[o->node]->id, o->state, o->epoch, o->rev, o->rows, o->players, o->subscribers,
               o->handoff[0] ? o->handoff : "-");
    }
}

static void cells_json(const struct ctl *c, const struct cells *all)
{
    printf("{\"world\":\"%s\",\"cells\":[", c->conf.world);
    for (size_t k = 0; k < all->n; k++) {
        const struct owned_cell *o = &all->list[k];
        printf("%s{\"i\":%d,\"j\":%d,\"node\":\"%016" PRIx64 "\",\"state\":", k ? "," : "", o->i, o->j,
               c->nodes[o->node]->id);
        ctl_print_json_text(o->state);
        printf(",\"handoff\":");
        ctl_print_json_text(o->handoff);
        printf(",\"epoch\":%" PRId64 ",\"rev\":%" PRId64 ",\"rows\":%" PRId64 ",\"players\":%" PRId64
               ",\"subscribers\":%" PRId64 "}",
               o->epoch, o->rev, o->rows, o->players, o->subscribers);
    }
    printf("]}\n");
}

enum ctl_exit show_cells(struct ctl *c)
{
    struct cells all = {0};
    enum ctl_exit e = ctl_find(c);
    if (e != CTL_OK)
        return e;
    ctl_ask_all(c, true);
    for (unsigned k = 0; k < c->n_nodes; k++)
        take_cells(&all, c->nodes[k], k);
    if (all.n)
        qsort(all.list, all.n, sizeof *all.list, by_place);
    if (c->conf.json) {
        cells_json(c, &all);
    } else if (all.n) {
        print_list(c, &all);
        print_map(c, &all);
    } else {
        printf("no cell is owned\n");
    }
    free(all.list);
    return verdict(c);
}
