#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "model.h"

#include <time.h>

#define SIZE_DEFAULT (2 * 1024 * 1024)

/* In the form that JSON has, so that a usual answer need not escape it. */
static const char advice[] =
    "📊 Коротко о ваших продажах на Wildberries\\n\\n"
    "1️⃣ Где теряются заказы\\n"
    "• Откройте воронку за 7 и 30 дней: показы → переходы → корзина → "
    "заказы.\\n"
    "• Мало переходов — пробуйте другое главное фото и цену; мало корзин — "
    "дополните описание, характеристики и отзывы.\\n\\n"
    "2️⃣ Остатки 📦\\n"
    "• Оборачиваемость = остаток / средние заказы в день. Меньше 14 дней — "
    "планируйте поставку уже сейчас.\\n"
    "• Держите товар на 3–4 складах: срок доставки влияет на место в "
    "выдаче.\\n\\n"
    "3️⃣ Цена 💰\\n"
    "• Сравните её с пятью ближайшими конкурентами и проверьте маржу с "
    "учётом комиссии, логистики и хранения.\\n\\n"
    "4️⃣ Реклама 🚀\\n"
    "• Оставьте запросы, которые окупаются, остальные отключите на неделю и "
    "сравните.\\n\\n"
    "✅ Первый шаг: выпишите 5 артикулов с наибольшей выручкой и проверьте "
    "по ним остатки. Пришлите цифры — разберём подробнее.";

/* The message of the only choice and its finish_reason, for odd bodies. */
static const struct shape {
	const char *message, *finish;
} shapes[BODY__MAX] = {
	[BODY_NULL] = { "\"content\":null,\"refusal\":null", "stop" },
	[BODY_BLANK] = { "\"content\":\" \\n\\t\\u00a0 \",\"refusal\":null",
	    "stop" },
	[BODY_REFUSAL] = { "\"content\":null,"
			   "\"refusal\":\"I cannot help with that.\"",
	    "stop" },
	[BODY_FILTER] = { "\"content\":\"Начало ответа, котор\","
			  "\"refusal\":null",
	    "content_filter" },
	[BODY_LENGTH] = { "\"content\":\"Ответ, который оборвался на\","
			  "\"refusal\":null",
	    "length" },
	[BODY_LENGTH_EMPTY] = { "\"content\":\"\",\"refusal\":null", "length" },
	[BODY_TOOLS] = { "\"content\":null,\"refusal\":null,\"tool_calls\":"
			 "[{\"id\":\"call_1\",\"type\":\"function\","
			 "\"function\":"
			 "{\"name\":\"stocks\",\"arguments\":\"{}\"}}]",
	    "tool_calls" },
	[BODY_BADUTF8] = { "\"content\":\"Привет \xff\xfe \xc3\x28 \xd0\","
			   "\"refusal\":null",
	    "stop" },
	[BODY_SURROGATE] = { "\"content\":\"Привет \\ud800 мир\","
			     "\"refusal\":null",
	    "stop" },
	[BODY_NUL] = { "\"content\":\"Привет\\u0000мир\",\"refusal\":null",
	    "stop" },
};

/* What the error object has if the mark gives only the status. */
static const struct failure {
	int status;
	const char *reason, *type, *code, *message;
} failures[] = {
	{ 400, "Bad Request", "invalid_request_error", NULL,
	    "The request is not valid." },
	{ 401, "Unauthorized", "invalid_request_error", "invalid_api_key",
	    "Incorrect API key provided." },
	{ 403, "Forbidden", "invalid_request_error",
	    "unsupported_country_region_territory",
	    "This place is not served." },
	{ 404, "Not Found", "invalid_request_error", "model_not_found",
	    "The model does not exist." },
	{ 408, "Request Timeout", "timeout", NULL,
	    "The request took too long." },
	{ 409, "Conflict", "conflict", NULL, "Try again." },
	{ 411, "Length Required", "invalid_request_error", NULL,
	    "A Content-Length is needed." },
	{ 413, "Payload Too Large", "invalid_request_error", NULL,
	    "The body is too large." },
	{ 422, "Unprocessable Entity", "invalid_request_error", NULL,
	    "The request could not be processed." },
	{ 429, "Too Many Requests", "requests", "rate_limit_exceeded",
	    "Rate limit reached." },
	{ 431, "Request Header Fields Too Large", "invalid_request_error", NULL,
	    "The head is too large." },
	{ 500, "Internal Server Error", "server_error", NULL,
	    "The server had an error." },
	{ 502, "Bad Gateway", "server_error", NULL, "Bad gateway." },
	{ 503, "Service Unavailable", "service_unavailable_error",
	    "server_is_overloaded", "The server is overloaded." },
	{ 504, "Gateway Timeout", "server_error", NULL, "Gateway timeout." },
};

