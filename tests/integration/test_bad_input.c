/* Whatever comes in from outside is refused or ignored, with a reason; the process lives, other players see nothing of
 * it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/rng.h"
#include "tests/lib/party.h"
#include "tests/lib/probe.h"

static int up(void **state)
{
    *state = party_new("bad", &(struct cluster_conf){.nodes = 1, .gateways = 1});
    return *state ? 0 : -1;
}

static int down(void **state)
{
    party_free(*state);
    return 0;
}

/* A player who only wants to play, and one who does not. */
static void two_players(struct party *p, struct bot **good, struct bot **bad)
{
    *good = party_join(p, "", 1);
    *bad = party_join(p, "", -1);
    assert_non_null(*good);
    assert_non_null(*bad);
    assert_true(party_move(p, *good, 10, 130, 10));
}

/* The cluster still does all that it should, quickly. */
static void still_well(struct party *p, struct bot *good)
{
    static int32_t y = 150;
    struct bot *fresh = party_join(p, "", -1);
    assert_non_null(fresh);
    bot_set_view(fresh, 1);
    assert_true(party_move(p, fresh, 12, 130, 12));
    y++;
    bot_block(fresh, 5, y, 5, 3);
    assert_true(party_block_within(p, good, 5, y, 5, 3, 2000));
    assert_true(party_move(p, good, 10, 131, 10));
    assert_true(party_sees(p, fresh, good));
    assert_true(proc_alive(p->cluster->node[0].proc));
    assert_true(proc_alive(p->cluster->gateway[0].proc));
    assert_true(member_is_ready(&p->cluster->gateway[0]));
}

static void nonsense_lines_are_ignored(void **state)
{
    static const char *const lines[] = {
        "",
        "X,1,2,3",
        "B",
        "B,",
        "B,1,2",
        "B,1,2,3,4,5,6",
        "B,a,b,c,d",
        "B,99999999999,10,0,1",
        "B,-2147483649,10,0,1",
        "B,2147483647,10,2147483647,1",
        "B,0,0,0,1",
        "B,0,256,0,1",
        "B,0,-1,0,1",
        "B,0,200,0,16",
        "B,0,200,0,24",
        "B,0,200,0,-1",
        "B,0,200,0,1000",
        "L,0,200,0,16",
        "L,0,200,0,-1",
        "L,2147483647,255,-2147483648,15",
        "S,0,200,0,8,text",
        "S,0,200,0,-1,text",
        "S,0,200,0,0",
        "P,nan,0,0,0,0",
        "P,inf,inf,inf,inf,inf",
        "P,1e38,1e38,-1e38,0,0",
        "P,1,2",
        "C,2147483647,-2147483648,0",
        "C,-2147483648,2147483647,2147483647",
        "C,0,0,-1",
        "C,0,0",
        "A,again,and again",
        "A,\x01\x02,x",
        "V,1",
        "T,",
        "T,/nick",
        "T,/nick a,b",
        "T,/nick \x01\x7f",
        "T,/goto nobody at all",
        "T,/pq 99999 99999",
        "T,/pq x y",
        "T,/help nothing",
        "T,/no such command",
        "T,@nobody hello",
        "T,@",
        "T,\x80\xff\xfe",
        "U,1,2,3,4,5,6",
        "K,0,0,5",
        "D,1",
    };
    struct party *p = *state;
    struct bot *good, *bad;
    two_players(p, &good, &bad);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        bot_send(bad, "%s", lines[i]);
    bot_send(bad, "T,/help");
    still_well(p, good);
    assert_true(bot_connected(bad)); /* a bad line is not worth a player */
    assert_true(party_passed(p));
}

static void a_long_name_is_cut_or_refused_but_plays(void **state)
{
    struct party *p = *state;
    struct bot *good, *bad;
    char name[400];
    memset(name, 'n', 300);
    name[300] = '\0';
    two_players(p, &good, &bad);
    struct bot *named = party_join(p, name, -1);
    assert_non_null(named);
    bot_send(bad, "T,/nick %s", name);
    still_well(p, good);
    assert_true(party_passed(p));
}

/* Split anywhere, with \r\n too. */
static void lines_may_come_a_byte_at_a_time(void **state)
{
    struct party *p = *state;
    struct bot *good, *bad;
    const char *text = "B,7,140,7,5\r\nT,one byte at a time\r\n";
    two_players(p, &good, &bad);
    for (const char *at = text; *at; at++) {
        bot_send_bytes(bad, at, 1);
        loop_for(p->base, 2);
    }
    assert_true(party_block(p, good, 7, 140, 7, 5));
    assert_true(party_hears(p, good, "one byte at a time"));
    assert_true(party_passed(p));
}

static void ten_megabytes_without_an_end_are_skipped(void **state)
{
    struct party *p = *state;
    struct bot *good, *bad;
    two_players(p, &good, &bad);
    char *much = malloc(10 << 20);
    memset(much, 'B', 10 << 20);
    bot_send_bytes(bad, much, 10 << 20);
    free(much);
    bot_send(bad, "%s", ""); /* the line ends at last */
    bot_send(bad, "T,after all that");
    if (bot_connected(bad))
        assert_true(party_hears(p, good, "after all that"));
    still_well(p, good);
    assert_true(party_passed(p));
}

