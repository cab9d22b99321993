#include "gateway/sights.h"

#include <stdio.h>
#include <stdlib.h>

#include "gateway/interest.h"
#include "gateway/node_links.h"
#include "gateway/router.h"
#include "gateway/session.h"

enum {
    TICK_MS = 20,
    VIEW_TICKS = 12,  /* a session's view is compared with the world every so many ticks */
    GONE_MS = 1000,   /* in no frame for so long, while frames come */
    SILENT_MS = 5000, /* ... while none come: the owner has nobody left to tell of */
    GAP_MS = 500,     /* a node without frames for so long starts afresh: it was paused, or empty */
    LINE_MAX = 160
};

/* A player somewhere in the world, as the frames tell of it. */
struct other {
    uint32_t id; /* the hash key */
    struct session_id session;
    uint64_t count;
    struct place place;
    char nick[NICK_MAX + 1];
    unsigned renamed; /* counts its nicks; 0: none known yet */
    struct area *area;
    uint64_t seen_ms;
    bool gone;           /* out of the table; kept for those who still show it */
    unsigned refs;       /* views */
    uint64_t stamp;      /* chosen for, or found in, the view being compared */
    float distance;      /* in the view being compared */
    char line[LINE_MAX]; /* its P line, written once per position */
    size_t line_len;
    UT_hash_handle hh;
    struct other *prev, *next; /* of the area */
};

/* What a client shows of one other. */
struct view {
    struct other *other;
    uint64_t count;   /* of the position last sent */
    unsigned renamed; /* of the nick last sent */
};

/* ---- the table ---- */

static void other_free(struct gateway *g, struct other *o)
{
    HASH_DEL(g->others, o);
    DL_DELETE(o->area->others, o);
    o->area = NULL;
    o->gone = true;
    if (o->refs == 0)
        free(o);
}

static void other_unref(struct other *o)
{
    if (--o->refs == 0 && o->gone)
        free(o);
}

static struct other *other_find(struct gateway *g, uint32_t id)
{
    struct other *o;
    HASH_FIND(hh, g->others, &id, sizeof id, o);
    return o;
}

static void write_line(struct other *o)
{
    char line[CRAFT_OUT_MAX];
    size_t len = craft_player(line, o->id, &o->place);
    o->line_len = len < sizeof o->line ? len : 0;
    memcpy(o->line, line, o->line_len);
}

static void see(struct gateway *g, struct area *a, const struct msg_player *p)
{
    struct other *o = other_find(g, p->player);
    if (o && session_eq(o->session, p->session) && p->count < o->count)
        return; /* an older position: the player went on to another owner meanwhile */
    if (o && !session_eq(o->session, p->session)) {
        other_free(g, o);
        o = NULL;
    }
    if (!o) {
        o = mem_zalloc(sizeof *o);
        o->id = p->player;
        o->session = p->session;
        HASH_ADD(hh, g->others, id, sizeof o->id, o);
    } else {
        DL_DELETE(o->area->others, o);
    }
    DL_APPEND(a->others, o);
    o->area = a;
    o->seen_ms = g->now_ms;
    if (o->count != p->count || o->line_len == 0) {
        o->count = p->count;
        o->place = p->place;
        write_line(o);
    }
    if (p->nick[0] && strcmp(p->nick, o->nick) != 0) {
        snprintf(o->nick, sizeof o->nick, "%s", p->nick);
        o->renamed++;
    }
}

void sights_frame(struct gateway *g, uint64_t link, const struct msg_in_cell *c)
{
    struct area *a = router_heard(g, link, c->cell, c->epoch);
    if (!a)
        return;
    if (g->now_ms - a->node->frame_ms > GAP_MS)
        a->node->frames_from_ms = g->now_ms;
    a->node->frame_ms = g->now_ms;
    if (!a->presence)
        return; /* on its way when we gave it up */
    for (unsigned k = 0; k < c->n_players; k++)
        see(g, a, &c->players[k]);
    for (unsigned k = 0; k < c->n_left; k++) {
        struct other *o = other_find(g, c->left[k]);
        if (o && o->area == a)
            other_free(g, o);
    }
}

/* Frames of this owner begin now: who is in none of them has its second from here. */
void sights_granted(struct gateway *g, struct area *a)
{
    struct other *o;
    DL_FOREACH (a->others, o)
        o->seen_ms = g->now_ms;
}

void sights_forget(struct gateway *g, struct area *a)
{
    while (a->others)
        other_free(g, a->others);
}

static bool is_gone(const struct gateway *g, const struct other *o)
{
    const struct area *a = o->area;
    if (!area_owned(a))
        return false;
    uint64_t from = o->seen_ms > a->node->frames_from_ms ? o->seen_ms : a->node->frames_from_ms;
    return a->node->frame_ms >= from + GONE_MS || g->now_ms - o->seen_ms >= SILENT_MS;
}

static void sweep(struct gateway *g)
{
    struct other *o, *next;
    HASH_ITER (hh, g->others, o, next) {
        if (is_gone(g, o))
            other_free(g, o);
    }
}

/* ---- what a session watches ---- */

static bool same_watch(const struct watch *a, const struct watch *b)
{
    return cell_eq(a->from, b->from) && cell_eq(a->to, b->to);
}

static void watch_each(struct gateway *g, const struct watch *w, bool on)
{
    for (int32_t i = w->from.i; i <= w->to.i; i++) {
        for (int32_t j = w->from.j; j <= w->to.j; j++) {
            struct area *a = on ? router_hold(g, (struct cell_pos){i, j}) : router_find(g, (struct cell_pos){i, j});
            if (on) {
                router_watch(g, a);
            } else {
                router_unwatch(g, a);
                router_drop(g, a);
            }
        }
    }
}

