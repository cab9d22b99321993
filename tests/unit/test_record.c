/* test_record.c - what is stored comes back as it was, and a damaged store never crashes a node. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/wire/record.h"

static int make_arena(void **state)
{
    *state = arena_new();
    return 0;
}

static int free_arena(void **state)
{
    arena_free(*state);
    return 0;
}

static void a_batch_keeps_its_rows_in_order(void **state)
{
    const struct row rows[] = {
        {.at = {5, 1, -7}, .kind = ROW_BLOCK, .w = 0, .key = 9, .rev = 100, .author = {77, 3}, .seq = 12},
        {.at = {5, 1, -7}, .kind = ROW_LIGHT, .w = 0, .rev = 101, .author = {77, 3}, .seq = 12},
        {.at = {5, 1, -7}, .kind = ROW_SIGN, .face = 3, .text = "", .rev = 102, .author = {77, 3}, .seq = 12},
        {.at = {6, 255, -7}, .kind = ROW_SIGN, .face = 7, .text = "a, b", .rev = 103, .author = {77, 4}, .seq = 1},
    };
    struct blob *b = record_encode_batch(rows, 4);
    struct row *got;
    unsigned n;
    assert_int_equal(record_decode_batch(b->data, b->len, *state, &got, &n), ERR_OK);
    assert_int_equal(n, 4);
    for (unsigned k = 0; k < n; k++) {
        assert_memory_equal(&got[k].at, &rows[k].at, sizeof(rows[k].at));
        assert_true(got[k].kind == rows[k].kind && got[k].face == rows[k].face && got[k].w == rows[k].w);
        assert_true(got[k].key == rows[k].key && got[k].rev == rows[k].rev && got[k].seq == rows[k].seq);
        assert_true(session_eq(got[k].author, rows[k].author));
        assert_int_equal(!got[k].text, !rows[k].text);
        if (rows[k].text)
            assert_string_equal(got[k].text, rows[k].text);
    }
    blob_unref(b);
}

static void the_largest_batch_comes_back(void **state)
{
    struct row *rows = calloc(BATCH_ROWS_MAX, sizeof(*rows));
    for (unsigned k = 0; k < BATCH_ROWS_MAX; k++)
        rows[k] = (struct row){.at = {(int32_t)k, 9, 1},
                               .kind = ROW_SIGN,
                               .text = "012345678901234567890123456789012345678901234567",
                               .rev = UINT64_MAX - k,
                               .author = {UINT64_MAX, UINT64_MAX},
                               .seq = UINT64_MAX};
    struct blob *b = record_encode_batch(rows, BATCH_ROWS_MAX);
    struct row *got;
    unsigned n;
    assert_int_equal(record_decode_batch(b->data, b->len, *state, &got, &n), ERR_OK);
    assert_int_equal(n, BATCH_ROWS_MAX);
    assert_int_equal(got[n - 1].at.x, BATCH_ROWS_MAX - 1);
    blob_unref(b);
    free(rows);
}

static void the_largest_seen_comes_back(void **state)
{
    struct seen *seen = calloc(SEEN_MAX, sizeof(*seen));
    for (unsigned k = 0; k < SEEN_MAX; k++)
        seen[k] = (struct seen){{UINT64_MAX - k, k}, UINT64_MAX, 1u << 31};
    struct blob *b = record_encode_seen(seen, SEEN_MAX);
    struct seen *got;
    unsigned n;
    assert_int_equal(record_decode_seen(b->data, b->len, *state, &got, &n), ERR_OK);
    assert_int_equal(n, SEEN_MAX);
    assert_memory_equal(got, seen, SEEN_MAX * sizeof(*seen));
    blob_unref(b);
    free(seen);
}

static void nothing_is_an_empty_batch_and_an_empty_seen(void **state)
{
    struct blob *b = record_encode_batch(NULL, 0), *s = record_encode_seen(NULL, 0);
    struct row *rows;
    struct seen *seen;
    unsigned n = 1;
    assert_int_equal(record_decode_batch(b->data, b->len, *state, &rows, &n), ERR_OK);
    assert_int_equal(n, 0);
    n = 1;
    assert_int_equal(record_decode_seen(s->data, s->len, *state, &seen, &n), ERR_OK);
    assert_int_equal(n, 0);
    blob_unref(b);
    blob_unref(s);
}

static void an_event_keeps_its_texts(void **state)
{
    const struct event_record e = {.gate = 9, .kind = EVENT_PRIVATE, .from = "ann", .to = "bob", .text = "hi, bob"};
    struct blob *b = record_encode_event(&e);
    struct event_record got;
    assert_int_equal(record_decode_event(b->data, b->len, *state, &got), ERR_OK);
    assert_true(got.gate == 9 && got.kind == EVENT_PRIVATE);
    assert_string_equal(got.from, "ann");
    assert_string_equal(got.to, "bob");
    assert_string_equal(got.text, "hi, bob");
    blob_unref(b);
}

/* Other gateways hand the text to their clients as it is. */
static void an_event_says_only_what_clients_can_show(void **state)
{
    const struct event_record e = {.gate = 9, .kind = EVENT_CHAT, .from = "a\x80", .to = "", .text = "\x1b[2J"};
    struct blob *b = record_encode_event(&e);
    struct event_record got;
    assert_int_equal(record_decode_event(b->data, b->len, *state, &got), ERR_OK);
    assert_string_equal(got.from, "a?");
    assert_string_equal(got.text, "?[2J");
    blob_unref(b);
}

