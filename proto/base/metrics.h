/* metrics.h - counters, gauges and histograms, written in Prometheus's text format (version 0.0.4).
 *
 * Made once with a name, a help text and, where there are several of a name, a label pair (`reason="full"`, or NULL);
 * making the same again gives the same metric back. The label's value may hold anything: it is escaped here. Names
 * follow Prometheus's customs: spotcraft_ in front, base units, _total for counters. Used on the loop thread only. */
#ifndef PROTO_BASE_METRICS_H
#define PROTO_BASE_METRICS_H

#include <stdint.h>

struct metric;
struct metric *metrics_counter(const char *name, const char *help, const char *label);
struct metric *metrics_gauge(const char *name, const char *help, const char *label);
/* Buckets from 0.5 ms to 30 s, about 1-2-5. */
struct metric *metrics_seconds(const char *name, const char *help, const char *label);

void metric_add(struct metric *m, double by);    /* counter, gauge */
void metric_set(struct metric *m, double value); /* gauge */
void metric_seconds(struct metric *m, double s); /* histogram */
double metric_value(const struct metric *m);     /* counter, gauge; of a histogram its count */

struct evbuffer;
void metrics_write(struct evbuffer *out);
void metrics_free(void); /* at exit, for leak checkers */

#endif
