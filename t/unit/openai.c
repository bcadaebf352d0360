#include "config.h"

#include "lib/openai.h"

#include <json-c/json.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/completion.h"
#include "lib/json.h"
#include "server.h"
#include "unit.h"
#include "lib/utf8.h"

#define KEY "sk-sEcReT-cAnArY"
#define KEY2 "sk-sEcOnD-cAnArY"
#define MESSAGES "[{\"role\":\"user\",\"content\":\"hi\"}]"

#define OK_BODY                                                                \
	"{\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":"      \
	"\"hello\"},\"finish_reason\":\"stop\"}],\"usage\":{\"total_tokens\":" \
	"12}}"

/* A short wait, so that tests do not wait for the next attempt. */
#define SOON "retry-after-ms: 1\r\n"

static struct aic_http *http;

static int
set_up(void **state)
{
	struct aic_http_conf conf = { .calls_max = 64 };
	struct aic_err err = AIC_ERR_INIT;

	(void)state;
	return aic_http_open(&http, &conf, &err) == AIC_OK ? 0 : -1;
}

static int
tear_down(void **state)
{
	(void)state;
	aic_http_close(http);
	return 0;
}

static struct server_step
reply(int status, const char *headers, const char *body)
{
	return server_reply(status, headers, body, strlen(body));
}

/* One chat with one or two servers, and its result. */
struct chat {
	struct server *s;
	struct server *s2; /* of the fallback model; NULL: there is none */
	struct aic_openai *openai;
	struct aic_openai_ask ask;
	struct aic_buf body;
	struct aic_openai_answer answer;
	struct aic_err err;
	enum aic_code rc;
};

static void
begin_chat(struct chat *c, struct aic_openai_conf conf)
{
	conf.models[0].base_url = server_url(c->s);
	conf.models[0].api_key = KEY;
	conf.models[0].name = "gpt-\"4\"";
	conf.temperature = 0.7;
	conf.max_tokens = 1000;
	assert_int_equal(aic_openai_open(&c->openai, &conf, &c->err), AIC_OK);
	aic_buf_init(&c->body, 10000);
	aic_completion_begin(&c->body);
	aic_buf_puts(&c->body, MESSAGES);
	c->ask.body = &c->body;
	c->ask.deadline_us = aic_clock_us() + 8 * AIC_S;
}

/* With the limits of conf; all else is the same for every chat. */
static void
begin_with(struct chat *c, const struct server_step *steps, int n,
    struct aic_openai_conf conf)
{
	memset(c, 0, sizeof(*c));
	c->s = server_new(steps, n);
	begin_chat(c, conf);
}

/* With more retries than any test needs. */
static void
begin(struct chat *c, const struct server_step *steps, int n)
{
	begin_with(c, steps, n, (struct aic_openai_conf){ .retry_floor = 100 });
}

/* No key and no address may appear in a message, however the chat ended. */
static void
check_secrets(const struct chat *c)
{
	assert_null(strstr(c->err.says, KEY));
	assert_null(strstr(c->err.says, KEY2));
	assert_null(strstr(c->err.detail, KEY2));
	assert_null(strstr(c->err.says, "127.0.0.1"));
	assert_null(strstr(c->err.says, "http://"));
	assert_null(strpbrk(c->err.says, "\r\n"));
	assert_null(strstr(c->err.detail, KEY));
}

static void
ask(struct chat *c)
{
	free(c->answer.text);
	memset(&c->answer, 0, sizeof(c->answer));
	memset(&c->err, 0, sizeof(c->err));
	c->rc = aic_openai_ask(c->openai, http, &c->ask, &c->answer, &c->err);
	check_secrets(c);
	if (c->rc == AIC_OK) {
		assert_non_null(c->answer.text);
	} else {
		assert_null(c->answer.text);
		assert_int_equal(c->err.code, c->rc);
		assert_true(c->err.detail[0] != '\0');
	}
	if (c->rc == AIC_EUPSTREAM)
		assert_true(c->err.says[0] != '\0');
}

static void
end(struct chat *c)
{
	free(c->answer.text);
	aic_buf_done(&c->body);
	aic_openai_close(c->openai);
	server_free(c->s);
	server_free(c->s2);
}

static void
chat_with(struct chat *c, const struct server_step *steps, int n)
{
	begin(c, steps, n);
	ask(c);
}

/* --- the request body --------------------------------------------------- */

static struct json_object *
sent_to(struct server *s, int n)
{
	struct json_object *doc = NULL;
	struct aic_json_fault fault;

	assert_int_equal(aic_json_parse_strict(server_body(s, n),
			     server_body_len(s, n), &doc, &fault),
	    AIC_OK);
	return doc;
}

static struct json_object *
sent(struct chat *c, int n)
{
	return sent_to(c->s, n);
}

static bool
has(struct json_object *doc, const char *name)
{
	return json_object_object_get_ex(doc, name, NULL);
}

static void
the_request_is_a_chat_completion(void **state)
{
	struct server_step steps[] = { reply(200, "", OK_BODY) };
	struct json_object *doc, *v;
	struct chat c;

	(void)state;
	chat_with(&c, steps, 1);
	assert_int_equal(c.rc, AIC_OK);
	assert_int_equal(strncmp(server_head(c.s, 0),
			     "POST /chat/completions HTTP/1.1\r\n", 33),
	    0);
	assert_non_null(strstr(server_head(c.s, 0),
	    "\r\nAuthorization: Bearer " KEY));
	assert_non_null(strstr(server_head(c.s, 0),
	    "\r\nContent-Type: application/json"));
	doc = sent(&c, 0);
	assert_int_equal(json_object_object_length(doc), 4);
	json_object_object_get_ex(doc, "model", &v);
	assert_string_equal(json_object_get_string(v), "gpt-\"4\"");
	json_object_object_get_ex(doc, "messages", &v);
	assert_string_equal(json_object_to_json_string_ext(v,
				JSON_C_TO_STRING_PLAIN),
	    MESSAGES);
	json_object_object_get_ex(doc, "temperature", &v);
	assert_true(json_object_get_double(v) > 0.6999 &&
	    json_object_get_double(v) < 0.7001);
	json_object_object_get_ex(doc, "max_tokens", &v);
	assert_int_equal(json_object_get_int(v), 1000);
	json_object_put(doc);
	end(&c);
}

/* --- which answers are usable ------------------------------------------- */

static void
a_usable_answer_is_returned_with_its_tokens(void **state)
{
	struct chat c;

	(void)state;
	chat_with(&c, (struct server_step[]){ reply(200, "", OK_BODY) }, 1);
	assert_int_equal(c.rc, AIC_OK);
	assert_string_equal(c.answer.text, "hello");
	assert_int_equal(c.answer.tokens, 12);
	assert_int_equal(c.answer.attempts, 1);
	assert_true(aic_openai_is_well(c.openai));
	end(&c);
}

#define MSG(fields) "{\"choices\":[{\"message\":{" fields "}}]}"

static void
text_is_usable_in_these_shapes(void **state)
{
	static const struct {
		const char *body, *want;
	} rows[] = {
		{ MSG("\"content\":\"x\""), "x" },
		{ MSG("\"content\":\"x\",\"refusal\":null"), "x" },
		{ MSG("\"content\":\"x\",\"refusal\":\"\""), "x" },
		{ MSG("\"content\":\" x\\n\""), " x\n" },
		{ MSG("\"content\":\"\\u041f\\ud83d\\ude00\""), "П😀" },
		{ MSG("\"content\":\"Привет\",\"tool_calls\":[]"), "Привет" },
		{ "{\"choices\":[{\"message\":{\"content\":\"cut\"},"
		  "\"finish_reason\":\"length\"}]}",
		    "cut" },
		{ "{\"choices\":[{\"message\":{\"content\":\"x\"},"
		  "\"finish_reason\":null}],\"usage\":null,\"new\":{}}",
		    "x" },
		{ "{\"choices\":[{\"message\":{\"content\":\"first\"}},"
		  "{\"message\":{\"content\":\"second\"}}]}",
		    "first" },
		{ " \n" MSG("\"content\":\"x\"") "\r\n ", "x" },
	};
	struct chat c;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		chat_with(&c,
		    (struct server_step[]){ reply(200, "", rows[i].body) }, 1);
		if (c.rc != AIC_OK)
			fail_msg("%s: %s", rows[i].body, c.err.detail);
		assert_string_equal(c.answer.text, rows[i].want);
		assert_int_equal(c.answer.tokens, 0);
		end(&c);
	}
}

