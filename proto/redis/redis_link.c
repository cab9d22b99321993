#include "proto/redis/redis_link.h"

#include <assert.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/dns.h>
#include <event2/event.h>
#include <inttypes.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <utlist.h>

#include "proto/base/blob.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/base/metrics.h"
#include "proto/base/rng.h"
#include "proto/redis/redis_url.h"

/* DOWN waits for the backoff; CONNECTING is name, TCP and TLS; GREETING logs in, loads scripts, subscribes. */
enum state { DOWN, CONNECTING, GREETING, UP };
static const char *const state_names[] = {"down", "connecting", "greeting", "up"};

/* One command, from its making to its answer. */
struct command {
    struct command *prev, *next;
    struct blob *wire;                 /* as it is sent by SHA or as it is */
    const struct redis_script *script; /* NULL: not a script */
    size_t script_tail;                /* where in wire the part behind the SHA starts */
    uint64_t deadline_ms;
    enum err failed; /* of one that was not sent */
    redis_link_done *done;
    void *arg;
};

struct redis_link {
    struct redis_link_conf conf;
    struct redis_url url;
    enum state state;
    SSL_CTX *tls;
    struct bufferevent *bev;
    redisReader *reader;
    redisReplyObjectFunctions reply_functions; /* hiredis's own, but for create_array() */
    const redisReplyObjectFunctions *reply_functions_plain;
    size_t reply_bytes;  /* of the reply that is not complete yet */
    struct event *timer; /* the next deadline, reconnect or ping */
    struct event *fail;  /* answers `failed` on the next turn */
    struct rng rng;

    struct command *sent;    /* on the wire, oldest first: replies come in this order */
    struct command *again;   /* scripts that Redis had forgotten: they go again when sent is empty */
    struct command *waiting; /* made while there are such */
    struct command *failed;  /* not sent, to be told so */
    unsigned in_flight;      /* sent, again and waiting */
    size_t in_flight_bytes;

    uint64_t connect_by_ms;
    uint64_t retry_at_ms;
    uint64_t ping_at_ms; /* subscribed: silence is broken by pings */
    bool pinged;
    uint32_t backoff_ms;
    unsigned greetings;    /* replies that are still owed before the link is up */
    unsigned calling;      /* depth of callbacks: closing from inside one is a bug */
    char broke_why[128];   /* the last time, for a person */
    const char *break_why; /* the reply being looked at says that this link is of no use */
    struct metric *up_metric, *breaks_metric;
};

static void link_break(struct redis_link *l, const char *why);

void redis_script_init(struct redis_script *s, const char *source)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    s->source = source;
    int ok = EVP_Digest(source, strlen(source), digest, &len, EVP_sha1(), NULL);
    assert(ok && len * 2 == REDIS_SHA_LEN);
    (void)ok;
    for (unsigned i = 0; i < len; i++)
        snprintf(s->sha + 2 * i, 3, "%02x", digest[i]);
}

static void set_state(struct redis_link *l, enum state to)
{
    log_debug("redis_link name=%s from=%s to=%s", l->conf.name, state_names[l->state], state_names[to]);
    l->state = to;
    metric_set(l->up_metric, to == UP);
}

bool redis_link_up(const struct redis_link *l)
{
    return l->state == UP;
}

const char *redis_link_why(const struct redis_link *l)
{
    return l->broke_why;
}

/* ---- the timer: one event for whatever comes first ---- */

static void earliest(uint64_t *at, const struct command *head)
{
    if (head && head->deadline_ms < *at)
        *at = head->deadline_ms;
}

static uint64_t next_wake_ms(const struct redis_link *l)
{
    uint64_t at = UINT64_MAX;
    if (l->state == DOWN)
        return l->retry_at_ms;
    if (l->state != UP)
        at = l->connect_by_ms;
    else if (l->conf.channel)
        at = l->ping_at_ms;
    earliest(&at, l->sent);
    earliest(&at, l->again);
    earliest(&at, l->waiting);
    return at;
}

