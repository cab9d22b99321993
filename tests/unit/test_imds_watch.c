/* The watcher against the metadata service of spotcraft-imds, on its own loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ops/imds/control.h"
#include "ops/imds/metadata.h"
#include "ops/imds/serve.h"
#include "proto/base/log.h"
#include "proto/base/metrics.h"
#include "tests/lib/watch_rig.h"

static struct fleet fleet;
static struct serve *serve;
static uint16_t port;

/* ---- the service ---- */

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

static int set_up(void **state)
{
    (void)state;
    char why[200];
    watch_rig_up();
    serve = serve_open(rig.base, "127.0.0.1", 0, on_request, NULL, why, sizeof why);
    assert_non_null(serve);
    port = serve_port(serve);
    say("", "type=c7g.large&zone=eu-west-1b");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    imds_free(rig.watcher); /* before the service that it asks */
    rig.watcher = NULL;
    serve_close(serve);
    fleet_free(&fleet);
    watch_rig_down();
    return 0;
}

static void watch(bool v1)
{
    char endpoint[64];
    snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%u/n", port);
    watch_rig_watch(endpoint, v1);
}

static struct instance *instance(void)
{
    return fleet_find(&fleet, "n");
}

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
    UNTIL(rig.checked);
    assert_true(rig.known_when_checked);
    assert_int_equal(rig.notices[NOTICE_INTERRUPTION], 1); /* known before anything is claimed */
    assert_string_equal(rig.identity.pool, "c7g.large/eu-west-1b/spot");
    assert_string_equal(rig.identity.instance_id, instance()->id);
    looks(5);
    assert_int_equal(rig.checked, 1);
    assert_int_equal(rig.identified, 1);
}

/* A service that is just starting may not know yet: what is not there the first time is asked for once more. */
static void one_404_does_not_settle_who_it_is(void **state)
{
    (void)state;
    say("fault", "status=404&path=meta-data/instance-type&count=1");
    say("fault", "status=404&path=availability-zone&count=1");
    watch(false);
    UNTIL(rig.identified);
    assert_string_equal(rig.identity.pool, "c7g.large/eu-west-1b/spot");
}

static void what_is_never_there_is_no_reason_to_wait(void **state)
{
    (void)state;
    say("fault", "status=404&path=instance-life-cycle");
    watch(false);
    UNTIL(rig.identified);
    assert_string_equal(rig.identity.pool, "c7g.large/eu-west-1b/on-demand");
    unsigned before = instance()->requests;
    looks(10);
    assert_in_range(instance()->requests, before + 50, before + 54); /* and it is not asked for any more */
}

static void one_connection_and_one_token_serve_all_looks(void **state)
{
    (void)state;
    watch(false);
    UNTIL(rig.checked);
    looks(20);
    assert_int_equal(instance()->connections, 1);
    assert_int_equal(instance()->tokens_given, 1);
    assert_int_equal(instance()->unauthorized, 0);
    assert_true(watch_rig_gauge("spotcraft_imds_age_seconds") < 5);
    assert_true(watch_rig_gauge("spotcraft_imds_blind") == 0);
}

static void every_kind_is_told_once_and_withdrawn_once(void **state)
{
    (void)state;
    watch(false);
    UNTIL(rig.checked);
    for (unsigned round = 1; round <= 3; round++) {
        uint64_t before = clock_unix_ms();
        say("rebalance", "");
        say("itn", "in_ms=120000");
        say("asg", "");
        say("maintenance", "in_ms=300000");
        say("maintenance", "in_ms=200000&id=nearer");
        for (unsigned k = 0; k < NOTICES; k++)
            UNTIL(rig.notices[k] == round);
        assert_in_range(rig.deadline[NOTICE_INTERRUPTION], before + 115000, before + 125000);
        assert_in_range(rig.deadline[NOTICE_MAINTENANCE], before + 195000, before + 205000);
        assert_int_equal(rig.deadline[NOTICE_LIFECYCLE], 0);
        looks(20);
        for (unsigned k = 0; k < NOTICES; k++)
            assert_true(rig.notices[k] == round && rig.withdrawn[k] == round - 1);
        say("withdraw", "what=all");
        for (unsigned k = 0; k < NOTICES; k++)
            UNTIL(rig.withdrawn[k] == round);
    }
}

/* EC2 leaves an event "active" that it did not carry out. */
static void an_event_long_over_hides_no_near_one(void **state)
{
    (void)state;
    say("maintenance", "ago_ms=86400000&for_ms=0&id=old");
    watch(false);
    UNTIL(watch_rig_ignored("why=\"past\"") >= 2);
    assert_int_equal(watch_rig_logged("metadata_notice_past kind=maintenance"), 1);
    uint64_t before = clock_unix_ms();
    say("maintenance", "in_ms=60000&id=near");
    UNTIL(rig.notices[NOTICE_MAINTENANCE]);
    assert_in_range(rig.deadline[NOTICE_MAINTENANCE], before + 55000, before + 65000);
    looks(5);
    assert_int_equal(rig.notices[NOTICE_MAINTENANCE], 1);
    say("withdraw", "what=maintenance");
    UNTIL(rig.withdrawn[NOTICE_MAINTENANCE]);
}

