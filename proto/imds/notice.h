/* notice.h - what the machine under a process may be told: that it will be taken away, or that it might be.
 *
 * NOTICE_REBALANCE is a hint without a deadline; every other kind says that the machine goes. */
#ifndef PROTO_IMDS_NOTICE_H
#define PROTO_IMDS_NOTICE_H

enum notice_kind {
    NOTICE_REBALANCE,    /* events/recommendations/rebalance: the machine is likelier than others to go */
    NOTICE_INTERRUPTION, /* spot/instance-action: what will be done to it, and when */
    NOTICE_TERMINATION,  /* spot/termination-time: the same in the older form */
    NOTICE_LIFECYCLE,    /* autoscaling/target-lifecycle-state: its group takes it out */
    NOTICE_MAINTENANCE,  /* events/maintenance/scheduled, once that is near */
    NOTICES
};

const char *notice_name(enum notice_kind kind); /* "rebalance": for logs and metrics */

#endif
