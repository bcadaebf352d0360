#include "config.h"

#include "lib/breaker.h"

void
aic_breaker_init(struct aic_breaker *b, int64_t failures_max, int64_t open_us)
{
	*b = (struct aic_breaker){ .failures_max = failures_max,
		.open_us = open_us,
		.trial_end_us = INT64_MIN };
	pthread_mutex_init(&b->lock, NULL);
}

void
aic_breaker_done(struct aic_breaker *b)
{
	pthread_mutex_destroy(&b->lock);
}

/* The callers of the static functions below hold the lock. */
static int64_t
get_wait(const struct aic_breaker *b, int64_t now_us)
{
	if (!b->open)
		return 0;
	if (now_us < b->due_us)
		return b->due_us - now_us;
	return now_us < b->trial_end_us ? 1 : 0;
}

int64_t
aic_breaker_wait(struct aic_breaker *b, int64_t now_us)
{
	int64_t wait;

	pthread_mutex_lock(&b->lock);
	wait = get_wait(b, now_us);
	pthread_mutex_unlock(&b->lock);
	return wait;
}

bool
aic_breaker_is_open(struct aic_breaker *b)
{
	bool open;

	pthread_mutex_lock(&b->lock);
	open = b->open;
	pthread_mutex_unlock(&b->lock);
	return open;
}

int64_t
aic_breaker_enter(struct aic_breaker *b, int64_t now_us, int64_t until_us,
    uint64_t *ret_round)
{
	int64_t wait;

	pthread_mutex_lock(&b->lock);
	wait = get_wait(b, now_us);
	if (wait == 0) {
		/*
		 * The new round distinguishes this trial from one that timed
		 * out.
		 */
		if (b->open) {
			b->round++;
			b->trial_end_us = until_us;
		}
		*ret_round = b->round;
	}
	pthread_mutex_unlock(&b->lock);
	return wait;
}

static enum aic_breaker_change
close_it(struct aic_breaker *b)
{
	b->failures = 0;
	if (!b->open)
		return AIC_BREAKER_SAME;
	b->open = false;
	b->trial_end_us = INT64_MIN;
	b->round++;
	return AIC_BREAKER_CLOSED;
}

static enum aic_breaker_change
open_breaker(struct aic_breaker *b, int64_t now_us)
{
	bool was_open = b->open;

	b->failures = 0;
	b->open = true;
	b->due_us = now_us + b->open_us;
	b->trial_end_us = INT64_MIN;
	b->round++;
	return was_open ? AIC_BREAKER_SAME : AIC_BREAKER_OPENED;
}

enum aic_breaker_change
aic_breaker_leave(struct aic_breaker *b, uint64_t round,
    enum aic_breaker_verdict verdict, int64_t now_us)
{
	enum aic_breaker_change change = AIC_BREAKER_SAME;

	pthread_mutex_lock(&b->lock);
	if (verdict == AIC_BREAKER_WELL) {
		change = close_it(b);
	} else if (round != b->round) {
		/* A call of an earlier round is no new evidence. */
	} else if (verdict == AIC_BREAKER_NEUTRAL) {
		b->trial_end_us = INT64_MIN;
	} else if (b->open || ++b->failures == b->failures_max) {
		/* While open, only the trial has the current round. */
		change = open_breaker(b, now_us);
	}
	pthread_mutex_unlock(&b->lock);
	return change;
}
