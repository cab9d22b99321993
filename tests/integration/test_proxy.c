/* Gateways behind a real load balancer that speaks the PROXY protocol: HAProxy, in the roles that an NLB has.
 *
 *   "edge"   checks with the header on the players' port       players --> edge --> gateway0, gateway1
 *   "nlb"    checks /readyz on the admin port, with the header players --> nlb --> gateway0, gateway1
 *   "outer"  passes on to "inner", both send headers           players --> outer --> inner --> gateways
 *
 * Each connects from a loopback address of its own, so that the gateways' logs tell whose address they believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/party.h"
#include "tests/lib/probe.h"

#define HAPROXY "/usr/sbin/haproxy"

enum { GATEWAYS = 2, STOP_MS = 6000, WAIT_MS = 10000 };

struct place_to_meet {
    struct party *party;
    struct proc *haproxy;
    uint16_t edge, nlb, outer;
};

/* Of the cluster's gateways all share a port; here each has its own, as pods have addresses. */
static struct member *add_gateway(struct cluster *c)
{
    struct member *m = &c->gateway[c->n_gateways];
    *m = (struct member){.cluster = c, .gateway = true, .admin_port = port_pick(), .listen_port = port_pick()};
    snprintf(m->name, sizeof m->name, "gateway%u", c->n_gateways++);
    return member_start(m) ? m : NULL;
}

static void write_listen(FILE *f, const char *name, uint16_t port, const char *check, const char *source)
{
    fprintf(f, "listen %s\n  bind 127.0.0.1:%u\n  source %s\n%s", name, port, source, check);
}

static void write_servers(FILE *f, struct cluster *c, bool http)
{
    for (unsigned i = 0; i < GATEWAYS; i++) {
        fprintf(f, "  server g%u 127.0.0.1:%u send-proxy-v2 proxy-v2-options crc32c,unique-id check", i,
                c->gateway[i].listen_port);
        if (http)
            fprintf(f, " check-send-proxy port %u inter 100 fall 2 rise 1\n", c->gateway[i].admin_port);
        else
            fprintf(f, " check-send-proxy inter 200\n");
    }
}

static bool start_haproxy(struct place_to_meet *w)
{
    struct cluster *c = w->party->cluster;
    char path[LAB_PATH_MAX];
    uint16_t inner = port_pick();
    w->edge = port_pick();
    w->nlb = port_pick();
    w->outer = port_pick();
    FILE *f = fopen(lab_path(c->lab, path, "haproxy.cfg"), "w");
    assert_non_null(f);
    fprintf(f, "global\n  maxconn 200\ndefaults\n  mode tcp\n  timeout connect 2s\n  timeout client 60s\n"
               "  timeout server 60s\n  timeout check 5s\n  unique-id-format %%{+X}o%%ci:%%cp\n");
    write_listen(f, "edge", w->edge, "", "127.0.0.2");
    write_servers(f, c, false);
    write_listen(f, "nlb", w->nlb, "  option httpchk GET /readyz\n", "127.0.0.3");
    write_servers(f, c, true);
    write_listen(f, "inner", inner, "", "127.0.0.4");
    write_servers(f, c, false);
    write_listen(f, "outer", w->outer, "", "127.0.0.5");
    fprintf(f, "  server inner 127.0.0.1:%u send-proxy-v2 check check-send-proxy inter 100\n", inner);
    assert_int_equal(fclose(f), 0);
    const char *argv[] = {HAPROXY, "-db", "-f", path, NULL};
    w->haproxy = proc_start(c->lab, &(struct proc_conf){.name = "haproxy", .argv = argv});
    return w->haproxy != NULL;
}

static bool passes(void *port)
{
    return port_open(*(uint16_t *)port);
}