static void a_sliding_time_is_told_once(void **state)
{
    (void)state;
    say("", "slide=1");
    watch(false);
    say("itn", "in_ms=120000");
    UNTIL(rig.notices[NOTICE_INTERRUPTION]);
    uint64_t start = clock_mono_ms();
    UNTIL(clock_mono_ms() - start > 3500); /* more than what counts as the same time */
    assert_int_equal(rig.notices[NOTICE_INTERRUPTION], 1);
    assert_int_equal(rig.withdrawn[NOTICE_INTERRUPTION], 0);
    assert_true(watch_rig_ignored("why=\"slides\"") >= 1);
    assert_int_equal(watch_rig_logged("metadata_notice_slides kind=interruption"), 1);
}

/* EC2 never takes a recommendation back: a later one is told by its time alone. */
static void another_recommendation_is_told_as_one(void **state)
{
    (void)state;
    watch(false);
    say("rebalance", "");
    UNTIL(rig.notices[NOTICE_REBALANCE]);
    uint64_t first = rig.deadline[NOTICE_REBALANCE];
    assert_in_range(first, clock_unix_ms() - 5000, clock_unix_ms());
    UNTIL(clock_unix_ms() > first + 2000); /* its time has seconds only */
    assert_int_equal(rig.notices[NOTICE_REBALANCE], 1);
    say("rebalance", "");
    UNTIL(rig.notices[NOTICE_REBALANCE] == 2);
    assert_true(rig.deadline[NOTICE_REBALANCE] > first);
    looks(20);
    assert_int_equal(rig.notices[NOTICE_REBALANCE], 2);
    assert_int_equal(rig.withdrawn[NOTICE_REBALANCE], 0);
}

static void a_recommendation_whose_time_slides_is_one(void **state)
{
    (void)state;
    say("", "slide=1");
    say("rebalance", "");
    watch(false);
    UNTIL(rig.notices[NOTICE_REBALANCE]);
    uint64_t start = clock_mono_ms();
    UNTIL(clock_mono_ms() - start > 7500);
    assert_int_equal(rig.notices[NOTICE_REBALANCE], 1);
    assert_int_equal(watch_rig_logged("metadata_notice_slides kind=rebalance"), 1);
    assert_true(watch_rig_ignored("why=\"slides\"") >= 1);
    say("", "slide=0");
    say("rebalance", "");
    UNTIL(rig.notices[NOTICE_REBALANCE] == 2);
}

static void a_server_that_closes_after_each_answer_is_read_all_the_same(void **state)
{
    (void)state;
    say("", "connection=close");
    watch(false);
    UNTIL(rig.checked);
    say("itn", "");
    UNTIL(rig.notices[NOTICE_INTERRUPTION]);
    looks(5);
    assert_true(watch_rig_errors("closed") == 0);
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
    UNTIL(rig.checked);
    for (unsigned i = 1; i <= 5; i++) {
        say("fault", "expire-tokens=1");
        say("rebalance", "");
        UNTIL(rig.notices[NOTICE_REBALANCE] == i);
        assert_int_equal(instance()->tokens_given, 1 + i);
        assert_int_equal(instance()->unauthorized, i);
        say("withdraw", "");
        UNTIL(rig.withdrawn[NOTICE_REBALANCE] == i);
    }
    assert_true(watch_rig_errors("unauthorized") == 0);
}

/* 401 whatever token: that is said, and costs two requests a path and look, no more. */
static void a_token_that_is_never_good_does_no_harm(void **state)
{
    (void)state;
    say("fault", "status=401&path=meta-data");
    watch(false);
    UNTIL(watch_rig_errors("unauthorized") >= 9);
    assert_int_equal(rig.checked, 1);
    assert_true(instance()->requests < 30);
    say("fault", "clear=1");
    say("itn", "");
    UNTIL(rig.notices[NOTICE_INTERRUPTION]);
}

static void a_renewal_that_fails_leaves_the_old_token_in_use(void **state)
{
    (void)state;
    say("", "ttl_s=2");
    watch(false);
    UNTIL(rig.checked);
    say("fault", "status=500&path=api/token&count=2");
    UNTIL(watch_rig_errors("server_error") >= 1); /* 1.6 s on */
    say("rebalance", "");
    UNTIL(rig.notices[NOTICE_REBALANCE]);
    UNTIL(instance()->tokens_given == 2);
    assert_true(watch_rig_gauge("spotcraft_imds_blind") == 0);
    assert_int_equal(watch_rig_logged("metadata_token_fails reason=server_error"), 1);
    UNTIL(watch_rig_logged("metadata_token_renewed") == 1);
}

