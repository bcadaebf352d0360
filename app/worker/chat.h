/*
 * chat -- a seller's question: the pipeline of a send.
 */
#ifndef CHAT_H
#define CHAT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/context.h"
#include "lib/id.h"
#include "lib/limit.h"
#include "app/worker/chat_cache.h"
#include "lib/idempotency.h"
#include "app/worker/route.h"

/* What a send asks for; texts belong to struct chat's document. */
struct chat_input {
	int64_t telegram_id;
	const char *message;
	const char *user_context; /* NULL: none */
	int64_t format; /* of the answer, enum aic_format; -1: as is set */
};

/* One send: all that it allocates, and one function that frees it. */
struct chat {
	struct request *rq;
	struct json_object *doc;
	struct chat_input in;
	const char *key; /* Idempotency-Key; NULL: none */
	char digest
	    [AIC_IDEMPOTENCY_DIGEST_SIZE]; /* with a key, of what is asked */
	char id[AIC_ID_SIZE]; /* of the reservation, then of the row */
	char lease[AIC_RESERVATION_SIZE]; /* the reservation itself */
	int64_t lease_ms; /* after which it lapses */
	int64_t held_us; /* when it was there, at the latest */
	/* When the first one was made; "": none was. */
	char since[AIC_TIME_SIZE];
	bool held; /* it is to be settled */
	bool in_doubt; /* the database did not say whether it was made */
	char *seller; /* what the Server told; NULL: nothing */
	struct aic_context context;
	char context_version[AIC_ID_CONTEXT_SIZE]; /* when it was reserved */
	int64_t context_from_us; /* when the conversation began */
	int64_t looked_us; /* when it was seen that the day is used up */
	struct chat_cache recall;
	bool common; /* asked without history, and without the seller's data */
	struct aic_buf body; /* of the model's request */
	struct aic_openai_answer answer;
	bool paid; /* answer is there, has a key, and is not saved */
	bool admitted; /* by the breaker of saves */
	uint64_t save_round; /* of that breaker */
	int64_t remaining; /* chats of the day, this one counted */
};

/*
 * chat_run -- the pipeline: validate, reserve, context, prompt, model, answer, save. A chat
 * whose key has its answer already ends after the second with that answer, and
 * rq->replayed is set.
 *
 * c         zeroed, but for the request
 *
 * Whatever it returns, chat_done() must follow: it settles the reservation.
 */
enum aic_code chat_run(struct chat *c, struct aic_err *err) AIC_MUST_CHECK;

/* chat_done -- give the reservation of a failed chat back and free everything, in
 * whatever state. Blocks: on the database, when there is a reservation. */
void chat_done(struct chat *c);

/* chat_model_deadline -- until when the model may think: saving and answering come
 * after it. */
int64_t chat_model_deadline(const struct chat *c);

/* chat_context_terms -- how much of what was said before the model is told. */
struct aic_context_terms chat_context_terms(const struct chat *c);

/* chat_has_data -- has the caller told of the seller? Then that is used. */
bool chat_has_data(const struct chat *c);

/* chat_set_held -- there is a reservation to settle, or none any more. */
void chat_set_held(struct chat *c, bool held);

struct aic_metrics *chat_metrics(const struct chat *c);

/* chat_send -- POST /v1/chat/send */
enum aic_code chat_send(struct request *rq, struct aic_err *err);

#endif
