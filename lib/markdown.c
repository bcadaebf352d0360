#include "config.h"

#include "lib/markdown.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "lib/markdown_spans.h"

#define TAB 4
#define FENCE_MIN 3
#define RULE_MIN 3
#define HEADING_MAX 6

/* The most digits of an item's number, as in CommonMark. */
#define NUMBER_MAX 9

/*
 * The most digits of a number that begins an item inside a paragraph. A longer
 * number is more likely a year at the end of a sentence.
 */
#define NUMBER_IN_TEXT_MAX 2

/*
 * The most blanks between an item's mark and its content; if there are more,
 * the content begins after one.
 */
#define PAD_MAX 4

/* A list and its item are two containers. */
#define CONTAINERS_MAX ((size_t)2 * AIC_MARKDOWN_DEPTH)

/*
 * A container of lines. Indents are in columns from the content of the
 * enclosing container.
 */
struct container {
	enum aic_markdown what; /* QUOTE, LIST or ITEM */
	size_t indent_min; /* ITEM: the least indent of its lines */
	/* ITEM: the most columns of a line's indent that are skipped */
	size_t indent_max;
	/* ITEM: what was skipped in the last line outside of code */
	size_t indent_skip;
	char mark; /* LIST: the bullet, or the mark after the numbers */
	bool ordered;
};

enum leaf { NO_LEAF, PARAGRAPH, FENCE, TABLE };

struct fence {
	char mark;
	size_t len, indent;
};

struct reader {
	const struct aic_markdown_writer *writer;
	void *arg;
	struct aic_markdown_spans spans;
	const char *next, *end; /* the lines that are not read yet */

	struct container open[CONTAINERS_MAX];
	size_t n_open;
	enum leaf leaf;
	struct aic_buf text; /* the text of the paragraph */
	size_t last_line; /* the beginning of its last line */
	struct aic_buf cell;
	struct fence fence; /* FENCE */
	bool fence_begun; /* the fence has a line */
	/*
	 * the open ```markdown fence: its content is read as Markdown; len 0:
	 * none
	 */
	struct fence markdown;
	bool apart; /* the next block is set apart, as after a blank line */
	/* a line before this place that looks like a comparison is one */
	const char *compared;
	bool failed; /* out of memory; clearing a buffer resets its flag */
};

/* A line; the part before `at' has been read. */
struct line {
	const char *s;
	size_t n, at;
};

/* The number or the bullet of an item. */
struct mark {
	size_t indent, width, content;
	const char *number;
	size_t number_len; /* including the mark after it; 0: a bullet */
	char mark;
	char task;
};

/* --- lines ------------------------------------------------------------- */

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\v' || c == '\f';
}

static size_t
skip_blanks(const struct line *l, size_t at)
{
	while (at < l->n && is_blank(l->s[at]))
		at++;
	return at;
}

static char
first_ink(const struct line *l)
{
	size_t at = skip_blanks(l, l->at);

	return at < l->n ? l->s[at] : '\0';
}

/* The indent in columns. */
static size_t
indent_of(const struct line *l)
{
	size_t at, columns = 0;

	for (at = l->at; at < l->n && is_blank(l->s[at]); at++)
		columns += l->s[at] == '\t' ? TAB - columns % TAB : 1;
	return columns;
}

static void
skip_columns(struct line *l, size_t max)
{
	size_t columns = 0, width;

	while (l->at < l->n && is_blank(l->s[l->at])) {
		width = l->s[l->at] == '\t' ? TAB - columns % TAB : 1;
		if (columns + width > max)
			break;
		columns += width;
		l->at++;
	}
}

/* The rest of the line, without the blanks around it. */
static struct line
trim_line(const struct line *l)
{
	struct line t = { .at = 0 };
	size_t from = skip_blanks(l, l->at), to = l->n;

	while (to > from && is_blank(l->s[to - 1]))
		to--;
	t.s = l->s + from;
	t.n = to - from;
	return t;
}

static size_t
run_of(const struct line *l, size_t at)
{
	size_t i = at;

	while (i < l->n && l->s[i] == l->s[at])
		i++;
	return i - at;
}

