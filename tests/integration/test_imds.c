/* A real node and a real gateway beside a metadata service that misbehaves in every way: whatever it does, the next
 * notice is seen, acted on once, and in time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/imds/imds_parse.h"
#include "tests/lib/party.h"
#include "tests/lib/probe.h"

enum { POLL_MS = 50, DETECTIONS = 20, MS = 20000 };

static struct cluster *cluster; /* one for all tests: each leaves its node running */
static struct member *node;

/* ---- looking at the node ---- */

static bool state_is(const char *state)
{
    char want[64];
    char *status = node->proc && proc_alive(node->proc) ? member_status(node) : NULL;
    snprintf(want, sizeof want, "\"state\":\"%s\"", state);
    bool is = status && strstr(status, want);
    free(status);
    return is;
}

static bool state_reached(void *state)
{
    return state_is(state);
}

static bool becomes(const char *state)
{
    char what[64];
    snprintf(what, sizeof what, "%s to be %s", node->name, state);
    return until(state_reached, (void *)(uintptr_t)state, MS, what);
}

static bool has_ended(void *arg)
{
    return !proc_alive(((struct member *)arg)->proc);
}

static bool ends_well(struct member *m)
{
    int status = -1;
    return until(has_ended, m, MS, "the process to end") && proc_wait(m->proc, 1000, &status) && WIFEXITED(status) &&
           WEXITSTATUS(status) == 0;
}

static double metric(const char *name, const char *label)
{
    double v;
    return member_metric(node, name, label, &v) ? v : 0;
}

static double errors(const char *kind)
{
    char label[48];
    snprintf(label, sizeof label, "kind=\"%s\"", kind);
    return metric("spotcraft_imds_errors_total", label);
}

struct error_wait {
    const char *kind;
    double least;
};

static bool errors_reached(void *arg)
{
    struct error_wait *w = arg;
    return errors(w->kind) >= w->least;
}

static bool errors_reach(const char *kind, double least)
{
    struct error_wait w = {kind, least};
    char what[64];
    snprintf(what, sizeof what, "errors of kind %s", kind);
    return until(errors_reached, &w, MS, what);
}

/* The lines of the node's log that have this in them, from its start. The last one is copied out. */
static unsigned log_lines(const char *name, const char *text, char *last, size_t bytes)
{
    char path[LAB_PATH_MAX], line[1200];
    unsigned n = 0;
    FILE *in = fopen(lab_path(cluster->lab, path, "%s.log", name), "re");
    while (in && fgets(line, sizeof line, in)) {
        if (!strstr(line, text))
            continue;
        n++;
        if (last)
            snprintf(last, bytes, "%s", line);
    }
    if (in)
        fclose(in);
    return n;
}

static unsigned said(const char *text)
{
    return log_lines(node->name, text, NULL, 0);
}

struct line_wait {
    const char *text;
    unsigned least;
};

static bool lines_reached(void *arg)
{
    struct line_wait *w = arg;
    return said(w->text) >= w->least;
}

/* One more line with that than there were. */
static bool is_said_again(const char *text, unsigned before)
{
    struct line_wait w = {text, before + 1};
    return until(lines_reached, &w, MS, text);
}

/* ---- the rig ---- */

#define say(...) assert_true(imds_say(&cluster->imds, __VA_ARGS__))

static int cluster_up(void **state)
{
    (void)state;
    cluster = cluster_new("imds", &(struct cluster_conf){.nodes = 1,
                                                         .imds = true,
                                                         .node_args = {"--imds-poll-ms", "50", "--imds-timeout-ms",
                                                                       "150", "--stop-ms", "5000", NULL}});
    if (!cluster)
        return -1;
    node = &cluster->node[0];
    return becomes("running") ? 0 : -1;
}

static int node_up(void **state)
{
    (void)state;
    if (!imds_say(&cluster->imds, "%s/fault?clear=1", node->name) ||
        !imds_say(&cluster->imds, "%s/withdraw?what=all", node->name) ||
        !imds_say(&cluster->imds, "%s?slide=0&connection=keep-alive&imds=on&ttl_s=21600", node->name))
        return -1;
    if (!proc_alive(node->proc) && !member_start(node))
        return -1;
    return becomes("running") ? 0 : -1;
}

