#include "config.h"

#include "lib/utf8.h"

size_t
aic_utf8_next(const char *s, size_t n, uint32_t *ret_cp)
{
	const unsigned char *u = (const unsigned char *)s;
	uint32_t cp, least;
	size_t len, i;

	if (u[0] < 0x80) {
		if (ret_cp)
			*ret_cp = u[0];
		return 1;
	}
	if ((u[0] & 0xe0) == 0xc0) { /* Cyrillic: most characters */
		if (u[0] < 0xc2 || n < 2 || (u[1] & 0xc0) != 0x80)
			return 0;
		if (ret_cp)
			*ret_cp = (u[0] & 0x1fu) << 6 | (u[1] & 0x3fu);
		return 2;
	}
	if ((u[0] & 0xf0) == 0xe0) {
		len = 3;
		cp = u[0] & 0x0fu;
		least = 0x800;
	} else if ((u[0] & 0xf8) == 0xf0) {
		len = 4;
		cp = u[0] & 0x07u;
		least = 0x10000;
	} else {
		return 0;
	}
	if (len > n)
		return 0;
	for (i = 1; i < len; i++) {
		if ((u[i] & 0xc0) != 0x80)
			return 0;
		cp = cp << 6 | (u[i] & 0x3fu);
	}
	if (cp < least || cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff))
		return 0;
	if (ret_cp)
		*ret_cp = cp;
	return len;
}

size_t
aic_utf8_count(const char *s, size_t n)
{
	size_t count = 0, i;

	for (i = 0; i < n; i++)
		count += ((unsigned char)s[i] & 0xc0) != 0x80;
	return count;
}

bool
aic_utf8_is_space(uint32_t cp)
{
	return (cp >= 0x09 && cp <= 0x0d) || cp == 0x20 || cp == 0x85 ||
	    cp == 0xa0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) ||
	    cp == 0x2028 || cp == 0x2029 || cp == 0x202f || cp == 0x205f ||
	    cp == 0x3000;
}

/*
 * Code points without a shape, from..to, sorted; white space is not included.
 */
static const struct {
	uint32_t from, to;
} shapeless[] = {
	{ 0x00, 0x1f }, /* control characters */
	{ 0x7f, 0x9f }, { 0xad, 0xad }, /* soft hyphen */
	{ 0x34f, 0x34f }, /* combining grapheme joiner */
	{ 0x61c, 0x61c }, /* Arabic letter mark */
	{ 0x115f, 0x1160 }, /* Hangul fillers */
	{ 0x17b4, 0x17b5 }, /* Khmer vowels that are inherent */
	{ 0x180b, 0x180f }, /* Mongolian selectors and the vowel separator */
	{ 0x200b, 0x200f }, /* zero width, direction */
	{ 0x202a, 0x202e }, /* direction */
	{ 0x2060, 0x206f }, /* word joiner, invisible operators, direction */
	{ 0x2800, 0x2800 }, /* Braille pattern blank */
	{ 0x3164, 0x3164 }, /* Hangul filler */
	{ 0xfe00, 0xfe0f }, /* variation selectors */
	{ 0xfeff, 0xfeff }, /* BOM, zero-width no-break space */
	{ 0xffa0, 0xffa0 }, /* half-width Hangul filler */
	{ 0xfff0, 0xfffc }, /* annotations, object replacement */
	{ 0x1bca0, 0x1bca3 }, /* shorthand format controls */
	{ 0x1d159, 0x1d159 }, /* musical symbol null notehead */
	{ 0x1d173, 0x1d17a }, /* musical format controls */
	{ 0xe0000, 0xe0fff }, /* tags, more variation selectors */
};

static bool
is_shapeless(uint32_t cp)
{
	size_t i;

	for (i = 0; i < sizeof(shapeless) / sizeof(shapeless[0]); i++)
		if (cp <= shapeless[i].to)
			return cp >= shapeless[i].from;
	return false;
}

bool
aic_utf8_blank(const char *s, size_t n)
{
	size_t len;
	uint32_t cp;

	for (; n > 0; s += len, n -= len) {
		len = aic_utf8_next(s, n, &cp);
		if (len == 0 || !aic_utf8_is_space(cp))
			return false;
	}
	return true;
}

bool
aic_utf8_invisible(const char *s, size_t n)
{
	size_t len;
	uint32_t cp;

	for (; n > 0; s += len, n -= len) {
		len = aic_utf8_next(s, n, &cp);
		if (len == 0 || !(aic_utf8_is_space(cp) || is_shapeless(cp)))
			return false;
	}
	return true;
}

void
aic_utf8_put(struct aic_buf *to, uint32_t cp)
{
	/* The high bits of the first byte, by the number of bytes. */
	static const unsigned char first[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
	size_t n = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4, i;
	char u[4];

	for (i = n - 1; i > 0; i--, cp >>= 6)
		u[i] = (char)(0x80 | (cp & 0x3f));
	u[0] = (char)(first[n] | cp);
	aic_buf_put(to, u, n);
}

void
aic_utf8_mend(struct aic_buf *to, const char *s, size_t n)
{
	const char *good = s; /* runs of valid text are copied at once */
	const char *end = s + n;
	size_t len;

	while (s < end) {
		/*
		 * Scans a run of Cyrillic at once, because nearly all text is
		 * Cyrillic.
		 */
		while (end - s >= 2 && (unsigned char)s[0] >= 0xc2 &&
		    (unsigned char)s[0] <= 0xdf &&
		    ((unsigned char)s[1] & 0xc0) == 0x80)
			s += 2;
		if (s == end)
			break;
		len = *s ? aic_utf8_next(s, (size_t)(end - s), NULL) : 0;
		if (len > 0) {
			s += len;
			continue;
		}
		aic_buf_put(to, good, (size_t)(s - good));
		aic_buf_puts(to, "\xef\xbf\xbd");
		good = ++s;
	}
	aic_buf_put(to, good, (size_t)(s - good));
}
