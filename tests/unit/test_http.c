/* The admin pages, asked over real sockets. The server runs on this thread's loop; each client's socket is watched
 * between its turns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/http.h"
#include "proto/base/metrics.h"

enum { WAIT_MS = 10000, REPLY_BYTES = 4 << 20 };

static struct event_base *base;
static struct admin_http *http;
static const char *missing; /* what keeps us from being ready */
static struct metric *gauge;
static size_t status_bytes; /* size of /status, if not the usual */
static char reply[REPLY_BYTES];

static const char *not_ready(void *arg)
{
    assert_ptr_equal(arg, &missing);
    return missing;
}

static void refresh(void *arg)
{
    (void)arg;
    metric_set(gauge, 42);
}

static void status(void *arg, struct evbuffer *json)
{
    (void)arg;
    evbuffer_add_printf(json, "{\"cells\":3}\n");
    for (size_t i = 0; i < status_bytes; i++)
        evbuffer_add(json, " ", 1);
}

static const struct admin_ops ops = {.not_ready = not_ready, .refresh = refresh, .status = status};

static int set_up(void **state)
{
    (void)state;
    char why[128] = "";
    missing = NULL;
    status_bytes = 0;
    base = event_base_new();
    gauge = metrics_gauge("g", "set by refresh", NULL);
    assert_int_equal(admin_http_open(base, "127.0.0.1:0", &ops, &missing, &http, why, sizeof why), ERR_OK);
    assert_string_equal(why, "");
    assert_non_null(http);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    admin_http_close(http);
    event_base_free(base);
    metrics_free();
    return 0;
}

static int dial(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(admin_http_port(http))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

/* Sends all that the server takes while collecting its reply, until it closes. Returns the reply's length. */
static size_t exchange_on(int fd, const char *bytes, size_t len)
{
    uint64_t deadline = clock_mono_ms() + WAIT_MS;
    size_t sent = 0, got = 0;
    while (clock_mono_ms() < deadline) {
        event_base_loop(base, EVLOOP_NONBLOCK);
        if (sent < len) {
            ssize_t n = send(fd, bytes + sent, len - sent, MSG_NOSIGNAL);
            sent += n > 0 ? (size_t)n : 0;
        }
        ssize_t n = read(fd, reply + got, sizeof reply - 1 - got);
        if (n > 0)
            got += (size_t)n;
        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            close(fd);
            reply[got] = '\0';
            return got;
        }
    }
    fail_msg("the server neither answered nor closed");
    return 0;
}

static const char *ask(const char *request)
{
    exchange_on(dial(), request, strlen(request));
    return reply;
}

static void assert_answer(const char *request, const char *status_line, const char *body)
{
    const char *got = ask(request);
    assert_memory_equal(got, status_line, strlen(status_line));
    const char *got_body = strstr(got, "\r\n\r\n");
    assert_non_null(got_body);
    assert_string_equal(got_body + 4, body);
}

static void healthz_says_ok(void **state)
{
    (void)state;
    assert_answer("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n", "ok\n");
    assert_non_null(strstr(reply, "\r\nContent-Length: 3\r\n"));
    assert_answer("GET /healthz?verbose HTTP/1.0\n\n", "HTTP/1.1 200 OK\r\n", "ok\n");
}

static void readyz_says_what_is_missing(void **state)
{
    (void)state;
    assert_answer("GET /readyz HTTP/1.1\r\n\r\n", "HTTP/1.1 200 ", "ready\n");
    missing = "no link to redis";
    assert_answer("GET /readyz HTTP/1.1\r\n\r\n", "HTTP/1.1 503 Service Unavailable\r\n", "no link to redis\n");
}

static void metrics_are_fresh(void **state)
{
    (void)state;
    const char *got = ask("GET /metrics HTTP/1.1\r\n\r\n");
    assert_non_null(strstr(got, "Content-Type: text/plain; version=0.0.4"));
    assert_non_null(strstr(got, "# TYPE g gauge\ng 42\n"));
}

static void status_is_json(void **state)
{
    (void)state;
    assert_answer("GET /status HTTP/1.1\r\n\r\n", "HTTP/1.1 200 ", "{\"cells\":3}\n");
    assert_non_null(strstr(reply, "Content-Type: application/json\r\n"));
}

static void the_root_lists_what_is_here(void **state)
{
    (void)state;
    const char *got = ask("GET / HTTP/1.1\r\n\r\n");
    assert_non_null(strstr(got, "/readyz"));
    assert_non_null(strstr(got, "/status"));
}

static void head_is_get_without_the_body(void **state)
{
    (void)state;
    assert_answer("HEAD /healthz HTTP/1.1\r\n\r\n", "HTTP/1.1 200 ", "");
    assert_non_null(strstr(reply, "\r\nContent-Length: 3\r\n"));
}

