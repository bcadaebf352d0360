/*
 * db_trip -- one trip: several batches over one connection, in the pipeline
 * mode of libpq.
 *
 * All batches are sent, one after another, and then all results are read. Each
 * batch ends with a sync message of its own and is therefore a transaction of
 * its own: a batch that fails undoes no other batch.
 *
 * The saves of a trip wait for the disk once. The last save commits with a wait
 * for the disk, and the saves before it use their lazy form. The server writes
 * its log in order, so the last commit takes the earlier ones to the disk. If
 * the last save fails or writes nothing, the earlier ones are AIC_DB_LOST.
 *
 * Internal to the pool of db.h, which decides which batches share a trip, and
 * which of them run again.
 *
 * Threads: a trip runs in one thread, which owns its batches and its connection
 * until the trip is over.
 */
#ifndef AIC_DB_TRIP_H
#define AIC_DB_TRIP_H

#include <pthread.h>

#include "lib/db_conn.h"

/* The result of one attempt to run a batch. */
enum aic_db_outcome {
	AIC_DB_RAN,
	AIC_DB_REFUSED, /* a permanent error of the server */
	AIC_DB_AGAIN, /* a temporary error of the server: a deadlock */
	AIC_DB_STALE, /* a prepared statement failed; its text may succeed */
	/*
	 * no response, because the connection broke or another batch was late;
	 * or an error that means that the server stops, starts or is a standby
	 */
	AIC_DB_LOST,
	AIC_DB_LATE, /* no response before the deadline of the batch */
};

/* Where a batch is. */
enum aic_db_batch_state {
	AIC_DB_QUEUED, /* in the queue: it waits for a connection */
	AIC_DB_TAKEN, /* with the thread that leads its trip */
	AIC_DB_DONE, /* back at its caller; `out' is set, `err' on a failure */
};

/* One aic_db_run(). It is on the stack of the caller. */
struct aic_db_batch {
	struct aic_db_call *calls;
	int n;
	int64_t deadline_us;
	struct aic_err *err; /* where the error of a failure is put */
	bool plain; /* was AIC_DB_STALE: run without prepared statements */
	struct aic_db_batch *next; /* in the trip, or in the queue */

	/* Set by a trip. */
	enum aic_db_outcome out;
	bool lazy; /* its commit did not wait for the disk */
	int preparing; /* bit i: call i prepares its statement on this trip */
	int reusing; /* bit i: the statement of call i was prepared before */

	/* Of the pool alone. */
	enum aic_db_batch_state state;
	int64_t since_us; /* when it was queued */
	bool waits; /* sleeps on `changed' and has not been signalled */
	pthread_cond_t changed;
};

/*
 * aic_db_trip_run -- run batches over a connection. Sets `out' of each batch,
 * the results of its calls if `out' is AIC_DB_RAN, and its `err' otherwise.
 *
 * c         connected; closed if it broke, missed a deadline, or has to be
 *           replaced; `unfit' and `silent' are set
 * trip      a list of one batch or more
 * prepare   whether to use prepared statements; cleared when a pooler is found
 *           to share one session between connections
 *
 * Blocks:   until the first deadline among the batches that have no response
 *           yet
 * Source:   PostgreSQL 15, 34.4 and 34.5 (asynchronous processing, pipeline
 *           mode)
 */
void aic_db_trip_run(struct aic_db_conn *c, struct aic_db_batch *trip,
    atomic_bool *prepare);

#endif
