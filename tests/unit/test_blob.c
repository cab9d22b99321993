#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <event2/buffer.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/blob.h"

static void a_blob_holds_a_copy(void **state)
{
    (void)state;
    char text[] = "hello";
    struct blob *b = blob_new(text, 5);
    text[0] = 'j';
    assert_int_equal(b->len, 5);
    assert_memory_equal(b->data, "hello", 5);
    blob_unref(b);
    blob_unref(NULL);
}

static void without_data_it_is_zeroed(void **state)
{
    (void)state;
    struct blob *b = blob_new(NULL, 100);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(b->data[i], 0);
    blob_unref(b);
}

/* The caller lets go at once; each buffer holds it until its bytes are gone. */
static void buffers_share_it_until_they_are_drained(void **state)
{
    (void)state;
    struct evbuffer *one = evbuffer_new(), *two = evbuffer_new();
    struct blob *b = blob_ref(blob_new("shared", 6));
    blob_add_to(b, one);
    blob_add_to(b, two);
    blob_add_to(b, two);
    blob_unref(b);
    assert_int_equal(b->refs, 4);
    assert_ptr_equal(evbuffer_pullup(one, 6), b->data); /* by reference, not a copy */
    evbuffer_drain(one, 3);
    assert_int_equal(b->refs, 4);
    evbuffer_drain(one, 3);
    assert_int_equal(b->refs, 3);
    evbuffer_free(two);
    assert_int_equal(b->refs, 1);
    evbuffer_free(one);
    blob_unref(b);
}

static void an_empty_blob_adds_nothing(void **state)
{
    (void)state;
    struct evbuffer *out = evbuffer_new();
    struct blob *b = blob_new("", 0);
    blob_add_to(b, out);
    assert_int_equal(evbuffer_get_length(out), 0);
    assert_int_equal(b->refs, 1);
    blob_unref(b);
    evbuffer_free(out);
}

int main(void)
{
    alarm(60);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_blob_holds_a_copy),
        cmocka_unit_test(without_data_it_is_zeroed),
        cmocka_unit_test(buffers_share_it_until_they_are_drained),
        cmocka_unit_test(an_empty_blob_adds_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
