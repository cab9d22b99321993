#include "tests/lib/latency.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/mem.h"

enum { BUCKET_US = 10, BUCKETS = 1000000 };

struct latency {
    uint64_t n, max_us;
    uint32_t bucket[BUCKETS + 1]; /* the last: longer ones */
};

struct latency *latency_new(void)
{
    return mem_zalloc(sizeof(struct latency));
}

void latency_free(struct latency *l)
{
    free(l);
}

static uint64_t bucket_of(uint64_t us)
{
    uint64_t b = us / BUCKET_US;
    return b < BUCKETS ? b : BUCKETS;
}

void latency_add(struct latency *l, uint64_t us)
{
    l->bucket[bucket_of(us)]++;
    l->n++;
    if (us > l->max_us)
        l->max_us = us;
}

/* No bucket above the longest is in use: a second's worth is merged and cleared at the cost of its own range. */
void latency_merge(struct latency *into, const struct latency *from)
{
    for (uint64_t b = 0, last = bucket_of(from->max_us); b <= last; b++)
        into->bucket[b] += from->bucket[b];
    into->n += from->n;
    if (from->max_us > into->max_us)
        into->max_us = from->max_us;
}

void latency_clear(struct latency *l)
{
    memset(l->bucket, 0, (bucket_of(l->max_us) + 1) * sizeof *l->bucket);
    l->n = l->max_us = 0;
}

uint64_t latency_count(const struct latency *l)
{
    return l->n;
}

uint64_t latency_above(const struct latency *l, unsigned ms)
{
    uint64_t n = 0;
    for (uint64_t b = bucket_of((uint64_t)ms * 1000) + 1; b <= BUCKETS; b++)
        n += l->bucket[b];
    return n;
}

double latency_ms(const struct latency *l, double share)
{
    uint64_t rank = (uint64_t)(share * (double)l->n), seen = 0;
    if (!l->n || rank >= l->n)
        return (double)l->max_us / 1e3;
    for (uint64_t b = 0; b < BUCKETS; b++) {
        seen += l->bucket[b];
        if (seen > rank)
            return (double)(b * BUCKET_US) / 1e3;
    }
    return (double)l->max_us / 1e3;
}
