/* The watcher against a service that answers with any bytes: odd ones are understood, hostile ones survived. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/metrics.h"
#include "tests/lib/watch_rig.h"

/* ---- the service ---- */

static const char *canned;
static size_t canned_len;
static char canned_date[64];

static void on_canned_read(struct bufferevent *bev, void *arg)
{
    (void)arg;
    char line[256] = "";
    struct evbuffer *in = bufferevent_get_input(bev), *out = bufferevent_get_output(bev);
    while (evbuffer_search(in, "\r\n\r\n", 4, NULL).pos >= 0) {
        size_t len = (size_t)evbuffer_search(in, "\r\n\r\n", 4, NULL).pos + 4;
        evbuffer_copyout(in, line, sizeof line - 1);
        evbuffer_drain(in, len);
        bool token = strncmp(line, "PUT ", 4) == 0, itn = strstr(line, "instance-action") != NULL;
        if (token)
            evbuffer_add_printf(out,
                                "HTTP/1.1 200 OK\r\n%sX-aws-ec2-metadata-token-ttl-seconds: 600\r\n"
                                "Content-Length: 3\r\n\r\nabc",
                                canned_date);
        else if (itn)
            evbuffer_add(out, canned, canned_len);
        else
            evbuffer_add_printf(out, "HTTP/1.1 404 Not Found\r\n%sContent-Length: 0\r\n\r\n", canned_date);
    }
}

static unsigned n_canned;

static void on_canned_event(struct bufferevent *bev, short what, void *arg)
{
    (void)what, (void)arg;
    n_canned--;
    bufferevent_free(bev);
}

static void on_canned_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *from, int len, void *arg)
{
    (void)l, (void)from, (void)len, (void)arg;
    struct bufferevent *bev = bufferevent_socket_new(rig.base, fd, BEV_OPT_CLOSE_ON_FREE);
    n_canned++;
    bufferevent_setcb(bev, on_canned_read, NULL, on_canned_event, NULL);
    bufferevent_enable(bev, EV_READ | EV_WRITE);
}

static struct evconnlistener *canned_open(const char *bytes, size_t len)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t at_len = sizeof at;
    char endpoint[64];
    canned = bytes;
    canned_len = len;
    canned_date[0] = '\0';
    struct evconnlistener *l = evconnlistener_new_bind(rig.base, on_canned_accept, NULL, LEV_OPT_CLOSE_ON_FREE, 16,
                                                       (struct sockaddr *)&at, sizeof at);
    getsockname(evconnlistener_get_fd(l), (struct sockaddr *)&at, &at_len);
    snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%u", ntohs(at.sin_port));
    watch_rig_watch(endpoint, false);
    return l;
}

static void canned_close(struct evconnlistener *l)
{
    imds_free(rig.watcher);
    rig.watcher = NULL;
    UNTIL(n_canned == 0);
    evconnlistener_free(l);
}

static int set_up(void **state)
{
    (void)state;
    watch_rig_up();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    watch_rig_down();
    return 0;
}

/* ---- its answers ---- */

#define ITN "{\"action\":\"stop\",\"time\":\"2099-01-01T00:00:00Z\"}"

static void odd_but_right_answers_are_understood(void **state)
{
    (void)state;
    static const char *const good[] = {
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"act\r\n2a\r\nion\":\"stop\",\"time\":"
        "\"2099-01-01T00:00:00Z\"}\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nContent-Length: 47\r\n\r\n" ITN,
        "HTTP/1.1 200\r\ncontent-length:47\r\n\r\n" ITN,
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 47\r\n\r\n" ITN,
    };
    for (unsigned i = 0; i < sizeof good / sizeof *good; i++) {
        struct evconnlistener *l = canned_open(good[i], strlen(good[i]));
        UNTIL(rig.notices[NOTICE_INTERRUPTION] == i + 1);
        canned_close(l);
    }
}

