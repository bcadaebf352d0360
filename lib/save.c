#include "config.h"

#include "save.h"

/* The user's used chats, as `used': of the day that the row stands for. */
#define USED                                                                   \
	"l.request_count + CASE WHEN l.leases = '{}' THEN 0 ELSE"              \
	" (SELECT count(*) FROM unnest(l.leases) x"                            \
	"  WHERE x.until > now() AND x.day = l.last_reset_date) END"

/*
 * $1 user, $2 chat, $3 its day, $4 message, $5 response, $6 tokens.
 *
 * The row is changed only where its newest version still has the reservation, and
 * the exchange is inserted only where the row was changed. Twice is once: the
 * second time the reservation is gone. A chat of yesterday is kept under
 * yesterday's date and does not count for today.
 */
#define SAVE(returning)                                                        \
	"WITH counted AS (UPDATE ai_chat_daily_limits AS l SET"                \
	"  request_count = l.request_count"                                    \
	"   + CASE WHEN l.last_reset_date = $3::date THEN 1 ELSE 0 END,"       \
	"  leases = ARRAY(SELECT x FROM unnest(l.leases) x"                    \
	"   WHERE (x).chat_id <> $2::uuid),"                                   \
	"  updated_at = now()"                                                 \
	" WHERE l.telegram_id = $1::bigint AND EXISTS"                         \
	"  (SELECT FROM unnest(l.leases) x WHERE x.chat_id = $2::uuid)"        \
	" RETURNING " USED " AS used" returning "),"                           \
	" kept AS (INSERT INTO ai_chat_requests (telegram_id, chat_id,"        \
	"   request_date, message, response, tokens_used)"                     \
	"  SELECT $1::bigint, $2::uuid, $3::date, $4::text, $5::text, $6::int" \
	"  FROM counted)"                                                      \
	" SELECT used FROM counted"

static const struct aic_db_stmt save_lazy = { "save_lazy",
	SAVE(", set_config('synchronous_commit', 'off', true)"), 6, NULL };

static const struct aic_db_stmt save = { "save", SAVE(""), 6, &save_lazy };

/*
 * $1 user. Waits for whoever holds the row. It writes, though nothing is to be
 * changed, so that its commit waits for the disk: what the next statement finds may
 * have been committed lazily, and must not be told before it is safe.
 */
static const struct aic_db_stmt lock = { "lock",
	"UPDATE ai_chat_daily_limits SET updated_at = now()"
	" WHERE telegram_id = $1::bigint",
	1, NULL };

/* $1 user, $2 chat. Only reads. */
static const struct aic_db_stmt find = { "find",
	"SELECT " USED
	" FROM ai_chat_requests r LEFT JOIN ai_chat_daily_limits l"
	"  ON l.telegram_id = r.telegram_id"
	" WHERE r.telegram_id = $1::bigint AND r.chat_id = $2::uuid",
	2, NULL };

void
aic_save_ask(struct aic_db_call *call, const struct aic_save *s)
{
	aic_db_call(call, &save);
	aic_db_int(call, s->telegram_id);
	aic_db_text(call, s->chat_id);
	aic_db_text(call, s->day);
	aic_db_text(call, s->message);
	aic_db_text(call, s->response);
	aic_db_int(call, s->tokens);
}

bool
aic_save_got(const struct aic_db_call *call, int64_t *ret_used)
{
	if (PQntuples(call->res) == 0)
		return false;
	*ret_used = aic_db_get_int(call, 0, 0);
	return true;
}

void
aic_save_find_ask(
    struct aic_db_call calls[2], int64_t telegram_id, const char *chat_id)
{
	aic_db_call(&calls[0], &lock);
	aic_db_int(&calls[0], telegram_id);
	aic_db_call(&calls[1], &find);
	aic_db_int(&calls[1], telegram_id);
	aic_db_text(&calls[1], chat_id);
}

bool
aic_save_find_got(const struct aic_db_call calls[2], int64_t *ret_used)
{
	return aic_save_got(&calls[1], ret_used);
}
