#include "config.h"

#include "recall.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "chat.h"
#include "clock.h"
#include "input.h"
#include "question.h"
#include "recall_keys.h"

/* A reset that Redis did not hear of costs its user so much at most. */
#define USED_MS (60 * INT64_C(1000))

/* Conversations pause for minutes; after that, one query is no matter. */
#define CONTEXT_MS (600 * INT64_C(1000))

#define SELLER_MS (60 * INT64_C(1000))

static void
count(const struct chat *c, enum metrics_recall what, bool there)
{
	metrics_recall(chat_metrics(c), what, there);
}

static int64_t
now_s(void)
{
	return (int64_t)time(NULL);
}

/* --- questions -------------------------------------------------------------- */

enum aic_code
recall_open(struct worker *w, struct aic_err *err)
{
	const struct aic_conf *conf = &w->conf;
	struct aic_buf way;
	size_t len;

	if (!w->cache || conf->answer_cache_s == 0)
		return AIC_OK;
	aic_buf_init(&way, 4 * AIC_PROMPT_FILE_MAX + 65536);
	aic_buf_printf(&way, "%s %s %g %lld ", conf->openai_base_url,
	    conf->openai_model, conf->openai_temperature,
	    (long long)conf->openai_max_tokens);
	aic_buf_put(&way, w->prompt.rules, w->prompt.rules_len);
	w->way = aic_buf_take(&way, &len);
	return w->way ? AIC_OK : aic_fail(err, AIC_ENOMEM, "out of memory");
}

/* "" where it cannot be told. */
static void
digest_question(struct chat *c)
{
	const char *texts[] = { c->job->worker->way, "", NULL };
	unsigned char digest[AIC_DIGEST_BYTES];
	struct aic_buf normal;

	aic_buf_init(&normal, 5 * AIC_INPUT_MESSAGE_MAX);
	aic_question_normal(&normal, c->in.message);
	aic_buf_putc(&normal, '\0');
	texts[1] = normal.data;
	/* Of punctuation alone nothing is left, and that is no question. */
	if (!normal.failed && normal.len > 1 && aic_digest(texts, digest))
		aic_digest_hex(digest, c->recall.question);
	aic_buf_done(&normal);
}

/* --- looking ----------------------------------------------------------- */

/* What a refusal has to tell, as one line: how many were used, of how many, the Unix time
 * of the reset, the day, and the reset as callers are told it. */
#define USED_DAY 10 /* YYYY-MM-DD */
#define USED_RESET 25 /* YYYY-MM-DDTHH:MM:SS+HH:MM */

static bool
read_used(const char *text, int64_t limit, struct aic_limit_state *s)
{
	char *p;

	s->known = true;
	s->used = strtoll(text, &p, 10);
	s->limit = strtoll(p, &p, 10);
	s->reset_in_s = strtoll(p, &p, 10) - now_s();
	if (strlen(p) != 1 + USED_DAY + 1 + USED_RESET)
		return false;
	snprintf(s->day, sizeof(s->day), "%.*s", USED_DAY, p + 1);
	snprintf(s->reset_at, sizeof(s->reset_at), "%s", p + 1 + USED_DAY + 1);
	return s->limit == limit && s->used >= limit && s->reset_in_s > 0;
}

static char *
take(struct aic_cache_item *item)
{
	char *data = item->data;

	item->data = NULL;
	return data;
}

enum aic_code
recall_chat(struct chat *c, struct aic_err *err)
{
	const struct aic_conf *conf = &c->job->worker->conf;
	struct aic_cache_item items[4];
	struct aic_cache_item *used = NULL, *context, *seller = NULL,
			      *answer = NULL;
	struct aic_context_terms terms = chat_context_terms(c);
	enum aic_code rc = AIC_OK;
	int64_t start;
	int n = 0;

	if (!c->job->worker->cache)
		return AIC_OK;
	context = &items[n++];
	recall_key_context(context->key, c->in.telegram_id, terms.exchanges);
	/* Who has a key may have his answer already, which is no new chat. */
	if (!c->key) {
		used = &items[n++];
		recall_key_used(used->key, c->in.telegram_id);
	}
	if (conf->server_host && !chat_has_data(c)) {
		seller = &items[n++];
		recall_key_seller(seller->key, c->in.telegram_id);
	}
	if (c->job->worker->way && !chat_has_data(c))
		digest_question(c);
	if (*c->recall.question) {
		answer = &items[n++];
		aic_cache_key_of(answer->key, "answer", c->recall.question);
	}

	start = aic_clock_us();
	metrics_cache(chat_metrics(c),
	    aic_cache_get(c->job->worker->cache, items, n, c->job->deadline_us),
	    aic_clock_us() - start);
	if (context->data)
		c->recall.context = aic_context_unpack(&c->context,
		    take(context), context->len, &terms, now_s());
	if (used && used->data &&
	    read_used(used->data, conf->daily_limit, &c->job->limit)) {
		err->retry_after_s = (int)c->job->limit.reset_in_s;
		rc = aic_fail(err, AIC_ELIMIT,
		    "the day is used up, as Redis remembers");
	}
	if (used)
		count(c, METRICS_RECALL_USED, rc != AIC_OK);
	if (!rc && seller) {
		c->recall.seller = seller->data != NULL;
		if (seller->len > 0)
			c->seller = take(seller);
		count(c, METRICS_RECALL_SELLER, c->recall.seller);
	}
	if (answer)
		c->recall.answer = take(answer);
	aic_cache_items_done(items, n);
	return rc;
}

