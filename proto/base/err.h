/* err.h - the one list of reasons why something did not work.
 *
 * Functions that can fail return one of these; out-parameters are written only
 * on ERR_OK. The text is for logs and close reasons: short, lower case. */
#ifndef PROTO_BASE_ERR_H
#define PROTO_BASE_ERR_H

enum err {
    ERR_OK,
    ERR_AGAIN,       /* not enough bytes yet, or not now: try later */
    ERR_BAD,         /* malformed input from outside */
    ERR_TOO_BIG,     /* over a size limit */
    ERR_FULL,        /* a bounded queue or table is full */
    ERR_IO,          /* link, disk or server lost: the outcome is not known */
    ERR_TIMEOUT,     /* the deadline passed: the outcome is not known */
    ERR_STALE,       /* somebody else owns it now, under a higher epoch */
    ERR_BEHIND,      /* the other side is older than what we hold */
    ERR_CLOSED,      /* not served now; the state says until when */
    ERR_REFUSED,     /* an answer: no */
    ERR_NOT_FOUND,   /* an answer: there is none */
    ERR_UNSUPPORTED, /* a message or version that we do not know */
    ERR_MISMATCH,    /* the world's constants or the schema differ from ours */
    ERR_AUTH,        /* the proof of the world's secret is wrong */
    ERR_COUNT
};

const char *err_text(enum err e); /* never NULL */

#endif
