#include "ops/imds/serve.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <utlist.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"

enum {
    CONNS_MAX = 2048,
    HEAD_MAX = 8 << 10,
    BODY_MAX = 64 << 10,
    REQUEST_MS = 10000,
    IDLE_MS = 600000,
    LINGER_MS = 2000,
    TRICKLE_MS = 20,
    FLOOD_BYTES = 16 << 10,
};

struct serve_conn {
    struct serve_conn *prev, *next;
    struct serve *s;
    struct bufferevent *bev;
    struct event *timer; /* for the request, or for what is written late */
    void *tag;
    bool busy;  /* a request is being answered */
    bool head;  /* to a HEAD: without the body */
    bool close; /* after what is queued */
    bool ending;
    bool coming; /* a request has begun to come, or the first is awaited: the timer is its deadline */
    size_t body_left;
    /* The answer that waits for its time, or never ends. */
    enum serve_how how;
    bool started, late;
    void (*sent)(void *arg, const void *what, uint64_t asked_ms);
    void *sent_arg;
    const void *sent_what;
    uint64_t asked_ms;
    struct evbuffer *later;
};

struct serve {
    struct event_base *base;
    struct evconnlistener *listener;
    struct event *resume;
    serve_cb *cb;
    void *arg;
    struct serve_conn *conns;
    unsigned n_conns;
};

static void conn_free(struct serve_conn *c)
{
    DL_DELETE(c->s->conns, c);
    c->s->n_conns--;
    event_free(c->timer);
    evbuffer_free(c->later);
    bufferevent_free(c->bev);
    free(c);
}

static void after_ms(struct event *e, uint32_t ms)
{
    event_add(e, &(struct timeval){.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000});
}

const char *serve_reason(int status)
{
    static const struct {
        int status;
        const char *text;
    } all[] = {{200, "OK"},
               {201, "Created"},
               {400, "Bad Request"},
               {401, "Unauthorized"},
               {403, "Forbidden"},
               {404, "Not Found"},
               {405, "Method Not Allowed"},
               {413, "Payload Too Large"},
               {429, "Too Many Requests"},
               {431, "Request Header Fields Too Large"},
               {500, "Internal Server Error"},
               {503, "Service Unavailable"}};
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i].status == status)
            return all[i].text;
    }
    return status < 300 ? "OK" : status < 400 ? "Redirect" : status < 500 ? "Client Error" : "Server Error";
}

/* ---- answers ---- */

static void pump(struct serve_conn *c);

