#include "config.h"

#include "lib/limit.h"

#include <stdio.h>
#include <string.h>

#include "lib/id.h"

/*
 * Whoever may create functions and operators in the schema of the tables could make one
 * that fits the types of an expression better than the server's, and it would run with
 * our rights. So the statements of the whole project use operators whose types are
 * exactly those that the server has (float8 * interval, and not int * interval), and
 * those that take any type, as for ai_chat_lease, by their full name.
 */

/* A reservation is for AI_CHAT_DEADLINE_MS, 600 s at most, and
 * AIC_LIMIT_SPARE_MS. */
#define LEASE_MAX "605 seconds"

/*
 * $1 user, $2 chat, $3 zone, $4 lease in ms, $5 limit (below 0: nothing is reserved, nor
 * a row made), $6 how many at once, $7 when this chat was first reserved.
 *
 * Twice is once: the lease of the same chat is replaced, not added. Every
 * expression of the DO UPDATE part is evaluated on the newest version of the row,
 * under its lock. Lapsed leases are swept here and nowhere else; so whoever still
 * finds his lease in the row knows that its slot was given to nobody.
 *
 * created_at is when we came to know the user: who was forgotten (aic_retain_forget())
 * is new, and a chat from before that gets no slot again.
 *
 * The commit does not wait for the disk: a reservation that is lost with the power
 * is one that lapsed, and the save then takes a slot again.
 */
#define HOLD(and_alone)                                                        \
	"INSERT INTO ai_chat_daily_limits AS l"                                \
	" (telegram_id, last_reset_date, leases)"                              \
	" SELECT $1::bigint, d.day,"                                           \
	"  ARRAY[ROW($2::uuid, d.day,"                                         \
	"   now() + $4::float8 * interval '1 ms')::ai_chat_lease]"             \
	" FROM (SELECT (now() AT TIME ZONE $3::text)::date AS day) d"          \
	" WHERE $5::bigint >= 0"                                               \
	" ON CONFLICT (telegram_id) DO UPDATE SET"                             \
	"  request_count = CASE"                                               \
	"   WHEN l.last_reset_date < excluded.last_reset_date"                 \
	"   THEN 0 ELSE l.request_count END,"                                  \
	"  last_reset_date ="                                                  \
	"   greatest(l.last_reset_date, excluded.last_reset_date),"            \
	"  leases = CASE WHEN l.leases OPERATOR(pg_catalog.=) '{}'"            \
	"   THEN '{}'::ai_chat_lease[] ELSE"                                   \
	"   ARRAY(SELECT x FROM pg_catalog.unnest(l.leases) x"                 \
	"    WHERE (x).until > now() AND (x).chat_id <> $2::uuid) END"         \
	"   OPERATOR(pg_catalog.||) ROW($2::uuid,"                             \
	"    greatest(l.last_reset_date, excluded.last_reset_date),"           \
	"    now() + $4::float8 * interval '1 ms')::ai_chat_lease,"            \
	"  updated_at = now()"                                                 \
	" WHERE CASE WHEN l.last_reset_date < excluded.last_reset_date"        \
	"   THEN 0 ELSE l.request_count END"                                   \
	"  + CASE WHEN l.leases OPERATOR(pg_catalog.=) '{}' THEN 0 ELSE"       \
	"   (SELECT count(*) FROM pg_catalog.unnest(l.leases) x"               \
	"    WHERE x.until > now() AND x.chat_id <> $2::uuid AND x.day ="      \
	"     greatest(l.last_reset_date, excluded.last_reset_date)) END"      \
	"  < $5::bigint"                                                       \
	"  AND ($6::bigint = 0 OR l.leases OPERATOR(pg_catalog.=) '{}' OR"     \
	"   (SELECT count(*) FROM pg_catalog.unnest(l.leases) x"               \
	"    WHERE x.until > now() AND x.chat_id <> $2::uuid) < $6::bigint)"   \
	"  AND ($7::timestamptz IS NULL OR l.created_at IS NULL"               \
	"   OR l.created_at <= $7::timestamptz)" and_alone                     \
	" RETURNING l.leases[pg_catalog.cardinality(l.leases)], now(),"        \
	"  set_config('synchronous_commit', 'off', true),"                     \
	" " AIC_ID_SQL_CONTEXT ","                                             \
	"  (extract(epoch FROM l.context_from) * 1000000.0)::bigint"

static const struct aic_db_stmt hold = { "hold", HOLD(""), 7, NULL };

#define LEASE_OF_KEY AIC_ID_SQL_SAME_KEY("x.chat_id", "$2")
#define ROW_OF_KEY AIC_ID_SQL_SAME_KEY("r.chat_id", "$2")

