#include "tests/lib/redis_haul.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "tests/lib/probe.h"
#include "tests/lib/services.h"

enum { PIPELINE = 64 }; /* commands in flight */

static bool start_bare(struct redis *r, struct lab *l)
{
    redis_init(r, l);
    if (!redis_start(r))
        return false;
    char *answer = redis_ask(r->port, "CONFIG SET appendonly no"); /* the target of a handoff writes nothing either */
    bool good = answer && !strcmp(answer, "OK");
    free(answer);
    return good;
}

/* One hash for each cell, a field for each row, as many bytes as the handoff had. */
static bool fill(redisContext *c, unsigned cells, unsigned rows, unsigned value_bytes)
{
    bool good = true;
    for (unsigned i = 0; good && i < cells; i++) {
        for (unsigned k = 0; k < rows; k++) {
            uint64_t noise[4] = {(i * 1000003u + k) * 0x9e3779b97f4a7c15u, k * 0xbf58476d1ce4e5b9u, i, k};
            redisAppendCommand(c, "HSET cell:%u %b %b", i, &k, sizeof k, noise, (size_t)value_bytes);
        }
        for (unsigned k = 0; k < rows; k++) {
            redisReply *r = NULL;
            good = redisGetReply(c, (void **)&r) == REDIS_OK && r->type == REDIS_REPLY_INTEGER && good;
            freeReplyObject(r);
        }
    }
    return good;
}

static bool move_some(redisContext *from, redisContext *to, unsigned first, unsigned n, uint64_t *bytes)
{
    bool good = true;
    redisReply *r = NULL;
    for (unsigned i = first; i < first + n; i++)
        redisAppendCommand(from, "DUMP cell:%u", i);
    for (unsigned i = first; i < first + n && good; i++) {
        good = redisGetReply(from, (void **)&r) == REDIS_OK && r->type == REDIS_REPLY_STRING;
        if (good) {
            *bytes += r->len;
            redisAppendCommand(to, "RESTORE cell:%u 0 %b", i, r->str, (size_t)r->len);
            freeReplyObject(r);
        }
    }
    for (unsigned i = first; i < first + n && good; i++) {
        good = redisGetReply(to, (void **)&r) == REDIS_OK && r->type == REDIS_REPLY_STATUS;
        freeReplyObject(r);
        redisAppendCommand(from, "UNLINK cell:%u", i);
    }
    for (unsigned i = first; i < first + n && good; i++) {
        good = redisGetReply(from, (void **)&r) == REDIS_OK;
        freeReplyObject(r);
    }
    return good;
}

bool redis_haul(struct lab *l, unsigned cells, unsigned rows, uint64_t want_bytes, uint64_t *bytes, double *seconds)
{
    struct redis a, z;
    if (!start_bare(&a, l) || !start_bare(&z, l))
        return false;
    redisContext *from = redisConnect("127.0.0.1", a.port), *to = redisConnect("127.0.0.1", z.port);
    uint64_t row_bytes = want_bytes / cells / rows;
    unsigned value = (unsigned)(row_bytes > 8 ? row_bytes - 6 : 2); /* six: the field, and two lengths */
    bool good = from && to && !from->err && !to->err && fill(from, cells, rows, value > 32 ? 32 : value);
    uint64_t start_us = clock_mono_us();
    for (unsigned i = 0; good && i < cells; i += PIPELINE)
        good = move_some(from, to, i, cells - i < PIPELINE ? cells - i : PIPELINE, bytes);
    *seconds = (double)(clock_mono_us() - start_us) / 1e6;
    redisFree(from);
    redisFree(to);
    proc_kill(a.proc);
    proc_kill(z.proc);
    return good;
}
