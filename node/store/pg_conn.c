#include "node/store/pg_conn.h"

#include <arpa/inet.h>
#include <assert.h>
#include <event2/dns.h>
#include <event2/event.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/store/pg_params.h"
#include "node/store/pg_request.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"

enum { CONNECT_MS = 10000, NAME_BYTES = 192 };

enum state { IDLE, RESOLVING, CONNECTING, GREETING, PREPARING, READY };

/* Ours until the resolver called back, which it does even after a cancel. */
struct lookup {
    struct pg_conn *conn; /* NULL: nobody wants it any more */
    struct evdns_getaddrinfo_request *request;
};

struct pg_conn {
    enum state state;
    struct event_base *base;
    struct evdns_base *dns;
    uint32_t cell_chunks;
    const struct pg_conn_ops *ops;
    void *owner;
    PQconninfoOption *options; /* of the URL */
    char name[NAME_BYTES];
    PGconn *pg;
    struct event *io, *deadline;
    struct lookup *lookup;
    /* of the greeting */
    unsigned statement;
    int64_t schema, cell_chunks_found;
    char error[160], sqlstate[6];
};

static const char *option(const struct pg_conn *c, const char *keyword)
{
    for (const PQconninfoOption *o = c->options; o->keyword; o++)
        if (strcmp(o->keyword, keyword) == 0)
            return o->val && o->val[0] ? o->val : NULL;
    return NULL;
}

static void lose(struct pg_conn *c, enum err e, const char *why)
{
    char copy[320];
    size_t len = strcspn(why, "\n"); /* libpq's messages end in one, and may go on */
    snprintf(copy, sizeof(copy), "%.*s", (int)(len < sizeof(copy) ? len : sizeof(copy) - 1), why);
    pg_conn_close(c);
    c->ops->lost(c->owner, e, copy);
}

static void lose_connection(struct pg_conn *c)
{
    lose(c, ERR_IO, c->pg ? PQerrorMessage(c->pg) : "no connection");
}

/* ---- the socket ---- */

static void on_io(evutil_socket_t fd, short what, void *arg);

/* libpq may have changed its socket: registers anew, each time. */
static bool watch(struct pg_conn *c, short what)
{
    if (c->io)
        event_free(c->io);
    c->io = event_new(c->base, PQsocket(c->pg), what, on_io, c);
    return c->io && event_add(c->io, NULL) == 0;
}

bool pg_conn_flush(struct pg_conn *c)
{
    int left = PQflush(c->pg);
    return left >= 0 && watch(c, (short)(EV_READ | EV_PERSIST | (left ? EV_WRITE : 0)));
}

bool pg_conn_wait(struct pg_conn *c, unsigned ms)
{
    int left = PQflush(c->pg);
    struct pollfd fd = {.fd = PQsocket(c->pg), .events = (short)(left > 0 ? POLLIN | POLLOUT : POLLIN)};
    return left >= 0 && poll(&fd, 1, (int)ms) >= 0 && PQconsumeInput(c->pg) == 1;
}

/* ---- greeting ---- */

/* What every statement of ours counts on. Row locks want READ COMMITTED; all our reads go by primary key, so a table
 * without statistics yet must not be read through; a node that is stopped in the middle must not keep a cell locked. */
static const char settings_sql[] = "SELECT set_config('synchronous_commit', 'on', false), "
                                   "set_config('default_transaction_isolation', 'read committed', false), "
                                   "set_config('enable_seqscan', 'off', false), "
                                   "set_config('statement_timeout', '4s', false), "
                                   "set_config('idle_in_transaction_session_timeout', '4s', false), "
                                   "set_config('tcp_user_timeout', '10s', false)";
static const char schema_sql[] = "SELECT coalesce(max(version), 0)::bigint FROM schema_version";
static const char world_set_sql[] = "INSERT INTO world (cell_chunks) VALUES ($1) ON CONFLICT DO NOTHING";
static const char world_get_sql[] = "SELECT cell_chunks::bigint FROM world";

