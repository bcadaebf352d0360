/*
 * Sends random Markdown, as models write it, through the formatters and checks
 * the result.
 *
 *   markdown.t [DOCUMENTS [RICH [SEED]]]
 *
 * checks DOCUMENTS as ordinary messages and RICH as rich messages. The checks
 * are those of message.h and rich.h: Telegram accepts every part, and no
 * visible character is lost. In addition, the figures, formulas and names that
 * the generator wrote must be shown unchanged and in order. One document in
 * four is damaged after it was written, and one in eight is nothing but markup;
 * in these the figures are not checked, because the markup around them may
 * include them.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "message.h"
#include "rich.h"
#include "lib/telegram.h"

#define DOCUMENTS 3000
#define TEXT_MAX ((size_t)256 * 1024)
#define DEPTH_MAX 4

#define N(a) (sizeof(a) / sizeof((a)[0]))

struct doc {
	uint64_t seed;
	struct aic_buf text;
	struct aic_buf figures; /* each after its length, a size_t */
	int indent;
	bool quoted;
	bool fenced; /* the whole document, and a bare fence would end it */
	bool cell; /* inside a cell */
	bool bold, italic, struck, linked; /* around the current text */
};

/* xorshift: one seed gives the same documents on any machine. */
static size_t
draw(struct doc *d, size_t n)
{
	d->seed ^= d->seed << 13;
	d->seed ^= d->seed >> 7;
	d->seed ^= d->seed << 17;
	return (size_t)(d->seed % n);
}

static bool
one_in(struct doc *d, size_t n)
{
	return draw(d, n) == 0;
}

static void
put(struct doc *d, const char *s)
{
	aic_buf_puts(&d->text, s);
}

static int
number(struct doc *d)
{
	static const size_t most[] = { 10, 100, 1000, 10000, 2000000 };

	return (int)draw(d, most[draw(d, N(most))]);
}

/* Texts that must be shown unchanged. */
static void
put_figure(struct doc *d, const char *s)
{
	size_t len = strlen(s);

	put(d, s);
	aic_buf_put(&d->figures, &len, sizeof(len));
	aic_buf_put(&d->figures, s, len);
}

/* --- within a line ------------------------------------------------------ */

static const char *const words[] = { "продажи", "Комиссия", "остаток", "на",
	"складе", "Коледино", "карточка", "товара", "выкуп", "отзывы,",
	"рейтинг", "и", "не", "за", "неделю", "Wildberries", "SEO",
	"логистика.", "Цена", "СПП", "снизить", "цену", "конкуренты", "кол-во",
	"руб./шт.", "т.\u00a0е.", "«Платье", "летнее»", "„вложенные“",
	"“кавычки”", "—", "(скобки)", "вопрос?", "да!", "и/или", "A/B-тест",
	"e-mail", "№", "ёж", "📦", "⭐️", "👍🏽", "👨‍👩‍👧",
	"🇷🇺", "1️⃣", "✅", "→", "•", "café", "Zoë", "$", "%", "#тег",
	"@seller", "C#", "AT&T", "R&D", "a<b", "x>y", "\"да\"", "'нет'", "&",
	"<b>", "</i>", "&nbsp;", "&lt;" };

/* A sign on its own serves as a word. */
static const char *const signs[] = { "*", "**", "_", "~", "~~", "\\", "|", "<",
	">", "[", "]", "(", ")", "!", "`", "+", "-", "=", "#", "^", "$", "…" };