/* Deadlines of a link only ever move later, so a timer that is pending is early enough, and looks again then. */
static void arm(struct redis_link *l)
{
    uint64_t at = next_wake_ms(l), now = clock_mono_ms();
    if (at == UINT64_MAX || event_pending(l->timer, EV_TIMEOUT, NULL))
        return;
    uint64_t wait = at > now ? at - now : 1;
    struct timeval tv = {(time_t)(wait / 1000), (suseconds_t)(wait % 1000 * 1000)};
    event_add(l->timer, &tv);
}

static void rearm(struct redis_link *l)
{
    event_del(l->timer);
    arm(l);
}

/* ---- commands ---- */

static void command_answer(struct redis_link *l, struct command *c, enum err e, const redisReply *reply)
{
    l->calling++;
    if (c->done)
        c->done(c->arg, e, reply);
    l->calling--;
    blob_unref(c->wire);
    free(c);
}

static void forget(struct redis_link *l, const struct command *c)
{
    l->in_flight--;
    l->in_flight_bytes -= c->wire->len;
}

static void fail_all(struct redis_link *l, struct command **list, bool expired, uint64_t now)
{
    while (*list) {
        struct command *c = *list;
        DL_DELETE(*list, c);
        forget(l, c);
        command_answer(l, c, expired && c->deadline_ms <= now ? ERR_TIMEOUT : ERR_IO, NULL);
    }
}

static void on_fail(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct redis_link *l = arg;
    struct command *list = l->failed; /* those that are added meanwhile wait for the next turn */
    l->failed = NULL;
    while (list) {
        struct command *c = list;
        DL_DELETE(list, c);
        command_answer(l, c, c->failed, NULL);
    }
}

static void fail_soon(struct redis_link *l, struct command *c, enum err e)
{
    c->failed = e;
    DL_APPEND(l->failed, c);
    event_active(l->fail, EV_TIMEOUT, 0);
}

static void put_on_wire(struct redis_link *l, struct command *c)
{
    DL_APPEND(l->sent, c);
    blob_add_to(c->wire, bufferevent_get_output(l->bev));
}

static struct command *command_new(unsigned argc, const char **argv, const size_t *lens, redis_link_done *done,
                                   void *arg)
{
    char *text = NULL;
    int len = (int)redisFormatCommandArgv(&text, (int)argc, argv, lens);
    struct command *c = mem_zalloc(sizeof *c);
    c->done = done;
    c->arg = arg;
    if (len < 0) { /* out of memory inside hiredis: as good as mem.h's abort */
        log_error("redis_format_failed argc=%u", argc);
        abort();
    }
    c->wire = blob_new(text, (size_t)len);
    redisFreeCommand(text);
    return c;
}

static void submit(struct redis_link *l, struct command *c)
{
    if (l->state != UP || l->conf.channel) {
        fail_soon(l, c, ERR_IO);
        return;
    }
    if (l->in_flight >= l->conf.in_flight_max || l->in_flight_bytes + c->wire->len > REDIS_IN_FLIGHT_BYTES_MAX) {
        fail_soon(l, c, ERR_FULL);
        return;
    }
    l->in_flight++;
    l->in_flight_bytes += c->wire->len;
    c->deadline_ms = clock_mono_ms() + l->conf.deadline_ms;
    if (l->again)
        DL_APPEND(l->waiting, c);
    else
        put_on_wire(l, c);
    arm(l);
}

void redis_link_command(struct redis_link *l, unsigned argc, const char **argv, const size_t *lens,
                        redis_link_done *done, void *arg)
{
    submit(l, command_new(argc, argv, lens, done, arg));
}

