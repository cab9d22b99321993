#include "tests/lib/bot.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "proto/base/clock.h"
#include "proto/base/mem.h"
#include "tests/lib/craft_client.h"

enum { LINE_MAX_BYTES = 4096, READ_BYTES = 65536, FORGET_MARGIN = 4, HEARD_MAX = 1 << 16, WHY_MAX = 128 };

/* One chunk, asked for on this connection or remembered from an earlier one. */
struct held {
    uint64_t id;
    bool asked, answered;
    int32_t key;
    UT_hash_handle hh;
};

struct fact_id {
    struct chunk_pos c;
    struct block_pos at;
    int32_t kind; /* 'B', 'L', or 'S' + the face in the upper bits */
};
struct fact {
    struct fact_id id;
    int w;
    char *text;
    UT_hash_handle hh;
};

struct seen_player {
    int32_t id;
    bool here; /* false: D came, the name is kept for the record */
    struct place place;
    char name[64];
    UT_hash_handle hh;
};

struct bot {
    struct bot_conf conf;
    struct bufferevent *bev;
    struct craft_client *model;
    bool connected, joined;
    char why[WHY_MAX]; /* "" while connected */
    int32_t id;
    struct place place;
    struct chunk_pos centre; /* of the view that was asked for last */
    bool centred;
    struct held *held;
    unsigned unanswered;
    struct fact *facts;
    struct seen_player *players;
    char *heard;
    size_t heard_len;
    unsigned lines[26];
    size_t carry_len;
    char carry[LINE_MAX_BYTES]; /* a line's beginning */
};

/* ---- what it remembers ---- */

static struct fact_id fact_id(struct chunk_pos c, int32_t x, int32_t y, int32_t z, int kind, int face)
{
    return (struct fact_id){.c = c, .at = {x, y, z}, .kind = kind | face << 8};
}

static void remember(struct bot *b, struct fact_id id, int w, const char *text)
{
    struct fact *f;
    if (!b->conf.remember)
        return;
    HASH_FIND(hh, b->facts, &id, sizeof id, f);
    if (!f) {
        f = mem_zalloc(sizeof *f);
        f->id = id;
        HASH_ADD(hh, b->facts, id, sizeof id, f);
    }
    f->w = w;
    free(f->text);
    f->text = text ? mem_strdup(text) : NULL;
}

static const struct fact *recall(const struct bot *b, struct fact_id id)
{
    struct fact *f;
    HASH_FIND(hh, b->facts, &id, sizeof id, f);
    return f;
}

/* A break darkens the block and takes its signs, in the client as in the world. */
static void remember_block(struct bot *b, struct chunk_pos c, struct block_pos at, int w)
{
    remember(b, fact_id(c, at.x, at.y, at.z, 'B', 0), w, NULL);
    if (w != 0 || !b->conf.remember || !chunk_eq(c, chunk_of_block(at.x, at.z)))
        return;
    struct fact_id light = fact_id(c, at.x, at.y, at.z, 'L', 0);
    if (recall(b, light))
        remember(b, light, 0, NULL);
    for (int face = 0; face < 8; face++) {
        struct fact_id sign = fact_id(c, at.x, at.y, at.z, 'S', face);
        if (recall(b, sign))
            remember(b, sign, 0, "");
    }
}

static void hear(struct bot *b, const char *text)
{
    size_t len = strlen(text);
    if (!b->conf.remember || b->heard_len + len + 2 > HEARD_MAX)
        return;
    b->heard = mem_resize(b->heard, b->heard_len + len + 2);
    memcpy(b->heard + b->heard_len, text, len);
    memcpy(b->heard + b->heard_len + len, "\n", 2);
    b->heard_len += len + 1;
}

static struct seen_player *player_of(struct bot *b, int32_t id)
{
    struct seen_player *p;
    HASH_FIND(hh, b->players, &id, sizeof id, p);
    if (!p) {
        p = mem_zalloc(sizeof *p);
        p->id = id;
        HASH_ADD(hh, b->players, id, sizeof id, p);
    }
    return p;
}

static struct held *held_of(const struct bot *b, struct chunk_pos c)
{
    struct held *h;
    uint64_t id = chunk_id(c);
    HASH_FIND(hh, b->held, &id, sizeof id, h);
    return h;
}

