/* session.h - one player, from the first byte to the last.
 *
 * HELLO (the version) -> AUTH (who it is) -> JOINING (id, nick and place are fetched; the socket is not read) ->
 * PLAYING -> LEAVING (the socket is gone; edits that were taken from it are still brought to their owners) -> freed.
 *
 * A session holds the player's unanswered edits, the chunks that the client has, and what it shows of others. What it
 * is sent goes through the functions here: they know about slow and about closed sockets. */
#ifndef GATEWAY_SESSION_H
#define GATEWAY_SESSION_H

#include "gateway/state.h"

enum session_state { SESSION_HELLO, SESSION_AUTH, SESSION_JOINING, SESSION_PLAYING, SESSION_LEAVING, SESSION_STATES };

enum unread { UNREAD_JOINING = 1, UNREAD_EDITS = 2 }; /* why a socket is not read */

/* The cells whose players a session is shown: a rectangle, both ends included. */
struct watch {
    struct cell_pos from, to;
};

struct view; /* sights.c: one player that the client shows */

struct session {
    uint64_t player; /* its socket */
    uint64_t count;  /* the second half of its session id */
    enum session_state state;
    bool closing;
    bool skipping;                /* craft_next(): within a line that is too long */
    unsigned unread;              /* enum unread, or'ed */
    char partial[CRAFT_LINE_MAX]; /* the beginning of a line */
    size_t n_partial;
    uint64_t since_ms, sent_ms;
    uint64_t behind_ms, resumed_ms; /* its lines may be as old as this: it was not read; 0: they are fresh */
    uint64_t bytes_in, bytes_out;

    /* joining.c */
    uint32_t id; /* 0: none yet */
    char nick[NICK_MAX + 1];
    char wanted[NICK_MAX + 1];     /* the nick that is being asked for */
    char account[ACCOUNT_MAX + 1]; /* under which its place is saved; empty: a guest */
    bool naming, named, nick_denied;
    uint64_t name_retry_ms;
    bool placed, place_found;
    uint64_t place_request, place_deadline_ms;
    uint64_t visit; /* 0: its place is not saved */

    /* positions.c */
    struct place place;
    bool grounded;          /* the client was sent to the ground: its y is not known yet */
    uint64_t moves;         /* the count of its positions */
    bool moved;             /* since the owner was told */
    struct area *at;        /* where it stands */
    struct area *entered;   /* whose owner was told so */
    uint64_t entered_grant; /* ... which of its grants */
    uint64_t entered_link;  /* ... over which link */
    struct session *at_prev, *at_next;

    /* interest.c, chunks.c */
    struct hold *holds;
    unsigned n_holds, n_far_holds;
    uint64_t swept_ms;
    struct part *ready; /* parts that may be asked for */
    unsigned n_asked;

    /* sights.c */
    bool watching;
    struct watch watch;
    struct view *views;
    unsigned n_views;

    /* edits.c */
    struct lane *lanes;
    struct lane *busy; /* those with unanswered edits */
    struct touched *touched;
    unsigned unanswered;
    bool park_told;
    uint64_t leave_deadline_ms;

    /* chat.c */
    uint64_t talk_from_ms;
    unsigned talk_lines;

    UT_hash_handle hh, hh_count;
    struct session *closing_next;
};

void session_new(struct gateway *g, uint64_t player, const char *from);
size_t session_bytes(struct gateway *g, struct session *s, const char *data, size_t len);
struct session *session_by_player(struct gateway *g, uint64_t player);
struct session *session_by_count(struct gateway *g, uint64_t count);
struct session *session_by_nick(struct gateway *g, const char *nick); /* among those who play here */
struct session_id session_id(const struct gateway *g, const struct session *s);
bool session_playing(const struct session *s);

/* Safe at any depth: the session is freed when the turn ends. why: a constant. */
void session_close(struct gateway *g, struct session *s, const char *why);
/* Its socket is gone already. */
void session_gone(struct gateway *g, struct session *s, const char *why);
void session_tick(struct gateway *g);
void session_reap(struct gateway *g); /* at a turn's end */
void session_free_all(struct gateway *g);

void session_send(struct gateway *g, struct session *s, struct blob *b); /* by reference */
void session_write(struct gateway *g, struct session *s, const void *data, size_t len);
bool session_slow(struct gateway *g, const struct session *s); /* more is queued than out_soft_bytes */
void session_talk(struct gateway *g, struct session *s, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void session_talk_all(struct gateway *g, const char *text);
/* Moves the client: U. A y of 0 lets it find the ground. */
void session_teleport(struct gateway *g, struct session *s, const struct place *to);
void session_unread(struct gateway *g, struct session *s, enum unread why, bool on);
/* It has an id, a nick and a place: it plays from now on. */
void session_joined(struct gateway *g, struct session *s);

#endif
