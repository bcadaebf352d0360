#include "config.h"

#include "lib/openai_attempt.h"

#include <string.h>

#include "lib/buf.h"
#include "lib/extra.h"
#include "lib/param.h"

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

/* --- the request --------------------------------------------------------- */

/*
 * The members that depend on the model follow the messages.
 *
 * The worker does not send a member that the operator's own members set, under
 * any of its names. If the model refuses such a member, the worker does not try
 * another form: the operator chose this form, and has to see the error.
 */
static void
put_tail(struct aic_openai_attempt *a, struct aic_buf *body)
{
	const struct aic_extra *extra = &a->model->provider->extra;
	struct aic_completion_form form = {
		.members = a->model->provider->model,
		.temperature_value = a->terms->temperature,
		.max_tokens = a->terms->max_tokens,
		.more = extra->members
	};

	a->limit = atomic_load(&a->model->limit);
	a->sent_limit = !extra->max_tokens;
	a->temperature = !extra->temperature &&
	    !atomic_load(&a->model->no_temperature);
	form.temperature = a->temperature;
	form.limit = a->sent_limit ? limits[a->limit].name : NULL;
	aic_completion_end(body, &form);
}

void
aic_openai_attempt_send(struct aic_openai_attempt *a, struct aic_http *http,
    const struct aic_provider_call *post)
{
	size_t messages_end = post->body->len;

	memset(&a->error, 0, sizeof(a->error));
	a->token = AIC_PROVIDER_TOKEN_USED;
	aic_buf_done(&a->http.body);
	put_tail(a, post->body);
	if (post->body->failed) {
		a->http.end = AIC_HTTP_NO_MEMORY;
		return;
	}
	a->token = aic_provider_post(a->model->provider, http, post, &a->http);
	/* The end of the body of the next call may differ. */
	post->body->len = messages_end;
	if (a->http.end == AIC_HTTP_ANSWERED && a->http.status != 200)
		aic_completion_read_error(&a->http.body, a->terms->secrets,
		    &a->error);
}

/* --- the response --------------------------------------------------------- */

static enum aic_code
fail_call(const struct aic_openai_attempt *a, struct aic_err *err)
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
	const struct aic_http_answer *h = &a->http;

	if (h->end == AIC_HTTP_GONE)
		return aic_fail(err, AIC_EGONE,
		    "the caller disconnected during a call of the model");
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
	    a->error.code, a->error.type, a->error.param);
}

enum aic_code
aic_openai_attempt_read(struct aic_openai_attempt *a,
    struct aic_completion *ret_answer, struct aic_err *err)
{
	if (a->http.end != AIC_HTTP_ANSWERED || a->http.status != 200)
		return fail_call(a, err);
	return aic_completion_read(&a->http.body, a->terms->secrets, ret_answer,
	    &a->error, err);
}

/* --- what a failure means ------------------------------------------------- */

/* The status of the response, or of the error inside a 200. */
static int
status_of(const struct aic_openai_attempt *a)
{
	return a->error.status ? a->error.status : a->http.status;
}

static bool
refuses_limit(const struct aic_openai_attempt *a)
{
	return (a->error.refused & limits[a->limit].param) && a->sent_limit &&
	    a->limit + 1 < LIMITS;
}

static bool
refuses_temperature(const struct aic_openai_attempt *a)
{
	return (a->error.refused & AIC_PARAM_TEMPERATURE) && a->temperature;
}

struct aic_retry_case
aic_openai_attempt_case(const struct aic_openai_attempt *a)
{
	return (struct aic_retry_case){ .end = a->http.end,
		.status = status_of(a),
		.code = a->error.code,
		.type = a->error.type,
		.message = a->error.message,
		.broken = a->error.broken,
		.refused = refuses_limit(a) || refuses_temperature(a),
		.other = a->other };
}

enum aic_openai_call
aic_openai_attempt_outcome(const struct aic_openai_attempt *a, enum aic_code rc)
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
	struct aic_retry_case c = aic_openai_attempt_case(a);
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
 * Another chat can have recorded the same refusal meanwhile; this chat must
 * then not skip a form.
 */
bool
aic_openai_attempt_reshape(const struct aic_openai_attempt *a)
{
	struct aic_retry_case c = aic_openai_attempt_case(a);
	int sent = a->limit;

	if (aic_retry_advise(&c, NULL) != AIC_RETRY_RESHAPE)
		return false;
	if (refuses_limit(a))
		atomic_compare_exchange_strong(&a->model->limit, &sent,
		    sent + 1);
	if (refuses_temperature(a))
		atomic_store(&a->model->no_temperature, true);
	return true;
}
