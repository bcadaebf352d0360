#include "config.h"

#include "lib/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

#define OPEN8 "[[[[[[[["
#define SHUT8 "]]]]]]]]"
#define OPEN32 OPEN8 OPEN8 OPEN8 OPEN8
#define SHUT32 SHUT8 SHUT8 SHUT8 SHUT8

struct row {
	const char *text;
	size_t len;
	size_t offset; /* of the refused ones */
};

/* Accepted by the grammar of RFC 8259. */
static const struct row good[] = {
	{ LIT("{}"), 0 },
	{ LIT("[]"), 0 },
	{ LIT(" \t\r\n{ \t\r\n} \t\r\n"), 0 },
	{ LIT("[ ]"), 0 },
	{ LIT("\"\""), 0 },
	{ LIT("true"), 0 },
	{ LIT("false"), 0 },
	{ LIT("[null]"), 0 },
	{ LIT("0"), 0 },
	{ LIT("-0"), 0 },
	{ LIT("-1"), 0 },
	{ LIT("10"), 0 },
	{ LIT("1.0"), 0 },
	{ LIT("0.5"), 0 },
	{ LIT("-0.0"), 0 },
	{ LIT("1e3"), 0 },
	{ LIT("1E3"), 0 },
	{ LIT("1e+3"), 0 },
	{ LIT("1E-3"), 0 },
	{ LIT("0e0"), 0 },
	{ LIT("-0e-0"), 0 },
	{ LIT("1.5e10"), 0 },
	{ LIT("1e999"), 0 },
	{ LIT("1e-999"), 0 },
	{ LIT("123456789012345678901234567890"), 0 },
	{ LIT("-123456789012345678901234567890"), 0 },
	{ LIT("[1,2,3]"), 0 },
	{ LIT("[1 , 2]"), 0 },
	{ LIT("{\"a\":1,\"b\":[true,false,null,{}]}"), 0 },
	{ LIT("{\"a\" : 1 , \"b\" : 2}"), 0 },
	{ LIT("{\"a\":1,\"a\":2}"), 0 },
	{ LIT("{\"\":1}"), 0 },
	{ LIT("[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]"), 0 },
	{ LIT("[\"\\u0001\\u001f\\u007F\\uFFFF\\ufeff\\uABCD\\uabcd\"]"), 0 },
	{ LIT("[\"\\ud7ff\\ue000\"]"), 0 },
	{ LIT("[\"\\ud83d\\ude00\"]"), 0 },
	{ LIT("[\"\\uD83D\\uDE00\"]"), 0 },
	{ LIT("[\"\\ud800\\udc00\\udbff\\udfff\"]"), 0 },
	{ LIT("[\"\x7f\"]"), 0 }, /* not a control character in RFC 8259 */
	{ LIT("[\"Привет, 😀\"]"), 0 },
	{ LIT("{\"ключ\":1}"), 0 },
	{ LIT("[\"\xef\xbb\xbf\"]"), 0 },
	{ LIT("[\"\xf4\x8f\xbf\xbf\"]"), 0 },
	{ LIT("[\"'\"]"), 0 },
	{ LIT("[\"/* not a comment */ // \"]"), 0 },
	{ LIT(OPEN32 SHUT32), 0 },
	{ LIT(OPEN32 "1" SHUT32), 0 },
	{ LIT(OPEN8 OPEN8 OPEN8
	      "[[[[[[[{\"a\":\"b\"}]]]]]]]" SHUT8 SHUT8 SHUT8),
	    0 },
	{ LIT("[" OPEN8 SHUT8 "," OPEN8 OPEN8 SHUT8 SHUT8 "," OPEN8 OPEN8 OPEN8
	      "[[[[[[[]]]]]]]" SHUT8 SHUT8 SHUT8 "]"),
	    0 },
};

