#include "ops/report/page.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ops/report/chart.h"
#include "ops/report/print.h"

enum { MS = 1000 };

static const char style[] =
    ":root{color-scheme:light dark;--bg:#faf9f7;--card:#fff;--fg:#1f2633;--soft:#667085;--line:#e6e3dd;--good:#1d7a50;"
    "--goodbg:#e9f5ee;--bad:#b3261e;--badbg:#fcebe9;--n0:#6f9bc8;--n1:#e5b567;--n2:#7fb89a;--n3:#c58fb8;--n4:#8fa3ad;"
    "--n5:#d98f72;--n6:#9c96cf;--n7:#b5b26a;--risk:#f0c000;--leaving:#e0662b;--hung:#3f8fd2;--kill:#b3261e;--ink:#"
    "20303f}\n"
    "@media (prefers-color-scheme:dark){:root{--bg:#15181d;--card:#1c2027;--fg:#e6e8ec;--soft:#98a2b3;--line:#2e343d;"
    "--good:#62c796;--goodbg:#18291f;--bad:#f08b82;--badbg:#311b1a;--n0:#4d789f;--n1:#a98343;--n2:#568a70;--n3:#93678a;"
    "--n4:#64757d;--n5:#a4684f;--n6:#726da3;--n7:#86834c;--kill:#f08b82;--ink:#fff}}\n"
    "*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--fg);font:16px/1.5 system-ui,-apple-system,"
    "\"Segoe UI\",Roboto,\"Helvetica Neue\",Arial,sans-serif}main{max-width:1240px;margin:0 auto;padding:40px 24px "
    "64px}\n"
    "h1{font-size:15px;font-weight:600;color:var(--soft);margin:0 0 "
    "12px;letter-spacing:.01em}h2{font-size:20px;margin:48px 0 12px;"
    "font-weight:650}p{margin:0 0 12px;max-width:75ch}\n"
    ".verdict{font-size:25px;line-height:1.38;font-weight:600;letter-spacing:-.01em;border-left:6px solid;padding:18px "
    "24px;"
    "border-radius:8px;margin:0 0 28px}.verdict.ok{border-color:var(--good);background:var(--goodbg)}"
    ".verdict.no{border-color:var(--bad);background:var(--badbg)}\n"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(245px,1fr));gap:12px;margin:0 0 28px}"
    ".tile{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 16px}"
    ".tile "
    "b{display:block;font-size:27px;font-weight:650;letter-spacing:-.02em;font-variant-numeric:tabular-nums;line-"
    "height:1.2}"
    ".tile span{color:var(--soft);font-size:13.5px;line-height:1.35;display:block;margin-top:4px}"
    ".tile.no b{color:var(--bad)}.tile.ok b{color:var(--good)}\n"
    "figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:12px;padding:22px 22px "
    "10px;overflow-x:auto}"
    "svg{display:block;width:100%;min-width:860px;height:auto;overflow:visible}"
    "svg text{font-size:11.5px;fill:var(--fg)}svg .h{font-size:14px;font-weight:650}svg "
    ".unit{font-weight:400;font-size:12px;"
    "fill:var(--soft)}svg .tick{fill:var(--soft);font-variant-numeric:tabular-nums}.grid{stroke:var(--line);fill:none}"
    ".tie{stroke:var(--soft);stroke-width:.7;stroke-dasharray:2 4;opacity:.55}"
    ".band{stroke:var(--card);stroke-width:1}svg .name{font-weight:600;fill:var(--ink)}svg "
    ".on{font-size:9.5px;fill:var(--ink);font-weight:600}"
    ".at_risk{fill:var(--risk)}.leaving{fill:var(--leaving)}.silent{fill:var(--hung)}"
    ".left{stroke:var(--leaving);stroke-width:2}.died{stroke:var(--kill);stroke-width:3}\n"
    ".mark "
    "text{font-size:10.5px}.mark.notice{fill:var(--leaving)}.mark.hint{fill:var(--risk)}.mark.kill{fill:var(--kill)}"
    ".mark.freeze{fill:var(--hung)}.mark.other{fill:var(--soft)}.mark.bad path{stroke:var(--bad);stroke-width:3}"
    ".mark.other text{fill:var(--soft)}\n"
    ".line{fill:none;stroke-width:1.5;stroke-linejoin:round}.line.max{stroke:var(--n5);stroke-width:1;opacity:.8}"
    ".line.p99{stroke:var(--n6)}.line.p50{stroke:var(--n2);stroke-width:2.2}svg .key{font-weight:600}svg "
    ".key.max{fill:var(--n5)}"
    "svg .key.p99{fill:var(--n6)}svg "
    ".key.p50{fill:var(--n2)}.dot{fill:var(--c);opacity:.75}.ring{fill:none;stroke:var(--kill);"
    "stroke-width:1.1;opacity:.8}\n"
    ".legend{display:flex;flex-wrap:wrap;gap:6px 22px;font-size:13.5px;color:var(--soft);margin:12px 2px "
    "0;padding:0;list-style:none}"
    ".legend i{display:inline-block;width:22px;height:10px;border-radius:2px;margin-right:7px}\n"
    ".scroll{overflow-x:auto;background:var(--card);border:1px solid "
    "var(--line);border-radius:12px}table{border-collapse:collapse;"
    "width:100%;font-size:14.5px}th,td{text-align:left;padding:8px 14px;border-bottom:1px solid "
    "var(--line);vertical-align:top}"
    "tr:last-child "
    "td{border-bottom:0}th{font-size:13px;color:var(--soft);font-weight:600}td.t{font-variant-numeric:tabular-nums;"
    "white-space:nowrap}td.n{white-space:nowrap}td.ok{color:var(--good)}td.no{color:var(--bad);font-weight:700}"
    "code,pre{font:13.5px/1.5 "
    "ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}pre{background:var(--card);border:1px solid var(--line);"
    "border-radius:10px;padding:14px 16px;overflow-x:auto;margin:0 0 "
    "12px}dl{display:grid;grid-template-columns:max-content 1fr;"
    "gap:6px 20px;margin:0;max-width:95ch;font-size:14.5px}dt{font-weight:600}dd{margin:0;color:var(--soft)}"
    "@media (max-width:700px){dl{grid-template-columns:1fr}.verdict{font-size:20px}}\n";

