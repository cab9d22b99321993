/* spotcraft-imds answers as EC2 does, does what it is told, and says what it was not understood in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/json.h"
#include "tests/lib/imds_mock.h"
#include "tests/lib/probe.h"

enum { MS = 10000 };
#define TTL "X-aws-ec2-metadata-token-ttl-seconds: "

static struct lab *lab;
static struct imds_mock mock;

static int up(void **state)
{
    (void)state;
    lab = lab_new("imds-mock");
    return imds_mock_start(&mock, lab, NULL) && imds_say(&mock, "a?type=c7g.large&zone=eu-west-1b&lifecycle=on-demand")
               ? 0
               : -1;
}

static const char *body_of(const char *answer)
{
    const char *at = strstr(answer, "\r\n\r\n");
    return at ? at + 4 : "";
}

/* A token of that instance, as a header. */
static void token_of(const char *name, char out[256])
{
    char path[128], *answer;
    snprintf(path, sizeof path, "/%s/latest/api/token", name);
    assert_int_equal(imds_ask(mock.port, "PUT", path, TTL "60\r\n", &answer), 200);
    snprintf(out, 256, "X-aws-ec2-metadata-token: %s\r\n", body_of(answer));
    free(answer);
}

/* The status of a GET below /a with a good token; *out: its body, the caller frees. */
static int get(const char *path, char **out)
{
    char header[256], full[256], *answer;
    token_of("a", header);
    snprintf(full, sizeof full, "/a%s", path);
    int status = imds_ask(mock.port, "GET", full, header, &answer);
    *out = strdup(body_of(answer));
    free(answer);
    return status;
}

static void answers(const char *path, const char *body)
{
    char *got;
    assert_int_equal(get(path, &got), 200);
    assert_string_equal(got, body);
    free(got);
}

static void is_absent(const char *path)
{
    char *got;
    assert_int_equal(get(path, &got), 404);
    assert_non_null(strstr(got, "<title>404 - Not Found</title>"));
    free(got);
}

static int put(const char *path, const char *headers)
{
    return imds_ask(mock.port, "PUT", path, headers, NULL);
}

static int command(const char *what)
{
    char path[256];
    snprintf(path, sizeof path, "/control/%s", what);
    return imds_ask(mock.port, "POST", path, "", NULL);
}

static void tokens_are_asked_for_as_ec2_wants_it(void **state)
{
    (void)state;
    char *answer;
    assert_int_equal(imds_ask(mock.port, "PUT", "/a/latest/api/token", TTL "21600\r\n", &answer), 200);
    assert_non_null(strstr(answer, "\r\nX-Aws-Ec2-Metadata-Token-Ttl-Seconds: 21600\r\n"));
    assert_true(strlen(body_of(answer)) >= 32);
    free(answer);
    static const char *const bad[] = {"", TTL "0\r\n", TTL "21601\r\n", TTL "-1\r\n", TTL "60s\r\n", TTL "\r\n"};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(put("/a/latest/api/token", bad[i]), 400);
    assert_int_equal(put("/a/2021-03-23/api/token", TTL "60\r\n"), 403);
    assert_int_equal(put("/a/latest/api/token", TTL "60\r\nX-Forwarded-For: 10.0.0.1\r\n"), 403);
    assert_int_equal(put("/a/latest/meta-data/instance-id", TTL "60\r\n"), 405);
    assert_int_equal(imds_ask(mock.port, "DELETE", "/a/latest/api/token", "", NULL), 405);
}

static void a_token_is_needed_and_is_of_one_instance(void **state)
{
    (void)state;
    char mine[256], others[256], *answer;
    assert_true(imds_say(&mock, "b"));
    token_of("a", mine);
    token_of("b", others);
    assert_int_equal(imds_ask(mock.port, "GET", "/a/latest/meta-data/instance-id", mine, NULL), 200);
    assert_int_equal(imds_ask(mock.port, "GET", "/a/latest/meta-data/instance-id", others, NULL), 401);
    assert_int_equal(imds_ask(mock.port, "GET", "/a/latest/meta-data/instance-id", "", &answer), 401);
    assert_non_null(strstr(answer, "<h1>401 - Unauthorized</h1>"));
    free(answer);
    assert_true(imds_say(&mock, "a/fault?expire-tokens=1"));
    assert_int_equal(imds_ask(mock.port, "GET", "/a/latest/meta-data/instance-id", mine, NULL), 401);
    assert_true(imds_say(&mock, "b?tokens=optional"));
    assert_int_equal(imds_ask(mock.port, "GET", "/b/latest/meta-data/instance-id", "", NULL), 200);
    assert_true(imds_say(&mock, "b?imds=off"));
    assert_int_equal(put("/b/latest/api/token", TTL "60\r\n"), 403);
}

