#include "gateway/commands.h"

#include <stdio.h>
#include <strings.h>

#include "gateway/chat.h"
#include "gateway/joining.h"
#include "gateway/session.h"

enum { PQ_MAX = 1000 };

/* The word at *at, which is moved past it and the blanks behind. Cut to fit. */
static void take_word(const char **at, char *out, size_t bytes)
{
    const char *p = *at + strspn(*at, " ");
    size_t len = strcspn(p, " ");
    snprintf(out, bytes, "%.*s", (int)(len < bytes ? len : bytes), p);
    p += len;
    *at = p + strspn(p, " ");
}

/* ---- /goto and @nick: the other may be anywhere in the world ---- */

static void ask_find(struct gateway *g, struct session *s, const char *nick, const char *text, ask_answer *answer)
{
    struct coord_req *r = ask_new(g, COORD_NAME_FIND, s->count, answer);
    snprintf(r->find.nick, sizeof r->find.nick, "%s", nick);
    snprintf(r->find.not_nick, sizeof r->find.not_nick, "%s", s->nick);
    snprintf(ask_of(r)->text, sizeof ask_of(r)->text, "%s", text);
    coord_submit(g->env.coord, r);
}

static struct session *asker(struct gateway *g, const struct coord_req *r, const struct ask *a)
{
    struct session *s = session_by_count(g, a->session);
    if (!s || !session_playing(s))
        return NULL;
    if (r->err == ERR_OK)
        return s;
    session_talk(g, s, "Nobody knows just now. Please try again.");
    return NULL;
}

static void on_goto(struct gateway *g, const struct coord_req *r, const struct ask *a)
{
    struct session *s = asker(g, r, a);
    if (!s)
        return;
    if (r->find.found && place_valid(&r->find.name.place))
        session_teleport(g, s, &r->find.name.place);
    else if (r->find.nick[0])
        session_talk(g, s, "Unrecognized nick: \"%s\"", r->find.nick);
    else
        session_talk(g, s, "Nobody else is here.");
}

static void do_goto(struct gateway *g, struct session *s, const char *args)
{
    char nick[NICK_MAX + 2];
    take_word(&args, nick, sizeof nick);
    struct session *here = nick[0] ? session_by_nick(g, nick) : NULL;
    if (here == s)
        return;
    if (here) /* newer than what Redis knows */
        session_teleport(g, s, &here->place);
    else if (strlen(nick) > NICK_MAX)
        session_talk(g, s, "Unrecognized nick: \"%.*s\"", NICK_MAX, nick);
    else
        ask_find(g, s, nick, "", on_goto);
}

static void on_private(struct gateway *g, const struct coord_req *r, const struct ask *a)
{
    struct session *s = asker(g, r, a);
    if (!s)
        return;
    if (!r->find.found) {
        session_talk(g, s, "Unrecognized nick: \"%s\"", r->find.nick);
        return;
    }
    session_talk(g, s, "%s> %s", s->nick, a->text);
    chat_publish(g, s, EVENT_PRIVATE, r->find.nick, a->text);
}

static void say_private(struct gateway *g, struct session *s, const char *text)
{
    char nick[NICK_MAX + 2];
    const char *at = text + 1;
    take_word(&at, nick, sizeof nick);
    struct session *to = session_by_nick(g, nick);
    if (to) {
        session_talk(g, s, "%s> %s", s->nick, text);
        if (to != s)
            session_talk(g, to, "%s> %s", s->nick, text);
    } else if (!nick_valid(nick, strlen(nick))) {
        session_talk(g, s, "Unrecognized nick: \"%.*s\"", NICK_MAX, nick);
    } else {
        ask_find(g, s, nick, text, on_private);
    }
}

/* ---- the others ---- */

static void do_nick(struct gateway *g, struct session *s, const char *args)
{
    if (args[0])
        joining_rename(g, s, args);
    else
        session_talk(g, s, "Your nickname is %s", s->nick);
}

static void do_spawn(struct gateway *g, struct session *s, const char *args)
{
    (void)args;
    session_teleport(g, s, &(struct place){0});
}

