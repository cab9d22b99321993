/* Rehearsals: ops/reclaim.sh and ops/gameday.sh take machines away from players and say truly what came of it, and
 * ops/reclaim-aws.sh does nothing to a real cluster that was not said and agreed to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
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
    char dir[LAB_PATH_MAX], bin[LAB_PATH_MAX], path[4 * LAB_PATH_MAX];
    struct proc *last;
    bool up;
};

static int set_up(void **state)
{
    static struct rehearsal r;
    r = (struct rehearsal){.lab = lab_new("reclaim")};
    lab_path(r.lab, r.dir, "world");
    snprintf(r.bin, sizeof r.bin, "BIN=%s", build_dir());
    snprintf(r.path, sizeof r.path, "PATH=%s/fake:%s", lab_dir(r.lab), getenv("PATH"));
    *state = &r;
    return 0;
}

/* Runs a script with what follows it, up to NULL. Its exit code; -1: it did not end by itself. */
static int run(struct rehearsal *r, const char *script, ...)
{
    static unsigned nth;
    const char *argv[ARGS_MAX] = {script}, *env[] = {r->bin, r->path, NULL};
    char name[32];
    int status = -1;
    unsigned n = 1;
    va_list args;
    va_start(args, script);
    while (n + 1 < ARGS_MAX && (argv[n] = va_arg(args, const char *)))
        n++;
    va_end(args);
    snprintf(name, sizeof name, "script%u", nth++);
    r->last = proc_start(r->lab, &(struct proc_conf){.name = name, .argv = argv, .env = env});
    assert_non_null(r->last);
    assert_true(proc_wait(r->last, SCRIPT_MS, &status));
    return status & 0x7f ? -1 : status >> 8;
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

static void world_up(struct rehearsal *r, const char *nodes)
{
    char port[8];
    snprintf(port, sizeof port, "%u", port_pick());
    r->up = true;
    assert_int_equal(run(r, "ops/up.sh", "--detach", "--no-install", "--dir", r->dir, "--port", port, "--nodes", nodes,
                         "--pools", "2", NULL),
                     0);
}

static int tear_down(void **state)
{
    struct rehearsal *r = *state;
    if (r->up)
        run(r, "ops/down.sh", "--dir", r->dir, NULL);
    lab_free(r->lab);
    return 0;
}

/* ---- a world on this machine ---- */

static void an_interrupted_node_leaves_and_no_player_notices(void **state)
{
    struct rehearsal *r = *state;
    world_up(r, "3");
    assert_int_equal(run(r, "ops/reclaim.sh", "--dir", r->dir, "--speed", "20", "--bots", "20", "--replace", "--json",
                         "itn", "node1", NULL),
                     0);
    assert_true(says(r, "{\"good\":true"));
    assert_true(says(r, "\"disconnects\":0,\"lost\":0,\"unseen\":0,\"doubled\":0,\"disordered\":0"));
    assert_true(says(r, "before its deadline"));
    assert_int_equal(run(r, "ops/node.sh", "--dir", r->dir, "list", NULL), 0);
    assert_true(says(r, "node0") && says(r, "node2"));
    assert_false(proc_log_has(r->last, "node1"));
    lab_passed(r->lab);
}

/* A rehearsal that could not fail would show nothing. */
static void a_node_that_does_not_leave_is_killed_and_told_of(void **state)
{
    struct rehearsal *r = *state;
    world_up(r, "2");
    assert_int_equal(run(r, "ops/node.sh", "--dir", r->dir, "add", "0", NULL), 0);
    assert_true(says(r, "node2 is ready"));
    assert_int_equal(run(r, "ops/node.sh", "--dir", r->dir, "freeze", "node2", NULL), 0);
    assert_int_equal(run(r, "ops/reclaim.sh", "--dir", r->dir, "--speed", "40", "itn", "node2", NULL), 1);
    assert_true(says(r, "still ran at its deadline and was killed"));
    assert_true(says(r, "1 machine did not leave in time"));
    assert_true(says(r, "not measured"));
    assert_int_equal(run(r, "ops/node.sh", "--dir", r->dir, "kill", "node2", NULL), 1);
    assert_true(says(r, "does not run any more"));
    assert_int_equal(run(r, "ops/reclaim.sh", "--dir", r->dir, "kill", "node2", NULL), 1);
    assert_true(says(r, "no node called 'node2' runs"));
    assert_int_equal(run(r, "ops/reclaim.sh", "--dir", r->dir, "storm", "--nodes", "2", NULL), 1);
    assert_true(says(r, "one must stay"));
    assert_int_equal(run(r, "ops/reclaim.sh", "--dir", r->dir, "storm", "--pool", "z9.huge", NULL), 1);
    assert_true(says(r, "no node runs in such a pool"));
    lab_passed(r->lab);
}

static void a_short_game_day_ends_with_a_verdict_and_a_page(void **state)
{
    struct rehearsal *r = *state;
    char page[LAB_PATH_MAX];
    lab_path(r->lab, page, "page.html");
    assert_int_equal(run(r, "ops/gameday.sh", "--no-install", "--seconds", "20", "--seed", "4", "--speed", "20",
                         "--bots", "16", "--nodes", "4", "--cells", "4", "--html", page, NULL),
                     0);
    assert_true(says(r, "All good: "));
    assert_true(says(r, "0 disconnected, 0 lost, 0 doubled, 0 out of order, 0 unseen"));
    FILE *f = fopen(page, "r");
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
               {"ops/gameday.sh", "--minutes", "0", NULL, "--minutes takes a number"},
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
    lab_path(r->lab, path, "fake/%s", name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(path, 0755), 0);
}

/* They write down how they were called. */
static void play_cloud(struct rehearsal *r)
{
    char path[LAB_PATH_MAX], text[4096];
    lab_path(r->lab, path, "fake");
    assert_int_equal(mkdir(path, 0755), 0);
    const char *dir = lab_dir(r->lab);
    snprintf(
        text, sizeof text,
        "#!/bin/sh\necho \"aws $*\" >>%s/calls\ncase \"$*\" in\n"
        "*get-caller-identity*) echo 123456789012 ;;\n"
        "*describe-instances*i-0aaaaaaaaaaaaaaaa*) echo m7i.large eu-west-1a spot running ;;\n"
        "*describe-instances*) echo m7i.large eu-west-1a None running ;;\n"
        "*create-experiment-template*) echo EXT1 ;;\n*start-experiment*) echo EXP1 ;;\n"
        "*get-experiment*) if [ -e %s/asked ]; then echo completed; else echo running; touch %s/asked; fi ;;\nesac\n",
        dir, dir, dir);
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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_interrupted_node_leaves_and_no_player_notices, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_node_that_does_not_leave_is_killed_and_told_of, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_short_game_day_ends_with_a_verdict_and_a_page, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nonsense_is_refused_with_its_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_is_done_to_a_cluster_unless_it_is_agreed_to, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_agreed_interruption_is_started_waited_for_and_tidied_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_interrupted_is_refused_before_anything_is_done, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
