#include "proto/base/loop.h"

#include <assert.h>
#include <errno.h>
#include <event2/dns.h>
#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "proto/base/log.h"
#include "proto/base/mem.h"

enum { SIGNALS = 3 };

struct loop {
    struct event_base *base;
    struct evdns_base *dns;
    const struct loop_ops *ops;
    void *arg;
    struct event *tick;
    struct event *signals[SIGNALS];
    unsigned n_stops;
};

static void *or_abort(void *p, const char *what)
{
    if (!p) {
        log_error("no_event_loop what=%s errno=%d", what, errno);
        abort(); /* out of memory or of files before anything was served */
    }
    return p;
}

static void on_libevent_log(int severity, const char *msg)
{
    static const enum log_level levels[] = {LOG_DEBUG, LOG_DEBUG, LOG_WARN, LOG_ERROR};
    char quoted[512];
    log_write(levels[severity & 3], "libevent msg=%s", log_quote(quoted, sizeof quoted, msg, strlen(msg)));
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct loop *l = arg;
    l->ops->tick(l->arg);
}

static void on_signal(evutil_socket_t signal, short what, void *arg)
{
    (void)what;
    struct loop *l = arg;
    log_info("signal name=%s", signal == SIGTERM ? "TERM" : signal == SIGINT ? "INT" : "HUP");
    if (signal == SIGHUP) {
        if (l->ops->hup)
            l->ops->hup(l->arg);
    } else if (l->ops->stop) {
        l->ops->stop(l->arg, ++l->n_stops);
    } else {
        loop_end(l);
    }
}

struct loop *loop_new(const struct loop_ops *ops, void *arg)
{
    static const int signals[SIGNALS] = {SIGTERM, SIGINT, SIGHUP};
    struct loop *l = mem_zalloc(sizeof *l);
    l->ops = ops;
    l->arg = arg;
    event_set_log_callback(on_libevent_log);
    signal(SIGPIPE, SIG_IGN); /* a peer that is gone is an error of the write, not of the process */
    l->base = or_abort(event_base_new(), "base");
    for (unsigned i = 0; i < SIGNALS; i++) {
        l->signals[i] = or_abort(evsignal_new(l->base, signals[i], on_signal, l), "signal");
        event_add(l->signals[i], NULL);
    }
    if (ops->tick) {
        l->tick = or_abort(event_new(l->base, -1, EV_PERSIST, on_tick, l), "tick");
        event_add(l->tick, &(struct timeval){.tv_usec = LOOP_TICK_MS * 1000});
    }
    return l;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    if (l->dns)
        evdns_base_free(l->dns, 0);
    if (l->tick)
        event_free(l->tick);
    for (unsigned i = 0; i < SIGNALS; i++)
        event_free(l->signals[i]);
    event_base_free(l->base);
    free(l);
    libevent_global_shutdown(); /* what leak checkers would count */
}

struct event_base *loop_base(struct loop *l)
{
    return l->base;
}

struct evdns_base *loop_dns(struct loop *l)
{
    if (l->dns)
        return l->dns;
    /* Not EVDNS_BASE_INITIALIZE_NAMESERVERS: that makes no base at all where there is no resolv.conf. */
    l->dns = or_abort(evdns_base_new(l->base, EVDNS_BASE_DISABLE_WHEN_INACTIVE), "dns");
    int e = evdns_base_resolv_conf_parse(l->dns, DNS_OPTIONS_ALL, "/etc/resolv.conf");
    if (evdns_base_count_nameservers(l->dns) == 0) {
        log_warn("dns_fallback nameserver=127.0.0.1 resolv_conf_error=%d", e);
        evdns_base_nameserver_ip_add(l->dns, "127.0.0.1");
    }
    return l->dns;
}

void loop_run(struct loop *l)
{
    if (event_base_dispatch(l->base) < 0) {
        log_error("event_loop_failed errno=%d", errno);
        abort(); /* epoll is gone: nothing can be served, and the journal has what was promised */
    }
}

void loop_end(struct loop *l)
{
    event_base_loopexit(l->base, NULL);
}

uint64_t loop_raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    if (limit.rlim_cur < limit.rlim_max) {
        struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
            limit = raised;
    }
    return limit.rlim_cur;
}