static struct held *hold(struct bot *b, struct chunk_pos c)
{
    struct held *h = held_of(b, c);
    if (!h) {
        h = mem_zalloc(sizeof *h);
        h->id = chunk_id(c);
        HASH_ADD(hh, b->held, id, sizeof h->id, h);
    }
    return h;
}

/* ---- lines from the server ---- */

/* Reads ",number" up to n times. */
static bool ints(const char **at, int32_t *out, int n)
{
    for (int i = 0; i < n; i++) {
        char *end;
        if (**at != ',')
            return false;
        long v = strtol(*at + 1, &end, 10);
        if (end == *at + 1 || v < INT32_MIN || v > INT32_MAX)
            return false;
        out[i] = (int32_t)v;
        *at = end;
    }
    return true;
}

static bool place_read(const char **at, struct place *p)
{
    float *v[] = {&p->x, &p->y, &p->z, &p->rx, &p->ry};
    for (int i = 0; i < 5; i++) {
        char *end;
        if (**at != ',')
            return false;
        *v[i] = strtof(*at + 1, &end);
        if (end == *at + 1)
            return false;
        *at = end;
    }
    return true;
}

static void ask_view(struct bot *b);

static void on_you(struct bot *b, const char *at)
{
    struct place p;
    int32_t id;
    if (!ints(&at, &id, 1) || !place_read(&at, &p))
        return;
    b->id = id;
    b->place = p;
    bool first = !b->joined;
    b->joined = true;
    ask_view(b);
    if (first && b->conf.hooks->joined)
        b->conf.hooks->joined(b, b->conf.arg);
}

static void on_block(struct bot *b, const char *at)
{
    int32_t v[6];
    if (!ints(&at, v, 6))
        return;
    struct chunk_pos c = {v[0], v[1]};
    struct block_pos pos = {v[2], v[3], v[4]};
    remember_block(b, c, pos, v[5]);
    if (b->conf.hooks->block)
        b->conf.hooks->block(b, c, pos, v[5], b->conf.arg);
}

static void on_player(struct bot *b, const char *at)
{
    struct place p;
    int32_t id;
    if ((!b->conf.remember && !b->conf.hooks->player) || !ints(&at, &id, 1) || !place_read(&at, &p))
        return;
    if (b->conf.remember) {
        struct seen_player *s = player_of(b, id);
        s->place = p;
        s->here = true;
    }
    if (b->conf.hooks->player)
        b->conf.hooks->player(b, id, &p, b->conf.arg);
}

static void on_chunk_end(struct bot *b, const char *at)
{
    int32_t v[2];
    if (!ints(&at, v, 2))
        return;
    struct chunk_pos c = {v[0], v[1]};
    struct held *h = held_of(b, c);
    if (h && h->asked && !h->answered) {
        h->answered = true;
        b->unanswered--;
    }
    if (b->conf.hooks->chunk_end)
        b->conf.hooks->chunk_end(b, c, b->conf.arg);
}

static void on_small_facts(struct bot *b, const char *line)
{
    const char *at = line + 1;
    int32_t v[6];
    if (line[0] == 'L' && ints(&at, v, 6)) {
        remember(b, fact_id((struct chunk_pos){v[0], v[1]}, v[2], v[3], v[4], 'L', 0), v[5], NULL);
    } else if (line[0] == 'S' && ints(&at, v, 6) && *at == ',') {
        remember(b, fact_id((struct chunk_pos){v[0], v[1]}, v[2], v[3], v[4], 'S', v[5]), 0, at + 1);
    } else if (line[0] == 'K' && ints(&at, v, 3)) {
        hold(b, (struct chunk_pos){v[0], v[1]})->key = v[2];
    } else if (line[0] == 'N' && ints(&at, v, 1) && *at == ',') {
        struct seen_player *p = player_of(b, v[0]);
        snprintf(p->name, sizeof p->name, "%s", at + 1);
    } else if (line[0] == 'D' && ints(&at, v, 1)) {
        player_of(b, v[0])->here = false;
    }
}

