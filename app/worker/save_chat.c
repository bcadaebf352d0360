#include "config.h"

#include "app/worker/save_chat.h"

#include <string.h>

#include "app/worker/chat_cache.h"
#include "app/worker/reserve.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/save.h"

/* A save whose reservation has lapsed makes a new reservation. Two attempts are
 * enough, unless the process is suspended once more. */
#define SAVES_MAX 3

/* The pause between two attempts to find the outcome of a save. */
#define OUTCOME_PAUSE_US (50 * AIC_MS)

/* --- the circuit breaker of saves ---------------------------------------- */

static enum aic_code
refuse_chat(int64_t wait_us, struct aic_err *err)
{
	err->retry_after_s = (int)((wait_us + AIC_S - 1) / AIC_S);
	aic_says(err, "Answers cannot be saved now");
	return aic_fail(err, AIC_EDB,
	    "the circuit breaker for saves is open, the model was not called");
}

enum aic_code
save_chat_check(struct chat *c, struct aic_err *err)
{
	int64_t wait_us;

	if (c->has_unsaved)
		return AIC_OK;
	wait_us = aic_breaker_wait(&c->worker->saves, aic_clock_us());
	return wait_us > 0 ? refuse_chat(wait_us, err) : AIC_OK;
}

enum aic_code
save_chat_admit(struct chat *c, struct aic_err *err)
{
	int64_t wait_us;

	if (c->has_unsaved)
		return AIC_OK;
	wait_us = aic_breaker_enter(&c->worker->saves, aic_clock_us(),
	    c->rq->deadline_us, &c->save_round);
	if (wait_us > 0)
		return refuse_chat(wait_us, err);
	c->admitted = true;
	return AIC_OK;
}

static void
leave_breaker(struct chat *c, enum aic_breaker_verdict verdict)
{
	enum aic_breaker_change change;

	/* A success closes the breaker even when this chat was not its
	 * trial. */
	if (!c->admitted && verdict != AIC_BREAKER_WELL)
		return;
	c->admitted = false;
	change = aic_breaker_leave(&c->worker->saves, c->save_round, verdict,
	    aic_clock_us());
	if (change == AIC_BREAKER_OPENED)
		aic_log_event(AIC_LOG_ERROR, "breaker",
		    "circuit breaker for saves opened: %d chats in a row could "
		    "not be saved, one trial every %d ms",
		    WORKER_SAVES_FAILED, WORKER_SAVES_OPEN_MS);
	else if (change == AIC_BREAKER_CLOSED)
		aic_log_event(AIC_LOG_INFO, "breaker",
		    "circuit breaker for saves closed");
}

void
save_chat_take_unsaved(struct chat *c)
{
	if (!c->key || c->has_unsaved)
		return;
	c->answer.text = unsaved_take(c->worker->unsaved, c->in.telegram_id,
	    c->digest, &c->answer.tokens, aic_clock_us());
	c->has_unsaved = c->answer.text != NULL;
}

/* Keep the answer for a repeat with the same key. The answer must be in the
 * memory of this worker before the reservation is released, because a repeat
 * that waits for the reservation at this worker takes the answer then. Redis
 * receives the answer only after the response. */
static void
keep_for_repeat(struct chat *c)
{
	if (!c->has_unsaved)
		return;
	chat_cache_note_unsaved(c);
	unsaved_keep(c->worker->unsaved, c->in.telegram_id, c->digest,
	    c->answer.text, c->answer.tokens, aic_clock_us());
	c->answer.text = NULL;
	c->has_unsaved = false;
}

void
save_chat_done(struct chat *c)
{
	leave_breaker(c, AIC_BREAKER_NEUTRAL);
	keep_for_repeat(c);
}

/* --- saving ------------------------------------------------------------ */

enum save_outcome {
	NOT_ASKED, /* find_outcome() was not called */
	SAVED,
	NOT_SAVED, /* the exchange is not stored, and there is no error */
	TRY_AGAIN, /* not stored; there is a new reservation */
	NOT_RESERVED, /* not stored; a new reservation was refused */
	UNKNOWN, /* a statement failed: refused, or not answered; err is set */
};

static enum save_outcome
save_once(struct chat *c, struct aic_err *err)
{
	struct aic_save s = { .telegram_id = c->in.telegram_id,
		.reservation = c->reservation.row,
		.message = c->in.message,
		.response = c->answer.text,
		.tokens = c->answer.tokens,
		.digest = c->key ? c->digest : NULL,
		.limit = c->conf->daily_limit,
		.early_ms = c->reservation.lapse_ms -
		    (c->rq->stage_end_us - c->reservation.made_us) / AIC_MS };
	struct aic_db_call call;
	enum save_outcome rc;

	aic_save_bind(&call, &s);
	if (request_db(c->rq, &call, 1, err))
		return UNKNOWN;
	rc = aic_save_read(&call, &c->remaining) ? SAVED : NOT_SAVED;
	aic_db_call_done(&call);
	/* The save has used the reservation up; or the row no longer had the
	 * reservation; or the save came too late for it (early_ms). */
	chat_set_reservation(c, RESERVATION_SETTLED);
	return rc;
}

/* Called when a save has changed nothing. SAVED: an earlier run of this save
 * was committed, although its reply was lost. */
static enum save_outcome
find_saved(struct chat *c, struct aic_err *err)
{
	struct aic_db_call calls[2];
	enum save_outcome rc;

	aic_save_find_bind(calls, c->in.telegram_id, c->id);
	if (request_db(c->rq, calls, 2, err))
		return UNKNOWN;
	rc = aic_save_find_read(calls, &c->remaining) ? SAVED : NOT_SAVED;
	aic_db_call_done(&calls[0]);
	aic_db_call_done(&calls[1]);
	return rc;
}

