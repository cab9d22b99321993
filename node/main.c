/* node - owns a part of the world. Reads the settings, builds the parts, runs the loop, leaves in order on SIGTERM. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <event2/event.h>

#include "node/node.h"
#include "proto/base/clock.h"
#include "proto/base/http.h"
#include "proto/base/log.h"
#include "proto/base/metrics.h"
#include "proto/base/program.h"
#include "proto/base/settings.h"
#include "proto/imds/imds.h"
#include "proto/redis/coord_redis.h"
#include "proto/wire/links.h"

struct node_conf {
    NODE_CONF(CONF_MEMBER)
};
#define CONF_THIS struct node_conf
static const struct conf_field fields[] = {NODE_CONF(CONF_FIELD)};
static const char *const others[] = {GATEWAY_CONF(CONF_NAME) CTL_CONF(CONF_NAME) NULL};

enum { FLUSH_LINKS_MS = 1000 };

struct app {
    struct node_conf conf;
    struct loop *loop;
    struct links *links;
    struct coord *coord;
    struct store *store;
    struct admin_http *admin;
    struct node *node;
    struct imds *imds;
    enum program_exit exit_code;
    uint64_t linger_ms; /* stopped: until when the links may still send what was said last */
    struct metric *cells, *players, *links_up, *journal, *lag, *pending, *ready;
    struct metric *load, *state[NODE_STATES], *cells_left, *seconds_left, *in_danger, *followed, *followed_rows;
};

/* ---- the loop ---- */

static void on_tick(void *arg)
{
    struct app *a = arg;
    node_tick(a->node);
    if (node_failed(a->node)) {
        log_error("cannot_run reason=\"%s\"", node_failed(a->node));
        a->exit_code = PROGRAM_WORLD;
        loop_end(a->loop);
        return;
    }
    if (!node_stopped(a->node))
        return;
    if (!a->linger_ms)
        a->linger_ms = clock_mono_ms() + FLUSH_LINKS_MS;
    if (!links_queued_bytes(a->links) || clock_mono_ms() >= a->linger_ms)
        loop_end(a->loop);
}

static void on_stop(void *arg, unsigned nth)
{
    struct app *a = arg;
    (void)nth;
    node_stop(a->node, a->conf.stop_ms);
}

/* ---- what the instance's metadata say ---- */

static void on_notice(void *arg, enum notice_kind kind, uint64_t deadline_unix_ms, const char *detail)
{
    (void)detail;
    node_notice(((struct app *)arg)->node, kind, deadline_unix_ms);
}

static void on_withdrawn(void *arg, enum notice_kind kind)
{
    node_notice_withdrawn(((struct app *)arg)->node, kind);
}

static void on_identity(void *arg, const struct imds_identity *id)
{
    struct app *a = arg;
    if (id->pool[0] && !a->conf.pool[0])
        node_set_pool(a->node, id->pool);
    if (id->instance_id[0])
        node_set_instance(a->node, id->instance_id);
}

static void on_checked(void *arg)
{
    node_checked(((struct app *)arg)->node);
}

/* ---- the admin pages ---- */

static const char *not_ready(void *arg)
{
    struct app *a = arg;
    return coord_redis_explain(a->coord, node_not_ready(a->node));
}

static void status(void *arg, struct evbuffer *json)
{
    node_status_json(((struct app *)arg)->node, json);
}

static void refresh(void *arg)
{
    struct app *a = arg;
    struct node_stats s;
    imds_refresh(a->imds);
    node_stats(a->node, &s);
    metric_set(a->cells, s.cells_serving);
    metric_set(a->players, s.players);
    metric_set(a->links_up, s.links);
    metric_set(a->journal, s.journal_batches);
    metric_set(a->lag, (double)s.oldest_dirty_ms / 1e3);
    metric_set(a->pending, s.pending_edits);
    metric_set(a->ready, !node_not_ready(a->node));
    metric_set(a->load, s.load);
    for (unsigned k = 0; k < NODE_STATES; k++)
        metric_set(a->state[k], s.state == (enum node_state)k);
    metric_set(a->cells_left, s.cells_left);
    metric_set(a->seconds_left, s.seconds_left);
    metric_set(a->in_danger, s.in_danger);
    metric_set(a->followed, s.followed);
    metric_set(a->followed_rows, (double)s.followed_rows);
}

