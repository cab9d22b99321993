/* ops/up.sh and ops/down.sh: a world in one command, kept between runs, and never two of them in one place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <event2/event.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/lib/bot.h"

enum { UP_MS = 120000 }; /* it may have to build */

struct world {
    struct lab *lab;
    struct event_base *base;
    char dir[LAB_PATH_MAX], port[8];
    uint16_t port_number;
};

/* Runs a script to its end. Its exit code; -1: it did not end. said: what it must have said. */
static int run(struct world *w, const char *const *argv, const char *said)
{
    int status = -1;
    static unsigned nth;
    char name[32];
    snprintf(name, sizeof name, "script%u", nth++);
    struct proc *p = proc_start(w->lab, &(struct proc_conf){.name = name, .argv = argv});
    assert_non_null(p);
    assert_true(proc_wait(p, UP_MS, &status));
    if (said && !proc_log_has(p, said)) {
        proc_print_log(p, 4000);
        return -1;
    }
    return status >> 8;
}

static int world_up(struct world *w, const char *dir, const char *said)
{
    const char *argv[] = {"ops/up.sh", "--detach", "--no-install", "--dir", dir, "--port", w->port,
                          "--nodes",   "2",        "--gateways",   "2",     NULL};
    return run(w, argv, said);
}

static int world_down(struct world *w, const char *said)
{
    const char *argv[] = {"ops/down.sh", "--dir", w->dir, NULL};
    return run(w, argv, said);
}

static int up(void **state)
{
    static struct world w;
    w = (struct world){.lab = lab_new("up"), .base = event_base_new(), .port_number = port_pick()};
    lab_path(w.lab, w.dir, "world");
    snprintf(w.port, sizeof w.port, "%u", w.port_number);
    *state = &w;
    return 0;
}

static int down(void **state)
{
    struct world *w = *state;
    if (access(w->dir, F_OK) == 0)
        world_down(w, NULL);
    event_base_free(w->base);
    lab_free(w->lab);
    return 0;
}

static bool answered(void *arg)
{
    return (bot_joined(arg) && bot_unanswered(arg) == 0) || bot_gone(arg);
}

static bool closed(void *arg)
{
    return bot_gone(arg) != NULL;
}

/* A player who has chunk 0,0. */
static struct bot *join(struct world *w)
{
    struct bot *b = bot_new(&(struct bot_conf){.base = w->base, .port = w->port_number, .view = -1, .remember = true});
    bot_ask_chunk(b, (struct chunk_pos){0, 0});
    assert_true(loop_until(w->base, answered, b, 30000, "chunk 0,0"));
    assert_null(bot_gone(b));
    return b;
}

static void a_world_comes_up_goes_down_and_is_kept(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_up(w, w->dir, "The world is ready"), 0);
    struct bot *a = join(w), *b = join(w);
    bot_block(a, 5, 150, 5, 3);
    for (int i = 0; i < 1000 && bot_sees_block(b, (struct chunk_pos){0, 0}, 5, 150, 5) != 3; i++)
        loop_for(w->base, 10);
    assert_int_equal(bot_sees_block(b, (struct chunk_pos){0, 0}, 5, 150, 5), 3);
    assert_int_equal(world_down(w, "stopped"), 0);
    assert_true(loop_until(w->base, closed, a, 5000, "the connection to be closed"));
    assert_false(port_open(w->port_number));
    bot_free(a);
    bot_free(b);

    assert_int_equal(world_up(w, w->dir, "The world is ready"), 0);
    a = join(w);
    assert_int_equal(bot_sees_block(a, (struct chunk_pos){0, 0}, 5, 150, 5), 3);
    bot_free(a);
    assert_int_equal(world_down(w, "stopped"), 0);
    assert_int_equal(world_down(w, "nothing runs"), 0);
    lab_passed(w->lab);
}

static void a_second_start_is_refused_and_harms_nothing(void **state)
{
    struct world *w = *state;
    char other[LAB_PATH_MAX];
    assert_int_equal(world_up(w, w->dir, "The world is ready"), 0);
    assert_int_equal(world_up(w, w->dir, "runs in"), 1);
    lab_path(w->lab, other, "other");
    assert_int_equal(world_up(w, other, "is taken by gateway (pid "), 1);
    bot_free(join(w));
    assert_int_equal(world_down(w, "stopped"), 0);
    lab_passed(w->lab);
}

static void nonsense_is_refused_with_its_name(void **state)
{
    static const char *const bad[][2] = {{"--nodes", "0"},    {"--nodes", "many"},  {"--pools", "99"},
                                         {"--port", "70000"}, {"--store", "mysql"}, {"--fsync", "never"},
                                         {"--what", "1"}};
    struct world *w = *state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *argv[] = {"ops/up.sh", bad[i][0], bad[i][1], NULL};
        assert_int_equal(run(w, argv, bad[i][0]), 1);
    }
    assert_int_equal(world_down(w, "no world"), 1);
    lab_passed(w->lab);
}

int main(void)
{
    alarm(300);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_world_comes_up_goes_down_and_is_kept, up, down),
        cmocka_unit_test_setup_teardown(a_second_start_is_refused_and_harms_nothing, up, down),
        cmocka_unit_test_setup_teardown(nonsense_is_refused_with_its_name, up, down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
