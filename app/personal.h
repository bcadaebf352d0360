/*
 * personal -- what the Server knows of the seller who asks: SERVER_HOST is asked while
 * the database is, and its answer is put into a few lines for the prompt.
 *
 * An extra, so nothing of it ever fails a chat or holds it up for long: without an
 * answer in 800 ms there are no such lines, and a Server that fails over and over is
 * left alone for a while.
 *
 * Threads: a struct personal is shared by all.
 */
#ifndef PERSONAL_H
#define PERSONAL_H

#include <stdbool.h>
#include <stdint.h>

#include "conf.h"
#include "err.h"
#include "http.h"

struct job;
struct personal;

/* A question to the Server that is under way; zeroed: none is. */
struct personal_ask {
	struct aic_http_call *call;
	int64_t start_us;
	uint64_t round; /* of the breaker */
	bool known; /* the Server has told, be it that there is nothing */
};

/*
 * personal_open -- if there is a SERVER_HOST.
 *
 * http      kept
 * ret_personal  NULL on AIC_OK: there is none
 *
 * Errors:   AIC_ENOMEM
 * Memory:   gives; personal_close()
 */
enum aic_code personal_open(struct personal **ret_personal,
    struct aic_http *http, const struct aic_conf *conf,
    struct aic_err *err) AIC_MUST_CHECK;

/* personal_close -- no question may be under way. NULL is fine. */
void personal_close(struct personal *p);

/* personal_is_open -- is the Server left alone? NULL is fine. */
bool personal_is_open(struct personal *p);

/*
 * personal_start -- ask of job->user, unless there is no Server or it is left alone.
 *
 * Blocks:   never
 * Memory:   gives ask->call; personal_get() or personal_drop()
 */
void personal_start(struct job *job, struct personal_ask *ask);

/*
 * personal_get -- the lines, or NULL: there are none.
 *
 * until_us  there is no time to wait any longer
 *
 * Blocks:   until 800 ms after the start, or until_us
 * Memory:   gives; free()
 */
char *personal_get(struct job *job, struct personal_ask *ask,
    int64_t until_us) AIC_MUST_CHECK;

/* personal_drop -- nobody wants to know any more; if one is under way. */
void personal_drop(struct job *job, struct personal_ask *ask);

#endif
