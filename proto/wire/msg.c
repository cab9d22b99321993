/* msg.c - struct msg to bytes, and the names of things.
 *
 * Encoding builds protobuf's structs in an arena that lives as long as the call: one array a list, never an allocation
 * an element. protobuf-c only reads what it packs, so texts are lent to it as they are. */
#include "proto/wire/msg.h"

#include <assert.h>

#include "proto/wire/convert.h"

const char *msg_name(enum msg_kind k)
{
    switch (k) {
    case MSG_HELLO:
        return "hello";
    case MSG_PROOF:
        return "proof";
    case MSG_PING:
        return "ping";
    case MSG_PONG:
        return "pong";
    case MSG_UNSUPPORTED:
        return "unsupported";
    case MSG_SUBSCRIBE:
        return "subscribe";
    case MSG_UNSUBSCRIBE:
        return "unsubscribe";
    case MSG_EDITS:
        return "edits";
    case MSG_CHUNK_GET:
        return "chunk_get";
    case MSG_ENTER:
        return "enter";
    case MSG_MOVES:
        return "moves";
    case MSG_LEAVE:
        return "leave";
    case MSG_PLACE_GET:
        return "place_get";
    case MSG_CHAT:
        return "chat";
    case MSG_SUBSCRIBED:
        return "subscribed";
    case MSG_NOT_MINE:
        return "not_mine";
    case MSG_RESULTS:
        return "results";
    case MSG_ROWS:
        return "rows";
    case MSG_CHUNK_PART:
        return "chunk_part";
    case MSG_PRESENCE:
        return "presence";
    case MSG_PLACE_IS:
        return "place_is";
    case MSG_OFFER:
        return "offer";
    case MSG_OFFER_ANSWER:
        return "offer_answer";
    case MSG_COPY:
        return "copy";
    case MSG_COPY_END:
        return "copy_end";
    case MSG_FOLLOW:
        return "follow";
    case MSG_STORED:
        return "stored";
    case MSG_FINAL:
        return "final";
    case MSG_READY:
        return "ready";
    case MSG_COMMIT:
        return "commit";
    case MSG_ABORT:
        return "abort";
    case MSG_GOT:
        return "got";
    case MSG_STATUS_GET:
        return "status_get";
    case MSG_STATUS_IS:
        return "status_is";
    case MSG_MOVE_CELL:
        return "move_cell";
    case MSG_DRAIN:
        return "drain";
    case MSG_UNDRAIN:
        return "undrain";
    case MSG_DONE:
        return "done";
    }
    return "unknown";
}

/* The first ones in the words of the server that players know. */
const char *refusal_text(enum refusal r)
{
    static const char *const text[REFUSALS] = {
        [REFUSED_NOT_SAID] = "",
        [REFUSED_COORDS] = "Invalid block coordinates.",
        [REFUSED_ITEM] = "That item is not allowed.",
        [REFUSED_OCCUPIED] = "Cannot create blocks in a non-empty space.",
        [REFUSED_EMPTY] = "That space is already empty.",
        [REFUSED_CLOUD] = "Cannot destroy that type of block.",
        [REFUSED_NO_BLOCK] = "Lights must be placed on a block.",
        [REFUSED_LIGHT] = "Invalid light value.",
        [REFUSED_SIGN] = "",
    };
    return r < REFUSALS ? text[r] : "";
}

static Spotcraft__Subscribe *subscribe_to_pb(struct arena *a, const struct msg *m)
{
    const unsigned n = m->subscribe.n;
    assert(n <= MSG_ITEMS_MAX);
    Spotcraft__Subscribe *out = arena_alloc(a, sizeof(*out));
    Spotcraft__Subscribe__Want *wants = arena_alloc(a, n * sizeof(*wants));
    spotcraft__subscribe__init(out);
    out->n_wants = n;
    out->wants = arena_alloc(a, n * sizeof(wants));
    for (unsigned k = 0; k < n; k++) {
        const struct msg_want *w = &m->subscribe.wants[k];
        spotcraft__subscribe__want__init(&wants[k]);
        wants[k].cell = cell_to_pb(a, w->cell);
        wants[k].presence = w->presence;
        wants[k].resume = w->resume;
        wants[k].redirected = w->redirected;
        wants[k].epoch = w->epoch;
        wants[k].rev = w->rev;
        out->wants[k] = &wants[k];
    }
    return out;
}

