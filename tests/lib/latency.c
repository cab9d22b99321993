#include "tests/lib/latency.h"

#include <stdlib.h>

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

void latency_add(struct latency *l, uint64_t us)
{
    uint64_t b = us / BUCKET_US;
    l->bucket[b < BUCKETS ? b : BUCKETS]++;
    l->n++;
    if (us > l->max_us)
        l->max_us = us;
}

uint64_t latency_count(const struct latency *l)
{
    return l->n;
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
