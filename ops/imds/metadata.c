#include "ops/imds/metadata.h"

#include <ctype.h>
#include <event2/buffer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proto/base/clock.h"

enum { TTL_MAX_S = 21600, WEEK_MS = 7 * 86400000 };

/* ---- the leaves: each writes its text, or says that it is not there ---- */

/* read_ms: what was there at that time counts as read; 0: it is only looked at. */
typedef bool leaf_fn(struct instance *i, struct evbuffer *out, uint64_t read_ms);

static void put_time(struct evbuffer *out, const char *format, uint64_t unix_ms)
{
    char text[64];
    time_t s = (time_t)(unix_ms / 1000);
    struct tm tm;
    gmtime_r(&s, &tm);
    strftime(text, sizeof text, format, &tm);
    evbuffer_add_printf(out, "%s", text);
}

#define RFC3339 "%Y-%m-%dT%H:%M:%SZ"
#define EVENT   "%d %b %Y %H:%M:%S GMT"

static void put(struct evbuffer *out, const char *text)
{
    evbuffer_add(out, text, strlen(text));
}

static bool leaf_id(struct instance *i, struct evbuffer *out, uint64_t read_ms)
{
    (void)read_ms;
    put(out, i->id);
    return true;
}

static bool leaf_type(struct instance *i, struct evbuffer *out, uint64_t read_ms)
{
    (void)read_ms;
    put(out, i->type);
    return true;
}

static bool leaf_zone(struct instance *i, struct evbuffer *out, uint64_t read_ms)
{
    (void)read_ms;
    put(out, i->zone);
    return true;
}

/* "us-east-1a" is in us-east-1. */
static void put_region(const struct instance *i, struct evbuffer *out)
{
    size_t len = strlen(i->zone);
    if (len && isalpha((unsigned char)i->zone[len - 1]))
        len--;
    evbuffer_add(out, i->zone, len);
}

static bool leaf_region(struct instance *i, struct evbuffer *out, uint64_t read_ms)
{
    (void)read_ms;
    put_region(i, out);
    return true;
}

static bool leaf_life_cycle(struct instance *i, struct evbuffer *out, uint64_t read_ms)
{
    (void)read_ms;
    put(out, i->lifecycle);
    return true;
}

static bool leaf_ami(struct instance *i, struct evbuffer *out, uint64_t read_ms)
{
    (void)i, (void)read_ms;
    put(out, "ami-0b69ea66ff7391e80");
    return true;
}

static bool leaf_hostname(struct instance *i, struct evbuffer *out, uint64_t read_ms)
{
    (void)read_ms;
    evbuffer_add_printf(out, "%s.ec2.internal", i->name);
    return true;
}

static bool leaf_local_ipv4(struct instance *i, struct evbuffer *out, uint64_t read_ms)
{
    (void)i, (void)read_ms;
    put(out, "127.0.0.1");
    return true;
}

static bool leaf_domain(struct instance *i, struct evbuffer *out, uint64_t read_ms)
{
    (void)i, (void)read_ms;
    put(out, "amazonaws.com");
    return true;
}

static bool leaf_partition(struct instance *i, struct evbuffer *out, uint64_t read_ms)
{
    (void)i, (void)read_ms;
    put(out, "aws");
    return true;
}

static uint64_t itn_at(const struct instance *i)
{
    return i->slides ? clock_unix_ms() + i->itn_at_ms - i->itn.set_ms : i->itn_at_ms;
}

static bool leaf_instance_action(struct instance *i, struct evbuffer *out, uint64_t read_ms)
{
    if (!i->itn.set_ms)
        return false;
    if (read_ms)
        notice_read(&i->itn, read_ms);
    evbuffer_add_printf(out, "{\"action\": \"%s\", \"time\": \"", i->action);
    put_time(out, RFC3339, itn_at(i));
    put(out, "\"}");
    return true;
}

/* Only those that are terminated have one. */
static bool leaf_termination_time(struct instance *i, struct evbuffer *out, uint64_t read_ms)
{
    if (!i->itn.set_ms || strcmp(i->action, "terminate") != 0)
        return false;
    if (read_ms)
        notice_read(&i->itn, read_ms);
    put_time(out, RFC3339, itn_at(i));
    return true;
}

