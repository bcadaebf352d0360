#include "config.h"

#include "lib/json.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hex.h"
#include "lib/utf8.h"

#define REPLACEMENT 0xfffd

/*
 * A scan of a text from its beginning to its end, which checks the text, and
 * also builds objects if `build' is set.
 */
struct scan {
	const char *p, *end;
	int depth;
	bool loose; /* the rules of aic_json_parse() */
	bool build;
	struct aic_buf part; /* a decoded string, or a number */
	bool no_memory;
	const char *wrong; /* what is wrong at p */
};

static bool
fail_at(struct scan *s, const char *wrong)
{
	if (!s->wrong)
		s->wrong = wrong;
	return false;
}

static bool
fail_memory(struct scan *s)
{
	s->no_memory = true;
	return fail_at(s, "Out of memory");
}

/*
 * Fails on an error that is allowed in a model's answer (`loose'), but not in a
 * caller's request.
 */
static bool
fail_strict(struct scan *s, const char *wrong)
{
	return s->loose || fail_at(s, wrong);
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

/* --- strings ----------------------------------------------------------- */

static bool
scan_hex4(struct scan *s, uint32_t *ret_unit)
{
	uint32_t unit = 0;
	int i, digit;

	for (i = 0; i < 4; i++, s->p++) {
		digit = s->p < s->end ? aic_hex_digit(*s->p) : -1;
		if (digit < 0)
			return fail_at(s, "Invalid \\uXXXX escape");
		unit = unit << 4 | (uint32_t)digit;
	}
	*ret_unit = unit;
	return true;
}

/*
 * Reads the second half of a surrogate pair. If there is none and the scan is
 * loose, it reads nothing.
 */
static bool
scan_low(struct scan *s, uint32_t *ret_cp)
{
	const char *before = s->p;
	uint32_t low = 0;

	if (s->end - s->p >= 2 && s->p[0] == '\\' && s->p[1] == 'u') {
		s->p += 2;
		if (!scan_hex4(s, &low))
			return false;
	}
	if (low >= 0xdc00 && low <= 0xdfff) {
		*ret_cp = 0x10000 + ((*ret_cp - 0xd800) << 10) + (low - 0xdc00);
		return true;
	}
	if (!s->loose)
		return fail_at(s, "Lone surrogate");
	s->p = before;
	*ret_cp = REPLACEMENT;
	return true;
}

/* Reads an escape, from the byte after the backslash on. */
static bool
scan_escape(struct scan *s, uint32_t *ret_cp)
{
	static const char letters[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
	const char *e;

	if (s->p == s->end)
		return fail_at(s, "Unterminated string");
	if (*s->p != 'u') {
		e = *s->p ? strchr(letters, *s->p) : NULL;
		if (!e)
			return fail_at(s, "Invalid \\escape");
		*ret_cp = (unsigned char)bytes[e - letters];
		s->p++;
		return true;
	}
	s->p++;
	if (!scan_hex4(s, ret_cp))
		return false;
	if (*ret_cp == 0)
		return fail_strict(s, "U+0000 is not allowed");
	if (*ret_cp >= 0xd800 && *ret_cp <= 0xdbff)
		return scan_low(s, ret_cp);
	if (*ret_cp >= 0xdc00 && *ret_cp <= 0xdfff) {
		*ret_cp = REPLACEMENT;
		return fail_strict(s, "Lone surrogate");
	}
	return true;
}

/* ret_from, ret_len: the text between the quotes. */
static bool
scan_string(struct scan *s, const char **ret_from, size_t *ret_len)
{
	uint32_t cp;
	size_t n;

	if (s->p == s->end || *s->p != '"')
		return fail_at(s,
		    "Expecting property name enclosed in double quotes");
	*ret_from = ++s->p;
	while (s->p < s->end && *s->p != '"') {
		if ((unsigned char)*s->p < 0x20 &&
		    !fail_strict(s, "Invalid control character"))
			return false;
		if (*s->p == '\\') {
			s->p++;
			if (!scan_escape(s, &cp))
				return false;
			continue;
		}
		n = s->loose
		    ? 1
		    : aic_utf8_next(s->p, (size_t)(s->end - s->p), NULL);
		if (n == 0)
			return fail_at(s, "Invalid UTF-8");
		s->p += n;
	}
	if (s->p == s->end)
		return fail_at(s, "Unterminated string");
	*ret_len = (size_t)(s->p++ - *ret_from);
	return true;
}

/* Decodes a scanned string into s->part, and ends it with a NUL. */
static bool
decode_string(struct scan *s, const char *from, size_t len)
{
	struct scan in = { .p = from, .end = from + len, .loose = true };
	struct aic_buf *to = &s->part;
	const char *slash;
	uint32_t cp = 0;

	aic_buf_clear(to);
	/* Decoding never lengthens a string, so one allocation is enough. */
	if (!aic_buf_room(to, len))
		return fail_memory(s);
	while (in.p < in.end) {
		slash = memchr(in.p, '\\', (size_t)(in.end - in.p));
		slash = slash ? slash : in.end;
		aic_buf_put(to, in.p, (size_t)(slash - in.p));
		in.p = slash + 1;
		if (slash < in.end && scan_escape(&in, &cp))
			aic_utf8_put(to, cp);
	}
	to->data[to->len] = '\0';
	return true;
}

static bool
read_string(struct scan *s, struct json_object **ret_obj)
{
	const char *from = "";
	size_t len = 0;

	if (!scan_string(s, &from, &len))
		return false;
	if (!s->build)
		return true;
	if (memchr(from, '\\', len)) {
		if (!decode_string(s, from, len))
			return false;
		from = s->part.data;
		len = s->part.len;
	}
	*ret_obj = json_object_new_string_len(from, (int)len);
	return *ret_obj || fail_memory(s);
}

/* --- numbers ----------------------------------------------------------- */

static bool
scan_digits(struct scan *s)
{
	if (!is_digit(s))
		return fail_at(s, "Expecting value");
	while (is_digit(s))
		s->p++;
	return true;
}

static bool
scan_number(struct scan *s, bool *ret_whole)
{
	*ret_whole = true;
	if (*s->p == '-')
		s->p++;
	if (s->p < s->end && *s->p == '0')
		s->p++;
	else if (!scan_digits(s))
		return false;
	if (s->p < s->end && *s->p == '.') {
		*ret_whole = false;
		s->p++;
		if (!scan_digits(s))
			return false;
	}
	if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
		*ret_whole = false;
		s->p++;
		if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
			s->p++;
		if (!scan_digits(s))
			return false;
	}
	return true;
}

/*
 * Uses json-c's types: an integer without a sign is a uint64, and an integer
 * beyond the range of its type becomes the limit of the range.
 */
static struct json_object *
new_number(const char *text, bool whole)
{
	if (!whole)
		return json_object_new_double(strtod(text, NULL));
	if (*text == '-')
		return json_object_new_int64(strtoll(text, NULL, 10));
	return json_object_new_uint64(strtoull(text, NULL, 10));
}

static bool
read_number(struct scan *s, struct json_object **ret_obj)
{
	const char *from = s->p;
	bool whole;

	if (!scan_number(s, &whole))
		return false;
	if (!s->build)
		return true;
	aic_buf_clear(&s->part);
	aic_buf_put(&s->part, from, (size_t)(s->p - from));
	*ret_obj = s->part.failed ? NULL : new_number(s->part.data, whole);
	return *ret_obj || fail_memory(s);
}

/* --- values ------------------------------------------------------------ */

static bool
read_word(struct scan *s, const char *word, struct json_object **ret_obj)
{
	size_t n = strlen(word);

	if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0)
		return fail_at(s, "Expecting value");
	s->p += n;
	if (!s->build || *word == 'n') /* json-c represents null by NULL */
		return true;
	*ret_obj = json_object_new_boolean(*word == 't');
	return *ret_obj || fail_memory(s);
}

