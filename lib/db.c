#include "config.h"

#include "lib/db.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/clock.h"

/*
 * A program has fewer statements than this. A connection that reaches this
 * number is replaced after its trip.
 */
#define STMTS_MAX 32

/*
 * Most batches that share one trip. A larger trip saves little, and each of its
 * batches waits for the slowest one.
 */
#define TRIP_MAX 16

/*
 * How long a batch waits for the trip in flight to return before it starts a
 * trip on another connection. A trip takes less than this, so a batch that has
 * waited longer is held up. Until then, waiting is cheaper than one more trip:
 * with 32 callers, a fifth more chats a second.
 */
#define TRIP_WAIT_US (5 * AIC_MS)

/*
 * A server that restarts is back within a second or two. More than ten attempts
 * a second gain nothing; fewer lose time.
 */
#define RETRY_FIRST_US (50 * AIC_MS)
#define RETRY_MOST_US (500 * AIC_MS)

/* Most servers in one URL. A deadline leaves no time to try more. */
#define HOSTS_MAX 8

/* The parameters that set_params() adds to those of the URL, and a NULL. */
#define OWN_PARAMS 12

/* Below this, TCP has no time to resend a few lost packets. */
#define USER_TIMEOUT_MIN_MS 1000

/*
 * A URL is no longer than a setting, and our options take a few hundred bytes.
 */
#define OPTIONS_MAX (16 * 1024)

/* Retry-After of a database error: soon, but not at once. */
#define RETRY_AFTER_S 2

/*
 * How the pool works
 *
 * A caller of aic_db_run() puts its batch into the queue and runs the pool
 * itself; the pool has no thread of its own. One step, serve_batch(), does one
 * of these things with the batch at hand:
 *
 * - If a trip is in flight and the next one has room, the batch waits for that
 *   trip, for TRIP_WAIT_US at most. See may_wait().
 * - If a connection is idle, the thread takes it, takes up to TRIP_MAX batches
 *   from the head of the queue, and runs them as one trip. See lead_trip().
 * - If no connection is idle, the batch waits until wake_next() signals it.
 * - In an outage, the batch waits for the next attempt to connect, or makes it.
 * - At its deadline, the batch fails.
 *
 * The thread that leads a trip runs batches of other callers too. A batch
 * belongs to the queue while QUEUED, to the leading thread while TAKEN (its
 * caller sleeps, whatever its deadline, because the leader writes to its
 * stack), and to its caller again when DONE. The leader ends a trip at the
 * first deadline in it, so no caller sleeps beyond its own.
 *
 * Example: one connection is busy with trip A, and callers b, c and d arrive.
 * All three wait. When A returns, finish_trip() marks the batches of A as DONE,
 * and wake_next() signals b. b leads a trip with b, c and d: three transactions
 * in one round trip. If all three write, the commits of b and c are lazy. The
 * commit of d waits for the disk and so makes all three durable, because the
 * log of the server is written in order. settle_lazy() reports b and c as done
 * only if d has written.
 *
 * Invariants, all under `lock':
 *
 * 1. Each connection is either in `idle' or in use by exactly one thread.
 * 2. While `queue' and `idle' are both non-empty, some thread is awake or has a
 *    timeout that makes it examine both. See wake_next().
 * 3. A batch whose outcome is unknown (LOST) is run again before its deadline,
 *    because its statements are idempotent.
 * 4. In an outage, an attempt to connect begins only while `trying' is false,
 *    so that the threads do not all connect at once.
 */

struct conn {
	struct conn *next; /* in the list of idle connections */
	PGconn *pg; /* NULL: not connected */
	/* The statements that this connection has prepared, by address. */
	const struct aic_db_stmt *prepared[STMTS_MAX];
	int n_prepared;
	int generation; /* generation of the pool when this connected */
	bool unfit; /* the server cannot serve us, e.g. a standby */
	bool silent; /* no response came in time */
};

/* The result of one attempt to run a batch. */
enum outcome {
	RAN,
	REFUSED, /* a permanent error of the server */
	AGAIN, /* a temporary error of the server: a deadlock */
	STALE, /* a prepared statement failed; its text may not */
	LOST, /* no response: the connection broke, or another batch was late */
	LATE, /* no response before the deadline of the batch */
};

