#include "config.h"

#include "message.h"

#include <ctype.h>
#include <md4c.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "parts.h"
#include "telegram.h"
#include "utf8.h"

#define MOST (64 * 1024 * 1024)

/* --- a message --------------------------------------------------------- */

static const char *const names[] = { "b", "i", "u", "s", "code", "pre", "a",
	"blockquote" };

#define N_NAMES 8
#define DEPTH N_NAMES /* for none may be in itself */

struct reader {
	const char *at, *end;
	struct aic_buf *shown;
	int open[DEPTH];
	size_t begun[DEPTH]; /* shown when it was opened */
	int n;
	size_t units;
};

static bool
is(int name, const char *what)
{
	return strcmp(names[name], what) == 0;
}

static bool
within(const struct reader *r, const char *what)
{
	int i;

	for (i = 0; i < r->n; i++)
		if (is(r->open[i], what))
			return true;
	return false;
}

static bool
take(struct reader *r, const char *what)
{
	size_t n = strlen(what);

	if ((size_t)(r->end - r->at) < n || memcmp(r->at, what, n) != 0)
		return false;
	r->at += n;
	return true;
}

static int
take_name(struct reader *r)
{
	const char *from = r->at;
	int i;

	while (r->at < r->end && islower((unsigned char)*r->at))
		r->at++;
	for (i = 0; i < N_NAMES; i++)
		if (strlen(names[i]) == (size_t)(r->at - from) &&
		    memcmp(names[i], from, strlen(names[i])) == 0)
			return i;
	return -1;
}

/* One of four; 0: it is none. */
static char
take_entity(struct reader *r)
{
	return take(r, "&lt;")	? '<'
	    : take(r, "&gt;")	? '>'
	    : take(r, "&amp;")	? '&'
	    : take(r, "&quot;") ? '"'
				: '\0';
}

static const char *
take_href(struct reader *r)
{
	const char *from;

	if (!take(r, " href=\""))
		return "an a without href";
	from = r->at;
	if (!take(r, "http://") && !take(r, "https://") &&
	    strncasecmp(r->at, "http", 4) != 0)
		return "a link that leads out of the web";
	while (r->at < r->end && *r->at != '"') {
		if ((unsigned char)*r->at <= ' ' || strchr("<>", *r->at))
			return "an odd character in a link";
		if (*r->at == '&' ? !take_entity(r) : !r->at++)
			return "a bare & in a link";
	}
	if (r->at - from < 8 || !take(r, "\""))
		return "a link without an end";
	return NULL;
}

static const char *
take_class(struct reader *r)
{
	const char *from;

	if (r->n == 0 || !is(r->open[r->n - 1], "pre"))
		return "a language outside of pre";
	from = r->at;
	while (r->at<r->end && * r->at> ' ' && !strchr("\"<>&", *r->at))
		r->at++;
	if (r->at == from || !take(r, "\""))
		return "an odd language";
	return NULL;
}

/* What may be in what. */
static const char *
check_nesting(const struct reader *r, int name)
{
	bool classed = r->n > 0 && is(r->open[r->n - 1], "pre") &&
	    is(name, "code");

	if (within(r, names[name]))
		return "a tag in itself";
	if (within(r, "code"))
		return "a tag in code";
	if (within(r, "pre") && !classed)
		return "a tag in pre";
	if (classed && r->shown->len > r->begun[r->n - 1])
		return "code that is not all of pre";
	if (is(name, "blockquote") && r->n > 0)
		return "a blockquote in something";
	if ((is(name, "code") || is(name, "pre")) && !classed &&
	    (r->n > 1 || (r->n == 1 && !within(r, "blockquote"))))
		return "code in a text that is marked otherwise";
	return NULL;
}

static const char *
take_start(struct reader *r)
{
	const char *wrong = NULL;
	int name = take_name(r);

	if (name < 0)
		return "an unknown tag";
	wrong = check_nesting(r, name);
	if (!wrong && is(name, "a"))
		wrong = take_href(r);
	else if (!wrong && is(name, "code") && take(r, " class=\"language-"))
		wrong = take_class(r);
	if (!wrong && !take(r, ">"))
		wrong = "a start tag that does not end";
	if (wrong)
		return wrong;
	r->open[r->n] = name;
	r->begun[r->n++] = r->shown->len;
	return NULL;
}

static const char *
take_stop(struct reader *r)
{
	int name = take_name(r);

	if (name < 0 || !take(r, ">"))
		return "an odd end tag";
	if (r->n == 0 || r->open[r->n - 1] != name)
		return "an end tag that does not match";
	if (r->shown->len == r->begun[--r->n])
		return "a tag around nothing";
	/* <pre><code>...</code></pre>, and nothing behind the code. */
	if (is(name, "code") && within(r, "pre") &&
	    strncmp(r->at, "</pre>", 6) != 0)
		return "code that is not all of pre";
	return NULL;
}

