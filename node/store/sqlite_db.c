#include "node/store/sqlite_db.h"

#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"

enum { BUSY_MS = 3000, BUSY_STEP_US = 1000 };

enum statement {
    BEGIN,
    COMMIT,
    SAVE,
    UNSAVE,
    UNDO,
    CELL_READ,
    CELL_RAISE,
    CELL_FLUSH,
    BLOCK_READ,
    LIGHT_READ,
    SIGN_READ,
    BLOCK_WRITE,
    LIGHT_WRITE,
    SIGN_WRITE,
    PLAYER_VISIT,
    PLAYER_SAVE,
    STATEMENTS
};
/* A cell's chunks are CELL_CHUNKS ranges of the primary key: q runs within p. A late flush under the same epoch (its
 * answer was lost) never takes the cell's row back. */
static const char *const sql[STATEMENTS] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [SAVE] = "SAVEPOINT request",
    [UNSAVE] = "RELEASE request",
    [UNDO] = "ROLLBACK TO request",
    [CELL_READ] = "SELECT epoch, generation, rev, key_floor, clean, seen FROM cell WHERE i = ?1 AND j = ?2",
    [CELL_RAISE] = "INSERT INTO cell (i, j, epoch) VALUES (?1, ?2, ?3) "
                   "ON CONFLICT (i, j) DO UPDATE SET epoch = excluded.epoch, clean = 0",
    [CELL_FLUSH] = "UPDATE cell SET epoch = ?3, generation = max(generation, ?4), rev = max(rev, ?5), "
                   "key_floor = max(key_floor, ?6), clean = ?7 AND ?5 >= rev, "
                   "seen = CASE WHEN ?5 >= rev THEN ?8 ELSE seen END WHERE i = ?1 AND j = ?2 AND epoch <= ?3",
    [BLOCK_READ] = "SELECT p, q, x, y, z, rev, w, key FROM block WHERE p = ?1 AND q BETWEEN ?2 AND ?3",
    [LIGHT_READ] = "SELECT p, q, x, y, z, rev, w FROM light WHERE p = ?1 AND q BETWEEN ?2 AND ?3",
    [SIGN_READ] = "SELECT p, q, x, y, z, rev, face, text FROM sign WHERE p = ?1 AND q BETWEEN ?2 AND ?3",
    [BLOCK_WRITE] = "INSERT INTO block (p, q, x, y, z, rev, w, key) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) "
                    "ON CONFLICT (p, q, x, y, z) DO UPDATE SET w = excluded.w, key = excluded.key, rev = excluded.rev "
                    "WHERE block.rev < excluded.rev",
    [LIGHT_WRITE] = "INSERT INTO light (p, q, x, y, z, rev, w) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) "
                    "ON CONFLICT (p, q, x, y, z) DO UPDATE SET w = excluded.w, rev = excluded.rev "
                    "WHERE light.rev < excluded.rev",
    [SIGN_WRITE] = "INSERT INTO sign (p, q, x, y, z, rev, face, text) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) "
                   "ON CONFLICT (p, q, x, y, z, face) DO UPDATE SET text = excluded.text, rev = excluded.rev "
                   "WHERE sign.rev < excluded.rev",
    [PLAYER_VISIT] = "INSERT INTO player (account, visit, count) VALUES (?1, 1, 0) "
                     "ON CONFLICT (account) DO UPDATE SET visit = visit + 1, count = 0 "
                     "RETURNING visit, x, y, z, rx, ry",
    [PLAYER_SAVE] = "INSERT INTO player (account, visit, count, x, y, z, rx, ry) "
                    "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (account) DO UPDATE SET "
                    "visit = excluded.visit, count = excluded.count, x = excluded.x, y = excluded.y, z = excluded.z, "
                    "rx = excluded.rx, ry = excluded.ry "
                    "WHERE (player.visit, player.count) < (excluded.visit, excluded.count)",
};

static const char *const migrations[STORE_SCHEMA] = {
#include "0001_world.sqlite.sql.h"
};

struct sqlite_db {
    char *path;
    uint32_t cell_chunks;
    sqlite3 *handle; /* NULL: not open */
    sqlite3_stmt *stmt[STATEMENTS];
    uint64_t busy_until_ms; /* of the lock that we wait for now */
    bool other_cells;       /* the world in it is another one's */
    char trouble[192];      /* the last one that was logged: not said twice */
};

struct sqlite_db *sqlite_db_new(const char *path, uint32_t cell_chunks)
{
    struct sqlite_db *db = mem_zalloc(sizeof(*db));
    db->path = mem_strdup(path);
    db->cell_chunks = cell_chunks;
    return db;
}