static int up(void **state)
{
    char stop_ms[16];
    snprintf(stop_ms, sizeof stop_ms, "%d", STOP_MS);
    struct cluster_conf conf = {.nodes = 1,
                                .gateway_args = {"--proxy-protocol", "--proxy-headers", "2", "--stop-ms", stop_ms}};
    struct place_to_meet *w = calloc(1, sizeof *w);
    *state = w;
    w->party = party_new("proxy", &conf);
    if (!w->party)
        return -1;
    for (unsigned i = 0; i < GATEWAYS; i++) {
        struct member *m = add_gateway(w->party->cluster);
        if (!m || !member_wait_ready(m, CLUSTER_READY_MS))
            return -1;
    }
    return start_haproxy(w) && until(passes, &w->outer, WAIT_MS, "HAProxy to listen") ? 0 : -1;
}

static int down(void **state)
{
    struct place_to_meet *w = *state;
    party_free(w->party);
    free(w);
    return 0;
}

static struct bot *join_at(struct place_to_meet *w, uint16_t port)
{
    w->party->cluster->port = port;
    struct bot *b = party_join(w->party, "", 1);
    assert_non_null(b);
    assert_true(party_move(w->party, b, 10, 130, 10));
    return b;
}

static double sum(struct place_to_meet *w, const char *metric)
{
    double all = 0;
    for (unsigned i = 0; i < GATEWAYS; i++)
        all += member_metric_or(&w->party->cluster->gateway[i], metric, 0);
    return all;
}

static double players_on(struct place_to_meet *w, unsigned gateway)
{
    return member_status_number(&w->party->cluster->gateway[gateway], "players", -1);
}

static bool logged(struct place_to_meet *w, const char *text)
{
    for (unsigned i = 0; i < GATEWAYS; i++)
        if (proc_log_has(w->party->cluster->gateway[i].proc, text))
            return true;
    return false;
}

struct count_wait {
    struct place_to_meet *w;
    const char *metric;
    double least;
};

static bool counted(void *arg)
{
    struct count_wait *c = arg;
    return sum(c->w, c->metric) >= c->least;
}

static void players_come_through_it_under_their_own_address(void **state)
{
    struct place_to_meet *w = *state;
    struct bot *a = join_at(w, w->edge), *b = join_at(w, w->edge); /* dealt to both gateways in turn */
    assert_true(players_on(w, 0) == 1 && players_on(w, 1) == 1);
    bot_block(a, 5, 150, 5, 3);
    assert_true(party_block(w->party, b, 5, 150, 5, 3));
    bot_send(b, "T,seen through the proxy");
    assert_true(party_hears(w->party, a, "seen through the proxy"));
    assert_true(logged(w, "from=127.0.0.1:"));
    assert_false(logged(w, "from=127.0.0.2:"));
    assert_true(party_passed(w->party));
}

static void health_checks_are_neither_players_nor_errors(void **state)
{
    struct place_to_meet *w = *state;
    struct count_wait checks = {w, "spotcraft_proxy_checks_total", sum(w, "spotcraft_proxy_checks_total") + 20};
    assert_true(until(counted, &checks, WAIT_MS, "twenty health checks"));
    assert_true(players_on(w, 0) == 0 && players_on(w, 1) == 0);
    assert_true(sum(w, "spotcraft_players_accepted_total") == 0);
    assert_true(sum(w, "spotcraft_players_refused_total") == 0);
    assert_false(logged(w, "session_new"));
    assert_false(logged(w, "player_refused"));
    join_at(w, w->edge); /* HAProxy thinks well of the gateways */
    assert_true(party_passed(w->party));
}

static void who_goes_around_the_proxy_is_refused(void **state)
{
    struct place_to_meet *w = *state;
    struct bot *good = join_at(w, w->edge);
    uint16_t port = w->party->cluster->gateway[0].listen_port;
    struct bot *direct =
        bot_new(&(struct bot_conf){.base = w->party->base, .port = port, .view = -1, .remember = true});
    for (int k = 0; k < 1000 && !bot_gone(direct); k++)
        loop_for(w->party->base, 5);
    assert_non_null(bot_gone(direct));
    assert_true(bot_heard(direct, "This server is reached another way."));
    assert_false(bot_joined(direct));
    bot_free(direct);
    assert_true(sum(w, "spotcraft_players_refused_total") == 1);
    assert_true(logged(w, "player_refused why=\"no PROXY header\" from=127.0.0.1:"));
    assert_true(party_move(w->party, good, 11, 130, 11));
    assert_true(party_passed(w->party));
}

