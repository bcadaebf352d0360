/*
 * recall_keys -- under which names Redis has what belongs to a user, and how he is reset
 * and forgotten there. Both programs need that.
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
 * aic_cache_keys_set_scope -- have the keys name the database: its cluster by the number that
 * initdb gave it, and the database in it. Once that is known, this does nothing.
 *
 * Errors:   AIC_EDB  nothing is found in Redis, and nothing kept, until it is known;
 *                    err->sqlstate is set where the database refuses to tell
 * Blocks:   on the database, until the deadline
 */
enum aic_code aic_cache_keys_set_scope(struct aic_cache *cache,
    struct aic_db *db, int64_t deadline_us, struct aic_err *err);

/* aic_cache_keys_context -- exchanges: how many are remembered. Workers that remember
 * another number have keys of their own. */
void aic_cache_keys_context(char key[AIC_CACHE_KEY_SIZE], int64_t telegram_id,
    int64_t exchanges);

/* For so long a used-up day is remembered. A reset that Redis does not hear of costs its
 * user so much at most. */
#define AIC_CACHE_KEYS_USED_MS (60 * INT64_C(1000))

/* News of a used-up day that are older than this are not told any more. */
#define AIC_CACHE_KEYS_LOOK_MAX_US (10 * AIC_S)

/*
 * aic_cache_keys_mark_reset -- the user's day is not used up any more. A mark stays for a while
 * that keeps away the news of those who had looked before.
 *
 * False when Redis could not be told. Blocks: 100 ms at most.
 */
bool aic_cache_keys_mark_reset(struct aic_cache *cache, int64_t telegram_id);

/* aic_cache_keys_forget -- all that is kept of a user goes away. The same. */
bool aic_cache_keys_forget(struct aic_cache *cache, int64_t telegram_id);

#endif
