/* A server of our own that says what it is told to, for what a good Redis never does; and a real one for the rest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/dns.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/base/metrics.h"
#include "proto/redis/redis_link.h"
#include "tests/lib/proc.h"
#include "tests/lib/services.h"

enum { WAIT_MS = 10000, DEADLINE_MS = 300, ANSWERS_MAX = 4096 };
static const char PING[] = "*1\r\n$4\r\nPING\r\n";

/* ---- a server that obeys ---- */

struct fake {
    struct evconnlistener *listener;
    struct bufferevent *bev; /* the newest connection */
    bool mute;               /* does not even greet */
    bool greeted;
    const char *reply; /* to each thing that it reads; NULL: silence */
    size_t reply_len;
    bool trickle; /* a byte per turn of the loop */
    struct evbuffer *later;
    struct event *tick;
    unsigned n_connections;
    size_t read; /* bytes behind the greeting, of all connections */
    char url[64];
};

static void fake_send(struct fake *f, const void *data, size_t len)
{
    if (!f->trickle) {
        bufferevent_write(f->bev, data, len);
        return;
    }
    struct timeval now = {0, 0};
    evbuffer_add(f->later, data, len);
    event_add(f->tick, &now);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct fake *f = arg;
    struct timeval soon = {0, 100};
    char c;
    (void)fd;
    (void)what;
    if (f->bev && evbuffer_remove(f->later, &c, 1) == 1)
        bufferevent_write(f->bev, &c, 1);
    if (evbuffer_get_length(f->later))
        event_add(f->tick, &soon);
}

static void on_fake_read(struct bufferevent *bev, void *arg)
{
    struct fake *f = arg;
    struct evbuffer *in = bufferevent_get_input(bev);
    if (f->mute || bev != f->bev)
        return;
    if (!f->greeted) {
        if (evbuffer_get_length(in) < strlen(PING))
            return;
        evbuffer_drain(in, strlen(PING));
        f->greeted = true;
        fake_send(f, "+PONG\r\n", 7);
    }
    size_t len = evbuffer_get_length(in);
    f->read += len;
    evbuffer_drain(in, len);
    if (len && f->reply)
        fake_send(f, f->reply, f->reply_len ? f->reply_len : strlen(f->reply));
}

static void on_fake_event(struct bufferevent *bev, short what, void *arg)
{
    struct fake *f = arg;
    if (!(what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)))
        return;
    if (f->bev == bev)
        f->bev = NULL;
    bufferevent_free(bev);
}

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *a, int len, void *arg)
{
    struct fake *f = arg;
    (void)a;
    (void)len;
    if (f->bev)
        bufferevent_free(f->bev);
    f->bev = bufferevent_socket_new(evconnlistener_get_base(l), fd, BEV_OPT_CLOSE_ON_FREE);
    f->greeted = false;
    f->n_connections++;
    evbuffer_drain(f->later, evbuffer_get_length(f->later));
    bufferevent_setcb(f->bev, on_fake_read, NULL, on_fake_event, f);
    bufferevent_enable(f->bev, EV_READ | EV_WRITE);
}

static void fake_open(struct fake *f, struct event_base *base)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    f->listener =
        evconnlistener_new_bind(base, on_accept, f, LEV_OPT_CLOSE_ON_FREE, 16, (struct sockaddr *)&a, (int)sizeof a);
    assert_non_null(f->listener);
    assert_int_equal(getsockname(evconnlistener_get_fd(f->listener), (struct sockaddr *)&a, &len), 0);
    snprintf(f->url, sizeof f->url, "redis://127.0.0.1:%u", ntohs(a.sin_port));
    f->later = evbuffer_new();
    f->tick = event_new(base, -1, 0, on_tick, f);
}

static void fake_close(struct fake *f)
{
    if (!f->listener)
        return;
    evconnlistener_free(f->listener);
    if (f->bev)
        bufferevent_free(f->bev);
    evbuffer_free(f->later);
    event_free(f->tick);
}

/* ---- what each test has ---- */

