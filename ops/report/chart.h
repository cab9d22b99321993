/* chart.h - the pictures of a rehearsal as SVG: four panels over one axis of time.
 *
 *   cells of each machine, stacked          what happened to the machines, a lane each
 *   how long edits took to be seen          how long cells were frozen as they moved, and claimed after a loss
 *
 * Colours come from the classes and variables of the page's style sheet. Pure: writes to a stream. */
#ifndef OPS_REPORT_CHART_H
#define OPS_REPORT_CHART_H

#include <stdio.h>

#include "ops/report/outcome.h"

enum { CHART_COLOURS = 8 }; /* --n0 to --n7, by lane */

void chart_print(const struct timeline *l, const struct outcomes *o, FILE *out);

/* 0 at the scale's lower end, 1 at its upper end; what lies outside is put at the end. Both ends above 0. */
double chart_log(double value, double low, double high);
/* 1, 2 or 5 times a power of ten: the least that makes at most `most` steps of the range. */
double chart_step(double range, unsigned most);
/* What an event is called in the picture and in the table. */
const char *chart_event_name(const char *what);

#endif
