/*
 * metrics -- the workers' counters, for Prometheus.
 *
 * Each worker maps a file of fixed layout in AI_CHAT_METRICS_DIR, which is
 * named by the worker's number. So any worker can export the metrics of all
 * workers; a worker that is restarted continues its counters; and the last
 * values of a worker that was killed are preserved. Without the directory, a
 * worker exports only its own metrics.
 *
 * Threads: any, without locks; counting is one relaxed atomic addition.
 */
#ifndef AIC_METRICS_H
#define AIC_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/cache.h"
#include "lib/err.h"
#include "lib/metrics_kinds.h"
#include "lib/openai.h"

struct aic_metrics;

/*
 * aic_metrics_open -- map the worker's file, or anonymous memory.
 *
 * dir       NULL: none; created if it does not exist
 * number    of the worker
 * routes    the names of the routes, kept; at most AIC_METRICS_ROUTES - 1
 *
 * Errors:   AIC_ECONF  the file cannot be created, or a running worker has it
 *           AIC_EBUSY  its volume is full or failing
 *           AIC_ENOMEM
 * Memory:   gives; aic_metrics_close()
 */
enum aic_code aic_metrics_open(struct aic_metrics **ret_metrics,
    const char *dir, int number, const char *const *routes, int n_routes,
    struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_metrics_was_lost -- true, once, after another program truncated the
 * worker's file; the worker continues to count in anonymous memory.
 */
bool aic_metrics_was_lost(void);

/*
 * aic_metrics_close -- mark a clean shutdown, so that the worker is no longer
 * exported as down. NULL is fine.
 */
void aic_metrics_close(struct aic_metrics *m);

/* aic_metrics_request -- count a response; route -1: no route of the table. */
void aic_metrics_request(struct aic_metrics *m, int route, int status);

/* aic_metrics_chat -- count a send that has ended. */
void aic_metrics_chat(struct aic_metrics *m, enum aic_code rc, bool replayed);

/*
 * aic_metrics_chats -- the number of sends with this outcome, since the file
 * was created.
 *
 * outcome   a name as in the label of chats_total; 0 for any other name
 */
int64_t aic_metrics_chats(const struct aic_metrics *m, const char *outcome);

/*
 * aic_metrics_error -- keep the last error of a kind, for operators. An error
 * that is no failure of the service, such as a wrong key, is not kept.
 *
 * rc        of the request; it decides the kind
 */
void aic_metrics_error(struct aic_metrics *m, enum aic_code rc,
    const struct aic_metrics_error *error);

/* aic_metrics_failure_name -- the name of a kind of failures, static. */
const char *aic_metrics_failure_name(int kind);

/*
 * aic_metrics_seller, aic_metrics_seller_name -- count the outcome of a call of
 * the seller-data API; the outcome's name, static.
 */
void aic_metrics_seller(struct aic_metrics *m, enum aic_metrics_seller how);
const char *aic_metrics_seller_name(enum aic_metrics_seller how);

/* aic_metrics_time -- record a duration. */
void
aic_metrics_time(struct aic_metrics *m, enum aic_metrics_time what, int64_t us);

/*
 * aic_metrics_model -- count the calls of a model by outcome, and the tokens.
 */
void aic_metrics_model(struct aic_metrics *m,
    const struct aic_openai_answer *answer);

/* aic_metrics_lookup -- count a lookup in Redis. */
void aic_metrics_lookup(struct aic_metrics *m, enum aic_metrics_lookup what,
    bool found);

/* aic_metrics_cache -- count a call of Redis, with its outcome and duration. */
void
aic_metrics_cache(struct aic_metrics *m, enum aic_cache_end end, int64_t us);

/*
 * aic_metrics_reserved -- count reservations made (+1) or settled (-1). The
 * reservations of a worker that crashes lapse; they are counted as lapsed when
 * the worker is restarted.
 */
void aic_metrics_reserved(struct aic_metrics *m, int n);

/* aic_metrics_lapse -- count a reservation that will lapse. */
void aic_metrics_lapse(struct aic_metrics *m);

/* aic_metrics_now -- set the gauges. */
void aic_metrics_now(struct aic_metrics *m, const struct aic_metrics_now *now);

/*
 * aic_metrics_write -- write all workers' metrics in Prometheus' text format,
 * 0.0.4.
 *
 * Blocks:   on reading the files, which are in memory
 * Source:   prometheus.io, "Exposition formats"
 */
void aic_metrics_write(struct aic_metrics *m, struct aic_buf *to);

/* A worker, as other programs see it. */
struct aic_metrics_worker {
	int number;
	bool up; /* its process is running */
	bool ended; /* shut down cleanly; false and not up: it crashed */
	int64_t started_s; /* Unix time */
	char version[32];
	int64_t answered, failed; /* chats; failed: not because of the caller */
	int64_t reservations; /* of chats in flight */
	struct aic_metrics_error errors[AIC_METRICS_FAILURES];
	struct aic_metrics_now now;
	/*
	 * The age of `now': about a second, or more if the worker hangs or is
	 * stopped.
	 */
	int64_t age_us;
};

/*
 * aic_metrics_end -- mark a clean shutdown of a worker that was killed, and
 * that is not to be started again, so that it is no longer exported as down.
 * While the worker runs, this changes nothing.
 *
 * dir       NULL, or a directory without a file of the worker: does nothing
 */
void aic_metrics_end(const char *dir, int number);

/*
 * aic_metrics_read -- read the metrics of all workers in a directory, for
 * programs that are not workers.
 *
 * to        AIC_METRICS_WORKERS elements; filled in the order of numbers
 *
 * The value is the number of workers; 0 if the directory does not exist.
 */
int aic_metrics_read(const char *dir, struct aic_metrics_worker *to);

/*
 * aic_metrics_workers -- the same for a worker: all workers of its directory;
 * without a directory, itself.
 */
int aic_metrics_workers(struct aic_metrics *m, struct aic_metrics_worker *to);

#endif
