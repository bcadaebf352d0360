#include "config.h"

#include "lib/telegram.h"

#include <string.h>

#include "lib/markdown.h"
#include "lib/telegram_text.h"

/* The deepest indent; deeper items are not indented further. */
#define INDENT_MAX 8

/*
 * The nesting order of tags that begin at the same place, from the outside to
 * the inside.
 */
enum tag { QUOTE, LINK, BOLD, ITALIC, STRIKE, CODE, PRE, TAG__MAX };

static const char *const tags[TAG__MAX] = { "blockquote", "a", "b", "i", "s",
	"code", "pre" };

/*
 * The output. A tag is opened just before the first visible character in it,
 * and a line break is written just before the next text. So there are no empty
 * tags and no blank lines at the end.
 */
struct page {
	struct aic_buf *to;
	/* open in the source; Markdown can nest equal tags */
	int wanted[TAG__MAX];
	enum tag open[TAG__MAX];
	int n_open;

	bool begun; /* something has been written */
	bool seen; /* something visible has been written */
	int gap; /* line breaks before the next text */
	bool headed; /* the next text follows a heading */
	struct aic_telegram_prefix prefix; /* bullets, or bars of a table */
	size_t outer_len; /* the length of the prefix before the quotation */
	int bullets; /* number of bullets in the prefix */
	bool numbered; /* one of the bullets is a number */

	int n_lists; /* open lists */
	int quoted_lists; /* open lists around the quotation */
	int cells; /* cells of the current row */
	/* the length of the prefix before the bars of the row */
	size_t row_len;
	bool head; /* the row is the first one */

	struct aic_telegram_links links;
	/* of the code; "": none */
	char language[AIC_MARKDOWN_LANGUAGE_MAX + 1];
	bool code_begun;
};

/* --- tags -------------------------------------------------------------- */

/*
 * True if the tag is to be open here. Code and pre contain no other tag; of the
 * tags, only a quotation contains them.
 */
static bool
is_tag_shown(const struct page *p, enum tag tag)
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
		aic_telegram_escape(p->to, p->links.link[0].target.data,
		    p->links.link[0].target.len, true);
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
close_span(struct page *p, enum tag tag)
{
	int depth = depth_of(p, tag);

	if (--p->wanted[tag] == 0 && depth >= 0)
		close_tags(p, depth);
}

/* --- lines ------------------------------------------------------------- */

/* Begins a new block, n line breaks after the last one. */
static void
begin_block(struct page *p, int n)
{
	if (p->bullets > 0) /* the beginning of an item */
		return;
	if (p->headed)
		n = 1;
	if (p->gap < n)
		p->gap = n;
}

