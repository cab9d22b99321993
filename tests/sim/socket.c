#include "tests/sim/socket.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "proto/base/mem.h"

enum { CHUNK_MAX_BYTES = 65536, CLOSE_LAG_US = 50000 };

struct bytes {
    char *data;
    size_t from, len, room; /* data[from..len) waits */
    bool due;               /* a delivery is scheduled */
};

struct sim_socket {
    uint64_t number;
    struct host *gateway;
    const struct socket_ears *ears;
    void *player;
    struct bytes up, down;
    bool accepted; /* the gateway knows of it */
    bool read_off;
    bool closed; /* for one end, and so soon for the other */
    struct sim_socket *prev, *next;
};

struct sim_sockets {
    struct sim_socket *all;
    uint64_t last_number;
};

void sockets_init(struct sim *s)
{
    s->sockets = mem_zalloc(sizeof *s->sockets);
}

void sockets_free(struct sim *s)
{
    struct sim_socket *k, *next;
    DL_FOREACH_SAFE (s->sockets->all, k, next) {
        free(k->up.data);
        free(k->down.data);
        free(k);
    }
    free(s->sockets);
}

static struct sim_socket *find(struct host *h, uint64_t number)
{
    struct sim_socket *k;
    DL_FOREACH (h->sim->sockets->all, k) {
        if (k->number == number)
            return k->gateway == h && !k->closed ? k : NULL;
    }
    return NULL;
}

/* ---- bytes ---- */

static void put(struct bytes *b, const void *data, size_t len)
{
    if (b->from == b->len)
        b->from = b->len = 0;
    if (b->len + len > b->room) {
        if (b->from)
            memmove(b->data, b->data + b->from, b->len - b->from);
        b->len -= b->from;
        b->from = 0;
        if (b->len + len > b->room) {
            b->room = 2 * (b->len + len);
            b->data = mem_resize(b->data, b->room);
        }
    }
    memcpy(b->data + b->len, data, len);
    b->len += len;
}

/* How much of it arrives now: mostly all, at times a part that ends anywhere. */
static size_t piece(struct sim *s, const struct bytes *b)
{
    size_t n = b->len - b->from;
    if (n > CHUNK_MAX_BYTES)
        n = CHUNK_MAX_BYTES;
    return n > 1 && sim_chance(s, 4) ? 1 + rng_below(&s->rng, (uint32_t)n - 1) : n;
}

static void schedule(struct sim_socket *k, struct bytes *b, sched_fn *run)
{
    struct sim *s = k->gateway->sim;
    if (b->due || b->from == b->len)
        return;
    b->due = true;
    sched_at(&s->sched, s->sched.now_us + sim_latency(s), run, NULL, k);
}

/* ---- towards the gateway ---- */

static void on_up(void *arg);

static void accept_socket(struct host *h, void *arg)
{
    struct sim_socket *k = arg;
    if (k->closed)
        return;
    k->accepted = true;
    gateway_player_new(h->gateway, k->number, "192.0.2.1");
}

static void read_up(struct host *h, void *arg)
{
    struct sim_socket *k = arg;
    k->up.due = false;
    if (k->closed || k->read_off || k->up.from == k->up.len)
        return;
    size_t n = piece(h->sim, &k->up);
    size_t used = gateway_player_bytes(h->gateway, k->number, k->up.data + k->up.from, n);
    if (used > n)
        sim_fail(h->sim, "%s used %zu of %zu bytes", h->name, used, n);
    k->up.from += used;
    if (used < n && !k->read_off && !k->closed)
        sim_fail(h->sim, "%s leaves %zu of %zu bytes while it reads the socket", h->name, n - used, n);
    if (!k->closed && !k->read_off)
        schedule(k, &k->up, on_up);
}

static void on_up(void *arg)
{
    struct sim_socket *k = arg;
    host_input(k->gateway, read_up, NULL, k);
}

