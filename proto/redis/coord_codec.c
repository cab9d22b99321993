#include "proto/redis/coord_codec.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/mem.h"
#include "proto/redis/keys.h"

enum { CELL_FIELDS = 5, MEMBER_FIELDS = 5, JOURNAL_FIELDS = 3, JOURNAL_PAGE_BYTES = 1 << 20 };
static const uint64_t EXACT_STOP = UINT64_C(1) << 53; /* scripts count in doubles */

/* ---- asking ---- */

struct args {
    struct arena *a;
    const char *world;
    struct coord_call *call;
    unsigned room;
};

static void put(struct args *p, const void *data, size_t len)
{
    assert(p->call->argc < p->room);
    p->call->argv[p->call->argc] = len ? data : "";
    p->call->lens[p->call->argc++] = len;
}

static void put_text(struct args *p, const char *text) /* text outlives the call */
{
    put(p, text, strlen(text));
}

static void put_copy(struct args *p, const char *text)
{
    size_t len = strlen(text);
    put(p, arena_strndup(p->a, text, len), len);
}

static void put_key(struct args *p, struct key k)
{
    put_copy(p, k.text);
    p->call->n_keys++;
}

static void put_number(struct args *p, uint64_t v)
{
    char text[24];
    assert(v < EXACT_STOP);
    snprintf(text, sizeof text, "%" PRIu64, v);
    put_copy(p, text);
}

static void put_session(struct args *p, uint64_t v) /* compared as text: all 64 bits will do */
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, v);
    put_copy(p, text);
}

static void put_id(struct args *p, uint64_t id)
{
    char text[ID_TEXT_LEN + 1];
    id_text(id, text);
    put_copy(p, text);
}

static void put_owner(struct args *p, uint64_t id)
{
    if (id)
        put_id(p, id);
    else
        put_text(p, "");
}

static void put_cell(struct args *p, struct cell_pos c)
{
    char text[CELL_TEXT_MAX + 1];
    cell_text(c, text);
    put_copy(p, text);
}

static void put_blob(struct args *p, const struct blob *b)
{
    put(p, b ? (const void *)b->data : "", b ? b->len : 0);
}

static void put_place(struct args *p, const struct place *at)
{
    char text[96]; /* nine digits bring a float back exactly */
    snprintf(text, sizeof text, "%.9g %.9g %.9g %.9g %.9g", (double)at->x, (double)at->y, (double)at->z, (double)at->rx,
             (double)at->ry);
    put_copy(p, text);
}

static void put_lease_prefix(struct args *p, enum role role)
{
    put_copy(p, key_lease_prefix(p->world, role).text);
}

static void encode_renew(struct args *p, const struct coord_req *r)
{
    put_key(p, key_world(p->world));
    put_key(p, key_nodes(p->world));
    put_key(p, key_lease(p->world, r->renew.role, r->me));
    put_id(p, r->me);
    put_number(p, r->renew.role == ROLE_NODE);
    put_number(p, r->renew.ttl_ms);
    put_text(p, r->renew.self.address);
    put_number(p, r->renew.self.state);
    put_number(p, r->renew.self.load);
    put_text(p, r->renew.self.pool);
    put_number(p, r->renew.generation_known);
    put_number(p, r->renew.id_high);
    put_lease_prefix(p, ROLE_NODE);
    put_number(p, COORD_MEMBERS_MAX);
    put_text(p, r->renew.self.instance);
}

static void encode_cells(struct args *p, const struct coord_req *r)
{
    const struct coord_cell *cells = r->cells.cells;
    unsigned n = r->cells.n;
    bool journals = r->op == COORD_APPEND || r->op == COORD_TRIM || r->op == COORD_RELEASE;
    if (r->op == COORD_CLAIM) {
        put_key(p, key_world(p->world));
        put_key(p, key_lease(p->world, ROLE_NODE, r->me));
    }
    if (journals)
        put_key(p, key_dirty(p->world));
    if (r->op == COORD_TRIM)
        put_key(p, key_quarantine(p->world));
    for (unsigned i = 0; i < n; i++) {
        put_key(p, key_cell(p->world, cells[i].cell));
        if (journals)
            put_key(p, key_journal(p->world, cells[i].cell));
    }
    if (r->op == COORD_OWNERS) {
        put_lease_prefix(p, ROLE_NODE);
        return;
    }
    put_id(p, r->me);
    if (r->op == COORD_CLAIM)
        put_lease_prefix(p, ROLE_NODE);
    if (r->op == COORD_TRANSFER)
        put_id(p, r->cells.target);
    for (unsigned i = 0; i < n; i++) {
        const struct coord_cell *c = &cells[i];
        if (r->op == COORD_CLAIM) {
            put_owner(p, c->believed);
            put_number(p, c->epoch);
            continue;
        }
        if (journals)
            put_cell(p, c->cell);
        put_number(p, c->epoch);
        put_number(p, c->n);
        if (r->op == COORD_APPEND || r->op == COORD_TRIM)
            put_blob(p, c->batch);
    }
}

