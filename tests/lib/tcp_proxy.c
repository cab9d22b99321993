#include "tests/lib/tcp_proxy.h"

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <utlist.h>

#include "proto/base/clock.h"
#include "proto/base/mem.h"

/* Bytes on their way, due at a time. */
struct parcel {
    uint64_t due_ms;
    struct evbuffer *bytes;
    struct parcel *prev, *next;
};

struct side {
    struct wire *wire;
    struct bufferevent *bev;
    struct parcel *coming; /* towards this side, oldest first */
    bool ended;            /* its end came: the other is closed once it has all that was sent before */
};

struct wire {
    struct tcp_proxy *proxy;
    struct side side[2]; /* the one who dialled, the one who was dialled */
    struct wire *prev, *next;
};

struct tcp_proxy {
    struct event_base *base;
    struct evconnlistener *listener;
    struct event *tick;
    struct wire *wires;
    uint16_t port, to_port;
    unsigned lag_ms, tear_bytes;
    bool silent;
};

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void wire_free(struct wire *w, bool reset)
{
    for (int i = 0; i < 2; i++) {
        struct side *s = &w->side[i];
        struct parcel *p, *tmp;
        DL_FOREACH_SAFE (s->coming, p, tmp) {
            evbuffer_free(p->bytes);
            free(p);
        }
        struct linger hard = {.l_onoff = 1};
        if (reset)
            setsockopt(bufferevent_getfd(s->bev), SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        bufferevent_free(s->bev);
    }
    DL_DELETE(w->proxy->wires, w);
    free(w);
}

/* Delivers what is due to one side. False: there is nothing on the way to it any more. */
static bool deliver(struct side *s)
{
    struct tcp_proxy *x = s->wire->proxy;
    struct evbuffer *out = bufferevent_get_output(s->bev);
    while (!x->silent && s->coming && s->coming->due_ms <= clock_mono_ms()) {
        struct parcel *p = s->coming;
        if (x->tear_bytes) {
            if (evbuffer_get_length(out) == 0)
                evbuffer_remove_buffer(p->bytes, out, x->tear_bytes);
        } else {
            evbuffer_add_buffer(out, p->bytes);
        }
        if (evbuffer_get_length(p->bytes))
            break; /* the rest at the next tick */
        DL_DELETE(s->coming, p);
        evbuffer_free(p->bytes);
        free(p);
    }
    return s->coming || evbuffer_get_length(out);
}

static void wire_turn(struct wire *w)
{
    bool left[2] = {deliver(&w->side[0]), deliver(&w->side[1])};
    for (int i = 0; i < 2; i++)
        if (w->side[i].ended && !left[1 - i] && !w->proxy->silent) {
            wire_free(w, false);
            return;
        }
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct tcp_proxy *x = arg;
    struct wire *w, *tmp;
    (void)fd, (void)what;
    DL_FOREACH_SAFE (x->wires, w, tmp)
        wire_turn(w);
}

static void on_read(struct bufferevent *bev, void *arg)
{
    struct side *s = arg;
    struct wire *w = s->wire;
    struct side *to = &w->side[s == &w->side[0]];
    struct parcel *p = mem_zalloc(sizeof *p);
    p->due_ms = clock_mono_ms() + w->proxy->lag_ms;
    p->bytes = evbuffer_new();
    evbuffer_add_buffer(p->bytes, bufferevent_get_input(bev));
    DL_APPEND(to->coming, p);
    deliver(to);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    struct side *s = arg;
    int on = 1;
    if (what & BEV_EVENT_CONNECTED)
        setsockopt(bufferevent_getfd(bev), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    else
        s->ended = true; /* on_tick closes */
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *from, int len, void *arg)
{
    struct tcp_proxy *x = arg;
    struct sockaddr_in to = loopback(x->to_port);
    struct wire *w = mem_zalloc(sizeof *w);
    int on = 1;
    (void)listener, (void)from, (void)len;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    w->proxy = x;
    for (int i = 0; i < 2; i++) {
        w->side[i].wire = w;
        w->side[i].bev = bufferevent_socket_new(x->base, i ? -1 : fd, BEV_OPT_CLOSE_ON_FREE);
        bufferevent_setcb(w->side[i].bev, on_read, NULL, on_event, &w->side[i]);
        bufferevent_enable(w->side[i].bev, EV_READ | EV_WRITE);
    }
    DL_APPEND(x->wires, w);
    if (bufferevent_socket_connect(w->side[1].bev, (struct sockaddr *)&to, sizeof to) != 0)
        w->side[1].ended = true;
}

struct tcp_proxy *tcp_proxy_new(struct event_base *base, uint16_t to_port)
{
    struct tcp_proxy *x = mem_zalloc(sizeof *x);
    struct sockaddr_in any = loopback(0);
    socklen_t len = sizeof any;
    struct timeval every = {.tv_usec = 2000};
    x->base = base;
    x->to_port = to_port;
    x->listener = evconnlistener_new_bind(base, on_accept, x, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, -1,
                                          (struct sockaddr *)&any, sizeof any);
    if (!x->listener || getsockname(evconnlistener_get_fd(x->listener), (struct sockaddr *)&any, &len) != 0)
        abort();
    x->port = ntohs(any.sin_port);
    x->tick = event_new(base, -1, EV_PERSIST, on_tick, x);
    event_add(x->tick, &every);
    return x;
}

void tcp_proxy_free(struct tcp_proxy *x)
{
    if (!x)
        return;
    tcp_proxy_cut(x);
    evconnlistener_free(x->listener);
    event_free(x->tick);
    free(x);
}

void tcp_proxy_cut(struct tcp_proxy *x)
{
    while (x->wires)
        wire_free(x->wires, true);
}

uint16_t tcp_proxy_port(const struct tcp_proxy *x)
{
    return x->port;
}

void tcp_proxy_lag(struct tcp_proxy *x, unsigned ms)
{
    x->lag_ms = ms;
}

void tcp_proxy_tear(struct tcp_proxy *x, unsigned bytes)
{
    x->tear_bytes = bytes;
}

void tcp_proxy_silence(struct tcp_proxy *x, bool on)
{
    x->silent = on;
}

unsigned tcp_proxy_connections(const struct tcp_proxy *x)
{
    const struct wire *w;
    unsigned n = 0;
    DL_FOREACH (x->wires, w)
        n++;
    return n;
}
