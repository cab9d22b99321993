/* latency.h - how long things took: every sample counts, percentiles are exact to 10 microseconds up to 10 seconds.
 *
 * Longer ones are known by their number and the longest of them. */
#ifndef TESTS_LIB_LATENCY_H
#define TESTS_LIB_LATENCY_H

#include <stdint.h>

struct latency;
struct latency *latency_new(void);
void latency_free(struct latency *l); /* NULL is fine */
void latency_add(struct latency *l, uint64_t us);
void latency_merge(struct latency *into, const struct latency *from);
void latency_clear(struct latency *l);
uint64_t latency_count(const struct latency *l);
uint64_t latency_above(const struct latency *l, unsigned ms); /* how many took longer */
/* In milliseconds; 0 without samples. share: 0.5 for the median, 1 for the longest. */
double latency_ms(const struct latency *l, double share);

#endif
