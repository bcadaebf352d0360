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

/* More statements than this in one program would be a design of its own. */
#define STMTS_MAX 32

/* Batches that share one trip. More of them save little, and each one waits for
 * the slowest. */
#define TRIP_MAX 16

/*
 * A further connection is put to work when a whole trip is waiting, or when
 * somebody has waited for longer than a trip takes: then something holds the others
 * up. In between it is cheaper for everybody to wait for a trip to come back than to
 * make one more: with 32 callers, a fifth more chats a second.
 */
#define PATIENCE_US (5 * AIC_MS)

/* A server that restarts is back within a second or two; asking more often than
 * ten times a second brings nothing, asking less often loses time. */
#define RETRY_FIRST_US (50 * AIC_MS)
#define RETRY_MOST_US (500 * AIC_MS)

/* Servers in one URL; more of them nobody waits for. */
#define HOSTS_MAX 8

/* What set_params() adds to the URL's, and a NULL. */
#define OWN_PARAMS 12

/* In less than this TCP makes up for a few packets that were lost. */
#define USER_TIMEOUT_MIN_MS 1000

/* A URL is not longer than a setting, and ours are a few hundred bytes. */
#define OPTIONS_MAX (16 * 1024)

/* When the database is away: come again soon, but not at once. */
#define RETRY_AFTER_S 2

struct conn {
	struct conn *next; /* in the list of idle ones */
	PGconn *pg; /* NULL: to be connected */
	/* What this connection has prepared, by address. */
	const struct aic_db_stmt *prepared[STMTS_MAX];
	int n_prepared;
	int generation; /* of the pool, when it was connected */
	bool unfit; /* the server said that it cannot serve us */
	bool silent; /* no answer came in time */
};

/* What became of one try to run a batch. */
enum outcome {
	RAN,
	REFUSED, /* the server said no, and would again */
	AGAIN, /* the server said no, and may say yes: a deadlock */
	STALE, /* a prepared statement failed, which its text might not */
	LOST, /* no answer: the connection broke, or another batch was late */
	LATE, /* no answer: the deadline passed */
};

enum state {
	QUEUED, /* waits for a connection */
	TAKEN, /* some thread is running it */
	DONE, /* `out' and, unless it ran, `err' tell */
};

/* One aic_db_run(), on its caller's stack. */
struct batch {
	struct batch *next; /* in the queue, or in the trip */
	struct aic_db_call *calls;
	int n;
	int64_t since_us, deadline_us;
	struct aic_err *err;
	enum state state;
	enum outcome out;
	bool waits; /* in the queue, for `changed', and was not woken yet */
	bool lazy; /* committed without waiting for the disk */
	int preparing; /* calls whose statement is prepared on this trip, as bits */
	int reusing; /* calls whose statement was prepared before them, as bits */
	bool plain; /* it was STALE: run without prepared statements */
	pthread_cond_t changed;
};

struct aic_db {
	/*
	 * For PQconnectStartParams(), with each host in turn as the first: libpq
	 * would wait for one that is silent as long as anybody waits for libpq.
	 */
	const char **keys, **values[HOSTS_MAX];
	char *lists[HOSTS_MAX][3]; /* that values point to */
	int n_hosts;
	atomic_int first_host;
	PQconninfoOption *options;
	char *server_options; /* start-up options, ours and those of the URL */
	char user_timeout[16];
	atomic_bool prepare;

	pthread_mutex_t lock; /* of all below */
	struct batch *queue, **queue_end;
	int n_queue;
	struct conn *idle;
	struct conn *all;
	int n_all;
	int n_trips; /* under way */
	/* Raised when prepared statements were found to be stale; a connection of an
	 * earlier generation is closed instead of being used again. */
	int generation;
	int64_t down_since_us; /* connecting fails since; 0: it does not */
	int64_t retry_us; /* while it does: nobody tries before */
	bool trying; /* while it does: somebody is at it */
	int64_t backoff_us;
	int64_t timeout_us;
};

/* The list with its n-th item as the first; one without commas as it is. */
static char *
rotate(const char *list, int n)
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

