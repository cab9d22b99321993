/* imds_tell.h - from the answers of the metadata service to what is told: notices, and who the machine is.
 *
 * Takes whole answers in any order and calls the watcher's callbacks: a notice when it is news, the identity once all
 * of it is known. Corrects the notices' times by the service's clock where that differs from this machine's. Says what
 * it tells in the log and counts it. The caller, who reads the answers, owns the struct. */
#ifndef PROTO_IMDS_IMDS_TELL_H
#define PROTO_IMDS_IMDS_TELL_H

#include "proto/imds/imds.h"
#include "proto/imds/imds_http.h"
#include "proto/imds/imds_metrics.h"
#include "proto/imds/imds_seen.h"
#include "proto/imds/trouble.h"

enum id_field { ID_INSTANCE, ID_TYPE, ID_ZONE, ID_LIFECYCLE, ID_FIELDS };

/* Starts zeroed but for the first four. */
struct imds_tell {
    const struct imds_ops *ops;
    void *arg;
    struct imds_metrics *metrics;
    uint32_t maintenance_ms;
    struct seen seen[NOTICES];
    struct imds_identity identity;
    bool missing[ID_FIELDS]; /* was not there when it was read last */
    bool known[ID_FIELDS];   /* for good, that there is none included */
    bool identified;
    int64_t ahead_ms; /* the service's clock */
    struct trouble skewed;
};

/* The answer's Date, to a request that left at asked_unix_ms. */
void tell_date(struct imds_tell *t, const char *date, uint64_t asked_unix_ms);
/* Of a whole answer. True: it was what belongs there, "there is none" included. */
bool tell_notice(struct imds_tell *t, enum notice_kind k, const struct imds_answer *a);
bool tell_identity(struct imds_tell *t, enum id_field f, const struct imds_answer *a);
/* Known without asking; "": it is not. */
void tell_instance_id(struct imds_tell *t, const char *id);

#endif