static void
make_figure(struct doc *d, char *to, size_t size)
{
	int a = number(d), b = number(d), c = number(d);

	switch (draw(d, 36)) {
	case 0:
		snprintf(to, size, "%d*0.%02d*%d", a, b % 100, c);
		break;
	case 1:
		snprintf(to, size, "%d,%d~%d,%d", a, b % 10, a, c % 10);
		break;
	case 2:
		snprintf(to, size, "%d %03d,%02d ₽", a, b % 1000, c % 100);
		break;
	case 3:
		snprintf(to, size, "~%d ₽", a);
		break;
	case 4:
		snprintf(to, size, "(%d+x)*(%d-y)*%d", a, b, c);
		break;
	case 5:
		snprintf(to, size, "цена*кол-во*(1-скидка)");
		break;
	case 6:
		snprintf(to, size, "%d**%d**%d", a, b, c);
		break;
	case 7:
		snprintf(to, size, "x**2 + y**2");
		break;
	case 8:
		snprintf(to, size, "%d * %d * %d", a, b, c);
		break;
	case 9:
		snprintf(to, size, "nm_id_%d", a);
		break;
	case 10:
		snprintf(to, size, "__init__");
		break;
	case 11:
		snprintf(to, size, "10\\%% от %d", a);
		break;
	case 12:
		snprintf(to, size, "C:\\temp\\new_%d", a);
		break;
	case 13:
		snprintf(to, size, "%d×%d=%d", a, b, c);
		break;
	case 14:
		snprintf(to, size, "%d_%d_%d", a, b, c);
		break;
	case 15:
		snprintf(to, size, "\\( ROI = \\frac{%d}{x_%d * 2} \\)", a, b);
		break;
	case 16:
		snprintf(to, size, "-%d %%", a);
		break;
	case 17:
		snprintf(to, size, "<%d", a);
		break;
	case 18:
		snprintf(to, size, "%d–%d мм", a, b);
		break;
	case 19:
		snprintf(to, size, "$%d–$%d", a, b);
		break;
	case 20:
		snprintf(to, size, "[%d]", a);
		break;
	case 21:
		snprintf(to, size, "%02d.%02d.2026", 1 + b % 28, 1 + c % 12);
		break;
	case 22:
		snprintf(to, size, "%d/%d", a, b);
		break;
	case 23:
		snprintf(to, size, "https://wb.ru/a_%d_/b*c*d~~%d?x_=%d", a, b,
		    c);
		break;
	case 24:
		snprintf(to, size, "%d:%02d", a % 24, b % 60);
		break;
	case 25:
		snprintf(to, size, "a[%d](%d+%d)", a, b, c);
		break;
	case 26:
		snprintf(to, size, "%d^%d", a, b);
		break;
	case 27:
		snprintf(to, size, "≈%d%%", a);
		break;
	case 28:
		snprintf(to, size, "2 *%d и 4* %d", a, b);
		break;
	case 29:
		snprintf(to, size, "f(**kw%d)", a);
		break;
	case 30:
		snprintf(to, size, "$$ %d = x_1 * y_1 $$", a);
		break;
	case 31:
		snprintf(to, size, "5%d`%d`%d", a, b, c);
		break;
	case 32:
		snprintf(to, size, "%d~~%d~~%d", a, b, c);
		break;
	case 33:
		snprintf(to, size, "%d|%d", a, b);
		break;
	default:
		snprintf(to, size, "%d", a);
	}
}

/* Replaces the %d of the template by a number. */
static void
fill(struct doc *d, const char *template, char *to, size_t size)
{
	const char *at = strstr(template, "%d");

	if (!at)
		snprintf(to, size, "%s", template);
	else
		snprintf(to, size, "%.*s%d%s", (int)(at - template), template,
		    number(d), at + 2);
}

static void write_text(struct doc *d, size_t n, int depth);

static void
put_code(struct doc *d)
{
	static const char *const codes[] = { "nm_id", "a * b * %d", "**kw",
		"<b>&amp;", "x = \"%d\"", "1 < 2 && 3", "[a](b)", "\\d+",
		"~%d~", "GET /api/v%d", "_%d_" };
	char s[128], tick[8] = "`";

	fill(d, codes[draw(d, N(codes))], s, sizeof(s));
	if (one_in(d, 8) && !d->cell) {
		snprintf(s, sizeof(s), "a`%d", number(d));
		strcpy(tick, "``");
	}
	put(d, tick);
	put_figure(d, s);
	put(d, tick);
}

static void
put_link(struct doc *d, int depth)
{
	static const char *const targets[] = { "https://wb.ru/c?a=1&b=%d",
		"http://x.ru/a_b*c*%d", "mailto:help%d@wb.ru", "tel:+7800%d",
		"tg://resolve?domain=x%d", "/catalog/%d", "#p%d",
		"https://ru.wikipedia.org/wiki/A_(%d)", "javascript:%d",
		"<https://x.ru/a b%d>" };
	char s[128];

	fill(d, targets[draw(d, N(targets))], s, sizeof(s));
	put(d, one_in(d, 6) ? "![" : "[");
	d->linked = true;
	if (!one_in(d, 12))
		write_text(d, 1 + draw(d, 3), depth + 1);
	d->linked = false;
	put(d, "](");
	put(d, s);
	if (one_in(d, 6))
		put(d, " \"Заголовок ссылки\"");
	put(d, ")");
}

