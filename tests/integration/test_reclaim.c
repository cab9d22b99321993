/* Rehearsals: ops/reclaim.sh and ops/gameday.sh take machines away from players and say truly what came of it, and
 * ops/reclaim-aws.sh does nothing to a real cluster that was not said and agreed to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/mem.h"
#include "tests/lib/probe.h"
#include "tests/lib/proc.h"

enum { SCRIPT_MS = 120000, ARGS_MAX = 24 };

struct rehearsal {
    struct lab *lab;
    char dir[LAB_PATH_MAX], page[LAB_PATH_MAX], bin[LAB_PATH_MAX], path[4 * LAB_PATH_MAX];
    struct proc *last, *game_day; /* game_day: NULL, or one that goes on meanwhile */
    bool up;
    unsigned open; /* tests in one lab that have begun, and not come to their end */
};

static struct rehearsal *rehearsal_new(void)
{
    static struct rehearsal r;
    r = (struct rehearsal){.lab = lab_new("reclaim")};
    lab_path(r.lab, r.dir, "world");
    lab_path(r.lab, r.page, "page.html");
    snprintf(r.bin, sizeof r.bin, "BIN=%s", build_dir());
    snprintf(r.path, sizeof r.path, "PATH=%s/fake:%s", lab_dir(r.lab), getenv("PATH"));
    return &r;
}

static int set_up(void **state)
{
    *state = rehearsal_new();
    return 0;
}

static struct proc *start(struct rehearsal *r, const char *script, va_list args)
{
    static unsigned nth;
    const char *argv[ARGS_MAX] = {script};
    const char *env[] = {r->bin,
                         r->path,
                         "REHEARSE_BEFORE_MS=300",
                         "REHEARSE_AFTER_MS=500",
                         "REHEARSE_RISK_MS=1000",
                         "REHEARSE_FREEZE_MS=4000",
                         "REHEARSE_LEASE_MS=500",
                         "REHEARSE_FLAPS=2",
                         NULL};
    char name[32];
    unsigned n = 1;
    while (n + 1 < ARGS_MAX && (argv[n] = va_arg(args, const char *)))
        n++;
    snprintf(name, sizeof name, "script%u", nth++);
    struct proc *p = proc_start(r->lab, &(struct proc_conf){.name = name, .argv = argv, .env = env});
    assert_non_null(p);
    return p;
}

/* Starts a script with what follows it, up to NULL. */
static struct proc *begin(struct rehearsal *r, const char *script, ...)
{
    va_list args;
    va_start(args, script);
    struct proc *p = start(r, script, args);
    va_end(args);
    return p;
}

/* Waits for the end of one that was started. Its exit code; -1: it did not end by itself. */
static int end(struct rehearsal *r, struct proc *p)
{
    int status = -1;
    r->last = p;
    assert_true(proc_wait(p, SCRIPT_MS, &status));
    return status & 0x7f ? -1 : status >> 8;
}

static int run(struct rehearsal *r, const char *script, ...)
{
    va_list args;
    va_start(args, script);
    struct proc *p = start(r, script, args);
    va_end(args);
    return end(r, p);
}

static bool says(const struct rehearsal *r, const char *text)
{
    bool found = proc_log_has(r->last, text);
    if (!found) {
        fprintf(stderr, "not said: %s\n", text);
        proc_print_log(r->last, 4000);
    }
    return found;
}

static int tear_down(void **state)
{
    struct rehearsal *r = *state;
    if (r->game_day) { /* it has a world of its own to stop */
        proc_signal(r->game_day, SIGTERM);
        end(r, r->game_day);
    }
    if (r->up)
        run(r, "ops/down.sh", "--dir", r->dir, NULL);
    lab_free(r->lab);
    return 0;
}

/* ---- a world on this machine: one for those who follow, node0 to node7 at first; a game day goes on beside it ---- */

/* Each of them says both, so that the logs are kept when any of them failed. */
static struct rehearsal *test_begins(void **state)
{
    struct rehearsal *r = *state;
    r->open++;
    return r;
}

