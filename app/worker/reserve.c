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

/* Between two looks at the chat that came first under the same key: at first as long
 * as a quick model takes, later so that hundreds who wait cost little. */
#define FIRST_PAUSE_US (50 * AIC_MS)
#define FIRST_PAUSE_MOST_US (400 * AIC_MS)

/* Chats take seconds, so one of the user's will soon be over. */
#define CROWD_RETRY_AFTER_S 2

static void
hold_ask(struct chat *c, struct aic_db_call *call)
{
	const struct aic_conf *conf = c->conf;
	int64_t left_ms = (c->rq->deadline_us - aic_clock_us()) / AIC_MS;
	struct aic_limit_reserve h = { .telegram_id = c->in.telegram_id,
		.chat_id = c->id,
		.of_key = c->key,
		.zone = conf->timezone,
		.lapse_ms = (left_ms > 0 ? left_ms : 0) + AIC_LIMIT_SPARE_MS,
		.limit = conf->daily_limit,
		.at_once = conf->user_concurrency,
		.since = *c->reservation.since ? c->reservation.since : NULL };

	aic_limit_reserve_bind(call, &h);
	c->reservation.lapse_ms = h.lapse_ms;
}

/*
 * The key has its answer, and it is this chat's too; a reservation, if there is one
 * all the same, is given back. What was read may have been committed without waiting
 * for the disk, and must not be told before it is safe. A refusal has waited for the
 * disk itself, for it has taken the row's lock; a reservation has not.
 */
static enum aic_code
replay(struct chat *c, const struct aic_idempotency *first, struct aic_err *err)
{
	struct aic_db_call call;
	enum aic_code rc;

	if (first->state == AIC_IDEMPOTENCY_OTHER)
		return aic_fault(err, "idempotency_key_reused", "header",
		    AIC_IDEMPOTENCY_HEADER,
		    "This key came with another body before");
	free(c->answer.text);
	c->paid = false;
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

/* The key's own part of a reservation, in the same batch. */
static enum aic_code
look_at_first(struct chat *c, struct aic_db_call *call,
    enum aic_idempotency_state *ret_state, struct aic_err *err)
{
	struct aic_idempotency first = aic_idempotency_read(call);
	enum aic_code rc = AIC_OK;

	*ret_state = first.state;
	if (first.state == AIC_IDEMPOTENCY_KEPT ||
	    first.state == AIC_IDEMPOTENCY_OTHER)
		rc = replay(c, &first, err);
	aic_db_call_done(call);
	return rc;
}

/* What Redis had was not the newest. */
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

/* Only the reservation tells of which version the context has to be. */
static enum aic_code
check_context(struct chat *c, struct aic_err *err)
{
	bool newest = chat_cache_is_newest(c);

	if (c->worker->cache)
		aic_metrics_recall(c->metrics, AIC_METRICS_RECALL_CONTEXT,
		    c->found.context && newest);
	if (!c->found.context || newest)
		return AIC_OK;
	c->found.context = false;
	return load_context(c, err);
}

static void
got_slot(struct chat *c, const struct aic_db_call *call)
{
	c->reservation.held_us = aic_clock_us();
	if (!aic_limit_reserve_read(call, c->reservation.row)) {
		chat_set_reservation(c, RESERVATION_NONE);
		return;
	}
	chat_set_reservation(c, RESERVATION_HELD);
	if (!*c->reservation.since)
		aic_limit_reserve_since(call, c->reservation.since);
	aic_limit_reserve_context(call, c->context_version,
	    &c->context_from_us);
}

/*
 * One try to reserve: the reservation is HELD, or rq->replayed is set, or neither. The context comes along,
 * unless there is a copy of it, and so does what became of the first chat of this key:
 * one round trip.
 *
 * ret_state  of that first chat; set when there is a key
 */
static enum aic_code
hold(struct chat *c, enum aic_idempotency_state *ret_state, struct aic_err *err)
{
	struct aic_context_terms terms = chat_context_terms(c);
	struct aic_db_call calls[4], *slot, *context = NULL, *first = NULL;
	int64_t start = aic_clock_us();
	enum aic_code rc;
	int n = 0;

	if (c->key)
		aic_idempotency_queue_bind(&calls[n++], c->in.telegram_id);
	slot = &calls[n++];
	hold_ask(c, slot);
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
		return rc;
	}
	got_slot(c, slot);
	aic_db_call_done(slot);
	if (context) {
		terms = chat_context_terms(c);
		aic_context_read(&c->context, context, &terms);
	}
	if (!first)
		return AIC_OK;
	aic_db_call_done(&calls[0]);
	return look_at_first(c, first, ret_state, err);
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
	int64_t until = chat_model_deadline(c), pause = FIRST_PAUSE_US;
	enum aic_idempotency_state state;
	struct aic_db_call call;
	enum aic_code rc;

	do {
		if (fcgi_gone(c->rq->fcgi))
			return aic_fail(err, AIC_EGONE,
			    "the caller left while another chat of this key "
			    "was under way");
		if (aic_clock_us() + pause > until)
			return still_under_way(err);
		aic_clock_sleep(aic_clock_us() + pause);
		if (pause < FIRST_PAUSE_MOST_US)
			pause *= 2;
		request_stage(c->rq, "waiting for the first of this key");
		aic_idempotency_bind(&call, c->in.telegram_id, c->id,
		    c->digest);
		rc = request_db(c->rq, &call, 1, err);
		if (rc)
			return rc;
		state = aic_idempotency_read(&call).state;
		aic_db_call_done(&call);
	} while (state == AIC_IDEMPOTENCY_RUNNING);
	/* It failed so late that there is no time to take its place. */
	if (state == AIC_IDEMPOTENCY_NONE &&
	    until - aic_clock_us() < AIC_RETRY_LEAST_US)
		return still_under_way(err);
	return AIC_OK;
}

