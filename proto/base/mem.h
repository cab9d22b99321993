/* mem.h - allocation that does not fail.
 *
 * A process that cannot allocate says so in one line and aborts: its edits are
 * in the journal, and its peers take over. Handling it at every call would be
 * code that no test ever ran. Sizes from outside are capped before they get here. */
#ifndef PROTO_BASE_MEM_H
#define PROTO_BASE_MEM_H

#include <stddef.h>

void *mem_alloc(size_t bytes);           /* not zeroed; bytes may be 0 */
void *mem_zalloc(size_t bytes);          /* zeroed */
void *mem_resize(void *p, size_t bytes); /* like realloc */
void *mem_array(size_t n, size_t size);  /* zeroed, n * size checked for overflow */
char *mem_strdup(const char *s);
char *mem_strndup(const char *s, size_t len);
void *mem_dup(const void *p, size_t bytes);
/* free() releases all of them. */

#endif
