#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "app/worker/admin.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "lib/metrics.h"

/* The response must not wait long for a database that is down. */
#define DATABASE_US (1 * AIC_S)

/* Only reads. */
static const struct aic_db_stmt versions = { "admin_versions",
	"SELECT current_setting('server_version'),"
	"  (SELECT coalesce(max(version), 0) FROM ai_chat_migrations)",
	0, NULL };

static void
put_time(struct aic_buf *to, int64_t unix_s)
{
	time_t t = (time_t)unix_s;
	char text[32] = "";
	struct tm tm;

	if (gmtime_r(&t, &tm))
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S+00:00", &tm);
	aic_json_put_str(to, text);
}

static void
put_database(struct request *rq, struct aic_buf *to)
{
	int64_t until = aic_clock_us() + DATABASE_US;
	struct aic_err why = AIC_ERR_INIT;
	struct aic_db_call call;

	aic_db_call(&call, &versions);
	if (until > rq->stage_end_us)
		until = rq->stage_end_us;
	if (aic_db_run(rq->worker->db, &call, 1, until, &why)) {
		aic_buf_puts(to,
		    "{\"state\":\"down\",\"version\":null,\"schema\":null}");
		return;
	}
	aic_buf_puts(to, "{\"state\":\"ok\",\"version\":");
	aic_json_put_str(to, aic_db_get(&call, 0, 0));
	aic_buf_printf(to, ",\"schema\":%lld}",
	    (long long)aic_db_get_int(&call, 0, 1));
	aic_db_call_done(&call);
}

static void
put_breaker(struct aic_buf *to, const char *name, bool configured, int64_t open)
{
	aic_buf_printf(to, "\"%s\":\"%s\"", name,
	    !configured ? "off"
		: open	? "open"
			: "closed");
}

/* The workers of a host have the same settings, so the settings of this worker
 * decide what is configured. */
static void
put_breakers(struct aic_buf *to, const struct aic_conf *conf,
    const struct aic_metrics_now *now)
{
	aic_buf_puts(to, "\"breakers\":{");
	put_breaker(to, "model", true, now->open[0]);
	aic_buf_putc(to, ',');
	put_breaker(to, "fallback", conf->fallback_model != NULL, now->open[1]);
	aic_buf_putc(to, ',');
	put_breaker(to, "saves", true, now->saves_open);
	aic_buf_putc(to, ',');
	put_breaker(to, "cache", now->cache != 0, now->cache_open);
	aic_buf_putc(to, ',');
	put_breaker(to, "seller_data", conf->server_host != NULL,
	    now->seller_open);
	aic_buf_putc(to, '}');
}

static void
put_worker(struct aic_buf *to, const struct aic_conf *conf,
    const struct aic_metrics_worker *w)
{
	const struct aic_metrics_now *now = &w->now;

	aic_buf_printf(to,
	    "{\"worker\":%d,\"state\":\"%s\",\"version\":", w->number,
	    w->up ? "running" : "dead");
	aic_json_put_str(to, w->version);
	aic_buf_puts(to, ",\"started_at\":");
	put_time(to, w->started_s);
	aic_buf_printf(to,
	    ",\"answered\":%lld,\"failed\":%lld,\"slots\":%lld,"
	    "\"slots_used\":%lld,\"other_requests\":%lld,"
	    "\"reservations\":%lld,\"database\":{\"state\":\"%s\","
	    "\"connections\":%lld,\"busy\":%lld,\"waiting\":%lld},",
	    (long long)w->answered, (long long)w->failed, (long long)now->slots,
	    (long long)now->slots_used, (long long)now->others,
	    (long long)w->reservations, now->db_up ? "ok" : "down",
	    (long long)now->db_connections, (long long)now->db_busy,
	    (long long)now->db_waiting);
	put_breakers(to, conf, now);
	aic_buf_putc(to, '}');
}

/* The last error of a kind, and the worker that had it. */
struct found {
	const struct aic_metrics_error *error; /* NULL: none */
	int worker, kind;
};

static int
by_age(const void *a, const void *b)
{
	const struct found *x = a, *y = b;
	int64_t at = x->error ? x->error->at_s : 0;
	int64_t bt = y->error ? y->error->at_s : 0;

	return at < bt ? 1 : at > bt ? -1 : x->kind - y->kind;
}

static void
find_errors(struct found found[AIC_METRICS_FAILURES],
    const struct aic_metrics_worker *workers, int n)
{
	const struct aic_metrics_error *e;
	int i, kind;

	for (kind = 0; kind < AIC_METRICS_FAILURES; kind++) {
		found[kind] = (struct found){ .kind = kind };
		for (i = 0; i < n; i++) {
			e = &workers[i].errors[kind];
			if (e->at_s == 0 ||
			    (found[kind].error &&
				found[kind].error->at_s >= e->at_s))
				continue;
			found[kind].error = e;
			found[kind].worker = workers[i].number;
		}
	}
	qsort(found, AIC_METRICS_FAILURES, sizeof(found[0]), by_age);
}

