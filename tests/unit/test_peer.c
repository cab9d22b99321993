/* test_peer.c - one framed link over a socket pair: this test is the other side, byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/base/metrics.h"
#include "proto/wire/frame.h"
#include "proto/wire/peer.h"

enum { DEADLINE_MS = 10000, QUEUE_BYTES = 2 << 20 };

struct world {
    struct event_base *base;
    struct arena *arena;
    struct peer *peer; /* NULL once it has closed */
    int fd;            /* the other side */
    unsigned n_msgs, n_closed;
    uint64_t last_stamp;
    unsigned close_at; /* close from inside the n-th message */
    unsigned hold_at;
    char why[96];
};

static void on_msg(void *owner, const struct msg *m)
{
    struct world *w = owner;
    w->n_msgs++;
    w->last_stamp = m->request_id;
    if (w->n_msgs == w->close_at) {
        peer_close(w->peer, "the owner's reason");
        peer_close(w->peer, "a later reason");
    }
    if (w->n_msgs == w->hold_at)
        peer_hold(w->peer, true);
}

static void on_closed(void *owner, const char *why, bool refused)
{
    struct world *w = owner;
    assert_false(refused);
    snprintf(w->why, sizeof(w->why), "%s", why);
    w->n_closed++;
    w->peer = NULL;
}

static const struct peer_ops ops = {on_msg, on_closed};

static int start(void **state)
{
    struct world *w = mem_zalloc(sizeof(*w));
    int fds[2];
    w->base = event_base_new();
    w->arena = arena_new();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    w->fd = fds[1];
    const struct peer_conf conf = {w->base, w->arena, QUEUE_BYTES, 20};
    w->peer = peer_new(&conf, bufferevent_socket_new(w->base, fds[0], BEV_OPT_CLOSE_ON_FREE), "test", &ops, w);
    *state = w;
    return 0;
}

static int stop(void **state)
{
    struct world *w = *state;
    peer_free(w->peer);
    if (w->fd >= 0)
        close(w->fd);
    arena_free(w->arena);
    event_base_free(w->base);
    free(w);
    return 0;
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
}

/* One turn of the loop, which lasts 5 ms at most. */
static void turn(struct world *w)
{
    const struct timeval wake = {0, 5000};
    struct event *timer = evtimer_new(w->base, on_wake, NULL);
    evtimer_add(timer, &wake);
    event_base_loop(w->base, EVLOOP_ONCE);
    event_free(timer);
}

