#include "config.h"

#include "lib/utf8.h"

#include <string.h>

#include "unit.h"

/* The encoding of RFC 3629, written independently of the code under test. */
static size_t
encode(uint32_t cp, char to[4])
{
	if (cp < 0x80) {
		to[0] = (char)cp;
		return 1;
	}
	if (cp < 0x800) {
		to[0] = (char)(0xc0 | cp >> 6);
		to[1] = (char)(0x80 | (cp & 0x3f));
		return 2;
	}
	if (cp < 0x10000) {
		to[0] = (char)(0xe0 | cp >> 12);
		to[1] = (char)(0x80 | (cp >> 6 & 0x3f));
		to[2] = (char)(0x80 | (cp & 0x3f));
		return 3;
	}
	to[0] = (char)(0xf0 | cp >> 18);
	to[1] = (char)(0x80 | (cp >> 12 & 0x3f));
	to[2] = (char)(0x80 | (cp >> 6 & 0x3f));
	to[3] = (char)(0x80 | (cp & 0x3f));
	return 4;
}

static void
every_code_point_is_read_and_surrogates_are_not(void **state)
{
	uint32_t cp, got;
	char s[4];
	size_t n;

	(void)state;
	for (cp = 0; cp <= 0x10ffff; cp++) {
		n = encode(cp, s);
		got = 0xffffffff;
		if (cp >= 0xd800 && cp <= 0xdfff) {
			if (aic_utf8_next(s, n, &got) != 0)
				fail_msg("U+%04x was taken", cp);
			assert_int_equal(got, 0xffffffff);
			continue;
		}
		if (aic_utf8_next(s, n, &got) != n || got != cp ||
		    aic_utf8_next(s, n, NULL) != n)
			fail_msg("U+%04x was not read", cp);
	}
}

static void
a_code_point_that_is_cut_off_is_invalid(void **state)
{
	static const uint32_t cps[] = { 0x80, 0x439, 0x20ac, 0xfffd, 0x1f600 };
	char s[4];
	size_t i, n, m;

	(void)state;
	for (i = 0; i < sizeof(cps) / sizeof(cps[0]); i++) {
		n = encode(cps[i], s);
		for (m = 1; m < n; m++)
			assert_int_equal(aic_utf8_next(s, m, NULL), 0);
	}
}

