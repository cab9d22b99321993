/* fetch.h - asks several admin pages of this machine at once, and waits no longer than a deadline for all of them.
 *
 * One that is frozen, gone or endless costs its own answer only. Blocks; one thread. */
#ifndef OPS_REPORT_FETCH_H
#define OPS_REPORT_FETCH_H

#include <stddef.h>
#include <stdint.h>

enum { FETCH_BYTES_MAX = 8 << 20 };

struct fetch {
    uint16_t port; /* of 127.0.0.1 */
    char *body;    /* out: of an answer with 200, NUL-terminated, the caller's to free; NULL: there was none in time */
    size_t bytes;
    /* its own */
    int fd;
    size_t room, used;
    char *data;
};

void fetch_all(struct fetch *all, size_t n, const char *path, unsigned ms);

#endif