static void on_line(struct bot *b, char *line)
{
    if (line[0] < 'A' || line[0] > 'Z')
        return;
    b->lines[line[0] - 'A']++;
    if (b->conf.hooks->line)
        b->conf.hooks->line(b, line, b->conf.arg);
    switch (line[0]) {
    case 'U':
        on_you(b, line + 1);
        break;
    case 'B':
        on_block(b, line + 1);
        break;
    case 'P':
        on_player(b, line + 1);
        break;
    case 'C':
        on_chunk_end(b, line + 1);
        break;
    case 'T':
        hear(b, line[1] == ',' ? line + 2 : "");
        if (b->conf.hooks->talk)
            b->conf.hooks->talk(b, line[1] == ',' ? line + 2 : "", b->conf.arg);
        break;
    default:
        if (b->conf.remember)
            on_small_facts(b, line);
    }
}

static void gone(struct bot *b, const char *why)
{
    if (!b->bev)
        return;
    bufferevent_free(b->bev);
    b->bev = NULL;
    b->connected = false;
    snprintf(b->why, sizeof b->why, "%s", why);
    if (b->conf.hooks->gone)
        b->conf.hooks->gone(b, b->why, b->conf.arg);
}

static void on_read(struct bufferevent *bev, void *arg)
{
    struct bot *b = arg;
    char buf[LINE_MAX_BYTES + READ_BYTES];
    while (b->bev == bev && evbuffer_get_length(bufferevent_get_input(bev))) {
        memcpy(buf, b->carry, b->carry_len);
        int n = evbuffer_remove(bufferevent_get_input(bev), buf + b->carry_len, READ_BYTES);
        if (n <= 0)
            return;
        if (b->model)
            craft_client_feed(b->model, buf + b->carry_len, (size_t)n);
        char *at = buf, *end = buf + b->carry_len + n, *nl;
        while (b->bev == bev && (nl = memchr(at, '\n', (size_t)(end - at)))) {
            *nl = '\0';
            on_line(b, at);
            at = nl + 1;
        }
        b->carry_len = (size_t)(end - at);
        if (b->carry_len >= LINE_MAX_BYTES) {
            gone(b, "the server sent a line without an end");
            return;
        }
        memcpy(b->carry, at, b->carry_len);
    }
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    struct bot *b = arg;
    if (what & BEV_EVENT_CONNECTED) {
        int on = 1;
        if (!b->conf.nagle)
            setsockopt(bufferevent_getfd(bev), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        b->connected = true;
        return;
    }
    on_read(bev, b); /* what came before the end */
    gone(b, what & BEV_EVENT_EOF ? "closed by the server" : evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()));
}

/* ---- the connection ---- */

static void connect_now(struct bot *b)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(b->conf.port)};
    if (inet_pton(AF_INET, b->conf.host ? b->conf.host : "127.0.0.1", &a.sin_addr) != 1)
        abort(); /* the caller's mistake */
    b->bev = bufferevent_socket_new(b->conf.base, -1, BEV_OPT_CLOSE_ON_FREE);
    b->why[0] = '\0';
    bufferevent_setcb(b->bev, on_read, NULL, on_event, b);
    bufferevent_enable(b->bev, EV_READ | EV_WRITE);
    if (bufferevent_socket_connect(b->bev, (struct sockaddr *)&a, sizeof a) != 0)
        return; /* on_event tells */
    char hello[CRAFT_OUT_MAX];
    if (b->model) /* its cache goes on, the rest of it begins anew */
        craft_client_hello(b->model, "", "", hello);
    bot_send(b, "V,1");
    bot_send(b, "A,%s,", b->conf.user ? b->conf.user : "");
}

struct bot *bot_new(const struct bot_conf *conf)
{
    static const struct bot_hooks none;
    struct bot *b = mem_zalloc(sizeof *b);
    b->conf = *conf;
    if (!b->conf.hooks)
        b->conf.hooks = &none;
    if (conf->remember)
        b->model = craft_client_new(NULL, NULL);
    connect_now(b);
    return b;
}

void bot_leave(struct bot *b)
{
    struct held *h, *tmp;
    struct seen_player *p, *ptmp;
    if (b->bev) {
        shutdown(bufferevent_getfd(b->bev), SHUT_RDWR); /* now: the free waits for a turn of the loop */
        bufferevent_free(b->bev);
    }
    b->bev = NULL;
    b->connected = b->joined = b->centred = false;
    b->carry_len = 0;
    b->unanswered = 0;
    memset(b->lines, 0, sizeof b->lines);
    HASH_ITER (hh, b->held, h, tmp)
        h->asked = h->answered = false;
    HASH_ITER (hh, b->players, p, ptmp) {
        HASH_DEL(b->players, p);
        free(p);
    }
}

