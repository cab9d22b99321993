/* The thread for work that blocks: bounded, in order, answered on the loop's thread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <event2/event.h>
#include <pthread.h>
#include <unistd.h>

#include "node/persist/worker.h"
#include "proto/base/clock.h"
#include "tests/lib/proc.h"

enum { N = 100, QUEUE_MAX = 8, BATCH_MAX = 3, WAIT_MS = 10000 };

struct job {
    struct worker_job worker;
    unsigned number;
};

/* run() waits at a gate, so that a test decides when the thread is busy. */
struct lab_ctx {
    struct event_base *base;
    pthread_t loop_thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool gate_open;
    unsigned n_entered, largest_batch;
    struct job jobs[N];
    unsigned done[N], n_done;
    bool wrong_thread, ran_on_loop;
};

static void on_run(void *arg, struct worker_job **jobs, unsigned n)
{
    struct lab_ctx *c = arg;
    (void)jobs;
    pthread_mutex_lock(&c->lock);
    c->ran_on_loop = c->ran_on_loop || pthread_equal(pthread_self(), c->loop_thread);
    c->n_entered++;
    c->largest_batch = n > c->largest_batch ? n : c->largest_batch;
    pthread_cond_broadcast(&c->changed);
    while (!c->gate_open)
        pthread_cond_wait(&c->changed, &c->lock);
    pthread_mutex_unlock(&c->lock);
}

static void on_done(void *arg, struct worker_job *job)
{
    struct lab_ctx *c = arg;
    c->wrong_thread = c->wrong_thread || !pthread_equal(pthread_self(), c->loop_thread);
    c->done[c->n_done++] = ((struct job *)job)->number;
}

static const struct worker_ops ops = {on_run, on_done};

static void ctx_init(struct lab_ctx *c, bool gate_open)
{
    *c = (struct lab_ctx){.base = event_base_new(), .loop_thread = pthread_self(), .gate_open = gate_open};
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->changed, NULL);
    for (unsigned k = 0; k < N; k++)
        c->jobs[k].number = k;
}

static void ctx_free(struct lab_ctx *c)
{
    event_base_free(c->base);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
}