static const char *
take_one(struct reader *r, bool html)
{
	uint32_t cp = 0;
	size_t n;
	char c;

	if (html && take(r, "</"))
		return take_stop(r);
	if (html && take(r, "<"))
		return take_start(r);
	if (html && *r->at == '>')
		return "a bare >";
	if (html && *r->at == '&') {
		c = take_entity(r);
		if (!c)
			return "a bare &";
		aic_buf_putc(r->shown, c);
		r->units++;
		return NULL;
	}
	n = aic_utf8_next(r->at, (size_t)(r->end - r->at), &cp);
	if (n == 0 || cp == 0)
		return "not UTF-8";
	aic_buf_put(r->shown, r->at, n);
	r->at += n;
	r->units += cp > 0xffff ? 2 : 1;
	return NULL;
}

const char *
message_wrong(const char *s, size_t len, bool html,
    const struct message_limits *limits, struct aic_buf *shown)
{
	struct reader r = { .at = s, .end = s + len, .shown = shown };
	size_t before = shown->len;
	const char *wrong;

	while (r.at < r.end) {
		wrong = take_one(&r, html);
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
	if (limits && r.units > limits->units)
		return "a message that is too long";
	if (limits && len > limits->bytes)
		return "a message with too much source";
	return NULL;
}

/* --- what is there to see ---------------------------------------------- */

/* As UTF-8, since that is how TDLib has them. */
static const char *const nothings[] = { "\xc2\x85", "\u00a0", "\u030a",
	"\u0333", "\u033f", "\u1680", "\u180e", "\u2000", "\u2001", "\u2002",
	"\u2003", "\u2004", "\u2005", "\u2006", "\u2007", "\u2008", "\u2009",
	"\u200a", "\u200b", "\u200c", "\u200d", "\u200e", "\u200f", "\u2028",
	"\u2029", "\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u202f",
	"\u205f", "\u2060", "\u2800", "\u3000", "\ufeff", "\ufffc",
	"\xf3\xa0\x80", "\xf3\xa0\x81" };

/* The length of what shows nothing at s, of which there is len; 0: it shows. */
static size_t
nothing_at(const char *s, size_t len)
{
	size_t i, n;

	if ((unsigned char)*s <= ' ')
		return 1;
	if (!strchr("\xc2\xcc\xe1\xe2\xe3\xef\xf3", *s))
		return 0;
	for (i = 0; i < sizeof(nothings) / sizeof(nothings[0]); i++) {
		n = strlen(nothings[i]);
		if (n <= len && memcmp(nothings[i], s, n) == 0)
			return *s == '\xf3' ? n + 1 : n;
	}
	return 0;
}

bool
message_is_empty(const char *s, size_t len)
{
	const char *end = s + len;
	size_t n;

	for (; s < end; s += n) {
		n = nothing_at(s, (size_t)(end - s));
		if (n == 0)
			return false;
	}
	return true;
}

/* A text without what shows nothing. */
static void
strip(const struct aic_buf *from, struct aic_buf *to)
{
	const char *s = from->data;
	size_t left = from->len, n;

	for (; left > 0; s += n, left -= n) {
		n = nothing_at(s, left);
		if (n == 0)
			aic_buf_putc(to, *s);
		n += n == 0;
	}
}

/* --- what the model said ----------------------------------------------- */

static int
ignore_block(MD_BLOCKTYPE type, void *detail, void *arg)
{
	(void)type;
	(void)detail;
	(void)arg;
	return 0;
}

static int
ignore_span(MD_SPANTYPE type, void *detail, void *arg)
{
	(void)type;
	(void)detail;
	(void)arg;
	return 0;
}

static int
keep_text(MD_TEXTTYPE type, const MD_CHAR *s, MD_SIZE n, void *arg)
{
	if (type != MD_TEXT_ENTITY && type != MD_TEXT_NULLCHAR)
		aic_buf_put(arg, s, n);
	return 0;
}

/* Letters and digits: all that is not ASCII, and what is one in it. */
static bool
is_letter(char c)
{
	return (unsigned char)c >= 0x80 || isalnum((unsigned char)c);
}

static bool
has_words_of(const struct aic_buf *shown, const char *text, size_t len)
{
	static const MD_PARSER parser = {
		.flags = MD_FLAG_NOHTML | MD_FLAG_NOINDENTEDCODEBLOCKS |
		    MD_FLAG_TABLES | MD_FLAG_STRIKETHROUGH | MD_FLAG_TASKLISTS,
		.enter_block = ignore_block,
		.leave_block = ignore_block,
		.enter_span = ignore_span,
		.leave_span = ignore_span,
		.text = keep_text,
	};
	const char *at = shown->data, *end = at + shown->len;
	struct aic_buf said, words;
	size_t i;

	aic_buf_init(&said, MOST);
	aic_buf_init(&words, MOST);
	if (len <= AIC_TELEGRAM_MARKDOWN_MAX)
		md_parse(text, (MD_SIZE)len, &parser, &said);
	else
		aic_buf_put(&said, text, len);
	strip(&said, &words);
	for (i = 0; i < words.len && at; i++) {
		if (!is_letter(words.data[i]))
			continue;
		at = memchr(at, words.data[i], (size_t)(end - at));
		at += at != NULL;
	}
	aic_buf_done(&said);
	aic_buf_done(&words);
	return at != NULL;
}

/* --- an answer --------------------------------------------------------- */

/* Small ones have more cuts. */
static const struct message_limits limits[] = {
	{ 4096, 32768 },
	{ 4032, 32384 },
	{ 2048, 20480 },
	{ 300, 5000 },
	{ 41, 32768 },
};

static const char *
check_part(const struct aic_buf *part, bool html,
    const struct message_limits *l, struct aic_buf *shown, char **ret_at)
{
	const char *wrong = message_wrong(part->data, part->len, html, l,
	    shown);

	if (wrong && !*ret_at)
		*ret_at = strndup(part->data, part->len);
	return wrong;
}

/* All parts of an answer, of which `whole' is what is shown, stripped. */
static const char *
check_parts(const char *s, size_t len, bool html,
    const struct message_limits *l, const struct aic_buf *whole, char **ret_at)
{
	struct aic_buf part, shown, seen;
	const char *wrong = NULL;
	size_t before, n = 0;
	struct aic_parts p;

	aic_buf_init(&part, MOST);
	aic_buf_init(&shown, MOST);
	aic_buf_init(&seen, MOST);
	aic_parts_begin(&p, s, len, html ? AIC_FORMAT_HTML : AIC_FORMAT_PLAIN,
	    l->units >= 2048 ? (int)(4096 - l->units) : 0);
	p.units_max = l->units;
	if (p.bytes_max > l->bytes)
		p.bytes_max = l->bytes;
	while (!wrong && aic_parts_next(&p, &part)) {
		before = shown.len;
		wrong = check_part(&part, html, l, &shown, ret_at);
		if (!wrong && shown.data[before] == '\n')
			wrong = "a part that begins with a line break";
		n++;
	}
	strip(&shown, &seen);
	if (!wrong && (part.failed || shown.failed || seen.failed))
		wrong = "no memory";
	if (!wrong &&
	    (seen.len != whole->len ||
		(seen.len > 0 &&
		    memcmp(seen.data, whole->data, seen.len) != 0)))
		wrong = "the parts do not show what the whole shows";
	/* At the worst they are a quarter full, by units or by bytes. */
	if (!wrong && n > 2 + 4 * len / l->units + 4 * len * 10 / l->bytes)
		wrong = "there are too many parts";
	aic_buf_done(&part);
	aic_buf_done(&shown);
	aic_buf_done(&seen);
	return wrong;
}

static const char *
check_text(const char *s, size_t len, bool html, struct aic_buf *whole,
    char **ret_at)
{
	const char *wrong;
	struct aic_buf shown;
	size_t i;

	aic_buf_init(&shown, MOST);
	wrong = message_wrong(s, len, html, NULL, &shown);
	strip(&shown, whole);
	aic_buf_done(&shown);
	for (i = 0; !wrong && i < sizeof(limits) / sizeof(limits[0]); i++)
		wrong = check_parts(s, len, html, &limits[i], whole, ret_at);
	if (wrong && !*ret_at)
		*ret_at = strndup(s, len);
	return wrong;
}

const char *
message_check_answer(const char *text, size_t len, char **ret_at)
{
	struct aic_buf html, whole, plain;
	const char *wrong;

	*ret_at = NULL;
	aic_buf_init(&html, MOST);
	aic_buf_init(&whole, MOST);
	aic_buf_init(&plain, MOST);
	if (aic_telegram_html(text, len, &html) != AIC_OK)
		wrong = "no memory";
	else
		wrong = check_text(html.data, html.len, true, &whole, ret_at);
	if (!wrong && !has_words_of(&whole, text, len)) {
		wrong = "words are missing";
		*ret_at = strndup(html.data, html.len);
	}
	if (!wrong)
		wrong = check_text(text, len, false, &plain, ret_at);
	aic_buf_done(&html);
	aic_buf_done(&whole);
	aic_buf_done(&plain);
	return wrong;
}
