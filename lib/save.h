/*
 * save -- store an exchange, count it and remove its reservation. All of this
 * is one statement, and so one transaction: either all of it is done, or
 * nothing.
 *
 * A save is idempotent: the chat's id is unique for its user, and the save
 * removes the reservation. So a save whose outcome is unknown can be repeated;
 * aic_save_find_bind() finds out whether the first one was made.
 */
#ifndef AIC_SAVE_H
#define AIC_SAVE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/db.h"

struct aic_save {
	int64_t telegram_id;
	const char *reservation; /* from aic_limit_reserve_read() */
	const char *message;
	const char *response; /* valid UTF-8 without NUL */
	int64_t tokens;
	const char *digest; /* of a keyed chat, else NULL */
	int64_t limit; /* chats a day; 0: no limit */
	/*
	 * The save is refused in the last early_ms before the reservation
	 * lapses. Otherwise a database that hung could execute the save after
	 * the caller got the response that nothing was counted.
	 */
	int64_t early_ms;
};

/* aic_save_bind -- save; borrows the texts until the call has run. */
void aic_save_bind(struct aic_db_call *call, const struct aic_save *s);

/*
 * aic_save_read -- read whether the exchange was saved.
 *
 * ret_remaining  set when the value is true: the limit minus the user's
 *                chats of the day, including this one; -1: no limit
 *
 * False means that nothing was changed: the reservation is not in the row (any
 * more), or the save came in the last early_ms.
 */
bool aic_save_read(const struct aic_db_call *call, int64_t *ret_remaining);

/*
 * aic_save_sync_bind -- wait for the transaction that is changing the user's
 * row, and for the disk. After the call, everything that was read of the user
 * before it is durable.
 */
void aic_save_sync_bind(struct aic_db_call *call, int64_t telegram_id);

/*
 * aic_save_find_bind -- look for a save of this chat. Two calls for one batch:
 * the first one waits for the transaction that is changing the user's row, so
 * the second one sees its result.
 */
void aic_save_find_bind(struct aic_db_call calls[2], int64_t telegram_id,
    const char *chat_id);

/* aic_save_find_read -- the value that aic_save_read() would have returned. */
bool
aic_save_find_read(const struct aic_db_call calls[2], int64_t *ret_remaining);

#endif
