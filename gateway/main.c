/* gateway - holds the players' sockets. Reads the settings, builds the parts, runs the loop, drains on SIGTERM. */
#include <stdio.h>

#include "gateway/gateway.h"
#include "gateway/listener.h"
#include "proto/base/clock.h"
#include "proto/base/http.h"
#include "proto/base/log.h"
#include "proto/base/loop.h"
#include "proto/base/metrics.h"
#include "proto/base/rng.h"
#include "proto/base/settings.h"
#include "proto/redis/coord_redis.h"
#include "proto/wire/links.h"

struct gateway_conf {
    GATEWAY_CONF(CONF_MEMBER)
};
#define CONF_THIS struct gateway_conf
static const struct conf_field fields[] = {GATEWAY_CONF(CONF_FIELD)};
static const char *const others[] = {NODE_CONF(CONF_NAME) CTL_CONF(CONF_NAME) NULL};

enum { EXIT_CONF = 2, EXIT_WORLD = 3 };

struct app {
    struct gateway_conf conf;
    struct loop *loop;
    struct links *links;
    struct coord *coord;
    struct listener *listener;
    struct admin_http *admin;
    struct gateway *gateway;
    int exit_code;
    struct coord_listener events;
    struct metric *cells, *links_up, *ready;
};

static uint64_t mono(void *clock)
{
    (void)clock;
    return clock_mono_ms();
}

static uint64_t unix_ms(void *clock)
{
    (void)clock;
    return clock_unix_ms();
}

static void on_tick(void *arg)
{
    struct app *a = arg;
    gateway_tick(a->gateway);
    if (gateway_failed(a->gateway)) {
        log_error("cannot_run reason=\"%s\"", gateway_failed(a->gateway));
        a->exit_code = EXIT_WORLD;
        loop_end(a->loop);
        return;
    }
    if (gateway_stopped(a->gateway))
        loop_end(a->loop);
}

static void on_stop(void *arg, unsigned nth)
{
    struct app *a = arg;
    (void)nth;
    gateway_stop(a->gateway, a->conf.stop_ms);
}

static const char *not_ready(void *arg)
{
    return gateway_not_ready(((struct app *)arg)->gateway);
}

static void status(void *arg, struct evbuffer *json)
{
    gateway_status_json(((struct app *)arg)->gateway, json);
}

static void refresh(void *arg)
{
    struct app *a = arg;
    struct gateway_stats s;
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

static bool build(struct app *a, uint64_t id, char *why, size_t why_bytes)
{
    const struct gateway_conf *c = &a->conf;
    struct event_base *base = loop_base(a->loop);
    struct coord_redis_conf redis = {.base = base,
                                     .dns = loop_dns(a->loop),
                                     .url = c->redis,
                                     .world = c->world,
                                     .listener = &a->events,
                                     .deadline_ms = c->redis_deadline_ms};
    struct links_conf links;
    links_conf_default(&links);
    links.base = base;
    links.dns = loop_dns(a->loop);
    links.role = ROLE_GATEWAY;
    links.incarnation = id;
    links.world = c->world;
    links.secret = c->secret;
    a->events = (struct coord_listener){on_event, on_interrupted, a};
    if (coord_redis_open(&redis, &a->coord, why, why_bytes) != ERR_OK ||
        links_new(&links, &gateway_net_events, NULL, &a->links, why, why_bytes) != ERR_OK ||
        listener_open(base, c->listen, loop_raise_file_limit(), &a->listener, why, why_bytes) != ERR_OK)
        return false;

    struct gateway_settings set;
    settings(c, &set);
    struct gateway_env env = {.net = &links_net_ops,
                              .net_ctx = a->links,
                              .players = &listener_player_ops,
                              .players_ctx = a->listener,
                              .coord = a->coord,
                              .now_ms = mono,
                              .unix_ms = unix_ms,
                              .seed = id};
    a->gateway = gateway_new(id, &set, &env);
    links_set_owner(a->links, a->gateway);

    static const struct admin_ops admin = {.not_ready = not_ready, .refresh = refresh, .status = status};
    a->admin = admin_http_open(base, c->admin, &admin, a, why, why_bytes);
    if (!a->admin)
        return false;
    listener_start(a->listener, a->gateway);
    log_info("gateway_started version=%s world=%s players_port=%d admin_port=%u", VERSION, c->world,
             listener_port(a->listener), admin_http_port(a->admin));
    return true;
}

/* Redis answers what is still open, so the gateway goes after it. */
static void tear_down(struct app *a)
{
    admin_http_close(a->admin);
    if (a->listener)
        listener_close(a->listener);
    if (a->links)
        links_free(a->links);
    coord_redis_close(a->coord);
    gateway_free(a->gateway);
    loop_free(a->loop);
    metrics_free();
}

int main(int argc, char **argv)
{
    static struct app app;
    static const struct conf_table table = {.program = "gateway",
                                            .version = VERSION,
                                            .about = "holds the players' sockets of a spotcraft world",
                                            .fields = fields,
                                            .n_fields = sizeof fields / sizeof *fields,
                                            .settings_bytes = sizeof(struct gateway_conf),
                                            .others = others};
    char why[CONF_WHY_BYTES] = "";
    extern char **environ;
    enum conf_result r = conf_read(&table, &app.conf, argc, argv, environ, stdout, why);
    if (r == CONF_EXIT_OK)
        return 0;
    if (r == CONF_EXIT_BAD || log_level_parse(app.conf.log_level) < 0) {
        fprintf(stderr, "gateway: %s\n", r == CONF_EXIT_BAD ? why : "log_level: not error, warn, info or debug");
        return EXIT_CONF;
    }
    struct rng os;
    rng_seed_os(&os);
    uint64_t id = rng_u64(&os) | 1;
    char tag[32];
    snprintf(tag, sizeof tag, "gateway=%016llx", (unsigned long long)id);
    log_set_tag(tag);
    log_set_level((enum log_level)log_level_parse(app.conf.log_level));
    conf_log(&table, &app.conf);
    static const struct loop_ops ops = {.tick = on_tick, .stop = on_stop};
    app.loop = loop_new(&ops, &app);
    gauges_open(&app);
    if (build(&app, id, why, sizeof why)) {
        loop_run(app.loop);
    } else {
        log_error("cannot_start reason=\"%s\"", why);
        app.exit_code = EXIT_CONF;
    }
    tear_down(&app);
    return app.exit_code;
}