static Spotcraft__Unsubscribe *unsubscribe_to_pb(struct arena *a, const struct msg *m)
{
    const unsigned n = m->unsubscribe.n;
    assert(n <= MSG_ITEMS_MAX);
    Spotcraft__Unsubscribe *out = arena_alloc(a, sizeof(*out));
    spotcraft__unsubscribe__init(out);
    out->n_cells = n;
    out->cells = arena_alloc(a, n * sizeof(Spotcraft__Cell *));
    for (unsigned k = 0; k < n; k++)
        out->cells[k] = cell_to_pb(a, m->unsubscribe.cells[k]);
    return out;
}

static Spotcraft__Edits *edits_to_pb(struct arena *a, const struct msg *m)
{
    const unsigned n = m->edits.n;
    assert(n <= MSG_ITEMS_MAX);
    Spotcraft__Edits *out = arena_alloc(a, sizeof(*out));
    Spotcraft__Edit *edits = arena_alloc(a, n * sizeof(*edits));
    spotcraft__edits__init(out);
    out->n_edits = n;
    out->edits = arena_alloc(a, n * sizeof(edits));
    for (unsigned k = 0; k < n; k++) {
        const struct edit *e = &m->edits.edits[k];
        assert(e->session.gate != 0 && e->seq > 0 && e->floor <= e->seq && block_in_world(e->at.x, e->at.z));
        spotcraft__edit__init(&edits[k]);
        edits[k].session = session_to_pb(a, e->session);
        edits[k].seq = e->seq;
        edits[k].floor = e->floor;
        edits[k].kind = e->kind;
        edits[k].x = e->at.x;
        edits[k].y = e->at.y;
        edits[k].z = e->at.z;
        edits[k].w = e->w;
        edits[k].face = e->face;
        if (e->text)
            edits[k].text = (char *)text_showable(a, e->text, EDIT_TEXT_MAX);
        out->edits[k] = &edits[k];
    }
    return out;
}

Spotcraft__Enter *enter_to_pb(struct arena *a, const struct msg_enter *m)
{
    assert(m->session.gate != 0 && place_valid(&m->place));
    assert(m->nick[0] && text_valid(m->nick, NICK_MAX) && text_valid(m->account, ACCOUNT_MAX));
    Spotcraft__Enter *out = arena_alloc(a, sizeof(*out));
    spotcraft__enter__init(out);
    out->session = session_to_pb(a, m->session);
    out->player = m->player;
    out->nick = (char *)m->nick;
    out->account = (char *)m->account;
    out->visit = m->visit;
    out->count = m->count;
    out->pos = place_to_pb(a, &m->place);
    out->cell = cell_to_pb(a, m->cell);
    return out;
}

static Spotcraft__Moves *moves_to_pb(struct arena *a, const struct msg *m)
{
    const unsigned n = m->moves.n;
    assert(n <= MSG_ITEMS_MAX);
    Spotcraft__Moves *out = arena_alloc(a, sizeof(*out));
    Spotcraft__Move *moves = arena_alloc(a, n * sizeof(*moves));
    spotcraft__moves__init(out);
    out->n_moves = n;
    out->moves = arena_alloc(a, n * sizeof(moves));
    for (unsigned k = 0; k < n; k++) {
        const struct msg_move *move = &m->moves.moves[k];
        assert(move->session.gate != 0 && place_valid(&move->place));
        spotcraft__move__init(&moves[k]);
        moves[k].session = session_to_pb(a, move->session);
        moves[k].count = move->count;
        moves[k].pos = place_to_pb(a, &move->place);
        moves[k].cell = cell_to_pb(a, move->cell);
        out->moves[k] = &moves[k];
    }
    return out;
}

