/* Every way in which a handoff can break, in every phase: one owner in the end, and every acknowledged row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/log.h"
#include "proto/base/metrics.h"
#include "tests/lib/node_rig.h"

enum { RUNS = 10 };

static const struct cell_pos home = {0, 0};

/* Node 0 owns home, and players build in it; the journal holds more than one window of a copy. */
static struct node_rig *settled(void)
{
    struct node_settings s;
    node_settings_default(&s);
    s.flush_ms = 4000;
    struct node_rig *r = node_rig_new_with(&s, NRIG_NODES);
    assert_true(node_rig_enter(r, home, 0));
    r->flow_ms = 3;
    node_rig_pass(r, 150);
    assert_true(node_rig_owned(r, 0, home)->n_kept > 16);
    return r;
}

static int setup(void **state)
{
    *state = settled();
    return 0;
}

static int teardown(void **state)
{
    node_rig_free(*state);
    return 0;
}

static double handoffs(const char *result)
{
    struct metric *m =
        metrics_counter("spotcraft_node_handoffs_total", "Handoffs of cells that ended, by result.", result);
    return metric_value(m);
}

/* ---- the way it should be ---- */

static void a_cell_moves_and_its_players_do_not_notice(void **state)
{
    struct node_rig *r = *state;
    double moved = handoffs("result=\"moved\"");
    assert_true(node_rig_offer(r, 0, 1, home, false));
    assert_true(node_rig_until_serving(r, 1, home));
    node_rig_pass(r, 100);
    assert_null(node_rig_owned(r, 0, home));
    assert_true(handoffs("result=\"moved\"") == moved + 1);
    assert_int_equal(r->sent[MSG_COMMIT], 1);
    assert_true(node_rig_check(r));
    assert_int_equal(node_rig_owned(r, 1, home)->epoch, 2); /* nobody claimed */
}

static void players_go_along_with_name_and_place(void **state)
{
    struct node_rig *r = *state;
    struct msg m = {.kind = MSG_ENTER};
    m.enter = (struct msg_enter){.session = {NRIG_GATE_ID, 5},
                                 .player = 9,
                                 .nick = "ann",
                                 .account = "ann@home",
                                 .visit = 3,
                                 .count = 70,
                                 .place = {5, 80, 6, 1, 0.5f},
                                 .cell = home};
    node_rig_say(r, 0, &m);
    node_rig_pass(r, 20);
    assert_true(node_rig_offer(r, 0, 1, home, false));
    assert_true(node_rig_until_serving(r, 1, home));
    struct player *p = players_find(node_rig_owned(r, 1, home)->players, m.enter.session);
    assert_non_null(p);
    assert_string_equal(p->nick, "ann");
    assert_string_equal(p->account, "ann@home");
    assert_int_equal(p->visit, 3);
    assert_int_equal(p->count, 70);
    assert_true(p->place.y == 80);
    assert_true(node_rig_check(r));
}

static void the_same_cell_moves_back_at_once(void **state)
{
    struct node_rig *r = *state;
    for (unsigned k = 0; k < 6; k++) {
        assert_true(node_rig_offer(r, k % 2, !(k % 2), home, false));
        assert_true(node_rig_until_serving(r, !(k % 2), home));
    }
    assert_true(node_rig_check(r));
    assert_int_equal(node_rig_owned(r, 0, home)->epoch, 7);
}

/* The sessions of an hour go along: in one message, which has its limit. */
static void a_cell_that_very_many_built_in_moves(void **state)
{
    struct node_rig *r = *state;
    struct owned *o = node_rig_owned(r, 0, home);
    for (uint64_t k = 1; k <= 60000; k++)
        journal_see(o, (struct session_id){UINT64_MAX - 77, k << 32}, UINT64_MAX - k, 1ull << 40);
    assert_true(node_rig_offer(r, 0, 1, home, false));
    assert_true(node_rig_until_serving(r, 1, home));
    assert_true(node_rig_check(r));
}

