#include "config.h"

#include "app/worker/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cache_keys.h"
#include "lib/clock.h"
#include "lib/context.h"
#include "lib/durable.h"
#include "lib/idempotency.h"
#include "lib/limit.h"
#include "lib/log.h"
#include "lib/save.h"
#include "lib/schema.h"

/* Monitoring calls /health/ready every few seconds. A database that needs
 * longer than this is not ready. */
#define READY_US (1 * AIC_S)

/* The result of a probe is used for PROBE_US. While the next probe runs, it is
 * used for READY_US more. */
#define PROBE_US (1 * AIC_S)
#define PROBE_MAX_US (PROBE_US + READY_US)

/* A chat takes seconds, so a slot will be free soon. */
#define BUSY_RETRY_AFTER_S 2

/* The HTTP calls of a chat at one time, beside those to the seller-data API:
 * one call to a model, and one that is being cancelled. The worker itself needs
 * a few more. */
#define CALLS_EACH 2
#define CALLS_SPARE 16

/* Only reads. */
static const struct aic_db_stmt migrated = { "migrated",
	"SELECT to_regclass('ai_chat_migrations') IS NOT NULL,"
	" current_setting('search_path')",
	0, NULL };

enum migrated_column {
	MIGRATED_YES,
	MIGRATED_SEARCH_PATH,
};

/* $1 zone. Only reads. */
static const struct aic_db_stmt check = {
	"check",
	"SELECT coalesce((SELECT max(version) FROM ai_chat_migrations), 0),"
	"  EXISTS (SELECT FROM pg_timezone_names WHERE name = $1::text),"
	"  current_setting('transaction_read_only')",
	1,
	NULL,
};

enum check_column {
	CHECK_VERSION,
	CHECK_ZONE_EXISTS,
	CHECK_READ_ONLY,
};

/*
 * Describe how the model is called. The cache key of an answer contains the
 * description, so that a cached answer is used only under the same settings and
 * rules. The description stays NULL when answers are not cached.
 */
static enum aic_code
describe_model(struct worker *w, struct aic_err *err)
{
	const struct aic_conf *conf = &w->conf;
	struct aic_buf text;
	size_t len;

	if (!w->cache || conf->answer_cache_s == 0)
		return AIC_OK;
	aic_buf_init(&text,
	    4 * AIC_PROMPT_FILE_MAX + 65536 + AIC_EXTRA_FILE_MAX);
	aic_buf_printf(&text, "%s %s %g %lld ", conf->openai_base_url,
	    conf->openai_model, conf->openai_temperature,
	    (long long)conf->openai_max_tokens);
	aic_buf_puts(&text, aic_openai_members(w->openai));
	aic_buf_put(&text, w->prompt.rules, w->prompt.rules_len);
	w->model_description = aic_buf_take(&text, &len);
	aic_buf_done(&text);
	return w->model_description
	    ? AIC_OK
	    : aic_fail(err, AIC_ENOMEM, "out of memory");
}