static void encode_restore(struct args *p, const struct coord_req *r)
{
    put_key(p, key_dirty(p->world));
    put_key(p, key_cell(p->world, r->restore.cell));
    put_key(p, key_journal(p->world, r->restore.cell));
    put_id(p, r->me);
    put_cell(p, r->restore.cell);
    put_number(p, r->restore.epoch);
    put_number(p, r->restore.n);
    for (unsigned i = 0; i < r->restore.n_batches; i++) {
        put_number(p, r->restore.batches[i].epoch);
        put_number(p, r->restore.batches[i].n);
        put_blob(p, r->restore.batches[i].bytes);
    }
}

static void encode_names(struct args *p, const struct coord_req *r)
{
    put_key(p, key_names(p->world));
    switch (r->op) {
    case COORD_NAME_TAKE:
        put_id(p, r->me);
        put_session(p, r->name.name.session);
        put_lease_prefix(p, ROLE_GATEWAY);
        put_text(p, r->name.name.nick);
        put_place(p, &r->name.name.place);
        put_text(p, r->name.old);
        break;
    case COORD_NAME_DROP:
        put_id(p, r->me);
        put_session(p, r->name.name.session);
        put_text(p, r->name.name.nick);
        break;
    case COORD_NAME_PLACES:
        put_id(p, r->me);
        for (unsigned i = 0; i < r->names.n; i++) {
            put_session(p, r->names.names[i].session);
            put_text(p, r->names.names[i].nick);
            put_place(p, &r->names.names[i].place);
        }
        break;
    case COORD_NAME_FIND:
        put_lease_prefix(p, ROLE_GATEWAY);
        put_text(p, r->find.nick);
        put_text(p, r->find.not_nick);
        break;
    default: /* COORD_NAME_LIST */
        put_lease_prefix(p, ROLE_GATEWAY);
        put_number(p, COORD_NAMES_MAX);
        break;
    }
}

static unsigned args_room(const struct coord_req *r)
{
    switch (r->op) {
    case COORD_OWNERS:
    case COORD_CLAIM:
    case COORD_APPEND:
    case COORD_TRIM:
    case COORD_RELEASE:
    case COORD_TRANSFER:
        return 4 + 6 * r->cells.n;
    case COORD_RESTORE:
        return 7 + 3 * r->restore.n_batches;
    case COORD_NAME_PLACES:
        return 2 + 3 * r->names.n;
    default:
        return 16;
    }
}

