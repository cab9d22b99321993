/* What the metadata service answers is read as documented, and whatever else it answers is refused or means nothing. */
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
#include "proto/imds/imds_endpoint.h"
#include "proto/imds/imds_parse.h"

static bool parse_time(const char *text, uint64_t *ms)
{
    return imds_parse_time(text, strlen(text), ms);
}

static bool parse_date(const char *text, uint64_t *ms)
{
    return imds_parse_date(text, strlen(text), ms);
}

static enum err parse(enum notice_kind kind, const char *body, struct reading *r)
{
    memset(r, 0xaa, sizeof *r);
    return imds_parse_notice(kind, body, strlen(body), 0, r);
}

static void times_are_rfc_3339(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ms;
    } good[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2017-09-18T08:22:00Z", 1505722920000},
        {"2015-01-05T18:02:00Z\n", 1420480920000},
        {"2020-02-29T23:59:59.25Z", 1583020799250},
        {"2020-10-27T09:22:00+01:00", 1603786920000},
        {"2020-10-27t06:52:00.000001-01:30", 1603786920000},
        {"2016-12-31T23:59:60Z", 1483228800000}, /* a leap second */
        {"9999-12-31T23:59:59Z", 253402300799000},
    };
    for (unsigned i = 0; i < sizeof good / sizeof *good; i++) {
        uint64_t ms = 1;
        assert_true(parse_time(good[i].text, &ms));
        assert_int_equal(ms, good[i].ms);
    }
    static const char *const bad[] = {"",
                                      "never",
                                      "2017-09-18",
                                      "2017-09-18T08:22:00",
                                      "2017-09-18 08:22:00Z",
                                      "2017-13-18T08:22:00Z",
                                      "2017-00-18T08:22:00Z",
                                      "2017-02-29T08:22:00Z",
                                      "2100-02-29T08:22:00Z",
                                      "2017-04-31T08:22:00Z",
                                      "2017-09-00T08:22:00Z",
                                      "2017-09-18T24:22:00Z",
                                      "2017-09-18T08:60:00Z",
                                      "2017-09-18T08:22:61Z",
                                      "2017-09-18T08:22:00.Z",
                                      "2017-09-18T08:22:00+1:00",
                                      "2017-09-18T08:22:00+24:00",
                                      "2017-09-18T08:22:00ZZ",
                                      "1969-12-31T23:59:59Z",
                                      "1970-01-01T00:00:00+00:01",
                                      "117-09-18T08:22:00Z"};
    uint64_t kept = 7;
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(parse_time(bad[i], &kept));
    assert_int_equal(kept, 7); /* written on success only */
}

static void dates_are_those_of_events_and_of_http(void **state)
{
    (void)state;
    uint64_t ms;
    assert_true(parse_date("21 Jan 2019 09:00:43 GMT", &ms));
    assert_int_equal(ms, 1548061243000);
    assert_true(parse_date("1 Mar 2024 00:00:00 GMT", &ms));
    assert_int_equal(ms, 1709251200000);
    assert_true(parse_date("Mon, 21 Jan 2019 09:00:43 GMT", &ms));
    assert_int_equal(ms, 1548061243000);
    static const char *const bad[] = {"",
                                      "21 Jan 2019",
                                      "21 Jan 2019 09:00:43",
                                      "21 Jan 2019 09:00:43 CET",
                                      "21 jan 2019 09:00:43 GMT",
                                      "32 Jan 2019 09:00:43 GMT",
                                      "29 Feb 2019 09:00:43 GMT",
                                      "21  Jan 2019 09:00:43 GMT",
                                      "2019-01-21T09:00:43Z",
                                      "Monday, 21 Jan 2019 09:00:43 GMT"};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(parse_date(bad[i], &ms));
}

