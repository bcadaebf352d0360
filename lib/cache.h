/*
 * cache -- what may be had faster than from where it belongs, in Redis.
 *
 * A promise to callers: it never fails them, and never holds them up for more than
 * AIC_CACHE_CALL_US. What is not there, not in time, not ours, or too old is simply
 * not there, and they ask where it belongs. Redis is believed only for what a worker
 * of the same secret wrote under that very key (lib/seal), and for the time that it
 * said then.
 *
 * A thread of its own, the keeper, resolves names, connects, and looks once a second
 * whether Redis is well; a caller borrows a connection that is idle, or goes without.
 * Three calls in a row that Redis fails have it left alone until the keeper has had an
 * answer again.
 *
 * Threads: all functions but open and close, any. NULL in the place of a cache is
 * one that is off.
 */
#ifndef AIC_CACHE_H
#define AIC_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/clock.h"
#include "lib/err.h"

/* All of a call. A Redis that is well takes a tenth of a millisecond; who waits for
 * longer than this would have been served by PostgreSQL. */
#define AIC_CACHE_CALL_US (50 * AIC_MS)

/* "aic:1:", a kind, and a user or a digest in hexadecimal. */
#define AIC_CACHE_KEY_SIZE 96

/* Keys of one call. */
#define AIC_CACHE_ITEMS_MAX 8

/* Of one value. An answer of the model has no more; what is larger is not kept. */
#define AIC_CACHE_VALUE_MAX (1024 * 1024)

struct aic_cache;

enum aic_cache_state {
	AIC_CACHE_IS_OFF, /* not configured */
	AIC_CACHE_IS_OK,
	AIC_CACHE_IS_DOWN, /* no connection can be had */
	AIC_CACHE_IS_OPEN, /* it fails, and is left alone for a while */
	AIC_CACHE_STATE__MAX
};

struct aic_cache_conf {
	const char *url; /* see aic_redis_parse(); NULL: off */
	const char *secret; /* the same for all workers that share it */
	bool scoped; /* nothing is done before aic_cache_set_scope() */
};

/*
 * aic_cache_open -- begin. Redis may be away.
 *
 * ret_cache  NULL when it is off
 *
 * Errors:   AIC_ECONF, AIC_ENOMEM
 * Threads:  starts one; signals that it shall not get are to be blocked before
 * Memory:   gives; aic_cache_close()
 */
enum aic_code aic_cache_open(struct aic_cache **ret_cache,
    const struct aic_cache_conf *conf, struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_cache_set_scope -- name what the values belong to, such as a database: they are
 * kept under keys that begin with it, so that several installations may share a Redis
 * and a secret. The first name counts, later calls change nothing.
 */
void aic_cache_set_scope(struct aic_cache *c, const char *name);
bool aic_cache_has_scope(const struct aic_cache *c);

/* aic_cache_close -- nobody uses it any more. Blocks: a tenth of a second at most; a
 * keeper that hangs in the resolver is left behind, and tidies up after itself. */
void aic_cache_close(struct aic_cache *c);

/* How a call ended; but for OK, nothing was there, or nothing is known to be kept. */
enum aic_cache_end {
	AIC_CACHE_OFF,
	AIC_CACHE_OK,
	AIC_CACHE_REFUSED, /* the server says no: out of memory, read-only ... */
	AIC_CACHE_TIMEOUT,
	AIC_CACHE_BROKEN, /* the connection, or what came over it */
	AIC_CACHE_NONE, /* no connection is idle */
	AIC_CACHE_OPEN, /* it is left alone for a while */
	AIC_CACHE_END__MAX
};

/* aic_cache_end_name -- "ok", "timeout" and so on; static. */
const char *aic_cache_end_name(enum aic_cache_end end);

/* aic_cache_key, aic_cache_key_of -- the key of what belongs to a user, and of what
 * belongs to none. kind: static, short. The one place that knows prefix and
 * version. */
void aic_cache_key(char key[AIC_CACHE_KEY_SIZE], const char *kind,
    int64_t telegram_id);
void aic_cache_key_of(char key[AIC_CACHE_KEY_SIZE], const char *kind,
    const char *digest);

struct aic_cache_item {
	char key[AIC_CACHE_KEY_SIZE];
	char *data; /* with a NUL behind it; NULL: not there */
	size_t len;
};

/*
 * aic_cache_get -- look for all of them at once, in one trip.
 *
 * n         1..AIC_CACHE_ITEMS_MAX
 * deadline_us  the caller's own, when that is before AIC_CACHE_CALL_US are over
 *
 * Memory:   gives; aic_cache_items_done(), whatever the end
 */
enum aic_cache_end aic_cache_get(struct aic_cache *c,
    struct aic_cache_item *items, int n, int64_t deadline_us);
void aic_cache_items_done(struct aic_cache_item *items, int n);

struct aic_cache_put {
	char key[AIC_CACHE_KEY_SIZE];
	const char *data;
	size_t len; /* over AIC_CACHE_VALUE_MAX: not kept */
	int64_t ttl_ms; /* > 0 */
	bool only_new; /* not when there is one, whatever it is */
};

/* aic_cache_put -- keep all of them, in one trip. Likewise. */
enum aic_cache_end aic_cache_put(struct aic_cache *c,
    const struct aic_cache_put *puts, int n, int64_t deadline_us);

/* aic_cache_forget -- have all of them go away, in one trip. With AIC_CACHE_OK they
 * have. */
enum aic_cache_end aic_cache_forget(struct aic_cache *c,
    const char *const *keys, int n, int64_t deadline_us);

#define AIC_CACHE_WHY 160

struct aic_cache_look {
	enum aic_cache_state state;
	bool tried; /* to connect; before that it is down, and nobody's fault */
	int connections, busy; /* the busy are among the others */
	char why[AIC_CACHE_WHY]; /* the last failure, one line; "": none */
};

/* aic_cache_look -- how things stand. Blocks: on nobody. */
struct aic_cache_look aic_cache_look(struct aic_cache *c);

/* aic_cache_first -- the same once it has been tried, or at the deadline. */
struct aic_cache_look aic_cache_first(struct aic_cache *c, int64_t deadline_us);

#endif
