#include "config.h"

#include "app/worker/admin.h"

#include <string.h>

#include "lib/cache_keys.h"
#include "lib/history.h"
#include "lib/json.h"
#include "lib/render.h"
#include "lib/usage.h"

/* --- input --------------------------------------------------------------- */

#define TELEGRAM_ID(of, needed)                                                \
	{                                                                      \
		"telegram_id", AIC_INPUT_INT,                                  \
		    .required = (needed), .min = 1, .max = INT64_MAX,          \
		    .offset = offsetof(struct admin_input, telegram_id),       \
		    .place = (of), .about = "The user's id in Telegram.",      \
		    .example = "123456789"                                     \
	}

static const struct aic_input_field user_fields[] = {
	TELEGRAM_ID(AIC_INPUT_PATH, true),
	ADMIN_DAYS,
};
const struct aic_input_schema admin_user_input = {
	AIC_INPUT_FIELDS(user_fields), NULL
};

static const struct aic_input_field history_fields[] = {
	TELEGRAM_ID(AIC_INPUT_PATH, true),
	ADMIN_LIMIT(10),
	ADMIN_OFFSET(INT64_MAX),
};
const struct aic_input_schema admin_history_input = {
	AIC_INPUT_FIELDS(history_fields), NULL
};

static const struct aic_input_field audit_fields[] = {
	TELEGRAM_ID(AIC_INPUT_QUERY, false),
	ADMIN_LIMIT(50),
	ADMIN_OFFSET(INT64_MAX),
};
const struct aic_input_schema admin_audit_input = {
	AIC_INPUT_FIELDS(audit_fields), NULL
};

enum aic_code
admin_read_params(struct request *rq, const struct aic_input_schema *schema,
    struct admin_input *ret_in, struct aic_err *err)
{
	enum aic_code rc;

	*ret_in = (struct admin_input){ .telegram_id = 0 };
	request_stage(rq, "reading the parameters");
	rc = aic_input_params(rq->tail, rq->in.query, schema->fields, schema->n,
	    ret_in, err);
	if (!rc)
		rq->trace.user = ret_in->telegram_id;
	return rc;
}

static const struct aic_input_field target_fields[] = {
	TELEGRAM_ID(AIC_INPUT_BODY, true),
};
const struct aic_input_schema admin_target_input = {
	AIC_INPUT_FIELDS(target_fields), "UserRequest"
};

static enum aic_code
read_target(struct request *rq, struct aic_err *err)
{
	struct admin_input in = { .telegram_id = 0 };
	struct json_object *doc;
	enum aic_code rc;

	request_stage(rq, "reading the body");
	rc = aic_input_body(rq->body.data, rq->body.len, target_fields, 1, &in,
	    &doc, err);
	if (rc)
		return rc;
	json_object_put(doc); /* no field points into it */
	rq->trace.user = in.telegram_id;
	return AIC_OK;
}

/* --- output -------------------------------------------------------------- */

void
admin_put_text(struct aic_buf *to, const char *text)
{
	if (text)
		aic_json_put_str(to, text);
	else
		aic_buf_puts(to, "null");
}

/* The calls of admin_user(). */
enum user_call { USER_LIMIT, USER_STATS, USER_SINCE, USER_DAYS, USER_CALLS };

static void
put_user(struct aic_buf *to, int64_t user, int64_t days,
    const struct aic_limit_state *limit,
    const struct aic_db_call calls[USER_CALLS])
{
	struct aic_usage_since since = aic_usage_since_read(&calls[USER_SINCE]);
	struct aic_history_stats s = aic_history_stats_read(&calls[USER_STATS]);
	struct aic_usage_day day;
	int i;

	aic_buf_printf(to,
	    "{\"telegram_id\":%lld,\"known\":%s,\"in_flight\":%lld,"
	    "\"first_seen\":",
	    (long long)user, limit->known || s.requests > 0 ? "true" : "false",
	    (long long)limit->reservations);
	admin_put_text(to, since.first_seen);
	aic_buf_puts(to, ",\"conversation_since\":");
	admin_put_text(to, since.conversation);
	aic_buf_puts(to, ",\"limits\":");
	aic_render_limits(to, user, limit);
	aic_buf_puts(to, ",\"stats\":");
	aic_render_stats(to, user, days, &s);
	aic_buf_puts(to, ",\"items\":[");
	for (i = 0; i < PQntuples(calls[USER_DAYS].res); i++) {
		day = aic_usage_user_day_get(&calls[USER_DAYS], i);
		aic_buf_printf(to,
		    "%s{\"date\":\"%s\",\"chats\":%lld,\"tokens\":%lld}",
		    i > 0 ? "," : "", day.date, (long long)day.chats,
		    (long long)day.tokens);
	}
	aic_buf_puts(to, "]}");
}

