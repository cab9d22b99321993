#include "gateway/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uthash.h>

#include "gateway/origin.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/base/metrics.h"

enum {
    READ_BYTES = 64 << 10,   /* offered to the gateway at a time, and read(2) at a time */
    READS_PER_WAKE = 4,      /* then the others get their turn */
    WRITE_BYTES = 256 << 10, /* one writev(2) */
    GOODBYE_S = 2,           /* for what is queued when a socket is closed */
    BACKLOG = 1024,
    KEEPALIVE_S = 60,
    WARN_MS = 1000,
    HEADER_MS = 5000 /* for the PROXY headers, and the first byte of the player's */
};

struct player {
    struct listener *listener;
    uint64_t id;
    struct bufferevent *bev;
    struct event *work; /* what waits for the loop: reading on, or the end; before it is admitted also its deadline */
    struct origin origin;
    uint64_t admit_until_ms; /* 0: it is admitted, the gateway knows it */
    uint8_t place[ORIGIN_KEY_BYTES];
    bool paused;       /* the gateway does not read it */
    bool closing;      /* the gateway, or the door, is done with it */
    bool done;         /* nothing more is sent: free it */
    const char *ended; /* how its stream ended, while bytes that came before are still to be read */
    UT_hash_handle hh;
};

struct listener {
    struct event_base *base;
    struct evconnlistener *accept; /* NULL: the port was left */
    struct gateway *gateway;
    struct player *players;
    struct origins *origins;
    unsigned proxy_headers;
    uint32_t header_ms;
    uint64_t last_player, file_limit, warned_ms;
    struct metric *accepted, *checks;
};

static struct player *find(struct listener *l, uint64_t id)
{
    struct player *p;
    HASH_FIND(hh, l->players, &id, sizeof id, p);
    return p;
}

static void player_free(struct player *p)
{
    HASH_DEL(p->listener->players, p);
    origins_give_back(p->listener->origins, p->place);
    bufferevent_free(p->bev);
    event_free(p->work);
    free(p);
}

/* From anywhere: the loop comes to it. */
static void wake(struct player *p)
{
    event_active(p->work, EV_TIMEOUT, 0);
}

/* At most a line a second: who comes wrongly may come often. */
static bool may_warn(struct listener *l)
{
    uint64_t now = clock_mono_ms();
    if (l->warned_ms && now - l->warned_ms < WARN_MS)
        return false;
    l->warned_ms = now;
    return true;
}

static struct metric *refused(const char *reason)
{
    char label[96];
    snprintf(label, sizeof label, "reason=\"%s\"", reason);
    return metrics_counter("spotcraft_players_refused_total", "Connections of players that were refused.", label);
}

/* One that is not admitted is looked at again when its time is over. */
static void arm_deadline(struct player *p)
{
    uint64_t now = clock_mono_ms(), left = p->admit_until_ms > now ? p->admit_until_ms - now : 0;
    event_add(p->work, &(struct timeval){(time_t)(left / 1000), (suseconds_t)(left % 1000) * 1000});
}

static void finish(struct player *p)
{
    const struct timeval goodbye = {.tv_sec = GOODBYE_S};
    p->closing = true;
    bufferevent_disable(p->bev, EV_READ);
    if (p->ended || evbuffer_get_length(bufferevent_get_output(p->bev)) == 0) {
        p->done = true;
        wake(p);
        return;
    }
    bufferevent_set_timeouts(p->bev, NULL, &goodbye);
}

/* ---- the door: who comes, and may he? ---- */

/* The gateway never heard of it. sorry: for the player, NULL: nothing, there is none. */
static void turn_away(struct player *p, const char *reason, const char *sorry)
{
    char from[ORIGIN_TEXT_MAX], peer[ORIGIN_TEXT_MAX];
    p->admit_until_ms = 0;
    metric_add(refused(reason), 1);
    if (may_warn(p->listener))
        log_warn("player_refused why=\"%s\" from=%s peer=%s", reason, origin_text(&p->origin.from, from),
                 origin_text(&p->origin.peer, peer));
    if (sorry && !p->ended)
        bufferevent_write(p->bev, sorry, strlen(sorry));
    finish(p);
}

