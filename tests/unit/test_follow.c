/* Copies that others keep of a node's cells: what becomes of them when the node leaves, balances, or needs them no
 * more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <unistd.h>

#include "node/own/targets.h"
#include "proto/base/log.h"
#include "tests/lib/node_rig.h"

enum { CELLS = 12, NOTICE_MS = 60000 };

/* Node k serves a cell far away that weighs so much, for ten seconds. */
static void make_busy(struct node_rig *r, unsigned k, uint32_t weight)
{
    struct cell_pos at = {0, 100 * (int32_t)k};
    assert_true(node_rig_enter(r, at, k));
    load_said(r->node[k].node, node_rig_owned(r, k, at), weight);
}

static bool are_followed(struct node_rig *r, void *arg)
{
    unsigned whole = 0;
    for (const struct owned *o = r->node[0].node->cells; o; o = o->hh.next)
        whole += o->out && o->out->follow_only && o->out->phase == OUT_FOLLOWED;
    return whole == *(unsigned *)arg;
}

/* Node 0 owns so many cells, copies of all of which node 2 keeps. The others have enough to do: nothing is balanced. */
static struct node_rig *followed_cells(int32_t cells)
{
    struct node_rig *r = node_rig_new();
    for (unsigned k = 0; k < NRIG_NODES; k++)
        node_set_pool(r->node[k].node, k < 2 ? "m6i.large/a/spot" : "c5.large/b/spot");
    r->node[0].node->set.followers_rows = 1 << 18; /* the others', too, would be counted with its copies */
    make_busy(r, 1, 500);
    make_busy(r, 2, 500);
    node_rig_pass(r, 1100);
    for (int32_t k = 0; k < cells; k++)
        assert_true(node_rig_enter(r, (struct cell_pos){k, 0}, 0));
    unsigned wanted = (unsigned)cells;
    assert_true(node_rig_until(r, are_followed, &wanted, 20000, "copies of all cells"));
    return r;
}

static int teardown(void **state)
{
    node_rig_free(*state);
    return 0;
}

static bool none_served(struct node_rig *r, void *arg)
{
    (void)arg;
    return node_rig_serving(r, 0) == 0;
}

/* More cells than leave at a time: those that wait for their turn keep their copies. */
static void copies_are_kept_until_their_turn_comes(void **state)
{
    enum { MANY = 100 };
    struct node_rig *r = *state = followed_cells(MANY);
    struct node *n = r->node[0].node;
    assert_int_equal(node_rig_serving(r, 0), MANY);
    r->node[0].redis[COORD_TRANSFER] = FATE_KEPT;
    n->follow_ms = 0; /* due with the notice */
    node_rig_notice(r, 0, NOTICE_INTERRUPTION, NOTICE_MS);
    unsigned copies = r->sent[MSG_COPY_END];
    node_rig_pass(r, 1000);
    assert_int_equal(node_rig_serving(r, 0), MANY);
    r->node[0].redis[COORD_TRANSFER] = FATE_DONE;
    assert_true(node_rig_until(r, none_served, NULL, 5000, "the cells to go"));
    assert_int_equal(r->sent[MSG_COPY_END], copies); /* not one was copied again */
    assert_true(node_rig_check(r));
}

/* A node that runs, but that nobody is linked with. */
static void ghost(struct node_rig *r)
{
    struct coord_req *req = coord_req_new(COORD_RENEW, 999, NULL, NULL);
    req->renew.role = ROLE_NODE;
    req->renew.ttl_ms = 60000;
    req->renew.self = (struct coord_self){.address = "ghost:1", .state = NODE_RUNNING};
    model_redis_apply(r->redis, req);
    coord_req_free(req);
}

/* Copies are accepted for their memory alone: whether the cells are too many is seen when they are to be flipped. */
static void no_follower_gets_more_than_its_room(void **state)
{
    struct node_rig *r = *state = followed_cells(CELLS);
    struct cell_pos busy = {0, 200};
    ghost(r);
    node_rig_pass(r, 1500);
    load_said(r->node[2].node, node_rig_owned(r, 2, busy), 2590); /* of three nodes' about 3,150: room for a few */
    node_rig_pass(r, 2500);
    assert_int_equal(node_rig_followed(r, 0), CELLS);
    node_rig_notice(r, 0, NOTICE_INTERRUPTION, NOTICE_MS);
    assert_true(node_rig_until(r, none_served, NULL, 5000, "the cells to go"));
    node_rig_pass(r, 100);
    assert_in_range(node_rig_serving_row(r, 2, CELLS), 1, CELLS / 2);
    assert_int_equal(node_rig_serving_row(r, 1, CELLS), CELLS - node_rig_serving_row(r, 2, CELLS));
}