static void
put_action(struct aic_buf *to, const struct aic_audit_item *item)
{
	aic_buf_printf(to,
	    "{\"id\":%lld,\"at\":\"%s\",\"key\":", (long long)item->id,
	    item->at);
	aic_json_put_str(to, item->key);
	aic_buf_puts(to, ",\"action\":");
	aic_json_put_str(to, item->action);
	aic_buf_printf(to, ",\"telegram_id\":%lld,\"request_id\":",
	    (long long)item->telegram_id);
	admin_put_text(to, item->request_id);
	aic_buf_putc(to, '}');
}

/* --- shapes -------------------------------------------------------------- */

static const struct aic_shape_member day_members[] = {
	{ "date", AIC_SHAPE_TEXT, .format = "date" },
	{ "chats", AIC_SHAPE_INT, .about = "Answered chats." },
	{ "tokens", AIC_SHAPE_INT, .about = "As counted by the model." },
};
static const struct aic_shape day_shape = { "UserDay",
	"The stored exchanges of a user on a day.",
	AIC_SHAPE_MEMBERS(day_members), NULL };
static const struct aic_shape_member user_members[] = {
	{ "telegram_id", AIC_SHAPE_INT, .min = 1 },
	{ "known", AIC_SHAPE_BOOL,
	    .about = "False: the user has never chatted." },
	{ "in_flight", AIC_SHAPE_INT, .about = "Chats in flight." },
	{ "first_seen", AIC_SHAPE_TEXT, .nullable = true, .format = "date-time",
	    .about = "Null: the user has never chatted." },
	{ "conversation_since", AIC_SHAPE_TEXT, .nullable = true,
	    .format = "date-time",
	    .about = "When the conversation was begun anew. Null: never." },
	{ "limits", AIC_SHAPE_OBJECT, .shape = &aic_render_limits_shape },
	{ "stats", AIC_SHAPE_OBJECT, .shape = &aic_render_stats_shape },
	{ "items", AIC_SHAPE_LIST, .shape = &day_shape,
	    .about = "Each day, the oldest first; the last one is today." },
};
const struct aic_shape admin_user_shape = { "User",
	"The limit, the statistics and the last days of a user.",
	AIC_SHAPE_MEMBERS(user_members),
	"{\"telegram_id\":123456789,\"known\":true,\"in_flight\":0,"
	"\"first_seen\":\"2026-01-09T08:00:00+00:00\","
	"\"conversation_since\":null,\"limits\":{\"telegram_id\":123456789,"
	"\"requests_today\":3,\"requests_remaining\":27,\"daily_limit\":30,"
	"\"reset_date\":\"2026-11-28\","
	"\"reset_at\":\"2026-11-29T00:00:00+00:00\"},"
	"\"stats\":{\"telegram_id\":123456789,\"total_requests\":3,"
	"\"total_tokens\":3000,\"days\":1,\"avg_requests_per_day\":3.00,"
	"\"avg_tokens_per_request\":1000.00},"
	"\"items\":[{\"date\":\"2026-11-28\",\"chats\":3,"
	"\"tokens\":3000}]}" };

