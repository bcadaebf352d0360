#include "config.h"

#include "lib/hex.h"

#include <string.h>

#include "unit.h"

static void
a_digit_of_either_case_has_its_value(void **state)
{
	static const char lower[] = "0123456789abcdef";
	static const char upper[] = "0123456789ABCDEF";
	int c, n = 0;

	(void)state;
	for (c = 0; c < 16; c++) {
		assert_int_equal(aic_hex_digit(lower[c]), c);
		assert_int_equal(aic_hex_digit(upper[c]), c);
	}
	for (c = -128; c < 128; c++)
		n += aic_hex_digit((char)c) >= 0;
	assert_int_equal(n, 22);
}

static void
a_byte_is_two_digits(void **state)
{
	static const char *const bad[] = { "", "4", "g0", "0g", " 1", "+1",
		"-1", "0x" };
	size_t i;

	(void)state;
	assert_int_equal(aic_hex_byte("00"), 0);
	assert_int_equal(aic_hex_byte("a0b"), 0xa0);
	assert_int_equal(aic_hex_byte("Ff"), 0xff);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(aic_hex_byte(bad[i]), -1);
}

static void
bytes_are_written_as_digits(void **state)
{
	char text[9];

	(void)state;
	aic_hex_put(text, "\x00\x1f\xa0\xff", 4);
	assert_string_equal(text, "001fa0ff");
	aic_hex_put(text, "", 0);
	assert_string_equal(text, "");
}

UNIT_MAIN(T(a_digit_of_either_case_has_its_value), T(a_byte_is_two_digits),
    T(bytes_are_written_as_digits))
