/* test_msg.c - every message of the schema goes through bytes and back; nothing out of range gets in.
 *
 * tests/golden/ holds the bytes of each message as schema 1 wrote them, and of those that a later schema changed, as
 * that one writes them: what an older process sends must stay readable. They are written once, when a schema is
 * released, by `GOLDEN_WRITE=1 <this program>` in the top folder; a test that fails on them means that a released
 * number was changed, not that the files are old. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cluster.pb-c.h"
#include "proto/wire/msg.h"

#define COUNT(a) ((unsigned)(sizeof(a) / sizeof((a)[0])))

/* ---- one sample of each kind, every field said ---- */

static struct row sample_rows[] = {
    {.at = {-1, 12, 130}, .kind = ROW_BLOCK, .w = 16, .key = KEY_MAX, .rev = UINT64_MAX, .author = {7, 9}, .seq = 3},
    {.at = {-1, 12, 130}, .kind = ROW_LIGHT, .w = 15, .rev = 4},
    {.at = {-1, 12, 130}, .kind = ROW_SIGN, .face = 7, .text = "hello, world", .rev = 5},
    {.at = {-1, 12, 130}, .kind = ROW_SIGN, .face = 0, .text = "", .rev = 6},
};
static const struct cell_pos sample_cell = {-1, 1};

static struct msg_want sample_wants[] = {
    {.cell = {-1, 1}, .presence = true, .resume = true, .redirected = true, .epoch = 7, .rev = 1ull << 40},
    {.cell = {8388607, -8388608}},
};
static struct cell_pos sample_cells[] = {{0, 0}, {-3, 4}};
static struct edit sample_edits[] = {
    {.session = {1, 2}, .seq = 9, .floor = 4, .kind = ROW_BLOCK, .w = -5, .at = {1, 300, -1}},
    {.session = {1, 2}, .seq = 10, .floor = 4, .kind = ROW_LIGHT, .w = 15, .at = {1, 2, -1}},
    {.session = {1, 3}, .seq = 1, .floor = 0, .kind = ROW_SIGN, .face = 200, .at = {1, 2, -1}, .text = "a sign"},
};
static struct msg_move sample_moves[] = {
    {.session = {1, 2}, .count = 77, .place = {1, 2, 3, 4, 5}, .cell = {0, 0}},
    {.session = {1, 3}, .count = 78, .place = {-536870912.0f, 2, 536870912.0f, 0, 0}, .cell = {-1, 1}},
};
static struct msg_grant sample_grants[] = {{{-1, 1}, 7, 8}, {{0, 0}, 1, 0}};
static struct msg_where sample_where[] = {{{-1, 1}, 5, 6, 7}, {{0, 0}, 0, 0, 0}};
static struct edit_result sample_results[] = {
    {.session = {1, 2}, .seq = 9, .outcome = EDIT_ACCEPTED, .cell = {-1, 1}, .epoch = 3, .rev = 4},
    {.session = {1, 2},
     .seq = 10,
     .outcome = EDIT_REFUSED,
     .reason = REFUSED_OCCUPIED,
     .cell = {-1, 1},
     .epoch = 3,
     .rev = 4,
     .rows = sample_rows,
     .n_rows = COUNT(sample_rows)},
    {.session = {1, 2}, .seq = 5, .outcome = EDIT_WANTED, .cell = {-1, 1}, .epoch = 3},
};
static struct msg_player sample_players[] = {
    {.player = 4, .session = {1, 2}, .count = 77, .place = {1, 2, 3, 4, 5}, .nick = "ann"},
    {.player = 5, .session = {1, 3}, .count = 1, .place = {1, 2, 3, 4, 5}, .nick = ""},
};
static uint32_t sample_left[] = {9, 4000000000u};
static struct msg_in_cell sample_in_cells[] = {
    {.cell = {-1, 1}, .epoch = 3, .all = true, .players = sample_players, .n_players = 2},
    {.cell = {0, 0}, .epoch = 4, .left = sample_left, .n_left = 2},
};

static const uint8_t sample_bytes[] = {1, 2, 0, 255};
static struct msg_enter sample_along[] = {
    {{1, 2}, 4, "ann", "ann@home", 3, 4, {-0.5f, 12.25f, 130.5f, 6.28f, -1.5f}, {-1, 1}},
    {{1, 3}, 5, "bob", "", 0, 1, {1, 2, 3, 4, 5}, {-1, 1}},
};

