#include "config.h"

#include <string.h>

#include "app/worker/admin.h"
#include "lib/json.h"
#include "lib/usage.h"

/* An index scan skips so many rows within a few milliseconds. */
#define USERS_OFFSET_MAX 10000

/* Nginx accepts no longer URI. */
#define QUERY_MAX 8192

/* --- input --------------------------------------------------------------- */

enum order {
	BY_CHATS,
	BY_TOKENS,
};
static const char *const orders[] = { "chats", "tokens", NULL };

static const struct aic_input_field overview_fields[] = {
	ADMIN_DAYS,
};
const struct aic_input_schema admin_overview_input = {
	AIC_INPUT_FIELDS(overview_fields), NULL
};

#define PERIOD_RULE                                                            \
	"must be a month YYYY-MM or a day YYYY-MM-DD, of the years 2000 to "   \
	"2999"

static const struct aic_input_field users_fields[] = {
	{ "period", AIC_INPUT_TEXT, .place = AIC_INPUT_QUERY, .min = 7,
	    .max = 10,
	    .pattern = "^2[0-9]{3}-(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|"
		       "3[01]))?$",
	    .about = "A month or a day. Without it: the current month.",
	    .example = "\"2026-11\"" },
	{ "by", AIC_INPUT_CHOICE, .place = AIC_INPUT_QUERY, .names = orders,
	    .preset = BY_CHATS, .offset = offsetof(struct admin_input, by),
	    .about = "The order of the users.", .example = "\"chats\"" },
	ADMIN_LIMIT(20),
	ADMIN_OFFSET(USERS_OFFSET_MAX),
};
const struct aic_input_schema admin_users_input = {
	AIC_INPUT_FIELDS(users_fields), NULL
};

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
	    "Value error, " PERIOD_RULE);
}

/* --- output -------------------------------------------------------------- */