/*
 * Not beside another chat of the same key, and not after one that was answered. The
 * first is sure, for leases are looked at in the newest version of the row. The second
 * is looked for in a snapshot from before the wait for the row: behind
 * aic_idempotency_queue_bind() there is no wait but for a user's very first row, and who gets
 * a reservation there looks once more (aic_idempotency_bind()) before he asks the model.
 */
static const struct aic_db_stmt hold_key = {
	"hold_key",
	HOLD(" AND NOT EXISTS (SELECT FROM pg_catalog.unnest(l.leases) x"
	     "  WHERE x.until > now() AND x.chat_id <> $2::uuid"
	     "  AND " LEASE_OF_KEY ")"
	     " AND NOT EXISTS (SELECT FROM ai_chat_requests r"
	     "  WHERE r.telegram_id = $1::bigint AND " ROW_OF_KEY
	     "  AND r.created_at + " AIC_ID_SQL_KEPT " > now())"),
	7,
	NULL,
};

/*
 * $1 user, $2 chat. Twice is once: the second time there is nothing to drop. It need
 * not reach the disk either: a lease that was not dropped lapses.
 */
static const struct aic_db_stmt drop = {
	"drop",
	"UPDATE ai_chat_daily_limits l SET"
	"  leases = ARRAY(SELECT x FROM pg_catalog.unnest(l.leases) x"
	"   WHERE (x).chat_id <> $2::uuid),"
	"  updated_at = now()"
	" WHERE telegram_id = $1::bigint AND EXISTS"
	"  (SELECT FROM pg_catalog.unnest(l.leases) x"
	"   WHERE x.chat_id = $2::uuid)"
	" RETURNING set_config('synchronous_commit', 'off', true)",
	2,
	NULL,
};

/*
 * $1 user, $2 zone. Only reads. One row, whether the user is known or not; the
 * offset of the reset is that of its own moment, which a change to summer time
 * may make another than today's.
 */
static const struct aic_db_stmt peek = {
	"peek",
	"SELECT r.known, r.used, r.day, r.live,"
	"  to_char(r.at AT TIME ZONE $2::text, 'YYYY-MM-DD\"T\"HH24:MI:SS'),"
	"  extract(epoch FROM (r.at AT TIME ZONE $2::text)"
	"   - (r.at AT TIME ZONE 'UTC'))::int / 60,"
	"  greatest(1, ceil(extract(epoch FROM r.at - now())))::bigint"
	" FROM (SELECT u.known, u.used, u.day, u.live,"
	"   (u.day + 1)::timestamp AT TIME ZONE $2::text AS at"
	"  FROM (SELECT l.id IS NOT NULL AS known, c.day,"
	"    CASE WHEN l.last_reset_date = c.day THEN l.request_count ELSE 0 END"
	"     + (SELECT count(*) FROM pg_catalog.unnest(l.leases) x"
	"      WHERE x.until > now() AND x.day = c.day) AS used,"
	"    (SELECT count(*) FROM pg_catalog.unnest(l.leases) x"
	"      WHERE x.until > now()) AS live"
	"   FROM (SELECT (now() AT TIME ZONE $2::text)::date AS today) t"
	"   LEFT JOIN ai_chat_daily_limits l ON l.telegram_id = $1::bigint"
	"   CROSS JOIN LATERAL"
	"    (SELECT greatest(l.last_reset_date, t.today) AS day) c) u) r",
	2,
	NULL,
};

/*
 * $1 user, $2 zone. Twice is once: 0 is 0.
 *
 * The clock may have been ahead for a while, and have left times in the row that are
 * not over for years. The day becomes that of the clock, even where this is an earlier
 * one. Reservations of a later day, or for longer than the longest deadline, are dropped:
 * a chat that is still in flight takes a slot again when it is saved. The others stay.
 *
 * Other times stay as they are, NULL as well. now() is the time at which the reset
 * began, before it waited for the row: whoever was forgotten and came again meanwhile is
 * newer than that, and still new.
 */