static void reset(struct serve_conn *c)
{
    struct linger now = {.l_onoff = 1};
    setsockopt(bufferevent_getfd(c->bev), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    conn_free(c);
}

/* What of an endless body is due. */
static void write_endless(struct serve_conn *c)
{
    static const char junk[FLOOD_BYTES] = "endless";
    struct evbuffer *out = bufferevent_get_output(c->bev);
    if (c->how == SERVE_TRICKLE) {
        evbuffer_add(out, "1\r\n.\r\n", 6);
        after_ms(c->timer, TRICKLE_MS);
        return;
    }
    evbuffer_add_printf(out, "%x\r\n", FLOOD_BYTES);
    evbuffer_add_reference(out, junk, sizeof junk, NULL, NULL);
    evbuffer_add(out, "\r\n", 2);
}

/* False: the connection is gone. */
static bool write_answer(struct serve_conn *c)
{
    switch (c->how) {
    case SERVE_RESET:
        reset(c);
        return false;
    case SERVE_SILENCE:
        after_ms(c->timer, IDLE_MS);
        return true;
    case SERVE_WHOLE:
    case SERVE_BROKEN:
    case SERVE_TRICKLE:
    case SERVE_FLOOD:
        break;
    }
    evbuffer_add_buffer(bufferevent_get_output(c->bev), c->later);
    c->started = true;
    if (c->how == SERVE_TRICKLE || c->how == SERVE_FLOOD) {
        write_endless(c);
        return true;
    }
    if (c->sent && c->how == SERVE_WHOLE)
        c->sent(c->sent_arg, c->sent_what, c->asked_ms);
    c->busy = false;
    after_ms(c->timer, IDLE_MS);
    return true;
}

static void add_head(struct evbuffer *to, const struct serve_answer *a, bool chunked, bool closes, size_t len)
{
    char date[64];
    time_t now = (time_t)(clock_unix_ms() / 1000);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    evbuffer_add_printf(to, "HTTP/1.1 %d %s\r\nServer: EC2ws\r\nDate: %s\r\nContent-Type: %s\r\n%sConnection: %s\r\n",
                        a->status, serve_reason(a->status), date, a->type, a->headers ? a->headers : "",
                        closes ? "close" : "keep-alive");
    if (chunked)
        evbuffer_add_printf(to, "Transfer-Encoding: chunked\r\n\r\n");
    else
        evbuffer_add_printf(to, "Content-Length: %zu\r\n\r\n", len);
}

void serve_reply(struct serve_conn *c, const struct serve_answer *a)
{
    static const char broken[] = "\x16\x03\x01\x02 this is no HTTP\r\n\r\n";
    c->how = a->how;
    c->close = c->close || a->close || a->how == SERVE_BROKEN;
    c->started = false;
    c->late = a->delay_ms > 0;
    c->sent = a->sent;
    c->sent_arg = a->sent_arg;
    c->sent_what = a->sent_what;
    c->asked_ms = clock_unix_ms();
    if (a->how == SERVE_BROKEN)
        evbuffer_add(c->later, broken, sizeof broken - 1);
    else
        add_head(c->later, a, a->how == SERVE_TRICKLE || a->how == SERVE_FLOOD, c->close, evbuffer_get_length(a->body));
    if (a->how == SERVE_WHOLE && !c->head)
        evbuffer_add_buffer(c->later, a->body);
    evbuffer_free(a->body);
    after_ms(c->timer, a->delay_ms); /* on_timer() writes it: never inside the request's callback */
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct serve_conn *c = arg;
    if (!c->busy || (c->started && c->how != SERVE_TRICKLE)) {
        conn_free(c); /* idle, silent for long, or a request that does not come to its end */
        return;
    }
    if (c->started) {
        write_endless(c);
        return;
    }
    if (c->how == SERVE_SILENCE)
        c->started = true;
    if (write_answer(c) && !c->busy && !c->close)
        pump(c);
}

static void on_written(struct bufferevent *bev, void *arg)
{
    (void)bev;
    struct serve_conn *c = arg;
    if (c->busy && c->started && c->how == SERVE_FLOOD)
        write_endless(c);
    else if (c->close && !c->busy && !c->ending) {
        c->ending = true; /* closing with bytes unread would reset the connection under the answer */
        shutdown(bufferevent_getfd(c->bev), SHUT_WR);
        after_ms(c->timer, LINGER_MS);
    }
}

/* ---- requests ---- */

static void refuse(struct serve_conn *c, int status)
{
    struct evbuffer *body = evbuffer_new();
    evbuffer_add_printf(body, "%d %s\n", status, serve_reason(status));
    c->busy = true;
    c->close = true;
    serve_reply(c, &(struct serve_answer){.status = status, .type = "text/plain", .body = body});
}

struct head {
    char method[SERVE_METHOD_MAX + 1], target[SERVE_TARGET_MAX + 1];
    char token[SERVE_HEADER_MAX + 1], ttl[SERVE_HEADER_MAX + 1], forwarded[SERVE_HEADER_MAX + 1];
    bool has_token, has_ttl, has_forwarded;
    bool close;
    size_t body;
};

static bool is_printable(const char *line)
{
    for (; *line; line++) {
        if (*line < ' ' && *line != '\t')
            return false;
    }
    return true;
}

static bool parse_first(char *line, struct head *h)
{
    char *rest = line, *method = strsep(&rest, " "), *target = strsep(&rest, " ");
    if (!target || !rest || target[0] != '/' || strlen(method) > SERVE_METHOD_MAX ||
        strlen(target) > SERVE_TARGET_MAX || (strcmp(rest, "HTTP/1.1") != 0 && strcmp(rest, "HTTP/1.0") != 0))
        return false;
    h->close = strcmp(rest, "HTTP/1.0") == 0;
    strcpy(h->method, method);
    strcpy(h->target, target);
    return true;
}

static bool copy_value(char *out, bool *has, const char *value)
{
    if (strlen(value) > SERVE_HEADER_MAX)
        return false;
    strcpy(out, value);
    *has = true;
    return true;
}

static bool parse_header(char *line, struct head *h)
{
    char *value = strchr(line, ':');
    if (!value || value == line)
        return false;
    *value++ = '\0';
    value += strspn(value, " \t");
    if (strcasecmp(line, "X-aws-ec2-metadata-token") == 0)
        return copy_value(h->token, &h->has_token, value);
    if (strcasecmp(line, "X-aws-ec2-metadata-token-ttl-seconds") == 0)
        return copy_value(h->ttl, &h->has_ttl, value);
    if (strcasecmp(line, "X-Forwarded-For") == 0)
        return copy_value(h->forwarded, &h->has_forwarded, value);
    if (strcasecmp(line, "Connection") == 0)
        h->close = h->close || strcasecmp(value, "close") == 0;
    if (strcasecmp(line, "Transfer-Encoding") == 0)
        return false; /* nobody needs to send us chunks */
    if (strcasecmp(line, "Content-Length") == 0) {
        size_t digits = strspn(value, "0123456789");
        if (!digits || digits > 9 || value[digits])
            return false;
        h->body = strtoul(value, NULL, 10);
    }
    return true;
}

/* Takes the head out of the input. 0: it is whole and good; -1: not whole yet; else the status of a refusal. */
static int take_head(struct serve_conn *c, struct head *h)
{
    struct evbuffer *in = bufferevent_get_input(c->bev);
    if (evbuffer_search(in, "\r\n\r\n", 4, NULL).pos < 0 && evbuffer_search(in, "\n\n", 2, NULL).pos < 0)
        return evbuffer_get_length(in) >= HEAD_MAX ? 431 : -1;
    for (bool first = true;; first = false) {
        size_t len;
        char *line = evbuffer_readln(in, &len, EVBUFFER_EOL_CRLF);
        bool end = !line || !*line, good = line && strlen(line) == len && is_printable(line);
        if (good && !(end && !first))
            good = first ? parse_first(line, h) : parse_header(line, h);
        free(line);
        if (!good)
            return 400;
        if (end)
            return h->body > BODY_MAX ? 413 : 0;
    }
}

static void take_request(struct serve_conn *c, struct head *h)
{
    struct serve_request r = {.method = h->method,
                              .path = h->target,
                              .token = h->has_token ? h->token : NULL,
                              .token_ttl = h->has_ttl ? h->ttl : NULL,
                              .forwarded_for = h->has_forwarded ? h->forwarded : NULL};
    r.query = h->target + strcspn(h->target, "?");
    if (*r.query)
        *r.query++ = '\0';
    c->busy = true;
    c->close = h->close;
    c->head = strcmp(h->method, "HEAD") == 0;
    c->body_left = h->body;
    c->s->cb(c->s->arg, c, &r);
}

static void drop_body(struct serve_conn *c)
{
    struct evbuffer *in = bufferevent_get_input(c->bev);
    size_t n = evbuffer_get_length(in) < c->body_left ? evbuffer_get_length(in) : c->body_left;
    evbuffer_drain(in, n);
    c->body_left -= n;
}

/* What has begun to come has so long to come whole, however slowly it does. */
static void expect_rest(struct serve_conn *c)
{
    if (!c->coming)
        after_ms(c->timer, REQUEST_MS);
    c->coming = true;
}

/* The next request, if it is there and none is being answered. */
static void pump(struct serve_conn *c)
{
    struct head h = {.close = false};
    drop_body(c);
    if (c->ending)
        evbuffer_drain(bufferevent_get_input(c->bev), evbuffer_get_length(bufferevent_get_input(c->bev)));
    if (c->busy || c->ending)
        return;
    if (c->body_left) {
        expect_rest(c);
        return;
    }
    if (evbuffer_get_length(bufferevent_get_input(c->bev)) == 0) {
        if (c->coming) /* a body, which is whole now */
            after_ms(c->timer, IDLE_MS);
        c->coming = false;
        return;
    }
    int status = take_head(c, &h);
    if (status < 0) {
        expect_rest(c);
        return;
    }
    c->coming = false;
    if (status > 0)
        refuse(c, status);
    else
        take_request(c, &h);
}

static void on_read(struct bufferevent *bev, void *arg)
{
    (void)bev;
    pump(arg);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    (void)bev;
    struct serve_conn *c = arg;
    if ((what & BEV_EVENT_EOF) && c->busy && c->how == SERVE_WHOLE && !c->late)
        c->close =
            true; /* as `nc` does: its request, then the end; it still reads. While an answer is late: it gave up */
    else
        conn_free(c);
}

/* ---- connections ---- */

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *from, int from_len, void *arg)
{
    (void)l, (void)from, (void)from_len;
    struct serve *s = arg;
    if (s->n_conns == CONNS_MAX) {
        evutil_closesocket(fd);
        return;
    }
    struct serve_conn *c = mem_zalloc(sizeof *c);
    c->s = s;
    c->bev = bufferevent_socket_new(s->base, fd, BEV_OPT_CLOSE_ON_FREE);
    c->timer = evtimer_new(s->base, on_timer, c);
    c->later = evbuffer_new();
    if (!c->bev || !c->timer || !c->later) {
        log_error("out_of_memory what=connection");
        abort();
    }
    DL_APPEND(s->conns, c);
    s->n_conns++;
    expect_rest(c);
    bufferevent_setwatermark(c->bev, EV_READ, 0, HEAD_MAX);
    bufferevent_setcb(c->bev, on_read, on_written, on_event, c);
    bufferevent_enable(c->bev, EV_READ | EV_WRITE);
}