static void on_accept(void *arg)
{
    struct sim_socket *k = arg;
    host_input(k->gateway, accept_socket, NULL, k);
}

struct sim_socket *socket_open(struct host *gateway, const struct socket_ears *ears, void *player)
{
    struct sim *s = gateway->sim;
    struct sim_socket *k = mem_zalloc(sizeof *k);
    *k = (struct sim_socket){
        .number = ++s->sockets->last_number, .gateway = gateway, .ears = ears, .player = player, .up.due = true};
    DL_PREPEND(s->sockets->all, k); /* the youngest are asked for most */
    uint64_t at = s->sched.now_us + sim_latency(s);
    sched_at(&s->sched, at, on_accept, NULL, k);
    sched_at(&s->sched, at, on_up, NULL, k);
    return k;
}

void socket_write(struct sim_socket *k, const char *data, size_t len)
{
    put(&k->up, data, len);
    if (!k->read_off)
        schedule(k, &k->up, on_up);
}

static void hang_up(struct host *h, void *arg)
{
    struct sim_socket *k = arg;
    if (k->accepted)
        gateway_player_gone(h->gateway, k->number, "eof");
}

static void on_hang_up(void *arg)
{
    struct sim_socket *k = arg;
    host_input(k->gateway, hang_up, NULL, k);
}

/* What the player wrote before may or may not be read; in a model that needs no more than a coin, it is not. */
void socket_close(struct sim_socket *k)
{
    struct sim *s = k->gateway->sim;
    if (k->closed)
        return;
    k->closed = true;
    sched_at(&s->sched, s->sched.now_us + sim_latency(s), on_hang_up, NULL, k);
}

bool socket_idle(const struct sim_socket *k)
{
    return k->up.from == k->up.len && k->down.from == k->down.len;
}

struct host *socket_gateway(const struct sim_socket *k)
{
    return k->gateway;
}

/* ---- towards the player ---- */

static void on_down(void *arg)
{
    struct sim_socket *k = arg;
    k->down.due = false;
    if (k->closed)
        return;
    size_t n = piece(k->gateway->sim, &k->down);
    const char *data = k->down.data + k->down.from;
    k->down.from += n;
    k->ears->bytes(k->player, data, n);
    schedule(k, &k->down, on_down);
}

static void op_write(void *ctx, uint64_t player, const void *data, size_t len)
{
    struct sim_socket *k = find(ctx, player);
    if (!k)
        return;
    put(&k->down, data, len);
    schedule(k, &k->down, on_down);
}

static void op_send(void *ctx, uint64_t player, struct blob *b)
{
    op_write(ctx, player, b->data, b->len);
}

static size_t op_queued(void *ctx, uint64_t player)
{
    struct sim_socket *k = find(ctx, player);
    return k ? k->down.len - k->down.from : 0;
}

static void on_closed(void *arg)
{
    struct sim_socket *k = arg;
    k->ears->closed(k->player, k, "gateway died", false);
}

static void op_close(void *ctx, uint64_t player, const char *why)
{
    struct sim_socket *k = find(ctx, player);
    if (!k)
        return;
    k->closed = true;
    k->ears->closed(k->player, k, why, true);
}

static void op_read(void *ctx, uint64_t player, bool on)
{
    struct sim_socket *k = find(ctx, player);
    if (!k)
        return;
    k->read_off = !on;
    if (on)
        schedule(k, &k->up, on_up);
}

const struct player_ops sim_player_ops = {
    .send = op_send, .write = op_write, .queued = op_queued, .close = op_close, .read = op_read};

void sockets_gateway_gone(struct host *gateway)
{
    struct sim *s = gateway->sim;
    struct sim_socket *k;
    DL_FOREACH (s->sockets->all, k) {
        if (k->gateway == gateway && !k->closed) {
            k->closed = true;
            sched_at(&s->sched, s->sched.now_us + sim_between(s, 0, CLOSE_LAG_US), on_closed, NULL, k);
        }
    }
}
