#include "proto/redis/coord_redis.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/base/metrics.h"
#include "proto/redis/coord_codec.h"
#include "proto/redis/keys.h"
#include "proto/redis/redis_link.h"

enum link_kind { LINK_COMMANDS, LINK_LEASES, LINK_EVENTS, LINKS };

struct coord_redis {
    struct coord coord;
    char world[KEY_WORLD_MAX + 1];
    struct redis_link *links[LINKS]; /* events: NULL when nobody listens */
    const struct coord_listener *listener;
    struct key channel;
    bool closing;
    char explained[256]; /* coord_redis_explain() */
    struct arena *arena; /* for one call at a time */
    struct redis_script scripts[COORD_OPS];
    unsigned script_of[COORD_OPS]; /* index into scripts, for ops that have one */
    struct metric *seconds[COORD_OPS], *errors[COORD_OPS];
};

struct pending {
    struct coord_redis *c;
    struct coord_req *r;
    uint64_t asked_us;
};

static void log_refused(const struct coord_req *r, const redisReply *reply)
{
    char text[256];
    if (reply->type == REDIS_REPLY_ERROR)
        log_warn("redis_refused op=%s error=%s", coord_op_name(r->op),
                 log_quote(text, sizeof text, reply->str, reply->len));
    else
        log_warn("redis_refused op=%s why=\"a reply that does not fit\" type=%d", coord_op_name(r->op), reply->type);
}

static void log_mismatch(const struct coord_redis *c, const struct coord_req *r)
{
    log_error(
        "world_does_not_fit world=%s cell_chunks=%u our_cell_chunks=%u newest_schema=%u our_schema=%u apart_at_most=%d",
        c->world, r->world.has_chunks, r->world.cell_chunks, r->world.newest, r->world.schema, SCHEMA_DISTANCE_MAX);
}

static void on_reply(void *arg, enum err e, const redisReply *reply)
{
    struct pending *p = arg;
    struct coord_redis *c = p->c;
    struct coord_req *r = p->r;
    if (e == ERR_OK)
        e = coord_decode(r, reply);
    if (e == ERR_REFUSED)
        log_refused(r, reply);
    if (e == ERR_MISMATCH)
        log_mismatch(c, r);
    if (e == ERR_FULL) /* for a caller the same as a link that is down: not done, try again */
        e = ERR_IO;
    metric_seconds(c->seconds[r->op], (double)(clock_mono_us() - p->asked_us) / 1e6);
    if (e != ERR_OK && e != ERR_MISMATCH)
        metric_add(c->errors[r->op], 1);
    free(p);
    r->err = e;
    r->done(r, r->arg);
}

static enum link_kind link_of(enum coord_op op)
{
    switch (op) {
    case COORD_JOIN_WORLD:
    case COORD_RENEW:
    case COORD_LEAVE:
    case COORD_BURY:
    case COORD_CLAIM:
        return LINK_LEASES;
    default:
        return LINK_COMMANDS;
    }
}

static void submit(struct coord *coord, struct coord_req *r)
{
    struct coord_redis *c = (struct coord_redis *)coord;
    if (c->closing) { /* made by a done() that the closing called */
        coord_req_free(r);
        return;
    }
    struct redis_link *l = c->links[link_of(r->op)];
    struct pending *p = mem_alloc(sizeof *p);
    struct coord_call call;
    *p = (struct pending){c, r, clock_mono_us()};
    coord_encode(c->world, r, c->arena, &call);
    if (coord_script(r->op))
        redis_link_script(l, &c->scripts[c->script_of[r->op]], call.n_keys, call.argc, call.argv, call.lens, on_reply,
                          p);
    else
        redis_link_command(l, call.argc, call.argv, call.lens, on_reply, p);
    arena_reset(c->arena);
}

static void on_message(void *arg, const void *data, size_t len)
{
    struct coord_redis *c = arg;
    c->listener->event(c->listener->arg, data, len);
}

static void on_subscribed(void *arg)
{
    struct coord_redis *c = arg;
    c->listener->interrupted(c->listener->arg);
}

/* Fills the scripts one after the other, as a link wants them; returns how many. */
static unsigned prepare_ops(struct coord_redis *c)
{
    unsigned n = 0;
    for (unsigned op = 0; op < COORD_OPS; op++) {
        char label[64];
        snprintf(label, sizeof label, "op=\"%s\"", coord_op_name((enum coord_op)op));
        c->seconds[op] =
            metrics_seconds("spotcraft_redis_seconds", "from asking Redis to its answer, by operation", label);
        c->errors[op] =
            metrics_counter("spotcraft_redis_errors_total", "operations that Redis refused or did not answer", label);
        const char *source = coord_script((enum coord_op)op);
        if (!source)
            continue;
        redis_script_init(&c->scripts[n], source);
        c->script_of[op] = n++;
    }
    return n;
}

enum err coord_redis_open(const struct coord_redis_conf *conf, struct coord **out, char *why, size_t why_bytes)
{
    static const struct coord_ops ops = {submit};
    static const char *const names[LINKS] = {"commands", "leases", "events"};
    if (!world_name_valid(conf->world)) {
        snprintf(why, why_bytes, "a world's name is 1 to 32 of A-Z, a-z, 0-9, _ and -");
        return ERR_BAD;
    }
    struct coord_redis *c = mem_zalloc(sizeof *c);
    c->coord.ops = &ops;
    strcpy(c->world, conf->world);
    c->listener = conf->listener;
    c->arena = arena_new();
    unsigned n_scripts = prepare_ops(c);
    c->channel = key_events(c->world);
    for (unsigned k = 0; k < LINKS; k++) {
        if (k == LINK_EVENTS && !c->listener)
            continue;
        struct redis_link_conf link = {
            .base = conf->base,
            .dns = conf->dns,
            .url = conf->url,
            .name = names[k],
            .deadline_ms = conf->deadline_ms,
            .in_flight_max = 4096,
            .arg = c,
        };
        if (k == LINK_EVENTS) {
            link.channel = c->channel.text;
            link.message = on_message;
            link.subscribed = on_subscribed;
        } else {
            link.scripts = c->scripts;
            link.n_scripts = n_scripts;
        }
        const char *reason;
        enum err e = redis_link_open(&link, &c->links[k], &reason);
        if (e != ERR_OK) {
            snprintf(why, why_bytes, "Redis URL: %s", reason);
            coord_redis_close(&c->coord);
            return e;
        }
    }
    *out = &c->coord;
    return ERR_OK;
}

void coord_redis_close(struct coord *coord)
{
    struct coord_redis *c = (struct coord_redis *)coord;
    if (!c)
        return;
    c->closing = true;
    for (unsigned k = 0; k < LINKS; k++)
        redis_link_close(c->links[k]);
    arena_free(c->arena);
    free(c);
}

const char *coord_redis_explain(struct coord *coord, const char *what)
{
    struct coord_redis *c = (struct coord_redis *)coord;
    const struct redis_link *leases = c->links[LINK_LEASES];
    const char *why = redis_link_up(leases) ? "" : redis_link_why(leases);
    if (!what || !why[0] || strncmp(what, "redis:", 6) != 0)
        return what;
    snprintf(c->explained, sizeof c->explained, "%s (%s)", what, why);
    return c->explained;
}

bool coord_redis_up(const struct coord *coord)
{
    const struct coord_redis *c = (const struct coord_redis *)coord;
    for (unsigned k = 0; k < LINKS; k++)
        if (c->links[k] && !redis_link_up(c->links[k]))
            return false;
    return true;
}
