/* test_craft.c - the client's lines: what it may send, what we send, and what nobody should. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/rng.h"
#include "proto/wire/craft.h"

#define COUNT(a) ((unsigned)(sizeof(a) / sizeof((a)[0])))

/* ---- reading ---- */

static enum err parse(const char *data, struct craft_line *out)
{
    bool skipping = false;
    size_t used;
    const char *why;
    return craft_next(data, strlen(data), &skipping, &used, out, &why);
}

static void every_line_of_the_client_is_understood(void **state)
{
    (void)state;
    struct craft_line l;
    assert_int_equal(parse("V,1\n", &l), ERR_OK);
    assert_true(l.kind == CRAFT_VERSION && l.version == 1);
    assert_int_equal(parse("A,,\n", &l), ERR_OK);
    assert_true(l.kind == CRAFT_AUTH && l.auth.user_len == 0 && l.auth.token_len == 0);
    assert_int_equal(parse("A,ann,t0ken\n", &l), ERR_OK);
    assert_true(l.auth.user_len == 3 && l.auth.token_len == 5);
    assert_memory_equal(l.auth.token, "t0ken", 5);
    assert_int_equal(parse("C,-3,4,2147483647\n", &l), ERR_OK);
    assert_true(l.kind == CRAFT_CHUNK && l.chunk.at.p == -3 && l.chunk.at.q == 4 && l.chunk.key == INT32_MAX);
    assert_int_equal(parse("P,-1.25,+12.00,7,6.28,-1.57\n", &l), ERR_OK);
    assert_true(l.kind == CRAFT_PLACE && l.place.x == -1.25f && l.place.y == 12.0f && l.place.z == 7.0f);
    assert_true(l.place.rx == 6.28f && l.place.ry == -1.57f);
    assert_int_equal(parse("B,1,-2,3,0\n", &l), ERR_OK);
    assert_true(l.kind == CRAFT_BLOCK && l.block.at.x == 1 && l.block.at.y == -2 && l.block.at.z == 3 && !l.block.w);
    assert_int_equal(parse("L,1,2,3,15\n", &l), ERR_OK);
    assert_true(l.kind == CRAFT_LIGHT && l.block.w == 15);
    assert_int_equal(parse("S,1,2,3,7,a, b\n", &l), ERR_OK);
    assert_true(l.kind == CRAFT_SIGN && l.sign.face == 7 && l.sign.len == 4);
    assert_memory_equal(l.sign.text, "a, b", 4);
    assert_int_equal(parse("S,1,2,3,7,\n", &l), ERR_OK); /* removes the sign */
    assert_int_equal(l.sign.len, 0);
    assert_int_equal(parse("T,/nick a,b\r\n", &l), ERR_OK);
    assert_true(l.kind == CRAFT_TALK && l.talk.len == 9);
    assert_memory_equal(l.talk.text, "/nick a,b", 9);
}

