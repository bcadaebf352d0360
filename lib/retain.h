/*
 * retain -- retention: prune old data, and erase a user's data.
 *
 * Both run beside a busy service. Rows are deleted in small batches, each in a
 * short transaction of its own. No batch waits for a lock that a chat or
 * another prune holds, and pauses between batches leave the database to the
 * chats. A run that is stopped or killed keeps what it has deleted, and the
 * next run continues from there. Any number of runs can be active at once.
 *
 * The module is for a command line tool or a timer; it is no stage of a chat.
 * The caller decides the retention policy: which days, when, and on whose
 * request. Logs, backups and third parties that received data (the model's
 * provider) are not affected.
 *
 * Threads: any.
 */
#ifndef AIC_RETAIN_H
#define AIC_RETAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/audit.h"
#include "lib/db.h"
#include "lib/err.h"

/* One day is the time for which an Idempotency-Key must be recognised. */
#define AIC_RETAIN_DAYS_MIN 1
#define AIC_RETAIN_DAYS_MAX 36500

#define AIC_RETAIN_BATCH_MAX 10000 /* rows read in one transaction */

struct aic_retain_done {
	int64_t exchanges; /* deleted */
	int64_t users; /* rows of ai_chat_daily_limits, deleted */
	int64_t sums; /* rows of ai_chat_usage_users, deleted */
	int64_t actions; /* rows of ai_chat_audit, deleted */
	int64_t seen; /* rows read */
	int64_t batches;
	int64_t batch_us; /* duration of the last batch */
	bool complete; /* false: stopped before the end */
};

struct aic_retain {
	int64_t days; /* older data are deleted; AIC_RETAIN_DAYS_MIN.. */
	int batch; /* rows; 0: 1000 */
	int64_t pause_us; /* between two batches, at least; 0: 10 ms */
	/*
	 * Read all exchanges. Otherwise the walk ends where exchanges are
	 * young, because ids grow with time. An exchange that another program
	 * inserted late, with an old created_at, is then found only when its
	 * neighbours are old; a walk over all exchanges finds it now.
	 */
	bool all;
	/*
	 * Called after each batch with the progress; false stops the run. NULL:
	 * none.
	 */
	bool (*go_on)(const struct aic_retain_done *done, void *arg);
	void *arg; /* borrowed */
};

/*
 * aic_retain_prune -- delete exchanges that are older than the given number of
 * days, the counters of users who have had no chat for as long and have no
 * reservation, and the sums of users of earlier days and months. The sums over
 * all users stay. The record of the actions of operators is kept for
 * AIC_AUDIT_DAYS, and for as many days as the exchanges if these are more.
 *
 * A user whose counter was deleted and who returns gets a new counter. This
 * never gives a user a second limit: a counter of today or of yesterday is
 * never deleted, in any time zone.
 *
 * deadline_us  for the whole run
 * ret_done     always set: the progress up to the end, or up to a failure. A
 *              batch whose result was lost may have deleted more.
 *
 * A run that reaches its deadline succeeds; ret_done->complete is then false.
 *
 * Errors:   AIC_EBUG  days or batch out of range; AIC_EDB, AIC_ENOMEM
 * Blocks:   until the deadline at most; a pause is three times as long as the
 *           batch before it took, and at least pause_us
 */
enum aic_code aic_retain_prune(struct aic_db *db, const struct aic_retain *r,
    int64_t deadline_us, struct aic_retain_done *ret_done,
    struct aic_err *err) AIC_MUST_CHECK;

struct aic_forgotten {
	int64_t exchanges; /* deleted; a lower bound, as above */
	bool known; /* the user had a counter */
	bool counter_kept; /* because it is of today or yesterday */
};

/*
 * aic_retain_forget -- erase all data of a user.
 *
 * The erasure takes effect at one moment. Everything that was stored before is
 * deleted. Chats that are in flight at this moment are not stored; their
 * callers get a 503. A chat that is saved at the same moment can get a 503
 * although it is counted. A chat that begins after this moment belongs to a new
 * user.
 *
 * The counter of today stays, because otherwise a user could get a second limit
 * by asking for an erasure. It keeps the count only: the reservations are
 * removed, and the time of the erasure replaces the time at which the user
 * became known. A prune deletes it two days later, whatever its number of days,
 * unless there was a new chat. The sums over all users keep their numbers, and
 * the record of the actions of operators stays.
 *
 * telegram_id  1..
 * audit     the action to record; NULL: none. Borrowed until return
 * deadline_us  for the whole erasure
 * ret          set on AIC_OK
 *
 * Errors:   AIC_EDB  not erased, or unknown; run it again, it is idempotent;
 *           AIC_ENOMEM
 * Blocks:   until the deadline at most; on a chat of the same user that is
 *           being saved, as such a save blocks on the erasure
 */
enum aic_code aic_retain_forget(struct aic_db *db, int64_t telegram_id,
    const struct aic_audit *audit, int64_t deadline_us,
    struct aic_forgotten *ret, struct aic_err *err) AIC_MUST_CHECK;

#endif
