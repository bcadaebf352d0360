#include "config.h"

#include "app/worker/reply.h"

#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/json.h"
#include "lib/plural.h"

/*
 * A response with status 429 or 5xx has two texts. The error is English, for
 * logs. The message is Russian, and callers show the message to the seller
 * unchanged. The message has one or two sentences: what happened, whether the
 * question was counted, and when to try again.
 *
 * One bot in use puts the message into HTML <code> without escaping, and
 * truncates the message after 200 characters. So a message is no longer than
 * that and has no character that HTML must escape.
 *
 * Nginx has its own texts in nginx/ai-chat-maps.conf. docs/texts.md lists all
 * texts.
 */
struct verdict {
	int status;
	const char *error; /* NULL: put_detail() writes the text */
	/* NULL: the detail is the error alone, or put_detail() writes the
	 * detail. */
	const char *message;
	const char *about; /* when it occurs, for /openapi.json */
};

#define INTERNAL_ERROR "Internal Server Error"
/* clang-format counts the bytes of a line in a macro, not the columns. */
/* clang-format off */
#define INTERNAL_MESSAGE \
	"Внутренняя ошибка сервиса, вопрос не засчитан. " \
	"Попробуйте ещё раз через пару минут."
/* clang-format on */
#define INTERNAL                                                               \
	{                                                                      \
		500, INTERNAL_ERROR, INTERNAL_MESSAGE,                         \
		    "The worker has no memory left, or has a bug."             \
	}

static const struct verdict verdicts[] = {
	[AIC_OK] = { 200, NULL, NULL, NULL },
	[AIC_EAUTH] = { 403, "Invalid or missing API key", NULL,
	    "The key is missing or wrong." },
	[AIC_ENOROUTE] = { 404, "Not Found", NULL, "The path does not exist." },
	[AIC_EMETHOD] = { 405, "Method Not Allowed", NULL,
	    "The path does not accept this method." },
	[AIC_EINPUT] = { 422, NULL, NULL,
	    "The request does not fit the schema. `detail` has an entry "
	    "for each fault." },
	[AIC_EPARAM] = { 400, NULL, NULL, "A parameter is out of its range." },
	[AIC_EBIG] = { 413, "Request body too large", NULL,
	    "The body has more than 262144 bytes. The key is not "
	    "checked." },
	[AIC_ELIMIT] = { 429, NULL, NULL,
	    "The daily limit of the user is reached." },
	[AIC_ECROWD] = { 429, "Too many chats at once",
	    "Предыдущий вопрос ещё обрабатывается, поэтому новый не засчитан. "
	    "Дождитесь ответа и задайте новый вопрос ещё раз.",
	    "The user has the maximum of chats in flight "
	    "(`AI_CHAT_USER_CONCURRENCY`)." },
	[AIC_EUPSTREAM] = { 500, NULL,
	    "ИИ-ассистент не смог ответить, вопрос не засчитан. Попробуйте ещё "
	    "раз через пару минут.",
	    "The model gave no usable answer. The chat is not counted." },
	[AIC_EOPEN] = { 503, "The model is not available now",
	    "ИИ-ассистент сейчас недоступен, вопрос не засчитан. Попробуйте "
	    "ещё раз через минуту.",
	    "The circuit breaker of the model is open: the last calls "
	    "of the model failed. The chat is not counted." },
	[AIC_EDB] = { 503, "Database is not available",
	    "Сервис временно недоступен, вопрос не засчитан. Попробуйте ещё "
	    "раз через минуту.",
	    "The database is not available. The chat is not counted, "
	    "unless `detail.message` says that it may have been." },
	[AIC_EBUSY] = { 503, "Too many requests in flight",
	    "Сервис сейчас перегружен, вопрос не засчитан. Попробуйте ещё раз "
	    "через минуту.",
	    "Too many requests are in flight, or there was no time left "
	    "to call the model. Nothing is counted." },
	/* The caller has disconnected. The number is only logged. */
	[AIC_EGONE] = { 499, "Client closed request", NULL,
	    "The caller has disconnected." },
	[AIC_ENOMEM] = INTERNAL,
	[AIC_ECONF] = INTERNAL,
	[AIC_EBUG] = INTERNAL,
};
_Static_assert(sizeof(verdicts) / sizeof(verdicts[0]) == AIC__MAX,
    "every code has a verdict");

