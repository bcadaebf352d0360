#include "config.h"

#include "lib/breaker.h"

#include <pthread.h>

#include "lib/clock.h"
#include "unit.h"

#define OPEN_US (10 * AIC_S)
#define CHAT_US (50 * AIC_S)

/* Any time serves as the start. */
#define START (1000 * AIC_S)

static void
set(struct aic_breaker *b, int64_t failures)
{
	aic_breaker_init(b, failures, OPEN_US);
}

/* A call that enters the circuit breaker and leaves it at the same time. */
static enum aic_breaker_change
ask(struct aic_breaker *b, enum aic_breaker_verdict verdict, int64_t now)
{
	uint64_t round;

	assert_int_equal(aic_breaker_enter(b, now, now + CHAT_US, &round), 0);
	return aic_breaker_leave(b, round, verdict, now);
}

static void
trip(struct aic_breaker *b, int64_t now)
{
	set(b, 1);
	assert_int_equal(ask(b, AIC_BREAKER_FAILED, now), AIC_BREAKER_OPENED);
}

static void
refuses(struct aic_breaker *b, int64_t now, int64_t want)
{
	uint64_t round = 4711;

	assert_int_equal(aic_breaker_wait(b, now), want);
	assert_int_equal(aic_breaker_enter(b, now, now + CHAT_US, &round),
	    want);
	assert_int_equal(round, 4711);
}

static void
it_opens_after_exactly_the_configured_number_of_failures_in_a_row(void **state)
{
	static const int64_t runs[] = { 1, 2, 20 };
	struct aic_breaker b;
	int64_t n;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(runs) / sizeof(runs[0]); i++) {
		set(&b, runs[i]);
		for (n = 1; n < runs[i]; n++)
			assert_int_equal(ask(&b, AIC_BREAKER_FAILED, START),
			    AIC_BREAKER_SAME);
		assert_int_equal(aic_breaker_wait(&b, START), 0);
		assert_int_equal(ask(&b, AIC_BREAKER_FAILED, START),
		    AIC_BREAKER_OPENED);
		refuses(&b, START, OPEN_US);
		aic_breaker_done(&b);
	}
}

static void
a_success_ends_the_run_of_failures(void **state)
{
	struct aic_breaker b;
	int i, j;

	(void)state;
	set(&b, 3);
	for (i = 0; i < 5; i++) {
		for (j = 0; j < 2; j++)
			assert_int_equal(ask(&b, AIC_BREAKER_FAILED, START),
			    AIC_BREAKER_SAME);
		assert_int_equal(ask(&b, AIC_BREAKER_WELL, START),
		    AIC_BREAKER_SAME);
	}
	aic_breaker_done(&b);
}

static void
a_neutral_result_neither_counts_nor_ends_the_run(void **state)
{
	struct aic_breaker b;
	int i;

	(void)state;
	set(&b, 2);
	for (i = 0; i < 100; i++)
		assert_int_equal(ask(&b, AIC_BREAKER_NEUTRAL, START),
		    AIC_BREAKER_SAME);
	assert_int_equal(ask(&b, AIC_BREAKER_FAILED, START), AIC_BREAKER_SAME);
	assert_int_equal(ask(&b, AIC_BREAKER_NEUTRAL, START), AIC_BREAKER_SAME);
	assert_int_equal(ask(&b, AIC_BREAKER_FAILED, START),
	    AIC_BREAKER_OPENED);
	aic_breaker_done(&b);
}

static void
with_zero_failures_configured_it_never_opens(void **state)
{
	struct aic_breaker b;
	int i;

	(void)state;
	set(&b, 0);
	for (i = 0; i < 1000; i++)
		assert_int_equal(ask(&b, AIC_BREAKER_FAILED, START),
		    AIC_BREAKER_SAME);
	aic_breaker_done(&b);
}

static void
while_open_it_returns_the_time_to_the_trial(void **state)
{
	struct aic_breaker b;

	(void)state;
	trip(&b, START);
	refuses(&b, START, OPEN_US);
	refuses(&b, START + 1, OPEN_US - 1);
	refuses(&b, START + OPEN_US - 1, 1);
	assert_int_equal(aic_breaker_wait(&b, START + OPEN_US), 0);
	aic_breaker_done(&b);
}