static void start_anew(void)
{
    assert_int_equal(member_stop(node, MS), 0);
    assert_true(member_start(node));
    assert_true(becomes("running"));
}

/* A notice that means nothing lasting, there and back. */
static void the_next_notice_is_seen(void)
{
    double before = metric("spotcraft_imds_notices_total", "kind=\"rebalance\"");
    say("node0/rebalance");
    assert_true(becomes("at_risk"));
    assert_true(metric("spotcraft_imds_notices_total", "kind=\"rebalance\"") == before + 1);
    say("node0/withdraw?what=rebalance");
    assert_true(becomes("running"));
}

/* ---- in time ---- */

/* From the moment at which the mock would tell it to the last line of the log that says what the node does. */
static long long took_ms(const char *to)
{
    char line[1200] = "", *told;
    double set_ms = 0;
    uint64_t at_ms = 0;
    assert_true(log_lines(node->name, to, line, sizeof line) > 0);
    told = imds_told(&cluster->imds, "node0");
    assert_true(told && json_number(told, "set_ms", &set_ms));
    free(told);
    line[strcspn(line, " ")] = '\0';
    assert_true(imds_parse_time(line, strlen(line), &at_ms));
    return (long long)at_ms - (long long)set_ms;
}

static long long detection_ms(unsigned round)
{
    assert_true(becomes("running"));
    say("node0/rebalance");
    assert_true(becomes("at_risk"));
    assert_int_equal(said("node_state from=running to=at_risk"), round);
    long long took = took_ms("node_state from=running to=at_risk");
    say("node0/withdraw");
    return took;
}

static void a_notice_is_acted_on_one_poll_later(void **state)
{
    (void)state;
    long long longest = 0, sum = 0;
    unsigned before = said("node_state from=running to=at_risk");
    for (unsigned i = 1; i <= DETECTIONS; i++) {
        long long took = detection_ms(before + i);
        longest = took > longest ? took : longest;
        sum += took;
    }
    print_message("detection, readable to at_risk, polled every %d ms: mean %lld ms, longest %lld ms of %d\n", POLL_MS,
                  sum / DETECTIONS, longest, DETECTIONS);
    assert_in_range(longest, 0, 2000); /* one poll and 100 ms on a machine of its own; this one has others to serve */
}

static void the_identity_makes_the_pool(void **state)
{
    (void)state;
    char *status = member_status(node);
    assert_non_null(status);
    assert_non_null(strstr(status, "\"pool\":\"m6i.large/us-east-1a/spot\""));
    free(status);
    assert_true(metric("spotcraft_instance", "instance_id=\"i-0") == 1);
}

struct request_wait {
    double least;
};

static bool requests_reached(void *arg)
{
    struct request_wait *w = arg;
    return imds_number(&cluster->imds, "node0", "requests", 0) >= w->least;
}

static void a_connection_is_kept(void **state)
{
    (void)state;
    double connections = imds_number(&cluster->imds, "node0", "connections", 0);
    struct request_wait some = {imds_number(&cluster->imds, "node0", "requests", 0) + 50};
    assert_true(until(requests_reached, &some, MS, "ten looks"));
    assert_true(imds_number(&cluster->imds, "node0", "connections", 0) == connections);
}

/* ---- faults: each met three times at least, counted as what it is, said once, and over when it is over ---- */

/* What came back within a minute is not said anew: a node that met the same in an earlier test is replaced. */
static void survives(const char *query, const char *kind)
{
    char line[64];
    snprintf(line, sizeof line, "reason=%s", kind);
    unsigned lines = said(line);
    if (lines)
        start_anew();
    double before = errors(kind);
    say("node0/fault?%s", query);
    assert_true(errors_reach(kind, before + 3));
    assert_true(is_said_again(line, lines)); /* when the look is over */
    assert_true(said(line) <= lines + 10);   /* one for each path, and one for all */
    say("node0/fault?clear=1");
    the_next_notice_is_seen();
}

#define FAULT(name, query, kind)                                                                                       \
    static void name(void **state)                                                                                     \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        survives(query, kind);                                                                                         \
    }