static void
put_error(struct aic_buf *to, const struct found *f)
{
	const struct aic_metrics_error *e = f->error;

	aic_buf_printf(to,
	    "{\"kind\":\"%s\",\"at\":", aic_metrics_failure_name(f->kind));
	put_time(to, e->at_s);
	aic_buf_printf(to, ",\"worker\":%d,\"request_id\":", f->worker);
	aic_json_put_str(to, e->request_id);
	aic_buf_puts(to, ",\"path\":");
	aic_json_put_str(to, e->path);
	aic_buf_puts(to, ",\"doing\":");
	aic_json_put_str(to, e->doing);
	aic_buf_puts(to, ",\"code\":");
	aic_json_put_str(to, e->code);
	aic_buf_puts(to, ",\"sqlstate\":");
	if (*e->sqlstate)
		aic_json_put_str(to, e->sqlstate);
	else
		aic_buf_puts(to, "null");
	aic_buf_puts(to, ",\"text\":");
	aic_json_put_str(to, e->text);
	aic_buf_putc(to, '}');
}

static void
put_workers(struct request *rq, const struct aic_metrics_worker *workers, int n)
{
	struct found found[AIC_METRICS_FAILURES];
	struct aic_buf *to = &rq->out;
	bool first = true;
	int i;

	aic_buf_puts(to, ",\"workers\":[");
	for (i = 0; i < n; i++) {
		if (workers[i].ended)
			continue;
		if (!first)
			aic_buf_putc(to, ',');
		first = false;
		put_worker(to, &rq->worker->conf, &workers[i]);
	}
	aic_buf_puts(to, "],\"errors\":[");
	find_errors(found, workers, n);
	for (i = 0; i < AIC_METRICS_FAILURES && found[i].error; i++) {
		if (i > 0)
			aic_buf_putc(to, ',');
		put_error(to, &found[i]);
	}
	aic_buf_puts(to, "]}");
}

/* --- shapes -------------------------------------------------------------- */

static const char *const database_states[] = { "ok", "down", NULL };
static const char *const worker_states[] = { "running", "dead", NULL };
static const char *const breaker_states[] = { "closed", "open", NULL };
static const char *const other_states[] = { "closed", "open", "off", NULL };

static const struct aic_shape_member database_members[] = {
	{ "state", AIC_SHAPE_TEXT, .names = database_states },
	{ "version", AIC_SHAPE_TEXT, .nullable = true,
	    .about = "The version of PostgreSQL." },
	{ "schema", AIC_SHAPE_INT, .nullable = true,
	    .about = "The number of the last migration." },
};
static const struct aic_shape database_shape = { "DatabaseState",
	"The database, as the worker of this response sees it.",
	AIC_SHAPE_MEMBERS(database_members), NULL };
static const struct aic_shape_member pool_members[] = {
	{ "state", AIC_SHAPE_TEXT, .names = database_states },
	{ "connections", AIC_SHAPE_INT, .about = "Open connections." },
	{ "busy", AIC_SHAPE_INT, .about = "Connections in use." },
	{ "waiting", AIC_SHAPE_INT,
	    .about = "Requests that wait for a connection." },
};
static const struct aic_shape pool_shape = { "PoolState",
	"The connections of a worker to the database.",
	AIC_SHAPE_MEMBERS(pool_members), NULL };
static const struct aic_shape_member breaker_members[] = {
	{ "model", AIC_SHAPE_TEXT, .names = breaker_states },
	{ "fallback", AIC_SHAPE_TEXT, .names = other_states },
	{ "saves", AIC_SHAPE_TEXT, .names = breaker_states },
	{ "cache", AIC_SHAPE_TEXT, .names = other_states },
	{ "seller_data", AIC_SHAPE_TEXT, .names = other_states },
};
static const struct aic_shape breaker_shape = { "Breakers",
	"The circuit breakers of a worker. \"off\": not configured.",
	AIC_SHAPE_MEMBERS(breaker_members), NULL };
