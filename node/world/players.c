#include "node/world/players.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/mem.h"

struct players *players_new(void)
{
    return mem_zalloc(sizeof(struct players));
}

void players_free(struct players *p)
{
    if (!p)
        return;
    struct player *who, *next;
    HASH_ITER (hh, p->by_session, who, next) {
        HASH_DEL(p->by_session, who);
        free(who);
    }
    free(p);
}

unsigned players_count(const struct players *p)
{
    return HASH_COUNT(p->by_session);
}

struct player *players_find(struct players *p, struct session_id s)
{
    struct player *who;
    HASH_FIND(hh, p->by_session, &s, sizeof s, who);
    return who;
}

void players_enter(struct players *p, const struct msg_enter *e, uint64_t link)
{
    struct player *who = players_find(p, e->session);
    if (!who) {
        if (HASH_COUNT(p->by_session) >= MSG_ITEMS_MAX)
            return; /* more than a frame holds: he is not shown, his edits count all the same */
        who = mem_zalloc(sizeof *who);
        who->session = e->session;
        who->fresh = true;
        HASH_ADD(hh, p->by_session, session, sizeof who->session, who);
    }
    if (strcmp(who->nick, e->nick) != 0)
        who->fresh = true;
    who->id = e->player;
    snprintf(who->nick, sizeof who->nick, "%s", e->nick);
    snprintf(who->account, sizeof who->account, "%s", e->account);
    who->link = link;
    who->orphan_ms = 0;
    if (e->visit != who->visit) {
        who->visit = e->visit;
        who->saved_count = 0;
    }
    if (e->count >= who->count) {
        who->count = e->count;
        who->place = e->place;
        who->moved = true;
    }
}

bool players_move(struct players *p, const struct msg_move *m)
{
    struct player *who = players_find(p, m->session);
    if (!who || m->count <= who->count)
        return false;
    who->count = m->count;
    who->place = m->place;
    who->moved = true;
    return true;
}

void players_leave(struct players *p, struct player *who, bool gone)
{
    if (gone && p->n_left < MSG_ITEMS_MAX)
        p->left[p->n_left++] = who->id;
    HASH_DEL(p->by_session, who);
    free(who);
}

void players_orphan(struct players *p, uint64_t link, uint64_t now_ms)
{
    for (struct player *who = p->by_session; who; who = who->hh.next) {
        if (who->link == link && !who->orphan_ms)
            who->orphan_ms = now_ms;
    }
}

unsigned players_frame(const struct players *p, bool all, struct msg_player *out)
{
    unsigned n = 0;
    for (const struct player *who = p->by_session; who && n < MSG_ITEMS_MAX; who = who->hh.next) {
        if (!all && !who->moved && !who->fresh)
            continue;
        out[n++] = (struct msg_player){.player = who->id,
                                       .session = who->session,
                                       .count = who->count,
                                       .place = who->place,
                                       .nick = all || who->fresh ? who->nick : ""};
    }
    return n;
}

void players_framed(struct players *p)
{
    for (struct player *who = p->by_session; who; who = who->hh.next)
        who->moved = who->fresh = false;
    p->n_left = 0;
}
