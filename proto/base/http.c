#include "proto/base/http.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <utlist.h>

#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/base/metrics.h"
#include "proto/base/proxy.h"

enum {
    CONNS_MAX = 64,
    HEAD_BYTES_MAX = 8 << 10,
    LIFE_MS = 10000,
    LINGER_BYTES_MAX = 64 << 10, /* of a body that nobody reads */
    ACCEPT_PAUSE_MS = 100,
};

/* Why not evhttp: it neither bounds its connections nor the whole time that one may take. */
struct conn {
    struct conn *prev, *next;
    struct admin_http *http;
    struct bufferevent *bev;
    struct event *deadline;
    bool begun; /* a PROXY header was looked for */
    bool answered;
    bool eof;       /* the peer sends no more, but may still read */
    size_t drained; /* bytes read since the answer */
};

struct admin_http {
    struct event_base *base;
    struct evconnlistener *listener;
    struct event *resume; /* accepts again after the process had no file left */
    const struct admin_ops *ops;
    void *arg;
    struct conn *conns; /* oldest first */
    unsigned n_conns;
    struct metric *dropped;
    struct timeval life;
};

static void conn_free(struct conn *c)
{
    DL_DELETE(c->http->conns, c);
    c->http->n_conns--;
    event_free(c->deadline);
    bufferevent_free(c->bev);
    free(c);
}

/* ---- answering ---- */

static const char *reason_of(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 400:
        return "Bad Request";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 431:
        return "Request Header Fields Too Large";
    default:
        return "Service Unavailable";
    }
}

static const char text_plain[] = "text/plain; charset=utf-8";

static void answer(struct conn *c, int status, const char *type, struct evbuffer *body, bool head_only)
{
    struct evbuffer *out = bufferevent_get_output(c->bev);
    evbuffer_add_printf(out,
                        "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nCache-Control: no-store\r\n"
                        "X-Content-Type-Options: nosniff\r\n%sConnection: close\r\n\r\n",
                        status, reason_of(status), type, evbuffer_get_length(body),
                        status == 405 ? "Allow: GET, HEAD\r\n" : "");
    if (!head_only)
        evbuffer_add_buffer(out, body);
    c->answered = true;
}

static void answer_text(struct conn *c, int status, bool head_only, const char *text)
{
    struct evbuffer *body = evbuffer_new();
    evbuffer_add_printf(body, "%s\n", text);
    answer(c, status, text_plain, body, head_only);
    evbuffer_free(body);
}

static void page_root(struct conn *c, bool head_only)
{
    answer_text(c, 200, head_only,
                "/healthz  is the process alive\n"
                "/readyz   is it ready to serve, or what is missing\n"
                "/metrics  for Prometheus\n"
                "/status   the same story as JSON");
}

static void page_healthz(struct conn *c, bool head_only)
{
    answer_text(c, 200, head_only, "ok");
}

static void page_readyz(struct conn *c, bool head_only)
{
    const struct admin_http *h = c->http;
    const char *missing = h->ops->not_ready ? h->ops->not_ready(h->arg) : NULL;
    answer_text(c, missing ? 503 : 200, head_only, missing ? missing : "ready");
}

static void page_metrics(struct conn *c, bool head_only)
{
    const struct admin_http *h = c->http;
    struct evbuffer *body = evbuffer_new();
    if (h->ops->refresh)
        h->ops->refresh(h->arg);
    metrics_write(body);
    answer(c, 200, "text/plain; version=0.0.4; charset=utf-8", body, head_only);
    evbuffer_free(body);
}

static void page_status(struct conn *c, bool head_only)
{
    const struct admin_http *h = c->http;
    struct evbuffer *body = evbuffer_new();
    if (h->ops->status)
        h->ops->status(h->arg, body);
    else
        evbuffer_add_printf(body, "{}\n");
    answer(c, 200, "application/json", body, head_only);
    evbuffer_free(body);
}

static const struct page {
    const char *path;
    void (*show)(struct conn *c, bool head_only);
} pages[] = {
    {"/", page_root},           {"/healthz", page_healthz}, {"/readyz", page_readyz},
    {"/metrics", page_metrics}, {"/status", page_status},
};

/* ---- the request ---- */

/* "GET /metrics?x HTTP/1.1": the line is cut into its words. False: it is not such a line. */
static bool cut_request_line(char *line, char **method, char **path)
{
    for (const char *p = line; *p; p++) {
        if (*p < ' ' || *p > '~')
            return false;
    }
    char *rest = line;
    *method = strsep(&rest, " ");
    *path = strsep(&rest, " ");
    if (!*path || !rest || **path != '/' || (strcmp(rest, "HTTP/1.1") != 0 && strcmp(rest, "HTTP/1.0") != 0))
        return false;
    (*path)[strcspn(*path, "?")] = '\0';
    return true;
}

