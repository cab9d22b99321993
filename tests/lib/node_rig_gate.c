/* The rig's gateway, and what it wants to be true in the end: see node_rig.h. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/node_rig.h"

enum { RETRY_MS = 50, SETTLE_MS = 60000, EDITS_PER_ROW = 100, FIRST_Y = 150 };

static const struct session_id author = {NRIG_GATE_ID, 1};

static void fail(const char *what, struct cell_pos at, uint64_t number)
{
    fprintf(stderr, "cell %d,%d, %llu: %s\n", at.i, at.j, (unsigned long long)number, what);
    abort();
}

static struct nrig_cell *find(struct node_rig *r, struct cell_pos at)
{
    for (unsigned k = 0; k < r->n_cells; k++) {
        if (cell_eq(r->cells[k].at, at))
            return &r->cells[k];
    }
    return NULL;
}

static struct nrig_cell *find_or_add(struct node_rig *r, struct cell_pos at)
{
    struct nrig_cell *c = find(r, at);
    if (c)
        return c;
    assert(r->n_cells < NRIG_CELLS);
    c = &r->cells[r->n_cells++];
    *c = (struct nrig_cell){.at = at};
    return c;
}

static void want(struct node_rig *r, struct nrig_cell *c, unsigned k, bool redirected)
{
    struct msg_want w = {.cell = c->at,
                         .presence = true,
                         .resume = c->epoch > 0,
                         .epoch = c->epoch,
                         .rev = c->rev,
                         .redirected = redirected};
    struct msg m = {.kind = MSG_SUBSCRIBE};
    m.subscribe.wants = &w;
    m.subscribe.n = 1;
    c->node = k;
    c->granted = false;
    c->retry_ms = 0;
    node_rig_say(r, k, &m);
}

/* ---- edits ---- */

/* From that seq on, all that are not answered. */
static void send_from(struct node_rig *r, struct nrig_cell *c, uint64_t seq)
{
    struct edit list[MSG_ITEMS_MAX];
    unsigned count = 0;
    uint64_t floor = 0;
    for (unsigned k = 0; k < r->n_edits && count < MSG_ITEMS_MAX; k++) {
        struct nrig_edit *e = &r->edits[k];
        if (e->cell != c || e->answered)
            continue;
        floor = floor ? floor : e->edit.seq;
        if (e->edit.seq < seq)
            continue;
        e->edit.floor = floor;
        list[count++] = e->edit;
    }
    struct msg m = {.kind = MSG_EDITS};
    m.edits.edits = list;
    m.edits.n = count;
    if (count && c->granted)
        node_rig_say(r, c->node, &m);
}

void node_rig_edit(struct node_rig *r, struct cell_pos at)
{
    struct nrig_cell *c = find(r, at);
    assert(c && r->n_edits < NRIG_EDITS);
    struct nrig_edit *e = &r->edits[r->n_edits++];
    uint64_t seq = ++c->last_seq;
    *e = (struct nrig_edit){.cell = c};
    e->edit = (struct edit){.session = author,
                            .seq = seq,
                            .kind = ROW_BLOCK,
                            .w = 1 + (int)(seq % 15),
                            .at = {at.i * CELL_SIZE + (int32_t)(seq % EDITS_PER_ROW),
                                   FIRST_Y + (int32_t)(seq / EDITS_PER_ROW % EDITS_PER_ROW), at.j * CELL_SIZE + 7}};
    send_from(r, c, seq);
}

unsigned node_rig_accepted(const struct node_rig *r)
{
    unsigned count = 0;
    for (unsigned k = 0; k < r->n_edits; k++)
        count += r->edits[k].answered;
    return count;
}

