/* msg_handoff.c - the messages of a handoff, both ways: bytes to struct msg, checked, and back. */
#include <assert.h>

#include "proto/wire/convert.h"
#include "proto/wire/msg.h"

static const char no_number[] = "handoff number missing";

/* ---- reading ---- */

static const char *decode_offer(const Spotcraft__Offer *in, struct msg_handoff *out)
{
    out->no = in->no;
    out->offer = (struct msg_offer){
        .epoch = in->epoch, .rows = in->rows, .players = in->players, .follow_only = in->follow_only, .load = in->load};
    if (in->load > LOAD_MAX)
        return "load out of range";
    return cell_from_pb(in->cell, &out->offer.cell) ? NULL : "cell out of range";
}

static const char *decode_copy(const Spotcraft__Copy *in, struct arena *a, struct msg_handoff *out)
{
    const char *why = NULL;
    out->no = in->no;
    return rows_from_pb(a, in->rows, in->n_rows, MSG_ROWS_MAX, &out->copy.rows, &out->copy.n, &why) ? NULL : why;
}

static const char *decode_copy_end(const Spotcraft__CopyEnd *in, struct msg_handoff *out)
{
    out->no = in->no;
    out->copy_end = (struct msg_copy_end){.n = in->n,
                                          .rev = in->rev,
                                          .generation = in->generation,
                                          .stored_epoch = in->stored_epoch,
                                          .stored_n = in->stored_n,
                                          .key_floor = in->key_floor,
                                          .seen = in->seen.data,
                                          .seen_bytes = in->seen.len};
    return in->key_floor <= KEY_MAX ? NULL : "key out of range";
}

static const char *decode_follow(const Spotcraft__Follow *in, struct msg_handoff *out)
{
    out->no = in->no;
    out->follow = (struct msg_follow){in->epoch, in->n, in->batch.data, in->batch.len};
    return in->epoch && in->n && in->batch.len ? NULL : "batch missing";
}

static const char *decode_commit(const Spotcraft__Commit *in, struct arena *a, struct msg_handoff *out)
{
    out->no = in->no;
    if (in->n_players > MSG_ITEMS_MAX)
        return "too many items";
    struct msg_enter *players = arena_alloc(a, in->n_players * sizeof(*players));
    for (size_t k = 0; k < in->n_players; k++) {
        const char *why = enter_from_pb(in->players[k], &players[k]);
        if (why)
            return why;
    }
    out->commit = (struct msg_commit){in->epoch, players, (unsigned)in->n_players};
    return in->epoch ? NULL : "epoch missing";
}

static const char *decode(const Spotcraft__Envelope *e, struct arena *a, enum msg_kind kind, struct msg_handoff *out)
{
    switch (kind) {
    case MSG_OFFER:
        return decode_offer(e->offer, out);
    case MSG_OFFER_ANSWER:
        out->no = e->offer_answer->no;
        out->answer = e->offer_answer->answer;
        return out->answer ? NULL : "answer missing";
    case MSG_COPY:
        return decode_copy(e->copy, a, out);
    case MSG_COPY_END:
        return decode_copy_end(e->copy_end, out);
    case MSG_FOLLOW:
        return decode_follow(e->follow, out);
    case MSG_STORED:
        out->no = e->stored->no;
        out->stored.epoch = e->stored->epoch;
        out->stored.n = e->stored->n;
        out->stored.rev = e->stored->rev;
        return NULL;
    case MSG_FINAL:
        out->no = e->final->no;
        out->n = e->final->n;
        return NULL;
    case MSG_READY:
        out->no = e->ready->no;
        out->n = e->ready->n;
        return NULL;
    case MSG_COMMIT:
        return decode_commit(e->commit, a, out);
    case MSG_ABORT:
        out->no = e->abort->no;
        out->reason = e->abort->reason;
        return text_valid(out->reason, CHAT_MAX) ? NULL : "reason";
    case MSG_GOT:
        out->no = e->got->no;
        out->pieces = e->got->pieces;
        return NULL;
    default:
        return "unknown body";
    }
}

