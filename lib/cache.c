#include "config.h"

#include "lib/cache.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/breaker.h"
#include "lib/digest.h"
#include "lib/id.h"
#include "lib/redis.h"

/*
 * The 1 is the version of the format. Increase it when the format of a value
 * changes, so that values of older workers are ignored.
 */
#define PREFIX "aic:1:"

/* The scope: 16 hexadecimal digits of a digest, and a colon. */
#define SCOPE_SIZE (16 + 1 + 1)
#define FULL_KEY_SIZE (AIC_CACHE_KEY_SIZE + SCOPE_SIZE)

/*
 * A call takes 0.1 ms, so one connection is enough for a worker with 10,000
 * calls a second. Further connections serve bursts.
 */
#define POOL 8

/*
 * The breaker opens after FAILURES consecutive failures, for OPEN_US. A restart
 * of Redis takes a second, and a call that times out delays its chat by 50 ms.
 */
#define FAILURES 3
#define OPEN_US (1 * AIC_S)

/* For each address of the Redis host. No caller waits for this. */
#define CONNECT_US (1 * AIC_S)

/* Interval of the health check. */
#define TICK_US (1 * AIC_S)

/*
 * Delay between connection attempts: BACKOFF_US, doubled after each failure up
 * to BACKOFF_MOST_US, and then multiplied by a random factor from 0.5 to 1.5.
 */
#define BACKOFF_US (100 * AIC_MS)
#define BACKOFF_MOST_US (2 * AIC_S)

/*
 * How long aic_cache_close() waits for the janitor. A janitor that is still in
 * the resolver then frees the cache itself, when it returns.
 */
#define CLOSE_US (100 * AIC_MS)

/*
 * The bytes around a value in a reply ("$1048576\r\n" and "\r\n"), and the most
 * bytes of an array header or of an error.
 */
#define FRAME 32
#define HEAD 1024

/*
 * Connections, breaker and janitor
 *
 * A connection is either in `idle', or counted in `n_busy' and owned by one
 * thread. Callers take and return connections but never open one, because
 * opening may take a second. The janitor opens connections until there are POOL
 * of them, and replaces those that break.
 *
 * A call has four steps: begin_call() takes a connection and gets the breaker's
 * permission; the caller writes its commands; run_call() sends them, reads the
 * replies and reports the result to the breaker; return_conn() returns the
 * connection or closes it.
 *
 * `open' is a copy of the state of the breaker that is guarded by `lock'. When
 * the breaker opens, report_verdict() sets `open' and empties `idle' in one
 * critical section, so that no caller takes a connection afterwards. A
 * connection that is returned while the breaker is open is closed by
 * return_conn(). After OPEN_US the janitor opens a new connection; this is the
 * trial of the breaker, and its success closes the breaker.
 *
 * Example: Redis hangs. Three calls time out after 50 ms each; the third one
 * opens the breaker. Later calls end as AIC_CACHE_OPEN without a delay. Once a
 * second the janitor attempts a connection. When Redis responds again, the
 * janitor fills the pool, and calls succeed.
 */
struct conn {
	struct aic_redis *redis;
	struct aic_seal *seal;
};

struct aic_cache {
	struct aic_redis_url url;
	struct aic_seal *seal; /* copied for each connection by the janitor */
	struct aic_breaker breaker;

	pthread_mutex_t lock; /* guards all members below */
	/* wakes the janitor, and aic_cache_first() and _close() */
	pthread_cond_t changed;
	struct conn idle[POOL]; /* most recently used last */
	int n_idle, n_busy;
	bool open; /* breaker state; only the janitor makes the trial */
	bool reached; /* the last connection attempt reached a server */
	bool tried; /* an attempt was made */
	int64_t retry_us; /* no attempt before this time */
	int64_t backoff_us;
	int64_t tick_us; /* next health check */
	char why[AIC_CACHE_WHY];
	char scope[SCOPE_SIZE]; /* set before has_scope */
	atomic_bool has_scope;
	bool scoped; /* calls need a scope */
	bool stopping;
	int users; /* owner and janitor; the last one frees the cache */
	bool janitor_runs;
};

