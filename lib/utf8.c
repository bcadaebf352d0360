#include "config.h"

#include "utf8.h"

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
	if ((u[0] & 0xe0) == 0xc0) { /* Cyrillic: most of what there is */
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

static bool
is_space(uint32_t cp)
{
	return (cp >= 0x09 && cp <= 0x0d) || cp == 0x20 || cp == 0x85 ||
	    cp == 0xa0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) ||
	    cp == 0x2028 || cp == 0x2029 || cp == 0x202f || cp == 0x205f ||
	    cp == 0x3000;
}

bool
aic_utf8_blank(const char *s, size_t n)
{
	size_t len;
	uint32_t cp;

	for (; n > 0; s += len, n -= len) {
		len = aic_utf8_next(s, n, &cp);
		if (len == 0 || !is_space(cp))
			return false;
	}
	return true;
}

void
aic_utf8_put(struct aic_buf *to, uint32_t cp)
{
	if (cp < 0x80) {
		aic_buf_putc(to, (char)cp);
	} else if (cp < 0x800) {
		aic_buf_putc(to, (char)(0xc0 | cp >> 6));
		aic_buf_putc(to, (char)(0x80 | (cp & 0x3f)));
	} else if (cp < 0x10000) {
		aic_buf_putc(to, (char)(0xe0 | cp >> 12));
		aic_buf_putc(to, (char)(0x80 | (cp >> 6 & 0x3f)));
		aic_buf_putc(to, (char)(0x80 | (cp & 0x3f)));
	} else {
		aic_buf_putc(to, (char)(0xf0 | cp >> 18));
		aic_buf_putc(to, (char)(0x80 | (cp >> 12 & 0x3f)));
		aic_buf_putc(to, (char)(0x80 | (cp >> 6 & 0x3f)));
		aic_buf_putc(to, (char)(0x80 | (cp & 0x3f)));
	}
}

void
aic_utf8_mend(struct aic_buf *to, const char *s, size_t n)
{
	const char *good = s; /* runs of good text are copied in one go */
	const char *end = s + n;
	size_t len;

	while (s < end) {
		/* Cyrillic in one go: nearly all that there is. */
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
