/* pg_request.h - one request as PostgreSQL statements, and their results as its answer.
 *
 * A request is a handful of prepared statements and a Sync, sent without
 * waiting: one implicit transaction, which the server commits at the Sync. So
 * the Sync's own answer means committed, any error before it means undone.
 *
 *   flush:  flush_cell  cell_epoch  block_write?  light_write?  sign_write?   Sync
 *   claim:  cell_make  cell_lock  cell_claim  block_read  light_read  sign_read   Sync
 *
 * As nobody looks at the fence's answer before the writes go out, each write
 * carries the fence's condition itself. No sockets and no waiting in here. */
#ifndef NODE_STORE_PG_REQUEST_H
#define NODE_STORE_PG_REQUEST_H

#include <libpq-fe.h>

#include "node/store/engine.h"

/* How far the answer has come. */
struct pg_answer {
    struct store_req *req;
    bool one_by_one;    /* each row in a statement of its own, to find the one that is refused */
    unsigned statement; /* the next result belongs to this one, counted from 0 */
    enum err err;       /* of the first statement that failed */
    unsigned failed;    /* which one that was */
    bool reconnect;     /* the server is not what it was when we greeted it: read-only now, or other tables */
    bool fenced;        /* flush: the cell's row was mine to update */
    struct store_cell row;
    bool has_row;
    struct store_rows rows;
};

/* Queues all PREPAREs on the connection. False: it is broken. */
bool pg_prepare(PGconn *c);
/* Queues the statements and the Sync. False: the connection is broken. */
bool pg_send(PGconn *c, struct pg_answer *a, struct store_req *r, bool one_by_one, struct arena *scratch);
/* One result of it; not the Sync's. */
void pg_take(struct pg_answer *a, const PGresult *res);
void pg_drop(struct pg_answer *a); /* no answer will come: gives up what was read */

/* The Sync was answered. ERR_AGAIN: send it again, one by one. */
enum err pg_finish(struct pg_answer *a);

/* What an error of the server's means for a request; sqlstate may be NULL. */
enum err pg_error(const char *sqlstate);

#endif
