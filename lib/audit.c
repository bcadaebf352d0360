#include "config.h"

#include "lib/audit.h"

#include "lib/schema.h"

/*
 * $1 action, $2 name of the key, $3 kind of the action, $4 user, $5 request.
 * Idempotent: the id of the action is unique.
 */
static const struct aic_db_stmt add = {
	"audit",
	"INSERT INTO ai_chat_audit"
	" (action_id, key_name, action, telegram_id, request_id)"
	" VALUES ($1::uuid, $2::text, $3::text, $4::bigint, $5::text)"
	" ON CONFLICT (action_id) DO NOTHING RETURNING id, " AIC_SQL_DURABLE,
	5,
	NULL,
};

#define COLUMNS                                                                \
	"SELECT id, to_char(at AT TIME ZONE 'UTC', " AIC_SQL_ISO "),"          \
	"  key_name, action, telegram_id, request_id FROM ai_chat_audit"

enum list_column {
	LIST_ID,
	LIST_AT,
	LIST_KEY,
	LIST_ACTION,
	LIST_USER,
	LIST_REQUEST,
};

/* $1 limit, $2 offset. Idempotent: reads only, as all statements below. */
static const struct aic_db_stmt list_all = {
	"audit_list",
	COLUMNS " ORDER BY id DESC LIMIT $1::bigint OFFSET $2::bigint",
	2,
	NULL,
};

static const struct aic_db_stmt total_all = {
	"audit_total",
	"SELECT count(*) FROM ai_chat_audit",
	0,
	NULL,
};

/* $1 limit, $2 offset, $3 user */
static const struct aic_db_stmt list_user = {
	"audit_list_user",
	COLUMNS " WHERE telegram_id = $3::bigint"
		" ORDER BY id DESC LIMIT $1::bigint OFFSET $2::bigint",
	3,
	NULL,
};

/* $1 user */
static const struct aic_db_stmt total_user = {
	"audit_total_user",
	"SELECT count(*) FROM ai_chat_audit WHERE telegram_id = $1::bigint",
	1,
	NULL,
};

void
aic_audit_bind(struct aic_db_call *call, const struct aic_audit *a)
{
	aic_db_call(call, &add);
	aic_db_text(call, a->id);
	aic_db_text(call, a->key);
	aic_db_text(call, a->action);
	aic_db_int(call, a->telegram_id);
	aic_db_text(call, a->request_id);
}

void
aic_audit_list_bind(struct aic_db_call calls[2], int64_t telegram_id,
    int64_t limit, int64_t offset)
{
	aic_db_call(&calls[0], telegram_id ? &list_user : &list_all);
	aic_db_int(&calls[0], limit);
	aic_db_int(&calls[0], offset);
	aic_db_call(&calls[1], telegram_id ? &total_user : &total_all);
	if (telegram_id) {
		aic_db_int(&calls[0], telegram_id);
		aic_db_int(&calls[1], telegram_id);
	}
}

int64_t
aic_audit_total(const struct aic_db_call calls[2])
{
	return aic_db_get_int(&calls[1], 0, 0);
}

int
aic_audit_count(const struct aic_db_call calls[2])
{
	return PQntuples(calls[0].res);
}

struct aic_audit_item
aic_audit_get(const struct aic_db_call calls[2], int i)
{
	const struct aic_db_call *c = &calls[0];

	return (struct aic_audit_item){
		.id = aic_db_get_int(c, i, LIST_ID),
		.at = aic_db_get(c, i, LIST_AT),
		.key = aic_db_get(c, i, LIST_KEY),
		.action = aic_db_get(c, i, LIST_ACTION),
		.telegram_id = aic_db_get_int(c, i, LIST_USER),
		.request_id = PQgetisnull(c->res, i, LIST_REQUEST)
		    ? NULL
		    : aic_db_get(c, i, LIST_REQUEST),
	};
}
