/*
 * chat_cache -- the values in Redis that save a chat a query, a call of the
 * seller-data API, or a call of the model:
 *
 *   refusal  the limit of the user's day is reached: a refusal costs no query
 *   context  the last exchanges, with a version that the reservation confirms
 *   seller   what the seller-data API returned for the seller
 *   unsaved  the last answer that was paid for and could not be saved, for a
 *            repeat with the same Idempotency-Key
 *   answer   to a question without history and without seller's data, which is
 *            the same for every user
 *
 * PostgreSQL is authoritative for everything that counts. Each value can be
 * missing, late or evicted at any moment; the chat then reads the value from
 * its source. The one exception is the refusal, which Redis alone decides for
 * at most AIC_CACHE_KEYS_USED_MS; a reset deletes the refusal.
 *
 * New values are stored after the caller has the response.
 *
 * Threads: any; each thread has its own chat.
 */
#ifndef CHAT_CACHE_H
#define CHAT_CACHE_H

#include "app/worker/chat.h"

/*
 * chat_cache_look_up -- read all values in one round trip to Redis.
 *
 * Errors:   AIC_ELIMIT  the limit is reached, and the request has no key with
 *                       which the request could be a replay; rq->limit is set
 * Blocks:   50 ms at most
 */
enum aic_code
chat_cache_look_up(struct chat *c, struct aic_err *err) AIC_MUST_CHECK;

/* chat_cache_is_newest -- compare the version of the context from Redis with
 * the version that the reservation returned. */
bool chat_cache_is_newest(const struct chat *c);

/* chat_cache_note_refusal -- PostgreSQL has refused the chat, because the limit
 * of the day is reached: store the refusal. */
void chat_cache_note_refusal(struct chat *c);

/* chat_cache_note_saved -- the chat was saved: store the new context, the
 * seller's data and, if it is shareable, the answer. */
void chat_cache_note_saved(struct chat *c);

/* chat_cache_note_unsaved -- the answer could not be saved: store the answer
 * for a repeat. */
void chat_cache_note_unsaved(struct chat *c);

#endif
