/* json.h - reads JSON that others wrote, strictly, and no more of it than is needed.
 *
 * A text is checked as a whole once; then views of its values are looked into without copying. Nesting is bounded. What
 * is not there, or of another type, reads as nothing. Texts come out printable, whatever they hold. Pure. */
#ifndef PROTO_BASE_JSON_H
#define PROTO_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One value within a checked text; at NULL: there is none. */
struct json {
    const char *at, *end;
};

/* False: not one whole value. Whitespace around it is fine. */
bool json_check(const char *text, size_t len, struct json *out);

struct json json_get(struct json object, const char *name);
/* Steps through an array: *item starts as {0}. */
bool json_next(struct json array, struct json *item);
int64_t json_int(struct json v, int64_t otherwise);            /* a whole number */
const char *json_text(struct json v, char *out, size_t bytes); /* cut to fit; returns out */

#endif
