#include "config.h"

#include "lib/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAP 256 /* enough for most responses */

void
aic_buf_init(struct aic_buf *b, size_t max)
{
	*b = (struct aic_buf){ .max = max };
}

void
aic_buf_done(struct aic_buf *b)
{
	free(b->data);
	*b = (struct aic_buf){ .max = b->max };
}

void
aic_buf_clear(struct aic_buf *b)
{
	b->len = 0;
	b->failed = false;
	if (b->data)
		b->data[0] = '\0';
}

bool
aic_buf_room(struct aic_buf *b, size_t n)
{
	size_t cap;
	char *p;

	if (b->failed)
		return false;
	if (n > b->max - b->len) {
		b->failed = true;
		return false;
	}
	if (b->len + n < b->cap)
		return true;
	/*
	 * Double the capacity, or allocate exactly the requested size if that
	 * is more, so that a caller that requests the final size wastes
	 * nothing.
	 */
	cap = b->cap ? b->cap * 2 : FIRST_CAP;
	if (cap <= b->len + n)
		cap = b->len + n + 1;
	p = realloc(b->data, cap);
	if (!p) {
		b->failed = true;
		return false;
	}
	b->data = p;
	b->cap = cap;
	return true;
}

void
aic_buf_put(struct aic_buf *b, const void *p, size_t n)
{
	if (n == 0 || !aic_buf_room(b, n))
		return;
	memcpy(b->data + b->len, p, n);
	b->len += n;
	b->data[b->len] = '\0';
}

void
aic_buf_puts(struct aic_buf *b, const char *s)
{
	aic_buf_put(b, s, strlen(s));
}

void
aic_buf_putc(struct aic_buf *b, char c)
{
	aic_buf_put(b, &c, 1);
}

void
aic_buf_printf(struct aic_buf *b, const char *fmt, ...)
{
	va_list ap;
	int n;

	/* Usually there is room. */
	if (!aic_buf_room(b, 0))
		return;
	va_start(ap, fmt);
	n = vsnprintf(b->data + b->len, b->cap - b->len, fmt, ap);
	va_end(ap);
	if (n < 0) {
		b->failed = true;
		return;
	}
	if ((size_t)n < b->cap - b->len && (size_t)n <= b->max - b->len) {
		b->len += (size_t)n;
		return;
	}
	b->data[b->len] = '\0';
	if (!aic_buf_room(b, (size_t)n))
		return;
	va_start(ap, fmt);
	vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
}

char *
aic_buf_take(struct aic_buf *b, size_t *ret_len)
{
	char *data;

	if (b->failed || !aic_buf_room(b, 0))
		return NULL;
	data = b->data;
	data[b->len] = '\0';
	if (ret_len)
		*ret_len = b->len;
	*b = (struct aic_buf){ .max = b->max };
	return data;
}

char *
aic_buf_join(const char *a, const char *b)
{
	size_t n = strlen(a), m = strlen(b);
	char *s = malloc(n + m + 1);

	if (!s)
		return NULL;
	memcpy(s, a, n);
	memcpy(s + n, b, m + 1);
	return s;
}
