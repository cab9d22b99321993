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
#include <sys/mman.h>
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
    int kept[4]; /* sockets that a test leaves open for a while */
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

static struct world *world_new(const struct listener_conf *conf)
{
    struct world *w = calloc(1, sizeof *w);
    struct gateway_settings set;
    char why[128];
    gateway_settings_default(&set);
    w->base = event_base_new();
    struct listener_conf c = *conf;
    c.base = w->base;
    c.address = "127.0.0.1:0";
    assert_int_equal(listener_open(&c, &w->listener, why, sizeof why), ERR_OK);
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
    *state = world_new(&(struct listener_conf){0});
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

static int dial_port(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static int dial(struct world *w)
{
    return dial_port(listener_port(w->listener));
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
    struct world *w = *state = world_new(&(struct listener_conf){.files = LISTENER_RESERVE + 1});
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
    assert_int_equal(
        listener_open(&(struct listener_conf){.base = w->base, .address = "nonsense"}, &l, why, sizeof why), ERR_BAD);
    assert_non_null(strstr(why, "nonsense"));
    assert_int_equal(
        listener_open(&(struct listener_conf){.base = w->base, .address = "192.0.2.1:4080"}, &l, why, sizeof why),
        ERR_IO);
    assert_null(l);
}

static void two_listeners_share_a_port(void **state)
{
    struct world *w = *state;
    struct listener *l = NULL;
    char why[128], address[32];
    snprintf(address, sizeof address, "127.0.0.1:%d", listener_port(w->listener));
    assert_int_equal(listener_open(&(struct listener_conf){.base = w->base, .address = address}, &l, why, sizeof why),
                     ERR_OK);
    assert_int_equal(listener_port(l), listener_port(w->listener));
    listener_close(l);
}

/* Players must not notice that a process leaves the port: neither those who knock just then nor those who come later.
 */
static void who_waits_when_the_port_is_left_is_taken(void **state)
{
    struct world *w = *state;
    struct listener *other = NULL;
    char why[128], address[32];
    const int port = listener_port(w->listener);
    int early = dial_port(port); /* in the kernel's queue */
    snprintf(address, sizeof address, "127.0.0.1:%d", port);
    assert_int_equal(
        listener_open(&(struct listener_conf){.base = w->base, .address = address}, &other, why, sizeof why), ERR_OK);
    listener_leave_port(w->listener);
    listener_leave_port(w->listener);
    say(early, "V,1\nA,,\nT,hello\n");
    expect(w, early, "T,guest1> hello\n");

    struct gateway_stats stats;
    int late[20];
    for (unsigned k = 0; k < 20; k++) /* the kernel would have spread them over both */
        late[k] = dial_port(port);
    for (unsigned k = 0; k < 20; k++) {
        turn(w);
        close(late[k]);
    }
    gateway_stats(w->gateway, &stats);
    assert_int_equal(stats.players, 1);
    close(early);
    listener_close(other);
}

/* ---- behind proxies ---- */

struct header {
    uint8_t bytes[64];
    size_t len;
};

static struct header header(uint8_t command, const char *from, uint16_t port)
{
    static const uint8_t sig[] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};
    const bool six = from && strchr(from, ':');
    struct header h = {.len = 16};
    memcpy(h.bytes, sig, sizeof sig);
    h.bytes[12] = command;
    if (!from)
        return h;
    const size_t n = six ? 16 : 4;
    h.bytes[13] = six ? 0x21 : 0x11;
    h.bytes[15] = (uint8_t)(2 * n + 4);
    assert_int_equal(inet_pton(six ? AF_INET6 : AF_INET, from, h.bytes + 16), 1);
    h.bytes[16 + 2 * n] = (uint8_t)(port >> 8);
    h.bytes[17 + 2 * n] = (uint8_t)port;
    h.len += 2 * n + 4;
    return h;
}

static void say_header(int fd, const struct header *h)
{
    assert_int_equal(send(fd, h->bytes, h->len, MSG_NOSIGNAL), (ssize_t)h->len);
}

/* A player whom a proxy passes on. */
static int dial_from(struct world *w, const char *from)
{
    struct header h = header(0x21, from, 5000);
    int fd = dial(w);
    say_header(fd, &h);
    say(fd, "V,1\nA,,\n");
    return fd;
}

static double metric(const char *name, const char *label)
{
    return metric_value(metrics_counter(name, "", label));
}

static double refused(const char *reason)
{
    char label[128];
    snprintf(label, sizeof label, "reason=\"%s\"", reason);
    return metric("spotcraft_players_refused_total", label);
}

static unsigned players(struct world *w)
{
    struct gateway_stats stats;
    gateway_stats(w->gateway, &stats);
    return stats.players;
}

static void proxied(void **state, const struct listener_conf *conf)
{
    teardown(state);
    *state = world_new(conf);
}

/* What is logged goes here. */
static int log_file = -1;

static bool logged(const char *text)
{
    static char all[1 << 16];
    ssize_t n = pread(log_file, all, sizeof all - 1, 0);
    all[n > 0 ? n : 0] = '\0';
    return strstr(all, text) != NULL;
}

static void log_begin(void)
{
    log_file = memfd_create("log", 0);
    log_set_fd(log_file);
}

static void log_end(void)
{
    log_set_fd(-1);
    close(log_file);
}

static void a_header_may_come_in_any_two_pieces(void **state)
{
    proxied(state, &(struct listener_conf){.proxy_headers = 1});
    struct world *w = *state;
    struct header h = header(0x21, "203.0.113.9", 5000);
    log_begin();
    for (size_t cut = 1; cut < h.len; cut++) {
        int fd = dial(w);
        send(fd, h.bytes, cut, MSG_NOSIGNAL);
        for (int k = 0; k < 5; k++)
            turn(w);
        assert_int_equal(players(w), 0);
        send(fd, h.bytes + cut, h.len - cut, MSG_NOSIGNAL);
        say(fd, "V,1\nA,,\n");
        expect(w, fd, "Welcome");
        close(fd);
        for (uint64_t end = clock_mono_ms() + WAIT_MS; players(w) && clock_mono_ms() < end;)
            turn(w);
        assert_int_equal(players(w), 0);
    }
    assert_true(logged("from=203.0.113.9:5000"));
    assert_false(logged("from=127.0.0.1"));
    log_end();
}

static void a_health_check_is_no_player(void **state)
{
    proxied(state, &(struct listener_conf){.proxy_headers = 1, .header_ms = 50});
    struct world *w = *state;
    struct header h = header(0x20, NULL, 0);
    double checks = metric("spotcraft_proxy_checks_total", NULL);
    log_begin();
    int fd = dial(w); /* without a word: a look at the port */
    close(fd);
    fd = dial(w);
    say_header(fd, &h);
    close(fd);
    fd = dial(w); /* and one that stays is let go */
    say_header(fd, &h);
    expect_end(w, fd);
    close(fd);
    for (uint64_t end = clock_mono_ms() + WAIT_MS; metric("spotcraft_proxy_checks_total", NULL) < checks + 3;) {
        assert_true(clock_mono_ms() < end);
        turn(w);
    }
    assert_false(logged("player_refused"));
    assert_false(logged("session_new"));
    log_end();
    fd = dial(w); /* a proxy that wants to play may, under its own address */
    say_header(fd, &h);
    say(fd, "V,1\nA,,\n");
    expect(w, fd, "Welcome");
    close(fd);
}

static void who_comes_without_a_header_is_shown_out(void **state)
{
    proxied(state, &(struct listener_conf){.proxy_headers = 1});
    struct world *w = *state;
    double none = refused("no PROXY header"), old = refused("PROXY protocol version 1, version 2 is wanted");
    log_begin();
    int fd = dial(w);
    say(fd, "V,1\nA,,\n");
    expect(w, fd, "T,This server is reached another way.");
    expect_end(w, fd);
    close(fd);
    fd = dial(w);
    say(fd, "PROXY TCP4 203.0.113.9 203.0.113.10 5000 4080\r\nV,1\n");
    expect_end(w, fd);
    close(fd);
    assert_true(refused("no PROXY header") == none + 1);
    assert_true(refused("PROXY protocol version 1, version 2 is wanted") == old + 1);
    assert_true(logged("player_refused why=\"no PROXY header\" from=127.0.0.1:"));
    assert_false(logged("session_new"));
    log_end();
}

/* A byte now and then does not keep the door open. */
static void a_header_has_a_deadline_as_a_whole(void **state)
{
    proxied(state, &(struct listener_conf){.proxy_headers = 1, .header_ms = 100});
    struct world *w = *state;
    struct header h = header(0x21, "203.0.113.9", 5000);
    double late = refused("no whole PROXY header in time"), silent = refused("said nothing in time");
    int fd = dial(w);
    uint64_t from = clock_mono_ms();
    char byte;
    for (size_t k = 0; recv(fd, &byte, 1, 0) < 0 && errno == EAGAIN; turn(w)) {
        assert_true(clock_mono_ms() < from + WAIT_MS);
        if (k + 1 < h.len && clock_mono_ms() >= from + 10 * k)
            send(fd, h.bytes + k++, 1, MSG_NOSIGNAL);
    }
    close(fd);
    assert_true(refused("no whole PROXY header in time") == late + 1);
    fd = dial(w);
    say_header(fd, &h);
    expect_end(w, fd);
    close(fd);
    assert_true(refused("said nothing in time") == silent + 1);
    assert_int_equal(players(w), 0);
}

/* The proxy nearest to us speaks first, the one nearest to the player last. */
static void behind_two_proxies_the_last_header_counts(void **state)
{
    proxied(state, &(struct listener_conf){.proxy_headers = 2});
    struct world *w = *state;
    struct header near = header(0x21, "198.51.100.1", 7), far = header(0x21, "2001:db8::5", 5000);
    log_begin();
    int fd = dial(w);
    say_header(fd, &near);
    say_header(fd, &far);
    say(fd, "V,1\nA,,\n");
    expect(w, fd, "Welcome");
    close(fd);
    assert_true(logged("from=[2001:db8::5]:5000"));
    log_end();
}

/* Else everybody could choose whose address he has. */
static void a_header_of_the_players_own_is_refused(void **state)
{
    proxied(state, &(struct listener_conf){.proxy_headers = 1});
    struct world *w = *state;
    struct header real = header(0x21, "203.0.113.9", 5000), forged = header(0x21, "192.0.2.77", 5000);
    const char *reason = "more PROXY headers than proxy_headers allows";
    double before = refused(reason);
    int fd = dial(w);
    say_header(fd, &real);
    say_header(fd, &forged);
    say(fd, "V,1\nA,,\n");
    expect_end(w, fd);
    close(fd);
    assert_true(refused(reason) == before + 1);
}

static void so_many_players_come_from_one_address_and_no_more(void **state)
{
    static const char sorry[] = "T,Too many players come from your address.";
    proxied(state, &(struct listener_conf){.proxy_headers = 1, .address_max = 2});
    struct world *w = *state;
    static const char *const addresses[][4] = {{"203.0.113.9", "203.0.113.9", "203.0.113.9", "203.0.113.10"},
                                               {"2001:db8::1", "2001:db8::ffff:2", "2001:db8::3", "2001:db8:0:1::1"}};
    for (int k = 0; k < 2; k++) {
        double before = refused("too many from one address");
        int a = dial_from(w, addresses[k][0]), b = dial_from(w, addresses[k][1]);
        expect(w, a, "Welcome");
        expect(w, b, "Welcome");
        int c = dial_from(w, addresses[k][2]), other = dial_from(w, addresses[k][3]);
        expect(w, c, sorry);
        expect_end(w, c);
        expect(w, other, "Welcome");
        assert_true(refused("too many from one address") == before + 1);
        close(c);
        close(a);
        for (uint64_t end = clock_mono_ms() + WAIT_MS; players(w) > 2u * (unsigned)(k + 1) && clock_mono_ms() < end;)
            turn(w);
        c = dial_from(w, addresses[k][2]); /* a place became free */
        expect(w, c, "Welcome");
        close(other);
        /* b and c play on */
        w->kept[2 * k] = b;
        w->kept[2 * k + 1] = c;
    }
    for (int k = 0; k < 4; k++)
        close(w->kept[k]);
}

static void this_machine_is_not_counted(void **state)
{
    proxied(state, &(struct listener_conf){.address_max = 1});
    struct world *w = *state;
    int a = dial(w), b = dial(w);
    say(a, "V,1\nA,,\n");
    say(b, "V,1\nA,,\n");
    expect(w, a, "Welcome");
    expect(w, b, "Welcome");
    close(a);
    close(b);
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
        cmocka_unit_test_setup_teardown(who_waits_when_the_port_is_left_is_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(a_header_may_come_in_any_two_pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(a_health_check_is_no_player, setup, teardown),
        cmocka_unit_test_setup_teardown(who_comes_without_a_header_is_shown_out, setup, teardown),
        cmocka_unit_test_setup_teardown(a_header_has_a_deadline_as_a_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(behind_two_proxies_the_last_header_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(a_header_of_the_players_own_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(so_many_players_come_from_one_address_and_no_more, setup, teardown),
        cmocka_unit_test_setup_teardown(this_machine_is_not_counted, setup, teardown),
    };
    alarm(60);
    log_set_fd(-1);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    metrics_free();
    return failed;
}
