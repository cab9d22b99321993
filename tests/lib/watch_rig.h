/* watch_rig.h - the metadata watcher on a loop of its own, all that it told, and what it logged.
 *
 * The service that it asks is the test's. One rig a program, as there is one log; watch_rig_up() and watch_rig_down()
 * are a cmocka test's set-up and its end. Waits have a deadline, and fail the test. */
#ifndef TESTS_LIB_WATCH_RIG_H
#define TESTS_LIB_WATCH_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <event2/event.h>
#include <stdio.h>

#include "proto/base/clock.h"
#include "proto/imds/imds.h"

enum { WATCH_WAIT_MS = 20000, WATCH_POLL_MS = 20, WATCH_TIMEOUT_MS = 100 };

struct watch_rig {
    struct event_base *base;
    struct event *beat;
    struct imds *watcher; /* NULL: none yet; freed by watch_rig_down() */
    FILE *log_file;
    /* what was told */
    unsigned notices[NOTICES], withdrawn[NOTICES], checked, identified;
    uint64_t deadline[NOTICES];
    struct imds_identity identity;
    bool known_when_checked;
};
extern struct watch_rig rig;

void watch_rig_up(void);
void watch_rig_down(void);
void watch_rig_watch(const char *endpoint, bool v1);

unsigned watch_rig_logged(const char *text); /* the lines of the log so far that have this in them */
double watch_rig_errors(const char *kind);
double watch_rig_ignored(const char *label);
double watch_rig_gauge(const char *name);

#define UNTIL(condition)                                                                                               \
    do {                                                                                                               \
        uint64_t end_ms = clock_mono_ms() + WATCH_WAIT_MS;                                                             \
        while (!(condition)) {                                                                                         \
            if (clock_mono_ms() > end_ms)                                                                              \
                fail_msg("did not come: %s", #condition);                                                              \
            event_base_loop(rig.base, EVLOOP_ONCE);                                                                    \
        }                                                                                                              \
    } while (0)

#endif
