#include "config.h"

#include "telegram.h"

#include <ctype.h>
#include <md4c.h>
#include <string.h>
#include <strings.h>

#include "utf8.h"

/* A longer one, escaped, stays text: two of them and a message's worth of text must
 * fit into one message. */
#define HREF_MAX 2048

/* The longest names of languages have a dozen. */
#define LANGUAGE_MAX 32

/* Deeper ones are no list that anybody reads; they get bullets and no more indent. */
#define LISTS_MAX 16
#define INDENT_MAX 8

/* Bullets of lists that begin within each other, or the bars of empty cells. */
#define PREFIX_MAX 96

/* Of the parser, for each byte of Markdown: a table of empty cells alone has more. */
#define CALLS_MAX 16
#define CALLS_SPARE 1024

/* The same of HTML: one long target has links from everywhere. */
#define GROWTH_MAX 16
#define GROWTH_SPARE 8192

/* What ends the parser. */
#define NO_MEMORY (-1)
#define TOO_COSTLY 1

const char *const aic_format_names[AIC_FORMAT__MAX + 1] = {
	[AIC_FORMAT_PLAIN] = "plain",
	[AIC_FORMAT_HTML] = "telegram-html",
};

/* From the outside to the inside, where several begin at once. */
enum tag { QUOTE, LINK, BOLD, ITALIC, STRIKE, CODE, PRE, TAG__MAX };

static const char *const tags[TAG__MAX] = { "blockquote", "a", "b", "i", "s",
	"code", "pre" };

struct list {
	bool ordered, tight;
	unsigned next;
	char mark; /* behind the number */
};

/*
 * Tags are opened when there is something to show in them, and line breaks written
 * when something comes behind them: so there is no empty tag, and no blank line at
 * the end.
 */
struct page {
	struct aic_buf *to;
	size_t calls; /* that the parser has left */
	size_t len_max; /* of what is written */
	int wanted[TAG__MAX]; /* how often: Markdown nests what we do not */
	enum tag open[TAG__MAX];
	int n_open;

	bool begun; /* something is written */
	bool seen; /* ... and it shows */
	int gap; /* line breaks before what comes */
	bool headed; /* what comes stands under a heading */
	char prefix[PREFIX_MAX]; /* bullets, bars */
	size_t prefix_len;
	size_t outer_len; /* of it, before the quotation that begins */
	int bullets; /* in it */

	struct list lists[LISTS_MAX];
	int n_lists; /* may be more */
	int quoted_lists; /* of these, those around the quotation */
	int cells; /* of this row */

	int links; /* within each other; the outermost counts */
	struct aic_buf href; /* its target, decoded */
	bool link_seen; /* it has some text */
	char language[LANGUAGE_MAX + 1]; /* of the code; "": none */
	bool code_begun;
};

/* --- characters -------------------------------------------------------- */

