#include "node/store/pg_request.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "node/store/pg_params.h"
#include "proto/base/log.h"

#define FENCED " WHERE EXISTS (SELECT FROM cell WHERE i = $1 AND j = $2 AND epoch = $3)"
#define CHUNKS " WHERE p IN ($1, $1 + 1, $1 + 2, $1 + 3) AND q IN ($2, $2 + 1, $2 + 2, $2 + 3)"
_Static_assert(CELL_CHUNKS == 4, "CHUNKS spells out the chunks of a cell");

/* A late flush under the same epoch (its answer was lost) never takes the cell's row back. */
static const struct {
    const char *name, *sql;
    enum pg_type types[PG_PARAMS_MAX];
    int n;
} statements[] = {
    {"cell_make", "INSERT INTO cell (i, j, epoch) VALUES ($1, $2, 0) ON CONFLICT DO NOTHING", {PG_INT4, PG_INT4}, 2},
    {"cell_lock",
     "SELECT epoch, generation, rev, key_floor, clean, seen FROM cell WHERE i = $1 AND j = $2 FOR UPDATE",
     {PG_INT4, PG_INT4},
     2},
    {"cell_claim",
     "UPDATE cell SET epoch = $3, clean = false WHERE i = $1 AND j = $2 AND epoch < $3",
     {PG_INT4, PG_INT4, PG_INT8},
     3},
    {"cell_raise",
     "UPDATE cell SET epoch = $3, clean = false WHERE i = $1 AND j = $2 AND epoch <= $3",
     {PG_INT4, PG_INT4, PG_INT8},
     3},
    {"cell_flush",
     "UPDATE cell SET epoch = $3, generation = greatest(generation, $4), rev = greatest(rev, $5), "
     "key_floor = greatest(key_floor, $6), clean = $7 AND $5 >= rev, seen = CASE WHEN $5 >= rev THEN $8 ELSE seen END "
     "WHERE i = $1 AND j = $2 AND epoch <= $3",
     {PG_INT4, PG_INT4, PG_INT8, PG_INT8, PG_INT8, PG_INT4, PG_BOOL, PG_BYTEA},
     8},
    {"cell_epoch", "SELECT epoch FROM cell WHERE i = $1 AND j = $2", {PG_INT4, PG_INT4}, 2},
    {"block_read", "SELECT p, q, x, y, z, rev, w, key FROM block" CHUNKS, {PG_INT4, PG_INT4}, 2},
    {"light_read", "SELECT p, q, x, y, z, rev, w FROM light" CHUNKS, {PG_INT4, PG_INT4}, 2},
    {"sign_read", "SELECT p, q, x, y, z, rev, face, text FROM sign" CHUNKS, {PG_INT4, PG_INT4}, 2},
    {"block_write",
     "INSERT INTO block (p, q, x, y, z, rev, w, key) SELECT * FROM unnest($4, $5, $6, $7, $8, $9, $10, $11) t" FENCED
     " ON CONFLICT (p, q, x, y, z) DO UPDATE SET w = excluded.w, key = excluded.key, rev = excluded.rev "
     "WHERE block.rev < excluded.rev",
     {PG_INT4, PG_INT4, PG_INT8, PG_INT4S, PG_INT4S, PG_INT4S, PG_INT4S, PG_INT4S, PG_INT8S, PG_INT2S, PG_INT4S},
     11},
    {"light_write",
     "INSERT INTO light (p, q, x, y, z, rev, w) SELECT * FROM unnest($4, $5, $6, $7, $8, $9, $10) t" FENCED
     " ON CONFLICT (p, q, x, y, z) DO UPDATE SET w = excluded.w, rev = excluded.rev WHERE light.rev < excluded.rev",
     {PG_INT4, PG_INT4, PG_INT8, PG_INT4S, PG_INT4S, PG_INT4S, PG_INT4S, PG_INT4S, PG_INT8S, PG_INT2S},
     10},
    {"sign_write",
     "INSERT INTO sign (p, q, x, y, z, rev, face, text) SELECT * FROM unnest($4, $5, $6, $7, $8, $9, $10, $11) t" FENCED
     " ON CONFLICT (p, q, x, y, z, face) DO UPDATE SET text = excluded.text, rev = excluded.rev "
     "WHERE sign.rev < excluded.rev",
     {PG_INT4, PG_INT4, PG_INT8, PG_INT4S, PG_INT4S, PG_INT4S, PG_INT4S, PG_INT4S, PG_INT8S, PG_INT2S, PG_TEXTS},
     11},
    {"player_visit",
     "INSERT INTO player (account, visit, count) VALUES ($1, 1, 0) "
     "ON CONFLICT (account) DO UPDATE SET visit = player.visit + 1, count = 0 RETURNING visit, x, y, z, rx, ry",
     {PG_TEXT},
     1},
    /* One row an account, sorted: two nodes that save the same players lock them in the same order. */
    {"player_save",
     "INSERT INTO player (account, visit, count, x, y, z, rx, ry) SELECT DISTINCT ON (account COLLATE \"C\") * "
     "FROM unnest($1, $2, $3, $4, $5, $6, $7, $8) t (account, visit, count, x, y, z, rx, ry) "
     "ORDER BY account COLLATE \"C\", visit DESC, count DESC ON CONFLICT (account) DO UPDATE SET "
     "visit = excluded.visit, count = excluded.count, x = excluded.x, y = excluded.y, z = excluded.z, "
     "rx = excluded.rx, ry = excluded.ry WHERE (player.visit, player.count) < (excluded.visit, excluded.count)",
     {PG_TEXTS, PG_INT8S, PG_INT8S, PG_FLOAT4S, PG_FLOAT4S, PG_FLOAT4S, PG_FLOAT4S, PG_FLOAT4S},
     8},
};

