/* services.h - a real redis-server or PostgreSQL of a test's own, on a free port of 127.0.0.1, with its data in the
 * lab.
 *
 * Each can be killed, paused and started again over the same data. Redis writes its journal through to the disk before
 * it answers (appendfsync always), for a test to believe what it said. PostgreSQL leaves out fsync unless asked: a kill
 * -9 of it loses nothing either way, and it starts twice as fast. */
#ifndef TESTS_LIB_SERVICES_H
#define TESTS_LIB_SERVICES_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/lib/proc.h"

enum { SERVICE_START_MS = 30000 };

struct redis {
    struct lab *lab;
    struct proc *proc;
    uint16_t port;
    char dir[LAB_PATH_MAX];
    char url[64];
};
/* Prepares; the struct is the caller's, the process the lab's. */
void redis_init(struct redis *r, struct lab *l);
bool redis_start(struct redis *r); /* true: it answers PING and has loaded its data */
bool redis_wipe(struct redis *r);  /* stopped: forget all data */

struct postgres {
    struct lab *lab;
    struct proc *proc;
    uint16_t port;
    bool fsync;
    char dir[LAB_PATH_MAX];
    char url[128];
};
/* False: no PostgreSQL on this machine, or initdb failed. */
bool postgres_init(struct postgres *p, struct lab *l);
bool postgres_start(struct postgres *p); /* true: it takes queries */
bool postgres_installed(void);

#endif