static void malformed_lines_are_refused_one_by_one(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "V\n",
        "V,\n",
        "V,x\n",
        "V,1,2\n",
        "V,1.0\n",
        "A\n",
        "A,\n",
        "A,a\n",
        "A,a,b,c\n",
        "C,1,2\n",
        "C,1,2,3,4\n",
        "C,1,2,\n",
        "C,,2,3\n",
        "C,1, 2,3\n",
        "C,2147483648,0,0\n",
        "C,-2147483649,0,0\n",
        "C,99999999999999999999999,0,0\n",
        "C,0x1,0,0\n",
        "C,1e3,0,0\n",
        "C,--1,0,0\n",
        "C,-,0,0\n",
        "P,1,2,3,4\n",
        "P,1,2,3,4,5,6\n",
        "P,nan,2,3,4,5\n",
        "P,inf,2,3,4,5\n",
        "P,-inf,2,3,4,5\n",
        "P,1,2,3,4,\n",
        "P,1.2.3,2,3,4,5\n",
        "P,.,2,3,4,5\n",
        "P,1e5,2,3,4,5\n",
        "P,1;5,2,3,4,5\n",
        "P,340282357000000000000000000000000000000,2,3,4,5\n",
        "B,1,2,3\n",
        "B,1,2,3,4,5\n",
        "B,1.0,2,3,4\n",
        "L,1,2,3\n",
        "S,1,2,3,4\n",
        "S,1,2,3,x,hello\n",
        "S,1,2,3,4,h\x80\n",
        "S,1,2,3,4,h\x1f\n",
        "S,1,2,3,4,h\x7f\n",
        "T\n",
        "T,\n",
        "X,1\n",
        "v,1\n",
        "VV,1\n",
        "B1,2,3,4\n",
        ",\n",
        "1,2,3\n",
        "\x80\xff\n",
        "U,1,0,0,0,0,0\n",
        "GET / HTTP/1.1\r\n",
    };
    for (unsigned k = 0; k < COUNT(bad); k++) {
        struct craft_line l;
        bool skipping = false;
        size_t used = 0;
        const char *why = NULL;
        enum err e = craft_next(bad[k], strlen(bad[k]), &skipping, &used, &l, &why);
        if (e != ERR_BAD || used != strlen(bad[k]) || !why)
            fail_msg("taken for good: %s", bad[k]);
    }
}

static void numbers_up_to_their_limits_are_taken(void **state)
{
    (void)state;
    struct craft_line l;
    assert_int_equal(parse("C,-2147483648,2147483647,+0\n", &l), ERR_OK);
    assert_true(l.chunk.at.p == INT32_MIN && l.chunk.at.q == INT32_MAX && l.chunk.key == 0);
    assert_int_equal(parse("P,340282346638528859811704183484516925440.00,-0.00,.5,5.,0.123456789012345678901\n", &l),
                     ERR_OK);
    assert_true(l.place.x > 3e38f && signbit(l.place.y) && l.place.z == 0.5f && l.place.rx == 5.0f);
    assert_true(l.place.ry == 0.123456789f);
}

/* A NUL would end the text early in everything that follows. */
static void a_nul_byte_is_refused(void **state)
{
    (void)state;
    struct craft_line l;
    bool skipping = false;
    size_t used;
    const char *why;
    assert_int_equal(craft_next("T,a\0b\n", 6, &skipping, &used, &l, &why), ERR_BAD);
    assert_string_equal(why, "a NUL byte");
    assert_int_equal(used, 6);
}

static void empty_lines_are_passed_over(void **state)
{
    (void)state;
    struct craft_line l;
    bool skipping = false;
    size_t used;
    const char *why;
    assert_int_equal(craft_next("\n\r\n\nV,1\nV,2\n", 12, &skipping, &used, &l, &why), ERR_OK);
    assert_int_equal(used, 8);
    assert_int_equal(craft_next("\n\r\nV,", 5, &skipping, &used, &l, &why), ERR_AGAIN);
    assert_int_equal(used, 3);
}

/* Drives the parser as a reader of a socket does, with pieces of a given size; returns how many lines were good. */
static unsigned feed(const char *data, size_t len, size_t piece, int32_t *sum)
{
    char held[8192];
    size_t n = 0;
    bool skipping = false;
    unsigned good = 0;
    for (size_t at = 0; at < len; at += piece) {
        size_t more = len - at < piece ? len - at : piece;
        assert_true(n + more <= sizeof(held));
        memcpy(held + n, data + at, more);
        n += more;
        for (;;) {
            struct craft_line l;
            size_t used;
            const char *why;
            enum err e = craft_next(held, n, &skipping, &used, &l, &why);
            if (e == ERR_OK && l.kind == CRAFT_VERSION) {
                good++;
                *sum += l.version;
            }
            memmove(held, held + used, n - used);
            n -= used;
            if (e == ERR_AGAIN)
                break;
        }
        assert_true(n < CRAFT_LINE_MAX);
    }
    return good;
}

