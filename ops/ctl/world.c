/* The world as Redis and its nodes tell it. Nothing that comes from either is trusted to be well formed. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <event2/buffer.h>
#include <event2/event.h>

#include "ops/ctl/ctl.h"
#include "proto/base/clock.h"
#include "proto/base/loop.h"
#include "proto/base/mem.h"
#include "proto/base/rng.h"
#include "proto/redis/keys.h"
#include "proto/redis/redis_link.h"
#include "proto/wire/links.h"
#include "proto/wire/peer.h"

enum { STATUS_BYTES_MAX = 64 << 20, FIELDS = 5 };

enum ctl_exit ctl_fail(struct ctl *c, enum ctl_exit code, const char *fmt, ...)
{
    if (c->code == CTL_OK) {
        va_list args;
        va_start(args, fmt);
        vsnprintf(c->error, sizeof c->error, fmt, args);
        va_end(args);
        c->code = code;
    }
    return code;
}

/* ---- waiting ---- */

typedef bool ready(struct ctl *c, const void *arg);

static bool wait_for(struct ctl *c, ready *is, const void *arg, uint32_t ms)
{
    uint64_t until = clock_mono_ms() + ms;
    while (!is(c, arg)) {
        if (c->stopped || clock_mono_ms() >= until)
            return false;
        event_base_loop(loop_base(c->loop), EVLOOP_ONCE); /* the loop's tick ends it after a moment */
    }
    return true;
}

static bool never(struct ctl *c, const void *arg)
{
    (void)c;
    (void)arg;
    return false;
}

void ctl_pause(struct ctl *c, uint32_t ms)
{
    wait_for(c, never, NULL, ms);
}

static void on_tick(void *arg)
{
    (void)arg;
}

static void on_stop(void *arg, unsigned nth)
{
    struct ctl *c = arg;
    c->stopped = true;
    if (nth > 1)
        exit(CTL_FAILED);
}

/* ---- Redis ---- */

struct question {
    struct ctl *ctl;
    uint64_t id; /* of the node that it is about */
    void (*answer)(struct ctl *c, uint64_t id, const redisReply *reply);
};

static void on_answer(void *arg, enum err e, const redisReply *reply)
{
    struct question *q = arg;
    if (e == ERR_OK)
        q->answer(q->ctl, q->id, reply);
    else
        q->ctl->redis_err = e;
    q->ctl->redis_left--;
    free(q);
}

static void ask_redis(struct ctl *c, unsigned argc, const char **argv, uint64_t id,
                      void (*answer)(struct ctl *c, uint64_t id, const redisReply *reply))
{
    size_t lens[2 + FIELDS];
    struct question *q = mem_alloc(sizeof *q);
    *q = (struct question){c, id, answer};
    for (unsigned k = 0; k < argc; k++)
        lens[k] = strlen(argv[k]);
    c->redis_left++;
    redis_link_command(c->redis, argc, argv, lens, on_answer, q);
}

static bool redis_is_up(struct ctl *c, const void *arg)
{
    (void)arg;
    return redis_link_up(c->redis);
}

static bool redis_answered(struct ctl *c, const void *arg)
{
    (void)arg;
    return c->redis_left == 0;
}

static enum ctl_exit redis_trouble(struct ctl *c)
{
    char shown[CONF_TEXT_BYTES];
    const char *why = redis_link_why(c->redis);
    return ctl_fail(c, CTL_UNREACHABLE, "Redis at %.200s is not reachable: %s",
                    conf_redact(shown, sizeof shown, c->conf.redis), why[0] ? why : "no answer");
}

static enum ctl_exit redis_wait(struct ctl *c)
{
    bool all = wait_for(c, redis_answered, NULL, c->conf.answer_ms + 1000); /* the link's own deadline comes first */
    if (all && c->redis_err == ERR_OK)
        return CTL_OK;
    if (c->redis_err == ERR_REFUSED)
        return ctl_fail(c, CTL_FAILED, "Redis refuses to tell; --verbose has its words");
    return redis_trouble(c);
}

