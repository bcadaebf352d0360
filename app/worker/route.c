#include "config.h"

#include "app/worker/route.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "app/worker/api.h"
#include "app/worker/health.h"
#include "app/worker/reply.h"
#include "lib/auth.h"
#include "lib/clock.h"
#include "lib/log.h"

static enum aic_code
run_handler(struct request *rq, const struct endpoint *e, struct aic_err *err)
{
	enum aic_code rc;

	request_stage(rq, "reading the body");
	if (strcmp(e->method, "POST") == 0) {
		rc = fcgi_body(rq->fcgi, &rq->in, &rq->body, err);
		if (rc)
			return rc;
	}
	rc = e->handler(rq, err);
	if (!rc && rq->out.failed)
		rc = aic_fail(err, AIC_ENOMEM, "out of memory");
	return rc;
}

#define ADMIN "/v1/admin/"

/* /metrics needs no key on the listener of Nginx that serves only /metrics. */
static enum aic_auth_need
choose_auth_need(const struct request *rq, const struct endpoint *e)
{
	const char *is_public = rq->in.is_public;

	/* An operator who mistypes a path gets a 404, as a caller does. */
	if (!e && strncmp(rq->in.path, ADMIN, strlen(ADMIN)) == 0 &&
	    aic_auth_has_admin(rq->worker->conf.auth))
		return AIC_AUTH_OPERATOR;
	if (!e)
		return AIC_AUTH_CALLER;
	if (e->handler == health_metrics && !(is_public && *is_public))
		return AIC_AUTH_NONE;
	return e->need;
}

static enum aic_code
run_request(struct request *rq, const struct endpoint *e, struct aic_err *err)
{
	enum aic_code rc;

	request_stage(rq, "checking the key");
	rc = aic_auth_check(rq->worker->conf.auth, choose_auth_need(rq, e),
	    rq->in.api_key, err);
	if (rc)
		return rc;
	request_stage(rq, "finding the route");
	if (!e)
		return aic_fail(err, AIC_ENOROUTE, "no route has this path");
	if (strcmp(e->method, rq->in.method) != 0) {
		rq->allow = e->method;
		return aic_fail(err, AIC_EMETHOD,
		    "the path does not allow this method");
	}
	request_stage(rq, "acquiring a slot");
	rc = worker_enter(rq->worker, e->slot, err);
	if (rc)
		return rc;
	rc = run_handler(rq, e, err);
	worker_leave(rq->worker, e->slot);
	return rc;
}

static enum aic_level
log_level(enum aic_code code)
{
	switch (code) {
	case AIC_EDB:
	case AIC_ENOMEM:
	case AIC_EBUG:
		return AIC_LOG_ERROR;
	case AIC_EUPSTREAM:
	case AIC_EOPEN:
	case AIC_EBUSY:
		return AIC_LOG_WARN;
	default:
		return AIC_LOG_INFO;
	}
}

/* A caller can send any method and path of any length. */
#define METHOD_LOGGED 16
#define PATH_LOGGED 256

static void
log_request(const struct request *rq, const struct aic_err *err,
    enum aic_code rc, bool sent, bool quiet)
{
	struct aic_log l;

