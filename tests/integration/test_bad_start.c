/* What an operator gets wrong, at the start of the real programs: one line says what it is, the process is not ready
 * and says why, it goes on trying where that helps and ends with a code where it does not, and nothing is written.
 *
 * Exit codes: 1 again may help, 2 a setting, 3 the world. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <libpq-fe.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/cluster.h"
#include "tests/lib/probe.h"

enum { ARGS_MAX = 24, WAIT_MS = 15000, NOTHING_MS = 300 };

static const char *const programs[] = {"node", "gateway"};

/* A place for one process at a time, with a Redis that need not run. */
struct site {
    struct lab *lab;
    struct redis redis;
    struct proc *proc;
    uint16_t admin, listen;
    char store[LAB_PATH_MAX + 16];
    char want[160]; /* what /readyz is to say */
    unsigned n;
};

static int up(void **state)
{
    struct site *s = calloc(1, sizeof *s);
    char path[LAB_PATH_MAX];
    s->lab = lab_new("bad_start");
    s->admin = port_pick();
    s->listen = port_pick();
    redis_init(&s->redis, s->lab);
    snprintf(s->store, sizeof s->store, "sqlite:%s", lab_path(s->lab, path, "world.db"));
    *state = s;
    return 0;
}

static int down(void **state)
{
    struct site *s = *state;
    lab_free(s->lab);
    free(s);
    return 0;
}

static void start(struct site *s, const char *program, const char *const *more, const char *const *env)
{
    char path[LAB_PATH_MAX + 32], name[32], listen[32], admin[32], store[LAB_PATH_MAX + 40];
    const char *argv[ARGS_MAX], *vars[4] = {store};
    int n = 0;
    snprintf(path, sizeof path, "%s/%s/%s", build_dir(), program, program);
    snprintf(name, sizeof name, "%s%u", program, s->n++);
    snprintf(listen, sizeof listen, "127.0.0.1:%u", s->listen);
    snprintf(admin, sizeof admin, "127.0.0.1:%u", s->admin);
    snprintf(store, sizeof store, "SPOTCRAFT_STORE=%s", s->store); /* a gateway lets it pass */
    const char *always[] = {path,      "--world", "test",   "--redis", s->redis.url, "--listen",     listen,
                            "--admin", admin,     "--imds", "none",    "--secret",   "of this test", NULL};
    for (const char **a = always; *a; a++)
        argv[n++] = *a;
    for (; more && *more; more++)
        argv[n++] = *more;
    argv[n] = NULL;
    for (n = 1; env && *env; env++)
        vars[n++] = *env;
    s->proc = proc_start(s->lab, &(struct proc_conf){.name = name, .argv = argv, .env = vars});
    assert_non_null(s->proc);
}

static void ends_with(struct site *s, int code, const char *line)
{
    int status = 0;
    assert_true(proc_wait(s->proc, WAIT_MS, &status));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != code || !proc_log_has(s->proc, line)) {
        fprintf(stderr, "wanted exit code %d and \"%s\", got status %d and:\n", code, line, status);
        proc_print_log(s->proc, 4000);
        fail();
    }
}

static bool says(void *arg)
{
    struct site *s = arg;
    char *text = NULL;
    int code = http_get(s->admin, "/readyz", &text);
    bool said = code == 503 && strstr(text, s->want);
    free(text);
    return said || !proc_alive(s->proc);
}

/* It lives, is not ready, and says why. */
static void is_missing(struct site *s, const char *what)
{
    snprintf(s->want, sizeof s->want, "%s", what);
    assert_true(until(says, s, WAIT_MS, what));
    assert_true(proc_alive(s->proc));
    assert_int_equal(http_get(s->admin, "/healthz", NULL), 200);
}

static bool ready(void *arg)
{
    struct site *s = arg;
    return http_get(s->admin, "/readyz", NULL) == 200 || !proc_alive(s->proc);
}

static void becomes_ready(struct site *s)
{
    assert_true(until(ready, s, WAIT_MS, "it to be ready"));
    assert_true(proc_alive(s->proc));
}