static void
bytes_that_are_not_utf8_are_refused(void **state)
{
	static const char *const bad[] = {
		"\x80",
		"\xbf", /* a continuation alone */
		"\xc0\x80",
		"\xc1\xbf", /* overlong */
		"\xe0\x80\x80",
		"\xe0\x9f\xbf",
		"\xf0\x80\x80\x80",
		"\xf0\x8f\xbf\xbf",
		"\xed\xa0\x80",
		"\xed\xbf\xbf", /* surrogates */
		"\xf4\x90\x80\x80",
		"\xf5\x80\x80\x80",
		"\xf7\xbf\xbf\xbf",
		"\xf8\x88\x80\x80\x80",
		"\xfc\x84\x80\x80\x80\x80",
		"\xfe",
		"\xff",
		"\xd0 ",
		"\xd0\xd0",
		"\xe2\x82 ",
		"\xe2 \xac",
		"\xf0\x9f\x98 ",
		"\xf0\x9f \x80",
		"\xf0 \x98\x80",
		"\xe2\x82\xc0",
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (aic_utf8_next(bad[i], strlen(bad[i]), NULL) != 0)
			fail_msg("row %zu was taken", i);
}

static void
lengths_are_code_points(void **state)
{
	(void)state;
	assert_int_equal(aic_utf8_count("", 0), 0);
	assert_int_equal(aic_utf8_count(LIT("abc")), 3);
	assert_int_equal(aic_utf8_count(LIT("a\0c")), 3);
	assert_int_equal(aic_utf8_count(LIT("Привет")), 6);
	assert_int_equal(aic_utf8_count(LIT("€😀")), 2);
	/*
	 * The letter and its combining accent are two; a family of four is
	 * seven.
	 */
	assert_int_equal(aic_utf8_count(LIT("e\xcc\x81")), 2);
	assert_int_equal(aic_utf8_count(LIT("👨‍👩‍👧‍👦")), 7);
}

/* Unicode's PropList.txt, White_Space: 25 code points. */
static bool
is_white(uint32_t cp)
{
	static const uint32_t white[] = { 0x9, 0xa, 0xb, 0xc, 0xd, 0x20, 0x85,
		0xa0, 0x1680, 0x2000, 0x2001, 0x2002, 0x2003, 0x2004, 0x2005,
		0x2006, 0x2007, 0x2008, 0x2009, 0x200a, 0x2028, 0x2029, 0x202f,
		0x205f, 0x3000 };
	size_t i;

	for (i = 0; i < sizeof(white) / sizeof(white[0]); i++)
		if (white[i] == cp)
			return true;
	return false;
}

/*
 * U+200B, U+FEFF, U+180E and U+2800 are not in the list, so they are not blank.
 */
static void
exactly_the_white_space_of_unicode_is_blank(void **state)
{
	uint32_t cp;
	char s[4];
	size_t n;

	(void)state;
	for (cp = 0; cp <= 0x10ffff; cp++) {
		if (cp >= 0xd800 && cp <= 0xdfff)
			continue;
		n = encode(cp, s);
		if (aic_utf8_blank(s, n) != is_white(cp) ||
		    aic_utf8_is_space(cp) != is_white(cp))
			fail_msg("U+%04x is judged wrongly", cp);
	}
}

static void
a_text_is_blank_when_all_its_code_points_are(void **state)
{
	(void)state;
	assert_true(aic_utf8_blank(NULL, 0));
	assert_true(aic_utf8_blank("x", 0));
	assert_true(aic_utf8_blank(LIT(" \t\r\n\xc2\xa0\xe3\x80\x80 ")));
	assert_false(aic_utf8_blank(LIT("   .")));
	assert_false(aic_utf8_blank(LIT(".   ")));
	assert_false(aic_utf8_blank(LIT("  \0  ")));
	assert_false(aic_utf8_blank(LIT("  \xff")));
	assert_false(aic_utf8_blank(LIT("  \xe3\x80")));
}

static void
a_code_point_that_shows_nothing_is_invisible(void **state)
{
	/*
	 * The first and the last code point of each range, and the neighbours
	 * of both.
	 */
	static const uint32_t ranges[][2] = { { 0x7f, 0xa0 }, { 0xad, 0xad },
		{ 0x34f, 0x34f }, { 0x61c, 0x61c }, { 0x115f, 0x1160 },
		{ 0x17b4, 0x17b5 }, { 0x180b, 0x180f }, { 0x2000, 0x200f },
		{ 0x2028, 0x202f }, { 0x205f, 0x206f }, { 0x2800, 0x2800 },
		{ 0x3164, 0x3164 }, { 0xfe00, 0xfe0f }, { 0xfeff, 0xfeff },
		{ 0xffa0, 0xffa0 }, { 0xfff0, 0xfffc }, { 0x1bca0, 0x1bca3 },
		{ 0x1d159, 0x1d159 }, { 0x1d173, 0x1d17a },
		{ 0xe0000, 0xe0fff } };
	uint32_t cp;
	char s[4];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		for (cp = ranges[i][0]; cp <= ranges[i][1]; cp++)
			if (!aic_utf8_invisible(s, encode(cp, s)))
				fail_msg("U+%04x has a shape", cp);
		cp = ranges[i][0] - 1;
		if (aic_utf8_invisible(s, encode(cp, s)))
			fail_msg("U+%04x has none", cp);
		cp = ranges[i][1] + 1;
		if (aic_utf8_invisible(s, encode(cp, s)))
			fail_msg("U+%04x has none", cp);
	}
	for (cp = 0; cp <= 0x10ffff; cp++)
		if ((cp < 0xd800 || cp > 0xdfff) && is_white(cp) &&
		    !aic_utf8_invisible(s, encode(cp, s)))
			fail_msg("U+%04x is white space", cp);
}

