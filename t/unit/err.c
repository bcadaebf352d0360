#include "config.h"

#include "lib/err.h"

#include <stdio.h>
#include <string.h>

#include "unit.h"
#include "lib/utf8.h"

static bool
is_utf8(const char *s)
{
	size_t n, left = strlen(s);

	for (; left > 0; s += n, left -= n) {
		n = aic_utf8_next(s, left, NULL);
		if (n == 0)
			return false;
	}
	return true;
}

static void
fail_sets_code_and_detail_and_returns_the_code(void **state)
{
	struct aic_err err = AIC_ERR_INIT;

	(void)state;
	assert_int_equal(aic_fail(&err, AIC_EDB, "could not %s: %d", "x", 7),
	    AIC_EDB);
	assert_int_equal(err.code, AIC_EDB);
	assert_string_equal(err.detail, "could not x: 7");
	assert_string_equal(err.says, "");
	assert_int_equal(err.n_faults, 0);
}

static void
the_text_for_callers_is_separate_from_the_detail_for_the_log(void **state)
{
	struct aic_err err = AIC_ERR_INIT;

	(void)state;
	aic_says(&err, "for %s", "you");
	aic_fail(&err, AIC_EUPSTREAM, "for the log");
	assert_string_equal(err.says, "for you");
	assert_string_equal(err.detail, "for the log");
}

/* Characters of one to four bytes, at every distance from the end. */
static void
a_text_that_was_cut_is_valid_utf8_and_lost_no_more_than_needed(void **state)
{
	static const char chars[][5] = { "x", "\xd0\xb9", "\xe2\x82\xac",
		"\xf0\x9f\x98\x80" };
	struct aic_err err;
	char text[1200];
	size_t i, pad, n;

	(void)state;
	for (i = 0; i < 4; i++)
		for (pad = 0; pad < 8; pad++) {
			memset(text, 'a', pad);
			text[pad] = '\0';
			for (n = pad; n < 1000; n += strlen(chars[i]))
				memcpy(text + n, chars[i], 5);
			memset(&err, 0, sizeof(err));
			aic_says(&err, "%s", text);
			aic_fail(&err, AIC_EBUG, "%s", text);
			aic_fault(&err, "t", "body", NULL, "%s", text);
			n = sizeof(err.says) - 1;
			assert_true(is_utf8(err.says));
			assert_in_range(strlen(err.says), n - 7, n);
			assert_memory_equal(err.says, text, strlen(err.says));
			n = sizeof(err.detail) - 1;
			assert_true(is_utf8(err.detail));
			assert_in_range(strlen(err.detail), n - 7, n);
			n = sizeof(err.faults[0].msg) - 1;
			assert_true(is_utf8(err.faults[0].msg));
			assert_in_range(strlen(err.faults[0].msg), n - 7, n);
		}
}

static void
a_text_that_just_fits_is_not_cut(void **state)
{
	struct aic_err err = AIC_ERR_INIT;
	char text[sizeof(err.says)];

	(void)state;
	memset(text, 'a', sizeof(text));
	memcpy(text + sizeof(text) - 3, "\xd0\xb9", 3);
	aic_says(&err, "%s", text);
	assert_string_equal(err.says, text);
}

static void
texts_are_one_line_whatever_they_contain(void **state)
{
	struct aic_err err = AIC_ERR_INIT;

	(void)state;
	aic_says(&err, "%s", "a\nb\r\tй\x7f");
	aic_fail(&err, AIC_EBUG, "%s\n", "a\nb\x1b");
	assert_string_equal(err.says, "a b  й ");
	assert_string_equal(err.detail, "a b  ");
}

static void
a_fault_has_all_its_parts(void **state)
{
	struct aic_err err = AIC_ERR_INIT;

	(void)state;
	assert_int_equal(aic_fault(&err, "missing", "body", "message",
			     "Field %s", "required"),
	    AIC_EINPUT);
	assert_int_equal(err.code, AIC_EINPUT);
	assert_int_equal(err.n_faults, 1);
	assert_string_equal(err.faults[0].type, "missing");
	assert_string_equal(err.faults[0].where, "body");
	assert_string_equal(err.faults[0].field, "message");
	assert_int_equal(err.faults[0].offset, -1);
	assert_string_equal(err.faults[0].msg, "Field required");
}

static void
faults_over_the_maximum_are_dropped(void **state)
{
	struct aic_err err = AIC_ERR_INIT;
	int i;

	(void)state;
	for (i = 0; i < AIC_FAULTS_MAX + 3; i++)
		assert_int_equal(aic_fault(&err, "t", "body", NULL, "%d", i),
		    AIC_EINPUT);
	assert_int_equal(err.n_faults, AIC_FAULTS_MAX);
	assert_string_equal(err.faults[0].msg, "0");
	assert_string_equal(err.faults[AIC_FAULTS_MAX - 1].msg, "3");
	assert_string_equal(err.says, "");
}

static void
every_code_has_a_name_of_its_own(void **state)
{
	int i, j;

	(void)state;
	for (i = 0; i < AIC__MAX; i++) {
		assert_non_null(aic_code_name(i));
		for (j = 0; j < i; j++)
			assert_string_not_equal(aic_code_name(i),
			    aic_code_name(j));
	}
	assert_string_equal(aic_code_name(AIC_EDB), "EDB");
	assert_non_null(aic_code_name(AIC__MAX));
	assert_non_null(aic_code_name((enum aic_code) - 1));
}

UNIT_MAIN(T(fail_sets_code_and_detail_and_returns_the_code),
    T(the_text_for_callers_is_separate_from_the_detail_for_the_log),
    T(a_text_that_was_cut_is_valid_utf8_and_lost_no_more_than_needed),
    T(a_text_that_just_fits_is_not_cut),
    T(texts_are_one_line_whatever_they_contain), T(a_fault_has_all_its_parts),
    T(faults_over_the_maximum_are_dropped), T(every_code_has_a_name_of_its_own))
