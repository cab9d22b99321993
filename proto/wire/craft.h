/* craft.h - the Craft client's text protocol, version 1: lines to structs and back.
 *
 * Lines end in '\n', fields are separated by ',', the first is one capital
 * letter; only the last text field (T, S) may contain commas. Nothing is
 * escaped. Pure; no I/O. The source is the client itself (fogleman/Craft). */
#ifndef PROTO_WIRE_CRAFT_H
#define PROTO_WIRE_CRAFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"
#include "proto/wire/place.h"
#include "proto/wire/row.h"

enum {
    CRAFT_LINE_MAX = 1024, /* of a client's line, '\n' included; a longer one is skipped up to its end */
    CRAFT_TEXT_MAX = 255,  /* of a chat line that a client shows */
    CRAFT_OUT_MAX = 512    /* no line that we write is longer */
};

enum craft_kind {
    CRAFT_VERSION,
    CRAFT_AUTH,
    CRAFT_CHUNK,
    CRAFT_PLACE,
    CRAFT_BLOCK,
    CRAFT_LIGHT,
    CRAFT_SIGN,
    CRAFT_TALK
};

struct craft_line {
    enum craft_kind kind;
    union {
        int32_t version;
        struct { /* not NUL-terminated; views into the line */
            const char *user, *token;
            size_t user_len, token_len;
        } auth;
        struct {
            struct chunk_pos at;
            int32_t key;
        } chunk;
        struct place place;
        struct {
            struct block_pos at;
            int32_t w;
        } block; /* and light */
        struct {
            struct block_pos at;
            int32_t face;
            const char *text;
            size_t len;
        } sign;
        struct {
            const char *text;
            size_t len;
        } talk;
    };
};

/* The next line in data: *used bytes with its '\n' (and all empty lines before it). ERR_AGAIN: no whole line yet, *used
 * says how many bytes may be dropped (a line over CRAFT_LINE_MAX is dropped piece by piece; *skipping carries that over
 * calls). ERR_BAD: a line that means nothing to us (unknown letter, wrong fields, numbers outside int32, NaN, a NUL
 * byte): *used is past it; *why is a constant. */
enum err craft_next(const char *data, size_t len, bool *skipping, size_t *used, struct craft_line *out,
                    const char **why);

/* Writers append one line to out (room for CRAFT_OUT_MAX) and return its length. Floats have two decimals. */
size_t craft_you(char *out, uint32_t id, const struct place *p);       /* U */
size_t craft_time(char *out, double elapsed_s, uint32_t day_length_s); /* E */
size_t craft_talk(char *out, const char *text); /* T; cut at CRAFT_TEXT_MAX; bytes outside 32..126 become '?' */
size_t craft_player(char *out, uint32_t id, const struct place *p);            /* P */
size_t craft_nick(char *out, uint32_t id, const char *nick);                   /* N */
size_t craft_gone(char *out, uint32_t id);                                     /* D */
size_t craft_block(char *out, struct chunk_pos c, struct block_pos at, int w); /* B; w negative: mirror */
size_t craft_light(char *out, struct chunk_pos c, struct block_pos at, int w); /* L */
size_t craft_sign(char *out, struct chunk_pos c, struct block_pos at, int face, const char *text); /* S */
size_t craft_key(char *out, struct chunk_pos c, uint32_t key);                                     /* K */
size_t craft_redraw(char *out, struct chunk_pos c);                                                /* R */
size_t craft_chunk_end(char *out, struct chunk_pos c);                                             /* C */

#endif
