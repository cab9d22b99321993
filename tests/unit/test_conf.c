#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/conf.h"
#include "proto/base/log.h"

#define TEST_CONF(X)                                                                                                   \
    X(lease_ttl_ms, U32, 3000, 500, 60000, false, "a lease unrenewed lives this long")                                 \
    X(flush_ms, U32, 1000, 0, UINT32_MAX, true, "oldest that a dirty row may get in memory")                           \
    X(verbose, BOOL, false, 0, 1, true, "say more")                                                                    \
    X(port, PORT, 4080, 1, 65535, false, "where players come in")                                                      \
    X(pool, STR, "default", 0, 15, false, "which pool it counts to")                                                   \
    X(store_url, URL, "sqlite:world.db", 1, 255, false, "where the world is kept")                                     \
    X(secret, SECRET, "", 0, 31, false, "what processes of a world share")

struct test_conf {
    TEST_CONF(CONF_MEMBER)
};
#define CONF_THIS struct test_conf
static const struct conf_field fields[] = {TEST_CONF(CONF_FIELD)};
static const char *const others[] = {"sessions_max", NULL};
static const struct conf_table table = {
    .program = "test",
    .version = "1.2",
    .about = "tries settings",
    .fields = fields,
    .n_fields = sizeof fields / sizeof *fields,
    .settings_bytes = sizeof(struct test_conf),
    .others = others,
};

enum { ARGS_MAX = 8 };

static struct test_conf got;
static char why[CONF_WHY_BYTES];
static char *output; /* what went to stdout */
static char path[64];

static int set_up(void **state)
{
    (void)state;
    strcpy(path, "/tmp/test_conf.XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    free(output);
    output = NULL;
    return 0;
}

static void write_bytes(const char *bytes, size_t len)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, len, f), len);
    fclose(f);
}

static void write_file(const char *text)
{
    write_bytes(text, strlen(text));
}

/* Flags and environment, each a list that ends with NULL; NULL is an empty one. */
static enum conf_result read_conf(char **flags, char **env)
{
    char *argv[ARGS_MAX + 2] = {"test"};
    int argc = 1;
    while (flags && flags[argc - 1]) {
        assert_true(argc <= ARGS_MAX);
        argv[argc] = flags[argc - 1];
        argc++;
    }
    memset(&got, 0xee, sizeof got);
    free(output);
    size_t bytes;
    FILE *out = open_memstream(&output, &bytes);
    enum conf_result r = conf_read(&table, &got, argc, argv, env, out, why);
    fclose(out);
    return r;
}

#define LIST(...) ((char *[]){__VA_ARGS__, NULL})

static enum conf_result read_file_only(void)
{
    return read_conf(LIST("--config", path), NULL);
}

static void without_anything_the_defaults_hold(void **state)
{
    (void)state;
    assert_int_equal(read_conf(NULL, NULL), CONF_RUN);
    assert_int_equal(got.lease_ttl_ms, 3000);
    assert_false(got.verbose);
    assert_int_equal(got.port, 4080);
    assert_string_equal(got.pool, "default");
    assert_string_equal(got.store_url, "sqlite:world.db");
    assert_string_equal(got.secret, "");
}

static void flags_win_over_environment_over_file(void **state)
{
    (void)state;
    write_file("lease_ttl_ms = 1001\nflush_ms = 1002\nport = 1003\n");
    assert_int_equal(read_conf(LIST("--config", path, "--lease-ttl-ms", "3001"),
                               LIST("HOME=/", "SPOTCRAFT_LEASE_TTL_MS=2001", "SPOTCRAFT_FLUSH_MS=2002")),
                     CONF_RUN);
    assert_int_equal(got.lease_ttl_ms, 3001);
    assert_int_equal(got.flush_ms, 2002);
    assert_int_equal(got.port, 1003);
}

static void flags_come_in_all_their_spellings(void **state)
{
    (void)state;
    assert_int_equal(read_conf(LIST("--lease-ttl-ms=700", "--flush_ms", "8", "--verbose", "--pool="), NULL), CONF_RUN);
    assert_int_equal(got.lease_ttl_ms, 700);
    assert_int_equal(got.flush_ms, 8);
    assert_true(got.verbose);
    assert_string_equal(got.pool, "");
    assert_int_equal(read_conf(LIST("--verbose=on", "--verbose=no", "--pool=a=b"), NULL), CONF_RUN);
    assert_false(got.verbose); /* the last one holds */
    assert_string_equal(got.pool, "a=b");
}

