/* The story of a rehearsal: what is read back from its file, what is made of it, and that nothing in it breaks the
 * page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ops/report/chart.h"
#include "ops/report/outcome.h"
#include "ops/report/page.h"
#include "ops/report/print.h"
#include "ops/report/tail.h"
#include "ops/report/timeline.h"

struct story {
    char path[64];
    struct timeline l;
    struct outcomes o;
    bool read;
};

static int up(void **state)
{
    static struct story s;
    memset(&s, 0, sizeof s);
    snprintf(s.path, sizeof s.path, "/tmp/spotcraft-test-report-%d", (int)getpid());
    *state = &s;
    return 0;
}

static int down(void **state)
{
    struct story *s = *state;
    if (s->read)
        outcomes_free(&s->o);
    timeline_free(&s->l);
    unlink(s->path);
    return 0;
}

static bool try_read(struct story *s, const char *text, char why[256])
{
    FILE *f = fopen(s->path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    timeline_free(&s->l);
    return timeline_read(s->path, &s->l, why, 256);
}

static void read_story(struct story *s, const char *text)
{
    char why[256] = "";
    if (s->read)
        outcomes_free(&s->o);
    if (!try_read(s, text, why))
        fail_msg("%s", why);
    outcomes_of(&s->l, &s->o);
    s->read = true;
}

static bool has(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

#define START                                                                                                          \
    "{\"t\":1000,\"kind\":\"start\",\"title\":\"a day\",\"command\":\"do\",\"seed\":7,\"bots\":10,\"speed\":10}\n"
#define NODE(t, name, state, cells)                                                                                    \
    "{\"t\":" #t ",\"kind\":\"node\",\"name\":\"" name "\",\"state\":\"" state                                         \
    "\",\"pool\":\"a/b/spot\",\"cells\":" #cells ",\"players\":1,\"load\":1}\n"
#define ITN                                                                                                            \
    "{\"t\":3000,\"kind\":\"event\",\"id\":1,\"what\":\"itn\",\"deadline_ms\":15000,\"text\":\"\",\"nodes\":["         \
    "\"node1\"]}\n"
#define LEAVES                                                                                                         \
    "{\"t\":3500,\"kind\":\"state\",\"name\":\"node1\",\"from\":\"running\",\"to\":\"leaving\",\"why\":\"x\","         \
    "\"cells\":2}\n"
#define FREEZE(t, us) "{\"t\":" #t ",\"kind\":\"freeze\",\"name\":\"node1\",\"us\":" #us "}\n"
#define ENDED(t, how) "{\"t\":" #t ",\"kind\":\"ended\",\"name\":\"node1\",\"stopped\":" how "}\n"
#define VERDICT(lost)                                                                                                  \
    "{\"t\":21000,\"kind\":\"verdict\",\"bots\":10,\"edits\":1234,\"edit_seen_p50_ms\":1.25,\"edit_seen_p99_ms\":9.5," \
    "\"edit_seen_max_ms\":1500.0,\"disconnects\":0,\"refused\":0,\"lost\":" #lost                                      \
    ",\"unseen\":0,\"doubled\":0,\"disordered\":0,\"wrong_mirrors\":0}\n"
#define END "{\"t\":20000,\"kind\":\"end\"}\n"

/* ---- what is made of it ---- */

static void a_node_that_leaves_in_time_is_good(void **state)
{
    struct story *s = *state;
    char text[256];
    read_story(s, START NODE(2000, "node1", "running", 2) ITN LEAVES FREEZE(3600, 1500) FREEZE(3700, 2500)
                      ENDED(4000, "true") END VERDICT(0));
    assert_int_equal(s->o.n, 1);
    const struct outcome *o = &s->o.all[0];
    assert_true(o->good && s->o.good && s->o.measured);
    assert_int_equal(o->noticed_ms, 500);
    assert_int_equal(o->ended_ms, 1000);
    assert_int_equal(o->spare_ms, 11000);
    assert_int_equal(o->cells, 2);
    assert_int_equal(o->freeze.n, 2);
    assert_true(o->freeze.p50_ms == 1.5 && o->freeze.max_ms == 2.5);
    assert_string_equal(outcome_text(&s->l, o, text, sizeof text),
                        "gave 2 cells away and left after 1.0 s, 11.0 s before its deadline; longest freeze 2.5 ms");
    assert_true(has(s->o.sentence, "1 machine was taken away"));
    assert_true(has(s->o.sentence, "of 10 players none was disconnected"));
}