	aic_log_begin(&l, quiet && !rc ? AIC_LOG_DEBUG : log_level(rc),
	    "request");
	aic_log_str(&l, "req", rq->in.id);
	aic_log_str(&l, "trace_id", rq->traceparent.trace_id);
	aic_log_str(&l, "span_id", rq->traceparent.span_id);
	aic_log_cut(&l, "method", rq->in.method, METHOD_LOGGED);
	aic_log_cut(&l, "path", rq->in.path, PATH_LOGGED);
	if (rq->trace.user)
		aic_log_num(&l, "user", rq->trace.user);
	if (rc)
		aic_log_str(&l, "doing", rq->trace.doing);
	aic_log_str(&l, "code", aic_code_name(rc));
	aic_log_num(&l, "status", rq->status);
	aic_log_ms(&l, "ms", aic_clock_us() - rq->start_us);
	if (rq->trace.db_us)
		aic_log_ms(&l, "db_ms", rq->trace.db_us);
	if (rq->trace.limit_us)
		aic_log_ms(&l, "limit_ms", rq->trace.limit_us);
	aic_log_str(&l, "server", rq->seller.outcome);
	if (rq->seller.waited_us)
		aic_log_ms(&l, "server_ms", rq->seller.waited_us);
	if (rq->trace.attempts) {
		aic_log_ms(&l, "ai_ms", rq->trace.ai_us);
		aic_log_num(&l, "attempts", rq->trace.attempts);
		aic_log_str(&l, "model", rq->trace.model);
		aic_log_num(&l, "tokens", rq->trace.tokens);
		aic_log_num(&l, "tokens_prompt", rq->trace.usage.prompt);
		aic_log_num(&l, "tokens_completion",
		    rq->trace.usage.completion);
		aic_log_num(&l, "tokens_cached", rq->trace.usage.cached);
	}
	if (rq->trace.save_us)
		aic_log_ms(&l, "save_ms", rq->trace.save_us);
	if (rq->replayed)
		aic_log_str(&l, "replayed", "yes");
	if (rq->paid_before)
		aic_log_str(&l, "recalled", "yes");
	if (!sent)
		aic_log_str(&l, "sent", "no");
	if (rc)
		aic_log_str(&l, "text", err->detail);
	aic_log_end(&l);
}

/* Keep the error for operators. The detail is for the log only. */
static void
keep_error(const struct request *rq, const struct endpoint *e, enum aic_code rc,
    const struct aic_err *err)
{
	struct aic_metrics_error kept = { .at_s = (int64_t)time(NULL) };

	snprintf(kept.code, sizeof(kept.code), "%s", aic_code_name(rc));
	snprintf(kept.sqlstate, sizeof(kept.sqlstate), "%s", err->sqlstate);
	snprintf(kept.doing, sizeof(kept.doing), "%s", rq->trace.doing);
	snprintf(kept.request_id, sizeof(kept.request_id), "%s", rq->in.id);
	snprintf(kept.path, sizeof(kept.path), "%s", e ? e->path : "other");
	snprintf(kept.text, sizeof(kept.text), "%s", err->says);
	aic_metrics_error(rq->worker->metrics, rc, &kept);
}

static void
count_request(const struct request *rq, const struct endpoint *e,
    enum aic_code rc, const struct aic_err *err)
{
	struct aic_metrics *m = rq->worker->metrics;
	int64_t us = aic_clock_us() - rq->start_us;

	aic_metrics_request(m, api_index(e), rq->status);
	if (rq->status >= 500)
		keep_error(rq, e, rc, err);
	if (!e || e->slot != WORKER_SLOT_CHAT)
		return;
	aic_metrics_chat(m, rc, rq->replayed);
	if (rc == AIC_OK && !rq->replayed) {
		aic_metrics_time(m, AIC_METRICS_CHAT, us);
		aic_metrics_time(m, AIC_METRICS_OVERHEAD, us - rq->trace.ai_us);
	}
}

/* These endpoints are called every few seconds, or by anybody. */
static bool
is_quiet(const struct endpoint *e)
{
	return e && (e->need == AIC_AUTH_NONE || e->handler == health_metrics);
}

void
route_run(struct request *rq)
{
	struct aic_err err = AIC_ERR_INIT;
	const struct endpoint *e;
	enum aic_code rc;
	bool sent;

	request_begin(rq);
	e = api_find(rq->in.path, &rq->worker->conf, &rq->tail);
	rq->by_operator = e &&
	    (e->need == AIC_AUTH_OPERATOR ||
		(e->need == AIC_AUTH_ADMIN &&
		    aic_auth_has_admin(rq->worker->conf.auth)));
	rc = run_request(rq, e, &err);
	sent = reply_send(rq, rc, &err);
	count_request(rq, e, rc, &err);
	log_request(rq, &err, rc, sent, is_quiet(e));
	fcgi_finish(rq->fcgi);
	request_run_deferred(rq);
}
