#include "config.h"

#include "app/worker/reserve.h"

#include <stdlib.h>
#include <string.h>

#include "app/worker/chat_cache.h"
#include "lib/clock.h"
#include "lib/context.h"
#include "lib/log.h"
#include "lib/retry.h"
#include "lib/save.h"

/* The pause between two polls for the end of the other chat of the same key.
 * The pause doubles up to the maximum, so that hundreds of waiting requests
 * cost little. */
#define POLL_PAUSE_US (50 * AIC_MS)
#define POLL_PAUSE_MAX_US (400 * AIC_MS)

/* A chat takes seconds, so one of the user's chats ends soon. */
#define CROWD_RETRY_AFTER_S 2

static void
bind_reservation(struct chat *c, struct aic_db_call *call)
{
	const struct aic_conf *conf = c->conf;
	int64_t left_ms = (c->rq->deadline_us - aic_clock_us()) / AIC_MS;
	struct aic_limit_reserve r = { .telegram_id = c->in.telegram_id,
		.chat_id = c->id,
		.of_key = c->key,
		.zone = conf->timezone,
		.lapse_ms = (left_ms > 0 ? left_ms : 0) + AIC_LIMIT_SPARE_MS,
		.limit = conf->daily_limit,
		.at_once = conf->user_concurrency,
		.since = *c->reservation.since ? c->reservation.since : NULL };

	aic_limit_reserve_bind(call, &r);
	c->reservation.lapse_ms = r.lapse_ms;
}

/*
 * Use the answer of the first chat of this key for this chat. A reservation
 * that this chat has made nevertheless is released by reserve_done().
 *
 * The answer was possibly read before its commit reached the disk, because the
 * server can commit a save without waiting for the disk. A crash of the server
 * could still lose that row, so the caller must not receive the answer before
 * the commit is durable. If the reservation was refused, the batch has locked
 * the user's row, and its commit has waited for the disk
 * (aic_idempotency_queue_bind()). If the reservation was made, the commit has
 * not waited, so aic_save_sync_bind() waits here.
 */
static enum aic_code
replay_answer(struct chat *c, const struct aic_idempotency *first,
    struct aic_err *err)
{
	struct aic_db_call call;
	enum aic_code rc;

	if (first->state == AIC_IDEMPOTENCY_OTHER)
		return aic_fault(err, "idempotency_key_reused", "header",
		    AIC_IDEMPOTENCY_HEADER,
		    "This key came with another body before");
	free(c->answer.text);
	c->has_unsaved = false;
	c->answer.text = strdup(first->response);
	if (!c->answer.text)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	if (c->reservation.state == RESERVATION_HELD) {
		aic_save_sync_bind(&call, c->in.telegram_id);
		rc = request_db(c->rq, &call, 1, err);
		if (rc)
			return rc;
		aic_db_call_done(&call);
	}
	c->answer.tokens = first->tokens;
	c->remaining = first->remaining;
	c->rq->replayed = true;
	return AIC_OK;
}

/* Read the result of the statement that looks for the other chat of the key.
 * The statement runs in the same batch as the reservation. */
static enum aic_code
read_first_chat(struct chat *c, struct aic_db_call *call,
    enum aic_idempotency_state *ret_state, struct aic_err *err)
{
	struct aic_idempotency first = aic_idempotency_read(call);
	enum aic_code rc = AIC_OK;

	*ret_state = first.state;
	if (first.state == AIC_IDEMPOTENCY_KEPT ||
	    first.state == AIC_IDEMPOTENCY_OTHER)
		rc = replay_answer(c, &first, err);
	aic_db_call_done(call);
	return rc;
}

static enum aic_code
load_context(struct chat *c, struct aic_err *err)
{
	struct aic_context_terms terms = chat_context_terms(c);
	struct aic_db_call call;
	enum aic_code rc;

	aic_context_bind(&call, c->in.telegram_id, &terms);
	rc = request_db(c->rq, &call, 1, err);
	if (!rc)
		aic_context_read(&c->context, &call, &terms);
	return rc;
}

/* The reservation returns the version of the newest context, so a context from
 * Redis can be checked only after the reservation. If the context is outdated,
 * load the newest one from PostgreSQL. */
static enum aic_code
check_context(struct chat *c, struct aic_err *err)
{
	bool newest = chat_cache_is_newest(c);

	if (c->worker->cache)
		aic_metrics_lookup(c->metrics, AIC_METRICS_LOOKUP_CONTEXT,
		    c->found.context && newest);
	if (!c->found.context || newest)
		return AIC_OK;
	c->found.context = false;
	return load_context(c, err);
}