static void an_interruption_says_what_and_when(void **state)
{
    (void)state;
    struct reading r;
    assert_int_equal(parse(NOTICE_INTERRUPTION, "{\"action\": \"terminate\", \"time\": \"2017-09-18T08:22:00Z\"}", &r),
                     ERR_OK);
    assert_true(r.there && !r.at_once);
    assert_int_equal(r.at_ms, 1505722920000);
    assert_string_equal(r.detail, "terminate");
    assert_int_equal(parse(NOTICE_INTERRUPTION, "{\"time\":\"2017-09-18T08:22:00Z\",\"action\":\"hibernate\"}", &r),
                     ERR_OK);
    assert_true(r.there && r.at_once);
    static const char *const bad[] = {"",
                                      "terminate",
                                      "[]",
                                      "{}",
                                      "null",
                                      "{\"action\": \"terminate\"}",
                                      "{\"action\": \"terminate\", \"time\": 5}",
                                      "{\"action\": \"terminate\", \"time\": \"soon\"}",
                                      "{\"action\": 1, \"time\": \"2017-09-18T08:22:00Z\"}",
                                      "{\"action\": \"\", \"time\": \"2017-09-18T08:22:00Z\"}",
                                      "{\"action\": \"a b\", \"time\": \"2017-09-18T08:22:00Z\"}",
                                      "{\"action\": \"terminate\", \"time\": \"2017-09-18T08:22:00Z\"",
                                      "<html>404 - Not Found</html>"};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(parse(NOTICE_INTERRUPTION, bad[i], &r), ERR_BAD);
}

/* An action that EC2 invents tomorrow takes the machine away as well. */
static void an_unknown_action_counts(void **state)
{
    (void)state;
    struct reading r;
    assert_int_equal(parse(NOTICE_INTERRUPTION, "{\"action\":\"evaporate\",\"time\":\"2017-09-18T08:22:00Z\"}", &r),
                     ERR_OK);
    assert_true(r.there);
    assert_string_equal(r.detail, "evaporate");
}

static void a_termination_time_that_is_none_is_no_notice(void **state)
{
    (void)state;
    struct reading r;
    assert_int_equal(parse(NOTICE_TERMINATION, "2015-01-05T18:02:00Z", &r), ERR_OK);
    assert_true(r.there && !r.vague);
    assert_int_equal(r.at_ms, 1420480920000);
    static const char *const none[] = {"", "none", "0", "2015-01-05", "{\"a\":1}"};
    for (unsigned i = 0; i < sizeof none / sizeof *none; i++) {
        assert_int_equal(parse(NOTICE_TERMINATION, none[i], &r), ERR_OK);
        assert_true(!r.there && r.vague); /* the caller knows whether there was one */
    }
}

static void a_recommendation_says_when_it_was_made(void **state)
{
    (void)state;
    struct reading r;
    assert_int_equal(parse(NOTICE_REBALANCE, "{\"noticeTime\": \"2020-10-27T08:22:00Z\"}", &r), ERR_OK);
    assert_true(r.there);
    assert_int_equal(r.at_ms, 1603786920000);
    assert_int_equal(parse(NOTICE_REBALANCE, "{\"noticeTime\": \"\"}", &r), ERR_BAD);
    assert_int_equal(parse(NOTICE_REBALANCE, "{}", &r), ERR_BAD);
}

static void lifecycle_words_are_told_apart(void **state)
{
    (void)state;
    struct reading r;
    static const char *const goes[] = {"Terminated", "Terminated\n", "Warmed:Stopped", "Warmed:Hibernated",
                                       "Warmed:Terminated"};
    static const char *const stays[] = {"InService", "Detached", "Standby", "Warmed:Running"};
    static const char *const bad[] = {"", "terminated", "Terminated Terminated", "Warmed:", "\xff"};
    for (unsigned i = 0; i < sizeof goes / sizeof *goes; i++) {
        assert_int_equal(parse(NOTICE_LIFECYCLE, goes[i], &r), ERR_OK);
        assert_true(r.there && r.at_ms == 0);
    }
    for (unsigned i = 0; i < sizeof stays / sizeof *stays; i++) {
        assert_int_equal(parse(NOTICE_LIFECYCLE, stays[i], &r), ERR_OK);
        assert_false(r.there);
    }
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(parse(NOTICE_LIFECYCLE, bad[i], &r), ERR_BAD);
}

#define EVENT(before, after, id, state, text)                                                                          \
    "{\"NotBefore\":\"" before "\",\"Code\":\"instance-retirement\",\"Description\":\"" text "\",\"EventId\":\"" id    \
    "\",\"NotAfter\":\"" after "\",\"State\":\"" state "\"}"

