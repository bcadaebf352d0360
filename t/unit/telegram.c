#include "config.h"

#include "telegram.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "message.h"
#include "unit.h"

static void
becomes(const char *markdown, const char *html)
{
	struct aic_buf to;

	aic_buf_init(&to, 1024 * 1024);
	assert_int_equal(aic_telegram_html(markdown, strlen(markdown), &to),
	    AIC_OK);
	assert_string_equal(to.data, html);
	aic_buf_done(&to);
}

static void
stays(const char *text)
{
	becomes(text, text);
}

static void
text_is_escaped_and_nothing_else(void **state)
{
	(void)state;
	stays("Привет, \"мир\" — 'да' 📦");
	becomes("a < b && c > d", "a &lt; b &amp;&amp; c &gt; d");
	becomes("<b>x</b> <script>alert(1)</script>",
	    "&lt;b&gt;x&lt;/b&gt; &lt;script&gt;alert(1)&lt;/script&gt;");
	becomes("<div>\n<a href=\"x\">\n</div>",
	    "&lt;div&gt;\n&lt;a href=\"x\"&gt;\n&lt;/div&gt;");
	becomes("\\*a\\* 2 \\* 2 \\<", "*a* 2 * 2 &lt;");
	stays("#хештег и 5 * 3");
}

static void
emphasis_becomes_tags(void **state)
{
	(void)state;
	becomes("**a** *b* _c_ __d__ ~~e~~",
	    "<b>a</b> <i>b</i> <i>c</i> <b>d</b> <s>e</s>");
	becomes("***a***", "<b><i>a</i></b>");
	becomes("*a **b** c*", "<i>a <b>b</b> c</i>");
	becomes("**a __b__ c**", "<b>a b c</b>");
	becomes("snake_case_name 2*3*4", "snake_case_name 2<i>3</i>4");
	stays("~100 ₽ и ~200 ₽");
}

static void
code_is_in_nothing_but_a_quotation(void **state)
{
	(void)state;
	becomes("`a < b`", "<code>a &lt; b</code>");
	becomes("**a `b` c**", "<b>a </b><code>b</code><b> c</b>");
	becomes("# a `b`", "<b>a </b><code>b</code>");
	becomes("[a `b` c](http://x.ru)", "<a href=\"http://x.ru\">a b c</a>");
	becomes("> `a`", "<blockquote><code>a</code></blockquote>");
	becomes("`a``b` `*c*`", "<code>a``b</code> <code>*c*</code>");
}

static void
fences_become_pre(void **state)
{
	(void)state;
	becomes("```\na\n\n  b\n```", "<pre>a\n\n  b</pre>");
	becomes("```python title=x\nx = 1\n```",
	    "<pre><code class=\"language-python\">x = 1</code></pre>");
	becomes("```c++\nx\n```",
	    "<pre><code class=\"language-c++\">x</code></pre>");
	becomes("``` \"<&\nx\n```", "<pre>x</pre>");
	becomes("```\n\n\n a\n\n```\nb", "<pre> a</pre>\n\nb");
	becomes("a\n```\n```\nb", "a\n\nb");
	becomes("```c\nне закрыт",
	    "<pre><code class=\"language-c\">не закрыт</code></pre>");
	becomes("- a\n\n      b", "• a\n\n  b");
}

static void
headings_are_bold_lines(void **state)
{
	(void)state;
	becomes("# Итог\nтекст", "<b>Итог</b>\nтекст");
	becomes("a\n\n### Б **в**\n\n#### Г\n- д",
	    "a\n\n<b>Б в</b>\n<b>Г</b>\n• д");
	becomes("Да\n==\nнет", "<b>Да</b>\nнет");
	becomes("#\n\nа", "а");
}

static void
paragraphs_and_lines_stay(void **state)
{
	(void)state;
	becomes("a\nb\n\n\n\nc  \nd\\\ne", "a\nb\n\nc\nd\ne");
	becomes("a\n\n---\n\nb", "a\n\n———\n\nb");
	becomes("\n\n  a\n\n", "a");
}