/* The result of the statement that reserves: RESERVED or REFUSED. */
static enum reserve_result
read_reservation(struct chat *c, const struct aic_db_call *call)
{
	int64_t used, reset_in_s;

	c->reservation.made_us = aic_clock_us();
	if (!aic_limit_reserve_read(call, c->reservation.row)) {
		chat_set_reservation(c, RESERVATION_NONE);
		return REFUSED;
	}
	chat_set_reservation(c, RESERVATION_HELD);
	/* What the response says if the chat fails and is not counted. */
	aic_limit_reserve_day(call, &used, &reset_in_s);
	request_set_quota(c->rq, used - 1, reset_in_s);
	if (!*c->reservation.since)
		aic_limit_reserve_since(call, c->reservation.since);
	aic_limit_reserve_context(call, c->context_version,
	    &c->context_from_us);
	return RESERVED;
}

/*
 * Try once to reserve, in one round trip. The batch also loads the context,
 * unless Redis had one, and looks for another chat of the same key.
 *
 * ret_state  the state of the other chat of the key; set when the request has a
 *            key
 */
static enum reserve_result
try_reserve(struct chat *c, enum aic_idempotency_state *ret_state,
    struct aic_err *err)
{
	struct aic_context_terms terms = chat_context_terms(c);
	struct aic_db_call calls[4], *reserve, *context = NULL, *first = NULL;
	int64_t start = aic_clock_us(), used, reset_in_s;
	enum reserve_result result;
	enum aic_code rc;
	int n = 0;

	if (c->key)
		aic_idempotency_queue_bind(&calls[n++], c->in.telegram_id,
		    c->conf->timezone);
	reserve = &calls[n++];
	bind_reservation(c, reserve);
	if (!c->found.context) {
		context = &calls[n++];
		aic_context_bind(context, c->in.telegram_id, &terms);
	}
	if (c->key) {
		first = &calls[n++];
		aic_idempotency_bind(first, c->in.telegram_id, c->id,
		    c->digest);
	}
	rc = request_db(c->rq, calls, n, err);
	c->rq->trace.limit_us = aic_clock_us() - start;
	aic_metrics_time(c->metrics, AIC_METRICS_LIMIT, c->rq->trace.limit_us);
	if (rc) {
		chat_set_reservation(c, RESERVATION_UNCERTAIN);
		return RESERVE_FAILED;
	}
	/* For a replay, which does not count: as the day was before. */
	if (c->key && aic_idempotency_queue_read(&calls[0], &used, &reset_in_s))
		request_set_quota(c->rq, used, reset_in_s);
	result = read_reservation(c, reserve);
	aic_db_call_done(reserve);
	if (context) {
		terms = chat_context_terms(c);
		aic_context_read(&c->context, context, &terms);
	}
	if (!first)
		return result;
	aic_db_call_done(&calls[0]);
	if (read_first_chat(c, first, ret_state, err))
		return RESERVE_FAILED;
	return *ret_state == AIC_IDEMPOTENCY_KEPT ? REPLAYED : result;
}

static enum aic_code
fail_still_running(struct aic_err *err)
{
	err->retry_after_s = CROWD_RETRY_AFTER_S;
	aic_says(err, "A request with this Idempotency-Key is still under way");
	return aic_fail(err, AIC_EBUSY,
	    "another chat with this Idempotency-Key was in flight for too "
	    "long");
}

static enum aic_code
wait_until_ended(struct chat *c, struct aic_err *err)
{
	int64_t until = chat_model_deadline(c), pause = POLL_PAUSE_US;
	enum aic_idempotency_state state;
	struct aic_db_call call;
	enum aic_code rc;

	do {
		if (fcgi_gone(c->rq->fcgi))
			return aic_fail(err, AIC_EGONE,
			    "the caller disconnected while another chat with "
			    "this Idempotency-Key was in flight");
		if (aic_clock_us() + pause > until)
			return fail_still_running(err);
		aic_clock_sleep(aic_clock_us() + pause);
		if (pause < POLL_PAUSE_MAX_US)
			pause *= 2;
		request_stage(c->rq, "waiting for the first chat of this key");
		aic_idempotency_bind(&call, c->in.telegram_id, c->id,
		    c->digest);
		rc = request_db(c->rq, &call, 1, err);
		if (rc)
			return rc;
		state = aic_idempotency_read(&call).state;
		aic_db_call_done(&call);
	} while (state == AIC_IDEMPOTENCY_RUNNING);
	/* The other chat failed too late: this chat has no time left for a call
	 * of the model. */
	if (state == AIC_IDEMPOTENCY_NONE &&
	    until - aic_clock_us() < AIC_RETRY_LEAST_US)
		return fail_still_running(err);
	return AIC_OK;
}

/* Wait until the other chat of this key has ended, with or without an
 * answer. */
static enum aic_code
wait_for_first_chat(struct chat *c, struct aic_err *err)
{
	enum aic_code rc;

	rc = worker_enter_wait(c->worker, err);
	if (rc)
		return rc;
	rc = wait_until_ended(c, err);
	worker_leave_wait(c->worker);
	return rc;
}

