#include "config.h"

#include "app/worker/user.h"

#include <stdlib.h>
#include <string.h>

#include "app/worker/admin.h"
#include "lib/audit.h"
#include "lib/context.h"
#include "lib/history.h"
#include "lib/input.h"
#include "lib/limit.h"
#include "lib/render.h"

#define HISTORY_MAX 100 /* items of a page */
#define DAYS_MAX 365
#define DAYS_RULE "Days parameter must be between 1 and 365"
_Static_assert(DAYS_MAX == 365, "DAYS_RULE has the same number");

struct user_input {
	int64_t telegram_id;
	int64_t limit;
	int64_t offset;
	int64_t days;
};

#define AT(field) offsetof(struct user_input, field)

#define TELEGRAM_ID(of)                                                        \
	{                                                                      \
		"telegram_id", AIC_INPUT_INT,                                  \
		    .required = true, .min = 1, .max = INT64_MAX,              \
		    .offset = AT(telegram_id), .place = (of),                  \
		    .about = "The user's id in Telegram.",                     \
		    .example = "123456789"                                     \
	}

static const struct aic_input_field history_fields[] = {
	TELEGRAM_ID(AIC_INPUT_BODY),
	{ "limit", AIC_INPUT_INT, .min = 1, .max = HISTORY_MAX, .preset = 10,
	    .offset = AT(limit),
	    .about = "The largest number of exchanges in the response.",
	    .example = "10" },
	{ "offset", AIC_INPUT_INT, .min = 0, .max = INT64_MAX,
	    .offset = AT(offset),
	    .about = "How many of the newest exchanges are skipped.",
	    .example = "0" },
};
static const struct aic_input_field body_fields[] = {
	TELEGRAM_ID(AIC_INPUT_BODY),
};
static const struct aic_input_field path_fields[] = {
	TELEGRAM_ID(AIC_INPUT_PATH),
};
static const struct aic_input_field stats_fields[] = {
	TELEGRAM_ID(AIC_INPUT_PATH),
	{ "days", AIC_INPUT_INT, .min = 1, .max = DAYS_MAX, .preset = 7,
	    .offset = AT(days), .place = AIC_INPUT_QUERY,
	    .range_rule = DAYS_RULE,
	    .about = "The number of calendar days, today included.",
	    .example = "7" },
};

const struct aic_input_schema user_history_input = {
	AIC_INPUT_FIELDS(history_fields), "HistoryRequest"
};
const struct aic_input_schema user_body_input = { AIC_INPUT_FIELDS(body_fields),
	"UserRequest" };
const struct aic_input_schema user_path_input = { AIC_INPUT_FIELDS(path_fields),
	NULL };
const struct aic_input_schema user_stats_input = {
	AIC_INPUT_FIELDS(stats_fields), NULL
};

static const struct aic_shape_member clear_members[] = {
	{ "success", AIC_SHAPE_BOOL, .about = "Always true." },
};
const struct aic_shape user_clear_shape = { "Cleared",
	"The next chat begins a new conversation.",
	AIC_SHAPE_MEMBERS(clear_members), "{\"success\":true}" };

static enum aic_code
read_body(struct request *rq, const struct aic_input_schema *schema,
    struct user_input *in, struct aic_err *err)
{
	struct json_object *doc;
	enum aic_code rc;

	request_stage(rq, "reading the body");
	rc = aic_input_body(rq->body.data, rq->body.len, schema->fields,
	    schema->n, in, &doc, err);
	if (rc)
		return rc;
	json_object_put(doc); /* no field points into it */
	rq->trace.user = in->telegram_id;
	return AIC_OK;
}

static enum aic_code
read_path(struct request *rq, const struct aic_input_schema *schema,
    struct user_input *in, struct aic_err *err)
{
	enum aic_code rc;

	request_stage(rq, "reading the path");
	rc = aic_input_params(rq->tail, rq->in.query, schema->fields, schema->n,
	    in, err);
	rq->trace.user = in->telegram_id;
	return rc;
}

enum aic_code
user_history(struct request *rq, struct aic_err *err)
{
	struct aic_db_call calls[2];
	struct user_input in;
	enum aic_code rc;

	rc = read_body(rq, &user_history_input, &in, err);
	if (rc)
		return rc;
	request_stage(rq, "reading the history");
	aic_history_bind(calls, in.telegram_id, in.limit, in.offset);
	rc = request_db(rq, calls, 2, err);
	if (rc)
		return rc;
	aic_render_history(&rq->out, calls, in.limit, in.offset);
	aic_db_call_done(&calls[0]);
	aic_db_call_done(&calls[1]);
	return AIC_OK;
}

