#include "config.h"

#include "lib/completion.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/json.h"
#include "lib/param.h"
#include "unit.h"

#define KEY "sk-sEcReT-cAnArY"
static const char *const keys[] = { KEY, NULL };

/* What aic_completion_read() returned and set. */
struct result {
	enum aic_code rc;
	struct aic_completion c;
	struct aic_completion_error e;
	struct aic_err err;
};

static struct result
read_bytes(const char *s, size_t n)
{
	struct result r = { .rc = AIC_OK };
	struct aic_buf body;

	aic_buf_init(&body, AIC_COMPLETION_MAX);
	aic_buf_put(&body, s, n);
	memset(&r.e, 0x5a, sizeof(r.e));
	r.rc = aic_completion_read(&body, keys, &r.c, &r.e, &r.err);
	aic_buf_done(&body);
	if (r.rc == AIC_OK) {
		assert_non_null(r.c.text);
		assert_int_equal(r.e.status, 0);
		assert_false(r.e.broken);
	} else {
		assert_null(r.c.text);
		assert_int_equal(r.err.code, r.rc);
		assert_true(r.err.says[0] != '\0');
		assert_true(r.err.detail[0] != '\0');
		assert_null(strstr(r.err.says, "CANARY"));
		assert_null(strstr(r.err.detail, "CANARY"));
		assert_null(strstr(r.err.detail, KEY));
	}
	return r;
}

static struct result
read_text(const char *body)
{
	return read_bytes(body, strlen(body));
}

/* --- the text ----------------------------------------------------------- */

#define MSG(fields) "{\"choices\":[{\"message\":{" fields "}}]}"
#define CONTENT(list) MSG("\"content\":" list)
#define BOM "\xef\xbb\xbf"

/*
 * Each body with its text. NULL: the body is no answer and is not worth a
 * retry.
 */
struct row {
	const char *body, *text;
};

static void
check(const struct row *rows, size_t n)
{
	struct result r;
	size_t i;

	for (i = 0; i < n; i++) {
		r = read_text(rows[i].body);
		if (!rows[i].text) {
			if (r.rc != AIC_EUPSTREAM || r.e.broken)
				fail_msg("%s: %s", rows[i].body, r.err.detail);
			continue;
		}
		if (r.rc != AIC_OK)
			fail_msg("%s: %s", rows[i].body, r.err.detail);
		assert_string_equal(r.c.text, rows[i].text);
		free(r.c.text);
	}
}

#define CHECK(rows) check(rows, sizeof(rows) / sizeof(rows[0]))

static void
the_text_of_a_list_of_parts_is_taken(void **state)
{
	static const struct row rows[] = {
		{ CONTENT("[{\"type\":\"text\",\"text\":\"a\"}]"), "a" },
		{ CONTENT("[{\"type\":\"output_text\",\"text\":\"a\"}]"), "a" },
		{ CONTENT("[{\"text\":\"a\"}]"), "a" },
		{ CONTENT("[{\"type\":\"text\",\"text\":\"a\"},"
			  "{\"type\":\"text\",\"text\":\"b\"}]"),
		    "ab" },
		{ CONTENT("[{\"type\":\"thinking\",\"thinking\":[{\"type\":"
			  "\"text\",\"text\":\"secret\"}]},"
			  "{\"type\":\"text\",\"text\":\"a\"}]"),
		    "a" },
		{ CONTENT("[{\"type\":\"reasoning\",\"text\":\"secret\"},"
			  "{\"type\":\"thinking\",\"text\":\"secret\"},"
			  "{\"type\":\"image_url\",\"text\":\"x\"},"
			  "{\"type\":\"text\",\"text\":\"a\"}]"),
		    "a" },
		{ CONTENT(
		      "[null,7,[],\"x\",{\"type\":\"text\",\"text\":\"a\"}]"),
		    "a" },
		{ CONTENT("[]"), NULL },
		{ CONTENT("[\"a\"]"), NULL },
		{ CONTENT("[{\"type\":\"thinking\",\"text\":\"secret\"}]"),
		    NULL },
		{ CONTENT("[{\"type\":\"text\",\"text\":7}]"), NULL },
		{ CONTENT("[{\"type\":\"text\",\"text\":\" \"}]"), NULL },
		{ CONTENT("[{\"type\":7,\"text\":\"a\"}]"), NULL },
		{ CONTENT("[{\"type\":\"refusal\",\"refusal\":\"no\"}]"),
		    NULL },
	};

	(void)state;
	CHECK(rows);
}

