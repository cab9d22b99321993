#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/err.h"
#include "proto/base/log.h"

static int wire[2]; /* the log's end, and ours */

static int set_up(void **state)
{
    (void)state;
    assert_int_equal(pipe(wire), 0);
    log_set_fd(wire[1]);
    log_set_level(LOG_INFO);
    log_set_tag("");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    log_set_fd(2);
    close(wire[0]);
    close(wire[1]);
    return 0;
}

/* What has been logged since; "" when nothing. Ends the log's end of the pipe. */
static const char *logged(void)
{
    static char text[8192];
    close(wire[1]);
    ssize_t n = read(wire[0], text, sizeof text - 1);
    assert_true(n >= 0);
    text[n] = '\0';
    return text;
}

static void a_line_has_time_level_tag_and_event(void **state)
{
    (void)state;
    log_set_tag("node=1f3a");
    log_info("cell_serving cell=%d,%d", 3, -2);
    const char *line = logged();
    unsigned y, mon, d, h, min, s, ms;
    int at = 0;
    assert_int_equal(sscanf(line, "%4u-%2u-%2uT%2u:%2u:%2u.%3uZ%n", &y, &mon, &d, &h, &min, &s, &ms, &at), 7);
    assert_true(y >= 2024);
    assert_string_equal(line + at, " info node=1f3a cell_serving cell=3,-2\n");
}

static void levels_below_the_chosen_one_are_silent(void **state)
{
    (void)state;
    log_set_level(LOG_WARN);
    log_info("quiet");
    log_debug("quiet");
    log_warn("loud");
    const char *text = logged();
    assert_null(strstr(text, "quiet"));
    assert_non_null(strstr(text, " warn loud\n"));
}

/* Somebody's name with a newline in it must not look like an event of ours. */
static void an_event_stays_one_line(void **state)
{
    (void)state;
    log_info("name=%s", "x\n2026 error forged\x1b[31m");
    const char *text = logged();
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    assert_null(strchr(text, '\x1b'));
}

static void a_long_line_is_cut_and_says_so(void **state)
{
    (void)state;
    char big[5000];
    memset(big, 'a', sizeof big);
    big[sizeof big - 1] = '\0';
    log_info("big=%s", big);
    const char *text = logged();
    assert_int_equal(strlen(text), 1024);
    assert_string_equal(text + 1020, "...\n");
}

static void logging_leaves_errno_alone(void **state)
{
    (void)state;
    errno = ENOENT;
    log_set_fd(-1);
    log_info("nowhere");
    log_set_fd(1000000); /* not open: the write fails */
    log_info("nowhere");
    assert_int_equal(errno, ENOENT);
    assert_string_equal(logged(), "");
}

static void levels_are_parsed_by_name(void **state)
{
    (void)state;
    assert_int_equal(log_level_parse("error"), LOG_ERROR);
    assert_int_equal(log_level_parse("Debug"), LOG_DEBUG);
    assert_int_equal(log_level_parse("loud"), -1);
    assert_int_equal(log_level_parse(""), -1);
}

static void quoting_shows_what_cannot_be_printed(void **state)
{
    (void)state;
    char out[64];
    assert_string_equal(log_quote(out, sizeof out, "a\"b\\\n\r\t\0\xff", 9), "\"a\\\"b\\\\\\n\\r\\t\\x00\\xff\"");
    assert_string_equal(log_quote(out, sizeof out, "", 0), "\"\"");
}

static void quoting_cuts_what_does_not_fit(void **state)
{
    (void)state;
    for (size_t bytes = 6; bytes < 40; bytes++) {
        char out[41];
        memset(out, '!', sizeof out);
        log_quote(out, bytes, "\x01\x02 and a text that is longer than any of these", 48);
        size_t len = strlen(out);
        assert_true(len < bytes && len >= 5);
        assert_string_equal(out + len - 4, "\"...");
        assert_int_equal(out[bytes], '!');
    }
}

static void every_error_has_its_text(void **state)
{
    (void)state;
    for (int e = ERR_OK; e < ERR_COUNT; e++) {
        assert_non_null(err_text((enum err)e));
        for (int other = ERR_OK; other < e; other++)
            assert_string_not_equal(err_text((enum err)e), err_text((enum err)other));
    }
    assert_string_equal(err_text((enum err)1000), "unknown error");
}

int main(void)
{
    alarm(60);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_line_has_time_level_tag_and_event, set_up, tear_down),
        cmocka_unit_test_setup_teardown(levels_below_the_chosen_one_are_silent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_event_stays_one_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_long_line_is_cut_and_says_so, set_up, tear_down),
        cmocka_unit_test_setup_teardown(logging_leaves_errno_alone, set_up, tear_down),
        cmocka_unit_test(levels_are_parsed_by_name),
        cmocka_unit_test(quoting_shows_what_cannot_be_printed),
        cmocka_unit_test(quoting_cuts_what_does_not_fit),
        cmocka_unit_test(every_error_has_its_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