static void two_moves_cross(void **state)
{
    struct node_rig *r = *state;
    struct cell_pos other = {1, 0};
    assert_true(node_rig_enter(r, other, 1));
    node_rig_pass(r, 100);
    assert_true(node_rig_offer(r, 0, 1, home, false));
    assert_true(node_rig_offer(r, 1, 0, other, false));
    assert_true(node_rig_until_serving(r, 1, home));
    assert_true(node_rig_until_serving(r, 0, other));
    assert_true(node_rig_check(r));
}

static void many_cells_move_at_once_and_few_are_frozen(void **state)
{
    struct node_rig *r = *state;
    unsigned most = 0;
    r->flow_ms = 0;
    for (int32_t i = 1; i < 31; i++)
        assert_true(node_rig_enter(r, (struct cell_pos){i, 0}, 0));
    r->flow_ms = 10;
    node_rig_pass(r, 50);
    r->node[0].redis[COORD_TRANSFER] = FATE_KEPT;
    node_stop(r->node[0].node, 30000);
    for (unsigned ms = 0; ms < 100; ms++) {
        unsigned frozen = 0;
        node_rig_pass(r, 1);
        for (struct owned *o = r->node[0].node->cells; o; o = o->hh.next)
            frozen += o->frozen;
        most = frozen > most ? frozen : most;
    }
    assert_in_range(most, 1, 32);
    r->node[0].redis[COORD_TRANSFER] = FATE_DONE;
    assert_true(node_rig_check(r));
}

static void a_refusal_leaves_the_cell_where_it_is(void **state)
{
    struct node_rig *r = *state;
    node_stop(r->node[1].node, 30000);
    node_rig_pass(r, 5);
    double refused = handoffs("result=\"refused\"");
    struct owned *o = node_rig_owned(r, 0, home);
    /* the target says so itself: its neighbour has not read yet that it leaves */
    if (node_rig_offer(r, 0, 1, home, false)) {
        node_rig_pass(r, 20);
        assert_true(handoffs("result=\"refused\"") == refused + 1);
        assert_int_equal(o->avoid, r->node[1].id);
    }
    assert_null(o->out);
    assert_false(o->frozen);
    assert_true(node_rig_check(r));
}

/* What is built while the copy is on its way stands on the wire, too: the answers to it make no room for more rows. */
static void batches_that_follow_a_copy_take_room_on_the_link(void **state)
{
    struct node_rig *r = *state;
    struct owned *o = node_rig_owned(r, 0, home);
    r->flow_ms = 0;
    for (int k = 0; k < 60000; k++) { /* many pieces */
        struct row row = {.kind = ROW_BLOCK, .w = 1, .rev = 1, .key = 1};
        row.at = (struct block_pos){k % CELL_SIZE, 1 + k / CELL_SIZE % 200, k / CELL_SIZE / 200};
        assert_int_equal(cell_load_row(o->cell, &row, false), ERR_OK);
    }
    node_rig_pass(r, 10);
    r->flow_ms = 7;
    assert_true(node_rig_offer(r, 0, 1, home, false));
    assert_true(node_rig_until_phase(r, 0, home, OUT_COPYING));
    unsigned looks = 0, live = 0;
    for (; o->out && o->out->phase == OUT_COPYING; looks++) {
        r->silent = looks % 30 < 29; /* in lumps: batches come between */
        node_rig_pass(r, 1);
        live += o->out && o->out->caught_up;
        if (o->out && o->out->phase == OUT_COPYING)
            assert_int_equal(o->out->on_way, o->out->sent - o->out->got);
    }
    assert_true(live > 100);
    assert_true(node_rig_check(r));
}

