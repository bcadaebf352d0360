#include "config.h"

#include "lib/sse.h"

#include <string.h>

#define BOM "\xef\xbb\xbf"

void
aic_sse_init(struct aic_sse *sse, size_t max)
{
	memset(sse, 0, sizeof(*sse));
	aic_buf_init(&sse->line, max);
	/* A line feed follows each line of data. */
	aic_buf_init(&sse->data, max + 1);
}

void
aic_sse_done(struct aic_sse *sse)
{
	aic_buf_done(&sse->line);
	aic_buf_done(&sse->data);
}

bool
aic_sse_failed(const struct aic_sse *sse)
{
	return sse->line.failed || sse->data.failed;
}

/* An empty line completes the event. An event without data is dropped. */
static bool
dispatch_event(struct aic_sse *sse, aic_sse_event *event, void *arg)
{
	struct aic_buf *d = &sse->data;
	bool go_on;

	if (d->len == 0)
		return true;
	d->data[--d->len] = '\0'; /* removes the last line feed */
	go_on = event(arg, d->data, d->len);
	aic_buf_clear(d);
	return go_on;
}

/* Reads one line, without its end. */
static bool
take_line(struct aic_sse *sse, const char *s, size_t n, aic_sse_event *event,
    void *arg)
{
	static const char field[] = "data";
	size_t name = sizeof(field) - 1;

	if (!sse->begun && n >= 3 && memcmp(s, BOM, 3) == 0) {
		s += 3;
		n -= 3;
	}
	sse->begun = true;
	if (n == 0)
		return dispatch_event(sse, event, arg);
	if (n < name || memcmp(s, field, name) != 0 ||
	    (n > name && s[name] != ':'))
		return true;
	s += name;
	n -= name;
	if (n > 0) { /* skip the colon and one space */
		s++;
		n--;
	}
	if (n > 0 && *s == ' ') {
		s++;
		n--;
	}
	aic_buf_put(&sse->data, s, n);
	aic_buf_putc(&sse->data, '\n');
	return !sse->data.failed;
}

/*
 * One search for both bytes. With one search for each byte, the search for a
 * byte that does not occur would scan the rest of the input for every line.
 */
static size_t
line_length(const char *s, size_t n)
{
	size_t i;

	for (i = 0; i < n && s[i] != '\n' && s[i] != '\r'; i++)
		;
	return i;
}

/* Ends a line: s has its last part, the buffer its earlier parts. */
static bool
end_line(struct aic_sse *sse, const char *s, size_t n, aic_sse_event *event,
    void *arg)
{
	bool go_on;

	/*
	 * Most lines are in one piece, so they are not copied; the size limit
	 * is the same.
	 */
	if (sse->line.len == 0 && n <= sse->line.max)
		return take_line(sse, s, n, event, arg);
	aic_buf_put(&sse->line, s, n);
	if (sse->line.failed)
		return false;
	go_on = take_line(sse, sse->line.data, sse->line.len, event, arg);
	aic_buf_clear(&sse->line);
	return go_on;
}

bool
aic_sse_put(struct aic_sse *sse, const char *s, size_t n, aic_sse_event *event,
    void *arg)
{
	size_t len;

	if (aic_sse_failed(sse))
		return false;
	while (n > 0) {
		if (sse->skip_lf && *s == '\n') {
			sse->skip_lf = false;
			s++;
			n--;
			continue;
		}
		sse->skip_lf = false;
		len = line_length(s, n);
		if (len == n) {
			aic_buf_put(&sse->line, s, n);
			return !sse->line.failed;
		}
		if (!end_line(sse, s, len, event, arg))
			return false;
		sse->skip_lf = s[len] == '\r';
		s += len + 1;
		n -= len + 1;
	}
	return true;
}

bool
aic_sse_end(struct aic_sse *sse, aic_sse_event *event, void *arg)
{
	if (aic_sse_failed(sse))
		return false;
	if (sse->line.len > 0 && !end_line(sse, "", 0, event, arg))
		return false;
	return dispatch_event(sse, event, arg);
}

bool
aic_sse_looks_like(const char *s, size_t n)
{
	static const char *const begins[] = {
		"data:", "event:", "id:", "retry:", ":"
	};
	size_t i, len;

	for (i = 0; i < sizeof(begins) / sizeof(begins[0]); i++) {
		len = strlen(begins[i]);
		if (n >= len && memcmp(s, begins[i], len) == 0)
			return true;
	}
	return false;
}