/* Each of these was paid for, and none is worth a second call. */
static void
an_unusable_answer_is_refused_and_not_retried(void **state)
{
	static const char *const bodies[] = {
		"hello",
		"<html><body>Bad gateway</body></html>",
		"null",
		"[]",
		"\"x\"",
		"12",
		"true",
		"{}",
		"{}{}",
		OK_BODY "x",
		"{\"choices\":null}",
		"{\"choices\":{}}",
		"{\"choices\":\"x\"}",
		"{\"choices\":[null]}",
		"{\"choices\":[\"x\"]}",
		"{\"choices\":[[]]}",
		"{\"choices\":[{}]}",
		"{\"choices\":[{\"message\":null}]}",
		"{\"choices\":[{\"message\":\"x\"}]}",
		"{\"choices\":[{\"message\":[]}]}",
		"{\"choices\":[{\"text\":\"x\"}]}",
		"{\"choices\":[{\"delta\":{\"content\":\"x\"}}]}",
		MSG(""),
		MSG("\"content\":null"),
		MSG("\"content\":12"),
		MSG("\"content\":true"),
		MSG("\"content\":{}"),
		MSG("\"content\":[\"x\"]"),
		MSG("\"content\":\"\""),
		MSG("\"content\":\" \\n\\t\""),
		MSG("\"content\":\"\\u00a0\""),
		MSG("\"content\":null,\"tool_calls\":[{}]"),
		MSG("\"content\":null,\"refusal\":\"I can't\""),
		MSG("\"content\":\"x\",\"refusal\":\"I can't\""),
		"{\"choices\":[{\"message\":{\"content\":\"x\"},"
		"\"finish_reason\":\"content_filter\"}]}",
		"{\"choices\":[{\"message\":{\"content\":\"\"},"
		"\"finish_reason\":\"content_filter\"}]}",
		"{\"choices\":[{\"message\":{\"content\":\"\"},"
		"\"finish_reason\":\"length\"}]}",
		"{\"choices\":[{\"message\":{\"content\":null},"
		"\"finish_reason\":\"length\"}]}",
		"{\"error\":{\"message\":\"overloaded\",\"code\":\"x\"}}",
	};
	struct chat c;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		chat_with(&c,
		    (struct server_step[]){ reply(200, SOON, bodies[i]) }, 1);
		if (c.rc != AIC_EUPSTREAM)
			fail_msg("taken: %s", bodies[i]);
		assert_int_equal(c.answer.attempts, 1);
		assert_int_equal(c.answer.tokens, 0);
		assert_int_equal(server_requests(c.s), 1);
		assert_false(aic_openai_is_well(c.openai));
		end(&c);
	}
}

static void
an_answer_without_its_end_is_retried(void **state)
{
	static const char *const bodies[] = {
		"",
		" ",
		"{",
		"{\"choices\":[{\"message\":{\"content\":\"cut",
	};
	struct chat c;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		chat_with(&c,
		    (struct server_step[]){
			reply(200, SOON, bodies[i]), reply(200, "", OK_BODY) },
		    2);
		assert_int_equal(c.rc, AIC_OK);
		assert_int_equal(c.answer.attempts, 2);
		end(&c);
	}
}

static void
an_answer_that_is_nested_too_deeply_is_refused(void **state)
{
	struct aic_buf b;
	struct chat c;
	int i;

	(void)state;
	aic_buf_init(&b, 1000000);
	aic_buf_puts(&b, "{\"x\":");
	for (i = 0; i < 100000; i++)
		aic_buf_putc(&b, '[');
	chat_with(&c, (struct server_step[]){ reply(200, "", b.data) }, 1);
	assert_int_equal(c.rc, AIC_EUPSTREAM);
	end(&c);
	aic_buf_done(&b);
}

static void
tokens_are_an_integer_that_is_not_negative(void **state)
{
	static const struct {
		const char *usage;
		int64_t want;
	} rows[] = {
		{ "{\"total_tokens\":0}", 0 },
		{ "{\"total_tokens\":7}", 7 },
		{ "{\"total_tokens\":-7}", 0 },
		{ "{\"total_tokens\":null}", 0 },
		{ "{\"total_tokens\":\"7\"}", 0 },
		{ "{\"total_tokens\":true}", 0 },
		{ "{\"total_tokens\":2147483647}", INT_MAX },
		{ "{\"total_tokens\":2147483648}", INT_MAX },
		{ "{\"total_tokens\":9223372036854775807}", INT_MAX },
		{ "{\"total_tokens\":18446744073709551615}", INT_MAX },
		{ "{\"total_tokens\":99999999999999999999999}", INT_MAX },
		{ "{\"total_tokens\":-99999999999999999999999}", 0 },
		{ "{}", 0 },
		{ "null", 0 },
		{ "[]", 0 },
		{ "7", 0 },
		{ "{\"prompt_tokens\":3,\"completion_tokens\":4}", 7 },
	};
	char body[300];
	struct chat c;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(body, sizeof(body),
		    "{\"choices\":[{\"message\":{\"content\":\"x\"}}],"
		    "\"usage\":%s}",
		    rows[i].usage);
		chat_with(&c, (struct server_step[]){ reply(200, "", body) },
		    1);
		assert_int_equal(c.rc, AIC_OK);
		if (c.answer.tokens != rows[i].want)
			fail_msg("%s: %lld", rows[i].usage,
			    (long long)c.answer.tokens);
		end(&c);
	}
}

#define R "\xef\xbf\xbd"

/* Neither PostgreSQL nor a caller may receive these bytes. */
static void
broken_text_in_an_answer_is_made_safe(void **state)
{
	static const struct {
		const char *content;
		size_t len;
		const char *want; /* NULL: refused, or any safe text */
	} rows[] = {
		{ LIT("a\\u0000b"), "a" R "b" },
		{ LIT("\\u0000"), R },
		{ LIT("a\xff"
		      "b"),
		    "a" R "b" },
		{ LIT("a\xd0"), "a" R },
		{ LIT("a\xc0\x80"
		      "b"),
		    "a" R R "b" },
		{ LIT("\xed\xa0\x80x"), R R R "x" },
		{ LIT("a\\ud83d"), NULL },
		{ LIT("a\\ud83db"), NULL },
		{ LIT("a\\ude00b"), NULL },
		{ LIT("\\ude00\\ud83d"), NULL },
		{ LIT("a\\ud83d\\ud83d\\ude00b"), NULL },
		{ LIT("a\\ud83d\\u0041b"), NULL },
		{ LIT("a\\ud83d\\nb"), NULL },
		{ LIT("a\nb\x01"), NULL },
		{ LIT("a\0b"), NULL },
	};
	static const char head[] = "{\"choices\":[{\"message\":{\"content\":\"";
	static const char tail[] = "\"}}]}";
	const char *s;
	struct aic_buf b;
	struct chat c;
	size_t i, n;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		aic_buf_init(&b, 1000);
		aic_buf_puts(&b, head);
		aic_buf_put(&b, rows[i].content, rows[i].len);
		aic_buf_puts(&b, tail);
		chat_with(&c,
		    (struct server_step[]){
			server_reply(200, "", b.data, b.len) },
		    1);
		if (rows[i].want && c.rc != AIC_OK)
			fail_msg("row %zu was refused", i);
		if (rows[i].want)
			assert_string_equal(c.answer.text, rows[i].want);
		for (s = c.answer.text ? c.answer.text : ""; *s; s += n) {
			n = aic_utf8_next(s, strlen(s), NULL);
			if (n == 0)
				fail_msg("row %zu is not UTF-8", i);
		}
		end(&c);
		aic_buf_done(&b);
	}
}

/* A response whose body has exactly n bytes. */
static struct server_step
sized(size_t n)
{
	static const char head[] = "{\"choices\":[{\"message\":{\"content\":\"";
	static const char tail[] = "\"}}]}";
	char *body = malloc(n);
	struct server_step step;

	memset(body, 'x', n);
	memcpy(body, head, sizeof(head) - 1);
	memcpy(body + n - (sizeof(tail) - 1), tail, sizeof(tail) - 1);
	step = server_reply(200, "", body, n);
	free(body);
	return step;
}

static void
an_answer_of_1_mib_is_accepted_and_one_byte_more_is_not(void **state)
{
	struct chat c;

	(void)state;
	chat_with(&c, (struct server_step[]){ sized(1048576) }, 1);
	assert_int_equal(c.rc, AIC_OK);
	assert_in_range(strlen(c.answer.text), 1048500, 1048576);
	end(&c);
	chat_with(&c, (struct server_step[]){ sized(1048577) }, 1);
	assert_int_equal(c.rc, AIC_EUPSTREAM);
	assert_int_equal(c.answer.attempts, 1);
	assert_int_equal(server_requests(c.s), 1);
	end(&c);
}

/* The largest answer; each of its bytes becomes three when it is replaced. */
static void
the_largest_answer_is_accepted_with_only_invalid_bytes_too(void **state)
{
	struct server_step step = sized(1048576);
	struct chat c;
	char *p;

	(void)state;
	for (p = strstr(step.answer, "xxxx"); *p == 'x'; p++)
		*p = '\xff';
	chat_with(&c, &step, 1);
	assert_int_equal(c.rc, AIC_OK);
	assert_true(strlen(c.answer.text) > 3 * 1048500);
	end(&c);
}

/* --- attempts ----------------------------------------------------------- */

