/* The store goes away: players do not notice, the journal grows, and all of it is written when the store is back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <libpq-fe.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/lib/party.h"

static int up(void **state)
{
    struct cluster_conf conf = {
        .nodes = 2, .gateways = 1, .store = CLUSTER_POSTGRES, .node_args = {"--flush-ms", "50", NULL}};
    *state = party_new("store", &conf);
    return *state ? 0 : -1;
}

static int down(void **state)
{
    party_free(*state);
    return 0;
}

/* How many blocks the store has at that height. */
static int stored(struct party *p, int y)
{
    char sql[80];
    PGconn *c = PQconnectdb(p->cluster->postgres.url);
    snprintf(sql, sizeof sql, "select count(*) from block where y = %d", y);
    PGresult *r = PQexec(c, sql);
    int n = PQresultStatus(r) == PGRES_TUPLES_OK ? atoi(PQgetvalue(r, 0, 0)) : -1;
    PQclear(r);
    PQfinish(c);
    return n;
}

static void play_on(struct party *p, struct bot *a, struct bot *b, int32_t y)
{
    for (int i = 0; i < 60; i++)
        bot_block(a, 30 + i, y, 60, 1 + i % 15);
    for (int i = 0; i < 60; i++)
        assert_true(party_block_within(p, b, 30 + i, y, 60, 1 + i % 15, 3000));
}

static void players_do_not_notice(struct party *p, void (*away)(struct party *), bool (*back)(struct party *))
{
    struct bot *a = party_join(p, "", 1), *b = party_join(p, "", 1);
    assert_non_null(a);
    assert_non_null(b);
    assert_true(party_move(p, a, 64, 130, 64) && party_move(p, b, 66, 130, 64));
    play_on(p, a, b, 150);
    assert_true(party_flushed(p));
    assert_int_equal(stored(p, 150), 60);
    away(p);
    play_on(p, a, b, 151);
    assert_true(back(p));
    play_on(p, a, b, 152);
    assert_true(party_flushed(p));
    assert_int_equal(stored(p, 151), 60);
    assert_int_equal(stored(p, 152), 60);
    assert_true(party_passed(p));
}

static void kill_store(struct party *p)
{
    proc_kill(p->cluster->postgres.proc);
}

static bool start_store(struct party *p)
{
    return postgres_start(&p->cluster->postgres);
}

static void a_killed_store_is_written_when_it_is_back(void **state)
{
    players_do_not_notice(*state, kill_store, start_store);
}

/* What a network that swallows everything looks like: all of the server's processes, connections open. */
static void stop_backends(struct party *p, int sig)
{
    char path[64], pid[16];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)proc_pid(p->cluster->postgres.proc),
             (int)proc_pid(p->cluster->postgres.proc));
    proc_signal(p->cluster->postgres.proc, sig);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fscanf(f, "%15s", pid) == 1)
        kill(atoi(pid), sig);
    fclose(f);
}

static void hang_store(struct party *p)
{
    stop_backends(p, SIGSTOP);
}

static bool wake_store(struct party *p)
{
    stop_backends(p, SIGCONT);
    return true;
}

static void a_store_that_hangs_is_written_when_it_wakes(void **state)
{
    players_do_not_notice(*state, hang_store, wake_store);
}

/* A row of the schema table from the future: this version must not touch the world. */
static void a_newer_schema_is_refused_with_a_reason(void **state)
{
    struct party *p = *state;
    struct member *n = &p->cluster->node[0];
    PGconn *c = PQconnectdb(p->cluster->postgres.url);
    PQclear(PQexec(c, "insert into schema_version (version) values (999)"));
    PQfinish(c);
    assert_int_equal(member_stop(n, 20000), 0);
    assert_true(member_start(n));
    for (int i = 0; i < 1000 && proc_alive(n->proc) && !proc_log_has(n->proc, "schema 999"); i++)
        loop_for(p->base, 10);
    assert_true(proc_log_has(n->proc, "schema 999"));
    assert_false(member_is_ready(n));
    assert_true(party_passed(p));
}

int main(void)
{
    alarm(180);
    if (!postgres_installed()) {
        print_message("no PostgreSQL on this machine: nothing of this was tested\n");
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_killed_store_is_written_when_it_is_back, up, down),
        cmocka_unit_test_setup_teardown(a_store_that_hangs_is_written_when_it_wakes, up, down),
        cmocka_unit_test_setup_teardown(a_newer_schema_is_refused_with_a_reason, up, down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
