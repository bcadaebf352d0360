#include "config.h"

#include "app/worker/admin.h"

#include <string.h>

#include "lib/cache_keys.h"
#include "lib/history.h"
#include "lib/input.h"
#include "lib/json.h"
#include "lib/render.h"
#include "lib/usage.h"

#define DAYS_MAX 365
#define DAYS_PRESET 30
#define PAGE_MAX 100 /* items of a page */

/* An index scan skips so many rows within a few milliseconds. */
#define USERS_OFFSET_MAX 10000

/* Nginx accepts no longer URI. */
#define QUERY_MAX 8192

/* --- input --------------------------------------------------------------- */

/* Read an integer of the query. All faults are reported together, so the
 * callers read every parameter before they fail. */
static enum aic_code
read_number(struct request *rq, const char *name, int64_t min, int64_t max,
    int64_t preset, int64_t *ret_value, struct aic_err *err)
{
	char text[QUERY_MAX];

	*ret_value = preset;
	if (!aic_input_query(rq->in.query, name, text, sizeof(text)))
		return AIC_OK;
	return aic_input_number("query", name, text, strlen(text), min, max,
	    ret_value, err);
}

static enum aic_code
read_user(struct request *rq, struct aic_err *err)
{
	request_stage(rq, "reading the path");
	return aic_input_number("path", "telegram_id", rq->tail,
	    strlen(rq->tail), 1, INT64_MAX, &rq->trace.user, err);
}

static enum aic_code
read_page(struct request *rq, int64_t preset, int64_t offset_max,
    int64_t *ret_limit, int64_t *ret_offset, struct aic_err *err)
{
	enum aic_code limit = read_number(rq, "limit", 1, PAGE_MAX, preset,
	    ret_limit, err);
	enum aic_code offset = read_number(rq, "offset", 0, offset_max, 0,
	    ret_offset, err);

	return limit ? limit : offset;
}

static enum aic_code
read_period(struct request *rq, struct aic_usage_period *ret_period,
    struct aic_err *err)
{
	char text[QUERY_MAX];

	*ret_period = (struct aic_usage_period){ .month = true };
	if (!aic_input_query(rq->in.query, "period", text, sizeof(text)) ||
	    aic_usage_period_parse(text, ret_period))
		return AIC_OK;
	return aic_fault(err, "value_error", "query", "period",
	    "Value error, must be a month YYYY-MM or a day YYYY-MM-DD, of the "
	    "years 2000 to 2999");
}

static enum aic_code
read_order(struct request *rq, bool *ret_by_tokens, struct aic_err *err)
{
	char text[QUERY_MAX] = "chats";

	aic_input_query(rq->in.query, "by", text, sizeof(text));
	*ret_by_tokens = strcmp(text, "tokens") == 0;
	if (*ret_by_tokens || strcmp(text, "chats") == 0)
		return AIC_OK;
	return aic_fault(err, "literal_error", "query", "by",
	    "Input should be 'chats' or 'tokens'");
}

/* --- output -------------------------------------------------------------- */

/* Write a text of the database or null. */
static void
put_text(struct aic_buf *to, const char *text)
{
	if (text)
		aic_json_put_str(to, text);
	else
		aic_buf_puts(to, "null");
}

static void
put_state(struct aic_buf *to, const struct aic_usage_state *state)
{
	aic_buf_puts(to, "\"counted_until\":");
	put_text(to, state->counted_until);
	aic_buf_printf(to, ",\"complete\":%s",
	    state->complete ? "true" : "false");
}

static int64_t
count_failures(const struct aic_usage_day *day)
{
	int64_t n = 0;
	int i;

	for (i = AIC_USAGE_MODEL_FAILED; i < AIC_USAGE_OUTCOME__MAX; i++)
		n += day->unanswered[i];
	return n;
}

/* The sums of a day, or of all days. */
static void
put_sums(struct aic_buf *to, const struct aic_usage_day *day)
{
	aic_buf_printf(to,
	    "\"limited\":%lld,\"crowded\":%lld,\"failed\":%lld",
	    (long long)day->unanswered[AIC_USAGE_LIMITED],
	    (long long)day->unanswered[AIC_USAGE_CROWDED],
	    (long long)count_failures(day));
}

static void
put_day(struct aic_buf *to, const struct aic_usage_day *day)
{
	int i;

	aic_buf_printf(to,
	    "{\"date\":\"%s\",\"chats\":%lld,\"tokens\":%lld,\"users\":%lld,",
	    day->date, (long long)day->chats, (long long)day->tokens,
	    (long long)day->users);
	put_sums(to, day);
	aic_buf_puts(to, ",\"failures\":{");
	for (i = AIC_USAGE_MODEL_FAILED; i < AIC_USAGE_OUTCOME__MAX; i++)
		aic_buf_printf(to, "%s\"%s\":%lld",
		    i > AIC_USAGE_MODEL_FAILED ? "," : "",
		    aic_usage_outcomes[i], (long long)day->unanswered[i]);
	aic_buf_puts(to, "}}");
}