/* The last append is not answered: the players waited all the same. */
static void a_freeze_that_comes_to_nothing_is_measured_too(void **state)
{
    struct node_rig *r = *state;
    double freezes = metric_value(node_metrics.freeze_seconds), handed_back = metric_value(node_metrics.handed_back);
    r->node[0].redis[COORD_APPEND] = FATE_KEPT;
    node_rig_pass(r, 5);
    assert_true(node_rig_offer(r, 0, 1, home, false));
    assert_true(node_rig_until_phase(r, 0, home, OUT_FREEZING));
    node_rig_pass(r, 1200);
    struct node *n = r->node[0].node;
    assert_null(node_rig_owned(r, 0, home)->out);
    assert_true(metric_value(node_metrics.freeze_seconds) == freezes + 1);
    assert_int_equal(n->gone.freezes, 1);
    assert_int_equal(n->gone.moved, 0);
    assert_true(node_rig_owned(r, 0, home)->n_handed_back > 10);
    /* what came then went nowhere: it is not counted with what the next owner gets */
    r->flow_ms = 0;
    r->node[0].redis[COORD_APPEND] = FATE_DONE;
    node_rig_pass(r, 2000);
    assert_true(node_rig_offer(r, 0, 1, home, false));
    assert_true(node_rig_until_serving(r, 1, home));
    assert_true(metric_value(node_metrics.freeze_seconds) == freezes + 2);
    assert_true(metric_value(node_metrics.handed_back) == handed_back);
    assert_int_equal(n->gone.freezes, 2);
    assert_int_equal(n->gone.handed_back, 0);
    assert_true(node_rig_check(r));
}

static void a_gap_between_batches_makes_the_target_give_up(void **state)
{
    struct node_rig *r = *state;
    assert_true(node_rig_offer(r, 0, 1, home, true));
    assert_true(node_rig_until_phase(r, 0, home, OUT_FOLLOWED));
    node_rig_pass(r, 30);
    struct owned *o = node_rig_owned(r, 0, home);
    struct msg m = {.kind = MSG_FOLLOW};
    const struct blob *batch = o->kept_last->bytes;
    m.handoff.no = o->out->no;
    m.handoff.follow = (struct msg_follow){o->epoch, o->n + 5, batch->data, batch->len};
    node_send(r->node[0].node, o->out->link, &m);
    node_rig_pass(r, 10);
    assert_null(node_rig_owned(r, 1, home));
    assert_null(o->out);
    assert_true(node_rig_check(r));
}

/* ---- promotion ---- */

/* Node 1 follows home; its copy ends at some batch. */
static void follow(struct node_rig *r)
{
    assert_true(node_rig_offer(r, 0, 1, home, true));
    assert_true(node_rig_until_phase(r, 0, home, OUT_FOLLOWED));
    node_rig_pass(r, 30);
}

static void a_follower_takes_over_without_reading_the_stores_rows(void **state)
{
    struct node_rig *r = *state;
    follow(r);
    /* the last batches do not reach it */
    r->silent = true;
    node_rig_pass(r, 50);
    r->node[1].rows[STORE_CLAIM] = FATE_KEPT;
    node_rig_kill(r, 0);
    r->silent = false;
    assert_true(node_rig_until_serving(r, 1, home));
    assert_true(node_rig_check(r));
}

static void a_journal_trimmed_past_the_copy_means_the_store(void **state)
{
    struct node_rig *r = *state;
    follow(r);
    r->silent = true;
    node_rig_pass(r, 5000); /* a flush, a trim, and more batches */
    node_rig_pass(r, 50);
    r->node[1].rows[STORE_CLAIM] = FATE_KEPT;
    node_rig_kill(r, 0);
    r->silent = false;
    node_rig_pass(r, 5000);
    struct owned *o = node_rig_owned(r, 1, home);
    assert_non_null(o);
    assert_int_equal(o->state, OWN_LOADING);
    assert_true(node_rig_check(r));
}

/* It is nobody's then, and Redis knows nothing of it: as if Redis had gone back. */
static void a_cell_that_was_released_is_read_from_the_store_although_a_copy_is_here(void **state)
{
    struct node_rig *r = *state;
    follow(r);
    node_rig_part(r, 0, 1, 60000);
    node_rig_pass(r, 100);
    assert_int_equal(node_rig_owned(r, 1, home)->state, OWN_WANTED);
    r->flow_ms = 0;
    node_rig_pass(r, 100);
    r->node[1].redis[COORD_OWNERS] = FATE_KEPT;
    node_rig_part(r, NRIG_GATE, 1, 2000);
    node_rig_part(r, NRIG_GATE, 2, 2000);
    uint64_t owner, epoch, nr;
    flush_release(r->node[0].node, node_rig_owned(r, 0, home));
    node_rig_part(r, NRIG_GATE, 0, 2000);
    node_rig_pass(r, 1000);
    assert_false(model_redis_cell(r->redis, home, &owner, &epoch, &nr));
    r->node[1].redis[COORD_OWNERS] = FATE_DONE;
    assert_true(node_rig_until_serving(r, 1, home));
    assert_true(node_rig_check(r));
}