static bool send_binary(PGconn *pg, const char *sql)
{
    return PQsendQueryParams(pg, sql, 0, NULL, NULL, NULL, NULL, 1) == 1;
}

static void greet(struct pg_conn *c)
{
    c->state = GREETING;
    c->statement = 0;
    c->schema = c->cell_chunks_found = 0;
    c->error[0] = c->sqlstate[0] = '\0';
    if (PQsetnonblocking(c->pg, 1) != 0 || !PQenterPipelineMode(c->pg) || !send_binary(c->pg, settings_sql) ||
        !send_binary(c->pg, schema_sql) || !PQpipelineSync(c->pg) || !pg_conn_flush(c))
        lose_connection(c);
}

static void prepare(struct pg_conn *c)
{
    char chunks[12];
    snprintf(chunks, sizeof(chunks), "%" PRIu32, c->cell_chunks);
    const char *values[] = {chunks};
    c->state = PREPARING;
    c->statement = 0;
    if (!PQsendQueryParams(c->pg, world_set_sql, 1, NULL, values, NULL, NULL, 1) ||
        !send_binary(c->pg, world_get_sql) || !pg_prepare(c->pg) || !PQpipelineSync(c->pg) || !pg_conn_flush(c))
        lose_connection(c);
}

static void greeted(struct pg_conn *c)
{
    char why[320];
    bool no_table = strcmp(c->sqlstate, "42P01") == 0;
    if (c->error[0] && !no_table) {
        lose(c, pg_error(c->sqlstate) == ERR_MISMATCH ? ERR_MISMATCH : ERR_IO, c->error);
    } else if (c->schema < STORE_SCHEMA) {
        snprintf(why, sizeof(why), "schema %" PRId64 " is older than our %d: run ops/migrate.sh postgres://%s",
                 c->schema, STORE_SCHEMA, c->name);
        lose(c, ERR_MISMATCH, why);
    } else if (c->schema > STORE_SCHEMA) {
        snprintf(why, sizeof(why), "schema %" PRId64 " is newer than our %d", c->schema, STORE_SCHEMA);
        lose(c, ERR_MISMATCH, why);
    } else {
        prepare(c);
    }
}

static void prepared(struct pg_conn *c)
{
    char why[128];
    if (c->error[0]) {
        lose(c, pg_error(c->sqlstate) == ERR_MISMATCH ? ERR_MISMATCH : ERR_IO, c->error);
    } else if (c->cell_chunks_found != c->cell_chunks) {
        snprintf(why, sizeof(why), "its cells are %" PRId64 " chunks wide, ours %" PRIu32, c->cell_chunks_found,
                 c->cell_chunks);
        lose(c, ERR_MISMATCH, why);
    } else {
        c->state = READY;
        event_del(c->deadline);
        log_info("store_open store=postgres server=%s", c->name);
        c->ops->ready(c->owner);
    }
}

static int64_t number_in(const PGresult *res)
{
    bool is_number = PQntuples(res) == 1 && PQnfields(res) == 1 && PQgetlength(res, 0, 0) == 8;
    return is_number ? (int64_t)pg_get64(PQgetvalue(res, 0, 0)) : -1;
}

static void greeting_result(struct pg_conn *c, const PGresult *res)
{
    ExecStatusType status = PQresultStatus(res);
    if (status == PGRES_TUPLES_OK && c->statement == 1) {
        if (c->state == GREETING)
            c->schema = number_in(res);
        else
            c->cell_chunks_found = number_in(res);
    } else if (status == PGRES_FATAL_ERROR && !c->error[0]) {
        const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
        const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
        snprintf(c->sqlstate, sizeof(c->sqlstate), "%s", state ? state : "");
        snprintf(c->error, sizeof(c->error), "%s", text ? text : "error without a text");
    }
}

