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

/* The size of a stored refusal; the name of a time zone is short. */
#define REFUSAL_MAX 512

/* The lifetime of a stored context. The pauses in a conversation last minutes;
 * after a longer pause one query does not matter. */
#define CONTEXT_MS (600 * INT64_C(1000))

static void
count_hit(const struct chat *c, enum aic_metrics_lookup what, bool there)
{
	aic_metrics_lookup(c->metrics, what, there);
}

static int64_t
now_s(void)
{
	return (int64_t)time(NULL);
}

/* The digest is "" if the question cannot be normalised. */
static void
digest_question(struct chat *c)
{
	const char *texts[] = { c->worker->model_description, "", NULL };
	unsigned char digest[AIC_DIGEST_BYTES];
	struct aic_buf normal;

	aic_buf_init(&normal, 5 * AIC_INPUT_MESSAGE_MAX);
	aic_normalize_question(&normal, c->in.message);
	aic_buf_putc(&normal, '\0');
	texts[1] = normal.data;
	/* A question of punctuation alone normalises to nothing. */
	if (!normal.failed && normal.len > 1 && aic_digest(texts, digest))
		aic_digest_hex(digest, c->found.question);
	aic_buf_done(&normal);
}

/* --- reading -------------------------------------------------------------- */

/*
 * A stored refusal is one line of six fields: chats used, the limit, the Unix
 * time of the reset, the day, the time of the reset as the response shows it,
 * and the time zone. The time zone is there because a worker with another time
 * zone has other days and must not use the refusal.
 */
#define REFUSAL_DAY 10 /* YYYY-MM-DD */
#define REFUSAL_RESET 25 /* YYYY-MM-DDTHH:MM:SS+HH:MM */

static bool
read_refusal(const char *text, const struct aic_conf *conf,
    struct aic_limit_state *s)
{
	char *p;

	s->known = true;
	s->used = strtoll(text, &p, 10);
	s->limit = strtoll(p, &p, 10);
	s->reset_in_s = strtoll(p, &p, 10) - now_s();
	if (strlen(p) < 1 + REFUSAL_DAY + 1 + REFUSAL_RESET + 1)
		return false;
	snprintf(s->day, sizeof(s->day), "%.*s", REFUSAL_DAY, p + 1);
	p += 1 + REFUSAL_DAY + 1;
	snprintf(s->reset_at, sizeof(s->reset_at), "%.*s", REFUSAL_RESET, p);
	p += REFUSAL_RESET + 1;
	return s->limit == conf->daily_limit && aic_limit_is_used_up(s) &&
	    s->reset_in_s > 0 && strcmp(p, conf->timezone) == 0;
}

/* The values to read; a pointer is NULL if its value is not read. */
struct lookup {
	struct aic_cache_item items[5];
	int n;
	struct aic_cache_item *refusal, *context, *seller, *answer, *unsaved;
};

static void
choose_values(struct chat *c, struct lookup *l)
{
	const struct aic_conf *conf = c->conf;
	int64_t user = c->in.telegram_id;

	l->refusal = &l->items[l->n++];
	aic_cache_keys_used(l->refusal->key, user);
	if (conf->context_messages > 0) {
		l->context = &l->items[l->n++];
		aic_cache_keys_context(l->context->key, user,
		    conf->context_messages);
	}
	if (c->key && !c->has_unsaved) {
		l->unsaved = &l->items[l->n++];
		aic_cache_keys_unsaved(l->unsaved->key, user);
	}
	if (chat_has_data(c))
		return;
	if (conf->server_host) {
		l->seller = &l->items[l->n++];
		aic_cache_keys_seller(l->seller->key, user);
	}
	if (c->worker->model_description)
		digest_question(c);
	if (*c->found.question) {
		l->answer = &l->items[l->n++];
		aic_cache_key_of(l->answer->key, "answer", c->found.question);
	}
}

static char *
take_data(struct aic_cache_item *item)
{
	char *data = item->data;

	item->data = NULL;
	return data;
}

/* An unsaved answer is stored as the digest of the request, the tokens and the
 * text. */
static void
read_unsaved(struct chat *c, const char *text)
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
	c->has_unsaved = c->answer.text != NULL;
}

