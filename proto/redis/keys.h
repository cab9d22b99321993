/* clang-format off */
/* keys.h - every key that a world has in Redis, built here and nowhere else.
 *
 * All keys of a world share the hash tag {world}, so one script may touch them all, on a cluster too.
 * Ids are 16 hex digits; epochs, counts and times are decimal text; <i>,<j> is a cell. Times are Redis's own, in ms.
 *
 *   key                            type     content                                 written by               lives
 *   spotcraft:{w}:world            hash     cell_chunks, newest (schema),           join_world               for ever
 *                                           schema (the oldest that may join)
 *                                           run_id, generation, closed_until,       renew, claim
 *                                           fresh_until, next_id                    renew, claim, ids
 *   spotcraft:{w}:nodes            set      ids of nodes that may live: an index    renew, leave, bury       pruned by renew
 *   spotcraft:{w}:node:<id>        hash     address, state, load, pool, instance    renew, leave, bury       the lease
 *   spotcraft:{w}:gate:<id>        hash     the same of a gateway                   renew, leave             the lease
 *   spotcraft:{w}:buried:<id>      string   1: was buried, not again so soon        bury                     60 s
 *   spotcraft:{w}:cell:<i>,<j>     hash     owner, epoch, n (last batch);           claim, append, restore,  deleted by release
 *                                           quarantined: <epoch>-<n> last put there transfer, trim
 *   spotcraft:{w}:journal:<i>,<j>  stream   id <epoch>-<n>, field batch             append, restore, trim    deleted by release
 *   spotcraft:{w}:dirty            set      <i>,<j> of journals not empty           append, restore, trim    for ever
 *   spotcraft:{w}:names            hash     nick -> <gate> <session> x y z rx ry    name_*                   until given up
 *   spotcraft:{w}:quarantine       stream   cell, epoch, n, batch                   trim                     for ever
 *   spotcraft:{w}:events           channel  Event records                           publish                  -
 *
 * What an acknowledged edit survives is what Redis's own persistence survives: with appendfsync always even a power cut
 * of its machine, with everysec up to a second may be lost there, unless the cell's owner lives and restores it. Pure. */
/* clang-format on */
#ifndef PROTO_REDIS_KEYS_H
#define PROTO_REDIS_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/wire/coords.h"
#include "proto/wire/msg.h"

enum {
    KEY_WORLD_MAX = 32,
    KEY_TEXT_MAX = 127,
    ID_TEXT_LEN = 16,
    CELL_TEXT_MAX = 23 /* two int32 with signs and a comma */
};

struct key {
    char text[KEY_TEXT_MAX + 1];
};

bool world_name_valid(const char *name); /* [A-Za-z0-9_-]{1,32} */

/* All of these want a valid world name. */
struct key key_world(const char *world);
struct key key_nodes(const char *world);
struct key key_lease(const char *world, enum role role, uint64_t id);
struct key key_lease_prefix(const char *world, enum role role); /* a script adds an id that it has just read */
struct key key_buried(const char *world, uint64_t node);
struct key key_cell(const char *world, struct cell_pos c);
struct key key_journal(const char *world, struct cell_pos c);
struct key key_dirty(const char *world);
struct key key_names(const char *world);
struct key key_quarantine(const char *world);
struct key key_events(const char *world);

/* The texts that stand inside keys and values. Parsers take exactly what the writers write. */
void id_text(uint64_t id, char out[ID_TEXT_LEN + 1]);
bool id_parse(const char *text, size_t len, uint64_t *id);
void cell_text(struct cell_pos c, char out[CELL_TEXT_MAX + 1]);
bool cell_parse(const char *text, size_t len, struct cell_pos *c);

#endif
