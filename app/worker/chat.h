/*
 * chat -- the state of one send, grouped by the stage that writes it.
 *
 * The stages receive a struct chat and know neither each other's callers nor the order of
 * the pipeline, which is in send.c.
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

/* What a send asks for; the texts belong to the chat's document. */
struct chat_input {
	int64_t telegram_id;
	const char *message;
	const char *user_context; /* NULL: none */
	int64_t format; /* of the response, enum aic_format; -1: as is set */
};

/*
 * A reservation takes one chat of the user's day until it is settled.
 *
 *   NONE       nothing is reserved: not yet, or the database refused
 *   HELD       the database has it; a save uses it up, or a release gives it back
 *   UNCERTAIN  the database did not answer the statement that reserves
 *   SETTLED    used up, released, or lapsed
 */
enum reservation_state {
	RESERVATION_NONE,
	RESERVATION_HELD,
	RESERVATION_UNCERTAIN,
	RESERVATION_SETTLED,
};

struct reservation {
	enum reservation_state
	    state; /* changed by chat_set_reservation() alone */
	char row[AIC_RESERVATION_SIZE]; /* as the database has it */
	int64_t lapse_ms; /* the time after which it lapses */
	int64_t held_us; /* when the database had it, at the latest */
	char since
	    [AIC_TIME_SIZE]; /* when the first one was made; "": none was */
	int64_t looked_us; /* when the refusal was observed */
};

/* What the cache had for this chat. */
struct chat_found {
	bool used_up; /* the user's day; rq->limit has the rest */
	bool
	    context; /* the chat has a context from there, maybe not the newest */
	bool seller; /* all that the seller-data API would say */
	char *answer; /* to this question; NULL: none */
	char question
	    [AIC_DIGEST_HEX_SIZE]; /* "": answers to it are not shared */
};

/* One send: all that it allocates, and one function that frees it. */
struct chat {
	/* Set by chat_begin(). */
	struct request *rq;
	struct worker *worker;
	const struct aic_conf *conf;
	struct aic_metrics *metrics;

	/* Written by the validation. */
	struct json_object *doc;
	struct chat_input in;
	const char *key; /* Idempotency-Key; NULL: none */
	char digest
	    [AIC_IDEMPOTENCY_DIGEST_SIZE]; /* with a key, of the question */
	char id[AIC_ID_SIZE]; /* of the reservation, and later of the row */

	/* Written by chat_cache.c. */
	struct chat_found found;

	/* Written by reserve.c; the context also by chat_cache.c. */
	struct reservation reservation;
	struct aic_context context;
	char context_version
	    [AIC_ID_CONTEXT_SIZE]; /* at the time of the reservation */
	int64_t context_from_us; /* when the conversation began */

	/* Written by the prompt. */
	char *seller; /* lines about the seller; NULL: none */
	bool common; /* asked without a history and without the seller's data */
	struct aic_buf body; /* of the request to the model */

	/* Written by the model; in a replay by reserve.c. */
	struct aic_openai_answer answer;

	/* Written by save_chat.c. */
	bool paid; /* the answer has a key and is not saved yet */
	bool admitted; /* by the circuit breaker of saves */
	uint64_t save_round; /* of that breaker */
	int64_t remaining; /* chats of the day, with this one counted */
};

/* chat_begin -- a new chat of this request. */
void chat_begin(struct chat *c, struct request *rq);

/* chat_free -- free everything, in whatever state. */
void chat_free(struct chat *c);

/* chat_set_reservation -- the one place where a reservation changes its state, so that the
 * gauge of held reservations is right. */
void chat_set_reservation(struct chat *c, enum reservation_state state);

/* chat_model_deadline -- the time by which the model must have answered: the save and the
 * response come after it. */
int64_t chat_model_deadline(const struct chat *c);

/* chat_context_terms -- how much of the conversation the model receives. */
struct aic_context_terms chat_context_terms(const struct chat *c);

/* chat_has_data -- did the request bring the seller's data along? Then it is used. */
bool chat_has_data(const struct chat *c);

#endif
