/* Nothing acknowledged is lost: everything is killed at once, and started again over the same directory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/lib/party.h"

enum { EDITS = 200 };

static int down(void **state)
{
    party_free(*state);
    return 0;
}

/* Along and over the border between cells 0,0 and 1,0, corners of chunks included. */
static struct block_pos nth(int i)
{
    return (struct block_pos){96 + i % 64, 110 + i / 64, (i * 7) % 64};
}

/* Some stay, some are broken again, some carry a light and a sign. */
static bool build(struct party *p, struct bot *a)
{
    for (int i = 0; i < EDITS; i++) {
        struct block_pos at = nth(i);
        bot_block(a, at.x, at.y, at.z, 1 + i % 15);
        if (i % 5 == 0)
            bot_light(a, at.x, at.y, at.z, 15);
        if (i % 7 == 0)
            bot_sign(a, at.x, at.y, at.z, i % 8, "kept, too");
        if (i % 3 == 0)
            bot_block(a, at.x, at.y, at.z, 0);
    }
    return party_acknowledged(p);
}

static void check(struct bot *b)
{
    for (int i = 0; i < EDITS; i++) {
        struct block_pos at = nth(i);
        struct chunk_pos mirror[MIRRORS_MAX];
        int want = i % 3 == 0 ? 0 : 1 + i % 15;
        assert_int_equal(bot_sees_block(b, chunk_of_block(at.x, at.z), at.x, at.y, at.z), want);
        for (unsigned k = 0, n = chunk_mirrors(at.x, at.z, mirror); k < n; k++)
            assert_int_equal(bot_sees_block(b, mirror[k], at.x, at.y, at.z), -want);
        if (i % 3 == 0)
            continue;
        if (i % 5 == 0)
            assert_int_equal(bot_sees_light(b, at.x, at.y, at.z), 15);
        if (i % 7 == 0)
            assert_string_equal(bot_sees_sign(b, at.x, at.y, at.z, i % 8), "kept, too");
    }
}

static void all_is_there_after_all_was_killed(void **state, enum cluster_store store, const char *flush_ms)
{
    struct cluster_conf conf = {
        .nodes = 2, .gateways = 2, .store = store, .node_args = {"--flush-ms", flush_ms, "--places-ms", "100", NULL}};
    struct party *p = *state = party_new("survive", &conf);
    assert_non_null(p);
    struct bot *a = party_join(p, "ann", 2);
    assert_non_null(a);
    assert_true(party_move(p, a, 120, 130, 30));
    assert_true(build(p, a));
    struct chunk_pos touched = chunk_of_block(100, 5);
    bot_ask_chunk(a, touched);
    assert_true(party_answered(p, a));
    int32_t key = bot_key(a, touched);
    assert_true(key > 0);

    cluster_kill(p->cluster);
    party_forget(p, a);
    assert_true(cluster_restart(p->cluster));

    struct bot *b = party_join(p, "ann", -1);
    assert_non_null(b);
    bot_set_view(b, 2);
    assert_true(party_move(p, b, 120, 130, 30));
    check(b);
    assert_true(bot_key(b, touched) >= key);

    /* Once: a block that stands can be broken once. And keys go on from where they were. */
    struct block_pos at = nth(1);
    struct bot *c = party_join(p, "", -1);
    bot_set_view(c, 2);
    assert_true(party_move(p, c, 120, 130, 30));
    key = bot_key(b, chunk_of_block(at.x, at.z));
    bot_block(b, at.x, at.y, at.z, 0);
    assert_true(party_block(p, c, at.x, at.y, at.z, 0));
    bot_ask_chunk(c, chunk_of_block(at.x, at.z));
    assert_true(party_answered(p, c));
    assert_true(bot_key(c, chunk_of_block(at.x, at.z)) > key);
    assert_false(bot_heard(b, "already empty"));
    assert_true(party_passed(p));
}

static void sqlite_and_the_journal_keep_every_edit(void **state)
{
    all_is_there_after_all_was_killed(state, CLUSTER_SQLITE, "1000");
}

/* Nothing was flushed when the end came: all of it is in the journal. */
static void the_journal_alone_keeps_every_edit(void **state)
{
    all_is_there_after_all_was_killed(state, CLUSTER_SQLITE, "600000");
}

static void postgres_keeps_every_edit(void **state)
{
    all_is_there_after_all_was_killed(state, CLUSTER_POSTGRES, "50");
}

/* The second half of the promise: with the store written, Redis may lose everything. */
static void what_was_flushed_needs_no_redis(void **state)
{
    struct party *p = *state = party_new("flushed", &(struct cluster_conf){.nodes = 2, .gateways = 1});
    assert_non_null(p);
    struct bot *a = party_join(p, "", -1);
    bot_set_view(a, 2);
    assert_true(party_move(p, a, 120, 130, 30));
    assert_true(build(p, a));
    assert_true(party_flushed(p));
    cluster_kill(p->cluster);
    party_forget(p, a);
    assert_true(redis_wipe(&p->cluster->redis));
    assert_true(cluster_restart(p->cluster));
    struct bot *b = party_join(p, "", -1);
    assert_non_null(b);
    bot_set_view(b, 2);
    assert_true(party_move(p, b, 120, 130, 30));
    check(b);
    assert_true(party_passed(p));
}

static void a_place_comes_back_by_name(void **state)
{
    struct cluster_conf conf = {.nodes = 1, .gateways = 1, .node_args = {"--places-ms", "100", NULL}};
    struct party *p = *state = party_new("place", &conf);
    assert_non_null(p);
    struct bot *a = party_join(p, "ann", -1);
    assert_true(party_move(p, a, 50, 99, -50));
    struct bot *b = party_join(p, "", -1);
    assert_true(party_move(p, b, 51, 99, -50));
    assert_true(party_sees(p, b, a));
    party_forget(p, a);
    party_forget(p, b);
    assert_int_equal(member_stop(&p->cluster->gateway[0], 20000), 0);
    assert_int_equal(member_stop(&p->cluster->node[0], 20000), 0);
    cluster_kill(p->cluster);
    assert_true(cluster_restart(p->cluster));
    a = party_join(p, "ann", -1);
    assert_non_null(a);
    struct place is = bot_place(a);
    assert_true(is.x == 50 && is.y == 99 && is.z == -50);
    assert_true(party_passed(p));
}

int main(void)
{
    alarm(240);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(sqlite_and_the_journal_keep_every_edit, down),
        cmocka_unit_test_teardown(the_journal_alone_keeps_every_edit, down),
        cmocka_unit_test_teardown(postgres_keeps_every_edit, down),
        cmocka_unit_test_teardown(what_was_flushed_needs_no_redis, down),
        cmocka_unit_test_teardown(a_place_comes_back_by_name, down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
