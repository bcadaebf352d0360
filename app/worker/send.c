#include "config.h"

#include "app/worker/send.h"

#include <stdlib.h>
#include <string.h>

#include "app/worker/chat.h"
#include "app/worker/chat_cache.h"
#include "app/worker/reserve.h"
#include "app/worker/save_chat.h"
#include "lib/clock.h"
#include "lib/completion.h"
#include "lib/format.h"
#include "lib/input.h"
#include "lib/log.h"
#include "lib/prompt.h"
#include "lib/render.h"
#include "lib/retry.h"

static enum aic_code validate_request(struct chat *c, struct aic_err *err);
static enum aic_code check_database(struct chat *c, struct aic_err *err);
static enum aic_code reserve(struct chat *c, struct aic_err *err);
static enum aic_code admit_save(struct chat *c, struct aic_err *err);
static enum aic_code await_seller_api(struct chat *c, struct aic_err *err);
static enum aic_code build_prompt(struct chat *c, struct aic_err *err);
static enum aic_code call_model(struct chat *c, struct aic_err *err);
static enum aic_code render_answer(struct chat *c, struct aic_err *err);
static enum aic_code save_exchange(struct chat *c, struct aic_err *err);
static void append_counts(struct chat *c);

/* The stages of a chat, in their order, with their names for the log. */
static const struct stage {
	const char *doing;
	enum aic_code (*run)(struct chat *c, struct aic_err *err);
} stages[] = {
	/* Read the body and the Idempotency-Key. */
	{ "reading the message", validate_request },

	/* The schema must be recent enough, and saves must succeed: otherwise
	 * the model would be paid for an answer that is lost. */
	{ "checking the database", check_database },

	/* A cached refusal ends a chat without a key here, without any work of
	 * the database. */
	{ "reading the cache", chat_cache_look_up },

	/* One round trip makes the reservation and loads the context, while the
	 * seller-data API is called. A replay ends here. From here on
	 * finish_chat() has a reservation to release, unless the save uses it
	 * up. The next stages use no database connection. */
	{ "reserving a chat", reserve },

	/* The circuit breaker of saves admits the chat, or refuses it. */
	{ "checking whether saves succeed", admit_save },

	/* The seller's data are optional, so this stage never fails. */
	{ "calling the seller-data API", await_seller_api },

	{ "building the prompt", build_prompt },

	/* With retries and the fallback model, until chat_model_deadline(). */
	{ "calling the model", call_model },

	/* Rendering precedes the save, because rendering can run out of memory
	 * and a chat that fails must not be counted. */
	{ "rendering the answer", render_answer },

	/* One transaction stores the exchange, counts the chat and removes the
	 * reservation. */
	{ "saving the exchange", save_exchange },
};

/* Run the stages until one fails or has found an answer to replay. The caller
 * of this function always calls finish_chat(), whatever the result. */
static enum aic_code
run_stages(struct chat *c, struct aic_err *err)
{
	const struct stage *s;
	enum aic_code rc;

	for (s = stages; s < stages + sizeof(stages) / sizeof(stages[0]); s++) {
		request_stage(c->rq, s->doing);
		rc = s->run(c, err);
		if (rc || c->rq->replayed)
			return rc;
	}
	return AIC_OK;
}

/*
 * The order matters: a repeat with the same Idempotency-Key can reserve as soon
 * as reserve_done() has released the reservation. If it waits at this worker,
 * it must then find the answer that save_chat_done() keeps.
 */
static void
finish_chat(struct chat *c)
{
	save_chat_done(c);
	reserve_done(c);
	seller_api_cancel(&c->rq->seller);
	chat_free(c);
}

enum aic_code
send_chat(struct request *rq, struct aic_err *err)
{
	enum aic_code rc;
	struct chat c;

	chat_begin(&c, rq);
	rc = run_stages(&c, err);
	/* The save can find out that another chat of the key was answered. Its
	 * answer then replaces the one that was already rendered. */
	if (!rc && rq->replayed)
		rc = render_answer(&c, err);
	if (!rc)
		append_counts(&c);
	finish_chat(&c);
	return rc;
}

