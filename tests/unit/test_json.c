/* What nodes tell spotctl, and the metadata service a process, is read strictly, and nothing in it breaks the reader.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/json.h"
#include "proto/base/rng.h"

static struct json checked(const char *text)
{
    struct json v;
    assert_true(json_check(text, strlen(text), &v));
    return v;
}

static void values_are_found_by_name(void **state)
{
    (void)state;
    char text[32];
    struct json v =
        checked(" {\"a\":1, \"ab\" : -20 ,\"t\":\"x\\\"y\",\"o\":{\"a\":3},\"l\":[1,[2],{}],\"n\":null} \n");
    assert_int_equal(json_int(json_get(v, "a"), 0), 1);
    assert_int_equal(json_int(json_get(v, "ab"), 0), -20);
    assert_int_equal(json_int(json_get(json_get(v, "o"), "a"), 0), 3);
    assert_string_equal(json_text(json_get(v, "t"), text, sizeof text), "x\"y");
    assert_int_equal(json_int(json_get(v, "b"), 7), 7);
    assert_int_equal(json_int(json_get(json_get(v, "b"), "c"), 7), 7); /* nothing has nothing in it */
    assert_int_equal(json_int(json_get(v, "t"), 7), 7);
    assert_int_equal(json_int(json_get(v, "n"), 7), 7);
    assert_string_equal(json_text(json_get(v, "a"), text, sizeof text), "");
}

static void arrays_are_stepped_through(void **state)
{
    (void)state;
    struct json item = {NULL, NULL}, v = checked("[1, 22,{\"a\":[3]} , 4]");
    int64_t sum = 0;
    unsigned n = 0;
    while (json_next(v, &item)) {
        sum += json_int(item, 100);
        n++;
    }
    assert_int_equal(n, 4);
    assert_int_equal(sum, 127);
    item = (struct json){NULL, NULL};
    assert_false(json_next(checked("[ ]"), &item));
    assert_false(json_next(checked("{}"), &item));
    assert_false(json_next((struct json){NULL, NULL}, &item));
}

/* They go to a terminal. */
static void texts_are_printable_and_cut(void **state)
{
    (void)state;
    char text[8];
    assert_string_equal(json_text(checked("\"a\\u001b[2J\xc3\xa9 and more\""), text, sizeof text), "a?[2J??");
    assert_string_equal(json_text(checked("\"\\\\\\n\""), text, sizeof text), "\\?");
    assert_string_equal(json_text(checked("\"abcdefghi\""), text, 1), "");
}

static void what_is_no_json_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",          "{",     "{\"a\"}", "{\"a\":}",  "[1,]",       "[1 2]", "\"a",
                                      "\"\\x\"",   "01x",   "1.",      "-",         "1e",         "nul",   "{a:1}",
                                      "\"\\u12\"", "{} {}", "\"\n\"",  "[\"a\":1]", "{\"a\":1,}", "]",     "\"\\"};
    struct json v;
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        if (json_check(bad[k], strlen(bad[k]), &v))
            fail_msg("taken: %s", bad[k]);
    }
    char deep[64];
    memset(deep, '[', sizeof deep);
    assert_false(json_check(deep, sizeof deep, &v));
}

/* Exactly sized copies, cut and changed: an overrun is seen by the sanitizers. */
static void broken_texts_never_break_the_reader(void **state)
{
    (void)state;
    static const char whole[] = "{\"id\":\"00ff\",\"n\":-12.5e3,\"cell\":[{\"i\":1,\"j\":-2,\"state\":\"a\\u0041\\\\\"}"
                                ",{\"i\":true}],\"x\":null}";
    struct rng r;
    rng_seed(&r, 1);
    for (unsigned round = 0; round < 20000; round++) {
        size_t len = rng_below(&r, sizeof whole);
        char *copy = malloc(len + 1), text[16];
        memcpy(copy, whole, len);
        for (unsigned k = rng_below(&r, 4); len && k > 0; k--)
            copy[rng_below(&r, (uint32_t)len)] = "{}[]\",:\\u01-e."[rng_below(&r, 14)];
        copy = realloc(copy, len ? len : 1);
        struct json v = {NULL, NULL}, item = {NULL, NULL};
        if (json_check(copy, len, &v)) {
            while (json_next(json_get(v, "cell"), &item))
                json_text(json_get(item, "state"), text, sizeof text);
            json_int(json_get(v, "n"), 0);
        }
        free(copy);
    }
}

int main(void)
{
    alarm(60);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_found_by_name),
        cmocka_unit_test(arrays_are_stepped_through),
        cmocka_unit_test(texts_are_printable_and_cut),
        cmocka_unit_test(what_is_no_json_is_refused),
        cmocka_unit_test(broken_texts_never_break_the_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
