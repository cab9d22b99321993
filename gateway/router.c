#include "gateway/router.h"

#include <assert.h>
#include <inttypes.h>

#include "gateway/chunks.h"
#include "gateway/edits.h"
#include "gateway/membership.h"
#include "gateway/node_links.h"
#include "gateway/positions.h"
#include "gateway/sights.h"

enum {
    OWNERS_PER_REQUEST = 1024,
    OWNER_REQUESTS_MAX = 4, /* in flight */
    BACKOFF_MIN_MS = 20,
    BACKOFF_MAX_MS = 500,
    ASK_MS = 10000,      /* coord has deadlines of its own; this is for a reply that never comes */
    DIAL_WAIT_MS = 1500, /* then another node is asked */
    SUBSCRIBE_MS = 3000,
    HOPS_MAX = 3,    /* a node names another: followed so often without waiting */
    IDLE_MS = 10000, /* without interest: unsubscribed after this */
    UNWATCHED_MS = 10000,
    CROWDED = 16 /* a node may have so many cells more than the mean before neighbours go elsewhere */
};

const char *area_state_text(enum area_state s)
{
    static const char *const text[AREA_STATES] = {"waiting", "asking", "dialing", "subscribing", "owned"};
    return text[s];
}

/* Row: where we are. Bits: where we may go. A grant can cross our question: then we subscribe there after all. */
static const unsigned may_go[AREA_STATES] = {
    [AREA_WAITING] = 1u << AREA_ASKING | 1u << AREA_SUBSCRIBING,
    [AREA_ASKING] = 1u << AREA_WAITING | 1u << AREA_DIALING | 1u << AREA_SUBSCRIBING,
    [AREA_DIALING] = 1u << AREA_WAITING | 1u << AREA_DIALING | 1u << AREA_SUBSCRIBING,
    [AREA_SUBSCRIBING] = 1u << AREA_WAITING | 1u << AREA_DIALING | 1u << AREA_SUBSCRIBING | 1u << AREA_OWNED,
    [AREA_OWNED] = 1u << AREA_WAITING | 1u << AREA_DIALING | 1u << AREA_SUBSCRIBING,
};

static void move(struct gateway *g, struct area *a, enum area_state to, struct node_link *node)
{
    assert(may_go[a->state] & 1u << to);
    log_debug("area cell=%d,%d from=%s to=%s epoch=%" PRIu64, a->cell.i, a->cell.j, area_state_text(a->state),
              area_state_text(to), a->epoch);
    bool was_owned = area_owned(a);
    if (node)
        node->n_areas++;
    if (a->node)
        a->node->n_areas--;
    a->node = node;
    a->state = to;
    if (was_owned) {
        DL_APPEND(g->loose, a);
        a->parked_ms = g->now_ms;
        a->presence = false;
        chunks_lost(a);
    } else if (to == AREA_OWNED) {
        DL_DELETE(g->loose, a);
    }
}

static void wait_ms(struct gateway *g, struct area *a, uint64_t ms)
{
    a->redirected = false;
    a->due_ms = ms ? gateway_later(g, ms) : g->now_ms;
    g->router_due = g->router_due || ms == 0;
    if (a->state != AREA_WAITING)
        move(g, a, AREA_WAITING, NULL);
}

/* Another try, a little later each time. */
static void back_off(struct gateway *g, struct area *a)
{
    unsigned shift = a->tries < 5 ? a->tries : 5;
    uint64_t ms = (uint64_t)BACKOFF_MIN_MS << shift;
    a->tries++;
    wait_ms(g, a, ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS);
}

static void subscribe(struct gateway *g, struct area *a, struct node_link *n)
{
    struct msg_want w = {.cell = a->cell,
                         .presence = a->watchers > 0,
                         .resume = a->known,
                         .epoch = a->epoch,
                         .rev = a->rev,
                         .redirected = a->redirected};
    move(g, a, AREA_SUBSCRIBING, n);
    a->presence = w.presence;
    a->due_ms = g->now_ms + SUBSCRIBE_MS;
    node_links_want(n, &w);
}

/* ---- which node ---- */

