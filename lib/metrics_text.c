#include "config.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "lib/metrics.h"
#include "lib/metrics_page.h"

/* --- names in labels --------------------------------------------------- */

static const char *const models[AIC_OPENAI_MODELS] = { "first", "fallback" };

static const char *const results[] = {
	[AIC_OPENAI_USABLE] = "usable",
	[AIC_OPENAI_USELESS] = "useless",
	[AIC_OPENAI_REFUSED] = "refused",
	[AIC_OPENAI_LIMITED] = "limited",
	[AIC_OPENAI_QUOTA] = "quota",
	[AIC_OPENAI_BROKEN] = "server_error",
	[AIC_OPENAI_UNREACHED] = "unreachable",
	[AIC_OPENAI_CUT] = "cut_off",
	[AIC_OPENAI_TIMEOUT] = "timeout",
	[AIC_OPENAI_GONE] = "caller_gone",
};
_Static_assert(sizeof(results) / sizeof(results[0]) == AIC_OPENAI_CALL__MAX,
    "every result of a call has a name");

static const char *const lookups[] = {
	[AIC_METRICS_LOOKUP_REFUSAL] = "used_up",
	[AIC_METRICS_LOOKUP_CONTEXT] = "context",
	[AIC_METRICS_LOOKUP_SELLER] = "seller",
	[AIC_METRICS_LOOKUP_ANSWER] = "answer",
};
_Static_assert(sizeof(lookups) / sizeof(lookups[0]) == AIC_METRICS_LOOKUP__MAX,
    "everything that is looked up has a name");

/* --- the metrics of one worker ----------------------------------------- */

#define AT(field) offsetof(struct aic_metrics_page, field)
#define GAUGE(field) (AT(gauges) + offsetof(struct aic_metrics_now, field))

static const aic_metrics_counter *
counter_at(const struct aic_metrics_page *page, size_t offset)
{
	return (const aic_metrics_counter *)(const void *)((const char *)page +
	    offset);
}

static void
put_head(struct aic_buf *to, const char *name, const char *type,
    const char *help)
{
	aic_buf_printf(to, "# HELP ai_chat_%s %s\n# TYPE ai_chat_%s %s\n", name,
	    help, name, type);
}

static void
put_requests(struct aic_buf *to, const struct aic_metrics_view *v)
{
	const char *route;
	int i, j;
	int64_t n;

	for (i = 0; i < AIC_METRICS_ROUTES; i++) {
		route = i < v->m->n_routes ? v->m->routes[i] : "other";
		if (i >= v->m->n_routes && i != AIC_METRICS_ROUTES - 1)
			continue;
		for (j = 0; j < AIC_METRICS_STATUSES; j++) {
			n = aic_metrics_get(&v->page->requests[i][j]);
			/*
			 * Most combinations never occur. A 200 is always
			 * written, so that each route has a metric from the
			 * start.
			 */
			if (n == 0 && aic_metrics_statuses[j] != 200)
				continue;
			aic_buf_printf(to,
			    "ai_chat_requests_total{worker=\"%d\",route=\"%s\","
			    "status=\"%d\"} %lld\n",
			    v->number, route, aic_metrics_statuses[j],
			    (long long)n);
		}
	}
}

static void
put_chats(struct aic_buf *to, const struct aic_metrics_view *v)
{
	int i;

	for (i = 0; i < AIC_METRICS_OUTCOME__MAX; i++)
		aic_buf_printf(to,
		    "ai_chat_chats_total{worker=\"%d\",outcome=\"%s\"} %lld\n",
		    v->number, aic_metrics_outcomes[i],
		    (long long)aic_metrics_get(&v->page->chats[i]));
}

static void
put_model_calls(struct aic_buf *to, const struct aic_metrics_view *v)
{
	int i, j;

	for (i = 0; i < AIC_OPENAI_MODELS; i++)
		for (j = 0; j < AIC_OPENAI_CALL__MAX; j++)
			aic_buf_printf(to,
			    "ai_chat_model_calls_total{worker=\"%d\","
			    "model=\"%s\",result=\"%s\"} %lld\n",
			    v->number, models[i], results[j],
			    (long long)
				aic_metrics_get(&v->page->model_calls[i][j]));
}