static struct ctl_node *node_by_id(struct ctl *c, uint64_t id)
{
    for (unsigned k = 0; k < c->n_nodes; k++) {
        if (c->nodes[k]->id == id)
            return c->nodes[k];
    }
    return NULL;
}

static bool field(const redisReply *r, unsigned k, char *out, size_t bytes)
{
    const redisReply *f = k < r->elements ? r->element[k] : NULL;
    if (!f || f->type != REDIS_REPLY_STRING || f->len >= bytes)
        return false;
    for (size_t i = 0; i < f->len; i++) /* it goes to a terminal */
        out[i] = f->str[i] >= ' ' && f->str[i] <= '~' ? f->str[i] : '?';
    out[f->len] = '\0';
    return true;
}

static void on_lease(struct ctl *c, uint64_t id, const redisReply *reply)
{
    struct coord_self self = {.address = ""};
    char state[8], load[16];
    if (reply->type != REDIS_REPLY_ARRAY || !field(reply, 0, self.address, sizeof self.address) ||
        !field(reply, 1, state, sizeof state) || !field(reply, 2, load, sizeof load) ||
        !field(reply, 3, self.pool, sizeof self.pool))
        return; /* its lease ran out meanwhile */
    if (!field(reply, 4, self.instance, sizeof self.instance))
        self.instance[0] = '\0'; /* an older version does not tell it */
    self.state = (enum node_state)(strtoul(state, NULL, 10) & 3);
    self.load = (uint32_t)strtoul(load, NULL, 10);
    struct ctl_node *n = node_by_id(c, id);
    if (!n && c->n_nodes < COORD_MEMBERS_MAX) {
        n = mem_zalloc(sizeof *n);
        n->id = id;
        c->nodes = mem_resize(c->nodes, (c->n_nodes + 1) * sizeof *c->nodes);
        c->nodes[c->n_nodes++] = n;
    }
    if (!n)
        return;
    n->self = self;
    n->listed = true;
}

static void on_ids(struct ctl *c, uint64_t unused, const redisReply *reply)
{
    (void)unused;
    for (size_t k = 0; reply->type == REDIS_REPLY_ARRAY && k < reply->elements && k < COORD_MEMBERS_MAX; k++) {
        const redisReply *r = reply->element[k];
        uint64_t id;
        if (r->type != REDIS_REPLY_STRING || !id_parse(r->str, r->len, &id) || !id)
            continue;
        struct key lease = key_lease(c->conf.world, ROLE_NODE, id);
        const char *argv[2 + FIELDS] = {"HMGET", lease.text, "address", "state", "load", "pool", "instance"};
        ask_redis(c, 2 + FIELDS, argv, id, on_lease);
    }
}

static int by_id(const void *a, const void *b)
{
    const struct ctl_node *x = *(struct ctl_node *const *)a, *y = *(struct ctl_node *const *)b;
    return (x->id > y->id) - (x->id < y->id);
}

static void node_free(struct ctl_node *n)
{
    if (n->json)
        evbuffer_free(n->json);
    free(n->text);
    free(n);
}

static void forget_unlisted(struct ctl *c)
{
    unsigned kept = 0;
    for (unsigned k = 0; k < c->n_nodes; k++) {
        struct ctl_node *n = c->nodes[k];
        if (n->listed) {
            c->nodes[kept++] = n;
            continue;
        }
        if (n->link)
            links_net_ops.hangup(c->links, n->link, "no longer listed");
        node_free(n);
    }
    c->n_nodes = kept;
    if (kept)
        qsort(c->nodes, kept, sizeof *c->nodes, by_id);
}

enum ctl_exit ctl_find(struct ctl *c)
{
    struct key nodes = key_nodes(c->conf.world);
    const char *argv[] = {"SMEMBERS", nodes.text};
    if (!wait_for(c, redis_is_up, NULL, c->conf.answer_ms))
        return redis_trouble(c);
    for (unsigned k = 0; k < c->n_nodes; k++)
        c->nodes[k]->listed = false;
    c->redis_err = ERR_OK;
    ask_redis(c, 2, argv, 0, on_ids);
    enum ctl_exit e = redis_wait(c);
    if (e != CTL_OK)
        return e;
    forget_unlisted(c);
    return c->n_nodes ? CTL_OK : ctl_fail(c, CTL_FAILED, "no node of a world named \"%s\" is alive", c->conf.world);
}

