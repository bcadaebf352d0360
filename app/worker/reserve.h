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

enum reserve_result {
	RESERVED, /* the reservation is HELD */
	/*
	 * Another chat of the same key was answered: c->answer is its stored
	 * answer, and rq->replayed is set for the response.
	 */
	REPLAYED,
	REFUSED, /* there is no reservation, and no error */
	RESERVE_FAILED, /* err is set */
};

/*
 * reserve_chat -- make a reservation, and load the context in the same round
 * trip. The result is RESERVED, REPLAYED or RESERVE_FAILED. A replay can have a
 * reservation too, which reserve_done() releases.
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
enum reserve_result
reserve_chat(struct chat *c, struct aic_err *err) AIC_MUST_CHECK;

/*
 * reserve_again -- try once more, for a chat whose reservation has lapsed. The
 * result is REFUSED when no chat of the day is left, when too many chats of the
 * user are in flight, or when another chat of the key is.
 *
 * Errors:   AIC_EDB, AIC_EINPUT, AIC_ENOMEM
 */
enum reserve_result
reserve_again(struct chat *c, struct aic_err *err) AIC_MUST_CHECK;

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
