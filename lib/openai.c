#include "config.h"

#include "openai.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "breaker.h"
#include "budget.h"
#include "clock.h"
#include "id.h"
#include "json.h"
#include "provider.h"
#include "retry.h"
#include "utf8.h"

/* Both parameters can be refused, one after the other. */
#define FALLBACKS_MAX 2

/* While waiting to try again, ask this often whether the caller is still there. */
#define GONE_EVERY_US (500 * AIC_MS)

/* A model that can be asked, and what is known of it. */
struct upstream {
	struct aic_provider *provider;
	/* What this model has refused. */
	atomic_bool completion_tokens; /* wants max_completion_tokens */
	atomic_bool no_temperature;
	struct aic_breaker breaker;
	struct aic_budget budget; /* of retries */
};

struct aic_openai {
	struct upstream ups[AIC_OPENAI_MODELS];
	int n_ups;
	/* What no log may have. */
	const char *secrets[AIC_OPENAI_MODELS * AIC_PROVIDER_SECRETS + 1];
	double temperature;
	int64_t max_tokens;
	atomic_bool failing;
};

/* One call, and what is known of its answer. */
struct call {
	struct upstream *up;
	int64_t until_us; /* the model's share of the deadline */
	struct aic_http_answer http;
	struct aic_openai_error error;
	enum aic_provider_token token;
	bool sent_temperature, sent_max_tokens;
};

static void
close_upstream(struct upstream *up)
{
	aic_breaker_done(&up->breaker);
	aic_budget_done(&up->budget);
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
		aic_budget_init(&o->ups[i].budget, conf->retry_floor);
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

void
aic_openai_begin(struct aic_buf *to)
{
	aic_buf_puts(to, "{\"messages\":");
}

/*
 * All that depends on who is asked comes behind the messages.
 *
 * What the operator's own members set is not sent by the worker, under neither of
 * its names. So a refusal of such a member is not answered by sending another form:
 * the operator asked for this one, and has to see the error.
 */
static void
put_tail(const struct aic_openai *o, struct call *call, struct aic_buf *body)
{
	const struct aic_extra *extra = &call->up->provider->extra;
	bool completion = atomic_load(&call->up->completion_tokens);

	call->sent_max_tokens = !extra->max_tokens && !completion;
	call->sent_temperature = !extra->temperature &&
	    !atomic_load(&call->up->no_temperature);
	aic_buf_puts(body, call->up->provider->model);
	if (call->sent_temperature)
		aic_buf_printf(body, ",\"temperature\":%.15g", o->temperature);
	if (!extra->max_tokens)
		aic_buf_printf(body, ",\"%s\":%lld",
		    completion ? "max_completion_tokens" : "max_tokens",
		    (long long)o->max_tokens);
	if (extra->members)
		aic_buf_puts(body, extra->members);
	aic_buf_putc(body, '}');
}

/*
 * Codes are names like "rate_limit_exceeded". What else a server puts there,
 * a key or words of the question, would end up in the log.
 */
static bool
is_code(const char *s, const char *const *keys)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789_.-[]";

	for (; *keys; keys++)
		if (strstr(s, *keys))
			return false;
	return s[strspn(s, letters)] == '\0';
}

static void
copy_code(struct json_object *obj, const char *name, const char *const *keys,
    char to[AIC_OPENAI_CODE_SIZE])
{
	struct json_object *v;
	const char *s;

	if (!json_object_object_get_ex(obj, name, &v) ||
	    !json_object_is_type(v, json_type_string))
		return;
	s = json_object_get_string(v);
	snprintf(to, AIC_OPENAI_CODE_SIZE, "%s", is_code(s, keys) ? s : "?");
}

/* {"error":{"code":...,"type":...,"param":...}}; a body may be anything else. */
void
aic_openai_read_error(const struct aic_buf *body, const char *const *keys,
    struct aic_openai_error *ret_error)
{
	struct json_object *doc, *e;

