#include "config.h"

#include "context.h"

/*
 * $1 user, $2 how many. Only reads. Served by the index (telegram_id, created_at,
 * id) from its end, so it costs the same however long the history is.
 */
static const struct aic_db_stmt context = {
	"context",
	"SELECT message, response FROM ai_chat_requests"
	" WHERE telegram_id = $1::bigint"
	" ORDER BY created_at DESC, id DESC LIMIT $2::int",
	2,
	NULL,
};

void
aic_context_ask(struct aic_db_call *call, int64_t telegram_id, int64_t n)
{
	aic_db_call(call, &context);
	aic_db_int(call, telegram_id);
	aic_db_int(call, n);
}

int
aic_context_count(const struct aic_db_call *call)
{
	return call->res ? PQntuples(call->res) : 0;
}

struct aic_exchange
aic_context_get(const struct aic_db_call *call, int i)
{
	int row = aic_context_count(call) - 1 - i;

	return (struct aic_exchange){ .message = aic_db_get(call, row, 0),
		.response = aic_db_get(call, row, 1) };
}