struct dying {
    char header[256];
};

static bool is_dead(void *arg)
{
    return imds_ask(mock.port, "GET", "/a/latest/meta-data/instance-id", ((struct dying *)arg)->header, NULL) == 401;
}

static void a_token_ends(void **state)
{
    (void)state;
    struct dying d;
    assert_true(imds_say(&mock, "a?ttl_s=1"));
    token_of("a", d.header);
    assert_false(is_dead(&d));
    assert_true(until(is_dead, &d, MS, "the token to end"));
    assert_true(imds_say(&mock, "a?ttl_s=21600"));
}

static void identity_and_listings(void **state)
{
    (void)state;
    char header[256], *answer, *got, text[64];
    struct json v;
    answers("/latest/meta-data/instance-type", "c7g.large");
    answers("/latest/meta-data/placement/availability-zone", "eu-west-1b");
    answers("/latest/meta-data/placement/region", "eu-west-1");
    answers("/latest/meta-data/instance-life-cycle", "on-demand");
    answers("/2021-03-23/meta-data/instance-type", "c7g.large");
    answers("/latest/meta-data/placement/", "availability-zone\nregion");
    answers("/latest/meta-data/placement", "availability-zone\nregion");
    answers("/latest/meta-data/events/", "maintenance/");
    answers("/latest/", "dynamic/\nmeta-data/");
    is_absent("/latest/meta-data/spot/");
    is_absent("/latest/meta-data/nothing");
    is_absent("/latest/meta-data/instance-type/more");
    is_absent("/newest/meta-data/instance-type");
    assert_int_equal(get("/latest/dynamic/instance-identity/document", &got), 200);
    assert_true(json_check(got, strlen(got), &v));
    assert_string_equal(json_text(json_get(v, "region"), text, sizeof text), "eu-west-1");
    assert_string_equal(json_text(json_get(v, "instanceType"), text, sizeof text), "c7g.large");
    free(got);
    token_of("a", header);
    assert_int_equal(imds_ask(mock.port, "HEAD", "/a/latest/meta-data/instance-type", header, &answer), 200);
    assert_non_null(strstr(answer, "Content-Length: 9\r\n"));
    assert_string_equal(body_of(answer), "");
    free(answer);
    assert_int_equal(imds_ask(mock.port, "GET", "/nobody/latest/meta-data/", "", NULL), 404);
}

static void notices_come_stay_as_they_are_and_go(void **state)
{
    (void)state;
    char *first, *second;
    is_absent("/latest/meta-data/spot/instance-action");
    is_absent("/latest/meta-data/spot/termination-time");
    is_absent("/latest/meta-data/events/recommendations/rebalance");
    is_absent("/latest/meta-data/autoscaling/target-lifecycle-state");
    answers("/latest/meta-data/events/maintenance/scheduled", "[]");
    assert_true(imds_say(&mock, "a/itn?in_ms=120000") && imds_say(&mock, "a/asg") && imds_say(&mock, "a/rebalance"));
    assert_true(imds_number(&mock, "a", "first_read_ms", -1) == -1);
    assert_int_equal(get("/latest/meta-data/spot/instance-action", &first), 200);
    assert_non_null(strstr(first, "{\"action\": \"terminate\", \"time\": \"20"));
    uint64_t start = clock_mono_ms();
    while (clock_mono_ms() - start < 1100) { /* the seconds of a time that slid would have changed */
        assert_int_equal(get("/latest/meta-data/spot/instance-action", &second), 200);
        assert_string_equal(first, second);
        free(second);
    }
    free(first);
    answers("/latest/meta-data/autoscaling/target-lifecycle-state", "Terminated");
    answers("/latest/meta-data/spot/", "instance-action\ntermination-time");
    assert_int_equal(get("/latest/meta-data/events/recommendations/rebalance", &first), 200);
    assert_non_null(strstr(first, "{\"noticeTime\": \"20"));
    free(first);
    assert_true(imds_number(&mock, "a", "first_read_ms", -1) > 0);
    assert_true(imds_say(&mock, "a/itn?action=stop")); /* only what is terminated has a termination time */
    is_absent("/latest/meta-data/spot/termination-time");
    assert_true(imds_say(&mock, "a/withdraw"));
    is_absent("/latest/meta-data/spot/instance-action");
    is_absent("/latest/meta-data/events/recommendations/rebalance");
    answers("/latest/meta-data/autoscaling/target-lifecycle-state", "InService");
}

