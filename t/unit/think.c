#include "config.h"

#include "lib/think.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"

/* Each text, and the text after the reasoning was skipped. */
static const struct {
	const char *text, *rest;
} rows[] = {
	/* Without a tag nothing is skipped. */
	{ "", "" },
	{ "Цена: 990 ₽", "Цена: 990 ₽" },
	{ " \n x \n", " \n x \n" },
	{ "a < b, c > d", "a < b, c > d" },
	{ "<b>жирно</b>", "<b>жирно</b>" },
	{ "<thinker>x</thinker>", "<thinker>x</thinker>" },
	{ "<think", "<think" },
	{ "</think", "</think" },
	{ "think>x", "think>x" },
	{ "<think >x</think >", "<think >x</think >" },
	/* A block at the beginning. */
	{ "<think>r</think>a", "a" },
	{ "<think>\nr\n</think>\n\na\n", "a\n" },
	{ " \n<think>r</think> a", "a" },
	{ "\xef\xbb\xbf<think>r</think>\xe2\x80\x8b a", "a" },
	{ "<thinking>r</thinking>a", "a" },
	{ "<THINK>r</Think>a", "a" },
	{ "<think></think>a", "a" },
	{ "<think>\n\n</think>\n\na", "a" },
	{ "<think>1 < 2 <b>r</b></think>a", "a" },
	/* Several, nested, and with the names mixed up. */
	{ "<think>r</think><think>s</think>a", "a" },
	{ "<think>r</think>\n<thinking>s</thinking>\na", "a" },
	{ "<think>r<think>s</think>t</think>a", "a" },
	{ "<thinking>r <think>s</think> t</thinking>a", "a" },
	{ "<think>r</thinking>a", "a" },
	{ "<thinking>r</think>a", "a" },
	/* With a closing tag only, all text before it is reasoning. */
	{ "r</think>a", "a" },
	{ "r\n</think>\n\na", "a" },
	{ "</think>a", "a" },
	{ "r</thinking>a", "a" },
	{ "r</think>s</think>a", "a" },
	{ "r</think><think>s</think>a", "a" },
	/* Nothing except reasoning. */
	{ "<think>", "" },
	{ "<think>r", "" },
	{ "<thinking>r</think", "" },
	{ "<think>r</think>", "" },
	{ "<think>r</think> \n", "" },
	{ "r</think>\n", "" },
	{ "<think>r</think><think>s", "" },
	/* A tag in the middle of an answer. */
	{ "a <think>b</think> c", "a <think>b</think> c" },
	{ "a <think> b", "a <think> b" },
	{ "<think>r</think>a <think>b</think> c", "a <think>b</think> c" },
	{ "`<thinking>` и `</thinking>`", "`<thinking>` и `</thinking>`" },
};

static void
only_reasoning_before_an_answer_is_skipped(void **state)
{
	size_t i, n;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		n = aic_think_skip(rows[i].text, strlen(rows[i].text));
		assert_true(n <= strlen(rows[i].text));
		if (strcmp(rows[i].text + n, rows[i].rest) != 0)
			fail_msg("\"%s\" became \"%s\"", rows[i].text,
			    rows[i].text + n);
	}
}

static void
a_second_call_skips_nothing(void **state)
{
	size_t i, n;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		n = aic_think_skip(rows[i].text, strlen(rows[i].text));
		assert_int_equal(aic_think_skip(rows[i].text + n,
				     strlen(rows[i].text + n)),
		    0);
	}
}

static void
no_byte_after_the_end_is_read(void **state)
{
	static const char text[] = "<think>r</think>a";
	char *copy;
	size_t n;

	(void)state;
	for (n = 0; n < sizeof(text); n++) {
		copy = malloc(n > 0 ? n : 1);
		memcpy(copy, text, n);
		assert_true(aic_think_skip(copy, n) <= n);
		free(copy);
	}
	assert_int_equal(aic_think_skip(text, 15), 15);
	assert_int_equal(aic_think_skip(text + 7, 8), 0);
}

/* As long as a body can be, in pieces that each need a search. */
static void
a_text_of_many_tags_takes_time_in_proportion_to_its_length(void **state)
{
	static const char *const pieces[] = { "<think></thinking>", "</think>",
		"<think>", "<think><thinking>", "<", "a</thinking>" };
	size_t i, n, max = 1024 * 1024;
	char *text = malloc(max);

	(void)state;
	for (i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		for (n = 0; n + strlen(pieces[i]) <= max;
		     n += strlen(pieces[i]))
			memcpy(text + n, pieces[i], strlen(pieces[i]));
		alarm(10);
		assert_int_equal(aic_think_skip(text, n),
		    strcmp(pieces[i], "<") == 0 ? 0 : n);
		alarm(0);
	}
	free(text);
}

UNIT_MAIN(T(only_reasoning_before_an_answer_is_skipped),
    T(a_second_call_skips_nothing), T(no_byte_after_the_end_is_read),
    T(a_text_of_many_tags_takes_time_in_proportion_to_its_length))
