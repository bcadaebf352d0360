/*
 * recall_keys -- under which names Redis has what belongs to a user, and how he is reset
 * and forgotten there. Both programs need that.
 *
 * Threads: any.
 */
#ifndef RECALL_KEYS_H
#define RECALL_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "cache.h"

void recall_key_used(char key[AIC_CACHE_KEY_SIZE], int64_t telegram_id);
void recall_key_seller(char key[AIC_CACHE_KEY_SIZE], int64_t telegram_id);

/* recall_key_context -- exchanges: how many are remembered. Workers that remember
 * another number have keys of their own. */
void recall_key_context(char key[AIC_CACHE_KEY_SIZE], int64_t telegram_id,
    int64_t exchanges);

/*
 * recall_mark_reset -- the user's day is not used up any more. The mark also keeps away
 * the news of those who had looked before: RECALL_LOOK_MAX_US at most.
 *
 * False when Redis did not take it. Blocks: 50 ms at most.
 */
#define RECALL_LOOK_MAX_US (10 * AIC_S)

bool recall_mark_reset(struct aic_cache *cache, int64_t telegram_id);

/* recall_forget -- all that is kept of a user goes away. The same. */
bool recall_forget(struct aic_cache *cache, int64_t telegram_id);

#endif
