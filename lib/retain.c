#include "config.h"

#include "lib/retain.h"

#include <string.h>

#include "lib/clock.h"
#include "lib/schema.h"

/* 1000 rows take the database about ten milliseconds. */
#define BATCH 1000
#define PAUSE_US (10 * AIC_MS)

/*
 * After so many young exchanges in a row, the rest is considered young. The
 * margin tolerates rows that were written out of order, and costs a run about
 * ten milliseconds.
 */
#define YOUNG_MAX 10000

/* A batch that takes longer than this means that the database is overloaded. */
#define BATCH_US (30 * AIC_S)

/*
 * $1 id, $2 rows, $3 days. Reads the next rows in the order of their ids, and
 * deletes the old ones among them. The order is by id and not by time because
 * the index of the primary key exists already, finds rows that are neighbours
 * in the table, and lets a walk that has stored its place skip the rows that it
 * deleted before.
 *
 * The statement waits for nothing: it skips a row that is locked, which is left
 * to the next run. The commit does not wait for the disk, because rows that
 * reappear after a power failure are deleted again. Idempotent: deleted rows
 * are not found again.
 */
static const struct aic_db_stmt prune_exchanges = {
	"prune_exchanges",
	"WITH seen AS MATERIALIZED (SELECT id,"
	"   created_at < now() - $3::float8 * interval '1 day' AS old"
	"  FROM ai_chat_requests WHERE id > $1::bigint"
	"  ORDER BY id LIMIT $2::int),"
	" old AS MATERIALIZED (SELECT id FROM ai_chat_requests"
	"  WHERE id = ANY (ARRAY(SELECT id FROM seen WHERE old))"
	"  AND created_at < now() - $3::float8 * interval '1 day'"
	"  FOR UPDATE SKIP LOCKED),"
	" gone AS (DELETE FROM ai_chat_requests"
	"  WHERE id = ANY (ARRAY(SELECT id FROM old)) RETURNING id)"
	" SELECT (SELECT count(*) FROM seen), (SELECT max(id) FROM seen),"
	"  (SELECT count(*) FROM gone), (SELECT count(*) FROM seen WHERE old),"
	"  " AIC_SQL_NO_WAIT,
	3,
	NULL,
};

/*
 * $1 id, $2 rows, $3 days. As prune_exchanges. All conditions are in the same
 * SELECT as the lock, so PostgreSQL checks them again on the newest version of
 * a row that a chat has just changed. The day before yesterday in UTC is over
 * in every time zone. A user who was erased has the epoch as the time of the
 * last chat.
 */
static const struct aic_db_stmt prune_users = {
	"prune_users",
	"WITH seen AS MATERIALIZED (SELECT id FROM ai_chat_daily_limits"
	"  WHERE id > $1::bigint ORDER BY id LIMIT $2::int),"
	" old AS MATERIALIZED (SELECT l.id FROM ai_chat_daily_limits l"
	"  WHERE l.id = ANY (ARRAY(SELECT id FROM seen))"
	"  AND l.last_reset_date < (now() AT TIME ZONE 'UTC')::date - 1"
	"  AND coalesce(l.updated_at, l.last_reset_date)"
	"   < now() - $3::float8 * interval '1 day'"
	"  AND NOT EXISTS (SELECT FROM pg_catalog.unnest(l.leases) x"
	"   WHERE x.until > now())"
	"  FOR UPDATE SKIP LOCKED),"
	" gone AS (DELETE FROM ai_chat_daily_limits"
	"  WHERE id = ANY (ARRAY(SELECT id FROM old)) RETURNING id)"
	" SELECT (SELECT count(*) FROM seen), (SELECT max(id) FROM seen),"
	"  (SELECT count(*) FROM gone), (SELECT count(*) FROM old),"
	"  " AIC_SQL_NO_WAIT,
	3,
	NULL,
};

/*
 * $1 not used, $2 rows, $3 days. Deletes the sums of users of days, or of
 * months, that ended before. An index has the rows in the order of the days, so
 * the walk needs no position: rows that were deleted are not found again. As
 * above, locked rows are left to the next run.
 */