/* Reads the line at *at, and moves *at to the next line. */
static bool
next_line(const char **at, const char *end, struct line *ret)
{
	const char *s = *at;
	size_t n;

	if (s == end)
		return false;
	for (n = 0; s + n < end && s[n] != '\n' && s[n] != '\r';)
		n++;
	*ret = (struct line){ .s = s, .n = n };
	s += n;
	if (s < end)
		s += *s == '\r' && s + 1 < end && s[1] == '\n' ? 2 : 1;
	*at = s;
	return true;
}

/* --- closing blocks ----------------------------------------------------- */

static void
clear_buffer(struct reader *r, struct aic_buf *b)
{
	r->failed = r->failed || b->failed;
	aic_buf_clear(b);
}

static bool
take_apart(struct reader *r)
{
	bool apart = r->apart;

	r->apart = false;
	return apart;
}

static void
call_enter(struct reader *r, enum aic_markdown what,
    struct aic_markdown_detail detail)
{
	detail.apart = take_apart(r);
	r->writer->enter(r->arg, what, &detail);
}

static void
call_leave(struct reader *r, enum aic_markdown what)
{
	r->writer->leave(r->arg, what);
}

static void
put_block(struct reader *r, enum aic_markdown what, int level, const char *s,
    size_t n)
{
	if (n == 0)
		return;
	call_enter(r, what, (struct aic_markdown_detail){ .level = level });
	aic_markdown_spans_read(&r->spans, s, n);
	call_leave(r, what);
}

static void
close_leaf(struct reader *r)
{
	enum leaf leaf = r->leaf;

	r->leaf = NO_LEAF;
	if (leaf == PARAGRAPH)
		put_block(r, AIC_MARKDOWN_PARAGRAPH, 0, r->text.data,
		    r->text.len);
	else if (leaf == FENCE)
		call_leave(r, AIC_MARKDOWN_FENCE);
	else if (leaf == TABLE)
		call_leave(r, AIC_MARKDOWN_TABLE);
	clear_buffer(r, &r->text);
}

/*
 * Closes all but the first n containers. If this closes the item of a list, it
 * closes the list too, unless its next item follows (keeps_list).
 */
static void
close_to(struct reader *r, size_t n, bool keeps_list)
{
	close_leaf(r);
	while (r->n_open > n)
		call_leave(r, r->open[--r->n_open].what);
	if (n > 0 && r->open[n - 1].what == AIC_MARKDOWN_LIST && !keeps_list)
		call_leave(r, r->open[--r->n_open].what);
}

static void
open_container(struct reader *r, struct container c,
    struct aic_markdown_detail detail)
{
	r->open[r->n_open++] = c;
	call_enter(r, c.what, detail);
}

/* --- containers --------------------------------------------------------- */

/*
 * ">=" is a comparison, not a quotation, unless another "=" follows: ">===" is
 * the underline of a heading in a quotation.
 */
static bool
is_at_least(const struct line *l, size_t at)
{
	return at + 1 < l->n && l->s[at] == '>' && l->s[at + 1] == '=' &&
	    (at + 2 == l->n || l->s[at + 2] != '=');
}

/*
 * The number of open containers that this line belongs to; skips their marks.
 */
static size_t
match_containers(struct reader *r, struct line *l)
{
	struct container *c;
	size_t i, at, indent;

	for (i = 0; i < r->n_open; i++) {
		c = &r->open[i];
		if (c->what == AIC_MARKDOWN_QUOTE) {
			at = skip_blanks(l, l->at);
			if (at == l->n || l->s[at] != '>' || is_at_least(l, at))
				break;
			l->at = at + 1;
			skip_columns(l, 1);
		} else if (c->what == AIC_MARKDOWN_ITEM && first_ink(l)) {
			indent = indent_of(l);
			if (indent < c->indent_min)
				break;
			if (r->leaf != FENCE)
				c->indent_skip = indent < c->indent_max
				    ? indent
				    : c->indent_max;
			skip_columns(l, c->indent_skip);
		}
	}
	return i;
}

/*
 * True if a line that belongs to just the first n containers may still continue
 * the open paragraph, code or table. It may if none of the other containers is
 * a quotation: then the line is only indented less than its item.
 */
static bool
is_lazy(const struct reader *r, size_t n)
{
	for (; n < r->n_open; n++)
		if (r->open[n].what == AIC_MARKDOWN_QUOTE)
			return false;
	return true;
}

