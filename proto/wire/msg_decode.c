/* msg_decode.c - bytes to struct msg: unpack, check every value, convert.
 *
 * One function per body. Each returns NULL, or what is wrong with it: a constant for the log. */
#include <string.h>

#include "proto/wire/convert.h"
#include "proto/wire/msg.h"

static const char bad_cell[] = "cell out of range";
static const char bad_session[] = "session missing";
static const char bad_place[] = "place out of range";
static const char bad_chunk[] = "chunk out of range";
static const char too_many[] = "too many items";

static const char *decode_hello(const Spotcraft__Hello *in, struct msg_hello *out)
{
    if (!in->world[0] || !text_valid(in->world, WORLD_NAME_MAX))
        return "world name";
    if (in->role != ROLE_GATEWAY && in->role != ROLE_NODE && in->role != ROLE_CONTROL)
        return "unknown role";
    if (in->incarnation == 0)
        return "incarnation missing";
    if (in->nonce.len != NONCE_BYTES)
        return "nonce length";
    *out = (struct msg_hello){.world = in->world,
                              .cell_chunks = in->cell_chunks,
                              .role = in->role,
                              .incarnation = in->incarnation,
                              .schema = in->schema};
    memcpy(out->nonce, in->nonce.data, NONCE_BYTES);
    return NULL;
}

static const char *decode_proof(const Spotcraft__Proof *in, struct msg *out)
{
    if (in->mac.len != MAC_BYTES)
        return "mac length";
    memcpy(out->mac, in->mac.data, MAC_BYTES);
    return NULL;
}

static const char *decode_subscribe(const Spotcraft__Subscribe *in, struct arena *a, struct msg *out)
{
    if (in->n_wants > MSG_ITEMS_MAX)
        return too_many;
    struct msg_want *wants = arena_alloc(a, in->n_wants * sizeof(*wants));
    for (size_t k = 0; k < in->n_wants; k++) {
        const Spotcraft__Subscribe__Want *w = in->wants[k];
        wants[k] = (struct msg_want){.presence = w->presence,
                                     .resume = w->resume,
                                     .redirected = w->redirected,
                                     .epoch = w->epoch,
                                     .rev = w->rev};
        if (!cell_from_pb(w->cell, &wants[k].cell))
            return bad_cell;
    }
    out->subscribe.wants = wants;
    out->subscribe.n = (unsigned)in->n_wants;
    return NULL;
}

static const char *decode_unsubscribe(const Spotcraft__Unsubscribe *in, struct arena *a, struct msg *out)
{
    if (in->n_cells > MSG_ITEMS_MAX)
        return too_many;
    struct cell_pos *cells = arena_alloc(a, in->n_cells * sizeof(*cells));
    for (size_t k = 0; k < in->n_cells; k++)
        if (!cell_from_pb(in->cells[k], &cells[k]))
            return bad_cell;
    out->unsubscribe.cells = cells;
    out->unsubscribe.n = (unsigned)in->n_cells;
    return NULL;
}

/* y and w stay as the client sent them: the owner refuses them, and tells the author why. */
static const char *decode_edit(const Spotcraft__Edit *in, struct edit *out)
{
    *out = (struct edit){.seq = in->seq,
                         .floor = in->floor,
                         .kind = (uint8_t)in->kind,
                         .face = (uint8_t)in->face,
                         .w = in->w,
                         .at = {in->x, in->y, in->z},
                         .text = in->kind == ROW_SIGN ? in->text : NULL};
    if (!session_from_pb(in->session, &out->session))
        return bad_session;
    if (in->seq == 0 || in->floor > in->seq)
        return "edit sequence";
    if (in->kind > ROW_SIGN || in->face > UINT8_MAX || !block_in_world(in->x, in->z))
        return "edit out of range";
    if (!text_valid(in->text, EDIT_TEXT_MAX))
        return "sign text";
    return NULL;
}

static const char *decode_edits(const Spotcraft__Edits *in, struct arena *a, struct msg *out)
{
    if (in->n_edits > MSG_ITEMS_MAX)
        return too_many;
    struct edit *edits = arena_alloc(a, in->n_edits * sizeof(*edits));
    for (size_t k = 0; k < in->n_edits; k++) {
        const char *why = decode_edit(in->edits[k], &edits[k]);
        if (why)
            return why;
    }
    out->edits.edits = edits;
    out->edits.n = (unsigned)in->n_edits;
    return NULL;
}

/* Is any block of the cell drawn in the chunk? */
static bool chunk_shows_cell(struct chunk_pos chunk, struct cell_pos cell)
{
    struct cell_pos cells[CHUNK_CELLS_MAX];
    unsigned n = chunk_cells(chunk, cells);
    for (unsigned k = 0; k < n; k++)
        if (cell_eq(cells[k], cell))
            return true;
    return false;
}

