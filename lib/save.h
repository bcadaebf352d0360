/*
 * save -- keep an exchange, count it and drop its reservation: one statement, so
 * one transaction, and nothing in between can be lost.
 *
 * What happens once, happens once: the chat's id is unique for its user, and the
 * reservation is used up by the save. So a save whose outcome is unknown is
 * simply made again; aic_save_find_bind() tells what became of the first one.
 */
#ifndef AIC_SAVE_H
#define AIC_SAVE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/db.h"

struct aic_save {
	int64_t telegram_id;
	const char *lease; /* the reservation, as it was given */
	const char *message;
	const char *response; /* valid UTF-8 without NUL */
	int64_t tokens;
	const char *digest; /* of a keyed chat, else NULL */
	int64_t limit; /* chats a day; 0: there is none */
	/*
	 * It is saved so long before the reservation lapses, or not at all: when
	 * a database that hung comes to it later, the caller has been told that
	 * nothing was counted.
	 */
	int64_t early_ms;
};

/* aic_save_bind -- save; all texts are borrowed until the call has run. */
void aic_save_bind(struct aic_db_call *call, const struct aic_save *s);

/*
 * aic_save_read -- was it saved?
 *
 * ret_remaining  the limit less the user's chats of the day, this one included; -1
 *           where there is no limit; set when the value is true
 *
 * False means that there is no such reservation (any more), and that nothing was
 * changed.
 */
bool aic_save_read(const struct aic_db_call *call, int64_t *ret_remaining);

/*
 * aic_save_sync_bind -- wait for whoever is changing the user's row, and for the disk:
 * what was read of the user before is safe when this has run.
 */
void aic_save_sync_bind(struct aic_db_call *call, int64_t telegram_id);

/*
 * aic_save_find_bind -- was this chat saved before? Two calls for one batch: the
 * first waits for whoever is changing the user's row, so the second sees what came
 * of it.
 */
void aic_save_find_bind(struct aic_db_call calls[2], int64_t telegram_id,
    const char *chat_id);

/* aic_save_find_read -- the same value as aic_save_read() would have given. */
bool
aic_save_find_read(const struct aic_db_call calls[2], int64_t *ret_remaining);

#endif