static void
hidden_reasoning_is_no_part_of_an_answer(void **state)
{
	static const struct row rows[] = {
		{ MSG("\"reasoning_content\":\"r\",\"content\":\"a\""), "a" },
		{ MSG("\"reasoning\":\"r\",\"reasoning_details\":[{\"text\":\"r\"}],"
		      "\"content\":\"a\""),
		    "a" },
		{ MSG("\"reasoning_content\":\"r\",\"content\":null"), NULL },
		{ MSG("\"reasoning_content\":\"r\",\"content\":\"\""), NULL },
		{ CONTENT("\"<think>\\nr\\n</think>\\n\\nЦена: 990 ₽\""),
		    "Цена: 990 ₽" },
		{ CONTENT("\"r</think>a\""), "a" },
		{ CONTENT("\"<think>r\""), NULL },
		{ CONTENT("\"<think>r</think>\\n\""), NULL },
		{ CONTENT("\"<think>r</think>\\u200b\""), NULL },
		{ CONTENT("[{\"type\":\"text\",\"text\":\"<think>r\"},"
			  "{\"type\":\"text\",\"text\":\"</think>a\"}]"),
		    "a" },
		{ CONTENT("\" <b>a</b> \""), " <b>a</b> " },
	};

	(void)state;
	CHECK(rows);
}

static void
an_answer_without_visible_text_is_none(void **state)
{
	static const struct row rows[] = {
		{ CONTENT("\"\\u200b\\u200b\\ufeff\""), NULL },
		{ CONTENT("\"\\u00ad\""), NULL },
		{ CONTENT("\"\\u2800\""), NULL },
		{ CONTENT("\"\\u3164\\n\""), NULL },
		{ CONTENT("\"\\udb40\\udc41\""), NULL },
		{ CONTENT("\"\\u0007\""), NULL },
		{ CONTENT("\"\\u200b.\""), "\xe2\x80\x8b." },
		{ CONTENT("\"👍\""), "👍" },
	};

	(void)state;
	CHECK(rows);
}

static void
a_byte_order_mark_and_white_space_before_a_document_are_skipped(void **state)
{
	static const struct row rows[] = {
		{ BOM CONTENT("\"a\""), "a" },
		{ " \r\n\t" CONTENT("\"a\""), "a" },
		{ "\n" BOM " " CONTENT("\"a\""), "a" },
		{ "\xef\xbb" CONTENT("\"a\""), NULL },
		{ "x" CONTENT("\"a\""), NULL },
	};

	(void)state;
	CHECK(rows);
}

#define FINISH(reason)                                                         \
	"{\"choices\":[{\"message\":{\"content\":\"a\"},\"finish_reason\":"    \
	"\"" reason "\"}]}"

static void
a_filtered_answer_is_none_and_is_not_worth_a_retry(void **state)
{
	static const struct row rows[] = {
		{ FINISH("content_filter"), NULL },
		{ FINISH("content_filter: RECITATION"), NULL },
		{ FINISH("sensitive"), NULL },
		{ FINISH("SAFETY"), NULL },
		{ FINISH("PROHIBITED_CONTENT"), NULL },
		{ FINISH("RECITATION"), NULL },
		{ FINISH("blacklist"), NULL },
		{ FINISH("BLOCKLIST"), NULL },
		{ FINISH("SPII"), NULL },
		{ FINISH("guardrail_intervened"), NULL },
		{ FINISH("refusal"), NULL },
		{ FINISH("stop"), "a" },
		{ FINISH("STOP"), "a" },
		{ FINISH("eos"), "a" },
		{ FINISH("tool_calls"), "a" },
		{ FINISH("something new"), "a" },
		{ FINISH(""), "a" },
	};

	(void)state;
	CHECK(rows);
}