static void test_passed(struct rehearsal *r)
{
    r->open--;
}

static int world_down(void **state)
{
    struct rehearsal *r = *state;
    if (!r->open)
        lab_passed(r->lab);
    return tear_down(state);
}

static int world_up(void **state)
{
    struct rehearsal *r = rehearsal_new();
    char port[8];
    *state = r;
    snprintf(port, sizeof port, "%u", port_pick());
    r->up = true;
    r->game_day = begin(r, "ops/gameday.sh", "--no-install", "--seconds", "20", "--seed", "4", "--speed", "20",
                        "--bots", "16", "--nodes", "4", "--cells", "4", "--html", r->page, NULL);
    return run(r, "ops/up.sh", "--detach", "--no-install", "--dir", r->dir, "--port", port, "--nodes", "8", "--pools",
               "2", NULL);
}

static void an_interrupted_node_leaves_and_no_player_notices(void **state)
{
    struct rehearsal *r = test_begins(state);
    assert_int_equal(run(r, "ops/reclaim.sh", "--dir", r->dir, "--speed", "20", "--bots", "20", "--replace", "--json",
                         "itn", "node1", NULL),
                     0);
    assert_true(says(r, "{\"good\":true"));
    assert_true(says(r, "\"disconnects\":0,\"lost\":0,\"unseen\":0,\"doubled\":0,\"disordered\":0"));
    assert_true(says(r, "before its deadline"));
    assert_int_equal(run(r, "ops/node.sh", "--dir", r->dir, "list", NULL), 0);
    assert_true(says(r, "node0") && says(r, "node8"));
    assert_false(proc_log_has(r->last, "node1"));
    test_passed(r);
}

/* At once, as none of them ends a node. */
static void a_node_that_is_told_to_go_and_then_not_or_hangs_serves_again(void **state)
{
    static const char *const what[][3] = {{"rebalance", "node2", "after it was withdrawn"},
                                          {"flap", "node3", "after it was withdrawn"},
                                          {"freeze", "node4", "cells were claimed by others"}};
    struct rehearsal *r = test_begins(state);
    struct proc *p[3];
    for (unsigned k = 0; k < 3; k++)
        p[k] = begin(r, "ops/reclaim.sh", "--dir", r->dir, what[k][0], what[k][1], NULL);
    for (unsigned k = 0; k < 3; k++) {
        int code = end(r, p[k]);
        assert_true(says(r, "All good: ") && says(r, what[k][2]));
        assert_int_equal(code, 0);
    }
    assert_int_equal(run(r, "ops/node.sh", "--dir", r->dir, "list", NULL), 0);
    assert_true(says(r, "node2    running") && says(r, "node3    running") && says(r, "node4    running"));
    test_passed(r);
}

static void every_way_to_take_a_machine_takes_it(void **state)
{
    static const char *const what[][4] = {{"asg", "node5", NULL, "before its deadline"},
                                          {"maintenance", "node6", NULL, "before its deadline"},
                                          {"kill", "node7", NULL, "cells were claimed by others"},
                                          {"storm", "--nodes", "2", "2 machines were taken away"}};
    struct rehearsal *r = test_begins(state);
    for (unsigned k = 0; k < sizeof what / sizeof *what; k++) {
        int code = run(r, "ops/reclaim.sh", "--dir", r->dir, "--speed", "40", what[k][0], what[k][1], what[k][2], NULL);
        assert_true(says(r, "All good: ") && says(r, what[k][3]));
        assert_int_equal(code, 0);
    }
    assert_int_equal(run(r, "ops/node.sh", "--dir", r->dir, "list", NULL), 0);
    assert_true(says(r, "node3") && says(r, "node4") && says(r, "node8"));
    for (const char *gone = "05672"; *gone; gone++) {
        char name[] = {'n', 'o', 'd', 'e', *gone, ' ', '\0'};
        assert_false(proc_log_has(r->last, name));
    }
    test_passed(r);
}