static Spotcraft__Subscribed *subscribed_to_pb(struct arena *a, const struct msg *m)
{
    const unsigned n = m->subscribed.n;
    assert(n <= MSG_ITEMS_MAX);
    Spotcraft__Subscribed *out = arena_alloc(a, sizeof(*out));
    Spotcraft__Subscribed__Grant *grants = arena_alloc(a, n * sizeof(*grants));
    spotcraft__subscribed__init(out);
    out->n_grants = n;
    out->grants = arena_alloc(a, n * sizeof(grants));
    for (unsigned k = 0; k < n; k++) {
        const struct msg_grant *g = &m->subscribed.grants[k];
        spotcraft__subscribed__grant__init(&grants[k]);
        grants[k].cell = cell_to_pb(a, g->cell);
        grants[k].epoch = g->epoch;
        grants[k].rev = g->rev;
        out->grants[k] = &grants[k];
    }
    return out;
}

static Spotcraft__NotMine *not_mine_to_pb(struct arena *a, const struct msg *m)
{
    const unsigned n = m->not_mine.n;
    assert(n <= MSG_ITEMS_MAX);
    Spotcraft__NotMine *out = arena_alloc(a, sizeof(*out));
    Spotcraft__NotMine__Where *where = arena_alloc(a, n * sizeof(*where));
    spotcraft__not_mine__init(out);
    out->n_where = n;
    out->where = arena_alloc(a, n * sizeof(where));
    for (unsigned k = 0; k < n; k++) {
        const struct msg_where *w = &m->not_mine.where[k];
        spotcraft__not_mine__where__init(&where[k]);
        where[k].cell = cell_to_pb(a, w->cell);
        where[k].owner = w->owner;
        where[k].epoch = w->epoch;
        where[k].redirect = w->redirect;
        out->where[k] = &where[k];
    }
    return out;
}

static Spotcraft__Results *results_to_pb(struct arena *a, const struct msg *m)
{
    const unsigned n = m->results.n;
    assert(n <= MSG_ITEMS_MAX);
    Spotcraft__Results *out = arena_alloc(a, sizeof(*out));
    Spotcraft__Result *results = arena_alloc(a, n * sizeof(*results));
    spotcraft__results__init(out);
    out->n_results = n;
    out->results = arena_alloc(a, n * sizeof(results));
    for (unsigned k = 0; k < n; k++) {
        const struct edit_result *r = &m->results.results[k];
        assert(r->session.gate != 0 && r->n_rows <= EDIT_ROWS_MAX);
        spotcraft__result__init(&results[k]);
        results[k].session = session_to_pb(a, r->session);
        results[k].seq = r->seq;
        results[k].outcome = r->outcome;
        results[k].reason = r->reason;
        results[k].cell = cell_to_pb(a, r->cell);
        results[k].epoch = r->epoch;
        results[k].rev = r->rev;
        const bool in_world = r->n_rows > 0 && r->rows[0].at.y > 0 && r->rows[0].at.y <= BLOCK_Y_MAX;
        results[k].n_rows = in_world ? r->n_rows : 0;
        results[k].rows = rows_to_pb(a, r->rows, (unsigned)results[k].n_rows);
        out->results[k] = &results[k];
    }
    return out;
}

static Spotcraft__Rows *cell_rows_to_pb(struct arena *a, const struct msg *m)
{
    assert(m->rows.n <= MSG_ROWS_MAX);
    Spotcraft__Rows *out = arena_alloc(a, sizeof(*out));
    spotcraft__rows__init(out);
    out->cell = cell_to_pb(a, m->rows.cell);
    out->epoch = m->rows.epoch;
    out->rev = m->rows.rev;
    out->resumed = m->rows.resumed;
    out->n_rows = m->rows.n;
    out->rows = rows_to_pb(a, m->rows.rows, m->rows.n);
    return out;
}