void bot_rejoin(struct bot *b)
{
    bot_leave(b);
    connect_now(b);
}

void bot_free(struct bot *b)
{
    if (!b)
        return;
    bot_leave(b);
    struct held *h, *htmp;
    struct fact *f, *ftmp;
    HASH_ITER (hh, b->held, h, htmp) {
        HASH_DEL(b->held, h);
        free(h);
    }
    HASH_ITER (hh, b->facts, f, ftmp) {
        HASH_DEL(b->facts, f);
        free(f->text);
        free(f);
    }
    craft_client_free(b->model);
    free(b->heard);
    free(b);
}

bool bot_connected(const struct bot *b)
{
    return b->connected;
}

bool bot_joined(const struct bot *b)
{
    return b->joined;
}

int32_t bot_id(const struct bot *b)
{
    return b->id;
}

struct place bot_place(const struct bot *b)
{
    return b->place;
}

const struct craft_client *bot_model(const struct bot *b)
{
    return b->model;
}

void *bot_arg(const struct bot *b)
{
    return b->conf.arg;
}

const char *bot_gone(const struct bot *b)
{
    return b->why[0] ? b->why : NULL;
}

/* ---- what it does ---- */

void bot_send_bytes(struct bot *b, const void *data, size_t len)
{
    if (b->bev)
        bufferevent_write(b->bev, data, len);
}

void bot_send(struct bot *b, const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line - 1, fmt, ap);
    va_end(ap);
    if (n < 0 || n >= (int)sizeof line - 1)
        abort(); /* the caller's mistake: long lines go through bot_send_bytes() */
    line[n] = '\n';
    bot_send_bytes(b, line, (size_t)n + 1);
}

void bot_ask_chunk(struct bot *b, struct chunk_pos c)
{
    struct held *h = hold(b, c);
    if (!h->asked || h->answered)
        b->unanswered++;
    h->asked = true;
    h->answered = false;
    bot_send(b, "C,%d,%d,%d", c.p, c.q, h->key);
}

static int chunk_distance(struct chunk_pos a, struct chunk_pos c)
{
    int dp = abs(a.p - c.p), dq = abs(a.q - c.q);
    return dp > dq ? dp : dq;
}

static struct chunk_pos chunk_at(uint64_t id)
{
    return (struct chunk_pos){(int32_t)(uint32_t)(id >> 32), (int32_t)(uint32_t)id};
}

/* Asks for what came into view and forgets what is well out of it, as the client does when it crosses a chunk's border.
 */
static void ask_view(struct bot *b)
{
    struct chunk_pos c = chunk_of_place(b->place.x, b->place.z);
    int view = b->conf.view;
    if (view < 0 || (b->centred && chunk_eq(c, b->centre)))
        return;
    b->centre = c;
    b->centred = true;
    struct held *h, *tmp;
    HASH_ITER (hh, b->held, h, tmp)
        if (h->asked && chunk_distance(chunk_at(h->id), c) >= view + FORGET_MARGIN) {
            b->unanswered -= !h->answered;
            h->asked = h->answered = false;
        }
    for (int d = 0; d <= view; d++) /* nearest first */
        for (int p = c.p - d; p <= c.p + d; p++)
            for (int q = c.q - d; q <= c.q + d; q++) {
                struct chunk_pos at = {p, q};
                if (chunk_distance(at, c) == d && !bot_asked(b, at))
                    bot_ask_chunk(b, at);
            }
}

void bot_move(struct bot *b, const struct place *p)
{
    b->place = *p;
    if (b->model)
        craft_client_move(b->model, p);
    bot_send(b, "P,%.2f,%.2f,%.2f,%.2f,%.2f", (double)p->x, (double)p->y, (double)p->z, (double)p->rx, (double)p->ry);
    ask_view(b);
}

void bot_set_view(struct bot *b, int view)
{
    b->conf.view = view;
    b->centred = false;
}

