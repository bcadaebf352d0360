#include "config.h"

#include "app/worker/route.h"

#include <stdbool.h>
#include <string.h>

#include "app/worker/chat.h"
#include "lib/clock.h"
#include "app/worker/health.h"
#include "lib/log.h"
#include "app/worker/reply.h"
#include "app/worker/user.h"

struct route {
	const char *method;
	const char *path; /* with a slash at the end: and one more segment */
	enum aic_auth_need need;
	enum worker_room room;
	route_handler *handler;
};

static const struct route routes[] = {
	{ "GET", "/health", AIC_AUTH_NONE, WORKER_ROOM_NONE, health_live },
	/* The one of the service that callers may come from. */
	{ "GET", "/v1/chat/health", AIC_AUTH_NONE, WORKER_ROOM_NONE,
	    health_live },
	{ "GET", "/health/ready", AIC_AUTH_NONE, WORKER_ROOM_NONE,
	    health_ready },
	{ "GET", "/metrics", AIC_AUTH_NONE, WORKER_ROOM_NONE, health_metrics },
	{ "POST", "/v1/chat/send", AIC_AUTH_CALLER, WORKER_ROOM_CHAT,
	    chat_send },
	{ "POST", "/v1/chat/history", AIC_AUTH_CALLER, WORKER_ROOM_DB,
	    user_history },
	{ "POST", "/v1/chat/clear", AIC_AUTH_CALLER, WORKER_ROOM_DB,
	    user_clear },
	{ "GET", "/v1/chat/limits/", AIC_AUTH_CALLER, WORKER_ROOM_DB,
	    user_limits },
	{ "POST", "/v1/chat/reset-limit", AIC_AUTH_ADMIN, WORKER_ROOM_DB,
	    user_reset },
	{ "GET", "/v1/chat/stats/", AIC_AUTH_CALLER, WORKER_ROOM_DB,
	    user_stats },
};

#define N_ROUTES (sizeof(routes) / sizeof(routes[0]))
_Static_assert(N_ROUTES < METRICS_ROUTES, "each route is counted");

const char *const *
route_names(int *ret_n)
{
	static const char *names[N_ROUTES];
	size_t i;

	for (i = 0; i < N_ROUTES; i++)
		names[i] = routes[i].path;
	*ret_n = (int)N_ROUTES;
	return names;
}

/* The rest of a path behind a route's own; NULL when it is another path. */
static const char *
match(const struct route *r, const char *path)
{
	size_t n = strlen(r->path);

	if (strncmp(path, r->path, n) != 0)
		return NULL;
	path += n;
	if (r->path[n - 1] == '/')
		return *path && !strchr(path, '/') ? path : NULL;
	return *path ? NULL : path;
}

static const struct route *
find(struct job *job)
{
	size_t i;

	for (i = 0; i < N_ROUTES; i++) {
		job->tail = match(&routes[i], job->rq.path);
		if (job->tail)
			return &routes[i];
	}
	return NULL;
}

static enum aic_code
serve(struct job *job, const struct route *r, struct aic_err *err)
{
	enum aic_code rc;

	route_stage(job, "reading the body");
	if (strcmp(r->method, "POST") == 0) {
		rc = fcgi_body(job->fcgi, &job->rq, &job->body, err);
		if (rc)
			return rc;
	}
	rc = r->handler(job, err);
	if (!rc && job->out.failed)
		rc = aic_fail(err, AIC_ENOMEM, "out of memory");
	return rc;
}

/* The figures are open only where Nginx has a listener for them alone. */
static enum aic_auth_need
need_of(const struct job *job, const struct route *r)
{
	const char *is_public = job->rq.is_public;

	if (!r || (r->handler == health_metrics && is_public && *is_public))
		return AIC_AUTH_CALLER;
	return r->need;
}

static enum aic_code
run(struct job *job, const struct route *r, struct aic_err *err)
{
	const struct aic_conf *conf = &job->worker->conf;
	enum aic_code rc;

	route_stage(job, "checking the key");
	rc = aic_auth_check(conf->api_keys, conf->api_admin_key,
	    need_of(job, r), job->rq.api_key, err);
	if (rc)
		return rc;
	route_stage(job, "finding the route");
	if (!r)
		return aic_fail(err, AIC_ENOROUTE, "no such path");
	if (strcmp(r->method, job->rq.method) != 0) {
		job->allow = r->method;
		return aic_fail(err, AIC_EMETHOD, "no such method here");
	}
	route_stage(job, "finding room");
	rc = worker_enter(job->worker, r->room, err);
	if (rc)
		return rc;
	rc = serve(job, r, err);
	worker_leave(job->worker, r->room);
	return rc;
}

