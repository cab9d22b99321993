/* gateway - holds the players' sockets. Reads the settings, builds the parts, runs the loop, drains on SIGTERM. */
#include <stdio.h>

#include "gateway/gateway.h"
#include "gateway/listener.h"
#include "proto/base/clock.h"
#include "proto/base/http.h"
#include "proto/base/log.h"
#include "proto/base/metrics.h"
#include "proto/base/program.h"
#include "proto/base/settings.h"
#include "proto/imds/imds.h"
#include "proto/redis/coord_redis.h"
#include "proto/wire/links.h"

struct gateway_conf {
    GATEWAY_CONF(CONF_MEMBER)
};
#define CONF_THIS struct gateway_conf
static const struct conf_field fields[] = {GATEWAY_CONF(CONF_FIELD)};
static const char *const others[] = {NODE_CONF(CONF_NAME) CTL_CONF(CONF_NAME) NULL};

enum { RESERVE_MS = 5000 };

struct app {
    struct gateway_conf conf;
    struct loop *loop;
    struct links *links;
    struct coord *coord;
    struct listener *listener;
    struct admin_http *admin;
    struct gateway *gateway;
    struct imds *imds;
    enum program_exit exit_code;
    struct coord_listener events;
    struct metric *cells, *links_up, *ready;
};

static void on_tick(void *arg)
{
    struct app *a = arg;
    gateway_tick(a->gateway);
    if (gateway_failed(a->gateway)) {
        log_error("cannot_run reason=\"%s\"", gateway_failed(a->gateway));
        a->exit_code = PROGRAM_WORLD;
        loop_end(a->loop);
        return;
    }
    if (gateway_stopped(a->gateway))
        loop_end(a->loop);
}

static void leave(struct app *a, uint32_t deadline_ms)
{
    gateway_stop(a->gateway, deadline_ms);
    if (a->conf.stop_listening)
        listener_leave_port(a->listener);
}

static void on_stop(void *arg, unsigned nth)
{
    struct app *a = arg;
    (void)nth;
    leave(a, a->conf.stop_ms);
}

/* ---- what the instance's metadata say ---- */

/* A part is kept for the closing of the sockets. A time that is over, or not said, leaves the usual one. */
static uint32_t time_to_leave(uint32_t stop_ms, uint64_t deadline_unix_ms)
{
    uint64_t now = clock_unix_ms();
    if (deadline_unix_ms <= now)
        return stop_ms;
    uint64_t left = deadline_unix_ms - now, reserve = left / 8 < RESERVE_MS ? left / 8 : RESERVE_MS;
    return left - reserve < UINT32_MAX ? (uint32_t)(left - reserve) : UINT32_MAX;
}

/* A recommendation, right one time in three, is nothing to a gateway: it has nothing to move away early. */
static void on_notice(void *arg, enum notice_kind kind, uint64_t deadline_unix_ms, const char *detail)
{
    struct app *a = arg;
    (void)detail;
    if (kind != NOTICE_REBALANCE)
        leave(a, time_to_leave(a->conf.stop_ms, deadline_unix_ms));
}

/* Its players were told that it goes: it goes. */
static void on_withdrawn(void *arg, enum notice_kind kind)
{
    struct app *a = arg;
    if (kind != NOTICE_REBALANCE && !gateway_stopped(a->gateway))
        log_info("gateway_leaves_all_the_same notice=%s", notice_name(kind));
}

/* ---- the admin pages ---- */

static const char *not_ready(void *arg)
{
    struct app *a = arg;
    return coord_redis_explain(a->coord, gateway_not_ready(a->gateway));
}

static void status(void *arg, struct evbuffer *json)
{
    gateway_status_json(((struct app *)arg)->gateway, json);
}

static void refresh(void *arg)
{
    struct app *a = arg;
    struct gateway_stats s;
    imds_refresh(a->imds);
    gateway_stats(a->gateway, &s);
    metric_set(a->cells, s.cells);
    metric_set(a->links_up, s.links);
    metric_set(a->ready, !gateway_not_ready(a->gateway));
}

static void gauges_open(struct app *a)
{
    a->cells = metrics_gauge("spotcraft_gateway_cells", "Cells that somebody here is interested in.", NULL);
    a->links_up = metrics_gauge("spotcraft_gateway_links", "Links to nodes.", NULL);
    a->ready = metrics_gauge("spotcraft_gateway_ready", "1 when /readyz says so.", NULL);
}

/* ---- the events channel: it is open before there is a gateway ---- */

static void on_event(void *arg, const void *data, size_t len)
{
    gateway_on_event(((struct app *)arg)->gateway, data, len);
}

static void on_interrupted(void *arg)
{
    gateway_on_events_interrupted(((struct app *)arg)->gateway);
}

/* ---- building ---- */

