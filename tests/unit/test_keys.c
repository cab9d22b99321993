#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#include "proto/redis/keys.h"
#include "proto/redis/redis_url.h"

/* Runbooks and dashboards name these keys, and a running world holds them: they never change by accident. */
static void keys_are_as_the_header_says(void **state)
{
    (void)state;
    struct cell_pos c = {-3, 12};
    assert_string_equal(key_world("w").text, "spotcraft:{w}:world");
    assert_string_equal(key_nodes("w").text, "spotcraft:{w}:nodes");
    assert_string_equal(key_lease("w", ROLE_NODE, 0x1f).text, "spotcraft:{w}:node:000000000000001f");
    assert_string_equal(key_lease("w", ROLE_GATEWAY, UINT64_MAX).text, "spotcraft:{w}:gate:ffffffffffffffff");
    assert_string_equal(key_lease_prefix("w", ROLE_NODE).text, "spotcraft:{w}:node:");
    assert_string_equal(key_lease_prefix("w", ROLE_GATEWAY).text, "spotcraft:{w}:gate:");
    assert_string_equal(key_buried("w", 1).text, "spotcraft:{w}:buried:0000000000000001");
    assert_string_equal(key_cell("w", c).text, "spotcraft:{w}:cell:-3,12");
    assert_string_equal(key_journal("w", c).text, "spotcraft:{w}:journal:-3,12");
    assert_string_equal(key_dirty("w").text, "spotcraft:{w}:dirty");
    assert_string_equal(key_names("w").text, "spotcraft:{w}:names");
    assert_string_equal(key_quarantine("w").text, "spotcraft:{w}:quarantine");
    assert_string_equal(key_events("w").text, "spotcraft:{w}:events");
}

static void the_longest_world_name_and_cell_fit(void **state)
{
    (void)state;
    const char *w = "ABCDEFGHIJKLMNOPQRSTUVWXYZ_-0189";
    assert_int_equal(strlen(w), KEY_WORLD_MAX);
    assert_string_equal(key_journal(w, (struct cell_pos){INT32_MIN, INT32_MIN}).text,
                        "spotcraft:{ABCDEFGHIJKLMNOPQRSTUVWXYZ_-0189}:journal:-2147483648,-2147483648");
}

/* A brace in a name would move the hash tag, and a script's keys apart. */
static void only_plain_names_are_worlds(void **state)
{
    (void)state;
    static const char *const good[] = {"w", "my_World-9", "ABCDEFGHIJKLMNOPQRSTUVWXYZ_-0189"};
    static const char *const bad[] = {"", "a b", "a}", "{a", "w:", "\xc3\xa4", "ABCDEFGHIJKLMNOPQRSTUVWXYZ_-01890"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(world_name_valid(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(world_name_valid(bad[i]));
}

static void cells_come_back_from_their_text(void **state)
{
    (void)state;
    static const struct cell_pos cells[] = {{0, 0}, {-1, 1}, {INT32_MIN, INT32_MAX}, {INT32_MAX, INT32_MIN}};
    for (size_t i = 0; i < sizeof cells / sizeof *cells; i++) {
        char text[CELL_TEXT_MAX + 1];
        struct cell_pos got;
        cell_text(cells[i], text);
        assert_true(cell_parse(text, strlen(text), &got));
        assert_true(cell_eq(got, cells[i]));
    }
}

static void text_that_is_no_cell_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",     ",",    "1",    "1,",    ",1",           "1,2,3",         "1, 2", " 1,2",  "+1,2",
        "01,2", "-0,0", "1,2x", "1.5,2", "1,2147483648", "-2147483649,1", "a,b",  "0x1,1", "99999999999999999999999,1"};
    struct cell_pos got;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(cell_parse(bad[i], strlen(bad[i]), &got));
    assert_false(cell_parse("1,2\0", 4, &got));
}

static void ids_come_back_from_their_text(void **state)
{
    (void)state;
    char text[ID_TEXT_LEN + 1];
    uint64_t got;
    id_text(0x0123456789abcdef, text);
    assert_string_equal(text, "0123456789abcdef");
    assert_true(id_parse(text, ID_TEXT_LEN, &got));
    assert_true(got == 0x0123456789abcdef);
    assert_false(id_parse(text, ID_TEXT_LEN - 1, &got));
    assert_false(id_parse("0123456789ABCDEF", ID_TEXT_LEN, &got));
    assert_false(id_parse("0123456789abcde ", ID_TEXT_LEN, &got));
    assert_false(id_parse("0123456789abcde\0", ID_TEXT_LEN, &got));
}

static void urls_are_understood(void **state)
{
    (void)state;
    struct redis_url u;
    const char *why;
    assert_int_equal(redis_url_parse("redis://127.0.0.1", &u, &why), ERR_OK);
    assert_string_equal(u.host, "127.0.0.1");
    assert_int_equal(u.port, 6379);
    assert_false(u.tls);
    assert_int_equal(redis_url_parse("rediss://bob:p%40ss:w@cache.example:6380/3", &u, &why), ERR_OK);
    assert_true(u.tls);
    assert_string_equal(u.user, "bob");
    assert_string_equal(u.password, "p@ss:w");
    assert_string_equal(u.host, "cache.example");
    assert_int_equal(u.port, 6380);
    assert_int_equal(u.db, 3);
    assert_int_equal(redis_url_parse("redis://:secret@[::1]:7000/", &u, &why), ERR_OK);
    assert_string_equal(u.user, "");
    assert_string_equal(u.password, "secret");
    assert_string_equal(u.host, "::1");
    assert_int_equal(u.port, 7000);
    assert_int_equal(redis_url_parse("unix:/run/redis.sock", &u, &why), ERR_OK);
    assert_string_equal(u.path, "/run/redis.sock");
}

static void bad_urls_are_refused_with_a_reason(void **state)
{
    (void)state;
    char long_path[200] = "unix:/";
    memset(long_path + 6, 'a', sizeof long_path - 7);
    const char *const bad[] = {"",
                               "localhost:6379",
                               "http://x",
                               "redis://",
                               "redis://:6379",
                               "redis://h:0",
                               "redis://h:65536",
                               "redis://h:12x",
                               "redis://h:",
                               "redis://h/x",
                               "redis://h/1/2",
                               "redis://[::1",
                               "redis://[::1]x",
                               "redis://user@h",
                               "redis://u:%zz@h",
                               "redis://u:%0@h",
                               "redis://u:%00@h",
                               "unix:relative",
                               "unix:",
                               long_path};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct redis_url u;
        const char *why = NULL;
        assert_int_equal(redis_url_parse(bad[i], &u, &why), ERR_BAD);
        assert_non_null(why);
    }
}

int main(void)
{
    alarm(60);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_as_the_header_says),
        cmocka_unit_test(the_longest_world_name_and_cell_fit),
        cmocka_unit_test(only_plain_names_are_worlds),
        cmocka_unit_test(cells_come_back_from_their_text),
        cmocka_unit_test(text_that_is_no_cell_is_refused),
        cmocka_unit_test(ids_come_back_from_their_text),
        cmocka_unit_test(urls_are_understood),
        cmocka_unit_test(bad_urls_are_refused_with_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
