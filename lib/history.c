#include "config.h"

#include "lib/history.h"

/* $1 user, $2 limit, $3 offset. Idempotent: reads only. */
static const struct aic_db_stmt history = {
	"history",
	"SELECT id, message, response, coalesce(tokens_used, 0),"
	"  to_char(created_at AT TIME ZONE 'UTC',"
	"   'YYYY-MM-DD\"T\"HH24:MI:SS.US\"+00:00\"')"
	" FROM ai_chat_requests WHERE telegram_id = $1::bigint"
	" ORDER BY created_at DESC, id DESC LIMIT $2::bigint OFFSET $3::bigint",
	3,
	NULL,
};

enum history_column {
	HISTORY_ID,
	HISTORY_MESSAGE,
	HISTORY_RESPONSE,
	HISTORY_TOKENS,
	HISTORY_CREATED_AT,
};

/* $1 user. Idempotent: reads only. */
static const struct aic_db_stmt total = {
	"history_total",
	"SELECT count(*) FROM ai_chat_requests WHERE telegram_id = $1::bigint",
	1,
	NULL,
};

void
aic_history_bind(struct aic_db_call calls[2], int64_t telegram_id,
    int64_t limit, int64_t offset)
{
	aic_db_call(&calls[0], &history);
	aic_db_int(&calls[0], telegram_id);
	aic_db_int(&calls[0], limit);
	aic_db_int(&calls[0], offset);
	aic_db_call(&calls[1], &total);
	aic_db_int(&calls[1], telegram_id);
}

int64_t
aic_history_total(const struct aic_db_call calls[2])
{
	return aic_db_get_int(&calls[1], 0, 0);
}

int
aic_history_count(const struct aic_db_call calls[2])
{
	return PQntuples(calls[0].res);
}

struct aic_history_item
aic_history_get(const struct aic_db_call calls[2], int i)
{
	return (struct aic_history_item){
		.id = aic_db_get_int(&calls[0], i, HISTORY_ID),
		.message = aic_db_get(&calls[0], i, HISTORY_MESSAGE),
		.response = aic_db_get(&calls[0], i, HISTORY_RESPONSE),
		.tokens = aic_db_get_int(&calls[0], i, HISTORY_TOKENS),
		.created_at = aic_db_get(&calls[0], i, HISTORY_CREATED_AT),
	};
}

/*
 * $1 user, $2 days, $3 zone. Reads only. The condition on request_date selects
 * the rows. The condition on created_at lets the index skip older rows:
 * created_at is on the request_date or later, and a margin of two days allows
 * for a time zone that was changed since.
 */
static const struct aic_db_stmt stats = {
	"stats",
	"SELECT s.n, s.t, round(s.n::numeric / $2::numeric, 2),"
	"  coalesce(round(s.t::numeric / nullif(s.n, 0)::numeric, 2), 0.00), 0"
	" FROM (SELECT today, today - $2::int + 1 AS first"
	"  FROM (SELECT (now() AT TIME ZONE $3::text)::date AS today) t) d"
	" CROSS JOIN LATERAL (SELECT count(*) AS n,"
	"    coalesce(sum(tokens_used), 0) AS t FROM ai_chat_requests"
	"   WHERE telegram_id = $1::bigint AND request_date >= d.first"
	"    AND request_date <= d.today"
	"    AND created_at >= (d.first - 2)::timestamp AT TIME ZONE 'UTC') s",
	3,
	NULL,
};

/* $1 days, $2 zone. Reads only. */
static const struct aic_db_stmt stats_all = {
	"stats_all",
	"SELECT s.n, s.t, round(s.n::numeric / $1::numeric, 2),"
	"  coalesce(round(s.t::numeric / nullif(s.n, 0)::numeric, 2), 0.00),"
	"  s.users"
	" FROM (SELECT (now() AT TIME ZONE $2::text)::date AS today) d"
	" CROSS JOIN LATERAL (SELECT count(*) AS n,"
	"    coalesce(sum(tokens_used), 0) AS t,"
	"    count(DISTINCT telegram_id) AS users FROM ai_chat_requests"
	"   WHERE request_date > d.today - $1::int"
	"    AND request_date <= d.today) s",
	2,
	NULL,
};

/* The columns of stats and stats_all. */
enum stats_column {
	STATS_REQUESTS,
	STATS_TOKENS,
	STATS_REQUESTS_PER_DAY,
	STATS_TOKENS_PER_REQUEST,
	STATS_USERS,
};

void
aic_history_stats_bind(struct aic_db_call *call, int64_t telegram_id,
    int64_t days, const char *zone)
{
	aic_db_call(call, &stats);
	aic_db_int(call, telegram_id);
	aic_db_int(call, days);
	aic_db_text(call, zone);
}

void
aic_history_stats_all_bind(struct aic_db_call *call, int64_t days,
    const char *zone)
{
	aic_db_call(call, &stats_all);
	aic_db_int(call, days);
	aic_db_text(call, zone);
}

struct aic_history_stats
aic_history_stats_read(const struct aic_db_call *call)
{
	return (struct aic_history_stats){
		.requests = aic_db_get_int(call, 0, STATS_REQUESTS),
		.tokens = aic_db_get_int(call, 0, STATS_TOKENS),
		.requests_per_day = aic_db_get(call, 0, STATS_REQUESTS_PER_DAY),
		.tokens_per_request = aic_db_get(call, 0,
		    STATS_TOKENS_PER_REQUEST),
		.users = aic_db_get_int(call, 0, STATS_USERS),
	};
}