static void anything_else_is_told_why_not(void **state)
{
    (void)state;
    assert_answer("GET /nothing HTTP/1.1\r\n\r\n", "HTTP/1.1 404 ", "no such page; / lists what is here\n");
    assert_answer("GET /metrics/../status HTTP/1.1\r\n\r\n", "HTTP/1.1 404 ", "no such page; / lists what is here\n");
    assert_answer("POST /metrics HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.1 405 ", "only GET and HEAD\n");
    assert_non_null(strstr(reply, "\r\nAllow: GET, HEAD\r\n"));
}

static void garbage_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"hello\n",
                                      "GET /healthz\r\n",
                                      "GET  /healthz HTTP/1.1\r\n",
                                      "GET /healthz HTTP/2.0\r\n",
                                      "GET healthz HTTP/1.1\r\n",
                                      "GET /healthz HTTP/1.1 \r\n",
                                      "\r\n\r\n\r\n",
                                      "\x16\x03\x01\x02 tls\n",
                                      "V,1\nA,,\n"};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_memory_equal(ask(bad[i]), "HTTP/1.1 400 ", 13);
    exchange_on(dial(), "GET /healthz HTTP/1.1\0\r\n\r\n", 27);
    assert_memory_equal(reply, "HTTP/1.1 400 ", 13);
}

/* A load balancer that says who its players are says it of its health checks, too. */
static void a_proxy_header_is_skipped(void **state)
{
    enum { HEADER = 28, AT_VERSION = 12, AT_LENGTH = 14 };
    static const char check[] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\0\0\x05\x0a\0\0\x09\x9c\x40\x0f\xf0"
                                "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n";
    (void)state;
    exchange_on(dial(), check, sizeof check - 1);
    assert_memory_equal(reply, "HTTP/1.1 200 ", 13);
    int fd = dial();
    for (size_t i = 0; i + 2 < sizeof check; i++) {
        assert_int_equal(send(fd, check + i, 1, 0), 1);
        event_base_loop(base, EVLOOP_NONBLOCK);
    }
    exchange_on(fd, check + sizeof check - 2, 1);
    assert_memory_equal(reply, "HTTP/1.1 200 ", 13);
    char twice[HEADER + sizeof check], broken[sizeof check];
    memcpy(twice, check, HEADER);
    memcpy(twice + HEADER, check, sizeof check);
    exchange_on(dial(), twice, sizeof twice - 1);
    assert_memory_equal(reply, "HTTP/1.1 400 ", 13);
    memcpy(broken, check, sizeof check);
    broken[AT_VERSION] = 0x31;
    exchange_on(dial(), broken, sizeof broken - 1);
    assert_memory_equal(reply, "HTTP/1.1 400 ", 13);
    assert_non_null(strstr(reply, "version"));
    memcpy(broken, check, sizeof check);
    broken[AT_LENGTH] = broken[AT_LENGTH + 1] = '\xff'; /* longer than any header: it is not waited for */
    exchange_on(dial(), broken, sizeof broken - 1);
    assert_memory_equal(reply, "HTTP/1.1 400 ", 13);
    fd = dial();
    assert_int_equal(send(fd, check, HEADER - 1, 0), HEADER - 1); /* cut off in the middle */
    shutdown(fd, SHUT_WR);
    assert_int_equal(exchange_on(fd, "", 0), 0);
}

static void huge_headers_are_refused(void **state)
{
    (void)state;
    enum { BYTES = 60000 };
    char *huge = malloc(BYTES);
    memset(huge, 'a', BYTES);
    exchange_on(dial(), huge, BYTES); /* one line that never ends */
    assert_memory_equal(reply, "HTTP/1.1 431 ", 13);
    memcpy(huge, "GET /healthz HTTP/1.1\r\nX: ", 26);
    exchange_on(dial(), huge, BYTES); /* headers that never end */
    assert_memory_equal(reply, "HTTP/1.1 431 ", 13);
    free(huge);
}

/* A body that nobody asked for is not read until the deadline. */
static void an_endless_body_is_cut_off(void **state)
{
    (void)state;
    static char bytes[4096] = "POST / HTTP/1.1\r\n\r\n";
    admin_http_set_life(http, 10 * WAIT_MS);
    uint64_t deadline = clock_mono_ms() + WAIT_MS;
    int fd = dial();
    do {
        assert_true(clock_mono_ms() < deadline);
        event_base_loop(base, EVLOOP_NONBLOCK);
    } while (send(fd, bytes, sizeof bytes, MSG_NOSIGNAL) >= 0 || errno == EAGAIN);
    close(fd);
    assert_memory_equal(ask("GET /healthz HTTP/1.1\r\n\r\n"), "HTTP/1.1 200 ", 13);
}

static void a_request_may_come_byte_by_byte(void **state)
{
    (void)state;
    static const char request[] = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    int fd = dial();
    for (size_t i = 0; i + 2 < sizeof request; i++) {
        assert_int_equal(send(fd, request + i, 1, 0), 1);
        event_base_loop(base, EVLOOP_NONBLOCK);
    }
    exchange_on(fd, request + sizeof request - 2, 1);
    assert_memory_equal(reply, "HTTP/1.1 200 ", 13);
}