static bool leaf_rebalance(struct instance *i, struct evbuffer *out, uint64_t read_ms)
{
    if (!i->rebalance.set_ms)
        return false;
    if (read_ms)
        notice_read(&i->rebalance, read_ms);
    put(out, "{\"noticeTime\": \"");
    put_time(out, RFC3339, i->slides ? clock_unix_ms() : i->rebalance.set_ms);
    put(out, "\"}");
    return true;
}

static bool leaf_target_state(struct instance *i, struct evbuffer *out, uint64_t read_ms)
{
    if (!i->asg.set_ms)
        return false;
    if (read_ms)
        notice_read(&i->asg, read_ms);
    put(out, i->asg_state);
    return true;
}

static void put_event(struct evbuffer *out, const struct maintenance_event *e)
{
    evbuffer_add_printf(out, "{\n  \"NotBefore\" : \"");
    put_time(out, EVENT, e->from_ms);
    evbuffer_add_printf(out, "\",\n  \"Code\" : \"%s\",\n  \"Description\" : \"%s%s\",\n  \"EventId\" : \"%s\",\n",
                        e->code,
                        strcmp(e->state, "completed") == 0  ? "[Completed] "
                        : strcmp(e->state, "canceled") == 0 ? "[Canceled] "
                                                            : "",
                        "The instance is scheduled for maintenance", e->id);
    put(out, "  \"NotAfter\" : \"");
    put_time(out, EVENT, e->until_ms);
    put(out, "\",\n  \"NotBeforeDeadline\" : \""); /* it may be put off until then */
    put_time(out, EVENT, e->from_ms + WEEK_MS);
    evbuffer_add_printf(out, "\",\n  \"State\" : \"%s\"\n}", e->state);
}

static void put_events(struct instance *i, struct evbuffer *out, bool active, uint64_t read_ms)
{
    const char *between = "";
    put(out, "[");
    for (unsigned n = 0; n < i->n_events; n++) {
        struct maintenance_event *e = &i->events[n];
        if ((strcmp(e->state, "active") == 0) != active)
            continue;
        if (read_ms && active)
            notice_read(&e->story, read_ms);
        put(out, between);
        put_event(out, e);
        between = ", ";
    }
    put(out, "]");
}

static bool leaf_scheduled(struct instance *i, struct evbuffer *out, uint64_t read_ms)
{
    put_events(i, out, true, read_ms);
    return true;
}

static bool leaf_history(struct instance *i, struct evbuffer *out, uint64_t read_ms)
{
    put_events(i, out, false, read_ms);
    return true;
}

static bool leaf_document(struct instance *i, struct evbuffer *out, uint64_t read_ms)
{
    (void)read_ms;
    evbuffer_add_printf(out,
                        "{\n  \"accountId\" : \"123456789012\",\n  \"architecture\" : \"x86_64\",\n"
                        "  \"availabilityZone\" : \"%s\",\n  \"imageId\" : \"ami-0b69ea66ff7391e80\",\n"
                        "  \"instanceId\" : \"%s\",\n  \"instanceType\" : \"%s\",\n  \"privateIp\" : \"127.0.0.1\",\n"
                        "  \"region\" : \"",
                        i->zone, i->id, i->type);
    put_region(i, out);
    put(out, "\",\n  \"version\" : \"2017-09-30\"\n}");
    return true;
}

static const struct leaf {
    const char *path;
    leaf_fn *write;
    const char *type;
} leaves[] = {
    {"dynamic/instance-identity/document", leaf_document, "text/plain"},
    {"meta-data/ami-id", leaf_ami, "text/plain"},
    {"meta-data/autoscaling/target-lifecycle-state", leaf_target_state, "text/plain"},
    {"meta-data/events/maintenance/history", leaf_history, "text/plain"},
    {"meta-data/events/maintenance/scheduled", leaf_scheduled, "text/plain"},
    {"meta-data/events/recommendations/rebalance", leaf_rebalance, "application/json"},
    {"meta-data/hostname", leaf_hostname, "text/plain"},
    {"meta-data/instance-id", leaf_id, "text/plain"},
    {"meta-data/instance-life-cycle", leaf_life_cycle, "text/plain"},
    {"meta-data/instance-type", leaf_type, "text/plain"},
    {"meta-data/local-hostname", leaf_hostname, "text/plain"},
    {"meta-data/local-ipv4", leaf_local_ipv4, "text/plain"},
    {"meta-data/placement/availability-zone", leaf_zone, "text/plain"},
    {"meta-data/placement/region", leaf_region, "text/plain"},
    {"meta-data/services/domain", leaf_domain, "text/plain"},
    {"meta-data/services/partition", leaf_partition, "text/plain"},
    {"meta-data/spot/instance-action", leaf_instance_action, "application/json"},
    {"meta-data/spot/termination-time", leaf_termination_time, "text/plain"},
};
enum { LEAVES = sizeof leaves / sizeof *leaves };

