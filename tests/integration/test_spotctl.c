/* The operator's tool against a real cluster: what it shows, what it moves, and how it says that it cannot. */
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

#include "tests/lib/party.h"
#include "tests/lib/probe.h"

enum { SPOTCTL_MS = 60000, OUT_MAX = 64 << 10, ARGS_MAX = 16, ID_MAX = 16 };

static int down(void **state)
{
    party_free(*state);
    return 0;
}

/* ---- one run of it ---- */

struct run {
    int code;
    char out[OUT_MAX]; /* both of its streams */
};

static struct proc *start(struct party *p, const char *name, const char *const *args)
{
    char binary[LAB_PATH_MAX], url[64];
    const char *argv[ARGS_MAX] = {binary};
    unsigned n = 1;
    snprintf(binary, sizeof binary, "%s/ops/spotctl", build_dir());
    snprintf(url, sizeof url, "redis://127.0.0.1:%u", p->cluster->redis.port);
    const char *env[] = {"SPOTCRAFT_WORLD=test", "SPOTCRAFT_SECRET=a secret of this test", NULL, NULL};
    char redis[96];
    snprintf(redis, sizeof redis, "SPOTCRAFT_REDIS=%s", url);
    env[2] = redis;
    while (*args)
        argv[n++] = *args++;
    struct proc *s = proc_start(p->cluster->lab, &(struct proc_conf){.name = name, .argv = argv, .env = env});
    assert_non_null(s);
    return s;
}

static bool ended(void *arg)
{
    return !proc_alive(arg);
}