static void the_file_may_be_named_in_the_environment(void **state)
{
    (void)state;
    write_file("flush_ms = 5");
    char variable[128];
    snprintf(variable, sizeof variable, "SPOTCRAFT_CONFIG=%s", path);
    assert_int_equal(read_conf(NULL, LIST(variable)), CONF_RUN);
    assert_int_equal(got.flush_ms, 5);
}

static void a_file_has_comments_quotes_and_any_line_end(void **state)
{
    (void)state;
    write_file("# all of it\r\n\r\n  flush-ms=7   # quick\r\npool = \"a # \\\"b\\\" \\\\\"  # quoted\r\n"
               "store_url = postgres://h/db#frag\n\tverbose = Yes");
    assert_int_equal(read_file_only(), CONF_RUN);
    assert_int_equal(got.flush_ms, 7);
    assert_string_equal(got.pool, "a # \"b\" \\");
    assert_string_equal(got.store_url, "postgres://h/db#frag");
    assert_true(got.verbose);
}

/* The name, the place and the reason: what an operator needs to put it right. */
static void a_bad_value_is_told_with_name_place_and_reason(void **state)
{
    (void)state;
    char want[256];
    write_file("\nflush_ms = 1\nlease_ttl_ms = 499\n");
    assert_int_equal(read_file_only(), CONF_EXIT_BAD);
    snprintf(want, sizeof want, "%s:3: lease_ttl_ms must be a whole number from 500 to 60000, not \"499\"", path);
    assert_string_equal(why, want);

    assert_int_equal(read_conf(NULL, LIST("SPOTCRAFT_PORT=99999")), CONF_EXIT_BAD);
    assert_string_equal(why, "environment SPOTCRAFT_PORT: port must be a whole number from 1 to 65535, not \"99999\"");

    assert_int_equal(read_conf(LIST("--verbose=maybe"), NULL), CONF_EXIT_BAD);
    assert_string_equal(why, "flag --verbose: verbose must be true or false, not \"maybe\"");

    assert_int_equal(read_conf(LIST("--pool", "0123456789abcdef"), NULL), CONF_EXIT_BAD);
    assert_string_equal(why, "flag --pool: pool must have 0 to 15 characters, has 16");

    assert_int_equal(read_conf(LIST("--store-url", "world.db"), NULL), CONF_EXIT_BAD);
    assert_string_equal(why, "flag --store-url: store_url must look like scheme:address");
}

static void only_whole_numbers_in_range_are_numbers(void **state)
{
    (void)state;
    static const char *const bad[] = {"",    "-1", "+1",  "1.5",        "0x10",
                                      "1e3", "7x", " 70", "4294967296", "99999999999999999999999"};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        char flag[64];
        snprintf(flag, sizeof flag, "--flush-ms=%s", bad[i]);
        assert_int_equal(read_conf(LIST(flag), NULL), CONF_EXIT_BAD);
    }
    assert_int_equal(read_conf(LIST("--flush-ms=4294967295"), NULL), CONF_RUN);
    assert_true(got.flush_ms == UINT32_MAX);
}

static void what_is_unknown_stops_the_start(void **state)
{
    (void)state;
    assert_int_equal(read_conf(LIST("--lease", "5"), NULL), CONF_EXIT_BAD);
    assert_string_equal(why, "flag --lease: there is no such setting; --help tells what there is");
    assert_int_equal(read_conf(LIST("stray"), NULL), CONF_EXIT_BAD);
    assert_non_null(strstr(why, "unexpected argument stray"));
    assert_int_equal(read_conf(LIST("--verbose", "false"), NULL), CONF_EXIT_BAD);
    assert_non_null(strstr(why, "unexpected argument false"));
    assert_int_equal(read_conf(NULL, LIST("SPOTCRAFT_LEASE_MS=5")), CONF_EXIT_BAD);
    assert_string_equal(why, "environment SPOTCRAFT_LEASE_MS: there is no such setting");
    write_file("lease = 5\n");
    assert_int_equal(read_file_only(), CONF_EXIT_BAD);
    assert_non_null(strstr(why, ":1: there is no setting \"lease\""));
    assert_int_equal(read_conf(LIST("--pool"), NULL), CONF_EXIT_BAD);
    assert_string_equal(why, "flag --pool: its value is missing");
    assert_int_equal(read_conf(LIST("--pool", "--verbose"), NULL), CONF_EXIT_BAD);
    assert_string_equal(why, "flag --pool: its value is missing");
}

