/* imds_parse.h - what stands in the answers of the metadata service.
 *
 * Bytes from outside, whole and bounded by the caller, become a reading: the state of one notice as one answer tells
 * it. Nothing is guessed: what does not look as documented is ERR_BAD, and the caller keeps what it knew. Pure: no
 * clock, no memory. Times are milliseconds since 1970 by the service's clock. */
#ifndef PROTO_IMDS_IMDS_PARSE_H
#define PROTO_IMDS_IMDS_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"
#include "proto/imds/notice.h"

enum { READING_DETAIL_MAX = 95 };

struct reading {
    bool there;                          /* false: no such notice now */
    bool vague;                          /* not there, as far as one can tell from what is no answer otherwise */
    bool at_once;                        /* it begins now, whatever at_ms says: hibernation has no two minutes */
    uint64_t at_ms;                      /* when it happens, or was recommended; 0: not said */
    uint64_t until_ms;                   /* maintenance: it may happen until then; 0: not said */
    char detail[READING_DETAIL_MAX + 1]; /* printable: "terminate", "instance-retirement id=instance-event-0d59" */
};

/* The body of a 200 for that kind's path. Maintenance: the nearest event that is not over; one whose time ended before
 * over_ms, as it was not carried out, only where there is no other. ERR_BAD, ERR_OK. */
enum err imds_parse_notice(enum notice_kind kind, const char *body, size_t len, uint64_t over_ms, struct reading *out);

/* "2017-09-18T08:22:00Z", with a fraction or an offset if need be. */
bool imds_parse_time(const char *text, size_t len, uint64_t *ms);
/* "21 Jan 2019 09:00:43 GMT", or with "Mon, " in front, as HTTP's Date has it. */
bool imds_parse_date(const char *text, size_t len, uint64_t *ms);
/* A name as identities are: 1 to max letters, digits, '-', '_' and '.', without the space around them. */
bool imds_parse_word(const char *body, size_t len, char *out, size_t max);
/* A token: 1 to max printable characters without spaces. */
bool imds_parse_token(const char *body, size_t len, char *out, size_t max);
/* A whole number from min to max. */
bool imds_parse_number(const char *text, uint32_t min, uint32_t max, uint32_t *out);

#endif
