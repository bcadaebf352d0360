#include "config.h"

#include "lib/db_trip.h"

#include <poll.h>
#include <string.h>

#include "lib/clock.h"

static bool
is_prepared(const struct aic_db_conn *c, const struct aic_db_stmt *stmt)
{
	int i;

	for (i = 0; i < c->n_prepared; i++)
		if (c->prepared[i] == stmt)
			return true;
	return false;
}

static bool
send_call(struct aic_db_conn *c, struct aic_db_batch *b, int i,
    atomic_bool *prepare)
{
	const struct aic_db_call *call = &b->calls[i];
	const struct aic_db_stmt *stmt = b->lazy && call->stmt->lazy
	    ? call->stmt->lazy
	    : call->stmt;

	if (b->plain || c->n_prepared == AIC_DB_STMTS_MAX ||
	    !atomic_load(prepare))
		return PQsendQueryParams(c->pg, stmt->sql, call->n, NULL,
		    call->param, NULL, NULL, 0);
	if (is_prepared(c, stmt)) {
		b->reusing |= 1 << i;
	} else {
		if (!PQsendPrepare(c->pg, stmt->name, stmt->sql, 0, NULL))
			return false;
		b->preparing |= 1 << i;
		c->prepared[c->n_prepared++] = stmt;
	}
	return PQsendQueryPrepared(c->pg, stmt->name, call->n, call->param,
	    NULL, NULL, 0);
}

static bool
send_all(struct aic_db_conn *c, struct aic_db_batch *trip, atomic_bool *prepare)
{
	struct aic_db_batch *b;
	int i;

	for (b = trip; b; b = b->next) {
		b->preparing = b->reusing = 0;
		for (i = 0; i < b->n; i++)
			if (!send_call(c, b, i, prepare))
				return false;
		/* Each batch is a transaction of its own. */
		if (!PQpipelineSync(c->pg))
			return false;
	}
	return true;
}

static enum aic_db_outcome
flush_out(struct aic_db_conn *c, int64_t deadline_us)
{
	int rc;

	while ((rc = PQflush(c->pg)) == 1) {
		/* Read as well: both sides could otherwise block on a write. */
		if (!aic_db_conn_wait(c, POLLIN | POLLOUT, deadline_us))
			return AIC_DB_LATE;
		if (!PQconsumeInput(c->pg))
			return AIC_DB_LOST;
	}
	return rc == 0 ? AIC_DB_RAN : AIC_DB_LOST;
}

static enum aic_db_outcome
next_result(struct aic_db_conn *c, int64_t deadline_us, PGresult **ret_res)
{
	while (PQisBusy(c->pg)) {
		if (!aic_db_conn_wait(c, POLLIN, deadline_us))
			return AIC_DB_LATE;
		if (!PQconsumeInput(c->pg))
			return AIC_DB_LOST;
	}
	*ret_res = PQgetResult(c->pg);
	return AIC_DB_RAN;
}

/*
 * Whether a statement that was prepared earlier can fail with this SQLSTATE
 * although its text would succeed. There are three such cases:
 *
 * - 0A000: a column has another type.
 * - XX000 and class 42: a type or a table was dropped and created again with
 *   another OID.
 * - 26000: the prepared statement does not exist. A pooler reset the session,
 *   or the batch of this trip that was to prepare the statement failed.
 *
 * The batch is run again as text. If the text fails too, the error is that of
 * the statement.
 */
static bool
may_be_stale(const char *state)
{
	return strncmp(state, "42", 2) == 0 || strncmp(state, "0A", 2) == 0 ||
	    strncmp(state, "26", 2) == 0 || strncmp(state, "XX", 2) == 0;
}

/*
 * Classify an error. A result without an SQLSTATE was made by libpq: the
 * connection is gone. Classes 08 and 57P mean the same, and are sent by the
 * server. 25006 comes from a server that has become a standby. 42P05 means that
 * a statement of this name exists which this connection has not prepared: a
 * pooler shares one session between connections, so nothing can be prepared.
 */
static enum aic_db_outcome
classify_error(struct aic_db_conn *c, const struct aic_db_batch *b, int at,
    const PGresult *res, atomic_bool *prepare)
{
	const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);

	if (!state || PQstatus(c->pg) == CONNECTION_BAD ||
	    strncmp(state, "08", 2) == 0 || strncmp(state, "57P", 3) == 0 ||
	    strcmp(state, "25006") == 0)
		return AIC_DB_LOST;
	if (strcmp(state, "40001") == 0 || strcmp(state, "40P01") == 0)
		return AIC_DB_AGAIN;
	if (strcmp(state, "42P05") == 0 && b->preparing & 1 << at) {
		atomic_store(prepare, false);
		return AIC_DB_STALE;
	}
	if (b->reusing & 1 << at && may_be_stale(state))
		return AIC_DB_STALE;
	return AIC_DB_REFUSED;
}

/*
 * Read the results of one batch, up to its sync. The first failure is reported.
 */
