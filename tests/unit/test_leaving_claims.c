/* A notice that comes while cells are on their way here: what Redis may know as this node's becomes served and leaves
 * in order; what is nobody's is left to others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <unistd.h>

#include "proto/base/log.h"
#include "proto/base/metrics.h"
#include "tests/lib/node_rig.h"

/* The told one wants what the dead one had; the heir could take it. */
enum { HEIR = 0, DEAD = 1, TOLD = 2, NOTICE_MS = 60000, SERVED_MS = 500 };

static const struct cell_pos home = {0, 0}, held = {9, 0};

/* The told one has a cell, too, that does not leave before Redis answers transfers: it is there for a while. */
static int setup(void **state)
{
    struct node_rig *r = *state = node_rig_new();
    assert_true(node_rig_enter(r, home, DEAD));
    assert_true(node_rig_enter(r, held, TOLD));
    r->node[TOLD].redis[COORD_TRANSFER] = FATE_KEPT;
    r->node[HEIR].redis[COORD_DIRTY] = FATE_KEPT; /* it does not look for what the dead one leaves behind */
    r->flow_ms = 20;
    node_rig_pass(r, 200);
    return 0;
}

static int teardown(void **state)
{
    node_rig_free(*state);
    return 0;
}

static struct nrig_cell *gate_cell(struct node_rig *r, struct cell_pos at)
{
    for (unsigned k = 0; k < r->n_cells; k++) {
        if (cell_eq(r->cells[k].at, at))
            return &r->cells[k];
    }
    return NULL;
}

static bool is_played(struct node_rig *r, void *arg)
{
    (void)arg;
    return gate_cell(r, home)->granted;
}

static bool is_gone(struct node_rig *r, void *arg)
{
    return !r->node[*(unsigned *)arg].node;
}

static uint64_t owner_of(struct node_rig *r, struct cell_pos at)
{
    uint64_t id, epoch, nr;
    return model_redis_cell(r->redis, at, &id, &epoch, &nr) ? id : 0;
}

static bool heir_has_it(struct node_rig *r, void *arg)
{
    struct owned *o = node_rig_owned(r, HEIR, *(const struct cell_pos *)arg);
    return o && o->state == OWN_SERVING;
}

/* ---- claims under way ---- */

enum step { CLAIM_ON_ITS_WAY, CLAIM_NOT_HEARD, LOADING, REPLAYING, STEPS };

/* The dead one's cell is on its way to the told one: so far. */
static void bring_to(struct node_rig *r, enum step s)
{
    struct nrig_node *h = &r->node[TOLD];
    h->redis[COORD_CLAIM] = s == CLAIM_ON_ITS_WAY ? FATE_KEPT : s == CLAIM_NOT_HEARD ? FATE_KEPT_ANSWER : FATE_DONE;
    h->rows[STORE_CLAIM] = s == LOADING ? FATE_KEPT : FATE_DONE;
    h->redis[COORD_JOURNAL] = s == REPLAYING ? FATE_KEPT : FATE_DONE;
    node_rig_kill(r, DEAD);
    if (s == LOADING) {
        for (unsigned ms = 0; ms < 2000 && owner_of(r, home) != h->id; ms++)
            node_rig_pass(r, 1);
    } else {
        assert_true(node_rig_until_asked(r, TOLD, s == REPLAYING ? COORD_JOURNAL : COORD_CLAIM));
    }
    node_rig_pass(r, 5);
    struct owned *o = node_rig_owned(r, TOLD, home);
    assert_true(o && o->state == (s == LOADING ? OWN_LOADING : s == REPLAYING ? OWN_REPLAYING : OWN_CLAIMING));
}

static void go_on(struct node_rig *r)
{
    struct nrig_node *h = &r->node[TOLD];
    h->redis[COORD_CLAIM] = h->redis[COORD_JOURNAL] = h->redis[COORD_OWNERS] = FATE_DONE;
    h->rows[STORE_CLAIM] = FATE_DONE;
}

