/* A notice is told once, however often and with whatever times it is read; trouble is said when it begins and ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <unistd.h>

#include "proto/imds/imds_seen.h"
#include "proto/imds/trouble.h"

enum { MINUTE = 60000, HOUR = 60 * MINUTE };
static const uint64_t NOW = 1700000000000;

static struct seen s;

static int clean(void **state)
{
    (void)state;
    s = (struct seen){.told = false};
    return 0;
}

static unsigned reads_skewed(enum notice_kind k, uint64_t at, uint64_t now, int64_t ahead)
{
    return seen_reading(&s, k, &(struct reading){.there = true, .at_ms = at}, now, ahead, 10 * MINUTE);
}

static unsigned reads(enum notice_kind k, uint64_t at, uint64_t now)
{
    return reads_skewed(k, at, now, 0);
}

static unsigned reads_none(enum notice_kind k, uint64_t now)
{
    return seen_reading(&s, k, &(struct reading){.there = false}, now, 0, 10 * MINUTE);
}

static unsigned reads_event(uint64_t from, uint64_t until, uint64_t now)
{
    return seen_reading(&s, NOTICE_MAINTENANCE, &(struct reading){.there = true, .at_ms = from, .until_ms = until}, now,
                        0, 10 * MINUTE);
}

static void the_same_notice_a_thousand_times_is_one(void **state)
{
    (void)state;
    unsigned told = 0;
    for (unsigned i = 0; i < 1000; i++)
        told += (reads(NOTICE_INTERRUPTION, NOW + 2 * MINUTE, NOW + i * 100) & SEEN_NOTICE) != 0;
    assert_int_equal(told, 1);
    assert_int_equal(s.deadline_ms, NOW + 2 * MINUTE);
}

/* As one popular mock does: two minutes from each reading on. The first deadline is the one to keep. */
static void a_time_that_slides_changes_nothing(void **state)
{
    (void)state;
    assert_int_equal(reads(NOTICE_TERMINATION, NOW + 2 * MINUTE, NOW), SEEN_NOTICE);
    assert_int_equal(reads(NOTICE_TERMINATION, NOW + 2 * MINUTE + 1000, NOW + 1000), 0); /* rounding */
    assert_int_equal(reads(NOTICE_TERMINATION, NOW + 2 * MINUTE + 5000, NOW + 5000), SEEN_SLIDES);
    for (unsigned t = 6; t < 120; t++)
        assert_int_equal(reads(NOTICE_TERMINATION, NOW + 2 * MINUTE + t * 1000, NOW + t * 1000), 0);
    assert_int_equal(s.deadline_ms, NOW + 2 * MINUTE);
}

static void a_nearer_deadline_is_news(void **state)
{
    (void)state;
    assert_int_equal(reads(NOTICE_INTERRUPTION, NOW + 2 * MINUTE, NOW), SEEN_NOTICE);
    assert_int_equal(reads(NOTICE_INTERRUPTION, NOW + MINUTE, NOW), SEEN_NOTICE);
    assert_int_equal(s.deadline_ms, NOW + MINUTE);
}

/* EC2 leaves the old time where an interruption was not carried out: a process that starts there must not go again
 * and again. */
static void a_time_long_past_is_no_notice(void **state)
{
    (void)state;
    assert_int_equal(reads(NOTICE_TERMINATION, NOW - HOUR, NOW), SEEN_PAST);
    assert_int_equal(reads(NOTICE_TERMINATION, NOW - HOUR, NOW + 1000), 0);
    assert_int_equal(reads(NOTICE_TERMINATION, NOW + MINUTE, NOW + 2000), SEEN_NOTICE); /* a new one counts */
}

/* Two seconds late is not long past: whoever was blind for a while must still go. */
static void a_time_just_past_is_a_notice(void **state)
{
    (void)state;
    assert_int_equal(reads(NOTICE_INTERRUPTION, NOW - 2000, NOW), SEEN_NOTICE);
    assert_int_equal(reads(NOTICE_INTERRUPTION, NOW - 2000, NOW + SEEN_PAST_MS), SEEN_WITHDRAWN | SEEN_PAST);
    assert_int_equal(reads(NOTICE_INTERRUPTION, NOW + HOUR, NOW + SEEN_PAST_MS), SEEN_NOTICE);
}

static void a_withdrawn_notice_may_come_again(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(reads_none(NOTICE_LIFECYCLE, NOW), 0);
        assert_int_equal(reads(NOTICE_LIFECYCLE, 0, NOW), SEEN_NOTICE);
        assert_int_equal(reads(NOTICE_LIFECYCLE, 0, NOW), 0);
        assert_int_equal(reads_none(NOTICE_LIFECYCLE, NOW), SEEN_WITHDRAWN);
    }
}