static void
a_temporary_status_is_tried_three_times(void **state)
{
	static const int statuses[] = { 408, 409, 429, 500, 502, 503, 504,
		529 };
	char want[8];
	struct chat c;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		chat_with(&c,
		    (struct server_step[]){
			reply(statuses[i], SOON, "{\"error\":{}}") },
		    1);
		assert_int_equal(c.rc, AIC_EUPSTREAM);
		assert_int_equal(c.answer.attempts, 3);
		assert_int_equal(server_requests(c.s), 3);
		assert_string_equal(server_body(c.s, 0), server_body(c.s, 2));
		snprintf(want, sizeof(want), "%d", statuses[i]);
		assert_non_null(strstr(c.err.says, want));
		end(&c);
	}
}

static void
a_permanent_status_is_tried_once(void **state)
{
	static const int statuses[] = { 201, 204, 301, 302, 307, 400, 401, 402,
		403, 404, 405, 413, 422, 451 };
	struct chat c;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		chat_with(&c,
		    (struct server_step[]){ reply(statuses[i],
			SOON "Location: http://127.0.0.1:1/\r\n",
			statuses[i] == 204 ? "" : OK_BODY) },
		    1);
		assert_int_equal(c.rc, AIC_EUPSTREAM);
		assert_int_equal(c.answer.attempts, 1);
		assert_int_equal(server_requests(c.s), 1);
		end(&c);
	}
}

static void
an_exhausted_quota_is_not_retried(void **state)
{
	static const char *const bodies[] = {
		"{\"error\":{\"message\":\"m\",\"type\":\"insufficient_quota\","
		"\"param\":null,\"code\":\"insufficient_quota\"}}",
		"{\"error\":{\"type\":\"insufficient_quota\"}}",
		"{\"error\":{\"code\":\"insufficient_quota\"}}",
		"{\"error\":{\"code\":\"billing_hard_limit_reached\"}}",
	};
	struct chat c;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		chat_with(&c,
		    (struct server_step[]){ reply(429, SOON, bodies[i]) }, 1);
		assert_int_equal(c.rc, AIC_EUPSTREAM);
		assert_int_equal(server_requests(c.s), 1);
		end(&c);
	}
}

static void
a_successful_attempt_is_the_last(void **state)
{
	struct chat c;

	(void)state;
	chat_with(&c,
	    (struct server_step[]){ reply(500, SOON, "oops"),
		reply(429, SOON, "{\"error\":{\"code\":\"slow_down\"}}"),
		reply(200, "", OK_BODY) },
	    3);
	assert_int_equal(c.rc, AIC_OK);
	assert_string_equal(c.answer.text, "hello");
	assert_int_equal(c.answer.attempts, 3);
	assert_true(aic_openai_is_well(c.openai));
	end(&c);
}

/* The body of a failed attempt is no part of the answer. */
static void
bodies_of_attempts_do_not_mix(void **state)
{
	struct chat c;

	(void)state;
	chat_with(&c,
	    (struct server_step[]){ reply(500, SOON, OK_BODY),
		reply(200, "", MSG("\"content\":\"second\"")) },
	    2);
	assert_int_equal(c.rc, AIC_OK);
	assert_string_equal(c.answer.text, "second");
	assert_int_equal(c.answer.tokens, 0);
	end(&c);
	chat_with(&c,
	    (struct server_step[]){
		server_raw("HTTP/1.1 200 X\r\n"
			   "Content-Length: 100\r\n\r\n{\"choices\"",
		    CLOSE),
		reply(200, "", OK_BODY) },
	    2);
	assert_int_equal(c.rc, AIC_OK);
	assert_int_equal(c.answer.attempts, 2);
	end(&c);
}

static void
a_connection_that_breaks_is_retried_and_counted(void **state)
{
	struct chat c;

	(void)state;
	chat_with(&c,
	    (struct server_step[]){
		{ .then = CLOSE }, { .then = RESET }, reply(200, "", OK_BODY) },
	    3);
	assert_int_equal(c.rc, AIC_OK);
	assert_int_equal(c.answer.attempts, 3);
	assert_int_equal(server_requests(c.s), 3);
	end(&c);
}

/*
 * One counted attempt is one request at the server, on a kept connection too.
 */
static void
no_attempt_is_made_that_is_not_counted(void **state)
{
	int i, attempts = 0;
	struct chat c;

	(void)state;
	begin(&c,
	    (struct server_step[]){ reply(200, "", OK_BODY), { .then = CLOSE },
		reply(200, "", OK_BODY), { .then = RESET },
		reply(500, SOON, "x"), reply(200, "", OK_BODY) },
	    6);
	for (i = 0; i < 3; i++) {
		ask(&c);
		assert_int_equal(c.rc, AIC_OK);
		attempts += c.answer.attempts;
	}
	assert_int_equal(attempts, 6);
	assert_int_equal(server_requests(c.s), 6);
	end(&c);
}

static void
retry_after_that_does_not_fit_ends_the_attempts(void **state)
{
	int64_t start = aic_clock_us();
	struct chat c;

	(void)state;
	chat_with(&c,
	    (struct server_step[]){ reply(429, "Retry-After: 30\r\n", "x"),
		reply(200, "", OK_BODY) },
	    2);
	assert_int_equal(c.rc, AIC_EUPSTREAM);
	assert_int_equal(server_requests(c.s), 1);
	assert_true(aic_clock_us() - start < 2 * AIC_S);
	end(&c);
}

static void
retry_after_that_fits_is_waited_for(void **state)
{
	int64_t start = aic_clock_us();
	struct chat c;

	(void)state;
	chat_with(&c,
	    (struct server_step[]){ reply(429, "retry-after-ms: 300\r\n", "x"),
		reply(200, "", OK_BODY) },
	    2);
	assert_int_equal(c.rc, AIC_OK);
	assert_true(aic_clock_us() - start >= 300 * AIC_MS);
	end(&c);
}

static void
the_deadline_ends_all_attempts(void **state)
{
	int64_t start = aic_clock_us();
	struct chat c;

	(void)state;
	begin(&c, (struct server_step[]){ { .then = KEEP } }, 1);
	c.ask.deadline_us = start + 300 * AIC_MS;
	ask(&c);
	assert_int_equal(c.rc, AIC_EUPSTREAM);
	assert_int_equal(c.answer.attempts, 1);
	assert_true(aic_clock_us() - start < 1300 * AIC_MS);
	assert_non_null(strstr(c.err.says, "in time"));
	end(&c);

	/* No attempt begins that cannot end before the deadline. */
	begin(&c, (struct server_step[]){ reply(500, SOON, "x") }, 1);
	c.ask.deadline_us = aic_clock_us() + 500 * AIC_MS;
	ask(&c);
	assert_int_equal(c.rc, AIC_EUPSTREAM);
	assert_int_equal(server_requests(c.s), 1);
	end(&c);

	begin(&c, (struct server_step[]){ reply(200, "", OK_BODY) }, 1);
	c.ask.deadline_us = aic_clock_us() - 1;
	ask(&c);
	assert_int_equal(c.rc, AIC_EUPSTREAM);
	assert_int_equal(server_requests(c.s), 0);
	end(&c);
}

/* A retry of one chat is charged to the budget of all chats. */
static void
retries_of_all_chats_come_from_one_budget(void **state)
{
	int i, attempts = 0;
	struct chat c;

	(void)state;
	begin_with(&c, (struct server_step[]){ reply(500, SOON, "x") }, 1,
	    (struct aic_openai_conf){ .retry_floor = 5 });
	for (i = 0; i < 10; i++) {
		ask(&c);
		assert_int_equal(c.rc, AIC_EUPSTREAM);
		attempts += c.answer.attempts;
	}
	assert_int_equal(attempts, 15);
	assert_int_equal(server_requests(c.s), 15);
	end(&c);

	begin_with(&c, (struct server_step[]){ reply(500, SOON, "x") }, 1,
	    (struct aic_openai_conf){ .retry_floor = 0 });
	ask(&c);
	assert_int_equal(c.rc, AIC_EUPSTREAM);
	assert_int_equal(c.answer.attempts, 1);
	end(&c);
}

/* --- parameters that a model refuses ------------------------------------ */

static struct server_step
refuse(const char *code, const char *param)
{
	char body[300];

	snprintf(body, sizeof(body),
	    "{\"error\":{\"message\":\"Unsupported: '%s'\",\"type\":"
	    "\"invalid_request_error\",\"param\":\"%s\",\"code\":\"%s\"}}",
	    param, param, code);
	return reply(400, "", body);
}

static void
a_refused_parameter_is_sent_in_another_form_and_remembered(void **state)
{
	struct json_object *doc;
	struct chat c;

	(void)state;
	chat_with(&c,
	    (struct server_step[]){
		refuse("unsupported_parameter", "max_tokens"),
		refuse("unsupported_value", "temperature"),
		reply(200, "", OK_BODY) },
	    3);
	assert_int_equal(c.rc, AIC_OK);
	assert_int_equal(c.answer.attempts, 3);
	doc = sent(&c, 1);
	assert_false(has(doc, "max_tokens"));
	assert_true(has(doc, "max_completion_tokens"));
	assert_true(has(doc, "temperature"));
	json_object_put(doc);
	doc = sent(&c, 2);
	assert_false(has(doc, "max_tokens"));
	assert_true(has(doc, "max_completion_tokens"));
	assert_false(has(doc, "temperature"));
	json_object_put(doc);

	ask(&c);
	assert_int_equal(c.rc, AIC_OK);
	assert_int_equal(c.answer.attempts, 1);
	assert_string_equal(server_body(c.s, 3), server_body(c.s, 2));
	end(&c);
}

