#include "config.h"

#include "reply.h"

#include <stdio.h>
#include <string.h>

#include "json.h"

struct verdict {
	int status;
	const char *detail; /* NULL: written by a function */
};

static const struct verdict verdicts[] = {
	[AIC_OK] = { 200, NULL },
	[AIC_EAUTH] = { 403, "Invalid or missing API key" },
	[AIC_ENOROUTE] = { 404, "Not Found" },
	[AIC_EMETHOD] = { 405, "Method Not Allowed" },
	[AIC_EINPUT] = { 422, NULL },
	[AIC_EPARAM] = { 400, NULL },
	[AIC_EBIG] = { 413, "Request body too large" },
	[AIC_ELIMIT] = { 429, NULL },
	[AIC_ECROWD] = { 429, NULL },
	[AIC_EUPSTREAM] = { 500, NULL },
	[AIC_EOPEN] = { 503, "The model is not available now" },
	[AIC_EDB] = { 503, "Database is not available" },
	[AIC_EBUSY] = { 503, "Too many requests in flight" },
	/* Nobody reads it; the number is for the log. */
	[AIC_EGONE] = { 499, "Client closed request" },
	[AIC_ENOMEM] = { 500, "Internal Server Error" },
	[AIC_ECONF] = { 500, "Internal Server Error" },
	[AIC_EBUG] = { 500, "Internal Server Error" },
};
_Static_assert(sizeof(verdicts) / sizeof(verdicts[0]) == AIC__MAX,
    "every code has a verdict");

/* A status line without a reason is one that HTTP does not allow. */
static const char *
reason(int status)
{
	static const struct {
		int status;
		const char *reason;
	} reasons[] = {
		{ 200, "OK" },
		{ 400, "Bad Request" },
		{ 403, "Forbidden" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 413, "Content Too Large" },
		{ 422, "Unprocessable Content" },
		{ 429, "Too Many Requests" },
		{ 499, "Client Closed Request" },
		{ 500, "Internal Server Error" },
		{ 503, "Service Unavailable" },
	};
	size_t i;

	for (i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (reasons[i].status == status)
			return reasons[i].reason;
	return "Unknown";
}

/* Every 503 says when to come again. */
#define RETRY_AFTER_S 1

static void
put_faults(struct aic_buf *out, const struct aic_err *err)
{
	const struct aic_fault *f;
	unsigned i;

	aic_buf_putc(out, '[');
	for (i = 0; i < err->n_faults; i++) {
		f = &err->faults[i];
		aic_buf_puts(out, i ? ",{\"type\":" : "{\"type\":");
		aic_json_put_str(out, f->type);
		aic_buf_puts(out, ",\"loc\":[");
		aic_json_put_str(out, f->where);
		if (f->field) {
			aic_buf_putc(out, ',');
			aic_json_put_str(out, f->field);
		} else if (f->offset >= 0) {
			aic_buf_printf(out, ",%ld", f->offset);
		}
		aic_buf_puts(out, "],\"msg\":");
		aic_json_put_str(out, f->msg);
		aic_buf_putc(out, '}');
	}
	aic_buf_putc(out, ']');
}

static void
put_limit(struct aic_buf *out, const struct aic_limit_state *s)
{
	char text[320];
	const char *at = s->reset_at; /* YYYY-MM-DDTHH:MM:SS+HH:MM */

	snprintf(text, sizeof(text),
	    "Дневной лимит вопросов исчерпан: %lld из %lld. Следующий вопрос "
	    "можно задать %.2s.%.2s.%.4s с %.5s (UTC%.6s).",
	    (long long)s->used, (long long)s->limit, at + 8, at + 5, at,
	    at + 11, at + 19);
	aic_buf_puts(out, "{\"error\":\"Rate limit exceeded\",\"message\":");
	aic_json_put_str(out, text);
	aic_buf_printf(out,
	    ",\"daily_limit\":%lld,\"requests_today\":%lld,"
	    "\"requests_remaining\":0,\"reset_at\":\"%s\"}",
	    (long long)s->limit, (long long)s->used, at);
}

static void
put_crowd(struct aic_buf *out, const struct aic_limit_state *s)
{
	aic_buf_puts(out,
	    "{\"error\":\"Too many chats at once\",\"message\":"
	    "\"Ответ на предыдущий вопрос ещё готовится. Дождитесь его и "
	    "задайте следующий.\"");
	aic_buf_printf(out, ",\"in_flight\":%lld,\"max_in_flight\":%lld}",
	    (long long)s->live, (long long)s->at_once);
}

static void
put_detail(struct job *job, enum aic_code rc, const struct aic_err *err)
{
	struct aic_buf *out = &job->out;
	char text[sizeof(err->says) + 32];

	aic_buf_clear(out);
	aic_buf_puts(out, "{\"detail\":");
	switch (rc) {
	case AIC_EINPUT:
		put_faults(out, err);
		break;
	case AIC_ELIMIT:
		put_limit(out, &job->limit);
		break;
	case AIC_ECROWD:
		put_crowd(out, &job->limit);
		break;
	case AIC_EUPSTREAM:
		snprintf(text, sizeof(text), "AI service error: %s", err->says);
		aic_json_put_str(out, text);
		break;
	default:
		aic_json_put_str(out,
		    err->says[0] ? err->says : verdicts[rc].detail);
	}
	aic_buf_putc(out, '}');
}

bool
reply_send(struct job *job, enum aic_code rc, const struct aic_err *err)
{
	static const char no_memory[] =
	    "{\"detail\":\"Internal Server Error\"}";
	char headers[160];
	int n, retry_after_s = err->retry_after_s;

	if (rc || job->status == 0)
		job->status = verdicts[rc].status;
	if (rc)
		put_detail(job, rc, err);
	if (job->status == 503 && retry_after_s <= 0)
		retry_after_s = RETRY_AFTER_S;

	n = snprintf(headers, sizeof(headers), "Content-Type: %s\r\n",
	    !rc && job->type ? job->type : "application/json");
	if (rc == AIC_EMETHOD)
		n += snprintf(headers + n, sizeof(headers) - (size_t)n,
		    "Allow: %s\r\n", job->allow);
	if (job->replayed && job->status == 200 && !job->out.failed)
		n += snprintf(headers + n, sizeof(headers) - (size_t)n,
		    "Idempotent-Replayed: true\r\n");
	if (retry_after_s > 0 && job->status != 200)
		snprintf(headers + n, sizeof(headers) - (size_t)n,
		    "Retry-After: %d\r\n", retry_after_s);
	if (job->out.failed) {
		job->status = 500;
		return fcgi_answer(job->fcgi, 500, reason(500), headers,
		    no_memory, sizeof(no_memory) - 1);
	}
	return fcgi_answer(job->fcgi, job->status, reason(job->status), headers,
	    job->out.data, job->out.len);
}