/* Nothing ever takes a recommendation back, so that there is another one is told by its time alone. */
static void another_recommendation_is_news(void **state)
{
    (void)state;
    uint64_t second = NOW + HOUR;
    assert_int_equal(reads(NOTICE_REBALANCE, NOW - HOUR, NOW), SEEN_NOTICE); /* however old it is */
    for (unsigned t = 0; t < 3600; t += 2)
        assert_int_equal(reads(NOTICE_REBALANCE, NOW - HOUR, NOW + t * 1000), 0);
    assert_int_equal(s.made_ms, NOW - HOUR);
    assert_int_equal(reads(NOTICE_REBALANCE, second, second), 0);
    assert_int_equal(reads(NOTICE_REBALANCE, second, second + SEEN_STEADY_MS - 1), 0);
    assert_int_equal(reads(NOTICE_REBALANCE, second, second + SEEN_STEADY_MS), SEEN_NOTICE);
    assert_int_equal(s.made_ms, second);
    assert_int_equal(reads(NOTICE_REBALANCE, second, second + 2 * SEEN_STEADY_MS), 0);
    assert_int_equal(s.deadline_ms, 0);
    assert_int_equal(reads_none(NOTICE_REBALANCE, second + HOUR), SEEN_WITHDRAWN);
    assert_int_equal(reads(NOTICE_REBALANCE, second, second + HOUR), SEEN_NOTICE);
}

/* Whether it moves at each reading or, read many times a second, only with the seconds that it has. */
static void a_recommendation_that_slides_is_one(void **state)
{
    (void)state;
    for (unsigned poll = 50; poll <= 8000; poll *= 2) {
        unsigned told = 0, slides = 0;
        s = (struct seen){.told = false};
        for (unsigned t = 0; t < 100000; t += poll) {
            unsigned news = reads(NOTICE_REBALANCE, (NOW + t) / 1000 * 1000, NOW + t);
            told += (news & SEEN_NOTICE) != 0;
            slides += (news & SEEN_SLIDES) != 0;
        }
        assert_int_equal(told, 1);
        assert_int_equal(slides, 1);
        assert_int_equal(s.made_ms, NOW);
    }
}

/* A wrong time between two right ones is nothing at all. */
static void a_recommendation_that_was_misread_once_is_one(void **state)
{
    (void)state;
    assert_int_equal(reads(NOTICE_REBALANCE, NOW, NOW), SEEN_NOTICE);
    for (unsigned t = 10; t < 100; t += 10) {
        assert_int_equal(reads(NOTICE_REBALANCE, NOW + HOUR, NOW + t * 1000), 0);
        assert_int_equal(reads(NOTICE_REBALANCE, NOW, NOW + t * 1000 + 2000), 0);
    }
}

/* Our clock runs ten minutes fast, theirs says that two minutes are left: two minutes are left. */
static void deadlines_are_told_by_the_local_clock(void **state)
{
    (void)state;
    assert_int_equal(reads_skewed(NOTICE_INTERRUPTION, NOW + 2 * MINUTE, NOW + 10 * MINUTE, -10 * MINUTE), SEEN_NOTICE);
    assert_int_equal(s.deadline_ms, NOW + 12 * MINUTE);
    s = (struct seen){.told = false};
    assert_int_equal(reads_skewed(NOTICE_INTERRUPTION, NOW + 2 * MINUTE, NOW - 10 * MINUTE, 10 * MINUTE), SEEN_NOTICE);
    assert_int_equal(s.deadline_ms, NOW - 8 * MINUTE);
}

/* It begins at once; the time that the notice gives is not there. */
static void hibernation_leaves_seconds(void **state)
{
    (void)state;
    struct reading r = {.there = true, .at_once = true, .at_ms = NOW + 2 * MINUTE};
    assert_int_equal(seen_reading(&s, NOTICE_INTERRUPTION, &r, NOW, 0, 0), SEEN_NOTICE);
    assert_int_equal(s.deadline_ms, NOW + SEEN_HIBERNATE_MS);
    assert_int_equal(seen_reading(&s, NOTICE_INTERRUPTION, &r, NOW + 5000, 0, 0), 0);
    assert_int_equal(s.deadline_ms, NOW + SEEN_HIBERNATE_MS);
}

static void maintenance_counts_once_it_is_near(void **state)
{
    (void)state;
    uint64_t from = NOW + HOUR, until = from + HOUR;
    assert_int_equal(reads_event(from, until, NOW), SEEN_AHEAD);
    assert_int_equal(reads_event(from, until, NOW + MINUTE), 0);
    assert_int_equal(reads_event(from, until, from - 10 * MINUTE), SEEN_NOTICE);
    assert_int_equal(s.deadline_ms, from);
    assert_int_equal(reads_event(from + HOUR, until + HOUR, from), SEEN_WITHDRAWN | SEEN_AHEAD); /* put off */
    assert_int_equal(reads_event(from + HOUR, until + HOUR, from + HOUR - MINUTE), SEEN_NOTICE);
    assert_int_equal(reads_none(NOTICE_MAINTENANCE, from + HOUR), SEEN_WITHDRAWN);
}

