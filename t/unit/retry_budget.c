#include "config.h"

#include "lib/retry.h"

#include <pthread.h>

#include "lib/clock.h"
#include "unit.h"

#define WINDOW_US (AIC_RETRY_WINDOW_S * AIC_S)

/* Any time serves as the start; this one is not the beginning of a second. */
#define START (1000 * AIC_S + 300 * AIC_MS)

static void
call(struct aic_retry_budget *b, int n, int64_t now)
{
	while (n-- > 0)
		aic_retry_budget_call(b, now);
}

/* How many of the wanted retries the budget grants now. */
static int
retries(struct aic_retry_budget *b, int wanted, int64_t now)
{
	int n = 0;

	while (wanted-- > 0)
		n += aic_retry_budget_take(b, now);
	return n;
}

static void
with_few_calls_there_are_as_many_retries_as_the_floor(void **state)
{
	static const int floors[] = { 0, 1, 10, 1000 };
	struct aic_retry_budget b;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(floors) / sizeof(floors[0]); i++) {
		aic_retry_budget_init(&b, floors[i]);
		call(&b, 5, START);
		assert_int_equal(retries(&b, 2000, START), floors[i]);
		aic_retry_budget_done(&b);
	}
}

static void
with_many_calls_retries_stay_under_a_tenth(void **state)
{
	static const struct {
		int calls, floor, want;
	} rows[] = { { 10, 0, 0 }, { 11, 0, 1 }, { 20, 0, 1 }, { 21, 0, 2 },
		{ 1000, 0, 99 }, { 1001, 0, 100 }, { 100, 10, 10 },
		{ 111, 10, 11 }, { 1001, 10, 100 }, { 1001, 1000, 1000 } };
	struct aic_retry_budget b;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		aic_retry_budget_init(&b, rows[i].floor);
		call(&b, rows[i].calls, START);
		assert_int_equal(retries(&b, 2000, START), rows[i].want);
		aic_retry_budget_done(&b);
	}
}

static void
each_further_call_allows_a_tenth_of_a_retry(void **state)
{
	int i, n = 0;
	struct aic_retry_budget b;

	(void)state;
	aic_retry_budget_init(&b, 0);
	for (i = 0; i < 1000; i++) {
		aic_retry_budget_call(&b, START + i * AIC_MS);
		n += retries(&b, 3, START + i * AIC_MS);
		assert_true(n * 10 < i + 1 || n == 0);
	}
	assert_int_equal(n, 99);
	aic_retry_budget_done(&b);
}

static void
a_refused_retry_is_not_counted(void **state)
{
	struct aic_retry_budget b;

	(void)state;
	aic_retry_budget_init(&b, 1);
	assert_int_equal(retries(&b, 1000, START), 1);
	call(&b, 21, START);
	assert_int_equal(retries(&b, 1000, START), 1);
	aic_retry_budget_done(&b);
}

static void
after_the_window_the_floor_is_available_again(void **state)
{
	struct aic_retry_budget b;
	int64_t now = START;
	int i;

	(void)state;
	aic_retry_budget_init(&b, 10);
	for (i = 0; i < 5; i++) {
		assert_int_equal(retries(&b, 50, now), 10);
		assert_int_equal(retries(&b, 50, now + 5 * AIC_S), 0);
		/* No more than the floor within any ten seconds. */
		assert_int_equal(retries(&b, 50, now + WINDOW_US - 1), 0);
		/*
		 * The window drops whole seconds, so the first one lasts up to
		 * a second more.
		 */
		now += WINDOW_US + AIC_S;
	}
	aic_retry_budget_done(&b);
}

static void
calls_from_before_the_window_allow_no_retries(void **state)
{
	struct aic_retry_budget b;

	(void)state;
	aic_retry_budget_init(&b, 0);
	call(&b, 1001, START);
	assert_int_equal(retries(&b, 1, START + WINDOW_US - AIC_S), 1);
	assert_int_equal(retries(&b, 1, START + WINDOW_US + AIC_S), 0);
	assert_int_equal(retries(&b, 1, START + 1000 * WINDOW_US), 0);
	aic_retry_budget_done(&b);
}

static void
the_whole_window_counts_and_not_only_the_last_second(void **state)
{
	struct aic_retry_budget b;
	int i;

	(void)state;
	aic_retry_budget_init(&b, 0);
	for (i = 0; i < 10; i++)
		call(&b, 100, START + i * AIC_S);
	assert_int_equal(retries(&b, 200, START + 9 * AIC_S), 99);
	aic_retry_budget_done(&b);
}

/* --- many threads ------------------------------------------------------- */

#define THREADS 16
#define EACH 1000

static struct {
	struct aic_retry_budget b;
	int allowed;
} shared;

static void *
ask_together(void *arg)
{
	int n;

	(void)arg;
	call(&shared.b, EACH, START);
	n = retries(&shared.b, EACH, START);
	__atomic_add_fetch(&shared.allowed, n, __ATOMIC_SEQ_CST);
	return NULL;
}

static void
many_threads_at_once_do_not_overdraw_it(void **state)
{
	pthread_t threads[THREADS];
	int i;

	(void)state;
	aic_retry_budget_init(&shared.b, 0);
	for (i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask_together,
				     NULL),
		    0);
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_true(shared.allowed * 10 < THREADS * EACH);
	shared.allowed += retries(&shared.b, THREADS * EACH, START);
	assert_int_equal(shared.allowed, THREADS * EACH / 10 - 1);
	aic_retry_budget_done(&shared.b);
}

UNIT_MAIN(T(with_few_calls_there_are_as_many_retries_as_the_floor),
    T(with_many_calls_retries_stay_under_a_tenth),
    T(each_further_call_allows_a_tenth_of_a_retry),
    T(a_refused_retry_is_not_counted),
    T(after_the_window_the_floor_is_available_again),
    T(calls_from_before_the_window_allow_no_retries),
    T(the_whole_window_counts_and_not_only_the_last_second),
    T(many_threads_at_once_do_not_overdraw_it))
