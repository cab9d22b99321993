#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <event2/buffer.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/metrics.h"

static int tear_down(void **state)
{
    free(*state);
    *state = NULL;
    metrics_free();
    return 0;
}

/* What Prometheus would read; freed with the test. */
static const char *scraped(void **state)
{
    struct evbuffer *out = evbuffer_new();
    metrics_write(out);
    size_t len = evbuffer_get_length(out);
    char *text = calloc(1, len + 1);
    evbuffer_remove(out, text, len);
    evbuffer_free(out);
    free(*state);
    *state = text;
    return text;
}

static void the_same_name_and_label_is_the_same_metric(void **state)
{
    (void)state;
    struct metric *a = metrics_counter("a_total", "A", "reason=\"full\"");
    assert_ptr_equal(metrics_counter("a_total", "A", "reason=\"full\""), a);
    assert_ptr_not_equal(metrics_counter("a_total", "A", "reason=\"late\""), a);
    assert_ptr_not_equal(metrics_counter("a_total", "A", NULL), a);
    metric_add(a, 2);
    assert_true(metric_value(metrics_counter("a_total", "A", "reason=\"full\"")) == 2);
}

/* Prometheus refuses a name whose lines are not together, or that has its HELP twice. */
static void a_name_is_one_group(void **state)
{
    metric_add(metrics_counter("a_total", "what a is", "k=\"1\""), 1);
    metric_set(metrics_gauge("b", "what b is", NULL), 2.5);
    metric_add(metrics_counter("a_total", "what a is", "k=\"2\""), 3);
    assert_string_equal(scraped(state), "# HELP a_total what a is\n"
                                        "# TYPE a_total counter\n"
                                        "a_total{k=\"1\"} 1\n"
                                        "a_total{k=\"2\"} 3\n"
                                        "# HELP b what b is\n"
                                        "# TYPE b gauge\n"
                                        "b 2.5\n");
}

static void buckets_are_cumulative_and_keep_the_label(void **state)
{
    struct metric *m = metrics_seconds("t_seconds", "T", "op=\"x\"");
    metric_seconds(m, 0.0005); /* le: the bound belongs to the bucket */
    metric_seconds(m, 0.003);
    metric_seconds(m, 100);
    const char *text = scraped(state);
    assert_non_null(strstr(text, "# TYPE t_seconds histogram\n"));
    assert_non_null(strstr(text, "t_seconds_bucket{op=\"x\",le=\"0.0005\"} 1\n"));
    assert_non_null(strstr(text, "t_seconds_bucket{op=\"x\",le=\"0.002\"} 1\n"));
    assert_non_null(strstr(text, "t_seconds_bucket{op=\"x\",le=\"0.005\"} 2\n"));
    assert_non_null(strstr(text, "t_seconds_bucket{op=\"x\",le=\"30\"} 2\n"));
    assert_non_null(strstr(text, "t_seconds_bucket{op=\"x\",le=\"+Inf\"} 3\n"));
    assert_non_null(strstr(text, "t_seconds_sum{op=\"x\"} 100.0035\n"));
    assert_non_null(strstr(text, "t_seconds_count{op=\"x\"} 3\n"));
    assert_true(metric_value(m) == 3);
}

static void a_histogram_without_label_has_le_alone(void **state)
{
    metric_seconds(metrics_seconds("t_seconds", "T", NULL), 1);
    const char *text = scraped(state);
    assert_non_null(strstr(text, "t_seconds_bucket{le=\"1\"} 1\n"));
    assert_non_null(strstr(text, "t_seconds_count 1\n"));
}

static void label_values_and_help_are_escaped(void **state)
{
    metric_set(metrics_gauge("g", "one\ntwo \\ \"", "path=\"a\\b\"c\nd\""), 1);
    assert_string_equal(scraped(state), "# HELP g one\\ntwo \\\\ \"\n"
                                        "# TYPE g gauge\n"
                                        "g{path=\"a\\\\b\\\"c\\nd\"} 1\n");
}

static void odd_and_large_numbers_are_written_as_prometheus_reads_them(void **state)
{
    metric_set(metrics_gauge("nan", "h", NULL), NAN);
    metric_set(metrics_gauge("inf", "h", NULL), -INFINITY);
    metric_set(metrics_gauge("big", "h", NULL), 123456789012);
    const char *text = scraped(state);
    assert_non_null(strstr(text, "\nnan NaN\n"));
    assert_non_null(strstr(text, "\ninf -Inf\n"));
    assert_non_null(strstr(text, "\nbig 123456789012\n"));
}

static void after_free_there_is_nothing(void **state)
{
    metric_add(metrics_counter("a_total", "A", NULL), 1);
    metrics_free();
    assert_string_equal(scraped(state), "");
}

int main(void)
{
    alarm(60);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(the_same_name_and_label_is_the_same_metric, tear_down),
        cmocka_unit_test_teardown(a_name_is_one_group, tear_down),
        cmocka_unit_test_teardown(buckets_are_cumulative_and_keep_the_label, tear_down),
        cmocka_unit_test_teardown(a_histogram_without_label_has_le_alone, tear_down),
        cmocka_unit_test_teardown(label_values_and_help_are_escaped, tear_down),
        cmocka_unit_test_teardown(odd_and_large_numbers_are_written_as_prometheus_reads_them, tear_down),
        cmocka_unit_test_teardown(after_free_there_is_nothing, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
