#include "config.h"

#include "app/worker/chat_cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "app/worker/chat.h"
#include "lib/cache_keys.h"
#include "lib/clock.h"
#include "lib/input.h"
#include "lib/normalize.h"

/* Of the line about a used-up day; a zone's name is short. */
#define USED_MAX 512

/* Conversations pause for minutes; after that, one query is no matter. */
#define CONTEXT_MS (600 * INT64_C(1000))

static void
count(const struct chat *c, enum aic_metrics_recall what, bool there)
{
	aic_metrics_recall(c->metrics, what, there);
}

static int64_t
now_s(void)
{
	return (int64_t)time(NULL);
}

/* "" where it cannot be told. */
static void
digest_question(struct chat *c)
{
	const char *texts[] = { c->worker->asked_how, "", NULL };
	unsigned char digest[AIC_DIGEST_BYTES];
	struct aic_buf normal;

	aic_buf_init(&normal, 5 * AIC_INPUT_MESSAGE_MAX);
	aic_normalize_question(&normal, c->in.message);
	aic_buf_putc(&normal, '\0');
	texts[1] = normal.data;
	/* Of punctuation alone nothing is left, and that is no question. */
	if (!normal.failed && normal.len > 1 && aic_digest(texts, digest))
		aic_digest_hex(digest, c->found.question);
	aic_buf_done(&normal);
}

/* --- looking ----------------------------------------------------------- */

/* What a refusal has to tell, as one line: how many were used, of how many, the Unix time
 * of the reset, the day, the reset as callers are told it, and whose day it is: a worker
 * that counts by another one has no use for it. */
#define USED_DAY 10 /* YYYY-MM-DD */
#define USED_RESET 25 /* YYYY-MM-DDTHH:MM:SS+HH:MM */

static bool
read_used(const char *text, const struct aic_conf *conf,
    struct aic_limit_state *s)
{
	char *p;

	s->known = true;
	s->used = strtoll(text, &p, 10);
	s->limit = strtoll(p, &p, 10);
	s->reset_in_s = strtoll(p, &p, 10) - now_s();
	if (strlen(p) < 1 + USED_DAY + 1 + USED_RESET + 1)
		return false;
	snprintf(s->day, sizeof(s->day), "%.*s", USED_DAY, p + 1);
	p += 1 + USED_DAY + 1;
	snprintf(s->reset_at, sizeof(s->reset_at), "%.*s", USED_RESET, p);
	p += USED_RESET + 1;
	return s->limit == conf->daily_limit && aic_limit_is_used_up(s) &&
	    s->reset_in_s > 0 && strcmp(p, conf->timezone) == 0;
}

/* What is looked for, each NULL where it is not. */
struct looks {
	struct aic_cache_item items[5];
	int n;
	struct aic_cache_item *used, *context, *seller, *answer, *unsaved;
};

static void
choose(struct chat *c, struct looks *l)
{
	const struct aic_conf *conf = c->conf;
	int64_t user = c->in.telegram_id;

	l->used = &l->items[l->n++];
	aic_cache_keys_used(l->used->key, user);
	if (conf->context_messages > 0) {
		l->context = &l->items[l->n++];
		aic_cache_keys_context(l->context->key, user,
		    conf->context_messages);
	}
	if (c->key && !c->paid) {
		l->unsaved = &l->items[l->n++];
		aic_cache_keys_unsaved(l->unsaved->key, user);
	}
	if (chat_has_data(c))
		return;
	if (conf->server_host) {
		l->seller = &l->items[l->n++];
		aic_cache_keys_seller(l->seller->key, user);
	}
	if (c->worker->asked_how)
		digest_question(c);
	if (*c->found.question) {
		l->answer = &l->items[l->n++];
		aic_cache_key_of(l->answer->key, "answer", c->found.question);
	}
}

static char *
take(struct aic_cache_item *item)
{
	char *data = item->data;

	item->data = NULL;
	return data;
}

/* The digest of what was asked, the tokens, and the answer. */
static void
take_unsaved(struct chat *c, const char *text)
{
	size_t n = strlen(c->digest);
	char *rest;
	int64_t tokens;

	if (strncmp(text, c->digest, n) != 0 || text[n] != ' ')
		return;
	tokens = strtoll(text + n, &rest, 10);
	if (*rest != ' ')
		return;
	c->answer.text = strdup(rest + 1);
	c->answer.tokens = tokens;
	c->paid = c->answer.text != NULL;
}

static void
take_all(struct chat *c, struct looks *l)
{
	struct aic_context_terms terms = chat_context_terms(c);

	c->found.used_up = l->used->data &&
	    read_used(l->used->data, c->conf, &c->rq->limit);
	count(c, AIC_METRICS_RECALL_USED, c->found.used_up);
	if (l->context && l->context->data)
		c->found.context = aic_context_unpack(&c->context,
		    take(l->context), l->context->len, &terms);
	if (l->seller) {
		c->found.seller = l->seller->data &&
		    seller_api_recall(&c->rq->seller, l->seller->data,
			l->seller->len);
		count(c, AIC_METRICS_RECALL_SELLER, c->found.seller);
	}
	if (l->answer)
		c->found.answer = take(l->answer);
	if (l->unsaved && l->unsaved->data)
		take_unsaved(c, l->unsaved->data);
}