	*ret_error = (struct aic_openai_error){ .code = "" };
	if (aic_json_parse(body->data, body->len, &doc) != AIC_OK)
		return;
	if (json_object_is_type(doc, json_type_object) &&
	    json_object_object_get_ex(doc, "error", &e) &&
	    json_object_is_type(e, json_type_object)) {
		copy_code(e, "code", keys, ret_error->code);
		copy_code(e, "type", keys, ret_error->type);
		copy_code(e, "param", keys, ret_error->param);
	}
	json_object_put(doc);
}

static void
call_once(const struct aic_openai *o, struct aic_http *http,
    const struct aic_openai_ask *ask, struct call *call)
{
	size_t messages_end = ask->body->len;
	struct aic_provider_call post = { .deadline_us = call->until_us,
		.gone = ask->gone,
		.gone_arg = ask->gone_arg };

	call->error = (struct aic_openai_error){ .code = "" };
	call->token = AIC_PROVIDER_TOKEN_USED;
	aic_buf_clear(&call->http.body);
	put_tail(o, call, ask->body);
	if (ask->body->failed) {
		call->http.end = AIC_HTTP_NO_MEMORY;
		return;
	}
	post.body = ask->body->data;
	post.body_len = ask->body->len;
	call->token = aic_provider_post(call->up->provider, http, &post,
	    &call->http);
	/* The next one may end otherwise. */
	ask->body->len = messages_end;
	if (call->http.end == AIC_HTTP_ANSWERED && call->http.status != 200)
		aic_openai_read_error(&call->http.body, o->secrets,
		    &call->error);
}

/* --- what to make of it ------------------------------------------------ */

/*
 * Did the model refuse a parameter that there is another way for? Then note it;
 * true means: the next call will be another one.
 */
static bool
fall_back(const struct call *call)
{
	if (call->http.end != AIC_HTTP_ANSWERED || call->http.status != 400)
		return false;
	if (strcmp(call->error.code, "unsupported_parameter") != 0 &&
	    strcmp(call->error.code, "unsupported_value") != 0)
		return false;
	if (strcmp(call->error.param, "max_tokens") == 0 &&
	    call->sent_max_tokens) {
		atomic_store(&call->up->completion_tokens, true);
		return true;
	}
	if (strcmp(call->error.param, "temperature") == 0 &&
	    call->sent_temperature) {
		atomic_store(&call->up->no_temperature, true);
		return true;
	}
	return false;
}