_Static_assert(AIC_CACHE_WHY == AIC_REDIS_WHY, "reasons fit");

/* --- keys ---------------------------------------------------------------- */

void
aic_cache_key(char key[AIC_CACHE_KEY_SIZE], const char *kind,
    int64_t telegram_id)
{
	snprintf(key, AIC_CACHE_KEY_SIZE, PREFIX "%s:%" PRId64, kind,
	    telegram_id);
}

void
aic_cache_key_of(char key[AIC_CACHE_KEY_SIZE], const char *kind,
    const char *digest)
{
	snprintf(key, AIC_CACHE_KEY_SIZE, PREFIX "%s:%s", kind, digest);
}

void
aic_cache_set_scope(struct aic_cache *c, const char *name)
{
	const char *const texts[] = { name, NULL };
	unsigned char digest[AIC_DIGEST_BYTES];
	char hex[AIC_DIGEST_HEX_SIZE];

	if (!c || !aic_digest(texts, digest))
		return;
	aic_digest_hex(digest, hex);
	pthread_mutex_lock(&c->lock);
	if (!atomic_load(&c->has_scope)) {
		snprintf(c->scope, sizeof(c->scope), "%.16s:", hex);
		atomic_store(&c->has_scope, true);
	}
	pthread_mutex_unlock(&c->lock);
}

bool
aic_cache_has_scope(const struct aic_cache *c)
{
	return c && atomic_load(&c->has_scope);
}

/* The key as used in Redis and in the seal, with the scope. */
static void
full_key(const struct aic_cache *c, const char *key, char to[FULL_KEY_SIZE])
{
	snprintf(to, FULL_KEY_SIZE, PREFIX "%s%s",
	    atomic_load(&c->has_scope) ? c->scope : "",
	    key + sizeof(PREFIX) - 1);
}

const char *
aic_cache_end_name(enum aic_cache_end end)
{
	static const char *const names[AIC_CACHE_END__MAX] = {
		[AIC_CACHE_OFF] = "off",
		[AIC_CACHE_OK] = "ok",
		[AIC_CACHE_REFUSED] = "refused",
		[AIC_CACHE_TIMEOUT] = "timeout",
		[AIC_CACHE_BROKEN] = "broken",
		[AIC_CACHE_NONE] = "no_connection",
		[AIC_CACHE_OPEN] = "open",
	};

	return names[end];
}

/* --- connections --------------------------------------------------------- */

static void
conn_close(struct conn *conn)
{
	aic_redis_close(conn->redis);
	aic_seal_free(conn->seal);
}

/* A function below that needs the lock on entry says "lock held". */

/*
 * Lock held. Takes all idle connections; the caller closes them after
 * unlocking.
 */
static int
take_idle(struct aic_cache *c, struct conn gone[POOL])
{
	int n = c->n_idle;

	memcpy(gone, c->idle, (size_t)n * sizeof(*gone));
	c->n_idle = 0;
	return n;
}

/* Lock held. A connection is missing, or a state has changed. */
static void
wake_janitor(struct aic_cache *c)
{
	pthread_cond_broadcast(&c->changed);
}

/*
 * Report the result of a call to the circuit breaker. When the breaker opens,
 * all idle connections are closed.
 */
static void
report_verdict(struct aic_cache *c, uint64_t round,
    enum aic_breaker_verdict verdict, const char *why)
{
	int64_t now = aic_clock_us();
	struct conn gone[POOL];
	int n = 0;

	pthread_mutex_lock(&c->lock);
	if (verdict == AIC_BREAKER_FAILED)
		snprintf(c->why, sizeof(c->why), "%s", why);
	switch (aic_breaker_leave(&c->breaker, round, verdict, now)) {
	case AIC_BREAKER_OPENED:
		c->open = true;
		c->retry_us = now + OPEN_US;
		n = take_idle(c, gone);
		wake_janitor(c);
		break;
	case AIC_BREAKER_CLOSED:
		c->open = false;
		break;
	case AIC_BREAKER_SAME:
		break;
	}
	pthread_mutex_unlock(&c->lock);
	while (n > 0)
		conn_close(&gone[--n]);
}

