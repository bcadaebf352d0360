/*
 * worker -- the state of the process that outlives a request: settings, the
 * database pool, the clients of the model and of the seller-data API, the
 * cache, and the counts of the requests in flight.
 *
 * Threads: shared by all threads.
 */
#ifndef WORKER_H
#define WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "app/worker/seller_api.h"
#include "app/worker/unsaved.h"
#include "lib/breaker.h"
#include "lib/buf.h"
#include "lib/cache.h"
#include "lib/conf.h"
#include "lib/db.h"
#include "lib/err.h"
#include "lib/http.h"
#include "lib/id.h"
#include "lib/log.h"
#include "lib/metrics.h"
#include "lib/openai.h"
#include "lib/prompt.h"

#define WORKER_SERVICE "ai_chat"

/* Threads in addition to those for chats, so that a cheap request, or the
 * response that all slots are in use, never waits for a chat. The last two
 * threads serve only requests that take no slot: health, readiness, metrics and
 * refusals. Readiness waits for the database for a second at most. */
#define WORKER_SPARE 8
#define WORKER_LAST 2

/* The circuit breaker of saves opens after so many consecutive failures, and
 * then admits one chat as a trial each WORKER_SAVES_OPEN_MS. */
#define WORKER_SAVES_FAILED 3
#define WORKER_SAVES_OPEN_MS 5000

/* The kind of slot that a request takes. The comment says for how long. */
enum worker_slot {
	WORKER_SLOT_NONE, /* takes no slot */
	WORKER_SLOT_DB, /* milliseconds, or the timeout of the database */
	WORKER_SLOT_CHAT, /* seconds */
};

/* The maximum number of releases that wait for the database. If there are more,
 * the reservations of the others lapse. */
#define WORKER_RELEASES 256

/* A reservation that possibly exists in the database, because the statement
 * that reserves, or the one that releases, got no answer. */
struct worker_release {
	int64_t user;
	char chat_id[AIC_ID_SIZE];
	int64_t lapses_us;
};

/* The maximum number of cache resets that wait for Redis. If there are more,
 * the cached refusals of the other users expire after AIC_CACHE_KEYS_USED_MS.
 */
#define WORKER_RESETS 64

struct worker_reset {
	int64_t user;
	int64_t until_us; /* then the refusal has expired */
};

/* The last probe of the database by worker_probe(), which all callers share. */
struct worker_probe {
	pthread_mutex_t lock;
	pthread_cond_t over;
	bool running; /* one thread runs the probe */
	int64_t ended_us; /* when the last probe ended; 0: there was none */
	enum aic_code code;
	struct aic_err why; /* the reason, if the probe failed */
};

/* The check of the schema by worker_schema_ok(). One thread runs the check, and
 * the threads that come meanwhile share its result. Without that, many first
 * chats at once would each run the check. */
struct worker_schema_check {
	pthread_mutex_t lock;
	pthread_cond_t over;
	bool running;
	unsigned checks; /* number of checks that have ended */
	enum aic_code code; /* of the last check */
	struct aic_err why; /* the reason, if the check failed */
};

struct worker {
	struct aic_conf conf;
	struct aic_db *db;
	/*
	 * For the sums of operators and for erasures, which take long: a batch
	 * in `db' would hold up the chats that share its trip. NULL: no admin
	 * key.
	 */
	struct aic_db *background_db;
	struct aic_http *http;
	struct aic_openai *openai;
	struct aic_cache *cache; /* NULL: not configured */
	/* All that an answer of the model depends on; NULL: answers are not
	 * cached. */
	char *model_description;
	struct seller_api *seller_api; /* NULL: not configured */
	struct aic_prompt prompt;
	struct aic_metrics *metrics;
	struct aic_breaker saves; /* see save_chat_admit() */
	_Atomic int64_t saved_us; /* when a save succeeded last */
	_Atomic int64_t hung_user; /* of the last save without an answer */
	struct unsaved *unsaved;
	struct aic_buf openapi; /* the document /openapi.json */

	pthread_mutex_t lock;
	int chats; /* in flight */
	int others; /* WORKER_SLOT_DB, in flight */
	int waiters; /* the chats that wait for another chat */
	struct worker_release releases[WORKER_RELEASES];
	int n_releases;
	struct worker_reset resets[WORKER_RESETS];
	int n_resets;
	enum aic_cache_state cache_logged; /* the state in the last log line */
	char cache_why[AIC_CACHE_WHY];