static const struct msg samples[] = {
    {.kind = MSG_HELLO,
     .hello = {.world = "w", .cell_chunks = 4, .role = ROLE_NODE, .incarnation = 99, .schema = 1, .nonce = {1, 2, 3}}},
    {.kind = MSG_PROOF, .mac = {0, 1, 2, 255}},
    {.kind = MSG_PING, .stamp = 12345678901234567ull},
    {.kind = MSG_PONG, .stamp = 1},
    {.kind = MSG_UNSUPPORTED, .unsupported = 77},
    {.kind = MSG_SUBSCRIBE, .request_id = 1ull << 63, .subscribe = {sample_wants, COUNT(sample_wants)}},
    {.kind = MSG_UNSUBSCRIBE, .unsubscribe = {sample_cells, COUNT(sample_cells)}},
    {.kind = MSG_EDITS, .edits = {sample_edits, COUNT(sample_edits)}},
    {.kind = MSG_CHUNK_GET, .chunk_get = {.cell = {-1, 1}, .chunk = {0, 4}, .key = 6}},
    {.kind = MSG_ENTER, .enter = {{1, 2}, 4, "ann", "ann@home", 3, 4, {-0.5f, 12.25f, 130.5f, 6.28f, -1.5f}, {-1, 1}}},
    {.kind = MSG_MOVES, .moves = {sample_moves, COUNT(sample_moves)}},
    {.kind = MSG_LEAVE, .leave = {{1, 2}, {-1, 1}, true}},
    {.kind = MSG_PLACE_GET, .place_get = {"ann@home"}},
    {.kind = MSG_CHAT, .chat = {.cell = {-1, 1}, .gate = 1, .to = "bob", .text = "hi, there"}},
    {.kind = MSG_SUBSCRIBED, .subscribed = {sample_grants, COUNT(sample_grants)}},
    {.kind = MSG_NOT_MINE, .not_mine = {sample_where, COUNT(sample_where)}},
    {.kind = MSG_RESULTS, .results = {sample_results, COUNT(sample_results)}},
    {.kind = MSG_ROWS, .rows = {{-1, 1}, 3, 6, true, sample_rows, COUNT(sample_rows)}},
    {.kind = MSG_CHUNK_PART, .chunk_part = {{{-1, 1}, 3, 6, {0, 4}, KEY_MAX, true}, sample_rows, COUNT(sample_rows)}},
    {.kind = MSG_PRESENCE, .presence = {sample_in_cells, COUNT(sample_in_cells)}},
    {.kind = MSG_PLACE_IS, .place_is = {true, 8, {-0.5f, 12.25f, 130.5f, 6.28f, -1.5f}}},
    {.kind = MSG_OFFER, .handoff = {.no = 1ull << 63, .offer = {{-1, 1}, 7, 1ull << 40, 3, true, LOAD_MAX}}},
    {.kind = MSG_OFFER_ANSWER, .handoff = {.no = 5, .answer = OFFER_HELD}},
    {.kind = MSG_COPY, .handoff = {.no = 5, .copy = {sample_rows, COUNT(sample_rows)}}},
    {.kind = MSG_COPY_END,
     .handoff = {.no = 5, .copy_end = {9, 1ull << 40, 2, 6, 8, KEY_MAX, sample_bytes, sizeof sample_bytes}}},
    {.kind = MSG_FOLLOW, .handoff = {.no = 5, .follow = {7, 9, sample_bytes, sizeof sample_bytes}}},
    {.kind = MSG_STORED, .handoff = {.no = 5, .stored = {7, 8, 1ull << 40}}},
    {.kind = MSG_FINAL, .handoff = {.no = 5, .n = 9}},
    {.kind = MSG_READY, .handoff = {.no = 5, .n = UINT64_MAX}},
    {.kind = MSG_COMMIT, .handoff = {.no = 5, .commit = {8, sample_along, COUNT(sample_along)}}},
    {.kind = MSG_ABORT, .handoff = {.no = 5, .reason = "no answer"}},
    {.kind = MSG_GOT, .handoff = {.no = 5, .pieces = 12}},
    {.kind = MSG_STATUS_GET, .request_id = 5, .control = {.cells = true}},
    {.kind = MSG_STATUS_IS, .control = {.status = {(const uint8_t *)"{\"cells\":1}", 11, true}}},
    {.kind = MSG_MOVE_CELL, .control = {.move = {{-1, 1}, 1ull << 63}}},
    {.kind = MSG_DRAIN, .request_id = 6},
    {.kind = MSG_UNDRAIN, .request_id = 7},
    {.kind = MSG_DONE, .request_id = 8, .control = {.done = {DONE_NO_TARGET, "it is leaving"}}},
};

/* What schema 1 said otherwise: an offer without the cell's load. */
static const struct msg older_samples[] = {
    {.kind = MSG_OFFER, .handoff = {.no = 1ull << 63, .offer = {{-1, 1}, 7, 1ull << 40, 3, true, 0}}},
};

static const struct msg *sample(enum msg_kind kind)
{
    for (unsigned k = 0; k < COUNT(samples); k++)
        if (samples[k].kind == kind)
            return &samples[k];
    fail_msg("no sample of %s", msg_name(kind));
    return NULL;
}

static void assert_same_blob(const struct blob *a, const struct blob *b)
{
    assert_int_equal(a->len, b->len);
    assert_memory_equal(a->data, b->data, a->len);
}

static int make_arena(void **state)
{
    *state = arena_new();
    return 0;
}

static int free_arena(void **state)
{
    arena_free(*state);
    return 0;
}

/* ---- what goes in comes out ---- */

