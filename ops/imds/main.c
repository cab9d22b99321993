/* spotcraft-imds - the EC2 metadata services of a whole fleet of instances, for rehearsals: each instance is a path of
 * one port, and is told, at run time, what EC2 would tell it. */
#include <event2/buffer.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>

#include "ops/imds/control.h"
#include "ops/imds/metadata.h"
#include "ops/imds/script.h"
#include "ops/imds/serve.h"
#include "proto/base/log.h"
#include "proto/base/loop.h"
#include "proto/base/settings.h"

#define IMDS_CONF(X)                                                                                                   \
    X(address, STR, "127.0.0.1", 7, 15, false, "the IPv4 address to listen on")                                        \
    X(port, U32, 1338, 0, 65535, false, "the port; 0: any, see the log")                                               \
    X(script, STR, "", 0, 255, false, "a file of lines `at MS NAME COMMAND?query`: what happens when")                 \
    X(instance, STR, "", 0, 63, false, "the instance that is also found without its name in the path; it is made")     \
    X(log_level, STR, "info", 4, 5, false, "error, warn, info or debug")

struct imds_mock_conf {
    IMDS_CONF(CONF_MEMBER)
};
#define CONF_THIS struct imds_mock_conf
static const struct conf_field fields[] = {IMDS_CONF(CONF_FIELD)};
static const char *const others[] = {NODE_CONF(CONF_NAME) GATEWAY_CONF(CONF_NAME) CTL_CONF(CONF_NAME) NULL};

enum { EXIT_CONF = 2 };

static const char about[] =
    "plays the EC2 instance metadata service (version 2) for a fleet of instances\n\n"
    "An instance NAME is at http://ADDRESS:PORT/NAME: give that to a program as --imds, or as\n"
    "AWS_EC2_METADATA_SERVICE_ENDPOINT. Commands go to the same port:\n\n"
    "  curl -X POST 'http://127.0.0.1:1338/control/node0?type=m6i.large&zone=us-east-1a'   makes it\n"
    "  curl -X POST 'http://127.0.0.1:1338/control/node0/itn?action=terminate&in_ms=120000'\n"
    "  curl http://127.0.0.1:1338/control                                                   what there is\n\n"
    "  POST /control/NAME              type= zone= id= lifecycle=spot|on-demand tokens=required|optional imds=on|off\n"
    "                                  ttl_s= connection=keep-alive|close slide=0|1\n"
    "  POST /control/NAME/rebalance\n"
    "  POST /control/NAME/itn          action=terminate|stop|hibernate in_ms= | ago_ms=\n"
    "  POST /control/NAME/asg          state=Terminated\n"
    "  POST /control/NAME/maintenance  code= id= in_ms= | ago_ms= for_ms=\n"
    "  POST /control/NAME/withdraw     what=rebalance|itn|asg|maintenance|all how=canceled|completed\n"
    "  POST /control/NAME/fault        status=N | delay_ms=N | silence | reset | garbage | broken | endless | flood |\n"
    "                                  throttle=N | hop-limit=1, with path=PART count=N; expire-tokens; clear\n\n"
    "A script file has the same commands, a line each: at 60000 node0 itn?in_ms=120000";

struct app {
    struct imds_mock_conf conf;
    struct loop *loop;
    struct fleet fleet;
    struct serve *serve;
    struct script *script;
};

/* ---- requests ---- */

static void reply_json(struct serve_conn *c, int status, struct evbuffer *body)
{
    evbuffer_add(body, "\n", 1);
    serve_reply(c, &(struct serve_answer){.status = status, .type = "application/json", .body = body});
}

static void reply_error(struct serve_conn *c, int status, const char *why)
{
    struct evbuffer *body = evbuffer_new();
    evbuffer_add_printf(body, "{\"error\":\"%s\"}", why);
    reply_json(c, status, body);
}

