#include "gateway/session.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "gateway/chat.h"
#include "gateway/chunks.h"
#include "gateway/edits.h"
#include "gateway/interest.h"
#include "gateway/joining.h"
#include "gateway/positions.h"
#include "gateway/router.h"
#include "gateway/sights.h"

enum {
    CAUGHT_UP_MS = 1000, /* a socket that is read for so long holds no old lines */
    HELLO_MS = 10000,    /* from the connection to its first line */
    AUTH_MS = 1000,      /* then it is a guest */
    LEAVING_MS = 30000   /* edits of a player who left are brought to their owners for so long */
};

struct session *session_by_player(struct gateway *g, uint64_t player)
{
    struct session *s;
    HASH_FIND(hh, g->by_player, &player, sizeof player, s);
    return s;
}

struct session *session_by_count(struct gateway *g, uint64_t count)
{
    struct session *s;
    HASH_FIND(hh_count, g->by_count, &count, sizeof count, s);
    return s;
}

struct session *session_by_nick(struct gateway *g, const char *nick)
{
    for (struct session *s = g->by_player; s; s = s->hh.next) {
        if (session_playing(s) && strcmp(s->nick, nick) == 0)
            return s;
    }
    return NULL;
}

struct session_id session_id(const struct gateway *g, const struct session *s)
{
    return (struct session_id){g->id, s->count};
}

bool session_playing(const struct session *s)
{
    return s->state == SESSION_PLAYING && !s->closing;
}

/* Where we are, and where we may go from there. */
static const unsigned may_go[SESSION_STATES] = {
    [SESSION_HELLO] = 1u << SESSION_AUTH | 1u << SESSION_LEAVING,
    [SESSION_AUTH] = 1u << SESSION_JOINING | 1u << SESSION_LEAVING,
    [SESSION_JOINING] = 1u << SESSION_PLAYING | 1u << SESSION_LEAVING,
    [SESSION_PLAYING] = 1u << SESSION_LEAVING,
};

static void move(struct session *s, enum session_state to)
{
    assert(may_go[s->state] & 1u << to);
    s->state = to;
}

/* ---- coming ---- */

void session_new(struct gateway *g, uint64_t player, const char *from)
{
    struct session *s = mem_zalloc(sizeof *s);
    s->player = player;
    s->count = ++g->sessions;
    s->since_ms = s->sent_ms = s->swept_ms = g->now_ms;
    HASH_ADD(hh, g->by_player, player, sizeof s->player, s);
    HASH_ADD(hh_count, g->by_count, count, sizeof s->count, s);
    log_info("session_new session=%" PRIu64 " from=%s", s->count, from);
    if (HASH_CNT(hh, g->by_player) > g->set.sessions_max) {
        gateway_count("spotcraft_players_refused_total", "Connections of players that were refused.", "reason", "full");
        session_talk(g, s, "This server is full. Please try again in a while.");
        session_close(g, s, "full");
    }
}

static void start_joining(struct gateway *g, struct session *s, const char *user, size_t len)
{
    move(s, SESSION_JOINING);
    session_unread(g, s, UNREAD_JOINING, true);
    joining_begin(g, s, user, len);
    joining_step(g, s);
}

void session_joined(struct gateway *g, struct session *s)
{
    move(s, SESSION_PLAYING);
    struct place at = s->place_found ? s->place : (struct place){0};
    char *line;
    s->grounded = at.y == 0;
    g->out.len = 0;
    line = text_line(&g->out);
    g->out.len += craft_you(line, s->id, &at);
    line = text_line(&g->out);
    g->out.len += craft_time(line, (double)g->env.unix_ms(g->env.clock) / 1000, g->set.day_length_s);
    line = text_line(&g->out);
    g->out.len += craft_talk(line, "Welcome to Craft!");
    line = text_line(&g->out);
    g->out.len += craft_talk(line, "Type \"/help\" for a list of commands.");
    session_write(g, s, g->out.data, g->out.len);
    if (s->nick_denied)
        session_talk(g, s, "That nick is taken; you are %s.", s->nick);
    if (g->stopping)
        gateway_tell_end(g, s);
    positions_set(g, s, &at);
    log_info("session_joined session=%" PRIu64 " id=%" PRIu32 " nick=%s ms=%" PRIu64, s->count, s->id, s->nick,
             g->now_ms - s->since_ms);
    char text[CHAT_MAX + 1];
    snprintf(text, sizeof text, "%s has joined the game.", s->nick);
    session_talk_all(g, text);
    chat_publish(g, s, EVENT_JOINED, "", "");
    session_unread(g, s, UNREAD_JOINING, false);
}