FAULT(bad_request_400, "status=400", "bad_request")
FAULT(unauthorized_401_whatever_token, "status=401&path=meta-data", "unauthorized")
FAULT(forbidden_403, "status=403", "forbidden")
FAULT(too_many_requests_429, "status=429", "throttled")
FAULT(internal_error_500, "status=500", "server_error")
FAULT(unavailable_503, "status=503", "throttled")
FAULT(one_path_503, "status=503&path=spot", "throttled")
FAULT(a_reset, "reset=1", "closed")
FAULT(silence, "silence=1", "unanswered")
FAULT(an_answer_that_comes_too_late, "delay_ms=400", "unanswered")
FAULT(an_endless_body, "endless=1", "unanswered")
FAULT(a_flood, "flood=1", "broken")
FAULT(no_http, "broken=1", "broken")
FAULT(garbage_json, "garbage=1&path=instance-action", "garbage")
FAULT(throttling, "throttle=2", "throttled")
FAULT(no_tokens_404, "status=404&path=token&expire-tokens=1", "no_tokens")
FAULT(a_hop_limit_that_swallows_the_token, "hop-limit=1&expire-tokens=1", "hop_limit")

static void the_hop_limit_is_said_with_what_to_do(void **state)
{
    (void)state;
    unsigned lines = said("HttpPutResponseHopLimit to 2");
    start_anew();
    say("node0/fault?hop-limit=1&expire-tokens=1");
    assert_true(is_said_again("HttpPutResponseHopLimit to 2", lines));
    say("node0/fault?clear=1");
    the_next_notice_is_seen();
}

/* While the old token is good nothing is missed; what fails is said, and that it is over. */
static void a_renewal_that_fails_is_said(void **state)
{
    (void)state;
    unsigned fails = said("metadata_token_fails reason=server_error"), renewed = said("metadata_token_renewed");
    say("node0?ttl_s=3");
    say("node0/fault?expire-tokens=1"); /* the next one lasts three seconds */
    the_next_notice_is_seen();
    say("node0/fault?status=500&path=token");
    assert_true(is_said_again("metadata_token_fails reason=server_error", fails));
    say("node0/fault?clear=1");
    assert_true(is_said_again("metadata_token_renewed", renewed));
    the_next_notice_is_seen();
}

static void expired_tokens(void **state)
{
    (void)state;
    double tokens = metric("spotcraft_imds_tokens_total", ""), unauthorized = errors("unauthorized");
    for (unsigned i = 0; i < 3; i++) {
        say("node0/fault?expire-tokens=1");
        the_next_notice_is_seen();
    }
    assert_true(metric("spotcraft_imds_tokens_total", "") == tokens + 3);
    assert_true(errors("unauthorized") == unauthorized); /* replaced within the look: nothing was missed */
}

static void a_404_is_no_notice_and_no_fault(void **state)
{
    (void)state;
    double before = metric("spotcraft_imds_errors_total", "");
    the_next_notice_is_seen();
    assert_true(metric("spotcraft_imds_answers_total", "status=\"404\"") > 0);
    assert_true(metric("spotcraft_imds_errors_total", "") == before);
}

/* ---- notices that are odd ---- */

static bool is_past_counted(void *arg)
{
    (void)arg;
    return metric("spotcraft_imds_ignored_total", "why=\"past\"") >= 6;
}

/* EC2 did not carry it out, and the time stays: not a reason to go, again and again, at each start. */
static void a_time_in_the_past_is_said_and_ignored(void **state)
{
    (void)state;
    say("node0/itn?ago_ms=3600000");
    assert_true(until(is_past_counted, NULL, MS, "the old notice to be read"));
    assert_true(state_is("running"));
    assert_in_range(said("metadata_notice_past"), 1, 2); /* instance-action, termination-time */
    the_next_notice_is_seen();
}

static bool is_read_often(void *arg)
{
    (void)arg;
    return imds_number(&cluster->imds, "node0", "reads", 0) >= 100;
}

