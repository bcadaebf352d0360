#include "config.h"

#include "chat.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "context.h"
#include "input.h"
#include "json.h"
#include "limit.h"
#include "log.h"
#include "prompt.h"
#include "retry.h"
#include "save.h"

/* 50 exchanges of 4,000 characters asked and 1 MiB answered would be more; what
 * is over it is not a context that any model takes. */
#define BODY_MAX (16 * 1024 * 1024)

/* What JSON adds to an exchange, or to the seller's data; and a sixteenth more for
 * line breaks and quotes. Only an estimate, so that memory is asked for once. */
#define PROMPT_FRAME 640

/* The caller is looked for this often, and not at all in the first moment. */
#define GONE_FIRST_US (250 * AIC_MS)

/* After a save the answer must still get out before the deadline. */
#define ANSWER_US (200 * AIC_MS)

/* A save that finds its reservation gone takes a new one; that can happen again
 * only when the worker is frozen again. */
#define SAVES_MAX 3

/* Between two looks at what became of a save, when the first one failed. */
#define SETTLE_PAUSE_US (50 * AIC_MS)

/* Between two looks at the chat that came first under the same key: at first as long
 * as a quick model takes, later so that hundreds who wait cost little. */
#define FIRST_PAUSE_US (50 * AIC_MS)
#define FIRST_PAUSE_MOST_US (400 * AIC_MS)

/* Chats take seconds, so one of the user's will soon be over. */
#define CROWD_RETRY_AFTER_S 2

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
};

static struct metrics *
metrics_of(const struct chat *c)
{
	return c->job->worker->metrics;
}

static void
set_held(struct chat *c, bool held)
{
	if (held != c->held)
		metrics_held(metrics_of(c), held ? 1 : -1);
	c->held = held;
}

/* Saving and answering come after it. */
static int64_t
model_deadline(const struct job *job)
{
	return job->deadline_us - ANSWER_US -
	    job->worker->conf.db_timeout_ms * AIC_MS;
}

static enum aic_code validate(struct chat *c, struct aic_err *err);
static enum aic_code reserve(struct chat *c, struct aic_err *err);
static enum aic_code build_prompt(struct chat *c, struct aic_err *err);
static enum aic_code ask_model(struct chat *c, struct aic_err *err);
static enum aic_code save(struct chat *c, struct aic_err *err);

enum aic_code
chat_run(struct chat *c, struct aic_err *err)
{
	enum aic_code rc;

	route_stage(c->job, "reading the message");
	rc = validate(c, err);
	if (rc)
		return rc;

	route_stage(c->job, "checking the database");
	rc = worker_fits(c->job->worker, c->job->stage_end_us, err);
	if (rc)
		return rc;

	/* One round trip brings both: the reservation and the context. */
	route_stage(c->job, "reserving a chat");
	rc = reserve(c, err);
	if (rc || c->job->replayed)
		return rc;

	/* From here on chat_done() has a reservation to settle. No database
	 * connection is held while the model thinks. */
	route_stage(c->job, "building the prompt");
	rc = build_prompt(c, err);
	if (rc)
		return rc;

	route_stage(c->job, "asking the model");
	rc = ask_model(c, err);
	if (rc)
		return rc;

	/* Kept, counted and settled in one transaction, or not at all. */
	route_stage(c->job, "saving the exchange");
	return save(c, err);
}

static enum aic_code
validate(struct chat *c, struct aic_err *err)
{
	const char *key = c->job->rq.key;
	enum aic_code key_rc = AIC_OK, rc;

	if (key && *key) {
		c->key = key;
		key_rc = aic_repeat_check(key, err);
	}
	rc = aic_input_body(c->job->body.data, c->job->body.len, fields,
	    sizeof(fields) / sizeof(fields[0]), &c->in, &c->doc, err);
	if (rc || key_rc)
		return rc ? rc : key_rc;
	c->job->user = c->in.telegram_id;
	/* A caller who gave up while the request was queued costs nothing. */
	if (fcgi_gone(c->job->fcgi))
		return aic_fail(err, AIC_EGONE, "the caller left");
	if (!c->key)
		return aic_id_new(c->id, err);
	return aic_repeat_begin(c->key, c->in.message, c->in.user_context,
	    c->id, c->digest, err);
}