static void db_close(struct sqlite_db *db)
{
    for (unsigned k = 0; k < STATEMENTS; k++) {
        sqlite3_finalize(db->stmt[k]);
        db->stmt[k] = NULL;
    }
    sqlite3_close(db->handle);
    db->handle = NULL;
}

void sqlite_db_free(struct sqlite_db *db)
{
    db_close(db);
    free(db->path);
    free(db);
}

/* One line when a trouble begins, not one per request. */
static void say(struct sqlite_db *db, const char *why)
{
    if (strncmp(db->trouble, why, sizeof(db->trouble) - 1) == 0)
        return;
    snprintf(db->trouble, sizeof(db->trouble), "%s", why);
    char quoted[384];
    log_error("store_trouble store=sqlite path=%s why=%s", db->path,
              log_quote(quoted, sizeof(quoted), why, strlen(why)));
}

static enum err trouble(struct sqlite_db *db)
{
    say(db, db->handle ? sqlite3_errmsg(db->handle) : "out of memory");
    return ERR_IO;
}

/* SQLite's own waits grow to 100 ms a step; several nodes that flush into one file take turns faster than that. */
static int on_busy(void *arg, int tries)
{
    struct sqlite_db *db = arg;
    uint64_t now_ms = clock_mono_ms();
    if (tries == 0)
        db->busy_until_ms = now_ms + BUSY_MS;
    if (now_ms >= db->busy_until_ms)
        return 0;
    usleep(BUSY_STEP_US);
    return 1;
}

/* ---- opening ---- */

static bool exec(struct sqlite_db *db, const char *text)
{
    return sqlite3_exec(db->handle, text, NULL, NULL, NULL) == SQLITE_OK;
}

/* The one number that a query gives; none when it gives no row. False: it failed. */
static bool query_number(struct sqlite_db *db, const char *text, int64_t none, int64_t *out)
{
    sqlite3_stmt *s = NULL;
    bool good = sqlite3_prepare_v2(db->handle, text, -1, &s, NULL) == SQLITE_OK;
    int rc = good ? sqlite3_step(s) : SQLITE_ERROR;
    if (rc == SQLITE_ROW || rc == SQLITE_DONE)
        *out = rc == SQLITE_ROW ? sqlite3_column_int64(s, 0) : none;
    sqlite3_finalize(s);
    return rc == SQLITE_ROW || rc == SQLITE_DONE;
}

/* One step up, in its own transaction. Another process may have taken it while we waited for the lock. */
static enum err migrate_step(struct sqlite_db *db, int64_t *version)
{
    if (!exec(db, "BEGIN IMMEDIATE"))
        return trouble(db);
    enum err e = ERR_IO;
    if (exec(db, "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY, applied TEXT NOT NULL "
                 "DEFAULT CURRENT_TIMESTAMP) STRICT") &&
        query_number(db, "SELECT coalesce(max(version), 0) FROM schema_version", 0, version)) {
        e = ERR_OK;
        if (*version >= 0 && *version < STORE_SCHEMA) {
            char record[80];
            snprintf(record, sizeof(record), "INSERT INTO schema_version (version) VALUES (%" PRId64 ")", *version + 1);
            if (exec(db, migrations[*version]) && exec(db, record))
                ++*version;
            else
                e = ERR_IO;
        }
    }
    if (e != ERR_OK || !exec(db, "COMMIT")) {
        e = trouble(db);
        exec(db, "ROLLBACK");
    }
    return e;
}

static enum err migrate(struct sqlite_db *db)
{
    int64_t version = 0;
    if (!query_number(db, "SELECT count(*) FROM sqlite_master WHERE name = 'schema_version'", 0, &version))
        return trouble(db);
    if (version && !query_number(db, "SELECT coalesce(max(version), 0) FROM schema_version", 0, &version))
        return trouble(db);
    while (version >= 0 && version < STORE_SCHEMA) {
        enum err e = migrate_step(db, &version);
        if (e != ERR_OK)
            return e;
        log_info("store_migrated store=sqlite path=%s schema=%" PRId64, db->path, version);
    }
    if (version == STORE_SCHEMA)
        return ERR_OK;
    char why[96];
    snprintf(why, sizeof(why), "schema %" PRId64 " is not one that this version knows: it knows %d", version,
             STORE_SCHEMA);
    say(db, why);
    return ERR_MISMATCH;
}

