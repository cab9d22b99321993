#include "tests/sim/tell.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *tell_row(const struct row *r, char out[TELL_ROW_BYTES])
{
    static const char *const kinds[] = {"block", "light", "sign"};
    snprintf(out, TELL_ROW_BYTES, "%s (%d,%d,%d) face %u w %d text \"%s\" key %u rev %" PRIu64, kinds[r->kind], r->at.x,
             r->at.y, r->at.z, r->face, r->w, r->text ? r->text : "", r->key, r->rev);
    return out;
}

static void tell_rows(struct sim *s, const struct row *rows, unsigned n)
{
    char text[TELL_ROW_BYTES];
    for (unsigned i = 0; i < n; i++)
        sim_note(s, "    %s of %04" PRIx64 ".%" PRIu64 " seq %" PRIu64, tell_row(&rows[i], text),
                 rows[i].author.gate & 0xffff, rows[i].author.count, rows[i].seq);
}

static void tell_edits(struct sim *s, const struct edit *edits, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        sim_note(s, "    kind %u (%d,%d,%d) w %d of %04" PRIx64 ".%" PRIu64 " seq %" PRIu64 " floor %" PRIu64,
                 edits[i].kind, edits[i].at.x, edits[i].at.y, edits[i].at.z, edits[i].w, edits[i].session.gate & 0xffff,
                 edits[i].session.count, edits[i].seq, edits[i].floor);
}

static void tell_results(struct sim *s, const struct edit_result *results, unsigned n)
{
    static const char *const outcomes[] = {"?", "accepted", "refused", "known", "wanted"};
    for (unsigned i = 0; i < n; i++) {
        const struct edit_result *r = &results[i];
        sim_note(s, "    seq %" PRIu64 " of %04" PRIx64 ".%" PRIu64 " cell=%d,%d %s rev %" PRIu64, r->seq,
                 r->session.gate & 0xffff, r->session.count, r->cell.i, r->cell.j, outcomes[r->outcome], r->rev);
        tell_rows(s, r->rows, r->n_rows);
    }
}

static void tell_frame(struct sim *s, const char *to, const char *from, const struct msg_in_cell *c)
{
    char ids[100] = "";
    size_t at = 0;
    for (unsigned i = 0; i < c->n_players && at + 12 < sizeof ids; i++)
        at += (size_t)snprintf(ids + at, sizeof ids - at, " %u", c->players[i].player);
    for (unsigned i = 0; i < c->n_left && at + 13 < sizeof ids; i++)
        at += (size_t)snprintf(ids + at, sizeof ids - at, " -%u", c->left[i]);
    sim_note(s, "%s reads presence from %s: cell=%d,%d epoch %" PRIu64 "%s:%s", to, from, c->cell.i, c->cell.j,
             c->epoch, c->all ? " all" : "", ids);
}