/* A rehearsal that could not fail would show nothing. */
static void a_node_that_does_not_leave_is_killed_and_told_of(void **state)
{
    struct rehearsal *r = test_begins(state);
    assert_int_equal(run(r, "ops/node.sh", "--dir", r->dir, "freeze", "node4", NULL), 0);
    assert_int_equal(run(r, "ops/reclaim.sh", "--dir", r->dir, "--speed", "40", "itn", "node4", NULL), 1);
    assert_true(says(r, "still ran at its deadline and was killed"));
    assert_true(says(r, "1 machine did not leave in time"));
    assert_true(says(r, "not measured"));
    assert_int_equal(run(r, "ops/node.sh", "--dir", r->dir, "kill", "node4", NULL), 1);
    assert_true(says(r, "does not run any more"));
    assert_int_equal(run(r, "ops/reclaim.sh", "--dir", r->dir, "kill", "node4", NULL), 1);
    assert_true(says(r, "no node called 'node4' runs"));
    assert_int_equal(run(r, "ops/node.sh", "--dir", r->dir, "add", "0", NULL), 0);
    assert_true(says(r, "node9 is ready"));
    assert_int_equal(run(r, "ops/reclaim.sh", "--dir", r->dir, "storm", "--nodes", "3", NULL), 1);
    assert_true(says(r, "one must stay"));
    assert_int_equal(run(r, "ops/reclaim.sh", "--dir", r->dir, "storm", "--pool", "z9.huge", NULL), 1);
    assert_true(says(r, "no node runs in such a pool"));
    test_passed(r);
}

struct look {
    struct rehearsal *r;
    const char *text;
};

static bool is_listed(void *arg)
{
    struct look *l = arg;
    return run(l->r, "ops/node.sh", "--dir", l->r->dir, "list", NULL) == 0 && proc_log_has(l->r->last, l->text);
}

/* Who breaks a rehearsal off wants his world back as it was. */
static void a_rehearsal_that_is_broken_off_takes_its_notices_back(void **state)
{
    struct rehearsal *r = test_begins(state);
    struct proc *p = begin(r, "ops/reclaim.sh", "--dir", r->dir, "flap", "node3", NULL);
    assert_true(until(is_listed, &(struct look){r, "node3    at_risk"}, SCRIPT_MS, "node3 to be at risk"));
    proc_signal(p, SIGTERM);
    assert_int_equal(end(r, p), 130);
    assert_true(until(is_listed, &(struct look){r, "node3    running"}, SCRIPT_MS, "node3 to run again"));
    test_passed(r);
}