/* Text inside a mark, unless the same mark is open already. */
static void
put_marked(struct doc *d, bool *inside, const char *mark, int depth)
{
	char figure[16];

	fill(d, "%d", figure, sizeof(figure));
	*inside = true;
	put(d, mark);
	if (one_in(d, 3))
		put_figure(d, figure);
	else
		put(d, words[draw(d, 30)]);
	put(d, " ");
	write_text(d, draw(d, 4), depth + 1);
	put(d, one_in(d, 6) ? "итог:" : "итог");
	put(d, mark);
	*inside = false;
}

static void
put_piece(struct doc *d, int depth)
{
	char s[128];
	size_t kind = draw(d, depth < DEPTH_MAX ? 26 : 18);

	if (kind < 11) {
		put(d, words[draw(d, N(words))]);
	} else if (kind < 17) {
		do
			make_figure(d, s, sizeof(s));
		while ((d->cell && strpbrk(s, "|`")) ||
		    (d->linked && strpbrk(s, "[:")) ||
		    (d->struck && strstr(s, "~~")) ||
		    (d->italic && strstr(s, "4* ")));
		put_figure(d, s);
	} else if (kind < 19) {
		put_code(d);
	} else if (kind < 21 && !d->linked) {
		put_link(d, depth);
	} else if (kind < 23 && !d->bold) {
		put_marked(d, &d->bold, "**", depth);
	} else if (kind == 23 && !d->italic) {
		put_marked(d, &d->italic, one_in(d, 2) ? "*" : "_", depth);
	} else if (kind == 24 && !d->struck) {
		put_marked(d, &d->struck, "~~", depth);
	} else if (!d->linked) {
		put(d, one_in(d, 2) ? "<https://x.ru/a_b>" : "<a@b.ru>");
	} else {
		put(d, "слово");
	}
}

static void
write_text(struct doc *d, size_t n, int depth)
{
	while (n-- > 0) {
		put_piece(d, depth);
		if (d->cell && one_in(d, 20))
			put(d, "<br>");
		put(d, " ");
	}
}

/* --- lines -------------------------------------------------------------- */

static void
begin_line(struct doc *d)
{
	int i;

	if (d->text.len > 0)
		put(d, "\n");
	if (d->quoted)
		put(d, "> ");
	for (i = 0; i < d->indent; i++)
		put(d, " ");
}

static void
blank_line(struct doc *d)
{
	if (!one_in(d, 8))
		begin_line(d);
}

/* The line begins with a word, so that it is nothing but text. */
static void
write_line(struct doc *d, size_t n)
{
	put(d, words[draw(d, 20)]);
	put(d, " ");
	write_text(d, n, 0);
}

static void
write_paragraph(struct doc *d)
{
	size_t n = 1 + draw(d, 3);

	while (n-- > 0) {
		begin_line(d);
		write_line(d, draw(d, 12));
		if (one_in(d, 10))
			put(d, one_in(d, 2) ? "  " : "<br>");
	}
}

static void
write_heading(struct doc *d)
{
	static const char *const marks[] = { "# ", "## ", "### ", "#### ",
		"###### " };

	begin_line(d);
	put(d, marks[draw(d, N(marks))]);
	if (one_in(d, 3))
		put(d, "📊 ");
	write_line(d, draw(d, 4));
	if (one_in(d, 10))
		put(d, " ##");
}

static void
write_code(struct doc *d)
{
	static const char *const langs[] = { "", "python", "json", "c++", "sql",
		"bash title=a" };
	static const char *const lines[] = { "x = %d * 2 ** 3", "  # Итого: %d",
		"if a < %d && b > 1:", "    return \"%d\"",
		"| %d | не таблица |", "- %d не список", "<b>%d</b> &amp;",
		"**%d**", "\\frac{%d}{2}", "[%d](x)", "> %d", "_%d_" };
	size_t n = draw(d, 6);
	char s[128];

	begin_line(d);
	put(d, "```");
	put(d, langs[d->fenced + draw(d, N(langs) - d->fenced)]);
	while (n-- > 0) {
		begin_line(d);
		fill(d, lines[draw(d, N(lines))], s, sizeof(s));
		put_figure(d, s);
	}
	begin_line(d);
	put(d, "```");
}

