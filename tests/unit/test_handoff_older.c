/* A handoff with a node of schema 1, of which only the bytes are left: what it said is replayed to the node of today.
 *
 * tests/golden/schema1_handoff_*.bin are the frames of one conversation, recorded when schema 1 was the newest: what
 * the source said, what the target said, and the rows that the target had in the end. tests/golden/README.md says how.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/node_rig.h"

enum { OTHER = 900, LINK = 1 << 20, LEASE_MS = 600000, FRAMES_MAX = 64, ROWS_MAX = 256, GAP_MS = 8, WAIT_MS = 5000 };

static const struct cell_pos home = {0, 0};

/* ---- what was recorded ---- */

struct words {
    struct msg msg[FRAMES_MAX];
    unsigned n;
    struct arena *arena;
};

static void add_word(struct words *w, const uint8_t *bytes, size_t len)
{
    const char *why = "";
    assert_in_range(w->n, 0, FRAMES_MAX - 1);
    if (msg_decode(bytes, len, w->arena, &w->msg[w->n++], &why) != ERR_OK)
        fail_msg("message %u does not decode: %s", w->n, why);
}

static void read_words(struct words *w, const char *who)
{
    char path[128];
    uint8_t head[4];
    snprintf(path, sizeof path, "tests/golden/schema1_handoff_%s.bin", who);
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s is missing", path);
    while (fread(head, 1, sizeof head, f) == sizeof head) {
        size_t len = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
        uint8_t *bytes = arena_alloc(w->arena, len);
        assert_int_equal(fread(bytes, 1, len, f), len);
        add_word(w, bytes, len);
    }
    fclose(f);
}

static const struct msg *find_word(const struct words *w, enum msg_kind kind)
{
    for (unsigned k = 0; k < w->n; k++)
        if (w->msg[k].kind == kind)
            return &w->msg[k];
    return NULL;
}

/* ---- a node of today, and the other that only the recording knows ---- */

struct stage {
    struct node_rig *rig;
    struct words source, target, after, heard; /* heard: what today's node says */
};

static void on_heard(void *arg, uint64_t link, struct blob *b)
{
    struct stage *s = arg;
    if (link != LINK)
        return;
    uint8_t *copy = arena_alloc(s->heard.arena, b->len);
    memcpy(copy, b->data, b->len);
    add_word(&s->heard, copy, b->len);
}

static void ask_redis(struct stage *s, struct coord_req *r)
{
    model_redis_apply(s->rig->redis, r);
    assert_int_equal(r->err, ERR_OK);
}

/* Redis knows the other as a living node. */
static void other_lives(struct stage *s)
{
    struct coord_req *r = coord_req_new(COORD_RENEW, OTHER, NULL, NULL);
    r->renew.role = ROLE_NODE;
    r->renew.ttl_ms = LEASE_MS;
    snprintf(r->renew.self.address, sizeof r->renew.self.address, "other:1");
    ask_redis(s, r);
    coord_req_free(r);
}

static void other_links(struct stage *s)
{
    node_net_events.up(s->rig->node[0].node, LINK, ROLE_NODE, OTHER);
}

static void other_says(struct stage *s, const struct msg *m)
{
    node_net_events.msg(s->rig->node[0].node, LINK, m);
    node_rig_pass(s->rig, 1);
}

static void other_in_redis(struct stage *s, enum coord_op op, struct coord_cell cell, uint64_t target)
{
    struct coord_req *r = coord_req_new(op, OTHER, NULL, NULL);
    cell.cell = home;
    *coord_req_cells(r, 1) = cell;
    r->cells.target = target;
    ask_redis(s, r);
    assert_int_equal(r->cells.cells[0].answer, CELL_TAKEN);
    coord_req_free(r);
}

struct awaited {
    struct words *heard;
    enum msg_kind kind;
};

static bool was_heard(struct node_rig *r, void *arg)
{
    const struct awaited *a = arg;
    (void)r;
    return find_word(a->heard, a->kind) != NULL;
}

static const struct msg *wait_for(struct stage *s, enum msg_kind kind)
{
    struct awaited a = {&s->heard, kind};
    assert_true(node_rig_until(s->rig, was_heard, &a, WAIT_MS, msg_name(kind)));
    return find_word(&s->heard, kind);
}

