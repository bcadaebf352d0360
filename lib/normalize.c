#include "config.h"

#include "lib/normalize.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "lib/utf8.h"

#define YO 0x451
#define YE 0x435

/*
 * Converts the Latin and Cyrillic letters, which sellers write, to lower case.
 */
static uint32_t
lower_letter(uint32_t cp)
{
	if (cp >= 'A' && cp <= 'Z')
		return cp + 'a' - 'A';
	if (cp >= 0x410 && cp <= 0x42f) /* A to Ya */
		cp += 0x20;
	else if (cp >= 0x400 && cp <= 0x40f) /* Yo and its like */
		cp += 0x50;
	return cp == YO ? YE : cp;
}

static bool
ends_with(const struct aic_buf *b, const char *end)
{
	size_t n = strlen(end);

	return b->len >= n && memcmp(b->data + b->len - n, end, n) == 0;
}

static void
trim_end(struct aic_buf *b)
{
	static const char *const marks[] = { " ", ".", "?", "!", "…" };
	const size_t n = sizeof(marks) / sizeof(marks[0]);
	size_t i;

	do {
		for (i = 0; i < n && !ends_with(b, marks[i]); i++)
			;
		if (i < n)
			b->len -= strlen(marks[i]);
	} while (i < n);
}

void
aic_normalize_question(struct aic_buf *to, const char *text)
{
	const char *end = text + strlen(text);
	uint32_t cp, low;
	size_t n;

	for (; text < end; text += n) {
		n = aic_utf8_next(text, (size_t)(end - text), &cp);
		if (n == 0) { /* any other character is kept */
			n = 1;
			aic_buf_put(to, text, n);
			continue;
		}
		low = lower_letter(cp);
		if (low != cp)
			aic_utf8_put(to, low);
		else if (!aic_utf8_blank(text, n))
			aic_buf_put(to, text, n);
		else if (to->len > 0 && !ends_with(to, " "))
			aic_buf_putc(to, ' ');
	}
	if (!to->failed)
		trim_end(to);
}
