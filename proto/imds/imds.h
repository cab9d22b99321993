/* imds.h - watches the metadata service of the EC2 instance that this process runs on.
 *
 * Asks, every poll_ms over one kept connection, the five paths that say whether the machine will be taken away, and
 * once who the machine is. Speaks version 2 (a session token, renewed before it ends); version 1 only where that is
 * allowed and version 2 is refused. Whatever the service does - errors, silence, endless or broken answers - costs one
 * path of one look at most timeout_ms, is counted in spotcraft_imds_*, told in the log when it begins and when it ends,
 * and slows the looks down to one in ten seconds at most. Where nothing was ever reached at the usual address, and
 * nobody named one, there seems to be no metadata: that is told, once, is no trouble, and slows them to one in forty
 * seconds.
 *
 * It decides nothing: it tells what it read, each notice once, however often it is read. Owned by main; used on the
 * loop thread; imds_free() is not for use inside its callbacks. */
#ifndef PROTO_IMDS_IMDS_H
#define PROTO_IMDS_IMDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"
#include "proto/imds/notice.h"

struct event_base;
struct evdns_base;

enum { IMDS_WORD_MAX = 63 };

/* What is not known is "". */
struct imds_identity {
    char instance_id[IMDS_WORD_MAX + 1];
    char type[IMDS_WORD_MAX + 1];
    char zone[IMDS_WORD_MAX + 1];
    char lifecycle[IMDS_WORD_MAX + 1]; /* "spot", "on-demand" */
    char pool[IMDS_WORD_MAX + 1];      /* "type/zone/lifecycle" */
};

/* Each may be NULL. */
struct imds_ops {
    /* New, or its deadline came nearer; a rebalance recommendation: new, or another one. unix_ms, by this machine's
     * clock: the deadline, 0: not said; of a recommendation, which has none, when it was made. */
    void (*notice)(void *arg, enum notice_kind kind, uint64_t unix_ms, const char *detail);
    void (*withdrawn)(void *arg, enum notice_kind kind);
    void (*identity)(void *arg, const struct imds_identity *id); /* once */
    /* Once: all paths were read, or there is no metadata here, or it does not answer within timeout_ms. May come before
     * imds_open() returned to the loop, never inside it. */
    void (*checked)(void *arg);
};

struct imds_conf {
    struct event_base *base;
    struct evdns_base *dns;  /* for an endpoint with a name; NULL: numeric addresses only */
    const char *endpoint;    /* "http://host[:port][/prefix]", "none", or "": the environment's, else the usual */
    const char *instance_id; /* known without asking; "": it is asked for */
    uint32_t poll_ms;        /* from the start of one look to that of the next */
    uint32_t timeout_ms;     /* of one request, from the connecting to the last byte */
    uint32_t maintenance_ms; /* scheduled maintenance counts as a notice when it is this near */
    bool v1;                 /* version 1 where version 2 is refused with 403 or 404 */
    const struct imds_ops *ops;
    void *arg;
};

struct imds;
/* ERR_BAD: the endpoint; why says what is wrong. Nothing is sent before the loop runs. */
enum err imds_open(const struct imds_conf *c, struct imds **out, char *why, size_t why_bytes);
void imds_free(struct imds *w);    /* NULL is fine; no callback comes any more */
void imds_refresh(struct imds *w); /* before /metrics is written: sets what is a gauge */

#endif
