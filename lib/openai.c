#include "config.h"

#include "lib/openai.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/breaker.h"
#include "lib/clock.h"
#include "lib/completion.h"
#include "lib/id.h"
#include "lib/json.h"
#include "lib/param.h"
#include "lib/provider.h"
#include "lib/retry.h"

/*
 * The most forms of a request that one chat can have refused: two names of the
 * token limit, and the temperature.
 */
#define FALLBACKS_MAX 3

/*
 * The names of the token limit, in the order in which they are sent. The last
 * one stays in use even if the model refuses it.
 */
static const struct {
	const char *name;
	enum aic_param param;
} limits[] = {
	{ "max_tokens", AIC_PARAM_MAX_TOKENS },
	{ "max_completion_tokens", AIC_PARAM_MAX_COMPLETION_TOKENS },
	{ "max_tokens", AIC_PARAM_MAX_TOKENS },
};
#define LIMITS ((int)(sizeof(limits) / sizeof(limits[0])))

/*
 * Interval of the check whether the caller has left, during a wait before a
 * retry.
 */
#define GONE_EVERY_US (500 * AIC_MS)

/* A model, and its state. */
struct upstream {
	struct aic_provider *provider;
	/* The forms that this model has refused. */
	atomic_int limit; /* index in limits; never decreases */
	atomic_bool no_temperature;
	struct aic_breaker breaker;
	struct aic_retry_budget budget; /* of retries */
	struct aic_warm warm;
};

struct aic_openai {
	struct upstream ups[AIC_OPENAI_MODELS];
	int n_ups;
	/* Texts that must not get into a log. */
	const char *secrets[AIC_OPENAI_MODELS * AIC_PROVIDER_SECRETS + 1];
	double temperature;
	int64_t max_tokens;
	atomic_bool failing;
};

/* One call, and its outcome. */
struct call {
	struct upstream *up;
	int64_t until_us; /* the end of the model's share of the deadline */
	struct aic_http_answer http;
	struct aic_completion_error error;
	int limit; /* index in limits, of the name that was sent */
	bool sent_limit;
	bool temperature; /* the temperature was sent */
	bool other; /* another model is left to ask */
	enum aic_provider_token token;
};

