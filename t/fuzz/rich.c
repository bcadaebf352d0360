#include "config.h"

#include "rich.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "html.h"
#include "message.h"
#include "lib/parts.h"
#include "lib/telegram.h"
#include "lib/utf8.h"
#include "lib/format.h"

#define MOST (64 * 1024 * 1024)
#define LEVELS 16
#define COLUMNS 20

/* Where an element may be, and what it may contain. */
enum kind { OUTSIDE, BLOCKS, LIST, ITEM, TABLE, ROW, TEXT, SPAN, PRE, CODE };

static const struct {
	const char *name;
	enum kind kind;
} names[] = {
	{ "p", TEXT },
	{ "h1", TEXT },
	{ "h2", TEXT },
	{ "h3", TEXT },
	{ "h4", TEXT },
	{ "h5", TEXT },
	{ "h6", TEXT },
	{ "pre", PRE },
	{ "blockquote", BLOCKS },
	{ "ul", LIST },
	{ "ol", LIST },
	{ "li", ITEM },
	{ "table", TABLE },
	{ "tr", ROW },
	{ "th", TEXT },
	{ "td", TEXT },
	{ "b", SPAN },
	{ "i", SPAN },
	{ "s", SPAN },
	{ "a", SPAN },
	{ "code", CODE },
};

#define N_NAMES ((int)(sizeof(names) / sizeof(names[0])))

struct level {
	int name;
	size_t shown; /* length of shown before it */
	bool blocks, text; /* it contains blocks, text */
	size_t cells;
};

struct reader {
	struct html_cursor c;
	struct aic_buf *shown, *told;
	struct level levels[LEVELS];
	int n;
	size_t characters, blocks;
	struct html_target target; /* of the open link */
};

static void
tell(struct reader *r, const char *s, size_t n)
{
	aic_buf_put(r->shown, s, n);
	if (r->told)
		aic_buf_put(r->told, s, n);
}

static enum kind
kind_at(const struct reader *r)
{
	return r->n > 0 ? names[r->levels[r->n - 1].name].kind : OUTSIDE;
}

static bool
within(const struct reader *r, int name)
{
	int i;

	for (i = 0; i < r->n; i++)
		if (r->levels[i].name == name)
			return true;
	return false;
}

static bool
is(int name, const char *what)
{
	return strcmp(names[name].name, what) == 0;
}

static bool
is_cell(int name)
{
	return is(name, "td") || is(name, "th");
}

static bool
is_in_code(const struct reader *r)
{
	int i;

	for (i = 0; i < r->n; i++)
		if (names[r->levels[i].name].kind == PRE)
			return true;
	return false;
}

/* Text, or an element inside a line of text. */
static const char *
add_text(struct reader *r)
{
	struct level *in = r->n > 0 ? &r->levels[r->n - 1] : NULL;
	enum kind kind = kind_at(r);

	if (kind == OUTSIDE || kind == LIST || kind == TABLE || kind == ROW)
		return "text where there is none";
	if ((kind == ITEM || kind == BLOCKS) && in->blocks)
		return "text behind a block";
	if ((kind == ITEM || kind == BLOCKS) && !in->text)
		r->blocks++; /* the paragraph of the text */
	in->text = true;
	return NULL;
}

static const char *
add_block(struct reader *r)
{
	enum kind kind = kind_at(r);

	if (kind != OUTSIDE && kind != ITEM && kind != BLOCKS)
		return "a block where there is none";
	if (r->n > 0)
		r->levels[r->n - 1].blocks = true;
	r->blocks++;
	tell(r, "\n", 1);
	return NULL;
}

static const char *
check_place(struct reader *r, int name)
{
	enum kind in = kind_at(r);

	switch (names[name].kind) {
	case ITEM:
		r->blocks++;
		return in == LIST ? NULL : "an item without a list";
	case ROW:
		r->blocks++;
		return in == TABLE ? NULL : "a row without a table";
	case CODE:
		if (in == PRE)
			return r->shown->len > r->levels[r->n - 1].shown
			    ? "code that is not all of pre"
			    : NULL;
		/* FALLTHROUGH */
	case SPAN:
		if (in == PRE || in == CODE)
			return "a tag in code";
		if (within(r, name))
			return "a tag in itself";
		return add_text(r);
	default:
		if (is_cell(name) && ++r->levels[r->n - 1].cells > COLUMNS)
			return "too many columns";
		if (is_cell(name))
			return in == ROW ? NULL : "a cell without a row";
		if (is(name, "blockquote") && within(r, name))
			return "a quotation in a quotation";
		return add_block(r);
	}
}