static enum err check_world(struct sqlite_db *db)
{
    char insert[96];
    int64_t cell_chunks = 0;
    snprintf(insert, sizeof(insert), "INSERT OR IGNORE INTO world (one, cell_chunks) VALUES (1, %" PRIu32 ")",
             db->cell_chunks);
    if (!query_number(db, "SELECT cell_chunks FROM world", 0, &cell_chunks))
        return trouble(db);
    if (cell_chunks == 0 && (!exec(db, insert) || !query_number(db, "SELECT cell_chunks FROM world", 0, &cell_chunks)))
        return trouble(db);
    db->other_cells = cell_chunks != db->cell_chunks;
    if (!db->other_cells)
        return ERR_OK;
    char why[96];
    snprintf(why, sizeof(why), "its cells are %" PRId64 " chunks wide, ours %" PRIu32, cell_chunks, db->cell_chunks);
    say(db, why);
    return ERR_MISMATCH;
}

static enum err db_open(struct sqlite_db *db)
{
    db->other_cells = false;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(db->path, &db->handle, flags, NULL) != SQLITE_OK)
        return trouble(db);
    sqlite3_extended_result_codes(db->handle, 1);
    sqlite3_busy_handler(db->handle, on_busy, db);
    /* The cell size is looked at first: a world that is not ours is not even switched to WAL. */
    enum err e = migrate(db);
    if (e == ERR_OK)
        e = check_world(db);
    if (e != ERR_OK)
        return e;
    if (!exec(db, "PRAGMA journal_mode = WAL") || !exec(db, "PRAGMA synchronous = FULL") ||
        !exec(db, "PRAGMA cache_size = -16384"))
        return trouble(db);
    for (unsigned k = 0; k < STATEMENTS; k++)
        if (sqlite3_prepare_v3(db->handle, sql[k], -1, SQLITE_PREPARE_PERSISTENT, &db->stmt[k], NULL) != SQLITE_OK)
            return trouble(db);
    log_info("store_open store=sqlite path=%s", db->path);
    db->trouble[0] = '\0';
    return ERR_OK;
}

/* ---- statements ---- */

static sqlite3_stmt *start(struct sqlite_db *db, enum statement k)
{
    sqlite3_reset(db->stmt[k]);
    return db->stmt[k];
}

/* For statements that give no rows. */
static int run(struct sqlite_db *db, enum statement k)
{
    int rc = sqlite3_step(db->stmt[k]);
    sqlite3_reset(db->stmt[k]);
    return rc;
}

static bool plain(struct sqlite_db *db, enum statement k)
{
    return run(db, k) == SQLITE_DONE;
}

/* Will it be refused again, whenever it is asked? */
static bool for_good(int rc)
{
    int primary = rc & 0xff;
    return primary == SQLITE_CONSTRAINT || primary == SQLITE_TOOBIG || primary == SQLITE_MISMATCH;
}

static void bind_cell(sqlite3_stmt *s, struct cell_pos c, uint64_t epoch)
{
    sqlite3_bind_int(s, 1, c.i);
    sqlite3_bind_int(s, 2, c.j);
    sqlite3_bind_int64(s, 3, (sqlite3_int64)epoch);
}

static enum err read_cell(struct sqlite_db *db, struct cell_pos at, struct store_cell *out, bool *found)
{
    sqlite3_stmt *s = start(db, CELL_READ);
    sqlite3_bind_int(s, 1, at.i);
    sqlite3_bind_int(s, 2, at.j);
    *out = (struct store_cell){0};
    int rc = sqlite3_step(s);
    *found = rc == SQLITE_ROW;
    if (*found) {
        out->epoch = (uint64_t)sqlite3_column_int64(s, 0);
        out->generation = (uint64_t)sqlite3_column_int64(s, 1);
        out->rev = (uint64_t)sqlite3_column_int64(s, 2);
        out->key_floor = (uint32_t)sqlite3_column_int64(s, 3);
        out->clean = sqlite3_column_int(s, 4) != 0;
        const void *seen = sqlite3_column_blob(s, 5);
        int bytes = sqlite3_column_bytes(s, 5);
        out->seen = seen && bytes > 0 ? blob_new(seen, (size_t)bytes) : NULL;
    }
    sqlite3_reset(s);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? ERR_OK : trouble(db);
}