static const struct row bad[] = {
	/* nothing */
	{ LIT(""), 0 },
	{ LIT(" "), 1 },
	{ LIT(" \t\r\n"), 4 },
	/* cut off */
	{ LIT("{"), 1 },
	{ LIT("["), 1 },
	{ LIT("[1"), 2 },
	{ LIT("[1,"), 3 },
	{ LIT("{\"a\""), 4 },
	{ LIT("{\"a\":"), 5 },
	{ LIT("{\"a\":1"), 6 },
	{ LIT("\"abc"), 4 },
	{ LIT("tru"), 0 },
	{ LIT("nul"), 0 },
	{ LIT("-"), 1 },
	/* something behind the document */
	{ LIT("{}x"), 2 },
	{ LIT("{} {}"), 3 },
	{ LIT("{},"), 2 },
	{ LIT("{}]"), 2 },
	{ LIT("1 2"), 2 },
	{ LIT("[]\0"), 2 },
	{ LIT("{}\0{}"), 2 },
	{ LIT("{} \0"), 3 },
	{ LIT("\"a\"b"), 3 },
	{ LIT("nullx"), 4 },
	{ LIT("truefalse"), 4 },
	{ LIT("{}\xc2\xa0"), 2 },
	/* white space in other standards */
	{ LIT("\f{}"), 0 },
	{ LIT("\v{}"), 0 },
	{ LIT("\xc2\xa0{}"), 0 },
	{ LIT("\xef\xbb\xbf{}"), 0 },
	{ LIT("\0{}"), 0 },
	/* not JSON, but accepted by other parsers */
	{ LIT("{'a':1}"), 1 },
	{ LIT("['a']"), 1 },
	{ LIT("{a:1}"), 1 },
	{ LIT("{1:1}"), 1 },
	{ LIT("{null:1}"), 1 },
	{ LIT("{\"a\":1,}"), 7 },
	{ LIT("[1,]"), 3 },
	{ LIT("[,1]"), 1 },
	{ LIT("[,]"), 1 },
	{ LIT("{,}"), 1 },
	{ LIT("[1,,2]"), 3 },
	{ LIT("[1 2]"), 3 },
	{ LIT("{\"a\" 1}"), 5 },
	{ LIT("{\"a\"=1}"), 4 },
	{ LIT("{\"a\":}"), 5 },
	{ LIT("{\"a\":1 \"b\":2}"), 7 },
	{ LIT("{\"a\"}"), 4 },
	{ LIT("[1}"), 2 },
	{ LIT("{\"a\":1]"), 6 },
	{ LIT("]"), 0 },
	{ LIT("/**/{}"), 0 },
	{ LIT("{}//"), 2 },
	{ LIT("[1/*x*/]"), 2 },
	{ LIT("{\"a\":/*x*/1}"), 5 },
	{ LIT("#\n{}"), 0 },
	{ LIT("NaN"), 0 },
	{ LIT("[NaN]"), 1 },
	{ LIT("[nan]"), 1 },
	{ LIT("[Infinity]"), 1 },
	{ LIT("[-Infinity]"), 2 },
	{ LIT("[inf]"), 1 },
	{ LIT("[undefined]"), 1 },
	{ LIT("[True]"), 1 },
	{ LIT("[TRUE]"), 1 },
	{ LIT("[Null]"), 1 },
	{ LIT("[None]"), 1 },
	{ LIT("[+1]"), 1 },
	{ LIT("[.5]"), 1 },
	{ LIT("[-.5]"), 2 },
	{ LIT("[1.]"), 3 },
	{ LIT("[1.e1]"), 3 },
	{ LIT("[1e]"), 3 },
	{ LIT("[1e+]"), 4 },
	{ LIT("[1e1.5]"), 4 },
	{ LIT("[1.2.3]"), 4 },
	{ LIT("[01]"), 2 },
	{ LIT("[-01]"), 3 },
	{ LIT("[00]"), 2 },
	{ LIT("[0x10]"), 2 },
	{ LIT("[1_000]"), 2 },
	{ LIT("[1L]"), 2 },
	{ LIT("[--1]"), 2 },
	{ LIT("[- 1]"), 2 },
	{ LIT("[1 .5]"), 3 },
	{ LIT("[\xd9\xa1]"), 1 }, /* an Arabic digit */
	/* U+0000 */
	{ LIT("[\"\0\"]"), 2 },
	{ LIT("[\"a\0b\"]"), 3 },
	{ LIT("{\"\0\":1}"), 2 },
	{ LIT("{\"a\":\0}"), 5 },
	{ LIT("[\"\\\0\"]"), 3 },
	/* bytes that are not UTF-8 */
	{ LIT("[\"\xff\"]"), 2 },
	{ LIT("[\"\x80\"]"), 2 },
	{ LIT("[\"a\xc0\x80\"]"), 3 },
	{ LIT("[\"\xed\xa0\x80\"]"), 2 },
	{ LIT("[\"\xed\xa0\xbd\xed\xb8\x80\"]"), 2 },
	{ LIT("[\"\xf4\x90\x80\x80\"]"), 2 },
	{ LIT("[\"й\xd0\"]"), 4 },
	{ LIT("[\"\xd0"), 2 },
	{ LIT("[\"\\\xd0\xb9\"]"), 3 },
	{ LIT("{\"\xff\":1}"), 2 },
	{ LIT("[\xff]"), 1 },
	/* controls */
	{ LIT("[\"a\nb\"]"), 3 },
	{ LIT("[\"\t\"]"), 2 },
	{ LIT("{\"a\nb\":1}"), 3 },
	/* too deep */
	{ LIT("[" OPEN32 SHUT32 "]"), 32 },
	{ LIT("{\"a\":" OPEN32 SHUT32 "}"), 36 },
	{ LIT(OPEN32 "{\"a\":1}" SHUT32), 32 },
};