void
recall_done(struct recall *r)
{
	free(r->answer);
	r->answer = NULL;
}

/* --- keeping ----------------------------------------------------------- */

/* data: taken; NULL is none. */
static struct aic_cache_put *
later(struct job *job, char *data, size_t len, int64_t ttl_ms)
{
	struct recall_later *l = &job->later;
	struct aic_cache_put *put;

	if (!data)
		return NULL;
	if (l->n == RECALL_PUTS || ttl_ms <= 0) {
		free(data);
		return NULL;
	}
	put = &l->puts[l->n++];
	*put = (struct aic_cache_put){
		.data = data, .len = len, .ttl_ms = ttl_ms
	};
	return put;
}

void
recall_refused(struct chat *c)
{
	const struct aic_limit_state *s = &c->job->limit;
	int64_t age_us = aic_clock_us() - c->looked_us;
	int64_t ttl_ms = s->reset_in_s * 1000 < USED_MS ? s->reset_in_s * 1000
							: USED_MS;
	struct aic_cache_put *put;
	char line[160];
	int n;

	/* What is only reserved may be given back at any moment. And old news are
	 * none: there may have been a reset since. */
	if (!c->job->worker->cache || s->used - s->live < s->limit ||
	    age_us > RECALL_LOOK_MAX_US)
		return;
	n = snprintf(line, sizeof(line), "%lld %lld %lld %s %s",
	    (long long)s->used, (long long)s->limit,
	    (long long)(now_s() + s->reset_in_s), s->day, s->reset_at);
	put = later(c->job, strdup(line), (size_t)n, ttl_ms - age_us / AIC_MS);
	if (!put)
		return;
	recall_key_used(put->key, c->in.telegram_id);
	put->only_new = true;
}

static void
keep_context(struct chat *c)
{
	struct aic_context_terms terms = chat_context_terms(c);
	struct aic_exchange said = { .message = c->in.message,
		.response = c->answer.text,
		.at_s = now_s() };
	struct aic_cache_put *put;
	struct aic_buf b;
	char *data;
	size_t len;

	/* Another chat of the user came in between: what is known here is not
	 * all. */
	if (!aic_context_follows(c->context_version, c->kept_version))
		return;
	aic_buf_init(&b, AIC_CACHE_VALUE_MAX);
	aic_context_pack(&c->context, c->kept_version, &said, &terms, &b);
	data = aic_buf_take(&b, &len);
	put = later(c->job, data, len, CONTEXT_MS);
	if (put)
		recall_key_context(put->key, c->in.telegram_id,
		    terms.exchanges);
}

static void
keep_seller(struct chat *c)
{
	const char *text = c->seller ? c->seller : "";
	struct aic_cache_put *put;

	put = later(c->job, strdup(text), strlen(text), SELLER_MS);
	if (put)
		recall_key_seller(put->key, c->in.telegram_id);
}

static void
keep_answer(struct chat *c)
{
	struct aic_cache_put *put;

	put = later(c->job, strdup(c->answer.text), strlen(c->answer.text),
	    c->job->worker->conf.answer_cache_s * 1000);
	if (put)
		aic_cache_key_of(put->key, "answer", c->recall.question);
}

void
recall_kept(struct chat *c)
{
	if (!c->job->worker->cache || c->job->replayed)
		return;
	keep_context(c);
	if (c->asked.known && !c->recall.seller)
		keep_seller(c);
	if (c->common && *c->recall.question && !c->job->recalled)
		keep_answer(c);
}

void
recall_keep(struct job *job)
{
	struct recall_later *l = &job->later;
	struct worker *w = job->worker;
	int64_t start = aic_clock_us();

	if (l->n > 0)
		metrics_cache(w->metrics,
		    aic_cache_put(w->cache, l->puts, l->n,
			start + AIC_CACHE_CALL_US),
		    aic_clock_us() - start);
	while (l->n > 0)
		free((char *)(uintptr_t)l->puts[--l->n].data);
}

/* --- a reset ----------------------------------------------------------- */

void
recall_reset(struct worker *w, int64_t telegram_id)
{
	if (!w->cache || recall_mark_reset(w->cache, telegram_id))
		return;
	pthread_mutex_lock(&w->lock);
	if (w->n_resets < WORKER_RESETS)
		w->resets[w->n_resets++] = (struct worker_reset){
			.user = telegram_id,
			.until_us = aic_clock_us() + USED_MS * AIC_MS
		};
	pthread_mutex_unlock(&w->lock);
}

static bool
take_reset(struct worker *w, struct worker_reset *to)
{
	bool any;

	pthread_mutex_lock(&w->lock);
	any = w->n_resets > 0;
	if (any)
		*to = w->resets[--w->n_resets];
	pthread_mutex_unlock(&w->lock);
	return any;
}

void
recall_reset_all(struct worker *w)
{
	struct worker_reset r;

	while (take_reset(w, &r)) {
		/* By then what it knew is forgotten by itself. */
		if (r.until_us <= aic_clock_us())
			continue;
		if (recall_mark_reset(w->cache, r.user))
			continue;
		pthread_mutex_lock(&w->lock);
		if (w->n_resets < WORKER_RESETS)
			w->resets[w->n_resets++] = r;
		pthread_mutex_unlock(&w->lock);
		return;
	}
}
