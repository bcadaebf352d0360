#include "config.h"

#include "db.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

/* More statements than this in one program would be a design of its own. */
#define STMTS_MAX 32

/* A server that restarts is back within a second or two; asking more often than
 * ten times a second brings nothing, asking less often loses time. */
#define RETRY_FIRST_US (50 * AIC_MS)
#define RETRY_MOST_US (500 * AIC_MS)

/* When the database is away: come again soon, but not at once. */
#define RETRY_AFTER_S 2

struct conn {
	struct conn *next; /* in the list of idle ones */
	PGconn *pg; /* NULL: to be connected */
	/* What this connection has prepared, by address. */
	const struct aic_db_stmt *prepared[STMTS_MAX];
	int n_prepared;
};

struct aic_db {
	const char **keys, **values; /* for PQconnectStartParams() */
	PQconninfoOption *options;
	char timeouts[160];
	bool prepare;

	pthread_mutex_t lock;
	pthread_cond_t idle_again;
	struct conn *idle;
	struct conn *all;
	int n_all;
	/* After a failed connect nobody tries again before retry_us. */
	int64_t retry_us;
	int64_t backoff_us;
	int64_t down_since_us; /* 0: not down, as far as we know */
	int64_t timeout_us;
};

/* What became of one try to run a batch. */
enum outcome {
	RAN,
	REFUSED, /* the server said no, and would again */
	AGAIN, /* the server said no, and may say yes: a deadlock */
	LOST, /* no answer: the connection broke */
	LATE, /* no answer: the deadline passed */
};

static enum aic_code
set_params(struct aic_db *db, const char *url, int timeout_ms,
    struct aic_err *err)
{
	PQconninfoOption *o;
	char *wrong = NULL;
	bool own_options = false;
	int n = 0;

	db->options = PQconninfoParse(url, &wrong);
	if (!db->options) {
		/* The message may quote the URL, with a password in it. */
		PQfreemem(wrong);
		return aic_fail(err, AIC_ECONF,
		    "DATABASE_URL is not a connection string of PostgreSQL");
	}
	for (o = db->options; o->keyword; o++)
		n++;
	db->keys = calloc((size_t)n + 4, sizeof(*db->keys));
	db->values = calloc((size_t)n + 4, sizeof(*db->values));
	if (!db->keys || !db->values)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	n = 0;
	for (o = db->options; o->keyword; o++) {
		if (!o->val)
			continue;
		if (strcmp(o->keyword, "options") == 0)
			own_options = true;
		/* Text goes out as it came in, whatever the URL says. */
		if (strcmp(o->keyword, "client_encoding") == 0)
			continue;
		db->keys[n] = o->keyword;
		db->values[n++] = o->val;
	}
	db->keys[n] = "client_encoding";
	db->values[n++] = "UTF8";
	db->keys[n] = "fallback_application_name";
	db->values[n++] = "ai-chat";
	if (!own_options) {
		/* A row lock ends first: it is the lesser trouble to report. */
		snprintf(db->timeouts, sizeof(db->timeouts),
		    "-c statement_timeout=%d -c lock_timeout=%d "
		    "-c idle_in_transaction_session_timeout=%d "
		    "-c plan_cache_mode=force_generic_plan",
		    timeout_ms, timeout_ms * 9 / 10, timeout_ms);
		db->keys[n] = "options";
		db->values[n++] = db->timeouts;
	}
	return AIC_OK;
}

enum aic_code
aic_db_open(struct aic_db **ret_db, const struct aic_db_conf *conf,
    struct aic_err *err)
{
	struct aic_db *db;
	enum aic_code rc;
	int i;

	db = calloc(1, sizeof(*db));
	if (!db)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	pthread_mutex_init(&db->lock, NULL);
	pthread_cond_init(&db->idle_again, NULL);
	db->prepare = conf->prepare;
	db->timeout_us = conf->timeout_ms * AIC_MS;
	rc = set_params(db, conf->url, conf->timeout_ms, err);
	if (rc) {
		aic_db_close(db);
		return rc;
	}
	db->all = calloc((size_t)conf->pool, sizeof(*db->all));
	if (!db->all) {
		aic_db_close(db);
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	}
	db->n_all = conf->pool;
	for (i = db->n_all - 1; i >= 0; i--) {
		db->all[i].next = db->idle;
		db->idle = &db->all[i];
	}
	*ret_db = db;
	return AIC_OK;
}

