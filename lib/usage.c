#include "config.h"

#include "lib/usage.h"

#include <string.h>

#include "lib/schema.h"

const char *const aic_usage_outcomes[AIC_USAGE_OUTCOME__MAX] = {
	[AIC_USAGE_LIMITED] = "limited",
	[AIC_USAGE_CROWDED] = "crowded",
	[AIC_USAGE_MODEL_FAILED] = "model_failed",
	[AIC_USAGE_MODEL_OPEN] = "model_open",
	[AIC_USAGE_DATABASE_FAILED] = "database_failed",
	[AIC_USAGE_BUSY] = "busy",
	[AIC_USAGE_FAILED] = "failed",
};

/* --- counting ------------------------------------------------------------ */

/*
 * Which exchanges can be counted? Ids are assigned in order, but committed in
 * any order: when 7 is visible, 6 can still be uncommitted. A position that had
 * moved to 7 would never count 6. So the position moves only up to the mark. A
 * mark is the newest visible id together with mark_xid, the transaction that
 * sets the mark. It gets its own id after its snapshot, so every transaction
 * that had an id of an exchange by then is before it. When all transactions
 * before mark_xid have ended, every exchange up to the mark is committed or
 * will never be. Example: 6 belongs to transaction 100 and 7 to 101, which
 * commits first. The mark is then id 7, transaction 102. The step does nothing
 * until 100 has ended, and counts both after that.
 *
 * A save is assigned its transaction id before the id of its exchange (it
 * updates the user's row first). Other programs that insert into the table get
 * the transaction id microseconds after the id of the row; their transaction
 * would have to begin at exactly that moment and outlive the mark.
 *
 * A transaction that stays open for hours, of any database of the cluster,
 * stops the counting for as long, and counted_at shows it. In a database that
 * was restored into another cluster, mark_xid can be above all transactions of
 * the new cluster. Nothing of the old cluster is in progress there, so the mark
 * is valid.
 */
#define MARK_IS_SETTLED                                                        \
	"(s.mark_xid <= pg_snapshot_xmin(pg_current_snapshot())"               \
	"  OR s.mark_xid > pg_snapshot_xmax(pg_current_snapshot()))"

/*
 * The lock of the state's row ensures that one session counts at a time. The
 * snapshot of the statement is from before the lock. If the row was changed
 * since then, another session has counted the same exchanges, or an erasure has
 * deleted some of them (aic_retain_forget()). The version in the snapshot then
 * differs from that of the locked row, and the step does nothing.
 */
#define LOCKED_STATE                                                           \
	"locked AS MATERIALIZED (SELECT * FROM ai_chat_usage_state"            \
	"  FOR UPDATE SKIP LOCKED),"                                           \
	" s AS MATERIALIZED (SELECT * FROM locked l WHERE l.version ="         \
	"  (SELECT version FROM ai_chat_usage_state))"

/*
 * $1 number of exchanges. Idempotent: a second run counts the exchanges that
 * follow, if there are any. The commit does not wait for the disk, because the
 * sums and the position are lost together.
 *
 * A user is new in a period when the sum after the addition equals the
 * addition. In tables of an earlier service request_date can be NULL.
 */