static bool read_value(struct scan *s, struct json_object **ret_obj);

static bool
read_member(struct scan *s, struct json_object *into)
{
	struct json_object *v = NULL;
	const char *name = "";
	size_t len = 0;

	if (!scan_string(s, &name, &len))
		return false;
	skip_blank(s);
	if (s->p == s->end || *s->p != ':')
		return fail_at(s, "Expecting ':' delimiter");
	s->p++;
	if (!read_value(s, &v))
		return false;
	if (!s->build)
		return true;
	if (decode_string(s, name, len) &&
	    json_object_object_add(into, s->part.data, v) == 0)
		return true;
	json_object_put(v);
	return fail_memory(s);
}

static bool
read_element(struct scan *s, struct json_object *into)
{
	struct json_object *v = NULL;

	if (!read_value(s, &v))
		return false;
	if (!s->build || json_object_array_add(into, v) == 0)
		return true;
	json_object_put(v);
	return fail_memory(s);
}

/* Reads items between commas, up to and including the closing byte. */
static bool
read_items(struct scan *s, struct json_object *into)
{
	char close = *s->p++ == '{' ? '}' : ']';

	skip_blank(s);
	if (s->p < s->end && *s->p == close) {
		s->p++;
		return true;
	}
	for (;;) {
		skip_blank(s);
		if (!(close == '}' ? read_member : read_element)(s, into))
			return false;
		skip_blank(s);
		if (s->p == s->end || (*s->p != ',' && *s->p != close))
			return fail_at(s, "Expecting ',' delimiter");
		if (*s->p++ == close)
			return true;
	}
}

