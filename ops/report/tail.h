/* tail.h - reads what a program's log has gained since the last look, and picks out what a timeline needs.
 *
 * A line that is not there to its end waits for the next look. Owned by its user; one thread. */
#ifndef OPS_REPORT_TAIL_H
#define OPS_REPORT_TAIL_H

#include <stdbool.h>
#include <stdint.h>

enum tail_what { TAIL_FREEZE, TAIL_STATE, TAIL_STOPPED, TAIL_CLAIM };

struct tail_line {
    uint64_t t; /* unix ms, as the program wrote it */
    enum tail_what what;
    uint32_t us; /* freeze: how long the cell took no edit; claim: until it was served */
    char from[16], to[16], why[32];
    unsigned cells; /* state: what it had then */
};

/* False: nothing of interest. line has no newline. Pure. */
bool tail_parse(const char *line, struct tail_line *out);

typedef void tail_each(void *arg, const struct tail_line *line);

struct tail {
    char path[512];
    long at; /* offset of what was not read yet */
};
void tail_from_here(struct tail *t); /* what is there already is of no interest */
void tail_read(struct tail *t, tail_each *each, void *arg);

#endif