/* --- the stages that have no file of their own ---------------------------- */

/* The Idempotency-Key is checked by lib/idempotency.c. */
static const struct aic_input_field fields[] = {
	{ AIC_IDEMPOTENCY_HEADER, AIC_INPUT_TEXT, .min = 1,
	    .max = AIC_IDEMPOTENCY_KEY_MAX, .place = AIC_INPUT_HEADER,
	    .pattern = "^[ -~]*$",
	    .about = "A new key for each question. A request with a key can be "
		     "repeated after any failure, and is counted at most "
		     "once. The repeat has the same body; within 24 hours it "
		     "gets the stored answer. A key may be quoted, as a "
		     "string of RFC 9651.",
	    .example = "6f1c0c1e-5b6a-4c39-9d0f-5f1f8f9b1a77" },
	{ "telegram_id", AIC_INPUT_INT, .required = true, .min = 1,
	    .max = INT64_MAX,
	    .offset = offsetof(struct chat_input, telegram_id),
	    .about = "The user's id in Telegram. The limit, the history and "
		     "the conversation belong to this user.",
	    .example = "123456789" },
	{ "message", AIC_INPUT_TEXT, .required = true, .not_blank = true,
	    .min = 1, .max = AIC_INPUT_MESSAGE_MAX,
	    .offset = offsetof(struct chat_input, message),
	    .about = "The question. White space alone is refused.",
	    .example = "\"Сколько у меня заказов за неделю?\"" },
	{ "user_context", AIC_INPUT_TEXT, .nullable = true, .min = 0,
	    .max = AIC_INPUT_CONTEXT_MAX,
	    .offset = offsetof(struct chat_input, user_context),
	    .about = "Data about the user for the model. With it, the worker "
		     "does not call the seller-data API.",
	    .example = "\"Заказы за 7 дней: 12\"" },
	{ "format", AIC_INPUT_CHOICE, .nullable = true, .preset = -1,
	    .names = aic_format_names,
	    .offset = offsetof(struct chat_input, format),
	    .about = "The format of `response`. A caller that sends it "
		     "supports `parts`. The default is the service's own "
		     "setting.",
	    .example = "\"telegram-html\"" },
};

const struct aic_input_schema send_input = { AIC_INPUT_FIELDS(fields),
	"ChatRequest" };

/* Faults of the key and of the body are reported together. */
static enum aic_code
validate_request(struct chat *c, struct aic_err *err)
{
	const char *value = c->rq->in.key;
	enum aic_code key_rc = AIC_OK, rc;

	if (value && *value) {
		c->key = c->key_text;
		key_rc = aic_idempotency_key(value, c->key_text, err);
	}
	rc = aic_input_body(c->rq->body.data, c->rq->body.len, fields,
	    sizeof(fields) / sizeof(fields[0]), &c->in, &c->doc, err);
	if (rc || key_rc)
		return rc ? rc : key_rc;
	c->rq->trace.user = c->in.telegram_id;
	seller_api_begin(&c->rq->seller, c->worker->seller_api,
	    c->in.telegram_id, c->rq->traceparent.headers);
	/* A caller can disconnect while the request is queued: such a request
	 * ends here, before the request costs anything. */
	if (fcgi_gone(c->rq->fcgi))
		return aic_fail(err, AIC_EGONE, "the caller disconnected");
	if (!c->key)
		return aic_id_new(c->id, err);
	return aic_idempotency_begin(c->key, c->in.message, c->in.user_context,
	    c->in.format < 0 ? NULL : aic_format_names[c->in.format], c->id,
	    c->digest, err);
}

/* A request with a key can be a replay, which needs no save. */
static enum aic_code
check_database(struct chat *c, struct aic_err *err)
{
	enum aic_code rc;

	rc = worker_schema_ok(c->worker, c->rq->stage_end_us, err);
	if (rc)
		return rc;
	save_chat_take_unsaved(c);
	return c->key ? AIC_OK : save_chat_check(c, err);
}