/* ---- lines ---- */

static void bad_line(struct gateway *g, const struct session *s, const char *why)
{
    gateway_count("spotcraft_bad_lines_total", "Lines that were ignored.", "reason", why);
    log_debug("bad_line session=%" PRIu64 " why=\"%s\"", s->count, why);
    (void)g;
}

static void on_place(struct gateway *g, struct session *s, const struct place *p)
{
    if (!place_valid(p)) {
        bad_line(g, s, "place out of the world");
        return;
    }
    s->grounded = false;
    positions_set(g, s, p);
}

static void on_sign(struct gateway *g, struct session *s, const struct craft_line *l)
{
    char text[EDIT_TEXT_MAX + 1];
    struct edit e = {.kind = ROW_SIGN, .at = l->sign.at, .text = text};
    size_t len = l->sign.len < EDIT_TEXT_MAX ? l->sign.len : EDIT_TEXT_MAX; /* still too long: the owner refuses it */
    memcpy(text, l->sign.text, len);
    text[len] = '\0';
    e.face = l->sign.face >= 0 && l->sign.face < SIGN_FACES ? (uint8_t)l->sign.face : SIGN_FACES;
    if (!edits_take(g, s, &e))
        bad_line(g, s, "block out of the world");
}

static void on_block(struct gateway *g, struct session *s, const struct craft_line *l)
{
    struct edit e = {.kind = l->kind == CRAFT_BLOCK ? ROW_BLOCK : ROW_LIGHT, .at = l->block.at, .w = l->block.w};
    if (!edits_take(g, s, &e))
        bad_line(g, s, "block out of the world");
}

static void play(struct gateway *g, struct session *s, const struct craft_line *l)
{
    switch (l->kind) {
    case CRAFT_VERSION:
        break; /* a second one means nothing */
    case CRAFT_AUTH:
        joining_again(g, s, l->auth.user, l->auth.user_len);
        break;
    case CRAFT_CHUNK:
        chunks_ask(g, s, l->chunk.at, l->chunk.key);
        break;
    case CRAFT_PLACE:
        on_place(g, s, &l->place);
        break;
    case CRAFT_BLOCK:
    case CRAFT_LIGHT:
        on_block(g, s, l);
        break;
    case CRAFT_SIGN:
        on_sign(g, s, l);
        break;
    case CRAFT_TALK:
        chat_line(g, s, l->talk.text, l->talk.len);
        break;
    }
}

/* False: the line is not used up, it comes again once the session has joined. */
static bool take_line(struct gateway *g, struct session *s, const struct craft_line *l)
{
    if (s->state == SESSION_PLAYING) {
        play(g, s, l);
    } else if (s->state == SESSION_HELLO) {
        if (l->kind == CRAFT_VERSION && l->version == 1)
            move(s, SESSION_AUTH);
        else
            session_close(g, s, l->kind == CRAFT_VERSION ? "another version" : "no version");
    } else if (l->kind == CRAFT_AUTH) {
        start_joining(g, s, l->auth.user, l->auth.user_len);
    } else if (l->kind != CRAFT_VERSION) {
        start_joining(g, s, "", 0);
        return false;
    }
    return true;
}

static void count_line(enum craft_kind kind)
{
    static const char *const text[] = {"V", "A", "C", "P", "B", "L", "S", "T"};
    gateway_count("spotcraft_lines_total", "Lines from players.", "kind", text[kind]);
}

/* Takes whole lines while the session is read. */
static size_t take_lines(struct gateway *g, struct session *s, const char *data, size_t len)
{
    size_t used = 0;
    while (used < len && !s->closing && !s->unread) {
        struct craft_line line;
        const char *why = NULL;
        size_t n = 0;
        enum err e = craft_next(data + used, len - used, &s->skipping, &n, &line, &why);
        if (e == ERR_OK && !take_line(g, s, &line))
            break;
        used += n;
        if (e == ERR_AGAIN)
            break;
        if (e == ERR_OK)
            count_line(line.kind);
        else if (s->state == SESSION_HELLO)
            session_close(g, s, "no version");
        else
            bad_line(g, s, why);
    }
    return used;
}