enum aic_code
worker_open(struct worker *w, struct aic_conf *conf, struct aic_err *err)
{
	struct aic_db_conf db;
	struct aic_openai_conf ai;
	struct aic_cache_conf cache;
	struct aic_http_conf http;
	enum aic_code rc;

	memset(w, 0, sizeof(*w));
	pthread_mutex_init(&w->lock, NULL);
	pthread_mutex_init(&w->probe.lock, NULL);
	pthread_cond_init(&w->probe.over, NULL);
	pthread_mutex_init(&w->schema_check.lock, NULL);
	pthread_cond_init(&w->schema_check.over, NULL);
	aic_breaker_init(&w->saves, WORKER_SAVES_FAILED,
	    WORKER_SAVES_OPEN_MS * AIC_MS);
	w->conf = *conf;
	db = (struct aic_db_conf){ .url = conf->database_url,
		.schema = conf->db_schema,
		.pool = (int)conf->db_pool,
		.timeout_ms = (int)conf->db_timeout_ms,
		.prepare = conf->db_prepare };
	ai = (struct aic_openai_conf){ .temperature = conf->openai_temperature,
		.max_tokens = conf->openai_max_tokens,
		.breaker_failures = conf->breaker_failures,
		.breaker_open_us = conf->breaker_open_ms * AIC_MS,
		.retry_floor = conf->retry_floor };
	aic_conf_models(conf, ai.models);
	/* API_SECRET_KEY is the one secret that the workers of all machines
	 * share, so the seal of cached values is derived from it. */
	cache = (struct aic_cache_conf){
		.url = conf->redis_url, .secret = conf->api_keys, .scoped = true
	};
	http = (struct aic_http_conf){ .calls_max = CALLS_EACH *
			(int)conf->threads +
		    CALLS_SPARE + seller_api_calls(conf),
		.connections_max = (int)conf->upstream_connections };
	rc = aic_prompt_load(&w->prompt, conf->prompt_file, conf->answer_format,
	    err);
	if (!rc)
		rc = aic_db_open(&w->db, &db, err);
	db.pool = 1;
	if (!rc && conf->api_admin_key)
		rc = aic_db_open(&w->background_db, &db, err);
	if (!rc)
		rc = aic_http_open(&w->http, &http, err);
	if (!rc)
		rc = aic_openai_open(&w->openai, &ai, err);
	if (!rc)
		rc = aic_cache_open(&w->cache, &cache, err);
	if (!rc)
		rc = describe_model(w, err);
	if (!rc) {
		w->unsaved = unsaved_open();
		if (!w->unsaved)
			rc = aic_fail(err, AIC_ENOMEM, "out of memory");
	}
	if (!rc)
		rc = seller_api_open(&w->seller_api, w->http, conf, err);
	if (rc)
		worker_close(w);
	return rc;
}

enum aic_code
worker_open_metrics(struct worker *w, const char *const *routes, int n_routes,
    struct aic_err *err)
{
	int number = (int)w->conf.instance;
	enum aic_code rc;

	rc = aic_metrics_open(&w->metrics, w->conf.metrics_dir, number, routes,
	    n_routes, err);
	if (rc == AIC_EBUSY) {
		/* The metrics are not necessary to serve chats. */
		aic_log_event(AIC_LOG_ERROR, "metrics",
		    "could not open the metrics file, counting in memory "
		    "only: %s",
		    err->detail);
		rc = aic_metrics_open(&w->metrics, NULL, number, routes,
		    n_routes, err);
	}
	seller_api_count_in(w->seller_api, w->metrics);
	return rc;
}

void
worker_close(struct worker *w)
{
	aic_metrics_close(w->metrics);
	aic_cache_close(w->cache);
	free(w->model_description);
	seller_api_close(w->seller_api);
	aic_openai_close(w->openai);
	aic_http_close(w->http);
	aic_db_close(w->db);
	aic_db_close(w->background_db);
	aic_prompt_done(&w->prompt);
	aic_conf_done(&w->conf);
	unsaved_close(w->unsaved);
	aic_buf_done(&w->openapi);
	aic_breaker_done(&w->saves);
	pthread_cond_destroy(&w->schema_check.over);
	pthread_mutex_destroy(&w->schema_check.lock);
	pthread_cond_destroy(&w->probe.over);
	pthread_mutex_destroy(&w->probe.lock);
	pthread_mutex_destroy(&w->lock);
	memset(w, 0, sizeof(*w));
}

static enum aic_code
check_tables(struct worker *w, int64_t until, struct aic_err *err)
{
	struct aic_db_call call;
	enum aic_code rc;

	aic_db_call(&call, &migrated);
	rc = aic_db_run(w->db, &call, 1, until, err);
	if (rc)
		return rc;
	if (*aic_db_get(&call, 0, MIGRATED_YES) != 't')
		rc = aic_fail(err, AIC_EDB,
		    "the database has no tables of this service in %s: run "
		    "ai-chat-migrate, or set AI_CHAT_DB_SCHEMA",
		    aic_db_get(&call, 0, MIGRATED_SEARCH_PATH));
	aic_db_call_done(&call);
	if (rc)
		return rc;

	aic_db_call(&call, &check);
	aic_db_text(&call, w->conf.timezone);
	rc = aic_db_run(w->db, &call, 1, until, err);
	if (rc)
		return rc;
	if (aic_db_get_int(&call, 0, CHECK_VERSION) < AIC_SCHEMA_VERSION)
		rc = aic_fail(err, AIC_EDB,
		    "the database has schema version %d, version %d is "
		    "required: run ai-chat-migrate",
		    (int)aic_db_get_int(&call, 0, CHECK_VERSION),
		    AIC_SCHEMA_VERSION);
	else if (*aic_db_get(&call, 0, CHECK_ZONE_EXISTS) != 't')
		rc = aic_fail(err, AIC_ECONF,
		    "AI_CHAT_TIMEZONE \"%s\" is not a time zone of the "
		    "database",
		    w->conf.timezone);
	else if (strcmp(aic_db_get(&call, 0, CHECK_READ_ONLY), "off") != 0)
		rc = aic_fail(err, AIC_EDB, "the database is read-only");
	aic_db_call_done(&call);
	return rc;
}

