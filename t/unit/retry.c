#include "config.h"

#include "lib/retry.h"

#include "unit.h"

static bool
worth(enum aic_http_end end, int status, const char *code, const char *type)
{
	struct aic_retry_case c = {
		.end = end, .status = status, .code = code, .type = type
	};

	return aic_retry_same_model(&c);
}

static void
temporary_statuses_are_worth_a_retry_and_no_others(void **state)
{
	int status;
	bool want;

	(void)state;
	for (status = 100; status <= 999; status++) {
		want = status == 408 || status == 409 || status == 429 ||
		    (status >= 500 && status <= 599);
		if (worth(AIC_HTTP_ANSWERED, status, "", "") != want)
			fail_msg("status %d is judged wrongly", status);
	}
}

static void
an_exhausted_balance_is_never_worth_a_retry(void **state)
{
	static const char *const codes[] = { "insufficient_quota",
		"credit_balance_exhausted", "billing_hard_limit_reached",
		"billing_not_active" };
	static const int statuses[] = { 429, 408, 409, 500, 503, 402, 403 };
	size_t i, j;

	(void)state;
	for (i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		for (j = 0; j < sizeof(statuses) / sizeof(statuses[0]); j++) {
			assert_false(worth(AIC_HTTP_ANSWERED, statuses[j],
			    codes[i], ""));
			assert_false(worth(AIC_HTTP_ANSWERED, statuses[j], "",
			    codes[i]));
			assert_false(worth(AIC_HTTP_ANSWERED, statuses[j],
			    "rate_limit_exceeded", codes[i]));
		}
}

static bool
other(enum aic_http_end end, int status, const char *code, const char *type)
{
	struct aic_retry_case c = {
		.end = end, .status = status, .code = code, .type = type
	};

	return aic_retry_other_model(&c);
}

static void
another_model_is_worth_a_call_after_a_failure_or_without_money(void **state)
{
	int status, end;

	(void)state;
	for (status = 100; status <= 999; status++)
		assert_int_equal(other(AIC_HTTP_ANSWERED, status, "", ""),
		    status == 402 || worth(AIC_HTTP_ANSWERED, status, "", ""));
	for (end = 1; end < AIC_HTTP__MAX; end++)
		assert_int_equal(other(end, 0, "", ""),
		    end == AIC_HTTP_UNTRUSTED || worth(end, 0, "", ""));
	assert_true(other(AIC_HTTP_ANSWERED, 429, "insufficient_quota", ""));
	assert_true(other(AIC_HTTP_ANSWERED, 403, "", "insufficient_quota"));
	assert_true(other(AIC_HTTP_ANSWERED, 429, "billing_not_active", ""));
	assert_true(other(AIC_HTTP_ANSWERED, 402, "credit_balance_exhausted",
	    ""));
	assert_false(other(AIC_HTTP_ANSWERED, 401, "invalid_api_key", ""));
}

static void
with_other_codes_the_status_decides(void **state)
{
	static const char *const codes[] = { "rate_limit_exceeded", "slow_down",
		"server_is_overloaded", "insufficient", "insufficient_quota_x",
		"billin", "x_billing_", "" };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		assert_true(worth(AIC_HTTP_ANSWERED, 429, codes[i], codes[i]));
		assert_false(worth(AIC_HTTP_ANSWERED, 400, codes[i], codes[i]));
	}
}

static void
a_call_without_a_response_is_judged_by_its_end(void **state)
{
	static const struct {
		enum aic_http_end end;
		bool again;
	} rows[] = { { AIC_HTTP_CONNECT, true }, { AIC_HTTP_UNTRUSTED, false },
		{ AIC_HTTP_BROKEN, true }, { AIC_HTTP_TIMEOUT, true },
		{ AIC_HTTP_TOO_BIG, false }, { AIC_HTTP_GONE, false },
		{ AIC_HTTP_FAILED, false }, { AIC_HTTP_NO_MEMORY, false } };
	static const int statuses[] = { 0, 200, 400, 500 };
	size_t i, j;

	(void)state;
	assert_int_equal(sizeof(rows) / sizeof(rows[0]) + 1, AIC_HTTP__MAX);
	/* A status may precede a broken response; it decides nothing. */
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (j = 0; j < 4; j++)
			assert_int_equal(worth(rows[i].end, statuses[j], "",
					     ""),
			    rows[i].again);
}

/* --- row by row --------------------------------------------------------- */

#define NEVER AIC_RETRY_NEVER
#define OTHER AIC_RETRY_OTHER
#define AGAIN AIC_RETRY_AGAIN
#define RESHAPE AIC_RETRY_RESHAPE

struct row {
	int status;
	const char *code, *type, *message;
	enum aic_retry_advice advice;
	enum aic_retry_why why;
};