enum aic_telegram_kind
aic_telegram_kind(uint32_t cp)
{
	if (cp < 0x80)
		return cp <= ' ' ? AIC_TELEGRAM_SPACE : AIC_TELEGRAM_SEEN;
	if (cp == 0x85 || cp == 0xa0 || cp == 0x1680 || cp == 0x180e ||
	    (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 ||
	    cp == 0x202f || cp == 0x205f || cp == 0x2800 || cp == 0x3000 ||
	    cp == 0xfffc)
		return AIC_TELEGRAM_SPACE;
	if ((cp >= 0x200b && cp <= 0x200f) || (cp >= 0x202a && cp <= 0x202e) ||
	    cp == 0x2060 || cp == 0xfeff || cp == 0x30a || cp == 0x333 ||
	    cp == 0x33f || (cp >= 0xe0000 && cp <= 0xe007f))
		return AIC_TELEGRAM_HIDDEN;
	return AIC_TELEGRAM_SEEN;
}

static bool
is_seen(const char *s, size_t n)
{
	uint32_t cp = 0;
	size_t len;

	for (; n > 0; s += len, n -= len) {
		len = aic_utf8_next(s, n, &cp);
		if (len == 0 || aic_telegram_kind(cp) == AIC_TELEGRAM_SEEN)
			return true;
	}
	return false;
}

static void
put_escaped(struct aic_buf *to, const char *s, size_t n, bool quotes)
{
	size_t i, from = 0;
	const char *as;

	for (i = 0; i < n; i++) {
		switch (s[i]) {
		case '&':
			as = "&amp;";
			break;
		case '<':
			as = "&lt;";
			break;
		case '>':
			as = "&gt;";
			break;
		case '"':
			as = quotes ? "&quot;" : NULL;
			break;
		default:
			as = NULL;
		}
		if (!as)
			continue;
		aic_buf_put(to, s + from, i - from);
		aic_buf_puts(to, as);
		from = i + 1;
	}
	aic_buf_put(to, s + from, n - from);
}

/* &#123; or &#x1f4a; with no more than the parser's seven digits. */
static uint32_t
numeric(const char *s, size_t n)
{
	bool hex = n > 2 && (s[2] == 'x' || s[2] == 'X');
	uint32_t cp = 0;
	size_t i;

	for (i = hex ? 3 : 2; i < n && isxdigit((unsigned char)s[i]); i++)
		cp = cp * (hex ? 16 : 10) +
		    (uint32_t)(isdigit((unsigned char)s[i])
			    ? s[i] - '0'
			    : (s[i] | 0x20) - 'a' + 10);
	if (cp == 0 || cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff))
		return 0xfffd;
	return cp;
}

/* The entities that models write. Any other is shown as it is written. */
static void
put_entity(struct aic_buf *to, const char *s, size_t n)
{
	static const struct {
		const char *name;
		uint32_t cp;
	} names[] = {
		{ "&amp;", '&' },
		{ "&lt;", '<' },
		{ "&gt;", '>' },
		{ "&quot;", '"' },
		{ "&apos;", '\'' },
		{ "&nbsp;", 0xa0 },
		{ "&laquo;", 0xab },
		{ "&raquo;", 0xbb },
		{ "&shy;", 0xad },
		{ "&deg;", 0xb0 },
		{ "&plusmn;", 0xb1 },
		{ "&middot;", 0xb7 },
		{ "&times;", 0xd7 },
		{ "&ndash;", 0x2013 },
		{ "&mdash;", 0x2014 },
		{ "&bull;", 0x2022 },
		{ "&hellip;", 0x2026 },
		{ "&euro;", 0x20ac },
		{ "&trade;", 0x2122 },
		{ "&rarr;", 0x2192 },
		{ "&le;", 0x2264 },
		{ "&ge;", 0x2265 },
		{ "&copy;", 0xa9 },
		{ "&reg;", 0xae },
	};
	size_t i;

	if (n > 1 && s[1] == '#') {
		aic_utf8_put(to, numeric(s, n));
		return;
	}
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strlen(names[i].name) == n &&
		    memcmp(names[i].name, s, n) == 0) {
			aic_utf8_put(to, names[i].cp);
			return;
		}
	aic_buf_put(to, s, n);
}

/* --- tags -------------------------------------------------------------- */

/* Nothing else may be within code, and code in nothing but a quotation. */
static bool
wants(const struct page *p, enum tag tag)
{
	bool pre = p->wanted[PRE] > 0;
	bool code = p->wanted[CODE] > 0 && p->wanted[LINK] == 0;

	if (tag == QUOTE || tag == PRE)
		return p->wanted[tag] > 0;
	if (tag == CODE)
		return code && !pre;
	return p->wanted[tag] > 0 && !code && !pre;
}

static int
depth_of(const struct page *p, enum tag tag)
{
	int i;

	for (i = 0; i < p->n_open; i++)
		if (p->open[i] == tag)
			return i;
	return -1;
}

