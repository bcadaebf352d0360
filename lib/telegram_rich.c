#include "config.h"

#include <stdio.h>
#include <string.h>

#include "lib/markdown.h"
#include "lib/telegram.h"
#include "lib/telegram_text.h"

/*
 * The deepest nesting of lists; deeper lists are paragraphs. With it, tags are
 * nested 15 levels deep at most: three lists with an item each, a quotation, a
 * table, a row, a cell, and a link, bold, italic, struck text and code in it.
 */
#define LISTS_MAX 3

/*
 * The deepest nesting of blocks, shown or not, and of the spans in them; deeper
 * elements are not shown.
 */
#define ELEMENTS_MAX (2 * AIC_MARKDOWN_DEPTH + 16)

/* Enough for "<ol>" with its number, and for a heading with its level. */
#define TAG_MAX 48

struct element {
	enum aic_markdown what;
	const char *tag; /* NULL: its content belongs to the outer element */
	char start[TAG_MAX]; /* "<li value=\"7\">"; not used for a link */
	bool open; /* its tag has been written */
	bool full; /* it has content */
	bool seen; /* it has visible content */
};

/* The output. A tag is opened just before the first visible character in it. */
struct page {
	struct aic_buf *to;
	struct element elements[ELEMENTS_MAX];
	int n;
	int deeper; /* open spans that exceed ELEMENTS_MAX */
	bool seen; /* something visible has been written */
	/*
	 * line breaks to write before the next text; in a paragraph one at most
	 */
	int breaks;
	bool begun; /* the block has text */
	/* The numbers of items that are paragraphs, or the bars of a row. */
	struct aic_telegram_prefix prefix;
	int lists, quotes; /* open ones that are shown */
	int cells; /* cells of the current row */
	/* the length of the prefix before the bars of the row */
	size_t row_len;
	bool head; /* the row is the first one */
	struct aic_telegram_links links;
	char language[AIC_MARKDOWN_LANGUAGE_MAX + 1];
};

/* --- elements ----------------------------------------------------------- */

static bool
is_within(const struct page *p, const char *tag)
{
	int i;

	for (i = 0; i < p->n; i++)
		if (p->elements[i].tag && strcmp(p->elements[i].tag, tag) == 0)
			return true;
	return false;
}

static struct element *
push_element(struct page *p, enum aic_markdown what, const char *tag)
{
	struct element *e = &p->elements[p->n++];

	*e = (struct element){ .what = what, .tag = tag };
	if (tag)
		snprintf(e->start, sizeof(e->start), "<%s>", tag);
	return e;
}

/* A span inside an equal span has no tag of its own. */
static bool
push_span(struct page *p, enum aic_markdown what, const char *tag)
{
	if (p->n == ELEMENTS_MAX) {
		p->deeper++;
		return false;
	}
	push_element(p, what, is_within(p, tag) ? NULL : tag);
	return true;
}

static void
open_link(struct page *p)
{
	const struct aic_buf *target = &p->links.link[0].target;

	aic_buf_puts(p->to, "<a href=\"");
	aic_telegram_escape(p->to, target->data, target->len, true);
	aic_buf_puts(p->to, "\">");
}

static void
open_element(struct page *p, struct element *e)
{
	if (e->what == AIC_MARKDOWN_LINK)
		open_link(p);
	else
		aic_buf_puts(p->to, e->start);
	if (e->what == AIC_MARKDOWN_FENCE && p->language[0]) {
		aic_buf_puts(p->to, "<code class=\"language-");
		aic_buf_puts(p->to, p->language);
		aic_buf_puts(p->to, "\">");
	}
	e->open = true;
}

static void
open_all(struct page *p)
{
	int i;

	for (i = 0; i < p->n; i++) {
		if (p->elements[i].tag && !p->elements[i].open)
			open_element(p, &p->elements[i]);
		p->elements[i].full = true;
	}
}

static void
pop_element(struct page *p)
{
	struct element *e;

	if (p->deeper > 0) {
		p->deeper--;
		return;
	}
	e = &p->elements[--p->n];
	if (!e->open)
		return;
	if (e->what == AIC_MARKDOWN_FENCE && p->language[0])
		aic_buf_puts(p->to, "</code>");
	aic_buf_puts(p->to, "</");
	aic_buf_puts(p->to, e->tag);
	aic_buf_putc(p->to, '>');
}

/* The container of a block: the item of a list, the quotation, or NULL. */
static const struct element *
find_container(const struct page *p)
{
	int i;

	for (i = p->n; i-- > 0;)
		if (p->elements[i].tag)
			return &p->elements[i];
	return NULL;
}

/* --- text --------------------------------------------------------------- */

static void
put_text(struct page *p, const char *s, size_t n)
{
	bool code = is_within(p, "pre");
	int i;

	for (; p->begun && p->breaks > 0; p->breaks--)
		aic_buf_puts(p->to, code ? "\n" : "<br>");
	p->breaks = 0;
	open_all(p);
	if (p->prefix.len > 0 || aic_telegram_is_seen(s, n)) {
		p->seen = true;
		for (i = 0; i < p->n; i++)
			p->elements[i].seen = true;
	}
	aic_telegram_escape(p->to, p->prefix.s, p->prefix.len, false);
	p->prefix.len = 0;
	aic_telegram_escape(p->to, s, n, false);
	p->begun = true;
}

