/* msg.h - the messages of cluster.proto as plain C, checked.
 *
 * msg_decode() unpacks one Envelope, checks every range and count, and gives a
 * struct whose pointers live in the caller's arena. msg_encode() makes the
 * bytes once; the blob is then shared by every link that sends it. Nothing
 * above this file sees a protobuf struct. Pure; no I/O. */
#ifndef PROTO_WIRE_MSG_H
#define PROTO_WIRE_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/arena.h"
#include "proto/base/blob.h"
#include "proto/base/err.h"
#include "proto/wire/place.h"
#include "proto/wire/row.h"

enum {
    MSG_BYTES_MAX = 1 << 20, /* of one encoded message: the frame limit */
    MSG_ROWS_MAX = 4096,     /* rows in one Rows, ChunkPart or (over all its results) Results; senders split */
    MSG_ITEMS_MAX = 4096,    /* of any other list; of Presence: players over all its cells, and leavers likewise */
    WORLD_NAME_MAX = 63,
    EDIT_TEXT_MAX = SIGN_TEXT_MAX + 1, /* a longer sign text is cut to this: refused just the same */
    NICK_MAX = 31,                     /* what the client shows of a name */
    ACCOUNT_MAX = 63,
    CHAT_MAX = 300,
    NONCE_BYTES = 16,
    MAC_BYTES = 32,
    LOAD_MAX = 1000000, /* of one cell in an Offer: beyond is a mistake, and is cut by its sender */
    SCHEMA_VERSION = 2,
    SCHEMA_DISTANCE_MAX = 1 /* an older or newer neighbour, as processes are replaced one by one */
};

enum role { ROLE_GATEWAY = 1, ROLE_NODE = 2, ROLE_CONTROL = 3 };

enum msg_kind {
    MSG_HELLO = 2,
    MSG_PROOF = 3,
    MSG_PING = 4,
    MSG_PONG = 5,
    MSG_UNSUPPORTED = 6,
    MSG_SUBSCRIBE = 10,
    MSG_UNSUBSCRIBE = 11,
    MSG_EDITS = 12,
    MSG_CHUNK_GET = 13,
    MSG_ENTER = 14,
    MSG_MOVES = 15,
    MSG_LEAVE = 16,
    MSG_PLACE_GET = 17,
    MSG_CHAT = 18,
    MSG_SUBSCRIBED = 30,
    MSG_NOT_MINE = 31,
    MSG_RESULTS = 32,
    MSG_ROWS = 33,
    MSG_CHUNK_PART = 34,
    MSG_PRESENCE = 35,
    MSG_PLACE_IS = 36,
    MSG_OFFER = 50,
    MSG_OFFER_ANSWER = 51,
    MSG_COPY = 52,
    MSG_COPY_END = 53,
    MSG_FOLLOW = 54,
    MSG_STORED = 55,
    MSG_FINAL = 56,
    MSG_READY = 57,
    MSG_COMMIT = 58,
    MSG_ABORT = 59,
    MSG_GOT = 60,
    MSG_STATUS_GET = 80,
    MSG_STATUS_IS = 81,
    MSG_MOVE_CELL = 82,
    MSG_DRAIN = 83,
    MSG_UNDRAIN = 84,
    MSG_DONE = 85
};

struct msg_hello {
    const char *world;
    uint32_t cell_chunks;
    enum role role;
    uint64_t incarnation;
    uint32_t schema;
    uint8_t nonce[NONCE_BYTES];
};

struct msg_want {
    struct cell_pos cell;
    bool presence, resume, redirected;
    uint64_t epoch, rev;
};

/* One edit on its way: the kind says which of w, face and text count. */
struct edit {
    struct session_id session;
    uint64_t seq, floor;
    uint8_t kind; /* enum row_kind */
    uint8_t face;
    int32_t w; /* as the client sent it: the owner judges */
    struct block_pos at;
    const char *text; /* signs: never NULL; else NULL */
};

struct msg_enter {
    struct session_id session;
    uint32_t player;
    const char *nick, *account; /* never NULL */
    uint64_t visit, count;
    struct place place;
    struct cell_pos cell;
};

struct msg_move {
    struct session_id session;
    uint64_t count;
    struct place place;
    struct cell_pos cell;
};

struct msg_leave {
    struct session_id session;
    struct cell_pos cell;
    bool moved_on;
};

struct msg_grant {
    struct cell_pos cell;
    uint64_t epoch, rev;
};

struct msg_where {
    struct cell_pos cell;
    uint64_t owner, epoch, redirect;
};

enum outcome { EDIT_ACCEPTED = 1, EDIT_REFUSED = 2, EDIT_KNOWN = 3, EDIT_WANTED = 4 };

/* Why an owner refuses; refusal_text() has the line that the author is shown ("" for silent ones). */
enum refusal {
    REFUSED_NOT_SAID,
    REFUSED_COORDS,   /* y outside 1..255 */
    REFUSED_ITEM,     /* not an item that players may place */
    REFUSED_OCCUPIED, /* there is a block already */
    REFUSED_EMPTY,    /* nothing to break */
    REFUSED_CLOUD,    /* clouds cannot be broken */
    REFUSED_NO_BLOCK, /* a light needs a block */
    REFUSED_LIGHT,    /* light outside 0..15 */
    REFUSED_SIGN,     /* silent: bad face, text or y */
    REFUSALS
};
const char *refusal_text(enum refusal r);

