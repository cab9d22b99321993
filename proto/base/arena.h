/* arena.h - memory that is freed all at once: what decoding one message needs.
 *
 * Allocation is a pointer bump; pointers stay good until arena_reset or
 * arena_free. Allocation never fails: see mem.h. One thread. Built with
 * AddressSanitizer, a use after the reset or past the end is caught. */
#ifndef PROTO_BASE_ARENA_H
#define PROTO_BASE_ARENA_H

#include <stddef.h>

struct arena;
struct arena *arena_new(void);
void arena_free(struct arena *a);  /* NULL is fine */
void arena_reset(struct arena *a); /* everything allocated so far is gone; the memory is kept for reuse, up to 1 MiB */
void *arena_alloc(struct arena *a, size_t bytes); /* aligned for any type, not zeroed */
void *arena_zalloc(struct arena *a, size_t bytes);
char *arena_strndup(struct arena *a, const char *s, size_t len); /* adds the final NUL */

#endif