enum state {
	QUEUED, /* waits for a connection */
	TAKEN, /* a thread runs it */
	DONE, /* `out' is set, and `err' on a failure */
};

/* One aic_db_run(). It is on the stack of the caller. */
struct batch {
	struct batch *next; /* in the queue, or in the trip */
	struct aic_db_call *calls;
	int n;
	int64_t since_us, deadline_us;
	struct aic_err *err;
	enum state state;
	enum outcome out;
	bool waits; /* sleeps on `changed' and has not been signalled */
	bool lazy; /* its commit did not wait for the disk */
	int preparing; /* bit i: call i prepares its statement on this trip */
	int reusing; /* bit i: the statement of call i was prepared before */
	bool plain; /* was STALE: run without prepared statements */
	pthread_cond_t changed;
};

struct aic_db {
	/*
	 * The parameters of PQconnectStartParams(), once for each host as the
	 * first. libpq tries the hosts in order and would spend the whole
	 * deadline on a first host that does not respond.
	 */
	const char **keys, **values[HOSTS_MAX];
	char *lists[HOSTS_MAX][3]; /* the strings that values point to */
	int n_hosts;
	atomic_int first_host;
	PQconninfoOption *options;
	char *server_options; /* start-up options: ours and those of the URL */
	char user_timeout[16];
	atomic_bool prepare;

	pthread_mutex_t lock; /* guards all members below */
	struct batch *queue, **queue_end;
	int n_queue;
	struct conn *idle;
	struct conn *all;
	int n_all;
	int n_trips; /* trips in flight */
	/*
	 * Incremented when prepared statements were found to be stale. A
	 * connection of an earlier generation is closed instead of reused.
	 */
	int generation;
	int64_t down_since_us; /* start of the outage; 0: none */
	int64_t retry_us; /* in an outage: time of the next attempt */
	bool trying; /* in an outage: a thread is connecting */
	int64_t backoff_us;
	int64_t timeout_us;
};

/*
 * The list rotated so that its item n is the first. A list without commas is
 * copied.
 */
static char *
rotate_list(const char *list, int n)
{
	const char *from = list;
	size_t len = strlen(list);
	char *to = malloc(len + 2);

	if (!to)
		return NULL;
	for (; n > 0 && from; n--) {
		from = strchr(from, ',');
		from = from ? from + 1 : NULL;
	}
	if (!from || from == list)
		memcpy(to, list, len + 1);
	else
		snprintf(to, len + 2, "%s,%.*s", from, (int)(from - list - 1),
		    list);
	return to;
}

/*
 * values[1..]: copies of values[0], of n members, with each other host first.
 */
static enum aic_code
set_hosts(struct aic_db *db, int n, struct aic_err *err)
{
	static const char *const names[] = { "host", "hostaddr", "port" };
	const char *p;
	int first, i, j, hosts;

	db->n_hosts = 1;
	for (i = 0; i < n; i++)
		for (j = 0; j < 2; j++) {
			if (strcmp(db->keys[i], names[j]) != 0)
				continue;
			hosts = 1;
			for (p = db->values[0][i]; *p; p++)
				hosts += *p == ',';
			if (hosts > db->n_hosts)
				db->n_hosts = hosts;
		}
	if (db->n_hosts > HOSTS_MAX)
		return aic_fail(err, AIC_ECONF,
		    "DATABASE_URL names more than %d hosts", HOSTS_MAX);
	for (first = 1; first < db->n_hosts; first++) {
		db->values[first] = calloc((size_t)n + 1,
		    sizeof(*db->values[0]));
		if (!db->values[first])
			return aic_fail(err, AIC_ENOMEM, "out of memory");
		for (i = 0; i < n; i++) {
			db->values[first][i] = db->values[0][i];
			for (j = 0; j < 3; j++) {
				if (strcmp(db->keys[i], names[j]) != 0)
					continue;
				db->lists[first][j] =
				    rotate_list(db->values[0][i], first);
				if (!db->lists[first][j])
					return aic_fail(err, AIC_ENOMEM,
					    "out of memory");
				db->values[first][i] = db->lists[first][j];
			}
		}
	}
	return AIC_OK;
}

