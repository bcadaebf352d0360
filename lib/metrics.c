#include "config.h"

#include "lib/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/metrics_page.h"

static const char *const seller_results[] = {
	[AIC_METRICS_SELLER_ANSWERED] = "told",
	[AIC_METRICS_SELLER_LATE] = "late",
	[AIC_METRICS_SELLER_NOTHING] = "nothing",
	[AIC_METRICS_SELLER_UNKNOWN] = "unknown",
	[AIC_METRICS_SELLER_MISSING] = "missing",
	[AIC_METRICS_SELLER_REFUSED] = "refused",
	[AIC_METRICS_SELLER_FAILED] = "failed",
	[AIC_METRICS_SELLER_UNREACHED] = "unreachable",
	[AIC_METRICS_SELLER_CUT] = "cut_off",
	[AIC_METRICS_SELLER_TIMEOUT] = "timeout",
	[AIC_METRICS_SELLER_NONSENSE] = "nonsense",
	[AIC_METRICS_SELLER_OPEN] = "open",
	[AIC_METRICS_SELLER_BUSY] = "busy",
	[AIC_METRICS_SELLER_DROPPED] = "dropped",
};
_Static_assert(sizeof(seller_results) / sizeof(seller_results[0]) ==
	AIC_METRICS_SELLER__MAX,
    "every outcome of a call has a name");

static const enum aic_metrics_outcome outcome_of[AIC__MAX] = {
	[AIC_OK] = AIC_METRICS_OUTCOME_ANSWERED,
	[AIC_EAUTH] = AIC_METRICS_OUTCOME_INVALID,
	[AIC_ENOROUTE] = AIC_METRICS_OUTCOME_INVALID,
	[AIC_EMETHOD] = AIC_METRICS_OUTCOME_INVALID,
	[AIC_EINPUT] = AIC_METRICS_OUTCOME_INVALID,
	[AIC_EPARAM] = AIC_METRICS_OUTCOME_INVALID,
	[AIC_EBIG] = AIC_METRICS_OUTCOME_INVALID,
	[AIC_ELIMIT] = AIC_METRICS_OUTCOME_LIMITED,
	[AIC_ECROWD] = AIC_METRICS_OUTCOME_CROWDED,
	[AIC_EUPSTREAM] = AIC_METRICS_OUTCOME_MODEL_FAILED,
	[AIC_EOPEN] = AIC_METRICS_OUTCOME_MODEL_OPEN,
	[AIC_EDB] = AIC_METRICS_OUTCOME_DATABASE_FAILED,
	[AIC_EBUSY] = AIC_METRICS_OUTCOME_BUSY,
	[AIC_EGONE] = AIC_METRICS_OUTCOME_CALLER_GONE,
	[AIC_ENOMEM] = AIC_METRICS_OUTCOME_FAILED,
	[AIC_ECONF] = AIC_METRICS_OUTCOME_FAILED,
	[AIC_EBUG] = AIC_METRICS_OUTCOME_FAILED,
};

enum aic_code
aic_metrics_open(struct aic_metrics **ret_metrics, const char *dir, int number,
    const char *const *routes, int n_routes, struct aic_err *err)
{
	struct aic_metrics *m = calloc(1, sizeof(*m));
	enum aic_code rc = AIC_OK;

	if (!m)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	m->fd = -1;
	pthread_mutex_init(&m->lock, NULL);
	m->number = number;
	m->routes = routes;
	m->n_routes = n_routes;
	if (dir) {
		m->dir = strdup(dir);
		rc = m->dir ? aic_metrics_page_open(m, err)
			    : aic_fail(err, AIC_ENOMEM, "out of memory");
	} else {
		m->page = calloc(1, sizeof(*m->page));
		if (!m->page)
			rc = aic_fail(err, AIC_ENOMEM, "out of memory");
	}
	if (!m->page) {
		aic_metrics_close(m);
		return rc;
	}
	snprintf(m->page->version, sizeof(m->page->version), "%s",
	    PACKAGE_VERSION);
	/* The reservations that this worker had when it was killed. */
	aic_metrics_add(&m->page->lapsed, aic_metrics_get(&m->page->reserved));
	m->page->reserved = 0;
	aic_metrics_now(m, &(struct aic_metrics_now){ .db_up = 1 });
	m->page->started_s = (int64_t)time(NULL);
	m->page->running = 1;
	*ret_metrics = m;
	return AIC_OK;
}