void tell_message(struct host *reader, const struct host *sender, const struct msg *m)
{
    struct sim *s = reader->sim;
    const char *to = reader->name, *from = sender->name, *name = msg_name(m->kind);
    switch (m->kind) {
    case MSG_EDITS:
        sim_note(s, "%s reads %s from %s", to, name, from);
        tell_edits(s, m->edits.edits, m->edits.n);
        break;
    case MSG_RESULTS:
        sim_note(s, "%s reads %s from %s", to, name, from);
        tell_results(s, m->results.results, m->results.n);
        break;
    case MSG_ROWS:
        sim_note(s, "%s reads %s from %s: cell=%d,%d epoch %" PRIu64 " rev %" PRIu64 "%s", to, name, from,
                 m->rows.cell.i, m->rows.cell.j, m->rows.epoch, m->rows.rev, m->rows.resumed ? " resumed" : "");
        tell_rows(s, m->rows.rows, m->rows.n);
        break;
    case MSG_CHUNK_GET:
        sim_note(s, "%s reads %s from %s: chunk %d,%d key %u of cell=%d,%d", to, name, from, m->chunk_get.chunk.p,
                 m->chunk_get.chunk.q, m->chunk_get.key, m->chunk_get.cell.i, m->chunk_get.cell.j);
        break;
    case MSG_CHUNK_PART:
        sim_note(s, "%s reads %s from %s: chunk %d,%d of cell=%d,%d epoch %" PRIu64 " rev %" PRIu64 " key %u%s", to,
                 name, from, m->chunk_part.part.chunk.p, m->chunk_part.part.chunk.q, m->chunk_part.part.cell.i,
                 m->chunk_part.part.cell.j, m->chunk_part.part.epoch, m->chunk_part.part.rev, m->chunk_part.part.key,
                 m->chunk_part.part.last ? " last" : "");
        tell_rows(s, m->chunk_part.rows, m->chunk_part.n);
        break;
    case MSG_SUBSCRIBE:
        for (unsigned i = 0; i < m->subscribe.n; i++) {
            const struct msg_want *w = &m->subscribe.wants[i];
            sim_note(s, "%s reads %s from %s: cell=%d,%d%s%s%s epoch %" PRIu64 " rev %" PRIu64, to, name, from,
                     w->cell.i, w->cell.j, w->presence ? " presence" : "", w->resume ? " resume" : "",
                     w->redirected ? " redirected" : "", w->epoch, w->rev);
        }
        break;
    case MSG_SUBSCRIBED:
        for (unsigned i = 0; i < m->subscribed.n; i++)
            sim_note(s, "%s reads %s from %s: cell=%d,%d epoch %" PRIu64 " rev %" PRIu64, to, name, from,
                     m->subscribed.grants[i].cell.i, m->subscribed.grants[i].cell.j, m->subscribed.grants[i].epoch,
                     m->subscribed.grants[i].rev);
        break;
    case MSG_NOT_MINE:
        for (unsigned i = 0; i < m->not_mine.n; i++)
            sim_note(s, "%s reads %s from %s: cell=%d,%d owner %04" PRIx64 " epoch %" PRIu64 " redirect %04" PRIx64, to,
                     name, from, m->not_mine.where[i].cell.i, m->not_mine.where[i].cell.j,
                     m->not_mine.where[i].owner & 0xffff, m->not_mine.where[i].epoch,
                     m->not_mine.where[i].redirect & 0xffff);
        break;
    case MSG_PRESENCE:
        for (unsigned i = 0; i < m->presence.n; i++)
            tell_frame(s, to, from, &m->presence.cells[i]);
        break;
    case MSG_ENTER:
        sim_note(s, "%s reads %s from %s: id %u of %04" PRIx64 ".%" PRIu64 " count %" PRIu64 " cell=%d,%d", to, name,
                 from, m->enter.player, m->enter.session.gate & 0xffff, m->enter.session.count, m->enter.count,
                 m->enter.cell.i, m->enter.cell.j);
        break;
    case MSG_LEAVE:
        sim_note(s, "%s reads %s from %s: %04" PRIx64 ".%" PRIu64 " cell=%d,%d%s", to, name, from,
                 m->leave.session.gate & 0xffff, m->leave.session.count, m->leave.cell.i, m->leave.cell.j,
                 m->leave.moved_on ? " moved on" : "");
        break;
    default:
        sim_note(s, "%s reads %s from %s", to, name, from);
        break;
    }
}

void tell_request(struct host *from, const struct coord_req *r)
{
    static const char *const answers[] = {"-", "taken", "before", "stale", "behind", "closed", "busy"};
    struct sim *s = from->sim;
    const char *op = coord_op_name(r->op);
    switch (r->op) {
    case COORD_CLAIM:
    case COORD_APPEND:
    case COORD_TRIM:
    case COORD_RELEASE:
    case COORD_TRANSFER:
        for (unsigned i = 0; i < r->cells.n; i++) {
            const struct coord_cell *c = &r->cells.cells[i];
            sim_note(s, "redis %s from %s: cell=%d,%d %llu-%llu %s; there is %llu-%llu", op, from->name, c->cell.i,
                     c->cell.j, (unsigned long long)c->epoch, (unsigned long long)c->n, answers[c->answer],
                     (unsigned long long)c->owner_epoch, (unsigned long long)c->owner_n);
        }
        break;
    case COORD_RESTORE:
        sim_note(s, "redis %s from %s: cell=%d,%d %llu-%llu batches=%u %s", op, from->name, r->restore.cell.i,
                 r->restore.cell.j, (unsigned long long)r->restore.epoch, (unsigned long long)r->restore.n,
                 r->restore.n_batches, answers[r->restore.answer]);
        break;
    default:
        sim_note(s, "redis %s from %s: %s", op, from->name, err_text(r->err));
        break;
    }
}

void tell_lines(struct sim *s, const char *who, const char *data, size_t len)
{
    for (const char *end; len > 0; len -= (size_t)(end - data), data = end) {
        end = memchr(data, '\n', len);
        end = end ? end + 1 : data + len;
        if (*data != 'P' && *data != 'R')
            sim_note(s, "%s %.*s", who, (int)(end - data - (end[-1] == '\n')), data);
    }
}