static void every_message_survives_the_wire(void **state)
{
    struct arena *a = *state;
    for (unsigned k = 0; k < COUNT(samples); k++) {
        struct blob *sent = msg_encode(&samples[k]);
        struct msg got;
        const char *why = "";
        assert_string_equal((msg_decode(sent->data, sent->len, a, &got, &why), why), "");
        assert_int_equal(got.kind, samples[k].kind);
        assert_true(got.request_id == samples[k].request_id);
        struct blob *again = msg_encode(&got);
        assert_same_blob(sent, again);
        blob_unref(sent);
        blob_unref(again);
    }
}

static void rows_keep_every_field(void **state)
{
    struct blob *b = msg_encode(sample(MSG_ROWS));
    struct msg m;
    const char *why;
    assert_int_equal(msg_decode(b->data, b->len, *state, &m, &why), ERR_OK);
    assert_int_equal(m.rows.n, COUNT(sample_rows));
    assert_true(cell_eq(m.rows.cell, sample_cell) && m.rows.epoch == 3 && m.rows.rev == 6 && m.rows.resumed);
    for (unsigned k = 0; k < m.rows.n; k++) {
        const struct row *want = &sample_rows[k], *got = &m.rows.rows[k];
        assert_memory_equal(&want->at, &got->at, sizeof(got->at));
        assert_int_equal(want->kind, got->kind);
        assert_int_equal(want->face, got->face);
        assert_int_equal(want->w, got->w);
        assert_int_equal(want->key, got->key);
        assert_true(want->rev == got->rev && want->seq == got->seq && session_eq(want->author, got->author));
        assert_int_equal(!want->text, !got->text);
        if (want->text)
            assert_string_equal(want->text, got->text);
    }
    blob_unref(b);
}

static void edits_keep_every_field(void **state)
{
    struct blob *b = msg_encode(sample(MSG_EDITS));
    struct msg m;
    const char *why;
    assert_int_equal(msg_decode(b->data, b->len, *state, &m, &why), ERR_OK);
    const struct edit *e = m.edits.edits;
    assert_true(e[0].session.gate == 1 && e[0].session.count == 2 && e[0].seq == 9 && e[0].floor == 4);
    assert_true(e[0].at.x == 1 && e[0].at.y == 300 && e[0].at.z == -1 && e[0].w == -5 && !e[0].text);
    assert_int_equal(e[2].face, 200);
    assert_string_equal(e[2].text, "a sign");
    blob_unref(b);
}

static void presence_keeps_every_field(void **state)
{
    struct blob *b = msg_encode(sample(MSG_PRESENCE));
    struct msg m;
    const char *why;
    assert_int_equal(msg_decode(b->data, b->len, *state, &m, &why), ERR_OK);
    assert_int_equal(m.presence.n, 2);
    const struct msg_in_cell *c = m.presence.cells;
    assert_true(c[0].all && !c[1].all && c[0].epoch == 3 && c[0].n_players == 2 && c[1].n_left == 2);
    assert_int_equal(c[1].left[1], 4000000000u);
    assert_string_equal(c[0].players[0].nick, "ann");
    assert_true(c[0].players[0].player == 4 && c[0].players[0].count == 77 && c[0].players[0].place.ry == 5.0f);
    blob_unref(b);
}

static void a_handoff_keeps_every_field(void **state)
{
    struct msg m;
    const char *why;
    struct blob *b = msg_encode(sample(MSG_COPY_END));
    assert_int_equal(msg_decode(b->data, b->len, *state, &m, &why), ERR_OK);
    const struct msg_copy_end *end = &m.handoff.copy_end;
    assert_true(m.handoff.no == 5 && end->n == 9 && end->rev == 1ull << 40 && end->generation == 2);
    assert_true(end->stored_epoch == 6 && end->stored_n == 8 && end->key_floor == KEY_MAX);
    assert_int_equal(end->seen_bytes, sizeof sample_bytes);
    assert_memory_equal(end->seen, sample_bytes, sizeof sample_bytes);
    blob_unref(b);
    b = msg_encode(sample(MSG_FOLLOW));
    assert_int_equal(msg_decode(b->data, b->len, *state, &m, &why), ERR_OK);
    assert_true(m.handoff.follow.epoch == 7 && m.handoff.follow.n == 9);
    assert_int_equal(m.handoff.follow.batch_bytes, sizeof sample_bytes);
    assert_memory_equal(m.handoff.follow.batch, sample_bytes, sizeof sample_bytes);
    blob_unref(b);
    b = msg_encode(sample(MSG_COMMIT));
    assert_int_equal(msg_decode(b->data, b->len, *state, &m, &why), ERR_OK);
    const struct msg_commit *c = &m.handoff.commit;
    assert_true(c->epoch == 8 && c->n_players == 2 && c->players[1].player == 5 && c->players[0].count == 4);
    assert_string_equal(c->players[0].account, "ann@home");
    assert_true(c->players[0].visit == 3 && c->players[0].place.y == 12.25f);
    blob_unref(b);
}