void coord_encode(const char *world, const struct coord_req *r, struct arena *a, struct coord_call *out)
{
    struct args args = {.a = a, .world = world, .call = out, .room = args_room(r)}, *p = &args;
    out->n_keys = out->argc = 0;
    out->argv = arena_alloc(a, args.room * sizeof *out->argv);
    out->lens = arena_alloc(a, args.room * sizeof *out->lens);
    switch (r->op) {
    case COORD_JOIN_WORLD:
        put_key(p, key_world(world));
        put_number(p, r->world.cell_chunks);
        put_number(p, r->world.schema);
        put_number(p, SCHEMA_DISTANCE_MAX);
        break;
    case COORD_RENEW:
        encode_renew(p, r);
        break;
    case COORD_LEAVE:
        put_key(p, key_nodes(world));
        put_key(p, key_lease(world, ROLE_NODE, r->me));
        put_key(p, key_lease(world, ROLE_GATEWAY, r->me));
        put_id(p, r->me);
        break;
    case COORD_BURY:
        put_key(p, key_nodes(world));
        put_key(p, key_lease(world, ROLE_NODE, r->bury.node));
        put_key(p, key_buried(world, r->bury.node));
        put_id(p, r->bury.node);
        break;
    case COORD_OWNERS:
    case COORD_CLAIM:
    case COORD_APPEND:
    case COORD_TRIM:
    case COORD_RELEASE:
    case COORD_TRANSFER:
        encode_cells(p, r);
        break;
    case COORD_RESTORE:
        encode_restore(p, r);
        break;
    case COORD_JOURNAL:
        put_key(p, key_journal(world, r->journal.cell));
        put_key(p, key_cell(world, r->journal.cell));
        put_number(p, r->journal.after_epoch);
        put_number(p, r->journal.after_n);
        put_number(p, COORD_JOURNAL_PAGE);
        put_number(p, JOURNAL_PAGE_BYTES);
        break;
    case COORD_DIRTY:
        put_text(p, "SRANDMEMBER");
        put_key(p, key_dirty(world));
        put_number(p, COORD_CELLS_MAX);
        break;
    case COORD_IDS:
        assert(r->ids.want > 0);
        put_key(p, key_world(world));
        put_number(p, r->ids.want);
        break;
    case COORD_NAME_TAKE:
    case COORD_NAME_DROP:
    case COORD_NAME_PLACES:
    case COORD_NAME_FIND:
    case COORD_NAME_LIST:
        encode_names(p, r);
        break;
    case COORD_PUBLISH:
        put_text(p, "PUBLISH");
        put_key(p, key_events(world));
        put_blob(p, r->publish.event);
        break;
    case COORD_OPS:
        assert(0);
    }
}

/* ---- hearing ---- */

static bool is_bytes(const redisReply *r)
{
    return r->type == REDIS_REPLY_STRING;
}

static bool is_array(const redisReply *r)
{
    return r->type == REDIS_REPLY_ARRAY;
}

static bool get_number(const redisReply *r, uint64_t max, uint64_t *out)
{
    if (r->type != REDIS_REPLY_INTEGER || r->integer < 0 || (uint64_t)r->integer > max)
        return false;
    *out = (uint64_t)r->integer;
    return true;
}

static bool get_bool(const redisReply *r, bool *out)
{
    uint64_t v;
    if (!get_number(r, 1, &v))
        return false;
    *out = v == 1;
    return true;
}

/* Digits only: no sign, space or fraction that strtoull would take. */
static bool get_digits(const char *text, size_t len, uint64_t max, uint64_t *out)
{
    uint64_t v = 0;
    if (len == 0 || len > 20)
        return false;
    for (size_t i = 0; i < len; i++) {
        unsigned d = (unsigned)(text[i] - '0');
        if (d > 9 || v > (UINT64_MAX - d) / 10)
            return false;
        v = v * 10 + d;
    }
    *out = v;
    return v <= max;
}

static bool get_digits_reply(const redisReply *r, uint64_t max, uint64_t *out)
{
    return is_bytes(r) && get_digits(r->str, r->len, max, out);
}

static bool get_text(const redisReply *r, char *out, size_t room)
{
    if (!is_bytes(r) || (size_t)r->len >= room || memchr(r->str, '\0', r->len))
        return false;
    memcpy(out, r->str, r->len);
    out[r->len] = '\0';
    return true;
}

static bool get_owner(const redisReply *r, uint64_t *out)
{
    if (!is_bytes(r))
        return false;
    if (r->len == 0) {
        *out = 0;
        return true;
    }
    return id_parse(r->str, r->len, out);
}