/* Keeps the beginning of a line until its end comes. */
static void keep_partial(struct session *s, const char *data, size_t len)
{
    assert(len < sizeof s->partial);
    memmove(s->partial, data, len);
    s->n_partial = len;
}

/* Joins the beginning of a line that came earlier with what follows. Returns how much of data is used up: 0 when the
 * line may not be taken now. */
static size_t finish_partial(struct gateway *g, struct session *s, const char *data, size_t len)
{
    char line[2 * CRAFT_LINE_MAX];
    const char *end = memchr(data, '\n', len < CRAFT_LINE_MAX ? len : CRAFT_LINE_MAX);
    size_t more = end ? (size_t)(end - data) + 1 : len < CRAFT_LINE_MAX ? len : CRAFT_LINE_MAX;
    memcpy(line, s->partial, s->n_partial);
    memcpy(line + s->n_partial, data, more);
    size_t all = s->n_partial + more, used = take_lines(g, s, line, all);
    if (end && used < all)
        return 0;
    keep_partial(s, line + used, all - used);
    return more;
}

size_t session_bytes(struct gateway *g, struct session *s, const char *data, size_t len)
{
    size_t used = 0;
    while (used < len && !s->closing && !s->unread) {
        if (s->n_partial) {
            size_t n = finish_partial(g, s, data + used, len - used);
            if (n == 0)
                break;
            used += n;
            continue;
        }
        used += take_lines(g, s, data + used, len - used);
        if (!s->unread && !s->closing) {
            keep_partial(s, data + used, len - used);
            used = len;
        }
    }
    s->bytes_in += used;
    return s->closing ? len : used;
}

/* ---- what it is sent ---- */

static bool may_send(struct gateway *g, struct session *s, size_t len)
{
    if (s->closing || s->state == SESSION_LEAVING)
        return false;
    if (g->env.players->queued(g->env.players_ctx, s->player) + len > g->set.out_hard_bytes) {
        session_close(g, s, "too slow");
        return false;
    }
    s->sent_ms = g->now_ms;
    s->bytes_out += len;
    metric_add(g->metrics.bytes_out, (double)len);
    return true;
}

void session_send(struct gateway *g, struct session *s, struct blob *b)
{
    if (may_send(g, s, b->len))
        g->env.players->send(g->env.players_ctx, s->player, b);
}

void session_write(struct gateway *g, struct session *s, const void *data, size_t len)
{
    if (may_send(g, s, len))
        g->env.players->write(g->env.players_ctx, s->player, data, len);
}

bool session_slow(struct gateway *g, const struct session *s)
{
    return s->closing || g->env.players->queued(g->env.players_ctx, s->player) > g->set.out_soft_bytes;
}

