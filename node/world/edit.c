#include "node/world/edit.h"

#include <stddef.h>

enum { ITEM_CLOUD = 16, ITEM_PLAIN_MAX = 23, ITEM_COLOUR_MIN = 32, ITEM_COLOUR_MAX = 63, LIGHT_MAX = 15 };

bool edit_item_allowed(int32_t w)
{
    return (w >= 0 && w <= ITEM_PLAIN_MAX && w != ITEM_CLOUD) || (w >= ITEM_COLOUR_MIN && w <= ITEM_COLOUR_MAX);
}

static bool in_world(struct block_pos at)
{
    return at.y > 0 && at.y <= BLOCK_Y_MAX && block_in_world(at.x, at.z);
}

static bool sign_text_allowed(const char *text)
{
    size_t n = 0;
    for (; text[n]; n++) {
        if (n == SIGN_TEXT_MAX || text[n] < 32 || text[n] > 126)
            return false;
    }
    return true;
}

enum refusal edit_judge_alone(const struct edit *e)
{
    switch (e->kind) {
    case ROW_SIGN:
        return in_world(e->at) && e->face < SIGN_FACES && sign_text_allowed(e->text) ? REFUSED_NOT_SAID : REFUSED_SIGN;
    case ROW_LIGHT:
        if (!in_world(e->at))
            return REFUSED_COORDS;
        return e->w >= 0 && e->w <= LIGHT_MAX ? REFUSED_NOT_SAID : REFUSED_LIGHT;
    default:
        if (!in_world(e->at))
            return REFUSED_COORDS;
        return e->kind == ROW_BLOCK && edit_item_allowed(e->w) ? REFUSED_NOT_SAID : REFUSED_ITEM;
    }
}

enum refusal edit_judge_block(const struct edit *e, int there)
{
    if (e->kind == ROW_SIGN)
        return REFUSED_NOT_SAID;
    if (e->kind == ROW_LIGHT)
        return there ? REFUSED_NOT_SAID : REFUSED_NO_BLOCK;
    if (e->w != 0)
        return there ? REFUSED_OCCUPIED : REFUSED_NOT_SAID; /* replacing is two edits: break, then place */
    if (there == 0)
        return REFUSED_EMPTY;
    return there == ITEM_CLOUD ? REFUSED_CLOUD : REFUSED_NOT_SAID;
}