static void do_pq(struct gateway *g, struct session *s, const char *args)
{
    int p, q, used = 0;
    if (sscanf(args, "%5d %5d%n", &p, &q, &used) != 2 || args[used]) {
        session_talk(g, s, "Help: /pq P Q");
        return;
    }
    if (p < -PQ_MAX || p > PQ_MAX || q < -PQ_MAX || q > PQ_MAX)
        session_talk(g, s, "P and Q go from -%d to %d.", PQ_MAX, PQ_MAX);
    else
        session_teleport(g, s, &(struct place){.x = (float)(p * CHUNK_SIZE), .z = (float)(q * CHUNK_SIZE)});
}

static void on_list(struct gateway *g, const struct coord_req *r, const struct ask *a)
{
    struct session *s = asker(g, r, a);
    char text[CRAFT_TEXT_MAX + 1];
    unsigned told = 0;
    if (!s)
        return;
    size_t len = (size_t)snprintf(text, sizeof text, "Players: ");
    for (unsigned k = 0; k < r->names.n; k++) {
        const char *nick = r->names.names[k].nick;
        if (len + strlen(nick) + 24 > sizeof text) /* room for how many more there are */
            break;
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%s", told ? ", " : "", nick);
        told++;
    }
    if (r->names.total > told)
        snprintf(text + len, sizeof text - len, " and %u more", r->names.total - told);
    session_talk(g, s, "%s", text);
}

static void do_list(struct gateway *g, struct session *s, const char *args)
{
    (void)args;
    coord_submit(g->env.coord, ask_new(g, COORD_NAME_LIST, s->count, on_list));
}

static const struct {
    const char *topic, *lines[3];
} help[] = {
    {"",
     {"Type \"t\" to chat. Type \"/\" to type commands:",
      "/goto [NAME], /help [TOPIC], /list, /login NAME, /logout, /nick",
      "/offline [FILE], /online HOST [PORT], /pq P Q, /spawn, /view N"}},
    {"goto", {"Help: /goto [NAME]", "Teleport to another user.", "If NAME is unspecified, a random user is chosen."}},
    {"list", {"Help: /list", "Display a list of connected users."}},
    {"login",
     {"Help: /login NAME", "Switch to another registered username.",
      "The login server will be re-contacted. The username is case-sensitive."}},
    {"logout",
     {"Help: /logout", "Unauthenticate and become a guest user.",
      "Automatic logins will not occur again until the /login command is re-issued."}},
    {"offline",
     {"Help: /offline [FILE]", "Switch to offline mode.",
      "FILE specifies the save file to use and defaults to \"craft\"."}},
    {"online", {"Help: /online HOST [PORT]", "Connect to the specified server."}},
    {"nick", {"Help: /nick [NICK]", "Get or set your nickname."}},
    {"pq", {"Help: /pq P Q", "Teleport to the specified chunk."}},
    {"spawn", {"Help: /spawn", "Teleport back to the spawn point."}},
    {"view", {"Help: /view N", "Set viewing distance, 1 - 24."}},
};

static void do_help(struct gateway *g, struct session *s, const char *args)
{
    char topic[16];
    take_word(&args, topic, sizeof topic);
    for (size_t k = 0; k < sizeof help / sizeof *help; k++) {
        if (strcasecmp(help[k].topic, topic) != 0)
            continue;
        for (unsigned l = 0; l < 3 && help[k].lines[l]; l++)
            session_talk(g, s, "%s", help[k].lines[l]);
        return;
    }
    session_talk(g, s, "There is no help on \"%s\".", topic);
}

static const struct {
    const char *name;
    void (*run)(struct gateway *g, struct session *s, const char *args);
} commands[] = {{"/nick", do_nick}, {"/spawn", do_spawn}, {"/goto", do_goto},
                {"/pq", do_pq},     {"/help", do_help},   {"/list", do_list}};

void commands_line(struct gateway *g, struct session *s, const char *text)
{
    char word[16];
    const char *args = text;
    if (text[0] == '@') {
        say_private(g, s, text);
        return;
    }
    take_word(&args, word, sizeof word);
    for (size_t k = 0; k < sizeof commands / sizeof *commands; k++) {
        if (strcmp(commands[k].name, word) == 0) {
            commands[k].run(g, s, args);
            return;
        }
    }
    session_talk(g, s, "Unrecognized command: \"%.200s\"", text);
}
