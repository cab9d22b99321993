/* ops/rollout.sh: a whole world gets new programs, one by one, while players are in it; and one that gets bad ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/proc.h"

enum { SCRIPT_MS = 60000 };

struct world {
    struct lab *lab;
    char dir[LAB_PATH_MAX], bin[LAB_PATH_MAX], port[8];
};

/* Runs a script to its end. Its exit code; -1: it did not end, or did not say what it must. */
static int run(struct world *w, const char *const *argv, const char *said)
{
    static unsigned nth;
    int status = -1;
    char name[32];
    const char *env[] = {w->bin, NULL};
    snprintf(name, sizeof name, "script%u", nth++);
    struct proc *p = proc_start(w->lab, &(struct proc_conf){.name = name, .argv = argv, .env = env});
    assert_non_null(p);
    assert_true(proc_wait(p, SCRIPT_MS, &status));
    if (!proc_log_has(p, said)) {
        proc_print_log(p, 4000);
        return -1;
    }
    return status >> 8;
}

static int up(void **state)
{
    static struct world w;
    w = (struct world){.lab = lab_new("rollout")};
    lab_path(w.lab, w.dir, "world");
    snprintf(w.bin, sizeof w.bin, "BIN=%s", build_dir());
    snprintf(w.port, sizeof w.port, "%u", port_pick());
    const char *argv[] = {"ops/up.sh", "--detach", "--no-install", "--dir", w.dir, "--port", w.port,
                          "--nodes",   "2",        "--gateways",   "2",     NULL};
    *state = &w;
    return run(&w, argv, "The world is ready");
}

static int down(void **state)
{
    struct world *w = *state;
    const char *argv[] = {"ops/down.sh", "--dir", w->dir, NULL};
    int code = run(w, argv, "stopped");
    lab_free(w->lab);
    return code;
}

static int rollout(struct world *w, const char *option, const char *value, const char *what, const char *said)
{
    const char *argv[] = {"ops/rollout.sh", "--dir", w->dir, "--bots", "20", option, value, what, NULL};
    return run(w, argv, said);
}

static void everything_is_replaced_and_nobody_is_harmed(void **state)
{
    struct world *w = *state;
    const char *argv[] = {"ops/rollout.sh", "--dir", w->dir, "--bots", "20", NULL};
    assert_int_equal(run(w, argv, "good: 4 processes were replaced"), 0);
    const char *list[] = {"ops/node.sh", "--dir", w->dir, "list", NULL};
    assert_int_equal(run(w, list, "node3"), 0);
}

/* What does not come up must not cost what runs. */
static void a_version_that_does_not_start_replaces_nothing(void **state)
{
    struct world *w = *state;
    char to[LAB_PATH_MAX], path[LAB_PATH_MAX];
    const char *programs[] = {"node", "gateway"};
    mkdir(lab_path(w->lab, to, "broken"), 0755);
    assert_int_equal(rollout(w, "--to", to, "nodes", "there is no program"), 1);
    for (unsigned k = 0; k < 2; k++) {
        mkdir(lab_path(w->lab, path, "broken/%s", programs[k]), 0755);
        assert_int_equal(symlink("/bin/false", lab_path(w->lab, path, "broken/%s/%s", programs[k], programs[k])), 0);
    }
    assert_int_equal(rollout(w, "--to", to, "nodes", "nothing more is replaced"), 1);
    assert_int_equal(rollout(w, "--to", to, "gateways", "nothing more is replaced"), 1);
    const char *join[] = {"ops/image/join.sh", w->port, NULL};
    assert_int_equal(run(w, join, "seen by two others"), 0);
}

static void bad_words_are_refused(void **state)
{
    struct world *w = *state;
    assert_int_equal(rollout(w, "--bots", "0", "nodes", "from 1 to 2000"), 1);
    assert_int_equal(rollout(w, "--bots", "20", "everything", "neither an option nor nodes or gateways"), 1);
    lab_passed(w->lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_is_replaced_and_nobody_is_harmed),
        cmocka_unit_test(a_version_that_does_not_start_replaces_nothing),
        cmocka_unit_test(bad_words_are_refused),
    };
    return cmocka_run_group_tests_name("rollout", tests, up, down);
}