static const char *const caches[] = { "deleted", "expires", "off", NULL };
static const struct aic_shape_member forget_members[] = {
	{ "success", AIC_SHAPE_BOOL, .about = "Always true." },
	{ "telegram_id", AIC_SHAPE_INT, .min = 1 },
	{ "known", AIC_SHAPE_BOOL,
	    .about = "False: the user has never chatted." },
	{ "exchanges", AIC_SHAPE_INT, .about = "How many were deleted." },
	{ "counter_kept", AIC_SHAPE_BOOL,
	    .about = "True: the counter of today or yesterday stays, so that "
		     "nobody gets a second limit." },
	{ "cache", AIC_SHAPE_TEXT, .names = caches,
	    .about = "Redis. \"expires\": it did not answer, and its entries "
		     "about the user expire within ten minutes. \"off\": not "
		     "configured." },
};
const struct aic_shape admin_forget_shape = { "Forgotten",
	"The user is erased.", AIC_SHAPE_MEMBERS(forget_members),
	"{\"success\":true,\"telegram_id\":123456789,\"known\":true,"
	"\"exchanges\":120,\"counter_kept\":true,\"cache\":\"deleted\"}" };

static const struct aic_shape_member action_members[] = {
	{ "id", AIC_SHAPE_INT, .min = 1 },
	{ "at", AIC_SHAPE_TEXT, .format = "date-time" },
	{ "key", AIC_SHAPE_TEXT,
	    .about = "The name of the key; \"ai-chatctl\": that tool." },
	{ "action", AIC_SHAPE_TEXT,
	    .about = "`reset-limit`, `clear`, `forget`, or `history`: the "
		     "exchanges of the user were read." },
	{ "telegram_id", AIC_SHAPE_INT, .min = 1 },
	{ "request_id", AIC_SHAPE_TEXT, .nullable = true,
	    .about = "As in the log. Null: no request." },
};
static const struct aic_shape action_shape = { "Action",
	"An action of an operator.", AIC_SHAPE_MEMBERS(action_members), NULL };
static const struct aic_shape_member audit_members[] = {
	{ "limit", AIC_SHAPE_INT, .min = 1, .about = "As in the request." },
	{ "offset", AIC_SHAPE_INT, .about = "As in the request." },
	{ "total", AIC_SHAPE_INT, .about = "The number of all of them." },
	{ "items", AIC_SHAPE_LIST, .shape = &action_shape,
	    .about = "The newest first." },
};
const struct aic_shape admin_audit_shape = { "Audit",
	"A page of the actions of operators.", AIC_SHAPE_MEMBERS(audit_members),
	"{\"limit\":50,\"offset\":0,\"total\":1,\"items\":[{\"id\":1,"
	"\"at\":\"2026-11-28T10:15:30+00:00\",\"key\":\"key 1\","
	"\"action\":\"reset-limit\",\"telegram_id\":123456789,"
	"\"request_id\":\"5f1f8f9b1a77cc03\"}]}" };

/* --- handlers ------------------------------------------------------------ */

enum aic_code
admin_begin(struct request *rq, const char *action, struct aic_audit *ret_audit,
    struct aic_err *err)
{
	*ret_audit = (struct aic_audit){
		.action = action,
		.telegram_id = rq->trace.user,
		.request_id = rq->in.id,
	};
	if (!rq->by_operator)
		return AIC_OK;
	ret_audit->key = aic_auth_admin_name(rq->worker->conf.auth,
	    rq->in.api_key);
	/* The key was accepted, so only a lack of memory hides its name. */
	if (!ret_audit->key)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	return aic_id_new(ret_audit->id, err);
}

