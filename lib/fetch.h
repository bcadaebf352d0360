/*
 * fetch -- GETs that are under way while their caller does something else.
 *
 * One thread carries all of them out and keeps a few connections for the next
 * ones, so that a caller holds neither a handle nor a connection. All that is said
 * in http.h holds for them.
 *
 * Threads: any may start, wait for and drop calls. The one thread is made by
 * aic_fetch_open(), with the signals blocked that its caller has blocked.
 */
#ifndef AIC_FETCH_H
#define AIC_FETCH_H

#include <stdint.h>

#include "err.h"
#include "http.h"

struct aic_fetch;
struct aic_fetch_call;

struct aic_fetch_conf {
	const char *const *headers; /* of each; kept, NULL at the end */
	int calls_max; /* under way at once */
	size_t answer_max; /* bytes */
};

/*
 * aic_fetch_open -- aic_http_init() must have been called.
 *
 * Errors:   AIC_ENOMEM
 * Memory:   gives; aic_fetch_close()
 */
enum aic_code aic_fetch_open(struct aic_fetch **ret_fetch,
    const struct aic_fetch_conf *conf, struct aic_err *err) AIC_MUST_CHECK;

/* aic_fetch_close -- end the thread, and all calls with it, at once; none may be
 * waited for any more, nor be dropped afterwards. NULL is fine. */
void aic_fetch_close(struct aic_fetch *f);

/*
 * aic_fetch_start -- hand a call over.
 *
 * url          copied
 * deadline_us  for everything, name resolution included
 *
 * Errors:   NULL: as many as may be are under way, or no memory
 * Memory:   gives; aic_fetch_drop()
 */
struct aic_fetch_call *aic_fetch_start(struct aic_fetch *f, const char *url,
    int64_t deadline_us) AIC_MUST_CHECK;

/*
 * aic_fetch_wait -- for the answer, until the call's deadline or until_us.
 *
 * ret_took_us  set when there is an answer: from the start to its end
 *
 * The value belongs to the call; NULL: it is not there yet.
 *
 * Blocks:   as said, whatever libcurl and its resolver do meanwhile
 */
const struct aic_http_answer *aic_fetch_wait(struct aic_fetch_call *call,
    int64_t until_us, int64_t *ret_took_us) AIC_MUST_CHECK;

/* aic_fetch_drop -- the caller is done with it; what is under way is ended. NULL
 * is fine. */
void aic_fetch_drop(struct aic_fetch_call *call);

#endif