static uint64_t mix(uint64_t v)
{
    v ^= v >> 33;
    v *= 0xff51afd7ed558ccdu;
    v ^= v >> 33;
    v *= 0xc4ceb9fe1a85ec53u;
    return v ^ v >> 33;
}

/* How many of the cell's neighbours we have at node n, as far as we know. */
static unsigned neighbours_at(struct gateway *g, const struct area *a, const struct node_link *n)
{
    unsigned count = 0;
    for (int di = -1; di <= 1; di++) {
        for (int dj = -1; dj <= 1; dj++) {
            struct area *b = router_find(g, (struct cell_pos){a->cell.i + di, a->cell.j + dj});
            count += b && b != a && b->node == n ? 1 : 0;
        }
    }
    return count;
}

/* For a cell without owner: where its neighbours are, unless that is a crowded node; ties by rendezvous hash. The nodes
 * know better and may send us on; the claim decides. */
static struct node_link *choose(struct gateway *g, const struct area *a)
{
    struct node_link *best = NULL;
    unsigned best_near = 0;
    uint64_t best_hash = 0, sum = 0, up = 0;
    bool any_running = false;
    for (struct node_link *n = g->nodes_by_link; n; n = n->hh_link.next) {
        any_running = any_running || (n->running && n->id != a->avoid);
        sum += n->load;
        up++;
    }
    for (struct node_link *n = g->nodes_by_link; n; n = n->hh_link.next) {
        if ((any_running && !n->running) || (n->id == a->avoid && up > 1))
            continue;
        bool crowded = n->load > sum / up + sum / up / 4 + CROWDED;
        unsigned near = crowded ? 0 : neighbours_at(g, a, n);
        uint64_t hash = mix(n->id ^ mix(a->id));
        if (!best || near > best_near || (near == best_near && hash > best_hash)) {
            best = n;
            best_near = near;
            best_hash = hash;
        }
    }
    return best;
}

static void go_anywhere(struct gateway *g, struct area *a)
{
    struct node_link *n = choose(g, a);
    a->redirected = false;
    if (n)
        subscribe(g, a, n);
    else
        back_off(g, a);
}

/* To the node that is said to own it, or to be willing to. One that cannot be reached is not waited for: another is
 * asked, and claims the cell once the lease of the first is gone. */
static void go_to(struct gateway *g, struct area *a, uint64_t node, bool redirected)
{
    struct node_link *n = node_links_find(g, node);
    a->redirected = redirected;
    if (n && n->state == LINK_UP) {
        subscribe(g, a, n);
    } else if (n && n->state == LINK_DIALING) {
        move(g, a, AREA_DIALING, n);
        a->due_ms = g->now_ms + DIAL_WAIT_MS;
    } else {
        if (!n)
            membership_look_again(g);
        a->avoid = node;
        go_anywhere(g, a);
    }
}

/* ---- asking Redis ---- */

static void on_owner(struct gateway *g, struct area *a, const struct coord_cell *c, enum err err)
{
    if (area_owned(a)) {
        /* read again because news may have been missed */
        if (err == ERR_OK && c->owner && c->owner_epoch > a->epoch && a->node->id != c->owner)
            go_to(g, a, c->owner, false);
        return;
    }
    if (a->state != AREA_ASKING)
        return;
    if (err != ERR_OK)
        back_off(g, a);
    else if (c->owner && c->owner_alive)
        go_to(g, a, c->owner, false);
    else
        go_anywhere(g, a);
}

static void on_owners(struct gateway *g, const struct coord_req *r, const struct ask *ask)
{
    (void)ask;
    g->owner_requests--;
    for (unsigned k = 0; k < r->cells.n; k++) {
        struct area *a = router_find(g, r->cells.cells[k].cell);
        if (a)
            on_owner(g, a, &r->cells.cells[k], r->err);
    }
}

static void ask_owners(struct gateway *g, const struct cell_pos *cells, unsigned n)
{
    struct coord_req *r = ask_new(g, COORD_OWNERS, 0, on_owners);
    struct coord_cell *out = coord_req_cells(r, n);
    for (unsigned k = 0; k < n; k++)
        out[k].cell = cells[k];
    g->owner_requests++;
    coord_submit(g->env.coord, r);
}