static void settings(const struct gateway_conf *c, struct gateway_settings *set)
{
    gateway_settings_default(set);
    set->lease_ms = c->lease_ms;
    set->presence_chunks = c->presence_chunks;
    set->visible_max = c->visible_max;
    set->session_edits_max = c->session_edits_max;
    set->out_soft_bytes = c->out_soft_bytes;
    set->out_hard_bytes = c->out_hard_bytes;
    set->sessions_max = c->sessions_max;
    set->silence_ms = c->silence_ms;
    set->day_length_s = c->day_length_s;
    set->park_notice_ms = c->park_notice_ms;
    snprintf(set->address, sizeof set->address, "%.*s", COORD_ADDRESS_MAX, c->listen);
}

static enum err build(void *app, struct loop *l, uint64_t id, uint64_t files, char *why, size_t why_bytes)
{
    struct app *a = app;
    const struct gateway_conf *c = &a->conf;
    struct event_base *base = loop_base(l);
    struct coord_redis_conf redis = {.base = base,
                                     .dns = loop_dns(l),
                                     .url = c->redis,
                                     .world = c->world,
                                     .listener = &a->events,
                                     .deadline_ms = c->redis_deadline_ms};
    struct links_conf links;
    links_conf_default(&links);
    links.base = base;
    links.dns = loop_dns(l);
    links.role = ROLE_GATEWAY;
    links.incarnation = id;
    links.world = c->world;
    links.secret = c->secret;
    a->loop = l;
    a->events = (struct coord_listener){on_event, on_interrupted, a};
    gauges_open(a);
    enum err e = coord_redis_open(&redis, &a->coord, why, why_bytes);
    if (e == ERR_OK)
        e = links_new(&links, &gateway_net_events, NULL, &a->links, why, why_bytes);
    const struct listener_conf listen = {.base = base,
                                         .address = c->listen,
                                         .files = files,
                                         .proxy_headers = c->proxy_protocol ? c->proxy_headers : 0,
                                         .address_max = c->address_sessions_max};
    if (e == ERR_OK)
        e = listener_open(&listen, &a->listener, why, why_bytes);
    if (e != ERR_OK)
        return e;

    struct gateway_settings set;
    settings(c, &set);
    struct gateway_env env = {.net = &links_net_ops,
                              .net_ctx = a->links,
                              .players = &listener_player_ops,
                              .players_ctx = a->listener,
                              .coord = a->coord,
                              .now_ms = program_mono_ms,
                              .unix_ms = program_unix_ms,
                              .seed = id};
    a->gateway = gateway_new(id, &set, &env);
    links_set_owner(a->links, a->gateway);

    static const struct imds_ops notices = {.notice = on_notice, .withdrawn = on_withdrawn};
    struct imds_conf imds = {.base = base,
                             .dns = loop_dns(l),
                             .endpoint = c->imds,
                             .instance_id = c->instance_id,
                             .poll_ms = c->imds_poll_ms,
                             .timeout_ms = c->imds_timeout_ms,
                             .maintenance_ms = c->maintenance_ms,
                             .v1 = c->imds_v1,
                             .ops = &notices,
                             .arg = a};
    e = imds_open(&imds, &a->imds, why, why_bytes);
    if (e != ERR_OK)
        return e;

    static const struct admin_ops admin = {.not_ready = not_ready, .refresh = refresh, .status = status};
    e = admin_http_open(base, c->admin, &admin, a, &a->admin, why, why_bytes);
    if (e != ERR_OK)
        return e;
    listener_start(a->listener, a->gateway);
    log_info("gateway_started version=%s world=%s players_port=%d admin_port=%u", VERSION, c->world,
             listener_port(a->listener), admin_http_port(a->admin));
    return ERR_OK;
}

/* Redis answers what is still open, so the gateway goes after it. */
static void tear_down(void *app)
{
    struct app *a = app;
    imds_free(a->imds);
    admin_http_close(a->admin);
    if (a->listener)
        listener_close(a->listener);
    if (a->links)
        links_free(a->links);
    coord_redis_close(a->coord);
    gateway_free(a->gateway);
}

static const char examples[] =
    "  SPOTCRAFT_SECRET=... gateway --redis redis://10.0.0.5 --admin 0.0.0.0:9180\n"
    "  SPOTCRAFT_SECRET=... gateway --config /etc/spotcraft/world.conf --proxy-protocol  # behind a load balancer\n"
    "  gateway --listen 127.0.0.1:4080                                # everything on this machine\n";

int main(int argc, char **argv)
{
    static struct app app;
    static const struct program program = {.conf = {.program = "gateway",
                                                    .version = VERSION,
                                                    .about = "holds the players' sockets of a spotcraft world",
                                                    .more = program_help,
                                                    .examples = examples,
                                                    .fields = fields,
                                                    .n_fields = sizeof fields / sizeof *fields,
                                                    .settings_bytes = sizeof(struct gateway_conf),
                                                    .others = others},
                                           .settings = &app.conf,
                                           .log_level = app.conf.log_level,
                                           .listen = app.conf.listen,
                                           .secret = app.conf.secret,
                                           .loop = {.tick = on_tick, .stop = on_stop},
                                           .build = build,
                                           .tear_down = tear_down,
                                           .exit_code = &app.exit_code};
    return program_run(&program, &app, argc, argv);
}
