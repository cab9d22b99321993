/* The watcher against services on its own loop: the mock's, and one that answers with any bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ops/imds/control.h"
#include "ops/imds/metadata.h"
#include "ops/imds/serve.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/metrics.h"
#include "proto/imds/imds.h"

enum { WAIT_MS = 20000, POLL_MS = 20, TIMEOUT_MS = 100 };

static struct event_base *base;
static struct event *beat;
static struct fleet fleet;
static struct serve *serve;
static uint16_t port;
static struct imds *watcher;
static FILE *log_file; /* what the watcher and the mock say */

/* What was told. */
static unsigned notices[NOTICES], withdrawn[NOTICES], checked, identified;
static uint64_t deadline[NOTICES];
static struct imds_identity identity;
static bool known_when_checked;

static void on_notice(void *arg, enum notice_kind kind, uint64_t deadline_unix_ms, const char *detail)
{
    (void)arg, (void)detail;
    notices[kind]++;
    deadline[kind] = deadline_unix_ms;
}

static void on_withdrawn(void *arg, enum notice_kind kind)
{
    (void)arg;
    withdrawn[kind]++;
}

static void on_identity(void *arg, const struct imds_identity *id)
{
    (void)arg;
    identified++;
    identity = *id;
}

static void on_checked(void *arg)
{
    (void)arg;
    checked++;
    known_when_checked = identified > 0;
}

static const struct imds_ops ops = {on_notice, on_withdrawn, on_identity, on_checked};

/* ---- the rig ---- */

static void on_request(void *arg, struct serve_conn *c, const struct serve_request *r)
{
    (void)arg;
    struct instance *i = fleet_find(&fleet, "n");
    void **tag = serve_tag(c);
    i->connections += *tag == NULL;
    *tag = i;
    metadata_answer(i, c, r, r->path + 2); /* "/n" */
}

static void say(const char *command, const char *query)
{
    char why[CONTROL_WHY_BYTES] = "";
    assert_int_equal(control_apply(&fleet, "n", command, query, false, why), 0);
}

static void on_beat(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
}

static int set_up(void **state)
{
    (void)state;
    char why[200];
    log_file = tmpfile();
    log_set_fd(fileno(log_file));
    base = event_base_new();
    beat = event_new(base, -1, EV_PERSIST, on_beat, NULL);
    event_add(beat, &(struct timeval){.tv_usec = 2000});
    memset(notices, 0, sizeof notices);
    memset(withdrawn, 0, sizeof withdrawn);
    memset(deadline, 0, sizeof deadline);
    memset(&identity, 0, sizeof identity);
    checked = identified = 0;
    serve = serve_open(base, "127.0.0.1", 0, on_request, NULL, why, sizeof why);
    assert_non_null(serve);
    port = serve_port(serve);
    say("", "type=c7g.large&zone=eu-west-1b");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    imds_free(watcher);
    watcher = NULL;
    serve_close(serve);
    fleet_free(&fleet);
    event_free(beat);
    event_base_free(base);
    metrics_free();
    log_set_fd(2);
    fclose(log_file);
    return 0;
}

/* The lines of the log so far that have this in them. */
static unsigned logged(const char *text)
{
    char line[1200];
    unsigned n = 0;
    rewind(log_file);
    while (fgets(line, sizeof line, log_file))
        n += strstr(line, text) != NULL;
    return n;
}

static void watch_at(const char *endpoint, bool v1)
{
    char why[200];
    struct imds_conf c = {.base = base,
                          .endpoint = endpoint,
                          .instance_id = "",
                          .poll_ms = POLL_MS,
                          .timeout_ms = TIMEOUT_MS,
                          .maintenance_ms = 600000,
                          .v1 = v1,
                          .ops = &ops};
    assert_int_equal(imds_open(&c, &watcher, why, sizeof why), ERR_OK);
}

static void watch(bool v1)
{
    char endpoint[64];
    snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%u/n", port);
    watch_at(endpoint, v1);
}

static struct instance *instance(void)
{
    return fleet_find(&fleet, "n");
}

static double errors(const char *kind)
{
    char label[48];
    snprintf(label, sizeof label, "kind=\"%s\"", kind);
    return metric_value(metrics_counter("spotcraft_imds_errors_total", "", label));
}

static double ignored(const char *label)
{
    return metric_value(metrics_counter("spotcraft_imds_ignored_total", "", label));
}

static double gauge(const char *name)
{
    imds_refresh(watcher);
    return metric_value(metrics_gauge(name, "", NULL));
}

