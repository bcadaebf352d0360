#include "config.h"

#include "lib/render.h"

#include <string.h>

#include "lib/completion.h"
#include "lib/format.h"
#include "lib/json.h"
#include "lib/parts.h"

/* --- the answer to a chat ------------------------------------------------ */

/*
 * The longest answer: each byte can be replaced by three, and each of these can
 * be escaped as five.
 */
#define HTML_MAX ((size_t)15 * AIC_COMPLETION_MAX)

/*
 * For a reader who gets no other part. The model has the whole answer in its
 * context, and the rules define what "продолжи" means then.
 */
static const char note[] =
    "Ответ не поместился в одно сообщение. Напишите «продолжи», и я пришлю "
    "остальное.";

/* The largest part, and a note. */
#define PART_MAX (AIC_PARTS_RICH_BYTES + AIC_PARTS_UNITS)

static void
put_parts(struct aic_buf *to, struct aic_parts *p)
{
	struct aic_buf part;
	int n;

	aic_buf_init(&part, PART_MAX);
	for (n = 0; aic_parts_next(p, &part); n++) {
		aic_buf_puts(to, n ? "," : ",\"parts\":[");
		aic_json_put_str(to, part.data);
	}
	if (n > 0)
		aic_buf_putc(to, ']');
	if (part.failed)
		to->failed = true;
	aic_buf_done(&part);
}

/* Writes the part of the answer that fits into one message, and the note. */
static void
put_first(struct aic_buf *to, const char *text, size_t len,
    const struct aic_render_form *form)
{
	struct aic_buf part;

	aic_buf_init(&part, PART_MAX);
	if (aic_parts_first(text, len, form->format, (int)form->reserve, note,
		&part))
		aic_json_put_str(to, part.data);
	else
		to->failed = true;
	aic_buf_done(&part);
}

static void
put_answer(struct aic_buf *to, const char *text, size_t len,
    const struct aic_render_form *form)
{
	struct aic_parts p;
	bool fits;

	aic_parts_begin(&p, text, len, form->format, (int)form->reserve);
	fits = aic_parts_fit(&p);
	aic_buf_puts(to, "\"response\":");
	if (fits || !form->one_message)
		aic_json_put_str(to, text);
	else
		put_first(to, text, len, form);
	if (!fits)
		put_parts(to, &p);
}

enum aic_code
aic_render_answer(struct aic_buf *to, const char *text,
    const struct aic_render_form *form, struct aic_err *err)
{
	enum aic_code rc = AIC_OK;
	struct aic_buf html;

	if (form->format == AIC_FORMAT_PLAIN) {
		put_answer(to, text, strlen(text), form);
	} else {
		aic_buf_init(&html, HTML_MAX);
		rc = form->format == AIC_FORMAT_RICH
		    ? aic_telegram_rich(text, strlen(text), &html)
		    : aic_telegram_html(text, strlen(text), &html);
		if (!rc)
			put_answer(to, html.data, html.len, form);
		aic_buf_done(&html);
	}
	if (rc || to->failed)
		return aic_fail(err, AIC_ENOMEM, "no memory for the answer");
	return AIC_OK;
}

static const struct aic_shape_member answer_members[] = {
	{ "response", AIC_SHAPE_TEXT,
	    .about = "The answer, in the requested format. Without `format` in "
		     "the request: one message that Telegram accepts." },
	{ "parts", AIC_SHAPE_TEXTS, .optional = true,
	    .about = "The whole answer as several messages of Telegram, to be "
		     "sent in order. Present when the answer does not fit "
		     "into one message." },
	{ "remaining_requests", AIC_SHAPE_INT, .min = -1,
	    .about = "How many chats of the day are left; -1: no limit." },
	{ "tokens_used", AIC_SHAPE_INT,
	    .about = "What the model charged; 0: the model reported no "
		     "number." },
};
const struct aic_shape aic_render_answer_shape = { "ChatAnswer",
	"The answer of the model.", AIC_SHAPE_MEMBERS(answer_members),
	"{\"response\":\"За неделю у вас 12 заказов.\","
	"\"remaining_requests\":29,\"tokens_used\":412}" };