static const struct aic_db_stmt reset = {
	"reset",
	"UPDATE ai_chat_daily_limits l SET request_count = 0,"
	"  last_reset_date = (now() AT TIME ZONE $2::text)::date,"
	"  leases = CASE WHEN l.leases OPERATOR(pg_catalog.=) '{}'"
	"   THEN l.leases ELSE"
	"   ARRAY(SELECT x FROM pg_catalog.unnest(l.leases) x"
	"    WHERE (x).day <= (now() AT TIME ZONE $2::text)::date"
	"    AND (x).until <= now() + interval '" LEASE_MAX "') END,"
	"  created_at = CASE WHEN l.created_at > clock_timestamp()"
	"   THEN clock_timestamp() ELSE l.created_at END,"
	"  context_from = CASE WHEN l.context_from > clock_timestamp()"
	"   THEN clock_timestamp() ELSE l.context_from END,"
	"  updated_at = now()"
	" WHERE telegram_id = $1::bigint RETURNING id, " AIC_DB_SQL_DURABLE,
	2,
	NULL,
};

void
aic_limit_reserve_bind(struct aic_db_call *call,
    const struct aic_limit_reserve *h)
{
	aic_db_call(call, h->of_key ? &hold_key : &hold);
	aic_db_int(call, h->telegram_id);
	aic_db_text(call, h->chat_id);
	aic_db_text(call, h->zone);
	aic_db_int(call, h->lease_ms);
	/* No count reaches the largest one. */
	aic_db_int(call, h->limit ? h->limit : INT64_MAX);
	aic_db_int(call, h->at_once);
	aic_db_text(call, h->since);
}

bool
aic_limit_reserve_read(const struct aic_db_call *call,
    char ret_lease[AIC_RESERVATION_SIZE])
{
	if (PQntuples(call->res) == 0)
		return false;
	snprintf(ret_lease, AIC_RESERVATION_SIZE, "%s", aic_db_get(call, 0, 0));
	return true;
}

void
aic_limit_reserve_since(const struct aic_db_call *call,
    char ret_since[AIC_TIME_SIZE])
{
	snprintf(ret_since, AIC_TIME_SIZE, "%s", aic_db_get(call, 0, 1));
}

void
aic_limit_reserve_context(const struct aic_db_call *call,
    char ret_version[AIC_ID_CONTEXT_SIZE], int64_t *ret_from_us)
{
	snprintf(ret_version, AIC_ID_CONTEXT_SIZE, "%s",
	    aic_db_get(call, 0, 3));
	*ret_from_us = aic_db_get_int(call, 0, 4);
}

void
aic_limit_release_bind(struct aic_db_call *call, int64_t telegram_id,
    const char *chat_id)
{
	aic_db_call(call, &drop);
	aic_db_int(call, telegram_id);
	aic_db_text(call, chat_id);
}

bool
aic_limit_release_read(const struct aic_db_call *call)
{
	return PQntuples(call->res) > 0;
}

void
aic_limit_peek_bind(struct aic_db_call *call, int64_t telegram_id,
    const char *zone)
{
	aic_db_call(call, &peek);
	aic_db_int(call, telegram_id);
	aic_db_text(call, zone);
}

enum aic_code
aic_limit_peek_read(const struct aic_db_call *call, int64_t limit,
    struct aic_limit_state *ret_state, struct aic_err *err)
{
	int offset_min;

	if (PQntuples(call->res) != 1)
		return aic_fail(err, AIC_EBUG, "peek gave no row");
	offset_min = (int)aic_db_get_int(call, 0, 5);
	ret_state->known = *aic_db_get(call, 0, 0) == 't';
	ret_state->used = aic_db_get_int(call, 0, 1);
	ret_state->limit = limit;
	ret_state->live = aic_db_get_int(call, 0, 3);
	snprintf(ret_state->day, sizeof(ret_state->day), "%s",
	    aic_db_get(call, 0, 2));
	snprintf(ret_state->reset_at, sizeof(ret_state->reset_at),
	    "%.19s%c%02d:%02d", aic_db_get(call, 0, 4),
	    offset_min < 0 ? '-' : '+',
	    (offset_min < 0 ? -offset_min : offset_min) / 60 % 100,
	    (offset_min < 0 ? -offset_min : offset_min) % 60);
	ret_state->reset_in_s = aic_db_get_int(call, 0, 6);
	return AIC_OK;
}

bool
aic_limit_is_used_up(const struct aic_limit_state *s)
{
	return s->limit > 0 && s->used >= s->limit;
}

int64_t
aic_limit_left(const struct aic_limit_state *s)
{
	if (s->limit == 0)
		return -1;
	return s->used < s->limit ? s->limit - s->used : 0;
}

void
aic_limit_reset_bind(struct aic_db_call *call, int64_t telegram_id,
    const char *zone)
{
	aic_db_call(call, &reset);
	aic_db_int(call, telegram_id);
	aic_db_text(call, zone);
}

bool
aic_limit_reset_read(const struct aic_db_call *call)
{
	return PQntuples(call->res) > 0;
}
