/* watch.h - follows the programs of a world that ops/up.sh runs, and appends what becomes of them to a timeline.
 *
 * Which programs there are is read from DIR/run again and again, so those that come later are followed, too. Each
 * every_ms a line about each of them; at once a line about each cell that moved, each change of a node's state (both
 * from their logs, with the time of the log) and each end of a process. Ends on SIGTERM or SIGINT, after a last look.
 * Lines are appended whole, so that others may append to the same file. timeline.h says what they are. */
#ifndef OPS_REPORT_WATCH_H
#define OPS_REPORT_WATCH_H

#include <stdbool.h>

struct watch_conf {
    const char *dir, *out;
    unsigned every_ms;
    bool from_start; /* logs are read from their beginning, not from what they gain from now on */
};

int watch_run(const struct watch_conf *conf); /* an exit code */

#endif