/* --- reserving --------------------------------------------------------- */

static void
hold_ask(struct chat *c, struct aic_db_call *call)
{
	const struct aic_conf *conf = &c->job->worker->conf;
	int64_t left_ms = (c->job->deadline_us - aic_clock_us()) / AIC_MS;
	struct aic_limit_hold h = { .telegram_id = c->in.telegram_id,
		.chat_id = c->id,
		.of_key = c->key,
		.zone = conf->timezone,
		.lease_ms = (left_ms > 0 ? left_ms : 0) +
		    AIC_LIMIT_LEASE_SPARE_MS,
		.limit = conf->daily_limit,
		.at_once = conf->user_concurrency,
		.since = *c->since ? c->since : NULL };

	aic_limit_hold_ask(call, &h);
	c->lease_ms = h.lease_ms;
}

/*
 * The key has its answer, and it is this chat's too; a reservation, if there is one
 * all the same, is given back. What was read may have been committed without waiting
 * for the disk, and must not be told before it is safe. A refusal has waited for the
 * disk itself, for it has taken the row's lock; a reservation has not.
 */
static enum aic_code
replay(struct chat *c, const struct aic_repeat *first, struct aic_err *err)
{
	struct aic_db_call call;
	enum aic_code rc;

	if (first->state == AIC_REPEAT_OTHER)
		return aic_fault(err, "idempotency_key_reused", "header",
		    AIC_REPEAT_HEADER,
		    "This key came with another body before");
	free(c->answer.text);
	c->answer.text = strdup(first->response);
	if (!c->answer.text)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	if (c->held) {
		aic_save_sync_ask(&call, c->in.telegram_id);
		rc = route_db(c->job, &call, 1, err);
		if (rc)
			return rc;
		aic_db_call_done(&call);
	}
	c->answer.tokens = first->tokens;
	c->remaining = first->remaining;
	c->job->replayed = true;
	return AIC_OK;
}

/* The key's own part of a reservation, in the same batch. */
static enum aic_code
look_at_first(struct chat *c, struct aic_db_call *call,
    enum aic_repeat_state *ret_state, struct aic_err *err)
{
	struct aic_repeat first = aic_repeat_got(call);
	enum aic_code rc = AIC_OK;

	*ret_state = first.state;
	if (first.state == AIC_REPEAT_KEPT || first.state == AIC_REPEAT_OTHER)
		rc = replay(c, &first, err);
	aic_db_call_done(call);
	return rc;
}

/*
 * One try to reserve: c->held, or job->replayed, or neither. The context comes along,
 * and so does what became of the first chat of this key: one round trip.
 *
 * ret_state  of that first chat; set when there is a key
 */
static enum aic_code
hold(struct chat *c, enum aic_repeat_state *ret_state, struct aic_err *err)
{
	int64_t start = aic_clock_us();
	struct aic_db_call calls[4];
	bool keyed = c->key != NULL;
	enum aic_code rc;

	if (keyed)
		aic_repeat_queue_ask(&calls[0], c->in.telegram_id);
	hold_ask(c, &calls[1]);
	aic_context_ask(&calls[2], c->in.telegram_id,
	    c->job->worker->conf.context_messages);
	if (keyed)
		aic_repeat_ask(&calls[3], c->in.telegram_id, c->id, c->digest);
	rc = route_db(c->job, keyed ? calls : calls + 1, keyed ? 4 : 2, err);
	c->job->limit_us = aic_clock_us() - start;
	metrics_time(metrics_of(c), METRICS_LIMIT, c->job->limit_us);
	c->in_doubt = rc != AIC_OK;
	if (rc)
		return rc;
	c->held_us = aic_clock_us();
	set_held(c, aic_limit_hold_got(&calls[1], c->lease));
	if (c->held && !*c->since)
		aic_limit_hold_since(&calls[1], c->since);
	aic_db_call_done(&calls[1]);
	aic_db_call_done(&c->context);
	c->context = calls[2];
	if (!keyed)
		return AIC_OK;
	aic_db_call_done(&calls[0]);
	return look_at_first(c, &calls[3], ret_state, err);
}