static void
only_an_answer_at_the_limit_of_tokens_is_cut_off(void **state)
{
	static const struct {
		const char *body;
		bool cut_off;
	} rows[] = { { FINISH("length"), true }, { FINISH("LENGTH"), true },
		{ FINISH("max_tokens"), true }, { FINISH("stop"), false },
		{ FINISH(""), false }, { CONTENT("\"a\""), false } };
	struct result r;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		r = read_text(rows[i].body);
		assert_int_equal(r.rc, AIC_OK);
		assert_int_equal(r.c.cut_off, rows[i].cut_off);
		free(r.c.text);
	}
}

static void
an_answer_that_broke_off_is_worth_a_retry(void **state)
{
	static const char *const bodies[] = {
		FINISH("error"),
		FINISH("network_error"),
		FINISH("insufficient_system_resource"),
		FINISH("abort"),
		"{\"choices\":[]}",
		"{\"id\":\"x\",\"object\":\"chat.completion\",\"choices\":[]}",
		"{\"choices\":[{\"message\":{\"content\":\"a\"},"
		"\"finish_reason\":\"error\",\"error\":{\"message\":\"CANARY\"}}]}",
	};
	struct result r;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		r = read_text(bodies[i]);
		if (r.rc != AIC_EUPSTREAM || !r.e.broken)
			fail_msg("%s: %s", bodies[i], r.err.detail);
	}
}

static void
an_answer_without_its_end_is_worth_a_retry(void **state)
{
	static const char body[] = BOM
	    " {\"id\":\"\\u0416\",\"x\":[true,null,-1.5e3],"
	    "\"choices\":[{\"message\":{\"content\":\"\xd0\x96\"}}]}";
	struct result r;
	size_t n;

	(void)state;
	for (n = 0; n < sizeof(body) - 1; n++) {
		/*
		 * Within the byte order mark the body is not recognized as JSON
		 * yet.
		 */
		if (n == 1 || n == 2)
			continue;
		r = read_bytes(body, n);
		if (r.rc != AIC_EUPSTREAM || !r.e.broken)
			fail_msg("%zu bytes: %s", n, r.err.detail);
	}
	r = read_bytes(body, n);
	assert_int_equal(r.rc, AIC_OK);
	free(r.c.text);
	r = read_text(BOM);
	assert_true(r.e.broken);
	r = read_text("<html>");
	assert_false(r.e.broken);
}

/* --- streams ------------------------------------------------------------ */

#define CHUNK(choice) "data: {\"choices\":[{\"index\":0," choice "}]}\n\n"
#define DELTA(text) CHUNK("\"delta\":{\"content\":\"" text "\"}")
#define STOP CHUNK("\"delta\":{},\"finish_reason\":\"stop\"")
#define DONE "data: [DONE]\n\n"

static void
a_stream_is_read_though_none_was_requested(void **state)
{
	static const struct row rows[] = {
		{ CHUNK(
		      "\"delta\":{\"role\":\"assistant\",\"content\":\"При\"},"
		      "\"finish_reason\":null")
			CHUNK(
			    "\"delta\":{\"content\":\"вет\"},\"finish_reason\":"
			    "\"stop\"") DONE,
		    "Привет" },
		{ DELTA("a") DELTA("b") STOP DONE, "ab" },
		{ DELTA("a") STOP, "a" },
		{ DELTA("a") DONE, "a" },
		{ DELTA("a") "data: [DONE]", "a" },
		{ DELTA("a") STOP "data: nonsense\n\n", "a" },
		{ DELTA("a") DONE DELTA("b") DONE, "a" },
		{ ": OPENROUTER PROCESSING\n\n" DELTA("a") ": x\n" STOP DONE,
		    "a" },
		{ "event: message\nid: 1\n" DELTA("a") STOP, "a" },
		{ "data:{\"choices\":[{\"delta\":{\"content\":\"a\"},"
		  "\"finish_reason\":\"stop\"}]}\r\n\r\ndata:[DONE]\r\n\r\n",
		    "a" },
		{ BOM "\n" DELTA("a") STOP DONE, "a" },
		{ "data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n" DELTA(
		      "a") STOP DONE,
		    "a" },
		{ CHUNK(
		      "\"delta\":{\"reasoning_content\":\"r\",\"content\":null}")
			DELTA("a") STOP,
		    "a" },
		{ DELTA("<thi") DELTA("nk>r</think>") DELTA("\\n\\na") STOP,
		    "a" },
		{ CHUNK("\"delta\":{\"content\":[{\"type\":\"text\",\"text\":"
			"\"a\"}]}") STOP,
		    "a" },
		{ CHUNK("\"message\":{\"content\":\"a\"},\"finish_reason\":"
			"\"stop\""),
		    "a" },
		{ "data: {\"choices\":[{\"delta\":{\"content\":\"\xd0\"}}]}\n\n"
		  "data: {\"choices\":[{\"delta\":{\"content\":\"\xb9\"}}]}\n\n" STOP,
		    "й" },
		/* A complete stream without an answer. */
		{ STOP DONE, NULL },
		{ DELTA(" ") STOP DONE, NULL },
		{ DELTA("a") CHUNK("\"delta\":{},\"finish_reason\":"
				   "\"content_filter\"") DONE,
		    NULL },
		{ CHUNK("\"delta\":{\"refusal\":\"no\"}") STOP DONE, NULL },
	};

	(void)state;
	CHECK(rows);
}