enum aic_code
user_limits(struct request *rq, struct aic_err *err)
{
	const struct aic_conf *conf = &rq->worker->conf;
	struct aic_limit_state s;
	struct aic_db_call call;
	struct user_input in;
	enum aic_code rc;

	rc = read_path(rq, &user_path_input, &in, err);
	if (rc)
		return rc;
	request_stage(rq, "reading the limit");
	aic_limit_peek_bind(&call, rq->trace.user, conf->timezone);
	rc = request_db(rq, &call, 1, err);
	if (rc)
		return rc;
	rc = aic_limit_peek_read(&call, conf->daily_limit, &s, err);
	aic_db_call_done(&call);
	if (rc)
		return rc;
	request_set_quota(rq, s.used, s.reset_in_s);
	aic_render_limits(&rq->out, rq->trace.user, &s);
	return AIC_OK;
}

/*
 * Run calls[0], an action, in one transaction with its record if an operator
 * requested it. On AIC_OK aic_db_call_done(&calls[0]) is due.
 */
static enum aic_code
run_action(struct request *rq, const char *action, struct aic_db_call calls[2],
    struct aic_err *err)
{
	struct aic_audit audit;
	enum aic_code rc;

	rc = admin_begin(rq, action, &audit, err);
	if (rc)
		return rc;
	if (audit.key)
		aic_audit_bind(&calls[1], &audit);
	rc = request_db(rq, calls, audit.key ? 2 : 1, err);
	if (!rc && audit.key)
		aic_db_call_done(&calls[1]);
	return rc;
}

enum aic_code
user_reset(struct request *rq, struct aic_err *err)
{
	int64_t used, reset_in_s;
	struct user_input in;
	struct aic_db_call calls[2];
	enum aic_code rc;
	bool known;

	rc = read_body(rq, &user_body_input, &in, err);
	if (rc)
		return rc;
	request_stage(rq, "resetting the limit");
	/* The key of the refusal in Redis contains the name of the database,
	 * which worker_schema_ok() reads. */
	rc = worker_schema_ok(rq->worker, rq->stage_end_us, err);
	if (rc)
		return rc;
	aic_limit_reset_bind(&calls[0], in.telegram_id,
	    rq->worker->conf.timezone);
	rc = run_action(rq, "reset-limit", calls, err);
	if (rc)
		return rc;
	known = aic_limit_reset_read(&calls[0]);
	if (known) {
		aic_limit_reset_day(&calls[0], &used, &reset_in_s);
		request_set_quota(rq, used, reset_in_s);
	}
	aic_db_call_done(&calls[0]);
	worker_reset(rq->worker, in.telegram_id);
	aic_render_reset(&rq->out, in.telegram_id, known);
	return AIC_OK;
}

enum aic_code
user_clear(struct request *rq, struct aic_err *err)
{
	struct user_input in;
	struct aic_db_call calls[2];
	enum aic_code rc;

	rc = read_body(rq, &user_body_input, &in, err);
	if (rc)
		return rc;
	request_stage(rq, "beginning a conversation");
	aic_context_clear_bind(&calls[0], in.telegram_id,
	    rq->worker->conf.timezone);
	rc = run_action(rq, "clear", calls, err);
	if (rc)
		return rc;
	aic_db_call_done(&calls[0]);
	aic_buf_puts(&rq->out, "{\"success\":true}");
	return AIC_OK;
}

enum aic_code
user_stats(struct request *rq, struct aic_err *err)
{
	struct aic_db_call call;
	struct aic_history_stats s;
	struct user_input in;
	enum aic_code rc;

	rc = read_path(rq, &user_stats_input, &in, err);
	if (rc)
		return rc;
	request_stage(rq, "reading statistics");
	aic_history_stats_bind(&call, rq->trace.user, in.days,
	    rq->worker->conf.timezone);
	rc = request_db(rq, &call, 1, err);
	if (rc)
		return rc;
	s = aic_history_stats_read(&call);
	aic_render_stats(&rq->out, rq->trace.user, in.days, &s);
	aic_db_call_done(&call);
	return AIC_OK;
}
