#include "config.h"

#include "lib/openai.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/id.h"
#include "lib/retry.h"

/*
 * Interval of the check whether the caller has left, during a wait before a
 * retry.
 */
#define GONE_EVERY_US (500 * AIC_MS)

/* A model, and what decides whether it is called. */
struct upstream {
	struct aic_openai_model model;
	struct aic_breaker breaker;
	struct aic_retry_budget budget;
	struct aic_warm warm;
};

struct aic_openai {
	struct upstream ups[AIC_OPENAI_MODELS];
	int n_ups;
	/* Texts that must not get into a log. */
	const char *secrets[AIC_OPENAI_MODELS * AIC_PROVIDER_SECRETS + 1];
	struct aic_openai_terms terms;
	atomic_bool failing;
};

static void
close_upstream(struct upstream *up)
{
	aic_warm_done(&up->warm);
	aic_breaker_done(&up->breaker);
	aic_retry_budget_done(&up->budget);
	aic_provider_close(up->model.provider);
}

static void
add_secrets(struct aic_openai *o, const struct aic_provider *p)
{
	size_t n = 0;
	int i;

	while (o->secrets[n])
		n++;
	for (i = 0; i < p->n_secrets; i++)
		o->secrets[n++] = p->secrets[i];
}

enum aic_code
aic_openai_open(struct aic_openai **ret_openai,
    const struct aic_openai_conf *conf, struct aic_err *err)
{
	struct aic_provider_conf models[AIC_OPENAI_MODELS];
	enum aic_code rc = AIC_OK;
	struct aic_openai *o;
	int i;

	memcpy(models, conf->models, sizeof(models));
	o = calloc(1, sizeof(*o));
	if (!o)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	o->n_ups = aic_provider_inherit(&models[1], &models[0]) ? 2 : 1;
	for (i = 0; i < o->n_ups; i++) {
		aic_breaker_init(&o->ups[i].breaker, conf->breaker_failures,
		    conf->breaker_open_us);
		aic_retry_budget_init(&o->ups[i].budget, conf->retry_floor);
		aic_warm_init(&o->ups[i].warm);
	}
	o->terms = (struct aic_openai_terms){ .temperature = conf->temperature,
		.max_tokens = conf->max_tokens,
		.secrets = o->secrets };
	for (i = 0; !rc && i < o->n_ups; i++) {
		rc = aic_provider_open(&o->ups[i].model.provider, &models[i],
		    err);
		if (!rc)
			add_secrets(o, o->ups[i].model.provider);
	}
	if (rc) {
		aic_openai_close(o);
		return rc;
	}
	*ret_openai = o;
	return AIC_OK;
}

void
aic_openai_close(struct aic_openai *o)
{
	int i;

	if (!o)
		return;
	for (i = 0; i < o->n_ups; i++)
		close_upstream(&o->ups[i]);
	free(o);
}

const char *
aic_openai_members(const struct aic_openai *o)
{
	const char *members = o->ups[0].model.provider->extra.members;

	return members ? members : "";
}

enum aic_warm_change
aic_openai_keep_warm(struct aic_openai *o, struct aic_http *http,
    char why[AIC_HTTP_WHY_SIZE])
{
	struct upstream *up = &o->ups[0];
	int64_t now = aic_clock_us();

	/* While the breaker is open, its trials are the only calls. */
	if (aic_breaker_wait(&up->breaker, now) > 0)
		return AIC_WARM_SAME;
	return aic_warm_look(&up->warm, http, up->model.provider, now, why);
}

bool
aic_openai_is_well(const struct aic_openai *o)
{
	return !atomic_load(&o->failing);
}

bool
aic_openai_model_is_open(struct aic_openai *o, int i, int64_t now_us)
{
	return i < o->n_ups && aic_breaker_wait(&o->ups[i].breaker, now_us) > 0;
}

bool
aic_openai_is_open(struct aic_openai *o, int64_t now_us)
{
	int i;

	for (i = 0; i < o->n_ups; i++)
		if (!aic_openai_model_is_open(o, i, now_us))
			return false;
	return true;
}

