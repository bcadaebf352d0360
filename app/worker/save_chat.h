/*
 * keep -- an answered chat is kept and counted once, whatever happens to the database
 * meanwhile, or the caller is told that it was not.
 */
#ifndef SAVE_CHAT_H
#define SAVE_CHAT_H

#include "app/worker/chat.h"

/*
 * save_chat_admit -- may a chat be paid for? When saves in a row were refused for a reason that
 * concerns all, or did not end though the database can be reached, only one chat at a
 * time is, to try whether they succeed again. One whose answer is there already costs
 * nothing and may always.
 *
 * Errors:   AIC_EDB  the circuit breaker of saves is open; err->retry_after_s is set
 */
enum aic_code
save_chat_admit(struct chat *c, struct aic_err *err) AIC_MUST_CHECK;

/* save_chat_check -- would save_chat_admit() refuse? Takes nothing; the same errors. */
enum aic_code
save_chat_check(struct chat *c, struct aic_err *err) AIC_MUST_CHECK;

/* save_chat_find -- is there an answer that was paid for and could not be saved? Then
 * c->paid is set, and c->answer. */
void save_chat_find(struct chat *c);

/* save_chat_done -- a chat has ended: its place at the breaker is given back, and an answer
 * that was paid for and not saved is kept for a repeat. To be called before the
 * reservation is given back, because a repeat may wait for it. */
void save_chat_done(struct chat *c);

/*
 * save_chat_run -- save the exchange, count it and use the reservation up.
 *
 * c->answer.text is NULL afterwards where a repeat of the chat has taken the answer, or
 * may.
 *
 * Errors:   AIC_EDB    the database did not say; nothing was counted, as far as
 *                      could be found out
 *           AIC_EBUSY  the reservation had lapsed and no slot was left
 */
enum aic_code save_chat_run(struct chat *c, struct aic_err *err) AIC_MUST_CHECK;

#endif