static void
write_table(struct doc *d)
{
	size_t columns = 2 + draw(d, one_in(d, 20) ? 30 : 4), rows = draw(d, 8);
	size_t i, j, n;

	if (one_in(d, 3)) {
		begin_line(d);
		write_line(d, draw(d, 4));
	}
	d->cell = true;
	for (i = 0; i < rows + 2; i++) {
		begin_line(d);
		n = columns;
		if (i > 1 && one_in(d, 6))
			n = 1 + draw(d, columns + 2);
		put(d, "|");
		for (j = 0; j < n; j++) {
			if (i == 1) {
				put(d, one_in(d, 3) ? ":---:|" : "---|");
				continue;
			}
			put(d, " ");
			if (!one_in(d, 12))
				write_text(d, 1 + draw(d, 2), 2);
			put(d, "|");
		}
	}
	d->cell = false;
}

static void write_blocks(struct doc *d, size_t n, int depth);

static void
write_list(struct doc *d, int depth)
{
	static const char *const bullets[] = { "- ", "* ", "+ " };
	const char *bullet = bullets[draw(d, N(bullets))];
	bool ordered = one_in(d, 2), loose = one_in(d, 4), task = one_in(d, 8);
	int indent = d->indent, value = (int)draw(d, one_in(d, 4) ? 90 : 3);
	size_t n = 1 + draw(d, 5);
	char s[32];

	while (n-- > 0) {
		d->indent = indent;
		if (loose)
			blank_line(d);
		begin_line(d);
		if (ordered) {
			snprintf(s, sizeof(s), "%d.", value);
			put_figure(d, s);
			put(d, " ");
			value += 1 + (int)draw(d, one_in(d, 3) ? 5 : 1);
		} else {
			put(d, bullet);
			if (task)
				put(d, one_in(d, 2) ? "[ ] " : "[x] ");
		}
		write_line(d, draw(d, 8));
		d->indent = indent + (ordered ? 3 : 2) + (int)draw(d, 2);
		if (depth < DEPTH_MAX && one_in(d, 4))
			write_list(d, depth + 1);
		else if (depth < 2 && one_in(d, 10))
			write_blocks(d, 1, depth + 1);
	}
	d->indent = indent;
}

static void
write_sources(struct doc *d)
{
	size_t n = 1 + draw(d, 4), i;
	char s[64];

	for (i = 1; i <= n; i++) {
		begin_line(d);
		snprintf(s, sizeof(s), "[%zu]: https://wb.ru/help/%d", i,
		    number(d));
		put_figure(d, s);
	}
}

static void
write_quote(struct doc *d, int depth)
{
	bool quoted = d->quoted;

	d->quoted = true;
	begin_line(d);
	write_line(d, draw(d, 6));
	if (depth < 2 && one_in(d, 3))
		write_blocks(d, 1, depth + 1);
	d->quoted = quoted;
	begin_line(d);
}

static void
write_signs(struct doc *d)
{
	size_t n = 1 + draw(d, 30);

	begin_line(d);
	put(d, "Знаки ");
	while (n-- > 0) {
		put(d,
		    one_in(d, 3) ? words[draw(d, N(words))]
				 : signs[draw(d, N(signs))]);
		if (one_in(d, 3))
			put(d, " ");
	}
}

static void
write_blocks(struct doc *d, size_t n, int depth)
{
	while (n-- > 0) {
		if (d->text.len > 0)
			begin_line(d);
		switch (draw(d, 16)) {
		case 0:
		case 1:
			write_heading(d);
			break;
		case 2:
		case 3:
		case 4:
			write_list(d, depth);
			break;
		case 5:
			write_code(d);
			break;
		case 6:
		case 7:
			write_table(d);
			break;
		case 8:
			if (!d->quoted)
				write_quote(d, depth);
			break;
		case 9:
			begin_line(d);
			put(d, one_in(d, 2) ? "---" : "***");
			break;
		case 10:
			write_sources(d);
			break;
		default:
			write_paragraph(d);
		}
		blank_line(d);
	}
}

/* --- documents ---------------------------------------------------------- */

/* Drops, doubles or replaces some characters. */
static void
damage(struct doc *d)
{
	struct aic_buf from = d->text;
	size_t i, len, odds = 4 + draw(d, 60);

	aic_buf_init(&d->text, TEXT_MAX);
	for (i = 0; i < from.len; i += len) {
		for (len = 1; i + len < from.len &&
		     ((unsigned char)from.data[i + len] & 0xc0) == 0x80;)
			len++;
		if (!one_in(d, odds)) {
			aic_buf_put(&d->text, from.data + i, len);
			continue;
		}
		switch (draw(d, 4)) {
		case 0:
			break;
		case 1:
			put(d, "\n");
			break;
		default:
			put(d, signs[draw(d, N(signs))]);
		}
	}
	aic_buf_done(&from);
}