static void finish(struct party *p, const char *name, struct proc *s, struct run *r)
{
    char path[LAB_PATH_MAX];
    int status = -1;
    assert_true(loop_until(p->base, ended, s, SPOTCTL_MS, "spotctl to end"));
    assert_true(proc_wait(s, 0, &status));
    assert_true(WIFEXITED(status));
    r->code = WEXITSTATUS(status);
    lab_path(p->cluster->lab, path, "%s.log", name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    r->out[fread(r->out, 1, sizeof r->out - 1, f)] = '\0';
    fclose(f);
}

/* The players play on meanwhile. */
static const struct run *spotctl(struct party *p, const char *const *args)
{
    static struct run r;
    static unsigned count;
    char name[32];
    snprintf(name, sizeof name, "spotctl%u", ++count);
    finish(p, name, start(p, name, args), &r);
    return &r;
}

#define SPOTCTL(p, ...) spotctl(p, (const char *const[]){__VA_ARGS__, NULL})

static void assert_says(const struct run *r, int code, const char *text)
{
    if (r->code != code || !strstr(r->out, text))
        fail_msg("ended with %d, not %d, or does not say \"%s\":\n%s", r->code, code, text, r->out);
}

static const char *id_of(struct member *m, char out[ID_MAX + 1])
{
    char *status = member_status(m);
    assert_non_null(status);
    const char *id = strstr(status, "\"id\":\"");
    assert_non_null(id);
    snprintf(out, ID_MAX + 1, "%.16s", id + 6);
    free(status);
    return out;
}

static struct member *other_than(struct party *p, const struct member *m)
{
    return m == &p->cluster->node[0] ? &p->cluster->node[1] : &p->cluster->node[0];
}

struct amount {
    struct member *of;
    const char *name;
    double is;
};

static bool has(void *arg)
{
    struct amount *a = arg;
    return member_status_number(a->of, a->name, -1) == a->is;
}

static struct party *with_player(void **state, const char *name, unsigned nodes, struct bot **bot)
{
    struct cluster_conf conf = {
        .nodes = nodes,
        .gateways = 1,
        .node_args = {"--pool", "c7g.large/1a/spot", "--instance-id", "i-0f1e2d3c4b5a69788", NULL}};
    struct party *p = *state = party_new(name, &conf);
    assert_non_null(p);
    *bot = party_join(p, "", 1);
    assert_non_null(*bot);
    assert_true(party_move(p, *bot, 64, 130, 64));
    bot_block(*bot, 64, 140, 64, 3);
    assert_true(party_acknowledged(p));
    return p;
}

/* ---- looking ---- */

static void status_and_cells_show_who_has_what(void **state)
{
    struct bot *a;
    struct party *p = with_player(state, "ctl-show", 2, &a);
    char id[ID_MAX + 1], text[64];
    struct member *owner = party_owner(p, 64, 64);
    assert_non_null(owner);
    id_of(owner, id);

    const struct run *r = SPOTCTL(p, "status");
    assert_says(r, 0, id);
    assert_says(r, 0, "running");
    assert_says(r, 0, "c7g.large/1a/spot            i-0f1e2d3c4b5a69788 ");
    assert_says(r, 0, "2 nodes, ");
    assert_says(r, 0, " 1 players");

    r = SPOTCTL(p, "--json", "status");
    snprintf(text, sizeof text, "{\"id\":\"%s\",", id);
    assert_says(r, 0, text);
    assert_says(r, 0, "\"instance\":\"i-0f1e2d3c4b5a69788\"");
    assert_says(r, 0, "\"reachable\":true");
    assert_says(r, 0, "\"freeze_p99_us\":");

    r = SPOTCTL(p, "cells");
    snprintf(text, sizeof text, "\n0,0              %s  serving ", id);
    assert_says(r, 0, text);
    assert_says(r, 0, ". nobody");
    assert_says(r, 0, "\nA ");
    assert_says(r, 0, "\nB ");

    r = SPOTCTL(p, "cells", "--json");
    snprintf(text, sizeof text, "{\"i\":0,\"j\":0,\"node\":\"%s\"", id);
    assert_says(r, 0, text);
    assert_true(party_passed(p));
}

static bool watched_thrice(void *arg)
{
    char path[LAB_PATH_MAX], text[OUT_MAX];
    struct party *p = arg;
    lab_path(p->cluster->lab, path, "watch.log");
    FILE *f = fopen(path, "r");
    if (!f)
        return false;
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    unsigned n = 0;
    for (const char *at = text; (at = strstr(at, "NODE ")); at++)
        n++;
    return n >= 3;
}

static void watching_goes_on_until_it_is_told_to_end(void **state)
{
    static struct run r;
    struct bot *a;
    struct party *p = with_player(state, "ctl-watch", 1, &a);
    struct proc *s = start(p, "watch", (const char *const[]){"status", "--watch", NULL});
    assert_true(loop_until(p->base, watched_thrice, p, 20000, "three tables"));
    proc_signal(s, SIGINT);
    finish(p, "watch", s, &r);
    assert_says(&r, 0, "1 nodes, ");
    assert_true(party_passed(p));
}

/* ---- moving ---- */

static void a_cell_moves_to_the_node_that_was_named(void **state)
{
    struct bot *a;
    struct party *p = with_player(state, "ctl-move", 2, &a);
    char id[ID_MAX + 1], prefix[6];
    for (int i = 0; i < 4; i++) {
        struct member *owner = party_owner(p, 64, 64), *to = other_than(p, owner);
        snprintf(prefix, sizeof prefix, "%s", id_of(to, id));
        bot_block(a, 60 + i, 150, 60, 4);
        assert_says(SPOTCTL(p, "move", "0,0", i % 2 ? prefix : id), 0, "cell 0,0 moved from ");
        bot_block(a, 60 + i, 151, 60, 5);
        assert_true(party_acknowledged(p));
        assert_ptr_equal(party_owner(p, 64, 64), to);
    }
    assert_says(SPOTCTL(p, "move", "0,0", id), 0, "it is there already");
    assert_says(SPOTCTL(p, "move", "0,0", id, "--json"), 0, "{\"ok\":true,\"i\":0,\"j\":0,");

    struct bot *b = party_join(p, "", 1);
    assert_non_null(b);
    for (int i = 0; i < 4; i++) {
        assert_true(party_block(p, b, 60 + i, 150, 60, 4));
        assert_true(party_block(p, b, 60 + i, 151, 60, 5));
    }
    assert_true(party_passed(p));
}

static void what_cannot_be_moved_is_said(void **state)
{
    struct bot *a;
    struct party *p = with_player(state, "ctl-cannot", 2, &a);
    char id[ID_MAX + 1];
    struct member *owner = party_owner(p, 64, 64), *to = other_than(p, owner);
    id_of(to, id);
    assert_says(SPOTCTL(p, "move", "5000,5000", id), 1, "is not served: nobody owns it");
    assert_says(SPOTCTL(p, "move", "0,0", "xyz"), 1, "no living node is called \"xyz\"");
    assert_says(SPOTCTL(p, "move", "0;0", id), 2, "is not a cell");
    assert_says(SPOTCTL(p, "move", "99999999,0", id), 2, "is not a cell");
    assert_says(SPOTCTL(p, "move", "0,0"), 2, "spotctl move I,J NODE");
    assert_says(SPOTCTL(p, "frobnicate"), 2, "a command: status, cells");
    assert_says(SPOTCTL(p, "cells", "--watch"), 2, "only status can be watched");
    assert_says(SPOTCTL(p, "status", "--colour"), 2, "no such setting");
    assert_says(SPOTCTL(p, "--help"), 0, "spotctl drain NODE");
    assert_says(SPOTCTL(p, "status", "--world", "another"), 1, "no node of a world named \"another\"");
    assert_says(SPOTCTL(p, "status", "--secret", "wrong"), 1, "cannot be asked: wrong secret");
    assert_says(SPOTCTL(p, "drain", id, "--secret", "wrong"), 1, "cannot be asked: wrong secret");
    assert_says(SPOTCTL(p, "drain", id, "--secret", "wrong", "--json"), 1, "{\"ok\":false,\"code\":1,");
    assert_says(SPOTCTL(p, "status", "--redis", "redis://127.0.0.1:1", "--answer-ms", "500"), 3, "is not reachable");
    assert_says(SPOTCTL(p, "drain", id), 0, "drained in ");
    assert_says(SPOTCTL(p, "move", "0,0", id), 1, "the target is not running");
    assert_ptr_equal(party_owner(p, 64, 64), owner);

    proc_signal(to->proc, SIGSTOP); /* its lease lives on for a while */
    assert_says(SPOTCTL(p, "status", "--answer-ms", "500"), 3, "no answer");
    proc_signal(to->proc, SIGCONT);
    assert_true(party_passed(p));
}

/* Nothing is guessed. The twin is one that died a moment ago. */
static void an_ambiguous_name_is_refused_with_its_candidates(void **state)
{
    struct bot *a;
    struct party *p = with_player(state, "ctl-ambiguous", 1, &a);
    char first[ID_MAX + 1];
    id_of(&p->cluster->node[0], first);
    char twin[ID_MAX + 1], text[ID_MAX];
    uint16_t port = p->cluster->redis.port;
    snprintf(twin, sizeof twin, "%.15s%c", first, first[15] == '0' ? '1' : '0');
    snprintf(text, sizeof text, "%.15s", first);
    free(redis_ask(port, "SADD spotcraft:{test}:nodes %s", twin));
    free(redis_ask(port, "HSET spotcraft:{test}:node:%s address 127.0.0.1:1 state 0 load 0 pool none", twin));
    const struct run *r = SPOTCTL(p, "drain", text);
    assert_says(r, 1, "may be 2 nodes: ");
    assert_says(r, 1, first);
    assert_says(SPOTCTL(p, "status"), 3, "connection refused");
    assert_true(party_passed(p));
}

/* ---- draining ---- */

static void a_drained_node_is_empty_stays_and_can_be_called_back(void **state)
{
    struct bot *a;
    struct party *p = with_player(state, "ctl-drain", 2, &a);
    char id[ID_MAX + 1];
    struct member *owner = party_owner(p, 64, 64), *to = other_than(p, owner);
    id_of(owner, id);
    for (int i = 0; i < 40; i++)
        bot_block(a, 40 + i, 150, 60, 1 + i % 15);
    const struct run *r = SPOTCTL(p, "drain", id);
    assert_says(r, 0, "drained in ");
    assert_says(r, 0, "cells moved");
    assert_says(r, 0, "freeze of a cell: p50 ");
    assert_says(r, 0, "edits handed back");
    for (int i = 0; i < 40; i++)
        bot_block(a, 40 + i, 151, 60, 1 + i % 15);
    assert_true(party_acknowledged(p));
    assert_true(member_status_number(owner, "cells", -1) == 0);
    assert_ptr_equal(party_owner(p, 64, 64), to);
    assert_false(member_is_ready(owner));
    assert_says(SPOTCTL(p, "status"), 0, "draining");

    /* Whoever goes to new ground does not find it there. */
    assert_true(party_move(p, a, 5000, 130, 5000));
    assert_true(member_status_number(owner, "cells", -1) == 0);

    assert_says(SPOTCTL(p, "undrain", id), 0, "is running");
    assert_true(member_wait_ready(owner, 5000));
    assert_true(party_move(p, a, 64, 130, 64));
    assert_says(SPOTCTL(p, "move", "0,0", id), 0, "cell 0,0 moved");

    r = SPOTCTL(p, "drain", id, "--json");
    assert_says(r, 0, "{\"ok\":true,\"node\":\"");
    assert_says(r, 0, "\"freeze_max_us\":");
    double moved = 0;
    assert_true(json_number(r->out, "moved", &moved) && moved >= 1);

    struct bot *b = party_join(p, "", 1);
    assert_non_null(b);
    assert_true(party_move(p, b, 64, 130, 64));
    for (int i = 0; i < 40; i++)
        assert_true(party_block(p, b, 40 + i, 151, 60, 1 + i % 15));
    assert_true(party_passed(p));
}

/* Nobody to take them: they are served on, and the operator is told. SIGTERM then ends the node in order. */
static void the_only_node_serves_on_while_it_drains(void **state)
{
    struct bot *a;
    struct party *p = with_player(state, "ctl-alone", 1, &a);
    struct member *only = &p->cluster->node[0];
    char id[ID_MAX + 1];
    const struct run *r = SPOTCTL(p, "drain", id_of(only, id), "--wait-ms", "2000");
    assert_says(r, 1, "no other node is running");
    assert_says(r, 1, "nobody takes them");
    bot_block(a, 60, 150, 60, 4);
    assert_true(party_acknowledged(p));

    assert_true(cluster_add_node(p->cluster)); /* somebody comes: it goes on by itself */
    struct amount empty = {only, "cells", 0};
    assert_true(loop_until(p->base, has, &empty, 20000, "the cells to leave"));
    assert_ptr_equal(party_owner(p, 64, 64), &p->cluster->node[1]);
    proc_signal(only->proc, SIGTERM);
    assert_int_equal(member_stop(only, 10000), 0);
    struct bot *b = party_join(p, "", 1);
    assert_non_null(b);
    assert_true(party_block(p, b, 60, 150, 60, 4));
    assert_true(party_passed(p));
}

static void sigterm_during_a_drain_releases_what_is_left(void **state)
{
    struct bot *a;
    struct party *p = with_player(state, "ctl-term", 1, &a);
    struct member *only = &p->cluster->node[0];
    char id[ID_MAX + 1];
    assert_says(SPOTCTL(p, "drain", id_of(only, id), "--wait-ms", "500"), 1, "It goes on draining");
    bot_block(a, 60, 150, 60, 4);
    assert_true(party_acknowledged(p));
    assert_int_equal(member_stop(only, 30000), 0);
    char *cells = redis_ask(p->cluster->redis.port, "KEYS spotcraft:{test}:cell:*");
    assert_string_equal(cells, "");
    free(cells);
    assert_true(bot_connected(a));
    assert_true(party_passed(p));
}

int main(void)
{
    alarm(300);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(status_and_cells_show_who_has_what, down),
        cmocka_unit_test_teardown(watching_goes_on_until_it_is_told_to_end, down),
        cmocka_unit_test_teardown(a_cell_moves_to_the_node_that_was_named, down),
        cmocka_unit_test_teardown(what_cannot_be_moved_is_said, down),
        cmocka_unit_test_teardown(an_ambiguous_name_is_refused_with_its_candidates, down),
        cmocka_unit_test_teardown(a_drained_node_is_empty_stays_and_can_be_called_back, down),
        cmocka_unit_test_teardown(the_only_node_serves_on_while_it_drains, down),
        cmocka_unit_test_teardown(sigterm_during_a_drain_releases_what_is_left, down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
