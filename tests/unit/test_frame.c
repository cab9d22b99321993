/* test_frame.c - frames come out of a stream as they went in, however it was torn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/wire/frame.h"

enum { LIMIT = 4096 };

static void frames_come_out_as_they_went_in(void **state)
{
    (void)state;
    struct evbuffer *b = evbuffer_new();
    const size_t sizes[] = {1, 2, 255, 256, 1024, 1025, LIMIT}; /* by copy and by reference */
    for (unsigned k = 0; k < 7; k++) {
        struct blob *blob = blob_new(NULL, sizes[k]);
        memset(blob->data, (int)k + 1, blob->len);
        frame_add(b, blob);
        blob_unref(blob);
    }
    for (unsigned k = 0; k < 7; k++) {
        struct frame f;
        assert_int_equal(frame_peek(b, LIMIT, &f), ERR_OK);
        assert_int_equal(f.len, sizes[k]);
        assert_int_equal(f.wire_len, sizes[k] + FRAME_HEADER_BYTES);
        assert_int_equal(f.data[0], k + 1);
        assert_int_equal(f.data[f.len - 1], k + 1);
        evbuffer_drain(b, f.wire_len);
    }
    assert_int_equal(evbuffer_get_length(b), 0);
    evbuffer_free(b);
}

static void a_frame_that_comes_byte_by_byte_waits_for_its_last(void **state)
{
    (void)state;
    struct evbuffer *b = evbuffer_new();
    const uint8_t bytes[] = {0, 0, 0, 3, 'a', 'b', 'c'};
    struct frame f;
    for (size_t k = 0; k < sizeof(bytes); k++) {
        assert_int_equal(frame_peek(b, LIMIT, &f), ERR_AGAIN);
        evbuffer_add(b, bytes + k, 1);
    }
    assert_int_equal(frame_peek(b, LIMIT, &f), ERR_OK);
    assert_memory_equal(f.data, "abc", 3);
    evbuffer_free(b);
}

/* Judged by its header alone: nobody waits for 4 GiB, or makes room for them. */
static void a_length_over_the_limit_is_refused_at_once(void **state)
{
    (void)state;
    static const uint8_t headers[][4] = {{0, 0, 0x10, 1}, {0xff, 0xff, 0xff, 0xff}, {0x80, 0, 0, 0}};
    for (unsigned k = 0; k < 3; k++) {
        struct evbuffer *b = evbuffer_new();
        struct frame f;
        evbuffer_add(b, headers[k], 4);
        assert_int_equal(frame_peek(b, LIMIT, &f), ERR_TOO_BIG);
        evbuffer_free(b);
    }
}

static void an_empty_frame_is_bad(void **state)
{
    (void)state;
    struct evbuffer *b = evbuffer_new();
    struct frame f;
    evbuffer_add(b, "\0\0\0\0", 4);
    assert_int_equal(frame_peek(b, LIMIT, &f), ERR_BAD);
    evbuffer_free(b);
}

/* A blob goes to many links: each holds it until its bytes have left. */
static void a_large_blob_is_shared_and_not_copied(void **state)
{
    (void)state;
    struct evbuffer *a = evbuffer_new(), *b = evbuffer_new();
    struct blob *blob = blob_new(NULL, 8192);
    frame_add(a, blob);
    frame_add(b, blob);
    assert_int_equal(blob->refs, 3);
    evbuffer_free(a);
    assert_int_equal(blob->refs, 2);
    evbuffer_drain(b, 8192 + FRAME_HEADER_BYTES);
    assert_int_equal(blob->refs, 1);
    evbuffer_free(b);
    blob_unref(blob);
}

int main(void)
{
    alarm(60);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_come_out_as_they_went_in),
        cmocka_unit_test(a_frame_that_comes_byte_by_byte_waits_for_its_last),
        cmocka_unit_test(a_length_over_the_limit_is_refused_at_once),
        cmocka_unit_test(an_empty_frame_is_bad),
        cmocka_unit_test(a_large_blob_is_shared_and_not_copied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
