/* trouble.h - says in the log that something goes wrong when it begins and when it ends, and not at every try.
 *
 * Each kind of trouble is said once, and again only when all was well for TROUBLE_QUIET_MS before it. What comes back
 * sooner is not said, so that a service which fails now and then costs a line, not a line a try; but it is once it has
 * lasted that long without a break. Pure: the caller passes the monotonic time, and writes the line. */
#ifndef PROTO_IMDS_TROUBLE_H
#define PROTO_IMDS_TROUBLE_H

#include <stdbool.h>
#include <stdint.h>

enum { TROUBLE_QUIET_MS = 60000 };

/* Starts zeroed. */
struct trouble {
    uint32_t said;    /* a bit a kind */
    bool open;        /* said, and its end not yet */
    uint64_t good_ms; /* since when all is well; 0: it is not */
    uint64_t bad_ms;  /* since when it is not; 0: it is */
};

/* Both for every try: it went wrong, or well. */
bool trouble_begins(struct trouble *t, unsigned kind, uint64_t now_ms); /* kind < 32. True: say it */
bool trouble_ends(struct trouble *t, uint64_t now_ms);                  /* True: say that it is over */

#endif
