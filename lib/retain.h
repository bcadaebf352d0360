/*
 * retain -- how long things are kept: pruning what is old, and forgetting a person.
 *
 * Both work beside a busy service. What is deleted goes in small batches, each a
 * short transaction of its own; nothing waits for a lock that a chat or another
 * prune holds, and the pauses leave the database to the chats. Stopped or killed at
 * any point, what is done is done, and the next run goes on from there. Any number
 * may run at once.
 *
 * It is for a command line tool or a timer, and no stage of a chat. Not here: which
 * days, when, and by whose wish. Logs, backups and whoever else was told something
 * (the model's provider) keep what they have.
 *
 * Threads: any.
 */
#ifndef AIC_RETAIN_H
#define AIC_RETAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/db.h"
#include "lib/err.h"

/* A day is what a repeat under an Idempotency-Key can count on. */
#define AIC_RETAIN_DAYS_MIN 1
#define AIC_RETAIN_DAYS_MAX 36500

#define AIC_RETAIN_BATCH_MAX 10000 /* rows looked at in one transaction */

struct aic_retain_done {
	int64_t exchanges; /* deleted */
	int64_t users; /* rows of ai_chat_daily_limits, deleted */
	int64_t seen; /* rows looked at */
	int64_t batches;
	int64_t batch_us; /* that the last one took */
	bool complete; /* false: stopped before the end */
};

struct aic_retain {
	int64_t days; /* what is older goes; AIC_RETAIN_DAYS_MIN.. */
	int batch; /* rows; 0: 1000 */
	int64_t pause_us; /* between two batches, at least; 0: 10 ms */
	/*
	 * Look at all exchanges. Else the walk ends where they are young: ids grow
	 * with time. What another writer has put in late, with an old created_at, is
	 * found when its neighbours are old; a walk over all finds it now.
	 */
	bool all;
	/* Told after each batch how far it is; false stops. NULL: none. */
	bool (*go_on)(const struct aic_retain_done *done, void *arg);
	void *arg; /* borrowed */
};

/*
 * aic_retain_prune -- delete the exchanges that are older than so many days, and
 * the counters of users who were not seen for as long and have nothing in flight.
 *
 * A user whose counter went and who comes back gets a new one. It gives nobody a
 * second allowance: a counter of today's date is never deleted, whichever zone's
 * today it is, nor one of yesterday's.
 *
 * deadline_us  for all of it
 * ret_done  set always: what was done up to a failure, too. At least so much: what
 *           the database did and could not say any more is not in it.
 *
 * The deadline is no failure: then ret_done->complete is false.
 *
 * Errors:   AIC_EBUG  days or batch out of range; AIC_EDB, AIC_ENOMEM
 * Blocks:   until the deadline at most; a pause is three times as long as the
 *           batch before it took, and pause_us at least
 */
enum aic_code aic_retain_prune(struct aic_db *db, const struct aic_retain *r,
    int64_t deadline_us, struct aic_retain_done *ret_done,
    struct aic_err *err) AIC_MUST_CHECK;

struct aic_forgotten {
	int64_t exchanges; /* deleted; at least, as above */
	bool known; /* there was a counter */
	bool counter_kept; /* for it is of these days */
};

/*
 * aic_retain_forget -- delete all that is kept of a person.
 *
 * There is one moment at which it happens: what was stored before it is gone, and
 * chats that are in flight then are not stored when they come back; their callers
 * get a 503. One that was saved at that very moment may be told the same, and is
 * counted. A chat that begins after it is a new beginning.
 *
 * The counter of today stays: else everybody could have a second allowance by asking
 * to be forgotten. It says how many, and no more: not since when, nor what is in
 * flight. A prune of any days deletes it two days later, unless there was a new chat.
 *
 * telegram_id  1..
 * deadline_us  for all of it
 * ret       set on AIC_OK
 *
 * Errors:   AIC_EDB  not done, or not known to be: run it again, twice is once;
 *           AIC_ENOMEM
 * Blocks:   until the deadline at most; on a chat of the same person that is being
 *           saved, as that one would on this
 */
enum aic_code
aic_retain_forget(struct aic_db *db, int64_t telegram_id, int64_t deadline_us,
    struct aic_forgotten *ret, struct aic_err *err) AIC_MUST_CHECK;

#endif