static const struct aic_db_stmt step = {
	"usage_step",
	"WITH " LOCKED_STATE ","
	" fresh AS MATERIALIZED (SELECT r.* FROM s CROSS JOIN LATERAL"
	"   (SELECT id, telegram_id, request_date, tokens_used"
	"    FROM ai_chat_requests WHERE id > s.counted_id AND id <= s.mark_id"
	"    ORDER BY id LIMIT $1::int) r"
	"  WHERE s.counted_id < s.mark_id AND " MARK_IS_SETTLED "),"
	" sums AS MATERIALIZED (SELECT p.unit, p.first_day, f.telegram_id,"
	"   count(*)::int AS chats, coalesce(sum(f.tokens_used), 0) AS tokens"
	"  FROM fresh f CROSS JOIN LATERAL (VALUES"
	"   ('d'::\"char\", f.request_date), ('m'::\"char\","
	"    date_trunc('month', f.request_date::timestamp)::date))"
	"   p (unit, first_day) WHERE f.request_date IS NOT NULL"
	"  GROUP BY p.unit, p.first_day, f.telegram_id),"
	" counted AS (INSERT INTO ai_chat_usage_users AS u"
	"   (telegram_id, unit, first_day, chats, tokens)"
	"  SELECT telegram_id, unit, first_day, chats, tokens FROM sums"
	"  ON CONFLICT (telegram_id, unit, first_day) DO UPDATE SET"
	"   chats = u.chats + excluded.chats,"
	"   tokens = u.tokens + excluded.tokens"
	"  RETURNING u.telegram_id, u.unit, u.first_day, u.chats),"
	" summed AS (INSERT INTO ai_chat_usage AS p"
	"   (unit, first_day, chats, tokens, users)"
	"  SELECT a.unit, a.first_day, sum(a.chats), sum(a.tokens)::bigint,"
	"   count(*) FILTER (WHERE c.chats = a.chats)"
	"  FROM sums a JOIN counted c"
	"   USING (telegram_id, unit, first_day) GROUP BY a.unit, a.first_day"
	"  ON CONFLICT (unit, first_day) DO UPDATE SET"
	"   chats = p.chats + excluded.chats,"
	"   tokens = p.tokens + excluded.tokens,"
	"   users = p.users + excluded.users),"
	" done AS MATERIALIZED (SELECT CASE WHEN count(*) < $1::bigint"
	"   THEN NULL ELSE max(id) END AS id FROM fresh)"
	" UPDATE ai_chat_usage_state t SET version = s.version + 1,"
	"  counted_id = coalesce(done.id, s.mark_id),"
	"  counted_at = CASE WHEN done.id < s.mark_id THEN s.counted_at"
	"   ELSE s.mark_at END"
	" FROM s, done"
	" WHERE s.counted_id < s.mark_id AND " MARK_IS_SETTLED
	" RETURNING t.counted_id < t.mark_id, " AIC_SQL_NO_WAIT,
	1,
	NULL,
};

/*
 * Idempotent: a second run marks the newest exchange again. If the mark does
 * not move, all that was stored before is counted already. Waits for nothing: a
 * row that is locked is left to the session that counts. It has to be a batch
 * of its own: a statement before it would give the transaction its id before
 * the snapshot. pg_snapshot_xmax() would not do, because it can be at or below
 * the id of a transaction in progress.
 */
static const struct aic_db_stmt mark = {
	"usage_mark",
	"WITH " LOCKED_STATE ","
	" newest AS MATERIALIZED (SELECT greatest(s.counted_id,"
	"   (SELECT max(id) FROM ai_chat_requests)) AS id FROM s)"
	" UPDATE ai_chat_usage_state t SET version = s.version + 1,"
	"  mark_id = newest.id, mark_at = now(),"
	"  mark_xid = pg_current_xact_id(),"
	"  counted_at = CASE WHEN newest.id = s.counted_id THEN now()"
	"   ELSE s.counted_at END"
	" FROM s, newest WHERE s.counted_id >= s.mark_id"
	"  AND (s.mark_at IS NULL OR s.mark_at < now() - interval '1 second'"
	"   OR s.mark_at > now())"
	" RETURNING " AIC_SQL_NO_WAIT,
	0,
	NULL,
};

/*
 * $1 worker, $2 number of the addition, $3 zone, $4 outcomes, $5 counts.
 * Idempotent on the same day: a row with this number or a later one has the
 * addition. The commit does not wait for the disk; what a power failure loses
 * is as little as what a killed worker loses.
 */
static const struct aic_db_stmt add_unanswered = {
	"usage_unanswered",
	"INSERT INTO ai_chat_unanswered AS u (day, worker, outcome, n, seq)"
	" SELECT (now() AT TIME ZONE $3::text)::date, $1::uuid, x.outcome, x.n,"
	"  $2::bigint"
	" FROM ROWS FROM (pg_catalog.unnest($4::text[]),"
	"  pg_catalog.unnest($5::bigint[])) x (outcome, n)"
	" ON CONFLICT (day, worker, outcome) DO UPDATE SET"
	"  n = u.n + excluded.n, seq = excluded.seq WHERE u.seq < excluded.seq"
	" RETURNING " AIC_SQL_NO_WAIT,
	5,
	NULL,
};

