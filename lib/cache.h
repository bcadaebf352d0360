/*
 * cache -- an optional cache in Redis for data whose authoritative copy is
 * elsewhere.
 *
 * The cache never makes its callers fail and never delays them for more than
 * AIC_CACHE_CALL_US. A value that is missing, late, expired, or without a valid
 * seal is reported as missing, and the caller reads the authoritative copy. The
 * seal (digest.h) proves that a program with the same secret wrote the value,
 * under this key, and until when the value is valid.
 *
 * A background thread, the janitor, resolves names, opens connections, and
 * checks once a second whether Redis responds. A caller borrows an idle
 * connection; if there is none, the call fails at once. The circuit breaker
 * opens after three consecutive failures of Redis, and closes when the janitor
 * has had a response again.
 *
 * Threads: any thread may call all functions except open and close. NULL in
 * place of a cache means a disabled cache.
 */
#ifndef AIC_CACHE_H
#define AIC_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/clock.h"
#include "lib/err.h"

/*
 * The limit for a whole call. A healthy Redis takes a tenth of a millisecond. A
 * longer wait than this costs more than a query of PostgreSQL.
 */
#define AIC_CACHE_CALL_US (50 * AIC_MS)

/* "aic:1:", a kind, and a user or a digest in hexadecimal. */
#define AIC_CACHE_KEY_SIZE 96

/* The most keys of one call. */
#define AIC_CACHE_ITEMS_MAX 8

/*
 * The most bytes of a value. No answer of a model is larger; a larger value is
 * not stored.
 */
#define AIC_CACHE_VALUE_MAX (1024 * 1024)

struct aic_cache;

enum aic_cache_state {
	AIC_CACHE_IS_OFF, /* not configured */
	AIC_CACHE_IS_OK,
	AIC_CACHE_IS_DOWN, /* no connection can be opened */
	AIC_CACHE_IS_OPEN, /* the circuit breaker is open */
	AIC_CACHE_STATE__MAX
};

struct aic_cache_conf {
	const char *url; /* see redis_url.h; NULL: disabled */
	const char *secret; /* shared by all workers that use the cache */
	bool scoped; /* no calls before aic_cache_set_scope() */
};

/*
 * aic_cache_open -- open a cache. Redis may be unreachable.
 *
 * ret_cache  NULL when the cache is disabled
 *
 * Errors:   AIC_ECONF, AIC_ENOMEM
 * Threads:  starts one; before the call, block the signals that it must not
 *           receive
 * Memory:   gives; aic_cache_close()
 */
enum aic_code aic_cache_open(struct aic_cache **ret_cache,
    const struct aic_cache_conf *conf, struct aic_err *err) AIC_MUST_CHECK;

/*
 * aic_cache_set_scope -- set the owner of the values, for instance a database.
 *
 * The scope is part of every key, so that several installations can share a
 * Redis and a secret. The first call sets the scope; later calls have no
 * effect.
 */
void aic_cache_set_scope(struct aic_cache *c, const char *name);
bool aic_cache_has_scope(const struct aic_cache *c);

/*
 * aic_cache_close -- close the cache. No thread may use it any more.
 *
 * Blocks:   a tenth of a second at most. A janitor that is blocked in the
 *           resolver is detached and frees the cache when it returns.
 */
void aic_cache_close(struct aic_cache *c);

/*
 * How a call ended. For every value except OK, no item was found, or no value
 * is known to be stored.
 */
enum aic_cache_end {
	AIC_CACHE_OFF,
	AIC_CACHE_OK,
	/* an error of the server: out of memory, read-only ... */
	AIC_CACHE_REFUSED,
	AIC_CACHE_TIMEOUT,
	AIC_CACHE_BROKEN, /* a broken connection, or an invalid response */
	AIC_CACHE_NONE, /* no idle connection */
	AIC_CACHE_OPEN, /* the circuit breaker is open */
	AIC_CACHE_END__MAX
};

/* aic_cache_end_name -- "ok", "timeout" and so on; static. */
const char *aic_cache_end_name(enum aic_cache_end end);

/*
 * aic_cache_key, aic_cache_key_of -- make the key of data of a user, and of
 * data of no user.
 *
 * kind      static, short
 *
 * The prefix and the version of keys are defined here alone.
 */
void aic_cache_key(char key[AIC_CACHE_KEY_SIZE], const char *kind,
    int64_t telegram_id);
void aic_cache_key_of(char key[AIC_CACHE_KEY_SIZE], const char *kind,
    const char *digest);

struct aic_cache_item {
	char key[AIC_CACHE_KEY_SIZE];
	char *data; /* terminated by a NUL; NULL: missing */
	size_t len;
};

/*
 * aic_cache_get -- read all items in one round trip.
 *
 * n         1..AIC_CACHE_ITEMS_MAX
 * deadline_us  of the caller; AIC_CACHE_CALL_US applies if it ends earlier
 *
 * Memory:   gives; aic_cache_items_done(), also after a failure
 */
enum aic_cache_end aic_cache_get(struct aic_cache *c,
    struct aic_cache_item *items, int n, int64_t deadline_us);
void aic_cache_items_done(struct aic_cache_item *items, int n);

struct aic_cache_put {
	char key[AIC_CACHE_KEY_SIZE];
	const char *data;
	size_t len; /* over AIC_CACHE_VALUE_MAX: not stored */
	int64_t ttl_ms; /* > 0 */
	bool only_new; /* do not replace an existing value */
};

/* aic_cache_put -- store all values in one round trip. Parameters as above. */
enum aic_cache_end aic_cache_put(struct aic_cache *c,
    const struct aic_cache_put *puts, int n, int64_t deadline_us);

/*
 * aic_cache_forget -- delete all keys in one round trip. AIC_CACHE_OK: none of
 * them exists any more.
 */
enum aic_cache_end aic_cache_forget(struct aic_cache *c,
    const char *const *keys, int n, int64_t deadline_us);

#define AIC_CACHE_WHY 160

struct aic_cache_look {
	enum aic_cache_state state;
	/* a connection attempt was made; before that, DOWN is no fault */
	bool tried;
	/* busy connections are included in connections */
	int connections, busy;
	char why[AIC_CACHE_WHY]; /* the last failure, one line; "": none */
};

/* aic_cache_look -- read the state of the cache. Does not block. */
struct aic_cache_look aic_cache_look(struct aic_cache *c);

/*
 * aic_cache_first -- read the state after the first connection attempt.
 *
 * Blocks:   until that attempt ends, or until the deadline
 */
struct aic_cache_look aic_cache_first(struct aic_cache *c, int64_t deadline_us);

#endif