static struct aic_retry_case
case_of(const struct row *r)
{
	return (struct aic_retry_case){ .end = AIC_HTTP_ANSWERED,
		.status = r->status,
		.code = r->code,
		.type = r->type,
		.message = r->message };
}

static void
check_case(const struct aic_retry_case *c, enum aic_retry_advice advice,
    enum aic_retry_why why)
{
	enum aic_retry_why got_why;
	enum aic_retry_advice got = aic_retry_advise(c, &got_why);

	if (got != advice || got_why != why)
		fail_msg("%d code=%s type=%s message=%s: advice %d, why %d",
		    c->status, c->code, c->type, c->message, got, got_why);
	assert_int_equal(aic_retry_advise(c, NULL), advice);
	assert_int_equal(aic_retry_same_model(c), advice == AGAIN);
	assert_int_equal(aic_retry_other_model(c),
	    advice == AGAIN || advice == OTHER);
}

static void
check_rows(const struct row *rows, size_t n)
{
	struct aic_retry_case c;
	size_t i;

	for (i = 0; i < n; i++) {
		c = case_of(&rows[i]);
		check_case(&c, rows[i].advice, rows[i].why);
	}
}

#define CHECK(rows) check_rows(rows, sizeof(rows) / sizeof(rows[0]))

static void
without_money_another_model_is_called_at_once(void **state)
{
	static const struct row rows[] = {
		/* DeepSeek */
		{ 402, "invalid_request_error", "unknown_error",
		    "Insufficient Balance", OTHER, AIC_RETRY_NO_MONEY },
		{ 402, "", "", "", OTHER, AIC_RETRY_NO_MONEY },
		{ 429, "insufficient_quota", "insufficient_quota",
		    "You exceeded your current quota", OTHER,
		    AIC_RETRY_NO_MONEY },
		/* one-api */
		{ 403, "insufficient_user_quota", "", "", OTHER,
		    AIC_RETRY_NO_MONEY },
		{ 403, "", "insufficient_user_quota", "", OTHER,
		    AIC_RETRY_NO_MONEY },
		/* Moonshot, Alibaba */
		{ 429, "", "exceeded_current_quota_error", "", OTHER,
		    AIC_RETRY_NO_MONEY },
		{ 400, "Arrearage", "", "", OTHER, AIC_RETRY_NO_MONEY },
		{ 400, "insufficient_balance", "", "", OTHER,
		    AIC_RETRY_NO_MONEY },
		{ 400, "billing_hard_limit_reached", "", "", OTHER,
		    AIC_RETRY_NO_MONEY },
		{ 429, "credit_balance_exhausted", "", "", OTHER,
		    AIC_RETRY_NO_MONEY },
		{ 403, "", "", "Error: insufficient balance.", OTHER,
		    AIC_RETRY_NO_MONEY },
		/* Anthropic */
		{ 400, "invalid_request_error", "",
		    "Your credit balance is too low to access the API", OTHER,
		    AIC_RETRY_NO_MONEY },
		/* Inside a 200, too. */
		{ 200, "insufficient_quota", "", "", OTHER,
		    AIC_RETRY_NO_MONEY },
		{ 403, "insufficient_permissions", "", "balance", NEVER,
		    AIC_RETRY_BY_STATUS },
	};

	(void)state;
	CHECK(rows);
}

static void
in_an_unsupported_country_another_model_is_called_at_once(void **state)
{
	static const char code[] = "unsupported_country_region_territory";
	static const struct row rows[] = {
		{ 403, code, "request_forbidden", "", OTHER,
		    AIC_RETRY_BY_STATUS },
		{ 403, "", code, "", OTHER, AIC_RETRY_BY_STATUS },
		{ 403, "", "", "Country, region, or territory not supported",
		    OTHER, AIC_RETRY_BY_STATUS },
		/* Google */
		{ 400, "400", "FAILED_PRECONDITION",
		    "User location is not supported for the API use.", OTHER,
		    AIC_RETRY_BY_STATUS },
		{ 403, "403", "PERMISSION_DENIED", "", NEVER,
		    AIC_RETRY_BY_STATUS },
	};

	(void)state;
	CHECK(rows);
}

static void
a_413_with_rate_limit_exceeded_is_a_rate_limit(void **state)
{
	static const struct row limit = { 413, "rate_limit_exceeded", "tokens",
		"Request too large on tokens per minute (TPM): Limit 6000, "
		"Requested 7000",
		AGAIN, AIC_RETRY_LIMITED };
	static const struct row large = { 413, "request_too_large", "", "",
		NEVER, AIC_RETRY_BY_STATUS };
	struct aic_retry_case c = case_of(&limit);

	(void)state;
	check_case(&c, AGAIN, AIC_RETRY_LIMITED);
	/* For the fallback model the request would be as large. */
	c.other = true;
	check_case(&c, OTHER, AIC_RETRY_LIMITED);
	c = case_of(&large);
	check_case(&c, NEVER, AIC_RETRY_BY_STATUS);
	c.other = true;
	check_case(&c, NEVER, AIC_RETRY_BY_STATUS);
}

