/*
 * repeat -- a chat that comes again under its Idempotency-Key: what became of the
 * first one.
 *
 * The key is not kept. Its hash makes the first half of the chat's id, in the
 * reservation and then in the row, so whoever comes with the same key finds both.
 * Whether he asks the same, a digest tells: whole in the row, in part in the id.
 *
 * Threads: any.
 */
#ifndef AIC_IDEMPOTENCY_H
#define AIC_IDEMPOTENCY_H

#include <stdint.h>

#include "lib/db.h"
#include "lib/err.h"
#include "lib/id.h"

#define AIC_IDEMPOTENCY_HEADER "Idempotency-Key"
#define AIC_IDEMPOTENCY_KEY_MAX 128 /* printable ASCII characters */
#define AIC_IDEMPOTENCY_DIGEST_SIZE 67 /* \x, 64 hexadecimal digits and a NUL */

enum aic_idempotency_state {
	AIC_IDEMPOTENCY_NONE, /* there is no other chat of this key */
	AIC_IDEMPOTENCY_RUNNING, /* one has a reservation */
	AIC_IDEMPOTENCY_KEPT, /* one was answered, and asked the same */
	AIC_IDEMPOTENCY_OTHER, /* one of the two, and it asked something else */
};

struct aic_idempotency {
	enum aic_idempotency_state state;
	/* With AIC_IDEMPOTENCY_KEPT; the text lives as long as the call. */
	const char *response;
	int64_t tokens;
	int64_t remaining; /* as the first caller was told */
};

/*
 * aic_idempotency_check -- is it a key?
 *
 * Errors:   AIC_EINPUT  err->faults
 */
enum aic_code
aic_idempotency_check(const char *key, struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_idempotency_begin -- name a chat by its key, and digest what it asks.
 *
 * context   NULL: none
 * format    that he wants the answer in; NULL: he did not say, and the digest is that
 *           of a caller who knew of no formats
 *
 * Errors:   AIC_ENOMEM, AIC_EBUG
 * Source:   SHA-256 of libcrypto
 */
enum aic_code aic_idempotency_begin(const char *key, const char *message,
    const char *context, const char *format, char ret_id[AIC_ID_SIZE],
    char ret_digest[AIC_IDEMPOTENCY_DIGEST_SIZE],
    struct aic_err *err) AIC_MUST_CHECK;

/* aic_idempotency_queue_bind -- at the head of a batch: wait for whoever is changing the
 * user's row, so that a save that comes to its end this moment is seen. */
void aic_idempotency_queue_bind(struct aic_db_call *call, int64_t telegram_id);

/*
 * aic_idempotency_bind -- what became of other chats of the same key?
 *
 * In a batch behind the reservation it sees whatever was saved before that: both
 * take the lock of the user's row, and a reservation that is refused keeps it until
 * the end of the batch as well.
 */
void aic_idempotency_bind(struct aic_db_call *call, int64_t telegram_id,
    const char *chat_id, const char *digest);

struct aic_idempotency aic_idempotency_read(const struct aic_db_call *call);

#endif