static const char *
take_value(struct reader *r)
{
	const char *from;

	if (!html_take(&r->c, " value=\""))
		return NULL;
	for (from = r->c.at;
	     r->c.at < r->c.end && isdigit((unsigned char)*r->c.at);)
		r->c.at++;
	if (r->c.at == from || r->c.at - from > 9)
		return "an odd number of an item";
	tell(r, from, (size_t)(r->c.at - from));
	tell(r, ". ", 2);
	if (!is(r->levels[r->n - 1].name, "ol"))
		return "a number in a list that has none";
	return html_take(&r->c, "\"") ? NULL : "a number without an end";
}

static const char *
take_language(struct reader *r)
{
	if (!html_take(&r->c, " class=\"language-"))
		return NULL;
	return kind_at(r) == PRE ? html_take_language(&r->c)
				 : "a language outside of pre";
}

/* Elements without an end tag. */
static bool
take_void(struct reader *r, const char **ret_wrong)
{
	if (html_take(&r->c, "<br>")) {
		*ret_wrong = add_text(r);
		r->characters++;
		tell(r, "\n", 1);
		return true;
	}
	if (html_take(&r->c, "<hr/>")) {
		*ret_wrong = add_block(r);
		return true;
	}
	if (html_take(&r->c, "<input type=\"checkbox\">") ||
	    html_take(&r->c, "<input type=\"checkbox\" checked>")) {
		*ret_wrong = kind_at(r) != ITEM || r->levels[r->n - 1].text ||
			r->levels[r->n - 1].blocks
		    ? "a check box that does not begin an item"
		    : NULL;
		tell(r, "☑ ", strlen("☑ "));
		return true;
	}
	return false;
}

static int
take_name(struct reader *r)
{
	const char *name;
	size_t n = html_take_name(&r->c, &name);
	int i;

	for (i = 0; i < N_NAMES; i++)
		if (strlen(names[i].name) == n &&
		    memcmp(names[i].name, name, n) == 0)
			return i;
	return -1;
}

static const char *
take_start(struct reader *r)
{
	static const char *const schemes[] = {
		"http:", "https:", "mailto:", "tel:", NULL
	};
	int name = take_name(r);
	const char *wrong;
	size_t begun;

	if (name < 0)
		return "an unknown tag";
	if (r->n == LEVELS)
		return "too many levels";
	wrong = check_place(r, name);
	begun = r->shown->len;
	if (!wrong && is(name, "a"))
		wrong = html_take_target(&r->c, schemes, &r->target);
	if (!wrong && is(name, "li"))
		wrong = take_value(r);
	if (!wrong && is(name, "code"))
		wrong = take_language(r);
	if (!wrong && !html_take(&r->c, ">"))
		wrong = "an odd start tag";
	r->levels[r->n++] = (struct level){ .name = name, .shown = begun };
	return wrong;
}

static const char *
take_stop(struct reader *r)
{
	int name = take_name(r);
	struct level *l;

	if (name < 0 || !html_take(&r->c, ">"))
		return "an odd end tag";
	if (r->n == 0 || r->levels[r->n - 1].name != name)
		return "an end tag that does not match";
	l = &r->levels[--r->n];
	if (!is_cell(name) && !l->blocks && r->shown->len == l->shown)
		return "a tag around nothing";
	if (is(name, "a") && r->told)
		html_tell_target(&r->target, r->shown->data + l->shown,
		    r->shown->len - l->shown, r->told);
	if (is(name, "code") && kind_at(r) == PRE &&
	    strncmp(r->c.at, "</pre>", 6) != 0)
		return "code that is not all of pre";
	if (names[name].kind != SPAN && names[name].kind != CODE)
		tell(r, "\n", 1);
	return NULL;
}

static const char *
take_character(struct reader *r)
{
	const char *wrong = add_text(r);
	struct html_character character;

	if (!wrong)
		wrong = html_take_character(&r->c, true, &character);
	if (wrong)
		return wrong;
	if (character.cp == '\n' && !is_in_code(r))
		return "a line break that is not shown";
	r->characters++;
	tell(r, character.bytes, character.n);
	return NULL;
}