enum ctl_exit ctl_node_named(struct ctl *c, const char *name, struct ctl_node **out)
{
    char candidates[200] = "", id[ID_TEXT_LEN + 1];
    unsigned found = 0;
    for (unsigned k = 0; k < c->n_nodes; k++) {
        id_text(c->nodes[k]->id, id);
        if (strncmp(id, name, strlen(name)) != 0)
            continue;
        *out = c->nodes[k];
        size_t len = strlen(candidates);
        if (found++ < 8)
            snprintf(candidates + len, sizeof candidates - len, "%s%s", len ? ", " : "", id);
    }
    if (found == 1)
        return CTL_OK;
    if (found)
        return ctl_fail(c, CTL_FAILED, "\"%.20s\" may be %u nodes: %s", name, found, candidates);
    return ctl_fail(c, CTL_FAILED, "no living node is called \"%.20s\"", name);
}

static void on_owner(struct ctl *c, uint64_t unused, const redisReply *reply)
{
    (void)unused;
    c->owner = 0;
    if (reply->type == REDIS_REPLY_STRING)
        id_parse(reply->str, reply->len, &c->owner);
}

enum ctl_exit ctl_owner(struct ctl *c, struct cell_pos at, struct ctl_node **out)
{
    struct key cell = key_cell(c->conf.world, at);
    const char *argv[] = {"HGET", cell.text, "owner"};
    ask_redis(c, 3, argv, 0, on_owner);
    enum ctl_exit e = redis_wait(c);
    if (e != CTL_OK)
        return e;
    *out = c->owner ? node_by_id(c, c->owner) : NULL;
    if (*out)
        return CTL_OK;
    return ctl_fail(c, CTL_FAILED, "cell %d,%d is not served: %s", at.i, at.j,
                    c->owner ? "its owner is dead, and nobody took it over yet" : "nobody owns it");
}

/* ---- links ---- */

static struct ctl_node *node_by_link(struct ctl *c, uint64_t link)
{
    for (unsigned k = 0; k < c->n_nodes; k++) {
        if (c->nodes[k]->link == link)
            return c->nodes[k];
    }
    return NULL;
}

static void on_up(void *owner, uint64_t link, enum role role, uint64_t peer)
{
    struct ctl *c = owner;
    struct ctl_node *n = node_by_id(c, peer);
    if (!n || role != ROLE_NODE)
        return;
    n->link = link;
    n->dialling = false;
}

static void on_down(void *owner, uint64_t link, const char *why)
{
    struct ctl_node *n = node_by_link(owner, link);
    if (!n)
        return;
    n->link = n->asked = 0;
    snprintf(n->trouble, sizeof n->trouble, "%s", why);
}

static void on_failed(void *owner, uint64_t node, bool refused)
{
    struct ctl *c = owner;
    struct ctl_node *n = node_by_id(c, node);
    (void)refused;
    if (!n)
        return;
    n->dialling = false;
    const char *why = links_failure(c->links);
    bool hung_up = strcmp(why, PEER_ENDED) == 0; /* whoever hears a wrong proof first says no more */
    n->wrong_secret = hung_up || strcmp(why, err_text(ERR_AUTH)) == 0;
    snprintf(n->trouble, sizeof n->trouble, "%s%s", n->wrong_secret ? err_text(ERR_AUTH) : why,
             hung_up ? ", or a version that takes no commands" : "");
}

static void on_piece(struct ctl_node *n, const struct msg *m)
{
    if (evbuffer_get_length(n->json) + m->control.status.bytes > STATUS_BYTES_MAX) {
        snprintf(n->trouble, sizeof n->trouble, "its status does not end");
        n->asked = 0;
        return;
    }
    evbuffer_add(n->json, m->control.status.json, m->control.status.bytes);
    if (!m->control.status.last)
        return;
    size_t len = evbuffer_get_length(n->json);
    free(n->text);
    n->text = mem_alloc(len + 1);
    evbuffer_remove(n->json, n->text, len);
    n->text[len] = '\0';
    if (!json_check(n->text, len, &n->status)) {
        n->status = (struct json){NULL, NULL};
        snprintf(n->trouble, sizeof n->trouble, "its status cannot be read");
    }
    n->asked = 0;
}