void
aic_db_close(struct aic_db *db)
{
	int i;

	if (!db)
		return;
	for (i = 0; i < db->n_all; i++)
		PQfinish(db->all[i].pg);
	free(db->all);
	free(db->keys);
	free(db->values);
	PQconninfoFree(db->options);
	pthread_cond_destroy(&db->idle_again);
	pthread_mutex_destroy(&db->lock);
	free(db);
}

void
aic_db_call(struct aic_db_call *call, const struct aic_db_stmt *stmt)
{
	call->stmt = stmt;
	call->n = 0;
	call->res = NULL;
}

void
aic_db_text(struct aic_db_call *call, const char *value)
{
	call->param[call->n++] = value;
}

void
aic_db_int(struct aic_db_call *call, int64_t value)
{
	snprintf(call->num[call->n], sizeof(call->num[0]), "%" PRId64, value);
	call->param[call->n] = call->num[call->n];
	call->n++;
}

void
aic_db_call_done(struct aic_db_call *call)
{
	PQclear(call->res);
	call->res = NULL;
}

const char *
aic_db_get(const struct aic_db_call *call, int row, int col)
{
	return PQgetvalue(call->res, row, col);
}

int64_t
aic_db_get_int(const struct aic_db_call *call, int row, int col)
{
	return strtoll(PQgetvalue(call->res, row, col), NULL, 10);
}

/* --- connections ------------------------------------------------------- */

static void
conn_drop(struct conn *c)
{
	PQfinish(c->pg);
	c->pg = NULL;
	c->n_prepared = 0;
}

/* libpq's messages have line breaks; a log line has none. */
static enum aic_code
fail_with(struct aic_err *err, const char *doing, const char *sqlstate,
    const char *message)
{
	char text[256];
	size_t i;

	snprintf(text, sizeof(text), "%s", message ? message : "");
	for (i = 0; text[i]; i++)
		if (text[i] == '\n')
			text[i] = text[i + 1] ? ' ' : '\0';
	err->retry_after_s = RETRY_AFTER_S;
	return aic_fail(err, AIC_EDB, "could not %s: %s%s%s", doing,
	    sqlstate ? sqlstate : "", sqlstate ? " " : "", text);
}

static bool
wait_socket(PGconn *pg, short events, int64_t deadline_us)
{
	struct pollfd p = { .fd = PQsocket(pg), .events = events };
	int n;

	do {
		n = poll(&p, 1, aic_clock_left_ms(deadline_us));
	} while (n < 0 && errno == EINTR);
	return n > 0;
}

static bool
connect_one(struct aic_db *db, struct conn *c, int64_t deadline_us,
    struct aic_err *err)
{
	PostgresPollingStatusType st = PGRES_POLLING_WRITING;

	c->pg = PQconnectStartParams(db->keys, db->values, 0);
	if (!c->pg) {
		aic_fail(err, AIC_ENOMEM, "out of memory");
		return false;
	}
	while (PQstatus(c->pg) != CONNECTION_BAD && st != PGRES_POLLING_OK &&
	    st != PGRES_POLLING_FAILED) {
		if (!wait_socket(c->pg,
			st == PGRES_POLLING_READING ? POLLIN : POLLOUT,
			deadline_us)) {
			fail_with(err, "connect to the database", NULL,
			    "no answer in time");
			conn_drop(c);
			return false;
		}
		st = PQconnectPoll(c->pg);
	}
	if (PQstatus(c->pg) != CONNECTION_OK ||
	    PQsetnonblocking(c->pg, 1) != 0 || !PQenterPipelineMode(c->pg)) {
		fail_with(err, "connect to the database", NULL,
		    PQerrorMessage(c->pg));
		conn_drop(c);
		return false;
	}
	return true;
}

/* An idle connection that has something to say is closed, or about to be. */
static bool
is_alive(struct conn *c)
{
	struct pollfd p = { .fd = PQsocket(c->pg), .events = POLLIN };

	if (PQstatus(c->pg) != CONNECTION_OK)
		return false;
	if (poll(&p, 1, 0) == 0)
		return true;
	return PQconsumeInput(c->pg) && PQstatus(c->pg) == CONNECTION_OK;
}

