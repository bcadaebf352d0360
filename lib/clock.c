#include "config.h"

#include "lib/clock.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>

int64_t
aic_clock_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * AIC_S + ts.tv_nsec / 1000;
}

int
aic_clock_left_ms(int64_t deadline_us)
{
	int64_t left = deadline_us - aic_clock_us();

	if (left <= 0)
		return 0;
	left = (left + AIC_MS - 1) / AIC_MS;
	return left > INT_MAX ? INT_MAX : (int)left;
}

bool
aic_clock_poll(int fd, short events, int64_t deadline_us)
{
	struct pollfd p = { .fd = fd, .events = events };
	int n;

	do {
		n = poll(&p, 1, aic_clock_left_ms(deadline_us));
	} while (n < 0 && errno == EINTR);
	return n > 0;
}

struct timespec
aic_clock_spec(int64_t deadline_us)
{
	return (struct timespec){ .tv_sec = deadline_us / AIC_S,
		.tv_nsec = deadline_us % AIC_S * 1000 };
}

void
aic_clock_sleep(int64_t until_us)
{
	struct timespec ts = aic_clock_spec(until_us);

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) ==
	    EINTR)
		;
}
