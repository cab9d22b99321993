/* Nodes that are told to go, or that they may have to: what leaves, where to, and what happens when nobody takes it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <event2/buffer.h>
#include <string.h>
#include <unistd.h>

#include "node/own/targets.h"
#include "proto/base/log.h"
#include "tests/lib/node_rig.h"

enum { CELLS = 12, QUIET_MS = 20000, NOTICE_MS = 60000 };

/* Node 0 owns a row of cells; node 1 dies together with it, node 2 does not. */
static struct node_rig *row_of_cells(const struct node_settings *s)
{
    struct node_rig *r = node_rig_new_with(s, NRIG_NODES);
    for (unsigned k = 0; k < NRIG_NODES; k++)
        node_set_pool(r->node[k].node, k < 2 ? "m6i.large/a/spot" : "c5.large/b/spot");
    for (int k = 0; k < CELLS; k++)
        assert_true(node_rig_enter(r, (struct cell_pos){k, 0}, 0));
    node_rig_pass(r, 1100); /* not so long that they are balanced */
    return r;
}

static struct node_settings short_quiet(void)
{
    struct node_settings s;
    node_settings_default(&s);
    s.at_risk_quiet_ms = QUIET_MS;
    return s;
}

static int setup(void **state)
{
    struct node_settings s = short_quiet();
    *state = row_of_cells(&s);
    return 0;
}

static int teardown(void **state)
{
    node_rig_free(*state);
    return 0;
}

static bool has_left(struct node_rig *r, void *arg)
{
    return node_rig_serving_row(r, *(unsigned *)arg, CELLS) == 0;
}

static bool none_served(struct node_rig *r, void *arg)
{
    (void)arg;
    return node_rig_serving(r, 0) == 0;
}

static bool says(struct node *n, const char *text)
{
    struct evbuffer *json = evbuffer_new();
    node_status_json(n, json);
    evbuffer_add(json, "", 1);
    bool found = strstr((const char *)evbuffer_pullup(json, -1), text) != NULL;
    evbuffer_free(json);
    return found;
}

/* ---- leaving ---- */

/* Machines of a pool go together: its cells are safe elsewhere. */
static void cells_go_to_another_pool(void **state)
{
    struct node_rig *r = *state;
    unsigned zero = 0;
    node_rig_notice(r, 0, NOTICE_INTERRUPTION, NOTICE_MS);
    assert_true(says(r->node[0].node, "\"state\":\"leaving\""));
    assert_true(says(r->node[0].node, "\"leaving\":{\"why\":\"interruption\""));
    assert_true(says(r->node[0].node, "\"cells_left\":12,\"cells_then\":12,\"will_hold\":true"));
    assert_true(node_rig_until(r, has_left, &zero, 5000, "the cells to go"));
    node_rig_pass(r, 100);
    assert_int_equal(node_rig_serving_row(r, 2, CELLS), CELLS);
    assert_int_equal(node_rig_serving_row(r, 1, CELLS), 0);
    assert_true(node_rig_check(r));
}

static void the_same_pool_is_better_than_none(void **state)
{
    struct node_rig *r = *state;
    unsigned zero = 0;
    node_rig_notice(r, 2, NOTICE_LIFECYCLE, 0);
    node_rig_pass(r, 50);
    node_rig_notice(r, 0, NOTICE_INTERRUPTION, NOTICE_MS);
    assert_true(node_rig_until(r, has_left, &zero, 5000, "the cells to go"));
    node_rig_pass(r, 100);
    assert_int_equal(node_rig_serving_row(r, 1, CELLS), CELLS);
    assert_true(node_rig_check(r));
}

/* All are told: they serve to the end, and say that it will not hold. */
static void what_nobody_takes_is_served_until_the_deadline(void **state)
{
    struct node_rig *r = *state;
    for (unsigned k = 0; k < NRIG_NODES; k++)
        node_rig_notice(r, k, NOTICE_INTERRUPTION, NOTICE_MS);
    node_rig_edit(r, (struct cell_pos){3, 0});
    node_rig_pass(r, NOTICE_MS - 5000);
    assert_int_equal(node_rig_serving_row(r, 0, CELLS), CELLS);
    assert_true(says(r->node[0].node, "\"will_hold\":false"));
    assert_int_equal(node_rig_accepted(r), 1);
    assert_int_equal(node_rig_owned(r, 0, (struct cell_pos){3, 0})->n_kept, 0); /* the store has it */
    node_rig_pass(r, 5000);
    assert_int_equal(node_rig_serving_row(r, 0, CELLS), 0);
    node_rig_start(r, 1);
    assert_true(node_rig_check(r));
}

static bool has_ended(struct node_rig *r, void *arg)
{
    (void)arg;
    return !r->node[0].node;
}

