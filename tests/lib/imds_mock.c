#include "tests/lib/imds_mock.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/mem.h"
#include "tests/lib/probe.h"

enum { ARGS_MAX = 16, ANSWER_MAX = 1 << 20, START_MS = 10000 };

static bool is_open(void *arg)
{
    struct imds_mock *m = arg;
    return !proc_alive(m->proc) || port_open(m->port);
}

bool imds_mock_start(struct imds_mock *m, struct lab *lab, const char *const *more_args)
{
    char program[LAB_PATH_MAX], port[16];
    m->port = port_pick();
    snprintf(program, sizeof program, "%s/ops/spotcraft-imds", build_dir());
    snprintf(port, sizeof port, "%u", m->port);
    const char *argv[ARGS_MAX] = {program, "--port", port};
    for (unsigned n = 3; more_args && *more_args && n + 1 < ARGS_MAX; n++)
        argv[n] = *more_args++;
    m->proc = proc_start(lab, &(struct proc_conf){.name = "imds", .argv = argv});
    return m->proc && until(is_open, m, START_MS, "the mock to listen") && proc_alive(m->proc);
}

void imds_endpoint(const struct imds_mock *m, char out[128], const char *name)
{
    snprintf(out, 128, "http://127.0.0.1:%u/%s", m->port, name);
}

/* ---- one request over a connection of its own ---- */

static int dial(uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct timeval limit = {.tv_sec = PROBE_MS / 1000, .tv_usec = (PROBE_MS % 1000) * 1000};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

int imds_ask(uint16_t port, const char *method, const char *path, const char *headers, char **answer)
{
    char request[4096];
    char *all = mem_zalloc(ANSWER_MAX);
    size_t got = 0;
    int fd = dial(port), status = 0;
    snprintf(request, sizeof request, "%s %s HTTP/1.1\r\nHost: test\r\nConnection: close\r\n%s\r\n", method, path,
             headers);
    uint64_t deadline = clock_mono_ms() + PROBE_MS;
    ssize_t n = fd >= 0 ? send(fd, request, strlen(request), MSG_NOSIGNAL) : -1;
    while (n > 0 && got < ANSWER_MAX - 1 && clock_mono_ms() < deadline) {
        n = recv(fd, all + got, ANSWER_MAX - 1 - got, 0);
        got += n > 0 ? (size_t)n : 0;
    }
    if (n == 0 && sscanf(all, "HTTP/1.1 %d", &status) != 1)
        status = 0;
    if (fd >= 0)
        close(fd);
    if (answer)
        *answer = all;
    else
        free(all);
    return status;
}

/* ---- commands ---- */

bool imds_say(const struct imds_mock *m, const char *fmt, ...)
{
    char what[512], path[600], *answer;
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    snprintf(path, sizeof path, "/control/%s", what);
    int status = imds_ask(m->port, "POST", path, "", &answer);
    if (status != 200)
        fprintf(stderr, "POST %s: %d %s\n", path, status, answer);
    free(answer);
    return status == 200;
}

char *imds_told(const struct imds_mock *m, const char *name)
{
    char path[128], *body = NULL;
    snprintf(path, sizeof path, "/control/%s", name);
    if (http_get(m->port, path, &body) == 200)
        return body;
    free(body);
    return NULL;
}

double imds_number(const struct imds_mock *m, const char *name, const char *field, double otherwise)
{
    double v;
    char *told = imds_told(m, name);
    if (!told || !json_number(told, field, &v))
        v = otherwise;
    free(told);
    return v;
}