bool pg_prepare(PGconn *c)
{
    for (unsigned k = 0; k < sizeof(statements) / sizeof(*statements); k++) {
        Oid types[PG_PARAMS_MAX];
        for (int t = 0; t < statements[k].n; t++)
            types[t] = (Oid)statements[k].types[t];
        if (!PQsendPrepare(c, statements[k].name, statements[k].sql, statements[k].n, types))
            return false;
    }
    return true;
}

/* ---- sending ---- */

static bool send_params(PGconn *c, const char *name, const struct pg_params *p)
{
    return PQsendQueryPrepared(c, name, p->n, p->values, p->lengths, p->formats, 1) == 1;
}

static bool send_cell(PGconn *c, const char *name, const struct store_req *r, bool epoch, struct arena *scratch)
{
    struct pg_params p;
    pg_params_start(&p, scratch);
    pg_add_int4(&p, r->cell.i);
    pg_add_int4(&p, r->cell.j);
    if (epoch)
        pg_add_int8(&p, r->row.epoch);
    return send_params(c, name, &p);
}

static bool send_read(PGconn *c, const char *name, const struct store_req *r, struct arena *scratch)
{
    struct chunk_pos first = store_first_chunk(r->cell);
    struct pg_params p;
    pg_params_start(&p, scratch);
    pg_add_int4(&p, first.p);
    pg_add_int4(&p, first.q);
    return send_params(c, name, &p);
}

static bool send_claim(PGconn *c, const struct store_req *r, struct arena *scratch)
{
    return send_cell(c, "cell_make", r, false, scratch) && send_cell(c, "cell_lock", r, false, scratch) &&
           send_cell(c, r->op == STORE_CLAIM ? "cell_claim" : "cell_raise", r, true, scratch) &&
           (r->op == STORE_RAISE || (send_read(c, "block_read", r, scratch) && send_read(c, "light_read", r, scratch) &&
                                     send_read(c, "sign_read", r, scratch)));
}

static unsigned count_kind(const struct row *rows, unsigned n, enum row_kind kind)
{
    unsigned found = 0;
    for (unsigned k = 0; k < n; k++)
        found += rows[k].kind == kind;
    return found;
}