/* A node that weighs a cell wrongly must not break the link to its target in the middle of a drain. */
static void a_load_beyond_the_limit_is_cut_by_its_sender(void **state)
{
    struct msg m = *sample(MSG_OFFER), got;
    m.handoff.offer.load = UINT32_MAX;
    struct blob *b = msg_encode(&m);
    const char *why;
    assert_int_equal(msg_decode(b->data, b->len, *state, &got, &why), ERR_OK);
    assert_int_equal(got.handoff.offer.load, LOAD_MAX);
    blob_unref(b);
}

/* Player's text reaches every client as it can show it, and never makes a message that is refused. */
static void chat_is_made_printable_and_cut(void **state)
{
    char text[CHAT_MAX + 50];
    memset(text, 'x', sizeof(text));
    text[0] = '\xe9';
    text[1] = '\n';
    text[sizeof(text) - 1] = 0;
    struct msg m = *sample(MSG_CHAT), got;
    m.chat.text = text;
    struct blob *b = msg_encode(&m);
    const char *why;
    assert_int_equal(msg_decode(b->data, b->len, *state, &got, &why), ERR_OK);
    assert_int_equal(strlen(got.chat.text), CHAT_MAX);
    assert_memory_equal(got.chat.text, "??xx", 4);
    blob_unref(b);
}

/* The owner refuses it for its length, so its whole length need not travel. */
static void an_overlong_sign_stays_too_long(void **state)
{
    char text[200];
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = 0;
    struct edit e = sample_edits[2];
    e.text = text;
    struct msg m = {.kind = MSG_EDITS, .edits = {&e, 1}}, got;
    struct blob *b = msg_encode(&m);
    const char *why;
    assert_int_equal(msg_decode(b->data, b->len, *state, &got, &why), ERR_OK);
    assert_int_equal(strlen(got.edits.edits[0].text), SIGN_TEXT_MAX + 1);
    blob_unref(b);
}

/* A block at y = 0 cannot exist, so its refusal has nothing to show. */
static void a_refusal_outside_the_world_has_no_rows(void **state)
{
    struct row row = {.at = {0, 0, 0}, .kind = ROW_BLOCK, .w = 3};
    struct edit_result r = sample_results[1];
    r.reason = REFUSED_COORDS;
    r.rows = &row;
    r.n_rows = 1;
    struct msg m = {.kind = MSG_RESULTS, .results = {&r, 1}}, got;
    struct blob *b = msg_encode(&m);
    const char *why;
    assert_int_equal(msg_decode(b->data, b->len, *state, &got, &why), ERR_OK);
    assert_int_equal(got.results.results[0].reason, REFUSED_COORDS);
    assert_int_equal(got.results.results[0].n_rows, 0);
    blob_unref(b);
}

/* ---- what must not come in ---- */

static enum err decode_pb(struct arena *a, const Spotcraft__Envelope *e, struct msg *out, const char **why)
{
    size_t len = spotcraft__envelope__get_packed_size(e);
    uint8_t *bytes = arena_alloc(a, len);
    spotcraft__envelope__pack(e, bytes);
    return msg_decode(bytes, len, a, out, why);
}

/* The sample of a kind as protobuf, to spoil one value of it. */
static Spotcraft__Envelope *unpack_sample(enum msg_kind kind)
{
    struct blob *b = msg_encode(sample(kind));
    Spotcraft__Envelope *e = spotcraft__envelope__unpack(NULL, b->len, b->data);
    blob_unref(b);
    assert_non_null(e);
    return e;
}

static void set_text(char **field, const char *text)
{
    if (*field != protobuf_c_empty_string)
        free(*field);
    *field = strdup(text);
}

#define SPOIL(name, what)                                                                                              \
    static void spoil_##name(Spotcraft__Envelope *e)                                                                   \
    {                                                                                                                  \
        what;                                                                                                          \
    }
