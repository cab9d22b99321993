#include "proto/wire/links.h"

#include <assert.h>
#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/dns.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <event2/util.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/base/metrics.h"
#include "proto/wire/convert.h"
#include "proto/wire/peer.h"
#include "proto/wire/proof.h"

enum {
    UNPROVED_MAX = 256,    /* accepted links that have proved nothing yet; more are closed at once */
    ACCEPT_PAUSE_MS = 100, /* when there are no descriptors left */
    HOST_MAX = 255,
    WHO_BYTES = 128
};

struct link {
    uint64_t id;
    struct links *all;
    struct peer *peer;
    struct proof proof;
    struct event *deadline; /* of the proof */
    uint64_t node;          /* dialled: whom we want to reach */
    bool up;
    bool hung_up;  /* its reason is somebody else's words: for the log, not for a metric's label */
    bool replaced; /* dialled: another incarnation answered there, with a proof: the one that we want is gone */
    char address[WHO_BYTES];
    UT_hash_handle hh;
};

struct links {
    struct links_conf conf; /* strings copied */
    const struct net_events *events;
    void *owner;
    struct peer_conf peer_conf;
    struct evconnlistener *listener;
    struct event *accept_again;
    struct link *by_id;
    uint64_t last_id;
    unsigned n_unproved; /* accepted ones */
    bool held;
    const char *failure; /* of the dial that failed() is being called for */
    struct metric *n_up;
};

void links_conf_default(struct links_conf *c)
{
    *c = (struct links_conf){.world = "main",
                             .secret = "",
                             .queue_bytes_max = 64u << 20,
                             .ping_ms = 1000,
                             .dial_ms = 2000,
                             .proof_ms = 5000};
}

static struct timeval ms_timeval(uint32_t ms)
{
    return (struct timeval){ms / 1000, (suseconds_t)(ms % 1000) * 1000};
}

static struct proof_self self_of(const struct links *l)
{
    return (struct proof_self){l->conf.world, l->conf.secret, l->conf.role, l->conf.incarnation};
}

/* ---- addresses ---- */

struct host_port {
    char host[HOST_MAX + 1];
    int port;
};

/* "host:port", "[v6]:port". */
static bool split_address(const char *address, struct host_port *out)
{
    const char *colon = strrchr(address, ':');
    if (!colon)
        return false;
    size_t len = (size_t)(colon - address);
    char *end;
    long port = strtol(colon + 1, &end, 10);
    if (end == colon + 1 || *end || port < 0 || port > UINT16_MAX)
        return false;
    if (len >= 2 && address[0] == '[' && address[len - 1] == ']') {
        address++;
        len -= 2;
    }
    if (len > HOST_MAX)
        return false;
    memcpy(out->host, address, len);
    out->host[len] = 0;
    out->port = (int)port;
    return true;
}

/* A number, without asking anybody: this never blocks. */
static struct evutil_addrinfo *numeric_address(const struct host_port *at)
{
    struct evutil_addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
    struct evutil_addrinfo *found = NULL;
    char port[8];
    snprintf(port, sizeof(port), "%d", at->port);
    return getaddrinfo(at->host[0] ? at->host : "0.0.0.0", port, &hints, &found) == 0 ? found : NULL;
}

/* ---- one link ---- */

static const char *role_name(enum role r)
{
    return r == ROLE_NODE ? "node" : r == ROLE_CONTROL ? "control" : "gateway";
}

static void count_close(const char *why)
{
    char label[160];
    snprintf(label, sizeof(label), "reason=\"%s\"", why);
    metric_add(metrics_counter("spotcraft_link_closes_total", "Links between processes that ended, by reason.", label),
               1);
}

static void link_free(struct link *k)
{
    HASH_DEL(k->all->by_id, k);
    if (!k->up && !k->proof.dialled)
        k->all->n_unproved--;
    if (k->up)
        metric_add(k->all->n_up, -1);
    event_free(k->deadline);
    free(k);
}

static void on_link_closed(void *owner, const char *why, bool refused)
{
    struct link *k = owner;
    struct links *l = k->all;
    const uint64_t id = k->id, node = k->node;
    const bool was_up = k->up, dialled = k->proof.dialled, gone = refused || k->replaced;
    count_close(k->hung_up ? "hung up" : why);
    link_free(k);
    if (was_up)
        l->events->down(l->owner, id, why);
    if (was_up || !dialled)
        return;
    l->failure = why;
    l->events->failed(l->owner, node, gone);
    l->failure = "";
}