static struct aic_usage_day
add_days(const struct aic_db_call *call)
{
	struct aic_usage_day all = { .chats = 0 }, day;
	int i, j;

	for (i = 0; i < PQntuples(call->res); i++) {
		day = aic_usage_day_get(call, i);
		all.chats += day.chats;
		all.tokens += day.tokens;
		for (j = 0; j < AIC_USAGE_OUTCOME__MAX; j++)
			all.unanswered[j] += day.unanswered[j];
	}
	return all;
}

static void
put_overview(struct request *rq, const struct aic_db_call calls[2],
    int64_t days)
{
	struct aic_usage_state state = aic_usage_state_read(&calls[0]);
	struct aic_usage_day all = add_days(&calls[1]), day;
	struct aic_buf *to = &rq->out;
	int i;

	aic_buf_printf(to, "{\"days\":%lld,\"timezone\":", (long long)days);
	aic_json_put_str(to, rq->worker->conf.timezone);
	aic_buf_printf(to, ",\"daily_limit\":%lld,",
	    (long long)rq->worker->conf.daily_limit);
	put_state(to, &state);
	aic_buf_puts(to, ",\"refusals_since\":");
	put_text(to, state.refusals_since);
	aic_buf_printf(to, ",\"totals\":{\"chats\":%lld,\"tokens\":%lld,",
	    (long long)all.chats, (long long)all.tokens);
	put_sums(to, &all);
	aic_buf_puts(to, "},\"items\":[");
	for (i = 0; i < PQntuples(calls[1].res); i++) {
		if (i > 0)
			aic_buf_putc(to, ',');
		day = aic_usage_day_get(&calls[1], i);
		put_day(to, &day);
	}
	aic_buf_puts(to, "]}");
}

static void
put_users(struct aic_buf *to, const struct aic_db_call calls[3])
{
	struct aic_usage_state state = aic_usage_state_read(&calls[2]);
	struct aic_usage_sum sum = aic_usage_top_sum(calls);
	struct aic_usage_user user;
	int i;

	put_state(to, &state);
	aic_buf_printf(to,
	    ",\"users\":%lld,\"chats\":%lld,\"tokens\":%lld,\"items\":[",
	    (long long)sum.users, (long long)sum.chats, (long long)sum.tokens);
	for (i = 0; i < aic_usage_top_count(calls); i++) {
		user = aic_usage_top_get(calls, i);
		aic_buf_printf(to,
		    "%s{\"telegram_id\":%lld,\"chats\":%lld,\"tokens\":%lld}",
		    i > 0 ? "," : "", (long long)user.telegram_id,
		    (long long)user.chats, (long long)user.tokens);
	}
	aic_buf_puts(to, "]}");
}

/* The calls of admin_user(). */
enum user_call {
	USER_LIMIT,
	USER_STATS,
	USER_SINCE,
	USER_DAYS,
	USER_CALLS
};

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
	put_text(to, since.first_seen);
	aic_buf_puts(to, ",\"conversation_since\":");
	put_text(to, since.conversation);
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
	aic_buf_printf(to, "{\"id\":%lld,\"at\":\"%s\",\"key\":",
	    (long long)item->id, item->at);
	aic_json_put_str(to, item->key);
	aic_buf_puts(to, ",\"action\":");
	aic_json_put_str(to, item->action);
	aic_buf_printf(to, ",\"telegram_id\":%lld,\"request_id\":",
	    (long long)item->telegram_id);
	put_text(to, item->request_id);
	aic_buf_putc(to, '}');
}

/* --- handlers ------------------------------------------------------------ */

enum aic_code
admin_begin(struct request *rq, const char *action, struct aic_audit *ret_audit,
    struct aic_err *err)
{
	*ret_audit = (struct aic_audit){
		.key = aic_auth_admin_name(rq->worker->conf.auth,
		    rq->in.api_key),
		.action = action,
		.telegram_id = rq->trace.user,
		.request_id = rq->in.id,
	};
	return ret_audit->key ? aic_id_new(ret_audit->id, err) : AIC_OK;
}

enum aic_code
admin_overview(struct request *rq, struct aic_err *err)
{
	struct aic_db_call calls[2];
	enum aic_code rc;
	int64_t days;

	rc = read_number(rq, "days", 1, DAYS_MAX, DAYS_PRESET, &days, err);
	if (rc)
		return rc;
	request_stage(rq, "reading the sums");
	aic_usage_state_bind(&calls[0]);
	aic_usage_days_bind(&calls[1], days, rq->worker->conf.timezone);
	rc = request_db(rq, calls, 2, err);
	if (rc)
		return rc;
	put_overview(rq, calls, days);
	aic_db_call_done(&calls[0]);
	aic_db_call_done(&calls[1]);
	return AIC_OK;
}

