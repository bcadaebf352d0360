/*
 * cache_keys -- the Redis keys of a user's data, and the functions that
 * invalidate or delete the data. The worker and ai-chatctl use them.
 *
 * Threads: any.
 */
#ifndef AIC_CACHE_KEYS_H
#define AIC_CACHE_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/cache.h"
#include "lib/db.h"

void aic_cache_keys_used(char key[AIC_CACHE_KEY_SIZE], int64_t telegram_id);
void aic_cache_keys_seller(char key[AIC_CACHE_KEY_SIZE], int64_t telegram_id);
void aic_cache_keys_unsaved(char key[AIC_CACHE_KEY_SIZE], int64_t telegram_id);

/*
 * aic_cache_keys_set_scope -- make all keys depend on the database: on the
 * system identifier of its cluster, which initdb generates, and on the OID and
 * the name of the database. After the first success this does nothing.
 *
 * Errors:   AIC_EDB  the cache is not used until a call succeeds; err->sqlstate
 *           is set when the database refused the query
 * Blocks:   on the database, until the deadline
 */
enum aic_code aic_cache_keys_set_scope(struct aic_cache *cache,
    struct aic_db *db, int64_t deadline_us, struct aic_err *err);

/*
 * aic_cache_keys_context -- make the key of a user's context.
 *
 * exchanges  the number of exchanges in a context. Workers with another number
 *            use other keys.
 */
void aic_cache_keys_context(char key[AIC_CACHE_KEY_SIZE], int64_t telegram_id,
    int64_t exchanges);

/*
 * How long a quota refusal is cached. If a reset does not reach Redis, its user
 * is refused for at most this long.
 */
#define AIC_CACHE_KEYS_USED_MS (60 * INT64_C(1000))

/* A refusal that was read longer ago than this is not cached. */
#define AIC_CACHE_KEYS_LOOK_MAX_US (10 * AIC_S)

/*
 * aic_cache_keys_delete_refusal -- delete the cached quota refusal of a user.
 *
 * The call leaves a tombstone, so that a refusal that was read before the reset
 * cannot be cached after it. Example: a chat reads a refusal from PostgreSQL;
 * an operator resets the user; the cached refusal is deleted; only then does
 * the chat store its refusal. The store uses SET NX, finds the tombstone and
 * changes nothing. A refusal is not stored more than AIC_CACHE_KEYS_LOOK_MAX_US
 * after it was read, and the tombstone exists for longer than that.
 *
 * Errors:   false: Redis did not confirm
 * Blocks:   100 ms at most
 */
bool
aic_cache_keys_delete_refusal(struct aic_cache *cache, int64_t telegram_id);

/*
 * aic_cache_keys_forget -- delete all cached data of a user. Errors and Blocks
 * as for aic_cache_keys_delete_refusal().
 */
bool aic_cache_keys_forget(struct aic_cache *cache, int64_t telegram_id);

#endif
