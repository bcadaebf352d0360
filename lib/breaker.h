/*
 * breaker -- whether a server that keeps failing is to be asked at all.
 *
 * Closed, all may ask. A run of failures opens it: for a while nobody may, and then
 * one at a time may try; a trial that succeeds closes it, one that fails begins
 * another while. It knows nothing of what is asked, and time comes in as a
 * parameter.
 *
 * Threads: any; it has a lock of its own, held for a few instructions.
 */
#ifndef AIC_BREAKER_H
#define AIC_BREAKER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct aic_breaker {
	pthread_mutex_t lock;
	int64_t failures_max; /* in a row, that open it; 0: it never opens */
	int64_t open_us;
	int64_t failures; /* in a row, while closed */
	bool open;
	int64_t due_us; /* while open: no trial before that */
	int64_t trial_end_us; /* of the trial under way; in the past: none is */
	uint64_t round; /* of those whose failure tells something new */
};

/* How it went. */
enum aic_breaker_verdict {
	AIC_BREAKER_WELL,
	AIC_BREAKER_FAILED, /* and that was the server's fault */
	AIC_BREAKER_NEUTRAL, /* says nothing about the server */
};

/* What a verdict changed. */
enum aic_breaker_change {
	AIC_BREAKER_SAME,
	AIC_BREAKER_OPENED, /* a trial that fails leaves it open: no change */
	AIC_BREAKER_CLOSED,
};

/* aic_breaker_init -- failures_max: 0 for never; open_us: > 0. */
void
aic_breaker_init(struct aic_breaker *b, int64_t failures_max, int64_t open_us);
void aic_breaker_done(struct aic_breaker *b);

/*
 * aic_breaker_enter -- may the server be asked now?
 *
 * until_us  when it will have been asked at the latest: a trial that has not left
 *           by then holds up nobody any longer
 * ret_round set when it may; to be given to aic_breaker_leave(), once
 *
 * The value is 0: ask, and leave; or the microseconds to the next trial, or 1 when
 * one is under way, because its end is not known.
 */
int64_t aic_breaker_enter(struct aic_breaker *b, int64_t now_us,
    int64_t until_us, uint64_t *ret_round);

/*
 * aic_breaker_leave -- tell how it went.
 *
 * A success closes it, whenever it was begun. A failure counts for those alone who
 * came in since it opened or closed last: what began before that tells what is
 * known. A neutral trial hands the trial on to the next one who comes.
 */
enum aic_breaker_change aic_breaker_leave(struct aic_breaker *b, uint64_t round,
    enum aic_breaker_verdict verdict, int64_t now_us);

/* aic_breaker_is_open -- has it opened, and no trial succeeded since? */
bool aic_breaker_is_open(struct aic_breaker *b);

/* aic_breaker_wait -- what aic_breaker_enter() would say, without entering. */
int64_t aic_breaker_wait(struct aic_breaker *b, int64_t now_us);

#endif