static void
put_usage(struct aic_buf *to, const struct aic_metrics_view *v,
    const char *name, enum aic_metrics_usage usage)
{
	int i;

	for (i = 0; i < AIC_OPENAI_MODELS; i++)
		aic_buf_printf(to,
		    "ai_chat_%s{worker=\"%d\",model=\"%s\"} %lld\n", name,
		    v->number, models[i],
		    (long long)aic_metrics_get(&v->page->usage[i][usage]));
}

static void
put_prompt_tokens(struct aic_buf *to, const struct aic_metrics_view *v)
{
	put_usage(to, v, "prompt_tokens_total", AIC_METRICS_PROMPT_TOKENS);
}

static void
put_completion_tokens(struct aic_buf *to, const struct aic_metrics_view *v)
{
	put_usage(to, v, "completion_tokens_total",
	    AIC_METRICS_COMPLETION_TOKENS);
}

static void
put_cached_tokens(struct aic_buf *to, const struct aic_metrics_view *v)
{
	put_usage(to, v, "cached_tokens_total", AIC_METRICS_CACHED_TOKENS);
}

static void
put_seller_calls(struct aic_buf *to, const struct aic_metrics_view *v)
{
	int i;

	for (i = 0; i < AIC_METRICS_SELLER__MAX; i++)
		aic_buf_printf(to,
		    "ai_chat_server_calls_total{worker=\"%d\","
		    "result=\"%s\"} %lld\n",
		    v->number, aic_metrics_seller_name(i),
		    (long long)aic_metrics_get(&v->page->seller_calls[i]));
}

static void
put_lookups(struct aic_buf *to, const struct aic_metrics_view *v)
{
	int i, found;

	for (i = 0; i < AIC_METRICS_LOOKUP__MAX; i++)
		for (found = 0; found < 2; found++)
			aic_buf_printf(to,
			    "ai_chat_recalls_total{worker=\"%d\","
			    "what=\"%s\",result=\"%s\"} %lld\n",
			    v->number, lookups[i], found ? "hit" : "miss",
			    (long long)
				aic_metrics_get(&v->page->lookups[i][found]));
}

static void
put_histogram(struct aic_buf *to, const struct aic_metrics_view *v,
    const char *name, const char *label, enum aic_metrics_time what)
{
	const struct aic_metrics_histogram *h = &v->page->time[what];
	int64_t n = 0;
	int i;

	for (i = 0; i <= AIC_METRICS_BOUNDS; i++) {
		n += aic_metrics_get(&h->below[i]);
		aic_buf_printf(to, "ai_chat_%s_bucket{worker=\"%d\"%s,le=\"",
		    name, v->number, label);
		if (i < AIC_METRICS_BOUNDS)
			aic_buf_printf(to, "%g",
			    (double)aic_metrics_bounds_us[i] / 1e6);
		else
			aic_buf_puts(to, "+Inf");
		aic_buf_printf(to, "\"} %lld\n", (long long)n);
	}
	aic_buf_printf(to, "ai_chat_%s_sum{worker=\"%d\"%s} %.6f\n", name,
	    v->number, label, (double)aic_metrics_get(&h->sum_us) / 1e6);
	aic_buf_printf(to, "ai_chat_%s_count{worker=\"%d\"%s} %lld\n", name,
	    v->number, label, (long long)n);
}

static void
put_stages(struct aic_buf *to, const struct aic_metrics_view *v)
{
	static const char name[] = "stage_duration_seconds";

	put_histogram(to, v, name, ",stage=\"limit\"", AIC_METRICS_LIMIT);
	put_histogram(to, v, name, ",stage=\"context\"", AIC_METRICS_CONTEXT);
	put_histogram(to, v, name, ",stage=\"model\"", AIC_METRICS_MODEL);
	put_histogram(to, v, name, ",stage=\"save\"", AIC_METRICS_SAVE);
	put_histogram(to, v, name, ",stage=\"server\"", AIC_METRICS_SELLER);
}

static void
put_chat_time(struct aic_buf *to, const struct aic_metrics_view *v)
{
	put_histogram(to, v, "chat_duration_seconds", "", AIC_METRICS_CHAT);
}

static void
put_overhead(struct aic_buf *to, const struct aic_metrics_view *v)
{
	put_histogram(to, v, "overhead_seconds", "", AIC_METRICS_OVERHEAD);
}

static void
put_cache_time(struct aic_buf *to, const struct aic_metrics_view *v)
{
	put_histogram(to, v, "cache_duration_seconds", "", AIC_METRICS_CACHE);
}