static void handle(struct conn *c, char *line)
{
    char *method, *path;
    if (!cut_request_line(line, &method, &path)) {
        answer_text(c, 400, false, "this is not HTTP/1.1 or 1.0");
        return;
    }
    bool head_only = strcmp(method, "HEAD") == 0;
    if (!head_only && strcmp(method, "GET") != 0) {
        answer_text(c, 405, false, "only GET and HEAD");
        return;
    }
    for (unsigned i = 0; i < sizeof pages / sizeof *pages; i++) {
        if (strcmp(path, pages[i].path) == 0) {
            pages[i].show(c, head_only);
            return;
        }
    }
    answer_text(c, 404, head_only, "no such page; / lists what is here");
}

/* Copies the first line out, without its end. False: there is none yet. A NUL in it stays, as a '?' that no request
 * line has room for: it is not to look like the line's end. */
static bool first_line(struct evbuffer *in, char line[HEAD_BYTES_MAX])
{
    size_t eol_len;
    struct evbuffer_ptr eol = evbuffer_search_eol(in, NULL, &eol_len, EVBUFFER_EOL_CRLF);
    if (eol.pos < 0 || eol.pos >= HEAD_BYTES_MAX)
        return false;
    size_t len = (size_t)eol.pos;
    evbuffer_copyout(in, line, len);
    line[len] = '\0';
    for (size_t i = 0; i < len; i++) {
        if (line[i] == '\0')
            line[i] = '\x7f';
    }
    return true;
}

static bool head_complete(struct evbuffer *in)
{
    return evbuffer_search(in, "\r\n\r\n", 4, NULL).pos >= 0 || evbuffer_search(in, "\n\n", 2, NULL).pos >= 0;
}

/* False: more bytes must come first, or the request was answered. */
static bool past_proxy_header(struct conn *c, struct evbuffer *in)
{
    size_t len = evbuffer_get_length(in), used = 0;
    if (c->begun || len == 0)
        return true;
    len = len < PROXY_MAX ? len : PROXY_MAX;
    struct proxy_header header;
    const char *why = NULL;
    enum err e = proxy_parse(evbuffer_pullup(in, (ev_ssize_t)len), len, &header, &used, &why);
    if (e == ERR_AGAIN)
        return false;
    c->begun = true;
    if (e == ERR_OK)
        evbuffer_drain(in, used);
    else if (e != ERR_NOT_FOUND)
        answer_text(c, 400, false, why);
    return !c->answered;
}

static void on_read(struct bufferevent *bev, void *arg)
{
    struct conn *c = arg;
    struct evbuffer *in = bufferevent_get_input(bev);
    if (c->answered) {
        /* Closing with bytes unread would reset the connection under the answer that is still on its way. */
        c->drained += evbuffer_get_length(in);
        evbuffer_drain(in, evbuffer_get_length(in));
        if (c->drained > LINGER_BYTES_MAX)
            conn_free(c);
        return;
    }
    char line[HEAD_BYTES_MAX];
    char *method, *path;
    bool ready = past_proxy_header(c, in), has_line = ready && first_line(in, line);
    if (!ready) {
        if (!c->answered)
            return;
    } else if (has_line && head_complete(in)) {
        handle(c, line);
    } else if (evbuffer_get_length(in) >= HEAD_BYTES_MAX) {
        answer_text(c, 431, false, "more than 8 KiB before the end of the headers");
    } else if (has_line && !cut_request_line(line, &method, &path)) {
        answer_text(c, 400, false, "this is not HTTP/1.1 or 1.0"); /* garbage need not wait for its end */
    }
    if (c->answered)
        evbuffer_drain(in, evbuffer_get_length(in));
}

static void on_written(struct bufferevent *bev, void *arg)
{
    struct conn *c = arg;
    if (c->eof)
        conn_free(c);
    else if (c->answered)
        shutdown(bufferevent_getfd(bev), SHUT_WR); /* the peer closes, or the deadline does */
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    struct conn *c = arg;
    if ((what & BEV_EVENT_EOF) && c->answered && evbuffer_get_length(bufferevent_get_output(bev)) > 0)
        c->eof = true; /* as `nc` does: its request, then the end; on_written() closes */
    else
        conn_free(c);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    conn_free(arg);
}