struct answer {
    enum err err;
    int type; /* of the reply; 0: none */
    long long integer;
    char text[64];
};

struct fix {
    struct event_base *base;
    struct evdns_base *dns;
    struct fake fake;
    struct redis_link *link;
    struct answer answers[ANSWERS_MAX];
    unsigned n_answers;
    unsigned n_subscribed, n_messages;
    size_t message_len;
    bool inside; /* a call of ours is on the stack */
};

static bool turn(struct fix *f, uint64_t end)
{
    struct timeval tick = {0, 10000};
    event_base_loopexit(f->base, &tick);
    event_base_loop(f->base, EVLOOP_ONCE);
    return clock_mono_ms() < end;
}

#define turn_until(f, cond)                                                                                            \
    do {                                                                                                               \
        uint64_t end_ = clock_mono_ms() + WAIT_MS;                                                                     \
        while (!(cond))                                                                                                \
            assert_true(turn((f), end_));                                                                              \
    } while (0)

static void on_answer(void *arg, enum err e, const redisReply *r)
{
    struct fix *f = arg;
    assert_false(f->inside);
    assert_true(f->n_answers < ANSWERS_MAX);
    struct answer *a = &f->answers[f->n_answers++];
    *a = (struct answer){.err = e, .type = r ? r->type : 0, .integer = r ? r->integer : 0};
    assert_true((r != NULL) == (e == ERR_OK || e == ERR_REFUSED));
    if (r && r->str)
        snprintf(a->text, sizeof a->text, "%s", r->str);
}

static void on_message(void *arg, const void *data, size_t len)
{
    struct fix *f = arg;
    (void)data;
    f->n_messages++;
    f->message_len = len;
}

static void on_subscribed(void *arg)
{
    struct fix *f = arg;
    f->n_subscribed++;
}

static struct redis_link_conf conf_of(struct fix *f, const char *url)
{
    return (struct redis_link_conf){.base = f->base,
                                    .dns = f->dns,
                                    .url = url,
                                    .name = "test",
                                    .deadline_ms = DEADLINE_MS,
                                    .in_flight_max = 1000,
                                    .message = on_message,
                                    .subscribed = on_subscribed,
                                    .arg = f};
}

static void link_open(struct fix *f, const struct redis_link_conf *conf)
{
    const char *why = NULL;
    assert_int_equal(redis_link_open(conf, &f->link, &why), ERR_OK);
}

static void link_to(struct fix *f, const char *url)
{
    struct redis_link_conf conf = conf_of(f, url);
    link_open(f, &conf);
    turn_until(f, redis_link_up(f->link));
}

/* Words separated by spaces. */
static void command(struct fix *f, const char *words)
{
    char copy[128], *save = NULL;
    const char *argv[8];
    size_t lens[8];
    unsigned n = 0;
    snprintf(copy, sizeof copy, "%s", words);
    for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        argv[n] = w;
        lens[n++] = strlen(w);
    }
    f->inside = true;
    redis_link_command(f->link, n, argv, lens, on_answer, f);
    f->inside = false;
}

static const struct answer *ask(struct fix *f, const char *words)
{
    unsigned n = f->n_answers;
    command(f, words);
    turn_until(f, f->n_answers == n + 1);
    return &f->answers[n];
}

static int setup(void **state)
{
    struct fix *f = mem_zalloc(sizeof *f);
    f->base = event_base_new();
    f->dns = evdns_base_new(f->base, EVDNS_BASE_INITIALIZE_NAMESERVERS | EVDNS_BASE_DISABLE_WHEN_INACTIVE);
    fake_open(&f->fake, f->base);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fix *f = *state;
    redis_link_close(f->link);
    fake_close(&f->fake);
    if (f->dns)
        evdns_base_free(f->dns, 0);
    event_base_free(f->base);
    free(f);
    return 0;
}

/* ---- links that break ---- */

