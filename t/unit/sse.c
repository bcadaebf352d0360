#include "config.h"

#include "lib/sse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"

/* Appends each event of a stream in brackets. */
static bool
note(void *arg, const char *data, size_t len)
{
	struct aic_buf *to = arg;

	assert_int_equal(data[len], '\0');
	aic_buf_putc(to, '[');
	aic_buf_put(to, data, len);
	aic_buf_putc(to, ']');
	return true;
}

/* Reads a stream in pieces of this size; 0: in one piece. */
static char *
events(const char *s, size_t len, size_t piece)
{
	struct aic_sse sse;
	struct aic_buf out;
	size_t n;
	char *copy;

	aic_buf_init(&out, 100000);
	aic_buf_puts(&out, "");
	aic_sse_init(&sse, 1000);
	while (len > 0) {
		n = piece == 0 || piece > len ? len : piece;
		copy = malloc(n); /* so that a sanitizer detects overreads */
		memcpy(copy, s, n);
		assert_true(aic_sse_put(&sse, copy, n, note, &out));
		free(copy);
		s += n;
		len -= n;
	}
	assert_true(aic_sse_end(&sse, note, &out));
	assert_false(aic_sse_failed(&sse));
	aic_sse_done(&sse);
	aic_buf_putc(&out, ' ');
	return aic_buf_take(&out, NULL);
}

#define BOM "\xef\xbb\xbf"

static const struct {
	const char *stream;
	size_t len;
	const char *events;
} rows[] = {
	{ LIT(""), "" },
	{ LIT("\n\n\n"), "" },
	{ LIT("data: a\n\n"), "[a]" },
	{ LIT("data: a\n\ndata: b\n\n"), "[a][b]" },
	{ LIT("data: a\r\n\r\ndata: b\r\n\r\n"), "[a][b]" },
	{ LIT("data: a\r\rdata: b\r\r"), "[a][b]" },
	{ LIT("data: a\n\r\ndata: b\r\n\n"), "[a][b]" },
	{ LIT("data: a\n\n\n\ndata: b\n\n"), "[a][b]" },
	/* One space after the colon is left out. */
	{ LIT("data:a\n\n"), "[a]" },
	{ LIT("data:  a \n\n"), "[ a ]" },
	{ LIT("data:\ta\n\n"), "[\ta]" },
	/* One event of several lines. */
	{ LIT("data: a\ndata: b\n\n"), "[a\nb]" },
	{ LIT("data: a\ndata:\ndata: b\n\n"), "[a\n\nb]" },
	{ LIT("data\n\n"), "[]" },
	{ LIT("data:\n\n"), "[]" },
	{ LIT("data: a\nevent: x\ndata: b\n\n"), "[a\nb]" },
	/* Other fields are ignored. */
	{ LIT(": comment\ndata: a\n: OPENROUTER PROCESSING\n\n"), "[a]" },
	{ LIT("event: message\nid: 7\nretry: 10\ndata: a\n\n"), "[a]" },
	{ LIT("event: ping\n\ndata: a\n\n"), "[a]" },
	{ LIT(":\n\n:\n\n"), "" },
	{ LIT("dat: a\n\ndatax: a\n\n data: a\n\nDATA: a\n\n"), "" },
	{ LIT("{\"error\":{}}\n\n"), "" },
	/* Without the last empty line, or cut off. */
	{ LIT("data: a\n"), "[a]" },
	{ LIT("data: a"), "[a]" },
	{ LIT("data: a\r"), "[a]" },
	{ LIT("data: a\n\ndata: {\"cu"), "[a][{\"cu]" },
	{ LIT("data: a\n\nda"), "[a]" },
	/* A byte order mark counts only at the beginning. */
	{ LIT(BOM "data: a\n\n"), "[a]" },
	{ LIT(BOM BOM "data: a\n\n"), "" },
	{ LIT("data: a\n\n" BOM "data: b\n\n"), "[a]" },
	{ LIT("data: " BOM "a\n\n"), "[" BOM "a]" },
	/* Bytes that are not UTF-8. */
	{ LIT("data: \xff\n\n"), "[\xff]" },
};