/* Trickling a byte now and then does not buy more time. */
static void a_slow_request_ends_at_the_deadline(void **state)
{
    (void)state;
    admin_http_set_life(http, 200);
    int fd = dial();
    uint64_t start = clock_mono_ms(), last = 0;
    char c;
    for (;;) {
        uint64_t now = clock_mono_ms();
        assert_true(now - start < WAIT_MS);
        event_base_loop(base, EVLOOP_NONBLOCK);
        if (now != last)
            send(fd, "G", 1, MSG_NOSIGNAL);
        last = now;
        ssize_t n = read(fd, &c, 1);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            break;
    }
    assert_in_range(clock_mono_ms() - start, 150, 5000);
    close(fd);
}

/* `nc` sends its request and then the end, before it reads. */
static void a_half_closed_client_gets_a_long_answer_whole(void **state)
{
    (void)state;
    status_bytes = 3 << 20; /* more than the sockets hold */
    int fd = dial();
    static const char request[] = "GET /status HTTP/1.1\r\n\r\n";
    assert_int_equal(send(fd, request, sizeof request - 1, 0), sizeof request - 1);
    shutdown(fd, SHUT_WR);
    assert_true(exchange_on(fd, "", 0) > status_bytes);
}

static void one_that_leaves_early_is_forgotten(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 200; i++) {
        int fd = dial();
        struct linger rst = {.l_onoff = 1};
        assert_true(send(fd, "GET /status HTTP/1.1\r\n\r\n", i % 25, 0) >= 0);
        if (i % 2)
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &rst, sizeof rst);
        close(fd);
        event_base_loop(base, EVLOOP_NONBLOCK);
    }
    assert_memory_equal(ask("GET /healthz HTTP/1.1\r\n\r\n"), "HTTP/1.1 200 ", 13);
}

/* A probe must get through, or the orchestrator kills a healthy process. */
static void a_probe_gets_through_a_crowd_that_hangs(void **state)
{
    (void)state;
    int hanging[100];
    for (unsigned i = 0; i < 100; i++) {
        hanging[i] = dial();
        event_base_loop(base, EVLOOP_NONBLOCK);
    }
    assert_memory_equal(ask("GET /healthz HTTP/1.1\r\n\r\n"), "HTTP/1.1 200 ", 13);
    assert_non_null(strstr(ask("GET /metrics HTTP/1.1\r\n\r\n"), "\nspotcraft_admin_connections_dropped_total 3"));
    for (unsigned i = 0; i < 100; i++)
        close(hanging[i]);
}

static void a_bad_address_is_told(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "9100", "127.0.0.1", "127.0.0.1:", "127.0.0.1:70000", "example.org:80", "127.0.0.1:80x", "[::1:80"};
    struct admin_http *none = NULL;
    char why[160];
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(admin_http_open(base, bad[i], &ops, NULL, &none, why, sizeof why), ERR_BAD);
        assert_non_null(strstr(why, "is not ADDRESS:PORT"));
    }
    char taken[32];
    snprintf(taken, sizeof taken, "localhost:%u", admin_http_port(http));
    assert_int_equal(admin_http_open(base, taken, &ops, NULL, &none, why, sizeof why), ERR_IO);
    assert_null(none);
    assert_non_null(strstr(why, "Address already in use"));
}

static void other_addresses_are_listened_on_too(void **state)
{
    (void)state;
    static const char *const good[] = {"localhost:0", ":0", "0.0.0.0:0", "[::1]:0", "[::]:0"};
    for (unsigned i = 0; i < sizeof good / sizeof *good; i++) {
        char why[160] = "";
        struct admin_http *other = NULL;
        if (admin_http_open(base, good[i], &ops, NULL, &other, why, sizeof why) == ERR_OK)
            assert_true(admin_http_port(other) > 0);
        else /* a machine without IPv6 */
            assert_true(good[i][0] == '[' && strstr(why, "cannot listen on [::"));
        admin_http_close(other);
    }
}

int main(void)
{
    alarm(60);
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(healthz_says_ok),
        TEST(readyz_says_what_is_missing),
        TEST(metrics_are_fresh),
        TEST(status_is_json),
        TEST(the_root_lists_what_is_here),
        TEST(head_is_get_without_the_body),
        TEST(anything_else_is_told_why_not),
        TEST(garbage_is_refused),
        TEST(a_proxy_header_is_skipped),
        TEST(huge_headers_are_refused),
        TEST(an_endless_body_is_cut_off),
        TEST(a_request_may_come_byte_by_byte),
        TEST(a_slow_request_ends_at_the_deadline),
        TEST(a_half_closed_client_gets_a_long_answer_whole),
        TEST(one_that_leaves_early_is_forgotten),
        TEST(a_probe_gets_through_a_crowd_that_hangs),
        TEST(a_bad_address_is_told),
        TEST(other_addresses_are_listened_on_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
