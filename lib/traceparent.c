#include "config.h"

#include "lib/traceparent.h"

#include <stdio.h>
#include <string.h>

#include "lib/hex.h"

/* Where the parts of VERSION "-" TRACE "-" PARENT "-" FLAGS begin. */
enum part {
	VERSION_AT = 0,
	TRACE_AT = 3,
	PARENT_AT = 36,
	FLAGS_AT = 53,
	END_AT = 55,
};

/*
 * "sampled", and "random", which says that the trace id is random. All other
 * flags have no meaning yet and are not passed on.
 */
#define FLAGS_KNOWN 0x03

/* True if n characters are digits of lower case. */
static bool
is_hex(const char *p, size_t n)
{
	return strspn(p, "0123456789abcdef") >= n;
}

static bool
is_zero(const char *p, size_t n)
{
	return strspn(p, "0") >= n;
}

/*
 * A later version may have more parts behind those of version 00. Version ff
 * does not exist.
 */
static bool
is_valid(const char *s)
{
	if (strnlen(s, END_AT) < END_AT || s[TRACE_AT - 1] != '-' ||
	    s[PARENT_AT - 1] != '-' || s[FLAGS_AT - 1] != '-')
		return false;
	if (!is_hex(s + VERSION_AT, 2) || !is_hex(s + TRACE_AT, 32) ||
	    !is_hex(s + PARENT_AT, 16) || !is_hex(s + FLAGS_AT, 2))
		return false;
	if (is_zero(s + TRACE_AT, 32) || is_zero(s + PARENT_AT, 16) ||
	    memcmp(s, "ff", 2) == 0)
		return false;
	return s[END_AT] == '\0' || (s[END_AT] == '-' && !is_zero(s, 2));
}

/* No other character is valid here, and a line break would add a header. */
static bool
is_printable(const char *s)
{
	for (; *s; s++)
		if (*s < ' ' || *s > '~')
			return false;
	return true;
}

bool
aic_traceparent_read(struct aic_traceparent *t, const char *parent,
    const char *state)
{
	*t = (struct aic_traceparent){ .trace_id = "" };
	if (!parent || !is_valid(parent) || !aic_id_span(t->span_id))
		return false;
	memcpy(t->trace_id, parent + TRACE_AT, sizeof(t->trace_id) - 1);
	snprintf(t->line, sizeof(t->line), "traceparent: 00-%s-%s-%02x",
	    t->trace_id, t->span_id,
	    (unsigned)aic_hex_byte(parent + FLAGS_AT) & FLAGS_KNOWN);
	t->headers[0] = t->line;
	if (state && *state && is_printable(state) &&
	    strlen(state) <= AIC_TRACEPARENT_STATE_MAX) {
		snprintf(t->state_line, sizeof(t->state_line), "tracestate: %s",
		    state);
		t->headers[1] = t->state_line;
	}
	return true;
}