static void a_node_that_is_killed_at_its_deadline_is_not(void **state)
{
    struct story *s = *state;
    read_story(s, START NODE(2000, "node1", "running", 2) ITN LEAVES
               "{\"t\":15000,\"kind\":\"killed\",\"name\":\"node1\"}\n" ENDED(15010, "false") END VERDICT(0));
    assert_false(s->o.all[0].good);
    assert_false(s->o.good);
    assert_int_equal(s->o.late, 1);
    assert_true(has(s->o.sentence, "1 machine did not leave in time"));
}

static void one_lost_edit_makes_the_day_bad(void **state)
{
    struct story *s = *state;
    read_story(s, START NODE(2000, "node1", "running", 2) ITN LEAVES ENDED(4000, "true") END VERDICT(1));
    assert_true(s->o.all[0].good);
    assert_false(s->o.good);
    assert_true(has(s->o.sentence, "1 edit was lost"));
}

/* Players who never said what became of their edits are no good sign. */
static void players_without_a_verdict_make_it_bad(void **state)
{
    struct story *s = *state;
    read_story(s, START NODE(2000, "node1", "running", 2) END);
    assert_false(s->o.good);
    assert_true(has(s->o.sentence, "could not say"));
}

static void a_node_that_ends_by_itself_makes_it_bad(void **state)
{
    struct story *s = *state;
    read_story(s, START NODE(2000, "node1", "running", 2) ENDED(4000, "false") END VERDICT(0));
    assert_int_equal(s->o.by_itself, 1);
    assert_false(s->o.good);
    read_story(
        s,
        START NODE(
            2000, "node1", "running",
            2) "{\"t\":3000,\"kind\":\"event\",\"id\":1,\"what\":\"kill\",\"nodes\":[\"node1\"]}\n" ENDED(3010, "false")
            END VERDICT(0));
    assert_true(s->o.good);
    assert_int_equal(s->o.killed, 1);
}

static void a_hint_that_is_not_heeded_is_bad_unless_something_followed(void **state)
{
    static const char hint[] =
        START NODE(2000, "node1", "running",
                   2) "{\"t\":3000,\"kind\":\"event\",\"id\":1,\"what\":\"rebalance\",\"nodes\":[\"node1\"]}\n";
    struct story *s = *state;
    char text[1024];
    snprintf(text, sizeof text, "%s%s", hint, END VERDICT(0));
    read_story(s, text);
    assert_false(s->o.good);
    snprintf(text, sizeof text, "%s%s", hint,
             "{\"t\":4000,\"kind\":\"event\",\"id\":2,\"what\":\"kill\",\"nodes\":[\"node1\"]}\n" ENDED(4010, "false")
                 END VERDICT(0));
    read_story(s, text);
    assert_true(s->o.good);
    snprintf(text, sizeof text, "%s%s", hint,
             "{\"t\":3900,\"kind\":\"state\",\"name\":\"node1\",\"to\":\"at_risk\"}\n" END VERDICT(0));
    read_story(s, text);
    assert_true(s->o.good);
    assert_int_equal(s->o.all[0].noticed_ms, 900);
}

#define REBALANCE                                                                                                      \
    "{\"t\":3000,\"kind\":\"event\",\"id\":1,\"what\":\"rebalance\",\"nodes\":[\"node1\"]}\n"                          \
    "{\"t\":3900,\"kind\":\"state\",\"name\":\"node1\",\"to\":\"at_risk\"}\n"
#define WITHDRAWN(t) "{\"t\":" #t ",\"kind\":\"withdrawn\",\"name\":\"node1\",\"what\":\"rebalance\"}\n"
#define RUNS(t)      "{\"t\":" #t ",\"kind\":\"state\",\"name\":\"node1\",\"from\":\"at_risk\",\"to\":\"running\"}\n"

