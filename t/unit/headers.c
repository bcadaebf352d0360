#include "config.h"

#include "lib/headers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

/* A secret that no message may quote. */
#define CANARY "sEcReT-cAnArY"

static struct aic_err err;

static enum aic_code
read_text(struct aic_headers *h, const char *text, bool api_key)
{
	char *copy = strdup(text);

	assert_non_null(copy);
	err = (struct aic_err)AIC_ERR_INIT;
	return aic_headers_read(h, copy, strlen(copy), "NAME", "/path", api_key,
	    &err);
}

static void
is_refused(const char *text, bool api_key, const char *says)
{
	struct aic_headers h;

	if (read_text(&h, text, api_key) != AIC_ECONF)
		fail_msg("taken: %s", text);
	assert_null(strstr(err.detail, CANARY));
	assert_int_equal(strncmp(err.detail, "NAME \"/path\"", 12), 0);
	if (!strstr(err.detail, says))
		fail_msg("\"%s\" does not say \"%s\"", err.detail, says);
}

static void
lines_are_headers_and_comments_and_blank_ones_are_left_out(void **state)
{
	struct aic_headers h;

	(void)state;
	assert_int_equal(
	    read_text(&h, "# for the model\n\n \t\nX-A: 1 \n#\nx-b:2\nX-A:  3",
		false),
	    AIC_OK);
	assert_int_equal(h.n, 3);
	assert_string_equal(h.line[0], "X-A: 1");
	assert_string_equal(h.value[0], "1");
	assert_string_equal(h.line[1], "x-b:2");
	assert_string_equal(h.value[1], "2");
	assert_string_equal(h.line[2], "X-A:  3");
	assert_string_equal(h.value[2], "3");
	aic_headers_done(&h);
	assert_int_equal(read_text(&h, "", false), AIC_OK);
	assert_int_equal(h.n, 0);
	aic_headers_done(&h);
	aic_headers_done(&h);
}

static void
a_header_that_the_worker_sets_itself_is_refused_by_its_name(void **state)
{
	static const char *const names[] = { "Authorization", "Host", "Accept",
		"Accept-Encoding", "Content-Type", "content-length",
		"Content-Anything", "Expect", "Connection", "Keep-Alive",
		"Proxy-Authorization", "proxy-x", "TE", "Trailer",
		"Transfer-Encoding", "UPGRADE", "Idempotency-Key",
		"Traceparent", "tracestate" };
	char text[100], says[100];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(text, sizeof(text), "X-A: 1\n%s: " CANARY "\n",
		    names[i]);
		snprintf(says, sizeof(says), "line 2: the header %s cannot",
		    names[i]);
		is_refused(text, false, says);
	}
}

static void
api_key_is_refused_only_where_the_worker_sets_it(void **state)
{
	struct aic_headers h;

	(void)state;
	is_refused("Api-Key: " CANARY, true, "the header Api-Key cannot");
	assert_int_equal(read_text(&h, "Api-Key: x", false), AIC_OK);
	aic_headers_done(&h);
}

static void
a_line_that_is_no_header_is_refused_with_its_number(void **state)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{ CANARY, "line 1: it is not \"Name: value\"" },
		{ "X-A: 1\n\n" CANARY " x", "line 3: it is not" },
		{ " X-A: " CANARY, "line 1: it is not" },
		{ "X-A : " CANARY, "line 1: it is not" },
		{ ": " CANARY, "line 1: it is not" },
		{ "X-A:", "line 1: the header has no value" },
		{ "X-A: \t", "line 1: the header has no value" },
		{ "X-A: " CANARY "\r\n",
		    "line 1: it ends in a carriage return" },
		{ "X-A: " CANARY "\rX: y", "not visible ASCII" },
		{ "X-A: " CANARY "\001", "not visible ASCII" },
		{ "X-A: " CANARY "\tx", "not visible ASCII" },
		{ "X-A: " CANARY "\xd0\xba", "not visible ASCII" },
	};
	char text[64 * 11 + 100] = "";
	struct aic_headers h;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		is_refused(rows[i].text, false, rows[i].says);
	for (i = 0; i < 64; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text),
		    "X-A: 1\n# b\n");
	assert_int_equal(strlen(text), 64 * 11);
	assert_int_equal(read_text(&h, text, false), AIC_OK);
	assert_int_equal(h.n, 64);
	aic_headers_done(&h);
	snprintf(text + strlen(text), sizeof(text) - strlen(text), "X-B: 1\n");
	is_refused(text, false, "line 129: there are more than 64");
}

static void
a_nul_is_refused(void **state)
{
	struct aic_headers h;
	char *text = malloc(9);

	(void)state;
	assert_non_null(text);
	memcpy(text, "X-A: b\0c", 9);
	assert_int_equal(aic_headers_read(&h, text, 8, "NAME", "/path", false,
			     &err),
	    AIC_ECONF);
	assert_non_null(strstr(err.detail, "NUL"));
}

UNIT_MAIN(T(lines_are_headers_and_comments_and_blank_ones_are_left_out),
    T(a_header_that_the_worker_sets_itself_is_refused_by_its_name),
    T(api_key_is_refused_only_where_the_worker_sets_it),
    T(a_line_that_is_no_header_is_refused_with_its_number), T(a_nul_is_refused))