static void a_short_game_day_ends_with_a_verdict_and_a_page(void **state)
{
    struct rehearsal *r = test_begins(state);
    struct proc *p = r->game_day;
    int code;
    r->game_day = NULL;
    code = end(r, p);
    assert_true(says(r, "All good: "));
    assert_true(says(r, "0 disconnected, 0 lost, 0 doubled, 0 out of order, 0 unseen"));
    assert_int_equal(code, 0);
    FILE *f = fopen(r->page, "r");
    assert_non_null(f);
    char *html = mem_zalloc(8 << 20);
    size_t len = fread(html, 1, (8 << 20) - 1, f);
    fclose(f);
    assert_true(len > 10000);
    assert_memory_equal(html, "<!doctype html>", 15);
    assert_string_equal(html + len - 8, "</html>\n");
    assert_non_null(strstr(html, "<svg "));
    assert_non_null(strstr(html, "All good: "));
    assert_non_null(strstr(html, "--seed 4"));
    free(html);
    test_passed(r);
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

/* What is left of a game day that ended badly, as it says. */
static void remove_kept(struct rehearsal *r)
{
    static const char says_where[] = "are kept in ";
    char path[LAB_PATH_MAX], line[LAB_PATH_MAX], dir[LAB_PATH_MAX] = "";
    FILE *f = fopen(lab_path(r->lab, path, "%s.log", proc_name(r->last)), "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        const char *at = strstr(line, says_where);
        if (at)
            snprintf(dir, sizeof dir, "%.*s", (int)strcspn(at + strlen(says_where), "\n"), at + strlen(says_where));
    }
    fclose(f);
    assert_memory_equal(dir, "/tmp/spotcraft-gameday-", 23);
    assert_int_equal(run(r, "rm", "-r", dir, NULL), 0);
}

/* Whoever rehearses every night keeps the page of the last day that came to its end. */
static void a_game_day_that_dies_early_leaves_the_earlier_page(void **state)
{
    struct rehearsal *r = *state;
    char other[LAB_PATH_MAX + 8], text[16] = "";
    write_file(r->page, "earlier");
    snprintf(r->bin, sizeof r->bin, "BIN=/nonexistent");
    assert_int_equal(run(r, "ops/gameday.sh", "--no-install", "--html", r->page, NULL), 1);
    assert_true(says(r, "the world did not come up"));
    remove_kept(r);
    FILE *f = fopen(r->page, "r");
    assert_non_null(f);
    assert_non_null(fgets(text, sizeof text, f));
    fclose(f);
    assert_string_equal(text, "earlier");
    snprintf(other, sizeof other, "%s.new", r->page);
    assert_int_equal(access(other, F_OK), -1);
    lab_passed(r->lab);
}

static void nonsense_is_refused_with_its_name(void **state)
{
    static const struct {
        const char *script, *a, *b, *c, *said;
    } bad[] = {{"ops/reclaim.sh", "--speed", "0", "itn", "--speed takes a number"},
               {"ops/reclaim.sh", "--bots", "many", "itn", "--bots takes a number"},
               {"ops/reclaim.sh", "explode", "node0", NULL, "unknown command 'explode'"},
               {"ops/reclaim.sh", "itn", NULL, NULL, "takes the names of nodes"},
               {"ops/reclaim.sh", "storm", NULL, NULL, "--nodes K or --pool P"},
               {"ops/reclaim.sh", "itn", "node0", "--loud", "unknown option '--loud'"},
               {"ops/reclaim.sh", "itn", "node0", "--dir", "--dir needs a value"},
               {"ops/node.sh", "--dir", "/nonexistent", "list", "there is no world"},
               {"ops/node.sh", "melt", "node0", NULL, "unknown command 'melt'"},
               {"ops/reclaim.sh", "storm", "--nodes", "257", "--nodes takes a number"},
               {"ops/gameday.sh", "--minutes", "0", NULL, "--minutes takes a number"},
               {"ops/gameday.sh", "--minutes", "241", NULL, "--minutes takes a number from 1 to 240"},
               {"ops/gameday.sh", "--seed", "-1", NULL, "--seed takes a number"},
               {"ops/gameday.sh", "--html", "/nonexistent/x", NULL, "cannot write"},
               {"ops/gameday.sh", "--nodes", "2", NULL, "--nodes takes a number"},
               {"ops/gameday.sh", "--colour", "red", NULL, "unknown option '--colour'"}};
    struct rehearsal *r = *state;
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        assert_int_equal(run(r, bad[k].script, bad[k].a, bad[k].b, bad[k].c, NULL), 1);
        assert_true(says(r, bad[k].said));
    }
    lab_passed(r->lab);
}

/* ---- a real cluster, played by two small scripts ---- */

static void write_script(const struct rehearsal *r, const char *name, const char *text)
{
    char path[LAB_PATH_MAX];
    write_file(lab_path(r->lab, path, "fake/%s", name), text);
    assert_int_equal(chmod(path, 0755), 0);
}

