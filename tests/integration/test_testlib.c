/* The tests' own tools: what a test relies on when it says that something happened, or did not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <libpq-fe.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/bot.h"
#include "tests/lib/probe.h"
#include "tests/lib/services.h"
#include "tests/lib/tcp_proxy.h"

static void an_exit_code_and_a_log_come_back(void **state)
{
    struct lab *l = lab_new("testlib");
    const char *argv[] = {"sh", "-c", "echo $GREETING; echo oops >&2; exit 7", NULL};
    const char *env[] = {"GREETING=hello there", NULL};
    int status;
    (void)state;
    struct proc *p = proc_start(l, &(struct proc_conf){.name = "sh", .argv = argv, .env = env});
    assert_true(proc_wait(p, 5000, &status));
    assert_int_equal(WEXITSTATUS(status), 7);
    assert_true(proc_log_has(p, "hello there"));
    assert_true(proc_log_has(p, "oops"));
    lab_passed(l);
    lab_free(l);
}

static void a_lab_leaves_no_process_and_no_file(void **state)
{
    struct lab *l = lab_new("testlib");
    const char *argv[] = {"sleep", "1000", NULL};
    char dir[LAB_PATH_MAX];
    (void)state;
    snprintf(dir, sizeof dir, "%s", lab_dir(l));
    pid_t pid = proc_pid(proc_start(l, &(struct proc_conf){.name = "sleep", .argv = argv}));
    lab_passed(l);
    lab_free(l);
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(access(dir, F_OK), -1);
}

/* A test that was killed must not leave servers behind. */
static void programs_die_with_the_test(void **state)
{
    struct lab *l = lab_new("testlib");
    int pipes[2];
    pid_t grandchild = 0;
    (void)state;
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    if (child == 0) {
        const char *argv[] = {"sleep", "1000", NULL};
        pid_t pid = proc_pid(proc_start(l, &(struct proc_conf){.name = "sleep", .argv = argv}));
        if (write(pipes[1], &pid, sizeof pid) != sizeof pid)
            _exit(1);
        raise(SIGKILL);
    }
    close(pipes[1]);
    assert_int_equal(read(pipes[0], &grandchild, sizeof grandchild), sizeof grandchild);
    assert_int_equal(waitpid(child, NULL, 0), child);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)grandchild);
    for (int i = 0; i < 500; i++) { /* dead, or a zombie that its new parent has not reaped yet */
        FILE *f = fopen(path, "r");
        char is = 'Z';
        if (f && fscanf(f, "%*d %*s %c", &is) != 1)
            is = 'Z';
        if (f)
            fclose(f);
        if (is == 'Z') {
            lab_passed(l);
            break;
        }
        usleep(10000);
        assert_int_not_equal(i, 499);
    }
    close(pipes[0]);
    lab_free(l);
}

static void redis_keeps_what_it_answered_over_a_kill(void **state)
{
    struct lab *l = lab_new("testlib");
    struct redis r;
    (void)state;
    redis_init(&r, l);
    assert_true(redis_start(&r));
    free(redis_ask(r.port, "SET %s %s", "a", "kept"));
    proc_kill(r.proc);
    assert_true(redis_start(&r));
    char *a = redis_ask(r.port, "GET a");
    assert_string_equal(a, "kept");
    free(a);
    proc_kill(r.proc);
    assert_true(redis_wipe(&r));
    assert_true(redis_start(&r));
    a = redis_ask(r.port, "GET a");
    assert_string_equal(a, "");
    free(a);
    lab_passed(l);
    lab_free(l);
}

static void postgres_keeps_what_it_committed_over_a_kill(void **state)
{
    struct lab *l = lab_new("testlib");
    struct postgres p;
    (void)state;
    assert_true(postgres_init(&p, l));
    assert_true(postgres_start(&p));
    PGconn *c = PQconnectdb(p.url);
    PGresult *made = PQexec(c, "create table t as select 42 as n");
    assert_int_equal(PQresultStatus(made), PGRES_COMMAND_OK);
    PQclear(made);
    PQfinish(c);
    proc_kill(p.proc);
    assert_true(postgres_start(&p));
    c = PQconnectdb(p.url);
    PGresult *got = PQexec(c, "select n from t");
    assert_string_equal(PQgetvalue(got, 0, 0), "42");
    PQclear(got);
    PQfinish(c);
    lab_passed(l);
    lab_free(l);
}

static void metrics_are_summed_over_their_labels(void **state)
{
    const char *text =
        "# HELP a_total x\na_total{reason=\"full\"} 3\na_total{reason=\"old\"} 4\na_total_more 9\nb 0.5\n";
    double v = -1;
    (void)state;
    assert_true(metric_find(text, "a_total", "", &v) && v == 7);
    assert_true(metric_find(text, "a_total", "full", &v) && v == 3);
    assert_true(metric_find(text, "b", "", &v) && v == 0.5);
    assert_false(metric_find(text, "a", "", &v));
    assert_true(json_number("{\"x\": {\"players\": 12}}", "players", &v) && v == 12);
    assert_false(json_number("{\"players\": \"12\"}", "players", &v));
}

/* ---- a server of lines, to try the bot and the wire on ---- */

struct line_server {
    struct event_base *base;
    struct evconnlistener *listener;
    struct bufferevent *bev;
    struct evbuffer *got;
    uint16_t port;
};

static void on_server_read(struct bufferevent *bev, void *arg)
{
    struct line_server *s = arg;
    bufferevent_read_buffer(bev, s->got);
}

static void on_server_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *a, int len, void *arg)
{
    struct line_server *s = arg;
    (void)l, (void)a, (void)len;
    if (s->bev)
        bufferevent_free(s->bev);
    s->bev = bufferevent_socket_new(s->base, fd, BEV_OPT_CLOSE_ON_FREE);
    bufferevent_setcb(s->bev, on_server_read, NULL, NULL, s);
    bufferevent_enable(s->bev, EV_READ | EV_WRITE);
}