static void a_service_without_tokens_is_told_as_that(void **state)
{
    (void)state;
    say("fault", "status=404&path=api/token");
    watch(false);
    UNTIL(watch_rig_errors("no_tokens") >= 2);
    assert_int_equal(rig.identified, 0);
    assert_int_equal(watch_rig_logged("metadata_blind"), 1);
    assert_int_equal(watch_rig_logged("reason=no_tokens hint="), 1);
    say("fault", "clear=1");
    UNTIL(rig.identified);
}

static void version_1_only_where_it_is_allowed_and_2_refused(void **state)
{
    (void)state;
    say("", "tokens=optional");
    say("fault", "status=403&path=api/token");
    watch(false);
    UNTIL(watch_rig_errors("forbidden") >= 2);
    assert_int_equal(rig.identified, 0);
    imds_free(rig.watcher);
    watch(true);
    UNTIL(rig.identified);
    say("itn", "");
    UNTIL(rig.notices[NOTICE_INTERRUPTION]);
    /* from now on version 2 is required: 401 leads back to tokens */
    say("fault", "clear=1");
    say("", "tokens=required");
    say("rebalance", "");
    UNTIL(rig.notices[NOTICE_REBALANCE]);
    assert_int_equal(instance()->tokens_given, 1);
}

/* A renewal that is refused is no reason to give up a token that is good for a while yet. */
static void a_good_token_is_not_left_for_version_1(void **state)
{
    (void)state;
    say("", "tokens=required&ttl_s=3");
    watch(true);
    UNTIL(rig.identified);
    say("fault", "status=403&path=api/token&count=1");
    UNTIL(watch_rig_errors("forbidden") >= 1); /* 2.4 s on */
    UNTIL(instance()->tokens_given == 2);
    assert_int_equal(watch_rig_logged("metadata_v1"), 0);
    assert_int_equal(watch_rig_logged("metadata_token_fails reason=forbidden"), 1);
    UNTIL(watch_rig_logged("metadata_token_renewed") == 1);
    assert_int_equal(instance()->unauthorized, 0);
}

static void version_1_that_is_no_good_either_is_said_once(void **state)
{
    (void)state;
    say("fault", "status=403&path=api/token");
    watch(true);
    UNTIL(watch_rig_errors("unauthorized") >= 12);
    assert_int_equal(watch_rig_logged("metadata_v1 "), 1);
    say("fault", "clear=1");
    UNTIL(rig.identified);
    assert_int_equal(watch_rig_logged("metadata_v1_over"), 1);
}

static void a_failing_token_request_is_no_reason_for_version_1(void **state)
{
    (void)state;
    say("", "tokens=optional");
    say("fault", "status=503&path=api/token");
    watch(true);
    UNTIL(watch_rig_errors("throttled") >= 2);
    assert_int_equal(rig.identified, 0);
}

static void a_hop_limit_is_told_as_that_and_survived(void **state)
{
    (void)state;
    say("fault", "hop-limit=1");
    watch(true); /* a request that is not answered was not refused: no version 1 either */
    UNTIL(rig.checked);
    UNTIL(watch_rig_errors("hop_limit") >= 2);
    assert_int_equal(rig.identified, 0);
    say("fault", "clear=1");
    say("itn", "");
    UNTIL(rig.notices[NOTICE_INTERRUPTION] && rig.identified);
}

/* ---- faults ---- */

static void one_silent_path_hides_no_other(void **state)
{
    (void)state;
    say("fault", "silence=1&path=rebalance");
    watch(false);
    UNTIL(rig.checked);
    UNTIL(watch_rig_errors("unanswered") >= 2);
    say("itn", "");
    UNTIL(rig.notices[NOTICE_INTERRUPTION] && rig.notices[NOTICE_TERMINATION]);
    say("asg", "");
    UNTIL(rig.notices[NOTICE_LIFECYCLE]);
    /* and the path itself is asked less often than the others: silence costs a time-out each time */
    unsigned before = instance()->requests;
    double silent = watch_rig_errors("unanswered");
    UNTIL(instance()->requests > before + 100);
    assert_true(watch_rig_errors("unanswered") - silent < 10);
    say("fault", "clear=1");
    say("rebalance", "");
    UNTIL(rig.notices[NOTICE_REBALANCE]);
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
    UNTIL(rig.checked);
    for (unsigned i = 0; i < sizeof faults / sizeof *faults; i++) {
        double before = watch_rig_errors(faults[i].kind);
        say("fault", faults[i].query);
        UNTIL(watch_rig_errors(faults[i].kind) > before);
        say("fault", "clear=1");
        say("rebalance", "");
        UNTIL(rig.notices[NOTICE_REBALANCE] == i + 1);
        say("withdraw", "");
        UNTIL(rig.withdrawn[NOTICE_REBALANCE] == i + 1);
    }
    assert_int_equal(rig.notices[NOTICE_INTERRUPTION], 0);
}

