#include "config.h"

#include "lib/buf.h"

#include <stdlib.h>
#include <string.h>

#include "unit.h"

static void
a_new_buffer_holds_nothing(void **state)
{
	struct aic_buf b;

	(void)state;
	aic_buf_init(&b, 10);
	assert_int_equal(b.len, 0);
	assert_false(b.failed);
	aic_buf_done(&b);
}

static void
done_may_get_a_zeroed_struct_and_may_be_called_twice(void **state)
{
	struct aic_buf b = { .max = 0 };

	(void)state;
	aic_buf_done(&b);
	aic_buf_init(&b, 10);
	aic_buf_puts(&b, "x");
	aic_buf_done(&b);
	aic_buf_done(&b);
	assert_int_equal(b.len, 0);
}

static void
pieces_are_joined_and_end_in_nul(void **state)
{
	struct aic_buf b;

	(void)state;
	aic_buf_init(&b, 100);
	aic_buf_puts(&b, "ab");
	aic_buf_putc(&b, 'c');
	aic_buf_put(&b, "d\0e", 3);
	aic_buf_printf(&b, "%d-%s", 42, "f");
	aic_buf_put(&b, NULL, 0);
	aic_buf_puts(&b, "");
	assert_false(b.failed);
	assert_int_equal(b.len, 10);
	assert_memory_equal(b.data, "abcd\0e42-f", 11);
	aic_buf_done(&b);
}

/* Lengths around the steps in which the buffer grows. */
static void
any_length_fits_and_ends_in_nul(void **state)
{
	struct aic_buf b;
	size_t n, i;

	(void)state;
	for (n = 1; n < 1100; n++) {
		aic_buf_init(&b, n);
		for (i = 0; i < n; i++)
			aic_buf_putc(&b, (char)('a' + i % 26));
		assert_false(b.failed);
		assert_int_equal(b.len, n);
		assert_int_equal(strlen(b.data), n);
		aic_buf_done(&b);

		aic_buf_init(&b, n);
		aic_buf_printf(&b, "%*s", (int)n, "x");
		assert_int_equal(b.len, n);
		assert_int_equal(b.data[n - 1], 'x');
		assert_int_equal(b.data[n], '\0');
		aic_buf_done(&b);
	}
}

static void
the_ceiling_itself_is_allowed_and_a_byte_more_is_not(void **state)
{
	struct aic_buf b;

	(void)state;
	aic_buf_init(&b, 4);
	aic_buf_puts(&b, "abcd");
	assert_false(b.failed);
	aic_buf_putc(&b, 'e');
	assert_true(b.failed);
	assert_int_equal(b.len, 4);
	assert_string_equal(b.data, "abcd");
	aic_buf_done(&b);

	aic_buf_init(&b, 4);
	aic_buf_printf(&b, "%s", "abcde");
	assert_true(b.failed);
	assert_int_equal(b.len, 0);
	aic_buf_done(&b);

	aic_buf_init(&b, 0);
	aic_buf_put(&b, "", 0);
	assert_false(b.failed);
	aic_buf_putc(&b, 'x');
	assert_true(b.failed);
	aic_buf_done(&b);
}

static void
a_length_near_the_largest_does_not_wrap(void **state)
{
	struct aic_buf b;

	(void)state;
	aic_buf_init(&b, 100);
	aic_buf_puts(&b, "abc");
	assert_false(aic_buf_room(&b, SIZE_MAX));
	assert_true(b.failed);
	aic_buf_clear(&b);
	aic_buf_puts(&b, "abc");
	assert_false(aic_buf_room(&b, SIZE_MAX - 2));
	aic_buf_done(&b);
}

static void
after_a_failure_even_a_piece_that_would_fit_fails(void **state)
{
	struct aic_buf b;

	(void)state;
	aic_buf_init(&b, 4);
	aic_buf_puts(&b, "ab");
	aic_buf_puts(&b, "too long");
	aic_buf_putc(&b, 'c');
	aic_buf_printf(&b, "d");
	assert_false(aic_buf_room(&b, 0));
	assert_true(b.failed);
	assert_int_equal(b.len, 2);
	assert_null(aic_buf_take(&b, NULL));
	aic_buf_done(&b);
}

static void
clear_removes_content_and_failure_and_keeps_the_ceiling(void **state)
{
	struct aic_buf b;

	(void)state;
	aic_buf_init(&b, 4);
	aic_buf_clear(&b);
	aic_buf_puts(&b, "abcd");
	aic_buf_putc(&b, 'e');
	aic_buf_clear(&b);
	assert_false(b.failed);
	assert_int_equal(b.len, 0);
	aic_buf_puts(&b, "wxyz");
	assert_false(b.failed);
	assert_string_equal(b.data, "wxyz");
	aic_buf_putc(&b, 'e');
	assert_true(b.failed);
	aic_buf_done(&b);
}

static void
room_returns_memory_that_may_be_written(void **state)
{
	struct aic_buf b;

	(void)state;
	aic_buf_init(&b, 5000);
	assert_true(aic_buf_room(&b, 5000));
	memset(b.data, 'x', 5000);
	b.len = 5000;
	assert_true(aic_buf_room(&b, 0));
	assert_false(aic_buf_room(&b, 1));
	aic_buf_done(&b);
}

static void
take_returns_the_bytes_and_leaves_an_empty_buffer(void **state)
{
	struct aic_buf b;
	size_t len = 99;
	char *s;

	(void)state;
	aic_buf_init(&b, 4);
	aic_buf_put(&b, "a\0b", 3);
	s = aic_buf_take(&b, &len);
	assert_int_equal(len, 3);
	assert_memory_equal(s, "a\0b", 4);
	assert_int_equal(b.len, 0);
	aic_buf_puts(&b, "next");
	assert_memory_equal(s, "a\0b", 4);
	free(s);
	s = aic_buf_take(&b, NULL);
	assert_string_equal(s, "next");
	free(s);
	aic_buf_puts(&b, "fives"); /* the ceiling is unchanged, 4 */
	assert_true(b.failed);
	aic_buf_done(&b);
}

static void
take_of_an_empty_buffer_returns_an_empty_text(void **state)
{
	struct aic_buf b;
	size_t len = 99;
	char *s;

	(void)state;
	aic_buf_init(&b, 0);
	s = aic_buf_take(&b, &len);
	assert_non_null(s);
	assert_string_equal(s, "");
	assert_int_equal(len, 0);
	free(s);
	aic_buf_done(&b);
}

UNIT_MAIN(T(a_new_buffer_holds_nothing),
    T(done_may_get_a_zeroed_struct_and_may_be_called_twice),
    T(pieces_are_joined_and_end_in_nul), T(any_length_fits_and_ends_in_nul),
    T(the_ceiling_itself_is_allowed_and_a_byte_more_is_not),
    T(a_length_near_the_largest_does_not_wrap),
    T(after_a_failure_even_a_piece_that_would_fit_fails),
    T(clear_removes_content_and_failure_and_keeps_the_ceiling),
    T(room_returns_memory_that_may_be_written),
    T(take_returns_the_bytes_and_leaves_an_empty_buffer),
    T(take_of_an_empty_buffer_returns_an_empty_text))