static bool
is_digit(const struct line *l, size_t at)
{
	return at < l->n && isdigit((unsigned char)l->s[at]);
}

/*
 * True if the ">" at `at' is a sign of comparison: "> 5" or "> = 5", but not
 * "> 5. Item".
 */
static bool
is_compared(const struct line *l, size_t at)
{
	size_t from = skip_blanks(l, at + 1), end = from;

	if (from < l->n && l->s[from] == '=')
		return true;
	while (is_digit(l, end))
		end++;
	return end > from &&
	    !(end + 1 < l->n && strchr(".)", l->s[end]) &&
		is_blank(l->s[end + 1]));
}

/* The place after the marks of the quotations among the first n containers. */
static size_t
skip_marks(const struct reader *r, size_t n, const struct line *l)
{
	size_t i, at = skip_blanks(l, 0);

	for (i = 0; i < n; i++)
		if (r->open[i].what == AIC_MARKDOWN_QUOTE && at < l->n &&
		    l->s[at] == '>')
			at = skip_blanks(l, at + 1);
	return at;
}

/*
 * A line that looks like a comparison is judged together with the lines
 * directly below it that also begin with ">" (up to a ">=" line). If one of
 * those does not look like a comparison, all are a quotation; otherwise each is
 * a comparison. In "> 5 a day\n> 10 a week" both signs are comparisons; in
 * "> 5 a day\n> as said" neither is. The result of the look-ahead is valid for
 * each line that it has passed, so a run of comparisons is scanned only once.
 */
static bool
is_comparison(struct reader *r, const struct line *l, size_t n)
{
	const char *end = r->next, *ahead = r->next;
	size_t at = skip_blanks(l, l->at);
	struct line next;

	if (!is_compared(l, at))
		return false;
	if (is_at_least(l, at) || l->s < r->compared)
		return true;
	for (; next_line(&ahead, r->end, &next); end = ahead) {
		at = skip_marks(r, n, &next);
		if (at == next.n || next.s[at] != '>' || is_at_least(&next, at))
			break;
		if (!is_compared(&next, at))
			return false;
	}
	r->compared = end;
	return true;
}

static bool
read_quote(struct reader *r, struct line *l, size_t *n)
{
	static const struct aic_markdown_detail none;

	if (first_ink(l) != '>' || *n == CONTAINERS_MAX ||
	    is_comparison(r, l, *n))
		return false;
	close_to(r, *n, false);
	open_container(r, (struct container){ .what = AIC_MARKDOWN_QUOTE },
	    none);
	l->at = skip_blanks(l, l->at) + 1;
	skip_columns(l, 1);
	*n = r->n_open;
	return true;
}

static bool
scan_number(const struct line *l, size_t at, struct mark *m)
{
	size_t i = at;

	while (is_digit(l, i) && i - at < NUMBER_MAX)
		i++;
	if (i == at || i == l->n || (l->s[i] != '.' && l->s[i] != ')') ||
	    (l->s[at] == '0' && i - at > 1))
		return false;
	m->mark = l->s[i];
	m->number = l->s + at;
	m->number_len = m->width = i + 1 - at;
	return true;
}

/* Scans the mark of an item, which must have visible content after it. */
static bool
scan_mark(const struct line *l, struct mark *ret)
{
	struct mark m = { .indent = indent_of(l) };
	size_t at = skip_blanks(l, l->at), from;
	struct line rest = *l;

	if (at == l->n)
		return false;
	if (strchr("-*+", l->s[at])) {
		m.mark = l->s[at];
		m.width = 1;
	} else if (!scan_number(l, at, &m)) {
		return false;
	}
	from = at + m.width;
	if (from >= l->n || !is_blank(l->s[from]))
		return false;
	rest.at = from;
	if (!first_ink(&rest))
		return false;
	if (m.mark == '+' && is_digit(l, skip_blanks(l, from)))
		return false;
	m.content = indent_of(&rest);
	m.content = m.indent + m.width + (m.content > PAD_MAX ? 1 : m.content);
	*ret = m;
	return true;
}

