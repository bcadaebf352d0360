/*
 * unsaved -- the answers that were paid for and could not be saved. A repeat
 * with the same Idempotency-Key takes the answer and saves it, so the model is
 * not paid twice.
 *
 * The answers are in the memory of this worker, for a short time. Redis makes
 * them visible to other workers; see chat_cache.h.
 *
 * Threads: any.
 */
#ifndef UNSAVED_H
#define UNSAVED_H

#include <stdint.h>

#include "lib/idempotency.h"

/* The lifetime of an answer. A caller repeats a request within minutes. A
 * longer lifetime would surprise a user who has asked for the erasure of their
 * data. */
#define UNSAVED_MS (300 * INT64_C(1000))

struct unsaved;

/* unsaved_open -- Errors: NULL, out of memory. Memory: gives;
 * unsaved_close(). */
struct unsaved *unsaved_open(void);
void unsaved_close(struct unsaved *u);

/*
 * unsaved_keep -- keep the answer of a chat. If there are too many answers, the
 * oldest is removed.
 *
 * digest    of the request, the key included
 * text      takes
 */
void unsaved_keep(struct unsaved *u, int64_t telegram_id,
    const char digest[AIC_IDEMPOTENCY_DIGEST_SIZE], char *text, int64_t tokens,
    int64_t now_us);

/* unsaved_take -- remove the answer of a chat and return it; NULL: there is
 * none. Memory: gives; free(). */
char *unsaved_take(struct unsaved *u, int64_t telegram_id,
    const char digest[AIC_IDEMPOTENCY_DIGEST_SIZE], int64_t *ret_tokens,
    int64_t now_us);

#endif