void redis_link_script(struct redis_link *l, const struct redis_script *s, unsigned n_keys, unsigned argc,
                       const char **argv, const size_t *lens, redis_link_done *done, void *arg)
{
    char n_text[12], head[64];
    int n_len = snprintf(n_text, sizeof n_text, "%u", n_keys);
    const char **all = mem_array(argc + 3, sizeof *all);
    size_t *all_lens = mem_array(argc + 3, sizeof *all_lens);
    all[0] = "EVALSHA", all_lens[0] = 7;
    all[1] = s->sha, all_lens[1] = REDIS_SHA_LEN;
    all[2] = n_text, all_lens[2] = (size_t)n_len;
    if (argc) {
        memcpy(all + 3, argv, argc * sizeof *argv);
        memcpy(all_lens + 3, lens, argc * sizeof *lens);
    }
    struct command *c = command_new(argc + 3, all, all_lens, done, arg);
    int head_len = snprintf(head, sizeof head, "*%u\r\n$7\r\nEVALSHA\r\n$40\r\n", argc + 3);
    c->script = s;
    c->script_tail = (size_t)head_len + REDIS_SHA_LEN + 2;
    free(all);
    free(all_lens);
    submit(l, c);
}

/* Redis has forgotten a script: the same command with its source. Only the head differs. */
static void put_source_on_wire(struct redis_link *l, struct command *c)
{
    struct evbuffer *out = bufferevent_get_output(l->bev);
    const char *args = (const char *)c->wire->data, *args_end = memchr(args, '\r', c->wire->len);
    evbuffer_add_printf(out, "%.*s\r\n$4\r\nEVAL\r\n$%zu\r\n%s\r\n", (int)(args_end - args), args,
                        strlen(c->script->source), c->script->source);
    evbuffer_add(out, c->wire->data + c->script_tail, c->wire->len - c->script_tail);
    c->script = NULL; /* a second NOSCRIPT is an answer like any other error */
    DL_APPEND(l->sent, c);
}

static void go_again(struct redis_link *l)
{
    while (l->again) {
        struct command *c = l->again;
        DL_DELETE(l->again, c);
        put_source_on_wire(l, c);
    }
    while (l->waiting) {
        struct command *c = l->waiting;
        DL_DELETE(l->waiting, c);
        put_on_wire(l, c);
    }
}

/* ---- replies ---- */

static bool starts_with(const redisReply *r, const char *word)
{
    return r->len >= strlen(word) && memcmp(r->str, word, strlen(word)) == 0;
}

/* Errors that speak of the server and not of the command. */
static enum err judge_error(struct redis_link *l, const redisReply *r)
{
    static const struct {
        const char *word;
        bool breaks; /* the name may lead to a better server by now */
    } away[] = {{"READONLY", true},   {"MOVED", true},        {"ASK", true},
                {"NOAUTH", true},     {"LOADING", false},     {"BUSY ", false},
                {"MASTERDOWN", true}, {"CLUSTERDOWN", false}, {"TRYAGAIN", false}};
    for (size_t i = 0; i < sizeof away / sizeof *away; i++) {
        if (!starts_with(r, away[i].word))
            continue;
        if (away[i].breaks)
            l->break_why = away[i].word;
        return ERR_IO;
    }
    return ERR_REFUSED;
}

static void on_command_reply(struct redis_link *l, const redisReply *r)
{
    struct command *c = l->sent;
    if (!c) {
        l->break_why = "a reply that nobody asked for";
        return;
    }
    DL_DELETE(l->sent, c);
    if (r->type == REDIS_REPLY_ERROR && c->script && starts_with(r, "NOSCRIPT")) {
        DL_APPEND(l->again, c);
    } else {
        forget(l, c);
        enum err e = r->type == REDIS_REPLY_ERROR ? judge_error(l, r) : ERR_OK;
        if (e == ERR_OK)
            l->backoff_ms = REDIS_BACKOFF_MIN_MS;
        command_answer(l, c, e, e == ERR_IO ? NULL : r);
    }
    if (l->again && !l->sent)
        go_again(l);
}

static bool is_text(const redisReply *r, const char *text)
{
    return (r->type == REDIS_REPLY_STRING || r->type == REDIS_REPLY_STATUS) && r->len == strlen(text) &&
           memcmp(r->str, text, r->len) == 0;
}

