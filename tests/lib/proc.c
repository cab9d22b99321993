#include "tests/lib/proc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

#include "proto/base/clock.h"
#include "proto/base/mem.h"

extern char **environ;

enum { POLL_MS = 3, LOG_TAIL_BYTES = 6000, KILL_WAIT_MS = 10000 };

struct proc {
    char *name;
    char *log; /* path */
    pid_t pid; /* 0: reaped */
    int status;
    struct proc *prev, *next;
};

struct lab {
    char dir[LAB_PATH_MAX];
    struct proc *procs;
    bool passed;
};

static void pause_ms(unsigned ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

bool until(until_cond *cond, void *arg, unsigned ms, const char *what)
{
    uint64_t deadline = clock_mono_ms() + ms;
    while (!cond(arg)) {
        if (clock_mono_ms() >= deadline) {
            fprintf(stderr, "waited %u ms in vain: %s\n", ms, what);
            return false;
        }
        pause_ms(POLL_MS);
    }
    return true;
}

struct lab *lab_new(const char *name)
{
    struct lab *l = mem_zalloc(sizeof *l);
    const char *tmp = getenv("TMPDIR");
    snprintf(l->dir, sizeof l->dir, "%s/spotcraft-%s-XXXXXX", tmp ? tmp : "/tmp", name);
    if (!mkdtemp(l->dir)) {
        fprintf(stderr, "no temporary directory %s: %s\n", l->dir, strerror(errno));
        abort();
    }
    chmod(l->dir, 0755); /* PostgreSQL runs as somebody else and must get through */
    return l;
}

const char *lab_dir(const struct lab *l)
{
    return l->dir;
}

char *lab_path(const struct lab *l, char *out, const char *fmt, ...)
{
    int n = snprintf(out, LAB_PATH_MAX, "%s/", l->dir);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(out + n, LAB_PATH_MAX - (size_t)n, fmt, ap);
    va_end(ap);
    return out;
}

void lab_passed(struct lab *l)
{
    l->passed = true;
}

void lab_free(struct lab *l)
{
    if (!l)
        return;
    struct proc *p, *tmp;
    DL_FOREACH (l->procs, p)
        proc_signal(p, SIGKILL); /* all at once, so that none has time to complain about another's end */
    if (!l->passed) {
        fprintf(stderr, "failed: the logs are in %s\n", l->dir);
        DL_FOREACH (l->procs, p)
            proc_print_log(p, LOG_TAIL_BYTES);
    }
    DL_FOREACH_SAFE (l->procs, p, tmp) {
        proc_kill(p);
        DL_DELETE(l->procs, p);
        free(p->name);
        free(p->log);
        free(p);
    }
    if (l->passed && !getenv("SPOTCRAFT_KEEP")) {
        pid_t pid = fork();
        if (pid == 0) {
            execlp("rm", "rm", "-rf", "--", l->dir, (char *)NULL);
            _exit(127);
        }
        if (pid > 0)
            waitpid(pid, NULL, 0);
    }
    free(l);
}

/* In the child, between fork and exec. Never returns. */
static void become(const struct proc_conf *conf, const char *log, pid_t parent)
{
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    int null = open("/dev/null", O_RDONLY);
    if (fd < 0 || null < 0)
        _exit(127);
    dup2(null, 0);
    dup2(fd, 1);
    dup2(fd, 2);
    for (int i = 3; i < 1024; i++) /* the test's sockets are not the program's business */
        close(i);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    alarm(0); /* the test's own time limit is inherited over exec */
    if (conf->uid && (setgroups(0, NULL) || setgid(conf->gid) || setuid(conf->uid))) {
        dprintf(2, "cannot become uid %u: %s\n", (unsigned)conf->uid, strerror(errno));
        _exit(127);
    }
    /* After setuid(), which clears it. The parent may have died before it was set. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    for (char **e = environ; *e;) {
        if (strncmp(*e, "SPOTCRAFT_", 10) == 0) {
            char name[128];
            snprintf(name, sizeof name, "%.*s", (int)strcspn(*e, "="), *e);
            unsetenv(name);
            e = environ;
        } else {
            e++;
        }
    }
    for (const char *const *e = conf->env; e && *e; e++)
        putenv((char *)(uintptr_t)*e);
    execvp(conf->argv[0], (char *const *)(uintptr_t)conf->argv);
    dprintf(2, "cannot execute %s: %s\n", conf->argv[0], strerror(errno));
    _exit(127);
}

struct proc *proc_start(struct lab *l, const struct proc_conf *conf)
{
    char log[LAB_PATH_MAX];
    lab_path(l, log, "%s.log", conf->name);
    pid_t parent = getpid();
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        fprintf(stderr, "fork: %s\n", strerror(errno));
        return NULL;
    }
    if (pid == 0)
        become(conf, log, parent);
    struct proc *p = mem_zalloc(sizeof *p);
    p->name = mem_strdup(conf->name);
    p->log = mem_strdup(log);
    p->pid = pid;
    DL_APPEND(l->procs, p);
    return p;
}

bool proc_run(struct lab *l, const struct proc_conf *conf, unsigned ms)
{
    struct proc *p = proc_start(l, conf);
    int status;
    if (!p)
        return false;
    if (!proc_wait(p, ms, &status)) {
        fprintf(stderr, "%s did not end within %u ms\n", conf->name, ms);
        proc_kill(p);
        return false;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    fprintf(stderr, "%s failed, status 0x%x\n", conf->name, (unsigned)status);
    proc_print_log(p, LOG_TAIL_BYTES);
    return false;
}

const char *proc_name(const struct proc *p)
{
    return p->name;
}

pid_t proc_pid(const struct proc *p)
{
    return p->pid;
}

bool proc_alive(struct proc *p)
{
    if (p->pid && waitpid(p->pid, &p->status, WNOHANG) == p->pid)
        p->pid = 0;
    return p->pid != 0;
}

void proc_signal(struct proc *p, int sig)
{
    if (proc_alive(p))
        kill(p->pid, sig);
}

bool proc_wait(struct proc *p, unsigned ms, int *status)
{
    uint64_t deadline = clock_mono_ms() + ms;
    while (proc_alive(p)) {
        if (clock_mono_ms() >= deadline)
            return false;
        pause_ms(POLL_MS);
    }
    if (status)
        *status = p->status;
    return true;
}

void proc_kill(struct proc *p)
{
    proc_signal(p, SIGKILL);
    if (!proc_wait(p, KILL_WAIT_MS, NULL))
        fprintf(stderr, "%s (pid %d) does not die\n", p->name, (int)p->pid);
}

/* The last max_bytes of a file, NUL-terminated. The caller frees. */
static char *read_tail(const char *path, size_t max_bytes)
{
    char *text = mem_zalloc(max_bytes + 1);
    FILE *f = fopen(path, "r");
    if (f) {
        fseek(f, 0, SEEK_END);
        long size = ftell(f);
        fseek(f, size > (long)max_bytes ? size - (long)max_bytes : 0, SEEK_SET);
        size_t n = fread(text, 1, max_bytes, f);
        text[n] = '\0';
        fclose(f);
    }
    return text;
}

bool proc_log_has(const struct proc *p, const char *text)
{
    char *log = read_tail(p->log, 1 << 20);
    bool has = strstr(log, text) != NULL;
    free(log);
    return has;
}

void proc_print_log(const struct proc *p, size_t max_bytes)
{
    char *text = read_tail(p->log, max_bytes);
    fprintf(stderr, "---- %s\n%s\n", p->log, text);
    free(text);
}

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

uint16_t port_pick(void)
{
    for (;;) {
        uint16_t r;
        if (getrandom(&r, sizeof r, 0) != sizeof r)
            abort();
        uint16_t port = (uint16_t)(10000 + r % 22000);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_in a = loopback(port);
        bool is_free = fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0;
        close(fd);
        if (is_free)
            return port;
    }
}

bool port_open(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = loopback(port);
    bool open = fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0;
    close(fd);
    return open;
}

const char *build_dir(void)
{
    static char dir[PATH_MAX];
    if (dir[0])
        return dir;
    ssize_t n = readlink("/proc/self/exe", dir, sizeof dir - 1);
    if (n <= 0)
        abort();
    dir[n] = '\0';
    for (int up = 0; up < 3; up++) {
        char *slash = strrchr(dir, '/');
        if (slash)
            *slash = '\0';
    }
    return dir;
}
