/* trouble.h - says in the log that something goes wrong when it begins and when it ends, and not at every try.
 *
 * Each kind of trouble is said once; what comes back within the minute after it ended is only counted by others. So a
 * service that fails now and then costs a line, not a line a try. Pure but for the log; time is monotonic. */
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
};

bool trouble_begins(struct trouble *t, unsigned kind); /* kind < 32. True: say it */
bool trouble_ends(struct trouble *t, uint64_t now_ms); /* all is well. True: say that it is over */

#endif
