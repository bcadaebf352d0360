/*
 * unsaved -- answers that the model gave and the database did not take, for the chats
 * that come again under their Idempotency-Key: they are saved then, and not paid twice.
 *
 * In this worker's memory, and for a while: it is no place to keep anything. What other
 * workers should know is in Redis, see recall.h.
 *
 * Threads: any.
 */
#ifndef UNSAVED_H
#define UNSAVED_H

#include <stdint.h>

#include "lib/idempotency.h"

/* A caller who repeats does so within minutes; and no answer is kept longer than a
 * person who has asked to be forgotten would expect. */
#define UNSAVED_MS (300 * INT64_C(1000))

struct unsaved;

/* unsaved_open -- Errors: NULL, no memory. Memory: gives; unsaved_close(). */
struct unsaved *unsaved_open(void);
void unsaved_close(struct unsaved *u);

/*
 * unsaved_keep -- keep the answer of a chat, in the place of the oldest when there are
 * too many.
 *
 * digest    of what was asked, the key included
 * text      taken
 */
void unsaved_keep(struct unsaved *u, int64_t telegram_id,
    const char digest[AIC_IDEMPOTENCY_DIGEST_SIZE], char *text, int64_t tokens,
    int64_t now_us);

/* unsaved_take -- the answer of that chat, which is not kept any more; NULL: there is
 * none. Memory: gives; free(). */
char *unsaved_take(struct unsaved *u, int64_t telegram_id,
    const char digest[AIC_IDEMPOTENCY_DIGEST_SIZE], int64_t *ret_tokens,
    int64_t now_us);

#endif
