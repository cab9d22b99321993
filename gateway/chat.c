#include "gateway/chat.h"

#include <stdio.h>

#include "gateway/commands.h"
#include "gateway/node_links.h"
#include "gateway/router.h"
#include "gateway/session.h"

/* Redis did not take the line: the owner of the speaker's cell passes it on to those who see the cell. */
static void on_published(struct gateway *g, const struct coord_req *r, const struct ask *a)
{
    struct session *s = session_by_count(g, a->session);
    if (r->err == ERR_OK || !a->text[0] || !s || !s->at || !area_owned(s->at))
        return;
    struct msg m = {.kind = MSG_CHAT};
    m.chat.cell = s->at->cell;
    m.chat.gate = g->id;
    m.chat.to = "";
    m.chat.text = a->text;
    node_links_send(g, s->at->node, &m);
}

void chat_publish(struct gateway *g, struct session *s, enum event_kind kind, const char *to, const char *text)
{
    struct event_record e = {g->id, kind, s ? s->nick : "", to, text};
    struct coord_req *r = ask_new(g, COORD_PUBLISH, s ? s->count : 0, on_published);
    if (kind == EVENT_CHAT && s)
        snprintf(ask_of(r)->text, sizeof ask_of(r)->text, "%s> %s", s->nick, text);
    r->publish.event = record_encode_event(&e);
    coord_submit(g->env.coord, r);
}

void chat_event(struct gateway *g, const void *data, size_t len)
{
    struct event_record e;
    struct session *to;
    char text[CHAT_MAX + NICK_MAX + 3];
    if (record_decode_event(data, len, g->arena, &e) != ERR_OK) {
        log_warn("event_bad bytes=%zu", len);
        return;
    }
    if (e.gate == g->id)
        return;
    switch (e.kind) {
    case EVENT_CHAT:
        snprintf(text, sizeof text, e.from[0] ? "%s> %s" : "%s%s", e.from, e.text);
        session_talk_all(g, text);
        break;
    case EVENT_JOINED:
        snprintf(text, sizeof text, "%s has joined the game.", e.from);
        session_talk_all(g, text);
        break;
    case EVENT_LEFT:
        snprintf(text, sizeof text, "%s has disconnected from the server.", e.from);
        session_talk_all(g, text);
        break;
    case EVENT_PRIVATE:
        to = session_by_nick(g, e.to);
        if (to)
            session_talk(g, to, "%s> %s", e.from, e.text);
        break;
    }
}

void chat_relayed(struct gateway *g, const struct msg *m)
{
    if (m->chat.gate != g->id)
        session_talk_all(g, m->chat.text);
}

static bool too_many(struct gateway *g, struct session *s)
{
    if (g->now_ms - s->talk_from_ms >= TALK_WINDOW_MS) {
        s->talk_from_ms = g->now_ms;
        s->talk_lines = 0;
    }
    if (++s->talk_lines <= TALK_LINES_MAX)
        return false;
    if (s->talk_lines == TALK_LINES_MAX + 1)
        session_talk(g, s, "You talk faster than anybody can read. Some of it was left out.");
    metric_add(g->metrics.chat_dropped, 1);
    return true;
}

void chat_line(struct gateway *g, struct session *s, const char *said, size_t len)
{
    char text[CRAFT_TEXT_MAX + 1], line[CHAT_MAX + 1];
    if (too_many(g, s))
        return;
    len = len < CRAFT_TEXT_MAX ? len : CRAFT_TEXT_MAX;
    for (size_t k = 0; k < len; k++)
        text[k] = said[k] >= ' ' && said[k] <= '~' ? said[k] : '?';
    text[len] = '\0';
    if (text[0] == '/' || text[0] == '@') {
        commands_line(g, s, text);
        return;
    }
    snprintf(line, sizeof line, "%s> %s", s->nick, text);
    session_talk_all(g, line);
    chat_publish(g, s, EVENT_CHAT, "", text);
}
