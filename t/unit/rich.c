#include "config.h"

#include "rich.h"

#include <stdio.h>
#include <string.h>

#include "lib/parts.h"
#include "lib/telegram.h"
#include "lib/format.h"
#include "unit.h"

static void
becomes(const char *markdown, const char *html)
{
	struct aic_buf to;

	aic_buf_init(&to, 1024 * 1024);
	assert_int_equal(aic_telegram_rich(markdown, strlen(markdown), &to),
	    AIC_OK);
	assert_string_equal(to.data, html);
	aic_buf_done(&to);
}

static void
text_is_escaped_and_its_lines_stay(void **state)
{
	(void)state;
	becomes("a < b & \"c\"\nd<br>e\n\nf",
	    "<p>a &lt; b &amp; \"c\"<br>d<br>e</p><p>f</p>");
	becomes("**a *b* `c`** ~~d~~",
	    "<p><b>a <i>b</i> <code>c</code></b> <s>d</s></p>");
	becomes("**a __б__ c**", "<p><b>a б c</b></p>");
	becomes("1000*0.85*30, 0,3~8", "<p>1000*0.85*30, 0,3~8</p>");
}

static void
headings_rules_and_code_are_blocks(void **state)
{
	(void)state;
	becomes("# A\n###### **B**\nc\n\n---\nd",
	    "<h1>A</h1><h6><b>B</b></h6><p>c</p><hr/><p>d</p>");
	becomes("```sql\n\na\n\n  b\n\n```\n```\nc\n```",
	    "<pre><code class=\"language-sql\">a\n\n  b</code></pre>"
	    "<pre>c</pre>");
	becomes("> a\n>\n> # B\n> > c",
	    "<blockquote>a<p><b>B</b></p><p>c</p></blockquote>");
}

static void
list_items_keep_their_numbers(void **state)
{
	(void)state;
	becomes("- a\n- b", "<ul><li>a</li><li>b</li></ul>");
	becomes("2. a\n5. b\n   - c\n\n   d",
	    "<ol><li value=\"2\">a</li><li value=\"5\">b<ul><li>c</li></ul>"
	    "<p>d</p></li></ol>");
	becomes("- [ ] a\n- [x] b\n\n3. [x] c",
	    "<ul><li><input type=\"checkbox\">a</li>"
	    "<li><input type=\"checkbox\" checked>b</li></ul>"
	    "<ol><li value=\"3\">☑ c</li></ol>");
	becomes("- # A\n- > b",
	    "<ul><li><b>A</b></li><li><blockquote>b</blockquote></li></ul>");
	becomes("1. ***\n2. &nbsp;\n\na",
	    "<ol><li value=\"1\">—</li><li value=\"2\">\u00a0<p>—</p></li></ol>"
	    "<p>a</p>");
	becomes("- a\n\n  ---\n", "<ul><li>a<hr/></li></ul>");
	becomes("7. >\n\na", "<ol><li value=\"7\">—</li></ol><p>a</p>");
}

static void
lists_are_three_deep(void **state)
{
	(void)state;
	becomes(
	    "- a\n  - b\n    - c\n      - d\n        1. e\n      - f\n  - g",
	    "<ul><li>a<ul><li>b<ul><li>c<p>• d</p><p>1. e</p><p>• f</p></li>"
	    "</ul></li><li>g</li></ul></li></ul>");
	becomes("- - - - a",
	    "<ul><li><ul><li><ul><li>• a</li></ul></li></ul></li></ul>");
}

static void
tables_become_tables(void **state)
{
	(void)state;
	becomes("Итоги:\n|a|b|\n|-|-|\n|1||\n|2|3<br>**4**|5|",
	    "<p>Итоги:</p><table><tr><th>a</th><th>b</th></tr>"
	    "<tr><td>1</td><td></td></tr>"
	    "<tr><td>2</td><td>3<br><b>4</b></td><td>5</td></tr></table>");
}

static void
columns_after_the_twentieth_are_joined_into_it(void **state)
{
	static const char row[] =
	    "|1|2|3|4|5|6|7|8|9|10|11|12|13|14|15|16|17|18|19|20|21||22|";
	char markdown[512];
	struct aic_buf to;

	(void)state;
	snprintf(markdown, sizeof(markdown), "%s\n|-|\n%s", row, row);
	aic_buf_init(&to, 4096);
	assert_int_equal(aic_telegram_rich(markdown, strlen(markdown), &to),
	    AIC_OK);
	assert_non_null(strstr(to.data,
	    "<th>19</th><th>20 | 21 |  | 22</th></tr>"));
	assert_non_null(strstr(to.data, "<td>20 | 21 |  | 22</td></tr>"));
	aic_buf_done(&to);
}

