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

/* A context of AIC_CONTEXT_CHARS_MAX is at most six bytes of JSON a character, the rules
 * and what came with the request are a megabyte; no model takes more. */
#define BODY_MAX (16 * 1024 * 1024)

/* What JSON adds to an exchange, and the prompt to the seller's data; and a sixteenth more for
 * line breaks and quotes. Only an estimate, so that memory is asked for once. */
#define PROMPT_FRAME 640

/* The caller is looked for this often, and not at all in the first moment. */
#define GONE_FIRST_US (250 * AIC_MS)

/* What stands behind the answer: two names, two numbers. */
#define NUMBERS_MAX 96

static const struct aic_input_field fields[] = {
	{ "telegram_id", AIC_INPUT_INT, .required = true, .min = 1,
	    .max = INT64_MAX,
	    .offset = offsetof(struct chat_input, telegram_id) },
	{ "message", AIC_INPUT_TEXT, .required = true, .not_blank = true,
	    .min = 1, .max = AIC_INPUT_MESSAGE_MAX,
	    .offset = offsetof(struct chat_input, message) },
	{ "user_context", AIC_INPUT_TEXT, .nullable = true, .min = 0,
	    .max = AIC_INPUT_CONTEXT_MAX,
	    .offset = offsetof(struct chat_input, user_context) },
	{ "format", AIC_INPUT_CHOICE, .nullable = true, .preset = -1,
	    .names = aic_format_names,
	    .offset = offsetof(struct chat_input, format) },
};

static enum aic_code validate(struct chat *c, struct aic_err *err);
static void call_seller_api(struct chat *c);
static void await_seller_api(struct chat *c);
static enum aic_code build_prompt(struct chat *c, struct aic_err *err);
static enum aic_code call_model(struct chat *c, struct aic_err *err);
static enum aic_code render(struct chat *c, struct aic_err *err);

/* The pipeline. A chat whose key has its answer already ends after the reservation, with
 * that answer and rq->replayed set. Whatever is returned, finish() follows. */
static enum aic_code
run(struct chat *c, struct aic_err *err)
{
	struct request *rq = c->rq;
	enum aic_code rc;

	request_stage(rq, "reading the message");
	rc = validate(c, err);
	if (rc)
		return rc;

	request_stage(rq, "checking the database");
	rc = worker_schema_ok(c->worker, rq->stage_end_us, err);
	if (rc)
		return rc;
	/* A chat with a key may have its answer already. */
	save_chat_find(c);
	rc = c->key ? AIC_OK : save_chat_check(c, err);
	if (rc)
		return rc;

	/* If the day is known to be used up, the chat ends here. */
	request_stage(rq, "looking into the cache");
	rc = chat_cache_look_up(c, err);
	if (rc)
		return rc;

	/* The API works while the database does. */
	call_seller_api(c);

	/* One round trip brings the reservation and the context. */
	request_stage(rq, "reserving a chat");
	rc = reserve_chat(c, err);
	if (rc || rq->replayed)
		return rc;

	/* The model is not called for an answer that could not be saved, nor for one
	 * that another chat of the same key has paid for meanwhile. */
	request_stage(rq, "checking whether saves succeed");
	save_chat_find(c);
	rc = save_chat_admit(c, err);
	if (rc)
		return rc;

	/* From here on the chat has a reservation, which finish() settles. It holds no
	 * database connection while it waits for the API and for the model. */
	request_stage(rq, "asking for the seller's data");
	await_seller_api(c);

	request_stage(rq, "building the prompt");
	rc = build_prompt(c, err);
	if (rc)
		return rc;

	request_stage(rq, "asking the model");
	rc = call_model(c, err);
	if (rc)
		return rc;

	/* Before the chat is counted, because rendering may run out of memory. */
	request_stage(rq, "writing the answer");
	rc = render(c, err);
	if (rc)
		return rc;

	/* One transaction stores the exchange, counts it and uses the reservation up. */
	request_stage(rq, "saving the exchange");
	rc = save_chat_run(c, err);
	if (!rc)
		chat_cache_note_saved(c);
	return rc;
}

/* In this order: a repeat of the chat gets the reservation as soon as it is released, and
 * must find the unsaved answer by then. */
static void
finish(struct chat *c)
{
	save_chat_done(c);
	reserve_done(c);
	seller_api_drop(&c->rq->seller);
	chat_free(c);
}

enum aic_code
send_chat(struct request *rq, struct aic_err *err)
{
	enum aic_code rc;
	struct chat c;

	chat_begin(&c, rq);
	rc = run(&c, err);
	/* A replay may be found as late as in the save. */
	if (!rc && rq->replayed)
		rc = render(&c, err);
	if (!rc)
		aic_buf_printf(&rq->out,
		    ",\"remaining_requests\":%lld,\"tokens_used\":%lld}",
		    (long long)c.remaining, (long long)c.answer.tokens);
	finish(&c);
	return rc;
}

/* --- the stages that are not files of their own -------------------------- */

