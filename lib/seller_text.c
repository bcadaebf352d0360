#include "config.h"

#include "lib/seller_text.h"

#include <json-c/json.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/utf8.h"

void
aic_seller_text_cut(struct aic_buf *b, size_t len)
{
	b->len = len;
	if (b->data)
		b->data[len] = '\0';
}

/* White space, and control characters. */
static bool
is_blank(uint32_t cp)
{
	return cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || aic_utf8_is_space(cp);
}

/*
 * Characters that a reader of the text does not see but a model reads: joiners,
 * direction marks, tags, variation selectors, private use.
 */
static bool
is_unseen(uint32_t cp)
{
	return cp == 0xad || cp == 0x34f || cp == 0x61c ||
	    (cp >= 0x115f && cp <= 0x1160) || (cp >= 0x17b4 && cp <= 0x17b5) ||
	    (cp >= 0x180b && cp <= 0x180f) || (cp >= 0x200b && cp <= 0x200f) ||
	    (cp >= 0x202a && cp <= 0x202e) || (cp >= 0x2060 && cp <= 0x206f) ||
	    cp == 0x3164 || (cp >= 0xe000 && cp <= 0xf8ff) ||
	    (cp >= 0xfe00 && cp <= 0xfe0f) || cp == 0xfeff || cp == 0xffa0 ||
	    (cp >= 0xfff0 && cp <= 0xfffb) || cp >= 0xe0000;
}

/* Guillemets that quote, and characters that look like them. */
static bool
is_guillemet(uint32_t cp)
{
	return cp == 0xab || cp == 0xbb || cp == 0x2039 || cp == 0x203a ||
	    (cp >= 0x201c && cp <= 0x201f) || (cp >= 0x2768 && cp <= 0x276f) ||
	    (cp >= 0x27e8 && cp <= 0x27eb) || (cp >= 0x3008 && cp <= 0x300f);
}

bool
aic_seller_text_quote(struct aic_buf *b, const char *s, size_t len,
    int chars_max)
{
	size_t begin = b->len, n;
	bool gap = false;
	uint32_t cp;
	int chars = 0;

	aic_buf_puts(b, "«");
	for (; len > 0 && chars < chars_max; s += n, len -= n) {
		n = aic_utf8_next(s, len, &cp);
		if (n == 0) { /* not UTF-8: treated as no text */
			n = 1;
			continue;
		}
		if (is_unseen(cp))
			continue;
		if (is_blank(cp)) {
			gap = chars > 0;
			continue;
		}
		if (gap) {
			aic_buf_putc(b, ' ');
			chars++;
			gap = false;
		}
		if (is_guillemet(cp))
			aic_buf_putc(b, '"');
		else
			aic_buf_put(b, s, n);
		chars++;
	}
	if (chars == 0) {
		aic_seller_text_cut(b, begin);
		return false;
	}
	aic_buf_puts(b, len > 0 ? "…»" : "»");
	return true;
}

/* Python's decimals are sent as texts. */
static bool
read_text(struct json_object *v, double *ret)
{
	const char *s = json_object_get_string(v);
	size_t n = (size_t)json_object_get_string_len(v);
	char *end;

	if (n == 0 || n > 20 || strspn(s, "0123456789.-") != n)
		return false;
	*ret = strtod(s, &end);
	return *end == '\0' && end != s;
}

bool
aic_seller_text_is_number(struct json_object *v)
{
	return json_object_is_type(v, json_type_int) ||
	    json_object_is_type(v, json_type_double);
}

bool
aic_seller_text_number(struct json_object *v, double *ret)
{
	if (json_object_is_type(v, json_type_string)) {
		if (!read_text(v, ret))
			return false;
	} else if (aic_seller_text_is_number(v)) {
		*ret = json_object_get_double(v);
	} else {
		return false;
	}
	return isfinite(*ret) && fabs(*ret) < AIC_SELLER_TEXT_HUGE;
}

void
aic_seller_text_group(struct aic_buf *b, double x, bool money)
{
	char digits[40];
	size_t whole, i, n;

	n = (size_t)snprintf(digits, sizeof(digits), "%.2f", fabs(x));
	whole = n - 3;
	if (strcmp(digits + whole, ".00") == 0)
		n = whole;
	else if (!money && digits[n - 1] == '0')
		n--;
	if (x < 0 && digits[strspn(digits, "0.")] != '\0')
		aic_buf_putc(b, '-');
	for (i = 0; i < n; i++) {
		if (i > 0 && i < whole && (whole - i) % 3 == 0)
			aic_buf_putc(b, ' ');
		aic_buf_putc(b, digits[i] == '.' ? ',' : digits[i]);
	}
}

bool
aic_seller_text_moment(struct aic_buf *b, const char *s, size_t len)
{
	static const char shape[] = "dddd-dd-ddTdd:dd";
	size_t i, n = len < sizeof(shape) - 1 ? len : sizeof(shape) - 1;

	if (len != 10 && len < sizeof(shape) - 1)
		return false;
	for (i = 0; i < n; i++)
		if (shape[i] == 'd'
			? s[i] < '0' || s[i] > '9'
			: shape[i] != s[i] && !(i == 10 && s[i] == ' '))
			return false;
	if (strspn(s + n, "0123456789:.+-Z") != len - n)
		return false;
	aic_buf_printf(b, "%.2s.%.2s.%.4s", s + 8, s + 5, s);
	if (n > 10 && strncmp(s + 11, "00:00", 5) != 0)
		aic_buf_printf(b, " %.5s", s + 11);
	return true;
}