static void
close_tags(struct page *p, int n_left)
{
	enum tag tag;

	while (p->n_open > n_left) {
		tag = p->open[--p->n_open];
		if (tag == PRE && p->language[0])
			aic_buf_puts(p->to, "</code>");
		aic_buf_puts(p->to, "</");
		aic_buf_puts(p->to, tags[tag]);
		aic_buf_putc(p->to, '>');
	}
}

static void
open_tag(struct page *p, enum tag tag)
{
	p->open[p->n_open++] = tag;
	aic_buf_putc(p->to, '<');
	aic_buf_puts(p->to, tags[tag]);
	if (tag == LINK) {
		aic_buf_puts(p->to, " href=\"");
		put_escaped(p->to, p->href.data, p->href.len, true);
		aic_buf_putc(p->to, '"');
	}
	aic_buf_putc(p->to, '>');
	if (tag == PRE && p->language[0]) {
		aic_buf_puts(p->to, "<code class=\"language-");
		aic_buf_puts(p->to, p->language);
		aic_buf_puts(p->to, "\">");
	}
}

static void
unwant(struct page *p, enum tag tag)
{
	int depth = depth_of(p, tag);

	if (--p->wanted[tag] == 0 && depth >= 0)
		close_tags(p, depth);
}

/* --- lines ------------------------------------------------------------- */

/* What comes is a block of its own, n line breaks behind what was. */
static void
begin_block(struct page *p, int n)
{
	if (p->bullets > 0) /* the first thing of an item */
		return;
	if (p->headed)
		n = 1;
	if (p->gap < n)
		p->gap = n;
}

static void
add_prefix(struct page *p, const char *s, size_t n)
{
	if (n > sizeof(p->prefix) - p->prefix_len)
		return;
	memcpy(p->prefix + p->prefix_len, s, n);
	p->prefix_len += n;
}

static void
drop_prefix(struct page *p)
{
	p->prefix_len = p->outer_len = 0;
	p->bullets = 0;
}

static void
begin_line(struct page *p)
{
	int i, indent = p->n_lists - p->quoted_lists - p->bullets;

	for (i = 0; i < p->gap; i++)
		aic_buf_putc(p->to, '\n');
	if (indent > INDENT_MAX)
		indent = INDENT_MAX;
	for (i = 0; i < indent && !p->wanted[PRE]; i++)
		aic_buf_puts(p->to, "  ");
}

/* Everything before the next text: it is not empty. */
static void
begin_text(struct page *p)
{
	enum tag tag;
	int keep = 0;

	while (keep < p->n_open && wants(p, p->open[keep]))
		keep++;
	close_tags(p, keep);
	if (p->begun && p->gap > 0)
		begin_line(p);
	p->seen = p->seen || p->prefix_len > 0;
	aic_buf_put(p->to, p->prefix, p->outer_len);
	if (wants(p, QUOTE) && p->n_open == 0)
		open_tag(p, QUOTE);
	aic_buf_put(p->to, p->prefix + p->outer_len,
	    p->prefix_len - p->outer_len);
	if (p->prefix_len > p->outer_len && p->wanted[PRE])
		aic_buf_putc(p->to, '\n');
	drop_prefix(p);
	p->begun = true;
	p->headed = false;
	p->gap = 0;
	for (tag = 0; tag < TAG__MAX; tag++)
		if (wants(p, tag) && depth_of(p, tag) < 0)
			open_tag(p, tag);
}

static void
put_text(struct page *p, const char *s, size_t n)
{
	if (n == 0)
		return;
	begin_text(p);
	if ((!p->seen || !p->link_seen) && is_seen(s, n))
		p->seen = p->link_seen = true;
	put_escaped(p->to, s, n, false);
}

