/*
 * metrics_page -- the counters of a worker, and the file from which other
 * programs read them. A part of metrics.h, which has the rules.
 *
 * The page is the content of the file. The worker maps its file. Other programs
 * copy the file instead, because a mapped file could be truncated while they
 * read it.
 *
 * Threads: the counters: any. Opening, closing: one.
 */
#ifndef AIC_METRICS_PAGE_H
#define AIC_METRICS_PAGE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/cache.h"
#include "lib/err.h"
#include "lib/metrics_kinds.h"
#include "lib/openai.h"

/* The statuses of responses; the last one stands for any other status. */
extern const int aic_metrics_statuses[];
#define AIC_METRICS_STATUSES 12

/* The bounds of the histograms, in microseconds. */
extern const int64_t aic_metrics_bounds_us[];
#define AIC_METRICS_BOUNDS 18

/* The outcomes of a send. */
enum aic_metrics_outcome {
	AIC_METRICS_OUTCOME_ANSWERED,
	AIC_METRICS_OUTCOME_REPLAYED,
	AIC_METRICS_OUTCOME_LIMITED,
	AIC_METRICS_OUTCOME_CROWDED,
	AIC_METRICS_OUTCOME_INVALID,
	AIC_METRICS_OUTCOME_MODEL_FAILED,
	AIC_METRICS_OUTCOME_MODEL_OPEN,
	AIC_METRICS_OUTCOME_DATABASE_FAILED,
	AIC_METRICS_OUTCOME_BUSY,
	AIC_METRICS_OUTCOME_CALLER_GONE,
	AIC_METRICS_OUTCOME_FAILED,
	AIC_METRICS_OUTCOME__MAX
};

/* Tokens by kind; the cached tokens are a part of the prompt's. */
enum aic_metrics_usage {
	AIC_METRICS_PROMPT_TOKENS,
	AIC_METRICS_COMPLETION_TOKENS,
	AIC_METRICS_CACHED_TOKENS,
	AIC_METRICS_USAGE__MAX
};

/* The outcomes that are failures, in the order of their errors in the page. */
extern const enum aic_metrics_outcome
    aic_metrics_failures[AIC_METRICS_FAILURES];

/* The names of outcomes in labels. */
extern const char *const aic_metrics_outcomes[AIC_METRICS_OUTCOME__MAX];

typedef _Atomic int64_t aic_metrics_counter;

struct aic_metrics_histogram {
	aic_metrics_counter below[AIC_METRICS_BOUNDS + 1]; /* not cumulative */
	aic_metrics_counter sum_us;
};

/* The number of gauges; each field is an int64_t. */
#define AIC_METRICS_GAUGES (sizeof(struct aic_metrics_now) / sizeof(int64_t))

/*
 * A zeroed page is a valid initial state. A file of another size or with
 * another `magic' is of another version and is ignored.
 */
struct aic_metrics_page {
	char magic[8];
	aic_metrics_counter started_s;
	aic_metrics_counter running; /* 0 after a clean shutdown */
	char version[32];
	aic_metrics_counter requests[AIC_METRICS_ROUTES][AIC_METRICS_STATUSES];
	aic_metrics_counter chats[AIC_METRICS_OUTCOME__MAX];
	aic_metrics_counter model_calls[AIC_OPENAI_MODELS]
				       [AIC_OPENAI_CALL__MAX];
	aic_metrics_counter cache_calls[AIC_CACHE_END__MAX];
	/* misses, hits */
	aic_metrics_counter lookups[AIC_METRICS_LOOKUP__MAX][2];
	aic_metrics_counter seller_calls[AIC_METRICS_SELLER__MAX];
	aic_metrics_counter tokens;
	aic_metrics_counter usage[AIC_OPENAI_MODELS][AIC_METRICS_USAGE__MAX];
	aic_metrics_counter lapsed;
	aic_metrics_counter reserved;
	struct aic_metrics_histogram time[AIC_METRICS_TIME__MAX];
	aic_metrics_counter gauges[AIC_METRICS_GAUGES];
	struct aic_metrics_error errors[AIC_METRICS_FAILURES];
	/*
	 * When the gauges were set, by the monotonic clock, which all processes
	 * of a host share.
	 */
	aic_metrics_counter updated_us;
};

struct aic_metrics {
	struct aic_metrics_page *page;
	char *dir; /* NULL: none */
	int number;
	int fd; /* holds the lock; -1: none */
	pthread_mutex_t lock; /* of the errors of the page */
	const char *const *routes;
	int n_routes;
};

static inline void
aic_metrics_add(aic_metrics_counter *c, int64_t n)
{
	atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

static inline int64_t
aic_metrics_get(const aic_metrics_counter *c)
{
	return atomic_load_explicit(c, memory_order_relaxed);
}

/*
 * aic_metrics_page_open -- create or continue the file of m->dir and m->number,
 * and set m->page and m->fd.
 *
 * Errors:   as aic_metrics_open(); aic_metrics_page_close() has to be called
 *           anyway
 */
enum aic_code aic_metrics_page_open(struct aic_metrics *m,
    struct aic_err *err) AIC_MUST_CHECK;
void aic_metrics_page_close(struct aic_metrics *m);

/* aic_metrics_page_end -- as aic_metrics_end(). */
void aic_metrics_page_end(const char *dir, int number);

/* aic_metrics_page_was_lost -- as aic_metrics_was_lost(). */
bool aic_metrics_page_was_lost(void);

/* The page of one worker at this moment. */
struct aic_metrics_view {
	int number;
	bool up; /* its process is running */
	struct aic_metrics_page *page;
	const struct aic_metrics *m; /* NULL: none; the names of the routes */
};

struct aic_metrics_views {
	struct aic_metrics_view v[AIC_METRICS_WORKERS];
	int n;
};

/*
 * aic_metrics_page_read -- add copies of the files in a directory, and sort the
 * views by number. Files that cannot be read are skipped.
 *
 * own_number  the number whose file is skipped; 0: none
 *
 * Memory:   gives the pages; aic_metrics_page_free()
 */
void aic_metrics_page_read(struct aic_metrics_views *all, const char *dir,
    int own_number);

/* aic_metrics_page_free -- own: the page that is no copy; NULL: none. */
void aic_metrics_page_free(struct aic_metrics_views *all,
    const struct aic_metrics_page *own);

#endif
