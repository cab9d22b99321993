/* loop.h - the one event loop of a process: its signals and its tick.
 *
 * A main makes one, builds its parts on loop_base(), calls loop_run(), which
 * returns after loop_end(), then frees its parts and the loop last. SIGPIPE is
 * ignored from loop_new() on, and libevent's own messages go to the log.
 * One thread; one loop with signals at a time. */
#ifndef PROTO_BASE_LOOP_H
#define PROTO_BASE_LOOP_H

#include <stdint.h>

struct loop;
struct event_base;
struct evdns_base;

enum { LOOP_TICK_MS = 10 };

/* Each may be NULL. They run on the loop, never inside a signal handler. */
struct loop_ops {
    void (*tick)(void *arg); /* every LOOP_TICK_MS, later when the loop is busy; never twice to catch up */
    /* SIGTERM or SIGINT came, for the nth time since the start. The first asks for an orderly end; what is done with a
     * further one, by somebody impatient or a script that tells it to the group and to each, is the program's choice.
     * NULL: the loop ends. */
    void (*stop)(void *arg, unsigned nth);
    void (*hup)(void *arg); /* SIGHUP; ignored when NULL */
};

struct loop *loop_new(const struct loop_ops *ops, void *arg);
void loop_free(struct loop *l); /* NULL is fine; after everything that stands on it */
struct event_base *loop_base(struct loop *l);
/* Made when first asked for. Without a usable /etc/resolv.conf it asks 127.0.0.1, as the C library does. */
struct evdns_base *loop_dns(struct loop *l);
void loop_run(struct loop *l);
/* Ends loop_run() once the callbacks that are due have run. From anywhere on the thread, before loop_run() too. */
void loop_end(struct loop *l);

/* Raises the limit of open files to what this process is allowed, and returns it: a socket per player is a file. */
uint64_t loop_raise_file_limit(void);

#endif