/* Take an idle connection that Redis has not closed. */
static enum aic_cache_end
borrow_conn(struct aic_cache *c, struct conn *ret_conn)
{
	enum aic_cache_end end = AIC_CACHE_NONE;
	struct conn gone[POOL];
	int n = 0;

	pthread_mutex_lock(&c->lock);
	if (c->open)
		end = AIC_CACHE_OPEN;
	while (end == AIC_CACHE_NONE && c->n_idle > 0) {
		*ret_conn = c->idle[--c->n_idle];
		if (aic_redis_is_fresh(ret_conn->redis))
			end = AIC_CACHE_OK;
		else
			gone[n++] = *ret_conn;
	}
	c->n_busy += end == AIC_CACHE_OK;
	if (n > 0)
		wake_janitor(c);
	pthread_mutex_unlock(&c->lock);
	while (n > 0)
		conn_close(&gone[--n]);
	return end;
}

/*
 * Return a connection to the idle list. It is closed instead if it is not
 * `well', if the breaker has opened meanwhile, or if aic_cache_close() has
 * begun.
 */
static void
return_conn(struct aic_cache *c, struct conn *conn, bool well)
{
	pthread_mutex_lock(&c->lock);
	c->n_busy--;
	well = well && !c->open && !c->stopping;
	if (well)
		c->idle[c->n_idle++] = *conn;
	else
		wake_janitor(c);
	pthread_mutex_unlock(&c->lock);
	if (!well)
		conn_close(conn);
}

/* --- calls --------------------------------------------------------------- */

static int64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/*
 * Send the commands that were written, read the replies, report the result to
 * the breaker, and return the connection.
 *
 * A call ends after AIC_CACHE_CALL_US, or at the deadline of its caller if that
 * is earlier. In the second case a timeout is neutral for the breaker, because
 * it does not show that Redis is slow.
 */
static enum aic_cache_end
run_call(struct aic_cache *c, struct conn *conn, uint64_t round,
    struct aic_redis_ask *ask, int64_t start_us, int64_t deadline_us)
{
	enum aic_breaker_verdict verdict = AIC_BREAKER_WELL;
	enum aic_cache_end end = AIC_CACHE_OK;
	const char *why = "";

	ask->deadline_us = start_us + AIC_CACHE_CALL_US;
	if (deadline_us < ask->deadline_us)
		ask->deadline_us = deadline_us;
	switch (aic_redis_ask(conn->redis, ask)) {
	case AIC_REDIS_ANSWERED:
		break;
	case AIC_REDIS_TIMEOUT:
		end = AIC_CACHE_TIMEOUT;
		verdict = ask->deadline_us == deadline_us ? AIC_BREAKER_NEUTRAL
							  : AIC_BREAKER_FAILED;
		why = "Redis did not answer in time";
		break;
	case AIC_REDIS_NO_MEMORY:
		end = AIC_CACHE_BROKEN;
		verdict = AIC_BREAKER_NEUTRAL;
		break;
	case AIC_REDIS_UNREACHED:
	case AIC_REDIS_BROKEN:
		end = AIC_CACHE_BROKEN;
		verdict = AIC_BREAKER_FAILED;
		why = "a connection to Redis broke";
		break;
	}
	report_verdict(c, round, verdict, why);
	return_conn(c, conn, end == AIC_CACHE_OK);
	return end;
}

/* Acquire a connection and the permission of the breaker. */
static enum aic_cache_end
begin_call(struct aic_cache *c, int64_t start_us, struct conn *ret_conn,
    uint64_t *ret_round)
{
	enum aic_cache_end end;

	if (!c || (c->scoped && !atomic_load(&c->has_scope)))
		return AIC_CACHE_OFF;
	end = borrow_conn(c, ret_conn);
	if (end != AIC_CACHE_OK)
		return end;
	/* The breaker may have opened since borrow_conn(). */
	if (aic_breaker_enter(&c->breaker, start_us,
		start_us + AIC_CACHE_CALL_US, ret_round) == 0)
		return AIC_CACHE_OK;
	return_conn(c, ret_conn, false);
	return AIC_CACHE_OPEN;
}