/* Called when the reservation has lapsed before the save. */
static enum save_outcome
renew_reservation(struct chat *c, struct aic_err *err)
{
	switch (reserve_again(c, err)) {
	case RESERVED:
		return TRY_AGAIN;
	case REPLAYED:
		return SAVED; /* another chat of this key was, meanwhile */
	case REFUSED:
		return NOT_RESERVED;
	case RESERVE_FAILED:
		break;
	}
	return UNKNOWN;
}

/*
 * Find out whether an exchange was saved, after a statement of the save has
 * failed: the database refused it, or did not answer.
 *
 * First the reservation is released: a save that has not happened yet cannot
 * happen afterwards, because a save needs the reservation. Then the row of the
 * exchange shows whether the save has happened. Whether the release found a
 * reservation does not show that: a delayed statement that reserves can have
 * made the reservation again after a save has consumed it.
 *
 * A caller that receives "not saved" must be able to rely on that, so the
 * attempts continue until the stage has no time left.
 */
static enum save_outcome
find_outcome(struct chat *c)
{
	struct aic_err ignored = AIC_ERR_INIT;
	struct aic_db_call call;
	enum save_outcome rc = UNKNOWN;

	request_stage(c->rq, "checking the result of the save");
	while (rc == UNKNOWN && aic_clock_us() < c->rq->stage_end_us) {
		aic_limit_release_bind(&call, c->in.telegram_id, c->id);
		if (request_db(c->rq, &call, 1, &ignored)) {
			aic_clock_sleep(aic_clock_us() + OUTCOME_PAUSE_US);
			continue;
		}
		aic_db_call_done(&call);
		chat_set_reservation(c, RESERVATION_SETTLED);
		rc = find_saved(c, &ignored);
	}
	return rc;
}

static bool
is_down(const struct chat *c)
{
	return aic_db_look(c->worker->db).down;
}

/*
 * What a failed save says about the saves of other chats.
 *
 * The database refused: the SQLSTATE decides. A lock timeout concerns the lock
 * of the user's row, unless find_outcome() has changed that row meanwhile
 * (NOT_SAVED): then the table of exchanges is locked, which concerns all users.
 *
 * The database did not answer. There are three cases:
 *
 * 1. find_outcome() got an answer, for which a commit has waited for the disk:
 *    the server was restarted or was busy for a while. Saves work again.
 * 2. Connecting fails: the database is down. No other chat gets a reservation,
 *    and chats continue as soon as the database is up.
 * 3. Otherwise the server answers statements, but its commits do not end: the
 *    disk hangs, or a synchronous standby is missing. Reservations do not wait
 *    for such commits, so all chats would pay for the model in vain. This is a
 *    failure.
 *
 * In the third case a save of another chat that has succeeded meanwhile shows
 * that only one connection hangs. Several saves of one user can wait together
 * for that user's row, so consecutive failures of the same user count once.
 *
 * start_us  when the save began
 * outcome   of find_outcome()
 * was_down  the database was down before find_outcome() was called
 */
static enum aic_breaker_verdict
judge_failure(const struct chat *c, int64_t start_us, enum save_outcome outcome,
    bool was_down, const struct aic_err *err)
{
	struct worker *w = c->worker;
	bool failed;

	if (err->code != AIC_EDB)
		return AIC_BREAKER_NEUTRAL;
	if (strcmp(err->sqlstate, AIC_DB_LOCKED) == 0)
		failed = outcome == NOT_SAVED;
	else if (*err->sqlstate)
		failed = aic_db_concerns_all(err->sqlstate);
	else
		failed = outcome == UNKNOWN && !was_down && !is_down(c) &&
		    atomic_load(&w->saved_us) < start_us &&
		    atomic_exchange(&w->hung_user, c->in.telegram_id) !=
			c->in.telegram_id;
	return failed ? AIC_BREAKER_FAILED : AIC_BREAKER_NEUTRAL;
}

enum aic_code
save_chat_run(struct chat *c, struct aic_err *err)
{
	int64_t start = aic_clock_us();
	enum save_outcome rc, outcome = NOT_ASKED;
	bool was_down = false;
	int i;

	for (i = 0; i < SAVES_MAX; i++) {
		rc = save_once(c, err);
		if (rc == NOT_SAVED)
			rc = find_saved(c, err);
		if (rc == UNKNOWN) {
			was_down = is_down(c);
			keep_for_repeat(c);
			outcome = find_outcome(c);
			rc = outcome == SAVED ? SAVED : UNKNOWN;
			if (rc == SAVED)
				save_chat_take_unsaved(c);
		}
		if (rc == NOT_SAVED) {
			aic_metrics_lapse(c->metrics);
			rc = renew_reservation(c, err);
		}
		if (rc != TRY_AGAIN)
			break;
	}
	c->rq->trace.save_us = aic_clock_us() - start;
	aic_metrics_time(c->metrics, AIC_METRICS_SAVE, c->rq->trace.save_us);
	switch (rc) {
	case SAVED:
		atomic_store(&c->worker->saved_us, aic_clock_us());
		leave_breaker(c, AIC_BREAKER_WELL);
		c->has_unsaved = false;
		return AIC_OK;
	case UNKNOWN:
		c->rq->perhaps_saved = outcome == UNKNOWN;
		leave_breaker(c,
		    judge_failure(c, start, outcome, was_down, err));
		return err->code;
	case TRY_AGAIN: /* reserve_done() releases the last reservation. */
	case NOT_RESERVED:
	default:
		break;
	}
	err->retry_after_s = 1;
	aic_says(err, "The answer came too late to be kept");
	return aic_fail(err, AIC_EBUSY,
	    "the reservation had lapsed and could not be renewed");
}