static void while_the_link_is_down_commands_fail_soon(void **state)
{
    struct fix *f = *state;
    evconnlistener_disable(f->fake.listener);
    struct redis_link_conf conf = conf_of(f, f->fake.url);
    link_open(f, &conf);
    uint64_t begun = clock_mono_ms();
    assert_int_equal(ask(f, "GET x")->err, ERR_IO);
    assert_true(clock_mono_ms() - begun < DEADLINE_MS);
    assert_false(redis_link_up(f->link));
}

/* Whether it happened is not known: only the caller can say if asking twice does harm. */
static void a_break_answers_all_and_sends_nothing_again(void **state)
{
    struct fix *f = *state;
    link_to(f, f->fake.url);
    for (unsigned i = 0; i < 3; i++)
        command(f, "INCR x");
    turn_until(f, f->fake.read == 3 * strlen("*2\r\n$4\r\nINCR\r\n$1\r\nx\r\n"));
    bufferevent_free(f->fake.bev);
    f->fake.bev = NULL;
    turn_until(f, f->n_answers == 3);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(f->answers[i].err, ERR_IO);
    f->fake.reply = ":1\r\n";
    f->fake.read = 0;
    turn_until(f, f->fake.n_connections == 2 && redis_link_up(f->link));
    assert_int_equal(f->fake.read, 0);
    assert_int_equal(ask(f, "INCR x")->integer, 1);
}

static void a_late_answer_is_a_timeout_and_a_new_link(void **state)
{
    struct fix *f = *state;
    link_to(f, f->fake.url);
    uint64_t begun = clock_mono_ms();
    assert_int_equal(ask(f, "GET x")->err, ERR_TIMEOUT);
    assert_in_range(clock_mono_ms() - begun, DEADLINE_MS - 5, DEADLINE_MS + 2000);
    f->fake.reply = "$1\r\nx\r\n";
    turn_until(f, f->fake.n_connections == 2 && redis_link_up(f->link));
    assert_int_equal(ask(f, "GET x")->err, ERR_OK);
}

static void attempts_become_rarer(void **state)
{
    struct fix *f = *state;
    struct redis_link_conf conf = conf_of(f, f->fake.url);
    f->fake.reply = NULL;
    link_open(f, &conf);
    uint64_t at[5];
    for (unsigned i = 0; i < 5; i++) {
        turn_until(f, f->fake.n_connections == i + 1);
        at[i] = clock_mono_ms();
        turn_until(f, f->fake.bev);
        bufferevent_free(f->fake.bev);
        f->fake.bev = NULL;
    }
    /* 50, 100, 200, 400 ms, a quarter more or less */
    assert_true(at[1] - at[0] >= 37);
    assert_true(at[4] - at[3] >= 300);
    assert_true(at[4] - at[3] > at[2] - at[1]);
}

static void what_exceeds_the_bound_is_not_sent(void **state)
{
    struct fix *f = *state;
    struct redis_link_conf conf = conf_of(f, f->fake.url);
    conf.in_flight_max = 2;
    link_open(f, &conf);
    turn_until(f, redis_link_up(f->link));
    for (unsigned i = 0; i < 3; i++)
        command(f, "GET x");
    turn_until(f, f->n_answers == 1);
    assert_int_equal(f->answers[0].err, ERR_FULL);
    turn_until(f, f->n_answers == 3);
    assert_int_equal(f->answers[1].err, ERR_TIMEOUT);
}

static void closing_answers_what_is_in_flight(void **state)
{
    struct fix *f = *state;
    link_to(f, f->fake.url);
    command(f, "GET x");
    command(f, "GET y");
    redis_link_close(f->link);
    f->link = NULL;
    assert_int_equal(f->n_answers, 2);
    assert_int_equal(f->answers[1].err, ERR_IO);
}

/* ---- replies of all kinds ---- */

static void an_answer_in_single_bytes_is_whole(void **state)
{
    struct fix *f = *state;
    f->fake.trickle = true;
    link_to(f, f->fake.url);
    f->fake.reply = "$11\r\nhello world\r\n";
    assert_string_equal(ask(f, "GET x")->text, "hello world");
}

