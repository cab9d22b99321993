/* test_links.c - links over loopback: who gets in, who does not and why, and what their owners hear. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
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
#include "proto/wire/links.h"
#include "proto/wire/proof.h"

enum { DEADLINE_MS = 10000, NODE_ID = 0xa, GATE_ID = 0xb, OTHER_ID = 0xc };

/* One process: its links and all that it heard. */
struct end {
    struct links *links;
    unsigned ups, downs, failures, refusals, msgs;
    uint64_t link, peer, failed_node, last_request;
    enum role role;
    char why[96];
    bool in_ops; /* inside dial, send or hangup: nothing may be told now */
};

struct world {
    struct event_base *base;
    struct links_conf conf;
    struct end node, gate;
};

static void on_up(void *owner, uint64_t link, enum role role, uint64_t peer)
{
    struct end *e = owner;
    assert_false(e->in_ops);
    e->ups++;
    e->link = link;
    e->role = role;
    e->peer = peer;
}

static void on_down(void *owner, uint64_t link, const char *why)
{
    struct end *e = owner;
    assert_false(e->in_ops);
    (void)link;
    e->downs++;
    snprintf(e->why, sizeof(e->why), "%s", why);
}

static void on_failed(void *owner, uint64_t node, bool refused)
{
    struct end *e = owner;
    assert_false(e->in_ops);
    e->failures++;
    e->refusals += refused;
    e->failed_node = node;
}

static void on_msg(void *owner, uint64_t link, const struct msg *m)
{
    struct end *e = owner;
    assert_false(e->in_ops);
    assert_true(e->ups > 0 && link != 0);
    e->msgs++;
    e->last_request = m->request_id;
}

static const struct net_events events = {on_up, on_down, on_failed, on_msg};

static void open_end(struct world *w, struct end *e, enum role role, uint64_t id)
{
    char why[128] = "";
    struct links_conf c = w->conf;
    c.role = role;
    c.incarnation = id;
    c.listen = role == ROLE_NODE ? "127.0.0.1:0" : NULL;
    if (links_new(&c, &events, e, &e->links, why, sizeof(why)) != ERR_OK)
        fail_msg("%s", why);
}

static int start(void **state)
{
    struct world *w = mem_zalloc(sizeof(*w));
    w->base = event_base_new();
    links_conf_default(&w->conf);
    w->conf.base = w->base;
    w->conf.world = "test";
    w->conf.secret = "a secret";
    w->conf.queue_bytes_max = 4 << 20;
    open_end(w, &w->node, ROLE_NODE, NODE_ID);
    *state = w;
    return 0;
}

static int stop(void **state)
{
    struct world *w = *state;
    links_free(w->node.links);
    links_free(w->gate.links);
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
                fail_msg("never: %s (node=%s gate=%s)", #condition, (w)->node.why, (w)->gate.why);                     \
            turn(w);                                                                                                   \
        }                                                                                                              \
    } while (0)

static void dial(struct end *from, uint64_t node, int port)
{
    char address[32];
    snprintf(address, sizeof(address), "127.0.0.1:%d", port);
    from->in_ops = true;
    links_net_ops.dial(from->links, node, address);
    from->in_ops = false;
}

static void open_gate(struct world *w)
{
    open_end(w, &w->gate, ROLE_GATEWAY, GATE_ID);
}

static void dial_node(struct world *w)
{
    open_gate(w);
    dial(&w->gate, NODE_ID, links_port(w->node.links));
}

static void link_both(struct world *w)
{
    dial_node(w);
    run_until(w, w->gate.ups == 1 && w->node.ups == 1);
}

static void send_msg(struct end *from, uint64_t request)
{
    const struct msg m = {.kind = MSG_LEAVE, .request_id = request, .leave = {{1, 1}, {0, 0}, false}};
    struct blob *b = msg_encode(&m);
    from->in_ops = true;
    links_net_ops.send(from->links, from->link, b);
    from->in_ops = false;
    blob_unref(b);
}

static double closes(const char *reason)
{
    char label[160];
    snprintf(label, sizeof(label), "reason=\"%s\"", reason);
    return metric_value(
        metrics_counter("spotcraft_link_closes_total", "Links between processes that ended, by reason.", label));
}

/* ---- among friends ---- */

static void both_sides_hear_who_the_other_is(void **state)
{
    struct world *w = *state;
    link_both(w);
    assert_true(w->gate.role == ROLE_NODE && w->gate.peer == NODE_ID);
    assert_true(w->node.role == ROLE_GATEWAY && w->node.peer == GATE_ID);
}

