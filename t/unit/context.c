#include "config.h"

#include "lib/context.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "unit.h"

static const struct aic_context_terms five = { .exchanges = 5, .chars = 100 };

/* A context of n exchanges, whose texts are static. */
static struct aic_context
of(int n, const struct aic_exchange *said)
{
	struct aic_context c = { .n = n };

	memcpy(c.said, said, (size_t)n * sizeof(*said));
	return c;
}

static void
fit(struct aic_context *c, int64_t chars)
{
	struct aic_context_terms terms = { .exchanges = 5, .chars = chars };
	struct aic_err err = AIC_ERR_INIT;

	assert_int_equal(aic_context_fit(c, &terms, &err), AIC_OK);
}

static void
the_oldest_exchanges_are_left_out_first(void **state)
{
	/* 4, 6 and 3 code points, in more bytes. */
	static const struct aic_exchange said[] = { { "фф", "оо", 1 },
		{ "в1", "твет", 2 }, { "b", "😀😀", 3 } };
	static const struct {
		int64_t chars;
		int n;
	} rows[] = { { 100, 3 }, { 13, 3 }, { 12, 2 }, { 9, 2 }, { 8, 1 },
		{ 3, 1 }, { 2, 0 }, { 0, 0 } };
	struct aic_context c;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		c = of(3, said);
		fit(&c, rows[i].chars);
		assert_int_equal(c.n, 3);
		assert_int_equal(c.n - c.first, rows[i].n);
		assert_null(c.cut);
		aic_context_done(&c);
	}
}

static void
the_middle_is_cut_out_of_a_newest_answer_that_is_too_long(void **state)
{
	static const struct aic_exchange said[] = { { "x", "y", 1 },
		{ "вопрос", "0123456789😀жzабвгдеёжз", 2 } };
	static const struct {
		int64_t chars;
		const char *cut; /* NULL: the exchange is left out */
	} rows[] = { { 27, "012345678 … абвгдеёжз" }, { 12, "01 … з" },
		{ 11, "0 … з" }, { 10, "0 … " }, { 9, NULL }, { 6, NULL },
		{ 1, NULL }, { 0, NULL } };
	struct aic_context c;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		c = of(2, said);
		fit(&c, rows[i].chars);
		assert_int_equal(c.n, 2);
		assert_int_equal(c.n - c.first, rows[i].cut ? 1 : 0);
		if (rows[i].cut)
			assert_string_equal(c.cut, rows[i].cut);
		else
			assert_null(c.cut);
		aic_context_done(&c);
	}
}

static struct aic_buf
packed(const struct aic_context *c, const char *version,
    const struct aic_exchange *more, const struct aic_context_terms *terms)
{
	struct aic_buf b;

	aic_buf_init(&b, 4096);
	aic_context_pack(c, version, more, terms, &b);
	assert_false(b.failed);
	return b;
}

static bool
unpack(struct aic_context *c, const char *data, size_t len,
    const struct aic_context_terms *terms)
{
	char *copy = malloc(len + 1);

	assert_non_null(copy);
	memcpy(copy, data, len);
	copy[len] = '\0';
	return aic_context_unpack(c, copy, len, terms);
}

static void
a_copy_unpacks_as_it_was_packed(void **state)
{
	static const struct aic_exchange said[] = { { "a", "", 11 },
		{ "б\n", "{\"в\"}", 12 } };
	static const struct aic_exchange more = { "ещё", "да", 13 };
	struct aic_context c = of(2, said), copy = { .n = 0 };
	struct aic_buf b = packed(&c, "7 1.5", &more, &five);

	(void)state;
	assert_true(unpack(&copy, b.data, b.len, &five));
	assert_string_equal(aic_context_version(&copy), "7 1.5");
	assert_int_equal(copy.n, 3);
	assert_string_equal(copy.said[0].response, "");
	assert_string_equal(copy.said[1].message, "б\n");
	assert_string_equal(copy.said[1].response, "{\"в\"}");
	assert_string_equal(copy.said[2].message, "ещё");
	assert_int_equal(copy.said[2].at_us, 13);
	aic_buf_done(&b);

	/*
	 * There is a copy of an empty context as well: it says that the user
	 * has none.
	 */
	b = packed(&(struct aic_context){ .n = 0 }, "0 ", NULL, &five);
	assert_true(unpack(&copy, b.data, b.len, &five));
	assert_int_equal(copy.n, 0);
	assert_string_equal(aic_context_version(&copy), "0 ");
	aic_buf_done(&b);
	aic_context_done(&copy);
	assert_string_equal(aic_context_version(&copy), "");
}

/*
 * Earlier versions stored reasoning, and other programs write the same table.
 */
static void
hidden_reasoning_in_a_stored_answer_is_left_out(void **state)
{
	static const struct aic_exchange said[] = { { "a", "нет", 11 },
		{ "b", "<think>тайна</think>\n\nда", 12 },
		{ "c", "<think>только тайна", 13 },
		{ "d", "тайна</think>", 14 }, { "e", "тайна</think>ага", 15 } };
	struct aic_context c = of(5, said), copy = { .n = 0 };
	struct aic_buf b = packed(&c, "7 1.5", NULL, &five);

	(void)state;
	assert_true(unpack(&copy, b.data, b.len, &five));
	assert_int_equal(copy.n, 3);
	assert_string_equal(copy.said[0].response, "нет");
	assert_string_equal(copy.said[1].message, "b");
	assert_string_equal(copy.said[1].response, "да");
	assert_string_equal(copy.said[2].message, "e");
	assert_string_equal(copy.said[2].response, "ага");
	aic_context_done(&copy);
	aic_buf_done(&b);
}