static void tile(FILE *out, const char *value, const char *what, const char *class)
{
    fprintf(out, "<div class=\"tile %s\"><b>%s</b><span>%s</span></div>\n", class, value, what);
}

static void count_tile(FILE *out, uint32_t n, const char *what)
{
    char text[16];
    tile(out, outcome_grouped(n, text), what, n ? "no" : "ok");
}

static const char *ms_text(double ms, char *out, size_t bytes)
{
    if (ms >= MS)
        snprintf(out, bytes, "%.1f s", ms / MS);
    else
        snprintf(out, bytes, ms < 10 ? "%.1f ms" : "%.0f ms", ms);
    return out;
}

static void tiles(const struct timeline *l, const struct outcomes *o, FILE *out)
{
    const struct tl_verdict *v = &l->verdict;
    char text[32], what[160], second[32];
    fprintf(out, "<div class=\"tiles\">\n");
    if (o->measured) {
        count_tile(out, v->disconnects, "players disconnected");
        count_tile(out, v->lost + v->unseen, "edits lost, or not seen by everybody");
        count_tile(out, v->doubled + v->disordered + v->wrong_mirrors, "edits doubled, out of order or wrong");
        snprintf(what, sizeof what, "until an edit is seen by others, 99 of 100; half: %s",
                 ms_text(v->p50_ms, second, sizeof second));
        tile(out, ms_text(v->p99_ms, text, sizeof text), what, "");
        tile(out, ms_text(v->max_ms, text, sizeof text),
             o->hung ? "the slowest edit of all; a machine that hangs is waited for until its lease is over"
                     : "the slowest edit of all",
             "");
    }
    if (o->noticed) {
        snprintf(text, sizeof text, "%u of %u", o->noticed - o->late, o->noticed);
        tile(out, text, "machines with notice left before their deadline", o->late ? "no" : "ok");
    }
    if (o->freeze.n) {
        snprintf(what, sizeof what, "a cell takes no edits as it changes hands, 99 of 100; longest: %s",
                 ms_text(o->freeze.max_ms, second, sizeof second));
        tile(out, ms_text(o->freeze.p99_ms, text, sizeof text), what, "");
        tile(out, outcome_grouped(o->freeze.n, text), "cells handed over while they were played in", "");
    }
    fprintf(out, "</div>\n");
}

static void legend(const struct timeline *l, FILE *out)
{
    static const char *const items[][2] = {{"leaving", "leaving: hands its cells over"},
                                           {"risk", "at risk: a recommendation, nothing more"},
                                           {"hung", "does not answer"},
                                           {"kill", "gone without a word; or, as a ring, a cell claimed after that"}};
    fprintf(out, "<ul class=\"legend\"><li>a bar: a machine, in its colour of the first panel</li>\n");
    for (size_t k = 0; k < sizeof items / sizeof *items; k++)
        fprintf(out, "<li><i style=\"background:var(--%s)\"></i>%s</li>\n", items[k][0], items[k][1]);
    if (l->speed > 1)
        fprintf(out, "<li>two minutes' notice pass %u times as fast: in %.0f s</li>\n", l->speed, 120.0 / l->speed);
    fprintf(out, "</ul>\n");
}

