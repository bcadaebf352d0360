#include "config.h"

#include "lib/context.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/id.h"
#include "lib/think.h"
#include "lib/utf8.h"

/*
 * $1 user, $2 how many. Only reads. Served by the index (telegram_id, created_at, id)
 * from its end, so it costs the same however long the history is. What is of an earlier
 * conversation, or too old, is left out here afterwards: it is at most what would have
 * come anyway, and the query stays cheap.
 */
static const struct aic_db_stmt context = {
	"context",
	"SELECT message, response,"
	"  (extract(epoch FROM created_at) * 1000000.0)::bigint"
	" FROM ai_chat_requests"
	" WHERE telegram_id = $1::bigint"
	" ORDER BY created_at DESC, id DESC LIMIT $2::int",
	2,
	NULL,
};

/*
 * $1 user, $2 zone. Twice is once, but for the moment. Who has no row here and has
 * exchanges, from an earlier service, gets one; who has never chatted does not.
 */
static const struct aic_db_stmt clear = {
	"clear",
	"INSERT INTO ai_chat_daily_limits AS l"
	" (telegram_id, last_reset_date, context_from, context_seq)"
	" SELECT $1::bigint, (now() AT TIME ZONE $2::text)::date, now(), 1"
	" WHERE EXISTS (SELECT FROM ai_chat_requests"
	"  WHERE telegram_id = $1::bigint)"
	" ON CONFLICT (telegram_id) DO UPDATE SET"
	"  context_from = now(), context_seq = l.context_seq + 1,"
	"  updated_at = now()"
	" RETURNING " AIC_DB_SQL_DURABLE,
	2,
	NULL,
};

/* What stands for the middle of an answer that was cut. */
static const char gap[] = " … ";
#define GAP_CHARS 3

void
aic_context_bind(struct aic_db_call *call, int64_t telegram_id,
    const struct aic_context_terms *terms)
{
	aic_db_call(call, &context);
	aic_db_int(call, telegram_id);
	aic_db_int(call, terms->exchanges);
}

/* When the first exchange may have been kept. */
static int64_t
first_us(const struct aic_context_terms *terms)
{
	int64_t ttl_us = terms->ttl_s * AIC_S;

	if (terms->ttl_s == 0 || terms->now_us - ttl_us < terms->from_us)
		return terms->from_us;
	return terms->now_us - ttl_us;
}

/*
 * One more exchange, unless it is too old. An earlier version of the service, or
 * another program that writes the table, may have stored a model's hidden reasoning: it
 * is not sent back. An answer of nothing else is no answer, and providers refuse a
 * message without text, so that exchange is left out.
 */
static void
add_exchange(struct aic_context *c, struct aic_exchange *e, int64_t first_us)
{
	size_t len, skip;

	if (e->at_us <= first_us)
		return;
	len = strlen(e->response);
	skip = aic_think_skip(e->response, len);
	if (skip > 0 && skip == len)
		return;
	e->response += skip;
	c->said[c->n++] = *e;
}

void
aic_context_read(struct aic_context *c, struct aic_db_call *call,
    const struct aic_context_terms *terms)
{
	int64_t first = first_us(terms);
	struct aic_exchange e;
	int i;

	aic_context_done(c);
	c->call = *call;
	call->res = NULL;
	for (i = PQntuples(c->call.res) - 1; i >= 0 && c->n < AIC_CONTEXT_MAX;
	     i--) {
		e = (struct aic_exchange){ .message = aic_db_get(&c->call, i,
					       0),
			.response = aic_db_get(&c->call, i, 1),
			.at_us = aic_db_get_int(&c->call, i, 2) };
		add_exchange(c, &e, first);
	}
}

/* --- the budget -------------------------------------------------------- */

static int64_t
count(const char *text)
{
	return (int64_t)aic_utf8_count(text, strlen(text));
}

/* Where the n-th code point of a text begins. */
static const char *
skip(const char *text, int64_t n)
{
	size_t len = strlen(text), step;

	for (; n > 0 && len > 0; n--) {
		step = aic_utf8_next(text, len, NULL);
		if (step == 0) /* a text of ours has none of these */
			step = 1;
		text += step;
		len -= step;
	}
	return text;
}

/* So many code points of it: the beginning, a gap, the end. */
static char *
without_middle(const char *text, int64_t chars)
{
	int64_t kept = chars - GAP_CHARS, head = (kept + 1) / 2;
	const char *tail = skip(text, count(text) - (kept - head));
	struct aic_buf b;
	char *data;

	aic_buf_init(&b, strlen(text) + sizeof(gap));
	aic_buf_put(&b, text, (size_t)(skip(text, head) - text));
	aic_buf_puts(&b, gap);
	aic_buf_puts(&b, tail);
	data = aic_buf_take(&b, NULL);
	aic_buf_done(&b);
	return data;
}

