/* arena.c, and the ways of mem.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/arena.h"
#include "proto/base/mem.h"

static void allocations_are_aligned_and_apart(void **state)
{
    (void)state;
    struct arena *a = arena_new();
    uint8_t *p[300];
    for (unsigned i = 0; i < 300; i++) {
        p[i] = arena_alloc(a, i);
        assert_int_equal((uintptr_t)p[i] % _Alignof(max_align_t), 0);
        memset(p[i], (int)(i & 0xff), i);
    }
    for (unsigned i = 0; i < 300; i++) {
        for (unsigned k = 0; k < i; k++)
            assert_int_equal(p[i][k], i & 0xff);
    }
    arena_free(a);
}

static void zeroed_memory_is_zero_after_reuse(void **state)
{
    (void)state;
    struct arena *a = arena_new();
    memset(arena_alloc(a, 5000), 0xff, 5000);
    arena_reset(a);
    const uint8_t *p = arena_zalloc(a, 5000);
    for (unsigned i = 0; i < 5000; i++)
        assert_int_equal(p[i], 0);
    arena_free(a);
}

static void a_reset_reuses_the_memory(void **state)
{
    (void)state;
    struct arena *a = arena_new();
    const void *first = arena_alloc(a, 100);
    arena_reset(a);
    assert_ptr_equal(arena_alloc(a, 100), first);
    arena_free(a);
}

/* One message of 60 MiB must not hold 60 MiB for ever; that it is freed is seen by valgrind's and ASan's peak, that the
 * arena still works is seen here. */
static void a_large_allocation_survives_many_resets(void **state)
{
    (void)state;
    struct arena *a = arena_new();
    for (unsigned round = 0; round < 20; round++) {
        uint8_t *big = arena_alloc(a, 3 << 20);
        big[0] = big[(3 << 20) - 1] = 7;
        char *small = arena_strndup(a, "hello", 3);
        assert_string_equal(small, "hel");
        assert_int_equal(big[0], 7);
        arena_reset(a);
    }
    arena_free(a);
    arena_free(NULL);
}

static void a_copied_text_ends_at_its_nul_or_length(void **state)
{
    (void)state;
    struct arena *a = arena_new();
    assert_string_equal(arena_strndup(a, "ab\0cd", 5), "ab");
    assert_string_equal(arena_strndup(a, "", 0), "");
    arena_free(a);
}

static void plain_memory_comes_as_promised(void **state)
{
    (void)state;
    void *none = mem_alloc(0);
    assert_non_null(none);
    free(none);
    uint32_t *zeros = mem_array(100, sizeof *zeros);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(zeros[i], 0);
    zeros = mem_resize(zeros, 4);
    free(zeros);
    char *text = mem_strndup("abc\0def", 7);
    assert_string_equal(text, "abc");
    free(text);
    void *nothing = mem_dup(NULL, 0);
    assert_non_null(nothing);
    free(nothing);
}

int main(void)
{
    alarm(60);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocations_are_aligned_and_apart),
        cmocka_unit_test(zeroed_memory_is_zero_after_reuse),
        cmocka_unit_test(a_reset_reuses_the_memory),
        cmocka_unit_test(a_large_allocation_survives_many_resets),
        cmocka_unit_test(a_copied_text_ends_at_its_nul_or_length),
        cmocka_unit_test(plain_memory_comes_as_promised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