static void a_late_flush_of_the_source_changes_nothing(void **state)
{
    struct node_rig *r = *state;
    r->node[0].rows[STORE_FLUSH] = FATE_KEPT;
    node_rig_pass(r, 5000);
    assert_true(node_rig_owned(r, 0, home)->flushing);
    assert_true(node_rig_offer(r, 0, 1, home, false));
    assert_true(node_rig_until_serving(r, 1, home));
    node_rig_pass(r, 5000); /* the new owner's flush comes first */
    r->node[0].rows[STORE_FLUSH] = FATE_DONE;
    assert_true(node_rig_check(r));
}

/* ---- every trouble in every phase ---- */

enum moment { OFFERED, COPYING, FOLLOWED, FREEZING, FINAL, TRANSFERRING, TRANSFERRED, COMMITTING, MOMENTS };
static const char *const moment_name[MOMENTS] = {"offered", "copying",      "followed",    "freezing",
                                                 "final",   "transferring", "transferred", "committing"};

static void bring_to(struct node_rig *r, enum moment m)
{
    r->node[0].redis[COORD_APPEND] = m == FREEZING ? FATE_KEPT : FATE_DONE;
    r->node[0].redis[COORD_TRANSFER] = m == TRANSFERRING ? FATE_KEPT : m == TRANSFERRED ? FATE_KEPT_ANSWER : FATE_DONE;
    node_rig_pass(r, 5);
    assert_true(node_rig_offer(r, 0, 1, home, m == FOLLOWED));
    switch (m) {
    case OFFERED:
        assert_true(node_rig_until_kept(r, MSG_OFFER_ANSWER));
        break;
    case COPYING:
        assert_true(node_rig_until_kept(r, MSG_GOT));
        assert_int_equal(node_rig_owned(r, 0, home)->out->phase, OUT_COPYING);
        break;
    case FOLLOWED:
        assert_true(node_rig_until_phase(r, 0, home, OUT_FOLLOWED));
        break;
    case FREEZING:
        assert_true(node_rig_until_phase(r, 0, home, OUT_FREEZING));
        break;
    case FINAL:
        assert_true(node_rig_until_kept(r, MSG_READY));
        break;
    case TRANSFERRING:
    case TRANSFERRED:
        assert_true(node_rig_until_asked(r, 0, COORD_TRANSFER));
        node_rig_pass(r, 2);
        break;
    case COMMITTING:
        assert_true(node_rig_until_kept(r, MSG_COMMIT));
        break;
    case MOMENTS:
        break;
    }
}

/* What was kept for the moment's sake goes its way. */
static void go_on(struct node_rig *r)
{
    struct owned *o = node_rig_owned(r, 0, home);
    r->kept = 0;
    r->silent = false;
    for (unsigned k = 0; k < NRIG_NODES; k++)
        node_rig_redis(r, k, FATE_DONE);
    if (o && o->out && o->out->phase == OUT_FOLLOWED && o->out->follow_only)
        handoff_promote_to(r->node[0].node, o);
}

static void nothing(struct node_rig *r)
{
    go_on(r);
}

static void the_target_dies(struct node_rig *r)
{
    node_rig_kill(r, 1);
    node_rig_pass(r, 2);
    go_on(r);
}

static void the_source_dies(struct node_rig *r)
{
    node_rig_kill(r, 0);
    node_rig_pass(r, 2);
    go_on(r);
}

static void both_die(struct node_rig *r)
{
    node_rig_kill(r, 0);
    node_rig_kill(r, 1);
    go_on(r);
}

static void the_target_dies_and_starts_again(struct node_rig *r)
{
    node_rig_kill(r, 1);
    go_on(r);
    node_rig_start(r, 1);
}

static void pause_of(struct node_rig *r, unsigned k, unsigned ms, bool cut)
{
    node_rig_pause(r, k);
    go_on(r);
    for (unsigned other = 0; cut && other <= NRIG_NODES; other++) {
        if (other != k)
            node_rig_part(r, k, other, ms);
    }
    node_rig_pass(r, ms);
    node_rig_wake(r, k);
}

