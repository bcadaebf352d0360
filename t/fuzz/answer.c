/* The body of the model's answer: of a 200, and the same bytes with any other
 * status. */
#include "config.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "completion.h"
#include "fuzz.h"
#include "json.h"
#include "retry.h"
#include "utf8.h"

#define KEY "sk-key"

static void
check_answer(const struct aic_completion *a)
{
	struct aic_buf b;
	size_t n = strlen(a->text), at = 0;

	assert(fuzz_is_text(a->text, n));
	assert(!aic_utf8_blank(a->text, n));
	/* A broken byte becomes three. */
	assert(n <= 3 * AIC_COMPLETION_MAX);
	assert(a->tokens >= 0 && a->tokens <= INT_MAX);
	aic_buf_init(&b, 6 * n + 2);
	aic_json_put_str(&b, a->text);
	assert(!b.failed);
	assert(!aic_json_check(b.data, b.len, &at));
	aic_buf_done(&b);
}

static bool
read_answer(const struct aic_buf *body)
{
	struct aic_completion a = { .text = NULL, .tokens = -7 };
	struct aic_err err = AIC_ERR_INIT;
	bool taken = aic_completion_read(body, &a, &err) == AIC_OK;

	if (taken) {
		check_answer(&a);
	} else {
		assert(err.code == AIC_EUPSTREAM);
		assert(!a.text && a.tokens == -7);
		assert(fuzz_is_line(err.says) && fuzz_is_line(err.detail));
		assert(!strstr(err.says, KEY) && !strstr(err.detail, KEY));
	}
	free(a.text);
	return taken;
}

/* It goes into the log, and the rule of trying again goes by it. */
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
	static const char *const keys[] = { KEY, NULL };
	struct aic_completion_error e;
	struct aic_retry_case c = {
		.end = AIC_HTTP_ANSWERED, .code = e.code, .type = e.type
	};

	memset(&e, 0x5a, sizeof(e));
	aic_completion_read_error(body, keys, &e);
	check_code(e.code);
	check_code(e.type);
	check_code(e.param);
	c.status = 400;
	assert(!aic_retry_worth(&c));
	/* What ends the attempts at a 429 ends them at a 500. */
	c.status = 429;
	if (!aic_retry_worth(&c)) {
		c.status = 500;
		assert(!aic_retry_worth(&c));
	}
}

bool
fuzz_one(const char *data, size_t len)
{
	struct aic_buf body;
	bool taken;

	aic_buf_init(&body, AIC_COMPLETION_MAX);
	aic_buf_put(&body, data, len);
	if (body.failed) /* longer than any that is read */
		return false;
	taken = read_answer(&body);
	read_error(&body);
	aic_buf_done(&body);
	return taken;
}