/* What balances goes where its copy is. */
static void a_cell_that_balances_is_not_copied_twice(void **state)
{
    struct node_settings s;
    node_settings_default(&s);
    s.followers_rows = 1 << 18;
    struct node_rig *r = *state = node_rig_new_with(&s, 2);
    for (int32_t k = 0; k < CELLS; k++)
        assert_true(node_rig_enter(r, (struct cell_pos){k, 0}, 0));
    unsigned all = CELLS;
    assert_true(node_rig_until(r, are_followed, &all, 2000, "copies of all cells"));
    node_rig_pass(r, 10000);
    assert_in_range(node_rig_serving_row(r, 1, CELLS), 2, CELLS);
    assert_int_equal(r->sent[MSG_COMMIT], node_rig_serving_row(r, 1, CELLS));
    assert_int_equal(r->sent[MSG_ABORT], 0); /* no copy was given up for another */
    assert_true(node_rig_check(r));
}

/* A copy that is given up for want of use says nothing against the node that had it. */
static void a_copy_that_is_not_needed_puts_nobody_in_the_wrong(void **state)
{
    struct node_rig *r = *state = followed_cells(CELLS);
    struct node *n = r->node[0].node;
    n->set.followers_rows = 0;
    node_rig_pass(r, 400);
    assert_int_equal(node_rig_followed(r, 0), 0);
    for (const struct owned *o = n->cells; o; o = o->hh.next) {
        assert_int_equal(o->avoid, 0);
        assert_int_equal(o->handoff_tries, 0);
        assert_true(o->handoff_retry_ms <= r->now_ms);
    }
}

static bool is_offered(struct node_rig *r, void *arg)
{
    struct owned *o = node_rig_owned(r, 0, *(struct cell_pos *)arg);
    return o->out && o->out->phase == OUT_OFFERED;
}

/* Memory for copies is not room for cells: who has no more of the one keeps the copies that it has, and takes cells. */
static void a_node_that_keeps_no_more_copies_takes_cells(void **state)
{
    enum { COPIES = 8 };
    struct node_rig *r = *state = followed_cells(COPIES);
    struct node *n = r->node[0].node;
    struct cell_pos at = {50, 0};
    assert_true(node_rig_enter(r, at, 0));
    r->kept = MSG_OFFER_ANSWER;
    assert_true(node_rig_until(r, is_offered, &at, 2000, "an offer"));
    struct owned *o = node_rig_owned(r, 0, at);
    struct msg m = {.kind = MSG_OFFER_ANSWER};
    m.handoff.no = o->out->no;
    m.handoff.answer = OFFER_FULL;
    assert_int_equal(o->out->target, r->node[2].id);
    node_net_events.msg(n, o->out->link, &m);
    assert_null(o->out);
    assert_true(o->handoff_retry_ms >= r->now_ms + 500);
    node_rig_pass(r, 400);
    unsigned count, found = 0;
    struct coord_member *list = targets_list(n, &count);
    for (unsigned k = 0; k < count; k++)
        found += list[k].id == r->node[2].id;
    free(list);
    assert_int_equal(found, 1);
    assert_int_equal(node_rig_followed(r, 0), COPIES);
    targets_full(n, r->node[2].id); /* no room for cells: the copies are there all the same */
    node_rig_pass(r, 400);
    assert_int_equal(node_rig_followed(r, 0), COPIES);
}

int main(void)
{
    alarm(120);
    log_set_level(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(copies_are_kept_until_their_turn_comes, teardown),
        cmocka_unit_test_teardown(no_follower_gets_more_than_its_room, teardown),
        cmocka_unit_test_teardown(a_cell_that_balances_is_not_copied_twice, teardown),
        cmocka_unit_test_teardown(a_copy_that_is_not_needed_puts_nobody_in_the_wrong, teardown),
        cmocka_unit_test_teardown(a_node_that_keeps_no_more_copies_takes_cells, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