void
aic_usage_step_bind(struct aic_db_call *call)
{
	aic_db_call(call, &step);
	aic_db_int(call, AIC_USAGE_STEP);
}

bool
aic_usage_step_read(const struct aic_db_call *call)
{
	return PQntuples(call->res) > 0 && *aic_db_get(call, 0, 0) == 't';
}

void
aic_usage_mark_bind(struct aic_db_call *call)
{
	aic_db_call(call, &mark);
}

void
aic_usage_add_bind(struct aic_db_call *call,
    const struct aic_usage_unanswered *u)
{
	aic_db_call(call, &add_unanswered);
	aic_db_text(call, u->worker);
	aic_db_int(call, u->seq);
	aic_db_text(call, u->zone);
	aic_db_text(call, u->outcomes);
	aic_db_text(call, u->counts);
}

/* --- reading ------------------------------------------------------------- */

/* Reads only, as all statements below. */
static const struct aic_db_stmt state = {
	"usage_state",
	"SELECT to_char(counted_at AT TIME ZONE 'UTC', " AIC_SQL_ISO "),"
	"  coalesce(counted_at > now() - interval '1 minute', false),"
	"  (SELECT to_char(min(day)::timestamp, 'YYYY-MM-DD')"
	"   FROM ai_chat_unanswered)"
	" FROM ai_chat_usage_state",
	0,
	NULL,
};

enum state_column {
	STATE_COUNTED_UNTIL,
	STATE_COMPLETE,
	STATE_REFUSALS_SINCE,
};

/* $1 days, $2 zone. The outcomes are in the order of enum aic_usage_outcome. */
static const struct aic_db_stmt days = {
	"usage_days",
	"SELECT to_char(d.day::timestamp, 'YYYY-MM-DD'), coalesce(u.chats, 0),"
	"  coalesce(u.tokens, 0), coalesce(u.users, 0), r.*"
	" FROM (SELECT t.today - g AS day FROM"
	"   (SELECT (now() AT TIME ZONE $2::text)::date AS today) t"
	"   CROSS JOIN generate_series(0, $1::int - 1) g) d"
	" LEFT JOIN ai_chat_usage u"
	"  ON u.unit = 'd'::\"char\" AND u.first_day = d.day"
	" CROSS JOIN LATERAL (SELECT"
	"   sum(n) FILTER (WHERE outcome = 'limited'),"
	"   sum(n) FILTER (WHERE outcome = 'crowded'),"
	"   sum(n) FILTER (WHERE outcome = 'model_failed'),"
	"   sum(n) FILTER (WHERE outcome = 'model_open'),"
	"   sum(n) FILTER (WHERE outcome = 'database_failed'),"
	"   sum(n) FILTER (WHERE outcome = 'busy'),"
	"   sum(n) FILTER (WHERE outcome = 'failed')"
	"  FROM ai_chat_unanswered WHERE day = d.day) r"
	" ORDER BY d.day",
	2,
	NULL,
};

/* The first three are also the columns of user_days. */
enum days_column {
	DAYS_DATE,
	DAYS_CHATS,
	DAYS_TOKENS,
	DAYS_USERS,
	DAYS_UNANSWERED, /* AIC_USAGE_OUTCOME__MAX columns */
};

/* $1 user */
static const struct aic_db_stmt since = {
	"usage_since",
	"SELECT to_char(created_at AT TIME ZONE 'UTC', " AIC_SQL_ISO "),"
	"  to_char(context_from AT TIME ZONE 'UTC', " AIC_SQL_ISO ")"
	" FROM ai_chat_daily_limits WHERE telegram_id = $1::bigint",
	1,
	NULL,
};

enum since_column {
	SINCE_FIRST_SEEN,
	SINCE_CONVERSATION,
};

/* $1 user, $2 days, $3 zone. The condition on created_at is as in
 * lib/history.c: the index skips older rows. */