static void link_up(struct link *k)
{
    struct links *l = k->all;
    const struct msg_hello *other = &k->proof.other;
    char who[WHO_BYTES * 2];
    snprintf(who, sizeof(who), "%s=%" PRIx64 "@%s", role_name(other->role), other->incarnation, k->address);
    peer_set_who(k->peer, who);
    if (k->proof.dialled && other->incarnation != k->node) {
        k->replaced = true;
        peer_close(k->peer, "another incarnation");
        return;
    }
    event_del(k->deadline);
    k->up = true;
    if (!k->proof.dialled)
        l->n_unproved--;
    metric_add(l->n_up, 1);
    log_info("link_up link=%" PRIu64 " who=%s dialled=%d", k->id, who, k->proof.dialled);
    peer_proved(k->peer);
    peer_hold(k->peer, l->held);
    l->events->up(l->owner, k->id, other->role, other->incarnation);
}

static void on_link_msg(void *owner, const struct msg *m)
{
    struct link *k = owner;
    const struct proof_self self = self_of(k->all);
    if (k->up && m->kind != MSG_HELLO && m->kind != MSG_PROOF) {
        k->all->events->msg(k->all->owner, k->id, m);
    } else if (!k->up && m->kind == MSG_HELLO) {
        struct msg proof;
        const char *why;
        if (proof_on_hello(&k->proof, &self, &m->hello, &proof, &why) == ERR_OK)
            peer_send_msg(k->peer, &proof);
        else
            peer_close(k->peer, why);
    } else if (!k->up && m->kind == MSG_PROOF) {
        if (proof_on_proof(&k->proof, &self, m->mac) == ERR_OK)
            link_up(k);
        else
            peer_close(k->peer, err_text(ERR_AUTH));
    } else {
        peer_close(k->peer, k->up ? "a second hello or proof" : "a message before the proof");
    }
}

static const struct peer_ops link_peer_ops = {on_link_msg, on_link_closed};

static void on_proof_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct link *k = arg;
    peer_close(k->peer, "no proof in time");
}

/* fd -1: to be connected by the caller. */
static struct link *link_new(struct links *l, evutil_socket_t fd, const char *address, uint64_t node, uint32_t proof_ms)
{
    struct link *k = mem_zalloc(sizeof(*k));
    struct bufferevent *bev = bufferevent_socket_new(l->conf.base, fd, BEV_OPT_CLOSE_ON_FREE);
    k->id = ++l->last_id;
    k->all = l;
    k->node = node;
    snprintf(k->address, sizeof(k->address), "%s", address);
    k->peer = peer_new(&l->peer_conf, bev, k->address, &link_peer_ops, k);
    k->deadline = evtimer_new(l->conf.base, on_proof_deadline, k);
    HASH_ADD(hh, l->by_id, id, sizeof(k->id), k);
    const struct timeval deadline = ms_timeval(proof_ms);
    evtimer_add(k->deadline, &deadline);

    const struct proof_self self = self_of(l);
    struct msg hello;
    proof_start(&k->proof, fd < 0);
    proof_hello(&k->proof, &self, &hello);
    peer_send_msg(k->peer, &hello); /* waits in the buffer for the connection */
    if (!k->proof.dialled)
        l->n_unproved++;
    return k;
}

static struct link *link_by_id(struct links *l, uint64_t id)
{
    struct link *k;
    HASH_FIND(hh, l->by_id, &id, sizeof(id), k);
    return k;
}

/* ---- what the state machines ask for ---- */

static void links_dial(void *ctx, uint64_t node, const char *address)
{
    struct links *l = ctx;
    struct link *k = link_new(l, -1, address, node, l->conf.dial_ms);
    struct bufferevent *bev = peer_bufferevent(k->peer);
    struct host_port at;
    if (!split_address(address, &at) || !at.host[0]) {
        peer_close(k->peer, "bad address");
        return;
    }
    struct evutil_addrinfo *number = numeric_address(&at);
    int failed = -1;
    if (number)
        failed = bufferevent_socket_connect(bev, number->ai_addr, (int)number->ai_addrlen);
    else if (l->conf.dns)
        failed = bufferevent_socket_connect_hostname(bev, l->conf.dns, AF_UNSPEC, at.host, at.port);
    if (number)
        freeaddrinfo(number);
    if (failed)
        peer_close(k->peer, "cannot connect");
}

static void links_send(void *ctx, uint64_t link, struct blob *b)
{
    struct link *k = link_by_id(ctx, link);
    if (k && k->up)
        peer_send(k->peer, b);
}

static void links_hangup(void *ctx, uint64_t link, const char *why)
{
    struct link *k = link_by_id(ctx, link);
    if (k) {
        k->hung_up = true;
        peer_close(k->peer, why);
    }
}

/* Links that are still proving themselves go on: what comes of them is no message. */
static void links_hold(void *ctx, bool on)
{
    struct links *l = ctx;
    l->held = on;
    for (struct link *k = l->by_id; k; k = k->hh.next)
        if (k->up)
            peer_hold(k->peer, on);
}

