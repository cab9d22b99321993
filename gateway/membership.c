#include "gateway/membership.h"

#include <inttypes.h>
#include <stdio.h>

#include "gateway/joining.h"
#include "gateway/node_links.h"
#include "gateway/session.h"

enum { IDS_PER_BLOCK = 64, PLACES_MS = 1000, RETRY_MS = 250, LOOK_AGAIN_MS = 50 };

/* ---- the world and the lease ---- */

static void on_world(struct gateway *g, const struct coord_req *r, const struct ask *a)
{
    (void)a;
    g->asking_world = false;
    g->renew_due_ms = g->now_ms;
    if (r->err == ERR_OK) {
        g->world_joined = true;
    } else if (r->err == ERR_MISMATCH) {
        g->failed = "this world has another cell size or schema";
        log_error("gateway_failed why=\"%s\"", g->failed);
    } else {
        g->renew_due_ms = gateway_later(g, RETRY_MS);
    }
}

static void ask_world(struct gateway *g)
{
    struct coord_req *r = ask_new(g, COORD_JOIN_WORLD, 0, on_world);
    r->world.cell_chunks = CELL_CHUNKS;
    r->world.schema = SCHEMA_VERSION;
    g->asking_world = true;
    coord_submit(g->env.coord, r);
}

static void reclaim_names(struct gateway *g)
{
    log_warn("lease_was_gone: taking the nicks of our players again");
    for (struct session *s = g->by_player; s; s = s->hh.next)
        joining_reclaim(g, s);
}

static void on_renewed(struct gateway *g, const struct coord_req *r, const struct ask *a)
{
    (void)a;
    g->renewing = false;
    if (r->err != ERR_OK) {
        g->renew_due_ms = gateway_later(g, RETRY_MS);
        return;
    }
    bool had_lease = g->was_renewed;
    g->was_renewed = true;
    g->renewed_ms = g->now_ms;
    if (had_lease && !r->renew.existed)
        reclaim_names(g);
    node_links_members(g, r->renew.members, r->renew.n_members);
    node_links_tick(g);
    if (!had_lease)
        g->router_due = true;
}

static void renew(struct gateway *g)
{
    struct coord_req *r = ask_new(g, COORD_RENEW, 0, on_renewed);
    r->renew.role = ROLE_GATEWAY;
    r->renew.ttl_ms = g->set.lease_ms;
    snprintf(r->renew.self.address, sizeof r->renew.self.address, "%s", g->set.address);
    r->renew.id_high = g->id_high;
    g->renewing = true;
    g->renew_asked_ms = g->now_ms;
    g->renew_due_ms = g->now_ms + g->set.lease_ms / 3;
    coord_submit(g->env.coord, r);
}

void membership_look_again(struct gateway *g)
{
    uint64_t soon = g->renew_asked_ms + LOOK_AGAIN_MS;
    if (g->world_joined && soon < g->renew_due_ms)
        g->renew_due_ms = soon;
}

bool membership_good(const struct gateway *g)
{
    return g->was_renewed && g->now_ms - g->renewed_ms < g->set.lease_ms;
}

static void on_left(struct gateway *g, const struct coord_req *r, const struct ask *a)
{
    (void)r;
    (void)a;
    g->left = true;
}

void membership_leave(struct gateway *g)
{
    struct coord_req *r = ask_new(g, COORD_LEAVE, 0, on_left);
    r->renew.role = ROLE_GATEWAY;
    coord_submit(g->env.coord, r);
}

/* ---- player ids ---- */

static void on_ids(struct gateway *g, const struct coord_req *r, const struct ask *a)
{
    (void)a;
    g->asking_ids = false;
    if (r->err != ERR_OK || r->ids.first == 0)
        return;
    if (g->id_next == g->id_end) {
        g->id_next = r->ids.first;
        g->id_end = r->ids.first + IDS_PER_BLOCK;
    } else {
        g->id_spare = r->ids.first;
    }
}

/* One block ahead, so that joining does not wait for Redis. */
static void fetch_ids(struct gateway *g)
{
    if (g->asking_ids || g->id_spare || !g->world_joined)
        return;
    struct coord_req *r = ask_new(g, COORD_IDS, 0, on_ids);
    r->ids.want = IDS_PER_BLOCK;
    g->asking_ids = true;
    coord_submit(g->env.coord, r);
}

uint32_t membership_id(struct gateway *g)
{
    if (g->id_next == g->id_end && g->id_spare) {
        g->id_next = g->id_spare;
        g->id_end = g->id_spare + IDS_PER_BLOCK;
        g->id_spare = 0;
    }
    if (g->id_next == g->id_end)
        return 0;
    uint32_t id = g->id_next++;
    g->id_high = id > g->id_high ? id : g->id_high;
    return id;
}

/* ---- where our players are, for /goto ---- */

static void tell_places(struct gateway *g)
{
    struct session *s = g->by_player;
    while (s) {
        struct coord_name *names = mem_array(COORD_NAMES_MAX, sizeof *names);
        unsigned n = 0;
        for (; s && n < COORD_NAMES_MAX; s = s->hh.next) {
            if (!session_playing(s))
                continue;
            names[n].session = s->count;
            names[n].place = s->place;
            memcpy(names[n++].nick, s->nick, sizeof s->nick);
        }
        if (n == 0) {
            free(names);
            return;
        }
        struct coord_req *r = ask_new(g, COORD_NAME_PLACES, 0, NULL);
        r->names.names = names;
        r->names.n = n;
        coord_submit(g->env.coord, r);
    }
}

void membership_tick(struct gateway *g)
{
    if (g->failed || g->leave_sent)
        return;
    if (!g->world_joined) {
        if (!g->asking_world && g->now_ms >= g->renew_due_ms)
            ask_world(g);
        return;
    }
    if (!g->renewing && g->now_ms >= g->renew_due_ms)
        renew(g);
    fetch_ids(g);
    if (membership_good(g) && g->now_ms >= g->places_due_ms) {
        g->places_due_ms = g->now_ms + PLACES_MS;
        tell_places(g);
    }
}