/* The number of the answer, in its id and its x-request-id. */
static uint64_t serial;

/* --- bodies ---------------------------------------------------------- */

static const struct failure *
failure_of(int status)
{
	size_t i, last = sizeof(failures) / sizeof(failures[0]) - 1;

	for (i = 0; i < last; i++)
		if (failures[i].status == status)
			break;
	return failures[i].status == status ? &failures[i] : NULL;
}

static const char *
reason_of(int status)
{
	const struct failure *f = failure_of(status);

	if (f != NULL)
		return f->reason;
	if (status == 200)
		return "OK";
	return status == 302 ? "Found" : "Other";
}

void
answer_error_body(struct text *t, int status, const struct plan *pl,
    const char *message, const char *code)
{
	const struct failure *f;
	const char *type, *param = NULL;

	f = failure_of(status);
	if (f == NULL)
		f = failure_of(status < 500 ? 400 : 500);
	type = f->type;
	if (message == NULL) {
		message = f->message;
		code = f->code;
	}
	if (pl != NULL) {
		code = pl->code != NULL ? pl->code : code;
		type = pl->type != NULL ? pl->type : type;
		message = pl->errmsg != NULL ? pl->errmsg : message;
		param = pl->param;
	}
	putz(t, "{\"error\":{\"message\":");
	put_json_or_null(t, message);
	putz(t, ",\"type\":");
	put_json_or_null(t, type);
	putz(t, ",\"param\":");
	put_json_or_null(t, param);
	putz(t, ",\"code\":");
	put_json_or_null(t, code);
	putz(t, "}}");
}

uint64_t
answer_tokens(size_t bytes)
{
	return bytes / 4 + 1;
}

static void
put_repeated(struct text *t, const char *s, int64_t times)
{
	size_t start = t->len, n;

	put_json(t, s, strlen(s));
	if (t->failed || t->len == start + 2)
		return;
	/* Repeats the bytes between the quotes. */
	n = --t->len - ++start;
	for (; times > 1 && t->len - start + n <= SIZE_MAX_BYTES; times--) {
		if (t->cap - t->len < n && !text_grow(t, n))
			return;
		put(t, t->p + start, n);
	}
	putz(t, "\"");
}

static void
put_content(struct text *t, enum body body, const struct plan *pl)
{
	putz(t, "\"content\":");
	if (body == BODY_HUGE) {
		putz(t, "\"");
		put_fill(t, 'x',
		    (size_t)(pl->size < 0 ? SIZE_DEFAULT : pl->size));
		putz(t, "\"");
	} else if (body == BODY_TEXT)
		put_repeated(t, pl->text == NULL ? "" : pl->text, pl->repeat);
	else if (pl != NULL && pl->echo > 0 && pl->said != NULL)
		put_json(t, pl->said, strlen(pl->said));
	else {
		putz(t, "\"");
		put(t, advice, sizeof(advice) - 1);
		putz(t, "\"");
	}
	putz(t, ",\"refusal\":null");
}

/* A completion, of whatever shape. */
static void
completion_body(struct text *t, const struct question *q, enum body body)
{
	const struct shape *shape = &shapes[body];
	const struct plan *pl = q->plan;
	uint64_t tokens;
	size_t from;

	putz(t, "{\"id\":\"chatcmpl-");
	put_hex(t, serial);
	putz(t, "\",\"object\":\"chat.completion\",\"created\":");
	put_u(t, (uint64_t)time(NULL));
	putz(t, ",\"model\":\"");
	putz(t, q->model);
	putz(t, "\",\"choices\":[");
	from = t->len;
	if (body != BODY_NOCHOICES) {
		putz(t, "{\"index\":0,\"message\":{\"role\":\"assistant\",");
		if (shape->message != NULL)
			putz(t, shape->message);
		else
			put_content(t, body, pl);
		putz(t, "},\"logprobs\":null,\"finish_reason\":\"");
		putz(t, shape->finish != NULL ? shape->finish : "stop");
		putz(t, "\"}");
	}
	tokens = answer_tokens(t->len - from);
	putz(t, "]");
	if (body != BODY_NOUSAGE) {
		putz(t, ",\"usage\":{\"prompt_tokens\":");
		put_u(t, q->prompt_tokens);
		putz(t, ",\"completion_tokens\":");
		put_u(t, tokens);
		putz(t, ",\"total_tokens\":");
		if (pl != NULL && pl->tokens != NULL)
			putz(t, pl->tokens);
		else
			put_u(t, q->prompt_tokens + tokens);
		putz(t, "}");
	}
	putz(t, ",\"system_fingerprint\":null}");
}