static void errors_of_the_command_are_refusals(void **state)
{
    static const char *const errors[] = {"-ERR unknown command\r\n", "-WRONGTYPE it is\r\n", "-OOM over maxmemory\r\n",
                                         "-NOSCRIPT but it is no script\r\n", "-\r\n"};
    struct fix *f = *state;
    link_to(f, f->fake.url);
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        f->fake.reply = errors[i];
        assert_int_equal(ask(f, "GET x")->err, ERR_REFUSED);
    }
    assert_int_equal(f->fake.n_connections, 1);
}

static void a_server_that_is_not_ready_keeps_its_link(void **state)
{
    static const char *const errors[] = {"-LOADING Redis is loading the dataset in memory\r\n",
                                         "-BUSY Redis is busy running a script\r\n", "-CLUSTERDOWN no\r\n",
                                         "-TRYAGAIN soon\r\n"};
    struct fix *f = *state;
    link_to(f, f->fake.url);
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        f->fake.reply = errors[i];
        assert_int_equal(ask(f, "GET x")->err, ERR_IO);
    }
    assert_int_equal(f->fake.n_connections, 1);
    f->fake.reply = "+OK\r\n";
    assert_int_equal(ask(f, "GET x")->err, ERR_OK);
}

/* After a failover the name leads elsewhere: look it up again. */
static void the_wrong_server_is_left(void **state)
{
    static const char *const errors[] = {"-READONLY You can't write against a read only replica.\r\n",
                                         "-MOVED 3999 127.0.0.1:6381\r\n", "-NOAUTH Authentication required.\r\n"};
    struct fix *f = *state;
    link_to(f, f->fake.url);
    for (unsigned i = 0; i < sizeof errors / sizeof *errors; i++) {
        f->fake.reply = errors[i];
        assert_int_equal(ask(f, "GET x")->err, ERR_IO);
        turn_until(f, f->fake.n_connections == i + 2 && redis_link_up(f->link));
    }
}

static void bytes_that_are_no_reply_break_the_link(void **state)
{
    static const char *const wires[] = {
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "\r\n\r\n",
        "$99999999999999999999\r\n",
        "$-7\r\n",
        "*-7\r\n",
        "*2147483647\r\n",
        "*1000000\r\n",
        "*99999999999999999\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
        ":1\r\n:2\r\n", /* nobody asked for the second */
    };
    struct fix *f = *state;
    for (unsigned i = 0; i < sizeof wires / sizeof *wires; i++) {
        f->fake.reply = wires[i];
        f->fake.n_connections = 0;
        link_to(f, f->fake.url);
        enum err e = ask(f, "GET x")->err;
        /* what claims to be endless is waited for, but not for ever */
        assert_true(e == ERR_IO || e == ERR_TIMEOUT || wires[i][0] == ':');
        turn_until(f, f->fake.n_connections == 2 && redis_link_up(f->link));
        redis_link_close(f->link);
        f->link = NULL;
    }
}

static void a_reply_that_is_too_big_breaks_the_link(void **state)
{
    struct fix *f = *state;
    struct redis_link_conf conf = conf_of(f, f->fake.url);
    conf.deadline_ms = WAIT_MS;
    link_open(f, &conf);
    turn_until(f, redis_link_up(f->link));
    size_t len = REDIS_REPLY_BYTES_MAX + 65536;
    char *big = mem_zalloc(len);
    strcpy(big, "*2\r\n$1\r\nx\r\n$536870912\r\n");
    f->fake.reply = big;
    f->fake.reply_len = len;
    assert_int_equal(ask(f, "GET x")->err, ERR_IO);
    free(big);
}

/* ---- subscribing ---- */

