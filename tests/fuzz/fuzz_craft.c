/* fuzz_craft.c - a client's bytes, in two pieces: the parser never reads beyond them, always gets on, and what it took
 * for a sign can be written for other clients. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proto/wire/craft.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(const struct craft_line *l)
{
    char out[CRAFT_OUT_MAX], text[CRAFT_TEXT_MAX + 1];
    if (l->kind == CRAFT_PLACE) {
        assert(isfinite(l->place.x) && isfinite(l->place.ry));
        assert(craft_player(out, UINT32_MAX, &l->place) <= sizeof(out));
    }
    if (l->kind == CRAFT_SIGN) {
        assert(l->sign.len <= CRAFT_TEXT_MAX);
        memcpy(text, l->sign.text, l->sign.len);
        text[l->sign.len] = 0;
        size_t n = craft_sign(out, chunk_of_block(0, 0), l->sign.at, l->sign.face, text);
        assert(n <= sizeof(out) && memchr(out, '\n', n) == out + n - 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len == 0)
        return 0;
    const size_t first = data[0] % len;
    bool skipping = false;
    size_t at = 0;
    for (unsigned piece = 0; piece < 2; piece++) {
        const size_t end = piece == 0 ? first : len;
        char *copy = malloc(end - at ? end - at : 1); /* exactly sized: an overrun is seen */
        memcpy(copy, data + at, end - at);
        size_t done = 0;
        for (;;) {
            struct craft_line l;
            size_t used = 0;
            const char *why = NULL;
            enum err e = craft_next(copy + done, end - at - done, &skipping, &used, &l, &why);
            assert(used <= end - at - done);
            done += used;
            if (e == ERR_AGAIN)
                break;
            assert(used > 0 && (e == ERR_OK || (e == ERR_BAD && why)));
            if (e == ERR_OK)
                check(&l);
        }
        free(copy);
        at += done;
    }
    assert(len - at < CRAFT_LINE_MAX);
    return 0;
}