static void
drop_prefix(struct page *p)
{
	p->prefix.len = p->outer_len = 0;
	p->bullets = 0;
	p->numbered = false;
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

/* Writes everything that precedes the next text, which is not empty. */
static void
begin_text(struct page *p)
{
	enum tag tag;
	int keep = 0;

	while (keep < p->n_open && is_tag_shown(p, p->open[keep]))
		keep++;
	close_tags(p, keep);
	if (p->begun && p->gap > 0)
		begin_line(p);
	p->seen = p->seen || p->prefix.len > 0;
	aic_buf_put(p->to, p->prefix.s, p->outer_len);
	if (is_tag_shown(p, QUOTE) && p->n_open == 0)
		open_tag(p, QUOTE);
	aic_buf_put(p->to, p->prefix.s + p->outer_len,
	    p->prefix.len - p->outer_len);
	if (p->prefix.len > p->outer_len && p->wanted[PRE])
		aic_buf_putc(p->to, '\n');
	drop_prefix(p);
	p->begun = true;
	p->headed = false;
	p->gap = 0;
	for (tag = 0; tag < TAG__MAX; tag++)
		if (is_tag_shown(p, tag) && depth_of(p, tag) < 0)
			open_tag(p, tag);
}

static void
put_text(struct page *p, const char *s, size_t n)
{
	begin_text(p);
	p->seen = p->seen || aic_telegram_is_seen(s, n);
	aic_telegram_escape(p->to, s, n, false);
}

/* --- links ------------------------------------------------------------- */

static void
enter_link(struct page *p, const struct aic_markdown_detail *d)
{
	struct aic_telegram_link *link = aic_telegram_link_begin(&p->links,
	    d->s, d->len);

	link->shown = link->leads == AIC_TELEGRAM_WEB;
	p->wanted[LINK] += link->shown;
}

static void
leave_link(struct page *p)
{
	struct aic_telegram_link *link = aic_telegram_link_end(&p->links);
	const char *address;
	size_t n = aic_telegram_address(link, &address);

	if (link->shown)
		close_span(p, LINK);
	if (n == 0)
		return;
	put_text(p, " (", 2);
	put_text(p, address, n);
	put_text(p, ")", 1);
}

/* --- events of the Markdown reader --------------------------------------- */

static void
enter_list(struct page *p, bool apart)
{
	begin_block(p, p->n_lists > 0 && !apart ? 1 : 2);
	p->n_lists++;
}

static void
leave_list(struct page *p)
{
	if (--p->n_lists == p->quoted_lists && p->begun)
		begin_block(p, 2);
}

static void
enter_item(struct page *p, const struct aic_markdown_detail *d)
{
	begin_block(p, d->apart ? 2 : 1);
	if (d->len > 0) {
		aic_telegram_prefix_add(&p->prefix, d->s, d->len);
		aic_telegram_prefix_add(&p->prefix, " ", 1);
		p->numbered = true;
	}
	if (d->task == ' ')
		aic_telegram_prefix_add(&p->prefix, "☐ ", strlen("☐ "));
	else if (d->task)
		aic_telegram_prefix_add(&p->prefix, "☑ ", strlen("☑ "));
	else if (d->len == 0)
		aic_telegram_prefix_add(&p->prefix, "• ", strlen("• "));
	p->bullets++;
}

/*
 * An item without content is shown if it has a number, and not if it has a
 * bullet.
 */
static void
leave_item(struct page *p)
{
	if (p->numbered && p->prefix.len > 0)
		begin_text(p);
	drop_prefix(p);
}

static void
enter_quote(struct page *p)
{
	begin_block(p, 2);
	if (p->wanted[QUOTE]++ > 0)
		return;
	p->outer_len = p->prefix.len;
	p->quoted_lists = p->n_lists;
}

static void
enter_code(struct page *p, const struct aic_markdown_detail *d)
{
	begin_block(p, 2);
	p->code_begun = false;
	p->wanted[PRE]++;
	memcpy(p->language, d->s, d->len);
	p->language[d->len] = '\0';
}

static void
enter_block(void *arg, enum aic_markdown what,
    const struct aic_markdown_detail *d)
{
	struct page *p = arg;

	switch (what) {
	case AIC_MARKDOWN_QUOTE:
		enter_quote(p);
		break;
	case AIC_MARKDOWN_LIST:
		enter_list(p, d->apart);
		break;
	case AIC_MARKDOWN_ITEM:
		enter_item(p, d);
		break;
	case AIC_MARKDOWN_HEADING:
		begin_block(p, 2);
		p->wanted[BOLD]++;
		break;
	case AIC_MARKDOWN_FENCE:
		enter_code(p, d);
		break;
	case AIC_MARKDOWN_PARAGRAPH:
	case AIC_MARKDOWN_TABLE:
		begin_block(p, 2);
		break;
	case AIC_MARKDOWN_ROW:
		begin_block(p, 1);
		p->cells = 0;
		p->row_len = p->prefix.len;
		p->wanted[BOLD] += d->head;
		p->head = d->head;
		break;
	case AIC_MARKDOWN_CELL:
		if (p->cells++ > 0)
			aic_telegram_prefix_add(&p->prefix, " | ", 3);
		break;
	case AIC_MARKDOWN_BOLD:
		p->wanted[BOLD]++;
		break;
	case AIC_MARKDOWN_ITALIC:
		p->wanted[ITALIC]++;
		break;
	case AIC_MARKDOWN_STRIKE:
		p->wanted[STRIKE]++;
		break;
	case AIC_MARKDOWN_CODE:
		p->wanted[CODE]++;
		break;
	case AIC_MARKDOWN_LINK:
		enter_link(p, d);
		break;
	case AIC_MARKDOWN__MAX:
		break;
	}
}

/* The next text begins a new block. */
static void
end_block(struct page *p)
{
	if (p->begun)
		begin_block(p, 1);
}

static void
leave_block(void *arg, enum aic_markdown what)
{
	struct page *p = arg;

	switch (what) {
	case AIC_MARKDOWN_QUOTE:
		close_span(p, QUOTE);
		if (p->wanted[QUOTE] == 0)
			p->quoted_lists = 0;
		end_block(p);
		break;
	case AIC_MARKDOWN_LIST:
		leave_list(p);
		end_block(p);
		break;
	case AIC_MARKDOWN_ITEM:
		leave_item(p);
		end_block(p);
		break;
	case AIC_MARKDOWN_ROW: /* bars without a cell after them */
		if (p->prefix.len > p->row_len)
			p->prefix.len = p->row_len;
		if (p->head)
			close_span(p, BOLD);
		p->head = false;
		end_block(p);
		break;
	case AIC_MARKDOWN_HEADING:
		close_span(p, BOLD);
		p->gap = p->begun;
		p->headed = p->begun;
		break;
	case AIC_MARKDOWN_FENCE:
		close_span(p, PRE);
		if (p->code_begun)
			p->gap = 0;
		end_block(p);
		break;
	case AIC_MARKDOWN_BOLD:
		close_span(p, BOLD);
		break;
	case AIC_MARKDOWN_ITALIC:
		close_span(p, ITALIC);
		break;
	case AIC_MARKDOWN_STRIKE:
		close_span(p, STRIKE);
		break;
	case AIC_MARKDOWN_CODE:
		close_span(p, CODE);
		break;
	case AIC_MARKDOWN_LINK:
		leave_link(p);
		break;
	case AIC_MARKDOWN_PARAGRAPH:
	case AIC_MARKDOWN_TABLE:
		end_block(p);
		break;
	case AIC_MARKDOWN_CELL:
	case AIC_MARKDOWN__MAX:
		break;
	}
}

static void
write_text(void *arg, const char *s, size_t n)
{
	struct page *p = arg;

	aic_telegram_link_text(&p->links, s, n);
	put_text(p, s, n);
	p->code_begun = true;
}

/* Blank lines at the beginning of code are dropped. */
static void
break_line(void *arg)
{
	struct page *p = arg;

	if (p->wanted[PRE] > 0)
		p->gap += p->code_begun;
	else if (p->gap == 0)
		p->gap = p->begun;
}

static void
write_rule(void *arg)
{
	struct page *p = arg;

	begin_block(p, 2);
	put_text(p, "———", strlen("———"));
	end_block(p);
}

static const struct aic_markdown_writer writer = {
	.enter = enter_block,
	.leave = leave_block,
	.text = write_text,
	.line_break = break_line,
	.rule = write_rule,
};

enum aic_code
aic_telegram_html(const char *markdown, size_t len, struct aic_buf *to)
{
	struct page p = { .to = to };
	enum aic_code rc;

	if (len <= AIC_TELEGRAM_MARKDOWN_MAX) {
		/* In most cases this is the only allocation. */
		aic_buf_room(to, len + len / 4);
		rc = aic_telegram_read(markdown, len, &writer, &p, &p.links);
		if (rc)
			return rc;
	}
	if (!p.seen) {
		aic_buf_clear(to);
		aic_telegram_escape(to, markdown, len, false);
	}
	return to->failed ? AIC_ENOMEM : AIC_OK;
}
