#include "config.h"

#include "message.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "html.h"
#include "lib/parts.h"
#include "lib/telegram.h"
#include "lib/utf8.h"
#include "lib/format.h"

#define MOST (64 * 1024 * 1024)

/* --- a message ---------------------------------------------------------- */

static const char *const names[] = { "b", "i", "u", "s", "code", "pre", "a",
	"blockquote" };

#define N_NAMES 8
#define DEPTH N_NAMES /* no element is inside itself */

struct reader {
	struct html_cursor c;
	struct aic_buf *shown, *told;
	struct html_target target; /* of the open link */
	size_t entities, targets;
	int open[DEPTH];
	size_t begun[DEPTH]; /* length of shown at its opening tag */
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

static int
take_name(struct reader *r)
{
	const char *name;
	size_t n = html_take_name(&r->c, &name);
	int i;

	for (i = 0; i < N_NAMES; i++)
		if (strlen(names[i]) == n && memcmp(names[i], name, n) == 0)
			return i;
	return -1;
}

static const char *
take_target(struct reader *r)
{
	static const char *const schemes[] = { "http:", "https:", NULL };
	const char *wrong = html_take_target(&r->c, schemes, &r->target);

	if (wrong)
		return wrong;
	r->targets += r->target.len;
	return r->target.len < strlen("http://x") ? "a link to nowhere" : NULL;
}

static const char *
take_language(struct reader *r)
{
	if (r->n == 0 || !is(r->open[r->n - 1], "pre"))
		return "a language outside of pre";
	r->entities--; /* it counts as one with its pre */
	return html_take_language(&r->c);
}

/* Which elements may be inside which. */
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
		wrong = take_target(r);
	else if (!wrong && is(name, "code") &&
	    html_take(&r->c, " class=\"language-"))
		wrong = take_language(r);
	if (!wrong && !html_take(&r->c, ">"))
		wrong = "a start tag that does not end";
	if (wrong)
		return wrong;
	r->entities++;
	r->open[r->n] = name;
	r->begun[r->n++] = r->shown->len;
	return NULL;
}

static const char *
take_stop(struct reader *r)
{
	int name = take_name(r);

	if (name < 0 || !html_take(&r->c, ">"))
		return "an odd end tag";
	if (r->n == 0 || r->open[r->n - 1] != name)
		return "an end tag that does not match";
	if (r->shown->len == r->begun[--r->n])
		return "a tag around nothing";
	if (is(name, "a") && r->told)
		html_tell_target(&r->target, r->shown->data + r->begun[r->n],
		    r->shown->len - r->begun[r->n], r->told);
	/* <pre><code>...</code></pre>, without text after the code. */
	if (is(name, "code") && within(r, "pre") &&
	    strncmp(r->c.at, "</pre>", 6) != 0)
		return "code that is not all of pre";
	return NULL;
}

static const char *
take_one(struct reader *r, bool html)
{
	struct html_character character;
	const char *wrong;

	if (html && html_take(&r->c, "</"))
		return take_stop(r);
	if (html && html_take(&r->c, "<"))
		return take_start(r);
	wrong = html_take_character(&r->c, html, &character);
	if (wrong)
		return wrong;
	aic_buf_put(r->shown, character.bytes, character.n);
	if (r->told)
		aic_buf_put(r->told, character.bytes, character.n);
	r->units += character.cp > 0xffff ? 2 : 1;
	return NULL;
}

const char *
message_wrong(const char *s, size_t len, bool html,
    const struct message_limits *limits, struct aic_buf *shown,
    struct aic_buf *told)
{
	struct reader r = { .c = { s, s + len }, .shown = shown, .told = told };
	size_t before = shown->len;
	const char *wrong;

	while (r.c.at < r.c.end) {
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
	if (limits && r.entities > limits->entities)
		return "a message with too many entities";
	if (limits && r.targets > limits->targets)
		return "a message with too long targets";
	return NULL;
}

/* --- invisible characters ----------------------------------------------- */

/* As UTF-8, because TDLib lists them so. */
static const char *const nothings[] = { "\xc2\x85", "\u00a0", "\u030a",
	"\u0333", "\u033f", "\u1680", "\u180e", "\u2000", "\u2001", "\u2002",
	"\u2003", "\u2004", "\u2005", "\u2006", "\u2007", "\u2008", "\u2009",
	"\u200a", "\u200b", "\u200c", "\u200d", "\u200e", "\u200f", "\u2028",
	"\u2029", "\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u202f",
	"\u205f", "\u2060", "\u2800", "\u3000", "\ufeff", "\ufffc",
	"\xf3\xa0\x80", "\xf3\xa0\x81" };

size_t
message_nothing_at(const char *s, size_t len)
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
		n = message_nothing_at(s, (size_t)(end - s));
		if (n == 0)
			return false;
	}
	return true;
}