/* --- one user ------------------------------------------------------------ */

static void
put_item(struct aic_buf *to, const struct aic_history_item *item)
{
	aic_buf_printf(to, "{\"id\":%lld,\"message\":", (long long)item->id);
	aic_json_put_str(to, item->message);
	aic_buf_puts(to, ",\"response\":");
	aic_json_put_str(to, item->response);
	aic_buf_printf(to, ",\"tokens_used\":%lld,\"created_at\":\"%s\"}",
	    (long long)item->tokens, item->created_at);
}

void
aic_render_history(struct aic_buf *to, const struct aic_db_call calls[2],
    int64_t limit, int64_t offset)
{
	struct aic_history_item item;
	int i;

	aic_buf_puts(to, "{\"items\":[");
	for (i = 0; i < aic_history_count(calls); i++) {
		if (i > 0)
			aic_buf_putc(to, ',');
		item = aic_history_get(calls, i);
		put_item(to, &item);
	}
	aic_buf_printf(to, "],\"total\":%lld,\"limit\":%lld,\"offset\":%lld}",
	    (long long)aic_history_total(calls), (long long)limit,
	    (long long)offset);
}

static const struct aic_shape_member item_members[] = {
	{ "id", AIC_SHAPE_INT, .min = 1 },
	{ "message", AIC_SHAPE_TEXT, .about = "The user's message." },
	{ "response", AIC_SHAPE_TEXT, .about = "The model's original text." },
	{ "tokens_used", AIC_SHAPE_INT, .about = "What the model charged." },
	{ "created_at", AIC_SHAPE_TEXT, .format = "date-time" },
};
static const struct aic_shape item_shape = { "Exchange",
	"A message and its answer.", AIC_SHAPE_MEMBERS(item_members), NULL };
static const struct aic_shape_member history_members[] = {
	{ "items", AIC_SHAPE_LIST, .shape = &item_shape,
	    .about = "The exchanges, newest first." },
	{ "total", AIC_SHAPE_INT,
	    .about = "The number of all stored exchanges of the user." },
	{ "limit", AIC_SHAPE_INT, .min = 1, .about = "As in the request." },
	{ "offset", AIC_SHAPE_INT, .about = "As in the request." },
};
const struct aic_shape aic_render_history_shape = { "History",
	"A page of a user's exchanges.", AIC_SHAPE_MEMBERS(history_members),
	"{\"items\":[{\"id\":51,\"message\":\"Сколько у меня заказов?\","
	"\"response\":\"За неделю у вас 12 заказов.\",\"tokens_used\":412,"
	"\"created_at\":\"2025-11-28T09:30:00.123456+00:00\"}],\"total\":1,"
	"\"limit\":10,\"offset\":0}" };

void
aic_render_limits(struct aic_buf *to, int64_t telegram_id,
    const struct aic_limit_state *s)
{
	aic_buf_printf(to,
	    "{\"telegram_id\":%lld,\"requests_today\":%lld,"
	    "\"requests_remaining\":%lld,\"daily_limit\":%lld,"
	    "\"reset_date\":\"%s\",\"reset_at\":\"%s\"}",
	    (long long)telegram_id, (long long)s->used,
	    (long long)aic_limit_left(s), (long long)s->limit, s->day,
	    s->reset_at);
}