static void on_pushed(struct redis_link *l, const redisReply *r)
{
    if (r->type != REDIS_REPLY_ARRAY || r->elements < 2) {
        l->break_why = "not what a subscriber is sent";
    } else if (is_text(r->element[0], "message") && r->elements == 3 && r->element[2]->type == REDIS_REPLY_STRING) {
        l->calling++;
        l->conf.message(l->conf.arg, r->element[2]->str, r->element[2]->len);
        l->calling--;
    } else if (is_text(r->element[0], "pong")) {
        l->pinged = false;
        l->backoff_ms = REDIS_BACKOFF_MIN_MS;
    } else if (is_text(r->element[0], "unsubscribe")) {
        l->break_why = "unsubscribed";
    }
}

static void greeted(struct redis_link *l)
{
    set_state(l, UP);
    log_info("redis_up name=%s at=%s", l->conf.name, l->url.path[0] ? l->url.path : l->url.host);
    l->pinged = false;
    l->ping_at_ms = clock_mono_ms() + l->conf.deadline_ms;
    rearm(l);
    if (l->conf.channel && l->conf.subscribed) {
        l->calling++;
        l->conf.subscribed(l->conf.arg);
        l->calling--;
    }
}

static void on_greeting(struct redis_link *l, const redisReply *r)
{
    if (r->type == REDIS_REPLY_ERROR) {
        char text[160];
        log_warn("redis_greeting_refused name=%s error=%s", l->conf.name, log_quote(text, sizeof text, r->str, r->len));
        l->break_why = memmem(r->str, r->len, "PASS", 4) || memmem(r->str, r->len, "AUTH", 4)
                           ? "password wrong or missing"
                           : "greeting refused";
    } else if (--l->greetings == 0) {
        greeted(l);
    }
}

/* Feeds what came, a piece at a time, so that a reply's size is known before it fills the memory. */
static void on_read(struct bufferevent *bev, void *arg)
{
    struct redis_link *l = arg;
    struct evbuffer *in = bufferevent_get_input(bev);
    while (!l->break_why && evbuffer_get_length(in) > 0) {
        char piece[16384];
        int n = evbuffer_remove(in, piece, sizeof piece);
        void *reply = NULL;
        if (n <= 0 || redisReaderFeed(l->reader, piece, (size_t)n) != REDIS_OK)
            break;
        l->reply_bytes += (size_t)n;
        while (!l->break_why && redisReaderGetReply(l->reader, &reply) == REDIS_OK && reply) {
            if (l->state == GREETING)
                on_greeting(l, reply);
            else if (l->conf.channel)
                on_pushed(l, reply);
            else
                on_command_reply(l, reply);
            freeReplyObject(reply);
            reply = NULL;
            l->reply_bytes = l->reader->len - l->reader->pos;
        }
        if (l->reader->err)
            l->break_why = "not a reply";
        else if (l->reply_bytes > REDIS_REPLY_BYTES_MAX)
            l->break_why = "a reply that is too big";
    }
    if (l->break_why)
        link_break(l, l->break_why);
}

/* ---- connecting ---- */

static void greet(struct redis_link *l, unsigned argc, const char **argv)
{
    char *text = NULL;
    int len = (int)redisFormatCommandArgv(&text, (int)argc, argv, NULL);
    assert(len > 0);
    bufferevent_write(l->bev, text, (size_t)len);
    redisFreeCommand(text);
    l->greetings++;
}

/* All at once: they are answered in order, and one refusal ends the attempt. PING tells a server that is still loading.
 */
