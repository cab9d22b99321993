#include "tests/lib/services.h"

#include <glob.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "tests/lib/probe.h"

void redis_init(struct redis *r, struct lab *l)
{
    *r = (struct redis){.lab = l, .port = port_pick()};
    lab_path(l, r->dir, "redis");
    mkdir(r->dir, 0755);
    snprintf(r->url, sizeof r->url, "redis://127.0.0.1:%u", r->port);
}

/* Answers, or died: either way there is nothing more to wait for. */
static bool redis_answers(void *arg)
{
    struct redis *r = arg;
    if (!proc_alive(r->proc))
        return true;
    if (!port_open(r->port))
        return false;
    char *info = redis_ask(r->port, "INFO persistence");
    bool loaded = info && strstr(info, "\nloading:0");
    free(info);
    return loaded;
}

bool redis_start(struct redis *r)
{
    char port[8];
    snprintf(port, sizeof port, "%u", r->port);
    const char *argv[] = {"redis-server", "--port", port,           "--bind", "127.0.0.1",     "--dir",  r->dir,
                          "--save",       "",       "--appendonly", "yes",    "--appendfsync", "always", "--daemonize",
                          "no",           NULL};
    r->proc = proc_start(r->lab, &(struct proc_conf){.name = "redis", .argv = argv});
    return r->proc && until(redis_answers, r, SERVICE_START_MS, "redis-server") && proc_alive(r->proc);
}

bool redis_wipe(struct redis *r)
{
    const char *argv[] = {"rm", "-rf", "--", r->dir, NULL};
    return !proc_alive(r->proc) &&
           proc_run(r->lab, &(struct proc_conf){.name = "rm", .argv = argv}, SERVICE_START_MS) &&
           mkdir(r->dir, 0755) == 0;
}

/* Debian keeps the server's programs out of PATH, one directory a version. The newest; "" when there is none. */
static const char *postgres_bin(void)
{
    static char bin[LAB_PATH_MAX];
    glob_t g;
    if (!bin[0] && glob("/usr/lib/postgresql/*/bin/initdb", 0, NULL, &g) == 0) {
        snprintf(bin, sizeof bin, "%s", g.gl_pathv[g.gl_pathc - 1]);
        *strrchr(bin, '/') = '\0';
        globfree(&g);
    }
    return bin;
}

bool postgres_installed(void)
{
    return postgres_bin()[0] != '\0';
}

/* PostgreSQL refuses to run as root: then it is the package's own user that it runs as. */
static void run_as(struct proc_conf *conf)
{
    const struct passwd *pw = geteuid() == 0 ? getpwnam("postgres") : NULL;
    if (pw) {
        conf->uid = pw->pw_uid;
        conf->gid = pw->pw_gid;
    }
}

bool postgres_init(struct postgres *p, struct lab *l)
{
    if (!postgres_installed()) {
        fprintf(stderr, "no PostgreSQL server on this machine\n");
        return false;
    }
    *p = (struct postgres){.lab = l, .port = port_pick()};
    lab_path(l, p->dir, "postgres");
    snprintf(p->url, sizeof p->url, "postgres://spotcraft@127.0.0.1:%u/postgres", p->port);
    char initdb[LAB_PATH_MAX + 16];
    snprintf(initdb, sizeof initdb, "%s/initdb", postgres_bin());
    const char *argv[] = {initdb,       "-D",        p->dir, "-U", "spotcraft", "--auth=trust", "--encoding=UTF8",
                          "--locale=C", "--no-sync", NULL};
    struct proc_conf conf = {.name = "initdb", .argv = argv};
    run_as(&conf);
    mkdir(p->dir, 0700);
    if (conf.uid && chown(p->dir, conf.uid, conf.gid) != 0)
        return false;
    return proc_run(l, &conf, SERVICE_START_MS);
}

static bool postgres_answers(void *arg)
{
    struct postgres *p = arg;
    if (!proc_alive(p->proc))
        return true;
    PGconn *c = PQconnectdb(p->url);
    bool good = PQstatus(c) == CONNECTION_OK;
    PQfinish(c);
    return good;
}

bool postgres_start(struct postgres *p)
{
    char program[LAB_PATH_MAX + 16], port[8];
    snprintf(program, sizeof program, "%s/postgres", postgres_bin());
    snprintf(port, sizeof port, "%u", p->port);
    const char *argv[] = {program,
                          "-D",
                          p->dir,
                          "-p",
                          port,
                          "-c",
                          "listen_addresses=127.0.0.1",
                          "-c",
                          "unix_socket_directories=",
                          "-c",
                          "shared_buffers=16MB",
                          "-c",
                          "max_connections=40",
                          "-c",
                          p->fsync ? "fsync=on" : "fsync=off",
                          NULL};
    struct proc_conf conf = {.name = "postgres", .argv = argv};
    run_as(&conf);
    /* One that was killed leaves backends that take a moment to notice; until then PostgreSQL refuses, rightly. */
    uint64_t deadline = clock_mono_ms() + SERVICE_START_MS;
    do {
        p->proc = proc_start(p->lab, &conf);
        if (!p->proc || !until(postgres_answers, p, SERVICE_START_MS, "postgres"))
            return false;
    } while (!proc_alive(p->proc) && clock_mono_ms() < deadline);
    return proc_alive(p->proc);
}