static Spotcraft__ChunkPart *chunk_part_to_pb(struct arena *a, const struct msg *m)
{
    const struct msg_chunk_part *part = &m->chunk_part.part;
    assert(m->chunk_part.n <= MSG_ROWS_MAX);
    Spotcraft__ChunkPart *out = arena_alloc(a, sizeof(*out));
    spotcraft__chunk_part__init(out);
    out->cell = cell_to_pb(a, part->cell);
    out->epoch = part->epoch;
    out->rev = part->rev;
    out->p = part->chunk.p;
    out->q = part->chunk.q;
    out->key = part->key;
    out->last = part->last;
    out->n_rows = m->chunk_part.n;
    out->rows = rows_to_pb(a, m->chunk_part.rows, m->chunk_part.n);
    return out;
}

static Spotcraft__Presence__Player **players_to_pb(struct arena *a, const struct msg_player *in, unsigned n)
{
    Spotcraft__Presence__Player *players = arena_alloc(a, n * sizeof(*players));
    Spotcraft__Presence__Player **list = arena_alloc(a, n * sizeof(players));
    for (unsigned k = 0; k < n; k++) {
        assert(in[k].session.gate != 0 && place_valid(&in[k].place) && text_valid(in[k].nick, NICK_MAX));
        spotcraft__presence__player__init(&players[k]);
        players[k].player = in[k].player;
        players[k].session = session_to_pb(a, in[k].session);
        players[k].count = in[k].count;
        players[k].pos = place_to_pb(a, &in[k].place);
        players[k].nick = (char *)in[k].nick;
        list[k] = &players[k];
    }
    return list;
}

static Spotcraft__Presence *presence_to_pb(struct arena *a, const struct msg *m)
{
    const unsigned n = m->presence.n;
    assert(n <= MSG_ITEMS_MAX);
    Spotcraft__Presence *out = arena_alloc(a, sizeof(*out));
    Spotcraft__Presence__InCell *cells = arena_alloc(a, n * sizeof(*cells));
    spotcraft__presence__init(out);
    out->n_cells = n;
    out->cells = arena_alloc(a, n * sizeof(cells));
    unsigned players = 0, left = 0;
    for (unsigned k = 0; k < n; k++) {
        const struct msg_in_cell *c = &m->presence.cells[k];
        players += c->n_players;
        left += c->n_left;
        assert(players <= MSG_ITEMS_MAX && left <= MSG_ITEMS_MAX);
        spotcraft__presence__in_cell__init(&cells[k]);
        cells[k].cell = cell_to_pb(a, c->cell);
        cells[k].epoch = c->epoch;
        cells[k].all = c->all;
        cells[k].n_players = c->n_players;
        cells[k].players = players_to_pb(a, c->players, c->n_players);
        cells[k].n_left = c->n_left;
        cells[k].left = c->left;
        out->cells[k] = &cells[k];
    }
    return out;
}