static void
the_other_order_works_as_well(void **state)
{
	struct chat c;

	(void)state;
	chat_with(&c,
	    (struct server_step[]){
		refuse("unsupported_parameter", "temperature"),
		refuse("unsupported_value", "max_tokens"),
		reply(200, "", OK_BODY) },
	    3);
	assert_int_equal(c.rc, AIC_OK);
	end(&c);
}

/* The other form is sent at once, and is not one of the three attempts. */
static void
another_form_of_a_parameter_takes_none_of_the_attempts(void **state)
{
	int64_t start = aic_clock_us();
	struct chat c;

	(void)state;
	chat_with(&c,
	    (struct server_step[]){
		refuse("unsupported_parameter", "max_tokens"),
		refuse("unsupported_parameter", "temperature"),
		reply(500, SOON, "x"), reply(500, SOON, "x"),
		reply(200, "", OK_BODY) },
	    5);
	assert_int_equal(c.rc, AIC_OK);
	assert_int_equal(c.answer.attempts, 5);
	assert_true(aic_clock_us() - start < AIC_S);
	end(&c);
}

static void
a_model_that_refuses_all_parameters_is_not_called_forever(void **state)
{
	struct json_object *doc;
	struct chat c;
	int i;

	(void)state;
	chat_with(&c,
	    (struct server_step[]){
		refuse("unsupported_parameter", "max_tokens") },
	    1);
	assert_int_equal(c.rc, AIC_EUPSTREAM);
	assert_int_equal(server_requests(c.s), 2);
	end(&c);

	/*
	 * All parameters are refused: both names of the limit, and the
	 * temperature.
	 */
	begin(&c,
	    (struct server_step[]){
		refuse("unsupported_parameter", "max_tokens"),
		refuse("unsupported_parameter", "max_completion_tokens"),
		refuse("unsupported_parameter", "temperature"),
		refuse("unsupported_parameter", "max_tokens") },
	    4);
	ask(&c);
	assert_int_equal(c.rc, AIC_EUPSTREAM);
	assert_int_equal(server_requests(c.s), 4);
	/* The names do not alternate: the first one stays. */
	for (i = 4; i < 8; i++) {
		ask(&c);
		assert_int_equal(c.rc, AIC_EUPSTREAM);
		assert_int_equal(c.answer.attempts, 1);
		doc = sent(&c, i);
		assert_true(has(doc, "max_tokens"));
		assert_false(has(doc, "max_completion_tokens"));
		assert_false(has(doc, "temperature"));
		json_object_put(doc);
	}
	end(&c);
}

static struct server_step
complain(int status, const char *message)
{
	char body[300];

	snprintf(body, sizeof(body), "{\"error\":{\"message\":\"%s\"}}",
	    message);
	return reply(status, "", body);
}

/* Servers of two kinds may share one address. */
static void
a_server_that_refuses_the_newer_name_gets_the_older_one(void **state)
{
	struct json_object *doc;
	struct chat c;

	(void)state;
	chat_with(&c,
	    (struct server_step[]){
		complain(400, "Unsupported parameter: 'max_tokens'"),
		complain(422,
		    "Extra inputs are not permitted: max_completion_tokens"),
		reply(200, "", OK_BODY) },
	    3);
	assert_int_equal(c.rc, AIC_OK);
	assert_int_equal(c.answer.attempts, 3);
	doc = sent(&c, 2);
	assert_true(has(doc, "max_tokens"));
	assert_false(has(doc, "max_completion_tokens"));
	json_object_put(doc);
	ask(&c);
	assert_int_equal(c.answer.attempts, 1);
	end(&c);
}

static void
a_refusal_is_recognized_by_the_name_whatever_the_code(void **state)
{
	const struct server_step steps[] = {
		complain(400, "`temperature` is deprecated for this model"),
		complain(422,
		    "Unsupported value: 'temperature' does not support 0.7 with "
		    "this model. Only the default (1) value is supported."),
		reply(200, "",
		    "{\"error\":{\"code\":400,\"message\":\"temperature is not "
		    "supported\"}}"),
		reply(400, "",
		    "{\"detail\":[{\"type\":\"extra_forbidden\",\"loc\":[\"body\","
		    "\"temperature\"],\"msg\":\"Extra inputs\"}]}"),
	};
	struct json_object *doc;
	struct chat c;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		chat_with(&c,
		    (struct server_step[]){ steps[i], reply(200, "", OK_BODY) },
		    2);
		if (c.rc != AIC_OK)
			fail_msg("row %zu: %s", i, c.err.detail);
		doc = sent(&c, 1);
		assert_true(has(doc, "max_tokens"));
		assert_false(has(doc, "temperature"));
		json_object_put(doc);
		end(&c);
	}
}

static void
other_errors_do_not_change_the_parameters(void **state)
{
	const struct server_step steps[] = {
		refuse("unsupported_parameter", "model"),
		refuse("context_length_exceeded", "messages"),
		complain(400,
		    "max_tokens is too large: 100000. This model supports at "
		    "most 16384 completion tokens"),
		complain(400, "temperature must be between 0 and 1"),
		/* This parameter was not sent. */
		complain(400, "max_completion_tokens is not supported"),
		complain(404, "max_tokens is not supported"),
		complain(401, "temperature is not supported"),
	};
	struct json_object *doc;
	struct chat c;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		chat_with(&c,
		    (struct server_step[]){ steps[i], reply(200, "", OK_BODY) },
		    2);
		assert_int_equal(c.rc, AIC_EUPSTREAM);
		assert_int_equal(server_requests(c.s), 1);
		ask(&c);
		doc = sent(&c, 1);
		assert_true(has(doc, "max_tokens"));
		assert_true(has(doc, "temperature"));
		json_object_put(doc);
		end(&c);
	}
}

/* --- errors inside a 200, and answers that broke off -------------------- */

#define ERROR(fields) "{\"error\":{" fields "}}"
#define FINISH(text, reason)                                                   \
	"{\"choices\":[{\"message\":{\"content\":\"" text                      \
	"\"},\"finish_reason\":\"" reason "\"}]}"
#define CHUNK(text)                                                            \
	"data: {\"choices\":[{\"delta\":{\"content\":\"" text "\"}}]}\n\n"

static void
an_error_inside_a_200_is_treated_like_its_status(void **state)
{
	static const struct {
		const char *body;
		int attempts;
		enum aic_openai_call call;
	} rows[] = {
		{ ERROR("\"code\":502,\"message\":\"Provider returned error\""),
		    3, AIC_OPENAI_BROKEN },
		{ ERROR("\"code\":429"), 3, AIC_OPENAI_LIMITED },
		{ ERROR("\"code\":\"429\""), 3, AIC_OPENAI_LIMITED },
		{ ERROR("\"code\":\"rate_limit_exceeded\""), 3,
		    AIC_OPENAI_LIMITED },
		{ ERROR("\"code\":408"), 3, AIC_OPENAI_REFUSED },
		{ ERROR("\"code\":401"), 1, AIC_OPENAI_REFUSED },
		{ ERROR("\"code\":402"), 1, AIC_OPENAI_QUOTA },
		{ ERROR("\"message\":\"x\""), 1, AIC_OPENAI_USELESS },
		{ "{\"error\":\"text\"}", 1, AIC_OPENAI_USELESS },
		{ "{\"choices\":[]}", 3, AIC_OPENAI_CUT },
		{ FINISH("cut", "error"), 3, AIC_OPENAI_CUT },
		{ FINISH("cut", "network_error"), 3, AIC_OPENAI_CUT },
		{ CHUNK("cut"), 3, AIC_OPENAI_CUT },
		{ FINISH("x", "content_filter"), 1, AIC_OPENAI_USELESS },
		{ FINISH("x", "SAFETY"), 1, AIC_OPENAI_USELESS },
		{ MSG("\"content\":\"\u200b\""), 1, AIC_OPENAI_USELESS },
	};
	const int *calls;
	struct chat c;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		chat_with(&c,
		    (struct server_step[]){ reply(200, SOON, rows[i].body) },
		    1);
		assert_int_equal(c.rc, AIC_EUPSTREAM);
		calls = c.answer.calls[0];
		if (c.answer.attempts != rows[i].attempts ||
		    calls[rows[i].call] != rows[i].attempts)
			fail_msg("%s: %d attempts, %d of the kind",
			    rows[i].body, c.answer.attempts,
			    calls[rows[i].call]);
		assert_int_equal(server_requests(c.s), rows[i].attempts);
		end(&c);
		if (rows[i].attempts == 1)
			continue;
		chat_with(&c,
		    (struct server_step[]){ reply(200, SOON, rows[i].body),
			reply(200, "",
			    CHUNK("he") CHUNK("llo") "data: [DONE]") },
		    2);
		assert_int_equal(c.rc, AIC_OK);
		assert_string_equal(c.answer.text, "hello");
		assert_int_equal(c.answer.attempts, 2);
		end(&c);
	}
}

