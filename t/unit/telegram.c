#include "config.h"

#include "lib/telegram.h"
#include "lib/telegram_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "message.h"
#include "rich.h"
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
plain_text_is_only_escaped(void **state)
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
	becomes("**a** *b* _c_ __да__ ~~e~~",
	    "<b>a</b> <i>b</i> <i>c</i> <b>да</b> <s>e</s>");
	becomes("***a***", "<b><i>a</i></b>");
	becomes("*a **b** c*", "<i>a <b>b</b> c</i>");
	becomes("**a __б__ c**", "<b>a б c</b>");
	becomes("**Комиссия:**15 %", "<b>Комиссия:</b>15 %");
	becomes("**3**шт. ~~1 990~~₽", "<b>3</b>шт. <s>1 990</s>₽");
	becomes("«**Платье** летнее» и «скидка **20 %**», “*курсив*”",
	    "«<b>Платье</b> летнее» и «скидка <b>20 %</b>», “<i>курсив</i>”");
	becomes("***a** b*", "<b><i>a</i></b><i> b</i>");
	becomes("**a *b***", "<b>a <i>b</i></b>");
	becomes("**a *b** c*", "<b>a *b</b> c*");
}

static void
code_is_inside_no_other_tag_except_a_quotation(void **state)
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
	    "<pre><code class=\"language-python\">title=x\nx = 1</code></pre>");
	becomes("```Вот код\nx\n```", "<pre>Вот код\nx</pre>");
	becomes("```c++\nx\n```",
	    "<pre><code class=\"language-c++\">x</code></pre>");
	becomes("``` \"<&\nx\n```", "<pre>\"&lt;&amp;\nx</pre>");
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
	stays("#\n\nа");
	stays("#хештег\n##два");
	becomes("## **Итоги & планы**\n### *Май* и **июнь**",
	    "<b>Итоги &amp; планы</b>\n<b><i>Май</i> и июнь</b>");
}

static void
paragraphs_and_line_breaks_are_kept(void **state)
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
	becomes("-\n- a", "-\n\n• a");
	becomes("1. ```\n   a\n   b\n   ```", "1. \n<pre>a\nb</pre>");
	becomes("- > a\n  > b\n- c", "• <blockquote>a\nb</blockquote>\n• c");
}

static void
quotations_are_not_nested(void **state)
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
	becomes("Итоги:\n| а | б |\n|---|---|\n| 1 | 2 |\nДальше",
	    "Итоги:\n\n<b>а | б</b>\n1 | 2\n\nДальше");
	becomes("|a|\n|-|\n|1|2|3|", "<b>a</b>\n1 | 2 | 3");
	becomes("|a|b|\n|-|-|\n|1|в<br>г \\| д|", "<b>a | b</b>\n1 | в\nг | д");
	becomes("- a\n\n  |b|c|\n  |-|-|\n", "• a\n\n  <b>b | c</b>");
	stays("|\n|-|\na|b");
}

static void
links_lead_to_the_web(void **state)
{
	(void)state;
	becomes("[a](https://x.ru/?b=1&c=\"<\")",
	    "<a href=\"https://x.ru/?b=1&amp;c=&quot;&lt;&quot;\">a</a>");
	becomes("[a](HTTP://x.ru 'title')",
	    "<a href=\"HTTP://x.ru\">a</a> (title)");
	becomes("<https://x.ru>", "<a href=\"https://x.ru\">https://x.ru</a>");
	stays("[a][b]\n\n[b]: http://x.ru");
	becomes("[](http://x.ru)", "<a href=\"http://x.ru\">http://x.ru</a>");
	becomes("[a](javascript:x) [b](tg://user?id=1) [c](/d) <e@f.ru>",
	    "a (javascript:x) b (tg://user?id=1) c (/d) e@f.ru");
	becomes("[&nbsp;](/a/b)", "\u00a0/a/b");
	becomes("[a](http://) [b](https:///c) [d](<http://x y>)",
	    "a (http://) b (https:///c) d (http://x y)");
	becomes("[](mailto:a@b.ru) [a](mailto:a@b.ru) [+7](tel:+7)",
	    "mailto:a@b.ru a (a@b.ru) +7");
	becomes("[a](http://x)[b](http://y)",
	    "<a href=\"http://x\">a</a><a href=\"http://y\">b</a>");
	becomes("[a **b**](http://x) **[c](http://y)**",
	    "<a href=\"http://x\">a <b>b</b></a> "
	    "<a href=\"http://y\"><b>c</b></a>");
}