static void on_connected(struct redis_link *l)
{
    set_state(l, GREETING);
    l->greetings = 0;
    if (l->url.password[0]) {
        if (l->url.user[0])
            greet(l, 3, (const char *[]){"AUTH", l->url.user, l->url.password});
        else
            greet(l, 2, (const char *[]){"AUTH", l->url.password});
    }
    if (l->url.db) {
        char db[12];
        snprintf(db, sizeof db, "%u", l->url.db);
        greet(l, 2, (const char *[]){"SELECT", db});
    }
    greet(l, 1, (const char *[]){"PING"});
    for (unsigned i = 0; i < l->conf.n_scripts; i++)
        greet(l, 3, (const char *[]){"SCRIPT", "LOAD", l->conf.scripts[i].source});
    if (l->conf.channel)
        greet(l, 2, (const char *[]){"SUBSCRIBE", l->conf.channel});
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    struct redis_link *l = arg;
    if (what & BEV_EVENT_CONNECTED) {
        on_connected(l);
    } else if (what & BEV_EVENT_EOF) {
        link_break(l, "closed by Redis");
    } else if (what & BEV_EVENT_ERROR) {
        int dns = bufferevent_socket_get_dns_error(bev);
        unsigned long ssl = l->url.tls ? bufferevent_get_openssl_error(bev) : 0;
        const char *reason = ssl ? ERR_reason_error_string(ssl) : NULL;
        link_break(l, dns      ? evutil_gai_strerror(dns)
                      : reason ? reason
                               : evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()));
    }
}

/* An array's length is believed before its elements come: cap what is allocated on the sender's word. */
#if HIREDIS_MAJOR >= 1
typedef size_t reply_count;
#else
typedef int reply_count;
#endif
static void *create_array(const redisReadTask *task, reply_count n)
{
    unsigned depth = 0; /* hiredis 1.x takes any, and frees replies by recursion */
    for (const redisReadTask *up = task->parent; up; up = up->parent)
        depth++;
    if (n > REDIS_REPLY_ELEMENTS_MAX || depth >= REDIS_REPLY_DEPTH_MAX)
        return NULL; /* the reader takes it for lack of memory and stops */
    const struct redis_link *l = task->privdata;
    return l->reply_functions_plain->createArray(task, n);
}

static redisReader *reader_new(struct redis_link *l)
{
    redisReader *r = redisReaderCreate();
    if (!r)
        abort();
    l->reply_functions_plain = r->fn;
    l->reply_functions = *r->fn;
    l->reply_functions.createArray = create_array;
    r->fn = &l->reply_functions;
    r->privdata = l;
    l->reply_bytes = 0;
    return r;
}

static struct bufferevent *socket_new(struct redis_link *l)
{
    if (!l->url.tls)
        return bufferevent_socket_new(l->conf.base, -1, BEV_OPT_CLOSE_ON_FREE);
    SSL *ssl = SSL_new(l->tls);
    if (!ssl || SSL_set_tlsext_host_name(ssl, l->url.host) != 1 || SSL_set1_host(ssl, l->url.host) != 1) {
        SSL_free(ssl);
        return NULL;
    }
    struct bufferevent *bev =
        bufferevent_openssl_socket_new(l->conf.base, -1, ssl, BUFFEREVENT_SSL_CONNECTING, BEV_OPT_CLOSE_ON_FREE);
    if (!bev)
        SSL_free(ssl);
    else
        bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
    return bev;
}

static void connect_now(struct redis_link *l)
{
    set_state(l, CONNECTING);
    l->connect_by_ms = clock_mono_ms() + REDIS_CONNECT_MS;
    l->break_why = NULL;
    l->reader = reader_new(l);
    l->bev = socket_new(l);
    if (!l->bev) {
        link_break(l, "no socket");
        return;
    }
    bufferevent_setcb(l->bev, on_read, NULL, on_event, l);
    bufferevent_enable(l->bev, EV_READ | EV_WRITE);
    int rc;
    if (l->url.path[0]) {
        struct sockaddr_un sun = {.sun_family = AF_UNIX};
        memcpy(sun.sun_path, l->url.path, sizeof sun.sun_path);
        rc = bufferevent_socket_connect(l->bev, (struct sockaddr *)&sun, sizeof sun);
    } else {
        rc = bufferevent_socket_connect_hostname(l->bev, l->conf.dns, AF_UNSPEC, l->url.host, l->url.port);
    }
    /* libevent may have told on_event() already, from inside the call */
    if (rc != 0 && l->state == CONNECTING)
        link_break(l, evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()));
    rearm(l);
}