#define PRUNE_SUMS(unit, end)                                                  \
	"WITH old AS MATERIALIZED (SELECT telegram_id, unit, first_day"        \
	"  FROM ai_chat_usage_users"                                           \
	"  WHERE $1::bigint IS NOT NULL AND unit = '" unit "'::\"char\""       \
	"   AND first_day < " end                                              \
	"  ORDER BY first_day LIMIT $2::int FOR UPDATE SKIP LOCKED),"          \
	" gone AS (DELETE FROM ai_chat_usage_users u USING old"                \
	"  WHERE u.telegram_id = old.telegram_id AND u.unit = old.unit"        \
	"  AND u.first_day = old.first_day RETURNING u.telegram_id)"           \
	" SELECT (SELECT count(*) FROM old), 0,"                               \
	"  (SELECT count(*) FROM gone), (SELECT count(*) FROM old),"           \
	"  " AIC_SQL_NO_WAIT
#define FIRST_DAY_KEPT "((now() AT TIME ZONE 'UTC')::date - $3::int)"

static const struct aic_db_stmt prune_days = {
	"prune_days",
	PRUNE_SUMS("d", FIRST_DAY_KEPT),
	3,
	NULL,
};

static const struct aic_db_stmt prune_months = {
	"prune_months",
	PRUNE_SUMS("m",
	    "date_trunc('month', " FIRST_DAY_KEPT "::timestamp)::date"),
	3,
	NULL,
};

/* The same for the record of the actions of operators. */
static const struct aic_db_stmt prune_actions = {
	"prune_actions",
	"WITH old AS MATERIALIZED (SELECT id FROM ai_chat_audit"
	"  WHERE id > $1::bigint AND at < now()"
	"   - greatest($3::int, " AIC_AUDIT_DAYS ")::float8"
	"    * interval '1 day'"
	"  ORDER BY id LIMIT $2::int FOR UPDATE SKIP LOCKED),"
	" gone AS (DELETE FROM ai_chat_audit"
	"  WHERE id = ANY (ARRAY(SELECT id FROM old)) RETURNING id)"
	" SELECT (SELECT count(*) FROM old), (SELECT max(id) FROM old),"
	"  (SELECT count(*) FROM gone), (SELECT count(*) FROM old),"
	"  " AIC_SQL_NO_WAIT,
	3,
	NULL,
};

/* The columns of all statements that prune. */
enum prune_column {
	PRUNE_SEEN,
	PRUNE_LAST_ID, /* NULL: nothing was seen */
	PRUNE_DELETED,
	PRUNE_OLD,
};

/*
 * $1 user, $2 rows. No chat waits for the locks of this statement, because
 * these rows belong to chats that have ended. Idempotent: deleted rows are not
 * found again.
 */
static const struct aic_db_stmt forget_some = {
	"forget_some",
	"DELETE FROM ai_chat_requests WHERE telegram_id = $1::bigint"
	" AND id = ANY (ARRAY(SELECT id FROM ai_chat_requests"
	"  WHERE telegram_id = $1::bigint LIMIT $2::int))"
	" RETURNING id, " AIC_SQL_DURABLE,
	2,
	NULL,
};

/*
 * $1 user. Takes the lock of the user's row, which every save also takes, and
 * removes the reservations. Takes the lock of the counting of exchanges too
 * (lib/usage.c) and raises its version, so that the sums of the user that are
 * deleted next are not added again from exchanges that a session has read
 * before. So a chat that is saved after this finds no
 * reservation, and because of created_at it gets no new one (see
 * aic_limit_reserve). created_at is not set to now(), which is the time before
 * the wait for the lock. Idempotent, with one exception: a chat that began
 * between two runs is erased as well.
 */