static void on_result(struct node_rig *r, unsigned node, const struct edit_result *res)
{
    struct nrig_cell *c = find(r, res->cell);
    if (!c || res->epoch < c->epoch)
        return;
    if (res->outcome == EDIT_WANTED) {
        if (c->granted && c->node == node)
            send_from(r, c, res->seq);
        return;
    }
    for (unsigned k = 0; k < r->n_edits; k++) {
        struct nrig_edit *e = &r->edits[k];
        if (e->cell != c || e->edit.seq != res->seq)
            continue;
        if (res->outcome == EDIT_REFUSED)
            fail("refused: it was applied before", c->at, res->seq);
        if (e->answered && res->outcome == EDIT_ACCEPTED)
            fail("accepted twice", c->at, res->seq);
        e->answered = true;
        e->outcome = res->outcome;
    }
}

/* ---- messages ---- */

static unsigned index_of(const struct node_rig *r, uint64_t id)
{
    for (unsigned k = 0; k < NRIG_NODES; k++) {
        if (id && r->node[k].node && r->node[k].id == id)
            return k;
    }
    return NRIG_NODES;
}

static void on_not_mine(struct node_rig *r, unsigned k, const struct msg_where *w)
{
    struct nrig_cell *c = find(r, w->cell);
    if (!c || c->node != k || (c->granted && w->epoch && w->epoch < c->epoch))
        return;
    unsigned to = index_of(r, w->owner ? w->owner : w->redirect);
    c->granted = false;
    if (to < NRIG_NODES && to != k && node_rig_linked(r, NRIG_GATE, to))
        want(r, c, to, !w->owner);
    else
        c->retry_ms = r->now_ms + RETRY_MS;
}

static void on_rows(struct node_rig *r, const struct msg *m)
{
    struct nrig_cell *c = find(r, m->rows.cell);
    if (!c || m->rows.epoch < c->epoch)
        return;
    for (unsigned k = 0; k < m->rows.n; k++) {
        if (m->rows.rows[k].rev <= c->rev)
            fail("a row was told twice", c->at, m->rows.rows[k].rev);
        c->rev = m->rows.rows[k].rev;
    }
    if (m->rows.rev > c->rev)
        c->rev = m->rows.rev;
}

void node_rig_gate_hear(struct node_rig *r, unsigned k, const struct msg *m)
{
    switch (m->kind) {
    case MSG_SUBSCRIBED:
        for (unsigned i = 0; i < m->subscribed.n; i++) {
            struct nrig_cell *c = find(r, m->subscribed.grants[i].cell);
            if (!c || m->subscribed.grants[i].epoch < c->epoch)
                continue;
            c->node = k;
            c->granted = true;
            c->epoch = m->subscribed.grants[i].epoch;
            c->rev = m->subscribed.grants[i].rev > c->rev ? m->subscribed.grants[i].rev : c->rev;
            send_from(r, c, 0);
        }
        break;
    case MSG_NOT_MINE:
        for (unsigned i = 0; i < m->not_mine.n; i++)
            on_not_mine(r, k, &m->not_mine.where[i]);
        break;
    case MSG_RESULTS:
        for (unsigned i = 0; i < m->results.n; i++)
            on_result(r, k, &m->results.results[i]);
        break;
    case MSG_ROWS:
        on_rows(r, m);
        break;
    default:
        break;
    }
}

void node_rig_gate_lost(struct node_rig *r, unsigned k)
{
    for (unsigned i = 0; i < r->n_cells; i++) {
        if (r->cells[i].node == k) {
            r->cells[i].granted = false;
            r->cells[i].retry_ms = r->now_ms + RETRY_MS;
        }
    }
}

void node_rig_gate_step(struct node_rig *r)
{
    for (unsigned i = 0; i < r->n_cells; i++) {
        struct nrig_cell *c = &r->cells[i];
        if (r->flow_ms && r->now_ms % r->flow_ms == 0)
            node_rig_edit(r, c->at);
        if (c->granted || !c->retry_ms || c->retry_ms > r->now_ms)
            continue;
        c->retry_ms = r->now_ms + RETRY_MS;
        for (unsigned k = 1; k <= NRIG_NODES; k++) {
            unsigned to = (c->node + k) % NRIG_NODES;
            const struct nrig_node *h = &r->node[to];
            if (h->node && !h->paused && !h->held && node_rig_linked(r, NRIG_GATE, to)) {
                want(r, c, to, true);
                break;
            }
        }
    }
}