static void a_silent_subscription_is_made_anew(void **state)
{
    struct fix *f = *state;
    struct redis_link_conf conf = conf_of(f, f->fake.url);
    conf.channel = "events";
    f->fake.reply =
        "*3\r\n$9\r\nsubscribe\r\n$6\r\nevents\r\n:1\r\n*3\r\n$7\r\nmessage\r\n$6\r\nevents\r\n$2\r\nhi\r\n";
    link_open(f, &conf);
    turn_until(f, f->n_messages == 1);
    assert_int_equal(f->n_subscribed, 1);
    assert_int_equal(f->message_len, 2);
    f->fake.reply = NULL; /* pings go unanswered */
    turn_until(f, f->fake.n_connections == 2);
    f->fake.reply = "*3\r\n$9\r\nsubscribe\r\n$6\r\nevents\r\n:1\r\n";
    turn_until(f, f->n_subscribed == 2);
    assert_int_equal(ask(f, "GET x")->err, ERR_IO); /* it carries no commands */
}

static void what_a_subscriber_is_never_sent_breaks_the_link(void **state)
{
    static const char *const wires[] = {"+OK\r\n", "*0\r\n", "*1\r\n$7\r\nmessage\r\n", "$-1\r\n",
                                        "*3\r\n$11\r\nunsubscribe\r\n$6\r\nevents\r\n:0\r\n"};
    struct fix *f = *state;
    struct redis_link_conf conf = conf_of(f, f->fake.url);
    conf.channel = "events";
    f->fake.reply = "*3\r\n$9\r\nsubscribe\r\n$6\r\nevents\r\n:1\r\n";
    link_open(f, &conf);
    for (unsigned i = 0; i < sizeof wires / sizeof *wires; i++) {
        turn_until(f, f->n_subscribed == i + 1);
        bufferevent_write(f->fake.bev, wires[i], strlen(wires[i]));
        turn_until(f, f->fake.n_connections == i + 2);
    }
    assert_int_equal(f->n_messages, 0);
}

/* ---- a real server ---- */

static struct lab *lab;
static struct redis server;

static void run_redis(const char *const *extra, const char *name, struct proc **out)
{
    const char *argv[32] = {"redis-server", "--save", "", "--appendonly", "no", "--dir", lab_dir(lab)};
    unsigned n = 7;
    while (*extra)
        argv[n++] = *extra++;
    argv[n] = NULL;
    *out = proc_start(lab, &(struct proc_conf){.name = name, .argv = argv});
    assert_non_null(*out);
}

static void answers_come_in_order(void **state)
{
    struct fix *f = *state;
    link_to(f, server.url);
    ask(f, "DEL count");
    unsigned from = f->n_answers;
    for (unsigned i = 0; i < 1000; i++)
        command(f, "INCR count");
    turn_until(f, f->n_answers == from + 1000);
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(f->answers[from + i].integer, i + 1);
}

static void push(struct fix *f, const struct redis_script *s, unsigned i)
{
    char text[12];
    int len = snprintf(text, sizeof text, "%u", i);
    redis_link_script(f->link, s, 1, 2, (const char *[]){"list", text}, (size_t[]){4, (size_t)len}, on_answer, f);
}

/* Redis forgets the scripts in the middle of a pipeline: all run all the same, once, in order. */
static void a_forgotten_script_goes_again_in_order(void **state)
{
    struct fix *f = *state;
    struct redis_script s[2];
    redis_script_init(&s[0], "return redis.call('RPUSH', KEYS[1], ARGV[1])");
    redis_script_init(&s[1], "return redis.call('RPUSH', KEYS[1], ARGV[1]) -- another");
    struct redis_link_conf conf = conf_of(f, server.url);
    conf.scripts = s;
    conf.n_scripts = 2;
    conf.deadline_ms = WAIT_MS;
    link_open(f, &conf);
    turn_until(f, redis_link_up(f->link));
    ask(f, "DEL list");
    unsigned from = f->n_answers;
    for (unsigned i = 0; i < 10; i++)
        push(f, &s[i % 2], i);
    command(f, "SCRIPT FLUSH");
    for (unsigned i = 10; i < 200; i++)
        push(f, &s[i % 2], i);
    /* while those of before are still being made good */
    turn_until(f, f->n_answers >= from + 11);
    for (unsigned i = 200; i < 300; i++)
        push(f, &s[i % 2], i);
    command(f, "LLEN list");
    turn_until(f, f->n_answers == from + 302);
    for (unsigned i = 0; i < 302; i++)
        assert_int_equal(f->answers[from + i].err, ERR_OK);
    assert_int_equal(f->answers[from + 301].integer, 300);
    for (unsigned i = 0; i < 300; i++) {
        char words[32];
        snprintf(words, sizeof words, "LINDEX list %u", i);
        assert_int_equal(atoi(ask(f, words)->text), i);
    }
}