void session_talk(struct gateway *g, struct session *s, const char *fmt, ...)
{
    char text[CRAFT_OUT_MAX], line[CRAFT_OUT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    session_write(g, s, line, craft_talk(line, text));
}

void session_talk_all(struct gateway *g, const char *text)
{
    char line[CRAFT_OUT_MAX];
    struct blob *b = blob_new(line, craft_talk(line, text));
    for (struct session *s = g->by_player; s; s = s->hh.next) {
        if (session_playing(s))
            session_send(g, s, b);
    }
    blob_unref(b);
}

void session_teleport(struct gateway *g, struct session *s, const struct place *to)
{
    char line[CRAFT_OUT_MAX];
    session_write(g, s, line, craft_you(line, s->id, to));
    s->grounded = to->y == 0;
    positions_set(g, s, to);
}

void session_unread(struct gateway *g, struct session *s, enum unread why, bool on)
{
    unsigned before = s->unread;
    s->unread = on ? before | why : before & ~(unsigned)why;
    if (!before == !s->unread)
        return;
    if (s->unread && !s->behind_ms)
        s->behind_ms = g->now_ms;
    s->resumed_ms = g->now_ms;
    if (!s->closing && s->state != SESSION_LEAVING)
        g->env.players->read(g->env.players_ctx, s->player, !s->unread);
}

/* ---- going ---- */

void session_close(struct gateway *g, struct session *s, const char *why)
{
    if (s->closing || s->state == SESSION_LEAVING)
        return;
    g->env.players->close(g->env.players_ctx, s->player, why);
    session_gone(g, s, why);
}

void session_gone(struct gateway *g, struct session *s, const char *why)
{
    if (s->closing)
        return;
    s->closing = true;
    s->closing_next = g->closing;
    g->closing = s;
    gateway_count("spotcraft_sessions_closed_total", "Sessions that ended.", "reason", why);
    log_info("session_closed session=%" PRIu64 " nick=%s why=\"%s\" ms=%" PRIu64 " bytes_in=%" PRIu64
             " bytes_out=%" PRIu64 " unanswered=%u",
             s->count, s->nick[0] ? s->nick : "-", why, g->now_ms - s->since_ms, s->bytes_in, s->bytes_out,
             s->unanswered);
}

static void session_free(struct gateway *g, struct session *s)
{
    edits_drop(g, s);
    HASH_DELETE(hh_count, g->by_count, s);
    free(s);
}

/* What only a player with a socket needs goes at once; edits that were taken are still the gateway's to deliver. */
static void leave(struct gateway *g, struct session *s)
{
    bool joined = s->state == SESSION_PLAYING;
    HASH_DEL(g->by_player, s);
    sights_drop(g, s);
    interest_drop_all(g, s);
    positions_leave(g, s);
    joining_leave(g, s);
    move(s, SESSION_LEAVING);
    s->leave_deadline_ms = g->now_ms + LEAVING_MS;
    if (joined) {
        char text[CHAT_MAX + 1];
        snprintf(text, sizeof text, "%s has disconnected from the server.", s->nick);
        session_talk_all(g, text);
        chat_publish(g, s, EVENT_LEFT, "", "");
    }
    if (s->unanswered == 0)
        session_free(g, s);
}

void session_reap(struct gateway *g)
{
    while (g->closing) { /* saying goodbye may close others */
        struct session *s = g->closing;
        g->closing = s->closing_next;
        leave(g, s);
    }
}

static void park_notice(struct gateway *g, struct session *s)
{
    bool edits = edits_waiting(g, s);
    bool here = s->at && !area_owned(s->at) && g->now_ms - s->at->parked_ms >= g->set.park_notice_ms;
    if (!s->park_told && edits)
        session_talk(g, s, "Your edits are safe; the world here is moving house. One moment.");
    else if (!s->park_told && here)
        session_talk(g, s, "The world here is moving house. One moment.");
    s->park_told = edits || here;
}

static void tick(struct gateway *g, struct session *s)
{
    if (!s->unread && g->now_ms - s->resumed_ms >= CAUGHT_UP_MS)
        s->behind_ms = 0;
    switch (s->state) {
    case SESSION_HELLO:
        if (g->now_ms - s->since_ms >= HELLO_MS)
            session_close(g, s, "said nothing");
        break;
    case SESSION_AUTH:
        if (g->now_ms - s->since_ms >= AUTH_MS)
            start_joining(g, s, "", 0);
        break;
    case SESSION_JOINING:
        joining_step(g, s);
        break;
    default:
        chunks_tick(g, s);
        park_notice(g, s);
        break;
    }
    if (s->state >= SESSION_JOINING && g->now_ms - s->sent_ms >= g->set.silence_ms) {
        char line[CRAFT_OUT_MAX];
        session_write(g, s, line, craft_chunk_end(line, (struct chunk_pos){0, 0}));
    }
}

void session_tick(struct gateway *g)
{
    struct session *s, *next;
    for (s = g->by_player; s; s = s->hh.next) {
        if (!s->closing)
            tick(g, s);
    }
    HASH_ITER (hh_count, g->by_count, s, next) {
        if (s->state == SESSION_LEAVING && (s->unanswered == 0 || g->now_ms >= s->leave_deadline_ms))
            session_free(g, s);
    }
}

void session_free_all(struct gateway *g)
{
    struct session *s, *next;
    HASH_ITER (hh_count, g->by_count, s, next) {
        sights_drop(g, s);
        interest_drop_all(g, s);
        positions_forget(g, s);
        if (s->state != SESSION_LEAVING)
            HASH_DEL(g->by_player, s);
        session_free(g, s);
    }
    g->closing = NULL;
}
