/*
 * route -- from method and path to a handler, and the order of what comes before
 * and after it: key, route, room, body, handler, answer, log line.
 */
#ifndef ROUTE_H
#define ROUTE_H

#include <stdint.h>

#include "lib/auth.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "app/worker/fcgi.h"
#include "lib/limit.h"
#include "app/worker/seller_api.h"
#include "app/worker/chat_cache.h"
#include "app/worker/worker.h"

/* One request from accept to answer, as the handlers see it. */
struct request {
	struct worker *worker;
	struct fcgi *fcgi;
	struct fcgi_request in;
	struct aic_buf body; /* that came */
	const char *tail; /* of the path, behind the route's own */
	int64_t start_us;
	int64_t deadline_us;

	/* The answer. */
	int status; /* 0: what the code says */
	struct aic_buf out; /* JSON; written by the handler on AIC_OK */
	const char *type; /* NULL: JSON */
	const char *allow; /* with AIC_EMETHOD */
	struct aic_limit_state limit; /* with AIC_ELIMIT, AIC_ECROWD */
	bool replayed; /* it is the answer of an earlier request */
	/* With AIC_EDB: the chat may be stored and counted all the same. */
	bool perhaps_saved;
	bool recalled; /* it is the answer to the same question of before */
	struct recall_later later;
	struct seller_api_ask asked; /* of the Server */

	/* The stage. */
	const char *doing; /* for the log */
	int64_t stage_end_us; /* of its database time */

	/* For the log. */
	int64_t user;
	int64_t db_us; /* of all stages */
	int64_t limit_us, ai_us, save_us; /* of each */
	int attempts;
	const char *model; /* that was asked last; NULL: the first, or none */
	int64_t tokens;
	struct aic_completion_usage usage;
	const char *server; /* what the Server said; NULL: not asked */
	int64_t server_us; /* and after how long */
};

typedef enum aic_code route_handler(struct request *rq, struct aic_err *err);

/*
 * route_run -- answer one accepted request and log it.
 *
 * rq        worker, fcgi, in and start_us are set; body and out are
 *           initialised and kept by the caller for the next request
 */
void route_run(struct request *rq);

/* route_names -- of all routes, as metrics call them; static. */
const char *const *route_names(int *ret_n);

/* request_stage -- a stage begins: what it does, and its time at the database,
 * AI_CHAT_DB_TIMEOUT_MS for all of it and no later than the deadline of the request. */
void request_stage(struct request *rq, const char *doing);

/* request_db -- run a batch within the stage's time, which also goes to the log. */
enum aic_code request_db(struct request *rq, struct aic_db_call *calls, int n,
    struct aic_err *err) AIC_MUST_CHECK;

#endif
