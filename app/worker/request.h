/*
 * request -- one HTTP request, from accept() to the log line.
 *
 * The handlers receive a struct request, which holds the input, the response,
 * the fields of the log line, and the work that is deferred until the caller
 * has the response.
 *
 * Threads: each thread has its own request.
 */
#ifndef REQUEST_H
#define REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "app/worker/fcgi.h"
#include "app/worker/seller_api.h"
#include "app/worker/worker.h"
#include "lib/buf.h"
#include "lib/cache.h"
#include "lib/completion.h"
#include "lib/db.h"
#include "lib/err.h"
#include "lib/limit.h"
#include "lib/traceparent.h"

/* The maximum number of values that a request stores in Redis: a refusal, or
 * the context, the seller's data, the answer and an unsaved answer. */
#define REQUEST_PUTS 4

/* The fields of the log line beside the request itself. */
struct request_trace {
	const char *doing; /* the current stage */
	int64_t user; /* telegram_id; 0: not known */
	int64_t db_us; /* in all stages */
	int64_t limit_us, ai_us, save_us; /* in the stage of that name */
	int attempts; /* calls of the model */
	const char *model; /* called last; NULL: the primary, or none */
	int64_t tokens;
	struct aic_completion_usage usage;
};

/* The user's day, for the headers RateLimit-Policy and RateLimit. */
struct request_quota {
	bool known; /* request_set_quota() was called */
	int64_t left; /* chats; 0.. */
	int64_t end_us; /* when the day ends */
};

struct request {
	/* These members stay from one request of the thread to the next. */
	struct worker *worker;
	struct fcgi *fcgi;
	struct aic_buf body; /* of the request */
	struct aic_buf out; /* JSON; written by the handler on AIC_OK */

	/* Set by fcgi_accept() and by the caller of route_run(). */
	struct fcgi_request in;
	int64_t start_us;

	/* All members below are zero when a request begins. */
	int64_t deadline_us;
	int64_t stage_end_us; /* end of the current stage's database time */
	const char *tail; /* the part of the path after the route's own */
	/* The endpoint accepts only an admin key: an action is recorded, and
	 * the response is not for caches. */
	bool by_operator;
	struct aic_traceparent traceparent;

	/* The response. */
	int status; /* 0: the status that reply.c has for the code */
	const char *type; /* content type; NULL: JSON */
	const char *file; /* Nginx sends this file as the body; NULL: none */
	const char *allow; /* the header Allow; with AIC_EMETHOD */
	struct aic_limit_state limit; /* with AIC_ELIMIT, AIC_ECROWD */
	struct request_quota quota;
	/* The answer is that of an earlier request with the same key. */
	bool replayed;
	bool paid_before; /* the answer was paid for by an earlier request */
	/* With AIC_EDB: the outcome of the save is unknown. */
	bool perhaps_saved;

	/* Deferred until the caller has the response. */
	struct aic_cache_put puts[REQUEST_PUTS];
	int n_puts;
	int64_t observed_us; /* when the refusal in puts[0] was observed */
	struct seller_api_query seller;

	struct request_trace trace;
};

/* request_begin -- reset the members of the last request, set the deadline, and
 * read the trace of the caller. */
void request_begin(struct request *rq);

/*
 * request_stage -- begin a stage.
 *
 * All statements of a stage together have AI_CHAT_DB_TIMEOUT_MS, but no longer
 * than until the deadline of the request.
 *
 * doing     for the log line; static
 */
void request_stage(struct request *rq, const char *doing);

/*
 * request_db -- run a batch of statements within the database time of the
 * stage.
 *
 * Errors:   those of aic_db_run()
 * Blocks:   until rq->stage_end_us at most
 */
enum aic_code request_db(struct request *rq, struct aic_db_call *calls, int n,
    struct aic_err *err) AIC_MUST_CHECK;

/*
 * request_set_quota -- note the state of the user's day for the response. Does
 * nothing if there is no daily limit.
 *
 * used        used chats of the day
 * reset_in_s  seconds from now to the end of the day
 */
void request_set_quota(struct request *rq, int64_t used, int64_t reset_in_s);

/*
 * request_defer_put -- store a value in Redis after the caller has the
 * response.
 *
 * data      takes; NULL: nothing is stored
 * ttl_ms    0 or less: nothing is stored
 *
 * Returns the item, whose key the caller sets; NULL: nothing will be stored.
 */
struct aic_cache_put *
request_defer_put(struct request *rq, char *data, size_t len, int64_t ttl_ms);

/*
 * request_run_deferred -- run the deferred work, after the caller has the
 * response.
 *
 * Blocks:   on Redis, for 50 ms at most
 */
void request_run_deferred(struct request *rq);

#endif