static void rows(const struct timeline *l, const struct outcomes *o, FILE *out)
{
    char text[256];
    for (size_t k = 0; k < o->n; k++) {
        const struct outcome *c = &o->all[k];
        const struct tl_node *n = &l->nodes[c->node];
        bool same = k && o->all[k - 1].event == c->event;
        uint64_t s = (c->event->t - l->start_t) / MS;
        if (same)
            fprintf(out, "<tr><td class=\"t\"></td><td class=\"n\"></td>");
        else
            fprintf(out, "<tr><td class=\"t\">%llu:%02llu</td><td class=\"n\">%s</td>", (unsigned long long)s / 60,
                    (unsigned long long)s % 60, chart_event_name(c->event->what));
        fprintf(out, "<td class=\"n\">");
        print_html_text(n->name, out);
        fprintf(out, "</td><td class=\"n\">");
        print_html_text(n->pool, out);
        fprintf(out, "</td><td class=\"%s\">%s</td><td>", c->good ? "ok" : "no", c->good ? "&#10003;" : "&#10007;");
        print_html_text(outcome_text(l, c, text, sizeof text), out);
        if (c->event->text[0] && c->kind != OUTCOME_OTHER) {
            fprintf(out, " (");
            print_html_text(c->event->text, out);
            fprintf(out, ")");
        }
        fprintf(out, "</td></tr>\n");
    }
}

static void table(const struct timeline *l, const struct outcomes *o, FILE *out)
{
    fprintf(out,
            "<h2>What was done, and what came of it</h2>\n<div class=\"scroll\"><table>\n<thead><tr><th>at</th><th>what"
            "</th><th>machine</th><th>pool</th><th></th><th>outcome</th></tr></thead>\n<tbody>\n");
    rows(l, o, out);
    fprintf(out, "</tbody></table></div>\n");
}

static void repeat(const struct timeline *l, FILE *out)
{
    char when[64] = "";
    time_t s = (time_t)(l->start_t / MS);
    struct tm tm;
    if (gmtime_r(&s, &tm))
        strftime(when, sizeof when, "%Y-%m-%d %H:%M UTC", &tm);
    fprintf(out, "<h2>To repeat it</h2>\n<pre>");
    print_html_text(l->command, out);
    fprintf(out, "</pre>\n<p>Begun %s. ", when);
    if (l->seed >= 0)
        fprintf(out, "The seed %lld decides what is done, when and to whom; how fast the machine is decides the rest.",
                (long long)l->seed);
    fprintf(out, "</p>\n");
}

static const char glossary[] =
    "<h2>The words</h2>\n<dl>\n"
    "<dt>machine</dt><dd>one node of the world, on capacity that its owner may take back at any time</dd>\n"
    "<dt>cell</dt><dd>128 by 128 blocks; each belongs to one machine at a time, and moves while it is played in</dd>\n"
    "<dt>interruption, storm</dt><dd>two minutes' notice, then the machine is switched off; a storm takes several at "
    "once</dd>\n"
    "<dt>scale-in, retirement</dt><dd>the same, because the group shrinks or the hardware is retired</dd>\n"
    "<dt>at risk hint, flapping</dt><dd>a recommendation to go that nothing follows; one that comes and goes</dd>\n"
    "<dt>killed, hung</dt><dd>the machine is gone, or does nothing for some seconds, without a word</dd>\n"
    "<dt>metadata fault</dt><dd>the service that tells a machine of its end breaks down for a while</dd>\n"
    "<dt>the players</dt><dd>programs that speak the game's protocol, walk, build and compare what they see; at the "
    "end a fresh one reads "
    "the whole world and compares it with everything that was ever built</dd>\n</dl>\n";

void page_print(const struct timeline *l, const struct outcomes *o, FILE *out)
{
    fprintf(out, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                 "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>");
    print_html_text(l->title, out);
    fprintf(out, "</title>\n<style>\n%s</style>\n</head>\n<body>\n<main>\n<h1>spotcraft &middot; ", style);
    print_html_text(l->title, out);
    fprintf(out, "</h1>\n<p class=\"verdict %s\">", o->good ? "ok" : "no");
    print_html_text(o->sentence, out);
    fprintf(out, "</p>\n");
    tiles(l, o, out);
    fprintf(out, "<figure>\n");
    chart_print(l, o, out);
    legend(l, out);
    fprintf(out, "</figure>\n");
    if (o->n)
        table(l, o, out);
    repeat(l, out);
    fputs(glossary, out);
    fprintf(out, "</main>\n</body>\n</html>\n");
}