/* A connection of the pool, connected or not. */
static struct conn *
take(struct aic_db *db, int64_t deadline_us, struct aic_err *err)
{
	struct timespec until = aic_clock_spec(deadline_us);
	struct conn *c;
	int rc = 0;

	pthread_mutex_lock(&db->lock);
	while (!db->idle && rc == 0)
		rc = pthread_cond_clockwait(&db->idle_again, &db->lock,
		    CLOCK_MONOTONIC, &until);
	c = db->idle;
	if (c)
		db->idle = c->next;
	pthread_mutex_unlock(&db->lock);
	if (!c)
		fail_with(err, "get a database connection", NULL,
		    "all are in use");
	return c;
}

static void
give(struct aic_db *db, struct conn *c)
{
	pthread_mutex_lock(&db->lock);
	c->next = db->idle;
	db->idle = c;
	pthread_cond_signal(&db->idle_again);
	pthread_mutex_unlock(&db->lock);
}

/*
 * Wait for the turn to try and connect. While the database is known to be away
 * for longer than anybody should wait, only one try per backoff is made and
 * everybody else is told at once.
 */
static bool
may_connect(struct aic_db *db, int64_t deadline_us, struct aic_err *err)
{
	int64_t now = aic_clock_us(), at;
	bool hopeless;

	pthread_mutex_lock(&db->lock);
	at = db->retry_us;
	hopeless = at > now && db->down_since_us &&
	    now - db->down_since_us > db->timeout_us;
	if (at <= now) /* our try; the next one waits for its outcome */
		db->retry_us = now + RETRY_FIRST_US;
	pthread_mutex_unlock(&db->lock);
	if (at <= now)
		return true;
	if (hopeless || at >= deadline_us) {
		fail_with(err, "connect to the database", NULL,
		    "it is away");
		return false;
	}
	aic_clock_sleep(at);
	return true;
}

static void
note_connect(struct aic_db *db, bool ok)
{
	int64_t now = aic_clock_us();

	pthread_mutex_lock(&db->lock);
	if (ok) {
		db->retry_us = 0;
		db->backoff_us = 0;
		db->down_since_us = 0;
	} else {
		db->backoff_us = db->backoff_us ? db->backoff_us * 2
						: RETRY_FIRST_US;
		if (db->backoff_us > RETRY_MOST_US)
			db->backoff_us = RETRY_MOST_US;
		db->retry_us = now + db->backoff_us;
		if (!db->down_since_us)
			db->down_since_us = now;
	}
	pthread_mutex_unlock(&db->lock);
}

static bool
ready(struct aic_db *db, struct conn *c, int64_t deadline_us,
    struct aic_err *err)
{
	bool ok;

	if (c->pg && is_alive(c))
		return true;
	if (c->pg)
		conn_drop(c);
	do {
		if (!may_connect(db, deadline_us, err))
			return false;
		ok = connect_one(db, c, deadline_us, err);
		note_connect(db, ok);
	} while (!ok && aic_clock_us() < deadline_us);
	return ok;
}

/* --- running a batch --------------------------------------------------- */

static bool
is_prepared(const struct conn *c, const struct aic_db_stmt *stmt)
{
	int i;

	for (i = 0; i < c->n_prepared; i++)
		if (c->prepared[i] == stmt)
			return true;
	return false;
}

/* Queue one call; *ret_preparing when a result comes before its own. */
static bool
send_call(struct aic_db *db, struct conn *c, const struct aic_db_call *call,
    bool *ret_preparing)
{
	const struct aic_db_stmt *stmt = call->stmt;

	*ret_preparing = false;
	if (!db->prepare)
		return PQsendQueryParams(c->pg, stmt->sql, call->n, NULL,
		    call->param, NULL, NULL, 0);
	if (!is_prepared(c, stmt)) {
		if (!PQsendPrepare(c->pg, stmt->name, stmt->sql, 0, NULL))
			return false;
		*ret_preparing = true;
	}
	return PQsendQueryPrepared(c->pg, stmt->name, call->n, call->param,
	    NULL, NULL, 0);
}

static enum outcome
flush_out(struct conn *c, int64_t deadline_us)
{
	int rc;

	while ((rc = PQflush(c->pg)) == 1) {
		/* Read as well, or both sides might wait to write. */
		if (!wait_socket(c->pg, POLLIN | POLLOUT, deadline_us))
			return LATE;
		if (!PQconsumeInput(c->pg))
			return LOST;
	}
	return rc == 0 ? RAN : LOST;
}

static enum outcome
next_result(struct conn *c, int64_t deadline_us, PGresult **ret_res)
{
	while (PQisBusy(c->pg)) {
		if (!wait_socket(c->pg, POLLIN, deadline_us))
			return LATE;
		if (!PQconsumeInput(c->pg))
			return LOST;
	}
	*ret_res = PQgetResult(c->pg);
	return RAN;
}

