/* outcome.h - what came of each thing that was done in a rehearsal, and whether all of it together is good.
 *
 * Good is: the players said that nobody was disconnected and nothing lost, doubled, out of order or wrong; whoever had
 * notice left by itself before its deadline; who was recommended to go was at risk, and ran again once that was
 * withdrawn; who hung serves again; nobody ended without being told to. Pure; the timeline must outlive it. */
#ifndef OPS_REPORT_OUTCOME_H
#define OPS_REPORT_OUTCOME_H

#include "ops/report/timeline.h"

/* Times of something, in order of size. */
struct spread {
    uint32_t n;
    double p50_ms, p99_ms, max_ms;
};
/* Of n microseconds, which are put into order. The nearest rank. */
struct spread spread_of(uint32_t *us, size_t n);

enum outcome_kind { OUTCOME_NOTICE, OUTCOME_HINT, OUTCOME_KILL, OUTCOME_FREEZE, OUTCOME_OTHER };

/* What one event did to one node. Times in ms since the event, -1: it did not come to that. */
struct outcome {
    const struct tl_event *event;
    unsigned node;
    enum outcome_kind kind;
    bool good;
    int64_t noticed_ms; /* until the node said that it leaves, or is at risk */
    int64_t read_ms;    /* from the first time that its metadata told it to that */
    int64_t back_ms;    /* a recommendation that was withdrawn: from then until it ran again */
    int64_t empty_ms, ended_ms;
    int64_t spare_ms, late_ms; /* it left: before its deadline, or after it */
    bool withdrawn;            /* the recommendation was, and there was time to see that */
    uint32_t cells;            /* that it had then */
    uint32_t taken_over;       /* cells that others claimed within ten seconds */
    double claim_max_ms;       /* the longest of those */
    double edit_max_ms;        /* the slowest edit of anybody from the event on, for ten seconds at most */
    struct spread freeze;      /* of the cells that it handed over because of it */
};

enum { OUTCOME_SENTENCE_MAX = 600 };

struct outcomes {
    struct outcome *all; /* one for each event and node, by time */
    size_t n;
    struct spread freeze, claim;                            /* of everybody */
    unsigned noticed, late, killed, hung, hints, by_itself; /* nodes; late: noticed, and not gone in time */
    unsigned alive, gone, unheeded, at_risk;                /* killed, and not ended; hung, and not back; hints */
    bool measured;                                          /* there were players */
    bool good;
    char sentence[OUTCOME_SENTENCE_MAX]; /* for somebody who knows nothing of all this */
};

void outcomes_of(const struct timeline *l, struct outcomes *out);
void outcomes_free(struct outcomes *o);
/* What came of it, in a few words. */
const char *outcome_text(const struct timeline *l, const struct outcome *o, char *out, size_t bytes);
const char *outcome_grouped(uint32_t v, char out[16]); /* 1234567 as 1,234,567 */

#endif