struct looking {
	const struct aic_cache *cache;
	struct aic_cache_item *items;
	struct aic_seal *seal;
	int64_t now_ms;
	bool refused;
};

/* Any error in place of a value counts as a missing value. */
static void
on_value(void *arg, const struct aic_redis_reply *reply)
{
	struct looking *l = arg;
	struct aic_cache_item *item;
	char key[FULL_KEY_SIZE];

	if (reply->item < 0) {
		l->refused = true;
		return;
	}
	item = &l->items[reply->item];
	full_key(l->cache, item->key, key);
	if (reply->type != AIC_REDIS_STRING || reply->len < AIC_SEAL_SIZE ||
	    reply->len > AIC_SEAL_SIZE + AIC_CACHE_VALUE_MAX ||
	    !aic_seal_check(l->seal, key, l->now_ms, reply->data, reply->len))
		return;
	item->len = reply->len - AIC_SEAL_SIZE;
	item->data = malloc(item->len + 1);
	if (!item->data)
		return;
	memcpy(item->data, reply->data + AIC_SEAL_SIZE, item->len);
	item->data[item->len] = '\0';
}

enum aic_cache_end
aic_cache_get(struct aic_cache *c, struct aic_cache_item *items, int n,
    int64_t deadline_us)
{
	int64_t start = aic_clock_us();
	struct looking l = { .cache = c, .items = items };
	char key[FULL_KEY_SIZE];
	struct aic_redis_ask ask = {
		.replies = 1, .items = n, .on_reply = on_value, .arg = &l
	};
	enum aic_cache_end end;
	struct conn conn;
	uint64_t round;
	int i;

	for (i = 0; i < n; i++) {
		items[i].data = NULL;
		items[i].len = 0;
	}
	end = begin_call(c, start, &conn, &round);
	if (end != AIC_CACHE_OK)
		return end;
	l.seal = conn.seal;
	l.now_ms = now_ms();
	ask.bytes_max = HEAD +
	    (size_t)n * (FRAME + AIC_SEAL_SIZE + AIC_CACHE_VALUE_MAX);
	aic_redis_command(conn.redis, 1 + n);
	aic_redis_text(conn.redis, "MGET");
	for (i = 0; i < n; i++) {
		full_key(c, items[i].key, key);
		aic_redis_text(conn.redis, key);
	}
	end = run_call(c, &conn, round, &ask, start, deadline_us);
	/* Discard the items of an incomplete response. */
	if (end != AIC_CACHE_OK)
		aic_cache_items_done(items, n);
	return end == AIC_CACHE_OK && l.refused ? AIC_CACHE_REFUSED : end;
}

void
aic_cache_items_done(struct aic_cache_item *items, int n)
{
	int i;

	for (i = 0; i < n; i++) {
		free(items[i].data);
		items[i].data = NULL;
		items[i].len = 0;
	}
}

/* For commands whose replies carry no data: record errors. */
static void
on_reply(void *arg, const struct aic_redis_reply *reply)
{
	bool *refused = arg;

	*refused = *refused || reply->type == AIC_REDIS_ERROR;
}

static bool
write_put(const struct aic_cache *c, struct conn *conn,
    const struct aic_cache_put *put)
{
	unsigned char seal[AIC_SEAL_SIZE];
	char ttl[24], key[FULL_KEY_SIZE];

	full_key(c, put->key, key);
	if (put->len > AIC_CACHE_VALUE_MAX ||
	    !aic_seal_put(conn->seal, key, now_ms() + put->ttl_ms, put->data,
		put->len, seal))
		return false;
	snprintf(ttl, sizeof(ttl), "%" PRId64, put->ttl_ms);
	aic_redis_command(conn->redis, put->only_new ? 6 : 5);
	aic_redis_text(conn->redis, "SET");
	aic_redis_text(conn->redis, key);
	aic_redis_word_of(conn->redis, seal, sizeof(seal), put->data, put->len);
	aic_redis_text(conn->redis, "PX");
	aic_redis_text(conn->redis, ttl);
	if (put->only_new)
		aic_redis_text(conn->redis, "NX");
	return true;
}

