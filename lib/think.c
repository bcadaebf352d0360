#include "config.h"

#include "lib/think.h"

#include <string.h>
#include <strings.h>

#include "lib/utf8.h"

static const char *const opening[] = { "<think>", "<thinking>", NULL };
static const char *const closing[] = { "</think>", "</thinking>", NULL };

/* The length of the tag that begins at s; 0: none. */
static size_t
tag_at(const char *s, const char *end, const char *const *tags)
{
	size_t n;

	for (; *tags; tags++) {
		n = strlen(*tags);
		if ((size_t)(end - s) >= n && strncasecmp(s, *tags, n) == 0)
			return n;
	}
	return 0;
}

/* The first tag of a kind, and its length; NULL: none. */
static const char *
find_tag(const char *s, const char *end, const char *const *tags,
    size_t *ret_len)
{
	while (s < end && (s = memchr(s, '<', (size_t)(end - s)))) {
		*ret_len = tag_at(s, end, tags);
		if (*ret_len > 0)
			return s;
		s++;
	}
	return NULL;
}

static const char *
skip_unseen(const char *s, const char *end)
{
	size_t len;

	while (s < end) {
		len = aic_utf8_next(s, (size_t)(end - s), NULL);
		if (len == 0 || !aic_utf8_invisible(s, len))
			break;
		s += len;
	}
	return s;
}

/*
 * Returns the place after the first block of reasoning; NULL: none.
 *
 * A block ends at the first closing tag, whatever its name, because models mix
 * up the names. After nested blocks, the rest of the outer block remains. It
 * ends in a closing tag without an opening tag, so it is the next block.
 */
static const char *
skip_one(const char *s, const char *end)
{
	const char *at = skip_unseen(s, end), *close;
	size_t len = 0, open = tag_at(at, end, opening);

	close = find_tag(at, end, closing, &len);
	if (open > 0)
		return close ? close + len : end;
	/*
	 * Without an opening tag at the start, a closing tag ends reasoning
	 * only if no opening tag precedes it.
	 */
	if (!close || find_tag(at, close, opening, &open))
		return NULL;
	return close + len;
}

size_t
aic_think_skip(const char *s, size_t n)
{
	const char *at = s, *end = s + n, *next;

	while (at < end && (next = skip_one(at, end)))
		at = next;
	return at == s ? 0 : (size_t)(skip_unseen(at, end) - s);
}