static void
a_stream_without_its_end_is_an_answer_that_broke_off(void **state)
{
	static const char *const bodies[] = {
		"data:",
		": x\n\n",
		DONE,
		DELTA("a"),
		DELTA("a") DELTA("b"),
		DELTA("a") "data: {\"choices\":[{\"del",
		DELTA("a") "data: nonsense\n\n" STOP DONE,
		DELTA("a") CHUNK("\"delta\":{},\"finish_reason\":\"error\"")
		    DONE,
		DELTA("a") "data: {\"choices\":[],\"usage\":null}\n\n",
	};
	struct result r;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		r = read_text(bodies[i]);
		if (r.rc != AIC_EUPSTREAM || !r.e.broken)
			fail_msg("%s: %s", bodies[i], r.err.detail);
	}
}

static void
an_error_in_the_middle_of_a_stream_is_that_error(void **state)
{
	struct result r;

	(void)state;
	r = read_text(DELTA(
	    "a") "data: {\"error\":{\"code\":502,\"message\":\"CANARY\"},\"choices\":"
		 "[{\"delta\":{\"content\":\"\"},\"finish_reason\":\"error\"}]}\n\n" DELTA(
		     "b") DONE);
	assert_int_equal(r.rc, AIC_EUPSTREAM);
	assert_int_equal(r.e.status, 502);
	assert_string_equal(r.e.code, "502");
}

static void
the_usage_of_a_stream_is_in_its_last_chunk(void **state)
{
	struct result r;

	(void)state;
	r = read_text(DELTA("a") STOP
	    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,"
	    "\"completion_tokens\":7,\"total_tokens\":12}}\n\n" DONE);
	assert_int_equal(r.rc, AIC_OK);
	assert_int_equal(r.c.tokens, 12);
	assert_int_equal(r.c.usage.prompt, 5);
	assert_int_equal(r.c.usage.completion, 7);
	free(r.c.text);
}

/* As long as a body may be, in chunks as small as possible. */
static void
a_stream_of_many_chunks_is_read(void **state)
{
	static const char chunk[] = DELTA("a");
	struct aic_buf b;
	struct result r;
	size_t n = 0;

	(void)state;
	aic_buf_init(&b, AIC_COMPLETION_MAX);
	while (b.len + 2 * sizeof(chunk) < AIC_COMPLETION_MAX) {
		aic_buf_puts(&b, chunk);
		n++;
	}
	aic_buf_puts(&b, DONE);
	r = read_bytes(b.data, b.len);
	assert_int_equal(r.rc, AIC_OK);
	assert_int_equal(strlen(r.c.text), n);
	free(r.c.text);
	aic_buf_done(&b);
}

/* --- tokens ------------------------------------------------------------- */

