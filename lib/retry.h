/*
 * retry -- whether a failed call of the model is worth another one, and when.
 *
 * The whole rule is one table, in retry.c; every row of it has a test. Time and
 * chance come in as parameters.
 */
#ifndef AIC_RETRY_H
#define AIC_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "clock.h"
#include "http.h"

/* Calls of one model in one chat, the first included. */
#define AIC_RETRY_ATTEMPTS 3

/* The wait before the n-th retry is drawn from 0 to twice the one before. */
#define AIC_RETRY_FIRST_US (500 * AIC_MS)
#define AIC_RETRY_MOST_US (8 * AIC_S)

/* An attempt with less time than this cannot finish: the fastest answers of a
 * hosted model take about as long. */
#define AIC_RETRY_LEAST_US (1 * AIC_S)

/* What a failed call was. */
struct aic_retry_case {
	enum aic_http_end end;
	int status; /* with AIC_HTTP_ANSWERED */
	const char *code; /* of the error in the body; "" when there is none */
	const char *type;
};

/* aic_retry_worth -- does the table say to try again? */
bool aic_retry_worth(const struct aic_retry_case *c);

/* aic_retry_other -- does it say that another model may do better? True for all
 * that is worth another try, and for a quota that is used up. */
bool aic_retry_other(const struct aic_retry_case *c);

/*
 * aic_retry_wait -- how long to wait before the next attempt.
 *
 * tried     attempts made, 1..
 * retry_after_us  what the server asked for; -1: nothing
 * left_us   of the model's share of the deadline
 * chance    0 <= chance < 1
 *
 * The value is in microseconds; -1: there is to be no further attempt, because
 * there were enough or the next one could not finish in what is left.
 *
 * Source:   AWS Architecture Blog, "Exponential Backoff And Jitter" (full jitter)
 */
int64_t aic_retry_wait(int tried, int64_t retry_after_us, int64_t left_us,
    double chance);

#endif
