#include "ops/report/chart.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ops/report/print.h"
#include "proto/base/mem.h"

enum {
    MS = 1000,
    POINTS_MAX = 700,
    AGE_MS = 3500,
    LANE_PX = 34,
    BAR_PX = 11,
    CHAR_PX = 6,
    NAME_PX = 50,
    DAY_S = 86400
};

static const double width = 1200, left = 64, right = 96, gap = 54;
static const double cells_px = 220, edits_px = 150, freezes_px = 140;
static const double edit_low = 0.5, edit_high = 10000, freeze_low = 0.1, freeze_high = 10000;

struct chart {
    const struct timeline *l;
    const struct outcomes *o;
    FILE *out;
    double lanes_px, bottom;
};

double chart_log(double value, double low, double high)
{
    double share = value > 0 ? (log10(value) - log10(low)) / (log10(high) - log10(low)) : 0;
    return share < 0 ? 0 : share > 1 ? 1 : share;
}

double chart_step(double range, unsigned most)
{
    static const double tidy[] = {1, 2, 5, 10};
    if (!(range > 0) || !most)
        return 1;
    double power = pow(10, floor(log10(range / most)));
    for (size_t k = 0; k < sizeof tidy / sizeof *tidy; k++)
        if (tidy[k] * power * most >= range * (1 - 1e-9))
            return tidy[k] * power;
    return 10 * power;
}

const char *chart_event_name(const char *what)
{
    static const char *const names[][2] = {
        {"itn", "interruption"},       {"storm", "storm"},   {"asg", "scale-in"}, {"maintenance", "retirement"},
        {"rebalance", "at risk hint"}, {"flap", "flapping"}, {"kill", "killed"},  {"freeze", "hung"},
        {"fault", "metadata fault"}};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        if (strcmp(what, names[k][0]) == 0)
            return names[k][1];
    return what;
}

static double x_of(const struct chart *c, uint64_t t)
{
    const struct timeline *l = c->l;
    double share = l->end_t > l->start_t ? ((double)t - (double)l->start_t) / (double)(l->end_t - l->start_t) : 0;
    return left + (share < 0 ? 0 : share > 1 ? 1 : share) * (width - left - right);
}

static void heading(const struct chart *c, double top, const char *title, const char *unit)
{
    fprintf(c->out, "<text class=\"h\" x=\"0\" y=\"%.1f\">%s <tspan class=\"unit\">%s</tspan></text>\n", top - 12,
            title, unit);
}

static void level(const struct chart *c, double y, const char *label)
{
    fprintf(c->out,
            "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/><text class=\"tick\" x=\"%.1f\" y=\"%.1f\" "
            "text-anchor=\"end\">%s</text>\n",
            left, y, width - right, left - 8, y + 4, label);
}

/* ---- the axis of time ---- */

static void axis(const struct chart *c)
{
    static const unsigned steps[] = {1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, DAY_S};
    double s = (double)(c->l->end_t - c->l->start_t) / MS;
    size_t k = 0;
    while (k + 1 < sizeof steps / sizeof *steps && s / steps[k] > 12)
        k++;
    for (unsigned at = 0; at <= s; at += steps[k]) {
        double x = x_of(c, c->l->start_t + (uint64_t)at * MS);
        fprintf(c->out,
                "<path class=\"grid\" d=\"M%.1f 20V%.1f\"/><text class=\"tick\" x=\"%.1f\" y=\"%.1f\" "
                "text-anchor=\"middle\">%u:%02u</text>\n",
                x, c->bottom, x, c->bottom + 18, at / 60, at % 60);
    }
    fprintf(c->out, "<text class=\"unit\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">minutes:seconds</text>\n",
            width - right, c->bottom + 36);
}

/* ---- cells of each machine ---- */

static uint32_t cells_at(const struct tl_node *n, uint64_t t)
{
    const struct tl_sample *s = t >= n->first_t ? timeline_at(n, t, AGE_MS) : NULL;
    return s ? s->cells : 0;
}

/* Where a node's name has room: the middle of the stretch in which it has most of its cells. */
struct label {
    double x, y;
    bool fits;
};