/*
 * The start-up options: ours, followed by those of the URL. The server uses the
 * last value of an option, so the URL overrides only the options that it names.
 * An empty `options' in the URL sends none at all, because PgBouncer rejects
 * start-up options.
 *
 * search_path is set because the default of a role begins with "$user". Any
 * role that may create a schema could otherwise define an operator or a
 * function that runs with our rights.
 *
 * lock_timeout is shorter than statement_timeout, so that a lock that is held
 * is reported as such.
 *
 * The tcp_ options are for a server whose client host has lost its network,
 * perhaps between a statement and the end of its transaction, where no
 * statement_timeout runs. They make the server release the locks of that
 * session within 25 s. They have no effect on a unix socket.
 */
static enum aic_code
set_options(struct aic_db *db, const char *of_url, const char *schema,
    int timeout_ms, struct aic_err *err)
{
	struct aic_buf b;

	aic_buf_init(&b, OPTIONS_MAX);
	if (schema && (!of_url || *of_url))
		aic_buf_printf(&b, "-c search_path=pg_catalog,\"%s\",pg_temp ",
		    schema);
	if (!of_url || *of_url)
		aic_buf_printf(&b,
		    "-c statement_timeout=%d -c lock_timeout=%d "
		    "-c idle_in_transaction_session_timeout=%d "
		    "-c plan_cache_mode=force_generic_plan "
		    "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 "
		    "-c tcp_keepalives_count=3 -c tcp_user_timeout=25000 ",
		    timeout_ms, timeout_ms * 9 / 10, timeout_ms);
	aic_buf_puts(&b, of_url ? of_url : "");
	db->server_options = aic_buf_take(&b, NULL);
	return db->server_options ? AIC_OK
				  : aic_fail(err, AIC_ENOMEM, "out of memory");
}

/*
 * The TCP options of our side, unless the URL sets them. Sent data that stays
 * unacknowledged for a third of timeout_ms, and at least a second, ends the
 * connection, so that time is left to run the batch on another one. An idle
 * connection is probed and ends within 20 s when its peer is gone. The options
 * have no effect on a unix socket.
 */
static const char *
own_param(struct aic_db *db, const char *keyword)
{
	if (strcmp(keyword, "tcp_user_timeout") == 0)
		return db->user_timeout;
	if (strcmp(keyword, "keepalives_idle") == 0)
		return "10";
	if (strcmp(keyword, "keepalives_interval") == 0)
		return "3";
	if (strcmp(keyword, "keepalives_count") == 0)
		return "3";
	return NULL;
}

static enum aic_code
set_params(struct aic_db *db, const struct aic_db_conf *conf,
    struct aic_err *err)
{
	PQconninfoOption *o;
	const char *options = NULL, *value;
	enum aic_code rc;
	char *wrong = NULL;
	int n = 0;

	db->options = PQconninfoParse(conf->url, &wrong);
	if (!db->options) {
		/* The message may quote the URL, which contains a password. */
		PQfreemem(wrong);
		return aic_fail(err, AIC_ECONF,
		    "DATABASE_URL is not a connection string of PostgreSQL");
	}
	for (o = db->options; o->keyword; o++)
		n++;
	db->keys = calloc((size_t)n + OWN_PARAMS, sizeof(*db->keys));
	db->values[0] = calloc((size_t)n + OWN_PARAMS, sizeof(*db->values[0]));
	if (!db->keys || !db->values[0])
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	n = 0;
	snprintf(db->user_timeout, sizeof(db->user_timeout), "%d",
	    conf->timeout_ms / 3 > USER_TIMEOUT_MIN_MS ? conf->timeout_ms / 3
						       : USER_TIMEOUT_MIN_MS);
	for (o = db->options; o->keyword; o++) {
		value = o->val ? o->val : own_param(db, o->keyword);
		if (!value)
			continue;
		if (strcmp(o->keyword, "options") == 0) {
			options = o->val;
			continue;
		}
		/* Text is always UTF-8, whatever the URL says. */
		if (strcmp(o->keyword, "client_encoding") == 0)
			continue;
		db->keys[n] = o->keyword;
		db->values[0][n++] = value;
	}
	db->keys[n] = "client_encoding";
	db->values[0][n++] = "UTF8";
	db->keys[n] = "fallback_application_name";
	db->values[0][n++] = "ai-chat";
	rc = set_options(db, options, conf->schema, conf->timeout_ms, err);
	if (rc)
		return rc;
	db->keys[n] = "options";
	db->values[0][n++] = db->server_options;
	return set_hosts(db, n, err);
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
	db->queue_end = &db->queue;
	atomic_init(&db->prepare, conf->prepare);
	db->timeout_us = conf->timeout_ms * AIC_MS;
	rc = set_params(db, conf, err);
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
	int i, j;