static const char *decode_chunk_pos(int32_t p, int32_t q, struct cell_pos cell, struct chunk_pos *out)
{
    *out = (struct chunk_pos){p, q};
    return chunk_in_world(*out) && chunk_shows_cell(*out, cell) ? NULL : bad_chunk;
}

static const char *decode_chunk_get(const Spotcraft__ChunkGet *in, struct msg *out)
{
    if (!cell_from_pb(in->cell, &out->chunk_get.cell))
        return bad_cell;
    if (in->key > KEY_MAX)
        return "key out of range";
    out->chunk_get.key = in->key;
    return decode_chunk_pos(in->p, in->q, out->chunk_get.cell, &out->chunk_get.chunk);
}

const char *enter_from_pb(const Spotcraft__Enter *in, struct msg_enter *out)
{
    *out = (struct msg_enter){
        .player = in->player, .nick = in->nick, .account = in->account, .visit = in->visit, .count = in->count};
    if (!session_from_pb(in->session, &out->session))
        return bad_session;
    if (!in->nick[0] || !text_valid(in->nick, NICK_MAX) || !text_valid(in->account, ACCOUNT_MAX))
        return "nick or account";
    if (!place_from_pb(in->pos, &out->place))
        return bad_place;
    return cell_from_pb(in->cell, &out->cell) ? NULL : bad_cell;
}

static const char *decode_moves(const Spotcraft__Moves *in, struct arena *a, struct msg *out)
{
    if (in->n_moves > MSG_ITEMS_MAX)
        return too_many;
    struct msg_move *moves = arena_alloc(a, in->n_moves * sizeof(*moves));
    for (size_t k = 0; k < in->n_moves; k++) {
        const Spotcraft__Move *m = in->moves[k];
        moves[k] = (struct msg_move){.count = m->count};
        if (!session_from_pb(m->session, &moves[k].session))
            return bad_session;
        if (!place_from_pb(m->pos, &moves[k].place))
            return bad_place;
        if (!cell_from_pb(m->cell, &moves[k].cell))
            return bad_cell;
    }
    out->moves.moves = moves;
    out->moves.n = (unsigned)in->n_moves;
    return NULL;
}

static const char *decode_leave(const Spotcraft__Leave *in, struct msg_leave *out)
{
    *out = (struct msg_leave){.moved_on = in->moved_on};
    if (!session_from_pb(in->session, &out->session))
        return bad_session;
    return cell_from_pb(in->cell, &out->cell) ? NULL : bad_cell;
}

static const char *decode_place_get(const Spotcraft__PlaceGet *in, struct msg *out)
{
    if (!in->account[0] || !text_valid(in->account, ACCOUNT_MAX))
        return "account";
    out->place_get.account = in->account;
    return NULL;
}

static const char *decode_place_is(const Spotcraft__PlaceIs *in, struct msg *out)
{
    out->place_is.found = in->found;
    out->place_is.visit = in->visit;
    if (!in->found)
        out->place_is.place = (struct place){0};
    else if (!place_from_pb(in->pos, &out->place_is.place))
        return bad_place;
    return NULL;
}

static const char *decode_chat(const Spotcraft__Chat *in, struct msg *out)
{
    if (!cell_from_pb(in->cell, &out->chat.cell))
        return bad_cell;
    if (!text_valid(in->to, NICK_MAX) || !text_valid(in->text, CHAT_MAX))
        return "chat text";
    out->chat.gate = in->gate;
    out->chat.to = in->to;
    out->chat.text = in->text;
    return NULL;
}

static const char *decode_subscribed(const Spotcraft__Subscribed *in, struct arena *a, struct msg *out)
{
    if (in->n_grants > MSG_ITEMS_MAX)
        return too_many;
    struct msg_grant *grants = arena_alloc(a, in->n_grants * sizeof(*grants));
    for (size_t k = 0; k < in->n_grants; k++) {
        const Spotcraft__Subscribed__Grant *g = in->grants[k];
        grants[k] = (struct msg_grant){.epoch = g->epoch, .rev = g->rev};
        if (!cell_from_pb(g->cell, &grants[k].cell))
            return bad_cell;
    }
    out->subscribed.grants = grants;
    out->subscribed.n = (unsigned)in->n_grants;
    return NULL;
}

static const char *decode_not_mine(const Spotcraft__NotMine *in, struct arena *a, struct msg *out)
{
    if (in->n_where > MSG_ITEMS_MAX)
        return too_many;
    struct msg_where *where = arena_alloc(a, in->n_where * sizeof(*where));
    for (size_t k = 0; k < in->n_where; k++) {
        const Spotcraft__NotMine__Where *w = in->where[k];
        where[k] = (struct msg_where){.owner = w->owner, .epoch = w->epoch, .redirect = w->redirect};
        if (!cell_from_pb(w->cell, &where[k].cell))
            return bad_cell;
    }
    out->not_mine.where = where;
    out->not_mine.n = (unsigned)in->n_where;
    return NULL;
}