static void
tokens_are_whole_numbers_that_fit(void **state)
{
	static const struct {
		const char *usage;
		int64_t total, prompt, completion, cached;
	} rows[] = {
		{ "{\"prompt_tokens\":5,\"completion_tokens\":7,"
		  "\"total_tokens\":12,\"prompt_tokens_details\":"
		  "{\"cached_tokens\":4}}",
		    12, 5, 7, 4 },
		{ "{\"prompt_tokens\":5.0,\"completion_tokens\":7.0,"
		  "\"total_tokens\":12.0,\"prompt_tokens_details\":"
		  "{\"cached_tokens\":4.0}}",
		    12, 5, 7, 4 },
		/* DeepSeek */
		{ "{\"prompt_tokens\":5,\"total_tokens\":12,"
		  "\"prompt_cache_hit_tokens\":3,\"prompt_cache_miss_tokens\":2}",
		    12, 5, 0, 3 },
		{ "{\"prompt_tokens\":5,\"total_tokens\":12,"
		  "\"prompt_tokens_details\":{\"cached_tokens\":0},"
		  "\"prompt_cache_hit_tokens\":3}",
		    12, 5, 0, 3 },
		/* The total is taken as it was sent, right or wrong. */
		{ "{\"prompt_tokens\":5,\"completion_tokens\":7,"
		  "\"total_tokens\":100}",
		    100, 5, 7, 0 },
		{ "{\"prompt_tokens\":5,\"completion_tokens\":7,"
		  "\"total_tokens\":0}",
		    0, 5, 7, 0 },
		/* Without a total, the sum. */
		{ "{\"prompt_tokens\":5,\"completion_tokens\":7}", 12, 5, 7,
		    0 },
		{ "{\"prompt_tokens\":5,\"completion_tokens\":7,"
		  "\"total_tokens\":null}",
		    0, 5, 7, 0 },
		{ "{\"prompt_tokens\":5,\"completion_tokens\":7,"
		  "\"total_tokens\":\"12\"}",
		    0, 5, 7, 0 },
		{ "{\"prompt_tokens\":5}", 0, 5, 0, 0 },
		{ "{\"completion_tokens\":7}", 0, 0, 7, 0 },
		{ "{\"prompt_tokens\":2147483647,\"completion_tokens\":7}",
		    INT_MAX, INT_MAX, 7, 0 },
		/* Values that are no numbers of tokens. */
		{ "{\"prompt_tokens\":null,\"completion_tokens\":null,"
		  "\"total_tokens\":null,\"prompt_tokens_details\":null}",
		    0, 0, 0, 0 },
		{ "{\"prompt_tokens\":-5,\"completion_tokens\":-7.0,"
		  "\"total_tokens\":-12,\"prompt_tokens_details\":"
		  "{\"cached_tokens\":-4}}",
		    0, 0, 0, 0 },
		{ "{\"prompt_tokens\":1.5,\"completion_tokens\":1e-9,"
		  "\"total_tokens\":12.5}",
		    0, 0, 0, 0 },
		{ "{\"prompt_tokens\":1e300,\"completion_tokens\":1e999,"
		  "\"total_tokens\":1e10,\"prompt_tokens_details\":"
		  "{\"cached_tokens\":99999999999999999999}}",
		    INT_MAX, INT_MAX, INT_MAX, INT_MAX },
		{ "{\"prompt_tokens\":-1e300,\"total_tokens\":-1e999}", 0, 0, 0,
		    0 },
		{ "{\"prompt_tokens\":true,\"completion_tokens\":[7],"
		  "\"total_tokens\":{},\"prompt_tokens_details\":[4]}",
		    0, 0, 0, 0 },
		{ "null", 0, 0, 0, 0 },
		{ "[]", 0, 0, 0, 0 },
		{ "7", 0, 0, 0, 0 },
	};
	char body[400];
	struct result r;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(body, sizeof(body),
		    "{\"choices\":[{\"message\":{\"content\":\"x\"}}],"
		    "\"usage\":%s}",
		    rows[i].usage);
		r = read_text(body);
		assert_int_equal(r.rc, AIC_OK);
		if (r.c.tokens != rows[i].total ||
		    r.c.usage.prompt != rows[i].prompt ||
		    r.c.usage.completion != rows[i].completion ||
		    r.c.usage.cached != rows[i].cached)
			fail_msg("%s: %lld %lld %lld %lld", rows[i].usage,
			    (long long)r.c.tokens, (long long)r.c.usage.prompt,
			    (long long)r.c.usage.completion,
			    (long long)r.c.usage.cached);
		free(r.c.text);
	}
}