/* Until the first chat of this key is over, whatever came of it. */
static enum aic_code
wait_for_first(struct chat *c, struct aic_err *err)
{
	enum aic_code rc;

	rc = worker_enter_wait(c->worker, err);
	if (rc)
		return rc;
	rc = wait_until_over(c, err);
	worker_leave_wait(c->worker);
	return rc;
}

static enum aic_code
peek(struct chat *c, struct aic_err *err)
{
	const struct aic_conf *conf = c->conf;
	struct aic_db_call call;
	enum aic_code rc;

	c->reservation.looked_us = aic_clock_us();
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
refuse(struct chat *c, struct aic_err *err)
{
	struct aic_limit_state *s = &c->rq->limit;

	if (!aic_limit_is_used_up(s) && (s->at_once || s->limit == 0)) {
		err->retry_after_s = CROWD_RETRY_AFTER_S;
		return aic_fail(err, AIC_ECROWD,
		    "as many chats of the user as may be are under way");
	}
	chat_cache_note_refusal(c);
	/* One that became free this moment, and was not to be had. */
	if (s->used < s->limit)
		s->used = s->limit;
	err->retry_after_s = (int)s->reset_in_s;
	return aic_fail(err, AIC_ELIMIT, "the day is used up");
}

/* A day that Redis knows to be used up, and a key: one look, without a lock, tells
 * whether there is a chat of it. */
static enum aic_code
look_before(struct chat *c, struct aic_err *err)
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
	return state == AIC_IDEMPOTENCY_NONE ? refuse(c, err) : AIC_OK;
}

enum aic_code
reserve_chat(struct chat *c, struct aic_err *err)
{
	const struct aic_limit_state *s = &c->rq->limit;
	enum aic_idempotency_state first = AIC_IDEMPOTENCY_NONE;
	bool again = false;
	enum aic_code rc;

	if (c->found.used_up) {
		rc = look_before(c, err);
		if (rc)
			return rc;
	}
	for (;;) {
		rc = hold(c, &first, err);
		if (rc || c->rq->replayed)
			return rc;
		if (c->reservation.state == RESERVATION_HELD)
			return check_context(c, err);
		if (first == AIC_IDEMPOTENCY_RUNNING) {
			rc = wait_for_first(c, err);
			if (rc)
				return rc;
			request_stage(c->rq, "reserving a chat");
			continue;
		}
		/* Why not; the answer tells. Since the refusal a chat in flight
		 * may have ended, or a new day begun: then there is one left after
		 * all. */
		rc = peek(c, err);
		if (rc)
			return rc;
		if (again || aic_limit_is_used_up(s) ||
		    (s->at_once && s->live >= s->at_once))
			return refuse(c, err);
		again = true;
	}
}

enum aic_code
reserve_again(struct chat *c, struct aic_err *err)
{
	enum aic_idempotency_state first;

	/* Only the newest will do, for it is what the save is put after. */
	c->found.context = false;
	return hold(c, &first, err);
}

/* True: the database has released it. */
static bool
release_now(struct chat *c)
{
	struct aic_err err = AIC_ERR_INIT;
	struct aic_db_call call;

	request_stage(c->rq, c->rq->trace.doing);
	aic_limit_release_bind(&call, c->in.telegram_id, c->id);
	if (request_db(c->rq, &call, 1, &err)) {
		aic_log_event(AIC_LOG_WARN, "lease",
		    "a reservation could not be given back: %s", err.detail);
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
	/* A database that did not answer the statement that reserves has had its time
	 * already. */
	if (state == RESERVATION_UNCERTAIN || !release_now(c))
		worker_release_later(c->worker, c->in.telegram_id, c->id,
		    c->rq->deadline_us + AIC_LIMIT_SPARE_MS * AIC_MS);
	chat_set_reservation(c, RESERVATION_SETTLED);
}