void
aic_metrics_close(struct aic_metrics *m)
{
	if (!m)
		return;
	if (m->dir)
		aic_metrics_page_close(m);
	else
		free(m->page);
	pthread_mutex_destroy(&m->lock);
	free(m->dir);
	free(m);
}

bool
aic_metrics_was_lost(void)
{
	return aic_metrics_page_was_lost();
}

/* --- counting ---------------------------------------------------------- */

void
aic_metrics_request(struct aic_metrics *m, int route, int status)
{
	int i = 0;

	while (i < AIC_METRICS_STATUSES - 1 &&
	    aic_metrics_statuses[i] != status)
		i++;
	if (route < 0 || route >= m->n_routes)
		route = AIC_METRICS_ROUTES - 1;
	aic_metrics_add(&m->page->requests[route][i], 1);
}

void
aic_metrics_chat(struct aic_metrics *m, enum aic_code rc, bool replayed)
{
	aic_metrics_add(&m->page->chats[replayed ? AIC_METRICS_OUTCOME_REPLAYED
						 : outcome_of[rc]],
	    1);
}

int64_t
aic_metrics_chats(const struct aic_metrics *m, const char *outcome)
{
	int i;

	for (i = 0; i < AIC_METRICS_OUTCOME__MAX; i++)
		if (strcmp(aic_metrics_outcomes[i], outcome) == 0)
			return aic_metrics_get(&m->page->chats[i]);
	return 0;
}

/*
 * Other processes read the file without the lock. They can see a half-written
 * error, whose texts still end within their arrays, because the last byte of
 * each is never anything but NUL.
 */
void
aic_metrics_error(struct aic_metrics *m, enum aic_code rc,
    const struct aic_metrics_error *error)
{
	int i;

	for (i = 0; i < AIC_METRICS_FAILURES; i++) {
		if (aic_metrics_failures[i] != outcome_of[rc])
			continue;
		pthread_mutex_lock(&m->lock);
		m->page->errors[i] = *error;
		pthread_mutex_unlock(&m->lock);
	}
}

const char *
aic_metrics_failure_name(int kind)
{
	return aic_metrics_outcomes[aic_metrics_failures[kind]];
}

void
aic_metrics_time(struct aic_metrics *m, enum aic_metrics_time what, int64_t us)
{
	struct aic_metrics_histogram *h = &m->page->time[what];
	int i = 0;

	while (i < AIC_METRICS_BOUNDS && us > aic_metrics_bounds_us[i])
		i++;
	aic_metrics_add(&h->below[i], 1);
	aic_metrics_add(&h->sum_us, us);
}

void
aic_metrics_model(struct aic_metrics *m, const struct aic_openai_answer *answer)
{
	aic_metrics_counter *usage = m->page->usage[answer->model];
	int i, j;

	for (i = 0; i < AIC_OPENAI_MODELS; i++)
		for (j = 0; j < AIC_OPENAI_CALL__MAX; j++)
			if (answer->calls[i][j])
				aic_metrics_add(&m->page->model_calls[i][j],
				    answer->calls[i][j]);
	aic_metrics_add(&m->page->tokens, answer->tokens);
	aic_metrics_add(&usage[AIC_METRICS_PROMPT_TOKENS],
	    answer->usage.prompt);
	aic_metrics_add(&usage[AIC_METRICS_COMPLETION_TOKENS],
	    answer->usage.completion);
	aic_metrics_add(&usage[AIC_METRICS_CACHED_TOKENS],
	    answer->usage.cached);
}

