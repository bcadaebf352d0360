#include "config.h"

#include "lib/context.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/schema.h"
#include "lib/think.h"
#include "lib/utf8.h"

/*
 * $1 user, $2 number of exchanges. Idempotent: reads only.
 *
 * The query scans the index (telegram_id, created_at, id) from its end, so its
 * cost does not depend on the length of the history. Exchanges that are too old
 * or of an earlier conversation are dropped by aic_context_read(). The query
 * stays cheap that way, and reads no more rows than without these limits.
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

enum context_column {
	CONTEXT_MESSAGE,
	CONTEXT_RESPONSE,
	CONTEXT_AT_US,
};

/*
 * $1 user, $2 zone. Idempotent: a second run begins the conversation a moment
 * later, and increments the version again, which does no harm. A user of an
 * earlier service who has exchanges but no row here gets a row. A user who has
 * never chatted does not.
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
	" RETURNING " AIC_SQL_DURABLE,
	2,
	NULL,
};

/* Replaces the middle of an answer that was cut. */
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

/* The time since which exchanges are included. */
static int64_t
first_us(const struct aic_context_terms *terms)
{
	int64_t ttl_us = terms->ttl_s * AIC_S;

	if (terms->ttl_s == 0 || terms->now_us - ttl_us < terms->from_us)
		return terms->from_us;
	return terms->now_us - ttl_us;
}

/*
 * Add an exchange unless it is too old. A stored answer may contain hidden
 * reasoning of a model, from an earlier version of the service or from another
 * program that writes the table. The reasoning is not sent back. An exchange
 * whose answer is nothing else is left out, because providers refuse a message
 * without text.
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
		e = (struct aic_exchange){
			.message = aic_db_get(&c->call, i, CONTEXT_MESSAGE),
			.response = aic_db_get(&c->call, i, CONTEXT_RESPONSE),
			.at_us = aic_db_get_int(&c->call, i, CONTEXT_AT_US),
		};
		add_exchange(c, &e, first);
	}
}

/* --- the budget -------------------------------------------------------- */

static int64_t
count_chars(const char *text)
{
	return (int64_t)aic_utf8_count(text, strlen(text));
}

/* The position of code point n of a text. */
static const char *
skip_chars(const char *text, int64_t n)
{
	size_t len = strlen(text), step;

	for (; n > 0 && len > 0; n--) {
		step = aic_utf8_next(text, len, NULL);
		/* invalid UTF-8, which the database does not store */
		if (step == 0)
			step = 1;
		text += step;
		len -= step;
	}
	return text;
}

/* Shorten a text to a number of code points: the beginning, a gap, the end. */
static char *
cut_middle(const char *text, int64_t chars)
{
	int64_t kept = chars - GAP_CHARS, head = (kept + 1) / 2;
	const char *tail = skip_chars(text, count_chars(text) - (kept - head));
	struct aic_buf b;
	char *data;

	aic_buf_init(&b, strlen(text) + sizeof(gap));
	aic_buf_put(&b, text, (size_t)(skip_chars(text, head) - text));
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
		left -= count_chars(c->said[i - 1].message) +
		    count_chars(c->said[i - 1].response);
		if (left < 0)
			break;
	}
	c->first = i;
	if (c->n == 0 || c->first < c->n)
		return AIC_OK;
	newest = &c->said[c->n - 1];
	left = terms->chars - count_chars(newest->message);
	if (left <= GAP_CHARS)
		return AIC_OK;
	free(c->cut);
	c->cut = cut_middle(newest->response, left);
	if (!c->cut)
		return aic_fail(err, AIC_ENOMEM, "no memory for the context");
	c->first = c->n - 1;
	return AIC_OK;
}

/* --- copies ------------------------------------------------------------ */

/*
 * The format of a copy: the version, and for each exchange its time, question
 * and answer. Each ends with a NUL, which texts of PostgreSQL cannot contain.
 */

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

/* The next text of a copy; NULL: none. */
static const char *
next_text(const char **at, const char *end)
{
	const char *text = *at;
	const char *nul = memchr(text, '\0', (size_t)(end - text));

	if (!nul)
		return NULL;
	*at = nul + 1;
	return text;
}

static void
drop_oldest(struct aic_context *c, int n)
{
	c->n -= n;
	memmove(c->said, c->said + n, (size_t)c->n * sizeof(c->said[0]));
}

static bool
get_exchange(const char **at, const char *end, struct aic_exchange *e)
{
	const char *when = next_text(at, end);
	char *stop;

	e->message = when ? next_text(at, end) : NULL;
	e->response = e->message ? next_text(at, end) : NULL;
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
	if (!next_text(&at, end) || strlen(data) >= AIC_CONTEXT_VERSION_SIZE)
		goto bad;
	while (at < end) {
		if (!get_exchange(&at, end, &e) || c->n == AIC_CONTEXT_MAX)
			goto bad;
		add_exchange(c, &e, first);
	}
	if (c->n > terms->exchanges)
		drop_oldest(c, c->n - (int)terms->exchanges);
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
aic_context_next(const char *version, char ret_next[AIC_CONTEXT_VERSION_SIZE])
{
	char *rest;
	long long n = strtoll(version, &rest, 10);

	if (rest == version)
		return false;
	snprintf(ret_next, AIC_CONTEXT_VERSION_SIZE, "%lld%s", n + 1, rest);
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