/* A notice that was read stands while its path fails: not knowing is not the same as "withdrawn". */
static void a_failing_path_withdraws_nothing(void **state)
{
    (void)state;
    watch(false);
    say("itn", "");
    UNTIL(rig.notices[NOTICE_INTERRUPTION]);
    say("fault", "status=500");
    UNTIL(watch_rig_errors("server_error") >= 12);
    say("fault", "clear=1");
    looks(5);
    assert_int_equal(rig.notices[NOTICE_INTERRUPTION], 1);
    assert_int_equal(rig.withdrawn[NOTICE_INTERRUPTION], 0);
}

/* "Anything but a time" means that the instance is not marked; it does not unmark one that was. */
static void a_broken_time_withdraws_nothing(void **state)
{
    (void)state;
    watch(false);
    say("fault", "garbage=1&path=termination-time&count=3");
    UNTIL(instance()->faults[0].left == 0);
    looks(2);
    assert_true(watch_rig_errors("garbage") == 0);
    say("itn", "");
    UNTIL(rig.notices[NOTICE_TERMINATION]);
    say("fault", "garbage=1&path=termination-time");
    UNTIL(watch_rig_errors("garbage") >= 2);
    say("fault", "clear=1");
    looks(5);
    assert_int_equal(rig.notices[NOTICE_TERMINATION], 1);
    assert_int_equal(rig.withdrawn[NOTICE_TERMINATION], 0);
    say("withdraw", "what=itn"); /* 404 */
    UNTIL(rig.withdrawn[NOTICE_TERMINATION]);
}

static void a_throttled_watcher_asks_less_and_sees_all(void **state)
{
    (void)state;
    watch(false);
    UNTIL(rig.checked);
    say("fault", "throttle=4"); /* a second; a look has five paths */
    say("itn", "");
    say("maintenance", "in_ms=60000"); /* the last path of a look */
    UNTIL(watch_rig_errors("throttled") > 0);
    UNTIL(rig.notices[NOTICE_INTERRUPTION] && rig.notices[NOTICE_MAINTENANCE]);
}

static void a_service_that_is_away_is_waited_for(void **state)
{
    (void)state;
    char why[200];
    serve_close(serve);
    serve = NULL;
    watch(false);
    UNTIL(rig.checked);
    assert_int_equal(rig.identified, 0);
    UNTIL(watch_rig_errors("unreachable") >= 3);
    assert_true(watch_rig_gauge("spotcraft_imds_age_seconds") > 0); /* it was named, so it should be there */
    assert_int_equal(watch_rig_logged("metadata_blind"), 1);
    assert_int_equal(watch_rig_logged("no_metadata"), 0);
    serve = serve_open(rig.base, "127.0.0.1", port, on_request, NULL, why, sizeof why);
    assert_non_null(serve);
    say("itn", "");
    UNTIL(rig.notices[NOTICE_INTERRUPTION] && rig.identified);
    serve_close(serve);
    serve = NULL;
    double before = watch_rig_errors("unreachable") + watch_rig_errors("closed");
    UNTIL(watch_rig_errors("unreachable") + watch_rig_errors("closed") > before + 1);
    serve = serve_open(rig.base, "127.0.0.1", port, on_request, NULL, why, sizeof why);
    assert_non_null(serve);
    say("withdraw", "");
    UNTIL(rig.withdrawn[NOTICE_INTERRUPTION]);
}

/* Refused at once by this machine, before anything is sent: as a link-local address is where no route leads to it. */
static void an_address_without_a_route_is_unreachable(void **state)
{
    (void)state;
    watch_rig_watch("http://255.255.255.255", false);
    UNTIL(watch_rig_errors("unreachable") >= 3);
    assert_true(watch_rig_errors("closed") == 0);
    assert_int_equal(rig.checked, 1);
}

static void a_silent_service_holds_nobody_up(void **state)
{
    (void)state;
    say("fault", "silence=1");
    uint64_t start = clock_mono_ms();
    watch(false);
    UNTIL(rig.checked);
    assert_in_range(clock_mono_ms() - start, WATCH_TIMEOUT_MS / 2, 5000);
    assert_int_equal(rig.identified, 0);
}

static void none_asks_nobody(void **state)
{
    (void)state;
    watch_rig_watch("none", false);
    UNTIL(rig.checked);
    assert_true(watch_rig_gauge("spotcraft_imds_blind") == 0 && watch_rig_gauge("spotcraft_imds_age_seconds") == 0);
    assert_int_equal(instance()->requests, 0);
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