static void drop_socket(struct redis_link *l)
{
    if (l->bev)
        bufferevent_free(l->bev);
    if (l->reader)
        redisReaderFree(l->reader);
    l->bev = NULL;
    l->reader = NULL;
}

static void link_break(struct redis_link *l, const char *why)
{
    if (l->state == DOWN)
        return;
    uint64_t now = clock_mono_ms(), wait = rng_jitter(&l->rng, l->backoff_ms);
    log_warn("redis_down name=%s was=%s why=\"%s\" in_flight=%u retry_ms=%" PRIu64, l->conf.name, state_names[l->state],
             why, l->in_flight, wait);
    snprintf(l->broke_why, sizeof l->broke_why, "%s", why);
    metric_add(l->breaks_metric, 1);
    set_state(l, DOWN);
    drop_socket(l);
    l->retry_at_ms = now + wait;
    l->backoff_ms = l->backoff_ms * 2 < REDIS_BACKOFF_MAX_MS ? l->backoff_ms * 2 : REDIS_BACKOFF_MAX_MS;
    rearm(l);
    fail_all(l, &l->sent, true, now);
    fail_all(l, &l->again, true, now);
    fail_all(l, &l->waiting, true, now);
}

static void ping(struct redis_link *l)
{
    static const char wire[] = "*1\r\n$4\r\nPING\r\n";
    bufferevent_write(l->bev, wire, sizeof wire - 1);
    l->pinged = true;
    l->ping_at_ms = clock_mono_ms() + l->conf.deadline_ms;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct redis_link *l = arg;
    uint64_t now = clock_mono_ms();
    if (next_wake_ms(l) <= now) {
        if (l->state == DOWN)
            connect_now(l);
        else if (l->state != UP)
            link_break(l, "connecting took too long");
        else if (!l->conf.channel)
            link_break(l, "no answer within the deadline");
        else if (l->pinged)
            link_break(l, "silent");
        else
            ping(l);
    }
    arm(l);
}

enum err redis_link_open(const struct redis_link_conf *conf, struct redis_link **out, const char **why)
{
    struct redis_url url;
    enum err e = redis_url_parse(conf->url, &url, why);
    if (e != ERR_OK)
        return e;
    SSL_CTX *tls = NULL;
    if (url.tls) {
        tls = SSL_CTX_new(TLS_client_method());
        if (!tls || SSL_CTX_set_default_verify_paths(tls) != 1) {
            SSL_CTX_free(tls);
            *why = "TLS cannot be set up";
            return ERR_IO;
        }
        SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION);
        SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
    }
    struct redis_link *l = mem_zalloc(sizeof *l);
    char label[64];
    snprintf(label, sizeof label, "link=\"%s\"", conf->name);
    l->conf = *conf;
    l->url = url;
    l->tls = tls;
    l->backoff_ms = REDIS_BACKOFF_MIN_MS;
    l->up_metric = metrics_gauge("spotcraft_redis_up", "1 while the link to Redis is logged in", label);
    l->breaks_metric =
        metrics_counter("spotcraft_redis_breaks_total", "links to Redis that broke, or did not come up", label);
    rng_seed_os(&l->rng);
    l->timer = event_new(conf->base, -1, 0, on_timer, l);
    l->fail = event_new(conf->base, -1, 0, on_fail, l);
    if (!l->timer || !l->fail)
        abort();
    arm(l); /* DOWN, due at once: connects on the loop's next turn, so that nothing is called from in here */
    *out = l;
    return ERR_OK;
}

void redis_link_close(struct redis_link *l)
{
    if (!l)
        return;
    assert(!l->calling);
    l->state = DOWN; /* what the callbacks make now fails too */
    drop_socket(l);
    fail_all(l, &l->sent, false, 0);
    fail_all(l, &l->again, false, 0);
    fail_all(l, &l->waiting, false, 0);
    while (l->failed)
        on_fail(-1, 0, l);
    event_free(l->timer);
    event_free(l->fail);
    SSL_CTX_free(l->tls);
    metric_set(l->up_metric, 0);
    free(l);
}