static void
put_state(struct aic_buf *to, const struct aic_usage_state *state)
{
	aic_buf_puts(to, "\"counted_until\":");
	admin_put_text(to, state->counted_until);
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
	aic_buf_printf(to, "\"limited\":%lld,\"crowded\":%lld,\"failed\":%lld",
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
	admin_put_text(to, state.refusals_since);
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

/* --- shapes -------------------------------------------------------------- */

#define COUNTED_UNTIL                                                          \
	{                                                                      \
		"counted_until", AIC_SHAPE_TEXT,                               \
		    .nullable = true, .format = "date-time",                   \
		    .about = "All exchanges that were stored before are "      \
			     "counted. Null: none is counted yet."             \
	}
#define COMPLETE                                                               \
	{                                                                      \
		"complete", AIC_SHAPE_BOOL,                                    \
		    .about = "False: older exchanges are still being counted." \
	}
#define LIMITED                                                                \
	{                                                                      \
		"limited", AIC_SHAPE_INT,                                      \
		    .about = "Chats that were refused because the daily "      \
			     "limit was reached."                              \
	}
#define CROWDED                                                                \
	{                                                                      \
		"crowded", AIC_SHAPE_INT,                                      \
		    .about = "Chats that were refused because the user had "   \
			     "too many in flight."                             \
	}
#define FAILED                                                                 \
	{                                                                      \
		"failed", AIC_SHAPE_INT, .about = "The sum of all failures."   \
	}

static const struct aic_shape_member failures_members[] = {
	{ "model_failed", AIC_SHAPE_INT,
	    .about = "The model gave nothing usable." },
	{ "model_open", AIC_SHAPE_INT,
	    .about = "The circuit breaker of the model was open." },
	{ "database_failed", AIC_SHAPE_INT,
	    .about = "The database was not available." },
	{ "busy", AIC_SHAPE_INT, .about = "All slots were in use." },
	{ "failed", AIC_SHAPE_INT, .about = "Other failures." },
};
static const struct aic_shape failures_shape = { "Failures",
	"Chats that failed, by kind.", AIC_SHAPE_MEMBERS(failures_members),
	NULL };
static const struct aic_shape_member day_members[] = {
	{ "date", AIC_SHAPE_TEXT, .format = "date" },
	{ "chats", AIC_SHAPE_INT, .about = "Answered chats." },
	{ "tokens", AIC_SHAPE_INT, .about = "As counted by the model." },
	{ "users", AIC_SHAPE_INT, .about = "Users with an answered chat." },
	LIMITED,
	CROWDED,
	FAILED,
	{ "failures", AIC_SHAPE_OBJECT, .shape = &failures_shape },
};
static const struct aic_shape day_shape = { "Day", "The sums of a day.",
	AIC_SHAPE_MEMBERS(day_members), NULL };
static const struct aic_shape_member totals_members[] = {
	{ "chats", AIC_SHAPE_INT, .about = "Answered chats." },
	{ "tokens", AIC_SHAPE_INT, .about = "As counted by the model." },
	LIMITED,
	CROWDED,
	FAILED,
};
static const struct aic_shape totals_shape = { "Totals",
	"The sums of all days of the response.",
	AIC_SHAPE_MEMBERS(totals_members), NULL };
static const struct aic_shape_member overview_members[] = {
	{ "days", AIC_SHAPE_INT, .min = 1, .about = "As in the request." },
	{ "timezone", AIC_SHAPE_TEXT,
	    .about = "The time zone whose midnight begins a day." },
	{ "daily_limit", AIC_SHAPE_INT,
	    .about = "Chats of a user on a day; 0: no limit." },
	COUNTED_UNTIL,
	COMPLETE,
	{ "refusals_since", AIC_SHAPE_TEXT, .nullable = true, .format = "date",
	    .about = "The first day with a refusal or a failure." },
	{ "totals", AIC_SHAPE_OBJECT, .shape = &totals_shape },
	{ "items", AIC_SHAPE_LIST, .shape = &day_shape,
	    .about = "Each day, the oldest first; the last one is today." },
};
const struct aic_shape admin_overview_shape = { "Overview",
	"The sums of the last days.", AIC_SHAPE_MEMBERS(overview_members),
	"{\"days\":1,\"timezone\":\"UTC\",\"daily_limit\":30,"
	"\"counted_until\":\"2026-11-28T10:15:30+00:00\",\"complete\":true,"
	"\"refusals_since\":\"2026-11-01\",\"totals\":{\"chats\":120,"
	"\"tokens\":98000,\"limited\":3,\"crowded\":0,\"failed\":2},"
	"\"items\":[{\"date\":\"2026-11-28\",\"chats\":120,"
	"\"tokens\":98000,\"users\":41,\"limited\":3,\"crowded\":0,"
	"\"failed\":2,\"failures\":{\"model_failed\":1,\"model_open\":0,"
	"\"database_failed\":1,\"busy\":0,\"failed\":0}}]}" };

static const struct aic_shape_member top_members[] = {
	{ "telegram_id", AIC_SHAPE_INT, .min = 1 },
	{ "chats", AIC_SHAPE_INT, .about = "Answered chats." },
	{ "tokens", AIC_SHAPE_INT, .about = "As counted by the model." },
};
static const struct aic_shape top_shape = { "TopUser",
	"The sums of a user in the period.", AIC_SHAPE_MEMBERS(top_members),
	NULL };
static const struct aic_shape_member users_members[] = {
	{ "period", AIC_SHAPE_TEXT, .about = "A month or a day." },
	{ "by", AIC_SHAPE_TEXT, .names = orders,
	    .about = "The order of the users." },
	{ "limit", AIC_SHAPE_INT, .min = 1, .about = "As in the request." },
	{ "offset", AIC_SHAPE_INT, .about = "As in the request." },
	COUNTED_UNTIL,
	COMPLETE,
	{ "users", AIC_SHAPE_INT,
	    .about = "All users with an answered chat in the period." },
	{ "chats", AIC_SHAPE_INT, .about = "Their answered chats." },
	{ "tokens", AIC_SHAPE_INT, .about = "Their tokens." },
	{ "items", AIC_SHAPE_LIST, .shape = &top_shape },
};
const struct aic_shape admin_users_shape = { "TopUsers",
	"The users with the most chats or tokens.",
	AIC_SHAPE_MEMBERS(users_members),
	"{\"period\":\"2026-11\",\"by\":\"chats\",\"limit\":20,"
	"\"offset\":0,\"counted_until\":\"2026-11-28T10:15:30+00:00\","
	"\"complete\":true,\"users\":412,\"chats\":5120,"
	"\"tokens\":4210000,\"items\":[{\"telegram_id\":123456789,"
	"\"chats\":310,\"tokens\":260100}]}" };

/* --- handlers ------------------------------------------------------------ */

enum aic_code
admin_overview(struct request *rq, struct aic_err *err)
{
	struct aic_db_call calls[2];
	struct admin_input in;
	enum aic_code rc;

	rc = admin_read_params(rq, &admin_overview_input, &in, err);
	if (rc)
		return rc;
	request_stage(rq, "reading the sums");
	aic_usage_state_bind(&calls[0]);
	aic_usage_days_bind(&calls[1], in.days, rq->worker->conf.timezone);
	rc = request_db(rq, calls, 2, err);
	if (rc)
		return rc;
	put_overview(rq, calls, in.days);
	aic_db_call_done(&calls[0]);
	aic_db_call_done(&calls[1]);
	return AIC_OK;
}

enum aic_code
admin_users(struct request *rq, struct aic_err *err)
{
	struct aic_usage_period period;
	struct aic_db_call calls[3];
	struct admin_input in;
	enum aic_code rc, query;
	int i;

	/* All faults are reported together. */
	rc = read_period(rq, &period, err);
	query = admin_read_params(rq, &admin_users_input, &in, err);
	if (rc || query)
		return rc ? rc : query;
	request_stage(rq, "reading the sums");
	aic_usage_top_bind(calls, &period, rq->worker->conf.timezone,
	    in.by == BY_TOKENS, in.limit, in.offset);
	aic_usage_state_bind(&calls[2]);
	rc = request_db(rq, calls, 3, err);
	if (rc)
		return rc;
	aic_buf_printf(&rq->out,
	    "{\"period\":\"%s\",\"by\":\"%s\",\"limit\":%lld,\"offset\":%lld,",
	    aic_usage_top_sum(calls).period, orders[in.by], (long long)in.limit,
	    (long long)in.offset);
	put_users(&rq->out, calls);
	for (i = 0; i < 3; i++)
		aic_db_call_done(&calls[i]);
	return AIC_OK;
}
