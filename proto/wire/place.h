/* place.h - where a player is and looks. */
#ifndef PROTO_WIRE_PLACE_H
#define PROTO_WIRE_PLACE_H

#include <stdbool.h>

struct place {
    float x, y, z; /* blocks; finite, |x|, |z| <= COORD_MAX / 2 */
    float rx, ry;  /* radians */
};

bool place_valid(const struct place *p); /* finite and in the world */

#endif