static void on_accept_error(struct evconnlistener *l, void *arg)
{
    struct serve *s = arg;
    evconnlistener_disable(l); /* no file is left: asking again at once would spin */
    after_ms(s->resume, 100);
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    evconnlistener_enable(((struct serve *)arg)->listener);
}

struct serve *serve_open(struct event_base *base, const char *address, uint16_t port, serve_cb *cb, void *arg,
                         char *why, size_t why_bytes)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (inet_pton(AF_INET, address, &at.sin_addr) != 1) {
        snprintf(why, why_bytes, "%.60s is not an IPv4 address", address);
        return NULL;
    }
    struct serve *s = mem_zalloc(sizeof *s);
    s->base = base;
    s->cb = cb;
    s->arg = arg;
    s->listener =
        evconnlistener_new_bind(base, on_accept, s, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE,
                                128, (struct sockaddr *)&at, sizeof at);
    if (!s->listener) {
        snprintf(why, why_bytes, "cannot listen on %.60s:%u: %s", address, port, strerror(errno));
        free(s);
        return NULL;
    }
    evconnlistener_set_error_cb(s->listener, on_accept_error);
    s->resume = evtimer_new(base, on_resume, s);
    return s;
}

uint16_t serve_port(const struct serve *s)
{
    struct sockaddr_in at = {0};
    socklen_t len = sizeof at;
    getsockname(evconnlistener_get_fd(s->listener), (struct sockaddr *)&at, &len);
    return ntohs(at.sin_port);
}

void serve_close(struct serve *s)
{
    if (!s)
        return;
    while (s->conns)
        conn_free(s->conns);
    event_free(s->resume);
    evconnlistener_free(s->listener);
    free(s);
}

void **serve_tag(struct serve_conn *c)
{
    return &c->tag;
}