static void a_node_that_stays_at_risk_for_nothing_is_bad(void **state)
{
    struct story *s = *state;
    char text[256];
    read_story(s, START NODE(2000, "node1", "running", 2) REBALANCE WITHDRAWN(9000) RUNS(10500) END VERDICT(0));
    assert_true(s->o.good);
    assert_int_equal(s->o.all[0].back_ms, 1500);
    assert_true(has(outcome_text(&s->l, &s->o.all[0], text, sizeof text), "ran again 1.5 s after it was withdrawn"));
    read_story(s, START NODE(2000, "node1", "running", 2) REBALANCE WITHDRAWN(9000) END VERDICT(0));
    assert_false(s->o.good);
    assert_int_equal(s->o.at_risk, 1);
    assert_true(has(s->o.sentence, "1 machine stayed at risk for nothing"));
    assert_true(has(outcome_text(&s->l, &s->o.all[0], text, sizeof text), "did not run again"));
    /* flapping: running in between is not enough */
    read_story(s,
               START NODE(2000, "node1", "running", 2) REBALANCE WITHDRAWN(5000)
                   RUNS(5500) "{\"t\":7000,\"kind\":\"state\",\"name\":\"node1\",\"to\":\"at_risk\"}\n" WITHDRAWN(9000)
                       END VERDICT(0));
    assert_false(s->o.good);
    /* no time to see it: the rehearsal ended, or the service that would tell it broke down */
    read_story(s, START NODE(2000, "node1", "running", 2) REBALANCE WITHDRAWN(15500) END VERDICT(0));
    assert_true(s->o.good);
    read_story(s, START NODE(2000, "node1", "running", 2) REBALANCE WITHDRAWN(
                      9000) "{\"t\":12000,\"kind\":\"event\",\"id\":2,\"what\":\"fault\",\"nodes\":[\"node1\"]}\n" END
                      VERDICT(0));
    assert_true(s->o.good);
}

#define HANGS     "{\"t\":3000,\"kind\":\"event\",\"id\":1,\"what\":\"freeze\",\"nodes\":[\"node1\"]}\n"
#define THAWED(t) "{\"t\":" #t ",\"kind\":\"thawed\",\"name\":\"node1\"}\n"
#define SILENT(t) "{\"t\":" #t ",\"kind\":\"silent\",\"name\":\"node1\"}\n"

static void a_node_that_hung_must_have_hung_and_serve_again(void **state)
{
    struct story *s = *state;
    read_story(s, START NODE(2000, "node1", "running", 2) HANGS SILENT(4000) THAWED(9000)
                      NODE(9500, "node1", "running", 2) END VERDICT(0));
    assert_true(s->o.good);
    assert_int_equal(s->o.hung, 1);
    read_story(s, START NODE(2000, "node1", "running", 2) HANGS SILENT(4000) THAWED(9000) SILENT(9500) SILENT(19000)
                      END VERDICT(0));
    assert_false(s->o.good);
    assert_true(has(s->o.sentence, "1 machine that hung did not serve again"));
    /* it was never made to hang */
    read_story(s, START NODE(2000, "node1", "running", 2) HANGS NODE(9500, "node1", "running", 2) END VERDICT(0));
    assert_false(s->o.good);
}

/* Between its deadline and the kill there may be a moment. */
static void a_node_that_leaves_late_is_told_so(void **state)
{
    struct story *s = *state;
    char text[256];
    read_story(s, START NODE(2000, "node1", "running", 2) ITN LEAVES FREEZE(3600, 1500) ENDED(15500, "true")
                      END VERDICT(0));
    assert_false(s->o.good);
    assert_int_equal(s->o.all[0].late_ms, 500);
    assert_int_equal(s->o.all[0].spare_ms, -1);
    assert_string_equal(outcome_text(&s->l, &s->o.all[0], text, sizeof text),
                        "gave 1 of 2 cells away and left in order, but 0.5 s after its deadline");
}

