/* Databases that are away, locked, full, broken or of another version: an error with a reason, and on again after. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <event2/event.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/store/engine.h"
#include "proto/base/log.h"
#include "proto/base/metrics.h"
#include "tests/lib/store_rig.h"

enum { HEAL_MS = 15000 };

static struct rig rig;
static struct rig *const r = &rig;
static const struct cell_pos cell = {0, 0};

static enum err claim(struct store *s, uint64_t epoch)
{
    struct store_req *req = req_claim(r, cell, epoch);
    enum err e = rig_ask(r, s, req);
    store_req_free(req);
    return e;
}

static const char *sqlite_path(void)
{
    return r->url + strlen("sqlite:");
}

/* What the log says meanwhile. */
static int log_capture(void)
{
    char path[LAB_PATH_MAX];
    int fd = open(lab_path(r->lab, path, "store.log"), O_CREAT | O_TRUNC | O_RDWR | O_APPEND, 0600);
    assert_true(fd >= 0);
    log_set_fd(fd);
    return fd;
}

static unsigned log_count(int fd, const char *text)
{
    static char all[65536];
    ssize_t n = pread(fd, all, sizeof(all) - 1, 0);
    all[n > 0 ? n : 0] = '\0';
    unsigned found = 0;
    for (const char *at = all; (at = strstr(at, text)); at++)
        found++;
    return found;
}