static const struct aic_db_stmt user_days = {
	"usage_user_days",
	"SELECT to_char(d.day::timestamp, 'YYYY-MM-DD'), coalesce(x.n, 0),"
	"  coalesce(x.tokens, 0)"
	" FROM (SELECT (now() AT TIME ZONE $3::text)::date AS today) t"
	" CROSS JOIN LATERAL (SELECT t.today - g AS day"
	"  FROM generate_series(0, $2::int - 1) g) d"
	" LEFT JOIN (SELECT request_date, count(*) AS n,"
	"   sum(tokens_used) AS tokens FROM ai_chat_requests"
	"  WHERE telegram_id = $1::bigint AND created_at >="
	"   ((now() AT TIME ZONE $3::text)::date - $2::int - 2)::timestamp"
	"    AT TIME ZONE 'UTC'"
	"  GROUP BY request_date) x ON x.request_date = d.day"
	" ORDER BY d.day",
	3,
	NULL,
};

/* $1 unit, $2 first day (NULL: the current period), $3 zone */
#define PERIOD                                                                 \
	"coalesce($2::date, date_trunc(CASE $1::\"char\" WHEN 'm'"             \
	" THEN 'month' ELSE 'day' END, now() AT TIME ZONE $3::text)::date)"

static const struct aic_db_stmt sum = {
	"usage_sum",
	"SELECT to_char(p.first_day::timestamp, CASE $1::\"char\" WHEN 'm'"
	"   THEN 'YYYY-MM' ELSE 'YYYY-MM-DD' END),"
	"  coalesce(u.chats, 0), coalesce(u.tokens, 0), coalesce(u.users, 0)"
	" FROM (SELECT " PERIOD " AS first_day) p LEFT JOIN ai_chat_usage u"
	"  ON u.unit = $1::\"char\" AND u.first_day = p.first_day",
	3,
	NULL,
};

enum sum_column {
	SUM_PERIOD,
	SUM_CHATS,
	SUM_TOKENS,
	SUM_USERS,
};

/* $4 limit, $5 offset. An index has the rows in this order. */
#define TOP_OF_PERIOD                                                          \
	"SELECT telegram_id, chats, tokens FROM ai_chat_usage_users"           \
	" WHERE unit = $1::\"char\" AND first_day = (SELECT " PERIOD ")"
#define PAGE ", telegram_id LIMIT $4::bigint OFFSET $5::bigint"

static const struct aic_db_stmt top_chats = {
	"usage_top_chats",
	TOP_OF_PERIOD " ORDER BY chats DESC" PAGE,
	5,
	NULL,
};

static const struct aic_db_stmt top_tokens = {
	"usage_top_tokens",
	TOP_OF_PERIOD " ORDER BY tokens DESC" PAGE,
	5,
	NULL,
};

enum top_column {
	TOP_USER,
	TOP_CHATS,
	TOP_TOKENS,
};

/* NULL: the field is NULL. */
static const char *
get_text(const struct aic_db_call *call, int row, int col)
{
	return PQgetisnull(call->res, row, col) ? NULL
						: aic_db_get(call, row, col);
}

void
aic_usage_state_bind(struct aic_db_call *call)
{
	aic_db_call(call, &state);
}

struct aic_usage_state
aic_usage_state_read(const struct aic_db_call *call)
{
	if (PQntuples(call->res) == 0)
		return (struct aic_usage_state){ .complete = false };
	return (struct aic_usage_state){
		.counted_until = get_text(call, 0, STATE_COUNTED_UNTIL),
		.complete = *aic_db_get(call, 0, STATE_COMPLETE) == 't',
		.refusals_since = get_text(call, 0, STATE_REFUSALS_SINCE),
	};
}

void
aic_usage_days_bind(struct aic_db_call *call, int64_t n, const char *zone)
{
	aic_db_call(call, &days);
	aic_db_int(call, n);
	aic_db_text(call, zone);
}

struct aic_usage_day
aic_usage_day_get(const struct aic_db_call *call, int i)
{
	struct aic_usage_day day = {
		.date = aic_db_get(call, i, DAYS_DATE),
		.chats = aic_db_get_int(call, i, DAYS_CHATS),
		.tokens = aic_db_get_int(call, i, DAYS_TOKENS),
		.users = aic_db_get_int(call, i, DAYS_USERS),
	};
	int j;

	for (j = 0; j < AIC_USAGE_OUTCOME__MAX; j++)
		day.unanswered[j] = aic_db_get_int(call, i,
		    DAYS_UNANSWERED + j);
	return day;
}

void
aic_usage_since_bind(struct aic_db_call *call, int64_t telegram_id)
{
	aic_db_call(call, &since);
	aic_db_int(call, telegram_id);
}