/* They write down how they were called. */
static void play_cloud(struct rehearsal *r)
{
    char path[LAB_PATH_MAX], text[4096];
    lab_path(r->lab, path, "fake");
    assert_int_equal(mkdir(path, 0755), 0);
    const char *dir = lab_dir(r->lab);
    snprintf(text, sizeof text,
             "#!/bin/sh\necho \"aws $*\" >>%s/calls\ncase \"$*\" in\n"
             "*get-caller-identity*) echo 123456789012 ;;\n"
             "*describe-instances*i-0aaaaaaaaaaaaaaaa*) echo m7i.large eu-west-1a spot running ;;\n"
             "*describe-instances*) echo m7i.large eu-west-1a None running ;;\n"
             "*create-experiment-template*) echo EXT1 ;;\n*start-experiment*) echo EXP1 ;;\n"
             "*get-experiment*) if [ -e %s/asked ]; then echo completed; else echo running; touch %s/asked; fi\n"
             "[ ! -e %s/forever ] || rm %s/asked ;;\nesac\n",
             dir, dir, dir, dir, dir);
    write_script(r, "aws", text);
    snprintf(text, sizeof text,
             "#!/bin/sh\necho \"kubectl $*\" >>%s/calls\ncase \"$*\" in\n"
             "*jsonpath*) echo aws:///eu-west-1a/i-0aaaaaaaaaaaaaaaa ;;\n*current-context*) echo staging ;;\n"
             "*'get node ghost'*) exit 1 ;;\nesac\n",
             dir);
    write_script(r, "kubectl", text);
}

static bool called(const struct rehearsal *r, const char *text)
{
    char path[LAB_PATH_MAX], line[4096];
    bool found = false;
    lab_path(r->lab, path, "calls");
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        found = found || strstr(line, text);
    if (f)
        fclose(f);
    return found;
}

#define ROLE "arn:aws:iam::123456789012:role/fis"
#define SPOT "i-0aaaaaaaaaaaaaaaa"

static bool is_waiting(void *arg)
{
    return proc_log_has(arg, "  running");
}

static void nothing_is_done_to_a_cluster_unless_it_is_agreed_to(void **state)
{
    struct rehearsal *r = *state;
    play_cloud(r);
    assert_int_equal(
        run(r, "ops/reclaim-aws.sh", "--region", "eu-west-1", "--role", ROLE, "--dry-run", "itn", SPOT, NULL), 0);
    assert_true(says(r, "aws --region eu-west-1 fis create-experiment-template"));
    assert_true(says(r, "nothing was done"));
    assert_int_equal(run(r, "ops/reclaim-aws.sh", "--region", "eu-west-1", "--role", ROLE, "itn", SPOT, NULL), 1);
    assert_true(says(r, "there is nobody to ask"));
    assert_int_equal(run(r, "ops/reclaim-aws.sh", "drain", "node-a", NULL), 1);
    assert_true(says(r, "kubectl drain node-a --ignore-daemonsets --delete-emptydir-data --grace-period=115"));
    assert_false(called(r, "experiment") || called(r, "kubectl drain"));
    lab_passed(r->lab);
}

static void an_agreed_interruption_is_started_waited_for_and_tidied_up(void **state)
{
    struct rehearsal *r = *state;
    play_cloud(r);
    assert_int_equal(
        run(r, "ops/reclaim-aws.sh", "--region", "eu-west-1", "--role", ROLE, "--yes", "itn", "ip-10-0-0-1", NULL), 0);
    assert_true(says(r, "interrupted"));
    assert_true(called(r, "arn:aws:ec2:eu-west-1:123456789012:instance/" SPOT));
    assert_true(called(r, "\"actionId\":\"aws:ec2:send-spot-instance-interruptions\""));
    assert_true(called(r, "\"durationBeforeInterruption\":\"PT2M\""));
    assert_true(called(r, "start-experiment --experiment-template-id EXT1"));
    assert_true(called(r, "delete-experiment-template --id EXT1"));
    assert_int_equal(run(r, "ops/reclaim-aws.sh", "--yes", "drain", "node-a", "node-b", NULL), 0);
    assert_true(called(r, "kubectl drain node-a --ignore-daemonsets") && called(r, "kubectl drain node-b"));
    lab_passed(r->lab);
}