static void
links_lead_to_the_web_to_mail_and_to_phones(void **state)
{
	(void)state;
	becomes("[a](https://x.ru?b&c) [d](mailto:e@f.ru) [g](tel:+7-800)",
	    "<p><a href=\"https://x.ru?b&amp;c\">a</a> "
	    "<a href=\"mailto:e@f.ru\">d</a> <a href=\"tel:+7-800\">g</a></p>");
	becomes("[a](tg://user?id=1) [b](/c) [d](mailto:e) [f](tel:g.h)",
	    "<p>a (tg://user?id=1) b (/c) d (e) f (g.h)</p>");
	becomes("[![a](http://x)](http://y)",
	    "<p><a href=\"http://y\">a (http://x)</a></p>");
}

static void
markup_that_would_show_nothing_is_shown_as_written(void **state)
{
	(void)state;
	becomes("```\n```", "<p>```<br>```</p>");
	becomes("---", "<p>---</p>");
	becomes("> ", "<p>&gt; </p>");
}

/* More nested spans than the formatter keeps. */
static void
nesting_is_bounded(void **state)
{
	struct aic_buf text;
	char *at;
	int i;

	(void)state;
	aic_buf_init(&text, 64 * 1024);
	for (i = 0; i < 40; i++)
		aic_buf_puts(&text, "> - ");
	for (i = 0; i < 400; i++)
		aic_buf_puts(&text, i % 2 ? "**б " : "*а ");
	aic_buf_puts(&text, "[с](http://x)");
	for (i = 400; i-- > 0;)
		aic_buf_puts(&text, i % 2 ? "б** " : "а* ");
	assert_null(rich_check_answer(text.data, text.len, &at));
	aic_buf_done(&text);
}

/* --- parts -------------------------------------------------------------- */

static void
cut(size_t units, size_t blocks, const char *html, const char *const *want)
{
	struct aic_parts p;
	struct aic_buf part;

	aic_buf_init(&part, AIC_PARTS_RICH_BYTES);
	aic_parts_begin(&p, html, strlen(html), AIC_FORMAT_RICH, 0);
	p.max.units = units;
	p.max.blocks = blocks;
	for (; *want; want++) {
		assert_true(aic_parts_next(&p, &part));
		assert_string_equal(part.data, *want);
	}
	assert_false(aic_parts_next(&p, &part));
	assert_false(part.failed);
	aic_buf_done(&part);
}

#define CUT(units, blocks, html, ...)                                          \
	cut(units, blocks, html, (const char *const[]){ __VA_ARGS__, NULL })

static void
parts_are_cut_between_blocks_first(void **state)
{
	(void)state;
	CUT(8, 9, "<p>aaa bb</p><ul><li>cc</li></ul>",
	    "<p>aaa bb</p><ul><li>cc"
	    "</li></ul>");
	CUT(6, 9, "<p>aaa bb</p><ul><li>cc</li></ul>", "<p>aaa bb</p>",
	    "<ul><li>cc</li></ul>");
	CUT(6, 9, "<h1>aa</h1><p>bb<br>cc d</p>", "<h1>aa</h1>", "<p>bb</p>",
	    "<p>cc d</p>");
	CUT(9, 4, "<ul><li>aa</li><li>bb</li><li>cc</li></ul>",
	    "<ul><li>aa</li></ul>", "<ul><li>bb</li></ul>",
	    "<ul><li>cc</li></ul>");
	CUT(9, 5, "<ul><li>aa</li><li>bb</li><li>cc</li></ul>",
	    "<ul><li>aa</li><li>bb</li></ul>", "<ul><li>cc</li></ul>");
}

static void
rows_keep_their_empty_cells(void **state)
{
	(void)state;
	CUT(4, 9,
	    "<table><tr><th>aa</th><th>b</th></tr>"
	    "<tr><td></td><td>cc</td></tr></table>",
	    "<table><tr><th>aa</th><th>b</th></tr></table>",
	    "<table><tr><td></td><td>cc</td></tr></table>");
}

static void
an_item_that_is_cut_shows_its_number_again(void **state)
{
	(void)state;
	CUT(4, 9, "<ol><li value=\"7\">aaa bbb</li></ol>",
	    "<ol><li value=\"7\">aaa</li></ol>",
	    "<ol><li value=\"7\">bbb</li></ol>");
	CUT(4, 9, "<ul><li><input type=\"checkbox\">aaa</li><li>b</li></ul>",
	    "<ul><li><input type=\"checkbox\">aaa</li></ul>",
	    "<ul><li>b</li></ul>");
}

static void
the_first_part_ends_in_a_note(void **state)
{
	struct aic_buf text, to;
	int i;

	(void)state;
	aic_buf_init(&text, 1024 * 1024);
	aic_buf_init(&to, AIC_PARTS_RICH_BYTES);
	for (i = 0; i < 501; i++)
		aic_buf_puts(&text, "<p>a</p>");
	assert_true(aic_parts_first(text.data, text.len, AIC_FORMAT_RICH, 64,
	    "a < b", &to));
	assert_int_equal(to.len,
	    499 * strlen("<p>a</p>") + strlen("<p>a &lt; b</p>"));
	assert_non_null(strstr(to.data, "</p><p>a &lt; b</p>"));
	aic_buf_done(&text);
	aic_buf_done(&to);
}

