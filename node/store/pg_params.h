/* pg_params.h - parameters of a prepared statement in PostgreSQL's binary form, arrays included.
 *
 * Binary, because then nothing needs quoting: a sign may say {"a","b"}\. The
 * bytes live in the arena until PQsendQueryPrepared() has copied them. */
#ifndef NODE_STORE_PG_PARAMS_H
#define NODE_STORE_PG_PARAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/arena.h"

enum { PG_PARAMS_MAX = 12 };
/* Of pg_type.dat: fixed for ever. */
enum pg_type {
    PG_BOOL = 16,
    PG_BYTEA = 17,
    PG_INT8 = 20,
    PG_INT2 = 21,
    PG_INT4 = 23,
    PG_TEXT = 25,
    PG_FLOAT4 = 700,
    PG_BYTEAS = 1001,
    PG_INT2S = 1005,
    PG_INT4S = 1007,
    PG_TEXTS = 1009,
    PG_INT8S = 1016,
    PG_FLOAT4S = 1021
};

struct pg_params {
    struct arena *arena;
    int n;
    const char *values[PG_PARAMS_MAX];
    int lengths[PG_PARAMS_MAX];
    int formats[PG_PARAMS_MAX]; /* all 1: binary */
};
void pg_params_start(struct pg_params *p, struct arena *a);
void pg_add_bool(struct pg_params *p, bool v);
void pg_add_int4(struct pg_params *p, int32_t v);
void pg_add_int8(struct pg_params *p, uint64_t v);
void pg_add_bytes(struct pg_params *p, const void *data, size_t len); /* bytea, text */

/* An array parameter that grows element by element; at most max of them, texts at most text_bytes in all. */
struct pg_array {
    uint8_t *at, *start;
    uint32_t n;
    int slot;
};
struct pg_array pg_add_array(struct pg_params *p, enum pg_type element, unsigned max, size_t text_bytes);
void pg_array_int2(struct pg_array *a, int16_t v);
void pg_array_int4(struct pg_array *a, int32_t v);
void pg_array_int8(struct pg_array *a, uint64_t v);
void pg_array_float4(struct pg_array *a, float v);
void pg_array_text(struct pg_array *a, const char *text);
void pg_array_end(struct pg_params *p, struct pg_array *a);

/* The same numbers on their way back. */
uint16_t pg_get16(const void *from);
uint32_t pg_get32(const void *from);
uint64_t pg_get64(const void *from);

#endif
