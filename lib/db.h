/*
 * db -- PostgreSQL client with its own deadlines and a small pool of
 * connections.
 *
 * libpq is driven without blocking, because a server that hangs cannot enforce
 * its own statement_timeout. The deadline is therefore kept in this module. A
 * connection that missed a deadline is closed. It is not cancelled, because
 * PQcancel() waits for the server. The idle connections of the pool are closed
 * with it, because the fault that dropped its packets may concern all existing
 * connections.
 *
 * Statements run in batches. One aic_db_run() is one batch: one round trip and
 * one transaction. Batches of several threads that wait for a connection at the
 * same time share a trip. Each batch remains a transaction of its own, and the
 * whole trip waits for the disk once. The cost of a chat therefore falls as the
 * load rises.
 *
 * Each connection prepares each statement once. When a statement fails that an
 * earlier batch prepared, its batch is run again as text, because another
 * service may have changed the type of a column or restored the tables. If the
 * text succeeds, all connections are replaced, and the caller of the batch sees
 * no error.
 *
 * A batch whose connection breaks is run again, although the server may have
 * committed it. Every statement of this project must therefore be idempotent.
 * The comment beside each statement says why it is.
 *
 * Threads: any thread may use the pool; a struct aic_db_call belongs to one
 * thread.
 */
#ifndef AIC_DB_H
#define AIC_DB_H

#include "lib/db_call.h"

#define AIC_DB_CALLS 4

struct aic_db;

struct aic_db_conf {
	const char *url; /* a libpq connection string; borrowed */
	/*
	 * The schema of the tables, as aic_value_schema() accepts it. The
	 * search_path of a session is this schema and pg_catalog. NULL: the
	 * search_path of the role. Borrowed.
	 */
	const char *schema;
	int pool; /* connections, 1.. */
	int timeout_ms; /* also set on the server; see aic_db_open() */
	/*
	 * Use prepared statements. An old PgBouncer needs false. The pool
	 * clears the flag itself when it detects that connections share
	 * sessions.
	 */
	bool prepare;
};

/*
 * aic_db_open -- make a pool. Connections are opened on demand, so the call
 * succeeds while the database is down.
 *
 * statement_timeout, lock_timeout and idle_in_transaction_session_timeout are
 * set through the start-up options. `options' in the URL override the settings
 * that they name. An empty `options' in the URL sends none, because PgBouncer
 * rejects them; set the timeouts on the role in that case.
 *
 * Errors:   AIC_ECONF  the URL is not a connection string; AIC_ENOMEM
 * Memory:   gives; aic_db_close()
 */
enum aic_code aic_db_open(struct aic_db **ret_db,
    const struct aic_db_conf *conf, struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_db_close -- close all connections and free the pool. NULL is allowed. No
 * thread may be in aic_db_run().
 */
void aic_db_close(struct aic_db *db);

/*
 * aic_db_run -- run a batch: one round trip, one transaction.
 *
 * n         1..AIC_DB_CALLS
 * deadline_us  of the whole run: a free connection, connecting, the response
 *
 * On AIC_OK `res' of each call is set. On an error no `res' is set.
 *
 * Errors:   AIC_EDB  err->detail has the SQLSTATE and the message of the
 *           server, and err->retry_after_s is set. err->sqlstate is "" when the
 *           server did not respond; the batch may then have been committed.
 *           AIC_ENOMEM
 * Blocks:   until the deadline, except for DNS
 * Memory:   gives results; aic_db_call_done()
 * Source:   PostgreSQL 15, 34.4 and 34.5 (asynchronous processing, pipeline
 *           mode)
 */
enum aic_code aic_db_run(struct aic_db *db, struct aic_db_call *calls, int n,
    int64_t deadline_us, struct aic_err *err) AIC_MUST_CHECK;

/* The state of the pool, for metrics and health checks. */
struct aic_db_state {
	int connections; /* open connections */
	int busy; /* connections in use */
	int waiting; /* batches that wait for a connection */
	bool down; /* connecting fails */
};

struct aic_db_state aic_db_look(struct aic_db *db);

/*
 * aic_db_ping -- check that the database answers, with a statement that reads
 * nothing. Errors and Blocks as for aic_db_run().
 */
enum aic_code aic_db_ping(struct aic_db *db, int64_t deadline_us,
    struct aic_err *err) AIC_MUST_CHECK;

#endif