static void hostile_answers_are_survived(void **state)
{
    (void)state;
    enum { BIG = 1 << 20 };
    char *big = malloc(BIG), *longest = malloc(BIG), *continues = malloc(BIG);
    memset(big, 'x', BIG);
    memcpy(big, "HTTP/1.1 200 OK\r\nX-Long: ", 25);
    memset(longest, ' ', BIG);
    memcpy(longest, "HTTP/1.1 200 OK\r\nContent-Length: 1048400\r\n\r\n", 44);
    for (size_t n = 0; n < BIG; n++)
        continues[n] = "HTTP/1.1 100 Continue\r\n\r\n"[n % 25];
    const struct {
        const char *bytes;
        size_t len;
    } bad[] = {
        {big, BIG},
        {longest, BIG},
        {continues, BIG},
        {"", 0},
        {"\0\0\0\0\0\0\0\0\r\n\r\n", 12},
        {"HTTP/1.1 999999999999 OK\r\n\r\n", 28},
        {"HTTP/9.9 200 OK\r\n\r\n", 19},
        {"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", 39},
        {"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", 57},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", 65},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n", 58},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, and a lot behind it\r\n\r\nHTTP/1.1 200 OK\r\n", 81},
        {"HTTP/1.1 200 OK\r\n: empty\r\nno colon\r\n\r\n", 38},
        {"HTTP/1.1 204 No Content\r\n\r\n", 27},
    };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct evconnlistener *l = canned_open(bad[i].bytes, bad[i].len);
        double before = metric_value(metrics_counter("spotcraft_imds_answers_total", "", "status=\"404\""));
        UNTIL(metric_value(metrics_counter("spotcraft_imds_answers_total", "", "status=\"404\"")) >= before + 20);
        assert_int_equal(rig.notices[NOTICE_INTERRUPTION], 0);
        canned = "HTTP/1.1 200 OK\r\nContent-Length: 47\r\n\r\n" ITN;
        canned_len = strlen(canned);
        UNTIL(rig.notices[NOTICE_INTERRUPTION] == 1);
        rig.notices[NOTICE_INTERRUPTION] = 0;
        canned_close(l);
    }
    free(big);
    free(longest);
    free(continues);
}

static void set_canned_date(time_t ahead_s)
{
    time_t theirs = (time_t)(clock_unix_ms() / 1000) + ahead_s;
    struct tm tm;
    gmtime_r(&theirs, &tm);
    strftime(canned_date, sizeof canned_date, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
}

/* This machine's clock is an hour behind the service's: the two minutes are two minutes all the same. */
static void a_clock_that_is_wrong_shortens_no_deadline(void **state)
{
    (void)state;
    char answer[256], when[32];
    time_t theirs = (time_t)(clock_unix_ms() / 1000) + 3600, at = theirs + 120;
    struct tm tm;
    gmtime_r(&at, &tm);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
    snprintf(answer, sizeof answer,
             "HTTP/1.1 200 OK\r\nContent-Length: 47\r\n\r\n{\"action\":\"stop\",\"time\":\"%s\"}", when);
    struct evconnlistener *l = canned_open(answer, strlen(answer));
    set_canned_date(3600);
    UNTIL(rig.notices[NOTICE_INTERRUPTION]);
    assert_in_range(rig.deadline[NOTICE_INTERRUPTION], clock_unix_ms() + 110000, clock_unix_ms() + 125000);
    assert_true(watch_rig_gauge("spotcraft_imds_clock_ahead_seconds") > 3590);
    assert_int_equal(watch_rig_logged("metadata_clock_differs"), 1);
    /* it agrees again */
    set_canned_date(0);
    UNTIL(watch_rig_gauge("spotcraft_imds_clock_ahead_seconds") == 0);
    assert_int_equal(watch_rig_logged("metadata_clock_agrees"), 1);
    canned_close(l);
}

int main(void)
{
    alarm(240);
    signal(SIGPIPE, SIG_IGN); /* as loop_new() does */
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(odd_but_right_answers_are_understood),
        TEST(hostile_answers_are_survived),
        TEST(a_clock_that_is_wrong_shortens_no_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