/* ---- listening ---- */

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *from, int from_len, void *arg)
{
    (void)l, (void)from, (void)from_len;
    struct admin_http *h = arg;
    if (h->n_conns == CONNS_MAX) {
        metric_add(h->dropped, 1);
        conn_free(h->conns);
    }
    struct conn *c = mem_zalloc(sizeof *c);
    c->http = h;
    c->bev = bufferevent_socket_new(h->base, fd, BEV_OPT_CLOSE_ON_FREE);
    c->deadline = evtimer_new(h->base, on_deadline, c);
    if (!c->bev || !c->deadline) {
        log_error("out_of_memory what=admin_connection");
        abort();
    }
    DL_APPEND(h->conns, c);
    h->n_conns++;
    evtimer_add(c->deadline, &h->life);
    bufferevent_setwatermark(c->bev, EV_READ, 0, HEAD_BYTES_MAX);
    bufferevent_setcb(c->bev, on_read, on_written, on_event, c);
    bufferevent_enable(c->bev, EV_READ);
}

/* Out of files, most likely. The listener would be ready again at once, for ever. */
static void on_accept_error(struct evconnlistener *l, void *arg)
{
    struct admin_http *h = arg;
    log_warn("admin_accept_failed errno=%d", errno);
    evconnlistener_disable(l);
    evtimer_add(h->resume, &(struct timeval){.tv_usec = ACCEPT_PAUSE_MS * 1000});
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    evconnlistener_enable(((struct admin_http *)arg)->listener);
}

/* No names but localhost: looking one up blocks, and an admin page belongs to an address. */
static bool parse_address(const char *text, struct sockaddr_storage *out, int *len)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
    char host[64];
    const char *colon = strrchr(text, ':');
    if (!colon || (size_t)(colon - text) >= sizeof host)
        return false;
    size_t digits = strspn(colon + 1, "0123456789");
    unsigned long port = strtoul(colon + 1, NULL, 10);
    if (digits == 0 || digits > 5 || colon[1 + digits] || port > UINT16_MAX)
        return false;
    size_t host_len = (size_t)(colon - text);
    memcpy(host, text, host_len);
    host[host_len] = '\0';

    if (host_len > 2 && host[0] == '[' && host[host_len - 1] == ']') {
        host[host_len - 1] = '\0';
        *v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
        *len = sizeof *v6;
        return inet_pton(AF_INET6, host + 1, &v6->sin6_addr) == 1;
    }
    const char *address = host_len == 0 ? "0.0.0.0" : strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
    *v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    *len = sizeof *v4;
    return inet_pton(AF_INET, address, &v4->sin_addr) == 1;
}

enum err admin_http_open(struct event_base *base, const char *host_port, const struct admin_ops *ops, void *arg,
                         struct admin_http **out, char *why, size_t why_bytes)
{
    struct sockaddr_storage at = {0};
    int at_len;
    if (!parse_address(host_port, &at, &at_len)) {
        snprintf(why, why_bytes, "admin: %.100s is not ADDRESS:PORT", host_port);
        return ERR_BAD;
    }
    struct admin_http *h = mem_zalloc(sizeof *h);
    h->base = base;
    h->ops = ops;
    h->arg = arg;
    h->listener =
        evconnlistener_new_bind(base, on_accept, h, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE,
                                CONNS_MAX, (struct sockaddr *)&at, at_len);
    if (!h->listener) {
        snprintf(why, why_bytes, "admin: cannot listen on %.100s: %s", host_port, strerror(errno));
        free(h);
        return ERR_IO;
    }
    evconnlistener_set_error_cb(h->listener, on_accept_error);
    admin_http_set_life(h, LIFE_MS);
    h->resume = evtimer_new(base, on_resume, h);
    assert(h->resume);
    h->dropped = metrics_counter("spotcraft_admin_connections_dropped_total",
                                 "Connections to the admin pages that were closed to make room for a newer one", NULL);
    *out = h;
    return ERR_OK;
}

void admin_http_set_life(struct admin_http *h, uint32_t ms)
{
    h->life = (struct timeval){.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
}

uint16_t admin_http_port(const struct admin_http *h)
{
    struct sockaddr_storage at = {0};
    socklen_t len = sizeof at;
    if (getsockname(evconnlistener_get_fd(h->listener), (struct sockaddr *)&at, &len) != 0)
        return 0;
    return ntohs(at.ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)&at)->sin6_port
                                          : ((const struct sockaddr_in *)&at)->sin_port);
}

void admin_http_close(struct admin_http *h)
{
    if (!h)
        return;
    while (h->conns)
        conn_free(h->conns);
    event_free(h->resume);
    evconnlistener_free(h->listener);
    free(h);
}
