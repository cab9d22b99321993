#include "proto/base/log.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/clock.h"

enum { LINE_BYTES = 1024, TAG_BYTES = 64 };

enum log_level log_level_now = LOG_INFO;
static char tag[TAG_BYTES];
static int fd = STDERR_FILENO;
static const char *const level_name[] = {"error", "warn", "info", "debug"};

void log_set_level(enum log_level level)
{
    log_level_now = level;
}

int log_level_parse(const char *text)
{
    for (int i = LOG_ERROR; i <= LOG_DEBUG; i++) {
        if (strcasecmp(text, level_name[i]) == 0)
            return i;
    }
    return -1;
}

void log_set_tag(const char *text)
{
    snprintf(tag, sizeof tag, "%s", text);
}

void log_set_fd(int to)
{
    fd = to;
}

static size_t write_head(char *line, enum log_level level)
{
    uint64_t now_ms = clock_unix_ms();
    time_t now_s = (time_t)(now_ms / 1000);
    struct tm t;
    gmtime_r(&now_s, &t);
    size_t len = strftime(line, LINE_BYTES, "%Y-%m-%dT%H:%M:%S", &t);
    int n = snprintf(line + len, LINE_BYTES - len, ".%03uZ %s %s%s", (unsigned)(now_ms % 1000), level_name[level], tag,
                     tag[0] ? " " : "");
    return len + (size_t)n;
}

void log_write(enum log_level level, const char *fmt, ...)
{
    if (level > log_level_now || fd < 0)
        return;
    int errno_before = errno; /* callers log first and look at errno after */
    char line[LINE_BYTES];
    size_t head = write_head(line, level);
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(line + head, sizeof line - head, fmt, args);
    va_end(args);
    size_t len = n < 0 ? head : head + (size_t)n;
    if (len > sizeof line - 1) {
        memcpy(line + sizeof line - 4, "...", 3);
        len = sizeof line - 1;
    }
    for (size_t i = head; i < len; i++) {
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            line[i] = '?'; /* one event stays one line, whatever was printed into it */
    }
    line[len++] = '\n';
    ssize_t done;
    do
        done = write(fd, line, len);
    while (done < 0 && errno == EINTR);
    errno = errno_before;
}

const char *log_quote(char *out, size_t out_bytes, const char *data, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    enum { TAIL = 5 }; /* closing quote, three dots, NUL */
    assert(out_bytes >= 1 + TAIL);
    char *o = out;
    const char *end = out + out_bytes - TAIL;
    size_t i = 0;
    *o++ = '"';
    for (; i < len; i++) {
        char piece[4] = {'\\'};
        unsigned char c = (unsigned char)data[i];
        size_t n = 2;
        if (c == '"' || c == '\\') {
            piece[1] = (char)c;
        } else if (c == '\n') {
            piece[1] = 'n';
        } else if (c == '\r') {
            piece[1] = 'r';
        } else if (c == '\t') {
            piece[1] = 't';
        } else if (c < ' ' || c >= 0x7f) {
            piece[1] = 'x';
            piece[2] = hex[c >> 4];
            piece[3] = hex[c & 15];
            n = 4;
        } else {
            piece[0] = (char)c;
            n = 1;
        }
        if ((size_t)(end - o) < n)
            break;
        memcpy(o, piece, n);
        o += n;
    }
    strcpy(o, i < len ? "\"..." : "\"");
    return out;
}
