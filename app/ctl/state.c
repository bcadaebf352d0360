#include "config.h"

#include "app/ctl/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "app/ctl/ask.h"
#include "app/ctl/service.h"
#include "app/ctl/upstream.h"
#include "lib/clock.h"

/* A worker connects to Redis in the background, in its first second. */
#define REDIS_S 3

const char *const ctl_phase_names[CTL_PHASE__MAX] = {
	[CTL_RUNNING] = "running",
	[CTL_STARTING] = "starting",
	[CTL_DOWN] = "down",
	[CTL_DEAD] = "dead",
	[CTL_MISSING] = "missing",
};

/* Each text fits on a line of 80 columns, with an indent. */
static const char *const texts[CTL_PROBLEM__MAX] = {
	[CTL_NOT_RUNNING] = "not ready",
	[CTL_UNLISTED] = "not in Nginx's list",
	[CTL_SILENT] = "does not respond on its socket",
	[CTL_NO_DATABASE] = "no database",
	[CTL_SAVES_OPEN] = "the circuit breaker of saves is open: chats are "
			   "refused",
	[CTL_PRIMARY_OPEN] = "the circuit breaker of the primary model is open",
	[CTL_FALLBACK_OPEN] =
	    "the circuit breaker of the fallback model is open",
	[CTL_REDIS_DOWN] = "Redis is unavailable",
	[CTL_REDIS_OPEN] = "the circuit breaker of Redis is open",
	[CTL_SELLER_OPEN] =
	    "the circuit breaker of the seller-data API is open",
	[CTL_STALE] = "its metrics are old",
	[CTL_NO_METRICS] = "exports no metrics: restart it, or see its log",
};

static struct ctl_worker *
find_worker(struct ctl_state *s, int number)
{
	int i;

	for (i = 0; i < s->n; i++)
		if (s->w[i].number == number)
			return &s->w[i];
	s->w[s->n].number = number;
	return &s->w[s->n++];
}

static int
by_number(const void *a, const void *b)
{
	return ((const struct ctl_worker *)a)->number -
	    ((const struct ctl_worker *)b)->number;
}

static void
add_managed(struct ctl_state *s, const struct ctl_workers *all, bool hook)
{
	struct ctl_worker *w;
	int i;

	s->managed = true;
	s->nginx_stopped = all->nginx == 0;
	s->nginx_elsewhere = hook && all->nginx < 0;
	for (i = 0; i < all->n; i++) {
		w = find_worker(s, all->w[i].number);
		w->managed = true;
		w->pid = all->w[i].pid;
		w->restarts = all->w[i].restarts;
	}
}

/* A worker that has ended normally is omitted, unless another source has the
 * worker. */
static void
add_counted(struct ctl_state *s, const char *dir)
{
	struct aic_metrics_worker *m = calloc(AIC_METRICS_WORKERS, sizeof(*m));
	struct ctl_worker *w;
	int i, n = m && dir && *dir ? aic_metrics_read(dir, m) : 0;

	for (i = 0; i < n; i++) {
		w = find_worker(s, m[i].number);
		if (m[i].ended && !w->managed && !w->listed) {
			s->n--; /* find_worker() has just added it */
			continue;
		}
		w->counted = true;
		w->m = m[i];
	}
	free(m);
}

static void
collect_workers(struct ctl *c, struct ctl_state *s)
{
	struct aic_err err = AIC_ERR_INIT;
	struct ctl_workers all;
	struct ctl_upstream list;
	int i;

	if (ctl_service_list(c, &all, &err) == AIC_OK)
		add_managed(s, &all, c->own.hook != NULL);
	else
		snprintf(s->managed_why, sizeof(s->managed_why), "%s",
		    err.detail);
	if (ctl_upstream_read(&list, &c->own, &err) == AIC_OK) {
		s->listed = list.text != NULL;
		for (i = 0; i < list.n; i++)
			find_worker(s, list.number[i])->listed = true;
		ctl_upstream_done(&list);
	} else {
		snprintf(s->listed_why, sizeof(s->listed_why), "%s",
		    err.detail);
	}
	add_counted(s, ctl_env_get(&c->env, "AI_CHAT_METRICS_DIR"));
	qsort(s->w, (size_t)s->n, sizeof(s->w[0]), by_number);
}