/* --- errors ------------------------------------------------------------- */

static void
an_error_inside_a_200_is_read_as_one(void **state)
{
	static const struct {
		const char *body;
		int status; /* 0: not an error */
		const char *code, *type;
	} rows[] = {
		{ "{\"error\":{\"code\":502,\"message\":\"Provider returned "
		  "error\"}}",
		    502, "502", "" },
		{ "{\"error\":{\"code\":\"429\"}}", 429, "429", "" },
		{ "{\"error\":{\"code\":\"rate_limit_exceeded\",\"type\":"
		  "\"tokens\"}}",
		    200, "rate_limit_exceeded", "tokens" },
		{ "{\"error\":{\"code\":429,\"status\":\"RESOURCE_EXHAUSTED\"}}",
		    429, "429", "RESOURCE_EXHAUSTED" },
		{ "{\"error\":{\"status\":503}}", 503, "", "503" },
		{ "[{\"error\":{\"code\":503}}]", 503, "503", "" },
		{ "{\"error\":\"CANARY went wrong\"}", 200, "", "" },
		{ "{\"error\":\"CANARY\",\"code\":503}", 503, "503", "" },
		{ "{\"error\":[{\"code\":500}]}", 500, "500", "" },
		{ "{\"errors\":[{\"code\":7009,\"message\":\"CANARY\"}]}", 200,
		    "7009", "" },
		{ "{\"message\":\"CANARY\",\"code\":\"overloaded\"}", 200,
		    "overloaded", "" },
		{ "{\"detail\":\"CANARY\"}", 200, "", "" },
		{ "{\"detail\":[{\"msg\":\"CANARY\"}]}", 200, "", "" },
		{ "{\"error\":{\"code\":502},\"choices\":[{\"message\":"
		  "{\"content\":\"a\"}}]}",
		    502, "502", "" },
		{ "{\"choices\":[{\"message\":{\"content\":\"a\"},"
		  "\"finish_reason\":\"error\",\"error\":{\"code\":502}}]}",
		    502, "502", "" },
		{ "{\"error\":{\"code\":200}}", 200, "200", "" },
		{ "{\"error\":{\"code\":1302}}", 200, "1302", "" },
		{ "{\"error\":{\"code\":\"4290\"}}", 200, "4290", "" },
		{ "{\"error\":{\"code\":600}}", 200, "600", "" },
		{ "{\"error\":{\"code\":\"" KEY "\",\"type\":\"a b\"}}", 200,
		    "?", "?" },
		{ "{\"error\":{\"code\":\"None\",\"type\":\"None\"}}", 200, "",
		    "" },
		/* The member is there, but it holds no error. */
		{ "{\"error\":null,\"choices\":[{\"message\":{\"content\":\"a\"}}]}",
		    0, "", "" },
		{ "{\"error\":{},\"choices\":[{\"message\":{\"content\":\"a\"}}]}",
		    0, "", "" },
		{ "{\"error\":\"\",\"choices\":[{\"message\":{\"content\":\"a\"}}]}",
		    0, "", "" },
		{ "{\"error\":false,\"choices\":[{\"message\":{\"content\":\"a\"}}]}",
		    0, "", "" },
		{ "{\"error\":[],\"choices\":[{\"message\":{\"content\":\"a\"},"
		  "\"error\":null}]}",
		    0, "", "" },
		{ "{\"message\":\"x\",\"choices\":[{\"message\":{\"content\":"
		  "\"a\"}}]}",
		    0, "", "" },
	};
	struct result r;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		r = read_text(rows[i].body);
		if (rows[i].status == 0) {
			assert_int_equal(r.rc, AIC_OK);
			free(r.c.text);
			continue;
		}
		assert_int_equal(r.rc, AIC_EUPSTREAM);
		if (r.e.status != rows[i].status ||
		    strcmp(r.e.code, rows[i].code) != 0 ||
		    strcmp(r.e.type, rows[i].type) != 0)
			fail_msg("%s: %d code=%s type=%s", rows[i].body,
			    r.e.status, r.e.code, r.e.type);
		assert_non_null(strstr(r.err.says, "HTTP 200 with error"));
	}
}

