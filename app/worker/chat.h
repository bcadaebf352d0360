/*
 * chat -- the state of one request to send, grouped by the stage that writes
 * the state.
 *
 * The stages receive a struct chat. They depend neither on each other's callers
 * nor on the order of the stages, which is in send.c.
 *
 * Threads: each thread has its own chat.
 */
#ifndef CHAT_H
#define CHAT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "app/worker/request.h"
#include "lib/context.h"
#include "lib/digest.h"
#include "lib/format.h"
#include "lib/id.h"
#include "lib/idempotency.h"
#include "lib/limit.h"
#include "lib/metrics.h"
#include "lib/openai.h"

/* The input of a request to send. c->doc owns the texts. */
struct chat_input {
	int64_t telegram_id;
	const char *message;
	const char *user_context; /* NULL: none */
	/* The format of the response, enum aic_format; -1: the default */
	int64_t format;
};

/*
 * A reservation occupies one chat of the user's day until the reservation is
 * settled.
 *
 *   NONE       there is no reservation: not yet, or the database refused
 *   HELD       the database has the reservation; a save consumes the
 *              reservation, or a release removes it
 *   UNCERTAIN  the database did not answer the statement that reserves
 *   SETTLED    consumed by a save, released, or lapsed
 */
enum reservation_state {
	RESERVATION_NONE,
	RESERVATION_HELD,
	RESERVATION_UNCERTAIN,
	RESERVATION_SETTLED,
};

struct reservation {
	/* Only chat_set_reservation() changes the state. */
	enum reservation_state state;
	/* The reservation as the database writes it. */
	char row[AIC_RESERVATION_SIZE];
	int64_t lapse_ms; /* lapses this long after it was made */
	int64_t made_us; /* when the reservation was made, at the latest */
	/* When the first reservation was made; "": there was none. */
	char since[AIC_TIME_SIZE];
	int64_t observed_us; /* when the refusal was observed */
};

/* The values that the cache returned for this chat. */
struct chat_found {
	bool refused; /* the limit is reached; rq->limit is set */
	/* The cache had a context; the context can be outdated. */
	bool context;
	bool seller; /* complete, so that the seller-data API is not called */
	char *answer; /* to this question; NULL: none */
	/* "": answers to the question are not shared. */
	char question[AIC_DIGEST_HEX_SIZE];
};

/* One request to send: all that the request allocates, and one function that
 * frees all of it. */
struct chat {
	/* Set by chat_begin(). */
	struct request *rq;
	struct worker *worker;
	const struct aic_conf *conf;
	struct aic_metrics *metrics;

	/* Written by validate_request(). */
	struct json_object *doc;
	struct chat_input in;
	const char *key; /* key_text; NULL: none */
	/* Of the Idempotency-Key, without quotes. */
	char key_text[AIC_IDEMPOTENCY_KEY_SIZE];
	/* Of the request; only with a key. */
	char digest[AIC_IDEMPOTENCY_DIGEST_SIZE];
	/* Of the reservation, and later of the stored row. */
	char id[AIC_ID_SIZE];

	/* Written by chat_cache.c. */
	struct chat_found found;

	/* Written by reserve.c; the context is also written by chat_cache.c. */
	struct reservation reservation;
	struct aic_context context;
	/* As the reservation returned it. */
	char context_version[AIC_CONTEXT_VERSION_SIZE];
	int64_t context_from_us; /* when the conversation began */

	/* Written by the stages before the model. */
	char *seller; /* text about the seller; NULL: none */
	/* The question has neither a history nor data of the seller, so every
	 * user can get its answer. */
	bool shareable;
	struct aic_buf body; /* the body of the request to the model */

	/* Written by the call of the model; in a replay by reserve.c. */
	struct aic_openai_answer answer;

	/* Written by save_chat.c. */
	/* c->answer is not saved yet, and the request has a key, so that a
	 * repeat can use the answer. */
	bool has_unsaved;
	bool admitted; /* the circuit breaker of saves admitted the chat */
	uint64_t save_round; /* of that circuit breaker */
	int64_t remaining; /* chats of the day that are left after this one */
};

/* chat_begin -- initialise the chat of a request. */
void chat_begin(struct chat *c, struct request *rq);

/* chat_free -- free all that the chat owns, whatever the state. */
void chat_free(struct chat *c);

/* chat_set_reservation -- change the state of the reservation. No other code
 * changes the state, so that the gauge of reservations is correct. */
void chat_set_reservation(struct chat *c, enum reservation_state state);

/* chat_model_deadline -- the time by which the model must have answered, so
 * that the save and the response still fit into the deadline of the request. */
int64_t chat_model_deadline(const struct chat *c);

/* chat_context_terms -- how much of the conversation the model receives. */
struct aic_context_terms chat_context_terms(const struct chat *c);

/* chat_has_data -- true if the request contains data of the seller, which then
 * replace those of the seller-data API. */
bool chat_has_data(const struct chat *c);

#endif