/* The model declined, and would decline the same question again. */
static const char declined_message[] =
    "ИИ-ассистент отказался отвечать, вопрос не засчитан. Попробуйте задать "
    "его другими словами.";

/* The database did not answer the save, and the outcome is unknown. */
static const char perhaps_saved_message[] =
    "Не удалось сохранить ответ, вопрос мог быть засчитан. Попробуйте ещё раз "
    "через минуту.";

/* The reason phrase of a status, so that the status line is valid HTTP. */
static const char *
reason_phrase(int status)
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

/* Every response with status 503 has a Retry-After header. */
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
 * Format "2025-11-28T00:00:00+00:00" as "28.11 после 03:00 (МСК)".
 *
 * Every seller on Wildberries uses Moscow time, so another time zone is shown
 * by its difference from Moscow, as МСК+2. UTC is shown as Moscow time, because
 * no seller uses UTC. A UTC day begins at 3:00 in Moscow, so the conversion
 * does not change the date.
 */
#define MOSCOW_MIN 180

static void
put_reset_time(struct aic_buf *out, const char *at)
{
	int hour = (at[11] - '0') * 10 + at[12] - '0', difference;
	int offset_min = ((at[20] - '0') * 10 + at[21] - '0') * 60 +
	    (at[23] - '0') * 10 + at[24] - '0';

	if (at[19] == '-')
		offset_min = -offset_min;
	if (offset_min == 0 && hour + MOSCOW_MIN / 60 < 24) {
		offset_min = MOSCOW_MIN;
		hour += MOSCOW_MIN / 60;
	}
	difference = offset_min - MOSCOW_MIN;
	aic_buf_printf(out, "%.2s.%.2s после %02d:%.2s (МСК", at + 8, at + 5,
	    hour, at + 14);
	if (difference) {
		aic_buf_puts(out, difference < 0 ? "−" : "+");
		difference = difference < 0 ? -difference : difference;
		aic_buf_printf(out, "%d", difference / 60);
	}
	if (difference % 60)
		aic_buf_printf(out, ":%02d", difference % 60);
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
	put_reset_time(out, s->reset_at);
	aic_buf_printf(out,
	    ".\",\"daily_limit\":%lld,\"requests_today\":%lld,"
	    "\"requests_remaining\":0,\"reset_at\":\"%s\"}",
	    (long long)s->limit, (long long)s->used, s->reset_at);
}

static const char *
select_message(const struct request *rq, enum aic_code rc,
    const struct aic_err *err)
{
	if (rc == AIC_EUPSTREAM && err->declined)
		return declined_message;
	return rq->perhaps_saved ? perhaps_saved_message : verdicts[rc].message;
}

static void
put_error(struct request *rq, enum aic_code rc, const struct aic_err *err)
{
	const char *message = select_message(rq, rc, err);
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
		    (long long)rq->limit.reservations,
		    (long long)rq->limit.at_once);
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

/* --- for the document ----------------------------------------------------- */

static const struct aic_shape_member plain_members[] = {
	{ "detail", AIC_SHAPE_TEXT, .about = "The error, in English." },
};
static const struct aic_shape plain_shape = { "Error",
	"An error of the request.", AIC_SHAPE_MEMBERS(plain_members), NULL };

static const struct aic_shape_member fault_members[] = {
	{ "type", AIC_SHAPE_TEXT, .about = "The kind of the fault." },
	{ "loc", AIC_SHAPE_JSON,
	    .schema = "{\"type\":\"array\",\"minItems\":1,\"items\":"
		      "{\"type\":[\"string\",\"integer\"]}}",
	    .about = "The place: `body`, `path`, `query` or `header`, then "
		     "the name of the field, or the position of a fault of "
		     "the JSON in characters." },
	{ "msg", AIC_SHAPE_TEXT, .about = "The fault, for people." },
};
static const struct aic_shape fault_shape = { "Fault",
	"A fault of the request, in the form of FastAPI.",
	AIC_SHAPE_MEMBERS(fault_members), NULL };
