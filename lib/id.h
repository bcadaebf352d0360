/*
 * id -- the name of a chat: a UUID, made by the worker before the first statement,
 * so that a repeat of any statement is the same statement. It is random; where the
 * caller gave an Idempotency-Key, its first half is the key's, so that all chats of
 * one key are neighbours in an index, some of the second is the body's, and the rest
 * random.
 */
#ifndef AIC_ID_H
#define AIC_ID_H

#include "lib/err.h"

#define AIC_ID_SIZE 37 /* 36 characters and a NUL */

/*
 * aic_id_new -- a version 4 UUID in lower case.
 *
 * Errors:   AIC_EBUG  the kernel has no randomness to give
 * Source:   RFC 4122, 4.4; getrandom(2)
 */
enum aic_code
aic_id_new(char id[AIC_ID_SIZE], struct aic_err *err) AIC_MUST_CHECK;

/* Bytes of hashes that go into an id: the first half, and these at the end. */
#define AIC_ID_KEY_BYTES 8
#define AIC_ID_BODY_BYTES 4

/*
 * aic_id_of_key -- a version 8 UUID in lower case: 60 bits are the key's, 32 the
 * body's, 30 random. Random ones are version 4, so the two never meet.
 *
 * Errors:   AIC_EBUG  the kernel has no randomness to give
 * Source:   RFC 9562, 5.8
 */
enum aic_code
aic_id_of_key(char id[AIC_ID_SIZE], const unsigned char key[AIC_ID_KEY_BYTES],
    const unsigned char body[AIC_ID_BODY_BYTES],
    struct aic_err *err) AIC_MUST_CHECK;

/*
 * AIC_ID_SQL_SAME_KEY -- a condition for a statement: the id in a column is of the
 * same key as the one in a parameter, "$2". An index on the column serves it.
 */
#define AIC_ID_SQL_SAME_KEY(column, param)                                     \
	column " BETWEEN"                                                      \
	       " (left(" param "::text, 18) || '-0000-000000000000')::uuid"    \
	       " AND"                                                          \
	       " (left(" param "::text, 18) || '-ffff-ffffffffffff')::uuid"

/* AIC_ID_SQL_SAME_BODY -- the same for the body. */
#define AIC_ID_SQL_SAME_BODY(column, param)                                    \
	"right(" column "::text, 8) = right(" param "::text, 8)"

/* How long a key stands for its chat, as SQL. */
#define AIC_ID_SQL_KEPT "interval '24 hours'"

/*
 * AIC_ID_SQL_CONTEXT -- as SQL: the version of a user's context, of his row "l". A number,
 * and since when he is known: a user who was forgotten and comes again does not begin
 * where he was before.
 */
#define AIC_ID_SQL_CONTEXT                                                     \
	"l.context_seq::text || ' ' ||"                                        \
	" coalesce(extract(epoch FROM l.created_at)::text, '')"
#define AIC_ID_CONTEXT_SIZE 64

/* aic_random -- 0 <= x < 1, for jitter; not for secrets. Thread-safe. */
double aic_random(void);

#endif
