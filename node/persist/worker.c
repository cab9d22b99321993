#include "node/persist/worker.h"

#include <assert.h>
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

#include "proto/base/mem.h"

struct worker {
    const struct worker_ops *ops;
    void *ctx;
    unsigned queue_max, batch_max;
    unsigned n_inside; /* submitted and not yet done(); the loop thread's */
    struct event *wake;
    int wake_fd;
    pthread_t thread;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t asked, stopped;
    struct worker_job *queued, *ran;
    bool stopping, has_stopped;
};

/* Counts up at the eventfd: it may only fail when the counter is near 2^64. */
static void wake_loop(struct worker *w)
{
    uint64_t one = 1;
    ssize_t n = write(w->wake_fd, &one, sizeof(one));
    assert(n == (ssize_t)sizeof(one));
    (void)n;
}

static unsigned take_batch(struct worker *w, struct worker_job **jobs)
{
    unsigned n = 0;
    while (w->queued && n < w->batch_max) {
        jobs[n] = w->queued;
        DL_DELETE(w->queued, jobs[n]);
        n++;
    }
    return n;
}

static void *thread_main(void *arg)
{
    struct worker *w = arg;
    struct worker_job **jobs = mem_array(w->batch_max, sizeof(struct worker_job *));
    pthread_mutex_lock(&w->lock);
    while (w->queued || !w->stopping) {
        if (!w->queued) {
            pthread_cond_wait(&w->asked, &w->lock);
            continue;
        }
        unsigned n = take_batch(w, jobs);
        pthread_mutex_unlock(&w->lock);
        w->ops->run(w->ctx, jobs, n);
        pthread_mutex_lock(&w->lock);
        for (unsigned k = 0; k < n; k++)
            DL_APPEND(w->ran, jobs[k]);
        wake_loop(w);
    }
    free(jobs);
    w->has_stopped = true;
    pthread_cond_signal(&w->stopped);
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void deliver(struct worker *w)
{
    pthread_mutex_lock(&w->lock);
    struct worker_job *ran = w->ran, *job, *tmp;
    w->ran = NULL;
    pthread_mutex_unlock(&w->lock);
    DL_FOREACH_SAFE (ran, job, tmp) {
        w->n_inside--;
        w->ops->done(w->ctx, job);
    }
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    uint64_t count;
    if (read(fd, &count, sizeof(count)) == (ssize_t)sizeof(count))
        deliver(arg);
}

/* Signals are for the loop thread: the new one is born with all of them blocked. */
static bool start_thread(struct worker *w)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&w->thread, NULL, thread_main, w) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

/* What is left once no thread uses it. */
static void dispose(struct worker *w)
{
    pthread_cond_destroy(&w->asked);
    pthread_cond_destroy(&w->stopped);
    pthread_mutex_destroy(&w->lock);
    if (w->wake)
        event_free(w->wake);
    if (w->wake_fd >= 0)
        close(w->wake_fd);
    free(w);
}

struct worker *worker_new(struct event_base *base, const struct worker_ops *ops, void *ctx, unsigned queue_max,
                          unsigned batch_max)
{
    struct worker *w = mem_zalloc(sizeof(*w));
    w->ops = ops;
    w->ctx = ctx;
    w->queue_max = queue_max;
    w->batch_max = batch_max;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->asked, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC); /* worker_free() waits on it with a deadline */
    pthread_cond_init(&w->stopped, &attr);
    pthread_condattr_destroy(&attr);
    w->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (w->wake_fd >= 0)
        w->wake = event_new(base, w->wake_fd, EV_READ | EV_PERSIST, on_wake, w);
    if (!w->wake || event_add(w->wake, NULL) != 0 || !start_thread(w)) {
        dispose(w);
        return NULL;
    }
    return w;
}

enum err worker_submit(struct worker *w, struct worker_job *job)
{
    if (w->n_inside >= w->queue_max)
        return ERR_FULL;
    w->n_inside++;
    pthread_mutex_lock(&w->lock);
    assert(!w->stopping);
    DL_APPEND(w->queued, job);
    pthread_cond_signal(&w->asked);
    pthread_mutex_unlock(&w->lock);
    return ERR_OK;
}

static struct timespec deadline_after(uint32_t wait_ms)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += wait_ms / 1000;
    t.tv_nsec += (long)(wait_ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_nsec -= 1000000000;
        t.tv_sec++;
    }
    return t;
}

bool worker_free(struct worker *w, uint32_t wait_ms)
{
    struct timespec deadline = deadline_after(wait_ms);
    pthread_mutex_lock(&w->lock);
    w->stopping = true;
    pthread_cond_signal(&w->asked);
    int waited = 0;
    while (!w->has_stopped && waited == 0)
        waited = pthread_cond_timedwait(&w->stopped, &w->lock, &deadline);
    bool stopped = w->has_stopped;
    pthread_mutex_unlock(&w->lock);
    if (stopped)
        pthread_join(w->thread, NULL);
    deliver(w);
    if (!stopped) {
        pthread_detach(w->thread);
        event_del(w->wake); /* whatever still comes back has nobody to go to */
        return false;
    }
    dispose(w);
    return true;
}
