/*
 * metrics -- what the workers count, for Prometheus.
 *
 * Each worker has a file of fixed layout in AI_CHAT_METRICS_DIR, named by its number,
 * and maps it. So any worker can tell of all of them, whichever is asked; one that is
 * started again goes on where it stopped; and of one that was killed the last numbers
 * are still there. Without that directory a worker tells of itself alone.
 *
 * Threads: any, without locks; a number is one relaxed addition.
 */
#ifndef AIC_METRICS_H
#define AIC_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/cache.h"
#include "lib/err.h"
#include "lib/openai.h"

/* Routes of route.c and one for what is none of them. */
#define AIC_METRICS_ROUTES 12

/* Stages of a chat, and what is not the model's part of it. */
enum aic_metrics_time {
	AIC_METRICS_CHAT, /* from accept to answer */
	AIC_METRICS_OVERHEAD, /* the same less the model */
	AIC_METRICS_LIMIT, /* reserving; the context comes along */
	AIC_METRICS_CONTEXT, /* from the context to a prompt */
	AIC_METRICS_MODEL, /* all calls, and the waits between */
	AIC_METRICS_SAVE,
	AIC_METRICS_CACHE, /* a call of Redis */
	AIC_METRICS_SERVER, /* from asking the Server to its answer */
	AIC_METRICS_TIME__MAX
};

/* What came of asking the Server about a seller; the best one first. */
enum aic_metrics_server {
	AIC_METRICS_SERVER_TOLD,
	AIC_METRICS_SERVER_LATE, /* and kept for the next question */
	AIC_METRICS_SERVER_NOTHING, /* it knows him, and no figures of his */
	AIC_METRICS_SERVER_UNKNOWN, /* 404 */
	AIC_METRICS_SERVER_MISSING, /* there is no such endpoint */
	AIC_METRICS_SERVER_REFUSED, /* the key: 401, 403 */
	AIC_METRICS_SERVER_FAILED, /* any other status */
	AIC_METRICS_SERVER_UNREACHED,
	AIC_METRICS_SERVER_CUT, /* no whole answer came */
	AIC_METRICS_SERVER_TIMEOUT,
	AIC_METRICS_SERVER_NONSENSE, /* not a JSON object, or far too much */
	AIC_METRICS_SERVER_OPEN, /* not asked: it is left alone */
	AIC_METRICS_SERVER_BUSY, /* not asked: no room, or no memory */
	AIC_METRICS_SERVER_DROPPED, /* the chat ended before, or had no time */
	AIC_METRICS_SERVER__MAX
};

/* What is looked for in Redis. */
enum aic_metrics_recall {
	AIC_METRICS_RECALL_USED, /* a day that is used up */
	AIC_METRICS_RECALL_CONTEXT, /* the newest one */
	AIC_METRICS_RECALL_SELLER,
	AIC_METRICS_RECALL_ANSWER,
	AIC_METRICS_RECALL__MAX
};

/* How things stand at this moment. */
struct aic_metrics_now {
	int64_t slots, slots_used; /* chats */
	int64_t others; /* requests that only need the database */
	int64_t db_connections, db_busy, db_waiting;
	int64_t db_up; /* 1, or 0 when connecting fails */
	int64_t saves_open; /* the breaker of saves */
	int64_t open[AIC_OPENAI_MODELS]; /* breakers */
	int64_t cache; /* 1: there should be a Redis, and of it: */
	int64_t cache_up, cache_open; /* 1 or 0 */
	int64_t cache_connections, cache_busy;
	int64_t server_open; /* the Server's */
};

struct aic_metrics;

/*
 * metrics_open -- map the worker's file, or plain memory.
 *
 * dir       NULL: none; made when it is not there
 * number    of the worker
 * routes    the names of the routes, kept; no more than AIC_METRICS_ROUTES - 1
 *
 * Errors:   AIC_ECONF  the file cannot be made, or belongs to a living worker
 *           AIC_EBUSY  its volume is full or broken
 *           AIC_ENOMEM
 * Memory:   gives; aic_metrics_close()
 */
enum aic_code aic_metrics_open(struct aic_metrics **ret_metrics,
    const char *dir, int number, const char *const *routes, int n_routes,
    struct aic_err *err) AIC_MUST_CHECK;

/* metrics_was_lost -- true, once, after the worker's file was truncated by somebody: it
 * counts on, in plain memory. */
bool aic_metrics_was_lost(void);

/* metrics_close -- a worker that ends as it should; it is no longer told of as one
 * that is down. NULL is fine. */
void aic_metrics_close(struct aic_metrics *m);

/* metrics_request -- a request was answered; route -1 is none of ours. */
void aic_metrics_request(struct aic_metrics *m, int route, int status);

/* metrics_chat -- a send has come to its end. */
void aic_metrics_chat(struct aic_metrics *m, enum aic_code rc, bool replayed);

/* metrics_server, metrics_server_name -- what came of asking the Server; and its
 * name, static. */
void aic_metrics_server(struct aic_metrics *m, enum aic_metrics_server how);
const char *aic_metrics_server_name(enum aic_metrics_server how);

/* metrics_time -- something took so long. */
void
aic_metrics_time(struct aic_metrics *m, enum aic_metrics_time what, int64_t us);

/* metrics_model -- calls of a model, by how they ended, and the tokens. */
void aic_metrics_model(struct aic_metrics *m,
    const struct aic_openai_answer *answer);

/* metrics_recall -- something was looked for in Redis. */
void aic_metrics_recall(struct aic_metrics *m, enum aic_metrics_recall what,
    bool there);

/* metrics_cache -- a call of Redis, how it ended, and after how long. */
void
aic_metrics_cache(struct aic_metrics *m, enum aic_cache_end end, int64_t us);

/* metrics_reserved -- reservations made (+1), or settled (-1). What is left of them when
 * a worker dies will lapse, and is counted when it is started again. */
void aic_metrics_reserved(struct aic_metrics *m, int n);

/* metrics_lapse -- a reservation is left to lapse. */
void aic_metrics_lapse(struct aic_metrics *m);

/* metrics_now -- note how things stand. */
void aic_metrics_now(struct aic_metrics *m, const struct aic_metrics_now *now);

/*
 * metrics_write -- all workers' numbers in Prometheus' text format, 0.0.4.
 *
 * Blocks:   on the files, which are memory
 * Source:   prometheus.io, "Exposition formats"
 */
void aic_metrics_write(struct aic_metrics *m, struct aic_buf *to);

/* More workers than this on one machine would be a mistake. */
#define AIC_METRICS_WORKERS 256

/* A worker as one sees it from outside. */
struct aic_metrics_worker {
	int number;
	bool up; /* its process lives */
	bool ended; /* as it should; false and not up: it has died */
	int64_t started_s; /* Unix time */
	char version[32];
	int64_t answered, failed; /* chats; failed not by the caller's doing */
	struct aic_metrics_now now; /* up to a second old */
};

/*
 * metrics_look -- what the files in a directory tell of the workers, for who is none.
 *
 * to        AIC_METRICS_WORKERS of them; in the order of their numbers
 *
 * The value is how many there are; 0 when there is no such directory.
 */
int aic_metrics_look(const char *dir, struct aic_metrics_worker *to);

#endif