/* --- the checker itself ------------------------------------------------- */

static void
the_checker_applies_the_rules_of_telegram(void **state)
{
	static const char *const bad[] = { "a", "<p>a", "a</p>", "<p>a</b></p>",
		"<p></p>", "<p> </p>", "<p>a\nb</p>", "<p>a & b</p>",
		"<p>a > b</p>", "<p>a &nbsp; b</p>", "<p><p>a</p></p>",
		"<p><ul><li>a</li></ul></p>", "<ul>a</ul>", "<li>a</li>",
		"<ul><p>a</p></ul>", "<ul><li><ul><li>a</li></ul>b</li></ul>",
		"<ul><li value=\"1\">a</li></ul>",
		"<ol><li value=\"x\">a</li></ol>",
		"<ul><li>a<input type=\"checkbox\"></li></ul>",
		"<table><td>a</td></table>", "<table><tr>a</tr></table>",
		"<table><tr><td><p>a</p></td></tr></table>",
		"<p><b>a<b>b</b></b></p>", "<p><code>a<b>b</b></code></p>",
		"<pre><b>a</b></pre>",
		"<pre><code class=\"language-c\">a</code>b</pre>",
		"<p><code class=\"language-c\">a</code></p>",
		"<p><a href=\"tg://x\">a</a></p>", "<p><a>a</a></p>",
		"<blockquote>a<blockquote>b</blockquote></blockquote>",
		"<details>a</details>", "<p><img src=\"http://x\"/>a</p>",
		"<hr/>", "" };
	static const char *const good[] = { "<p>a<br>b</p><hr/>",
		"<h3>a</h3><pre>b\nc</pre>",
		"<ul><li><input type=\"checkbox\" checked>a<ol>"
		"<li value=\"2\">b</li></ol><p>c</p></li></ul>",
		"<table><tr><th></th><td>a<br><b>b</b></td></tr></table>",
		"<blockquote>a<p>b</p></blockquote>",
		"<p><b>a <a href=\"mailto:b@c.ru\"><i>d</i></a></b></p>" };
	struct aic_buf shown;
	size_t i;

	(void)state;
	aic_buf_init(&shown, 4096);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (!rich_wrong(bad[i], strlen(bad[i]), NULL, &shown, NULL))
			fail_msg("taken: %s", bad[i]);
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		if (rich_wrong(good[i], strlen(good[i]), NULL, &shown, NULL))
			fail_msg("refused: %s", good[i]);
	aic_buf_done(&shown);
}

static void
the_checker_counts_characters_blocks_and_columns(void **state)
{
	static const struct rich_limits few = { 3, 3 };
	struct aic_buf text, shown;
	int i;

	(void)state;
	aic_buf_init(&shown, 4096);
	aic_buf_init(&text, 4096);
	assert_null(rich_wrong(LIT("<p>a&lt;😀</p>"), &few, &shown, NULL));
	assert_non_null(rich_wrong(LIT("<p>a&lt;bc</p>"), &few, &shown, NULL));
	assert_null(rich_wrong(LIT("<ul><li>a</li></ul>"), &few, &shown, NULL));
	assert_non_null(rich_wrong(LIT("<ul><li>a</li><li>b</li></ul>"), &few,
	    &shown, NULL));
	aic_buf_puts(&text, "<table><tr>");
	for (i = 0; i < 21; i++)
		aic_buf_puts(&text, "<td>a</td>");
	aic_buf_puts(&text, "</tr></table>");
	assert_non_null(rich_wrong(text.data, text.len, NULL, &shown, NULL));
	aic_buf_clear(&text);
	for (i = 0; i < 9; i++)
		aic_buf_puts(&text, "<ul><li>");
	aic_buf_puts(&text, "a");
	for (i = 0; i < 9; i++)
		aic_buf_puts(&text, "</li></ul>");
	assert_non_null(rich_wrong(text.data, text.len, NULL, &shown, NULL));
	aic_buf_done(&shown);
	aic_buf_done(&text);
}

UNIT_MAIN(T(text_is_escaped_and_its_lines_stay),
    T(headings_rules_and_code_are_blocks), T(list_items_keep_their_numbers),
    T(lists_are_three_deep), T(tables_become_tables),
    T(columns_after_the_twentieth_are_joined_into_it),
    T(links_lead_to_the_web_to_mail_and_to_phones),
    T(markup_that_would_show_nothing_is_shown_as_written),
    T(nesting_is_bounded), T(parts_are_cut_between_blocks_first),
    T(rows_keep_their_empty_cells),
    T(an_item_that_is_cut_shows_its_number_again),
    T(the_first_part_ends_in_a_note),
    T(the_checker_applies_the_rules_of_telegram),
    T(the_checker_counts_characters_blocks_and_columns))