/* Log once the settings of the server under which a crash can lose saved
 * chats. */
static void
check_durability(struct worker *w, int64_t deadline_us)
{
	struct aic_err err = AIC_ERR_INIT;
	struct aic_db_call call;

	if (atomic_exchange(&w->durability_checked, true))
		return;
	aic_durable_bind(&call);
	if (aic_db_run(w->db, &call, 1, deadline_us, &err)) {
		atomic_store(&w->durability_checked, false);
		return;
	}
	if (*aic_durable_read(&call))
		aic_log_event(AIC_LOG_WARN, "durability",
		    "a crash of PostgreSQL can lose answered chats: %s",
		    aic_durable_read(&call));
	aic_db_call_done(&call);
}

/* No chat has this id. */
static const char nil[] = "00000000-0000-0000-0000-000000000000";

static enum aic_code
run_and_discard(struct worker *w, struct aic_db_call *calls, int n,
    int64_t deadline_us, struct aic_err *err)
{
	enum aic_code rc = aic_db_run(w->db, calls, n, deadline_us, err);
	int i;

	for (i = 0; i < n; i++)
		aic_db_call_done(&calls[i]);
	return rc;
}

/*
 * Run the statements of a chat, for a user and a reservation that do not exist,
 * and with a limit that refuses every chat. The server does all the work of a
 * chat and checks names, types, privileges and write access, but finds no row
 * to read or to write.
 */
static enum aic_code
try_chat(struct worker *w, int64_t deadline_us, struct aic_err *err)
{
	struct aic_limit_reserve r = {
		.chat_id = nil, .zone = w->conf.timezone, .limit = -1
	};
	struct aic_save s = { .message = "", .response = "" };
	struct aic_context_terms terms = { .exchanges = 0 };
	struct aic_db_call calls[4];

	aic_limit_reserve_bind(&calls[0], &r);
	aic_context_bind(&calls[1], 0, &terms);
	aic_save_bind(&calls[2], &s);
	aic_limit_release_bind(&calls[3], 0, nil);
	return run_and_discard(w, calls, 4, deadline_us, err);
}

/* The further statements of a chat with a key. */
static enum aic_code
try_key(struct worker *w, int64_t deadline_us, struct aic_err *err)
{
	struct aic_limit_reserve r = { .chat_id = nil,
		.of_key = true,
		.zone = w->conf.timezone,
		.limit = -1 };
	struct aic_db_call calls[3];

	aic_idempotency_queue_bind(&calls[0], 0, w->conf.timezone);
	aic_limit_reserve_bind(&calls[1], &r);
	aic_idempotency_bind(&calls[2], 0, nil, NULL);
	return run_and_discard(w, calls, 3, deadline_us, err);
}

enum aic_code
worker_check(struct worker *w, struct aic_err *err)
{
	int64_t until = aic_clock_us() + w->conf.db_timeout_ms * AIC_MS;
	enum aic_code rc;

	rc = check_tables(w, until, err);
	if (!rc)
		rc = try_chat(w, until, err);
	if (!rc)
		rc = try_key(w, until, err);
	return rc;
}

/* The keys in Redis contain a digest that identifies the database. If the
 * server refuses the query for its identity, the worker serves without Redis.
 */