static void a_script_that_fails_is_a_refusal(void **state)
{
    struct fix *f = *state;
    struct redis_script s;
    redis_script_init(&s, "return redis.call('NO-SUCH-COMMAND')");
    link_to(f, server.url);
    redis_link_script(f->link, &s, 0, 0, NULL, NULL, on_answer, f);
    turn_until(f, f->n_answers == 1);
    assert_int_equal(f->answers[0].err, ERR_REFUSED);
}

static void it_comes_back_when_redis_does(void **state)
{
    struct fix *f = *state;
    link_to(f, server.url);
    ask(f, "SET kept yes");
    proc_kill(server.proc);
    turn_until(f, !redis_link_up(f->link));
    assert_int_equal(ask(f, "GET kept")->err, ERR_IO);
    assert_true(redis_start(&server));
    turn_until(f, redis_link_up(f->link));
    assert_string_equal(ask(f, "GET kept")->text, "yes");
}

static void names_are_resolved_on_the_loop(void **state)
{
    struct fix *f = *state;
    char url[64];
    snprintf(url, sizeof url, "redis://localhost:%u", server.port);
    link_to(f, url);
    assert_int_equal(ask(f, "PING")->err, ERR_OK);
}

static void passwords_users_and_databases_are_used(void **state)
{
    struct fix *f = *state;
    struct proc *p;
    char sock[LAB_PATH_MAX], url[128], port[8];
    uint16_t n = port_pick();
    snprintf(port, sizeof port, "%u", n);
    lab_path(lab, sock, "auth.sock");
    run_redis((const char *[]){"--port", port, "--requirepass", "se/cret", "--user", "bob", "on", ">p@ss", "~*", "&*",
                               "+@all", "--unixsocket", sock, NULL},
              "redis-auth", &p);
    snprintf(url, sizeof url, "redis://:se%%2Fcret@127.0.0.1:%u/3", n);
    link_to(f, url);
    ask(f, "SET where three");
    redis_link_close(f->link);
    snprintf(url, sizeof url, "redis://bob:p@ss@127.0.0.1:%u/3", n);
    link_to(f, url);
    assert_string_equal(ask(f, "GET where")->text, "three");
    assert_string_equal(ask(f, "ACL WHOAMI")->text, "bob");
    redis_link_close(f->link);
    snprintf(url, sizeof url, "redis://bob:wrong@127.0.0.1:%u", n);
    struct redis_link_conf conf = conf_of(f, url);
    link_open(f, &conf);
    uint64_t end = clock_mono_ms() + 300;
    while (turn(f, end))
        assert_false(redis_link_up(f->link));
    assert_true(access(sock, F_OK) == 0);
    proc_kill(p);
}

static void a_unix_socket_will_do(void **state)
{
    struct fix *f = *state;
    struct proc *p;
    char sock[LAB_PATH_MAX], url[LAB_PATH_MAX + 8];
    lab_path(lab, sock, "redis.sock");
    run_redis((const char *[]){"--port", "0", "--unixsocket", sock, NULL}, "redis-unix", &p);
    snprintf(url, sizeof url, "unix:%s", sock);
    link_to(f, url);
    assert_int_equal(ask(f, "PING")->err, ERR_OK);
    proc_kill(p);
}

