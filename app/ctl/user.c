#include "config.h"

#include "app/ctl/ctl.h"

#include <stdio.h>
#include <string.h>

#include "lib/audit.h"
#include "lib/cache_keys.h"
#include "lib/clock.h"
#include "lib/context.h"
#include "lib/history.h"
#include "lib/limit.h"
#include "lib/render.h"

/* The timeout of a query, as for a stage of a chat. */
#define SECONDS 5

/* The statistics of the whole service read the whole table. */
#define LONG_S 60

#define LIMIT_PRESET 10
#define DAYS_PRESET 7

enum aic_code
ctl_limits(struct ctl *c, struct aic_err *err)
{
	struct aic_limit_state s;
	struct aic_db_call call;
	enum aic_code rc;

	aic_limit_peek_bind(&call, c->id, c->conf.timezone);
	rc = ctl_db(c, &call, 1, SECONDS, err);
	if (rc)
		return rc;
	rc = aic_limit_peek_read(&call, c->conf.daily_limit, &s, err);
	aic_db_call_done(&call);
	if (rc)
		return rc;
	aic_render_limits(&c->doc, c->id, &s);
	ctl_say(c, "user %lld%s", (long long)c->id,
	    s.known ? "" : " has no chats");
	if (s.limit == 0) {
		ctl_say(c, "used %lld on %s, %lld of them in flight",
		    (long long)s.used, s.day, (long long)s.reservations);
		ctl_say(c, "no daily limit");
	} else {
		ctl_say(c, "used %lld of %lld on %s, %lld of them in flight",
		    (long long)s.used, (long long)s.limit, s.day,
		    (long long)s.reservations);
		ctl_say(c, "left %lld", (long long)aic_limit_left(&s));
	}
	ctl_say(c, "the next day begins at %s", s.reset_at);
	return AIC_OK;
}

/* Print the text of a user or of the model on the terminal: each line after a
 * margin, and without control characters. */
static void
say_text(struct ctl *c, const char *margin, const char *text)
{
	struct aic_buf line;
	const unsigned char *p = (const unsigned char *)text;

	aic_buf_init(&line, 4 * 1024 * 1024);
	do {
		aic_buf_clear(&line);
		aic_buf_puts(&line, margin);
		for (; *p && *p != '\n'; p++) {
			/* U+0080 to U+009F are the bytes c2 80 to c2 9f. */
			if (p[0] == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f)
				p++;
			else if ((*p >= ' ' && *p != 0x7f) || *p == '\t')
				aic_buf_putc(&line, (char)*p);
		}
		if (!line.failed)
			ctl_say(c, "%s", line.data);
	} while (*p++ == '\n');
	aic_buf_done(&line);
}

enum aic_code
ctl_history(struct ctl *c, struct aic_err *err)
{
	int64_t limit = c->limit ? c->limit : LIMIT_PRESET;
	struct aic_history_item item;
	struct aic_db_call calls[2];
	enum aic_code rc;
	int i;

	aic_history_bind(calls, c->id, limit, c->offset);
	rc = ctl_db(c, calls, 2, SECONDS, err);
	if (rc)
		return rc;
	aic_render_history(&c->doc, calls, limit, c->offset);
	for (i = 0; i < aic_history_count(calls); i++) {
		item = aic_history_get(calls, i);
		ctl_say(c, "%s, number %lld, %lld tokens", item.created_at,
		    (long long)item.id, (long long)item.tokens);
		say_text(c, "> ", item.message);
		say_text(c, "  ", item.response);
		ctl_say(c, "%s", "");
	}
	if (c->offset > 0 && i > 0)
		ctl_say(c, "%lld to %lld of %lld", (long long)c->offset + 1,
		    (long long)c->offset + i,
		    (long long)aic_history_total(calls));
	else
		ctl_say(c, "%d of %lld", i,
		    (long long)aic_history_total(calls));
	aic_db_call_done(&calls[0]);
	aic_db_call_done(&calls[1]);
	return AIC_OK;
}

