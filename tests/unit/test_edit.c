/* The rules by which an edit is accepted or refused, and with which reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <unistd.h>

#include "node/world/edit.h"

static enum refusal judge(const struct edit *e, int there)
{
    enum refusal r = edit_judge_alone(e);
    return r != REFUSED_NOT_SAID ? r : edit_judge_block(e, there);
}

static enum refusal block(int32_t y, int32_t w, int there)
{
    struct edit e = {.kind = ROW_BLOCK, .w = w, .at = {5, y, -5}};
    return judge(&e, there);
}

static enum refusal light(int32_t y, int32_t w, int there)
{
    struct edit e = {.kind = ROW_LIGHT, .w = w, .at = {5, y, -5}};
    return judge(&e, there);
}

static enum refusal sign(int32_t y, uint8_t face, const char *text)
{
    struct edit e = {.kind = ROW_SIGN, .face = face, .text = text, .at = {5, y, -5}};
    return judge(&e, 0);
}

static void only_items_of_the_game_can_be_placed(void **state)
{
    (void)state;
    for (int32_t w = -300; w < 300; w++) {
        bool good = (w >= 0 && w <= 15) || (w >= 17 && w <= 23) || (w >= 32 && w <= 63);
        assert_int_equal(edit_item_allowed(w), good);
        if (w != 0)
            assert_int_equal(block(10, w, 0), good ? REFUSED_NOT_SAID : REFUSED_ITEM);
    }
    assert_int_equal(block(10, INT32_MIN, 0), REFUSED_ITEM);
    assert_int_equal(block(10, 65536 + 1, 0), REFUSED_ITEM);
}

static void nothing_is_built_below_or_above_the_world(void **state)
{
    (void)state;
    static const int32_t outside[] = {0, -1, 256, INT32_MIN, INT32_MAX};
    for (unsigned k = 0; k < 5; k++) {
        assert_int_equal(block(outside[k], 1, 0), REFUSED_COORDS);
        assert_int_equal(block(outside[k], 0, 1), REFUSED_COORDS);
        assert_int_equal(light(outside[k], 15, 1), REFUSED_COORDS);
        assert_int_equal(sign(outside[k], 0, "hello"), REFUSED_SIGN);
    }
    assert_int_equal(block(1, 1, 0), REFUSED_NOT_SAID);
    assert_int_equal(block(255, 1, 0), REFUSED_NOT_SAID);
}

static void nothing_is_built_beyond_the_edge_of_the_world(void **state)
{
    (void)state;
    struct edit e = {.kind = ROW_BLOCK, .w = 1, .at = {COORD_MAX, 10, -COORD_MAX}};
    assert_int_equal(judge(&e, 0), REFUSED_NOT_SAID);
    e.at.x = INT32_MIN;
    assert_int_equal(judge(&e, 0), REFUSED_COORDS);
    e.at = (struct block_pos){0, 10, COORD_MAX + 1};
    assert_int_equal(judge(&e, 0), REFUSED_COORDS);
}

static void a_block_must_be_broken_before_another_is_put_there(void **state)
{
    (void)state;
    assert_int_equal(block(10, 4, 1), REFUSED_OCCUPIED);
    assert_int_equal(block(10, 4, 4), REFUSED_OCCUPIED);
    assert_int_equal(block(10, 4, 16), REFUSED_OCCUPIED);
    assert_int_equal(block(10, 4, 0), REFUSED_NOT_SAID);
}

static void only_what_is_there_can_be_broken_and_clouds_cannot(void **state)
{
    (void)state;
    assert_int_equal(block(10, 0, 0), REFUSED_EMPTY);
    assert_int_equal(block(70, 0, 16), REFUSED_CLOUD);
    assert_int_equal(block(10, 0, 17), REFUSED_NOT_SAID);
    assert_int_equal(block(10, 0, 24), REFUSED_NOT_SAID); /* the terrain grows a flower that players cannot place */
}

static void a_light_needs_a_block_and_a_level(void **state)
{
    (void)state;
    assert_int_equal(light(10, 15, 3), REFUSED_NOT_SAID);
    assert_int_equal(light(10, 0, 3), REFUSED_NOT_SAID);
    assert_int_equal(light(10, 15, 0), REFUSED_NO_BLOCK);
    assert_int_equal(light(10, 16, 3), REFUSED_LIGHT);
    assert_int_equal(light(10, -1, 3), REFUSED_LIGHT);
}

static void a_sign_has_a_face_and_a_short_printable_text(void **state)
{
    (void)state;
    static const char longest[] = "123456789012345678901234567890123456789012345678";
    static const char longer[] = "1234567890123456789012345678901234567890123456789";
    assert_int_equal(sizeof longest - 1, SIGN_TEXT_MAX);
    assert_int_equal(sign(10, 7, longest), REFUSED_NOT_SAID);
    assert_int_equal(sign(10, 0, ""), REFUSED_NOT_SAID);
    assert_int_equal(sign(10, 0, " ~, `"), REFUSED_NOT_SAID);
    assert_int_equal(sign(10, 8, "hello"), REFUSED_SIGN);
    assert_int_equal(sign(10, 255, "hello"), REFUSED_SIGN);
    assert_int_equal(sign(10, 0, longer), REFUSED_SIGN);
    assert_int_equal(sign(10, 0, "a\tb"), REFUSED_SIGN);
    assert_int_equal(sign(10, 0, "\x7f"), REFUSED_SIGN);
    assert_int_equal(sign(10, 0, "gr\xc3\xbc\xc3\x9f"), REFUSED_SIGN); /* the client reads beyond its table */
}

static void a_kind_that_does_not_exist_is_refused(void **state)
{
    (void)state;
    struct edit e = {.kind = 9, .w = 1, .at = {5, 10, 5}};
    assert_int_equal(edit_judge_alone(&e), REFUSED_ITEM);
}

int main(void)
{
    alarm(60);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_items_of_the_game_can_be_placed),
        cmocka_unit_test(nothing_is_built_below_or_above_the_world),
        cmocka_unit_test(nothing_is_built_beyond_the_edge_of_the_world),
        cmocka_unit_test(a_block_must_be_broken_before_another_is_put_there),
        cmocka_unit_test(only_what_is_there_can_be_broken_and_clouds_cannot),
        cmocka_unit_test(a_light_needs_a_block_and_a_level),
        cmocka_unit_test(a_sign_has_a_face_and_a_short_printable_text),
        cmocka_unit_test(a_kind_that_does_not_exist_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
