/* sqlite_db.h - the world in one SQLite file: the blocking half of store_sqlite.c.
 *
 * WAL, synchronous=FULL: what was committed is there after power loss. Several
 * processes may share the file. A file that is locked, full, read-only, corrupt
 * or of another version costs its requests an error and a line in the log, and
 * is tried again with the next ones. Used on one thread, the worker's. */
#ifndef NODE_STORE_SQLITE_DB_H
#define NODE_STORE_SQLITE_DB_H

#include "node/store/engine.h"

/* A request as the worker sees it. */
struct sqlite_work {
    struct store_req *req; /* NULL: only see whether the file is good */
    enum err err;          /* out */
    bool other_cells;      /* out: ERR_MISMATCH is for the cell size, not the schema */
    unsigned broken;       /* out: rows that made no sense */
    /* out: what req->row becomes, on ERR_OK and ERR_STALE of a claim or raise; seen is a fresh reference */
    struct store_cell row;
    bool has_row;
};

struct sqlite_db;
struct sqlite_db *sqlite_db_new(const char *path, uint32_t cell_chunks); /* touches nothing yet */
void sqlite_db_free(struct sqlite_db *db);
/* Carries out all of them in one transaction, each undone by itself when it fails, and answers after the commit. */
void sqlite_db_run(struct sqlite_db *db, struct sqlite_work **works, unsigned n);

#endif