static enum aic_code
fail_call(const struct call *call, struct aic_err *err)
{
	static const char *const says[AIC_HTTP__MAX] = {
		[AIC_HTTP_CONNECT] = "could not reach the model",
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
		return aic_fail(err, AIC_ENOMEM, "out of memory");
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

static enum aic_code
useless(struct aic_err *err, const char *why)
{
	aic_says(err, "%s", why);
	return aic_fail(err, AIC_EUPSTREAM, "%s", why);
}

static int64_t
read_tokens(struct json_object *doc)
{
	struct json_object *usage, *total;
	int64_t n;

	if (!json_object_object_get_ex(doc, "usage", &usage) ||
	    !json_object_is_type(usage, json_type_object) ||
	    !json_object_object_get_ex(usage, "total_tokens", &total) ||
	    !json_object_is_type(total, json_type_int))
		return 0;
	n = json_object_get_int64(total);
	return n < 0 ? 0 : n > INT_MAX ? INT_MAX : n;
}

static enum aic_code
read_text(struct json_object *content, struct aic_openai_answer *answer,
    struct aic_err *err)
{
	struct aic_buf text;
	size_t n = (size_t)json_object_get_string_len(content);

	/* A broken byte becomes three. */
	aic_buf_init(&text, 3 * AIC_OPENAI_ANSWER_MAX);
	aic_utf8_mend(&text, json_object_get_string(content), n);
	if (!text.failed && aic_utf8_blank(text.data, text.len)) {
		aic_buf_done(&text);
		return useless(err, "the model's answer is empty");
	}
	answer->text = aic_buf_take(&text, NULL);
	if (!answer->text) {
		aic_buf_done(&text);
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	}
	return AIC_OK;
}

static enum aic_code
read_choice(struct json_object *choice, struct aic_openai_answer *answer,
    struct aic_err *err)
{
	struct json_object *message, *content, *refusal, *why;
	const char *end = "";

	if (!json_object_is_type(choice, json_type_object) ||
	    !json_object_object_get_ex(choice, "message", &message) ||
	    !json_object_is_type(message, json_type_object))
		return useless(err, "the model's answer has no message");
	if (json_object_object_get_ex(choice, "finish_reason", &why) &&
	    json_object_is_type(why, json_type_string))
		end = json_object_get_string(why);
	if (strcmp(end, "content_filter") == 0)
		return useless(err, "the model's answer was filtered");
	if (json_object_object_get_ex(message, "refusal", &refusal) &&
	    json_object_is_type(refusal, json_type_string) &&
	    json_object_get_string_len(refusal) > 0)
		return useless(err, "the model refused to answer");
	if (!json_object_object_get_ex(message, "content", &content) ||
	    !json_object_is_type(content, json_type_string))
		return useless(err, "the model's answer has no text");
	answer->cut_off = strcmp(end, "length") == 0;
	return read_text(content, answer, err);
}

enum aic_code
aic_openai_read_answer(const struct aic_buf *body,
    struct aic_openai_answer *answer, struct aic_err *err)
{
	struct json_object *doc = NULL, *choices;
	enum aic_code rc;

	rc = aic_json_parse(body->data, body->len, &doc);
	if (rc == AIC_ENOMEM)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	if (!json_object_is_type(doc, json_type_object))
		rc = useless(err, "the model's answer is not a JSON object");
	else if (!json_object_object_get_ex(doc, "choices", &choices) ||
	    !json_object_is_type(choices, json_type_array) ||
	    json_object_array_length(choices) == 0)
		rc = useless(err, "the model's answer has no choices");
	else
		rc = read_choice(json_object_array_get_idx(choices, 0), answer,
		    err);
	if (!rc)
		answer->tokens = read_tokens(doc);
	json_object_put(doc);
	return rc;
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

static struct aic_retry_case
case_of(const struct call *call)
{
	return (struct aic_retry_case){ .end = call->http.end,
		.status = call->http.status,
		.code = call->error.code,
		.type = call->error.type };
}

static enum aic_openai_call
kind_of(const struct call *call, enum aic_code rc)
{
	static const enum aic_openai_call ends[AIC_HTTP__MAX] = {
		[AIC_HTTP_CONNECT] = AIC_OPENAI_UNREACHED,
		[AIC_HTTP_BROKEN] = AIC_OPENAI_CUT,
		[AIC_HTTP_TIMEOUT] = AIC_OPENAI_TIMEOUT,
		[AIC_HTTP_TOO_BIG] = AIC_OPENAI_USELESS,
		[AIC_HTTP_GONE] = AIC_OPENAI_GONE,
		[AIC_HTTP_FAILED] = AIC_OPENAI_UNREACHED,
		[AIC_HTTP_NO_MEMORY] = AIC_OPENAI_UNREACHED,
	};
	struct aic_retry_case c = case_of(call);

	if (c.end != AIC_HTTP_ANSWERED)
		return ends[c.end];
	if (c.status == 200)
		return rc == AIC_OK ? AIC_OPENAI_USABLE : AIC_OPENAI_USELESS;
	if (aic_retry_other(&c) && !aic_retry_worth(&c))
		return AIC_OPENAI_QUOTA;
	return c.status == 429 ? AIC_OPENAI_LIMITED
	    : c.status >= 500  ? AIC_OPENAI_BROKEN
			       : AIC_OPENAI_REFUSED;
}

/* Opened since this chat came in, or this is the trial: one call tells enough. */
static bool
is_left_alone(const struct call *call)
{
	return aic_breaker_wait(&call->up->breaker, aic_clock_us()) > 0;
}

/* Wait for the next attempt; false: there is to be none. */
static bool
wait_again(const struct aic_openai_ask *ask, const struct call *call, int tried,
    struct aic_err *err)
{
	struct aic_retry_case c = case_of(call);
	int64_t now = aic_clock_us(), wait;

	if (!aic_retry_worth(&c) || is_left_alone(call))
		return false;
	wait = aic_retry_wait(tried, call->http.retry_after_us,
	    call->until_us - now, aic_random());
	if (wait < 0 || !aic_budget_retry(&call->up->budget, now))
		return false;
	if (wait_gone(ask, now + wait)) {
		aic_fail(err, AIC_EGONE,
		    "the caller left between two calls of the model");
		return false;
	}
	return !is_left_alone(call);
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

	aic_budget_call(&call->up->budget, aic_clock_us());
	for (;;) {
		answer->attempts++;
		err->says[0] = '\0';
		call_once(o, http, ask, call);
		if (call->http.end == AIC_HTTP_ANSWERED &&
		    call->http.status == 200) {
			rc = aic_openai_read_answer(&call->http.body, answer,
			    err);
			calls[kind_of(call, rc)]++;
			return rc;
		}
		calls[kind_of(call, AIC_EUPSTREAM)]++;
		/* A token that has expired says nothing about the model: the
		 * call is repeated once, and this is no attempt of the rule. */
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
		rc = fail_call(call, err);
		if (rc != AIC_EUPSTREAM || !wait_again(ask, call, tried, err))
			return err->code;
	}
}

/* --- whom to ask ------------------------------------------------------- */

/* Whose fault was it? left_us: what there was to ask in. */
static enum aic_breaker_verdict
judge(enum aic_code rc, const struct call *call, int64_t left_us)
{
	const struct aic_http_answer *h = &call->http;

	if (rc == AIC_OK)
		return AIC_BREAKER_WELL;
	/* The caller left, or there was no memory. */
	if (rc != AIC_EUPSTREAM)
		return AIC_BREAKER_NEUTRAL;
	if (h->end == AIC_HTTP_ANSWERED)
		return h->status >= 400 && h->status <= 499
		    ? AIC_BREAKER_NEUTRAL
		    : AIC_BREAKER_FAILED;
	/* No model answers in a moment: we came too late. */
	return left_us < AIC_RETRY_LEAST_US ? AIC_BREAKER_NEUTRAL
					    : AIC_BREAKER_FAILED;
}

/* When the i-th has to be done: the next one may need the rest. */
static int64_t
share(struct aic_openai *o, int i, int64_t now_us, int64_t deadline_us)
{
	int64_t third = (deadline_us - now_us) / 3;

	if (i + 1 == o->n_ups || third < AIC_RETRY_LEAST_US ||
	    aic_breaker_wait(&o->ups[i + 1].breaker, now_us) > 0)
		return deadline_us;
	return deadline_us - third;
}

/* Without a token nobody refused the question: another model may well answer it. */
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
refuse(int64_t wait_us, struct aic_err *err)
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
		call->until_us = share(o, i, now, ask->deadline_us);
		wait = aic_breaker_enter(&call->up->breaker, now,
		    call->until_us, &round);
		if (wait > 0) {
			soonest = wait < soonest ? wait : soonest;
			continue;
		}
		answer->model = i;
		rc = ask_often(o, http, ask, call, answer, err);
		answer->changes[i] = aic_breaker_leave(&call->up->breaker,
		    round, judge(rc, call, call->until_us - now),
		    aic_clock_us());
		if (!may_ask_other(rc, call, ask))
			return rc;
	}
	return rc == AIC_EOPEN ? refuse(soonest, err) : rc;
}

enum aic_code
aic_openai_ask(struct aic_openai *o, struct aic_http *http,
    const struct aic_openai_ask *ask, struct aic_openai_answer *answer,
    struct aic_err *err)
{
	struct call call = { .up = NULL };
	enum aic_code rc;

	aic_buf_init(&call.http.body, AIC_OPENAI_ANSWER_MAX);
	rc = ask_all(o, http, ask, &call, answer, err);
	aic_buf_done(&call.http.body);
	if (rc == AIC_OK || rc == AIC_EUPSTREAM)
		atomic_store(&o->failing, rc == AIC_EUPSTREAM);
	return rc;
}
