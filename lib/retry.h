/*
 * retry -- decide what follows a failed call of the model: another call and
 * when, another model, or an error; and keep the retries of all chats within a
 * budget.
 *
 * The whole rule is one table in retry.c; each of its rows has a test. The time
 * and the random number are parameters.
 *
 *	what failed                              advice
 *	402, a code or a message of no money     another model at once
 *	a country that is not served             another model at once
 *	413 with rate_limit_exceeded             another model at once; if there
 *	                                         is none, again
 *	400, 422 that refuse a parameter         again at once, in another form
 *	408, 409, 429, 5xx                       again; then another model
 *	an error inside a 200                    by its status or its name: a
 *	                                         rate limit, a server's error
 *	an incomplete 200, or one without        again; then another model
 *	any choice
 *	no connection, an incomplete response,   again; then another model
 *	a timeout
 *	a certificate that is not accepted       another model at once
 *	anything else: 400, 401, 403, 404, a     never
 *	filtered or unusable answer
 *
 * Source: observed responses of providers; the tests quote them
 *
 * Threads: any. A budget has its own lock, held for a few instructions.
 */
#ifndef AIC_RETRY_H
#define AIC_RETRY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/clock.h"
#include "lib/http.h"

/*
 * Attempts at one model in one chat, including the first one. A call that is
 * repeated with a new token or in another form is not counted as one more.
 */
#define AIC_RETRY_ATTEMPTS 3

/*
 * The wait before the n-th retry is random, from 0 to a maximum that doubles
 * with each retry.
 */
#define AIC_RETRY_FIRST_US (500 * AIC_MS)
#define AIC_RETRY_MOST_US (8 * AIC_S)

/*
 * A shorter attempt cannot succeed: the fastest answers of a hosted model take
 * about this long.
 */
#define AIC_RETRY_LEAST_US (1 * AIC_S)

/* The outcome of a failed call. */
struct aic_retry_case {
	enum aic_http_end end;
	/*
	 * With AIC_HTTP_ANSWERED: of the response, or of the error inside a
	 * 200.
	 */
	int status;
	const char *code; /* of the error in the body; "": none */
	const char *type;
	const char *message; /* NULL: none */
	bool broken; /* a 200 that is incomplete or has no choice */
	bool refused; /* the model refuses a parameter that has another form */
	bool other; /* another model is left to ask */
};

enum aic_retry_advice {
	AIC_RETRY_NEVER, /* any model would fail, or an operator must act */
	AIC_RETRY_OTHER, /* another model at once, not this one again */
	AIC_RETRY_AGAIN, /* this model; after the last attempt another one */
	AIC_RETRY_RESHAPE, /* at once, without the parameter; does not count */
};

/* The reason, where the metrics cannot derive it from the status. */
enum aic_retry_why {
	AIC_RETRY_BY_STATUS,
	AIC_RETRY_NO_MONEY,
	AIC_RETRY_LIMITED, /* a rate limit */
	AIC_RETRY_BROKEN, /* an error of the server */
};

/* aic_retry_advise -- the advice of the table. ret_why may be NULL. */
enum aic_retry_advice
aic_retry_advise(const struct aic_retry_case *c, enum aic_retry_why *ret_why);

/*
 * aic_retry_same_model -- true when the table advises another attempt at this
 * model.
 */
bool aic_retry_same_model(const struct aic_retry_case *c);

/*
 * aic_retry_other_model -- true when another model may succeed. This includes
 * all cases in which aic_retry_same_model() is true.
 */
bool aic_retry_other_model(const struct aic_retry_case *c);

/*
 * aic_retry_wait -- the time to wait before the next attempt.
 *
 * tried           attempts made, 1..
 * retry_after_us  the server's Retry-After; -1: none
 * left_us         the rest of the model's share of the deadline
 * chance          0 <= chance < 1, random
 *
 * The value is in microseconds; -1: no further attempt, because the maximum is
 * reached or the next attempt could not finish in the time that is left.
 *
 * Source:   AWS Architecture Blog, "Exponential Backoff And Jitter" (full
 *           jitter)
 */
int64_t aic_retry_wait(int tried, int64_t retry_after_us, int64_t left_us,
    double chance);

/* --- the retry budget --------------------------------------------------- */

/*
 * AI_CHAT_RETRY_FLOOR retries in ten seconds are always allowed; beyond them,
 * retries stay below a tenth of the calls.
 *
 * A server that fails occasionally gets all the retries that it needs. Without
 * a budget, a server that is down would receive three times its calls, from all
 * workers at once; with it, a tenth more. Calls and retries are counted over
 * the last ten seconds, and time is a parameter.
 */
#define AIC_RETRY_WINDOW_S 10

/* The counts of one second. */
struct aic_retry_second {
	int64_t second;
	int64_t calls, retries;
};

struct aic_retry_budget {
	pthread_mutex_t lock;
	int64_t floor; /* retries per window that are always allowed */
	/*
	 * One more than the window, because the window begins within a second.
	 */
	struct aic_retry_second seconds[AIC_RETRY_WINDOW_S + 1];
};

/*
 * aic_retry_budget_init -- initialise an empty budget.
 *
 * floor     retries in ten seconds, 0..
 */
void aic_retry_budget_init(struct aic_retry_budget *b, int64_t floor);
void aic_retry_budget_done(struct aic_retry_budget *b);

/* aic_retry_budget_call -- count a call that is not a retry. */
void aic_retry_budget_call(struct aic_retry_budget *b, int64_t now_us);

/* aic_retry_budget_take -- ask for a retry. True: it is allowed and counted. */
bool aic_retry_budget_take(struct aic_retry_budget *b, int64_t now_us);

#endif