static void messages_go_both_ways_in_order(void **state)
{
    struct world *w = *state;
    link_both(w);
    for (unsigned k = 1; k <= 2000; k++) {
        send_msg(&w->gate, k);
        send_msg(&w->node, k);
    }
    run_until(w, w->gate.msgs == 2000 && w->node.msgs == 2000);
    assert_true(w->gate.last_request == 2000 && w->node.last_request == 2000);
    run_until(w, links_queued_bytes(w->gate.links) == 0);
}

static void a_hangup_is_told_to_both_with_a_reason(void **state)
{
    struct world *w = *state;
    link_both(w);
    w->gate.in_ops = true;
    links_net_ops.hangup(w->gate.links, w->gate.link, "not needed any more");
    w->gate.in_ops = false;
    run_until(w, w->gate.downs == 1 && w->node.downs == 1);
    assert_string_equal(w->gate.why, "not needed any more");
    assert_string_equal(w->node.why, "closed by the other side");
    send_msg(&w->gate, 1); /* to a link that is gone: nothing happens */
    assert_int_equal(w->gate.failures, 0);
}

static void two_links_between_the_same_pair_are_two_links(void **state)
{
    struct world *w = *state;
    link_both(w);
    const uint64_t first = w->gate.link;
    dial(&w->gate, NODE_ID, links_port(w->node.links));
    run_until(w, w->gate.ups == 2 && w->node.ups == 2);
    assert_true(w->gate.link != first);
    links_net_ops.hangup(w->gate.links, first, "one is enough");
    run_until(w, w->node.downs == 1);
    send_msg(&w->gate, 5);
    run_until(w, w->node.last_request == 5);
}

static void a_node_dials_a_node(void **state)
{
    struct world *w = *state;
    open_end(w, &w->gate, ROLE_NODE, OTHER_ID);
    dial(&w->gate, NODE_ID, links_port(w->node.links));
    run_until(w, w->gate.ups == 1 && w->node.ups == 1);
    assert_true(w->node.role == ROLE_NODE && w->node.peer == OTHER_ID);
}

static void links_outlive_many_pings_in_silence(void **state)
{
    struct world *w = *state;
    links_free(w->node.links);
    w->conf.ping_ms = 5;
    open_end(w, &w->node, ROLE_NODE, NODE_ID);
    link_both(w);
    const uint64_t until = clock_mono_ms() + 200;
    while (clock_mono_ms() < until)
        turn(w);
    assert_int_equal(w->gate.downs + w->node.downs, 0);
}

static void while_held_nothing_is_delivered_and_nothing_lost(void **state)
{
    struct world *w = *state;
    link_both(w);
    links_net_ops.hold(w->node.links, true);
    for (unsigned k = 1; k <= 100; k++)
        send_msg(&w->gate, k);
    run_until(w, links_queued_bytes(w->gate.links) == 0);
    dial(&w->gate, NODE_ID, links_port(w->node.links)); /* a new link comes up, and is held too */
    run_until(w, w->gate.ups == 2 && w->node.ups == 2);
    send_msg(&w->gate, 101);
    const uint64_t until = clock_mono_ms() + 50;
    while (clock_mono_ms() < until)
        turn(w);
    assert_int_equal(w->node.msgs, 0);
    links_net_ops.hold(w->node.links, false);
    run_until(w, w->node.msgs == 101);
}

/* ---- dials that come to nothing ---- */

static int port_of_nobody(void)
{
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    close(fd);
    return ntohs(at.sin_port);
}

/* The sure sign that a process is dead: its cells may be claimed at once. */
static void a_dial_to_a_closed_port_is_refused(void **state)
{
    struct world *w = *state;
    open_gate(w);
    dial(&w->gate, 77, port_of_nobody());
    run_until(w, w->gate.failures == 1);
    assert_int_equal(w->gate.refusals, 1);
    assert_int_equal(w->gate.failed_node, 77);
}

/* A machine that takes the connection and says nothing may be paused: no proof of death. */
static void a_dial_into_silence_fails_at_its_deadline_but_is_not_refused(void **state)
{
    struct world *w = *state;
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    w->conf.dial_ms = 60;
    open_gate(w);
    const uint64_t began = clock_mono_ms();
    dial(&w->gate, 77, ntohs(at.sin_port));
    run_until(w, w->gate.failures == 1);
    assert_int_equal(w->gate.refusals, 0);
    assert_true(clock_mono_ms() - began >= 55);
    close(fd);
}

