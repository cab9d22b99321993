/* msg_control.c - what an operator says to a node, both ways: bytes to struct msg, checked, and back. */
#include <assert.h>

#include "proto/wire/convert.h"
#include "proto/wire/msg.h"

/* ---- reading ---- */

static const char *decode_move(const Spotcraft__MoveCell *in, struct msg_control *out)
{
    out->move.node = in->node;
    if (!cell_from_pb(in->cell, &out->move.cell))
        return "cell out of range";
    return in->node ? NULL : "node missing";
}

static const char *decode_done(const Spotcraft__Done *in, struct msg_control *out)
{
    if (in->result < DONE_OK || in->result > DONE_NOT_NOW)
        return "result";
    out->done.result = (enum done_result)in->result;
    out->done.text = in->text;
    return text_valid(in->text, DONE_TEXT_MAX) ? NULL : "text of a result";
}

const char *control_from_pb(const Spotcraft__Envelope *e, struct msg *out)
{
    struct msg_control *c = &out->control;
    switch (out->kind) {
    case MSG_STATUS_GET:
        c->cells = e->status_get->cells;
        return NULL;
    case MSG_STATUS_IS:
        c->status.json = e->status_is->json.data;
        c->status.bytes = e->status_is->json.len;
        c->status.last = e->status_is->last;
        return c->status.bytes <= STATUS_PIECE_MAX ? NULL : "status too long";
    case MSG_MOVE_CELL:
        return decode_move(e->move_cell, c);
    case MSG_DONE:
        return decode_done(e->done, c);
    default: /* drain, undrain: nothing more to say */
        return NULL;
    }
}

/* ---- writing ---- */

#define NEW(a, name, to)                                                                                               \
    (to) = arena_alloc(a, sizeof *(to));                                                                               \
    spotcraft__##name##__init(to)

void control_to_pb(struct arena *a, const struct msg *m, Spotcraft__Envelope *e)
{
    const struct msg_control *c = &m->control;
    switch (m->kind) {
    case MSG_STATUS_GET:
        NEW(a, status_get, e->status_get);
        e->status_get->cells = c->cells;
        break;
    case MSG_STATUS_IS:
        assert(c->status.bytes <= STATUS_PIECE_MAX);
        NEW(a, status_is, e->status_is);
        e->status_is->json = (ProtobufCBinaryData){c->status.bytes, (uint8_t *)c->status.json};
        e->status_is->last = c->status.last;
        break;
    case MSG_MOVE_CELL:
        NEW(a, move_cell, e->move_cell);
        e->move_cell->cell = cell_to_pb(a, c->move.cell);
        e->move_cell->node = c->move.node;
        break;
    case MSG_DRAIN:
        NEW(a, drain, e->drain);
        break;
    case MSG_UNDRAIN:
        NEW(a, undrain, e->undrain);
        break;
    default:
        assert(m->kind == MSG_DONE);
        NEW(a, done, e->done);
        e->done->result = c->done.result;
        e->done->text = (char *)text_showable(a, c->done.text, DONE_TEXT_MAX);
    }
}
