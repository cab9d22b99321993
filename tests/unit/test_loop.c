#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <event2/dns.h>
#include <event2/event.h>
#include <event2/util.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/loop.h"

static struct loop *loop;
static unsigned ticks, hups;
static unsigned stops; /* the last nth */

static int set_up(void **state)
{
    (void)state;
    ticks = hups = stops = 0;
    log_set_level(LOG_ERROR);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    loop_free(loop);
    loop = NULL;
    return 0;
}

static void on_tick(void *arg)
{
    assert_ptr_equal(arg, &ticks);
    if (++ticks == 5)
        loop_end(loop);
}

static void it_ticks_until_its_end(void **state)
{
    (void)state;
    static const struct loop_ops ops = {.tick = on_tick};
    loop = loop_new(&ops, &ticks);
    uint64_t start = clock_mono_ms();
    loop_run(loop);
    assert_int_equal(ticks, 5);
    assert_true(clock_mono_ms() - start >= 5 * LOOP_TICK_MS - 15); /* libevent's clock is coarse */
}

static void on_stop(void *arg, unsigned nth)
{
    (void)arg;
    stops = nth;
    if (nth == 1)
        raise(SIGINT);
    else
        loop_end(loop);
}

static void on_hup(void *arg)
{
    (void)arg;
    hups++;
    raise(SIGTERM);
}

static void signals_arrive_on_the_loop_and_are_counted(void **state)
{
    (void)state;
    static const struct loop_ops ops = {.stop = on_stop, .hup = on_hup};
    loop = loop_new(&ops, NULL);
    raise(SIGHUP);
    assert_int_equal(hups, 0); /* not inside the handler */
    loop_run(loop);
    assert_int_equal(hups, 1);
    assert_int_equal(stops, 2);
}

static void without_a_stop_callback_a_signal_ends_it(void **state)
{
    (void)state;
    static const struct loop_ops ops = {0};
    loop = loop_new(&ops, NULL);
    raise(SIGHUP);
    raise(SIGTERM);
    loop_run(loop);
}

static void an_end_before_the_run_is_kept(void **state)
{
    (void)state;
    static const struct loop_ops ops = {0};
    loop = loop_new(&ops, NULL);
    loop_end(loop);
    loop_run(loop);
}

static void a_lost_peer_is_no_signal(void **state)
{
    (void)state;
    static const struct loop_ops ops = {0};
    loop = loop_new(&ops, NULL);
    int wire[2];
    assert_int_equal(pipe(wire), 0);
    close(wire[0]);
    assert_int_equal(write(wire[1], "x", 1), -1);
    assert_int_equal(errno, EPIPE);
    close(wire[1]);
}

static void on_found(int result, struct evutil_addrinfo *found, void *arg)
{
    unsigned *n = arg;
    if (result == 0 && found)
        ++*n;
    if (found)
        evutil_freeaddrinfo(found);
    loop_end(loop);
}

/* In a container without resolv.conf too, where numbers are all that can be looked up. */
static void dns_is_there_when_asked_for(void **state)
{
    (void)state;
    static const struct loop_ops ops = {0};
    loop = loop_new(&ops, NULL);
    struct evdns_base *dns = loop_dns(loop);
    assert_non_null(dns);
    assert_ptr_equal(loop_dns(loop), dns);
    assert_true(evdns_base_count_nameservers(dns) > 0);
    unsigned found = 0;
    struct evutil_addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = EVUTIL_AI_NUMERICHOST};
    evdns_getaddrinfo(dns, "127.0.0.1", "80", &hints, on_found, &found);
    loop_run(loop);
    assert_int_equal(found, 1);
}

static void the_file_limit_is_raised_to_what_is_allowed(void **state)
{
    (void)state;
    struct rlimit before, low;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    low = before;
    low.rlim_cur = 64;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    assert_true(loop_raise_file_limit() == before.rlim_max);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &low), 0);
    assert_true(low.rlim_cur == before.rlim_max);
    setrlimit(RLIMIT_NOFILE, &before);
}

int main(void)
{
    alarm(60);
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(it_ticks_until_its_end),
        TEST(signals_arrive_on_the_loop_and_are_counted),
        TEST(without_a_stop_callback_a_signal_ends_it),
        TEST(an_end_before_the_run_is_kept),
        TEST(a_lost_peer_is_no_signal),
        TEST(dns_is_there_when_asked_for),
        TEST(the_file_limit_is_raised_to_what_is_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
