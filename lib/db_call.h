/*
 * db_call -- a statement, its parameters, its result, and its errors: the types
 * that the pool, its trips and their callers share.
 *
 * A caller includes db.h, which includes this header.
 *
 * Threads: a struct aic_db_call belongs to one thread.
 */
#ifndef AIC_DB_CALL_H
#define AIC_DB_CALL_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"

#define AIC_DB_PARAMS 8

/* A statement. It is static, because its address is its identity. */
struct aic_db_stmt {
	const char *name; /* unique; the name of the prepared statement */
	const char *sql;
	int n_params;
	/*
	 * The same statement with a commit that does not wait for the disk.
	 * NULL: there is no such form. The pool runs this form when a later
	 * batch of the same trip waits for the disk anyway, and reports success
	 * only after that batch has. Both forms return a row if, and only if,
	 * they have written, so the rows show the pool whether the later batch
	 * has written.
	 */
	const struct aic_db_stmt *lazy;
};

/* A statement, its parameters, and after the run its result. */
struct aic_db_call {
	const struct aic_db_stmt *stmt;
	int n;
	const char *param[AIC_DB_PARAMS];
	char num[AIC_DB_PARAMS][24];
	PGresult *res; /* PGRES_TUPLES_OK or PGRES_COMMAND_OK */
};

/*
 * aic_db_call -- begin a call. Its parameters follow in the order $1, $2, ...
 */
void aic_db_call(struct aic_db_call *call, const struct aic_db_stmt *stmt);

/*
 * aic_db_text, aic_db_int -- add the next parameter. Text is borrowed until the
 * call has run. NULL is the NULL of SQL.
 */
void aic_db_text(struct aic_db_call *call, const char *value);
void aic_db_int(struct aic_db_call *call, int64_t value);

/* aic_db_call_done -- free the result. A zeroed call is allowed. */
void aic_db_call_done(struct aic_db_call *call);

/*
 * aic_db_get, aic_db_get_int -- read a field of a result. NULL reads as "" or
 * 0.
 */
const char *aic_db_get(const struct aic_db_call *call, int row, int col);
int64_t aic_db_get_int(const struct aic_db_call *call, int row, int col);

/* SQLSTATEs that callers handle: insufficient_privilege, lock_not_available. */
#define AIC_DB_NO_RIGHT "42501"
#define AIC_DB_LOCKED "55P03"

/*
 * aic_db_concerns_all -- whether the server would refuse the same statement for
 * every user. False when the reason may lie in one row.
 *
 * sqlstate  of an error, as in err->sqlstate
 * Source:   PostgreSQL 15, appendix A (error codes)
 */
bool aic_db_concerns_all(const char *sqlstate);

/*
 * aic_db_fail -- record a database error: AIC_EDB, with a Retry-After.
 *
 * doing     what failed, after "could not "; the name of a statement, or a
 *           phrase
 * sqlstate  five characters; NULL: the server did not respond
 * message   line breaks become blanks, because a log line has none; NULL is ""
 */
enum aic_code aic_db_fail(struct aic_err *err, const char *doing,
    const char *sqlstate, const char *message);

/*
 * aic_db_hide -- remove secrets from an error message of libpq about a
 * connection.
 *
 * libpq quotes parts of the connection string. If the URL contains an unescaped
 * slash or at sign, libpq parses a part of the password as the port or the host
 * and quotes that part.
 *
 * text      changed in place; does not grow
 */
void aic_db_hide(char *text);

#endif
