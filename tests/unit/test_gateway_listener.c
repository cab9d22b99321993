/* The players' sockets, over loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/listener.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/metrics.h"
#include "tests/lib/model_coord.h"

enum { WAIT_MS = 5000 };

struct world {
    struct event_base *base;
    struct listener *listener;
    struct gateway *gateway;
    struct model_redis *redis;
    struct coord *coord;
};

static void no_dial(void *ctx, uint64_t node, const char *address)
{
    (void)ctx;
    (void)node;
    (void)address;
}
static void no_send(void *ctx, uint64_t link, struct blob *b)
{
    (void)ctx;
    (void)link;
    (void)b;
}
static void no_hangup(void *ctx, uint64_t link, const char *why)
{
    (void)ctx;
    (void)link;
    (void)why;
}
static void no_hold(void *ctx, bool on)
{
    (void)ctx;
    (void)on;
}
static const struct net_ops no_net = {no_dial, no_send, no_hangup, no_hold};

static uint64_t now(void *clock)
{
    (void)clock;
    return clock_mono_ms();
}

static struct world *world_new(uint64_t file_limit)
{
    struct world *w = calloc(1, sizeof *w);
    struct gateway_settings set;
    char why[128];
    gateway_settings_default(&set);
    w->base = event_base_new();
    assert_int_equal(listener_open(w->base, "127.0.0.1:0", file_limit, &w->listener, why, sizeof why), ERR_OK);
    w->redis = model_redis_new();
    w->coord = model_coord_direct(w->redis, NULL);
    const struct gateway_env env = {.net = &no_net,
                                    .players = &listener_player_ops,
                                    .players_ctx = w->listener,
                                    .coord = w->coord,
                                    .now_ms = now,
                                    .unix_ms = now,
                                    .seed = 1};
    w->gateway = gateway_new(5, &set, &env);
    listener_start(w->listener, w->gateway);
    return w;
}

static int setup(void **state)
{
    *state = world_new(0);
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    model_coord_free(w->coord);
    gateway_free(w->gateway);
    listener_close(w->listener);
    event_base_free(w->base);
    model_redis_free(w->redis);
    free(w);
    return 0;
}

static void turn(struct world *w)
{
    model_redis_set_time(w->redis, clock_mono_ms());
    gateway_tick(w->gateway);
    model_coord_run(w->coord);
    event_base_loop(w->base, EVLOOP_NONBLOCK);
}

static int dial(struct world *w)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)listener_port(w->listener)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Reads until the text is there; fails when the socket ends or time is up first. */
static void expect(struct world *w, int fd, const char *text)
{
    char buf[8192] = "";
    size_t len = 0;
    for (uint64_t end = clock_mono_ms() + WAIT_MS; clock_mono_ms() < end && !strstr(buf, text);) {
        turn(w);
        ssize_t n = recv(fd, buf + len, sizeof buf - 1 - len, 0);
        assert_true(n > 0 || (n < 0 && errno == EAGAIN));
        len += n > 0 ? (size_t)n : 0;
        buf[len] = '\0';
    }
    assert_non_null(strstr(buf, text));
}

static void expect_end(struct world *w, int fd)
{
    char buf[8192];
    ssize_t n = -1;
    for (uint64_t end = clock_mono_ms() + WAIT_MS; clock_mono_ms() < end && n != 0;) {
        turn(w);
        n = recv(fd, buf, sizeof buf, 0);
        if (n < 0 && errno == ECONNRESET)
            n = 0;
    }
    assert_int_equal(n, 0);
}

static void a_player_joins_over_a_socket(void **state)
{
    struct world *w = *state;
    int fd = dial(w);
    say(fd, "V,1\nA,");
    turn(w);
    say(fd, ",\nT,hello\n");
    expect(w, fd, "T,guest1> hello\n");
    close(fd);
}

static void who_is_refused_reads_why_and_is_closed(void **state)
{
    struct world *w = *state;
    int fd = dial(w);
    say(fd, "V,7\n");
    expect_end(w, fd);
    close(fd);
    fd = dial(w); /* others are served as before */
    say(fd, "V,1\nA,,\n");
    expect(w, fd, "Welcome");
    close(fd);
}

static void a_player_who_hangs_up_is_gone(void **state)
{
    struct world *w = *state;
    struct gateway_stats stats;
    int fd = dial(w);
    say(fd, "V,1\nA,,\n");
    expect(w, fd, "Welcome");
    close(fd);
    for (uint64_t end = clock_mono_ms() + WAIT_MS; clock_mono_ms() < end;) {
        turn(w);
        gateway_stats(w->gateway, &stats);
        if (stats.players == 0)
            break;
    }
    assert_int_equal(stats.players, 0);
}

/* While joining the socket is not read; what was sent meanwhile is not lost. */
static void thousands_of_lines_at_once_all_arrive(void **state)
{
    enum { LINES = 4000 /* below the bound of unanswered edits: they stay, as no node lives */ };
    struct world *w = *state;
    struct gateway_stats stats = {0};
    char line[64];
    int fd = dial(w);
    say(fd, "V,1\nA,,\n");
    for (unsigned k = 0; k < LINES; k++) {
        int n = snprintf(line, sizeof line, "B,%u,20,5,1\n", k);
        const char *at = line;
        while (n > 0) {
            ssize_t sent = send(fd, at, (size_t)n, MSG_NOSIGNAL);
            if (sent < 0)
                turn(w);
            else {
                at += sent;
                n -= (int)sent;
            }
        }
    }
    say(fd, "T,done\n");
    expect(w, fd, "T,guest1> done\n");
    gateway_stats(w->gateway, &stats);
    assert_int_equal(stats.unanswered_edits, LINES);
    close(fd);
}

static void players_are_refused_while_descriptors_are_short(void **state)
{
    teardown(state);
    struct world *w = *state = world_new(LISTENER_RESERVE + 1);
    struct gateway_stats stats;
    int fd = dial(w);
    expect(w, fd, "T,This server is full.");
    gateway_stats(w->gateway, &stats);
    assert_int_equal(stats.players, 0);
    close(fd);
}

static void a_bad_address_says_so(void **state)
{
    struct world *w = *state;
    struct listener *l = NULL;
    char why[128];
    assert_int_equal(listener_open(w->base, "nonsense", 0, &l, why, sizeof why), ERR_BAD);
    assert_non_null(strstr(why, "nonsense"));
    assert_int_equal(listener_open(w->base, "192.0.2.1:4080", 0, &l, why, sizeof why), ERR_IO);
    assert_null(l);
}

static void two_listeners_share_a_port(void **state)
{
    struct world *w = *state;
    struct listener *l = NULL;
    char why[128], address[32];
    snprintf(address, sizeof address, "127.0.0.1:%d", listener_port(w->listener));
    assert_int_equal(listener_open(w->base, address, 0, &l, why, sizeof why), ERR_OK);
    assert_int_equal(listener_port(l), listener_port(w->listener));
    listener_close(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_player_joins_over_a_socket, setup, teardown),
        cmocka_unit_test_setup_teardown(who_is_refused_reads_why_and_is_closed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_player_who_hangs_up_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(thousands_of_lines_at_once_all_arrive, setup, teardown),
        cmocka_unit_test_setup_teardown(players_are_refused_while_descriptors_are_short, setup, teardown),
        cmocka_unit_test_setup_teardown(a_bad_address_says_so, setup, teardown),
        cmocka_unit_test_setup_teardown(two_listeners_share_a_port, setup, teardown),
    };
    alarm(60);
    log_set_fd(-1);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    metrics_free();
    return failed;
}