enum aic_code
admin_user(struct request *rq, struct aic_err *err)
{
	const struct aic_conf *conf = &rq->worker->conf;
	struct aic_db_call calls[USER_CALLS];
	struct aic_limit_state limit;
	struct admin_input in;
	enum aic_code rc;
	int i;

	rc = admin_read_params(rq, &admin_user_input, &in, err);
	if (rc)
		return rc;
	request_stage(rq, "reading the user");
	aic_limit_peek_bind(&calls[USER_LIMIT], in.telegram_id, conf->timezone);
	aic_history_stats_bind(&calls[USER_STATS], in.telegram_id, in.days,
	    conf->timezone);
	aic_usage_since_bind(&calls[USER_SINCE], in.telegram_id);
	aic_usage_user_days_bind(&calls[USER_DAYS], in.telegram_id, in.days,
	    conf->timezone);
	rc = request_db(rq, calls, USER_CALLS, err);
	if (rc)
		return rc;
	rc = aic_limit_peek_read(&calls[USER_LIMIT], conf->daily_limit, &limit,
	    err);
	if (!rc)
		put_user(&rq->out, in.telegram_id, in.days, &limit, calls);
	for (i = 0; i < USER_CALLS; i++)
		aic_db_call_done(&calls[i]);
	return rc;
}

enum aic_code
admin_history(struct request *rq, struct aic_err *err)
{
	struct aic_db_call calls[3];
	struct aic_audit audit;
	struct admin_input in;
	enum aic_code rc;
	int i;

	rc = admin_read_params(rq, &admin_history_input, &in, err);
	if (rc)
		return rc;
	request_stage(rq, "reading the history");
	rc = admin_begin(rq, "history", &audit, err);
	if (rc)
		return rc;
	aic_history_bind(calls, in.telegram_id, in.limit, in.offset);
	aic_audit_bind(&calls[2], &audit);
	rc = request_db(rq, calls, 3, err);
	if (rc)
		return rc;
	aic_render_history(&rq->out, calls, in.limit, in.offset);
	for (i = 0; i < 3; i++)
		aic_db_call_done(&calls[i]);
	return AIC_OK;
}

/* The erasure is limited by the deadline of the request alone, because a user
 * can have many exchanges; each batch of rows is short. */
enum aic_code
admin_forget(struct request *rq, struct aic_err *err)
{
	struct worker *w = rq->worker;
	struct aic_forgotten done;
	struct aic_audit audit;
	const char *cache = "off";
	enum aic_code rc;

	rc = read_target(rq, err);
	if (rc)
		return rc;
	request_stage(rq, "erasing the user");
	/* The keys in Redis contain the name of the database, which
	 * worker_schema_ok() reads. */
	rc = worker_schema_ok(w, rq->stage_end_us, err);
	if (!rc)
		rc = admin_begin(rq, "forget", &audit, err);
	if (!rc)
		rc = aic_retain_forget(w->background_db, rq->trace.user, &audit,
		    rq->deadline_us, &done, err);
	if (rc)
		return rc;
	if (w->cache)
		cache = aic_cache_keys_forget(w->cache, rq->trace.user)
		    ? "deleted"
		    : "expires";
	aic_buf_puts(&rq->out, "{\"success\":true,");
	aic_render_forgotten(&rq->out, rq->trace.user, &done);
	aic_buf_printf(&rq->out, ",\"cache\":\"%s\"}", cache);
	return AIC_OK;
}

enum aic_code
admin_audit_list(struct request *rq, struct aic_err *err)
{
	struct aic_audit_item item;
	struct aic_db_call calls[2];
	struct admin_input in;
	enum aic_code rc;
	int i;

	rc = admin_read_params(rq, &admin_audit_input, &in, err);
	if (rc)
		return rc;
	request_stage(rq, "reading the audit");
	aic_audit_list_bind(calls, in.telegram_id, in.limit, in.offset);
	rc = request_db(rq, calls, 2, err);
	if (rc)
		return rc;
	aic_buf_printf(&rq->out,
	    "{\"limit\":%lld,\"offset\":%lld,\"total\":%lld,\"items\":[",
	    (long long)in.limit, (long long)in.offset,
	    (long long)aic_audit_total(calls));
	for (i = 0; i < aic_audit_count(calls); i++) {
		if (i > 0)
			aic_buf_putc(&rq->out, ',');
		item = aic_audit_get(calls, i);
		put_action(&rq->out, &item);
	}
	aic_buf_puts(&rq->out, "]}");
	aic_db_call_done(&calls[0]);
	aic_db_call_done(&calls[1]);
	return AIC_OK;
}
