/*
 * budget -- a retry budget: above a floor, retries stay below a tenth of the
 * calls.
 *
 * A server that fails occasionally gets all the retries that it needs. Without
 * a budget, a server that is down would receive three times its calls, from all
 * workers at once; with it, a tenth more. Calls and retries are counted over
 * the last ten seconds, and time is a parameter.
 *
 * Threads: any. The budget has its own lock, held for a few instructions.
 */
#ifndef AIC_BUDGET_H
#define AIC_BUDGET_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define AIC_BUDGET_WINDOW_S 10

/* The counts of one second. */
struct aic_budget_second {
	int64_t second;
	int64_t calls, retries;
};

struct aic_budget {
	pthread_mutex_t lock;
	int64_t floor; /* retries per window that are always allowed */
	/*
	 * One more than the window, because the window begins within a second.
	 */
	struct aic_budget_second seconds[AIC_BUDGET_WINDOW_S + 1];
};

/*
 * aic_budget_init -- initialise an empty budget.
 *
 * floor     retries in ten seconds, 0..
 */
void aic_budget_init(struct aic_budget *b, int64_t floor);
void aic_budget_done(struct aic_budget *b);

/* aic_budget_call -- count a call that is not a retry. */
void aic_budget_call(struct aic_budget *b, int64_t now_us);

/* aic_budget_retry -- ask for a retry. True: it is allowed and counted. */
bool aic_budget_retry(struct aic_budget *b, int64_t now_us);

#endif