/* --- what messages and logs may contain --------------------------------- */

static void
an_error_that_quotes_key_and_address_is_not_passed_on(void **state)
{
	static const char *const bodies[] = {
		"{\"error\":{\"message\":\"Incorrect API key: " KEY "\"}}",
		"{\"error\":{\"message\":\"" KEY "\\n\",\"code\":\"a\\nb\","
		"\"type\":\"http://127.0.0.1/"
		"\",\"param\":\"x\"}}",
		"{\"error\":\"" KEY "\"}",
		"{\"error\":null}",
		"{\"error\":[]}",
		"{\"error\":{\"code\":401,\"type\":null}}",
		KEY,
		"",
	};
	struct chat c;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		chat_with(&c,
		    (struct server_step[]){ reply(401, "", bodies[i]) }, 1);
		assert_int_equal(c.rc, AIC_EUPSTREAM);
		assert_non_null(strstr(c.err.says, "401"));
		end(&c);
	}
}

static void
codes_of_an_error_are_logged_and_nothing_else_is(void **state)
{
	static const char *const others[] = { KEY, "x" KEY, "CANARY asked",
		"CANARY\\u0439", "CANARY\\n", "CANARY=1" };
	char body[300];
	struct chat c;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		snprintf(body, sizeof(body),
		    "{\"error\":{\"code\":\"%s\","
		    "\"type\":\"%s\",\"param\":\"%s\"}}",
		    others[i], others[i], others[i]);
		chat_with(&c, (struct server_step[]){ reply(401, "", body) },
		    1);
		assert_int_equal(c.rc, AIC_EUPSTREAM);
		if (strstr(c.err.detail, "CANARY"))
			fail_msg("told: %s", c.err.detail);
		end(&c);
	}
	chat_with(&c,
	    (struct server_step[]){ reply(401, "",
		"{\"error\":{\"code\":\"invalid_api_key\",\"type\":\"Auth\","
		"\"param\":\"messages.[0].role\"}}") },
	    1);
	assert_non_null(strstr(c.err.detail, "invalid_api_key"));
	assert_non_null(strstr(c.err.detail, "Auth"));
	assert_non_null(strstr(c.err.detail, "messages.[0].role"));
	end(&c);
}

static void
an_address_with_a_password_is_not_in_any_message(void **state)
{
	struct aic_openai_conf conf = {
		.models = { { .base_url = "http://user:" KEY "@127.0.0.1:1/v1",
		    .api_key = KEY,
		    .name = "m" } }
	};
	struct aic_openai_answer answer = { .text = NULL };
	struct aic_openai_ask q = { .gone = NULL };
	struct aic_buf body;
	struct aic_err err = AIC_ERR_INIT;
	struct aic_openai *o;

	(void)state;
	q.deadline_us = aic_clock_us() + 900 * AIC_MS;
	assert_int_equal(aic_openai_open(&o, &conf, &err), AIC_OK);
	aic_buf_init(&body, 1000);
	aic_completion_begin(&body);
	aic_buf_puts(&body, "[]");
	q.body = &body;
	assert_int_equal(aic_openai_ask(o, http, &q, &answer, &err),
	    AIC_EUPSTREAM);
	assert_null(strstr(err.says, KEY));
	assert_null(strstr(err.says, "127.0.0.1"));
	assert_null(strstr(err.detail, KEY));
	assert_int_equal(answer.attempts, 1);
	aic_buf_done(&body);
	aic_openai_close(o);
}

static void
the_model_has_recovered_with_the_next_answer(void **state)
{
	struct chat c;

	(void)state;
	begin(&c,
	    (struct server_step[]){ reply(401, "", "x"),
		reply(200, "", OK_BODY), reply(200, "", "{}") },
	    3);
	assert_true(aic_openai_is_well(c.openai));
	ask(&c);
	assert_false(aic_openai_is_well(c.openai));
	ask(&c);
	assert_true(aic_openai_is_well(c.openai));
	ask(&c);
	assert_false(aic_openai_is_well(c.openai));
	end(&c);
}

/* --- the circuit breaker of a model ------------------------------------- */

#define LONG_US (3600 * AIC_S)

/* The circuit breaker opens after so many failures, for so long. */
static void
begin_breaker(struct chat *c, const struct server_step *steps, int n,
    int failures, int64_t open_us)
{
	begin_with(c, steps, n,
	    (struct aic_openai_conf){
		.breaker_failures = failures, .breaker_open_us = open_us });
}

static bool
is_open(struct chat *c)
{
	return aic_openai_is_open(c->openai, aic_clock_us());
}

static void
after_so_many_failures_the_model_is_not_called(void **state)
{
	struct chat c;
	int i;

	(void)state;
	begin_breaker(&c, (struct server_step[]){ reply(500, "", "x") }, 1, 3,
	    LONG_US);
	for (i = 1; i <= 3; i++) {
		assert_false(is_open(&c));
		ask(&c);
		assert_int_equal(c.rc, AIC_EUPSTREAM);
		assert_int_equal(c.answer.changes[0],
		    i == 3 ? AIC_BREAKER_OPENED : AIC_BREAKER_SAME);
	}
	for (i = 0; i < 5; i++) {
		assert_true(is_open(&c));
		ask(&c);
		assert_int_equal(c.rc, AIC_EOPEN);
		assert_int_equal(c.answer.attempts, 0);
		assert_in_range(c.err.retry_after_s, 3590, 3600);
	}
	assert_false(aic_openai_is_well(c.openai));
	assert_int_equal(server_requests(c.s), 3);
	end(&c);
}

static void
these_failures_open_the_circuit_breaker(void **state)
{
	const struct server_step steps[] = { reply(500, "", "x"),
		reply(503, "", "x"), reply(599, "", "x"), reply(201, "", "x"),
		reply(302, "", "x"), reply(200, "", "x"), reply(200, "", "{}"),
		reply(200, "", MSG("\"content\":\"\"")),
		server_raw("nonsense\r\n\r\n", CLOSE), { .then = CLOSE },
		{ .then = RESET }, sized(1048577) };
	struct chat c;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		begin_breaker(&c, &steps[i], 1, 1, LONG_US);
		ask(&c);
		assert_int_equal(c.rc, AIC_EUPSTREAM);
		if (!is_open(&c))
			fail_msg("row %zu does not count", i);
		end(&c);
	}
}

static void
these_failures_do_not_open_it(void **state)
{
	static const int statuses[] = { 400, 401, 402, 403, 404, 408, 409, 413,
		422, 429, 499 };
	struct chat c;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		begin_breaker(&c,
		    (struct server_step[]){ reply(statuses[i], "", "x") }, 1, 1,
		    LONG_US);
		ask(&c);
		assert_int_equal(c.rc, AIC_EUPSTREAM);
		assert_int_equal(c.answer.changes[0], AIC_BREAKER_SAME);
		if (is_open(&c))
			fail_msg("status %d counts", statuses[i]);
		end(&c);
	}
}

static void
a_model_that_hangs_has_failed_unless_it_had_too_little_time(void **state)
{
	struct chat c;

	(void)state;
	begin_breaker(&c, (struct server_step[]){ { .then = KEEP } }, 1, 1,
	    LONG_US);
	c.ask.deadline_us = aic_clock_us() + 300 * AIC_MS;
	ask(&c);
	assert_int_equal(c.rc, AIC_EUPSTREAM);
	assert_false(is_open(&c));
	c.ask.deadline_us = aic_clock_us() - 1;
	ask(&c);
	assert_int_equal(c.rc, AIC_EUPSTREAM);
	assert_false(is_open(&c));
	c.ask.deadline_us = aic_clock_us() + 1100 * AIC_MS;
	ask(&c);
	assert_int_equal(c.rc, AIC_EUPSTREAM);
	assert_true(is_open(&c));
	end(&c);
}

/* Waits until a trial is admitted; the chat is that trial. */
static void
try(struct chat *c)
{
	while (is_open(c))
		;
	ask(c);
}

/* The failure would be worth a retry, but a trial is one call. */
static void
a_trial_is_one_call(void **state)
{
	struct chat c;

	(void)state;
	begin_with(&c,
	    (struct server_step[]){ reply(500, SOON, "x"),
		reply(500, SOON, "x"), reply(500, SOON, "x"),
		reply(500, SOON, "x"), reply(200, "", OK_BODY) },
	    5,
	    (struct aic_openai_conf){ .breaker_failures = 1,
		.breaker_open_us = 1,
		.retry_floor = 100 });
	ask(&c);
	assert_int_equal(c.answer.attempts, 3);
	assert_int_equal(c.answer.changes[0], AIC_BREAKER_OPENED);
	try(&c);
	assert_int_equal(c.rc, AIC_EUPSTREAM);
	assert_int_equal(c.answer.attempts, 1);
	try(&c);
	assert_int_equal(c.rc, AIC_OK);
	end(&c);
}