static void an_address_that_is_none_fails_without_blocking(void **state)
{
    struct world *w = *state;
    static const char *const bad[] = {"",
                                      "nowhere",
                                      "127.0.0.1:",
                                      "127.0.0.1:99999",
                                      "127.0.0.1:x",
                                      ":4080",
                                      "no.such.host.invalid:1"}; /* names need a resolver, and there is none here */
    open_gate(w);
    for (unsigned k = 0; k < 7; k++) {
        w->gate.in_ops = true;
        links_net_ops.dial(w->gate.links, 77, bad[k]);
        w->gate.in_ops = false;
    }
    run_until(w, w->gate.failures == 7);
    assert_int_equal(w->gate.refusals, 0);
}

/* Its successor took the port: the one that was dialled is gone. */
static void another_incarnation_at_the_address_counts_as_refused(void **state)
{
    struct world *w = *state;
    open_gate(w);
    dial(&w->gate, 77, links_port(w->node.links));
    run_until(w, w->gate.failures == 1);
    assert_int_equal(w->gate.refusals, 1);
    assert_int_equal(w->gate.ups, 0);
}

/* ---- those who do not belong ---- */

static void assert_gate_is_turned_away(struct world *w, const char *reason)
{
    const double before = closes(reason);
    dial_node(w);
    run_until(w, w->gate.failures == 1 && closes(reason) > before);
    assert_int_equal(w->gate.refusals, 0);
    assert_int_equal(w->node.ups, 0);
    assert_int_equal(w->node.downs, 0);
}

static void another_secret_is_turned_away(void **state)
{
    struct world *w = *state;
    w->conf.secret = "a guess";
    assert_gate_is_turned_away(w, err_text(ERR_AUTH));
}

static void no_secret_is_a_wrong_secret(void **state)
{
    struct world *w = *state;
    w->conf.secret = "";
    assert_gate_is_turned_away(w, err_text(ERR_AUTH));
}

static void another_world_is_turned_away(void **state)
{
    struct world *w = *state;
    w->conf.world = "elsewhere";
    assert_gate_is_turned_away(w, "another world");
}

static void a_process_does_not_link_to_itself(void **state)
{
    struct world *w = *state;
    dial(&w->node, NODE_ID, links_port(w->node.links));
    run_until(w, w->node.failures == 1);
    assert_int_equal(w->node.ups, 0);
}

/* ---- a stranger's socket ---- */

struct stranger {
    int fd;
    struct evbuffer *in;
    struct arena *arena;
    bool ended;
};

static struct stranger connect_stranger(struct world *w)
{
    struct stranger s = {.fd = socket(AF_INET, SOCK_STREAM, 0), .in = evbuffer_new(), .arena = arena_new()};
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)links_port(w->node.links))};
    assert_int_equal(connect(s.fd, (struct sockaddr *)&at, sizeof(at)), 0);
    evutil_make_socket_nonblocking(s.fd);
    return s;
}

static void free_stranger(struct stranger *s)
{
    close(s->fd);
    evbuffer_free(s->in);
    arena_free(s->arena);
}

static bool has_ended(struct stranger *s)
{
    const int n = evbuffer_read(s->in, s->fd, 65536);
    s->ended = s->ended || n == 0 || (n < 0 && errno != EAGAIN);
    return s->ended;
}

static bool hears(struct stranger *s, struct msg *out)
{
    struct frame f;
    const char *why;
    has_ended(s);
    if (frame_peek(s->in, MSG_BYTES_MAX, &f) != ERR_OK)
        return false;
    assert_int_equal(msg_decode(f.data, f.len, s->arena, out, &why), ERR_OK);
    evbuffer_drain(s->in, f.wire_len);
    return true;
}

static void says(struct stranger *s, const struct msg *m)
{
    struct blob *b = msg_encode(m);
    const uint8_t header[4] = {0, 0, (uint8_t)(b->len >> 8), (uint8_t)b->len};
    assert_int_equal(write(s->fd, header, 4), 4);
    assert_int_equal(write(s->fd, b->data, b->len), b->len);
    blob_unref(b);
}