static int server_up(void **state)
{
    struct line_server *s = calloc(1, sizeof *s);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    s->base = event_base_new();
    s->got = evbuffer_new();
    s->listener = evconnlistener_new_bind(s->base, on_server_accept, s, LEV_OPT_CLOSE_ON_FREE, -1,
                                          (struct sockaddr *)&a, sizeof a);
    getsockname(evconnlistener_get_fd(s->listener), (struct sockaddr *)&a, &len);
    s->port = ntohs(a.sin_port);
    *state = s;
    return 0;
}

static int server_down(void **state)
{
    struct line_server *s = *state;
    if (s->bev)
        bufferevent_free(s->bev);
    evconnlistener_free(s->listener);
    evbuffer_free(s->got);
    event_base_free(s->base);
    free(s);
    return 0;
}

struct wanted {
    struct line_server *server;
    struct bot *bot;
    const char *text;
    char letter;
};

static bool server_has(void *arg)
{
    struct wanted *w = arg;
    return evbuffer_search(w->server->got, w->text, strlen(w->text), NULL).pos >= 0;
}

static bool bot_has_line(void *arg)
{
    struct wanted *w = arg;
    return bot_lines(w->bot, w->letter) > 0;
}

static bool bot_is_gone(void *arg)
{
    struct wanted *w = arg;
    return bot_gone(w->bot) != NULL;
}

static void tell(struct line_server *s, const char *lines)
{
    bufferevent_write(s->bev, lines, strlen(lines));
}

static void a_bot_asks_for_its_view_and_remembers_what_it_is_told(void **state)
{
    struct line_server *s = *state;
    struct bot *b = bot_new(&(struct bot_conf){.base = s->base, .port = s->port, .view = 1, .remember = true});
    struct wanted w = {.server = s, .bot = b, .text = "V,1\nA,,\n"};
    assert_true(loop_until(s->base, server_has, &w, 5000, "V and A"));
    tell(s, "U,7,40.00,10.00,-1.00,0.00,0.00\nB,1,-1,40,10,-1,3\nL,1,-1,40,10,-1,15\nS,1,-1,40,10,-1,2,a,b\n"
            "K,1,-1,9\nP,8,1.00,2.00,3.00,0.50,0.25\nN,8,ann\nT,hi\nC,1,-1\n");
    w.letter = 'C';
    assert_true(loop_until(s->base, bot_has_line, &w, 5000, "C"));
    w.text = "C,2,0,0\n"; /* the last of the 3x3 around chunk 1,-1 */
    assert_true(loop_until(s->base, server_has, &w, 5000, "its view"));
    struct chunk_pos at = {1, -1};
    struct place p;
    assert_int_equal(bot_id(b), 7);
    assert_int_equal(bot_sees_block(b, at, 40, 10, -1), 3);
    assert_int_equal(bot_sees_block(b, at, 40, 11, -1), INT_MIN);
    assert_int_equal(bot_sees_light(b, 40, 10, -1), 15);
    assert_string_equal(bot_sees_sign(b, 40, 10, -1, 2), "a,b");
    assert_int_equal(bot_key(b, at), 9);
    assert_true(bot_holds(b, at));
    assert_int_equal(bot_unanswered(b), 8);
    assert_true(bot_sees_player(b, 8, &p) && p.z == 3);
    assert_string_equal(bot_name_of(b, 8), "ann");
    assert_true(bot_heard(b, "hi"));
    bot_free(b);
}

/* A wire that passes three bytes at a time, 20 ms late, and is then cut. */
static void a_bad_wire_tears_and_lags_but_keeps_order_until_it_is_cut(void **state)
{
    struct line_server *s = *state;
    struct tcp_proxy *x = tcp_proxy_new(s->base, s->port);
    tcp_proxy_lag(x, 20);
    tcp_proxy_tear(x, 3);
    struct bot *b =
        bot_new(&(struct bot_conf){.base = s->base, .port = tcp_proxy_port(x), .view = -1, .remember = true});
    struct wanted w = {.server = s, .bot = b, .text = "V,1\nA,,\nT,the whole of it\n", .letter = 'T'};
    bot_send(b, "T,the whole of it");
    assert_true(loop_until(s->base, server_has, &w, 5000, "all that was sent"));
    tell(s, "B,0,0,1,2,3,4\nT,torn\n");
    assert_true(loop_until(s->base, bot_has_line, &w, 5000, "all that was told"));
    assert_int_equal(bot_sees_block(b, (struct chunk_pos){0, 0}, 1, 2, 3), 4);
    assert_true(bot_heard(b, "torn"));
    tcp_proxy_cut(x);
    assert_true(loop_until(s->base, bot_is_gone, &w, 5000, "the cut"));
    bot_free(b);
    tcp_proxy_free(x);
}

int main(void)
{
    alarm(60);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_exit_code_and_a_log_come_back),
        cmocka_unit_test(a_lab_leaves_no_process_and_no_file),
        cmocka_unit_test(programs_die_with_the_test),
        cmocka_unit_test(redis_keeps_what_it_answered_over_a_kill),
        cmocka_unit_test(postgres_keeps_what_it_committed_over_a_kill),
        cmocka_unit_test(metrics_are_summed_over_their_labels),
        cmocka_unit_test_setup_teardown(a_bot_asks_for_its_view_and_remembers_what_it_is_told, server_up, server_down),
        cmocka_unit_test_setup_teardown(a_bad_wire_tears_and_lags_but_keeps_order_until_it_is_cut, server_up,
                                        server_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