/* Refused too; the place of the error is not specified. */
static const struct row bad_escapes[] = {
	{ LIT("\"\\u0000\""), 0 },
	{ LIT("\"a\\u0000b\""), 0 },
	{ LIT("{\"a\\u0000\":1}"), 0 },
	{ LIT("\"\\"), 0 },
	{ LIT("\"\\\""), 0 },
	{ LIT("\"\\u\""), 0 },
	{ LIT("\"\\u1\""), 0 },
	{ LIT("\"\\u123\""), 0 },
	{ LIT("\"\\u123"), 0 },
	{ LIT("\"\\u12g4\""), 0 },
	{ LIT("\"\\u 123\""), 0 },
	{ LIT("\"\\u+123\""), 0 },
	{ LIT("\"\\u-123\""), 0 },
	{ LIT("\"\\u0x41\""), 0 },
	{ LIT("\"\\U0041\""), 0 },
	{ LIT("\"\\x41\""), 0 },
	{ LIT("\"\\'\""), 0 },
	{ LIT("\"\\\n\""), 0 },
	/* lone surrogates in any place */
	{ LIT("\"\\ud83d\""), 0 },
	{ LIT("\"\\ude00\""), 0 },
	{ LIT("\"\\ud83d"), 0 },
	{ LIT("\"\\ud83d\\"), 0 },
	{ LIT("\"\\ud83d\\u"), 0 },
	{ LIT("\"\\ud83d\\ude0"), 0 },
	{ LIT("\"a\\ud83d\""), 0 },
	{ LIT("\"\\ud83da\""), 0 },
	{ LIT("\"\\ud83dude00\""), 0 },
	{ LIT("\"\\ud83d \\ude00\""), 0 },
	{ LIT("\"\\ud83d\\n\\ude00\""), 0 },
	{ LIT("\"\\ud83d\\u0041\""), 0 },
	{ LIT("\"\\ud83d\\ud83d\""), 0 },
	{ LIT("\"\\ud83d\\ud83d\\ude00\""), 0 },
	{ LIT("\"\\ud83d\\ude00\\ude00\""), 0 },
	{ LIT("\"\\ude00\\ud83d\""), 0 },
	{ LIT("\"\\ud83d\\ue000\""), 0 },
	{ LIT("\"\\udbff\\udbff\""), 0 },
	{ LIT("\"\\ud800\xed\xb0\x80\""), 0 },
	{ LIT("{\"\\ud83d\":1}"), 0 },
	{ LIT("{\"\\ude00\":1}"), 0 },
	{ LIT("{\"a\":{\"b\":[\"\\udfff\"]}}"), 0 },
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* NULL: the text is JSON. */
static const char *
find_fault(const char *text, size_t len, size_t *ret_offset)
{
	struct json_object *doc = NULL;
	struct aic_json_fault fault;
	enum aic_code rc = aic_json_parse_strict(text, len, &doc, &fault);

	json_object_put(doc);
	if (rc == AIC_OK)
		return NULL;
	assert_int_equal(rc, AIC_EINPUT);
	assert_null(doc);
	assert_non_null(fault.wrong);
	*ret_offset = fault.offset;
	return fault.wrong;
}

static void
texts_of_the_grammar_are_accepted(void **state)
{
	const char *wrong;
	size_t i, at = 0;

	(void)state;
	for (i = 0; i < COUNT(good); i++) {
		wrong = find_fault(good[i].text, good[i].len, &at);
		if (wrong)
			fail_msg("%s: %s at %zu", good[i].text, wrong, at);
	}
}

static void
other_texts_are_refused_with_the_place_of_the_error(void **state)
{
	const char *wrong;
	size_t i, at;

	(void)state;
	for (i = 0; i < COUNT(bad); i++) {
		at = 9999;
		wrong = find_fault(bad[i].text, bad[i].len, &at);
		if (!wrong)
			fail_msg("row %zu was taken: %s", i, bad[i].text);
		if (at != bad[i].offset)
			fail_msg("row %zu: %s: %s at %zu", i, bad[i].text,
			    wrong, at);
	}
}

static void
bad_escapes_are_refused(void **state)
{
	size_t i, at;

	(void)state;
	for (i = 0; i < COUNT(bad_escapes); i++) {
		at = 9999;
		if (!find_fault(bad_escapes[i].text, bad_escapes[i].len, &at))
			fail_msg("taken: %s", bad_escapes[i].text);
		assert_in_range(at, 1, bad_escapes[i].len);
	}
}

static void
each_byte_in_a_string_is_judged_by_the_grammar(void **state)
{
	char text[] = "\"?\"";
	size_t at;
	bool taken;
	int c;

	(void)state;
	for (c = 0; c < 256; c++) {
		text[1] = (char)c;
		taken = !find_fault(text, 3, &at);
		if (taken != (c >= 0x20 && c < 0x80 && c != '"' && c != '\\'))
			fail_msg("byte %02x is judged wrongly", (unsigned)c);
	}
}

static void
each_letter_after_a_backslash_is_judged_by_the_grammar(void **state)
{
	char text[] = "\"\\?\"";
	size_t at;
	bool taken;
	int c;

	(void)state;
	for (c = 0; c < 256; c++) {
		text[2] = (char)c;
		taken = !find_fault(text, 4, &at);
		if (taken != !!memchr("\"\\/bfnrt", c, 8))
			fail_msg("byte %02x is judged wrongly", (unsigned)c);
	}
}

/* 64 pairs of units around the limits of the surrogates. */
static void
surrogates_are_accepted_in_pairs_only(void **state)
{
	static const unsigned units[] = { 0x0041, 0xd7ff, 0xd800, 0xdbff,
		0xdc00, 0xdfff, 0xe000, 0xffff };
	char text[32];
	size_t i, j, at;
	bool pair, plain, taken;
	unsigned a, b;

	(void)state;
	for (i = 0; i < COUNT(units); i++)
		for (j = 0; j < COUNT(units); j++) {
			a = units[i];
			b = units[j];
			snprintf(text, sizeof(text), "\"\\u%04X\\u%04x\"", a,
			    b);
			pair = a >= 0xd800 && a <= 0xdbff && b >= 0xdc00 &&
			    b <= 0xdfff;
			plain = (a < 0xd800 || a > 0xdfff) &&
			    (b < 0xd800 || b > 0xdfff);
			taken = !find_fault(text, strlen(text), &at);
			if (taken != (pair || plain))
				fail_msg("%s is judged wrongly", text);
		}
}

/* NULL: the text is not JSON, or the document is null. */
static struct json_object *
parse(const char *text, size_t len)
{
	struct json_object *obj = NULL;

	if (aic_json_parse(text, len, &obj) != AIC_OK)
		assert_null(obj);
	return obj;
}

/*
 * Each prefix is on the heap, so that a sanitizer detects a read past its end.
 */
static void
a_document_that_is_cut_off_is_refused_and_not_read_past_its_end(void **state)
{
	static const char doc[] =
	    "{\"a\":[1,-2.5e+3,true,false,null,\"\\ud83d\\ude00\\n й😀\"],"
	    "\"b\":{\"c\":\"\\u0041\"}}";
	size_t n, at;
	char *cut;

	(void)state;
	for (n = 0; n < sizeof(doc) - 1; n++) {
		cut = malloc(n + 1);
		cut = realloc(cut, n ? n : 1);
		memcpy(cut, doc, n);
		at = 9999;
		if (!find_fault(cut, n, &at))
			fail_msg("taken when cut at %zu", n);
		assert_true(at <= n);
		assert_null(parse(cut, n));
		free(cut);
	}
	assert_null(find_fault(doc, sizeof(doc) - 1, &at));
}

static void
the_fault_is_set_on_an_error_alone(void **state)
{
	struct aic_json_fault fault = { .offset = 77 };
	struct json_object *doc = NULL;

	(void)state;
	assert_int_equal(aic_json_parse_strict(LIT("[1]"), &doc, &fault),
	    AIC_OK);
	assert_int_equal(fault.offset, 77);
	json_object_put(doc);
}

static void
a_text_that_passes_the_check_can_be_parsed(void **state)
{
	struct json_object *obj;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(good); i++) {
		obj = parse(good[i].text, good[i].len);
		if (!obj)
			fail_msg("not parsed: %s", good[i].text);
		json_object_put(obj);
	}
}

