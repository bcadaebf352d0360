#include "config.h"

#include "lib/entity.h"

#include <stdbool.h>
#include <string.h>

#include "lib/hex.h"

/* HTML allows any number of digits; U+10FFFF has seven. */
#define DIGITS_MAX 7

static const struct {
	const char *name;
	uint32_t cp;
} names[] = {
	{ "&amp;", '&' },
	{ "&lt;", '<' },
	{ "&gt;", '>' },
	{ "&quot;", '"' },
	{ "&apos;", '\'' },
	{ "&nbsp;", 0xa0 },
	{ "&laquo;", 0xab },
	{ "&raquo;", 0xbb },
	{ "&shy;", 0xad },
	{ "&deg;", 0xb0 },
	{ "&plusmn;", 0xb1 },
	{ "&middot;", 0xb7 },
	{ "&times;", 0xd7 },
	{ "&divide;", 0xf7 },
	{ "&ndash;", 0x2013 },
	{ "&mdash;", 0x2014 },
	{ "&bdquo;", 0x201e },
	{ "&ldquo;", 0x201c },
	{ "&rdquo;", 0x201d },
	{ "&bull;", 0x2022 },
	{ "&hellip;", 0x2026 },
	{ "&euro;", 0x20ac },
	{ "&trade;", 0x2122 },
	{ "&rarr;", 0x2192 },
	{ "&minus;", 0x2212 },
	{ "&asymp;", 0x2248 },
	{ "&ne;", 0x2260 },
	{ "&le;", 0x2264 },
	{ "&ge;", 0x2265 },
	{ "&copy;", 0xa9 },
	{ "&reg;", 0xae },
};

static size_t
read_numeric(const char *s, size_t n, uint32_t *ret_cp)
{
	bool hex = n > 2 && (s[2] == 'x' || s[2] == 'X');
	size_t i, from = hex ? 3 : 2;
	uint32_t cp = 0;
	int digit;

	for (i = from; i < n && i - from < DIGITS_MAX; i++) {
		digit = aic_hex_digit(s[i]);
		if (digit < 0 || (digit > 9 && !hex))
			break;
		cp = cp * (hex ? 16 : 10) + (uint32_t)digit;
	}
	if (i == from || i == n || s[i] != ';')
		return 0;
	if (cp == 0 || cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff))
		cp = 0xfffd;
	*ret_cp = cp;
	return i + 1;
}

size_t
aic_entity_next(const char *s, size_t n, uint32_t *ret_cp)
{
	size_t i, len;

	if (n < 4 || s[0] != '&')
		return 0;
	if (s[1] == '#')
		return read_numeric(s, n, ret_cp);
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		len = strlen(names[i].name);
		if (len <= n && memcmp(names[i].name, s, len) == 0) {
			*ret_cp = names[i].cp;
			return len;
		}
	}
	return 0;
}