static void the_same_notice_a_hundred_times_is_one(void **state)
{
    (void)state;
    double before = metric("spotcraft_imds_notices_total", "");
    unsigned changes = said("node_state "), slides = said("metadata_notice_slides kind=rebalance");
    say("node0?slide=1"); /* and with another time at each reading */
    say("node0/rebalance");
    assert_true(until(is_read_often, NULL, MS, "a hundred readings"));
    assert_true(metric("spotcraft_imds_notices_total", "") == before + 1);
    assert_int_equal(said("node_state "), changes + 1);
    assert_true(state_is("at_risk"));
    assert_int_equal(said("metadata_notice_slides kind=rebalance"), slides + 1);
    assert_true(metric("spotcraft_imds_ignored_total", "why=\"slides\"") > 0);
}

/* A recommendation is never taken back, and stands long after it meant anything: a later one counts all the same. */
static void a_later_recommendation_counts_again(void **state)
{
    (void)state;
    const char **more = cluster->conf.node_args;
    while (*more)
        more++;
    more[0] = "--at-risk-quiet-ms";
    more[1] = "1000";
    start_anew();
    more[0] = NULL;
    unsigned at_risk = said("to=at_risk");
    for (unsigned i = 0; i < 2; i++) { /* the second a second later at least: the times have no more */
        say("node0/rebalance");
        assert_true(is_said_again("to=at_risk", at_risk + i));
        assert_true(becomes("running"));
        assert_true(metric("spotcraft_imds_notice", "kind=\"rebalance\"") == 1);
    }
    assert_int_equal(member_stop(node, MS), 0); /* the next test's is like the others */
}

static void a_withdrawn_notice_is_over_and_may_come_again(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++)
        the_next_notice_is_seen();
    assert_true(metric("spotcraft_imds_notice", "") == 0);
}

static void planned_maintenance_is_only_said(void **state)
{
    (void)state;
    unsigned before = said("metadata_maintenance_planned");
    say("node0/maintenance?in_ms=86400000&code=system-reboot&id=event-far");
    say("node0/maintenance?in_ms=90000000&id=event-farther");
    the_next_notice_is_seen();
    assert_int_equal(said("metadata_maintenance_planned"), before + 1);
    assert_true(state_is("running"));
}

/* ---- notices that are meant ---- */

static void several_at_once_make_it_leave_once(void **state)
{
    (void)state;
    unsigned before = said("to=leaving");
    say("node0/rebalance");
    say("node0/maintenance?in_ms=60000");
    say("node0/asg?state=Terminated");
    say("node0/itn?in_ms=120000");
    assert_true(ends_well(node)); /* it has no cells: nothing keeps it */
    assert_int_equal(said("to=leaving"), before + 1);
}

static void leaves_on(const char *command)
{
    say("node0/%s", command);
    assert_true(ends_well(node));
    long long took = took_ms("to=leaving");
    print_message("detection, readable to leaving: %lld ms\n", took);
    assert_in_range(took, 0, 2000);
}

#define LEAVES(name, command)                                                                                          \
    static void name(void **state)                                                                                     \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        leaves_on(command);                                                                                            \
    }
LEAVES(it_leaves_when_stopped, "itn?action=stop&in_ms=120000")
LEAVES(it_leaves_when_hibernated, "itn?action=hibernate&in_ms=120000")
LEAVES(it_leaves_when_its_group_says_so, "asg?state=Terminated")
LEAVES(it_leaves_when_maintenance_is_near, "maintenance?code=instance-retirement&in_ms=300000")
LEAVES(it_leaves_on_a_deadline_just_missed, "itn?ago_ms=3000")

/* Told before it starts: it claims nothing, and goes. */
static void a_node_that_is_told_before_it_starts_takes_nothing(void **state)
{
    (void)state;
    struct member *late = cluster_new_node(cluster);
    say("%s/itn?in_ms=120000", late->name);
    assert_true(member_start(late));
    assert_true(ends_well(late));
    assert_int_equal(log_lines(late->name, "to=running", NULL, 0), 0);
}

/* ---- all of it ---- */

static bool a_good_answer(void *before)
{
    return metric("spotcraft_imds_answers_total", "status=\"404\"") > *(double *)before;
}