/* Blank lines at either end of code are none. */
static void
put_code(struct page *p, const char *s, size_t n)
{
	const char *end;
	size_t line;

	for (; n > 0; s += line, n -= line) {
		end = memchr(s, '\n', n);
		line = end ? (size_t)(end - s) : n;
		put_text(p, s, line);
		p->code_begun = p->code_begun || line > 0;
		if (end) {
			p->gap += p->code_begun;
			line++;
		}
	}
}

/* --- links ------------------------------------------------------------- */

static void
decode(const MD_ATTRIBUTE *from, struct aic_buf *to)
{
	size_t i, at, n;

	aic_buf_clear(to);
	for (i = 0; from->size > 0 && from->substr_offsets[i] < from->size;
	     i++) {
		at = from->substr_offsets[i];
		n = from->substr_offsets[i + 1] - at;
		if (from->substr_types[i] == MD_TEXT_ENTITY)
			put_entity(to, from->text + at, n);
		else if (from->substr_types[i] == MD_TEXT_NULLCHAR)
			aic_utf8_put(to, 0xfffd);
		else
			aic_buf_put(to, from->text + at, n);
	}
}

/* http or https, and nothing in it that would end it early. */
static bool
is_web(const struct aic_buf *href)
{
	size_t host, i, escaped = href->len;

	if (href->len > 7 && strncasecmp(href->data, "http://", 7) == 0)
		host = 7;
	else if (href->len > 8 && strncasecmp(href->data, "https://", 8) == 0)
		host = 8;
	else
		return false;
	if (strchr("/?#:.", href->data[host]))
		return false;
	for (i = 0; i < href->len; i++) {
		if ((unsigned char)href->data[i] <= ' ' ||
		    href->data[i] == 0x7f)
			return false;
		if (strchr("&<>\"", href->data[i]))
			escaped += strlen("&quot;") - 1;
	}
	return escaped <= HREF_MAX;
}

static void
enter_link(struct page *p, const MD_ATTRIBUTE *target)
{
	if (p->links++ > 0)
		return;
	decode(target, &p->href);
	p->link_seen = false;
	p->wanted[LINK] = is_web(&p->href);
}

/* One without a text has its target for it. */
static void
leave_link(struct page *p)
{
	if (--p->links > 0)
		return;
	if (!p->link_seen && is_seen(p->href.data, p->href.len))
		put_text(p, p->href.data, p->href.len);
	if (p->wanted[LINK] > 0)
		unwant(p, LINK);
}

/* --- what the parser finds --------------------------------------------- */

static int
go_on(struct page *p)
{
	if (p->to->failed || p->href.failed)
		return NO_MEMORY;
	if (p->calls == 0 || p->to->len > p->len_max)
		return TOO_COSTLY;
	p->calls--;
	return 0;
}

static void
enter_list(struct page *p, struct list list)
{
	begin_block(p, p->n_lists > 0 && list.tight ? 1 : 2);
	if (p->n_lists < LISTS_MAX)
		p->lists[p->n_lists] = list;
	p->n_lists++;
}

static void
leave_list(struct page *p)
{
	if (--p->n_lists == p->quoted_lists && p->begun)
		begin_block(p, 2);
}

static void
enter_item(struct page *p, const MD_BLOCK_LI_DETAIL *item)
{
	static const struct list deep = { .tight = true };
	struct list *list = p->n_lists <= LISTS_MAX ? &p->lists[p->n_lists - 1]
						    : NULL;
	struct aic_buf number;

	begin_block(p, (list ? list : &deep)->tight ? 1 : 2);
	if (item->is_task && item->task_mark == ' ') {
		add_prefix(p, "☐ ", strlen("☐ "));
	} else if (item->is_task) {
		add_prefix(p, "☑ ", strlen("☑ "));
	} else if (list && list->ordered) {
		aic_buf_init(&number, PREFIX_MAX);
		aic_buf_printf(&number, "%u%c ", list->next, list->mark);
		add_prefix(p, number.data, number.len);
		aic_buf_done(&number);
	} else {
		add_prefix(p, "• ", strlen("• "));
	}
	if (list)
		list->next++;
	p->bullets++;
}