static void
put_cache_calls(struct aic_buf *to, const struct aic_metrics_view *v)
{
	int i;

	for (i = AIC_CACHE_OFF + 1; i < AIC_CACHE_END__MAX; i++)
		aic_buf_printf(to,
		    "ai_chat_cache_calls_total{worker=\"%d\","
		    "result=\"%s\"} %lld\n",
		    v->number, aic_cache_end_name(i),
		    (long long)aic_metrics_get(&v->page->cache_calls[i]));
}

/*
 * False: the worker shut down cleanly, so it was removed. Of such a worker only
 * the counters are exported.
 */
static bool
is_expected(const struct aic_metrics_view *v)
{
	return v->up || aic_metrics_get(&v->page->running);
}

static void
put_build(struct aic_buf *to, const struct aic_metrics_view *v)
{
	if (is_expected(v))
		aic_buf_printf(to,
		    "ai_chat_build_info{worker=\"%d\",version=\"%.31s\"} 1\n",
		    v->number, v->page->version);
}

static void
put_up(struct aic_buf *to, const struct aic_metrics_view *v)
{
	if (is_expected(v))
		aic_buf_printf(to, "ai_chat_worker_up{worker=\"%d\"} %d\n",
		    v->number, v->up);
}

static void
put_breaker(struct aic_buf *to, const struct aic_metrics_view *v)
{
	int i;

	for (i = 0; v->up && i < AIC_OPENAI_MODELS; i++)
		aic_buf_printf(to,
		    "ai_chat_breaker_open{worker=\"%d\",model=\"%s\"} %lld\n",
		    v->number, models[i],
		    (long long)aic_metrics_get(counter_at(v->page,
			GAUGE(open[i]))));
}

/* --- the table of metrics ---------------------------------------------- */

/* The workers for which a metric is exported. */
enum scope {
	EVER, /* all, because a counter outlives its worker */
	RUNNING,
	RUNNING_WITH_REDIS,
};

/*
 * A metric that is one number for each worker. A counter is a field of struct
 * aic_metrics_page. A gauge is a field of that structure too, or of struct
 * aic_metrics_now, whose fields are set together.
 */
struct family {
	const char *name, *type, *help;
	size_t offset; /* in struct aic_metrics_page */
	enum scope scope;
};

static const struct family number_families[] = {
	{ "tokens_total", "counter",
	    "Tokens of prompts and answers together, as counted by the model.",
	    AT(tokens), EVER },
	{ "reservations_lapsed_total", "counter",
	    "Reservations that were neither used up by a save nor released.",
	    AT(lapsed), EVER },
	{ "reservations_held", "gauge", "Reservations of chats in flight.",
	    AT(reserved), RUNNING },
	{ "worker_start_time_seconds", "gauge",
	    "Start time of the worker since the Unix epoch in seconds.",
	    AT(started_s), RUNNING },
	{ "slots", "gauge", "Maximum number of chats in flight.", GAUGE(slots),
	    RUNNING },
	{ "slots_used", "gauge", "Number of chats in flight.",
	    GAUGE(slots_used), RUNNING },
	{ "other_requests", "gauge",
	    "Number of requests in flight that need the database and no model.",
	    GAUGE(others), RUNNING },
	{ "database_up", "gauge",
	    "Whether the worker can connect to the database (1) or not (0).",
	    GAUGE(db_up), RUNNING },
	{ "save_breaker_open", "gauge",
	    "Whether the circuit breaker of saves is open (1) or closed (0). "
	    "While it is open, new chats are refused.",
	    GAUGE(saves_open), RUNNING },
	{ "database_connections", "gauge",
	    "Number of open connections to the database.",
	    GAUGE(db_connections), RUNNING },
	{ "database_connections_busy", "gauge",
	    "Number of connections to the database that are in use.",
	    GAUGE(db_busy), RUNNING },
	{ "database_waiting", "gauge",
	    "Number of requests that wait for a connection to the database.",
	    GAUGE(db_waiting), RUNNING },
	{ "cache_up", "gauge",
	    "Whether the worker can connect to Redis (1) or not (0).",
	    GAUGE(cache_up), RUNNING_WITH_REDIS },
	{ "cache_breaker_open", "gauge",
	    "Whether the circuit breaker of Redis is open (1) or closed (0).",
	    GAUGE(cache_open), RUNNING_WITH_REDIS },
	{ "cache_connections", "gauge", "Number of open connections to Redis.",
	    GAUGE(cache_connections), RUNNING_WITH_REDIS },
	{ "cache_connections_busy", "gauge",
	    "Number of connections to Redis that are in use.",
	    GAUGE(cache_busy), RUNNING_WITH_REDIS },
	{ "server_breaker_open", "gauge",
	    "Whether the circuit breaker of the seller-data API is open (1) or "
	    "closed (0).",
	    GAUGE(seller_open), RUNNING },
};