SPOIL(world_empty, e->hello->world[0] = 0)
SPOIL(world_bytes, set_text(&e->hello->world, "w\xc3\xa9"))
SPOIL(role, e->hello->role = 4)
SPOIL(incarnation, e->hello->incarnation = 0)
SPOIL(nonce, e->hello->nonce.len = 15)
SPOIL(mac, e->proof->mac.len = 31)
SPOIL(want_cell, e->subscribe->wants[0]->cell->i = 8388608)
SPOIL(unsubscribe_cell, e->unsubscribe->cells[1]->j = INT32_MIN)
SPOIL(edit_gate, e->edits->edits[0]->session->gate = 0)
SPOIL(edit_seq, e->edits->edits[0]->seq = 0)
SPOIL(edit_floor, e->edits->edits[0]->floor = 10)
SPOIL(edit_kind, e->edits->edits[0]->kind = 3)
SPOIL(edit_kind_wrapped, e->edits->edits[0]->kind = 256)
SPOIL(edit_face, e->edits->edits[0]->face = 256)
SPOIL(edit_x, e->edits->edits[0]->x = INT32_MAX)
SPOIL(edit_z, e->edits->edits[0]->z = INT32_MIN)
SPOIL(edit_text, set_text(&e->edits->edits[2]->text, "\x80"))
SPOIL(get_chunk, e->chunk_get->p = INT32_MAX)
SPOIL(get_far_chunk, e->chunk_get->p = 1)
SPOIL(get_key, e->chunk_get->key = (uint32_t)KEY_MAX + 1)
SPOIL(enter_nick, e->enter->nick[0] = 0)
SPOIL(enter_nick_long, set_text(&e->enter->nick, "abcdefghijklmnopqrstuvwxyz012345"))
SPOIL(enter_account, set_text(&e->enter->account, "a\x1b"))
SPOIL(enter_nan, e->enter->pos->x = NAN)
SPOIL(enter_look, e->enter->pos->rx = INFINITY)
SPOIL(move_far, e->moves->moves[0]->pos->z = 6e8f)
SPOIL(leave_gate, e->leave->session->gate = 0)
SPOIL(account_empty, e->place_get->account[0] = 0)
SPOIL(chat_to, set_text(&e->chat->to, "a\nb"))
SPOIL(chat_text, set_text(&e->chat->text, "\x7f"))
SPOIL(grant_cell, e->subscribed->grants[0]->cell->j = 8388608)
SPOIL(where_cell, e->not_mine->where[0]->cell->j = -8388609)
SPOIL(outcome_zero, e->results->results[0]->outcome = 0)
SPOIL(outcome, e->results->results[0]->outcome = 5)
SPOIL(result_no_block, e->results->results[1]->rows[0]->kind = ROW_LIGHT; e->results->results[1]->rows[0]->w = 0;
      e->results->results[1]->rows[0]->key = 0)
SPOIL(result_elsewhere, e->results->results[1]->rows[1]->x = -2)
SPOIL(row_kind, e->rows->rows[0]->kind = 3)
SPOIL(row_kind_wrapped, e->rows->rows[0]->kind = 256)
SPOIL(row_w, e->rows->rows[0]->w = 64)
SPOIL(row_w_negative, e->rows->rows[0]->w = -1)
SPOIL(row_w_wrapped, e->rows->rows[0]->w = 65536)
SPOIL(row_light, e->rows->rows[1]->w = 16)
SPOIL(row_y_zero, e->rows->rows[0]->y = 0)
SPOIL(row_y, e->rows->rows[0]->y = 256)
SPOIL(row_key, e->rows->rows[0]->key = (uint32_t)KEY_MAX + 1)
SPOIL(row_face, e->rows->rows[2]->face = 8)
SPOIL(row_text, set_text(&e->rows->rows[2]->text, "0123456789012345678901234567890123456789012345678"))
SPOIL(row_block_text, set_text(&e->rows->rows[0]->text, "x"))
SPOIL(row_cell, e->rows->rows[0]->x = 0)
SPOIL(part_cell, e->chunk_part->cell->j = 9)
SPOIL(part_key, e->chunk_part->key = UINT32_MAX)
SPOIL(player_nick, set_text(&e->presence->cells[0]->players[0]->nick, "\x01"))
SPOIL(player_nan, e->presence->cells[0]->players[1]->pos->ry = NAN)
SPOIL(place_is_inf, e->place_is->pos->y = -INFINITY)
SPOIL(offer_cell, e->offer->cell->i = 8388608)
SPOIL(offer_load, e->offer->load = LOAD_MAX + 1)
SPOIL(offer_no, e->offer->no = 0)
SPOIL(offer_answer, e->offer_answer->answer = 0)
SPOIL(copy_row, e->copy->rows[0]->y = 256)
SPOIL(copy_end_key, e->copy_end->key_floor = (uint32_t)KEY_MAX + 1)
SPOIL(follow_epoch, e->follow->epoch = 0)
SPOIL(follow_n, e->follow->n = 0)
SPOIL(follow_batch, e->follow->batch.len = 0)
SPOIL(final_no, e->final->no = 0)
SPOIL(commit_epoch, e->commit->epoch = 0)
SPOIL(commit_nick, e->commit->players[1]->nick[0] = 0)
SPOIL(commit_nan, e->commit->players[0]->pos->x = NAN)
SPOIL(abort_reason, set_text(&e->abort->reason, "a\n"))
SPOIL(got_no, e->got->no = 0)
SPOIL(move_cell, e->move_cell->cell->i = 8388608)
SPOIL(move_node, e->move_cell->node = 0)
SPOIL(done_zero, e->done->result = 0)
SPOIL(done_result, e->done->result = 6)
SPOIL(done_text, set_text(&e->done->text, "\x1b[2J"))

