/* Whether a node stays: tables of what is told, and what follows. Times in seconds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "node/own/spot.h"

enum { QUIET_S = 1800, NEAR_S = 600, UNIX_S = 1700000000, STEPS_MAX = 12 };
enum { NONE = -1000000 }; /* no deadline */

/* The monotonic clock starts somewhere else than the wall clock. */
static uint64_t mono(int s)
{
    return (uint64_t)(5000 + s) * 1000;
}

static uint64_t wall(int s)
{
    return (uint64_t)(UNIX_S + s) * 1000;
}

enum what { END, TOLD, TOLD_NO_TIME, GONE, STOP, DRAIN, UNDRAIN, EMPTIED, TIME };

struct step {
    int at_s;
    enum what what;
    enum notice_kind kind;
    int time_s; /* TOLD: its deadline; STOP: how long */
    /* then */
    enum spot_phase phase;
    int deadline_s;
    const char *why;
};

struct course {
    const char *name;
    struct step steps[STEPS_MAX];
};

static const struct course courses[] = {
    {"an interruption has its deadline",
     {{10, TOLD, NOTICE_INTERRUPTION, 130, SPOT_LEAVING, 130, "interruption"},
      {12, TOLD, NOTICE_INTERRUPTION, 130, SPOT_LEAVING, 130, "interruption"},
      {500, TIME, 0, 0, SPOT_LEAVING, 130, "interruption"}}},
    {"no time, or one in the past: two minutes, and not more of them with each look",
     {{10, TOLD_NO_TIME, NOTICE_LIFECYCLE, 0, SPOT_LEAVING, 130, "lifecycle"},
      {90, TOLD_NO_TIME, NOTICE_LIFECYCLE, 0, SPOT_LEAVING, 130, "lifecycle"},
      {90, TOLD, NOTICE_TERMINATION, -500, SPOT_LEAVING, 130, "lifecycle"},
      {100, TOLD, NOTICE_TERMINATION, -499, SPOT_LEAVING, 130, "lifecycle"}}},
    {"a time that slides later changes nothing, an earlier one does",
     {{0, TOLD, NOTICE_INTERRUPTION, 120, SPOT_LEAVING, 120, "interruption"},
      {2, TOLD, NOTICE_INTERRUPTION, 122, SPOT_LEAVING, 120, "interruption"},
      {4, TOLD, NOTICE_INTERRUPTION, 124, SPOT_LEAVING, 120, "interruption"},
      {6, TOLD, NOTICE_INTERRUPTION, 60, SPOT_LEAVING, 60, "interruption"},
      {8, TOLD, NOTICE_INTERRUPTION, 90, SPOT_LEAVING, 60, "interruption"}}},
    {"of several notices the earliest deadline counts; each goes for itself",
     {{0, TOLD, NOTICE_LIFECYCLE, 100, SPOT_LEAVING, 100, "lifecycle"},
      {1, TOLD, NOTICE_INTERRUPTION, 80, SPOT_LEAVING, 80, "interruption"},
      {2, GONE, NOTICE_INTERRUPTION, 0, SPOT_LEAVING, 100, "lifecycle"},
      {3, GONE, NOTICE_LIFECYCLE, 0, SPOT_RUNNING, NONE, ""}}},
    {"at risk until nothing followed for long enough; the same hint does not count again, another one does",
     {{0, TOLD, NOTICE_REBALANCE, -1, SPOT_AT_RISK, NONE, "rebalance"},
      {1000, TOLD, NOTICE_REBALANCE, -1, SPOT_AT_RISK, NONE, "rebalance"},
      {1799, TIME, 0, 0, SPOT_AT_RISK, NONE, "rebalance"},
      {1800, TIME, 0, 0, SPOT_RUNNING, NONE, ""},
      {1900, TOLD, NOTICE_REBALANCE, -1, SPOT_RUNNING, NONE, ""},
      {20000, TOLD, NOTICE_REBALANCE, 19997, SPOT_AT_RISK, NONE, "rebalance"},
      {20001, GONE, NOTICE_REBALANCE, 0, SPOT_RUNNING, NONE, ""},
      {20002, TOLD, NOTICE_REBALANCE, 19997, SPOT_AT_RISK, NONE, "rebalance"}}},
    {"another hint while at risk: something followed, and the quiet time begins anew",
     {{0, TOLD, NOTICE_REBALANCE, -1, SPOT_AT_RISK, NONE, "rebalance"},
      {1500, TOLD, NOTICE_REBALANCE, 1497, SPOT_AT_RISK, NONE, "rebalance"},
      {1600, TOLD, NOTICE_REBALANCE, 1497, SPOT_AT_RISK, NONE, "rebalance"},
      {3299, TIME, 0, 0, SPOT_AT_RISK, NONE, "rebalance"},
      {3300, TIME, 0, 0, SPOT_RUNNING, NONE, ""}}},
    {"an interruption follows the hint, and is withdrawn: at risk still",
     {{0, TOLD, NOTICE_REBALANCE, 0, SPOT_AT_RISK, NONE, "rebalance"},
      {5, TOLD, NOTICE_INTERRUPTION, 125, SPOT_LEAVING, 125, "interruption"},
      {9, GONE, NOTICE_INTERRUPTION, 0, SPOT_AT_RISK, NONE, "rebalance"}}},
    {"a maintenance that is far may be moved; once it is near it counts",
     {{0, TOLD, NOTICE_MAINTENANCE, 5000, SPOT_RUNNING, NONE, ""},
      {10, TOLD, NOTICE_MAINTENANCE, 9000, SPOT_RUNNING, NONE, ""},
      {8399, TIME, 0, 0, SPOT_RUNNING, NONE, ""},
      {8400, TIME, 0, 0, SPOT_LEAVING, 9000, "maintenance"},
      {8500, TOLD, NOTICE_MAINTENANCE, 20000, SPOT_LEAVING, 9000, "maintenance"},
      {8501, GONE, NOTICE_MAINTENANCE, 0, SPOT_RUNNING, NONE, ""}}},
    {"SIGTERM stays, whatever is withdrawn, and the nearer deadline counts",
     {{0, TOLD, NOTICE_INTERRUPTION, 120, SPOT_LEAVING, 120, "interruption"},
      {5, STOP, 0, 30, SPOT_LEAVING, 35, "stop"},
      {6, GONE, NOTICE_INTERRUPTION, 0, SPOT_LEAVING, 35, "stop"},
      {7, STOP, 0, 100, SPOT_LEAVING, 35, "stop"},
      {8, TOLD, NOTICE_INTERRUPTION, 20, SPOT_LEAVING, 20, "interruption"}}},
    {"an operator's drain has no deadline until something else has one",
     {{0, DRAIN, 0, 0, SPOT_LEAVING, NONE, "drain"},
      {1, TOLD, NOTICE_REBALANCE, 0, SPOT_LEAVING, NONE, "drain"},
      {2, TOLD, NOTICE_LIFECYCLE, 50, SPOT_LEAVING, 50, "lifecycle"},
      {3, GONE, NOTICE_LIFECYCLE, 0, SPOT_LEAVING, NONE, "drain"},
      {4, UNDRAIN, 0, 0, SPOT_AT_RISK, NONE, "rebalance"}}},
    {"what is empty does not come back",
     {{0, TOLD, NOTICE_INTERRUPTION, 120, SPOT_LEAVING, 120, "interruption"},
      {4, EMPTIED, 0, 0, SPOT_EMPTY, 120, "interruption"},
      {5, GONE, NOTICE_INTERRUPTION, 0, SPOT_EMPTY, 120, "interruption"},
      {6, UNDRAIN, 0, 0, SPOT_EMPTY, 120, "interruption"}}},
};

