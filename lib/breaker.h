/*
 * breaker -- a circuit breaker: stops calls to a server that keeps failing.
 *
 * Closed, it admits all calls. A run of consecutive failures opens it. Open, it
 * admits no call for open_us, and then one call at a time as a trial. A
 * successful trial closes the breaker; a failed one starts another open_us. The
 * module does not depend on the kind of call, and time is a parameter.
 *
 * Threads: any. The breaker has its own lock, held for a few instructions.
 */
#ifndef AIC_BREAKER_H
#define AIC_BREAKER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct aic_breaker {
	pthread_mutex_t lock;
	/* consecutive failures that open it; 0: it never opens */
	int64_t failures_max;
	int64_t open_us;
	int64_t failures; /* consecutive failures, while closed */
	bool open;
	int64_t due_us; /* while open: no trial before this time */
	/* time limit of the current trial; in the past: no trial */
	int64_t trial_end_us;
	uint64_t round; /* incremented when older calls no longer count */
};

/* The result of a call. */
enum aic_breaker_verdict {
	AIC_BREAKER_WELL,
	AIC_BREAKER_FAILED, /* through a fault of the server */
	AIC_BREAKER_NEUTRAL, /* no evidence about the server */
};

/* The change that a verdict caused. */
enum aic_breaker_change {
	AIC_BREAKER_SAME,
	/* a failed trial leaves it open, which is no change */
	AIC_BREAKER_OPENED,
	AIC_BREAKER_CLOSED,
};

/*
 * aic_breaker_init -- initialise a closed breaker.
 *
 * failures_max  0: never opens
 * open_us   > 0
 */
void
aic_breaker_init(struct aic_breaker *b, int64_t failures_max, int64_t open_us);
void aic_breaker_done(struct aic_breaker *b);

/*
 * aic_breaker_enter -- ask for admission of a call.
 *
 * until_us  latest end of the call; a trial that has not reported by then no
 *           longer blocks the next one
 * ret_round  set on admission; pass it to aic_breaker_leave(), once
 *
 * The value is 0 for admission; aic_breaker_leave() has to follow. Otherwise it
 * is the microseconds to the next trial, or 1 during a trial, because its end
 * is unknown.
 */
int64_t aic_breaker_enter(struct aic_breaker *b, int64_t now_us,
    int64_t until_us, uint64_t *ret_round);

/*
 * aic_breaker_leave -- report the result of a call.
 *
 * A success closes the breaker, whenever the call began. A failure counts only
 * if the call was admitted after the last opening or closing, because an older
 * call is no new evidence. After a neutral trial the next call becomes the
 * trial.
 */
enum aic_breaker_change aic_breaker_leave(struct aic_breaker *b, uint64_t round,
    enum aic_breaker_verdict verdict, int64_t now_us);

/*
 * aic_breaker_is_open -- whether it has opened, and no trial has succeeded
 * since.
 */
bool aic_breaker_is_open(struct aic_breaker *b);

/*
 * aic_breaker_wait -- the value that aic_breaker_enter() would return, without
 * admission.
 */
int64_t aic_breaker_wait(struct aic_breaker *b, int64_t now_us);

#endif