static struct aic_completion_error
error_of(const char *body)
{
	struct aic_completion_error e;
	struct aic_buf b;

	memset(&e, 0x5a, sizeof(e));
	aic_buf_init(&b, AIC_COMPLETION_MAX);
	aic_buf_puts(&b, body);
	aic_completion_read_error(&b, keys, &e);
	aic_buf_done(&b);
	assert_int_equal(e.status, 0);
	assert_false(e.broken);
	return e;
}

#define LOC(name)                                                              \
	"{\"type\":\"extra_forbidden\",\"loc\":[\"body\",\"" name              \
	"\"],\"msg\":\"Extra inputs are not permitted\"}"

static void
an_error_is_read_in_many_shapes(void **state)
{
	static const struct {
		const char *body, *code, *type, *param, *message;
		unsigned refused;
	} rows[] = {
		{ "{\"error\":{\"message\":\"m\",\"type\":\"t\",\"param\":\"p\","
		  "\"code\":\"c\"}}",
		    "c", "t", "p", "m", 0 },
		{ BOM
		    "{\"error\":{\"message\":\"m\",\"type\":null,\"param\":null,"
		    "\"code\":400}}",
		    "400", "", "", "m", 0 },
		{ "[{\"error\":{\"code\":429,\"status\":\"RESOURCE_EXHAUSTED\","
		  "\"message\":\"x\"}}]",
		    "429", "RESOURCE_EXHAUSTED", "", "x", 0 },
		{ "{\"error\":\"m\"}", "", "", "", "m", 0 },
		{ "{\"error\":\"m\",\"code\":\"c\"}", "c", "", "", "m", 0 },
		{ "{\"message\":\"m\",\"code\":\"c\",\"type\":\"t\"}", "c", "t",
		    "", "m", 0 },
		{ "{\"object\":\"error\",\"message\":\"temperature is not "
		  "supported\",\"code\":400}",
		    "400", "", "", "temperature is not supported",
		    AIC_PARAM_TEMPERATURE },
		{ "{\"detail\":\"m\"}", "", "", "", "m", 0 },
		{ "{\"detail\":{\"message\":\"m\"}}", "", "", "", "m", 0 },
		{ "{\"detail\":[" LOC("max_completion_tokens") "]}", "", "", "",
		    "Extra inputs are not permitted",
		    AIC_PARAM_MAX_COMPLETION_TOKENS },
		{ "{\"detail\":[" LOC("x") "," LOC("max_tokens") "," LOC(
		      "temperature") "]}",
		    "", "", "", "Extra inputs are not permitted",
		    AIC_PARAM_MAX_TOKENS | AIC_PARAM_TEMPERATURE },
		/* Mistral */
		{ "{\"object\":\"error\",\"message\":{\"detail\":[" LOC(
		      "max_completion_tokens") "]},\"type\":"
					       "\"invalid_request_error\"}",
		    "", "invalid_request_error", "",
		    "Extra inputs are not permitted",
		    AIC_PARAM_MAX_COMPLETION_TOKENS },
		/* LiteLLM */
		{ "{\"error\":{\"message\":\"gpt-5 models don't support "
		  "temperature=0.7.\",\"type\":\"None\",\"param\":\"None\","
		  "\"code\":\"400\"}}",
		    "400", "", "",
		    "gpt-5 models don't support temperature=0.7.",
		    AIC_PARAM_TEMPERATURE },
		{ "{\"errors\":[{\"code\":7009,\"message\":\"m\"}]}", "7009",
		    "", "", "m", 0 },
		{ "{\"error\":{\"code\":\"" KEY
		  "\",\"type\":\"a\\nb\",\"param\":"
		  "\"CANARY asked\"}}",
		    "?", "?", "?", "", 0 },
		{ "{\"error\":{\"code\":{},\"type\":[],\"param\":true}}", "",
		    "", "", "", 0 },
		{ "{\"error\":null}", "", "", "", "", 0 },
		{ "{\"error\":[]}", "", "", "", "", 0 },
		{ "[]", "", "", "", "", 0 },
		{ "null", "", "", "", "", 0 },
		{ "\"text\"", "", "", "", "", 0 },
		{ "<html>", "", "", "", "", 0 },
		{ "", "", "", "", "", 0 },
	};
	struct aic_completion_error e;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		e = error_of(rows[i].body);
		if (strcmp(e.code, rows[i].code) != 0 ||
		    strcmp(e.type, rows[i].type) != 0 ||
		    strcmp(e.param, rows[i].param) != 0 ||
		    strcmp(e.message, rows[i].message) != 0 ||
		    e.refused != rows[i].refused)
			fail_msg("%s: code=%s type=%s param=%s message=%s %u",
			    rows[i].body, e.code, e.type, e.param, e.message,
			    e.refused);
	}
}