static void
one_trial_is_admitted_and_its_success_closes_it(void **state)
{
	int64_t now = START + OPEN_US;
	struct aic_breaker b;
	uint64_t round;

	(void)state;
	trip(&b, START);
	assert_int_equal(aic_breaker_enter(&b, now, now + CHAT_US, &round), 0);
	refuses(&b, now, 1);
	refuses(&b, now + CHAT_US - 1, 1);
	assert_int_equal(aic_breaker_leave(&b, round, AIC_BREAKER_WELL,
			     now + 1),
	    AIC_BREAKER_CLOSED);
	/* The circuit breaker is as after its initialization. */
	assert_int_equal(ask(&b, AIC_BREAKER_WELL, now + 1), AIC_BREAKER_SAME);
	assert_int_equal(ask(&b, AIC_BREAKER_FAILED, now + 1),
	    AIC_BREAKER_OPENED);
	aic_breaker_done(&b);
}

static void
after_it_has_closed_the_run_of_failures_begins_anew(void **state)
{
	struct aic_breaker b;
	int i;

	(void)state;
	set(&b, 3);
	for (i = 0; i < 3; i++)
		ask(&b, AIC_BREAKER_FAILED, START);
	assert_int_equal(ask(&b, AIC_BREAKER_WELL, START + OPEN_US),
	    AIC_BREAKER_CLOSED);
	for (i = 0; i < 2; i++)
		assert_int_equal(ask(&b, AIC_BREAKER_FAILED, START + OPEN_US),
		    AIC_BREAKER_SAME);
	assert_int_equal(ask(&b, AIC_BREAKER_FAILED, START + OPEN_US),
	    AIC_BREAKER_OPENED);
	aic_breaker_done(&b);
}

static void
a_trial_that_fails_keeps_it_open_for_the_whole_time_again(void **state)
{
	int64_t now = START;
	struct aic_breaker b;
	int i;

	(void)state;
	trip(&b, START);
	for (i = 0; i < 3; i++) {
		now += OPEN_US + 7;
		assert_int_equal(ask(&b, AIC_BREAKER_FAILED, now),
		    AIC_BREAKER_SAME);
		refuses(&b, now, OPEN_US);
	}
	aic_breaker_done(&b);
}

static void
after_a_neutral_trial_the_next_call_is_the_trial(void **state)
{
	int64_t now = START + OPEN_US;
	struct aic_breaker b;

	(void)state;
	trip(&b, START);
	assert_int_equal(ask(&b, AIC_BREAKER_NEUTRAL, now), AIC_BREAKER_SAME);
	assert_int_equal(ask(&b, AIC_BREAKER_NEUTRAL, now), AIC_BREAKER_SAME);
	assert_int_equal(ask(&b, AIC_BREAKER_WELL, now), AIC_BREAKER_CLOSED);
	aic_breaker_done(&b);
}

static void
a_late_failure_does_not_keep_it_open_longer(void **state)
{
	int64_t now = START + OPEN_US;
	uint64_t late[3], trial;
	struct aic_breaker b;
	int i;

	(void)state;
	set(&b, 1);
	for (i = 0; i < 3; i++)
		aic_breaker_enter(&b, START, START + CHAT_US, &late[i]);
	ask(&b, AIC_BREAKER_FAILED, START);
	assert_int_equal(aic_breaker_leave(&b, late[0], AIC_BREAKER_FAILED,
			     START + 5 * AIC_S),
	    AIC_BREAKER_SAME);
	assert_int_equal(aic_breaker_wait(&b, START + 5 * AIC_S),
	    OPEN_US - 5 * AIC_S);

	/* A late success does not end a trial or admit another one either. */
	assert_int_equal(aic_breaker_enter(&b, now, now + CHAT_US, &trial), 0);
	aic_breaker_leave(&b, late[1], AIC_BREAKER_FAILED, now);
	refuses(&b, now, 1);
	aic_breaker_leave(&b, late[2], AIC_BREAKER_NEUTRAL, now);
	refuses(&b, now, 1);
	aic_breaker_done(&b);
}

static void
a_failure_of_a_call_from_before_it_opened_does_not_open_it_again(void **state)
{
	struct aic_breaker b;
	uint64_t late;

	(void)state;
	set(&b, 1);
	aic_breaker_enter(&b, START, START + CHAT_US, &late);
	ask(&b, AIC_BREAKER_FAILED, START);
	ask(&b, AIC_BREAKER_WELL, START + OPEN_US);
	assert_int_equal(aic_breaker_leave(&b, late, AIC_BREAKER_FAILED,
			     START + OPEN_US),
	    AIC_BREAKER_SAME);
	assert_int_equal(aic_breaker_wait(&b, START + OPEN_US), 0);
	aic_breaker_done(&b);
}

