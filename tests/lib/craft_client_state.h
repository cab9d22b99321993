/* craft_client_state.h - what a craft_client has; for its own two files.
 *
 * craft_client.c makes it, says its lines and answers questions; craft_hear.c
 * takes the server's lines in. */
#ifndef TESTS_LIB_CRAFT_CLIENT_STATE_H
#define TESTS_LIB_CRAFT_CLIENT_STATE_H

#include "proto/base/mem.h"
#include "tests/lib/craft_client.h"

#define uthash_malloc(bytes) mem_alloc(bytes)
#include <uthash.h>

enum { SIGN_SHOWN = 63, ITEM_CLOUD = 16, ITEM_PLANT_MIN = 17, ITEM_PLANT_MAX = 23 };

struct held {
    uint64_t id; /* chunk_id() */
    struct chunk_pos at;
    struct craft_map *map; /* the cache; in memory while loaded */
    int32_t key;
    bool loaded;
    bool answered;
    bool undrawn; /* changed since it was last drawn */
    UT_hash_handle hh;
};

struct craft_client {
    const struct client_ears *ears;
    void *arg;
    struct held *chunks;
    unsigned n_loaded;
    struct chunk_pos full_at;      /* round here nothing more was to load, */
    int32_t full_radius;           /* within this radius; -1: not known */
    struct client_player *players; /* in no order: D moves the last into the gap */
    unsigned n_players, players_cap;
    int32_t id;
    struct place place;
    struct place told; /* as last sent; survives a reconnect, as the client's static does */
    uint64_t told_ms;  /* when it last looked whether to send */
    bool may_ground;   /* a U with y = 0 is expected */
    double elapsed_s;
    int32_t day_length_s;
    char *chat[CLIENT_CHAT_LINES];
    struct client_stats stats;
    size_t line_len; /* of the half line held */
    bool skipping;   /* the rest of a line that was too long */
    char line[CRAFT_LINE_MAX + 1];
};

struct held *client_chunk(const struct craft_client *c, struct chunk_pos at); /* NULL: nothing is known of it */
struct held *client_chunk_made(struct craft_client *c, struct chunk_pos at);
/* Sets a block of a chunk or of its border, as client and server do alike. draws: the chunk is drawn anew by itself. */
void client_set_block(struct craft_client *c, struct chunk_pos at, struct block_pos b, int w, bool draws);

struct client_player *client_find_player(const struct craft_client *c, int32_t id); /* NULL: not shown */

static inline bool client_is_plant(int w)
{
    return w >= ITEM_PLANT_MIN && w <= ITEM_PLANT_MAX;
}

#endif
