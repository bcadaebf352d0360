#include "config.h"

#include "app/worker/reply.h"

#include <stdio.h>
#include <string.h>

#include "lib/json.h"
#include "lib/plural.h"

/*
 * For a 429 and a 5xx the answer has two texts. The error is English, for logs. The
 * message is Russian and is shown to the seller as it is, in one or two sentences: what
 * happened, whether the question was counted, and when to try again. A bot in use puts the message into a <code> of HTML,
 * without escaping it, and cuts it at 200 characters. So no message is longer, or has a
 * character that HTML would need to escape. Nginx's own texts are in
 * nginx/ai-chat-maps.conf; docs/texts.md has all of them.
 */
struct verdict {
	int status;
	const char *error; /* NULL: written by a function */
	const char
	    *message; /* NULL: the detail is the error alone, or likewise */
};

#define INTERNAL_ERROR "Internal Server Error"
#define INTERNAL_MESSAGE                                                                                                            \
	"Внутренняя ошибка сервиса, вопрос не засчитан. Попробуйте ещё раз " \
	"через пару минут."
#define INTERNAL                                                               \
	{                                                                      \
		500, INTERNAL_ERROR, INTERNAL_MESSAGE                          \
	}

static const struct verdict verdicts[] = {
	[AIC_OK] = { 200, NULL, NULL },
	[AIC_EAUTH] = { 403, "Invalid or missing API key", NULL },
	[AIC_ENOROUTE] = { 404, "Not Found", NULL },
	[AIC_EMETHOD] = { 405, "Method Not Allowed", NULL },
	[AIC_EINPUT] = { 422, NULL, NULL },
	[AIC_EPARAM] = { 400, NULL, NULL },
	[AIC_EBIG] = { 413, "Request body too large", NULL },
	[AIC_ELIMIT] = { 429, NULL, NULL },
	[AIC_ECROWD] = { 429, "Too many chats at once",
	    "Предыдущий вопрос ещё обрабатывается, поэтому новый не засчитан. "
	    "Дождитесь ответа и задайте новый вопрос ещё раз." },
	[AIC_EUPSTREAM] = { 500, NULL,
	    "ИИ-ассистент не смог ответить, вопрос не засчитан. Попробуйте ещё "
	    "раз через пару минут." },
	[AIC_EOPEN] = { 503, "The model is not available now",
	    "ИИ-ассистент сейчас недоступен, вопрос не засчитан. Попробуйте "
	    "ещё раз через минуту." },
	[AIC_EDB] = { 503, "Database is not available",
	    "Сервис временно недоступен, вопрос не засчитан. Попробуйте ещё "
	    "раз через минуту." },
	[AIC_EBUSY] = { 503, "Too many requests in flight",
	    "Сервис сейчас перегружен, вопрос не засчитан. Попробуйте ещё раз "
	    "через минуту." },
	/* Nobody reads it; the number is for the log. */
	[AIC_EGONE] = { 499, "Client closed request", NULL },
	[AIC_ENOMEM] = INTERNAL,
	[AIC_ECONF] = INTERNAL,
	[AIC_EBUG] = INTERNAL,
};
_Static_assert(sizeof(verdicts) / sizeof(verdicts[0]) == AIC__MAX,
    "every code has a verdict");

/* The model answered, and will answer the same question the same way. */
static const char refused[] =
    "ИИ-ассистент отказался отвечать, вопрос не засчитан. Попробуйте задать "
    "его другими словами.";

/* The database broke off while it saved, and did not say how that ended. */
static const char perhaps_saved[] =
    "Не удалось сохранить ответ, вопрос мог быть засчитан. Попробуйте ещё раз "
    "через минуту.";

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

/*
 * "28.11 после 03:00 (МСК)", out of "2025-11-28T00:00:00+00:00". Moscow's time is the one
 * that every seller on Wildberries reckons with, so another zone is told by its distance:
 * МСК+2. Nobody lives by UTC, so that is told as Moscow's time itself. A day of it begins
 * at 3:00 there, so adding three hours does not change the date.
 */
#define MOSCOW_MIN 180

static void
put_moment(struct aic_buf *out, const char *at)
{
	int hour = (at[11] - '0') * 10 + at[12] - '0', away;
	int offset_min = ((at[20] - '0') * 10 + at[21] - '0') * 60 +
	    (at[23] - '0') * 10 + at[24] - '0';

	if (at[19] == '-')
		offset_min = -offset_min;
	if (offset_min == 0 && hour + MOSCOW_MIN / 60 < 24) {
		offset_min = MOSCOW_MIN;
		hour += MOSCOW_MIN / 60;
	}
	away = offset_min - MOSCOW_MIN;
	aic_buf_printf(out, "%.2s.%.2s после %02d:%.2s (МСК", at + 8, at + 5,
	    hour, at + 14);
	if (away) {
		aic_buf_puts(out, away < 0 ? "−" : "+");
		away = away < 0 ? -away : away;
		aic_buf_printf(out, "%d", away / 60);
	}
	if (away % 60)
		aic_buf_printf(out, ":%02d", away % 60);
	aic_buf_putc(out, ')');
}