/* The rows of one kind among n_all, as one statement; none: no statement. */
static bool send_rows(PGconn *c, const struct store_req *r, enum row_kind kind, const struct row *rows, unsigned n_all,
                      struct arena *scratch)
{
    static const char *const names[] = {"block_write", "light_write", "sign_write"};
    unsigned n = count_kind(rows, n_all, kind);
    if (n == 0)
        return true;
    struct pg_params p;
    pg_params_start(&p, scratch);
    pg_add_int4(&p, r->cell.i);
    pg_add_int4(&p, r->cell.j);
    pg_add_int8(&p, r->row.epoch);
    struct pg_array at[5], rev, w, last = {0};
    for (unsigned k = 0; k < 5; k++)
        at[k] = pg_add_array(&p, PG_INT4, n, 0);
    rev = pg_add_array(&p, PG_INT8, n, 0);
    w = pg_add_array(&p, PG_INT2, n, 0);
    if (kind != ROW_LIGHT)
        last = pg_add_array(&p, kind == ROW_SIGN ? PG_TEXT : PG_INT4, n, kind == ROW_SIGN ? n * SIGN_TEXT_MAX : 0);
    for (unsigned k = 0; k < n_all; k++) {
        const struct row *row = &rows[k];
        if (row->kind != kind)
            continue;
        struct chunk_pos chunk = chunk_of_block(row->at.x, row->at.z);
        const int32_t where[] = {chunk.p, chunk.q, row->at.x, row->at.y, row->at.z};
        for (unsigned f = 0; f < 5; f++)
            pg_array_int4(&at[f], where[f]);
        pg_array_int8(&rev, row->rev);
        pg_array_int2(&w, kind == ROW_SIGN ? row->face : row->w);
        if (kind == ROW_BLOCK)
            pg_array_int4(&last, (int32_t)row->key);
        else if (kind == ROW_SIGN)
            pg_array_text(&last, row->text);
    }
    for (unsigned f = 0; f < 5; f++)
        pg_array_end(&p, &at[f]);
    pg_array_end(&p, &rev);
    pg_array_end(&p, &w);
    if (kind != ROW_LIGHT)
        pg_array_end(&p, &last);
    return send_params(c, names[kind], &p);
}

static bool send_flush(PGconn *c, const struct store_req *r, bool one_by_one, struct arena *scratch)
{
    struct pg_params p;
    pg_params_start(&p, scratch);
    pg_add_int4(&p, r->cell.i);
    pg_add_int4(&p, r->cell.j);
    pg_add_int8(&p, r->row.epoch);
    pg_add_int8(&p, r->row.generation);
    pg_add_int8(&p, r->row.rev);
    pg_add_int4(&p, (int32_t)r->row.key_floor);
    pg_add_bool(&p, r->row.clean);
    pg_add_bytes(&p, r->row.seen ? r->row.seen->data : NULL, r->row.seen ? r->row.seen->len : 0);
    bool good = send_params(c, "cell_flush", &p) && send_cell(c, "cell_epoch", r, false, scratch);
    for (unsigned k = 0; one_by_one && k < r->n_rows && good; k++)
        good = send_rows(c, r, r->rows[k].kind, &r->rows[k], 1, scratch);
    for (enum row_kind kind = ROW_BLOCK; !one_by_one && kind <= ROW_SIGN && good; kind++)
        good = send_rows(c, r, kind, r->rows, r->n_rows, scratch);
    return good;
}

static bool send_visit(PGconn *c, const struct store_req *r, struct arena *scratch)
{
    struct pg_params p;
    pg_params_start(&p, scratch);
    pg_add_bytes(&p, r->places[0].account, strlen(r->places[0].account));
    return send_params(c, "player_visit", &p);
}

static bool send_places(PGconn *c, const struct store_place *places, unsigned n, struct arena *scratch)
{
    struct pg_params p;
    pg_params_start(&p, scratch);
    struct pg_array account = pg_add_array(&p, PG_TEXT, n, (size_t)n * ACCOUNT_MAX);
    struct pg_array visit = pg_add_array(&p, PG_INT8, n, 0), count = pg_add_array(&p, PG_INT8, n, 0), at[5];
    for (unsigned f = 0; f < 5; f++)
        at[f] = pg_add_array(&p, PG_FLOAT4, n, 0);
    for (unsigned k = 0; k < n; k++) {
        const struct place *where = &places[k].place;
        const float fields[] = {where->x, where->y, where->z, where->rx, where->ry};
        pg_array_text(&account, places[k].account);
        pg_array_int8(&visit, places[k].visit);
        pg_array_int8(&count, places[k].count);
        for (unsigned f = 0; f < 5; f++)
            pg_array_float4(&at[f], fields[f]);
    }
    pg_array_end(&p, &account);
    pg_array_end(&p, &visit);
    pg_array_end(&p, &count);
    for (unsigned f = 0; f < 5; f++)
        pg_array_end(&p, &at[f]);
    return send_params(c, "player_save", &p);
}

