/*
 * metrics -- the workers' counters, for Prometheus.
 *
 * Each worker maps a file of fixed layout in AI_CHAT_METRICS_DIR, which is
 * named by the worker's number. So any worker can export the metrics of all
 * workers; a worker that is restarted continues its counters; and the last
 * values of a worker that was killed are preserved. Without the directory, a
 * worker exports only its own metrics.
 *
 * Threads: any, without locks; counting is one relaxed atomic addition.
 */
#ifndef AIC_METRICS_H
#define AIC_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/cache.h"
#include "lib/err.h"
#include "lib/openai.h"

/* The routes of route.c, and one for all other paths. */
#define AIC_METRICS_ROUTES 12

/* Durations: the stages of a chat, and the chat without the model's part. */
enum aic_metrics_time {
	AIC_METRICS_CHAT, /* from accept to answer */
	AIC_METRICS_OVERHEAD, /* the same without the model's part */
	AIC_METRICS_LIMIT, /* reserving, including loading the context */
	AIC_METRICS_CONTEXT, /* building the prompt from the context */
	AIC_METRICS_MODEL, /* all calls, and the waits between them */
	AIC_METRICS_SAVE,
	AIC_METRICS_CACHE, /* a call of Redis */
	AIC_METRICS_SERVER, /* a call of the seller-data API */
	AIC_METRICS_TIME__MAX
};

/* The outcome of a call of the seller-data API; the best one first. */
enum aic_metrics_server {
	AIC_METRICS_SERVER_TOLD,
	/* too late; the answer is cached for the next question */
	AIC_METRICS_SERVER_LATE,
	AIC_METRICS_SERVER_NOTHING, /* the seller is known, without figures */
	AIC_METRICS_SERVER_UNKNOWN, /* 404 */
	AIC_METRICS_SERVER_MISSING, /* the endpoint does not exist */
	AIC_METRICS_SERVER_REFUSED, /* the key was refused: 401, 403 */
	AIC_METRICS_SERVER_FAILED, /* any other status */
	AIC_METRICS_SERVER_UNREACHED,
	AIC_METRICS_SERVER_CUT, /* the response is incomplete */
	AIC_METRICS_SERVER_TIMEOUT,
	AIC_METRICS_SERVER_NONSENSE, /* not a JSON object, or too large */
	AIC_METRICS_SERVER_OPEN, /* no call: the circuit breaker is open */
	AIC_METRICS_SERVER_BUSY, /* no call: no free slot, or no memory */
	AIC_METRICS_SERVER_DROPPED, /* the chat ended before, or had no time */
	AIC_METRICS_SERVER__MAX
};

/* What is looked up in Redis. */
enum aic_metrics_recall {
	AIC_METRICS_RECALL_USED, /* a quota refusal */
	AIC_METRICS_RECALL_CONTEXT, /* the newest context */
	AIC_METRICS_RECALL_SELLER,
	AIC_METRICS_RECALL_ANSWER,
	AIC_METRICS_RECALL__MAX
};

/* Gauges: the state at this moment. */
struct aic_metrics_now {
	int64_t slots, slots_used; /* of chats */
	int64_t others; /* requests in flight that need only the database */
	int64_t db_connections, db_busy, db_waiting;
	int64_t db_up; /* 1, or 0 if connecting fails */
	int64_t saves_open; /* the breaker of saves: 1 open, 0 closed */
	int64_t open[AIC_OPENAI_MODELS]; /* the models' breakers */
	int64_t cache; /* 1: a Redis is configured; its state: */
	int64_t cache_up, cache_open; /* 1 or 0 */
	int64_t cache_connections, cache_busy;
	int64_t server_open; /* the breaker of the seller-data API */
};

struct aic_metrics;

/*
 * aic_metrics_open -- map the worker's file, or anonymous memory.
 *
 * dir       NULL: none; created if it does not exist
 * number    of the worker
 * routes    the names of the routes, kept; at most AIC_METRICS_ROUTES - 1
 *
 * Errors:   AIC_ECONF  the file cannot be created, or a running worker has it
 *           AIC_EBUSY  its volume is full or failing
 *           AIC_ENOMEM
 * Memory:   gives; aic_metrics_close()
 */
enum aic_code aic_metrics_open(struct aic_metrics **ret_metrics,
    const char *dir, int number, const char *const *routes, int n_routes,
    struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_metrics_was_lost -- true, once, after another program truncated the
 * worker's file; the worker continues to count in anonymous memory.
 */
bool aic_metrics_was_lost(void);

/*
 * aic_metrics_close -- mark a clean shutdown, so that the worker is no longer
 * exported as down. NULL is fine.
 */
void aic_metrics_close(struct aic_metrics *m);

/* aic_metrics_request -- count a response; route -1: no route of the table. */
void aic_metrics_request(struct aic_metrics *m, int route, int status);

/* aic_metrics_chat -- count a send that has ended. */
void aic_metrics_chat(struct aic_metrics *m, enum aic_code rc, bool replayed);

/*
 * aic_metrics_server, aic_metrics_server_name -- count the outcome of a call of
 * the seller-data API; the outcome's name, static.
 */
void aic_metrics_server(struct aic_metrics *m, enum aic_metrics_server how);
const char *aic_metrics_server_name(enum aic_metrics_server how);

/* aic_metrics_time -- record a duration. */
void
aic_metrics_time(struct aic_metrics *m, enum aic_metrics_time what, int64_t us);

/*
 * aic_metrics_model -- count the calls of a model by outcome, and the tokens.
 */
void aic_metrics_model(struct aic_metrics *m,
    const struct aic_openai_answer *answer);

/* aic_metrics_recall -- count a lookup in Redis. */
void aic_metrics_recall(struct aic_metrics *m, enum aic_metrics_recall what,
    bool there);

/* aic_metrics_cache -- count a call of Redis, with its outcome and duration. */
void
aic_metrics_cache(struct aic_metrics *m, enum aic_cache_end end, int64_t us);

/*
 * aic_metrics_reserved -- count reservations made (+1) or settled (-1). If a
 * worker crashes, the rest will lapse; it is counted as lapsed when the worker
 * is restarted.
 */
void aic_metrics_reserved(struct aic_metrics *m, int n);

/* aic_metrics_lapse -- count a reservation that will lapse. */
void aic_metrics_lapse(struct aic_metrics *m);

/* aic_metrics_now -- set the gauges. */
void aic_metrics_now(struct aic_metrics *m, const struct aic_metrics_now *now);

/*
 * aic_metrics_write -- write all workers' metrics in Prometheus' text format,
 * 0.0.4.
 *
 * Blocks:   on reading the files, which are in memory
 * Source:   prometheus.io, "Exposition formats"
 */
void aic_metrics_write(struct aic_metrics *m, struct aic_buf *to);

/* More workers than this on one machine would be a misconfiguration. */
#define AIC_METRICS_WORKERS 256

/* A worker, as other programs see it. */
struct aic_metrics_worker {
	int number;
	bool up; /* its process is running */
	bool ended; /* shut down cleanly; false and not up: it crashed */
	int64_t started_s; /* Unix time */
	char version[32];
	int64_t answered, failed; /* chats; failed: not because of the caller */
	struct aic_metrics_now now; /* at most a second old */
};

/*
 * aic_metrics_look -- read the metrics of all workers in a directory, for
 * programs that are not workers.
 *
 * to        AIC_METRICS_WORKERS elements; filled in the order of numbers
 *
 * The value is the number of workers; 0 if the directory does not exist.
 */
int aic_metrics_look(const char *dir, struct aic_metrics_worker *to);

#endif
