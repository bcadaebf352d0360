/*
 * schema -- what statements in several files share: the version of the schema
 * that they need, and fragments of SQL about its tables.
 *
 * A fragment is here if two stages use it, because stages do not include each
 * other. Every other statement is beside the function that runs it.
 */
#ifndef AIC_SCHEMA_H
#define AIC_SCHEMA_H

/* The newest migration in sql/ that the statements need. */
#define AIC_SCHEMA_VERSION 6

/*
 * AIC_SQL_DURABLE -- an expression for the rows that a statement returns. It
 * makes the commit wait for the disk, whatever synchronous_commit the role, the
 * database or a pooler has set for the session.
 *
 * Only "off" is replaced. Every other value waits at least for the local disk
 * and is kept as the administrator chose it, because a standby may depend on
 * it. The setting lasts for the transaction, so that a session that a pooler
 * gives to another client keeps its own.
 */
#define AIC_SQL_DURABLE                                                        \
	"CASE WHEN current_setting('synchronous_commit') = 'off'"              \
	" THEN set_config('synchronous_commit', 'on', true) END"

/*
 * AIC_SQL_NO_WAIT -- the opposite: the commit of this transaction does not wait
 * for the disk. The comment of a statement that uses it says what a power
 * failure may undo, and why that does no harm.
 */
#define AIC_SQL_NO_WAIT "set_config('synchronous_commit', 'off', true)"

/*
 * AIC_SQL_SAME_KEY -- a condition: the chat id in a column was made from the
 * same Idempotency-Key as the id in a parameter, "$2". An index on the column
 * supports it. The first half of an id depends on the key alone; see
 * aic_id_of_key().
 */
#define AIC_SQL_SAME_KEY(column, param)                                        \
	column " BETWEEN"                                                      \
	       " (left(" param "::text, 18) || '-0000-000000000000')::uuid"    \
	       " AND"                                                          \
	       " (left(" param "::text, 18) || '-ffff-ffffffffffff')::uuid"

/* AIC_SQL_SAME_BODY -- the same condition for the body of the request. */
#define AIC_SQL_SAME_BODY(column, param)                                       \
	"right(" column "::text, 8) = right(" param "::text, 8)"

/*
 * AIC_SQL_ISO -- the format of to_char() for a time in UTC, in seconds, as
 * operators see it.
 */
#define AIC_SQL_ISO "'YYYY-MM-DD\"T\"HH24:MI:SS\"+00:00\"'"

/* AIC_SQL_KEPT -- how long a repeat of a key gets the stored answer. */
#define AIC_SQL_KEPT "interval '24 hours'"

/*
 * AIC_SQL_DAY_USED, AIC_SQL_DAY_LEFT_S -- the state of a user's day, from the
 * user's row "l" and the time zone in a parameter, "$2": the used chats, which
 * are the counted chats and the reservations, and the seconds to the end of the
 * day, 1 or more.
 */
/* clang-format off */
#define AIC_SQL_DAY(zone) \
	"greatest(l.last_reset_date," \
	" (now() AT TIME ZONE " zone "::text)::date)"
#define AIC_SQL_DAY_USED(zone) \
	"CASE WHEN l.last_reset_date = " AIC_SQL_DAY(zone) \
	" THEN l.request_count ELSE 0 END" \
	" + (SELECT count(*) FROM pg_catalog.unnest(l.leases) x" \
	"  WHERE x.until > now() AND x.day = " AIC_SQL_DAY(zone) ")"
#define AIC_SQL_DAY_LEFT_S(zone) \
	"greatest(1, ceil(extract(epoch FROM" \
	" ((" AIC_SQL_DAY(zone) " + 1)::timestamp" \
	"  AT TIME ZONE " zone "::text) - now())))::bigint"
/* clang-format on */

/*
 * AIC_SQL_CONTEXT_VERSION -- the version of a user's context, from the user's
 * row "l". It consists of a number, which every save raises, and of the time at
 * which the user became known, so that a user who was erased and returns does
 * not get an old version again.
 */
#define AIC_SQL_CONTEXT_VERSION                                                \
	"l.context_seq::text || ' ' ||"                                        \
	" coalesce(extract(epoch FROM l.created_at)::text, '')"
#define AIC_CONTEXT_VERSION_SIZE 64

#endif