static const struct {
    enum msg_kind kind;
    void (*spoil)(Spotcraft__Envelope *e);
    const char *why;
} spoiled[] = {
    {MSG_HELLO, spoil_world_empty, "world name"},
    {MSG_HELLO, spoil_world_bytes, "world name"},
    {MSG_HELLO, spoil_role, "unknown role"},
    {MSG_HELLO, spoil_incarnation, "incarnation missing"},
    {MSG_HELLO, spoil_nonce, "nonce length"},
    {MSG_PROOF, spoil_mac, "mac length"},
    {MSG_SUBSCRIBE, spoil_want_cell, "cell out of range"},
    {MSG_UNSUBSCRIBE, spoil_unsubscribe_cell, "cell out of range"},
    {MSG_EDITS, spoil_edit_gate, "session missing"},
    {MSG_EDITS, spoil_edit_seq, "edit sequence"},
    {MSG_EDITS, spoil_edit_floor, "edit sequence"},
    {MSG_EDITS, spoil_edit_kind, "edit out of range"},
    {MSG_EDITS, spoil_edit_kind_wrapped, "edit out of range"},
    {MSG_EDITS, spoil_edit_face, "edit out of range"},
    {MSG_EDITS, spoil_edit_x, "edit out of range"},
    {MSG_EDITS, spoil_edit_z, "edit out of range"},
    {MSG_EDITS, spoil_edit_text, "sign text"},
    {MSG_CHUNK_GET, spoil_get_chunk, "chunk out of range"},
    {MSG_CHUNK_GET, spoil_get_far_chunk, "chunk out of range"},
    {MSG_CHUNK_GET, spoil_get_key, "key out of range"},
    {MSG_ENTER, spoil_enter_nick, "nick or account"},
    {MSG_ENTER, spoil_enter_nick_long, "nick or account"},
    {MSG_ENTER, spoil_enter_account, "nick or account"},
    {MSG_ENTER, spoil_enter_nan, "place out of range"},
    {MSG_ENTER, spoil_enter_look, "place out of range"},
    {MSG_MOVES, spoil_move_far, "place out of range"},
    {MSG_LEAVE, spoil_leave_gate, "session missing"},
    {MSG_PLACE_GET, spoil_account_empty, "account"},
    {MSG_CHAT, spoil_chat_to, "chat text"},
    {MSG_CHAT, spoil_chat_text, "chat text"},
    {MSG_SUBSCRIBED, spoil_grant_cell, "cell out of range"},
    {MSG_NOT_MINE, spoil_where_cell, "cell out of range"},
    {MSG_RESULTS, spoil_outcome_zero, "outcome"},
    {MSG_RESULTS, spoil_outcome, "outcome"},
    {MSG_RESULTS, spoil_result_no_block, "rows of a result"},
    {MSG_RESULTS, spoil_result_elsewhere, "rows of a result"},
    {MSG_ROWS, spoil_row_kind, "row out of range"},
    {MSG_ROWS, spoil_row_kind_wrapped, "row out of range"},
    {MSG_ROWS, spoil_row_w, "row out of range"},
    {MSG_ROWS, spoil_row_w_negative, "row out of range"},
    {MSG_ROWS, spoil_row_w_wrapped, "row out of range"},
    {MSG_ROWS, spoil_row_light, "row out of range"},
    {MSG_ROWS, spoil_row_y_zero, "row out of range"},
    {MSG_ROWS, spoil_row_y, "row out of range"},
    {MSG_ROWS, spoil_row_key, "row out of range"},
    {MSG_ROWS, spoil_row_face, "row out of range"},
    {MSG_ROWS, spoil_row_text, "row out of range"},
    {MSG_ROWS, spoil_row_block_text, "row out of range"},
    {MSG_ROWS, spoil_row_cell, "row of another cell"},
    {MSG_CHUNK_PART, spoil_part_cell, "chunk out of range"},
    {MSG_CHUNK_PART, spoil_part_key, "key out of range"},
    {MSG_PRESENCE, spoil_player_nick, "nick"},
    {MSG_PRESENCE, spoil_player_nan, "place out of range"},
    {MSG_PLACE_IS, spoil_place_is_inf, "place out of range"},
    {MSG_OFFER, spoil_offer_cell, "cell out of range"},
    {MSG_OFFER, spoil_offer_no, "handoff number missing"},
    {MSG_OFFER, spoil_offer_load, "load out of range"},
    {MSG_OFFER_ANSWER, spoil_offer_answer, "answer missing"},
    {MSG_COPY, spoil_copy_row, "row out of range"},
    {MSG_COPY_END, spoil_copy_end_key, "key out of range"},
    {MSG_FOLLOW, spoil_follow_epoch, "batch missing"},
    {MSG_FOLLOW, spoil_follow_n, "batch missing"},
    {MSG_FOLLOW, spoil_follow_batch, "batch missing"},
    {MSG_FINAL, spoil_final_no, "handoff number missing"},
    {MSG_COMMIT, spoil_commit_epoch, "epoch missing"},
    {MSG_COMMIT, spoil_commit_nick, "nick or account"},
    {MSG_COMMIT, spoil_commit_nan, "place out of range"},
    {MSG_ABORT, spoil_abort_reason, "reason"},
    {MSG_GOT, spoil_got_no, "handoff number missing"},
    {MSG_MOVE_CELL, spoil_move_cell, "cell out of range"},
    {MSG_MOVE_CELL, spoil_move_node, "node missing"},
    {MSG_DONE, spoil_done_zero, "result"},
    {MSG_DONE, spoil_done_result, "result"},
    {MSG_DONE, spoil_done_text, "text of a result"},
};