/* Bodies without lists. */
static void small_to_pb(struct arena *a, const struct msg *m, Spotcraft__Envelope *e)
{
    switch (m->kind) {
    case MSG_HELLO:
        assert(m->hello.world[0] && text_valid(m->hello.world, WORLD_NAME_MAX));
        e->hello = arena_alloc(a, sizeof(*e->hello));
        spotcraft__hello__init(e->hello);
        e->hello->world = (char *)m->hello.world;
        e->hello->cell_chunks = m->hello.cell_chunks;
        e->hello->role = m->hello.role;
        e->hello->incarnation = m->hello.incarnation;
        e->hello->schema = m->hello.schema;
        e->hello->nonce = (ProtobufCBinaryData){NONCE_BYTES, (uint8_t *)m->hello.nonce};
        break;
    case MSG_PROOF:
        e->proof = arena_alloc(a, sizeof(*e->proof));
        spotcraft__proof__init(e->proof);
        e->proof->mac = (ProtobufCBinaryData){MAC_BYTES, (uint8_t *)m->mac};
        break;
    case MSG_PING:
    case MSG_PONG:
        e->ping = arena_alloc(a, sizeof(*e->ping));
        spotcraft__ping__init(e->ping);
        e->ping->stamp = m->stamp;
        break;
    case MSG_UNSUPPORTED:
        e->unsupported = arena_alloc(a, sizeof(*e->unsupported));
        spotcraft__unsupported__init(e->unsupported);
        e->unsupported->body = m->unsupported;
        break;
    case MSG_CHUNK_GET:
        e->chunk_get = arena_alloc(a, sizeof(*e->chunk_get));
        spotcraft__chunk_get__init(e->chunk_get);
        e->chunk_get->cell = cell_to_pb(a, m->chunk_get.cell);
        e->chunk_get->p = m->chunk_get.chunk.p;
        e->chunk_get->q = m->chunk_get.chunk.q;
        e->chunk_get->key = m->chunk_get.key;
        break;
    case MSG_LEAVE:
        e->leave = arena_alloc(a, sizeof(*e->leave));
        spotcraft__leave__init(e->leave);
        e->leave->session = session_to_pb(a, m->leave.session);
        e->leave->cell = cell_to_pb(a, m->leave.cell);
        e->leave->moved_on = m->leave.moved_on;
        break;
    case MSG_PLACE_GET:
        assert(m->place_get.account[0] && text_valid(m->place_get.account, ACCOUNT_MAX));
        e->place_get = arena_alloc(a, sizeof(*e->place_get));
        spotcraft__place_get__init(e->place_get);
        e->place_get->account = (char *)m->place_get.account;
        break;
    case MSG_PLACE_IS:
        assert(!m->place_is.found || place_valid(&m->place_is.place));
        e->place_is = arena_alloc(a, sizeof(*e->place_is));
        spotcraft__place_is__init(e->place_is);
        e->place_is->found = m->place_is.found;
        e->place_is->visit = m->place_is.visit;
        e->place_is->pos = m->place_is.found ? place_to_pb(a, &m->place_is.place) : NULL;
        break;
    case MSG_CHAT:
        e->chat = arena_alloc(a, sizeof(*e->chat));
        spotcraft__chat__init(e->chat);
        e->chat->cell = cell_to_pb(a, m->chat.cell);
        e->chat->gate = m->chat.gate;
        e->chat->to = (char *)text_showable(a, m->chat.to, NICK_MAX);
        e->chat->text = (char *)text_showable(a, m->chat.text, CHAT_MAX);
        break;
    case MSG_STATUS_GET:
    case MSG_STATUS_IS:
    case MSG_MOVE_CELL:
    case MSG_DRAIN:
    case MSG_UNDRAIN:
    case MSG_DONE:
        control_to_pb(a, m, e);
        break;
    default:
        handoff_to_pb(a, m, e);
    }
}

struct blob *msg_encode(const struct msg *m)
{
    struct arena *a = arena_new();
    Spotcraft__Envelope e;
    spotcraft__envelope__init(&e);
    e.request_id = m->request_id;
    e.body_case = (Spotcraft__Envelope__BodyCase)m->kind;
    switch (m->kind) {
    case MSG_SUBSCRIBE:
        e.subscribe = subscribe_to_pb(a, m);
        break;
    case MSG_UNSUBSCRIBE:
        e.unsubscribe = unsubscribe_to_pb(a, m);
        break;
    case MSG_EDITS:
        e.edits = edits_to_pb(a, m);
        break;
    case MSG_ENTER:
        e.enter = enter_to_pb(a, &m->enter);
        break;
    case MSG_MOVES:
        e.moves = moves_to_pb(a, m);
        break;
    case MSG_SUBSCRIBED:
        e.subscribed = subscribed_to_pb(a, m);
        break;
    case MSG_NOT_MINE:
        e.not_mine = not_mine_to_pb(a, m);
        break;
    case MSG_RESULTS:
        e.results = results_to_pb(a, m);
        break;
    case MSG_ROWS:
        e.rows = cell_rows_to_pb(a, m);
        break;
    case MSG_CHUNK_PART:
        e.chunk_part = chunk_part_to_pb(a, m);
        break;
    case MSG_PRESENCE:
        e.presence = presence_to_pb(a, m);
        break;
    default:
        small_to_pb(a, m, &e);
    }
    struct blob *b = blob_of_pb(&e.base);
    arena_free(a);
    assert(b->len <= MSG_BYTES_MAX);
    return b;
}