bool
message_says(const char *s, size_t len, const struct aic_buf *what)
{
	return len >= what->len &&
	    memcmp(s + len - what->len, what->data, what->len) == 0 &&
	    message_is_empty(s, len - what->len);
}

/* Copies a text without its invisible characters. */
static void
strip(const struct aic_buf *from, struct aic_buf *to)
{
	const char *s = from->data;
	size_t left = from->len, n;

	for (; left > 0; s += n, left -= n) {
		n = message_nothing_at(s, left);
		if (n == 0)
			aic_buf_putc(to, *s);
		n += n == 0;
	}
}

/* --- the Markdown of the model ------------------------------------------ */

/* A place in the Markdown; all text before it was found in the message. */
struct source {
	const char *s;
	size_t n, at;
};

static char
peek(const struct source *m, size_t at)
{
	return at < m->n ? m->s[at] : '\0';
}

static char
before(const struct source *m)
{
	return m->at > 0 ? m->s[m->at - 1] : '\0';
}

/* A character between ASCII letters, digits or Cyrillic letters. */
static bool
is_within_word(const struct source *m)
{
	unsigned char prev = (unsigned char)before(m);
	unsigned char next = (unsigned char)peek(m, m->at + 1);

	if (prev >= 0x80 && m->at > 1)
		prev = (unsigned char)m->s[m->at - 2];
	return (isalnum(prev) || (prev >= 0xd0 && prev <= 0xd3)) &&
	    (isalnum(next) || (next >= 0xd0 && next <= 0xd3));
}

/* The line consists of these characters only. */
static bool
is_line_of(const struct source *m, const char *set)
{
	size_t from = m->at, to = m->at;

	while (from > 0 && !strchr("\r\n", m->s[from - 1]))
		from--;
	for (to = from; to < m->n && !strchr("\r\n", m->s[to]); to++)
		if (!m->s[to] || !strchr(set, m->s[to]))
			return false;
	return true;
}

/*
 * The length of a target that repeats the one before it: "[![](u)](u)" is a
 * link from the text u, which is the image's target, to u.
 */
static size_t
repeated_target(const struct source *m)
{
	const char *s = m->s + m->at;
	size_t left = m->n - m->at, len = 0;

	while (len < left && s[len] && !strchr("()[]<> \t\r\n", s[len]))
		len++;
	if (len == 0 || m->at < len + 4 || len == left || s[len] != ')' ||
	    strncmp(s - 3, ")](", 3) != 0 || memcmp(s - 3 - len, s, len) != 0 ||
	    s[-4 - (long)len] != '(')
		return 0;
	return len;
}

/* The length of the markup at this place that looks like text. */
static size_t
words_of_markup(const struct source *m)
{
	static const char *const words[] = { "<br>", "<br/>", "<br />", "<br >",
		"mailto:", "tel:", "[x]" };
	const char *s = m->s + m->at;
	size_t left = m->n - m->at, i, len;

	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		len = strlen(words[i]);
		if (len <= left && strncasecmp(words[i], s, len) == 0)
			return len;
	}
	if (strchr(" \t>\r\n", before(m)) &&
	    (strncmp(s, "```", left < 3 ? left : 3) == 0 ||
		strncmp(s, "~~~", left < 3 ? left : 3) == 0)) {
		for (i = 0; i < left && s[i] == *s;)
			i++;
		while (i < left && (s[i] == ' ' || s[i] == '\t'))
			i++;
		if (i == left || !isalpha((unsigned char)s[i]))
			return i;
		while (i < left && s[i] &&
		    (isalnum((unsigned char)s[i]) || strchr("+-_.#", s[i])))
			i++;
		return i; /* with the language of the code */
	}
	if (*s != '&')
		return repeated_target(m);
	for (i = 1; i < left && i < 12 &&
	     (isalnum((unsigned char)s[i]) || s[i] == '#');)
		i++;
	return i < left && s[i] == ';' ? i + 1 : 0;
}

/* ASCII characters that are text at this place whatever the context is. */
static bool
is_text(const struct source *m)
{
	char c = m->s[m->at], prev = before(m), next = peek(m, m->at + 1);

	if (isalnum((unsigned char)c))
		return true;
	switch (c) {
	case ',':
	case '?':
	case '/':
	case '%':
	case '@':
	case '{':
	case '}':
	case '^':
	case '$':
	case ';':
		return true;
	case ':':
		return !is_line_of(m, "|:- \t>");
	case '=':
		return !is_line_of(m, "= \t>");
	case '~':
		return prev != '~' && next != '~';
	case '*':
	case '_':
	case '-':
		return is_within_word(m);
	case '.':
	case '#':
	case '\\':
		return isalnum((unsigned char)next);
	case '+':
		return next != '\0' && !isspace((unsigned char)next);
	case '!':
		return next != '[';
	case '<':
		return isdigit((unsigned char)next);
	default:
		return false;
	}
}

