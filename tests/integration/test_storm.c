/* Spot machines are taken back in storms: most of a pool at once, then all nodes but one. Each node reads its notice
 * from a metadata service of its own, hands over what it has, and is gone before its deadline; nobody is disconnected,
 * and every edit is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "tests/lib/imds_mock.h"
#include "tests/lib/party.h"
#include "tests/lib/probe.h"

enum {
    NODES = 5,
    FIRST_POOL = 3, /* nodes 0, 1 and 2 are of one pool */
    PLAYERS = 10,
    APART = 640,      /* blocks: each player has a region of cells of his own */
    HEIGHT = 150,     /* above all ground */
    ROWS = 20,        /* of blocks that each player builds */
    NOTICE_MS = 12000 /* instead of two minutes */
};

struct storm {
    struct party *party;
    struct imds_mock mock;
    struct bot *players[PLAYERS];
    unsigned rows;
};

static bool has_ended(void *arg)
{
    return !proc_alive(((struct member *)arg)->proc);
}

static int down(void **state)
{
    struct storm *s = *state;
    party_free(s->party);
    return 0;
}

static struct member *start_node(struct storm *s, unsigned k)
{
    struct member *m = cluster_new_node(s->party->cluster);
    bool first = k < FIRST_POOL;
    if (!imds_say(&s->mock, "%s?type=%s&zone=%s&lifecycle=spot", m->name, first ? "m6i.large" : "c5.large",
                  first ? "us-east-1a" : "us-east-1b"))
        return NULL;
    imds_endpoint(&s->mock, m->imds, m->name);
    return member_start(m) ? m : NULL;
}

static void build_row(struct storm *s)
{
    for (int k = 0; k < PLAYERS; k++)
        bot_block(s->players[k], k * APART + (int)s->rows, HEIGHT, 8, 1 + (k + (int)s->rows) % 15);
    s->rows++;
}

/* Somebody new, who has seen nothing of it, finds all that was built. */
static void find_all(struct storm *s)
{
    struct bot *visitor = party_join(s->party, "", 1);
    assert_non_null(visitor);
    for (int k = 0; k < PLAYERS; k++) {
        assert_true(party_move(s->party, visitor, (float)(k * APART), HEIGHT, 8));
        for (int row = 0; row < (int)s->rows; row++)
            assert_true(party_block(s->party, visitor, k * APART + row, HEIGHT, 8, 1 + (k + row) % 15));
    }
    party_forget(s->party, visitor);
}

static double cells_of(struct member *m)
{
    return member_metric_or(m, "spotcraft_node_cells", 0);
}

/* Told at once, by their machines; the players build on. Each is gone in order, and in time. */
static void take_away(struct storm *s, const unsigned *which, unsigned count)
{
    struct member *node[NODES];
    uint64_t begin = clock_mono_ms();
    double cells = 0;
    for (unsigned k = 0; k < count; k++) {
        node[k] = &s->party->cluster->node[which[k]];
        cells += cells_of(node[k]);
    }
    assert_true(cells > 0);
    for (unsigned k = 0; k < count; k++)
        assert_true(imds_say(&s->mock, "%s/itn?action=terminate&in_ms=%d", node[k]->name, NOTICE_MS));
    for (unsigned k = 0; k < count; k++) {
        int status;
        build_row(s);
        assert_true(loop_until(s->party->base, has_ended, node[k], NOTICE_MS, "the node to leave"));
        assert_true(proc_wait(node[k]->proc, 0, &status));
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    uint64_t took = clock_mono_ms() - begin;
    print_message("%u nodes with %.0f cells left within %llu ms of %d\n", count, cells, (unsigned long long)took,
                  NOTICE_MS);
    assert_true(took < NOTICE_MS / 2); /* the other half is reserve */
    build_row(s);
    assert_true(party_acknowledged(s->party));
}

static void most_of_a_pool_and_then_all_but_one(void **state)
{
    static struct storm s;
    struct cluster_conf conf = {.node_args = {"--imds-poll-ms", "100", NULL}};
    *state = &s;
    s.party = party_new("storm", &conf);
    assert_non_null(s.party);
    assert_true(imds_mock_start(&s.mock, s.party->cluster->lab, NULL));
    for (unsigned k = 0; k < NODES; k++)
        assert_non_null(start_node(&s, k));
    for (unsigned k = 0; k < NODES; k++)
        assert_true(member_wait_ready(&s.party->cluster->node[k], CLUSTER_READY_MS));
    for (unsigned k = 0; k < 2; k++) {
        struct member *gateway = cluster_new_gateway(s.party->cluster);
        assert_true(member_start(gateway) && member_wait_ready(gateway, CLUSTER_READY_MS));
    }
    for (int k = 0; k < PLAYERS; k++) {
        s.players[k] = party_join(s.party, "", 1);
        assert_non_null(s.players[k]);
        assert_true(party_move(s.party, s.players[k], (float)(k * APART), HEIGHT, 8));
    }
    for (unsigned k = 0; k < ROWS / 2; k++)
        build_row(&s);
    take_away(&s, (unsigned[]){0, 1, 2}, FIRST_POOL);
    for (unsigned k = 0; k < ROWS / 2; k++)
        build_row(&s);
    struct member *left = &s.party->cluster->node[FIRST_POOL]; /* two; the one that serves more goes */
    take_away(&s, (unsigned[]){cells_of(&left[0]) >= cells_of(&left[1]) ? FIRST_POOL : FIRST_POOL + 1}, 1);
    find_all(&s);
    for (int k = 0; k < PLAYERS; k++)
        assert_true(bot_connected(s.players[k]));
    assert_true(party_passed(s.party));
}

int main(void)
{
    alarm(120);
    const struct CMUnitTest tests[] = {cmocka_unit_test_teardown(most_of_a_pool_and_then_all_but_one, down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
