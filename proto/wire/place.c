#include "proto/wire/place.h"

#include <math.h>

#include "proto/wire/coords.h"

/* Half the world leaves room for every sum that is made of a place. NaN fails each comparison. */
bool place_valid(const struct place *p)
{
    const float max = (float)(COORD_MAX / 2);
    return fabsf(p->x) <= max && fabsf(p->y) <= max && fabsf(p->z) <= max && isfinite(p->rx) && isfinite(p->ry);
}