static void
write_text(void *arg, const char *s, size_t n)
{
	struct page *p = arg;

	aic_telegram_link_text(&p->links, s, n);
	put_text(p, s, n);
}

/* Several line breaks in a paragraph are written as one. */
static void
break_line(void *arg)
{
	struct page *p = arg;

	if (is_within(p, "pre") || p->breaks == 0)
		p->breaks += p->begun;
}

/* --- blocks ------------------------------------------------------------- */

/*
 * A rule at the beginning of an item or of a quotation is dropped, because it
 * would separate nothing.
 */
static void
write_rule(void *arg)
{
	struct page *p = arg;
	const struct element *in = find_container(p);

	if (in && !in->full)
		return;
	aic_buf_puts(p->to, "<hr/>");
}

static void
begin_block(struct page *p)
{
	p->begun = false;
	p->breaks = 0;
}

static void
enter_list(struct page *p, const struct aic_markdown_detail *d)
{
	push_element(p, AIC_MARKDOWN_LIST,
	    p->lists == LISTS_MAX ? NULL
		: d->ordered	  ? "ol"
				  : "ul");
	p->lists += p->lists < LISTS_MAX;
}

static void
leave_list(struct page *p)
{
	p->lists -= p->elements[p->n - 1].tag != NULL;
	pop_element(p);
}

static void
enter_item(struct page *p, const struct aic_markdown_detail *d)
{
	bool shown = p->elements[p->n - 1].tag != NULL;
	struct element *e = push_element(p, AIC_MARKDOWN_ITEM,
	    shown ? "li" : NULL);

	if (!shown) {
		aic_telegram_prefix_add(&p->prefix, d->len > 0 ? d->s : "•",
		    d->len > 0 ? d->len : strlen("•"));
		aic_telegram_prefix_add(&p->prefix, " ", 1);
	} else if (d->len > 0) {
		snprintf(e->start, sizeof(e->start), "<li value=\"%.*s\">",
		    (int)d->len - 1, d->s);
	} else if (d->task) {
		snprintf(e->start, sizeof(e->start),
		    "<li><input type=\"checkbox\"%s>",
		    d->task == ' ' ? "" : " checked");
		return;
	}
	if (d->task)
		aic_telegram_prefix_add(&p->prefix,
		    d->task == ' ' ? "☐ " : "☑ ", strlen("☐ "));
}

/* The first paragraph of an item or of a quotation has no tag. */
static void
enter_paragraph(struct page *p, enum aic_markdown what)
{
	const struct element *in = find_container(p);

	begin_block(p);
	push_element(p, what, in && !in->full ? NULL : "p");
}

/* An item with a number and without content is shown with a dash. */
static void
leave_item(struct page *p)
{
	const struct element *e = &p->elements[p->n - 1];

	if (!e->seen && (p->prefix.len > 0 || strstr(e->start, "value"))) {
		enter_paragraph(p, AIC_MARKDOWN_PARAGRAPH);
		put_text(p, "—", strlen("—"));
		pop_element(p);
	}
	pop_element(p);
}

static void
enter_heading(struct page *p, int level)
{
	struct element *e;

	if (find_container(p)) {
		enter_paragraph(p, AIC_MARKDOWN_HEADING);
		push_element(p, AIC_MARKDOWN_BOLD, "b");
		return;
	}
	begin_block(p);
	e = push_element(p, AIC_MARKDOWN_HEADING, "h1");
	e->tag = (const char *const[]){ "h1", "h2", "h3", "h4", "h5",
		"h6" }[level - 1];
	snprintf(e->start, sizeof(e->start), "<%s>", e->tag);
}

static void
leave_heading(struct page *p)
{
	if (p->elements[p->n - 1].what == AIC_MARKDOWN_BOLD)
		pop_element(p);
	pop_element(p);
}

/* The cells beyond the last column are appended to it. */
static void
enter_cell(struct page *p)
{
	begin_block(p);
	if (++p->cells > AIC_TELEGRAM_COLUMNS)
		aic_telegram_prefix_add(&p->prefix, " | ", 3);
	else
		push_element(p, AIC_MARKDOWN_CELL, p->head ? "th" : "td");
}

static void
leave_cell(struct page *p)
{
	if (p->cells >= AIC_TELEGRAM_COLUMNS)
		return;
	open_all(p);
	pop_element(p);
}

static void
leave_row(struct page *p)
{
	if (p->cells >= AIC_TELEGRAM_COLUMNS) {
		open_all(p);
		pop_element(p);
	}
	if (p->prefix.len > p->row_len) /* bars without a cell after them */
		p->prefix.len = p->row_len;
	pop_element(p);
}

/* --- links -------------------------------------------------------------- */

