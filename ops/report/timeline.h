/* timeline.h - the story of a rehearsal, read back from its file: one JSON object a line, each with "t" (unix ms) and
 * "kind".
 *
 *   start     title, command, seed, bots, speed    event     id, what, deadline_ms (0: none), text, nodes
 *   node      name, state, pool, cells, players    killed    name: it still ran at its deadline
 *   silent    name: its admin page did not answer  thawed    name: it runs on, after it was made to hang
 *   state     name, from, to, why, cells           withdrawn name, what: a notice that it had is there no more
 *   freeze    name, us: a cell left it             started   name, pool: a replacement
 *   claim     name, us: it took a cell over        ended     name, stopped: in order
 *   bots      edit_seen_*: a second of the players  end       nothing is done any more; what follows is the check
 *   verdict   what the players lost                imds      control: when each notice was read first
 *
 * Several processes append to the file, so lines may be a little out of order: everything is sorted by time. A kind
 * that is not known is left out; a line that is not JSON, or lacks what it needs, makes the whole file refused, with
 * its number. Owned by its reader. Pure but for reading the file. */
#ifndef OPS_REPORT_TIMELINE_H
#define OPS_REPORT_TIMELINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TL_NAME_MAX = 32, TL_TEXT_MAX = 160, TL_EVENT_NODES_MAX = 256 };

enum tl_state { TL_STARTING, TL_RUNNING, TL_AT_RISK, TL_LEAVING, TL_SILENT, TL_STATES };

struct tl_sample {
    uint64_t t;
    enum tl_state state;
    uint32_t cells, players;
};

struct tl_node {
    char name[TL_NAME_MAX], pool[64];
    uint64_t first_t, ended_t; /* ended_t 0: it was there at the end */
    bool stopped;              /* it ended in order */
    uint64_t killed_t;         /* it still ran at its deadline; 0: no */
    struct tl_sample *samples;
    size_t n_samples;
    unsigned lane; /* nodes that did not live at the same time may share one */
};

/* A change of state, a cell that moved or was taken over, as the node's log tells it; and the end of what was done to
 * it. */
enum tl_mark_kind { TL_MARK_STATE, TL_MARK_FREEZE, TL_MARK_CLAIM, TL_MARK_THAWED, TL_MARK_WITHDRAWN };
struct tl_mark {
    uint64_t t;
    enum tl_mark_kind kind;
    unsigned node;
    uint32_t us;
    enum tl_state to;
    char why[32];
};

struct tl_event {
    uint64_t t, deadline; /* deadline 0: not said */
    unsigned id;
    char what[16], text[TL_TEXT_MAX];
    unsigned nodes[TL_EVENT_NODES_MAX], n_nodes;
};

/* One second of the players. */
struct tl_second {
    uint64_t t;
    uint32_t edits; /* seen by others */
    double p50_ms, p99_ms, max_ms;
};

struct tl_verdict {
    bool there;
    uint32_t bots, edits, disconnects, refused, lost, unseen, doubled, disordered, wrong_mirrors;
    double p50_ms, p99_ms, max_ms;
};

/* When an instance first read a notice, as its metadata service knows. */
struct tl_reading {
    char name[TL_NAME_MAX];
    uint64_t read_t;
};

struct timeline {
    char title[TL_TEXT_MAX], command[TL_TEXT_MAX];
    uint64_t start_t, end_t;
    uint32_t bots, speed;
    int64_t seed; /* -1: none */
    struct tl_node *nodes;
    struct tl_mark *marks;
    struct tl_event *events;
    struct tl_second *seconds;
    struct tl_reading *readings;
    size_t n_nodes, n_marks, n_events, n_seconds, n_readings;
    unsigned n_lanes;
    struct tl_verdict verdict;
};

/* False: why says what is wrong, with the line. out is to be freed either way. */
bool timeline_read(const char *path, struct timeline *out, char *why, size_t why_bytes);
void timeline_free(struct timeline *t);

/* The last sample of a node at or before t; NULL: none, or older than max_age_ms, or the node had ended. */
const struct tl_sample *timeline_at(const struct tl_node *n, uint64_t t, uint64_t max_age_ms);
const char *tl_state_text(enum tl_state s);

#endif