/* The calls to the seller-data API run while the database works. */
static enum aic_code
reserve(struct chat *c, struct aic_err *err)
{
	if (!chat_has_data(c) && !c->found.seller)
		seller_api_start(&c->rq->seller);
	return reserve_chat(c, err) == RESERVE_FAILED ? err->code : AIC_OK;
}

/*
 * The model is not called while the circuit breaker of saves is open, nor when
 * the unsaved answer of another request with the same key has appeared since
 * check_database().
 */
static enum aic_code
admit_save(struct chat *c, struct aic_err *err)
{
	save_chat_take_unsaved(c);
	return save_chat_admit(c, err);
}

/* The wait ends early enough that the model still has time for one call. */
static enum aic_code
await_seller_api(struct chat *c, struct aic_err *err)
{
	(void)err;
	if (!chat_has_data(c))
		c->seller = seller_api_wait(&c->rq->seller,
		    chat_model_deadline(c) - AIC_RETRY_LEAST_US);
	return AIC_OK;
}

/* JSON needs at most six bytes for each of the AIC_CONTEXT_CHARS_MAX characters
 * of a context. The rules and the request add a megabyte. No model accepts a
 * larger body. */
#define BODY_MAX (16 * 1024 * 1024)

/* The estimated size of the JSON around an exchange, and of the prompt's text
 * around the seller's data. With it, one allocation is usually sufficient. */
#define PROMPT_FRAME 640

static enum aic_code
build_prompt(struct chat *c, struct aic_err *err)
{
	struct aic_context_terms terms = chat_context_terms(c);
	size_t size = PROMPT_FRAME + c->worker->prompt.rules_len +
	    c->rq->body.len + (c->seller ? strlen(c->seller) : 0);
	const struct aic_exchange *said = c->context.said;
	int64_t start = aic_clock_us();
	enum aic_code rc;
	int i;

	rc = aic_context_fit(&c->context, &terms, err);
	if (rc)
		return rc;
	for (i = c->context.first; i < c->context.n; i++)
		size += PROMPT_FRAME + strlen(said[i].message) +
		    strlen(said[i].response);
	/* A sixteenth is added for the escapes of line breaks and quotes. */
	aic_buf_init(&c->body, BODY_MAX);
	aic_buf_room(&c->body, size + size / 16);
	aic_completion_begin(&c->body);
	aic_prompt_begin(&c->worker->prompt, &c->body);
	for (i = c->context.first; i < c->context.n; i++)
		aic_prompt_said(&c->body, said[i].message,
		    c->context.cut ? c->context.cut : said[i].response);
	c->shareable = c->context.first == c->context.n && !c->seller &&
	    !chat_has_data(c);
	/* The chat occupies as little memory as possible while the model
	 * works. With a cache, chat_cache.c still needs the context. */
	if (!c->worker->cache)
		aic_context_done(&c->context);
	aic_prompt_ask(&c->body, c->seller ? c->seller : c->in.user_context,
	    c->in.message);
	aic_metrics_time(c->metrics, AIC_METRICS_CONTEXT,
	    aic_clock_us() - start);
	if (c->body.failed)
		return aic_fail(err, AIC_ENOMEM, "no memory for the prompt");
	return AIC_OK;
}

/* A poll costs a system call, so the first poll comes after this time: a caller
 * rarely disconnects earlier. While a call is in flight, lib/http.c first polls
 * after a second, so this time matters only before a retry and while a token is
 * renewed. */
#define GONE_FIRST_US (250 * AIC_MS)

static bool
caller_left(void *arg)
{
	struct request *rq = arg;

	return aic_clock_us() - rq->start_us > GONE_FIRST_US &&
	    fcgi_gone(rq->fcgi);
}

static const char *const models[AIC_OPENAI_MODELS] = { "primary", "fallback" };

static void
log_breaker_changes(const struct aic_conf *conf,
    const struct aic_openai_answer *a)
{
	int i;

	for (i = 0; i < AIC_OPENAI_MODELS; i++)
		if (a->changes[i] == AIC_BREAKER_OPENED)
			aic_log_event(AIC_LOG_WARN, "breaker",
			    "circuit breaker for the %s model opened: %lld "
			    "chats in a row failed, no calls for %lld ms",
			    models[i], (long long)conf->breaker_failures,
			    (long long)conf->breaker_open_ms);
		else if (a->changes[i] == AIC_BREAKER_CLOSED)
			aic_log_event(AIC_LOG_INFO, "breaker",
			    "circuit breaker for the %s model closed",
			    models[i]);
}

