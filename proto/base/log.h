/* log.h - one line per event: what happened, then key=value pairs.
 *
 *   2026-01-31T12:00:00.123Z info node=1f3a cell_serving cell=3,-2 epoch=7 rows=120 ms=4
 *
 * Goes to stderr, one write(2) a line; a line over 1 KiB is cut. Text from outside goes through log_quote() first.
 * The level, the format and the process's tag are the only state. Any thread. */
#ifndef PROTO_BASE_LOG_H
#define PROTO_BASE_LOG_H

#include <stddef.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_set_level(enum log_level level);
int log_level_parse(const char *text); /* -1: no such level */
void log_set_tag(const char *tag);     /* "node=1f3a": copied, at most 63 bytes */
void log_set_fd(int fd);               /* default 2; -1: nowhere */
void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
extern enum log_level log_level_now;

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...)                                                                                                 \
    do {                                                                                                               \
        if (log_level_now >= LOG_DEBUG)                                                                                \
            log_write(LOG_DEBUG, __VA_ARGS__);                                                                         \
    } while (0)

/* A C-quoted, cut copy of bytes from outside, "..." included: safe in a line. Returns out. */
const char *log_quote(char *out, size_t out_bytes, const char *data, size_t len);

#endif
