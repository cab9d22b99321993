/* control.h - what the mock can be told while it runs: over HTTP and from script files, in the same words.
 *
 *   NAME                      type=m6i.large zone=us-east-1a lifecycle=spot|on-demand id=i-... tokens=required|optional
 *                             imds=on|off ttl_s=21600 connection=keep-alive|close slide=0|1: makes it, or changes it
 *   NAME/rebalance            a rebalance recommendation
 *   NAME/itn                  action=terminate|stop|hibernate in_ms=120000 or ago_ms=N: an interruption notice
 *   NAME/asg                  state=Terminated: where its group moves it
 *   NAME/maintenance          code=instance-retirement in_ms=3600000 or ago_ms=N, for_ms=7200000 id=...: one more
 *                             scheduled event
 *   NAME/withdraw             what=rebalance|itn|asg|maintenance|all how=canceled|completed
 *   NAME/fault                one of status=N delay_ms=N silence reset garbage broken endless flood throttle=N
 *                             hop-limit=N, with path=PART count=N; expire-tokens, at once; clear: no more faults
 *
 * A command is checked whole before anything is changed. */
#ifndef OPS_IMDS_CONTROL_H
#define OPS_IMDS_CONTROL_H

#include "ops/imds/fleet.h"

struct evbuffer;

enum { CONTROL_WHY_BYTES = 200 };

/* Applies one command; query as in an address: "in_ms=120000&action=stop". 0, or the HTTP status that fits, and *why.
 * dry: only looks whether the command is well formed. */
int control_apply(struct fleet *f, const char *name, const char *command, const char *query, bool dry,
                  char why[CONTROL_WHY_BYTES]);
/* What all instances, or the one of that name, are and have read, as JSON. False: there is none of that name. */
bool control_json(struct fleet *f, const char *name, struct evbuffer *out);

#endif
