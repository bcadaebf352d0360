#include "config.h"

#include "app/worker/save_chat.h"

#include <string.h>

#include "app/worker/chat_cache.h"
#include "app/worker/reserve.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/save.h"

/* A save that finds its reservation gone takes a new one; that can happen again
 * only when the worker is frozen again. */
#define SAVES_MAX 3

/* Between two looks at what became of a save, when the first one failed. */
#define SETTLE_PAUSE_US (50 * AIC_MS)

/* --- paid in vain ------------------------------------------------------ */

static enum aic_code
refuse(int64_t wait_us, struct aic_err *err)
{
	err->retry_after_s = (int)((wait_us + AIC_S - 1) / AIC_S);
	aic_says(err, "Answers cannot be saved now");
	return aic_fail(err, AIC_EDB,
	    "the last chats could not be saved, so the model is not asked");
}

enum aic_code
save_chat_check(struct chat *c, struct aic_err *err)
{
	int64_t wait_us;

	if (c->paid)
		return AIC_OK;
	wait_us = aic_breaker_wait(&c->worker->saves, aic_clock_us());
	return wait_us > 0 ? refuse(wait_us, err) : AIC_OK;
}

enum aic_code
save_chat_admit(struct chat *c, struct aic_err *err)
{
	int64_t wait_us;

	if (c->paid)
		return AIC_OK;
	wait_us = aic_breaker_enter(&c->worker->saves, aic_clock_us(),
	    c->rq->deadline_us, &c->save_round);
	if (wait_us > 0)
		return refuse(wait_us, err);
	c->admitted = true;
	return AIC_OK;
}

static void
leave(struct chat *c, enum aic_breaker_verdict verdict)
{
	enum aic_breaker_change change;

	/* A success counts even where this chat was not the breaker's trial. */
	if (!c->admitted && verdict != AIC_BREAKER_WELL)
		return;
	c->admitted = false;
	change = aic_breaker_leave(&c->worker->saves, c->save_round, verdict,
	    aic_clock_us());
	if (change == AIC_BREAKER_OPENED)
		aic_log_event(AIC_LOG_ERROR, "breaker",
		    "%d chats in a row could not be saved: one at a time is "
		    "tried, each %d ms, and the others are refused",
		    WORKER_SAVES_FAILED, WORKER_SAVES_OPEN_MS);
	else if (change == AIC_BREAKER_CLOSED)
		aic_log_event(AIC_LOG_INFO, "breaker",
		    "chats can be saved again");
}

void
save_chat_find(struct chat *c)
{
	if (!c->key || c->paid)
		return;
	c->answer.text = unsaved_take(c->worker->unsaved, c->in.telegram_id,
	    c->digest, &c->answer.tokens, aic_clock_us());
	c->paid = c->answer.text != NULL;
}

/* A repeat of the chat gets the reservation as soon as it is given back: until then
 * the answer has to be where the repeat finds it. */
static void
put_by(struct chat *c)
{
	if (!c->paid)
		return;
	chat_cache_note_unsaved(c);
	unsaved_keep(c->worker->unsaved, c->in.telegram_id, c->digest,
	    c->answer.text, c->answer.tokens, aic_clock_us());
	c->answer.text = NULL;
	c->paid = false;
}

void
save_chat_done(struct chat *c)
{
	leave(c, AIC_BREAKER_NEUTRAL);
	put_by(c);
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
		.lease = c->reservation.row,
		.message = c->in.message,
		.response = c->answer.text,
		.tokens = c->answer.tokens,
		.digest = c->key ? c->digest : NULL,
		.limit = c->conf->daily_limit,
		.early_ms = c->reservation.lapse_ms -
		    (c->rq->stage_end_us - c->reservation.held_us) / AIC_MS };
	struct aic_db_call call;
	enum saved rc;

	aic_save_bind(&call, &s);
	if (request_db(c->rq, &call, 1, err))
		return UNKNOWN;
	rc = aic_save_read(&call, &c->remaining) ? SAVED : NO_LEASE;
	aic_db_call_done(&call);
	/* Used up, or gone without our doing. */
	chat_set_reservation(c, RESERVATION_SETTLED);
	return rc;
}

/* The reservation is not there: was it used up by an earlier try of this save
 * (SAVED), or has it lapsed (NO_LEASE)? */