/* Metrics with labels of their own. */
static const struct {
	const char *name, *type, *help;
	void (*put)(struct aic_buf *to, const struct aic_metrics_view *v);
} label_families[] = {
	{ "build_info", "gauge", "Version of the worker, as a label.",
	    put_build },
	{ "worker_up", "gauge",
	    "Whether the worker is running (1), or was killed and not yet "
	    "restarted (0).",
	    put_up },
	{ "requests_total", "counter",
	    "Requests that were answered, by route and status.", put_requests },
	{ "chats_total", "counter", "Sends that have ended, by outcome.",
	    put_chats },
	{ "chat_duration_seconds", "histogram",
	    "Duration of answered chats, from the request to the response.",
	    put_chat_time },
	{ "overhead_seconds", "histogram",
	    "Duration of answered chats without the time of the model.",
	    put_overhead },
	{ "stage_duration_seconds", "histogram",
	    "Duration of the stages of a chat. The stage limit includes "
	    "loading the context. The stage context builds the prompt. The "
	    "stage server lasts until the seller-data API has answered, and "
	    "overlaps with limit.",
	    put_stages },
	{ "model_calls_total", "counter",
	    "Calls of the models, by model and result.", put_model_calls },
	{ "prompt_tokens_total", "counter",
	    "Tokens of the prompts of answered chats, as counted by the model.",
	    put_prompt_tokens },
	{ "completion_tokens_total", "counter",
	    "Tokens of the answers, as counted by the model.",
	    put_completion_tokens },
	{ "cached_tokens_total", "counter",
	    "Tokens of the prompts that the provider had in its cache.",
	    put_cached_tokens },
	{ "breaker_open", "gauge",
	    "Whether the circuit breaker of the model is open (1) or closed "
	    "(0).",
	    put_breaker },
	{ "cache_calls_total", "counter", "Calls of Redis, by result.",
	    put_cache_calls },
	{ "cache_duration_seconds", "histogram",
	    "Duration of the calls that were sent to Redis.", put_cache_time },
	{ "recalls_total", "counter",
	    "Lookups in Redis, by what was looked up and whether it was found.",
	    put_lookups },
	{ "server_calls_total", "counter",
	    "Calls of the seller-data API, by result.", put_seller_calls },
};

static void
put_number(struct aic_buf *to, const struct family *f,
    const struct aic_metrics_view *v)
{
	if ((f->scope == EVER || v->up) &&
	    (f->scope != RUNNING_WITH_REDIS ||
		aic_metrics_get(counter_at(v->page, GAUGE(cache)))))
		aic_buf_printf(to, "ai_chat_%s{worker=\"%d\"} %lld\n", f->name,
		    v->number,
		    (long long)aic_metrics_get(counter_at(v->page, f->offset)));
}

static void
read_views(struct aic_metrics_views *all, const struct aic_metrics *m)
{
	int i;

	memset(all, 0, sizeof(*all));
	all->v[all->n++] = (struct aic_metrics_view){
		.number = m->number, .up = true, .page = m->page
	};
	if (m->dir)
		aic_metrics_page_read(all, m->dir, m->number);
	for (i = 0; i < all->n; i++)
		all->v[i].m = m;
}

void
aic_metrics_write(struct aic_metrics *m, struct aic_buf *to)
{
	struct aic_metrics_views all;
	size_t i;
	int j;

	read_views(&all, m);
	for (i = 0; i < sizeof(label_families) / sizeof(label_families[0]);
	     i++) {
		put_head(to, label_families[i].name, label_families[i].type,
		    label_families[i].help);
		for (j = 0; j < all.n; j++)
			label_families[i].put(to, &all.v[j]);
	}
	for (i = 0; i < sizeof(number_families) / sizeof(number_families[0]);
	     i++) {
		put_head(to, number_families[i].name, number_families[i].type,
		    number_families[i].help);
		for (j = 0; j < all.n; j++)
			put_number(to, &number_families[i], &all.v[j]);
	}
	aic_metrics_page_free(&all, m->page);
}