static void stop(struct site *s)
{
    int status = -1;
    proc_signal(s->proc, SIGTERM);
    assert_true(proc_wait(s->proc, WAIT_MS, &status));
    assert_int_equal(status, 0);
}

static bool exists(struct site *s, const char *file)
{
    char path[LAB_PATH_MAX];
    struct stat st;
    return stat(lab_path(s->lab, path, "%s", file), &st) == 0;
}

static void a_wrong_setting_ends_it_with_its_name(void **state)
{
    static const struct {
        const char *args[5], *env[2], *line;
    } cases[] = {
        {{"--lease-ms", "soon"},
         {0},
         "flag --lease-ms: lease_ms must be a whole number from 500 to 60000, not \"soon\""},
        {{"--lease-ms", "499"}, {0}, "lease_ms must be a whole number from 500 to 60000, not \"499\""},
        {{"--lease-ms"}, {0}, "flag --lease-ms: its value is missing"},
        {{"--no-such-flag", "1"}, {0}, "flag --no-such-flag: there is no such setting"},
        {{"stray"}, {0}, "unexpected argument stray"},
        {{0}, {"SPOTCRAFT_STOP_MS=-1"}, "environment SPOTCRAFT_STOP_MS: stop_ms must be"},
        {{0}, {"SPOTCRAFT_LEASE=5"}, "environment SPOTCRAFT_LEASE: there is no such setting"},
        {{"--config", "/nonexistent/file"}, {0}, "cannot read /nonexistent/file: No such file or directory"},
        {{"--log-level", "loud!"}, {0}, "log_level: must be error, warn, info or debug"},
        {{"--redis", "http://x"}, {0}, "cannot_start reason=\"Redis URL: starts with none of redis://"},
        {{"--redis", "localhost:6379"}, {0}, "redis"},
        {{"--world", "a b"}, {0}, "world"},
        {{"--listen", "nowhere"}, {0}, "listen"},
        {{"--listen", "127.0.0.1:99999"}, {0}, "listen"},
        {{"--admin", "here"}, {0}, "cannot_start reason=\"admin: here is not ADDRESS:PORT"},
        {{"--secret", "", "--listen", "0.0.0.0:0"},
         {0},
         "cannot_start reason=\"secret is empty and listen is 0.0.0.0:0"},
        {{"--secret", "", "--listen", "[::]:0"}, {0}, "cannot_start reason=\"secret is empty and listen is [::]:0"},
    };
    struct site *s = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t k = 0; k < sizeof programs / sizeof *programs; k++) {
            start(s, programs[k], cases[i].args, cases[i].env);
            ends_with(s, 2, cases[i].line);
        }
    const char *bad_store[] = {"--store", "mongodb://x", NULL};
    start(s, "node", bad_store, NULL);
    ends_with(s, 2, "mongodb");
    assert_false(exists(s, "world.db"));
    lab_passed(s->lab);
}

/* The process before may still be leaving: whoever starts us starts us again. */
static void a_port_that_is_taken_ends_it_and_again_may_help(void **state)
{
    struct site *s = *state;
    assert_true(redis_start(&s->redis));
    start(s, "node", NULL, NULL);
    struct proc *first = s->proc;
    becomes_ready(s);
    const char *other_port[] = {"--listen", "127.0.0.1:0", NULL};
    for (size_t k = 0; k < sizeof programs / sizeof *programs; k++) {
        start(s, programs[k], other_port, NULL); /* the admin port is the first one's */
        ends_with(s, 1, "cannot listen on 127.0.0.1");
    }
    s->proc = first;
    stop(s);
    start(s, "node", NULL, NULL);
    becomes_ready(s);
    lab_passed(s->lab);
}

static void on_loopback_a_missing_secret_is_only_a_warning(void **state)
{
    struct site *s = *state;
    const char *none[] = {"--secret", "", NULL};
    for (size_t k = 0; k < sizeof programs / sizeof *programs; k++) {
        start(s, programs[k], none, NULL);
        is_missing(s, "redis: not joined yet");
        assert_true(proc_log_has(s->proc, "warn "));
        assert_true(proc_log_has(s->proc, "no_secret: "));
        stop(s);
    }
    lab_passed(s->lab);
}