static void
lists_become_lines(void **state)
{
	(void)state;
	becomes("Вот:\n- a\n- b\n\nc", "Вот:\n\n• a\n• b\n\nc");
	becomes("* a\n\n* b", "• a\n\n• b");
	becomes("3. a\n4. b\n5) c", "3. a\n4. b\n\n5) c");
	becomes("1. a\n   - b\n     продолжение\n   - c\n2. d",
	    "1. a\n  • b\n    продолжение\n  • c\n2. d");
	becomes("- a\n\n  b", "• a\n\n  b");
	becomes("- [ ] a\n- [x] b", "☐ a\n☑ b");
	becomes("- - a\n  - b", "• • a\n  • b");
	becomes("-\n- a", "• a");
	becomes("1. ```\n   a\n   b\n   ```", "1. \n<pre>a\nb</pre>");
	becomes("- > a\n  > b\n- c", "• <blockquote>a\nb</blockquote>\n• c");
}

static void
quotations_are_one_deep(void **state)
{
	(void)state;
	becomes("> a\n> b\n\nc", "<blockquote>a\nb</blockquote>\n\nc");
	becomes("> a\n> > b\n>\n> c", "<blockquote>a\n\nb\n\nc</blockquote>");
	becomes("> - a\n>   - b", "<blockquote>• a\n  • b</blockquote>");
	becomes("> a\n\n---\n> b",
	    "<blockquote>a</blockquote>\n\n———\n\n"
	    "<blockquote>b</blockquote>");
}

static void
tables_become_lines(void **state)
{
	(void)state;
	becomes("|a|b|\n|---|--:|\n|1|**2**|\n| |3|\n|4||\n\nc",
	    "<b>a | b</b>\n1 | <b>2</b>\n | 3\n4\n\nc");
}

static void
links_lead_to_the_web(void **state)
{
	(void)state;
	becomes("[a](https://x.ru/?b=1&c=\"<\")",
	    "<a href=\"https://x.ru/?b=1&amp;c=&quot;&lt;&quot;\">a</a>");
	becomes("[a](HTTP://x.ru 'title')", "<a href=\"HTTP://x.ru\">a</a>");
	becomes("<https://x.ru>", "<a href=\"https://x.ru\">https://x.ru</a>");
	becomes("[a][b]\n\n[b]: http://x.ru", "<a href=\"http://x.ru\">a</a>");
	becomes("[](http://x.ru)", "<a href=\"http://x.ru\">http://x.ru</a>");
	becomes("[a](javascript:x) [b](tg://user?id=1) [c](/d) <e@f.ru>",
	    "a b c e@f.ru");
	becomes("[a](http://) [b](https:///c) [d](<http://x y>)", "a b d");
	becomes("[](mailto:a@b.ru)", "mailto:a@b.ru");
	becomes("[a](http://x)[b](http://y)",
	    "<a href=\"http://x\">a</a><a href=\"http://y\">b</a>");
	becomes("[a **b**](http://x) **[c](http://y)**",
	    "<a href=\"http://x\">a <b>b</b></a> "
	    "<a href=\"http://y\"><b>c</b></a>");
}

static void
a_link_that_is_too_long_is_text(void **state)
{
	char markdown[4096];
	int n;

	(void)state;
	n = snprintf(markdown, sizeof(markdown), "[a](http://%03000d)", 7);
	assert_true(n < (int)sizeof(markdown));
	becomes(markdown, "a");
}

static void
images_are_links(void **state)
{
	(void)state;
	becomes("![a](https://x.ru/1.png)",
	    "<a href=\"https://x.ru/1.png\">a</a>");
	becomes("![](https://x.ru/1.png) ![b](c.png) ![](d.png)",
	    "<a href=\"https://x.ru/1.png\">https://x.ru/1.png</a> b d.png");
	becomes("[![a](http://x)](http://y)", "<a href=\"http://y\">a</a>");
}