static void assert_stranger_is_closed(struct world *w, struct stranger *s, const char *reason, double before)
{
    run_until(w, has_ended(s));
    if (closes(reason) != before + 1)
        fail_msg("closed, but not for: %s", reason);
    assert_int_equal(w->node.ups + w->node.downs, 0);
    free_stranger(s);
}

static void garbage_is_closed(void **state)
{
    struct world *w = *state;
    static const struct {
        const char *bytes, *reason;
        size_t len;
    } cases[] = {
        {"GET / HTTP/1.1\r\n\r\n", "frame too big", 18},
        {"\0\0\0\0", "empty frame", 4},
        {"\0\0\0\5hello", "not an envelope", 9},
        {"\0\0\4\1", "frame too big", 4}, /* one byte over a kilobyte */
        {"\0\0\0\5\x08\x2a\xa2\x06\0", "a body from a newer schema", 9},
        {"\0\0\0\2\x22\0", "a message before the proof", 6}, /* a ping */
    };
    for (unsigned k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
        struct stranger s = connect_stranger(w);
        const double before = closes(cases[k].reason);
        assert_int_equal(write(s.fd, cases[k].bytes, cases[k].len), cases[k].len);
        assert_stranger_is_closed(w, &s, cases[k].reason, before);
    }
}

static void who_says_nothing_is_closed_at_the_deadline(void **state)
{
    struct world *w = *state;
    links_free(w->node.links);
    w->conf.proof_ms = 60;
    open_end(w, &w->node, ROLE_NODE, NODE_ID);
    struct stranger s = connect_stranger(w);
    const double before = closes("no proof in time");
    const uint64_t began = clock_mono_ms();
    run_until(w, has_ended(&s));
    assert_true(clock_mono_ms() - began >= 55);
    assert_stranger_is_closed(w, &s, "no proof in time", before);
}

static const struct proof_self stranger_self = {"test", "a secret", ROLE_GATEWAY, OTHER_ID};

static void another_cell_size_is_turned_away(void **state)
{
    struct world *w = *state;
    struct stranger s = connect_stranger(w);
    struct proof p;
    struct msg hello;
    proof_start(&p, true);
    proof_hello(&p, &stranger_self, &hello);
    hello.hello.cell_chunks = CELL_CHUNKS * 2;
    const double before = closes("another cell size");
    says(&s, &hello);
    assert_stranger_is_closed(w, &s, "another cell size", before);
}

static void a_schema_two_steps_away_is_turned_away(void **state)
{
    struct world *w = *state;
    struct stranger s = connect_stranger(w);
    struct proof p;
    struct msg hello;
    proof_start(&p, true);
    proof_hello(&p, &stranger_self, &hello);
    hello.hello.schema = SCHEMA_VERSION + 2;
    const double before = closes("a schema too far from ours");
    says(&s, &hello);
    assert_stranger_is_closed(w, &s, "a schema too far from ours", before);
}

static void a_message_before_the_proof_is_not_delivered(void **state)
{
    struct world *w = *state;
    struct stranger s = connect_stranger(w);
    struct proof p;
    struct msg m;
    proof_start(&p, true);
    proof_hello(&p, &stranger_self, &m);
    says(&s, &m);
    const double before = closes("a message before the proof");
    m = (struct msg){.kind = MSG_LEAVE, .leave = {{1, 1}, {0, 0}, false}};
    says(&s, &m);
    assert_stranger_is_closed(w, &s, "a message before the proof", before);
    assert_int_equal(w->node.msgs, 0);
}

/* Who knows no secret can still repeat what he hears: the node's own proof, made for him. */
static void a_proof_sent_back_proves_nothing(void **state)
{
    struct world *w = *state;
    struct stranger s = connect_stranger(w);
    struct msg m, hello;
    struct proof p;
    run_until(w, hears(&s, &m));
    assert_int_equal(m.kind, MSG_HELLO);
    proof_start(&p, true);
    proof_hello(&p, &stranger_self, &hello);
    hello.hello.role = ROLE_NODE; /* as like the node as can be */
    says(&s, &hello);
    run_until(w, hears(&s, &m));
    assert_int_equal(m.kind, MSG_PROOF);
    const double before = closes(err_text(ERR_AUTH));
    says(&s, &m);
    assert_stranger_is_closed(w, &s, err_text(ERR_AUTH), before);
}

