/*
 * clock -- time as int64_t microseconds, and waiting with a deadline.
 *
 * Deadlines are times of the monotonic clock. The current day is determined by
 * PostgreSQL instead, because workers on several hosts must agree.
 */
#ifndef AIC_CLOCK_H
#define AIC_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define AIC_MS INT64_C(1000)
#define AIC_S INT64_C(1000000)

/* aic_clock_us -- read the monotonic clock. Source: clock_gettime(2) */
int64_t aic_clock_us(void);

/*
 * aic_clock_left_ms -- the milliseconds to a deadline, for poll(2). Rounded up,
 * so that a wait does not end early and spin. 0: the deadline has passed.
 */
int aic_clock_left_ms(int64_t deadline_us);

/*
 * aic_clock_poll -- wait until a descriptor is ready, regardless of signals.
 *
 * events    of poll(2)
 *
 * Errors:   false: the deadline has passed, or poll(2) has failed
 * Blocks:   until the deadline at most
 */
bool aic_clock_poll(int fd, short events, int64_t deadline_us);

/*
 * aic_clock_spec -- convert a deadline for pthread_cond_clockwait() and similar
 * functions.
 */
struct timespec aic_clock_spec(int64_t deadline_us);

/* aic_clock_sleep -- sleep until a deadline, regardless of signals. Blocks. */
void aic_clock_sleep(int64_t until_us);

#endif
