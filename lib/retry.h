/*
 * retry -- what to do after a failed call of the model: call it again, and when; ask
 * another model; or give up.
 *
 * The whole rule is one table, in retry.c; every row of it has a test. Time and
 * chance come in as parameters.
 *
 *	what failed                              advice
 *	402, a code or a message of no money     another model at once
 *	a country that is not served             another model at once
 *	413 with rate_limit_exceeded             another model at once; where there is
 *	                                         none, again
 *	400, 422 that refuse a parameter         again at once, in another form
 *	408, 409, 429, 5xx                       again; then another model
 *	an error inside a 200                    as the status that it says, or by its
 *	                                         name: a rate limit, a server's fault
 *	a 200 that broke off, or is without      again; then another model
 *	any choice
 *	no connection, no whole answer, time     again; then another model
 *	a certificate that is not accepted       another model at once
 *	anything else: 400, 401, 403, 404, a     never
 *	filtered or unusable answer
 *
 * Source: what providers were seen to answer; the tests quote them
 */
#ifndef AIC_RETRY_H
#define AIC_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/clock.h"
#include "lib/http.h"

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
	/* With AIC_HTTP_ANSWERED: of the answer, or of the error inside a 200. */
	int status;
	const char *code; /* of the error in the body; "" when there is none */
	const char *type;
	const char *message; /* NULL: none */
	bool broken; /* a 200 that broke off, or is without any choice */
	bool refused; /* it refuses a parameter that has another form */
	bool other; /* another model could be asked */
};

enum aic_retry_advice {
	AIC_RETRY_NEVER, /* any model would answer so, or an operator must act */
	AIC_RETRY_OTHER, /* not this model again, but another one at once */
	AIC_RETRY_AGAIN, /* this model; after the last attempt another one */
	AIC_RETRY_RESHAPE, /* at once, without the parameter, as no attempt */
};

/* The reason, as far as metrics tell it from the status. */
enum aic_retry_why {
	AIC_RETRY_BY_STATUS,
	AIC_RETRY_NO_MONEY,
	AIC_RETRY_LIMITED, /* a rate limit */
	AIC_RETRY_BROKEN, /* a server's fault */
};

/* aic_retry_advise -- what the table says. ret_why may be NULL. */
enum aic_retry_advice
aic_retry_advise(const struct aic_retry_case *c, enum aic_retry_why *ret_why);

/* aic_retry_worth -- does the table say to try again? */
bool aic_retry_worth(const struct aic_retry_case *c);

/* aic_retry_other -- does it say that another model may do better? True for all
 * that is worth another try, too. */
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
