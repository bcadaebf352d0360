#include "config.h"

#include "app/worker/user.h"

#include <stdlib.h>
#include <string.h>

#include "lib/context.h"
#include "lib/history.h"
#include "lib/input.h"
#include "lib/limit.h"
#include "lib/render.h"

#define HISTORY_MAX 100 /* items of a page */
#define DAYS_MAX 365
#define DAYS_PRESET 7

/* Nginx accepts no longer URI. */
#define QUERY_MAX 8192

struct user_input {
	int64_t telegram_id;
	int64_t limit;
	int64_t offset;
};

#define TELEGRAM_ID                                                            \
	{                                                                      \
		"telegram_id", AIC_INPUT_INT,                                  \
		    .required = true, .min = 1, .max = INT64_MAX,              \
		    .offset = offsetof(struct user_input, telegram_id)         \
	}

static const struct aic_input_field history_fields[] = {
	TELEGRAM_ID,
	{ "limit", AIC_INPUT_INT, .min = 1, .max = HISTORY_MAX, .preset = 10,
	    .offset = offsetof(struct user_input, limit) },
	{ "offset", AIC_INPUT_INT, .min = 0, .max = INT64_MAX,
	    .offset = offsetof(struct user_input, offset) },
};

static const struct aic_input_field user_fields[] = { TELEGRAM_ID };

static enum aic_code
read_body(struct request *rq, const struct aic_input_field *fields, int n,
    struct user_input *in, struct aic_err *err)
{
	struct json_object *doc;
	enum aic_code rc;

	request_stage(rq, "reading the body");
	rc = aic_input_body(rq->body.data, rq->body.len, fields, n, in, &doc,
	    err);
	if (rc)
		return rc;
	json_object_put(doc); /* no field points into it */
	rq->trace.user = in->telegram_id;
	return AIC_OK;
}

static enum aic_code
read_path(struct request *rq, struct aic_err *err)
{
	request_stage(rq, "reading the path");
	return aic_input_number("path", "telegram_id", rq->tail,
	    strlen(rq->tail), 1, INT64_MAX, &rq->trace.user, err);
}

enum aic_code
user_history(struct request *rq, struct aic_err *err)
{
	struct aic_db_call calls[2];
	struct user_input in;
	enum aic_code rc;

	rc = read_body(rq, history_fields,
	    sizeof(history_fields) / sizeof(history_fields[0]), &in, err);
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
	enum aic_code rc;

	rc = read_path(rq, err);
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

enum aic_code
user_reset(struct request *rq, struct aic_err *err)
{
	int64_t used, reset_in_s;
	struct user_input in;
	struct aic_db_call call;
	enum aic_code rc;
	bool known;

	rc = read_body(rq, user_fields, 1, &in, err);
	if (rc)
		return rc;
	request_stage(rq, "resetting the limit");
	/* The key of the refusal in Redis contains the name of the database,
	 * which worker_schema_ok() reads. */
	rc = worker_schema_ok(rq->worker, rq->stage_end_us, err);
	if (rc)
		return rc;
	aic_limit_reset_bind(&call, in.telegram_id, rq->worker->conf.timezone);
	rc = request_db(rq, &call, 1, err);
	if (rc)
		return rc;
	known = aic_limit_reset_read(&call);
	if (known) {
		aic_limit_reset_day(&call, &used, &reset_in_s);
		request_set_quota(rq, used, reset_in_s);
	}
	aic_db_call_done(&call);
	worker_reset(rq->worker, in.telegram_id);
	aic_render_reset(&rq->out, in.telegram_id, known);
	return AIC_OK;
}

enum aic_code
user_clear(struct request *rq, struct aic_err *err)
{
	struct user_input in;
	struct aic_db_call call;
	enum aic_code rc;

	rc = read_body(rq, user_fields, 1, &in, err);
	if (rc)
		return rc;
	request_stage(rq, "beginning a conversation");
	aic_context_clear_bind(&call, in.telegram_id,
	    rq->worker->conf.timezone);
	rc = request_db(rq, &call, 1, err);
	if (rc)
		return rc;
	aic_db_call_done(&call);
	aic_buf_puts(&rq->out, "{\"success\":true}");
	return AIC_OK;
}

/* The parameter of ?days=7. A whole number that is too large for int64_t is out
 * of range, not malformed. */
static enum aic_code
read_days(struct request *rq, int64_t *ret_days, struct aic_err *err)
{
	char text[QUERY_MAX];
	unsigned before = err->n_faults;
	enum aic_code rc;

	*ret_days = DAYS_PRESET;
	if (!aic_input_query(rq->in.query, "days", text, sizeof(text)))
		return AIC_OK;
	rc = aic_input_number("query", "days", text, strlen(text), INT64_MIN,
	    INT64_MAX, ret_days, err);
	if (rc && strcmp(err->faults[before].type, "int_parsing") != 0) {
		err->n_faults = before;
		*ret_days = INT64_MAX;
		rc = AIC_OK;
	}
	return rc;
}

/* Faults of the path and of the query are reported together. The range of the
 * days is checked after that. */
static enum aic_code
read_stats(struct request *rq, int64_t *ret_days, struct aic_err *err)
{
	enum aic_code path = read_path(rq, err);
	enum aic_code query = read_days(rq, ret_days, err);

	if (path || query)
		return path ? path : query;
	if (*ret_days >= 1 && *ret_days <= DAYS_MAX)
		return AIC_OK;
	aic_says(err, "Days parameter must be between 1 and %d", DAYS_MAX);
	return aic_fail(err, AIC_EPARAM, "days out of range");
}

enum aic_code
user_stats(struct request *rq, struct aic_err *err)
{
	struct aic_db_call call;
	struct aic_history_stats s;
	enum aic_code rc;
	int64_t days;

	rc = read_stats(rq, &days, err);
	if (rc)
		return rc;
	request_stage(rq, "reading statistics");
	aic_history_stats_bind(&call, rq->trace.user, days,
	    rq->worker->conf.timezone);
	rc = request_db(rq, &call, 1, err);
	if (rc)
		return rc;
	s = aic_history_stats_read(&call);
	aic_render_stats(&rq->out, rq->trace.user, days, &s);
	aic_db_call_done(&call);
	return AIC_OK;
}