static void after_all_faults_in_a_row_the_next_notice_is_seen(void **state)
{
    (void)state;
    static const struct {
        const char *query, *kind;
    } all[] = {
        {"status=400", "bad_request"},
        {"status=401&path=meta-data", "unauthorized"},
        {"status=403", "forbidden"},
        {"status=404&path=token&expire-tokens=1", "no_tokens"},
        {"status=429", "throttled"},
        {"status=500", "server_error"},
        {"status=503", "throttled"},
        {"throttle=1", "throttled"},
        {"reset=1", "closed"},
        {"silence=1", "unanswered"},
        {"delay_ms=300", "unanswered"},
        {"endless=1", "unanswered"},
        {"flood=1", "broken"},
        {"broken=1", "broken"},
        {"garbage=1&path=instance-action", "garbage"},
        {"expire-tokens=1", NULL},
        {"hop-limit=1&expire-tokens=1", "hop_limit"},
    };
    say("node0/itn?ago_ms=3600000");
    say("node0?slide=1");
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
        double before = all[i].kind ? errors(all[i].kind) : 0;
        say("node0/fault?%s", all[i].query);
        assert_true(!all[i].kind || errors_reach(all[i].kind, before + 1));
        double good = metric("spotcraft_imds_answers_total", "status=\"404\"");
        say("node0/fault?clear=1");
        assert_true(until(a_good_answer, &good, MS, "an answer"));
    }
    assert_true(state_is("running"));
    say("node0/rebalance");
    assert_true(becomes("at_risk"));
    say("node0/withdraw");
    assert_true(becomes("running"));
    say("node0/itn?in_ms=120000");
    assert_true(ends_well(node));
}

/* ---- where the service is ---- */

static void a_node_without_metadata_serves(void **state)
{
    (void)state;
    struct member *alone = cluster_new_node(cluster);
    snprintf(alone->imds, sizeof alone->imds, "http://127.0.0.1:%u", port_pick());
    assert_true(member_start(alone));
    assert_true(member_wait_ready(alone, MS));
    assert_int_equal(log_lines(alone->name, "metadata_blind", NULL, 0), 1);
    assert_int_equal(member_stop(alone, MS), 0);
}

static bool is_asked(void *name)
{
    return imds_number(&cluster->imds, name, "requests", 0) > 5;
}

static void the_environment_tells_where_the_service_is(void **state)
{
    (void)state;
    char program[LAB_PATH_MAX], store[LAB_PATH_MAX + 16], path[LAB_PATH_MAX], where[200];
    say("by-env");
    snprintf(program, sizeof program, "%s/node/node", build_dir());
    snprintf(store, sizeof store, "sqlite:%s", lab_path(cluster->lab, path, "env.db"));
    snprintf(where, sizeof where, "AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:%u/by-env", cluster->imds.port);
    const char *env[] = {where, NULL};
    const char *argv[] = {program, "--redis", "unix:/nonexistent", "--store", store, NULL};
    struct proc *p = proc_start(cluster->lab, &(struct proc_conf){.name = "by-env", .argv = argv, .env = env});
    assert_non_null(p);
    assert_true(until(is_asked, (void *)(uintptr_t) "by-env", MS, "a look"));
    proc_kill(p);
}

static void an_endpoint_that_is_none_stops_the_start(void **state)
{
    (void)state;
    char program[LAB_PATH_MAX], store[LAB_PATH_MAX + 16], path[LAB_PATH_MAX];
    int status = 0;
    snprintf(program, sizeof program, "%s/node/node", build_dir());
    snprintf(store, sizeof store, "sqlite:%s", lab_path(cluster->lab, path, "bad.db"));
    const char *argv[] = {program, "--store", store, "--imds", "169.254.169.254", NULL};
    struct proc *p = proc_start(cluster->lab, &(struct proc_conf){.name = "bad-imds", .argv = argv});
    assert_true(p && proc_wait(p, MS, &status));
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 2);
    assert_true(proc_log_has(p, "is not http://host[:port][/prefix]"));
}

/* ---- a gateway on notice ---- */

static int party_down(void **state)
{
    party_free(*state);
    return 0;
}