static void
say_stats(struct ctl *c, const struct aic_history_stats *s, int64_t days)
{
	ctl_say(c, "chats %lld in %lld days, %s a day", (long long)s->requests,
	    (long long)days, s->requests_per_day);
	ctl_say(c, "tokens %lld, %s a chat", (long long)s->tokens,
	    s->tokens_per_request);
}

/* Without a user, the statistics are of all users. */
enum aic_code
ctl_stats(struct ctl *c, struct aic_err *err)
{
	int64_t days = c->days ? c->days : DAYS_PRESET;
	struct aic_db_call call;
	struct aic_history_stats s;
	enum aic_code rc;

	if (c->id)
		aic_history_stats_bind(&call, c->id, days, c->conf.timezone);
	else
		aic_history_stats_all_bind(&call, days, c->conf.timezone);
	rc = ctl_db(c, &call, 1, c->id ? SECONDS : LONG_S, err);
	if (rc)
		return rc;
	s = aic_history_stats_read(&call);
	if (c->id) {
		aic_render_stats(&c->doc, c->id, days, &s);
		ctl_say(c, "user %lld", (long long)c->id);
	} else {
		aic_buf_printf(&c->doc,
		    "{\"users\":%lld,\"total_requests\":%lld,"
		    "\"total_tokens\":%lld,\"days\":%lld,"
		    "\"avg_requests_per_day\":%s,"
		    "\"avg_tokens_per_request\":%s}",
		    (long long)s.users, (long long)s.requests,
		    (long long)s.tokens, (long long)days, s.requests_per_day,
		    s.tokens_per_request);
		ctl_say(c, "users %lld", (long long)s.users);
	}
	say_stats(c, &s, days);
	aic_db_call_done(&call);
	return AIC_OK;
}

enum aic_code
ctl_reset(struct ctl *c, struct aic_err *err)
{
	struct aic_audit audit = { .key = AIC_AUDIT_CTL,
		.action = "reset-limit",
		.telegram_id = c->id };
	struct aic_db_call calls[2];
	enum aic_code rc;
	bool known;

	rc = aic_id_new(audit.id, err);
	if (rc)
		return rc;
	aic_limit_reset_bind(&calls[0], c->id, c->conf.timezone);
	aic_audit_bind(&calls[1], &audit);
	rc = ctl_db(c, calls, 2, SECONDS, err);
	if (rc)
		return rc;
	known = aic_limit_reset_read(&calls[0]);
	aic_db_call_done(&calls[0]);
	aic_db_call_done(&calls[1]);
	ctl_update_cache(c, aic_cache_keys_delete_refusal,
	    "a refusal can remain cached for up to a minute");
	aic_render_reset(&c->doc, c->id, known);
	if (known)
		ctl_say(c, "reset the daily limit of user %lld",
		    (long long)c->id);
	else
		ctl_warn("user %lld has no chats", (long long)c->id);
	c->bad = !known;
	return AIC_OK;
}

enum aic_code
ctl_clear(struct ctl *c, struct aic_err *err)
{
	struct aic_audit audit = {
		.key = AIC_AUDIT_CTL, .action = "clear", .telegram_id = c->id
	};
	struct aic_db_call calls[2];
	enum aic_code rc;

	rc = aic_id_new(audit.id, err);
	if (rc)
		return rc;
	aic_context_clear_bind(&calls[0], c->id, c->conf.timezone);
	aic_audit_bind(&calls[1], &audit);
	rc = ctl_db(c, calls, 2, SECONDS, err);
	if (rc)
		return rc;
	aic_db_call_done(&calls[0]);
	aic_db_call_done(&calls[1]);
	aic_buf_puts(&c->doc, "{\"success\":true}");
	ctl_say(c, "the next chat of user %lld begins a new conversation",
	    (long long)c->id);
	return AIC_OK;
}