/* Others are told by Redis that it is ours: they would send the players back and forth until we are gone. */
static void a_claim_under_way_is_carried_through(void **state)
{
    teardown(state);
    for (enum step s = 0; s < STEPS; s++) {
        unsigned told = TOLD;
        setup(state);
        struct node_rig *r = *state;
        bring_to(r, s);
        node_rig_notice(r, TOLD, NOTICE_INTERRUPTION, NOTICE_MS);
        node_rig_pass(r, 100);
        go_on(r);
        assert_true(node_rig_until(r, is_played, NULL, SERVED_MS, "the cell to be served"));
        r->node[TOLD].redis[COORD_TRANSFER] = FATE_DONE;
        assert_true(node_rig_until(r, is_gone, &told, 5000, "the told one to leave"));
        node_rig_pass(r, 100);
        assert_true(owner_of(r, home) == r->node[HEIR].id);
        assert_true(node_rig_check(r));
        if (s + 1 < STEPS)
            teardown(state);
    }
}

/* There is nobody else: it is served to the end, and what was built in it is in the store. */
static void a_claim_under_way_is_carried_through_where_nobody_could_take_it(void **state)
{
    struct node_rig *r = *state;
    unsigned told = TOLD;
    node_rig_kill(r, HEIR);
    node_rig_pass(r, 200);
    bring_to(r, LOADING);
    node_rig_notice(r, TOLD, NOTICE_INTERRUPTION, 10000);
    go_on(r);
    assert_true(node_rig_until(r, is_played, NULL, SERVED_MS, "the cell to be served"));
    node_rig_pass(r, 5000);
    assert_true(gate_cell(r, home)->granted);
    assert_true(node_rig_until(r, is_gone, &told, 4900, "the told one to leave"));
    assert_true(owner_of(r, home) == 0); /* in order: it was not left to the lease */
    assert_true(owner_of(r, held) == 0);
    r->flow_ms = 0;
    node_rig_start(r, HEIR);
    assert_true(node_rig_check(r));
}

/* The store does not answer us: what never became served must not keep the lease from being given up in time. */
static void a_claim_that_does_not_end_is_given_up_with_the_lease(void **state)
{
    struct node_rig *r = *state;
    unsigned told = TOLD;
    bring_to(r, LOADING);
    node_rig_notice(r, TOLD, NOTICE_INTERRUPTION, 10000);
    r->node[TOLD].redis[COORD_TRANSFER] = FATE_DONE;
    node_rig_pass(r, 2000);
    struct owned *o = node_rig_owned(r, TOLD, home);
    assert_true(o && o->state == OWN_LOADING);
    assert_true(node_rig_until(r, is_gone, &told, 7500, "the told one to leave"));
    assert_true(node_rig_until(r, is_played, NULL, SERVED_MS, "the cell to be served"));
    assert_true(node_rig_check(r));
}

static void a_second_notice_that_is_nearer_changes_nothing_but_the_time(void **state)
{
    struct node_rig *r = *state;
    unsigned told = TOLD;
    bring_to(r, REPLAYING);
    node_rig_notice(r, TOLD, NOTICE_TERMINATION, NOTICE_MS);
    node_rig_pass(r, 100);
    node_rig_notice(r, TOLD, NOTICE_INTERRUPTION, 5000);
    node_rig_pass(r, 100);
    go_on(r);
    assert_true(node_rig_until(r, is_played, NULL, SERVED_MS, "the cell to be served"));
    r->node[TOLD].redis[COORD_TRANSFER] = FATE_DONE;
    assert_true(node_rig_until(r, is_gone, &told, 4000, "the told one to leave"));
    assert_true(node_rig_check(r));
}

