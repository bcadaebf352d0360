#include "config.h"

#include "lib/parts.h"
#include "lib/format.h"

#include <stdlib.h>
#include <string.h>

#include "unit.h"

/* Cuts a text into parts of so many units at most; want ends with a NULL. */
static void
cut(enum aic_format format, size_t units, const char *text,
    const char *const *want)
{
	struct aic_parts p;
	struct aic_buf part;

	aic_buf_init(&part, 1024 * 1024);
	aic_parts_begin(&p, text, strlen(text), format, 0);
	p.max.units = units;
	for (; *want; want++) {
		assert_true(aic_parts_next(&p, &part));
		assert_string_equal(part.data, *want);
	}
	assert_false(aic_parts_next(&p, &part));
	assert_false(part.failed);
	assert_false(aic_parts_next(&p, &part));
	aic_buf_done(&part);
}

#define PLAIN(units, text, ...)                                                \
	cut(AIC_FORMAT_PLAIN, units, text,                                     \
	    (const char *const[]){ __VA_ARGS__, NULL })
#define HTML(units, text, ...)                                                 \
	cut(AIC_FORMAT_HTML, units, text,                                      \
	    (const char *const[]){ __VA_ARGS__, NULL })

static void
a_text_that_fits_is_one_part(void **state)
{
	(void)state;
	PLAIN(5, "абвгд", "абвгд");
	PLAIN(5, "a<b>c", "a<b>c");
	HTML(3, "<b>a</b>&lt;&amp;", "<b>a</b>&lt;&amp;");
}

static void
a_text_is_cut_at_paragraphs_first(void **state)
{
	(void)state;
	PLAIN(10, "aa bb\n\ncc\ndd. ee", "aa bb", "cc\ndd. ee");
	PLAIN(10, "aa bb\ncc. dd ee", "aa bb", "cc. dd ee");
	PLAIN(10, "aa bb. cc dd ee", "aa bb.", "cc dd ee");
	PLAIN(10, "aa bb ccc dd", "aa bb ccc", "dd");
	PLAIN(10, "aaaaaaaaaabbb", "aaaaaaaaaa", "bbb");
}

static void
a_text_is_not_cut_where_the_part_would_be_too_short(void **state)
{
	(void)state;
	PLAIN(12, "aaa\n\nbbb cccccc", "aaa\n\nbbb", "cccccc");
	PLAIN(12, "aaaa\n\nbbb cccccc", "aaaa", "bbb cccccc");
}

static void
white_space_at_a_cut_is_lost(void **state)
{
	(void)state;
	PLAIN(4, "  ab \n\n \t cd  ", "ab", "cd");
	PLAIN(4, "ab\u00a0\u3000\n\n\u2003cdef", "ab", "cdef");
	PLAIN(4, "a\u200b\u200b\u200b\u200b\u200bb", "a\u200b\u200b\u200b",
	    "b");
}

static void
characters_are_not_cut(void **state)
{
	(void)state;
	PLAIN(3, "😀😀😀", "😀", "😀", "😀");
	PLAIN(4, "aaae\u0301b", "aaa", "e\u0301b");
	PLAIN(6, "aaaa👍🏽b", "aaaa", "👍🏽b");
	PLAIN(6, "aa👨‍👩‍👧", "aa", "👨‍👩‍", "👧");
	PLAIN(6, "aaaaa\u00a0bbb", "aaaaa", "bbb");
	HTML(4, "a&lt;&lt;&lt;&lt;b", "a&lt;&lt;&lt;", "&lt;b");
}

static void
tags_are_closed_at_a_cut_and_opened_again_after_it(void **state)
{
	(void)state;
	HTML(5, "<b>aaaa <i>bbbb</i></b>", "<b>aaaa</b>", "<b><i>bbbb</i></b>");
	HTML(5, "<b>aaaa</b> bbbb", "<b>aaaa</b>", "bbbb");
	HTML(5, "aaaa <b>bbbb</b>", "aaaa", "<b>bbbb</b>");
	HTML(5, "<a href=\"http://x?a&amp;b\">aaaa bbbb</a>",
	    "<a href=\"http://x?a&amp;b\">aaaa</a>",
	    "<a href=\"http://x?a&amp;b\">bbbb</a>");
	HTML(5, "<blockquote>aaaa\n\nbbbb</blockquote>",
	    "<blockquote>aaaa</blockquote>", "<blockquote>bbbb</blockquote>");
	HTML(5, "<pre><code class=\"language-c\">aaaa\nbbbb</code></pre>",
	    "<pre><code class=\"language-c\">aaaa</code></pre>",
	    "<pre><code class=\"language-c\">bbbb</code></pre>");
	HTML(4, "<b>aaaa</b><i>bbbb</i>", "<b>aaaa</b>", "<i>bbbb</i>");
}

