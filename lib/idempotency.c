#include "config.h"

#include "lib/idempotency.h"

#include <string.h>

#include "lib/digest.h"
#include "lib/schema.h"

#define RESERVATION_OF_KEY AIC_SQL_SAME_KEY("x.chat_id", "$2")
#define RESERVATION_OF_BODY AIC_SQL_SAME_BODY("x.chat_id", "$2")
#define ROW_OF_KEY AIC_SQL_SAME_KEY("chat_id", "$2")

/*
 * $1 user, $2 zone. Changes nothing. The statement waits for the transaction
 * that is changing the user's row, and locks the row until the end of the
 * batch. So the next statement sees everything that was committed before. The
 * commit of this batch waits for the disk, and therefore also for the commits
 * before it, unless a reservation in the same batch sets synchronous_commit
 * differently.
 */
static const struct aic_db_stmt queue = {
	"queue",
	"SELECT " AIC_SQL_DURABLE ", " AIC_SQL_DAY_USED(
	    "$2") ","
		  " " AIC_SQL_DAY_LEFT_S(
		      "$2") " FROM ai_chat_daily_limits l"
			    " WHERE telegram_id = $1::bigint FOR UPDATE",
	2,
	NULL,
};

enum queue_column {
	QUEUE_DURABLE,
	QUEUE_USED,
	QUEUE_RESET_IN_S,
};

/*
 * $1 user, $2 chat, $3 digest. Reads only. Returns one row; the columns are
 * NULL where no answer is stored or no chat of the key is in flight. In one
 * snapshot a chat has either a reservation or a row, or it failed.
 *
 * The condition on the age is written as created_at + interval, so that
 * PostgreSQL does not use an index on times for it: such an index scan would
 * read all chats of the user's last day instead of the one chat.
 */
static const struct aic_db_stmt repeat = {
	"repeat",
	"SELECT r.response, r.tokens_used, r.remaining_requests,"
	"  r.key_digest = $3::bytea,"
	"  (SELECT bool_and(" RESERVATION_OF_BODY ")"
	"   FROM ai_chat_daily_limits l, pg_catalog.unnest(l.leases) x"
	"   WHERE l.telegram_id = $1::bigint AND x.until > now()"
	"   AND x.chat_id <> $2::uuid AND " RESERVATION_OF_KEY ")"
	" FROM (VALUES (1)) one LEFT JOIN"
	"  (SELECT * FROM ai_chat_requests"
	"   WHERE telegram_id = $1::bigint AND " ROW_OF_KEY
	"   AND created_at + " AIC_SQL_KEPT " > now() LIMIT 1) r ON true",
	3,
	NULL,
};

enum repeat_column {
	REPEAT_RESPONSE,
	REPEAT_TOKENS,
	REPEAT_REMAINING,
	REPEAT_SAME, /* the stored answer has the same digest */
	REPEAT_RUNNING, /* a chat of the key is in flight; t: the same body */
};

static enum aic_code
refuse_long(struct aic_err *err)
{
	return aic_fault(err, "string_too_long", "header",
	    AIC_IDEMPOTENCY_HEADER, "String should have at most %d characters",
	    AIC_IDEMPOTENCY_KEY_MAX);
}

static enum aic_code
refuse_pattern(struct aic_err *err, const char *why)
{
	return aic_fault(err, "string_pattern_mismatch", "header",
	    AIC_IDEMPOTENCY_HEADER, "%s", why);
}

/*
 * A quoted key with a fault is refused and not taken as it is: a caller that
 * quotes its keys would have two keys for one text otherwise. Parameters behind
 * the string are refused too, because none are defined.
 */
static enum aic_code
read_quoted(const char *p, char ret_key[AIC_IDEMPOTENCY_KEY_SIZE],
    struct aic_err *err)
{
	size_t n = 0;

