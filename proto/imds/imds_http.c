#include "proto/imds/imds_http.h"

#include <assert.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/base/log.h"
#include "proto/base/mem.h"

enum { HEADERS_MAX = 8 << 10, BODY_MAX = 16 << 10, PATH_MAX_BYTES = 512, HEADER_MAX = 64, VALUE_MAX = 640 };

struct imds_http {
    struct event_base *base;
    struct evdns_base *dns;
    char host[256], host_header[280];
    uint16_t port;
    struct timeval timeout;
    imds_http_cb *cb;
    void *arg;

    struct evhttp_connection *con; /* NULL: none is open */
    bool used;                     /* it has answered before */
    struct event *deadline, *finish;

    /* The request, for a second try, and what came of it. */
    bool asking, put, retried;
    bool sent; /* some of it left, so somebody took the connection */
    char path[PATH_MAX_BYTES], header[HEADER_MAX], value[VALUE_MAX];
    enum imds_result result;
    int status;
    char body[BODY_MAX + 1], ttl[32], date[64];
    size_t len;
};

static void drop(struct imds_http *h)
{
    if (h->con)
        evhttp_connection_free(h->con);
    h->con = NULL;
    h->used = false;
}

static bool is_connected(struct imds_http *h)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof peer;
    int fd = h->con ? bufferevent_getfd(evhttp_connection_get_bufferevent(h->con)) : -1;
    return fd >= 0 && getpeername(fd, (struct sockaddr *)&peer, &len) == 0;
}

/* What came is used by on_finish(), from the loop: here libevent still stands on the connection. */
static void finish(struct imds_http *h, enum imds_result result)
{
    h->result = result;
    event_active(h->finish, EV_TIMEOUT, 0);
}

static void copy_header(char *out, size_t bytes, struct evhttp_request *req, const char *name)
{
    const char *v = evhttp_find_header(evhttp_request_get_input_headers(req), name);
    snprintf(out, bytes, "%s", v ? v : "");
}

static void on_answer(struct evhttp_request *req, void *arg)
{
    struct imds_http *h = arg;
    if (!req) /* on_error() was told why */
        return;
    h->status = evhttp_request_get_response_code(req);
    if (!h->status) {
        finish(h, IMDS_UNREACHABLE);
        return;
    }
    ev_ssize_t n = evbuffer_remove(evhttp_request_get_input_buffer(req), h->body, BODY_MAX);
    h->len = n > 0 ? (size_t)n : 0;
    h->body[h->len] = '\0';
    copy_header(h->ttl, sizeof h->ttl, req, "X-aws-ec2-metadata-token-ttl-seconds");
    copy_header(h->date, sizeof h->date, req, "Date");
    finish(h, IMDS_ANSWERED);
}

/* The end of a connection and one that never came about (no route; refused is told otherwise) are one to libevent. */
static void on_error(enum evhttp_request_error e, void *arg)
{
    struct imds_http *h = arg;
    switch (e) {
    case EVREQ_HTTP_TIMEOUT:
        finish(h, IMDS_UNANSWERED);
        break;
    case EVREQ_HTTP_INVALID_HEADER:
    case EVREQ_HTTP_DATA_TOO_LONG:
        finish(h, IMDS_BROKEN);
        break;
    case EVREQ_HTTP_EOF:
    case EVREQ_HTTP_BUFFER_ERROR:
    case EVREQ_HTTP_REQUEST_CANCEL:
        finish(h, h->sent || h->used ? IMDS_CLOSED : IMDS_UNREACHABLE);
        break;
    }
}

static void on_sent(struct evbuffer *out, const struct evbuffer_cb_info *change, void *arg)
{
    (void)out;
    struct imds_http *h = arg;
    h->sent |= change->n_deleted > 0;
}