static int by_member_id(const void *a, const void *b)
{
    const struct coord_member *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static bool decode_join(struct coord_req *r, const redisReply *reply, bool *fits)
{
    uint64_t chunks, newest;
    if (!is_array(reply) || reply->elements != 3 || !get_bool(reply->element[0], fits) ||
        !get_number(reply->element[1], UINT32_MAX, &chunks) || !get_number(reply->element[2], UINT32_MAX, &newest))
        return false;
    r->world.has_chunks = (uint32_t)chunks;
    r->world.newest = (uint32_t)newest;
    return true;
}

static bool decode_renew(struct coord_req *r, const redisReply *reply)
{
    uint64_t closed_ms;
    if (!is_array(reply) || reply->elements < 4 || (reply->elements - 4) % MEMBER_FIELDS)
        return false;
    redisReply **f = reply->element;
    size_t n = (reply->elements - 4) / MEMBER_FIELDS;
    if (n > COORD_MEMBERS_MAX || !get_bool(f[0], &r->renew.existed) || !get_bool(f[1], &r->renew.evicts) ||
        !get_number(f[2], EXACT_STOP - 1, &r->renew.generation) || !get_number(f[3], UINT32_MAX, &closed_ms))
        return false;
    r->renew.closed_ms = (uint32_t)closed_ms;
    r->renew.members = mem_array(n, sizeof *r->renew.members);
    f += 4;
    for (size_t i = 0; i < n; i++, f += MEMBER_FIELDS) {
        struct coord_member *m = &r->renew.members[i];
        uint64_t state, load;
        if (!is_bytes(f[0]) || !id_parse(f[0]->str, f[0]->len, &m->id) ||
            !get_text(f[1], m->self.address, sizeof m->self.address) ||
            !get_digits_reply(f[2], NODE_STARTING, &state) || !get_digits_reply(f[3], UINT32_MAX, &load) ||
            !get_text(f[4], m->self.pool, sizeof m->self.pool))
            return false;
        m->self.state = (enum node_state)state;
        m->self.load = (uint32_t)load;
    }
    r->renew.n_members = (unsigned)n;
    qsort(r->renew.members, n, sizeof *r->renew.members, by_member_id);
    return true;
}

static bool decode_cells(struct coord_req *r, const redisReply *reply)
{
    if (!is_array(reply) || reply->elements != (size_t)r->cells.n * CELL_FIELDS)
        return false;
    redisReply **f = reply->element;
    for (unsigned i = 0; i < r->cells.n; i++, f += CELL_FIELDS) {
        struct coord_cell *c = &r->cells.cells[i];
        uint64_t answer;
        if (!get_number(f[0], CELL_BUSY, &answer) || answer < CELL_TAKEN || !get_owner(f[1], &c->owner) ||
            !get_number(f[2], EXACT_STOP - 1, &c->owner_epoch) || !get_number(f[3], EXACT_STOP - 1, &c->owner_n) ||
            !get_bool(f[4], &c->owner_alive))
            return false;
        c->answer = (enum cell_answer)answer;
    }
    return true;
}

static bool get_batch_id(const redisReply *r, struct coord_batch *b)
{
    const char *dash = is_bytes(r) ? memchr(r->str, '-', r->len) : NULL;
    return dash && get_digits(r->str, (size_t)(dash - r->str), EXACT_STOP - 1, &b->epoch) &&
           get_digits(dash + 1, r->len - (size_t)(dash + 1 - r->str), EXACT_STOP - 1, &b->n);
}

static bool decode_journal(struct coord_req *r, const redisReply *reply)
{
    if (!is_array(reply) || reply->elements < JOURNAL_FIELDS || (reply->elements - JOURNAL_FIELDS) % 2 ||
        (reply->elements - JOURNAL_FIELDS) / 2 > COORD_JOURNAL_PAGE || !get_bool(reply->element[0], &r->journal.more) ||
        !get_owner(reply->element[1], &r->journal.owner) ||
        !get_number(reply->element[2], EXACT_STOP - 1, &r->journal.owner_epoch))
        return false;
    size_t n = (reply->elements - JOURNAL_FIELDS) / 2;
    r->journal.batches = mem_array(n, sizeof *r->journal.batches);
    for (size_t i = 0; i < n; i++) {
        struct coord_batch b;
        const redisReply *bytes = reply->element[JOURNAL_FIELDS + 2 * i + 1];
        if (!get_batch_id(reply->element[JOURNAL_FIELDS + 2 * i], &b) || !is_bytes(bytes))
            return false;
        b.bytes = blob_new(bytes->str, bytes->len);
        r->journal.batches[r->journal.n_batches++] = b;
    }
    return true;
}

static bool decode_dirty(struct coord_req *r, const redisReply *reply)
{
    if (!is_array(reply) || reply->elements > COORD_CELLS_MAX)
        return false;
    for (size_t i = 0; i < reply->elements; i++) {
        const redisReply *c = reply->element[i];
        if (!is_bytes(c) || !cell_parse(c->str, c->len, &r->dirty.cells[i]))
            return false;
    }
    r->dirty.n = (unsigned)reply->elements;
    return true;
}

/* "<gate> <session> x y z rx ry" */
static bool get_name(const redisReply *nick, const redisReply *value, uint64_t *gate, struct coord_name *out)
{
    char text[192];
    if (!get_text(nick, out->nick, sizeof out->nick) || !get_text(value, text, sizeof text) ||
        strlen(text) <= ID_TEXT_LEN || text[ID_TEXT_LEN] != ' ' || !id_parse(text, ID_TEXT_LEN, gate))
        return false;
    const char *session = text + ID_TEXT_LEN + 1;
    size_t digits = strcspn(session, " ");
    int end = -1;
    struct place *at = &out->place;
    if (!get_digits(session, digits, UINT64_MAX, &out->session) ||
        sscanf(session + digits, "%f %f %f %f %f%n", &at->x, &at->y, &at->z, &at->rx, &at->ry, &end) != 5 ||
        session[digits + (size_t)end] != '\0')
        return false;
    return place_valid(at);
}

static bool decode_find(struct coord_req *r, const redisReply *reply)
{
    if (!is_array(reply) || (reply->elements != 0 && reply->elements != 2))
        return false;
    if (reply->elements == 2 && !get_name(reply->element[0], reply->element[1], &r->find.gate, &r->find.name))
        return false;
    r->find.found = reply->elements == 2;
    return true;
}

static int by_nick(const void *a, const void *b)
{
    const struct coord_name *x = a, *y = b;
    return strcmp(x->nick, y->nick);
}

static bool decode_list(struct coord_req *r, const redisReply *reply)
{
    uint64_t total, gate;
    if (!is_array(reply) || reply->elements % 2 == 0 || reply->elements / 2 > COORD_NAMES_MAX ||
        !get_number(reply->element[0], UINT32_MAX, &total))
        return false;
    size_t n = reply->elements / 2;
    r->names.names = mem_array(n, sizeof *r->names.names);
    for (size_t i = 0; i < n; i++)
        if (!get_name(reply->element[2 * i + 1], reply->element[2 * i + 2], &gate, &r->names.names[i]))
            return false;
    r->names.n = (unsigned)n;
    r->names.total = (uint32_t)total;
    qsort(r->names.names, n, sizeof *r->names.names, by_nick);
    return true;
}

enum err coord_decode(struct coord_req *r, const redisReply *reply)
{
    bool fits = false, yes = false;
    uint64_t v = 0;
    switch (r->op) {
    case COORD_JOIN_WORLD:
        fits = decode_join(r, reply, &yes);
        if (fits && !yes)
            return ERR_MISMATCH;
        break;
    case COORD_RENEW:
        fits = decode_renew(r, reply);
        break;
    case COORD_BURY:
        fits = get_bool(reply, &r->bury.buried);
        break;
    case COORD_OWNERS:
    case COORD_CLAIM:
    case COORD_APPEND:
    case COORD_TRIM:
    case COORD_RELEASE:
    case COORD_TRANSFER:
        fits = decode_cells(r, reply);
        break;
    case COORD_RESTORE:
        fits = get_number(reply, CELL_STALE, &v) && (v == CELL_TAKEN || v == CELL_STALE);
        r->restore.answer = (enum cell_answer)v;
        break;
    case COORD_JOURNAL:
        fits = decode_journal(r, reply);
        break;
    case COORD_DIRTY:
        fits = decode_dirty(r, reply);
        break;
    case COORD_IDS:
        fits = get_number(reply, INT32_MAX, &v) && v > 0;
        r->ids.first = (uint32_t)v;
        break;
    case COORD_NAME_TAKE:
        fits = get_bool(reply, &yes);
        r->name.taken = !yes;
        break;
    case COORD_LEAVE:
    case COORD_NAME_DROP:
    case COORD_NAME_PLACES:
        fits = get_number(reply, 1, &v);
        break;
    case COORD_NAME_FIND:
        fits = decode_find(r, reply);
        break;
    case COORD_NAME_LIST:
        fits = decode_list(r, reply);
        break;
    case COORD_PUBLISH:
        fits = get_number(reply, UINT32_MAX, &v);
        break;
    case COORD_OPS:
        break;
    }
    return fits ? ERR_OK : ERR_REFUSED;
}