/* AWS is not asked to stop it: that would leave machines half interrupted, and nobody said so. */
static void who_breaks_off_is_told_that_it_goes_on(void **state)
{
    struct rehearsal *r = *state;
    char path[LAB_PATH_MAX];
    play_cloud(r);
    write_file(lab_path(r->lab, path, "forever"), "");
    struct proc *p =
        begin(r, "ops/reclaim-aws.sh", "--region", "eu-west-1", "--role", ROLE, "--yes", "itn", SPOT, NULL);
    assert_true(until(is_waiting, p, SCRIPT_MS, "the experiment to run"));
    proc_signal(p, SIGTERM);
    assert_int_equal(end(r, p), 130);
    assert_true(says(r, "EXP1 goes on; to stop it: aws --region eu-west-1 fis stop-experiment --id EXP1"));
    assert_true(called(r, "delete-experiment-template --id EXT1"));
    assert_false(called(r, "stop-experiment"));
    lab_passed(r->lab);
}

static void nobody_waits_for_less_than_it_takes(void **state)
{
    struct rehearsal *r = *state;
    play_cloud(r);
    assert_int_equal(run(r, "ops/reclaim-aws.sh", "--region", "eu-west-1", "--role", ROLE, "--before", "15", "--wait",
                         "900", "--yes", "itn", SPOT, NULL),
                     2);
    assert_true(says(r, "--wait 900 is too short for --before 15: at least 1020 seconds"));
    assert_false(called(r, "experiment"));
    assert_int_equal(run(r, "ops/reclaim-aws.sh", "--region", "eu-west-1", "--role", ROLE, "--before", "15",
                         "--dry-run", "itn", SPOT, NULL),
                     0);
    assert_true(says(r, "at most 1020 seconds"));
    lab_passed(r->lab);
}

static void what_cannot_be_interrupted_is_refused_before_anything_is_done(void **state)
{
    struct rehearsal *r = *state;
    play_cloud(r);
    assert_int_equal(run(r, "ops/reclaim-aws.sh", "--region", "eu-west-1", "--role", ROLE, "--yes", "itn",
                         "i-0bbbbbbbbbbbbbbbb", NULL),
                     1);
    assert_true(says(r, "is not a Spot instance"));
    assert_int_equal(run(r, "ops/reclaim-aws.sh", "--yes", "drain", "ghost", NULL), 1);
    assert_true(says(r, "knows no node 'ghost'"));
    assert_int_equal(run(r, "ops/reclaim-aws.sh", "--region", "eu-west-1", "--role", "me", "--yes", "itn", SPOT, NULL),
                     2);
    assert_true(says(r, "--role takes the ARN"));
    assert_int_equal(run(r, "ops/reclaim-aws.sh", "--yes", "itn", "a\";reboot", NULL), 2);
    assert_int_equal(run(r, "ops/reclaim-aws.sh", "storm", "--tag", "x", "--count", "1", NULL), 2);
    assert_int_equal(run(r, "ops/reclaim-aws.sh", "storm", "--tag", "a=b", "--count", "9", NULL), 2);
    assert_int_equal(run(r, "ops/reclaim-aws.sh", "itn", "a", "b", "c", "d", "e", "f", NULL), 2);
    assert_false(called(r, "experiment") || called(r, "kubectl drain"));
    lab_passed(r->lab);
}

int main(void)
{
    alarm(300);
    const struct CMUnitTest in_one_world[] = {
        cmocka_unit_test(an_interrupted_node_leaves_and_no_player_notices),
        cmocka_unit_test(a_node_that_is_told_to_go_and_then_not_or_hangs_serves_again),
        cmocka_unit_test(every_way_to_take_a_machine_takes_it),
        cmocka_unit_test(a_node_that_does_not_leave_is_killed_and_told_of),
        cmocka_unit_test(a_rehearsal_that_is_broken_off_takes_its_notices_back),
        cmocka_unit_test(a_short_game_day_ends_with_a_verdict_and_a_page),
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_game_day_that_dies_early_leaves_the_earlier_page, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nonsense_is_refused_with_its_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_is_done_to_a_cluster_unless_it_is_agreed_to, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_agreed_interruption_is_started_waited_for_and_tidied_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_breaks_off_is_told_that_it_goes_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_waits_for_less_than_it_takes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_interrupted_is_refused_before_anything_is_done, set_up,
                                        tear_down),
    };
    int failed = cmocka_run_group_tests(in_one_world, world_up, world_down);
    return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