/* A newer owner's reason is one without a text here. */
static const char *decode_result(const Spotcraft__Result *in, struct arena *a, struct edit_result *out)
{
    if (in->outcome < EDIT_ACCEPTED || in->outcome > EDIT_WANTED)
        return "outcome";
    *out = (struct edit_result){.seq = in->seq,
                                .outcome = in->outcome,
                                .reason = in->reason < REFUSALS ? in->reason : REFUSED_NOT_SAID,
                                .epoch = in->epoch,
                                .rev = in->rev};
    if (!session_from_pb(in->session, &out->session))
        return bad_session;
    if (!cell_from_pb(in->cell, &out->cell))
        return bad_cell;
    const char *why = NULL;
    if (!rows_from_pb(a, in->rows, in->n_rows, EDIT_ROWS_MAX, &out->rows, &out->n_rows, &why))
        return why;
    const struct row *first = out->rows;
    for (unsigned k = 0; k < out->n_rows; k++) {
        const struct block_pos at = out->rows[k].at;
        if ((k == 0) != (out->rows[k].kind == ROW_BLOCK) || at.x != first->at.x || at.y != first->at.y ||
            at.z != first->at.z || !cell_eq(cell_of_block(at.x, at.z), out->cell))
            return "rows of a result";
    }
    return NULL;
}

static const char *decode_results(const Spotcraft__Results *in, struct arena *a, struct msg *out)
{
    if (in->n_results > MSG_ITEMS_MAX)
        return too_many;
    struct edit_result *results = arena_alloc(a, in->n_results * sizeof(*results));
    for (size_t k = 0; k < in->n_results; k++) {
        const char *why = decode_result(in->results[k], a, &results[k]);
        if (why)
            return why;
    }
    out->results.results = results;
    out->results.n = (unsigned)in->n_results;
    return NULL;
}

/* All rows that an owner sends about a cell are of blocks that lie in it. */
static const char *decode_cell_rows(Spotcraft__Row *const *in, size_t n_in, struct cell_pos cell, struct arena *a,
                                    struct row **rows, unsigned *n)
{
    const char *why = NULL;
    if (!rows_from_pb(a, in, n_in, MSG_ROWS_MAX, rows, n, &why))
        return why;
    for (unsigned k = 0; k < *n; k++)
        if (!cell_eq(cell_of_block((*rows)[k].at.x, (*rows)[k].at.z), cell))
            return "row of another cell";
    return NULL;
}

static const char *decode_rows(const Spotcraft__Rows *in, struct arena *a, struct msg *out)
{
    if (!cell_from_pb(in->cell, &out->rows.cell))
        return bad_cell;
    out->rows.epoch = in->epoch;
    out->rows.rev = in->rev;
    out->rows.resumed = in->resumed;
    return decode_cell_rows(in->rows, in->n_rows, out->rows.cell, a, &out->rows.rows, &out->rows.n);
}

static const char *decode_chunk_part(const Spotcraft__ChunkPart *in, struct arena *a, struct msg *out)
{
    struct msg_chunk_part *part = &out->chunk_part.part;
    *part = (struct msg_chunk_part){.epoch = in->epoch, .rev = in->rev, .key = in->key, .last = in->last};
    if (!cell_from_pb(in->cell, &part->cell))
        return bad_cell;
    if (in->key > KEY_MAX)
        return "key out of range";
    const char *why = decode_chunk_pos(in->p, in->q, part->cell, &part->chunk);
    if (why)
        return why;
    return decode_cell_rows(in->rows, in->n_rows, part->cell, a, &out->chunk_part.rows, &out->chunk_part.n);
}

static const char *decode_player(const Spotcraft__Presence__Player *in, struct msg_player *out)
{
    *out = (struct msg_player){.player = in->player, .count = in->count, .nick = in->nick};
    if (!session_from_pb(in->session, &out->session))
        return bad_session;
    if (!place_from_pb(in->pos, &out->place))
        return bad_place;
    return text_valid(in->nick, NICK_MAX) ? NULL : "nick";
}

static const char *decode_in_cell(const Spotcraft__Presence__InCell *in, struct arena *a, struct msg_in_cell *out)
{
    *out = (struct msg_in_cell){.epoch = in->epoch,
                                .all = in->all,
                                .players = arena_alloc(a, in->n_players * sizeof(*out->players)),
                                .n_players = (unsigned)in->n_players,
                                .left = in->left,
                                .n_left = (unsigned)in->n_left};
    if (!cell_from_pb(in->cell, &out->cell))
        return bad_cell;
    for (size_t k = 0; k < in->n_players; k++) {
        const char *why = decode_player(in->players[k], &out->players[k]);
        if (why)
            return why;
    }
    return NULL;
}