static void the_nearest_maintenance_that_is_not_over_counts(void **state)
{
    (void)state;
    struct reading r;
    static const char many[] = "[" EVENT("20 Jan 2019 09:00:43 GMT", "", "e-0", "completed", "") "," EVENT(
        "23 Jan 2019 09:00:43 GMT", "", "e-3", "active",
        "") ", " EVENT("22 Jan 2019 09:00:43 GMT", "22 Jan 2019 11:00:43 GMT", "e-2", "active",
                       "") "," EVENT("21 Jan 2019 09:00:43 GMT", "", "e-1", "active", "[Canceled] moved") "]";
    assert_int_equal(parse(NOTICE_MAINTENANCE, many, &r), ERR_OK);
    assert_true(r.there);
    assert_int_equal(r.at_ms, 1548147643000);
    assert_int_equal(r.until_ms, 1548154843000);
    assert_string_equal(r.detail, "instance-retirement id=e-2");
    assert_int_equal(parse(NOTICE_MAINTENANCE, "[]", &r), ERR_OK);
    assert_false(r.there);
    /* as one popular mock's page has it */
    assert_int_equal(parse(NOTICE_MAINTENANCE, EVENT("23 Jan 2019 09:00:43 GMT", "", "e", "active", ""), &r), ERR_OK);
    assert_true(r.there && r.until_ms == 0);
}

/* At noon of 21 Jan 2019: "active" since hours, or days, and over, or with no end. */
static void an_event_that_is_over_hides_no_other(void **state)
{
    (void)state;
    struct reading r;
    static const uint64_t noon = 1548072000000;
    static const char no_end[] = EVENT("20 Jan 2019 09:00:00 GMT", "", "e-0", "active", "");
    static const char ended[] = EVENT("20 Jan 2019 09:00:00 GMT", "21 Jan 2019 11:59:59 GMT", "e-1", "active", "");
    static const char begun[] = EVENT("20 Jan 2019 09:00:00 GMT", "21 Jan 2019 12:00:00 GMT", "e-2", "active", "");
    static const char next[] = EVENT("21 Jan 2019 12:05:00 GMT", "", "e-3", "active", "");
    static const struct {
        const char *first, *second, *which;
    } pairs[] = {{no_end, next, "e-3"}, {next, no_end, "e-3"}, {ended, next, "e-3"}, {next, ended, "e-3"},
                 {begun, next, "e-2"},  {next, begun, "e-2"},  {ended, begun, "e-2"}};
    char body[1024], want[64];
    for (unsigned i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        snprintf(body, sizeof body, "[%s,%s]", pairs[i].first, pairs[i].second);
        snprintf(want, sizeof want, "instance-retirement id=%s", pairs[i].which);
        assert_int_equal(imds_parse_notice(NOTICE_MAINTENANCE, body, strlen(body), noon, &r), ERR_OK);
        assert_string_equal(r.detail, want);
    }
    assert_int_equal(imds_parse_notice(NOTICE_MAINTENANCE, ended, strlen(ended), noon, &r), ERR_OK);
    assert_true(r.there); /* that it is over is the reader's to say */
}

static void a_broken_event_hides_no_other(void **state)
{
    (void)state;
    struct reading r;
    assert_int_equal(parse(NOTICE_MAINTENANCE,
                           "[{\"NotBefore\":\"soon\"},7," EVENT("23 Jan 2019 09:00:43 GMT", "", "e", "active", "") "]",
                           &r),
                     ERR_OK);
    assert_true(r.there);
    static const char *const bad[] = {"", "7", "\"[]\"", "[7]", "[{}]", "[{\"NotBefore\":\"soon\"}]", "[] []", "["};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(parse(NOTICE_MAINTENANCE, bad[i], &r), ERR_BAD);
}

/* A token goes back in a header, an instance's name into logs and Redis: nothing else may hide in them. */
static void words_and_tokens_hold_nothing_else(void **state)
{
    (void)state;
    char out[9];
    assert_true(imds_parse_word(" m6i.l-2\n", 9, out, 8));
    assert_string_equal(out, "m6i.l-2");
    assert_false(imds_parse_word("m6i.large2", 10, out, 8));
    assert_false(imds_parse_word("  ", 2, out, 8));
    assert_false(imds_parse_word("a b", 3, out, 8));
    assert_false(imds_parse_word("a\0b", 3, out, 8));
    assert_false(imds_parse_word("<html>", 6, out, 8));
    assert_true(imds_parse_token("AQ==/+_~", 8, out, 8));
    assert_false(imds_parse_token("a\r\nb: c", 7, out, 8));
    assert_false(imds_parse_token("a b", 3, out, 8));
    assert_false(imds_parse_token("", 0, out, 8));
    assert_false(imds_parse_token("123456789", 9, out, 8));
    uint32_t n = 5;
    assert_true(imds_parse_number("21600", 1, 21600, &n) && n == 21600);
    static const char *const bad[] = {"", "0", "21601", "-1", "1.5", "9999999999", "60s"};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(imds_parse_number(bad[i], 1, 21600, &n));
}