static void
read_values(struct chat *c, struct lookup *l)
{
	struct aic_context_terms terms = chat_context_terms(c);

	c->found.refused = l->refusal->data &&
	    read_refusal(l->refusal->data, c->conf, &c->rq->limit);
	count_hit(c, AIC_METRICS_LOOKUP_REFUSAL, c->found.refused);
	if (l->context && l->context->data)
		c->found.context = aic_context_unpack(&c->context,
		    take_data(l->context), l->context->len, &terms);
	if (l->seller) {
		c->found.seller = l->seller->data &&
		    seller_api_restore(&c->rq->seller, l->seller->data,
			l->seller->len);
		count_hit(c, AIC_METRICS_LOOKUP_SELLER, c->found.seller);
	}
	if (l->answer)
		c->found.answer = take_data(l->answer);
	if (l->unsaved && l->unsaved->data)
		read_unsaved(c, l->unsaved->data);
}

enum aic_code
chat_cache_look_up(struct chat *c, struct aic_err *err)
{
	struct lookup l = { .n = 0 };
	enum aic_cache_end end;
	int64_t start;

	if (!c->worker->cache)
		return AIC_OK;
	choose_values(c, &l);
	start = aic_clock_us();
	end = aic_cache_get(c->worker->cache, l.items, l.n, c->rq->deadline_us);
	aic_metrics_cache(c->metrics, end, aic_clock_us() - start);
	read_values(c, &l);
	aic_cache_items_done(l.items, l.n);
	/* A request with a key can be a replay, which does not consume
	 * quota. */
	if (!c->found.refused || c->key)
		return AIC_OK;
	err->retry_after_s = (int)c->rq->limit.reset_in_s;
	request_set_quota(c->rq, c->rq->limit.used, c->rq->limit.reset_in_s);
	return aic_fail(err, AIC_ELIMIT,
	    "the daily limit is used up, according to Redis");
}

/* The stored version contains the lifetime of a context, because a worker with
 * another AI_CHAT_CONTEXT_TTL_S would keep other exchanges. */
static void
format_version(const struct chat *c, const char *version,
    char to[AIC_CONTEXT_VERSION_SIZE])
{
	snprintf(to, AIC_CONTEXT_VERSION_SIZE, "%.42s %lld", version,
	    (long long)chat_context_terms(c).ttl_s);
}

bool
chat_cache_is_newest(const struct chat *c)
{
	char version[AIC_CONTEXT_VERSION_SIZE];

	format_version(c, c->context_version, version);
	return strcmp(aic_context_version(&c->context), version) == 0;
}

/* --- storing -------------------------------------------------------------- */

void
chat_cache_note_refusal(struct chat *c)
{
	const struct aic_limit_state *s = &c->rq->limit;
	int64_t age_us = aic_clock_us() - c->reservation.observed_us, ttl_ms;
	int64_t reset_s = now_s() + s->reset_in_s;
	struct aic_cache_put *put;
	struct aic_buf line;
	char *data;
	size_t len = 0;

	/* A reserved chat can be released at any moment, so only counted chats
	 * make a refusal last. An old observation is not stored, because the
	 * limit can have been reset since. */
	if (!c->worker->cache || s->used - s->reservations < s->limit ||
	    age_us > AIC_CACHE_KEYS_LOOK_MAX_US)
		return;
	/* reset_in_s is rounded up to seconds, so one second less ensures that
	 * the refusal expires before the next day begins. */
	ttl_ms = (s->reset_in_s - 1) * 1000;
	if (ttl_ms > AIC_CACHE_KEYS_USED_MS)
		ttl_ms = AIC_CACHE_KEYS_USED_MS;
	aic_buf_init(&line, REFUSAL_MAX);
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
	c->rq->observed_us = c->reservation.observed_us;
}

static void
store_context(struct chat *c)
{
	struct aic_context_terms terms = chat_context_terms(c);
	struct aic_exchange said = { .message = c->in.message,
		.response = c->answer.text,
		.at_us = now_s() * AIC_S };
	char next[AIC_CONTEXT_VERSION_SIZE], version[AIC_CONTEXT_VERSION_SIZE];
	struct aic_cache_put *put;
	struct aic_buf b;
	char *data;
	size_t len = 0;

	if (terms.exchanges == 0 || !aic_context_next(c->context_version, next))
		return;
	format_version(c, next, version);
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
store_answer(struct chat *c)
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
	store_context(c);
	c->rq->seller.storable = true;
	/* A truncated answer is not stored, nor an answer of the fallback
	 * model. */
	if (c->shareable && *c->found.question && !c->rq->paid_before &&
	    c->answer.model == 0 && !c->answer.cut_off)
		store_answer(c);
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