static void on_greeting(struct pg_conn *c)
{
    while ((c->state == GREETING || c->state == PREPARING) && !PQisBusy(c->pg)) {
        PGresult *res = PQgetResult(c->pg);
        bool synced = PQresultStatus(res) == PGRES_PIPELINE_SYNC, none = !res;
        if (res && !synced)
            greeting_result(c, res);
        PQclear(res);
        if (PQstatus(c->pg) != CONNECTION_OK) {
            lose(c, ERR_IO, c->error[0] ? c->error : PQerrorMessage(c->pg));
            return;
        }
        if (none)
            c->statement++;
        if (synced && c->state == GREETING)
            greeted(c);
        else if (synced)
            prepared(c);
    }
}

/* ---- connecting ---- */

static void poll_connect(struct pg_conn *c)
{
    switch (PQconnectPoll(c->pg)) {
    case PGRES_POLLING_READING:
        if (!watch(c, EV_READ))
            lose_connection(c);
        break;
    case PGRES_POLLING_WRITING:
        if (!watch(c, EV_WRITE))
            lose_connection(c);
        break;
    case PGRES_POLLING_OK:
        greet(c);
        break;
    default:
        lose_connection(c);
    }
}

static void on_io(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    struct pg_conn *c = arg;
    if (c->state == CONNECTING) {
        poll_connect(c);
        return;
    }
    if ((what & EV_READ) && !PQconsumeInput(c->pg)) {
        lose_connection(c);
        return;
    }
    /* Reading makes room for writing: a server that waits for us to read takes nothing more. */
    if ((what & EV_WRITE) && !pg_conn_flush(c)) {
        lose_connection(c);
        return;
    }
    if (c->state == READY)
        c->ops->readable(c->owner);
    else
        on_greeting(c);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    lose(arg, ERR_TIMEOUT, "no connection in time");
}

/* By default libpq would print them. */
static void on_notice(void *arg, const PGresult *res)
{
    (void)arg;
    const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
    log_debug("store_notice text=\"%s\"", text ? text : "");
}

/* Ours first: of a keyword that is given twice libpq takes the last, so the URL's own choice wins. */
static void connect_to(struct pg_conn *c, const char *address)
{
    const char *keys[64] = {"fallback_application_name", "gssencmode",       "target_session_attrs", "keepalives_idle",
                            "keepalives_interval",       "keepalives_count", "tcp_user_timeout"};
    const char *values[64] = {"spotcraft", "disable", "read-write", "5", "2", "3", "10000"};
    unsigned n = 7;
    for (const PQconninfoOption *o = c->options; o->keyword && n < 60; o++) {
        if (o->val && o->val[0]) {
            keys[n] = o->keyword;
            values[n++] = o->val;
        }
    }
    if (address) {
        keys[n] = "hostaddr";
        values[n++] = address;
    }
    keys[n] = NULL;
    c->state = CONNECTING;
    c->pg = PQconnectStartParams(keys, values, 0);
    if (!c->pg || PQstatus(c->pg) == CONNECTION_BAD || !watch(c, EV_WRITE)) {
        lose_connection(c);
        return;
    }
    PQsetNoticeReceiver(c->pg, on_notice, NULL);
}

static void on_resolved(int result, struct evutil_addrinfo *found, void *arg)
{
    struct lookup *l = arg;
    struct pg_conn *c = l->conn;
    free(l);
    char address[INET6_ADDRSTRLEN] = "";
    if (c && result == 0) {
        const void *bytes = found->ai_family == AF_INET6
                                ? (const void *)&((struct sockaddr_in6 *)(void *)found->ai_addr)->sin6_addr
                                : (const void *)&((struct sockaddr_in *)(void *)found->ai_addr)->sin_addr;
        evutil_inet_ntop(found->ai_family, bytes, address, sizeof(address));
    }
    if (found)
        evutil_freeaddrinfo(found);
    if (!c)
        return;
    c->lookup = NULL;
    if (address[0])
        connect_to(c, address);
    else
        lose(c, ERR_IO, evutil_gai_strerror(result));
}

static bool numeric(const char *host)
{
    uint8_t bytes[16];
    return evutil_inet_pton(AF_INET, host, bytes) == 1 || evutil_inet_pton(AF_INET6, host, bytes) == 1;
}