static void
a_trial_closes_it_or_keeps_it_open(void **state)
{
	struct chat c;

	(void)state;
	begin_breaker(&c,
	    (struct server_step[]){ reply(500, "", "x"), reply(500, "", "x"),
		reply(401, "", "x"), reply(200, "", OK_BODY),
		reply(500, "", "x") },
	    5, 1, 1);
	try(&c);
	assert_int_equal(c.answer.changes[0], AIC_BREAKER_OPENED);
	try(&c);
	assert_int_equal(c.rc, AIC_EUPSTREAM);
	assert_int_equal(c.answer.changes[0], AIC_BREAKER_SAME);
	try(&c);
	assert_int_equal(c.rc, AIC_EUPSTREAM);
	assert_int_equal(c.answer.changes[0], AIC_BREAKER_SAME);
	try(&c);
	assert_int_equal(c.rc, AIC_OK);
	assert_int_equal(c.answer.changes[0], AIC_BREAKER_CLOSED);
	try(&c);
	assert_int_equal(c.answer.changes[0], AIC_BREAKER_OPENED);
	end(&c);
}

/* --- the fallback model ------------------------------------------------- */

/* Each server takes its steps one after another. */
static void
begin_two(struct chat *c, const struct server_step *first, int n,
    const struct server_step *second, int m, int failures, int floor)
{
	struct aic_openai_conf conf = { .breaker_failures = failures,
		.breaker_open_us = LONG_US,
		.retry_floor = floor };

	memset(c, 0, sizeof(*c));
	c->s = server_new(first, n);
	c->s2 = server_new(second, m);
	conf.models[1].base_url = server_url(c->s2);
	conf.models[1].api_key = KEY2;
	conf.models[1].name = "second";
	begin_chat(c, conf);
}

/* The primary model repeats this step; the fallback model answers. */
static void
chat_with_two(struct chat *c, struct server_step first)
{
	begin_two(c, &first, 1,
	    (struct server_step[]){ reply(200, "", OK_BODY) }, 1, 0, 100);
	ask(c);
}

static void
is_of_second(struct json_object *doc)
{
	struct json_object *v;

	json_object_object_get_ex(doc, "model", &v);
	assert_string_equal(json_object_get_string(v), "second");
	json_object_object_get_ex(doc, "messages", &v);
	assert_string_equal(json_object_to_json_string_ext(v,
				JSON_C_TO_STRING_PLAIN),
	    MESSAGES);
	json_object_put(doc);
}

static void
the_fallback_is_called_when_the_primary_has_no_attempt_left(void **state)
{
	const struct server_step steps[] = { reply(500, SOON, "x"),
		reply(429, SOON, "x"), { .then = CLOSE }, { .then = RESET } };
	struct chat c;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		chat_with_two(&c, steps[i]);
		assert_int_equal(c.rc, AIC_OK);
		assert_string_equal(c.answer.text, "hello");
		assert_int_equal(c.answer.attempts, 4);
		assert_int_equal(c.answer.model, 1);
		assert_int_equal(server_requests(c.s), 3);
		assert_int_equal(server_requests(c.s2), 1);
		assert_non_null(strstr(server_head(c.s2, 0),
		    "\r\nAuthorization: Bearer " KEY2));
		assert_null(strstr(server_head(c.s2, 0), KEY));
		assert_null(strstr(server_head(c.s, 0), KEY2));
		is_of_second(sent_to(c.s2, 0));
		assert_true(aic_openai_is_well(c.openai));
		end(&c);
	}
}

static void
with_a_fallback_there_is_no_wait_that_does_not_fit(void **state)
{
	int64_t start = aic_clock_us();
	struct chat c;

	(void)state;
	chat_with_two(&c, reply(429, "Retry-After: 6\r\n", "x"));
	assert_int_equal(c.rc, AIC_OK);
	assert_int_equal(c.answer.attempts, 2);
	assert_true(aic_clock_us() - start < 2 * AIC_S);
	end(&c);
}

static void
the_fallback_is_called_when_the_quota_of_the_primary_is_exhausted(void **state)
{
	struct chat c;

	(void)state;
	chat_with_two(&c,
	    reply(429, "", "{\"error\":{\"code\":\"insufficient_quota\"}}"));
	assert_int_equal(c.rc, AIC_OK);
	assert_int_equal(c.answer.attempts, 2);
	assert_int_equal(c.answer.model, 1);
	is_of_second(sent_to(c.s2, 0));
	end(&c);
}

static void
the_fallback_is_called_at_once_when_the_primary_cannot_serve(void **state)
{
	const struct server_step steps[] = {
		reply(402, "",
		    ERROR("\"message\":\"Insufficient Balance\",\"code\":"
			  "\"invalid_request_error\"")),
		reply(403, "",
		    ERROR("\"code\":\"unsupported_country_region_territory\"")),
		reply(413, "", ERROR("\"code\":\"rate_limit_exceeded\"")),
		reply(200, "", ERROR("\"code\":402")),
	};
	struct chat c;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		chat_with_two(&c, steps[i]);
		assert_int_equal(c.rc, AIC_OK);
		assert_int_equal(c.answer.attempts, 2);
		assert_int_equal(c.answer.model, 1);
		end(&c);
	}
	/*
	 * Without a fallback model the call is tried again: the limit may have
	 * passed.
	 */
	chat_with(&c,
	    (struct server_step[]){
		reply(413, SOON, ERROR("\"code\":\"rate_limit_exceeded\"")),
		reply(200, "", OK_BODY) },
	    2);
	assert_int_equal(c.rc, AIC_OK);
	assert_int_equal(c.answer.calls[0][AIC_OPENAI_LIMITED], 1);
	end(&c);
}

static void
the_fallback_is_called_when_the_budget_of_the_primary_is_spent(void **state)
{
	struct chat c;

	(void)state;
	begin_two(&c, (struct server_step[]){ reply(500, SOON, "x") }, 1,
	    (struct server_step[]){
		reply(500, SOON, "x"), reply(200, "", OK_BODY) },
	    2, 0, 1);
	ask(&c);
	/* The fallback model has a budget of its own. */
	assert_int_equal(c.rc, AIC_OK);
	assert_int_equal(server_requests(c.s), 2);
	assert_int_equal(server_requests(c.s2), 2);
	ask(&c);
	assert_int_equal(c.rc, AIC_OK);
	assert_int_equal(server_requests(c.s), 3);
	assert_int_equal(server_requests(c.s2), 3);
	end(&c);
}

static void
only_the_fallback_is_called_while_the_primarys_breaker_is_open(void **state)
{
	struct chat c;
	int i;

	(void)state;
	begin_two(&c, (struct server_step[]){ reply(500, "", "x") }, 1,
	    (struct server_step[]){ reply(200, "", OK_BODY) }, 1, 2, 0);
	for (i = 1; i <= 5; i++) {
		ask(&c);
		assert_int_equal(c.rc, AIC_OK);
		assert_int_equal(c.answer.model, 1);
		assert_int_equal(c.answer.attempts, i <= 2 ? 2 : 1);
		assert_int_equal(c.answer.changes[0],
		    i == 2 ? AIC_BREAKER_OPENED : AIC_BREAKER_SAME);
		assert_int_equal(c.answer.changes[1], AIC_BREAKER_SAME);
	}
	assert_int_equal(server_requests(c.s), 2);
	assert_int_equal(server_requests(c.s2), 5);
	assert_false(is_open(&c));
	assert_true(aic_openai_is_well(c.openai));
	end(&c);
}

static void
the_fallback_is_not_called_when_the_primary_has_answered(void **state)
{
	const struct server_step steps[] = { reply(200, "", OK_BODY),
		reply(400, "", "x"), reply(401, "", "x"), reply(403, "", "x"),
		reply(404, "", "x"), reply(200, "", "x"), reply(200, "", "{}"),
		reply(200, "", MSG("\"content\":\"\"")), reply(302, "", "x"),
		sized(1048577) };
	struct chat c;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		chat_with_two(&c, steps[i]);
		assert_int_equal(c.rc, i == 0 ? AIC_OK : AIC_EUPSTREAM);
		assert_int_equal(c.answer.attempts, 1);
		assert_int_equal(c.answer.model, 0);
		assert_int_equal(server_requests(c.s2), 0);
		end(&c);
	}
}

static void
when_both_fail_the_last_failure_is_reported(void **state)
{
	struct chat c;

	(void)state;
	begin_two(&c, (struct server_step[]){ reply(500, SOON, "x") }, 1,
	    (struct server_step[]){ reply(502, SOON, "x") }, 1, 0, 100);
	ask(&c);
	assert_int_equal(c.rc, AIC_EUPSTREAM);
	assert_int_equal(c.answer.attempts, 6);
	assert_int_equal(c.answer.model, 1);
	assert_non_null(strstr(c.err.says, "502"));
	assert_false(aic_openai_is_well(c.openai));
	end(&c);
}

