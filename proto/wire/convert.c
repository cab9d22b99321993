#include "proto/wire/convert.h"

#include <assert.h>
#include <string.h>

static void *unpack_alloc(void *data, size_t bytes)
{
    struct unpack_memory *m = data;
    if (bytes > m->left)
        return NULL; /* protobuf-c then gives up on the message */
    m->left -= bytes;
    return arena_alloc(m->arena, bytes);
}

static void unpack_free(void *data, void *p)
{
    (void)data; /* the arena frees all at once */
    (void)p;
}

ProtobufCAllocator unpack_allocator(struct unpack_memory *m)
{
    return (ProtobufCAllocator){.alloc = unpack_alloc, .free = unpack_free, .allocator_data = m};
}

static bool byte_showable(char ch)
{
    return ch >= 32 && ch <= 126;
}

bool text_valid(const char *text, size_t max)
{
    for (size_t n = 0; text[n]; n++)
        if (n == max || !byte_showable(text[n]))
            return false;
    return true;
}

const char *text_showable(struct arena *a, const char *text, size_t max)
{
    if (text_valid(text, max))
        return text;
    char *copy = arena_strndup(a, text, strnlen(text, max));
    for (char *ch = copy; *ch; ch++)
        if (!byte_showable(*ch))
            *ch = '?';
    return copy;
}

/* ---- reading ---- */

bool cell_from_pb(const Spotcraft__Cell *in, struct cell_pos *out)
{
    if (!in)
        return false;
    const struct cell_pos min = cell_of_block(-COORD_MAX, -COORD_MAX), max = cell_of_block(COORD_MAX, COORD_MAX);
    *out = (struct cell_pos){in->i, in->j};
    return in->i >= min.i && in->i <= max.i && in->j >= min.j && in->j <= max.j;
}

bool session_from_pb(const Spotcraft__Session *in, struct session_id *out)
{
    if (!in)
        return false;
    *out = (struct session_id){in->gate, in->count};
    return in->gate != 0;
}

bool place_from_pb(const Spotcraft__Pos *in, struct place *out)
{
    if (!in)
        return false;
    *out = (struct place){in->x, in->y, in->z, in->rx, in->ry};
    return place_valid(out);
}

bool row_from_pb(const Spotcraft__Row *in, struct row *out)
{
    if (in->kind > ROW_SIGN || in->face >= SIGN_FACES || in->w < 0 || in->w > INT16_MAX)
        return false;
    if (in->kind != ROW_SIGN && in->text[0])
        return false;
    *out = (struct row){.at = {in->x, in->y, in->z},
                        .kind = (uint8_t)in->kind,
                        .face = (uint8_t)in->face,
                        .w = (int16_t)in->w,
                        .key = in->key,
                        .rev = in->rev,
                        .text = in->kind == ROW_SIGN ? in->text : NULL,
                        .seq = in->seq};
    if (in->author)
        out->author = (struct session_id){in->author->gate, in->author->count};
    return row_valid(out);
}

bool rows_from_pb(struct arena *a, Spotcraft__Row *const *in, size_t n, size_t max, struct row **out, unsigned *n_out,
                  const char **why)
{
    if (n > max) {
        *why = "too many rows";
        return false;
    }
    struct row *rows = arena_alloc(a, n * sizeof(*rows));
    for (size_t k = 0; k < n; k++) {
        if (!row_from_pb(in[k], &rows[k])) {
            *why = "row out of range";
            return false;
        }
    }
    *out = rows;
    *n_out = (unsigned)n;
    return true;
}

/* ---- writing ---- */

Spotcraft__Cell *cell_to_pb(struct arena *a, struct cell_pos c)
{
    Spotcraft__Cell *out = arena_alloc(a, sizeof(*out));
    spotcraft__cell__init(out);
    out->i = c.i;
    out->j = c.j;
    return out;
}

Spotcraft__Session *session_to_pb(struct arena *a, struct session_id s)
{
    Spotcraft__Session *out = arena_alloc(a, sizeof(*out));
    spotcraft__session__init(out);
    out->gate = s.gate;
    out->count = s.count;
    return out;
}

Spotcraft__Pos *place_to_pb(struct arena *a, const struct place *p)
{
    Spotcraft__Pos *out = arena_alloc(a, sizeof(*out));
    spotcraft__pos__init(out);
    out->x = p->x;
    out->y = p->y;
    out->z = p->z;
    out->rx = p->rx;
    out->ry = p->ry;
    return out;
}

Spotcraft__Row **rows_to_pb(struct arena *a, const struct row *rows, unsigned n)
{
    Spotcraft__Row **list = arena_alloc(a, n * sizeof(Spotcraft__Row *));
    Spotcraft__Row *out = arena_alloc(a, n * sizeof(*out));
    for (unsigned k = 0; k < n; k++) {
        const struct row *r = &rows[k];
        assert(row_valid(r));
        spotcraft__row__init(&out[k]);
        out[k].kind = r->kind;
        out[k].x = r->at.x;
        out[k].y = r->at.y;
        out[k].z = r->at.z;
        out[k].w = r->w;
        out[k].face = r->face;
        if (r->text)
            out[k].text = (char *)r->text; /* protobuf-c only reads it */
        out[k].rev = r->rev;
        out[k].key = r->key;
        if (r->author.gate != 0)
            out[k].author = session_to_pb(a, r->author);
        out[k].seq = r->seq;
        list[k] = &out[k];
    }
    return list;
}

struct blob *blob_of_pb(const ProtobufCMessage *m)
{
    struct blob *b = blob_new(NULL, protobuf_c_message_get_packed_size(m));
    protobuf_c_message_pack(m, b->data);
    return b;
}