static void
after_a_refused_parameter_another_form_is_sent(void **state)
{
	struct aic_retry_case c = { .end = AIC_HTTP_ANSWERED,
		.code = "invalid_request_error",
		.type = "",
		.refused = true };
	int status;

	(void)state;
	for (status = 100; status <= 999; status++) {
		c.status = status;
		assert_int_equal(aic_retry_advise(&c, NULL) == RESHAPE,
		    status == 400 || status == 422);
	}
	c.status = 400;
	c.refused = false;
	check_case(&c, NEVER, AIC_RETRY_BY_STATUS);
}

static void
a_rate_limit_and_a_fault_differ_by_their_status(void **state)
{
	static const struct row rows[] = {
		{ 408, "", "", "", AGAIN, AIC_RETRY_BY_STATUS },
		{ 409, "", "", "", AGAIN, AIC_RETRY_BY_STATUS },
		{ 429, "", "", "", AGAIN, AIC_RETRY_LIMITED },
		{ 500, "", "", "", AGAIN, AIC_RETRY_BROKEN },
		{ 529, "", "overloaded_error", "", AGAIN, AIC_RETRY_BROKEN },
		{ 401, "invalid_api_key", "", "", NEVER, AIC_RETRY_BY_STATUS },
		{ 403, "invalid_api_key", "", "", NEVER, AIC_RETRY_BY_STATUS },
		{ 404, "model_not_found", "", "", NEVER, AIC_RETRY_BY_STATUS },
	};

	(void)state;
	CHECK(rows);
}

static void
an_error_inside_a_200_is_recognized_by_its_name(void **state)
{
	static const struct row rows[] = {
		{ 200, "rate_limit_exceeded", "", "", AGAIN,
		    AIC_RETRY_LIMITED },
		{ 200, "", "rate_limit_error", "", AGAIN, AIC_RETRY_LIMITED },
		{ 200, "too_many_requests", "", "", AGAIN, AIC_RETRY_LIMITED },
		{ 200, "slow_down", "", "", AGAIN, AIC_RETRY_LIMITED },
		{ 200, "", "RESOURCE_EXHAUSTED", "", AGAIN, AIC_RETRY_LIMITED },
		{ 200, "server_error", "", "", AGAIN, AIC_RETRY_BROKEN },
		{ 200, "server_is_overloaded", "", "", AGAIN,
		    AIC_RETRY_BROKEN },
		{ 200, "", "internal_server_error", "", AGAIN,
		    AIC_RETRY_BROKEN },
		{ 200, "", "overloaded_error", "", AGAIN, AIC_RETRY_BROKEN },
		{ 200, "service_unavailable", "", "", AGAIN, AIC_RETRY_BROKEN },
		{ 200, "", "UNAVAILABLE", "", AGAIN, AIC_RETRY_BROKEN },
		{ 200, "timeout", "", "", AGAIN, AIC_RETRY_BROKEN },
		{ 200, "invalid_api_key", "", "", NEVER, AIC_RETRY_BY_STATUS },
		{ 200, "x", "y", "z", NEVER, AIC_RETRY_BY_STATUS },
		/* With another status, the status decides. */
		{ 400, "rate_limit_exceeded", "", "", NEVER,
		    AIC_RETRY_BY_STATUS },
		{ 401, "server_error", "", "", NEVER, AIC_RETRY_BY_STATUS },
	};

	(void)state;
	CHECK(rows);
}

static void
an_answer_that_broke_off_is_retried(void **state)
{
	struct aic_retry_case c = { .end = AIC_HTTP_ANSWERED,
		.status = 200,
		.code = "",
		.type = "",
		.broken = true };

	(void)state;
	check_case(&c, AGAIN, AIC_RETRY_BY_STATUS);
	c.code = "x";
	check_case(&c, AGAIN, AIC_RETRY_BY_STATUS);
	/* An error inside the response that says more. */
	c.status = 502;
	check_case(&c, AGAIN, AIC_RETRY_BROKEN);
	c.status = 403;
	check_case(&c, NEVER, AIC_RETRY_BY_STATUS);
	c.status = 200;
	c.broken = false;
	check_case(&c, NEVER, AIC_RETRY_BY_STATUS);
}