enum aic_cache_end
aic_cache_put(struct aic_cache *c, const struct aic_cache_put *puts, int n,
    int64_t deadline_us)
{
	int64_t start = aic_clock_us();
	bool refused = false;
	struct aic_redis_ask ask = { .replies = 0,
		.bytes_max = HEAD * AIC_CACHE_ITEMS_MAX,
		.on_reply = on_reply,
		.arg = &refused };
	enum aic_cache_end end;
	struct conn conn;
	uint64_t round;
	int i;

	end = begin_call(c, start, &conn, &round);
	if (end != AIC_CACHE_OK)
		return end;
	for (i = 0; i < n; i++)
		ask.replies += write_put(c, &conn, &puts[i]);
	if (ask.replies == 0) {
		report_verdict(c, round, AIC_BREAKER_NEUTRAL, "");
		return_conn(c, &conn, true);
		return AIC_CACHE_REFUSED;
	}
	end = run_call(c, &conn, round, &ask, start, deadline_us);
	return end == AIC_CACHE_OK && (refused || ask.replies < n)
	    ? AIC_CACHE_REFUSED
	    : end;
}

enum aic_cache_end
aic_cache_forget(struct aic_cache *c, const char *const *keys, int n,
    int64_t deadline_us)
{
	int64_t start = aic_clock_us();
	bool refused = false;
	struct aic_redis_ask ask = { .replies = 1,
		.bytes_max = HEAD,
		.on_reply = on_reply,
		.arg = &refused };
	enum aic_cache_end end;
	char key[FULL_KEY_SIZE];
	struct conn conn;
	uint64_t round;
	int i;

	end = begin_call(c, start, &conn, &round);
	if (end != AIC_CACHE_OK)
		return end;
	aic_redis_command(conn.redis, 1 + n);
	aic_redis_text(conn.redis, "DEL");
	for (i = 0; i < n; i++) {
		full_key(c, keys[i], key);
		aic_redis_text(conn.redis, key);
	}
	end = run_call(c, &conn, round, &ask, start, deadline_us);
	return end == AIC_CACHE_OK && refused ? AIC_CACHE_REFUSED : end;
}

/* --- the janitor --------------------------------------------------------- */

/* Lock held. */
static enum aic_cache_state
get_state(const struct aic_cache *c)
{
	if (c->n_idle + c->n_busy > 0 && !c->open)
		return AIC_CACHE_IS_OK;
	/*
	 * If the server cannot be reached, report DOWN, although the breaker is
	 * open.
	 */
	if (c->open && c->reached)
		return AIC_CACHE_IS_OPEN;
	return AIC_CACHE_IS_DOWN;
}

/* Lock held. */
static bool
is_short(const struct aic_cache *c)
{
	return c->n_idle + c->n_busy < POOL;
}

/*
 * Lock held. A connection attempt has failed. Delay the next one by a random
 * time, so that the workers do not retry at the same moment.
 */
static void
back_off(struct aic_cache *c)
{
	c->backoff_us = c->backoff_us ? 2 * c->backoff_us : BACKOFF_US;
	if (c->backoff_us > BACKOFF_MOST_US)
		c->backoff_us = BACKOFF_MOST_US;
	c->retry_us = aic_clock_us() +
	    (int64_t)((double)c->backoff_us * (0.5 + aic_random()));
}

/* After a failure, too, conn can have parts, which conn_close() frees. */
static enum aic_redis_end
open_conn(struct aic_cache *c, struct conn *conn, char *why)
{
	enum aic_redis_end end;

	end = aic_redis_open(&conn->redis, &c->url, CONNECT_US,
	    AIC_CACHE_CALL_US, why);
	if (end != AIC_REDIS_ANSWERED)
		return end;
	conn->seal = aic_seal_copy(c->seal);
	if (conn->seal)
		return end;
	snprintf(why, AIC_CACHE_WHY, "out of memory");
	return AIC_REDIS_NO_MEMORY;
}