/* Whole answers with bytes changed and ends cut off: refused or read, never more. */
static void torn_answers_break_nothing(void **state)
{
    (void)state;
    static const char *const whole[NOTICES] = {
        "{\"noticeTime\": \"2020-10-27T08:22:00Z\"}", "{\"action\": \"stop\", \"time\": \"2017-09-18T08:22:00Z\"}",
        "2015-01-05T18:02:00Z", "Terminated", "[" EVENT("22 Jan 2019 09:00:43 GMT", "", "e-2", "active", "") "]"};
    struct rng rng;
    struct reading r;
    rng_seed(&rng, 7);
    for (unsigned round = 0; round < 200000; round++) {
        unsigned kind = rng_below(&rng, NOTICES);
        size_t len = strlen(whole[kind]);
        char *copy = malloc(len); /* exactly as long, for the sanitizer */
        memcpy(copy, whole[kind], len);
        for (unsigned n = rng_below(&rng, 4); n > 0; n--)
            copy[rng_below(&rng, (uint32_t)len)] = (char)rng_below(&rng, 256);
        if (imds_parse_notice(kind, copy, rng_below(&rng, (uint32_t)len + 1), 1548000000000, &r) == ERR_OK)
            assert_true(strlen(r.detail) <= READING_DETAIL_MAX);
        free(copy);
    }
}

static void an_endpoint_is_read_in_its_parts(void **state)
{
    (void)state;
    struct imds_endpoint e;
    char why[200];
    assert_int_equal(imds_endpoint_parse("", NULL, &e, why, sizeof why), ERR_OK);
    assert_true(!e.none && !e.chosen && e.port == 80);
    assert_string_equal(e.host, "169.254.169.254");
    assert_int_equal(imds_endpoint_parse("", "http://127.0.0.1:1338/node0/", &e, why, sizeof why), ERR_OK);
    assert_true(e.chosen && e.port == 1338);
    assert_string_equal(e.prefix, "/node0");
    assert_int_equal(imds_endpoint_parse("http://[fd00:ec2::254]", "http://x", &e, why, sizeof why), ERR_OK);
    assert_string_equal(e.host, "fd00:ec2::254");
    assert_string_equal(e.prefix, "");
    assert_int_equal(imds_endpoint_parse("none", "http://x", &e, why, sizeof why), ERR_OK);
    assert_true(e.none);
    static const char *const bad[] = {
        "169.254.169.254", "https://169.254.169.254", "http://",     "http://h:0",        "http://h:70000",
        "http://user@h",   "http://h/?a=b",           "http://h/#f", "http://h h/latest", "ftp://h",
        "http://[::1"};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(imds_endpoint_parse(bad[i], NULL, &e, why, sizeof why), ERR_BAD);
        assert_non_null(strstr(why, "imds: "));
        assert_int_equal(imds_endpoint_parse("", bad[i], &e, why, sizeof why), ERR_BAD);
        assert_non_null(strstr(why, "AWS_EC2_METADATA_SERVICE_ENDPOINT: "));
    }
}

int main(void)
{
    alarm(60);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_rfc_3339),
        cmocka_unit_test(dates_are_those_of_events_and_of_http),
        cmocka_unit_test(an_interruption_says_what_and_when),
        cmocka_unit_test(an_unknown_action_counts),
        cmocka_unit_test(a_termination_time_that_is_none_is_no_notice),
        cmocka_unit_test(a_recommendation_says_when_it_was_made),
        cmocka_unit_test(lifecycle_words_are_told_apart),
        cmocka_unit_test(the_nearest_maintenance_that_is_not_over_counts),
        cmocka_unit_test(an_event_that_is_over_hides_no_other),
        cmocka_unit_test(a_broken_event_hides_no_other),
        cmocka_unit_test(words_and_tokens_hold_nothing_else),
        cmocka_unit_test(torn_answers_break_nothing),
        cmocka_unit_test(an_endpoint_is_read_in_its_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