static enum aic_db_outcome
read_batch(struct aic_db_conn *c, struct aic_db_batch *b, int64_t deadline_us,
    atomic_bool *prepare)
{
	enum aic_db_outcome out = AIC_DB_RAN, got;
	int at = 0, nulls = 0;
	PGresult *res;

	for (;;) {
		got = next_result(c, deadline_us, &res);
		if (got != AIC_DB_RAN)
			return got;
		if (!res) {
			/*
			 * libpq ends the results of each call with one NULL.
			 * More NULLs in a row mean that no result is pending.
			 */
			if (++nulls > 2)
				return AIC_DB_LOST;
			continue;
		}
		nulls = 0;
		switch (PQresultStatus(res)) {
		case PGRES_PIPELINE_SYNC:
			PQclear(res);
			return out;
		case PGRES_TUPLES_OK:
		case PGRES_COMMAND_OK:
			if (at < b->n && b->preparing & 1 << at) {
				b->preparing &= ~(1 << at);
				PQclear(res);
			} else if (at < b->n) {
				b->calls[at++].res = res;
			} else {
				PQclear(res);
			}
			continue;
		case PGRES_PIPELINE_ABORTED:
			PQclear(res);
			continue;
		default:
			if (out == AIC_DB_RAN) {
				out = classify_error(c, b, at, res, prepare);
				c->unfit = c->unfit ||
				    (out == AIC_DB_LOST &&
					PQstatus(c->pg) == CONNECTION_OK);
				aic_db_fail(b->err,
				    b->calls[at < b->n ? at : 0].stmt->name,
				    PQresultErrorField(res, PG_DIAG_SQLSTATE),
				    PQresultErrorField(res,
					PG_DIAG_MESSAGE_PRIMARY));
			}
			PQclear(res);
			if (PQstatus(c->pg) == CONNECTION_BAD)
				return AIC_DB_LOST;
		}
	}
}

static bool
is_durable(const struct aic_db_batch *b)
{
	int i;

	for (i = 0; i < b->n; i++)
		if (b->calls[i].stmt->lazy)
			return true;
	return false;
}

/*
 * Choose the batches of a trip whose commit need not wait for the disk: all
 * that have a lazy form, except the last one.
 */
static void
choose_lazy(struct aic_db_batch *trip)
{
	struct aic_db_batch *b, *last = NULL;

	for (b = trip; b; b = b->next) {
		b->lazy = false;
		if (!is_durable(b))
			continue;
		if (last)
			last->lazy = true;
		last = b;
	}
}

/*
 * A lazy commit is on the disk once a later batch of its trip has written and
 * waited for the disk. If no later batch did, the lazy commit may be lost in a
 * crash of the server. It is then AIC_DB_LOST and run again. If the first run
 * survived, the second changes nothing and returns no row, and the caller looks
 * for what the first run stored.
 */
static void
settle_lazy(struct aic_db_batch *trip)
{
	struct aic_db_batch *b;
	bool flushed = false;

	for (b = trip; b; b = b->next)
		if (is_durable(b) && !b->lazy)
			flushed = b->out == AIC_DB_RAN &&
			    PQntuples(b->calls[b->n - 1].res) > 0;
	for (b = trip; b; b = b->next)
		if (b->lazy && b->out == AIC_DB_RAN && !flushed) {
			aic_db_fail(b->err, b->calls[0].stmt->name, NULL,
			    "not known to be on the disk");
			b->out = AIC_DB_LOST;
		}
}

/* Record that no response came; `out' is the reason why the trip ended. */
static void
note_lost(struct aic_db_conn *c, struct aic_db_batch *b,
    enum aic_db_outcome out)
{
	b->out = aic_clock_us() < b->deadline_us ? AIC_DB_LOST : AIC_DB_LATE;
	if (out == AIC_DB_LATE)
		aic_db_fail(b->err, b->calls[0].stmt->name, NULL,
		    "the database did not answer in time");
	else if (b->err->code == AIC_OK)
		aic_db_fail(b->err, b->calls[0].stmt->name, NULL,
		    PQerrorMessage(c->pg));
}

/* The first deadline of b and of the batches after it. */
static int64_t
first_deadline(const struct aic_db_batch *b)
{
	int64_t first = INT64_MAX;

	for (; b; b = b->next)
		if (b->deadline_us < first)
			first = b->deadline_us;
	return first;
}

static void
drop_results(struct aic_db_batch *b)
{
	int i;

	for (i = 0; i < b->n; i++)
		aic_db_call_done(&b->calls[i]);
}

void
aic_db_trip_run(struct aic_db_conn *c, struct aic_db_batch *trip,
    atomic_bool *prepare)
{
	enum aic_db_outcome out = AIC_DB_LOST;
	struct aic_db_batch *b;

	for (b = trip; b; b = b->next) {
		b->out = AIC_DB_LOST;
		b->err->code = AIC_OK;
	}
	choose_lazy(trip);
	if (send_all(c, trip, prepare))
		out = flush_out(c, first_deadline(trip));
	for (b = trip; b && out != AIC_DB_LOST && out != AIC_DB_LATE;
	     b = b->next) {
		out = b->out = read_batch(c, b, first_deadline(b), prepare);
		/*
		 * `prepared' lists a statement that the failed batch did not
		 * prepare. A full list makes the end of this function close
		 * the connection.
		 */
		if (b->preparing && out != AIC_DB_RAN)
			c->n_prepared = AIC_DB_STMTS_MAX;
	}
	for (b = trip; b; b = b->next)
		if (b->out == AIC_DB_LOST || b->out == AIC_DB_LATE)
			note_lost(c, b, out);
	settle_lazy(trip);
	for (b = trip; b; b = b->next)
		if (b->out != AIC_DB_RAN)
			drop_results(b);
	c->silent = out == AIC_DB_LATE;
	if (out == AIC_DB_LOST || out == AIC_DB_LATE ||
	    c->n_prepared == AIC_DB_STMTS_MAX)
		aic_db_conn_close(c);
}
