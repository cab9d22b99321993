#include "gateway/positions.h"

#include "gateway/interest.h"
#include "gateway/node_links.h"
#include "gateway/router.h"
#include "gateway/session.h"
#include "gateway/sights.h"

enum { SWEEP_MS = 5000 };

/* After the enter, on the link that the enter took, even if the cell has moved since: the enter may still be on its
 * way, and its reader may have the cell again. */
static void send_leave(struct gateway *g, struct session *s, bool moved_on)
{
    struct msg m = {.kind = MSG_LEAVE};
    struct node_link *n = node_links_by_link(g, s->entered_link);
    m.leave = (struct msg_leave){session_id(g, s), s->entered->cell, moved_on};
    if (n)
        node_links_send(g, n, &m);
}

static void enter(struct gateway *g, struct session *s)
{
    struct area *old = s->entered;
    struct msg m = {.kind = MSG_ENTER};
    m.enter = (struct msg_enter){.session = session_id(g, s),
                                 .player = s->id,
                                 .nick = s->nick,
                                 .account = s->visit ? s->account : "",
                                 .visit = s->visit,
                                 .count = s->moves,
                                 .place = s->place,
                                 .cell = s->at->cell};
    node_links_send(g, s->at->node, &m);
    s->moved = false;
    if (old != s->at) {
        if (old) {
            send_leave(g, s, true);
            router_drop(g, old);
        }
        s->entered = router_hold(g, s->at->cell);
    }
    s->entered_grant = s->at->grants;
    s->entered_link = s->at->node->link;
}

/* Stands in the cell of its place from now on. */
static void stand(struct gateway *g, struct session *s)
{
    struct cell_pos cell = cell_of_chunk(chunk_of_place(s->place.x, s->place.z));
    if (s->at && cell_eq(s->at->cell, cell))
        return;
    struct area *to = router_hold(g, cell);
    if (s->at) {
        DL_DELETE2(s->at->standing, s, at_prev, at_next);
        router_drop(g, s->at);
    }
    s->at = to;
    DL_APPEND2(to->standing, s, at_prev, at_next);
}

void positions_set(struct gateway *g, struct session *s, const struct place *p)
{
    struct chunk_pos before = chunk_of_place(s->place.x, s->place.z), now = chunk_of_place(p->x, p->z);
    s->place = *p;
    s->moves++;
    s->moved = true;
    stand(g, s);
    if (!s->watching || !chunk_eq(before, now))
        sights_moved(g, s);
    if (chunk_distance(before, now) >= DROP_CHUNKS || g->now_ms - s->swept_ms >= SWEEP_MS)
        interest_sweep(g, s);
}

void positions_renamed(struct gateway *g, struct session *s)
{
    if (s->at && s->entered == s->at && area_owned(s->at))
        enter(g, s);
}

void positions_granted(struct gateway *g, struct area *a)
{
    struct session *s;
    a->grants++;
    DL_FOREACH2(a->standing, s, at_next)
    enter(g, s);
}

void positions_tick(struct gateway *g)
{
    for (struct session *s = g->by_player; s; s = s->hh.next) {
        if (!s->moved || !s->at || !area_owned(s->at))
            continue;
        /* The cell may have a new owner since he stood in it last, who never heard of him. */
        if (s->entered != s->at || s->entered_grant != s->at->grants) {
            enter(g, s);
            continue;
        }
        struct msg_move m = {session_id(g, s), s->moves, s->place, s->at->cell};
        node_links_move(s->at->node, &m);
        s->moved = false;
    }
}

void positions_leave(struct gateway *g, struct session *s)
{
    if (s->moved && s->at && area_owned(s->at))
        enter(g, s); /* its last step: there it stands when it joins again */
    if (s->entered)
        send_leave(g, s, false);
    positions_forget(g, s);
}

void positions_forget(struct gateway *g, struct session *s)
{
    if (s->entered)
        router_drop(g, s->entered);
    if (s->at) {
        DL_DELETE2(s->at->standing, s, at_prev, at_next);
        router_drop(g, s->at);
    }
    s->at = s->entered = NULL;
}