static bool needs_resolving(const struct pg_conn *c)
{
    const char *host = option(c, "host");
    return host && host[0] != '/' && host[0] != '@' && !option(c, "hostaddr") && !numeric(host);
}

void pg_conn_start(struct pg_conn *c)
{
    assert(c->state == IDLE);
    event_add(c->deadline, &(struct timeval){CONNECT_MS / 1000, CONNECT_MS % 1000 * 1000});
    if (!needs_resolving(c)) {
        const char *host = option(c, "host");
        connect_to(c, host && numeric(host) ? host : NULL);
        return;
    }
    c->state = RESOLVING;
    struct lookup *l = c->lookup = mem_zalloc(sizeof(*l));
    l->conn = c;
    struct evutil_addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct evdns_getaddrinfo_request *request =
        evdns_getaddrinfo(c->dns, option(c, "host"), NULL, &hints, on_resolved, l);
    if (request) /* else it has called back already */
        l->request = request;
}

void pg_conn_close(struct pg_conn *c)
{
    event_del(c->deadline);
    if (c->lookup) {
        c->lookup->conn = NULL;
        evdns_getaddrinfo_cancel(c->lookup->request);
        c->lookup = NULL;
    }
    if (c->io)
        event_free(c->io); /* before libpq closes its descriptor */
    c->io = NULL;
    PQfinish(c->pg);
    c->pg = NULL;
    c->state = IDLE;
}

/* ---- the URL ---- */

static const char *url_fault(const struct pg_conn *c)
{
    const char *host = option(c, "host");
    if (!host && !option(c, "hostaddr"))
        return "postgres:// needs a host, or ?host=/directory/of/its/socket";
    if (host && strchr(host, ','))
        return "postgres:// takes one host";
    if (needs_resolving(c) && !c->dns)
        return "postgres:// takes an address here: there is no resolver";
    return option(c, "dbname") ? NULL : "postgres:// needs a database";
}

struct pg_conn *pg_conn_new(const char *url, struct event_base *base, struct evdns_base *dns, uint32_t cell_chunks,
                            const struct pg_conn_ops *ops, void *owner, char *why, size_t why_bytes)
{
    char *error = NULL;
    PQconninfoOption *options = PQconninfoParse(url, &error);
    if (!options) {
        snprintf(why, why_bytes, "%.*s", (int)strcspn(error ? error : "bad URL", "\n"), error ? error : "bad URL");
        PQfreemem(error);
        return NULL;
    }
    struct pg_conn *c = mem_zalloc(sizeof(*c));
    *c = (struct pg_conn){.base = base, .dns = dns, .cell_chunks = cell_chunks, .ops = ops, .owner = owner};
    c->options = options;
    const char *fault = url_fault(c);
    if (fault) {
        snprintf(why, why_bytes, "%s", fault);
        PQconninfoFree(options);
        free(c);
        return NULL;
    }
    const char *host = option(c, "host"), *port = option(c, "port");
    snprintf(c->name, sizeof(c->name), "%s:%s/%s", host ? host : option(c, "hostaddr"), port ? port : "5432",
             option(c, "dbname"));
    c->deadline = event_new(base, -1, 0, on_deadline, c);
    assert(c->deadline);
    return c;
}

void pg_conn_free(struct pg_conn *c)
{
    pg_conn_close(c);
    event_free(c->deadline);
    PQconninfoFree(c->options);
    free(c);
}

bool pg_conn_ready(const struct pg_conn *c)
{
    return c->state == READY;
}

bool pg_conn_idle(const struct pg_conn *c)
{
    return c->state == IDLE;
}

bool pg_conn_other_cells(const struct pg_conn *c)
{
    return c->cell_chunks_found > 0 && c->cell_chunks_found != c->cell_chunks;
}

PGconn *pg_conn_handle(struct pg_conn *c)
{
    return c->pg;
}

const char *pg_conn_name(const struct pg_conn *c)
{
    return c->name;
}