static bool
has_process(const struct ctl_state *s, const struct ctl_worker *w)
{
	return w->pid > 0 || (!s->managed && w->counted && w->m.up);
}

/* A worker with a process and no metrics of that process is starting, if it
 * does not respond either. */
static enum ctl_phase
select_phase(const struct ctl_state *s, const struct ctl_worker *w,
    bool answered)
{
	if (has_process(s, w))
		return answered || (w->counted && w->m.up) ? CTL_RUNNING
							   : CTL_STARTING;
	if (w->managed)
		return CTL_DOWN;
	return w->counted && !w->m.ended ? CTL_DEAD : CTL_MISSING;
}

static void
set_problem(struct ctl_worker *w, enum ctl_problem problem, bool is)
{
	if (is)
		w->problems |= 1U << problem;
}

/* The worker's own response is newer than its metrics. */
static void
find_problems(struct ctl *c, const struct ctl_state *s, struct ctl_worker *w,
    const struct ctl_ask *a)
{
	const char *dir = ctl_env_get(&c->env, "AI_CHAT_METRICS_DIR");
	const struct aic_metrics_now *now = &w->m.now;
	bool counted = w->counted && w->m.up;

	w->phase = select_phase(s, w, a->answered);
	set_problem(w, CTL_UNLISTED, s->listed && !w->listed);
	set_problem(w, CTL_NOT_RUNNING, w->phase != CTL_RUNNING);
	if (w->phase != CTL_RUNNING)
		return;
	set_problem(w, CTL_SILENT, !a->answered);
	/* Readiness does not report a circuit breaker that is due for a trial.
	 */
	set_problem(w, CTL_SAVES_OPEN,
	    strcmp(a->database, "open") == 0 || (counted && now->saves_open));
	w->database = a->answered ? strcmp(a->database, "down") != 0
				  : counted && now->db_up;
	set_problem(w, CTL_NO_DATABASE, a->answered && !w->database);
	set_problem(w, CTL_NO_METRICS, !counted && dir && *dir);
	if (!counted)
		return;
	set_problem(w, CTL_PRIMARY_OPEN, now->open[0]);
	set_problem(w, CTL_FALLBACK_OPEN, now->open[1]);
	set_problem(w, CTL_REDIS_OPEN, now->cache_open);
	set_problem(w, CTL_REDIS_DOWN,
	    now->cache && !now->cache_up && !now->cache_open &&
		time(NULL) - w->m.started_s >= REDIS_S);
	set_problem(w, CTL_SELLER_OPEN, now->seller_open);
	set_problem(w, CTL_STALE, w->m.age_us > CTL_FRESH_US);
}

/* Ask all workers that have a process. False: out of memory. */
static bool
ask_workers(struct ctl *c, struct ctl_state *s)
{
	struct ctl_ask *asks = calloc((size_t)s->n + 1, sizeof(*asks));
	struct ctl_ask none = { .fd = -1 };
	int i, n = 0;

	if (!asks)
		return false;
	for (i = 0; i < s->n; i++)
		if (has_process(s, &s->w[i]))
			ctl_upstream_socket(&c->own, s->w[i].number,
			    asks[n++].path, sizeof(asks[0].path));
	ctl_ask_all(asks, n);
	for (i = n = 0; i < s->n; i++)
		find_problems(c, s, &s->w[i],
		    has_process(s, &s->w[i]) ? &asks[n++] : &none);
	free(asks);
	return true;
}

struct ctl_state *
ctl_state_read(struct ctl *c)
{
	struct ctl_state *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	collect_workers(c, s);
	if (!ask_workers(c, s)) {
		free(s);
		return NULL;
	}
	return s;
}

bool
ctl_state_has(const struct ctl_worker *w, enum ctl_problem problem)
{
	return w->problems & 1U << problem;
}

void
ctl_state_text(const struct ctl_worker *w, enum ctl_problem problem, char *to,
    size_t size)
{
	if (problem == CTL_STALE)
		snprintf(to, size, "its metrics are %lld s old",
		    (long long)(w->m.age_us / AIC_S));
	else if (problem == CTL_NOT_RUNNING)
		snprintf(to, size, "not ready (%s)", ctl_phase_names[w->phase]);
	else
		snprintf(to, size, "%s", texts[problem]);
}