static void
there_are_three_attempts_at_most(void **state)
{
	(void)state;
	assert_int_equal(AIC_RETRY_ATTEMPTS, 3);
	assert_true(aic_retry_wait(1, -1, 60 * AIC_S, 0.5) >= 0);
	assert_true(aic_retry_wait(2, -1, 60 * AIC_S, 0.5) >= 0);
	assert_int_equal(aic_retry_wait(3, -1, 60 * AIC_S, 0.5), -1);
	assert_int_equal(aic_retry_wait(4, 0, 60 * AIC_S, 0), -1);
}

static void
the_wait_is_random_from_0_to_half_a_second_and_the_range_doubles(void **state)
{
	int64_t wait;
	int i;

	(void)state;
	for (i = 0; i < 100; i++) {
		wait = aic_retry_wait(1, -1, 60 * AIC_S, i / 100.0);
		assert_true(wait >= 5000 * i - 1 && wait <= 5000 * i + 1);
		wait = aic_retry_wait(2, -1, 60 * AIC_S, i / 100.0);
		assert_true(wait >= 10000 * i - 1 && wait <= 10000 * i + 1);
	}
	assert_int_equal(aic_retry_wait(1, -1, 60 * AIC_S, 0), 0);
	assert_true(aic_retry_wait(1, -1, 60 * AIC_S, 0.999999) < 500 * AIC_MS);
	assert_true(aic_retry_wait(2, -1, 60 * AIC_S, 0.999999) < AIC_S);
}

static void
the_wait_that_the_server_requests_is_kept_without_jitter(void **state)
{
	static const int64_t asked[] = { 0, 1, 250 * AIC_MS, AIC_S, 8 * AIC_S,
		30 * AIC_S };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		assert_int_equal(aic_retry_wait(1, asked[i], 60 * AIC_S, 0),
		    asked[i]);
		assert_int_equal(aic_retry_wait(2, asked[i], 60 * AIC_S, 0.9),
		    asked[i]);
	}
}

static void
a_wait_that_does_not_fit_the_deadline_ends_the_attempts(void **state)
{
	const int64_t least = AIC_RETRY_LEAST_US;

	(void)state;
	assert_int_equal(aic_retry_wait(1, 20 * AIC_S, 20 * AIC_S + least, 0),
	    20 * AIC_S);
	assert_int_equal(aic_retry_wait(1, 20 * AIC_S, 20 * AIC_S + least - 1,
			     0),
	    -1);
	assert_int_equal(aic_retry_wait(1, 20 * AIC_S, 10 * AIC_S, 0), -1);
	assert_int_equal(aic_retry_wait(1, 86400 * AIC_S, 50 * AIC_S, 0), -1);
	assert_int_equal(aic_retry_wait(1, INT64_MAX, 50 * AIC_S, 0), -1);
	assert_int_equal(aic_retry_wait(1, -1, least, 0), 0);
	assert_int_equal(aic_retry_wait(1, -1, least - 1, 0), -1);
	assert_int_equal(aic_retry_wait(1, -1, least + 249999, 0.5), -1);
	assert_int_equal(aic_retry_wait(1, -1, 0, 0), -1);
	assert_int_equal(aic_retry_wait(1, -1, -AIC_S, 0), -1);
	assert_int_equal(aic_retry_wait(1, 0, 0, 0), -1);
}

static void
no_wait_is_longer_than_the_cap(void **state)
{
	int tried;

	(void)state;
	assert_int_equal(AIC_RETRY_MOST_US, 8 * AIC_S);
	for (tried = 1; tried < AIC_RETRY_ATTEMPTS; tried++)
		assert_true(aic_retry_wait(tried, -1, 600 * AIC_S, 0.999999) <
		    AIC_RETRY_MOST_US);
}

UNIT_MAIN(T(temporary_statuses_are_worth_a_retry_and_no_others),
    T(an_exhausted_balance_is_never_worth_a_retry),
    T(another_model_is_worth_a_call_after_a_failure_or_without_money),
    T(with_other_codes_the_status_decides),
    T(a_call_without_a_response_is_judged_by_its_end),
    T(without_money_another_model_is_called_at_once),
    T(in_an_unsupported_country_another_model_is_called_at_once),
    T(a_413_with_rate_limit_exceeded_is_a_rate_limit),
    T(after_a_refused_parameter_another_form_is_sent),
    T(a_rate_limit_and_a_fault_differ_by_their_status),
    T(an_error_inside_a_200_is_recognized_by_its_name),
    T(an_answer_that_broke_off_is_retried), T(there_are_three_attempts_at_most),
    T(the_wait_is_random_from_0_to_half_a_second_and_the_range_doubles),
    T(the_wait_that_the_server_requests_is_kept_without_jitter),
    T(a_wait_that_does_not_fit_the_deadline_ends_the_attempts),
    T(no_wait_is_longer_than_the_cap))