static void lines_may_be_torn_anywhere(void **state)
{
    (void)state;
    const char data[] = "V,1\r\n\nT,hello, you\nV,20\nnonsense\nV,300\n";
    for (size_t piece = 1; piece <= sizeof(data); piece++) {
        int32_t sum = 0;
        assert_int_equal(feed(data, sizeof(data) - 1, piece, &sum), 3);
        assert_int_equal(sum, 321);
    }
}

/* What is kept of a line without end is bounded, and the line after it counts again. */
static void an_endless_line_is_dropped_to_its_end(void **state)
{
    (void)state;
    char data[6000];
    memset(data, 'x', sizeof(data));
    memcpy(data, "V,1\n", 4);
    memcpy(data + 5000, "\nV,2\n", 5);
    for (size_t piece = 1; piece <= sizeof(data); piece += 13) {
        int32_t sum = 0;
        assert_int_equal(feed(data, 5005, piece, &sum), 2);
        assert_int_equal(sum, 3);
    }
}

static void a_line_of_exactly_the_limit_is_taken(void **state)
{
    (void)state;
    char data[CRAFT_LINE_MAX + 2];
    struct craft_line l;
    bool skipping = false;
    size_t used;
    const char *why;
    memset(data, 'x', sizeof(data));
    memcpy(data, "T,", 2);
    data[CRAFT_LINE_MAX - 1] = '\n';
    assert_int_equal(craft_next(data, CRAFT_LINE_MAX, &skipping, &used, &l, &why), ERR_OK);
    assert_int_equal(l.talk.len, CRAFT_LINE_MAX - 3);
    data[CRAFT_LINE_MAX - 1] = 'x';
    data[CRAFT_LINE_MAX] = '\n';
    assert_int_equal(craft_next(data, CRAFT_LINE_MAX + 1, &skipping, &used, &l, &why), ERR_AGAIN);
    assert_int_equal(used, CRAFT_LINE_MAX + 1);
    assert_false(skipping);
}

/* ---- writing ---- */

#define assert_line(call, want)                                                                                        \
    do {                                                                                                               \
        char out_[CRAFT_OUT_MAX];                                                                                      \
        char *out = out_;                                                                                              \
        size_t n_ = (call);                                                                                            \
        assert_int_equal(n_, strlen(want));                                                                            \
        assert_memory_equal(out_, want, n_);                                                                           \
    } while (0)

static void lines_are_written_as_the_client_reads_them(void **state)
{
    (void)state;
    const struct place p = {-1.255f, 12, 0.005f, 6.2831f, -0.001f};
    const struct chunk_pos c = {-1, 2};
    const struct block_pos at = {-32, 255, 64};
    assert_line(craft_you(out, 7, &p), "U,7,-1.25,12.00,0.00,6.28,-0.00\n");
    assert_line(craft_player(out, 4000000000u, &p), "P,4000000000,-1.25,12.00,0.00,6.28,-0.00\n");
    assert_line(craft_time(out, 1700000000.5, 600), "E,1700000000.50,600\n");
    assert_line(craft_talk(out, "hi, there"), "T,hi, there\n");
    assert_line(craft_nick(out, 3, "ann"), "N,3,ann\n");
    assert_line(craft_gone(out, 3), "D,3\n");
    assert_line(craft_block(out, c, at, -63), "B,-1,2,-32,255,64,-63\n");
    assert_line(craft_light(out, c, at, 15), "L,-1,2,-32,255,64,15\n");
    assert_line(craft_sign(out, c, at, 7, "a,b"), "S,-1,2,-32,255,64,7,a,b\n");
    assert_line(craft_sign(out, c, at, 0, ""), "S,-1,2,-32,255,64,0,\n");
    assert_line(craft_key(out, c, KEY_MAX), "K,-1,2,2147483647\n");
    assert_line(craft_redraw(out, (struct chunk_pos){INT32_MIN, INT32_MAX}), "R,-2147483648,2147483647\n");
    assert_line(craft_chunk_end(out, c), "C,-1,2\n");
}

