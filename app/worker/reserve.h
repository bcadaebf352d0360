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
 * On AIC_OK the reservation is HELD; or rq->replayed is set, and the chat has the answer of
 * an earlier one.
 *
 * Errors:   AIC_ELIMIT, AIC_ECROWD  rq->limit tells the rest; AIC_EBUSY; AIC_EGONE;
 *           AIC_EDB; AIC_EINPUT; AIC_ENOMEM
 * Blocks:   on the database; and on the first chat of the same key, until its end
 */
enum aic_code reserve_chat(struct chat *c, struct aic_err *err) AIC_MUST_CHECK;

/*
 * reserve_again -- one more try, for a chat whose reservation has lapsed. Afterwards the
 * reservation is HELD; or rq->replayed is set; or neither, because the day has no chat
 * left.
 *
 * Errors:   AIC_EDB, AIC_EINPUT, AIC_ENOMEM
 */
enum aic_code reserve_again(struct chat *c, struct aic_err *err) AIC_MUST_CHECK;

/*
 * reserve_done -- the chat has ended: release a reservation that was not used up, at once,
 * or later when the database does not answer.
 *
 * Blocks:   on the database, when there is a reservation
 */
void reserve_done(struct chat *c);

#endif
