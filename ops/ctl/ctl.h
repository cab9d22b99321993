/* ctl.h - what the files of spotctl share: the world as an operator sees it.
 *
 *   main.c   the command line, help, exit codes
 *   world.c  finds the nodes in Redis, links to them, asks and waits
 *   show.c   status, cells
 *   act.c    move, drain, undrain
 *   proto/base/json.h reads what nodes tell
 *
 * A tool that does one thing and ends: every wait runs the loop up to a deadline and returns whether it came. The first
 * error is kept and told at the end, as text and, with --json, as an object. One thread. */
#ifndef OPS_CTL_CTL_H
#define OPS_CTL_CTL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "proto/base/json.h"
#include "proto/base/settings.h"
#include "proto/redis/coord.h"

/* What spotctl ends with. */
enum ctl_exit { CTL_OK = 0, CTL_FAILED = 1, CTL_USAGE = 2, CTL_UNREACHABLE = 3 };

struct ctl_conf {
    CTL_CONF(CONF_MEMBER)
};

struct evbuffer;
struct ctl_node {
    uint64_t id;
    struct coord_self self; /* by its lease */
    bool listed;            /* in the last list of the living */

    uint64_t link; /* 0: none */
    bool dialling;
    char trouble[96]; /* why it cannot be asked, "": it can */
    bool wrong_secret;

    uint64_t asked;        /* the request whose status is awaited; 0: none */
    struct evbuffer *json; /* what came of it */
    char *text;            /* the last whole one */
    struct json status;    /* ... as a value; at NULL: none */
};

struct ctl {
    struct ctl_conf conf;
    struct loop *loop;
    struct redis_link *redis;
    struct links *links;
    struct ctl_node **nodes; /* by id */
    unsigned n_nodes;
    bool stopped; /* somebody pressed Ctrl-C */

    unsigned redis_left; /* commands that are not answered yet */
    enum err redis_err;  /* of the last one that failed */
    uint64_t owner;      /* ctl_owner: what Redis said */

    uint64_t last_request;
    uint64_t awaited; /* the command whose answer is awaited */
    bool answered;
    enum done_result result;
    char result_text[DONE_TEXT_MAX + 1];

    enum ctl_exit code;
    char error[512];
};

/* ---- world.c ---- */
/* Each returns CTL_OK, or keeps an error and returns its code. */
enum ctl_exit ctl_open(struct ctl *c);
void ctl_close(struct ctl *c);
/* The living nodes, from Redis. */
enum ctl_exit ctl_find(struct ctl *c);
/* By id or a prefix of it that only one has. */
enum ctl_exit ctl_node_named(struct ctl *c, const char *name, struct ctl_node **out);
/* Who owns the cell, by Redis; it must live. */
enum ctl_exit ctl_owner(struct ctl *c, struct cell_pos at, struct ctl_node **out);
/* Links with one. */
enum ctl_exit ctl_reach(struct ctl *c, struct ctl_node *n);
/* Asks every node for its status. Those that do not answer have trouble. */
void ctl_ask_all(struct ctl *c, bool cells);
enum ctl_exit ctl_ask(struct ctl *c, struct ctl_node *n, bool cells);
/* Sends a command, and waits for its answer: CTL_OK when the node says that it did it. */
enum ctl_exit ctl_command(struct ctl *c, struct ctl_node *n, struct msg *m, uint32_t wait_ms);
void ctl_pause(struct ctl *c, uint32_t ms);
/* Keeps the first error. Returns code. */
enum ctl_exit ctl_fail(struct ctl *c, enum ctl_exit code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
const char *ctl_state_text(const struct ctl_node *n, char *out, size_t bytes);
void ctl_print_json_text(const char *text); /* quoted */

/* ---- show.c ---- */
enum ctl_exit show_status(struct ctl *c);
enum ctl_exit show_cells(struct ctl *c);

/* ---- act.c ---- */
enum ctl_exit act_move(struct ctl *c, const char *cell, const char *node);
enum ctl_exit act_drain(struct ctl *c, const char *node);
enum ctl_exit act_undrain(struct ctl *c, const char *node);

#endif
