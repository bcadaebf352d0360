/*
 * The body of a model's response, read with status 200 and with any other one.
 * The same bytes are then read as the text of an answer, from which reasoning
 * is cut.
 */
#include "config.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "lib/completion.h"
#include "fuzz.h"
#include "lib/json.h"
#include "lib/retry.h"
#include "lib/think.h"
#include "lib/utf8.h"

#define KEY "sk-key"

static const char *const keys[] = { KEY, NULL };

static bool
is_count(int64_t n)
{
	return n >= 0 && n <= INT_MAX;
}

static void
check_answer(const struct aic_completion *c)
{
	struct json_object *doc = NULL;
	struct aic_json_fault fault;
	struct aic_buf b;
	size_t n = strlen(c->text);

	assert(fuzz_is_text(c->text, n));
	assert(!aic_utf8_invisible(c->text, n));
	assert(aic_think_skip(c->text, n) == 0);
	/* Each invalid byte becomes three. */
	assert(n <= 3 * AIC_COMPLETION_MAX);
	assert(is_count(c->tokens) && is_count(c->usage.prompt));
	assert(is_count(c->usage.completion) && is_count(c->usage.cached));
	aic_buf_init(&b, 6 * n + 2);
	aic_json_put_str(&b, c->text);
	assert(!b.failed);
	assert(aic_json_parse_strict(b.data, b.len, &doc, &fault) == AIC_OK);
	json_object_put(doc);
	aic_buf_done(&b);
}

static void check_code(const char *code);

static void
check_error(const struct aic_completion_error *e)
{
	check_code(e->code);
	check_code(e->type);
	check_code(e->param);
	assert(strlen(e->message) < AIC_COMPLETION_MESSAGE_SIZE);
	assert(e->refused < 8);
}

static bool
read_answer(const struct aic_buf *body)
{
	struct aic_completion c = { .text = NULL, .tokens = -7 };
	struct aic_err err = AIC_ERR_INIT;
	struct aic_completion_error e;
	bool taken;

	memset(&e, 0x5a, sizeof(e));
	taken = aic_completion_read(body, keys, &c, &e, &err) == AIC_OK;
	check_error(&e);
	assert(e.status == 0 || (e.status >= 200 && e.status <= 599));
	if (taken) {
		check_answer(&c);
		assert(!e.status && !e.broken);
	} else {
		assert(err.code == AIC_EUPSTREAM);
		assert(!c.text && c.tokens == -7);
		assert(fuzz_is_line(err.says) && fuzz_is_line(err.detail));
		assert(!strstr(err.says, KEY) && !strstr(err.detail, KEY));
	}
	free(c.text);
	return taken;
}

/* Reasoning is cut from the beginning, once, and only where there is a tag. */
static void
skip_reasoning(const char *s, size_t n)
{
	size_t skip = aic_think_skip(s, n);

	assert(skip <= n);
	assert(aic_think_skip(s + skip, n - skip) == 0);
	if (!memchr(s, '<', n))
		assert(skip == 0);
	else if (skip > 0)
		assert(memchr(s, '<', skip));
}

/* A code is written to the log, and the retry rule depends on it. */
static void
check_code(const char *code)
{
	static const char bad[] = " \t\r\n\"\\'=<>{}:/@";

	assert(strlen(code) < AIC_COMPLETION_NAME_SIZE);
	assert(fuzz_is_text(code, strlen(code)));
	assert(!strpbrk(code, bad) && !strstr(code, KEY));
}

static void
read_error(const struct aic_buf *body)
{
	struct aic_completion_error e;
	struct aic_retry_case c = { .end = AIC_HTTP_ANSWERED,
		.code = e.code,
		.type = e.type,
		.message = e.message };

	memset(&e, 0x5a, sizeof(e));
	aic_completion_read_error(body, keys, &e);
	check_error(&e);
	assert(e.status == 0 && !e.broken);
	c.status = 400;
	assert(!aic_retry_same_model(&c));
	/*
	 * An error that ends the attempts with a 429 ends them with a 500, too.
	 */
	c.status = 429;
	if (!aic_retry_same_model(&c)) {
		c.status = 500;
		assert(!aic_retry_same_model(&c));
	}
}

bool
fuzz_one(const char *data, size_t len)
{
	struct aic_buf body;
	bool taken;

	aic_buf_init(&body, AIC_COMPLETION_MAX);
	aic_buf_put(&body, data, len);
	if (body.failed) /* longer than a worker reads */
		return false;
	taken = read_answer(&body);
	read_error(&body);
	if (len > 0)
		skip_reasoning(data, len);
	aic_buf_done(&body);
	return taken;
}