/* Open one more connection. While the breaker is open, this is its trial. */
static void
add_conn(struct aic_cache *c)
{
	enum aic_breaker_verdict verdict = AIC_BREAKER_WELL;
	int64_t now = aic_clock_us(), wait;
	struct conn conn = { NULL, NULL };
	char why[AIC_CACHE_WHY] = "";
	enum aic_redis_end end;
	bool kept = false;
	uint64_t round;

	/*
	 * INT64_MAX: no other call may take over the trial, because only the
	 * janitor makes trials.
	 */
	wait = aic_breaker_enter(&c->breaker, now, INT64_MAX, &round);
	if (wait > 0) {
		pthread_mutex_lock(&c->lock);
		c->retry_us = now + wait;
		pthread_mutex_unlock(&c->lock);
		return;
	}
	end = open_conn(c, &conn, why);
	/*
	 * An unreachable server delays no caller, so it is no reason to open
	 * the breaker. It is no evidence of recovery either.
	 */
	if (end == AIC_REDIS_UNREACHED || end == AIC_REDIS_NO_MEMORY)
		verdict = AIC_BREAKER_NEUTRAL;
	else if (end != AIC_REDIS_ANSWERED)
		verdict = AIC_BREAKER_FAILED;
	report_verdict(c, round, verdict, why);

	pthread_mutex_lock(&c->lock);
	c->tried = true;
	c->reached = end != AIC_REDIS_UNREACHED;
	if (end == AIC_REDIS_ANSWERED) {
		c->backoff_us = 0;
		kept = !c->open && !c->stopping && is_short(c);
		if (kept)
			c->idle[c->n_idle++] = conn;
	} else {
		snprintf(c->why, sizeof(c->why), "%s", why);
		back_off(c);
	}
	wake_janitor(c);
	pthread_mutex_unlock(&c->lock);
	if (!kept)
		conn_close(&conn);
}

static void
ignore_reply(void *arg, const struct aic_redis_reply *reply)
{
	(void)arg, (void)reply;
}

/* Lock held. Takes the connection that has been idle longest; false: none. */
static bool
take_oldest(struct aic_cache *c, struct conn *ret_conn)
{
	if (c->n_idle == 0)
		return false;
	*ret_conn = c->idle[0];
	c->n_idle--;
	c->n_busy++;
	memmove(c->idle, c->idle + 1, (size_t)c->n_idle * sizeof(*c->idle));
	return true;
}

/*
 * The health check: close the idle connections that Redis has closed, and send
 * a PING on one of the others, so that a failure is found without traffic too.
 */
static void
check_idle(struct aic_cache *c)
{
	struct aic_redis_ask ask = {
		.replies = 1, .bytes_max = HEAD, .on_reply = ignore_reply
	};
	int64_t now = aic_clock_us();
	struct conn conn, gone[POOL];
	int i, n = 0, n_left = 0;
	uint64_t round;
	bool any;

	pthread_mutex_lock(&c->lock);
	c->tick_us = now + TICK_US;
	for (i = 0; i < c->n_idle; i++) {
		if (aic_redis_is_fresh(c->idle[i].redis))
			c->idle[n_left++] = c->idle[i];
		else
			gone[n++] = c->idle[i];
	}
	c->n_idle = n_left;
	any = take_oldest(c, &conn);
	pthread_mutex_unlock(&c->lock);
	while (n > 0)
		conn_close(&gone[--n]);
	if (!any)
		return;
	if (aic_breaker_enter(&c->breaker, now, INT64_MAX, &round) > 0) {
		return_conn(c, &conn, false);
		return;
	}
	aic_redis_command(conn.redis, 1);
	aic_redis_text(conn.redis, "PING");
	run_call(c, &conn, round, &ask, now, INT64_MAX);
}

/* Lock held; it is released. The last user frees the cache. */
static void
release_cache(struct aic_cache *c)
{
	bool last = --c->users == 0;

	wake_janitor(c);
	pthread_mutex_unlock(&c->lock);
	if (!last)
		return;
	aic_redis_url_done(&c->url);
	aic_seal_free(c->seal);
	aic_breaker_done(&c->breaker);
	pthread_mutex_destroy(&c->lock);
	pthread_cond_destroy(&c->changed);
	free(c);
}