const struct net_ops links_net_ops = {links_dial, links_send, links_hangup, links_hold};

/* ---- listening ---- */

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *from, int from_len,
                      void *arg)
{
    (void)listener;
    struct links *l = arg;
    char host[64] = "?", port[8] = "?", address[WHO_BYTES];
    getnameinfo(from, (socklen_t)from_len, host, sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(address, sizeof(address), "%s:%s", host, port);
    if (l->n_unproved >= UNPROVED_MAX) {
        count_close("too many unproved links");
        evutil_closesocket(fd);
        return;
    }
    link_new(l, fd, address, 0, l->conf.proof_ms);
}

/* Out of descriptors: the backlog holds them a little, and the loop does not spin. */
static void on_accept_error(struct evconnlistener *listener, void *arg)
{
    struct links *l = arg;
    const struct timeval pause = ms_timeval(ACCEPT_PAUSE_MS);
    log_warn("link_accept_failed error=\"%s\"", strerror(errno));
    evconnlistener_disable(listener);
    evtimer_add(l->accept_again, &pause);
}

static void on_accept_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct links *l = arg;
    evconnlistener_enable(l->listener);
}

static enum err listen_on(struct links *l, const char *address, char *why, size_t why_bytes)
{
    struct host_port at;
    struct evutil_addrinfo *number = split_address(address, &at) ? numeric_address(&at) : NULL;
    if (!number) {
        snprintf(why, why_bytes, "listen address '%s' is not host:port with a numeric host", address);
        return ERR_BAD;
    }
    l->listener = evconnlistener_new_bind(l->conf.base, on_accept, l,
                                          LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE, -1,
                                          number->ai_addr, (int)number->ai_addrlen);
    const int error = errno;
    freeaddrinfo(number);
    if (!l->listener) {
        snprintf(why, why_bytes, "cannot listen on %s: %s", address, strerror(error));
        return ERR_IO;
    }
    evconnlistener_set_error_cb(l->listener, on_accept_error);
    return ERR_OK;
}

int links_port(const struct links *l)
{
    struct sockaddr_storage at;
    socklen_t len = sizeof(at);
    if (!l->listener || getsockname(evconnlistener_get_fd(l->listener), (struct sockaddr *)&at, &len) != 0)
        return 0;
    return ntohs(at.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&at)->sin6_port
                                          : ((struct sockaddr_in *)&at)->sin_port);
}

/* ---- all of them ---- */

enum err links_new(const struct links_conf *c, const struct net_events *events, void *owner, struct links **out,
                   char *why, size_t why_bytes)
{
    if (!c->world[0] || !text_valid(c->world, WORLD_NAME_MAX)) {
        snprintf(why, why_bytes, "the world's name must be 1 to %d printable characters", WORLD_NAME_MAX);
        return ERR_BAD;
    }
    assert(c->incarnation != 0 && c->ping_ms > 0 && c->queue_bytes_max > MSG_BYTES_MAX);
    struct links *l = mem_zalloc(sizeof(*l));
    l->conf = *c;
    l->conf.world = mem_strdup(c->world);
    l->conf.secret = mem_strdup(c->secret);
    l->conf.listen = NULL; /* only needed here */
    l->events = events;
    l->owner = owner;
    l->failure = "";
    l->peer_conf = (struct peer_conf){
        .base = c->base, .arena = arena_new(), .queue_bytes_max = c->queue_bytes_max, .ping_ms = c->ping_ms};
    l->accept_again = evtimer_new(c->base, on_accept_again, l);
    l->n_up = metrics_gauge("spotcraft_links", "Links between processes that are up.", NULL);
    enum err e = c->listen ? listen_on(l, c->listen, why, why_bytes) : ERR_OK;
    if (e != ERR_OK) {
        links_free(l);
        return e;
    }
    *out = l;
    return ERR_OK;
}

void links_set_owner(struct links *l, void *owner)
{
    l->owner = owner;
}

const char *links_failure(const struct links *l)
{
    return l->failure;
}

void links_free(struct links *l)
{
    if (!l)
        return;
    struct link *k, *next;
    HASH_ITER (hh, l->by_id, k, next) {
        peer_free(k->peer);
        link_free(k);
    }
    if (l->listener)
        evconnlistener_free(l->listener);
    event_free(l->accept_again);
    arena_free(l->peer_conf.arena);
    free((char *)l->conf.world);
    free((char *)l->conf.secret);
    free(l);
}

size_t links_queued_bytes(const struct links *l)
{
    size_t bytes = 0;
    for (struct link *k = l->by_id; k; k = k->hh.next)
        bytes += peer_queued_bytes(k->peer);
    return bytes;
}