static void
a_target_that_is_too_long_is_text(void **state)
{
	char markdown[4096], html[4096];
	int n;

	(void)state;
	n = snprintf(markdown, sizeof(markdown), "[a](http://%03000d)", 7);
	assert_true(n < (int)sizeof(markdown));
	snprintf(html, sizeof(html), "a (http://%03000d)", 7);
	becomes(markdown, html);
}

/* A target with more than 32 nested parentheses is none. */
static void
a_target_of_many_parentheses_is_text(void **state)
{
	char markdown[128], open[34];

	(void)state;
	memset(open, '(', sizeof(open));
	snprintf(markdown, sizeof(markdown), ") [a](http://x/%.*s) b",
	    (int)sizeof(open), open);
	becomes(markdown, markdown);
}

static void
images_are_links(void **state)
{
	(void)state;
	becomes("![a](https://x.ru/1.png)",
	    "<a href=\"https://x.ru/1.png\">a</a>");
	becomes("![](https://x.ru/1.png) ![b](c.png) ![](d.png)",
	    "<a href=\"https://x.ru/1.png\">https://x.ru/1.png</a> b (c.png) "
	    "d.png");
	becomes("[![a](http://x)](http://y)",
	    "<a href=\"http://y\">a (http://x)</a>");
}

static void
entities_become_the_characters_that_they_stand_for(void **state)
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
figures_and_formulas_are_shown_unchanged(void **state)
{
	(void)state;
	stays("Упаковка 0,3~8 мм, логистика 40~60 ₽");
	stays("~100 ₽ и ~200 ₽, 5~~8 и 4~~9");
	stays("Прибыль = 1000*0.85*30 за месяц");
	stays("snake_case_name 2*3*4 a*b*c (a+b)*(c-d)*2");
	stays("2**3**4, x**2 + y**2, f(**kw), 2 *3 и 4* 5, 5 * 3 * 2");
	stays("_id_1_, __init__ и /_next_/, 100 ₽* и 200 ₽*");
	stays("C:\\temp\\new, \\\\server, 10\\%, \\d+");
	stays("\\[ ROI = \\frac{10\\%}{x\\_1} \\]");
	stays("\\( x_1 * y_1 = 2 \\) и $$ a_1 * b_1 $$");
	becomes("\\(скобки\\) и \\[1\\]", "(скобки) и [1]");
	becomes("> 5 заказов\n\n>= 7 дней", "&gt; 5 заказов\n\n&gt;= 7 дней");
	stays("+ 15 % к выкупам");
	stays("01. первый\n007. второй");
	stays("в\n2024. Потом");
	stays("a[1](2+x) и 5`6`7");
	becomes("<9@w> <a@b>", "&lt;9@w&gt; &lt;a@b&gt;");
	becomes("[1](http://x)2 **3**.5",
	    "<a href=\"http://x\">1</a> 2 "
	    "<b>3</b>.5");
	stays("https://x.ru/a_b_/c*d*e~~f?x_=1");
	becomes("**https://x.ru/_a_**", "<b>https://x.ru/_a_</b>");
	becomes("2. Да\n5. Нет\n7. Через", "2. Да\n5. Нет\n7. Через");
}

/* A quotation contains a line that cannot be a comparison. */
static void
comparisons_keep_their_signs(void **state)
{
	(void)state;
	becomes("> 5 штук\n>= 7", "&gt; 5 штук\n&gt;= 7");
	becomes("> Совет\n>= 5 шт. — норма",
	    "<blockquote>Совет</blockquote>\n\n&gt;= 5 шт. — норма");
	becomes("> 5 шт. в день\n> 10 шт. в неделю",
	    "&gt; 5 шт. в день\n&gt; 10 шт. в неделю");
	becomes(">=5\r\n>10\n>  2\n\n> = 3",
	    "&gt;=5\n&gt;10\n&gt;  2\n\n&gt; = 3");
	becomes("> > Да\n> > 5\n\n> Да\n> > 5\n> > 7",
	    "<blockquote>Да\n5</blockquote>\n\n"
	    "<blockquote>Да\n&gt; 5\n&gt; 7</blockquote>");
	becomes("> 3 товара кончились\n> 2 скоро кончатся\n> Закажите",
	    "<blockquote>3 товара кончились\n2 скоро кончатся\n"
	    "Закажите</blockquote>");
	becomes("> 5 штук\n> 1. Да",
	    "<blockquote>5 штук\n\n1. Да</blockquote>");
	becomes(">Итоги\n>=====\n>Да",
	    "<blockquote><b>Итоги</b>\nДа</blockquote>");
	becomes("- > 5 штук\n- > 7 штук", "• &gt; 5 штук\n• &gt; 7 штук");
}

