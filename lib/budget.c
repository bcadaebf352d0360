#include "config.h"

#include "lib/budget.h"

#include "lib/clock.h"

#define SLOTS (AIC_BUDGET_WINDOW_S + 1)

/* Calls per retry. */
#define CALLS_EACH 10

void
aic_budget_init(struct aic_budget *b, int64_t floor)
{
	*b = (struct aic_budget){ .floor = floor };
	pthread_mutex_init(&b->lock, NULL);
}

void
aic_budget_done(struct aic_budget *b)
{
	pthread_mutex_destroy(&b->lock);
}

/*
 * The counts of this second, cleared if they are of an earlier one. The lock is
 * held.
 */
static struct aic_budget_second *
get_slot(struct aic_budget *b, int64_t second)
{
	struct aic_budget_second *s = &b->seconds[second % SLOTS];

	if (s->second != second)
		*s = (struct aic_budget_second){ .second = second };
	return s;
}

void
aic_budget_call(struct aic_budget *b, int64_t now_us)
{
	pthread_mutex_lock(&b->lock);
	get_slot(b, now_us / AIC_S)->calls++;
	pthread_mutex_unlock(&b->lock);
}

/* The lock is held. */
static bool
allow_retry(const struct aic_budget *b, int64_t second)
{
	int64_t calls = 0, retries = 0;
	int i;

	for (i = 0; i < SLOTS; i++) {
		if (second - b->seconds[i].second > AIC_BUDGET_WINDOW_S)
			continue;
		calls += b->seconds[i].calls;
		retries += b->seconds[i].retries;
	}
	return retries < b->floor || (retries + 1) * CALLS_EACH < calls;
}

bool
aic_budget_retry(struct aic_budget *b, int64_t now_us)
{
	int64_t second = now_us / AIC_S;
	bool yes;

	pthread_mutex_lock(&b->lock);
	yes = allow_retry(b, second);
	if (yes)
		get_slot(b, second)->retries++;
	pthread_mutex_unlock(&b->lock);
	return yes;
}
