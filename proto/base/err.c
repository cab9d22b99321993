#include "proto/base/err.h"

#include <assert.h>
#include <stddef.h>

static const char *const text[] = {
    [ERR_OK] = "ok",
    [ERR_AGAIN] = "not yet",
    [ERR_BAD] = "malformed",
    [ERR_TOO_BIG] = "too big",
    [ERR_FULL] = "full",
    [ERR_IO] = "connection or disk lost",
    [ERR_TIMEOUT] = "timed out",
    [ERR_STALE] = "stale epoch",
    [ERR_BEHIND] = "the other side went back",
    [ERR_CLOSED] = "closed for now",
    [ERR_REFUSED] = "refused",
    [ERR_NOT_FOUND] = "not found",
    [ERR_UNSUPPORTED] = "unsupported",
    [ERR_MISMATCH] = "the world's constants differ",
    [ERR_AUTH] = "wrong secret",
};
static_assert(sizeof text / sizeof *text == ERR_COUNT, "every error has a text");

const char *err_text(enum err e)
{
    return (unsigned)e < ERR_COUNT ? text[e] : "unknown error";
}