static enum aic_level
level_of(enum aic_code code)
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

/* Callers make up methods and paths, and may do so at length. */
#define METHOD_LOGGED 16
#define PATH_LOGGED 256

static void
log_request(const struct job *job, const struct aic_err *err, enum aic_code rc,
    bool sent, bool quiet)
{
	struct aic_log l;

	aic_log_begin(&l, quiet && !rc ? AIC_LOG_DEBUG : level_of(rc),
	    "request");
	aic_log_str(&l, "req", job->rq.id);
	aic_log_cut(&l, "method", job->rq.method, METHOD_LOGGED);
	aic_log_cut(&l, "path", job->rq.path, PATH_LOGGED);
	if (job->user)
		aic_log_num(&l, "user", job->user);
	if (rc)
		aic_log_str(&l, "doing", job->doing);
	aic_log_str(&l, "code", aic_code_name(rc));
	aic_log_num(&l, "status", job->status);
	aic_log_ms(&l, "ms", aic_clock_us() - job->start_us);
	if (job->db_us)
		aic_log_ms(&l, "db_ms", job->db_us);
	if (job->limit_us)
		aic_log_ms(&l, "limit_ms", job->limit_us);
	aic_log_str(&l, "server", job->server);
	if (job->server_us)
		aic_log_ms(&l, "server_ms", job->server_us);
	if (job->attempts) {
		aic_log_ms(&l, "ai_ms", job->ai_us);
		aic_log_num(&l, "attempts", job->attempts);
		aic_log_str(&l, "model", job->model);
		aic_log_num(&l, "tokens", job->tokens);
		aic_log_num(&l, "tokens_prompt", job->usage.prompt);
		aic_log_num(&l, "tokens_completion", job->usage.completion);
		aic_log_num(&l, "tokens_cached", job->usage.cached);
	}
	if (job->save_us)
		aic_log_ms(&l, "save_ms", job->save_us);
	if (job->replayed)
		aic_log_str(&l, "replayed", "yes");
	if (job->recalled)
		aic_log_str(&l, "recalled", "yes");
	if (!sent)
		aic_log_str(&l, "sent", "no");
	if (rc)
		aic_log_str(&l, "text", err->detail);
	aic_log_end(&l);
}

static void
count(const struct job *job, const struct route *r, enum aic_code rc)
{
	struct metrics *m = job->worker->metrics;
	int64_t us = aic_clock_us() - job->start_us;

	metrics_request(m, r ? (int)(r - routes) : -1, job->status);
	if (!r || r->handler != chat_send)
		return;
	metrics_chat(m, rc, job->replayed);
	if (rc == AIC_OK && !job->replayed) {
		metrics_time(m, METRICS_CHAT, us);
		metrics_time(m, METRICS_OVERHEAD, us - job->ai_us);
	}
}

void
route_run(struct job *job)
{
	struct aic_err err = AIC_ERR_INIT;
	const struct route *r;
	enum aic_code rc;
	bool sent;

	job->deadline_us = job->start_us +
	    job->worker->conf.deadline_ms * AIC_MS;
	aic_buf_clear(&job->body);
	aic_buf_clear(&job->out);
	job->status = 0;
	job->type = job->allow = NULL;
	job->replayed = job->recalled = job->perhaps_saved = false;
	job->later.n = 0;
	job->asked = (struct personal_ask){ .start_us = 0 };
	job->user = job->tokens = 0;
	job->db_us = job->limit_us = job->ai_us = job->save_us = 0;
	job->attempts = 0;
	job->usage = (struct aic_completion_usage){ .prompt = 0 };
	job->model = NULL;
	job->server = NULL;
	job->server_us = 0;

	r = find(job);
	rc = run(job, r, &err);
	sent = reply_send(job, rc, &err);
	count(job, r, rc);
	log_request(job, &err, rc, sent, r && r->need == AIC_AUTH_NONE);
	fcgi_finish(job->fcgi);
	recall_keep(job);
	personal_finish(job);
}

void
route_stage(struct job *job, const char *doing)
{
	job->doing = doing;
	job->stage_end_us = aic_clock_us() +
	    job->worker->conf.db_timeout_ms * AIC_MS;
	if (job->stage_end_us > job->deadline_us)
		job->stage_end_us = job->deadline_us;
}

enum aic_code
route_db(struct job *job, struct aic_db_call *calls, int n, struct aic_err *err)
{
	int64_t start = aic_clock_us();
	enum aic_code rc;

	rc = aic_db_run(job->worker->db, calls, n, job->stage_end_us, err);
	job->db_us += aic_clock_us() - start;
	return rc;
}