static void a_withdrawn_notice_leaves_the_claim_alone(void **state)
{
    struct node_rig *r = *state;
    bring_to(r, LOADING);
    node_rig_notice(r, TOLD, NOTICE_TERMINATION, NOTICE_MS);
    node_rig_pass(r, 100);
    node_notice_withdrawn(r->node[TOLD].node, NOTICE_TERMINATION);
    go_on(r);
    assert_true(node_rig_until_serving(r, TOLD, home));
    assert_true(node_rig_check(r));
}

/* Redis was asked whose it is, and no more: it is nobody's, and another takes it at once. */
static void what_was_not_claimed_yet_is_left_to_others(void **state)
{
    for (unsigned drain = 0; drain < 2; drain++) {
        struct node_rig *r = *state;
        r->node[TOLD].redis[COORD_OWNERS] = FATE_KEPT;
        node_rig_kill(r, DEAD);
        assert_true(node_rig_until_asked(r, TOLD, COORD_OWNERS));
        if (drain)
            node_drain(r->node[TOLD].node);
        else
            node_rig_notice(r, TOLD, NOTICE_INTERRUPTION, NOTICE_MS);
        go_on(r);
        assert_true(node_rig_until(r, is_played, NULL, SERVED_MS, "the cell to be served"));
        assert_true(owner_of(r, home) == r->node[HEIR].id);
        assert_int_equal(node_rig_owned(r, HEIR, home)->epoch, 2); /* nobody claimed it between */
        r->node[TOLD].redis[COORD_TRANSFER] = FATE_DONE;
        assert_true(node_rig_check(r));
        if (!drain) {
            teardown(state);
            setup(state);
        }
    }
}

/* ---- warm copies ---- */

/* Redis says that it is ours already; the source died before it could tell us. */
static void a_cell_that_was_transferred_to_us_is_served(void **state)
{
    struct node_rig *r = *state;
    unsigned told = TOLD;
    r->node[DEAD].redis[COORD_TRANSFER] = FATE_KEPT_ANSWER;
    assert_true(node_rig_offer(r, DEAD, TOLD, home, false));
    assert_true(node_rig_until_asked(r, DEAD, COORD_TRANSFER));
    node_rig_pass(r, 3);
    assert_true(owner_of(r, home) == r->node[TOLD].id);
    r->node[TOLD].redis[COORD_OWNERS] = FATE_KEPT;
    node_rig_kill(r, DEAD);
    node_rig_pass(r, 10);
    assert_int_equal(node_rig_owned(r, TOLD, home)->state, OWN_WANTED);
    node_rig_notice(r, TOLD, NOTICE_INTERRUPTION, NOTICE_MS);
    node_rig_pass(r, 10);
    go_on(r);
    assert_true(node_rig_until(r, is_played, NULL, SERVED_MS, "the cell to be served"));
    r->node[TOLD].redis[COORD_TRANSFER] = FATE_DONE;
    assert_true(node_rig_until(r, is_gone, &told, 5000, "the told one to leave"));
    assert_true(node_rig_check(r));
}

/* The commit is on its way, and so is the notice. */
static void a_copy_that_may_be_ours_is_kept(void **state)
{
    struct node_rig *r = *state;
    unsigned told = TOLD;
    r->node[DEAD].redis[COORD_TRANSFER] = FATE_KEPT_ANSWER;
    assert_true(node_rig_offer(r, DEAD, TOLD, home, false));
    assert_true(node_rig_until_asked(r, DEAD, COORD_TRANSFER));
    node_rig_notice(r, TOLD, NOTICE_INTERRUPTION, NOTICE_MS);
    node_rig_pass(r, 50);
    r->node[DEAD].redis[COORD_TRANSFER] = FATE_DONE;
    assert_true(node_rig_until(r, is_played, NULL, SERVED_MS, "the cell to be served"));
    r->node[TOLD].redis[COORD_TRANSFER] = FATE_DONE;
    assert_true(node_rig_until(r, is_gone, &told, 5000, "the told one to leave"));
    assert_true(node_rig_check(r));
}