/* The band of one node, over what lies below it, which grows by it. */
static struct label band(const struct chart *c, const struct tl_node *n, const uint64_t *t, size_t points,
                         double *below, double scale, double base)
{
    double thickest = 0, *above = mem_array(points, sizeof *above);
    size_t at = 0, from = points, to = 0, first, last;
    struct label label = {0};
    for (size_t k = 0; k < points; k++) {
        double cells = cells_at(n, t[k]);
        above[k] = below[k] + cells;
        if (cells > 0) {
            from = k < from ? k : from;
            to = k;
        }
        if (cells > thickest) {
            thickest = cells;
            at = k;
        }
    }
    if (thickest > 0) {
        from -= from > 0;
        to += to + 1 < points;
        fprintf(c->out, "<path class=\"band\" fill=\"var(--n%u)\" d=\"", n->lane % CHART_COLOURS);
        for (size_t k = from; k <= to; k++)
            fprintf(c->out, "%c%.1f %.1f", k == from ? 'M' : 'L', x_of(c, t[k]), base - above[k] * scale);
        for (size_t k = to + 1; k-- > from;)
            fprintf(c->out, "L%.1f %.1f", x_of(c, t[k]), base - below[k] * scale);
        fprintf(c->out, "Z\"><title>");
        print_html_text(n->name, c->out);
        fprintf(c->out, ", %.0f cells at most</title></path>\n", thickest);
        for (first = at; first > from && above[first - 1] - below[first - 1] > thickest * 0.6; first--)
            ;
        for (last = at; last < to && above[last + 1] - below[last + 1] > thickest * 0.6; last++)
            ;
        size_t mid = (first + last) / 2;
        label.x = x_of(c, t[mid]);
        label.y = base - (above[mid] + below[mid]) / 2 * scale + 4;
        label.fits = thickest * scale >= 17 && x_of(c, t[last]) - x_of(c, t[first]) > NAME_PX;
    }
    memcpy(below, above, points * sizeof *below);
    free(above);
    return label;
}