static void take(struct spot *s, const struct step *t)
{
    uint64_t now = mono(t->at_s);
    switch (t->what) {
    case TOLD:
        spot_told(s, t->kind, wall(t->time_s), wall(t->at_s), now);
        break;
    case TOLD_NO_TIME:
        spot_told(s, t->kind, 0, wall(t->at_s), now);
        break;
    case GONE:
        spot_withdrawn(s, t->kind, now);
        break;
    case STOP:
        spot_stop(s, mono(t->at_s + t->time_s), now);
        break;
    case DRAIN:
    case UNDRAIN:
        spot_drain(s, t->what == DRAIN, now);
        break;
    case EMPTIED:
        spot_emptied(s, now);
        break;
    case TIME:
    case END:
        spot_tick(s, now);
        break;
    }
}

static void each_course_is_as_the_table_says(void **state)
{
    (void)state;
    for (size_t c = 0; c < sizeof courses / sizeof *courses; c++) {
        struct spot s;
        spot_init(&s, QUIET_S * 1000, NEAR_S * 1000, mono(0));
        spot_started(&s, mono(0));
        for (unsigned k = 0; k < STEPS_MAX && courses[c].steps[k].what; k++) {
            const struct step *t = &courses[c].steps[k];
            take(&s, t);
            uint64_t deadline = t->deadline_s == NONE ? 0 : mono(t->deadline_s);
            if (s.phase != t->phase || s.deadline_ms != deadline || strcmp(s.why, t->why) != 0)
                fail_msg("%s: step %u: %s, deadline %lld s, why \"%s\"", courses[c].name, k + 1,
                         spot_phase_text(s.phase), (long long)s.deadline_ms / 1000 - 5000, s.why);
        }
    }
}

