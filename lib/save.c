#include "config.h"

#include "lib/save.h"

#include "lib/schema.h"

/*
 * $1 user, $2 reservation, $3 message, $4 response, $5 tokens, $6 digest of a
 * keyed chat, $7 limit (0: none, and remaining_requests is -1), $8 the save
 * changes nothing in the last $8 ms before the reservation lapses.
 *
 * The statement changes the row only if its newest version still has the
 * reservation, and inserts the exchange only if it changed the row. Idempotent:
 * the second time the reservation is gone. A chat that was reserved before
 * midnight is stored under the date of its reservation and does not count for
 * the new day.
 */
#define COUNT_IF_RESERVED                                                      \
	"WITH counted AS (UPDATE ai_chat_daily_limits AS l SET"                \
	"  request_count = l.request_count + CASE WHEN"                        \
	"   l.last_reset_date = ($2::ai_chat_lease).day THEN 1 ELSE 0 END,"    \
	"  leases = pg_catalog.array_remove(l.leases, $2::ai_chat_lease),"     \
	"  context_seq = l.context_seq + 1,"                                   \
	"  updated_at = now()"                                                 \
	" WHERE l.telegram_id = $1::bigint"                                    \
	"  AND $2::ai_chat_lease OPERATOR(pg_catalog.=) ANY (l.leases)"        \
	"  AND clock_timestamp() < ($2::ai_chat_lease).until"                  \
	"   - $8::float8 * interval '1 ms'"                                    \
	" RETURNING l.request_count"

#define STORE_IF_COUNTED                                                       \
	" INSERT INTO ai_chat_requests (telegram_id, chat_id, request_date,"   \
	"  message, response, tokens_used, key_digest, remaining_requests)"    \
	" SELECT $1::bigint, ($2::ai_chat_lease).chat_id,"                     \
	"  ($2::ai_chat_lease).day, $3::text, $4::text, $5::int, $6::bytea,"   \
	"  CASE WHEN $7::bigint = 0 THEN -1"                                   \
	"   ELSE greatest(0, $7::bigint - request_count) END"                  \
	" FROM counted RETURNING remaining_requests"

/* Runs where a later batch of the same trip waits for the disk; see `lazy'. */
static const struct aic_db_stmt save_lazy = {
	"save_lazy",
	COUNT_IF_RESERVED ", " AIC_SQL_NO_WAIT ")" STORE_IF_COUNTED,
	8,
	NULL,
};

static const struct aic_db_stmt save = {
	"save",
	COUNT_IF_RESERVED ", " AIC_SQL_DURABLE ")" STORE_IF_COUNTED,
	8,
	&save_lazy,
};

/*
 * $1 user. Waits for the transaction that holds the row's lock. The statement
 * writes although no value has to change, because only a transaction that
 * writes waits for the disk at its commit. The next statement may find rows
 * whose commit did not wait for the disk. The commit of this one waits, so
 * nothing that was found is reported before it is durable.
 */
static const struct aic_db_stmt sync_row = {
	"sync",
	"UPDATE ai_chat_daily_limits SET updated_at = now()"
	" WHERE telegram_id = $1::bigint RETURNING " AIC_SQL_DURABLE,
	1,
	NULL,
};

/* $1 user, $2 chat. Reads only. */
static const struct aic_db_stmt find = {
	"find",
	"SELECT remaining_requests FROM ai_chat_requests"
	" WHERE telegram_id = $1::bigint AND chat_id = $2::uuid",
	2,
	NULL,
};

void
aic_save_bind(struct aic_db_call *call, const struct aic_save *s)
{
	aic_db_call(call, &save);
	aic_db_int(call, s->telegram_id);
	aic_db_text(call, s->reservation);
	aic_db_text(call, s->message);
	aic_db_text(call, s->response);
	aic_db_int(call, s->tokens);
	aic_db_text(call, s->digest);
	aic_db_int(call, s->limit);
	aic_db_int(call, s->early_ms);
}

bool
aic_save_read(const struct aic_db_call *call, int64_t *ret_remaining)
{
	if (PQntuples(call->res) == 0)
		return false;
	*ret_remaining = aic_db_get_int(call, 0, 0);
	return true;
}

void
aic_save_sync_bind(struct aic_db_call *call, int64_t telegram_id)
{
	aic_db_call(call, &sync_row);
	aic_db_int(call, telegram_id);
}

void
aic_save_find_bind(struct aic_db_call calls[2], int64_t telegram_id,
    const char *chat_id)
{
	aic_save_sync_bind(&calls[0], telegram_id);
	aic_db_call(&calls[1], &find);
	aic_db_int(&calls[1], telegram_id);
	aic_db_text(&calls[1], chat_id);
}

bool
aic_save_find_read(const struct aic_db_call calls[2], int64_t *ret_remaining)
{
	return aic_save_read(&calls[1], ret_remaining);
}
