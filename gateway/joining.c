#include "gateway/joining.h"

#include <inttypes.h>
#include <stdio.h>

#include "gateway/chat.h"
#include "gateway/membership.h"
#include "gateway/node_links.h"
#include "gateway/positions.h"
#include "gateway/session.h"

enum { PLACE_MS = 2000, NAME_RETRY_MS = 250 };

bool nick_valid(const char *nick, size_t len)
{
    if (len == 0 || len > NICK_MAX)
        return false;
    for (size_t k = 0; k < len; k++) {
        if (nick[k] <= ' ' || nick[k] > '~' || nick[k] == ',')
            return false;
    }
    return true;
}

static bool account_valid(const char *name, size_t len)
{
    if (len == 0 || len > ACCOUNT_MAX)
        return false;
    return nick_valid(name, len < NICK_MAX ? len : NICK_MAX) &&
           (len <= NICK_MAX || nick_valid(name + NICK_MAX, len - NICK_MAX));
}

static void guest_name(const struct session *s, char out[NICK_MAX + 1])
{
    snprintf(out, NICK_MAX + 1, "guest%" PRIu32, s->id);
}

/* guest<number> is given, never chosen: so a guest's nick is always free. */
static bool is_guest_name(const char *nick)
{
    if (strncmp(nick, "guest", 5) != 0 || !nick[5])
        return false;
    return nick[5 + strspn(nick + 5, "0123456789")] == '\0';
}

static void drop_name(struct gateway *g, uint64_t session, const char *nick)
{
    struct coord_req *r = ask_new(g, COORD_NAME_DROP, session, NULL);
    snprintf(r->name.name.nick, sizeof r->name.name.nick, "%s", nick);
    r->name.name.session = session;
    coord_submit(g->env.coord, r);
}

static void on_name(struct gateway *g, const struct coord_req *r, const struct ask *a);

static void take_name(struct gateway *g, struct session *s, const char *nick)
{
    struct coord_req *r = ask_new(g, COORD_NAME_TAKE, s->count, on_name);
    snprintf(r->name.name.nick, sizeof r->name.name.nick, "%s", nick);
    r->name.name.session = s->count;
    r->name.name.place = s->place;
    if (s->named && strcmp(s->nick, nick) != 0)
        snprintf(r->name.old, sizeof r->name.old, "%s", s->nick);
    s->naming = true;
    coord_submit(g->env.coord, r);
}

/* ---- the answers ---- */

static void on_first_name(struct gateway *g, struct session *s, const struct coord_req *r)
{
    char guest[NICK_MAX + 1];
    guest_name(s, guest);
    if (r->err != ERR_OK) {
        s->name_retry_ms = gateway_later(g, NAME_RETRY_MS);
    } else if (r->name.taken && strcmp(s->wanted, guest) != 0) {
        s->nick_denied = true;
        snprintf(s->wanted, sizeof s->wanted, "%s", guest);
    } else {
        snprintf(s->nick, sizeof s->nick, "%s", s->wanted);
        s->named = true;
    }
    joining_step(g, s);
}

static void renamed(struct gateway *g, struct session *s, const char *nick)
{
    char text[CHAT_MAX + 1];
    snprintf(text, sizeof text, "%s is now known as %s", s->nick, nick);
    snprintf(s->nick, sizeof s->nick, "%s", nick);
    session_talk_all(g, text);
    chat_publish(g, NULL, EVENT_CHAT, "", text);
    positions_renamed(g, s);
}

static void on_other_name(struct gateway *g, struct session *s, const struct coord_req *r)
{
    const char *nick = r->name.name.nick;
    bool reclaimed = strcmp(nick, s->nick) == 0;
    if (r->err != ERR_OK) {
        if (!reclaimed)
            session_talk(g, s, "Nicks cannot be changed just now. Please try again.");
    } else if (r->name.taken && reclaimed && !is_guest_name(nick)) {
        char guest[NICK_MAX + 1];
        guest_name(s, guest);
        session_talk(g, s, "Somebody else took the nick %s meanwhile.", nick);
        take_name(g, s, guest);
    } else if (r->name.taken && !reclaimed) {
        session_talk(g, s, "The nick %s is taken.", nick);
    } else if (!reclaimed) {
        renamed(g, s, nick);
    }
}

