/* A node's lease: what counts is when it asked, and doubt leads to a check. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <unistd.h>

#include "node/own/lease.h"
#include "proto/base/log.h"

enum { TTL = 3000 };

static struct lease held(uint64_t now)
{
    struct lease l;
    lease_init(&l, TTL);
    lease_asked(&l, now);
    assert_false(lease_granted(&l, false, now));
    return l;
}

static void nothing_is_claimed_before_the_first_grant(void **state)
{
    (void)state;
    struct lease l;
    lease_init(&l, TTL);
    assert_true(lease_due(&l, 1));
    assert_false(lease_may_claim(&l, 1));
    lease_asked(&l, 1);
    assert_false(lease_due(&l, 5000));         /* one at a time */
    assert_false(lease_granted(&l, false, 2)); /* new: nothing to doubt */
    assert_true(lease_may_claim(&l, 2));
}

/* A slow answer must not stretch the lease. */
static void it_lasts_from_the_request_not_from_the_answer(void **state)
{
    (void)state;
    struct lease l;
    lease_init(&l, TTL);
    lease_asked(&l, 1000);
    lease_granted(&l, false, 3900);
    assert_true(lease_may_claim(&l, 3999));
    assert_false(lease_may_claim(&l, 4000));
}

static void it_is_renewed_every_third_and_again_soon_after_a_failure(void **state)
{
    (void)state;
    struct lease l = held(1000);
    assert_false(lease_due(&l, 1999));
    assert_true(lease_due(&l, 2000));
    lease_asked(&l, 2000);
    lease_failed(&l, 2100, 200);
    assert_false(lease_due(&l, 2299));
    assert_true(lease_due(&l, 2300));
}

/* Others may be restoring: whoever was away that long lets them. */
static void who_was_overdue_claims_nothing_for_one_lease(void **state)
{
    (void)state;
    struct lease l = held(1000);
    lease_tick(&l, 4000);
    assert_int_equal(l.state, LEASE_OVERDUE);
    lease_asked(&l, 5000);
    assert_false(lease_granted(&l, true, 5000));
    assert_false(lease_may_claim(&l, 7999));
    lease_asked(&l, 7000);
    lease_granted(&l, true, 7000);
    assert_true(lease_may_claim(&l, 8000));
}

static void a_lease_that_was_gone_means_a_check(void **state)
{
    (void)state;
    struct lease l = held(1000);
    lease_asked(&l, 2000);
    assert_true(lease_granted(&l, false, 2000));
    lease_asked(&l, 3000);
    assert_false(lease_granted(&l, true, 3000));
}

/* A notice, or the pool: others choose by it where cells go. */
static void news_do_not_wait_for_the_next_renewal(void **state)
{
    (void)state;
    struct lease l = held(1000);
    lease_soon(&l);
    assert_true(lease_due(&l, 1001));
    lease_asked(&l, 1001);
    lease_granted(&l, true, 1002);
    assert_false(lease_due(&l, 2000)); /* told once */
}

static void news_that_come_while_a_renewal_is_on_its_way_follow_it(void **state)
{
    (void)state;
    struct lease l = held(1000);
    lease_asked(&l, 2000);
    lease_soon(&l);
    assert_false(lease_due(&l, 2001)); /* one at a time */
    lease_granted(&l, true, 2005);
    assert_true(lease_due(&l, 2005));
    lease_asked(&l, 2005);
    lease_soon(&l);
    lease_failed(&l, 2010, 200); /* no sooner than any other */
    assert_false(lease_due(&l, 2209));
    assert_true(lease_due(&l, 2210));
}

int main(void)
{
    alarm(60);
    log_set_fd(-1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_claimed_before_the_first_grant),
        cmocka_unit_test(it_lasts_from_the_request_not_from_the_answer),
        cmocka_unit_test(it_is_renewed_every_third_and_again_soon_after_a_failure),
        cmocka_unit_test(who_was_overdue_claims_nothing_for_one_lease),
        cmocka_unit_test(a_lease_that_was_gone_means_a_check),
        cmocka_unit_test(news_do_not_wait_for_the_next_renewal),
        cmocka_unit_test(news_that_come_while_a_renewal_is_on_its_way_follow_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