#define UNTIL(condition)                                                                                               \
    do {                                                                                                               \
        uint64_t end_ms = clock_mono_ms() + WAIT_MS;                                                                   \
        while (!(condition)) {                                                                                         \
            if (clock_mono_ms() > end_ms)                                                                              \
                fail_msg("did not come: %s", #condition);                                                              \
            event_base_loop(base, EVLOOP_ONCE);                                                                        \
        }                                                                                                              \
    } while (0)

/* Some more looks, with all five paths each. */
static void looks(unsigned n)
{
    unsigned until = instance()->requests + 5 * n;
    UNTIL(instance()->requests >= until);
}

/* ---- a quiet service ---- */

static void the_first_look_tells_who_and_that_all_was_read(void **state)
{
    (void)state;
    say("itn", "in_ms=120000");
    watch(false);
    UNTIL(checked);
    assert_true(known_when_checked);
    assert_int_equal(notices[NOTICE_INTERRUPTION], 1); /* known before anything is claimed */
    assert_string_equal(identity.pool, "c7g.large/eu-west-1b/spot");
    assert_string_equal(identity.instance_id, instance()->id);
    looks(5);
    assert_int_equal(checked, 1);
    assert_int_equal(identified, 1);
}

/* A service that is just starting may not know yet: what is not there the first time is asked for once more. */
static void one_404_does_not_settle_who_it_is(void **state)
{
    (void)state;
    say("fault", "status=404&path=meta-data/instance-type&count=1");
    say("fault", "status=404&path=availability-zone&count=1");
    watch(false);
    UNTIL(identified);
    assert_string_equal(identity.pool, "c7g.large/eu-west-1b/spot");
}

static void what_is_never_there_is_no_reason_to_wait(void **state)
{
    (void)state;
    say("fault", "status=404&path=instance-life-cycle");
    watch(false);
    UNTIL(identified);
    assert_string_equal(identity.pool, "c7g.large/eu-west-1b/on-demand");
    unsigned before = instance()->requests;
    looks(10);
    assert_in_range(instance()->requests, before + 50, before + 54); /* and it is not asked for any more */
}

static void one_connection_and_one_token_serve_all_looks(void **state)
{
    (void)state;
    watch(false);
    UNTIL(checked);
    looks(20);
    assert_int_equal(instance()->connections, 1);
    assert_int_equal(instance()->tokens_given, 1);
    assert_int_equal(instance()->unauthorized, 0);
    assert_true(gauge("spotcraft_imds_age_seconds") < 5);
    assert_true(gauge("spotcraft_imds_blind") == 0);
}

static void every_kind_is_told_once_and_withdrawn_once(void **state)
{
    (void)state;
    watch(false);
    UNTIL(checked);
    for (unsigned round = 1; round <= 3; round++) {
        uint64_t before = clock_unix_ms();
        say("rebalance", "");
        say("itn", "in_ms=120000");
        say("asg", "");
        say("maintenance", "in_ms=300000");
        say("maintenance", "in_ms=200000&id=nearer");
        for (unsigned k = 0; k < NOTICES; k++)
            UNTIL(notices[k] == round);
        assert_in_range(deadline[NOTICE_INTERRUPTION], before + 115000, before + 125000);
        assert_in_range(deadline[NOTICE_MAINTENANCE], before + 195000, before + 205000);
        assert_int_equal(deadline[NOTICE_LIFECYCLE], 0);
        looks(20);
        for (unsigned k = 0; k < NOTICES; k++)
            assert_true(notices[k] == round && withdrawn[k] == round - 1);
        say("withdraw", "what=all");
        for (unsigned k = 0; k < NOTICES; k++)
            UNTIL(withdrawn[k] == round);
    }
}

/* EC2 leaves an event "active" that it did not carry out. */
static void an_event_long_over_hides_no_near_one(void **state)
{
    (void)state;
    say("maintenance", "ago_ms=86400000&for_ms=0&id=old");
    watch(false);
    UNTIL(ignored("why=\"past\"") >= 2);
    assert_int_equal(logged("metadata_notice_past kind=maintenance"), 1);
    uint64_t before = clock_unix_ms();
    say("maintenance", "in_ms=60000&id=near");
    UNTIL(notices[NOTICE_MAINTENANCE]);
    assert_in_range(deadline[NOTICE_MAINTENANCE], before + 55000, before + 65000);
    looks(5);
    assert_int_equal(notices[NOTICE_MAINTENANCE], 1);
    say("withdraw", "what=maintenance");
    UNTIL(withdrawn[NOTICE_MAINTENANCE]);
}

static void a_sliding_time_is_told_once(void **state)
{
    (void)state;
    say("", "slide=1");
    watch(false);
    say("itn", "in_ms=120000");
    UNTIL(notices[NOTICE_INTERRUPTION]);
    uint64_t start = clock_mono_ms();
    UNTIL(clock_mono_ms() - start > 3500); /* more than what counts as the same time */
    assert_int_equal(notices[NOTICE_INTERRUPTION], 1);
    assert_int_equal(withdrawn[NOTICE_INTERRUPTION], 0);
    assert_true(ignored("why=\"slides\"") >= 1);
    assert_int_equal(logged("metadata_notice_slides kind=interruption"), 1);
}

/* EC2 never takes a recommendation back: a later one is told by its time alone. */
static void another_recommendation_is_told_as_one(void **state)
{
    (void)state;
    watch(false);
    say("rebalance", "");
    UNTIL(notices[NOTICE_REBALANCE]);
    uint64_t first = deadline[NOTICE_REBALANCE];
    assert_in_range(first, clock_unix_ms() - 5000, clock_unix_ms());
    UNTIL(clock_unix_ms() > first + 2000); /* its time has seconds only */
    assert_int_equal(notices[NOTICE_REBALANCE], 1);
    say("rebalance", "");
    UNTIL(notices[NOTICE_REBALANCE] == 2);
    assert_true(deadline[NOTICE_REBALANCE] > first);
    looks(20);
    assert_int_equal(notices[NOTICE_REBALANCE], 2);
    assert_int_equal(withdrawn[NOTICE_REBALANCE], 0);
}

static void a_recommendation_whose_time_slides_is_one(void **state)
{
    (void)state;
    say("", "slide=1");
    say("rebalance", "");
    watch(false);
    UNTIL(notices[NOTICE_REBALANCE]);
    uint64_t start = clock_mono_ms();
    UNTIL(clock_mono_ms() - start > 7500);
    assert_int_equal(notices[NOTICE_REBALANCE], 1);
    assert_int_equal(logged("metadata_notice_slides kind=rebalance"), 1);
    assert_true(ignored("why=\"slides\"") >= 1);
    say("", "slide=0");
    say("rebalance", "");
    UNTIL(notices[NOTICE_REBALANCE] == 2);
}

static void a_server_that_closes_after_each_answer_is_read_all_the_same(void **state)
{
    (void)state;
    say("", "connection=close");
    watch(false);
    UNTIL(checked);
    say("itn", "");
    UNTIL(notices[NOTICE_INTERRUPTION]);
    looks(5);
    assert_true(errors("closed") == 0);
}

/* ---- tokens ---- */

static void a_token_is_renewed_before_it_ends(void **state)
{
    (void)state;
    say("", "ttl_s=1"); /* whatever was asked for: the answer's header counts */
    watch(false);
    UNTIL(instance()->tokens_given == 4);
    assert_int_equal(instance()->unauthorized, 0);
}

static void expired_tokens_are_replaced_within_the_look(void **state)
{
    (void)state;
    watch(false);
    UNTIL(checked);
    for (unsigned i = 1; i <= 5; i++) {
        say("fault", "expire-tokens=1");
        say("rebalance", "");
        UNTIL(notices[NOTICE_REBALANCE] == i);
        assert_int_equal(instance()->tokens_given, 1 + i);
        assert_int_equal(instance()->unauthorized, i);
        say("withdraw", "");
        UNTIL(withdrawn[NOTICE_REBALANCE] == i);
    }
    assert_true(errors("unauthorized") == 0);
}

/* 401 whatever token: that is said, and costs two requests a path and look, no more. */
static void a_token_that_is_never_good_does_no_harm(void **state)
{
    (void)state;
    say("fault", "status=401&path=meta-data");
    watch(false);
    UNTIL(errors("unauthorized") >= 9);
    assert_int_equal(checked, 1);
    assert_true(instance()->requests < 30);
    say("fault", "clear=1");
    say("itn", "");
    UNTIL(notices[NOTICE_INTERRUPTION]);
}

static void a_renewal_that_fails_leaves_the_old_token_in_use(void **state)
{
    (void)state;
    say("", "ttl_s=2");
    watch(false);
    UNTIL(checked);
    say("fault", "status=500&path=api/token&count=2");
    UNTIL(errors("server_error") >= 1); /* 1.6 s on */
    say("rebalance", "");
    UNTIL(notices[NOTICE_REBALANCE]);
    UNTIL(instance()->tokens_given == 2);
    assert_true(gauge("spotcraft_imds_blind") == 0);
    assert_int_equal(logged("metadata_token_fails reason=server_error"), 1);
    UNTIL(logged("metadata_token_renewed") == 1);
}

static void a_service_without_tokens_is_told_as_that(void **state)
{
    (void)state;
    say("fault", "status=404&path=api/token");
    watch(false);
    UNTIL(errors("no_tokens") >= 2);
    assert_int_equal(identified, 0);
    assert_int_equal(logged("metadata_blind"), 1);
    assert_int_equal(logged("reason=no_tokens hint="), 1);
    say("fault", "clear=1");
    UNTIL(identified);
}

static void version_1_only_where_it_is_allowed_and_2_refused(void **state)
{
    (void)state;
    say("", "tokens=optional");
    say("fault", "status=403&path=api/token");
    watch(false);
    UNTIL(errors("forbidden") >= 2);
    assert_int_equal(identified, 0);
    imds_free(watcher);
    watch(true);
    UNTIL(identified);
    say("itn", "");
    UNTIL(notices[NOTICE_INTERRUPTION]);
    /* from now on version 2 is required: 401 leads back to tokens */
    say("fault", "clear=1");
    say("", "tokens=required");
    say("rebalance", "");
    UNTIL(notices[NOTICE_REBALANCE]);
    assert_int_equal(instance()->tokens_given, 1);
}

/* A renewal that is refused is no reason to give up a token that is good for a while yet. */
static void a_good_token_is_not_left_for_version_1(void **state)
{
    (void)state;
    say("", "tokens=required&ttl_s=3");
    watch(true);
    UNTIL(identified);
    say("fault", "status=403&path=api/token&count=1");
    UNTIL(errors("forbidden") >= 1); /* 2.4 s on */
    UNTIL(instance()->tokens_given == 2);
    assert_int_equal(logged("metadata_v1"), 0);
    assert_int_equal(logged("metadata_token_fails reason=forbidden"), 1);
    UNTIL(logged("metadata_token_renewed") == 1);
    assert_int_equal(instance()->unauthorized, 0);
}

static void version_1_that_is_no_good_either_is_said_once(void **state)
{
    (void)state;
    say("fault", "status=403&path=api/token");
    watch(true);
    UNTIL(errors("unauthorized") >= 12);
    assert_int_equal(logged("metadata_v1 "), 1);
    say("fault", "clear=1");
    UNTIL(identified);
    assert_int_equal(logged("metadata_v1_over"), 1);
}

static void a_failing_token_request_is_no_reason_for_version_1(void **state)
{
    (void)state;
    say("", "tokens=optional");
    say("fault", "status=503&path=api/token");
    watch(true);
    UNTIL(errors("throttled") >= 2);
    assert_int_equal(identified, 0);
}

static void a_hop_limit_is_told_as_that_and_survived(void **state)
{
    (void)state;
    say("fault", "hop-limit=1");
    watch(true); /* a request that is not answered was not refused: no version 1 either */
    UNTIL(checked);
    UNTIL(errors("hop_limit") >= 2);
    assert_int_equal(identified, 0);
    say("fault", "clear=1");
    say("itn", "");
    UNTIL(notices[NOTICE_INTERRUPTION] && identified);
}

/* ---- faults ---- */

static void one_silent_path_hides_no_other(void **state)
{
    (void)state;
    say("fault", "silence=1&path=rebalance");
    watch(false);
    UNTIL(checked);
    UNTIL(errors("unanswered") >= 2);
    say("itn", "");
    UNTIL(notices[NOTICE_INTERRUPTION] && notices[NOTICE_TERMINATION]);
    say("asg", "");
    UNTIL(notices[NOTICE_LIFECYCLE]);
    /* and the path itself is asked less often than the others: silence costs a time-out each time */
    unsigned before = instance()->requests;
    double silent = errors("unanswered");
    UNTIL(instance()->requests > before + 100);
    assert_true(errors("unanswered") - silent < 10);
    say("fault", "clear=1");
    say("rebalance", "");
    UNTIL(notices[NOTICE_REBALANCE]);
}

static void each_fault_is_counted_as_what_it_is(void **state)
{
    (void)state;
    static const struct {
        const char *query, *kind;
    } faults[] = {
        {"status=400&count=7", "bad_request"},  {"status=403&count=7", "forbidden"},
        {"status=429&count=7", "throttled"},    {"status=503&count=7", "throttled"},
        {"status=500&count=7", "server_error"}, {"status=302&count=7", "other_status"},
        {"silence=1&count=7", "unanswered"},    {"delay_ms=300&count=7", "unanswered"},
        {"reset=1&count=7", "closed"},          {"endless=1&count=7", "unanswered"},
        {"flood=1&count=7", "broken"},          {"broken=1&count=7", "broken"},
        {"garbage=1&path=action", "garbage"},
    };
    watch(false);
    UNTIL(checked);
    for (unsigned i = 0; i < sizeof faults / sizeof *faults; i++) {
        double before = errors(faults[i].kind);
        say("fault", faults[i].query);
        UNTIL(errors(faults[i].kind) > before);
        say("fault", "clear=1");
        say("rebalance", "");
        UNTIL(notices[NOTICE_REBALANCE] == i + 1);
        say("withdraw", "");
        UNTIL(withdrawn[NOTICE_REBALANCE] == i + 1);
    }
    assert_int_equal(notices[NOTICE_INTERRUPTION], 0);
}

/* A notice that was read stands while its path fails: not knowing is not the same as "withdrawn". */
static void a_failing_path_withdraws_nothing(void **state)
{
    (void)state;
    watch(false);
    say("itn", "");
    UNTIL(notices[NOTICE_INTERRUPTION]);
    say("fault", "status=500");
    UNTIL(errors("server_error") >= 12);
    say("fault", "clear=1");
    looks(5);
    assert_int_equal(notices[NOTICE_INTERRUPTION], 1);
    assert_int_equal(withdrawn[NOTICE_INTERRUPTION], 0);
}

/* "Anything but a time" means that the instance is not marked; it does not unmark one that was. */
static void a_broken_time_withdraws_nothing(void **state)
{
    (void)state;
    watch(false);
    say("fault", "garbage=1&path=termination-time&count=3");
    UNTIL(instance()->faults[0].left == 0);
    looks(2);
    assert_true(errors("garbage") == 0);
    say("itn", "");
    UNTIL(notices[NOTICE_TERMINATION]);
    say("fault", "garbage=1&path=termination-time");
    UNTIL(errors("garbage") >= 2);
    say("fault", "clear=1");
    looks(5);
    assert_int_equal(notices[NOTICE_TERMINATION], 1);
    assert_int_equal(withdrawn[NOTICE_TERMINATION], 0);
    say("withdraw", "what=itn"); /* 404 */
    UNTIL(withdrawn[NOTICE_TERMINATION]);
}

static void a_throttled_watcher_asks_less_and_sees_all(void **state)
{
    (void)state;
    watch(false);
    UNTIL(checked);
    say("fault", "throttle=4"); /* a second; a look has five paths */
    say("itn", "");
    say("maintenance", "in_ms=60000"); /* the last path of a look */
    UNTIL(errors("throttled") > 0);
    UNTIL(notices[NOTICE_INTERRUPTION] && notices[NOTICE_MAINTENANCE]);
}

static void a_service_that_is_away_is_waited_for(void **state)
{
    (void)state;
    char why[200];
    serve_close(serve);
    serve = NULL;
    watch(false);
    UNTIL(checked);
    assert_int_equal(identified, 0);
    UNTIL(errors("unreachable") >= 3);
    assert_true(gauge("spotcraft_imds_age_seconds") > 0); /* it was named, so it should be there */
    assert_int_equal(logged("metadata_blind"), 1);
    assert_int_equal(logged("no_metadata"), 0);
    serve = serve_open(base, "127.0.0.1", port, on_request, NULL, why, sizeof why);
    assert_non_null(serve);
    say("itn", "");
    UNTIL(notices[NOTICE_INTERRUPTION] && identified);
    serve_close(serve);
    serve = NULL;
    double before = errors("unreachable") + errors("closed");
    UNTIL(errors("unreachable") + errors("closed") > before + 1);
    serve = serve_open(base, "127.0.0.1", port, on_request, NULL, why, sizeof why);
    assert_non_null(serve);
    say("withdraw", "");
    UNTIL(withdrawn[NOTICE_INTERRUPTION]);
}

/* Refused at once by this machine, before anything is sent: as a link-local address is where no route leads to it. */
static void an_address_without_a_route_is_unreachable(void **state)
{
    (void)state;
    watch_at("http://255.255.255.255", false);
    UNTIL(errors("unreachable") >= 3);
    assert_true(errors("closed") == 0);
    assert_int_equal(checked, 1);
}

static void a_silent_service_holds_nobody_up(void **state)
{
    (void)state;
    say("fault", "silence=1");
    uint64_t start = clock_mono_ms();
    watch(false);
    UNTIL(checked);
    assert_in_range(clock_mono_ms() - start, TIMEOUT_MS / 2, 5000);
    assert_int_equal(identified, 0);
}

static void none_asks_nobody(void **state)
{
    (void)state;
    watch_at("none", false);
    UNTIL(checked);
    assert_true(gauge("spotcraft_imds_blind") == 0 && gauge("spotcraft_imds_age_seconds") == 0);
    assert_int_equal(instance()->requests, 0);
}

/* ---- a service that answers with any bytes ---- */

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
    struct bufferevent *bev = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
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
    struct evconnlistener *l = evconnlistener_new_bind(base, on_canned_accept, NULL, LEV_OPT_CLOSE_ON_FREE, 16,
                                                       (struct sockaddr *)&at, sizeof at);
    getsockname(evconnlistener_get_fd(l), (struct sockaddr *)&at, &at_len);
    snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%u", ntohs(at.sin_port));
    watch_at(endpoint, false);
    return l;
}