static void
a_text_is_invisible_when_all_its_code_points_are(void **state)
{
	(void)state;
	assert_true(aic_utf8_invisible(NULL, 0));
	assert_true(aic_utf8_invisible(LIT(" \0\x1b\n")));
	assert_true(aic_utf8_invisible(
	    LIT("\xe2\x80\x8b \xc2\xad\xef\xbb\xbf\xe3\x85\xa4\n")));
	assert_false(aic_utf8_invisible(LIT("\xe2\x80\x8b.")));
	assert_false(aic_utf8_invisible(LIT("\xef\xbf\xbd")));
	assert_false(aic_utf8_invisible(LIT("👍\xef\xb8\x8f")));
	assert_false(aic_utf8_invisible(LIT("  \xff")));
	assert_false(aic_utf8_invisible(LIT("  \xe2\x80")));
}

#define R "\xef\xbf\xbd"

static void
mend_replaces_invalid_bytes_and_keeps_the_rest(void **state)
{
	static const struct {
		const char *in;
		size_t n;
		const char *out;
	} rows[] = {
		{ LIT(""), "" },
		{ LIT("plain"), "plain" },
		{ LIT("Привет 😀"), "Привет 😀" },
		{ LIT("a\0b"), "a" R "b" },
		{ LIT("\0"), R },
		{ LIT("\0\0"), R R },
		{ LIT("\xff"), R },
		{ LIT("a\xff"), "a" R },
		{ LIT("\xff"
		      "a"),
		    R "a" },
		{ LIT("\xd0"), R },
		{ LIT("\xd0z"), R "z" },
		{ LIT("\xd0\xd0\xb9"), R "й" },
		{ LIT("\xc0\x80"), R R },
		{ LIT("\xed\xa0\xbd"), R R R },
		{ LIT("\xf0\x9f\x98"), R R R },
		{ LIT("\xf4\x90\x80\x80"), R R R R },
		{ LIT("й\xb9й"), "й" R "й" },
		{ LIT(R), R },
	};
	struct aic_buf b;
	size_t i, n, at;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		aic_buf_init(&b, 100);
		aic_utf8_mend(&b, rows[i].in, rows[i].n);
		assert_false(b.failed);
		assert_int_equal(b.len, strlen(rows[i].out));
		if (b.len)
			assert_string_equal(b.data, rows[i].out);
		for (at = 0; at < b.len; at += n) {
			n = aic_utf8_next(b.data + at, b.len - at, NULL);
			assert_int_not_equal(n, 0);
		}
		aic_buf_done(&b);
	}
}

static void
mend_appends_to_the_buffer_within_its_ceiling(void **state)
{
	struct aic_buf b;

	(void)state;
	aic_buf_init(&b, 4);
	aic_buf_putc(&b, 'a');
	aic_utf8_mend(&b, LIT("\xff"));
	assert_string_equal(b.data, "a" R);
	aic_utf8_mend(&b, LIT("b"));
	assert_true(b.failed);
	aic_buf_done(&b);
}

static void
each_code_point_is_written_and_read_back(void **state)
{
	struct aic_buf b;
	uint32_t cp, got;

	(void)state;
	aic_buf_init(&b, 8);
	for (cp = 0; cp <= 0x10ffff; cp++) {
		if (cp >= 0xd800 && cp <= 0xdfff)
			continue;
		aic_buf_clear(&b);
		aic_utf8_put(&b, cp);
		if (aic_utf8_next(b.data, b.len, &got) != b.len || got != cp)
			fail_msg("U+%04X", cp);
	}
	aic_buf_done(&b);
}

UNIT_MAIN(T(every_code_point_is_read_and_surrogates_are_not),
    T(a_code_point_that_is_cut_off_is_invalid),
    T(bytes_that_are_not_utf8_are_refused), T(lengths_are_code_points),
    T(exactly_the_white_space_of_unicode_is_blank),
    T(a_text_is_blank_when_all_its_code_points_are),
    T(a_code_point_that_shows_nothing_is_invisible),
    T(a_text_is_invisible_when_all_its_code_points_are),
    T(mend_replaces_invalid_bytes_and_keeps_the_rest),
    T(mend_appends_to_the_buffer_within_its_ceiling),
    T(each_code_point_is_written_and_read_back))
