#include "config.h"

#include "app/worker/recall.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "app/worker/chat.h"
#include "lib/clock.h"
#include "lib/input.h"
#include "lib/question.h"
#include "lib/recall_keys.h"

/* Of the line about a used-up day; a zone's name is short. */
#define USED_MAX 512

/* Conversations pause for minutes; after that, one query is no matter. */
#define CONTEXT_MS (600 * INT64_C(1000))

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
	struct aic_buf how;
	size_t len;

	if (!w->cache || conf->answer_cache_s == 0)
		return AIC_OK;
	aic_buf_init(&how,
	    4 * AIC_PROMPT_FILE_MAX + 65536 + AIC_EXTRA_FILE_MAX);
	aic_buf_printf(&how, "%s %s %g %lld ", conf->openai_base_url,
	    conf->openai_model, conf->openai_temperature,
	    (long long)conf->openai_max_tokens);
	aic_buf_puts(&how, aic_openai_members(w->openai));
	aic_buf_put(&how, w->prompt.rules, w->prompt.rules_len);
	w->asked_how = aic_buf_take(&how, &len);
	aic_buf_done(&how);
	return w->asked_how ? AIC_OK
			    : aic_fail(err, AIC_ENOMEM, "out of memory");
}

/* "" where it cannot be told. */
static void
digest_question(struct chat *c)
{
	const char *texts[] = { c->job->worker->asked_how, "", NULL };
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
	const struct aic_conf *conf = &c->job->worker->conf;
	int64_t user = c->in.telegram_id;

	l->used = &l->items[l->n++];
	recall_key_used(l->used->key, user);
	if (conf->context_messages > 0) {
		l->context = &l->items[l->n++];
		recall_key_context(l->context->key, user,
		    conf->context_messages);
	}
	if (c->key && !c->paid) {
		l->unsaved = &l->items[l->n++];
		recall_key_unsaved(l->unsaved->key, user);
	}
	if (chat_has_data(c))
		return;
	if (conf->server_host) {
		l->seller = &l->items[l->n++];
		recall_key_seller(l->seller->key, user);
	}
	if (c->job->worker->asked_how)
		digest_question(c);
	if (*c->recall.question) {
		l->answer = &l->items[l->n++];
		aic_cache_key_of(l->answer->key, "answer", c->recall.question);
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

	c->recall.used = l->used->data &&
	    read_used(l->used->data, &c->job->worker->conf, &c->job->limit);
	count(c, METRICS_RECALL_USED, c->recall.used);
	if (l->context && l->context->data)
		c->recall.context = aic_context_unpack(&c->context,
		    take(l->context), l->context->len, &terms);
	if (l->seller) {
		c->recall.seller = l->seller->data &&
		    personal_recall(c->job, l->seller->data, l->seller->len);
		count(c, METRICS_RECALL_SELLER, c->recall.seller);
	}
	if (l->answer)
		c->recall.answer = take(l->answer);
	if (l->unsaved && l->unsaved->data)
		take_unsaved(c, l->unsaved->data);
}

enum aic_code
recall_chat(struct chat *c, struct aic_err *err)
{
	struct looks l = { .n = 0 };
	enum aic_cache_end end;
	int64_t start;

	if (!c->job->worker->cache)
		return AIC_OK;
	choose(c, &l);
	start = aic_clock_us();
	end = aic_cache_get(c->job->worker->cache, l.items, l.n,
	    c->job->deadline_us);
	metrics_cache(chat_metrics(c), end, aic_clock_us() - start);
	take_all(c, &l);
	aic_cache_items_done(l.items, l.n);
	/* Who has a key may have his answer already, which is no new chat. */
	if (!c->recall.used || c->key)
		return AIC_OK;
	err->retry_after_s = (int)c->job->limit.reset_in_s;
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
recall_is_newest(const struct chat *c)
{
	char version[AIC_ID_CONTEXT_SIZE];

	version_of(c, c->context_version, version);
	return strcmp(aic_context_version(&c->context), version) == 0;
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
	int64_t age_us = aic_clock_us() - c->looked_us, ttl_ms;
	int64_t reset_s = now_s() + s->reset_in_s;
	struct aic_cache_put *put;
	struct aic_buf line;
	char *data;
	size_t len = 0;

	/* What is only reserved may be given back at any moment. And old news are
	 * none: there may have been a reset since. */
	if (!c->job->worker->cache || s->used - s->live < s->limit ||
	    age_us > RECALL_LOOK_MAX_US)
		return;
	/* Not into the next day: the seconds to it are rounded up. */
	ttl_ms = (s->reset_in_s - 1) * 1000;
	if (ttl_ms > RECALL_USED_MS)
		ttl_ms = RECALL_USED_MS;
	aic_buf_init(&line, USED_MAX);
	aic_buf_printf(&line, "%lld %lld %lld %s %s %s", (long long)s->used,
	    (long long)s->limit, (long long)reset_s, s->day, s->reset_at,
	    c->job->worker->conf.timezone);
	data = aic_buf_take(&line, &len);
	aic_buf_done(&line);
	put = later(c->job, data, len, ttl_ms - age_us / AIC_MS);
	if (!put)
		return;
	recall_key_used(put->key, c->in.telegram_id);
	put->only_new = true;
	c->job->later.looked_us = c->looked_us;
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
	put = later(c->job, data, len, CONTEXT_MS);
	if (put)
		recall_key_context(put->key, c->in.telegram_id,
		    terms.exchanges);
}

/* As late as can be: some of it comes while the model thinks. */
static void
keep_seller(struct job *job)
{
	struct aic_cache_put *put;
	size_t len = 0;
	char *data = personal_copy(job, &len);

	put = later(job, data, len, PERSONAL_KEEP_S * 1000);
	if (put)
		recall_key_seller(put->key, job->user);
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
	if (!c->job->worker->cache || c->job->replayed || !c->answer.text)
		return;
	keep_context(c);
	c->job->asked.keep = true;
	/* Not half an answer, nor one of a model that only helps out. */
	if (c->common && *c->recall.question && !c->job->recalled &&
	    c->answer.model == 0 && !c->answer.cut_off)
		keep_answer(c);
}

void
recall_unsaved(struct chat *c)
{
	struct aic_cache_put *put;
	struct aic_buf b;
	char *data;
	size_t len = 0;

	if (!c->job->worker->cache)
		return;
	aic_buf_init(&b, AIC_CACHE_VALUE_MAX);
	aic_buf_printf(&b, "%s %lld %s", c->digest, (long long)c->answer.tokens,
	    c->answer.text);
	data = aic_buf_take(&b, &len);
	aic_buf_done(&b);
	put = later(c->job, data, len, UNSAVED_MS);
	if (put)
		recall_key_unsaved(put->key, c->in.telegram_id);
}

void
recall_keep(struct job *job)
{
	struct recall_later *l = &job->later;
	struct worker *w = job->worker;
	int64_t start = aic_clock_us();
	enum aic_cache_end end;

	if (w->cache)
		keep_seller(job);
	/* A caller who reads slowly may have made old news of it. */
	if (l->n > 0 && l->puts[0].only_new &&
	    start - l->looked_us > RECALL_LOOK_MAX_US)
		free((char *)(uintptr_t)l->puts[--l->n].data);
	if (l->n > 0) {
		end = aic_cache_put(w->cache, l->puts, l->n, INT64_MAX);
		metrics_cache(w->metrics, end, aic_clock_us() - start);
	}
	while (l->n > 0)
		free((char *)(uintptr_t)l->puts[--l->n].data);
}