/* ---- finding what a path means ---- */

static bool is_there(struct instance *i, const struct leaf *l)
{
    struct evbuffer *unused = evbuffer_new();
    bool there = l->write(i, unused, 0);
    evbuffer_free(unused);
    return there;
}

/* What is below a folder, a name a line; folders end with '/'. False: nothing is, so it is no folder. */
static bool list(struct instance *i, const char *folder, struct evbuffer *out)
{
    size_t len = strlen(folder);
    const char *last = "";
    size_t last_len = 0;
    for (unsigned n = 0; n < LEAVES; n++) {
        const char *rest = leaves[n].path + len;
        if (strncmp(leaves[n].path, folder, len) != 0 || !is_there(i, &leaves[n]))
            continue;
        size_t name = strcspn(rest, "/") + (strchr(rest, '/') != NULL);
        if (name == last_len && memcmp(rest, last, name) == 0)
            continue;
        evbuffer_add_printf(out, "%s%.*s", evbuffer_get_length(out) ? "\n" : "", (int)name, rest);
        last = rest;
        last_len = name;
    }
    return evbuffer_get_length(out) > 0;
}

/* The part behind "/latest/" or another version; NULL: there is no such version. */
static const char *behind_version(const char *path)
{
    if (strncmp(path, "/latest", 7) == 0 && (path[7] == '/' || !path[7]))
        return path[7] ? path + 8 : path + 7;
    for (unsigned n = 0; n < 10; n++) { /* /2021-03-23 */
        if (!path[1 + n] || (n == 4 || n == 7 ? path[1 + n] != '-' : !isdigit((unsigned char)path[1 + n])))
            return NULL;
    }
    return path[11] == '/' ? path + 12 : path[11] ? NULL : path + 11;
}

struct answer {
    int status;
    const char *type;
    const struct leaf *leaf; /* whose text it is; NULL: of none */
    char headers[96];
    struct evbuffer *body;
};

/* The body of a 200. False: there is no such thing. */
static bool read_path(struct instance *i, const char *path, struct answer *a)
{
    char folder[256];
    const char *rest = behind_version(path);
    if (strcmp(path, "/") == 0 || !*path) {
        put(a->body, "2021-03-23\nlatest");
        return true;
    }
    if (!rest)
        return false;
    for (unsigned n = 0; n < LEAVES; n++) {
        if (strcmp(leaves[n].path, rest) == 0) {
            a->type = leaves[n].type;
            a->leaf = &leaves[n];
            return leaves[n].write(i, a->body, 0);
        }
    }
    size_t len = strlen(rest);
    if (len + 2 > sizeof folder)
        return false;
    snprintf(folder, sizeof folder, "%s%s", rest, len && rest[len - 1] != '/' ? "/" : "");
    return list(i, folder, a->body);
}

/* ---- answers ---- */

static void error_page(struct answer *a, int status)
{
    a->status = status;
    a->type = "text/html";
    evbuffer_drain(a->body, evbuffer_get_length(a->body));
    evbuffer_add_printf(a->body,
                        "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n"
                        "<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Transitional//EN\"\n"
                        "\t\"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd\">\n"
                        "<html xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"en\" lang=\"en\">\n"
                        " <head>\n  <title>%d - %s</title>\n </head>\n <body>\n  <h1>%d - %s</h1>\n </body>\n</html>\n",
                        status, serve_reason(status), status, serve_reason(status));
}

void metadata_error(struct serve_conn *c, int status)
{
    struct answer a = {.body = evbuffer_new()};
    error_page(&a, status);
    serve_reply(c, &(struct serve_answer){.status = status, .type = a.type, .body = a.body});
}

