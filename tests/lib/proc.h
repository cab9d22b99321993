/* proc.h - real programs under test, in a directory of their own.
 *
 * A lab is a temporary directory and the processes that a test started in it. Each process is held by its pid, writes
 * stdout and stderr to NAME.log in the directory, and cannot outlive the test: lab_free() kills and reaps it, and the
 * kernel does when the test itself dies. A test says lab_passed() at its end; without that lab_free() prints the end of
 * every log and keeps the directory. Functions that fail say why on stderr, so that a test needs only assert_true().
 * One thread. */
#ifndef TESTS_LIB_PROC_H
#define TESTS_LIB_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { LAB_PATH_MAX = 512 };

struct lab;
struct proc;

struct lab *lab_new(const char *name);
void lab_free(struct lab *l); /* NULL is fine */
void lab_passed(struct lab *l);
const char *lab_dir(const struct lab *l);
/* DIR/fmt... into out, which has room for LAB_PATH_MAX. Returns out. */
char *lab_path(const struct lab *l, char *out, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

struct proc_conf {
    const char *name;        /* of its log; the same name again appends to the same log */
    const char *const *argv; /* NULL-terminated; argv[0] is looked up in PATH */
    const char *const
        *env;  /* "NAME=value", NULL-terminated, on top of ours; NULL: none. SPOTCRAFT_* of ours is not passed on */
    uid_t uid; /* run as; 0: as we are */
    gid_t gid;
};
/* NULL: fork failed. A program that cannot be executed exits with 127, and its log says why. Freed by the lab. */
struct proc *proc_start(struct lab *l, const struct proc_conf *conf);
/* Starts it, waits for its end, true if that came in time and with exit code 0. */
bool proc_run(struct lab *l, const struct proc_conf *conf, unsigned ms);
const char *proc_name(const struct proc *p);
pid_t proc_pid(const struct proc *p); /* 0: ended and reaped */
bool proc_alive(struct proc *p);
void proc_signal(struct proc *p, int sig); /* nothing happens when it is gone */
/* Waits for its end: true if it came within ms. status as in wait(2), may be NULL. */
bool proc_wait(struct proc *p, unsigned ms, int *status);
void proc_kill(struct proc *p); /* SIGKILL, and reaped */
bool proc_log_has(const struct proc *p, const char *text);
void proc_print_log(const struct proc *p, size_t max_bytes);

/* A TCP port of 127.0.0.1 that nobody listens on. Outside the range that outgoing connections take theirs from. */
uint16_t port_pick(void);
bool port_open(uint16_t port); /* does a connection to it succeed? */

/* Calls cond every few milliseconds until it is true or ms are over; says what did not come. */
typedef bool until_cond(void *arg);
bool until(until_cond *cond, void *arg, unsigned ms, const char *what);

/* The directory of the programs that were built with this test, found from its own place (BUILD/tests/KIND/NAME). */
const char *build_dir(void);

#endif
