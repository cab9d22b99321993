/* bot.h - a scripted Craft player on an event loop: thousands of them fit in one process.
 *
 * A bot does what the real client does: connects, sends V and A, and as it moves asks for every chunk within its view
 * that it does not hold, forgetting those that are well out of it. Everything else (where to walk, what to build, what
 * to make of an answer) is its owner's: hooks are called for each line as it is read. With `remember` it also keeps
 * what the client would hold: each chunk's blocks (mirrors negative), lights, signs and key, over reconnects too, as
 * the client's cache does.
 *
 * Owned by whoever made it; used on the loop's thread. Hooks may call anything here but bot_free(). */
#ifndef TESTS_LIB_BOT_H
#define TESTS_LIB_BOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/wire/coords.h"
#include "proto/wire/place.h"
#include "tests/lib/proc.h"

struct bot;
struct craft_client;
struct event_base;

struct bot_hooks {                            /* each may be NULL */
    void (*joined)(struct bot *b, void *arg); /* the first U */
    void (*block)(struct bot *b, struct chunk_pos c, struct block_pos at, int w, void *arg);
    void (*player)(struct bot *b, int32_t id, const struct place *p, void *arg);
    void (*talk)(struct bot *b, const char *text, void *arg);
    void (*chunk_end)(struct bot *b, struct chunk_pos c, void *arg);
    void (*line)(struct bot *b, const char *line, void *arg); /* every line, before the hooks above */
    void (*gone)(struct bot *b, const char *why, void *arg);  /* the server closed the connection, or it broke */
};

struct bot_conf {
    struct event_base *base;
    uint16_t port;    /* of 127.0.0.1, or of host */
    const char *host; /* numeric IPv4; NULL: 127.0.0.1 */
    const char *user; /* in its A line; NULL: nobody, as most */
    int view;         /* chunks in each direction; negative: asks for none by itself */
    bool remember;
    bool nagle; /* as the real client: small writes wait for the last one's ACK */
    const struct bot_hooks *hooks;
    void *arg;
};

struct bot *bot_new(const struct bot_conf *conf); /* connecting; the conf is copied, the hooks are not */
void bot_free(struct bot *b);                     /* closes; NULL is fine */
void bot_leave(struct bot *b);                    /* closes and keeps what is remembered */
void bot_rejoin(struct bot *b);                   /* a new connection, asking with the remembered keys */

bool bot_connected(const struct bot *b);
bool bot_joined(const struct bot *b);
int32_t bot_id(const struct bot *b); /* from U */
struct place bot_place(const struct bot *b);
void *bot_arg(const struct bot *b);
const char *bot_gone(const struct bot *b); /* why it was disconnected, NULL: it was not */

void bot_send(struct bot *b, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* '\n' is added */
void bot_send_bytes(struct bot *b, const void *data, size_t len);
/* Sends P and asks for chunks that came into view. */
void bot_move(struct bot *b, const struct place *p);
void bot_set_view(struct bot *b, int view); /* from the next move on, as /view does */
void bot_ask_chunk(struct bot *b, struct chunk_pos c);
/* Applied to what the bot remembers at once, as the client does. */
void bot_block(struct bot *b, int32_t x, int32_t y, int32_t z, int w);
void bot_light(struct bot *b, int32_t x, int32_t y, int32_t z, int w);
void bot_sign(struct bot *b, int32_t x, int32_t y, int32_t z, int face, const char *text);

const struct craft_client *bot_model(const struct bot *b); /* NULL unless it remembers */

bool bot_asked(const struct bot *b, struct chunk_pos c); /* on this connection, and not forgotten */
bool bot_holds(const struct bot *b, struct chunk_pos c); /* and answered to the end */
unsigned bot_unanswered(const struct bot *b);            /* chunks asked for and not yet answered */

/* What it remembers of chunk c. INT_MIN: nothing was told. */
int bot_sees_block(const struct bot *b, struct chunk_pos c, int32_t x, int32_t y, int32_t z);
int bot_sees_light(const struct bot *b, int32_t x, int32_t y, int32_t z);
const char *bot_sees_sign(const struct bot *b, int32_t x, int32_t y, int32_t z, int face); /* NULL: nothing was told */
int32_t bot_key(const struct bot *b, struct chunk_pos c);
/* How many lines of that letter came on this connection. */
unsigned bot_lines(const struct bot *b, char letter);
/* A chat line that contains text came on any connection. */
bool bot_heard(const struct bot *b, const char *text);
/* The place of a player whom it sees, false: it does not. */
bool bot_sees_player(const struct bot *b, int32_t id, struct place *out);
/* The last name told for that id by N; NULL: none. */
const char *bot_name_of(const struct bot *b, int32_t id);

/* Runs the loop until cond is true; false after ms, and says what did not come. */
bool loop_until(struct event_base *base, until_cond *cond, void *arg, unsigned ms, const char *what);
void loop_for(struct event_base *base, unsigned ms); /* for tests that show that something does not happen */

#endif