static void log_release(int fd)
{
    log_set_fd(-1);
    close(fd);
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* ---- URLs ---- */

static void a_bad_url_is_refused_with_a_reason(void **state)
{
    (void)state;
    static const char *const urls[] = {"",
                                       "world.db",
                                       "mysql://x/y",
                                       "sqlite:",
                                       "sqlite::memory:",
                                       "sqlite:file:x?mode=memory",
                                       "postgres://",
                                       "postgres:///db",
                                       "postgres://127.0.0.1",
                                       "postgres://a,b/db",
                                       "postgres://127.0.0.1:x/db?nonsense=1",
                                       "postgres://some.name/db"};
    struct event_base *base = event_base_new();
    for (unsigned k = 0; k < sizeof(urls) / sizeof(*urls); k++) {
        struct store *s = NULL;
        char why[128] = "";
        assert_int_equal(store_open(urls[k], base, NULL, CELL_CHUNKS, &s, why, sizeof(why)), ERR_BAD);
        assert_string_not_equal(why, "");
        assert_null(s);
    }
    event_base_free(base);
}

/* ---- SQLite ---- */

static void what_sqlite_committed_is_there_for_the_next_process(void **state)
{
    (void)state;
    struct row row = block_row(1, 1, 1, 1, 1, 1);
    assert_int_equal(claim(r->store, 1), ERR_OK);
    struct store_req *flush = req_flush(r, cell, 1, 1, &row, 1);
    rig_submit(r, r->store, flush);
    store_close(r->store); /* answers what it took */
    assert_int_equal(flush->err, ERR_OK);
    store_req_free(flush);
    rig_finish(r);
    r->store = rig_open(r);
    struct store_req *again = rig_claimed(r, cell, 2);
    assert_int_equal(again->n_rows, 1);
    store_req_free(again);
}

/* Three nodes on one host start at the same moment on a file that is not there yet. */
static void many_may_open_a_new_sqlite_file_at_once(void **state)
{
    (void)state;
    struct store *stores[4];
    snprintf(r->url, sizeof(r->url), "sqlite:%s/shared.db", lab_dir(r->lab));
    for (unsigned k = 0; k < 4; k++)
        stores[k] = rig_open(r);
    for (unsigned k = 0; k < 4; k++)
        assert_true(rig_wait_healthy(r, stores[k], true, HEAL_MS));
    for (uint64_t epoch = 1; epoch < 40; epoch++)
        assert_int_equal(claim(stores[epoch % 4], epoch), ERR_OK);
    assert_int_equal(claim(stores[0], 39), ERR_STALE);
    for (unsigned k = 0; k < 4; k++)
        store_close(stores[k]);
}

static void a_locked_sqlite_file_is_an_error_until_it_is_free(void **state)
{
    (void)state;
    sqlite3 *other = NULL;
    assert_int_equal(sqlite3_open(sqlite_path(), &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(claim(r->store, 1), ERR_IO);
    assert_false(r->store->ops->healthy(r->store));
    sqlite3_close(other);
    assert_int_equal(claim(r->store, 1), ERR_OK);
    assert_true(r->store->ops->healthy(r->store));
}

static void a_full_disk_is_an_error_until_there_is_room(void **state)
{
    (void)state;
    struct rlimit before, small;
    struct row rows[2000];
    for (int32_t k = 0; k < 2000; k++)
        rows[k] = sign_row(k % 128, 1 + k / 128, 1, 1, "some text that takes up a little room", 1);
    assert_int_equal(claim(r->store, 1), ERR_OK);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = 100000;
    setrlimit(RLIMIT_FSIZE, &small);
    struct store_req *flush = req_flush(r, cell, 1, 1, rows, 2000);
    enum err full = rig_ask(r, r->store, flush);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(full, ERR_IO);
    assert_false(r->store->ops->healthy(r->store));
    assert_int_equal(rig_ask(r, r->store, flush), ERR_OK);
    store_req_free(flush);
    struct store_req *now = rig_claimed(r, cell, 2);
    assert_int_equal(now->n_rows, 2000);
    store_req_free(now);
}

static void a_file_that_is_no_database_is_an_error_and_is_not_touched(void **state)
{
    (void)state;
    const char text[] = "this is somebody's diary, and long enough to have a page of its own, or so one may hope: "
                        "SQLite looks at the first hundred bytes and no more than that";
    snprintf(r->url, sizeof(r->url), "sqlite:%s/diary", lab_dir(r->lab));
    write_file(sqlite_path(), text);
    struct store *s = rig_open(r);
    int log = log_capture();
    assert_int_equal(claim(s, 1), ERR_IO);
    assert_int_equal(claim(s, 1), ERR_IO);
    assert_int_equal(log_count(log, "store_trouble"), 1);
    log_release(log);
    store_close(s);
    struct stat st;
    assert_int_equal(stat(sqlite_path(), &st), 0);
    assert_int_equal(st.st_size, sizeof(text) - 1);
}

/* A page in the middle is damaged: what needs it fails, the process does not. */
static void a_damaged_sqlite_file_never_crashes(void **state)
{
    (void)state;
    struct row rows[2000];
    for (int32_t k = 0; k < 2000; k++)
        rows[k] = block_row(k % 128, 1 + k / 128, 1, 1, 1, 1);
    assert_int_equal(claim(r->store, 1), ERR_OK);
    struct store_req *flush = req_flush(r, cell, 1, 1, rows, 2000);
    assert_int_equal(rig_ask(r, r->store, flush), ERR_OK);
    store_req_free(flush);
    store_close(r->store); /* the last one out moves everything into the file */
    struct stat st;
    assert_int_equal(stat(sqlite_path(), &st), 0);
    int fd = open(sqlite_path(), O_WRONLY);
    char garbage[4096];
    memset(garbage, 0xa5, sizeof(garbage));
    for (off_t at = 4096 * 9; at + 4096 <= st.st_size; at += 4096)
        assert_int_equal(pwrite(fd, garbage, sizeof(garbage), at), sizeof(garbage));
    close(fd);
    r->store = rig_open(r);
    assert_int_equal(claim(r->store, 2), ERR_IO);
    struct store_req *visit = req_visit(r, "ann"); /* on a page that is whole */
    assert_int_equal(rig_ask(r, r->store, visit), ERR_OK);
    store_req_free(visit);
}

static void a_sqlite_path_that_cannot_be_opened_heals_by_itself(void **state)
{
    (void)state;
    char dir[LAB_PATH_MAX];
    lab_path(r->lab, dir, "later");
    snprintf(r->url, sizeof(r->url), "sqlite:%s/world.db", dir);
    struct store *s = rig_open(r);
    assert_int_equal(claim(s, 1), ERR_IO);
    assert_false(s->ops->healthy(s));
    assert_int_equal(mkdir(dir, 0700), 0);
    assert_true(rig_wait_healthy(r, s, true, HEAL_MS)); /* nobody asks: it looks again on its own */
    assert_int_equal(claim(s, 1), ERR_OK);
    store_close(s);
}

/* ---- both: versions ---- */

static void check_mismatch(struct store *s, const char *line)
{
    int log = log_capture();
    assert_int_equal(claim(s, 1), ERR_MISMATCH);
    assert_int_equal(claim(s, 1), ERR_MISMATCH);
    assert_false(s->ops->healthy(s));
    assert_int_equal(log_count(log, line), 0); /* said once, when it was seen first */
    log_release(log);
}

static void another_schema_or_world_is_refused_until_it_is_mended(void **state)
{
    (void)state;
    static const struct {
        const char *spoil, *mend, *line;
    } cases[] = {
        {"INSERT INTO schema_version (version) VALUES (99)", "DELETE FROM schema_version WHERE version = 99",
         "schema 99"},
        {"UPDATE world SET cell_chunks = 8", "UPDATE world SET cell_chunks = 4", "its cells are 8 chunks wide, ours 4"},
    };
    uint64_t epoch = 1;
    for (unsigned k = 0; k < 2; k++) {
        assert_int_equal(claim(r->store, epoch++), ERR_OK);
        store_close(r->store);
        r->store = NULL;
        rig_sql(r, cases[k].spoil);
        int log = log_capture();
        struct store *s = rig_open(r);
        for (unsigned turn = 0; turn < 1000 && log_count(log, cases[k].line) == 0; turn++)
            rig_turn(r);
        assert_int_equal(log_count(log, cases[k].line), 1);
        log_release(log);
        check_mismatch(s, cases[k].line);
        rig_sql(r, cases[k].mend);
        assert_true(rig_wait_healthy(r, s, true, HEAL_MS));
        r->store = s;
    }
    assert_int_equal(claim(r->store, epoch - 1), ERR_STALE); /* nothing was written meanwhile */
    assert_int_equal(claim(r->store, epoch), ERR_OK);
}

/* ---- PostgreSQL ---- */

static void a_database_without_the_schema_names_the_command_to_run(void **state)
{
    (void)state;
    rig_sql(r, "CREATE DATABASE empty");
    char before[sizeof(r->url)];
    memcpy(before, r->url, sizeof(before));
    snprintf(r->url, sizeof(r->url), "postgres://spotcraft@127.0.0.1:%u/empty", r->postgres.port);
    int log = log_capture();
    struct store *s = rig_open(r);
    assert_int_equal(claim(s, 1), ERR_MISMATCH);
    assert_int_equal(log_count(log, "schema 0 is older than our 1: run ops/migrate.sh"), 1);
    log_release(log);
    rig_migrate(r);
    rig_migrate(r); /* again: no harm */
    assert_true(rig_wait_healthy(r, s, true, HEAL_MS));
    assert_int_equal(claim(s, 1), ERR_OK);
    store_close(s);
    memcpy(r->url, before, sizeof(before));
}

/* The dead one's children may hold on to its memory for a moment, and nobody can start before they are gone. */
static void start_server_again(void)
{
    bool started = false;
    for (unsigned k = 0; k < 50 && !started; k++)
        started = postgres_start(&r->postgres);
    assert_true(started);
}

static void a_killed_server_loses_only_what_was_in_flight(void **state)
{
    (void)state;
    enum { FLIGHT = 20 };
    struct store_req *reqs[FLIGHT];
    struct row row = block_row(1, 1, 1, 1, 1, 1);
    assert_int_equal(claim(r->store, 1000), ERR_OK);
    /* The first waits for a lock, the others behind it: all are in flight when the server dies. */
    PGconn *other = PQconnectdb(r->url);
    PQclear(PQexec(other, "BEGIN; SELECT * FROM cell FOR UPDATE"));
    for (unsigned k = 0; k < FLIGHT; k++)
        rig_submit(r, r->store, reqs[k] = req_flush(r, cell, 1000, 1, &row, 1));
    rig_turn(r);
    proc_kill(r->postgres.proc);
    rig_finish(r);
    PQfinish(other);
    for (unsigned k = 0; k < FLIGHT; k++)
        assert_int_equal(reqs[k]->err, ERR_IO);
    /* What is asked while it is away waits for it. */
    struct store_req *waits = req_flush(r, cell, 1000, 2, &row, 1);
    rig_submit(r, r->store, waits);
    start_server_again();
    rig_finish(r);
    assert_int_equal(waits->err, ERR_OK);
    store_req_free(waits);
    for (unsigned k = 0; k < FLIGHT; k++) { /* as they are */
        assert_int_equal(rig_ask(r, r->store, reqs[k]), ERR_OK);
        store_req_free(reqs[k]);
    }
    struct store_req *now = rig_claimed(r, cell, 1001);
    assert_int_equal(now->n_rows, 1);
    store_req_free(now);
}

static void a_backend_that_is_terminated_is_replaced(void **state)
{
    (void)state;
    assert_int_equal(claim(r->store, 2000), ERR_OK);
    rig_sql(r, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'spotcraft'");
    assert_true(rig_wait_healthy(r, r->store, false, HEAL_MS));
    assert_true(rig_wait_healthy(r, r->store, true, HEAL_MS));
    assert_int_equal(claim(r->store, 2001), ERR_OK);
}

/* Somebody holds the cell's row: the server gives up by itself, and only on what touches that row. */
static void a_lock_that_is_held_too_long_times_out_alone(void **state)
{
    (void)state;
    assert_int_equal(claim(r->store, 3000), ERR_OK);
    PGconn *other = PQconnectdb(r->url);
    PQclear(PQexec(other, "BEGIN; SELECT * FROM cell FOR UPDATE"));
    struct store_req *blocked = req_flush(r, cell, 3000, 3, NULL, 0), *visit = req_visit(r, "ann");
    rig_submit(r, r->store, blocked);
    rig_submit(r, r->store, visit);
    rig_finish(r);
    assert_int_equal(blocked->err, ERR_TIMEOUT);
    assert_int_equal(visit->err, ERR_OK);
    PQfinish(other);
    assert_int_equal(rig_ask(r, r->store, blocked), ERR_OK);
    store_req_free(blocked);
    store_req_free(visit);
}

/* Not a statement fails but the commit itself: that is not "written". */
static void a_commit_that_fails_is_not_taken_for_done(void **state)
{
    (void)state;
    assert_int_equal(claim(r->store, 4000), ERR_OK);
    rig_sql(r, "CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not today' "
               "USING ERRCODE = 'XX000'; END $$;"
               "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON light DEFERRABLE INITIALLY DEFERRED FOR EACH ROW "
               "EXECUTE FUNCTION never()");
    struct row light = light_row(9, 9, 9, 9, 50);
    struct store_req *flush = req_flush(r, cell, 4000, 50, &light, 1), *visit = req_visit(r, "ann");
    rig_submit(r, r->store, flush);
    rig_submit(r, r->store, visit);
    rig_finish(r);
    assert_int_equal(flush->err, ERR_IO);
    assert_int_equal(visit->err, ERR_OK);
    rig_sql(r, "DROP TRIGGER late ON light; DROP FUNCTION never()");
    assert_int_equal(rig_ask(r, r->store, flush), ERR_OK);
    store_req_free(flush);
    store_req_free(visit);
    struct store_req *now = rig_claimed(r, cell, 4001);
    assert_non_null(rows_find(now, &light));
    store_req_free(now);
}

/* After a failover the old address may lead to a server that only reads. */
static void a_server_that_became_read_only_is_left(void **state)
{
    (void)state;
    assert_int_equal(claim(r->store, 5000), ERR_OK);
    rig_sql(r, "ALTER SYSTEM SET default_transaction_read_only = on");
    rig_sql(r, "SELECT pg_reload_conf()");
    enum err e = ERR_OK;
    for (uint64_t epoch = 5001; epoch < 6000 && e == ERR_OK; epoch++)
        e = claim(r->store, epoch);
    assert_int_equal(e, ERR_IO);
    assert_false(r->store->ops->healthy(r->store));
    rig_sql(r, "ALTER SYSTEM RESET default_transaction_read_only");
    rig_sql(r, "SELECT pg_reload_conf()");
    assert_true(rig_wait_healthy(r, r->store, true, HEAL_MS));
    assert_int_equal(claim(r->store, 6001), ERR_OK);
}

static void a_table_that_went_away_is_a_mismatch_and_no_loop(void **state)
{
    (void)state;
    assert_int_equal(claim(r->store, 7000), ERR_OK);
    rig_sql(r, "ALTER TABLE sign RENAME TO sign_gone");
    assert_int_equal(claim(r->store, 7001), ERR_MISMATCH);
    rig_sql(r, "ALTER TABLE sign_gone RENAME TO sign");
    assert_true(rig_wait_healthy(r, r->store, true, HEAL_MS));
    assert_int_equal(claim(r->store, 7001), ERR_OK);
}

static void closing_it_answers_what_is_in_flight(void **state)
{
    (void)state;
    struct row row = block_row(2, 2, 2, 2, 2, 90);
    assert_int_equal(claim(r->store, 8000), ERR_OK);
    struct store_req *flush = req_flush(r, cell, 8000, 90, &row, 1);
    rig_submit(r, r->store, flush);
    store_close(r->store);
    assert_int_equal(flush->err, ERR_OK);
    rig_finish(r);
    store_req_free(flush);
    r->store = rig_open(r);
    struct store_req *now = rig_claimed(r, cell, 8001);
    assert_non_null(rows_find(now, &row));
    store_req_free(now);
}

/* Hung, not dead: nothing tells but the clock. */
static void a_server_that_hangs_times_out(void **state)
{
    (void)state;
    assert_int_equal(claim(r->store, 9000), ERR_OK);
    rig_sql(r, "CREATE FUNCTION hang() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN SET LOCAL statement_timeout = 0; "
               "PERFORM pg_sleep(30); RETURN NEW; END $$;"
               "CREATE TRIGGER hangs BEFORE INSERT ON player FOR EACH ROW EXECUTE FUNCTION hang()");
    struct store_req *first = req_visit(r, "hung"), *second = req_visit(r, "behind");
    rig_submit(r, r->store, first);
    rig_submit(r, r->store, second);
    rig_finish(r);
    assert_int_equal(first->err, ERR_TIMEOUT);
    assert_true(second->err == ERR_IO || second->err == ERR_TIMEOUT);
    store_req_free(first);
    store_req_free(second);
    assert_true(rig_wait_healthy(r, r->store, true, HEAL_MS));
    assert_int_equal(claim(r->store, 9001), ERR_OK);
}

static int start_sqlite(void **state)
{
    (void)state;
    rig_start(r, RIG_SQLITE);
    return 0;
}

static int start_postgres(void **state)
{
    (void)state;
    rig_start(r, RIG_POSTGRES);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    rig_stop(r);
    return 0;
}

#define ON_SQLITE(test) cmocka_unit_test_setup_teardown(test, start_sqlite, stop)

int main(void)
{
    alarm(60);
    log_set_fd(-1);
    const struct CMUnitTest sqlite_tests[] = {
        cmocka_unit_test(a_bad_url_is_refused_with_a_reason),
        ON_SQLITE(what_sqlite_committed_is_there_for_the_next_process),
        ON_SQLITE(many_may_open_a_new_sqlite_file_at_once),
        ON_SQLITE(a_locked_sqlite_file_is_an_error_until_it_is_free),
        ON_SQLITE(a_full_disk_is_an_error_until_there_is_room),
        ON_SQLITE(a_file_that_is_no_database_is_an_error_and_is_not_touched),
        ON_SQLITE(a_damaged_sqlite_file_never_crashes),
        ON_SQLITE(a_sqlite_path_that_cannot_be_opened_heals_by_itself),
        ON_SQLITE(another_schema_or_world_is_refused_until_it_is_mended),
    };
    const struct CMUnitTest postgres_tests[] = {
        cmocka_unit_test(another_schema_or_world_is_refused_until_it_is_mended),
        cmocka_unit_test(a_database_without_the_schema_names_the_command_to_run),
        cmocka_unit_test(a_killed_server_loses_only_what_was_in_flight),
        cmocka_unit_test(a_backend_that_is_terminated_is_replaced),
        cmocka_unit_test(a_lock_that_is_held_too_long_times_out_alone),
        cmocka_unit_test(a_commit_that_fails_is_not_taken_for_done),
        cmocka_unit_test(a_server_that_became_read_only_is_left),
        cmocka_unit_test(a_table_that_went_away_is_a_mismatch_and_no_loop),
        cmocka_unit_test(closing_it_answers_what_is_in_flight),
        cmocka_unit_test(a_server_that_hangs_times_out),
    };
    int failed = cmocka_run_group_tests_name("store trouble: sqlite", sqlite_tests, NULL, NULL);
    if (postgres_installed())
        failed += cmocka_run_group_tests_name("store trouble: postgres", postgres_tests, start_postgres, stop);
    else
        puts("SKIPPED: the store on PostgreSQL, as there is no server installed");
    metrics_free();
    return failed;
}