void router_recheck(struct gateway *g)
{
    struct cell_pos cells[OWNERS_PER_REQUEST];
    unsigned n = 0;
    for (struct area *a = g->areas; a; a = a->hh.next) {
        if (!area_owned(a))
            continue;
        cells[n++] = a->cell;
        if (n == OWNERS_PER_REQUEST || !a->hh.next) {
            ask_owners(g, cells, n);
            n = 0;
        }
    }
    if (n)
        ask_owners(g, cells, n);
}

void router_turn(struct gateway *g)
{
    struct cell_pos cells[OWNERS_PER_REQUEST];
    unsigned n = 0;
    struct area *a, *next;
    if (!g->router_due || !g->was_renewed || g->owner_requests >= OWNER_REQUESTS_MAX)
        return;
    g->router_due = false;
    DL_FOREACH_SAFE (g->loose, a, next) {
        if (a->state != AREA_WAITING || a->due_ms > g->now_ms)
            continue;
        if (n == OWNERS_PER_REQUEST) {
            g->router_due = true;
            break;
        }
        cells[n++] = a->cell;
        a->due_ms = g->now_ms + ASK_MS;
        move(g, a, AREA_ASKING, NULL);
    }
    if (n)
        ask_owners(g, cells, n);
}

void router_tick(struct gateway *g)
{
    struct area *a, *next;
    DL_FOREACH_SAFE (g->loose, a, next) {
        if (a->due_ms > g->now_ms)
            continue;
        switch (a->state) {
        case AREA_WAITING:
            g->router_due = true;
            break;
        case AREA_DIALING:
            a->avoid = a->node->id;
            go_anywhere(g, a);
            break;
        default:
            back_off(g, a);
            break;
        }
    }
    router_turn(g);
}

/* ---- what nodes say ---- */

/* Tells the owner whether we want presence frames; its rows go on as they are. */
static void want_presence(struct area *a, bool on)
{
    struct msg_want w = {.cell = a->cell, .presence = on, .epoch = a->epoch, .rev = a->rev};
    a->presence = on;
    node_links_want(a->node, &w);
}

static void granted(struct gateway *g, struct area *a, struct node_link *n, const struct msg_grant *grant)
{
    if (grant->epoch > a->epoch)
        log_debug("granted cell=%d,%d node=%016" PRIx64 " epoch=%" PRIu64, a->cell.i, a->cell.j, n->id, grant->epoch);
    a->epoch = grant->epoch;
    a->rev = grant->rev;
    a->known = true;
    a->redirected = false;
    a->tries = 0;
    a->avoid = 0;
    move(g, a, AREA_OWNED, n);
    if (a->watchers && !a->presence) /* the watchers came since we asked */
        want_presence(a, true);
    sights_granted(g, a);
    edits_granted(g, a);
    chunks_granted(g, a);
    positions_granted(g, a);
}

void router_subscribed(struct gateway *g, uint64_t link, const struct msg_grant *grant)
{
    struct node_link *n = node_links_by_link(g, link);
    struct area *a = router_find(g, grant->cell);
    if (!n || !a || area_owned(a)) /* owned: the answer to a change of what we want to be told */
        return;
    if (grant->epoch < a->epoch) { /* it does not know yet that it lost the cell */
        if (a->node == n)
            back_off(g, a);
        return;
    }
    if (a->node != n) { /* we had given it up, and did not listen to the rows that came before the grant */
        subscribe(g, a, n);
        return;
    }
    granted(g, a, n, grant);
}

void router_not_mine(struct gateway *g, uint64_t link, const struct msg_where *w)
{
    struct area *a = router_find(g, w->cell);
    if (!a || !a->node || a->node->state != LINK_UP || a->node->link != link || a->state < AREA_SUBSCRIBING)
        return;
    uint64_t here = a->node->id;
    bool may_hop = a->tries < HOPS_MAX;
    if (w->redirect && w->redirect != here && !a->redirected) {
        a->tries++;
        go_to(g, a, w->redirect, true);
    } else if (w->owner && w->owner != here && may_hop) {
        a->tries++;
        go_to(g, a, w->owner, false);
    } else if (area_owned(a) && a->tries == 0) {
        a->tries++;
        wait_ms(g, a, 0);
    } else {
        back_off(g, a);
    }
}

