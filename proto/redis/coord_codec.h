/* coord_codec.h - a coord request as a call to Redis, and Redis's reply as the request's answer.
 *
 * Every operation is one call: a script (proto/redis/NAME.lua), or a single command that is atomic by itself. Replies
 * are not trusted: type, length and range of each value are checked. Pure; no I/O. */
#ifndef PROTO_REDIS_COORD_CODEC_H
#define PROTO_REDIS_COORD_CODEC_H

#include <hiredis/hiredis.h>

#include "proto/base/arena.h"
#include "proto/redis/coord.h"

/* The source of op's script; NULL: op is a plain command. */
const char *coord_script(enum coord_op op);

struct coord_call {
    unsigned n_keys; /* scripts: how many of argv are keys */
    unsigned argc;
    const char **argv;
    size_t *lens;
};

/* What is asked for must be within coord.h's limits, and epochs and batch numbers below 2^53 (asserted: they are ours).
 * argv lives in a, and in r. */
void coord_encode(const char *world, const struct coord_req *r, struct arena *a, struct coord_call *out);

/* Fills in r's answer. ERR_OK; ERR_MISMATCH: of join_world. ERR_REFUSED: the reply does not fit the request; what was
 * filled in by then stays owned by it. */
enum err coord_decode(struct coord_req *r, const redisReply *reply);

#endif
