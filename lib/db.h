/*
 * db -- PostgreSQL with our own deadline, and a small pool of connections.
 *
 * libpq is driven without blocking: a server that hangs cannot run its own
 * statement_timeout, so the deadline is kept here, and a connection that missed
 * one is thrown away (it is never cancelled: PQcancel() waits for the server), and its
 * idle siblings with it, because what swallowed its packets may swallow theirs.
 *
 * Statements go in batches: what is put into one aic_db_run() makes one round
 * trip and one transaction. Batches of several threads that wait for a connection
 * at the same time share a trip, each still a transaction of its own, and wait for
 * the disk once; so the busier the service, the less a chat costs.
 *
 * Statements are prepared once for each connection. Where one fails that was prepared
 * earlier, its batch is run again as text: another service may have changed a column's
 * type, or restored the tables. If the text runs, all connections are made anew, so the
 * caller of a batch sees nothing of it.
 *
 * A batch whose connection breaks is run again, though the
 * server may have committed it: so every statement of this project must mean the
 * same when it is run twice. Each says beside its text why it does.
 *
 * Threads: the pool is shared; a struct aic_db_call belongs to one thread.
 */
#ifndef AIC_DB_H
#define AIC_DB_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"

#define AIC_DB_PARAMS 8
#define AIC_DB_CALLS 4

struct aic_db;

struct aic_db_conf {
	const char *url; /* any libpq connection string; borrowed */
	/* Where the tables are, as aic_value_schema() has it: the session looks there
	 * and in pg_catalog alone. NULL: as the role has it. Borrowed. */
	const char *schema;
	int pool; /* connections, 1.. */
	int timeout_ms; /* told to the server too; see aic_db_open() */
	/* Prepared statements; off behind an old PgBouncer. It is switched off by itself
	 * where the connections turn out to share sessions. */
	bool prepare;
};

/* A statement: static, its address is its identity. */
struct aic_db_stmt {
	const char *name; /* unique; the name of the prepared statement */
	const char *sql;
	int n_params;
	/*
	 * The same, but its commit does not wait for the disk; NULL: there is no
	 * such form. It is run where a later batch on the same connection waits
	 * for the disk anyway, and told as done only when that one has. To show
	 * that, both forms return a row if, and only if, they have written.
	 */
	const struct aic_db_stmt *lazy;
};

/*
 * AIC_DB_SQL_DURABLE -- as SQL, an expression for the rows that a statement returns: its
 * commit waits for the disk, whatever synchronous_commit the role, the database or a
 * pooler set for the session. Only "off" is replaced. Every other value waits for the
 * local disk at least, and remains as the administrator chose it, because a standby
 * may depend on it. Of the transaction alone, so nothing remains in a session that a
 * pooler gives to others.
 */
#define AIC_DB_SQL_DURABLE                                                     \
	"CASE WHEN current_setting('synchronous_commit') = 'off'"              \
	" THEN set_config('synchronous_commit', 'on', true) END"

/* One statement with its parameters, and then its result. */
struct aic_db_call {
	const struct aic_db_stmt *stmt;
	int n;
	const char *param[AIC_DB_PARAMS];
	char num[AIC_DB_PARAMS][24];
	PGresult *res; /* of PGRES_TUPLES_OK or PGRES_COMMAND_OK */
};

/*
 * aic_db_open -- make a pool. Connections are made when they are needed, so this
 * succeeds while the database is away.
 *
 * statement_timeout, lock_timeout and idle_in_transaction_session_timeout are set
 * through the start-up options. `options' of the URL replace those that they name. With
 * empty `options' nothing is set (PgBouncer refuses them: set the timeouts on the role
 * there).
 *
 * Errors:   AIC_ECONF  the URL is not one; AIC_ENOMEM
 * Memory:   gives; aic_db_close()
 */
enum aic_code aic_db_open(struct aic_db **ret_db,
    const struct aic_db_conf *conf, struct aic_err *err) AIC_MUST_CHECK;

/* aic_db_close -- close all. NULL is fine. Nobody may be running a batch. */
void aic_db_close(struct aic_db *db);

/* aic_db_call -- begin a call; parameters follow in the order of $1, $2, ... */
void aic_db_call(struct aic_db_call *call, const struct aic_db_stmt *stmt);

/* aic_db_text, aic_db_int -- the next parameter. Text is borrowed until the call
 * has run; NULL is SQL's NULL. */
void aic_db_text(struct aic_db_call *call, const char *value);
void aic_db_int(struct aic_db_call *call, int64_t value);

/*
 * aic_db_run -- run a batch: one round trip, one transaction.
 *
 * n         1..AIC_DB_CALLS
 * deadline_us  for everything: a free connection, connecting, the answer
 *
 * On AIC_OK each call has its result in `res', else none has.
 *
 * Errors:   AIC_EDB  err->detail has the SQLSTATE and the server's message, and
 *           err->retry_after_s is set; err->sqlstate is "" where no answer came,
 *           and then the batch may have been committed; AIC_ENOMEM
 * Blocks:   until the deadline at most, but for DNS
 * Memory:   gives results; aic_db_call_done()
 * Source:   PostgreSQL 15, 34.4 and 34.5 (asynchronous processing, pipeline mode)
 */
enum aic_code aic_db_run(struct aic_db *db, struct aic_db_call *calls, int n,
    int64_t deadline_us, struct aic_err *err) AIC_MUST_CHECK;

/* SQLSTATEs that callers act upon: insufficient_privilege, lock_not_available. */
#define AIC_DB_NO_RIGHT "42501"
#define AIC_DB_LOCKED "55P03"

/*
 * aic_db_concerns_all -- would the server refuse the same statement for any user's
 * data? False where the reason may be in one row.
 *
 * sqlstate  of a refusal, as err->sqlstate has it
 * Source:   PostgreSQL 15, appendix A (error codes)
 */
bool aic_db_concerns_all(const char *sqlstate);

/* How things stand, for those who watch. */
struct aic_db_state {
	int connections; /* open */
	int busy; /* of them, in use */
	int waiting; /* batches without one */
	bool down; /* connecting fails */
};

struct aic_db_state aic_db_look(struct aic_db *db);

/* aic_db_call_done -- free the result. Copes with a zeroed call. */
void aic_db_call_done(struct aic_db_call *call);

/* aic_db_get, aic_db_get_int -- a field of a result; "" and 0 for NULL. */
const char *aic_db_get(const struct aic_db_call *call, int row, int col);
int64_t aic_db_get_int(const struct aic_db_call *call, int row, int col);

/*
 * aic_db_hide -- take out of what libpq says of a connection that failed whatever
 * it may have quoted from a connection string with a slip in it: with an unescaped
 * slash or at sign, part of the password is taken for the port or the host.
 *
 * text      changed in place; gets no longer
 */
void aic_db_hide(char *text);

#endif
