/* craft_client.h - a model of the unmodified Craft client, for the simulator and the load bots.
 *
 * It does with the server's lines what the client's source does: holds chunks,
 * keeps blocks, lights and keys in a cache that outlives the connection, shows
 * other players, and is thrown to the surface by a B line for its own head or
 * foot (a lift). It makes the client's lines, and applies its own edits at once,
 * mirrors included, accepted or not. What would break a real client is counted.
 *
 * No I/O and no clock: bytes and the time come in, lines go out. Deterministic.
 * One thread. */
#ifndef TESTS_LIB_CRAFT_CLIENT_H
#define TESTS_LIB_CRAFT_CLIENT_H

#include "proto/wire/craft.h"
#include "tests/lib/craft_map.h"

enum { CLIENT_OTHERS_MAX = 127, CLIENT_NAME_MAX = 31, CLIENT_CHAT_LINES = 4 };

/* What a server must not do. */
enum client_offence {
    OFFENCE_OWN_D,     /* D with the client's own id: its place is overwritten */
    OFFENCE_N_FIRST,   /* N before P: the name is lost */
    OFFENCE_CROWD,     /* P beyond 127 others: not shown */
    OFFENCE_SIGN_BYTE, /* a byte >= 128 in a sign: reads beyond a table */
    OFFENCE_NUL,       /* the rest of the frame's lines vanish */
    OFFENCE_LONG_LINE, /* over CRAFT_LINE_MAX */
    OFFENCE_KEY_BACK,  /* K below the one before */
    OFFENCE_MISPLACED, /* B, L or S that is not of its chunk, or of the wrong sign there */
    OFFENCE_GROUNDED,  /* U with y = 0 though the player did not ask for it: he leaves his tunnel */
    OFFENCE_CLOCK,     /* E that stops the clock */
    OFFENCE_MALFORMED, /* a line that the client does not understand */
    OFFENCES
};
const char *client_offence_text(enum client_offence o);

struct client_stats {
    uint64_t lines, blocks, positions, chats; /* received */
    uint64_t lifts;                           /* by B lines */
    uint64_t offences[OFFENCES];
    uint64_t offences_all;
    char first_offence[128]; /* "" or what and the line */
};

struct client_player {
    int32_t id;
    char name[CLIENT_NAME_MAX + 1]; /* player<id> until N */
    struct place place;
};

/* Called while lines are taken in; any may be NULL. */
struct client_ears {
    void (*block)(void *arg, struct chunk_pos c, struct block_pos at, int w);
    void (*player)(void *arg, int32_t id, const struct place *p);
    void (*chat)(void *arg, const char *text);
    void (*chunk_end)(void *arg, struct chunk_pos c); /* C */
};

struct craft_client;
struct craft_client *craft_client_new(const struct client_ears *ears, void *arg); /* ears: NULL or constant */
void craft_client_free(struct craft_client *c);                                   /* NULL is fine */

/* The server's bytes, split anywhere. */
void craft_client_feed(struct craft_client *c, const char *data, size_t len);

/* ---- what it says: lines are written to out (room for CRAFT_OUT_MAX); the length, 0 when it has nothing to say ----
 */
/* A new connection: everything but the cache starts anew; the cached signs are deleted. V and A. */
size_t craft_client_hello(struct craft_client *c, const char *user, const char *token, char *out);
/* Drops chunks that are out of reach, then loads the nearest within radius that it does not hold and asks for it. */
size_t craft_client_next_chunk(struct craft_client *c, int32_t radius, char *out);
/* Walks; says so at most every 100 ms, and only if it moved since it last said so. */
void craft_client_move(struct craft_client *c, const struct place *to);
size_t craft_client_position(struct craft_client *c, uint64_t now_ms, char *out);
/* One B line, as builder commands make them by the thousand. The client does not judge: w and at are the caller's. */
size_t craft_client_block(struct craft_client *c, struct block_pos at, int w, char *out);
/* A click: breaks the block and the plant on it. */
size_t craft_client_hit(struct craft_client *c, struct block_pos at, char *out);
size_t craft_client_light(struct craft_client *c, struct block_pos at, char *out); /* toggles */
size_t craft_client_sign(struct craft_client *c, struct block_pos at, int face, const char *text, char *out);
size_t craft_client_talk(struct craft_client *c, const char *text, char *out);

/* ---- what it knows ---- */
int32_t craft_client_id(const struct craft_client *c); /* 0: not yet told */
struct place craft_client_place(const struct craft_client *c);
const struct client_stats *craft_client_stats(const struct craft_client *c);
unsigned craft_client_players(const struct craft_client *c, const struct client_player **players);
const struct client_player *craft_client_player(const struct craft_client *c, int32_t id); /* NULL: not shown */
const char *craft_client_chat(const struct craft_client *c, unsigned back);                /* 0: the last; NULL: none */
double craft_client_clock(const struct craft_client *c, int32_t *day_length_s);            /* as E told it */
unsigned craft_client_chunks(const struct craft_client *c);                                /* held */
bool craft_client_holds(const struct craft_client *c, struct chunk_pos at);
bool craft_client_answered(const struct craft_client *c, struct chunk_pos at); /* C came since it was asked for */
int32_t craft_client_key(const struct craft_client *c, struct chunk_pos at);
int craft_client_block_at(const struct craft_client *c, struct block_pos at);
size_t craft_client_bytes(const struct craft_client *c); /* memory, roughly */

/* When all is quiet: how many blocks, mirrors, lights and signs of the held chunks are not as in the world, and chunks
 * whose last change was not drawn for want of an R. why: the first. */
unsigned craft_client_check(const struct craft_client *c, craft_map_world *rows, void *world, char *why,
                            size_t why_bytes);

#endif
