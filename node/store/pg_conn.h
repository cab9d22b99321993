/* pg_conn.h - one asynchronous connection to PostgreSQL, from its URL to a checked schema.
 *
 *   IDLE -> RESOLVING -> CONNECTING -> GREETING (settings, schema) -> PREPARING (world, statements) -> READY
 *
 * Never blocks: names go through evdns, libpq only ever gets an address. From
 * READY on the connection is in pipeline mode, and its owner reads the results.
 * One thread; owned by store_postgres.c. */
#ifndef NODE_STORE_PG_CONN_H
#define NODE_STORE_PG_CONN_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/base/err.h"

struct event_base;
struct evdns_base;

struct pg_conn_ops {
    void (*ready)(void *owner);
    void (*readable)(void *owner); /* READY: results may have come */
    void (*lost)(void *owner, enum err e,
                 const char *why); /* ERR_MISMATCH: it is not the schema or world that we know */
};

struct pg_conn;
/* NULL: the URL is no good, *why says why. Nothing is connected yet. */
struct pg_conn *pg_conn_new(const char *url, struct event_base *base, struct evdns_base *dns, uint32_t cell_chunks,
                            const struct pg_conn_ops *ops, void *owner, char *why, size_t why_bytes);
void pg_conn_free(struct pg_conn *c);
void pg_conn_start(struct pg_conn *c); /* when it is idle */
void pg_conn_close(struct pg_conn *c); /* back to idle, without lost() */
bool pg_conn_ready(const struct pg_conn *c);
bool pg_conn_idle(const struct pg_conn *c);
bool pg_conn_other_cells(const struct pg_conn *c); /* the world there has another cell size */
PGconn *pg_conn_handle(struct pg_conn *c);
/* Something was queued: send what the socket takes, the rest when it takes more. False: broken, the caller closes it.
 */
bool pg_conn_flush(struct pg_conn *c);
/* Without the loop: sends, then waits up to ms for something to read. False: broken, as above. */
bool pg_conn_wait(struct pg_conn *c, unsigned ms);
const char *pg_conn_name(const struct pg_conn *c); /* host:port/db, for logs; no password */

#endif