static void
parse_refuses_all_but_a_single_document(void **state)
{
	static const struct row rows[] = {
		{ LIT(""), 0 },
		{ LIT(" "), 0 },
		{ LIT("{"), 0 },
		{ LIT("{} {}"), 0 },
		{ LIT("{}x"), 0 },
		{ LIT("{}\0"), 0 },
		{ LIT("\0{}"), 0 },
		{ LIT("[1,2"), 0 },
		{ LIT("{\"a\"}"), 0 },
		{ LIT("<html></html>"), 0 },
		{ LIT("hello"), 0 },
		{ LIT("{\"a\":\"x"), 0 },
		{ LIT("{\"a\":1]"), 0 },
		{ LIT(OPEN32 OPEN32 SHUT32 SHUT32), 0 },
		{ LIT("{'a':1}"), 0 },
		{ LIT("[NaN]"), 0 },
		{ LIT("[1,]"), 0 },
		{ LIT("/* x */ {}"), 0 },
		{ LIT("TRUE"), 0 },
		{ LIT("[\"\\ud83d\\u00g0\"]"), 0 },
	};
	struct json_object *obj;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(rows); i++) {
		obj = parse(rows[i].text, rows[i].len);
		if (obj)
			fail_msg("row %zu was parsed", i);
	}
	assert_null(parse(NULL, 0));
}