/* Both put a header in front; the player's is the last. */
static void a_player_behind_two_proxies_keeps_the_address(void **state)
{
    struct place_to_meet *w = *state;
    join_at(w, w->outer);
    assert_true(logged(w, "from=127.0.0.1:"));
    assert_false(logged(w, "from=127.0.0.4:")); /* inner's own */
    assert_false(logged(w, "from=127.0.0.5:")); /* outer's, as inner told it */
    assert_true(party_passed(w->party));
}

static bool refuses(void *port)
{
    return http_get(*(uint16_t *)port, "/readyz", NULL) == 503;
}

static bool marked_down(void *arg)
{
    return proc_log_has(((struct place_to_meet *)arg)->haproxy, "Server nlb/g0 is DOWN");
}

static bool one_is_told(void *arg)
{
    struct bot **two = arg;
    return bot_heard(two[0], "goes away") || bot_heard(two[1], "goes away");
}

static bool one_is_gone(void *arg)
{
    struct bot **two = arg;
    return bot_gone(two[0]) || bot_gone(two[1]);
}

/* What a load balancer sees of a gateway that is told to go: it is not ready at once, and gets no new player once that
 * is noticed; those whom it is sent until then are served; who is there plays on, is told, and is closed at the end. */
static void a_gateway_that_goes_keeps_its_players_and_gets_no_new_ones(void **state)
{
    struct place_to_meet *w = *state;
    struct party *p = w->party;
    struct member *g = &p->cluster->gateway[0];
    struct bot *early[] = {join_at(w, w->edge), join_at(w, w->edge)};
    assert_true(players_on(w, 0) == 1 && players_on(w, 1) == 1);
    proc_signal(g->proc, SIGTERM);
    assert_true(until(refuses, &g->admin_port, 1000, "the gateway to be not ready"));
    struct bot *late[] = {join_at(w, w->edge), join_at(w, w->edge)}; /* this one looks at the port, and sends on */
    assert_true(players_on(w, 0) == 2);
    bot_block(early[0], 6, 150, 6, 4);
    bot_block(early[1], 7, 150, 7, 5);
    assert_true(party_block(p, early[1], 6, 150, 6, 4));
    assert_true(party_block(p, early[0], 7, 150, 7, 5));
    assert_true(party_until(p, one_is_told, early, "a word about the end"));
    assert_true(until(marked_down, w, WAIT_MS, "HAProxy to see it"));
    struct bot *next[] = {join_at(w, w->nlb), join_at(w, w->nlb)};
    assert_true(players_on(w, 0) == 2 && players_on(w, 1) == 4);
    int status = -1;
    assert_true(proc_wait(g->proc, STOP_MS + 3000, &status));
    assert_int_equal(status, 0);
    assert_true(party_until(p, one_is_gone, early, "the end of a player's connection"));
    assert_true(party_until(p, one_is_gone, late, "the end of a player's connection"));
    party_forget(p, early[bot_gone(early[0]) ? 0 : 1]);
    party_forget(p, late[bot_gone(late[0]) ? 0 : 1]);
    bot_block(next[0], 8, 150, 8, 6);
    assert_true(party_block(p, next[1], 8, 150, 8, 6));
    assert_true(party_passed(p)); /* nobody else noticed */
}

int main(void)
{
    alarm(180);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(players_come_through_it_under_their_own_address, up, down),
        cmocka_unit_test_setup_teardown(health_checks_are_neither_players_nor_errors, up, down),
        cmocka_unit_test_setup_teardown(who_goes_around_the_proxy_is_refused, up, down),
        cmocka_unit_test_setup_teardown(a_player_behind_two_proxies_keeps_the_address, up, down),
        cmocka_unit_test_setup_teardown(a_gateway_that_goes_keeps_its_players_and_gets_no_new_ones, up, down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