static enum aic_code
still_under_way(struct aic_err *err)
{
	err->retry_after_s = CROWD_RETRY_AFTER_S;
	aic_says(err, "A request with this Idempotency-Key is still under way");
	return aic_fail(err, AIC_EBUSY,
	    "another chat of this key was under way for too long");
}

static enum aic_code
wait_until_over(struct chat *c, struct aic_err *err)
{
	int64_t until = model_deadline(c->job), pause = FIRST_PAUSE_US;
	enum aic_repeat_state state;
	struct aic_db_call call;
	enum aic_code rc;

	do {
		if (fcgi_gone(c->job->fcgi))
			return aic_fail(err, AIC_EGONE,
			    "the caller left while another chat of this key "
			    "was under way");
		if (aic_clock_us() + pause > until)
			return still_under_way(err);
		aic_clock_sleep(aic_clock_us() + pause);
		if (pause < FIRST_PAUSE_MOST_US)
			pause *= 2;
		route_stage(c->job, "waiting for the first of this key");
		aic_repeat_ask(&call, c->in.telegram_id, c->id, c->digest);
		rc = route_db(c->job, &call, 1, err);
		if (rc)
			return rc;
		state = aic_repeat_got(&call).state;
		aic_db_call_done(&call);
	} while (state == AIC_REPEAT_RUNNING);
	/* It failed so late that there is no time to take its place. */
	if (state == AIC_REPEAT_NONE &&
	    until - aic_clock_us() < AIC_RETRY_LEAST_US)
		return still_under_way(err);
	return AIC_OK;
}

/* Until the first chat of this key is over, whatever came of it. */
static enum aic_code
wait_for_first(struct chat *c, struct aic_err *err)
{
	enum aic_code rc;

	rc = worker_wait(c->job->worker, err);
	if (rc)
		return rc;
	rc = wait_until_over(c, err);
	worker_waited(c->job->worker);
	return rc;
}

static enum aic_code
peek(struct chat *c, struct aic_err *err)
{
	const struct aic_conf *conf = &c->job->worker->conf;
	struct aic_db_call call;
	enum aic_code rc;

	aic_limit_peek_ask(&call, c->in.telegram_id, conf->timezone);
	rc = route_db(c->job, &call, 1, err);
	if (rc)
		return rc;
	rc = aic_limit_peek_got(&call, conf->daily_limit, &c->job->limit, err);
	aic_db_call_done(&call);
	c->job->limit.at_once = conf->user_concurrency;
	return rc;
}

static enum aic_code
refuse(struct chat *c, struct aic_err *err)
{
	struct aic_limit_state *s = &c->job->limit;

	if (s->used < s->limit && s->at_once) {
		err->retry_after_s = CROWD_RETRY_AFTER_S;
		return aic_fail(err, AIC_ECROWD,
		    "as many chats of the user as may be are under way");
	}
	/* One that became free this moment, and was not to be had. */
	if (s->used < s->limit)
		s->used = s->limit;
	err->retry_after_s = (int)s->reset_in_s;
	return aic_fail(err, AIC_ELIMIT, "the day is used up");
}

static enum aic_code
reserve(struct chat *c, struct aic_err *err)
{
	const struct aic_limit_state *s = &c->job->limit;
	enum aic_repeat_state first = AIC_REPEAT_NONE;
	bool again = false;
	enum aic_code rc;

	for (;;) {
		rc = hold(c, &first, err);
		if (rc || c->held || c->job->replayed)
			return rc;
		if (first == AIC_REPEAT_RUNNING) {
			rc = wait_for_first(c, err);
			if (rc)
				return rc;
			route_stage(c->job, "reserving a chat");
			continue;
		}
		/* Why not; the answer tells. Since the refusal a chat in flight
		 * may have ended, or a new day begun: then there is one left after
		 * all. */
		rc = peek(c, err);
		if (rc)
			return rc;
		if (again || s->used >= s->limit ||
		    (s->at_once && s->live >= s->at_once))
			return refuse(c, err);
		again = true;
	}
}

/* --- asking ------------------------------------------------------------ */

