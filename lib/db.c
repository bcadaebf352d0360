#include "config.h"

#include "lib/db.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/db_trip.h"

/*
 * The maximum number of batches in a trip. A larger trip saves little, and each
 * of its batches waits for the slowest one.
 */
#define TRIP_MAX 16

/*
 * How long a batch waits for the trip in flight to return before it starts a
 * trip on another connection. A trip normally takes less than this. One that
 * takes longer may hang, so the batch no longer waits for it. Until then,
 * waiting is cheaper than one more trip: with 32 callers it gives a fifth more
 * chats a second.
 */
#define TRIP_WAIT_US (5 * AIC_MS)

/*
 * The pause between two attempts to connect in an outage: it begins with the
 * first value and doubles up to the second. A server that restarts is back
 * within a second or two, so longer pauses would lose time.
 */
#define RETRY_FIRST_US (50 * AIC_MS)
#define RETRY_MOST_US (500 * AIC_MS)

/*
 * How the pool works
 *
 * A caller of aic_db_run() puts its batch into the queue and runs the pool
 * itself; the pool has no thread of its own. One step, serve_batch(), does one
 * of these things with the batch at hand:
 *
 * - If a trip is in flight and the next one has room, the batch waits for the
 *   trip in flight to return, for TRIP_WAIT_US at most. See may_wait().
 * - If a connection is idle, the thread takes it, takes up to TRIP_MAX batches
 *   from the head of the queue, and runs them as one trip. See lead_trip().
 * - If no connection is idle, the batch waits until wake_next() signals it.
 * - In an outage, the batch waits for the next attempt to connect, or makes it.
 * - At its deadline, the batch fails.
 *
 * The thread that leads a trip runs batches of other callers too. A batch
 * belongs to the queue while AIC_DB_QUEUED, to the leading thread while
 * AIC_DB_TAKEN (its caller sleeps, whatever its deadline, because the leader
 * writes to its stack), and to its caller again when AIC_DB_DONE. The leader
 * ends a trip at the first deadline in it, so no caller sleeps beyond its own.
 *
 * Example: one connection is busy with trip A, and callers b, c and d arrive.
 * All three wait. When A returns, finish_trip() marks the batches of A as
 * AIC_DB_DONE, and wake_next() signals b. b leads a trip with b, c and d: three
 * transactions in one round trip. If all three are saves, only the commit of d
 * waits for the disk; see db_trip.h.
 *
 * Invariants, all under `lock':
 *
 * 1. Each connection is either in `idle' or in use by exactly one thread.
 * 2. While `queue' and `idle' are both non-empty, some thread is awake or has a
 *    timeout that makes it examine both. See wake_next().
 * 3. A batch whose outcome is unknown (AIC_DB_LOST) is run again before its
 *    deadline, because its statements are idempotent.
 * 4. In an outage, an attempt to connect begins only while `trying' is false,
 *    so that the threads do not all connect at once.
 */

struct aic_db {
	struct aic_db_params params;
	atomic_bool prepare;

	pthread_mutex_t lock; /* guards all members below */
	struct aic_db_batch *queue, **queue_end;
	int n_queue;
	struct aic_db_conn *idle;
	struct aic_db_conn *all;
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
};

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
	rc = aic_db_params_init(&db->params, conf->url, conf->schema,
	    conf->timeout_ms, err);
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
		aic_db_conn_close(&db->all[i]);
	free(db->all);
	aic_db_params_done(&db->params);
	pthread_mutex_destroy(&db->lock);
	free(db);
}

