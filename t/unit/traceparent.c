#include "config.h"

#include "lib/traceparent.h"

#include <stdio.h>
#include <string.h>

#include "unit.h"

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define SPAN "b7ad6b7169203331"
#define PARENT "00-" TRACE "-" SPAN "-01"

static void
a_call_has_the_trace_of_the_caller_and_a_span_of_its_own(void **state)
{
	struct aic_traceparent a, b;
	char want[100];

	(void)state;
	assert_true(aic_traceparent_read(&a, PARENT, NULL));
	assert_true(aic_traceparent_read(&b, PARENT, NULL));
	assert_string_equal(a.trace_id, TRACE);
	assert_int_equal(strlen(a.span_id), 16);
	assert_int_equal(strspn(a.span_id, "0123456789abcdef"), 16);
	assert_string_not_equal(a.span_id, SPAN);
	assert_string_not_equal(a.span_id, b.span_id);
	snprintf(want, sizeof(want), "traceparent: 00-" TRACE "-%s-01",
	    a.span_id);
	assert_string_equal(a.headers[0], want);
	assert_null(a.headers[1]);
}

static void
the_version_decides_what_may_follow(void **state)
{
	static const struct {
		const char *parent;
		bool valid;
	} rows[] = {
		{ "00-" TRACE "-" SPAN "-00", true },
		{ "00-" TRACE "-" SPAN "-00-", false },
		{ "00-" TRACE "-" SPAN "-00-more", false },
		{ "00-" TRACE "-" SPAN "-000", false },
		{ "01-" TRACE "-" SPAN "-00", true },
		{ "01-" TRACE "-" SPAN "-00-", true },
		{ "cc-" TRACE "-" SPAN "-00-more", true },
		{ "cc-" TRACE "-" SPAN "-00.more", false },
		{ "cc-" TRACE "-" SPAN "-000", false },
		{ "0c-" TRACE "-" SPAN "-00, " PARENT, false },
		{ "ff-" TRACE "-" SPAN "-00", false },
		{ "FE-" TRACE "-" SPAN "-00", false },
	};
	struct aic_traceparent t;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(aic_traceparent_read(&t, rows[i].parent, NULL),
		    rows[i].valid);
		if (rows[i].valid)
			assert_memory_equal(t.headers[0], "traceparent: 00-",
			    16);
	}
}

static void
an_invalid_traceparent_is_no_trace(void **state)
{
	struct aic_traceparent t;
	char parent[] = PARENT;
	size_t i;

	(void)state;
	assert_false(aic_traceparent_read(&t, NULL, "a=b"));
	assert_false(aic_traceparent_read(&t, "", "a=b"));
	assert_string_equal(t.trace_id, "");
	assert_string_equal(t.span_id, "");
	assert_null(t.headers[0]);
	/* No character may be anything else, and none may be missing. */
	for (i = 0; i < sizeof(parent) - 1; i++) {
		parent[i] = 'A';
		assert_false(aic_traceparent_read(&t, parent, NULL));
		parent[i] = '\0';
		assert_false(aic_traceparent_read(&t, parent, NULL));
		parent[i] = PARENT[i];
	}
	assert_true(aic_traceparent_read(&t, parent, NULL));
	assert_false(aic_traceparent_read(&t,
	    "00-00000000000000000000000000000000-" SPAN "-01", NULL));
	assert_false(aic_traceparent_read(&t,
	    "00-" TRACE "-0000000000000000-01", NULL));
}

static void
only_known_flags_are_passed_on(void **state)
{
	static const char *const flags[][2] = { { "00", "00" }, { "01", "01" },
		{ "02", "02" }, { "ff", "03" }, { "fc", "00" } };
	struct aic_traceparent t;
	char parent[] = PARENT;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		memcpy(parent + 53, flags[i][0], 2);
		assert_true(aic_traceparent_read(&t, parent, NULL));
		assert_string_equal(strrchr(t.headers[0], '-') + 1,
		    flags[i][1]);
	}
}

static void
a_tracestate_is_passed_on_unchanged(void **state)
{
	static const char *const dropped[] = { "", "a=b\r\nX-Evil: 1", "a=\x7f",
		"a=\xc3\xa9", "a\t=b" };
	char text[AIC_TRACEPARENT_STATE_MAX + 2];
	struct aic_traceparent t;
	size_t i;

	(void)state;
	assert_true(aic_traceparent_read(&t, PARENT, "rojo=1, congo@x=t 6"));
	assert_string_equal(t.headers[1], "tracestate: rojo=1, congo@x=t 6");
	assert_null(t.headers[2]);
	memset(text, 'a', sizeof(text));
	text[AIC_TRACEPARENT_STATE_MAX] = '\0';
	assert_true(aic_traceparent_read(&t, PARENT, text));
	assert_string_equal(t.headers[1] + 12, text);
	text[AIC_TRACEPARENT_STATE_MAX] = 'a';
	text[AIC_TRACEPARENT_STATE_MAX + 1] = '\0';
	assert_true(aic_traceparent_read(&t, PARENT, text));
	assert_null(t.headers[1]);
	for (i = 0; i < sizeof(dropped) / sizeof(dropped[0]); i++) {
		assert_true(aic_traceparent_read(&t, PARENT, dropped[i]));
		assert_non_null(t.headers[0]);
		assert_null(t.headers[1]);
	}
}

UNIT_MAIN(T(a_call_has_the_trace_of_the_caller_and_a_span_of_its_own),
    T(the_version_decides_what_may_follow),
    T(an_invalid_traceparent_is_no_trace), T(only_known_flags_are_passed_on),
    T(a_tracestate_is_passed_on_unchanged))