/* Writes the body that a plan asks for. The value is its content type. */
static const char *
planned_body(struct text *t, const struct question *q, int status)
{
	const struct plan *pl = q->plan;
	enum body body;

	if (pl->raw != NULL) {
		putz(t, pl->raw);
		return "application/json";
	}
	if (pl->body >= 0)
		body = (enum body)pl->body;
	else if (status >= 400)
		body = BODY_ERROR;
	else if (status >= 300 || status == 204)
		body = BODY_EMPTY;
	else
		body = pl->text != NULL ? BODY_TEXT : BODY_JSON;

	switch (body) {
	case BODY_BROKEN:
		putz(t, "{\"id\":\"chatcmpl-1\",\"choices\":[{\"index\":0,,]}");
		break;
	case BODY_CUT:
		completion_body(t, q, BODY_JSON);
		t->len /= 2;
		break;
	case BODY_HTML:
		putz(t, "<html>\r\n<head><title>");
		put_u(t, (uint64_t)status);
		putz(t,
		    "</title></head>\r\n<body><h1>A proxy speaks</h1>"
		    "</body>\r\n</html>\r\n");
		return "text/html";
	case BODY_EMPTY:
		break;
	case BODY_WRONG:
		putz(t, "[\"a\",\"list\"]");
		break;
	case BODY_ERROR:
		answer_error_body(t, status < 400 ? 500 : status, pl, NULL,
		    NULL);
		break;
	default:
		completion_body(t, q, body);
		break;
	}
	return "application/json";
}

const char *
answer_body(struct text *t, const struct question *q, int *ret_status)
{
	const struct plan *pl = q->plan;

	serial++;
	text_reset(t);
	*ret_status = 200;
	if (pl == NULL) {
		completion_body(t, q, BODY_JSON);
		return "application/json";
	}
	if (pl->redirect != NULL)
		*ret_status = 302;
	if (pl->status > 0)
		*ret_status = (int)pl->status;
	return planned_body(t, q, *ret_status);
}

void
answer_chunks(struct text *t, const struct text *body)
{
	char size[24];
	size_t at, n;

	text_reset(t);
	/* The pieces fit no buffer evenly, and the first is one byte. */
	for (at = 0, n = 1; at < body->len; at += n, n = 509) {
		if (n > body->len - at)
			n = body->len - at;
		snprintf(size, sizeof(size), "%zx\r\n", n);
		putz(t, size);
		put(t, body->p + at, n);
		putz(t, "\r\n");
	}
	putz(t, "0\r\n\r\n");
}

/* --- heads ----------------------------------------------------------- */

static void
put_header(struct text *t, const char *name, const char *value)
{
	if (value == NULL)
		return;
	putz(t, name);
	putz(t, ": ");
	putz(t, value);
	putz(t, "\r\n");
}

static void
planned_headers(struct text *t, const struct plan *pl)
{
	size_t end;
	uint64_t i;

	put_header(t, "Retry-After", pl->retry_after);
	put_header(t, "retry-after-ms", pl->retry_after_ms);
	put_header(t, "x-should-retry", pl->should_retry);
	put_header(t, "Location", pl->redirect);
	if (pl->headerflood <= 0)
		return;
	end = t->len + (size_t)pl->headerflood;
	for (i = 0; t->len < end && !t->failed; i++) {
		putz(t, "X-Flood-");
		put_u(t, i);
		putz(t, ": ");
		put_fill(t, 'x', 80);
		putz(t, "\r\n");
	}
}

void
answer_head(struct text *t, const struct answer_head *head)
{
	text_reset(t);
	putz(t, "HTTP/1.1 ");
	put_u(t, (uint64_t)head->status);
	putz(t, " ");
	putz(t, reason_of(head->status));
	putz(t, "\r\nContent-Type: ");
	putz(t, head->content_type);
	putz(t, "\r\nx-request-id: req_");
	put_hex(t, serial);
	putz(t, "\r\n");
	if (head->plan != NULL)
		planned_headers(t, head->plan);
	if (head->close)
		putz(t, "Connection: close\r\n");
	if (head->chunked) {
		putz(t, "Transfer-Encoding: chunked\r\n\r\n");
		return;
	}
	putz(t, "Content-Length: ");
	put_u(t, head->length);
	putz(t, "\r\n\r\n");
}
