/*
 * limit -- a user's chats of a day: reserving one, giving it back, looking.
 *
 * A chat is reserved before the model is asked, with a lease that lapses by
 * itself: a worker that dies costs its user nothing. Used = counted + live
 * leases. Leases live in the user's own row, because only there does
 * ON CONFLICT DO UPDATE ... WHERE see the newest version of them: with leases in
 * a table of their own, parallel chats are counted with a snapshot from before the
 * wait for the row's lock, and all of them pass.
 *
 * What day it is, PostgreSQL says. A counter never goes back to an earlier day,
 * so a clock that steps back gives nobody a second allowance. Only an operator's reset
 * opens the day of the clock, whatever day the counter stands for: else one step of the
 * clock into the future would shut a user out until then.
 *
 * Each function comes in two halves round aic_db_run(), so that several
 * statements can share one round trip.
 */
#ifndef AIC_LIMIT_H
#define AIC_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/db.h"
#include "lib/err.h"
#include "lib/id.h"

/* Longer than a request's deadline by this much; the contract allows 10 s. It is
 * over the database's timeout, so that a save in time finds its lease. */
#define AIC_LIMIT_SPARE_MS 5000

#define AIC_DATE_SIZE 16 /* YYYY-MM-DD */
#define AIC_RESERVATION_SIZE 112 /* (uuid,date,"timestamp") */
#define AIC_TIME_SIZE 40 /* YYYY-MM-DDTHH:MM:SS.ffffff+HH:MM */

/* How things stand for a user. */
struct aic_limit_state {
	bool known; /* has ever chatted */
	int64_t used; /* counted and reserved */
	int64_t live; /* reservations, of whatever day */
	int64_t limit; /* 0: there is none */
	int64_t at_once; /* reservations that the user may have; 0: no cap */
	char day[AIC_DATE_SIZE]; /* that the counter stands for */
	char reset_at[AIC_TIME_SIZE]; /* the next midnight, with offset */
	int64_t reset_in_s; /* until then, 1.. */
};

/* What is to be reserved, and on which terms. */
struct aic_limit_reserve {
	int64_t telegram_id;
	const char *chat_id; /* a UUID */
	bool of_key; /* its chat_id is one; refused beside and after another */
	const char *zone; /* whose midnight begins the day */
	int64_t lease_ms; /* until the reservation lapses */
	/* chats a day; 0: there is none; below 0: nothing is reserved, and the statement
	 * only shows that the database takes it */
	int64_t limit;
	int64_t at_once; /* reservations that the user may have; 0: no cap */
	/*
	 * Of a chat whose reservation has lapsed: when it was first reserved, as
	 * aic_limit_reserve_since() had it. Refused when the user was forgotten since;
	 * NULL: it is a new chat.
	 */
	const char *since;
};

/* aic_limit_reserve_bind -- reserve one chat; texts are borrowed until the call has run. */
void aic_limit_reserve_bind(struct aic_db_call *call,
    const struct aic_limit_reserve *h);

/*
 * aic_limit_reserve_read -- was it reserved?
 *
 * ret_lease  the reservation, as the database writes it: whoever saves the chat
 *            gives it back unread; set when the value is true
 */
bool aic_limit_reserve_read(const struct aic_db_call *call,
    char ret_lease[AIC_RESERVATION_SIZE]);

/* aic_limit_reserve_since -- when; only after aic_limit_reserve_read() was true. */
void aic_limit_reserve_since(const struct aic_db_call *call,
    char ret_since[AIC_TIME_SIZE]);

/*
 * aic_limit_reserve_context -- of the user's context; likewise.
 *
 * ret_version  as it is before this chat
 * ret_from_us  when the conversation began, in microseconds of the epoch; 0: at the
 *           beginning
 */
void aic_limit_reserve_context(const struct aic_db_call *call,
    char ret_version[AIC_ID_CONTEXT_SIZE], int64_t *ret_from_us);

/* aic_limit_release_bind -- give the reservation of a chat that failed back, whether or
 * not it is known to have been made; chat_id is borrowed until the call has run. */
void aic_limit_release_bind(struct aic_db_call *call, int64_t telegram_id,
    const char *chat_id);

/* aic_limit_release_read -- was it there? */
bool aic_limit_release_read(const struct aic_db_call *call);

/* aic_limit_peek_bind, aic_limit_peek_read -- look, without changing anything. */
void aic_limit_peek_bind(struct aic_db_call *call, int64_t telegram_id,
    const char *zone);
enum aic_code aic_limit_peek_read(const struct aic_db_call *call, int64_t limit,
    struct aic_limit_state *ret_state, struct aic_err *err) AIC_MUST_CHECK;

/* aic_limit_is_used_up -- no chat of the day is left; never where there is no limit. */
bool aic_limit_is_used_up(const struct aic_limit_state *s);

/* aic_limit_left -- the chats that are left; -1: there is no limit. */
int64_t aic_limit_left(const struct aic_limit_state *s);

/* aic_limit_reset_bind -- the count becomes 0, and the day that of the clock; chats in
 * flight stay reserved. */
void aic_limit_reset_bind(struct aic_db_call *call, int64_t telegram_id,
    const char *zone);

/* aic_limit_reset_read -- was there anybody to reset? */
bool aic_limit_reset_read(const struct aic_db_call *call);

#endif