static const struct aic_shape_member limits_members[] = {
	{ "telegram_id", AIC_SHAPE_INT, .min = 1 },
	{ "requests_today", AIC_SHAPE_INT,
	    .about = "The chats of the day, including those in flight." },
	{ "requests_remaining", AIC_SHAPE_INT, .min = -1,
	    .about = "How many chats of the day are left; -1: no limit." },
	{ "daily_limit", AIC_SHAPE_INT,
	    .about = "Chats of a user on a day; 0: no limit." },
	{ "reset_date", AIC_SHAPE_TEXT, .format = "date",
	    .about = "The day that the numbers are for." },
	{ "reset_at", AIC_SHAPE_TEXT, .format = "date-time",
	    .about = "When the next day begins." },
};
const struct aic_shape aic_render_limits_shape = { "Limits",
	"The daily limit of a user, and what is left of it.",
	AIC_SHAPE_MEMBERS(limits_members),
	"{\"telegram_id\":123456789,\"requests_today\":1,"
	"\"requests_remaining\":29,\"daily_limit\":30,"
	"\"reset_date\":\"2025-11-28\","
	"\"reset_at\":\"2025-11-29T00:00:00+00:00\"}" };

void
aic_render_reset(struct aic_buf *to, int64_t telegram_id, bool known)
{
	if (known)
		aic_buf_printf(to,
		    "{\"success\":true,\"message\":\"Лимит пользователя %lld "
		    "успешно сброшен\"}",
		    (long long)telegram_id);
	else
		aic_buf_printf(to,
		    "{\"success\":false,\"message\":\"Пользователь %lld не "
		    "найден\"}",
		    (long long)telegram_id);
}

static const struct aic_shape_member reset_members[] = {
	{ "success", AIC_SHAPE_BOOL,
	    .about = "False: the user has never chatted." },
	{ "message", AIC_SHAPE_TEXT, .about = "The result, in Russian." },
};
const struct aic_shape aic_render_reset_shape = { "Reset",
	"The result of a reset.", AIC_SHAPE_MEMBERS(reset_members),
	"{\"success\":true,\"message\":"
	"\"Лимит пользователя 123456789 успешно сброшен\"}" };

void
aic_render_stats(struct aic_buf *to, int64_t telegram_id, int64_t days,
    const struct aic_history_stats *s)
{
	aic_buf_printf(to,
	    "{\"telegram_id\":%lld,\"total_requests\":%lld,"
	    "\"total_tokens\":%lld,\"days\":%lld,"
	    "\"avg_requests_per_day\":%s,\"avg_tokens_per_request\":%s}",
	    (long long)telegram_id, (long long)s->requests,
	    (long long)s->tokens, (long long)days, s->requests_per_day,
	    s->tokens_per_request);
}

static const struct aic_shape_member stats_members[] = {
	{ "telegram_id", AIC_SHAPE_INT, .min = 1 },
	{ "total_requests", AIC_SHAPE_INT,
	    .about = "The number of stored exchanges." },
	{ "total_tokens", AIC_SHAPE_INT, .about = "The sum of `tokens_used`." },
	{ "days", AIC_SHAPE_INT, .min = 1, .about = "As in the request." },
	{ "avg_requests_per_day", AIC_SHAPE_NUMBER,
	    .about = "With two decimals." },
	{ "avg_tokens_per_request", AIC_SHAPE_NUMBER,
	    .about = "With two decimals." },
};
const struct aic_shape aic_render_stats_shape = { "Stats",
	"Sums and averages over the last days.",
	AIC_SHAPE_MEMBERS(stats_members),
	"{\"telegram_id\":123456789,\"total_requests\":14,"
	"\"total_tokens\":5768,\"days\":7,\"avg_requests_per_day\":2.00,"
	"\"avg_tokens_per_request\":412.00}" };
void
aic_render_forgotten(struct aic_buf *to, int64_t telegram_id,
    const struct aic_forgotten *f)
{
	aic_buf_printf(to,
	    "\"telegram_id\":%lld,\"known\":%s,\"exchanges\":%lld,"
	    "\"counter_kept\":%s",
	    (long long)telegram_id, f->known ? "true" : "false",
	    (long long)f->exchanges, f->counter_kept ? "true" : "false");
}
