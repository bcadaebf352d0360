/*
 * worker -- what outlives a request: settings, the database pool, the model, the
 * rules, and the count of what is under way.
 *
 * Threads: shared by all.
 */
#ifndef WORKER_H
#define WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "app/worker/seller_api.h"
#include "app/worker/unsaved.h"
#include "lib/breaker.h"
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

/* Threads besides those for chats, so that a cheap request, or the word that
 * there is no room, never waits behind chats. The last ones are for what needs
 * neither model nor database. */
#define WORKER_SPARE 8
#define WORKER_LAST 2

/* After so many saves in a row that failed, one chat is tried each so many
 * milliseconds. */
#define WORKER_SAVES_FAILED 3
#define WORKER_SAVES_OPEN_MS 5000

/* What a request will need for a while. */
enum worker_room {
	WORKER_ROOM_NONE, /* answered at once */
	WORKER_ROOM_DB, /* a few milliseconds, or the database's timeout */
	WORKER_ROOM_CHAT, /* seconds */
};

/* Reservations that could not be given back; more of them lapse. */
#define WORKER_RELEASES 256

/* One that may be left in the database, when it did not answer. */
struct worker_release {
	int64_t user;
	char chat_id[AIC_ID_SIZE];
	int64_t lapses_us;
};

/* Users whose reset Redis did not hear of; more of them wait for a minute. */
#define WORKER_RESETS 64

struct worker_reset {
	int64_t user;
	int64_t until_us; /* it matters */
};

/* What the last look at the database found, for all who ask whether it is there. */
struct worker_look {
	pthread_mutex_t lock;
	pthread_cond_t over;
	bool looking; /* one thread does */
	int64_t looked_us; /* when the last look ended; 0: there was none */
	enum aic_code code;
	struct aic_err why; /* when it failed */
};

/* One thread finds out whether the database fits; those that come meanwhile share what it
 * finds. A crowd of first chats would else be a crowd of looks. */
struct worker_fit {
	pthread_mutex_t lock;
	pthread_cond_t over;
	bool trying;
	unsigned tries; /* that have ended */
	enum aic_code code; /* of the last */
	struct aic_err why; /* when it failed */
};

struct worker {
	struct aic_conf conf;
	struct aic_db *db;
	struct aic_http *http;
	struct aic_openai *openai;
	struct aic_cache *cache; /* NULL: none */
	char *asked_how; /* the model; NULL: no answer is kept */
	struct seller_api *seller_api; /* NULL: there is no Server */
	struct aic_prompt prompt;
	struct aic_metrics *metrics;
	struct aic_breaker saves; /* see save_chat_admit() */
	_Atomic int64_t saved_us; /* when a save succeeded last */
	_Atomic int64_t hung_user; /* whose save did not end, the last one */
	struct unsaved *unsaved;

	pthread_mutex_t lock;
	int chats; /* under way */
	int others; /* of WORKER_ROOM_DB, likewise */
	int waiters; /* of the chats, those that wait for another one */
	struct worker_release drops[WORKER_RELEASES];
	int n_drops;
	struct worker_reset resets[WORKER_RESETS];
	int n_resets;
	enum aic_cache_state cache_told; /* what the log says of the cache */
	char cache_why[AIC_CACHE_WHY];

	atomic_bool fits; /* worker_schema_ok() has said so */
	atomic_bool durability_checked; /* and logged, where it is wanting */
	struct worker_fit fit;
	struct worker_look look;
};

/*
 * worker_open -- set up from settings. The database may be away.
 *
 * conf      taken, whatever the outcome
 *
 * Errors:   AIC_ECONF, AIC_ENOMEM
 */
enum aic_code worker_open(struct worker *w, struct aic_conf *conf,
    struct aic_err *err) AIC_MUST_CHECK;

/*
 * worker_open_metrics -- the same for what only a worker that serves has.
 *
 * routes    kept
 *
 * Errors:   AIC_ECONF, AIC_ENOMEM
 */
enum aic_code worker_open_metrics(struct worker *w, const char *const *routes,
    int n_routes, struct aic_err *err) AIC_MUST_CHECK;

/* worker_close -- copes with a half-built one. */
void worker_close(struct worker *w);

/*
 * worker_check -- ask the database whether it is what this program needs: there,
 * writable, migrated, and of the same opinion on the time zone.
 *
 * Errors:   AIC_EDB, AIC_ECONF
 * Blocks:   as long as AI_CHAT_DB_TIMEOUT_MS
 */
enum aic_code
worker_check(struct worker *w, struct aic_err *err) AIC_MUST_CHECK;

/*
 * worker_schema_ok -- has the database the tables that this program was written for? Asked
 * until it has: before money is spent on a chat that could not be kept.
 *
 * Errors:   AIC_EDB
 */
enum aic_code worker_schema_ok(struct worker *w, int64_t deadline_us,
    struct aic_err *err) AIC_MUST_CHECK;

/*
 * worker_ping -- could a chat be reserved and kept now? All who ask within a second
 * share one look.
 *
 * The statements of a chat are run, where they find nothing, so a right that was revoked,
 * a column that is gone and a server that is read-only are found, and what is prepared is
 * prepared again where it has become stale. Nothing is written.
 *
 * Anybody may ask, without a key and as often as he likes. So one thread at a time looks;
 * the others take what the look before has found, or wait for this one where there was
 * none within the last two seconds.
 *
 * level     of the line in the log when a look fails, one a look
 *
 * Errors:   AIC_EDB
 * Blocks:   on the database, for READY_US at most; two round trips
 */
enum aic_code
worker_ping(struct worker *w, enum aic_level level, struct aic_err *err);

/* worker_enter_wait, worker_leave_wait -- a chat of a key waits for another one of it. Half of
 * the slots are for that, and no more. Errors: AIC_EBUSY. */
enum aic_code
worker_enter_wait(struct worker *w, struct aic_err *err) AIC_MUST_CHECK;
void worker_leave_wait(struct worker *w);

/* worker_release_later -- a reservation may have been left behind; worker_release_all()
 * gives it back when the database answers again. lapses_us: not worth it then. */
void worker_release_later(struct worker *w, int64_t user, const char *chat_id,
    int64_t lapses_us);

/* worker_release_all -- Blocks: on the database, for a second at most. */
void worker_release_all(struct worker *w);

/* worker_check_cache -- log it when Redis is not as it should be, which stops nobody.
 * Blocks: for a second. */
void worker_check_cache(struct worker *w);

/* worker_reset -- Redis must not have it any longer that the user's day is used up; where
 * it does not hear, worker_reset_all() tells it later. Blocks: 100 ms at most. */
void worker_reset(struct worker *w, int64_t user);
void worker_reset_all(struct worker *w);

/* worker_keep_warm -- keep a connection to the model open, if that is wanted, and log
 * it when the model cannot be reached. Blocks: never. */
void worker_keep_warm(struct worker *w);

/* worker_update_gauges -- bring the metrics of this moment up to date, and the log on whether
 * Redis is there. */
void worker_update_gauges(struct worker *w);

/* worker_threads -- how many there should be. */
int worker_threads(const struct worker *w);

/* worker_enter -- take room for a request. Errors: AIC_EBUSY. */
enum aic_code worker_enter(struct worker *w, enum worker_room room,
    struct aic_err *err) AIC_MUST_CHECK;
void worker_leave(struct worker *w, enum worker_room room);

#endif