struct aic_usage_since
aic_usage_since_read(const struct aic_db_call *call)
{
	if (PQntuples(call->res) == 0)
		return (struct aic_usage_since){ .first_seen = NULL };
	return (struct aic_usage_since){
		.first_seen = get_text(call, 0, SINCE_FIRST_SEEN),
		.conversation = get_text(call, 0, SINCE_CONVERSATION),
	};
}

void
aic_usage_user_days_bind(struct aic_db_call *call, int64_t telegram_id,
    int64_t n, const char *zone)
{
	aic_db_call(call, &user_days);
	aic_db_int(call, telegram_id);
	aic_db_int(call, n);
	aic_db_text(call, zone);
}

struct aic_usage_day
aic_usage_user_day_get(const struct aic_db_call *call, int i)
{
	return (struct aic_usage_day){
		.date = aic_db_get(call, i, DAYS_DATE),
		.chats = aic_db_get_int(call, i, DAYS_CHATS),
		.tokens = aic_db_get_int(call, i, DAYS_TOKENS),
	};
}

/* --- periods ------------------------------------------------------------- */

/* Whether the text has a digit for each 9 of the pattern, and otherwise the
 * same characters. */
static bool
fits_pattern(const char *text, const char *pattern)
{
	for (; *pattern; pattern++, text++)
		if (*pattern == '9' ? *text < '0' || *text > '9'
				    : *text != *pattern)
			return false;
	return *text == '\0';
}

static int
two_digits(const char *p)
{
	return (p[0] - '0') * 10 + p[1] - '0';
}

static int
days_of_month(int year, int month)
{
	static const int days_of[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31,
		30, 31 };
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	return days_of[month - 1] + (month == 2 && leap);
}

bool
aic_usage_period_parse(const char *text, struct aic_usage_period *ret_period)
{
	bool is_month = fits_pattern(text, "2999-99");
	int year, month, day;

	if (!is_month && !fits_pattern(text, "2999-99-99"))
		return false;
	year = two_digits(text) * 100 + two_digits(text + 2);
	month = two_digits(text + 5);
	day = is_month ? 1 : two_digits(text + 8);
	if (month < 1 || month > 12 || day < 1 ||
	    day > days_of_month(year, month))
		return false;
	ret_period->month = is_month;
	memcpy(ret_period->first_day, text, strlen(text) + 1);
	if (is_month)
		memcpy(ret_period->first_day + 7, "-01", 4);
	return true;
}

static void
bind_period(struct aic_db_call *call, const struct aic_usage_period *period,
    const char *zone)
{
	aic_db_text(call, period->month ? "m" : "d");
	aic_db_text(call, *period->first_day ? period->first_day : NULL);
	aic_db_text(call, zone);
}

void
aic_usage_top_bind(struct aic_db_call calls[2],
    const struct aic_usage_period *period, const char *zone, bool by_tokens,
    int64_t limit, int64_t offset)
{
	aic_db_call(&calls[0], &sum);
	bind_period(&calls[0], period, zone);
	aic_db_call(&calls[1], by_tokens ? &top_tokens : &top_chats);
	bind_period(&calls[1], period, zone);
	aic_db_int(&calls[1], limit);
	aic_db_int(&calls[1], offset);
}

struct aic_usage_sum
aic_usage_top_sum(const struct aic_db_call calls[2])
{
	return (struct aic_usage_sum){
		.period = aic_db_get(&calls[0], 0, SUM_PERIOD),
		.chats = aic_db_get_int(&calls[0], 0, SUM_CHATS),
		.tokens = aic_db_get_int(&calls[0], 0, SUM_TOKENS),
		.users = aic_db_get_int(&calls[0], 0, SUM_USERS),
	};
}

int
aic_usage_top_count(const struct aic_db_call calls[2])
{
	return PQntuples(calls[1].res);
}

struct aic_usage_user
aic_usage_top_get(const struct aic_db_call calls[2], int i)
{
	return (struct aic_usage_user){
		.telegram_id = aic_db_get_int(&calls[1], i, TOP_USER),
		.chats = aic_db_get_int(&calls[1], i, TOP_CHATS),
		.tokens = aic_db_get_int(&calls[1], i, TOP_TOKENS),
	};
}
