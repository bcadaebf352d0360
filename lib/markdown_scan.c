#include "config.h"

#include "lib/markdown_scan.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "lib/utf8.h"

/* CommonMark's own limit; it bounds how much is scanned again. */
#define PARENS_MAX 32

/* Stands for the character before the text, and for the one after it. */
#define NOTHING '\n'

bool
aic_markdown_escapable(char c)
{
	return c != '\0' && strchr("`*_[]()#+-.!|~<>$&", c);
}

/* --- links ------------------------------------------------------------- */

static bool
begins_with(const char *s, size_t at, size_t n, const char *with)
{
	size_t len = strlen(with);

	return n - at >= len && strncasecmp(s + at, with, len) == 0;
}

/* The length of the scheme of a link, with its colon. */
static size_t
scheme_at(const char *s, size_t at, size_t n)
{
	static const char *const schemes[] = {
		"https:", "http:", "mailto:", "tel:", "tg:", "ftp:"
	};
	size_t i;

	for (i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
		if (begins_with(s, at, n, schemes[i]))
			return strlen(schemes[i]);
	return 0;
}

/*
 * True for a target of a link; false for a formula in parentheses: a[1](2+x).
 */
static bool
is_target(const char *s, size_t len)
{
	size_t i;

	if (len == 0 || isdigit((unsigned char)s[0]) || strchr("-+*=", s[0]))
		return false;
	if (s[0] == '.' && (len == 1 || isdigit((unsigned char)s[1])))
		return false;
	for (i = 0; i < len; i++)
		if (strchr("/#?.:", s[i]))
			return true;
	return false;
}

static size_t
skip_blanks(const char *s, size_t at, size_t n)
{
	while (at < n && (s[at] == ' ' || s[at] == '\t'))
		at++;
	return at;
}

/*
 * The end of a target without angle brackets, at the first blank or at the
 * parenthesis that closes the link. False: no target, because its parentheses
 * are nested too deeply.
 */
static bool
scan_plain_target(const char *s, size_t at, size_t n, size_t *ret_end)
{
	int depth = 0;

	for (; at < n && (unsigned char)s[at] > ' ' && s[at] != 0x7f; at++) {
		if (s[at] == '\\' && at + 1 < n &&
		    ispunct((unsigned char)s[at + 1]))
			at++;
		else if (s[at] == '(' && ++depth > PARENS_MAX)
			return false;
		else if (s[at] == ')' && depth-- == 0)
			break;
	}
	*ret_end = at;
	return true;
}

/* The place of the closing quote of the title that begins at `at'; 0: none. */
static size_t
scan_title(const char *s, size_t at, size_t n)
{
	char quote = s[at];

	for (at++; at < n && s[at] != quote; at++) {
		if (s[at] == '\n')
			return 0;
		if (s[at] == '\\' && at + 1 < n && s[at + 1] != '\n')
			at++;
	}
	return at < n ? at : 0;
}

size_t
aic_markdown_scan_target(const char *s, size_t at, size_t n,
    struct aic_markdown_target *ret)
{
	struct aic_markdown_target t = { 0 };
	size_t end, from;

	if (at == n || s[at] != '(')
		return 0;
	at = skip_blanks(s, at + 1, n);
	if (at < n && s[at] == '<') {
		from = ++at;
		while (at < n && !strchr("<>\n", s[at]))
			at++;
		end = at;
		if (at++ == n || s[end] != '>')
			return 0;
	} else {
		from = at;
		if (!scan_plain_target(s, at, n, &end))
			return 0;
		at = end;
	}
	t.s = s + from;
	t.len = end - from;
	at = skip_blanks(s, at, n);
	if (at < n && at > end && (s[at] == '"' || s[at] == '\'')) {
		end = scan_title(s, at, n);
		if (end == 0)
			return 0;
		t.title = s + at + 1;
		t.title_len = end - at - 1;
		at = skip_blanks(s, end + 1, n);
	}
	if (at >= n || s[at] != ')' || !is_target(t.s, t.len))
		return 0;
	*ret = t;
	return at + 1;
}

/* The place of the ">" that ends a text in angle brackets. */
static size_t
scan_pointed(const char *s, size_t at, size_t n)
{
	for (at++; at < n && (unsigned char)s[at] > ' '; at++) {
		if (s[at] == '>')
			return at;
		if (s[at] == '<')
			break;
	}
	return 0;
}

size_t
aic_markdown_scan_autolink(const char *s, size_t at, size_t n)
{
	size_t scheme = scheme_at(s, at + 1, n), end;

	if (scheme == 0)
		return 0;
	end = scan_pointed(s, at, n);
	return end > at + 1 + scheme ? end + 1 : 0;
}

size_t
aic_markdown_scan_address(const char *s, size_t at, size_t n)
{
	size_t i, end = scan_pointed(s, at, n), sign = 0, dot = 0;

	if (end == 0 || !isalpha((unsigned char)s[at + 1]))
		return 0;
	for (i = at + 1; i < end; i++) {
		if (s[i] == '@' && sign == 0)
			sign = i;
		else if (!isalnum((unsigned char)s[i]) && !strchr(".-_+", s[i]))
			return 0;
		if (s[i] == '.' && sign > 0)
			dot = i;
	}
	return dot > sign + 1 && dot + 1 < end ? end + 1 : 0;
}

size_t
aic_markdown_scan_br(const char *s, size_t at, size_t n)
{
	if (!begins_with(s, at, n, "<br"))
		return 0;
	at = skip_blanks(s, at + 3, n);
	at += at < n && s[at] == '/';
	return at < n && s[at] == '>' ? at + 1 : 0;
}

static size_t
count_run(const char *s, size_t at, size_t n)
{
	size_t i = at;

	while (i < n && s[i] == s[at])
		i++;
	return i - at;
}

static bool
goes_on(char c)
{
	return (unsigned char)c >= 0x80 || isalnum((unsigned char)c) ||
	    strchr("/=&%?#_-.", c);
}

size_t
aic_markdown_scan_url(const char *s, size_t at, size_t n)
{
	size_t run;

	if (!begins_with(s, at, n, "https://") &&
	    !begins_with(s, at, n, "http://"))
		return 0;
	for (at += strlen("http://"); at < n; at += run) {
		run = 1;
		if ((unsigned char)s[at] <= ' ' ||
		    strchr("<>\"`[]()|\\", s[at]) ||
		    memcmp(s + at, "\xc2\xbb", n - at > 1 ? 2 : 1) == 0)
			break;
		if (!strchr("*_~", s[at]))
			continue;
		run = count_run(s, at, n);
		if (at + run == n || !goes_on(s[at + run]) ||
		    (s[at] == '*' && run > 1))
			break;
	}
	return at;
}

/* --- delimiters -------------------------------------------------------- */

static uint32_t
char_at(const char *s, size_t at, size_t n)
{
	uint32_t cp = NOTHING;

	return at < n && aic_utf8_next(s + at, n - at, &cp) ? cp : NOTHING;
}

static size_t
find_previous(const char *s, size_t at)
{
	for (at--; at > 0 && ((unsigned char)s[at] & 0xc0) == 0x80;)
		at--;
	return at;
}

static uint32_t
char_before(const char *s, size_t at)
{
	return at == 0 ? NOTHING : char_at(s, find_previous(s, at), at);
}

static bool
is_digit(uint32_t cp)
{
	return cp >= '0' && cp <= '9';
}

/* Letters and digits of any script, including fractions and powers. */
static bool
is_word(uint32_t cp)
{
	if (cp < 0x80)
		return isalnum((int)cp);
	if (cp < 0xc0)
		return cp == 0xaa || cp == 0xb2 || cp == 0xb3 || cp == 0xb5 ||
		    cp == 0xb9 || cp == 0xba || (cp >= 0xbc && cp <= 0xbe);
	if (cp == 0xd7 || cp == 0xf7 || aic_utf8_is_space(cp))
		return false;
	return !(cp >= 0x2000 && cp <= 0x206f) &&
	    !(cp >= 0x20a0 && cp <= 0x20cf) &&
	    !(cp >= 0x2190 && cp <= 0x2bff) &&
	    !(cp >= 0x3001 && cp <= 0x303f) &&
	    !(cp >= 0xfe00 && cp <= 0xfe0f) &&
	    !(cp >= 0xff00 && cp <= 0xff0f) && cp < 0x1f000;
}

static bool
is_money(uint32_t cp)
{
	return cp == '$' || cp == '%' || (cp >= 0xa2 && cp <= 0xa5) ||
	    cp == 0xb0 || (cp >= 0x20a0 && cp <= 0x20cf);
}

static bool
is_one_of(uint32_t cp, const char *set)
{
	return cp > 0 && cp < 0x80 && strchr(set, (int)cp);
}

/*
 * True for a character that can end an operand; begins_operand() is the
 * counterpart.
 */
static bool
ends_operand(uint32_t cp)
{
	return is_word(cp) || is_money(cp) || is_one_of(cp, ")]}.'");
}

static bool
begins_operand(uint32_t cp)
{
	return is_word(cp) || is_money(cp) || is_one_of(cp, "([{") ||
	    cp == 0x221a;
}

static bool
ends_figure(uint32_t cp)
{
	return is_digit(cp) || is_money(cp) || is_one_of(cp, ")]");
}

/*
 * The next character on the same line that is not blank: to the left, or with
 * ink_behind() to the right.
 */
static uint32_t
ink_before(const char *s, size_t at)
{
	uint32_t cp = NOTHING;
	size_t end;

	while (at > 0) {
		end = at;
		at = find_previous(s, at);
		cp = char_at(s, at, end);
		if (cp == '\n' || !aic_utf8_is_space(cp))
			break;
	}
	return cp;
}

static uint32_t
ink_behind(const char *s, size_t at, size_t n)
{
	uint32_t cp = NOTHING;
	size_t len;

	for (; at < n; at += len) {
		len = aic_utf8_next(s + at, n - at, &cp);
		if (len == 0 || cp == '\n' || !aic_utf8_is_space(cp))
			break;
	}
	return cp;
}

/*
 * A single "*" or "_". It can open after a blank or an opening mark, and close
 * before a blank or a closing mark. In 2 *3 and 4* 5 it is a sign of
 * multiplication.
 */
static struct aic_markdown_run
scan_single(const char *s, size_t at, size_t n, uint32_t prev, uint32_t next)
{
	struct aic_markdown_run r = { 0 };

	r.opens = !aic_utf8_is_space(next) && !ends_operand(prev) &&
	    !is_one_of(prev, "/\\=@&?#!+^<");
	r.closes = !aic_utf8_is_space(prev) && !is_one_of(prev, "([{") &&
	    !begins_operand(next) && !is_one_of(next, "\\/=@#+^");
	if (s[at] == '_')
		return r;
	if (aic_utf8_is_space(prev) && (is_digit(next) || next == '(') &&
	    ends_figure(ink_before(s, at)))
		r.opens = false;
	if (aic_utf8_is_space(next) && ends_figure(prev)) {
		next = ink_behind(s, at + 1, n);
		if (is_digit(next) || next == '(')
			r.closes = false;
	}
	return r;
}

struct aic_markdown_run
aic_markdown_scan_run(const char *s, size_t at, size_t len, size_t n)
{
	uint32_t prev = char_before(s, at), next = char_at(s, at + len, n);
	struct aic_markdown_run r = { 0 };
	bool formula;

	if (len > 3 || (s[at] == '~' && len != 2) ||
	    (is_digit(prev) && is_digit(next)))
		return r;
	if (len == 1)
		return scan_single(s, at, n, prev, next);
	formula = (is_word(prev) || is_one_of(prev, ")]}")) &&
	    begins_operand(next);
	formula = formula || (prev == '(' && is_word(char_before(s, at - 1)));
	r.opens = !aic_utf8_is_space(next) && !is_word(prev) && !formula;
	r.closes = !aic_utf8_is_space(prev) && !is_one_of(prev, "([{") &&
	    !(formula && next < 0x80);
	if (s[at] == '_')
		r.closes = r.closes && !is_word(next);
	return r;
}