static void admit(struct player *p)
{
    struct listener *l = p->listener;
    char from[ORIGIN_TEXT_MAX], peer[ORIGIN_TEXT_MAX];
    if (!origins_take(l->origins, &p->origin, p->place)) {
        turn_away(p, "too many from one address",
                  "T,Too many players come from your address. Please try again later.\n");
        return;
    }
    p->admit_until_ms = 0;
    metric_add(l->accepted, 1);
    origin_text(&p->origin.from, from);
    if (p->origin.headers)
        log_debug("proxied from=%s peer=%s headers=%u endpoint=%s", from, origin_text(&p->origin.peer, peer),
                  p->origin.headers, p->origin.endpoint);
    gateway_player_new(l->gateway, p->id, from);
}

/* It ended, or its time is over, and it was no player yet. */
static void was_nobody(struct player *p)
{
    const bool header_begun = evbuffer_get_length(bufferevent_get_input(p->bev)) > 0;
    if (p->origin.local || (p->ended && !header_begun)) {
        metric_add(p->listener->checks, 1);
        p->admit_until_ms = 0;
        finish(p);
    } else {
        turn_away(p,
                  p->ended            ? "ended within its PROXY header"
                  : p->origin.headers ? "said nothing in time"
                                      : "no whole PROXY header in time",
                  NULL);
    }
}

/* The PROXY headers, as far as they have come. True: it is settled who this is. */
static bool ask_who(struct player *p)
{
    struct evbuffer *in = bufferevent_get_input(p->bev);
    const size_t len = evbuffer_get_length(in);
    const char *why = NULL;
    size_t used;
    enum err e = origin_take(&p->origin, p->listener->proxy_headers, evbuffer_pullup(in, -1), len, &used, &why);
    evbuffer_drain(in, used);
    if (e == ERR_OK)
        admit(p);
    else if (e == ERR_BAD)
        turn_away(p, why, "T,This server is reached another way.\n");
    else if (p->ended || clock_mono_ms() >= p->admit_until_ms)
        was_nobody(p);
    return p->admit_until_ms == 0;
}

/* ---- reading ---- */

/* Offers what has come. True: there is more to offer at once. */
static bool offer(struct player *p)
{
    struct evbuffer *in = bufferevent_get_input(p->bev);
    for (unsigned n = 0; n < READS_PER_WAKE; n++) {
        size_t len = evbuffer_get_length(in);
        if (len == 0 || p->paused || p->closing)
            return false;
        len = len < READ_BYTES ? len : READ_BYTES;
        const char *data = (const char *)evbuffer_pullup(in, (ev_ssize_t)len);
        size_t used = gateway_player_bytes(p->listener->gateway, p->id, data, len);
        evbuffer_drain(in, used);
        if (used == 0)
            return false; /* part of a line, or not read */
    }
    return true;
}

static void read_on(struct player *p)
{
    if (p->closing || (p->admit_until_ms && !ask_who(p)) || p->closing)
        return;
    if (offer(p)) {
        wake(p);
        return;
    }
    if (p->ended && !p->paused && !p->closing) {
        gateway_player_gone(p->listener->gateway, p->id, p->ended);
        p->closing = p->done = true;
        wake(p);
    }
}

static void on_read(struct bufferevent *bev, void *arg)
{
    (void)bev;
    read_on(arg);
}

static void on_work(evutil_socket_t fd, short what, void *arg)
{
    struct player *p = arg;
    (void)fd;
    (void)what;
    if (p->done) {
        player_free(p);
        return;
    }
    read_on(p);
    if (p->admit_until_ms)
        arm_deadline(p);
}

/* ---- writing and ending ---- */

static void on_written(struct bufferevent *bev, void *arg)
{
    struct player *p = arg;
    /* Deferred, it may be from before the last words were queued. */
    if (p->closing && evbuffer_get_length(bufferevent_get_output(bev)) == 0) {
        p->done = true;
        wake(p);
    }
}

static const char *how_it_ended(short what)
{
    if (what & BEV_EVENT_EOF)
        return "left";
    return what & BEV_EVENT_TIMEOUT || errno == ETIMEDOUT ? "timed out" : "connection lost";
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    struct player *p = arg;
    const char *how = how_it_ended(what);
    bufferevent_disable(bev, EV_READ | EV_WRITE);
    if (p->closing)
        p->done = true;
    else if (!p->ended)
        p->ended = how;
    wake(p);
}