static bool send_request(PGconn *c, const struct store_req *r, bool one_by_one, struct arena *scratch)
{
    bool good = true;
    switch (r->op) {
    case STORE_CLAIM:
    case STORE_RAISE:
        return send_claim(c, r, scratch);
    case STORE_FLUSH:
        return send_flush(c, r, one_by_one, scratch);
    case STORE_VISIT:
        return send_visit(c, r, scratch);
    case STORE_SAVE_PLACES:
        if (!one_by_one)
            return r->n_places == 0 || send_places(c, r->places, r->n_places, scratch);
        for (unsigned k = 0; k < r->n_places && good; k++)
            good = send_places(c, &r->places[k], 1, scratch);
        return good;
    }
    return false;
}

bool pg_send(PGconn *c, struct pg_answer *a, struct store_req *r, bool one_by_one, struct arena *scratch)
{
    *a = (struct pg_answer){.req = r, .one_by_one = one_by_one};
    store_rows_start(&a->rows, r);
    bool good = send_request(c, r, one_by_one, scratch) && PQpipelineSync(c) == 1;
    arena_reset(scratch);
    return good;
}

/* ---- receiving ---- */

static bool bytes_are(const PGresult *res, int row, int column, int bytes)
{
    return column < PQnfields(res) && !PQgetisnull(res, row, column) && PQgetlength(res, row, column) == bytes;
}

/* 0 for what is not there, or not of the type that our schema has: then the row is broken anyway, as no rev is 0. */
static int64_t int_at(const PGresult *res, int row, int column)
{
    if (bytes_are(res, row, column, 8))
        return (int64_t)pg_get64(PQgetvalue(res, row, column));
    if (bytes_are(res, row, column, 4))
        return (int32_t)pg_get32(PQgetvalue(res, row, column));
    if (bytes_are(res, row, column, 2))
        return (int16_t)pg_get16(PQgetvalue(res, row, column));
    return 0;
}

static float float_at(const PGresult *res, int row, int column)
{
    float f = 0;
    if (bytes_are(res, row, column, 4)) {
        uint32_t bits = pg_get32(PQgetvalue(res, row, column));
        memcpy(&f, &bits, sizeof(f));
    }
    return f;
}

static void take_cell(struct pg_answer *a, const PGresult *res)
{
    if (PQntuples(res) != 1)
        return;
    a->has_row = true;
    a->row.epoch = (uint64_t)int_at(res, 0, 0);
    if (PQnfields(res) < 6)
        return;
    a->row.generation = (uint64_t)int_at(res, 0, 1);
    a->row.rev = (uint64_t)int_at(res, 0, 2);
    a->row.key_floor = (uint32_t)int_at(res, 0, 3);
    a->row.clean = bytes_are(res, 0, 4, 1) && *PQgetvalue(res, 0, 4);
    int seen = PQgetlength(res, 0, 5);
    a->row.seen = seen > 0 ? blob_new(PQgetvalue(res, 0, 5), (size_t)seen) : NULL;
}

static void take_rows(struct pg_answer *a, const PGresult *res, enum row_kind kind)
{
    for (int k = 0; k < PQntuples(res); k++) {
        struct store_raw raw = {.kind = kind,
                                .p = int_at(res, k, 0),
                                .q = int_at(res, k, 1),
                                .x = int_at(res, k, 2),
                                .y = int_at(res, k, 3),
                                .z = int_at(res, k, 4),
                                .rev = int_at(res, k, 5)};
        if (kind == ROW_SIGN) {
            raw.face = int_at(res, k, 6);
            raw.text = PQgetvalue(res, k, 7);
            raw.text_len = (size_t)PQgetlength(res, k, 7);
        } else {
            raw.w = int_at(res, k, 6);
            raw.key = kind == ROW_BLOCK ? int_at(res, k, 7) : 0;
        }
        store_rows_add(&a->rows, &raw);
    }
}