enum aic_code
admin_users(struct request *rq, struct aic_err *err)
{
	struct aic_usage_period period;
	struct aic_db_call calls[3];
	int64_t limit, offset;
	bool by_tokens;
	enum aic_code rc, more;
	int i;

	rc = read_period(rq, &period, err);
	more = read_order(rq, &by_tokens, err);
	rc = rc ? rc : more;
	more = read_page(rq, 20, USERS_OFFSET_MAX, &limit, &offset, err);
	rc = rc ? rc : more;
	if (rc)
		return rc;
	request_stage(rq, "reading the sums");
	aic_usage_top_bind(calls, &period, rq->worker->conf.timezone, by_tokens,
	    limit, offset);
	aic_usage_state_bind(&calls[2]);
	rc = request_db(rq, calls, 3, err);
	if (rc)
		return rc;
	aic_buf_printf(&rq->out,
	    "{\"period\":\"%s\",\"by\":\"%s\",\"limit\":%lld,\"offset\":%lld,",
	    aic_usage_top_sum(calls).period, by_tokens ? "tokens" : "chats",
	    (long long)limit, (long long)offset);
	put_users(&rq->out, calls);
	for (i = 0; i < 3; i++)
		aic_db_call_done(&calls[i]);
	return AIC_OK;
}

enum aic_code
admin_user(struct request *rq, struct aic_err *err)
{
	const struct aic_conf *conf = &rq->worker->conf;
	struct aic_db_call calls[USER_CALLS];
	struct aic_limit_state limit;
	enum aic_code rc, query;
	int64_t days;
	int i;

	rc = read_user(rq, err);
	query = read_number(rq, "days", 1, DAYS_MAX, DAYS_PRESET, &days, err);
	if (rc || query)
		return rc ? rc : query;
	request_stage(rq, "reading the user");
	aic_limit_peek_bind(&calls[USER_LIMIT], rq->trace.user, conf->timezone);
	aic_history_stats_bind(&calls[USER_STATS], rq->trace.user, days,
	    conf->timezone);
	aic_usage_since_bind(&calls[USER_SINCE], rq->trace.user);
	aic_usage_user_days_bind(&calls[USER_DAYS], rq->trace.user, days,
	    conf->timezone);
	rc = request_db(rq, calls, USER_CALLS, err);
	if (rc)
		return rc;
	rc = aic_limit_peek_read(&calls[USER_LIMIT], conf->daily_limit, &limit,
	    err);
	if (!rc)
		put_user(&rq->out, rq->trace.user, days, &limit, calls);
	for (i = 0; i < USER_CALLS; i++)
		aic_db_call_done(&calls[i]);
	return rc;
}

enum aic_code
admin_history(struct request *rq, struct aic_err *err)
{
	struct aic_db_call calls[3];
	struct aic_audit audit;
	int64_t limit, offset;
	enum aic_code rc, page;
	int i;

	rc = read_user(rq, err);
	page = read_page(rq, 10, INT64_MAX, &limit, &offset, err);
	if (rc || page)
		return rc ? rc : page;
	request_stage(rq, "reading the history");
	rc = admin_begin(rq, "history", &audit, err);
	if (rc)
		return rc;
	aic_history_bind(calls, rq->trace.user, limit, offset);
	aic_audit_bind(&calls[2], &audit);
	rc = request_db(rq, calls, 3, err);
	if (rc)
		return rc;
	aic_render_history(&rq->out, calls, limit, offset);
	for (i = 0; i < 3; i++)
		aic_db_call_done(&calls[i]);
	return AIC_OK;
}

/* The body is {"telegram_id"}. */
static enum aic_code
read_target(struct request *rq, struct aic_err *err)
{
	static const struct aic_input_field fields[] = {
		{ "telegram_id", AIC_INPUT_INT, .required = true, .min = 1,
		    .max = INT64_MAX },
	};
	struct json_object *doc;
	int64_t user;
	enum aic_code rc;

	request_stage(rq, "reading the body");
	rc = aic_input_body(rq->body.data, rq->body.len, fields, 1, &user, &doc,
	    err);
	if (rc)
		return rc;
	json_object_put(doc);
	rq->trace.user = user;
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
		rc = aic_retain_forget(w->db, rq->trace.user, &audit,
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
	int64_t limit, offset, user;
	enum aic_code rc, page;
	int i;

	rc = read_number(rq, "telegram_id", 1, INT64_MAX, 0, &user, err);
	page = read_page(rq, 50, INT64_MAX, &limit, &offset, err);
	if (rc || page)
		return rc ? rc : page;
	request_stage(rq, "reading the audit");
	aic_audit_list_bind(calls, user, limit, offset);
	rc = request_db(rq, calls, 2, err);
	if (rc)
		return rc;
	aic_buf_printf(&rq->out,
	    "{\"limit\":%lld,\"offset\":%lld,\"total\":%lld,\"items\":[",
	    (long long)limit, (long long)offset,
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