/* Two links to one node: the nonce of the one is given as one's own on the other, to have it proved. */
static void a_proof_made_on_another_link_proves_nothing(void **state)
{
    struct world *w = *state;
    struct stranger a = connect_stranger(w), b = connect_stranger(w);
    struct msg hello_a, hello_b, proof_b, m;
    run_until(w, hears(&a, &hello_a));
    run_until(w, hears(&b, &hello_b));
    m = hello_a; /* says on b that he is the one with a's nonce, and on a that he has b's */
    m.hello.incarnation = OTHER_ID;
    says(&b, &m);
    run_until(w, hears(&b, &proof_b));
    assert_int_equal(proof_b.kind, MSG_PROOF);
    m = hello_b;
    m.hello.incarnation = OTHER_ID;
    says(&a, &m);
    const double before = closes(err_text(ERR_AUTH));
    says(&a, &proof_b);
    run_until(w, has_ended(&a));
    assert_true(closes(err_text(ERR_AUTH)) == before + 1);
    assert_int_equal(w->node.ups, 0);
    free_stranger(&a);
    free_stranger(&b);
}

/* A whole handshake, byte by byte: a slow wire is no reason to turn somebody away. */
static struct stranger prove_slowly(struct world *w)
{
    struct stranger s = connect_stranger(w);
    struct proof p;
    struct msg theirs, hello, proof;
    const char *why;
    proof_start(&p, true);
    proof_hello(&p, &stranger_self, &hello);
    run_until(w, hears(&s, &theirs));
    assert_int_equal(proof_on_hello(&p, &stranger_self, &theirs.hello, &proof, &why), ERR_OK);
    struct msg both[] = {hello, proof};
    for (unsigned k = 0; k < 2; k++) {
        struct blob *b = msg_encode(&both[k]);
        const uint8_t header[4] = {0, 0, 0, (uint8_t)b->len};
        for (size_t at = 0; at < b->len + 4; at++) {
            assert_int_equal(write(s.fd, at < 4 ? &header[at] : &b->data[at - 4], 1), 1);
            turn(w);
        }
        blob_unref(b);
    }
    run_until(w, w->node.ups == 1);
    run_until(w, hears(&s, &theirs));
    assert_int_equal(theirs.kind, MSG_PROOF);
    assert_int_equal(proof_on_proof(&p, &stranger_self, theirs.mac), ERR_OK);
    return s;
}

static void a_torn_handshake_is_as_good_as_a_whole_one(void **state)
{
    struct world *w = *state;
    struct stranger s = prove_slowly(w);
    assert_true(w->node.peer == OTHER_ID && w->node.role == ROLE_GATEWAY);
    const struct msg m = {.kind = MSG_LEAVE, .request_id = 9, .leave = {{1, 1}, {0, 0}, false}};
    says(&s, &m);
    run_until(w, w->node.last_request == 9);
    free_stranger(&s);
}

static void a_proved_peer_that_falls_silent_goes_down(void **state)
{
    struct world *w = *state;
    links_free(w->node.links);
    w->conf.ping_ms = 20;
    open_end(w, &w->node, ROLE_NODE, NODE_ID);
    struct stranger s = prove_slowly(w);
    run_until(w, w->node.downs == 1);
    assert_string_equal(w->node.why, "no sign of life");
    free_stranger(&s);
}

static void a_second_hello_goes_down(void **state)
{
    struct world *w = *state;
    struct stranger s = prove_slowly(w);
    struct proof p;
    struct msg hello;
    proof_start(&p, true);
    proof_hello(&p, &stranger_self, &hello);
    says(&s, &hello);
    run_until(w, w->node.downs == 1);
    assert_string_equal(w->node.why, "a second hello or proof");
    free_stranger(&s);
}

static void a_proved_peer_that_does_not_read_hits_the_queue_bound(void **state)
{
    struct world *w = *state;
    struct stranger s = prove_slowly(w);
    struct blob *b = blob_new(NULL, MSG_BYTES_MAX);
    for (unsigned k = 0; k < 64 && w->node.downs == 0; k++) {
        links_net_ops.send(w->node.links, w->node.link, b);
        turn(w);
    }
    run_until(w, w->node.downs == 1);
    assert_string_equal(w->node.why, "send queue full");
    blob_unref(b);
    free_stranger(&s);
}

static void strangers_beyond_the_bound_are_closed_at_once(void **state)
{
    struct world *w = *state;
    struct stranger crowd[300];
    const double before = closes("too many unproved links");
    const double lost = closes("connection lost") + closes("closed by the other side");
    for (unsigned k = 0; k < 300; k++) {
        crowd[k] = connect_stranger(w);
        turn(w);
    }
    run_until(w, closes("too many unproved links") == before + 300 - 256);
    for (unsigned k = 0; k < 300; k++)
        free_stranger(&crowd[k]);
    run_until(w, closes("connection lost") + closes("closed by the other side") == lost + 256);
    link_both(w); /* there is room again */
}