/* Not ready at once, its sockets stay, new players are still served while they are sent here; players read a line of
 * chat; it closes in time. */
static void a_gateway_on_notice_warns_serves_on_and_ends_in_time(void **state)
{
    struct cluster_conf conf = {
        .nodes = 1, .gateways = 1, .imds = true, .gateway_args = {"--imds-poll-ms", "50", NULL}};
    struct party *p = *state = party_new("imds-gateway", &conf);
    assert_non_null(p);
    struct member *g = &p->cluster->gateway[0];
    struct bot *a = party_join(p, "", -1);
    assert_non_null(a);
    unsigned lines = bot_lines(a, 'T');
    assert_true(imds_say(&p->cluster->imds, "%s?slide=1", g->name));   /* its first deadline is the one */
    assert_true(imds_say(&p->cluster->imds, "%s/rebalance", g->name)); /* nothing to a gateway */
    assert_true(imds_say(&p->cluster->imds, "%s/itn?in_ms=8000", g->name));
    uint64_t start = clock_mono_ms();
    assert_true(party_hears(p, a, "goes away"));
    assert_true(bot_lines(a, 'T') > lines && bot_connected(a));
    assert_false(member_is_ready(g));
    struct bot *b = party_join(p, "", -1); /* the load balancer has not noticed yet */
    assert_non_null(b);
    assert_true(loop_until(p->base, has_ended, g, 15000, "the gateway to end"));
    assert_in_range(clock_mono_ms() - start, 4000, 8500); /* players were there until the deadline, less a reserve */
    int status = -1;
    assert_true(proc_wait(g->proc, 1000, &status) && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_true(proc_log_has(g->proc, "metadata_notice_slides kind=interruption"));
    party_forget(p, a);
    party_forget(p, b);
    assert_true(party_passed(p));
}

int main(void)
{
    alarm(280);
#define TEST(name) cmocka_unit_test_setup(name, node_up)
    const struct CMUnitTest tests[] = {
        TEST(the_identity_makes_the_pool),
        TEST(a_connection_is_kept),
        TEST(a_notice_is_acted_on_one_poll_later),
        TEST(a_404_is_no_notice_and_no_fault),
        TEST(bad_request_400),
        TEST(unauthorized_401_whatever_token),
        TEST(forbidden_403),
        TEST(too_many_requests_429),
        TEST(internal_error_500),
        TEST(unavailable_503),
        TEST(one_path_503),
        TEST(a_reset),
        TEST(silence),
        TEST(an_answer_that_comes_too_late),
        TEST(an_endless_body),
        TEST(a_flood),
        TEST(no_http),
        TEST(garbage_json),
        TEST(throttling),
        TEST(no_tokens_404),
        TEST(a_hop_limit_that_swallows_the_token),
        TEST(the_hop_limit_is_said_with_what_to_do),
        TEST(a_renewal_that_fails_is_said),
        TEST(expired_tokens),
        TEST(a_time_in_the_past_is_said_and_ignored),
        TEST(the_same_notice_a_hundred_times_is_one),
        TEST(a_later_recommendation_counts_again),
        TEST(a_withdrawn_notice_is_over_and_may_come_again),
        TEST(planned_maintenance_is_only_said),
        TEST(several_at_once_make_it_leave_once),
        TEST(it_leaves_when_stopped),
        TEST(it_leaves_when_hibernated),
        TEST(it_leaves_when_its_group_says_so),
        TEST(it_leaves_when_maintenance_is_near),
        TEST(it_leaves_on_a_deadline_just_missed),
        TEST(a_node_that_is_told_before_it_starts_takes_nothing),
        TEST(after_all_faults_in_a_row_the_next_notice_is_seen),
        TEST(a_node_without_metadata_serves),
        TEST(the_environment_tells_where_the_service_is),
        TEST(an_endpoint_that_is_none_stops_the_start),
        cmocka_unit_test_teardown(a_gateway_on_notice_warns_serves_on_and_ends_in_time, party_down),
    };
    int failed = cmocka_run_group_tests(tests, cluster_up, NULL);
    if (cluster && !failed)
        cluster_passed(cluster);
    cluster_free(cluster);
    return failed;
}
