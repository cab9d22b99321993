#include "proto/wire/peer.h"

#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/base/metrics.h"
#include "proto/wire/frame.h"

enum {
    FRAMES_PER_WAKE = 64,
    READ_BYTES = 64 << 10,   /* one read(2) */
    WRITE_BYTES = 256 << 10, /* one writev(2): what a loop turn queued leaves together */
    WHO_MAX = 127,
    WHY_MAX = 95
};

struct counters {
    uint64_t frames, bytes;
    struct metric *frames_total, *bytes_total;
};

struct peer {
    struct peer_conf conf;
    const struct peer_ops *ops;
    void *owner;
    struct bufferevent *bev;
    struct event *reap, *ping;
    struct counters in, out;
    uint64_t opened_ms;
    size_t unproved_bytes; /* read so far, while not proved */
    unsigned silent_pings; /* sent since the last byte came in */
    bool proved, held, refused, closing;
    const char *ended; /* how the stream ended, while what came before is still being told */
    char who[WHO_MAX + 1], why[WHY_MAX + 1];
};

static void count(struct counters *c, size_t bytes)
{
    c->frames++;
    c->bytes += bytes;
    metric_add(c->frames_total, 1);
    metric_add(c->bytes_total, (double)bytes);
}

/* ---- closing ---- */

/* The free waits for the loop, so that no caller up the stack is left with a corpse. */
void peer_close(struct peer *p, const char *why)
{
    if (p->closing)
        return;
    p->closing = true;
    snprintf(p->why, sizeof(p->why), "%s", why);
    bufferevent_disable(p->bev, EV_READ | EV_WRITE);
    event_active(p->reap, EV_TIMEOUT, 0);
}

void peer_free(struct peer *p)
{
    if (!p)
        return;
    bufferevent_setcb(p->bev, NULL, NULL, NULL, NULL);
    bufferevent_free(p->bev);
    event_free(p->reap);
    event_free(p->ping);
    free(p);
}

static void on_reap(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct peer *p = arg;
    log_info("link_closed who=%s why=\"%s\" ms=%" PRIu64 " in_frames=%" PRIu64 " in_bytes=%" PRIu64
             " out_frames=%" PRIu64 " out_bytes=%" PRIu64 " unsent_bytes=%zu",
             p->who, p->why, clock_mono_ms() - p->opened_ms, p->in.frames, p->in.bytes, p->out.frames, p->out.bytes,
             peer_queued_bytes(p));
    p->ops->closed(p->owner, p->why, p->refused);
    peer_free(p);
}

/* ---- reading ---- */

static void unsupported(struct peer *p, const struct msg *m)
{
    metric_add(metrics_counter("spotcraft_link_unknown_bodies_total",
                               "Messages of a kind that this process does not know, answered with unsupported.", NULL),
               1);
    const struct msg answer = {.kind = MSG_UNSUPPORTED, .request_id = m->request_id, .unsupported = (uint32_t)m->kind};
    peer_send_msg(p, &answer);
}

static void take_msg(struct peer *p, const struct msg *m)
{
    switch (p->proved ? m->kind : MSG_HELLO) {
    case MSG_PING: {
        const struct msg pong = {.kind = MSG_PONG, .stamp = m->stamp};
        peer_send_msg(p, &pong);
        break;
    }
    case MSG_PONG: /* any byte was a sign of life already */
        break;
    case MSG_UNSUPPORTED:
        log_warn("link_unsupported who=%s body=%" PRIu32, p->who, m->unsupported);
        break;
    default:
        p->ops->msg(p->owner, m);
    }
}

static void take_frame(struct peer *p, const struct frame *f)
{
    struct msg m;
    const char *why;
    count(&p->in, f->wire_len);
    arena_reset(p->conf.arena);
    enum err e = msg_decode(f->data, f->len, p->conf.arena, &m, &why);
    if (e == ERR_OK)
        take_msg(p, &m);
    else if (e == ERR_UNSUPPORTED && p->proved)
        unsupported(p, &m);
    else
        peer_close(p, why);
}

static size_t frame_bytes_max(const struct peer *p)
{
    return p->proved ? MSG_BYTES_MAX : UNPROVED_BYTES_MAX - p->unproved_bytes;
}