/* True: the document has its figures as they were written. */
static bool
write_document(struct doc *d)
{
	size_t i, n, kind = draw(d, 8);

	d->indent = 0;
	d->quoted = d->bold = d->italic = d->struck = d->linked = d->cell =
	    false;
	aic_buf_clear(&d->text);
	aic_buf_clear(&d->figures);
	if (kind == 0) {
		n = 1 + draw(d, 4);
		for (i = 0; i < n; i++)
			write_signs(d);
		return false;
	}
	d->fenced = one_in(d, 30);
	if (d->fenced)
		put(d, "```markdown");
	write_blocks(d, 1 + draw(d, one_in(d, 20) ? 60 : 8), 0);
	if (kind < 3)
		damage(d);
	return kind >= 3;
}

/* --- checking the result ------------------------------------------------ */

/* The first figure that is not shown after those before it. */
static const char *
find_figures(const struct doc *d, const struct aic_buf *shown)
{
	static char figure[256];
	const char *at = shown->data, *end = at + shown->len;
	size_t i, len;

	for (i = 0; i < d->figures.len; i += len) {
		memcpy(&len, d->figures.data + i, sizeof(len));
		i += sizeof(len);
		at = at
		    ? memmem(at, (size_t)(end - at), d->figures.data + i, len)
		    : NULL;
		if (!at) {
			snprintf(figure, sizeof(figure), "%.*s", (int)len,
			    d->figures.data + i);
			return figure;
		}
		at += len;
	}
	return NULL;
}

static const char *
check_figures(const struct doc *d, bool rich, char **ret_at)
{
	const char *s = d->text.data, *wrong = NULL, *figure;
	struct aic_buf html, shown;

	aic_buf_init(&html, 64 * TEXT_MAX);
	aic_buf_init(&shown, 64 * TEXT_MAX);
	if (rich ? aic_telegram_rich(s, d->text.len, &html) ||
		    rich_wrong(html.data, html.len, NULL, &shown, NULL)
		 : aic_telegram_html(s, d->text.len, &html) ||
		    message_wrong(html.data, html.len, true, NULL, &shown,
			NULL))
		wrong = "no message";
	figure = wrong ? NULL : find_figures(d, &shown);
	if (figure) {
		wrong = "a figure that is not shown as it is";
		*ret_at = strdup(figure);
	}
	aic_buf_done(&html);
	aic_buf_done(&shown);
	return wrong;
}

static bool
check_document(const struct doc *d, bool exact, bool rich)
{
	const char *wrong;
	char *at = NULL;

	if (message_is_empty(d->text.data, d->text.len))
		return true;
	wrong = (rich ? rich_check_answer : message_check_answer)(d->text.data,
	    d->text.len, &at);
	if (!wrong && exact)
		wrong = check_figures(d, rich, &at);
	if (wrong)
		printf("# %s: %s\n# in:\n%.*s\n", wrong, at ? at : "",
		    (int)d->text.len, d->text.data);
	free(at);
	return !wrong;
}

static bool
run(uint64_t seed, long n, bool rich)
{
	struct doc d = { .seed = seed };
	bool ok = true;
	long i;

	aic_buf_init(&d.text, TEXT_MAX);
	aic_buf_init(&d.figures, 16 * TEXT_MAX);
	for (i = 0; i < n && ok; i++)
		ok = check_document(&d, write_document(&d), rich);
	printf("%sok %d - what models write is shown in %s that Telegram "
	       "takes, and all of it\n# %ld documents\n",
	    ok ? "" : "not ", 1 + rich, rich ? "rich messages" : "messages", i);
	fflush(stdout);
	aic_buf_done(&d.text);
	aic_buf_done(&d.figures);
	return ok;
}

int
main(int argc, char **argv)
{
	const char *given = argc > 3 ? argv[3] : getenv("AIC_SEED");
	long n = argc > 1 ? strtol(argv[1], NULL, 10) : DOCUMENTS;
	long rich = argc > 2 ? strtol(argv[2], NULL, 10) : DOCUMENTS;
	uint64_t seed = (uint64_t)time(NULL) * 2654435761;
	bool ok;

	if (given)
		seed = strtoull(given, NULL, 10);
	printf("1..2\n# AIC_SEED=%" PRIu64 "\n", seed);
	fflush(stdout);
	ok = run(seed | 1, n, false);
	ok = run(seed | 1, rich, true) && ok;
	return ok ? 0 : 1;
}