/* A long day has more machines than anybody thought of. */
static void any_number_of_machines_may_come_and_go(void **state)
{
    struct story *s = *state;
    char *text;
    size_t len;
    FILE *f = open_memstream(&text, &len);
    fputs(START, f);
    for (unsigned k = 0; k < 3000; k++)
        fprintf(f,
                "{\"t\":%u,\"kind\":\"node\",\"name\":\"node%u\",\"state\":\"running\",\"cells\":2}\n"
                "{\"t\":%u,\"kind\":\"event\",\"id\":%u,\"what\":\"kill\",\"nodes\":[\"node%u\"]}\n"
                "{\"t\":%u,\"kind\":\"ended\",\"name\":\"node%u\",\"stopped\":false}\n",
                2000 + k, k, 2001 + k, k, k, 2002 + k, k);
    fputs(END VERDICT(0), f);
    fclose(f);
    read_story(s, text);
    free(text);
    assert_int_equal(s->l.n_nodes, 3000);
    assert_true(s->o.good);
    assert_int_equal(s->o.killed, 3000);
}

/* From the moment that the metadata told it, not from when we said so. */
static void the_time_from_reading_to_leaving_is_known(void **state)
{
    struct story *s = *state;
    read_story(
        s, START NODE(2000, "node1", "running", 2) ITN LEAVES ENDED(4000, "true") END VERDICT(
               0) "{\"t\":22000,\"kind\":\"imds\",\"control\":{\"instances\":[{\"name\":\"node0\",\"notices\":[]},"
                  "{\"name\":\"node1\",\"notices\":[{\"what\":\"itn\",\"set_ms\":3000,\"first_read_ms\":3480}]}]}}\n");
    assert_int_equal(s->o.all[0].read_ms, 20);
}

static void what_others_claim_after_a_kill_is_counted(void **state)
{
    struct story *s = *state;
    read_story(s,
               START NODE(2000, "node0", "running", 2)
                   NODE(2001, "node1", "running",
                        2) "{\"t\":3000,\"kind\":\"event\",\"id\":1,\"what\":\"kill\",\"nodes\":[\"node1\"]}"
                           "\n" ENDED(3010, "false") "{\"t\":3200,\"kind\":\"claim\",\"name\":\"node0\",\"us\":42000}\n"
                                                     "{\"t\":3300,\"kind\":\"claim\",\"name\":\"node0\",\"us\":7000}\n"
                                                     "{\"t\":19000,\"kind\":\"claim\",\"name\":\"node0\",\"us\":900000}"
                                                     "\n" END VERDICT(0));
    assert_int_equal(s->o.all[0].taken_over, 2);
    assert_true(s->o.all[0].claim_max_ms == 42);
    assert_int_equal(s->o.claim.n, 3);
}

static void percentiles_are_the_nearest_rank(void **state)
{
    uint32_t us[100];
    (void)state;
    for (unsigned k = 0; k < 100; k++)
        us[k] = (100 - k) * 1000;
    struct spread s = spread_of(us, 100);
    assert_int_equal(s.n, 100);
    assert_true(s.p50_ms == 50 && s.p99_ms == 99 && s.max_ms == 100);
    s = spread_of(us, 1);
    assert_true(s.p50_ms == 1 && s.max_ms == 1);
    assert_int_equal(spread_of(us, 0).n, 0);
}

/* ---- what is read ---- */

static void nodes_that_did_not_meet_share_a_lane(void **state)
{
    struct story *s = *state;
    read_story(s, START NODE(2000, "node1", "running", 2) NODE(2001, "node2", "running", 2) ENDED(4000, "true")
                      NODE(5000, "node3", "running", 2) NODE(5001, "node4", "running", 2) END);
    assert_int_equal(s->l.n_lanes, 3);
    assert_int_equal(s->l.nodes[2].lane, s->l.nodes[0].lane);
    assert_int_equal(s->l.nodes[3].lane, 2);
}

static void a_sample_is_found_by_time_and_not_for_ever(void **state)
{
    struct story *s = *state;
    read_story(s, START NODE(3000, "node1", "running", 20) NODE(2000, "node1", "running", 10)
                      NODE(4000, "node1", "running", 30) ENDED(9000, "true") END);
    const struct tl_node *n = &s->l.nodes[0];
    assert_null(timeline_at(n, 1999, 500));
    assert_int_equal(timeline_at(n, 2000, 500)->cells, 10);
    assert_int_equal(timeline_at(n, 3500, 500)->cells, 20);
    assert_int_equal(timeline_at(n, 4500, 500)->cells, 30);
    assert_null(timeline_at(n, 4501, 500));
    assert_null(timeline_at(n, 9000, 9000));
}