static void send_request(struct imds_http *h)
{
    if (!h->con) {
        h->con = evhttp_connection_base_new(h->base, h->dns, h->host, h->port);
        assert(h->con); /* no memory */
        evhttp_connection_set_max_headers_size(h->con, HEADERS_MAX);
        evhttp_connection_set_max_body_size(h->con, BODY_MAX);
        evbuffer_add_cb(bufferevent_get_output(evhttp_connection_get_bufferevent(h->con)), on_sent, h);
    }
    h->sent = false;
    struct evhttp_request *req = evhttp_request_new(on_answer, h);
    assert(req);
    evhttp_request_set_error_cb(req, on_error);
    struct evkeyvalq *headers = evhttp_request_get_output_headers(req);
    evhttp_add_header(headers, "Host", h->host_header);
    evhttp_add_header(headers, "User-Agent", "spotcraft");
    if (h->put)
        evhttp_add_header(headers, "Content-Length", "0");
    if (h->header[0])
        evhttp_add_header(headers, h->header, h->value);
    if (evhttp_make_request(h->con, req, h->put ? EVHTTP_REQ_PUT : EVHTTP_REQ_GET, h->path) != 0)
        finish(h, IMDS_UNREACHABLE); /* the request is freed */
}

static void report(struct imds_http *h)
{
    struct imds_answer a = {.result = h->result, .body = "", .token_ttl = "", .date = ""};
    if (h->result == IMDS_ANSWERED) {
        a.status = h->status;
        a.body = h->body;
        a.len = h->len;
        a.token_ttl = h->ttl;
        a.date = h->date;
        h->used = true;
    } else {
        drop(h);
    }
    evtimer_del(h->deadline);
    event_del(h->finish);
    h->asking = false;
    h->cb(h->arg, &a);
}

static void on_finish(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct imds_http *h = arg;
    if (h->result == IMDS_CLOSED && h->used && !h->retried) { /* closed while it was idle */
        h->retried = true;
        drop(h);
        send_request(h);
        return;
    }
    report(h);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct imds_http *h = arg;
    h->result = is_connected(h) ? IMDS_UNANSWERED : IMDS_UNREACHABLE;
    report(h);
}

void imds_http_ask(struct imds_http *h, bool put, const char *path, const char *header, const char *value)
{
    assert(!h->asking);
    h->asking = true;
    h->put = put;
    h->retried = false;
    h->result = IMDS_CLOSED;
    h->status = 0;
    h->len = 0;
    snprintf(h->path, sizeof h->path, "%s", path);
    snprintf(h->header, sizeof h->header, "%s", header ? header : "");
    snprintf(h->value, sizeof h->value, "%s", value ? value : "");
    evtimer_add(h->deadline, &h->timeout);
    send_request(h);
}

struct imds_http *imds_http_new(struct event_base *base, struct evdns_base *dns, const char *host, uint16_t port,
                                uint32_t timeout_ms, imds_http_cb *cb, void *arg)
{
    struct imds_http *h = mem_zalloc(sizeof *h);
    h->base = base;
    h->dns = dns;
    h->port = port;
    h->cb = cb;
    h->arg = arg;
    h->timeout = (struct timeval){.tv_sec = timeout_ms / 1000, .tv_usec = (suseconds_t)(timeout_ms % 1000) * 1000};
    snprintf(h->host, sizeof h->host, "%s", host);
    bool v6 = strchr(host, ':') != NULL;
    if (port == 80)
        snprintf(h->host_header, sizeof h->host_header, v6 ? "[%s]" : "%s", host);
    else
        snprintf(h->host_header, sizeof h->host_header, v6 ? "[%s]:%u" : "%s:%u", host, port);
    h->deadline = evtimer_new(base, on_deadline, h);
    h->finish = evtimer_new(base, on_finish, h);
    if (!h->deadline || !h->finish) {
        log_error("out_of_memory what=metadata_client");
        abort();
    }
    return h;
}

void imds_http_free(struct imds_http *h)
{
    if (!h)
        return;
    drop(h);
    event_free(h->deadline);
    event_free(h->finish);
    free(h);
}