/* True if the time is enough for one more call. */
static bool
has_time(int64_t until_us)
{
	return until_us - aic_clock_us() >= AIC_RETRY_LEAST_US;
}

/* --- the attempts at one model ------------------------------------------- */

/* One chat, and the model whose turn it is. */
struct asking {
	struct aic_http *http;
	const struct aic_openai_ask *ask;
	struct aic_openai_answer *answer;
	struct upstream *up;
	struct aic_openai_attempt attempt;
};

/* Waits; true: the caller has left. */
static bool
wait_gone(const struct aic_openai_ask *ask, int64_t until_us)
{
	int64_t step;

	for (;;) {
		if (ask->gone && ask->gone(ask->gone_arg))
			return true;
		if (aic_clock_us() >= until_us)
			return false;
		step = aic_clock_us() + GONE_EVERY_US;
		aic_clock_sleep(step < until_us ? step : until_us);
	}
}

/*
 * True when the breaker has opened since this chat began, or when this call is
 * the breaker's trial: one call is enough for a trial.
 */
static bool
is_breaker_open(const struct asking *q)
{
	return aic_breaker_wait(&q->up->breaker, aic_clock_us()) > 0;
}

/* Wait for the next attempt; false: no further attempt is allowed. */
static bool
wait_again(const struct asking *q, int tried, struct aic_err *err)
{
	struct aic_retry_case c = aic_openai_attempt_case(&q->attempt);
	int64_t now = aic_clock_us(), wait;

	if (!aic_retry_same_model(&c) || is_breaker_open(q))
		return false;
	wait = aic_retry_wait(tried, q->attempt.http.retry_after_us,
	    q->attempt.until_us - now, aic_random());
	if (wait < 0 || !aic_retry_budget_take(&q->up->budget, now))
		return false;
	if (wait_gone(q->ask, now + wait)) {
		aic_fail(err, AIC_EGONE,
		    "the caller disconnected between two calls of the model");
		return false;
	}
	return !is_breaker_open(q);
}

static enum aic_code
call_model(struct asking *q, struct aic_err *err)
{
	struct aic_openai_attempt *a = &q->attempt;
	struct aic_openai_answer *answer = q->answer;
	struct aic_provider_call post = { .body = q->ask->body,
		.headers = q->ask->headers,
		.deadline_us = a->until_us,
		.gone = q->ask->gone,
		.gone_arg = q->ask->gone_arg };
	struct aic_completion got;
	enum aic_code rc;

	answer->attempts++;
	err->says[0] = '\0';
	aic_warm_used(&q->up->warm, aic_clock_us());
	aic_openai_attempt_send(a, q->http, &post);
	rc = aic_openai_attempt_read(a, &got, err);
	answer->calls[answer->model][aic_openai_attempt_outcome(a, rc)]++;
	if (rc)
		return rc;
	answer->text = got.text;
	answer->tokens = got.tokens;
	answer->usage = got.usage;
	answer->cut_off = got.cut_off;
	return AIC_OK;
}

static enum aic_code
call_with_retries(struct asking *q, struct aic_err *err)
{
	struct aic_openai_attempt *a = &q->attempt;
	int tried = 0, reshaped = 0;
	bool renewed = false;
	enum aic_code rc;

	aic_retry_budget_call(&q->up->budget, aic_clock_us());
	for (;;) {
		rc = call_model(q, err);
		if (rc != AIC_EUPSTREAM)
			return rc;
		/*
		 * A token that has expired is no failure of the model. The call
		 * is repeated once. The repeat is counted in answer->attempts,
		 * but not towards AIC_RETRY_ATTEMPTS.
		 */
		if (!renewed && a->token == AIC_PROVIDER_TOKEN_STALE &&
		    has_time(a->until_us)) {
			renewed = true;
			continue;
		}
		if (reshaped < AIC_OPENAI_FORMS_MAX &&
		    aic_openai_attempt_reshape(a) && has_time(a->until_us)) {
			reshaped++;
			continue;
		}
		tried++;
		if (!wait_again(q, tried, err))
			return err->code;
	}
}

/* --- choosing the model -------------------------------------------------- */

