/* Two versions side by side in one cluster: the programs under test, and those of the last commit with the schema
 * before.
 *
 * OLDER is the build directory of the older ones: `make upgrade-test` builds them from the history and says it. A crowd
 * plays and builds through gateways of both versions all the while; at the end nobody was disconnected, and no edit was
 * lost or doubled. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <event2/event.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/mem.h"
#include "tests/lib/bot.h"
#include "tests/lib/builders.h"
#include "tests/lib/cluster.h"
#include "tests/lib/probe.h"

enum {
    CELLS = 3,
    WAIT_MS = 20000,
    PLAY_MS = 500,
    MEMBERS_MS = 1100 /* nodes read who lives each second */,
    ID_MAX = 16
};

static char older_build[PATH_MAX];

/* ---- a world and its crowd ---- */

struct world {
    struct event_base *base;
    struct cluster *cluster;
    struct builders *crowd;
};

/* Redis and a store, and nobody yet. */
static struct world *world_new(void **state, const char *name)
{
    struct cluster_conf conf = {.node_args = {"--lease-ms", "2000", "--stop-ms", "10000", NULL}};
    struct world *w = *state = mem_zalloc(sizeof *w);
    w->base = event_base_new();
    w->cluster = cluster_new(name, &conf);
    assert_non_null(w->cluster);
    return w;
}

static int down(void **state)
{
    struct world *w = *state;
    builders_free(w->crowd);
    cluster_free(w->cluster);
    event_base_free(w->base);
    free(w);
    return 0;
}

static bool is_ready(void *arg)
{
    return member_is_ready(arg);
}

static bool has_ended(void *arg)
{
    return !proc_alive(((struct member *)arg)->proc);
}

static struct member *start(struct world *w, struct member *m, bool older)
{
    m->older = older ? older_build : NULL;
    assert_true(member_start(m));
    assert_true(loop_until(w->base, is_ready, m, WAIT_MS, "a member to be ready"));
    return m;
}

static struct member *start_node(struct world *w, bool older)
{
    return start(w, cluster_new_node(w->cluster), older);
}

static void start_gateways(struct world *w)
{
    start(w, cluster_new_gateway(w->cluster), true);
    start(w, cluster_new_gateway(w->cluster), false);
}

static void stop_node(struct world *w, struct member *m)
{
    proc_signal(m->proc, SIGTERM);
    assert_true(loop_until(w->base, has_ended, m, WAIT_MS, "a node to leave"));
    assert_int_equal(member_stop(m, 1000), 0);
}

static void players_come(struct world *w)
{
    struct builders_conf conf = {.base = w->base,
                                 .port = w->cluster->port,
                                 .bots = 24,
                                 .edits_per_s = 100,
                                 .view = 2,
                                 .cells = CELLS,
                                 .silent = true,
                                 .seed = 5};
    w->crowd = builders_new(&conf);
    assert_true(builders_gather(w->crowd));
    builders_start(w->crowd);
    loop_for(w->base, PLAY_MS);
    for (unsigned k = 0; k < w->cluster->n_gateways; k++)
        assert_true(member_metric_or(&w->cluster->gateway[k], "spotcraft_players", 0) > 0);
}

/* Order is not looked at: the older version tells what was missed while a cell changed hands in no order. */
static void nobody_noticed(struct world *w)
{
    struct ledger_result r = {0};
    loop_for(w->base, PLAY_MS);
    builders_stop(w->crowd);
    assert_true(builders_check(w->crowd, &r));
    assert_int_equal(w->crowd->disconnects, 0);
    assert_int_equal(r.refused, 0);
    assert_int_equal(r.lost, 0);
    assert_int_equal(r.unseen, 0);
    assert_int_equal(r.doubled, 0);
    assert_int_equal(r.wrong_mirrors, 0);
    assert_true(r.edits > 100);
    cluster_passed(w->cluster);
}

/* ---- who owns what ---- */

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

static bool owns(struct world *w, const char *id, int i, int j)
{
    char *owner = redis_ask(w->cluster->redis.port, "HGET spotcraft:{test}:cell:%d,%d owner", i, j);
    bool same = owner && !strcmp(owner, id);
    free(owner);
    return same;
}

struct ownership {
    struct world *world;
    char id[ID_MAX + 1];
};

static bool owns_all(void *arg)
{
    struct ownership *o = arg;
    for (int k = 0; k < CELLS * CELLS; k++) {
        if (!owns(o->world, o->id, k % CELLS, k / CELLS))
            return false;
    }
    return true;
}

static void wait_owner_of_all(struct world *w, struct member *m)
{
    struct ownership o = {.world = w};
    id_of(m, o.id);
    assert_true(loop_until(w->base, owns_all, &o, WAIT_MS, "a node to own all cells"));
}

/* ---- the operator ---- */

static bool tool_ended(void *arg)
{
    return !proc_alive(arg);
}

