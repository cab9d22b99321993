#include "node/own/load.h"

#include "node/own/handoff.h"
#include "node/parts.h"

enum {
    SAMPLE_MS = 1000,
    SMOOTH = 4,     /* a sample counts so many times less than what was */
    CPU_FAIR = 500, /* thousandths of a core: below it the weights alone count */
    CPU_MAX = 1000,
    SAID_MS = 10000, /* a cell that came is believed to be what its source said for so long */
    MILLI = 1000
};

uint32_t load_weight(unsigned players, uint32_t edits_milli, uint32_t presence_bps)
{
    return LOAD_CELL + players * LOAD_PLAYER + edits_milli / LOAD_EDITS_MILLI + presence_bps / LOAD_PRESENCE_BYTES;
}

uint32_t load_scaled(uint32_t weight, uint32_t cpu_milli)
{
    uint64_t cpu = cpu_milli < CPU_FAIR ? CPU_FAIR : cpu_milli > CPU_MAX ? CPU_MAX : cpu_milli;
    return (uint32_t)(weight * cpu / CPU_FAIR);
}

static uint32_t smoothed(uint32_t was, uint64_t now)
{
    int64_t next = (int64_t)was + ((int64_t)now - (int64_t)was) / SMOOTH;
    return next == (int64_t)was && now < was ? was - 1 : (uint32_t)next;
}

void load_sample(struct cell_load *l, uint64_t ms)
{
    l->edits_milli = smoothed(l->edits_milli, (uint64_t)l->edits * MILLI * MILLI / ms);
    l->presence_bps = smoothed(l->presence_bps, (uint64_t)l->presence_bytes * MILLI / ms);
    l->edits = l->presence_bytes = 0;
}

/* ---- a node's ---- */

uint32_t load_plain(const struct node *n, const struct owned *o)
{
    const struct cell_load *l = &o->load;
    uint32_t measured = load_weight(o->players ? players_count(o->players) : 0, l->edits_milli, l->presence_bps);
    return l->said > measured && node_now(n) < l->said_until_ms ? l->said : measured;
}

uint32_t load_cell(const struct node *n, const struct owned *o)
{
    return load_scaled(load_plain(n, o), n->cpu_milli);
}

/* Accepted elsewhere: it counts there. */
static bool is_leaving(const struct owned *o)
{
    return o->out && !o->out->follow_only && o->out->phase > OUT_OFFERED;
}

static uint32_t counted(const struct node *n, const struct owned *o)
{
    if (o->state == OWN_WANTED || is_leaving(o))
        return 0;
    if (o->in && o->in->follow_only)
        return LOAD_COPY;
    return load_plain(n, o);
}

struct node_load load_node(const struct node *n)
{
    struct node_load l = {.cpu_milli = n->cpu_milli};
    for (const struct owned *o = n->cells; o; o = o->hh.next) {
        uint32_t w = counted(n, o);
        l.weights += w;
        l.coming += o->in ? w : 0;
        l.edits_milli += o->load.edits_milli;
        l.presence_bps += o->load.presence_bps;
    }
    l.told = load_scaled(l.weights, l.cpu_milli);
    return l;
}

void load_said(struct node *n, struct owned *o, uint32_t said)
{
    o->load.said = said;
    o->load.said_until_ms = node_now(n) + SAID_MS;
}

static void processor(struct node *n, uint64_t ms)
{
    if (!n->env.cpu_us)
        return;
    uint64_t now_us = n->env.cpu_us(n->env.clock);
    if (n->cpu_us)
        n->cpu_milli = smoothed(n->cpu_milli, (now_us - n->cpu_us) / ms);
    n->cpu_us = now_us;
}

void load_tick(struct node *n)
{
    uint64_t now = node_now(n), ms = now - n->load_ms;
    if (n->load_ms && ms < SAMPLE_MS)
        return;
    n->load_ms = now;
    if (ms == now) /* the first time: nothing was counted yet */
        return;
    for (struct owned *o = n->cells; o; o = o->hh.next)
        load_sample(&o->load, ms);
    processor(n, ms);
}