static void on_name(struct gateway *g, const struct coord_req *r, const struct ask *a)
{
    struct session *s = session_by_count(g, a->session);
    if (!s || s->closing || s->state == SESSION_LEAVING) {
        if (r->err != ERR_OK || !r->name.taken)
            drop_name(g, a->session, r->name.name.nick);
        return;
    }
    s->naming = false;
    if (s->state == SESSION_JOINING)
        on_first_name(g, s, r);
    else
        on_other_name(g, s, r);
}

void joining_place_is(struct gateway *g, uint64_t request, const struct msg *m)
{
    for (struct session *s = g->by_player; s; s = s->hh.next) {
        if (s->state != SESSION_JOINING || s->placed || s->place_request != request)
            continue;
        s->placed = true;
        s->visit = m->place_is.visit;
        s->place_found = m->place_is.found;
        if (s->place_found)
            s->place = m->place_is.place;
        joining_step(g, s);
        return;
    }
}

/* ---- joining ---- */

void joining_begin(struct gateway *g, struct session *s, const char *user, size_t len)
{
    if (account_valid(user, len)) {
        memcpy(s->account, user, len);
        memcpy(s->wanted, user, len < NICK_MAX ? len : NICK_MAX);
    }
    s->place_deadline_ms = g->now_ms + PLACE_MS;
    s->placed = !s->account[0];
}

static void ask_place(struct gateway *g, struct session *s)
{
    struct node_link *n = node_links_any(g);
    if (!s->place_request && n) {
        struct msg m = {.kind = MSG_PLACE_GET, .request_id = gateway_request(g)};
        m.place_get.account = s->account;
        s->place_request = m.request_id;
        node_links_send(g, n, &m);
    }
    if (g->now_ms >= s->place_deadline_ms) {
        log_warn("place_not_read session=%" PRIu64 " account=%s", s->count, s->account);
        s->placed = true; /* at the spawn; without a visit its place is not saved either, so the old one stays */
    }
}

void joining_step(struct gateway *g, struct session *s)
{
    if (s->state != SESSION_JOINING || s->closing || g->failed)
        return;
    if (!s->id) {
        s->id = membership_id(g);
        if (!s->id)
            return;
        if (!s->wanted[0] || is_guest_name(s->wanted))
            guest_name(s, s->wanted);
    }
    if (!s->named && !s->naming && g->now_ms >= s->name_retry_ms)
        take_name(g, s, s->wanted);
    if (!s->placed)
        ask_place(g, s);
    if (s->named && s->placed)
        session_joined(g, s);
}

void joining_rename(struct gateway *g, struct session *s, const char *nick)
{
    if (!nick_valid(nick, strlen(nick)))
        session_talk(g, s, "A nick has 1 to %d letters, no commas or blanks.", NICK_MAX);
    else if (strcmp(nick, s->nick) == 0)
        session_talk(g, s, "Your nickname is %s", s->nick);
    else if (s->naming)
        session_talk(g, s, "One moment, please.");
    else if (is_guest_name(nick) && strtoul(nick + 5, NULL, 10) != s->id)
        session_talk(g, s, "The nick %s is taken.", nick);
    else
        take_name(g, s, nick);
}

void joining_again(struct gateway *g, struct session *s, const char *user, size_t len)
{
    char nick[NICK_MAX + 1];
    if (account_valid(user, len))
        snprintf(nick, sizeof nick, "%.*s", (int)len, user);
    else
        guest_name(s, nick);
    if (strcmp(nick, s->nick) != 0)
        joining_rename(g, s, nick);
}

void joining_reclaim(struct gateway *g, struct session *s)
{
    if (session_playing(s) && !s->naming)
        take_name(g, s, s->nick);
}

void joining_leave(struct gateway *g, struct session *s)
{
    if (s->named)
        drop_name(g, s->count, s->nick);
}
