#include "proto/base/rng.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "proto/base/log.h"

static uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

void rng_seed(struct rng *r, uint64_t seed)
{
    for (unsigned i = 0; i < 4; i++)
        r->s[i] = splitmix64(&seed);
}

void rng_seed_os(struct rng *r)
{
    uint64_t seed;
    ssize_t got;
    do
        got = getrandom(&seed, sizeof seed, 0);
    while (got < 0 && errno == EINTR);
    if (got != sizeof seed) {
        log_error("no_random_numbers errno=%d", errno);
        abort(); /* a guessed seed would make two processes claim the same id */
    }
    rng_seed(r, seed);
}

static uint64_t rotl(uint64_t x, unsigned by)
{
    return x << by | x >> (64 - by);
}

uint64_t rng_u64(struct rng *r)
{
    uint64_t *s = r->s;
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

/* Lemire's method: the high half of a product; the few low halves that would favour some numbers are drawn again. */
uint32_t rng_below(struct rng *r, uint32_t n)
{
    assert(n > 0);
    uint32_t unfair = -n % n;
    uint64_t product;
    do
        product = (rng_u64(r) >> 32) * n;
    while ((uint32_t)product < unfair);
    return (uint32_t)(product >> 32);
}

double rng_unit(struct rng *r)
{
    return (double)(rng_u64(r) >> 11) * 0x1p-53;
}

uint64_t rng_jitter(struct rng *r, uint64_t ms)
{
    uint64_t quarter = ms / 4;
    if (quarter == 0)
        return ms;
    if (quarter > UINT32_MAX / 2)
        quarter = UINT32_MAX / 2;
    return ms - quarter + rng_below(r, (uint32_t)(2 * quarter) + 1);
}