/* Between NotBefore and NotAfter it may come at any moment; afterwards it did not. */
static void maintenance_that_has_begun_counts_until_its_end(void **state)
{
    (void)state;
    assert_int_equal(reads_event(NOW - HOUR, NOW + HOUR, NOW), SEEN_NOTICE);
    assert_int_equal(s.deadline_ms, 0);
    assert_int_equal(reads_event(NOW - HOUR, NOW + HOUR, NOW + HOUR + SEEN_PAST_MS), 0);
    assert_int_equal(reads_event(NOW - HOUR, NOW + HOUR, NOW + HOUR + SEEN_PAST_MS + 1), SEEN_WITHDRAWN | SEEN_PAST);
}

/* ---- trouble ---- */

static void trouble_is_said_once_a_kind_and_when_it_is_over(void **state)
{
    (void)state;
    struct trouble t = {.open = false};
    assert_true(trouble_begins(&t, 3, 0));
    for (unsigned i = 0; i < 1000; i++)
        assert_false(trouble_begins(&t, 3, i * MINUTE));
    assert_true(trouble_begins(&t, 5, HOUR));
    assert_true(trouble_ends(&t, HOUR + 1000));
    assert_false(trouble_ends(&t, HOUR + 2000));
}

static void trouble_that_comes_and_goes_is_said_once(void **state)
{
    (void)state;
    struct trouble t = {.open = false};
    unsigned begun = 0, ended = 0;
    for (uint64_t now = 0; now < HOUR; now += 10000) { /* as it is for a throttled service */
        begun += trouble_begins(&t, 3, now);
        ended += trouble_ends(&t, now + 5000);
    }
    assert_int_equal(begun, 1);
    assert_int_equal(ended, 1);
}

/* However seldom anybody looks: a token is renewed every few hours. */
static void trouble_after_a_quiet_minute_is_news(void **state)
{
    (void)state;
    struct trouble t = {.open = false};
    for (uint64_t now = 1; now < 24 * (uint64_t)HOUR; now += 5 * HOUR) {
        assert_true(trouble_begins(&t, 3, now));
        assert_true(trouble_ends(&t, now + 5000));
    }
    assert_true(trouble_begins(&t, 3, 48 * (uint64_t)HOUR));
    assert_true(trouble_ends(&t, 48 * (uint64_t)HOUR + 1000));
    assert_false(trouble_begins(&t, 3, 48 * (uint64_t)HOUR + 1000 + TROUBLE_QUIET_MS - 1));
    assert_true(trouble_ends(&t, 49 * (uint64_t)HOUR) == false); /* nothing was said to begin */
}

/* Else the last word on an hour of it would be that it is over. */
static void trouble_that_came_back_at_once_is_said_when_it_lasts(void **state)
{
    (void)state;
    struct trouble t = {.open = false};
    uint64_t back = 35000;
    assert_true(trouble_begins(&t, 3, 0));
    assert_true(trouble_ends(&t, 5000));
    unsigned begun = 0;
    for (uint64_t now = back; now < back + TROUBLE_QUIET_MS; now += 2000)
        begun += trouble_begins(&t, 3, now);
    assert_int_equal(begun, 0);
    assert_true(trouble_begins(&t, 3, back + TROUBLE_QUIET_MS));
    assert_false(trouble_begins(&t, 3, back + 2 * TROUBLE_QUIET_MS));
    assert_true(trouble_ends(&t, back + HOUR));
}

int main(void)
{
    alarm(60);
#define TEST(name) cmocka_unit_test_setup(name, clean)
    const struct CMUnitTest tests[] = {
        TEST(the_same_notice_a_thousand_times_is_one),
        TEST(a_time_that_slides_changes_nothing),
        TEST(a_nearer_deadline_is_news),
        TEST(a_time_long_past_is_no_notice),
        TEST(a_time_just_past_is_a_notice),
        TEST(a_withdrawn_notice_may_come_again),
        TEST(another_recommendation_is_news),
        TEST(a_recommendation_that_slides_is_one),
        TEST(a_recommendation_that_was_misread_once_is_one),
        TEST(deadlines_are_told_by_the_local_clock),
        TEST(hibernation_leaves_seconds),
        TEST(maintenance_counts_once_it_is_near),
        TEST(maintenance_that_has_begun_counts_until_its_end),
        TEST(trouble_is_said_once_a_kind_and_when_it_is_over),
        TEST(trouble_that_comes_and_goes_is_said_once),
        TEST(trouble_after_a_quiet_minute_is_news),
        TEST(trouble_that_came_back_at_once_is_said_when_it_lasts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