static void damaged_bytes_never_crash(void **state)
{
    const struct row row = {.at = {1, 2, 3}, .kind = ROW_SIGN, .face = 1, .text = "text", .rev = 1, .author = {1, 1}};
    struct blob *b = record_encode_batch(&row, 1);
    for (size_t at = 0; at < b->len; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            b->data[at] = (uint8_t)(b->data[at] ^ 1u << bit);
            struct row *rows;
            struct seen *seen;
            struct event_record event;
            unsigned n;
            if (record_decode_batch(b->data, b->len, *state, &rows, &n) == ERR_OK)
                for (unsigned k = 0; k < n; k++)
                    assert_true(row_valid(&rows[k]));
            record_decode_seen(b->data, b->len, *state, &seen, &n);
            record_decode_event(b->data, b->len, *state, &event);
            b->data[at] = (uint8_t)(b->data[at] ^ 1u << bit);
        }
    }
    blob_unref(b);
}

static void an_event_of_an_unknown_kind_is_refused(void **state)
{
    struct event_record got;
    const uint8_t kind_5[] = {2 << 3, 5}, kind_0[] = {2 << 3, 0};
    assert_int_equal(record_decode_event(kind_5, 2, *state, &got), ERR_BAD);
    assert_int_equal(record_decode_event(kind_0, 2, *state, &got), ERR_BAD);
}

int main(void)
{
    alarm(60);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_batch_keeps_its_rows_in_order, make_arena, free_arena),
        cmocka_unit_test_setup_teardown(the_largest_batch_comes_back, make_arena, free_arena),
        cmocka_unit_test_setup_teardown(the_largest_seen_comes_back, make_arena, free_arena),
        cmocka_unit_test_setup_teardown(nothing_is_an_empty_batch_and_an_empty_seen, make_arena, free_arena),
        cmocka_unit_test_setup_teardown(an_event_keeps_its_texts, make_arena, free_arena),
        cmocka_unit_test_setup_teardown(an_event_says_only_what_clients_can_show, make_arena, free_arena),
        cmocka_unit_test_setup_teardown(damaged_bytes_never_crash, make_arena, free_arena),
        cmocka_unit_test_setup_teardown(an_event_of_an_unknown_kind_is_refused, make_arena, free_arena),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