static void what_is_no_timeline_is_refused_with_its_line(void **state)
{
    static const char *const bad[] = {START "{\"t\":2000,\"kind\":\"node\"",
                                      START "not json\n",
                                      START "{\"kind\":\"node\",\"name\":\"node1\"}\n",
                                      START "{\"t\":2000,\"kind\":\"node\",\"cells\":4}\n",
                                      START "{\"t\":2000,\"kind\":\"event\",\"nodes\":[\"node1\"]}\n",
                                      START "[1,2]\n"};
    struct story *s = *state;
    char why[256];
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        assert_false(try_read(s, bad[k], why));
        assert_true(has(why, "line 2"));
    }
    assert_false(try_read(s, "", why));
    assert_true(has(why, "when it starts"));
    unlink(s->path);
    timeline_free(&s->l);
    assert_false(timeline_read(s->path, &s->l, why, sizeof why));
}

static void unknown_kinds_are_left_out(void **state)
{
    read_story(*state, START "{\"t\":2000,\"kind\":\"weather\",\"sun\":true}\n" END VERDICT(0));
    assert_true(((struct story *)*state)->o.good);
}

static void a_log_line_tells_what_it_is(void **state)
{
    struct tail_line l;
    (void)state;
    assert_true(tail_parse("2026-11-21T12:32:00.067Z info node=f2 cell_moved cell=1,-2 to=db epoch=2 rows=0 players=0 "
                           "freeze_us=653 ms=5",
                           &l));
    assert_int_equal(l.what, TAIL_FREEZE);
    assert_int_equal(l.us, 653);
    assert_int_equal(l.t, 1795264320067);
    assert_true(tail_parse("2026-11-21T12:32:00.067Z info node=f2 node_state from=running to=leaving why=interruption "
                           "cells=37 deadline_ms=11000",
                           &l));
    assert_int_equal(l.what, TAIL_STATE);
    assert_string_equal(l.to, "leaving");
    assert_string_equal(l.why, "interruption");
    assert_int_equal(l.cells, 37);
    assert_true(tail_parse("2026-11-21T12:32:00.081Z info node=f2 stopped", &l));
    assert_int_equal(l.what, TAIL_STOPPED);
    assert_true(tail_parse(
        "2026-11-21T12:32:00.081Z info node=f2 cell_serving cell=1,2 epoch=3 rev=1 rows=2 replayed=0 ms=17", &l));
    assert_int_equal(l.us, 17000);
    assert_false(tail_parse("2026-11-21T12:32:00.081Z info node=f2 link_up link=1", &l));
    assert_false(tail_parse("stopped", &l));
    assert_false(tail_parse("", &l));
    assert_true(tail_parse("2026-11-21T12:32:00.067Z info cell_moved freeze_us=99999999999999999999", &l));
    assert_int_equal(l.us, 0);
}

static void count_line(void *arg, const struct tail_line *l)
{
    *(unsigned *)arg += l->us;
}

/* Half a line is not read twice, nor lost. */
static void a_log_is_read_on_where_it_ended(void **state)
{
    struct story *s = *state;
    struct tail t = {.at = 0};
    unsigned sum = 0;
    snprintf(t.path, sizeof t.path, "%s", s->path);
    FILE *f = fopen(s->path, "w");
    fputs("2026-11-21T12:32:00.067Z info cell_moved freeze_us=1\n", f);
    fflush(f);
    tail_from_here(&t);
    fputs("2026-11-21T12:32:00.067Z info cell_moved freeze_us=10\n2026-11-21T12:32:00.067Z info cell_moved free", f);
    fflush(f);
    tail_read(&t, count_line, &sum);
    assert_int_equal(sum, 10);
    fputs("ze_us=100\n", f);
    fclose(f);
    tail_read(&t, count_line, &sum);
    assert_int_equal(sum, 110);
    tail_read(&t, count_line, &sum);
    assert_int_equal(sum, 110);
    f = fopen(s->path, "w"); /* another file under that name */
    fputs("2026-11-21T12:32:00.067Z info cell_moved freeze_us=7\n", f);
    fclose(f);
    tail_read(&t, count_line, &sum);
    assert_int_equal(sum, 117);
}

