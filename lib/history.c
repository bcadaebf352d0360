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
		.id = aic_db_get_int(&calls[0], i, 0),
		.message = aic_db_get(&calls[0], i, 1),
		.response = aic_db_get(&calls[0], i, 2),
		.tokens = aic_db_get_int(&calls[0], i, 3),
		.created_at = aic_db_get(&calls[0], i, 4),
	};
}
