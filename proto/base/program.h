/* program.h - how a program of ours starts and ends: settings, name in the log, loop, exit code.
 *
 *   settings are read -> the log gets level and tag -> build() makes the parts on the loop -> the loop runs until
 *   loop_end() -> tear_down() frees the parts, the loop goes last
 *
 * What cannot work is said in one line: on stderr before there is a log, then as `cannot_start reason="..."`. The exit
 * code says whether starting again helps; --help and the runbook list the codes. A dependency that does not answer
 * (Redis, the store) is no reason to end: build() connects in the background, and /readyz says what is missing. */
#ifndef PROTO_BASE_PROGRAM_H
#define PROTO_BASE_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/conf.h"
#include "proto/base/err.h"
#include "proto/base/loop.h"

enum program_exit {
    PROGRAM_DONE = 0,
    PROGRAM_FAILED = 1,   /* something of this machine was not to be had (a port is taken): starting again may help */
    PROGRAM_SETTINGS = 2, /* a setting is wrong or missing */
    PROGRAM_WORLD = 3     /* the world is not one for this version: another cell size or schema */
};

struct program {
    struct conf_table conf;
    void *settings;        /* what conf describes */
    const char *log_level; /* within the settings */
    const char *listen;    /* within the settings: the address that others reach this program at */
    const char *secret;    /* within the settings */
    struct loop_ops loop;
    /* The parts; id: this start's incarnation, random and not 0; files: how many descriptors the process may have. What
     * was made before a failure is tear_down()'s. ERR_BAD: a setting cannot be; others: not now, *why says what. */
    enum err (*build)(void *app, struct loop *l, uint64_t id, uint64_t files, char *why, size_t why_bytes);
    void (*tear_down)(void *app);
    const enum program_exit *exit_code; /* looked at when the loop has ended; the app's */
};

/* For conf.more: variables, signals, exit codes, as all our servers have them. */
extern const char program_help[];

/* The whole of main(): its exit code. */
int program_run(const struct program *p, void *app, int argc, char **argv);

/* Clocks for state machines, that want an argument. */
uint64_t program_mono_ms(void *unused);
uint64_t program_unix_ms(void *unused);

/* Is this host:port one that only processes of the same machine can reach? */
bool program_local_address(const char *host_port);

#endif