static void
code_keeps_its_indent(void **state)
{
	(void)state;
	HTML(7, "<pre>aaaa\n\n\n  bbb</pre>", "<pre>aaaa</pre>",
	    "<pre>  bbb</pre>");
	HTML(7, "aaaa\n\n<pre>  bbb</pre>", "aaaa", "<pre>  bbb</pre>");
	HTML(7, "aaaa\n\n  bbb", "aaaa", "bbb");
	/* A blank line inside code does not end a paragraph. */
	HTML(9, "<pre>aaa\n\nbb\ncc\ndd</pre>", "<pre>aaa\n\nbb</pre>",
	    "<pre>cc\ndd</pre>");
}

static void
a_part_without_a_visible_character_is_left_out(void **state)
{
	(void)state;
	cut(AIC_FORMAT_PLAIN, 4, " \n\u200b\u2060\ufeff ",
	    (const char *const[]){ NULL });
	cut(AIC_FORMAT_PLAIN, 4, "", (const char *const[]){ NULL });
	PLAIN(4, "abcd\n\n\u200b\u200b\u200b\u200b\u200b\n\nefgh", "abcd",
	    "efgh");
}

static void
the_source_of_a_part_has_a_limit_too(void **state)
{
	static const char link[] = "<a href=\"http://xxxxxxxxxxxxxxxxxxxxxxx"
				   "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\">a</a> ";
	char text[10 * sizeof(link)] = "";
	struct aic_parts p;
	struct aic_buf part;
	int i, n = 0;

	(void)state;
	for (i = 0; i < 10; i++)
		memcpy(text + i * (sizeof(link) - 1), link, sizeof(link));
	aic_buf_init(&part, 4096);
	aic_parts_begin(&p, text, strlen(text), AIC_FORMAT_HTML, 0);
	p.max.bytes = 200;
	assert_false(aic_parts_fit(&p));
	for (; aic_parts_next(&p, &part); n++)
		assert_true(part.len <= 200);
	assert_int_equal(n, 5);
	aic_buf_done(&part);
}

/*
 * These are the tags that a part opens again, and those that it closes at its
 * end.
 */
static void
the_source_of_a_part_includes_the_tags_around_it(void **state)
{
	struct aic_buf text, part;
	struct aic_parts p;
	int i, n = 0;

	(void)state;
	aic_buf_init(&text, 4096);
	aic_buf_init(&part, 4096);
	aic_buf_puts(&text, "<blockquote><b><i><s>");
	for (i = 0; i < 100; i++)
		aic_buf_puts(&text, "word ");
	aic_buf_puts(&text, "</s></i></b></blockquote>");
	aic_parts_begin(&p, text.data, text.len, AIC_FORMAT_HTML, 0);
	p.max.bytes = 100;
	for (; aic_parts_next(&p, &part); n++)
		assert_in_range(part.len, 1, 100);
	assert_in_range(n, 10, 20);
	aic_buf_done(&part);
	aic_buf_done(&text);
}

/*
 * The number of parts of a text with so many links, whose targets have so many
 * bytes.
 */
static int
parts_of_links(int links, int target, size_t entities_max, size_t targets_max)
{
	struct aic_buf text, part;
	struct aic_parts p;
	size_t entities, targets;
	const char *at;
	int i, n = 0;

	aic_buf_init(&text, 1024 * 1024);
	aic_buf_init(&part, AIC_PARTS_BYTES);
	for (i = 0; i < links; i++)
		aic_buf_printf(&text, "<a href=\"http://%0*d\">т</a> ",
		    target - 7, i);
	aic_parts_begin(&p, text.data, text.len, AIC_FORMAT_HTML, 0);
	assert_false(aic_parts_fit(&p));
	for (; aic_parts_next(&p, &part); n++) {
		entities = targets = 0;
		for (at = part.data; (at = strstr(at, "<a ")); at++) {
			entities++;
			targets += (size_t)target;
		}
		assert_in_range(entities, 1, entities_max);
		assert_in_range(targets, 1, targets_max);
	}
	assert_false(part.failed);
	aic_buf_done(&text);
	aic_buf_done(&part);
	return n;
}

