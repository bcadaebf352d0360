#include "config.h"

#include "app/worker/health.h"

#include <string.h>

#include "lib/clock.h"
#include "lib/log.h"

enum aic_code
health_live(struct request *rq, struct aic_err *err)
{
	(void)err;
	aic_buf_puts(&rq->out,
	    "{\"status\":\"ok\",\"service\":\"" WORKER_SERVICE
	    "\",\"version\":\"" PACKAGE_VERSION "\"}");
	return AIC_OK;
}

static const char *const live_states[] = { "ok", NULL };
static const struct aic_shape_member live_members[] = {
	{ "status", AIC_SHAPE_TEXT, .names = live_states },
	{ "service", AIC_SHAPE_TEXT, .about = "The name of the service." },
	{ "version", AIC_SHAPE_TEXT, .about = "The version of the worker." },
};
const struct aic_shape health_live_shape = { "Liveness",
	"The worker serves requests.", AIC_SHAPE_MEMBERS(live_members),
	"{\"status\":\"ok\",\"service\":\"" WORKER_SERVICE
	"\",\"version\":\"" PACKAGE_VERSION "\"}" };

static const char *
upstream_state(struct aic_openai *openai)
{
	if (aic_openai_is_open(openai, aic_clock_us()))
		return "open";
	return aic_openai_is_well(openai) ? "ok" : "down";
}

static const char *
cache_state(struct aic_cache *c)
{
	static const char *const words[AIC_CACHE_STATE__MAX] = {
		[AIC_CACHE_IS_OFF] = "off",
		[AIC_CACHE_IS_OK] = "ok",
		[AIC_CACHE_IS_DOWN] = "down",
		[AIC_CACHE_IS_OPEN] = "open",
	};

	return words[aic_cache_look(c).state];
}

static const char *
database_state(struct worker *w)
{
	struct aic_err why = AIC_ERR_INIT;

	if (worker_probe(w, AIC_LOG_WARN, &why))
		return "down";
	/* When the circuit breaker is due for a trial, the state is "ok",
	 * because only a chat can close the breaker, and a load balancer sends
	 * no chats to a worker that is not ready. */
	return aic_breaker_wait(&w->saves, aic_clock_us()) > 0 ? "open" : "ok";
}

enum aic_code
health_ready(struct request *rq, struct aic_err *err)
{
	const char *state;
	bool db;

	(void)err;
	request_stage(rq, "checking the database");
	state = database_state(rq->worker);
	db = strcmp(state, "ok") == 0;
	rq->status = db ? 200 : 503;
	aic_buf_printf(&rq->out,
	    "{\"status\":\"%s\",\"checks\":{\"database\":\"%s\","
	    "\"upstream\":\"%s\",\"cache\":\"%s\"}}",
	    db ? "ready" : "unready", state, upstream_state(rq->worker->openai),
	    cache_state(rq->worker->cache));
	return AIC_OK;
}

static const char *const ready_states[] = { "ready", "unready", NULL };
static const char *const database_states[] = { "ok", "down", "open", NULL };
static const char *const upstream_states[] = { "ok", "down", "open", NULL };
static const char *const cache_states[] = { "ok", "down", "open", "off", NULL };
static const struct aic_shape_member check_members[] = {
	{ "database", AIC_SHAPE_TEXT, .names = database_states,
	    .about = "PostgreSQL; it alone decides about `status`." },
	{ "upstream", AIC_SHAPE_TEXT, .names = upstream_states,
	    .about = "The model. \"open\": its circuit breaker is open." },
	{ "cache", AIC_SHAPE_TEXT, .names = cache_states,
	    .about = "Redis. \"off\": not configured." },
};
static const struct aic_shape checks_shape = { "Checks",
	"The state of each part.", AIC_SHAPE_MEMBERS(check_members), NULL };
static const struct aic_shape_member ready_members[] = {
	{ "status", AIC_SHAPE_TEXT, .names = ready_states },
	{ "checks", AIC_SHAPE_OBJECT, .shape = &checks_shape },
};
const struct aic_shape health_ready_shape = { "Readiness",
	"Whether the worker can serve a chat.",
	AIC_SHAPE_MEMBERS(ready_members),
	"{\"status\":\"ready\",\"checks\":{\"database\":\"ok\","
	"\"upstream\":\"ok\",\"cache\":\"off\"}}" };

enum aic_code
health_metrics(struct request *rq, struct aic_err *err)
{
	struct aic_err why = AIC_ERR_INIT;

	(void)err;
	/* Without any requests, as at night, nothing else would detect that the
	 * database is up again. */
	if (aic_db_look(rq->worker->db).down)
		worker_probe(rq->worker, AIC_LOG_DEBUG, &why);
	worker_update_gauges(rq->worker);
	rq->type = "text/plain; version=0.0.4; charset=utf-8";
	aic_metrics_write(rq->worker->metrics, &rq->out);
	return AIC_OK;
}
