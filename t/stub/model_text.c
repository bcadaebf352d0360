#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "model.h"

#include <stdlib.h>
#include <strings.h>

/* A text that has grown over this is freed when it is emptied. */
#define TEXT_KEEP_MAX (1024 * 1024)

bool
text_grow(struct text *t, size_t more)
{
	size_t cap;
	char *p;

	cap = t->cap > 0 ? t->cap : 4096;
	while (cap - t->len < more)
		cap *= 2;
	p = realloc(t->p, cap);
	if (p == NULL) {
		t->failed = true;
		return false;
	}
	t->p = p;
	t->cap = cap;
	return true;
}

void
put_fill(struct text *t, char c, size_t n)
{
	if (t->cap - t->len < n && !text_grow(t, n))
		return;
	memset(t->p + t->len, c, n);
	t->len += n;
}

void
put_u(struct text *t, uint64_t v)
{
	char buf[20], *p = buf + sizeof(buf);

	do {
		*--p = (char)('0' + v % 10);
		v /= 10;
	} while (v > 0);
	put(t, p, (size_t)(buf + sizeof(buf) - p));
}

void
put_hex(struct text *t, uint64_t v)
{
	char buf[16];
	int i;

	for (i = 15; i >= 0; i--, v >>= 4)
		buf[i] = "0123456789abcdef"[v & 15];
	put(t, buf, sizeof(buf));
}

void
put_json(struct text *t, const char *s, size_t n)
{
	static const char hex[] = "0123456789abcdef";
	size_t i, from;
	char esc[6] = { '\\', 'u', '0', '0' };
	unsigned char c;

	putz(t, "\"");
	for (i = from = 0; i < n; i++) {
		c = (unsigned char)s[i];
		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		put(t, s + from, i - from);
		from = i + 1;
		if (c < 0x20) {
			esc[4] = hex[c >> 4];
			esc[5] = hex[c & 15];
			put(t, esc, 6);
		} else {
			put(t, "\\", 1);
			put(t, s + i, 1);
		}
	}
	put(t, s + from, n - from);
	putz(t, "\"");
}

void
put_json_or_null(struct text *t, const char *s)
{
	if (s == NULL || strcmp(s, "null") == 0)
		putz(t, "null");
	else
		put_json(t, s, strlen(s));
}

void
text_reset(struct text *t)
{
	if (t->cap > TEXT_KEEP_MAX) {
		free(t->p);
		t->p = NULL;
		t->cap = 0;
	}
	t->len = 0;
	t->failed = false;
}

bool
read_number(const char *s, size_t n, int64_t min, int64_t max, int64_t *ret)
{
	int64_t v = 0;
	size_t i;

	if (n == 0 || n > 18)
		return false;
	for (i = 0; i < n; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		v = v * 10 + (s[i] - '0');
	}
	if (v < min || v > max)
		return false;
	*ret = v;
	return true;
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

char *
decode_percent(const char *s, size_t n)
{
	char *out;
	size_t i, len = 0;
	int hi, lo;

	out = malloc(n + 1);
	if (out == NULL)
		return NULL;
	for (i = 0; i < n; i++) {
		if (s[i] != '%') {
			out[len++] = s[i];
			continue;
		}
		hi = i + 2 < n ? hex_digit(s[i + 1]) : -1;
		lo = i + 2 < n ? hex_digit(s[i + 2]) : -1;
		if (hi < 0 || lo < 0 || hi + lo == 0) {
			free(out);
			return NULL;
		}
		out[len++] = (char)(hi * 16 + lo);
		i += 2;
	}
	out[len] = '\0';
	return out;
}

bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

bool
is_word(const char *s, size_t n, const char *word)
{
	return n == strlen(word) && strncasecmp(s, word, n) == 0;
}
