/* imds_seen.h - what is new in a reading: each notice is told once, however often it is read.
 *
 * A notice is told when it is there for the first time, and again only when its deadline came nearer or, the old one
 * being past, moved on. A time that moves away at every reading so changes nothing: the first one counts. One that lies
 * in the past for minutes is no notice any more: EC2 leaves the time of an interruption that did not happen. Planned
 * maintenance is one from maintenance_ms before its time on. A recommendation has no deadline but the time at which it
 * was made: with another time it is another one, told as soon as that time was read unchanged for SEEN_STEADY_MS. Pure;
 * the caller owns the struct and passes the time. */
#ifndef PROTO_IMDS_IMDS_SEEN_H
#define PROTO_IMDS_IMDS_SEEN_H

#include "proto/imds/imds_parse.h"

enum {
    SEEN_PAST_MS = 120000,     /* so long after its time a notice counts as not carried out */
    SEEN_HIBERNATE_MS = 10000, /* what a machine that is hibernated at once is taken to have left */
    SEEN_TOLERANCE_MS = 2000,  /* deadlines that are no further apart are the same */
    SEEN_STEADY_MS = 3000,     /* a time that slides has moved by then, having seconds at least */
};

/* What came of a reading: bits. */
enum {
    SEEN_NOTICE = 1,    /* tell it: deadline_ms */
    SEEN_WITHDRAWN = 2, /* it was told, and is not there any more */
    SEEN_SLIDES = 4,    /* its time moves away; said once */
    SEEN_PAST = 8,      /* its time is long over; said once */
    SEEN_AHEAD = 16,    /* maintenance is planned, and not near; said once a date */
};

/* Of one kind of notice. Starts zeroed. */
struct seen {
    bool told, slides, past;
    uint64_t deadline_ms; /* as told, by the local clock; 0: not said */
    uint64_t first_ms;    /* when it was first read; 0: it is not there */
    uint64_t ahead_ms;    /* the date of the planned maintenance that was said */
    /* rebalance, both by the service's clock */
    uint64_t made_ms;  /* as told */
    uint64_t other_ms; /* another one that was read since, ... */
    uint64_t since_ms; /* ... and when it was read first */
};

/* now_ms: the local wall clock; ahead_by_ms: how far the service's clock is ahead of it. */
unsigned seen_reading(struct seen *s, enum notice_kind kind, const struct reading *r, uint64_t now_ms,
                      int64_t ahead_by_ms, uint32_t maintenance_ms);

#endif