static enum aic_code
build_prompt(struct chat *c, struct aic_err *err)
{
	size_t size = PROMPT_FRAME + c->job->worker->prompt.rules_len +
	    c->job->body.len;
	int64_t start = aic_clock_us();
	struct aic_exchange said;
	int i;

	for (i = 0; i < aic_context_count(&c->context); i++) {
		said = aic_context_get(&c->context, i);
		size += PROMPT_FRAME + strlen(said.message) +
		    strlen(said.response);
	}
	aic_buf_init(&c->body, BODY_MAX);
	aic_buf_room(&c->body, size + size / 16);
	aic_openai_begin(&c->body);
	aic_prompt_begin(&c->job->worker->prompt, &c->body);
	for (i = 0; i < aic_context_count(&c->context); i++) {
		said = aic_context_get(&c->context, i);
		aic_prompt_said(&c->body, said.message, said.response);
	}
	aic_db_call_done(&c->context);
	aic_prompt_seller(&c->body, c->in.user_context);
	aic_prompt_ask(&c->body, c->in.message);
	metrics_time(metrics_of(c), METRICS_CONTEXT, aic_clock_us() - start);
	if (c->body.failed)
		return aic_fail(err, AIC_ENOMEM, "no memory for the prompt");
	return AIC_OK;
}