static void on_msg(void *owner, uint64_t link, const struct msg *m)
{
    struct ctl *c = owner;
    struct ctl_node *n = node_by_link(c, link);
    if (n && m->kind == MSG_STATUS_IS && m->request_id == n->asked) {
        on_piece(n, m);
    } else if (n && m->kind == MSG_DONE && m->request_id == c->awaited) {
        c->answered = true;
        c->result = m->control.done.result;
        snprintf(c->result_text, sizeof c->result_text, "%s", m->control.done.text);
    } else if (n && m->kind == MSG_UNSUPPORTED) {
        snprintf(n->trouble, sizeof n->trouble, "it runs a version that takes no commands");
        n->asked = 0;
    }
}

static void dial(struct ctl *c, struct ctl_node *n)
{
    n->trouble[0] = '\0';
    n->wrong_secret = false;
    if (n->link || n->dialling)
        return;
    n->dialling = true;
    links_net_ops.dial(c->links, n->id, n->self.address);
}

/* One node, or all of them. */
static bool settled(struct ctl *c, const void *arg)
{
    for (unsigned k = 0; k < c->n_nodes; k++) {
        if ((!arg || c->nodes[k] == arg) && c->nodes[k]->dialling)
            return false;
    }
    return true;
}

static bool told(struct ctl *c, const void *arg)
{
    for (unsigned k = 0; k < c->n_nodes; k++) {
        if ((!arg || c->nodes[k] == arg) && c->nodes[k]->asked)
            return false;
    }
    return true;
}

static enum ctl_exit trouble(struct ctl *c, const struct ctl_node *n)
{
    return ctl_fail(c, n->wrong_secret ? CTL_FAILED : CTL_UNREACHABLE, "node %016" PRIx64 " at %s cannot be asked: %s",
                    n->id, n->self.address, n->trouble);
}

enum ctl_exit ctl_reach(struct ctl *c, struct ctl_node *n)
{
    dial(c, n);
    wait_for(c, settled, n, c->conf.answer_ms);
    if (n->link)
        return CTL_OK;
    if (!n->trouble[0])
        snprintf(n->trouble, sizeof n->trouble, "no answer");
    return trouble(c, n);
}

static void ask(struct ctl *c, struct ctl_node *n, bool cells)
{
    struct msg m = {.kind = MSG_STATUS_GET, .request_id = ++c->last_request};
    m.control.cells = cells;
    n->asked = m.request_id;
    n->status = (struct json){NULL, NULL};
    if (!n->json)
        n->json = evbuffer_new();
    evbuffer_drain(n->json, evbuffer_get_length(n->json));
    struct blob *b = msg_encode(&m);
    links_net_ops.send(c->links, n->link, b);
    blob_unref(b);
}

static void judge(struct ctl_node *n)
{
    if (!n->trouble[0] && (n->dialling || n->asked || !n->status.at))
        snprintf(n->trouble, sizeof n->trouble, "no answer");
    n->asked = 0;
}

void ctl_ask_all(struct ctl *c, bool cells)
{
    for (unsigned k = 0; k < c->n_nodes; k++)
        dial(c, c->nodes[k]);
    wait_for(c, settled, NULL, c->conf.answer_ms);
    for (unsigned k = 0; k < c->n_nodes; k++) {
        c->nodes[k]->status = (struct json){NULL, NULL};
        if (c->nodes[k]->link)
            ask(c, c->nodes[k], cells);
    }
    wait_for(c, told, NULL, c->conf.answer_ms);
    for (unsigned k = 0; k < c->n_nodes; k++)
        judge(c->nodes[k]);
}