static enum aic_code
validate(struct chat *c, struct aic_err *err)
{
	const char *key = c->rq->in.key;
	enum aic_code key_rc = AIC_OK, rc;

	if (key && *key) {
		c->key = key;
		key_rc = aic_idempotency_check(key, err);
	}
	rc = aic_input_body(c->rq->body.data, c->rq->body.len, fields,
	    sizeof(fields) / sizeof(fields[0]), &c->in, &c->doc, err);
	if (rc || key_rc)
		return rc ? rc : key_rc;
	c->rq->trace.user = c->in.telegram_id;
	seller_api_begin(&c->rq->seller, c->worker->seller_api,
	    c->in.telegram_id);
	/* A caller who gave up while the request was queued costs nothing. */
	if (fcgi_gone(c->rq->fcgi))
		return aic_fail(err, AIC_EGONE, "the caller left");
	if (!c->key)
		return aic_id_new(c->id, err);
	return aic_idempotency_begin(c->key, c->in.message, c->in.user_context,
	    c->in.format < 0 ? NULL : aic_format_names[c->in.format], c->id,
	    c->digest, err);
}

static void
call_seller_api(struct chat *c)
{
	if (!chat_has_data(c) && !c->found.seller)
		seller_api_start(&c->rq->seller);
}

/* Not in the time that the model needs. */
static void
await_seller_api(struct chat *c)
{
	if (!chat_has_data(c))
		c->seller = seller_api_wait(&c->rq->seller,
		    chat_model_deadline(c) - AIC_RETRY_LEAST_US);
}

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
	aic_buf_init(&c->body, BODY_MAX);
	aic_buf_room(&c->body, size + size / 16);
	aic_completion_begin(&c->body);
	aic_prompt_begin(&c->worker->prompt, &c->body);
	for (i = c->context.first; i < c->context.n; i++)
		aic_prompt_said(&c->body, said[i].message,
		    c->context.cut ? c->context.cut : said[i].response);
	c->common = c->context.first == c->context.n && !c->seller &&
	    !chat_has_data(c);
	/* While the model thinks, a chat holds no more than it has to. */
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

static bool
caller_left(void *arg)
{
	struct request *rq = arg;

	return aic_clock_us() - rq->start_us > GONE_FIRST_US &&
	    fcgi_gone(rq->fcgi);
}

static const char *const models[AIC_OPENAI_MODELS] = { "first", "fallback" };

static void
log_breakers(const struct aic_conf *conf, const struct aic_openai_answer *a)
{
	int i;

	for (i = 0; i < AIC_OPENAI_MODELS; i++)
		if (a->changes[i] == AIC_BREAKER_OPENED)
			aic_log_event(AIC_LOG_WARN, "breaker",
			    "the %s model failed %lld chats in a row and is "
			    "not asked for %lld ms",
			    models[i], (long long)conf->breaker_failures,
			    (long long)conf->breaker_open_ms);
		else if (a->changes[i] == AIC_BREAKER_CLOSED)
			aic_log_event(AIC_LOG_INFO, "breaker",
			    "the %s model answers again", models[i]);
}

/* The answer to a common question costs nothing when it has been given before. */
static bool
answer_again(struct chat *c)
{
	bool known = c->found.answer != NULL;

	if (!c->common || !*c->found.question)
		return false;
	aic_metrics_recall(c->metrics, AIC_METRICS_RECALL_ANSWER, known);
	c->answer.text = c->found.answer;
	c->found.answer = NULL;
	c->rq->recalled = known;
	return known;
}

static enum aic_code
call_model(struct chat *c, struct aic_err *err)
{
	struct request *rq = c->rq;
	struct aic_openai_ask ask = { .body = &c->body,
		.deadline_us = chat_model_deadline(c),
		/* Who gave a key may come again for the answer. */
		.gone = c->key ? NULL : caller_left,
		.gone_arg = rq };
	int64_t start = aic_clock_us();
	enum aic_code rc;

	if (c->paid) {
		rq->recalled = true;
		return AIC_OK;
	}
	if (answer_again(c))
		return AIC_OK;
	if (ask.deadline_us - start < AIC_RETRY_LEAST_US) {
		aic_says(err, "There was no time left to ask the model");
		return aic_fail(err, AIC_EBUSY,
		    "no time was left to ask the model");
	}
	rc = aic_openai_ask(c->worker->openai, c->worker->http, &ask,
	    &c->answer, err);
	rq->trace.ai_us = aic_clock_us() - start;
	rq->trace.attempts = c->answer.attempts;
	rq->trace.tokens = c->answer.tokens;
	rq->trace.usage = c->answer.usage;
	if (c->answer.model > 0)
		rq->trace.model = models[c->answer.model];
	log_breakers(c->conf, &c->answer);
	aic_metrics_time(c->metrics, AIC_METRICS_MODEL, rq->trace.ai_us);
	aic_metrics_model(c->metrics, &c->answer);
	c->paid = !rc && c->key;
	return rc;
}

static enum aic_code
render(struct chat *c, struct aic_err *err)
{
	const struct aic_conf *conf = c->conf;
	struct aic_buf *out = &c->rq->out;
	bool named = c->in.format >= 0;
	/* A caller that names no format sends the response to Telegram as one
	 * message. */
	struct aic_render_form form = { .format = named
		    ? (enum aic_format)c->in.format
		    : conf->answer_format,
		.reserve = conf->answer_reserve,
		.one_message = !named };
	enum aic_code rc;

	aic_buf_clear(out);
	aic_buf_putc(out, '{');
	rc = aic_render_answer(out, c->answer.text, &form, err);
	if (!rc && !aic_buf_room(out, NUMBERS_MAX))
		rc = aic_fail(err, AIC_ENOMEM, "no memory for the answer");
	return rc;
}