#define run_until(w, condition)                                                                                        \
    do {                                                                                                               \
        const uint64_t end_ = clock_mono_ms() + DEADLINE_MS;                                                           \
        while (!(condition)) {                                                                                         \
            if (clock_mono_ms() > end_)                                                                                \
                fail_msg("never: %s (why=%s)", #condition, (w)->why);                                                  \
            turn(w);                                                                                                   \
        }                                                                                                              \
    } while (0)

/* A message that the owner hears of, as a frame. Its request id is n. */
static size_t frame_of(uint64_t n, uint8_t *out)
{
    const struct msg m = {.kind = MSG_LEAVE, .request_id = n, .leave = {{1, 1}, {0, 0}, false}};
    struct blob *b = msg_encode(&m);
    out[0] = out[1] = out[2] = 0;
    out[3] = (uint8_t)b->len;
    memcpy(out + 4, b->data, b->len);
    const size_t len = b->len + 4;
    blob_unref(b);
    return len;
}

static void put(struct world *w, const void *bytes, size_t len)
{
    run_until(w, write(w->fd, bytes, len) == (ssize_t)len); /* all or nothing: so few bytes are never split */
}

static void put_frames(struct world *w, unsigned n)
{
    for (unsigned k = 1; k <= n; k++) {
        uint8_t frame[256];
        put(w, frame, frame_of(k, frame));
    }
}

static void messages_arrive_byte_by_byte(void **state)
{
    struct world *w = *state;
    uint8_t frame[256];
    const size_t len = frame_of(7, frame);
    for (size_t k = 0; k < len; k++) {
        assert_int_equal(w->n_msgs, 0);
        put(w, frame + k, 1);
        turn(w);
    }
    run_until(w, w->n_msgs == 1);
    assert_int_equal(w->last_stamp, 7);
}

/* More than one wake takes: the rest must not wait for the next byte. */
static void a_burst_arrives_whole_and_in_order(void **state)
{
    struct world *w = *state;
    peer_proved(w->peer);
    put_frames(w, 1000);
    run_until(w, w->n_msgs == 1000);
    assert_int_equal(w->last_stamp, 1000);
}

static void what_came_before_the_end_is_still_told(void **state)
{
    struct world *w = *state;
    peer_proved(w->peer);
    put_frames(w, 500);
    close(w->fd);
    w->fd = -1;
    run_until(w, w->n_closed == 1);
    assert_int_equal(w->n_msgs, 500);
    assert_string_equal(w->why, "closed by the other side");
}

static void garbage_closes_with_a_reason(void **state)
{
    struct world *w = *state;
    put(w, "\0\0\0\5hello", 9);
    run_until(w, w->n_closed == 1);
    assert_string_equal(w->why, "not an envelope");
}

static void a_length_over_the_limit_closes_before_its_bytes_come(void **state)
{
    struct world *w = *state;
    peer_proved(w->peer);
    put(w, "\0\x10\0\1", 4);
    run_until(w, w->n_closed == 1);
    assert_string_equal(w->why, "frame too big");
}

/* Many small frames are no way around it. */
static void an_unproved_peer_gets_one_kilobyte_in_all(void **state)
{
    struct world *w = *state;
    put_frames(w, 200);
    run_until(w, w->n_closed == 1);
    assert_string_equal(w->why, "frame too big");
    assert_true(w->n_msgs > 0 && w->n_msgs < 1024 / 8);
}

static void closing_from_inside_a_message_is_safe_and_the_first_reason_wins(void **state)
{
    struct world *w = *state;
    w->close_at = 3;
    put_frames(w, 10);
    run_until(w, w->n_closed == 1);
    assert_string_equal(w->why, "the owner's reason");
    assert_int_equal(w->n_msgs, 3);
    turn(w);
    assert_int_equal(w->n_closed, 1);
}

static void closing_is_told_from_the_loop_only(void **state)
{
    struct world *w = *state;
    peer_close(w->peer, "enough");
    assert_int_equal(w->n_closed, 0);
    run_until(w, w->n_closed == 1);
}

static void a_held_peer_tells_nothing_until_it_is_let_go(void **state)
{
    struct world *w = *state;
    peer_proved(w->peer);
    w->hold_at = 2;     /* from inside a message: those that were read already wait too */
    put_frames(w, 100); /* fits the socket's buffer: the loop need not turn */
    run_until(w, w->n_msgs == 2);
    close(w->fd); /* the end waits as well, longer than silence would be borne */
    w->fd = -1;
    const uint64_t until = clock_mono_ms() + 20 * (PINGS_UNANSWERED_MAX + 3);
    while (clock_mono_ms() < until)
        turn(w);
    assert_int_equal(w->n_msgs, 2);
    assert_int_equal(w->n_closed, 0);
    peer_hold(w->peer, false);
    run_until(w, w->n_closed == 1);
    assert_int_equal(w->n_msgs, 100);
}

static void a_silent_peer_is_closed(void **state)
{
    struct world *w = *state;
    peer_proved(w->peer);
    run_until(w, w->n_closed == 1);
    assert_string_equal(w->why, "no sign of life");
}

/* Reads one frame from our side; false: nothing there. */
static bool take(struct world *w, struct evbuffer *in, struct msg *out)
{
    struct frame f;
    const char *why;
    evbuffer_read(in, w->fd, 65536);
    if (frame_peek(in, MSG_BYTES_MAX, &f) != ERR_OK)
        return false;
    assert_int_equal(msg_decode(f.data, f.len, w->arena, out, &why), ERR_OK);
    evbuffer_drain(in, f.wire_len);
    return true;
}

static void a_ping_is_answered_with_its_stamp(void **state)
{
    struct world *w = *state;
    peer_proved(w->peer);
    const uint8_t ping[] = {0, 0, 0, 11, 4 << 3 | 2, 9, 1 << 3 | 1, 1, 2, 3, 4, 5, 6, 7, 8};
    put(w, ping, sizeof(ping));
    struct evbuffer *in = evbuffer_new();
    struct msg m = {0};
    run_until(w, take(w, in, &m) && m.kind == MSG_PONG);
    assert_true(m.stamp == 0x0807060504030201ull);
    assert_int_equal(w->n_msgs, 0);
    evbuffer_free(in);
}

static void a_body_of_a_newer_schema_is_answered_and_the_link_stays(void **state)
{
    struct world *w = *state;
    peer_proved(w->peer);
    put(w, "\0\0\0\5\x08\x2a\xa2\x06\0", 9); /* request 42, body 100 */
    struct evbuffer *in = evbuffer_new();
    struct msg m = {0};
    run_until(w, take(w, in, &m) && m.kind == MSG_UNSUPPORTED);
    assert_int_equal(m.unsupported, 100);
    assert_int_equal(m.request_id, 42);
    put_frames(w, 1);
    run_until(w, w->n_msgs == 1);
    assert_int_equal(w->n_closed, 0);
    evbuffer_free(in);
}

/* Memory stays bounded, whatever the owner has to say. */
static void a_reader_that_stops_hits_the_queue_bound(void **state)
{
    struct world *w = *state;
    peer_proved(w->peer);
    struct blob *b = blob_new(NULL, 100000);
    for (unsigned k = 0; k < 100 && !w->n_closed; k++) {
        peer_send(w->peer, b);
        assert_true(peer_queued_bytes(w->peer) <= QUEUE_BYTES);
        if (k == 5)
            turn(w); /* the socket takes what it can */
    }
    run_until(w, w->n_closed == 1);
    assert_string_equal(w->why, "send queue full");
    assert_int_equal(b->refs, 1);
    blob_unref(b);
}

/* A tick's frames to a gateway are one packet, not hundreds. */
static void what_one_turn_sends_leaves_in_one_write(void **state)
{
    struct world *w = *state;
    const struct msg m = {.kind = MSG_PONG, .stamp = 1};
    for (unsigned k = 0; k < 200; k++)
        peer_send_msg(w->peer, &m);
    char bytes[65536];
    assert_int_equal(read(w->fd, bytes, sizeof(bytes)), -1); /* nothing before the loop turns */
    assert_int_equal(errno, EAGAIN);
    turn(w);
    assert_int_equal(read(w->fd, bytes, sizeof(bytes)), 200 * 15);
}

int main(void)
{
    alarm(60);
    signal(SIGPIPE, SIG_IGN); /* as the programs do */
    log_set_fd(-1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(messages_arrive_byte_by_byte, start, stop),
        cmocka_unit_test_setup_teardown(a_burst_arrives_whole_and_in_order, start, stop),
        cmocka_unit_test_setup_teardown(what_came_before_the_end_is_still_told, start, stop),
        cmocka_unit_test_setup_teardown(garbage_closes_with_a_reason, start, stop),
        cmocka_unit_test_setup_teardown(a_length_over_the_limit_closes_before_its_bytes_come, start, stop),
        cmocka_unit_test_setup_teardown(an_unproved_peer_gets_one_kilobyte_in_all, start, stop),
        cmocka_unit_test_setup_teardown(closing_from_inside_a_message_is_safe_and_the_first_reason_wins, start, stop),
        cmocka_unit_test_setup_teardown(closing_is_told_from_the_loop_only, start, stop),
        cmocka_unit_test_setup_teardown(a_held_peer_tells_nothing_until_it_is_let_go, start, stop),
        cmocka_unit_test_setup_teardown(a_silent_peer_is_closed, start, stop),
        cmocka_unit_test_setup_teardown(a_ping_is_answered_with_its_stamp, start, stop),
        cmocka_unit_test_setup_teardown(a_body_of_a_newer_schema_is_answered_and_the_link_stays, start, stop),
        cmocka_unit_test_setup_teardown(a_reader_that_stops_hits_the_queue_bound, start, stop),
        cmocka_unit_test_setup_teardown(what_one_turn_sends_leaves_in_one_write, start, stop),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    metrics_free();
    return failed;
}