static void
no_model_is_called_while_both_breakers_are_open(void **state)
{
	struct chat c;

	(void)state;
	begin_two(&c, (struct server_step[]){ reply(500, "", "x") }, 1,
	    (struct server_step[]){ reply(502, "", "x") }, 1, 1, 0);
	ask(&c);
	assert_int_equal(c.rc, AIC_EUPSTREAM);
	assert_int_equal(c.answer.changes[0], AIC_BREAKER_OPENED);
	assert_int_equal(c.answer.changes[1], AIC_BREAKER_OPENED);
	assert_true(is_open(&c));
	ask(&c);
	assert_int_equal(c.rc, AIC_EOPEN);
	assert_int_equal(c.answer.attempts, 0);
	assert_in_range(c.err.retry_after_s, 3590, 3600);
	end(&c);
}

static void
while_the_fallbacks_breaker_is_open_the_primarys_failure_counts(void **state)
{
	static const char quota[] =
	    "{\"error\":{\"code\":\"insufficient_quota\"}}";
	struct chat c;

	(void)state;
	begin_two(&c, (struct server_step[]){ reply(429, "", quota) }, 1,
	    (struct server_step[]){ reply(502, "", "x") }, 1, 1, 0);
	ask(&c);
	assert_non_null(strstr(c.err.says, "502"));
	assert_false(is_open(&c));
	ask(&c);
	assert_int_equal(c.rc, AIC_EUPSTREAM);
	assert_non_null(strstr(c.err.says, "429"));
	assert_int_equal(c.answer.model, 0);
	assert_int_equal(server_requests(c.s2), 1);
	end(&c);
}

static void
a_primary_that_hangs_leaves_a_third_of_the_time(void **state)
{
	int64_t start;
	struct chat c;

	(void)state;
	begin_two(&c, (struct server_step[]){ { .then = KEEP } }, 1,
	    (struct server_step[]){ reply(200, "", OK_BODY), { .then = KEEP } },
	    2, 0, 100);
	start = aic_clock_us();
	c.ask.deadline_us = start + 3300 * AIC_MS;
	ask(&c);
	assert_int_equal(c.rc, AIC_OK);
	assert_in_range(aic_clock_us() - start, 2100 * AIC_MS, 3200 * AIC_MS);

	/* Where both hang, they share one deadline. */
	start = aic_clock_us();
	c.ask.deadline_us = start + 3300 * AIC_MS;
	ask(&c);
	assert_int_equal(c.rc, AIC_EUPSTREAM);
	assert_non_null(strstr(c.err.says, "in time"));
	assert_in_range(aic_clock_us() - start, 3200 * AIC_MS, 3800 * AIC_MS);
	assert_int_equal(server_requests(c.s), 2);
	assert_int_equal(server_requests(c.s2), 2);
	end(&c);
}

static void
time_that_is_too_short_for_both_is_the_primarys(void **state)
{
	int64_t start;
	struct chat c;

	(void)state;
	begin_two(&c, (struct server_step[]){ { .then = KEEP } }, 1,
	    (struct server_step[]){ reply(200, "", OK_BODY) }, 1, 0, 100);
	start = aic_clock_us();
	c.ask.deadline_us = start + 1500 * AIC_MS;
	ask(&c);
	assert_int_equal(c.rc, AIC_EUPSTREAM);
	assert_true(aic_clock_us() - start >= 1400 * AIC_MS);
	assert_int_equal(server_requests(c.s2), 0);
	end(&c);
}

/* The breaker of the fallback model is open, so no time is reserved for it. */
static void
the_primary_has_all_the_time_while_the_fallbacks_breaker_is_open(void **state)
{
	static const char quota[] =
	    "{\"error\":{\"code\":\"insufficient_quota\"}}";
	int64_t start;
	struct chat c;

	(void)state;
	begin_two(&c,
	    (struct server_step[]){ reply(429, "", quota), { .then = KEEP } },
	    2, (struct server_step[]){ reply(502, "", "x") }, 1, 1, 0);
	ask(&c);
	assert_non_null(strstr(c.err.says, "502"));
	start = aic_clock_us();
	c.ask.deadline_us = start + 3300 * AIC_MS;
	ask(&c);
	assert_int_equal(c.rc, AIC_EUPSTREAM);
	assert_true(aic_clock_us() - start >= 3200 * AIC_MS);
	assert_int_equal(server_requests(c.s2), 1);
	end(&c);
}

/* Parameters that were refused are remembered for each model separately. */
static void
a_parameter_that_one_model_refuses_is_still_sent_to_the_other(void **state)
{
	struct json_object *doc;
	struct chat c;

	(void)state;
	begin_two(&c,
	    (struct server_step[]){
		refuse("unsupported_parameter", "temperature"),
		reply(500, "", "x"), reply(500, "", "x") },
	    3,
	    (struct server_step[]){
		refuse("unsupported_parameter", "max_tokens"),
		reply(200, "", OK_BODY) },
	    2, 0, 0);
	ask(&c);
	assert_int_equal(c.rc, AIC_OK);
	assert_int_equal(c.answer.attempts, 4);
	ask(&c);
	assert_int_equal(c.rc, AIC_OK);
	assert_int_equal(c.answer.attempts, 2);
	doc = sent(&c, 2);
	assert_true(has(doc, "max_tokens"));
	assert_false(has(doc, "temperature"));
	json_object_put(doc);
	doc = sent_to(c.s2, 2);
	assert_true(has(doc, "max_completion_tokens"));
	assert_true(has(doc, "temperature"));
	json_object_put(doc);
	end(&c);
}

/* Only the name differs: the same server gets both models. */
static void
unset_values_of_the_fallback_are_those_of_the_primary(void **state)
{
	struct aic_openai_conf conf = { .retry_floor = 0 };
	struct chat c;

	(void)state;
	conf.models[1].name = "second";
	begin_with(&c,
	    (struct server_step[]){
		reply(500, "", "x"), reply(200, "", OK_BODY) },
	    2, conf);
	ask(&c);
	assert_int_equal(c.rc, AIC_OK);
	assert_int_equal(c.answer.model, 1);
	assert_non_null(strstr(server_head(c.s, 1),
	    "\r\nAuthorization: Bearer " KEY));
	is_of_second(sent(&c, 1));
	end(&c);
}

static void
no_server_can_get_either_key_into_the_log(void **state)
{
	static const char *const keys[] = { KEY, KEY2 };
	char body[200];
	struct chat c;
	size_t i;

	(void)state;
	for (i = 0; i < 2; i++) {
		snprintf(body, sizeof(body),
		    "{\"error\":{\"code\":\"%s\",\"type\":\"x.%s\"}}", keys[i],
		    keys[i]);
		begin_two(&c, (struct server_step[]){ reply(401, "", body) }, 1,
		    (struct server_step[]){ reply(200, "", OK_BODY) }, 1, 0, 0);
		ask(&c); /* looks for both keys */
		assert_int_equal(c.rc, AIC_EUPSTREAM);
		end(&c);
		begin_two(&c, (struct server_step[]){ reply(500, "", "x") }, 1,
		    (struct server_step[]){ reply(500, "", body) }, 1, 0, 0);
		ask(&c);
		assert_int_equal(c.rc, AIC_EUPSTREAM);
		end(&c);
	}
}

/* --- a token ------------------------------------------------------------ */

static void
begin_gigachat(struct chat *c, const struct server_step *auth, int n_auth,
    const struct server_step *model, int n_model, const char *second_url)
{
	struct aic_openai_conf conf = { .retry_floor = 100 };

	memset(c, 0, sizeof(*c));
	c->s = server_new(model, n_model);
	c->s2 = server_new(auth, n_auth);
	conf.models[0].auth = AIC_PROVIDER_GIGACHAT;
	conf.models[0].auth_url = server_url(c->s2);
	if (second_url) {
		conf.models[1].base_url = second_url;
		conf.models[1].api_key = KEY2;
	}
	begin_chat(c, conf);
}

#define TOKEN "{\"access_token\":\"tOkEn-1\",\"expires_at\":1}"

static void
a_token_that_has_expired_is_renewed_and_the_call_repeated(void **state)
{
	struct chat c;

	(void)state;
	begin_gigachat(&c, (struct server_step[]){ reply(200, "", TOKEN) }, 1,
	    (struct server_step[]){ reply(401, "", "{}"), reply(500, SOON, "x"),
		reply(500, SOON, "x"), reply(200, "", OK_BODY) },
	    4, NULL);
	ask(&c);
	/* The refused call is not one of the three attempts. */
	assert_int_equal(c.rc, AIC_OK);
	assert_int_equal(c.answer.attempts, 4);
	assert_int_equal(server_requests(c.s2), 2);
	assert_int_equal(c.answer.calls[0][AIC_OPENAI_REFUSED], 1);
	end(&c);
}

static void
a_fresh_token_that_is_refused_ends_the_chat(void **state)
{
	struct chat c;

	(void)state;
	begin_gigachat(&c, (struct server_step[]){ reply(200, "", TOKEN) }, 1,
	    (struct server_step[]){ reply(401, "", "{}") }, 1, NULL);
	ask(&c);
	assert_int_equal(c.rc, AIC_EUPSTREAM);
	assert_non_null(strstr(c.err.says, "401"));
	assert_int_equal(c.answer.attempts, 2);
	assert_int_equal(server_requests(c.s2), 2);
	end(&c);
}

