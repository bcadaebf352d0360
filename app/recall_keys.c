#include "config.h"

#include "recall_keys.h"

#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "context.h"

/* Longer than the news of those who had looked before may be under way. */
#define MARK_MS (15 * INT64_C(1000))

void
recall_key_used(char key[AIC_CACHE_KEY_SIZE], int64_t telegram_id)
{
	aic_cache_key(key, "used", telegram_id);
}

void
recall_key_seller(char key[AIC_CACHE_KEY_SIZE], int64_t telegram_id)
{
	aic_cache_key(key, "seller", telegram_id);
}

void
recall_key_context(char key[AIC_CACHE_KEY_SIZE], int64_t telegram_id,
    int64_t exchanges)
{
	char kind[24];

	snprintf(kind, sizeof(kind), "context%d", (int)exchanges);
	aic_cache_key(key, kind, telegram_id);
}

bool
recall_mark_reset(struct aic_cache *cache, int64_t telegram_id)
{
	static const char mark[] = "reset";
	struct aic_cache_put put = {
		.data = mark, .len = sizeof(mark) - 1, .ttl_ms = MARK_MS
	};

	recall_key_used(put.key, telegram_id);
	return aic_cache_put(cache, &put, 1, INT64_MAX) == AIC_CACHE_OK;
}

static bool
forget(struct aic_cache *cache, const char *key)
{
	return aic_cache_forget(cache, key, INT64_MAX) == AIC_CACHE_OK;
}

bool
recall_forget(struct aic_cache *cache, int64_t telegram_id)
{
	char key[AIC_CACHE_KEY_SIZE];
	bool ok;
	int i;

	recall_key_used(key, telegram_id);
	ok = forget(cache, key);
	recall_key_seller(key, telegram_id);
	ok = ok && forget(cache, key);
	for (i = 0; ok && i <= AIC_CONTEXT_MAX; i++) {
		recall_key_context(key, telegram_id, i);
		ok = forget(cache, key);
	}
	return ok;
}