enum ctl_exit ctl_ask(struct ctl *c, struct ctl_node *n, bool cells)
{
    enum ctl_exit e = ctl_reach(c, n);
    if (e != CTL_OK)
        return e;
    ask(c, n, cells);
    wait_for(c, told, n, c->conf.answer_ms);
    judge(n);
    return n->trouble[0] ? trouble(c, n) : CTL_OK;
}

static bool is_answered(struct ctl *c, const void *arg)
{
    const struct ctl_node *n = arg;
    return c->answered || !n->link || n->trouble[0];
}

enum ctl_exit ctl_command(struct ctl *c, struct ctl_node *n, struct msg *m, uint32_t wait_ms)
{
    m->request_id = c->awaited = ++c->last_request;
    c->answered = false;
    c->result = DONE_FAILED;
    struct blob *b = msg_encode(m);
    links_net_ops.send(c->links, n->link, b);
    blob_unref(b);
    wait_for(c, is_answered, n, wait_ms);
    c->awaited = 0;
    if (c->answered && c->result == DONE_OK)
        return CTL_OK;
    if (c->answered)
        return ctl_fail(c, CTL_FAILED, "node %016" PRIx64 " says: %s", n->id, c->result_text);
    if (!n->trouble[0])
        snprintf(n->trouble, sizeof n->trouble, c->stopped ? "interrupted" : "no answer");
    return trouble(c, n);
}

/* ---- opening, closing ---- */

enum ctl_exit ctl_open(struct ctl *c)
{
    static const struct loop_ops ops = {.tick = on_tick, .stop = on_stop};
    static const struct net_events events = {.up = on_up, .down = on_down, .failed = on_failed, .msg = on_msg};
    if (!world_name_valid(c->conf.world))
        return ctl_fail(c, CTL_USAGE, "a world's name is 1 to 32 of A-Z, a-z, 0-9, _ and -");
    c->loop = loop_new(&ops, c);
    struct redis_link_conf redis = {.base = loop_base(c->loop),
                                    .dns = loop_dns(c->loop),
                                    .url = c->conf.redis,
                                    .name = "commands",
                                    .deadline_ms = c->conf.answer_ms,
                                    .in_flight_max = COORD_MEMBERS_MAX + 1};
    const char *reason;
    if (redis_link_open(&redis, &c->redis, &reason) != ERR_OK)
        return ctl_fail(c, CTL_USAGE, "--redis: %s", reason);
    struct rng os;
    rng_seed_os(&os);
    struct links_conf links;
    links_conf_default(&links);
    links.base = loop_base(c->loop);
    links.dns = loop_dns(c->loop);
    links.role = ROLE_CONTROL;
    links.incarnation = rng_u64(&os) | 1;
    links.world = c->conf.world;
    links.secret = c->conf.secret;
    char why[128];
    if (links_new(&links, &events, c, &c->links, why, sizeof why) != ERR_OK)
        return ctl_fail(c, CTL_FAILED, "%s", why);
    return CTL_OK;
}

void ctl_close(struct ctl *c)
{
    if (c->links)
        links_free(c->links);
    redis_link_close(c->redis);
    for (unsigned k = 0; k < c->n_nodes; k++)
        node_free(c->nodes[k]);
    free(c->nodes);
    loop_free(c->loop);
}

/* ---- texts ---- */

/* By itself when it can be asked, else by its lease. */
const char *ctl_state_text(const struct ctl_node *n, char *out, size_t bytes)
{
    static const char *const names[] = {[NODE_RUNNING] = "running",
                                        [NODE_AT_RISK] = "at_risk",
                                        [NODE_LEAVING] = "leaving",
                                        [NODE_STARTING] = "starting"};
    if (n->status.at)
        return json_text(json_get(n->status, "state"), out, bytes);
    snprintf(out, bytes, "%s", names[n->self.state]);
    return out;
}

void ctl_print_json_text(const char *text)
{
    putchar('"');
    for (const char *t = text; *t; t++) {
        if (*t == '"' || *t == '\\')
            putchar('\\');
        putchar(*t >= ' ' && *t <= '~' ? *t : '?');
    }
    putchar('"');
}