static void
enter_link(struct page *p, const struct aic_markdown_detail *d)
{
	struct aic_telegram_link *link = aic_telegram_link_begin(&p->links,
	    d->s, d->len);
	bool pushed = push_span(p, AIC_MARKDOWN_LINK, "a");

	link->shown = pushed && link->leads != AIC_TELEGRAM_ELSEWHERE;
	if (pushed && !link->shown)
		p->elements[p->n - 1].tag = NULL;
}

static void
leave_link(struct page *p)
{
	struct aic_telegram_link *link = aic_telegram_link_end(&p->links);
	const char *address;
	size_t n = aic_telegram_address(link, &address);

	pop_element(p);
	if (n == 0)
		return;
	put_text(p, " (", 2);
	put_text(p, address, n);
	put_text(p, ")", 1);
}

/* --- events of the Markdown reader --------------------------------------- */

static void
enter_block(struct page *p, enum aic_markdown what,
    const struct aic_markdown_detail *d)
{
	switch (what) {
	case AIC_MARKDOWN_QUOTE:
		push_element(p, what, p->quotes++ > 0 ? NULL : "blockquote");
		break;
	case AIC_MARKDOWN_LIST:
		enter_list(p, d);
		break;
	case AIC_MARKDOWN_ITEM:
		enter_item(p, d);
		break;
	case AIC_MARKDOWN_HEADING:
		enter_heading(p, d->level);
		break;
	case AIC_MARKDOWN_FENCE:
		begin_block(p);
		memcpy(p->language, d->s, d->len);
		p->language[d->len] = '\0';
		push_element(p, what, "pre");
		break;
	case AIC_MARKDOWN_TABLE:
		push_element(p, what, "table");
		break;
	case AIC_MARKDOWN_ROW:
		p->cells = 0;
		p->row_len = p->prefix.len;
		p->head = d->head;
		push_element(p, what, "tr");
		break;
	case AIC_MARKDOWN_CELL:
		enter_cell(p);
		break;
	default:
		enter_paragraph(p, what);
	}
}

static void
enter_any(void *arg, enum aic_markdown what,
    const struct aic_markdown_detail *d)
{
	struct page *p = arg;

	switch (what) {
	case AIC_MARKDOWN_BOLD:
		push_span(p, what, "b");
		break;
	case AIC_MARKDOWN_ITALIC:
		push_span(p, what, "i");
		break;
	case AIC_MARKDOWN_STRIKE:
		push_span(p, what, "s");
		break;
	case AIC_MARKDOWN_CODE:
		push_span(p, what, "code");
		break;
	case AIC_MARKDOWN_LINK:
		enter_link(p, d);
		break;
	default:
		enter_block(p, what, d);
	}
}

static void
leave_any(void *arg, enum aic_markdown what)
{
	struct page *p = arg;

	switch (what) {
	case AIC_MARKDOWN_QUOTE:
		p->quotes--;
		pop_element(p);
		break;
	case AIC_MARKDOWN_LIST:
		leave_list(p);
		break;
	case AIC_MARKDOWN_ITEM:
		leave_item(p);
		break;
	case AIC_MARKDOWN_HEADING:
		leave_heading(p);
		break;
	case AIC_MARKDOWN_CELL:
		leave_cell(p);
		break;
	case AIC_MARKDOWN_ROW:
		leave_row(p);
		break;
	case AIC_MARKDOWN_LINK:
		leave_link(p);
		break;
	default:
		pop_element(p);
	}
}

static const struct aic_markdown_writer writer = {
	.enter = enter_any,
	.leave = leave_any,
	.text = write_text,
	.line_break = break_line,
	.rule = write_rule,
};

/*
 * Writes the source as paragraphs: a line ends with a break, and blank lines
 * separate paragraphs.
 */
static void
put_plain(struct aic_buf *to, const char *s, size_t n)
{
	const char *end = s + n, *line;
	bool open = false;

	for (; s < end; s = line + (line < end)) {
		line = memchr(s, '\n', (size_t)(end - s));
		if (!line)
			line = end;
		if (!aic_telegram_is_seen(s, (size_t)(line - s))) {
			if (open)
				aic_buf_puts(to, "</p>");
			open = false;
			continue;
		}
		aic_buf_puts(to, open ? "<br>" : "<p>");
		aic_telegram_escape(to, s, (size_t)(line - s), false);
		open = true;
	}
	if (open)
		aic_buf_puts(to, "</p>");
}

enum aic_code
aic_telegram_rich(const char *markdown, size_t len, struct aic_buf *to)
{
	struct page p = { .to = to };
	enum aic_code rc;

	if (len <= AIC_TELEGRAM_MARKDOWN_MAX) {
		aic_buf_room(to, 2 * len);
		rc = aic_telegram_read(markdown, len, &writer, &p, &p.links);
		if (rc)
			return rc;
	}
	if (!p.seen) {
		aic_buf_clear(to);
		put_plain(to, markdown, len);
	}
	return to->failed ? AIC_ENOMEM : AIC_OK;
}