static enum saved
find(struct chat *c, struct aic_err *err)
{
	struct aic_db_call calls[2];
	enum saved rc;

	aic_save_find_bind(calls, c->in.telegram_id, c->id);
	if (request_db(c->rq, calls, 2, err))
		return UNKNOWN;
	rc = aic_save_find_read(calls, &c->remaining) ? SAVED : NO_LEASE;
	aic_db_call_done(&calls[0]);
	aic_db_call_done(&calls[1]);
	return rc;
}

static enum saved
hold_again(struct chat *c, struct aic_err *err)
{
	if (reserve_again(c, err))
		return UNKNOWN;
	/* Meanwhile another one of this key has been answered. */
	if (c->rq->replayed)
		return SAVED;
	return c->reservation.state == RESERVATION_HELD ? NO_LEASE : NO_SLOT;
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

	request_stage(c->rq, "finding out what became of the save");
	while (rc == UNKNOWN && aic_clock_us() < c->rq->stage_end_us) {
		aic_limit_release_bind(&call, c->in.telegram_id, c->id);
		if (request_db(c->rq, &call, 1, &ignored)) {
			aic_clock_sleep(aic_clock_us() + SETTLE_PAUSE_US);
			continue;
		}
		aic_db_call_done(&call);
		chat_set_reservation(c, RESERVATION_SETTLED);
		rc = find(c, &ignored);
	}
	return rc;
}

static bool
is_away(const struct chat *c)
{
	return aic_db_look(c->worker->db).down;
}

/*
 * What a save that failed says of the saves of others.
 *
 * A refusal: its SQLSTATE decides. A lock that could not be taken in time is that of the
 * user's row, unless settle() has changed this row meanwhile: then the table of exchanges is locked.
 *
 * No answer: where settle() has had one, which took a commit that waited for the disk,
 * the server was restarted, or was busy for a while. Where connecting fails, it is away,
 * and no further chat gets a reservation; as soon as it is back, chats go on. Otherwise
 * it serves us and its commits do not end: its disk hangs, or a standby that they wait
 * for is gone. Reservations do not wait for such commits, so all chats would be paid
 * in vain. But where another save has succeeded meanwhile, only one connection hangs; and
 * of one user several saves may wait together for his row, so they count once.
 *
 * start_us  when the save began
 * settled   NO_SLOT where it was not asked
 * away      the database was before it was asked
 */
static enum aic_breaker_verdict
judge(const struct chat *c, int64_t start_us, enum saved settled, bool away,
    const struct aic_err *err)
{
	struct worker *w = c->worker;
	bool failed;

	if (err->code != AIC_EDB)
		return AIC_BREAKER_NEUTRAL;
	if (strcmp(err->sqlstate, AIC_DB_LOCKED) == 0)
		failed = settled == NO_LEASE;
	else if (*err->sqlstate)
		failed = aic_db_concerns_all(err->sqlstate);
	else
		failed = settled == UNKNOWN && !away && !is_away(c) &&
		    atomic_load(&w->saved_us) < start_us &&
		    atomic_exchange(&w->hung_user, c->in.telegram_id) !=
			c->in.telegram_id;
	return failed ? AIC_BREAKER_FAILED : AIC_BREAKER_NEUTRAL;
}

enum aic_code
save_chat_run(struct chat *c, struct aic_err *err)
{
	int64_t start = aic_clock_us();
	enum saved rc, settled = NO_SLOT;
	bool away = false;
	int i;

	for (i = 0; i < SAVES_MAX; i++) {
		rc = save_once(c, err);
		if (rc == NO_LEASE)
			rc = find(c, err);
		if (rc == UNKNOWN) {
			away = is_away(c);
			put_by(c);
			settled = settle(c);
			rc = settled == SAVED ? SAVED : UNKNOWN;
			if (rc == SAVED)
				save_chat_find(c);
		}
		if (rc == NO_LEASE) {
			aic_metrics_lapse(c->metrics);
			rc = hold_again(c, err);
		}
		if (rc != NO_LEASE)
			break;
	}
	c->rq->trace.save_us = aic_clock_us() - start;
	aic_metrics_time(c->metrics, AIC_METRICS_SAVE, c->rq->trace.save_us);
	switch (rc) {
	case SAVED:
		atomic_store(&c->worker->saved_us, aic_clock_us());
		leave(c, AIC_BREAKER_WELL);
		c->paid = false;
		return AIC_OK;
	case UNKNOWN:
		c->rq->perhaps_saved = settled == UNKNOWN;
		leave(c, judge(c, start, settled, away, err));
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