enum aic_code
aic_context_fit(struct aic_context *c, const struct aic_context_terms *terms,
    struct aic_err *err)
{
	const struct aic_exchange *newest;
	int64_t left = terms->chars;
	int i;

	for (i = c->n; i > 0; i--) {
		left -= count(c->said[i - 1].message) +
		    count(c->said[i - 1].response);
		if (left < 0)
			break;
	}
	c->first = i;
	if (c->n == 0 || c->first < c->n)
		return AIC_OK;
	newest = &c->said[c->n - 1];
	left = terms->chars - count(newest->message);
	if (left <= GAP_CHARS)
		return AIC_OK;
	free(c->cut);
	c->cut = without_middle(newest->response, left);
	if (!c->cut)
		return aic_fail(err, AIC_ENOMEM, "no memory for the context");
	c->first = c->n - 1;
	return AIC_OK;
}

/* --- copies ------------------------------------------------------------ */

/* Texts of PostgreSQL have no NUL, so NULs keep them apart: version, and then of each
 * exchange its time, question and answer. */

static void
put_exchange(struct aic_buf *to, const struct aic_exchange *e)
{
	aic_buf_printf(to, "%lld", (long long)e->at_us);
	aic_buf_putc(to, '\0');
	aic_buf_put(to, e->message, strlen(e->message) + 1);
	aic_buf_put(to, e->response, strlen(e->response) + 1);
}

void
aic_context_pack(const struct aic_context *c, const char *version,
    const struct aic_exchange *more, const struct aic_context_terms *terms,
    struct aic_buf *to)
{
	int i = c->n + (more ? 1 : 0) - (int)terms->exchanges;

	aic_buf_put(to, version, strlen(version) + 1);
	for (i = i > 0 ? i : 0; i < c->n; i++)
		put_exchange(to, &c->said[i]);
	if (more && terms->exchanges > 0)
		put_exchange(to, more);
}

/* The next text of a copy; NULL when there is none. */
static const char *
next(const char **at, const char *end)
{
	const char *text = *at;
	const char *nul = memchr(text, '\0', (size_t)(end - text));

	if (!nul)
		return NULL;
	*at = nul + 1;
	return text;
}

static void
forget_oldest(struct aic_context *c, int n)
{
	c->n -= n;
	memmove(c->said, c->said + n, (size_t)c->n * sizeof(c->said[0]));
}

static bool
get_exchange(const char **at, const char *end, struct aic_exchange *e)
{
	const char *when = next(at, end);
	char *stop;

	e->message = when ? next(at, end) : NULL;
	e->response = e->message ? next(at, end) : NULL;
	if (!e->response)
		return false;
	errno = 0;
	e->at_us = strtoll(when, &stop, 10);
	return stop != when && !*stop && !errno;
}

bool
aic_context_unpack(struct aic_context *c, char *data, size_t len,
    const struct aic_context_terms *terms)
{
	const char *at = data, *end = data + len;
	int64_t first = first_us(terms);
	struct aic_exchange e;

	aic_context_done(c);
	c->copy = data;
	if (!next(&at, end) || strlen(data) >= AIC_ID_CONTEXT_SIZE)
		goto bad;
	while (at < end) {
		if (!get_exchange(&at, end, &e) || c->n == AIC_CONTEXT_MAX)
			goto bad;
		add_exchange(c, &e, first);
	}
	if (c->n > terms->exchanges)
		forget_oldest(c, c->n - (int)terms->exchanges);
	return true;
bad:
	aic_context_done(c);
	return false;
}

const char *
aic_context_version(const struct aic_context *c)
{
	return c->copy ? c->copy : "";
}

bool
aic_context_next(const char *version, char ret_next[AIC_ID_CONTEXT_SIZE])
{
	char *rest;
	long long n = strtoll(version, &rest, 10);

	if (rest == version)
		return false;
	snprintf(ret_next, AIC_ID_CONTEXT_SIZE, "%lld%s", n + 1, rest);
	return true;
}

void
aic_context_done(struct aic_context *c)
{
	aic_db_call_done(&c->call);
	free(c->copy);
	free(c->cut);
	c->copy = NULL;
	c->cut = NULL;
	c->n = c->first = 0;
}

void
aic_context_clear_bind(struct aic_db_call *call, int64_t telegram_id,
    const char *zone)
{
	aic_db_call(call, &clear);
	aic_db_int(call, telegram_id);
	aic_db_text(call, zone);
}