static enum aic_code
set_cache_scope(struct worker *w, int64_t deadline_us, struct aic_err *err)
{
	enum aic_code rc;

	rc = aic_cache_keys_set_scope(w->cache, w->db, deadline_us, err);
	if (!rc || !*err->sqlstate)
		return rc;
	aic_log_event(AIC_LOG_WARN, "cache",
	    "Redis is not used, because the identity of the database, a part "
	    "of each key, could not be read: %s",
	    err->detail);
	*err = (struct aic_err)AIC_ERR_INIT;
	return AIC_OK;
}

static enum aic_code
check_schema(struct worker *w, int64_t deadline_us, struct aic_err *err)
{
	enum aic_code rc = try_chat(w, deadline_us, err);

	if (!rc)
		rc = set_cache_scope(w, deadline_us, err);
	if (rc)
		return rc;
	atomic_store(&w->schema_ok, true);
	check_durability(w, deadline_us);
	return AIC_OK;
}

/* The lock is held. Wait for the check that another thread runs. */
static enum aic_code
await_schema_check(struct worker_schema_check *schema, pthread_mutex_t *lock,
    int64_t deadline_us, struct aic_err *err)
{
	struct timespec until = aic_clock_spec(deadline_us);
	unsigned checks = schema->checks;
	int rc = 0;

	while (schema->checks == checks && rc != ETIMEDOUT)
		rc = pthread_cond_clockwait(&schema->over, lock,
		    CLOCK_MONOTONIC, &until);
	if (schema->checks == checks)
		return aic_fail(err, AIC_EDB,
		    "the database did not answer in time");
	if (schema->code)
		*err = schema->why;
	return schema->code;
}

enum aic_code
worker_schema_ok(struct worker *w, int64_t deadline_us, struct aic_err *err)
{
	struct worker_schema_check *schema = &w->schema_check;
	enum aic_code rc;

	if (atomic_load_explicit(&w->schema_ok, memory_order_relaxed))
		return AIC_OK;
	pthread_mutex_lock(&schema->lock);
	if (schema->running) {
		rc = await_schema_check(schema, &schema->lock, deadline_us,
		    err);
		pthread_mutex_unlock(&schema->lock);
		return rc;
	}
	schema->running = true;
	pthread_mutex_unlock(&schema->lock);
	rc = check_schema(w, deadline_us, err);
	pthread_mutex_lock(&schema->lock);
	schema->running = false;
	schema->checks++;
	schema->code = rc;
	schema->why = *err;
	pthread_cond_broadcast(&schema->over);
	pthread_mutex_unlock(&schema->lock);
	return rc;
}

static enum aic_code
probe_database(struct worker *w, struct aic_err *err)
{
	int64_t until = aic_clock_us() + READY_US;
	enum aic_code rc;

	rc = try_chat(w, until, err);
	if (!rc)
		rc = try_key(w, until, err);
	if (!rc)
		check_durability(w, until);
	return rc;
}

/* The lock is held, and is released while the probe runs. */
static void
run_probe(struct worker *w, enum aic_level level)
{
	struct worker_probe *probe = &w->probe;
	struct aic_err err = AIC_ERR_INIT;
	enum aic_code rc;

	probe->running = true;
	pthread_mutex_unlock(&probe->lock);
	rc = probe_database(w, &err);
	if (rc)
		aic_log_event(level, "unready", "%s", err.detail);
	pthread_mutex_lock(&probe->lock);
	probe->running = false;
	probe->code = rc;
	probe->why = err;
	probe->ended_us = aic_clock_us();
	pthread_cond_broadcast(&probe->over);
}

enum aic_code
worker_probe(struct worker *w, enum aic_level level, struct aic_err *err)
{
	struct worker_probe *probe = &w->probe;
	enum aic_code rc;
	int64_t age_us;

	pthread_mutex_lock(&probe->lock);
	age_us = probe->ended_us ? aic_clock_us() - probe->ended_us : INT64_MAX;
	if (age_us > PROBE_US && !probe->running)
		run_probe(w, level);
	else if (age_us > PROBE_MAX_US)
		while (probe->running)
			pthread_cond_wait(&probe->over, &probe->lock);
	rc = probe->code;
	if (rc)
		*err = probe->why;
	pthread_mutex_unlock(&probe->lock);
	return rc;
}