/* What EC2 tells of an event that can be put off; "NotBefore" is the beginning of another name. */
static void an_event_says_how_long_it_may_be_put_off(void **state)
{
    (void)state;
    char *got, text[64];
    struct json v, e = {NULL, NULL};
    assert_true(imds_say(&mock, "a/maintenance?in_ms=3600000"));
    assert_int_equal(get("/latest/meta-data/events/maintenance/scheduled", &got), 200);
    assert_true(json_check(got, strlen(got), &v) && json_next(v, &e));
    assert_string_equal(json_text(json_get(e, "State"), text, sizeof text), "active");
    assert_int_equal(strlen(json_text(json_get(e, "NotBeforeDeadline"), text, sizeof text)), 24);
    assert_non_null(strstr(text, " GMT"));
    free(got);
    assert_true(imds_say(&mock, "a/withdraw"));
}

static unsigned events(const char *path, const char *state_word)
{
    char *got, text[64];
    struct json v, e = {NULL, NULL};
    unsigned n = 0;
    assert_int_equal(get(path, &got), 200);
    assert_true(json_check(got, strlen(got), &v));
    while (json_next(v, &e))
        n += strcmp(json_text(json_get(e, "State"), text, sizeof text), state_word) == 0;
    free(got);
    return n;
}

static void several_events_and_their_history(void **state)
{
    (void)state;
    assert_true(imds_say(&mock, "a/maintenance?code=system-reboot&in_ms=5000") && imds_say(&mock, "a/maintenance"));
    assert_int_equal(events("/latest/meta-data/events/maintenance/scheduled", "active"), 2);
    assert_int_equal(events("/latest/meta-data/events/maintenance/history", "active"), 0);
    assert_true(imds_say(&mock, "a/withdraw?what=maintenance&how=completed") && imds_say(&mock, "a/maintenance"));
    assert_int_equal(events("/latest/meta-data/events/maintenance/scheduled", "active"), 1);
    assert_int_equal(events("/latest/meta-data/events/maintenance/history", "completed"), 2);
    assert_true(imds_say(&mock, "a/withdraw"));
    assert_int_equal(events("/latest/meta-data/events/maintenance/history", "canceled"), 1);
    for (unsigned i = 0; i < 8; i++) /* those that are over make room */
        assert_true(imds_say(&mock, "a/maintenance"));
    assert_int_equal(command("a/maintenance"), 400);
    assert_true(imds_say(&mock, "a/withdraw"));
}

static void faults_are_met_where_and_as_often_as_told(void **state)
{
    (void)state;
    char header[256], *answer;
    token_of("a", header);
    assert_true(imds_say(&mock, "a/fault?status=503&path=instance-type&count=2"));
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(imds_ask(mock.port, "GET", "/a/latest/meta-data/instance-id", header, NULL), 200);
        assert_int_equal(imds_ask(mock.port, "GET", "/a/latest/meta-data/instance-type", header, NULL),
                         i < 2 ? 503 : 200);
    }
    assert_true(imds_number(&mock, "a", "hits", 0) == 2);
    assert_true(imds_say(&mock, "a/fault?delay_ms=300&count=1"));
    uint64_t start = clock_mono_ms();
    assert_int_equal(imds_ask(mock.port, "GET", "/a/latest/meta-data/instance-id", header, NULL), 200);
    assert_true(clock_mono_ms() - start >= 300);
    static const char *const no_answer[] = {"reset=1", "broken=1"};
    for (unsigned i = 0; i < sizeof no_answer / sizeof *no_answer; i++) {
        assert_true(imds_say(&mock, "a/fault?%s&count=1", no_answer[i]));
        assert_int_equal(imds_ask(mock.port, "GET", "/a/latest/meta-data/instance-id", header, NULL), 0);
    }
    assert_true(imds_say(&mock, "a/fault?garbage=1&count=1"));
    assert_int_equal(imds_ask(mock.port, "GET", "/a/latest/meta-data/instance-id", header, &answer), 200);
    assert_null(strstr(answer, "i-0"));
    free(answer);
    assert_true(imds_say(&mock, "a/fault?throttle=0"));
    assert_int_equal(imds_ask(mock.port, "GET", "/a/latest/meta-data/instance-id", header, NULL), 503);
    assert_true(imds_say(&mock, "a/fault?clear=1"));
    assert_true(imds_say(&mock, "a/fault?hop-limit=1"));
    assert_int_equal(imds_ask(mock.port, "GET", "/a/latest/meta-data/instance-id", header, NULL), 200);
    assert_int_equal(put("/a/latest/api/token", TTL "60\r\n"), 0); /* on its way the answer is lost */
    assert_true(imds_say(&mock, "a/fault?clear=1"));
}