static void gauges_open(struct app *a)
{
    a->cells = metrics_gauge("spotcraft_node_cells", "Cells that this node serves.", NULL);
    a->players = metrics_gauge("spotcraft_node_players", "Players who stand in them.", NULL);
    a->links_up = metrics_gauge("spotcraft_node_links", "Links to gateways and other nodes.", NULL);
    a->journal = metrics_gauge("spotcraft_node_journal_batches", "Batches that the store does not have yet.", NULL);
    a->lag =
        metrics_gauge("spotcraft_node_flush_lag_seconds", "Age of the oldest row that the store does not have.", NULL);
    a->pending = metrics_gauge("spotcraft_node_pending_edits", "Edits that wait for Redis.", NULL);
    a->ready = metrics_gauge("spotcraft_node_ready", "1 when /readyz says so.", NULL);
    a->load = metrics_gauge("spotcraft_node_load", "What it tells the other nodes as its load.", NULL);
    static const char *const states[NODE_STATES] = {[NODE_RUNNING] = "state=\"running\"",
                                                    [NODE_AT_RISK] = "state=\"at_risk\"",
                                                    [NODE_LEAVING] = "state=\"leaving\"",
                                                    [NODE_STARTING] = "state=\"starting\""};
    for (unsigned k = 0; k < NODE_STATES; k++)
        a->state[k] = metrics_gauge("spotcraft_node_state", "1 for the state that it tells.", states[k]);
    a->cells_left = metrics_gauge("spotcraft_node_cells_left", "Leaving: cells that must go yet.", NULL);
    a->seconds_left = metrics_gauge("spotcraft_node_leave_seconds_left", "Leaving: until the deadline.", NULL);
    a->in_danger = metrics_gauge("spotcraft_node_deadline_in_danger",
                                 "Leaving: 1 when the time left is not enough at the rate so far.", NULL);
    a->followed = metrics_gauge("spotcraft_node_followed_cells", "Cells of which other nodes keep a copy.", NULL);
    a->followed_rows = metrics_gauge("spotcraft_node_followed_rows", "Rows of these copies.", NULL);
}

/* ---- building ---- */