void
aic_metrics_cache(struct aic_metrics *m, enum aic_cache_end end, int64_t us)
{
	aic_metrics_add(&m->page->cache_calls[end], 1);
	/* With the excluded outcomes no call was made. */
	if (end != AIC_CACHE_OFF && end != AIC_CACHE_NONE &&
	    end != AIC_CACHE_OPEN)
		aic_metrics_time(m, AIC_METRICS_CACHE, us);
}

void
aic_metrics_lookup(struct aic_metrics *m, enum aic_metrics_lookup what,
    bool found)
{
	aic_metrics_add(&m->page->lookups[what][found], 1);
}

void
aic_metrics_seller(struct aic_metrics *m, enum aic_metrics_seller how)
{
	aic_metrics_add(&m->page->seller_calls[how], 1);
}

const char *
aic_metrics_seller_name(enum aic_metrics_seller how)
{
	return seller_results[how];
}

void
aic_metrics_reserved(struct aic_metrics *m, int n)
{
	aic_metrics_add(&m->page->reserved, n);
}

void
aic_metrics_lapse(struct aic_metrics *m)
{
	aic_metrics_add(&m->page->lapsed, 1);
}

void
aic_metrics_now(struct aic_metrics *m, const struct aic_metrics_now *now)
{
	int64_t n[AIC_METRICS_GAUGES];
	size_t i;

	memcpy(n, now, sizeof(n));
	for (i = 0; i < AIC_METRICS_GAUGES; i++)
		atomic_store_explicit(&m->page->gauges[i], n[i],
		    memory_order_relaxed);
	atomic_store_explicit(&m->page->updated_us, aic_clock_us(),
	    memory_order_relaxed);
}

/* --- the workers of a directory ---------------------------------------- */

/* Chats that failed for a reason other than the caller's request. */
static int64_t
count_failed(const struct aic_metrics_page *page)
{
	int64_t n = 0;
	int i;

	for (i = 0; i < AIC_METRICS_FAILURES; i++)
		n += aic_metrics_get(&page->chats[aic_metrics_failures[i]]);
	return n;
}

static void
fill_worker(struct aic_metrics_worker *to, const struct aic_metrics_view *v)
{
	const aic_metrics_counter *chats = v->page->chats;
	int64_t now[AIC_METRICS_GAUGES] = { 0 };
	size_t i;

	*to = (struct aic_metrics_worker){ .number = v->number,
		.up = v->up,
		.ended = !v->up && !aic_metrics_get(&v->page->running),
		.started_s = aic_metrics_get(&v->page->started_s),
		.answered =
		    aic_metrics_get(&chats[AIC_METRICS_OUTCOME_ANSWERED]) +
		    aic_metrics_get(&chats[AIC_METRICS_OUTCOME_REPLAYED]),
		.failed = count_failed(v->page),
		.reservations = aic_metrics_get(&v->page->reserved) };
	snprintf(to->version, sizeof(to->version), "%.31s", v->page->version);
	for (i = 0; i < AIC_METRICS_GAUGES; i++)
		now[i] = aic_metrics_get(&v->page->gauges[i]);
	memcpy(&to->now, now, sizeof(now));
	memcpy(to->errors, v->page->errors, sizeof(to->errors));
	to->age_us = aic_clock_us() - aic_metrics_get(&v->page->updated_us);
}

void
aic_metrics_end(const char *dir, int number)
{
	if (dir && *dir)
		aic_metrics_page_end(dir, number);
}

int
aic_metrics_read(const char *dir, struct aic_metrics_worker *to)
{
	struct aic_metrics_views all;
	int i;

	memset(&all, 0, sizeof(all));
	aic_metrics_page_read(&all, dir, 0);
	for (i = 0; i < all.n; i++)
		fill_worker(&to[i], &all.v[i]);
	aic_metrics_page_free(&all, NULL);
	return all.n;
}

int
aic_metrics_workers(struct aic_metrics *m, struct aic_metrics_worker *to)
{
	const struct aic_metrics_view own = {
		.number = m->number, .up = true, .page = m->page
	};

	if (m->dir)
		return aic_metrics_read(m->dir, to);
	pthread_mutex_lock(&m->lock);
	fill_worker(to, &own);
	pthread_mutex_unlock(&m->lock);
	return 1;
}