static const struct aic_shape_member faults_members[] = {
	{ "detail", AIC_SHAPE_LIST, .shape = &fault_shape },
};
static const struct aic_shape faults_shape = { "ValidationError",
	"The faults of the request.", AIC_SHAPE_MEMBERS(faults_members), NULL };

#define REFUSAL_ERROR                                                          \
	{                                                                      \
		"error", AIC_SHAPE_TEXT, .about = "For logs, in English."      \
	}
#define REFUSAL_MESSAGE                                                        \
	{                                                                      \
		"message", AIC_SHAPE_TEXT,                                     \
		    .about = "For the seller, in Russian: at most 200 "        \
			     "characters, without HTML."                       \
	}

static const struct aic_shape_member refusal_members[] = {
	REFUSAL_ERROR,
	REFUSAL_MESSAGE,
};
static const struct aic_shape refusal_detail = { "RefusalDetail",
	"The two texts of a refusal.", AIC_SHAPE_MEMBERS(refusal_members),
	NULL };
static const struct aic_shape_member refused_members[] = {
	{ "detail", AIC_SHAPE_OBJECT, .shape = &refusal_detail },
};
const struct aic_shape reply_refusal_shape = { "Refusal",
	"The request could not be served.", AIC_SHAPE_MEMBERS(refused_members),
	NULL };

static const struct aic_shape_member limit_members[] = {
	REFUSAL_ERROR,
	REFUSAL_MESSAGE,
	{ "daily_limit", AIC_SHAPE_INT, .min = 1 },
	{ "requests_today", AIC_SHAPE_INT,
	    .about = "The chats of the day, including those in flight." },
	{ "requests_remaining", AIC_SHAPE_INT, .about = "Always 0." },
	{ "reset_at", AIC_SHAPE_TEXT, .format = "date-time",
	    .about = "When the next chat is possible." },
};
static const struct aic_shape limit_detail = { "LimitDetail",
	"The state of the limit.", AIC_SHAPE_MEMBERS(limit_members), NULL };
static const struct aic_shape_member limited_members[] = {
	{ "detail", AIC_SHAPE_OBJECT, .shape = &limit_detail },
};
static const struct aic_shape limit_shape = { "LimitReached",
	"The daily limit is reached.", AIC_SHAPE_MEMBERS(limited_members),
	NULL };

static const struct aic_shape_member crowd_members[] = {
	REFUSAL_ERROR,
	REFUSAL_MESSAGE,
	{ "in_flight", AIC_SHAPE_INT, .about = "The user's chats in flight." },
	{ "max_in_flight", AIC_SHAPE_INT, .min = 1 },
};
static const struct aic_shape crowd_detail = { "CrowdDetail",
	"The user's chats in flight.", AIC_SHAPE_MEMBERS(crowd_members), NULL };
static const struct aic_shape_member crowded_members[] = {
	{ "detail", AIC_SHAPE_OBJECT, .shape = &crowd_detail },
};
static const struct aic_shape crowd_shape = { "TooManyChats",
	"The user has too many chats in flight.",
	AIC_SHAPE_MEMBERS(crowded_members), NULL };

int
reply_status(enum aic_code rc)
{
	return verdicts[rc].status;
}

const char *
reply_about(enum aic_code rc)
{
	return verdicts[rc].about;
}

const struct aic_shape *
reply_shape(enum aic_code rc)
{
	switch (rc) {
	case AIC_EINPUT:
		return &faults_shape;
	case AIC_ELIMIT:
		return &limit_shape;
	case AIC_ECROWD:
		return &crowd_shape;
	default:
		return verdicts[rc].message ? &reply_refusal_shape
					    : &plain_shape;
	}
}

void
reply_example(struct aic_buf *out, enum aic_code rc, const char *says)
{
	struct request rq = { .out = *out,
		.limit = { .used = 30,
		    .limit = 30,
		    .reservations = 2,
		    .at_once = 2,
		    .reset_at = "2025-11-29T00:00:00+00:00" } };
	struct aic_err err = AIC_ERR_INIT;

	if (rc == AIC_EINPUT)
		aic_fault(&err, "missing", "body", "telegram_id",
		    "Field required");
	else if (rc == AIC_EUPSTREAM)
		aic_says(&err, "the model answered HTTP 401");
	if (says)
		aic_says(&err, "%s", says);
	put_detail(&rq, rc, &err);
	*out = rq.out;
}