static uint64_t cpu_us(void *clock)
{
    struct timespec t;
    (void)clock;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void settings(const struct node_conf *c, struct node_settings *set)
{
    node_settings_default(set);
    set->lease_ms = c->lease_ms;
    set->flush_ms = c->flush_ms;
    set->tick_ms = c->tick_ms;
    set->idle_cell_ms = c->idle_cell_ms;
    set->places_ms = c->places_ms;
    set->cell_pending_max = c->cell_pending_max;
    set->at_risk_quiet_ms = c->at_risk_quiet_ms;
    set->maintenance_ms = c->maintenance_ms;
    set->followers_rows = c->followers_rows;
    set->wait_for_checked = true;
    snprintf(set->pool, sizeof set->pool, "%s", c->pool);
    snprintf(set->instance, sizeof set->instance, "%s", c->instance_id);
}

/* What the others are told to reach us at. */
static void own_address(const struct app *a, char out[COORD_ADDRESS_MAX + 1])
{
    const struct node_conf *c = &a->conf;
    const char *colon = strrchr(c->listen, ':');
    if (c->advertise[0])
        snprintf(out, COORD_ADDRESS_MAX + 1, "%s", c->advertise);
    else
        snprintf(out, COORD_ADDRESS_MAX + 1, "%.*s:%d", (int)(colon ? colon - c->listen : 0), c->listen,
                 links_port(a->links));
}

static enum err open_links(struct app *a, uint64_t id, char *why, size_t why_bytes)
{
    struct links_conf links;
    links_conf_default(&links);
    links.base = loop_base(a->loop);
    links.dns = loop_dns(a->loop);
    links.role = ROLE_NODE;
    links.incarnation = id;
    links.world = a->conf.world;
    links.secret = a->conf.secret;
    links.listen = a->conf.listen;
    return links_new(&links, &node_net_events, NULL, &a->links, why, why_bytes);
}

static enum err open_imds(struct app *a, char *why, size_t why_bytes)
{
    static const struct imds_ops notices = {
        .notice = on_notice, .withdrawn = on_withdrawn, .identity = on_identity, .checked = on_checked};
    const struct node_conf *c = &a->conf;
    struct imds_conf imds = {.base = loop_base(a->loop),
                             .dns = loop_dns(a->loop),
                             .endpoint = c->imds,
                             .instance_id = c->instance_id,
                             .poll_ms = c->imds_poll_ms,
                             .timeout_ms = c->imds_timeout_ms,
                             .maintenance_ms = c->maintenance_ms,
                             .v1 = c->imds_v1,
                             .ops = &notices,
                             .arg = a};
    return imds_open(&imds, &a->imds, why, why_bytes);
}

static enum err build(void *app, struct loop *l, uint64_t id, uint64_t files, char *why, size_t why_bytes)
{
    static const struct admin_ops admin = {.not_ready = not_ready, .refresh = refresh, .status = status};
    struct app *a = app;
    const struct node_conf *c = &a->conf;
    struct event_base *base = loop_base(l);
    struct coord_redis_conf redis = {
        .base = base, .dns = loop_dns(l), .url = c->redis, .world = c->world, .deadline_ms = c->redis_deadline_ms};
    (void)files; /* its links are few */
    a->loop = l;
    gauges_open(a);
    /* The store last: what is wrong with the rest should not have made a database. */
    enum err e = coord_redis_open(&redis, &a->coord, why, why_bytes);
    if (e == ERR_OK)
        e = open_links(a, id, why, why_bytes);
    if (e == ERR_OK)
        e = admin_http_open(base, c->admin, &admin, a, &a->admin, why, why_bytes);
    if (e == ERR_OK)
        e = store_open(c->store, base, loop_dns(l), CELL_CHUNKS, &a->store, why, why_bytes);
    if (e != ERR_OK)
        return e;

    struct node_settings set;
    settings(c, &set);
    own_address(a, set.address);
    struct node_env env = {.net = &links_net_ops,
                           .net_ctx = a->links,
                           .coord = a->coord,
                           .store = a->store,
                           .now_ms = program_mono_ms,
                           .unix_ms = program_unix_ms,
                           .cpu_us = cpu_us,
                           .seed = id};
    a->node = node_new(id, &set, &env);
    links_set_owner(a->links, a->node);
    e = open_imds(a, why, why_bytes);
    if (e == ERR_OK)
        log_info("node_started version=%s world=%s peers=%s admin_port=%u", VERSION, c->world, set.address,
                 admin_http_port(a->admin));
    return e;
}

/* The store and Redis answer what is still open, and the node acts on it: it asks Redis for what belongs to rows that
 * came, and tells others through its links. So the store goes first, the links when nothing is asked any more. */
static void tear_down(void *app)
{
    struct app *a = app;
    imds_free(a->imds);
    admin_http_close(a->admin);
    store_close(a->store);
    coord_redis_close(a->coord);
    if (a->links)
        links_free(a->links);
    node_free(a->node);
}

static const char examples[] =
    "  SPOTCRAFT_SECRET=... node --redis rediss://cache.example:6379 --listen 0.0.0.0:4090 \\\n"
    "      --advertise 10.0.0.7:4090 --store postgres://spotcraft@db.example/world --admin 0.0.0.0:9180\n"
    "  node --store sqlite:/var/lib/spotcraft/world.db    # everything on this machine\n";

int main(int argc, char **argv)
{
    static struct app app;
    static const struct program program = {.conf = {.program = "node",
                                                    .version = VERSION,
                                                    .about = "owns a part of a spotcraft world",
                                                    .more = program_help,
                                                    .examples = examples,
                                                    .fields = fields,
                                                    .n_fields = sizeof fields / sizeof *fields,
                                                    .settings_bytes = sizeof(struct node_conf),
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