/* One ConfigMap serves all programs of a world. A typo in it is still found, by each. */
static void another_programs_variables_are_let_pass(void **state)
{
    (void)state;
    assert_int_equal(read_conf(NULL, LIST("SPOTCRAFT_SESSIONS_MAX=what ever")), CONF_RUN);
    assert_int_equal(read_conf(NULL, LIST("SPOTCRAFT_SESSION_MAX=1")), CONF_EXIT_BAD);
    assert_int_equal(read_conf(LIST("--sessions-max=1"), NULL), CONF_EXIT_BAD); /* a flag was meant for us */
}

/* Kubernetes sets these in every pod for a service called "spotcraft" or "spotcraft-gateway". */
static void kubernetes_own_variables_are_let_pass(void **state)
{
    (void)state;
    assert_int_equal(read_conf(NULL, LIST("SPOTCRAFT_PORT=tcp://10.0.0.1:4080", "SPOTCRAFT_SERVICE_HOST=10.0.0.1",
                                          "SPOTCRAFT_GATEWAY_SERVICE_PORT_CRAFT=4080",
                                          "SPOTCRAFT_GATEWAY_PORT_4080_TCP_ADDR=10.0.0.1")),
                     CONF_RUN);
    assert_int_equal(got.port, 4080);
}

static void a_broken_file_stops_the_start(void **state)
{
    (void)state;
    static const char *const bad[] = {"flush_ms\n",       "= 5\n",
                                      "flush_ms 5\n",     "pool = \"open\n",
                                      "pool = \"a\" b\n", "flush_ms = 1\nflush-ms = 2\n",
                                      "pool = a\x01z\n",  "flush_ms =\n"};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_file(bad[i]);
        assert_int_equal(read_file_only(), CONF_EXIT_BAD);
        assert_ptr_equal(strstr(why, path), why);
    }
    char *huge = malloc(100000);
    memset(huge, 'a', 100000);
    write_bytes(huge, 100000);
    assert_int_equal(read_file_only(), CONF_EXIT_BAD);
    memset(huge, '\n', 100000);
    write_bytes(huge, 100000);
    assert_int_equal(read_file_only(), CONF_EXIT_BAD);
    free(huge);
    write_bytes("flush_ms = 1\0 00\nport = 7\n", 26);
    assert_int_equal(read_file_only(), CONF_EXIT_BAD);
    assert_int_equal(read_conf(LIST("--config", "/nonexistent/x"), NULL), CONF_EXIT_BAD);
    assert_string_equal(why, "cannot read /nonexistent/x: No such file or directory");
    assert_int_equal(read_conf(LIST("--config", "/tmp"), NULL), CONF_EXIT_BAD);
    assert_string_equal(why, "cannot read /tmp: Is a directory");
}

static void help_and_version_answer_whatever_else_is_wrong(void **state)
{
    (void)state;
    assert_int_equal(read_conf(LIST("--nonsense", "--help"), LIST("SPOTCRAFT_NONSENSE=1")), CONF_EXIT_OK);
    assert_non_null(strstr(output, "spotcraft test - tries settings\n"));
    assert_non_null(strstr(output, "  --lease-ttl-ms MILLISECONDS\n      a lease unrenewed lives this long\n"
                                   "      default 3000, from 500 to 60000\n"));
    assert_int_equal(read_conf(LIST("--version"), NULL), CONF_EXIT_OK);
    assert_string_equal(output, "spotcraft test 1.2\n");
}

static void an_answer_that_cannot_be_written_is_a_failure(void **state)
{
    (void)state;
    FILE *full = fopen("/dev/full", "w");
    assert_non_null(full);
    assert_int_equal(conf_read(&table, &got, 2, (char *[]){"test", "--help", NULL}, NULL, full, why), CONF_EXIT_BAD);
    fclose(full);
}

static void what_is_printed_can_be_read_back(void **state)
{
    (void)state;
    assert_int_equal(read_conf(LIST("--flush-ms=77", "--verbose", "--pool=a \"#\\ b", "--store-url=sqlite:/x y/#1",
                                    "--port=1", "--print-config"),
                               NULL),
                     CONF_EXIT_OK);
    struct test_conf before = got;
    write_file(output);
    assert_int_equal(read_file_only(), CONF_RUN);
    assert_int_equal(got.flush_ms, 77);
    assert_true(got.verbose);
    assert_int_equal(got.port, 1);
    assert_string_equal(got.pool, before.pool);
    assert_string_equal(got.store_url, before.store_url);
}

static void bad_settings_are_not_printed_as_if_they_were_good(void **state)
{
    (void)state;
    assert_int_equal(read_conf(LIST("--print-config", "--flush-ms=x"), NULL), CONF_EXIT_BAD);
    assert_string_equal(output, "");
}

