#include "config.h"

#include "app/worker/request.h"

#include <stdlib.h>

#include "lib/cache_keys.h"
#include "lib/clock.h"

void
request_begin(struct request *rq)
{
	*rq = (struct request){ .worker = rq->worker,
		.fcgi = rq->fcgi,
		.body = rq->body,
		.out = rq->out,
		.in = rq->in,
		.start_us = rq->start_us,
		.deadline_us = rq->start_us +
		    rq->worker->conf.deadline_ms * AIC_MS };
	aic_buf_clear(&rq->body);
	aic_buf_clear(&rq->out);
	(void)aic_traceparent_read(&rq->traceparent, rq->in.traceparent,
	    rq->in.tracestate);
}

void
request_stage(struct request *rq, const char *doing)
{
	rq->trace.doing = doing;
	rq->stage_end_us = aic_clock_us() +
	    rq->worker->conf.db_timeout_ms * AIC_MS;
	if (rq->stage_end_us > rq->deadline_us)
		rq->stage_end_us = rq->deadline_us;
}

enum aic_code
request_db(struct request *rq, struct aic_db_call *calls, int n,
    struct aic_err *err)
{
	int64_t start = aic_clock_us();
	enum aic_code rc;

	rc = aic_db_run(rq->worker->db, calls, n, rq->stage_end_us, err);
	rq->trace.db_us += aic_clock_us() - start;
	return rc;
}

void
request_set_quota(struct request *rq, int64_t used, int64_t reset_in_s)
{
	int64_t limit = rq->worker->conf.daily_limit;

	if (limit == 0)
		return;
	rq->quota = (struct request_quota){ .known = true,
		.left = used < limit ? limit - used : 0,
		.end_us = aic_clock_us() + reset_in_s * AIC_S };
}

/* --- deferred work -------------------------------------------------------- */

struct aic_cache_put *
request_defer_put(struct request *rq, char *data, size_t len, int64_t ttl_ms)
{
	struct aic_cache_put *put;

	if (!data)
		return NULL;
	if (rq->n_puts == REQUEST_PUTS || ttl_ms <= 0) {
		free(data);
		return NULL;
	}
	put = &rq->puts[rq->n_puts++];
	*put = (struct aic_cache_put){
		.data = data, .len = len, .ttl_ms = ttl_ms
	};
	return put;
}

static void
free_last_put(struct request *rq)
{
	free((char *)(uintptr_t)rq->puts[--rq->n_puts].data);
}

/* The copy is made as late as possible, because some answers arrive while the
 * model is called. */
static void
defer_seller_data(struct request *rq)
{
	struct aic_cache_put *put;
	size_t len = 0;
	char *data = seller_api_copy(&rq->seller, &len);

	put = request_defer_put(rq, data, len, SELLER_API_KEEP_S * 1000);
	if (put)
		aic_cache_keys_seller(put->key, rq->trace.user);
}

void
request_run_deferred(struct request *rq)
{
	struct worker *w = rq->worker;
	int64_t start = aic_clock_us();
	enum aic_cache_end end;

	if (w->cache)
		defer_seller_data(rq);
	/* Writing the response can take long. Meanwhile the limit can have been
	 * reset, so an old refusal is not stored. */
	if (rq->n_puts > 0 && rq->puts[0].only_new &&
	    start - rq->observed_us > AIC_CACHE_KEYS_LOOK_MAX_US)
		free_last_put(rq);
	if (rq->n_puts > 0) {
		end = aic_cache_put(w->cache, rq->puts, rq->n_puts, INT64_MAX);
		aic_metrics_cache(w->metrics, end, aic_clock_us() - start);
	}
	while (rq->n_puts > 0)
		free_last_put(rq);
	seller_api_finish(&rq->seller);
}
