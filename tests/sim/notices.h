/* notices.h - the cloud takes nodes back: notices with deadlines, hints, storms, and what comes to nothing.
 *
 * A notice is told as the metadata's watcher would: again and again, with times that slide, are in the past or not
 * said, and some are withdrawn. One that stands ends with the machine, at its deadline. Where nothing else goes wrong
 * (sim_profile.notices_kept), a node that was told in time while another could take its cells must be empty when half
 * of its time is over. */
#ifndef TESTS_SIM_NOTICES_H
#define TESTS_SIM_NOTICES_H

#include "tests/sim/sim.h"

struct host;

void notice_one(struct sim *s);  /* an interruption, a lifecycle change ... of one node, and perhaps of its target */
void notice_hint(struct sim *s); /* a rebalance recommendation: nothing follows, or it flaps, or an interruption does */
void notice_storm(struct sim *s);  /* several nodes, a whole pool, or all but one */
void notice_infant(struct sim *s); /* a node that has just started */

#endif