/* From values[0], of n, the values with each of the other hosts first. */
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
				db->lists[first][j] = rotate(db->values[0][i],
				    first);
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
 * The start-up options: ours, and after them those of the URL, because the server
 * takes the last one of a name. So the URL replaces what it names, and nothing else.
 *
 * With the search_path of the role, "$user" first, whoever may create a schema could put
 * an operator or a function in the way, which would then run with our rights.
 *
 * An empty `options' in the URL means none at all, for PgBouncer, which refuses them.
 *
 * A row lock ends first: it is the lesser trouble to report. The rest is for a worker's
 * host that is cut off, maybe between a statement and the end of its transaction, where
 * no timeout of statements runs: the server lets go of its locks within 25 s. It means
 * nothing on a unix socket.
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
 * What the kernel on our side does about a peer that has fallen silent, where the URL
 * does not say it. What was sent and not acknowledged for a third of the time of a
 * stage, a second at least, ends the connection, so that there is time to run the batch
 * on another one. A connection that is idle is probed; one whose peer is gone ends
 * within 20 s. They mean nothing on a unix socket.
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
		/* The message may quote the URL, with a password in it. */
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
		/* Text goes out as it came in, whatever the URL says. */
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
	/* Those in use are not ours to look at. */
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

/* With the lock held, as all below. */
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
		return; /* what can be done with it is yet to be seen */
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
 * May a statement that was prepared earlier fail like this, where its text, sent now,
 * would not? What it was prepared for has changed: a column has another type (0A000),
 * a type or a table was dropped and made again under another number (XX000, class
 * 42), or the statement is gone (26000), because a pooler reset the session, or because
 * another batch of the trip was to prepare it and could not. The batch is run again as
 * text; if that fails as well, it was the statement's own fault.
 */
static bool
may_be_stale(const char *state)
{
	return strncmp(state, "42", 2) == 0 || strncmp(state, "0A", 2) == 0 ||
	    strncmp(state, "26", 2) == 0 || strncmp(state, "XX", 2) == 0;
}

/*
 * A failure without an SQLSTATE was made by libpq itself: the connection is
 * gone. Classes 08 and 57P say so in the server's own words. 25006: a server that
 * has become a standby. 42P05: there is a statement of this name, which this
 * connection has not prepared; so a pooler gives the same session to several
 * connections, and statements cannot be prepared.
 */
static enum outcome
judge(struct aic_db *db, struct conn *c, const struct batch *b, int at,
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
 * A right or a table that is missing, a transaction that may not write, no room, an
 * error of the disk or of the server itself. 2200H: a sequence has no more numbers. Not
 * here: data that a column or a constraint does not take, a deadlock, a timeout, what
 * somebody's trigger raises.
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

/* Read the results of one batch, up to its sync; the first failure counts. */
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
			/* One ends each call; many: libpq expects nothing. */
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
				out = judge(db, c, b, at, res);
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

/* The disk is waited for once a trip: by the last batch that has to. */
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
 * What was committed lazily is on the disk once a later batch has written and
 * waited for it. Where that did not come to pass, it is as good as lost: run
 * again, it finds out what became of it.
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

/* No answer has come; out tells why the trip ended. */
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

/* Of those that are not done yet. */
static int64_t
first_deadline(const struct batch *b)
{
	int64_t first = b->deadline_us;

	for (; b; b = b->next)
		if (b->deadline_us < first)
			first = b->deadline_us;
	return first;
}

/* Send all, read all; each batch of the trip gets its outcome. */
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
		/* It was to prepare a statement and has not: start afresh. */
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
enqueue(struct aic_db *db, struct batch *b)
{
	b->state = QUEUED;
	b->since_us = aic_clock_us();
	b->next = NULL;
	*db->queue_end = b;
	db->queue_end = &b->next;
	db->n_queue++;
}

static void
unqueue(struct aic_db *db, struct batch *b)
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
	unqueue(db, b);
	b->state = DONE;
	b->out = LATE;
	if (b->err->code == AIC_OK)
		fail_with(b->err, "get a database connection", NULL, why);
	pthread_cond_signal(&b->changed);
}

/*
 * The first few of the queue, as a list. One whose time is over is left out: a trip
 * ends with the first deadline in it, and would take the others down.
 */
/*
 * Behind a pooler, which is where nothing is prepared, a batch travels alone: PgBouncer
 * 1.18 gives the server to another client when the first transaction of a trip is over,
 * and where a message of the next one is longer than its packets (pkt_buf, 4 KB), the
 * rest of that message goes to the wrong server.
 */
static int
trip_max(const struct aic_db *db)
{
	return db->prepare ? TRIP_MAX : 1;
}

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
		unqueue(db, b);
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
 * As text a statement ran that had failed when it was prepared. All connections may
 * have it prepared for what is no more, so none of them is used again: the idle ones
 * are closed here, the others when they come back.
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
			enqueue(db, b);
		else
			b->state = DONE;
		pthread_cond_signal(&b->changed);
	}
}

/* One that is connected, if there is one. */
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

/* A trip is under way, there is room in the next one, and b has not waited long. */
static bool
may_wait(const struct aic_db *db, const struct batch *b)
{
	return db->n_trips > 0 && db->n_queue < trip_max(db) &&
	    aic_clock_us() - b->since_us < PATIENCE_US;
}

/*
 * There is a connection to be had: wake one who waits for it. Not just the first of
 * the queue, who may be awake, busy with connecting. Whoever is woken leads or passes
 * it on, so while there are both, somebody is on the way to them.
 */
static void
wake_next(struct aic_db *db)
{
	struct batch *b;

	/* The first has waited longest. Whose patience lasts looks for himself when
	 * it ends. */
	if (db->queue && may_wait(db, db->queue))
		return;
	for (b = db->idle ? db->queue : NULL; b; b = b->next)
		if (b->waits) {
			b->waits = false;
			pthread_cond_signal(&b->changed);
			return;
		}
}

/* To look at how things stand. */
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
 * With an idle connection at hand, make a trip for the first of the queue, one's
 * own batch among them or not. The lock is held on entry and on return.
 */
static void
lead(struct aic_db *db, struct batch *self)
{
	struct conn *c = take_conn(db);
	struct batch *trip = NULL;
	struct aic_err why = AIC_ERR_INIT;
	bool ok;

	if (!c->pg) {
		/* While it is away, one at a time tries. */
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
	/* Served by another trip meanwhile, it need not make one for others. */
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
		 * The network may swallow all connections that were made before some
		 * moment, and serve new ones. The idle ones would each cost a batch
		 * its deadline to find out, and making one costs milliseconds. Those
		 * in use are about to find out by themselves.
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

/* In the queue, the lock held: lead, wait, or give up. */
static void
get_served(struct aic_db *db, struct batch *self)
{
	int64_t now = aic_clock_us(), until = self->deadline_us;
	struct conn *c;

	for (c = db->idle; c && !c->pg; c = c->next)
		;
	if (now >= self->deadline_us) {
		give_up(db, self, "all are in use");
		return;
	}
	/* wake_next() counts on this one to look again then. */
	if (now - self->since_us < PATIENCE_US &&
	    self->since_us + PATIENCE_US < until)
		until = self->since_us + PATIENCE_US;
	if (may_wait(db, self)) {
		wait_until(db, self, until);
		return;
	}
	if (c || (db->idle && !db->down_since_us)) {
		lead(db, self);
		return;
	}
	/* It is away, as far as we know: one at a time finds out. When it has been
	 * for longer than anybody should wait, the others are told at once. */
	if (db->idle && !db->trying) {
		if (now >= db->retry_us) {
			lead(db, self);
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
	enqueue(db, &self);
	while (self.state != DONE) {
		if (self.state == TAKEN)
			pthread_cond_wait(&self.changed, &db->lock);
		else
			get_served(db, &self);
	}
	/* It may have been woken to lead when it was served already. */
	wake_next(db);
	pthread_mutex_unlock(&db->lock);
	pthread_cond_destroy(&self.changed);
	if (self.out == RAN)
		return AIC_OK;
	/* Of a connection that broke, the server may have told why. */
	if (self.out == LOST || self.out == LATE)
		*why.sqlstate = '\0';
	memcpy(err->sqlstate, why.sqlstate, sizeof(err->sqlstate));
	err->retry_after_s = why.retry_after_s;
	return aic_fail(err, why.code, "%s", why.detail);
}