/* ---- starting ---- */

static void a_bad_or_taken_address_says_which_and_why(void **state)
{
    struct world *w = *state;
    struct links *l;
    char why[160] = "", taken[32];
    struct links_conf c = w->conf;
    c.role = ROLE_NODE;
    c.incarnation = OTHER_ID;
    c.listen = "somewhere:80";
    assert_int_equal(links_new(&c, &events, w, &l, why, sizeof(why)), ERR_BAD);
    assert_non_null(strstr(why, "somewhere:80"));
    snprintf(taken, sizeof(taken), "127.0.0.1:%d", links_port(w->node.links));
    c.listen = taken;
    assert_int_equal(links_new(&c, &events, w, &l, why, sizeof(why)), ERR_IO);
    assert_non_null(strstr(why, taken));
    assert_non_null(strstr(why, "in use"));
    c.listen = NULL;
    c.world = "";
    assert_int_equal(links_new(&c, &events, w, &l, why, sizeof(why)), ERR_BAD);
}

int main(void)
{
    alarm(60);
    signal(SIGPIPE, SIG_IGN); /* as the programs do */
    log_set_fd(-1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(both_sides_hear_who_the_other_is, start, stop),
        cmocka_unit_test_setup_teardown(messages_go_both_ways_in_order, start, stop),
        cmocka_unit_test_setup_teardown(a_hangup_is_told_to_both_with_a_reason, start, stop),
        cmocka_unit_test_setup_teardown(two_links_between_the_same_pair_are_two_links, start, stop),
        cmocka_unit_test_setup_teardown(a_node_dials_a_node, start, stop),
        cmocka_unit_test_setup_teardown(links_outlive_many_pings_in_silence, start, stop),
        cmocka_unit_test_setup_teardown(while_held_nothing_is_delivered_and_nothing_lost, start, stop),
        cmocka_unit_test_setup_teardown(a_dial_to_a_closed_port_is_refused, start, stop),
        cmocka_unit_test_setup_teardown(a_dial_into_silence_fails_at_its_deadline_but_is_not_refused, start, stop),
        cmocka_unit_test_setup_teardown(an_address_that_is_none_fails_without_blocking, start, stop),
        cmocka_unit_test_setup_teardown(another_incarnation_at_the_address_counts_as_refused, start, stop),
        cmocka_unit_test_setup_teardown(another_secret_is_turned_away, start, stop),
        cmocka_unit_test_setup_teardown(no_secret_is_a_wrong_secret, start, stop),
        cmocka_unit_test_setup_teardown(another_world_is_turned_away, start, stop),
        cmocka_unit_test_setup_teardown(a_process_does_not_link_to_itself, start, stop),
        cmocka_unit_test_setup_teardown(garbage_is_closed, start, stop),
        cmocka_unit_test_setup_teardown(who_says_nothing_is_closed_at_the_deadline, start, stop),
        cmocka_unit_test_setup_teardown(another_cell_size_is_turned_away, start, stop),
        cmocka_unit_test_setup_teardown(a_schema_two_steps_away_is_turned_away, start, stop),
        cmocka_unit_test_setup_teardown(a_message_before_the_proof_is_not_delivered, start, stop),
        cmocka_unit_test_setup_teardown(a_proof_sent_back_proves_nothing, start, stop),
        cmocka_unit_test_setup_teardown(a_proof_made_on_another_link_proves_nothing, start, stop),
        cmocka_unit_test_setup_teardown(a_torn_handshake_is_as_good_as_a_whole_one, start, stop),
        cmocka_unit_test_setup_teardown(a_proved_peer_that_falls_silent_goes_down, start, stop),
        cmocka_unit_test_setup_teardown(a_second_hello_goes_down, start, stop),
        cmocka_unit_test_setup_teardown(a_proved_peer_that_does_not_read_hits_the_queue_bound, start, stop),
        cmocka_unit_test_setup_teardown(strangers_beyond_the_bound_are_closed_at_once, start, stop),
        cmocka_unit_test_setup_teardown(a_bad_or_taken_address_says_which_and_why, start, stop),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    metrics_free();
    return failed;
}