static void a_value_out_of_range_is_refused_with_its_reason(void **state)
{
    for (unsigned k = 0; k < COUNT(spoiled); k++) {
        Spotcraft__Envelope *e = unpack_sample(spoiled[k].kind);
        spoiled[k].spoil(e);
        struct msg m;
        const char *why = "nothing";
        enum err got = decode_pb(*state, e, &m, &why);
        spotcraft__envelope__free_unpacked(e, NULL);
        assert_string_equal(why, spoiled[k].why);
        assert_int_equal(got, ERR_BAD);
    }
}

/* proto3 has no required parts: each one that is missing must be noticed, not followed as NULL. */
static void a_body_with_nothing_in_it_never_crashes(void **state)
{
    for (unsigned k = 0; k < COUNT(samples); k++) {
        const unsigned tag = (unsigned)samples[k].kind << 3 | 2;
        uint8_t bytes[4];
        size_t len = 0;
        bytes[len++] = (uint8_t)(tag < 128 ? tag : (tag & 127) | 128);
        if (tag >= 128)
            bytes[len++] = (uint8_t)(tag >> 7);
        bytes[len++] = 0;
        struct msg m;
        const char *why = "";
        enum err e = msg_decode(bytes, len, *state, &m, &why);
        if (e != ERR_OK)
            assert_true(e == ERR_BAD && why[0]);
        else /* lists may be empty; a zero stamp is a stamp */
            assert_int_equal(m.kind, samples[k].kind);
    }
}

static void lists_beyond_the_limit_are_refused(void **state)
{
    Spotcraft__Cell cell = SPOTCRAFT__CELL__INIT;
    Spotcraft__Cell *cells[MSG_ITEMS_MAX + 1];
    for (unsigned k = 0; k < COUNT(cells); k++)
        cells[k] = &cell;
    Spotcraft__Unsubscribe body = SPOTCRAFT__UNSUBSCRIBE__INIT;
    body.cells = cells;
    Spotcraft__Envelope e = SPOTCRAFT__ENVELOPE__INIT;
    e.body_case = SPOTCRAFT__ENVELOPE__BODY_UNSUBSCRIBE;
    e.unsubscribe = &body;
    struct msg m;
    const char *why;
    body.n_cells = MSG_ITEMS_MAX;
    assert_int_equal(decode_pb(*state, &e, &m, &why), ERR_OK);
    assert_int_equal(m.unsubscribe.n, MSG_ITEMS_MAX);
    body.n_cells = MSG_ITEMS_MAX + 1;
    assert_int_equal(decode_pb(*state, &e, &m, &why), ERR_BAD);
    assert_string_equal(why, "too many items");
}

/* 1 MiB of empty rows would be 100 MiB of structs. */
static void a_small_message_cannot_ask_for_much_memory(void **state)
{
    const size_t n = MSG_BYTES_MAX - 16;
    uint8_t *bytes = calloc(1, n + 5);
    size_t at = 0;
    bytes[at++] = 0x8a; /* field 33: rows */
    bytes[at++] = 0x02;
    for (size_t left = n; left > 0; left >>= 7)
        bytes[at++] = (uint8_t)(left >= 128 ? (left & 127) | 128 : left);
    for (size_t k = 0; k + 1 < n; k += 2)
        bytes[at + k] = 5 << 3 | 2;
    struct msg m;
    const char *why;
    assert_int_equal(msg_decode(bytes, at + n, *state, &m, &why), ERR_BAD);
    assert_string_equal(why, "not an envelope");
    free(bytes);
}

static void a_cut_message_never_crashes(void **state)
{
    for (unsigned k = 0; k < COUNT(samples); k++) {
        struct blob *b = msg_encode(&samples[k]);
        for (size_t len = 0; len < b->len; len++) {
            uint8_t *copy = malloc(len ? len : 1); /* exactly sized: an overrun is seen */
            memcpy(copy, b->data, len);
            struct msg m;
            const char *why = "";
            msg_decode(copy, len, *state, &m, &why);
            free(copy);
        }
        blob_unref(b);
        arena_reset(*state);
    }
}

/* Nodes are upgraded one by one: a newer one's message is answered, not punished. */
static void a_body_of_a_newer_schema_is_unsupported(void **state)
{
    const uint8_t bytes[] = {0x08, 42, 0xa2, 0x06, 0}; /* request 42, field 100 */
    struct msg m;
    const char *why;
    assert_int_equal(msg_decode(bytes, sizeof(bytes), *state, &m, &why), ERR_UNSUPPORTED);
    assert_int_equal(m.kind, 100);
    assert_int_equal(m.request_id, 42);
    assert_int_equal(msg_decode(bytes, 2, *state, &m, &why), ERR_BAD); /* nothing at all is not newer */
}