enum aic_code
worker_enter_wait(struct worker *w, struct aic_err *err)
{
	bool ok;

	pthread_mutex_lock(&w->lock);
	ok = w->waiters < (w->conf.threads + 1) / 2;
	if (ok)
		w->waiters++;
	pthread_mutex_unlock(&w->lock);
	if (ok)
		return AIC_OK;
	err->retry_after_s = BUSY_RETRY_AFTER_S;
	aic_says(err, "Too many requests wait for others of their key");
	return aic_fail(err, AIC_EBUSY,
	    "too many requests are waiting on an Idempotency-Key");
}

void
worker_leave_wait(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	w->waiters--;
	pthread_mutex_unlock(&w->lock);
}

void
worker_release_later(struct worker *w, int64_t user, const char *chat_id,
    int64_t lapses_us)
{
	struct worker_release *release = NULL;

	pthread_mutex_lock(&w->lock);
	if (w->n_releases < WORKER_RELEASES) {
		release = &w->releases[w->n_releases++];
		release->user = user;
		release->lapses_us = lapses_us;
		memcpy(release->chat_id, chat_id, AIC_ID_SIZE);
	}
	pthread_mutex_unlock(&w->lock);
	if (!release)
		aic_metrics_lapse(w->metrics);
}

/* The newest first, because its reservation lapses last. */
static bool
take_release(struct worker *w, struct worker_release *to)
{
	bool any;

	pthread_mutex_lock(&w->lock);
	any = w->n_releases > 0;
	if (any)
		*to = w->releases[--w->n_releases];
	pthread_mutex_unlock(&w->lock);
	return any;
}

void
worker_release_all(struct worker *w)
{
	int64_t until = aic_clock_us() + READY_US;
	struct aic_err err = AIC_ERR_INIT;
	struct aic_db_call call;
	struct worker_release release;

	while (take_release(w, &release)) {
		if (release.lapses_us <= aic_clock_us()) {
			aic_metrics_lapse(w->metrics);
			continue;
		}
		aic_limit_release_bind(&call, release.user, release.chat_id);
		if (aic_db_run(w->db, &call, 1, until, &err)) {
			worker_release_later(w, release.user, release.chat_id,
			    release.lapses_us);
			return;
		}
		aic_db_call_done(&call);
	}
}

void
worker_check_cache(struct worker *w)
{
	struct aic_cache_look cache = aic_cache_first(w->cache,
	    aic_clock_us() + READY_US);

	if (cache.state != AIC_CACHE_IS_OK && cache.state != AIC_CACHE_IS_OFF)
		aic_log_event(AIC_LOG_WARN, "cache",
		    "Redis is unavailable, workers continue without it: %s",
		    cache.tried ? cache.why : "no answer yet");
}

static void
log_cache_state(struct worker *w, const struct aic_cache_look *cache)
{
	bool same;

	if (!cache->tried)
		return;
	pthread_mutex_lock(&w->lock);
	/* Log a change of the state or of the reason. When the reason becomes
	 * known after the state has changed, a second line gives it. */
	same = cache->state == w->cache_logged &&
	    (cache->state == AIC_CACHE_IS_OK ||
		strcmp(cache->why, w->cache_why) == 0);
	w->cache_logged = cache->state;
	memcpy(w->cache_why, cache->why, sizeof(w->cache_why));
	pthread_mutex_unlock(&w->lock);
	if (same)
		return;
	if (cache->state == AIC_CACHE_IS_OK)
		aic_log_event(AIC_LOG_INFO, "cache", "Redis is available");
	else
		aic_log_event(AIC_LOG_WARN, "cache", "%s: %s",
		    cache->state == AIC_CACHE_IS_OPEN
			? "circuit breaker for Redis opened"
			: "Redis is unavailable, continuing without it",
		    cache->why);
}

/* --- cache resets --------------------------------------------------------- */

static void
defer_reset(struct worker *w, const struct worker_reset *r)
{
	bool ok;

	pthread_mutex_lock(&w->lock);
	ok = w->n_resets < WORKER_RESETS;
	if (ok)
		w->resets[w->n_resets++] = *r;
	pthread_mutex_unlock(&w->lock);
	if (!ok)
		aic_log_event(AIC_LOG_WARN, "cache",
		    "could not queue cache invalidation after reset: %d "
		    "pending; refusals can remain cached for %d s",
		    WORKER_RESETS, (int)(AIC_CACHE_KEYS_USED_MS / 1000));
}

