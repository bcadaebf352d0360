#include "config.h"

#include "app/worker/rollup.h"

#include <stdio.h>
#include <string.h>

#include "lib/auth.h"
#include "lib/clock.h"
#include "lib/log.h"

/* The interval of runs. The sums are behind the exchanges by two intervals. */
#define INTERVAL_US (2 * AIC_S)

/* After a failure, for example while the schema is older than the program. */
#define FAILED_INTERVAL_US (30 * AIC_S)

/* The timeout of one batch. */
#define BATCH_US (1 * AIC_S)

/*
 * While many exchanges are not counted yet, after the first start with
 * API_ADMIN_KEY, so much of each second is used for counting. The rest is left
 * to the chats.
 */
#define BUSY_US (200 * AIC_MS)

void
rollup_begin(struct rollup *r, struct worker *w)
{
	struct aic_err err = AIC_ERR_INIT;
	int i;

	*r = (struct rollup){ .worker = NULL };
	if (!aic_auth_has_admin(w->conf.auth))
		return;
	if (aic_id_new(r->id, &err)) {
		aic_log_event(AIC_LOG_ERROR, "rollup", "%s", err.detail);
		return;
	}
	r->worker = w;
	/* A worker that is started again continues the metrics of the last
	 * process, which has stored its own. */
	for (i = 0; i < AIC_USAGE_OUTCOME__MAX; i++)
		r->taken[i] = aic_metrics_chats(w->metrics,
		    aic_usage_outcomes[i]);
}

/* Make an addition of what the metrics have counted since the last one. An
 * addition that is not known to be stored is repeated unchanged first, so that
 * it counts once. */
static void
take_addition(struct rollup *r)
{
	int64_t n;
	int i;

	if (r->is_pending)
		return;
	for (i = 0; i < AIC_USAGE_OUTCOME__MAX; i++) {
		n = aic_metrics_chats(r->worker->metrics,
		    aic_usage_outcomes[i]);
		/* The metrics begin at 0 again when their file was lost. */
		r->pending[i] = n >= r->taken[i] ? n - r->taken[i] : n;
		r->taken[i] = n;
		r->is_pending = r->is_pending || r->pending[i] > 0;
	}
	if (r->is_pending)
		r->seq++;
}

/* The addition as two arrays of PostgreSQL. */
static void
format_addition(const struct rollup *r, char *outcomes, char *counts,
    size_t size)
{
	int i, a = 0, b = 0;

	for (i = 0; i < AIC_USAGE_OUTCOME__MAX; i++) {
		if (r->pending[i] == 0)
			continue;
		a += snprintf(outcomes + a, size - (size_t)a, "%c%s",
		    a ? ',' : '{', aic_usage_outcomes[i]);
		b += snprintf(counts + b, size - (size_t)b, "%c%lld",
		    b ? ',' : '{', (long long)r->pending[i]);
	}
	snprintf(outcomes + a, size - (size_t)a, "%s", a ? "}" : "{}");
	snprintf(counts + b, size - (size_t)b, "%s", b ? "}" : "{}");
}

/* Log the first failure and the recovery, not each of them. */
static void
report(struct rollup *r, enum aic_code rc, const struct aic_err *err)
{
	if (rc && !r->failing)
		aic_log_event(AIC_LOG_WARN, "rollup",
		    "could not update the sums for operators: %s", err->detail);
	if (!rc && r->failing)
		aic_log_event(AIC_LOG_INFO, "rollup",
		    "the sums for operators are updated again");
	r->failing = rc != AIC_OK;
}

/*
 * Count one step, and set the next mark.
 *
 * ret_more  exchanges remain that can be counted now
 */
static enum aic_code
run_batch(struct rollup *r, bool *ret_more)
{
	char outcomes[256], counts[256];
	struct aic_usage_unanswered add = { .worker = r->id,
		.seq = r->seq,
		.outcomes = outcomes,
		.counts = counts,
		.zone = r->worker->conf.timezone };
	struct aic_err err = AIC_ERR_INIT;
	struct aic_db_call calls[2] = { 0 }, mark;
	enum aic_code rc;

	*ret_more = false;
	aic_usage_step_bind(&calls[0]);
	if (r->is_pending) {
		format_addition(r, outcomes, counts, sizeof(counts));
		aic_usage_add_bind(&calls[1], &add);
	}
	rc = aic_db_run(r->worker->background_db, calls, r->is_pending ? 2 : 1,
	    aic_clock_us() + BATCH_US, &err);
	if (!rc) {
		r->is_pending = false;
		*ret_more = aic_usage_step_read(&calls[0]);
		aic_db_call_done(&calls[0]);
		aic_db_call_done(&calls[1]);
		aic_usage_mark_bind(&mark);
		rc = aic_db_run(r->worker->background_db, &mark, 1,
		    aic_clock_us() + BATCH_US, &err);
		if (!rc)
			aic_db_call_done(&mark);
	}
	report(r, rc, &err);
	return rc;
}

void
rollup_run(struct rollup *r)
{
	int64_t start = aic_clock_us();
	enum aic_code rc = AIC_OK;
	bool more = true;

	/* While connecting fails, the log of the database says so. */
	if (!r->worker || start < r->next_us ||
	    aic_db_look(r->worker->background_db).down)
		return;
	take_addition(r);
	while (!rc && more && aic_clock_us() - start < BUSY_US)
		rc = run_batch(r, &more);
	if (rc)
		r->next_us = start + FAILED_INTERVAL_US;
	else
		r->next_us = more ? start : start + INTERVAL_US;
}

void
rollup_end(struct rollup *r)
{
	bool more;

	if (!r->worker)
		return;
	/* An addition that is pending has to be stored before the last one. */
	if (r->is_pending && run_batch(r, &more))
		return;
	take_addition(r);
	if (r->is_pending)
		run_batch(r, &more);
}
