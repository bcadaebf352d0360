/*
 * request -- one HTTP request, from the accept to the log line.
 *
 * The handlers receive a struct request. It carries what came in, what goes out, what the
 * log line needs, and the work that is deferred until the caller has the response.
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

/* A request stores at most this many values in Redis: a refusal, or the context, the
 * seller's data and the answer; and an unsaved answer. */
#define REQUEST_PUTS 4

/* What the log line of a request says, besides the request itself. */
struct request_trace {
	const char *doing; /* the current stage */
	int64_t user; /* telegram_id; 0: not known */
	int64_t db_us; /* of all stages */
	int64_t limit_us, ai_us, save_us; /* of the stage of that name */
	int attempts; /* calls of a model */
	const char *model; /* the last one called; NULL: the primary, or none */
	int64_t tokens;
	struct aic_completion_usage usage;
};

struct request {
	/* These stay from one request of the thread to the next. */
	struct worker *worker;
	struct fcgi *fcgi;
	struct aic_buf body; /* of the request */
	struct aic_buf out; /* JSON; written by the handler on AIC_OK */

	/* Set by fcgi_accept() and by its caller. */
	struct fcgi_request in;
	int64_t start_us;

	/* All below is zero when a request begins. */
	int64_t deadline_us;
	int64_t stage_end_us; /* of the database time of the current stage */
	const char *tail; /* of the path, behind the route's own */

	/* The response. */
	int status; /* 0: as the code says */
	const char *type; /* NULL: JSON */
	const char *allow; /* with AIC_EMETHOD */
	struct aic_limit_state limit; /* with AIC_ELIMIT, AIC_ECROWD */
	bool replayed; /* the answer of an earlier request with the same key */
	bool recalled; /* an answer that was paid for before */
	bool
	    perhaps_saved; /* with AIC_EDB: the outcome of the save is unknown */

	/* Deferred until the caller has the response. */
	struct aic_cache_put puts[REQUEST_PUTS];
	int n_puts;
	int64_t observed_us; /* when the refusal in puts[0] was observed */
	struct seller_api_ask seller;

	struct request_trace trace;
};

/* request_begin -- reset what the last request of this thread left, and set the
 * deadline. */
void request_begin(struct request *rq);

/*
 * request_stage -- begin a stage.
 *
 * Its time at the database is AI_CHAT_DB_TIMEOUT_MS for all its statements together, and
 * ends no later than the deadline of the request.
 *
 * doing     for the log; static
 */
void request_stage(struct request *rq, const char *doing);

/*
 * request_db -- run a batch of statements within the time of the stage.
 *
 * Errors:   those of aic_db_run()
 * Blocks:   until rq->stage_end_us at most
 */
enum aic_code request_db(struct request *rq, struct aic_db_call *calls, int n,
    struct aic_err *err) AIC_MUST_CHECK;

/*
 * request_defer_put -- store a value in Redis once the caller has the response.
 *
 * data      taken; NULL does nothing
 * ttl_ms    at 0 or less, nothing is stored
 *
 * The value is the place for the key, or NULL: nothing will be stored.
 */
struct aic_cache_put *
request_defer_put(struct request *rq, char *data, size_t len, int64_t ttl_ms);

/*
 * request_run_deferred -- do the deferred work. The caller has the response already.
 *
 * Blocks:   on Redis, for 50 ms at most
 */
void request_run_deferred(struct request *rq);

#endif
