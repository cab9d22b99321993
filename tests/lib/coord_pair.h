/* coord_pair.h - the real Redis and the model of it, asked the same.
 *
 * A pair is one world on a real server (started once per program, emptied for
 * each pair) and one model_redis. coord_pair_ask() puts a request to both, waits,
 * and fails the test unless every field of the answers is the same. Faults are
 * done to both alike. Leases are long, so that none ends by itself during a test. */
#ifndef TESTS_LIB_COORD_PAIR_H
#define TESTS_LIB_COORD_PAIR_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/redis/coord.h"
#include "tests/lib/model_coord.h"

enum { PAIR_TTL_MS = 60000, PAIR_WAIT_MS = 10000 };
enum { A = 0xa, B = 0xb, C = 0xc, G = 0x61, H = 0x62 }; /* three nodes and two gateways */

struct event_base;
struct pair {
    struct event_base *base;
    struct coord *real, *model_coord;
    struct model_redis *model;
    struct coord_listener listener; /* of both */
    unsigned n_events, n_interrupted;
    char event[64];
    char world[16];
};

/* The server, for main(): starts it; passed says whether its logs may go. */
bool pair_server_start(const char *name);
void pair_server_stop(bool passed);
/* cmocka's setup and teardown; the state is a struct pair *. */
int pair_setup(void **state);
int pair_teardown(void **state);

struct coord_req *new_req(enum coord_op op, uint64_t me);
void ask(struct pair *p, struct coord_req *r); /* the real one's answer is left in r */
void ask_and_free(struct pair *p, struct coord_req *r);
/* Of the real one alone: what is done behind the model's back. While the link is coming up it asks again. */
void ask_real(struct pair *p, struct coord_req *r);
long long raw(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* one command to the server, as a number */
void turn_until(struct pair *p, const unsigned *count, unsigned want);

struct renewal {
    bool existed, evicts;
    uint64_t generation;
    uint32_t closed_ms;
    unsigned n_members;
    struct coord_member first;
};
struct renewal renew_knowing(struct pair *p, enum role role, uint64_t me, uint64_t generation, uint32_t id_high);
struct renewal renew(struct pair *p, uint64_t me); /* a node that knows nothing */
void populate(struct pair *p);                     /* everybody lives, and claims are open */
unsigned dirty(struct pair *p);                    /* how many cells it tells */
struct coord_name named(const char *nick, uint64_t session, float x);

/* ---- faults ---- */
void expire(struct pair *p, enum role role, uint64_t id); /* that lease is over */
void reopen(struct pair *p);
void flush(struct pair *p);
void new_run(struct pair *p);

#endif
