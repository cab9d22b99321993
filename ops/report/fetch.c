#include "ops/report/fetch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/mem.h"

enum { PIECE = 65536 };

static void give_up(struct fetch *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
    free(f->data);
    f->data = NULL;
}

static void begin(struct fetch *f)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(f->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    f->data = f->body = NULL;
    f->room = f->used = f->bytes = 0;
    f->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (f->fd < 0 || (connect(f->fd, (struct sockaddr *)&a, sizeof a) && errno != EINPROGRESS))
        give_up(f);
}

/* A request is far smaller than a socket's buffer. */
static void ask(struct fetch *f, const char *path)
{
    char request[256];
    int n = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", path);
    f->room = PIECE;
    f->data = mem_alloc(f->room + 1);
    if (send(f->fd, request, (size_t)n, MSG_NOSIGNAL) != n)
        give_up(f);
}

static void finish(struct fetch *f)
{
    f->data[f->used] = '\0';
    char *head_end = strstr(f->data, "\r\n\r\n");
    if (head_end && strncmp(f->data, "HTTP/1.", 7) == 0 && strncmp(f->data + 8, " 200", 4) == 0) {
        f->bytes = f->used - (size_t)(head_end + 4 - f->data);
        f->body = mem_strndup(head_end + 4, f->bytes);
    }
    give_up(f);
}

static void hear(struct fetch *f)
{
    if (f->room - f->used < PIECE && f->room < FETCH_BYTES_MAX)
        f->data = mem_resize(f->data, (f->room *= 2) + 1);
    ssize_t n = recv(f->fd, f->data + f->used, f->room - f->used, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0 || f->used == FETCH_BYTES_MAX)
        give_up(f);
    else if (n == 0)
        finish(f);
    else
        f->used += (size_t)n;
}

void fetch_all(struct fetch *all, size_t n, const char *path, unsigned ms)
{
    uint64_t deadline = clock_mono_ms() + ms, now;
    struct pollfd *p = mem_array(n + 1, sizeof *p);
    for (size_t k = 0; k < n; k++)
        begin(&all[k]);
    while ((now = clock_mono_ms()) < deadline) {
        size_t open = 0;
        for (size_t k = 0; k < n; k++) {
            p[k] = (struct pollfd){.fd = all[k].fd, .events = all[k].data ? POLLIN : POLLOUT};
            open += all[k].fd >= 0;
        }
        if (!open)
            break;
        if (poll(p, (nfds_t)n, (int)(deadline - now)) < 0 && errno != EINTR)
            break;
        for (size_t k = 0; k < n; k++) {
            if (all[k].fd < 0 || !p[k].revents)
                continue;
            if (all[k].data)
                hear(&all[k]);
            else
                ask(&all[k], path);
        }
    }
    for (size_t k = 0; k < n; k++)
        give_up(&all[k]);
    free(p);
}