/* ---- what the gateway asks for ---- */

static void ops_send(void *ctx, uint64_t id, struct blob *b)
{
    struct player *p = find(ctx, id);
    if (p && !p->closing && !p->ended)
        blob_add_to(b, bufferevent_get_output(p->bev));
}

static void ops_write(void *ctx, uint64_t id, const void *data, size_t len)
{
    struct player *p = find(ctx, id);
    if (p && !p->closing && !p->ended)
        bufferevent_write(p->bev, data, len);
}

static size_t ops_queued(void *ctx, uint64_t id)
{
    struct player *p = find(ctx, id);
    return p ? evbuffer_get_length(bufferevent_get_output(p->bev)) : 0;
}

static void ops_close(void *ctx, uint64_t id, const char *why)
{
    struct player *p = find(ctx, id);
    (void)why; /* the gateway logs it */
    if (p && !p->closing)
        finish(p);
}

static void ops_read(void *ctx, uint64_t id, bool on)
{
    struct player *p = find(ctx, id);
    if (!p || p->closing || p->paused == !on)
        return;
    p->paused = !on;
    if (p->ended) {
        wake(p);
    } else if (on) {
        bufferevent_enable(p->bev, EV_READ);
        wake(p);
    } else {
        bufferevent_disable(p->bev, EV_READ);
    }
}

const struct player_ops listener_player_ops = {ops_send, ops_write, ops_queued, ops_close, ops_read};

/* ---- accepting ---- */