/* A hostile server must not keep a worker busy. */
static void
only_the_beginning_of_a_long_error_is_read(void **state)
{
	struct aic_completion_error e;
	struct aic_buf b;
	int i;

	(void)state;
	aic_buf_init(&b, AIC_COMPLETION_MAX);
	aic_buf_puts(&b,
	    "{\"error\":{\"message\":\"temperature is unsupported ");
	for (i = 0; i < 900000; i++)
		aic_buf_putc(&b, 'x');
	aic_buf_puts(&b, ". max_tokens is unsupported\",\"code\":\"");
	for (i = 0; i < 1000; i++)
		aic_buf_putc(&b, 'y');
	aic_buf_puts(&b, "\"}}");
	e = error_of(b.data);
	assert_int_equal(e.refused, AIC_PARAM_TEMPERATURE);
	assert_int_equal(strlen(e.message), AIC_COMPLETION_MESSAGE_SIZE - 1);
	assert_int_equal(strlen(e.code), AIC_COMPLETION_NAME_SIZE - 1);
	aic_buf_done(&b);
}

/* --- requests ----------------------------------------------------------- */

static void
a_request_has_the_members_of_its_form(void **state)
{
	static const struct {
		struct aic_completion_form form;
		const char *want;
	} rows[] = {
		{ { ",\"model\":\"m\"", true, 0.7, "max_tokens", 1000, NULL },
		    "{\"messages\":[],\"model\":\"m\",\"temperature\":0.7,"
		    "\"max_tokens\":1000}" },
		{ { ",\"model\":\"m\"", false, 0.7, "max_completion_tokens", 5,
		      NULL },
		    "{\"messages\":[],\"model\":\"m\","
		    "\"max_completion_tokens\":5}" },
	};
	struct aic_json_fault fault;
	struct json_object *doc;
	struct aic_buf b;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		aic_buf_init(&b, 1000);
		aic_completion_begin(&b);
		aic_buf_puts(&b, "[]");
		aic_completion_end(&b, &rows[i].form);
		assert_string_equal(b.data, rows[i].want);
		assert_int_equal(aic_json_parse_strict(b.data, b.len, &doc,
				     &fault),
		    AIC_OK);
		json_object_put(doc);
		aic_buf_done(&b);
	}
}

UNIT_MAIN(T(the_text_of_a_list_of_parts_is_taken),
    T(hidden_reasoning_is_no_part_of_an_answer),
    T(an_answer_without_visible_text_is_none),
    T(a_byte_order_mark_and_white_space_before_a_document_are_skipped),
    T(a_filtered_answer_is_none_and_is_not_worth_a_retry),
    T(only_an_answer_at_the_limit_of_tokens_is_cut_off),
    T(an_answer_that_broke_off_is_worth_a_retry),
    T(an_answer_without_its_end_is_worth_a_retry),
    T(a_stream_is_read_though_none_was_requested),
    T(a_stream_without_its_end_is_an_answer_that_broke_off),
    T(an_error_in_the_middle_of_a_stream_is_that_error),
    T(the_usage_of_a_stream_is_in_its_last_chunk),
    T(a_stream_of_many_chunks_is_read), T(tokens_are_whole_numbers_that_fit),
    T(an_error_inside_a_200_is_read_as_one), T(an_error_is_read_in_many_shapes),
    T(only_the_beginning_of_a_long_error_is_read),
    T(a_request_has_the_members_of_its_form))