static void
a_token_endpoint_that_fails_is_called_again(void **state)
{
	struct chat c;

	(void)state;
	begin_gigachat(&c,
	    (struct server_step[]){ { .then = CLOSE }, reply(200, "", TOKEN) },
	    2, (struct server_step[]){ reply(200, "", OK_BODY) }, 1, NULL);
	ask(&c);
	assert_int_equal(c.rc, AIC_OK);
	assert_int_equal(c.answer.attempts, 2);
	assert_int_equal(server_requests(c.s), 1);
	end(&c);
}

static void
without_a_token_the_fallback_model_is_called(void **state)
{
	static const int statuses[] = { 400, 401, 403, 500, 302 };
	struct server *second;
	struct chat c;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		second = server_new((struct server_step[]){ reply(200, "",
					OK_BODY) },
		    1);
		begin_gigachat(&c,
		    (struct server_step[]){ reply(statuses[i], "", KEY) }, 1,
		    (struct server_step[]){ reply(200, "", "x") }, 1,
		    server_url(second));
		ask(&c);
		assert_int_equal(c.rc, AIC_OK);
		assert_int_equal(c.answer.model, 1);
		assert_int_equal(server_requests(c.s), 0);
		assert_int_equal(server_requests(second), 1);
		end(&c);
		server_free(second);
	}
}

static void
without_a_token_and_a_fallback_the_log_has_the_reason(void **state)
{
	struct chat c;

	(void)state;
	begin_gigachat(&c, (struct server_step[]){ reply(401, "", KEY) }, 1,
	    (struct server_step[]){ reply(200, "", "x") }, 1, NULL);
	ask(&c);
	assert_int_equal(c.rc, AIC_EUPSTREAM);
	assert_int_equal(c.answer.attempts, 1);
	assert_non_null(strstr(c.err.detail,
	    "could not get a token: the token endpoint answered HTTP 401"));
	assert_null(strstr(c.err.says, "401"));
	end(&c);
}

/* --- callers that leave ------------------------------------------------- */

static bool
say(void *arg)
{
	int *left = arg;

	return (*left)-- <= 0;
}

static void
a_caller_that_disconnects_ends_the_call_which_is_no_failure(void **state)
{
	int left = 2;
	struct chat c;

	(void)state;
	begin(&c, (struct server_step[]){ { .then = KEEP } }, 1);
	c.ask.gone = say;
	c.ask.gone_arg = &left;
	ask(&c);
	assert_int_equal(c.rc, AIC_EGONE);
	assert_int_equal(c.answer.attempts, 1);
	assert_true(aic_openai_is_well(c.openai));
	end(&c);
}

static bool
say_after_the_call(void *arg)
{
	struct chat *c = arg;

	return server_requests(c->s) > 0;
}

static void
a_caller_that_disconnects_between_two_calls_prevents_the_next(void **state)
{
	int64_t start = aic_clock_us();
	struct chat c;

	(void)state;
	begin(&c,
	    (struct server_step[]){ reply(500, "Retry-After: 6\r\n", "x"),
		reply(200, "", OK_BODY) },
	    2);
	c.ask.gone = say_after_the_call;
	c.ask.gone_arg = &c;
	ask(&c);
	assert_int_equal(c.rc, AIC_EGONE);
	assert_int_equal(server_requests(c.s), 1);
	assert_true(aic_clock_us() - start < 3 * AIC_S);
	end(&c);
}

static bool
say_after_two_calls(void *arg)
{
	struct chat *c = arg;

	return server_requests(c->s) > 1;
}

static void
after_a_trial_whose_caller_disconnects_the_next_call_is_the_trial(void **state)
{
	struct chat c;

	(void)state;
	begin_breaker(&c,
	    (struct server_step[]){ reply(500, "", "x"), { .then = KEEP },
		reply(200, "", OK_BODY) },
	    3, 1, 1);
	try(&c);
	assert_int_equal(c.answer.changes[0], AIC_BREAKER_OPENED);
	c.ask.gone = say_after_two_calls;
	c.ask.gone_arg = &c;
	try(&c);
	assert_int_equal(c.rc, AIC_EGONE);
	c.ask.gone = NULL;
	try(&c);
	assert_int_equal(c.rc, AIC_OK);
	assert_int_equal(c.answer.changes[0], AIC_BREAKER_CLOSED);
	end(&c);
}

static void
a_body_that_does_not_fit_is_not_sent(void **state)
{
	struct chat c;

	(void)state;
	begin(&c, (struct server_step[]){ reply(200, "", OK_BODY) }, 1);
	c.body.max = c.body.len + 5;
	ask(&c);
	assert_int_equal(c.rc, AIC_ENOMEM);
	assert_int_equal(server_connections(c.s), 0);
	end(&c);
}

static void
close_accepts_null(void **state)
{
	(void)state;
	aic_openai_close(NULL);
}

UNIT_MAIN_WITH(set_up, tear_down, T(the_request_is_a_chat_completion),
    T(a_usable_answer_is_returned_with_its_tokens),
    T(text_is_usable_in_these_shapes),
    T(an_unusable_answer_is_refused_and_not_retried),
    T(an_answer_without_its_end_is_retried),
    T(an_answer_that_is_nested_too_deeply_is_refused),
    T(tokens_are_an_integer_that_is_not_negative),
    T(broken_text_in_an_answer_is_made_safe),
    T(an_answer_of_1_mib_is_accepted_and_one_byte_more_is_not),
    T(the_largest_answer_is_accepted_with_only_invalid_bytes_too),
    T(a_temporary_status_is_tried_three_times),
    T(a_permanent_status_is_tried_once), T(an_exhausted_quota_is_not_retried),
    T(a_successful_attempt_is_the_last), T(bodies_of_attempts_do_not_mix),
    T(a_connection_that_breaks_is_retried_and_counted),
    T(no_attempt_is_made_that_is_not_counted),
    T(retry_after_that_does_not_fit_ends_the_attempts),
    T(retry_after_that_fits_is_waited_for), T(the_deadline_ends_all_attempts),
    T(retries_of_all_chats_come_from_one_budget),
    T(a_refused_parameter_is_sent_in_another_form_and_remembered),
    T(the_other_order_works_as_well),
    T(another_form_of_a_parameter_takes_none_of_the_attempts),
    T(a_model_that_refuses_all_parameters_is_not_called_forever),
    T(a_server_that_refuses_the_newer_name_gets_the_older_one),
    T(a_refusal_is_recognized_by_the_name_whatever_the_code),
    T(other_errors_do_not_change_the_parameters),
    T(an_error_inside_a_200_is_treated_like_its_status),
    T(an_error_that_quotes_key_and_address_is_not_passed_on),
    T(codes_of_an_error_are_logged_and_nothing_else_is),
    T(an_address_with_a_password_is_not_in_any_message),
    T(the_model_has_recovered_with_the_next_answer),
    T(after_so_many_failures_the_model_is_not_called),
    T(these_failures_open_the_circuit_breaker),
    T(these_failures_do_not_open_it),
    T(a_model_that_hangs_has_failed_unless_it_had_too_little_time),
    T(a_trial_is_one_call), T(a_trial_closes_it_or_keeps_it_open),
    T(the_fallback_is_called_when_the_primary_has_no_attempt_left),
    T(with_a_fallback_there_is_no_wait_that_does_not_fit),
    T(the_fallback_is_called_when_the_quota_of_the_primary_is_exhausted),
    T(the_fallback_is_called_at_once_when_the_primary_cannot_serve),
    T(the_fallback_is_called_when_the_budget_of_the_primary_is_spent),
    T(only_the_fallback_is_called_while_the_primarys_breaker_is_open),
    T(the_fallback_is_not_called_when_the_primary_has_answered),
    T(when_both_fail_the_last_failure_is_reported),
    T(no_model_is_called_while_both_breakers_are_open),
    T(while_the_fallbacks_breaker_is_open_the_primarys_failure_counts),
    T(a_primary_that_hangs_leaves_a_third_of_the_time),
    T(time_that_is_too_short_for_both_is_the_primarys),
    T(the_primary_has_all_the_time_while_the_fallbacks_breaker_is_open),
    T(a_parameter_that_one_model_refuses_is_still_sent_to_the_other),
    T(unset_values_of_the_fallback_are_those_of_the_primary),
    T(no_server_can_get_either_key_into_the_log),
    T(a_token_that_has_expired_is_renewed_and_the_call_repeated),
    T(a_fresh_token_that_is_refused_ends_the_chat),
    T(a_token_endpoint_that_fails_is_called_again),
    T(without_a_token_the_fallback_model_is_called),
    T(without_a_token_and_a_fallback_the_log_has_the_reason),
    T(a_caller_that_disconnects_ends_the_call_which_is_no_failure),
    T(a_caller_that_disconnects_between_two_calls_prevents_the_next),
    T(after_a_trial_whose_caller_disconnects_the_next_call_is_the_trial),
    T(a_body_that_does_not_fit_is_not_sent), T(close_accepts_null))
