#include "tests/lib/probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/mem.h"

enum { BODY_MAX = 32 << 20 };

static bool wait_for(int fd, short events, uint64_t deadline)
{
    uint64_t now = clock_mono_ms();
    struct pollfd p = {.fd = fd, .events = events};
    return now < deadline && poll(&p, 1, (int)(deadline - now)) == 1;
}

/* Connects, writes the request, reads to the end of the stream. NULL when any of it failed. */
static char *exchange(uint16_t port, const char *request, size_t len, size_t *got)
{
    uint64_t deadline = clock_mono_ms() + PROBE_MS;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char *data = NULL;
    size_t used = 0, room = 0;
    if (fd < 0 || (connect(fd, (struct sockaddr *)&a, sizeof a) && errno != EINPROGRESS) ||
        !wait_for(fd, POLLOUT, deadline) || send(fd, request, len, MSG_NOSIGNAL) != (ssize_t)len)
        goto fail;
    for (;;) {
        if (room - used < 65536)
            data = mem_resize(data, (room += room + 65536) + 1);
        if (!wait_for(fd, POLLIN, deadline))
            goto fail;
        ssize_t n = recv(fd, data + used, room - used, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n < 0 || used > BODY_MAX)
            goto fail;
        if (n == 0)
            break;
        used += (size_t)n;
    }
    close(fd);
    data[used] = '\0';
    *got = used;
    return data;
fail:
    if (fd >= 0)
        close(fd);
    free(data);
    return NULL;
}

int http_get(uint16_t port, const char *path, char **body)
{
    char request[512];
    size_t got;
    int n = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", path);
    char *answer = exchange(port, request, (size_t)n, &got);
    int status = 0;
    if (!answer)
        return 0;
    char *end = strstr(answer, "\r\n\r\n");
    if (sscanf(answer, "HTTP/1.%*d %d", &status) != 1 || !end)
        status = 0;
    else if (body)
        *body = mem_strdup(end + 4);
    free(answer);
    return status;
}

bool metric_find(const char *text, const char *name, const char *label, double *value)
{
    size_t len = strlen(name);
    double sum = 0;
    bool found = false;
    for (const char *line = text; line && *line; line = strchr(line, '\n'), line += line != NULL) {
        if (strncmp(line, name, len) != 0 || (line[len] != ' ' && line[len] != '{'))
            continue;
        const char *end = strchr(line, '\n');
        const char *brace = line[len] == '{' ? strchr(line, '}') : line + len;
        if (!brace || (end && brace > end))
            continue;
        const char *l = strstr(line, label);
        if (*label && (!l || l > brace))
            continue;
        sum += strtod(brace + (*brace == '}'), NULL);
        found = true;
    }
    if (found)
        *value = sum;
    return found;
}

bool json_number(const char *json, const char *name, double *value)
{
    char quoted[128];
    snprintf(quoted, sizeof quoted, "\"%s\"", name);
    const char *at = strstr(json, quoted);
    if (!at)
        return false;
    at += strlen(quoted);
    at += strspn(at, " \t\r\n:");
    char *end;
    double v = strtod(at, &end);
    if (end == at)
        return false;
    *value = v;
    return true;
}

static void print_reply(FILE *f, const redisReply *r)
{
    switch (r->type) {
    case REDIS_REPLY_INTEGER:
        fprintf(f, "%lld", r->integer);
        break;
    case REDIS_REPLY_ARRAY:
        for (size_t i = 0; i < r->elements; i++) {
            print_reply(f, r->element[i]);
            fputc('\n', f);
        }
        break;
    case REDIS_REPLY_NIL:
        break;
    default:
        fwrite(r->str, 1, (size_t)r->len, f);
    }
}

char *redis_ask(uint16_t port, const char *fmt, ...)
{
    struct timeval t = {.tv_sec = PROBE_MS / 1000};
    redisContext *c = redisConnectWithTimeout("127.0.0.1", port, t);
    redisReply *r = NULL;
    char *text = NULL;
    size_t len;
    if (c && !c->err && redisSetTimeout(c, t) == REDIS_OK) {
        va_list ap;
        va_start(ap, fmt);
        r = redisvCommand(c, fmt, ap);
        va_end(ap);
    }
    if (r && r->type == REDIS_REPLY_ERROR) {
        fprintf(stderr, "redis answered %s to %s\n", r->str, fmt);
    } else if (r) {
        FILE *f = open_memstream(&text, &len);
        print_reply(f, r);
        fclose(f);
    }
    if (r)
        freeReplyObject(r);
    if (c)
        redisFree(c);
    return text;
}