static const char *decode_presence(const Spotcraft__Presence *in, struct arena *a, struct msg *out)
{
    if (in->n_cells > MSG_ITEMS_MAX)
        return too_many;
    struct msg_in_cell *cells = arena_alloc(a, in->n_cells * sizeof(*cells));
    size_t players = 0, left = 0;
    for (size_t k = 0; k < in->n_cells; k++) {
        players += in->cells[k]->n_players;
        left += in->cells[k]->n_left;
        if (players > MSG_ITEMS_MAX || left > MSG_ITEMS_MAX)
            return too_many;
        const char *why = decode_in_cell(in->cells[k], a, &cells[k]);
        if (why)
            return why;
    }
    out->presence.cells = cells;
    out->presence.n = (unsigned)in->n_cells;
    return NULL;
}

static const char *decode_body(const Spotcraft__Envelope *e, struct arena *a, struct msg *out)
{
    switch (out->kind) {
    case MSG_HELLO:
        return decode_hello(e->hello, &out->hello);
    case MSG_PROOF:
        return decode_proof(e->proof, out);
    case MSG_PING:
    case MSG_PONG:
        out->stamp = e->ping->stamp; /* the same member of the same union */
        return NULL;
    case MSG_UNSUPPORTED:
        out->unsupported = e->unsupported->body;
        return NULL;
    case MSG_SUBSCRIBE:
        return decode_subscribe(e->subscribe, a, out);
    case MSG_UNSUBSCRIBE:
        return decode_unsubscribe(e->unsubscribe, a, out);
    case MSG_EDITS:
        return decode_edits(e->edits, a, out);
    case MSG_CHUNK_GET:
        return decode_chunk_get(e->chunk_get, out);
    case MSG_ENTER:
        return enter_from_pb(e->enter, &out->enter);
    case MSG_MOVES:
        return decode_moves(e->moves, a, out);
    case MSG_LEAVE:
        return decode_leave(e->leave, &out->leave);
    case MSG_PLACE_GET:
        return decode_place_get(e->place_get, out);
    case MSG_CHAT:
        return decode_chat(e->chat, out);
    case MSG_SUBSCRIBED:
        return decode_subscribed(e->subscribed, a, out);
    case MSG_NOT_MINE:
        return decode_not_mine(e->not_mine, a, out);
    case MSG_RESULTS:
        return decode_results(e->results, a, out);
    case MSG_ROWS:
        return decode_rows(e->rows, a, out);
    case MSG_CHUNK_PART:
        return decode_chunk_part(e->chunk_part, a, out);
    case MSG_PRESENCE:
        return decode_presence(e->presence, a, out);
    case MSG_PLACE_IS:
        return decode_place_is(e->place_is, out);
    case MSG_STATUS_GET:
    case MSG_STATUS_IS:
    case MSG_MOVE_CELL:
    case MSG_DRAIN:
    case MSG_UNDRAIN:
    case MSG_DONE:
        return control_from_pb(e, out);
    default:
        return handoff_from_pb(e, a, out);
    }
}

/* The first field that this schema does not have, of those that could be a body; 0: none. */
static uint32_t unknown_body(const Spotcraft__Envelope *e)
{
    return e->base.n_unknown_fields > 0 ? e->base.unknown_fields[0].tag : 0;
}

enum err msg_decode(const void *data, size_t len, struct arena *a, struct msg *out, const char **why)
{
    struct unpack_memory memory = {a, UNPACK_BYTES_MAX};
    ProtobufCAllocator allocator = unpack_allocator(&memory);
    const Spotcraft__Envelope *e = len <= MSG_BYTES_MAX ? spotcraft__envelope__unpack(&allocator, len, data) : NULL;
    if (!e) {
        *why = "not an envelope";
        return ERR_BAD;
    }
    struct msg m = {.kind = (enum msg_kind)e->body_case, .request_id = e->request_id};
    if (e->body_case == SPOTCRAFT__ENVELOPE__BODY__NOT_SET) {
        m.kind = (enum msg_kind)unknown_body(e);
        *why = m.kind ? "a body from a newer schema" : "an envelope without a body";
        *out = m;
        return m.kind ? ERR_UNSUPPORTED : ERR_BAD;
    }
    const char *wrong = decode_body(e, a, &m);
    if (wrong) {
        *why = wrong;
        return ERR_BAD;
    }
    *out = m;
    return ERR_OK;
}
