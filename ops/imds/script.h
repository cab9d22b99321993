/* script.h - what happens to the fleet and when, from a file: `at MS NAME COMMAND?query`, counted from the start.
 *
 *   # the whole pool is told at once, a minute in
 *   at 0 node0 ?type=m6i.large&zone=us-east-1a
 *   at 60000 node0 itn?in_ms=120000
 *
 * Every line is checked before anything happens; a line's command may be refused all the same when its time comes (no
 * such instance), which is said in the log. */
#ifndef OPS_IMDS_SCRIPT_H
#define OPS_IMDS_SCRIPT_H

#include <stddef.h>

#include "ops/imds/fleet.h"

struct script;
struct event_base;

/* NULL: it cannot be read, or a line of it is wrong: *why says which. */
struct script *script_open(struct event_base *base, struct fleet *f, const char *path, char *why, size_t why_bytes);
void script_free(struct script *s); /* NULL is fine */

#endif
