/*
 * A stream of events. The first byte sets the size of the pieces in which the
 * stream arrives; the rest is the stream.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "lib/sse.h"

/* Small, so that inputs reach both ceilings. */
#define MAX 512

static bool
note(void *arg, const char *data, size_t len)
{
	struct aic_buf *to = arg;

	assert(len <= MAX && data[len] == '\0');
	aic_buf_put(to, data, len);
	aic_buf_putc(to, '\0');
	return len != 4 || memcmp(data, "stop", 4) != 0;
}

/* Appends all events; returns whether the stream was read to its end. */
static bool
read_in_pieces(const char *s, size_t n, size_t piece, struct aic_buf *to)
{
	struct aic_sse sse;
	bool more = true;
	char *copy;
	size_t len;

	aic_sse_init(&sse, MAX);
	for (; more && n > 0; s += len, n -= len) {
		len = n < piece ? n : piece;
		copy = malloc(len); /* so that a sanitizer detects overreads */
		assert(copy);
		memcpy(copy, s, len);
		more = aic_sse_put(&sse, copy, len, note, to);
		free(copy);
	}
	more = more && aic_sse_end(&sse, note, to);
	assert(!more || !aic_sse_failed(&sse));
	aic_sse_done(&sse);
	return more;
}

bool
fuzz_one(const char *data, size_t len)
{
	struct aic_buf whole, cut;
	size_t piece;
	bool all, again;

	if (len < 2)
		return false;
	piece = (unsigned char)*data + 1u;
	data++;
	len--;
	aic_buf_init(&whole, 2 * len + 2);
	aic_buf_init(&cut, 2 * len + 2);
	all = read_in_pieces(data, len, len, &whole);
	again = read_in_pieces(data, len, piece, &cut);
	assert(!whole.failed && !cut.failed);
	/* The pieces do not change the result. */
	assert(all == again && whole.len == cut.len);
	assert(whole.len == 0 || memcmp(whole.data, cut.data, whole.len) == 0);
	/* A stream of events begins with a field name or a colon. */
	if (aic_sse_looks_like(data, len))
		assert(strchr("dei:r", *data));
	all = all && whole.len > 0;
	aic_buf_done(&whole);
	aic_buf_done(&cut);
	return all;
}