/* A target that falls silent in the middle of a copy: near the deadline what it has half is released all the same. */
static void a_silent_target_does_not_hold_cells_past_the_deadline(void **state)
{
    enum { SHORT_MS = 3000 };
    struct node_rig *r = *state;
    for (unsigned k = 0; k < 40; k++) { /* more than a window of pieces */
        for (int i = 0; i < CELLS; i++)
            node_rig_edit(r, (struct cell_pos){i, 0});
        node_rig_pass(r, 2);
    }
    uint64_t deadline = r->now_ms + SHORT_MS, owner, epoch, nr;
    r->kept = MSG_GOT;
    node_rig_notice(r, 0, NOTICE_INTERRUPTION, SHORT_MS);
    node_rig_pass(r, 1000);
    assert_int_equal(node_rig_serving(r, 0), CELLS);
    assert_int_equal(node_rig_owned(r, 0, (struct cell_pos){0, 0})->out->phase, OUT_COPYING);
    assert_true(node_rig_until(r, has_ended, NULL, SHORT_MS, "the end"));
    assert_true(r->now_ms < deadline - 200);
    r->kept = 0;
    assert_true(node_rig_check(r));
    for (int i = 0; i < CELLS; i++)
        assert_true(model_redis_cell(r->redis, (struct cell_pos){i, 0}, &owner, &epoch, &nr));
}

/* What cannot be released any more need not wait for the lease. */
static void at_the_deadline_the_lease_goes_whatever_is_left(void **state)
{
    enum { SHORT_MS = 3000 };
    struct node_rig *r = *state;
    uint64_t deadline = r->now_ms + SHORT_MS, id = r->node[0].id;
    for (unsigned k = 1; k < NRIG_NODES; k++)
        node_rig_notice(r, k, NOTICE_INTERRUPTION, NOTICE_MS);
    node_rig_edit(r, (struct cell_pos){3, 0});
    r->node[0].rows[STORE_FLUSH] = FATE_KEPT;
    node_rig_notice(r, 0, NOTICE_INTERRUPTION, SHORT_MS);
    assert_true(node_rig_until(r, has_ended, NULL, SHORT_MS + 20, "the end"));
    assert_true(r->now_ms <= deadline + 20);
    assert_false(model_redis_lives(r->redis, ROLE_NODE, id));
    node_rig_start(r, 0);
    assert_true(node_rig_check(r));
}

/* A notice that came to nothing: the node goes on with the cells that it still has. */
static void a_withdrawn_notice_calls_the_node_back(void **state)
{
    struct node_rig *r = *state;
    r->kept = MSG_OFFER_ANSWER;
    node_rig_notice(r, 0, NOTICE_TERMINATION, NOTICE_MS);
    node_rig_pass(r, 300);
    node_notice_withdrawn(r->node[0].node, NOTICE_TERMINATION);
    r->kept = 0;
    node_rig_pass(r, 2000);
    assert_null(node_not_ready(r->node[0].node));
    assert_true(says(r->node[0].node, "\"state\":\"running\""));
    assert_false(says(r->node[0].node, "\"leaving\""));
    assert_false(node_stopped(r->node[0].node));
    assert_true(node_rig_enter(r, (struct cell_pos){0, 9}, 0));
    assert_true(node_rig_check(r));
}

/* Where a cell was offered to is not where it is: its neighbours do not follow it there. */
static void a_cell_that_was_not_taken_counts_as_here(void **state)
{
    struct node_rig *r = *state;
    struct node *n = r->node[0].node;
    r->kept = MSG_OFFER_ANSWER;
    node_rig_notice(r, 0, NOTICE_TERMINATION, NOTICE_MS);
    node_rig_pass(r, 300);
    uint64_t owners[NEIGHBOURS];
    targets_neighbours(n, (struct cell_pos){1, 0}, owners);
    assert_int_equal(owners[0], r->node[2].id); /* on its way */
    node_notice_withdrawn(n, NOTICE_TERMINATION);
    node_rig_pass(r, 2000);
    assert_int_equal(node_rig_serving_row(r, 0, CELLS), CELLS);
    targets_neighbours(n, (struct cell_pos){1, 0}, owners);
    for (unsigned k = 0; k < NEIGHBOURS; k++)
        assert_int_equal(owners[k], 0);
}

/* Having no room for a moment, a node runs all the same: whether the time will do must not change to and fro. */
static void a_refusal_does_not_put_the_deadline_in_danger(void **state)
{
    struct node_rig *r = *state;
    struct node *n = r->node[0].node;
    r->kept = MSG_OFFER_ANSWER;
    node_rig_notice(r, 0, NOTICE_INTERRUPTION, NOTICE_MS);
    node_rig_pass(r, 300);
    assert_true(says(n, "\"will_hold\":true"));
    targets_full(n, r->node[1].id);
    targets_full(n, r->node[2].id);
    assert_true(says(n, "\"will_hold\":true"));
}