static void tune(evutil_socket_t fd)
{
    const int on = 1, idle_s = KEEPALIVE_S, every_s = KEEPALIVE_S / 4, probes = 4;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    /* An idle client says nothing for hours; only this finds out that it is dead. */
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof every_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

/* Descriptors are given out from the lowest: this one says how many are in use. */
static bool too_many_files(struct listener *l, evutil_socket_t fd)
{
    static const char sorry[] = "T,This server is full. Please try again in a while.\n";
    if ((uint64_t)fd + LISTENER_RESERVE < l->file_limit)
        return false;
    metric_add(refused("descriptors are short"), 1);
    if (may_warn(l))
        log_warn("player_refused why=\"descriptors are short\" players=%u file_limit=%" PRIu64, HASH_COUNT(l->players),
                 l->file_limit);
    if (send(fd, sorry, sizeof sorry - 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        log_debug("player_refused without a word: %s", strerror(errno));
    close(fd);
    return true;
}

static void on_accept(struct evconnlistener *accept, evutil_socket_t fd, struct sockaddr *addr, int len, void *arg)
{
    struct listener *l = arg;
    (void)accept;
    if (too_many_files(l, fd))
        return;
    tune(fd);
    struct player *p = mem_zalloc(sizeof *p);
    p->listener = l;
    p->id = ++l->last_player;
    origin_begin(&p->origin, addr, (size_t)len);
    p->bev = bufferevent_socket_new(l->base, fd, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
    p->work = event_new(l->base, -1, 0, on_work, p);
    if (!p->bev || !p->work) {
        log_error("out of memory for a socket");
        abort();
    }
    bufferevent_set_max_single_read(p->bev, READ_BYTES);
    bufferevent_set_max_single_write(p->bev, WRITE_BYTES);
    bufferevent_setwatermark(p->bev, EV_READ, 0, READ_BYTES); /* what is not taken stays in the kernel */
    bufferevent_setcb(p->bev, on_read, on_written, on_event, p);
    HASH_ADD(hh, l->players, id, sizeof p->id, p);
    bufferevent_enable(p->bev, EV_READ | EV_WRITE);
    if (l->proxy_headers == 0) {
        admit(p);
        return;
    }
    p->admit_until_ms = clock_mono_ms() + l->header_ms;
    arm_deadline(p);
}

static void on_accept_error(struct evconnlistener *accept, void *arg)
{
    struct listener *l = arg;
    const int e = errno;
    (void)accept;
    if (may_warn(l))
        log_warn("accept_failed why=\"%s\" players=%u file_limit=%" PRIu64, strerror(e), HASH_COUNT(l->players),
                 l->file_limit);
}

static uint64_t system_file_limit(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 1024;
}

/* "1.2.3.4:port" or "[::1]:port"; libevent's own parser has no port 0. */
static bool parse_address(const char *text, struct sockaddr_storage *out, int *len)
{
    const char *colon = strrchr(text, ':');
    char host[INET6_ADDRSTRLEN + 2];
    char *end;
    memset(out, 0, sizeof *out);
    if (!colon || colon == text || (size_t)(colon - text) >= sizeof host)
        return false;
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (colon[1] < '0' || colon[1] > '9' || *end || port > UINT16_MAX)
        return false;
    bool v6 = text[0] == '[' && colon[-1] == ']';
    snprintf(host, sizeof host, "%.*s", (int)(colon - text) - (v6 ? 2 : 0), text + (v6 ? 1 : 0));
    if (v6) {
        struct sockaddr_in6 *in = (void *)out;
        *len = sizeof *in;
        in->sin6_family = AF_INET6;
        in->sin6_port = htons((uint16_t)port);
        return inet_pton(AF_INET6, host, &in->sin6_addr) == 1;
    }
    struct sockaddr_in *in = (void *)out;
    *len = sizeof *in;
    in->sin_family = AF_INET;
    in->sin_port = htons((uint16_t)port);
    return inet_pton(AF_INET, host, &in->sin_addr) == 1;
}

enum err listener_open(const struct listener_conf *conf, struct listener **out, char *why, size_t why_bytes)
{
    struct sockaddr_storage at;
    int len;
    const unsigned flags =
        LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE | LEV_OPT_REUSEABLE_PORT | LEV_OPT_DISABLED;
    if (!parse_address(conf->address, &at, &len)) {
        snprintf(why, why_bytes, "listen: %s is not a numeric host:port", conf->address);
        return ERR_BAD;
    }
    struct listener *l = mem_zalloc(sizeof *l);
    l->accept = evconnlistener_new_bind(conf->base, on_accept, l, flags, BACKLOG, (struct sockaddr *)&at, len);
    if (!l->accept) {
        snprintf(why, why_bytes, "cannot listen on %s: %s", conf->address, strerror(errno));
        free(l);
        return ERR_IO;
    }
    l->base = conf->base;
    l->file_limit = conf->files ? conf->files : system_file_limit();
    l->proxy_headers = conf->proxy_headers;
    l->header_ms = conf->header_ms ? conf->header_ms : HEADER_MS;
    l->origins = origins_new(conf->address_max);
    l->accepted = metrics_counter("spotcraft_players_accepted_total", "Sockets of players that were accepted.", NULL);
    l->checks = metrics_counter("spotcraft_proxy_checks_total",
                                "Connections that ended before a player spoke: health checks of load balancers.", NULL);
    refused("descriptors are short"); /* the name is to be seen before it happens */
    evconnlistener_set_error_cb(l->accept, on_accept_error);
    *out = l;
    return ERR_OK;
}

void listener_start(struct listener *l, struct gateway *g)
{
    l->gateway = g;
    evconnlistener_enable(l->accept);
}

int listener_port(const struct listener *l)
{
    struct sockaddr_storage at;
    socklen_t len = sizeof at;
    if (getsockname(evconnlistener_get_fd(l->accept), (struct sockaddr *)&at, &len) != 0)
        return 0;
    return at.ss_family == AF_INET6 ? ntohs(((const struct sockaddr_in6 *)(const void *)&at)->sin6_port)
                                    : ntohs(((const struct sockaddr_in *)(const void *)&at)->sin_port);
}

/* The kernel resets who is still in the queue of a socket that is closed. */
void listener_leave_port(struct listener *l)
{
    struct sockaddr_storage from;
    socklen_t len = sizeof from;
    int fd;
    if (!l->accept)
        return;
    while ((fd = accept4(evconnlistener_get_fd(l->accept), (struct sockaddr *)&from, &len,
                         SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        on_accept(l->accept, fd, (struct sockaddr *)&from, (int)len, l);
        len = sizeof from;
    }
    evconnlistener_free(l->accept);
    l->accept = NULL;
}

void listener_close(struct listener *l)
{
    struct player *p, *next;
    if (!l)
        return;
    if (l->accept)
        evconnlistener_free(l->accept);
    HASH_ITER (hh, l->players, p, next)
        player_free(p);
    origins_free(l->origins);
    free(l);
}
