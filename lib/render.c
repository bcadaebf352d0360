#include "config.h"

#include "lib/render.h"

#include "lib/json.h"

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
    const struct aic_stats *s)
{
	aic_buf_printf(to,
	    "{\"telegram_id\":%lld,\"total_requests\":%lld,"
	    "\"total_tokens\":%lld,\"days\":%lld,"
	    "\"avg_requests_per_day\":%s,\"avg_tokens_per_request\":%s}",
	    (long long)telegram_id, (long long)s->requests,
	    (long long)s->tokens, (long long)days, s->requests_per_day,
	    s->tokens_per_request);
}