static const struct aic_db_stmt forget_reservations = {
	"forget_reservations",
	"WITH counting AS (UPDATE ai_chat_usage_state"
	"  SET version = version + 1)"
	" UPDATE ai_chat_daily_limits SET leases = '{}',"
	"  created_at = clock_timestamp(),"
	"  updated_at = 'epoch'"
	" WHERE telegram_id = $1::bigint RETURNING id, " AIC_SQL_DURABLE,
	1,
	NULL,
};

/*
 * $1 user. A separate statement, so that its snapshot includes exchanges that
 * were saved, and sums that were added, while the statement before it waited
 * for the locks. Idempotent.
 */
static const struct aic_db_stmt forget_rest = {
	"forget_rest",
	"WITH sums AS (DELETE FROM ai_chat_usage_users"
	"  WHERE telegram_id = $1::bigint)"
	" DELETE FROM ai_chat_requests WHERE telegram_id = $1::bigint"
	" RETURNING id, " AIC_SQL_DURABLE,
	1,
	NULL,
};

/* $1 user. Idempotent. */
static const struct aic_db_stmt forget_counter = {
	"forget_counter",
	"DELETE FROM ai_chat_daily_limits WHERE telegram_id = $1::bigint"
	" AND last_reset_date < (now() AT TIME ZONE 'UTC')::date - 1"
	" RETURNING id, " AIC_SQL_DURABLE,
	1,
	NULL,
};

static int64_t
batch_end(int64_t deadline_us)
{
	int64_t end = aic_clock_us() + BATCH_US;

	return end < deadline_us ? end : deadline_us;
}

/* The state of a walk over one table. */
struct walk {
	const struct aic_db_stmt *stmt;
	const struct aic_retain *r;
	int64_t deadline_us;
	int64_t young_max; /* so many in a row end the walk; 0: never */
	int64_t last_id;
	int64_t young; /* in a row, up to the current place */
	bool at_end;
	bool stopped; /* go_on() returned false */
};

/* Runs one batch, and adds the number of deleted rows to *deleted. */
static enum aic_code
run_batch(struct aic_db *db, struct walk *w, struct aic_retain_done *done,
    int64_t *deleted, struct aic_err *err)
{
	int batch = w->r->batch ? w->r->batch : BATCH;
	struct aic_db_call call;
	int64_t seen, old;
	enum aic_code rc;

	aic_db_call(&call, w->stmt);
	aic_db_int(&call, w->last_id);
	aic_db_int(&call, batch);
	aic_db_int(&call, w->r->days);
	rc = aic_db_run(db, &call, 1, batch_end(w->deadline_us), err);
	if (rc)
		return rc;
	seen = aic_db_get_int(&call, 0, PRUNE_SEEN);
	if (seen > 0)
		w->last_id = aic_db_get_int(&call, 0, PRUNE_LAST_ID);
	*deleted += aic_db_get_int(&call, 0, PRUNE_DELETED);
	old = aic_db_get_int(&call, 0, PRUNE_OLD);
	aic_db_call_done(&call);
	done->seen += seen;
	done->batches++;
	w->young = old > 0 ? 0 : w->young + seen;
	w->at_end = seen < batch ||
	    (w->young_max > 0 && w->young >= w->young_max);
	return AIC_OK;
}

static enum aic_code
run_walk(struct aic_db *db, struct walk *w, struct aic_retain_done *done,
    int64_t *deleted, struct aic_err *err)
{
	int64_t began, pause_us;
	enum aic_code rc;

	while (!w->at_end && aic_clock_us() < w->deadline_us) {
		pause_us = w->r->pause_us ? w->r->pause_us : PAUSE_US;
		began = aic_clock_us();
		rc = run_batch(db, w, done, deleted, err);
		/*
		 * The deadline ended a later batch; the earlier ones succeeded.
		 */
		if (rc == AIC_EDB && done->batches > 0 &&
		    aic_clock_us() >= w->deadline_us)
			return AIC_OK;
		if (rc)
			return rc;
		done->batch_us = aic_clock_us() - began;
		w->stopped = w->r->go_on && !w->r->go_on(done, w->r->arg);
		if (w->stopped)
			return AIC_OK;
		/*
		 * Three quarters of the time are left to the chats. The pauses
		 * are longer if the database is slow.
		 */
		if (pause_us < 3 * done->batch_us)
			pause_us = 3 * done->batch_us;
		if (!w->at_end)
			aic_clock_sleep(aic_clock_us() + pause_us);
	}
	return AIC_OK;
}

