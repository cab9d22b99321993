/* probe.h - looking into a running process from a test: its admin page, its Redis.
 *
 * Everything blocks, for at most PROBE_MS, and answers on the spot. */
#ifndef TESTS_LIB_PROBE_H
#define TESTS_LIB_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PROBE_MS = 3000 };

/* GET http://127.0.0.1:port/path. The status code, 0 when there was no whole answer in time. *body, NUL-terminated, is
 * the caller's to free; body may be NULL. */
int http_get(uint16_t port, const char *path, char **body);

/* The sum over all samples of that name in Prometheus's text, those with `label` in their braces only ("" : all).
 * False when there is none. */
bool metric_find(const char *text, const char *name, const char *label, double *value);

/* The first number after "name": in a JSON text. False when there is none. */
bool json_number(const char *json, const char *name, double *value);

/* One Redis command; its answer as text: strings and numbers as they are, a nil as "", the items of an array one a
 * line. NULL: no answer, or an error (said on stderr). The caller frees. */
char *redis_ask(uint16_t port, const char *fmt, ...);

#endif