static void
entities_and_targets_of_links_have_limits(void **state)
{
	static const char bold[] = "<b>a <a href=\"http://x\">b</a> c</b> ";
	struct aic_buf text;
	struct aic_parts p;
	int i;

	(void)state;
	assert_int_equal(parts_of_links(250, 20, 100, 9500), 3);
	assert_int_equal(parts_of_links(90, 180, 100, 9500), 2);
	/* A link inside bold text makes three entities. */
	aic_buf_init(&text, 1024 * 1024);
	for (i = 0; i < 25; i++)
		aic_buf_puts(&text, bold);
	aic_parts_begin(&p, text.data, text.len, AIC_FORMAT_HTML, 0);
	assert_true(aic_parts_fit(&p));
	aic_buf_puts(&text, bold);
	aic_parts_begin(&p, text.data, text.len, AIC_FORMAT_HTML, 0);
	assert_false(aic_parts_fit(&p));
	aic_buf_done(&text);
}

static bool
fits(enum aic_format format, const char *text, size_t len, int reserve)
{
	struct aic_parts p;

	aic_parts_begin(&p, text, len, format, reserve);
	return aic_parts_fit(&p);
}

static void
the_reserve_is_left_free(void **state)
{
	static char text[4 * 4096 + 1];

	(void)state;
	memset(text, 'a', sizeof(text));
	assert_true(fits(AIC_FORMAT_PLAIN, text, 4096, 0));
	assert_false(fits(AIC_FORMAT_PLAIN, text, 4097, 0));
	assert_true(fits(AIC_FORMAT_PLAIN, text, 4032, 64));
	assert_false(fits(AIC_FORMAT_PLAIN, text, 4033, 64));
	memcpy(text + 4030, "&lt;&gt;", 8);
	assert_true(fits(AIC_FORMAT_HTML, text, 4038, 64));
	assert_false(fits(AIC_FORMAT_PLAIN, text, 4038, 64));
	assert_false(fits(AIC_FORMAT_HTML, text, 4039, 64));
	memcpy(text, "<b>", 3);
	memcpy(text + 4039, "</b>", 4);
	assert_false(fits(AIC_FORMAT_HTML, text, 4043, 67));
	assert_true(fits(AIC_FORMAT_HTML, text, 4043, 66));
}

static void
without_room_in_the_buffer_there_is_no_part(void **state)
{
	struct aic_parts p;
	struct aic_buf part;

	(void)state;
	aic_buf_init(&part, 4);
	aic_parts_begin(&p, "abcdef", 6, AIC_FORMAT_PLAIN, 0);
	assert_false(aic_parts_next(&p, &part));
	assert_true(part.failed);
	aic_buf_done(&part);
}

static void
the_first_part_ends_in_a_note(void **state)
{
	static char text[5001];
	struct aic_buf to;

	(void)state;
	aic_buf_init(&to, AIC_PARTS_BYTES);
	assert_true(aic_parts_first("abc", 3, AIC_FORMAT_PLAIN, 0, "n", &to));
	assert_string_equal(to.data, "abc");
	memset(text, 'a', 5000);
	assert_true(aic_parts_first(text, 4096, AIC_FORMAT_PLAIN, 0, "n", &to));
	assert_int_equal(to.len, 4096);
	assert_true(aic_parts_first(text, 5000, AIC_FORMAT_PLAIN, 64, "😀<",
	    &to));
	assert_int_equal(to.len, 4096 - 64 + strlen("😀") - 2);
	assert_string_equal(to.data + to.len - 8, "a\n\n😀<");
	memcpy(text, "<b>", 3);
	memcpy(text + 4996, "</b>", 4);
	assert_true(aic_parts_first(text, 5000, AIC_FORMAT_HTML, 0, "a < b",
	    &to));
	assert_string_equal(to.data + to.len - 15, "a</b>\n\na &lt; b");
	assert_int_equal(to.len, 4096 + 7 + 3);
	aic_buf_done(&to);
}

UNIT_MAIN(T(a_text_that_fits_is_one_part), T(a_text_is_cut_at_paragraphs_first),
    T(a_text_is_not_cut_where_the_part_would_be_too_short),
    T(white_space_at_a_cut_is_lost), T(characters_are_not_cut),
    T(tags_are_closed_at_a_cut_and_opened_again_after_it),
    T(code_keeps_its_indent), T(a_part_without_a_visible_character_is_left_out),
    T(the_source_of_a_part_has_a_limit_too),
    T(the_source_of_a_part_includes_the_tags_around_it),
    T(entities_and_targets_of_links_have_limits), T(the_reserve_is_left_free),
    T(without_room_in_the_buffer_there_is_no_part),
    T(the_first_part_ends_in_a_note))