static void the_target_pauses_shortly(struct node_rig *r)
{
    pause_of(r, 1, 300, false);
}

static void the_source_pauses_shortly(struct node_rig *r)
{
    pause_of(r, 0, 300, false);
}

static void the_target_pauses(struct node_rig *r)
{
    pause_of(r, 1, 1500, false);
}

static void the_source_pauses(struct node_rig *r)
{
    pause_of(r, 0, 1500, false);
}

static void the_target_hangs_longer_than_its_lease(struct node_rig *r)
{
    pause_of(r, 1, 9000, true);
}

static void the_source_hangs_longer_than_its_lease(struct node_rig *r)
{
    pause_of(r, 0, 9000, true);
}

static void the_wire_is_silent(struct node_rig *r)
{
    r->silent = true;
    node_rig_pass(r, 2500);
    go_on(r);
}

static void the_link_is_torn(struct node_rig *r)
{
    node_rig_cut(r, 0, 1);
    go_on(r);
}

static void the_nodes_are_parted(struct node_rig *r)
{
    node_rig_part(r, 0, 1, 6000);
    go_on(r);
    node_rig_pass(r, 6000);
}

static void redis_is_cut_off(struct node_rig *r, unsigned k, enum fate f, unsigned ms)
{
    go_on(r);
    node_rig_redis(r, k, f);
    node_rig_pass(r, ms);
}

static void the_source_loses_redis(struct node_rig *r)
{
    redis_is_cut_off(r, 0, FATE_LOST, 1000);
}

static void the_source_does_not_hear_redis(struct node_rig *r)
{
    redis_is_cut_off(r, 0, FATE_UNHEARD, 1000);
}

static void the_target_does_not_hear_redis(struct node_rig *r)
{
    redis_is_cut_off(r, 1, FATE_UNHEARD, 1000);
}

static void the_source_loses_redis_for_longer_than_its_lease(struct node_rig *r)
{
    redis_is_cut_off(r, 0, FATE_LOST, 9000);
}

static void everybody_loses_redis(struct node_rig *r)
{
    go_on(r);
    for (unsigned k = 0; k < NRIG_NODES; k++)
        node_rig_redis(r, k, FATE_LOST);
    node_rig_pass(r, 5000);
}

static void redis_comes_back_empty(struct node_rig *r)
{
    model_redis_restart_empty(r->redis);
    go_on(r);
}

static void the_target_is_told_to_leave(struct node_rig *r)
{
    node_stop(r->node[1].node, 30000);
    go_on(r);
}

static void the_source_is_told_to_leave(struct node_rig *r)
{
    node_stop(r->node[0].node, 30000);
    go_on(r);
}

static void both_are_told_to_leave(struct node_rig *r)
{
    node_stop(r->node[0].node, 30000);
    node_stop(r->node[1].node, 30000);
    go_on(r);
}

static void the_source_dies_unheard(struct node_rig *r)
{
    r->node[0].redis[COORD_TRANSFER] = FATE_UNHEARD;
    r->node[0].redis[COORD_APPEND] = FATE_UNHEARD;
    node_rig_pass(r, 1);
    node_rig_kill(r, 0);
    go_on(r);
}

/* What is sent between nodes comes in lumps, late. */
static void the_link_is_slow(struct node_rig *r)
{
    go_on(r);
    for (unsigned k = 0; k < 20; k++) {
        r->silent = true;
        node_rig_pass(r, 60);
        r->silent = false;
        node_rig_pass(r, 2);
    }
}

static void the_target_refuses(struct node_rig *r)
{
    node_drain(r->node[1].node);
    go_on(r);
    node_rig_pass(r, 5);
    struct owned *o = node_rig_owned(r, 0, home);
    if (o && !o->out && o->state == OWN_SERVING)
        node_rig_offer(r, 0, 1, home, false);
    node_rig_pass(r, 20);
    node_undrain(r->node[1].node);
}

static void another_move_crosses(struct node_rig *r)
{
    struct cell_pos other = {1, 0};
    go_on(r);
    assert_true(node_rig_enter(r, other, 1));
    assert_true(node_rig_offer(r, 1, 0, other, false));
    assert_true(node_rig_until_serving(r, 0, other));
}

