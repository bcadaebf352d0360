/*
 * reserve -- a chat's slot of the day: taken before the model is asked, and given back
 * when the chat has failed. Whoever comes with a key that has its answer already gets
 * that one instead, and whoever comes while the first of a key is under way waits.
 *
 * Threads: any; each with its own chat.
 */
#ifndef RESERVE_H
#define RESERVE_H

#include "app/worker/chat.h"

/*
 * reserve_chat -- reserve, and load the context in the same round trip.
 *
 * On AIC_OK c->held is set, or rq->replayed and the answer of an earlier chat.
 *
 * Errors:   AIC_ELIMIT, AIC_ECROWD  rq->limit tells the rest; AIC_EBUSY; AIC_EGONE;
 *           AIC_EDB; AIC_EINPUT; AIC_ENOMEM
 * Blocks:   on the database; and on the first chat of the same key, until its end
 */
enum aic_code reserve_chat(struct chat *c, struct aic_err *err) AIC_MUST_CHECK;

/*
 * reserve_again -- one try more, for a chat whose reservation has lapsed: c->held, or
 * rq->replayed, or neither, when there is no slot left.
 *
 * Errors:   AIC_EDB, AIC_EINPUT, AIC_ENOMEM
 */
enum aic_code reserve_again(struct chat *c, struct aic_err *err) AIC_MUST_CHECK;

/* reserve_undo -- give the reservation of a chat that failed back, at once, or later
 * when the database does not answer. */
void reserve_undo(struct chat *c);

#endif