/* path: behind "/control". */
static void on_control(struct app *a, struct serve_conn *c, const struct serve_request *r, char *path)
{
    char why[CONTROL_WHY_BYTES];
    char *name = *path == '/' ? path + 1 : path, *command = strchr(name, '/');
    if (command)
        *command++ = '\0';
    if (strcmp(r->method, "GET") == 0 || strcmp(r->method, "HEAD") == 0) {
        struct evbuffer *body = evbuffer_new();
        if (!command && control_json(&a->fleet, *name ? name : NULL, body)) {
            reply_json(c, 200, body);
        } else {
            evbuffer_free(body);
            reply_error(c, 404, "no such instance; commands are POSTed");
        }
        return;
    }
    if (strcmp(r->method, "POST") != 0) {
        reply_error(c, 405, "GET looks, POST commands");
        return;
    }
    int status = control_apply(&a->fleet, name, command ? command : "", r->query, false, why);
    if (status) {
        reply_error(c, status, why);
        return;
    }
    struct evbuffer *body = evbuffer_new();
    control_json(&a->fleet, name, body);
    reply_json(c, 200, body);
}

static void on_request(void *arg, struct serve_conn *c, const struct serve_request *r)
{
    struct app *a = arg;
    char *path = r->path;
    if (strncmp(path, "/control", 8) == 0 && (path[8] == '/' || !path[8])) {
        on_control(a, c, r, path + 8);
        return;
    }
    char name[FLEET_WORD_MAX + 1];
    size_t len = strcspn(path + 1, "/");
    snprintf(name, sizeof name, "%.*s", (int)(len < sizeof name ? len : sizeof name - 1), path + 1);
    struct instance *i = len < sizeof name ? fleet_find(&a->fleet, name) : NULL;
    if (i)
        path += 1 + len;
    else if (a->conf.instance[0])
        i = fleet_find(&a->fleet, a->conf.instance);
    if (!i) {
        metadata_error(c, 404);
        return;
    }
    void **seen = serve_tag(c);
    if (*seen != i)
        i->connections++;
    *seen = i;
    metadata_answer(i, c, r, path);
}

/* ---- start and end ---- */

static bool build(struct app *a, char *why, size_t why_bytes)
{
    const struct imds_mock_conf *c = &a->conf;
    char refused[CONTROL_WHY_BYTES];
    if (c->instance[0] && control_apply(&a->fleet, c->instance, "", "", false, refused) != 0) {
        snprintf(why, why_bytes, "instance: %s", refused);
        return false;
    }
    if (c->script[0]) {
        a->script = script_open(loop_base(a->loop), &a->fleet, c->script, why, why_bytes);
        if (!a->script)
            return false;
    }
    a->serve = serve_open(loop_base(a->loop), c->address, (uint16_t)c->port, on_request, a, why, why_bytes);
    if (!a->serve)
        return false;
    log_info("imds_started address=%s port=%u", c->address, serve_port(a->serve));
    return true;
}

int main(int argc, char **argv)
{
    static struct app app;
    static const struct conf_table table = {.program = "imds",
                                            .version = VERSION,
                                            .about = about,
                                            .fields = fields,
                                            .n_fields = sizeof fields / sizeof *fields,
                                            .settings_bytes = sizeof(struct imds_mock_conf),
                                            .others = others};
    char why[CONF_WHY_BYTES] = "";
    extern char **environ;
    enum conf_result r = conf_read(&table, &app.conf, argc, argv, environ, stdout, why);
    if (r == CONF_EXIT_OK)
        return 0;
    if (r == CONF_EXIT_BAD || log_level_parse(app.conf.log_level) < 0) {
        fprintf(stderr, "spotcraft-imds: %s\n", r == CONF_EXIT_BAD ? why : "log_level: not error, warn, info or debug");
        return EXIT_CONF;
    }
    log_set_tag("imds");
    log_set_level((enum log_level)log_level_parse(app.conf.log_level));
    loop_raise_file_limit();
    static const struct loop_ops ops = {.tick = NULL};
    app.loop = loop_new(&ops, &app);
    bool built = build(&app, why, sizeof why);
    if (built)
        loop_run(app.loop);
    else
        log_error("cannot_start reason=\"%s\"", why);
    serve_close(app.serve);
    script_free(app.script);
    fleet_free(&app.fleet);
    loop_free(app.loop);
    return built ? 0 : EXIT_CONF;
}