static int setup(void **state)
{
    struct node_settings set;
    struct stage *s = *state = calloc(1, sizeof *s);
    node_settings_default(&set);
    set.flush_ms = LEASE_MS; /* all batches go along, whenever the handoff comes */
    s->rig = node_rig_new_with(&set, 1);
    s->rig->stranger = on_heard;
    s->rig->stranger_arg = s;
    struct words *all[] = {&s->source, &s->target, &s->after, &s->heard};
    for (unsigned k = 0; k < 4; k++)
        all[k]->arena = arena_new();
    read_words(&s->source, "source");
    read_words(&s->target, "target");
    read_words(&s->after, "after");
    other_lives(s);
    return 0;
}

static int teardown(void **state)
{
    struct stage *s = *state;
    node_rig_free(s->rig);
    arena_free(s->source.arena);
    arena_free(s->target.arena);
    arena_free(s->after.arena);
    arena_free(s->heard.arena);
    free(s);
    return 0;
}

/* ---- rows ---- */

struct rows {
    struct row row[ROWS_MAX];
    unsigned n;
};

static void take_row(const struct row *row, void *arg)
{
    struct rows *all = arg;
    assert_in_range(all->n, 0, ROWS_MAX - 1);
    all->row[all->n++] = *row;
}

static const struct row *find_row(const struct rows *all, const struct row *like)
{
    for (unsigned k = 0; k < all->n; k++) {
        const struct row *r = &all->row[k];
        if (r->kind == like->kind && r->face == like->face && !memcmp(&r->at, &like->at, sizeof r->at))
            return r;
    }
    return NULL;
}

static void assert_rows_are(const struct rows *got, const struct row *want, unsigned n)
{
    assert_int_equal(got->n, n);
    for (unsigned k = 0; k < n; k++) {
        const struct row *r = find_row(got, &want[k]);
        assert_non_null(r);
        assert_int_equal(r->w, want[k].w);
        assert_int_equal(r->key, want[k].key);
        assert_true(r->rev == want[k].rev);
        assert_string_equal(r->text ? r->text : "", want[k].text ? want[k].text : "");
    }
}

static void rows_of(struct owned *o, struct rows *out)
{
    uint64_t cursor = 0;
    while (cell_scan(o->cell, &cursor, ROWS_MAX, take_row, out))
        ;
}

/* ---- the tests ---- */

/* The cell is the other's, as when the recording began: its journal holds every batch. */
static void other_owns_the_cell(struct stage *s, uint64_t n)
{
    struct blob *some = blob_new("batch", 5); /* Redis does not look into it, and nobody reads it */
    other_in_redis(s, COORD_CLAIM, (struct coord_cell){.epoch = 0}, 0);
    for (uint64_t k = 1; k <= n; k++)
        other_in_redis(s, COORD_APPEND, (struct coord_cell){.epoch = 1, .n = k, .batch = blob_ref(some)}, 0);
    blob_unref(some);
}

static void a_cell_comes_from_a_node_of_schema_1(void **state)
{
    struct stage *s = *state;
    static struct rows got;
    const struct msg *final = find_word(&s->source, MSG_FINAL), *commit = find_word(&s->source, MSG_COMMIT);
    const struct msg *after = find_word(&s->after, MSG_COPY);
    assert_true(final && commit && after);
    other_owns_the_cell(s, final->handoff.n);
    other_links(s);
    for (unsigned k = 0; k < s->source.n; k++) {
        const struct msg *m = &s->source.msg[k];
        if (m->kind == MSG_COMMIT) {
            const struct msg *ready = wait_for(s, MSG_READY);
            assert_true(ready->handoff.no == m->handoff.no && ready->handoff.n == final->handoff.n);
            other_in_redis(s, COORD_TRANSFER, (struct coord_cell){.epoch = 1, .n = final->handoff.n},
                           s->rig->node[0].id);
        }
        other_says(s, m);
    }
    assert_true(node_rig_until_serving(s->rig, 0, home));
    struct owned *o = node_rig_owned(s->rig, 0, home);
    assert_int_equal(o->epoch, commit->handoff.commit.epoch);
    got.n = 0;
    rows_of(o, &got);
    assert_rows_are(&got, after->handoff.copy.rows, after->handoff.copy.n);
    struct player *ann = players_find(o->players, commit->handoff.commit.players[0].session);
    assert_non_null(ann);
    assert_string_equal(ann->nick, "ann");
    assert_true(ann->visit == 3 && ann->count == 70 && ann->place.y == 80);
}