void sights_moved(struct gateway *g, struct session *s)
{
    struct chunk_pos at = chunk_of_place(s->place.x, s->place.z);
    int32_t r = (int32_t)g->set.presence_chunks;
    struct watch w = {cell_of_chunk((struct chunk_pos){at.p - r, at.q - r}),
                      cell_of_chunk((struct chunk_pos){at.p + r, at.q + r})};
    if (s->watching && same_watch(&w, &s->watch))
        return;
    watch_each(g, &w, true);
    if (s->watching)
        watch_each(g, &s->watch, false);
    s->watch = w;
    s->watching = true;
}

/* ---- what a session shows ---- */

static int nearer(const void *a, const void *b)
{
    const struct other *x = *(struct other *const *)a, *y = *(struct other *const *)b;
    if (x->distance != y->distance)
        return x->distance < y->distance ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static void choose(struct gateway *g, struct session *s, struct other *o, unsigned *n)
{
    float dx = o->place.x - s->place.x, dy = o->place.y - s->place.y, dz = o->place.z - s->place.z;
    if (o->id == s->id || chunk_distance(chunk_of_place(o->place.x, o->place.z),
                                         chunk_of_place(s->place.x, s->place.z)) > g->set.presence_chunks)
        return;
    if (*n == g->nearby_cap) {
        g->nearby_cap = g->nearby_cap ? 2 * g->nearby_cap : 256;
        g->nearby = mem_resize(g->nearby, g->nearby_cap * sizeof *g->nearby);
    }
    o->distance = dx * dx + dy * dy + dz * dz;
    g->nearby[(*n)++] = o;
}

/* The players that the session is to show: the nearest, in g->nearby. */
static unsigned choose_all(struct gateway *g, struct session *s)
{
    unsigned n = 0;
    for (int32_t i = s->watch.from.i; i <= s->watch.to.i; i++) {
        for (int32_t j = s->watch.from.j; j <= s->watch.to.j; j++) {
            struct area *a = router_find(g, (struct cell_pos){i, j});
            struct other *o;
            DL_FOREACH (a->others, o)
                choose(g, s, o, &n);
        }
    }
    if (n > g->set.visible_max) {
        qsort(g->nearby, n, sizeof(struct other *), nearer);
        n = g->set.visible_max;
    }
    return n;
}

/* Lines are so short that copying them into one write costs less than a reference each. */
static void say_player(struct gateway *g, struct view *v)
{
    const struct other *o = v->other;
    if (v->count != o->count) {
        text_add(&g->out, o->line, o->line_len);
        v->count = o->count;
    }
    if (v->renamed != o->renamed) { /* a client ignores N before the first P */
        char *line = text_line(&g->out);
        g->out.len += craft_nick(line, o->id, o->nick);
        v->renamed = o->renamed;
    }
}

static void say_gone(struct gateway *g, uint32_t id)
{
    char *line = text_line(&g->out);
    g->out.len += craft_gone(line, id);
}

/* D for those who went, which makes room, then a place in the view for those who came. */
static void compare(struct gateway *g, struct session *s)
{
    unsigned chosen = choose_all(g, s), n = 0;
    g->stamp += 2;
    for (unsigned k = 0; k < chosen; k++)
        g->nearby[k]->stamp = g->stamp;
    for (unsigned k = 0; k < s->n_views; k++) {
        struct other *o = s->views[k].other;
        if (o->stamp == g->stamp && !o->gone) {
            o->stamp = g->stamp + 1;
            s->views[n++] = s->views[k];
            continue;
        }
        /* A player whose session is new under the same id (its gateway started again) is the same to the client. */
        struct other *again = o->gone ? other_find(g, o->id) : NULL;
        if (!again || again->stamp != g->stamp)
            say_gone(g, o->id);
        other_unref(o);
    }
    for (unsigned k = 0; k < chosen; k++) {
        struct other *o = g->nearby[k];
        if (o->stamp != g->stamp)
            continue;
        o->refs++;
        s->views[n++] = (struct view){.other = o, .count = o->count + 1};
    }
    s->n_views = n;
}

static void show(struct gateway *g, struct session *s)
{
    if (!s->views)
        s->views = mem_array(g->set.visible_max, sizeof *s->views);
    g->out.len = 0;
    if ((s->count + g->presence_turn) % VIEW_TICKS == 0)
        compare(g, s);
    for (unsigned k = 0; k < s->n_views; k++)
        say_player(g, &s->views[k]);
    if (g->out.len)
        session_write(g, s, g->out.data, g->out.len);
}

void sights_tick(struct gateway *g)
{
    if (g->now_ms < g->presence_due_ms)
        return;
    g->presence_due_ms = g->now_ms + TICK_MS;
    g->presence_turn++;
    sweep(g);
    for (struct session *s = g->by_player; s; s = s->hh.next) {
        if (!session_playing(s) || !s->watching)
            continue;
        if (session_slow(g, s)) /* the newest position of each is sent once it has caught up */
            metric_add(g->metrics.positions_left_out, 1);
        else
            show(g, s);
    }
}

void sights_drop(struct gateway *g, struct session *s)
{
    for (unsigned k = 0; k < s->n_views; k++)
        other_unref(s->views[k].other);
    free(s->views);
    s->views = NULL;
    s->n_views = 0;
    if (s->watching)
        watch_each(g, &s->watch, false);
    s->watching = false;
}

void sights_free_all(struct gateway *g)
{
    struct other *o, *next;
    HASH_ITER (hh, g->others, o, next)
        other_free(g, o);
    free(g->nearby);
}