static void
enter_quote(struct page *p)
{
	begin_block(p, 2);
	if (p->wanted[QUOTE]++ > 0)
		return;
	p->outer_len = p->prefix_len;
	p->quoted_lists = p->n_lists;
}

static void
enter_code(struct page *p, const MD_BLOCK_CODE_DETAIL *code)
{
	size_t i, n = code->lang.size;

	begin_block(p, 2);
	p->code_begun = false;
	p->wanted[PRE]++;
	p->language[0] = '\0';
	for (i = 0; i < n; i++)
		if (!isalnum((unsigned char)code->lang.text[i]) &&
		    !strchr("+-_.#", code->lang.text[i]))
			return;
	if (n == 0 || n > LANGUAGE_MAX)
		return;
	memcpy(p->language, code->lang.text, n);
	p->language[n] = '\0';
}

static int
enter_block(MD_BLOCKTYPE type, void *detail, void *arg)
{
	const MD_BLOCK_UL_DETAIL *ul = detail;
	const MD_BLOCK_OL_DETAIL *ol = detail;
	struct page *p = arg;

	switch (type) {
	case MD_BLOCK_QUOTE:
		enter_quote(p);
		break;
	case MD_BLOCK_UL:
		enter_list(p, (struct list){ .tight = ul->is_tight });
		break;
	case MD_BLOCK_OL:
		enter_list(p,
		    (struct list){ .ordered = true,
			.tight = ol->is_tight,
			.next = ol->start,
			.mark = ol->mark_delimiter });
		break;
	case MD_BLOCK_LI:
		enter_item(p, detail);
		break;
	case MD_BLOCK_HR:
		begin_block(p, 2);
		put_text(p, "———", strlen("———"));
		break;
	case MD_BLOCK_H:
		begin_block(p, 2);
		p->wanted[BOLD]++;
		break;
	case MD_BLOCK_CODE:
		enter_code(p, detail);
		break;
	case MD_BLOCK_P:
	case MD_BLOCK_TABLE:
		begin_block(p, 2);
		break;
	case MD_BLOCK_THEAD:
		p->wanted[BOLD]++;
		break;
	case MD_BLOCK_TR:
		begin_block(p, 1);
		p->cells = 0;
		break;
	case MD_BLOCK_TH:
	case MD_BLOCK_TD:
		if (p->cells++ > 0)
			add_prefix(p, " | ", 3);
		break;
	default:
		break;
	}
	return go_on(p);
}

static int
leave_block(MD_BLOCKTYPE type, void *detail, void *arg)
{
	struct page *p = arg;

	(void)detail;
	switch (type) {
	case MD_BLOCK_TH:
	case MD_BLOCK_TD:
	case MD_BLOCK_TBODY:
		return go_on(p);
	case MD_BLOCK_THEAD:
		unwant(p, BOLD);
		return go_on(p);
	case MD_BLOCK_QUOTE:
		unwant(p, QUOTE);
		if (p->wanted[QUOTE] == 0)
			p->quoted_lists = 0;
		break;
	case MD_BLOCK_UL:
	case MD_BLOCK_OL:
		leave_list(p);
		break;
	case MD_BLOCK_LI: /* one that is empty, too */
	case MD_BLOCK_TR:
		drop_prefix(p);
		break;
	case MD_BLOCK_H:
		unwant(p, BOLD);
		p->gap = p->begun;
		p->headed = p->begun;
		return go_on(p);
	case MD_BLOCK_CODE:
		unwant(p, PRE);
		if (p->code_begun)
			p->gap = 0;
		break;
	default:
		break;
	}
	if (p->begun)
		begin_block(p, 1);
	return go_on(p);
}