static void
entities_are_what_they_mean(void **state)
{
	(void)state;
	becomes("&lt;b&gt; &amp;amp; &quot;", "&lt;b&gt; &amp;amp; \"");
	becomes("&#1071;&#x1F600; &laquo;a&raquo; &mdash;", "Я😀 «a» —");
	becomes("&#0; &#xD800; &#x110000;", "� � �");
	becomes("&bogus; & &; &#; AT&T",
	    "&amp;bogus; &amp; &amp;; &amp;#; AT&amp;T");
	becomes("`&lt;`", "<code>&amp;lt;</code>");
	becomes("[a](http://x?b&amp;c&#61;)",
	    "<a href=\"http://x?b&amp;c=\">a</a>");
}

static void
what_would_show_nothing_is_shown_as_it_is(void **state)
{
	(void)state;
	stays("[a]: http://x.ru \"t\"");
	stays("```\n```");
	stays("#");
	stays("-");
	becomes("&nbsp;", "&amp;nbsp;");
	becomes("\\\n", "\\");
}

/* Each takes a parser that is not careful the square of its length, or more. */
static void
no_answer_takes_long(void **state)
{
	static const char *const starts[] = { "", "|x|y\n|---|---\n", "```\n",
		"- ", "[a]: b\n" };
	static const char *const again[] = { "*", "[", "![", "`", "<", "> ",
		"- ", "[a](", "*a_ ", "|", "&", "1. ", "a\n", "\\", "]", "~",
		"[a]: u\n", "```\n", "a|", "(", "**a *b ", "  - a\n", "\t>" };
	size_t size = AIC_TELEGRAM_MARKDOWN_MAX, i, j, k, n;
	char *text = malloc(size + 1);
	struct aic_buf to;
	clock_t begun = clock();

	(void)state;
	assert_non_null(text);
	for (i = 0; i < sizeof(starts) / sizeof(starts[0]); i++)
		for (j = 0; j < sizeof(again) / sizeof(again[0]); j++) {
			n = strlen(again[j]);
			memcpy(text, starts[i], strlen(starts[i]));
			for (k = strlen(starts[i]); k + n <= size; k += n)
				memcpy(text + k, again[j], n);
			aic_buf_init(&to, 64 * 1024 * 1024);
			assert_int_equal(aic_telegram_html(text, k, &to),
			    AIC_OK);
			assert_true(to.len <= 16 * size);
			aic_buf_done(&to);
		}
	/* Half a second where it was written. */
	assert_true((clock() - begun) / CLOCKS_PER_SEC < 60);
	free(text);
}

static void
an_answer_too_long_to_parse_is_shown_as_it_is(void **state)
{
	size_t n = AIC_TELEGRAM_MARKDOWN_MAX + 1;
	char *text = malloc(n);
	struct aic_buf to;

	(void)state;
	assert_non_null(text);
	memset(text, '*', n);
	aic_buf_init(&to, 2 * n);
	assert_int_equal(aic_telegram_html(text, n, &to), AIC_OK);
	assert_int_equal(to.len, n);
	assert_memory_equal(to.data, text, n);
	aic_buf_done(&to);
	free(text);
}

/* A text, and another one so many times. */
static void
is_shown_as_it_is(const char *start, const char *again, int times)
{
	struct aic_buf text, to;

	aic_buf_init(&text, AIC_TELEGRAM_MARKDOWN_MAX);
	aic_buf_init(&to, 32 * AIC_TELEGRAM_MARKDOWN_MAX);
	aic_buf_puts(&text, start);
	while (times-- > 0)
		aic_buf_puts(&text, again);
	assert_false(text.failed);
	assert_int_equal(aic_telegram_html(text.data, text.len, &to), AIC_OK);
	assert_string_equal(to.data, text.data);
	aic_buf_done(&text);
	aic_buf_done(&to);
}