static void answer_token(struct instance *i, const struct serve_request *r, const char *path, struct answer *a)
{
    const char *rest = behind_version(path);
    char *end;
    if (!rest || strcmp(rest, "api/token") != 0) {
        error_page(a, 405);
        return;
    }
    if (strcmp(path, "/latest/api/token") != 0 || r->forwarded_for) { /* only there; and not for a proxy */
        error_page(a, 403);
        return;
    }
    unsigned long ttl = r->token_ttl && isdigit((unsigned char)r->token_ttl[0]) ? strtoul(r->token_ttl, &end, 10) : 0;
    if (ttl < 1 || ttl > TTL_MAX_S || *end) {
        error_page(a, 400);
        return;
    }
    if (ttl > i->ttl_max_s)
        ttl = i->ttl_max_s;
    put(a->body, instance_token_new(i, (uint32_t)ttl));
    snprintf(a->headers, sizeof a->headers, "X-Aws-Ec2-Metadata-Token-Ttl-Seconds: %lu\r\n", ttl);
}

static void answer_get(struct instance *i, const struct serve_request *r, const char *path, struct answer *a)
{
    if (r->token ? !instance_token_valid(i, r->token) : !i->tokens_optional) {
        i->unauthorized++;
        error_page(a, 401);
    } else if (!read_path(i, path, a)) {
        error_page(a, 404);
    }
}

/* What the instance's service is made to do wrong to one request. */
struct harm {
    uint32_t delay_ms;
    enum serve_how how;
    int status; /* 0: none */
    bool garbage;
};

static struct harm meet_faults(struct instance *i, bool is_put, const char *path)
{
    static const struct {
        enum fault_kind kind;
        enum serve_how how;
    } hows[] = {{FAULT_SILENCE, SERVE_SILENCE},
                {FAULT_RESET, SERVE_RESET},
                {FAULT_BROKEN, SERVE_BROKEN},
                {FAULT_TRICKLE, SERVE_TRICKLE},
                {FAULT_FLOOD, SERVE_FLOOD}};
    struct harm h = {.how = SERVE_WHOLE};
    struct fault *f = instance_fault(i, FAULT_DELAY, path);
    h.delay_ms = f ? f->value : 0;
    if (is_put && instance_fault(i, FAULT_HOP_LIMIT, path))
        h.how = SERVE_SILENCE;
    for (unsigned n = 0; n < sizeof hows / sizeof *hows && h.how == SERVE_WHOLE; n++) {
        if (instance_fault(i, hows[n].kind, path))
            h.how = hows[n].how;
    }
    if (h.how != SERVE_WHOLE)
        return h;
    if (instance_fault(i, FAULT_THROTTLE, path))
        h.status = 503;
    else if ((f = instance_fault(i, FAULT_STATUS, path)) != NULL)
        h.status = (int)f->value;
    else
        h.garbage = instance_fault(i, FAULT_GARBAGE, path) != NULL;
    return h;
}

/* /control tells what was read: not what the client did not wait for. */
static void on_sent(void *arg, const void *what, uint64_t asked_ms)
{
    const struct leaf *l = what;
    struct evbuffer *unused = evbuffer_new();
    l->write(arg, unused, asked_ms);
    evbuffer_free(unused);
}

/* What is spoilt is not looked up: nobody reads it. */
void metadata_answer(struct instance *i, struct serve_conn *c, const struct serve_request *r, const char *path)
{
    struct answer a = {.status = 200, .type = "text/plain", .body = evbuffer_new()};
    bool is_put = strcmp(r->method, "PUT") == 0;
    i->requests++;
    struct harm h = meet_faults(i, is_put, path);
    if (h.garbage)
        put(a.body, "{\"action\": \"term\x01");
    else if (h.status)
        error_page(&a, h.status);
    else if (h.how != SERVE_WHOLE)
        a.type = "application/octet-stream";
    else if (i->off)
        error_page(&a, 403);
    else if (is_put)
        answer_token(i, r, path, &a);
    else if (strcmp(r->method, "GET") != 0 && strcmp(r->method, "HEAD") != 0)
        error_page(&a, 405);
    else
        answer_get(i, r, path, &a);
    serve_reply(c, &(struct serve_answer){.status = a.status,
                                          .type = a.type,
                                          .headers = a.headers,
                                          .body = a.body,
                                          .delay_ms = h.delay_ms,
                                          .how = h.how,
                                          .close = i->closes,
                                          .sent = a.leaf && a.status == 200 ? on_sent : NULL,
                                          .sent_arg = i,
                                          .sent_what = a.leaf});
}