const char *
message_lost(const char *markdown, size_t len, const struct aic_buf *told)
{
	struct source m = { .s = markdown, .n = len };
	const char *at = told->len > 0 ? told->data : "";
	const char *end = at + told->len, *found;
	const char *digit = NULL; /* the last one found */
	size_t n, last = 0;

	for (; m.at < len; m.at += n) {
		n = words_of_markup(&m);
		if (n > 0)
			continue;
		n = message_nothing_at(m.s + m.at, len - m.at);
		if (n > 0)
			continue;
		n = 1;
		if ((unsigned char)m.s[m.at] < 0x80 && !is_text(&m))
			continue;
		found = at ? memchr(at, m.s[m.at], (size_t)(end - at)) : NULL;
		if (!found)
			return m.s + m.at;
		if (isdigit((unsigned char)*found)) {
			if (digit && found == digit + 1 && m.at != last + 1)
				return m.s + m.at;
			digit = found;
			last = m.at;
		}
		at = found + 1;
	}
	return NULL;
}

/* --- an answer ---------------------------------------------------------- */

/* Small limits produce more cuts. */
static const struct message_limits limits[] = {
	{ 4096, 32768, 100, 9500 },
	{ 4032, 32384, 100, 9500 },
	{ 2048, 20480, 100, 9500 },
	{ 300, 5000, 20, 9500 },
	{ 41, 32768, 100, 9500 },
};

#define N_LIMITS (sizeof(limits) / sizeof(limits[0]))

/* Longer texts are cut by the first limits and by one other of them. */
#define LONG 2000

static const char *
check_part(const struct aic_buf *part, bool html,
    const struct message_limits *l, struct aic_buf *shown, char **ret_at)
{
	const char *wrong = message_wrong(part->data, part->len, html, l, shown,
	    NULL);

	if (wrong && !*ret_at)
		*ret_at = strndup(part->data, part->len);
	return wrong;
}

/* Checks all parts of an answer; `whole' is its visible text, stripped. */
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
	p.max.units = l->units;
	if (p.max.bytes > l->bytes)
		p.max.bytes = l->bytes;
	if (p.max.entities > l->entities)
		p.max.entities = l->entities;
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
	/*
	 * In the worst case the parts are a quarter full, by units, by bytes or
	 * by entities. An entity takes at least seven bytes and counts for
	 * seven.
	 */
	if (!wrong &&
	    n > 2 + 4 * len / l->units + 4 * len * 10 / l->bytes +
		    4 * len / l->entities)
		wrong = "there are too many parts";
	aic_buf_done(&part);
	aic_buf_done(&shown);
	aic_buf_done(&seen);
	return wrong;
}

static const char *
check_text(const char *s, size_t len, bool html, struct aic_buf *whole,
    struct aic_buf *told, char **ret_at)
{
	const char *wrong;
	struct aic_buf shown;
	size_t i;

	aic_buf_init(&shown, MOST);
	wrong = message_wrong(s, len, html, NULL, &shown, told);
	strip(&shown, whole);
	aic_buf_done(&shown);
	for (i = 0; !wrong && i < N_LIMITS; i++)
		if (len < LONG || i == 0 || i == 1 + len % (N_LIMITS - 1))
			wrong = check_parts(s, len, html, &limits[i], whole,
			    ret_at);
	if (wrong && !*ret_at)
		*ret_at = strndup(s, len);
	return wrong;
}

/* How many bytes are shown of the text before and after a place. */
#define AROUND 150

static const char *
check_lost(const char *text, size_t len, const struct aic_buf *told,
    char **ret_at)
{
	static const char wrong[] = "this is lost, or another figure";
	const char *lost = message_lost(text, len, told);

	size_t at = (size_t)(lost ? lost - text : 0);
	size_t before = at < AROUND ? at : AROUND;
	size_t behind = len - at < AROUND ? len - at : AROUND;

	if (!lost)
		return NULL;
	*ret_at = malloc(2 * AROUND + sizeof(" HERE "));
	if (*ret_at)
		snprintf(*ret_at, 2 * AROUND + sizeof(" HERE "),
		    "%.*s HERE %.*s", (int)before, lost - before, (int)behind,
		    lost);
	return wrong;
}

const char *
message_check_answer(const char *text, size_t len, char **ret_at)
{
	struct aic_buf html, whole, told;
	const char *wrong;

	*ret_at = NULL;
	aic_buf_init(&html, MOST);
	aic_buf_init(&whole, MOST);
	aic_buf_init(&told, MOST);
	if (aic_telegram_html(text, len, &html) != AIC_OK)
		wrong = "no memory";
	else
		wrong = check_text(html.data, html.len, true, &whole, &told,
		    ret_at);
	if (!wrong)
		wrong = check_lost(text, len, &told, ret_at);
	aic_buf_clear(&whole);
	if (!wrong)
		wrong = check_text(text, len, false, &whole, NULL, ret_at);
	aic_buf_done(&html);
	aic_buf_done(&whole);
	aic_buf_done(&told);
	return wrong;
}