static void
a_copy_has_no_more_exchanges_than_the_setting_allows(void **state)
{
	static const struct aic_context_terms two = { .exchanges = 2 };
	static const struct aic_context_terms none = { .exchanges = 0 };
	static const struct aic_exchange said[] = { { "a", "A", 1 },
		{ "b", "B", 2 } };
	static const struct aic_exchange more = { "c", "C", 3 };
	struct aic_context c = of(2, said), copy = { .n = 0 };
	struct aic_buf b = packed(&c, "1 ", &more, &two);

	(void)state;
	assert_true(unpack(&copy, b.data, b.len, &five));
	assert_int_equal(copy.n, 2);
	assert_string_equal(copy.said[0].message, "b");
	aic_buf_done(&b);

	b = packed(&c, "1 ", &more, &five);
	assert_true(unpack(&copy, b.data, b.len, &two));
	assert_int_equal(copy.n, 2);
	assert_string_equal(copy.said[1].message, "c");
	assert_true(unpack(&copy, b.data, b.len, &none));
	assert_int_equal(copy.n, 0);
	aic_buf_done(&b);
	aic_context_done(&copy);
}

static void
exchanges_that_are_too_old_are_left_out_of_a_copy(void **state)
{
	static const struct aic_context_terms minute = {
		.exchanges = 5, .ttl_s = 60, .now_us = 200 * AIC_S
	};
	static const struct aic_context_terms later = { .exchanges = 5,
		.from_us = 140 * AIC_S };
	static const struct aic_exchange said[] = { { "a", "A", 100 * AIC_S },
		{ "b", "B", 140 * AIC_S }, { "c", "C", 141 * AIC_S } };
	struct aic_context c = of(3, said), copy = { .n = 0 };
	struct aic_buf b = packed(&c, "1 ", NULL, &five);

	(void)state;
	assert_true(unpack(&copy, b.data, b.len, &minute));
	assert_int_equal(copy.n, 1);
	assert_string_equal(copy.said[0].message, "c");
	assert_true(unpack(&copy, b.data, b.len, &later));
	assert_int_equal(copy.n, 1);
	assert_true(unpack(&copy, b.data, b.len, &five));
	assert_int_equal(copy.n, 3);
	aic_buf_done(&b);
	aic_context_done(&copy);
}

static void
bytes_that_are_no_copy_are_refused(void **state)
{
	static const struct aic_exchange said[] = { { "a", "A", 1 },
		{ "b", "B", 2 } };
	struct aic_context c = of(2, said), copy = { .n = 0 };
	struct aic_buf b = packed(&c, "1 2", NULL, &five), many;
	size_t n, whole = 0;
	int i;

	(void)state;
	for (n = 0; n < b.len; n++)
		if (unpack(&copy, b.data, n, &five))
			whole++;
	assert_int_equal(whole, 2); /* of no exchange and of the first */
	assert_false(unpack(&copy, "1\0x\0a\0b", 8, &five));
	assert_false(unpack(&copy, "1\0\0a\0b", 7, &five));
	assert_false(unpack(&copy,
	    "1\0"
	    "99999999999999999999\0a\0b",
	    27, &five));
	aic_buf_done(&b);

	aic_buf_init(&many, 4096);
	aic_buf_put(&many, "1", 2);
	for (i = 0; i <= AIC_CONTEXT_MAX; i++)
		aic_buf_put(&many, "1\0q\0a", 6);
	assert_true(unpack(&copy, many.data, many.len - 6, &five));
	assert_int_equal(copy.n, 5);
	assert_false(unpack(&copy, many.data, many.len, &five));
	assert_int_equal(copy.n, 0);
	aic_buf_done(&many);
	aic_context_done(&copy);
}

static void
a_save_raises_the_version_by_one(void **state)
{
	static const char *const rows[][2] = { { "0 1.5", "1 1.5" },
		{ "9 ", "10 " }, { "-1 x", "0 x" } };
	char next[AIC_CONTEXT_VERSION_SIZE];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_true(aic_context_next(rows[i][0], next));
		assert_string_equal(next, rows[i][1]);
	}
	assert_false(aic_context_next("", next));
	assert_false(aic_context_next("x", next));
}

UNIT_MAIN(T(the_oldest_exchanges_are_left_out_first),
    T(the_middle_is_cut_out_of_a_newest_answer_that_is_too_long),
    T(a_copy_unpacks_as_it_was_packed),
    T(hidden_reasoning_in_a_stored_answer_is_left_out),
    T(a_copy_has_no_more_exchanges_than_the_setting_allows),
    T(exchanges_that_are_too_old_are_left_out_of_a_copy),
    T(bytes_that_are_no_copy_are_refused), T(a_save_raises_the_version_by_one))