static int
enter_span(MD_SPANTYPE type, void *detail, void *arg)
{
	const MD_SPAN_IMG_DETAIL *img = detail;
	const MD_SPAN_A_DETAIL *a = detail;
	struct page *p = arg;

	switch (type) {
	case MD_SPAN_EM:
		p->wanted[ITALIC]++;
		break;
	case MD_SPAN_STRONG:
		p->wanted[BOLD]++;
		break;
	case MD_SPAN_DEL:
		p->wanted[STRIKE]++;
		break;
	case MD_SPAN_CODE:
		p->wanted[CODE]++;
		break;
	case MD_SPAN_A:
		enter_link(p, &a->href);
		break;
	case MD_SPAN_IMG:
		enter_link(p, &img->src);
		break;
	default:
		break;
	}
	return go_on(p);
}

static int
leave_span(MD_SPANTYPE type, void *detail, void *arg)
{
	struct page *p = arg;

	(void)detail;
	switch (type) {
	case MD_SPAN_EM:
		unwant(p, ITALIC);
		break;
	case MD_SPAN_STRONG:
		unwant(p, BOLD);
		break;
	case MD_SPAN_DEL:
		unwant(p, STRIKE);
		break;
	case MD_SPAN_CODE:
		unwant(p, CODE);
		break;
	case MD_SPAN_A:
	case MD_SPAN_IMG:
		leave_link(p);
		break;
	default:
		break;
	}
	return go_on(p);
}

static int
meet_text(MD_TEXTTYPE type, const MD_CHAR *s, MD_SIZE n, void *arg)
{
	struct page *p = arg;
	struct aic_buf entity;

	switch (type) {
	case MD_TEXT_BR:
	case MD_TEXT_SOFTBR:
		if (p->gap == 0)
			p->gap = p->begun;
		break;
	case MD_TEXT_NULLCHAR:
		put_text(p, "\xef\xbf\xbd", 3);
		break;
	case MD_TEXT_ENTITY:
		aic_buf_init(&entity, p->to->max);
		put_entity(&entity, s, n);
		put_text(p, entity.data, entity.len);
		if (entity.failed)
			p->to->failed = true;
		aic_buf_done(&entity);
		break;
	case MD_TEXT_CODE:
		if (p->wanted[PRE]) {
			put_code(p, s, n);
			break;
		}
		put_text(p, s, n);
		break;
	default:
		put_text(p, s, n);
		break;
	}
	return go_on(p);
}

/* Four spaces are a list that is indented too far, and no code. */
static const MD_PARSER parser = {
	.flags = MD_FLAG_NOHTML | MD_FLAG_NOINDENTEDCODEBLOCKS |
	    MD_FLAG_TABLES | MD_FLAG_STRIKETHROUGH | MD_FLAG_TASKLISTS,
	.enter_block = enter_block,
	.leave_block = leave_block,
	.enter_span = enter_span,
	.leave_span = leave_span,
	.text = meet_text,
};

enum aic_code
aic_telegram_html(const char *markdown, size_t len, struct aic_buf *to)
{
	struct page p = { .to = to,
		.calls = CALLS_MAX * len + CALLS_SPARE,
		.len_max = GROWTH_MAX * len + GROWTH_SPARE };
	int rc = TOO_COSTLY;

	if (len <= AIC_TELEGRAM_MARKDOWN_MAX) {
		aic_buf_init(&p.href, 4 * AIC_TELEGRAM_MARKDOWN_MAX);
		/* Mostly it is all that is asked for. */
		aic_buf_room(to, len + len / 4);
		rc = md_parse(markdown, (MD_SIZE)len, &parser, &p);
		aic_buf_done(&p.href);
	}
	if (rc == NO_MEMORY)
		return AIC_ENOMEM;
	if (rc == TOO_COSTLY || !p.seen) {
		aic_buf_clear(to);
		put_escaped(to, markdown, len, false);
	}
	return to->failed ? AIC_ENOMEM : AIC_OK;
}