static void
no_visible_text_is_lost(void **state)
{
	(void)state;
	becomes("Источники.\n\n[1]: https://x.ru/a\n[2]: <https://y.ru>",
	    "Источники.\n\n[1]: https://x.ru/a\n"
	    "[2]: <a href=\"https://y.ru\">https://y.ru</a>");
	becomes("*Смотрите [тут](https://wb.ru/x*y)",
	    "*Смотрите <a href=\"https://wb.ru/x*y\">тут</a>");
	stays("**![](b**c)");
	stays("~~![](b~~c)");
	becomes("*a [b* c](http://x)", "*a <a href=\"http://x\">b* c</a>");
	becomes("```markdown\n# План\n**Шаг 1**: цена\n```\nИ ещё",
	    "<b>План</b>\n<b>Шаг 1</b>: цена\n\nИ ещё");
	becomes("```md\n```python\nx\n```\n**a**\n```",
	    "<pre><code class=\"language-python\">x</code></pre>\n\n<b>a</b>");
	becomes("1. >\n\nb", "1. \n\nb");
	becomes("a<br>b<BR />c", "a\nb\nc");
	becomes("a[]( \"t\")", "a[]( \"t\")");
}

static void
markup_that_would_show_nothing_is_shown_as_written(void **state)
{
	(void)state;
	stays("[a]: http://x.ru \"t\"");
	stays("```\n```");
	stays("#");
	stays("-");
	becomes("&nbsp;", "&amp;nbsp;");
	becomes("\\\n", "\\");
}

/*
 * Each text takes a careless parser time that grows with its square, or worse.
 */
static void
no_text_takes_long_to_format(void **state)
{
	static const char *const starts[] = { "", "|x|y\n|---|---\n", "```\n",
		"- ", "[a]: b\n" };
	static const char *const again[] = { "*", "[", "![", "`", "<", "> ",
		"- ", "[a](", "*a_ ", "|", "&", "1. ", "a\n", "\\", "]", "~",
		"[a]: u\n", "```\n", "a|", "(", "**a *b ", "  - a\n", "\t>",
		"> 5\n", ">= 5\n> 5\n", "> > 5\n> 5\n" };
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
	/* It takes half a second on the machine of its author. */
	assert_true((clock() - begun) / CLOCKS_PER_SEC < 60);
	free(text);
}

/*
 * The shortest of three times, in seconds, for a text that repeats this piece.
 */
static double
time_of(const char *again)
{
	size_t n = AIC_TELEGRAM_MARKDOWN_MAX, len = strlen(again), i;
	double least = 1000, took;
	struct aic_buf to;
	clock_t begun;
	char *text = malloc(n);
	int round;

	assert_non_null(text);
	for (i = 0; i < n; i++)
		text[i] = again[i % len];
	for (round = 0; round < 3; round++) {
		aic_buf_init(&to, 64 * 1024 * 1024);
		begun = clock();
		assert_int_equal(aic_telegram_html(text, n, &to), AIC_OK);
		took = (double)(clock() - begun) / CLOCKS_PER_SEC;
		least = took < least ? took : least;
		aic_buf_done(&to);
	}
	free(text);
	return least;
}

static void
a_text_of_many_addresses_takes_no_longer_than_one_with_few(void **state)
{
	(void)state;
	/*
	 * A thousand times as long if each address is scanned to the end of the
	 * text.
	 */
	assert_true(time_of("http://") < 20 * time_of("http:// ") + 0.01);
	assert_true(time_of("hhttps://x") < 20 * time_of("http:// ") + 0.01);
}

static void
a_text_that_is_too_long_to_parse_is_shown_as_written(void **state)
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

static void
without_room_in_the_buffer_it_fails(void **state)
{
	struct aic_buf to;

	(void)state;
	aic_buf_init(&to, 16);
	assert_int_equal(aic_telegram_html(LIT("**a** b c d e f g h i j"), &to),
	    AIC_ENOMEM);
	aic_buf_done(&to);
}

/* --- the checker itself ------------------------------------------------- */

