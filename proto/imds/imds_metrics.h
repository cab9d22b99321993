/* imds_metrics.h - what the watcher counts. One of it a process; made by imds_metrics_open(), freed with all metrics.
 */
#ifndef PROTO_IMDS_IMDS_METRICS_H
#define PROTO_IMDS_IMDS_METRICS_H

#include "proto/imds/notice.h"

/* Why an answer, or the want of one, was no good. */
enum imds_error {
    IMDS_ERR_UNREACHABLE,  /* refused, no route, no such name */
    IMDS_ERR_UNANSWERED,   /* no whole answer in time */
    IMDS_ERR_CLOSED,       /* reset, or ended in the middle */
    IMDS_ERR_BROKEN,       /* not HTTP, or endless */
    IMDS_ERR_GARBAGE,      /* HTTP, and not what belongs there */
    IMDS_ERR_BAD_REQUEST,  /* 400 */
    IMDS_ERR_UNAUTHORIZED, /* 401, and again with a new token */
    IMDS_ERR_FORBIDDEN,    /* 403 */
    IMDS_ERR_NO_TOKENS,    /* 404 to the token's request */
    IMDS_ERR_THROTTLED,    /* 429, 503 */
    IMDS_ERR_SERVER,       /* 5xx */
    IMDS_ERR_OTHER_STATUS,
    IMDS_ERR_HOP_LIMIT, /* the token's request is not answered on a connection that stands */
    IMDS_ERRORS
};
const char *imds_error_name(enum imds_error e); /* "unanswered": label and log */

struct metric;
struct imds_metrics {
    struct metric *answers[6], *errors[IMDS_ERRORS], *notices[NOTICES], *withdrawn[NOTICES], *now[NOTICES];
    struct metric *tokens, *ignored_past, *ignored_slides, *age, *blind, *skew;
};
void imds_metrics_open(struct imds_metrics *m);
/* The counter for a whole answer of that status. */
struct metric *imds_metrics_answer(struct imds_metrics *m, int status);

#endif