static bool is_granted(struct node_rig *r, void *arg)
{
    (void)r;
    return ((struct nrig_cell *)arg)->granted;
}

bool node_rig_enter(struct node_rig *r, struct cell_pos at, unsigned k)
{
    struct nrig_cell *c = find_or_add(r, at);
    want(r, c, k, true);
    return node_rig_until(r, is_granted, c, SETTLE_MS, "the grant of a cell");
}

/* ---- the end ---- */

/* The one node that serves it, and Redis knows. */
static struct owned *owner(struct node_rig *r, const struct nrig_cell *c)
{
    struct owned *found = NULL;
    uint64_t id, epoch, nr;
    if (!model_redis_cell(r->redis, c->at, &id, &epoch, &nr))
        return NULL;
    for (unsigned k = 0; k < NRIG_NODES; k++) {
        struct owned *o = node_rig_owned(r, k, c->at);
        if (!o || o->state < OWN_SERVING)
            continue;
        bool going = o->out && !o->out->follow_only;
        if (found || o->frozen || going || r->node[k].id != id || o->epoch != epoch || o->n != nr)
            return NULL;
        found = o;
    }
    return found;
}

static bool is_settled(struct node_rig *r, void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < r->n_cells; i++) {
        struct nrig_cell *c = &r->cells[i];
        struct owned *o = owner(r, c);
        if (!c->granted || !o || o->n_kept || cell_dirty(o->cell) || o->in_flight || o->epoch != c->epoch)
            return false;
    }
    for (unsigned k = 0; k < r->n_edits; k++) {
        if (!r->edits[k].answered)
            return false;
    }
    return true;
}

static void mend(struct node_rig *r)
{
    bool some = false;
    r->kept = 0;
    r->silent = false;
    r->flow_ms = 0;
    for (unsigned k = 0; k < NRIG_NODES; k++) {
        struct nrig_node *h = &r->node[k];
        node_rig_redis(r, k, FATE_DONE);
        for (unsigned op = 0; op <= STORE_SAVE_PLACES; op++)
            h->rows[op] = FATE_DONE;
        node_rig_wake(r, k);
        some = some || h->node;
        for (unsigned to = 0; to <= NRIG_NODES; to++)
            r->parted_until[k][to] = r->parted_until[to][k] = 0;
    }
    if (!some)
        node_rig_start(r, 0);
}

bool node_rig_check(struct node_rig *r)
{
    mend(r);
    if (!node_rig_until(r, is_settled, NULL, SETTLE_MS, "one owner, and all edits answered and stored"))
        return false;
    struct arena *a = arena_new();
    for (unsigned k = 0; k < r->n_edits; k++) {
        const struct nrig_edit *e = &r->edits[k];
        struct row rows[EDIT_ROWS_MAX];
        const struct row *stored = model_store_row(r->store, ROW_BLOCK, e->edit.at, 0);
        cell_block_now(owner(r, e->cell)->cell, e->edit.at, a, rows);
        if (rows[0].w != e->edit.w)
            fail("an answered edit is not in the cell", e->cell->at, e->edit.seq);
        if (!stored || stored->w != e->edit.w)
            fail("an answered edit is not in the store", e->cell->at, e->edit.seq);
    }
    arena_free(a);
    for (unsigned i = 0; i < r->n_cells; i++) {
        struct nrig_cell *c = &r->cells[i];
        uint64_t rev = cell_rev(owner(r, c)->cell);
        if (rev % (1 << 20) != c->last_seq) /* a world that lost something starts 2^20 higher */
            fail("a change was made twice", c->at, rev);
        if (c->rev % (1 << 20) != c->last_seq)
            fail("the gateway was not told of a change", c->at, c->rev);
    }
    return true;
}