struct aic_db_state
aic_db_look(struct aic_db *db)
{
	struct aic_db_state s = { .connections = 0 };
	const struct aic_db_conn *c;
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

/*
 * The callers of this function and of all static functions below hold the lock.
 */
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

static void
queue_batch(struct aic_db *db, struct aic_db_batch *b)
{
	b->state = AIC_DB_QUEUED;
	b->since_us = aic_clock_us();
	b->next = NULL;
	*db->queue_end = b;
	db->queue_end = &b->next;
	db->n_queue++;
}

static void
unqueue_batch(struct aic_db *db, struct aic_db_batch *b)
{
	struct aic_db_batch **p = &db->queue;

	while (*p != b)
		p = &(*p)->next;
	*p = b->next;
	db->n_queue--;
	if (db->queue_end == &b->next)
		db->queue_end = p;
}

static void
give_up(struct aic_db *db, struct aic_db_batch *b, const char *why)
{
	unqueue_batch(db, b);
	b->state = AIC_DB_DONE;
	b->out = AIC_DB_LATE;
	if (b->err->code == AIC_OK)
		aic_db_fail(b->err, "get a database connection", NULL, why);
	pthread_cond_signal(&b->changed);
}

/*
 * If nothing is prepared, there may be a pooler before the server, and a trip
 * is a single batch. PgBouncer 1.18 gives the server connection to another
 * client after the first transaction of a trip. If a message of the next batch
 * is then longer than the buffer of PgBouncer (pkt_buf, 4 KB), the rest of that
 * message reaches the wrong server.
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
static struct aic_db_batch *
take_trip(struct aic_db *db)
{
	struct aic_db_batch *trip = NULL, **end = &trip, *b;
	int64_t now = aic_clock_us();
	int n = 0;

	while (db->queue && n < trip_max(db)) {
		b = db->queue;
		if (b->deadline_us <= now) {
			give_up(db, b, "all are in use");
			continue;
		}
		unqueue_batch(db, b);
		b->state = AIC_DB_TAKEN;
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
	struct aic_db_conn *c;

	for (c = db->idle; c; c = c->next)
		aic_db_conn_close(c);
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
finish_trip(struct aic_db *db, const struct aic_db_conn *c,
    struct aic_db_batch *trip)
{
	struct aic_db_batch *b, *next;

	for (b = trip; b; b = next) {
		next = b->next;
		if (b->out == AIC_DB_RAN)
			note_up(db);
		if (b->out == AIC_DB_RAN && b->plain &&
		    c->generation == db->generation)
			note_stale(db);
		b->plain = b->plain || b->out == AIC_DB_STALE;
		if ((b->out == AIC_DB_LOST || b->out == AIC_DB_AGAIN ||
			b->out == AIC_DB_STALE) &&
		    aic_clock_us() < b->deadline_us)
			queue_batch(db, b);
		else
			b->state = AIC_DB_DONE;
		pthread_cond_signal(&b->changed);
	}
}

/* Take an idle connection, preferably one that is connected. */
static struct aic_db_conn *
take_conn(struct aic_db *db)
{
	struct aic_db_conn **p, **any = &db->idle, *c;

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
return_conn(struct aic_db *db, struct aic_db_conn *c)
{
	if (c->pg && c->generation != db->generation)
		aic_db_conn_close(c);
	c->next = db->idle;
	db->idle = c;
}

/*
 * Whether b should wait for the trip in flight: the next trip has room for it,
 * and b has not waited for longer than a trip takes.
 */
static bool
may_wait(const struct aic_db *db, const struct aic_db_batch *b)
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
	struct aic_db_batch *b;

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
	struct aic_db_batch *b;

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
lead_trip(struct aic_db *db, struct aic_db_batch *self)
{
	struct aic_db_conn *c = take_conn(db);
	struct aic_db_batch *trip = NULL;
	struct aic_err why = AIC_ERR_INIT;
	bool ok;

	if (!c->pg) {
		/* In an outage, one thread at a time connects. */
		db->trying = true;
		c->generation = db->generation;
		pthread_mutex_unlock(&db->lock);
		ok = aic_db_conn_open(c, &db->params, self->deadline_us, &why);
		pthread_mutex_lock(&db->lock);
		db->trying = false;
		note_connect(db, ok);
		if (!ok)
			wake_all(db);
		if (!ok && self->state == AIC_DB_QUEUED)
			*self->err = why;
	}
	/* If another trip has served `self' meanwhile, return to its caller. */
	if (c->pg && self->state != AIC_DB_DONE)
		trip = take_trip(db);
	if (trip) {
		db->n_trips++;
		wake_next(db);
		pthread_mutex_unlock(&db->lock);
		aic_db_trip_run(c, trip, &db->prepare);
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
	return_conn(db, c);
	wake_next(db);
}

static void
wait_until(struct aic_db *db, struct aic_db_batch *self, int64_t until_us)
{
	struct timespec ts = aic_clock_spec(until_us);

	self->waits = true;
	pthread_cond_clockwait(&self->changed, &db->lock, CLOCK_MONOTONIC, &ts);
	self->waits = false;
}

/* One step of a queued batch: start a trip, wait, or fail. The lock is held. */
static void
serve_batch(struct aic_db *db, struct aic_db_batch *self)
{
	int64_t now = aic_clock_us(), until = self->deadline_us;
	struct aic_db_conn *c;

	for (c = db->idle; c && !c->pg; c = c->next)
		;
	if (now >= self->deadline_us) {
		give_up(db, self, "all are in use");
		return;
	}
	/* wake_next() relies on this wait to end after TRIP_WAIT_US. */
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
	 * In an outage, one thread at a time tries to connect, and the other
	 * batches wait for the end of the attempt. Between two attempts they
	 * fail at once when the outage has lasted for timeout_us, because no
	 * caller should wait longer. The batch that finds an attempt due makes
	 * it.
	 */
	if (db->idle && !db->trying) {
		if (now >= db->retry_us) {
			lead_trip(db, self);
			return;
		}
		if (now - db->down_since_us > db->params.timeout_us) {
			give_up(db, self, "the database is unavailable");
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
	struct aic_db_batch self = { .calls = calls,
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
	while (self.state != AIC_DB_DONE) {
		if (self.state == AIC_DB_TAKEN)
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
	if (self.out == AIC_DB_RAN)
		return AIC_OK;
	/*
	 * The server may have sent an SQLSTATE before the connection broke.
	 * Callers read "" as `no response'.
	 */
	if (self.out == AIC_DB_LOST || self.out == AIC_DB_LATE)
		*why.sqlstate = '\0';
	memcpy(err->sqlstate, why.sqlstate, sizeof(err->sqlstate));
	err->retry_after_s = why.retry_after_s;
	return aic_fail(err, why.code, "%s", why.detail);
}

/* Idempotent: reads nothing. */
static const struct aic_db_stmt ping = { "ping", "SELECT 1", 0, NULL };

enum aic_code
aic_db_ping(struct aic_db *db, int64_t deadline_us, struct aic_err *err)
{
	struct aic_db_call call;
	enum aic_code rc;

	aic_db_call(&call, &ping);
	rc = aic_db_run(db, &call, 1, deadline_us, err);
	if (!rc)
		aic_db_call_done(&call);
	return rc;
}