static void random_bytes_harm_nobody(void **state)
{
    struct party *p = *state;
    struct bot *good, *bad;
    struct rng rng;
    two_players(p, &good, &bad);
    rng_seed(&rng, 7);
    for (int i = 0; i < 200; i++) {
        uint8_t bytes[4096];
        for (size_t k = 0; k < sizeof bytes; k++)
            bytes[k] = (uint8_t)rng_u64(&rng);
        bot_send_bytes(bad, bytes, sizeof bytes);
    }
    still_well(p, good);
    assert_true(party_passed(p));
}

/* The flood itself may be thinned out; what others do must not wait behind it. */
static void a_flood_of_chat_does_not_drown_the_others(void **state)
{
    struct party *p = *state;
    struct bot *good, *bad;
    two_players(p, &good, &bad);
    for (int i = 0; i < 5000; i++)
        bot_send(bad, "T,flood flood flood %d", i);
    still_well(p, good);
    bot_send(good, "T,and a word from me");
    struct bot *fresh = p->bots[p->n - 1];
    assert_true(party_hears(p, fresh, "and a word from me"));
    assert_true(bot_lines(good, 'T') < 1000);
    assert_true(party_passed(p));
}

/* As builder commands make them: thousands at once. None lost, order kept. */
static void a_burst_of_thousands_of_edits_is_taken_whole(void **state)
{
    struct party *p = *state;
    struct bot *good, *bad;
    enum { SIDE = 20, LAYERS = 15 };
    two_players(p, &good, &bad);
    for (int y = 0; y < LAYERS; y++)
        for (int x = 0; x < SIDE; x++)
            for (int z = 0; z < SIDE; z++) {
                bot_block(bad, x, 200 + y, z, 1);
                bot_block(bad, x, 200 + y, z, 0);
                bot_block(bad, x, 200 + y, z, 2 + (x + y + z) % 10);
            }
    assert_true(party_acknowledged(p));
    assert_true(party_block(p, good, SIDE - 1, 200 + LAYERS - 1, SIDE - 1, 2 + (2 * SIDE + LAYERS - 3) % 10));
    for (int y = 0; y < LAYERS; y++)
        for (int x = 0; x < SIDE; x++)
            for (int z = 0; z < SIDE; z++)
                assert_int_equal(bot_sees_block(good, (struct chunk_pos){0, 0}, x, 200 + y, z), 2 + (x + y + z) % 10);
    assert_true(party_passed(p));
}

/* Not a process of ours: no proof, a bad length, an unknown body. Players notice nothing. */
static void strangers_on_the_nodes_port_are_shown_out(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } junk[] = {{"GET / HTTP/1.0\r\n\r\n", 18},
                {"\xff\xff\xff\xff\xff\xff\xff\xff", 8},
                {"\x00\x00\x00\x00\x00\x00\x00\x00", 8},
                {"\x00\x00\x00\x04\xff\xff\xff\xff", 8},
                {"\x04\x00\x00\x00\xff\xff\xff\xff", 8}};
    struct party *p = *state;
    struct bot *good, *bad;
    two_players(p, &good, &bad);
    for (size_t i = 0; i < sizeof junk / sizeof *junk; i++) {
        struct bot *stranger =
            bot_new(&(struct bot_conf){.base = p->base, .port = p->cluster->node[0].listen_port, .view = -1});
        bot_send_bytes(stranger, junk[i].bytes, junk[i].len);
        for (int k = 0; k < 1000 && !bot_gone(stranger); k++)
            loop_for(p->base, 10);
        assert_non_null(bot_gone(stranger));
        bot_free(stranger);
    }
    still_well(p, good);
    assert_true(party_passed(p));
}

static void admin_pages_answer_whatever_is_asked(void **state)
{
    struct party *p = *state;
    struct member *members[] = {&p->cluster->node[0], &p->cluster->gateway[0]};
    for (int i = 0; i < 2; i++) {
        char *text = NULL;
        uint16_t port = members[i]->admin_port;
        assert_int_equal(http_get(port, "/healthz", NULL), 200);
        assert_int_equal(http_get(port, "/readyz", NULL), 200);
        assert_int_equal(http_get(port, "/nothing-here", NULL), 404);
        assert_int_equal(http_get(port, "/metrics", &text), 200);
        assert_non_null(strstr(text, "# HELP spotcraft_"));
        assert_non_null(strstr(text, "# TYPE spotcraft_"));
        free(text);
        assert_int_equal(http_get(port, "/status", &text), 200);
        assert_true(text[0] == '{');
        free(text);
    }
    assert_true(party_passed(p));
}

int main(void)
{
    alarm(240);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nonsense_lines_are_ignored, up, down),
        cmocka_unit_test_setup_teardown(a_long_name_is_cut_or_refused_but_plays, up, down),
        cmocka_unit_test_setup_teardown(lines_may_come_a_byte_at_a_time, up, down),
        cmocka_unit_test_setup_teardown(ten_megabytes_without_an_end_are_skipped, up, down),
        cmocka_unit_test_setup_teardown(random_bytes_harm_nobody, up, down),
        cmocka_unit_test_setup_teardown(a_flood_of_chat_does_not_drown_the_others, up, down),
        cmocka_unit_test_setup_teardown(a_burst_of_thousands_of_edits_is_taken_whole, up, down),
        cmocka_unit_test_setup_teardown(strangers_on_the_nodes_port_are_shown_out, up, down),
        cmocka_unit_test_setup_teardown(admin_pages_answer_whatever_is_asked, up, down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