static void no_text_can_start_a_line_of_its_own(void **state)
{
    (void)state;
    assert_line(craft_talk(out, "a\nU,1,0,0,0,0,0"), "T,a?U,1,0,0,0,0,0\n");
    assert_line(craft_nick(out, 1, "\xe9\x7f\r"), "N,1,???\n");
    assert_line(craft_sign(out, (struct chunk_pos){0, 0}, (struct block_pos){0, 1, 0}, 0, "\x80"), "S,0,0,0,1,0,0,?\n");
}

static void long_text_is_cut_to_what_a_client_shows(void **state)
{
    (void)state;
    char text[1000], out[CRAFT_OUT_MAX];
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = 0;
    assert_int_equal(craft_talk(out, text), 2 + CRAFT_TEXT_MAX + 1);
    assert_true(craft_sign(out, (struct chunk_pos){INT32_MIN, INT32_MIN},
                           (struct block_pos){INT32_MIN, INT32_MIN, INT32_MIN}, INT32_MIN, text) <= CRAFT_OUT_MAX);
}

static float any_float(struct rng *r)
{
    uint32_t bits = (uint32_t)rng_u64(r);
    float v;
    memcpy(&v, &bits, sizeof(v));
    return v;
}

/* The seed server formats with printf; clients compare what they are told with what they sent. */
static void positions_are_written_exactly_like_printf(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 42);
    for (unsigned k = 0; k < 400000; k++) {
        float v;
        if (k % 4 == 0)
            v = any_float(&r);
        else if (k % 4 == 1) /* halves of a hundredth: 0.125, 0.375, ... */
            v = (float)((double)rng_below(&r, 1 << 20) / 8 - 65536);
        else
            v = (float)((rng_unit(&r) - 0.5) * (k % 4 == 2 ? 2000 : 2e9));
        if (!isfinite(v))
            continue;
        struct place p = {v, 0, -v, 0, 0};
        char out[CRAFT_OUT_MAX], want[CRAFT_OUT_MAX];
        size_t n = craft_player(out, k, &p);
        int m = snprintf(want, sizeof(want), "P,%u,%.2f,0.00,%.2f,0.00,0.00\n", k, (double)v, -(double)v);
        assert_int_equal(n, m);
        assert_memory_equal(out, want, n);
    }
}

static void integers_are_written_exactly_like_printf(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 43);
    for (unsigned k = 0; k < 200000; k++) {
        const unsigned shift = rng_below(&r, 32);
        struct chunk_pos c = {(int32_t)rng_u64(&r) >> shift, (int32_t)rng_u64(&r) >> shift};
        char out[CRAFT_OUT_MAX], want[64];
        size_t n = craft_redraw(out, c);
        assert_int_equal(n, snprintf(want, sizeof(want), "R,%d,%d\n", c.p, c.q));
        assert_memory_equal(out, want, n);
    }
}

static void what_is_not_a_number_is_still_written_as_one(void **state)
{
    (void)state;
    const struct place p = {NAN, INFINITY, -INFINITY, 0, 0};
    assert_line(craft_player(out, 1, &p), "P,1,0.00,0.00,0.00,0.00,0.00\n");
}

int main(void)
{
    alarm(60);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_line_of_the_client_is_understood),
        cmocka_unit_test(malformed_lines_are_refused_one_by_one),
        cmocka_unit_test(numbers_up_to_their_limits_are_taken),
        cmocka_unit_test(a_nul_byte_is_refused),
        cmocka_unit_test(empty_lines_are_passed_over),
        cmocka_unit_test(lines_may_be_torn_anywhere),
        cmocka_unit_test(an_endless_line_is_dropped_to_its_end),
        cmocka_unit_test(a_line_of_exactly_the_limit_is_taken),
        cmocka_unit_test(lines_are_written_as_the_client_reads_them),
        cmocka_unit_test(no_text_can_start_a_line_of_its_own),
        cmocka_unit_test(long_text_is_cut_to_what_a_client_shows),
        cmocka_unit_test(positions_are_written_exactly_like_printf),
        cmocka_unit_test(integers_are_written_exactly_like_printf),
        cmocka_unit_test(what_is_not_a_number_is_still_written_as_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