static void without_redis_it_waits_and_says_why(void **state)
{
    struct site *s = *state;
    start(s, "gateway", NULL, NULL);
    is_missing(s, "redis: not joined yet (Connection refused)");
    stop(s);
    start(s, "node", NULL, NULL);
    is_missing(s, "redis: not joined yet (Connection refused)");
    assert_true(redis_start(&s->redis));
    becomes_ready(s);
    stop(s);
    lab_passed(s->lab);
}

static void a_wrong_password_of_redis_is_told_and_tried_again(void **state)
{
    struct site *s = *state;
    assert_true(redis_start(&s->redis));
    free(redis_ask(s->redis.port, "CONFIG SET requirepass right"));
    char url[64];
    snprintf(url, sizeof url, "redis://:wrong@127.0.0.1:%u", s->redis.port);
    const char *args[] = {"--redis", url, NULL};
    start(s, "node", args, NULL);
    is_missing(s, "redis: not joined yet (password wrong or missing)");
    assert_false(proc_log_has(s->proc, ":wrong@"));
    stop(s);
    snprintf(url, sizeof url, "redis://:right@127.0.0.1:%u", s->redis.port);
    start(s, "node", args, NULL);
    becomes_ready(s);
    lab_passed(s->lab);
}

/* Another world's Redis: neither program touches it. */
static void a_world_with_other_cells_ends_it_with_nothing_written(void **state)
{
    struct site *s = *state;
    assert_true(redis_start(&s->redis));
    free(redis_ask(s->redis.port, "HSET spotcraft:{test}:world cell_chunks 8 newest 1"));
    char *before = redis_ask(s->redis.port, "HGETALL spotcraft:{test}:world");
    for (size_t k = 0; k < sizeof programs / sizeof *programs; k++) {
        start(s, programs[k], NULL, NULL);
        ends_with(s, 3, "cannot_run reason=\"");
        assert_true(proc_log_has(s->proc, "another cell size or schema"));
        assert_true(proc_log_has(s->proc, "world_does_not_fit world=test cell_chunks=8 our_cell_chunks=4"));
    }
    char *after = redis_ask(s->redis.port, "HGETALL spotcraft:{test}:world");
    char *keys = redis_ask(s->redis.port, "DBSIZE");
    assert_string_equal(before, after);
    assert_string_equal(keys, "1");
    free(before);
    free(after);
    free(keys);
    lab_passed(s->lab);
}

static void a_store_that_cannot_be_opened_is_waited_for(void **state)
{
    struct site *s = *state;
    char path[LAB_PATH_MAX];
    assert_true(redis_start(&s->redis));
    snprintf(s->store, sizeof s->store, "sqlite:%s", lab_path(s->lab, path, "later/world.db"));
    start(s, "node", NULL, NULL);
    is_missing(s, "the store is not answering");
    assert_true(proc_log_has(s->proc, "store_trouble store=sqlite"));
    assert_int_equal(mkdir(lab_path(s->lab, path, "later"), 0755), 0);
    becomes_ready(s);
    lab_passed(s->lab);
}

static void sql(const char *path, const char *text)
{
    sqlite3 *db;
    char *why = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, text, NULL, NULL, &why) != SQLITE_OK)
        fail_msg("%s", why);
    sqlite3_close(db);
}

/* Another world's store: it is left alone, and an empty Redis stays empty. */
static void ends_for_its_store(struct site *s)
{
    free(redis_ask(s->redis.port, "FLUSHALL"));
    start(s, "node", NULL, NULL);
    ends_with(s, 3, "cannot_run reason=\"the world in the store has another cell size\"");
    assert_true(proc_log_has(s->proc, "its cells are 8 chunks wide, ours 4"));
    char *keys = redis_ask(s->redis.port, "DBSIZE");
    assert_string_equal(keys, "0");
    free(keys);
}