enum aic_code
chat_cache_look_up(struct chat *c, struct aic_err *err)
{
	struct looks l = { .n = 0 };
	enum aic_cache_end end;
	int64_t start;

	if (!c->worker->cache)
		return AIC_OK;
	choose(c, &l);
	start = aic_clock_us();
	end = aic_cache_get(c->worker->cache, l.items, l.n, c->rq->deadline_us);
	aic_metrics_cache(c->metrics, end, aic_clock_us() - start);
	take_all(c, &l);
	aic_cache_items_done(l.items, l.n);
	/* Who has a key may have his answer already, which is no new chat. */
	if (!c->found.used_up || c->key)
		return AIC_OK;
	err->retry_after_s = (int)c->rq->limit.reset_in_s;
	return aic_fail(err, AIC_ELIMIT,
	    "the day is used up, as Redis remembers");
}

/* A context without what is too old for one worker is not whole for another. */
static void
version_of(const struct chat *c, const char *version,
    char to[AIC_ID_CONTEXT_SIZE])
{
	snprintf(to, AIC_ID_CONTEXT_SIZE, "%.42s %lld", version,
	    (long long)chat_context_terms(c).ttl_s);
}

bool
chat_cache_is_newest(const struct chat *c)
{
	char version[AIC_ID_CONTEXT_SIZE];

	version_of(c, c->context_version, version);
	return strcmp(aic_context_version(&c->context), version) == 0;
}

/* --- keeping ----------------------------------------------------------- */

void
chat_cache_note_refusal(struct chat *c)
{
	const struct aic_limit_state *s = &c->rq->limit;
	int64_t age_us = aic_clock_us() - c->reservation.looked_us, ttl_ms;
	int64_t reset_s = now_s() + s->reset_in_s;
	struct aic_cache_put *put;
	struct aic_buf line;
	char *data;
	size_t len = 0;

	/* What is only reserved may be given back at any moment. And old news are
	 * none: there may have been a reset since. */
	if (!c->worker->cache || s->used - s->live < s->limit ||
	    age_us > AIC_CACHE_KEYS_LOOK_MAX_US)
		return;
	/* Not into the next day: the seconds to it are rounded up. */
	ttl_ms = (s->reset_in_s - 1) * 1000;
	if (ttl_ms > AIC_CACHE_KEYS_USED_MS)
		ttl_ms = AIC_CACHE_KEYS_USED_MS;
	aic_buf_init(&line, USED_MAX);
	aic_buf_printf(&line, "%lld %lld %lld %s %s %s", (long long)s->used,
	    (long long)s->limit, (long long)reset_s, s->day, s->reset_at,
	    c->conf->timezone);
	data = aic_buf_take(&line, &len);
	aic_buf_done(&line);
	put = request_defer_put(c->rq, data, len, ttl_ms - age_us / AIC_MS);
	if (!put)
		return;
	aic_cache_keys_used(put->key, c->in.telegram_id);
	put->only_new = true;
	c->rq->looked_us = c->reservation.looked_us;
}

static void
keep_context(struct chat *c)
{
	struct aic_context_terms terms = chat_context_terms(c);
	struct aic_exchange said = { .message = c->in.message,
		.response = c->answer.text,
		.at_us = now_s() * AIC_S };
	char next[AIC_ID_CONTEXT_SIZE], version[AIC_ID_CONTEXT_SIZE];
	struct aic_cache_put *put;
	struct aic_buf b;
	char *data;
	size_t len = 0;

	if (terms.exchanges == 0 || !aic_context_next(c->context_version, next))
		return;
	version_of(c, next, version);
	aic_buf_init(&b, AIC_CACHE_VALUE_MAX);
	aic_context_pack(&c->context, version, &said, &terms, &b);
	data = aic_buf_take(&b, &len);
	aic_buf_done(&b);
	put = request_defer_put(c->rq, data, len, CONTEXT_MS);
	if (put)
		aic_cache_keys_context(put->key, c->in.telegram_id,
		    terms.exchanges);
}

static void
keep_answer(struct chat *c)
{
	struct aic_cache_put *put;

	put = request_defer_put(c->rq, strdup(c->answer.text),
	    strlen(c->answer.text), c->conf->answer_cache_s * 1000);
	if (put)
		aic_cache_key_of(put->key, "answer", c->found.question);
}

void
chat_cache_note_saved(struct chat *c)
{
	if (!c->worker->cache || c->rq->replayed || !c->answer.text)
		return;
	keep_context(c);
	c->rq->seller.keep = true;
	/* Not half an answer, nor one of a model that only helps out. */
	if (c->common && *c->found.question && !c->rq->recalled &&
	    c->answer.model == 0 && !c->answer.cut_off)
		keep_answer(c);
}

void
chat_cache_note_unsaved(struct chat *c)
{
	struct aic_cache_put *put;
	struct aic_buf b;
	char *data;
	size_t len = 0;

	if (!c->worker->cache)
		return;
	aic_buf_init(&b, AIC_CACHE_VALUE_MAX);
	aic_buf_printf(&b, "%s %lld %s", c->digest, (long long)c->answer.tokens,
	    c->answer.text);
	data = aic_buf_take(&b, &len);
	aic_buf_done(&b);
	put = request_defer_put(c->rq, data, len, UNSAVED_MS);
	if (put)
		aic_cache_keys_unsaved(put->key, c->in.telegram_id);
}