static void on_read(struct bufferevent *bev, void *arg)
{
    struct peer *p = arg;
    struct evbuffer *in = bufferevent_get_input(bev);
    p->silent_pings = 0;
    for (unsigned n = 0; n < FRAMES_PER_WAKE && !p->closing && !p->held; n++) {
        struct frame f;
        enum err e = frame_peek(in, frame_bytes_max(p), &f);
        if (e == ERR_AGAIN && !p->ended)
            return;
        if (e != ERR_OK) {
            peer_close(p, e == ERR_AGAIN ? p->ended : e == ERR_TOO_BIG ? "frame too big" : "empty frame");
            return;
        }
        if (!p->proved)
            p->unproved_bytes += f.len;
        take_frame(p, &f);
        evbuffer_drain(in, f.wire_len);
    }
    if (!p->closing && !p->held) /* a busy peer waits its turn */
        bufferevent_trigger(bev, EV_READ, BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
}

static void set_socket_options(evutil_socket_t fd)
{
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* fails on other than TCP, which has no such delay */
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    struct peer *p = arg;
    const int error = EVUTIL_SOCKET_ERROR();
    if (what & BEV_EVENT_CONNECTED) {
        set_socket_options(bufferevent_getfd(bev));
        return;
    }
    if (what & BEV_EVENT_EOF)
        p->ended = PEER_ENDED;
    else
        p->ended = error == ECONNREFUSED ? "connection refused" : "connection lost";
    p->refused = !(what & BEV_EVENT_EOF) && error == ECONNREFUSED;
    on_read(bev, p); /* what came before the end still counts */
}

void peer_hold(struct peer *p, bool on)
{
    if (p->held == on || p->closing)
        return;
    p->held = on;
    if (on) {
        bufferevent_disable(p->bev, EV_READ);
        return;
    }
    p->silent_pings = 0;
    if (!p->ended)
        bufferevent_enable(p->bev, EV_READ);
    bufferevent_trigger(p->bev, EV_READ, BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
}

/* ---- sending ---- */

size_t peer_queued_bytes(const struct peer *p)
{
    return evbuffer_get_length(bufferevent_get_output(p->bev));
}

void peer_send(struct peer *p, struct blob *b)
{
    const size_t bytes = FRAME_HEADER_BYTES + b->len;
    if (p->closing)
        return;
    if (peer_queued_bytes(p) + bytes > p->conf.queue_bytes_max) {
        peer_close(p, "send queue full");
        return;
    }
    frame_add(bufferevent_get_output(p->bev), b);
    count(&p->out, bytes);
}

void peer_send_msg(struct peer *p, const struct msg *m)
{
    struct blob *b = msg_encode(m);
    peer_send(p, b);
    blob_unref(b);
}

/* Counts pings and not seconds: a process that was itself stopped for a while has not waited for anybody. A held peer
 * is not read, so its silence means nothing; our pings still tell it that we live. */
static void on_ping(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct peer *p = arg;
    if (!p->held && p->silent_pings >= PINGS_UNANSWERED_MAX) {
        peer_close(p, "no sign of life");
        return;
    }
    p->silent_pings++;
    const struct msg ping = {.kind = MSG_PING, .stamp = clock_mono_us()};
    peer_send_msg(p, &ping);
}

/* ---- making ---- */

struct bufferevent *peer_bufferevent(struct peer *p)
{
    return p->bev;
}

static struct counters counters_for(const char *direction)
{
    return (struct counters){
        .frames_total = metrics_counter("spotcraft_link_frames_total", "Frames between processes.", direction),
        .bytes_total = metrics_counter("spotcraft_link_bytes_total", "Bytes between processes, frame headers included.",
                                       direction)};
}

struct peer *peer_new(const struct peer_conf *c, struct bufferevent *bev, const char *who, const struct peer_ops *ops,
                      void *owner)
{
    struct peer *p = mem_zalloc(sizeof(*p));
    p->conf = *c;
    p->ops = ops;
    p->owner = owner;
    p->bev = bev;
    p->reap = event_new(c->base, -1, 0, on_reap, p);
    p->ping = event_new(c->base, -1, EV_PERSIST, on_ping, p);
    p->in = counters_for("direction=\"in\"");
    p->out = counters_for("direction=\"out\"");
    p->opened_ms = clock_mono_ms();
    peer_set_who(p, who);
    bufferevent_set_max_single_read(bev, READ_BYTES);
    bufferevent_set_max_single_write(bev, WRITE_BYTES);
    bufferevent_setcb(bev, on_read, NULL, on_event, p);
    bufferevent_setwatermark(bev, EV_READ, 0, FRAME_HEADER_BYTES + UNPROVED_BYTES_MAX);
    bufferevent_enable(bev, EV_READ | EV_WRITE);
    if (bufferevent_getfd(bev) >= 0)
        set_socket_options(bufferevent_getfd(bev));
    return p;
}

void peer_set_who(struct peer *p, const char *who)
{
    snprintf(p->who, sizeof(p->who), "%s", who);
}

void peer_proved(struct peer *p)
{
    const struct timeval every = {p->conf.ping_ms / 1000, (suseconds_t)(p->conf.ping_ms % 1000) * 1000};
    p->proved = true;
    bufferevent_setwatermark(p->bev, EV_READ, 0, FRAME_HEADER_BYTES + MSG_BYTES_MAX);
    event_add(p->ping, &every);
}