static bool
read_container(struct scan *s, struct json_object **ret_obj)
{
	struct json_object *obj = NULL;

	if (s->depth == AIC_JSON_DEPTH)
		return fail_at(s, "Nested too deeply");
	if (s->build) {
		obj = *s->p == '{' ? json_object_new_object()
				   : json_object_new_array();
		if (!obj)
			return fail_memory(s);
	}
	s->depth++;
	if (!read_items(s, obj)) {
		json_object_put(obj);
		return false;
	}
	s->depth--;
	*ret_obj = obj;
	return true;
}

/* ret_obj is set if objects are built; for null it is not changed. */
static bool
read_value(struct scan *s, struct json_object **ret_obj)
{
	skip_blank(s);
	if (s->p == s->end)
		return fail_at(s, "Expecting value");
	switch (*s->p) {
	case '{':
	case '[':
		return read_container(s, ret_obj);
	case '"':
		return read_string(s, ret_obj);
	case 't':
		return read_word(s, "true", ret_obj);
	case 'f':
		return read_word(s, "false", ret_obj);
	case 'n':
		return read_word(s, "null", ret_obj);
	default:
		if (*s->p != '-' && !is_digit(s))
			return fail_at(s, "Expecting value");
		return read_number(s, ret_obj);
	}
}

static bool
read_document(struct scan *s, struct json_object **ret_obj)
{
	if (!read_value(s, ret_obj))
		return false;
	skip_blank(s);
	return s->p == s->end || fail_at(s, "Extra data");
}

/* Builds objects. On a failure, s->wrong and s->p are what and where. */
static enum aic_code
build_document(struct scan *s, size_t len, struct json_object **ret_obj)
{
	struct json_object *obj = NULL;
	bool ok;

	/* json-c counts the bytes of a string in an int. */
	if (len > INT_MAX) {
		s->wrong = "Document too long";
		return AIC_EINPUT;
	}
	s->end = s->p + len;
	s->build = true;
	aic_buf_init(&s->part, len);
	ok = read_document(s, &obj);
	aic_buf_done(&s->part);
	if (ok) {
		*ret_obj = obj;
		return AIC_OK;
	}
	json_object_put(obj);
	return s->no_memory ? AIC_ENOMEM : AIC_EINPUT;
}

enum aic_code
aic_json_parse(const char *text, size_t len, struct json_object **ret_obj)
{
	struct scan s = { .p = text, .loose = true };

	return build_document(&s, len, ret_obj);
}

enum aic_code
aic_json_parse_strict(const char *text, size_t len,
    struct json_object **ret_obj, struct aic_json_fault *ret_fault)
{
	struct scan s = { .p = text };
	enum aic_code rc = build_document(&s, len, ret_obj);

	if (rc)
		*ret_fault = (struct aic_json_fault){ .wrong = s.wrong,
			.offset = (size_t)(s.p - text) };
	return rc;
}

/* True if a word such as `true' is cut off by the end of the text. */
static bool
is_word_cut(const struct scan *s)
{
	static const char *const words[] = { "true", "false", "null" };
	size_t n = (size_t)(s->end - s->p), i;

	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (n < strlen(words[i]) && memcmp(s->p, words[i], n) == 0)
			return true;
	return false;
}

bool
aic_json_is_cut(const char *text, size_t len)
{
	struct scan s = { .p = text, .end = text + len, .loose = true };
	struct json_object *none = NULL;

	return !read_document(&s, &none) && (s.p == s.end || is_word_cut(&s));
}

/* --- writing ----------------------------------------------------------- */

/*
 * The number of bytes at s that need no escape. The loop tests eight bytes at a
 * time, because a text of several kilobytes is written for each chat. In the
 * combined word, the high bit of a byte is set if the same byte of x is below
 * 0x20, or is a quote or a backslash. The second loop finds the exact place.
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
	/*
	 * The characters that have a short escape, each followed by its letter.
	 */
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
			aic_hex_put(esc + 4, s, 1);
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