/* A cell that nobody watches, and that is in the store, is worth no copy. */
static void what_nobody_watches_is_released(void **state)
{
    struct node_settings s = short_quiet();
    struct node_rig *r = *state = node_rig_new_with(&s, 1); /* the others come later: nothing is balanced */
    struct cell_pos quiet = {0, 0};
    struct msg m = {.kind = MSG_UNSUBSCRIBE};
    for (int32_t k = 0; k < CELLS; k++)
        assert_true(node_rig_enter(r, (struct cell_pos){k, 0}, 0));
    m.unsubscribe.cells = &quiet;
    m.unsubscribe.n = 1;
    node_rig_say(r, 0, &m);
    node_rig_pass(r, 1000);
    assert_int_equal(node_rig_owned(r, 0, quiet)->n_subs, 0);
    node_rig_start(r, 1);
    node_rig_pass(r, 1100);
    assert_int_equal(node_rig_serving(r, 0), CELLS);
    node_rig_notice(r, 0, NOTICE_INTERRUPTION, NOTICE_MS);
    assert_true(node_rig_until(r, none_served, NULL, 5000, "the cells to go"));
    assert_int_equal(r->sent[MSG_COPY_END], CELLS - 1);
}

/* Its gateways come after it, within moments: it goes on as it came, and not by way of the store. */
static void a_cell_that_just_came_is_no_unwatched_one(void **state)
{
    struct node_rig *r = *state;
    struct cell_pos at = {0, 0};
    node_rig_part(r, NRIG_GATE, 1, 1000);
    assert_true(node_rig_offer(r, 0, 1, at, false));
    assert_true(node_rig_until_serving(r, 1, at));
    assert_int_equal(node_rig_owned(r, 1, at)->n_subs, 0);
    node_rig_notice(r, 1, NOTICE_INTERRUPTION, NOTICE_MS);
    assert_true(node_rig_until_serving(r, 2, at));
    assert_int_equal(node_rig_owned(r, 2, at)->epoch, 3); /* nobody claimed */
    assert_int_equal(r->sent[MSG_COMMIT], 2);
    assert_true(node_rig_check(r));
}

/* ---- at risk ---- */

/* A hint, and nothing follows: a few cells went, the hot ones are followed elsewhere, and then it is over. */
static void at_risk_cells_are_followed_and_a_few_go(void **state)
{
    struct node_rig *r = *state;
    node_rig_notice(r, 0, NOTICE_REBALANCE, 0);
    assert_true(says(r->node[0].node, "\"state\":\"at_risk\""));
    node_rig_pass(r, 2500);
    unsigned left = node_rig_serving_row(r, 0, CELLS);
    assert_in_range(left, CELLS - 6, CELLS - 2);
    assert_int_equal(node_rig_serving_row(r, 2, CELLS), CELLS - left);
    assert_int_equal(node_rig_serving_row(r, 1, CELLS), 0);
    assert_int_equal(node_rig_followed(r, 0), left); /* few enough: all that are here */
    node_rig_pass(r, QUIET_MS);
    assert_true(says(r->node[0].node, "\"state\":\"running\""));
    assert_int_equal(node_rig_followed(r, 0), 0);
    assert_true(node_rig_check(r));
}

/* The hint was right: what others follow already is flipped. */
static void followers_make_leaving_a_flip(void **state)
{
    struct node_rig *r = *state;
    unsigned zero = 0;
    node_rig_notice(r, 0, NOTICE_REBALANCE, 0);
    node_rig_pass(r, 2500);
    unsigned copies = r->sent[MSG_COPY_END], left = node_rig_serving_row(r, 0, CELLS);
    assert_true(left > 0);
    node_rig_notice(r, 0, NOTICE_INTERRUPTION, NOTICE_MS);
    assert_true(node_rig_until(r, has_left, &zero, 5000, "the cells to go"));
    assert_int_equal(r->sent[MSG_COPY_END], copies); /* not one was copied again */
    assert_true(node_rig_check(r));
}

/* Redis owes the answer for which a frozen cell waits. */
static void a_slow_redis_puts_no_target_in_the_wrong(void **state)
{
    struct node_rig *r = *state;
    struct cell_pos at = {3, 0};
    r->node[0].redis[COORD_APPEND] = FATE_KEPT;
    node_rig_edit(r, at);
    node_rig_pass(r, 10);
    assert_true(node_rig_offer(r, 0, 2, at, false));
    assert_true(node_rig_until_phase(r, 0, at, OUT_FREEZING));
    node_rig_pass(r, 1100);
    struct owned *o = node_rig_owned(r, 0, at);
    assert_null(o->out);
    assert_int_equal(o->avoid, 0);
    assert_true(o->handoff_retry_ms > r->now_ms);
    assert_true(node_rig_check(r));
}

