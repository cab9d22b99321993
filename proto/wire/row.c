#include "proto/wire/row.h"

#include <stddef.h>

enum { ITEM_MAX = 63, LIGHT_MAX = 15 };

static bool sign_text_valid(const char *text)
{
    if (!text)
        return false;
    for (unsigned n = 0; text[n]; n++)
        if (n == SIGN_TEXT_MAX || text[n] < 32 || text[n] > 126)
            return false;
    return true;
}

bool row_valid(const struct row *r)
{
    if (!block_in_world(r->at.x, r->at.z) || r->at.y <= 0 || r->at.y > BLOCK_Y_MAX)
        return false;
    if (r->kind == ROW_SIGN)
        return r->w == 0 && r->key == 0 && r->face < SIGN_FACES && sign_text_valid(r->text);
    if (r->face != 0 || r->text || r->w < 0)
        return false;
    /* Items that players may not place (clouds, the odd flower of the terrain) are still blocks that a row may tell of.
     */
    if (r->kind == ROW_BLOCK)
        return r->w <= ITEM_MAX && r->key <= KEY_MAX;
    return r->kind == ROW_LIGHT && r->w <= LIGHT_MAX && r->key == 0;
}