static enum aic_code
read_limit(struct chat *c, struct aic_err *err)
{
	const struct aic_conf *conf = c->conf;
	struct aic_db_call call;
	enum aic_code rc;

	c->reservation.observed_us = aic_clock_us();
	aic_limit_peek_bind(&call, c->in.telegram_id, conf->timezone);
	rc = request_db(c->rq, &call, 1, err);
	if (rc)
		return rc;
	rc = aic_limit_peek_read(&call, conf->daily_limit, &c->rq->limit, err);
	aic_db_call_done(&call);
	c->rq->limit.at_once = conf->user_concurrency;
	return rc;
}

static enum aic_code
refuse_chat(struct chat *c, struct aic_err *err)
{
	struct aic_limit_state *s = &c->rq->limit;

	if (!aic_limit_is_used_up(s) && (s->at_once || s->limit == 0)) {
		err->retry_after_s = CROWD_RETRY_AFTER_S;
		return aic_fail(err, AIC_ECROWD,
		    "user has %lld chats in flight, the maximum",
		    (long long)s->at_once);
	}
	chat_cache_note_refusal(c);
	/* If a chat ended between the refusal and read_limit(), `used' is below
	 * the limit. The second try was refused as well, so report the limit as
	 * reached. */
	if (s->used < s->limit)
		s->used = s->limit;
	request_set_quota(c->rq, s->used, s->reset_in_s);
	err->retry_after_s = (int)s->reset_in_s;
	return aic_fail(err, AIC_ELIMIT, "the daily limit is used up");
}

/* Redis has a refusal for the day, and the request has a key. One query without
 * a lock checks whether there is another chat of the key. If there is none, the
 * chat is refused. */
static enum aic_code
refuse_unless_repeat(struct chat *c, struct aic_err *err)
{
	enum aic_idempotency_state state;
	struct aic_db_call call;
	enum aic_code rc;

	aic_idempotency_bind(&call, c->in.telegram_id, c->id, c->digest);
	rc = request_db(c->rq, &call, 1, err);
	if (rc)
		return rc;
	state = aic_idempotency_read(&call).state;
	aic_db_call_done(&call);
	return state == AIC_IDEMPOTENCY_NONE ? refuse_chat(c, err) : AIC_OK;
}

enum reserve_result
reserve_chat(struct chat *c, struct aic_err *err)
{
	const struct aic_limit_state *s = &c->rq->limit;
	enum aic_idempotency_state first = AIC_IDEMPOTENCY_NONE;
	enum reserve_result result;
	bool again = false;

	if (c->found.refused && refuse_unless_repeat(c, err))
		return RESERVE_FAILED;
	for (;;) {
		result = try_reserve(c, &first, err);
		if (result == RESERVED)
			return check_context(c, err) ? RESERVE_FAILED : result;
		if (result != REFUSED)
			return result;
		if (first == AIC_IDEMPOTENCY_RUNNING) {
			if (wait_for_first_chat(c, err))
				return RESERVE_FAILED;
			request_stage(c->rq, "reserving a chat");
			continue;
		}
		/* Read the reason of the refusal, which the response contains.
		 * Since the refusal a chat in flight can have ended, or a new
		 * day can have begun: then a second try succeeds. */
		if (read_limit(c, err))
			return RESERVE_FAILED;
		if (again || aic_limit_is_used_up(s) ||
		    (s->at_once && s->reservations >= s->at_once)) {
			refuse_chat(c, err);
			return RESERVE_FAILED;
		}
		again = true;
	}
}

enum reserve_result
reserve_again(struct chat *c, struct aic_err *err)
{
	enum aic_idempotency_state first;

	/* Other exchanges can have been saved meanwhile. The context is loaded
	 * again, because chat_cache_note_saved() stores it together with this
	 * exchange. */
	c->found.context = false;
	return try_reserve(c, &first, err);
}

/* True: the database has released the reservation. */
static bool
release_now(struct chat *c)
{
	struct aic_err err = AIC_ERR_INIT;
	struct aic_db_call call;

	/* The release has database time of its own; the name in the log
	 * stays. */
	request_stage(c->rq, c->rq->trace.doing);
	aic_limit_release_bind(&call, c->in.telegram_id, c->id);
	if (request_db(c->rq, &call, 1, &err)) {
		aic_log_event(AIC_LOG_WARN, "lease",
		    "could not release a reservation: %s", err.detail);
		return false;
	}
	aic_db_call_done(&call);
	return true;
}

void
reserve_done(struct chat *c)
{
	enum reservation_state state = c->reservation.state;

	if (state != RESERVATION_HELD && state != RESERVATION_UNCERTAIN)
		return;
	/* When the statement that reserves got no answer, the chat has spent
	 * its time for the database already, so the release is queued. */
	if (state == RESERVATION_UNCERTAIN || !release_now(c))
		worker_release_later(c->worker, c->in.telegram_id, c->id,
		    c->rq->deadline_us + AIC_LIMIT_SPARE_MS * AIC_MS);
	chat_set_reservation(c, RESERVATION_SETTLED);
}
