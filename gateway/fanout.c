#include "gateway/fanout.h"

#include <math.h>

#include "gateway/edits.h"
#include "gateway/interest.h"
#include "gateway/session.h"
#include "gateway/told.h"

static const float LIFT_BLOCKS = 1.5f;

/* ---- one row as a line ---- */

/* Does chunk c show the row? Its own chunk shows all, a neighbour the mirrors of blocks. */
static bool shows(struct chunk_pos c, const struct row *r)
{
    return r->kind == ROW_BLOCK || chunk_eq(c, chunk_of_block(r->at.x, r->at.z));
}

static void say_row(struct text *t, struct chunk_pos c, const struct row *r)
{
    char *line = text_line(t);
    switch (r->kind) {
    case ROW_BLOCK:
        t->len += craft_block(line, c, r->at, chunk_eq(c, chunk_of_block(r->at.x, r->at.z)) ? r->w : -r->w);
        break;
    case ROW_LIGHT:
        t->len += craft_light(line, c, r->at, r->w);
        break;
    default:
        t->len += craft_sign(line, c, r->at, r->face, r->text);
        break;
    }
}

static void say_redraw(struct text *t, struct chunk_pos c)
{
    char *line = text_line(t);
    t->len += craft_redraw(line, c);
}

/* ---- lines for one session ---- */

/* The head is in the block of y, the feet in the one below. */
static bool may_lift(const struct session *s, struct block_pos at)
{
    if (s->grounded) /* it is on top already, and we do not know at which height */
        return false;
    return fabsf((float)at.x - s->place.x) <= LIFT_BLOCKS && fabsf((float)at.z - s->place.z) <= LIFT_BLOCKS &&
           (float)at.y <= s->place.y + LIFT_BLOCKS && (float)at.y >= s->place.y - 1 - LIFT_BLOCKS;
}

struct telling {
    struct gateway *g;
    struct session *s;
    bool lifts; /* a late row may lift the player */
};

static struct telling tell_begin(struct gateway *g, struct session *s)
{
    g->out.len = g->late.len = 0;
    return (struct telling){g, s, false};
}

/* All rows of a block stay in order among themselves: they are late together or not at all. */
static void tell_row(struct telling *t, struct chunk_pos c, const struct row *r)
{
    bool late = may_lift(t->s, r->at);
    say_row(late ? &t->g->late : &t->g->out, c, r);
    t->lifts = t->lifts || (late && r->kind == ROW_BLOCK);
}

static void tell_end(struct telling *t, const struct chunk_pos *redraw, unsigned n_redraw)
{
    struct gateway *g = t->g;
    if (g->out.len == 0 && g->late.len == 0)
        return;
    text_add(&g->out, g->late.data, g->late.len);
    for (unsigned k = 0; k < n_redraw; k++)
        say_redraw(&g->out, redraw[k]);
    if (t->lifts && t->s->place.y != 0) {
        char *line = text_line(&g->out);
        g->out.len += craft_you(line, t->s->id, &t->s->place);
    }
    session_write(g, t->s, g->out.data, g->out.len);
}

void fanout_block(struct gateway *g, struct session *s, const struct row *rows, unsigned n, bool always)
{
    struct chunk_pos chunks[1 + MIRRORS_MAX], redraw[1 + MIRRORS_MAX];
    unsigned n_redraw = 0;
    if (n == 0)
        return;
    chunks[0] = chunk_of_block(rows[0].at.x, rows[0].at.z);
    unsigned n_chunks = 1 + chunk_mirrors(rows[0].at.x, rows[0].at.z, chunks + 1);
    struct telling t = tell_begin(g, s);
    for (unsigned c = 0; c < n_chunks; c++) {
        if (!always && !interest_find(s, chunks[c]))
            continue;
        told_note(g, interest_chunk(g, chunks[c]), rows[0].at);
        for (unsigned k = 0; k < n; k++) {
            if (shows(chunks[c], &rows[k]))
                tell_row(&t, chunks[c], &rows[k]);
        }
        redraw[n_redraw++] = chunks[c];
    }
    tell_end(&t, redraw, n_redraw);
}

bool fanout_piece(struct gateway *g, struct session *s, const struct chunk_piece *piece)
{
    bool held = false;
    if (piece->n)
        told_answer(g, s, piece->chunk);
    struct telling t = tell_begin(g, s);
    for (unsigned k = 0; k < piece->n; k++) {
        if (!shows(piece->chunk, &piece->rows[k]))
            continue;
        if (edits_hold_back(g, s, piece->chunk, &piece->rows[k]))
            held = true;
        else
            tell_row(&t, piece->chunk, &piece->rows[k]);
    }
    tell_end(&t, &piece->chunk, 1);
    return held;
}