/* A machine that lost its power may leave a hole in the file. */
static void a_log_may_hold_anything(void **state)
{
    static const char hole[] = "\0\0\0\n2026\0x\n\n\0";
    struct story *s = *state;
    struct tail t = {.at = 0};
    unsigned sum = 0;
    snprintf(t.path, sizeof t.path, "%s", s->path);
    FILE *f = fopen(s->path, "w");
    fwrite(hole, 1, sizeof hole - 1, f);
    fputs("\n2026-11-21T12:32:00.067Z info cell_moved freeze_us=1\n", f);
    for (unsigned k = 0; k < 5000; k++)
        fputc(k < 4000 ? 0 : 'x', f);
    fputs("\n2026-11-21T12:32:00.067Z info cell_moved freeze_us=10\n", f);
    fclose(f);
    tail_read(&t, count_line, &sum);
    assert_int_equal(sum, 11);
}

/* ---- what is drawn ---- */

static void scales_end_where_they_should(void **state)
{
    (void)state;
    assert_true(chart_log(1, 1, 100) == 0 && chart_log(100, 1, 100) == 1);
    assert_true(chart_log(10, 1, 100) > 0.499 && chart_log(10, 1, 100) < 0.501);
    assert_true(chart_log(0, 1, 100) == 0 && chart_log(-5, 1, 100) == 0 && chart_log(1e9, 1, 100) == 1);
    assert_true(chart_step(100, 4) == 50 && chart_step(160, 4) == 50 && chart_step(7, 4) == 2 &&
                chart_step(1, 4) == 0.5);
    assert_true(chart_step(0, 4) == 1 && chart_step(10, 0) == 1);
}

static char *printed(const struct story *s, void (*print)(const struct timeline *, const struct outcomes *, FILE *))
{
    char *text;
    size_t len;
    FILE *f = open_memstream(&text, &len);
    print(&s->l, &s->o, f);
    fclose(f);
    return text;
}

/* Every element that is opened is closed, in order; what is between is not looked at. */
static bool well_formed(const char *html)
{
    static const char *const empty[] = {"!doctype", "meta", "br", NULL};
    char open[64][16];
    unsigned depth = 0;
    for (const char *at = strchr(html, '<'); at; at = strchr(at + 1, '<')) {
        const char *end = strchr(at, '>');
        char name[16];
        bool closing = at[1] == '/', alone = end && end[-1] == '/';
        if (!end || sscanf(at + 1 + closing, "%15[!a-z0-9]", name) != 1)
            return false;
        for (const char *const *e = empty; *e; e++)
            alone = alone || strcmp(name, *e) == 0;
        if (alone)
            continue;
        if (!closing && depth == 64)
            return false;
        if (closing && (depth == 0 || strcmp(open[--depth], name) != 0))
            return false;
        if (!closing)
            strcpy(open[depth++], name);
        if (!closing && strcmp(name, "style") == 0)
            at = strstr(at, "</style>") - 1;
    }
    return depth == 0;
}

static void a_page_is_well_formed_and_needs_nothing_else(void **state)
{
    struct story *s = *state;
    read_story(
        s,
        START NODE(2000, "node1", "running", 200) NODE(3100, "node1", "leaving", 100) ITN LEAVES FREEZE(
            3600,
            1500) "{\"t\":5000,\"kind\":\"silent\",\"name\":\"node2\"}\n"
                  "{\"t\":5100,\"kind\":\"event\",\"id\":2,\"what\":\"fault\",\"text\":\"its metadata: "
                  "silence\",\"nodes\":[\"node2\"]}\n"
                  "{\"t\":6000,\"kind\":\"bots\",\"edit_seen_n\":5,\"edit_seen_p50_ms\":1.0,\"edit_seen_p99_ms\":2.0,"
                  "\"edit_seen_max_ms\":40.5}\n" ENDED(4000, "true") END VERDICT(0));
    char *page = printed(s, page_print);
    assert_true(well_formed(page));
    assert_true(has(page, "<svg ") && has(page, "1,234") && has(page, "node1") && has(page, "its metadata: silence"));
    assert_false(has(page, "src=") || has(page, "href=") || has(page, "url(") || has(page, "nan") || has(page, "inf "));
    assert_false(well_formed("<p><b></p>"));
    free(page);
}