static void every_kind_has_a_name_and_every_refusal_a_text(void **state)
{
    (void)state;
    for (unsigned k = 0; k < COUNT(samples); k++)
        assert_string_not_equal(msg_name(samples[k].kind), "unknown");
    assert_string_equal(msg_name((enum msg_kind)99), "unknown");
    for (enum refusal r = REFUSED_COORDS; r < REFUSALS; r++)
        assert_int_equal(refusal_text(r)[0] == 0, r == REFUSED_SIGN);
    assert_string_equal(refusal_text(REFUSALS), "");
}

/* ---- released bytes ---- */

/* Of messages that a later schema left as they were there are schema 1's bytes alone. */
static unsigned newest_schema(enum msg_kind kind)
{
    for (unsigned k = 0; k < COUNT(older_samples); k++)
        if (older_samples[k].kind == kind)
            return 2;
    return 1;
}

static const struct msg *sample_of_schema(unsigned schema, enum msg_kind kind)
{
    for (unsigned k = 0; k < COUNT(older_samples); k++)
        if (schema == 1 && older_samples[k].kind == kind)
            return &older_samples[k];
    return sample(kind);
}

static const char *golden_path(char out[128], unsigned schema, enum msg_kind kind)
{
    snprintf(out, 128, "tests/golden/schema%u_%s.bin", schema, msg_name(kind));
    return out;
}

static void check_golden(struct arena *a, unsigned schema, enum msg_kind kind)
{
    char path[128];
    FILE *f = fopen(golden_path(path, schema, kind), "rb");
    if (!f)
        fail_msg("%s is missing", path);
    uint8_t bytes[4096];
    size_t len = fread(bytes, 1, sizeof(bytes), f);
    fclose(f);
    struct msg m;
    const char *why = "";
    if (msg_decode(bytes, len, a, &m, &why) != ERR_OK)
        fail_msg("%s does not decode: %s", path, why);
    struct blob *got = msg_encode(&m), *want = msg_encode(sample_of_schema(schema, kind));
    assert_same_blob(got, want);
    blob_unref(got);
    blob_unref(want);
}

static void bytes_of_released_schemas_still_decode(void **state)
{
    for (unsigned k = 0; k < COUNT(samples); k++)
        for (unsigned schema = 1; schema <= newest_schema(samples[k].kind); schema++)
            check_golden(*state, schema, samples[k].kind);
}

static int write_one_golden(unsigned schema, enum msg_kind kind)
{
    char path[128];
    if (access(golden_path(path, schema, kind), F_OK) == 0)
        return 0; /* released: never written again */
    struct blob *b = msg_encode(sample_of_schema(schema, kind));
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(b->data, 1, b->len, f) != b->len || fclose(f) != 0) {
        perror(path);
        return 1;
    }
    blob_unref(b);
    return 0;
}

static int write_golden(void)
{
    for (unsigned k = 0; k < COUNT(samples); k++)
        if (write_one_golden(newest_schema(samples[k].kind), samples[k].kind) != 0)
            return 1;
    return 0;
}

int main(void)
{
    alarm(60);
    if (getenv("GOLDEN_WRITE"))
        return write_golden();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_message_survives_the_wire, make_arena, free_arena),
        cmocka_unit_test_setup_teardown(rows_keep_every_field, make_arena, free_arena),
        cmocka_unit_test_setup_teardown(edits_keep_every_field, make_arena, free_arena),
        cmocka_unit_test_setup_teardown(presence_keeps_every_field, make_arena, free_arena),
        cmocka_unit_test_setup_teardown(a_handoff_keeps_every_field, make_arena, free_arena),
        cmocka_unit_test_setup_teardown(a_load_beyond_the_limit_is_cut_by_its_sender, make_arena, free_arena),
        cmocka_unit_test_setup_teardown(chat_is_made_printable_and_cut, make_arena, free_arena),
        cmocka_unit_test_setup_teardown(an_overlong_sign_stays_too_long, make_arena, free_arena),
        cmocka_unit_test_setup_teardown(a_refusal_outside_the_world_has_no_rows, make_arena, free_arena),
        cmocka_unit_test_setup_teardown(a_value_out_of_range_is_refused_with_its_reason, make_arena, free_arena),
        cmocka_unit_test_setup_teardown(a_body_with_nothing_in_it_never_crashes, make_arena, free_arena),
        cmocka_unit_test_setup_teardown(lists_beyond_the_limit_are_refused, make_arena, free_arena),
        cmocka_unit_test_setup_teardown(a_small_message_cannot_ask_for_much_memory, make_arena, free_arena),
        cmocka_unit_test_setup_teardown(a_cut_message_never_crashes, make_arena, free_arena),
        cmocka_unit_test_setup_teardown(a_body_of_a_newer_schema_is_unsupported, make_arena, free_arena),
        cmocka_unit_test(every_kind_has_a_name_and_every_refusal_a_text),
        cmocka_unit_test_setup_teardown(bytes_of_released_schemas_still_decode, make_arena, free_arena),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
