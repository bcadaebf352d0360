#include "config.h"

#include "app/worker/user.h"

#include <stdlib.h>
#include <string.h>

#include "lib/answer.h"
#include "lib/context.h"
#include "lib/history.h"
#include "lib/input.h"
#include "lib/limit.h"
#include "lib/stats.h"

#define HISTORY_MAX 100 /* items a page */
#define DAYS_MAX 365
#define DAYS_PRESET 7

/* Nginx takes no longer URI. */
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
read_body(struct job *job, const struct aic_input_field *fields, int n,
    struct user_input *in, struct aic_err *err)
{
	struct json_object *doc;
	enum aic_code rc;

	route_stage(job, "reading the body");
	rc = aic_input_body(job->body.data, job->body.len, fields, n, in, &doc,
	    err);
	if (rc)
		return rc;
	json_object_put(doc); /* there are numbers in it alone */
	job->user = in->telegram_id;
	return AIC_OK;
}

static enum aic_code
read_path(struct job *job, struct aic_err *err)
{
	route_stage(job, "reading the path");
	return aic_input_number("path", "telegram_id", job->tail,
	    strlen(job->tail), 1, INT64_MAX, &job->user, err);
}

enum aic_code
user_history(struct job *job, struct aic_err *err)
{
	struct aic_db_call calls[2];
	struct user_input in;
	enum aic_code rc;

	rc = read_body(job, history_fields,
	    sizeof(history_fields) / sizeof(history_fields[0]), &in, err);
	if (rc)
		return rc;
	route_stage(job, "reading the history");
	aic_history_ask(calls, in.telegram_id, in.limit, in.offset);
	rc = route_db(job, calls, 2, err);
	if (rc)
		return rc;
	answer_history(&job->out, calls, in.limit, in.offset);
	aic_db_call_done(&calls[0]);
	aic_db_call_done(&calls[1]);
	return AIC_OK;
}

enum aic_code
user_limits(struct job *job, struct aic_err *err)
{
	const struct aic_conf *conf = &job->worker->conf;
	struct aic_limit_state s;
	struct aic_db_call call;
	enum aic_code rc;

	rc = read_path(job, err);
	if (rc)
		return rc;
	route_stage(job, "reading the limit");
	aic_limit_peek_ask(&call, job->user, conf->timezone);
	rc = route_db(job, &call, 1, err);
	if (rc)
		return rc;
	rc = aic_limit_peek_got(&call, conf->daily_limit, &s, err);
	aic_db_call_done(&call);
	if (rc)
		return rc;
	answer_limits(&job->out, job->user, &s);
	return AIC_OK;
}

enum aic_code
user_reset(struct job *job, struct aic_err *err)
{
	struct user_input in;
	struct aic_db_call call;
	enum aic_code rc;
	bool known;

	rc = read_body(job, user_fields, 1, &in, err);
	if (rc)
		return rc;
	route_stage(job, "resetting the limit");
	/* Redis has to be told under the right name. */
	rc = worker_fits(job->worker, job->stage_end_us, err);
	if (rc)
		return rc;
	aic_limit_reset_ask(&call, in.telegram_id, job->worker->conf.timezone);
	rc = route_db(job, &call, 1, err);
	if (rc)
		return rc;
	known = aic_limit_reset_got(&call);
	aic_db_call_done(&call);
	worker_reset(job->worker, in.telegram_id);
	answer_reset(&job->out, in.telegram_id, known);
	return AIC_OK;
}

enum aic_code
user_clear(struct job *job, struct aic_err *err)
{
	struct user_input in;
	struct aic_db_call call;
	enum aic_code rc;

	rc = read_body(job, user_fields, 1, &in, err);
	if (rc)
		return rc;
	route_stage(job, "beginning a conversation");
	aic_context_clear_ask(&call, in.telegram_id,
	    job->worker->conf.timezone);
	rc = route_db(job, &call, 1, err);
	if (rc)
		return rc;
	aic_db_call_done(&call);
	aic_buf_puts(&job->out, "{\"success\":true}");
	return AIC_OK;
}

/* ?days=7; a whole number that is too large for us is still one. */
static enum aic_code
read_days(struct job *job, int64_t *ret_days, struct aic_err *err)
{
	char text[QUERY_MAX];
	unsigned before = err->n_faults;
	enum aic_code rc;

	*ret_days = DAYS_PRESET;
	if (!aic_input_query(job->rq.query, "days", text, sizeof(text)))
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

/* The faults of both, as one answer; only then what the days may be. */
static enum aic_code
read_stats(struct job *job, int64_t *ret_days, struct aic_err *err)
{
	enum aic_code path = read_path(job, err);
	enum aic_code query = read_days(job, ret_days, err);

	if (path || query)
		return path ? path : query;
	if (*ret_days >= 1 && *ret_days <= DAYS_MAX)
		return AIC_OK;
	aic_says(err, "Days parameter must be between 1 and %d", DAYS_MAX);
	return aic_fail(err, AIC_EPARAM, "days out of range");
}

enum aic_code
user_stats(struct job *job, struct aic_err *err)
{
	struct aic_db_call call;
	struct aic_stats s;
	enum aic_code rc;
	int64_t days;

	rc = read_stats(job, &days, err);
	if (rc)
		return rc;
	route_stage(job, "reading statistics");
	aic_stats_ask(&call, job->user, days, job->worker->conf.timezone);
	rc = route_db(job, &call, 1, err);
	if (rc)
		return rc;
	s = aic_stats_got(&call);
	answer_stats(&job->out, job->user, days, &s);
	aic_db_call_done(&call);
	return AIC_OK;
}
