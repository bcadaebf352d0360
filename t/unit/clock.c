#include "config.h"

#include "lib/clock.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "unit.h"

static volatile sig_atomic_t ticks;

static void
on_tick(int sig)
{
	(void)sig;
	ticks++;
}

static void
the_clock_is_the_monotonic_one_in_microseconds(void **state)
{
	struct timespec ts;
	int64_t a, b, c;

	(void)state;
	a = aic_clock_us();
	clock_gettime(CLOCK_MONOTONIC, &ts);
	c = aic_clock_us();
	b = ts.tv_sec * INT64_C(1000000) + ts.tv_nsec / 1000;
	assert_true(a <= b && b <= c);
}

static void
the_time_left_is_rounded_up_and_never_negative(void **state)
{
	int ms;

	(void)state;
	assert_int_equal(aic_clock_left_ms(0), 0);
	assert_int_equal(aic_clock_left_ms(aic_clock_us()), 0);
	assert_int_equal(aic_clock_left_ms(aic_clock_us() - AIC_S), 0);
	assert_int_equal(aic_clock_left_ms(aic_clock_us() + 900), 1);
	ms = aic_clock_left_ms(aic_clock_us() + 10 * AIC_S);
	assert_in_range(ms, 9900, 10000);
}

static void
a_deadline_beyond_an_int_is_the_largest_int(void **state)
{
	(void)state;
	assert_int_equal(aic_clock_left_ms(INT64_MAX), INT_MAX);
	assert_int_equal(aic_clock_left_ms(aic_clock_us() +
			     INT64_C(1) * INT_MAX * 2000),
	    INT_MAX);
}

static void
a_timespec_has_seconds_and_nanoseconds(void **state)
{
	struct timespec ts = aic_clock_spec(12 * AIC_S + 345678);

	(void)state;
	assert_int_equal(ts.tv_sec, 12);
	assert_int_equal(ts.tv_nsec, 345678000);
}

static void
sleep_lasts_to_its_end_in_spite_of_signals(void **state)
{
	struct itimerval every = { { 0, 5000 }, { 0, 5000 } }, off;
	struct sigaction sa, old;
	int64_t until;

	(void)state;
	memset(&off, 0, sizeof(off));
	memset(&sa, 0, sizeof(sa));
	sa.sa_handler = on_tick;
	sigaction(SIGALRM, &sa, &old);
	setitimer(ITIMER_REAL, &every, NULL);
	until = aic_clock_us() + 60 * AIC_MS;
	aic_clock_sleep(until);
	assert_true(aic_clock_us() >= until);
	setitimer(ITIMER_REAL, &off, NULL);
	sigaction(SIGALRM, &old, NULL);
	/*
	 * One signal suffices to end a sleep that is not continued. More cannot
	 * be required, because ThreadSanitizer runs a handler once for all the
	 * signals that arrive during a call.
	 */
	assert_true(ticks > 0);
}

static void
sleep_until_a_time_in_the_past_ends_at_once(void **state)
{
	int64_t start = aic_clock_us();

	(void)state;
	aic_clock_sleep(start - AIC_S);
	aic_clock_sleep(0);
	assert_true(aic_clock_us() - start < AIC_S);
}

static void
a_poll_ends_when_the_descriptor_is_ready_or_at_its_deadline(void **state)
{
	int64_t until;
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	until = aic_clock_us() + 30 * AIC_MS;
	assert_false(aic_clock_poll(fds[0], POLLIN, until));
	assert_true(aic_clock_us() >= until);
	assert_int_equal(write(fds[1], "x", 1), 1);
	assert_true(aic_clock_poll(fds[0], POLLIN, aic_clock_us() + AIC_S));
	assert_true(aic_clock_poll(fds[0], POLLIN, 0));
	close(fds[0]);
	close(fds[1]);
}

UNIT_MAIN(T(the_clock_is_the_monotonic_one_in_microseconds),
    T(the_time_left_is_rounded_up_and_never_negative),
    T(a_deadline_beyond_an_int_is_the_largest_int),
    T(a_timespec_has_seconds_and_nanoseconds),
    T(sleep_lasts_to_its_end_in_spite_of_signals),
    T(sleep_until_a_time_in_the_past_ends_at_once),
    T(a_poll_ends_when_the_descriptor_is_ready_or_at_its_deadline))