/* A target that failed once, long ago, may be the only one in another pool. */
static void who_leaves_begins_without_grudges(void **state)
{
    struct node_rig *r = *state;
    struct cell_pos at = {3, 0};
    r->kept = MSG_OFFER_ANSWER;
    assert_true(node_rig_offer(r, 0, 2, at, false));
    node_rig_pass(r, 1100);
    assert_int_equal(node_rig_owned(r, 0, at)->avoid, r->node[2].id);
    r->kept = 0;
    node_rig_notice(r, 0, NOTICE_INTERRUPTION, NOTICE_MS);
    assert_int_equal(node_rig_owned(r, 0, at)->avoid, 0);
    assert_true(node_rig_until(r, none_served, NULL, 5000, "the cells to go"));
    node_rig_pass(r, 100);
    assert_int_equal(node_rig_serving_row(r, 2, CELLS), CELLS);
}

static void at_risk_nothing_new_is_taken_where_others_could(void **state)
{
    struct node_rig *r = *state;
    struct cell_pos far = {50, 50};
    node_rig_notice(r, 0, NOTICE_REBALANCE, 0);
    node_rig_pass(r, 50);
    struct msg_want want = {.cell = far, .redirected = true};
    struct msg m = {.kind = MSG_SUBSCRIBE};
    m.subscribe.wants = &want;
    m.subscribe.n = 1;
    node_rig_say(r, 0, &m);
    node_rig_pass(r, 500);
    assert_null(node_rig_owned(r, 0, far));
    assert_true(node_rig_offer(r, 1, 0, far, false) == false);
    for (unsigned k = 1; k < NRIG_NODES; k++)
        node_rig_notice(r, k, NOTICE_REBALANCE, 0);
    node_rig_pass(r, 1500);
    assert_true(node_rig_enter(r, far, 0)); /* all are at risk: better here than nowhere */
}

/* ---- starting ---- */

static void a_node_that_waits_for_its_metadata_takes_nothing(void **state)
{
    struct node_settings s = short_quiet();
    s.wait_for_checked = true;
    struct node_rig *r = *state = node_rig_new_with(&s, 0);
    node_rig_start(r, 0);
    node_rig_pass(r, 3000);
    assert_string_equal(node_not_ready(r->node[0].node), "the instance's metadata was not looked at yet");
    assert_true(says(r->node[0].node, "\"state\":\"starting\""));
    struct msg_want want = {.cell = {0, 0}, .redirected = true};
    struct msg m = {.kind = MSG_SUBSCRIBE};
    m.subscribe.wants = &want;
    m.subscribe.n = 1;
    node_rig_say(r, 0, &m);
    node_rig_pass(r, 500);
    assert_null(node_rig_owned(r, 0, want.cell));
    node_checked(r->node[0].node);
    assert_true(node_rig_enter(r, want.cell, 0));
}

int main(void)
{
    alarm(120);
    log_set_level(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(cells_go_to_another_pool, setup, teardown),
        cmocka_unit_test_setup_teardown(the_same_pool_is_better_than_none, setup, teardown),
        cmocka_unit_test_setup_teardown(what_nobody_takes_is_served_until_the_deadline, setup, teardown),
        cmocka_unit_test_setup_teardown(a_silent_target_does_not_hold_cells_past_the_deadline, setup, teardown),
        cmocka_unit_test_setup_teardown(at_the_deadline_the_lease_goes_whatever_is_left, setup, teardown),
        cmocka_unit_test_setup_teardown(a_withdrawn_notice_calls_the_node_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cell_that_was_not_taken_counts_as_here, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refusal_does_not_put_the_deadline_in_danger, setup, teardown),
        cmocka_unit_test_teardown(what_nobody_watches_is_released, teardown),
        cmocka_unit_test_setup_teardown(a_cell_that_just_came_is_no_unwatched_one, setup, teardown),
        cmocka_unit_test_setup_teardown(at_risk_cells_are_followed_and_a_few_go, setup, teardown),
        cmocka_unit_test_setup_teardown(followers_make_leaving_a_flip, setup, teardown),
        cmocka_unit_test_setup_teardown(a_slow_redis_puts_no_target_in_the_wrong, setup, teardown),
        cmocka_unit_test_setup_teardown(who_leaves_begins_without_grudges, setup, teardown),
        cmocka_unit_test_setup_teardown(at_risk_nothing_new_is_taken_where_others_could, setup, teardown),
        cmocka_unit_test_teardown(a_node_that_waits_for_its_metadata_takes_nothing, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
