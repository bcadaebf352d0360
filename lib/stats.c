#include "config.h"

#include "lib/stats.h"

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

void
aic_stats_bind(struct aic_db_call *call, int64_t telegram_id, int64_t days,
    const char *zone)
{
	aic_db_call(call, &stats);
	aic_db_int(call, telegram_id);
	aic_db_int(call, days);
	aic_db_text(call, zone);
}

void
aic_stats_all_bind(struct aic_db_call *call, int64_t days, const char *zone)
{
	aic_db_call(call, &stats_all);
	aic_db_int(call, days);
	aic_db_text(call, zone);
}

struct aic_stats
aic_stats_read(const struct aic_db_call *call)
{
	return (struct aic_stats){
		.requests = aic_db_get_int(call, 0, 0),
		.tokens = aic_db_get_int(call, 0, 1),
		.requests_per_day = aic_db_get(call, 0, 2),
		.tokens_per_request = aic_db_get(call, 0, 3),
		.users = aic_db_get_int(call, 0, 4),
	};
}