static void a_store_with_other_cells_ends_it_with_nothing_written(void **state)
{
    struct site *s = *state;
    assert_true(redis_start(&s->redis));
    start(s, "node", NULL, NULL);
    becomes_ready(s);
    stop(s);
    const char *path = strchr(s->store, ':') + 1;
    sql(path, "UPDATE world SET cell_chunks = 8");
    ends_for_its_store(s);
    sql(path, "UPDATE world SET cell_chunks = 4 WHERE cell_chunks = 8"); /* it is as it was; put right, it is taken */
    start(s, "node", NULL, NULL);
    becomes_ready(s);
    lab_passed(s->lab);
}

static unsigned tables(struct postgres *p)
{
    PGconn *c = PQconnectdb(p->url);
    PGresult *r = PQexec(c, "SELECT 1 FROM pg_tables WHERE schemaname = 'public'");
    assert_int_equal(PQresultStatus(r), PGRES_TUPLES_OK);
    unsigned n = (unsigned)PQntuples(r);
    PQclear(r);
    PQfinish(c);
    return n;
}

static void ask_postgres(struct postgres *p, const char *text)
{
    PGconn *c = PQconnectdb(p->url);
    PGresult *r = PQexec(c, text);
    assert_int_equal(PQresultStatus(r), PGRES_COMMAND_OK);
    PQclear(r);
    PQfinish(c);
}

static void a_store_without_its_schema_is_waited_for(void **state)
{
    struct site *s = *state;
    struct postgres p;
    assert_true(redis_start(&s->redis));
    assert_true(postgres_init(&p, s->lab));
    snprintf(s->store, sizeof s->store, "%s", p.url);
    start(s, "node", NULL, NULL);
    is_missing(s, "the store is not answering"); /* nobody listens there yet */
    assert_true(proc_log_has(s->proc, "store_trouble store=postgres"));
    assert_true(postgres_start(&p));
    is_missing(s, "store: another schema or cell size than ours");
    assert_true(proc_log_has(s->proc, "is older than our"));
    assert_true(proc_log_has(s->proc, "run ops/migrate.sh"));
    assert_int_equal(tables(&p), 0);
    assert_true(postgres_migrate(&p));
    becomes_ready(s);
    stop(s);
    ask_postgres(&p, "UPDATE world SET cell_chunks = 8");
    ends_for_its_store(s);
    lab_passed(s->lab);
}

static void version_and_help_say_what_there_is(void **state)
{
    static const char *const wanted[] = {"Usage:", "Settings", "Environment", "Exit codes", "SPOTCRAFT_", "Examples"};
    struct site *s = *state;
    for (size_t k = 0; k < sizeof programs / sizeof *programs; k++) {
        const char *version[] = {"--version", NULL}, *help[] = {"--help", NULL};
        start(s, programs[k], version, NULL);
        char line[64];
        snprintf(line, sizeof line, "spotcraft %s ", programs[k]);
        ends_with(s, 0, line);
        assert_false(proc_log_has(s->proc, "unknown"));
        start(s, programs[k], help, NULL);
        for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
            ends_with(s, 0, wanted[i]);
    }
    lab_passed(s->lab);
}

int main(void)
{
    alarm(180);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_wrong_setting_ends_it_with_its_name, up, down),
        cmocka_unit_test_setup_teardown(a_port_that_is_taken_ends_it_and_again_may_help, up, down),
        cmocka_unit_test_setup_teardown(on_loopback_a_missing_secret_is_only_a_warning, up, down),
        cmocka_unit_test_setup_teardown(without_redis_it_waits_and_says_why, up, down),
        cmocka_unit_test_setup_teardown(a_wrong_password_of_redis_is_told_and_tried_again, up, down),
        cmocka_unit_test_setup_teardown(a_world_with_other_cells_ends_it_with_nothing_written, up, down),
        cmocka_unit_test_setup_teardown(a_store_that_cannot_be_opened_is_waited_for, up, down),
        cmocka_unit_test_setup_teardown(a_store_with_other_cells_ends_it_with_nothing_written, up, down),
        cmocka_unit_test_setup_teardown(a_store_without_its_schema_is_waited_for, up, down),
        cmocka_unit_test_setup_teardown(version_and_help_say_what_there_is, up, down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