static void
the_checker_refuses_what_telegram_refuses(void **state)
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
		if (!message_wrong(bad[i], strlen(bad[i]), true, NULL, &shown,
			NULL))
			fail_msg("taken: %s", bad[i]);
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		if (message_wrong(good[i], strlen(good[i]), true, NULL, &shown,
			NULL))
			fail_msg("refused: %s", good[i]);
	aic_buf_done(&shown);
}

static void
the_checker_counts_as_telegram_does(void **state)
{
	static const struct message_limits three = { 3, 100, 2, 20 };
	struct aic_buf shown;

	(void)state;
	aic_buf_init(&shown, 4096);
	assert_null(message_wrong(LIT("<b>😀</b>&lt;"), true, &three, &shown,
	    NULL));
	assert_string_equal(shown.data, "😀<");
	assert_non_null(message_wrong(LIT("😀😀"), true, &three, &shown, NULL));
	assert_non_null(message_wrong(LIT("абвг"), false, &three, &shown,
	    NULL));
	assert_non_null(message_wrong(LIT("&lt;"), false, &three, &shown,
	    NULL));
	assert_non_null(message_wrong(LIT("<b>a</b><i>b</i><s>c</s>"), true,
	    &three, &shown, NULL));
	assert_null(message_wrong(
	    LIT("<pre><code class=\"language-c\">a</code></pre><s>c</s>"), true,
	    &three, &shown, NULL));
	assert_non_null(
	    message_wrong(LIT("<a href=\"http://xxxxxxxxxxxxxx\">a</a>"), true,
		&three, &shown, NULL));
	aic_buf_done(&shown);
}

static bool
loses(const char *markdown, const char *shown)
{
	struct aic_buf told;
	bool lost;

	aic_buf_init(&told, 4096);
	aic_buf_puts(&told, shown);
	lost = message_lost(markdown, strlen(markdown), &told) != NULL;
	aic_buf_done(&told);
	return lost;
}

static void
the_checker_detects_lost_text(void **state)
{
	(void)state;
	assert_false(loses("**a** [b](http://c)", "a b\nhttp://c\n"));
	assert_true(loses("**a** [b](http://c)", "a b"));
	assert_true(loses("a b", "b a"));
	assert_true(loses("1000*0.85*30", "1000*0.8530"));
	assert_true(loses("0,3~8 мм", "0,38 мм"));
	assert_true(loses("[1](http://x)2", "12 http://x"));
	assert_true(loses("2. a\n5. b", "2. a\n3. b"));
	assert_true(loses("C:\\temp", "C:temp"));
	assert_true(loses("📦 5", "5"));
	assert_false(loses("- [x] a<br>b", "☑ a\nb"));
	assert_false(loses("```python\nx\n```", "x"));
}

/* --- random text -------------------------------------------------------- */

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

/* xorshift: one seed gives the same rounds on any machine. */
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
telegram_accepts_the_formatted_form_of_any_text(void **state)
{
	uint64_t seed = (uint64_t)time(NULL) | 1, first = seed;
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
		if (!wrong)
			wrong = rich_check_answer(text, len, &at);
		if (wrong)
			print_error("# %s: %s\n# of: %.*s\n", wrong, at,
			    (int)len, text);
		free(at);
		assert_null(wrong);
	}
}

UNIT_MAIN(T(plain_text_is_only_escaped), T(emphasis_becomes_tags),
    T(code_is_inside_no_other_tag_except_a_quotation), T(fences_become_pre),
    T(headings_are_bold_lines), T(paragraphs_and_line_breaks_are_kept),
    T(lists_become_lines), T(quotations_are_not_nested), T(tables_become_lines),
    T(links_lead_to_the_web), T(a_target_that_is_too_long_is_text),
    T(a_target_of_many_parentheses_is_text), T(images_are_links),
    T(entities_become_the_characters_that_they_stand_for),
    T(figures_and_formulas_are_shown_unchanged),
    T(comparisons_keep_their_signs), T(no_visible_text_is_lost),
    T(markup_that_would_show_nothing_is_shown_as_written),
    T(no_text_takes_long_to_format),
    T(a_text_of_many_addresses_takes_no_longer_than_one_with_few),
    T(a_text_that_is_too_long_to_parse_is_shown_as_written),
    T(without_room_in_the_buffer_it_fails),
    T(the_checker_refuses_what_telegram_refuses),
    T(the_checker_counts_as_telegram_does), T(the_checker_detects_lost_text),
    T(telegram_accepts_the_formatted_form_of_any_text))
