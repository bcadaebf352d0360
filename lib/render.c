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