/* One larger than 1 reaches a pod: as when the instance is changed while its programs run. */
static void a_hop_limit_can_be_lifted(void **state)
{
    (void)state;
    assert_true(imds_say(&mock, "a/fault?hop-limit=1"));
    assert_int_equal(put("/a/latest/api/token", TTL "60\r\n"), 0);
    assert_true(imds_say(&mock, "a/fault?hop-limit=2"));
    assert_int_equal(put("/a/latest/api/token", TTL "60\r\n"), 200);
}

/* A GET of an instance's interruption that nobody waits for the answer of. */
static void ask_and_go(const char *header)
{
    char request[512];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(mock.port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_return_code(connect(fd, (struct sockaddr *)&at, sizeof at), errno);
    int len = snprintf(request, sizeof request,
                       "GET /a/latest/meta-data/spot/instance-action HTTP/1.1\r\nHost: test\r\n%s\r\n", header);
    assert_int_equal(send(fd, request, (size_t)len, MSG_NOSIGNAL), len);
    close(fd);
}

static bool is_asked(void *arg)
{
    return imds_number(&mock, "a", "hits", 0) >= *(double *)arg;
}

/* When it was first read is what a rehearsal measures from. */
static void only_what_was_answered_counts_as_read(void **state)
{
    (void)state;
    char header[256], *got;
    double asked = 1;
    assert_true(imds_say(&mock, "a/withdraw") && imds_say(&mock, "a/fault?clear=1"));
    token_of("a", header);
    assert_true(imds_say(&mock, "a/itn") && imds_say(&mock, "a/fault?delay_ms=200"));
    ask_and_go(header);
    assert_true(until(is_asked, &asked, MS, "the request to arrive"));
    assert_int_equal(imds_ask(mock.port, "GET", "/a/latest/meta-data/instance-id", header, NULL), 200); /* as late */
    assert_true(imds_number(&mock, "a", "first_read_ms", -1) == -1);
    assert_true(imds_say(&mock, "a/fault?clear=1"));
    assert_int_equal(get("/latest/meta-data/spot/termination-time", &got), 200);
    free(got);
    assert_true(imds_number(&mock, "a", "first_read_ms", -1) > 0); /* either path tells it */
    assert_true(imds_say(&mock, "a/withdraw"));
}

static void a_command_that_is_wrong_changes_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        int status;
    } bad[] = {{"a/itn?in_ms=soon", 400},
               {"a/itn?in_ms=99999999999", 400},
               {"a/itn?action=explode", 400},
               {"a/itn?colour=red", 400},
               {"a/itn?in_ms=5&action=\"", 400},
               {"a/itn?=5", 400},
               {"a/fault", 400},
               {"a/fault?status=200", 400},
               {"a/fault?reset=1&silence=1", 400},
               {"a/withdraw?what=that", 400},
               {"a/nothing", 404},
               {"nobody/itn", 404},
               {"latest", 400},
               {"control", 400},
               {"", 400},
               {"a%20b", 400},
               {"a?lifecycle=spot&type=m5.large/", 400}};
    char *before = imds_told(&mock, "a");
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(command(bad[i].what), bad[i].status);
    char *after = imds_told(&mock, "a");
    assert_string_equal(before, after);
    free(before);
    free(after);
    assert_int_equal(imds_ask(mock.port, "PUT", "/control/a", "", NULL), 405);
    assert_int_equal(imds_ask(mock.port, "GET", "/control/nobody", "", NULL), 404);
    assert_int_equal(imds_ask(mock.port, "GET", "no path", "", NULL), 400);
    assert_int_equal(imds_ask(mock.port, "GET", "/control", "Content-Length: 99999999\r\n", NULL), 413);
}