static bool from_its_node(const struct area *a, uint64_t link)
{
    return a && a->node && a->node->state == LINK_UP && a->node->link == link;
}

struct area *router_heard(struct gateway *g, uint64_t link, struct cell_pos cell, uint64_t epoch)
{
    struct area *a = router_find(g, cell);
    if (!from_its_node(a, link) || !area_owned(a))
        return NULL;
    if (epoch > a->epoch) /* the same node, claimed anew: what it had not answered may be gone */
        subscribe(g, a, a->node);
    return area_owned(a) && epoch == a->epoch ? a : NULL;
}

struct area *router_resumed(struct gateway *g, uint64_t link, struct cell_pos cell, uint64_t epoch)
{
    struct area *a = router_find(g, cell);
    return from_its_node(a, link) && a->state >= AREA_SUBSCRIBING && epoch >= a->epoch ? a : NULL;
}

void router_node_up(struct gateway *g, struct node_link *n)
{
    struct area *a, *next;
    DL_FOREACH_SAFE (g->loose, a, next) {
        if (a->state == AREA_DIALING && a->node == n)
            subscribe(g, a, n);
        else if (a->state == AREA_WAITING) /* there may have been no node at all */
            wait_ms(g, a, 0);
    }
}

void router_node_lost(struct gateway *g, struct node_link *n)
{
    if (n->n_areas == 0)
        return;
    for (struct area *a = g->areas; a; a = a->hh.next) {
        if (a->node != n)
            continue;
        a->avoid = n->id;
        if (a->state == AREA_DIALING)
            go_anywhere(g, a);
        else
            wait_ms(g, a, 0);
    }
}

/* ---- interest ---- */

struct area *router_find(struct gateway *g, struct cell_pos cell)
{
    struct area *a;
    uint64_t id = cell_id(cell);
    HASH_FIND(hh, g->areas, &id, sizeof id, a);
    return a;
}

struct area *router_hold(struct gateway *g, struct cell_pos cell)
{
    struct area *a = router_find(g, cell);
    if (!a) {
        a = mem_zalloc(sizeof *a);
        a->id = cell_id(cell);
        a->cell = cell;
        a->due_ms = a->parked_ms = g->now_ms;
        HASH_ADD(hh, g->areas, id, sizeof a->id, a);
        DL_APPEND(g->loose, a);
        g->router_due = true;
    }
    a->refs++;
    return a;
}

void router_drop(struct gateway *g, struct area *a)
{
    assert(a->refs > 0);
    if (--a->refs == 0)
        a->idle_ms = g->now_ms;
}

void router_watch(struct gateway *g, struct area *a)
{
    a->watchers++;
    if (area_owned(a) && !a->presence) {
        want_presence(a, true);
        sights_granted(g, a);
    }
}

void router_unwatch(struct gateway *g, struct area *a)
{
    assert(a->watchers > 0);
    if (--a->watchers == 0)
        a->unwatched_ms = g->now_ms;
}

static void area_free(struct gateway *g, struct area *a)
{
    if (area_owned(a))
        node_links_unwant(a->node, a->cell);
    else
        DL_DELETE(g->loose, a);
    if (a->node)
        a->node->n_areas--;
    HASH_DEL(g->areas, a);
    free(a);
}

void router_sweep(struct gateway *g)
{
    struct area *a, *next;
    HASH_ITER (hh, g->areas, a, next) {
        chunks_sweep(g, a);
        if (a->watchers == 0 && g->now_ms - a->unwatched_ms >= UNWATCHED_MS) {
            sights_forget(g, a);
            if (area_owned(a) && a->presence)
                want_presence(a, false);
        }
        if (a->refs == 0 && a->watchers == 0 && g->now_ms - a->idle_ms >= IDLE_MS)
            area_free(g, a);
    }
}

void router_free_all(struct gateway *g)
{
    struct area *a, *next;
    HASH_ITER (hh, g->areas, a, next) {
        HASH_DEL(g->areas, a);
        free(a);
    }
}

unsigned router_parked(const struct gateway *g)
{
    unsigned n = 0;
    const struct area *a;
    DL_FOREACH (g->loose, a)
        n++;
    return n;
}
