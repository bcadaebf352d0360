#include "config.h"

#include "lib/limit.h"

#include <stdio.h>
#include <string.h>

#include "lib/schema.h"

/*
 * A role that can create functions and operators in the schema of the tables
 * could create one whose types match an expression better than those of the
 * built-in one. PostgreSQL would then call it with the rights of this program.
 * So the statements of the whole project use operators whose types are exactly
 * those of a built-in operator (float8 * interval, not int * interval).
 * Operators whose built-in version accepts any type, for example those on
 * ai_chat_lease, are written with their schema.
 */

/*
 * The longest reservation: AI_CHAT_DEADLINE_MS, at most 600 s, plus
 * AIC_LIMIT_SPARE_MS.
 */
#define RESERVATION_MAX "605 seconds"

/*
 * $1 user, $2 chat, $3 zone, $4 ms until the reservation lapses, $5 limit
 * (below 0: the statement reserves nothing and inserts no row), $6 most
 * reservations at a time (0: no maximum), $7 time of the first reservation of
 * this chat (NULL: there was none).
 *
 * Idempotent: a second reservation of the same chat replaces the first one.
 * PostgreSQL evaluates every expression of the DO UPDATE part on the newest
 * version of the row, under the row's lock. Of the statements that a chat runs,
 * only this one removes lapsed reservations of other chats. So while a
 * reservation is in the row, even one that has lapsed, no other chat was
 * reserved in its stead.
 *
 * created_at is the time at which the user became known. A user who was erased
 * (aic_retain_forget()) and returns is a new user. A chat that was first
 * reserved before the erasure is not reserved again ($7).
 *
 * The commit does not wait for the disk. A reservation that a power failure
 * destroys has the effect of one that has lapsed: the save reserves the chat
 * again.
 */
#define RESERVE_OR_REPLACE                                                     \
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
	"  updated_at = now()"

/* Counted chats and reservations of the day are fewer than the limit. */
#define IF_DAY_ALLOWS                                                          \
	" WHERE CASE WHEN l.last_reset_date < excluded.last_reset_date"        \
	"   THEN 0 ELSE l.request_count END"                                   \
	"  + CASE WHEN l.leases OPERATOR(pg_catalog.=) '{}' THEN 0 ELSE"       \
	"   (SELECT count(*) FROM pg_catalog.unnest(l.leases) x"               \
	"    WHERE x.until > now() AND x.chat_id <> $2::uuid AND x.day ="      \
	"     greatest(l.last_reset_date, excluded.last_reset_date)) END"      \
	"  < $5::bigint"

/* The user has fewer chats in flight than the maximum. */
#define IF_FEW_IN_FLIGHT                                                       \
	"  AND ($6::bigint = 0 OR l.leases OPERATOR(pg_catalog.=) '{}' OR"     \
	"   (SELECT count(*) FROM pg_catalog.unnest(l.leases) x"               \
	"    WHERE x.until > now() AND x.chat_id <> $2::uuid) < $6::bigint)"

/* The user was not erased after the first reservation of this chat. */
#define IF_NOT_ERASED                                                          \
	"  AND ($7::timestamptz IS NULL OR l.created_at IS NULL"               \
	"   OR l.created_at <= $7::timestamptz)"

/*
 * The used chats are not AIC_SQL_DAY_USED: the statement has just removed the
 * lapsed reservations, so their number is that of the array, and a chat does
 * not pay for another subquery. Reservations of the last day are counted too.
 */
#define RETURNING_RESERVATION                                                  \
	" RETURNING l.leases[pg_catalog.cardinality(l.leases)], now(),"        \
	"  " AIC_SQL_NO_WAIT ","                                               \
	" " AIC_SQL_CONTEXT_VERSION ","                                        \
	"  (extract(epoch FROM l.context_from) * 1000000.0)::bigint,"          \
	"  (l.request_count + pg_catalog.cardinality(l.leases))::bigint,"      \
	"  " AIC_SQL_DAY_LEFT_S("$3")

enum reserve_column {
	RESERVE_ROW,
	RESERVE_TIME,
	RESERVE_NO_WAIT,
	RESERVE_CONTEXT_VERSION,
	RESERVE_CONTEXT_FROM,
	RESERVE_USED,
	RESERVE_RESET_IN_S,
};

static const struct aic_db_stmt reserve = {
	"reserve",
	RESERVE_OR_REPLACE IF_DAY_ALLOWS IF_FEW_IN_FLIGHT IF_NOT_ERASED
	    RETURNING_RESERVATION,
	7,
	NULL,
};