static void nothing_that_was_written_down_gets_out_of_its_place(void **state)
{
    struct story *s = *state;
    read_story(
        s,
        "{\"t\":1000,\"kind\":\"start\",\"title\":\"<script>alert(1)</script>\",\"command\":\"a \\\"b\\\" & 'c' <d>\","
        "\"bots\":0}\n"
        "{\"t\":2000,\"kind\":\"event\",\"id\":1,\"what\":\"fault\",\"text\":\"</"
        "td><b>\\\"\",\"nodes\":[\"<i>\"]}\n" END);
    char *page = printed(s, page_print), *json = printed(s, print_json);
    assert_false(has(page, "<script>") || has(page, "<b>\"") || has(page, "<i>"));
    assert_true(has(page, "&lt;script&gt;") && has(page, "a &quot;b&quot; &amp; &#39;c&#39; &lt;d&gt;"));
    assert_true(well_formed(page));
    assert_true(has(json, "</td><b>\\\""));
    free(page);
    free(json);
}

static void text_and_json_say_the_same(void **state)
{
    struct story *s = *state;
    read_story(s, START NODE(2000, "node1", "running", 2) ITN LEAVES FREEZE(3600, 1500) ENDED(4000, "true")
                      END VERDICT(2));
    char *text = printed(s, print_text), *json = printed(s, print_json);
    assert_true(has(text, "2 lost") && has(json, "\"lost\":2"));
    assert_true(has(text, "left after 1.0 s") && has(json, "\"ended_ms\":1000"));
    assert_true(has(json, "\"good\":false") && has(text, "Not good"));
    assert_true(strchr(json, '\n') == json + strlen(json) - 1);
    free(text);
    free(json);
}

int main(void)
{
    alarm(60);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_node_that_leaves_in_time_is_good, up, down),
        cmocka_unit_test_setup_teardown(a_node_that_is_killed_at_its_deadline_is_not, up, down),
        cmocka_unit_test_setup_teardown(one_lost_edit_makes_the_day_bad, up, down),
        cmocka_unit_test_setup_teardown(players_without_a_verdict_make_it_bad, up, down),
        cmocka_unit_test_setup_teardown(a_node_that_ends_by_itself_makes_it_bad, up, down),
        cmocka_unit_test_setup_teardown(a_hint_that_is_not_heeded_is_bad_unless_something_followed, up, down),
        cmocka_unit_test_setup_teardown(a_node_that_stays_at_risk_for_nothing_is_bad, up, down),
        cmocka_unit_test_setup_teardown(a_node_that_hung_must_have_hung_and_serve_again, up, down),
        cmocka_unit_test_setup_teardown(a_node_that_leaves_late_is_told_so, up, down),
        cmocka_unit_test_setup_teardown(any_number_of_machines_may_come_and_go, up, down),
        cmocka_unit_test_setup_teardown(the_time_from_reading_to_leaving_is_known, up, down),
        cmocka_unit_test_setup_teardown(what_others_claim_after_a_kill_is_counted, up, down),
        cmocka_unit_test(percentiles_are_the_nearest_rank),
        cmocka_unit_test_setup_teardown(nodes_that_did_not_meet_share_a_lane, up, down),
        cmocka_unit_test_setup_teardown(a_sample_is_found_by_time_and_not_for_ever, up, down),
        cmocka_unit_test_setup_teardown(what_is_no_timeline_is_refused_with_its_line, up, down),
        cmocka_unit_test_setup_teardown(unknown_kinds_are_left_out, up, down),
        cmocka_unit_test(a_log_line_tells_what_it_is),
        cmocka_unit_test_setup_teardown(a_log_is_read_on_where_it_ended, up, down),
        cmocka_unit_test_setup_teardown(a_log_may_hold_anything, up, down),
        cmocka_unit_test(scales_end_where_they_should),
        cmocka_unit_test_setup_teardown(a_page_is_well_formed_and_needs_nothing_else, up, down),
        cmocka_unit_test_setup_teardown(nothing_that_was_written_down_gets_out_of_its_place, up, down),
        cmocka_unit_test_setup_teardown(text_and_json_say_the_same, up, down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