static void
a_late_success_closes_it(void **state)
{
	struct aic_breaker b;
	uint64_t late;

	(void)state;
	set(&b, 1);
	aic_breaker_enter(&b, START, START + CHAT_US, &late);
	ask(&b, AIC_BREAKER_FAILED, START);
	assert_int_equal(aic_breaker_leave(&b, late, AIC_BREAKER_WELL,
			     START + 1),
	    AIC_BREAKER_CLOSED);
	assert_int_equal(aic_breaker_wait(&b, START + 1), 0);
	aic_breaker_done(&b);
}

static void
a_trial_that_never_leaves_is_replaced_after_its_deadline(void **state)
{
	int64_t now = START + OPEN_US, end = now + CHAT_US;
	uint64_t lost, trial;
	struct aic_breaker b;

	(void)state;
	trip(&b, START);
	assert_int_equal(aic_breaker_enter(&b, now, end, &lost), 0);
	refuses(&b, end - 1, 1);
	assert_int_equal(aic_breaker_enter(&b, end, end + CHAT_US, &trial), 0);

	/* The trial leaves after all; the other trial goes on undisturbed. */
	aic_breaker_leave(&b, lost, AIC_BREAKER_NEUTRAL, end);
	refuses(&b, end, 1);
	aic_breaker_leave(&b, lost, AIC_BREAKER_FAILED, end);
	refuses(&b, end, 1);
	assert_int_equal(aic_breaker_leave(&b, trial, AIC_BREAKER_FAILED,
			     end + 1),
	    AIC_BREAKER_SAME);
	refuses(&b, end + 1, OPEN_US);
	aic_breaker_done(&b);
}

/* --- many threads ------------------------------------------------------- */

#define THREADS 16
#define TRIALS 2000

static struct {
	struct aic_breaker b;
	pthread_barrier_t barrier;
	int entered[TRIALS];
	int opened;
} shared;

static void *
try_together(void *arg)
{
	int64_t now = START;
	uint64_t round;
	int i;

	(void)arg;
	for (i = 0; i < TRIALS; i++) {
		now += OPEN_US;
		pthread_barrier_wait(&shared.barrier);
		round = 0;
		if (aic_breaker_enter(&shared.b, now, now + CHAT_US, &round) ==
		    0)
			__atomic_add_fetch(&shared.entered[i], 1,
			    __ATOMIC_SEQ_CST);
		pthread_barrier_wait(&shared.barrier);
		if (round > 0)
			aic_breaker_leave(&shared.b, round, AIC_BREAKER_FAILED,
			    now);
	}
	return NULL;
}

static void *
fail_together(void *arg)
{
	int i;

	(void)arg;
	for (i = 0; i < TRIALS; i++)
		if (aic_breaker_leave(&shared.b, 0, AIC_BREAKER_FAILED,
			START) == AIC_BREAKER_OPENED)
			__atomic_add_fetch(&shared.opened, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static void
run_threads(void *(*run)(void *))
{
	pthread_t threads[THREADS];
	int i;

	for (i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, run, NULL),
		    0);
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

static void
of_many_calls_at_once_one_is_the_trial(void **state)
{
	int i;

	(void)state;
	trip(&shared.b, START);
	pthread_barrier_init(&shared.barrier, NULL, THREADS);
	run_threads(try_together);
	for (i = 0; i < TRIALS; i++)
		assert_int_equal(shared.entered[i], 1);
	pthread_barrier_destroy(&shared.barrier);
	aic_breaker_done(&shared.b);
}

static void
many_failures_at_once_open_it_once(void **state)
{
	(void)state;
	set(&shared.b, THREADS * TRIALS);
	run_threads(fail_together);
	assert_int_equal(shared.opened, 1);
	refuses(&shared.b, START, OPEN_US);
	aic_breaker_done(&shared.b);
}

UNIT_MAIN(T(it_opens_after_exactly_the_configured_number_of_failures_in_a_row),
    T(a_success_ends_the_run_of_failures),
    T(a_neutral_result_neither_counts_nor_ends_the_run),
    T(with_zero_failures_configured_it_never_opens),
    T(while_open_it_returns_the_time_to_the_trial),
    T(one_trial_is_admitted_and_its_success_closes_it),
    T(after_it_has_closed_the_run_of_failures_begins_anew),
    T(a_trial_that_fails_keeps_it_open_for_the_whole_time_again),
    T(after_a_neutral_trial_the_next_call_is_the_trial),
    T(a_late_failure_does_not_keep_it_open_longer),
    T(a_failure_of_a_call_from_before_it_opened_does_not_open_it_again),
    T(a_late_success_closes_it),
    T(a_trial_that_never_leaves_is_replaced_after_its_deadline),
    T(of_many_calls_at_once_one_is_the_trial),
    T(many_failures_at_once_open_it_once))
