#include "config.h"

#include "json.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "utf8.h"

struct scan {
	const char *p, *end;
	int depth;
	const char *wrong; /* what broke, at p */
};

static bool
fail(struct scan *s, const char *wrong)
{
	if (!s->wrong)
		s->wrong = wrong;
	return false;
}

static void
skip_blank(struct scan *s)
{
	while (s->p < s->end &&
	    (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
		s->p++;
}

static bool
is_digit(const struct scan *s)
{
	return s->p < s->end && *s->p >= '0' && *s->p <= '9';
}

static bool
scan_hex4(struct scan *s, uint32_t *ret_unit)
{
	uint32_t unit = 0;
	int i;
	char c;

	for (i = 0; i < 4; i++, s->p++) {
		if (s->p == s->end)
			return fail(s, "Invalid \\uXXXX escape");
		c = *s->p;
		if (c >= '0' && c <= '9')
			unit = unit << 4 | (uint32_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			unit = unit << 4 | (uint32_t)(c - 'a' + 10);
		else if (c >= 'A' && c <= 'F')
			unit = unit << 4 | (uint32_t)(c - 'A' + 10);
		else
			return fail(s, "Invalid \\uXXXX escape");
	}
	*ret_unit = unit;
	return true;
}

/* At the byte behind the backslash. */
static bool
scan_escape(struct scan *s)
{
	uint32_t unit = 0, low = 0;

	if (s->p == s->end)
		return fail(s, "Unterminated string");
	if (*s->p != 'u') {
		if (*s->p == '\0' || !strchr("\"\\/bfnrt", *s->p))
			return fail(s, "Invalid \\escape");
		s->p++;
		return true;
	}
	s->p++;
	if (!scan_hex4(s, &unit))
		return false;
	if (unit == 0)
		return fail(s, "U+0000 is not allowed");
	if (unit >= 0xdc00 && unit <= 0xdfff)
		return fail(s, "Lone surrogate");
	if (unit < 0xd800 || unit > 0xdbff)
		return true;
	if (s->end - s->p < 2 || s->p[0] != '\\' || s->p[1] != 'u')
		return fail(s, "Lone surrogate");
	s->p += 2;
	if (!scan_hex4(s, &low))
		return false;
	if (low < 0xdc00 || low > 0xdfff)
		return fail(s, "Lone surrogate");
	return true;
}

static bool
scan_string(struct scan *s)
{
	size_t n;

	if (s->p == s->end || *s->p != '"')
		return fail(s,
		    "Expecting property name enclosed in double quotes");
	s->p++;
	while (s->p < s->end && *s->p != '"') {
		if ((unsigned char)*s->p < 0x20)
			return fail(s, "Invalid control character");
		if (*s->p == '\\') {
			s->p++;
			if (!scan_escape(s))
				return false;
			continue;
		}
		n = aic_utf8_next(s->p, (size_t)(s->end - s->p), NULL);
		if (n == 0)
			return fail(s, "Invalid UTF-8");
		s->p += n;
	}
	if (s->p == s->end)
		return fail(s, "Unterminated string");
	s->p++;
	return true;
}

static bool
scan_digits(struct scan *s)
{
	if (!is_digit(s))
		return fail(s, "Expecting value");
	while (is_digit(s))
		s->p++;
	return true;
}

static bool
scan_number(struct scan *s)
{
	if (*s->p == '-')
		s->p++;
	if (s->p < s->end && *s->p == '0')
		s->p++;
	else if (!scan_digits(s))
		return false;
	if (s->p < s->end && *s->p == '.') {
		s->p++;
		if (!scan_digits(s))
			return false;
	}
	if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
		s->p++;
		if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
			s->p++;
		if (!scan_digits(s))
			return false;
	}
	return true;
}

static bool
scan_word(struct scan *s, const char *word)
{
	size_t n = strlen(word);

	if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0)
		return fail(s, "Expecting value");
	s->p += n;
	return true;
}

static bool scan_value(struct scan *s);

static bool
scan_member(struct scan *s)
{
	if (!scan_string(s))
		return false;
	skip_blank(s);
	if (s->p == s->end || *s->p != ':')
		return fail(s, "Expecting ':' delimiter");
	s->p++;
	return scan_value(s);
}

/* An object or an array: items between commas, up to the closing byte. */
static bool
scan_items(struct scan *s, char close, bool (*item)(struct scan *))
{
	if (++s->depth > AIC_JSON_DEPTH)
		return fail(s, "Nested too deeply");
	s->p++;
	skip_blank(s);
	if (s->p < s->end && *s->p == close) {
		s->p++;
		s->depth--;
		return true;
	}
	for (;;) {
		skip_blank(s);
		if (!item(s))
			return false;
		skip_blank(s);
		if (s->p == s->end || (*s->p != ',' && *s->p != close))
			return fail(s, "Expecting ',' delimiter");
		if (*s->p++ == close)
			break;
	}
	s->depth--;
	return true;
}

static bool
scan_value(struct scan *s)
{
	skip_blank(s);
	if (s->p == s->end)
		return fail(s, "Expecting value");
	switch (*s->p) {
	case '{':
		return scan_items(s, '}', scan_member);
	case '[':
		return scan_items(s, ']', scan_value);
	case '"':
		return scan_string(s);
	case 't':
		return scan_word(s, "true");
	case 'f':
		return scan_word(s, "false");
	case 'n':
		return scan_word(s, "null");
	default:
		if (*s->p != '-' && !is_digit(s))
			return fail(s, "Expecting value");
		return scan_number(s);
	}
}

const char *
aic_json_check(const char *text, size_t len, size_t *ret_offset)
{
	struct scan s = { .p = text, .end = text + len };

	if (scan_value(&s)) {
		skip_blank(&s);
		if (s.p < s.end)
			fail(&s, "Extra data");
	}
	if (s.wrong)
		*ret_offset = (size_t)(s.p - text);
	return s.wrong;
}

struct json_object *
aic_json_parse(const char *text, size_t len)
{
	struct json_tokener *tok;
	struct json_object *obj;
	size_t end;

	if (len == 0 || len > INT_MAX)
		return NULL;
	/* json-c counts the scalar in the innermost array as a level too. */
	tok = json_tokener_new_ex(AIC_JSON_DEPTH + 2);
	if (!tok)
		return NULL;
	obj = json_tokener_parse_ex(tok, text, (int)len);
	end = json_tokener_get_parse_end(tok);
	/* A number or word that ends with the text might go on, to json-c. */
	if (json_tokener_get_error(tok) == json_tokener_continue)
		obj = json_tokener_parse_ex(tok, "\n", 1);
	if (json_tokener_get_error(tok) != json_tokener_success) {
		json_object_put(obj);
		obj = NULL;
	}
	json_tokener_free(tok);
	for (; obj && end < len; end++)
		if (!memchr(" \t\r\n", text[end], 4)) {
			json_object_put(obj);
			obj = NULL;
		}
	return obj;
}

/*
 * How many bytes at s need no escape. Eight at a time, as a text of several
 * kilobytes is written for each chat: a byte of x is below 0x20, or equal to a
 * quote or a backslash, where the high bit of the same byte is set in the sum.
 */
static size_t
plain_run(const char *s, size_t n)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	const uint64_t highs = ones * 0x80;
	uint64_t x, quote, slash;
	size_t i = 0;

	for (; n - i >= sizeof(x); i += sizeof(x)) {
		memcpy(&x, s + i, sizeof(x));
		quote = x ^ ones * '"';
		slash = x ^ ones * '\\';
		if ((((x - ones * 0x20) & ~x) | ((quote - ones) & ~quote) |
			((slash - ones) & ~slash)) &
		    highs)
			break;
	}
	while (i < n && (unsigned char)s[i] >= 0x20 && s[i] != '"' &&
	    s[i] != '\\')
		i++;
	return i;
}

void
aic_json_put_part(struct aic_buf *b, const char *s, size_t n)
{
	static const char hex[] = "0123456789abcdef";
	/* What has a short escape, and its letter. */
	static const char brief[] = "\bb\ff\nn\rr\tt\"\"\\\\";
	char esc[7] = "\\u00";
	const char *e;
	size_t run;

	for (;;) {
		run = plain_run(s, n);
		aic_buf_put(b, s, run);
		s += run;
		n -= run;
		if (n == 0)
			return;
		for (e = brief; *e && *e != *s; e += 2)
			;
		if (*e) {
			aic_buf_putc(b, '\\');
			aic_buf_putc(b, e[1]);
		} else {
			esc[4] = hex[(unsigned char)*s >> 4];
			esc[5] = hex[(unsigned char)*s & 15];
			aic_buf_put(b, esc, 6);
		}
		s++;
		n--;
	}
}

void
aic_json_put_str(struct aic_buf *b, const char *s)
{
	aic_buf_putc(b, '"');
	aic_json_put_part(b, s, strlen(s));
	aic_buf_putc(b, '"');
}