static void
close_upstream(struct upstream *up)
{
	aic_warm_done(&up->warm);
	aic_breaker_done(&up->breaker);
	aic_retry_budget_done(&up->budget);
	aic_provider_close(up->provider);
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
	o->temperature = conf->temperature;
	o->max_tokens = conf->max_tokens;
	for (i = 0; !rc && i < o->n_ups; i++) {
		rc = aic_provider_open(&o->ups[i].provider, &models[i], err);
		if (!rc)
			add_secrets(o, o->ups[i].provider);
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
	const char *members = o->ups[0].provider->extra.members;

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
	return aic_warm_look(&up->warm, http, up->provider, now, why);
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

/* --- one call ---------------------------------------------------------- */

/*
 * The members that depend on the model follow the messages.
 *
 * The worker does not send a member that the operator's own members set, under
 * any of its names. So the worker does not answer a refusal of such a member
 * with another form: the operator asked for this form, and has to see the
 * error.
 */
static void
put_tail(const struct aic_openai *o, struct call *call, struct aic_buf *body)
{
	const struct aic_extra *extra = &call->up->provider->extra;
	struct aic_completion_form form = {
		.members = call->up->provider->model,
		.temperature_value = o->temperature,
		.max_tokens = o->max_tokens,
		.more = extra->members
	};

	call->limit = atomic_load(&call->up->limit);
	call->sent_limit = !extra->max_tokens;
	call->temperature = !extra->temperature &&
	    !atomic_load(&call->up->no_temperature);
	form.temperature = call->temperature;
	form.limit = call->sent_limit ? limits[call->limit].name : NULL;
	aic_completion_end(body, &form);
}

static void
call_once(const struct aic_openai *o, struct aic_http *http,
    const struct aic_openai_ask *ask, struct call *call)
{
	size_t messages_end = ask->body->len;
	struct aic_provider_call post = { .body = ask->body,
		.deadline_us = call->until_us,
		.gone = ask->gone,
		.gone_arg = ask->gone_arg };

	memset(&call->error, 0, sizeof(call->error));
	call->token = AIC_PROVIDER_TOKEN_USED;
	aic_buf_done(&call->http.body);
	put_tail(o, call, ask->body);
	if (ask->body->failed) {
		call->http.end = AIC_HTTP_NO_MEMORY;
		return;
	}
	aic_warm_used(&call->up->warm, aic_clock_us());
	call->token = aic_provider_post(call->up->provider, http, &post,
	    &call->http);
	/* The next call may have another end. */
	ask->body->len = messages_end;
	if (call->http.end == AIC_HTTP_ANSWERED && call->http.status != 200)
		aic_completion_read_error(&call->http.body, o->secrets,
		    &call->error);
}

/* --- judging a call ---------------------------------------------------- */

/* The status of the response, or of the error inside a 200. */
static int
status_of(const struct call *call)
{
	return call->error.status ? call->error.status : call->http.status;
}

static bool
refuses_limit(const struct call *call)
{
	return (call->error.refused & limits[call->limit].param) &&
	    call->sent_limit && call->limit + 1 < LIMITS;
}

static bool
refuses_temperature(const struct call *call)
{
	return (call->error.refused & AIC_PARAM_TEMPERATURE) &&
	    call->temperature;
}

static struct aic_retry_case
case_of(const struct call *call)
{
	return (struct aic_retry_case){ .end = call->http.end,
		.status = status_of(call),
		.code = call->error.code,
		.type = call->error.type,
		.message = call->error.message,
		.broken = call->error.broken,
		.refused = refuses_limit(call) || refuses_temperature(call),
		.other = call->other };
}

/*
 * Check whether the model refused a parameter that has another form, and record
 * the refusal. True means that the next call uses the other form. Another chat
 * can have recorded the same refusal meanwhile; this chat must then not skip a
 * form.
 */
static bool
fall_back(const struct call *call)
{
	struct aic_retry_case c = case_of(call);
	int sent = call->limit;

	if (aic_retry_advise(&c, NULL) != AIC_RETRY_RESHAPE)
		return false;
	if (refuses_limit(call))
		atomic_compare_exchange_strong(&call->up->limit, &sent,
		    sent + 1);
	if (refuses_temperature(call))
		atomic_store(&call->up->no_temperature, true);
	return true;
}

static enum aic_code
fail_call(const struct call *call, struct aic_err *err)
{
	static const char *const says[AIC_HTTP__MAX] = {
		[AIC_HTTP_CONNECT] = "could not reach the model",
		[AIC_HTTP_UNTRUSTED] =
		    "the model's certificate was not accepted",
		[AIC_HTTP_BROKEN] = "the connection to the model broke",
		[AIC_HTTP_TIMEOUT] = "the model did not answer in time",
		[AIC_HTTP_TOO_BIG] = "the model's answer is too big",
		[AIC_HTTP_FAILED] = "the call of the model failed",
	};
	const struct aic_http_answer *h = &call->http;

	if (h->end == AIC_HTTP_GONE)
		return aic_fail(err, AIC_EGONE,
		    "the caller left while the model was asked");
	if (h->end == AIC_HTTP_NO_MEMORY)
		return aic_fail(err, AIC_ENOMEM, "%s",
		    h->why[0] ? h->why : "out of memory");
	if (h->end != AIC_HTTP_ANSWERED) {
		aic_says(err, "%s", says[h->end]);
		return aic_fail(err, AIC_EUPSTREAM, "%s: %s", says[h->end],
		    h->why);
	}
	aic_says(err, "the model answered HTTP %d", h->status);
	return aic_fail(err, AIC_EUPSTREAM,
	    "the model answered HTTP %d code=%s type=%s param=%s", h->status,
	    call->error.code, call->error.type, call->error.param);
}

/* Turn the response to a call into a result; call->text is set on AIC_OK. */
static enum aic_code
read_call(const struct aic_openai *o, struct call *call,
    struct aic_openai_answer *answer, struct aic_err *err)
{
	struct aic_completion got;
	enum aic_code rc;

	if (call->http.end != AIC_HTTP_ANSWERED || call->http.status != 200)
		return fail_call(call, err);
	rc = aic_completion_read(&call->http.body, o->secrets, &got,
	    &call->error, err);
	if (rc)
		return rc;
	answer->text = got.text;
	answer->tokens = got.tokens;
	answer->usage = got.usage;
	answer->cut_off = got.cut_off;
	return AIC_OK;
}

/* --- the attempts ------------------------------------------------------ */

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

static enum aic_openai_call
kind_of(const struct call *call, enum aic_code rc)
{
	static const enum aic_openai_call ends[AIC_HTTP__MAX] = {
		[AIC_HTTP_CONNECT] = AIC_OPENAI_UNREACHED,
		[AIC_HTTP_UNTRUSTED] = AIC_OPENAI_UNREACHED,
		[AIC_HTTP_BROKEN] = AIC_OPENAI_CUT,
		[AIC_HTTP_TIMEOUT] = AIC_OPENAI_TIMEOUT,
		[AIC_HTTP_TOO_BIG] = AIC_OPENAI_USELESS,
		[AIC_HTTP_GONE] = AIC_OPENAI_GONE,
		[AIC_HTTP_FAILED] = AIC_OPENAI_UNREACHED,
		[AIC_HTTP_NO_MEMORY] = AIC_OPENAI_UNREACHED,
	};
	struct aic_retry_case c = case_of(call);
	enum aic_retry_why why;

	if (rc == AIC_OK)
		return AIC_OPENAI_USABLE;
	if (c.end != AIC_HTTP_ANSWERED)
		return ends[c.end];
	aic_retry_advise(&c, &why);
	switch (why) {
	case AIC_RETRY_NO_MONEY:
		return AIC_OPENAI_QUOTA;
	case AIC_RETRY_LIMITED:
		return AIC_OPENAI_LIMITED;
	case AIC_RETRY_BROKEN:
		return AIC_OPENAI_BROKEN;
	default:
		return c.broken	      ? AIC_OPENAI_CUT
		    : c.status == 200 ? AIC_OPENAI_USELESS
				      : AIC_OPENAI_REFUSED;
	}
}

/*
 * True when the breaker has opened since this chat began, or when this call is
 * the breaker's trial: one call is enough for a trial.
 */
static bool
is_breaker_open(const struct call *call)
{
	return aic_breaker_wait(&call->up->breaker, aic_clock_us()) > 0;
}

/* Wait for the next attempt; false: no further attempt is allowed. */
static bool
wait_again(const struct aic_openai_ask *ask, const struct call *call, int tried,
    struct aic_err *err)
{
	struct aic_retry_case c = case_of(call);
	int64_t now = aic_clock_us(), wait;

	if (!aic_retry_worth(&c) || is_breaker_open(call))
		return false;
	wait = aic_retry_wait(tried, call->http.retry_after_us,
	    call->until_us - now, aic_random());
	if (wait < 0 || !aic_retry_budget_take(&call->up->budget, now))
		return false;
	if (wait_gone(ask, now + wait)) {
		aic_fail(err, AIC_EGONE,
		    "the caller left between two calls of the model");
		return false;
	}
	return !is_breaker_open(call);
}

static enum aic_code
ask_often(const struct aic_openai *o, struct aic_http *http,
    const struct aic_openai_ask *ask, struct call *call,
    struct aic_openai_answer *answer, struct aic_err *err)
{
	int *calls = answer->calls[answer->model];
	int tried = 0, fallbacks = 0;
	bool renewed = false;
	enum aic_code rc;

	aic_retry_budget_call(&call->up->budget, aic_clock_us());
	for (;;) {
		answer->attempts++;
		err->says[0] = '\0';
		call_once(o, http, ask, call);
		rc = read_call(o, call, answer, err);
		calls[kind_of(call, rc)]++;
		if (rc != AIC_EUPSTREAM)
			return rc;
		/*
		 * A token that has expired is no failure of the model. The call
		 * is repeated once, and does not count as an attempt.
		 */
		if (!renewed && call->token == AIC_PROVIDER_TOKEN_STALE &&
		    call->until_us - aic_clock_us() >= AIC_RETRY_LEAST_US) {
			renewed = true;
			continue;
		}
		if (fallbacks < FALLBACKS_MAX && fall_back(call) &&
		    call->until_us - aic_clock_us() >= AIC_RETRY_LEAST_US) {
			fallbacks++;
			continue;
		}
		tried++;
		if (!wait_again(ask, call, tried, err))
			return err->code;
	}
}

/* --- choosing the model ------------------------------------------------ */

/*
 * The verdict for the model's breaker. left_us: the time that was left when the
 * model was called first.
 */
static enum aic_breaker_verdict
judge_failure(enum aic_code rc, const struct call *call, int64_t left_us)
{
	if (rc == AIC_OK)
		return AIC_BREAKER_WELL;
	/* The caller left, or the worker lacks a resource. */
	if (rc != AIC_EUPSTREAM || call->http.no_descriptor)
		return AIC_BREAKER_NEUTRAL;
	if (call->http.end == AIC_HTTP_ANSWERED)
		return status_of(call) >= 400 && status_of(call) <= 499
		    ? AIC_BREAKER_NEUTRAL
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
 * Without a token, no model has refused the question: another model may be able
 * to answer it.
 */
static bool
may_ask_other(enum aic_code rc, const struct call *call,
    const struct aic_openai_ask *ask)
{
	struct aic_retry_case c = case_of(call);

	return rc == AIC_EUPSTREAM &&
	    (aic_retry_other(&c) ||
		call->token == AIC_PROVIDER_TOKEN_MISSING) &&
	    ask->deadline_us - aic_clock_us() >= AIC_RETRY_LEAST_US;
}

static enum aic_code
fail_open(int64_t wait_us, struct aic_err *err)
{
	err->retry_after_s = (int)((wait_us + AIC_S - 1) / AIC_S);
	return aic_fail(err, AIC_EOPEN,
	    "the model failed too often and is not asked for %d s",
	    err->retry_after_s);
}

static enum aic_code
ask_all(struct aic_openai *o, struct aic_http *http,
    const struct aic_openai_ask *ask, struct call *call,
    struct aic_openai_answer *answer, struct aic_err *err)
{
	int64_t now, wait, soonest = INT64_MAX;
	enum aic_code rc = AIC_EOPEN;
	uint64_t round;
	int i;

	for (i = 0; i < o->n_ups; i++) {
		now = aic_clock_us();
		call->up = &o->ups[i];
		call->until_us = end_of_share(o, i, now, ask->deadline_us);
		wait = aic_breaker_enter(&call->up->breaker, now,
		    call->until_us, &round);
		if (wait > 0) {
			soonest = wait < soonest ? wait : soonest;
			continue;
		}
		/* The rest of the time is reserved for another model. */
		call->other = call->until_us < ask->deadline_us;
		answer->model = i;
		rc = ask_often(o, http, ask, call, answer, err);
		answer->changes[i] = aic_breaker_leave(&call->up->breaker,
		    round, judge_failure(rc, call, call->until_us - now),
		    aic_clock_us());
		if (!may_ask_other(rc, call, ask))
			return rc;
	}
	return rc == AIC_EOPEN ? fail_open(soonest, err) : rc;
}

enum aic_code
aic_openai_ask(struct aic_openai *o, struct aic_http *http,
    const struct aic_openai_ask *ask, struct aic_openai_answer *answer,
    struct aic_err *err)
{
	struct call call = { .up = NULL };
	enum aic_code rc;

	rc = ask_all(o, http, ask, &call, answer, err);
	aic_buf_done(&call.http.body);
	if (rc == AIC_OK || rc == AIC_EUPSTREAM)
		atomic_store(&o->failing, rc == AIC_EUPSTREAM);
	return rc;
}