/* ---- one message's rows to all who hold their chunks ---- */

/* Rows that are told together, chunk by chunk. A row that would so come before an older one begins the next run: others
 * see a builder's blocks in the order in which he placed them. */
struct run {
    struct shown_chunk *first, *last;
};

static unsigned held_chunks(struct gateway *g, const struct row *r, struct shown_chunk *out[1 + MIRRORS_MAX])
{
    struct chunk_pos at[1 + MIRRORS_MAX] = {chunk_of_block(r->at.x, r->at.z)};
    unsigned n = 1 + (r->kind == ROW_BLOCK ? chunk_mirrors(r->at.x, r->at.z, at + 1) : 0), held = 0;
    for (unsigned k = 0; k < n; k++) {
        struct shown_chunk *c = interest_chunk(g, at[k]);
        if (c)
            out[held++] = c;
    }
    return held;
}

static bool fits(const struct run *run, struct shown_chunk *const *chunks, unsigned n)
{
    if (n == 1 && chunks[0] == run->last)
        return true;
    for (unsigned k = 0; k < n; k++)
        if (chunks[k]->n_rows)
            return false;
    return true;
}

static void note_row(struct run *run, struct shown_chunk *c, unsigned row)
{
    if (c->n_rows == 0) {
        c->touched_next = NULL;
        if (run->last)
            run->last->touched_next = c;
        else
            run->first = c;
        run->last = c;
    }
    if (c->n_rows == c->rows_cap) {
        c->rows_cap = c->rows_cap ? 2 * c->rows_cap : 8;
        c->rows = mem_resize(c->rows, c->rows_cap * sizeof *c->rows);
    }
    c->rows[c->n_rows++] = row;
}

/* The chunk's rows in lines, once; R at the end. */
static struct blob *encode(struct gateway *g, const struct shown_chunk *c, const struct row *rows)
{
    g->out.len = 0;
    for (unsigned k = 0; k < c->n_rows; k++)
        say_row(&g->out, c->at, &rows[c->rows[k]]);
    say_redraw(&g->out, c->at);
    return blob_new(g->out.data, g->out.len);
}

/* Does the session need lines of its own? */
static bool is_special(const struct gateway *g, const struct session *s, const struct shown_chunk *c,
                       const struct row *rows)
{
    struct session_id me = session_id(g, s);
    if (s->touched)
        return true;
    for (unsigned k = 0; k < c->n_rows; k++) {
        const struct row *r = &rows[c->rows[k]];
        if (session_eq(r->author, me) || may_lift(s, r->at))
            return true;
    }
    return false;
}

static void tell_special(struct gateway *g, struct session *s, const struct shown_chunk *c, const struct row *rows)
{
    struct session_id me = session_id(g, s);
    struct telling t = tell_begin(g, s);
    for (unsigned k = 0; k < c->n_rows; k++) {
        const struct row *r = &rows[c->rows[k]];
        /* An author's client shows its edit already; nothing that was accepted is echoed. */
        if (!session_eq(r->author, me) && !edits_hold_back(g, s, c->at, r))
            tell_row(&t, c->at, r);
    }
    tell_end(&t, &c->at, 1);
}

static void tell_chunk(struct gateway *g, const struct shown_chunk *c, const struct row *rows)
{
    struct blob *shared = NULL;
    struct hold *h;
    DL_FOREACH (c->holds, h) {
        if (is_special(g, h->session, c, rows)) {
            tell_special(g, h->session, c, rows);
            continue;
        }
        if (!shared)
            shared = encode(g, c, rows);
        session_send(g, h->session, shared);
    }
    blob_unref(shared);
}

static void tell_run(struct gateway *g, struct run *run, const struct row *rows)
{
    for (struct shown_chunk *c = run->first; c; c = c->touched_next) {
        tell_chunk(g, c, rows);
        c->n_rows = 0;
    }
    *run = (struct run){NULL, NULL};
}

void fanout_rows(struct gateway *g, const struct row *rows, unsigned n)
{
    struct run run = {NULL, NULL};
    for (unsigned k = 0; k < n; k++) {
        struct shown_chunk *chunks[1 + MIRRORS_MAX];
        unsigned held = held_chunks(g, &rows[k], chunks);
        if (!fits(&run, chunks, held))
            tell_run(g, &run, rows);
        for (unsigned c = 0; c < held; c++) {
            told_note(g, chunks[c], rows[k].at);
            note_row(&run, chunks[c], k);
        }
    }
    tell_run(g, &run, rows);
}