	if (!db)
		return;
	for (i = 0; db->all && i < db->n_all; i++)
		PQfinish(db->all[i].pg);
	free(db->all);
	free(db->keys);
	for (i = 0; i < HOSTS_MAX; i++) {
		free(db->values[i]);
		for (j = 0; j < 3; j++)
			free(db->lists[i][j]);
	}
	free(db->server_options);
	PQconninfoFree(db->options);
	pthread_mutex_destroy(&db->lock);
	free(db);
}

struct aic_db_state
aic_db_look(struct aic_db *db)
{
	struct aic_db_state s = { .connections = 0 };
	const struct conn *c;
	int idle = 0;

	pthread_mutex_lock(&db->lock);
	for (c = db->idle; c; c = c->next) {
		idle++;
		s.connections += c->pg != NULL;
	}
	/*
	 * The thread that uses a connection owns it, so `pg' is not read here.
	 */
	s.busy = db->n_all - idle;
	s.connections += s.busy;
	s.waiting = db->n_queue;
	s.down = db->down_since_us != 0;
	pthread_mutex_unlock(&db->lock);
	return s;
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

/* Messages of libpq contain line breaks, which a log line must not. */
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
	snprintf(err->sqlstate, sizeof(err->sqlstate), "%s",
	    sqlstate ? sqlstate : "");
	return aic_fail(err, AIC_EDB, "could not %s: %s%s%s", doing,
	    sqlstate ? sqlstate : "", sqlstate ? " " : "", text);
}

void
aic_db_hide(char *text)
{
	char *to = text;
	bool quoted = false;

	if (strncmp(text, "connection to server", 20) == 0 ||
	    (strncmp(text, "could not translate host", 24) == 0 &&
		!strchr(text, '@')))
		return;
	for (; *text; text++) {
		if (*text == '"')
			quoted = !quoted;
		else if (quoted && to[-1] != '"')
			continue;
		*to++ = quoted && *text != '"' ? '*' : *text;
	}
	*to = '\0';
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
	int first = atomic_load(&db->first_host);
	int64_t share = aic_clock_us() + db->timeout_us / db->n_hosts;
	char why[256];

	if (db->n_hosts > 1 && share < deadline_us)
		deadline_us = share;
	c->pg = PQconnectStartParams(db->keys, db->values[first], 0);
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
			atomic_store(&db->first_host,
			    (first + 1) % db->n_hosts);
			return false;
		}
		st = PQconnectPoll(c->pg);
	}
	if (PQstatus(c->pg) != CONNECTION_OK ||
	    PQsetnonblocking(c->pg, 1) != 0 || !PQenterPipelineMode(c->pg)) {
		snprintf(why, sizeof(why), "%s", PQerrorMessage(c->pg));
		aic_db_hide(why);
		fail_with(err, "connect to the database", NULL, why);
		conn_drop(c);
		return false;
	}
	return true;
}

/* Callers of this function and of all below hold the lock. */
static void
note_up(struct aic_db *db)
{
	db->backoff_us = 0;
	db->down_since_us = 0;
}

static void
note_connect(struct aic_db *db, bool ok)
{
	if (ok)
		return; /* only a batch that ran ends an outage */
	db->backoff_us = db->backoff_us ? db->backoff_us * 2 : RETRY_FIRST_US;
	if (db->backoff_us > RETRY_MOST_US)
		db->backoff_us = RETRY_MOST_US;
	db->retry_us = aic_clock_us() + db->backoff_us;
	if (!db->down_since_us)
		db->down_since_us = aic_clock_us();
}

/* --- one trip: several batches over one connection --------------------- */