/* 13 edits were answered by the old owner. Sent again they are known, and the next one is taken. */
static void what_schema_1_acknowledged_is_not_done_twice(void **state)
{
    enum { ACKNOWLEDGED = 13 };
    struct stage *s = *state;
    a_cell_comes_from_a_node_of_schema_1(state);
    assert_true(node_rig_enter(s->rig, home, 0));
    for (unsigned k = 0; k <= ACKNOWLEDGED; k++) {
        node_rig_edit(s->rig, home);
        node_rig_pass(s->rig, GAP_MS);
        assert_true(s->rig->edits[k].answered);
        assert_int_equal(s->rig->edits[k].outcome, k < ACKNOWLEDGED ? EDIT_KNOWN : EDIT_ACCEPTED);
    }
}

static void ann_enters(struct stage *s)
{
    struct msg m = {.kind = MSG_ENTER};
    m.enter = (struct msg_enter){.session = {NRIG_GATE_ID, 5},
                                 .player = 9,
                                 .nick = "ann",
                                 .account = "ann@home",
                                 .visit = 3,
                                 .count = 70,
                                 .place = {5, 80, 6, 1, 0.5f},
                                 .cell = home};
    node_rig_say(s->rig, 0, &m);
    node_rig_pass(s->rig, GAP_MS);
}

static void a_cell_goes_to_a_node_of_schema_1(void **state)
{
    struct stage *s = *state;
    const struct msg *answer = find_word(&s->target, MSG_OFFER_ANSWER), *ready = find_word(&s->target, MSG_READY);
    assert_true(answer && ready);
    assert_true(node_rig_enter(s->rig, home, 0));
    ann_enters(s);
    struct owned *o = node_rig_owned(s->rig, 0, home);
    while (o->n < ready->handoff.n) {
        node_rig_edit(s->rig, home);
        node_rig_pass(s->rig, GAP_MS);
    }
    static struct rows want, got;
    want.n = got.n = 0;
    rows_of(o, &want);
    other_links(s);
    assert_true(handoff_offer(s->rig->node[0].node, o, OTHER, false));
    assert_true(wait_for(s, MSG_OFFER)->handoff.no == answer->handoff.no); /* else the recording does not fit */
    for (unsigned k = 0; k < s->target.n; k++) {
        if (s->target.msg[k].kind == MSG_READY)
            assert_true(wait_for(s, MSG_FINAL)->handoff.n == ready->handoff.n);
        other_says(s, &s->target.msg[k]);
    }
    const struct msg_commit *c = &wait_for(s, MSG_COMMIT)->handoff.commit;
    assert_int_equal(c->epoch, 2);
    assert_int_equal(c->n_players, 1);
    assert_string_equal(c->players[0].account, "ann@home");
    for (unsigned k = 0; k < s->heard.n; k++) {
        const struct msg *m = &s->heard.msg[k];
        for (unsigned i = 0; m->kind == MSG_COPY && i < m->handoff.copy.n; i++)
            take_row(&m->handoff.copy.rows[i], &got);
    }
    assert_rows_are(&got, want.row, want.n);
    uint64_t owner, epoch, n;
    assert_true(model_redis_cell(s->rig->redis, home, &owner, &epoch, &n));
    assert_true(owner == OTHER && epoch == 2 && n == 0);
    assert_null(node_rig_owned(s->rig, 0, home));
}

int main(void)
{
    alarm(60);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_cell_comes_from_a_node_of_schema_1, setup, teardown),
        cmocka_unit_test_setup_teardown(what_schema_1_acknowledged_is_not_done_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cell_goes_to_a_node_of_schema_1, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