/* A node that is still starting may be told to go; told of a hint, it is at risk from its first moment on. */
static void a_notice_may_come_before_the_start(void **state)
{
    (void)state;
    struct spot s;
    spot_init(&s, QUIET_S * 1000, NEAR_S * 1000, mono(0));
    assert_int_equal(s.phase, SPOT_STARTING);
    assert_true(spot_told(&s, NOTICE_REBALANCE, 0, wall(0), mono(0)));
    assert_int_equal(s.phase, SPOT_STARTING);
    spot_started(&s, mono(1));
    assert_int_equal(s.phase, SPOT_AT_RISK);
    spot_init(&s, QUIET_S * 1000, NEAR_S * 1000, mono(0));
    spot_told(&s, NOTICE_INTERRUPTION, wall(120), wall(0), mono(0));
    assert_int_equal(s.phase, SPOT_LEAVING);
    spot_started(&s, mono(1));
    assert_int_equal(s.phase, SPOT_LEAVING);
}

/* What is found again and again is news once. */
static void only_news_are_news(void **state)
{
    (void)state;
    struct spot s;
    spot_init(&s, QUIET_S * 1000, NEAR_S * 1000, mono(0));
    spot_started(&s, mono(0));
    assert_true(spot_told(&s, NOTICE_INTERRUPTION, wall(100), wall(0), mono(0)));
    for (int k = 1; k < 1000; k++)
        assert_false(spot_told(&s, NOTICE_INTERRUPTION, wall(100), wall(k), mono(k)));
    assert_true(spot_told(&s, NOTICE_INTERRUPTION, wall(1050), wall(1000), mono(1000)) == false);
    assert_true(spot_told(&s, NOTICE_REBALANCE, wall(999), wall(1000), mono(1000)));
    assert_false(spot_told(&s, NOTICE_REBALANCE, wall(999), wall(1001), mono(1001)));
    assert_true(spot_told(&s, NOTICE_REBALANCE, wall(1002), wall(1005), mono(1005)));
    assert_true(spot_withdrawn(&s, NOTICE_INTERRUPTION, mono(1001)));
    assert_false(spot_withdrawn(&s, NOTICE_INTERRUPTION, mono(1002)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_course_is_as_the_table_says),
        cmocka_unit_test(a_notice_may_come_before_the_start),
        cmocka_unit_test(only_news_are_news),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