/* Neither on the screen nor in the log; and the file that is printed does not claim that the password is "***". */
static void secrets_are_never_shown(void **state)
{
    (void)state;
    assert_int_equal(
        read_conf(LIST("--secret=hunter2", "--store-url=postgres://u:hunter2@h/db", "--print-config"), NULL),
        CONF_EXIT_OK);
    assert_null(strstr(output, "hunter2"));
    assert_non_null(strstr(output, "\n# not shown in full: store_url = postgres://u:***@h/db\n"));
    write_file(output);
    assert_int_equal(read_file_only(), CONF_RUN);
    assert_string_equal(got.secret, "");
    assert_string_equal(got.store_url, "sqlite:world.db");

    assert_int_equal(read_conf(LIST("--secret=hunter2hunter2hunter2hunter2hunter2"), NULL), CONF_EXIT_BAD);
    assert_null(strstr(why, "hunter2"));
    assert_int_equal(read_conf(LIST("--store-uri=postgres://u:hunter2@h/db"), NULL), CONF_EXIT_BAD);
    assert_null(strstr(why, "hunter2"));
}

static void passwords_in_addresses_are_redacted(void **state)
{
    (void)state;
    static const struct {
        const char *url, *shown;
    } cases[] = {
        {"sqlite:world.db", "sqlite:world.db"},
        {"redis://host:6379/0", "redis://host:6379/0"},
        {"redis://:pw@host", "redis://:***@host"},
        {"postgres://u:p/w@x:y@host/db", "postgres://u:***@host/db"},
        {"postgres://u@host/db?sslmode=require&password=pw&x=1",
         "postgres://u@host/db?sslmode=require&password=***&x=1"},
        {"host=h password='p w' user=u", "host=h password=*** user=u"},
        {"host=h PassWord=pw", "host=h PassWord=***"},
        {"host=h password='open", "host=h password=***"},
        {"x://a:@h?token=&secret=s", "x://a:***@h?token=***&secret=***"},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[256];
        assert_string_equal(conf_redact(out, sizeof out, cases[i].url), cases[i].shown);
    }
    char small[12];
    assert_string_equal(conf_redact(small, sizeof small, "x://user:pass@host"), "***");
    char tight[9]; /* the stars are longer than what they hide */
    conf_redact(tight, sizeof tight, "x://:p@h");
    assert_null(strchr(tight, 'p'));
}

static void all_settings_are_logged_without_secrets(void **state)
{
    (void)state;
    char url[256] = "--store-url=redis://:hunter2@";
    memset(url + strlen(url), 'h', 200);
    assert_int_equal(read_conf(LIST(url, "--secret=hunter2"), NULL), CONF_RUN);
    int wire[2];
    assert_int_equal(pipe(wire), 0);
    log_set_fd(wire[1]);
    conf_log(&table, &got);
    log_set_fd(2);
    close(wire[1]);
    char text[8192];
    ssize_t n = read(wire[0], text, sizeof text - 1);
    close(wire[0]);
    assert_true(n > 0);
    text[n] = '\0';
    assert_non_null(strstr(text, "info config lease_ttl_ms=3000 flush_ms=1000 verbose=false port=4080 "
                                 "pool=\"default\" store_url=\"redis://:***@hhh"));
    assert_non_null(strstr(text, " secret=\"***\"\n"));
    assert_null(strstr(text, "hunter2"));
}

int main(void)
{
    alarm(60);
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(without_anything_the_defaults_hold),
        TEST(flags_win_over_environment_over_file),
        TEST(flags_come_in_all_their_spellings),
        TEST(the_file_may_be_named_in_the_environment),
        TEST(a_file_has_comments_quotes_and_any_line_end),
        TEST(a_bad_value_is_told_with_name_place_and_reason),
        TEST(only_whole_numbers_in_range_are_numbers),
        TEST(what_is_unknown_stops_the_start),
        TEST(another_programs_variables_are_let_pass),
        TEST(kubernetes_own_variables_are_let_pass),
        TEST(a_broken_file_stops_the_start),
        TEST(help_and_version_answer_whatever_else_is_wrong),
        TEST(an_answer_that_cannot_be_written_is_a_failure),
        TEST(what_is_printed_can_be_read_back),
        TEST(bad_settings_are_not_printed_as_if_they_were_good),
        TEST(secrets_are_never_shown),
        TEST(passwords_in_addresses_are_redacted),
        TEST(all_settings_are_logged_without_secrets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