	atomic_bool schema_ok; /* the result of worker_schema_ok() */
	atomic_bool durability_checked; /* check_durability() has run */
	struct worker_schema_check schema_check;
	struct worker_probe probe;
};

/*
 * worker_open -- create the worker from the settings. The database need not be
 * up.
 *
 * conf      takes, whatever the outcome
 *
 * Errors:   AIC_ECONF, AIC_ENOMEM
 */
enum aic_code worker_open(struct worker *w, struct aic_conf *conf,
    struct aic_err *err) AIC_MUST_CHECK;

/*
 * worker_open_metrics -- open the metrics, which only a serving worker needs.
 *
 * routes    keeps
 *
 * Errors:   AIC_ECONF, AIC_ENOMEM
 */
enum aic_code worker_open_metrics(struct worker *w, const char *const *routes,
    int n_routes, struct aic_err *err) AIC_MUST_CHECK;

/* worker_close -- free the worker, also one that was not opened completely. */
void worker_close(struct worker *w);

/*
 * worker_check -- check that the database can be reached and is writable, that
 * the migrations have run, that the database has the configured time zone, and
 * that the role may run the statements of a chat.
 *
 * Errors:   AIC_EDB, AIC_ECONF
 * Blocks:   for AI_CHAT_DB_TIMEOUT_MS at most
 */
enum aic_code
worker_check(struct worker *w, struct aic_err *err) AIC_MUST_CHECK;

/*
 * worker_schema_ok -- check that the schema is recent enough, before a chat is
 * paid for that could not be saved. A positive result is cached.
 *
 * Errors:   AIC_EDB
 */
enum aic_code worker_schema_ok(struct worker *w, int64_t deadline_us,
    struct aic_err *err) AIC_MUST_CHECK;

/*
 * worker_probe -- probe whether a chat could be reserved and saved now.
 *
 * The probe runs the statements of a chat with parameters for which the
 * statements find no row. So a revoked privilege, a missing column and a
 * read-only server are detected, and stale prepared statements are prepared
 * again. Nothing is written.
 *
 * Callers need no key and can call as often as they like, so one thread at a
 * time runs a probe. The other threads use the last result, or wait for the
 * running probe when the last result is older than two seconds.
 *
 * level     of the log line of a failed probe, one line for each probe
 *
 * Errors:   AIC_EDB
 * Blocks:   on the database, for READY_US at most; two round trips
 */
enum aic_code
worker_probe(struct worker *w, enum aic_level level, struct aic_err *err);

/* worker_enter_wait, worker_leave_wait -- begin and end the wait for another
 * chat of the same key. At most half of the slots may wait. Errors:
 * AIC_EBUSY. */
enum aic_code
worker_enter_wait(struct worker *w, struct aic_err *err) AIC_MUST_CHECK;
void worker_leave_wait(struct worker *w);

/* worker_release_later -- queue the release of a reservation that possibly
 * exists. worker_release_all() releases the reservation when the database
 * answers. lapses_us: from then on a release is pointless. */
void worker_release_later(struct worker *w, int64_t user, const char *chat_id,
    int64_t lapses_us);

/* worker_release_all -- run the queued releases. Blocks: on the database, for a
 * second at most. */
void worker_release_all(struct worker *w);

/* worker_check_cache -- log a warning if Redis does not work. A worker serves
 * without Redis. Blocks: for a second at most. */
void worker_check_cache(struct worker *w);

/* worker_reset -- drop the cached refusal of a user. If Redis does not answer,
 * worker_reset_all() repeats that later. Blocks: for 100 ms at most. */
void worker_reset(struct worker *w, int64_t user);
void worker_reset_all(struct worker *w);

/* worker_keep_warm -- keep a connection to the model open, if the settings say
 * so, and log when the model cannot be reached. Blocks: never. */
void worker_keep_warm(struct worker *w);

/* worker_update_gauges -- refresh the gauges, and log a change in the state of
 * Redis. */
void worker_update_gauges(struct worker *w);

/* worker_threads -- the number of threads that serve requests. */
int worker_threads(const struct worker *w);

/* worker_enter, worker_leave -- acquire and release a slot for a request.
 * Errors: AIC_EBUSY. */
enum aic_code worker_enter(struct worker *w, enum worker_slot slot,
    struct aic_err *err) AIC_MUST_CHECK;
void worker_leave(struct worker *w, enum worker_slot slot);

#endif