static bool
is_prepared(const struct conn *c, const struct aic_db_stmt *stmt)
{
	int i;

	for (i = 0; i < c->n_prepared; i++)
		if (c->prepared[i] == stmt)
			return true;
	return false;
}

static bool
send_call(struct aic_db *db, struct conn *c, struct batch *b, int i)
{
	const struct aic_db_call *call = &b->calls[i];
	const struct aic_db_stmt *stmt = b->lazy && call->stmt->lazy
	    ? call->stmt->lazy
	    : call->stmt;

	if (b->plain || c->n_prepared == STMTS_MAX ||
	    !atomic_load(&db->prepare))
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
send_all(struct aic_db *db, struct conn *c, struct batch *trip)
{
	struct batch *b;
	int i;

	for (b = trip; b; b = b->next) {
		b->preparing = b->reusing = 0;
		for (i = 0; i < b->n; i++)
			if (!send_call(db, c, b, i))
				return false;
		/* Each batch is a transaction of its own. */
		if (!PQpipelineSync(c->pg))
			return false;
	}
	return true;
}

static enum outcome
flush_out(struct conn *c, int64_t deadline_us)
{
	int rc;

	while ((rc = PQflush(c->pg)) == 1) {
		/* Read as well: both sides could otherwise block on a write. */
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
 * connection is gone. Classes 08 and 57P are the same, reported by the server.
 * 25006 comes from a server that has become a standby. 42P05 means that a
 * statement of this name exists which this connection has not prepared: a
 * pooler shares one session between connections, so nothing can be prepared.
 */
static enum outcome
classify_error(struct aic_db *db, struct conn *c, const struct batch *b, int at,
    const PGresult *res)
{
	const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);

	if (!state || PQstatus(c->pg) == CONNECTION_BAD ||
	    strncmp(state, "08", 2) == 0 || strncmp(state, "57P", 3) == 0 ||
	    strcmp(state, "25006") == 0)
		return LOST;
	if (strcmp(state, "40001") == 0 || strcmp(state, "40P01") == 0)
		return AGAIN;
	if (strcmp(state, "42P05") == 0 && b->preparing & 1 << at) {
		atomic_store(&db->prepare, false);
		return STALE;
	}
	if (b->reusing & 1 << at && may_be_stale(state))
		return STALE;
	return REFUSED;
}

/*
 * These concern every user: a missing right or table, a read-only transaction,
 * a lack of resources, an error of the disk or of the server itself, and a
 * sequence without further numbers (2200H). These do not: data that violates a
 * type or a constraint, a deadlock, a timeout, and an exception that a trigger
 * raises.
 */
bool
aic_db_concerns_all(const char *sqlstate)
{
	static const char *const classes[] = { "0A", "25", "28", "3D", "3F",
		"42", "53", "58", "F0", "XX" };
	size_t i;

	for (i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
		if (strncmp(sqlstate, classes[i], 2) == 0)
			return true;
	return strcmp(sqlstate, "2200H") == 0;
}

/*
 * Read the results of one batch, up to its sync. The first failure is reported.
 */
static enum outcome
read_batch(struct aic_db *db, struct conn *c, struct batch *b,
    int64_t deadline_us)
{
	enum outcome out = RAN, got;
	int at = 0, nulls = 0;
	PGresult *res;

	for (;;) {
		got = next_result(c, deadline_us, &res);
		if (got != RAN)
			return got;
		if (!res) {
			/*
			 * One NULL ends each call. Further ones: no result is
			 * pending.
			 */
			if (++nulls > 2)
				return LOST;
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
			if (out == RAN) {
				out = classify_error(db, c, b, at, res);
				c->unfit = c->unfit ||
				    (out == LOST &&
					PQstatus(c->pg) == CONNECTION_OK);
				fail_with(b->err,
				    b->calls[at < b->n ? at : 0].stmt->name,
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

static void
drop_results(struct batch *b)
{
	int i;

	for (i = 0; i < b->n; i++)
		aic_db_call_done(&b->calls[i]);
}

static bool
is_durable(const struct batch *b)
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
choose_lazy(struct batch *trip)
{
	struct batch *b, *last = NULL;

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
 * crash of the server. It is then treated as LOST and run again; the statement
 * is idempotent and returns what the first run did, if that survived.
 */
static void
settle_lazy(struct batch *trip)
{
	struct batch *b;
	bool flushed = false;

	for (b = trip; b; b = b->next)
		if (is_durable(b) && !b->lazy)
			flushed = b->out == RAN &&
			    PQntuples(b->calls[b->n - 1].res) > 0;
	for (b = trip; b; b = b->next)
		if (b->lazy && b->out == RAN && !flushed) {
			fail_with(b->err, b->calls[0].stmt->name, NULL,
			    "not known to be on the disk");
			b->out = LOST;
		}
}

/* Record that no response came; `out' is the reason why the trip ended. */
static void
note_lost(struct conn *c, struct batch *b, enum outcome out)
{
	b->out = aic_clock_us() < b->deadline_us ? LOST : LATE;
	if (out == LATE)
		fail_with(b->err, b->calls[0].stmt->name, NULL,
		    "the database did not answer in time");
	else if (b->err->code == AIC_OK)
		fail_with(b->err, b->calls[0].stmt->name, NULL,
		    PQerrorMessage(c->pg));
}

/* The first deadline of b and of the batches after it. */
static int64_t
first_deadline(const struct batch *b)
{
	int64_t first = b->deadline_us;

	for (; b; b = b->next)
		if (b->deadline_us < first)
			first = b->deadline_us;
	return first;
}

/* Send all batches, then read all results. Sets `out' of each batch. */
static void
run_trip(struct aic_db *db, struct conn *c, struct batch *trip)
{
	enum outcome out = LOST;
	struct batch *b;

	for (b = trip; b; b = b->next) {
		b->out = LOST;
		b->err->code = AIC_OK;
	}
	choose_lazy(trip);
	if (send_all(db, c, trip))
		out = flush_out(c, first_deadline(trip));
	for (b = trip; b && out != LOST && out != LATE; b = b->next) {
		out = b->out = read_batch(db, c, b, first_deadline(b));
		/*
		 * The batch failed before it prepared a statement that
		 * `prepared' lists. Replace the connection.
		 */
		if (b->preparing && out != RAN)
			c->n_prepared = STMTS_MAX;
	}
	for (b = trip; b; b = b->next)
		if (b->out == LOST || b->out == LATE)
			note_lost(c, b, out);
	settle_lazy(trip);
	c->silent = out == LATE;
	if (out == LOST || out == LATE || c->n_prepared == STMTS_MAX)
		conn_drop(c);
}

/* --- the queue --------------------------------------------------------- */

static void
queue_batch(struct aic_db *db, struct batch *b)
{
	b->state = QUEUED;
	b->since_us = aic_clock_us();
	b->next = NULL;
	*db->queue_end = b;
	db->queue_end = &b->next;
	db->n_queue++;
}

static void
unqueue_batch(struct aic_db *db, struct batch *b)
{
	struct batch **p = &db->queue;

	while (*p != b)
		p = &(*p)->next;
	*p = b->next;
	db->n_queue--;
	if (db->queue_end == &b->next)
		db->queue_end = p;
}

static void
give_up(struct aic_db *db, struct batch *b, const char *why)
{
	unqueue_batch(db, b);
	b->state = DONE;
	b->out = LATE;
	if (b->err->code == AIC_OK)
		fail_with(b->err, "get a database connection", NULL, why);
	pthread_cond_signal(&b->changed);
}

/*
 * Behind a pooler, which means that nothing is prepared, a trip is a single
 * batch. PgBouncer 1.18 gives the server connection to another client after the
 * first transaction of a trip. If a message of the next batch is longer than
 * its packets (pkt_buf, 4 KB), the rest of that message then reaches the wrong
 * server.
 */
static int
trip_max(const struct aic_db *db)
{
	return db->prepare ? TRIP_MAX : 1;
}

/*
 * Remove up to trip_max() batches from the queue, as a list. A batch whose
 * deadline has passed is not taken, because a trip ends at the first deadline
 * in it, and the other batches would fail with it.
 */
static struct batch *
take_trip(struct aic_db *db)
{
	struct batch *trip = NULL, **end = &trip, *b;
	int64_t now = aic_clock_us();
	int n = 0;

	while (db->queue && n < trip_max(db)) {
		b = db->queue;
		if (b->deadline_us <= now) {
			give_up(db, b, "all are in use");
			continue;
		}
		unqueue_batch(db, b);
		b->state = TAKEN;
		b->next = NULL;
		*end = b;
		end = &b->next;
		n++;
	}
	return trip;
}

static void
drop_idle(struct aic_db *db)
{
	struct conn *c;

	for (c = db->idle; c; c = c->next)
		conn_drop(c);
}

/*
 * A statement succeeded as text after its prepared form failed. Any connection
 * may have prepared the outdated form, so all are replaced: the idle ones here,
 * the others when they are returned.
 */
static void
note_stale(struct aic_db *db)
{
	db->generation++;
	drop_idle(db);
}

static void
finish_trip(struct aic_db *db, const struct conn *c, struct batch *trip)
{
	struct batch *b, *next;

	for (b = trip; b; b = next) {
		next = b->next;
		if (b->out == RAN)
			note_up(db);
		else
			drop_results(b);
		if (b->out == RAN && b->plain &&
		    c->generation == db->generation)
			note_stale(db);
		b->plain = b->plain || b->out == STALE;
		if ((b->out == LOST || b->out == AGAIN || b->out == STALE) &&
		    aic_clock_us() < b->deadline_us)
			queue_batch(db, b);
		else
			b->state = DONE;
		pthread_cond_signal(&b->changed);
	}
}

/* Take an idle connection, preferably one that is connected. */
static struct conn *
take_conn(struct aic_db *db)
{
	struct conn **p, **any = &db->idle, *c;

	for (p = &db->idle; *p; p = &(*p)->next)
		if ((*p)->pg) {
			any = p;
			break;
		}
	c = *any;
	*any = c->next;
	return c;
}

static void
give_conn(struct aic_db *db, struct conn *c)
{
	if (c->pg && c->generation != db->generation)
		conn_drop(c);
	c->next = db->idle;
	db->idle = c;
}

/*
 * Whether b should wait for the trip in flight: the next trip has room for it,
 * and b has not waited for longer than a trip takes.
 */
static bool
may_wait(const struct aic_db *db, const struct batch *b)
{
	return db->n_trips > 0 && db->n_queue < trip_max(db) &&
	    aic_clock_us() - b->since_us < TRIP_WAIT_US;
}

/*
 * A connection is free: wake one batch that sleeps. It need not be the first of
 * the queue, because the thread of that one may be connecting. The thread that
 * wakes up starts a trip or calls wake_next() in turn. Invariant: while the
 * queue and the idle list are both non-empty, a wake-up or a timeout is
 * pending.
 */
static void
wake_next(struct aic_db *db)
{
	struct batch *b;

	/*
	 * The first batch has waited longest. If may_wait() holds for it, its
	 * own wait ends after TRIP_WAIT_US, and it examines the pool then.
	 */
	if (db->queue && may_wait(db, db->queue))
		return;
	for (b = db->idle ? db->queue : NULL; b; b = b->next)
		if (b->waits) {
			b->waits = false;
			pthread_cond_signal(&b->changed);
			return;
		}
}

/* Wake every batch that sleeps, because the state of the pool has changed. */
static void
wake_all(struct aic_db *db)
{
	struct batch *b;

	for (b = db->queue; b; b = b->next)
		if (b->waits) {
			b->waits = false;
			pthread_cond_signal(&b->changed);
		}
}

/*
 * Take an idle connection, connect it if necessary, and run a trip for the
 * first batches of the queue. `self' need not be among them. The caller holds
 * the lock; the lock is released during I/O.
 */
static void
lead_trip(struct aic_db *db, struct batch *self)
{
	struct conn *c = take_conn(db);
	struct batch *trip = NULL;
	struct aic_err why = AIC_ERR_INIT;
	bool ok;

	if (!c->pg) {
		/* In an outage, one thread at a time connects. */
		db->trying = true;
		c->generation = db->generation;
		pthread_mutex_unlock(&db->lock);
		ok = connect_one(db, c, self->deadline_us, &why);
		pthread_mutex_lock(&db->lock);
		db->trying = false;
		note_connect(db, ok);
		if (!ok)
			wake_all(db);
		if (!ok && self->state == QUEUED)
			*self->err = why;
	}
	/* If another trip has served `self' meanwhile, return to its caller. */
	if (c->pg && self->state != DONE)
		trip = take_trip(db);
	if (trip) {
		db->n_trips++;
		wake_next(db);
		pthread_mutex_unlock(&db->lock);
		run_trip(db, c, trip);
		pthread_mutex_lock(&db->lock);
		db->n_trips--;
		if (c->unfit)
			note_connect(db, false);
		c->unfit = false;
		/*
		 * The network may drop the packets of all connections that
		 * existed at some moment and pass those of new ones. Each idle
		 * connection would then cost a batch its deadline, whereas a
		 * new one costs milliseconds. The connections in use detect the
		 * fault by themselves.
		 */
		if (c->silent)
			drop_idle(db);
		c->silent = false;
		finish_trip(db, c, trip);
	}
	give_conn(db, c);
	wake_next(db);
}

static void
wait_until(struct aic_db *db, struct batch *self, int64_t until_us)
{
	struct timespec ts = aic_clock_spec(until_us);

	self->waits = true;
	pthread_cond_clockwait(&self->changed, &db->lock, CLOCK_MONOTONIC, &ts);
	self->waits = false;
}

/* One step of a queued batch: start a trip, wait, or fail. The lock is held. */
static void
serve_batch(struct aic_db *db, struct batch *self)
{
	int64_t now = aic_clock_us(), until = self->deadline_us;
	struct conn *c;

	for (c = db->idle; c && !c->pg; c = c->next)
		;
	if (now >= self->deadline_us) {
		give_up(db, self, "all are in use");
		return;
	}
	/* wake_next() relies on this wait to end then. */
	if (now - self->since_us < TRIP_WAIT_US &&
	    self->since_us + TRIP_WAIT_US < until)
		until = self->since_us + TRIP_WAIT_US;
	if (may_wait(db, self)) {
		wait_until(db, self, until);
		return;
	}
	if (c || (db->idle && !db->down_since_us)) {
		lead_trip(db, self);
		return;
	}
	/*
	 * In an outage, one thread at a time tries to connect. After timeout_us
	 * the other batches fail at once, because no caller should wait longer.
	 */
	if (db->idle && !db->trying) {
		if (now >= db->retry_us) {
			lead_trip(db, self);
			return;
		}
		if (now - db->down_since_us > db->timeout_us) {
			give_up(db, self, "the database is away");
			return;
		}
		if (db->retry_us < until)
			until = db->retry_us;
	}
	wait_until(db, self, until);
}

enum aic_code
aic_db_run(struct aic_db *db, struct aic_db_call *calls, int n,
    int64_t deadline_us, struct aic_err *err)
{
	struct aic_err why = AIC_ERR_INIT;
	struct batch self = { .calls = calls,
		.n = n,
		.deadline_us = deadline_us,
		.err = &why,
		.changed = PTHREAD_COND_INITIALIZER };
	int i;

	for (i = 0; i < n; i++)
		if (calls[i].n != calls[i].stmt->n_params)
			return aic_fail(err, AIC_EBUG,
			    "%s takes %d parameters, not %d",
			    calls[i].stmt->name, calls[i].stmt->n_params,
			    calls[i].n);
	pthread_mutex_lock(&db->lock);
	queue_batch(db, &self);
	while (self.state != DONE) {
		if (self.state == TAKEN)
			pthread_cond_wait(&self.changed, &db->lock);
		else
			serve_batch(db, &self);
	}
	/*
	 * The wake-up may have come when the batch was already served; pass it
	 * on.
	 */
	wake_next(db);
	pthread_mutex_unlock(&db->lock);
	pthread_cond_destroy(&self.changed);
	if (self.out == RAN)
		return AIC_OK;
	/*
	 * The server may have sent an SQLSTATE before the connection broke.
	 * Callers read "" as `no response'.
	 */
	if (self.out == LOST || self.out == LATE)
		*why.sqlstate = '\0';
	memcpy(err->sqlstate, why.sqlstate, sizeof(err->sqlstate));
	err->retry_after_s = why.retry_after_s;
	return aic_fail(err, why.code, "%s", why.detail);
}