void
worker_reset(struct worker *w, int64_t user)
{
	struct worker_reset r = { .user = user,
		.until_us = aic_clock_us() + AIC_CACHE_KEYS_USED_MS * AIC_MS };

	if (w->cache && !aic_cache_keys_delete_refusal(w->cache, user))
		defer_reset(w, &r);
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
worker_reset_all(struct worker *w)
{
	struct worker_reset r;

	while (take_reset(w, &r)) {
		/* The refusal in Redis has expired, so there is nothing to
		 * delete. */
		if (r.until_us <= aic_clock_us())
			continue;
		if (!aic_cache_keys_delete_refusal(w->cache, r.user)) {
			defer_reset(w, &r);
			return;
		}
	}
}

void
worker_keep_warm(struct worker *w)
{
	char why[AIC_HTTP_WHY_SIZE] = "";

	if (!w->conf.openai_keep_warm)
		return;
	switch (aic_openai_keep_warm(w->openai, w->http, why)) {
	case AIC_WARM_LOST:
		aic_log_event(AIC_LOG_WARN, "model",
		    "could not connect to the primary model: %s", why);
		break;
	case AIC_WARM_FOUND:
		aic_log_event(AIC_LOG_INFO, "model",
		    "connected to the primary model again");
		break;
	case AIC_WARM_SAME:
		break;
	}
}

void
worker_update_gauges(struct worker *w)
{
	struct aic_cache_look cache = aic_cache_look(w->cache);
	struct aic_db_state db = aic_db_look(w->db);
	struct aic_metrics_now now = { .slots = w->conf.threads,
		.db_connections = db.connections,
		.db_busy = db.busy,
		.db_waiting = db.waiting,
		.db_up = !db.down,
		.cache = cache.state != AIC_CACHE_IS_OFF,
		.cache_up = cache.state == AIC_CACHE_IS_OK,
		.cache_open = cache.state == AIC_CACHE_IS_OPEN,
		.cache_connections = cache.connections,
		.cache_busy = cache.busy,
		.saves_open = aic_breaker_is_open(&w->saves),
		.seller_open = seller_api_is_open(w->seller_api) };
	int i;

	for (i = 0; i < AIC_OPENAI_MODELS; i++)
		now.open[i] = aic_openai_model_is_open(w->openai, i,
		    aic_clock_us());
	pthread_mutex_lock(&w->lock);
	now.slots_used = w->chats;
	now.others = w->others;
	pthread_mutex_unlock(&w->lock);
	aic_metrics_now(w->metrics, &now);
	if (aic_metrics_was_lost())
		aic_log_event(AIC_LOG_ERROR, "metrics",
		    "file %lld in AI_CHAT_METRICS_DIR was truncated: counting "
		    "in memory until the next start",
		    (long long)w->conf.instance);
	log_cache_state(w, &cache);
}

int
worker_threads(const struct worker *w)
{
	return (int)w->conf.threads + WORKER_SPARE;
}

enum aic_code
worker_enter(struct worker *w, enum worker_slot slot, struct aic_err *err)
{
	enum aic_code rc = AIC_OK;

	if (slot == WORKER_SLOT_NONE)
		return AIC_OK;
	pthread_mutex_lock(&w->lock);
	if (w->chats + w->others >= worker_threads(w) - WORKER_LAST ||
	    (slot == WORKER_SLOT_CHAT && w->chats >= w->conf.threads))
		rc = AIC_EBUSY;
	else if (slot == WORKER_SLOT_CHAT)
		w->chats++;
	else
		w->others++;
	pthread_mutex_unlock(&w->lock);
	if (rc) {
		err->retry_after_s = BUSY_RETRY_AFTER_S;
		aic_says(err, "Too many requests in flight");
		aic_fail(err, rc, "all request slots are in use");
	}
	return rc;
}

void
worker_leave(struct worker *w, enum worker_slot slot)
{
	if (slot == WORKER_SLOT_NONE)
		return;
	pthread_mutex_lock(&w->lock);
	if (slot == WORKER_SLOT_CHAT)
		w->chats--;
	else
		w->others--;
	pthread_mutex_unlock(&w->lock);
}