static enum err read_rows(struct sqlite_db *db, enum row_kind kind, struct store_rows *rows)
{
    static const enum statement reads[] = {BLOCK_READ, LIGHT_READ, SIGN_READ};
    struct chunk_pos first = store_first_chunk(rows->cell);
    for (int32_t p = first.p; p < first.p + CELL_CHUNKS; p++) {
        sqlite3_stmt *s = start(db, reads[kind]);
        sqlite3_bind_int(s, 1, p);
        sqlite3_bind_int(s, 2, first.q);
        sqlite3_bind_int(s, 3, first.q + CELL_CHUNKS - 1);
        int rc;
        while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
            struct store_raw raw = {.kind = kind,
                                    .p = sqlite3_column_int64(s, 0),
                                    .q = sqlite3_column_int64(s, 1),
                                    .x = sqlite3_column_int64(s, 2),
                                    .y = sqlite3_column_int64(s, 3),
                                    .z = sqlite3_column_int64(s, 4),
                                    .rev = sqlite3_column_int64(s, 5)};
            if (kind == ROW_SIGN) {
                raw.face = sqlite3_column_int64(s, 6);
                raw.text = (const char *)sqlite3_column_text(s, 7);
                raw.text_len = (size_t)sqlite3_column_bytes(s, 7);
            } else {
                raw.w = sqlite3_column_int64(s, 6);
                raw.key = kind == ROW_BLOCK ? sqlite3_column_int64(s, 7) : 0;
            }
            store_rows_add(rows, &raw);
        }
        sqlite3_reset(s);
        if (rc != SQLITE_DONE)
            return trouble(db);
    }
    return ERR_OK;
}

/* ---- requests ---- */

static enum err claim_or_raise(struct sqlite_db *db, struct sqlite_work *w)
{
    struct store_req *r = w->req;
    enum err e = read_cell(db, r->cell, &w->row, &r->found);
    if (e != ERR_OK)
        return e;
    w->has_row = true;
    if (w->row.epoch > r->row.epoch || (r->op == STORE_CLAIM && w->row.epoch == r->row.epoch))
        return ERR_STALE;
    sqlite3_stmt *s = start(db, CELL_RAISE);
    bind_cell(s, r->cell, r->row.epoch);
    if (!plain(db, CELL_RAISE))
        return trouble(db);
    w->row.epoch = r->row.epoch;
    if (r->op == STORE_RAISE)
        return ERR_OK;
    struct store_rows rows;
    store_rows_start(&rows, r);
    for (enum row_kind k = ROW_BLOCK; k <= ROW_SIGN && e == ERR_OK; k++)
        e = read_rows(db, k, &rows);
    r->rows = rows.rows;
    r->n_rows = rows.n;
    w->broken = rows.broken;
    return e;
}

static int write_row(struct sqlite_db *db, const struct row *row)
{
    static const enum statement writes[] = {BLOCK_WRITE, LIGHT_WRITE, SIGN_WRITE};
    enum statement k = writes[row->kind];
    struct chunk_pos chunk = chunk_of_block(row->at.x, row->at.z);
    sqlite3_stmt *s = start(db, k);
    sqlite3_bind_int(s, 1, chunk.p);
    sqlite3_bind_int(s, 2, chunk.q);
    sqlite3_bind_int(s, 3, row->at.x);
    sqlite3_bind_int(s, 4, row->at.y);
    sqlite3_bind_int(s, 5, row->at.z);
    sqlite3_bind_int64(s, 6, (sqlite3_int64)row->rev);
    if (row->kind == ROW_SIGN) {
        sqlite3_bind_int(s, 7, row->face);
        sqlite3_bind_text(s, 8, row->text, -1, SQLITE_STATIC);
    } else {
        sqlite3_bind_int(s, 7, row->w);
        if (row->kind == ROW_BLOCK)
            sqlite3_bind_int64(s, 8, row->key);
    }
    return run(db, k);
}

static enum err flush(struct sqlite_db *db, struct sqlite_work *w)
{
    struct store_req *r = w->req;
    sqlite3_stmt *s = start(db, CELL_FLUSH);
    bind_cell(s, r->cell, r->row.epoch);
    sqlite3_bind_int64(s, 4, (sqlite3_int64)r->row.generation);
    sqlite3_bind_int64(s, 5, (sqlite3_int64)r->row.rev);
    sqlite3_bind_int64(s, 6, r->row.key_floor);
    sqlite3_bind_int(s, 7, r->row.clean);
    if (r->row.seen)
        sqlite3_bind_blob64(s, 8, r->row.seen->data, r->row.seen->len, SQLITE_STATIC);
    else
        sqlite3_bind_zeroblob(s, 8, 0);
    if (!plain(db, CELL_FLUSH))
        return trouble(db);
    if (sqlite3_changes(db->handle) != 1) {
        enum err e = read_cell(db, r->cell, &w->row, &r->found);
        w->has_row = e == ERR_OK;
        return e == ERR_OK ? ERR_STALE : e;
    }
    r->found = true;
    for (unsigned k = 0; k < r->n_rows; k++) {
        int rc = write_row(db, &r->rows[k]);
        if (rc == SQLITE_DONE)
            continue;
        r->row_refused = k;
        return for_good(rc) ? ERR_REFUSED : trouble(db);
    }
    return ERR_OK;
}