static void
scan_task(struct line *l, struct mark *m)
{
	size_t at = skip_blanks(l, l->at);
	struct line rest = *l;

	if (l->n - at < 4 || l->s[at] != '[' || !strchr(" xX", l->s[at + 1]) ||
	    l->s[at + 2] != ']' || !is_blank(l->s[at + 3]))
		return;
	rest.at = at + 3;
	if (!first_ink(&rest))
		return;
	m->task = l->s[at + 1] == ' ' ? ' ' : 'x';
	l->at = skip_blanks(l, at + 3);
}

static bool
is_item_of(const struct reader *r, size_t n, const struct mark *m)
{
	const struct container *c = n > 0 ? &r->open[n - 1] : NULL;

	return c && c->what == AIC_MARKDOWN_LIST && c->mark == m->mark &&
	    c->ordered == (m->number_len > 0);
}

static bool
read_item(struct reader *r, struct line *l, size_t *n)
{
	struct aic_markdown_detail detail = { 0 };
	bool goes_on, apart;
	struct mark m;

	if (!scan_mark(l, &m))
		return false;
	if (r->leaf == PARAGRAPH && *n == r->n_open &&
	    m.number_len > NUMBER_IN_TEXT_MAX + 1)
		return false;
	goes_on = is_item_of(r, *n, &m);
	if (*n + 1 + !goes_on > CONTAINERS_MAX)
		return false;
	close_to(r, *n, goes_on);
	l->at = skip_blanks(l, l->at) + m.width;
	skip_columns(l, m.content - m.indent - m.width);
	scan_task(l, &m);
	apart = r->apart;
	if (!goes_on) {
		detail.ordered = m.number_len > 0;
		open_container(r,
		    (struct container){ .what = AIC_MARKDOWN_LIST,
			.mark = m.mark,
			.ordered = detail.ordered },
		    detail);
		r->apart = apart; /* the first item is set apart, too */
	}
	detail = (struct aic_markdown_detail){
		.s = m.number, .len = m.number_len, .task = m.task
	};
	open_container(r,
	    (struct container){ .what = AIC_MARKDOWN_ITEM,
		.indent_min = m.indent + 2,
		.indent_max = m.content,
		.indent_skip = m.content },
	    detail);
	*n = r->n_open;
	return true;
}

/* --- headings, rules, code ---------------------------------------------- */

static bool
read_heading(struct reader *r, const struct line *l, size_t n)
{
	struct line t = trim_line(l);
	size_t level, to;

	level = t.n > 0 && t.s[0] == '#' ? run_of(&t, 0) : 0;
	if (level == 0 || level > HEADING_MAX || level == t.n ||
	    !is_blank(t.s[level]))
		return false;
	t.at = level;
	t = trim_line(&t);
	for (to = t.n; to > 0 && t.s[to - 1] == '#';)
		to--;
	if (to < t.n && to > 0 && is_blank(t.s[to - 1])) {
		t.n = to;
		t = trim_line(&t);
	}
	close_to(r, n, false);
	put_block(r, AIC_MARKDOWN_HEADING, (int)level, t.s, t.n);
	return true;
}

/* "===" under a paragraph of one line. */
static bool
read_underline(struct reader *r, const struct line *l)
{
	struct line t = trim_line(l);

	if (t.n < 2 || t.s[0] != '=' || run_of(&t, 0) < t.n ||
	    r->leaf != PARAGRAPH || r->last_line > 0)
		return false;
	r->leaf = NO_LEAF;
	put_block(r, AIC_MARKDOWN_HEADING, 1, r->text.data, r->text.len);
	clear_buffer(r, &r->text);
	return true;
}

static bool
read_rule(struct reader *r, const struct line *l, size_t n)
{
	size_t i, marks = 0;
	char mark = first_ink(l);

	if (!mark || !strchr("-*_", mark))
		return false;
	for (i = l->at; i < l->n; i++) {
		if (l->s[i] != mark && !is_blank(l->s[i]))
			return false;
		marks += l->s[i] == mark;
	}
	if (marks < RULE_MIN)
		return false;
	close_to(r, n, false);
	r->apart = false;
	r->writer->rule(r->arg);
	return true;
}

