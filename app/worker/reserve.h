/*
 * reserve -- the reservation of a chat.
 *
 * A reservation occupies one chat of the user's day. The reservation is made
 * before the model is called, and is released when the chat fails.
 *
 * A request whose Idempotency-Key was answered before receives that answer and
 * makes no reservation. A request whose key has another chat in flight waits
 * for that chat.
 *
 * Threads: any; each thread has its own chat.
 */
#ifndef RESERVE_H
#define RESERVE_H

#include "app/worker/chat.h"

/*
 * reserve_chat -- make a reservation, and load the context in the same round
 * trip.
 *
 * On AIC_OK the reservation is HELD, or rq->replayed is set and c->answer is
 * the answer of the earlier chat.
 *
 * Errors:   AIC_ELIMIT  no chat of the day is left; rq->limit is set
 *           AIC_ECROWD  too many chats of the user are in flight; rq->limit is
 *                       set
 *           AIC_EBUSY   the other chat of the key did not end in time, or too
 *                       many requests wait already
 *           AIC_EGONE   the caller disconnected during the wait
 *           AIC_EDB, AIC_EINPUT, AIC_ENOMEM
 * Blocks:   on the database; and until the other chat of the same key ends, if
 *           there is one
 */
enum aic_code reserve_chat(struct chat *c, struct aic_err *err) AIC_MUST_CHECK;

/*
 * reserve_again -- try once more, for a chat whose reservation has lapsed.
 *
 * On AIC_OK the reservation is HELD, or rq->replayed is set. If neither holds,
 * no chat of the day is left.
 *
 * Errors:   AIC_EDB, AIC_EINPUT, AIC_ENOMEM
 */
enum aic_code reserve_again(struct chat *c, struct aic_err *err) AIC_MUST_CHECK;

/*
 * reserve_done -- release a reservation that the save has not used, at the end
 * of a chat.
 *
 * If the database does not answer, worker_release_all() releases the
 * reservation later.
 *
 * Blocks:   on the database, when there is a reservation
 */
void reserve_done(struct chat *c);

#endif
