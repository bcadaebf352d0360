/*
 * personal -- what the Server knows of the seller who asks: SERVER_HOST is asked for
 * each of SERVER_CONTEXT_PATHS at the same time, while the database is, and the answers
 * become a few lines for the prompt.
 *
 * An extra, so nothing of it ever fails a chat or holds it up for long. What is not there
 * within AI_CHAT_SERVER_TIMEOUT_MS is left out of the prompt. Its call stays under way
 * for SELLER_API_LATE_US, and the answer is kept for the seller's next question: big shops
 * take seconds. A Server that fails over and over is left alone for a while.
 *
 * What the Server told is used for SELLER_API_KEEP_S. All of it is kept in Redis, by
 * seller_api_copy(). Where something comes late this process keeps it too, and the rest of
 * what that seller's question learned.
 *
 * Threads: a struct seller_api is shared by all; a struct seller_api_ask belongs to one
 * request.
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

/* For so long a call may be under way. */
#define SELLER_API_LATE_US (10 * AIC_S)

/* For so long an answer is used. */
#define SELLER_API_KEEP_S 60

/* One path: its answer is known, or its call is under way, or neither. */
struct seller_api_fact {
	struct aic_http_call *call; /* NULL: none is under way */
	int64_t start_us; /* of the call */
	int64_t at_s; /* Unix time of the answer; 0: none is known */
	bool late; /* it came when nobody waited any more */
	struct aic_seller told;
};

/* A question about one seller; zeroed: none. */
struct seller_api_ask {
	struct seller_api *api; /* NULL: there is none */
	int64_t telegram_id;
	struct seller_api_fact facts[AIC_PATHS_MAX];
	int64_t start_us; /* 0: the Server was not asked */
	uint64_t round; /* of the breaker */
	bool entered; /* and the breaker is to be left */
	bool over; /* nobody waits for it any more */
	bool keep; /* the chat was kept, so Redis may keep its figures */
	bool fresh; /* something is known that no copy has */
	const char *outcome; /* for the log; NULL: the API was not asked */
	int64_t waited_us; /* for the answers */
};

/*
 * seller_api_open -- if there is a SERVER_HOST.
 *
 * http      kept
 * ret_api  NULL on AIC_OK: there is none
 *
 * Errors:   AIC_ENOMEM
 * Memory:   gives; seller_api_close()
 */
enum aic_code
seller_api_open(struct seller_api **ret_api, struct aic_http *http,
    const struct aic_conf *conf, struct aic_err *err) AIC_MUST_CHECK;

/* seller_api_close -- no question may be under way. NULL is fine. */
void seller_api_close(struct seller_api *p);

/* seller_api_calls -- how many calls may be under way at the same moment. */
int seller_api_calls(const struct aic_conf *conf);

/* seller_api_count_in -- count the outcomes of the calls there, from now on. metrics: kept. */
void seller_api_count_in(struct seller_api *api, struct aic_metrics *metrics);

/* seller_api_is_open -- is the Server left alone? NULL is fine. */
bool seller_api_is_open(struct seller_api *p);

/* seller_api_begin -- a question about a seller. api: kept; NULL: nothing is ever known. */
void seller_api_begin(struct seller_api_ask *ask, struct seller_api *api,
    int64_t telegram_id);

/*
 * seller_api_recall -- use a copy that seller_api_copy() made, as far as it is not too
 * old.
 *
 * True: it has the answers of all paths, so that nothing is left to ask.
 */
bool
seller_api_recall(struct seller_api_ask *ask, const char *data, size_t len);

/*
 * seller_api_start -- call every path whose answer is not known yet, unless the circuit
 * breaker is open.
 *
 * Blocks:   never
 * Memory:   gives what is in ask; seller_api_finish()
 */
void seller_api_start(struct seller_api_ask *ask);

/*
 * seller_api_wait -- wait for the calls; the lines for the prompt, or NULL: there are
 * none.
 *
 * until_us  the caller has no time to wait any longer
 *
 * Blocks:   until AI_CHAT_SERVER_TIMEOUT_MS after the start, or until_us
 * Memory:   gives; free()
 */
char *
seller_api_wait(struct seller_api_ask *ask, int64_t until_us) AIC_MUST_CHECK;

/*
 * seller_api_copy -- for Redis: all that is known of the seller, late answers included;
 * NULL: nothing that is new. After seller_api_wait().
 *
 * Memory:   gives; free()
 */
char *
seller_api_copy(struct seller_api_ask *ask, size_t *ret_len) AIC_MUST_CHECK;

/* seller_api_drop -- the chat has ended. If it ended before seller_api_wait(), cancel the
 * calls. */
void seller_api_drop(struct seller_api_ask *ask);

/*
 * seller_api_sweep -- read the answers that came late, whose bodies are much larger than
 * what is kept of them, and drop what no question can use any more. To be called every
 * second, because the sellers may not ask again.
 *
 * Blocks:   about as long as it takes to parse what came since the last call
 */
void seller_api_sweep(struct seller_api *api);

/* seller_api_finish -- the caller has the response: leave calls that are still under way,
 * and late answers, to the seller's next question. */
void seller_api_finish(struct seller_api_ask *ask);

#endif