static void
what_would_grow_without_measure_is_shown_as_it_is(void **state)
{
	struct aic_buf start;
	int i;

	(void)state;
	aic_buf_init(&start, AIC_TELEGRAM_MARKDOWN_MAX);
	aic_buf_puts(&start, "[a]: http://x.ru/");
	for (i = 0; i < 1900; i++)
		aic_buf_putc(&start, 'b');
	aic_buf_puts(&start, "\n\n");
	is_shown_as_it_is(start.data, "[a] ", 9000);
	/* A row has as many cells as the head, whatever it says. */
	aic_buf_clear(&start);
	for (i = 0; i < 4000; i++)
		aic_buf_puts(&start, "|x");
	aic_buf_puts(&start, "\n");
	for (i = 0; i < 4000; i++)
		aic_buf_puts(&start, "|---");
	aic_buf_puts(&start, "\n");
	is_shown_as_it_is(start.data, "a\n", 9000);
	aic_buf_done(&start);
}

static void
without_room_it_fails(void **state)
{
	struct aic_buf to;

	(void)state;
	aic_buf_init(&to, 16);
	assert_int_equal(aic_telegram_html(LIT("**a** b c d e f g h i j"), &to),
	    AIC_ENOMEM);
	aic_buf_done(&to);
}

/* --- the checker itself ------------------------------------------------ */

static void
the_checker_knows_what_telegram_refuses(void **state)
{
	static const char *const bad[] = { "<b>a", "a</b>", "<b>a</i>",
		"<b><i>a</b></i>", "<div>a</div>", "<B>a</B>", "<b></b>a",
		"a < b", "a > b", "a & b", "a &nbsp; b", "a &#39; b",
		"<b class=\"x\">a</b>", "<a>b</a>", "<a href=\"tg://x\">b</a>",
		"<a href=\"http://x\"><a href=\"http://y\">b</a></a>",
		"<a href=\"http://x&y\">b</a>", "<b><b>a</b></b>",
		"<pre><b>a</b></pre>", "<code><i>a</i></code>",
		"<b><code>a</code></b>", "<i><pre>a</pre></i>",
		"<a href=\"http://x\"><code>b</code></a>",
		"<pre>a<code class=\"language-c\">b</code></pre>",
		"<pre><code class=\"language-c\">b</code>a</pre>",
		"<code class=\"language-c\">b</code>",
		"<blockquote>a<blockquote>b</blockquote></blockquote>",
		"<b><blockquote>a</blockquote></b>", "", " \n ", "\u200b\u2060",
		"<b> </b>", "\xff", "a\xd0" };
	static const char *const good[] = { "a", "<b>a<i>b</i></b>",
		"a &lt;&gt;&amp;&quot; \"", "<a href=\"https://x\">b</a>",
		"<blockquote>a <code>b</code>\n<pre>c</pre></blockquote>",
		"<pre><code class=\"language-c\">b</code></pre>" };
	struct aic_buf shown;
	size_t i;

	(void)state;
	aic_buf_init(&shown, 4096);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (!message_wrong(bad[i], strlen(bad[i]), true, NULL, &shown))
			fail_msg("taken: %s", bad[i]);
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		if (message_wrong(good[i], strlen(good[i]), true, NULL, &shown))
			fail_msg("refused: %s", good[i]);
	aic_buf_done(&shown);
}

static void
the_checker_counts_as_telegram_does(void **state)
{
	static const struct message_limits three = { 3, 100 };
	struct aic_buf shown;

	(void)state;
	aic_buf_init(&shown, 4096);
	assert_null(message_wrong(LIT("<b>😀</b>&lt;"), true, &three, &shown));
	assert_string_equal(shown.data, "😀<");
	assert_non_null(message_wrong(LIT("😀😀"), true, &three, &shown));
	assert_non_null(message_wrong(LIT("абвг"), false, &three, &shown));
	assert_non_null(message_wrong(LIT("&lt;"), false, &three, &shown));
	aic_buf_done(&shown);
}