#define RESERVATION_OF_KEY AIC_SQL_SAME_KEY("x.chat_id", "$2")
#define EXCHANGE_OF_KEY AIC_SQL_SAME_KEY("r.chat_id", "$2")

/*
 * A chat with an Idempotency-Key is not reserved while another chat of the same
 * key is in flight, nor after one was answered. The first check is exact,
 * because it reads the reservations in the newest version of the row. The
 * second check reads a snapshot from before the wait for the row's lock. After
 * aic_idempotency_queue_bind() in the same batch, the statement waits only for
 * a user's very first row. A chat that gets its reservation therefore checks
 * once more (aic_idempotency_bind()) before it calls the model.
 */
#define IF_KEY_NOT_IN_FLIGHT                                                   \
	" AND NOT EXISTS (SELECT FROM pg_catalog.unnest(l.leases) x"           \
	"  WHERE x.until > now() AND x.chat_id <> $2::uuid"                    \
	"  AND " RESERVATION_OF_KEY ")"

#define IF_KEY_NOT_ANSWERED                                                    \
	" AND NOT EXISTS (SELECT FROM ai_chat_requests r"                      \
	"  WHERE r.telegram_id = $1::bigint"                                   \
	" AND " EXCHANGE_OF_KEY "  AND r.created_at + " AIC_SQL_KEPT           \
	" > now())"

static const struct aic_db_stmt reserve_key = {
	"reserve_key",
	RESERVE_OR_REPLACE IF_DAY_ALLOWS IF_FEW_IN_FLIGHT IF_NOT_ERASED
	    IF_KEY_NOT_IN_FLIGHT IF_KEY_NOT_ANSWERED RETURNING_RESERVATION,
	7,
	NULL,
};

/*
 * $1 user, $2 chat. Idempotent: the second call finds no reservation to
 * release. The commit does not wait for the disk, because a reservation that
 * was not released lapses.
 */
static const struct aic_db_stmt release = {
	"release",
	"UPDATE ai_chat_daily_limits l SET"
	"  leases = ARRAY(SELECT x FROM pg_catalog.unnest(l.leases) x"
	"   WHERE (x).chat_id <> $2::uuid),"
	"  updated_at = now()"
	" WHERE telegram_id = $1::bigint AND EXISTS"
	"  (SELECT FROM pg_catalog.unnest(l.leases) x"
	"   WHERE x.chat_id = $2::uuid)"
	" RETURNING " AIC_SQL_NO_WAIT,
	2,
	NULL,
};

/*
 * $1 user, $2 zone. Reads only. Returns one row, whether the user is known or
 * not. The UTC offset in the row is that of the coming midnight, because a
 * change to or from summer time can make it differ from the present one.
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
	"    CASE WHEN l.last_reset_date = c.day"
	" THEN l.request_count ELSE 0 END"
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

enum peek_column {
	PEEK_KNOWN,
	PEEK_USED,
	PEEK_DAY,
	PEEK_RESERVATIONS,
	PEEK_RESET_AT, /* without its offset */
	PEEK_OFFSET_MIN,
	PEEK_RESET_IN_S,
};

/*
 * $1 user, $2 zone. Idempotent: the count is set to 0 each time.
 *
 * If the clock was ahead for a while, the row can contain times that lie years
 * in the future. The statement therefore sets the day to that of the clock,
 * even when this is an earlier day. It removes the reservations of a later day,
 * and those that lapse later than any deadline allows. A chat that loses its
 * reservation in this way and is still in flight is reserved again when it is
 * saved. The other reservations stay.
 *
 * The statement changes created_at and context_from only when they are in the
 * future; NULL stays NULL. It compares them with clock_timestamp(), not with
 * now(), which is a time before the wait for the row's lock: a user who was
 * erased and returned during that wait has a later created_at, and must keep
 * it.
 */