static void open_gate(struct lab_ctx *c)
{
    pthread_mutex_lock(&c->lock);
    c->gate_open = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

static void wait_until_busy(struct lab_ctx *c)
{
    pthread_mutex_lock(&c->lock);
    while (c->n_entered == 0)
        pthread_cond_wait(&c->changed, &c->lock);
    pthread_mutex_unlock(&c->lock);
}

static void on_nothing(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
}

static void turn_until_done(struct lab_ctx *c, unsigned n)
{
    uint64_t deadline_ms = clock_mono_ms() + WAIT_MS;
    struct event *tick = event_new(c->base, -1, EV_PERSIST, on_nothing, NULL);
    event_add(tick, &(struct timeval){.tv_usec = 5000});
    while (c->n_done < n && clock_mono_ms() < deadline_ms)
        event_base_loop(c->base, EVLOOP_ONCE);
    event_free(tick);
    assert_int_equal(c->n_done, n);
}

static void jobs_come_back_in_order_on_the_loops_thread(void **state)
{
    (void)state;
    struct lab_ctx c;
    ctx_init(&c, true);
    struct worker *w = worker_new(c.base, &ops, &c, N, BATCH_MAX);
    for (unsigned k = 0; k < N; k++)
        assert_int_equal(worker_submit(w, &c.jobs[k].worker), ERR_OK);
    turn_until_done(&c, N);
    for (unsigned k = 0; k < N; k++)
        assert_int_equal(c.done[k], k);
    assert_false(c.wrong_thread);
    assert_false(c.ran_on_loop);
    assert_true(worker_free(w, WAIT_MS));
    ctx_free(&c);
}

/* What waits while the thread is busy goes together, but not without end. */
static void what_waits_is_taken_together_up_to_the_limit(void **state)
{
    (void)state;
    struct lab_ctx c;
    ctx_init(&c, false);
    struct worker *w = worker_new(c.base, &ops, &c, QUEUE_MAX, BATCH_MAX);
    assert_int_equal(worker_submit(w, &c.jobs[0].worker), ERR_OK);
    wait_until_busy(&c);
    for (unsigned k = 1; k < QUEUE_MAX; k++)
        assert_int_equal(worker_submit(w, &c.jobs[k].worker), ERR_OK);
    open_gate(&c);
    turn_until_done(&c, QUEUE_MAX);
    assert_int_equal(c.largest_batch, BATCH_MAX);
    assert_int_equal(c.n_entered, 1 + (QUEUE_MAX - 1 + BATCH_MAX - 1) / BATCH_MAX);
    assert_true(worker_free(w, WAIT_MS));
    ctx_free(&c);
}

static void a_full_queue_refuses_and_takes_again_later(void **state)
{
    (void)state;
    struct lab_ctx c;
    ctx_init(&c, false);
    struct worker *w = worker_new(c.base, &ops, &c, QUEUE_MAX, BATCH_MAX);
    for (unsigned k = 0; k < QUEUE_MAX; k++)
        assert_int_equal(worker_submit(w, &c.jobs[k].worker), ERR_OK);
    assert_int_equal(worker_submit(w, &c.jobs[QUEUE_MAX].worker), ERR_FULL);
    open_gate(&c);
    turn_until_done(&c, QUEUE_MAX);
    assert_int_equal(worker_submit(w, &c.jobs[QUEUE_MAX].worker), ERR_OK);
    turn_until_done(&c, QUEUE_MAX + 1);
    assert_true(worker_free(w, WAIT_MS));
    ctx_free(&c);
}

/* A flush that was handed in before the stop is written. */
static void freeing_it_finishes_what_was_taken(void **state)
{
    (void)state;
    struct lab_ctx c;
    ctx_init(&c, true);
    struct worker *w = worker_new(c.base, &ops, &c, N, BATCH_MAX);
    for (unsigned k = 0; k < N; k++)
        assert_int_equal(worker_submit(w, &c.jobs[k].worker), ERR_OK);
    assert_true(worker_free(w, WAIT_MS));
    assert_int_equal(c.n_done, N);
    ctx_free(&c);
}

static unsigned threads(void)
{
    unsigned n = 0;
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *d; (d = readdir(tasks));)
        n += d->d_name[0] != '.';
    closedir(tasks);
    return n;
}

static bool threads_are_again(void *arg)
{
    return threads() == *(unsigned *)arg;
}

/* A disk that does not answer must not keep a process that was told to stop. */
static void a_thread_that_hangs_is_left_behind_in_time(void **state)
{
    (void)state;
    static struct lab_ctx c; /* the thread goes on using it */
    static struct worker *w;
    unsigned before = threads(); /* an emulator has its own */
    ctx_init(&c, false);
    w = worker_new(c.base, &ops, &c, QUEUE_MAX, BATCH_MAX);
    assert_int_equal(worker_submit(w, &c.jobs[0].worker), ERR_OK);
    wait_until_busy(&c);
    uint64_t before_ms = clock_mono_ms();
    assert_false(worker_free(w, 50));
    assert_true(clock_mono_ms() - before_ms >= 50);
    assert_true(clock_mono_ms() - before_ms < WAIT_MS);
    assert_int_equal(c.n_done, 0);
    open_gate(&c); /* it comes back after all, to nobody */
    assert_true(until(threads_are_again, &before, WAIT_MS, "the end of the thread"));
    assert_int_equal(c.n_done, 0);
    event_base_free(c.base);
}

int main(void)
{
    alarm(60);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_come_back_in_order_on_the_loops_thread),
        cmocka_unit_test(what_waits_is_taken_together_up_to_the_limit),
        cmocka_unit_test(a_full_queue_refuses_and_takes_again_later),
        cmocka_unit_test(freeing_it_finishes_what_was_taken),
        cmocka_unit_test(a_thread_that_hangs_is_left_behind_in_time),
    };
    return cmocka_run_group_tests_name("worker", tests, NULL, NULL);
}