const char *handoff_from_pb(const Spotcraft__Envelope *e, struct arena *a, struct msg *out)
{
    const char *why = decode(e, a, out->kind, &out->handoff);
    return why ? why : out->handoff.no ? NULL : no_number;
}

/* ---- writing ---- */

#define NEW(a, name, to)                                                                                               \
    (to) = arena_alloc(a, sizeof *(to));                                                                               \
    spotcraft__##name##__init(to);                                                                                     \
    (to)->no = h->no

static ProtobufCBinaryData lend(const uint8_t *data, size_t len)
{
    return (ProtobufCBinaryData){len, (uint8_t *)data};
}

static void commit_to_pb(struct arena *a, const struct msg_commit *in, Spotcraft__Commit *out)
{
    assert(in->n_players <= MSG_ITEMS_MAX);
    out->epoch = in->epoch;
    out->n_players = in->n_players;
    out->players = arena_alloc(a, in->n_players * sizeof(Spotcraft__Enter *));
    for (unsigned k = 0; k < in->n_players; k++)
        out->players[k] = enter_to_pb(a, &in->players[k]);
}

void handoff_to_pb(struct arena *a, const struct msg *m, Spotcraft__Envelope *e)
{
    const struct msg_handoff *h = &m->handoff;
    switch (m->kind) {
    case MSG_OFFER:
        NEW(a, offer, e->offer);
        e->offer->cell = cell_to_pb(a, h->offer.cell);
        e->offer->epoch = h->offer.epoch;
        e->offer->rows = h->offer.rows;
        e->offer->players = h->offer.players;
        e->offer->follow_only = h->offer.follow_only;
        e->offer->load = h->offer.load < LOAD_MAX ? h->offer.load : LOAD_MAX;
        break;
    case MSG_OFFER_ANSWER:
        NEW(a, offer_answer, e->offer_answer);
        e->offer_answer->answer = h->answer;
        break;
    case MSG_COPY:
        NEW(a, copy, e->copy);
        assert(h->copy.n <= MSG_ROWS_MAX);
        e->copy->n_rows = h->copy.n;
        e->copy->rows = rows_to_pb(a, h->copy.rows, h->copy.n);
        break;
    case MSG_COPY_END:
        NEW(a, copy_end, e->copy_end);
        e->copy_end->n = h->copy_end.n;
        e->copy_end->rev = h->copy_end.rev;
        e->copy_end->key_floor = h->copy_end.key_floor;
        e->copy_end->generation = h->copy_end.generation;
        e->copy_end->stored_epoch = h->copy_end.stored_epoch;
        e->copy_end->stored_n = h->copy_end.stored_n;
        e->copy_end->seen = lend(h->copy_end.seen, h->copy_end.seen_bytes);
        break;
    case MSG_FOLLOW:
        NEW(a, follow, e->follow);
        e->follow->epoch = h->follow.epoch;
        e->follow->n = h->follow.n;
        e->follow->batch = lend(h->follow.batch, h->follow.batch_bytes);
        break;
    case MSG_STORED:
        NEW(a, stored, e->stored);
        e->stored->epoch = h->stored.epoch;
        e->stored->n = h->stored.n;
        e->stored->rev = h->stored.rev;
        break;
    case MSG_FINAL:
        NEW(a, final, e->final);
        e->final->n = h->n;
        break;
    case MSG_READY:
        NEW(a, ready, e->ready);
        e->ready->n = h->n;
        break;
    case MSG_COMMIT:
        NEW(a, commit, e->commit);
        commit_to_pb(a, &h->commit, e->commit);
        break;
    case MSG_ABORT:
        NEW(a, abort, e->abort);
        e->abort->reason = (char *)text_showable(a, h->reason, CHAT_MAX);
        break;
    case MSG_GOT:
        NEW(a, got, e->got);
        e->got->pieces = h->pieces;
        break;
    default:
        assert(false && "a message of no known kind");
    }
}
