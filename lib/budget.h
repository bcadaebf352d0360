/*
 * budget -- whether there may be one more retry: above a floor, they stay under a
 * tenth of the calls.
 *
 * A server that fails now and then gets all the retries that it needs. One that is
 * down for all would get three times its calls just then, from everybody: it gets
 * a tenth more. Calls and retries are those of the last ten seconds, and time comes
 * in as a parameter.
 *
 * Threads: any; it has a lock of its own, held for a few instructions.
 */
#ifndef AIC_BUDGET_H
#define AIC_BUDGET_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define AIC_BUDGET_WINDOW_S 10

/* What happened within one second of the clock. */
struct aic_budget_second {
	int64_t second;
	int64_t calls, retries;
};

struct aic_budget {
	pthread_mutex_t lock;
	int64_t floor; /* retries in a window that are always allowed */
	/* One more than the window has, because the first is cut off by it. */
	struct aic_budget_second seconds[AIC_BUDGET_WINDOW_S + 1];
};

/* aic_budget_init -- floor: 0 or more retries in ten seconds. */
void aic_budget_init(struct aic_budget *b, int64_t floor);
void aic_budget_done(struct aic_budget *b);

/* aic_budget_call -- note a call that is no retry. */
void aic_budget_call(struct aic_budget *b, int64_t now_us);

/* aic_budget_retry -- may there be one now? True notes it: do it. */
bool aic_budget_retry(struct aic_budget *b, int64_t now_us);

#endif