static void
parse_reads_no_byte_beyond_the_length(void **state)
{
	struct json_object *obj = parse("[1]garbage", 3);

	(void)state;
	assert_non_null(obj);
	json_object_put(obj);
	obj = parse("123456", 3);
	assert_int_equal(json_object_get_int64(obj), 123);
	json_object_put(obj);
}

static void
escapes_in_strings_are_decoded_and_all_else_is_kept(void **state)
{
	static const struct {
		const char *text;
		const char *want;
		size_t len;
	} rows[] = {
		{ "\"\"", LIT("") },
		{ "\"Привет 😀\"", LIT("Привет 😀") },
		{ "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", LIT("\"\\/\b\f\n\r\t") },
		{ "\"a\\u0041\\u007F\\u0080\\u07ff\\u0800\\uFFFFz\"",
		    LIT("aA\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbfz") },
		{ "\"\\ud800\\udc00\\uDBFF\\uDFFF\"",
		    LIT("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf") },
		/* Escapes that a caller may not send. */
		{ "\"a\\u0000b\"", LIT("a\0b") },
		{ "\"a\\ud83d\"", LIT("a\xef\xbf\xbd") },
		{ "\"\\ud83d\\n\"", LIT("\xef\xbf\xbd\n") },
		{ "\"\\ud83d\\u0041\"",
		    LIT("\xef\xbf\xbd"
			"A") },
		{ "\"\\ud83d\\ud83d\\ude00\"", LIT("\xef\xbf\xbd😀") },
		{ "\"\\ude00\\ud83d\"", LIT("\xef\xbf\xbd\xef\xbf\xbd") },
		{ "\"a\nb\x01\"", LIT("a\nb\x01") },
		{ "\"\xff\xc0\x80\xd0\"", LIT("\xff\xc0\x80\xd0") },
	};
	struct json_object *obj;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(rows); i++) {
		obj = parse(rows[i].text, strlen(rows[i].text));
		if (!json_object_is_type(obj, json_type_string))
			fail_msg("not read: %s", rows[i].text);
		assert_int_equal(json_object_get_string_len(obj), rows[i].len);
		assert_memory_equal(json_object_get_string(obj), rows[i].want,
		    rows[i].len);
		json_object_put(obj);
	}
}