/*
 * A failure without an SQLSTATE was made by libpq itself: the connection is
 * gone. Classes 08 and 57P say so in the server's own words.
 */
static enum outcome
judge(struct conn *c, const PGresult *res)
{
	const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);

	if (!state || PQstatus(c->pg) == CONNECTION_BAD ||
	    strncmp(state, "08", 2) == 0 || strncmp(state, "57P", 3) == 0)
		return LOST;
	if (strcmp(state, "40001") == 0 || strcmp(state, "40P01") == 0)
		return AGAIN;
	return REFUSED;
}

/* Read results up to the end of the batch; the first failure is what counts. */
static enum outcome
read_all(struct conn *c, struct aic_db_call *calls, const bool *preparing,
    int n, int64_t deadline_us, struct aic_err *err)
{
	enum outcome out = RAN, got;
	bool prep = preparing[0];
	int at = 0, idle = 0;
	PGresult *res;

	for (;;) {
		got = next_result(c, deadline_us, &res);
		if (got != RAN)
			return got;
		if (!res) {
			/* NULL ends each call; many in a row: no sync comes. */
			if (++idle > 2 * AIC_DB_CALLS)
				return LOST;
			continue;
		}
		idle = 0;
		switch (PQresultStatus(res)) {
		case PGRES_PIPELINE_SYNC:
			PQclear(res);
			return out;
		case PGRES_TUPLES_OK:
		case PGRES_COMMAND_OK:
			if (at < n && prep) {
				if (c->n_prepared < STMTS_MAX)
					c->prepared[c->n_prepared++] =
					    calls[at].stmt;
				prep = false;
				PQclear(res);
				break;
			}
			if (at < n)
				calls[at].res = res;
			else
				PQclear(res);
			if (++at < n)
				prep = preparing[at];
			break;
		default:
			if (out == RAN &&
			    PQresultStatus(res) != PGRES_PIPELINE_ABORTED) {
				out = judge(c, res);
				fail_with(err, calls[at < n ? at : 0].stmt->name,
				    PQresultErrorField(res, PG_DIAG_SQLSTATE),
				    PQresultErrorField(res,
					PG_DIAG_MESSAGE_PRIMARY));
			}
			PQclear(res);
			if (PQstatus(c->pg) == CONNECTION_BAD)
				return LOST;
		}
	}
}

static enum outcome
run_once(struct aic_db *db, struct conn *c, struct aic_db_call *calls, int n,
    int64_t deadline_us, struct aic_err *err)
{
	bool preparing[AIC_DB_CALLS];
	enum outcome out;
	int i;

	for (i = 0; i < n; i++)
		if (!send_call(db, c, &calls[i], &preparing[i]))
			goto lost;
	if (!PQpipelineSync(c->pg))
		goto lost;
	out = flush_out(c, deadline_us);
	if (out == RAN)
		out = read_all(c, calls, preparing, n, deadline_us, err);
	if (out == LATE)
		fail_with(err, calls[0].stmt->name, NULL,
		    "the database did not answer in time");
	else if (out == LOST && err->code == AIC_OK)
		goto lost;
	return out;
lost:
	fail_with(err, calls[0].stmt->name, NULL, PQerrorMessage(c->pg));
	return LOST;
}

enum aic_code
aic_db_run(struct aic_db *db, struct aic_db_call *calls, int n,
    int64_t deadline_us, struct aic_err *err)
{
	struct aic_err why = AIC_ERR_INIT;
	enum outcome out = LOST;
	struct conn *c;
	int i;

	c = take(db, deadline_us, err);
	if (!c)
		return err->code;
	for (;;) {
		why.code = AIC_OK;
		if (!ready(db, c, deadline_us, &why))
			break;
		out = run_once(db, c, calls, n, deadline_us, &why);
		if (out == RAN)
			break;
		for (i = 0; i < n; i++)
			aic_db_call_done(&calls[i]);
		if (out == LOST || out == LATE)
			conn_drop(c);
		if ((out != LOST && out != AGAIN) ||
		    aic_clock_us() >= deadline_us)
			break;
	}
	give(db, c);
	if (out == RAN)
		return AIC_OK;
	err->retry_after_s = why.retry_after_s;
	return aic_fail(err, why.code, "%s", why.detail);
}