static void the_cell_moves_back(struct node_rig *r)
{
    go_on(r);
    struct owned *o = node_rig_owned(r, 0, home);
    if (o && o->out && o->out->follow_only) { /* a copy that is not whole yet */
        assert_true(node_rig_until_phase(r, 0, home, OUT_FOLLOWED));
        go_on(r);
    }
    for (unsigned from = 1; from < 4; from++) {
        assert_true(node_rig_until_serving(r, from % 2, home));
        assert_true(node_rig_offer(r, from % 2, !(from % 2), home, false));
    }
}

static void redis_goes_back(struct node_rig *r)
{
    struct model_redis *older = model_redis_copy(r->redis);
    node_rig_pass(r, 10);
    node_rig_redis_went_back(r, older);
    go_on(r);
}

typedef void trouble_fn(struct node_rig *r);
static const struct trouble {
    const char *name;
    trouble_fn *strike;
} troubles[] = {
#define TROUBLE(f)                                                                                                     \
    {                                                                                                                  \
#f, f                                                                                                          \
    }
    TROUBLE(nothing),
    TROUBLE(the_target_dies),
    TROUBLE(the_source_dies),
    TROUBLE(both_die),
    TROUBLE(the_source_dies_unheard),
    TROUBLE(the_target_dies_and_starts_again),
    TROUBLE(the_target_pauses_shortly),
    TROUBLE(the_source_pauses_shortly),
    TROUBLE(the_target_pauses),
    TROUBLE(the_source_pauses),
    TROUBLE(the_target_hangs_longer_than_its_lease),
    TROUBLE(the_source_hangs_longer_than_its_lease),
    TROUBLE(the_wire_is_silent),
    TROUBLE(the_link_is_torn),
    TROUBLE(the_nodes_are_parted),
    TROUBLE(the_source_loses_redis),
    TROUBLE(the_source_does_not_hear_redis),
    TROUBLE(the_target_does_not_hear_redis),
    TROUBLE(the_source_loses_redis_for_longer_than_its_lease),
    TROUBLE(everybody_loses_redis),
    TROUBLE(redis_comes_back_empty),
    TROUBLE(the_target_is_told_to_leave),
    TROUBLE(the_source_is_told_to_leave),
    TROUBLE(both_are_told_to_leave),
    TROUBLE(the_link_is_slow),
    TROUBLE(the_target_refuses),
    TROUBLE(another_move_crosses),
    TROUBLE(the_cell_moves_back),
    TROUBLE(redis_goes_back),
};
enum { TROUBLES = sizeof troubles / sizeof *troubles };

struct broken {
    const struct trouble *trouble;
    enum moment moment;
    char name[120];
};
static struct broken broken[TROUBLES * MOMENTS];

static void one_owner_and_every_row(void **state)
{
    const struct broken *b = *state;
    struct node_rig *r = settled();
    bring_to(r, b->moment);
    b->trouble->strike(r);
    node_rig_pass(r, 300);
    assert_true(node_rig_check(r));
    node_rig_free(r);
}

/* Redis is as it was a moment before the offer, or before the phase. */
static void redis_went_back(void **state)
{
    const struct broken *b = *state;
    for (unsigned behind = 0; behind < 2; behind++) {
        struct node_rig *r = settled();
        struct model_redis *older = behind ? model_redis_copy(r->redis) : NULL;
        node_rig_pass(r, 30);
        bring_to(r, b->moment);
        older = older ? older : model_redis_copy(r->redis);
        if (!behind)
            node_rig_pass(r, 20);
        node_rig_redis_went_back(r, older);
        go_on(r);
        node_rig_pass(r, 300);
        assert_true(node_rig_check(r));
        node_rig_free(r);
    }
}

