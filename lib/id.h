/*
 * id -- the id of a chat: a UUID that the worker makes before the first
 * statement, so that repeating any statement has no further effect. The id is
 * random. If the caller sent an Idempotency-Key, the first half of the id
 * depends on the key only, so that all chats of one key are neighbours in an
 * index. A part of the second half then depends on the body, and the rest is
 * random.
 */
#ifndef AIC_ID_H
#define AIC_ID_H

#include <stdbool.h>

#include "lib/err.h"

#define AIC_ID_SIZE 37 /* 36 characters and a NUL */

/*
 * aic_id_new -- make a version 4 UUID in lower case.
 *
 * Errors:   AIC_EBUG  getrandom() failed
 * Source:   RFC 4122, 4.4; getrandom(2)
 */
enum aic_code
aic_id_new(char id[AIC_ID_SIZE], struct aic_err *err) AIC_MUST_CHECK;

/*
 * The bytes of each hash that an id uses: those of the key fill the first half,
 * those of the body are at the end.
 */
#define AIC_ID_KEY_BYTES 8
#define AIC_ID_BODY_BYTES 4

/*
 * aic_id_of_key -- make a version 8 UUID in lower case: 60 bits depend on the
 * key, 32 on the body, 30 are random. Random ids are version 4, so an id of
 * this kind never equals one of them.
 *
 * Errors:   AIC_EBUG  getrandom() failed
 * Source:   RFC 9562, 5.8
 */
enum aic_code
aic_id_of_key(char id[AIC_ID_SIZE], const unsigned char key[AIC_ID_KEY_BYTES],
    const unsigned char body[AIC_ID_BODY_BYTES],
    struct aic_err *err) AIC_MUST_CHECK;

#define AIC_ID_SPAN_SIZE 17 /* 16 hexadecimal digits and a NUL */

/*
 * aic_id_span -- make the id of a span: 63 random bits, never 0.
 *
 * False: getrandom() failed.
 *
 * Source:   W3C Trace Context, Level 2, 3.2.2.4
 */
bool aic_id_span(char id[AIC_ID_SPAN_SIZE]) AIC_MUST_CHECK;

/*
 * aic_random -- a random number 0 <= x < 1 for jitter; not for secrets.
 * Thread-safe.
 */
double aic_random(void);

#endif