/* The players play on meanwhile. Its exit code. */
static int spotctl(struct world *w, bool older, const char *a, const char *b, const char *c)
{
    char binary[PATH_MAX + 32], redis[96];
    int status = -1;
    snprintf(binary, sizeof binary, "%s/ops/spotctl", older ? older_build : build_dir());
    snprintf(redis, sizeof redis, "SPOTCRAFT_REDIS=redis://127.0.0.1:%u", w->cluster->redis.port);
    const char *const env[] = {"SPOTCRAFT_WORLD=test", "SPOTCRAFT_SECRET=a secret of this test", redis, NULL};
    const char *const argv[] = {binary, a, b, c, NULL};
    struct proc *p = proc_start(w->cluster->lab, &(struct proc_conf){.name = "spotctl", .argv = argv, .env = env});
    assert_non_null(p);
    assert_true(loop_until(w->base, tool_ended, p, WAIT_MS, "spotctl to end"));
    assert_true(proc_wait(p, 0, &status));
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

struct bringing {
    struct world *world;
    bool older;
    int i, j;
    char to[ID_MAX + 1];
};

/* A cell that is on its way for balance is refused to an operator: he asks again. */
static bool brought(void *arg)
{
    struct bringing *b = arg;
    char cell[32];
    snprintf(cell, sizeof cell, "%d,%d", b->i, b->j);
    return owns(b->world, b->to, b->i, b->j) || spotctl(b->world, b->older, "move", cell, b->to) == 0;
}

static void bring_all(struct world *w, struct member *to, bool older)
{
    struct bringing b = {.world = w, .older = older};
    id_of(to, b.to);
    for (b.i = 0; b.i < CELLS; b.i++) {
        for (b.j = 0; b.j < CELLS; b.j++)
            assert_true(loop_until(w->base, brought, &b, WAIT_MS, "a cell to be moved"));
    }
}

static void drain(struct world *w, struct member *from, struct member *to, bool older)
{
    char id[ID_MAX + 1];
    assert_int_equal(spotctl(w, older, "drain", id_of(from, id), NULL), 0);
    wait_owner_of_all(w, to);
    assert_int_equal(spotctl(w, older, "undrain", id, NULL), 0);
}

/* ---- the tests ---- */

/* Each version is source and target, and is commanded by both versions of the tool. */
static void cells_move_both_ways(void **state)
{
    struct world *w = world_new(state, "upgrade-moves");
    struct member *newer = start_node(w, false), *older = start_node(w, true);
    start_gateways(w);
    players_come(w);
    bring_all(w, newer, false);
    bring_all(w, older, true);
    bring_all(w, newer, true);
    drain(w, newer, older, false);
    drain(w, older, newer, true);
    assert_true(proc_log_has(newer->proc, "cell_moved"));
    assert_true(proc_log_has(older->proc, "cell_moved"));
    nobody_noticed(w);
}

enum { NODES = 3, EVER = 3 * NODES };

/* Did one of the three nodes from `from` on hand a cell to one of those from `to` on? */
static bool any_moved(struct world *w, unsigned from, unsigned to, char ids[EVER][ID_MAX + 1])
{
    char text[64];
    for (unsigned k = 0; k < NODES * NODES; k++) {
        snprintf(text, sizeof text, "to=%s", ids[to + k % NODES]);
        if (proc_log_has(w->cluster->node[from + k / NODES].proc, text))
            return true;
    }
    return false;
}

/* An upgrade, and the way back when the newer version is no good. */
static void all_nodes_are_replaced_one_by_one_and_back(void **state)
{
    struct world *w = world_new(state, "upgrade-roll");
    char ids[EVER][ID_MAX + 1];
    for (unsigned k = 0; k < NODES; k++)
        id_of(start_node(w, true), ids[k]);
    start_gateways(w);
    players_come(w);
    for (unsigned k = NODES; k < EVER; k++) {
        id_of(start_node(w, k >= 2 * NODES), ids[k]);
        loop_for(w->base, MEMBERS_MS);
        stop_node(w, &w->cluster->node[k - NODES]);
    }
    assert_true(any_moved(w, 0, NODES, ids));
    assert_true(any_moved(w, NODES, 2 * NODES, ids));
    nobody_noticed(w);
}

/* What one version journalled the other replays. */
static void a_killed_node_is_taken_over_by_the_other_version(void **state)
{
    struct world *w = world_new(state, "upgrade-killed");
    struct member *older = start_node(w, true);
    start_gateways(w);
    players_come(w);
    struct member *newer = start_node(w, false);
    proc_kill(older->proc);
    wait_owner_of_all(w, newer);
    loop_for(w->base, PLAY_MS);
    older = start_node(w, true);
    proc_kill(newer->proc);
    wait_owner_of_all(w, older);
    nobody_noticed(w);
}

static bool older_is_there(void)
{
    char node[PATH_MAX + 16];
    const char *dir = getenv("OLDER");
    if (dir && realpath(dir, older_build)) {
        snprintf(node, sizeof node, "%s/node/node", older_build);
        if (access(node, X_OK) == 0)
            return true;
    }
    fprintf(stderr, "no older programs in OLDER=%s: run `make upgrade-test`, which builds them\n", dir ? dir : "");
    return false;
}

int main(void)
{
    alarm(280);
    signal(SIGPIPE, SIG_IGN);
    if (!older_is_there())
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(cells_move_both_ways, down),
        cmocka_unit_test_teardown(all_nodes_are_replaced_one_by_one_and_back, down),
        cmocka_unit_test_teardown(a_killed_node_is_taken_over_by_the_other_version, down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