/* A follower of a dead node: it has what others would have to load. */
static void a_promoted_copy_is_served_and_handed_on(void **state)
{
    struct node_rig *r = *state;
    assert_true(node_rig_offer(r, DEAD, TOLD, home, true));
    assert_true(node_rig_until_phase(r, DEAD, home, OUT_FOLLOWED));
    node_rig_pass(r, 30);
    r->node[TOLD].redis[COORD_OWNERS] = FATE_KEPT;
    node_rig_kill(r, DEAD);
    node_rig_pass(r, 10);
    assert_int_equal(node_rig_owned(r, TOLD, home)->state, OWN_WANTED);
    node_rig_notice(r, TOLD, NOTICE_INTERRUPTION, NOTICE_MS);
    r->node[HEIR].rows[STORE_CLAIM] = FATE_KEPT;
    go_on(r);
    assert_true(node_rig_until(r, is_played, NULL, 4000, "the cell to be served"));
    r->node[TOLD].redis[COORD_TRANSFER] = FATE_DONE;
    struct cell_pos at = home;
    assert_true(node_rig_until(r, heir_has_it, &at, 5000, "the heir to have it"));
    assert_true(node_rig_check(r));
}

/* ---- at risk ---- */

/* What was accepted a moment ago is not acquired after all: its source asks another. */
static void at_risk_copies_that_are_not_ours_yet_are_dropped(void **state)
{
    struct node_rig *r = *state;
    assert_true(node_rig_offer(r, DEAD, TOLD, home, false));
    assert_true(node_rig_until_kept(r, MSG_COPY_END));
    assert_non_null(node_rig_owned(r, TOLD, home));
    node_rig_notice(r, TOLD, NOTICE_REBALANCE, 0);
    assert_null(node_rig_owned(r, TOLD, home));
    r->kept = 0;
    node_rig_pass(r, 50);
    assert_null(node_rig_owned(r, DEAD, home)->out);
    assert_int_equal(node_rig_owned(r, DEAD, home)->state, OWN_SERVING);
    r->node[TOLD].redis[COORD_TRANSFER] = FATE_DONE;
    assert_true(node_rig_check(r));
}

static void at_risk_a_copy_that_may_be_ours_is_kept(void **state)
{
    struct node_rig *r = *state;
    r->node[DEAD].redis[COORD_TRANSFER] = FATE_KEPT;
    assert_true(node_rig_offer(r, DEAD, TOLD, home, false));
    assert_true(node_rig_until_asked(r, DEAD, COORD_TRANSFER));
    node_rig_notice(r, TOLD, NOTICE_REBALANCE, 0);
    r->node[DEAD].redis[COORD_TRANSFER] = FATE_DONE;
    assert_true(node_rig_until_serving(r, TOLD, home));
    r->node[TOLD].redis[COORD_TRANSFER] = FATE_DONE;
    assert_true(node_rig_check(r));
}

int main(void)
{
    alarm(120);
    log_set_fd(getenv("LOG") ? 2 : -1);
    log_set_level(getenv("LOG") ? LOG_DEBUG : LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_claim_under_way_is_carried_through, setup, teardown),
        cmocka_unit_test_setup_teardown(a_claim_under_way_is_carried_through_where_nobody_could_take_it, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_claim_that_does_not_end_is_given_up_with_the_lease, setup, teardown),
        cmocka_unit_test_setup_teardown(a_second_notice_that_is_nearer_changes_nothing_but_the_time, setup, teardown),
        cmocka_unit_test_setup_teardown(a_withdrawn_notice_leaves_the_claim_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_not_claimed_yet_is_left_to_others, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cell_that_was_transferred_to_us_is_served, setup, teardown),
        cmocka_unit_test_setup_teardown(a_copy_that_may_be_ours_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(a_promoted_copy_is_served_and_handed_on, setup, teardown),
        cmocka_unit_test_setup_teardown(at_risk_copies_that_are_not_ours_yet_are_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(at_risk_a_copy_that_may_be_ours_is_kept, setup, teardown),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    metrics_free();
    return failed;
}