/* Managed Redis is reached over TLS, and a certificate is worth what its check is worth. */
static void tls_is_spoken_with_the_right_server_only(void **state)
{
    struct fix *f = *state;
    struct proc *p;
    char cert[LAB_PATH_MAX], key[LAB_PATH_MAX], url[64], port[8];
    uint16_t n = port_pick();
    snprintf(port, sizeof port, "%u", n);
    lab_path(lab, cert, "cert.pem");
    lab_path(lab, key, "key.pem");
    const char *make[] = {"openssl",
                          "req",
                          "-x509",
                          "-newkey",
                          "ec",
                          "-pkeyopt",
                          "ec_paramgen_curve:prime256v1",
                          "-nodes",
                          "-keyout",
                          key,
                          "-out",
                          cert,
                          "-days",
                          "2",
                          "-subj",
                          "/CN=test",
                          "-addext",
                          "subjectAltName=DNS:localhost",
                          NULL};
    assert_true(proc_run(lab, &(struct proc_conf){.name = "openssl", .argv = make}, WAIT_MS));
    run_redis((const char *[]){"--port", "0", "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key,
                               "--tls-ca-cert-file", cert, "--tls-auth-clients", "no", NULL},
              "redis-tls", &p);
    setenv("SSL_CERT_FILE", cert, 1);
    snprintf(url, sizeof url, "rediss://localhost:%u", n);
    link_to(f, url);
    assert_int_equal(ask(f, "SET x 1")->err, ERR_OK);
    redis_link_close(f->link);

    snprintf(url, sizeof url, "rediss://127.0.0.1:%u", n); /* not in the certificate */
    struct redis_link_conf conf = conf_of(f, url);
    link_open(f, &conf);
    uint64_t end = clock_mono_ms() + 300;
    while (turn(f, end))
        assert_false(redis_link_up(f->link));
    redis_link_close(f->link);

    unsetenv("SSL_CERT_FILE"); /* signed by nobody that we know */
    snprintf(url, sizeof url, "rediss://localhost:%u", n);
    link_open(f, &conf);
    end = clock_mono_ms() + 300;
    while (turn(f, end))
        assert_false(redis_link_up(f->link));
    proc_kill(p);
}

static void a_bad_url_is_refused_with_a_reason(void **state)
{
    struct fix *f = *state;
    struct redis_link_conf conf = conf_of(f, "redis://:nope");
    struct redis_link *l = NULL;
    const char *why = NULL;
    assert_int_equal(redis_link_open(&conf, &l, &why), ERR_BAD);
    assert_non_null(why);
    assert_null(l);
}

int main(void)
{
    alarm(60);
    log_set_level(LOG_ERROR);
    lab = lab_new("redis_link");
    redis_init(&server, lab);
    if (!redis_start(&server))
        return 1;
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(while_the_link_is_down_commands_fail_soon),
        CASE(a_break_answers_all_and_sends_nothing_again),
        CASE(a_late_answer_is_a_timeout_and_a_new_link),
        CASE(attempts_become_rarer),
        CASE(what_exceeds_the_bound_is_not_sent),
        CASE(closing_answers_what_is_in_flight),
        CASE(an_answer_in_single_bytes_is_whole),
        CASE(errors_of_the_command_are_refusals),
        CASE(a_server_that_is_not_ready_keeps_its_link),
        CASE(the_wrong_server_is_left),
        CASE(bytes_that_are_no_reply_break_the_link),
        CASE(a_reply_that_is_too_big_breaks_the_link),
        CASE(a_silent_subscription_is_made_anew),
        CASE(what_a_subscriber_is_never_sent_breaks_the_link),
        CASE(answers_come_in_order),
        CASE(a_forgotten_script_goes_again_in_order),
        CASE(a_script_that_fails_is_a_refusal),
        CASE(it_comes_back_when_redis_does),
        CASE(names_are_resolved_on_the_loop),
        CASE(passwords_users_and_databases_are_used),
        CASE(a_unix_socket_will_do),
        CASE(tls_is_spoken_with_the_right_server_only),
        CASE(a_bad_url_is_refused_with_a_reason),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (!failed)
        lab_passed(lab);
    lab_free(lab);
    metrics_free();
    return failed;
}