static enum err visit(struct sqlite_db *db, struct store_req *r)
{
    struct store_place *p = &r->places[0];
    sqlite3_stmt *s = start(db, PLAYER_VISIT);
    sqlite3_bind_text(s, 1, p->account, -1, SQLITE_STATIC);
    int rc = sqlite3_step(s);
    if (rc == SQLITE_ROW) {
        p->visit = (uint64_t)sqlite3_column_int64(s, 0);
        p->count = 0;
        p->place = (struct place){(float)sqlite3_column_double(s, 1), (float)sqlite3_column_double(s, 2),
                                  (float)sqlite3_column_double(s, 3), (float)sqlite3_column_double(s, 4),
                                  (float)sqlite3_column_double(s, 5)};
        r->found = sqlite3_column_type(s, 1) != SQLITE_NULL && place_valid(&p->place);
        rc = sqlite3_step(s);
    }
    sqlite3_reset(s);
    return rc == SQLITE_DONE ? ERR_OK : trouble(db);
}

static enum err save_places(struct sqlite_db *db, struct store_req *r)
{
    for (unsigned k = 0; k < r->n_places; k++) {
        const struct store_place *p = &r->places[k];
        sqlite3_stmt *s = start(db, PLAYER_SAVE);
        sqlite3_bind_text(s, 1, p->account, -1, SQLITE_STATIC);
        sqlite3_bind_int64(s, 2, (sqlite3_int64)p->visit);
        sqlite3_bind_int64(s, 3, (sqlite3_int64)p->count);
        const float place[] = {p->place.x, p->place.y, p->place.z, p->place.rx, p->place.ry};
        for (int f = 0; f < 5; f++)
            sqlite3_bind_double(s, 4 + f, (double)place[f]);
        int rc = run(db, PLAYER_SAVE);
        if (rc == SQLITE_DONE)
            continue;
        r->row_refused = k;
        return for_good(rc) ? ERR_REFUSED : trouble(db);
    }
    return ERR_OK;
}

static enum err carry_out(struct sqlite_db *db, struct sqlite_work *w)
{
    switch (w->req->op) {
    case STORE_CLAIM:
    case STORE_RAISE:
        return claim_or_raise(db, w);
    case STORE_FLUSH:
        return flush(db, w);
    case STORE_VISIT:
        return visit(db, w->req);
    case STORE_SAVE_PLACES:
        return save_places(db, w->req);
    }
    return ERR_BAD;
}

/* In a savepoint, so that a stale fence, a refused row or a page that cannot be read undoes this request and no other.
 * False: SQLite itself undid the whole transaction. */
static bool carry_out_alone(struct sqlite_db *db, struct sqlite_work *w)
{
    w->err = ERR_OK;
    if (!w->req)
        return true;
    if (!plain(db, SAVE)) {
        w->err = trouble(db);
        return !sqlite3_get_autocommit(db->handle);
    }
    w->err = carry_out(db, w);
    return (w->err == ERR_OK || plain(db, UNDO)) && plain(db, UNSAVE);
}

static void fail(struct sqlite_work *w, enum err e)
{
    w->err = e;
    w->has_row = false;
    blob_unref(w->row.seen);
    w->row.seen = NULL;
}

void sqlite_db_run(struct sqlite_db *db, struct sqlite_work **works, unsigned n)
{
    enum err e = db->handle ? ERR_OK : db_open(db);
    if (e == ERR_OK && !plain(db, BEGIN))
        e = trouble(db);
    bool all_good = true;
    for (unsigned k = 0; k < n && e == ERR_OK; k++) {
        if (!carry_out_alone(db, works[k]))
            e = trouble(db);
        all_good = all_good && works[k]->err != ERR_IO;
    }
    if (e == ERR_OK && !plain(db, COMMIT))
        e = trouble(db);
    for (unsigned k = 0; k < n; k++) {
        if (e != ERR_OK || works[k]->err == ERR_IO)
            fail(works[k], e != ERR_OK ? e : ERR_IO);
        works[k]->other_cells = e == ERR_MISMATCH && db->other_cells;
    }
    if (e == ERR_OK && all_good)
        db->trouble[0] = '\0';
    else
        db_close(db); /* undoes what is open; the next requests start from a fresh look at the file */
}