/* --- the response --------------------------------------------------------- */

/*
 * Append RateLimit-Policy and RateLimit, if the state of the user's day is
 * known; returns the number of bytes.
 *
 * A day has 86,400 s in the policy, which describes the setting and so does not
 * depend on the date, even where a change to summer time makes one day shorter.
 * RateLimit has the seconds to midnight. Once midnight is past, they are 0,
 * because the count that this request has read is that of the day before.
 *
 * A client that obeys Retry-After and one that obeys RateLimit must not come to
 * different conclusions. So both headers are omitted if Retry-After ends before
 * the day does: the daily limit is not the reason to wait.
 */
static int
put_quota(char *to, size_t size, const struct request *rq, int retry_after_s)
{
	int64_t us = rq->quota.end_us - aic_clock_us();
	int64_t s = us > 0 ? (us + AIC_S - 1) / AIC_S : 0;

	if (!rq->quota.known || (retry_after_s > 0 && retry_after_s < s))
		return 0;
	return snprintf(to, size,
	    "RateLimit-Policy: \"day\";q=%lld;w=86400\r\n"
	    "RateLimit: \"day\";r=%lld;t=%lld\r\n",
	    (long long)rq->worker->conf.daily_limit, (long long)rq->quota.left,
	    (long long)s);
}

/* The maximum size of the headers that this file writes: at most seven lines,
 * each shorter than 66 bytes. */
#define HEADERS_SIZE 480

/* Format the headers of a response; retry_after_s is 0 if there is none. */
static void
put_headers(char to[HEADERS_SIZE], const struct request *rq, enum aic_code rc,
    int retry_after_s)
{
	int n;

	n = snprintf(to, HEADERS_SIZE, "Content-Type: %s\r\n",
	    !rc && rq->type ? rq->type : "application/json");
	if (rq->by_operator)
		n += snprintf(to + n, HEADERS_SIZE - (size_t)n,
		    "Cache-Control: no-store\r\n");
	if (rc == AIC_EMETHOD)
		n += snprintf(to + n, HEADERS_SIZE - (size_t)n, "Allow: %s\r\n",
		    rq->allow);
	if (rq->replayed && rq->status == 200 && !rq->out.failed)
		n += snprintf(to + n, HEADERS_SIZE - (size_t)n,
		    "Idempotent-Replayed: true\r\n");
	n += put_quota(to + n, HEADERS_SIZE - (size_t)n, rq, retry_after_s);
	if (retry_after_s > 0)
		n += snprintf(to + n, HEADERS_SIZE - (size_t)n,
		    "Retry-After: %d\r\n", retry_after_s);
	if (!rc && rq->file)
		snprintf(to + n, HEADERS_SIZE - (size_t)n,
		    "X-Accel-Redirect: %s\r\n", rq->file);
}

bool
reply_send(struct request *rq, enum aic_code rc, const struct aic_err *err)
{
	/* Formatted at compile time, because memory can be exhausted when the
	 * response is needed. */
	static const char no_memory[] =
	    "{\"detail\":{\"error\":\"" INTERNAL_ERROR
	    "\",\"message\":\"" INTERNAL_MESSAGE "\"}}";
	char headers[HEADERS_SIZE];
	int retry_after_s = err->retry_after_s;

	if (rc || rq->status == 0)
		rq->status = verdicts[rc].status;
	if (rc)
		put_detail(rq, rc, err);
	if (rq->status == 503 && retry_after_s <= 0)
		retry_after_s = RETRY_AFTER_S;
	if (rq->status == 200)
		retry_after_s = 0;
	put_headers(headers, rq, rc, retry_after_s);
	if (rq->out.failed) {
		rq->status = 500;
		return fcgi_answer(rq->fcgi, 500, reason_phrase(500), headers,
		    no_memory, sizeof(no_memory) - 1);
	}
	return fcgi_answer(rq->fcgi, rq->status, reason_phrase(rq->status),
	    headers, rq->out.data, rq->out.len);
}