static bool
scan_fence(const struct line *l, struct fence *ret, struct line *ret_info)
{
	struct line t = trim_line(l);
	struct fence f = { .indent = indent_of(l) };

	if (t.n < FENCE_MIN || (t.s[0] != '`' && t.s[0] != '~'))
		return false;
	f.mark = t.s[0];
	f.len = run_of(&t, 0);
	t.at = f.len;
	t = trim_line(&t);
	if (f.len < FENCE_MIN ||
	    (f.mark == '`' && t.n > 0 && memchr(t.s, '`', t.n)))
		return false;
	*ret = f;
	*ret_info = t;
	return true;
}

/* The length of the language at the beginning of an info string. */
static size_t
language_of(const struct line *info)
{
	size_t i = 0;

	if (info->n == 0 || !isalpha((unsigned char)info->s[0]))
		return 0;
	while (i < info->n &&
	    (isalnum((unsigned char)info->s[i]) || strchr("+-_.#", info->s[i])))
		i++;
	if (i > AIC_MARKDOWN_LANGUAGE_MAX ||
	    (i < info->n && !is_blank(info->s[i])))
		return 0;
	return i;
}

static void
put_code(struct reader *r, const char *s, size_t n)
{
	if (r->fence_begun)
		r->writer->line_break(r->arg);
	r->fence_begun = true;
	if (n > 0)
		r->writer->text(r->arg, s, n);
}

static bool
is_markdown(const struct line *info)
{
	return (info->n == 2 && strncasecmp(info->s, "md", 2) == 0) ||
	    (info->n == 8 && strncasecmp(info->s, "markdown", 8) == 0);
}

/* The language after the fence is not text; the rest of that line is code. */
static bool
read_fence(struct reader *r, const struct line *l, size_t n)
{
	struct aic_markdown_detail detail = { 0 };
	struct fence f;
	struct line info;

	if (!scan_fence(l, &f, &info))
		return false;
	close_to(r, n, false);
	if (info.n == 0 && r->markdown.len > 0 && r->markdown.mark == f.mark &&
	    f.len >= r->markdown.len) {
		r->markdown.len = 0;
		r->apart = true;
		return true;
	}
	if (r->markdown.len == 0 && is_markdown(&info)) {
		r->markdown = f;
		r->apart = true;
		return true;
	}
	detail.s = info.s;
	detail.len = info.at = language_of(&info);
	call_enter(r, AIC_MARKDOWN_FENCE, detail);
	r->leaf = FENCE;
	r->fence = f;
	r->fence_begun = false;
	info = trim_line(&info);
	if (info.n > 0)
		put_code(r, info.s, info.n);
	return true;
}

static void
read_code(struct reader *r, struct line *l)
{
	struct fence f;
	struct line info;

	if (scan_fence(l, &f, &info) && info.n == 0 &&
	    f.mark == r->fence.mark && f.len >= r->fence.len) {
		close_leaf(r);
		return;
	}
	skip_columns(l, r->fence.indent);
	put_code(r, l->s + l->at, l->n - l->at);
}

/* --- tables ------------------------------------------------------------- */

/* The next "|" from `at' on that is not escaped; n: none. */
static size_t
find_pipe(const char *s, size_t at, size_t n)
{
	while (at < n && (s[at] != '|' || (at > 0 && s[at - 1] == '\\')))
		at++;
	return at;
}

static bool
is_delimiter_row(const struct line *l)
{
	struct line t = trim_line(l), cell;
	size_t at, end;

	if (find_pipe(t.s, 0, t.n) == t.n)
		return false;
	for (at = t.s[0] == '|'; at < t.n; at = end + 1) {
		end = find_pipe(t.s, at, t.n);
		cell = (struct line){ .s = t.s + at, .n = end - at };
		cell = trim_line(&cell);
		if (cell.n > 1 && cell.s[0] == ':') {
			cell.s++;
			cell.n--;
		}
		cell.n -= cell.n > 1 && cell.s[cell.n - 1] == ':';
		if (cell.n == 0 || cell.s[0] != '-' ||
		    run_of(&cell, 0) < cell.n)
			return false;
	}
	return t.n > 1;
}

/* True if the line consists of more than bars. */
static bool
has_cells(const struct line *l)
{
	size_t i;

	for (i = 0; i < l->n; i++)
		if (l->s[i] != '|' && !is_blank(l->s[i]))
			return true;
	return false;
}

