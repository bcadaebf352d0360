/*
 * clock -- time as int64_t microseconds, and waiting with a deadline.
 *
 * Deadlines are points of the monotonic clock. What day it is, is not decided
 * here but by PostgreSQL: workers on several machines must agree.
 */
#ifndef AIC_CLOCK_H
#define AIC_CLOCK_H

#include <stdint.h>
#include <time.h>

#define AIC_MS INT64_C(1000)
#define AIC_S INT64_C(1000000)

/* aic_clock_us -- the monotonic clock. Source: clock_gettime(2) */
int64_t aic_clock_us(void);

/* aic_clock_left_ms -- from now to a deadline, for poll(2): rounded up so that
 * a wait does not end early and spin, 0 when it has passed. */
int aic_clock_left_ms(int64_t deadline_us);

/* aic_clock_spec -- a deadline for pthread_cond_clockwait() and its like. */
struct timespec aic_clock_spec(int64_t deadline_us);

/* aic_clock_sleep -- until a deadline, whatever signals come. Blocks. */
void aic_clock_sleep(int64_t until_us);

#endif
