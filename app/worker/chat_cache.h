/*
 * recall -- what a chat can do without asking PostgreSQL, the Server or the model, for
 * Redis has it:
 *
 *   used     that a user's day is used up, so that a refusal costs no database work
 *   context  the last exchanges, of a version that the reservation has to confirm
 *   seller   what the Server told of the seller
 *   unsaved  the last answer that was paid for and could not be saved, for a repeat
 *   answer   to a common question: without history, and without the seller's data
 *
 * PostgreSQL decides about everything that counts. All of this may be missing, late or
 * gone at any moment, and nothing else happens than that it is asked for where it
 * belongs. Only of a used-up day Redis has the word, for AIC_CACHE_KEYS_USED_MS at most; a reset
 * takes it away. What is new is kept after the caller has his answer.
 *
 * Threads: any; each with its own chat.
 */
#ifndef CHAT_CACHE_H
#define CHAT_CACHE_H

#include "app/worker/chat.h"

/*
 * chat_cache_look_up -- look for all of it in one trip to Redis.
 *
 * Errors:   AIC_ELIMIT  the day is used up, and there is no key that may have its
 *                       answer all the same; rq->limit tells the rest
 * Blocks:   50 ms at most
 */
enum aic_code
chat_cache_look_up(struct chat *c, struct aic_err *err) AIC_MUST_CHECK;

/* chat_cache_is_newest -- is the context that Redis had of the version that the
 * reservation told? */
bool chat_cache_is_newest(const struct chat *c);

/* chat_cache_note_refusal -- PostgreSQL has refused the chat: its day is used up. */
void chat_cache_note_refusal(struct chat *c);

/* chat_cache_note_saved -- the chat is kept: its context, and what it learned. */
void chat_cache_note_saved(struct chat *c);

/* chat_cache_note_unsaved -- the answer could not be saved. */
void chat_cache_note_unsaved(struct chat *c);

#endif