static void *
run_janitor(void *arg)
{
	struct aic_cache *c = arg;
	struct timespec until;
	bool add, due;
	int64_t now;

	pthread_mutex_lock(&c->lock);
	while (!c->stopping) {
		now = aic_clock_us();
		add = is_short(c) && now >= c->retry_us;
		due = now >= c->tick_us;
		if (add || due) {
			pthread_mutex_unlock(&c->lock);
			if (due)
				check_idle(c);
			else if (add)
				add_conn(c);
			pthread_mutex_lock(&c->lock);
			continue;
		}
		until = aic_clock_spec(is_short(c) && c->retry_us < c->tick_us
			? c->retry_us
			: c->tick_us);
		pthread_cond_clockwait(&c->changed, &c->lock, CLOCK_MONOTONIC,
		    &until);
	}
	c->janitor_runs = false;
	release_cache(c);
	return NULL;
}

static enum aic_code
start_janitor(struct aic_cache *c, struct aic_err *err)
{
	pthread_t thread;
	int rc;

	c->users = 2;
	c->janitor_runs = true;
	rc = pthread_create(&thread, NULL, run_janitor, c);
	if (rc) {
		c->users = 1;
		c->janitor_runs = false;
		return aic_fail(err, AIC_ENOMEM,
		    "could not start a thread for Redis: %s", strerror(rc));
	}
	/* The thread may block in the resolver, so it cannot be joined. */
	pthread_detach(thread);
	return AIC_OK;
}

enum aic_code
aic_cache_open(struct aic_cache **ret_cache, const struct aic_cache_conf *conf,
    struct aic_err *err)
{
	struct aic_cache *c;
	enum aic_code rc;

	*ret_cache = NULL;
	if (!conf->url)
		return AIC_OK;
	c = calloc(1, sizeof(*c));
	if (!c)
		return aic_fail(err, AIC_ENOMEM, "out of memory");
	c->users = 1;
	c->scoped = conf->scoped;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->changed, NULL);
	aic_breaker_init(&c->breaker, FAILURES, OPEN_US);
	rc = aic_redis_url_parse(&c->url, conf->url, err);
	if (!rc) {
		c->seal = aic_seal_new(conf->secret);
		rc = c->seal ? start_janitor(c, err)
			     : aic_fail(err, AIC_ENOMEM, "out of memory");
	}
	if (rc) {
		aic_cache_close(c);
		return rc;
	}
	*ret_cache = c;
	return AIC_OK;
}

void
aic_cache_close(struct aic_cache *c)
{
	int64_t until_us = aic_clock_us() + CLOSE_US;
	struct timespec until = aic_clock_spec(until_us);
	struct conn gone[POOL];
	int n;

	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	c->stopping = true;
	wake_janitor(c);
	while (c->janitor_runs && aic_clock_us() < until_us)
		pthread_cond_clockwait(&c->changed, &c->lock, CLOCK_MONOTONIC,
		    &until);
	n = take_idle(c, gone);
	release_cache(c);
	while (n > 0)
		conn_close(&gone[--n]);
}

/* Lock held. */
static struct aic_cache_look
read_look(const struct aic_cache *c)
{
	struct aic_cache_look l = { .state = get_state(c),
		.tried = c->tried,
		.connections = c->n_idle + c->n_busy,
		.busy = c->n_busy };

	memcpy(l.why, c->why, sizeof(l.why));
	return l;
}

struct aic_cache_look
aic_cache_look(struct aic_cache *c)
{
	struct aic_cache_look l = { .state = AIC_CACHE_IS_OFF };

	if (!c)
		return l;
	pthread_mutex_lock(&c->lock);
	l = read_look(c);
	pthread_mutex_unlock(&c->lock);
	return l;
}

struct aic_cache_look
aic_cache_first(struct aic_cache *c, int64_t deadline_us)
{
	struct aic_cache_look l = { .state = AIC_CACHE_IS_OFF };
	struct timespec until = aic_clock_spec(deadline_us);

	if (!c)
		return l;
	pthread_mutex_lock(&c->lock);
	while (!c->tried && aic_clock_us() < deadline_us)
		pthread_cond_clockwait(&c->changed, &c->lock, CLOCK_MONOTONIC,
		    &until);
	l = read_look(c);
	pthread_mutex_unlock(&c->lock);
	return l;
}