static void
put_cell(struct reader *r, const char *s, size_t n)
{
	static const struct aic_markdown_detail none;
	struct line l = { .s = s, .n = n };
	size_t i;

	l = trim_line(&l);
	clear_buffer(r, &r->cell);
	for (i = 0; i < l.n; i++)
		if (l.s[i] != '\\' || i + 1 == l.n || l.s[i + 1] != '|')
			aic_buf_putc(&r->cell, l.s[i]);
	call_enter(r, AIC_MARKDOWN_CELL, none);
	aic_markdown_spans_read(&r->spans, r->cell.data, r->cell.len);
	call_leave(r, AIC_MARKDOWN_CELL);
}

static void
put_row(struct reader *r, const struct line *l, bool head)
{
	struct aic_markdown_detail detail = { .head = head };
	struct line t = trim_line(l);
	size_t at, end;

	call_enter(r, AIC_MARKDOWN_ROW, detail);
	for (at = t.s[0] == '|'; at < t.n; at = end + 1) {
		end = find_pipe(t.s, at, t.n);
		put_cell(r, t.s + at, end - at);
	}
	call_leave(r, AIC_MARKDOWN_ROW);
}

/* The first row of a table is the last line of the paragraph. */
static bool
read_table(struct reader *r, const struct line *l)
{
	static const struct aic_markdown_detail none;
	struct line head = { .s = r->text.data, .n = r->text.len };

	if (r->leaf != PARAGRAPH || !is_delimiter_row(l))
		return false;
	head.at = r->last_line;
	head = trim_line(&head);
	if (find_pipe(head.s, 0, head.n) == head.n || !has_cells(&head))
		return false;
	if (r->last_line > 0)
		put_block(r, AIC_MARKDOWN_PARAGRAPH, 0, r->text.data,
		    r->last_line - 1);
	call_enter(r, AIC_MARKDOWN_TABLE, none);
	put_row(r, &head, true);
	clear_buffer(r, &r->text);
	r->leaf = TABLE;
	return true;
}

/* --- the whole text ----------------------------------------------------- */

static void
read_text(struct reader *r, const struct line *l, size_t n)
{
	struct line t = trim_line(l);

	if (r->leaf == TABLE && is_lazy(r, n) && find_pipe(t.s, 0, t.n) < t.n) {
		put_row(r, &t, false);
		return;
	}
	if (r->leaf == PARAGRAPH && is_lazy(r, n)) {
		if (read_table(r, l) ||
		    (n == r->n_open && read_underline(r, l)))
			return;
		r->last_line = r->text.len + 1;
		aic_buf_putc(&r->text, '\n');
	} else {
		close_to(r, n, false);
		r->leaf = PARAGRAPH;
		r->last_line = 0;
	}
	aic_buf_put(&r->text, t.s, t.n);
}

static void
read_line(struct reader *r, struct line *l)
{
	size_t n = match_containers(r, l);

	if (r->leaf == FENCE && is_lazy(r, n)) {
		read_code(r, l);
		return;
	}
	if (!first_ink(l)) {
		close_to(r, n, false);
		r->apart = true;
		return;
	}
	do {
		if (read_heading(r, l, n) || read_fence(r, l, n) ||
		    read_rule(r, l, n))
			return;
	} while (read_quote(r, l, &n) || read_item(r, l, &n));
	if (first_ink(l))
		read_text(r, l, n);
}

enum aic_code
aic_markdown_read(const char *s, size_t len,
    const struct aic_markdown_writer *writer, void *arg)
{
	struct reader r = { .writer = writer,
		.arg = arg,
		.next = s,
		.end = s + len,
		.compared = s };
	struct line l;
	bool failed;

	aic_markdown_spans_init(&r.spans, writer, arg);
	aic_buf_init(&r.text, len + 1);
	aic_buf_init(&r.cell, len + 1);
	while (next_line(&r.next, r.end, &l))
		read_line(&r, &l);
	close_to(&r, 0, false);
	failed = r.failed || r.spans.failed || r.cell.failed;
	aic_markdown_spans_done(&r.spans);
	aic_buf_done(&r.text);
	aic_buf_done(&r.cell);
	return failed ? AIC_ENOMEM : AIC_OK;
}