/* The same troubles at any moment: nobody stops the world for them. HANDOFF_RUNS=n: so many of each. */
static void at_any_moment(void **state)
{
    const struct trouble *t = *state;
    const char *runs = getenv("HANDOFF_RUNS");
    struct rng rng;
    rng_seed(&rng, 1);
    for (unsigned k = runs ? (unsigned)atoi(runs) : RUNS; k > 0; k--) {
        struct node_rig *r = settled();
        node_rig_pass(r, rng_below(&rng, 30));
        assert_true(node_rig_offer(r, 0, 1, home, rng_below(&rng, 4) == 0));
        node_rig_pass(r, rng_below(&rng, 40));
        t->strike(r);
        node_rig_pass(r, rng_below(&rng, 500));
        assert_true(node_rig_check(r));
        node_rig_free(r);
    }
}

int main(void)
{
    enum { OTHERS = 32, NAME_BYTES = 120 };
    alarm(240);
    log_set_fd(getenv("LOG") ? 2 : -1);
    log_set_level(getenv("LOG") ? LOG_DEBUG : LOG_ERROR);
    const struct CMUnitTest named[] = {
        cmocka_unit_test_setup_teardown(a_cell_moves_and_its_players_do_not_notice, setup, teardown),
        cmocka_unit_test_setup_teardown(players_go_along_with_name_and_place, setup, teardown),
        cmocka_unit_test_setup_teardown(the_same_cell_moves_back_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cell_that_very_many_built_in_moves, setup, teardown),
        cmocka_unit_test_setup_teardown(two_moves_cross, setup, teardown),
        cmocka_unit_test_setup_teardown(many_cells_move_at_once_and_few_are_frozen, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refusal_leaves_the_cell_where_it_is, setup, teardown),
        cmocka_unit_test_setup_teardown(batches_that_follow_a_copy_take_room_on_the_link, setup, teardown),
        cmocka_unit_test_setup_teardown(a_freeze_that_comes_to_nothing_is_measured_too, setup, teardown),
        cmocka_unit_test_setup_teardown(a_gap_between_batches_makes_the_target_give_up, setup, teardown),
        cmocka_unit_test_setup_teardown(a_follower_takes_over_without_reading_the_stores_rows, setup, teardown),
        cmocka_unit_test_setup_teardown(a_journal_trimmed_past_the_copy_means_the_store, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cell_that_was_released_is_read_from_the_store_although_a_copy_is_here, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_late_flush_of_the_source_changes_nothing, setup, teardown),
    };
    static struct CMUnitTest tests[OTHERS + MOMENTS * (TROUBLES + 1) + TROUBLES];
    static char any[TROUBLES][NAME_BYTES];
    static struct broken back[MOMENTS];
    const char *only = getenv("ONLY");
    size_t n = 0, count = 0;
    for (size_t k = 0; k < sizeof named / sizeof *named; k++) {
        if (!only || strcmp(named[k].name, only) == 0)
            tests[n++] = named[k];
    }
    for (unsigned t = 0; t < TROUBLES; t++) {
        for (unsigned m = 0; m < MOMENTS; m++) {
            struct broken *b = &broken[count++];
            *b = (struct broken){.trouble = &troubles[t], .moment = (enum moment)m};
            snprintf(b->name, sizeof b->name, "%s_while_%s", troubles[t].name, moment_name[m]);
            if (!only || strcmp(b->name, only) == 0)
                tests[n++] =
                    (struct CMUnitTest){.name = b->name, .test_func = one_owner_and_every_row, .initial_state = b};
        }
    }
    for (unsigned t = 0; t < TROUBLES; t++) {
        snprintf(any[t], sizeof any[t], "%s_at_any_moment", troubles[t].name);
        if (!only || strcmp(any[t], only) == 0)
            tests[n++] = (struct CMUnitTest){
                .name = any[t], .test_func = at_any_moment, .initial_state = (void *)(uintptr_t)&troubles[t]};
    }
    for (unsigned m = 0; m < MOMENTS; m++) {
        back[m].moment = (enum moment)m;
        snprintf(back[m].name, sizeof back[m].name, "redis_went_back_while_%s", moment_name[m]);
        if (!only || strcmp(back[m].name, only) == 0)
            tests[n++] =
                (struct CMUnitTest){.name = back[m].name, .test_func = redis_went_back, .initial_state = &back[m]};
    }
    int failed = _cmocka_run_group_tests("handoff", tests, n, NULL, NULL);
    metrics_free();
    return failed;
}