static void canned_close(struct evconnlistener *l)
{
    imds_free(watcher);
    watcher = NULL;
    UNTIL(n_canned == 0);
    evconnlistener_free(l);
}

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
        UNTIL(notices[NOTICE_INTERRUPTION] == i + 1);
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
        assert_int_equal(notices[NOTICE_INTERRUPTION], 0);
        canned = "HTTP/1.1 200 OK\r\nContent-Length: 47\r\n\r\n" ITN;
        canned_len = strlen(canned);
        UNTIL(notices[NOTICE_INTERRUPTION] == 1);
        notices[NOTICE_INTERRUPTION] = 0;
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
    UNTIL(notices[NOTICE_INTERRUPTION]);
    assert_in_range(deadline[NOTICE_INTERRUPTION], clock_unix_ms() + 110000, clock_unix_ms() + 125000);
    assert_true(gauge("spotcraft_imds_clock_ahead_seconds") > 3590);
    assert_int_equal(logged("metadata_clock_differs"), 1);
    /* it agrees again */
    set_canned_date(0);
    UNTIL(gauge("spotcraft_imds_clock_ahead_seconds") == 0);
    assert_int_equal(logged("metadata_clock_agrees"), 1);
    canned_close(l);
}

int main(void)
{
    alarm(240);
    signal(SIGPIPE, SIG_IGN); /* as loop_new() does */
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_first_look_tells_who_and_that_all_was_read),
        TEST(one_404_does_not_settle_who_it_is),
        TEST(what_is_never_there_is_no_reason_to_wait),
        TEST(one_connection_and_one_token_serve_all_looks),
        TEST(every_kind_is_told_once_and_withdrawn_once),
        TEST(an_event_long_over_hides_no_near_one),
        TEST(a_sliding_time_is_told_once),
        TEST(another_recommendation_is_told_as_one),
        TEST(a_recommendation_whose_time_slides_is_one),
        TEST(a_server_that_closes_after_each_answer_is_read_all_the_same),
        TEST(a_token_is_renewed_before_it_ends),
        TEST(expired_tokens_are_replaced_within_the_look),
        TEST(a_token_that_is_never_good_does_no_harm),
        TEST(a_renewal_that_fails_leaves_the_old_token_in_use),
        TEST(a_service_without_tokens_is_told_as_that),
        TEST(version_1_only_where_it_is_allowed_and_2_refused),
        TEST(a_good_token_is_not_left_for_version_1),
        TEST(version_1_that_is_no_good_either_is_said_once),
        TEST(a_failing_token_request_is_no_reason_for_version_1),
        TEST(a_hop_limit_is_told_as_that_and_survived),
        TEST(one_silent_path_hides_no_other),
        TEST(each_fault_is_counted_as_what_it_is),
        TEST(a_failing_path_withdraws_nothing),
        TEST(a_broken_time_withdraws_nothing),
        TEST(a_throttled_watcher_asks_less_and_sees_all),
        TEST(a_service_that_is_away_is_waited_for),
        TEST(an_address_without_a_route_is_unreachable),
        TEST(a_silent_service_holds_nobody_up),
        TEST(none_asks_nobody),
        TEST(odd_but_right_answers_are_understood),
        TEST(hostile_answers_are_survived),
        TEST(a_clock_that_is_wrong_shortens_no_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