/* True: the answer to this question was cached, so the model need not be
 * called. Only a question whose answer is shareable has a cached one. */
static bool
use_cached_answer(struct chat *c)
{
	bool known = c->found.answer != NULL;

	if (!c->shareable || !*c->found.question)
		return false;
	aic_metrics_lookup(c->metrics, AIC_METRICS_LOOKUP_ANSWER, known);
	c->answer.text = c->found.answer;
	c->found.answer = NULL;
	c->rq->paid_before = known;
	return known;
}

static enum aic_code
call_model(struct chat *c, struct aic_err *err)
{
	struct request *rq = c->rq;
	struct aic_openai_ask ask = { .body = &c->body,
		.headers = rq->traceparent.headers,
		.deadline_us = chat_model_deadline(c),
		/* A caller that sent a key can repeat the request and
		 * receive the answer then. */
		.gone = c->key ? NULL : caller_left,
		.gone_arg = rq };
	int64_t start = aic_clock_us();
	enum aic_code rc;

	if (c->has_unsaved) {
		rq->paid_before = true;
		return AIC_OK;
	}
	if (use_cached_answer(c))
		return AIC_OK;
	if (ask.deadline_us - start < AIC_RETRY_LEAST_US) {
		aic_says(err, "There was no time left to ask the model");
		return aic_fail(err, AIC_EBUSY,
		    "no time is left for a call of the model");
	}
	rc = aic_openai_ask(c->worker->openai, c->worker->http, &ask,
	    &c->answer, err);
	rq->trace.ai_us = aic_clock_us() - start;
	rq->trace.attempts = c->answer.attempts;
	rq->trace.tokens = c->answer.tokens;
	rq->trace.usage = c->answer.usage;
	if (c->answer.model > 0)
		rq->trace.model = models[c->answer.model];
	log_breaker_changes(c->conf, &c->answer);
	aic_metrics_time(c->metrics, AIC_METRICS_MODEL, rq->trace.ai_us);
	aic_metrics_model(c->metrics, &c->answer);
	c->has_unsaved = !rc && c->key;
	return rc;
}

/* The size of what append_counts() appends: two names and two numbers. */
#define COUNTS_MAX 96

static enum aic_code
render_answer(struct chat *c, struct aic_err *err)
{
	const struct aic_conf *conf = c->conf;
	struct aic_buf *out = &c->rq->out;
	bool named = c->in.format >= 0;
	/* A caller that names no format forwards the response to Telegram as
	 * one message. */
	struct aic_render_form form = { .format = named
		    ? (enum aic_format)c->in.format
		    : conf->answer_format,
		.reserve = conf->answer_reserve,
		.one_message = !named };
	enum aic_code rc;

	aic_buf_clear(out);
	aic_buf_putc(out, '{');
	rc = aic_render_answer(out, c->answer.text, &form, err);
	if (!rc && !aic_buf_room(out, COUNTS_MAX))
		rc = aic_fail(err, AIC_ENOMEM, "no memory for the answer");
	return rc;
}

static enum aic_code
save_exchange(struct chat *c, struct aic_err *err)
{
	enum aic_code rc = save_chat_run(c, err);

	if (rc)
		return rc;
	chat_cache_note_saved(c);
	/* The numbers of a replay are those of the first response, so RateLimit
	 * keeps what reserve.c has read. */
	if (!c->rq->replayed)
		c->rq->quota.left = c->remaining;
	return AIC_OK;
}

/* These two members are known only after the save. render_answer() has reserved
 * the memory, so that this function cannot fail. */
static void
append_counts(struct chat *c)
{
	aic_buf_printf(&c->rq->out,
	    ",\"remaining_requests\":%lld,\"tokens_used\":%lld}",
	    (long long)c->remaining, (long long)c->answer.tokens);
}
