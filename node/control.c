/* The operator's end: what this node is and holds, moves by hand, draining.
 *
 * Only a link that proved the world's secret under the role "control" gets here. Status leaves in pieces, since a node
 * may hold thousands of cells; a move is answered when its handoff ended; a drain at once, and is watched by asking for
 * the status. What left this node is counted here, and the last freezes are kept, so that a drain can be summed up. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/buffer.h>

#include "node/own/handoff.h"
#include "node/own/placement.h"
#include "node/parts.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"

enum { PERCENT = 100 };

const char *node_phase_text(const struct node *n)
{
    if (n->ended)
        return "gone";
    if (!n->joined)
        return "joining";
    return spot_only_drained(&n->spot) ? "draining" : spot_phase_text(n->spot.phase);
}

/* ---- what left ---- */

void control_froze(struct node *n, uint32_t us)
{
    n->freezes_us[n->gone.freezes++ % FREEZES_KEPT] = us;
}

void control_moved(struct node *n, const struct owned *o)
{
    n->gone.moved++;
    n->gone.handed_back += o->n_handed_back;
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* The nearest rank; sorted has n of them, at least one. */
static uint32_t percentile(const uint32_t *sorted, uint64_t n, unsigned percent)
{
    uint64_t rank = (n * percent + PERCENT - 1) / PERCENT;
    return sorted[rank ? rank - 1 : 0];
}

/* "name":{...}: what left since then. */
static void json_left(const struct node *n, const struct left *since, struct evbuffer *out)
{
    uint64_t count = n->gone.freezes - since->freezes;
    if (count > FREEZES_KEPT)
        count = FREEZES_KEPT;
    uint32_t *sorted = mem_array(count + 1, sizeof *sorted); /* one zero when there is none */
    for (uint64_t k = 0; k < count; k++)
        sorted[k] = n->freezes_us[(n->gone.freezes - count + k) % FREEZES_KEPT];
    qsort(sorted, count, sizeof *sorted, by_size);
    evbuffer_add_printf(out,
                        "\"moved\":%llu,\"released\":%llu,\"bytes\":%llu,\"handed_back\":%llu,\"freeze_p50_us\":%u,"
                        "\"freeze_p99_us\":%u,\"freeze_max_us\":%u",
                        (unsigned long long)(n->gone.moved - since->moved),
                        (unsigned long long)(n->gone.released - since->released),
                        (unsigned long long)(n->gone.bytes - since->bytes),
                        (unsigned long long)(n->gone.handed_back - since->handed_back), percentile(sorted, count, 50),
                        percentile(sorted, count, 99), sorted[count ? count - 1 : 0]);
    free(sorted);
}

/* ---- status ---- */

static void json_text(const char *text, struct evbuffer *out)
{
    evbuffer_add(out, "\"", 1);
    for (const char *c = text; *c; c++) {
        if (*c == '"' || *c == '\\')
            evbuffer_add_printf(out, "\\%c", *c);
        else if ((unsigned char)*c < ' ')
            evbuffer_add_printf(out, "\\u%04x", *c);
        else
            evbuffer_add(out, c, 1);
    }
    evbuffer_add(out, "\"", 1);
}

static void json_cells(const struct node *n, struct evbuffer *out)
{
    evbuffer_add_printf(out, ",\"cell\":[");
    for (const struct owned *o = n->cells; o; o = o->hh.next)
        evbuffer_add_printf(out,
                            "%s{\"i\":%d,\"j\":%d,\"state\":\"%s\",\"handoff\":\"%s\",\"epoch\":%llu,\"n\":%llu,"
                            "\"rev\":%llu,\"rows\":%zu,"
                            "\"players\":%u,\"subscribers\":%u,\"journal\":%u}",
                            o == n->cells ? "" : ",", o->at.i, o->at.j, owned_state_text(o->state),
                            handoff_phase_text(o), (unsigned long long)o->epoch, (unsigned long long)o->n,
                            (unsigned long long)(o->cell ? cell_rev(o->cell) : 0), o->cell ? cell_rows(o->cell) : 0,
                            o->players ? players_count(o->players) : 0, o->n_subs, o->n_kept);
    evbuffer_add_printf(out, "]");
}

/* What the load is made of. */
static void json_load(const struct node *n, struct evbuffer *out)
{
    struct node_load l = load_node(n);
    evbuffer_add_printf(out,
                        ",\"load_of\":{\"weights\":%u,\"coming\":%u,\"edits_per_s\":%.3f,"
                        "\"presence_bytes_per_s\":%u,\"cpu\":%.3f}",
                        l.weights, l.coming, l.edits_milli / 1e3, l.presence_bps, l.cpu_milli / 1e3);
}

/* Why it leaves, how long it has, and what is left to do. */
static void json_leaving(const struct node *n, struct evbuffer *out)
{
    uint64_t now = node_now(n), deadline = n->spot.deadline_ms;
    evbuffer_add_printf(out,
                        ",\"leaving\":{\"why\":\"%s\",\"deadline_ms\":%llu,\"cells_left\":%u,\"cells_then\":%u,"
                        "\"will_hold\":%s}",
                        n->spot.why, (unsigned long long)(deadline > now ? deadline - now : 0), HASH_COUNT(n->cells),
                        n->leave_cells, moves_will_hold(n) ? "true" : "false");
}

static void json_followers(const struct node *n, struct evbuffer *out)
{
    unsigned cells;
    uint64_t rows;
    follow_count(n, &cells, &rows);
    evbuffer_add_printf(out, ",\"followers\":{\"cells\":%u,\"rows\":%llu}", cells, (unsigned long long)rows);
}

static void json_status(const struct node *n, bool cells, struct evbuffer *out)
{
    static const struct left nothing;
    struct node_stats s;
    node_stats(n, &s);
    evbuffer_add_printf(out,
                        "{\"role\":\"node\",\"id\":\"%016llx\",\"state\":\"%s\",\"lease\":\"%s\",\"generation\":%llu,"
                        "\"cells\":%u,\"cells_serving\":%u,\"players\":%u,\"links\":%u,\"journal_batches\":%u,"
                        "\"pending_edits\":%u,\"oldest_dirty_ms\":%llu,\"members\":%u,\"load\":%u,\"pool\":",
                        (unsigned long long)n->id, node_phase_text(n), lease_state_text(&n->lease),
                        (unsigned long long)n->generation, s.cells, s.cells_serving, s.players, s.links,
                        s.journal_batches, s.pending_edits, (unsigned long long)s.oldest_dirty_ms, n->n_members,
                        s.load);
    json_text(n->set.pool, out);
    evbuffer_add_printf(out, ",\"instance\":");
    json_text(n->set.instance, out);
    json_load(n, out);
    json_followers(n, out);
    if (n->spot.phase >= SPOT_LEAVING && n->spot.deadline_ms)
        json_leaving(n, out);
    evbuffer_add_printf(out, ",\"left\":{");
    json_left(n, &nothing, out);
    evbuffer_add_printf(out, "}");
    if (n->drain_ms) {
        evbuffer_add_printf(out, ",\"drain\":{\"ms\":%llu,\"cells_then\":%u,",
                            (unsigned long long)(node_now(n) - n->drain_ms), n->drain_cells);
        json_left(n, &n->gone_before, out);
        evbuffer_add_printf(out, "}");
    }
    if (cells)
        json_cells(n, out);
    evbuffer_add_printf(out, "}\n");
}

void node_status_json(const struct node *n, struct evbuffer *out)
{
    json_status(n, true, out);
}

static void send_status(struct node *n, uint64_t link, const struct msg *asked)
{
    struct evbuffer *json = evbuffer_new();
    struct msg m = {.kind = MSG_STATUS_IS, .request_id = asked->request_id};
    if (!json) {
        log_error("out_of_memory what=status");
        abort();
    }
    json_status(n, asked->control.cells, json);
    while (!m.control.status.last) {
        size_t all = evbuffer_get_length(json), piece = all < STATUS_PIECE_MAX ? all : STATUS_PIECE_MAX;
        m.control.status.json = evbuffer_pullup(json, (ev_ssize_t)piece);
        m.control.status.bytes = piece;
        m.control.status.last = piece == all;
        node_send(n, link, &m);
        evbuffer_drain(json, piece);
    }
    evbuffer_free(json);
}

/* ---- commands ---- */

static void done(struct node *n, uint64_t link, uint64_t request_id, enum done_result result, const char *text)
{
    struct msg m = {.kind = MSG_DONE, .request_id = request_id};
    m.control.done.result = result;
    m.control.done.text = text;
    node_send(n, link, &m);
}

void control_ended(struct node *n, uint64_t no, const char *why)
{
    for (unsigned k = 0; k < n->n_asked; k++) {
        struct asked_move a = n->asked[k];
        if (a.no != no)
            continue;
        n->asked[k--] = n->asked[--n->n_asked];
        done(n, a.link, a.request_id, why ? DONE_FAILED : DONE_OK, why ? why : "moved");
    }
}

void control_link_down(struct node *n, uint64_t link)
{
    for (unsigned k = 0; k < n->n_asked; k++) {
        if (n->asked[k].link == link) /* the move goes on; nobody is left to be told */
            n->asked[k--] = n->asked[--n->n_asked];
    }
}

/* Why that node cannot be offered a cell; NULL: it can. Whether it takes one it knows best itself: the list of the
 * living is up to a renewal old. */
static const char *unfit(struct node *n, uint64_t target)
{
    for (unsigned k = 0; k < n->n_members; k++) {
        if (n->members[k].id == target)
            return keep_link_to(n, target) ? NULL : "the target is not linked with the cell's owner";
    }
    return "the target is not a living node of this world";
}

/* Why a served cell cannot leave for the target now; NULL: it is on its way. */
static const char *begin(struct node *n, struct owned *o, uint64_t target)
{
    if (o->out && !o->out->follow_only)
        return "the cell is on its way to a node already";
    if (n->n_asked == ASKED_MOVES_MAX)
        return "too many moves were asked for at a time";
    if (o->out && o->out->target == target) {
        handoff_promote_to(n, o); /* it has a copy */
        return NULL;
    }
    if (o->out)
        handoff_cancel(n, o, "moved by hand to another node");
    return handoff_offer(n, o, target, false) ? NULL : "the cell is being written back to Redis";
}

static void on_move(struct node *n, uint64_t link, const struct msg *m)
{
    uint64_t target = m->control.move.node;
    struct owned *o = node_owned(n, m->control.move.cell);
    const char *why;
    if (!o || o->state != OWN_SERVING) {
        done(n, link, m->request_id, DONE_NOT_SERVED, "the cell is not served by this node");
    } else if (target == n->id) {
        done(n, link, m->request_id, DONE_OK, "it is there already");
    } else if ((why = unfit(n, target))) {
        done(n, link, m->request_id, DONE_NO_TARGET, why);
    } else if ((why = begin(n, o, target))) {
        done(n, link, m->request_id, DONE_NOT_NOW, why);
    } else {
        log_info("move_asked cell=%d,%d to=%016llx", o->at.i, o->at.j, (unsigned long long)target);
        n->asked[n->n_asked++] = (struct asked_move){link, m->request_id, o->out->no};
    }
}

void control_msg(struct node *n, struct gate_link *l, const struct msg *m)
{
    switch (m->kind) {
    case MSG_STATUS_GET:
        send_status(n, l->link, m);
        break;
    case MSG_MOVE_CELL:
        on_move(n, l->link, m);
        break;
    case MSG_DRAIN:
        if (node_drain(n))
            done(n, l->link, m->request_id, DONE_OK, "draining");
        else
            done(n, l->link, m->request_id, DONE_NOT_NOW, "the node is joining or stopping");
        break;
    case MSG_UNDRAIN:
        if (node_undrain(n))
            done(n, l->link, m->request_id, DONE_OK, "running");
        else
            done(n, l->link, m->request_id, DONE_NOT_NOW, "the node is joining or stopping");
        break;
    default:
        break;
    }
}