static const struct aic_db_stmt reset = {
	"reset",
	"UPDATE ai_chat_daily_limits l SET request_count = 0,"
	"  last_reset_date = (now() AT TIME ZONE $2::text)::date,"
	"  leases = CASE WHEN l.leases OPERATOR(pg_catalog.=) '{}'"
	"   THEN l.leases ELSE"
	"   ARRAY(SELECT x FROM pg_catalog.unnest(l.leases) x"
	"    WHERE (x).day <= (now() AT TIME ZONE $2::text)::date"
	"    AND (x).until <= now() + interval '" RESERVATION_MAX "') END,"
	"  created_at = CASE WHEN l.created_at > clock_timestamp()"
	"   THEN clock_timestamp() ELSE l.created_at END,"
	"  context_from = CASE WHEN l.context_from > clock_timestamp()"
	"   THEN clock_timestamp() ELSE l.context_from END,"
	"  updated_at = now()"
	" WHERE telegram_id = $1::bigint RETURNING id, " AIC_SQL_DURABLE
	", " AIC_SQL_DAY_USED("$2") ", " AIC_SQL_DAY_LEFT_S("$2"),
	2,
	NULL,
};

enum reset_column {
	RESET_ID,
	RESET_DURABLE,
	RESET_USED,
	RESET_RESET_IN_S,
};

void
aic_limit_reserve_bind(struct aic_db_call *call,
    const struct aic_limit_reserve *r)
{
	aic_db_call(call, r->of_key ? &reserve_key : &reserve);
	aic_db_int(call, r->telegram_id);
	aic_db_text(call, r->chat_id);
	aic_db_text(call, r->zone);
	aic_db_int(call, r->lapse_ms);
	/* No count reaches INT64_MAX. */
	aic_db_int(call, r->limit ? r->limit : INT64_MAX);
	aic_db_int(call, r->at_once);
	aic_db_text(call, r->since);
}

bool
aic_limit_reserve_read(const struct aic_db_call *call,
    char ret_reservation[AIC_RESERVATION_SIZE])
{
	if (PQntuples(call->res) == 0)
		return false;
	snprintf(ret_reservation, AIC_RESERVATION_SIZE, "%s",
	    aic_db_get(call, 0, RESERVE_ROW));
	return true;
}

void
aic_limit_reserve_since(const struct aic_db_call *call,
    char ret_since[AIC_TIME_SIZE])
{
	snprintf(ret_since, AIC_TIME_SIZE, "%s",
	    aic_db_get(call, 0, RESERVE_TIME));
}

void
aic_limit_reserve_context(const struct aic_db_call *call,
    char ret_version[AIC_CONTEXT_VERSION_SIZE], int64_t *ret_from_us)
{
	snprintf(ret_version, AIC_CONTEXT_VERSION_SIZE, "%s",
	    aic_db_get(call, 0, RESERVE_CONTEXT_VERSION));
	*ret_from_us = aic_db_get_int(call, 0, RESERVE_CONTEXT_FROM);
}

void
aic_limit_reserve_day(const struct aic_db_call *call, int64_t *ret_used,
    int64_t *ret_reset_in_s)
{
	*ret_used = aic_db_get_int(call, 0, RESERVE_USED);
	*ret_reset_in_s = aic_db_get_int(call, 0, RESERVE_RESET_IN_S);
}

void
aic_limit_release_bind(struct aic_db_call *call, int64_t telegram_id,
    const char *chat_id)
{
	aic_db_call(call, &release);
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
		return aic_fail(err, AIC_EBUG,
		    "the query of the limit returned no row");
	offset_min = (int)aic_db_get_int(call, 0, PEEK_OFFSET_MIN);
	ret_state->known = *aic_db_get(call, 0, PEEK_KNOWN) == 't';
	ret_state->used = aic_db_get_int(call, 0, PEEK_USED);
	ret_state->limit = limit;
	ret_state->reservations = aic_db_get_int(call, 0, PEEK_RESERVATIONS);
	snprintf(ret_state->day, sizeof(ret_state->day), "%s",
	    aic_db_get(call, 0, PEEK_DAY));
	snprintf(ret_state->reset_at, sizeof(ret_state->reset_at),
	    "%.19s%c%02d:%02d", aic_db_get(call, 0, PEEK_RESET_AT),
	    offset_min < 0 ? '-' : '+',
	    (offset_min < 0 ? -offset_min : offset_min) / 60 % 100,
	    (offset_min < 0 ? -offset_min : offset_min) % 60);
	ret_state->reset_in_s = aic_db_get_int(call, 0, PEEK_RESET_IN_S);
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

void
aic_limit_reset_day(const struct aic_db_call *call, int64_t *ret_used,
    int64_t *ret_reset_in_s)
{
	*ret_used = aic_db_get_int(call, 0, RESET_USED);
	*ret_reset_in_s = aic_db_get_int(call, 0, RESET_RESET_IN_S);
}