/* --- whatever a model writes ------------------------------------------- */

#define ROUNDS 1500
#define WORDS_MAX 60

static const char *const nasty[] = { "*", "**", "***", "_", "__", "~~", "`",
	"``", "```", "\n```c\n", "\n```\n", "[", "](",
	"](https://x.ru/a?b=1&c)", ")", "]", "![", "<", ">", "\n> ", "\n>> ",
	"\n- ", "\n  - ", "\n    1) ", "\n1. ", "\n# ", "\n### ", "\n\n", "\n",
	"  \n", "\\", "&amp;", "&#x1F4A9;", "&lt;", "&", "|",
	"\n|a|b|\n|---|---|\n|", "\n---\n", "\n===\n", "слово ", "word. ",
	"1 000 ", "😀", "👨‍👩‍👧", "é", "🇷🇺", "\u200b", "\u00a0",
	"<b>", "</b>", "<a href=\"x\">", "[a]: http://y\n", "[a]", "- [ ] ",
	"очень-длинное-слово-без-пробелов", "\t", "    ", "<https://z.ru>",
	"\"", "'", "\x01", "\r\n", "http://", "javascript:", "\xef\xbf\xbd" };

/* xorshift: the same rounds from the same seed on any machine. */
static uint64_t
draw(uint64_t *seed, uint64_t n)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed % n;
}

static size_t
write_nasty(uint64_t *seed, char *to, size_t size)
{
	uint64_t n = 1 + draw(seed, WORDS_MAX), times;
	const char *word;
	size_t len = 0;

	while (n-- > 0) {
		word = nasty[draw(seed, sizeof(nasty) / sizeof(nasty[0]))];
		times = draw(seed, 12) ? 1 : 1 + draw(seed, 40);
		while (times-- > 0 && len + strlen(word) <= size) {
			memcpy(to + len, word, strlen(word));
			len += strlen(word);
		}
	}
	return len;
}

static void
whatever_it_writes_telegram_takes_it(void **state)
{
	/* Another seed at each run finds faults of the formatter that are known and not
	 * repaired yet, see TODO.md; AIC_SEED looks for more. */
	uint64_t seed = 1, first = seed;
	static char text[16 * 1024];
	const char *wrong, *given = getenv("AIC_SEED");
	size_t len;
	char *at;
	int i;

	(void)state;
	if (given)
		first = seed = strtoull(given, NULL, 10) | 1;
	print_message("# AIC_SEED=%llu\n", (unsigned long long)first);
	for (i = 0; i < ROUNDS; i++) {
		len = write_nasty(&seed, text, sizeof(text));
		if (message_is_empty(text, len))
			continue;
		wrong = message_check_answer(text, len, &at);
		if (wrong)
			print_error("# %s: %s\n# of: %.*s\n", wrong, at,
			    (int)len, text);
		free(at);
		assert_null(wrong);
	}
}

UNIT_MAIN(T(text_is_escaped_and_nothing_else), T(emphasis_becomes_tags),
    T(code_is_in_nothing_but_a_quotation), T(fences_become_pre),
    T(headings_are_bold_lines), T(paragraphs_and_lines_stay),
    T(lists_become_lines), T(quotations_are_one_deep), T(tables_become_lines),
    T(links_lead_to_the_web), T(a_link_that_is_too_long_is_text),
    T(images_are_links), T(entities_are_what_they_mean),
    T(what_would_show_nothing_is_shown_as_it_is), T(no_answer_takes_long),
    T(an_answer_too_long_to_parse_is_shown_as_it_is),
    T(what_would_grow_without_measure_is_shown_as_it_is),
    T(without_room_it_fails), T(the_checker_knows_what_telegram_refuses),
    T(the_checker_counts_as_telegram_does),
    T(whatever_it_writes_telegram_takes_it))
