/*
 * metrics_kinds -- what the metrics distinguish: durations, outcomes, gauges.
 */
#ifndef AIC_METRICS_KINDS_H
#define AIC_METRICS_KINDS_H

#include <stdint.h>

#include "lib/openai.h"

/* More workers than this on one machine would be a misconfiguration. */
#define AIC_METRICS_WORKERS 256

/* The endpoints of api.c, and one for all other paths. */
#define AIC_METRICS_ROUTES 40

/* Durations: the stages of a chat, and the chat without the model's part. */
enum aic_metrics_time {
	AIC_METRICS_CHAT, /* from accept to answer */
	AIC_METRICS_OVERHEAD, /* the same without the model's part */
	AIC_METRICS_LIMIT, /* reserving, including loading the context */
	AIC_METRICS_CONTEXT, /* building the prompt from the context */
	AIC_METRICS_MODEL, /* all calls, and the waits between them */
	AIC_METRICS_SAVE,
	AIC_METRICS_CACHE, /* a call of Redis */
	AIC_METRICS_SELLER, /* a call of the seller-data API */
	AIC_METRICS_TIME__MAX
};

/* The outcome of a call of the seller-data API; the best one first. */
enum aic_metrics_seller {
	AIC_METRICS_SELLER_ANSWERED,
	/* too late; the answer is cached for the next question */
	AIC_METRICS_SELLER_LATE,
	AIC_METRICS_SELLER_NOTHING, /* the seller is known, without figures */
	AIC_METRICS_SELLER_UNKNOWN, /* 404 */
	AIC_METRICS_SELLER_MISSING, /* the endpoint does not exist */
	AIC_METRICS_SELLER_REFUSED, /* the key was refused: 401, 403 */
	AIC_METRICS_SELLER_FAILED, /* any other status */
	AIC_METRICS_SELLER_UNREACHED,
	AIC_METRICS_SELLER_CUT, /* the response is incomplete */
	AIC_METRICS_SELLER_TIMEOUT,
	AIC_METRICS_SELLER_NONSENSE, /* not a JSON object, or too large */
	AIC_METRICS_SELLER_OPEN, /* no call: the circuit breaker is open */
	AIC_METRICS_SELLER_BUSY, /* no call: no free slot, or no memory */
	AIC_METRICS_SELLER_DROPPED, /* the chat ended before, or had no time */
	AIC_METRICS_SELLER__MAX
};

/* What is looked up in Redis. */
enum aic_metrics_lookup {
	AIC_METRICS_LOOKUP_REFUSAL, /* of a used-up day */
	AIC_METRICS_LOOKUP_CONTEXT, /* the newest context */
	AIC_METRICS_LOOKUP_SELLER, /* the seller's data */
	AIC_METRICS_LOOKUP_ANSWER, /* to the same question */
	AIC_METRICS_LOOKUP__MAX
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
	int64_t seller_open; /* the breaker of the seller-data API */
};

/* The kinds of failures: sends that were not answered, for no fault of the
 * caller. */
#define AIC_METRICS_FAILURES 5

/* The last failure of a kind. Texts are cut to fit. */
struct aic_metrics_error {
	int64_t at_s; /* Unix time; 0: there was none */
	char code[16]; /* as in the log */
	char sqlstate[8];
	char doing[48]; /* the stage */
	char request_id[72];
	char path[48]; /* of the route, or "other" */
	char text[160]; /* for the caller; "": a standard text */
};

#endif