static void cells_panel(const struct chart *c, double top)
{
    const struct timeline *l = c->l;
    uint64_t span = l->end_t - l->start_t;
    size_t points = (size_t)(span / 250) + 2;
    points = points > POINTS_MAX ? POINTS_MAX : points;
    uint64_t *t = mem_array(points, sizeof *t);
    double *below = mem_array(points, sizeof *below), most = 1;
    struct label *labels = mem_array(l->n_nodes + 1, sizeof *labels);
    for (size_t k = 0; k < points; k++) {
        double sum = 0;
        t[k] = l->start_t + span * k / (points - 1);
        for (size_t i = 0; i < l->n_nodes; i++)
            sum += cells_at(&l->nodes[i], t[k]);
        most = sum > most ? sum : most;
    }
    heading(c, top, "Cells of the world, by machine", "each colour is a machine's share");
    double step = chart_step(most, 4), scale = cells_px / (step * ceil(most / step));
    for (double v = 0; v <= most + step * 0.999; v += step) {
        char label[24];
        snprintf(label, sizeof label, "%.0f", v);
        level(c, top + cells_px - v * scale, label);
    }
    for (unsigned lane = 0; lane < l->n_lanes; lane++) /* a lane's nodes have one colour and one place */
        for (size_t k = 0; k < l->n_nodes; k++)
            if (l->nodes[k].lane == lane)
                labels[k] = band(c, &l->nodes[k], t, points, below, scale, top + cells_px);
    for (size_t k = 0; k < l->n_nodes; k++) { /* over all bands */
        if (!labels[k].fits)
            continue;
        fprintf(c->out, "<text class=\"name\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">", labels[k].x, labels[k].y);
        print_html_text(l->nodes[k].name, c->out);
        fprintf(c->out, "</text>\n");
    }
    free(labels);
    free(t);
    free(below);
}

/* ---- what happened to the machines ---- */

static void stretch(const struct chart *c, uint64_t from, uint64_t to, double y, const char *class, const char *title)
{
    double x = x_of(c, from), w = x_of(c, to) - x;
    fprintf(c->out,
            "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" rx=\"2\"><title>%s</title></rect>\n",
            class, x, y, w < 3 ? 3 : w, BAR_PX, title);
}

static void silences(const struct chart *c, const struct tl_node *n, double y)
{
    for (size_t k = 0, from; k < n->n_samples; k++) {
        if (n->samples[k].state != TL_SILENT)
            continue;
        for (from = k; k + 1 < n->n_samples && n->samples[k + 1].state == TL_SILENT; k++)
            ;
        uint64_t end = k + 1 < n->n_samples ? n->samples[k + 1].t : n->samples[k].t;
        stretch(c, n->samples[from].t, end, y, "silent", "does not answer");
    }
}

static void lane(const struct chart *c, unsigned k, double top)
{
    const struct timeline *l = c->l;
    const struct tl_node *n = &l->nodes[k];
    double y = top + n->lane * LANE_PX + LANE_PX - BAR_PX - 4;
    uint64_t end = n->ended_t && n->ended_t < l->end_t ? n->ended_t : l->end_t, from = n->first_t;
    enum tl_state state = TL_RUNNING;
    fprintf(c->out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" rx=\"2\" fill=\"var(--n%u)\"><title>",
            x_of(c, n->first_t), y, fmax(x_of(c, end) - x_of(c, n->first_t), 3), BAR_PX, n->lane % CHART_COLOURS);
    print_html_text(n->name, c->out);
    fprintf(c->out, " in ");
    print_html_text(n->pool, c->out);
    fprintf(c->out, "</title></rect>\n");
    for (size_t m = 0; m <= l->n_marks; m++) {
        bool last = m == l->n_marks;
        if (!last && (l->marks[m].node != k || l->marks[m].kind != TL_MARK_STATE))
            continue;
        uint64_t t = last ? end : l->marks[m].t;
        if (state == TL_AT_RISK || state == TL_LEAVING)
            stretch(c, from, t < end ? t : end, y, tl_state_text(state), state == TL_LEAVING ? "leaving" : "at risk");
        from = t;
        state = last ? state : l->marks[m].to;
    }
    silences(c, n, y);
    if (end < l->end_t)
        fprintf(c->out, "<path class=\"%s\" d=\"M%.1f %.1fv%d\"/>\n", n->stopped ? "left" : "died", x_of(c, end), y - 2,
                BAR_PX + 4);
    if (x_of(c, end) - x_of(c, n->first_t) > 44) {
        fprintf(c->out, "<text class=\"on\" x=\"%.1f\" y=\"%.1f\">", x_of(c, n->first_t) + 4, y + 9);
        print_html_text(n->name, c->out);
        fprintf(c->out, "</text>\n");
    }
}

/* Where the next mark of that lane is. */
static double next_mark(const struct chart *c, const struct outcome *o)
{
    const struct outcome *end = c->o->all + c->o->n;
    unsigned lane_of = c->l->nodes[o->node].lane;
    for (const struct outcome *next = o + 1; next < end; next++)
        if (c->l->nodes[next->node].lane == lane_of)
            return x_of(c, next->event->t);
    return width;
}

/* A mark on the lane, and its label where the next one leaves room. */
static void event_mark(const struct chart *c, const struct outcome *o, double top)
{
    static const char *const class[] = {[OUTCOME_NOTICE] = "notice",
                                        [OUTCOME_HINT] = "hint",
                                        [OUTCOME_KILL] = "kill",
                                        [OUTCOME_FREEZE] = "freeze",
                                        [OUTCOME_OTHER] = "other"};
    const struct tl_node *n = &c->l->nodes[o->node];
    const char *name = chart_event_name(o->event->what);
    double x = x_of(c, o->event->t), y = top + n->lane * LANE_PX + LANE_PX - BAR_PX - 4;
    char text[256];
    fprintf(c->out, "<g class=\"mark %s%s\"><path d=\"M%.1f %.1fl-4 -7h8z\"/>", class[o->kind], o -> good ? "" : " bad",
            x, y - 1);
    if (x + 12 + (double)strlen(name) * CHAR_PX < next_mark(c, o))
        fprintf(c->out, "<text x=\"%.1f\" y=\"%.1f\">%s</text>", x + 6, y - 2.5, name);
    fprintf(c->out, "<title>%s: ", name);
    print_html_text(outcome_text(c->l, o, text, sizeof text), c->out);
    fprintf(c->out, "</title></g>\n");
}

static void lanes_panel(const struct chart *c, double top)
{
    heading(c, top, "What happened to the machines", "a replacement takes over the lane of one that went");
    for (unsigned k = 0; k < c->l->n_nodes; k++)
        lane(c, k, top);
    for (size_t k = 0; k < c->o->n; k++)
        event_mark(c, &c->o->all[k], top);
}

/* ---- how long edits took ---- */

static double pick(const struct tl_second *s, unsigned which)
{
    return which == 0 ? s->max_ms : which == 1 ? s->p99_ms : s->p50_ms;
}

static void edits_panel(const struct chart *c, double top)
{
    static const char *const name[] = {"slowest", "99 of 100", "half"};
    static const char *const class[] = {"max", "p99", "p50"};
    const struct timeline *l = c->l;
    heading(c, top, "From an edit to the moment others see it", "each second; logarithmic");
    for (double v = 1; v <= edit_high; v *= 10) {
        char label[24];
        snprintf(label, sizeof label, v < MS ? "%.0f ms" : "%.0f s", v < MS ? v : v / MS);
        level(c, top + edits_px * (1 - chart_log(v, edit_low, edit_high)), label);
    }
    double label_y[3] = {0};
    for (unsigned which = 0; which < 3; which++) {
        bool drawing = false;
        double y = 0;
        fprintf(c->out, "<path class=\"line %s\" d=\"", class[which]);
        for (size_t k = 0; k < l->n_seconds; k++) {
            const struct tl_second *s = &l->seconds[k];
            bool shown = s->edits && s->t >= l->start_t && s->t <= l->end_t;
            if (shown) {
                y = top + edits_px * (1 - chart_log(pick(s, which), edit_low, edit_high));
                fprintf(c->out, "%c%.1f %.1f", drawing ? 'L' : 'M', x_of(c, s->t), y);
            }
            drawing = shown;
        }
        fprintf(c->out, "\"/>\n");
        label_y[which] = which && y < label_y[which - 1] + 14 ? label_y[which - 1] + 14 : y;
        fprintf(c->out, "<text class=\"key %s\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", class[which], width - right + 8,
                label_y[which] + 4, name[which]);
    }
}

/* ---- how long cells were frozen ---- */

/* Dots that would lie on one another are drawn once. */
static void dots(const struct chart *c, double top, enum tl_mark_kind kind, const char *class)
{
    enum { FINE = 2 };
    size_t wide = (size_t)width * FINE, high = (size_t)freezes_px * FINE + 1;
    unsigned char *seen = mem_array(wide * high, 1);
    for (size_t k = 0; k < c->l->n_marks; k++) {
        const struct tl_mark *m = &c->l->marks[k];
        if (m->kind != kind || m->t < c->l->start_t || m->t > c->l->end_t)
            continue;
        double x = x_of(c, m->t), y = freezes_px * (1 - chart_log((double)m->us / MS, freeze_low, freeze_high));
        size_t at = (size_t)(y * FINE) * wide + (size_t)(x * FINE);
        if (seen[at])
            continue;
        seen[at] = 1;
        fprintf(c->out, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"2\" style=\"--c:var(--n%u)\"/>\n", class, x,
                top + y, c->l->nodes[m->node].lane % CHART_COLOURS);
    }
    free(seen);
}

static void freezes_panel(const struct chart *c, double top)
{
    static const double levels[] = {0.1, 1, 10, 100, 1000, 10000};
    heading(c, top, "How long a cell took no edits",
            "a filled dot: handed over; a ring: claimed after a loss; logarithmic");
    for (size_t k = 0; k < sizeof levels / sizeof *levels; k++) {
        char label[24];
        double v = levels[k];
        snprintf(label, sizeof label, v < 1 ? "%.1f ms" : v < MS ? "%.0f ms" : "%.0f s", v < MS ? v : v / MS);
        level(c, top + freezes_px * (1 - chart_log(v, freeze_low, freeze_high)), label);
    }
    dots(c, top, TL_MARK_FREEZE, "dot");
    dots(c, top, TL_MARK_CLAIM, "ring");
}

/* Thin lines from top to bottom tie what was done to what it did. */
static void ties(const struct chart *c)
{
    for (size_t k = 0; k < c->o->n; k++) {
        const struct outcome *o = &c->o->all[k];
        if (o->kind != OUTCOME_OTHER && (k == 0 || o[-1].event != o->event))
            fprintf(c->out, "<path class=\"tie\" d=\"M%.1f 20V%.1f\"/>\n", x_of(c, o->event->t), c->bottom);
    }
}

void chart_print(const struct timeline *l, const struct outcomes *o, FILE *out)
{
    struct chart c = {.l = l, .o = o, .out = out, .lanes_px = (double)l->n_lanes * LANE_PX + 4};
    double cells_top = 36, lanes_top = cells_top + cells_px + gap, edits_top = lanes_top + c.lanes_px + gap;
    double freezes_top = edits_top + (l->n_seconds ? edits_px + gap : 0);
    c.bottom = freezes_top + freezes_px;
    fprintf(out,
            "<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"What happened over time\" "
            "xmlns=\"http://www.w3.org/2000/svg\">\n",
            width, c.bottom + 44);
    axis(&c);
    cells_panel(&c, cells_top);
    ties(&c);
    lanes_panel(&c, lanes_top);
    if (l->n_seconds)
        edits_panel(&c, edits_top);
    freezes_panel(&c, freezes_top);
    fprintf(out, "</svg>\n");
}