static void take_visit(struct store_req *r, const PGresult *res)
{
    struct store_place *p = &r->places[0];
    p->visit = (uint64_t)int_at(res, 0, 0);
    p->count = 0;
    p->place = (struct place){float_at(res, 0, 1), float_at(res, 0, 2), float_at(res, 0, 3), float_at(res, 0, 4),
                              float_at(res, 0, 5)};
    r->found = !PQgetisnull(res, 0, 1) && place_valid(&p->place);
}

static bool changed_one(const PGresult *res)
{
    return strcmp(PQcmdTuples((PGresult *)res), "1") == 0; /* libpq forgot the const */
}

static void take_good(struct pg_answer *a, const PGresult *res)
{
    switch (a->req->op) {
    case STORE_CLAIM:
    case STORE_RAISE:
        if (a->statement == 1)
            take_cell(a, res);
        else if (a->statement == 2)
            a->fenced = changed_one(res);
        else if (a->statement >= 3 && a->fenced)
            take_rows(a, res, (enum row_kind)(a->statement - 3));
        break;
    case STORE_FLUSH:
        if (a->statement == 0)
            a->fenced = changed_one(res);
        else if (a->statement == 1)
            take_cell(a, res);
        break;
    case STORE_VISIT:
        if (PQntuples(res) == 1)
            take_visit(a->req, res);
        break;
    case STORE_SAVE_PLACES:
        break;
    }
}

enum err pg_error(const char *sqlstate)
{
    if (!sqlstate)
        return ERR_IO;
    if (strncmp(sqlstate, "22", 2) == 0 || strncmp(sqlstate, "23", 2) == 0)
        return ERR_REFUSED;
    if (strncmp(sqlstate, "42", 2) == 0)
        return ERR_MISMATCH; /* no such table or column, no right to it: not the schema that we know */
    return strcmp(sqlstate, "57014") == 0 ? ERR_TIMEOUT : ERR_IO;
}

void pg_take(struct pg_answer *a, const PGresult *res)
{
    ExecStatusType status = PQresultStatus(res);
    if (a->err != ERR_OK)
        return;
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) {
        take_good(a, res);
        return;
    }
    const char *sqlstate = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    a->err = pg_error(sqlstate);
    a->reconnect = a->err == ERR_MISMATCH || (sqlstate && strcmp(sqlstate, "25006") == 0);
    a->failed = a->statement;
    const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
    char quoted[256];
    text = text ? text : "no answer";
    log_warn("store_error store=postgres why=%s", log_quote(quoted, sizeof(quoted), text, strlen(text)));
}

void pg_drop(struct pg_answer *a)
{
    blob_unref(a->row.seen);
    a->row.seen = NULL;
}

/* A row was refused: which? In a bulk statement nobody can tell, so each goes by itself. When it is none of them (the
 * cell's row, or a check at the commit) sending fewer rows does not help. */
static enum err refused(struct pg_answer *a)
{
    struct store_req *r = a->req;
    unsigned before = r->op == STORE_FLUSH ? 2 : 0, n = r->op == STORE_FLUSH ? r->n_rows : r->n_places;
    if (r->op == STORE_VISIT) {
        r->row_refused = 0;
        return ERR_REFUSED;
    }
    if ((r->op != STORE_FLUSH && r->op != STORE_SAVE_PLACES) || a->failed < before)
        return ERR_BAD;
    if (!a->one_by_one)
        return ERR_AGAIN;
    if (a->failed - before >= n)
        return ERR_BAD;
    r->row_refused = a->failed - before;
    return ERR_REFUSED;
}

enum err pg_finish(struct pg_answer *a)
{
    struct store_req *r = a->req;
    if (a->err != ERR_OK) {
        pg_drop(a);
        return a->err == ERR_REFUSED ? refused(a) : a->err;
    }
    if (r->op == STORE_VISIT || r->op == STORE_SAVE_PLACES)
        return ERR_OK;
    if (r->op == STORE_FLUSH) {
        r->found = a->has_row;
        if (!a->fenced)
            r->row.epoch = a->row.epoch;
        return a->fenced ? ERR_OK : ERR_STALE;
    }
    r->found = a->row.epoch > 0; /* cell_make gives a new row epoch 0, which nobody else has */
    if (a->fenced) {
        a->row.epoch = r->row.epoch;
        r->rows = a->rows.rows;
        r->n_rows = a->rows.n;
    }
    store_req_set_row(r, &a->row);
    return a->fenced ? ERR_OK : ERR_STALE;
}
