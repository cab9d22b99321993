#include "proto/base/program.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/metrics.h"
#include "proto/base/rng.h"

const char program_help[] =
    "  AWS_EC2_METADATA_SERVICE_ENDPOINT  where the machine's metadata is, unless --imds says so\n"
    "\nSignals\n"
    "  TERM, INT  leave in order within --stop-ms, then end with 0\n"
    "\nExit codes\n"
    "  0  it was told to stop, or its machine is taken away, and it left in order\n"
    "  1  something of this machine was not to be had (a port is taken): starting it again may help\n"
    "  2  a setting is wrong or missing; the last line says which: starting it again does not help\n"
    "  3  the world has another cell size or schema: starting it again does not help\n"
    "Redis or a store that does not answer ends nothing: /readyz on the admin address says what is missing, and it is\n"
    "tried again.\n";

uint64_t program_mono_ms(void *unused)
{
    (void)unused;
    return clock_mono_ms();
}

uint64_t program_unix_ms(void *unused)
{
    (void)unused;
    return clock_unix_ms();
}

bool program_local_address(const char *host_port)
{
    char host[INET6_ADDRSTRLEN + 2];
    struct in_addr v4;
    struct in6_addr v6;
    const char *colon = strrchr(host_port, ':');
    size_t len = colon ? (size_t)(colon - host_port) : strlen(host_port);
    if (len >= sizeof host)
        return false;
    memcpy(host, host_port, len);
    host[len] = '\0';
    if (len > 2 && host[0] == '[' && host[len - 1] == ']') {
        host[len - 1] = '\0';
        return inet_pton(AF_INET6, host + 1, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
    }
    if (strcmp(host, "localhost") == 0)
        return true;
    return inet_pton(AF_INET, host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET;
}

/* Without a secret whoever reaches a node can speak for a gateway or another node: good for trying things out on one
 * machine, and for nothing else. */
static bool secret_will_do(const struct program *p, char *why, size_t why_bytes)
{
    if (p->secret[0])
        return true;
    if (program_local_address(p->listen)) {
        log_warn("no_secret: whoever reaches this machine's loopback can command the world");
        return true;
    }
    snprintf(why, why_bytes,
             "secret is empty and listen is %.100s, which others can reach: set SPOTCRAFT_SECRET, the same for all "
             "processes of the world, or listen on 127.0.0.1",
             p->listen);
    return false;
}

static int run(const struct program *p, void *app, uint64_t id)
{
    char why[CONF_WHY_BYTES] = "";
    if (!secret_will_do(p, why, sizeof why)) {
        log_error("cannot_start reason=\"%s\"", why);
        return PROGRAM_SETTINGS;
    }
    uint64_t files = loop_raise_file_limit();
    struct loop *l = loop_new(&p->loop, app);
    enum err e = p->build(app, l, id, files, why, sizeof why);
    if (e == ERR_OK)
        loop_run(l);
    else
        log_error("cannot_start reason=\"%s\"", why);
    p->tear_down(app);
    loop_free(l);
    metrics_free();
    return e == ERR_OK ? (int)*p->exit_code : e == ERR_BAD ? PROGRAM_SETTINGS : PROGRAM_FAILED;
}

int program_run(const struct program *p, void *app, int argc, char **argv)
{
    extern char **environ;
    char why[CONF_WHY_BYTES] = "", tag[32];
    enum conf_result r = conf_read(&p->conf, p->settings, argc, argv, environ, stdout, why);
    if (r == CONF_EXIT_OK)
        return PROGRAM_DONE;
    if (r == CONF_EXIT_BAD || log_level_parse(p->log_level) < 0) {
        fprintf(stderr, "%s: %s\n", p->conf.program,
                r == CONF_EXIT_BAD ? why : "log_level: must be error, warn, info or debug");
        return PROGRAM_SETTINGS;
    }
    struct rng os;
    rng_seed_os(&os);
    uint64_t id = rng_u64(&os) | 1;
    snprintf(tag, sizeof tag, "%s=%016llx", p->conf.program, (unsigned long long)id);
    log_set_tag(tag);
    log_set_level((enum log_level)log_level_parse(p->log_level));
    conf_log(&p->conf, p->settings);
    return run(p, app, id);
}
