/*
 * limit -- the daily limit of a user: reserve a chat, release it, read the
 * state.
 *
 * A chat is reserved before the model is called. A reservation lapses by itself
 * after a time, so a worker that crashes costs its user no chat of the day. The
 * used chats of a day are its counted chats and its reservations that have not
 * lapsed. The reservations of a user are stored in the user's own row, because
 * ON CONFLICT DO UPDATE ... WHERE sees the newest version of that row only. If
 * the reservations had a table of their own, parallel chats would count them
 * with a snapshot from before the wait for the row's lock, and all of the chats
 * would pass.
 *
 * PostgreSQL's clock decides which day it is. A counter never returns to an
 * earlier day, so a clock that steps back gives no user a second limit. Only an
 * operator's reset sets the counter to the day of the clock, even when this is
 * an earlier day. Without this exception, a clock that stepped into the future
 * once would block a user until that day.
 *
 * Each operation is a pair of functions, _bind and _read, with aic_db_run()
 * between them, so that several statements can share one round trip.
 */
#ifndef AIC_LIMIT_H
#define AIC_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/db.h"
#include "lib/err.h"
#include "lib/schema.h"

/*
 * A reservation outlasts the request's deadline by this much; the contract
 * allows 10 s. The margin is longer than the database's timeout, so that a save
 * that is in time finds its reservation.
 */
#define AIC_LIMIT_SPARE_MS 5000

#define AIC_DATE_SIZE 16 /* YYYY-MM-DD */
#define AIC_RESERVATION_SIZE 112 /* (uuid,date,"timestamp") */
#define AIC_TIME_SIZE 40 /* 2026-01-31T23:59:59.123456+03:00 */

/* The state of a user's limit. */
struct aic_limit_state {
	bool known; /* the user has chatted before */
	int64_t used; /* counted chats and reservations */
	int64_t reservations; /* of any day, not lapsed */
	int64_t limit; /* 0: no limit */
	int64_t at_once; /* the most reservations at a time; 0: no maximum */
	char day[AIC_DATE_SIZE]; /* the day that the counter is for */
	char reset_at[AIC_TIME_SIZE]; /* the next midnight, with its offset */
	int64_t reset_in_s; /* seconds until that midnight, 1.. */
};

/* What to reserve, and on which terms. */
struct aic_limit_reserve {
	int64_t telegram_id;
	const char *chat_id; /* a UUID */
	/*
	 * chat_id was made from an Idempotency-Key. The reservation is refused
	 * while another chat of the key is in flight, and after another chat of
	 * the key was answered.
	 */
	bool of_key;
	const char *zone; /* the time zone whose midnight begins the day */
	int64_t lapse_ms; /* time until the reservation lapses */
	/*
	 * Chats a day; 0: no limit. Below 0 the statement reserves nothing: it
	 * only checks that the database accepts it.
	 */
	int64_t limit;
	int64_t at_once; /* the most reservations at a time; 0: no maximum */
	/*
	 * For a chat whose reservation has lapsed: the time of its first
	 * reservation, from aic_limit_reserve_since(). The reservation is
	 * refused when the user was erased after that time. NULL: a new chat.
	 */
	const char *since;
};

/*
 * aic_limit_reserve_bind -- reserve one chat; borrows the texts until the call
 * has run.
 */
void aic_limit_reserve_bind(struct aic_db_call *call,
    const struct aic_limit_reserve *r);

/*
 * aic_limit_reserve_read -- read whether the chat was reserved.
 *
 * ret_reservation  set when the value is true: the reservation as the
 *                  database writes it; the save passes it back unparsed
 */
bool aic_limit_reserve_read(const struct aic_db_call *call,
    char ret_reservation[AIC_RESERVATION_SIZE]);

/*
 * aic_limit_reserve_since -- read the time of the reservation; only after
 * aic_limit_reserve_read() was true.
 */
void aic_limit_reserve_since(const struct aic_db_call *call,
    char ret_since[AIC_TIME_SIZE]);

/*
 * aic_limit_reserve_context -- read the state of the user's context; only after
 * aic_limit_reserve_read() was true.
 *
 * ret_version  the version of the context before this chat
 * ret_from_us  the beginning of the conversation, in microseconds of the
 *              epoch; 0: the conversation was never begun anew
 */
void aic_limit_reserve_context(const struct aic_db_call *call,
    char ret_version[AIC_CONTEXT_VERSION_SIZE], int64_t *ret_from_us);

/*
 * aic_limit_reserve_day -- read the state of the user's day; only after
 * aic_limit_reserve_read() was true.
 *
 * ret_used        used chats, this one included. Just after midnight, the
 *                 chats of the last day that are still in flight are included.
 * ret_reset_in_s  seconds to the end of the day, 1 or more
 */
void aic_limit_reserve_day(const struct aic_db_call *call, int64_t *ret_used,
    int64_t *ret_reset_in_s);

/*
 * aic_limit_release_bind -- release the reservation of a chat that failed. A
 * chat whose reservation is uncertain is released in the same way. Borrows
 * chat_id until the call has run.
 */
void aic_limit_release_bind(struct aic_db_call *call, int64_t telegram_id,
    const char *chat_id);

/* aic_limit_release_read -- read whether there was a reservation to release. */
bool aic_limit_release_read(const struct aic_db_call *call);

/*
 * aic_limit_peek_bind, aic_limit_peek_read -- read the state of a user's limit;
 * this changes nothing.
 */
void aic_limit_peek_bind(struct aic_db_call *call, int64_t telegram_id,
    const char *zone);
enum aic_code aic_limit_peek_read(const struct aic_db_call *call, int64_t limit,
    struct aic_limit_state *ret_state, struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_limit_is_used_up -- true when no chat of the day is left; always false
 * without a limit.
 */
bool aic_limit_is_used_up(const struct aic_limit_state *s);

/*
 * aic_limit_left -- the number of chats that are left; -1: there is no limit.
 */
int64_t aic_limit_left(const struct aic_limit_state *s);

/*
 * aic_limit_reset_bind -- set the count to 0 and the day to that of the clock.
 * The reservations of chats in flight stay.
 */
void aic_limit_reset_bind(struct aic_db_call *call, int64_t telegram_id,
    const char *zone);

/*
 * aic_limit_reset_read -- read whether the user was known, so that there was a
 * row to reset.
 */
bool aic_limit_reset_read(const struct aic_db_call *call);

/*
 * aic_limit_reset_day -- read the state of the user's day after the reset; only
 * after aic_limit_reset_read() was true.
 *
 * ret_used        the reservations of chats in flight
 * ret_reset_in_s  seconds to the end of the day, 1 or more
 */
void aic_limit_reset_day(const struct aic_db_call *call, int64_t *ret_used,
    int64_t *ret_reset_in_s);

#endif