static const struct aic_shape_member worker_members[] = {
	{ "worker", AIC_SHAPE_INT, .min = 1, .about = "Its number." },
	{ "state", AIC_SHAPE_TEXT, .names = worker_states,
	    .about = "\"dead\": it was killed, and is not restarted yet." },
	{ "version", AIC_SHAPE_TEXT, .about = "Its version." },
	{ "started_at", AIC_SHAPE_TEXT, .format = "date-time" },
	{ "answered", AIC_SHAPE_INT,
	    .about = "Chats, since the metrics of the worker began." },
	{ "failed", AIC_SHAPE_INT, .about = "The same." },
	{ "slots", AIC_SHAPE_INT, .about = "The most chats in flight." },
	{ "slots_used", AIC_SHAPE_INT, .about = "Chats in flight." },
	{ "other_requests", AIC_SHAPE_INT,
	    .about = "Requests in flight that need no model." },
	{ "reservations", AIC_SHAPE_INT,
	    .about = "Reservations of chats in flight." },
	{ "database", AIC_SHAPE_OBJECT, .shape = &pool_shape },
	{ "breakers", AIC_SHAPE_OBJECT, .shape = &breaker_shape },
};
static const struct aic_shape worker_shape = { "Worker",
	"A worker of this host.", AIC_SHAPE_MEMBERS(worker_members), NULL };
static const struct aic_shape_member error_members[] = {
	{ "kind", AIC_SHAPE_TEXT, .about = "As in `failures` of a day." },
	{ "at", AIC_SHAPE_TEXT, .format = "date-time" },
	{ "worker", AIC_SHAPE_INT, .min = 1 },
	{ "request_id", AIC_SHAPE_TEXT, .about = "As in the log." },
	{ "path", AIC_SHAPE_TEXT, .about = "The path of the endpoint." },
	{ "doing", AIC_SHAPE_TEXT, .about = "The stage of the request." },
	{ "code", AIC_SHAPE_TEXT, .about = "As in the log." },
	{ "sqlstate", AIC_SHAPE_TEXT, .nullable = true,
	    .about = "The error of PostgreSQL. Null: none." },
	{ "text", AIC_SHAPE_TEXT,
	    .about = "The error text of the response; \"\": a standard text." },
};
static const struct aic_shape error_shape = { "LastError",
	"The last error of a kind.", AIC_SHAPE_MEMBERS(error_members), NULL };
static const struct aic_shape_member service_members[] = {
	{ "host", AIC_SHAPE_TEXT, .about = "The name of this host." },
	{ "version", AIC_SHAPE_TEXT,
	    .about = "Of the worker of this response." },
	{ "database", AIC_SHAPE_OBJECT, .shape = &database_shape },
	{ "workers", AIC_SHAPE_LIST, .shape = &worker_shape },
	{ "errors", AIC_SHAPE_LIST, .shape = &error_shape,
	    .about = "One of each kind, the newest first." },
};
const struct aic_shape admin_service_shape = { "Service",
	"The state of the workers of this host.",
	AIC_SHAPE_MEMBERS(service_members),
	"{\"host\":\"chat1\",\"version\":\"1.0.0\",\"database\":"
	"{\"state\":\"ok\",\"version\":\"15.8\",\"schema\":6},"
	"\"workers\":[{\"worker\":1,\"state\":\"running\","
	"\"version\":\"1.0.0\","
	"\"started_at\":\"2026-11-28T08:00:00+00:00\","
	"\"answered\":90211,\"failed\":2,\"slots\":64,\"slots_used\":3,"
	"\"other_requests\":0,\"reservations\":3,\"database\":"
	"{\"state\":\"ok\",\"connections\":4,\"busy\":1,\"waiting\":0},"
	"\"breakers\":{\"model\":\"closed\",\"fallback\":\"off\","
	"\"saves\":\"closed\",\"cache\":\"off\",\"seller_data\":\"off\"}}],"
	"\"errors\":[{\"kind\":\"database_failed\","
	"\"at\":\"2026-11-28T09:12:01+00:00\",\"worker\":1,"
	"\"request_id\":\"5f1f8f9b1a77cc03\",\"path\":\"/v1/chat/send\","
	"\"doing\":\"saving the exchange\",\"code\":\"EDB\","
	"\"sqlstate\":\"57014\",\"text\":\"\"}]}" };

enum aic_code
admin_service(struct request *rq, struct aic_err *err)
{
	struct aic_metrics_worker *workers;
	char host[256] = "";
	int n;

	request_stage(rq, "reading the state of the workers");
	workers = calloc(AIC_METRICS_WORKERS, sizeof(*workers));
	if (!workers)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	worker_update_gauges(rq->worker);
	n = aic_metrics_workers(rq->worker->metrics, workers);
	gethostname(host, sizeof(host) - 1);
	aic_buf_puts(&rq->out, "{\"host\":");
	aic_json_put_str(&rq->out, host);
	aic_buf_puts(&rq->out,
	    ",\"version\":\"" PACKAGE_VERSION "\",\"database\":");
	put_database(rq, &rq->out);
	put_workers(rq, workers, n);
	free(workers);
	return AIC_OK;
}
