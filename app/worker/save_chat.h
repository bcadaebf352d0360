/*
 * save_chat -- the save of an answered chat.
 *
 * A chat that was answered is stored and counted exactly once, whatever happens
 * to the database meanwhile. Otherwise the caller receives an error.
 *
 * An answer that was paid for and could not be saved is kept for a repeat with
 * the same Idempotency-Key; see unsaved.h.
 *
 * Threads: any; each thread has its own chat.
 */
#ifndef SAVE_CHAT_H
#define SAVE_CHAT_H

#include "app/worker/chat.h"

/*
 * save_chat_admit -- check whether the circuit breaker of saves admits the
 * chat, before the model is called.
 *
 * The breaker opens when consecutive saves were refused for a reason that
 * concerns all users, or did not end although the database can be reached.
 * While the breaker is open, one chat at a time is admitted as a trial. A chat
 * that has its answer already costs nothing and is always admitted.
 *
 * Errors:   AIC_EDB  the circuit breaker is open; err->retry_after_s is set
 */
enum aic_code
save_chat_admit(struct chat *c, struct aic_err *err) AIC_MUST_CHECK;

/* save_chat_check -- fail as save_chat_admit() would, without becoming the
 * trial. The errors are the same. */
enum aic_code
save_chat_check(struct chat *c, struct aic_err *err) AIC_MUST_CHECK;

/* save_chat_take_unsaved -- if this worker keeps an unsaved answer of the same
 * request and key, move the answer into c->answer and set c->has_unsaved. */
void save_chat_take_unsaved(struct chat *c);

/* save_chat_done -- end the part of a chat that this module owns: leave the
 * circuit breaker, and keep an unsaved answer for a repeat. Call this function
 * before reserve_done(), because a repeat can be waiting for the
 * reservation. */
void save_chat_done(struct chat *c);

/*
 * save_chat_run -- save the exchange, count the chat and use up the
 * reservation.
 *
 * c->answer.text is NULL afterwards if a repeat with the same key has taken the
 * answer, or can take it.
 *
 * Errors:   AIC_EDB    the outcome is unknown, or the save was refused; nothing
 *                      was counted, unless rq->perhaps_saved is set
 *           AIC_EBUSY  the reservation had lapsed, and no chat of the day was
 *                      left
 *           AIC_EINPUT, AIC_ENOMEM  as reserve_again()
 * Blocks:   on the database, until the end of the stage
 */
enum aic_code save_chat_run(struct chat *c, struct aic_err *err) AIC_MUST_CHECK;

#endif