/*
 * The verdict for the model's breaker. left_us: the time that was left when the
 * model was called first.
 */
static enum aic_breaker_verdict
judge_failure(enum aic_code rc, const struct asking *q, int64_t left_us)
{
	struct aic_retry_case c = aic_openai_attempt_case(&q->attempt);

	if (rc == AIC_OK)
		return AIC_BREAKER_WELL;
	/* The caller left, or the worker lacks a resource. */
	if (rc != AIC_EUPSTREAM || q->attempt.http.no_descriptor)
		return AIC_BREAKER_NEUTRAL;
	if (c.end == AIC_HTTP_ANSWERED)
		return c.status >= 400 && c.status <= 499 ? AIC_BREAKER_NEUTRAL
							  : AIC_BREAKER_FAILED;
	/* No model answers in so little time: the chat began too late. */
	return left_us < AIC_RETRY_LEAST_US ? AIC_BREAKER_NEUTRAL
					    : AIC_BREAKER_FAILED;
}

/*
 * The end of the i-th model's share of the deadline: the next model may need
 * the rest.
 */
static int64_t
end_of_share(struct aic_openai *o, int i, int64_t now_us, int64_t deadline_us)
{
	int64_t third = (deadline_us - now_us) / 3;

	if (i + 1 == o->n_ups || third < AIC_RETRY_LEAST_US ||
	    aic_breaker_wait(&o->ups[i + 1].breaker, now_us) > 0)
		return deadline_us;
	return deadline_us - third;
}

/*
 * If there was no token, the model did not receive the question, so another
 * model may be able to answer it.
 */
static bool
may_call_other(enum aic_code rc, const struct asking *q)
{
	struct aic_retry_case c = aic_openai_attempt_case(&q->attempt);

	return rc == AIC_EUPSTREAM &&
	    (aic_retry_other_model(&c) ||
		q->attempt.token == AIC_PROVIDER_TOKEN_MISSING) &&
	    has_time(q->ask->deadline_us);
}

static enum aic_code
fail_open(int64_t wait_us, struct aic_err *err)
{
	err->retry_after_s = (int)((wait_us + AIC_S - 1) / AIC_S);
	return aic_fail(err, AIC_EOPEN,
	    "the circuit breaker of the model is open for %d s",
	    err->retry_after_s);
}

static enum aic_code
call_models(struct aic_openai *o, struct asking *q, struct aic_err *err)
{
	struct aic_openai_attempt *a = &q->attempt;
	int64_t now, wait, soonest = INT64_MAX;
	enum aic_code rc = AIC_EOPEN;
	uint64_t round;
	int i;

	for (i = 0; i < o->n_ups; i++) {
		now = aic_clock_us();
		q->up = &o->ups[i];
		a->model = &q->up->model;
		a->until_us = end_of_share(o, i, now, q->ask->deadline_us);
		wait = aic_breaker_enter(&q->up->breaker, now, a->until_us,
		    &round);
		if (wait > 0) {
			soonest = wait < soonest ? wait : soonest;
			continue;
		}
		/* The rest of the time is reserved for another model. */
		a->other = a->until_us < q->ask->deadline_us;
		q->answer->model = i;
		rc = call_with_retries(q, err);
		q->answer->changes[i] = aic_breaker_leave(&q->up->breaker,
		    round, judge_failure(rc, q, a->until_us - now),
		    aic_clock_us());
		if (!may_call_other(rc, q))
			return rc;
	}
	return rc == AIC_EOPEN ? fail_open(soonest, err) : rc;
}

enum aic_code
aic_openai_ask(struct aic_openai *o, struct aic_http *http,
    const struct aic_openai_ask *ask, struct aic_openai_answer *answer,
    struct aic_err *err)
{
	struct asking q = { .http = http,
		.ask = ask,
		.answer = answer,
		.attempt = { .terms = &o->terms } };
	enum aic_code rc;

	rc = call_models(o, &q, err);
	aic_buf_done(&q.attempt.http.body);
	if (rc == AIC_OK || rc == AIC_EUPSTREAM)
		atomic_store(&o->failing, rc == AIC_EUPSTREAM);
	return rc;
}