enum aic_code
aic_retain_prune(struct aic_db *db, const struct aic_retain *r,
    int64_t deadline_us, struct aic_retain_done *ret_done, struct aic_err *err)
{
	const struct {
		const struct aic_db_stmt *stmt;
		int64_t *deleted;
		int64_t young_max;
	} tables[] = {
		{ &prune_exchanges, &ret_done->exchanges,
		    r->all ? 0 : YOUNG_MAX },
		{ &prune_users, &ret_done->users, 0 },
		{ &prune_days, &ret_done->sums, 0 },
		{ &prune_months, &ret_done->sums, 0 },
		{ &prune_actions, &ret_done->actions, 0 },
	};
	enum aic_code rc;
	size_t i;

	memset(ret_done, 0, sizeof(*ret_done));
	if (r->days < AIC_RETAIN_DAYS_MIN || r->days > AIC_RETAIN_DAYS_MAX ||
	    r->batch < 0 || r->batch > AIC_RETAIN_BATCH_MAX)
		return aic_fail(err, AIC_EBUG, "days or batch out of range");
	for (i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		struct walk w = { .stmt = tables[i].stmt,
			.r = r,
			.deadline_us = deadline_us,
			.young_max = tables[i].young_max,
			.last_id = INT64_MIN };

		rc = run_walk(db, &w, ret_done, tables[i].deleted, err);
		if (rc || !w.at_end || w.stopped)
			return rc;
	}
	ret_done->complete = true;
	return AIC_OK;
}

/*
 * Deletes until few rows are left, so that the last step is short, however many
 * rows there were. The action is recorded with the first rows, so that nothing
 * is deleted without a record, even if a later step fails.
 */
static enum aic_code
forget_most(struct aic_db *db, int64_t telegram_id,
    const struct aic_audit *audit, int64_t deadline_us, int64_t *deleted,
    struct aic_err *err)
{
	struct aic_db_call calls[2] = { 0 };
	enum aic_code rc;
	int n;

	do {
		aic_db_call(&calls[0], &forget_some);
		aic_db_int(&calls[0], telegram_id);
		aic_db_int(&calls[0], BATCH);
		if (audit)
			aic_audit_bind(&calls[1], audit);
		rc = aic_db_run(db, calls, audit ? 2 : 1,
		    batch_end(deadline_us), err);
		if (rc)
			return rc;
		audit = NULL;
		n = PQntuples(calls[0].res);
		aic_db_call_done(&calls[0]);
		aic_db_call_done(&calls[1]);
		*deleted += n;
	} while (n == BATCH);
	return AIC_OK;
}

enum aic_code
aic_retain_forget(struct aic_db *db, int64_t telegram_id,
    const struct aic_audit *audit, int64_t deadline_us,
    struct aic_forgotten *ret, struct aic_err *err)
{
	struct aic_db_call calls[3];
	int64_t deleted = 0;
	enum aic_code rc;
	int i;

	rc = forget_most(db, telegram_id, audit, deadline_us, &deleted, err);
	if (rc)
		return rc;
	aic_db_call(&calls[0], &forget_reservations);
	aic_db_call(&calls[1], &forget_rest);
	aic_db_call(&calls[2], &forget_counter);
	for (i = 0; i < 3; i++)
		aic_db_int(&calls[i], telegram_id);
	rc = aic_db_run(db, calls, 3, deadline_us, err);
	if (rc)
		return rc;
	ret->exchanges = deleted + PQntuples(calls[1].res);
	ret->known = PQntuples(calls[0].res) > 0;
	ret->counter_kept = ret->known && PQntuples(calls[2].res) == 0;
	for (i = 0; i < 3; i++)
		aic_db_call_done(&calls[i]);
	return AIC_OK;
}