static void
events_are_read_in_pieces_of_any_size(void **state)
{
	size_t i, piece, n;
	char *got;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (piece = 0; piece <= rows[i].len; piece++) {
			got = events(rows[i].stream, rows[i].len, piece);
			n = strlen(got);
			got[n - 1] = '\0';
			if (strcmp(got, rows[i].events) != 0)
				fail_msg("%s in pieces of %zu: %s",
				    rows[i].stream, piece, got);
			free(got);
		}
}

static bool
stop(void *arg, const char *data, size_t len)
{
	(void)len;
	(*(int *)arg)++;
	return strcmp(data, "[DONE]") != 0;
}

static void
the_callback_of_an_event_can_end_the_reading(void **state)
{
	static const char text[] = "data: a\n\ndata: [DONE]\n\ndata: b\n\n";
	struct aic_sse sse;
	int n = 0;

	(void)state;
	aic_sse_init(&sse, 1000);
	assert_false(aic_sse_put(&sse, LIT(text), stop, &n));
	assert_false(aic_sse_failed(&sse));
	assert_int_equal(n, 2);
	aic_sse_done(&sse);
}

static void
a_line_over_the_ceiling_fails(void **state)
{
	static const char *const streams[] = { "data: 1234567890\n\n",
		"data: 1234\ndata: 5678\n\n", ":234567890" };
	struct aic_sse sse;
	size_t i, j, len;
	bool more;
	int n = 0;

	(void)state;
	for (i = 0; i < sizeof(streams) / sizeof(streams[0]); i++) {
		aic_sse_init(&sse, 8);
		len = strlen(streams[i]);
		for (j = 0, more = true; more && j < len; j++)
			more = aic_sse_put(&sse, streams[i] + j, 1, stop, &n);
		assert_false(more);
		assert_true(aic_sse_failed(&sse));
		assert_false(aic_sse_put(&sse, "\n", 1, stop, &n));
		assert_false(aic_sse_end(&sse, stop, &n));
		aic_sse_done(&sse);
	}
	assert_int_equal(n, 0);
}

static void
many_short_lines_take_time_in_proportion_to_their_bytes(void **state)
{
	static const char *const lines[] = { "\n", "\r", "\r\n", "data\n",
		"data\n\n", ":\r" };
	size_t i, n, max = 1024 * 1024;
	char *text = malloc(max);
	struct aic_sse sse;
	int count = 0;

	(void)state;
	for (i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		for (n = 0; n + strlen(lines[i]) <= max; n += strlen(lines[i]))
			memcpy(text + n, lines[i], strlen(lines[i]));
		aic_sse_init(&sse, max);
		alarm(10);
		assert_true(aic_sse_put(&sse, text, n, stop, &count));
		alarm(0);
		aic_sse_done(&sse);
	}
	free(text);
}

static void
a_stream_and_a_document_differ_in_their_first_bytes(void **state)
{
	static const char *const yes[] = { "data: {", "data:{", ": x", ":",
		"event: a", "id:1", "retry: 1" };
	static const char *const no[] = { "", "{", "[", "\"data:\"", "data",
		"date: x", "<html>", "dat", " data: x", "null" };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
		assert_true(aic_sse_looks_like(yes[i], strlen(yes[i])));
	for (i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		assert_false(aic_sse_looks_like(no[i], strlen(no[i])));
	assert_false(aic_sse_looks_like("data:", 4));
	assert_false(aic_sse_looks_like(NULL, 0));
}

static void
done_may_get_a_zeroed_struct(void **state)
{
	struct aic_sse sse = { .begun = false };

	(void)state;
	aic_sse_done(&sse);
}

UNIT_MAIN(T(events_are_read_in_pieces_of_any_size),
    T(the_callback_of_an_event_can_end_the_reading),
    T(a_line_over_the_ceiling_fails),
    T(many_short_lines_take_time_in_proportion_to_their_bytes),
    T(a_stream_and_a_document_differ_in_their_first_bytes),
    T(done_may_get_a_zeroed_struct))
