/*
 * seller_api -- the client of the seller-data API, which is at SERVER_HOST.
 *
 * The client requests each of SERVER_CONTEXT_PATHS concurrently, while the
 * database works. The answers become a few lines for the prompt.
 *
 * The seller's data are optional: a failure of this client never fails a chat
 * and never delays a chat by more than AI_CHAT_SERVER_TIMEOUT_MS. The prompt
 * omits what is missing by then. The HTTP call continues for up to
 * SELLER_API_LATE_US, because the API takes seconds for a big shop, and its
 * answer serves the seller's next chat. A circuit breaker opens after
 * consecutive failures.
 *
 * An answer is used for SELLER_API_KEEP_S. seller_api_copy() serialises all
 * answers for Redis. When an answer comes late, this process also keeps that
 * answer, together with the other answers of the same query.
 *
 * Threads: all threads share a struct seller_api; a struct seller_api_query
 * belongs to one request.
 */
#ifndef SELLER_API_H
#define SELLER_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/conf.h"
#include "lib/err.h"
#include "lib/http.h"
#include "lib/paths.h"
#include "lib/seller.h"

struct aic_metrics;
struct seller_api;

/* The maximum duration of an HTTP call. */
#define SELLER_API_LATE_US (10 * AIC_S)

/* The lifetime of an answer. */
#define SELLER_API_KEEP_S 60

/* The state of one path: an answer, or a call in flight, or neither. */
struct seller_api_fetch {
	struct aic_http_call *call; /* NULL: no call is in flight */
	int64_t start_us; /* of the call */
	int64_t at_s; /* Unix time of the answer; 0: there is none */
	bool late; /* the answer came after the wait had ended */
	struct aic_seller data;
};

/* A query about one seller; zeroed: none. */
struct seller_api_query {
	struct seller_api *api; /* NULL: the API is not configured */
	int64_t telegram_id;
	const char *const *headers; /* of the calls, besides the client's own */
	struct seller_api_fetch fetches[AIC_PATHS_MAX];
	int64_t start_us; /* 0: seller_api_start() was not called */
	uint64_t round; /* of the circuit breaker */
	bool entered; /* the circuit breaker waits for the verdict */
	bool waited; /* seller_api_wait() has returned */
	bool storable; /* the chat was saved, so Redis may store the data */
	bool fresh; /* there is an answer that Redis does not have */
	const char *outcome; /* for the log; NULL: the API was not called */
	int64_t waited_us; /* duration of the wait for the answers */
};

/*
 * seller_api_open -- create the client, if SERVER_HOST is set.
 *
 * http      keeps
 * ret_api   NULL on AIC_OK: SERVER_HOST is not set
 *
 * Errors:   AIC_ENOMEM; those of aic_paths_read()
 * Memory:   gives; seller_api_close()
 */
enum aic_code
seller_api_open(struct seller_api **ret_api, struct aic_http *http,
    const struct aic_conf *conf, struct aic_err *err) AIC_MUST_CHECK;

/* seller_api_close -- free the client. No query may be in progress. NULL is
 * accepted. */
void seller_api_close(struct seller_api *p);

/* seller_api_calls -- the maximum number of concurrent calls. */
int seller_api_calls(const struct aic_conf *conf);

/* seller_api_count_in -- count the outcomes of the calls in these metrics from
 * now on. metrics: keeps. */
void seller_api_count_in(struct seller_api *api, struct aic_metrics *metrics);

/* seller_api_is_open -- true while the circuit breaker is open. NULL is
 * accepted. */
bool seller_api_is_open(struct seller_api *p);

/*
 * seller_api_begin -- initialise a query about a seller.
 *
 * api       keeps; NULL: the query never returns data
 * headers   keeps; of the calls of this query, "Name: value", NULL at the end
 */
void seller_api_begin(struct seller_api_query *query, struct seller_api *api,
    int64_t telegram_id, const char *const *headers);

/*
 * seller_api_restore -- use a copy that seller_api_copy() made. Expired answers
 * are ignored.
 *
 * True: the copy has the answers of all paths, so no call is necessary.
 */
bool seller_api_restore(struct seller_api_query *query, const char *data,
    size_t len);

/*
 * seller_api_start -- call every path that has no answer yet, unless the
 * circuit breaker is open.
 *
 * Blocks:   never
 * Memory:   gives what is in query; seller_api_finish()
 */
void seller_api_start(struct seller_api_query *query);

/*
 * seller_api_wait -- wait for the calls, and return the text for the prompt.
 * NULL: there is none.
 *
 * until_us  the wait ends no later than this
 *
 * Blocks:   until AI_CHAT_SERVER_TIMEOUT_MS after the start, or until_us
 * Memory:   gives; free()
 */
char *seller_api_wait(struct seller_api_query *query,
    int64_t until_us) AIC_MUST_CHECK;

/*
 * seller_api_copy -- serialise all answers about the seller for Redis, late
 * answers included. Call this function after seller_api_wait(). NULL: Redis has
 * all answers already.
 *
 * Memory:   gives; free()
 */
char *
seller_api_copy(struct seller_api_query *query, size_t *ret_len) AIC_MUST_CHECK;

/* seller_api_cancel -- end the query of a chat. If the chat ends before
 * seller_api_wait(), the calls are cancelled. */
void seller_api_cancel(struct seller_api_query *query);

/*
 * seller_api_sweep -- parse the late answers, because a body is much larger
 * than the data kept of it, and free expired answers. Call this function every
 * second, because the seller does not always send another question.
 *
 * Blocks:   for the time to parse the answers that arrived since the last call
 */
void seller_api_sweep(struct seller_api *api);

/* seller_api_finish -- end the query after the caller has the response. Calls
 * in flight and late answers are kept for the seller's next query. */
void seller_api_finish(struct seller_api_query *query);

#endif