static void
put_limit(struct aic_buf *out, const struct aic_limit_state *s)
{
	static const struct aic_plural questions = { "вопрос", "вопроса",
		"вопросов" };

	aic_buf_printf(out,
	    "{\"error\":\"Rate limit exceeded\",\"message\":"
	    "\"Лимит на сегодня — %lld %s. Следующий можно будет задать ",
	    (long long)s->limit, aic_plural(&questions, s->limit));
	put_moment(out, s->reset_at);
	aic_buf_printf(out,
	    ".\",\"daily_limit\":%lld,\"requests_today\":%lld,"
	    "\"requests_remaining\":0,\"reset_at\":\"%s\"}",
	    (long long)s->limit, (long long)s->used, s->reset_at);
}

static const char *
message_of(const struct request *rq, enum aic_code rc,
    const struct aic_err *err)
{
	if (rc == AIC_EUPSTREAM && err->declined)
		return refused;
	return rq->perhaps_saved ? perhaps_saved : verdicts[rc].message;
}

static void
put_error(struct request *rq, enum aic_code rc, const struct aic_err *err)
{
	const char *message = message_of(rq, rc, err);
	struct aic_buf *out = &rq->out;
	char text[sizeof(err->says) + 32];

	if (rc == AIC_EUPSTREAM)
		snprintf(text, sizeof(text), "AI service error: %s", err->says);
	else
		snprintf(text, sizeof(text), "%s",
		    err->says[0] ? err->says : verdicts[rc].error);
	if (!message) {
		aic_json_put_str(out, text);
		return;
	}
	aic_buf_puts(out, "{\"error\":");
	aic_json_put_str(out, text);
	aic_buf_puts(out, ",\"message\":");
	aic_json_put_str(out, message);
	if (rc == AIC_ECROWD)
		aic_buf_printf(out,
		    ",\"in_flight\":%lld,\"max_in_flight\":%lld",
		    (long long)rq->limit.live, (long long)rq->limit.at_once);
	aic_buf_putc(out, '}');
}

static void
put_detail(struct request *rq, enum aic_code rc, const struct aic_err *err)
{
	struct aic_buf *out = &rq->out;

	aic_buf_clear(out);
	aic_buf_puts(out, "{\"detail\":");
	switch (rc) {
	case AIC_EINPUT:
		put_faults(out, err);
		break;
	case AIC_ELIMIT:
		put_limit(out, &rq->limit);
		break;
	default:
		put_error(rq, rc, err);
	}
	aic_buf_putc(out, '}');
}

bool
reply_send(struct request *rq, enum aic_code rc, const struct aic_err *err)
{
	/* Written beforehand, since there may be no memory to write it. */
	static const char no_memory[] =
	    "{\"detail\":{\"error\":\"" INTERNAL_ERROR
	    "\",\"message\":\"" INTERNAL_MESSAGE "\"}}";
	char headers[160];
	int n, retry_after_s = err->retry_after_s;

	if (rc || rq->status == 0)
		rq->status = verdicts[rc].status;
	if (rc)
		put_detail(rq, rc, err);
	if (rq->status == 503 && retry_after_s <= 0)
		retry_after_s = RETRY_AFTER_S;

	n = snprintf(headers, sizeof(headers), "Content-Type: %s\r\n",
	    !rc && rq->type ? rq->type : "application/json");
	if (rc == AIC_EMETHOD)
		n += snprintf(headers + n, sizeof(headers) - (size_t)n,
		    "Allow: %s\r\n", rq->allow);
	if (rq->replayed && rq->status == 200 && !rq->out.failed)
		n += snprintf(headers + n, sizeof(headers) - (size_t)n,
		    "Idempotent-Replayed: true\r\n");
	if (retry_after_s > 0 && rq->status != 200)
		snprintf(headers + n, sizeof(headers) - (size_t)n,
		    "Retry-After: %d\r\n", retry_after_s);
	if (rq->out.failed) {
		rq->status = 500;
		return fcgi_answer(rq->fcgi, 500, reason(500), headers,
		    no_memory, sizeof(no_memory) - 1);
	}
	return fcgi_answer(rq->fcgi, rq->status, reason(rq->status), headers,
	    rq->out.data, rq->out.len);
}