static void
numbers_are_integers_or_doubles_within_the_range_of_the_type(void **state)
{
	static const struct {
		const char *text;
		int64_t want;
		uint64_t unsigned_want;
	} rows[] = {
		{ "0", 0, 0 },
		{ "-0", 0, 0 },
		{ "-7", -7, 0 },
		{ "9223372036854775807", INT64_MAX, INT64_MAX },
		{ "9223372036854775808", INT64_MAX, (uint64_t)INT64_MAX + 1 },
		{ "18446744073709551615", INT64_MAX, UINT64_MAX },
		{ "99999999999999999999999999", INT64_MAX, UINT64_MAX },
		{ "-9223372036854775808", INT64_MIN, 0 },
		{ "-99999999999999999999999999", INT64_MIN, 0 },
	};
	static const char *const broken[] = { "0.5", "1e2", "-1E+3", "1.0",
		"1e999", "-0.0" };
	struct json_object *obj;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(rows); i++) {
		obj = parse(rows[i].text, strlen(rows[i].text));
		assert_true(json_object_is_type(obj, json_type_int));
		assert_true(json_object_get_int64(obj) == rows[i].want);
		assert_true(json_object_get_uint64(obj) ==
		    rows[i].unsigned_want);
		json_object_put(obj);
	}
	for (i = 0; i < COUNT(broken); i++) {
		obj = parse(broken[i], strlen(broken[i]));
		assert_true(json_object_is_type(obj, json_type_double));
		assert_true(json_object_get_double(obj) ==
		    strtod(broken[i], NULL));
		json_object_put(obj);
	}
}

static void
all_members_and_elements_are_read_and_the_last_of_a_name_counts(void **state)
{
	static const char text[] =
	    " {\"a\" : [1, true ,false,null,{},[]], \"b\":{\"c\":\"d\"},"
	    "\"\":0,\"\\u0061b\":1,\"b\":null,\"x\":1,\"x\":[\"y\"]} ";
	static const char want[] =
	    "{\"a\":[1,true,false,null,{},[]],\"b\":null,"
	    "\"\":0,\"ab\":1,\"x\":[\"y\"]}";
	struct json_object *obj = parse(text, sizeof(text) - 1);

	(void)state;
	assert_string_equal(json_object_to_json_string_ext(obj,
				JSON_C_TO_STRING_PLAIN),
	    want);
	json_object_put(obj);
}

static void
the_document_null_is_valid_and_gives_no_object(void **state)
{
	struct json_object *obj = NULL;

	(void)state;
	assert_int_equal(aic_json_parse("null", 4, &obj), AIC_OK);
	assert_null(obj);
	assert_int_equal(aic_json_parse("nul", 3, &obj), AIC_EINPUT);
}

static void
check_round_trip(const char *text, size_t len)
{
	struct json_object *obj;
	struct aic_buf b;
	size_t at;

	aic_buf_init(&b, 10000);
	aic_buf_putc(&b, '"');
	aic_json_put_part(&b, text, len);
	aic_buf_putc(&b, '"');
	assert_false(b.failed);
	obj = parse(b.data, b.len);
	assert_non_null(obj);
	assert_int_equal(json_object_get_string_len(obj), len);
	assert_memory_equal(json_object_get_string(obj), text, len);
	if (!memchr(text, '\0', len))
		assert_null(find_fault(b.data, b.len, &at));
	json_object_put(obj);
	aic_buf_done(&b);
}