static void the_fleet_is_told_as_json(void **state)
{
    (void)state;
    char *told = NULL;
    struct json v, item = {NULL, NULL};
    unsigned n = 0;
    assert_int_equal(http_get(mock.port, "/control", &told), 200);
    assert_true(json_check(told, strlen(told), &v));
    v = json_get(v, "instances");
    while (json_next(v, &item))
        n++;
    assert_true(n >= 2);
    free(told);
}

static bool is_told(void *arg)
{
    return imds_number(arg, "s1", "set_ms", 0) > 0 && imds_number(arg, "s0", "hits", -1) == 0;
}

static void a_script_happens(void **state)
{
    (void)state;
    char path[LAB_PATH_MAX];
    struct imds_mock other;
    FILE *out = fopen(lab_path(lab, path, "script"), "we");
    fputs("# a fleet of two\nat 200 s1 itn?in_ms=5000\nat 0 s0 ?type=t4g.micro\n\nat 0 s1 ?\nat 100 s0 fault?reset=1\n"
          "at 150 nobody itn\n",
          out);
    fclose(out);
    const char *args[] = {"--script", path, "--instance", "s0", NULL};
    assert_true(imds_mock_start(&other, lab, args));
    assert_true(until(is_told, &other, MS, "the script"));
    assert_true(proc_log_has(other.proc, "line=7 refused="));
    assert_true(imds_say(&other, "s0/fault?clear=1"));
    assert_int_equal(imds_ask(other.port, "PUT", "/latest/api/token", TTL "60\r\n", NULL), 200); /* --instance */
    proc_kill(other.proc);
}

static void refuses_to_start(const char *flag, const char *value, const char *says)
{
    char program[LAB_PATH_MAX];
    int status = 0;
    snprintf(program, sizeof program, "%s/ops/spotcraft-imds", build_dir());
    const char *argv[] = {program, "--port", "0", flag, value, NULL};
    struct proc *p = proc_start(lab, &(struct proc_conf){.name = "refused", .argv = argv});
    assert_true(p && proc_wait(p, MS, &status));
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 2);
    assert_true(proc_log_has(p, says));
}

static void what_it_cannot_start_with_is_said(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } scripts[] = {{"at soon a itn\n", ":1: the time must be a whole number"},
                   {"\nat 5 a\n", ":2: want: at MS NAME COMMAND?query"},
                   {"at 5 a itn?in_ms=x\n", ":1: in_ms must be a whole number"},
                   {"at 5 a explode\n", ":1: no such command"}};
    char path[LAB_PATH_MAX];
    for (unsigned i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        FILE *out = fopen(lab_path(lab, path, "bad-script"), "we");
        fputs(scripts[i].text, out);
        fclose(out);
        refuses_to_start("--script", path, scripts[i].says);
    }
    refuses_to_start("--script", "/nonexistent", "cannot read /nonexistent");
    refuses_to_start("--address", "localhost", "is not an IPv4 address");
    refuses_to_start("--colour", "red", "colour");
    refuses_to_start("--instance", "a b", "letters, digits");
}

int main(void)
{
    alarm(120);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_are_asked_for_as_ec2_wants_it),
        cmocka_unit_test(a_token_is_needed_and_is_of_one_instance),
        cmocka_unit_test(a_token_ends),
        cmocka_unit_test(identity_and_listings),
        cmocka_unit_test(notices_come_stay_as_they_are_and_go),
        cmocka_unit_test(several_events_and_their_history),
        cmocka_unit_test(an_event_says_how_long_it_may_be_put_off),
        cmocka_unit_test(faults_are_met_where_and_as_often_as_told),
        cmocka_unit_test(a_hop_limit_can_be_lifted),
        cmocka_unit_test(only_what_was_answered_counts_as_read),
        cmocka_unit_test(a_command_that_is_wrong_changes_nothing),
        cmocka_unit_test(the_fleet_is_told_as_json),
        cmocka_unit_test(a_script_happens),
        cmocka_unit_test(what_it_cannot_start_with_is_said),
    };
    int failed = cmocka_run_group_tests(tests, up, NULL);
    if (!failed)
        lab_passed(lab);
    lab_free(lab);
    return failed;
}
