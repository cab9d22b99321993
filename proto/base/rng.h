/* rng.h - seeded random numbers (xoshiro256**, Blackman and Vigna), so that the simulator replays exactly. */
#ifndef PROTO_BASE_RNG_H
#define PROTO_BASE_RNG_H

#include <stdint.h>

struct rng {
    uint64_t s[4];
};
void rng_seed(struct rng *r, uint64_t seed); /* any seed, 0 too: spread by splitmix64 */
void rng_seed_os(struct rng *r);             /* from getrandom(2) */
uint64_t rng_u64(struct rng *r);
uint32_t rng_below(struct rng *r, uint32_t n);   /* 0..n-1, unbiased; n > 0 */
double rng_unit(struct rng *r);                  /* [0, 1) */
uint64_t rng_jitter(struct rng *r, uint64_t ms); /* ms +- 25 % */

#endif