static void
what_is_written_reads_back_the_same(void **state)
{
	char all[256];
	int i;

	(void)state;
	check_round_trip(LIT(""));
	check_round_trip(LIT("plain"));
	check_round_trip(LIT("\"\\/\b\f\n\r\t"));
	check_round_trip(LIT("\"},{\"role\":\"system\",\"content\":\"x"));
	check_round_trip(LIT("\\u0041 \\\\ \\"));
	check_round_trip(LIT("Привет, 😀 \xe2\x80\xa8 \x7f"));
	check_round_trip(LIT("a\0b"));
	for (i = 0; i < 128; i++)
		all[i] = (char)i;
	check_round_trip(all, 128);
	for (i = 0; i < 128; i++)
		check_round_trip(all + i, 1);
}

static void
a_byte_that_needs_an_escape_gets_one_at_any_place(void **state)
{
	static const char special[] = "\"\\\n\x01\x1f";
	char text[40], *at;
	size_t len, i, j;

	(void)state;
	for (len = 1; len < 34; len++)
		for (i = 0; i < len; i++)
			for (j = 0; special[j]; j++) {
				/*
				 * In a block of its own, without a byte to
				 * spare.
				 */
				memset(text, i % 2 ? '\x7f' : '!', len);
				text[i] = special[j];
				at = malloc(len);
				memcpy(at, text, len);
				check_round_trip(at, len);
				free(at);
			}
}

static void
other_text_is_written_as_utf8_and_not_as_escapes(void **state)
{
	struct aic_buf b;

	(void)state;
	aic_buf_init(&b, 100);
	aic_json_put_str(&b, "Привет/😀\x01\n\"");
	assert_string_equal(b.data, "\"Привет/😀\\u0001\\n\\\"\"");
	aic_buf_done(&b);
}

static void
a_part_is_written_without_quotes_so_that_parts_join(void **state)
{
	struct aic_buf b;

	(void)state;
	aic_buf_init(&b, 100);
	aic_json_put_part(&b, "a\"bcd", 3);
	aic_json_put_part(&b, "", 0);
	aic_json_put_part(&b, "c", 1);
	assert_string_equal(b.data, "a\\\"bc");
	aic_buf_done(&b);
}

static void
a_buffer_that_is_too_small_fails(void **state)
{
	struct aic_buf b;

	(void)state;
	aic_buf_init(&b, 6);
	aic_json_put_str(&b, "abcd");
	assert_false(b.failed);
	aic_buf_clear(&b);
	aic_json_put_str(&b, "abc\n");
	assert_true(b.failed);
	aic_buf_done(&b);
}

UNIT_MAIN(T(texts_of_the_grammar_are_accepted),
    T(other_texts_are_refused_with_the_place_of_the_error),
    T(bad_escapes_are_refused),
    T(each_byte_in_a_string_is_judged_by_the_grammar),
    T(each_letter_after_a_backslash_is_judged_by_the_grammar),
    T(surrogates_are_accepted_in_pairs_only),
    T(a_document_that_is_cut_off_is_refused_and_not_read_past_its_end),
    T(the_fault_is_set_on_an_error_alone),
    T(a_text_that_passes_the_check_can_be_parsed),
    T(parse_refuses_all_but_a_single_document),
    T(parse_reads_no_byte_beyond_the_length),
    T(escapes_in_strings_are_decoded_and_all_else_is_kept),
    T(numbers_are_integers_or_doubles_within_the_range_of_the_type),
    T(all_members_and_elements_are_read_and_the_last_of_a_name_counts),
    T(the_document_null_is_valid_and_gives_no_object),
    T(what_is_written_reads_back_the_same),
    T(a_byte_that_needs_an_escape_gets_one_at_any_place),
    T(other_text_is_written_as_utf8_and_not_as_escapes),
    T(a_part_is_written_without_quotes_so_that_parts_join),
    T(a_buffer_that_is_too_small_fails))
