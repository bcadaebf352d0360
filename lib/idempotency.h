/*
 * idempotency -- a chat that is repeated under its Idempotency-Key: look up the
 * state of the first chat.
 *
 * The key is not stored. Its hash is the first half of the chat's id, in the
 * reservation and later in the row, so a repeat with the same key finds both. A
 * digest shows whether the repeat asks the same as the first chat: the row has
 * the whole digest, the id a part of it.
 *
 * Threads: any.
 */
#ifndef AIC_IDEMPOTENCY_H
#define AIC_IDEMPOTENCY_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/db.h"
#include "lib/err.h"
#include "lib/id.h"

#define AIC_IDEMPOTENCY_HEADER "Idempotency-Key"
#define AIC_IDEMPOTENCY_KEY_MAX 128 /* printable ASCII characters */
#define AIC_IDEMPOTENCY_KEY_SIZE (AIC_IDEMPOTENCY_KEY_MAX + 1)
#define AIC_IDEMPOTENCY_DIGEST_SIZE 67 /* \x, 64 hexadecimal digits and a NUL */

enum aic_idempotency_state {
	AIC_IDEMPOTENCY_NONE, /* no other chat of this key */
	AIC_IDEMPOTENCY_RUNNING, /* a chat of the key has a reservation */
	AIC_IDEMPOTENCY_KEPT, /* a chat that asked the same was answered */
	AIC_IDEMPOTENCY_OTHER, /* a chat of the key asked something else */
};

struct aic_idempotency {
	enum aic_idempotency_state state;
	/*
	 * Set with AIC_IDEMPOTENCY_KEPT; the text is valid as long as the call.
	 */
	const char *response;
	int64_t tokens;
	int64_t remaining; /* as in the response to the first caller */
};

/*
 * aic_idempotency_key -- read the key from the value of the header.
 *
 * A value that begins with a quote is a string of structured fields: "abc" is
 * the key abc, and \" and \\ stand for the characters themselves. Any other
 * value is the key itself.
 *
 * ret_key   set on AIC_OK
 *
 * Errors:   AIC_EINPUT  err->faults
 * Source:   RFC 9651, 3.3.3; draft-ietf-httpapi-idempotency-key-header
 */
enum aic_code aic_idempotency_key(const char *value,
    char ret_key[AIC_IDEMPOTENCY_KEY_SIZE], struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_idempotency_begin -- make the id of a chat from its key, and the digest
 * of its request.
 *
 * context   NULL: none
 * format    the format that the caller named; NULL: none, and the digest is
 *           the same as before formats existed
 *
 * Errors:   AIC_ENOMEM, AIC_EBUG
 * Source:   SHA-256 of libcrypto
 */
enum aic_code aic_idempotency_begin(const char *key, const char *message,
    const char *context, const char *format, char ret_id[AIC_ID_SIZE],
    char ret_digest[AIC_IDEMPOTENCY_DIGEST_SIZE],
    struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_idempotency_queue_bind -- at the head of a batch: wait for the
 * transaction that is changing the user's row, so that the batch sees a save
 * that is just being committed.
 *
 * zone      whose midnight begins the day
 */
void aic_idempotency_queue_bind(struct aic_db_call *call, int64_t telegram_id,
    const char *zone);

/*
 * aic_idempotency_queue_read -- read the state of the user's day. A replay has
 * no other source for it.
 *
 * ret_used        used chats: counted and reserved
 * ret_reset_in_s  seconds to the end of the day, 1 or more
 *
 * False: the user is not known, and nothing is set.
 */
bool aic_idempotency_queue_read(const struct aic_db_call *call,
    int64_t *ret_used, int64_t *ret_reset_in_s);

/*
 * aic_idempotency_bind -- look for other chats of the same key.
 *
 * In a batch after the reservation, the statement sees everything that was
 * saved before the reservation: a save and a reservation both lock the user's
 * row, and a reservation that is refused also keeps the lock until the end of
 * the batch.
 */
void aic_idempotency_bind(struct aic_db_call *call, int64_t telegram_id,
    const char *chat_id, const char *digest);

struct aic_idempotency aic_idempotency_read(const struct aic_db_call *call);

#endif