void bot_block(struct bot *b, int32_t x, int32_t y, int32_t z, int w)
{
    struct block_pos at = {x, y, z};
    struct chunk_pos own = chunk_of_block(x, z), mirror[MIRRORS_MAX];
    bot_send(b, "B,%d,%d,%d,%d", x, y, z, w);
    remember_block(b, own, at, w);
    for (unsigned i = 0, n = chunk_mirrors(x, z, mirror); i < n; i++)
        remember_block(b, mirror[i], at, -w);
}

void bot_light(struct bot *b, int32_t x, int32_t y, int32_t z, int w)
{
    bot_send(b, "L,%d,%d,%d,%d", x, y, z, w);
    remember(b, fact_id(chunk_of_block(x, z), x, y, z, 'L', 0), w, NULL);
}

void bot_sign(struct bot *b, int32_t x, int32_t y, int32_t z, int face, const char *text)
{
    bot_send(b, "S,%d,%d,%d,%d,%s", x, y, z, face, text);
    remember(b, fact_id(chunk_of_block(x, z), x, y, z, 'S', face), 0, text);
}

/* ---- what it sees ---- */

bool bot_asked(const struct bot *b, struct chunk_pos c)
{
    const struct held *h = held_of(b, c);
    return h && h->asked;
}

bool bot_holds(const struct bot *b, struct chunk_pos c)
{
    const struct held *h = held_of(b, c);
    return h && h->answered;
}

unsigned bot_unanswered(const struct bot *b)
{
    return b->unanswered;
}

int bot_sees_block(const struct bot *b, struct chunk_pos c, int32_t x, int32_t y, int32_t z)
{
    const struct fact *f = recall(b, fact_id(c, x, y, z, 'B', 0));
    return f ? f->w : INT_MIN;
}

int bot_sees_light(const struct bot *b, int32_t x, int32_t y, int32_t z)
{
    const struct fact *f = recall(b, fact_id(chunk_of_block(x, z), x, y, z, 'L', 0));
    return f ? f->w : INT_MIN;
}

const char *bot_sees_sign(const struct bot *b, int32_t x, int32_t y, int32_t z, int face)
{
    const struct fact *f = recall(b, fact_id(chunk_of_block(x, z), x, y, z, 'S', face));
    return f ? f->text : NULL;
}

int32_t bot_key(const struct bot *b, struct chunk_pos c)
{
    const struct held *h = held_of(b, c);
    return h ? h->key : 0;
}

unsigned bot_lines(const struct bot *b, char letter)
{
    return b->lines[letter - 'A'];
}

bool bot_heard(const struct bot *b, const char *text)
{
    return b->heard && strstr(b->heard, text);
}

bool bot_sees_player(const struct bot *b, int32_t id, struct place *out)
{
    struct seen_player *p;
    HASH_FIND(hh, b->players, &id, sizeof id, p);
    if (!p || !p->here)
        return false;
    if (out)
        *out = p->place;
    return true;
}

const char *bot_name_of(const struct bot *b, int32_t id)
{
    struct seen_player *p;
    HASH_FIND(hh, b->players, &id, sizeof id, p);
    return p && p->name[0] ? p->name : NULL;
}

/* ---- the loop ---- */

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg; /* its firing ends one turn of the loop */
}

static bool never(void *arg)
{
    (void)arg;
    return false;
}

static bool run_until(struct event_base *base, until_cond *cond, void *arg, unsigned ms)
{
    uint64_t deadline = clock_mono_ms() + ms;
    struct timeval every = {.tv_usec = 5000};
    struct event *wake = event_new(base, -1, EV_PERSIST, on_wake, NULL);
    event_add(wake, &every);
    bool came;
    while (!(came = cond(arg)) && clock_mono_ms() < deadline)
        event_base_loop(base, EVLOOP_ONCE);
    event_free(wake);
    return came;
}

bool loop_until(struct event_base *base, until_cond *cond, void *arg, unsigned ms, const char *what)
{
    if (run_until(base, cond, arg, ms))
        return true;
    fprintf(stderr, "waited %u ms in vain: %s\n", ms, what);
    return false;
}

void loop_for(struct event_base *base, unsigned ms)
{
    run_until(base, never, NULL, ms);
}