static bool
caller_left(void *arg)
{
	struct job *job = arg;

	return aic_clock_us() - job->start_us > GONE_FIRST_US &&
	    fcgi_gone(job->fcgi);
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

static enum aic_code
ask_model(struct chat *c, struct aic_err *err)
{
	struct job *job = c->job;
	struct aic_openai_ask ask = { .body = &c->body,
		.deadline_us = model_deadline(job),
		/* Who gave a key may come again for the answer. */
		.gone = c->key ? NULL : caller_left,
		.gone_arg = job };
	int64_t start = aic_clock_us();
	enum aic_code rc;

	if (ask.deadline_us - start < AIC_RETRY_LEAST_US) {
		aic_says(err, "There was no time left to ask the model");
		return aic_fail(err, AIC_EBUSY,
		    "no time was left to ask the model");
	}
	rc = aic_openai_ask(job->worker->openai, job->http, &ask, &c->answer,
	    err);
	job->ai_us = aic_clock_us() - start;
	job->attempts = c->answer.attempts;
	job->tokens = c->answer.tokens;
	if (c->answer.model > 0)
		job->model = models[c->answer.model];
	log_breakers(&job->worker->conf, &c->answer);
	metrics_time(metrics_of(c), METRICS_MODEL, job->ai_us);
	metrics_model(metrics_of(c), &c->answer);
	return rc;
}

/* --- saving ------------------------------------------------------------ */

enum saved {
	SAVED,
	NO_LEASE, /* nothing was changed, or an earlier try did it all */
	UNKNOWN, /* the database did not say; err tells */
	NO_SLOT, /* nothing is stored, and nothing will be */
};

static enum saved
save_once(struct chat *c, struct aic_err *err)
{
	struct aic_save s = { .telegram_id = c->in.telegram_id,
		.lease = c->lease,
		.message = c->in.message,
		.response = c->answer.text,
		.tokens = c->answer.tokens,
		.digest = c->key ? c->digest : NULL,
		.limit = c->job->worker->conf.daily_limit,
		.early_ms = c->lease_ms -
		    (c->job->stage_end_us - c->held_us) / AIC_MS };
	struct aic_db_call call;
	enum saved rc;

	aic_save_ask(&call, &s);
	if (route_db(c->job, &call, 1, err))
		return UNKNOWN;
	rc = aic_save_got(&call, &c->remaining) ? SAVED : NO_LEASE;
	aic_db_call_done(&call);
	/* Used up, or gone without our doing. */
	set_held(c, false);
	return rc;
}

/* The reservation is not there: was it used up by an earlier try of this save
 * (SAVED), or has it lapsed (NO_LEASE)? */
static enum saved
find(struct chat *c, struct aic_err *err)
{
	struct aic_db_call calls[2];
	enum saved rc;

	aic_save_find_ask(calls, c->in.telegram_id, c->id);
	if (route_db(c->job, calls, 2, err))
		return UNKNOWN;
	rc = aic_save_find_got(calls, &c->remaining) ? SAVED : NO_LEASE;
	aic_db_call_done(&calls[0]);
	aic_db_call_done(&calls[1]);
	return rc;
}

static enum saved
hold_again(struct chat *c, struct aic_err *err)
{
	enum aic_repeat_state first;

	if (hold(c, &first, err))
		return UNKNOWN;
	/* Meanwhile another one of this key has been answered. */
	if (c->job->replayed)
		return SAVED;
	return c->held ? NO_LEASE : NO_SLOT;
}

/*
 * The outcome of a save is unknown. Take the reservation away: where the save has
 * not happened, it cannot any more. Whether it has, only the row tells: a
 * reservation that was used up may come back, when a try to reserve that had hung at
 * the database comes through late. Whoever is told that nothing was kept should be
 * able to rely on it, so this is tried as long as the stage has time.
 */
static enum saved
settle(struct chat *c)
{
	struct aic_err ignored = AIC_ERR_INIT;
	struct aic_db_call call;
	enum saved rc = UNKNOWN;

	route_stage(c->job, "finding out what became of the save");
	while (rc == UNKNOWN && aic_clock_us() < c->job->stage_end_us) {
		aic_limit_drop_ask(&call, c->in.telegram_id, c->id);
		if (route_db(c->job, &call, 1, &ignored)) {
			aic_clock_sleep(aic_clock_us() + SETTLE_PAUSE_US);
			continue;
		}
		aic_db_call_done(&call);
		set_held(c, false);
		rc = find(c, &ignored);
	}
	return rc;
}

static enum aic_code
save(struct chat *c, struct aic_err *err)
{
	int64_t start = aic_clock_us();
	enum saved rc;
	int i;

	for (i = 0; i < SAVES_MAX; i++) {
		rc = save_once(c, err);
		if (rc == NO_LEASE)
			rc = find(c, err);
		if (rc == UNKNOWN && settle(c) == SAVED)
			rc = SAVED;
		if (rc == NO_LEASE) {
			metrics_lapse(metrics_of(c));
			rc = hold_again(c, err);
		}
		if (rc != NO_LEASE)
			break;
	}
	c->job->save_us = aic_clock_us() - start;
	metrics_time(metrics_of(c), METRICS_SAVE, c->job->save_us);
	switch (rc) {
	case SAVED:
		return AIC_OK;
	case UNKNOWN:
		return err->code;
	case NO_LEASE: /* reserved again, and to be given back */
	case NO_SLOT:
		break;
	}
	err->retry_after_s = 1;
	aic_says(err, "The answer came too late to be kept");
	return aic_fail(err, AIC_EBUSY,
	    "the reservation had lapsed and there was no other slot");
}

/* The reservation of a chat that failed. */
static void
give_back(struct chat *c)
{
	struct aic_err err = AIC_ERR_INIT;
	struct aic_db_call call;

	/* One that the database did not tell of has used its time up already. */
	if (!c->in_doubt) {
		route_stage(c->job, c->job->doing);
		aic_limit_drop_ask(&call, c->in.telegram_id, c->id);
		if (route_db(c->job, &call, 1, &err) == AIC_OK) {
			aic_db_call_done(&call);
			return;
		}
		aic_log_event(AIC_LOG_WARN, "lease",
		    "a reservation could not be given back: %s", err.detail);
	}
	worker_drop_later(c->job->worker, c->in.telegram_id, c->id,
	    c->job->deadline_us + AIC_LIMIT_LEASE_SPARE_MS * AIC_MS);
}

void
chat_done(struct chat *c)
{
	if (c->held || c->in_doubt)
		give_back(c);
	set_held(c, false);
	aic_db_call_done(&c->context);
	aic_buf_done(&c->body);
	free(c->answer.text);
	json_object_put(c->doc);
}

enum aic_code
chat_send(struct job *job, struct aic_err *err)
{
	struct chat c = { .job = job };
	enum aic_code rc;

	rc = chat_run(&c, err);
	if (!rc) {
		aic_buf_puts(&job->out, "{\"response\":");
		aic_json_put_str(&job->out, c.answer.text);
		aic_buf_printf(&job->out,
		    ",\"remaining_requests\":%lld,\"tokens_used\":%lld}",
		    (long long)c.remaining, (long long)c.answer.tokens);
	}
	chat_done(&c);
	return rc;
}