static const char *
take_one(struct reader *r)
{
	const char *wrong = NULL;

	if (take_void(r, &wrong))
		return wrong;
	if (html_take(&r->c, "</"))
		return take_stop(r);
	if (html_take(&r->c, "<"))
		return take_start(r);
	return take_character(r);
}

const char *
rich_wrong(const char *s, size_t len, const struct rich_limits *limits,
    struct aic_buf *shown, struct aic_buf *told)
{
	struct reader r = { .c = { s, s + len }, .shown = shown, .told = told };
	size_t before = shown->len;
	const char *wrong;

	while (r.c.at < r.c.end) {
		wrong = take_one(&r);
		if (wrong)
			return wrong;
	}
	if (r.n > 0)
		return "a tag without an end";
	if (shown->failed)
		return "no memory";
	if (shown->len == before ||
	    message_is_empty(shown->data + before, shown->len - before))
		return "an empty message";
	if (limits && r.characters > limits->characters)
		return "a message that is too long";
	if (limits && r.blocks > limits->blocks)
		return "a message of too many blocks";
	return NULL;
}

/* --- an answer ---------------------------------------------------------- */

/* Small limits produce more cuts. */
static const struct rich_limits limits[] = {
	{ 32768, 500 },
	{ 2000, 50 },
	{ 200, 500 },
	{ 4000, 20 },
};

/*
 * The parts contain the whole text in order; items that were cut repeat their
 * number.
 */
static bool
is_in(const struct aic_buf *whole, const struct aic_buf *parts)
{
	const char *at = parts->len > 0 ? parts->data : "";
	const char *end = at + parts->len;
	size_t i, n;

	for (i = 0; i < whole->len && at; i += n) {
		n = message_nothing_at(whole->data + i, whole->len - i);
		if (n > 0)
			continue;
		n = 1;
		at = memchr(at, whole->data[i], (size_t)(end - at));
		at += at != NULL;
	}
	return i == whole->len && at;
}

static const char *
check_parts(const struct aic_buf *html, const struct rich_limits *l,
    const struct aic_buf *whole, char **ret_at)
{
	struct aic_buf part, shown;
	const char *wrong = NULL;
	struct aic_parts p;
	size_t n = 0;

	aic_buf_init(&part, MOST);
	aic_buf_init(&shown, MOST);
	aic_parts_begin(&p, html->data, html->len, AIC_FORMAT_RICH, 0);
	p.max.units = l->characters;
	p.max.blocks = l->blocks;
	if (aic_parts_fit(&p))
		wrong = rich_wrong(html->data, html->len, l, &shown, NULL);
	aic_buf_clear(&shown);
	for (; !wrong && aic_parts_next(&p, &part); n++) {
		wrong = rich_wrong(part.data, part.len, l, &shown, NULL);
		if (wrong)
			*ret_at = strndup(part.data, part.len);
	}
	if (!wrong && (part.failed || shown.failed))
		wrong = "no memory";
	if (!wrong && !is_in(whole, &shown))
		wrong = "the parts do not show what the whole shows";
	if (!wrong && shown.len > whole->len + n * 64)
		wrong = "the parts show more than the whole";
	aic_buf_done(&part);
	aic_buf_done(&shown);
	return wrong;
}

const char *
rich_check_answer(const char *text, size_t len, char **ret_at)
{
	struct aic_buf html, shown, told;
	const char *wrong = "no memory", *lost;
	size_t i;

	*ret_at = NULL;
	aic_buf_init(&html, MOST);
	aic_buf_init(&shown, MOST);
	aic_buf_init(&told, MOST);
	if (aic_telegram_rich(text, len, &html) == AIC_OK)
		wrong = rich_wrong(html.data, html.len, NULL, &shown, &told);
	lost = wrong ? NULL : message_lost(text, len, &told);
	if (lost) {
		wrong = "this is lost from a rich message, or another figure";
		*ret_at = strndup(lost, len - (size_t)(lost - text));
	}
	for (i = 0; !wrong && i < sizeof(limits) / sizeof(limits[0]); i++)
		wrong = check_parts(&html, &limits[i], &shown, ret_at);
	if (wrong && !*ret_at)
		*ret_at = strndup(html.data ? html.data : "", html.len);
	aic_buf_done(&html);
	aic_buf_done(&shown);
	aic_buf_done(&told);
	return wrong;
}