	for (p++; *p != '"'; p++) {
		if (*p == '\\' && *++p != '"' && *p != '\\')
			return refuse_pattern(err,
			    "In a quoted string, a backslash should precede a "
			    "quote or a backslash");
		if (*p == '\0')
			return refuse_pattern(err,
			    "A quoted string should end with a quote");
		if (n == AIC_IDEMPOTENCY_KEY_MAX)
			return refuse_long(err);
		ret_key[n++] = *p;
	}
	ret_key[n] = '\0';
	if (p[1] != '\0')
		return refuse_pattern(err,
		    "A quoted string should end with its second quote");
	if (n == 0)
		return aic_fault(err, "string_too_short", "header",
		    AIC_IDEMPOTENCY_HEADER,
		    "String should have at least 1 character");
	return AIC_OK;
}

enum aic_code
aic_idempotency_key(const char *value, char ret_key[AIC_IDEMPOTENCY_KEY_SIZE],
    struct aic_err *err)
{
	size_t len = strlen(value);
	const char *p;

	if (*value != '"' && len > AIC_IDEMPOTENCY_KEY_MAX)
		return refuse_long(err);
	for (p = value; *p; p++)
		if (*p < ' ' || *p > '~')
			return refuse_pattern(err,
			    "String should be printable ASCII");
	if (*value == '"')
		return read_quoted(value, ret_key, err);
	memcpy(ret_key, value, len + 1);
	return AIC_OK;
}

enum aic_code
aic_idempotency_begin(const char *key, const char *message, const char *context,
    const char *format, char ret_id[AIC_ID_SIZE],
    char ret_digest[AIC_IDEMPOTENCY_DIGEST_SIZE], struct aic_err *err)
{
	const char *const name[] = { key, NULL };
	const char *const all[] = { key, message, context ? context : "",
		format, NULL };
	unsigned char named[AIC_DIGEST_BYTES], asked[AIC_DIGEST_BYTES];

	if (!aic_digest(name, named) || !aic_digest(all, asked))
		return aic_fail(err, AIC_ENOMEM, "could not digest the body");
	memcpy(ret_digest, "\\x", 2);
	aic_digest_hex(asked, ret_digest + 2);
	return aic_id_of_key(ret_id, named, asked, err);
}

void
aic_idempotency_queue_bind(struct aic_db_call *call, int64_t telegram_id,
    const char *zone)
{
	aic_db_call(call, &queue);
	aic_db_int(call, telegram_id);
	aic_db_text(call, zone);
}

bool
aic_idempotency_queue_read(const struct aic_db_call *call, int64_t *ret_used,
    int64_t *ret_reset_in_s)
{
	if (PQntuples(call->res) == 0)
		return false;
	*ret_used = aic_db_get_int(call, 0, QUEUE_USED);
	*ret_reset_in_s = aic_db_get_int(call, 0, QUEUE_RESET_IN_S);
	return true;
}

void
aic_idempotency_bind(struct aic_db_call *call, int64_t telegram_id,
    const char *chat_id, const char *digest)
{
	aic_db_call(call, &repeat);
	aic_db_int(call, telegram_id);
	aic_db_text(call, chat_id);
	aic_db_text(call, digest);
}

struct aic_idempotency
aic_idempotency_read(const struct aic_db_call *call)
{
	const char *same = aic_db_get(call, 0, REPEAT_SAME);
	const char *running = aic_db_get(call, 0, REPEAT_RUNNING);
	struct aic_idempotency r = { .state = AIC_IDEMPOTENCY_NONE };

	if (*same == 't') {
		r.state = AIC_IDEMPOTENCY_KEPT;
		r.response = aic_db_get(call, 0, REPEAT_RESPONSE);
		r.tokens = aic_db_get_int(call, 0, REPEAT_TOKENS);
		r.remaining = aic_db_get_int(call, 0, REPEAT_REMAINING);
	} else if (*same == 'f' || *running == 'f') {
		r.state = AIC_IDEMPOTENCY_OTHER;
	} else if (*running == 't') {
		r.state = AIC_IDEMPOTENCY_RUNNING;
	}
	return r;
}