struct edit_result {
    struct session_id session;
    uint64_t seq;
    enum outcome outcome;
    enum refusal reason;
    struct cell_pos cell;
    uint64_t epoch, rev;
    /* Refused, known: the block as it is: its block row first, its light and its signs. None when the place is not in
     * the world (y outside 1..255): msg_encode leaves such rows out. */
    struct row *rows;
    unsigned n_rows;
};

struct msg_chunk_part {
    struct cell_pos cell;
    uint64_t epoch, rev;
    struct chunk_pos chunk;
    uint32_t key;
    bool last;
};

struct msg_player {
    uint32_t player;
    struct session_id session;
    uint64_t count;
    struct place place;
    const char *nick; /* "" when not said */
};

struct msg_in_cell {
    struct cell_pos cell;
    uint64_t epoch;
    bool all;
    struct msg_player *players;
    unsigned n_players;
    uint32_t *left;
    unsigned n_left;
};

/* ---- between nodes: see node/own/handoff.h ---- */

enum offer_answer { OFFER_ACCEPTED = 1, OFFER_FULL = 2, OFFER_NOT_RUNNING = 3, OFFER_HELD = 4 };

struct msg_offer {
    struct cell_pos cell;
    uint64_t epoch, rows;
    uint32_t players;
    bool follow_only;
    uint32_t load; /* what the cell weighs; 0: not said, as an older node does not */
};

struct msg_copy_end {
    uint64_t n, rev, generation, stored_epoch, stored_n;
    uint32_t key_floor;
    const uint8_t *seen; /* record_encode_seen() */
    size_t seen_bytes;
};

struct msg_follow {
    uint64_t epoch, n;
    const uint8_t *batch; /* record_encode_batch() */
    size_t batch_bytes;
};

struct msg_commit {
    uint64_t epoch;
    struct msg_enter *players;
    unsigned n_players;
};

/* All of them carry the number of the handoff. */
struct msg_handoff {
    uint64_t no;
    union {
        struct msg_offer offer;
        enum offer_answer answer;
        struct {
            struct row *rows;
            unsigned n;
        } copy;
        struct msg_copy_end copy_end;
        struct msg_follow follow;
        struct {
            uint64_t epoch, n, rev;
        } stored;
        uint64_t n; /* final, ready */
        struct msg_commit commit;
        const char *reason; /* abort */
        uint64_t pieces;    /* got */
    };
};

/* ---- between an operator and a node: see ops/ctl ---- */

enum {
    STATUS_PIECE_MAX = 256 << 10, /* bytes of the text in one StatusIs */
    DONE_TEXT_MAX = 200
};

enum done_result { DONE_OK = 1, DONE_NOT_SERVED = 2, DONE_NO_TARGET = 3, DONE_FAILED = 4, DONE_NOT_NOW = 5 };

struct msg_control {
    union {
        bool cells; /* status_get */
        struct {
            const uint8_t *json; /* what a node says: not checked further */
            size_t bytes;
            bool last;
        } status;
        struct {
            struct cell_pos cell;
            uint64_t node;
        } move;
        struct {
            enum done_result result;
            const char *text; /* printable */
        } done;
    };
};

struct msg {
    enum msg_kind kind;
    uint64_t request_id;
    union {
        struct msg_hello hello;
        uint8_t mac[MAC_BYTES];
        uint64_t stamp; /* ping, pong */
        uint32_t unsupported;
        struct {
            struct msg_want *wants;
            unsigned n;
        } subscribe;
        struct {
            struct cell_pos *cells;
            unsigned n;
        } unsubscribe;
        struct {
            struct edit *edits;
            unsigned n;
        } edits;
        struct {
            struct cell_pos cell;
            struct chunk_pos chunk;
            uint32_t key;
        } chunk_get;
        struct msg_enter enter;
        struct {
            struct msg_move *moves;
            unsigned n;
        } moves;
        struct msg_leave leave;
        struct {
            const char *account;
        } place_get;
        struct {
            struct cell_pos cell;
            uint64_t gate;
            const char *to, *text;
        } chat;
        struct {
            struct msg_grant *grants;
            unsigned n;
        } subscribed;
        struct {
            struct msg_where *where;
            unsigned n;
        } not_mine;
        struct {
            struct edit_result *results;
            unsigned n;
        } results;
        struct {
            struct cell_pos cell;
            uint64_t epoch, rev;
            bool resumed;
            struct row *rows;
            unsigned n;
        } rows;
        struct {
            struct msg_chunk_part part;
            struct row *rows;
            unsigned n;
        } chunk_part;
        struct {
            struct msg_in_cell *cells;
            unsigned n;
        } presence;
        struct {
            bool found;
            uint64_t visit;
            struct place place;
        } place_is;
        struct msg_handoff handoff; /* MSG_OFFER to MSG_GOT */
        struct msg_control control; /* MSG_STATUS_GET to MSG_DONE */
    };
};

const char *msg_name(enum msg_kind k); /* "subscribe"; never NULL */

/* ERR_BAD: not an Envelope, or a value out of range (*why says which; a constant).
 * ERR_UNSUPPORTED: a body from a newer schema (out->kind is its number when known, else 0). */
enum err msg_decode(const void *data, size_t len, struct arena *a, struct msg *out, const char **why);

/* One reference, the caller's. Asserts that the limits above hold: splitting is the sender's job. Chat text is cut and
 * made printable here, so that nothing a player types can make a message that its receiver refuses. */
struct blob *msg_encode(const struct msg *m);

#endif
