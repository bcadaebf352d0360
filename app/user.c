#include "config.h"

#include "user.h"

#include <stdlib.h>
#include <string.h>

#include "history.h"
#include "input.h"
#include "json.h"
#include "limit.h"
#include "stats.h"

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

static const struct aic_input_field reset_fields[] = { TELEGRAM_ID };

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

static void
put_item(struct aic_buf *out, const struct aic_history_item *item)
{
	aic_buf_printf(out, "{\"id\":%lld,\"message\":", (long long)item->id);
	aic_json_put_str(out, item->message);
	aic_buf_puts(out, ",\"response\":");
	aic_json_put_str(out, item->response);
	aic_buf_printf(out, ",\"tokens_used\":%lld,\"created_at\":\"%s\"}",
	    (long long)item->tokens, item->created_at);
}

enum aic_code
user_history(struct job *job, struct aic_err *err)
{
	struct aic_history_item item;
	struct aic_db_call calls[2];
	struct user_input in;
	enum aic_code rc;
	int i;

	rc = read_body(job, history_fields,
	    sizeof(history_fields) / sizeof(history_fields[0]), &in, err);
	if (rc)
		return rc;
	route_stage(job, "reading the history");
	aic_history_ask(calls, in.telegram_id, in.limit, in.offset);
	rc = route_db(job, calls, 2, err);
	if (rc)
		return rc;
	aic_buf_puts(&job->out, "{\"items\":[");
	for (i = 0; i < aic_history_count(calls); i++) {
		if (i > 0)
			aic_buf_putc(&job->out, ',');
		item = aic_history_get(calls, i);
		put_item(&job->out, &item);
	}
	aic_buf_printf(&job->out,
	    "],\"total\":%lld,\"limit\":%lld,\"offset\":%lld}",
	    (long long)aic_history_total(calls), (long long)in.limit,
	    (long long)in.offset);
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
	aic_buf_printf(&job->out,
	    "{\"telegram_id\":%lld,\"requests_today\":%lld,"
	    "\"requests_remaining\":%lld,\"daily_limit\":%lld,"
	    "\"reset_date\":\"%s\",\"reset_at\":\"%s\"}",
	    (long long)job->user, (long long)s.used,
	    (long long)(s.used < s.limit ? s.limit - s.used : 0),
	    (long long)s.limit, s.day, s.reset_at);
	return AIC_OK;
}

enum aic_code
user_reset(struct job *job, struct aic_err *err)
{
	struct user_input in;
	struct aic_db_call call;
	enum aic_code rc;
	bool known;

	rc = read_body(job, reset_fields, 1, &in, err);
	if (rc)
		return rc;
	route_stage(job, "resetting the limit");
	aic_limit_reset_ask(&call, in.telegram_id, job->worker->conf.timezone);
	rc = route_db(job, &call, 1, err);
	if (rc)
		return rc;
	known = aic_limit_reset_got(&call);
	aic_db_call_done(&call);
	if (known)
		aic_buf_printf(&job->out,
		    "{\"success\":true,\"message\":\"Лимит пользователя %lld "
		    "успешно сброшен\"}",
		    (long long)in.telegram_id);
	else
		aic_buf_printf(&job->out,
		    "{\"success\":false,\"message\":\"Пользователь %lld не "
		    "найден\"}",
		    (long long)in.telegram_id);
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
	aic_buf_printf(&job->out,
	    "{\"telegram_id\":%lld,\"total_requests\":%lld,"
	    "\"total_tokens\":%lld,\"days\":%lld,"
	    "\"avg_requests_per_day\":%s,\"avg_tokens_per_request\":%s}",
	    (long long)job->user, (long long)s.requests, (long long)s.tokens,
	    (long long)days, s.requests_per_day, s.tokens_per_request);
	aic_db_call_done(&call);
	return AIC_OK;
}
